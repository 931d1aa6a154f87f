/* POST /chat/completions: n runs of the turn loop over one prompt, rendered as a completion or as chunks. */
#include "api/chat.h"

#include <errno.h>
#include <string.h>
#include "agent/items.h"
#include "agent/messages.h"
#include "api/api.h"
#include "api/format.h"
#include "api/handlers.h"
#include "api/params.h"
#include "api/stored.h"
#include "base/clock.h"
#include "base/mem.h"

/* ---- life of a chat ---- */

static void chat_free(struct gen *g)
{
        struct chat *c = (struct chat *)g;
        for (int i = 0; i < c->n; i++)
                agent_unref(c->choices[i].run);
        mem_free(c);
}

static void cancel_runs(struct gen *g)
{
        struct chat *c = (struct chat *)g;
        for (int i = 0; i < c->n; i++)
                if (c->choices[i].run)
                        agent_cancel(c->choices[i].run);
}

static void resume_runs(struct gen *g)
{
        struct chat *c = (struct chat *)g;
        for (int i = 0; i < c->n; i++)
                agent_resume(c->choices[i].run);
}

/* ---- the end ---- */

/* What went wrong, as an error: 0 when every choice ended well. One that failed has ended the others, which
 * are then cancelled. */
static int failure(const struct chat *c, struct api_err *e)
{
        bool cancelled = false;
        for (int i = 0; i < c->n; i++) {
                const struct agent_outcome *out = agent_outcome(c->choices[i].run);
                if (out->finish == ENGINE_ERROR)
                        return err_internal(e, -EIO, "chat", out->error);
                cancelled |= out->finish == ENGINE_CANCELLED;
        }
        if (cancelled)
                return err_overloaded(e); /* the client left, or the server stops */
        return gen_failure(&c->gen, e);
}

static void end_stream(const struct stream_last *last, const struct api_err *e)
{
        if (!e) {
                stream_close(last);
                return;
        }
        json_decref(last->data);
        stream_error(last->stream, NULL, err_json(e));
        stream_end(last->stream, false);
}

/* Commits what is to be stored, then answers. */
static void chat_finish(struct gen *g)
{
        struct chat *c = (struct chat *)g;
        struct stream_last last = { .stream = g->stream, .done_marker = true };
        struct stored_reply reply = { .last = g->stream ? &last : NULL };
        struct api_err e;
        json_t *completion = NULL;
        int rc = failure(c, &e);
        if (rc == 0)
                completion = chat_completion(c);
        if (rc == 0 && g->stream && c->include_usage) {
                last.data = chat_usage_chunk(c);
                rc = last.data ? 0 : err_internal(&e, -ENOMEM, "chat", "");
        }
        if (!g->stream)
                reply.whole = completion;
        if (rc == 0 && g->commits)
                rc = stored_put_chat(g->r, c->id, c->created, chat_document(c, completion), &reply, &e);
        if (g->stream)
                end_stream(&last, rc ? &e : NULL);
        else if (rc)
                req_fail(g->r, &e);
        else
                req_reply(g->r, &(struct reply){ .json = json_incref(completion) });
        json_decref(completion);
}

static void chat_usage(const struct gen *g, struct usage *ret)
{
        const struct chat *c = (const struct chat *)g;
        struct engine_usage sum;
        int reasoning = chat_total(c, &sum);
        usage_count(ret, c->model, c->tier, &sum, reasoning);
}

static const struct gen_ops chat_ops = { cancel_runs, resume_runs, chat_usage, chat_finish, chat_free };

/* The end of one choice. */
static void choice_done(struct chat_choice *choice)
{
        struct chat *c = choice->chat;
        const struct agent_outcome *out = agent_outcome(choice->run);
        bool well = out->finish == ENGINE_STOP || out->finish == ENGINE_LENGTH;
        if (c->gen.stream && well)
                stream_event(
                        c->gen.stream, NULL,
                        chat_chunk(c, choice->index, json_object(), STR(""), NULL, chat_finish_name(c, out)));
        if (!well) {
                atomic_store(&c->failed, true);
                if (atomic_load(&c->started))
                        cancel_runs(&c->gen);
        }
        gen_done(&c->gen, 1);
}

static bool on_event(void *ctx, struct agent_run *run, const struct agent_event *ev)
{
        struct chat_choice *choice = ctx;
        struct chat *c = choice->chat;
        (void)run;
        if (ev->kind == AGENT_DONE) {
                choice_done(choice);
                return true;
        }
        json_t *delta = c->gen.stream ? chat_delta(c, ev) : NULL;
        if (!delta)
                return true;
        return stream_event(c->gen.stream, NULL,
                            chat_chunk(c, choice->index, delta, ev->text, ev->logprobs, NULL));
}

/* ---- the start ---- */

static bool text_only(const json_t *modalities)
{
        return json_array_size(modalities) == 1 &&
               str_eqc(json_as_str(json_array_get(modalities, 0)), "text");
}

static const struct param_rule refused[] = {
        { "modalities", text_only },
        { "audio", NULL },
        { "web_search_options", NULL },
        { "moderation", NULL },
        { "prompt_cache_retention", param_is_in_memory },
        { "prompt_cache_options", param_is_empty },
        { NULL, NULL },
};

