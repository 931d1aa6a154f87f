/* The worker of batches over a real store and real files, with requests that a table of answers plays. */
#include "jobs/batch.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>
#include "account/account.h"
#include "account/limits.h"
#include "account/usage.h"
#include "base/arena.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/pool.h"
#include "jobs/batch_internal.h"
#include "jobs/files.h"
#include "store/blob.h"

#define WAIT_MS 60000
#define PROJECT "proj_a"
#define ENDPOINT "/v1/chat/completions"
#define THREADS 4

struct world {
        char dir[64];
        struct store *store;
        struct blobs *blobs;
        struct pool *pool;
        struct limits *limits;
        struct batches *batches;
        struct jobs *q;
        pthread_mutex_t lock;
        struct map runs; /* "say" of a body -> how often it was run */
        atomic_int started, at_once, most;
        atomic_int cut;   /* ended because they were cancelled */
        atomic_bool hold; /* requests wait */
        int busy;         /* so many replies to each line say "later" first */
        int delay_ms;
};

static const struct principal who = { .org = "org-a", .project = PROJECT, .user = "user-a", .key = "key_a" };

static void pause_ms(long ms)
{
        nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 }, NULL);
}

/* ---- a runner ---- */

struct request {
        struct world *w;
        json_t *body;
        struct batch_call call; /* without its body */
        char id[ID_MAX];
        atomic_bool cancelled;
        struct store_usage usage;
};

static int check(void *ctx, const char *endpoint, json_t *body, const char **ret_model, struct batch_why *why)
{
        (void)ctx;
        assert_string_equal(endpoint, ENDPOINT);
        const char *model = json_cstr(body, "model", "");
        if (json_get(body, "bad")) {
                *why = (struct batch_why){ .code = "invalid_value", .param = "bad", .msg = "Invalid 'bad'." };
                return -EINVAL;
        }
        *ret_model = !strcmp(model, "m1") ? "m1" : !strcmp(model, "m2") ? "m2" : NULL;
        if (*ret_model)
                return 0;
        *why = (struct batch_why){ .code = "model_not_found", .msg = "No such model." };
        return -EINVAL;
}

/* How often the line was run before; counts this one. */
static int count_run(struct world *w, const json_t *body)
{
        struct str say = json_str(body, "say");
        pthread_mutex_lock(&w->lock);
        intptr_t n = (intptr_t)map_get(&w->runs, say);
        map_put(&w->runs, say, (void *)(n + 1), NULL);
        pthread_mutex_unlock(&w->lock);
        return (int)n;
}

/* Stores something with the reply, or fails to: "store" of the body says what becomes of it at first. "lost":
 * it is done, and nobody is told; "not": it is not. The status that the reply has then. */
static int store_with(struct request *r, const char *how, int before, struct batch_reply *reply)
{
        struct arena *a = arena_new(4096);
        struct store_op ops[2] = { [1] = { .verb = STORE_USAGE, .usage = &r->usage } };
        bool fails = before == 0 && !strcmp(how, "not"), told = before || !strcmp(how, "told");
        assert_int_equal(batch_keep(&r->call, reply, a, &ops[0]), 0);
        if (!fails)
                assert_int_equal(store_write(r->w->store, ops, 2, NULL), 0);
        arena_free(a);
        if (json_get(r->body, "drop"))
                assert_int_equal(store_delete(r->w->store, BATCH_REPLY_KIND, r->call.line, PROJECT, NULL), 0);
        reply->kept = told;
        reply->unsure = !told;
        return told ? 200 : fails ? 503 : 500;
}

static void work_on(void *arg)
{
        struct request *r = arg;
        struct world *w = r->w;
        int now = atomic_fetch_add(&w->at_once, 1) + 1;
        if (now > atomic_load(&w->most))
                atomic_store(&w->most, now);
        while (atomic_load(&w->hold) && !atomic_load(&r->cancelled))
                pause_ms(1);
        if (w->delay_ms)
                pause_ms(w->delay_ms);
        int before = count_run(w, r->body), status = (int)json_int(r->body, "status", 200);
        bool cut = atomic_load(&r->cancelled);
        if (cut || before < w->busy)
                status = 503;
        if (before >= json_int(r->body, "times", INT64_MAX))
                status = 200;
        atomic_fetch_add(&w->cut, cut);
        json_t *body = json_pack("{s:{s:s*}, s:O?, s:{s:i, s:i, s:{s:i}}}", "error", "code",
                                 json_cstr(r->body, "code", NULL), "said", json_get(r->body, "say"), "usage",
                                 "prompt_tokens", 5, "completion_tokens", 2, "prompt_tokens_details",
                                 "cached_tokens", 1);
        r->usage = (struct store_usage){ .id = r->id,
                                         .what = USAGE_COMPLETIONS,
                                         .project = PROJECT,
                                         .batch = true,
                                         .n = { [USAGE_REQUESTS] = 1, [USAGE_INPUT] = 5 } };
        struct batch_reply reply = { .status = status,
                                     .request_id = r->id,
                                     .body = body,
                                     .usage = status == 200 || cut ? &r->usage : NULL };
        const char *how = json_cstr(r->body, "store", NULL);
        if (how)
                reply.status = store_with(r, how, before, &reply);
        atomic_fetch_sub(&w->at_once, 1);
        r->call.done(r->call.ctx, &reply);
        json_decref(body);
}

static int start_request(void *ctx, const struct batch_call *call, void **ret)
{
        struct world *w = ctx;
        struct request *r = mem_calloc(1, sizeof(*r));
        assert_string_equal(call->who->user, who.user);
        r->w = w;
        r->body = json_incref(call->body);
        r->call = *call;
        id_hex(r->id, "req_", 32);
        atomic_fetch_add(&w->started, 1);
        *ret = r;
        assert_int_equal(pool_submit(w->pool, work_on, r), 0);
        return 0;
}

static void cancel_request(void *handle)
{
        struct request *r = handle;
        atomic_store(&r->cancelled, true);
}

static void release_request(void *handle)
{
        struct request *r = handle;
        json_decref(r->body);
        mem_free(r);
}

/* ---- the world ---- */

static atomic_int reports;

static void count_report(const char *finding)
{
        assert_true(strlen(finding) > 20);
        atomic_fetch_add(&reports, 1);
}

