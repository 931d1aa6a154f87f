/* The suite that every place for blobs passes. */
#ifndef CAIRN_STORE_CONFORMANCE_BLOB_H
#define CAIRN_STORE_CONFORMANCE_BLOB_H

#include "store/blob.h"

/* What a backend's test provides. */
struct blob_fixture {
        /* Opens an empty place of blobs and keeps it in `blobs`; 0 or negative. */
        int (*open)(struct blob_fixture *f);
        void (*close)(struct blob_fixture *f);
        /* Opens the same place once more, as another process would. */
        struct blobs *(*again)(struct blob_fixture *f);
        struct blobs *blobs;
        void *own; /* the backend's */
};

/* Runs the suite; the number of failed tests, as cmocka's. */
int blob_conformance(const char *backend, struct blob_fixture *f);

/* Helpers that the backends' own tests share. */
struct blob_info blob_put_text(struct blobs *b, const char *text);
/* `size` bytes of a pattern that `seed` determines; the content is checked by blob_expect_pattern(). */
struct blob_info blob_put_pattern(struct blobs *b, uint64_t size, unsigned seed);
void blob_expect_pattern(struct blobs *b, const char *id, uint64_t size, unsigned seed);
#endif
