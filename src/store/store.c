/* The store's front: opening, and the checks of all calls that are no writes. */
#include "store/store_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int store_fail(struct store_fault *fault, int rc, const char *fmt, ...)
{
        if (!fault)
                return rc;
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(fault->msg, sizeof(fault->msg), fmt, ap);
        va_end(ap);
        return rc;
}

bool store_expired(int64_t expires, int64_t now)
{
        return expires != 0 && expires <= now;
}

int store_open(const char *where, const struct store_options *options, struct store **ret,
               struct store_fault *fault)
{
        static const struct store_options defaults;
        *ret = NULL;
        if (fault)
                memset(fault, 0, sizeof(*fault));
        if (!where || !*where)
                return store_fail(fault, -EINVAL, "the data directory has no name");
#ifdef CAIRN_POSTGRES
        if (!strncmp(where, "postgres://", 11) || !strncmp(where, "postgresql://", 13))
                return postgres_store_open(where, options ? options : &defaults, ret, fault);
#endif
        if (strstr(where, "://"))
                return store_fail(fault, -ENOTSUP, "%s: no such store backend; name a directory", where);
        return sqlite_store_open(where, options ? options : &defaults, ret, fault);
}

bool store_is_shared(const struct store *s)
{
        return strcmp(s->backend->name, "sqlite") != 0;
}

void store_close(struct store *s)
{
        if (!s)
                return;
        store_ping_end(s);
        s->backend->close(s);
}

static int query_check(const struct store_query *q, struct store_fault *fault)
{
        if (!store_word_ok(q->kind, true) || !store_word_ok(q->project, false) ||
            !store_word_ok(q->parent, false))
                return store_fail(fault, -EINVAL, "kind, project and parent may have %d bytes", STORE_ID_MAX);
        if (q->limit < 1 || q->limit > STORE_PAGE_MAX)
                return store_fail(fault, -EINVAL, "limit must be 1 to %d", STORE_PAGE_MAX);
        if (!store_metadata_ok(q->metadata, q->nmetadata))
                return store_fail(fault, -EINVAL, "at most %d metadata pairs with distinct keys",
                                  STORE_METADATA_MAX);
        if (q->nmetadata && !q->project)
                return store_fail(fault, -EINVAL, "a metadata filter needs a project");
        return 0;
}

/* ---- reading ---- */

int store_get(struct store *s, const char *kind, const char *id, const char *project, struct object *ret,
              struct store_fault *fault)
{
        memset(ret, 0, sizeof(*ret));
        if (fault)
                memset(fault, 0, sizeof(*fault));
        if (!store_word_ok(kind, true))
                return store_fail(fault, -EINVAL, "kind must have 1 to %d bytes", STORE_ID_MAX);
        if (!store_word_ok(id, true) || !store_word_ok(project, false)) /* such a row cannot exist */
                return store_fail(fault, -ENOENT, "no such %s", kind);
        return s->backend->get(s, kind, id, project, ret, fault);
}

int store_list(struct store *s, const struct store_query *q, struct store_page *ret,
               struct store_fault *fault)
{
        memset(ret, 0, sizeof(*ret));
        if (fault)
                memset(fault, 0, sizeof(*fault));
        int rc = query_check(q, fault);
        return rc ? rc : s->backend->list(s, q, ret, fault);
}

/* ---- jobs ---- */

int store_job_claim(struct store *s, const char *const *kinds, size_t n, int64_t lease_ms, struct job *ret,
                    int64_t *ret_next_due, struct store_fault *fault)
{
        int64_t next_due = 0;
        memset(ret, 0, sizeof(*ret));
        if (fault)
                memset(fault, 0, sizeof(*fault));
        if (!n || !kinds || lease_ms < 1)
                return store_fail(fault, -EINVAL, "a claim names kinds and how long it shall last");
        for (size_t i = 0; i < n; i++) {
                if (!store_word_ok(kinds[i], true))
                        return store_fail(fault, -EINVAL, "kinds must have 1 to %d bytes", STORE_ID_MAX);
        }
        int rc = s->backend->job_claim(s, kinds, n, lease_ms, ret, &next_due, fault);
        if (ret_next_due)
                *ret_next_due = next_due;
        return rc;
}

int store_job_renew(struct store *s, const char *kind, const char *id, int64_t lease, int64_t lease_ms,
                    struct store_fault *fault)
{
        if (fault)
                memset(fault, 0, sizeof(*fault));
        if (!store_word_ok(kind, true) || !store_word_ok(id, true) || lease <= 0 || lease_ms < 1)
                return store_fail(fault, -EINVAL,
                                  "a renewal names a job, its lease and how long it shall last");
        return s->backend->job_renew(s, kind, id, lease, lease_ms, fault);
}

