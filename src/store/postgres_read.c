/* The pool of connections, and what is read from objects. */
#include <errno.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"
#include "base/thread.h"
#include "store/postgres_internal.h"

#define SQL_MAX 16384
#define SCAN_ROWS "500"
#define BORROW_MS 10000 /* for a connection to become free */

/* ---- the pool ---- */

static void conn_forget(struct postgres_store *s, struct postgres_conn *c)
{
        postgres_conn_free(c);
        pthread_mutex_lock(&s->pool_lock);
        s->n_conns--;
        pthread_cond_broadcast(&s->conn_back); /* whoever waits learns also that the database is away */
        pthread_mutex_unlock(&s->pool_lock);
}

/* With the lock: waits for a connection that is idle, or for room to make one. While one thread finds out
 * whether a database that was away is back, the others do not wait for that. */
static int pool_wait(struct postgres_store *s, int patience_ms, struct store_fault *fault)
{
        int64_t until = clock_mono_ms() + patience_ms;
        int rc = 0;
        while (!s->n_idle && (s->probing || s->n_conns == s->max_conns)) {
                if (s->probing)
                        return store_fail(fault, -ECONNRESET, "the database cannot be reached");
                if (rc)
                        return store_fail(fault, -EBUSY, "all connections to the database are in use");
                rc = thread_cond_wait_until(&s->conn_back, &s->pool_lock, until);
        }
        return 0;
}

static int conn_make(struct postgres_store *s, struct postgres_conn **ret, struct store_fault *fault)
{
        int rc = postgres_connect(s->uri, ret, fault);
        pthread_mutex_lock(&s->pool_lock);
        s->down = rc == -ECONNRESET;
        s->probing = false;
        pthread_mutex_unlock(&s->pool_lock);
        if (rc)
                conn_forget(s, NULL);
        return rc;
}

/* The connection used last is the one that is surely alive, so the pool is a stack. */
static int conn_borrow(struct postgres_store *s, int patience_ms, struct postgres_conn **ret,
                       struct store_fault *fault)
{
        *ret = NULL;
        pthread_mutex_lock(&s->pool_lock);
        int rc = pool_wait(s, patience_ms, fault);
        if (!rc && s->n_idle) {
                *ret = s->idle[--s->n_idle];
        } else if (!rc) {
                s->n_conns++;
                s->probing = s->down;
        }
        pthread_mutex_unlock(&s->pool_lock);
        return rc || *ret ? rc : conn_make(s, ret, fault);
}

static void conn_return(struct postgres_store *s, struct postgres_conn *c)
{
        atomic_fetch_add_explicit(&s->n_reads, 1, memory_order_relaxed);
        c->patience_ms = ANSWER_MS;
        if (PQstatus(c->pg) == CONNECTION_BAD) {
                conn_forget(s, c);
                return;
        }
        pthread_mutex_lock(&s->pool_lock);
        s->idle[s->n_idle++] = c;
        pthread_cond_signal(&s->conn_back);
        pthread_mutex_unlock(&s->pool_lock);
}

/* One connection of the pool is gone: most likely all that rest in it are, as when the database was started
 * again. */
static void pool_drain(struct postgres_store *s, bool silent)
{
        struct postgres_conn *gone[POSTGRES_READERS_MAX];
        int n = 0;
        pthread_mutex_lock(&s->pool_lock);
        s->down |= silent;
        while (s->n_idle)
                gone[n++] = s->idle[--s->n_idle];
        pthread_mutex_unlock(&s->pool_lock);
        while (n)
                conn_forget(s, gone[--n]);
}

void postgres_pool_close(struct postgres_store *s)
{
        while (s->n_idle)
                postgres_conn_free(s->idle[--s->n_idle]);
        s->n_conns = 0;
}