static void world_open(struct world *w)
{
        struct store_options so = { .exclusive = true };
        struct blobs_options bo = { .data_dir = w->dir, .exclusive = true };
        char err[256];
        assert_int_equal(store_open(w->dir, &so, &w->store, NULL), 0);
        assert_int_equal(blobs_open(&bo, &w->blobs, err, sizeof(err)), 0);
}

static void world_start(struct world *w, int lines)
{
        struct batches_options o = {
                .store = w->store,
                .blobs = w->blobs,
                .limits = w->limits,
                .runner = { check, start_request, cancel_request, release_request, w },
                .report = count_report,
                .lines = lines,
                .max_line = 4096,
        };
        assert_int_equal(batches_new(&o, &w->batches), 0);
        struct job_worker workers[] = { batches_worker(w->batches), batches_expiry_worker(w->batches) };
        assert_int_equal(jobs_start(w->store, workers, 2, &w->q), 0);
}

static void world_stop(struct world *w)
{
        jobs_stop(w->q);
        batches_free(w->batches);
        w->q = NULL;
        w->batches = NULL;
}

static int setup(void **state)
{
        struct world *w = mem_calloc(1, sizeof(*w));
        snprintf(w->dir, sizeof(w->dir), "/tmp/cairn-batch-XXXXXX");
        assert_non_null(mkdtemp(w->dir));
        pthread_mutex_init(&w->lock, NULL);
        map_init(&w->runs);
        w->pool = pool_new("fake", THREADS, 4096);
        world_open(w);
        *state = w;
        return 0;
}

static int teardown(void **state)
{
        struct world *w = *state;
        char command[128];
        world_stop(w);
        pool_free(w->pool);
        blobs_close(w->blobs);
        store_close(w->store);
        map_release(&w->runs, NULL);
        pthread_mutex_destroy(&w->lock);
        snprintf(command, sizeof(command), "rm -r %s", w->dir);
        int rc = system(command);
        mem_free(w);
        return rc;
}

static void put_file(struct world *w, struct str content, char id[ID_MAX])
{
        struct blob_writer *writer;
        struct blob_info blob;
        struct file_new what = { .project = PROJECT, .filename = "in.jsonl", .purpose = "batch" };
        struct file_made made;
        assert_int_equal(blob_create(w->blobs, 1 << 30, &writer), 0);
        assert_int_equal(blob_append(writer, content.p, content.n), 0);
        assert_int_equal(blob_commit(writer, &blob), 0);
        assert_int_equal(file_make(&what, &blob, 1, &made), 0);
        assert_int_equal(store_write(w->store, &made.op, 1, NULL), 0);
        snprintf(id, ID_MAX, "%s", made.id);
        file_made_release(&made);
}

/* The bytes of a file, for mem_free(). */
static char *read_file(struct world *w, const char *id)
{
        struct file *f;
        char err[256];
        size_t n = 0;
        assert_int_equal(file_open(w->store, w->blobs, PROJECT, id, &f, err, sizeof(err)), 0);
        char *text = mem_alloc(file_size(f) + 1);
        assert_int_equal(file_read(f, 0, text, file_size(f), &n, err, sizeof(err)), 0);
        assert_int_equal(n, file_size(f));
        text[n] = '\0';
        file_close(f);
        return text;
}

static void put_batch(struct world *w, const char *file, int64_t window, char id[ID_MAX])
{
        struct batch_new what = {
                .who = &who, .input_file = file, .endpoint = ENDPOINT, .expires_after = 3600, .window = window
        };
        json_t *object;
        assert_int_equal(batch_create(w->store, &what, &object, NULL), 0);
        assert_string_equal(json_cstr(object, "status", ""), "validating");
        snprintf(id, ID_MAX, "%s", json_cstr(object, "id", ""));
        json_decref(object);
}

/* The object that clients see: a new reference. */
static json_t *get_batch(struct world *w, const char *id)
{
        struct object row;
        struct json_fault why;
        assert_int_equal(store_get(w->store, BATCH_KIND, id, PROJECT, &row, NULL), 0);
        json_t *doc = json_parse(row.doc, 64, &why), *object = json_incref(json_get(doc, "object"));
        json_decref(doc);
        object_release(&row);
        return object;
}

static json_t *await_status(struct world *w, const char *id, const char *status)
{
        int64_t until = clock_mono_ms() + WAIT_MS;
        json_t *object = get_batch(w, id);
        while (strcmp(json_cstr(object, "status", ""), status) && clock_mono_ms() < until) {
                pause_ms(5);
                json_decref(object);
                object = get_batch(w, id);
        }
        assert_string_equal(json_cstr(object, "status", ""), status);
        return object;
}

static void await_jobs(struct world *w)
{
        size_t n = 1;
        for (int64_t until = clock_mono_ms() + WAIT_MS; n && clock_mono_ms() < until;) {
                assert_int_equal(store_job_count(w->store, BATCH_KIND, NULL, &n, NULL), 0);
                pause_ms(2);
        }
        assert_int_equal(n, 0);
}

static void add_line(struct buf *b, int n, const char *more)
{
        buf_addf(b,
                 "{\"custom_id\":\"c%d\",\"method\":\"POST\",\"url\":\"" ENDPOINT
                 "\",\"body\":{\"model\":\"m1\",\"say\":\"s%d\"%s}}\n",
                 n, n, more);
}

/* Lines c0, c1, ...; every fourth fails. */
static void put_lines(struct world *w, int n, char id[ID_MAX])
{
        struct buf b;
        buf_init(&b, 64 << 20);
        for (int i = 0; i < n; i++)
                add_line(&b, i, i % 4 == 3 ? ",\"status\":400" : "");
        put_file(w, buf_str(&b), id);
        buf_release(&b);
}

/* Reads an output file into `seen`: custom_id -> how often, in the order of the input; its lines. */
static int count_lines(struct world *w, const char *file, struct map *seen, const char *code)
{
        int n = 0;
        if (!file)
                return 0;
        char *text = read_file(w, file);
        long last = -1;
        struct str rest = str_c(text);
        while (rest.n) {
                struct json_fault why;
                struct str line = str_split(rest, '\n', &rest);
                json_t *v = json_parse(line, 64, &why);
                assert_non_null(v);
                struct str id = json_str(v, "custom_id");
                long number = strtol(id.p + 1, NULL, 10);
                assert_true(number > last);
                last = number;
                assert_true(str_starts(json_str(v, "id"), "batch_req_"));
                if (code)
                        n += !strcmp(json_cstr(json_get(v, "error"), "code", ""), code);
                else
                        n += json_get(v, "response") && !json_get(v, "error");
                map_put(seen, id, (void *)((intptr_t)map_get(seen, id) + 1), NULL);
                json_decref(v);
        }
        mem_free(text);
        return n;
}

