/* Writing: one thread takes the writes that wait, does them in one transaction and answers each after the
 * commit. While it waits for the disk the next group gathers, and who comes while a group is being done joins
 * it, so that groups grow with the load.
 *
 * A write that fails is undone by its savepoint and harms none of its group. When the transaction itself
 * fails (a full disk, say), each write of the group is tried again alone, so that one which cannot succeed
 * does not take the others with it. */
#include <errno.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <sys/statvfs.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/thread.h"
#include "store/sqlite_internal.h"

#define GROUP_MAX 1024 /* writes of one transaction; bounds the time to the first answer */

/* ---- writes ---- */

/* A single statement undoes itself when it fails; more than one need a savepoint. */
static bool needs_savepoint(const struct store_write *w)
{
        if (w->kind != WRITE_OPS)
                return w->kind == WRITE_OWN;
        return w->n > 1 || w->ops[0].nmetadata || w->ops[0].set & STORE_SET_METADATA;
}

static int write_ops(struct sqlite_store *s, struct store_write *w, int64_t now)
{
        int rc = 0;
        for (size_t i = 0; i < w->n && !rc; i++) {
                w->fault.op = i;
                rc = sqlite_op_apply(s, &w->ops[i], now, &w->fault);
        }
        return rc;
}

/* For who asks whether a write would succeed, without one: what the file system says of itself. */
static int disk_check(struct sqlite_store *s, struct store_fault *fault)
{
        struct statvfs fs;
        int rc = fault_at("store.disk");
        if (rc)
                return store_fail(fault, rc, "the disk of %s: %s", s->path, strerror(-rc));
        if (statvfs(s->path, &fs))
                return store_fail(fault, -errno, "%s: %s", s->path, strerror(errno));
        if (fs.f_flag & ST_RDONLY)
                return store_fail(fault, -EROFS, "the disk of %s cannot be written", s->path);
        if (fs.f_blocks && !fs.f_bavail)
                return store_fail(fault, -ENOSPC, "the disk of %s is full", s->path);
        return 0;
}

/* Fills w->rc. False when the transaction as a whole is lost: SQLite ends it by itself after some errors. */
static bool write_apply(struct sqlite_store *s, struct store_write *w, int64_t now)
{
        bool save = needs_savepoint(w);
        w->rc = 0;
        memset(&w->fault, 0, sizeof(w->fault));
        if (save)
                w->rc = sqlite_fault(s->wdb, sqlite_run(s, W_SAVE), &w->fault, "writing");
        if (w->rc)
                return false;
        if (w->kind == WRITE_SWEEP)
                w->rc = sqlite_sweep_apply(s, w, now);
        else if (w->kind == WRITE_OPS)
                w->rc = write_ops(s, w, now);
        else if (w->kind == WRITE_OWN)
                w->rc = w->own(&s->store, w);
        else
                w->rc = disk_check(s, &w->fault);
        if (sqlite3_get_autocommit(s->wdb))
                return false;
        if (save && w->rc && sqlite_run(s, W_UNDO) != SQLITE_OK)
                return false;
        return !save || sqlite_run(s, W_RELEASE) == SQLITE_OK;
}

/* Who came while the n writes of a group were done. Those that the last commit answered are about to write
 * again, some of them on this very processor: once it is theirs. */
static struct store_write *latecomers(struct sqlite_store *s, size_t n)
{
        struct store_write *more = write_queue_more(&s->queue, GROUP_MAX - n);
        if (!more && n > 1) {
                sched_yield();
                more = write_queue_more(&s->queue, GROUP_MAX - n);
        }
        return more;
}

/* One transaction over the list, and over those that it appends when others may join. On failure nothing of
 * it is on the disk. */
