/* Usage: the log, its folding into minute buckets, and sums over both. */
#include <errno.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"
#include "store/sqlite_internal.h"

#define FOLD_MAX 1000 /* records that one transaction folds, and forgets */
#define KNOWN_S 86400 /* how long the ids of folded records are known */
#define SQL_MAX 8192

/* ---- the log, on the writer thread ---- */

int sqlite_usage_append(struct sqlite_store *s, const struct store_usage *u, int64_t now,
                        struct store_fault *fault)
{
        sqlite3_stmt *stmt = s->w[W_USAGE_APPEND];
        const char *const words[] = { u->id, u->what, u->project, u->user, u->key, u->model, u->tier };
        for (int i = 0; i < USAGE_WORDS; i++)
                sqlite_word(stmt, 1 + i, words[i] ? words[i] : "");
        sqlite3_bind_int(stmt, 8, u->batch);
        sqlite3_bind_int64(stmt, 9, u->at ? u->at : now);
        for (int i = 0; i < USAGE_COUNTS; i++)
                sqlite3_bind_int64(stmt, 10 + i, u->n[i]);
        return sqlite_fault(s->wdb, sqlite_run(s, W_USAGE_APPEND), fault, "recording usage");
}

/* ---- folding, on the writer thread ---- */

/* How many records come next, FOLD_MAX at most, and the seq of the last. */
static int fold_range(struct sqlite_store *s, size_t *ret_n, int64_t *ret_upto, struct store_fault *fault)
{
        sqlite3_stmt *stmt = s->w[W_FOLD_RANGE];
        sqlite3_bind_int(stmt, 1, FOLD_MAX);
        int code = sqlite3_step(stmt);
        if (code == SQLITE_ROW) {
                *ret_n = (size_t)sqlite3_column_int64(stmt, 0);
                *ret_upto = sqlite3_column_int64(stmt, 1);
        }
        int rc = sqlite_fault(s->wdb, code, fault, "folding usage");
        sqlite3_reset(stmt);
        return rc;
}

static int fold_records(struct sqlite_store *s, int64_t upto, struct store_fault *fault)
{
        sqlite3_bind_int64(s->w[W_FOLD_ADD], 1, upto);
        int rc = sqlite_fault(s->wdb, sqlite_run(s, W_FOLD_ADD), fault, "folding usage");
        if (rc)
                return rc;
        sqlite3_bind_int64(s->w[W_FOLD_MARK], 1, upto);
        sqlite3_bind_int64(s->w[W_FOLD_MARK], 2, clock_unix());
        return sqlite_fault(s->wdb, sqlite_run(s, W_FOLD_MARK), fault, "folding usage");
}

/* Removes records that were folded long enough ago. Marks go when all records up to a later one are gone. */
static int fold_forget(struct sqlite_store *s, size_t *ret_n, struct store_fault *fault)
{
        int64_t before = clock_unix() - KNOWN_S;
        sqlite3_bind_int64(s->w[W_FOLD_FORGET], 1, before);
        sqlite3_bind_int(s->w[W_FOLD_FORGET], 2, FOLD_MAX);
        int rc = sqlite_fault(s->wdb, sqlite_run(s, W_FOLD_FORGET), fault, "forgetting folded usage");
        *ret_n = rc ? 0 : (size_t)sqlite3_changes64(s->wdb);
        if (rc || *ret_n)
                return rc;
        sqlite3_bind_int64(s->w[W_FOLD_TIDY], 1, before);
        return sqlite_fault(s->wdb, sqlite_run(s, W_FOLD_TIDY), fault, "forgetting folded usage");
}

static int fold_apply(struct store *store, struct store_write *w)
{
        struct sqlite_store *s = (struct sqlite_store *)store;
        size_t forgotten = 0, folded = 0;
        int64_t upto = 0;
        int rc = fold_range(s, &folded, &upto, &w->fault);
        if (!rc && folded)
                rc = fold_records(s, upto, &w->fault);
        if (!rc)
                rc = fold_forget(s, &forgotten, &w->fault);
        w->affected = folded + forgotten;
        return rc;
}

int sqlite_usage_fold(struct store *store, size_t *ret_folded, struct store_fault *fault)
{
        struct store_write w = { .kind = WRITE_OWN, .own = fold_apply };
        int rc = store_write_wait(store, &w, fault);
        *ret_folded = w.affected;
        return rc;
}

/* ---- sums ---- */

static const struct {
        unsigned by;
        const char *column;
} groups[] = {
        { USAGE_BY_PROJECT, "project" }, { USAGE_BY_USER, "user" }, { USAGE_BY_KEY, "key" },
        { USAGE_BY_MODEL, "model" },     { USAGE_BY_TIER, "tier" }, { USAGE_BY_BATCH, "batch" },
};

#define N_GROUPS (sizeof(groups) / sizeof(*groups))

