/* Claims of jobs, sums of usage and token buckets: short statements of their own on the pool's connections,
 * outside the turns of the writers. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"
#include "store/postgres_internal.h"

#define ARRAY_MAX (1u << 20)
#define SQL_MAX 8192
#define CLOCKS_AGREE_MS 1000
#define TALLY_MS 2000 /* what /metrics waits for figures */

/* ---- jobs ---- */

enum { J_SEQ, J_KIND, J_ID, J_PROJECT, J_CREATED, J_PRIORITY, J_ATTEMPT, J_DUE, J_LEASE, J_PAYLOAD };

struct claim_call {
        const char *const *kinds;
        size_t n;
        int64_t lease_ms;
        const char *instance;
        struct job *ret;
        int64_t *ret_next_due;
};

/* When the next job of these kinds is due; 0: there is none. Where this machine's clock and the database's
 * differ by more than a second, the answer is by ours: a time that the caller can wait for. */
static int claim_next_due(struct postgres_conn *c, struct str kinds, int64_t *ret, struct store_fault *fault)
{
        static const char sql[] =
                "SELECT min(j.due), store_now_ms() FROM job j WHERE j.kind = ANY ($1::text[])";
        struct params p = { 0 };
        PGresult *res;
        params_binary(&p, kinds);
        int rc = postgres_run(c, STR(sql), &p, &res, fault, "looking for a job");
        if (rc)
                return rc;
        int64_t ahead = clock_unix_us() / 1000 - column_int(res, 0, 1);
        if (ahead > -CLOCKS_AGREE_MS && ahead < CLOCKS_AGREE_MS)
                ahead = 0;
        *ret = PQgetisnull(res, 0, 0) ? 0 : column_int(res, 0, 0) + ahead;
        PQclear(res);
        return 0;
}

static struct job job_view(const PGresult *res, int row)
{
        return (struct job){
                .kind = column_text(res, row, J_KIND),
                .id = column_text(res, row, J_ID),
                .project = column_text(res, row, J_PROJECT),
                .created = column_int(res, row, J_CREATED),
                .attempt = (int)column_int(res, row, J_ATTEMPT),
                .lease = column_int(res, row, J_LEASE),
                .payload = { PQgetvalue(res, row, J_PAYLOAD), (size_t)PQgetlength(res, row, J_PAYLOAD) },
        };
}

static int claim_fill(const PGresult *res, struct job *ret)
{
        struct job view = job_view(res, 0);
        return job_fill(ret, &view);
}

static int claim(struct postgres_conn *c, void *arg, struct store_fault *fault)
{
        static const char sql[] = "SELECT * FROM store_job_claim($1, $2, $3)";
        struct claim_call *call = arg;
        struct params p = { 0 };
        struct buf kinds;
        PGresult *res = NULL;
        buf_init(&kinds, ARRAY_MAX);
        text_array_begin(&kinds, call->n);
        for (size_t i = 0; i < call->n; i++)
                text_array_add(&kinds, str_c(call->kinds[i]));
        params_binary(&p, buf_str(&kinds));
        params_int(&p, call->lease_ms);
        params_text(&p, call->instance);
        int rc = buf_error(&kinds);
        if (!rc)
                rc = postgres_run(c, STR(sql), &p, &res, fault, "claiming a job");
        if (!rc && PQntuples(res))
                rc = claim_fill(res, call->ret);
        else if (!rc)
                rc = claim_next_due(c, buf_str(&kinds), call->ret_next_due, fault);
        if (!rc && !PQntuples(res))
                rc = store_fail(fault, -ENOENT, "no job is due");
        PQclear(res);
        buf_release(&kinds);
        return rc;
}

/* Not tried again when the connection breaks: a job that was claimed without our knowing it waits until its
 * lease runs out. */
int postgres_job_claim(struct store *s, const char *const *kinds, size_t n, int64_t lease_ms, struct job *ret,
                       int64_t *ret_next_due, struct store_fault *fault)
{
        struct claim_call call = { kinds, n,           lease_ms, ((struct postgres_store *)s)->instance,
                                   ret,   ret_next_due };
        return postgres_with((struct postgres_store *)s, claim, &call, false, fault);
}

struct renew_call {
        const char *kind, *id;
        int64_t lease, lease_ms;
};

