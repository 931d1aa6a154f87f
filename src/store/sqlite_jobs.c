/* Jobs: what the operations of writes do to them, claims and counts. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"
#include "store/sqlite_internal.h"

static int64_t now_ms(void)
{
        return clock_unix_us() / 1000;
}

/* ---- operations, on the writer thread ---- */

static int job_put(struct sqlite_store *s, const struct store_op *op, struct store_fault *fault)
{
        sqlite3_stmt *stmt = s->w[W_JOB_PUT];
        sqlite_word(stmt, 1, op->kind);
        sqlite_word(stmt, 2, op->id);
        sqlite_word(stmt, 3, op->project ? op->project : "");
        sqlite3_bind_int64(stmt, 4, op->created ? op->created : clock_unix());
        sqlite3_bind_int64(stmt, 5, op->due ? op->due : now_ms());
        sqlite3_bind_int(stmt, 6, op->priority);
        sqlite_text(stmt, 7, op->doc);
        int code = sqlite_run(s, W_JOB_PUT);
        if ((code & 0xff) == SQLITE_CONSTRAINT)
                return store_fail(fault, -EEXIST, "%s exists already", op->id);
        return sqlite_fault(s->wdb, code, fault, "enqueueing");
}

/* SAVE, RETRY and FINISH: only while the lease is the holder's. */
static int job_held(struct sqlite_store *s, const struct store_op *op, enum writer_stmt which,
                    struct store_fault *fault)
{
        sqlite3_stmt *stmt = s->w[which];
        sqlite_word(stmt, 1, op->kind);
        sqlite_word(stmt, 2, op->id);
        sqlite3_bind_int64(stmt, 3, op->lease);
        if (which != W_JOB_FINISH) {
                if (op->doc.p)
                        sqlite_text(stmt, 4, op->doc);
                else
                        sqlite3_bind_null(stmt, 4);
        }
        if (which == W_JOB_RETRY)
                sqlite3_bind_int64(stmt, 5, op->due ? op->due : now_ms());
        int rc = sqlite_fault(s->wdb, sqlite_run(s, which), fault, "writing a job");
        if (!rc && !sqlite3_changes64(s->wdb))
                return store_fail(fault, -ESTALE, "%s has passed to another", op->id);
        return rc;
}

static int job_drop(struct sqlite_store *s, const struct store_op *op, struct store_fault *fault)
{
        sqlite3_stmt *stmt = s->w[W_JOB_DROP];
        sqlite_word(stmt, 1, op->kind);
        sqlite_word(stmt, 2, op->id);
        sqlite_word(stmt, 3, op->project);
        int rc = sqlite_fault(s->wdb, sqlite_run(s, W_JOB_DROP), fault, "dropping a job");
        if (!rc && !sqlite3_changes64(s->wdb))
                return store_fail(fault, -ENOENT, "no such %s: %s", op->kind, op->id);
        return rc;
}

static int job_wake(struct sqlite_store *s, const struct store_op *op, struct store_fault *fault)
{
        sqlite3_stmt *stmt = s->w[W_JOB_WAKE];
        sqlite_word(stmt, 1, op->kind);
        sqlite_word(stmt, 2, op->id);
        sqlite_word(stmt, 3, op->project);
        sqlite3_bind_int64(stmt, 4, now_ms());
        return sqlite_fault(s->wdb, sqlite_run(s, W_JOB_WAKE), fault, "waking a job");
}

int sqlite_job_apply(struct sqlite_store *s, const struct store_op *op, struct store_fault *fault)
{
        switch (op->verb) {
        case STORE_JOB_PUT:
                return job_put(s, op, fault);
        case STORE_JOB_SAVE:
                return job_held(s, op, W_JOB_SAVE, fault);
        case STORE_JOB_RETRY:
                return job_held(s, op, W_JOB_RETRY, fault);
        case STORE_JOB_FINISH:
                return job_held(s, op, W_JOB_FINISH, fault);
        case STORE_JOB_DROP:
                return job_drop(s, op, fault);
        case STORE_JOB_WAKE:
                return job_wake(s, op, fault);
        default:
                return -EINVAL;
        }
}

/* ---- claims, on the writer thread ---- */

struct first {
        int64_t seq, due; /* seq 0: none */
        int64_t priority;
};

struct claim {
        const char *const *kinds;
        size_t n;
        int64_t lease_ms;
        struct job job; /* zeroed when none was due */
        int64_t next_due;
};

