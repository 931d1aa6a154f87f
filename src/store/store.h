/* The transactional document store: every durable object of the platform is a row here.
 *
 * A row is (kind, id, project, parent, created, seq, expires, filter columns, metadata, doc). The doc is
 * JSON text that the store keeps and gives back without reading it. `kind` is a constant word of the
 * caller ("response", "file"); an id is unique within its kind; `project` is the tenant that owns the row
 * ("" for rows of the whole organization); `parent` is the id of the object it belongs to ("" for none),
 * with which it is deleted. `seq` is given by the database, grows with every insertion and breaks ties
 * between rows of the same second.
 *
 * Promises: a write that returned 0 survives the death of the process and of the machine; the operations
 * of one write happen all or not at all; a failed write changes nothing and harms no other; a row of
 * another project, an expired row and an unknown row are the same -ENOENT.
 *
 * All functions may be called from any thread. They return 0 or a negative errno:
 *   -ENOENT no such row          -EEXIST the id is taken        -ESTALE the row has another version
 *   -ENOSPC the disk is full     -EROFS  it cannot be written   -EIO    it failed or is damaged
 *   -EBUSY  another process keeps the write lock                -EAGAIN too many writes are waiting
 *   -ENOTCONN the database cannot be reached now: the write was not done
 *   -EINVAL a malformed call     -EFBIG  a row over the limit   -ENOMEM memory is out
 * and, where they take a `struct store_fault`, a sentence for people (NULL is accepted). */
#ifndef CAIRN_STORE_STORE_H
#define CAIRN_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/str.h"

struct store;

#define STORE_FILTERS 4      /* filter columns of a row */
#define STORE_PAGE_MAX 10000 /* longest page */
#define STORE_METADATA_MAX 16
#define STORE_ID_MAX 255           /* longest kind, id, project, parent, filter column */
#define STORE_DOC_MAX (256u << 20) /* longest doc, bytes */
#define STORE_DOC_DEPTH 256        /* nesting of JSON that readers of a doc allow; that of requests is less */

struct store_fault {
        size_t op; /* index of the operation that failed; 0 when it was the write as a whole */
        char msg[256];
};

/* ---- opening ---- */

struct store_options {
        bool exclusive;    /* the server: at most one per data directory; tools leave it false */
        bool existing;     /* -ENOENT where there is no store yet, and nothing is made */
        int readers;       /* connections for reading at most; 0: 8 */
        size_t max_queued; /* waiting writes at most, then -EAGAIN; 0: 65536; and 256 MiB of documents */
        /* Of a store that is shared: names its opener, the same after a restart and never two at once. What
         * it claimed before is void. NULL: none. */
        const char *instance;
};

/* Opens the store in the directory `where` (made, mode 0700, when it is missing), or that of a
 * "postgres://..." connection string, and brings its schema up to date. Fails with -EBUSY when `exclusive`
 * and another process serves it, -ENOTSUP on a network file system or for a backend that is not built in,
 * -EPROTO when a newer program wrote it. `options` may be NULL.
 */
int store_open(const char *where, const struct store_options *options, struct store **ret,
               struct store_fault *fault);
/* Whether other servers may work on the same store: not with SQLite, whose opening is exclusive. */
bool store_is_shared(const struct store *s);
/* Completes the writes that wait, then frees. No other call may run or follow. Accepts NULL. */
void store_close(struct store *s);

/* ---- objects: reading ---- */

/* A row as it was read. The strings lie in one block owned by the row; they end with a NUL. */
struct object {
        const char *kind, *id, *project, *parent;
        int64_t created; /* unix seconds, as the writer gave it */
        int64_t expires; /* unix seconds; 0: never */
        int64_t seq;
        int64_t version;              /* 1 after the insertion, then one more with each update */
        const char *f[STORE_FILTERS]; /* NULL where unset */
        struct str doc;
        void *_mem;
};

void object_release(struct object *o); /* frees and zeroes; harmless on a zeroed row */

/* Reads one row into *ret, which the caller releases. project NULL: whichever owns it (for the
 * platform's own work; never with an id that a client chose). On failure *ret is zeroed. */
int store_get(struct store *s, const char *kind, const char *id, const char *project, struct object *ret,
              struct store_fault *fault);

