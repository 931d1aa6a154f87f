/* Files: what clients upload and what jobs produce.
 *
 * A file is a row of kind "file" and the blobs whose contents, one after another, are its bytes (an upload's
 * parts become a file without being copied). Its document is {"object": the File that clients see, "blobs":
 * [{id, sha256, size}], "type": media type}; the first filter column is the purpose. Blobs are committed
 * before the row that names them and removed after it: what a crash leaves between the two is an orphan,
 * which files_collect() removes.
 *
 * Functions return 0 or a negative errno: -ENOENT for an unknown, foreign or expired file, -EBADMSG for
 * damaged contents, else what the store and the blobs return. `err` gets a sentence when it is not NULL. Any
 * thread; a struct file by one thread at a time. */
#ifndef CAIRN_JOBS_FILES_H
#define CAIRN_JOBS_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/ids.h"
#include "base/json.h"
#include "store/blob.h"
#include "store/store.h"

#define FILE_KIND "file" /* store kinds */
#define UPLOAD_KIND "upload"
#define UPLOAD_PART_KIND "upload.part" /* its document has "blobs" too */
#define FILE_BATCH_EXPIRES_S                                                           \
        ((int64_t)30 * 86400) /* of purpose "batch", unless its creator says otherwise \
                               */

/* ---- reading ---- */

struct file;

/* Opens a file of a project. Its bytes stay readable when this process deletes it meanwhile: they are held,
 * and blobs_sweep() removes them later. Another process knows nothing of that: reads may then fail. */
int file_open(struct store *s, struct blobs *b, const char *project, const char *id, struct file **ret,
              char *err, size_t errn);
void file_close(struct file *f); /* accepts NULL */

const json_t *file_object(const struct file *f); /* the File that clients see; lives as long as f */
const char *file_type(const struct file *f);     /* media type; "" when its creator gave none */
uint64_t file_size(const struct file *f);
/* Reads up to n bytes at `offset` into p, every one of them verified. Short only at the end, where *ret_n is
 * 0. Reading on where the last read ended costs no seek. -ENOENT: a part of the file is missing, err says
 * which. */
int file_read(struct file *f, uint64_t offset, void *p, size_t n, size_t *ret_n, char *err, size_t errn);

/* ---- writing ---- */

struct file_new {
        const char *id; /* NULL: a new one. A job that names its output before it makes it is found again */
        const char *project, *filename, *purpose;
        const char *type;         /* media type; NULL or "": unknown */
        int64_t created, expires; /* unix seconds; created 0: now; expires 0: never */
};

/* A file that is ready to be committed: `op` is the STORE_PUT of its row, for the caller's transaction. */
struct file_made {
        char id[ID_MAX];
        json_t *object; /* owned */
        struct store_op op;
        struct buf _doc;
        char _purpose[32], _project[ID_MAX];
};

/* Makes the row of a file whose contents are the n blobs, in this order. The caller releases *ret, after its
 * write; when the write failed the blobs are his to delete. Nothing is written here. */
int file_make(const struct file_new *what, const struct blob_info *blobs, size_t n, struct file_made *ret);
void file_made_release(struct file_made *m); /* harmless on a zeroed one */

/* Removes the blobs that a document names, after its row is gone. One that cannot be removed is an orphan. */
void file_drop_blobs(struct blobs *b, const json_t *doc);

/* ---- upkeep ---- */

#define FILES_ORPHAN_AGE_S 3600

/* Finds the blobs that no row names and that are older than FILES_ORPHAN_AGE_S: what expired rows and crashes
 * have left. Deletes them when `remove`. `report`, if not NULL, gets the id of each. Safe beside a running
 * server. -EBADMSG when a row is damaged: any blob may be that row's, so none is told of or deleted. -EPERM
 * when the blobs are another installation's (jobs/installation.h). */
int files_collect(struct store *s, struct blobs *b, bool remove, void (*report)(void *ctx, const char *blob),
                  void *ctx, size_t *ret_n, char *err, size_t errn);
/* Looks at the rows that name blobs, and at their blobs: damaged rows, missing blobs, and with `contents`
 * damaged blobs. `report` gets a sentence for each finding. 0 however many there are. */
int files_check(struct store *s, struct blobs *b, bool contents,
                void (*report)(void *ctx, const char *finding), void *ctx, char *err, size_t errn);
/* Who is told of each blob that a row names, {id, sha256, size}, and of each damaged row: which blobs that
 * one names is not known, or not of all. A non-zero return ends the walk. */
struct files_visitor {
        int (*blob)(void *ctx, const struct object *row, const json_t *blob);
        int (*damaged)(void *ctx, const struct object *row, const char *why);
        void *ctx;
};
/* Walks through the rows that name blobs: those of files, and of the parts of uploads. 0, what the visitor
 * returned, or what the store did. */
int files_each_blob(struct store *s, const struct files_visitor *v, struct store_fault *fault);
#endif
