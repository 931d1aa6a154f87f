/* Bytes too large for a row: uploaded files, results, media. A blob is written once, becomes visible whole
 * at its commit and never changes.
 *
 * The directory backend keeps it as DATA/blobs/ab/cdef..., and what is being written in DATA/blobs/tmp:
 * `blobs` may be a file system of its own, also one that several servers see. The S3 backend keeps it as the
 * object PREFIX/ab/cdef... of a bucket, and what is being written in DATA/tmp. What a dead writer left there
 * is removed at the next start, or by age where other servers may write too. Either way digests are stored
 * behind the content, and every byte that blob_read() gives was verified.
 *
 * Functions return 0 or a negative errno: -ENOENT, -ENOSPC, -EROFS, -EFBIG, -EBADMSG (damaged), -EIO, and of
 * S3 also -EAGAIN (it does not answer, or says "later"; retries are over) and -EACCES. `struct blobs` may be
 * used by any thread; a writer or a reader by one thread at a time. */
#ifndef CAIRN_STORE_BLOB_H
#define CAIRN_STORE_BLOB_H

#include <stdbool.h>
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

/* Why the last of these functions that failed on this thread did: a sentence, for logs. */
const char *blob_fault(void);

/* ---- opening ---- */

/* Strings are borrowed until blobs_open() returns; NULL and "" are the same. */
struct blobs_options {
        const char *data_dir; /* tmp, and blobs unless `url` says where else */
        bool exclusive;       /* the server, which holds the directory's lock: leftovers in tmp are removed */
        bool shared;          /* but DATA/blobs/tmp may have writings of other servers */
        const char *url;      /* "s3://BUCKET" or "s3://BUCKET/PREFIX"; empty: the data directory */
        const char *endpoint; /* "http[s]://HOST[:PORT]" of the S3 service; empty: Amazon's for the region */
        const char *region;   /* empty: "us-east-1" */
        const char *key, *secret; /* of S3; empty: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY */
};

/* err gets a sentence on failure. S3 is not asked anything yet: see blobs_ping(). */
int blobs_open(const struct blobs_options *o, struct blobs **ret, char *err, size_t errn);
void blobs_close(struct blobs *b);              /* writers and readers must be gone; accepts NULL */
const char *blobs_where(const struct blobs *b); /* "DATA/blobs" or the URL: for messages */
/* 0 when blobs can be read and written now: for the start and /readyz. */
int blobs_ping(struct blobs *b, char *err, size_t errn);

struct blobs_stats {
        uint64_t written, read; /* bytes of content */
        uint64_t damaged;       /* readings that found damage */
        uint64_t retries;       /* requests to S3 that were made again */
};
void blobs_get_stats(const struct blobs *b, struct blobs_stats *ret);

/* ---- writing ---- */

/* Begins a blob of at most max_bytes. */
int blob_create(struct blobs *b, uint64_t max_bytes, struct blob_writer **ret);
/* Appends; after a failure only blob_abort() is left. -EFBIG beyond max_bytes. Writes a local file: quick
 * enough for an I/O thread. */
int blob_append(struct blob_writer *w, const void *p, size_t n);
uint64_t blob_written(const struct blob_writer *w);
/* The digest of what was appended so far, as in blob_info; ret has 65 bytes. 0 or -ENOMEM. */
int blob_digest(const struct blob_writer *w, char *ret);
/* Makes the blob durable and visible under ret->id; takes as long as the disk or S3 takes. Frees w, also on
 * failure (the blob is then gone). */
int blob_commit(struct blob_writer *w, struct blob_info *ret);
void blob_abort(struct blob_writer *w); /* removes what was written, frees; accepts NULL */

/* ---- reading ---- */

/* Opens for reading; -ENOENT when id is unknown or is no blob id at all. In the directory backend a blob that
 * is deleted meanwhile stays readable through its open readers. */
int blob_open(struct blobs *b, const char *id, struct blob_reader **ret);
uint64_t blob_size(const struct blob_reader *r);
const char *blob_sha256(const struct blob_reader *r); /* as in blob_info */
/* Reads up to n bytes at `offset`; *ret_n is 0 at the end. Short reads happen only at the end. -EBADMSG when
 * the content there is not what was written. */
int blob_read(struct blob_reader *r, uint64_t offset, void *p, size_t n, size_t *ret_n);
void blob_reader_free(struct blob_reader *r); /* accepts NULL */
/* Reads all of a blob: -EBADMSG when any of it is damaged. */
int blob_verify(struct blobs *b, const char *id);

/* Keeps a blob from being removed through `b` until as many releases: for who reads several, one after
 * another. Other processes do not know of it. 0 or -ENOMEM. */
int blob_hold(struct blobs *b, const char *id);
void blob_unhold(struct blobs *b, const char *id); /* never waits: see blobs_sweep() */

/* ---- whose they are ---- */

#define BLOBS_MARK_MAX 64 /* with its NUL */

/* The word that was left beside the blobs, as DATA/blobs/INSTALLATION or PREFIX/INSTALLATION: which
 * installation they belong to. -ENOENT: none was. */
int blobs_mark(struct blobs *b, char ret[BLOBS_MARK_MAX]);
int blobs_set_mark(struct blobs *b, const char *mark); /* in place of the one that was; durable */

/* ---- the whole set ---- */

/* Removes the blob; -ENOENT when there is none. One that is held is left to blobs_sweep(). */
int blob_delete(struct blobs *b, const char *id);
/* Removes what was to be deleted while it was held, and is held no more. Meant for every few seconds; what is
 * not removed when the process ends stays. */
void blobs_sweep(struct blobs *b);
/* Copies a blob under its own id, verifying it, for backups and migrations. One that is there already, whole,
 * is left alone. */
int blob_copy(struct blobs *from, const char *id, struct blobs *to);
/* Calls fn with each committed blob in no order, `modified` in unix seconds; a non-zero return of fn ends it
 * and is returned. Blobs that come and go meanwhile may or may not be seen. */
int blobs_list(struct blobs *b, int (*fn)(void *ctx, const char *id, int64_t modified), void *ctx);
/* Removes unfinished writings that nothing was added to for `age_s` seconds: staged files and S3's multipart
 * uploads. */
int blobs_abandon(struct blobs *b, int64_t age_s);
#endif
