/* Uploads: a file in parts that arrive in any order, also at the same time, and become one when the client
 * says which they are. Nothing is copied then: the file is the list of the parts' blobs.
 *
 * The row of an upload changes when it is completed or cancelled. A part is inserted in one transaction with
 * a check that the row is still as it was read, and so is the change itself: of two that complete at once one
 * wins, and no part comes after the end. Parts are counted, with their bytes, in a row of their own that the
 * same transaction changes: so their bounds hold exactly, also for parts that come at the same time. Who
 * repeats the request that ended an upload, because the answer was lost, gets the same answer. */
#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>
#include "api/api.h"
#include "api/faults.h"
#include "api/handlers.h"
#include "api/idempotency.h"
#include "api/meter.h"
#include "api/op_list.h"
#include "api/resources.h"
#include "api/uploading.h"
#include "base/clock.h"
#include "base/map.h"
#include "base/mem.h"
#include "jobs/files.h"

#define UPLOAD_BYTES_MAX ((uint64_t)8 << 30)
#define UPLOAD_LIFE_S 3600        /* to add parts and to complete */
#define UPLOAD_KEPT_S 86400       /* then its state is still told */
#define PARTS_MAX STORE_PAGE_MAX  /* of an upload */
#define KIND_COUNT "upload.count" /* one row of each upload: {"parts", "bytes"} */
#define COUNT_OP 1                /* its place among the operations of a part */
#define PART_ATTEMPTS 256         /* each is lost only to another part of the upload */
#define ID_DIGITS 32
#define MD5_BLOCK ((size_t)256 << 10)
#define MD5_BYTES 16
#define NAME_BYTES 1024 /* of a filename, as in forms */
#define TYPE_BYTES 256
#define DIGEST_HEX (2 * SHA256_DIGEST_LENGTH + 1)

static const struct resource RESOURCE_UPLOAD = { .kind = UPLOAD_KIND,
                                                 .what = "Upload",
                                                 .id_param = "upload_id" };

/* ---- POST /uploads ---- */

/* Purposes that read one kind of content say which media types they take. */
static bool type_fits(const char *purpose, const char *type)
{
        static const struct {
                const char *purpose, *begins;
        } table[] = { { "vision", "image/" },
                      { "batch", "application/json" }, /* application/jsonl too */
                      { "batch", "application/x-ndjson" },
                      { "batch", "application/x-jsonlines" },
                      { "batch", "application/octet-stream" },
                      { "batch", "text/" },
                      { "fine-tune", "application/json" },
                      { "fine-tune", "application/x-ndjson" },
                      { "fine-tune", "application/x-jsonlines" },
                      { "fine-tune", "application/octet-stream" },
                      { "fine-tune", "text/" } };
        bool any = true;
        for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
                if (strcmp(purpose, table[i].purpose) != 0)
                        continue;
                any = false;
                if (!strncmp(type, table[i].begins, strlen(table[i].begins)))
                        return true;
        }
        const char *slash = strchr(type, '/');
        return any && slash && slash > type && slash[1];
}

/* What is stored of a text, and listed, has a bound; and it ends where C ends it. */
static int check_text(const struct req *r, const char *param, size_t max, struct api_err *reterr)
{
        struct str text = json_str(r->body, param);
        if (!text.n)
                return err_invalid(reterr, "invalid_value", param, "Invalid '%s': it is empty.", param);
        if (text.n > max)
                return err_invalid(
                        reterr, "string_above_max_length", param,
                        "Invalid '%s': string too long. Expected a string with at most %zu bytes, but got "
                        "%zu bytes instead.",
                        param, max, text.n);
        if (memchr(text.p, '\0', text.n))
                return err_invalid(reterr, "invalid_value", param,
                                   "Invalid '%s': it has the character U+0000.", param);
        return 0;
}

