/* The row of a batch: its document, and who may change it when. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/arena.h"
#include "base/clock.h"
#include "base/mem.h"
#include "jobs/batch_internal.h"
#include "jobs/webhook.h"

#define SAVE_ATTEMPTS 16 /* each fails only because a client changed the row meanwhile */
#define LOOK_MS 250

/* ---- reading ---- */

static int doc_read(struct store *s, const char *id, const char *project, json_t **ret, int64_t *ret_version,
                    struct store_fault *fault)
{
        struct object row;
        struct json_fault why;
        int rc = store_get(s, BATCH_KIND, id, project, &row, fault);
        if (rc)
                return rc;
        *ret = json_parse(row.doc, STORE_DOC_DEPTH, &why);
        *ret_version = row.version;
        object_release(&row);
        if (*ret && json_is_object(json_get(*ret, "object")))
                return 0;
        json_decref(*ret);
        *ret = NULL;
        if (fault)
                snprintf(fault->msg, sizeof(fault->msg), "the row of the batch %s is damaged: %s", id,
                         why.msg);
        return why.no_memory ? -ENOMEM : -EBADMSG;
}

int batch_load(struct batch *b, struct store_fault *fault)
{
        json_t *doc;
        int rc = doc_read(b->all->o.store, b->id, b->project, &doc, &b->version, fault);
        if (rc)
                return rc;
        json_decref(b->doc);
        b->doc = doc;
        b->object = json_get(doc, "object");
        return 0;
}

void batch_unload(struct batch *b)
{
        json_decref(b->doc);
        b->doc = b->object = NULL;
}

bool batch_is(const struct batch *b, const char *status)
{
        return !strcmp(json_cstr(b->object, "status", ""), status);
}

int64_t batch_time(const struct batch *b, const char *field)
{
        return json_int(b->object, field, 0);
}

static bool has_status(const json_t *object, const char *status)
{
        return !strcmp(json_cstr(object, "status", ""), status);
}

bool batch_is_over(const json_t *object)
{
        return has_status(object, "completed") || has_status(object, "failed") ||
               has_status(object, "cancelled") || has_status(object, "expired");
}

json_t *batch_error(const char *code, const char *msg, const char *param, size_t line)
{
        struct str words = str_c(msg);
        words.n = str_utf8_complete(words); /* it may have been cut where it quotes */
        return json_pack("{s:s, s:o, s:s?, s:o}", "code", code, "message", json_strn(words), "param",
                         *param ? param : NULL, "line", line ? json_integer((json_int_t)line) : json_null());
}

/* ---- changing ---- */

/* The operation that replaces the document of the row; *text keeps what it points to. */
static int update_op(const char *id, const char *project, const json_t *doc, int64_t version,
                     struct buf *text, struct store_op *ret)
{
        buf_init(text, STORE_DOC_MAX);
        *ret = (struct store_op){ .verb = STORE_UPDATE,
                                  .kind = BATCH_KIND,
                                  .id = id,
                                  .project = project,
                                  .set = STORE_SET_DOC,
                                  .if_version = version };
        int rc = mem_take_failure() ? -ENOMEM : json_write(doc, text);
        ret->doc = buf_str(text);
        return rc;
}

/* The document with `set` merged into its object, and `around` (NULL: nothing) into itself; NULL when memory
 * is out. */
static json_t *changed(const json_t *doc, json_t *set, json_t *around)
{
        json_t *next = set ? json_deep_copy(doc) : NULL;
        if (!next || json_object_update(json_get(next, "object"), set) ||
            (around && json_object_update(next, around))) {
                json_decref(next);
                return NULL;
        }
        return next;
}

static int save_once(struct batch *b, json_t *set, json_t *around, const struct store_op *ops, size_t n,
                     struct store_fault *fault)
{
        struct buf text;
        struct store_op *all = mem_calloc(n + 1, sizeof(*all));
        json_t *next = changed(b->doc, set, around);
        int rc = all && next ? update_op(b->id, b->project, next, b->version, &text, &all[0]) : -ENOMEM;
        if (rc == 0 && n)
                memcpy(all + 1, ops, n * sizeof(*ops));
        if (rc == 0)
                rc = job_save(b->run, (struct str){ NULL, 0 }, all, n + 1, fault);
        if (rc == 0) {
                json_decref(b->doc);
                b->doc = json_incref(next);
                b->object = json_get(next, "object");
                b->version++;
        }
        if (all && next)
                buf_release(&text);
        json_decref(next);
        mem_free(all);
        return rc;
}

