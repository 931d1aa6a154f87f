#include "jobs/jobs.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"
#include "base/thread.h"

#define LEASE_MS 30000
#define RENEW_MS 10000      /* a lease is renewed when it is so old */
#define RENEW_AGAIN_MS 1000 /* after a renewal that failed */
#define KEEPER_TICK_MS 1000
#define IDLE_MS 5000        /* between two looks without a call: leases of dead processes run out silently */
#define CLAIM_AGAIN_MS 1000 /* after a claim that failed */

struct job_run {
        struct jobs *q;
        const struct job_worker *worker;
        struct job job;
        void *data;
        /* Under the queue's lock: */
        int refs;            /* the owner's, until the job ended; whoever looks at it without the lock */
        int64_t renewed_ms;  /* monotonic: from then on the lease holds for LEASE_MS */
        int64_t renew_at_ms; /* monotonic */
        bool ending;         /* its end is being written: no renewal, which would not find it */
        bool ended;
        bool lost;    /* the lease */
        bool dropped; /* by its worker: the keeper gives the job back */
        bool told;    /* stop() was called, or need not be */
        bool telling; /* stop() runs, on the thread `teller` */
        pthread_t teller;
        struct job_run *next, **prev;
};

struct jobs {
        struct store *store;
        struct job_worker *workers;
        size_t n, *running;  /* by worker */
        const char **claims; /* the dispatcher's: kinds of which there is room for a job */
        pthread_mutex_t lock;
        pthread_cond_t changed; /* anything below */
        uint64_t calls;         /* reasons to look for jobs */
        struct job_run *runs;
        size_t threads; /* in a worker's run() */
        bool stopping;  /* nothing is claimed any more */
        bool closing;   /* nothing runs any more */
        pthread_t dispatcher, keeper;
};

/* ---- runs ---- */

/* Under the lock. */
static void run_unref(struct job_run *run)
{
        if (--run->refs)
                return;
        job_release(&run->job);
        mem_free(run);
}

/* Under the lock: another reason to look for jobs, or to see whether all is still. */
static void call(struct jobs *q)
{
        q->calls++;
        pthread_cond_broadcast(&q->changed);
}

static void on_notify(void *ctx, const char *topic, const char *id)
{
        struct jobs *q = ctx;
        bool mine = !*topic;
        for (size_t i = 0; !mine && i < q->n && !strcmp(topic, STORE_TOPIC_JOB); i++)
                mine = !strcmp(id, q->workers[i].kind);
        if (!mine)
                return;
        pthread_mutex_lock(&q->lock);
        call(q);
        pthread_mutex_unlock(&q->lock);
}

static void link_run(struct jobs *q, struct job_run *run)
{
        run->next = q->runs;
        run->prev = &q->runs;
        if (run->next)
                run->next->prev = &run->next;
        q->runs = run;
        q->running[run->worker - q->workers]++;
}

/* Under the lock: a stop() that runs on another thread comes to its end. */
static void wait_told(struct job_run *run)
{
        while (run->telling && !pthread_equal(run->teller, pthread_self()))
                pthread_cond_wait(&run->q->changed, &run->q->lock);
}

/* Under the lock: the owner's reference goes. */
static void unlink_run(struct job_run *run)
{
        struct jobs *q = run->q;
        run->ended = true;
        *run->prev = run->next;
        if (run->next)
                run->next->prev = run->prev;
        q->running[run->worker - q->workers]--;
        run_unref(run);
        call(q);
}

/* The job has ended. */
static void run_end(struct job_run *run)
{
        struct jobs *q = run->q;
        pthread_mutex_lock(&q->lock);
        wait_told(run);
        unlink_run(run);
        pthread_mutex_unlock(&q->lock);
}

/* Calls stop(), once. Under the lock, which is free meanwhile. */
static void tell(struct job_run *run)
{
        struct jobs *q = run->q;
        if (run->told || run->ended)
                return;
        run->told = true;
        if (!run->worker->stop)
                return;
        run->telling = true;
        run->teller = pthread_self();
        run->refs++;
        pthread_mutex_unlock(&q->lock);
        run->worker->stop(run->worker->ctx, run);
        pthread_mutex_lock(&q->lock);
        run->telling = false;
        pthread_cond_broadcast(&q->changed);
        run_unref(run);
}

