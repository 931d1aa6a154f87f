/* Rows go through a temporary table of texts, so that one loop serves all tables: what SQLite's SELECT of a
 * step gives is copied there, and the step's INSERT puts it where it belongs. A batch of rows is one
 * transaction together with the mark of how far the step is. At the end each step's rows are read from both
 * sides in the same order, and their digests are compared. */
#include "store/migrate.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"
#include "store/postgres_internal.h"
#include "store/sqlite_internal.h"

#define BATCH_ROWS 5000
#define BATCH_BYTES (8u << 20)
#define COLUMNS_MAX 24
#define ROW_MAX (1020u << 20)
#define FETCH_ROWS "1000"
#define DIGEST 32

#define N_COLUMNS "n0, n1, n2, n3, n4, n5, n6, n7, n8, n9, n10, n11"
#define N_ELEMENTS "n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], n[9], n[10], n[11], n[12]"

/* What one step copies. `source` and `target` give the same columns in the same order. */
static const struct step {
        const char *what;
        const char *count;  /* of the source */
        const char *source; /* SQLite's; without its end, so that an OFFSET can follow */
        const char *insert; /* from the texts c1, c2, ... of "staging" */
        const char *target; /* PostgreSQL's */
} steps[] = {
        { "objects", "SELECT count(*) FROM object",
          "SELECT seq, kind, id, project, parent, created, expires, version, f1, f2, f3, f4, doc FROM object"
          " ORDER BY seq",
          "INSERT INTO object (seq, kind, id, project, parent, created, expires, version, f1, f2, f3, f4, "
          "doc)"
          " SELECT c1::bigint, c2, c3, c4, c5, c6::bigint, c7::bigint, c8::bigint, c9, c10, c11, c12, c13"
          " FROM staging",
          "SELECT seq, kind, id, project, parent, created, expires, version, f1, f2, f3, f4, doc FROM object"
          " ORDER BY seq" },
        { "metadata", "SELECT count(*) FROM metadata",
          "SELECT object, key, project, kind, value, created FROM metadata ORDER BY object, key",
          "INSERT INTO metadata (object, key, project, kind, value, created, pair)"
          " SELECT c1::bigint, c2, c3, c4, c5, c6::bigint, store_pair(c2, c5) FROM staging",
          "SELECT object, key, project, kind, value, created FROM metadata ORDER BY object, key" },
        { "jobs", "SELECT count(*) FROM job",
          "SELECT seq, kind, id, project, created, priority, attempt, due, payload FROM job ORDER BY seq",
          "INSERT INTO job (seq, kind, id, project, created, priority, attempt, due, payload)"
          " SELECT c1::bigint, c2, c3, c4, c5::bigint, c6::integer, c7::integer, c8::bigint, c9 FROM staging",
          "SELECT seq, kind, id, project, created, priority, attempt, due, payload FROM job ORDER BY seq" },
        { "usage records", "SELECT count(*) FROM usage_log WHERE seq > (SELECT max(upto) FROM usage_fold)",
          "SELECT seq, id, at - at % 60, what, project, user, key, model, tier, batch, " N_COLUMNS
          " FROM usage_log WHERE seq > (SELECT max(upto) FROM usage_fold) ORDER BY seq",
          "INSERT INTO usage_log (seq, id, minute, what, project, person, key, model, tier, batch, n)"
          " SELECT c1::bigint, c2, c3::bigint, c4, c5, c6, c7, c8, c9, c10 = '1',"
          " ARRAY[c11, c12, c13, c14, c15, c16, c17, c18, c19, c20, c21, c22]::bigint[] FROM staging",
          "SELECT seq, id, minute, what, project, person, key, model, tier, batch::integer, " N_ELEMENTS
          " FROM usage_log ORDER BY seq" },
        { "usage ids", "SELECT count(*) FROM usage_log",
          "SELECT id, (SELECT f.at FROM usage_fold f WHERE f.upto >= l.seq ORDER BY f.upto LIMIT 1)"
          " FROM usage_log l ORDER BY id",
          "INSERT INTO usage_seen (id, folded) SELECT c1, c2::bigint FROM staging",
          "SELECT id, folded FROM usage_seen ORDER BY id" },
        { "usage sums", "SELECT count(*) FROM usage_bucket",
          "SELECT what, minute, project, user, key, model, tier, batch, " N_COLUMNS
          " FROM usage_bucket ORDER BY what, minute, project, user, key, model, tier, batch",
          "INSERT INTO usage_minute (what, minute, project, person, key, model, tier, batch, n)"
          " SELECT c1, c2::bigint, c3, c4, c5, c6, c7, c8 = '1',"
          " ARRAY[c9, c10, c11, c12, c13, c14, c15, c16, c17, c18, c19, c20]::bigint[] FROM staging",
          "SELECT what, minute, project, person, key, model, tier, batch::integer, " N_ELEMENTS
          " FROM usage_minute ORDER BY what, minute, project, person, key, model, tier, batch" },
};
#define N_STEPS (sizeof(steps) / sizeof(*steps))

