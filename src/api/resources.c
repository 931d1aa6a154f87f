#include "api/resources.h"

#include <errno.h>
#include <string.h>
#include "api/api.h"
#include "api/conversation.h"
#include "api/idempotency.h"
#include "api/page.h"
#include "api/response_background.h"
#include "api/webhooks.h"
#include "base/clock.h"
#include "base/mem.h"
#include "models/registry.h"
#include "store/store.h"

#define CHANGE_ATTEMPTS 16 /* of a change that others make at the same time */
#define ID_DIGITS 48

/* ---- the families ---- */

const struct resource RESOURCE_CHAT = { .kind = "chat.completion",
                                        .what = "Chat completion",
                                        .id_param = "completion_id",
                                        .list = "listChatCompletions",
                                        .retrieve = "getChatCompletion",
                                        .update = "updateChatCompletion",
                                        .del = "deleteChatCompletion",
                                        .deleted_object = "chat.completion.deleted",
                                        .filter = "model",
                                        .flags = RES_METADATA | RES_ASCENDING | RES_BY_MODEL };

const struct resource RESOURCE_RESPONSE = { .kind = "response",
                                            .what = "Response",
                                            .id_param = "response_id",
                                            .del = "deleteResponse",
                                            .deleted_object = "response",
                                            .on_delete = background_on_delete,
                                            .on_gone = background_on_gone };

static const struct resource *const resources[] = { &RESOURCE_CHAT,         &RESOURCE_RESPONSE,
                                                    &RESOURCE_CONVERSATION, &RESOURCE_CONVERSATION_ITEM,
                                                    &RESOURCE_FILE,         &RESOURCE_BATCH,
                                                    &RESOURCE_WEBHOOK,      &RESOURCE_WEBHOOK_DELIVERY };

/* ---- reading ---- */

const char *resource_parent_id(const struct req *r, const struct resource *res)
{
        return res->parent ? req_param(r, res->parent->id_param) : NULL;
}

const char *resource_key(struct req *r, const struct resource *res, const char *id)
{
        if (!(res->flags & RES_IN_PARENT))
                return id;
        return arena_printf(r->arena, "%s/%s", resource_parent_id(r, res), id);
}

/* -EINVAL: no id of ours looks like that. */
static bool is_absent(int rc)
{
        return rc == -ENOENT || rc == -EINVAL;
}

int resource_load(struct req *r, const struct resource *res, const char *id, json_t **ret, int64_t *version,
                  struct api_err *reterr)
{
        struct object row;
        struct store_fault fault = { 0 };
        struct json_fault why;
        const char *key = resource_key(r, res, id), *parent = resource_parent_id(r, res);
        int rc = key ? store_get(r->api->store, res->kind, key, req_project(r), &row, &fault) : -ENOMEM;
        if (rc == 0 && parent && strcmp(row.parent, parent)) {
                object_release(&row);
                rc = -ENOENT;
        }
        if (is_absent(rc))
                return err_not_found(reterr, res->what, id);
        if (rc)
                return err_store(reterr, rc, &fault);
        if (version)
                *version = row.version;
        *ret = json_parse(row.doc, STORE_DOC_DEPTH, &why);
        object_release(&row);
        return *ret ? 0 : err_internal(reterr, -EIO, "stored document", why.msg);
}

/* Whether the parents that the path names are there, outermost first; 404 in their words. */
static int check_parents(struct req *r, const struct resource *res, struct api_err *reterr)
{
        const struct resource *parent = res->parent;
        json_t *doc;
        if (!parent)
                return 0;
        if (check_parents(r, parent, reterr) ||
            resource_load(r, parent, resource_parent_id(r, res), &doc, NULL, reterr))
                return -1;
        json_decref(doc);
        return 0;
}

/* What the client is shown of an object (borrowed): a new reference. */
static json_t *shown(struct req *r, const struct resource *res, json_t *object)
{
        return res->show ? res->show(r, object) : json_incref(object);
}

static int resource_retrieve(struct req *r, struct reply *ret, struct api_err *reterr)
{
        const struct resource *res = r->route->resource;
        json_t *doc;
        if (check_parents(r, res, reterr) ||
            resource_load(r, res, req_param(r, res->id_param), &doc, NULL, reterr))
                return -1;
        if (!json_keep(r->arena, doc))
                return err_internal(reterr, -ENOMEM, "stored document", "");
        json_t *object = json_object_get(doc, "object");
        if (res->on_retrieve && res->on_retrieve(r, object, reterr))
                return -1;
        ret->json = shown(r, res, object);
        return ret->json ? 0 : err_internal(reterr, -ENOMEM, "stored document", "");
}