static int check_create(const struct req *r, struct api_err *reterr)
{
        int64_t bytes = json_int(r->body, "bytes", 0);
        const char *purpose = json_cstr(r->body, "purpose", ""), *type = json_cstr(r->body, "mime_type", "");
        if (bytes < 1)
                return err_invalid(
                        reterr, "integer_below_min_value", "bytes",
                        "Invalid 'bytes': integer below minimum value. Expected a value >= 1, but got "
                        "%lld instead.",
                        (long long)bytes);
        if ((uint64_t)bytes > UPLOAD_BYTES_MAX)
                return err_invalid(
                        reterr, "integer_above_max_value", "bytes",
                        "Invalid 'bytes': integer above maximum value. Expected a value <= %llu, but "
                        "got %lld instead.",
                        (unsigned long long)UPLOAD_BYTES_MAX, (long long)bytes);
        if (check_text(r, "filename", NAME_BYTES, reterr) || check_text(r, "mime_type", TYPE_BYTES, reterr))
                return -1;
        if (!type_fits(purpose, type))
                return err_invalid(reterr, "invalid_value", "mime_type",
                                   "Invalid 'mime_type': '%.100s' is no type of files for purpose '%s'.",
                                   type, purpose);
        return 0;
}

/* The document of a new upload, of the request's arena. */
static json_t *new_upload(struct req *r, const char *id, int64_t created)
{
        const json_t *b = r->body;
        json_t *doc = json_pack("{s:{s:s, s:s, s:I, s:I, s:I, s:O, s:O, s:s, s:n}, s:O, s:O*}", "object",
                                "id", id, "object", "upload", "bytes", (json_int_t)json_int(b, "bytes", 0),
                                "created_at", (json_int_t)created, "expires_at",
                                (json_int_t)created + fault_number(r, "life", UPLOAD_LIFE_S), "filename",
                                json_object_get(b, "filename"), "purpose", json_object_get(b, "purpose"),
                                "status", "pending", "file", "type", json_object_get(b, "mime_type"),
                                "expires_after", json_get(b, "expires_after"));
        return json_keep(r->arena, doc);
}

/* req_commit() of one operation with a document. */
static int commit_doc(struct req *r, const struct store_op *op, const struct store_op *more, size_t n_more,
                      const json_t *doc, const json_t *reply, struct store_fault *fault)
{
        struct op_list list;
        op_list_init(&list);
        op_list_add_doc(&list, op, doc);
        op_list_add(&list, more, n_more);
        int rc = mem_take_failure() ? -ENOMEM : list.err;
        if (!rc)
                rc = req_commit(r, list.ops.p, list.ops.n, reply, fault);
        op_list_release(&list);
        return rc;
}

int upload_create(struct req *r, struct reply *ret, struct api_err *reterr)
{
        char id[ID_MAX];
        int64_t now = clock_unix();
        struct store_fault fault = { 0 };
        if (check_create(r, reterr))
                return -1;
        json_t *doc = new_upload(r, id_hex(id, "upload_", ID_DIGITS), now);
        json_t *object = json_object_get(doc, "object");
        struct store_op op = { .verb = STORE_PUT,
                               .kind = UPLOAD_KIND,
                               .id = id,
                               .project = req_project(r),
                               .created = now,
                               .expires = now + UPLOAD_KEPT_S };
        int rc = commit_doc(r, &op, NULL, 0, doc, object, &fault);
        if (rc)
                return err_store(reterr, rc, &fault);
        ret->json = json_incref(object);
        return 0;
}

/* ---- the state ---- */

/* Loads the upload that the path names, with its document in the request's arena. 400 unless it is pending.
 */
static int load_pending(struct req *r, json_t **ret_doc, int64_t *ret_version, struct api_err *reterr)
{
        const char *id = req_param(r, RESOURCE_UPLOAD.id_param);
        if (resource_load(r, &RESOURCE_UPLOAD, id, ret_doc, ret_version, reterr))
                return -1;
        if (!json_keep(r->arena, *ret_doc))
                return err_internal(reterr, -ENOMEM, "upload", "");
        json_t *object = json_object_get(*ret_doc, "object");
        const char *status = json_cstr(object, "status", "");
        if (!strcmp(status, "pending") && json_int(object, "expires_at", 0) <= clock_unix())
                status = "expired";
        if (strcmp(status, "pending") != 0)
                return err_invalid(reterr, "invalid_upload_status", NULL, "Upload '%s' is %s, not pending.",
                                   id, status);
        return 0;
}

