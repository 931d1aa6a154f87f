/* Bump allocation with one lifetime: a request's memory is taken here and released together, after
 * the deferred cleanups have run in reverse order. Not thread-safe: one owner at a time. */
#ifndef CAIRN_BASE_ARENA_H
#define CAIRN_BASE_ARENA_H

#include <stdarg.h>
#include <stddef.h>
#include "base/str.h"

struct arena;

struct arena *arena_new(size_t max_bytes); /* NULL when memory is out */
void arena_free(struct arena *a);          /* runs cleanups; accepts NULL */
void arena_reset(struct arena *a);         /* runs cleanups, keeps the first block, poisons it under ASan */
size_t arena_used(const struct arena *a);

/* Zeroed, 16-byte aligned. NULL when the maximum is reached or memory is out. */
void *arena_alloc(struct arena *a, size_t size);
void *arena_array_(struct arena *a, size_t n, size_t size);
#define arena_make(a, T) ((T *)arena_alloc((a), sizeof(T)))
#define arena_array(a, T, n) ((T *)arena_array_((a), (n), sizeof(T)))
char *arena_strndup(struct arena *a, const char *p, size_t n);
char *arena_strdup(struct arena *a, const char *s); /* NULL gives NULL */
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* fn(p) runs at reset or free. On failure (-ENOMEM) fn(p) has run already, so nothing leaks. */
int arena_defer(struct arena *a, void (*fn)(void *), void *p);
#endif
