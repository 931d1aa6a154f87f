#include "train/team.h"

#include <pthread.h>
#include <stdbool.h>
#include "base/mem.h"
#include "base/thread.h"

struct member {
        struct team *team;
        pthread_t thread;
        int index;
};

struct team {
        pthread_mutex_t lock;
        pthread_cond_t start, done;
        struct member *members; /* [size]; member 0 has no thread */
        int size, threads, running;
        long round; /* counts jobs; a change wakes the members */
        bool stop;
        void (*fn)(void *, int);
        void *arg;
};

/* Numbers too small for a normal float become zero: they cost a hundred cycles each and mean nothing here. */
static void flush_denormals(void)
{
#ifdef __x86_64__
        __builtin_ia32_ldmxcsr(__builtin_ia32_stmxcsr() | 0x8040);
#endif
}

static void *member_main(void *arg)
{
        struct member *m = arg;
        struct team *t = m->team;
        long seen = 0;

        flush_denormals();
        pthread_mutex_lock(&t->lock);
        for (;;) {
                while (t->round == seen && !t->stop)
                        pthread_cond_wait(&t->start, &t->lock);
                if (t->stop)
                        break;
                seen = t->round;
                pthread_mutex_unlock(&t->lock);
                t->fn(t->arg, m->index);
                pthread_mutex_lock(&t->lock);
                if (--t->running == 0)
                        pthread_cond_signal(&t->done);
        }
        pthread_mutex_unlock(&t->lock);
        return NULL;
}

struct team *team_new(int workers)
{
        struct team *t = mem_calloc(1, sizeof(*t));
        if (!t)
                return NULL;
        pthread_mutex_init(&t->lock, NULL);
        pthread_cond_init(&t->start, NULL);
        pthread_cond_init(&t->done, NULL);
        t->size = workers;
        t->members = mem_calloc((size_t)workers, sizeof(*t->members));
        if (!t->members)
                goto fail;
        flush_denormals();
        for (int i = 1; i < workers; i++) {
                t->members[i] = (struct member){ .team = t, .index = i };
                if (thread_start(&t->members[i].thread, "train", member_main, &t->members[i]))
                        goto fail;
                t->threads = i;
        }
        return t;
fail:
        team_free(t);
        return NULL;
}

void team_free(struct team *t)
{
        if (!t)
                return;
        pthread_mutex_lock(&t->lock);
        t->stop = true;
        pthread_cond_broadcast(&t->start);
        pthread_mutex_unlock(&t->lock);
        for (int i = 1; i <= t->threads; i++)
                pthread_join(t->members[i].thread, NULL);
        pthread_cond_destroy(&t->start);
        pthread_cond_destroy(&t->done);
        pthread_mutex_destroy(&t->lock);
        mem_free(t->members);
        mem_free(t);
}

int team_size(const struct team *t)
{
        return t->size;
}

void team_run(struct team *t, void (*fn)(void *arg, int worker), void *arg)
{
        pthread_mutex_lock(&t->lock);
        t->fn = fn;
        t->arg = arg;
        t->running = t->size - 1;
        t->round++;
        pthread_cond_broadcast(&t->start);
        pthread_mutex_unlock(&t->lock);
        fn(arg, 0);
        pthread_mutex_lock(&t->lock);
        while (t->running)
                pthread_cond_wait(&t->done, &t->lock);
        pthread_mutex_unlock(&t->lock);
}
