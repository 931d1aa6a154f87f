/* Bytes too large for a row: uploaded files, results, media. A blob is written once, becomes visible whole
 * at its commit and never changes. The directory backend keeps it as DATA/blobs/ab/cdef...; what is being
 * written lies in DATA/tmp and is removed at the next start when its writer died.
 *
 * Functions return 0 or a negative errno (-ENOENT, -ENOSPC, -EROFS, -EFBIG, -EIO, ...). `struct blobs` may
 * be used by any thread; a writer or a reader by one thread at a time. */
#ifndef CAIRN_STORE_BLOB_H
#define CAIRN_STORE_BLOB_H

#include <stddef.h>
#include <stdint.h>

struct blobs;
struct blob_writer;
struct blob_reader;

#define BLOB_ID_LEN 32 /* lower-case hex digits, chosen at random */

struct blob_info {
        char id[BLOB_ID_LEN + 1];
        char sha256[65]; /* lower-case hex of the content's digest */
        uint64_t size;
};

/* Opens DATA/blobs and DATA/tmp below data_dir, making what is missing. err gets a sentence on failure.
 * With `exclusive` (the server, which holds the data directory's lock) leftovers in tmp are removed. */
int blobs_open(const char *data_dir, int exclusive, struct blobs **ret, char *err, size_t errn);
void blobs_close(struct blobs *b); /* writers and readers must be gone; accepts NULL */

/* Begins a blob of at most max_bytes. */
int blob_create(struct blobs *b, uint64_t max_bytes, struct blob_writer **ret);
/* Appends; after a failure only blob_abort() is left. -EFBIG beyond max_bytes. */
int blob_append(struct blob_writer *w, const void *p, size_t n);
uint64_t blob_written(const struct blob_writer *w);
/* Makes the blob durable and visible under ret->id. Frees w, also on failure (the blob is then gone). */
int blob_commit(struct blob_writer *w, struct blob_info *ret);
void blob_abort(struct blob_writer *w); /* removes what was written, frees; accepts NULL */

/* Opens for reading; -ENOENT when id is unknown or is no blob id at all. A blob that is deleted meanwhile
 * stays readable through its open readers. */
int blob_open(struct blobs *b, const char *id, struct blob_reader **ret);
uint64_t blob_size(const struct blob_reader *r);
/* Reads up to n bytes at `offset`; *ret_n is 0 at the end. Short reads happen only at the end. */
int blob_read(struct blob_reader *r, uint64_t offset, void *p, size_t n, size_t *ret_n);
/* A descriptor good for sendfile() and pread(), owned by the reader; -1 when the backend has none. */
int blob_fd(const struct blob_reader *r);
void blob_reader_free(struct blob_reader *r); /* accepts NULL */

/* Removes the blob; -ENOENT when there is none. */
int blob_delete(struct blobs *b, const char *id);
#endif
