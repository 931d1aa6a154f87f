/* The only place that calls the C allocator. In builds with CAIRN_FAULTS the nth allocation of the
 * process or of a test can be made to fail, so that every error path can be walked. */
#ifndef CAIRN_BASE_MEM_H
#define CAIRN_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>

/* Memory of `size` bytes (uninitialised), or NULL. A size of 0 gives a valid pointer. */
void *mem_alloc(size_t size);
/* Zeroed array of n elements of `size` bytes; NULL when the product overflows or memory is out. */
void *mem_calloc(size_t n, size_t size);
/* Like realloc for an array; on failure the old block is kept and NULL is returned. */
void *mem_realloc(void *p, size_t n, size_t size);
/* A copy of n bytes of p with a terminating NUL. */
char *mem_strndup(const char *p, size_t n);
char *mem_strdup(const char *s);
/* Whether an allocation of the calling thread has failed since its last call of this. A builder of a large
 * tree asks once at the end instead of at every node. */
bool mem_take_failure(void);
/* Accepts NULL. */
void mem_free(void *p);
/* Gives free memory back to the system: the allocator keeps what a rare large request needed. Takes a while.
 */
void mem_trim(void);

#ifdef CAIRN_FAULTS
/* Fails the nth allocation from now (1 = the next one), once; 0 switches off. Any thread. */
void mem_fail_nth(long n);
/* Allocations made since the last mem_fail_nth(). */
long mem_alloc_count(void);
#endif
#endif
