#include "api/meter.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include "account/limits.h"
#include "api/api.h"
#include "api/call.h"
#include "api/idempotency.h"
#include "api/params.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/store.h"

#define BYTES_PER_TOKEN 4 /* of the estimate: the true count comes with the end */
#define COMPLAIN_MS 10000

/* Where the record of a request is. */
enum record { RECORD_NONE, RECORD_DUE, RECORD_WRITTEN };

struct meter {
        struct limits_ask taken; /* what was reserved; amounts are 0 when nothing was */
        struct http_header headers[METER_HEADERS];
        char texts[METER_HEADERS][LIMIT_DURATION_MAX];
        size_t n_headers;
        struct store_usage row;
        atomic_bool used; /* meter_use() was called */
        atomic_int record;
        /* Of an asynchronous write: */
        struct req *r;
        void (*done)(void *ctx, int rc);
        void *ctx;
};

/* ---- how much a request will need ---- */

static int64_t text_bytes(const json_t *v)
{
        int64_t sum = 0;
        const char *key;
        json_t *item;
        size_t i;
        if (json_is_string(v))
                return (int64_t)json_string_length(v);
        if (json_is_integer(v))
                return BYTES_PER_TOKEN; /* in a list of tokens */
        json_array_foreach((json_t *)v, i, item) sum += text_bytes(item);
        json_object_foreach((json_t *)v, key, item) sum += text_bytes(item);
        return sum;
}

/* Tokens that the body seems to hold. What it only refers to is counted when it is settled. */
static int64_t prompt_estimate(const json_t *body)
{
        static const char *const keys[] = { "messages", "input", "prompt", "instructions", "tools" };
        int64_t bytes = 0;
        for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
                bytes += text_bytes(json_object_get(body, keys[i]));
        return (bytes + BYTES_PER_TOKEN - 1) / BYTES_PER_TOKEN;
}

static int64_t bounded(const json_t *body, const char *key, int64_t dflt)
{
        int64_t v = json_int(body, key, dflt);
        return v < 0 ? 0 : v > INT32_MAX ? INT32_MAX : v;
}

/* How many prompts a body of completions has: one, or a list of texts or of lists of tokens. */
static int64_t count_prompts(const json_t *body)
{
        const json_t *prompt = json_get(body, "prompt");
        bool one = !json_is_array(prompt) || json_is_integer(json_array_get(prompt, 0));
        return one ? 1 : (int64_t)json_array_size(prompt);
}

/* The bound of output that the body sets, of all choices of all its prompts; 0 without one. */
static int64_t output_bound(const json_t *body)
{
        static const char *const keys[] = { "max_completion_tokens", "max_tokens", "max_output_tokens" };
        int64_t choices = bounded(body, "best_of", bounded(body, "n", 1)), most = 0;
        for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
                int64_t bound = bounded(body, keys[i], 0);
                most = bound > most ? bound : most;
        }
        return most * choices * count_prompts(body);
}

/* ---- refusals ---- */

static void subject(const struct req *r, const char *model, char *out, size_t n)
{
        if (model)
                snprintf(out, n, "%s in organization %s", model, r->who.org);
        else
                snprintf(out, n, "project %s in organization %s", r->who.project, r->who.org);
}

static int refuse(const struct req *r, const char *model, const struct limits_answer *a, struct api_err *e)
{
        char who[512], wait[LIMIT_DURATION_MAX];
        subject(r, model, who, sizeof(who));
        if (!a->wait_ms) {
                err_set(e, 429, limit_noun(a->dim), "rate_limit_exceeded", NULL,
                        "Request too large for %s on %s: Limit %lld, Requested %lld. The input or output "
                        "tokens "
                        "must be reduced in order to run successfully.",
                        who, limit_phrase(a->dim), (long long)a->limit, (long long)a->requested);
                e->no_retry = true;
                return -1;
        }
        err_set(e, 429, limit_noun(a->dim), "rate_limit_exceeded", NULL,
                "Rate limit reached for %s on %s: Limit %lld, Used %lld, Requested %lld. Please try again in "
                "%s. Whoever runs this server sets its limits.",
                who, limit_phrase(a->dim), (long long)a->limit, (long long)a->used, (long long)a->requested,
                limit_duration(wait, a->wait_ms));
        e->retry_after_ms = a->wait_ms < INT32_MAX ? (int)a->wait_ms : INT32_MAX;
        return -1;
}

