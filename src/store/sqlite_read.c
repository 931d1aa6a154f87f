/* Reading of objects: rows and pages. */
#include <errno.h>
#include <string.h>
#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "store/sqlite_internal.h"

#define SQL_MAX 8192

/* ---- rows ---- */

enum { C_KIND, C_ID, C_PROJECT, C_PARENT, C_CREATED, C_EXPIRES, C_SEQ, C_VERSION, C_F1, C_DOC = C_F1 + 4 };

static const char *text_column(sqlite3_stmt *stmt, int i)
{
        return (const char *)sqlite3_column_text(stmt, i);
}

int sqlite_row_read(sqlite3_stmt *stmt, struct object *ret)
{
        struct object o = {
                .kind = text_column(stmt, C_KIND),
                .id = text_column(stmt, C_ID),
                .project = text_column(stmt, C_PROJECT),
                .parent = text_column(stmt, C_PARENT),
                .created = sqlite3_column_int64(stmt, C_CREATED),
                .expires = sqlite3_column_int64(stmt, C_EXPIRES),
                .seq = sqlite3_column_int64(stmt, C_SEQ),
                .version = sqlite3_column_int64(stmt, C_VERSION),
        };
        for (int i = 0; i < STORE_FILTERS; i++)
                o.f[i] = text_column(stmt, C_F1 + i);
        o.doc.p = text_column(stmt, C_DOC);
        o.doc.n = (size_t)sqlite3_column_bytes(stmt, C_DOC);
        return object_fill(ret, &o);
}

int sqlite_get(struct store *store, const char *kind, const char *id, const char *project, struct object *ret,
               struct store_fault *fault)
{
        static const char sql[] = "SELECT " SQLITE_OBJECT_COLUMNS " FROM object o WHERE kind = ?1 AND id = ?2"
                                  " AND (?3 IS NULL OR project = ?3) AND (expires = 0 OR expires > ?4)";
        struct sqlite_store *s = (struct sqlite_store *)store;
        struct reader *r;
        int code, rc = sqlite_reader_borrow(s, &r, fault);
        if (rc)
                return rc;
        sqlite3_stmt *stmt = sqlite_statement(r, STR(sql), &code);
        if (stmt) {
                sqlite_word(stmt, 1, kind);
                sqlite_word(stmt, 2, id);
                sqlite_word(stmt, 3, project);
                sqlite3_bind_int64(stmt, 4, clock_unix());
                code = sqlite3_step(stmt);
        }
        if (code == SQLITE_ROW)
                rc = sqlite_row_read(stmt, ret);
        else if (code == SQLITE_DONE)
                rc = store_fail(fault, -ENOENT, "no such %s: %s", kind, id);
        else
                rc = sqlite_fault(r->db, code, fault, "reading");
        if (stmt)
                sqlite_statement_done(stmt);
        sqlite_reader_return(s, r);
        return rc;
}

/* ---- lists ---- */

struct position {
        int64_t created, seq;
};

/* Where a cursor stands, if it is a row of this list. */
static int cursor_find(struct reader *r, const struct store_query *q, const char *id, struct position *ret,
                       struct store_fault *fault)
{
        static const char sql[] = "SELECT created, seq FROM object WHERE kind = ?1 AND id = ?2"
                                  " AND (?3 IS NULL OR project = ?3) AND parent = ?4"
                                  " AND (expires = 0 OR expires > ?5)";
        int code, rc = 0;
        sqlite3_stmt *stmt = sqlite_statement(r, STR(sql), &code);
        if (!stmt)
                return sqlite_fault(r->db, code, fault, "reading a cursor");
        sqlite_word(stmt, 1, q->kind);
        sqlite_word(stmt, 2, id);
        sqlite_word(stmt, 3, q->project);
        sqlite_word(stmt, 4, q->parent ? q->parent : "");
        sqlite3_bind_int64(stmt, 5, clock_unix());
        code = sqlite3_step(stmt);
        if (code == SQLITE_ROW)
                *ret = (struct position){ sqlite3_column_int64(stmt, 0), sqlite3_column_int64(stmt, 1) };
        else if (code == SQLITE_DONE)
                rc = store_fail(fault, -ENOENT, "no such %s: %s", q->kind, id);
        else
                rc = sqlite_fault(r->db, code, fault, "reading a cursor");
        sqlite_statement_done(stmt);
        return rc;
}

/* What a page is made from: the query, its cursors' places, and the direction in which rows are read. */
struct page_plan {
        const struct store_query *q;
        bool has_after, has_before;
        struct position after, before;
        bool backward;   /* read from `before` towards the front, then turned round */
        bool descending; /* the direction of reading */
};

static int plan_page(struct page_plan *p, struct reader *r, struct store_fault *fault)
{
        const struct store_query *q = p->q;
        int rc = 0;
        p->has_after = q->after != NULL;
        p->has_before = q->before != NULL;
        if (p->has_after)
                rc = cursor_find(r, q, q->after, &p->after, fault);
        if (!rc && p->has_before)
                rc = cursor_find(r, q, q->before, &p->before, fault);
        p->backward = p->has_before && !p->has_after;
        p->descending = q->descending != p->backward;
        return rc;
}