int batch_save_around(struct batch *b, const char *from, json_t *set, json_t *around,
                      const struct store_op *ops, size_t n, struct store_fault *fault)
{
        struct store_fault own = { 0 };
        int rc = set ? -EALREADY : -ENOMEM;
        for (int i = 0; i < SAVE_ATTEMPTS && rc == -EALREADY; i++) {
                rc = i ? batch_load(b, &own) : 0;
                if (rc == 0 && from && !batch_is(b, from))
                        rc = -ECANCELED;
                if (rc == 0)
                        rc = save_once(b, set, around, ops, n, &own);
                if (rc == -EALREADY && own.op) /* not the batch itself: the caller has to look again */
                        break;
        }
        if (fault)
                *fault = own;
        json_decref(set);
        json_decref(around);
        return rc ? batch_failed(b, rc, own.msg) : 0;
}

int batch_save(struct batch *b, const char *from, json_t *set, const struct store_op *ops, size_t n,
               struct store_fault *fault)
{
        return batch_save_around(b, from, set, NULL, ops, n, fault);
}

int batch_look(struct batch *b, bool now)
{
        int64_t ms = clock_mono_ms();
        if (!now && ms - b->looked_ms < LOOK_MS)
                return BATCH_DONE;
        b->looked_ms = ms;
        if (job_stopping(b->run))
                return BATCH_STOPPED;
        struct object row;
        if (store_get(b->all->o.store, BATCH_KIND, b->id, b->project, &row, NULL) == 0) {
                bool stale = row.version != b->version;
                object_release(&row);
                if (stale && batch_load(b, NULL))
                        return BATCH_DONE; /* the next commit says what is the matter */
        }
        if (batch_is(b, "cancelling"))
                return BATCH_CANCELLED;
        return clock_unix() >= batch_time(b, "expires_at") ? BATCH_EXPIRED : BATCH_DONE;
}

/* ---- the rows of lines ---- */

const char *batch_line_id(const struct batch *b, size_t index, char out[BATCH_LINE_ID_MAX])
{
        snprintf(out, BATCH_LINE_ID_MAX, "%s-%05zu", b->id, index);
        return out;
}

bool batch_line_index(const struct batch *b, const char *id, size_t *ret)
{
        size_t n = strlen(b->id);
        int64_t index;
        if (strncmp(id, b->id, n) || id[n] != '-' || !str_to_i64(str_c(id + n + 1), &index) || index < 0 ||
            index >= BATCH_MAX_LINES)
                return false;
        *ret = (size_t)index;
        return true;
}

/* Lists come in the order of `created`, in which the rows of lines have their place in the input. */
int batch_rows(struct batch *b, const char *kind, const char *after, int limit, struct store_page *ret)
{
        struct store_fault fault = { 0 };
        struct store_query q = {
                .kind = kind, .project = b->project, .parent = b->id, .after = after, .limit = limit
        };
        int rc = store_list(b->all->o.store, &q, ret, &fault);
        return rc ? batch_failed(b, rc, fault.msg) : 0;
}

/* ---- for the operations ---- */

int batch_create(struct store *s, const struct batch_new *what, json_t **ret, struct store_fault *fault)
{
        char id[ID_MAX];
        struct buf text;
        int64_t now = clock_unix(), expires = now + what->window;
        const struct principal *who = what->who;
        id_hex(id, "batch_", 32);
        json_t *object =
                json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:{s:i, s:i, s:i}, s:O?}", "id", id,
                          "object", "batch", "endpoint", what->endpoint, "input_file_id", what->input_file,
                          "completion_window", "24h", "status", "validating", "created_at", (json_int_t)now,
                          "expires_at", (json_int_t)expires, "request_counts", "total", 0, "completed", 0,
                          "failed", 0, "metadata", (json_t *)what->metadata);
        json_t *doc = json_pack("{s:O, s:o, s:I}", "object", object, "who", principal_json(who),
                                "expires_after", (json_int_t)what->expires_after);
        buf_init(&text, STORE_DOC_MAX);
        int rc = doc && !mem_take_failure() ? json_write(doc, &text) : -ENOMEM;
        struct store_op ops[] = {
                { .verb = STORE_PUT,
                  .kind = BATCH_KIND,
                  .id = id,
                  .project = who->project,
                  .created = now,
                  .doc = buf_str(&text) },
                { .verb = STORE_JOB_PUT,
                  .kind = BATCH_KIND,
                  .id = id,
                  .project = who->project,
                  .doc = STR("{}") },
                { .verb = STORE_JOB_PUT,
                  .kind = BATCH_EXPIRY_KIND,
                  .id = id,
                  .project = who->project,
                  .due = expires * 1000,
                  .doc = STR("{}") },
        };
        if (rc == 0)
                rc = what->commit ? what->commit(what->ctx, ops, 3, object, fault)
                                  : store_write(s, ops, 3, fault);
        *ret = rc == 0 ? json_incref(object) : NULL;
        buf_release(&text);
        json_decref(doc);
        json_decref(object);
        return rc;
}

