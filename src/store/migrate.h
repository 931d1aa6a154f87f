/* Moving a store from a data directory to PostgreSQL: every row as it is, with its id, its time, its place in
 * the order and its version. */
#ifndef CAIRN_STORE_MIGRATE_H
#define CAIRN_STORE_MIGRATE_H

#include <stdbool.h>
#include <stdint.h>
#include "store/store.h"

struct store_migration {
        const char *from; /* a data directory that no server serves */
        const char *to;   /* "postgres://...", an empty database, or one that `resume` goes on with */
        bool resume;
        /* Now and then: `done` of `total` rows of `what` ("objects") are there. May be NULL. */
        void (*progress)(void *ctx, const char *what, int64_t done, int64_t total);
        void *ctx;
};

/* Copies the store, then reads both sides once more and compares them. The source is not changed. What was
 * copied stays when it fails or is interrupted; until it is complete no server opens the target. 0, or -EBUSY
 * a server serves the source          -ENOTEMPTY the target holds something, and `resume` is not set -EBADMSG
 * the two sides differ at the end   and what store_open() gives. */
int store_migrate(const struct store_migration *m, struct store_fault *fault);
#endif