/* What a failed change of an upload means: -ESTALE says that it was completed or cancelled meanwhile. */
static int change_failed(struct req *r, int rc, const struct store_fault *fault, struct api_err *reterr)
{
        json_t *doc;
        int64_t version;
        if (rc != -ESTALE && rc != -ENOENT)
                return err_store(reterr, rc, fault);
        if (load_pending(r, &doc, &version, reterr))
                return -1;
        return err_overloaded(reterr); /* pending again: nobody does that */
}

/* Whether the request repeats the one that ended the upload in this way: then *ret is the answer once more.
 */
static bool repeats(struct req *r, const char *status, const char *completion, struct reply *ret)
{
        struct api_err e;
        json_t *doc;
        int64_t version;
        if (resource_load(r, &RESOURCE_UPLOAD, req_param(r, RESOURCE_UPLOAD.id_param), &doc, &version, &e) ||
            !json_keep(r->arena, doc))
                return false;
        json_t *object = json_object_get(doc, "object");
        if (strcmp(json_cstr(object, "status", ""), status) != 0 ||
            strcmp(json_cstr(doc, "completion", ""), completion) != 0)
                return false;
        ret->json = json_incref(object);
        return true;
}

/* ---- POST /uploads/{upload_id}/parts ---- */

static json_t *new_part(struct req *r, const char *id, const char *upload, int64_t now,
                        const struct blob_info *blob)
{
        return json_keep(r->arena, json_pack("{s:{s:s, s:s, s:I, s:s}, s:[{s:s, s:s, s:I}]}", "object", "id",
                                             id, "object", "upload.part", "created_at", (json_int_t)now,
                                             "upload_id", upload, "blobs", "id", blob->id, "sha256",
                                             blob->sha256, "size", (json_int_t)blob->size));
}

/* What the parts of an upload may have together: room to send each again whose reply was lost. */
static uint64_t parts_bytes_max(const json_t *object)
{
        return 2 * (uint64_t)json_int(object, "bytes", 0) + UPLOAD_PART_MAX;
}

/* Whether one more part of n bytes is in bounds; 400 when it is not. */
static int check_bounds(const struct req *r, const json_t *object, int64_t parts, uint64_t bytes, uint64_t n,
                        struct api_err *reterr)
{
        uint64_t most = parts_bytes_max(object);
        int64_t most_parts = fault_number(r, "parts", PARTS_MAX);
        if (parts >= most_parts)
                return err_invalid(reterr, "limit_exceeded", "data",
                                   "An upload may have %lld parts, and this one has as many.",
                                   (long long)most_parts);
        if (n > most || bytes > most - n)
                return err_invalid(reterr, "limit_exceeded", "data",
                                   "The parts of this upload may have %llu bytes together: twice its bytes, "
                                   "and %llu. With this part they would have %llu.",
                                   (unsigned long long)most, (unsigned long long)UPLOAD_PART_MAX,
                                   (unsigned long long)bytes + n);
        return 0;
}

/* Counts a part of n bytes. *ret becomes the operation that its transaction begins with: it changes the row
 * in the version that was read, so that of two parts which read the same one fails. 0, a negative errno of
 * the store, or 1 with *e when the part is out of bounds. The document is of the request's arena. */
static int count_part(struct req *r, const struct store_op *put, const json_t *object, uint64_t n,
                      struct store_op *ret, struct store_fault *fault, struct api_err *e)
{
        struct object row;
        struct json_fault why;
        int rc = store_get(r->api->store, KIND_COUNT, put->parent, put->project, &row, fault);
        if (rc && rc != -ENOENT)
                return rc;
        *ret = (struct store_op){ .verb = rc ? STORE_PUT : STORE_UPDATE,
                                  .kind = KIND_COUNT,
                                  .id = put->parent,
                                  .project = put->project,
                                  .parent = put->parent,
                                  .expires = put->expires,
                                  .set = STORE_SET_DOC,
                                  .if_version = row.version };
        json_t *doc = rc ? NULL : json_parse(row.doc, STORE_DOC_DEPTH, &why);
        bool lost = !rc && !doc;
        int64_t parts = json_int(doc, "parts", 0);
        uint64_t bytes = (uint64_t)json_int(doc, "bytes", 0);
        json_decref(doc);
        object_release(&row);
        if (lost)
                return why.no_memory ? -ENOMEM : -EIO;
        if (check_bounds(r, object, parts, bytes, n, e))
                return 1;
        ret->doc.p =
                arena_printf(r->arena, "{\"parts\":%" PRId64 ",\"bytes\":%" PRIu64 "}", parts + 1, bytes + n);
        ret->doc.n = ret->doc.p ? strlen(ret->doc.p) : 0;
        return ret->doc.p ? 0 : -ENOMEM;
}