static void counters(struct buf *sql, const char *each)
{
        for (int i = 0; i < USAGE_COUNTS; i++)
                buf_addf(sql, each, i);
}

/* ?1 what, ?2 from, ?3 to, ?4..?7 project, user, key, model or NULL, ?8 width. */
static void sum_source(struct buf *sql, const char *table, const char *minute, const char *only)
{
        buf_addf(sql, "SELECT %s AS minute, project, user, key, model, tier, batch", minute);
        counters(sql, ", n%d");
        buf_addf(sql,
                 " FROM %s WHERE what = ?1 AND %s >= ?2 AND %s < ?3%s AND (?4 IS NULL OR project = ?4)"
                 " AND (?5 IS NULL OR user = ?5) AND (?6 IS NULL OR key = ?6) AND (?7 IS NULL OR model = ?7)",
                 table, minute, minute, only);
}

/* One statement, so that a record which is being folded is counted in one of the two places. */
static void sum_sql(struct buf *sql, const struct store_usage_query *q)
{
        buf_addf(sql, "SELECT %s AS start", q->width ? "minute - minute % ?8" : "?2");
        for (size_t i = 0; i < N_GROUPS; i++)
                buf_addf(sql, ", %s AS g%zu",
                         q->by & groups[i].by             ? groups[i].column
                         : groups[i].by == USAGE_BY_BATCH ? "0"
                                                          : "''",
                         i);
        counters(sql, ", sum(n%d)");
        buf_adds(sql, " FROM (");
        sum_source(sql, "usage_bucket", "minute", "");
        buf_adds(sql, " UNION ALL ");
        sum_source(sql, "usage_log", "at - at % 60", " AND seq > (SELECT max(upto) FROM usage_fold)");
        buf_adds(sql, ") GROUP BY start, g0, g1, g2, g3, g4, g5 ORDER BY start, g0, g1, g2, g3, g4, g5");
}

static void sum_bind(sqlite3_stmt *stmt, const struct store_usage_query *q)
{
        sqlite_word(stmt, 1, q->what);
        sqlite3_bind_int64(stmt, 2, q->from);
        sqlite3_bind_int64(stmt, 3, q->to);
        sqlite_word(stmt, 4, q->project);
        sqlite_word(stmt, 5, q->user);
        sqlite_word(stmt, 6, q->key);
        sqlite_word(stmt, 7, q->model);
        if (q->width)
                sqlite3_bind_int64(stmt, 8, q->width);
}

static int sum_rows(struct reader *r, sqlite3_stmt *stmt, const char *what, struct usage_list *list,
                    struct store_fault *fault)
{
        int code;
        while ((code = sqlite3_step(stmt)) == SQLITE_ROW) {
                struct store_usage u = {
                        .at = sqlite3_column_int64(stmt, 0),
                        .what = what,
                        .project = (const char *)sqlite3_column_text(stmt, 1),
                        .user = (const char *)sqlite3_column_text(stmt, 2),
                        .key = (const char *)sqlite3_column_text(stmt, 3),
                        .model = (const char *)sqlite3_column_text(stmt, 4),
                        .tier = (const char *)sqlite3_column_text(stmt, 5),
                        .batch = sqlite3_column_int(stmt, 6) != 0,
                };
                for (int i = 0; i < USAGE_COUNTS; i++)
                        u.n[i] = sqlite3_column_int64(stmt, 7 + i);
                int rc = usage_list_add(list, &u);
                if (rc)
                        return store_fail(fault, rc, "summing usage: %s", strerror(-rc));
        }
        return sqlite_fault(r->db, code, fault, "summing usage");
}

int sqlite_usage_sum(struct store *store, const struct store_usage_query *q, struct store_usage **ret,
                     size_t *ret_n, struct store_fault *fault)
{
        struct sqlite_store *s = (struct sqlite_store *)store;
        struct usage_list list;
        struct reader *r;
        struct buf sql;
        int code, rc = sqlite_reader_borrow(s, &r, fault);
        if (rc)
                return rc;
        usage_list_init(&list);
        buf_init(&sql, SQL_MAX);
        sum_sql(&sql, q);
        rc = buf_error(&sql);
        sqlite3_stmt *stmt = rc ? NULL : sqlite_statement(r, buf_str(&sql), &code);
        if (stmt) {
                sum_bind(stmt, q);
                rc = sum_rows(r, stmt, q->what, &list, fault);
                sqlite_statement_done(stmt);
        } else if (!rc) {
                rc = sqlite_fault(r->db, code, fault, "summing usage");
        }
        if (!rc && (rc = usage_list_take(&list, ret, ret_n)))
                store_fail(fault, rc, "memory is out");
        usage_list_release(&list);
        buf_release(&sql);
        sqlite_reader_return(s, r);
        return rc;
}
