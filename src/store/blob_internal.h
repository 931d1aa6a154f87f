/* Where finished blobs are kept: what a backend does for blob.c. Not for others.
 *
 * blob.c stages what is written in a local file and seals it; a backend keeps such files whole and reads
 * them back. It neither knows what is in them nor verifies it. */
#ifndef CAIRN_STORE_BLOB_INTERNAL_H
#define CAIRN_STORE_BLOB_INTERNAL_H

#include <stdatomic.h>
#include "store/blob.h"

/* Functions return 0 or a negative errno and say why through blob_fail(). Any thread. */
struct blob_place_ops {
        /* Makes the staged file `path` (open as fd) of `size` bytes durable and visible as `id`. Done with
         * the path when it returns 0; else nothing is visible and the path is the caller's to remove. */
        int (*publish)(void *place, const char *id, int fd, const char *path, uint64_t size);
        /* Opens `id` and reads its last bytes, at most *tail_n, into tail; *tail_n becomes how many. */
        int (*open)(void *place, const char *id, void *tail, size_t *tail_n, void **ret_object,
                    uint64_t *ret_size);
        /* Exactly n bytes at `offset`, which lie within the size; less is -EBADMSG. */
        int (*read)(void *object, uint64_t offset, void *p, size_t n);
        void (*close)(void *object);
        int (*remove)(void *place, const char *id);
        int (*list)(void *place, int (*fn)(void *ctx, const char *id, int64_t modified), void *ctx);
        int (*abandon)(void *place, int64_t age_s); /* NULL: staged files are all there is */
        /* The object BLOBS_MARK_NAME, at most n - 1 bytes of it with a NUL; -ENOENT. */
        int (*mark_get)(void *place, char *ret, size_t n);
        int (*mark_put)(void *place, const char *text);
        int (*ping)(void *place);
        void (*free)(void *place);
        int window; /* chunks worth reading at once by who reads on */
};

#define BLOBS_MARK_NAME "INSTALLATION"

/* Make `*ret_place`; err gets a sentence on failure. */
int blob_dir_open(const struct blobs_options *o, void **ret_place, char *err, size_t errn);
extern const struct blob_place_ops blob_dir_ops;
/* Retries are counted in *retries, which outlives the place. */
int blob_s3_open(const struct blobs_options *o, atomic_ullong *retries, void **ret_place, char *err,
                 size_t errn);
extern const struct blob_place_ops blob_s3_ops;

/* Whether id has the form of a blob's id: ids come from outside, and what is none must not become a path. */
bool blob_id_ok(const char *id);
/* "A/B" in memory of mem_alloc, or NULL. */
char *blob_path_join(const char *a, const char *b);
/* "ab/cdef..." of an id, the name of a blob in every backend. out has BLOB_ID_LEN + 2 bytes. */
char *blob_name(char *out, const char *id);
/* The id that such a name stands for, or false. out has BLOB_ID_LEN + 1 bytes. */
bool blob_name_id(const char *name, char *out);

/* Which blobs may not be removed now, and which of them are to be removed then. Any thread. */
struct blob_holds;
struct blob_holds *blob_holds_new(void);                  /* NULL when memory is out */
void blob_holds_free(struct blob_holds *h);               /* accepts NULL */
int blob_holds_add(struct blob_holds *h, const char *id); /* 0 or -ENOMEM */
void blob_holds_drop(struct blob_holds *h, const char *id);
/* Whether the blob is held: then it is due when it is not any more. */
bool blob_holds_doom(struct blob_holds *h, const char *id);
/* Takes one that is due: its id, or false. ret has BLOB_ID_LEN + 1 bytes. */
bool blob_holds_due(struct blob_holds *h, char *ret);

/* Keeps the sentence for blob_fault() and gives rc back. */
int blob_fail(int rc, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#endif