/* Rows to come get places behind all that there ever were. */
static const char *const sequences[] = { "object", "job", "usage_log" };

struct migration {
        const struct store_migration *order;
        struct store *source; /* holds the directory's lock */
        sqlite3 *db;          /* one reading transaction on the source */
        struct postgres_conn *pg;
};

/* ---- the source ---- */

static int source_fault(struct migration *m, int code, struct store_fault *fault)
{
        return sqlite_fault(m->db, code, fault, "reading the data directory");
}

static int source_open(struct migration *m, struct store_fault *fault)
{
        static const struct store_options exclusive = { .exclusive = true };
        char path[4096];
        snprintf(path, sizeof(path), "%s/cairn.db", m->order->from);
        if (access(path, R_OK | W_OK))
                return store_fail(fault, -errno, "%s: %s", path, strerror(errno));
        int rc = sqlite_store_open(m->order->from, &exclusive, &m->source, fault);
        if (!rc)
                rc = sqlite_connect(((struct sqlite_store *)m->source)->path, &m->db, fault);
        if (!rc)
                rc = source_fault(m, sqlite3_exec(m->db, "PRAGMA query_only=ON; BEGIN", NULL, NULL, NULL),
                                  fault);
        return rc;
}

static int source_number(struct migration *m, const char *sql, int64_t *ret, struct store_fault *fault)
{
        sqlite3_stmt *stmt = NULL;
        int code = sqlite3_prepare_v2(m->db, sql, -1, &stmt, NULL);
        if (code == SQLITE_OK)
                code = sqlite3_step(stmt);
        *ret = code == SQLITE_ROW ? sqlite3_column_int64(stmt, 0) : 0;
        sqlite3_finalize(stmt);
        return source_fault(m, code, fault);
}

/* The rows of a step from the `skip`th on. */
static int source_rows(struct migration *m, const struct step *step, int64_t skip, sqlite3_stmt **ret,
                       struct store_fault *fault)
{
        char sql[1024];
        snprintf(sql, sizeof(sql), "%s LIMIT -1 OFFSET %" PRId64, step->source, skip);
        return source_fault(m, sqlite3_prepare_v2(m->db, sql, -1, ret, NULL), fault);
}

static struct str source_column(sqlite3_stmt *stmt, int i)
{
        const char *text = (const char *)sqlite3_column_text(stmt, i);
        return (struct str){ text, (size_t)sqlite3_column_bytes(stmt, i) };
}

/* ---- the target ---- */

static int target_number(struct migration *m, const char *sql, int64_t *ret, struct store_fault *fault)
{
        PGresult *res = PQexec(m->pg->pg, sql);
        int rc = 0;
        *ret = 0;
        if (PQresultStatus(res) != PGRES_TUPLES_OK)
                rc = postgres_fault(m->pg, res, fault, "reading the database");
        else if (PQntuples(res))
                *ret = column_int(res, 0, 0);
        PQclear(res);
        return rc;
}