int store_job_count(struct store *s, const char *kind, const char *project, size_t *ret,
                    struct store_fault *fault)
{
        *ret = 0;
        if (fault)
                memset(fault, 0, sizeof(*fault));
        if (!store_word_ok(kind, true) || !store_word_ok(project, false))
                return store_fail(fault, -EINVAL, "kind must have 1 to %d bytes", STORE_ID_MAX);
        return s->backend->job_count(s, kind, project, ret, fault);
}

int store_job_tally(struct store *s, struct job_tally *ret, size_t max, size_t *ret_n,
                    struct store_fault *fault)
{
        *ret_n = 0;
        if (fault)
                memset(fault, 0, sizeof(*fault));
        return s->backend->job_tally(s, ret, max, ret_n, fault);
}

int store_job_scan(struct store *s, int (*fn)(void *ctx, const struct job *j), void *ctx,
                   struct store_fault *fault)
{
        if (fault)
                memset(fault, 0, sizeof(*fault));
        return s->backend->job_scan(s, fn, ctx, fault);
}

/* ---- usage ---- */

int store_usage_fold(struct store *s, struct store_fault *fault)
{
        size_t folded;
        int rc;
        if (fault)
                memset(fault, 0, sizeof(*fault));
        do {
                folded = 0;
                rc = s->backend->usage_fold(s, &folded, fault);
        } while (!rc && folded);
        return rc;
}

int store_usage_sum(struct store *s, const struct store_usage_query *q, struct store_usage **ret,
                    size_t *ret_n, struct store_fault *fault)
{
        struct store_usage_query whole = *q;
        *ret = NULL;
        *ret_n = 0;
        if (fault)
                memset(fault, 0, sizeof(*fault));
        if (!store_word_ok(q->what, true) || !store_word_ok(q->project, false) ||
            !store_word_ok(q->user, false) || !store_word_ok(q->key, false) ||
            !store_word_ok(q->model, false))
                return store_fail(fault, -EINVAL, "words must have at most %d bytes", STORE_ID_MAX);
        if (q->width < 0 || q->width % 60 || q->by > 63)
                return store_fail(fault, -EINVAL, "a bucket must be whole minutes wide");
        if (q->from < 0 || q->to < q->from || q->to > INT64_MAX - 60)
                return store_fail(fault, -EINVAL, "the time must not end before it begins");
        whole.from = q->from / 60 * 60;
        whole.to = (q->to + 59) / 60 * 60;
        return s->backend->usage_sum(s, &whole, ret, ret_n, fault);
}

int store_buckets_take(struct store *s, struct store_bucket *b, size_t n, int64_t now_ms, size_t *ret_short,
                       struct store_fault *fault)
{
        *ret_short = 0;
        if (fault)
                memset(fault, 0, sizeof(*fault));
        if (!s->backend->buckets_take)
                return store_fail(fault, -ENOTSUP, "a %s store keeps no buckets", s->backend->name);
        for (size_t i = 0; i < n; i++) {
                if (!store_word_ok(b[i].key, true) || b[i].capacity < 1 || b[i].refill_ms < 1)
                        return store_fail(fault, -EINVAL,
                                          "a bucket has a key, a capacity and a time to fill");
        }
        return n ? s->backend->buckets_take(s, b, n, now_ms, ret_short, fault) : 0;
}

/* ---- upkeep ---- */

int store_sweep(struct store *s, size_t *ret_removed, struct store_fault *fault)
{
        struct store_write w = { .kind = WRITE_SWEEP };
        size_t removed = 0;
        int rc;
        do {
                rc = store_write_wait(s, &w, fault);
                removed += rc ? 0 : w.affected;
        } while (!rc && w.affected);
        if (ret_removed)
                *ret_removed = removed;
        return rc;
}

int store_scan(struct store *s, const char *kind, int (*fn)(void *ctx, const struct object *o), void *ctx,
               struct store_fault *fault)
{
        if (fault)
                memset(fault, 0, sizeof(*fault));
        if (!store_word_ok(kind, false))
                return store_fail(fault, -EINVAL, "kind may have %d bytes", STORE_ID_MAX);
        return s->backend->scan(s, kind, fn, ctx, fault);
}

int store_backup(struct store *s, const char *to, struct store_fault *fault)
{
        if (fault)
                memset(fault, 0, sizeof(*fault));
        if (!s->backend->backup)
                return store_fail(fault, -ENOTSUP, "a %s database is copied with its own tools",
                                  s->backend->name);
        return s->backend->backup(s, to, fault);
}

int store_check(struct store *s, void (*report)(void *ctx, const char *finding), void *ctx,
                struct store_fault *fault)
{
        if (fault)
                memset(fault, 0, sizeof(*fault));
        return s->backend->check(s, report, ctx, fault);
}

void store_get_stats(struct store *s, struct store_stats *ret)
{
        memset(ret, 0, sizeof(*ret));
        s->backend->stats(s, ret);
}
