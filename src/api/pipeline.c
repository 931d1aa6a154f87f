#include "api/pipeline.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "api/api.h"
#include "api/call.h"
#include "api/faults.h"
#include "api/form.h"
#include "api/meter.h"
#include "api/idempotency.h"
#include "api/params.h"
#include "api/req.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/pool.h"

#define JSON_DEPTH_MAX 128
#define JSON_VALUES_MAX \
        500000 /* each takes up to 400 bytes in the tree: a body may take 100 times its length */
#define URL_SHOWN 200

/* ---- route and authenticate, when the headers are there ---- */

static int route_request(struct req *r, struct api_err *e)
{
        struct str method = http_req_method(r->http), path = http_req_path(r->http);
        int shown = path.n < URL_SHOWN ? (int)path.n : URL_SHOWN;
        enum route_result found = contract_route(method, path, r->match);
        if (found == ROUTE_FOUND) {
                size_t n;
                r->op = r->match->op;
                r->route = r->api->routes[r->op - contract_operations(&n)];
                return 0;
        }
        if (found == ROUTE_METHOD) {
                err_set(e, 405, "invalid_request_error", "method_not_supported", NULL,
                        "Not allowed to %.*s on %.*s. (HINT: Perhaps you meant to use a different HTTP "
                        "method?)",
                        STR_ARG(method), shown, path.p);
                e->allow = r->match->allow;
                return -1;
        }
        if (found == ROUTE_BAD)
                return err_invalid(e, NULL, NULL, "The URL is too long or not well formed.");
        return err_set(e, 404, "invalid_request_error", NULL, NULL, "Invalid URL (%.*s %.*s)",
                       STR_ARG(method), shown, path.p);
}

/* "Authorization: Bearer KEY", or "api-key: KEY" as other clouds' clients send it. */
static struct str presented_key(struct req *r)
{
        struct str auth = http_req_header(r->http, "Authorization");
        struct str rest, scheme = str_split(auth, ' ', &rest);
        if (str_ieqc(scheme, "bearer"))
                return str_trim(rest);
        return str_trim(http_req_header(r->http, "api-key"));
}

static int authenticate(struct req *r, struct api_err *e)
{
        if (r->op->security == SEC_NONE)
                return 0;
        struct str key = presented_key(r);
        if (!key.n)
                return err_set(
                        e, 401, "invalid_request_error", NULL, NULL,
                        "You didn't provide an API key. You need to provide your API key in an Authorization "
                        "header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY). The first start of "
                        "the server printed a key; `cairn keys create` makes another.");
        char shown[24];
        if (account_authenticate(r->api->account, key, &r->who))
                return err_set(
                        e, 401, "invalid_request_error", "invalid_api_key", NULL,
                        "Incorrect API key provided: %s. `cairn keys list` shows the keys of this server.",
                        account_redact(shown, key));
        bool admin = r->who.kind == KEY_ADMIN;
        if (admin == (r->op->security == SEC_ADMIN))
                return 0;
        return err_set(
                e, 403, "invalid_request_error", "missing_scope", NULL,
                admin ? "You have insufficient permissions for this operation. An admin key cannot call it; "
                        "use a project key."
                      : "You have insufficient permissions for this operation. It needs an admin key.");
}

/* Selecting another organization or project than the key's is refused, the same is fine. */
static int check_tenant_headers(struct req *r, struct api_err *e)
{
        struct str org = http_req_header(r->http, "OpenAI-Organization");
        struct str project = http_req_header(r->http, "OpenAI-Project");
        if (r->op->security == SEC_NONE)
                return 0;
        if (org.n && !str_eqc(org, r->who.org))
                return err_set(e, 401, "invalid_request_error", "mismatched_organization", NULL,
                               "OpenAI-Organization header should match organization for API key.");
        if (project.n && r->who.project[0] && !str_eqc(project, r->who.project))
                return err_set(e, 401, "invalid_request_error", "mismatched_project", NULL,
                               "OpenAI-Project header should match project for API key.");
        return 0;
}

