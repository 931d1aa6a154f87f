#include "jobs/webhook.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "base/arena.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/mem.h"
#include "base/pool.h"
#include "base/rand.h"
#include "jobs/webhook_pace.h"
#include "jobs/webhook_secret.h"

#define ID_HEX 32
#define FAN_OUTS 4   /* events taken apart at the same time */
#define CONCLUDERS 4 /* threads that write down how posts ended */
#define ARENA_MAX ((size_t)64 << 20)

#define CONNECT_MS 5000
#define TOTAL_MS 15000
#define SIGNATURE_MAX 64 /* bytes of one of them, with its space */
#define ANSWER_MAX 4096  /* of the answer's body, which only has to arrive */

#define GIVE_UP_S (72 * 3600)
#define FIRST_PAUSE_MS 2000
#define PAUSE_FACTOR 5
#define LONGEST_PAUSE_MS (4 * 3600 * 1000)
#define ATTEMPTS_KEPT 30 /* in the log */
#define GONE 410

#define WRITE_ATTEMPTS 6   /* to write down how a post ended */
#define WRITE_PAUSE_MS 100 /* before the second, doubled with each: 3 seconds in all */

struct webhooks {
        struct store *store;
        struct account *account;
        struct http_client *client;
        webhook_report_fn *report;
        struct webhook_pace *pace;
        struct pool *concluders;
        pthread_mutex_t lock; /* of the members of struct delivery that say so */
};

/* ---- messages ---- */

json_t *webhook_event_json(const char *id, const char *type, int64_t created_at, json_t *data)
{
        return json_pack("{s:s, s:s, s:I, s:s, s:O}", "id", id, "object", "event", "created_at",
                         (json_int_t)created_at, "type", type, "data", data);
}

int webhook_event_op(struct arena *a, const char *project, const char *type, const char *data_id,
                     struct store_op *ret)
{
        char id[ID_MAX];
        json_t *payload = json_pack("{s:s, s:I, s:{s:s}}", "type", type, "created_at",
                                    (json_int_t)clock_unix(), "data", "id", data_id);
        struct str text = json_arena_text(a, payload);
        const char *name = arena_strdup(a, id_hex(id, "evt_", ID_HEX));
        json_decref(payload);
        if (!text.p || !name)
                return -ENOMEM;
        *ret = (struct store_op){
                .verb = STORE_JOB_PUT, .kind = WEBHOOK_EVENT, .id = name, .project = project, .doc = text
        };
        return 0;
}

int webhook_post(struct webhooks *w, const char *endpoint, const json_t *doc, const char *event_id,
                 struct str body, http_answer_fn *done, void *ctx, uint64_t *ret_id)
{
        int64_t now = clock_unix();
        char timestamp[24];
        struct buf signature;
        buf_init(&signature, WEBHOOK_SECRETS_MAX * SIGNATURE_MAX);
        int rc = webhook_signature(w->account, endpoint, doc, event_id, now, body, &signature);
        if (rc == 0) {
                snprintf(timestamp, sizeof(timestamp), "%lld", (long long)now);
                const struct http_header h[] = { { STR("Content-Type"), STR("application/json") },
                                                 { STR("webhook-id"), str_c(event_id) },
                                                 { STR("webhook-timestamp"), str_c(timestamp) },
                                                 { STR("webhook-signature"), buf_str(&signature) } };
                struct http_call call = { .method = "POST",
                                          .url = json_cstr(json_get(doc, "object"), "url", ""),
                                          .headers = h,
                                          .n_headers = sizeof(h) / sizeof(*h),
                                          .body = body,
                                          .max_answer = ANSWER_MAX,
                                          .cut_answer = true,
                                          .connect_ms = CONNECT_MS,
                                          .total_ms = TOTAL_MS,
                                          .done = done,
                                          .ctx = ctx };
                rc = http_client_send(w->client, &call, ret_id);
        }
        buf_release(&signature);
        return rc;
}

bool webhook_enter(struct webhooks *w, const char *project, const char *endpoint, int64_t *ret_wait_ms)
{
        return webhook_pace_enter(w->pace, project, endpoint, clock_unix_us() / 1000, ret_wait_ms);
}

void webhook_leave(struct webhooks *w, const char *project, const char *endpoint, int64_t elapsed_ms)
{
        webhook_pace_leave(w->pace, project, endpoint, elapsed_ms);
}

