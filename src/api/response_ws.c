/* The WebSocket mode of /responses: GET with an upgrade, then a frame of {"type": "response.create", ...} for
 * each response, answered by the events of its stream, one a frame. Frames with the same stream_id (or none)
 * wait for each other in the order of their arrival, different ones run side by side; every event repeats the
 * stream_id.
 *
 * Each response is a request of its own (call.h) under the key of the handshake. What was not to be stored
 * can still be gone on from on the same connection, as long as response_ws_memory.c remembers it. */
#include <errno.h>
#include <string.h>
#include "api/api.h"
#include "api/call.h"
#include "api/handlers.h"
#include "api/response_ws_memory.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/pool.h"
#include "http/websocket.h"

#define LANES_MAX 16   /* streams at work at the same time */
#define WAITING_MAX 64 /* frames of a connection that wait for their turn */
#define FRAMES_MAX 64  /* that were received and not looked at */
#define MESSAGE_MAX ((size_t)16 << 20)
#define UNDONE_MAX ((size_t)32 << 20) /* bytes of frames without their last event: then no more is read */
#define VALUE_BYTES 128               /* of a JSON value in memory, beside its text */
#define MAX_AGE_MS (60 * 60 * 1000)
#define STREAM_ID_MAX 256
#define JSON_DEPTH_MAX 128
#define JSON_VALUES_MAX 500000
#define FRAME_BYTES_MAX ((size_t)256 << 20)

struct session;

/* One response that was asked for. References: of whoever starts it, and of the sink until its end. */
struct turn {
        atomic_int refs;
        struct session *s;
        struct lane *lane;
        size_t weight;    /* of the body, bytes */
        json_t *body;     /* until it was started */
        struct req *call; /* under the session's lock; NULL before the start and after the end */
        bool ended;       /* the same */
        struct memory_turn memory;
        struct turn *next;
};

/* The responses of one stream_id. It is there as long as it has any. */
struct lane {
        struct lane *next;
        char *stream; /* NULL: frames without a stream_id */
        struct turn *now, *first, **last;
};

/* One connection. References: the connection's until `closed`, one for each turn and for the drain under way.
 */
struct session {
        atomic_int refs;
        struct api *api;
        struct principal who;
        struct ws *ws;
        struct memory *memory;
        pthread_mutex_t lock; /* of what follows */
        struct lane *lanes;
        size_t n_lanes, waiting;
        size_t undone; /* bytes of `frames` and of the turns */
        bool held;     /* more than there may be: the connection is not read */
        struct frame *frames, **frames_end;
        size_t n_frames;
        bool draining; /* a worker takes frames, one after another */
        bool closed;
};

struct frame {
        struct frame *next;
        size_t n;
        char text[];
};

/* ---- references ---- */

static void session_unref(struct session *s)
{
        if (atomic_fetch_sub(&s->refs, 1) != 1)
                return;
        while (s->frames) {
                struct frame *f = s->frames;
                s->frames = f->next;
                mem_free(f);
        }
        ws_unref(s->ws);
        memory_free(s->memory);
        pthread_mutex_destroy(&s->lock);
        atomic_fetch_sub(&s->api->live, 1);
        mem_free(s);
}

static struct session *session_new(struct req *r)
{
        struct session *s = mem_calloc(1, sizeof(*s));
        if (!s)
                return NULL;
        atomic_init(&s->refs, 1);
        atomic_fetch_add(&r->api->live, 1); /* the API stays until the last turn is over */
        s->api = r->api;
        s->who = r->who;
        s->frames_end = &s->frames;
        s->memory = memory_new();
        pthread_mutex_init(&s->lock, NULL);
        if (s->memory)
                return s;
        session_unref(s);
        return NULL;
}

static void turn_unref(struct turn *t)
{
        if (atomic_fetch_sub(&t->refs, 1) != 1)
                return;
        json_decref(t->body);
        memory_turn_release(&t->memory);
        session_unref(t->s);
        mem_free(t);
}

static void lane_free(struct lane *l)
{
        mem_free(l->stream);
        mem_free(l);
}

