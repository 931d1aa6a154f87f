#include "api/stored.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "api/api.h"
#include "api/handlers.h"
#include "api/idempotency.h"
#include "api/meter.h"
#include "api/page.h"
#include "api/presence.h"
#include "api/resources.h"
#include "api/response.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/store.h"

#define KIND_RUNNING "response.running"
#define RECOVER_PAGE 100

/* ---- writing ---- */

/* Commits what a request stores, with its reply if that is known. */
static int commit(struct req *r, const struct store_op *ops, size_t n, const struct stored_reply *reply,
                  struct store_fault *fault)
{
        if (reply->whole)
                return req_commit(r, ops, n, reply->whole, fault);
        return reply->last ? stream_commit(reply->last, ops, n, fault) : meter_commit(r, ops, n, fault);
}

int stored_put_chat(struct req *r, const char *id, int64_t created, json_t *doc,
                    const struct stored_reply *reply, struct api_err *reterr)
{
        const json_t *object = json_object_get(doc, "object"),
                     *metadata = json_object_get(object, "metadata");
        struct store_pair pairs[STORE_METADATA_MAX];
        struct store_fault fault = { 0 };
        struct buf text;
        const char *key;
        json_t *value;
        struct store_op op = { .verb = STORE_PUT,
                               .kind = RESOURCE_CHAT.kind,
                               .id = id,
                               .project = req_project(r),
                               .created = created,
                               .expires = created + r->api->options.retention_s,
                               .f = { json_cstr(object, "model", "") },
                               .metadata = pairs };
        buf_init(&text, STORE_DOC_MAX);
        json_object_foreach((json_t *)metadata, key, value)
        {
                if (op.nmetadata < STORE_METADATA_MAX)
                        pairs[op.nmetadata++] = (struct store_pair){ key, json_string_value(value) };
        }
        int rc = mem_take_failure() ? -ENOMEM : json_write(doc, &text); /* a part of it may be missing */
        op.doc = buf_str(&text);
        if (rc == 0)
                rc = commit(r, &op, 1, reply, &fault);
        buf_release(&text);
        json_decref(doc);
        return rc ? err_store(reterr, rc, &fault) : 0;
}

void stored_item_ops(struct op_list *l, struct req *r, const char *response, int64_t created,
                     const json_t *items)
{
        size_t i;
        json_t *item;
        json_array_foreach((json_t *)items, i, item)
        {
                struct store_op op = { .verb = STORE_PUT,
                                       .kind = KIND_ITEM,
                                       .id = json_cstr(item, "id", ""),
                                       .project = req_project(r),
                                       .parent = response,
                                       .created = created,
                                       .expires = stored_expiry(r, created) };
                op_list_add_doc(l, &op, item);
        }
}

int64_t stored_expiry(const struct req *r, int64_t created)
{
        return created + r->api->options.retention_s;
}

/* The row of the response itself. */
static struct store_op response_op(struct req *r, const struct stored_response *s)
{
        return (struct store_op){ .verb = s->step == STORED_FINISHED ? STORE_UPDATE : STORE_PUT,
                                  .set = STORE_SET_DOC,
                                  .kind = RESOURCE_RESPONSE.kind,
                                  .id = s->id,
                                  .project = req_project(r),
                                  .created = s->created,
                                  .expires = stored_expiry(r, s->created) };
}

/* The mark of a response in progress: a row of its own, so that the few there are are found at once. It says
 * which process works on it. */
static void mark_ops(struct op_list *l, struct req *r, const struct stored_response *s)
{
        struct store_op op = { .verb = s->step == STORED_STARTED ? STORE_PUT : STORE_DELETE,
                               .kind = KIND_RUNNING,
                               .id = s->id,
                               .project = req_project(r) };
        if (s->step == STORED_WHOLE)
                return;
        json_t *doc = op.verb == STORE_PUT ? json_pack("{s:s}", "process", r->api->process) : NULL;
        if (op.verb == STORE_PUT)
                op_list_add_doc(l, &op, doc);
        else
                op_list_add(l, &op, 1);
        json_decref(doc);
}

/* What is committed of a response that is not there any more. Its first operation is that on the response,
 * the second that on the mark. */
