#include "jobs/files.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"

#define DOC_MAX ((size_t)16 << 20) /* a file of 8 GiB in the smallest parts that uploads allow fits */
#define FILE_ID_HEX 32

struct part {
        char id[BLOB_ID_LEN + 1];
        uint64_t start, size; /* bytes of the file */
};

struct file {
        struct blobs *blobs;
        json_t *doc;
        uint64_t size;
        struct part *parts;
        size_t n_parts, n_held, at; /* `reader` reads part `at` */
        struct blob_reader *reader;
};

static int say(char *err, size_t errn, int rc, const char *text)
{
        if (err && errn)
                snprintf(err, errn, "%s", text);
        return rc;
}

/* ---- reading ---- */

/* The list of blobs in a document; NULL when the document is damaged. */
static const json_t *blobs_of(const json_t *doc)
{
        const json_t *list = json_get(doc, "blobs");
        return json_is_array(list) ? list : NULL;
}

static int take_parts(struct file *f)
{
        const json_t *list = blobs_of(f->doc);
        const json_t *blob;
        size_t i;
        if (!list || !json_is_object(json_get(f->doc, "object")))
                return -EBADMSG;
        f->n_parts = json_array_size(list);
        f->parts = mem_calloc(f->n_parts + 1, sizeof(*f->parts));
        if (!f->parts)
                return -ENOMEM;
        json_array_foreach((json_t *)list, i, blob)
        {
                snprintf(f->parts[i].id, sizeof(f->parts[i].id), "%s", json_cstr(blob, "id", ""));
                f->parts[i].start = f->size;
                f->parts[i].size = (uint64_t)json_int(blob, "size", 0);
                f->size += f->parts[i].size;
        }
        return 0;
}

/* The parts are opened one after another, as they are read: none may go until then. */
static int hold_parts(struct file *f)
{
        int rc = 0;
        while (!rc && f->n_held < f->n_parts) {
                rc = blob_hold(f->blobs, f->parts[f->n_held].id);
                f->n_held += !rc;
        }
        return rc;
}

int file_open(struct store *s, struct blobs *b, const char *project, const char *id, struct file **ret,
              char *err, size_t errn)
{
        struct store_fault fault = { .msg = "" };
        struct json_fault why;
        struct object row;
        *ret = NULL;
        int rc = store_get(s, FILE_KIND, id, project, &row, &fault);
        if (rc)
                return say(err, errn, rc == -EINVAL ? -ENOENT : rc,
                           fault.msg); /* no id of ours looks like that */
        struct file *f = mem_calloc(1, sizeof(*f));
        rc = f ? 0 : -ENOMEM;
        if (!rc) {
                f->blobs = b;
                f->doc = json_parse(row.doc, STORE_DOC_DEPTH, &why);
                rc = f->doc ? take_parts(f) : why.no_memory ? -ENOMEM : -EBADMSG;
        }
        object_release(&row);
        if (!rc)
                rc = hold_parts(f);
        if (rc) {
                file_close(f);
                return say(err, errn, rc, rc == -ENOMEM ? "memory is out" : "the file's row is damaged");
        }
        *ret = f;
        return 0;
}

void file_close(struct file *f)
{
        if (!f)
                return;
        blob_reader_free(f->reader);
        while (f->n_held)
                blob_unhold(f->blobs, f->parts[--f->n_held].id);
        json_decref(f->doc);
        mem_free(f->parts);
        mem_free(f);
}

const json_t *file_object(const struct file *f)
{
        return json_get(f->doc, "object");
}

const char *file_type(const struct file *f)
{
        return json_cstr(f->doc, "type", "");
}

uint64_t file_size(const struct file *f)
{
        return f->size;
}

/* The part that holds the byte at `offset`, which lies within the file: by bisection. */
static size_t part_of(const struct file *f, uint64_t offset)
{
        size_t low = 0, high = f->n_parts;
        while (high - low > 1) {
                size_t middle = low + (high - low) / 2;
                if (f->parts[middle].start <= offset)
                        low = middle;
                else
                        high = middle;
        }
        return low;
}

