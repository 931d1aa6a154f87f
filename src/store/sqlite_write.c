/* Writing: one thread takes the writes that wait, does them in one transaction and answers each after the
 * commit. While it waits for the disk the next group gathers, so that groups grow with the load.
 *
 * A write that fails is undone by its savepoint and harms none of its group. When the transaction itself
 * fails (a full disk, say), each write of the group is tried again alone, so that one which cannot succeed
 * does not take the others with it. */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include "base/clock.h"
#include "store/sqlite_internal.h"

#define GROUP_MAX 1024               /* writes of one transaction; bounds the time to the first answer */
#define QUEUE_BYTES_MAX (256u << 20) /* documents that wait; a longer one may wait alone */

#define DOOMED_AND_DESCENDANTS                                                                \
        " UNION SELECT o.seq, o.id, o.project FROM object o JOIN doomed d ON o.parent = d.id" \
        " AND o.project = d.project WHERE o.parent <> '')"                                    \
        " DELETE FROM object WHERE seq IN (SELECT seq FROM doomed)"

static const char *const statement_sql[W_STMTS] = {
        [W_BEGIN] = "BEGIN IMMEDIATE",
        [W_COMMIT] = "COMMIT",
        [W_ROLLBACK] = "ROLLBACK",
        [W_SAVE] = "SAVEPOINT w",
        [W_RELEASE] = "RELEASE w",
        [W_UNDO] = "ROLLBACK TO w",
        [W_FIND] = "SELECT seq, version, expires FROM object WHERE kind = ?1 AND id = ?2"
                   " AND (?3 IS NULL OR project = ?3)",
        [W_INSERT] = "INSERT INTO object (kind, id, project, parent, created, expires, doc, f1, f2, f3, f4)"
                     " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        [W_UPDATE] = "UPDATE object SET version = version + 1,"
                     " doc = CASE WHEN ?2 & 1 THEN ?3 ELSE doc END,"
                     " f1 = CASE WHEN ?2 & 2 THEN ?4 ELSE f1 END,"
                     " f2 = CASE WHEN ?2 & 2 THEN ?5 ELSE f2 END,"
                     " f3 = CASE WHEN ?2 & 2 THEN ?6 ELSE f3 END,"
                     " f4 = CASE WHEN ?2 & 2 THEN ?7 ELSE f4 END,"
                     " expires = CASE WHEN ?2 & 8 THEN ?8 ELSE expires END WHERE seq = ?1",
        [W_DELETE] = "WITH RECURSIVE doomed (seq, id, project) AS ("
                     "SELECT seq, id, project FROM object WHERE seq = ?1" DOOMED_AND_DESCENDANTS,
        [W_META_INSERT] = "INSERT INTO metadata (project, kind, key, value, created, object)"
                          " SELECT project, kind, ?2, ?3, created, seq FROM object WHERE seq = ?1",
        [W_META_CLEAR] = "DELETE FROM metadata WHERE object = ?1",
        [W_SWEEP] = "WITH RECURSIVE doomed (seq, id, project) AS ("
                    "SELECT seq, id, project FROM (SELECT seq, id, project FROM object"
                    " WHERE expires <> 0 AND expires <= ?1 ORDER BY expires LIMIT ?2)" DOOMED_AND_DESCENDANTS,
};
_Static_assert(STORE_SET_DOC == 1 && STORE_SET_FILTERS == 2 && STORE_SET_EXPIRES == 8, "see W_UPDATE");
_Static_assert(STORE_FILTERS == 4, "see W_INSERT and W_UPDATE");

/* ---- statements ---- */

/* Steps a statement that gives no rows, and makes it ready for the next time. */
static int run(struct sqlite_store *s, enum writer_stmt which)
{
        int code = sqlite3_step(s->w[which]);
        sqlite3_reset(s->w[which]);
        return code == SQLITE_DONE || code == SQLITE_ROW ? SQLITE_OK : code;
}

static void bind_text(sqlite3_stmt *stmt, int i, const char *text)
{
        sqlite3_bind_text(stmt, i, text, -1, SQLITE_STATIC);
}

static void bind_doc(sqlite3_stmt *stmt, int i, struct str doc)
{
        sqlite3_bind_text64(stmt, i, doc.n ? doc.p : "", doc.n, SQLITE_STATIC, SQLITE_UTF8);
}

/* ---- operations, inside the transaction ---- */

struct found {
        int64_t seq, version, expires;
};

