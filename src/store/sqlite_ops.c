/* The operations of writes, on the writer thread inside its transaction: statements, then those on objects.
 */
#include <errno.h>
#include <string.h>
#include "base/clock.h"
#include "store/sqlite_internal.h"

#define DOOMED_AND_DESCENDANTS                                                                \
        " UNION SELECT o.seq, o.id, o.project FROM object o JOIN doomed d ON o.parent = d.id" \
        " AND o.project = d.project WHERE o.parent <> '')"                                    \
        " DELETE FROM object WHERE seq IN (SELECT seq FROM doomed)"

const char *const sqlite_writer_sql[W_STMTS] = {
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
        [W_JOB_PUT] = "INSERT INTO job (kind, id, project, created, due, priority, payload)"
                      " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        [W_JOB_SAVE] =
                "UPDATE job SET payload = coalesce(?4, payload) WHERE kind = ?1 AND id = ?2 AND lease = ?3",
        [W_JOB_RETRY] = "UPDATE job SET payload = coalesce(?4, payload), due = ?5, lease = 0"
                        " WHERE kind = ?1 AND id = ?2 AND lease = ?3",
        [W_JOB_FINISH] = "DELETE FROM job WHERE kind = ?1 AND id = ?2 AND lease = ?3",
        [W_JOB_DROP] = "DELETE FROM job WHERE kind = ?1 AND id = ?2 AND (?3 IS NULL OR project = ?3)",
        [W_JOB_WAKE] = "UPDATE job SET due = min(due, ?4) WHERE kind = ?1 AND id = ?2 AND lease = 0"
                       " AND (?3 IS NULL OR project = ?3)",
        [W_JOB_RENEW] = "UPDATE job SET due = ?4 WHERE kind = ?1 AND id = ?2 AND lease = ?3",
        /* The first of the jobs that have the highest priority below ?2. */
        [W_JOB_FIRST] = "SELECT seq, due, priority FROM job WHERE kind = ?1 AND priority ="
                        " (SELECT max(priority) FROM job WHERE kind = ?1 AND priority < ?2)"
                        " ORDER BY due LIMIT 1",
        /* A lease is never given twice: no two rows have one seq, and no row's attempts reach 2^24. */
        [W_JOB_CLAIM] = "UPDATE job SET attempt = attempt + 1, lease = (seq << 24) + attempt + 1, due = ?2"
                        " WHERE seq = ?1 RETURNING kind, id, project, created, attempt, lease, payload",
        [W_USAGE_APPEND] = "INSERT INTO usage_log (id, what, project, user, key, model, tier, batch, at,"
                           " n0, n1, n2, n3, n4, n5, n6, n7, n8, n9, n10, n11)"
                           " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9,"
                           " ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)"
                           " ON CONFLICT (id) DO NOTHING",
        [W_FOLD_RANGE] = "SELECT count(*), max(seq) FROM (SELECT seq FROM usage_log"
                         " WHERE seq > (SELECT max(upto) FROM usage_fold) ORDER BY seq LIMIT ?1)",
        [W_FOLD_ADD] =
                "INSERT INTO usage_bucket SELECT what, at - at % 60, project, user, key, model, tier, batch,"
                " n0, n1, n2, n3, n4, n5, n6, n7, n8, n9, n10, n11 FROM usage_log"
                " WHERE seq > (SELECT max(upto) FROM usage_fold) AND seq <= ?1"
                " ON CONFLICT DO UPDATE SET n0 = n0 + excluded.n0, n1 = n1 + excluded.n1,"
                " n2 = n2 + excluded.n2, n3 = n3 + excluded.n3, n4 = n4 + excluded.n4,"
                " n5 = n5 + excluded.n5, n6 = n6 + excluded.n6, n7 = n7 + excluded.n7,"
                " n8 = n8 + excluded.n8, n9 = n9 + excluded.n9, n10 = n10 + excluded.n10,"
                " n11 = n11 + excluded.n11",
        [W_FOLD_MARK] = "INSERT INTO usage_fold (upto, at) VALUES (?1, ?2)",
        [W_FOLD_FORGET] =
                "DELETE FROM usage_log WHERE seq IN (SELECT seq FROM usage_log"
                " WHERE seq <= (SELECT max(upto) FROM usage_fold WHERE at <= ?1) ORDER BY seq LIMIT ?2)",
        [W_FOLD_TIDY] =
                "DELETE FROM usage_fold WHERE upto < (SELECT max(upto) FROM usage_fold WHERE at <= ?1)",
};
_Static_assert(STORE_SET_DOC == 1 && STORE_SET_FILTERS == 2 && STORE_SET_EXPIRES == 8, "see W_UPDATE");
_Static_assert(STORE_FILTERS == 4, "see W_INSERT and W_UPDATE");
_Static_assert(USAGE_COUNTS == 12, "see W_USAGE_APPEND and W_FOLD_ADD");