/* What a silent database did not answer is not asked again: whoever asked has waited long enough. */
int postgres_with_patience(struct postgres_store *s, conn_fn *fn, void *arg, int patience_ms, bool again,
                           struct store_fault *fault)
{
        struct postgres_conn *c;
        int rc;
        for (int attempt = 0; attempt < 2; attempt++) {
                rc = conn_borrow(s, patience_ms < BORROW_MS ? patience_ms : BORROW_MS, &c, fault);
                if (rc)
                        break;
                c->patience_ms = patience_ms;
                rc = fn(c, arg, fault);
                bool gone = rc == -ECONNRESET, silent = c->silent;
                conn_return(s, c);
                if (gone && (again || silent))
                        pool_drain(s, silent);
                if (!gone || !again || silent)
                        break;
        }
        if (!rc && fault)
                fault->msg[0] = '\0';
        return rc == -ECONNRESET ? -ENOTCONN : rc;
}

int postgres_with(struct postgres_store *s, conn_fn *fn, void *arg, bool again, struct store_fault *fault)
{
        return postgres_with_patience(s, fn, arg, ANSWER_MS, again, fault);
}

/* ---- rows ---- */

#define COLUMNS                                                                                         \
        "o.kind, o.id, o.project, o.parent, o.created, o.expires, o.seq, o.version, o.f1, o.f2, o.f3, " \
        "o.f4, o.doc"
enum { C_KIND, C_ID, C_PROJECT, C_PARENT, C_CREATED, C_EXPIRES, C_SEQ, C_VERSION, C_F1, C_DOC = C_F1 + 4 };

#define ALIVE "(o.expires = 0 OR o.expires > store_now())"

/* The row as it lies in the result. */
static struct object row_view(const PGresult *res, int row)
{
        struct object o = {
                .kind = column_text(res, row, C_KIND),
                .id = column_text(res, row, C_ID),
                .project = column_text(res, row, C_PROJECT),
                .parent = column_text(res, row, C_PARENT),
                .created = column_int(res, row, C_CREATED),
                .expires = column_int(res, row, C_EXPIRES),
                .seq = column_int(res, row, C_SEQ),
                .version = column_int(res, row, C_VERSION),
                .doc = { PQgetvalue(res, row, C_DOC), (size_t)PQgetlength(res, row, C_DOC) },
        };
        for (int i = 0; i < STORE_FILTERS; i++)
                o.f[i] = column_text(res, row, C_F1 + i);
        return o;
}

struct get_call {
        const char *kind, *id, *project;
        struct object *ret;
};

static int get_row(struct postgres_conn *c, void *arg, struct store_fault *fault)
{
        static const char sql[] = "SELECT " COLUMNS " FROM object o WHERE o.kind = $1 AND o.id = $2"
                                  " AND ($3::text IS NULL OR o.project = $3) AND " ALIVE;
        struct get_call *call = arg;
        struct params p = { 0 };
        PGresult *res;
        params_text(&p, call->kind);
        params_text(&p, call->id);
        params_text(&p, call->project);
        int rc = postgres_run(c, STR(sql), &p, &res, fault, "reading");
        if (rc == -EINVAL) /* the id is no UTF-8, so there is no such row */
                return store_fail(fault, -ENOENT, "no such %s", call->kind);
        if (rc)
                return rc;
        struct object view;
        if (!PQntuples(res)) {
                rc = store_fail(fault, -ENOENT, "no such %s: %s", call->kind, call->id);
        } else {
                view = row_view(res, 0);
                rc = object_fill(call->ret, &view);
                if (rc)
                        store_fail(fault, rc, "memory is out");
        }
        PQclear(res);
        return rc;
}

int postgres_get(struct store *s, const char *kind, const char *id, const char *project, struct object *ret,
                 struct store_fault *fault)
{
        struct get_call call = { kind, id, project, ret };
        return postgres_with((struct postgres_store *)s, get_row, &call, true, fault);
}

/* ---- lists ---- */

struct position {
        int64_t created, seq;
};