/* One attempt to commit a part with its reply: 0, a negative errno of the store, 1 with *e when it is out of
 * bounds, or -EAGAIN when another part was counted meanwhile. */
static int put_part(struct req *r, const struct store_op *put, const struct store_op *check,
                    const json_t *upload, const json_t *doc, uint64_t n, struct store_fault *fault,
                    struct api_err *e)
{
        struct store_op more[2] = { [1] = *check };
        int rc = count_part(r, put, upload, n, &more[0], fault, e);
        if (rc)
                return rc;
        rc = commit_doc(r, put, more, 2, doc, json_object_get(doc, "object"), fault);
        return fault->op == COUNT_OP && (rc == -ESTALE || rc == -EEXIST) ? -EAGAIN : rc;
}

/* Commits a new part of n bytes. */
static int put_part_counted(struct req *r, const struct store_op *put, const struct store_op *check,
                            const json_t *upload, const json_t *doc, const struct blob_info *blob,
                            struct api_err *reterr)
{
        struct store_fault fault = { 0 };
        int rc = -EAGAIN;
        for (int i = 0; i < PART_ATTEMPTS && rc == -EAGAIN; i++)
                rc = put_part(r, put, check, upload, doc, blob->size, &fault, reterr);
        if (rc && rc != -EIO) /* then the part may be there even so: files_collect() knows */
                blob_delete(r->api->blobs, blob->id);
        if (rc > 0)
                return -1;
        return rc == -EAGAIN ? err_overloaded(reterr) : rc ? change_failed(r, rc, &fault, reterr) : 0;
}

int upload_add_part(struct req *r, struct reply *ret, struct api_err *reterr)
{
        const char *upload = req_param(r, RESOURCE_UPLOAD.id_param);
        struct blob_info blob;
        char id[ID_MAX];
        json_t *doc;
        int64_t version;
        if (load_pending(r, &doc, &version, reterr))
                return -1;
        json_t *object = json_object_get(doc, "object");
        int64_t now = clock_unix();
        if (json_int(json_get(r->body, "data"), "bytes", 0) > json_int(object, "bytes", 0))
                return err_invalid(reterr, "invalid_value", "data",
                                   "The part is longer than the upload's %lld bytes.",
                                   (long long)json_int(object, "bytes", 0));
        if (uploading_commit(r, "data", &blob, reterr))
                return -1;
        json_t *part = new_part(r, id_hex(id, "part_", ID_DIGITS), upload, now, &blob);
        struct store_op put = { .verb = STORE_PUT,
                                .kind = UPLOAD_PART_KIND,
                                .id = id,
                                .project = req_project(r),
                                .parent = upload,
                                .created = now,
                                .expires = json_int(object, "expires_at", 0) };
        struct store_op check = { .verb = STORE_CHECK,
                                  .kind = UPLOAD_KIND,
                                  .id = upload,
                                  .project = req_project(r),
                                  .if_version = version };
        if (put_part_counted(r, &put, &check, object, part, &blob, reterr))
                return -1;
        ret->json = json_incref(json_object_get(part, "object"));
        return 0;
}

/* ---- the parts ---- */

struct part {
        struct blob_info blob;
        bool chosen;
};

/* All parts of an upload by their ids: there are no more than a page has. */
struct parts {
        struct part *p;
        size_t n;
        struct store_page rows;
        struct map by_id; /* to struct part */
};