/* Each custom_id is in one of the files, once. */
static void assert_each_once(const struct map *seen, int n)
{
        assert_int_equal(seen->n, n);
        for (int i = 0; i < n; i++) {
                char id[16];
                snprintf(id, sizeof(id), "c%d", i);
                assert_int_equal((intptr_t)map_get(seen, str_c(id)), 1);
        }
}

static int64_t count_of(const json_t *object, const char *name)
{
        return json_int(json_get(object, "request_counts"), name, -1);
}

static int64_t used_requests(struct world *w)
{
        struct store_usage_query q = { .what = USAGE_COMPLETIONS, .from = 0, .to = clock_unix() + 60 };
        struct store_usage *sums;
        size_t n;
        assert_int_equal(store_usage_sum(w->store, &q, &sums, &n, NULL), 0);
        int64_t used = n ? sums[0].n[USAGE_REQUESTS] : 0;
        mem_free(sums);
        return used;
}

static size_t rows_left(struct world *w, const char *id)
{
        static const char *const kinds[] = { BATCH_LINE_KIND, BATCH_REPLY_KIND };
        size_t n = 0;
        for (int i = 0; i < 2; i++) {
                struct store_query q = { .kind = kinds[i], .project = PROJECT, .parent = id, .limit = 10 };
                struct store_page page;
                assert_int_equal(store_list(w->store, &q, &page, NULL), 0);
                n += page.n;
                store_page_release(&page);
        }
        return n;
}

static void assert_complete(struct world *w, const char *id, int n)
{
        struct map seen;
        map_init(&seen);
        json_t *object = await_status(w, id, "completed");
        await_jobs(w);
        assert_int_equal(count_of(object, "total"), n);
        assert_int_equal(count_of(object, "completed"), n - n / 4);
        assert_int_equal(count_of(object, "failed"), n / 4);
        assert_int_equal(json_int(json_get(object, "usage"), "input_tokens", 0), 5 * (n - n / 4));
        assert_int_equal(json_int(json_get(object, "usage"), "total_tokens", 0), 7 * (n - n / 4));
        assert_string_equal(json_cstr(object, "model", ""), "m1");
        assert_true(json_int(object, "finalizing_at", 0) && json_int(object, "completed_at", 0));
        assert_int_equal(count_lines(w, json_cstr(object, "output_file_id", NULL), &seen, NULL), n - n / 4);
        assert_int_equal(count_lines(w, json_cstr(object, "error_file_id", NULL), &seen, NULL), n / 4);
        assert_each_once(&seen, n);
        assert_int_equal(used_requests(w), n - n / 4);
        assert_int_equal(rows_left(w, id), 0);
        map_release(&seen, NULL);
        json_decref(object);
}

/* ---- running ---- */

static void test_completes(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[ID_MAX];
        w->delay_ms = 1; /* so that they overlap */
        put_lines(w, 1200, file);
        put_batch(w, file, BATCH_WINDOW_S, id);
        world_start(w, 16);
        assert_complete(w, id, 1200);
        assert_int_equal(atomic_load(&w->started), 1200);
        assert_in_range(atomic_load(&w->most), 2, THREADS);
}

static void test_retries_what_is_refused_for_now(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[ID_MAX];
        w->busy = 2;
        put_lines(w, 8, file);
        put_batch(w, file, BATCH_WINDOW_S, id);
        world_start(w, 16);
        assert_complete(w, id, 8);
        assert_int_equal(atomic_load(&w->started), 24);
}

/* One line with these members of its body, until it is completed; how often it was run. */
static int run_one(struct world *w, const char *more, json_t **ret)
{
        char file[ID_MAX], id[ID_MAX];
        struct buf b;
        buf_init(&b, 4096);
        add_line(&b, 0, more);
        put_file(w, buf_str(&b), file);
        buf_release(&b);
        put_batch(w, file, BATCH_WINDOW_S, id);
        world_start(w, 4);
        *ret = await_status(w, id, "completed");
        await_jobs(w);
        assert_int_equal(rows_left(w, id), 0);
        return atomic_load(&w->started);
}

/* Another line is at work on the same conversation: that is no answer. */
static void test_locked_conversation(void **state)
{
        struct world *w = *state;
        json_t *object;
        assert_int_equal(run_one(w, ",\"status\":400,\"code\":\"conversation_locked\",\"times\":2", &object),
                         3);
        assert_int_equal(count_of(object, "completed"), 1);
        json_decref(object);
}

/* What a line stores was committed, but the store told an error: it is there once, and so is its usage. */
static void test_unknown_outcome(void **state)
{
        struct world *w = *state;
        json_t *object;
        assert_int_equal(run_one(w, ",\"store\":\"lost\"", &object), 1);
        assert_int_equal(count_of(object, "completed"), 1);
        assert_int_equal(used_requests(w), 1);
        json_decref(object);
}

static void test_failed_to_store(void **state)
{
        struct world *w = *state;
        json_t *object;
        assert_int_equal(run_one(w, ",\"store\":\"not\"", &object), 2);
        assert_int_equal(count_of(object, "completed"), 1);
        assert_int_equal(used_requests(w), 1);
        json_decref(object);
}

/* A line whose kept reply is not there any more when its answer is committed. */
static void test_kept_reply_is_gone(void **state)
{
        struct world *w = *state;
        json_t *object;
        assert_int_equal(run_one(w, ",\"store\":\"told\",\"drop\":true", &object), 1);
        assert_int_equal(count_of(object, "completed"), 1);
        json_decref(object);
}

/* A spent budget is an answer: it does not come back by waiting. */
static void test_spent_budget(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[ID_MAX];
        put_file(w,
                 STR("{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"" ENDPOINT
                     "\",\"body\":{\"model\":\"m1\",\"status\":429,\"code\":\"insufficient_quota\"}}"),
                 file);
        put_batch(w, file, BATCH_WINDOW_S, id);
        world_start(w, 4);
        json_t *object = await_status(w, id, "completed");
        assert_int_equal(count_of(object, "failed"), 1);
        assert_int_equal(atomic_load(&w->started), 1);
        json_decref(object);
}

