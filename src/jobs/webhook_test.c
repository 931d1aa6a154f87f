/* Webhooks from the event's commit to an endpoint on loopback: signatures, retries, pacing, what remains. */
#include "jobs/webhook.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>
#include "account/account.h"
#include "base/arena.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/mem.h"
#include "http/server.h"
#include "jobs/webhook_pace.h"
#include "jobs/webhook_secret.h"

#define SEEN_MAX 512
#define PROJECT "proj_a"

/* ---- the endpoint ---- */

struct seen {
        char path[64], id[80], signature[512], type[64], body[512];
        int64_t timestamp;
};

/* Answers /ok with 204, /gone with 410, /flaky with 500 the first time and 200 then, /hang... when it is let
 * go.
 */
static struct {
        struct http_server *server;
        pthread_mutex_t lock;
        struct seen seen[SEEN_MAX];
        size_t n;
        struct http_req *hanging[SEEN_MAX];
        size_t n_hanging;
        atomic_int flaky;
} hook = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void copy(char *out, size_t n, struct str s)
{
        snprintf(out, n, "%.*s", (int)s.n, s.p ? s.p : "");
}

static void on_request(void *ctx, struct http_req *r)
{
        struct str path = http_req_path(r), stamp = http_req_header(r, "webhook-timestamp");
        int status = 204;
        (void)ctx;
        pthread_mutex_lock(&hook.lock);
        assert_true(hook.n < SEEN_MAX);
        struct seen *s = &hook.seen[hook.n++];
        copy(s->path, sizeof(s->path), path);
        copy(s->id, sizeof(s->id), http_req_header(r, "webhook-id"));
        copy(s->signature, sizeof(s->signature), http_req_header(r, "webhook-signature"));
        copy(s->type, sizeof(s->type), http_req_header(r, "Content-Type"));
        copy(s->body, sizeof(s->body), http_req_body(r));
        str_to_i64(stamp, &s->timestamp);
        bool hangs = str_starts(path, "/hang");
        if (hangs)
                hook.hanging[hook.n_hanging++] = r;
        pthread_mutex_unlock(&hook.lock);
        if (str_eqc(path, "/gone"))
                status = 410;
        if (str_eqc(path, "/flaky"))
                status = atomic_fetch_add(&hook.flaky, 1) ? 200 : 500;
        if (!hangs)
                http_reply(r, status, NULL, 0, STR(""));
}

static void let_go(void)
{
        pthread_mutex_lock(&hook.lock);
        for (size_t i = 0; i < hook.n_hanging; i++)
                http_reply(hook.hanging[i], 200, NULL, 0, STR(""));
        hook.n_hanging = 0;
        pthread_mutex_unlock(&hook.lock);
}

/* How many requests a path had; *ret (may be NULL) gets the last. */
static size_t seen_at(const char *path, struct seen *ret)
{
        size_t n = 0;
        pthread_mutex_lock(&hook.lock);
        for (size_t i = 0; i < hook.n; i++) {
                if (strcmp(hook.seen[i].path, path) != 0)
                        continue;
                n++;
                if (ret)
                        *ret = hook.seen[i];
        }
        pthread_mutex_unlock(&hook.lock);
        return n;
}

/* ---- the world ---- */

static char dir[64];
static struct store *store;
static struct account *account;
static struct http_guard *guard;
static struct http_client *client;
static struct webhooks *hooks;
static struct jobs *jobs;

#define WAIT_UNTIL(condition)                                                      \
        do {                                                                       \
                int64_t give_up = clock_mono_ms() + 15000;                         \
                while (!(condition) && clock_mono_ms() < give_up)                  \
                        nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL); \
                assert_true(condition);                                            \
        } while (0)

static atomic_int reported;

static void report(const char *finding)
{
        assert_non_null(strstr(finding, "whe_torn"));
        atomic_fetch_add(&reported, 1);
}

