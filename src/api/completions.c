/* POST /completions, the legacy text endpoint: prompts without chat format, several at once, echo, logprobs
 * of prompts, best_of. Choice i * n + j is the j-th of prompt i. */
#include <errno.h>
#include <math.h>
#include <string.h>
#include "agent/loop.h"
#include "api/api.h"
#include "api/chat.h"
#include "api/gen.h"
#include "api/handlers.h"
#include "api/params.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/vec.h"

#define DEFAULT_MAX_TOKENS 16
#define MAX_CHOICES 1024 /* prompts times best_of */
#define TEXT_MAX ((size_t)16 << 20)

struct completion;

/* One sampling of one prompt. Written on the model's thread until it is done. */
struct text_run {
        struct completion *c;
        struct turn *turn; /* NULL until started */
        int prompt, index; /* which prompt; its choice index, set once the best are chosen */
        struct buf text;
        json_t *lp_tokens, *lp_values, *lp_top, *lp_offsets; /* NULL unless asked for */
        size_t chars; /* characters so far: offsets count from the echo */
        double score; /* sum of logprobs, for best_of */
        enum engine_finish finish;
        struct engine_usage usage;
        char error[160];
        bool broken;      /* memory was out: what was gathered is not whole */
        atomic_bool held; /* the stream asked for a pause */
};

struct completion {
        struct gen gen; /* first: a completion is a gen */
        const struct model *model;
        char id[ID_MAX];
        int64_t created;
        const char *fingerprint;
        bool echo, include_usage;
        int logprobs; /* -1: none */
        int n, best_of, n_prompts;
        struct engine_tokens *prompts;
        int n_runs;
        struct text_run *runs;
};

static void completion_free(struct gen *g)
{
        struct completion *c = (struct completion *)g;
        for (int i = 0; i < c->n_runs; i++) {
                struct text_run *run = &c->runs[i];
                turn_unref(run->turn);
                buf_release(&run->text);
                json_decref(run->lp_tokens);
                json_decref(run->lp_values);
                json_decref(run->lp_top);
                json_decref(run->lp_offsets);
        }
        for (int i = 0; i < c->n_prompts; i++)
                engine_tokens_release(&c->prompts[i]);
        mem_free(c->prompts);
        mem_free(c->runs);
        mem_free(c);
}

static void cancel_runs(struct gen *g)
{
        struct completion *c = (struct completion *)g;
        for (int i = 0; i < c->n_runs; i++)
                if (c->runs[i].turn)
                        turn_cancel(c->runs[i].turn);
}

static void resume_runs(struct gen *g)
{
        struct completion *c = (struct completion *)g;
        for (int i = 0; i < c->n_runs; i++) {
                atomic_store(&c->runs[i].held, false);
                turn_resume(c->runs[i].turn);
        }
}

/* ---- logprobs ---- */

/* {"token": logprob} of the alternatives and of the token itself, which may be none of them. */
static json_t *top_json(const struct completion *c, const struct engine_token *t)
{
        json_t *top = json_object();
        for (int k = 0; k < t->n_top; k++) {
                json_t *name = agent_token_text(engine_token_piece(c->model->engine, t->top[k].id));
                json_object_set_new(top, json_string_value(name), json_real((double)t->top[k].logprob));
                json_decref(name);
        }
        json_t *own = agent_token_text(t->piece);
        json_object_set_new(top, json_string_value(own), json_real((double)t->logprob));
        json_decref(own);
        return top;
}

static size_t count_chars(struct str s)
{
        size_t n = 0;
        for (size_t i = 0; i < s.n; i++)
                n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
        return n;
}

static void add_logprobs(struct text_run *run, const struct engine_token *tokens, size_t n)
{
        for (size_t i = 0; run->lp_tokens && i < n; i++) {
                const struct engine_token *t = &tokens[i];
                bool known = isfinite(t->logprob);
                json_array_append_new(run->lp_tokens, agent_token_text(t->piece));
                json_array_append_new(run->lp_values, known ? json_real((double)t->logprob) : json_null());
                json_array_append_new(run->lp_top,
                                      known && run->c->logprobs > 0 ? top_json(run->c, t) : json_null());
                json_array_append_new(run->lp_offsets, json_integer((json_int_t)run->chars));
                run->chars += count_chars(t->piece);
        }
}

/* The lists from `from` on as the API's object, or null. */
static json_t *logprobs_json(const struct text_run *run, size_t from)
{
        if (!run->lp_tokens)
                return json_null();
        json_t *lists[4] = { run->lp_tokens, run->lp_values, run->lp_top, run->lp_offsets }, *out[4];
        for (int k = 0; k < 4; k++) {
                out[k] = json_array();
                for (size_t i = from; i < json_array_size(lists[k]); i++)
                        json_array_append(out[k], json_array_get(lists[k], i));
        }
        if (run->c->logprobs == 0) { /* alternatives were not asked for */
                json_decref(out[2]);
                out[2] = json_null();
        }
        return json_pack("{s:o, s:o, s:o, s:o}", "tokens", out[0], "token_logprobs", out[1], "top_logprobs",
                         out[2], "text_offset", out[3]);
}

