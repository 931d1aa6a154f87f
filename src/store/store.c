/* The store's front: checks calls, and makes blocking and copying writes out of a backend's submit(). */
#include "store/store_internal.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"

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
        if (s)
                s->backend->close(s);
}

/* ---- rows and pages ---- */

static size_t string_size(const char *s)
{
        return s ? strlen(s) + 1 : 0;
}

static const char *string_place(char **at, const char *s)
{
        if (!s)
                return NULL;
        size_t size = strlen(s) + 1;
        char *copy = memcpy(*at, s, size);
        *at += size;
        return copy;
}

static struct str bytes_place(char **at, struct str s)
{
        char *copy = *at;
        if (s.n)
                memcpy(copy, s.p, s.n);
        copy[s.n] = '\0';
        *at += s.n + 1;
        return (struct str){ copy, s.n };
}

int object_fill(struct object *ret, const struct object *from)
{
        size_t size = string_size(from->kind) + string_size(from->id) + string_size(from->project) +
                      string_size(from->parent) + from->doc.n + 1;
        for (int i = 0; i < STORE_FILTERS; i++)
                size += string_size(from->f[i]);
        char *at = mem_alloc(size);
        memset(ret, 0, sizeof(*ret));
        if (!at)
                return -ENOMEM;
        *ret = *from;
        ret->_mem = at;
        ret->kind = string_place(&at, from->kind);
        ret->id = string_place(&at, from->id);
        ret->project = string_place(&at, from->project);
        ret->parent = string_place(&at, from->parent);
        for (int i = 0; i < STORE_FILTERS; i++)
                ret->f[i] = string_place(&at, from->f[i]);
        ret->doc = bytes_place(&at, from->doc);
        return 0;
}

void object_release(struct object *o)
{
        mem_free(o->_mem);
        memset(o, 0, sizeof(*o));
}

void store_page_release(struct store_page *p)
{
        for (size_t i = 0; i < p->n; i++)
                object_release(&p->items[i]);
        mem_free(p->items);
        memset(p, 0, sizeof(*p));
}

/* ---- checks ---- */

static bool word_ok(const char *s, bool required)
{
        if (!s)
                return !required;
        size_t n = strnlen(s, STORE_ID_MAX + 1);
        return n <= STORE_ID_MAX && (n > 0 || !required);
}

static bool metadata_ok(const struct store_pair *pairs, size_t n)
{
        if (n > STORE_METADATA_MAX || (n && !pairs))
                return false;
        for (size_t i = 0; i < n; i++) {
                if (!pairs[i].key || !pairs[i].value)
                        return false;
                for (size_t k = 0; k < i; k++) {
                        if (!strcmp(pairs[i].key, pairs[k].key))
                                return false;
                }
        }
        return true;
}

static int op_check(const struct store_op *op, struct store_fault *fault)
{
        if (op->verb < STORE_PUT || op->verb > STORE_CHECK)
                return store_fail(fault, -EINVAL, "unknown operation %d", (int)op->verb);
        if (!word_ok(op->kind, true) || !word_ok(op->id, true))
                return store_fail(fault, -EINVAL, "kind and id must have 1 to %d bytes", STORE_ID_MAX);
        if (!word_ok(op->project, false) || !word_ok(op->parent, false))
                return store_fail(fault, -EINVAL, "project and parent may have %d bytes", STORE_ID_MAX);
        if (!metadata_ok(op->metadata, op->nmetadata))
                return store_fail(fault, -EINVAL, "metadata must be at most %d pairs with distinct keys",
                                  STORE_METADATA_MAX);
        if (op->doc.n > STORE_DOC_MAX)
                return store_fail(fault, -EFBIG, "the document has %zu bytes, at most %u are kept", op->doc.n,
                                  STORE_DOC_MAX);
        if (op->verb == STORE_UPDATE && (!op->set || op->set > 15))
                return store_fail(fault, -EINVAL, "an update must say what it sets");
        return 0;
}

static size_t ops_bytes(const struct store_op *ops, size_t n)
{
        size_t bytes = 0;
        for (size_t i = 0; i < n; i++)
                bytes += ops[i].doc.n;
        return bytes;
}

static int ops_check(const struct store_op *ops, size_t n, struct store_fault *fault)
{
        if (!n || !ops)
                return store_fail(fault, -EINVAL, "a write needs an operation");
        for (size_t i = 0; i < n; i++) {
                int rc = op_check(&ops[i], fault);
                if (rc) {
                        if (fault)
                                fault->op = i;
                        return rc;
                }
        }
        return 0;
}