static int check_combinations(struct req *r, struct api_err *e)
{
        const json_t *b = r->body;
        if (json_get(b, "max_tokens") && json_get(b, "max_completion_tokens"))
                return err_invalid(e, "invalid_parameter_combination", "max_tokens",
                                   "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not "
                                   "supported.");
        if (json_get(b, "top_logprobs") && !json_flag(b, "logprobs", false))
                return err_invalid(e, "invalid_value", "top_logprobs",
                                   "Invalid 'top_logprobs': 'logprobs' must be true to use it.");
        return params_stream_options(r, e);
}

static int read_messages(struct req *r, struct turn_req *t, struct api_err *e)
{
        struct schema_err why;
        json_t *items = json_keep(r->arena, json_array());
        int rc = items ? items_from_chat(json_object_get(r->body, "messages"), items, &why) : -ENOMEM;
        if (rc == -EINVAL)
                return err_schema(e, &why);
        if (rc == 0)
                t->messages = json_keep(r->arena, messages_from_items(STR(""), items));
        return t->messages ? 0 : err_internal(e, -ENOMEM, "chat messages", "");
}

/* The turn that the body asks for. */
static int read_turn(struct req *r, struct turn_req *t, struct api_err *e)
{
        t->max_tokens = params_limit(r, "max_completion_tokens", params_limit(r, "max_tokens", -1));
        t->logprobs = json_flag(r->body, "logprobs", false) ? (int)json_int(r->body, "top_logprobs", 0) : -1;
        format_effort(r, DIALECT_CHAT, t);
        if (params_sampling(r, t, e) || format_prediction(r, t, e) || read_messages(r, t, e) ||
            tools_read(r, DIALECT_CHAT, t, e))
                return -1;
        if (format_read(r, DIALECT_CHAT, t, e))
                return -1;
        return mem_take_failure() ? err_internal(e, -ENOMEM, "chat", "") : 0; /* a part may be missing */
}

static struct chat *chat_new(struct req *r, const struct turn_req *t)
{
        const struct model *m = t->model;
        int n = (int)json_int(r->body, "n", 1);
        struct chat *c = mem_calloc(1, sizeof(*c) + (size_t)n * sizeof(c->choices[0]));
        if (!c)
                return NULL;
        const json_t *options = json_get(r->body, "stream_options");
        gen_init(&c->gen, &chat_ops, r, n);
        c->gen.commits = json_flag(r->body, "store", false);
        c->model = m;
        c->n = n;
        c->created = clock_unix();
        c->fingerprint = params_fingerprint(r->arena, m);
        c->tier = params_tier(r);
        c->logprobs = json_flag(r->body, "logprobs", false);
        c->include_usage = json_flag(options, "include_usage", false);
        c->obfuscate = json_flag(options, "include_obfuscation", true);
        c->may_call = t->n_tools && t->choice != TURN_NONE;
        c->legacy = tools_legacy(r);
        c->messages = json_object_get(r->body, "messages");
        id_alnum(c->id, "chatcmpl-", 29);
        for (int i = 0; i < n; i++)
                c->choices[i] = (struct chat_choice){ .chat = c, .index = i };
        return c;
}

/* Opens the stream with the role of every choice, in order: clients want index 0 first. */
static int open_stream(struct chat *c, struct reply *ret)
{
        int rc = gen_open_stream(&c->gen, ret);
        for (int i = 0; i < c->n && rc == 0; i++) {
                json_t *chunk = chat_chunk(c, i, chat_role_delta(c), STR(""), NULL, NULL);
                stream_event(c->gen.stream, NULL, chunk);
        }
        return rc;
}

/* Starts every choice, each with its own seed. *ret_started tells how many run. */
static int start_runs(struct chat *c, struct turn_req *t, int *ret_started, struct turn_err *why)
{
        uint64_t seed = t->sampling.seed;
        int rc = 0;
        for (int i = 0; i < c->n && rc == 0; i++) {
                struct agent_sink sink = { on_event, &c->choices[i] };
                t->sampling.seed = seed + (uint64_t)i;
                rc = agent_start(&(struct agent_req){ .turn = *t }, &sink, &c->choices[i].run, why);
                *ret_started += rc == 0;
        }
        atomic_store(&c->started, rc == 0);
        if (rc == 0 && atomic_load(&c->failed))
                cancel_runs(&c->gen);
        return rc;
}

static int chat_start(struct req *r, struct reply *ret, struct api_err *reterr)
{
        struct turn_req t = { 0 };
        struct turn_err why = { 0 };
        int started = 0;
        if (params_model(r, &t.model, reterr) || params_refuse(r, refused, reterr) ||
            check_combinations(r, reterr) || read_turn(r, &t, reterr))
                return -1;
        struct chat *c = chat_new(r, &t);
        if (!c)
                return err_internal(reterr, -ENOMEM, "chat", "");
        int rc = json_flag(r->body, "stream", false) ? open_stream(c, ret) : 0;
        if (rc == 0)
                rc = start_runs(c, &t, &started, &why);
        if (rc) {
                gen_reject(&c->gen, ret, c->n - started);
                params_turn_error(r, DIALECT_CHAT, rc, &t, &why, reterr);
        }
        return gen_started(&c->gen, rc);
}

int chat_create(struct req *r, struct reply *ret, struct api_err *reterr)
{
        return format_compiles(r) ? req_continue(r, chat_start, reterr) : chat_start(r, ret, reterr);
}