/* With metadata, the first pair's rows are walked in the order of the list; the others are looked up. */
static void page_sql(struct buf *sql, const struct page_plan *p)
{
        const struct store_query *q = p->q;
        const char *place = q->nmetadata ? "(m.created, m.object)" : "(o.created, o.place)";
        buf_adds(sql, "SELECT " SQLITE_OBJECT_COLUMNS " FROM ");
        if (q->nmetadata)
                buf_adds(
                        sql,
                        "metadata m CROSS JOIN object o ON o.seq = m.object"
                        " WHERE m.kind = ? AND m.project = ? AND m.key = ? AND m.value = ? AND o.parent = ?");
        else
                buf_addf(sql, "object o WHERE o.kind = ?%s AND o.parent = ?",
                         q->project ? " AND o.project = ?" : "");
        buf_adds(sql, " AND (o.expires = 0 OR o.expires > ?)");
        for (int i = 0; i < STORE_FILTERS; i++) {
                if (q->f[i])
                        buf_addf(sql, " AND o.f%d = ?", i + 1);
        }
        for (size_t i = 1; i < q->nmetadata; i++)
                buf_adds(sql, " AND EXISTS (SELECT 1 FROM metadata x WHERE x.object = o.seq AND x.key = ?"
                              " AND x.value = ?)");
        if (p->has_after)
                buf_addf(sql, " AND %s %c (?, ?)", place, q->descending ? '<' : '>');
        if (p->has_before)
                buf_addf(sql, " AND %s %c (?, ?)", place, q->descending ? '>' : '<');
        const char *way = p->descending ? " DESC" : "";
        if (q->nmetadata)
                buf_addf(sql, " ORDER BY m.created%s, m.object%s LIMIT ?", way, way);
        else
                buf_addf(sql, " ORDER BY o.created%s, o.place%s LIMIT ?", way, way);
}

static void page_bind(sqlite3_stmt *stmt, const struct page_plan *p)
{
        const struct store_query *q = p->q;
        int i = 0;
        sqlite_word(stmt, ++i, q->kind);
        if (q->project)
                sqlite_word(stmt, ++i, q->project);
        if (q->nmetadata) {
                sqlite_word(stmt, ++i, q->metadata[0].key);
                sqlite_word(stmt, ++i, q->metadata[0].value);
        }
        sqlite_word(stmt, ++i, q->parent ? q->parent : "");
        sqlite3_bind_int64(stmt, ++i, clock_unix());
        for (int f = 0; f < STORE_FILTERS; f++) {
                if (q->f[f])
                        sqlite_word(stmt, ++i, q->f[f]);
        }
        for (size_t m = 1; m < q->nmetadata; m++) {
                sqlite_word(stmt, ++i, q->metadata[m].key);
                sqlite_word(stmt, ++i, q->metadata[m].value);
        }
        if (p->has_after) {
                sqlite3_bind_int64(stmt, ++i, p->after.created);
                sqlite3_bind_int64(stmt, ++i, p->after.seq);
        }
        if (p->has_before) {
                sqlite3_bind_int64(stmt, ++i, p->before.created);
                sqlite3_bind_int64(stmt, ++i, p->before.seq);
        }
        sqlite3_bind_int64(stmt, ++i, (sqlite3_int64)q->limit + 1);
}

/* Reads up to limit + 1 rows; the one too many only says that there are more. */
static int page_rows(struct reader *r, sqlite3_stmt *stmt, int limit, struct store_page *ret,
                     struct store_fault *fault)
{
        size_t cap = 0;
        int code;
        while ((code = sqlite3_step(stmt)) == SQLITE_ROW) {
                if (ret->n == (size_t)limit) {
                        ret->has_more = true;
                        return 0;
                }
                if (ret->n == cap) {
                        cap = cap ? cap * 2 : 16;
                        struct object *items = mem_realloc(ret->items, cap, sizeof(*items));
                        if (!items)
                                return store_fail(fault, -ENOMEM, "memory is out");
                        ret->items = items;
                }
                int rc = sqlite_row_read(stmt, &ret->items[ret->n]);
                if (rc)
                        return store_fail(fault, rc, "memory is out");
                ret->n++;
        }
        return sqlite_fault(r->db, code, fault, "listing");
}

static void page_reverse(struct store_page *p)
{
        for (size_t i = 0, k = p->n; i + 1 < k; i++) {
                struct object o = p->items[i];
                p->items[i] = p->items[--k];
                p->items[k] = o;
        }
}

int sqlite_list(struct store *store, const struct store_query *q, struct store_page *ret,
                struct store_fault *fault)
{
        struct sqlite_store *s = (struct sqlite_store *)store;
        struct page_plan plan = { .q = q };
        struct reader *r;
        struct buf sql;
        int code, rc = sqlite_reader_borrow(s, &r, fault);
        if (rc)
                return rc;
        buf_init(&sql, SQL_MAX);
        rc = plan_page(&plan, r, fault);
        if (rc)
                goto out;
        page_sql(&sql, &plan);
        rc = buf_error(&sql);
        if (rc)
                goto out;
        sqlite3_stmt *stmt = sqlite_statement(r, buf_str(&sql), &code);
        if (!stmt) {
                rc = sqlite_fault(r->db, code, fault, "listing");
                goto out;
        }
        page_bind(stmt, &plan);
        rc = page_rows(r, stmt, q->limit, ret, fault);
        sqlite_statement_done(stmt);
        if (plan.backward)
                page_reverse(ret);
out:
        if (rc)
                store_page_release(ret);
        buf_release(&sql);
        sqlite_reader_return(s, r);
        return rc;
}
