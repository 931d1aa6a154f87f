/* The PostgreSQL backend: one writer thread with its connection, a pool of connections for everybody else,
 * and a connection that listens.
 *
 *   postgres.c          opening, closing, the vtable
 *   postgres_connect.c  connections, waiting for answers, statements, errors, migrations
 *   postgres_read.c     the pool; get, list, scan, check
 *   postgres_jobs.c     claims of jobs, sums of usage, token buckets
 *   postgres_write.c    the group commit, on the writer thread
 *   postgres_listen.c   what other processes commit
 *
 * A connection is used by one thread at a time. Within these files -ECONNRESET means that the connection is
 * gone; the outside sees -ENOTCONN when a new one does not help. */
#ifndef CAIRN_STORE_POSTGRES_INTERNAL_H
#define CAIRN_STORE_POSTGRES_INTERNAL_H

#include <libpq-fe.h>
#include <pthread.h>
#include <stdatomic.h>
#include "base/buf.h"
#include "base/map.h"
#include "store/queue.h"
#include "store/store_internal.h"

#define POSTGRES_READERS_MAX 64
#define ORIGIN_MAX 17

/* How long a database may be silent. It ends every ordinary statement itself within 30 s, so who says nothing
 * for longer is gone, though its connections stand: a machine that is frozen, a disk that does not answer. */
#define ANSWER_MS 35000
#define PIECE_MS 600000 /* for a piece of a scan, which has no such end */

struct postgres_conn {
        PGconn *pg;            /* sends without blocking: see postgres_flush() */
        int patience_ms;       /* silence after which the database counts as gone; -1: it may take its time */
        bool silent;           /* given up because of that */
        struct map statements; /* text -> the name under which it is prepared */
        unsigned n_named;
};

/* What a process listens with. */
struct listener {
        pthread_t thread;
        bool runs;   /* since the first watcher came */
        int stop_fd; /* an eventfd, or -1 */
        struct postgres_conn *conn;
};

struct postgres_store {
        struct store store;
        char *uri;
        char origin[ORIGIN_MAX]; /* names this opening of the store in the news that it sends */
        char *instance;          /* names the opener, "" without a name */

        /* the pool */
        pthread_mutex_t pool_lock;
        pthread_cond_t conn_back;
        struct postgres_conn *idle[POSTGRES_READERS_MAX];
        int n_idle, n_conns, max_conns;
        bool down, probing; /* it could not be reached last time; one thread tries now */
        _Atomic uint64_t n_reads;

        /* the writer: all but the queue is its thread's */
        struct write_queue queue;
        pthread_t writer;
        bool writer_runs;
        struct postgres_conn *wconn; /* NULL while there is none */
        int64_t n_groups;            /* transactions begun */
        int64_t unreachable_until;   /* monotonic milliseconds: no attempt to connect before */
        _Atomic uint64_t n_writes, n_failed, n_commits;

        struct listener listener;
};

/* ---- postgres_connect.c ---- */

/* A connection with all settings; on failure *ret is NULL. */
int postgres_connect(const char *uri, struct postgres_conn **ret, struct store_fault *fault);
void postgres_conn_free(struct postgres_conn *c); /* accepts NULL */
/* Applies the migrations that are missing; processes that start together take turns. */
int postgres_migrate(struct postgres_conn *c, struct store_fault *fault);

/* The next answer to what was sent, as PQgetResult() gives it, within the connection's patience. A database
 * that is silent for longer loses the connection, whose end the answer then is. */
PGresult *postgres_result(struct postgres_conn *c);
/* Waits until all that was queued is on its way, within the same patience; taking in what the database says
 * meanwhile. False when the connection is gone. */
bool postgres_flush(struct postgres_conn *c);
/* Runs commands, and gives the answer to the last one, or to the one that failed; NULL: the connection is
 * gone. The caller clears it. */
PGresult *postgres_query(struct postgres_conn *c, const char *sql);
/* The errno for a result that is not what was asked for (NULL: the connection's own error); fault gets
 * "what: why". */
int postgres_fault(struct postgres_conn *c, const PGresult *res, struct store_fault *fault, const char *what);
/* In builds with CAIRN_FAULTS: cuts the connection when `place` is armed. */
void postgres_cut(struct postgres_conn *c, const char *place);

#define PARAMS_MAX 48