/* The row that op names, expired or not; -ENOENT. */
static int row_find(struct sqlite_store *s, const struct store_op *op, const char *project, struct found *ret,
                    struct store_fault *fault)
{
        sqlite3_stmt *stmt = s->w[W_FIND];
        bind_text(stmt, 1, op->kind);
        bind_text(stmt, 2, op->id);
        bind_text(stmt, 3, project);
        int rc, code = sqlite3_step(stmt);
        if (code == SQLITE_ROW) {
                *ret = (struct found){ sqlite3_column_int64(stmt, 0), sqlite3_column_int64(stmt, 1),
                                       sqlite3_column_int64(stmt, 2) };
                rc = 0;
        } else if (code == SQLITE_DONE) {
                rc = store_fail(fault, -ENOENT, "no such %s: %s", op->kind, op->id);
        } else {
                rc = sqlite_fault(s->wdb, code, fault, "writing");
        }
        sqlite3_reset(stmt);
        return rc;
}

/* The live row that op names, in the version that op demands. */
static int row_demand(struct sqlite_store *s, const struct store_op *op, int64_t now, struct found *ret,
                      struct store_fault *fault)
{
        int rc = row_find(s, op, op->project, ret, fault);
        if (rc)
                return rc;
        if (store_expired(ret->expires, now))
                return store_fail(fault, -ENOENT, "no such %s: %s", op->kind, op->id);
        if (op->if_version && op->if_version != ret->version)
                return store_fail(fault, -ESTALE, "%s has version %lld, not %lld", op->id,
                                  (long long)ret->version, (long long)op->if_version);
        return 0;
}

static int row_delete(struct sqlite_store *s, int64_t seq, struct store_fault *fault)
{
        sqlite3_bind_int64(s->w[W_DELETE], 1, seq);
        return sqlite_fault(s->wdb, run(s, W_DELETE), fault, "deleting");
}

static int metadata_write(struct sqlite_store *s, const struct store_op *op, int64_t seq,
                          struct store_fault *fault)
{
        sqlite3_stmt *stmt = s->w[W_META_INSERT];
        int code = SQLITE_OK;
        for (size_t i = 0; i < op->nmetadata && code == SQLITE_OK; i++) {
                sqlite3_bind_int64(stmt, 1, seq);
                bind_text(stmt, 2, op->metadata[i].key);
                bind_text(stmt, 3, op->metadata[i].value);
                code = run(s, W_META_INSERT);
        }
        return sqlite_fault(s->wdb, code, fault, "writing metadata");
}

static int row_insert(struct sqlite_store *s, const struct store_op *op, int64_t now)
{
        sqlite3_stmt *stmt = s->w[W_INSERT];
        bind_text(stmt, 1, op->kind);
        bind_text(stmt, 2, op->id);
        bind_text(stmt, 3, op->project ? op->project : "");
        bind_text(stmt, 4, op->parent ? op->parent : "");
        sqlite3_bind_int64(stmt, 5, op->created ? op->created : now);
        sqlite3_bind_int64(stmt, 6, op->expires);
        bind_doc(stmt, 7, op->doc);
        for (int i = 0; i < STORE_FILTERS; i++)
                bind_text(stmt, 8 + i, op->f[i]);
        return run(s, W_INSERT);
}

static int op_put(struct sqlite_store *s, const struct store_op *op, int64_t now, struct store_fault *fault)
{
        struct found old;
        int code = row_insert(s, op, now);
        if ((code & 0xff) == SQLITE_CONSTRAINT) {
                int rc = row_find(s, op, NULL, &old, fault);
                if (!rc && !store_expired(old.expires, now))
                        return store_fail(fault, -EEXIST, "%s exists already", op->id);
                if (!rc)
                        rc = row_delete(s, old.seq, fault);
                if (rc)
                        return rc;
                code = row_insert(s, op, now);
        }
        if (code != SQLITE_OK)
                return sqlite_fault(s->wdb, code, fault, "inserting");
        return metadata_write(s, op, sqlite3_last_insert_rowid(s->wdb), fault);
}

static int op_update(struct sqlite_store *s, const struct store_op *op, int64_t now,
                     struct store_fault *fault)
{
        sqlite3_stmt *stmt = s->w[W_UPDATE];
        struct found row;
        int rc = row_demand(s, op, now, &row, fault);
        if (rc)
                return rc;
        sqlite3_bind_int64(stmt, 1, row.seq);
        sqlite3_bind_int64(stmt, 2, op->set);
        bind_doc(stmt, 3, op->doc);
        for (int i = 0; i < STORE_FILTERS; i++)
                bind_text(stmt, 4 + i, op->f[i]);
        sqlite3_bind_int64(stmt, 8, op->expires);
        rc = sqlite_fault(s->wdb, run(s, W_UPDATE), fault, "updating");
        if (rc || !(op->set & STORE_SET_METADATA))
                return rc;
        sqlite3_bind_int64(s->w[W_META_CLEAR], 1, row.seq);
        rc = sqlite_fault(s->wdb, run(s, W_META_CLEAR), fault, "updating metadata");
        return rc ? rc : metadata_write(s, op, row.seq, fault);
}