static int query_check(const struct store_query *q, struct store_fault *fault)
{
        if (!word_ok(q->kind, true) || !word_ok(q->project, false) || !word_ok(q->parent, false))
                return store_fail(fault, -EINVAL, "kind, project and parent may have %d bytes", STORE_ID_MAX);
        if (q->limit < 1 || q->limit > STORE_PAGE_MAX)
                return store_fail(fault, -EINVAL, "limit must be 1 to %d", STORE_PAGE_MAX);
        if (!metadata_ok(q->metadata, q->nmetadata))
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
        if (!word_ok(kind, true))
                return store_fail(fault, -EINVAL, "kind must have 1 to %d bytes", STORE_ID_MAX);
        if (!word_ok(id, true) || !word_ok(project, false)) /* such a row cannot exist */
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

/* ---- blocking writes ---- */

struct waiter {
        struct store_write write;
        pthread_mutex_t lock;
        pthread_cond_t woken;
        bool done;
};

static void waiter_complete(struct store_write *w)
{
        struct waiter *self = (struct waiter *)w;
        pthread_mutex_lock(&self->lock);
        self->done = true;
        /* Under the lock: once it is released, the waiter may return and take its stack with it. */
        pthread_cond_signal(&self->woken);
        pthread_mutex_unlock(&self->lock);
}

static int write_and_wait(struct store *s, enum write_kind kind, const struct store_op *ops, size_t n,
                          size_t *ret_affected, struct store_fault *fault)
{
        struct waiter w = { .write = { .kind = kind,
                                       .ops = ops,
                                       .n = n,
                                       .bytes = ops_bytes(ops, n),
                                       .complete = waiter_complete } };
        pthread_mutex_init(&w.lock, NULL);
        pthread_cond_init(&w.woken, NULL);
        int rc = s->backend->submit(s, &w.write);
        if (rc) {
                store_fail(fault, rc, "too many writes are waiting");
                goto out;
        }
        pthread_mutex_lock(&w.lock);
        while (!w.done)
                pthread_cond_wait(&w.woken, &w.lock);
        pthread_mutex_unlock(&w.lock);
        rc = w.write.rc;
        if (rc && fault)
                *fault = w.write.fault;
        if (ret_affected)
                *ret_affected = w.write.affected;
out:
        pthread_cond_destroy(&w.woken);
        pthread_mutex_destroy(&w.lock);
        return rc;
}

int store_write(struct store *s, const struct store_op *ops, size_t n, struct store_fault *fault)
{
        if (fault)
                memset(fault, 0, sizeof(*fault));
        int rc = ops_check(ops, n, fault);
        return rc ? rc : write_and_wait(s, WRITE_OPS, ops, n, NULL, fault);
}

int store_put(struct store *s, const struct store_op *row, struct store_fault *fault)
{
        struct store_op op = *row;
        op.verb = STORE_PUT;
        return store_write(s, &op, 1, fault);
}

int store_delete(struct store *s, const char *kind, const char *id, const char *project,
                 struct store_fault *fault)
{
        struct store_op op = { .verb = STORE_DELETE, .kind = kind, .id = id, .project = project };
        if (!word_ok(id, true) || !word_ok(project, false))
                return store_fail(fault, -ENOENT, "no such %s", kind);
        return store_write(s, &op, 1, fault);
}

int store_sweep(struct store *s, size_t *ret_removed, struct store_fault *fault)
{
        size_t removed = 0, batch;
        int rc;
        do {
                batch = 0;
                rc = write_and_wait(s, WRITE_SWEEP, NULL, 0, &batch, fault);
                removed += batch;
        } while (!rc && batch);
        if (ret_removed)
                *ret_removed = removed;
        return rc;
}

int store_ping(struct store *s, struct store_fault *fault)
{
        struct object o;
        int rc = store_get(s, "ping", "ping", NULL, &o, fault);
        object_release(&o);
        if (rc && rc != -ENOENT)
                return rc;
        return write_and_wait(s, WRITE_NOTHING, NULL, 0, NULL, fault);
}

void store_get_stats(struct store *s, struct store_stats *ret)
{
        memset(ret, 0, sizeof(*ret));
        s->backend->stats(s, ret);
}

/* ---- asynchronous writes ---- */

/* One block: this, the operations, their metadata pairs, then all the bytes. */
struct detached {
        struct store_write write;
        store_done_fn *done;
        void *ctx;
        struct store_op ops[];
};

static void detached_complete(struct store_write *w)
{
        struct detached *self = (struct detached *)w;
        self->done(self->ctx, w->rc, &w->fault);
        mem_free(self);
}

static void op_measure(const struct store_op *op, size_t *pairs, size_t *bytes)
{
        *bytes += string_size(op->kind) + string_size(op->id) + string_size(op->project) +
                  string_size(op->parent) + op->doc.n + 1;
        for (int i = 0; i < STORE_FILTERS; i++)
                *bytes += string_size(op->f[i]);
        for (size_t i = 0; i < op->nmetadata; i++)
                *bytes += string_size(op->metadata[i].key) + string_size(op->metadata[i].value);
        *pairs += op->nmetadata;
}

static void op_place(struct store_op *to, const struct store_op *from, struct store_pair **pairs, char **at)
{
        *to = *from;
        to->kind = string_place(at, from->kind);
        to->id = string_place(at, from->id);
        to->project = string_place(at, from->project);
        to->parent = string_place(at, from->parent);
        for (int i = 0; i < STORE_FILTERS; i++)
                to->f[i] = string_place(at, from->f[i]);
        to->metadata = *pairs;
        for (size_t i = 0; i < from->nmetadata; i++, ++*pairs) {
                (*pairs)->key = string_place(at, from->metadata[i].key);
                (*pairs)->value = string_place(at, from->metadata[i].value);
        }
        to->doc = bytes_place(at, from->doc);
}

int store_write_async(struct store *s, const struct store_op *ops, size_t n, store_done_fn *done, void *ctx)
{
        int rc = ops_check(ops, n, NULL);
        if (rc)
                return rc;
        size_t npairs = 0, bytes = 0;
        for (size_t i = 0; i < n; i++)
                op_measure(&ops[i], &npairs, &bytes);
        size_t head = sizeof(struct detached) + n * sizeof(*ops) + npairs * sizeof(struct store_pair);
        struct detached *d = mem_alloc(head + bytes);
        if (!d)
                return -ENOMEM;
        memset(d, 0, sizeof(*d));
        struct store_pair *pairs = (struct store_pair *)(d->ops + n);
        char *at = (char *)(pairs + npairs);
        for (size_t i = 0; i < n; i++)
                op_place(&d->ops[i], &ops[i], &pairs, &at);
        d->write = (struct store_write){
                .ops = d->ops, .n = n, .bytes = ops_bytes(ops, n), .complete = detached_complete
        };
        d->done = done;
        d->ctx = ctx;
        rc = s->backend->submit(s, &d->write);
        if (rc)
                mem_free(d);
        return rc;
}
