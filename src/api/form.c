#include "api/form.h"

#include <errno.h>
#include <string.h>
#include "api/api.h"
#include "api/params.h"
#include "api/uploading.h"
#include "base/mem.h"
#include "base/vec.h"
#include "store/blob.h"

#define FORM "multipart/form-data"
#define FIELDS_MAX 256
#define FIELDS_BYTES_MAX ((size_t)4 << 20) /* of all plain values together */
#define FILES_MAX 32
#define SLACK (FIELDS_BYTES_MAX + ((size_t)1 << 20)) /* of a form besides its files' contents */
#define TYPE_SHOWN 200

struct form {
        struct req *req;
        struct form_field *fields; /* in the request's arena, FIELDS_MAX */
        size_t n_fields;
        struct blob_writer *files[FILES_MAX];
        int n_files;
        uint64_t max_file;
        struct buf value; /* of the field that is being read, then emptied */
        size_t value_bytes;
        bool in_file;
};

/* Removes the files that nobody took. */
static void drop_files(struct form *f)
{
        for (int i = 0; i < f->n_files; i++) {
                blob_abort(f->files[i]);
                f->files[i] = NULL;
        }
}

static void form_free(void *p)
{
        struct form *f = p;
        drop_files(f);
        buf_release(&f->value);
}

bool form_wanted(const struct req *r)
{
        return contract_body(r->op, FORM) && multipart_is_form(http_req_header(r->http, "Content-Type"));
}

int form_refuse(const struct req *r, struct api_err *reterr)
{
        struct str type = http_req_header(r->http, "Content-Type"), rest;
        struct str media = str_trim(str_split(type, ';', &rest));
        int n = media.n < TYPE_SHOWN ? (int)media.n : TYPE_SHOWN,
            all = type.n < TYPE_SHOWN ? (int)type.n : TYPE_SHOWN;
        return err_invalid(reterr, "unsupported_content_type", NULL,
                           "Unsupported content type: '%.*s'. This API method only accepts '" FORM
                           "' requests, but you specified the header 'Content-Type: %.*s'. Please try again "
                           "with a supported content type.",
                           n, media.p ? media.p : "", all, type.p ? type.p : "");
}

/* ---- reading: the I/O thread ---- */

/* Answers the request; what a sink returns. It will not be called again. */
static int refuse(struct form *f, const struct api_err *e)
{
        drop_files(f); /* now: the client may go on sending for a while */
        req_fail(f->req, e);
        return -ECANCELED;
}

static int too_long(const struct form *f, const char *param, struct api_err *reterr)
{
        return err_set(reterr, 413, "invalid_request_error", NULL, param,
                       "Maximum content size limit (%llu) exceeded.", (unsigned long long)f->max_file);
}

static int refuse_file(struct form *f, int rc)
{
        struct api_err e;
        if (rc == -EFBIG)
                too_long(f, f->fields[f->n_fields - 1].name.p, &e);
        else
                err_internal(&e, rc, "upload", blob_fault());
        return refuse(f, &e);
}

static int file_begin(struct form *f, struct form_field *field)
{
        struct api_err e;
        if (f->n_files == FILES_MAX) {
                err_invalid(&e, NULL, NULL, "The form has more than %d files.", FILES_MAX);
                return refuse(f, &e);
        }
        int rc = blob_create(f->req->api->blobs, f->max_file, &f->files[f->n_files]);
        if (rc)
                return refuse_file(f, rc);
        field->file = f->n_files++;
        return 0;
}

/* A copy that ends with a NUL; {NULL, 0} when the arena is full. */
static struct str keep(struct form *f, struct str s)
{
        char *copy = arena_strndup(f->req->arena, s.n ? s.p : "", s.n);
        return (struct str){ copy, copy ? s.n : 0 };
}

static int part_begin(void *ctx, const struct multipart_part *part)
{
        struct form *f = ctx;
        struct api_err e;
        f->in_file = part->filename.p != NULL;
        if (f->n_fields == FIELDS_MAX) {
                err_invalid(&e, NULL, NULL, "The form has more than %d fields.", FIELDS_MAX);
                return refuse(f, &e);
        }
        struct form_field *field = &f->fields[f->n_fields++];
        *field = (struct form_field){ .file = -1,
                                      .name = keep(f, part->name),
                                      .filename = keep(f, part->filename),
                                      .media_type = keep(f, part->content_type) };
        if (!field->name.p || !field->filename.p || !field->media_type.p) {
                err_internal(&e, -ENOMEM, "form", "");
                return refuse(f, &e);
        }
        return f->in_file ? file_begin(f, field) : 0;
}