static void test_share(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[2][ID_MAX];
        atomic_store(&w->hold, true);
        put_lines(w, 40, file);
        for (int i = 0; i < 2; i++)
                put_batch(w, file, BATCH_WINDOW_S, id[i]);
        world_start(w, 2);
        for (int i = 0; i < 2; i++)
                json_decref(await_status(w, id[i], "in_progress"));
        pause_ms(300);
        assert_in_range(atomic_load(&w->started), 2, 3); /* the first may have begun two alone */
        atomic_store(&w->hold, false);
        for (int i = 0; i < 2; i++)
                json_decref(await_status(w, id[i], "completed"));
}

/* The queue is stopped and started again and again; nothing is run twice that has an answer. */
static void test_goes_on(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[ID_MAX];
        bool over = false;
        w->delay_ms = 1;
        put_lines(w, 600, file);
        put_batch(w, file, BATCH_WINDOW_S, id);
        for (int i = 0; i < 100 && !over; i++) {
                world_start(w, 8);
                pause_ms(20 + i % 7 * 10);
                world_stop(w);
                json_t *object = get_batch(w, id);
                over = !strcmp(json_cstr(object, "status", ""), "completed");
                json_decref(object);
        }
        world_start(w, 8);
        assert_complete(w, id, 600);
}

/* ---- other ends ---- */

/* Puts what a process has left that died between storing what line `n` stores and its answer; `doc` NULL: as
 * batch_keep() makes it. */
static void put_kept(struct world *w, const char *id, int n, const char *doc)
{
        char line[BATCH_LINE_ID_MAX], whole[256];
        struct store_usage usage = { .id = line,
                                     .what = USAGE_COMPLETIONS,
                                     .project = PROJECT,
                                     .batch = true,
                                     .n = { [USAGE_REQUESTS] = 1, [USAGE_INPUT] = 5 } };
        struct store_op ops[] = {
                { .verb = STORE_PUT, .kind = BATCH_REPLY_KIND, .id = line, .project = PROJECT, .parent = id },
                { .verb = STORE_USAGE, .usage = &usage }
        };
        snprintf(line, sizeof(line), "%s-%05d", id, n);
        snprintf(
                whole, sizeof(whole),
                "{\"custom_id\":\"c%d\",\"status\":200,\"request_id\":\"req_of_before\",\"body\":{\"usage\":{"
                "\"prompt_tokens\":5,\"completion_tokens\":2}}}",
                n);
        ops[0].doc = str_c(doc ? doc : whole);
        assert_int_equal(store_write(w->store, ops, 2, NULL), 0);
}

static void test_what_was_stored_is_not_run_again(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[ID_MAX];
        put_lines(w, 40, file);
        put_batch(w, file, BATCH_WINDOW_S, id);
        for (int n = 0; n < 40; n += 4)
                put_kept(w, id, n, NULL);
        world_start(w, 8);
        assert_complete(w, id, 40);
        assert_int_equal(atomic_load(&w->started), 30);
        json_t *object = get_batch(w, id);
        char *text = read_file(w, json_cstr(object, "output_file_id", ""));
        assert_non_null(strstr(text, "\"custom_id\":\"c36\",\"response\":{\"status_code\":200,"
                                     "\"request_id\":\"req_of_before\""));
        mem_free(text);
        json_decref(object);
}

static void test_damaged_reply(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[ID_MAX];
        put_lines(w, 3, file);
        put_batch(w, file, BATCH_WINDOW_S, id);
        put_kept(w, id, 1, "{\"status\":2");
        world_start(w, 8);
        json_t *object = await_status(w, id, "completed");
        assert_int_equal(count_of(object, "completed"), 2);
        assert_int_equal(count_of(object, "failed"), 1);
        await_jobs(w);
        assert_int_equal(rows_left(w, id), 0);
        char *text = read_file(w, json_cstr(object, "error_file_id", ""));
        assert_non_null(strstr(text, "\"custom_id\":\"c1\",\"response\":{\"status_code\":500,"));
        mem_free(text);
        json_decref(object);
}

static void test_cancel(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[ID_MAX];
        struct map seen;
        json_t *object, *again;
        map_init(&seen);
        put_lines(w, 400, file);
        put_batch(w, file, BATCH_WINDOW_S, id);
        w->delay_ms = 2;
        world_start(w, 4);
        do {
                object = get_batch(w, id);
                int64_t n = count_of(object, "completed");
                json_decref(object);
                if (n >= 20)
                        break;
                pause_ms(2);
        } while (true);
        atomic_store(&w->hold, true); /* what runs now must be cancelled to end */
        assert_int_equal(batch_cancel(w->store, PROJECT, id, &object, NULL), 0);
        assert_string_equal(json_cstr(object, "status", ""), "cancelling");
        assert_int_equal(batch_cancel(w->store, PROJECT, id, &again, NULL), 0);
        assert_int_equal(json_int(object, "cancelling_at", 0), json_int(again, "cancelling_at", 1));
        json_decref(object);
        json_decref(again);
        assert_int_equal(batch_cancel(w->store, "proj_b", id, &object, NULL), -ENOENT);
        object = await_status(w, id, "cancelled");
        int64_t done = count_of(object, "completed"), failed = count_of(object, "failed");
        assert_in_range(done, 20, 300);
        assert_int_equal(count_lines(w, json_cstr(object, "output_file_id", NULL), &seen, NULL), done);
        assert_int_equal(count_lines(w, json_cstr(object, "error_file_id", NULL), &seen, "batch_cancelled"),
                         400 - done - failed);
        assert_each_once(&seen, 400);
        assert_true(atomic_load(&w->cut) > 0);
        assert_int_equal(used_requests(w), done + atomic_load(&w->cut)); /* what was computed counts */
        assert_int_equal(batch_cancel(w->store, PROJECT, id, &again, NULL), 0);
        assert_true(json_equal(object, again));
        json_decref(again);
        json_decref(object);
        map_release(&seen, NULL);
}

