/* The SQLite backend: one writer thread with its connection, and a pool of connections for readers.
 *
 *   sqlite.c         opening, closing, errors, the vtable
 *   sqlite_schema.c  connections and migrations
 *   sqlite_read.c    get and list, on a connection borrowed from the pool
 *   sqlite_write.c   the queue, the group commit and the operations, on the writer thread
 *
 * Connections are opened without SQLite's own mutexes: each is used by one thread at a time. */
#ifndef CAIRN_STORE_SQLITE_INTERNAL_H
#define CAIRN_STORE_SQLITE_INTERNAL_H

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include "base/map.h"
#include "store/store_internal.h"

#define READERS_MAX 64

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

        /* writer: the queue is under the lock, the rest is the writer thread's */
        pthread_t writer;
        bool writer_runs;
        pthread_mutex_t queue_lock;
        pthread_cond_t queue_filled;
        struct store_write *head, **tail;
        size_t n_queued, max_queued, queued_bytes;
        bool stopping;
        sqlite3 *wdb;
        sqlite3_stmt *w[W_STMTS];
        _Atomic uint64_t n_writes, n_failed, n_commits;
};

/* The errno that stands for SQLite's last error on db; fault gets "what: why". */
int sqlite_fault(sqlite3 *db, int code, struct store_fault *fault, const char *what);

/* A connection with all settings; on failure *ret is NULL. */
int sqlite_connect(const char *path, sqlite3 **ret, struct store_fault *fault);
/* Switches to WAL and applies the migrations that are missing. */
int sqlite_migrate(sqlite3 *db, struct store_fault *fault);

int sqlite_get(struct store *s, const char *kind, const char *id, const char *project, struct object *ret,
               struct store_fault *fault);
int sqlite_list(struct store *s, const struct store_query *q, struct store_page *ret,
                struct store_fault *fault);
void sqlite_readers_close(struct sqlite_store *s);

int sqlite_submit(struct store *s, struct store_write *w);
int sqlite_writer_start(struct sqlite_store *s, struct store_fault *fault);
void sqlite_writer_stop(struct sqlite_store *s); /* completes what waits, closes the connection */
#endif
