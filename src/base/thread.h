/* Threads of the server: each has a name, and none of them takes signals, which are for the main thread. */
#ifndef CAIRN_BASE_THREAD_H
#define CAIRN_BASE_THREAD_H

#include <pthread.h>
#include <stdint.h>

/* Runs fn(arg) in a new thread with every signal blocked. `name` is what ps and gdb show, at most 15 bytes;
 * what is longer is cut. The caller joins *ret, or detaches it. 0 or a negative errno. Any thread. */
int thread_start(pthread_t *ret, const char *name, void *(*fn)(void *), void *arg);

/* A condition whose timed waits count in clock_mono_ms's clock, so that setting the time of day wakes nobody.
 * 0 or a negative errno. */
int thread_cond_init(pthread_cond_t *cond);
/* Waits on a condition of thread_cond_init, under `lock`, until clock_mono_ms() is at `until_ms`, at once
 * when it is by then. 0 when woken, which may be for nothing; -ETIMEDOUT. */
int thread_cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t until_ms);

#endif
