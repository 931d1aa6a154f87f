/* A fixed set of worker threads over one bounded FIFO of tasks. */
#ifndef CAIRN_BASE_POOL_H
#define CAIRN_BASE_POOL_H

#include <stddef.h>

struct pool;

struct pool *pool_new(const char *name, int threads, size_t max_queued);
/* 0, or -EAGAIN when the queue is full or the pool is stopping: the task will not run. Any thread. */
int pool_submit(struct pool *p, void (*fn)(void *), void *arg);
size_t pool_queued(struct pool *p);
/* Runs what is queued, joins the threads, frees. Accepts NULL. */
void pool_free(struct pool *p);
#endif