/* What a process that died had stored is in the output, though nothing else is run any more. */
static void test_cancel_keeps_what_was_stored(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[ID_MAX];
        struct map seen;
        json_t *object;
        map_init(&seen);
        atomic_store(&w->hold, true);
        put_lines(w, 20, file);
        put_batch(w, file, BATCH_WINDOW_S, id);
        world_start(w, 4);
        json_decref(await_status(w, id, "in_progress"));
        world_stop(w);
        for (int n = 0; n < 20; n += 8)
                put_kept(w, id, n, NULL);
        assert_int_equal(batch_cancel(w->store, PROJECT, id, &object, NULL), 0);
        json_decref(object);
        int before = atomic_load(&w->started);
        world_start(w, 4);
        object = await_status(w, id, "cancelled");
        await_jobs(w);
        assert_int_equal(atomic_load(&w->started), before);
        assert_int_equal(count_of(object, "completed"), 3);
        assert_int_equal(count_lines(w, json_cstr(object, "output_file_id", NULL), &seen, NULL), 3);
        assert_int_equal(count_lines(w, json_cstr(object, "error_file_id", NULL), &seen, "batch_cancelled"),
                         17);
        assert_each_once(&seen, 20);
        assert_int_equal(used_requests(w), 3);
        assert_int_equal(rows_left(w, id), 0);
        json_decref(object);
        map_release(&seen, NULL);
}

static void test_cancel_before_start(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[ID_MAX];
        json_t *object;
        put_lines(w, 4, file);
        put_batch(w, file, BATCH_WINDOW_S, id);
        assert_int_equal(batch_cancel(w->store, PROJECT, id, &object, NULL), 0);
        json_decref(object);
        world_start(w, 4);
        object = await_status(w, id, "cancelled");
        assert_null(json_get(object, "output_file_id"));
        assert_null(json_get(object, "error_file_id"));
        json_decref(object);
        assert_int_equal(atomic_load(&w->started), 0);
}

static size_t jobs_of(struct world *w, const char *kind)
{
        size_t n;
        assert_int_equal(store_job_count(w->store, kind, NULL, &n, NULL), 0);
        return n;
}

/* Nobody has begun with them and nobody will for long: there are as many at work as there may be. */
static void test_waiting_ones_end(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], busy[64][ID_MAX], cancelled[ID_MAX], expired[ID_MAX];
        json_t *object;
        atomic_store(&w->hold, true);
        put_lines(w, 2, file);
        for (int i = 0; i < 64; i++)
                put_batch(w, file, BATCH_WINDOW_S, busy[i]);
        world_start(w, 64);
        for (int i = 0; i < 64; i++)
                json_decref(await_status(w, busy[i], "in_progress"));
        put_batch(w, file, BATCH_WINDOW_S, cancelled);
        put_batch(w, file, 1, expired);
        assert_int_equal(batch_cancel(w->store, PROJECT, cancelled, &object, NULL), 0);
        assert_string_equal(json_cstr(object, "status", ""), "cancelled");
        assert_true(json_int(object, "cancelled_at", 0) && json_int(object, "cancelling_at", 0));
        json_decref(object);
        object = await_status(w, expired, "expired");
        assert_true(json_int(object, "expired_at", 0) >= json_int(object, "expires_at", 0));
        json_decref(object);
        assert_int_equal(jobs_of(w, BATCH_KIND), 64);
        assert_int_equal(jobs_of(w, "webhook.event"), 2);
        atomic_store(&w->hold, false);
        await_jobs(w);
        for (int i = 0; i < 64; i++)
                json_decref(await_status(w, busy[i], "completed"));
        for (int64_t until = clock_mono_ms() + WAIT_MS;
             clock_mono_ms() < until && jobs_of(w, BATCH_EXPIRY_KIND);)
                pause_ms(5);
        assert_int_equal(jobs_of(w, BATCH_EXPIRY_KIND), 0);
}

static void test_expires(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[ID_MAX];
        struct map seen;
        map_init(&seen);
        put_lines(w, 50, file);
        put_batch(w, file, 2, id);
        w->delay_ms = 300;
        world_start(w, 2);
        json_t *object = await_status(w, id, "expired");
        int64_t done = count_of(object, "completed"), failed = count_of(object, "failed");
        assert_in_range(done, 1, 40);
        assert_true(json_int(object, "expired_at", 0) >= json_int(object, "expires_at", 0));
        assert_int_equal(count_lines(w, json_cstr(object, "output_file_id", NULL), &seen, NULL), done);
        assert_int_equal(count_lines(w, json_cstr(object, "error_file_id", NULL), &seen, "batch_expired"),
                         50 - done - failed);
        assert_each_once(&seen, 50);
        assert_int_equal(used_requests(w), done + atomic_load(&w->cut));
        json_decref(object);
        assert_int_equal(batch_cancel(w->store, PROJECT, id, &object, NULL), -EALREADY);
        json_decref(object);
        map_release(&seen, NULL);
}

/* ---- validation ---- */

#define LINE(id, more)                                                      \
        "{\"custom_id\":\"" id "\",\"method\":\"POST\",\"url\":\"" ENDPOINT \
        "\",\"body\":{\"model\":\"m1\"" more "}}\n"

