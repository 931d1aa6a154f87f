#include "api/metrics.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>
#include "account/limits.h"
#include "api/api.h"
#include "api/response_feed.h"
#include "base/mem.h"
#include "base/pool.h"
#include "contract/contract.h"
#include "engine/engine.h"
#include "models/registry.h"
#include "store/blob.h"
#include "store/store.h"

#define JOB_KINDS_MAX 32

int metrics_init(struct metrics *m)
{
        size_t n;
        contract_operations(&n);
        *m = (struct metrics){ .ops = mem_calloc(n + 1, sizeof(*m->ops)) };
        return m->ops ? 0 : -ENOMEM;
}

void metrics_release(struct metrics *m)
{
        mem_free(m->ops);
        m->ops = NULL;
}

void metrics_count(struct metrics *m, const struct operation *op, int status, int64_t duration_us)
{
        size_t n;
        const struct operation *ops = contract_operations(&n);
        struct metrics_op *slot = &m->ops[op ? (size_t)(op - ops) : n];
        int class = status / 100;
        atomic_fetch_add(&slot->count[class < METRICS_STATUS_CLASSES ? class : 0], 1);
        atomic_fetch_add(&slot->duration_us, (uint_fast64_t)duration_us);
}

/* One family's head, then the caller adds its samples. */
static void head(struct buf *out, const char *name, const char *type, const char *help)
{
        buf_addf(out, "# HELP cairn_%s %s\n# TYPE cairn_%s %s\n", name, help, name, type);
}

static void single(struct buf *out, const char *name, const char *type, const char *help,
                   unsigned long long v)
{
        head(out, name, type, help);
        buf_addf(out, "cairn_%s %llu\n", name, v);
}

static void write_operations(const struct metrics *m, struct buf *out)
{
        size_t n;
        const struct operation *ops = contract_operations(&n);
        head(out, "requests_total", "counter",
             "Requests by operation and class of status; 0xx got no reply.");
        for (size_t i = 0; i <= n; i++)
                for (int c = 0; c < METRICS_STATUS_CLASSES; c++) {
                        unsigned long long count = atomic_load(&m->ops[i].count[c]);
                        if (count)
                                buf_addf(out, "cairn_requests_total{operation=\"%s\",status=\"%dxx\"} %llu\n",
                                         i < n ? ops[i].id : "none", c, count);
                }
        head(out, "request_seconds_total", "counter",
             "Time spent on requests, streams included, by operation.");
        for (size_t i = 0; i <= n; i++) {
                unsigned long long us = atomic_load(&m->ops[i].duration_us);
                if (us)
                        buf_addf(out, "cairn_request_seconds_total{operation=\"%s\"} %.6f\n",
                                 i < n ? ops[i].id : "none", (double)us / 1e6);
        }
}

struct engine_row {
        const char *name, *type, *help;
        size_t offset;
};

static const struct engine_row engine_rows[] = {
        { "engine_active_sequences", "gauge", "Sequences being evaluated.",
          offsetof(struct engine_stats, active) },
        { "engine_queued_sequences", "gauge", "Sequences waiting for room.",
          offsetof(struct engine_stats, queued) },
        { "engine_kv_used_bytes", "gauge", "KV memory of live sequences.",
          offsetof(struct engine_stats, kv_used) },
        { "engine_kv_cached_bytes", "gauge", "KV memory kept for reuse.",
          offsetof(struct engine_stats, kv_cached) },
        { "engine_kv_total_bytes", "gauge", "KV memory there is.", offsetof(struct engine_stats, kv_total) },
        { "engine_decoded_tokens_total", "counter", "Tokens generated.",
          offsetof(struct engine_stats, tokens_decoded) },
        { "engine_prefill_tokens_total", "counter", "Prompt tokens evaluated.",
          offsetof(struct engine_stats, tokens_prefill) },
        { "engine_cached_tokens_total", "counter", "Prompt tokens taken from the cache.",
          offsetof(struct engine_stats, tokens_cached) },
        { "engine_drafted_tokens_total", "counter", "Tokens evaluated ahead on a guess.",
          offsetof(struct engine_stats, tokens_drafted) },
        { "engine_accepted_tokens_total", "counter", "Guesses that were right.",
          offsetof(struct engine_stats, tokens_accepted) },
        { "engine_preempted_total", "counter", "Times that a sequence lost its place to another.",
          offsetof(struct engine_stats, preempted) },
        { "engine_wait_milliseconds", "gauge", "How long a new sequence would wait for a place.",
          offsetof(struct engine_stats, wait_ms) },
        { "engine_kv_disk_bytes", "gauge", "KV of stored conversations on disk.",
          offsetof(struct engine_stats, kv_disk_bytes) },
        { "engine_restored_tokens_total", "counter", "Tokens whose KV was read from disk.",
          offsetof(struct engine_stats, tokens_restored) },
        { "engine_steps_total", "counter", "Batched evaluations.", offsetof(struct engine_stats, steps) },
};

