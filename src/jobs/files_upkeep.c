/* Blobs and the rows that name them, held against each other. */
#include "jobs/files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"
#include "base/vec.h"
#include "jobs/installation.h"

#define KEY (BLOB_ID_LEN / 2) /* an id as bytes */

struct key {
        unsigned char bytes[KEY];
};

/* A set of blobs: sorted keys, and which of them rows name. */
struct keys {
        struct VEC(struct key) list;
        bool *named;
        int64_t before;    /* of the listing: only what is older */
        char damaged[512]; /* the row that ended the naming */
};

static struct key key_of(const char *id)
{
        struct key k = { { 0 } };
        for (int i = 0; i < KEY; i++) {
                char digits[3] = { id[2 * i], id[2 * i + 1], '\0' };
                k.bytes[i] = (unsigned char)strtoul(digits, NULL, 16);
        }
        return k;
}

static const char *id_of(const struct key *k, char out[BLOB_ID_LEN + 1])
{
        return str_hex(k->bytes, KEY, out);
}

static int compare(const void *a, const void *b)
{
        return memcmp(a, b, sizeof(struct key));
}

/* ---- what rows name ---- */

/* The blobs of a list; *ret_why gets what is wrong with it, if anything is. */
static int visit_list(const struct files_visitor *v, const struct object *row, const json_t *list,
                      const char **ret_why)
{
        const json_t *blob;
        size_t i;
        int rc = 0;
        if (!json_is_array(list))
                *ret_why = "it has no list of blobs";
        json_array_foreach((json_t *)list, i, blob)
        {
                if (strlen(json_cstr(blob, "id", "")) != BLOB_ID_LEN)
                        *ret_why = "one of its blobs has no id";
                else if (!rc)
                        rc = v->blob(v->ctx, row, blob);
        }
        return rc;
}

static int visit_row(void *ctx, const struct object *row)
{
        const struct files_visitor *v = ctx;
        struct json_fault fault;
        const char *why = NULL;
        json_t *doc = json_parse(row->doc, STORE_DOC_DEPTH, &fault);
        int rc = !doc && fault.no_memory ? -ENOMEM : 0;
        if (doc)
                rc = visit_list(v, row, json_get(doc, "blobs"), &why);
        else
                why = fault.msg;
        if (!rc && why)
                rc = v->damaged(v->ctx, row, why);
        json_decref(doc);
        return rc;
}

/* Parts before files: a part that becomes a file meanwhile is seen as one of the two, or as both. */
int files_each_blob(struct store *s, const struct files_visitor *v, struct store_fault *fault)
{
        struct files_visitor visitor = *v;
        int rc = store_scan(s, UPLOAD_PART_KIND, visit_row, &visitor, fault);
        return rc ? rc : store_scan(s, FILE_KIND, visit_row, &visitor, fault);
}

/* ---- orphans ---- */

static int take_old(void *ctx, const char *id, int64_t modified)
{
        struct keys *k = ctx;
        if (modified >= k->before)
                return 0;
        return vec_push(&k->list, key_of(id)) ? -ENOMEM : 0;
}

static int mark(void *ctx, const struct object *row, const json_t *blob)
{
        struct keys *k = ctx;
        struct key wanted = key_of(json_cstr(blob, "id", ""));
        (void)row;
        const struct key *found = bsearch(&wanted, k->list.p, k->list.n, sizeof(wanted), compare);
        if (found)
                k->named[found - k->list.p] = true;
        return 0;
}

static int end_marking(void *ctx, const struct object *row, const char *why)
{
        struct keys *k = ctx;
        snprintf(k->damaged, sizeof(k->damaged), "%s %s is damaged, so that its blobs are not known: %s",
                 row->kind, row->id, why);
        return -EBADMSG;
}

/* The listing comes first: a blob that it misses is left alone, and the row of one that it has was committed
 * long before the rows are read, or never will be. */
int files_collect(struct store *s, struct blobs *b, bool remove, void (*report)(void *ctx, const char *blob),
                  void *ctx, size_t *ret_n, char *err, size_t errn)
{
        struct keys k = { .before = clock_unix() - FILES_ORPHAN_AGE_S };
        struct files_visitor marking = { mark, end_marking, &k };
        struct store_fault fault = { .msg = "" };
        const char *why = "";
        char foreign[512] = "";
        *ret_n = 0;
        int rc = installation_check(s, b, remove, foreign, sizeof(foreign));
        why = foreign;
        if (!rc && (rc = blobs_list(b, take_old, &k)))
                why = blob_fault();
        if (!rc && k.list.n) {
                qsort(k.list.p, k.list.n, sizeof(*k.list.p), compare);
                k.named = mem_calloc(k.list.n, sizeof(*k.named));
                rc = k.named ? files_each_blob(s, &marking, &fault) : -ENOMEM;
                why = *k.damaged ? k.damaged : fault.msg;
        }
        for (size_t i = 0; !rc && i < k.list.n; i++) {
                char id[BLOB_ID_LEN + 1];
                if (k.named[i])
                        continue;
                if (report)
                        report(ctx, id_of(&k.list.p[i], id));
                if (remove && blob_delete(b, id_of(&k.list.p[i], id)))
                        continue; /* it is found again */
                ++*ret_n;
        }
        if (!rc && remove)
                rc = blobs_abandon(b, FILES_ORPHAN_AGE_S);
        if (rc && err)
                snprintf(err, errn, "%s", *why ? why : strerror(-rc));
        vec_release(&k.list);
        mem_free(k.named);
        return rc;
}

/* ---- damage ---- */

struct inspection {
        struct store *store;
        struct blobs *blobs;
        bool contents;
        void (*report)(void *ctx, const char *finding);
        void *ctx;
};

/* Whether the row was deleted since the scan began, and its blobs with it. */
static bool row_is_gone(struct inspection *in, const struct object *row)
{
        struct object o;
        int rc = store_get(in->store, row->kind, row->id, NULL, &o, NULL);
        object_release(&o);
        return rc == -ENOENT;
}

static int inspect(void *ctx, const struct object *row, const json_t *blob)
{
        struct inspection *in = ctx;
        struct blob_reader *r = NULL;
        const char *id = json_cstr(blob, "id", "");
        char text[512];
        int rc = in->contents ? blob_verify(in->blobs, id) : blob_open(in->blobs, id, &r);
        blob_reader_free(r);
        if (!rc)
                return 0;
        if (rc == -ENOENT)
                snprintf(text, sizeof(text), "%s %s: its blob %s is missing", row->kind, row->id, id);
        else
                snprintf(text, sizeof(text), "%s %s: %s", row->kind, row->id, blob_fault());
        if (!row_is_gone(in, row))
                in->report(in->ctx, text);
        return 0;
}

static int tell_damage(void *ctx, const struct object *row, const char *why)
{
        struct inspection *in = ctx;
        char text[512];
        snprintf(text, sizeof(text), "%s %s: its document is damaged: %s", row->kind, row->id, why);
        in->report(in->ctx, text);
        return 0;
}

int files_check(struct store *s, struct blobs *b, bool contents,
                void (*report)(void *ctx, const char *finding), void *ctx, char *err, size_t errn)
{
        struct inspection in = { s, b, contents, report, ctx };
        struct files_visitor visitor = { inspect, tell_damage, &in };
        struct store_fault fault = { .msg = "" };
        int rc = files_each_blob(s, &visitor, &fault);
        if (rc && err)
                snprintf(err, errn, "%s", fault.msg[0] ? fault.msg : strerror(-rc));
        return rc;
}