static const struct bad {
        const char *text, *code, *param;
        int line; /* 0: none */
} bad_inputs[] = {
        { "\n \r\n", "empty_file", NULL, 0 },
        { LINE("a", "") "{nonsense\n", "invalid_json_line", NULL, 2 },
        { LINE("a", "") "\n\n[1]\n", "invalid_json_line", NULL, 4 },
        { LINE("a", "") LINE("b", "") LINE("a", ""), "duplicate_custom_id", "custom_id", 3 },
        { LINE("", ""), "invalid_value", "custom_id", 1 },
        { "{\"method\":\"POST\",\"url\":\"" ENDPOINT "\",\"body\":{\"model\":\"m1\"}}",
          "missing_required_parameter", "custom_id", 1 },
        { "{\"custom_id\":7,\"method\":\"POST\",\"url\":\"" ENDPOINT "\",\"body\":{\"model\":\"m1\"}}",
          "invalid_type", "custom_id", 1 },
        { "{\"custom_id\":\"a\",\"url\":\"" ENDPOINT "\",\"body\":{\"model\":\"m1\"}}",
          "missing_required_parameter", "method", 1 },
        { "{\"custom_id\":\"a\",\"method\":\"GET\",\"url\":\"" ENDPOINT "\",\"body\":{\"model\":\"m1\"}}",
          "invalid_method", "method", 1 },
        { "{\"custom_id\":\"a\",\"method\":\"POST\",\"body\":{\"model\":\"m1\"}}",
          "missing_required_parameter", "url", 1 },
        { "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/v1/embeddings\",\"body\":{\"model\":\"m1\"}}",
          "url_mismatch", "url", 1 },
        { "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"" ENDPOINT "\"}", "missing_required_parameter",
          "body", 1 },
        { "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"" ENDPOINT "\",\"body\":[]}", "invalid_type",
          "body", 1 },
        { "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"" ENDPOINT
          "\",\"body\":{\"model\":\"m1\"},\"x\":1}",
          "unknown_parameter", "x", 1 },
        { LINE("a", ",\"stream\":true"), "invalid_value", "body.stream", 1 },
        { LINE("a", ",\"background\":true"), "invalid_value", "body.background", 1 },
        { LINE("a", ",\"bad\":1"), "invalid_value", "body.bad", 1 },
        { "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"" ENDPOINT "\",\"body\":{\"model\":\"m3\"}}",
          "model_not_found", "body", 1 },
        { LINE("a", "") "{\"custom_id\":\"b\",\"method\":\"POST\",\"url\":\"" ENDPOINT
                        "\",\"body\":{\"model\":\"m2\"}}",
          "mismatched_model", "body.model", 2 },
        { LINE("a\xff", ""), "invalid_json_line", NULL, 1 },
        { LINE("a", "") "{\"custom_id\":\"b\"", "invalid_json_line", NULL, 2 },
};

static void test_bad_inputs(void **state)
{
        struct world *w = *state;
        world_start(w, 4);
        for (size_t i = 0; i < sizeof(bad_inputs) / sizeof(*bad_inputs); i++) {
                const struct bad *bad = &bad_inputs[i];
                char file[ID_MAX], id[ID_MAX];
                put_file(w, str_c(bad->text), file);
                put_batch(w, file, BATCH_WINDOW_S, id);
                json_t *object = await_status(w, id, "failed"), *errors = json_get(object, "errors");
                json_t *e = json_array_get(json_get(errors, "data"), 0);
                assert_string_equal(json_cstr(errors, "object", ""), "list");
                assert_int_equal(json_array_size(json_get(errors, "data")), 1);
                assert_string_equal(json_cstr(e, "code", ""), bad->code);
                assert_int_equal(json_int(e, "line", 0), bad->line);
                if (bad->param)
                        assert_string_equal(json_cstr(e, "param", ""), bad->param);
                else
                        assert_null(json_get(e, "param"));
                assert_true(json_str(e, "message").n > 10);
                assert_null(json_get(object, "output_file_id"));
                assert_true(json_int(object, "failed_at", 0) > 0);
                json_decref(object);
        }
        assert_int_equal(atomic_load(&w->started), 0);
}

/* Every bad line is reported, a line that is too long too, and those behind it. */
static void test_all_errors(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[ID_MAX];
        struct buf b;
        buf_init(&b, 8 << 20);
        buf_adds(&b, "\xef\xbb\xbf"); /* a byte order mark is none of the errors */
        add_line(&b, 1, "");
        for (int i = 0; i < 700000; i++)
                buf_addc(&b, 'x');
        buf_adds(&b, "\n");
        add_line(&b, 1, "");
        add_line(&b, 2, ",\"bad\":1");
        put_file(w, buf_str(&b), file);
        buf_release(&b);
        put_batch(w, file, BATCH_WINDOW_S, id);
        world_start(w, 4);
        json_t *object = await_status(w, id, "failed"), *data = json_get(json_get(object, "errors"), "data");
        static const char *const codes[] = { "invalid_json_line", "duplicate_custom_id", "invalid_value" };
        assert_int_equal(json_array_size(data), 3);
        for (int i = 0; i < 3; i++) {
                assert_string_equal(json_cstr(json_array_get(data, (size_t)i), "code", ""), codes[i]);
                assert_int_equal(json_int(json_array_get(data, (size_t)i), "line", 0), i + 2);
        }
        json_decref(object);
}

static void test_too_many_lines(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[ID_MAX];
        struct buf b;
        buf_init(&b, 64 << 20);
        for (int i = 0; i <= BATCH_MAX_LINES; i++)
                add_line(&b, i, "");
        put_file(w, buf_str(&b), file);
        buf_release(&b);
        put_batch(w, file, BATCH_WINDOW_S, id);
        world_start(w, 4);
        json_t *object = await_status(w, id, "failed");
        json_t *e = json_array_get(json_get(json_get(object, "errors"), "data"), 0);
        assert_string_equal(json_cstr(e, "code", ""), "too_many_tasks");
        json_decref(object);
}

/* ---- an input that goes away ---- */

static void test_lost_input(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[ID_MAX];
        put_lines(w, 4, file);
        put_batch(w, file, BATCH_WINDOW_S, id);
        assert_int_equal(store_delete(w->store, FILE_KIND, file, PROJECT, NULL), 0);
        world_start(w, 4);
        json_t *object = await_status(w, id, "failed");
        json_t *e = json_array_get(json_get(json_get(object, "errors"), "data"), 0);
        assert_string_equal(json_cstr(e, "code", ""), "input_file_not_found");
        json_decref(object);
}

/* It is deleted while lines run, and the server starts again: what was answered is not lost. */
static void test_lost_input_on_the_way(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[ID_MAX];
        struct map seen;
        json_t *object;
        int64_t done;
        map_init(&seen);
        w->delay_ms = 2;
        put_lines(w, 4000, file);
        put_batch(w, file, BATCH_WINDOW_S, id);
        world_start(w, 4);
        do {
                object = get_batch(w, id);
                done = count_of(object, "completed");
                json_decref(object);
        } while (done < 20);
        world_stop(w);
        assert_int_equal(store_delete(w->store, FILE_KIND, file, PROJECT, NULL), 0);
        world_start(w, 4);
        object = await_status(w, id, "failed");
        json_t *e = json_array_get(json_get(json_get(object, "errors"), "data"), 0);
        assert_string_equal(json_cstr(e, "code", ""), "input_file_not_found");
        done = count_of(object, "completed");
        assert_true(done >= 20);
        assert_int_equal(count_lines(w, json_cstr(object, "output_file_id", NULL), &seen, NULL), done);
        json_decref(object);
        map_release(&seen, NULL);
}