/* ---- claiming ---- */

static void *run_main(void *arg)
{
        struct job_run *run = arg;
        struct jobs *q = run->q;
        run->worker->run(run->worker->ctx, run); /* afterwards it may be gone */
        pthread_mutex_lock(&q->lock);
        q->threads--;
        pthread_cond_broadcast(&q->changed);
        pthread_mutex_unlock(&q->lock);
        return NULL;
}

/* A job that cannot be done here now. When even this fails its lease runs out. */
static int give_back(struct jobs *q, const struct job *job)
{
        struct store_op op = { .verb = STORE_JOB_RETRY,
                               .kind = job->kind,
                               .id = job->id,
                               .lease = job->lease,
                               .due = clock_unix_us() / 1000 + CLAIM_AGAIN_MS };
        return store_write(q->store, &op, 1, NULL);
}

/* Starts the thread of a claimed job. False when there is none to be had. */
static bool run_start(struct jobs *q, struct job_run *run)
{
        char name[16];
        pthread_t thread;
        for (size_t i = 0; i < q->n; i++)
                if (!strcmp(q->workers[i].kind, run->job.kind))
                        run->worker = &q->workers[i];
        run->q = q;
        run->refs = 1;
        pthread_mutex_lock(&q->lock);
        bool ok = run->worker && !q->stopping;
        if (ok) {
                link_run(q, run);
                q->threads++;
        }
        pthread_mutex_unlock(&q->lock);
        if (!ok)
                return false;
        snprintf(name, sizeof(name), "job-%.11s", run->job.kind); /* the run may be gone once it has begun */
        if (thread_start(&thread, name, run_main, run) == 0) {
                pthread_detach(thread);
                return true;
        }
        pthread_mutex_lock(&q->lock);
        q->threads--;
        run->refs++; /* the caller's */
        pthread_mutex_unlock(&q->lock);
        run_end(run);
        return false;
}

/* Claims one job of the kinds and begins it. Gives the milliseconds to wait before the next look. */
static int64_t claim_one(struct jobs *q, const char *const *kinds, size_t n)
{
        struct store_fault fault = { 0 };
        int64_t due = 0, now = clock_mono_ms();
        struct job_run *run = mem_calloc(1, sizeof(*run));
        if (!run)
                return CLAIM_AGAIN_MS;
        int rc = store_job_claim(q->store, kinds, n, LEASE_MS, &run->job, &due, &fault);
        if (rc == 0) {
                run->renewed_ms = now;
                run->renew_at_ms = now + RENEW_MS;
                if (run_start(q, run))
                        return 0;
                give_back(q, &run->job);
        }
        job_release(&run->job);
        mem_free(run);
        if (rc != -ENOENT)
                return CLAIM_AGAIN_MS;
        int64_t wait = due ? due - clock_unix_us() / 1000 : IDLE_MS;
        return wait < 1 ? 1 : wait < IDLE_MS ? wait : IDLE_MS;
}

/* Under the lock: waits for a change, for ms at most. */
static void wait_ms(struct jobs *q, int64_t ms)
{
        thread_cond_wait_until(&q->changed, &q->lock, clock_mono_ms() + ms);
}

static void *dispatch_main(void *arg)
{
        struct jobs *q = arg;
        pthread_mutex_lock(&q->lock);
        while (!q->stopping) {
                uint64_t seen = q->calls;
                size_t n = 0;
                for (size_t i = 0; i < q->n; i++)
                        if (q->running[i] < (size_t)q->workers[i].at_once)
                                q->claims[n++] = q->workers[i].kind;
                pthread_mutex_unlock(&q->lock);
                int64_t pause = n ? claim_one(q, q->claims, n) : IDLE_MS;
                pthread_mutex_lock(&q->lock);
                if (pause && q->calls == seen && !q->stopping)
                        wait_ms(q, pause);
        }
        pthread_mutex_unlock(&q->lock);
        return NULL;
}

/* ---- keeping the leases ---- */

