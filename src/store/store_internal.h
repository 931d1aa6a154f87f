/* What a backend of the store offers. store.c checks the calls of the outside, so that a backend sees only
 * well-formed ones, and makes the blocking and the copying forms of a write out of `submit`. */
#ifndef CAIRN_STORE_STORE_INTERNAL_H
#define CAIRN_STORE_STORE_INTERNAL_H

#include <pthread.h>
#include "base/buf.h"
#include "base/vec.h"
#include "store/store.h"

enum write_kind {
        WRITE_OPS,     /* do ops[0..n) */
        WRITE_NOTHING, /* an empty transaction, to see that there can be one */
        WRITE_SWEEP,   /* remove some expired rows and their descendants; `affected` counts all of them */
        WRITE_OWN,     /* what the backend itself submitted: own(s, w) does it inside the transaction */
};

/* One write in the hands of a backend, from submit() to complete(). The submitter owns the memory; the
 * backend may use `next`, and fills rc, affected and fault before complete(). A write may be tried more than
 * once (its group failed, a serialization failure), so `own` begins anew each time. */
struct store_write {
        enum write_kind kind;
        int (*own)(struct store *s, struct store_write *w);
        void *arg; /* of own */
        const struct store_op *ops;
        size_t n;
        size_t bytes;                            /* of the operations' documents */
        void (*complete)(struct store_write *w); /* the backend forgets w before this call */
        void *waiter;                            /* of complete */
        struct store_write *next;
        int rc;
        size_t affected;
        struct store_fault fault;
};

#define SWEEP_BATCH 500 /* expired rows that one WRITE_SWEEP removes at most, beside their descendants */

/* Unless a member says that it may be NULL, every backend has it. What store.h says of the function of the
 * same name holds; `fault` may be NULL, and *ret is zeroed by the caller. */
struct store_backend {
        const char *name;

        /* objects */
        int (*get)(struct store *s, const char *kind, const char *id, const char *project, struct object *ret,
                   struct store_fault *fault);
        int (*list)(struct store *s, const struct store_query *q, struct store_page *ret,
                    struct store_fault *fault);
        int (*submit)(struct store *s, struct store_write *w); /* 0: w->complete will be called; -EAGAIN */

        /* jobs */
        int (*job_claim)(struct store *s, const char *const *kinds, size_t n, int64_t lease_ms,
                         struct job *ret, int64_t *ret_next_due, struct store_fault *fault);
        int (*job_renew)(struct store *s, const char *kind, const char *id, int64_t lease, int64_t lease_ms,
                         struct store_fault *fault);
        int (*job_count)(struct store *s, const char *kind, const char *project, size_t *ret,
                         struct store_fault *fault);
        int (*job_tally)(struct store *s, struct job_tally *ret, size_t max, size_t *ret_n,
                         struct store_fault *fault);

        int (*job_scan)(struct store *s, int (*fn)(void *ctx, const struct job *j), void *ctx,
                        struct store_fault *fault);

        /* usage: one small transaction of folding, *ret_folded records; 0 of them ends the loop */
        int (*usage_fold)(struct store *s, size_t *ret_folded, struct store_fault *fault);
        int (*usage_sum)(struct store *s, const struct store_usage_query *q, struct store_usage **ret,
                         size_t *ret_n, struct store_fault *fault);
        /* NULL: -ENOTSUP */
        int (*buckets_take)(struct store *s, struct store_bucket *b, size_t n, int64_t now_ms,
                            size_t *ret_short, struct store_fault *fault);

        /* the whole */
        int (*scan)(struct store *s, const char *kind, int (*fn)(void *ctx, const struct object *o),
                    void *ctx, struct store_fault *fault);
        int (*backup)(struct store *s, const char *to, struct store_fault *fault); /* NULL: -ENOTSUP */
        int (*check)(struct store *s, void (*report)(void *ctx, const char *finding), void *ctx,
                     struct store_fault *fault);
        /* Begins to tell the watchers of what other processes commit, unless it does already; NULL where
         * there is nothing to hear. */
        int (*listen)(struct store *s, struct store_fault *fault);
        void (*stats)(struct store *s, struct store_stats *ret);
        void (*close)(struct store *s);
};

#define WATCHERS_MAX 8

/* The first member of every backend's own structure. */
struct store {
        const struct store_backend *backend;
        struct {
                store_watch_fn *fn;
                void *ctx;
        } watchers[WATCHERS_MAX];
        int n_watchers;
        pthread_rwlock_t watch_lock; /* telling reads, store_watch() and store_unwatch() write */
        struct {
                pthread_t thread;
                bool joinable, runs;
                int64_t begun_ms; /* monotonic */
                uint64_t n_ended;
                int rc; /* of the last that ended */
                struct store_fault fault;
        } ping;
};

int sqlite_store_open(const char *dir, const struct store_options *options, struct store **ret,
                      struct store_fault *fault);
/* `uri` begins with postgres:// or postgresql://. In builds with CAIRN_POSTGRES. */
int postgres_store_open(const char *uri, const struct store_options *options, struct store **ret,
                        struct store_fault *fault);

/* Calls complete() for a list of writes, in order; those who block in store_write_wait() are woken after the
 * others, half of them by one of their own, so that a backend's thread is sooner back at work. */
void store_complete(struct store_write *list);
/* Submits w and waits for its answer, which is returned; kind and what belongs to it are the caller's. */
int store_write_wait(struct store *s, struct store_write *w, struct store_fault *fault);

/* Waits for a ping that is under way; before the backend is closed. */
void store_ping_end(struct store *s);

/* Tells the watchers of one thing, or of what the operations of a committed write are to be told of. */
void store_tell(struct store *s, const char *topic, const char *id);
void store_tell_ops(struct store *s, const struct store_op *ops, size_t n);
/* What an operation is told of: its topic and id, or false. */
bool store_op_tells(const struct store_op *op, const char **ret_topic, const char **ret_id);

/* Fills the message, and returns rc, so that a failure is one statement. fault may be NULL. */
int store_fail(struct store_fault *fault, int rc, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* A row's strings are gathered in one block: build the sources, then object_fill() copies them. NULL on
 * memory exhaustion gives -ENOMEM and a zeroed *ret. */
int object_fill(struct object *ret, const struct object *from);
/* The same for a job. */
int job_fill(struct job *ret, const struct job *from);
/* Records gathered one by one into the one block that store_usage_sum() gives: the words are copied. */
struct usage_list {
        struct VEC(struct store_usage) items;
        struct buf words;
};
void usage_list_init(struct usage_list *l);
int usage_list_add(struct usage_list *l, const struct store_usage *u);
/* Hands the block over; the list is empty afterwards. */
int usage_list_take(struct usage_list *l, struct store_usage **ret, size_t *ret_n);
void usage_list_release(struct usage_list *l);
/* True when a row that expires then counts as absent now. */
bool store_expired(int64_t expires, int64_t now);

/* ---- what the parts of the front share ---- */

/* Whether a word of a call has at most STORE_ID_MAX bytes, and one at least if it is required. */
bool store_word_ok(const char *s, bool required);
bool store_metadata_ok(const struct store_pair *pairs, size_t n);

#define USAGE_WORDS 7 /* id, what, project, user, key, model, tier */
bool usage_words_ok(const struct store_usage *u);
size_t usage_words_size(const struct store_usage *u);
void usage_place(struct store_usage *to, const struct store_usage *from, char **at); /* moves *at on */

/* Copies into a block that was measured before; they move *at on. NULL stays NULL. */
size_t block_string_size(const char *s);
const char *block_string(char **at, const char *s);
struct str block_bytes(char **at, struct str s);
#endif