/* The same of what a process before had stored without answering it. */
static void test_lost_input_keeps_what_was_stored(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[ID_MAX];
        struct map seen;
        map_init(&seen);
        atomic_store(&w->hold, true);
        put_lines(w, 40, file);
        put_batch(w, file, BATCH_WINDOW_S, id);
        world_start(w, 4);
        json_decref(await_status(w, id, "in_progress"));
        world_stop(w);
        put_kept(w, id, 20, NULL);
        put_kept(w, id, 24, "{\"status\":2");
        put_kept(w, id, 28, NULL);
        assert_int_equal(store_delete(w->store, FILE_KIND, file, PROJECT, NULL), 0);
        world_start(w, 4);
        json_t *object = await_status(w, id, "failed");
        await_jobs(w);
        assert_int_equal(count_of(object, "completed"), 2);
        assert_int_equal(count_lines(w, json_cstr(object, "output_file_id", NULL), &seen, NULL), 2);
        assert_non_null(map_get(&seen, STR("c20")));
        assert_non_null(map_get(&seen, STR("c28")));
        assert_int_equal(rows_left(w, id), 0);
        json_decref(object);
        map_release(&seen, NULL);
}

/* ---- trouble below ---- */

/* Changes a byte of every blob there is. */
static void damage_blobs(struct world *w)
{
        char command[256];
        snprintf(command, sizeof(command),
                 "find %s/blobs -type f | while read f; do chmod u+w $f; printf X | dd of=$f bs=1 seek=20 "
                 "conv=notrunc status=none; done",
                 w->dir);
        assert_int_equal(system(command), 0);
}

static void test_damaged_input(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[ID_MAX];
        put_lines(w, 4, file);
        put_batch(w, file, BATCH_WINDOW_S, id);
        damage_blobs(w);
        world_start(w, 4);
        json_t *object = await_status(w, id, "failed");
        json_t *e = json_array_get(json_get(json_get(object, "errors"), "data"), 0);
        assert_string_equal(json_cstr(e, "code", ""), "input_file_damaged");
        json_decref(object);
        assert_int_equal(atomic_load(&w->started), 0);
}

static void test_damaged_row(void **state)
{
        struct world *w = *state;
        struct store_op ops[] = {
                { .verb = STORE_PUT, .kind = BATCH_KIND, .id = "b", .project = PROJECT, .doc = STR("{") },
                { .verb = STORE_JOB_PUT,
                  .kind = BATCH_KIND,
                  .id = "b",
                  .project = PROJECT,
                  .doc = STR("{}") },
        };
        assert_int_equal(store_write(w->store, ops, 2, NULL), 0);
        atomic_store(&reports, 0);
        world_start(w, 4);
        await_jobs(w); /* it is not tried for ever */
        assert_int_equal(atomic_load(&reports), 1);
}

/* A folder of the data directory that goes away and comes back. */
static void move_folder(struct world *w, const char *from, const char *to)
{
        char old[128], new[128];
        snprintf(old, sizeof(old), "%s/%s", w->dir, from);
        snprintf(new, sizeof(new), "%s/%s", w->dir, to);
        assert_int_equal(rename(old, new), 0);
}

static void await_report(void)
{
        for (int64_t until = clock_mono_ms() + WAIT_MS; !atomic_load(&reports) && clock_mono_ms() < until;)
                pause_ms(2);
        assert_true(atomic_load(&reports) > 0);
}

/* What is missing is not the batch: it waits for its output to be written, and says so. */
static void test_no_place_for_output(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[ID_MAX];
        put_lines(w, 20, file);
        put_batch(w, file, BATCH_WINDOW_S, id);
        move_folder(w, "blobs/tmp", "away");
        atomic_store(&reports, 0);
        world_start(w, 4);
        json_decref(await_status(w, id, "finalizing"));
        await_report();
        move_folder(w, "away", "blobs/tmp");
        assert_complete(w, id, 20);
        assert_int_equal(atomic_load(&w->started), 20);
}

/* The same at a cancellation: what was cut off is recorded once. */
static void test_no_place_after_cancel(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[ID_MAX];
        json_t *object;
        atomic_store(&w->hold, true);
        put_lines(w, 20, file);
        put_batch(w, file, BATCH_WINDOW_S, id);
        move_folder(w, "blobs/tmp", "away");
        atomic_store(&reports, 0);
        world_start(w, 4);
        while (atomic_load(&w->started) < 4)
                pause_ms(2);
        assert_int_equal(batch_cancel(w->store, PROJECT, id, &object, NULL), 0);
        json_decref(object);
        await_report();
        move_folder(w, "away", "blobs/tmp");
        object = await_status(w, id, "cancelled");
        await_jobs(w);
        assert_int_equal(count_of(object, "completed") + count_of(object, "failed"), 0);
        assert_int_equal(atomic_load(&w->cut), 4);
        assert_int_equal(used_requests(w), 4);
        json_decref(object);
}

/* Nor is it the input, when the whole store of blobs is away. */
static void test_no_blobs(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[ID_MAX];
        put_lines(w, 20, file);
        put_batch(w, file, BATCH_WINDOW_S, id);
        move_folder(w, "blobs", "away");
        atomic_store(&reports, 0);
        world_start(w, 4);
        await_report();
        move_folder(w, "away", "blobs");
        assert_complete(w, id, 20);
}

#ifdef CAIRN_FAULTS
/* Commits and writings of the output fail now and then: the batch is late, and exact. */
static void test_failing_disk(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[ID_MAX];
        put_lines(w, 200, file);
        put_batch(w, file, BATCH_WINDOW_S, id);
        w->delay_ms = 1;
        assert_int_equal(fault_arm(STR("store.commit:4:ENOSPC:3,store.commit:9:EIO:2,blob.write:1:ENOSPC:1")),
                         0);
        world_start(w, 8);
        assert_complete(w, id, 200);
        fault_clear();
}