static void parts_release(struct parts *p)
{
        map_release(&p->by_id, NULL);
        store_page_release(&p->rows);
        mem_free(p->p);
}

static int take_part(struct parts *p, size_t i)
{
        struct json_fault why;
        json_t *doc = json_parse(p->rows.items[i].doc, STORE_DOC_DEPTH, &why);
        const json_t *blob = json_array_get(json_get(doc, "blobs"), 0);
        struct blob_info *info = &p->p[i].blob;
        snprintf(info->id, sizeof(info->id), "%s", json_cstr(blob, "id", ""));
        snprintf(info->sha256, sizeof(info->sha256), "%s", json_cstr(blob, "sha256", ""));
        info->size = (uint64_t)json_int(blob, "size", 0);
        json_decref(doc);
        if (!doc)
                return -EIO;
        return map_put(&p->by_id, str_c(p->rows.items[i].id), &p->p[i], NULL);
}

static int parts_load(struct req *r, struct parts *p, struct api_err *reterr)
{
        struct store_fault fault = { 0 };
        struct store_query q = { .kind = UPLOAD_PART_KIND,
                                 .project = req_project(r),
                                 .parent = req_param(r, RESOURCE_UPLOAD.id_param),
                                 .limit = PARTS_MAX };
        *p = (struct parts){ 0 };
        map_init(&p->by_id);
        int rc = store_list(r->api->store, &q, &p->rows, &fault);
        if (!rc && !(p->p = mem_calloc(p->rows.n + 1, sizeof(*p->p))))
                rc = -ENOMEM;
        p->n = rc ? 0 : p->rows.n;
        for (size_t i = 0; i < p->n && !rc; i++)
                rc = take_part(p, i);
        if (!rc)
                return 0;
        parts_release(p);
        return err_store(reterr, rc, &fault);
}

/* Removes what the rows named, after they are gone; `spare`: but for the chosen ones. */
static void parts_drop(struct req *r, const struct parts *p, bool spare)
{
        for (size_t i = 0; i < p->n; i++)
                if (!spare || !p->p[i].chosen)
                        blob_delete(r->api->blobs, p->p[i].blob.id);
}

static void parts_ops(struct req *r, const struct parts *p, struct op_list *list)
{
        for (size_t i = 0; i < p->n; i++) {
                struct store_op op = { .verb = STORE_DELETE,
                                       .kind = UPLOAD_PART_KIND,
                                       .id = p->rows.items[i].id,
                                       .project = req_project(r) };
                op_list_add(list, &op, 1);
        }
}

/* ---- POST /uploads/{upload_id}/complete ---- */

/* The blobs of the ids that the body lists, in its order: n of them in *ret, of the request's arena. */
static int choose(struct req *r, struct parts *p, struct blob_info **ret, size_t *ret_n,
                  struct api_err *reterr)
{
        const json_t *ids = json_get(r->body, "part_ids"), *id;
        size_t i;
        *ret_n = json_array_size(ids);
        if (*ret_n > PARTS_MAX)
                return err_invalid(reterr, "array_above_max_length", "part_ids",
                                   "An upload has at most %d parts.", PARTS_MAX);
        if (!*ret_n)
                return err_invalid(reterr, "empty_array", "part_ids",
                                   "Invalid 'part_ids': empty array. Expected an "
                                   "array with minimum length 1.");
        *ret = arena_array(r->arena, struct blob_info, *ret_n);
        if (!*ret)
                return err_internal(reterr, -ENOMEM, "upload", "");
        json_array_foreach((json_t *)ids, i, id)
        {
                char param[SCHEMA_PARAM_MAX];
                struct part *part = map_get(&p->by_id, json_as_str(id));
                snprintf(param, sizeof(param), "part_ids[%zu]", i);
                if (!part)
                        return err_invalid(reterr, "invalid_value", param,
                                           "No part '%.200s' belongs to this upload.", json_string_value(id));
                if (part->chosen)
                        return err_invalid(reterr, "invalid_value", param, "Part '%.200s' is listed twice.",
                                           json_string_value(id));
                part->chosen = true;
                (*ret)[i] = part->blob;
        }
        return 0;
}

