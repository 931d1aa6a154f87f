#include "api/stored.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "api/api.h"
#include "api/handlers.h"
#include "api/meter.h"
#include "api/page.h"
#include "api/resources.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/store.h"

#define KIND_RUNNING "response.running"
#define JSON_DEPTH_STORED 256
#define RECOVER_PAGE 100

/* ---- writing ---- */

int stored_put_chat(struct req *r, const char *id, int64_t created, json_t *doc, struct api_err *reterr)
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
                rc = meter_commit(r, &op, 1, &fault);
        buf_release(&text);
        json_decref(doc);
        return rc ? err_store(reterr, rc, &fault) : 0;
}

/* One row an item, below its response: found by item_reference, deleted with the response. */
static int item_ops(struct req *r, const char *response, int64_t created, const json_t *items,
                    struct store_op *ops, struct buf *texts, size_t *ret_n)
{
        size_t i, n = 0;
        json_t *item;
        json_array_foreach((json_t *)items, i, item)
        {
                buf_init(&texts[n], STORE_DOC_MAX);
                int rc = json_write(item, &texts[n]);
                ops[n] = (struct store_op){ .verb = STORE_PUT,
                                            .kind = KIND_ITEM,
                                            .id = json_cstr(item, "id", ""),
                                            .project = req_project(r),
                                            .parent = response,
                                            .created = created,
                                            .expires = created + r->api->options.retention_s,
                                            .doc = buf_str(&texts[n]) };
                n++;
                *ret_n = n;
                if (rc)
                        return rc;
        }
        return 0;
}

/* The row of the response itself. */
static struct store_op response_op(struct req *r, const char *id, int64_t created, enum stored_step step)
{
        return (struct store_op){ .verb = step == STORED_FINISHED ? STORE_UPDATE : STORE_PUT,
                                  .set = STORE_SET_DOC,
                                  .kind = RESOURCE_RESPONSE.kind,
                                  .id = id,
                                  .project = req_project(r),
                                  .created = created,
                                  .expires = created + r->api->options.retention_s };
}

/* The mark of a response in progress: a row of its own, so that a start finds the few there are at once. */
static struct store_op mark_op(const char *id, const char *project, enum store_verb verb)
{
        return (struct store_op){
                .verb = verb, .kind = KIND_RUNNING, .id = id, .project = project, .doc = STR("{}")
        };
}

int stored_put_response(struct req *r, const char *id, int64_t created, enum stored_step step, json_t *doc,
                        const json_t *items, struct api_err *reterr)
{
        size_t n_items = json_array_size(items), n = 0;
        struct store_fault fault = { 0 };
        struct store_op *ops = mem_calloc(n_items + 2, sizeof(*ops));
        struct buf *texts = mem_calloc(n_items + 1, sizeof(*texts));
        int rc =
                ops && texts && !mem_take_failure() ? 0 : -ENOMEM; /* a part of doc or items may be missing */
        if (rc == 0)
                rc = item_ops(r, id, created, items, ops + 1, texts + 1, &n);
        if (rc == 0) {
                buf_init(&texts[0], STORE_DOC_MAX);
                rc = json_write(doc, &texts[0]);
                ops[0] = response_op(r, id, created, step);
                ops[0].doc = buf_str(&texts[0]);
                ops[n + 1] = mark_op(id, req_project(r), step == STORED_STARTED ? STORE_PUT : STORE_DELETE);
        }
        if (rc == 0)
                rc = meter_commit(r, ops, n + (step == STORED_WHOLE ? 1 : 2), &fault);
        if (rc == -ENOENT && step == STORED_FINISHED) {
                store_delete(r->api->store, KIND_RUNNING, id, req_project(r), NULL);
                rc = 0;
        }
        for (size_t i = 0; texts && i <= n; i++)
                buf_release(&texts[i]);
        mem_free(texts);
        mem_free(ops);
        json_decref(doc);
        return rc ? err_store(reterr, rc, &fault) : 0;
}

void stored_drop_response(struct req *r, const char *id)
{
        store_delete(r->api->store, RESOURCE_RESPONSE.kind, id, req_project(r), NULL);
        store_delete(r->api->store, KIND_RUNNING, id, req_project(r), NULL);
}

/* ---- recovery ---- */

/* The document of an interrupted response as a failed one. */
static int fail_document(struct str doc, struct buf *out)
{
        struct json_fault why;
        json_t *v = json_parse(doc, JSON_DEPTH_STORED, &why);
        json_t *object = json_object_get(v, "object");
        if (!object) {
                json_decref(v);
                return -EIO;
        }
        json_object_set_new(object, "status", json_string("failed"));
        json_object_set_new(object, "error",
                            json_pack("{s:s, s:s}", "code", "server_error", "message",
                                      "The server stopped before the response was finished."));
        int rc = json_write(v, out);
        json_decref(v);
        return rc;
}

/* Fails the response of a mark, if it is still there, and removes the mark. */
static int recover_one(struct api *api, const struct object *mark)
{
        struct object row;
        struct buf text;
        struct store_op ops[2] = { mark_op(mark->id, mark->project, STORE_DELETE) };
        size_t n = 1;
        buf_init(&text, STORE_DOC_MAX);
        int rc = store_get(api->store, RESOURCE_RESPONSE.kind, mark->id, mark->project, &row, NULL);
        bool gone = rc == -ENOENT; /* deleted by its client while it ran */
        if (rc == 0)
                rc = fail_document(row.doc, &text);
        if (rc == 0)
                ops[n++] = (struct store_op){ .verb = STORE_UPDATE,
                                              .kind = RESOURCE_RESPONSE.kind,
                                              .id = mark->id,
                                              .project = mark->project,
                                              .set = STORE_SET_DOC,
                                              .doc = buf_str(&text) };
        if (rc == -EIO) /* one damaged document must not keep the server from starting */
                log_error("recover", "the stored response %s is damaged and stays as it is", mark->id);
        if (rc == 0 || gone || rc == -EIO)
                rc = store_write(api->store, ops, n, NULL);
        object_release(&row);
        buf_release(&text);
        return rc;
}

int stored_recover(struct api *api, size_t *ret_recovered)
{
        struct store_query q = { .kind = KIND_RUNNING, .limit = RECOVER_PAGE };
        int rc = 0;
        *ret_recovered = 0;
        for (bool more = true; more && rc == 0;) {
                struct store_page page;
                rc = store_list(api->store, &q, &page, NULL);
                if (rc)
                        break;
                for (size_t i = 0; i < page.n && rc == 0; i++)
                        rc = recover_one(api, &page.items[i]);
                more = page.n > 0;
                *ret_recovered += page.n;
                store_page_release(&page);
        }
        return rc;
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