/* The job of a kind that has been due longest among those of the highest priority below `below`. */
static int first_below(struct sqlite_store *s, const char *kind, int64_t below, struct first *ret,
                       struct store_fault *fault)
{
        sqlite3_stmt *stmt = s->w[W_JOB_FIRST];
        int rc = 0;
        memset(ret, 0, sizeof(*ret));
        sqlite_word(stmt, 1, kind);
        sqlite3_bind_int64(stmt, 2, below);
        int code = sqlite3_step(stmt);
        if (code == SQLITE_ROW)
                *ret = (struct first){ sqlite3_column_int64(stmt, 0), sqlite3_column_int64(stmt, 1),
                                       sqlite3_column_int64(stmt, 2) };
        else
                rc = sqlite_fault(s->wdb, code, fault, "looking for a job");
        sqlite3_reset(stmt);
        return rc;
}

/* Whether a comes before b, both due. */
static bool comes_first(const struct first *a, const struct first *b)
{
        if (!b->seq || a->priority != b->priority)
                return !b->seq || a->priority > b->priority;
        return a->due != b->due ? a->due < b->due : a->seq < b->seq;
}

/* Goes down the priorities of a kind: each is one seek, and the first job of each says whether any of that
 * priority is due. */
static int best_of_kind(struct sqlite_store *s, const char *kind, int64_t now, struct first *best,
                        int64_t *next_due, struct store_fault *fault)
{
        struct first at = { .priority = INT64_MAX };
        int rc;
        while (!(rc = first_below(s, kind, at.priority, &at, fault)) && at.seq) {
                if (at.due <= now) {
                        if (comes_first(&at, best))
                                *best = at;
                        return 0;
                }
                if (!*next_due || at.due < *next_due)
                        *next_due = at.due;
        }
        return rc;
}

/* The job that a statement stands at whose columns are those of W_JOB_CLAIM. */
static struct job job_view(sqlite3_stmt *stmt)
{
        struct job j = {
                .kind = (const char *)sqlite3_column_text(stmt, 0),
                .id = (const char *)sqlite3_column_text(stmt, 1),
                .project = (const char *)sqlite3_column_text(stmt, 2),
                .created = sqlite3_column_int64(stmt, 3),
                .attempt = sqlite3_column_int(stmt, 4),
                .lease = sqlite3_column_int64(stmt, 5),
                .payload.p = (const char *)sqlite3_column_text(stmt, 6),
        };
        j.payload.n = (size_t)sqlite3_column_bytes(stmt, 6);
        return j;
}

/* Gives the job a lease and reads it. */
static int job_take(struct sqlite_store *s, int64_t seq, int64_t until, struct job *ret,
                    struct store_fault *fault)
{
        sqlite3_stmt *stmt = s->w[W_JOB_CLAIM];
        sqlite3_bind_int64(stmt, 1, seq);
        sqlite3_bind_int64(stmt, 2, until);
        int rc, code = sqlite3_step(stmt);
        if (code == SQLITE_ROW) {
                struct job j = job_view(stmt);
                rc = job_fill(ret, &j);
                code = sqlite3_step(stmt); /* to the end, or the change does not count */
        } else {
                rc = code == SQLITE_DONE ? -EIO : 0;
        }
        if (!rc)
                rc = sqlite_fault(s->wdb, code, fault, "claiming a job");
        else
                store_fail(fault, rc, "claiming a job: %s", strerror(-rc));
        sqlite3_reset(stmt);
        return rc;
}

static int claim_apply(struct store *store, struct store_write *w)
{
        struct sqlite_store *s = (struct sqlite_store *)store;
        struct claim *c = w->arg;
        struct first best = { 0 };
        int64_t now = now_ms();
        int rc = 0;
        job_release(&c->job); /* of an earlier try */
        c->next_due = 0;
        for (size_t i = 0; i < c->n && !rc; i++)
                rc = best_of_kind(s, c->kinds[i], now, &best, &c->next_due, &w->fault);
        if (!rc && best.seq)
                rc = job_take(s, best.seq, now + c->lease_ms, &c->job, &w->fault);
        return rc;
}

int sqlite_job_claim(struct store *store, const char *const *kinds, size_t n, int64_t lease_ms,
                     struct job *ret, int64_t *ret_next_due, struct store_fault *fault)
{
        struct claim claim = { .kinds = kinds, .n = n, .lease_ms = lease_ms };
        struct store_write w = { .kind = WRITE_OWN, .own = claim_apply, .arg = &claim };
        int rc = store_write_wait(store, &w, fault);
        if (rc) {
                job_release(&claim.job);
                return rc;
        }
        *ret_next_due = claim.next_due;
        if (!claim.job.lease)
                return store_fail(fault, -ENOENT, "no job is due");
        *ret = claim.job;
        return 0;
}

struct renewal {
        const char *kind, *id;
        int64_t lease, lease_ms;
};

