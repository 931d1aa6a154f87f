/* What looks at the whole database: scans, backups and checks, all beside the writer. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/mem.h"
#include "store/datadir.h"
#include "store/sqlite_internal.h"

/* ---- scan ---- */

int sqlite_scan(struct store *store, const char *kind, int (*fn)(void *ctx, const struct object *o),
                void *ctx, struct store_fault *fault)
{
        /* Of one kind the row numbers come from an index, so that other kinds' documents are not passed by.
         */
        static const char all[] = "SELECT " SQLITE_OBJECT_COLUMNS " FROM object o ORDER BY o.seq";
        static const char some[] = "SELECT " SQLITE_OBJECT_COLUMNS " FROM object o WHERE o.seq IN"
                                   " (SELECT seq FROM object WHERE kind = ?1) ORDER BY o.seq";
        struct sqlite_store *s = (struct sqlite_store *)store;
        struct reader *r;
        int code, rc = sqlite_reader_borrow(s, &r, fault);
        if (rc)
                return rc;
        sqlite3_stmt *stmt = sqlite_statement(r, kind ? STR(some) : STR(all), &code);
        if (stmt) {
                if (kind)
                        sqlite_word(stmt, 1, kind);
                while (!rc && (code = sqlite3_step(stmt)) == SQLITE_ROW) {
                        struct object o;
                        rc = sqlite_row_read(stmt, &o);
                        if (rc) {
                                store_fail(fault, rc, "memory is out");
                                break;
                        }
                        rc = fn(ctx, &o);
                        object_release(&o);
                }
        }
        if (!rc)
                rc = sqlite_fault(r->db, code, fault, "scanning");
        if (stmt)
                sqlite_statement_done(stmt);
        sqlite_reader_return(s, r);
        return rc;
}

/* ---- backup ---- */

/* Copies in one step: a reading transaction, so that the copy is of one moment and writers go on. */
static int database_copy(sqlite3 *from, sqlite3 *to, struct store_fault *fault)
{
        sqlite3_backup *b = sqlite3_backup_init(to, "main", from, "main");
        if (!b)
                return sqlite_fault(to, sqlite3_errcode(to), fault, "copying the database");
        int code = sqlite3_backup_step(b, -1);
        int last = sqlite3_backup_finish(b);
        if (code == SQLITE_DONE)
                code = last;
        return sqlite_fault(to, code, fault, "copying the database");
}

/* The copy is a database of one file, whole and on the disk: without a log beside it. */
static int copy_open(const char *path, sqlite3 **ret, struct store_fault *fault)
{
        int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE;
        int code = sqlite3_open_v2(path, ret, flags, sqlite_vfs_name());
        if (code == SQLITE_OK)
                code = sqlite3_exec(*ret, "PRAGMA synchronous=FULL", NULL, NULL, NULL);
        return sqlite_fault(*ret, code, fault, path);
}

static int file_sync(const char *path, struct store_fault *fault)
{
        int fd = open(path, O_RDONLY | O_CLOEXEC), rc = 0;
        if (fd < 0 || fsync(fd))
                rc = store_fail(fault, -errno, "%s: %s", path, strerror(errno));
        if (fd >= 0)
                close(fd);
        return rc;
}

static int file_new(const char *path, struct store_fault *fault)
{
        int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0)
                return store_fail(fault, -errno, "%s: %s", path, strerror(errno));
        close(fd);
        return 0;
}

int sqlite_backup(struct store *store, const char *to, struct store_fault *fault)
{
        struct sqlite_store *s = (struct sqlite_store *)store;
        char path[4096], err[sizeof(fault->msg)] = "";
        struct reader *r = NULL;
        sqlite3 *copy = NULL;
        int rc = datadir_make(to, err, sizeof(err));
        if (rc)
                return store_fail(fault, rc, "%s", err);
        if ((size_t)snprintf(path, sizeof(path), "%s/" DATABASE_NAME, to) >= sizeof(path))
                return store_fail(fault, -ENAMETOOLONG, "%s: %s", to, strerror(ENAMETOOLONG));
        rc = file_new(path, fault);
        if (rc)
                return rc;
        rc = sqlite_reader_borrow(s, &r, fault);
        if (!rc)
                rc = copy_open(path, &copy, fault);
        if (!rc)
                rc = database_copy(r->db, copy, fault);
        sqlite3_close(copy);
        if (r)
                sqlite_reader_return(s, r);
        if (!rc)
                rc = file_sync(path, fault);
        if (!rc && (rc = datadir_sync(to)))
                store_fail(fault, rc, "%s: %s", to, strerror(-rc));
        if (rc)
                unlink(path);
        return rc;
}

/* ---- check ---- */

struct checker {
        sqlite3 *db;
        void (*report)(void *ctx, const char *finding);
        void *ctx;
};

/* Runs a query whose rows are findings: `say` is a format for its first two columns. */
static int findings(struct checker *c, const char *sql, const char *say, struct store_fault *fault)
{
        sqlite3_stmt *stmt = NULL;
        char finding[1024];
        int code = sqlite3_prepare_v2(c->db, sql, -1, &stmt, NULL);
        while (code == SQLITE_OK || code == SQLITE_ROW) {
                code = sqlite3_step(stmt);
                if (code != SQLITE_ROW)
                        break;
                const char *first = (const char *)sqlite3_column_text(stmt, 0);
                const char *second = (const char *)sqlite3_column_text(stmt, 1);
                sqlite3_snprintf(sizeof(finding), finding, say, first ? first : "", second ? second : "");
                c->report(c->ctx, finding);
        }
        int rc = sqlite_fault(c->db, code, fault, "checking");
        sqlite3_finalize(stmt);
        return rc;
}

static const struct {
        const char *sql, *say;
} checks[] = {
        { "SELECT integrity_check FROM pragma_integrity_check(1000) WHERE integrity_check <> 'ok'",
          "the database is damaged: %s" },
        { "SELECT \"table\", rowid FROM pragma_foreign_key_check",
          "table %s, row %s: the row that it belongs to is missing" },
        { "SELECT kind || ' ' || id, parent FROM object WHERE parent <> ''"
          " AND (parent, project) NOT IN (SELECT id, project FROM object)",
          "%s: its parent %s is missing" },
        { "SELECT kind, id FROM job WHERE due < 0 OR attempt < 0 OR (lease <> 0 AND attempt = 0)",
          "job %s %s: its lease is impossible" },
        { "SELECT what || ' ' || project, minute FROM usage_bucket WHERE minute % 60 <> 0",
          "usage of %s: a bucket at %s, which is no whole minute" },
        { "SELECT upto, at FROM usage_fold WHERE upto > coalesce((SELECT seq FROM sqlite_sequence"
          " WHERE name = 'usage_log'), 0)",
          "usage was folded up to record %s, which was never written" },
};

int sqlite_check(struct store *store, void (*report)(void *ctx, const char *finding), void *ctx,
                 struct store_fault *fault)
{
        struct sqlite_store *s = (struct sqlite_store *)store;
        struct reader *r;
        int rc = sqlite_reader_borrow(s, &r, fault);
        if (rc)
                return rc;
        struct checker c = { r->db, report, ctx };
        for (size_t i = 0; i < sizeof(checks) / sizeof(*checks) && !rc; i++)
                rc = findings(&c, checks[i].sql, checks[i].say, fault);
        sqlite_reader_return(s, r);
        return rc;
}
