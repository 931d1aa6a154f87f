/* Writes: the checks of their operations, and blocking and copying ones made out of a backend's submit(). */
#include <errno.h>
#include <semaphore.h>
#include <string.h>
#include "base/fault.h"
#include "base/mem.h"
#include "store/store_internal.h"

/* ---- checks ---- */

bool store_word_ok(const char *s, bool required)
{
        if (!s)
                return !required;
        size_t n = strnlen(s, STORE_ID_MAX + 1);
        return n <= STORE_ID_MAX && (n > 0 || !required);
}

bool store_metadata_ok(const struct store_pair *pairs, size_t n)
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

static bool lease_ok(const struct store_op *op)
{
        if (op->verb == STORE_JOB_FINISH) /* 0: of a job that nobody holds */
                return op->lease >= 0;
        return op->lease > 0 || (op->verb != STORE_JOB_SAVE && op->verb != STORE_JOB_RETRY);
}

/* What only some verbs use. */
static int verb_check(const struct store_op *op, struct store_fault *fault)
{
        if (op->verb == STORE_UPDATE && (!op->set || op->set > 15))
                return store_fail(fault, -EINVAL, "an update must say what it sets");
        if (!lease_ok(op))
                return store_fail(fault, -EINVAL, "only the holder of a lease may do that");
        for (int i = 0; i < STORE_FILTERS; i++) {
                if (!store_word_ok(op->f[i], false))
                        return store_fail(fault, -EINVAL, "a filter column may have %d bytes", STORE_ID_MAX);
        }
        if (op->due < 0)
                return store_fail(fault, -EINVAL, "a job cannot be due before 1970");
        return 0;
}

