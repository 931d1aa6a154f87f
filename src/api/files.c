/* Files: created from a form, read back byte for byte. List, retrieval and deletion are the row below. */
#include <errno.h>
#include <string.h>
#include "api/api.h"
#include "api/content.h"
#include "api/form.h"
#include "api/handlers.h"
#include "api/idempotency.h"
#include "api/meter.h"
#include "api/resources.h"
#include "api/uploading.h"
#include "base/clock.h"
#include "base/log.h"
#include "jobs/files.h"

#define LIST_DEFAULT 10000

/* The row is gone: now its bytes. */
static void file_gone(struct req *r, const json_t *doc)
{
        file_drop_blobs(r->api->blobs, doc);
}

const struct resource RESOURCE_FILE = { .kind = FILE_KIND,
                                        .what = "File",
                                        .id_param = "file_id",
                                        .list = "listFiles",
                                        .retrieve = "retrieveFile",
                                        .del = "deleteFile",
                                        .deleted_object = "file",
                                        .filter = "purpose",
                                        .page = LIST_DEFAULT,
                                        .flags = RES_BLOBS,
                                        .on_gone = file_gone };

/* ---- shared with uploads ---- */

int uploading_commit(struct req *r, const char *name, struct blob_info *ret, struct api_err *reterr)
{
        struct blob_writer *w = form_take(r, json_get(r->body, name));
        if (!w)
                return err_invalid(reterr, "invalid_type", name,
                                   "Invalid type for '%s': expected a file with a filename, but got a value.",
                                   name);
        if (!blob_written(w)) {
                blob_abort(w);
                return err_invalid(reterr, "empty_file", name, "'%s' is empty: a file has at least one byte.",
                                   name);
        }
        int rc = blob_commit(w, ret);
        return rc ? err_internal(reterr, rc, "upload", blob_fault()) : 0;
}

int64_t uploading_expires(const json_t *expires_after, const char *purpose, int64_t created)
{
        int64_t seconds = json_int(expires_after, "seconds", 0);
        if (!seconds && !strcmp(purpose, "batch"))
                seconds = FILE_BATCH_EXPIRES_S;
        return seconds ? created + seconds : 0;
}

void files_upkeep(struct api *api)
{
        char err[512] = "";
        size_t removed = 0;
        if (files_collect(api->store, api->blobs, true, NULL, NULL, &removed, err, sizeof(err)))
                log_warn("files", "looking for orphans: %s", err);
        else if (removed)
                log_info("files", "removed %zu blobs that no file names", removed);
}

void files_sweep(struct api *api)
{
        blobs_sweep(api->blobs);
}

/* ---- POST /files ---- */

/* Commits the row of the blob; the blob goes when that fails. With -EIO the row may be there even so: then it
 * stays, for files_collect(). */
static int file_commit(struct req *r, const struct blob_info *blob, struct reply *ret, struct api_err *reterr)
{
        const json_t *file = json_get(r->body, "file");
        const char *purpose = json_cstr(r->body, "purpose", ""), *filename = json_cstr(file, "filename", "");
        struct file_new what = { .project = req_project(r),
                                 .filename = *filename ? filename : "file",
                                 .purpose = purpose,
                                 .type = json_cstr(file, "content_type", ""),
                                 .created = clock_unix() };
        struct store_fault fault = { 0 };
        struct file_made made;
        what.expires = uploading_expires(json_get(r->body, "expires_after"), purpose, what.created);
        int rc = file_make(&what, blob, 1, &made);
        if (!rc) {
                meter_stored(r, made.object);
                rc = req_commit(r, &made.op, 1, made.object, &fault);
        }
        if (!rc)
                ret->json = json_incref(made.object);
        file_made_release(&made);
        if (!rc)
                return 0;
        if (rc != -EIO)
                blob_delete(r->api->blobs, blob->id);
        return err_store(reterr, rc, &fault);
}

int file_create(struct req *r, struct reply *ret, struct api_err *reterr)
{
        struct blob_info blob;
        if (uploading_commit(r, "file", &blob, reterr))
                return -1;
        return file_commit(r, &blob, ret, reterr);
}

/* ---- GET /files/{file_id}/content ---- */

int file_content(struct req *r, struct reply *ret, struct api_err *reterr)
{
        const char *id = req_param(r, RESOURCE_FILE.id_param);
        struct file *f;
        char err[256] = "";
        int rc = file_open(r->api->store, r->api->blobs, req_project(r), id, &f, err, sizeof(err));
        if (rc == -ENOENT)
                return err_not_found(reterr, RESOURCE_FILE.what, id);
        if (rc)
                return err_internal(reterr, rc, "file", err);
        if (!strcmp(json_cstr(file_object(f), "purpose", ""), "assistants")) {
                file_close(f);
                return err_invalid(reterr, NULL, NULL,
                                   "Not allowed to download files of purpose: assistants");
        }
        return content_reply(r, f, ret, reterr);
}
