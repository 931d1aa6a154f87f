/* The transactional document store: every durable object of the platform is a row here.
 *
 * A row is (kind, id, project, parent, created, seq, expires, filter columns, metadata, doc). The doc is
 * JSON text that the store keeps and gives back without reading it. `kind` is a constant word of the
 * caller ("response", "file"); an id is unique within its kind; `project` is the tenant that owns the row
 * ("" for rows of the whole organization); `parent` is the id of the object it belongs to ("" for none),
 * with which it is deleted. `seq` is given by the database, grows with every insertion and breaks ties
 * between rows of the same second.
 *
 * Promises: a write that returned 0 survives the death of the process and of the machine; the operations
 * of one write happen all or not at all; a failed write changes nothing and harms no other; a row of
 * another project, an expired row and an unknown row are the same -ENOENT.
 *
 * All functions may be called from any thread. They return 0 or a negative errno:
 *   -ENOENT no such row          -EEXIST the id is taken        -ESTALE the row has another version
 *   -ENOSPC the disk is full     -EROFS  it cannot be written   -EIO    it failed or is damaged
 *   -EBUSY  another process keeps the write lock                -EAGAIN too many writes are waiting
 *   -EINVAL a malformed call     -EFBIG  a row over the limit   -ENOMEM memory is out
 * and, where they take a `struct store_fault`, a sentence for people (NULL is accepted). */
#ifndef CAIRN_STORE_STORE_H
#define CAIRN_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/str.h"

struct store;

#define STORE_FILTERS 4      /* filter columns of a row */
#define STORE_PAGE_MAX 10000 /* longest page */
#define STORE_METADATA_MAX 16
#define STORE_ID_MAX 255           /* longest kind, id, project, parent */
#define STORE_DOC_MAX (256u << 20) /* longest doc, bytes */

struct store_fault {
        size_t op; /* index of the operation that failed; 0 when it was the write as a whole */
        char msg[256];
};

/* ---- opening ---- */

struct store_options {
        bool exclusive;    /* the server: at most one per data directory; tools leave it false */
        int readers;       /* connections for reading at most; 0: 8 */
        size_t max_queued; /* waiting writes at most, then -EAGAIN; 0: 65536; and 256 MiB of documents */
};

/* Opens the store in the directory `where` (made, mode 0700, when it is missing) and brings its schema up
 * to date. Fails with -EBUSY when `exclusive` and another process serves it, -ENOTSUP on a network file
 * system or for a backend that is not built in, -EPROTO when a newer program wrote it. `options` may be NULL.
 */
int store_open(const char *where, const struct store_options *options, struct store **ret,
               struct store_fault *fault);
/* Completes the writes that wait, then frees. No other call may run or follow. Accepts NULL. */
void store_close(struct store *s);

/* ---- objects: reading ---- */

/* A row as it was read. The strings lie in one block owned by the row; they end with a NUL. */
struct object {
        const char *kind, *id, *project, *parent;
        int64_t created; /* unix seconds, as the writer gave it */
        int64_t expires; /* unix seconds; 0: never */
        int64_t seq;
        int64_t version;              /* 1 after the insertion, then one more with each update */
        const char *f[STORE_FILTERS]; /* NULL where unset */
        struct str doc;
        void *_mem;
};

void object_release(struct object *o); /* frees and zeroes; harmless on a zeroed row */

/* Reads one row into *ret, which the caller releases. project NULL: whichever owns it (for the
 * platform's own work; never with an id that a client chose). On failure *ret is zeroed. */
int store_get(struct store *s, const char *kind, const char *id, const char *project, struct object *ret,
              struct store_fault *fault);

struct store_pair {
        const char *key, *value;
};

/* What a list asks for; zeroed members ask for nothing. Rows come in the order (created, seq). */
struct store_query {
        const char *kind;
        const char *project;          /* NULL: all (sorts the whole kind: for kinds with few rows) */
        const char *parent;           /* NULL or "": rows without a parent */
        const char *after;            /* the page begins behind this id */
        const char *before;           /* the page ends in front of this id; alone: the page just before it */
        bool descending;              /* newest first */
        int limit;                    /* 1..STORE_PAGE_MAX */
        const char *f[STORE_FILTERS]; /* NULL: any; else the column must equal it */
        const struct store_pair *metadata; /* all pairs must match; needs a project */
        size_t nmetadata;
};