/* ---- events: one delivery for each endpoint that listens ---- */

static bool listens(const json_t *endpoint, const char *type)
{
        size_t i;
        json_t *v;
        json_array_foreach(json_get(endpoint, "event_types"), i, v)
        {
                if (str_eqc(json_as_str(v), type))
                        return true;
        }
        return false;
}

static json_t *new_delivery(const char *id, const char *endpoint, const char *event, const char *type,
                            int64_t now)
{
        return json_pack("{s:s, s:s, s:I, s:s, s:s, s:s, s:s, s:i, s:I, s:[]}", "id", id, "object",
                         "webhook_endpoint.delivery", "created_at", (json_int_t)now, "webhook_endpoint_id",
                         endpoint, "event_id", event, "event_type", type, "status", "pending",
                         "attempt_count", 0, "next_attempt_at", (json_int_t)now, "attempts");
}

#define DELIVERY_OPS 3

/* The row of the log and the job of one delivery, if its endpoint is still there. */
static int delivery_ops(struct arena *a, const struct job *event, const char *type, struct str body,
                        const char *endpoint, struct store_op ops[DELIVERY_OPS])
{
        char buffer[ID_MAX];
        int64_t now = clock_unix();
        const char *id = arena_strdup(a, id_hex(buffer, "whd_", ID_HEX)), *parent = arena_strdup(a, endpoint);
        json_t *delivery = id ? new_delivery(id, endpoint, event->id, type, now) : NULL;
        json_t *row = json_pack("{s:O}", "object", delivery);
        json_t *payload = json_pack("{s:O, s:o}", "delivery", delivery, "body", json_strn(body));
        struct str row_text = json_arena_text(a, row), payload_text = json_arena_text(a, payload);
        json_decref(payload);
        json_decref(row);
        json_decref(delivery);
        if (!row_text.p || !payload_text.p || !parent)
                return -ENOMEM;
        ops[0] = (struct store_op){ .verb = STORE_CHECK, .kind = KIND_WEBHOOK, .id = parent };
        ops[1] = (struct store_op){ .verb = STORE_PUT,
                                    .kind = KIND_WEBHOOK_DELIVERY,
                                    .id = id,
                                    .project = event->project,
                                    .parent = parent,
                                    .created = now,
                                    .expires = now + WEBHOOK_LOG_S,
                                    .doc = row_text };
        ops[2] = (struct store_op){ .verb = STORE_JOB_PUT,
                                    .kind = WEBHOOK_DELIVERY,
                                    .id = id,
                                    .project = event->project,
                                    .doc = payload_text };
        return 0;
}

/* The operations for one endpoint in ops: *ret_n of them, 0 when it does not listen. A row that cannot be
 * read is damaged and stays so: it is reported with every event that it may miss. The job does not fail for
 * it, or the other endpoints would never hear of the event. */
static int fan_out_one(struct webhooks *w, struct arena *a, const struct job *event, const char *type,
                       struct str body, const struct object *endpoint, struct store_op *ops, size_t *ret_n)
{
        char finding[512];
        struct json_fault why;
        json_t *doc = json_parse(endpoint->doc, STORE_DOC_DEPTH, &why);
        bool told = listens(json_get(doc, "object"), type);
        int rc = told ? delivery_ops(a, event, type, body, endpoint->id, ops) : 0;
        *ret_n = told ? DELIVERY_OPS : 0;
        if (!doc && why.no_memory) {
                rc = -ENOMEM;
        } else if (!doc) {
                snprintf(finding, sizeof(finding),
                         "the webhook endpoint %s cannot be read and is not told of %s (%s): %s",
                         endpoint->id, event->id, type, why.msg);
                w->report(finding);
        }
        json_decref(doc);
        return rc;
}

/* The operations for all endpoints of the page that listen, in *ret (of the arena). */
static int fan_out(struct webhooks *w, struct arena *a, const struct job *event,
                   const struct store_page *endpoints, struct store_op **ret, size_t *ret_n)
{
        struct json_fault why;
        json_t *e = json_parse(event->payload, STORE_DOC_DEPTH, &why);
        const char *type = json_cstr(e, "type", "");
        json_t *message =
                webhook_event_json(event->id, type, json_int(e, "created_at", 0), json_get(e, "data"));
        struct str body = json_arena_text(a, message);
        struct store_op *ops = arena_array(a, struct store_op, DELIVERY_OPS * endpoints->n + 1);
        type = arena_strdup(a, type);
        json_decref(message);
        json_decref(e);
        int rc = ops && body.p && type ? 0 : -ENOMEM;
        size_t n = 0, more;
        for (size_t i = 0; i < endpoints->n && rc == 0; i++, n += more)
                rc = fan_out_one(w, a, event, type, body, &endpoints->items[i], ops + n, &more);
        *ret = ops;
        *ret_n = n;
        return rc;
}

