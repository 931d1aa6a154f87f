/* Webhook endpoints. A document is {"object", "config": what the object said when updated_at was set,
 * "secrets": see jobs/webhook_secret.h}; a secret itself leaves the server once, in the reply of the call
 * that made it. */
#include "api/webhooks.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <string.h>
#include "api/api.h"
#include "api/durable.h"
#include "api/handlers.h"
#include "api/idempotency.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "http/client.h"
#include "jobs/webhook.h"
#include "jobs/webhook_secret.h"

#define ENDPOINTS_MAX 100 /* of a project */
#define ID_HEX 32
#define KIND_COUNT "webhook.count" /* one row of each project: its version counts creations */
#define CREATE_ATTEMPTS 256        /* each is lost only to another creation */
#define CHANGE_ATTEMPTS 16

/* ---- what an endpoint says ---- */

static int check_url(struct req *r, const json_t *object, struct api_err *e)
{
        char why[256] = "";
        int rc = http_guard_url(r->api->guard, json_cstr(object, "url", ""), why, sizeof(why));
        if (rc == -ENOMEM)
                return err_internal(e, rc, "webhook url", "");
        return rc ? err_invalid(e, rc == -EACCES ? "url_not_allowed" : "invalid_value", "url",
                                "Invalid 'url': the URL %s", why)
                  : 0;
}

/* Each type once, in the order given. */
static void without_repeats(json_t *types)
{
        for (size_t i = 0; i < json_array_size(types); i++)
                for (size_t k = json_array_size(types); --k > i;)
                        if (json_equal(json_array_get(types, i), json_array_get(types, k)))
                                json_array_remove(types, k);
}

/* Notes when what deliveries depend on has changed; doc.config remembers it. */
static int touch(json_t *doc, int64_t now)
{
        json_t *object = json_object_get(doc, "object");
        json_t *config =
                json_pack("{s:O, s:O, s:o}", "name", json_get(object, "name"), "url", json_get(object, "url"),
                          "event_types", json_copy(json_get(object, "event_types")));
        if (!config)
                return -ENOMEM;
        if (json_equal(config, json_get(doc, "config"))) {
                json_decref(config);
                return 0;
        }
        int rc = json_put(doc, "config", config);
        return rc ? rc : json_put(object, "updated_at", json_integer((json_int_t)now));
}

static int on_update(struct req *r, struct resource_change *c, struct api_err *e)
{
        json_t *object = json_object_get(c->doc, "object");
        if (check_url(r, object, e))
                return -1;
        without_repeats(json_get(object, "event_types"));
        return touch(c->doc, clock_unix()) ? err_internal(e, -ENOMEM, "webhook", "") : 0;
}

const struct resource RESOURCE_WEBHOOK = { .kind = KIND_WEBHOOK,
                                           .what = "Webhook endpoint",
                                           .id_param = "webhook_endpoint_id",
                                           .list = "listWebhookEndpoints",
                                           .retrieve = "retrieveWebhookEndpoint",
                                           .update = "updateWebhookEndpoint",
                                           .del = "deleteWebhookEndpoint",
                                           .deleted_object = "webhook_endpoint.deleted",
                                           .on_update = on_update };

const struct resource RESOURCE_WEBHOOK_DELIVERY = { .kind = KIND_WEBHOOK_DELIVERY,
                                                    .what = "Webhook delivery",
                                                    .id_param = "delivery_id",
                                                    .parent = &RESOURCE_WEBHOOK,
                                                    .list = "listWebhookDeliveries" };

/* ---- creation and rotation: the replies that hold a secret ---- */

static int reply_secret(const json_t *doc, char secret[WEBHOOK_SECRET_SIZE], struct reply *ret,
                        struct api_err *e)
{
        ret->json = json_copy(json_object_get(doc, "object"));
        int rc = ret->json ? json_put(ret->json, "signing_secret", json_string(secret)) : -ENOMEM;
        return rc ? err_internal(e, -ENOMEM, "webhook", "") : 0;
}

/* Counts the project's endpoints. *ret becomes the operation that every creation begins with: it changes a
 * row, in the version that the count found, so that of two creations which counted the same one fails. 0, a
 * negative errno of the store, or 1 with *e when there are too many. */