/* Where a cursor stands, if it is a row of this list. */
static int cursor_find(struct postgres_conn *c, const struct store_query *q, const char *id,
                       struct position *ret, struct store_fault *fault)
{
        static const char sql[] = "SELECT o.created, o.seq FROM object o WHERE o.kind = $1 AND o.id = $2"
                                  " AND ($3::text IS NULL OR o.project = $3) AND o.parent = $4 AND " ALIVE;
        struct params p = { 0 };
        PGresult *res;
        params_text(&p, q->kind);
        params_text(&p, id);
        params_text(&p, q->project);
        params_text(&p, q->parent ? q->parent : "");
        int rc = postgres_run(c, STR(sql), &p, &res, fault, "reading a cursor");
        if (rc)
                return rc == -EINVAL ? store_fail(fault, -ENOENT, "no such %s", q->kind) : rc;
        if (PQntuples(res))
                *ret = (struct position){ column_int(res, 0, 0), column_int(res, 0, 1) };
        else
                rc = store_fail(fault, -ENOENT, "no such %s: %s", q->kind, id);
        PQclear(res);
        return rc;
}

/* A statement in the making: its text and its parameters grow together. */
struct page_sql {
        struct buf text;
        struct params params;
};

static void where_text(struct page_sql *s, const char *condition, const char *value)
{
        buf_addf(&s->text, " AND %s = $%d", condition, params_text(&s->params, value));
}

static void where_beyond(struct page_sql *s, const char *place, char order, const struct position *at)
{
        int created = params_int(&s->params, at->created);
        int seq = params_int(&s->params, at->seq);
        buf_addf(&s->text, " AND %s %c ($%d, $%d)", place, order, created, seq);
}

/* With metadata, the first pair's rows are walked in the order of the list; the others are looked up. */
static void page_from(struct page_sql *s, const struct store_query *q)
{
        static const char pair[] = "m.pair = store_pair($%d, $%d) AND m.key = $%d AND m.value = $%d";
        buf_adds(&s->text, "SELECT " COLUMNS " FROM ");
        if (!q->nmetadata) {
                buf_addf(&s->text, "object o WHERE o.kind = $%d", params_text(&s->params, q->kind));
                if (q->project)
                        where_text(s, "o.project", q->project);
                return;
        }
        int kind = params_text(&s->params, q->kind), project = params_text(&s->params, q->project);
        int key = params_text(&s->params, q->metadata[0].key);
        int value = params_text(&s->params, q->metadata[0].value);
        buf_addf(&s->text,
                 "metadata m JOIN object o ON o.seq = m.object WHERE m.kind = $%d AND m.project = $%d", kind,
                 project);
        buf_adds(&s->text, " AND ");
        buf_addf(&s->text, pair, key, value, key, value);
}

static void page_metadata(struct page_sql *s, const struct store_query *q)
{
        for (size_t i = 1; i < q->nmetadata; i++) {
                int key = params_text(&s->params, q->metadata[i].key);
                int value = params_text(&s->params, q->metadata[i].value);
                buf_addf(&s->text,
                         " AND EXISTS (SELECT 1 FROM metadata x WHERE x.object = o.seq AND x.key = $%d"
                         " AND x.value = $%d)",
                         key, value);
        }
}

static int page_build(struct page_sql *s, const struct store_query *q, const struct position *after,
                      const struct position *before, bool descending)
{
        static const char *const filters[STORE_FILTERS] = { "o.f1", "o.f2", "o.f3", "o.f4" };
        const char *created = q->nmetadata ? "m.created" : "o.created";
        const char *seq = q->nmetadata ? "m.object" : "o.seq";
        const char *place = q->nmetadata ? "(m.created, m.object)" : "(o.created, o.seq)";
        const char *way = descending ? " DESC" : "";
        page_from(s, q);
        where_text(s, "o.parent", q->parent ? q->parent : "");
        buf_adds(&s->text, " AND " ALIVE);
        for (int i = 0; i < STORE_FILTERS; i++) {
                if (q->f[i])
                        where_text(s, filters[i], q->f[i]);
        }
        page_metadata(s, q);
        if (after)
                where_beyond(s, place, q->descending ? '<' : '>', after);
        if (before)
                where_beyond(s, place, q->descending ? '>' : '<', before);
        buf_addf(&s->text, " ORDER BY %s%s, %s%s LIMIT $%d", created, way, seq, way,
                 params_int(&s->params, (int64_t)q->limit + 1));
        return buf_error(&s->text);
}
_Static_assert(PARAMS_MAX >= 2 + 1 + 2 * STORE_METADATA_MAX + STORE_FILTERS + 4 + 1, "see page_build()");