struct store_pair {
        const char *key, *value;
};

/* What a list asks for; zeroed members ask for nothing. Rows come in the order (created, seq). */
struct store_query {
        const char *kind;
        const char *project; /* NULL: all (sorts the whole kind: for kinds with few rows) */
        const char *parent;  /* NULL or "": rows without a parent */
        const char *after;   /* the page begins behind this id */
        const char *before;  /* the page ends in front of this id; alone: the page just before it */
        bool descending;     /* newest first */
        int limit;           /* 1..STORE_PAGE_MAX */
        /* NULL: any; else the column must equal it. A page of a list filtered by f[0], or by metadata, costs
         * the same wherever it lies; by the other columns the rows in between are looked at. */
        const char *f[STORE_FILTERS];
        const struct store_pair *metadata; /* all pairs must match; needs a project */
        size_t nmetadata;
};

struct store_page {
        struct object *items;
        size_t n;
        bool has_more; /* in the direction of travel: behind the page, or in front of it for `before` */
};

/* One page, consistent in itself. Rows that stay untouched while a client pages are neither repeated nor
 * skipped, whatever is inserted or deleted meanwhile. A cursor that is no row of this very list (unknown,
 * expired, another parent) is -ENOENT. The caller calls store_page_release(). */
int store_list(struct store *s, const struct store_query *q, struct store_page *ret,
               struct store_fault *fault);
void store_page_release(struct store_page *p);

/* ---- objects: writing ---- */

enum store_verb {
        STORE_PUT = 1, /* inserts; -EEXIST when (kind, id) is taken */
        STORE_UPDATE,  /* replaces what `set` names; -ENOENT, -ESTALE */
        STORE_DELETE,  /* removes the row and all that descends from it; -ENOENT, -ESTALE */
        STORE_CHECK,   /* changes nothing; -ENOENT, -ESTALE: guards the other operations of its write */

        /* Jobs; see below. `kind`, `id` are the job's; `doc` its payload. */
        STORE_JOB_PUT, /* enqueues for `project`, due at `due`; -EEXIST when (kind, id) is taken */
        /* The holder of `lease` replaces the payload, or keeps the old one when doc.p is NULL; -ESTALE: the
         * lease is not its any more. */
        STORE_JOB_SAVE,
        /* The same, and it gives the job back, due at `due`. */
        STORE_JOB_RETRY,
        STORE_JOB_FINISH, /* the holder is through: the job is gone; lease 0: if nobody holds it; -ESTALE */
        STORE_JOB_DROP,   /* removes it, whoever holds it; -ENOENT */
        STORE_JOB_WAKE,   /* makes it due now, if nobody holds it; never fails */

        STORE_USAGE,  /* appends `usage`; once only: the same usage->id again is left out, silently */
        STORE_NOTIFY, /* after the commit, all that watch are told of (kind, id), in every process */
};

enum store_set {
        STORE_SET_DOC = 1,
        STORE_SET_FILTERS = 2,
        STORE_SET_METADATA = 4,
        STORE_SET_EXPIRES = 8,
};

/* One operation. Everything is borrowed. */
struct store_op {
        enum store_verb verb;
        const char *kind, *id;
        const char *project; /* PUT: the owner, NULL as ""; else: must own the row, NULL: whoever does */
        const char *parent;  /* PUT only; NULL as "" */
        int64_t created;     /* PUT only; 0: now */
        int64_t expires;     /* PUT, or SET_EXPIRES; unix seconds, 0: never */
        const char *f[STORE_FILTERS];
        const struct store_pair *metadata; /* at most STORE_METADATA_MAX pairs, keys distinct */
        size_t nmetadata;
        struct str doc;
        unsigned set;       /* UPDATE: which of the members above replace the row's, STORE_SET_* */
        int64_t if_version; /* not PUT: 0, or the version that the row must have, else -ESTALE */
        int64_t due;        /* of jobs: unix milliseconds, 0: now */
        int priority;       /* JOB_PUT: of two that are due the higher comes first */
        int64_t lease;      /* SAVE, RETRY, FINISH: of the claim */
        const struct store_usage *usage; /* STORE_USAGE */
};

/* Does n operations in order as one transaction and returns when they are on the disk (0), or when none of
 * them is (negative; fault->op tells which failed). Waiting writes of all threads share one commit. */