static int count(struct req *r, struct store_op *ret, struct store_fault *fault, struct api_err *e)
{
        const char *project = req_project(r);
        struct store_query q = { .kind = KIND_WEBHOOK, .project = project, .limit = ENDPOINTS_MAX };
        struct object row;
        struct store_page page;
        int rc = store_get(r->api->store, KIND_COUNT, project, project, &row, fault);
        if (rc && rc != -ENOENT)
                return rc;
        *ret = (struct store_op){ .verb = rc ? STORE_PUT : STORE_UPDATE,
                                  .kind = KIND_COUNT,
                                  .id = project,
                                  .project = project,
                                  .set = STORE_SET_DOC,
                                  .if_version = row.version,
                                  .doc = STR("{}") };
        object_release(&row);
        rc = store_list(r->api->store, &q, &page, fault);
        if (rc)
                return rc;
        bool full = page.n >= ENDPOINTS_MAX;
        store_page_release(&page);
        if (full)
                err_invalid(e, "limit_exceeded", NULL,
                            "A project may have %d webhook endpoints; delete one first.", ENDPOINTS_MAX);
        return full;
}

/* The document of a new endpoint, in the request's arena. */
static json_t *new_document(struct req *r, const char *id, int64_t now)
{
        json_t *doc = json_pack("{s:{s:s, s:s, s:I, s:I, s:O, s:O, s:O}}", "object", "id", id, "object",
                                "webhook_endpoint", "created_at", (json_int_t)now, "updated_at",
                                (json_int_t)now, "name", json_get(r->body, "name"), "url",
                                json_get(r->body, "url"), "event_types", json_get(r->body, "event_types"));
        without_repeats(json_get(json_object_get(doc, "object"), "event_types"));
        if (doc && touch(doc, now)) {
                json_decref(doc);
                doc = NULL;
        }
        return json_keep(r->arena, doc);
}

/* One attempt: 0, a negative errno of the store, -ESTALE when another endpoint was made meanwhile, or 1 with
 * *e. */
static int put_once(struct req *r, const struct resource_change *c, const json_t *reply,
                    struct store_fault *fault, struct api_err *e)
{
        struct store_op ops[2];
        struct buf text;
        int rc = count(r, &ops[0], fault, e);
        if (rc)
                return rc;
        rc = resource_put_op(r, &RESOURCE_WEBHOOK, c, &text, &ops[1]);
        if (rc == 0)
                rc = req_commit(r, ops, 2, reply, fault);
        buf_release(&text);
        bool lost = fault->op == 0 && (rc == -EEXIST || rc == -ESTALE);
        return lost ? -ESTALE : rc == -ESTALE ? -EALREADY : rc; /* the other row is that of the key */
}

/* Commits a new endpoint together with the reply, for who repeats the request. */
static int put_endpoint(struct req *r, const struct resource_change *c, struct reply *ret, struct api_err *e)
{
        struct store_fault fault = { 0 };
        int rc = -ESTALE;
        for (int i = 0; i < CREATE_ATTEMPTS && rc == -ESTALE; i++)
                rc = put_once(r, c, ret->json, &fault, e);
        if (rc == 0)
                return 0;
        json_decref(ret->json);
        ret->json = NULL;
        return rc > 0 ? -1 : rc == -ESTALE ? err_overloaded(e) : err_store(e, rc, &fault);
}

int webhook_create(struct req *r, struct reply *ret, struct api_err *e)
{
        char id[ID_MAX], secret[WEBHOOK_SECRET_SIZE] = "";
        struct resource_change c = { .id = id_hex(id, "whe_", ID_HEX), .created = clock_unix() };
        if (check_url(r, r->body, e))
                return -1;
        c.doc = new_document(r, id, c.created);
        int rc = c.doc ? webhook_secret_renew(r->api->account, id, c.doc, false, c.created, secret) : -ENOMEM;
        rc = rc ? err_internal(e, rc, "webhook", "") : reply_secret(c.doc, secret, ret, e);
        OPENSSL_cleanse(secret, sizeof(secret));
        return rc ? rc : put_endpoint(r, &c, ret, e);
}