/* The strings of a metadata object as pairs of the store, in the request's arena. */
static size_t metadata_pairs(struct req *r, const json_t *metadata, const struct store_pair **ret)
{
        const char *key;
        json_t *value;
        size_t n = 0;
        struct store_pair *pairs = arena_array(r->arena, struct store_pair, json_object_size(metadata) + 1);
        *ret = pairs;
        if (!pairs)
                return 0;
        json_object_foreach((json_t *)metadata, key, value)
        {
                if (n < STORE_METADATA_MAX && json_is_string(value))
                        pairs[n++] = (struct store_pair){ key, json_string_value(value) };
        }
        return n;
}

/* ---- writing ---- */

/* The document of a change as text, and the metadata of its object as pairs for the lists that filter. */
static int fill_op(struct req *r, const struct resource *res, const json_t *doc, struct buf *text,
                   struct store_op *op)
{
        buf_init(text, STORE_DOC_MAX);
        int rc = mem_take_failure() ? -ENOMEM : json_write(doc, text); /* a part of it may be missing */
        op->doc = buf_str(text);
        if (res->flags & RES_METADATA)
                op->nmetadata = metadata_pairs(r, json_get(json_object_get(doc, "object"), "metadata"),
                                               &op->metadata);
        return rc;
}

int resource_put_op(struct req *r, const struct resource *res, const struct resource_change *c,
                    struct buf *text, struct store_op *ret)
{
        *ret = (struct store_op){ .verb = STORE_PUT,
                                  .kind = res->kind,
                                  .id = resource_key(r, res, c->id),
                                  .project = req_project(r),
                                  .parent = resource_parent_id(r, res),
                                  .created = c->created,
                                  .expires = c->expires };
        memcpy(ret->f, c->f, sizeof(ret->f));
        int rc = fill_op(r, res, c->doc, text, ret);
        return rc ? rc : ret->id ? 0 : -ENOMEM;
}

/* Does op, then the further operations of a change, as one transaction. *ret_other: it was one of the further
 * ones that failed. */
static int commit(struct req *r, const struct store_op *op, const struct resource_change *c, bool *ret_other,
                  struct store_fault *fault)
{
        struct store_op *all = arena_array(r->arena, struct store_op, c->n_more + 1);
        if (!all)
                return -ENOMEM;
        all[0] = *op;
        if (c->n_more)
                memcpy(all + 1, c->more, c->n_more * sizeof(*all));
        int rc = c->reply ? req_commit(r, all, c->n_more + 1, c->reply, fault)
                          : store_write(r->api->store, all, c->n_more + 1, fault);
        *ret_other = rc && rc != -EAGAIN && fault->op > 0;
        return rc;
}

int resource_put(struct req *r, const struct resource *res, const struct resource_change *c,
                 struct api_err *reterr)
{
        struct store_fault fault = { 0 };
        struct store_op op;
        struct buf text;
        bool other;
        int rc = resource_put_op(r, res, c, &text, &op);
        if (rc == 0)
                rc = commit(r, &op, c, &other, &fault);
        buf_release(&text);
        return rc ? err_store(reterr, rc, &fault) : 0;
}

/* {"object": {id, object, created_at, the fields of the body}} of the request's arena. */
static json_t *new_document(struct req *r, const struct resource *res, const char *id, int64_t created)
{
        const char *key;
        json_t *value,
                *doc = json_keep(r->arena, json_pack("{s:{s:s, s:s, s:I}}", "object", "id", id, "object",
                                                     res->object, "created_at", (json_int_t)created));
        json_t *object = json_object_get(doc, "object");
        json_object_foreach(r->body, key, value)
        {
                if (!json_is_null(value))
                        json_object_set(object, key, value);
        }
        return doc;
}

static int resource_create(struct req *r, struct reply *ret, struct api_err *reterr)
{
        const struct resource *res = r->route->resource;
        char id[ID_MAX];
        struct resource_change c = { .id = id_hex(id, res->prefix, ID_DIGITS), .created = clock_unix() };
        if (check_parents(r, res, reterr))
                return -1;
        c.doc = new_document(r, res, id, c.created);
        if (!c.doc)
                return err_internal(reterr, -ENOMEM, "new object", "");
        if (res->on_create && res->on_create(r, &c, reterr))
                return -1;
        json_t *reply = shown(r, res, json_object_get(c.doc, "object"));
        if (!reply)
                return err_internal(reterr, -ENOMEM, "new object", "");
        c.reply = reply;
        if (resource_put(r, res, &c, reterr)) {
                json_decref(reply);
                return -1;
        }
        ret->json = reply;
        return 0;
}

