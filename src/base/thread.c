#include "base/thread.h"

#include <signal.h>
#include <stdio.h>
#include <time.h>

int thread_start(pthread_t *ret, const char *name, void *(*fn)(void *), void *arg)
{
        sigset_t all, before;
        char label[16]; /* the kernel's bound */
        snprintf(label, sizeof(label), "%s", name);
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        int rc = pthread_create(ret, NULL, fn, arg);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (!rc)
                pthread_setname_np(*ret, label);
        return -rc;
}

int thread_cond_init(pthread_cond_t *cond)
{
        pthread_condattr_t attr;
        int rc = pthread_condattr_init(&attr);
        if (rc)
                return -rc;
        rc = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        if (!rc)
                rc = pthread_cond_init(cond, &attr);
        pthread_condattr_destroy(&attr);
        return -rc;
}

int thread_cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t until_ms)
{
        struct timespec at = { .tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * 1000000 };
        return -pthread_cond_timedwait(cond, lock, &at);
}
