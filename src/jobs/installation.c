#include "jobs/installation.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/ids.h"
#include "base/json.h"
#include "jobs/files.h"

#define KIND "installation" /* one row, of this id too */
#define ID_DIGITS 32
#define JSON_DEPTH 8
#define ADOPT                                                                                              \
        "Serve the database with its own blobs. If these are to be its blobs from now on (of a copy that " \
        "was restored), `cairn check --adopt` says so"

static int store_failed(int rc, const struct store_fault *fault, char *err, size_t errn)
{
        snprintf(err, errn, "%s", *fault->msg ? fault->msg : strerror(-rc));
        return rc;
}

static int blobs_failed(int rc, char *err, size_t errn)
{
        snprintf(err, errn, "%s", blob_fault());
        return rc;
}

/* ---- the row ---- */

/* The database's id; "" when it has none yet. */
static int id_read(struct store *s, char ret[ID_MAX], char *err, size_t errn)
{
        struct store_fault fault = { .msg = "" };
        struct json_fault why;
        struct object row;
        *ret = '\0';
        int rc = store_get(s, KIND, KIND, NULL, &row, &fault);
        if (rc)
                return rc == -ENOENT ? 0 : store_failed(rc, &fault, err, errn);
        json_t *doc = json_parse(row.doc, JSON_DEPTH, &why);
        snprintf(ret, ID_MAX, "%s", json_cstr(doc, "id", ""));
        json_decref(doc);
        object_release(&row);
        if (*ret)
                return 0;
        snprintf(err, errn, "the database's row of its installation is damaged");
        return -EBADMSG;
}

/* Writes the row with a new id; without `replace` one that another process has just written stays. */
static int id_write(struct store *s, bool replace, char ret[ID_MAX], char *err, size_t errn)
{
        char doc[ID_MAX + 16];
        struct store_fault fault = { .msg = "" };
        snprintf(doc, sizeof(doc), "{\"id\":\"%s\"}", id_hex(ret, "inst_", ID_DIGITS));
        struct store_op op = { .verb = STORE_PUT, .kind = KIND, .id = KIND, .doc = str_c(doc) };
        int rc = store_write(s, &op, 1, &fault);
        if (rc != -EEXIST)
                return rc ? store_failed(rc, &fault, err, errn) : 0;
        if (!replace)
                return id_read(s, ret, err, errn);
        op.verb = STORE_UPDATE;
        op.set = STORE_SET_DOC;
        rc = store_write(s, &op, 1, &fault);
        return rc ? store_failed(rc, &fault, err, errn) : 0;
}

/* ---- the blobs ---- */

static int found_one(void *ctx, const char *id, int64_t modified)
{
        (void)ctx;
        (void)id;
        (void)modified;
        return 1;
}

/* 1 when the row's blob is there, also a damaged one. */
static int is_there(void *ctx, const struct object *row, const json_t *blob)
{
        struct blob_reader *r;
        (void)row;
        int rc = blob_open(ctx, json_cstr(blob, "id", ""), &r);
        blob_reader_free(r);
        if (rc && rc != -EBADMSG)
                return rc == -ENOENT ? 0 : rc;
        return 1;
}

/* Which blobs a damaged row names is not known: others have to tell. */
static int tells_nothing(void *ctx, const struct object *row, const char *why)
{
        (void)ctx;
        (void)row;
        (void)why;
        return 0;
}

/* Whether the blobs may be this database's, going by the blobs: none is there, or one that it names. */
static int judge(struct store *s, struct blobs *b, char *err, size_t errn)
{
        struct store_fault fault = { .msg = "" };
        struct files_visitor visitor = { is_there, tells_nothing, b };
        int any = blobs_list(b, found_one, NULL);
        if (any <= 0)
                return any ? blobs_failed(any, err, errn) : 0;
        int named = files_each_blob(s, &visitor, &fault);
        if (named < 0 && !*fault.msg)
                return blobs_failed(named, err, errn);
        if (named < 0)
                return store_failed(named, &fault, err, errn);
        if (named)
                return 0;
        snprintf(err, errn,
                 "%s holds blobs, and the database names none of them: either is the wrong one. Serve the "
                 "database with its own blobs, or with an empty place",
                 blobs_where(b));
        return -EPERM;
}

static int mark_write(struct blobs *b, const char *id, char *err, size_t errn)
{
        int rc = blobs_set_mark(b, id);
        return rc ? blobs_failed(rc, err, errn) : 0;
}

/* ---- both ---- */

static int refuse(const struct blobs *b, const char *mark, const char *id, char *err, size_t errn)
{
        if (*id)
                snprintf(err, errn,
                         "the blobs in %s belong to installation %s, the database is of installation "
                         "%s. " ADOPT,
                         blobs_where(b), mark, id);
        else
                snprintf(err, errn,
                         "the blobs in %s belong to installation %s, the database is a new one. " ADOPT,
                         blobs_where(b), mark);
        return -EPERM;
}

/* The row is written before the mark and read after it: of servers that begin at once on one database and one
 * place, none sees the mark of another without the row. */
int installation_check(struct store *s, struct blobs *b, bool adopt, char *err, size_t errn)
{
        char id[ID_MAX], mark[BLOBS_MARK_MAX];
        int found = blobs_mark(b, mark);
        if (found && found != -ENOENT)
                return blobs_failed(found, err, errn);
        int rc = id_read(s, id, err, errn);
        if (rc)
                return rc;
        if (!found)
                return !strcmp(mark, id) ? 0 : refuse(b, mark, id, err, errn);
        if (!adopt)
                return 0;
        rc = judge(s, b, err, errn);
        if (!rc && !*id)
                rc = id_write(s, false, id, err, errn);
        return rc ? rc : mark_write(b, id, err, errn);
}

int installation_renew(struct store *s, struct blobs *b, char *err, size_t errn)
{
        char id[ID_MAX];
        int rc = id_write(s, true, id, err, errn);
        return rc || !b ? rc : mark_write(b, id, err, errn);
}

int installation_claim(struct store *s, struct blobs *b, char *err, size_t errn)
{
        int rc = judge(s, b, err, errn);
        return rc ? rc : installation_renew(s, b, err, errn);
}

int installation_known(struct store *s, bool *ret, char *err, size_t errn)
{
        char id[ID_MAX];
        int rc = id_read(s, id, err, errn);
        *ret = *id != '\0';
        return rc;
}