/* Renews the lease of one run. Under the lock, which is free meanwhile. */
static void renew(struct job_run *run)
{
        struct jobs *q = run->q;
        int64_t now = clock_mono_ms();
        run->refs++;
        pthread_mutex_unlock(&q->lock);
        int rc = store_job_renew(q->store, run->job.kind, run->job.id, run->job.lease, LEASE_MS, NULL);
        pthread_mutex_lock(&q->lock);
        if (rc == 0)
                run->renewed_ms = now;
        run->renew_at_ms = now + (rc ? RENEW_AGAIN_MS : RENEW_MS);
        /* When the store cannot be asked, another process may have the job once the lease is over. */
        bool lost = rc == -ESTALE || clock_mono_ms() - run->renewed_ms >= LEASE_MS;
        if (lost && !run->ending && !run->ended) {
                run->lost = true;
                tell(run);
        }
        run_unref(run);
}

/* Gives the job of a dropped run back, so that it need not wait for the end of its lease. Under the lock,
 * which is free meanwhile. */
static void return_job(struct job_run *run)
{
        struct jobs *q = run->q;
        pthread_mutex_unlock(&q->lock);
        int rc = give_back(q, &run->job);
        pthread_mutex_lock(&q->lock);
        run->renew_at_ms = clock_mono_ms() + RENEW_AGAIN_MS;
        bool over = clock_mono_ms() - run->renewed_ms >= LEASE_MS;
        if (rc == 0 || rc == -ESTALE || over || q->stopping)
                unlink_run(run);
}

/* Under the lock: whether the keeper has something to do for the run now. */
static bool keeper_needed(const struct job_run *run, int64_t now)
{
        if (run->dropped)
                return run->renew_at_ms <= now || run->q->stopping;
        return run->renew_at_ms <= now && !run->ending && !run->lost;
}

static void *keeper_main(void *arg)
{
        struct jobs *q = arg;
        pthread_mutex_lock(&q->lock);
        while (!q->closing) {
                int64_t now = clock_mono_ms();
                struct job_run *due = q->runs;
                while (due && !keeper_needed(due, now))
                        due = due->next;
                if (!due)
                        wait_ms(q, KEEPER_TICK_MS);
                else if (due->dropped)
                        return_job(due);
                else
                        renew(due);
        }
        pthread_mutex_unlock(&q->lock);
        return NULL;
}

/* ---- the queue ---- */

static void jobs_free(struct jobs *q)
{
        pthread_cond_destroy(&q->changed);
        pthread_mutex_destroy(&q->lock);
        mem_free(q->workers);
        mem_free(q->running);
        mem_free(q->claims);
        mem_free(q);
}

static struct jobs *jobs_new(struct store *s, const struct job_worker *workers, size_t n)
{
        struct jobs *q = mem_calloc(1, sizeof(*q));
        if (!q)
                return NULL;
        pthread_mutex_init(&q->lock, NULL);
        thread_cond_init(&q->changed);
        q->store = s;
        q->workers = mem_calloc(n, sizeof(*workers));
        q->running = mem_calloc(n, sizeof(*q->running));
        q->claims = mem_calloc(n, sizeof(*q->claims));
        if (!q->workers || !q->running || !q->claims) {
                jobs_free(q);
                return NULL;
        }
        memcpy(q->workers, workers, n * sizeof(*workers));
        q->n = n;
        return q;
}

static void keeper_stop(struct jobs *q)
{
        pthread_mutex_lock(&q->lock);
        q->closing = true;
        pthread_cond_broadcast(&q->changed);
        pthread_mutex_unlock(&q->lock);
        pthread_join(q->keeper, NULL);
}

int jobs_start(struct store *s, const struct job_worker *workers, size_t n, struct jobs **ret)
{
        *ret = NULL;
        struct jobs *q = jobs_new(s, workers, n);
        if (!q)
                return -ENOMEM;
        int rc = store_watch(s, on_notify, q);
        if (rc)
                goto fail_free;
        rc = thread_start(&q->keeper, "job-leases", keeper_main, q);
        if (rc)
                goto fail_watch;
        rc = thread_start(&q->dispatcher, "job-claims", dispatch_main, q);
        if (rc)
                goto fail_keeper;
        *ret = q;
        return 0;
fail_keeper:
        keeper_stop(q);
fail_watch:
        store_unwatch(s, on_notify, q);
fail_free:
        jobs_free(q);
        return rc;
}