static int renew(struct postgres_conn *c, void *arg, struct store_fault *fault)
{
        static const char sql[] = "UPDATE job SET due = store_now_ms() + $4 WHERE kind = $1 AND id = $2"
                                  " AND lease = $3 RETURNING 1";
        struct renew_call *call = arg;
        struct params p = { 0 };
        PGresult *res;
        params_text(&p, call->kind);
        params_text(&p, call->id);
        params_int(&p, call->lease);
        params_int(&p, call->lease_ms);
        int rc = postgres_run(c, STR(sql), &p, &res, fault, "renewing a lease");
        if (rc)
                return rc;
        if (!PQntuples(res))
                rc = store_fail(fault, -ESTALE, "the lease of %s is over", call->id);
        PQclear(res);
        return rc;
}

int postgres_job_renew(struct store *s, const char *kind, const char *id, int64_t lease, int64_t lease_ms,
                       struct store_fault *fault)
{
        struct renew_call call = { kind, id, lease, lease_ms };
        return postgres_with((struct postgres_store *)s, renew, &call, true, fault);
}

struct count_call {
        const char *kind, *project;
        size_t *ret;
};

static int count(struct postgres_conn *c, void *arg, struct store_fault *fault)
{
        static const char sql[] =
                "SELECT count(*) FROM job WHERE kind = $1 AND ($2::text IS NULL OR project = $2)";
        struct count_call *call = arg;
        struct params p = { 0 };
        PGresult *res;
        params_text(&p, call->kind);
        params_text(&p, call->project);
        int rc = postgres_run(c, STR(sql), &p, &res, fault, "counting jobs");
        if (!rc)
                *call->ret = (size_t)column_int(res, 0, 0);
        PQclear(res);
        return rc;
}

int postgres_job_count(struct store *s, const char *kind, const char *project, size_t *ret,
                       struct store_fault *fault)
{
        struct count_call call = { kind, project, ret };
        return postgres_with((struct postgres_store *)s, count, &call, true, fault);
}

struct tally_call {
        struct job_tally *ret;
        size_t max, *ret_n;
};

static int tally(struct postgres_conn *c, void *arg, struct store_fault *fault)
{
        static const char sql[] = "SELECT kind, count(*),"
                                  " count(*) FILTER (WHERE lease <> 0 AND due > store_now_ms())"
                                  " FROM job GROUP BY kind ORDER BY kind LIMIT $1";
        struct tally_call *call = arg;
        struct params p = { 0 };
        PGresult *res;
        params_int(&p, (int64_t)call->max);
        int rc = postgres_run(c, STR(sql), &p, &res, fault, "counting jobs");
        if (rc)
                return rc;
        *call->ret_n = (size_t)PQntuples(res);
        for (size_t i = 0; i < *call->ret_n; i++) {
                struct job_tally *t = &call->ret[i];
                snprintf(t->kind, sizeof(t->kind), "%s", PQgetvalue(res, (int)i, 0));
                t->running = (size_t)column_int(res, (int)i, 2);
                t->waiting = (size_t)column_int(res, (int)i, 1) - t->running;
        }
        PQclear(res);
        return 0;
}

int postgres_job_tally(struct store *s, struct job_tally *ret, size_t max, size_t *ret_n,
                       struct store_fault *fault)
{
        struct tally_call call = { ret, max, ret_n };
        return postgres_with_patience((struct postgres_store *)s, tally, &call, TALLY_MS, true, fault);
}

struct jobs_page {
        int64_t after; /* seq of the last job that was seen */
        PGresult *res;
};

static int jobs_page(struct postgres_conn *c, void *arg, struct store_fault *fault)
{
        static const char sql[] = "SELECT seq, kind, id, project, created, priority, attempt, due, lease,"
                                  " payload FROM job WHERE seq > $1 ORDER BY seq LIMIT 500";
        struct jobs_page *page = arg;
        struct params p = { 0 };
        params_int(&p, page->after);
        return postgres_run(c, STR(sql), &p, &page->res, fault, "scanning jobs");
}

int postgres_job_scan(struct store *s, int (*fn)(void *ctx, const struct job *j), void *ctx,
                      struct store_fault *fault)
{
        struct jobs_page page = { 0 };
        int n = 1, rc = 0;
        while (!rc && n) {
                rc = postgres_with((struct postgres_store *)s, jobs_page, &page, true, fault);
                n = rc ? 0 : PQntuples(page.res);
                for (int i = 0; i < n && !rc; i++) {
                        struct job view = job_view(page.res, i);
                        page.after = column_int(page.res, i, J_SEQ);
                        rc = fn(ctx, &view);
                }
                if (page.res)
                        PQclear(page.res);
                page.res = NULL;
        }
        return rc;
}