static void retry_later(struct job_run *run)
{
        int64_t due = clock_unix_us() / 1000 + 1000;
        int rc = job_retry(run, job_stopping(run) ? 0 : due, (struct str){ NULL, 0 }, NULL, 0, NULL);
        if (rc && rc != -ESTALE)
                job_lost(run);
}

static void run_event(void *ctx, struct job_run *run)
{
        struct webhooks *w = ctx;
        const struct job *event = job_of(run);
        struct store_query q = { .kind = KIND_WEBHOOK, .project = event->project, .limit = STORE_PAGE_MAX };
        struct store_page endpoints = { 0 };
        struct arena *a = arena_new(ARENA_MAX);
        struct store_op *ops = NULL;
        size_t n = 0;
        int rc = a ? store_list(w->store, &q, &endpoints, NULL) : -ENOMEM;
        if (rc == 0)
                rc = fan_out(w, a, event, &endpoints, &ops, &n);
        store_page_release(&endpoints);
        if (rc == 0)
                rc = job_finish(run, ops, n, NULL);
        if (rc && rc != -ESTALE) /* -ENOENT among others: an endpoint was deleted meanwhile */
                retry_later(run);
        arena_free(a);
}

/* ---- deliveries ---- */

/* One attempt. Two references: of run_delivery() and of whoever concludes. */
struct delivery {
        struct webhooks *w;
        struct job_run *run;
        struct arena *arena;
        json_t *payload; /* {"delivery": the object of the log, "body": the message} */
        const char *endpoint;
        int64_t started; /* unix seconds */
        /* The answer, for the concluder. */
        int rc, status;
        int64_t elapsed_ms;
        char err[256];
        /* Under the lock of w. */
        int refs;
        uint64_t call;
        bool stopped;
};

int64_t webhook_backoff_ms(int attempts, int64_t age_s)
{
        int64_t pause = FIRST_PAUSE_MS;
        for (int i = 1; i < attempts && pause < LONGEST_PAUSE_MS; i++)
                pause *= PAUSE_FACTOR;
        if (pause > LONGEST_PAUSE_MS)
                pause = LONGEST_PAUSE_MS;
        pause += (int64_t)(rand_u64() % (uint64_t)(pause / 5 + 1)) - pause / 10;
        return age_s + pause / 1000 < GIVE_UP_S ? pause : 0;
}

static void delivery_unref(struct delivery *d)
{
        pthread_mutex_lock(&d->w->lock);
        bool last = --d->refs == 0;
        pthread_mutex_unlock(&d->w->lock);
        if (!last)
                return;
        arena_free(d->arena);
        json_decref(d->payload);
        mem_free(d);
}

static json_t *log_of(const struct delivery *d)
{
        return json_object_get(d->payload, "delivery");
}

/* Writes an attempt and what follows from it into the object of the log. next_ms: unix milliseconds, or 0. */
static void note_attempt(struct delivery *d, const char *status, int64_t next_ms)
{
        json_t *log = log_of(d), *attempts = json_object_get(log, "attempts");
        json_t *attempt = json_pack("{s:I, s:I, s:o, s:o}", "attempted_at", (json_int_t)d->started,
                                    "duration_ms", (json_int_t)d->elapsed_ms, "status_code",
                                    d->rc ? json_null() : json_integer(d->status), "error",
                                    d->rc ? json_string(d->err) : json_null());
        json_array_append_new(attempts, attempt);
        while (json_array_size(attempts) > ATTEMPTS_KEPT)
                json_array_remove(attempts, 0);
        json_object_set_new(log, "attempt_count", json_integer(json_int(log, "attempt_count", 0) + 1));
        json_object_set_new(log, "status", json_string(status));
        json_object_set_new(log, "next_attempt_at",
                            next_ms ? json_integer((json_int_t)(next_ms / 1000)) : json_null());
}

