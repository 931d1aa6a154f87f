#include "api/resources.h"

#include <errno.h>
#include <string.h>
#include "api/api.h"
#include "api/page.h"
#include "base/mem.h"
#include "models/registry.h"
#include "store/store.h"

#define JSON_DEPTH_STORED 256
#define UPDATE_ATTEMPTS 16

/* ?stream=true resumes a background response; these are not. */
static int response_on_retrieve(struct req *r, const json_t *object, struct api_err *reterr)
{
        if (json_flag(r->query, "stream", false) && !json_flag(object, "background", false))
                return err_invalid(reterr, "invalid_value", "stream",
                                   "Only a response created with background=true can be streamed again.");
        return 0;
}

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
                                            .retrieve = "getResponse",
                                            .del = "deleteResponse",
                                            .deleted_object = "response",
                                            .on_retrieve = response_on_retrieve };

static const struct resource *const resources[] = { &RESOURCE_CHAT, &RESOURCE_RESPONSE };

int resource_load(struct req *r, const struct resource *res, const char *id, json_t **ret, int64_t *version,
                  struct api_err *reterr)
{
        struct object row;
        struct store_fault fault = { 0 };
        struct json_fault why;
        int rc = store_get(r->api->store, res->kind, id, req_project(r), &row, &fault);
        if (rc == -ENOENT || rc == -EINVAL) /* -EINVAL: no id of ours looks like that */
                return err_not_found(reterr, res->what, id);
        if (rc)
                return err_store(reterr, rc, &fault);
        if (version)
                *version = row.version;
        *ret = json_parse(row.doc, JSON_DEPTH_STORED, &why);
        object_release(&row);
        return *ret ? 0 : err_internal(reterr, -EIO, "stored document", why.msg);
}

static int resource_retrieve(struct req *r, struct reply *ret, struct api_err *reterr)
{
        const struct resource *res = r->route->resource;
        json_t *doc;
        if (resource_load(r, res, req_param(r, res->id_param), &doc, NULL, reterr))
                return -1;
        if (!json_keep(r->arena, doc))
                return err_internal(reterr, -ENOMEM, "stored document", "");
        json_t *object = json_object_get(doc, "object");
        if (res->on_retrieve && res->on_retrieve(r, object, reterr))
                return -1;
        ret->json = json_incref(object);
        return 0;
}

static int resource_delete(struct req *r, struct reply *ret, struct api_err *reterr)
{
        const struct resource *res = r->route->resource;
        const char *id = req_param(r, res->id_param);
        struct store_fault fault = { 0 };
        int rc = store_delete(r->api->store, res->kind, id, req_project(r), &fault);
        if (rc == -ENOENT || rc == -EINVAL)
                return err_not_found(reterr, res->what, id);
        if (rc)
                return err_store(reterr, rc, &fault);
        ret->json = json_pack("{s:s, s:s, s:b}", "id", id, "object", res->deleted_object, "deleted", 1);
        return 0;
}

/* The strings of a metadata object as pairs of the store, in the request's arena. */
static size_t metadata_pairs(struct req *r, const json_t *metadata, struct store_pair **ret)
{
        const char *key;
        json_t *value;
        size_t n = 0;
        *ret = arena_array(r->arena, struct store_pair, json_object_size(metadata) + 1);
        if (!*ret)
                return 0;
        json_object_foreach((json_t *)metadata, key, value)
        {
                if (n < STORE_METADATA_MAX && json_is_string(value))
                        (*ret)[n++] = (struct store_pair){ key, json_string_value(value) };
        }
        return n;
}

/* Writes the changed document if nobody else has changed it meanwhile: 0, -ESTALE, or another error. */
static int save(struct req *r, const struct resource *res, const char *id, const json_t *doc, int64_t version,
                struct store_fault *fault)
{
        struct store_pair *pairs;
        struct buf text;
        buf_init(&text, STORE_DOC_MAX);
        struct store_op op = { .verb = STORE_UPDATE,
                               .kind = res->kind,
                               .id = id,
                               .project = req_project(r),
                               .set = STORE_SET_DOC,
                               .if_version = version };
        int rc = mem_take_failure() ? -ENOMEM : json_write(doc, &text); /* a part of it may be missing */
        if (res->flags & RES_METADATA) {
                op.set |= STORE_SET_METADATA;
                op.nmetadata =
                        metadata_pairs(r, json_get(json_object_get(doc, "object"), "metadata"), &pairs);
                op.metadata = pairs;
        }
        op.doc = buf_str(&text);
        if (rc == 0)
                rc = store_write(r->api->store, &op, 1, fault);
        buf_release(&text);
        return rc;
}