/* ---- usage ---- */

/* The words of a record, in the order of the columns of the answer, behind the start of its bucket. */
static const struct {
        enum usage_by by;
        const char *column;
} groups[] = {
        { USAGE_BY_PROJECT, "project" }, { USAGE_BY_USER, "person" }, { USAGE_BY_KEY, "key" },
        { USAGE_BY_MODEL, "model" },     { USAGE_BY_TIER, "tier" },
};
#define N_GROUPS (sizeof(groups) / sizeof(*groups))
enum { U_AT, U_WORDS, U_BATCH = U_WORDS + N_GROUPS, U_COUNTS };

/* $1 what, $2 from, $3 to, $4 width, then the filters. */
static void sum_source(struct buf *sql, struct params *p, const char *table,
                       const struct store_usage_query *q)
{
        const char *const filters[][2] = {
                { "project", q->project }, { "person", q->user }, { "key", q->key }, { "model", q->model }
        };
        buf_addf(sql,
                 "SELECT * FROM (SELECT what, minute, project, person, key, model, tier, batch, n FROM %s) %c"
                 " WHERE what = $1 AND minute >= $2 AND minute < $3",
                 table, table[6]);
        for (size_t i = 0; i < sizeof(filters) / sizeof(*filters); i++) {
                if (filters[i][1])
                        buf_addf(sql, " AND %s = $%d", filters[i][0], params_text(p, filters[i][1]));
        }
}

static void sum_sql(struct buf *sql, struct params *p, const struct store_usage_query *q)
{
        params_text(p, q->what);
        params_int(p, q->from);
        params_int(p, q->to);
        buf_adds(sql, "SELECT ");
        if (q->width)
                buf_addf(sql, "minute - minute %% $%d", params_int(p, q->width));
        else
                buf_adds(sql, "$2::bigint");
        for (size_t i = 0; i < N_GROUPS; i++)
                buf_addf(sql, ", %s", q->by & groups[i].by ? groups[i].column : "''");
        buf_addf(sql, ", %s", q->by & USAGE_BY_BATCH ? "batch" : "false");
        for (int i = 1; i <= USAGE_COUNTS; i++)
                buf_addf(sql, ", sum(n[%d])::bigint", i);
        buf_adds(sql, " FROM (");
        sum_source(sql, p, "usage_minute", q);
        buf_adds(sql, " UNION ALL ");
        sum_source(sql, p, "usage_log", q);
        buf_adds(sql, ") u GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY 1, 2, 3, 4, 5, 6, 7");
}
_Static_assert(N_GROUPS == 5, "see GROUP BY in sum_sql()");

static int sum_add(struct usage_list *list, const PGresult *res, int row, const char *what)
{
        struct store_usage u = {
                .id = "",
                .at = column_int(res, row, U_AT),
                .what = what,
                .project = PQgetvalue(res, row, U_WORDS),
                .user = PQgetvalue(res, row, U_WORDS + 1),
                .key = PQgetvalue(res, row, U_WORDS + 2),
                .model = PQgetvalue(res, row, U_WORDS + 3),
                .tier = PQgetvalue(res, row, U_WORDS + 4),
                .batch = *PQgetvalue(res, row, U_BATCH) == 't',
        };
        for (int i = 0; i < USAGE_COUNTS; i++)
                u.n[i] = column_int(res, row, U_COUNTS + i);
        return usage_list_add(list, &u);
}

struct sum_call {
        const struct store_usage_query *q;
        struct store_usage **ret;
        size_t *ret_n;
};

static int sum(struct postgres_conn *c, void *arg, struct store_fault *fault)
{
        struct sum_call *call = arg;
        struct usage_list list;
        struct params p = { 0 };
        struct buf sql;
        PGresult *res = NULL;
        usage_list_init(&list);
        buf_init(&sql, SQL_MAX);
        sum_sql(&sql, &p, call->q);
        int rc = buf_error(&sql);
        if (!rc)
                rc = postgres_run(c, buf_str(&sql), &p, &res, fault, "adding up the usage");
        for (int i = 0; !rc && i < PQntuples(res); i++)
                rc = sum_add(&list, res, i, call->q->what);
        if (!rc)
                rc = usage_list_take(&list, call->ret, call->ret_n);
        usage_list_release(&list);
        buf_release(&sql);
        PQclear(res);
        return rc;
}

