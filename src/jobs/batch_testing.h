/* The world of this folder's tests of batches: a real store and real files, and requests that a table of
 * answers plays. Only test programs include it. */
#ifndef CAIRN_JOBS_BATCH_TESTING_H
#define CAIRN_JOBS_BATCH_TESTING_H

#include <errno.h>
#include <ftw.h>
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

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
        (void)st;
        (void)type;
        (void)at;
        return remove(path);
}

static int teardown(void **state)
{
        struct world *w = *state;
        world_stop(w);
        pool_free(w->pool);
        blobs_close(w->blobs);
        store_close(w->store);
        map_release(&w->runs, NULL);
        pthread_mutex_destroy(&w->lock);
        int rc = nftw(w->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
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
#endif