/* ---- what is sent ---- */

/* What we send is what the contract promises. */
static void check_event(struct session *s, const json_t *v)
{
        const struct schema *schema = contract_schema("ResponsesServerEvent");
        struct schema_err why;
        if (!s->api->options.check || !schema_check(schema, v, SCHEMA_REPLY, &why))
                return;
        atomic_fetch_add(&s->api->metrics.violations, 1);
        log_error("contract_violation", "frame '%s': %s (param '%s')", json_cstr(v, "type", "?"), why.msg,
                  why.param);
}

/* Sends v (consumed) with the stream_id; false asks for a pause. */
static bool send_json(struct session *s, const char *stream, json_t *v)
{
        struct buf text;
        bool go_on = true;
        buf_init(&text, FRAME_BYTES_MAX);
        int rc = v && stream ? json_put(v, "stream_id", json_string(stream)) : 0;
        bool lost = mem_take_failure();
        if (v && !lost)
                check_event(s, v);
        if (rc || lost || !v || json_write(v, &text))
                ws_close(s->ws, WS_INTERNAL, "out of memory");
        else
                go_on = ws_send(s->ws, buf_str(&text)) != -EAGAIN;
        json_decref(v);
        buf_release(&text);
        return go_on;
}

/* {"type": "error", "status", "error": {...}}; body is that of an error reply. */
static void send_error_body(struct session *s, const char *stream, int status, const json_t *body)
{
        send_json(s, stream,
                  json_pack("{s:s, s:i, s:O}", "type", "error", "status", status, "error",
                            json_get(body, "error")));
}

static void send_error(struct session *s, const char *stream, const struct api_err *e)
{
        json_t *body = err_json(e);
        send_error_body(s, stream, e->status, body);
        json_decref(body);
}

/* ---- what waits (session's lock held) ---- */

/* Frames and turns came or went: whether more are read. */
static void weigh(struct session *s, size_t came, size_t went)
{
        s->undone += came - went;
        bool hold = s->undone > UNDONE_MAX;
        if (hold != s->held && !s->closed)
                ws_hold(s->ws, s->held = hold);
}

/* ---- lanes (session's lock held) ---- */

static bool same_stream(const struct lane *l, const char *stream)
{
        return stream && l->stream ? !strcmp(l->stream, stream) : !stream && !l->stream;
}

static struct lane *lane_find(struct session *s, const char *stream)
{
        struct lane *l = s->lanes;
        while (l && !same_stream(l, stream))
                l = l->next;
        return l;
}

static struct lane *lane_new(struct session *s, const char *stream)
{
        struct lane *l = mem_calloc(1, sizeof(*l));
        if (!l)
                return NULL;
        l->last = &l->first;
        l->stream = stream ? mem_strdup(stream) : NULL;
        if (stream && !l->stream) {
                mem_free(l);
                return NULL;
        }
        l->next = s->lanes;
        s->lanes = l;
        s->n_lanes++;
        return l;
}

static void lane_remove(struct session *s, struct lane *l)
{
        struct lane **at = &s->lanes;
        while (*at != l)
                at = &(*at)->next;
        *at = l->next;
        s->n_lanes--;
        lane_free(l);
}

/* ---- turns ---- */

static void start_turn(struct turn *t);

/* The turn of a lane is over: the next begins, or the lane goes. */
static void advance(struct session *s, struct lane *l)
{
        pthread_mutex_lock(&s->lock);
        struct turn *next = s->closed ? NULL : l->first;
        l->now = next;
        if (next) {
                l->first = next->next;
                if (!l->first)
                        l->last = &l->first;
                s->waiting--;
        } else if (!l->first) {
                lane_remove(s, l);
        }
        pthread_mutex_unlock(&s->lock);
        if (next)
                start_turn(next);
}

/* The sink was told the last of it. */
static void end_turn(struct turn *t)
{
        struct session *s = t->s;
        pthread_mutex_lock(&s->lock);
        struct req *call = t->call;
        t->call = NULL;
        t->ended = true;
        weigh(s, 0, t->weight);
        pthread_mutex_unlock(&s->lock);
        req_unref(call);
        advance(s, t->lane);
        turn_unref(t);
}