static int not_there(struct req *r, const struct stored_response *s, const struct store_fault *fault)
{
        if (s->step != STORED_FINISHED || fault->op > 1)
                return -ENOENT;
        if (fault->op == 1) /* others thought this process dead, and told its clients that it failed */
                return -ESTALE;
        store_delete(r->api->store, KIND_RUNNING, s->id, req_project(r), NULL);
        struct store_fault other = { 0 };
        int rc = s->n_more ? commit(r, s->more, s->n_more, &s->reply, &other) : 0;
        return rc == -ENOENT ? 0 : rc;
}

int stored_put_response(struct req *r, const struct stored_response *s, struct api_err *reterr)
{
        struct store_fault fault = { 0 };
        struct op_list l;
        struct store_op op = response_op(r, s);
        bool lost = mem_take_failure(); /* a part of doc or items may be missing */
        op_list_init(&l);
        if (s->step != STORED_NOT) {
                op_list_add_doc(&l, &op, s->doc);
                mark_ops(&l, r, s);
                stored_item_ops(&l, r, s->id, s->created, s->items);
        }
        size_t own = l.ops.n;
        op_list_add(&l, s->more, s->n_more);
        int rc = lost ? -ENOMEM : l.err;
        if (rc == 0)
                rc = commit(r, l.ops.p, l.ops.n, &s->reply, &fault);
        if (rc == -ENOENT && fault.op >= own && fault.op < own + s->n_more)
                rc = commit(r, l.ops.p, own, &s->reply, &fault);
        if (rc == -ENOENT)
                rc = not_there(r, s, &fault);
        op_list_release(&l);
        json_decref(s->doc);
        return rc ? err_store(reterr, rc, &fault) : 0;
}

void stored_drop_response(struct req *r, const char *id)
{
        store_delete(r->api->store, RESOURCE_RESPONSE.kind, id, req_project(r), NULL);
        store_delete(r->api->store, KIND_RUNNING, id, req_project(r), NULL);
}

/* ---- recovery ---- */

static const char interrupted[] = "The server stopped before the response was finished.";

/* The document of a response in the state failed; message NULL: that of any error of the server. */
static int fail_document(struct str text, const char *message, json_t **ret)
{
        struct json_fault why;
        json_t *doc = json_parse(text, STORE_DOC_DEPTH, &why), *object = json_object_get(doc, "object");
        json_t *output = json_array();
        int rc = !doc && why.no_memory ? -ENOMEM : !object ? -EIO : 0;
        if (rc == 0) {
                response_set_state(object, "failed", output, NULL, message);
                json_object_set_new(object, "completed_at", json_null());
                json_object_set_new(object, "incomplete_details", json_null());
                rc = mem_take_failure() ? -ENOMEM : 0;
        }
        json_decref(output);
        if (rc == 0)
                *ret = doc;
        else
                json_decref(doc);
        return rc;
}

/* Fails a response, if it is still there, and removes its mark, if it has one. 0 or a negative errno: -ENOENT
 * or -ESTALE when either was changed just now. */
static int fail_one(struct api *api, const char *id, const char *project, bool marked, const char *message)
{
        struct object row;
        struct op_list l;
        json_t *doc = NULL;
        struct store_op remove = { .verb = STORE_DELETE, .kind = KIND_RUNNING, .id = id, .project = project };
        op_list_init(&l);
        op_list_add(&l, &remove, marked);
        int rc = store_get(api->store, RESOURCE_RESPONSE.kind, id, project, &row, NULL);
        bool gone = rc == -ENOENT; /* deleted by its client while it ran */
        bool damaged = false;
        if (rc == 0) {
                rc = fail_document(row.doc, message, &doc);
                damaged = rc == -EIO;
        }
        if (rc == 0) {
                struct store_op update = { .verb = STORE_UPDATE,
                                           .kind = RESOURCE_RESPONSE.kind,
                                           .id = id,
                                           .project = project,
                                           .set = STORE_SET_DOC,
                                           .if_version = row.version };
                op_list_add_doc(&l, &update, doc);
        }
        if (damaged) /* one damaged document must not keep the server from starting */
                log_error("recover", "the stored response %s is damaged and stays as it is", id);
        if (rc == 0 || gone || damaged)
                rc = l.err ? l.err : l.ops.n ? store_write(api->store, l.ops.p, l.ops.n, NULL) : 0;
        object_release(&row);
        json_decref(doc);
        op_list_release(&l);
        return rc;
}