static int md5_blob(struct blobs *blobs, const char *id, EVP_MD_CTX *md, char *block)
{
        struct blob_reader *reader;
        size_t n = 1;
        int rc = blob_open(blobs, id, &reader);
        for (uint64_t at = 0; !rc && n; at += n) {
                rc = blob_read(reader, at, block, MD5_BLOCK, &n);
                if (!rc && !EVP_DigestUpdate(md, block, n))
                        rc = -ENOMEM;
        }
        blob_reader_free(reader);
        return rc;
}

/* MD5 of all content as hex and as base64 (24 characters). */
static int md5_all(struct req *r, const struct blob_info *blobs, size_t n, char hex[33], char base64[25])
{
        unsigned char digest[MD5_BYTES];
        EVP_MD_CTX *md = EVP_MD_CTX_new();
        char *block = mem_alloc(MD5_BLOCK);
        int rc = md && block && EVP_DigestInit_ex(md, EVP_md5(), NULL) ? 0 : -ENOMEM;
        for (size_t i = 0; i < n && !rc; i++)
                rc = md5_blob(r->api->blobs, blobs[i].id, md, block);
        if (!rc && !EVP_DigestFinal_ex(md, digest, NULL))
                rc = -ENOMEM;
        if (!rc) {
                str_hex(digest, MD5_BYTES, hex);
                EVP_EncodeBlock((unsigned char *)base64, digest, MD5_BYTES);
        }
        EVP_MD_CTX_free(md);
        mem_free(block);
        return rc;
}

/* The size must be what was announced, and the digest what the client says. */
static int check_content(struct req *r, const json_t *object, const struct blob_info *blobs, size_t n,
                         struct api_err *reterr)
{
        uint64_t bytes = 0;
        char hex[33], base64[25];
        struct str md5 = json_str(r->body, "md5");
        for (size_t i = 0; i < n; i++)
                bytes += blobs[i].size;
        if ((int64_t)bytes != json_int(object, "bytes", 0))
                return err_invalid(
                        reterr, "invalid_value", "part_ids",
                        "The parts have %llu bytes together, but the upload was created with bytes = %lld.",
                        (unsigned long long)bytes, (long long)json_int(object, "bytes", 0));
        if (!md5.n)
                return 0;
        int rc = md5_all(r, blobs, n, hex, base64);
        if (rc)
                return err_internal(reterr, rc, "upload", blob_fault());
        if (str_ieqc(md5, hex) || str_eqc(md5, base64))
                return 0;
        return err_invalid(reterr, "invalid_value", "md5", "The parts' MD5 is %s, not '%.64s'.", hex,
                           json_cstr(r->body, "md5", ""));
}

/* The operation that makes a document the one of the request's upload, in the version that was loaded. */
static struct store_op end_op(const struct req *r, int64_t version)
{
        return (struct store_op){ .verb = STORE_UPDATE,
                                  .kind = UPLOAD_KIND,
                                  .id = req_param(r, RESOURCE_UPLOAD.id_param),
                                  .project = req_project(r),
                                  .set = STORE_SET_DOC,
                                  .if_version = version };
}

/* What tells the completions of an upload apart: the digest of the parts in their order and of the MD5. */
static int completion_digest(const struct req *r, char ret[DIGEST_HEX])
{
        unsigned char digest[SHA256_DIGEST_LENGTH];
        struct str md5 = json_str(r->body, "md5");
        EVP_MD_CTX *md = EVP_MD_CTX_new();
        const json_t *id;
        size_t i;
        bool ok = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL);
        json_array_foreach((json_t *)json_get(r->body, "part_ids"), i, id)
        {
                struct str text = json_as_str(id);
                ok = ok && EVP_DigestUpdate(md, &text.n, sizeof(text.n)) &&
                     EVP_DigestUpdate(md, text.p, text.n);
        }
        ok = ok && EVP_DigestUpdate(md, md5.p, md5.n) && EVP_DigestFinal_ex(md, digest, NULL);
        EVP_MD_CTX_free(md);
        if (ok)
                str_hex(digest, sizeof(digest), ret);
        return ok ? 0 : -ENOMEM;
}