static int over_budget(struct api_err *e)
{
        err_set(e, 429, "insufficient_quota", "insufficient_quota", NULL,
                "You exceeded your current quota: the budget of this project for the month is spent. Whoever "
                "runs this server sets it; `cairn usage` shows what was used.");
        e->no_retry = true;
        return -1;
}

static int out_of_reach(struct req *r, struct api_err *e)
{
        struct limits_stats stats;
        int64_t now = clock_mono_ms(), last = atomic_load(&r->api->metrics.limits_complained_ms);
        if (now - last >= COMPLAIN_MS &&
            atomic_compare_exchange_strong(&r->api->metrics.limits_complained_ms, &last, now)) {
                limits_get_stats(r->api->limits, &stats);
                log_warn("limits", "requests are refused: %s", stats.last_error);
        }
        return err_overloaded(e);
}

/* ---- headers ---- */

static void add_header(struct meter *m, const char *name, const char *value)
{
        m->headers[m->n_headers++] = (struct http_header){ str_c(name), str_c(value) };
}

/* The three headers of what `noun` names: of its dimensions the one of which least is left. */
static void add_headers(struct req *r, struct meter *m, const struct limits_answer *a, const char *noun)
{
        const struct limit_state *tightest = NULL;
        for (size_t i = 0; i < a->n; i++)
                if (!strcmp(limit_noun(a->states[i].dim), noun) &&
                    (!tightest || a->states[i].remaining < tightest->remaining))
                        tightest = &a->states[i];
        if (!tightest || m->n_headers + 3 > METER_HEADERS)
                return;
        const char *names[] = { arena_printf(r->arena, "x-ratelimit-limit-%s", noun),
                                arena_printf(r->arena, "x-ratelimit-remaining-%s", noun),
                                arena_printf(r->arena, "x-ratelimit-reset-%s", noun) };
        if (!names[0] || !names[1] || !names[2])
                return;
        char(*text)[LIMIT_DURATION_MAX] = &m->texts[m->n_headers];
        snprintf(text[0], LIMIT_DURATION_MAX, "%lld", (long long)tightest->limit);
        snprintf(text[1], LIMIT_DURATION_MAX, "%lld", (long long)tightest->remaining);
        limit_duration(text[2], tightest->reset_ms);
        for (int i = 0; i < 3; i++)
                add_header(m, names[i], text[i]);
}

size_t meter_headers(const struct req *r, const struct http_header **ret)
{
        *ret = r->meter ? r->meter->headers : NULL;
        return r->meter ? r->meter->n_headers : 0;
}

/* ---- before the work ---- */

static int reserve(struct req *r, struct meter *m, struct api_err *e)
{
        static const char *const nouns[] = { "requests", "tokens", "images", "audio" };
        struct limits_answer answer;
        int rc = limits_take(r->api->limits, &m->taken, &answer);
        if (rc == -EDQUOT)
                rc = over_budget(e);
        else if (rc == -EAGAIN)
                rc = refuse(r, m->taken.model, &answer, e);
        else if (rc == -EIO)
                rc = out_of_reach(r, e);
        else if (rc)
                rc = err_internal(e, rc, "limits", "");
        for (size_t i = 0; i < sizeof(nouns) / sizeof(*nouns); i++)
                add_headers(r, m, &answer, nouns[i]);
        if (rc)
                memset(m->taken.amount, 0, sizeof(m->taken.amount));
        return rc;
}

static int open_batch(struct req *r, struct api_err *e)
{
        int rc = limits_check_budget(r->api->limits, r->who.project);
        return rc == -EDQUOT ? over_budget(e) : rc ? err_internal(e, rc, "limits", "") : 0;
}