/* ---- rendering ---- */

static const char *finish_name(enum engine_finish f)
{
        return f == ENGINE_LENGTH ? "length" : "stop";
}

static json_t *choice_json(const struct text_run *run, struct str text, size_t logprobs_from,
                           const char *finish)
{
        return json_pack("{s:o, s:i, s:o, s:s?}", "text", json_strn(text), "index", run->index, "logprobs",
                         logprobs_json(run, logprobs_from), "finish_reason", finish);
}

static json_t *completion_json(const struct completion *c, json_t *choices)
{
        return json_pack("{s:s, s:s, s:I, s:s, s:s, s:o}", "id", c->id, "object", "text_completion",
                         "created", (json_int_t)c->created, "model", c->model->id, "system_fingerprint",
                         c->fingerprint, "choices", choices);
}

static json_t *chunk_json(const struct completion *c, json_t *choice)
{
        json_t *chunk = completion_json(c, json_pack("[o]", choice));
        if (c->include_usage)
                json_object_set_new(chunk, "usage", json_null());
        return chunk;
}

/* Each prompt counts once; everything generated counts, also what best_of threw away. */
static struct engine_usage total(const struct completion *c)
{
        struct engine_usage sum = { 0 };
        for (int i = 0; i < c->n_runs; i++) {
                const struct engine_usage *u = &c->runs[i].usage;
                sum.completion_tokens += u->completion_tokens;
                if (i % c->best_of == 0) {
                        sum.prompt_tokens += u->prompt_tokens;
                        sum.cached_tokens += u->cached_tokens;
                }
        }
        return sum;
}

static json_t *total_usage(const struct completion *c)
{
        struct engine_usage sum = total(c);
        return usage_json(&sum, 0);
}

static void completion_usage(const struct gen *g, struct usage *ret)
{
        const struct completion *c = (const struct completion *)g;
        struct engine_usage sum = total(c);
        usage_count(ret, c->model, "default", &sum, 0);
}

/* ---- events of the model ---- */

static bool send_text(struct text_run *run, const struct turn_event *ev)
{
        struct completion *c = run->c;
        size_t from = json_array_size(run->lp_tokens);
        add_logprobs(run, ev->tokens, ev->n_tokens);
        if (!ev->text.n && !(run->lp_tokens && ev->n_tokens))
                return true;
        return stream_event(c->gen.stream, NULL, chunk_json(c, choice_json(run, ev->text, from, NULL)));
}

static void take_done(struct text_run *run, const struct turn_event *ev)
{
        struct completion *c = run->c;
        run->finish = buf_error(&run->text) || run->broken ? ENGINE_ERROR : ev->finish;
        run->usage = ev->usage;
        snprintf(run->error, sizeof(run->error), "%s", ev->error ? ev->error : "");
        if (c->gen.stream && (run->finish == ENGINE_STOP || run->finish == ENGINE_LENGTH)) {
                size_t end = json_array_size(run->lp_tokens);
                json_t *last = choice_json(run, STR(""), end, finish_name(run->finish));
                json_object_set_new(last, "logprobs", json_null());
                stream_event(c->gen.stream, NULL, chunk_json(c, last));
        }
        gen_done(&c->gen, 1);
}

static bool on_event(void *ctx, const struct turn_event *ev)
{
        struct text_run *run = ctx;
        if (ev->kind == TURN_DONE) {
                take_done(run, ev);
                return true;
        }
        if (atomic_load(&run->held))
                return false;
        if (ev->kind == TURN_TEXT)
                for (size_t i = 0; i < ev->n_tokens; i++)
                        run->score += isfinite(ev->tokens[i].logprob) ? (double)ev->tokens[i].logprob : 0;
        if (run->c->gen.stream) {
                atomic_store(&run->held, true); /* before the answer: a resume may come before it is back */
                if (send_text(run, ev))
                        atomic_store(&run->held, false);
        } else {
                add_logprobs(run, ev->tokens, ev->n_tokens);
                buf_add(&run->text, ev->text.p, ev->text.n);
                run->broken |= mem_take_failure();
        }
        return true;
}

/* ---- the end ---- */

/* The mean logprob of a token: what best_of ranks by. */
static double rank(const struct text_run *run)
{
        int n = run->usage.completion_tokens;
        return n ? run->score / n : 0;
}