/* What a failed change means to the client; rc of the last attempt. */
static int change_failed(const struct resource *res, const char *id, int rc, bool other,
                         const struct store_fault *fault, struct api_err *reterr)
{
        if (is_absent(rc) && !other)
                return err_not_found(reterr, res->what, id);
        if (rc == -ESTALE || other) /* whoever is so busy will be through in a moment */
                return err_overloaded(reterr);
        return err_store(reterr, rc, fault);
}

/* One attempt of a change: 0 with *ret_object (new, of an update), a negative errno of the store, or 1 with
 * *reterr. *ret_other: what failed is not the object's own row. */
typedef int change_fn(struct req *r, const struct resource *res, const char *id, json_t **ret_object,
                      bool *ret_other, struct store_fault *fault, struct api_err *reterr);

static int update_once(struct req *r, const struct resource *res, const char *id, json_t **ret_object,
                       bool *ret_other, struct store_fault *fault, struct api_err *reterr)
{
        struct resource_change c = { .id = id };
        struct store_op op = { .verb = STORE_UPDATE,
                               .kind = res->kind,
                               .id = resource_key(r, res, id),
                               .project = req_project(r),
                               .set = STORE_SET_DOC | (res->flags & RES_METADATA ? STORE_SET_METADATA : 0) };
        struct buf text;
        if (resource_load(r, res, id, &c.doc, &op.if_version, reterr))
                return 1;
        json_t *object = json_object_get(c.doc, "object");
        if (!json_keep(r->arena, c.doc) || !op.id)
                return -ENOMEM;
        json_object_update(object, r->body);
        if (res->on_update && res->on_update(r, &c, reterr))
                return 1;
        json_t *reply = shown(r, res, object);
        c.reply = reply;
        int rc = fill_op(r, res, c.doc, &text, &op);
        if (rc == 0)
                rc = reply ? commit(r, &op, &c, ret_other, fault) : -ENOMEM;
        buf_release(&text);
        if (rc == 0)
                *ret_object = reply;
        else
                json_decref(reply);
        return rc;
}

/* Changes what the path names; a concurrent change means reading again. 0 or -1. */
static int change(struct req *r, change_fn *once, json_t **ret_object, struct api_err *reterr)
{
        const struct resource *res = r->route->resource;
        const char *id = req_param(r, res->id_param);
        struct store_fault fault = { 0 };
        bool other = false;
        int rc = -ESTALE;
        if (check_parents(r, res, reterr))
                return -1;
        for (int i = 0; i < CHANGE_ATTEMPTS && (rc == -ESTALE || other); i++) {
                other = false;
                rc = once(r, res, id, ret_object, &other, &fault, reterr);
        }
        if (rc)
                return rc > 0 ? -1 : change_failed(res, id, rc, other, &fault, reterr);
        return 0;
}

/* Fields of the body replace those of the object. */
static int resource_update(struct req *r, struct reply *ret, struct api_err *reterr)
{
        return change(r, update_once, &ret->json, reterr);
}

/* One attempt of a deletion. The hooks are given the document; without hooks it is not read. */
static int delete_once(struct req *r, const struct resource *res, const char *id, json_t **ret_object,
                       bool *ret_other, struct store_fault *fault, struct api_err *reterr)
{
        (void)ret_object; /* it is gone */
        struct resource_change c = { .id = id };
        struct store_op op = { .verb = STORE_DELETE,
                               .kind = res->kind,
                               .id = resource_key(r, res, id),
                               .project = req_project(r) };
        if (!op.id)
                return -ENOMEM;
        if (res->on_delete || res->on_gone || res->parent) {
                if (resource_load(r, res, id, &c.doc, &op.if_version, reterr))
                        return 1;
                if (!json_keep(r->arena, c.doc))
                        return -ENOMEM;
        }
        if (res->on_delete && res->on_delete(r, &c, reterr))
                return 1;
        int rc = commit(r, &op, &c, ret_other, fault);
        if (rc == 0 && res->on_gone)
                res->on_gone(r, c.doc);
        return rc;
}

