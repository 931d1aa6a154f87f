/* The SQLite backend: one writer thread with its connection, and a pool of connections for readers.
 *
 *   sqlite.c         opening, closing, errors, the vtable
 *   sqlite_schema.c  connections and migrations
 *   sqlite_pool.c    the connections of readers and their statements
 *   sqlite_read.c    get and list
 *   sqlite_write.c   the group commit, on the writer thread
 *   sqlite_ops.c     the writer's statements, and what operations do to objects
 *   sqlite_jobs.c    jobs: what operations do to them, claims, counts
 *   sqlite_usage.c   the log of usage, its folding, sums
 *   sqlite_upkeep.c  scan, backup, check
 *   sqlite_faults.c  disks that fail, for tests
 *
 * Connections are opened without SQLite's own mutexes: each is used by one thread at a time. */
#ifndef CAIRN_STORE_SQLITE_INTERNAL_H
#define CAIRN_STORE_SQLITE_INTERNAL_H

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include "base/map.h"
#include "store/queue.h"
#include "store/store_internal.h"

#define READERS_MAX 64
#define DATABASE_NAME "cairn.db"

/* A connection for reading, with its prepared statements by their text. */
struct reader {
        sqlite3 *db;
        struct map statements;
};

/* Statements of the writer; one each, made at open. */
enum writer_stmt {
        W_BEGIN,
        W_COMMIT,
        W_ROLLBACK,
        W_SAVE,
        W_RELEASE,
        W_UNDO,
        W_FIND,
        W_INSERT,
        W_UPDATE,
        W_DELETE,
        W_META_INSERT,
        W_META_CLEAR,
        W_SWEEP,
        W_JOB_PUT,
        W_JOB_SAVE,
        W_JOB_RETRY,
        W_JOB_FINISH,
        W_JOB_DROP,
        W_JOB_WAKE,
        W_JOB_RENEW,
        W_JOB_FIRST,
        W_JOB_CLAIM,
        W_USAGE_APPEND,
        W_FOLD_RANGE,
        W_FOLD_ADD,
        W_FOLD_MARK,
        W_FOLD_FORGET,
        W_FOLD_TIDY,
        W_STMTS
};

struct sqlite_store {
        struct store store;
        char *path;
        int lock_fd; /* serve.lock, or -1 */

        /* readers */
        pthread_mutex_t readers_lock;
        pthread_cond_t reader_back;
        struct reader *idle[READERS_MAX];
        int n_idle, n_readers, max_readers;
        _Atomic uint64_t n_reads;

        /* writer: all but the queue is its thread's */
        pthread_t writer;
        bool writer_runs;
        struct write_queue queue;
        sqlite3 *wdb;
        sqlite3_stmt *w[W_STMTS];
        _Atomic uint64_t n_writes, n_failed, n_commits;
};

/* The errno that stands for SQLite's last error on db; fault gets "what: why". */
int sqlite_fault(sqlite3 *db, int code, struct store_fault *fault, const char *what);

/* The file system for connections; NULL: SQLite's own. See sqlite_faults.c. */
const char *sqlite_vfs_name(void);
/* A connection with all settings; on failure *ret is NULL. */
int sqlite_connect(const char *path, sqlite3 **ret, struct store_fault *fault);
/* Switches to WAL and applies the migrations that are missing. */
int sqlite_migrate(sqlite3 *db, struct store_fault *fault);

/* Reading: a connection is borrowed and returned; borrowing may wait for one. */
int sqlite_reader_borrow(struct sqlite_store *s, struct reader **ret, struct store_fault *fault);
void sqlite_reader_return(struct sqlite_store *s, struct reader *r);
void sqlite_readers_close(struct sqlite_store *s);
/* The statement for this text, reset and without bindings; the reader owns it. NULL with *code. */
sqlite3_stmt *sqlite_statement(struct reader *r, struct str sql, int *code);
void sqlite_statement_done(sqlite3_stmt *stmt);

#define SQLITE_OBJECT_COLUMNS                                                                          \
        "o.kind, o.id, o.project, o.parent, o.created, o.expires, o.seq, o.version, o.f1, o.f2, o.f3," \
        " o.f4, o.doc"
/* The row that a statement with these columns stands at. */
int sqlite_row_read(sqlite3_stmt *stmt, struct object *ret);

/* Bind borrowed text; NULL words become NULL. */
void sqlite_word(sqlite3_stmt *stmt, int i, const char *word);
void sqlite_text(sqlite3_stmt *stmt, int i, struct str text);

/* sqlite_read.c */
int sqlite_get(struct store *s, const char *kind, const char *id, const char *project, struct object *ret,
               struct store_fault *fault);
int sqlite_list(struct store *s, const struct store_query *q, struct store_page *ret,
                struct store_fault *fault);

/* sqlite_write.c */
int sqlite_submit(struct store *s, struct store_write *w);
int sqlite_writer_start(struct sqlite_store *s, struct store_fault *fault);
void sqlite_writer_stop(struct sqlite_store *s); /* completes what waits, closes the connection */

/* What follows, up to the vtable's functions, runs on the writer thread inside its transaction. */
extern const char *const sqlite_writer_sql[W_STMTS];
/* Steps a statement whose rows do not matter and makes it ready for the next time: SQLITE_OK or an error. */
int sqlite_run(struct sqlite_store *s, enum writer_stmt which);
int sqlite_op_apply(struct sqlite_store *s, const struct store_op *op, int64_t now,
                    struct store_fault *fault);
int sqlite_sweep_apply(struct sqlite_store *s, struct store_write *w, int64_t now);
int sqlite_job_apply(struct sqlite_store *s, const struct store_op *op, struct store_fault *fault);
int sqlite_usage_append(struct sqlite_store *s, const struct store_usage *u, int64_t now,
                        struct store_fault *fault);

/* sqlite_jobs.c */
int sqlite_job_claim(struct store *s, const char *const *kinds, size_t n, int64_t lease_ms, struct job *ret,
                     int64_t *ret_next_due, struct store_fault *fault);
int sqlite_job_renew(struct store *s, const char *kind, const char *id, int64_t lease, int64_t lease_ms,
                     struct store_fault *fault);
int sqlite_job_count(struct store *s, const char *kind, const char *project, size_t *ret,
                     struct store_fault *fault);
int sqlite_job_tally(struct store *s, struct job_tally *ret, size_t max, size_t *ret_n,
                     struct store_fault *fault);
int sqlite_job_scan(struct store *s, int (*fn)(void *ctx, const struct job *j), void *ctx,
                    struct store_fault *fault);
/* Makes every leased job due at once: at an exclusive opening their holders are dead. */
int sqlite_leases_void(sqlite3 *db, struct store_fault *fault);

/* sqlite_usage.c */
int sqlite_usage_fold(struct store *s, size_t *ret_folded, struct store_fault *fault);
int sqlite_usage_sum(struct store *s, const struct store_usage_query *q, struct store_usage **ret,
                     size_t *ret_n, struct store_fault *fault);

/* sqlite_upkeep.c */
int sqlite_scan(struct store *s, const char *kind, int (*fn)(void *ctx, const struct object *o), void *ctx,
                struct store_fault *fault);
int sqlite_backup(struct store *s, const char *to, struct store_fault *fault);
int sqlite_check(struct store *s, void (*report)(void *ctx, const char *finding), void *ctx,
                 struct store_fault *fault);
#endif