static void start_jobs(void)
{
        struct job_worker workers[WEBHOOK_WORKERS];
        assert_int_equal(webhooks_new(store, account, client, report, &hooks), 0);
        webhooks_workers(hooks, workers);
        assert_int_equal(jobs_start(store, workers, WEBHOOK_WORKERS, &jobs), 0);
}

static void stop_jobs(void)
{
        jobs_stop(jobs);
        webhooks_free(hooks);
        jobs = NULL;
        hooks = NULL;
}

static int setup(void **state)
{
        static const char *const allow[] = { "127.0.0.1" };
        struct http_config config = HTTP_CONFIG_DEFAULTS;
        struct http_app app = { .on_request = on_request };
        struct store_options options = { .exclusive = true };
        struct store_fault fault;
        char err[256] = "";
        (void)state;
        signal(SIGPIPE, SIG_IGN);
        json_setup();
        snprintf(dir, sizeof(dir), "/tmp/cairn-webhooks-XXXXXX");
        config.port = 0;
        if (!mkdtemp(dir) || store_open(dir, &options, &store, &fault) ||
            account_open(store, dir, NULL, &account, err, sizeof(err)) ||
            http_guard_new(allow, 1, &guard, err, sizeof(err)) ||
            http_server_start(&config, &app, &hook.server, err, sizeof(err)))
                return -1;
        struct http_client_config outgoing = { .guard = guard };
        if (http_client_start(&outgoing, &client, err, sizeof(err)))
                return -1;
        start_jobs();
        return 0;
}

static void remove_dir(const char *path)
{
        char inner[512];
        DIR *d = opendir(path);
        for (struct dirent *e; d && (e = readdir(d));) {
                if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
                        continue;
                snprintf(inner, sizeof(inner), "%s/%s", path, e->d_name);
                if (unlink(inner))
                        remove_dir(inner);
        }
        if (d)
                closedir(d);
        rmdir(path);
}

static int teardown(void **state)
{
        (void)state;
        let_go();
        stop_jobs();
        http_client_stop(client);
        let_go();
        http_server_stop(hook.server, 0);
        http_guard_free(guard);
        account_close(account);
        store_close(store);
        remove_dir(dir);
        return 0;
}

/* An endpoint of PROJECT at a path of ours; ret_secret may be NULL. */
static void endpoint(const char *id, const char *path, const char *type, char *ret_secret)
{
        char url[128], secret[WEBHOOK_SECRET_SIZE];
        size_t n;
        snprintf(url, sizeof(url), "http://127.0.0.1:%d%s", http_server_port(hook.server), path);
        json_t *doc = json_pack("{s:{s:s, s:s, s:[s]}}", "object", "id", id, "url", url, "event_types", type);
        assert_int_equal(webhook_secret_renew(account, id, doc, false, clock_unix(), secret), 0);
        char *text = json_text(doc, &n);
        struct store_op op = {
                .verb = STORE_PUT, .kind = KIND_WEBHOOK, .id = id, .project = PROJECT, .doc = { text, n }
        };
        assert_int_equal(store_put(store, &op, NULL), 0);
        if (ret_secret)
                memcpy(ret_secret, secret, sizeof(secret));
        mem_free(text);
        json_decref(doc);
}

static void drop(const char *id)
{
        assert_int_equal(store_delete(store, KIND_WEBHOOK, id, PROJECT, NULL), 0);
}

static void fire(const char *type, const char *data_id)
{
        struct arena *a = arena_new(1 << 16);
        struct store_op op;
        assert_int_equal(webhook_event_op(a, PROJECT, type, data_id, &op), 0);
        assert_int_equal(store_write(store, &op, 1, NULL), 0);
        arena_free(a);
}

static size_t waiting(const char *kind)
{
        size_t n = 0;
        assert_int_equal(store_job_count(store, kind, PROJECT, &n, NULL), 0);
        return n;
}

