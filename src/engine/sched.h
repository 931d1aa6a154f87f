/* The scheduler: one thread that owns the sequences, the KV memory and the evaluation of a model.
 *
 * Each step takes one token of every decoding sequence and a slice of the prompts, evaluates them as one
 * batch, and hands out what came of it. Others leave messages in the mailbox. */
#ifndef CAIRN_ENGINE_SCHED_H
#define CAIRN_ENGINE_SCHED_H

#include <pthread.h>
#include <stdatomic.h>
#include "engine/graph.h"
#include "engine/seq.h"
#include "base/vec.h"

struct engine_model;

/* Where other threads reach the engine thread. Counted: handles of sequences may outlive the model. */
struct mailbox {
        atomic_int refs;
        pthread_mutex_t lock;
        pthread_cond_t wake;
        struct engine_seq *first, **last; /* submitted, in order */
        bool poked;                       /* something to look at: submission, cancel, resume, stop */
        bool stop;
};

struct counters {
        atomic_uint_fast64_t active, queued, kv_used, kv_cached, decoded, prefill, cached, steps, sequences;
        atomic_int live; /* submitted and not yet done */
};

/* A sequence's part in a step. */
struct job {
        struct engine_seq *seq;
        int row, n;     /* rows of the batch */
        int out, n_out; /* entries of the batch's list of wanted rows */
};

struct sched {
        const struct engine_model *m;
        struct mailbox *box;
        pthread_t thread;
        bool running;
        struct eval eval;
        struct kern_team *team;
        struct kv kv;
        int n_ctx, max_batch, max_live, max_rows;
        struct VEC(struct engine_seq *) waiting; /* by priority, then arrival */
        struct VEC(struct engine_seq *) active;
        double us_per_row; /* of recent large steps; 0 before the first */
        int reserved;      /* KV blocks promised to active sequences */
        uint64_t arrivals;
        struct VEC(struct job) jobs; /* what the rows of this step are for */
        struct cand *cands;          /* room for the sampler: n_vocab of each */
        float *probs;
        struct counters count;
};

/* Starts the thread. 0 or negative errno with a message. */
int sched_start(const struct engine_model *m, const struct engine_opts *opts, struct sched **ret, char *err,
                size_t errn);
void sched_stop(struct sched *s); /* accepts NULL */
/* Hands a sequence over. 0, or -EAGAIN when too many are there; then the caller keeps it. */
int sched_submit(struct sched *s, struct engine_seq *seq);

void mailbox_poke(struct mailbox *box);
void mailbox_unref(struct mailbox *box);
#endif