/* One attempt: 0 with *ret filled, a negative errno of the store, or 1 with *e filled. */
static int rotate_once(struct req *r, const char *id, struct reply *ret, struct store_fault *fault,
                       struct api_err *e)
{
        bool keep = json_flag(r->body, "keep_old_secret_active_for_24_hours", false);
        char secret[WEBHOOK_SECRET_SIZE] = "";
        struct store_op op = { .verb = STORE_UPDATE,
                               .kind = KIND_WEBHOOK,
                               .id = id,
                               .project = req_project(r),
                               .set = STORE_SET_DOC };
        json_t *doc;
        struct buf text;
        if (resource_load(r, &RESOURCE_WEBHOOK, id, &doc, &op.if_version, e))
                return 1;
        buf_init(&text, STORE_DOC_MAX);
        int rc = json_keep(r->arena, doc) ? 0 : -ENOMEM;
        if (rc == 0)
                rc = webhook_secret_renew(r->api->account, id, doc, keep, clock_unix(), secret);
        if (rc == 0)
                rc = json_put(json_object_get(doc, "object"), "updated_at",
                              json_integer((json_int_t)clock_unix()));
        if (rc == 0)
                rc = json_write(doc, &text);
        op.doc = buf_str(&text);
        if (rc == 0 && reply_secret(doc, secret, ret, e))
                rc = 1;
        if (rc == 0)
                rc = req_commit(r, &op, 1, ret->json, fault);
        if (rc) {
                json_decref(ret->json);
                ret->json = NULL;
        }
        OPENSSL_cleanse(secret, sizeof(secret));
        buf_release(&text);
        return rc;
}

int webhook_rotate(struct req *r, struct reply *ret, struct api_err *e)
{
        const char *id = req_param(r, RESOURCE_WEBHOOK.id_param);
        struct store_fault fault = { 0 };
        int rc = -ESTALE;
        for (int i = 0; i < CHANGE_ATTEMPTS && rc == -ESTALE; i++)
                rc = rotate_once(r, id, ret, &fault, e);
        if (rc == -ENOENT)
                err_not_found(e, RESOURCE_WEBHOOK.what, id);
        else if (rc == -ESTALE)
                err_overloaded(e);
        else if (rc < 0)
                err_store(e, rc, &fault);
        return rc ? -1 : 0;
}

/* ---- POST /webhook_endpoints/{id}/test ---- */

/* What the data of a type's events is: an id with the prefix of its family, or a call. */
static json_t *sample_data(const char *type)
{
        static const struct {
                const char *begin, *prefix;
        } families[] = { { "response.", "resp_" },      { "batch.", "batch_" },
                         { "eval.run.", "evalrun_" },   { "fine_tuning.job.", "ftjob-" },
                         { "video.", "video_" },        { "agent.environment.", "env_" },
                         { "agent.session.", "sess_" }, { "", "obj_" } };
        const char *prefix = "";
        char id[ID_MAX];
        size_t i = 0;
        if (!strcmp(type, "realtime.call.incoming") || !strcmp(type, "live.call.incoming"))
                return json_pack("{s:s, s:[{s:s, s:s}]}", *type == 'r' ? "call_id" : "session_id",
                                 id_hex(id, *type == 'r' ? "rtc_" : "sess_", ID_HEX), "sip_headers", "name",
                                 "From", "value", "sip:test@example.com");
        while (!str_starts(str_c(type), families[i].begin))
                i++;
        prefix = families[i].prefix;
        json_t *data = json_pack("{s:s}", "id", id_hex(id, prefix, ID_HEX));
        if (str_starts(str_c(type), "agent.session."))
                json_object_set_new(data, "environment_type", json_string("none"));
        if (!strcmp(type, "agent.session.action_required"))
                json_object_set_new(data, "required_action", json_pack("{s:s}", "type", "function_call"));
        return data;
}

struct trial {
        struct req *r;
        const char *type, *endpoint;
        uint64_t call;
};