/* The parameters of one statement. Texts are borrowed. */
struct params {
        int n;
        const char *values[PARAMS_MAX];
        int lengths[PARAMS_MAX], formats[PARAMS_MAX];
        char numbers[PARAMS_MAX][24];
};
/* Each returns the parameter's number, from 1. At most PARAMS_MAX. */
int params_text(struct params *p, const char *text); /* NULL is NULL */
int params_int(struct params *p, int64_t value);
int params_binary(struct params *p, struct str bytes);

/* An array of texts in the binary form of PostgreSQL: begin with its length, then one element after another;
 * an element with p NULL is NULL. */
void text_array_begin(struct buf *out, size_t n);
void text_array_add(struct buf *out, struct str element);

/* Runs a statement, prepared once for each connection. The caller clears *ret with PQclear(); it has rows
 * where the statement gives some. */
int postgres_run(struct postgres_conn *c, struct str sql, const struct params *p, PGresult **ret,
                 struct store_fault *fault, const char *what);
/* The name under which a statement is prepared on this connection, preparing it now if need be. */
int postgres_prepare(struct postgres_conn *c, struct str sql, const char **ret, struct store_fault *fault);
/* One command or several, without parameters and rows. */
int postgres_exec(struct postgres_conn *c, const char *sql, struct store_fault *fault, const char *what);

int64_t column_int(const PGresult *res, int row, int column);
const char *column_text(const PGresult *res, int row, int column); /* NULL for NULL; lives with res */

/* ---- postgres_read.c ---- */

/* Runs fn with a connection of the pool. When that turns out to be gone and `again` allows it, once more with
 * a new one. */
typedef int conn_fn(struct postgres_conn *c, void *arg, struct store_fault *fault);
int postgres_with(struct postgres_store *s, conn_fn *fn, void *arg, bool again, struct store_fault *fault);
/* The same for what nobody should wait for: with so much patience for a connection, and for each answer. */
int postgres_with_patience(struct postgres_store *s, conn_fn *fn, void *arg, int patience_ms, bool again,
                           struct store_fault *fault);
void postgres_pool_close(struct postgres_store *s);

int postgres_get(struct store *s, const char *kind, const char *id, const char *project, struct object *ret,
                 struct store_fault *fault);
int postgres_list(struct store *s, const struct store_query *q, struct store_page *ret,
                  struct store_fault *fault);
int postgres_scan(struct store *s, const char *kind, int (*fn)(void *ctx, const struct object *o), void *ctx,
                  struct store_fault *fault);
int postgres_check(struct store *s, void (*report)(void *ctx, const char *finding), void *ctx,
                   struct store_fault *fault);

/* ---- postgres_jobs.c ---- */

int postgres_job_claim(struct store *s, const char *const *kinds, size_t n, int64_t lease_ms, struct job *ret,
                       int64_t *ret_next_due, struct store_fault *fault);
int postgres_job_renew(struct store *s, const char *kind, const char *id, int64_t lease, int64_t lease_ms,
                       struct store_fault *fault);
int postgres_job_count(struct store *s, const char *kind, const char *project, size_t *ret,
                       struct store_fault *fault);
int postgres_job_tally(struct store *s, struct job_tally *ret, size_t max, size_t *ret_n,
                       struct store_fault *fault);
int postgres_job_scan(struct store *s, int (*fn)(void *ctx, const struct job *j), void *ctx,
                      struct store_fault *fault);
int postgres_usage_sum(struct store *s, const struct store_usage_query *q, struct store_usage **ret,
                       size_t *ret_n, struct store_fault *fault);
int postgres_buckets_take(struct store *s, struct store_bucket *b, size_t n, int64_t now_ms,
                          size_t *ret_short, struct store_fault *fault);

/* ---- postgres_write.c ---- */

int postgres_submit(struct store *s, struct store_write *w);
int postgres_usage_fold(struct store *s, size_t *ret_folded, struct store_fault *fault);
/* `existing`: -ENOENT when the database has no schema yet. */
int postgres_writer_start(struct postgres_store *s, bool existing, struct store_fault *fault);
void postgres_writer_stop(struct postgres_store *s); /* completes what waits, closes the connection */

/* ---- postgres_listen.c ---- */

/* Begins to listen, if it does not yet. */
int postgres_listen(struct store *s, struct store_fault *fault);
void postgres_listen_stop(struct postgres_store *s);
#endif
