/* The worker: takes a batch from state to state, from wherever it was left. */
#include "jobs/batch_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "base/clock.h"
#include "base/mem.h"

#define RETRY_MIN_MS 1000
#define RETRY_MAX_MS 60000
#define END_AGAIN_NS 500000000
#define EXPIRY_AGAIN_MS 10000
#define EXPIRY_AT_ONCE 4
#define AT_ONCE 64 /* each has a thread, and a share of the lines in flight */

/* One step. BATCH_DONE: look at the state again; BATCH_STOPPED, or a negative errno. */
static int step(struct batch *b)
{
        int end = BATCH_DONE;
        if (batch_is(b, "validating")) {
                end = batch_validate(b);
                if (end == BATCH_DONE)
                        return 0;
        } else if (batch_is(b, "in_progress")) {
                end = batch_execute(b);
        } else if (batch_is(b, "cancelling")) {
                end = BATCH_CANCELLED;
        }
        if (end == BATCH_CANCELLED || end == BATCH_EXPIRED || end == BATCH_NO_INPUT) {
                int rc = batch_answer_kept(b);
                end = rc == BATCH_DONE ? end : rc;
        }
        if (end < 0 || end == BATCH_STOPPED)
                return end;
        end = batch_finalize(b, (enum batch_end)end);
        return end == -ECANCELED ? 0 : end; /* it has another state by now */
}

/* The row cannot be read, now or later. */
static void report_damage(const struct batch *b, const struct store_fault *fault)
{
        char finding[512];
        snprintf(finding, sizeof(finding), "nothing more can be done for %s: %s", b->id, fault->msg);
        b->all->o.report(finding);
}

/* 0 when there is nothing left to do. */
static int work(struct batch *b)
{
        struct store_fault fault = { 0 };
        int rc = batch_load(b, &fault);
        if (rc == -EBADMSG)
                report_damage(b, &fault);
        if (rc == -ENOENT || rc == -EBADMSG)
                return 0;
        if (rc)
                return batch_failed(b, rc, fault.msg);
        principal_read(json_get(b->doc, "who"), &b->who);
        while (rc == 0 && !batch_is_over(b->object))
                rc = step(b);
        return rc ? rc : batch_clean(b);
}

int batch_failed(struct batch *b, int rc, const char *why)
{
        b->failed = rc;
        snprintf(b->why, sizeof(b->why), "%s", why);
        return rc;
}

/* The operator is told why a batch waits, once for each attempt: the pauses between them grow. */
static void report_pause(const struct batch *b, int rc, int64_t pause_ms)
{
        char finding[1024];
        const char *why = b->failed == rc && *b->why ? b->why : strerror(-rc);
        snprintf(finding, sizeof(finding), "%s (%s) cannot go on, and is tried again in %lld s: %s", b->id,
                 json_cstr(b->object, "status", "not read"), (long long)(pause_ms / 1000), why);
        b->all->o.report(finding);
}

/* When a job whose work has come to rc is due again: unix milliseconds, 0: at once. */
static int64_t next_due(const struct batch *b, int rc)
{
        int attempt = job_of(b->run)->attempt < 7 ? job_of(b->run)->attempt : 7;
        int64_t pause = (int64_t)RETRY_MIN_MS << attempt;
        if (rc >= 0 || rc == -ESTALE)
                return 0;
        pause = pause < RETRY_MAX_MS ? pause : RETRY_MAX_MS;
        report_pause(b, rc, pause);
        return clock_unix_us() / 1000 + pause;
}

/* One attempt to end the job by what the work has come to. */
static int try_end(struct job_run *run, int rc, int64_t due_ms)
{
        return rc == 0 ? job_finish(run, NULL, 0, NULL)
                       : job_retry(run, due_ms, (struct str){ NULL, 0 }, NULL, 0, NULL);
}

/* A store in trouble is asked again, so that the job need not wait for its lease to run out. */
static void end_job(struct job_run *run, int rc, int64_t due_ms)
{
        int end = rc == -ESTALE ? -EIO : try_end(run, rc, due_ms);
        while (end && end != -ESTALE && rc != -ESTALE && !job_stopping(run)) {
                nanosleep(&(struct timespec){ .tv_nsec = END_AGAIN_NS }, NULL);
                end = try_end(run, rc, due_ms);
        }
        if (end && end != -ESTALE)
                job_lost(run);
}

static void run_batch(void *ctx, struct job_run *run)
{
        struct batch b = { .all = ctx, .run = run, .id = job_of(run)->id, .project = job_of(run)->project };
        int rc = work(&b);
        int64_t due_ms = next_due(&b, rc);
        batch_unload(&b);
        end_job(run, rc, due_ms);
}

/* The time of a batch is over, or the batch is. One that is at work its own worker ends. */
static void run_expiry(void *ctx, struct job_run *run)
{
        struct batches *all = ctx;
        const struct job *job = job_of(run);
        int rc = batch_expire_waiting(all->o.store, job->project, job->id);
        int64_t again = clock_unix_us() / 1000 + EXPIRY_AGAIN_MS;
        bool done = rc == 0 || rc == -EBADMSG; /* of damage its worker tells */
        int end = done ? job_finish(run, NULL, 0, NULL)
                       : job_retry(run, again, (struct str){ NULL, 0 }, NULL, 0, NULL);
        if (end && end != -ESTALE)
                job_lost(run);
}

int batches_new(const struct batches_options *options, struct batches **ret)
{
        struct batches *all = *ret = mem_calloc(1, sizeof(*all));
        if (!all)
                return -ENOMEM;
        all->o = *options;
        pthread_mutex_init(&all->lock, NULL);
        return 0;
}

void batches_free(struct batches *all)
{
        if (!all)
                return;
        pthread_mutex_destroy(&all->lock);
        mem_free(all);
}

struct job_worker batches_worker(struct batches *all)
{
        return (struct job_worker){ .kind = BATCH_KIND, .at_once = AT_ONCE, .run = run_batch, .ctx = all };
}

struct job_worker batches_expiry_worker(struct batches *all)
{
        return (struct job_worker){
                .kind = BATCH_EXPIRY_KIND, .at_once = EXPIRY_AT_ONCE, .run = run_expiry, .ctx = all
        };
}