static int group_commit(struct sqlite_store *s, struct store_write *list, bool join,
                        struct store_fault *fault)
{
        int64_t now = clock_unix();
        size_t n = 0;
        int rc = sqlite_fault(s->wdb, sqlite_run(s, W_BEGIN), fault, "beginning a transaction");
        if (rc)
                return rc;
        for (struct store_write *w = list; w && !rc; w = w->next) {
                if (!write_apply(s, w, now)) {
                        rc = w->rc ? w->rc : -EIO;
                        store_fail(fault, rc, "%s",
                                   *w->fault.msg ? w->fault.msg : "the transaction was lost");
                }
                n++;
                if (join && !rc && !w->next) {
                        w->next = latecomers(s, n);
                        now = clock_unix();
                }
        }
        if (!rc && (rc = fault_at("store.commit")))
                store_fail(fault, rc, "committing: %s", strerror(-rc));
        if (!rc)
                rc = sqlite_fault(s->wdb, sqlite_run(s, W_COMMIT), fault, "committing");
        if (rc && !sqlite3_get_autocommit(s->wdb))
                sqlite_run(s, W_ROLLBACK);
        if (!rc)
                atomic_fetch_add_explicit(&s->n_commits, 1, memory_order_relaxed);
        return rc;
}

/* All that comes before the answer. */
static void write_settle(struct sqlite_store *s, struct store_write *w)
{
        if (!w->rc)
                memset(&w->fault, 0, sizeof(w->fault));
        else
                w->affected = 0;
        atomic_fetch_add_explicit(w->rc ? &s->n_failed : &s->n_writes, 1, memory_order_relaxed);
        if (!w->rc && w->kind == WRITE_OPS)
                store_tell_ops(&s->store, w->ops, w->n);
}

static void group_answer(struct sqlite_store *s, struct store_write *list)
{
        for (struct store_write *w = list; w; w = w->next)
                write_settle(s, w);
        store_complete(list);
}

static void write_refuse(struct store_write *w, int rc, const struct store_fault *fault)
{
        w->rc = rc;
        memcpy(w->fault.msg, fault->msg, sizeof(w->fault.msg));
}

static void write_alone(struct sqlite_store *s, struct store_write *w)
{
        struct store_fault fault = { 0 };
        w->next = NULL;
        int rc = group_commit(s, w, false, &fault);
        if (rc)
                write_refuse(w, rc, &fault);
        group_answer(s, w);
}

static void group_write(struct sqlite_store *s, struct store_write *list)
{
        struct store_fault fault = { 0 };
        int rc = group_commit(s, list, true, &fault);
        /* One write has no other to be tried without; the busy timeout has passed for all and shall not pass
         * once more for each. */
        bool final = !list->next || rc == -EBUSY;
        for (struct store_write *w = list; w && rc && final; w = w->next)
                write_refuse(w, rc, &fault);
        if (!rc || final) {
                group_answer(s, list);
                return;
        }
        while (list) {
                struct store_write *next = list->next;
                write_alone(s, list);
                list = next;
        }
}

/* ---- the thread ---- */

int sqlite_submit(struct store *store, struct store_write *w)
{
        return write_queue_add(&((struct sqlite_store *)store)->queue, w);
}

static void *writer_main(void *arg)
{
        struct sqlite_store *s = arg;
        struct store_write *list;
        while ((list = write_queue_take(&s->queue, GROUP_MAX, SIZE_MAX)))
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
        if (!rc && s->lock_fd >= 0)
                rc = sqlite_leases_void(s->wdb, fault);
        for (int i = 0; i < W_STMTS && !rc; i++) {
                int code = sqlite3_prepare_v3(s->wdb, sqlite_writer_sql[i], -1, SQLITE_PREPARE_PERSISTENT,
                                              &s->w[i], NULL);
                rc = sqlite_fault(s->wdb, code, fault, "preparing the writer");
        }
        if (rc) {
                writer_close(s);
                return rc;
        }
        rc = thread_start(&s->writer, "store-writer", writer_main, s);
        if (rc) {
                writer_close(s);
                return store_fail(fault, rc, "no thread for the writer: %s", strerror(-rc));
        }
        s->writer_runs = true;
        return 0;
}

void sqlite_writer_stop(struct sqlite_store *s)
{
        if (!s->writer_runs)
                return;
        write_queue_stop(&s->queue);
        pthread_join(s->writer, NULL);
        s->writer_runs = false;
        writer_close(s);
}
