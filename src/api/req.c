#include "api/req.h"

#include <stdio.h>
#include <string.h>
#include "api/api.h"
#include "api/call.h"
#include "api/meter.h"
#include "api/idempotency.h"
#include "api/stream.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "http/sse.h"

#define REPLY_TEXT_MAX ((size_t)256 << 20)
#define CLIENT_ID_MAX 512

#define ARENA_MAX ((size_t)256 << 20)

struct req *req_new(struct api *api, struct http_req *http)
{
        struct arena *a = arena_new(ARENA_MAX);
        struct req *r = a ? arena_make(a, struct req) : NULL;
        if (r)
                r->match = arena_make(a, struct route_match);
        if (!r || !r->match) {
                arena_free(a);
                return NULL;
        }
        r->api = api;
        r->http = http;
        r->arena = a;
        r->start_us = clock_mono_us();
        r->check = api->options.check;
        id_hex(r->id, "req_", 32);
        atomic_init(&r->_refs, 1);
        atomic_fetch_add(&api->live, 1);
        pthread_mutex_init(&r->_lock, NULL);
        return r;
}

void req_ref(struct req *r)
{
        atomic_fetch_add(&r->_refs, 1);
}

void req_unref(struct req *r)
{
        if (!r || atomic_fetch_sub(&r->_refs, 1) != 1)
                return;
        struct api *api = r->api;
        meter_close(r);
        pthread_mutex_destroy(&r->_lock);
        arena_free(r->arena); /* r itself lies in it */
        atomic_fetch_sub(&api->live, 1);
}

const char *req_param(const struct req *r, const char *name)
{
        const char *value = route_param(r->match, name);
        return value ? value : "";
}

const char *req_project(const struct req *r)
{
        return r->who.project;
}

void req_on_abort(struct req *r, void (*fn)(void *), void *ctx)
{
        pthread_mutex_lock(&r->_lock);
        r->_on_abort = r->_aborted ? NULL : fn;
        r->_abort_ctx = ctx;
        if (r->_aborted && fn)
                fn(ctx);
        pthread_mutex_unlock(&r->_lock);
}

void req_abort(struct req *r)
{
        pthread_mutex_lock(&r->_lock);
        r->_aborted = true;
        void (*fn)(void *) = r->_on_abort;
        r->_on_abort = NULL;
        if (fn)
                fn(r->_abort_ctx);
        pthread_mutex_unlock(&r->_lock);
}

struct str req_header(const struct req *r, const char *name)
{
        return r->http ? http_req_header(r->http, name) : (struct str){ "", 0 };
}

bool req_gone(void *ctx)
{
        struct req *r = ctx;
        pthread_mutex_lock(&r->_lock);
        bool gone = r->_aborted;
        pthread_mutex_unlock(&r->_lock);
        return gone;
}

void req_violation(struct req *r, const char *where, const struct schema_err *why)
{
        atomic_fetch_add(&r->api->metrics.violations, 1);
        log_error("contract_violation", "%s of %s: %s (param '%s')", where, r->op ? r->op->id : "?", why->msg,
                  why->param);
}

/* ---- headers ---- */

#define HEADERS_MAX (12 + METER_HEADERS + REPLY_HEADERS_MAX)

struct headers {
        struct http_header h[HEADERS_MAX];
        size_t n;
        char ms[32], retry[32], retry_ms[32], allow[64];
};

static void add(struct headers *hs, const char *name, struct str value)
{
        hs->h[hs->n++] = (struct http_header){ str_c(name), value };
}

/* Echoed only when it is what the header is for: a short printable ASCII token. */
static bool echoable(struct str s)
{
        for (size_t i = 0; i < s.n; i++)
                if (s.p[i] < 0x20 || s.p[i] > 0x7e)
                        return false;
        return s.n > 0 && s.n <= CLIENT_ID_MAX;
}

static void common_headers(struct req *r, struct headers *hs, const char *content_type)
{
        struct str client_id = http_req_header(r->http, "X-Client-Request-Id");
        add(hs, "Content-Type", str_c(content_type));
        add(hs, "x-request-id", str_c(r->id));
        if (echoable(client_id))
                add(hs, "x-client-request-id", client_id);
        snprintf(hs->ms, sizeof(hs->ms), "%lld", (long long)((clock_mono_us() - r->start_us) / 1000));
        add(hs, "openai-processing-ms", str_c(hs->ms));
        add(hs, "openai-version", STR(REQ_API_VERSION));
        if (r->who.org[0])
                add(hs, "openai-organization", str_c(r->who.org));
        const struct http_header *limits;
        size_t n = meter_headers(r, &limits);
        for (size_t i = 0; i < n; i++)
                hs->h[hs->n++] = limits[i];
}

static void add_own(struct headers *hs, const struct reply *reply)
{
        for (size_t i = 0; i < reply->n_headers && i < REPLY_HEADERS_MAX; i++)
                hs->h[hs->n++] = reply->headers[i];
}

