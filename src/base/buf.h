/* A growable byte buffer with a maximum. Errors are sticky: after the first failure every call is a
 * no-op and buf_error() tells, so a writer checks once at the end. The content is always followed by
 * a NUL that does not count. */
#ifndef CAIRN_BASE_BUF_H
#define CAIRN_BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include "base/str.h"

struct buf {
        char *p;
        size_t n;
        size_t _cap;
        size_t _max;
        int _err;
};

void buf_init(struct buf *b, size_t max); /* allocates nothing */
void buf_release(struct buf *b);          /* frees; b may be initialised again */
void buf_clear(struct buf *b);            /* empties, keeps the memory and clears the error */
int buf_error(const struct buf *b);       /* 0, -ENOMEM or -EFBIG (over the maximum) */
void buf_add(struct buf *b, const void *p, size_t n);
void buf_adds(struct buf *b, const char *s);
void buf_addc(struct buf *b, char c);
void buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_addv(struct buf *b, const char *fmt, va_list ap);
/* Room for n more bytes at b->p + b->n, to be claimed with b->n += k; NULL on error. */
char *buf_reserve(struct buf *b, size_t n);
void buf_consume(struct buf *b, size_t n); /* drops the first n bytes */
void buf_cut(struct buf *b, size_t n);     /* keeps the first n bytes, n <= b->n, and clears the error */
struct str buf_str(const struct buf *b);
/* Hands the memory to the caller, who frees it with mem_free(); b is empty afterwards. NULL on error. */
char *buf_take(struct buf *b, size_t *ret_n);
#endif