/* Gives the n best runs of each prompt their choice indices, the others -1. */
static void choose_best(struct completion *c)
{
        for (int p = 0; p < c->n_prompts; p++) {
                struct text_run *runs = &c->runs[p * c->best_of];
                for (int i = 0; i < c->best_of; i++)
                        runs[i].index = c->best_of == c->n ? p * c->n + i : -1;
                for (int j = 0; j < c->n && c->best_of > c->n; j++) {
                        struct text_run *best = NULL;
                        for (int i = 0; i < c->best_of; i++)
                                if (runs[i].index < 0 && (!best || rank(&runs[i]) > rank(best)))
                                        best = &runs[i];
                        best->index = p * c->n + j;
                }
        }
}

static int failure(const struct completion *c, struct api_err *e)
{
        for (int i = 0; i < c->n_runs; i++) {
                if (c->runs[i].finish == ENGINE_ERROR)
                        return err_internal(e, -EIO, "completion", c->runs[i].error);
                if (c->runs[i].finish == ENGINE_CANCELLED)
                        return err_overloaded(e);
        }
        return gen_failure(&c->gen, e);
}

static json_t *whole_json(struct completion *c)
{
        json_t *choices = json_array();
        choose_best(c);
        for (int k = 0; k < c->n_prompts * c->n; k++)
                for (int i = 0; i < c->n_runs; i++)
                        if (c->runs[i].index == k)
                                json_array_append_new(choices,
                                                      choice_json(&c->runs[i], buf_str(&c->runs[i].text), 0,
                                                                  finish_name(c->runs[i].finish)));
        json_t *whole = completion_json(c, choices);
        json_object_set_new(whole, "usage", total_usage(c));
        return whole;
}

static void completion_finish(struct gen *g)
{
        struct completion *c = (struct completion *)g;
        struct api_err e;
        int rc = failure(c, &e);
        if (g->stream && rc) {
                stream_error(g->stream, NULL, err_json(&e));
        } else if (g->stream && c->include_usage) {
                json_t *chunk = completion_json(c, json_array());
                json_object_set_new(chunk, "usage", total_usage(c));
                stream_event(g->stream, NULL, chunk);
        }
        if (g->stream)
                stream_end(g->stream, rc == 0);
        else if (rc)
                req_fail(g->r, &e);
        else
                req_reply(g->r, &(struct reply){ .json = whole_json(c) });
}

static const struct gen_ops completion_ops = { cancel_runs, resume_runs, completion_usage, completion_finish,
                                               completion_free };

/* ---- the start ---- */

/* A prompt without text still needs a token to start from. */
static int start_token(const struct model *m, struct engine_tokens *t)
{
        const struct engine_info *info = engine_model_info(m->engine);
        int32_t id = info->bos >= 0 ? info->bos : info->eos;
        return t->n || id < 0 ? 0 : vec_push(t, id);
}

static int read_prompt(const struct model *m, const json_t *v, struct engine_tokens *out, struct api_err *e)
{
        int rc = 0;
        if (json_is_string(v))
                rc = engine_tokenize(m->engine, json_as_str(v), ENGINE_TOK_BOS | ENGINE_TOK_SPECIAL, out);
        else if (params_token_ids(m, v, "prompt", out, e))
                return -1;
        if (rc == 0 && start_token(m, out))
                rc = -ENOMEM;
        return rc ? err_internal(e, rc, "prompt", "") : 0;
}

/* A string, a list of strings, a list of token ids or a list of such lists; null is an empty string. */
static int read_prompts(struct req *r, struct completion *c, struct api_err *e)
{
        const json_t *prompt = json_get(r->body, "prompt");
        bool one = !json_is_array(prompt) || json_is_integer(json_array_get(prompt, 0));
        size_t n = one ? 1 : json_array_size(prompt);
        if (!n)
                return err_invalid(e, "empty_array", "prompt", "Invalid 'prompt': empty array.");
        if (n * (size_t)c->best_of > MAX_CHOICES)
                return err_invalid(
                        e, "array_above_max_length", "prompt",
                        "Invalid 'prompt': %zu prompts times best_of %d are more than %d completions.", n,
                        c->best_of, MAX_CHOICES);
        c->prompts = mem_calloc(n, sizeof(*c->prompts));
        c->runs = mem_calloc(n * (size_t)c->best_of, sizeof(*c->runs));
        if (!c->prompts || !c->runs)
                return err_internal(e, -ENOMEM, "prompts", "");
        c->n_prompts = (int)n;
        for (size_t i = 0; i < n; i++)
                if (read_prompt(c->model, one ? prompt : json_array_get(prompt, i), &c->prompts[i], e))
                        return -1;
        return 0;
}