void jobs_stop(struct jobs *q)
{
        if (!q)
                return;
        pthread_mutex_lock(&q->lock);
        q->stopping = true;
        call(q);
        pthread_mutex_unlock(&q->lock);
        pthread_join(q->dispatcher, NULL);
        pthread_mutex_lock(&q->lock);
        for (;;) {
                struct job_run *untold = q->runs;
                while (untold && untold->told)
                        untold = untold->next;
                if (untold)
                        tell(untold);
                else if (q->runs || q->threads)
                        pthread_cond_wait(&q->changed, &q->lock);
                else
                        break;
        }
        pthread_mutex_unlock(&q->lock);
        keeper_stop(q);
        store_unwatch(q->store, on_notify, q);
        jobs_free(q);
}

size_t jobs_running(struct jobs *q, const char *kind)
{
        size_t n = 0;
        pthread_mutex_lock(&q->lock);
        for (size_t i = 0; i < q->n; i++)
                n += !kind || !strcmp(kind, q->workers[i].kind) ? q->running[i] : 0;
        pthread_mutex_unlock(&q->lock);
        return n;
}

/* ---- what a worker asks and does ---- */

const struct job *job_of(const struct job_run *run)
{
        return &run->job;
}

bool job_stopping(const struct job_run *run)
{
        struct jobs *q = run->q;
        pthread_mutex_lock(&q->lock);
        bool stopping = q->stopping || run->lost;
        pthread_mutex_unlock(&q->lock);
        return stopping;
}

void job_set_data(struct job_run *run, void *data)
{
        run->data = data;
}

void *job_data(const struct job_run *run)
{
        return run->data;
}

/* The change of the job comes first: who has lost the lease learns that, and nothing else. */
static int commit(struct job_run *run, const struct store_op *change, const struct store_op *ops, size_t n,
                  struct store_fault *fault)
{
        struct store_fault own = { 0 };
        struct store_op *all = mem_calloc(n + 1, sizeof(*all));
        if (!all)
                return -ENOMEM;
        all[0] = *change;
        all[0].kind = run->job.kind;
        all[0].id = run->job.id;
        all[0].lease = run->job.lease;
        if (n)
                memcpy(all + 1, ops, n * sizeof(*ops));
        int rc = store_write(run->q->store, all, n + 1, &own);
        if (own.op) {
                own.op--;
                rc = rc == -ESTALE ? -EALREADY : rc;
        }
        if (fault)
                *fault = own;
        mem_free(all);
        return rc;
}

static void set_ending(struct job_run *run, bool ending)
{
        pthread_mutex_lock(&run->q->lock);
        run->ending = ending;
        pthread_mutex_unlock(&run->q->lock);
}

static int commit_end(struct job_run *run, const struct store_op *change, const struct store_op *ops,
                      size_t n, struct store_fault *fault)
{
        set_ending(run, true);
        int rc = commit(run, change, ops, n, fault);
        if (rc == 0 || rc == -ESTALE)
                run_end(run);
        else
                set_ending(run, false);
        return rc;
}

int job_finish(struct job_run *run, const struct store_op *ops, size_t n, struct store_fault *fault)
{
        return commit_end(run, &(struct store_op){ .verb = STORE_JOB_FINISH }, ops, n, fault);
}

int job_retry(struct job_run *run, int64_t due_ms, struct str payload, const struct store_op *ops, size_t n,
              struct store_fault *fault)
{
        struct store_op change = { .verb = STORE_JOB_RETRY, .doc = payload, .due = due_ms };
        return commit_end(run, &change, ops, n, fault);
}

int job_save(struct job_run *run, struct str payload, const struct store_op *ops, size_t n,
             struct store_fault *fault)
{
        return commit(run, &(struct store_op){ .verb = STORE_JOB_SAVE, .doc = payload }, ops, n, fault);
}

void job_lost(struct job_run *run)
{
        struct jobs *q = run->q;
        pthread_mutex_lock(&q->lock);
        wait_told(run);
        run->told = true;
        run->dropped = true;
        run->renew_at_ms = clock_mono_ms() + RENEW_AGAIN_MS;
        if (run->lost)
                unlink_run(run);
        else
                pthread_cond_broadcast(&q->changed);
        pthread_mutex_unlock(&q->lock);
}