static int check_served(struct req *r, struct api_err *e)
{
        if (r->route)
                return 0;
        return err_set(e, 501, "invalid_request_error", "not_implemented", NULL,
                       "This version of Cairn does not serve %s (%s /v1%s) yet. `cairn coverage` lists what "
                       "it serves.",
                       r->op->id, contract_method_name(r->op->method), r->op->path);
}

/* ---- body and validation ---- */

static int parse_query(struct req *r, struct api_err *e)
{
        struct schema_err why;
        struct kv *pairs;
        size_t n;
        int rc = contract_parse_query(http_req_query(r->http), r->arena, &pairs, &n, &why);
        if (rc == 0)
                rc = contract_query(r->op, pairs, n, &r->query, &why);
        if (rc == -EINVAL)
                return err_schema(e, &why);
        if (rc || !json_keep(r->arena, r->query))
                return err_internal(e, -ENOMEM, "query", "");
        return 0;
}

static int bad_content_type(struct api_err *e, struct str type)
{
        struct str rest, media = str_trim(str_split(type, ';', &rest));
        int n = media.n < URL_SHOWN ? (int)media.n : URL_SHOWN,
            all = type.n < URL_SHOWN ? (int)type.n : URL_SHOWN;
        return err_invalid(
                e, "unsupported_content_type", NULL,
                "Unsupported content type: '%.*s'. This API method only accepts 'application/json' requests, "
                "but you specified the header 'Content-Type: %.*s'. Please try again with a supported "
                "content type.",
                n, media.p, all, type.p);
}

/* Validates r->body. */
static int check_body(struct req *r, const struct schema *schema, struct api_err *e)
{
        struct schema_err why;
        unsigned flags = (r->op->flags & OP_UPDATE ? SCHEMA_UPDATE : SCHEMA_CREATE) |
                         (r->api->options.ignore_unknown ? SCHEMA_LENIENT : 0);
        return schema_check(schema, r->body, flags, &why) ? params_schema_error(r, &why, e) : 0;
}

static int parse_body(struct req *r, struct api_err *e)
{
        struct str text = http_req_body(r->http), type = http_req_header(r->http, "Content-Type");
        const struct schema *schema = contract_body(r->op, "application/json");
        struct json_fault fault;
        if (r->form)
                return form_body(r, e);
        if (!schema && contract_body(r->op, "multipart/form-data"))
                return form_refuse(r, e);
        if (!schema || (!text.n && !(r->op->flags & OP_BODY_REQUIRED))) {
                r->body = json_keep(r->arena, json_object());
                return r->body ? 0 : err_internal(e, -ENOMEM, "body", "");
        }
        struct str rest, media = str_trim(str_split(type, ';', &rest));
        if (text.n && media.n && !str_ieqc(media, "application/json"))
                return bad_content_type(e, type);
        if (json_values(text) > JSON_VALUES_MAX)
                return err_invalid(e, NULL, NULL, "The JSON body of your request has more than %d values.",
                                   JSON_VALUES_MAX);
        r->body = json_keep(r->arena, json_parse(text, JSON_DEPTH_MAX, &fault));
        if (!r->body && (fault.no_memory || !fault.msg[0]))
                return err_internal(e, -ENOMEM, "body", "");
        if (!r->body)
                return err_invalid(
                        e, NULL, NULL,
                        "We could not parse the JSON body of your request. (HINT: This likely means you "
                        "aren't using your HTTP library correctly. The OpenAI API expects a JSON payload, "
                        "but what was sent was not valid JSON: %s.)",
                        text.n ? fault.msg : "the body is empty");
        return check_body(r, schema, e);
}