static int read_counts(struct req *r, struct completion *c, struct api_err *e)
{
        c->n = (int)json_int(r->body, "n", 1);
        c->best_of = (int)json_int(r->body, "best_of", c->n);
        if (c->best_of < c->n)
                return err_invalid(e, "invalid_value", "best_of",
                                   "Invalid 'best_of': it must be at least 'n', but got %d and n = %d.",
                                   c->best_of, c->n);
        bool stream = json_flag(r->body, "stream", false);
        if (stream && c->best_of > c->n)
                return err_invalid(e, "invalid_value", "best_of",
                                   "'best_of' above 'n' cannot be used with 'stream'.");
        if (json_str(r->body, "suffix").n)
                return err_unsupported(e, "suffix");
        return params_stream_options(r, e);
}

static int init_run(struct completion *c, int i, struct api_err *e)
{
        struct text_run *run = &c->runs[i];
        *run = (struct text_run){ .c = c, .prompt = i / c->best_of, .index = i };
        buf_init(&run->text, TEXT_MAX);
        if (c->logprobs >= 0) {
                run->lp_tokens = json_array();
                run->lp_values = json_array();
                run->lp_top = json_array();
                run->lp_offsets = json_array();
        }
        const struct engine_tokens *p = &c->prompts[run->prompt];
        if (!c->echo)
                return 0;
        size_t n;
        char *text = engine_detokenize(c->model->engine, p->p, p->n, &n);
        if (!text)
                return err_internal(e, -ENOMEM, "echo", "");
        if (c->gen.stream) {
                json_t *echo = choice_json(run, (struct str){ text, n }, 0, NULL);
                stream_event(c->gen.stream, NULL, chunk_json(c, echo));
        } else {
                buf_add(&run->text, text, n);
        }
        mem_free(text);
        return 0;
}

static int start_runs(struct completion *c, struct turn_req *t, int *ret_started, struct api_err *e)
{
        uint64_t seed = t->sampling.seed;
        for (int i = 0; i < c->n_runs; i++) {
                const struct engine_tokens *p = &c->prompts[c->runs[i].prompt];
                struct turn_sink sink = { on_event, &c->runs[i] };
                struct turn_err why;
                t->tokens = p->p;
                t->n_tokens = p->n;
                t->sampling.seed = seed + (uint64_t)i;
                int rc = turn_start(t, &sink, &c->runs[i].turn, &why);
                if (rc)
                        return params_prompt_error(rc, t, &why, "prompt", e);
                (*ret_started)++;
        }
        return 0;
}

static struct completion *completion_new(struct req *r, const struct model *m)
{
        struct completion *c = mem_calloc(1, sizeof(*c));
        if (!c)
                return NULL;
        c->model = m;
        c->created = clock_unix();
        c->fingerprint = params_fingerprint(r->arena, m);
        c->echo = json_flag(r->body, "echo", false);
        c->logprobs = (int)json_int(r->body, "logprobs", -1);
        c->include_usage = json_flag(json_get(r->body, "stream_options"), "include_usage", false);
        id_alnum(c->id, "cmpl-", 29);
        return c;
}

/* Everything of the request that can be wrong, before anything starts. */
static int read_request(struct req *r, struct completion *c, struct turn_req *t, struct api_err *e)
{
        if (read_counts(r, c, e) || read_prompts(r, c, e) || params_sampling(r, t, e))
                return -1;
        t->max_tokens = params_limit(r, "max_tokens", DEFAULT_MAX_TOKENS);
        t->logprobs = c->logprobs >= 0 ? c->logprobs : c->best_of > c->n ? 0 : -1;
        t->prompt_logprobs = c->echo && c->logprobs >= 0;
        return 0;
}

static int start(struct completion *c, struct turn_req *t, struct reply *ret, int *ret_started,
                 struct api_err *e)
{
        if (json_flag(c->gen.r->body, "stream", false) && gen_open_stream(&c->gen, ret))
                return err_internal(e, -ENOMEM, "stream", "");
        for (int i = 0; i < c->n_prompts * c->best_of; i++) {
                c->n_runs = i + 1; /* counted first: what a failed one holds is released too */
                if (init_run(c, i, e))
                        return -1;
        }
        return start_runs(c, t, ret_started, e);
}

int completion_create(struct req *r, struct reply *ret, struct api_err *reterr)
{
        const struct model *m;
        if (params_model(r, &m, reterr))
                return -1;
        struct completion *c = completion_new(r, m);
        if (!c)
                return err_internal(reterr, -ENOMEM, "completion", "");
        struct turn_req t = { .model = m };
        if (read_request(r, c, &t, reterr)) {
                completion_free(&c->gen);
                return -1;
        }
        int parts = c->n_prompts * c->best_of, started = 0;
        gen_init(&c->gen, &completion_ops, r, parts);
        int rc = start(c, &t, ret, &started, reterr);
        if (rc)
                gen_reject(&c->gen, ret, parts - started);
        return gen_started(&c->gen, rc);
}
