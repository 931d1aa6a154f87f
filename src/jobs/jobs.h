/* Durable work: claims the jobs of the store that are due and hands them to the workers of their kinds.
 *
 * A job that was claimed stays claimed, its lease renewed by the queue, until its worker ends it with exactly
 * one of job_finish(), job_retry() and job_lost(). That may happen on any thread and long after `run`
 * returned: work that waits for a model need not hold a thread. What ends a job, or saves its progress, is
 * one transaction with what it did to the store; when the lease was lost meanwhile (another process has taken
 * the job over) nothing of it is written and -ESTALE tells the worker to forget the job.
 *
 * When the process dies the job is claimed again at the next start, or by another process, with the payload
 * that was saved last: workers continue from there, and do nothing twice that the store can see. */
#ifndef CAIRN_JOBS_JOBS_H
#define CAIRN_JOBS_JOBS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "store/store.h"

struct jobs;
struct job_run; /* one claimed job */

struct job_worker {
        const char *kind;
        int at_once; /* claimed at the same time at most */
        /* Begins the work, or does it, on a thread of its own. */
        void (*run)(void *ctx, struct job_run *run);
        /* The job must not go on: the server stops, or the lease was lost. Any thread, at most once, and not
         * after the job was ended: who ends it on another thread waits for this to return, and may hold no
         * lock then that this takes. The worker still ends the job, soon: with job_retry (due now) when it
         * stops, with job_lost when -ESTALE says so. NULL: `run` is quick, or asks job_stopping(). */
        void (*stop)(void *ctx, struct job_run *run);
        void *ctx;
};

/* Starts claiming. `workers` is copied; what their ctx is outlives the queue. 0 or -ENOMEM, -EAGAIN (no
 * thread), -ENOSPC (too many watch the store). */
int jobs_start(struct store *s, const struct job_worker *workers, size_t n, struct jobs **ret);
/* Claims nothing more, tells the running workers to stop, waits until each has ended its job. Accepts NULL.
 */
void jobs_stop(struct jobs *q);
/* How many jobs run now, of all kinds or of one (kind may be NULL). */
size_t jobs_running(struct jobs *q, const char *kind);

const struct job *job_of(const struct job_run *run); /* lives until the job is ended */
bool job_stopping(const struct job_run *run);        /* whether stop() was, or would have been, called */
/* For the worker's own state of this job. */
void job_set_data(struct job_run *run, void *data);
void *job_data(const struct job_run *run);

/* Each commits ops[0..n) (may be none) together with the change of the job, or changes nothing. After 0 or
 * -ESTALE from the first two the run is gone. On another error (a full disk) it is not: the worker tries
 * again or gives up with job_lost(). -EALREADY is the -ESTALE of one of ops, whose row another has changed:
 * fault->op tells which; the job is still the worker's. fault may be NULL. Any thread, blocking. */
int job_finish(struct job_run *run, const struct store_op *ops, size_t n, struct store_fault *fault);
/* Again at due_ms (unix milliseconds, 0: now), with another payload unless payload.p is NULL. */
int job_retry(struct job_run *run, int64_t due_ms, struct str payload, const struct store_op *ops, size_t n,
              struct store_fault *fault);
/* The job goes on; the payload (unless NULL) is what a later claim continues from. */
int job_save(struct job_run *run, struct str payload, const struct store_op *ops, size_t n,
             struct store_fault *fault);
/* Forgets the run. The queue gives the job back as soon as the store can be written, to be claimed again
 * within seconds; else its lease runs out. */
void job_lost(struct job_run *run);
#endif
