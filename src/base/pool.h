/* A fixed set of worker threads over one bounded FIFO of tasks. */
#ifndef CAIRN_BASE_POOL_H
#define CAIRN_BASE_POOL_H

#include <stddef.h>

struct pool;

/* A task in the caller's own memory. */
struct pool_task {
        void (*fn)(void *);
        void *arg;
        struct pool_task *_next;
};

struct pool *pool_new(const char *name, int threads, size_t max_queued);
/* 0, or -EAGAIN when the queue is full or the pool is stopping: the task will not run. Any thread. */
int pool_submit(struct pool *p, void (*fn)(void *), void *arg);
/* Queues t->fn(t->arg) in front of what was submitted, and never refuses: for the ends of work that was taken
 * on, which are as many as that work. *t is the pool's until fn begins. Not after pool_free() began. Any
 * thread. */
void pool_push(struct pool *p, struct pool_task *t);
size_t pool_queued(struct pool *p);
/* Runs what is queued, joins the threads, frees. Accepts NULL. */
void pool_free(struct pool *p);
#endif
