/* The scheduler: one thread that owns the sequences, the KV memory and the evaluation of a model.
 *
 * Each step takes one token of every decoding sequence with what is guessed to follow it, and slices of the
 * prompts; evaluates them as one batch; and hands out what came of it. Others leave messages in the mailbox.
 * sched.c is the thread; admit.c says who gets memory and a place; batch.c makes the step; step.c uses its
 * results. */
#ifndef CAIRN_ENGINE_SCHED_H
#define CAIRN_ENGINE_SCHED_H

#include <pthread.h>
#include <stdatomic.h>
#include "base/vec.h"
#include "engine/fair.h"
#include "engine/graph.h"
#include "engine/seq.h"

struct engine_model;
struct kv_disk;

/* Where other threads reach the engine thread. Counted: handles of sequences may outlive the model. */
struct mailbox {
        atomic_int refs;
        pthread_mutex_t lock;
        pthread_cond_t wake;
        struct engine_seq *first, **last; /* submitted, in order */
        bool poked;                       /* something to look at: submission, cancel, resume, disk, stop */
        bool stop;
};

struct counters {
        atomic_uint_fast64_t active, queued, kv_used, kv_cached, decoded, prefill, cached, drafted, accepted,
                steps, sequences, preempted, wait_ms, disk_bytes, restored;
        atomic_int live; /* submitted and not yet done */
};

/* A sequence's part in a step. */
struct job {
        struct engine_seq *seq;
        int row, n;     /* rows of the batch: n tokens that it has, then those of its draft */
        int out, n_out; /* entries of the batch's list of wanted rows */
};

/* What steps cost, learned from those that were run. */
struct speed {
        double row_us;  /* of each row of large steps; 0 before the first */
        double step_us; /* of a small step beyond its rows */
};

/* How fast places become free, for those who ask how long they would wait. */
struct turnover {
        int64_t last_us;
        double interval_us; /* between two ends, while others wait; 0: unknown */
};

struct seq_list VEC(struct engine_seq *);

struct sched {
        const struct engine_model *m;
        struct mailbox *box;
        pthread_t thread;
        bool running;
        struct eval eval;
        struct kern_team *team;
        struct kv kv;
        struct kv_disk *disk; /* NULL: nothing is kept on disk */
        bool lookup;          /* draft from what was said before */
        int n_ctx, max_batch, max_live, max_rows;
        struct seq_list waiting, active; /* without and with KV memory; each has room for max_live */
        struct seq_list order;           /* some of the active ones, in the order in which they are served */
        struct fair fair;
        struct speed speed;
        struct turnover turnover;
        uint64_t arrivals, rounds;
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
