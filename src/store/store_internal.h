/* What a backend of the store offers. store.c checks the calls of the outside, so that a backend sees only
 * well-formed ones, and makes the blocking and the copying forms of a write out of `submit`. */
#ifndef CAIRN_STORE_STORE_INTERNAL_H
#define CAIRN_STORE_STORE_INTERNAL_H

#include "store/store.h"

enum write_kind {
        WRITE_OPS,     /* do ops[0..n) */
        WRITE_NOTHING, /* an empty transaction, to see that there can be one */
        WRITE_SWEEP,   /* remove some expired rows and their descendants; `affected` counts all of them */
};

/* One write in the hands of a backend, from submit() to complete(). The submitter owns the memory; the
 * backend may use `next`, and fills rc, affected and fault before complete(). */
struct store_write {
        enum write_kind kind;
        const struct store_op *ops;
        size_t n;
        size_t bytes;                            /* of the operations' documents */
        void (*complete)(struct store_write *w); /* the backend forgets w before this call */
        struct store_write *next;
        int rc;
        size_t affected;
        struct store_fault fault;
};

#define SWEEP_BATCH 500 /* expired rows that one WRITE_SWEEP removes at most, beside their descendants */

struct store_backend {
        const char *name;

        /* objects */
        int (*get)(struct store *s, const char *kind, const char *id, const char *project, struct object *ret,
                   struct store_fault *fault);
        int (*list)(struct store *s, const struct store_query *q, struct store_page *ret,
                    struct store_fault *fault);
        int (*submit)(struct store *s, struct store_write *w); /* 0: w->complete will be called; -EAGAIN */

        /* the whole */
        void (*stats)(struct store *s, struct store_stats *ret);
        void (*close)(struct store *s);
};

/* The first member of every backend's own structure. */
struct store {
        const struct store_backend *backend;
};

int sqlite_store_open(const char *dir, const struct store_options *options, struct store **ret,
                      struct store_fault *fault);

/* Fills the message, and returns rc, so that a failure is one statement. fault may be NULL. */
int store_fail(struct store_fault *fault, int rc, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* A row's strings are gathered in one block: build the sources, then object_fill() copies them. NULL on
 * memory exhaustion gives -ENOMEM and a zeroed *ret. */
int object_fill(struct object *ret, const struct object *from);
/* True when a row that expires then counts as absent now. */
bool store_expired(int64_t expires, int64_t now);
#endif
