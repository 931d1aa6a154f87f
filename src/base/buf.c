#include "base/buf.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/mem.h"

void buf_init(struct buf *b, size_t max)
{
        *b = (struct buf){ ._max = max };
}

void buf_release(struct buf *b)
{
        mem_free(b->p);
        *b = (struct buf){ ._max = b->_max };
}

void buf_clear(struct buf *b)
{
        buf_cut(b, 0);
}

int buf_error(const struct buf *b)
{
        return b->_err;
}

char *buf_reserve(struct buf *b, size_t n)
{
        if (b->_err)
                return NULL;
        if (n > b->_max || b->n > b->_max - n) {
                b->_err = -EFBIG;
                return NULL;
        }
        if (b->n + n + 1 > b->_cap) {
                size_t cap = b->_cap ? b->_cap : 64;
                while (cap < b->n + n + 1)
                        cap *= 2;
                char *p = mem_realloc(b->p, cap, 1);
                if (!p) {
                        b->_err = -ENOMEM;
                        return NULL;
                }
                b->p = p;
                b->_cap = cap;
        }
        return b->p + b->n;
}

void buf_add(struct buf *b, const void *p, size_t n)
{
        char *at = buf_reserve(b, n);
        if (!at)
                return;
        if (n)
                memcpy(at, p, n);
        b->n += n;
        b->p[b->n] = '\0';
}

void buf_adds(struct buf *b, const char *s)
{
        buf_add(b, s, strlen(s));
}

void buf_addc(struct buf *b, char c)
{
        buf_add(b, &c, 1);
}

void buf_addv(struct buf *b, const char *fmt, va_list ap)
{
        va_list again;
        va_copy(again, ap);
        int n = vsnprintf(NULL, 0, fmt, ap);
        char *at = n >= 0 ? buf_reserve(b, (size_t)n) : NULL;
        if (at) {
                vsnprintf(at, (size_t)n + 1, fmt, again);
                b->n += (size_t)n;
        }
        va_end(again);
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
        va_list ap;
        va_start(ap, fmt);
        buf_addv(b, fmt, ap);
        va_end(ap);
}

void buf_consume(struct buf *b, size_t n)
{
        if (n >= b->n) {
                b->n = 0;
        } else {
                memmove(b->p, b->p + n, b->n - n);
                b->n -= n;
        }
        if (b->p)
                b->p[b->n] = '\0';
}

void buf_cut(struct buf *b, size_t n)
{
        b->n = n;
        b->_err = 0;
        if (b->p)
                b->p[n] = '\0';
}

struct str buf_str(const struct buf *b)
{
        return (struct str){ b->p ? b->p : "", b->n };
}

char *buf_take(struct buf *b, size_t *ret_n)
{
        if (!buf_reserve(b, 0)) {
                buf_release(b);
                return NULL;
        }
        char *p = b->p;
        p[b->n] = '\0';
        if (ret_n)
                *ret_n = b->n;
        *b = (struct buf){ ._max = b->_max };
        return p;
}