int meter_open(struct req *r, struct api_err *e)
{
        bool metered = r->route->flags & RT_METERED;
        if (!*r->who.project)
                return 0;
        struct meter *m = arena_make(r->arena, struct meter);
        if (!m)
                return err_internal(e, -ENOMEM, "meter", "");
        m->taken.project = r->who.project;
        r->meter = m;
        if (metered) {
                m->taken.model = params_model_id(r->api, r->op, r->body);
                if (!m->taken.model)
                        return 0; /* the handler says so */
        }
        if (r->call_flags & CALL_BATCH)
                return open_batch(r, e);
        if (r->call_flags & CALL_ADMITTED)
                return 0;
        if (metered) {
                m->taken.amount[LIMIT_REQUESTS_MINUTE] = m->taken.amount[LIMIT_REQUESTS_DAY] = 1;
                m->taken.amount[LIMIT_TOKENS_MINUTE] = prompt_estimate(r->body) + output_bound(r->body);
                m->taken.amount[LIMIT_TOKENS_DAY] = m->taken.amount[LIMIT_TOKENS_MINUTE];
        } else {
                m->taken.amount[LIMIT_OTHER_MINUTE] = 1;
        }
        return reserve(r, m, e);
}

/* ---- after it ---- */

/* The difference between what was used and what was taken. Requests stay counted as they are. */
static void settle(struct req *r, const int64_t n[USAGE_N])
{
        struct meter *m = r->meter;
        struct limits_ask more = { .project = m->taken.project, .model = m->taken.model };
        int64_t used[LIMIT_RATES] = {
                [LIMIT_TOKENS_MINUTE] = n[USAGE_INPUT] + n[USAGE_OUTPUT],
                [LIMIT_TOKENS_DAY] = n[USAGE_INPUT] + n[USAGE_OUTPUT],
                [LIMIT_IMAGES_MINUTE] = n[USAGE_IMAGES],
        };
        bool any = false;
        if (!m->taken.model || r->call_flags & CALL_BATCH)
                return;
        for (enum limit_dim dim = 0; dim < LIMIT_RATES; dim++) {
                if (dim != LIMIT_TOKENS_MINUTE && dim != LIMIT_TOKENS_DAY && dim != LIMIT_IMAGES_MINUTE)
                        continue;
                more.amount[dim] = used[dim] - m->taken.amount[dim];
                m->taken.amount[dim] = used[dim];
                any |= more.amount[dim] != 0;
        }
        if (any)
                limits_settle(r->api->limits, &more);
}

void meter_use(struct req *r, const struct usage *u)
{
        struct meter *m = r->meter;
        if (!m || atomic_exchange(&m->used, true))
                return;
        struct usage used = *u;
        used.batch = r->call_flags & CALL_BATCH;
        used.n[USAGE_REQUESTS] = u->n[USAGE_REQUESTS] ? u->n[USAGE_REQUESTS] : 1;
        m->row = usage_row(&used, r->id, &r->who, limits_prices(r->api->limits));
        m->row.at = clock_unix();
        if (!(r->call_flags & CALL_ADMITTED)) {
                settle(r, used.n);
                limits_spend(r->api->limits, r->who.project, m->row.n[USAGE_COST]);
        }
        atomic_store(&m->record, RECORD_DUE);
}

void meter_stored(struct req *r, const json_t *file)
{
        meter_use(r, &(struct usage){ .what = USAGE_FILES, .n[USAGE_BYTES] = json_int(file, "bytes", 0) });
}

static bool due(const struct req *r)
{
        return r->meter && atomic_load(&r->meter->record) == RECORD_DUE;
}

static struct store_op operation(const struct meter *m)
{
        return (struct store_op){ .verb = STORE_USAGE, .usage = &m->row };
}

size_t meter_op(struct req *r, struct store_op *ret)
{
        if (!due(r))
                return 0;
        *ret = operation(r->meter);
        return 1;
}

size_t meter_batch_op(struct req *r, struct store_op *ret)
{
        if (!due(r))
                return 0;
        *ret = operation(r->meter);
        atomic_store(&r->meter->record, RECORD_WRITTEN);
        return 1;
}

void meter_wrote(struct req *r)
{
        if (r->meter)
                atomic_store(&r->meter->record, RECORD_WRITTEN);
}

int meter_commit(struct req *r, const struct store_op *ops, size_t n, struct store_fault *fault)
{
        struct store_op record;
        if (!meter_op(r, &record))
                return store_write(r->api->store, ops, n, fault);
        struct store_op *all = mem_calloc(n + 1, sizeof(*all));
        if (!all)
                return -ENOMEM;
        memcpy(all, ops, n * sizeof(*ops));
        all[n] = record;
        int rc = store_write(r->api->store, all, n + 1, fault);
        if (rc == 0)
                meter_wrote(r);
        mem_free(all);
        return rc;
}