/* On the client's thread. */
static void on_answer(void *ctx, const struct http_answer *a)
{
        struct trial *t = ctx;
        struct req *r = t->r;
        struct api_err e = { 0 };
        webhook_leave(r->api->webhooks, req_project(r), t->endpoint, a->elapsed_ms);
        req_on_abort(r, NULL, NULL);
        mem_take_failure();
        if (a->rc == -ECANCELED) {
                err_overloaded(&e);
                req_fail(r, &e);
        } else if (a->rc) {
                err_invalid(&e, "webhook_endpoint_unreachable", NULL,
                            "The webhook endpoint gave no answer: %s.", a->err);
                req_fail(r, &e);
        } else { /* "success" is true of every result, as the official clients say: status_code tells more */
                req_reply(r, &(struct reply){ .json = json_pack("{s:s, s:s, s:i, s:b, s:s}", "object",
                                                                "webhook_endpoint.test", "event_type",
                                                                t->type, "status_code", a->status, "success",
                                                                1, "webhook_endpoint_id", t->endpoint) });
        }
        req_unref(r);
}

static void on_gone(void *ctx)
{
        struct trial *t = ctx;
        http_client_cancel(t->r->api->client, t->call);
}

/* The text of a sample event in the request's arena, and its id. */
static struct str sample_event(struct req *r, const char *type, char id[ID_MAX])
{
        json_t *data = sample_data(type);
        json_t *event = webhook_event_json(id_hex(id, "evt_", ID_HEX), type, clock_unix(), data);
        struct str out = json_arena_text(r->arena, event);
        json_decref(event);
        json_decref(data);
        return out;
}

/* Posts to the endpoint, or of the project, have all the places there are. */
static int busy(int64_t wait_ms, struct api_err *e)
{
        err_set(e, 429, "requests", "rate_limit_exceeded", NULL,
                "Too many posts to webhook endpoints of this project are under way. Please try again in a "
                "moment.");
        e->retry_after_ms = (int)wait_ms;
        return -1;
}

int webhook_test(struct req *r, struct reply *ret, struct api_err *e)
{
        struct trial *t = arena_make(r->arena, struct trial);
        char event_id[ID_MAX];
        int64_t wait_ms;
        json_t *doc;
        (void)ret;
        if (!t)
                return err_internal(e, -ENOMEM, "webhook", "");
        *t = (struct trial){ r, json_cstr(r->body, "event_type", ""), req_param(r, RESOURCE_WEBHOOK.id_param),
                             0 };
        if (resource_load(r, &RESOURCE_WEBHOOK, t->endpoint, &doc, NULL, e))
                return -1;
        struct str body = sample_event(r, t->type, event_id);
        if (!json_keep(r->arena, doc) || !body.p)
                return err_internal(e, -ENOMEM, "webhook", "");
        if (!webhook_enter(r->api->webhooks, req_project(r), t->endpoint, &wait_ms))
                return busy(wait_ms, e);
        req_ref(r); /* of on_answer */
        int rc = webhook_post(r->api->webhooks, t->endpoint, doc, event_id, body, on_answer, t, &t->call);
        if (rc) {
                webhook_leave(r->api->webhooks, req_project(r), t->endpoint, 0);
                req_unref(r);
                return err_internal(e, rc, "webhook", "");
        }
        req_on_abort(r, on_gone, t);
        return REPLY_LATER;
}

/* ---- GET /webhook_event_types ---- */

int webhook_event_types(struct req *r, struct reply *ret, struct api_err *e)
{
        const struct schema *types = contract_schema("WebhookEventType");
        json_t *data = json_array();
        const char *word;
        (void)r;
        for (unsigned i = 0; (word = schema_word(types, i)); i++)
                json_array_append_new(data, json_string(word));
        ret->json = json_pack("{s:s, s:o}", "object", "list", "data", data);
        return ret->json ? 0 : err_internal(e, -ENOMEM, "event types", "");
}

/* ---- the workers ---- */

static void report(const char *finding)
{
        log_error("webhooks", "%s", finding);
}

static int open_workers(struct api *api, struct durable_list *list)
{
        int rc = webhooks_new(api->store, api->account, api->client, report, &api->webhooks);
        if (rc)
                return rc;
        webhooks_workers(api->webhooks, list->workers + list->n);
        list->n += WEBHOOK_WORKERS;
        return 0;
}

static void close_workers(struct api *api)
{
        webhooks_free(api->webhooks);
        api->webhooks = NULL;
}

const struct durable_family DURABLE_WEBHOOKS = { "webhooks", open_workers, close_workers };