static void page_reverse(struct store_page *p)
{
        for (size_t i = 0, k = p->n; i + 1 < k; i++) {
                struct object o = p->items[i];
                p->items[i] = p->items[--k];
                p->items[k] = o;
        }
}

/* Of limit + 1 rows the one too many only says that there are more. */
static int page_fill(const PGresult *res, int limit, bool backward, struct store_page *ret)
{
        size_t n = (size_t)PQntuples(res);
        ret->has_more = n > (size_t)limit;
        n -= ret->has_more;
        ret->items = n ? mem_calloc(n, sizeof(*ret->items)) : NULL;
        if (n && !ret->items)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                struct object view = row_view(res, (int)i);
                int rc = object_fill(&ret->items[i], &view);
                if (rc)
                        return rc;
                ret->n++;
        }
        if (backward)
                page_reverse(ret);
        return 0;
}

struct list_call {
        const struct store_query *q;
        struct store_page *ret;
};

static int list_page(struct postgres_conn *c, void *arg, struct store_fault *fault)
{
        struct list_call *call = arg;
        const struct store_query *q = call->q;
        struct position after, before;
        struct page_sql sql = { 0 };
        PGresult *res = NULL;
        int rc = 0;
        /* Read from `before` towards the front, then turned round. */
        bool backward = q->before && !q->after;
        buf_init(&sql.text, SQL_MAX);
        if (q->after)
                rc = cursor_find(c, q, q->after, &after, fault);
        if (!rc && q->before)
                rc = cursor_find(c, q, q->before, &before, fault);
        if (!rc)
                rc = page_build(&sql, q, q->after ? &after : NULL, q->before ? &before : NULL,
                                q->descending != backward);
        if (!rc)
                rc = postgres_run(c, buf_str(&sql.text), &sql.params, &res, fault, "listing");
        if (!rc && page_fill(res, q->limit, backward, call->ret))
                rc = store_fail(fault, -ENOMEM, "memory is out");
        if (rc)
                store_page_release(call->ret);
        PQclear(res);
        buf_release(&sql.text);
        return rc;
}

int postgres_list(struct store *s, const struct store_query *q, struct store_page *ret,
                  struct store_fault *fault)
{
        struct list_call call = { q, ret };
        return postgres_with((struct postgres_store *)s, list_page, &call, true, fault);
}

/* ---- scans ---- */

struct scan_call {
        const char *kind;
        int (*fn)(void *ctx, const struct object *o);
        void *ctx;
};

/* One transaction, so that all pieces show the same moment. */
static int scan_begin(struct postgres_conn *c, const char *kind, struct store_fault *fault)
{
        static const char all[] =
                "DECLARE scan NO SCROLL CURSOR FOR SELECT " COLUMNS " FROM object o ORDER BY o.seq";
        static const char one[] = "DECLARE scan NO SCROLL CURSOR FOR SELECT " COLUMNS
                                  " FROM object o WHERE o.kind = $1 ORDER BY o.seq";
        struct params p = { 0 };
        PGresult *res = NULL;
        int rc = postgres_exec(c,
                               "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;"
                               "SET LOCAL idle_in_transaction_session_timeout = 0;"
                               "SET LOCAL statement_timeout = 0; SET LOCAL enable_sort = on",
                               fault, "scanning");
        if (rc)
                return rc;
        if (kind)
                params_text(&p, kind);
        rc = postgres_run(c, kind ? STR(one) : STR(all), &p, &res, fault, "scanning");
        PQclear(res);
        return rc;
}