/* Only an empty database is begun with; only one with marks is gone on with. */
static int target_begin(struct migration *m, struct store_fault *fault)
{
        static const char marks[] =
                "SELECT count(*) FROM pg_class WHERE oid = to_regclass('store_migration')";
        static const char rows[] = "SELECT (SELECT count(*) FROM (SELECT 1 FROM object LIMIT 1) a)"
                                   " + (SELECT count(*) FROM (SELECT 1 FROM job LIMIT 1) b)"
                                   " + (SELECT count(*) FROM (SELECT 1 FROM usage_seen LIMIT 1) c)";
        int64_t begun = 0, filled = 0;
        int rc = target_number(m, marks, &begun, fault);
        if (!rc)
                rc = target_number(m, rows, &filled, fault);
        if (rc)
                return rc;
        if (begun && !m->order->resume)
                return store_fail(
                        fault, -ENOTEMPTY,
                        "the database holds a part of an earlier migration; --resume goes on with it");
        if (!begun && filled)
                return store_fail(fault, -ENOTEMPTY,
                                  "the database is not empty, and no migration is under way in it");
        return postgres_exec(
                m->pg,
                "CREATE TABLE IF NOT EXISTS store_migration (what text PRIMARY KEY, rows bigint NOT NULL)",
                fault, "beginning the migration");
}

static int target_open(struct migration *m, struct store_fault *fault)
{
        struct buf sql;
        int rc = postgres_connect(m->order->to, &m->pg, fault);
        if (!rc) { /* it copies with libpq's own functions, and its statements take their time */
                m->pg->patience_ms = -1;
                PQsetnonblocking(m->pg->pg, 0);
        }
        if (!rc)
                rc = postgres_migrate(m->pg, fault);
        if (!rc)
                rc = target_begin(m, fault);
        if (rc)
                return rc;
        buf_init(&sql, 4096);
        buf_adds(&sql,
                 "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0;"
                 "SET enable_seqscan = on; SET enable_sort = on; CREATE TEMPORARY TABLE staging (c1 text");
        for (int i = 2; i <= COLUMNS_MAX; i++)
                buf_addf(&sql, ", c%d text", i);
        buf_adds(&sql, ") ON COMMIT DELETE ROWS");
        rc = buf_error(&sql);
        if (!rc)
                rc = postgres_exec(m->pg, sql.p, fault, "beginning the migration");
        buf_release(&sql);
        return rc;
}

/* ---- copying ---- */

/* One value of COPY's text format. */
static void add_value(struct buf *out, struct str value)
{
        if (!value.p) {
                buf_adds(out, "\\N");
                return;
        }
        size_t from = 0;
        for (size_t i = 0; i < value.n; i++) {
                const char *escape = value.p[i] == '\\'   ? "\\\\"
                                     : value.p[i] == '\n' ? "\\n"
                                     : value.p[i] == '\r' ? "\\r"
                                     : value.p[i] == '\t' ? "\\t"
                                                          : NULL;
                if (!escape)
                        continue;
                buf_add(out, value.p + from, i - from);
                buf_adds(out, escape);
                from = i + 1;
        }
        buf_add(out, value.p + from, value.n - from);
}

static int copy_begin(struct migration *m, int columns, struct store_fault *fault)
{
        char sql[256];
        size_t n = (size_t)snprintf(sql, sizeof(sql), "COPY staging (c1");
        for (int i = 2; i <= columns; i++)
                n += (size_t)snprintf(sql + n, sizeof(sql) - n, ", c%d", i);
        snprintf(sql + n, sizeof(sql) - n, ") FROM STDIN");
        PGresult *res = PQexec(m->pg->pg, sql);
        int rc = PQresultStatus(res) == PGRES_COPY_IN ? 0 : postgres_fault(m->pg, res, fault, "copying");
        PQclear(res);
        return rc;
}

static int copy_end(struct migration *m, const char *error, struct store_fault *fault)
{
        int rc = PQputCopyEnd(m->pg->pg, error) == 1 ? 0 : postgres_fault(m->pg, NULL, fault, "copying");
        PGresult *res;
        while ((res = PQgetResult(m->pg->pg))) {
                if (PQresultStatus(res) != PGRES_COMMAND_OK && !rc)
                        rc = postgres_fault(m->pg, res, fault, "copying");
                PQclear(res);
        }
        return rc;
}

