#include "base/mem.h"

#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local bool failed;

/* Notes a failure on its way to the caller. */
static void *noted(void *p)
{
        if (!p)
                failed = true;
        return p;
}

bool mem_take_failure(void)
{
        bool was = failed;
        failed = false;
        return was;
}

#ifdef CAIRN_FAULTS
#include <stdatomic.h>

static atomic_long fail_at;
static atomic_long counted;

void mem_fail_nth(long n)
{
        atomic_store(&counted, 0);
        atomic_store(&fail_at, n);
}

long mem_alloc_count(void)
{
        return atomic_load(&counted);
}

static int injected_failure(void)
{
        long nth = atomic_fetch_add(&counted, 1) + 1;
        return nth == atomic_load(&fail_at);
}
#else
static inline int injected_failure(void)
{
        return 0;
}
#endif

void *mem_alloc(size_t size)
{
        return noted(injected_failure() ? NULL : malloc(size ? size : 1));
}

void *mem_calloc(size_t n, size_t size)
{
        return noted(injected_failure() ? NULL : calloc(n ? n : 1, size ? size : 1));
}

void *mem_realloc(void *p, size_t n, size_t size)
{
        size_t bytes;
        if (__builtin_mul_overflow(n, size, &bytes) || injected_failure())
                return noted(NULL);
        return noted(realloc(p, bytes ? bytes : 1));
}

char *mem_strndup(const char *p, size_t n)
{
        if (n == SIZE_MAX)
                return NULL;
        char *copy = mem_alloc(n + 1);
        if (!copy)
                return NULL;
        if (n)
                memcpy(copy, p, n);
        copy[n] = '\0';
        return copy;
}

char *mem_strdup(const char *s)
{
        return mem_strndup(s, strlen(s));
}

void mem_free(void *p)
{
        free(p);
}

void mem_trim(void)
{
        malloc_trim(0);
}
