#include "base/arena.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include "base/mem.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define POISON(p, n) __asan_poison_memory_region((p), (n))
#define UNPOISON(p, n) __asan_unpoison_memory_region((p), (n))
#else
#define POISON(p, n) ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#endif

#define FIRST_BLOCK 4096

struct block {
        struct block *next; /* older */
        size_t cap, used;
        _Alignas(16) char data[];
};

struct cleanup {
        struct cleanup *next;
        void (*fn)(void *);
        void *p;
};

struct arena {
        struct block *blocks; /* newest first; the last is the first block, kept over resets */
        struct cleanup *cleanups;
        size_t max, total;
};

static struct block *block_new(size_t cap)
{
        struct block *b = mem_alloc(sizeof(*b) + cap);
        if (!b)
                return NULL;
        *b = (struct block){ .cap = cap };
        POISON(b->data, cap);
        return b;
}

struct arena *arena_new(size_t max_bytes)
{
        struct arena *a = mem_alloc(sizeof(*a));
        if (!a)
                return NULL;
        *a = (struct arena){ .max = max_bytes, .blocks = block_new(FIRST_BLOCK) };
        if (!a->blocks) {
                mem_free(a);
                return NULL;
        }
        return a;
}

void arena_reset(struct arena *a)
{
        while (a->cleanups) {
                struct cleanup *c = a->cleanups;
                a->cleanups = c->next;
                c->fn(c->p);
        }
        while (a->blocks->next) {
                struct block *b = a->blocks;
                a->blocks = b->next;
                UNPOISON(b->data, b->cap);
                mem_free(b);
        }
        POISON(a->blocks->data, a->blocks->cap);
        a->blocks->used = 0;
        a->total = 0;
}

void arena_free(struct arena *a)
{
        if (!a)
                return;
        arena_reset(a);
        UNPOISON(a->blocks->data, a->blocks->cap);
        mem_free(a->blocks);
        mem_free(a);
}

size_t arena_used(const struct arena *a)
{
        return a->total;
}

void *arena_alloc(struct arena *a, size_t size)
{
        size_t need = (size + 15) & ~(size_t)15;
        if (need < size || need > a->max || a->total > a->max - need)
                return NULL;
        struct block *b = a->blocks;
        if (b->cap - b->used < need) {
                size_t cap = b->cap < (1u << 20) ? b->cap * 2 : b->cap;
                b = block_new(need > cap ? need : cap);
                if (!b)
                        return NULL;
                b->next = a->blocks;
                a->blocks = b;
        }
        void *p = b->data + b->used;
        UNPOISON(p, size);
        memset(p, 0, size);
        b->used += need;
        a->total += need;
        return p;
}

void *arena_array_(struct arena *a, size_t n, size_t size)
{
        size_t bytes;
        return __builtin_mul_overflow(n, size, &bytes) ? NULL : arena_alloc(a, bytes);
}

char *arena_strndup(struct arena *a, const char *p, size_t n)
{
        char *copy = n < SIZE_MAX ? arena_alloc(a, n + 1) : NULL;
        if (copy && n)
                memcpy(copy, p, n);
        return copy;
}

char *arena_strdup(struct arena *a, const char *s)
{
        return s ? arena_strndup(a, s, strlen(s)) : NULL;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
        va_list ap;
        va_start(ap, fmt);
        int n = vsnprintf(NULL, 0, fmt, ap);
        va_end(ap);
        char *out = n >= 0 ? arena_alloc(a, (size_t)n + 1) : NULL;
        if (!out)
                return NULL;
        va_start(ap, fmt);
        vsnprintf(out, (size_t)n + 1, fmt, ap);
        va_end(ap);
        return out;
}

int arena_defer(struct arena *a, void (*fn)(void *), void *p)
{
        struct cleanup *c = arena_make(a, struct cleanup);
        if (!c) {
                fn(p);
                return -ENOMEM;
        }
        *c = (struct cleanup){ .next = a->cleanups, .fn = fn, .p = p };
        a->cleanups = c;
        return 0;
}