/* Fields of the body replace those of the object. A concurrent change means reading again. */
static int resource_update(struct req *r, struct reply *ret, struct api_err *reterr)
{
        const struct resource *res = r->route->resource;
        const char *id = req_param(r, res->id_param);
        struct store_fault fault = { 0 };
        int rc = -ESTALE;
        for (int i = 0; i < UPDATE_ATTEMPTS && rc == -ESTALE; i++) {
                json_t *doc;
                int64_t version;
                if (resource_load(r, res, id, &doc, &version, reterr))
                        return -1;
                json_t *object = json_object_get(doc, "object");
                json_object_update(object, r->body);
                rc = save(r, res, id, doc, version, &fault);
                if (rc == 0)
                        ret->json = json_incref(object);
                json_decref(doc);
        }
        if (rc == -ENOENT)
                return err_not_found(reterr, res->what, id);
        return rc ? err_store(reterr, rc, &fault) : 0;
}

/* What the filter column must equal, or NULL. */
static const char *filter_value(struct req *r, const struct resource *res)
{
        const char *value = res->filter ? json_cstr(r->query, res->filter, NULL) : NULL;
        const struct model *m =
                value && res->flags & RES_BY_MODEL ? registry_find(r->api->models, str_c(value)) : NULL;
        return m ? m->id : value;
}

static int resource_list(struct req *r, struct reply *ret, struct api_err *reterr)
{
        const struct resource *res = r->route->resource;
        struct page_query q = page_query(r, res->flags & RES_ASCENDING);
        struct store_query sq = { .kind = res->kind,
                                  .project = req_project(r),
                                  .after = q.after,
                                  .before = q.before,
                                  .descending = q.descending,
                                  .limit = q.limit,
                                  .f = { filter_value(r, res) } };
        struct store_fault fault = { 0 };
        struct store_page page;
        struct store_pair *pairs;
        struct json_fault why;
        if (res->flags & RES_METADATA) {
                sq.nmetadata = metadata_pairs(r, json_get(r->query, "metadata"), &pairs);
                sq.metadata = pairs;
        }
        int rc = store_list(r->api->store, &sq, &page, &fault);
        if (rc == -ENOENT || (rc == -EINVAL && (q.after || q.before)))
                return page_bad_cursor(&q, reterr);
        if (rc)
                return err_store(reterr, rc, &fault);
        json_t *data = json_array();
        for (size_t i = 0; i < page.n; i++) {
                json_t *doc = json_parse(page.items[i].doc, JSON_DEPTH_STORED, &why);
                json_array_append(data, json_object_get(doc, "object"));
                json_decref(doc);
        }
        ret->json = page_json(data, page.has_more);
        store_page_release(&page);
        return 0;
}

static bool is(const char *a, const char *b)
{
        return a && !strcmp(a, b);
}

handler_fn *resource_handler(const char *operation, const struct resource **ret)
{
        for (size_t i = 0; i < sizeof(resources) / sizeof(*resources); i++) {
                const struct resource *res = *ret = resources[i];
                if (is(res->list, operation))
                        return resource_list;
                if (is(res->retrieve, operation))
                        return resource_retrieve;
                if (is(res->update, operation))
                        return resource_update;
                if (is(res->del, operation))
                        return resource_delete;
        }
        *ret = NULL;
        return NULL;
}

size_t resource_operations(void)
{
        size_t n = 0;
        for (size_t i = 0; i < sizeof(resources) / sizeof(*resources); i++) {
                const struct resource *res = resources[i];
                n += (res->list != NULL) + (res->retrieve != NULL) + (res->update != NULL) +
                     (res->del != NULL);
        }
        return n;
}