static void on_reply(void *ctx, struct req *r, int status, const json_t *body)
{
        struct turn *t = ctx;
        (void)r;
        send_error_body(t->s, t->lane->stream, status, body);
        end_turn(t);
}

static bool on_event(void *ctx, struct req *r, const char *name, const json_t *data)
{
        struct turn *t = ctx;
        (void)r, (void)name;
        memory_note(t->s->memory, &t->memory, data);
        return send_json(t->s, t->lane->stream, memory_show(&t->memory, data));
}

static void on_end(void *ctx, struct req *r)
{
        (void)r;
        end_turn(ctx);
}

static const struct req_sink sink = { .reply = on_reply, .event = on_event, .end = on_end };

/* Starts the turn that is its lane's `now`. */
static void start_turn(struct turn *t)
{
        struct session *s = t->s;
        struct req *call = NULL;
        struct api_err e;
        atomic_fetch_add(&t->refs, 1); /* ours */
        int rc = memory_expand(s->memory, t->body, &t->memory);
        struct call c = {
                .operation = "createResponse", .who = s->who, .body = t->body, .sink = &sink, .ctx = t
        };
        if (rc == 0)
                rc = call_start(s->api, &c, &call);
        if (rc) {
                if (rc == -EAGAIN)
                        err_overloaded(&e);
                else
                        err_internal(&e, rc, "websocket", "");
                send_error(s, t->lane->stream, &e);
                end_turn(t);
                turn_unref(t);
                return;
        }
        pthread_mutex_lock(&s->lock);
        bool closed = s->closed;
        if (!t->ended) { /* the sink may have been told all of it already */
                t->call = call;
                req_ref(call);
        }
        pthread_mutex_unlock(&s->lock);
        if (closed)
                call_cancel(call);
        req_unref(call);
        turn_unref(t);
}

/* ---- frames ---- */

/* A new turn of its lane: its start is the caller's when the lane has no other now (*ret_start). */
static int queue_turn(struct session *s, const char *stream, json_t *body, size_t weight,
                      struct turn **ret_start, struct api_err *e)
{
        struct turn *t = mem_calloc(1, sizeof(*t));
        *ret_start = NULL;
        if (!t)
                return err_internal(e, -ENOMEM, "websocket", "");
        atomic_init(&t->refs, 1);
        atomic_fetch_add(&s->refs, 1);
        t->s = s;
        t->body = json_incref(body);
        t->weight = weight;
        pthread_mutex_lock(&s->lock);
        struct lane *l = lane_find(s, stream);
        bool full = l ? s->waiting >= WAITING_MAX : s->n_lanes >= LANES_MAX;
        if (!l && !full)
                l = lane_new(s, stream);
        bool closed = s->closed, taken = l && !full && !closed;
        if (taken) {
                t->lane = l;
                weigh(s, weight, 0);
        }
        if (taken && !l->now) {
                *ret_start = l->now = t;
        } else if (taken) {
                *l->last = t;
                l->last = &t->next;
                s->waiting++;
        }
        pthread_mutex_unlock(&s->lock);
        if (taken)
                return 0;
        turn_unref(t);
        if (closed)
                return err_overloaded(e); /* which nobody will hear */
        if (!full)
                return err_internal(e, -ENOMEM, "websocket", "");
        return err_set(e, 429, "invalid_request_error", "websocket_stream_limit_reached", "stream_id",
                       "A connection may have %d streams at work and %d responses waiting.", LANES_MAX,
                       WAITING_MAX);
}

static bool stream_id_is_fine(struct str s)
{
        for (size_t i = 0; i < s.n; i++) {
                char c = s.p[i];
                bool fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                            c == '_' || c == '.' || c == '-';
                if (!fine)
                        return false;
        }
        return s.n > 0 && s.n <= STREAM_ID_MAX;
}