/* What was computed is recorded once, though the store fails when it is to be. */
static void test_failing_disk_at_cancel(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[ID_MAX];
        json_t *object;
        atomic_store(&w->hold, true);
        put_lines(w, 20, file);
        put_batch(w, file, BATCH_WINDOW_S, id);
        world_start(w, 4);
        while (atomic_load(&w->started) < 4)
                pause_ms(2);
        assert_int_equal(batch_cancel(w->store, PROJECT, id, &object, NULL), 0);
        json_decref(object);
        assert_int_equal(fault_arm(STR("store.commit:1:ENOSPC:2,store.answer:4:EIO:1")), 0);
        json_decref(await_status(w, id, "cancelled"));
        await_jobs(w);
        fault_clear();
        assert_int_equal(used_requests(w), 4);
}
#endif

/* ---- the limit of tokens in the queue ---- */

static void test_token_limit(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[3][ID_MAX], err[256];
        struct limit_rule rule;
        limit_rule_init(&rule);
        rule.max[LIMIT_BATCH_TOKENS] = 400; /* some 30 tokens a line */
        struct limits_options o = { .rules = &rule, .n_rules = 1 };
        struct limits *limits;
        assert_int_equal(limits_open(&o, w->store, &limits, err, sizeof(err)), 0);
        w->limits = limits;
        atomic_store(&w->hold, true);
        put_lines(w, 10, file);
        world_start(w, 4);
        put_batch(w, file, BATCH_WINDOW_S, id[0]);
        json_decref(await_status(w, id[0], "in_progress"));
        put_batch(w, file, BATCH_WINDOW_S, id[1]); /* beside the first: too many */
        json_t *object = await_status(w, id[1], "failed");
        json_t *e = json_array_get(json_get(json_get(object, "errors"), "data"), 0);
        assert_string_equal(json_cstr(e, "code", ""), "token_limit_exceeded");
        json_decref(object);
        atomic_store(&w->hold, false);
        json_decref(await_status(w, id[0], "completed"));
        put_batch(w, file, BATCH_WINDOW_S, id[2]); /* behind it: fine */
        json_decref(await_status(w, id[2], "completed"));
        world_stop(w);
        limits_close(limits);
}

/* Batches that begin at once and of which one has room: what they hold together is what the one does. */
static void test_token_limit_is_raced_for(void **state)
{
        struct world *w = *state;
        char file[ID_MAX], id[8][ID_MAX], err[256];
        struct limit_rule rule;
        limit_rule_init(&rule);
        rule.max[LIMIT_BATCH_TOKENS] = 400;
        struct limits_options o = { .rules = &rule, .n_rules = 1 };
        struct limits *limits;
        struct object row;
        int running = 0;
        assert_int_equal(limits_open(&o, w->store, &limits, err, sizeof(err)), 0);
        w->limits = limits;
        atomic_store(&w->hold, true);
        put_lines(w, 10, file);
        for (int i = 0; i < 8; i++)
                put_batch(w, file, BATCH_WINDOW_S, id[i]);
        world_start(w, 8);
        for (int i = 0; i < 8; i++) {
                json_t *object = get_batch(w, id[i]);
                for (; !strcmp(json_cstr(object, "status", ""), "validating"); object = get_batch(w, id[i])) {
                        json_decref(object);
                        pause_ms(5);
                }
                running += !strcmp(json_cstr(object, "status", ""), "in_progress");
                json_decref(object);
        }
        assert_int_equal(running, 1);
        assert_int_equal(store_get(w->store, BATCH_QUEUE_KIND, PROJECT "/m1", PROJECT, &row, NULL), 0);
        assert_false(str_eqc(row.doc, "{\"tokens\":0}"));
        object_release(&row);
        atomic_store(&w->hold, false);
        await_jobs(w);
        assert_int_equal(store_get(w->store, BATCH_QUEUE_KIND, PROJECT "/m1", PROJECT, &row, NULL), 0);
        assert_true(str_eqc(row.doc, "{\"tokens\":0}"));
        object_release(&row);
        world_stop(w);
        limits_close(limits);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_completes, setup, teardown),
                cmocka_unit_test_setup_teardown(test_retries_what_is_refused_for_now, setup, teardown),
                cmocka_unit_test_setup_teardown(test_spent_budget, setup, teardown),
                cmocka_unit_test_setup_teardown(test_locked_conversation, setup, teardown),
                cmocka_unit_test_setup_teardown(test_unknown_outcome, setup, teardown),
                cmocka_unit_test_setup_teardown(test_failed_to_store, setup, teardown),
                cmocka_unit_test_setup_teardown(test_kept_reply_is_gone, setup, teardown),
                cmocka_unit_test_setup_teardown(test_share, setup, teardown),
                cmocka_unit_test_setup_teardown(test_goes_on, setup, teardown),
                cmocka_unit_test_setup_teardown(test_what_was_stored_is_not_run_again, setup, teardown),
                cmocka_unit_test_setup_teardown(test_damaged_reply, setup, teardown),
                cmocka_unit_test_setup_teardown(test_cancel, setup, teardown),
                cmocka_unit_test_setup_teardown(test_cancel_keeps_what_was_stored, setup, teardown),
                cmocka_unit_test_setup_teardown(test_cancel_before_start, setup, teardown),
                cmocka_unit_test_setup_teardown(test_waiting_ones_end, setup, teardown),
                cmocka_unit_test_setup_teardown(test_expires, setup, teardown),
                cmocka_unit_test_setup_teardown(test_bad_inputs, setup, teardown),
                cmocka_unit_test_setup_teardown(test_all_errors, setup, teardown),
                cmocka_unit_test_setup_teardown(test_too_many_lines, setup, teardown),
                cmocka_unit_test_setup_teardown(test_lost_input, setup, teardown),
                cmocka_unit_test_setup_teardown(test_lost_input_on_the_way, setup, teardown),
                cmocka_unit_test_setup_teardown(test_lost_input_keeps_what_was_stored, setup, teardown),
                cmocka_unit_test_setup_teardown(test_damaged_input, setup, teardown),
                cmocka_unit_test_setup_teardown(test_damaged_row, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_place_for_output, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_place_after_cancel, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_blobs, setup, teardown),
#ifdef CAIRN_FAULTS
                cmocka_unit_test_setup_teardown(test_failing_disk, setup, teardown),
                cmocka_unit_test_setup_teardown(test_failing_disk_at_cancel, setup, teardown),
#endif
                cmocka_unit_test_setup_teardown(test_token_limit, setup, teardown),
                cmocka_unit_test_setup_teardown(test_token_limit_is_raced_for, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