static int op_apply(struct sqlite_store *s, const struct store_op *op, int64_t now, struct store_fault *fault)
{
        struct found row;
        int rc;
        switch (op->verb) {
        case STORE_PUT:
                return op_put(s, op, now, fault);
        case STORE_UPDATE:
                return op_update(s, op, now, fault);
        case STORE_DELETE:
                rc = row_demand(s, op, now, &row, fault);
                return rc ? rc : row_delete(s, row.seq, fault);
        case STORE_CHECK:
                return row_demand(s, op, now, &row, fault);
        default:
                return -EINVAL;
        }
}

static int sweep_apply(struct sqlite_store *s, struct store_write *w, int64_t now)
{
        sqlite3_bind_int64(s->w[W_SWEEP], 1, now);
        sqlite3_bind_int64(s->w[W_SWEEP], 2, SWEEP_BATCH);
        int rc = sqlite_fault(s->wdb, run(s, W_SWEEP), &w->fault, "sweeping");
        w->affected = rc ? 0 : (size_t)sqlite3_changes64(s->wdb);
        return rc;
}

/* ---- writes ---- */

/* A single statement undoes itself when it fails; more than one need a savepoint. */
static bool needs_savepoint(const struct store_write *w)
{
        return w->kind == WRITE_OPS &&
               (w->n > 1 || w->ops[0].nmetadata || w->ops[0].set & STORE_SET_METADATA);
}

static int write_ops(struct sqlite_store *s, struct store_write *w, int64_t now)
{
        int rc = 0;
        for (size_t i = 0; i < w->n && !rc; i++) {
                w->fault.op = i;
                rc = op_apply(s, &w->ops[i], now, &w->fault);
        }
        return rc;
}

/* Fills w->rc. False when the transaction as a whole is lost: SQLite ends it by itself after some errors. */
static bool write_apply(struct sqlite_store *s, struct store_write *w, int64_t now)
{
        bool save = needs_savepoint(w);
        w->rc = 0;
        memset(&w->fault, 0, sizeof(w->fault));
        if (save)
                w->rc = sqlite_fault(s->wdb, run(s, W_SAVE), &w->fault, "writing");
        if (w->rc)
                return false;
        if (w->kind == WRITE_SWEEP)
                w->rc = sweep_apply(s, w, now);
        else if (w->kind == WRITE_OPS)
                w->rc = write_ops(s, w, now);
        if (sqlite3_get_autocommit(s->wdb))
                return false;
        if (save && w->rc && run(s, W_UNDO) != SQLITE_OK)
                return false;
        return !save || run(s, W_RELEASE) == SQLITE_OK;
}

/* One transaction over the list. On failure nothing of it is on the disk. */
static int group_commit(struct sqlite_store *s, struct store_write *list, struct store_fault *fault)
{
        int64_t now = clock_unix();
        int rc = sqlite_fault(s->wdb, run(s, W_BEGIN), fault, "beginning a transaction");
        if (rc)
                return rc;
        for (struct store_write *w = list; w && !rc; w = w->next) {
                if (!write_apply(s, w, now)) {
                        rc = w->rc ? w->rc : -EIO;
                        store_fail(fault, rc, "%s",
                                   *w->fault.msg ? w->fault.msg : "the transaction was lost");
                }
        }
        if (!rc)
                rc = sqlite_fault(s->wdb, run(s, W_COMMIT), fault, "committing");
        if (rc && !sqlite3_get_autocommit(s->wdb))
                run(s, W_ROLLBACK);
        if (!rc)
                atomic_fetch_add_explicit(&s->n_commits, 1, memory_order_relaxed);
        return rc;
}

static void write_answer(struct sqlite_store *s, struct store_write *w)
{
        if (!w->rc)
                memset(&w->fault, 0, sizeof(w->fault));
        atomic_fetch_add_explicit(w->rc ? &s->n_failed : &s->n_writes, 1, memory_order_relaxed);
        w->complete(w);
}

static void group_answer(struct sqlite_store *s, struct store_write *list)
{
        while (list) {
                struct store_write *next = list->next; /* complete() frees it */
                write_answer(s, list);
                list = next;
        }
}