/* Sends rows until the batch is full; SQLITE_ROW says that there are more. */
static int copy_rows(struct migration *m, sqlite3_stmt *stmt, int64_t *ret_n, bool *ret_more,
                     struct store_fault *fault)
{
        int code = SQLITE_ROW, rc = 0, columns = sqlite3_column_count(stmt);
        size_t bytes = 0;
        struct buf row;
        buf_init(&row, ROW_MAX);
        while (!rc && *ret_n < BATCH_ROWS && bytes < BATCH_BYTES &&
               (code = sqlite3_step(stmt)) == SQLITE_ROW) {
                buf_clear(&row);
                for (int i = 0; i < columns; i++) {
                        if (i)
                                buf_addc(&row, '\t');
                        add_value(&row, source_column(stmt, i));
                }
                buf_addc(&row, '\n');
                rc = buf_error(&row);
                if (!rc && PQputCopyData(m->pg->pg, row.p, (int)row.n) != 1)
                        rc = postgres_fault(m->pg, NULL, fault, "copying");
                bytes += row.n;
                ++*ret_n;
        }
        buf_release(&row);
        *ret_more = code == SQLITE_ROW;
        return rc ? rc : source_fault(m, code, fault);
}

/* One transaction: rows, and the mark that they are there. */
static int batch_copy(struct migration *m, const struct step *step, sqlite3_stmt *stmt, int64_t *done,
                      bool *ret_more, struct store_fault *fault)
{
        char mark[256];
        int64_t n = 0;
        int rc = postgres_exec(m->pg, "BEGIN", fault, "copying");
        if (!rc)
                rc = copy_begin(m, sqlite3_column_count(stmt), fault);
        if (rc)
                return rc;
        rc = copy_rows(m, stmt, &n, ret_more, fault);
        int end = copy_end(m, rc ? "the source failed" : NULL, rc ? NULL : fault);
        if (!rc)
                rc = end;
        if (!rc)
                rc = postgres_exec(m->pg, step->insert, fault, step->what);
        snprintf(mark, sizeof(mark),
                 "INSERT INTO store_migration VALUES ('%s', %" PRId64
                 ") ON CONFLICT (what) DO UPDATE SET rows = excluded.rows",
                 step->what, *done + n);
        if (!rc)
                rc = postgres_exec(m->pg, mark, fault, "marking what is done");
        if (!rc)
                rc = postgres_exec(m->pg, "COMMIT", fault, "committing");
        if (rc)
                postgres_exec(m->pg, "ROLLBACK", NULL, "");
        else
                *done += n;
        return rc;
}

static int step_copy(struct migration *m, const struct step *step, struct store_fault *fault)
{
        char marked[128];
        sqlite3_stmt *stmt = NULL;
        int64_t total = 0, done = 0;
        bool more = true;
        snprintf(marked, sizeof(marked), "SELECT rows FROM store_migration WHERE what = '%s'", step->what);
        int rc = source_number(m, step->count, &total, fault);
        if (!rc)
                rc = target_number(m, marked, &done, fault);
        if (!rc)
                rc = source_rows(m, step, done, &stmt, fault);
        while (!rc && more) {
                rc = batch_copy(m, step, stmt, &done, &more, fault);
                if (!rc && m->order->progress)
                        m->order->progress(m->order->ctx, step->what, done, total);
        }
        sqlite3_finalize(stmt);
        return rc;
}

static int sequences_set(struct migration *m, struct store_fault *fault)
{
        int rc = 0;
        for (size_t i = 0; i < sizeof(sequences) / sizeof(*sequences) && !rc; i++) {
                char sql[256];
                int64_t last = 0;
                snprintf(sql, sizeof(sql),
                         "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = '%s'", sequences[i]);
                rc = source_number(m, sql, &last, fault);
                snprintf(sql, sizeof(sql),
                         "SELECT setval(pg_get_serial_sequence('%s', 'seq'), %" PRId64 ", %s)", sequences[i],
                         last ? last : 1, last ? "true" : "false");
                if (!rc)
                        rc = postgres_exec(m->pg, sql, fault, "numbering");
        }
        return rc;
}

/* ---- comparing ---- */

struct sum {
        EVP_MD_CTX *context;
        int64_t rows;
        uint8_t digest[DIGEST];
};

/* Each value with its length, so that no two different rows look alike. */
static void sum_value(struct sum *s, struct str value)
{
        int64_t n = value.p ? (int64_t)value.n : -1;
        EVP_DigestUpdate(s->context, &n, sizeof(n));
        if (value.p)
                EVP_DigestUpdate(s->context, value.p, value.n);
}