static int part_data(void *ctx, struct str piece)
{
        struct form *f = ctx;
        struct api_err e;
        if (f->in_file) {
                int rc = blob_append(f->files[f->n_files - 1], piece.p, piece.n);
                return rc ? refuse_file(f, rc) : 0;
        }
        f->value_bytes += piece.n;
        buf_add(&f->value, piece.p, piece.n);
        if (!buf_error(&f->value) && f->value_bytes <= FIELDS_BYTES_MAX)
                return 0;
        if (buf_error(&f->value) == -ENOMEM)
                err_internal(&e, -ENOMEM, "form", "");
        else
                err_set(&e, 413, "invalid_request_error", NULL, NULL,
                        "The fields of the form that are no files have more than %zu bytes.",
                        FIELDS_BYTES_MAX);
        return refuse(f, &e);
}

static int part_end(void *ctx)
{
        struct form *f = ctx;
        struct api_err e;
        struct form_field *field = &f->fields[f->n_fields - 1];
        if (f->in_file) {
                field->size = blob_written(f->files[field->file]);
                return 0;
        }
        field->value = keep(f, buf_str(&f->value));
        buf_clear(&f->value);
        if (field->value.p)
                return 0;
        err_internal(&e, -ENOMEM, "form", "");
        return refuse(f, &e);
}

/* A form that is longer than any with such a file is refused before it comes, with the number that the file
 * may have. Which of its fields is the long one is known where the operation has one file. */
static int check_length(const struct form *f, struct api_err *reterr)
{
        int64_t length;
        if (!str_to_i64(http_req_header(f->req->http, "Content-Length"), &length) || length < 0 ||
            (uint64_t)length <= f->max_file + SLACK)
                return 0;
        return too_long(f, schema_file_field(contract_body(f->req->op, "multipart/form-data")), reterr);
}

int form_expect(struct req *r, struct api_err *reterr)
{
        static const struct multipart_sink sink = { part_begin, part_data, part_end };
        static const struct multipart_limits limits = { .max_parts = FIELDS_MAX };
        struct form *f = arena_make(r->arena, struct form);
        if (f)
                f->fields = arena_array(r->arena, struct form_field, FIELDS_MAX);
        if (!f || !f->fields)
                return err_internal(reterr, -ENOMEM, "form", "");
        f->req = r;
        f->max_file = !strcmp(r->op->id, "addUploadPart") ? UPLOAD_PART_MAX : r->api->options.max_file;
        buf_init(&f->value, FIELDS_BYTES_MAX);
        if (arena_defer(r->arena, form_free, f))
                return err_internal(reterr, -ENOMEM, "form", "");
        if (check_length(f, reterr))
                return -1;
        r->form = f;
        http_body_multipart(r->http, f->max_file + SLACK, &limits, &sink, f);
        return 0;
}

/* ---- the body ---- */

/* Adds the digest of a file's content to the value that stands for it: so bodies compare by content. */
static void add_digest(const struct form *f, json_t *value)
{
        const json_t *index = json_is_object(value) ? json_object_get(value, "$file") : NULL;
        json_t *item;
        size_t i;
        char digest[65];
        if (index && json_is_integer(index) && !blob_digest(f->files[json_integer_value(index)], digest))
                json_object_set_new(value, "sha256", json_string(digest));
        json_array_foreach(value, i, item) add_digest(f, item);
}

int form_body(struct req *r, struct api_err *reterr)
{
        struct form *f = r->form;
        struct schema_err why;
        const char *name;
        json_t *value;
        unsigned flags = r->api->options.ignore_unknown ? SCHEMA_LENIENT : 0;
        int rc = contract_form(r->op, f->fields, f->n_fields, flags, &r->body, &why);
        if (rc == -EINVAL)
                return params_schema_error(r, &why, reterr);
        if (rc || !json_keep(r->arena, r->body))
                return err_internal(reterr, -ENOMEM, "form", "");
        json_object_foreach(r->body, name, value) add_digest(f, value);
        return 0;
}

struct blob_writer *form_take(struct req *r, const json_t *file)
{
        struct form *f = r->form;
        int64_t i = json_int(file, "$file", -1);
        if (!f || i < 0 || i >= f->n_files)
                return NULL;
        struct blob_writer *w = f->files[i];
        f->files[i] = NULL;
        return w;
}