static int part_open(struct file *f, size_t i)
{
        if (f->reader && f->at == i)
                return 0;
        blob_reader_free(f->reader);
        f->reader = NULL;
        f->at = i;
        int rc = blob_open(f->blobs, f->parts[i].id, &f->reader);
        if (!rc && blob_size(f->reader) != f->parts[i].size)
                rc = -EBADMSG;
        return rc;
}

/* Why a part could not be read. The file is there: what is missing is a part of it. */
static int part_failed(const struct file *f, size_t i, int rc, char *err, size_t errn)
{
        if (rc == -ENOENT && err && errn)
                snprintf(err, errn, "part %zu of %zu is missing: blob %s", i + 1, f->n_parts, f->parts[i].id);
        return rc == -ENOENT ? rc : say(err, errn, rc, blob_fault());
}

int file_read(struct file *f, uint64_t offset, void *p, size_t n, size_t *ret_n, char *err, size_t errn)
{
        *ret_n = 0;
        while (*ret_n < n && offset < f->size) {
                size_t i = part_of(f, offset), got = 0, want = n - *ret_n;
                uint64_t within = offset - f->parts[i].start;
                if (want > f->parts[i].size - within)
                        want = (size_t)(f->parts[i].size - within);
                int rc = part_open(f, i);
                if (!rc)
                        rc = blob_read(f->reader, within, (char *)p + *ret_n, want, &got);
                if (!rc && got != want)
                        rc = -EBADMSG;
                if (rc)
                        return part_failed(f, i, rc, err, errn);
                *ret_n += want;
                offset += want;
        }
        return 0;
}

/* ---- writing ---- */

static json_t *object_json(const char *id, const struct file_new *what, int64_t created, uint64_t bytes)
{
        json_t *v = json_pack("{s:s, s:s, s:s, s:I, s:I, s:s, s:s}", "id", id, "object", "file", "purpose",
                              what->purpose, "bytes", (json_int_t)bytes, "created_at", (json_int_t)created,
                              "filename", what->filename, "status", "processed");
        if (v && what->expires)
                json_object_set_new(v, "expires_at", json_integer(what->expires));
        return v;
}

int file_make(const struct file_new *what, const struct blob_info *blobs, size_t n, struct file_made *ret)
{
        uint64_t bytes = 0;
        int64_t created = what->created ? what->created : clock_unix();
        json_t *list = json_array();
        memset(ret, 0, sizeof(*ret));
        mem_take_failure();
        for (size_t i = 0; i < n; i++) {
                bytes += blobs[i].size;
                json_array_append_new(list, json_pack("{s:s, s:s, s:I}", "id", blobs[i].id, "sha256",
                                                      blobs[i].sha256, "size", (json_int_t)blobs[i].size));
        }
        if (what->id)
                snprintf(ret->id, sizeof(ret->id), "%s", what->id);
        else
                id_hex(ret->id, "file-", FILE_ID_HEX);
        snprintf(ret->_purpose, sizeof(ret->_purpose), "%s", what->purpose);
        snprintf(ret->_project, sizeof(ret->_project), "%s", what->project);
        ret->object = object_json(ret->id, what, created, bytes);
        json_t *doc = json_pack("{s:O, s:o, s:s}", "object", ret->object, "blobs", list, "type",
                                what->type ? what->type : "");
        buf_init(&ret->_doc, DOC_MAX);
        int rc = !doc || mem_take_failure() ? -ENOMEM : json_write(doc, &ret->_doc);
        json_decref(doc);
        if (rc) {
                file_made_release(ret);
                return rc;
        }
        ret->op = (struct store_op){ .verb = STORE_PUT,
                                     .kind = FILE_KIND,
                                     .id = ret->id,
                                     .project = ret->_project,
                                     .created = created,
                                     .expires = what->expires,
                                     .f = { ret->_purpose },
                                     .doc = buf_str(&ret->_doc) };
        return 0;
}

void file_made_release(struct file_made *m)
{
        json_decref(m->object);
        m->object = NULL;
        buf_release(&m->_doc);
}

void file_drop_blobs(struct blobs *b, const json_t *doc)
{
        const json_t *blob;
        size_t i;
        json_array_foreach(json_get(doc, "blobs"), i, blob) blob_delete(b, json_cstr(blob, "id", ""));
}