/* The newest delivery in the log of an endpoint: a new object, NULL when there is none. */
static json_t *logged(const char *id)
{
        struct store_query q = { .kind = KIND_WEBHOOK_DELIVERY,
                                 .project = PROJECT,
                                 .parent = id,
                                 .descending = true,
                                 .limit = 10 };
        struct store_page page;
        struct json_fault why;
        assert_int_equal(store_list(store, &q, &page, NULL), 0);
        json_t *doc = page.n ? json_parse(page.items[0].doc, 32, &why) : NULL;
        json_t *object = json_incref(json_object_get(doc, "object"));
        json_decref(doc);
        store_page_release(&page);
        return object;
}

static bool status_is(const char *id, const char *status)
{
        json_t *v = logged(id);
        bool is = str_eqc(json_str(v, "status"), status);
        json_decref(v);
        return is;
}

/* ---- signatures ---- */

/* The example of the Standard Webhooks specification. */
static void test_vector(void **state)
{
        (void)state;
        struct buf out;
        buf_init(&out, 1000);
        assert_int_equal(webhook_sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
                                      "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330,
                                      STR("{\"test\": 2432232314}"), &out),
                         0);
        assert_string_equal(out.p, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_int_equal(webhook_sign("whsec_x", "m", 1, STR(""), &out), -EINVAL);
        assert_int_equal(webhook_sign("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "m", 1, STR(""), &out), -EINVAL);
        assert_int_equal(webhook_sign("whsec_????????????????????????????????", "m", 1, STR(""), &out),
                         -EINVAL);
        buf_release(&out);
}

/* How many signatures an endpoint's document gives at a time. */
static size_t signatures(const json_t *doc, int64_t at, struct buf *out)
{
        size_t n = 0;
        buf_clear(out);
        if (webhook_signature(account, "whe_s", doc, "evt_1", at, STR("body"), out))
                return 0;
        for (const char *p = out->p; (p = strstr(p, "v1,")); p++)
                n++;
        return n;
}

static void test_rotation(void **state)
{
        (void)state;
        char first[WEBHOOK_SECRET_SIZE], second[WEBHOOK_SECRET_SIZE];
        struct buf all, one;
        int64_t now = 1000000;
        json_t *doc = json_pack("{s:{}}", "object");
        buf_init(&all, 4096);
        buf_init(&one, 4096);
        assert_int_equal(signatures(doc, now, &all), 0);
        assert_int_equal(webhook_secret_renew(account, "whe_s", doc, true, now, first), 0);
        assert_int_equal(strlen(first), 38);
        assert_memory_equal(first, "whsec_", 6);
        const char *hint = json_cstr(json_get(doc, "object"), "signing_secret_hint", "");
        assert_memory_equal(hint, "whsec_...", 9);
        assert_string_equal(hint + 9, first + 34);
        assert_int_equal(signatures(doc, now, &all), 1);
        webhook_sign(first, "evt_1", now, STR("body"), &one);
        assert_string_equal(all.p, one.p);
        /* Both sign for a day, the newer one first; then the newer alone. */
        assert_int_equal(webhook_secret_renew(account, "whe_s", doc, true, now, second), 0);
        assert_string_not_equal(first, second);
        assert_int_equal(signatures(doc, now, &all), 2);
        buf_clear(&one);
        webhook_sign(second, "evt_1", now, STR("body"), &one);
        webhook_sign(first, "evt_1", now, STR("body"), &one);
        assert_string_equal(all.p, one.p);
        assert_int_equal(signatures(doc, now + WEBHOOK_OVERLAP_S - 1, &all), 2);
        assert_int_equal(signatures(doc, now + WEBHOOK_OVERLAP_S, &all), 1);
        /* No more than WEBHOOK_SECRETS_MAX at once; and all end when they are not kept. */
        for (int i = 0; i < 2 * WEBHOOK_SECRETS_MAX; i++)
                webhook_secret_renew(account, "whe_s", doc, true, now, second);
        assert_int_equal(signatures(doc, now, &all), WEBHOOK_SECRETS_MAX);
        assert_int_equal(webhook_secret_renew(account, "whe_s", doc, false, now, second), 0);
        assert_int_equal(signatures(doc, now, &all), 1);
        /* A secret opens in its own endpoint's document only. */
        buf_clear(&all);
        assert_int_equal(webhook_signature(account, "whe_t", doc, "evt_1", now, STR("body"), &all), -EINVAL);
        json_decref(doc);
        buf_release(&all);
        buf_release(&one);
}

/* ---- retries and pace ---- */

static void test_backoff(void **state)
{
        (void)state;
        int64_t age = 0;
        int attempts = 0;
        for (int64_t pause; (pause = webhook_backoff_ms(++attempts, age)); age += pause / 1000) {
                int64_t middle = 2000;
                for (int i = 1; i < attempts && middle < 14400000; i++)
                        middle *= 5;
                if (middle > 14400000)
                        middle = 14400000;
                assert_in_range(pause, middle - middle / 10, middle + middle / 10 + 1);
        }
        assert_in_range(age, 68 * 3600, 72 * 3600);
        assert_in_range(attempts, 20, 30);
}

static void test_pace(void **state)
{
        (void)state;
        struct webhook_pace *p = webhook_pace_new();
        int64_t wait = 0, last = 0;
        for (int i = 0; i < WEBHOOK_PACE_AT_ONCE; i++)
                assert_true(webhook_pace_enter(p, "proj", "slow", 0, &wait));
        assert_true(webhook_pace_enter(p, "proj", "other", 0, &wait));
        for (int i = 0; i < 100; i++) {
                assert_false(webhook_pace_enter(p, "proj", "slow", 0, &wait));
                assert_true(wait > last);
                last = wait;
        }
        assert_in_range(last, 1000, 10000);
        for (int i = 0; i < 6; i++) { /* it proves to be slow: the promises reach further */
                webhook_pace_leave(p, "proj", "slow", 15000);
                assert_true(webhook_pace_enter(p, "proj", "slow", 0, &wait));
        }
        for (int i = 0; i < 100; i++)
                assert_false(webhook_pace_enter(p, "proj", "slow", 0, &wait));
        assert_int_equal(wait, 60000);
        for (int i = 0; i < WEBHOOK_PACE_AT_ONCE; i++)
                webhook_pace_leave(p, "proj", "slow", 10);
        assert_true(webhook_pace_enter(p, "proj", "slow", 0, &wait));
        webhook_pace_free(p);
        webhook_pace_free(NULL);
}

/* How many places a project gets that asks for as many as there are, each for another endpoint. */
static int take_all(struct webhook_pace *p, const char *project)
{
        char endpoint[64];
        int64_t wait = 0;
        int n = 0;
        do
                snprintf(endpoint, sizeof(endpoint), "%s %d", project, n);
        while (webhook_pace_enter(p, project, endpoint, 0, &wait) && ++n <= WEBHOOK_PACE_PLACES);
        assert_true(wait > 0);
        return n;
}

/* Projects whose endpoints all hang leave places for the others. */
static void test_projects_share(void **state)
{
        (void)state;
        static const char *const projects[] = { "a", "b", "c", "d", "e", "f", "g", "h" };
        static const int want[] = { 64, 32, 16, 8, 4, 2, 1, 1 };
        struct webhook_pace *p = webhook_pace_new();
        for (int i = 0; i < 8; i++)
                assert_int_equal(take_all(p, projects[i]), want[i]);
        webhook_pace_leave(p, "a", "a 0", 10);
        webhook_pace_leave(p, "a", "a 1", 10);
        assert_int_equal(take_all(p, "h"), 1); /* half of two, and it has one */
        webhook_pace_free(p);
}

/* ---- deliveries ---- */

static void test_delivery(void **state)
{
        (void)state;
        char secret[WEBHOOK_SECRET_SIZE];
        struct seen s = { 0 };
        struct buf expected;
        struct json_fault why;
        endpoint("whe_ok", "/ok", "batch.completed", secret);
        endpoint("whe_deaf", "/deaf", "batch.failed", NULL);
        fire("batch.completed", "batch_1");
        WAIT_UNTIL(status_is("whe_ok", "delivered"));
        assert_int_equal(seen_at("/ok", &s), 1);
        assert_int_equal(seen_at("/deaf", NULL), 0);
        assert_string_equal(s.type, "application/json");
        assert_in_range(s.timestamp, clock_unix() - 20, clock_unix());
        json_t *body = json_parse(str_c(s.body), 16, &why);
        assert_string_equal(json_cstr(body, "object", ""), "event");
        assert_string_equal(json_cstr(body, "id", ""), s.id);
        assert_string_equal(json_cstr(body, "type", ""), "batch.completed");
        assert_string_equal(json_cstr(json_get(body, "data"), "id", ""), "batch_1");
        assert_true(json_int(body, "created_at", 0) <= s.timestamp);
        buf_init(&expected, 1000);
        webhook_sign(secret, s.id, s.timestamp, str_c(s.body), &expected);
        assert_string_equal(s.signature, expected.p);
        buf_release(&expected);
        json_decref(body);
        json_t *log = logged("whe_ok");
        assert_string_equal(json_cstr(log, "event_id", ""), s.id);
        assert_int_equal(json_int(log, "attempt_count", 0), 1);
        assert_true(json_is_null(json_object_get(log, "next_attempt_at")));
        json_t *attempt = json_array_get(json_get(log, "attempts"), 0);
        assert_int_equal(json_int(attempt, "status_code", 0), 204);
        json_decref(log);
        WAIT_UNTIL(!waiting(WEBHOOK_EVENT) && !waiting(WEBHOOK_DELIVERY));
        drop("whe_ok");
        drop("whe_deaf");
        assert_null(logged("whe_ok"));
}

static void test_retry(void **state)
{
        (void)state;
        struct seen first, second;
        endpoint("whe_flaky", "/flaky", "response.failed", NULL);
        fire("response.failed", "resp_1");
        WAIT_UNTIL(seen_at("/flaky", &first) == 1);
        WAIT_UNTIL(status_is("whe_flaky", "delivered"));
        assert_int_equal(seen_at("/flaky", &second), 2);
        assert_string_equal(first.id, second.id);
        assert_string_equal(first.body, second.body);
        assert_true(second.timestamp > first.timestamp);
        json_t *log = logged("whe_flaky");
        assert_int_equal(json_int(log, "attempt_count", 0), 2);
        assert_int_equal(json_int(json_array_get(json_get(log, "attempts"), 0), "status_code", 0), 500);
        json_decref(log);
        drop("whe_flaky");
}

static void test_gone(void **state)
{
        (void)state;
        endpoint("whe_gone", "/gone", "batch.expired", NULL);
        fire("batch.expired", "batch_2");
        WAIT_UNTIL(status_is("whe_gone", "failed"));
        assert_int_equal(seen_at("/gone", NULL), 1);
        WAIT_UNTIL(!waiting(WEBHOOK_DELIVERY));
        drop("whe_gone");
}

/* What the guard refuses is retried like any failure, and said in the log. */
static void test_refused(void **state)
{
        (void)state;
        char secret[WEBHOOK_SECRET_SIZE];
        size_t n;
        json_t *doc = json_pack("{s:{s:s, s:[s]}}", "object", "url", "http://10.0.0.1/", "event_types",
                                "batch.failed");
        assert_int_equal(webhook_secret_renew(account, "whe_in", doc, false, 0, secret), 0);
        char *text = json_text(doc, &n);
        struct store_op op = { .verb = STORE_PUT,
                               .kind = KIND_WEBHOOK,
                               .id = "whe_in",
                               .project = PROJECT,
                               .doc = { text, n } };
        assert_int_equal(store_put(store, &op, NULL), 0);
        mem_free(text);
        json_decref(doc);
        fire("batch.failed", "batch_3");
        json_t *log = NULL;
        WAIT_UNTIL((json_decref(log), log = logged("whe_in")) && json_int(log, "attempt_count", 0) == 1);
        assert_string_equal(json_cstr(log, "status", ""), "pending");
        json_t *attempt = json_array_get(json_get(log, "attempts"), 0);
        assert_non_null(strstr(json_cstr(attempt, "error", ""), "private"));
        assert_true(json_is_null(json_object_get(attempt, "status_code")));
        json_decref(log);
        drop("whe_in"); /* the retry finds no endpoint and ends */
        WAIT_UNTIL(!waiting(WEBHOOK_DELIVERY));
}

/* A row that is damaged keeps no other endpoint from its events, and the operator hears of it. */
static void test_damaged(void **state)
{
        (void)state;
        struct store_op torn = { .verb = STORE_PUT,
                                 .kind = KIND_WEBHOOK,
                                 .id = "whe_torn",
                                 .project = PROJECT,
                                 .doc = STR("{\"object\":") };
        assert_int_equal(store_put(store, &torn, NULL), 0);
        endpoint("whe_whole", "/whole", "batch.completed", NULL);
        fire("batch.completed", "batch_5");
        WAIT_UNTIL(status_is("whe_whole", "delivered"));
        assert_int_equal(atomic_load(&reported), 1);
        drop("whe_torn");
        drop("whe_whole");
}

#ifdef CAIRN_FAULTS
/* The store fails for a moment when an endpoint has answered: what arrived is not posted again. */
static void test_answer_is_kept(void **state)
{
        (void)state;
        endpoint("whe_once", "/hang-once", "batch.completed", NULL);
        fire("batch.completed", "batch_6");
        WAIT_UNTIL(seen_at("/hang-once", NULL) == 1);
        assert_int_equal(fault_arm(STR("store.commit:1:EIO:3")), 0);
        let_go();
        WAIT_UNTIL(status_is("whe_once", "delivered"));
        fault_clear();
        assert_int_equal(seen_at("/hang-once", NULL), 1);
        json_t *log = logged("whe_once");
        assert_int_equal(json_int(log, "attempt_count", 0), 1);
        json_decref(log);
        drop("whe_once");
}
#endif
/* An endpoint that hangs does not hold up another, and gets but a few requests at a time. */
static void test_hanging(void **state)
{
        (void)state;
        enum { N = 40 };
        endpoint("whe_hang", "/hang", "eval.run.failed", NULL);
        endpoint("whe_quick", "/quick", "batch.cancelled", NULL);
        for (int i = 0; i < N; i++)
                fire("eval.run.failed", "run_1");
        WAIT_UNTIL(seen_at("/hang", NULL) == WEBHOOK_PACE_AT_ONCE);
        int64_t start = clock_mono_ms();
        for (int i = 0; i < N; i++)
                fire("batch.cancelled", "batch_4");
        WAIT_UNTIL(seen_at("/quick", NULL) == N);
        assert_true(clock_mono_ms() - start < 10000);
        assert_int_equal(seen_at("/hang", NULL), WEBHOOK_PACE_AT_ONCE);
        /* A stop gives what is under way back; the next start delivers all of it. */
        stop_jobs();
        let_go();
        assert_int_equal(waiting(WEBHOOK_DELIVERY), N);
        start_jobs();
        int64_t give_up = clock_mono_ms() + 15000;
        while (waiting(WEBHOOK_DELIVERY) && clock_mono_ms() < give_up) {
                let_go();
                nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
        }
        assert_int_equal(waiting(WEBHOOK_DELIVERY), 0);
        drop("whe_hang");
        drop("whe_quick");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_vector),         cmocka_unit_test(test_rotation),
                cmocka_unit_test(test_backoff),        cmocka_unit_test(test_pace),
                cmocka_unit_test(test_projects_share), cmocka_unit_test(test_delivery),
                cmocka_unit_test(test_retry),          cmocka_unit_test(test_gone),
                cmocka_unit_test(test_refused),        cmocka_unit_test(test_damaged),
                cmocka_unit_test(test_hanging),
#ifdef CAIRN_FAULTS
                cmocka_unit_test(test_answer_is_kept),
#endif
        };
        return cmocka_run_group_tests(tests, setup, teardown);
}