/* 0 with *set, what is to be changed, or 1 when nothing is; -EALREADY when it is too late. */
static int cancel_change(const json_t *object, json_t **set)
{
        const char *status = json_cstr(object, "status", "");
        *set = NULL;
        if (!strcmp(status, "cancelling") || !strcmp(status, "cancelled"))
                return 1;
        if (strcmp(status, "validating") && strcmp(status, "in_progress"))
                return -EALREADY;
        *set = json_pack("{s:s, s:I}", "status", "cancelling", "cancelling_at", (json_int_t)clock_unix());
        return *set ? 0 : -ENOMEM;
}

struct store_op batch_over_op(const char *id)
{
        return (struct store_op){ .verb = STORE_JOB_WAKE, .kind = BATCH_EXPIRY_KIND, .id = id };
}

/* Ends a batch that waits to be validated: commits the last state (`set`, consumed) with its event, if nobody
 * has its job. 0 with *doc as it is then; -EALREADY when somebody has; -ESTALE when the row has changed. */
static int end_waiting(struct store *s, const char *project, const char *id, json_t **doc, int64_t version,
                       json_t *set, const char *event, struct store_fault *fault)
{
        struct buf text = { 0 };
        struct store_fault own = { 0 };
        struct arena *a = arena_new(BATCH_EVENT_ARENA);
        json_t *next = changed(*doc, set, NULL);
        struct store_op ops[4] = {
                [1] = { .verb = STORE_JOB_FINISH, .kind = BATCH_KIND, .id = id }, /* no lease */
                [2] = batch_over_op(id)
        };
        int rc = a && next ? webhook_event_op(a, project, event, id, &ops[3]) : -ENOMEM;
        if (rc == 0)
                rc = update_op(id, project, next, version, &text, &ops[0]);
        if (rc == 0)
                rc = store_write(s, ops, 4, &own);
        if (rc == -ESTALE && own.op == 1)
                rc = -EALREADY;
        if (rc == 0) {
                json_decref(*doc);
                *doc = json_incref(next);
        }
        if (fault)
                *fault = own;
        buf_release(&text);
        json_decref(next);
        json_decref(set);
        arena_free(a);
        return rc;
}

int batch_expire_waiting(struct store *s, const char *project, const char *id)
{
        json_t *doc;
        int64_t version, now = clock_unix();
        int rc = doc_read(s, id, project, &doc, &version, NULL);
        if (rc)
                return rc == -ENOENT ? 0 : rc;
        const json_t *object = json_get(doc, "object");
        if (!batch_is_over(object))
                rc = -EAGAIN;
        if (has_status(object, "validating") && now >= json_int(object, "expires_at", 0))
                rc = end_waiting(s, project, id, &doc, version,
                                 json_pack("{s:s, s:I}", "status", "expired", "expired_at", (json_int_t)now),
                                 "batch.expired", NULL);
        json_decref(doc);
        return rc == -EALREADY || rc == -ESTALE ? -EAGAIN : rc;
}

static int cancel_waiting(struct store *s, const char *project, const char *id, json_t **doc, int64_t version,
                          struct store_fault *fault)
{
        json_int_t now = clock_unix();
        if (!has_status(json_get(*doc, "object"), "validating"))
                return -EALREADY;
        return end_waiting(s, project, id, doc, version,
                           json_pack("{s:s, s:I, s:I}", "status", "cancelled", "cancelling_at", now,
                                     "cancelled_at", now),
                           "batch.cancelled", fault);
}

/* Its worker is to end it. */
static int cancel_working(struct store *s, const char *project, const char *id, json_t *doc, int64_t version,
                          struct store_fault *fault)
{
        json_t *set = NULL;
        struct buf text;
        struct store_op op;
        int rc = cancel_change(json_get(doc, "object"), &set);
        if (rc == 0)
                rc = json_object_update(json_get(doc, "object"), set) ? -ENOMEM : 0;
        if (rc == 0) {
                rc = update_op(id, project, doc, version, &text, &op);
                if (rc == 0)
                        rc = store_write(s, &op, 1, fault);
                buf_release(&text);
        }
        json_decref(set);
        return rc;
}

/* Reads, changes and writes the row once: -ESTALE when somebody else was faster. */
static int cancel_once(struct store *s, const char *project, const char *id, json_t **ret,
                       struct store_fault *fault)
{
        json_t *doc;
        int64_t version;
        int rc = doc_read(s, id, project, &doc, &version, fault);
        if (rc)
                return rc;
        rc = cancel_waiting(s, project, id, &doc, version, fault);
        if (rc == -EALREADY)
                rc = cancel_working(s, project, id, doc, version, fault);
        if (rc >= 0 || rc == -EALREADY)
                *ret = json_incref(json_get(doc, "object"));
        json_decref(doc);
        return rc > 0 ? 0 : rc;
}

int batch_cancel(struct store *s, const char *project, const char *id, json_t **ret,
                 struct store_fault *fault)
{
        int rc = -ESTALE;
        *ret = NULL;
        for (int i = 0; i < SAVE_ATTEMPTS && rc == -ESTALE; i++)
                rc = cancel_once(s, project, id, ret, fault);
        return rc;
}