struct store_page {
        struct object *items;
        size_t n;
        bool has_more; /* in the direction of travel: behind the page, or in front of it for `before` */
};

/* One page, consistent in itself. Rows that stay untouched while a client pages are neither repeated nor
 * skipped, whatever is inserted or deleted meanwhile. A cursor that is no row of this very list (unknown,
 * expired, another parent) is -ENOENT. The caller calls store_page_release(). */
int store_list(struct store *s, const struct store_query *q, struct store_page *ret,
               struct store_fault *fault);
void store_page_release(struct store_page *p);

/* ---- objects: writing ---- */

enum store_verb {
        STORE_PUT = 1, /* inserts; -EEXIST when (kind, id) is taken */
        STORE_UPDATE,  /* replaces what `set` names; -ENOENT, -ESTALE */
        STORE_DELETE,  /* removes the row and all that descends from it; -ENOENT, -ESTALE */
        STORE_CHECK,   /* changes nothing; -ENOENT, -ESTALE: guards the other operations of its write */
};

enum store_set {
        STORE_SET_DOC = 1,
        STORE_SET_FILTERS = 2,
        STORE_SET_METADATA = 4,
        STORE_SET_EXPIRES = 8,
};

/* One operation. Everything is borrowed. */
struct store_op {
        enum store_verb verb;
        const char *kind, *id;
        const char *project; /* PUT: the owner, NULL as ""; else: must own the row, NULL: whoever does */
        const char *parent;  /* PUT only; NULL as "" */
        int64_t created;     /* PUT only; 0: now */
        int64_t expires;     /* PUT, or SET_EXPIRES; unix seconds, 0: never */
        const char *f[STORE_FILTERS];
        const struct store_pair *metadata; /* at most STORE_METADATA_MAX pairs, keys distinct */
        size_t nmetadata;
        struct str doc;
        unsigned set;       /* UPDATE: which of the members above replace the row's, STORE_SET_* */
        int64_t if_version; /* not PUT: 0, or the version that the row must have, else -ESTALE */
};

/* Does n operations in order as one transaction and returns when they are on the disk (0), or when none of
 * them is (negative; fault->op tells which failed). Waiting writes of all threads share one commit. */
int store_write(struct store *s, const struct store_op *ops, size_t n, struct store_fault *fault);

/* The same without waiting: copies the operations and returns 0; `done` then runs once, on the store's
 * writer thread, with what store_write would have returned. It must be quick and must not wait for this
 * store; it may start another asynchronous write. A negative return means that `done` will not run. */
typedef void store_done_fn(void *ctx, int rc, const struct store_fault *fault);
int store_write_async(struct store *s, const struct store_op *ops, size_t n, store_done_fn *done, void *ctx);

/* Conveniences for a single operation. */
int store_put(struct store *s, const struct store_op *row, struct store_fault *fault);
int store_delete(struct store *s, const char *kind, const char *id, const char *project,
                 struct store_fault *fault);

/* ---- upkeep ---- */

/* Removes the rows that expired, with all that descends from them, in small transactions between the other
 * writes. *ret_removed (may be NULL) counts all of them. Meant to be called every few minutes. */
int store_sweep(struct store *s, size_t *ret_removed, struct store_fault *fault);

/* 0 when a reading and a writing of nothing both succeed now: for /readyz. */
int store_ping(struct store *s, struct store_fault *fault);

struct store_stats {
        uint64_t writes;  /* answered with 0 */
        uint64_t failed;  /* answered with an error */
        uint64_t commits; /* transactions, so writes / commits is the mean group */
        uint64_t reads;
        size_t queued; /* now waiting */
};
void store_get_stats(struct store *s, struct store_stats *ret);
#endif