/* ---- statements ---- */

int sqlite_run(struct sqlite_store *s, enum writer_stmt which)
{
        int code = sqlite3_step(s->w[which]);
        sqlite3_reset(s->w[which]);
        return code == SQLITE_DONE || code == SQLITE_ROW ? SQLITE_OK : code;
}

void sqlite_text(sqlite3_stmt *stmt, int i, struct str doc)
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
        sqlite_word(stmt, 1, op->kind);
        sqlite_word(stmt, 2, op->id);
        sqlite_word(stmt, 3, project);
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
        return sqlite_fault(s->wdb, sqlite_run(s, W_DELETE), fault, "deleting");
}

static int metadata_write(struct sqlite_store *s, const struct store_op *op, int64_t seq,
                          struct store_fault *fault)
{
        sqlite3_stmt *stmt = s->w[W_META_INSERT];
        int code = SQLITE_OK;
        for (size_t i = 0; i < op->nmetadata && code == SQLITE_OK; i++) {
                sqlite3_bind_int64(stmt, 1, seq);
                sqlite_word(stmt, 2, op->metadata[i].key);
                sqlite_word(stmt, 3, op->metadata[i].value);
                code = sqlite_run(s, W_META_INSERT);
        }
        return sqlite_fault(s->wdb, code, fault, "writing metadata");
}

static int row_insert(struct sqlite_store *s, const struct store_op *op, int64_t now)
{
        sqlite3_stmt *stmt = s->w[W_INSERT];
        sqlite_word(stmt, 1, op->kind);
        sqlite_word(stmt, 2, op->id);
        sqlite_word(stmt, 3, op->project ? op->project : "");
        sqlite_word(stmt, 4, op->parent ? op->parent : "");
        sqlite3_bind_int64(stmt, 5, op->created ? op->created : now);
        sqlite3_bind_int64(stmt, 6, op->expires);
        sqlite_text(stmt, 7, op->doc);
        for (int i = 0; i < STORE_FILTERS; i++)
                sqlite_word(stmt, 8 + i, op->f[i]);
        return sqlite_run(s, W_INSERT);
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
        sqlite_text(stmt, 3, op->doc);
        for (int i = 0; i < STORE_FILTERS; i++)
                sqlite_word(stmt, 4 + i, op->f[i]);
        sqlite3_bind_int64(stmt, 8, op->expires);
        rc = sqlite_fault(s->wdb, sqlite_run(s, W_UPDATE), fault, "updating");
        if (rc || !(op->set & STORE_SET_METADATA))
                return rc;
        sqlite3_bind_int64(s->w[W_META_CLEAR], 1, row.seq);
        rc = sqlite_fault(s->wdb, sqlite_run(s, W_META_CLEAR), fault, "updating metadata");
        return rc ? rc : metadata_write(s, op, row.seq, fault);
}

int sqlite_op_apply(struct sqlite_store *s, const struct store_op *op, int64_t now, struct store_fault *fault)
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
        case STORE_USAGE:
                return sqlite_usage_append(s, op->usage, now, fault);
        case STORE_NOTIFY: /* told after the commit */
                return 0;
        default:
                return sqlite_job_apply(s, op, fault);
        }
}

int sqlite_sweep_apply(struct sqlite_store *s, struct store_write *w, int64_t now)
{
        sqlite3_bind_int64(s->w[W_SWEEP], 1, now);
        sqlite3_bind_int64(s->w[W_SWEEP], 2, SWEEP_BATCH);
        int rc = sqlite_fault(s->wdb, sqlite_run(s, W_SWEEP), &w->fault, "sweeping");
        w->affected = rc ? 0 : (size_t)sqlite3_changes64(s->wdb);
        return rc;
}
