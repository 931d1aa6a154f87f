#include "base/pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include "base/mem.h"
#include "base/thread.h"

struct task {
        void (*fn)(void *);
        void *arg;
};

struct pool {
        pthread_mutex_t lock;
        pthread_cond_t wake;
        struct task *tasks; /* circular, `cap` long */
        size_t cap, head, queued;
        struct pool_task *first, **last; /* pushed ones go before them */
        size_t pushed;
        bool stopping;
        int threads;
        pthread_t thread[];
};

/* The next task, off its queue; there is one. Lock held. */
static struct task next_task(struct pool *p)
{
        struct pool_task *t = p->first;
        if (t) {
                p->first = t->_next;
                p->last = p->first ? p->last : &p->first;
                p->pushed--;
                return (struct task){ t->fn, t->arg };
        }
        struct task task = p->tasks[p->head];
        p->head = (p->head + 1) % p->cap;
        p->queued--;
        return task;
}

static void *worker_main(void *arg)
{
        struct pool *p = arg;
        pthread_mutex_lock(&p->lock);
        for (;;) {
                while (!p->queued && !p->pushed && !p->stopping)
                        pthread_cond_wait(&p->wake, &p->lock);
                if (!p->queued && !p->pushed)
                        break;
                struct task task = next_task(p);
                pthread_mutex_unlock(&p->lock);
                task.fn(task.arg);
                pthread_mutex_lock(&p->lock);
        }
        pthread_mutex_unlock(&p->lock);
        return NULL;
}

struct pool *pool_new(const char *name, int threads, size_t max_queued)
{
        struct pool *p = mem_calloc(1, sizeof(*p) + (size_t)threads * sizeof(pthread_t));
        if (!p)
                return NULL;
        pthread_mutex_init(&p->lock, NULL);
        pthread_cond_init(&p->wake, NULL);
        p->cap = max_queued;
        p->last = &p->first;
        p->tasks = mem_calloc(max_queued, sizeof(*p->tasks));
        for (; p->tasks && p->threads < threads; p->threads++) {
                char label[16];
                snprintf(label, sizeof(label), "%.10s-%d", name, p->threads);
                if (thread_start(&p->thread[p->threads], label, worker_main, p))
                        break;
        }
        if (p->threads == threads && p->tasks)
                return p;
        pool_free(p);
        return NULL;
}

int pool_submit(struct pool *p, void (*fn)(void *), void *arg)
{
        int rc = -EAGAIN;
        pthread_mutex_lock(&p->lock);
        if (!p->stopping && p->queued < p->cap) {
                p->tasks[(p->head + p->queued++) % p->cap] = (struct task){ fn, arg };
                pthread_cond_signal(&p->wake);
                rc = 0;
        }
        pthread_mutex_unlock(&p->lock);
        return rc;
}

void pool_push(struct pool *p, struct pool_task *t)
{
        t->_next = NULL;
        pthread_mutex_lock(&p->lock);
        *p->last = t;
        p->last = &t->_next;
        p->pushed++;
        pthread_cond_signal(&p->wake);
        pthread_mutex_unlock(&p->lock);
}

size_t pool_queued(struct pool *p)
{
        pthread_mutex_lock(&p->lock);
        size_t n = p->queued + p->pushed;
        pthread_mutex_unlock(&p->lock);
        return n;
}

void pool_free(struct pool *p)
{
        if (!p)
                return;
        pthread_mutex_lock(&p->lock);
        p->stopping = true;
        pthread_cond_broadcast(&p->wake);
        pthread_mutex_unlock(&p->lock);
        for (int i = 0; i < p->threads; i++)
                pthread_join(p->thread[i], NULL);
        pthread_cond_destroy(&p->wake);
        pthread_mutex_destroy(&p->lock);
        mem_free(p->tasks);
        mem_free(p);
}