/* Checks what a frame says beyond the request, which alone remains in it. *ret_stream is `stream`, or NULL.
 */
static int read_frame(json_t *frame, char stream[STREAM_ID_MAX + 1], const char **ret_stream,
                      struct api_err *e)
{
        json_t *id = json_get(frame, "stream_id"); /* null: as without it */
        *ret_stream = NULL;
        if (id && !stream_id_is_fine(json_as_str(id)))
                return err_invalid(e, "invalid_value", "stream_id",
                                   "Invalid 'stream_id': expected 1 to %d letters, digits, '_', '.' or '-'.",
                                   STREAM_ID_MAX);
        if (id) {
                memcpy(stream, json_string_value(id), json_string_length(id) + 1);
                *ret_stream = stream;
        }
        if (!json_is_object(frame) || !json_get(frame, "type"))
                return err_invalid(e, "missing_required_parameter", "type",
                                   "Missing required parameter: 'type'.");
        if (!str_eqc(json_str(frame, "type"), "response.create"))
                return err_invalid(e, "invalid_value", "type",
                                   "Invalid value: '%.100s'. Supported values are: 'response.create'.",
                                   json_cstr(frame, "type", ""));
        if (json_flag(frame, "background", false))
                return err_invalid(e, "unsupported_parameter", "background",
                                   "Unsupported parameter: 'background' is not supported over WebSockets.");
        json_object_del(frame, "type");
        json_object_del(frame, "stream_id");
        return json_put(frame, "stream", json_true()) ? err_internal(e, -ENOMEM, "websocket", "") : 0;
}

static void handle_frame(struct session *s, struct str text)
{
        char id[STREAM_ID_MAX + 1];
        const char *stream = NULL;
        struct json_fault why = { .msg = "too many values" };
        struct api_err e;
        struct turn *start = NULL;
        size_t values = json_values(text);
        json_t *frame = values > JSON_VALUES_MAX ? NULL : json_parse(text, JSON_DEPTH_MAX, &why);
        int rc = frame ? read_frame(frame, id, &stream, &e)
                       : err_invalid(&e, "invalid_json", NULL, "The frame is not valid JSON: %s.", why.msg);
        if (rc == 0)
                rc = queue_turn(s, stream, frame, text.n + values * VALUE_BYTES, &start, &e);
        json_decref(frame);
        if (rc)
                send_error(s, stream, &e);
        if (start)
                start_turn(start);
}

/* The next frame, after one of n bytes; NULL: there is none, and the drain is over. */
static struct frame *next_frame(struct session *s, size_t n)
{
        pthread_mutex_lock(&s->lock);
        weigh(s, 0, n);
        struct frame *f = s->closed ? NULL : s->frames;
        if (f) {
                s->frames = f->next;
                s->n_frames--;
                if (!s->frames)
                        s->frames_end = &s->frames;
        } else {
                s->draining = false;
        }
        pthread_mutex_unlock(&s->lock);
        return f;
}

/* On a worker: the frames of a connection, in order. */
static void drain(void *ctx)
{
        struct session *s = ctx;
        struct frame *f;
        size_t n = 0;
        while ((f = next_frame(s, n))) {
                mem_take_failure();
                n = f->n;
                handle_frame(s, (struct str){ f->text, n });
                mem_free(f);
        }
        session_unref(s);
}

/* ---- the connection ---- */

static void on_opened(void *ctx, struct ws *w)
{
        struct session *s = ctx;
        ws_ref(w);
        s->ws = w;
}