static int renew_apply(struct store *store, struct store_write *w)
{
        struct sqlite_store *s = (struct sqlite_store *)store;
        const struct renewal *r = w->arg;
        sqlite3_stmt *stmt = s->w[W_JOB_RENEW];
        sqlite_word(stmt, 1, r->kind);
        sqlite_word(stmt, 2, r->id);
        sqlite3_bind_int64(stmt, 3, r->lease);
        sqlite3_bind_int64(stmt, 4, now_ms() + r->lease_ms);
        int rc = sqlite_fault(s->wdb, sqlite_run(s, W_JOB_RENEW), &w->fault, "renewing a lease");
        if (!rc && !sqlite3_changes64(s->wdb))
                return store_fail(&w->fault, -ESTALE, "%s has passed to another", r->id);
        return rc;
}

int sqlite_job_renew(struct store *store, const char *kind, const char *id, int64_t lease, int64_t lease_ms,
                     struct store_fault *fault)
{
        struct renewal renewal = { kind, id, lease, lease_ms };
        struct store_write w = { .kind = WRITE_OWN, .own = renew_apply, .arg = &renewal };
        return store_write_wait(store, &w, fault);
}

int sqlite_leases_void(sqlite3 *db, struct store_fault *fault)
{
        int code = sqlite3_exec(db, "UPDATE job SET lease = 0, due = 0 WHERE lease <> 0", NULL, NULL, NULL);
        return sqlite_fault(db, code, fault, "taking over the jobs of a dead server");
}

/* ---- counts and scans ---- */

int sqlite_job_count(struct store *store, const char *kind, const char *project, size_t *ret,
                     struct store_fault *fault)
{
        struct sqlite_store *s = (struct sqlite_store *)store;
        struct reader *r;
        int code, rc = sqlite_reader_borrow(s, &r, fault);
        if (rc)
                return rc;
        sqlite3_stmt *stmt = sqlite_statement(
                r, STR("SELECT count(*) FROM job WHERE kind = ?1 AND (?2 IS NULL OR project = ?2)"), &code);
        if (stmt) {
                sqlite_word(stmt, 1, kind);
                sqlite_word(stmt, 2, project);
                code = sqlite3_step(stmt);
                if (code == SQLITE_ROW)
                        *ret = (size_t)sqlite3_column_int64(stmt, 0);
        }
        rc = sqlite_fault(r->db, code, fault, "counting jobs");
        if (stmt)
                sqlite_statement_done(stmt);
        sqlite_reader_return(s, r);
        return rc;
}

int sqlite_job_tally(struct store *store, struct job_tally *ret, size_t max, size_t *ret_n,
                     struct store_fault *fault)
{
        static const char sql[] = "SELECT kind, count(*) FILTER (WHERE lease = 0),"
                                  " count(*) FILTER (WHERE lease <> 0) FROM job GROUP BY kind ORDER BY kind"
                                  " LIMIT ?1";
        struct sqlite_store *s = (struct sqlite_store *)store;
        struct reader *r;
        int code, rc = sqlite_reader_borrow(s, &r, fault);
        if (rc)
                return rc;
        sqlite3_stmt *stmt = sqlite_statement(r, STR(sql), &code);
        if (stmt) {
                sqlite3_bind_int64(stmt, 1, (sqlite3_int64)max);
                while ((code = sqlite3_step(stmt)) == SQLITE_ROW) {
                        struct job_tally *t = &ret[(*ret_n)++];
                        snprintf(t->kind, sizeof(t->kind), "%s", sqlite3_column_text(stmt, 0));
                        t->waiting = (size_t)sqlite3_column_int64(stmt, 1);
                        t->running = (size_t)sqlite3_column_int64(stmt, 2);
                }
                sqlite_statement_done(stmt);
        }
        rc = sqlite_fault(r->db, code, fault, "counting jobs");
        sqlite_reader_return(s, r);
        return rc;
}

int sqlite_job_scan(struct store *store, int (*fn)(void *ctx, const struct job *j), void *ctx,
                    struct store_fault *fault)
{
        static const char sql[] =
                "SELECT kind, id, project, created, attempt, lease, payload FROM job ORDER BY seq";
        struct sqlite_store *s = (struct sqlite_store *)store;
        struct reader *r;
        int code, rc = sqlite_reader_borrow(s, &r, fault);
        if (rc)
                return rc;
        sqlite3_stmt *stmt = sqlite_statement(r, STR(sql), &code);
        while (stmt && !rc && (code = sqlite3_step(stmt)) == SQLITE_ROW) {
                struct job j = job_view(stmt);
                rc = fn(ctx, &j);
        }
        if (!rc)
                rc = sqlite_fault(r->db, code, fault, "scanning jobs");
        if (stmt)
                sqlite_statement_done(stmt);
        sqlite_reader_return(s, r);
        return rc;
}