static int sum_source(struct migration *m, const struct step *step, struct sum *s, struct store_fault *fault)
{
        sqlite3_stmt *stmt = NULL;
        int rc = source_rows(m, step, 0, &stmt, fault), code = SQLITE_DONE;
        if (rc)
                return rc;
        for (; (code = sqlite3_step(stmt)) == SQLITE_ROW; s->rows++) {
                for (int i = 0; i < sqlite3_column_count(stmt); i++)
                        sum_value(s, source_column(stmt, i));
        }
        sqlite3_finalize(stmt);
        return source_fault(m, code, fault);
}

static int sum_fetch(struct migration *m, struct sum *s, int *ret_n, struct store_fault *fault)
{
        PGresult *res = PQexec(m->pg->pg, "FETCH " FETCH_ROWS " FROM compared");
        int rc = PQresultStatus(res) == PGRES_TUPLES_OK ? 0 : postgres_fault(m->pg, res, fault, "comparing");
        *ret_n = rc ? 0 : PQntuples(res);
        for (int row = 0; row < *ret_n; row++, s->rows++) {
                for (int i = 0; i < PQnfields(res); i++)
                        sum_value(s,
                                  (struct str){ column_text(res, row, i), (size_t)PQgetlength(res, row, i) });
        }
        PQclear(res);
        return rc;
}

static int sum_target(struct migration *m, const struct step *step, struct sum *s, struct store_fault *fault)
{
        char sql[1024];
        int n = 1;
        snprintf(sql, sizeof(sql), "BEGIN; DECLARE compared NO SCROLL CURSOR FOR %s", step->target);
        int rc = postgres_exec(m->pg, sql, fault, "comparing");
        while (!rc && n)
                rc = sum_fetch(m, s, &n, fault);
        postgres_exec(m->pg, "ROLLBACK", NULL, "");
        return rc;
}

static int sum_init(struct sum *s)
{
        s->context = EVP_MD_CTX_new();
        return s->context && EVP_DigestInit_ex(s->context, EVP_sha256(), NULL) ? 0 : -ENOMEM;
}

static int step_compare(struct migration *m, const struct step *step, struct store_fault *fault)
{
        struct sum source = { 0 }, target = { 0 };
        int rc = sum_init(&source) || sum_init(&target) ? -ENOMEM : 0;
        if (!rc)
                rc = sum_source(m, step, &source, fault);
        if (!rc)
                rc = sum_target(m, step, &target, fault);
        if (!rc && (!EVP_DigestFinal_ex(source.context, source.digest, NULL) ||
                    !EVP_DigestFinal_ex(target.context, target.digest, NULL)))
                rc = -ENOMEM;
        if (!rc && (source.rows != target.rows || memcmp(source.digest, target.digest, DIGEST) != 0))
                rc = store_fail(fault, -EBADMSG,
                                "the %s differ: %" PRId64 " rows in the directory, %" PRId64
                                " in the database; migrate to an empty database once more",
                                step->what, source.rows, target.rows);
        EVP_MD_CTX_free(source.context);
        EVP_MD_CTX_free(target.context);
        return rc;
}

int store_migrate(const struct store_migration *order, struct store_fault *fault)
{
        struct migration m = { .order = order };
        int rc = source_open(&m, fault);
        if (!rc)
                rc = target_open(&m, fault);
        for (size_t i = 0; i < N_STEPS && !rc; i++)
                rc = step_copy(&m, &steps[i], fault);
        if (!rc)
                rc = sequences_set(&m, fault);
        if (!rc && order->progress)
                order->progress(order->ctx, "comparing", 0, (int64_t)N_STEPS);
        for (size_t i = 0; i < N_STEPS && !rc; i++) {
                rc = step_compare(&m, &steps[i], fault);
                if (!rc && order->progress)
                        order->progress(order->ctx, "comparing", (int64_t)i + 1, (int64_t)N_STEPS);
        }
        if (!rc) /* from now on servers open it */
                rc = postgres_exec(m.pg, "DROP TABLE store_migration; ANALYZE", fault,
                                   "ending the migration");
        postgres_conn_free(m.pg);
        sqlite3_close(m.db);
        store_close(m.source);
        return rc == -ECONNRESET ? -ENOTCONN : rc;
}