int postgres_usage_sum(struct store *s, const struct store_usage_query *q, struct store_usage **ret,
                       size_t *ret_n, struct store_fault *fault)
{
        struct sum_call call = { q, ret, ret_n };
        return postgres_with((struct postgres_store *)s, sum, &call, true, fault);
}

/* ---- token buckets ---- */

struct take_call {
        struct store_bucket *b;
        size_t n;
        int64_t now_ms;
        size_t *ret_short;
};

/* "{1,2,3}" of one member of all buckets. */
static int add_numbers(struct params *p, struct buf *texts, const struct take_call *call, size_t member)
{
        size_t at = texts->n;
        buf_addc(texts, '{');
        for (size_t i = 0; i < call->n; i++) {
                int64_t value;
                memcpy(&value, (const char *)&call->b[i] + member, sizeof(value));
                buf_addf(texts, "%s%" PRId64, i ? "," : "", value);
        }
        buf_add(texts, "}", 2); /* with its NUL: several texts share the buffer */
        return buf_error(texts) ? 0 : params_text(p, texts->p + at);
}

/* The elements of "{1.5,-2}", one after another; NULL behind the last. */
static const char *next_number(const char *at, double *ret)
{
        char *end;
        at += strspn(at, "{,");
        *ret = strtod(at, &end);
        return end == at ? NULL : end;
}

static void take_read(const PGresult *res, const struct take_call *call, bool *ret_short)
{
        const char *levels = PQgetvalue(res, 0, 0), *waits = PQgetvalue(res, 0, 1);
        double level = 0, wait = 0, longest = 0;
        for (size_t i = 0; i < call->n; i++) {
                levels = levels ? next_number(levels, &level) : NULL;
                waits = waits ? next_number(waits, &wait) : NULL;
                call->b[i].ret_level = (int64_t)floor(level + 1e-6);
                if (wait > longest) {
                        longest = wait;
                        *call->ret_short = i;
                }
        }
        *ret_short = longest > 0;
}

static void take_params(struct params *p, struct buf *keys, struct buf *texts, const struct take_call *call)
{
        text_array_begin(keys, call->n);
        for (size_t i = 0; i < call->n; i++)
                text_array_add(keys, str_c(call->b[i].key));
        params_binary(p, buf_str(keys));
        /* The buffer must not move once parameters point into it. */
        buf_reserve(texts, call->n * 4 * 24 + 16);
        add_numbers(p, texts, call, offsetof(struct store_bucket, capacity));
        add_numbers(p, texts, call, offsetof(struct store_bucket, refill_ms));
        add_numbers(p, texts, call, offsetof(struct store_bucket, amount));
        size_t at = texts->n;
        for (size_t i = 0; i < call->n; i++)
                buf_addf(texts, "%c%c", i ? ',' : '{', call->b[i].force ? 't' : 'f');
        buf_add(texts, "}", 2);
        if (!buf_error(texts))
                params_text(p, texts->p + at);
        params_int(p, call->now_ms);
}

static int take(struct postgres_conn *c, void *arg, struct store_fault *fault)
{
        static const char sql[] = "SELECT levels, waits FROM store_take($1, $2, $3, $4, $5, $6)";
        struct take_call *call = arg;
        struct params p = { 0 };
        struct buf keys, texts;
        PGresult *res = NULL;
        bool too_little = false;
        buf_init(&keys, ARRAY_MAX);
        buf_init(&texts, ARRAY_MAX);
        take_params(&p, &keys, &texts, call);
        int rc = buf_error(&keys) ? buf_error(&keys) : buf_error(&texts);
        if (!rc)
                rc = postgres_run(c, STR(sql), &p, &res, fault, "taking from buckets");
        if (!rc)
                take_read(res, call, &too_little);
        if (too_little)
                rc = store_fail(fault, -EAGAIN, "%s has too little", call->b[*call->ret_short].key);
        PQclear(res);
        buf_release(&keys);
        buf_release(&texts);
        return rc;
}

/* When the connection breaks meanwhile the tokens may be taken twice, never too few. */
int postgres_buckets_take(struct store *s, struct store_bucket *b, size_t n, int64_t now_ms,
                          size_t *ret_short, struct store_fault *fault)
{
        struct take_call call = { b, n, now_ms, ret_short };
        return postgres_with((struct postgres_store *)s, take, &call, true, fault);
}