static void write_engines(const struct registry *models, struct buf *out)
{
        for (size_t i = 0; i < sizeof(engine_rows) / sizeof(*engine_rows); i++) {
                const struct engine_row *row = &engine_rows[i];
                const struct model *m;
                const char *name;
                head(out, row->name, row->type, row->help);
                for (size_t it = 0; registry_next(models, &it, &name, &m);) {
                        struct engine_stats stats;
                        if (name != m->id || !model_hold_ready(m)) /* an alias is counted under its model */
                                continue;
                        engine_model_stats(m->engine, &stats);
                        model_release(m);
                        buf_addf(out, "cairn_%s{model=\"%s\"} %llu\n", row->name, name,
                                 (unsigned long long)*(uint64_t *)((char *)&stats + row->offset));
                }
        }
}

static void write_http(struct api *api, struct buf *out)
{
        struct http_stats h;
        if (!api->http) /* a request during the start */
                return;
        http_server_stats(api->http, &h);
        single(out, "http_connections", "gauge", "Open connections.", (unsigned long long)h.connections);
        single(out, "http_active_requests", "gauge", "Requests under way.", (unsigned long long)h.active);
        single(out, "http_refused_total", "counter", "Malformed or oversized requests.", h.refused);
        single(out, "http_timeouts_total", "counter", "Connections closed by a deadline.", h.timeouts);
        single(out, "http_aborted_total", "counter", "Replies that did not reach their client.", h.aborted);
}

static void write_store(struct store *store, struct buf *out)
{
        struct store_stats s;
        store_get_stats(store, &s);
        single(out, "store_writes_total", "counter", "Durable writes.", s.writes);
        single(out, "store_failed_writes_total", "counter", "Writes that were refused or failed.", s.failed);
        single(out, "store_commits_total", "counter", "Transactions; several writes share one.", s.commits);
        single(out, "store_reads_total", "counter", "Reads.", s.reads);
        single(out, "store_queued_writes", "gauge", "Writes waiting for a commit.", s.queued);
}

static void write_limits(struct limits *limits, struct buf *out)
{
        struct limits_stats s;
        limits_get_stats(limits, &s);
        head(out, "rate_limited_total", "counter", "Requests refused by a rate limit, by what ran short.");
        for (int dim = 0; dim < LIMIT_RATES; dim++)
                buf_addf(out, "cairn_rate_limited_total{limit=\"%s\"} %llu\n", limit_word(dim),
                         (unsigned long long)s.refused[dim]);
        single(out, "over_budget_total", "counter", "Requests refused because the month's budget was spent.",
               s.over_budget);
        single(out, "limits_backend_errors_total", "counter",
               "Times that the place of the rate limits could not be asked.", s.backend_errors);
}

/* Left out when the store cannot be read: its own metrics tell of that. */
static void write_jobs(struct store *store, struct buf *out)
{
        struct job_tally tally[JOB_KINDS_MAX];
        size_t n;
        if (store_job_tally(store, tally, JOB_KINDS_MAX, &n, NULL))
                return;
        head(out, "jobs", "gauge", "Durable jobs that wait or run, by kind.");
        for (size_t i = 0; i < n; i++)
                buf_addf(out,
                         "cairn_jobs{kind=\"%s\",state=\"waiting\"} %zu\n"
                         "cairn_jobs{kind=\"%s\",state=\"running\"} %zu\n",
                         tally[i].kind, tally[i].waiting, tally[i].kind, tally[i].running);
}

/* Resident memory in bytes, 0 when the kernel does not tell. */
static unsigned long long resident_bytes(void)
{
        unsigned long long pages = 0, resident = 0;
        FILE *f = fopen("/proc/self/statm", "r");
        if (!f)
                return 0;
        if (fscanf(f, "%llu %llu", &pages, &resident) != 2)
                resident = 0;
        fclose(f);
        return resident * (unsigned long long)sysconf(_SC_PAGESIZE);
}

static void write_blobs(struct api *api, struct buf *out)
{
        struct blobs_stats stats;
        if (!api->blobs)
                return;
        blobs_get_stats(api->blobs, &stats);
        single(out, "blob_written_bytes_total", "counter", "Contents of files that were written.",
               stats.written);
        single(out, "blob_read_bytes_total", "counter", "Contents of files that were read and verified.",
               stats.read);
        single(out, "blob_damaged_total", "counter", "Readings that found a damaged file.", stats.damaged);
        single(out, "s3_retries_total", "counter", "Requests to S3 that were made again.", stats.retries);
}

void metrics_write(struct api *api, struct buf *out)
{
        head(out, "build_info", "gauge", "Constant 1 with the version.");
        buf_adds(out, "cairn_build_info{version=\"" CAIRN_VERSION "\"} 1\n");
        single(out, "resident_memory_bytes", "gauge", "Resident memory of the process.", resident_bytes());
        single(out, "contract_violations_total", "counter",
               "Replies or events that broke the contract (CAIRN_CHECK=1).",
               atomic_load(&api->metrics.violations));
        single(out, "worker_queue", "gauge", "Handlers waiting for a worker thread.",
               pool_queued(api->workers));
        write_operations(&api->metrics, out);
        write_engines(api->models, out);
        write_http(api, out);
        write_store(api->store, out);
        write_blobs(api, out);
        write_jobs(api->store, out);
        single(out, "followed_streams", "gauge", "Streams of background responses that are open.",
               feeds_followers(api->feeds));
        write_limits(api->limits, out);
}