/* The same for a request of the server itself, whose body is there. */
static int take_call(struct req *r, struct api_err *e)
{
        const struct schema *schema = contract_body(r->op, "application/json");
        r->query = json_keep(r->arena, json_object());
        if (!r->query)
                return err_internal(e, -ENOMEM, "query", "");
        return check_body(r, schema, e);
}

/* ---- the handler ---- */

/* Answers with what a handler returned, and drops the handler's reference. */
static void conclude(struct req *r, int rc, struct reply *reply, const struct api_err *e)
{
        if (rc < 0)
                req_fail(r, e);
        else if (rc == 0)
                req_reply(r, reply);
        req_unref(r);
}

static void run_handler(void *arg)
{
        struct req *r = arg;
        struct api_err e = { 0 };
        struct reply reply = { 0 };
        mem_take_failure(); /* of this thread's earlier work */
        int rc = r->http ? parse_query(r, &e) : take_call(r, &e);
        if (rc == 0 && r->http)
                rc = parse_body(r, &e);
        bool again = rc == 0 && r->http && (rc = idempotency_begin(r, &reply, &e)) == 1;
        if (rc == 0 && !(r->route->flags & RT_FAST))
                rc = meter_open(r, &e);
        if (rc == 0)
                rc = r->route->handler(r, &reply, &e);
        conclude(r, again ? 0 : rc, &reply, &e);
}

static void run_next(void *arg)
{
        struct req *r = arg;
        struct api_err e = { 0 };
        struct reply reply = { 0 };
        mem_take_failure();
        int rc = r->next(r, &reply, &e);
        conclude(r, rc, &reply, &e);
}

int req_continue(struct req *r, handler_fn *fn, struct api_err *reterr)
{
        r->next = fn;
        req_ref(r); /* the next handler's */
        if (pool_submit(r->api->slow, run_next, r) == 0)
                return REPLY_LATER;
        req_unref(r);
        return err_overloaded(reterr);
}

/* ---- callbacks of the server ---- */

/* How the body will be read; for a refused request the server's default is fine. */
static int choose_body(struct req *r, struct api_err *e)
{
        if (form_wanted(r))
                return form_expect(r, e);
        http_body_memory(r->http, r->api->options.max_body);
        return 0;
}

static void on_headers(void *ctx, struct http_req *http)
{
        static const struct http_header json_type = { { "Content-Type", 12 }, { "application/json", 16 } };
        struct api *api = ctx;
        mem_take_failure(); /* of this thread's earlier work */
        struct req *r = req_new(api, http);
        struct api_err e = { 0 };
        if (!r) {
                http_reply(http, 503, &json_type, 1,
                           STR("{\"error\":{\"message\":\"The server is out of "
                               "memory.\",\"type\":\"server_error\","
                               "\"param\":null,\"code\":null}}"));
                return;
        }
        http_req_set_data(http, r);
        if (route_request(r, &e) || authenticate(r, &e) || check_tenant_headers(r, &e) ||
            check_served(r, &e) || fault_inject(r, &e) || choose_body(r, &e))
                req_fail(r, &e);
}

int pipeline_run(struct req *r)
{
        struct pool *pool = r->call_flags & CALL_BATCH    ? r->api->batch
                            : r->route->flags & RT_SLOW   ? r->api->slow
                            : r->route->flags & RT_FILES  ? r->api->files
                            : r->route->flags & RT_HEALTH ? r->api->health
                                                          : r->api->workers;
        return pool_submit(pool, run_handler, r);
}

static void on_request(void *ctx, struct http_req *http)
{
        struct req *r = http_req_data(http);
        (void)ctx;
        req_ref(r); /* the handler's */
        if (r->route->flags & RT_FAST) {
                run_handler(r);
        } else if (pipeline_run(r)) {
                struct api_err e;
                err_overloaded(&e);
                req_fail(r, &e);
                req_unref(r);
        }
}

static void on_abort(void *ctx, struct http_req *http)
{
        struct req *r = http_req_data(http);
        (void)ctx;
        if (r)
                req_abort(r);
}