static void error_headers(struct headers *hs, const struct api_err *e)
{
        if (e->retry_after_ms) {
                snprintf(hs->retry_ms, sizeof(hs->retry_ms), "%d", e->retry_after_ms);
                snprintf(hs->retry, sizeof(hs->retry), "%d", (e->retry_after_ms + 999) / 1000);
                add(hs, "retry-after-ms", str_c(hs->retry_ms));
                add(hs, "retry-after", str_c(hs->retry));
        }
        if (e->status == 501 || e->no_retry) /* SDKs would try again */
                add(hs, "x-should-retry", STR("false"));
        if (e->status == 401)
                add(hs, "WWW-Authenticate", STR("Bearer"));
        if (e->allow) {
                size_t at = 0;
                for (int m = 0; m < M_COUNT; m++)
                        if (e->allow & 1u << m)
                                at += (size_t)snprintf(hs->allow + at, sizeof(hs->allow) - at, "%s%s",
                                                       at ? ", " : "", contract_method_name(m));
                add(hs, "Allow", str_c(hs->allow));
        }
}

/* ---- replies ---- */

static void check_reply(struct req *r, int status, const char *type, const json_t *body)
{
        struct schema_err why;
        if (r->check && r->op && contract_check_reply(r->op, status, type, body, &why))
                req_violation(r, "reply", &why);
}

/* Takes the place of a reply (consumed) whose usage could not be recorded. */
static json_t *unrecorded(int rc, json_t *body, int *status)
{
        struct api_err e;
        err_internal(&e, rc, "usage", "");
        json_decref(body);
        *status = e.status;
        return err_json(&e);
}

static void send_json(struct req *r, int status, json_t *body, struct headers *hs)
{
        struct buf text;
        buf_init(&text, REPLY_TEXT_MAX);
        bool lost = mem_take_failure(); /* some part of the body may be missing */
        if (body && !lost)
                check_reply(r, status, "application/json", body);
        int rc = idempotency_end(r, body && !lost ? status : 500, body);
        if (rc)
                body = unrecorded(rc, body, &status);
        if (!body || lost || json_write(body, &text)) {
                log_error("reply", "out of memory for the reply of %s", r->id);
                buf_release(&text);
                http_reply(r->http, 500, hs->h, hs->n,
                           STR("{\"error\":{\"message\":\"The server is out of "
                               "memory.\",\"type\":\"server_error\","
                               "\"param\":null,\"code\":null}}"));
        } else {
                http_reply_buf(r->http, status, hs->h, hs->n, &text);
        }
        json_decref(body);
}

/* The reply of a request without a connection; consumes body. */
static void sink_json(struct req *r, int status, json_t *body)
{
        struct api_err e;
        bool lost = mem_take_failure() || !body;
        if (lost) {
                err_set(&e, 500, "server_error", NULL, NULL, "The server is out of memory.");
                json_decref(body);
                status = e.status;
                body = err_json(&e);
        } else {
                check_reply(r, status, "application/json", body);
        }
        metrics_count(&r->api->metrics, r->op, status, clock_mono_us() - r->start_us);
        r->sink->reply(r->sink_ctx, r, status, body); /* NULL when there is no memory even for that */
        json_decref(body);
}

static void sink_reply(struct req *r, int status, struct reply *reply)
{
        if (reply->sunk) {
                metrics_count(&r->api->metrics, r->op, status, clock_mono_us() - r->start_us);
                stream_open(r->_stream);
        } else {
                sink_json(r, status, reply->type ? json_strn(reply->text) : reply->json);
        }
}

void req_reply(struct req *r, struct reply *reply)
{
        struct headers hs = { .n = 0 };
        int status = reply->status ? reply->status : 200;
        if (!r->http) {
                sink_reply(r, status, reply);
        } else if (reply->stream && reply->type) {
                common_headers(r, &hs, reply->type);
                add_own(&hs, reply);
                http_reply_sized(r->http, status, hs.h, hs.n, reply->stream, reply->length);
        } else if (reply->stream) {
                common_headers(r, &hs, SSE_CONTENT_TYPE);
                add(&hs, "Cache-Control", STR("no-cache"));
                if (reply->replayed)
                        add(&hs, "idempotent-replayed", STR("true"));
                http_reply_stream(r->http, status, hs.h, hs.n, reply->stream, true);
        } else if (reply->type) {
                common_headers(r, &hs, reply->type);
                if (reply->replayed)
                        add(&hs, "idempotent-replayed", STR("true"));
                else
                        idempotency_end(r, status, NULL); /* of what has recorded its usage before */
                if (!reply->replayed)
                        check_reply(r, status, reply->type, NULL);
                http_reply(r->http, status, hs.h, hs.n, reply->text);
        } else {
                common_headers(r, &hs, "application/json");
                add_own(&hs, reply);
                send_json(r, status, reply->json, &hs);
        }
}

void req_fail(struct req *r, const struct api_err *e)
{
        struct headers hs = { .n = 0 };
        meter_close(r);
        if (!r->http) {
                sink_json(r, e->status, err_json(e));
                return;
        }
        if (e->passes)
                idempotency_free(r);
        common_headers(r, &hs, "application/json");
        error_headers(&hs, e);
        send_json(r, e->status, err_json(e), &hs);
}