/* The same for the response of a mark. */
static int recover_one(struct api *api, const struct object *mark)
{
        int rc = fail_one(api, mark->id, mark->project, true, interrupted);
        /* Another process was first, or a client deleted it just now. */
        return rc == -ENOENT || rc == -ESTALE ? 0 : rc;
}

int stored_fail_response(struct api *api, const char *id, const char *project)
{
        struct object mark;
        int rc = store_get(api->store, KIND_RUNNING, id, project, &mark, NULL);
        bool marked = rc == 0;
        object_release(&mark);
        return rc == 0 || rc == -ENOENT ? fail_one(api, id, project, marked, NULL) : rc;
}

bool stored_is_finished(struct req *r, const char *id, const char *status)
{
        struct object row;
        struct json_fault why;
        if (store_get(r->api->store, RESOURCE_RESPONSE.kind, id, req_project(r), &row, NULL))
                return false;
        json_t *doc = json_parse(row.doc, STORE_DOC_DEPTH, &why);
        bool is = !strcmp(json_cstr(json_object_get(doc, "object"), "status", ""), status);
        json_decref(doc);
        object_release(&row);
        return is;
}

/* Whether the process that works on the response of a mark may be alive. */
static bool is_worked_on(struct api *api, const struct object *mark)
{
        struct json_fault why;
        json_t *doc = json_parse(mark->doc, STORE_DOC_DEPTH, &why);
        bool alive = presence_alive(api, json_cstr(doc, "process", ""));
        json_decref(doc);
        return alive;
}

int stored_recover(struct api *api)
{
        struct store_query q = { .kind = KIND_RUNNING, .limit = RECOVER_PAGE };
        char last[ID_MAX] = "";
        size_t recovered = 0;
        int rc = 0;
        for (bool more = true; more && rc == 0;) {
                struct store_page page;
                q.after = *last ? last : NULL;
                rc = store_list(api->store, &q, &page, NULL);
                if (rc)
                        break;
                *last = '\0'; /* the last mark that stays is where the next page begins */
                for (size_t i = 0; i < page.n && rc == 0; i++) {
                        if (is_worked_on(api, &page.items[i])) {
                                snprintf(last, sizeof(last), "%s", page.items[i].id);
                                continue;
                        }
                        rc = recover_one(api, &page.items[i]);
                        recovered += rc == 0;
                }
                more = page.has_more;
                store_page_release(&page);
        }
        if (recovered)
                log_warn("recover", "%zu responses were interrupted and are now failed", recovered);
        return rc == -ENOENT ? 0 : rc; /* a cursor that went: the rest waits for the next time */
}

void stored_upkeep(struct api *api)
{
        int rc = store_is_shared(api->store) ? stored_recover(api) : 0;
        if (rc)
                log_warn("recover", "cannot recover interrupted responses: %s", strerror(-rc));
}

/* ---- GET /chat/completions/{completion_id}/messages ---- */

/* A request's message as the list shows it: content as text, or null with its parts. */
static json_t *listed_message(const char *completion, size_t index, const json_t *message)
{
        char id[ID_MAX + 24];
        json_t *content = json_get(message, "content"), *name = json_get(message, "name");
        snprintf(id, sizeof(id), "%s-%zu", completion, index);
        bool parts = json_is_array(content);
        return json_pack("{s:s, s:s, s:O?, s:O?, s:O?, s:n, s:O*, s:O*}", "id", id, "role",
                         json_cstr(message, "role", ""), "content", parts ? NULL : content, "name", name,
                         "content_parts", parts ? content : NULL, "refusal", "tool_calls",
                         json_get(message, "tool_calls"), "tool_call_id", json_get(message, "tool_call_id"));
}

int chat_stored_messages(struct req *r, struct reply *ret, struct api_err *reterr)
{
        const char *id = req_param(r, RESOURCE_CHAT.id_param);
        struct page_query q = page_query(r, true);
        json_t *doc, *message;
        size_t i;
        if (resource_load(r, &RESOURCE_CHAT, id, &doc, NULL, reterr))
                return -1;
        json_t *all = json_keep(r->arena, json_array());
        json_array_foreach(json_object_get(doc, "messages"), i, message)
                json_array_append_new(all, listed_message(id, i, message));
        json_decref(doc);
        return page_of_array(all, &q, &ret->json, reterr);
}