/* The operation that brings the row of the log up to date. */
static int log_op(struct delivery *d, struct store_op *ret)
{
        json_t *row = json_pack("{s:O}", "object", log_of(d));
        struct str text = json_arena_text(d->arena, row);
        json_decref(row);
        *ret = (struct store_op){ .verb = STORE_UPDATE,
                                  .kind = KIND_WEBHOOK_DELIVERY,
                                  .id = job_of(d->run)->id,
                                  .set = STORE_SET_DOC,
                                  .doc = text };
        return text.p ? 0 : -ENOMEM;
}

/* Ends the job for good; next_ms: another attempt is due then. */
static int end_attempt(struct delivery *d, int64_t next_ms)
{
        struct store_op op;
        int rc = log_op(d, &op);
        if (rc)
                return rc;
        if (!next_ms) {
                rc = job_finish(d->run, &op, 1, NULL);
                return rc == -ENOENT ? job_finish(d->run, NULL, 0, NULL) : rc;
        }
        struct str payload = json_arena_text(d->arena, d->payload);
        if (!payload.p)
                return -ENOMEM;
        rc = job_retry(d->run, next_ms, payload, &op, 1, NULL);
        return rc == -ENOENT ? job_finish(d->run, NULL, 0, NULL) : rc; /* its endpoint was deleted */
}

/* The same, tried for some seconds: the answer of the endpoint would be lost with it, and what arrived would
 * be posted again. A server that stops does not wait. */
static int end_attempt_surely(struct delivery *d, int64_t next_ms)
{
        long pause = WRITE_PAUSE_MS;
        int rc = end_attempt(d, next_ms);
        for (int i = 1; i < WRITE_ATTEMPTS && rc && rc != -ESTALE; i++, pause *= 2) {
                if (!job_stopping(d->run))
                        nanosleep(&(struct timespec){ .tv_sec = pause / 1000,
                                                      .tv_nsec = pause % 1000 * 1000000 },
                                  NULL);
                rc = end_attempt(d, next_ms);
        }
        return rc;
}

/* Writes down how a post ended. */
static void conclude(void *ctx)
{
        struct delivery *d = ctx;
        int64_t now_ms = clock_unix_us() / 1000, next_ms = 0;
        int attempts = (int)json_int(log_of(d), "attempt_count", 0) + 1;
        int64_t age = now_ms / 1000 - json_int(log_of(d), "created_at", 0);
        bool delivered = d->rc == 0 && d->status >= 200 && d->status < 300;
        bool gone = d->rc == 0 && d->status == GONE;
        webhook_leave(d->w, job_of(d->run)->project, d->endpoint, d->elapsed_ms);
        mem_take_failure();
        int rc = -ECANCELED;
        if (d->rc != -ECANCELED) {
                int64_t pause = delivered || gone ? 0 : webhook_backoff_ms(attempts, age);
                next_ms = pause ? now_ms + pause : 0;
                note_attempt(d, delivered ? "delivered" : pause ? "pending" : "failed", next_ms);
                rc = mem_take_failure() ? -ENOMEM : end_attempt_surely(d, next_ms);
        }
        if (rc && rc != -ESTALE)
                retry_later(d->run);
        delivery_unref(d);
}

/* On the client's thread, which must not wait for the store. */
static void on_answer(void *ctx, const struct http_answer *a)
{
        struct delivery *d = ctx;
        d->rc = a->rc;
        d->status = a->status;
        d->elapsed_ms = a->elapsed_ms;
        snprintf(d->err, sizeof(d->err), "%s", a->err);
        if (pool_submit(d->w->concluders, conclude, d))
                conclude(d);
}

static struct delivery *delivery_new(struct webhooks *w, struct job_run *run)
{
        struct json_fault why;
        struct delivery *d = mem_calloc(1, sizeof(*d));
        if (!d)
                return NULL;
        *d = (struct delivery){ .w = w, .run = run, .refs = 2, .started = clock_unix() };
        d->arena = arena_new(ARENA_MAX);
        d->payload = json_parse(job_of(run)->payload, STORE_DOC_DEPTH, &why);
        d->endpoint = json_cstr(log_of(d), "webhook_endpoint_id", NULL);
        if (d->arena && d->payload && d->endpoint)
                return d;
        arena_free(d->arena);
        json_decref(d->payload);
        mem_free(d);
        return NULL;
}