/* 1 with the record that is due, unless it is the sink's owner who commits it. */
static size_t written_alone(struct req *r, struct store_op *ret)
{
        return r->call_flags & CALL_BATCH ? 0 : meter_op(r, ret);
}

int meter_write(struct req *r)
{
        struct store_fault fault = { 0 };
        struct store_op op;
        if (idempotency_keeps(r) || !written_alone(r, &op))
                return 0;
        int rc = store_write(r->api->store, &op, 1, &fault);
        if (rc)
                log_error("usage", "the record of %s is lost: %s", r->id, fault.msg);
        meter_wrote(r);
        return rc;
}

static void written(void *ctx, int rc, const struct store_fault *fault)
{
        struct meter *m = ctx;
        if (rc)
                log_error("usage", "the record of %s is lost: %s", m->r->id,
                          fault ? fault->msg : strerror(-rc));
        meter_wrote(m->r);
        m->done(m->ctx, rc);
}

void meter_write_async(struct req *r, void (*done)(void *ctx, int rc), void *ctx)
{
        struct store_op op;
        if (!written_alone(r, &op)) {
                done(ctx, 0);
                return;
        }
        struct meter *m = r->meter;
        m->r = r;
        m->done = done;
        m->ctx = ctx;
        int rc = store_write_async(r->api->store, &op, 1, written, m);
        if (rc)
                written(m, rc, NULL);
}

void meter_close(struct req *r)
{
        static const int64_t nothing[USAGE_N];
        if (r->meter && !atomic_load(&r->meter->used))
                settle(r, nothing);
}

/* ---- work that outlives its request ---- */

json_t *meter_reserved(const struct req *r)
{
        const struct meter *m = r->meter;
        if (!m || !m->taken.model)
                return NULL;
        return json_pack("{s:s, s:I, s:s}", "model", m->taken.model, "tokens",
                         (json_int_t)m->taken.amount[LIMIT_TOKENS_MINUTE], "process", r->api->process);
}

void meter_hand_over(struct req *r)
{
        if (r->meter)
                r->meter->taken.amount[LIMIT_TOKENS_MINUTE] = r->meter->taken.amount[LIMIT_TOKENS_DAY] = 0;
}

/* What is still taken of that: buckets in the memory of a process go with it, and are of no other. */
static int64_t still_taken(struct api *api, const json_t *reserved)
{
        bool here = !strcmp(json_cstr(reserved, "process", ""), api->process);
        return here || limits_are_shared(api->limits) ? json_int(reserved, "tokens", 0) : 0;
}

static void correct(struct api *api, const char *project, const json_t *reserved, const struct req *r,
                    int sign)
{
        const struct meter *m = r ? r->meter : NULL;
        bool used = m && atomic_load(&m->used);
        int64_t tokens = used ? m->row.n[USAGE_INPUT] + m->row.n[USAGE_OUTPUT] : 0;
        struct limits_ask more = { .project = project,
                                   .model = json_cstr(reserved, "model", m ? m->taken.model : NULL) };
        more.amount[LIMIT_TOKENS_MINUTE] = sign * (tokens - still_taken(api, reserved));
        more.amount[LIMIT_TOKENS_DAY] = more.amount[LIMIT_TOKENS_MINUTE];
        if (more.model && more.amount[LIMIT_TOKENS_MINUTE])
                limits_settle(api->limits, &more);
        if (used)
                limits_spend(api->limits, project, sign * m->row.n[USAGE_COST]);
}

void meter_settle(struct api *api, const char *project, const json_t *reserved, const struct req *r)
{
        correct(api, project, reserved, r, 1);
}

void meter_unsettle(struct api *api, const char *project, const json_t *reserved, const struct req *r)
{
        correct(api, project, reserved, r, -1);
}

void meter_upkeep(struct api *api)
{
        struct store_fault fault = { 0 };
        int rc = store_usage_fold(api->store, &fault);
        if (rc)
                log_warn("usage", "the log cannot be folded now: %s", *fault.msg ? fault.msg : strerror(-rc));
}