static void write_refuse(struct store_write *w, int rc, const struct store_fault *fault)
{
        w->rc = rc;
        w->affected = 0;
        memcpy(w->fault.msg, fault->msg, sizeof(w->fault.msg));
}

static void write_alone(struct sqlite_store *s, struct store_write *w)
{
        struct store_fault fault = { 0 };
        w->next = NULL;
        int rc = group_commit(s, w, &fault);
        if (rc)
                write_refuse(w, rc, &fault);
        write_answer(s, w);
}

static void group_write(struct sqlite_store *s, struct store_write *list)
{
        struct store_fault fault = { 0 };
        int rc = -EAGAIN;
        if (list->next)
                rc = group_commit(s, list, &fault);
        /* The busy timeout has passed for all; it shall not pass once more for each. */
        for (struct store_write *w = list; w && rc == -EBUSY; w = w->next)
                write_refuse(w, rc, &fault);
        if (!rc || rc == -EBUSY) {
                group_answer(s, list);
                return;
        }
        while (list) {
                struct store_write *next = list->next;
                write_alone(s, list);
                list = next;
        }
}

/* ---- the queue and its thread ---- */

int sqlite_submit(struct store *store, struct store_write *w)
{
        struct sqlite_store *s = (struct sqlite_store *)store;
        int rc = 0;
        w->next = NULL;
        pthread_mutex_lock(&s->queue_lock);
        bool full = s->n_queued >= s->max_queued || (s->head && s->queued_bytes + w->bytes > QUEUE_BYTES_MAX);
        if (s->stopping || full) {
                rc = -EAGAIN;
        } else {
                bool was_empty = !s->head;
                *s->tail = w;
                s->tail = &w->next;
                s->n_queued++;
                s->queued_bytes += w->bytes;
                if (was_empty)
                        pthread_cond_signal(&s->queue_filled);
        }
        pthread_mutex_unlock(&s->queue_lock);
        return rc;
}

/* Waits for writes and takes up to GROUP_MAX of them, as a list; NULL when the store stops and none is left.
 */
static struct store_write *group_take(struct sqlite_store *s)
{
        pthread_mutex_lock(&s->queue_lock);
        while (!s->head && !s->stopping)
                pthread_cond_wait(&s->queue_filled, &s->queue_lock);
        struct store_write *list = s->head, **end = &s->head;
        for (int n = 0; n < GROUP_MAX && *end; n++) {
                s->n_queued--;
                s->queued_bytes -= (*end)->bytes;
                end = &(*end)->next;
        }
        s->head = *end;
        if (!s->head)
                s->tail = &s->head;
        if (list)
                *end = NULL;
        pthread_mutex_unlock(&s->queue_lock);
        return list;
}

static void *writer_main(void *arg)
{
        struct sqlite_store *s = arg;
        struct store_write *list;
        while ((list = group_take(s)))
                group_write(s, list);
        return NULL;
}

static void writer_close(struct sqlite_store *s)
{
        for (int i = 0; i < W_STMTS; i++) {
                sqlite3_finalize(s->w[i]);
                s->w[i] = NULL;
        }
        sqlite3_close(s->wdb);
        s->wdb = NULL;
}

int sqlite_writer_start(struct sqlite_store *s, struct store_fault *fault)
{
        int rc = sqlite_connect(s->path, &s->wdb, fault);
        if (!rc)
                rc = sqlite_migrate(s->wdb, fault);
        for (int i = 0; i < W_STMTS && !rc; i++) {
                int code = sqlite3_prepare_v3(s->wdb, statement_sql[i], -1, SQLITE_PREPARE_PERSISTENT,
                                              &s->w[i], NULL);
                rc = sqlite_fault(s->wdb, code, fault, "preparing the writer");
        }
        if (rc) {
                writer_close(s);
                return rc;
        }
        /* Signals are for the threads that wait for them. */
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        rc = -pthread_create(&s->writer, NULL, writer_main, s);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (rc) {
                writer_close(s);
                return store_fail(fault, rc, "no thread for the writer: %s", strerror(-rc));
        }
        pthread_setname_np(s->writer, "store-writer");
        s->writer_runs = true;
        return 0;
}

void sqlite_writer_stop(struct sqlite_store *s)
{
        if (!s->writer_runs)
                return;
        pthread_mutex_lock(&s->queue_lock);
        s->stopping = true;
        pthread_cond_signal(&s->queue_filled);
        pthread_mutex_unlock(&s->queue_lock);
        pthread_join(s->writer, NULL);
        s->writer_runs = false;
        writer_close(s);
}