int store_write(struct store *s, const struct store_op *ops, size_t n, struct store_fault *fault);

/* The same without waiting: copies the operations and returns 0; `done` then runs once, on the store's
 * writer thread, with what store_write would have returned. It must be quick and must not wait for this
 * store; it may start another asynchronous write. A negative return means that `done` will not run. */
typedef void store_done_fn(void *ctx, int rc, const struct store_fault *fault);
int store_write_async(struct store *s, const struct store_op *ops, size_t n, store_done_fn *done, void *ctx);

/* Conveniences for a single operation. */
int store_put(struct store *s, const struct store_op *row, struct store_fault *fault);
int store_delete(struct store *s, const char *kind, const char *id, const char *project,
                 struct store_fault *fault);

/* ---- jobs: durable work ----
 *
 * A job is (kind, id, project, payload) that waits until it is due, is claimed under a lease, and goes when
 * its holder finishes it. Its operations above share a transaction with those on objects, and a holder whose
 * lease has passed to another gets -ESTALE for the whole write: so what a job does to the store happens once.
 * The leases of dead processes are void: with SQLite at the next exclusive opening, else when they run out.
 */

struct job {
        const char *kind, *id, *project;
        int64_t created; /* unix seconds */
        int attempt;     /* claims so far, this one included */
        int64_t lease;   /* names this claim; never 0 */
        struct str payload;
        void *_mem;
};

void job_release(struct job *j); /* frees and zeroes; harmless on a zeroed one */

/* Claims the job of one of the kinds that is due, by priority, then by how long it is due; it is the
 * caller's for lease_ms.
 * -ENOENT when none is due now: *ret_next_due (may be NULL) is then when one will be, unix milliseconds, or
 * 0. */
int store_job_claim(struct store *s, const char *const *kinds, size_t n, int64_t lease_ms, struct job *ret,
                    int64_t *ret_next_due, struct store_fault *fault);
/* Keeps a claim for lease_ms from now. -ESTALE when it is lost, or the job was dropped: the holder must stop.
 */
int store_job_renew(struct store *s, const char *kind, const char *id, int64_t lease, int64_t lease_ms,
                    struct store_fault *fault);
/* Jobs that wait or run, of one kind. */
int store_job_count(struct store *s, const char *kind, const char *project, size_t *ret,
                    struct store_fault *fault);

struct job_tally {
        char kind[64];
        size_t waiting, running;
};
/* The same for every kind that has any, in the order of kinds: at most `max` in ret[], *ret_n of them. For
 * figures: a database that does not answer within a few seconds is not waited for. */
int store_job_tally(struct store *s, struct job_tally *ret, size_t max, size_t *ret_n,
                    struct store_fault *fault);

/* Calls fn with every job, in the order of their putting; `lease` is 0 unless somebody holds it. A non-zero
 * return of fn ends it and is returned. Jobs that come and go meanwhile may or may not be seen. */
int store_job_scan(struct store *s, int (*fn)(void *ctx, const struct job *j), void *ctx,
                   struct store_fault *fault);

/* ---- watching ---- */

#define STORE_TOPIC_JOB "job" /* told with the kind of each job that was put, given back or woken */

/* fn(ctx, topic, id) runs for every STORE_NOTIFY that commits from now on, on a thread of the store, before
 * the write is answered: it must be quick and may not wait for the store. With PostgreSQL it runs for what
 * other processes commit too; beside a SQLite store there are only tools, which are not heard. What commits
 * while a connection is down is told as (topic "", id ""): look at everything again. Any thread; at most 8
 * (-ENOSPC). */
typedef void store_watch_fn(void *ctx, const char *topic, const char *id);
int store_watch(struct store *s, store_watch_fn *fn, void *ctx);
/* Afterwards fn does not run for this ctx and is not running: not from within it. */
void store_unwatch(struct store *s, store_watch_fn *fn, void *ctx);

/* ---- usage ---- */

#define USAGE_COUNTS 12

/* One record. What the counters mean is the caller's (account/usage.h). The words together are the key of a
 * bucket. Strings are at most STORE_ID_MAX bytes, NULL as "". */
