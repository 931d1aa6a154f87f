/* Requests to an S3-compatible service through libcurl, signed by it (AWS Signature Version 4): path-style
 * addresses, kept connections, retries with growing pauses. Keys of objects consist of [A-Za-z0-9._/-], which
 * need no escapes. */
#ifndef CAIRN_STORE_S3_CLIENT_H
#define CAIRN_STORE_S3_CLIENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "store/blob.h"

struct s3_client;

/* `url`, `endpoint`, `region` and the keys of the options; -EINVAL with a sentence in err when one of them is
 * missing or malformed. Requests that were made again are counted in *retries. */
int s3_client_new(const struct blobs_options *o, atomic_ullong *retries, struct s3_client **ret, char *err,
                  size_t errn);
void s3_client_free(struct s3_client *c); /* accepts NULL; no request may be running */
/* "" or "a/b/": what the keys of this store begin with. */
const char *s3_client_prefix(const struct s3_client *c);

struct s3_request {
        const char *method; /* GET, HEAD, PUT, POST, DELETE */
        const char *name;   /* of the object, below the prefix; NULL: the bucket itself */
        const char *query;  /* "a=1&b=2" in the order of the names, values escaped; NULL: none */
        const char *range;  /* "0-99" or "-100"; NULL: all */
        const void *body;   /* of PUT and POST */
        size_t body_n;
        void *into; /* a GET's content goes here: at most into_max bytes, more is an error */
        size_t into_max;
        struct buf *text; /* or here */
        bool brief;       /* one attempt, of a few seconds: to see whether the service answers */
        bool late_error;  /* an answer of 2xx may be an <Error> all the same: `text` is looked at */
        /* Answers. */
        long status;
        bool stalled; /* nothing was heard for too long */
        size_t into_n;
        uint64_t total; /* of Content-Range, or Content-Length without one */
        char etag[128]; /* with its quotes */
        char code[64];  /* of an error: S3's word for it, "NoSuchUpload" */
};

/* Makes the request, again while it fails in a way that may pass. A service that said nothing for too long is
 * first asked whether it answers, by one request at a time; meanwhile, and for some seconds after it did not,
 * others fail at once. 0 after a status of 2xx; else with
 * blob_fail(): -ENOENT (404, a late NoSuchUpload), -EACCES (401, 403), -EAGAIN (no answer, 429, 5xx, a late
 * error), -ENOSPC (507), -EIO. Any thread. */
int s3_perform(struct s3_client *c, struct s3_request *q);
/* A value for `query`: escaped, in memory of mem_alloc. NULL when memory is out. */
char *s3_escape(const char *value);
/* The text of the next element `name` of an XML text from *at on, entities resolved and cut to n, and moves
 * *at behind it. Elements are found wherever they are. False: there is none. */
bool s3_xml_next(const char *name, const char **at, const char *end, char *ret, size_t n);
#endif
