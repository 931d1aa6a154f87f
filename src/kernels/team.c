#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/mem.h"
#include "base/thread.h"
#include "kernels/team.h"

#define SPINS 2000 /* some tens of microseconds */

/* A counter that threads wait on to change. */
struct gate {
        _Alignas(64) atomic_uint gen;
        atomic_int sleepers;
};

struct member {
        struct kern_team *team;
        pthread_t thread;
        int tid;
};

struct kern_team {
        struct gate start;   /* a new job */
        struct gate barrier; /* everybody has arrived */
        _Alignas(64) atomic_int arrived;
        int n, started;
        bool stop; /* written before start.gen changes */
        void (*fn)(void *arg, int tid);
        void *arg;
        struct member *members; /* n - 1: thread 0 is the caller of kern_team_run */
        void *raw;              /* what mem_calloc gave */
};

static inline void relax(void)
{
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
}

static void gate_wait(struct gate *g, unsigned old)
{
        for (int i = 0; i < SPINS; i++) {
                if (atomic_load_explicit(&g->gen, memory_order_acquire) != old)
                        return;
                relax();
        }
        atomic_fetch_add(&g->sleepers, 1);
        while (atomic_load(&g->gen) == old)
                syscall(SYS_futex, &g->gen, FUTEX_WAIT_PRIVATE, old, NULL, NULL, 0);
        atomic_fetch_sub(&g->sleepers, 1);
}

/* A sleeper either is counted here already or finds the new value when it enters the kernel. */
static void gate_open(struct gate *g)
{
        atomic_fetch_add(&g->gen, 1);
        if (atomic_load(&g->sleepers) > 0)
                syscall(SYS_futex, &g->gen, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

void kern_team_barrier(struct kern_team *t)
{
        if (t->n == 1)
                return;
        unsigned gen = atomic_load_explicit(&t->barrier.gen, memory_order_relaxed);
        if (atomic_fetch_add_explicit(&t->arrived, 1, memory_order_acq_rel) == t->n - 1) {
                atomic_store_explicit(&t->arrived, 0, memory_order_relaxed);
                gate_open(&t->barrier);
        } else {
                gate_wait(&t->barrier, gen);
        }
}

static void *member_main(void *arg)
{
        struct member *m = arg;
        struct kern_team *t = m->team;
        for (unsigned gen = 0;; gen++) {
                gate_wait(&t->start, gen);
                if (t->stop)
                        return NULL;
                t->fn(t->arg, m->tid);
                kern_team_barrier(t);
        }
}

void kern_team_run(struct kern_team *t, void (*fn)(void *arg, int tid), void *arg)
{
        t->fn = fn;
        t->arg = arg;
        if (t->n > 1)
                gate_open(&t->start);
        fn(arg, 0);
        kern_team_barrier(t);
}

struct kern_team *kern_team_new(int n)
{
        /* The gates are aligned to cache lines, which mem_alloc does not promise. */
        void *raw = n < 1 ? NULL : mem_calloc(1, sizeof(struct kern_team) + 64);
        if (!raw)
                return NULL;
        struct kern_team *t = (struct kern_team *)(((uintptr_t)raw + 63) & ~(uintptr_t)63);
        t->raw = raw;
        t->n = n;
        t->members = mem_calloc((size_t)n, sizeof(*t->members));
        for (int i = 1; t->members && i < n; i++) {
                struct member *m = &t->members[i - 1];
                *m = (struct member){ .team = t, .tid = i };
                if (thread_start(&m->thread, "kernels", member_main, m))
                        break;
                t->started++;
        }
        if (t->members && t->started == n - 1)
                return t;
        kern_team_free(t);
        return NULL;
}

void kern_team_free(struct kern_team *t)
{
        if (!t)
                return;
        t->stop = true;
        gate_open(&t->start);
        for (int i = 0; i < t->started; i++)
                pthread_join(t->members[i].thread, NULL);
        mem_free(t->members);
        mem_free(t->raw);
}

int kern_team_size(const struct kern_team *t)
{
        return t->n;
}

void kern_team_share(int tid, int threads, size_t n, size_t unit, size_t *ret_from, size_t *ret_to)
{
        size_t units = (n + unit - 1) / unit, k = (size_t)tid, all = (size_t)threads;
        size_t from = units * k / all * unit, to = units * (k + 1) / all * unit;
        *ret_from = from < n ? from : n;
        *ret_to = to < n ? to : n;
}

/* cpu.max of control groups v2: "max PERIOD" or "QUOTA PERIOD" in microseconds. */
static int quota_cores(void)
{
        long quota, period;
        FILE *f = fopen("/sys/fs/cgroup/cpu.max", "re");
        if (!f)
                return INT_MAX;
        int got = fscanf(f, "%ld %ld", &quota, &period);
        fclose(f);
        if (got != 2 || quota <= 0 || period <= 0)
                return INT_MAX;
        return (int)((quota + period - 1) / period);
}

int kern_team_default_threads(void)
{
        cpu_set_t set;
        int n = sched_getaffinity(0, sizeof(set), &set) ? 1 : CPU_COUNT(&set);
        int quota = quota_cores();
        n = n < quota ? n : quota;
        return n < 1 ? 1 : n;
}