static int op_check(const struct store_op *op, struct store_fault *fault)
{
        if (op->verb < STORE_PUT || op->verb > STORE_NOTIFY)
                return store_fail(fault, -EINVAL, "unknown operation %d", (int)op->verb);
        if (op->verb == STORE_USAGE) {
                if (op->usage && usage_words_ok(op->usage))
                        return 0;
                return store_fail(fault, -EINVAL,
                                  "a record of usage has an id, and words of %d bytes at most", STORE_ID_MAX);
        }
        if (!store_word_ok(op->kind, true) || !store_word_ok(op->id, true))
                return store_fail(fault, -EINVAL, "kind and id must have 1 to %d bytes", STORE_ID_MAX);
        if (!store_word_ok(op->project, false) || !store_word_ok(op->parent, false))
                return store_fail(fault, -EINVAL, "project and parent may have %d bytes", STORE_ID_MAX);
        if (!store_metadata_ok(op->metadata, op->nmetadata))
                return store_fail(fault, -EINVAL, "metadata must be at most %d pairs with distinct keys",
                                  STORE_METADATA_MAX);
        if (op->doc.n > STORE_DOC_MAX)
                return store_fail(fault, -EFBIG, "the document has %zu bytes, at most %u are kept", op->doc.n,
                                  STORE_DOC_MAX);
        return verb_check(op, fault);
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

/* ---- blocking writes ---- */

/* A waiter that is woken wakes those behind it, so `next` says what is its own to do. The semaphore is on the
 * stack of who waits: posting it touches neither once the waiter may return. */
static void waiter_complete(struct store_write *w)
{
        w->next = NULL;
        sem_post(w->waiter);
}

static void waiters_wake(struct store_write *list)
{
        while (list) {
                struct store_write *next = list->next;
                waiter_complete(list);
                list = next;
        }
}

void store_complete(struct store_write *list)
{
        struct store_write *half[2] = { NULL, NULL }, **end[2] = { &half[0], &half[1] };
        int turn = 0;
        while (list) {
                struct store_write *next = list->next; /* complete() frees it */
                if (list->complete == waiter_complete) {
                        *end[turn] = list;
                        end[turn] = &list->next;
                        turn = !turn;
                } else {
                        list->complete(list);
                }
                list = next;
        }
        *end[0] = *end[1] = NULL;
        if (half[0])
                sem_post(half[0]->waiter); /* it wakes the rest of its half */
        waiters_wake(half[1]);
}

int store_write_wait(struct store *s, struct store_write *w, struct store_fault *fault)
{
        sem_t answered;
        sem_init(&answered, 0, 0);
        w->waiter = &answered;
        w->complete = waiter_complete;
        int rc = s->backend->submit(s, w);
        if (rc) {
                store_fail(fault, rc, "too many writes are waiting");
                goto out;
        }
        while (sem_wait(&answered))
                ; /* a signal handler ran */
        waiters_wake(w->next);
        rc = w->rc;
        if (rc && fault)
                *fault = w->fault;
out:
        sem_destroy(&answered);
        return rc;
}

int store_write(struct store *s, const struct store_op *ops, size_t n, struct store_fault *fault)
{
        if (fault)
                memset(fault, 0, sizeof(*fault));
        int rc = ops_check(ops, n, fault);
        if (rc)
                return rc;
        struct store_write w = { .kind = WRITE_OPS, .ops = ops, .n = n, .bytes = ops_bytes(ops, n) };
        rc = store_write_wait(s, &w, fault);
        if (!rc && (rc = fault_at("store.answer")))
                store_fail(fault, rc, "whether the write was done is unknown");
        return rc;
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
        if (!store_word_ok(id, true) || !store_word_ok(project, false))
                return store_fail(fault, -ENOENT, "no such %s", kind);
        return store_write(s, &op, 1, fault);
}

/* ---- asynchronous writes ---- */

/* One block: this, the operations, their metadata pairs, their usage records, then all the bytes. */
struct detached {
        struct store_write write;
        store_done_fn *done;
        void *ctx;
        struct store_op ops[];
};

/* How much room copies of operations need, and then where the next one goes. */
struct room {
        size_t npairs, nusage, bytes;
        struct store_pair *pairs;
        struct store_usage *usage;
        char *at;
};

static void detached_complete(struct store_write *w)
{
        struct detached *self = (struct detached *)w;
        self->done(self->ctx, w->rc, &w->fault);
        mem_free(self);
}

static void op_measure(const struct store_op *op, struct room *r)
{
        r->bytes += block_string_size(op->kind) + block_string_size(op->id) + block_string_size(op->project) +
                    block_string_size(op->parent) + op->doc.n + 1;
        for (int i = 0; i < STORE_FILTERS; i++)
                r->bytes += block_string_size(op->f[i]);
        for (size_t i = 0; i < op->nmetadata; i++)
                r->bytes += block_string_size(op->metadata[i].key) + block_string_size(op->metadata[i].value);
        r->npairs += op->nmetadata;
        if (op->verb == STORE_USAGE) {
                r->bytes += usage_words_size(op->usage);
                r->nusage++;
        }
}

static void op_place(struct store_op *to, const struct store_op *from, struct room *r)
{
        *to = *from;
        to->kind = block_string(&r->at, from->kind);
        to->id = block_string(&r->at, from->id);
        to->project = block_string(&r->at, from->project);
        to->parent = block_string(&r->at, from->parent);
        for (int i = 0; i < STORE_FILTERS; i++)
                to->f[i] = block_string(&r->at, from->f[i]);
        to->metadata = r->pairs;
        for (size_t i = 0; i < from->nmetadata; i++, r->pairs++) {
                r->pairs->key = block_string(&r->at, from->metadata[i].key);
                r->pairs->value = block_string(&r->at, from->metadata[i].value);
        }
        if (from->doc.p) /* NULL says "none" to some verbs */
                to->doc = block_bytes(&r->at, from->doc);
        if (from->verb == STORE_USAGE) {
                usage_place(r->usage, from->usage, &r->at);
                to->usage = r->usage++;
        }
}

int store_write_async(struct store *s, const struct store_op *ops, size_t n, store_done_fn *done, void *ctx)
{
        struct room room = { 0 };
        int rc = ops_check(ops, n, NULL);
        if (rc)
                return rc;
        for (size_t i = 0; i < n; i++)
                op_measure(&ops[i], &room);
        size_t head = sizeof(struct detached) + n * sizeof(*ops) + room.npairs * sizeof(struct store_pair) +
                      room.nusage * sizeof(struct store_usage);
        struct detached *d = mem_alloc(head + room.bytes);
        if (!d)
                return -ENOMEM;
        memset(d, 0, sizeof(*d));
        room.pairs = (struct store_pair *)(d->ops + n);
        room.usage = (struct store_usage *)(room.pairs + room.npairs);
        room.at = (char *)d + head;
        for (size_t i = 0; i < n; i++)
                op_place(&d->ops[i], &ops[i], &room);
        d->write = (struct store_write){ .kind = WRITE_OPS,
                                         .ops = d->ops,
                                         .n = n,
                                         .bytes = ops_bytes(ops, n),
                                         .complete = detached_complete };
        d->done = done;
        d->ctx = ctx;
        rc = s->backend->submit(s, &d->write);
        if (rc)
                mem_free(d);
        return rc;
}