/* The next rows, *ret_n of them; a result of fn ends it. */
static int scan_piece(struct postgres_conn *c, const struct scan_call *call, int *ret_n,
                      struct store_fault *fault)
{
        int rc = 0;
        PGresult *res = postgres_query(c, "FETCH " SCAN_ROWS " FROM scan");
        if (PQresultStatus(res) != PGRES_TUPLES_OK)
                rc = postgres_fault(c, res, fault, "scanning");
        *ret_n = rc ? 0 : PQntuples(res);
        for (int i = 0; i < *ret_n && !rc; i++) {
                struct object view = row_view(res, i);
                rc = call->fn(call->ctx, &view);
        }
        PQclear(res);
        return rc;
}

static int scan_rows(struct postgres_conn *c, void *arg, struct store_fault *fault)
{
        c->patience_ms = PIECE_MS;
        int n = 1, rc = scan_begin(c, ((struct scan_call *)arg)->kind, fault);
        while (!rc && n)
                rc = scan_piece(c, arg, &n, fault);
        postgres_exec(c, "ROLLBACK", NULL, "");
        return rc;
}

int postgres_scan(struct store *s, const char *kind, int (*fn)(void *ctx, const struct object *o), void *ctx,
                  struct store_fault *fault)
{
        struct scan_call call = { kind, fn, ctx };
        return postgres_with((struct postgres_store *)s, scan_rows, &call, false, fault);
}

/* ---- checks ---- */

/* Each gives a sentence for a finding. What a page of the database itself holds is for its own tools. */
static const char *const check_sql[] = {
        "SELECT 'the index ' || c.relname || ' is not valid' FROM pg_index i"
        " JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = current_schema() AND NOT i.indisvalid",
        "SELECT 'the ' || o.kind || ' ' || o.id || ' belongs to ' || o.parent || ', which is missing'"
        " FROM object o WHERE o.parent <> '' AND NOT EXISTS (SELECT 1 FROM object p WHERE p.id = o.parent"
        " AND p.project = o.project)",
        "SELECT 'metadata of a row that is missing: ' || m.key FROM metadata m"
        " WHERE NOT EXISTS (SELECT 1 FROM object o WHERE o.seq = m.object)",
        "SELECT 'a record of the usage log is not known: ' || l.id FROM usage_log l"
        " WHERE NOT EXISTS (SELECT 1 FROM usage_seen s WHERE s.id = l.id AND s.folded IS NULL)",
};

struct check_call {
        void (*report)(void *ctx, const char *finding);
        void *ctx;
};

static int check_run(struct postgres_conn *c, void *arg, struct store_fault *fault)
{
        static const char before[] = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;"
                                     "SET LOCAL statement_timeout = 0; SET LOCAL enable_seqscan = on;"
                                     "SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on;"
                                     "SET LOCAL enable_sort = on";
        struct check_call *call = arg;
        c->patience_ms = -1;
        int rc = postgres_exec(c, before, fault, "checking");
        for (size_t i = 0; i < sizeof(check_sql) / sizeof(*check_sql) && !rc; i++) {
                PGresult *res = postgres_query(c, check_sql[i]);
                if (PQresultStatus(res) != PGRES_TUPLES_OK)
                        rc = postgres_fault(c, res, fault, "checking");
                for (int k = 0; !rc && k < PQntuples(res); k++)
                        call->report(call->ctx, PQgetvalue(res, k, 0));
                PQclear(res);
        }
        postgres_exec(c, "ROLLBACK", NULL, "");
        return rc;
}

int postgres_check(struct store *s, void (*report)(void *ctx, const char *finding), void *ctx,
                   struct store_fault *fault)
{
        struct check_call call = { report, ctx };
        return postgres_with((struct postgres_store *)s, check_run, &call, false, fault);
}