/* JSON-escapes what a client chose; control characters and non-ASCII bytes become '?'. */
static void add_quoted(struct buf *b, struct str s)
{
        buf_addc(b, '"');
        for (size_t i = 0; i < s.n && i < URL_SHOWN; i++) {
                unsigned char c = (unsigned char)s.p[i];
                if (c == '"' || c == '\\')
                        buf_addc(b, '\\');
                buf_addc(b, c < 0x20 || c > 0x7e ? '?' : (char)c);
        }
        buf_addc(b, '"');
}

static void log_access(const struct req *r, const struct http_done *done)
{
        struct str method = http_req_method(r->http), path = http_req_path(r->http);
        struct str client_id = http_req_header(r->http, "X-Client-Request-Id");
        int shown = path.n < URL_SHOWN ? (int)path.n : URL_SHOWN;
        struct buf fields;
        char text[512];
        buf_init(&fields, 4096);
        buf_addf(&fields, "\"request_id\":\"%s\",\"method\":", r->id);
        add_quoted(&fields, method);
        buf_adds(&fields, ",\"path\":");
        add_quoted(&fields, path);
        if (client_id.n) {
                buf_adds(&fields, ",\"client_request_id\":");
                add_quoted(&fields, client_id);
        }
        buf_addf(&fields,
                 ",\"operation\":\"%s\",\"status\":%d,\"ms\":%.3f,\"bytes_in\":%llu,\"bytes_out\":%llu,"
                 "\"peer\":\"%s\","
                 "\"key\":\"%s\",\"project\":\"%s\",\"aborted\":%s",
                 r->op ? r->op->id : "", done->status, (double)done->duration_us / 1000.0,
                 (unsigned long long)done->bytes_in, (unsigned long long)done->bytes_out,
                 http_req_peer(r->http), r->who.key, r->who.project, done->aborted ? "true" : "false");
        snprintf(text, sizeof(text), "%.*s %.*s %d %.1f ms%s", STR_ARG(method), shown, path.p, done->status,
                 (double)done->duration_us / 1000.0, done->aborted ? " (client left)" : "");
        if (!buf_error(&fields))
                log_fields(LOG_INFO_, "request", fields.p, text);
        buf_release(&fields);
}

static void on_done(void *ctx, struct http_req *http, const struct http_done *done)
{
        struct api *api = ctx;
        struct req *r = http_req_data(http);
        if (!r)
                return;
        req_on_abort(r, NULL, NULL);
        metrics_count(&api->metrics, r->op, done->status, done->duration_us);
        log_access(r, done);
        req_unref(r);
}

static void on_bad_request(void *ctx, struct http_req *http, int status, const char *message,
                           struct buf *head, struct buf *body)
{
        (void)ctx;
        struct req *r = http ? http_req_data(http) : NULL;
        struct api_err e;
        char id[ID_MAX];
        err_set(&e, status, status >= 500 ? "server_error" : "invalid_request_error", NULL, NULL, "%s",
                message);
        json_t *v = err_json(&e);
        if (v)
                json_write(v, body);
        json_decref(v);
        buf_addf(head,
                 "Content-Type: application/json\r\nx-request-id: %s\r\nopenai-processing-ms: %lld\r\n"
                 "openai-version: " REQ_API_VERSION "\r\n",
                 r ? r->id : id_hex(id, "req_", 32),
                 r ? (long long)((clock_mono_us() - r->start_us) / 1000) : 0LL);
        if (r && r->who.org[0])
                buf_addf(head, "openai-organization: %s\r\n", r->who.org);
}

struct http_app pipeline_app(struct api *api)
{
        return (struct http_app){ .ctx = api,
                                  .on_headers = on_headers,
                                  .on_request = on_request,
                                  .on_abort = on_abort,
                                  .on_done = on_done,
                                  .on_bad_request = on_bad_request };
}