/* Starts the post: 0; -ENOENT: the endpoint is gone; or another error. */
static int start_post(struct delivery *d)
{
        struct object row;
        struct json_fault why;
        int rc = store_get(d->w->store, KIND_WEBHOOK, d->endpoint, job_of(d->run)->project, &row, NULL);
        if (rc)
                return rc;
        json_t *doc = json_parse(row.doc, STORE_DOC_DEPTH, &why);
        uint64_t call = 0;
        rc = doc ? webhook_post(d->w, d->endpoint, doc, json_cstr(log_of(d), "event_id", ""),
                                json_str(d->payload, "body"), on_answer, d, &call)
                 : -EIO;
        json_decref(doc);
        object_release(&row);
        if (rc)
                return rc;
        pthread_mutex_lock(&d->w->lock);
        d->call = call;
        bool stopped = d->stopped;
        pthread_mutex_unlock(&d->w->lock);
        if (stopped)
                http_client_cancel(d->w->client, call);
        return 0;
}

/* The post could not be started; the attempt counts where waiting will not help by itself. */
static void not_started(struct delivery *d, int rc)
{
        if (rc == -ENOENT) {
                webhook_leave(d->w, job_of(d->run)->project, d->endpoint, 0);
                int end = job_finish(d->run, NULL, 0, NULL);
                if (end && end != -ESTALE)
                        job_lost(d->run);
                delivery_unref(d);
                return;
        }
        bool again = rc == -EAGAIN || rc == -ENOMEM;
        d->rc = again ? -ECANCELED : rc;
        snprintf(d->err, sizeof(d->err), "it could not be signed or sent: %s", strerror(-rc));
        conclude(d);
}

static void run_delivery(void *ctx, struct job_run *run)
{
        struct webhooks *w = ctx;
        int64_t wait_ms, now_ms = clock_unix_us() / 1000;
        struct delivery *d = delivery_new(w, run);
        if (!d) {
                retry_later(run);
                return;
        }
        if (!webhook_enter(w, job_of(run)->project, d->endpoint, &wait_ms)) {
                int rc = job_retry(run, now_ms + wait_ms, (struct str){ NULL, 0 }, NULL, 0, NULL);
                if (rc && rc != -ESTALE)
                        job_lost(run);
                delivery_unref(d);
                delivery_unref(d);
                return;
        }
        job_set_data(run, d);
        int rc = job_stopping(run) ? -EAGAIN : start_post(d);
        if (rc)
                not_started(d, rc);
        delivery_unref(d);
}

static void stop_delivery(void *ctx, struct job_run *run)
{
        struct webhooks *w = ctx;
        struct delivery *d = job_data(run);
        if (!d) /* run_delivery() will ask before it starts */
                return;
        pthread_mutex_lock(&w->lock);
        d->stopped = true;
        uint64_t call = d->call;
        pthread_mutex_unlock(&w->lock);
        if (call)
                http_client_cancel(w->client, call);
}

/* ---- start and end ---- */

int webhooks_new(struct store *store, struct account *account, struct http_client *client,
                 webhook_report_fn *report, struct webhooks **ret)
{
        struct webhooks *w = mem_calloc(1, sizeof(*w));
        *ret = NULL;
        if (!w)
                return -ENOMEM;
        pthread_mutex_init(&w->lock, NULL);
        w->store = store;
        w->account = account;
        w->client = client;
        w->report = report;
        w->pace = webhook_pace_new();
        w->concluders = pool_new("webhook", CONCLUDERS, WEBHOOK_PACE_PLACES);
        if (!w->pace || !w->concluders) {
                webhooks_free(w);
                return -ENOMEM;
        }
        *ret = w;
        return 0;
}

void webhooks_free(struct webhooks *w)
{
        if (!w)
                return;
        pool_free(w->concluders);
        webhook_pace_free(w->pace);
        pthread_mutex_destroy(&w->lock);
        mem_free(w);
}

void webhooks_workers(struct webhooks *w, struct job_worker ret[WEBHOOK_WORKERS])
{
        ret[0] = (struct job_worker){ WEBHOOK_EVENT, FAN_OUTS, run_event, NULL, w };
        ret[1] = (struct job_worker){ WEBHOOK_DELIVERY, WEBHOOK_PACE_PLACES, run_delivery, stop_delivery, w };
}