/* Turns the upload into a file: one transaction. Parts that were not chosen go. */
static int complete(struct req *r, json_t *doc, int64_t version, const struct parts *parts,
                    const struct blob_info *blobs, size_t n, struct api_err *reterr)
{
        json_t *object = json_object_get(doc, "object");
        const char *purpose = json_cstr(object, "purpose", "");
        struct store_fault fault = { 0 };
        struct file_made file;
        struct op_list list;
        struct file_new what = { .project = req_project(r),
                                 .filename = json_cstr(object, "filename", ""),
                                 .purpose = purpose,
                                 .type = json_cstr(doc, "type", ""),
                                 .created = clock_unix() };
        what.expires = uploading_expires(json_get(doc, "expires_after"), purpose, what.created);
        int rc = file_make(&what, blobs, n, &file);
        if (rc)
                return err_internal(reterr, rc, "upload", "");
        json_object_set(object, "file", file.object);
        json_object_set_new(object, "status", json_string("completed"));
        struct store_op update = end_op(r, version);
        op_list_init(&list);
        op_list_add_doc(&list, &update, doc);
        op_list_add(&list, &file.op, 1);
        parts_ops(r, parts, &list);
        rc = mem_take_failure() ? -ENOMEM : list.err;
        meter_stored(r, file.object);
        if (!rc)
                rc = req_commit(r, list.ops.p, list.ops.n, object, &fault);
        op_list_release(&list);
        file_made_release(&file);
        return rc ? change_failed(r, rc, &fault, reterr) : 0;
}

static int complete_pending(struct req *r, const char *completion, struct reply *ret, struct api_err *reterr)
{
        struct blob_info *blobs = NULL;
        struct parts parts;
        json_t *doc;
        int64_t version;
        size_t n;
        if (load_pending(r, &doc, &version, reterr) || parts_load(r, &parts, reterr))
                return -1;
        json_t *object = json_object_get(doc, "object");
        int rc = choose(r, &parts, &blobs, &n, reterr);
        if (!rc)
                rc = check_content(r, object, blobs, n, reterr);
        if (!rc)
                json_object_set_new(doc, "completion", json_string(completion));
        if (!rc)
                rc = complete(r, doc, version, &parts, blobs, n, reterr);
        if (!rc) {
                parts_drop(r, &parts, true);
                ret->json = json_incref(object);
        }
        parts_release(&parts);
        return rc;
}

int upload_complete(struct req *r, struct reply *ret, struct api_err *reterr)
{
        char completion[DIGEST_HEX];
        int rc = completion_digest(r, completion);
        if (rc)
                return err_internal(reterr, rc, "upload", "");
        if (!complete_pending(r, completion, ret, reterr))
                return 0;
        return reterr->status == 400 && repeats(r, "completed", completion, ret) ? 0 : -1;
}

/* ---- POST /uploads/{upload_id}/cancel ---- */

static int cancel_pending(struct req *r, struct reply *ret, struct api_err *reterr)
{
        struct store_fault fault = { 0 };
        struct op_list list;
        struct parts parts;
        json_t *doc;
        int64_t version;
        if (load_pending(r, &doc, &version, reterr) || parts_load(r, &parts, reterr))
                return -1;
        json_t *object = json_object_get(doc, "object");
        json_object_set_new(object, "status", json_string("cancelled"));
        struct store_op update = end_op(r, version);
        op_list_init(&list);
        op_list_add_doc(&list, &update, doc);
        parts_ops(r, &parts, &list);
        int rc = mem_take_failure() ? -ENOMEM : list.err;
        if (!rc)
                rc = req_commit(r, list.ops.p, list.ops.n, object, &fault);
        op_list_release(&list);
        if (!rc) {
                parts_drop(r, &parts, false);
                ret->json = json_incref(object);
        }
        parts_release(&parts);
        return rc ? change_failed(r, rc, &fault, reterr) : 0;
}

int upload_cancel(struct req *r, struct reply *ret, struct api_err *reterr)
{
        if (!cancel_pending(r, ret, reterr))
                return 0;
        return reterr->status == 400 && repeats(r, "cancelled", "", ret) ? 0 : -1;
}