struct store_usage {
        const char *id;   /* unique: a request's id, a line of a batch */
        int64_t at;       /* unix seconds; 0: now */
        const char *what; /* "completions", "embeddings", ... */
        const char *project, *user, *key, *model, *tier;
        bool batch;
        int64_t n[USAGE_COUNTS];
};

/* Adds records of the log to their minute buckets and takes them off the log, in small transactions, until
 * none is left. Ids are remembered for a day after they were folded. Meant for every few seconds. */
int store_usage_fold(struct store *s, struct store_fault *fault);

enum usage_by {
        USAGE_BY_PROJECT = 1,
        USAGE_BY_USER = 2,
        USAGE_BY_KEY = 4,
        USAGE_BY_MODEL = 8,
        USAGE_BY_TIER = 16,
        USAGE_BY_BATCH = 32
};

struct store_usage_query {
        const char *what;
        int64_t from, to; /* unix seconds, from <= at < to */
        int64_t width;    /* seconds of a bucket, a multiple of 60; 0: one bucket */
        unsigned by;      /* groups; what is not grouped by is summed over and "" in the answer */
        const char *project, *user, *key, *model; /* only these; NULL: any */
};

/* Sums, the log included, by (start of the bucket, group) ascending. The minutes of `from` and `to` count
 * whole. Buckets begin at multiples of their width; that of width 0 at the minute of `from`. Gives an array
 * in *ret of *ret_n, one block that mem_free() frees, strings and all. `at` is the bucket's start; `id` is
 * "". */
int store_usage_sum(struct store *s, const struct store_usage_query *q, struct store_usage **ret,
                    size_t *ret_n, struct store_fault *fault);

/* ---- token buckets shared by processes ---- */

struct store_bucket {
        const char *key;
        int64_t capacity;  /* what a full one holds, and an unknown one has */
        int64_t refill_ms; /* time from empty to full */
        int64_t amount;    /* to take; negative: to give back, never above the capacity */
        bool force;        /* take it even if that leaves less than nothing: a correction */
        int64_t ret_level; /* what is left after the call; may be negative after a correction */
};

/* Takes from all buckets or, when one has too little, from none: -EAGAIN, *ret_short the index of the one
 * that takes longest to fill up, levels as they are. Atomic among all processes on the store. -ENOTSUP where
 * the store has one process only (SQLite): it keeps its buckets in memory. */
int store_buckets_take(struct store *s, struct store_bucket *b, size_t n, int64_t now_ms, size_t *ret_short,
                       struct store_fault *fault);

/* ---- upkeep ---- */

/* Removes the rows that expired, with all that descends from them, in small transactions between the other
 * writes. *ret_removed (may be NULL) counts all of them. Meant to be called every few minutes. */
int store_sweep(struct store *s, size_t *ret_removed, struct store_fault *fault);

/* Reads every row of a kind, expired ones included, in the order of insertion; a non-zero return of fn ends
 * it and is returned. kind NULL: all kinds. For migration, checks and the collection of blobs; consistent. */
int store_scan(struct store *s, const char *kind, int (*fn)(void *ctx, const struct object *o), void *ctx,
               struct store_fault *fault);
/* Writes a consistent copy of the data directory's database to the new directory `to` while it is served.
 * -ENOTSUP for a backend whose own tools do that (PostgreSQL: pg_dump). */
int store_backup(struct store *s, const char *to, struct store_fault *fault);
/* Looks for damage: the database's own checks, then rows whose parent is missing. `report` gets a sentence
 * for each finding. 0 however many there are; negative when it could not look. */
int store_check(struct store *s, void (*report)(void *ctx, const char *finding), void *ctx,
                struct store_fault *fault);

/* 0 when a reading and a writing of nothing both succeed now: for /readyz. -ETIMEDOUT when they have not
 * within 2.5 s; until they end, whoever asks later is told so at once. Calls at the same time are one
 * attempt. */
int store_ping(struct store *s, struct store_fault *fault);

struct store_stats {
        uint64_t writes;  /* answered with 0 */
        uint64_t failed;  /* answered with an error */
        uint64_t commits; /* transactions, so writes / commits is the mean group */
        uint64_t reads;
        size_t queued; /* now waiting */
};
void store_get_stats(struct store *s, struct store_stats *ret);
#endif