/* The reply to a deletion. */
static int deleted(struct req *r, const struct resource *res, const char *id, json_t **ret,
                   struct api_err *reterr)
{
        json_t *doc;
        if (res->deleted_object) {
                *ret = json_pack("{s:s, s:s, s:b}", "id", id, "object", res->deleted_object, "deleted", 1);
        } else {
                if (resource_load(r, res->parent, resource_parent_id(r, res), &doc, NULL, reterr))
                        return -1;
                *ret = json_keep(r->arena, doc) ? shown(r, res->parent, json_object_get(doc, "object"))
                                                : NULL;
        }
        return *ret ? 0 : err_internal(reterr, -ENOMEM, "deletion", "");
}

static int resource_delete(struct req *r, struct reply *ret, struct api_err *reterr)
{
        const struct resource *res = r->route->resource;
        if (change(r, delete_once, NULL, reterr))
                return -1;
        return deleted(r, res, req_param(r, res->id_param), &ret->json, reterr);
}

/* ---- lists ---- */

/* What the filter column must equal, or NULL. */
static const char *filter_value(struct req *r, const struct resource *res)
{
        const char *value = res->filter ? json_cstr(r->query, res->filter, NULL) : NULL;
        const struct model *m =
                value && res->flags & RES_BY_MODEL ? registry_find(r->api->models, str_c(value)) : NULL;
        return m ? m->id : value;
}

/* The objects of a page as they are shown: a new array, NULL when memory is out. */
static json_t *shown_page(struct req *r, const struct resource *res, const struct store_page *page)
{
        struct json_fault why;
        json_t *data = json_array();
        for (size_t i = 0; i < page->n; i++) {
                json_t *doc = json_parse(page->items[i].doc, STORE_DOC_DEPTH, &why);
                json_t *object = json_object_get(doc, "object");
                if (object && json_array_append_new(data, shown(r, res, object))) {
                        json_decref(doc);
                        json_decref(data);
                        return NULL;
                }
                json_decref(doc);
        }
        return data;
}

static int resource_list(struct req *r, struct reply *ret, struct api_err *reterr)
{
        const struct resource *res = r->route->resource;
        struct page_query q = page_query(r, res->flags & RES_ASCENDING);
        struct store_query sq = { .kind = res->kind,
                                  .project = req_project(r),
                                  .parent = resource_parent_id(r, res),
                                  .after = q.after ? resource_key(r, res, q.after) : NULL,
                                  .before = q.before ? resource_key(r, res, q.before) : NULL,
                                  .descending = q.descending,
                                  .limit = json_get(r->query, "limit") || !res->page ? q.limit : res->page,
                                  .f = { filter_value(r, res) } };
        struct store_fault fault = { 0 };
        struct store_page page;
        if (check_parents(r, res, reterr))
                return -1;
        if (res->flags & RES_METADATA)
                sq.nmetadata = metadata_pairs(r, json_get(r->query, "metadata"), &sq.metadata);
        int rc = store_list(r->api->store, &sq, &page, &fault);
        if (rc == -ENOENT || (rc == -EINVAL && (q.after || q.before)))
                return page_bad_cursor(&q, reterr);
        if (rc)
                return err_store(reterr, rc, &fault);
        json_t *data = shown_page(r, res, &page);
        ret->json = data ? page_json(data, page.has_more) : NULL;
        store_page_release(&page);
        return ret->json ? 0 : err_internal(reterr, -ENOMEM, "list", "");
}

/* ---- operations ---- */

static handler_fn *handler_of(const struct resource *res, const char *operation)
{
        const struct {
                const char *operation;
                handler_fn *handler;
        } ops[] = { { res->create, resource_create },
                    { res->list, resource_list },
                    { res->retrieve, resource_retrieve },
                    { res->update, resource_update },
                    { res->del, resource_delete } };
        for (size_t i = 0; i < sizeof(ops) / sizeof(*ops); i++)
                if (ops[i].operation && !strcmp(ops[i].operation, operation))
                        return ops[i].handler;
        return NULL;
}

handler_fn *resource_handler(const char *operation, const struct resource **ret)
{
        for (size_t i = 0; i < sizeof(resources) / sizeof(*resources); i++) {
                handler_fn *handler = handler_of(resources[i], operation);
                *ret = resources[i];
                if (handler)
                        return handler;
        }
        *ret = NULL;
        return NULL;
}

size_t resource_operations(void)
{
        size_t n = 0;
        for (size_t i = 0; i < sizeof(resources) / sizeof(*resources); i++) {
                const struct resource *res = resources[i];
                n += (res->create != NULL) + (res->list != NULL) + (res->retrieve != NULL) +
                     (res->update != NULL) + (res->del != NULL);
        }
        return n;
}