/* Keeps a frame for the workers: reading it may take a while. */
static void on_message(void *ctx, struct ws *w, bool text, struct str data)
{
        struct session *s = ctx;
        struct api_err e;
        if (!text) {
                ws_close(w, WS_UNSUPPORTED, "frames are text");
                return;
        }
        struct frame *f = mem_alloc(sizeof(*f) + data.n);
        pthread_mutex_lock(&s->lock);
        bool taken = f && s->n_frames < FRAMES_MAX, begin = taken && !s->draining;
        if (taken) {
                f->next = NULL;
                f->n = data.n;
                memcpy(f->text, data.p, data.n);
                *s->frames_end = f;
                s->frames_end = &f->next;
                s->n_frames++;
                s->draining = true;
                weigh(s, f->n, 0);
        }
        pthread_mutex_unlock(&s->lock);
        if (!taken) {
                mem_free(f);
                err_overloaded(&e);
                send_error(s, NULL, &e);
        }
        if (!begin)
                return;
        atomic_fetch_add(&s->refs, 1);
        if (pool_submit(s->api->workers, drain, s))
                drain(s); /* under a flood this thread reads them itself */
}

/* What fn does to each response at work, without the lock. */
static void each_call(struct session *s, void (*fn)(struct req *call))
{
        struct req *calls[LANES_MAX];
        size_t n = 0;
        pthread_mutex_lock(&s->lock);
        for (struct lane *l = s->lanes; l; l = l->next) {
                if (!l->now || !l->now->call)
                        continue;
                calls[n] = l->now->call;
                req_ref(calls[n++]);
        }
        pthread_mutex_unlock(&s->lock);
        while (n--) {
                fn(calls[n]);
                req_unref(calls[n]);
        }
}

static void on_room(void *ctx, struct ws *w)
{
        (void)w;
        each_call(ctx, call_resume);
}

static void on_aged(void *ctx, struct ws *w)
{
        struct api_err e;
        err_invalid(&e, "websocket_connection_limit_reached", NULL,
                    "A WebSocket connection lasts %d minutes at most. Please open another one.",
                    MAX_AGE_MS / 60000);
        send_error(ctx, NULL, &e);
        ws_close(w, WS_GOING_AWAY, "websocket_connection_limit_reached");
}

static bool is_busy(void *ctx)
{
        struct session *s = ctx;
        pthread_mutex_lock(&s->lock);
        bool busy = s->lanes || s->frames || s->draining;
        pthread_mutex_unlock(&s->lock);
        return busy;
}

static void on_closed(void *ctx, struct ws *w, int code)
{
        struct session *s = ctx;
        struct turn *dropped = NULL;
        (void)w, (void)code;
        pthread_mutex_lock(&s->lock);
        s->closed = true;
        for (struct lane *l = s->lanes; l; l = l->next) {
                *l->last = dropped;
                dropped = l->first;
                l->first = NULL;
                l->last = &l->first;
        }
        s->waiting = 0;
        pthread_mutex_unlock(&s->lock);
        while (dropped) {
                struct turn *t = dropped;
                dropped = t->next;
                turn_unref(t);
        }
        each_call(s, call_cancel);
        session_unref(s);
}

int response_connect(struct req *r, struct reply *ret, struct api_err *e)
{
        static const struct ws_handler handler = {
                on_opened, on_message, on_room, on_aged, is_busy, on_closed
        };
        const struct http_header h[] = { { STR("x-request-id"), str_c(r->id) },
                                         { STR("openai-organization"), str_c(r->who.org) } };
        size_t max_body = r->api->options.max_body;
        struct ws_options options = { max_body < MESSAGE_MAX ? max_body : MESSAGE_MAX, MAX_AGE_MS };
        const char *why;
        (void)ret;
        int rc = http_websocket_wanted(r->http, &why);
        if (rc == -ENOENT) {
                err_set(e, 405, "invalid_request_error", "method_not_supported", NULL,
                        "Not allowed to GET on /v1/responses but as the handshake of a WebSocket. (HINT: "
                        "Perhaps you meant to use a different HTTP method?)");
                e->allow = 1u << M_POST;
                return -1;
        }
        if (rc)
                return err_set(e, rc == -EPROTONOSUPPORT ? 426 : 400, "invalid_request_error", NULL, NULL,
                               "%s", why);
        struct session *s = session_new(r);
        if (!s)
                return err_internal(e, -ENOMEM, "websocket", "");
        http_reply_websocket(r->http, h, sizeof(h) / sizeof(*h), &options, &handler, s);
        return REPLY_LATER;
}
