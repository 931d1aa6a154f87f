/* POST /responses: one run of the turn loop over a conversation of items. What is to be stored is on the disk
 * before the client learns that it is complete; a streamed response is there, in progress, from its start. */
#include "api/response.h"

#include <errno.h>
#include <string.h>
#include "agent/items.h"
#include "agent/messages.h"
#include "api/chat.h"
#include "api/api.h"
#include "api/call.h"
#include "api/compact_run.h"
#include "api/conversation.h"
#include "api/format.h"
#include "api/handlers.h"
#include "api/leftovers.h"
#include "api/params.h"
#include "api/response_background.h"
#include "api/stored.h"
#include "base/clock.h"
#include "base/mem.h"

#define INCLUDE_LOGPROBS "message.output_text.logprobs"
#define INCLUDE_SEALED "reasoning.encrypted_content"

/* ---- life of a response ---- */

void response_release(struct response *p)
{
        conversation_release(p->held);
        compaction_free(p->compaction);
        agent_unref(p->run);
        json_decref(p->output);
}

static void free_gen(struct gen *g)
{
        response_release((struct response *)g);
        mem_free(g);
}

void response_usage(const struct gen *g, struct usage *ret)
{
        const struct response *p = (const struct response *)g;
        struct agent_outcome out = response_outcome(p);
        usage_count(ret, p->model, params_tier(g->r), &out.usage, out.reasoning_tokens);
}

static bool to_stream(struct response *p, const char *type, json_t *data)
{
        return stream_event(p->gen.stream, type, data);
}

static const struct response_out stream_out = { to_stream };

/* ---- the end ---- */

json_t *response_referable_input(const struct response *p)
{
        json_t *items = json_array(), *item;
        size_t i, made = 0;
        json_array_foreach(p->input, i, item)
        {
                const char *next = json_string_value(json_array_get(p->made, made));
                if (!next || strcmp(json_cstr(item, "id", ""), next))
                        continue;
                json_array_append(items, item);
                made++;
        }
        return items;
}

/* Commits a state of the response. Items become known with it: those of its input whose id was made here with
 * the first commit, its output with the last. */
static int commit(struct response *p, enum stored_step step, json_t *object, struct api_err *e)
{
        json_t *output = json_object_get(object, "output");
        json_t *items = step == STORED_FINISHED ? json_array() : response_referable_input(p);
        json_array_extend(items, output);
        struct stored_response s = { .id = p->id,
                                     .created = p->created,
                                     .step = p->stored ? step : STORED_NOT,
                                     .doc = response_document(p, object),
                                     .items = items,
                                     .reply.whole = step == STORED_WHOLE ? object : NULL };
        struct stream_last last = { .stream = p->gen.stream };
        bool said = json_get(object, "usage") != NULL; /* it is completed, or incomplete */
        int rc = 0;
        if (said && step == STORED_FINISHED) {
                last.data = response_closing(p, object, &last.event);
                s.reply.last = &last;
                rc = last.data ? 0 : -ENOMEM;
        }
        if (rc == 0 && p->held && said)
                rc = conversation_append(p->held, p->input, output, &s.more, &s.n_more);
        if (rc) {
                json_decref(s.doc);
                err_internal(e, rc, "conversation", "");
        } else {
                rc = stored_put_response(p->gen.r, &s, e);
        }
        if (rc && step == STORED_FINISHED && p->started)
                rc = stored_is_finished(p->gen.r, p->id, json_cstr(object, "status", "")) ? 0 : rc;
        if (rc == 0 && s.n_more)
                conversation_appended(p->held);
        json_decref(last.data);
        json_decref(items);
        return rc;
}

static int failure(const struct response *p, struct api_err *e)
{
        struct agent_outcome out = response_outcome(p);
        *e = p->late;
        if (p->late.status)
                return -1;
        if (out.finish == ENGINE_ERROR)
                return err_internal(e, -EIO, "response", out.error);
        return out.finish == ENGINE_CANCELLED ? err_overloaded(e) : gen_failure(&p->gen, e);
}

/* Its end could not be stored, and the client will be told that it failed: so must whoever asks for it. */
static void fail_stored(struct response *p)
{
        struct req *r = p->gen.r;
        if (stored_fail_response(r->api, p->id, req_project(r)))
                leftovers_add_response(r->api, p->id, req_project(r));
}

static void response_finish(struct gen *g)
{
        struct response *p = (struct response *)g;
        struct api_err e = { 0 }, not_stored;
        int rc = failure(p, &e);
        json_t *object = response_object(p, NULL, rc == 0);
        bool keep = g->commits && (rc == 0 || (g->stream && p->stored));
        if (keep && commit(p, g->stream ? STORED_FINISHED : STORED_WHOLE, object, &not_stored)) {
                e = not_stored;
                rc = -1;
                if (p->started)
                        fail_stored(p);
        }
        if (rc) { /* whoever hears of it may try again at once */
                conversation_release(p->held);
                p->held = NULL;
        }
        if (g->stream && rc) {
                json_decref(object);
                object = response_object(p, "failed", false);
                if (e.status < 500)
                        response_set_state(object, "failed", json_object_get(object, "output"),
                                           "invalid_prompt", e.msg);
        }
        if (g->stream) {
                response_send_closing(p, object);
                stream_end(g->stream, false);
        } else if (rc) {
                json_decref(object);
                req_fail(g->r, &e);
        } else {
                req_reply(g->r, &(struct reply){ .json = object });
        }
}

static const struct gen_ops response_ops = { .cancel = response_cancel_run,
                                             .resume = response_resume_run,
                                             .usage = response_usage,
                                             .finish = response_finish,
                                             .free = free_gen };

bool response_take(struct response *p, const struct agent_event *ev)
{
        json_t *ended = ev->kind == AGENT_ITEM_END ? response_item(p, ev->item) : NULL;
        bool more = p->out ? response_send(p, ev, ended) : true;
        if (ended)
                json_array_append_new(p->output, ended);
        return more;
}

static bool on_event(void *ctx, struct agent_run *run, const struct agent_event *ev)
{
        struct response *p = ctx;
        (void)run;
        bool more = response_take(p, ev);
        if (ev->kind == AGENT_DONE)
                gen_done(&p->gen, 1);
        return more;
}

/* ---- the start ---- */

static const struct param_rule refused[] = {
        { "prompt", NULL },
        { "moderation", NULL },
        { "prompt_cache_retention", param_is_in_memory },
        { "prompt_cache_options", param_is_empty },
        { "personality", NULL }, /* of input_tokens */
        { NULL, NULL },
};

/* Ways to reason that no model here has. */
static int check_reasoning(const json_t *reasoning, struct api_err *e)
{
        if (strcmp(json_cstr(reasoning, "mode", "standard"), "standard"))
                return err_unsupported(e, "reasoning.mode");
        if (strcmp(json_cstr(reasoning, "context", "auto"), "auto"))
                return err_unsupported(e, "reasoning.context");
        return 0;
}

static int check_combinations(struct req *r, struct api_err *e)
{
        const json_t *b = r->body;
        if (check_reasoning(json_get(b, "reasoning"), e))
                return -1;
        if (json_get(b, "previous_response_id") && json_get(b, "conversation"))
                return err_invalid(e, "mutually_exclusive_parameters", NULL,
                                   "Mutually exclusive parameters: 'previous_response_id' and "
                                   "'conversation'. Ensure you "
                                   "are only providing one of them.");
        if (json_flag(b, "background", false) && !json_flag(b, "store", true))
                return err_invalid(e, "invalid_value", "background",
                                   "A response in the background must be stored: 'background' cannot be used "
                                   "with 'store' set to false.");
        if (json_flag(b, "background", false) && r->sink && !(r->call_flags & CALL_ADMITTED))
                return err_invalid(e, "invalid_value", "background",
                                   "'background' cannot be used in a batch or on a WebSocket.");
        return params_stream_options(r, e);
}

static bool includes(const struct req *r, const char *what)
{
        size_t i;
        json_t *v;
        json_array_foreach(json_get(r->body, "include"), i, v) if (str_eqc(json_as_str(v), what)) return true;
        return false;
}

int response_messages(struct req *r, const struct conversation_items *items, struct turn_req *t,
                      struct api_err *e)
{
        struct schema_err why;
        int rc = items->compact_now ? 0 : items_check_calls(items->all, &why);
        if (rc)
                return rc == -EINVAL ? err_schema(e, &why) : err_internal(e, rc, "calls", "");
        t->messages = json_keep(r->arena, messages_from_items(json_str(r->body, "instructions"), items->all));
        return t->messages ? 0 : err_internal(e, -ENOMEM, "messages", "");
}

/* The turn that the body asks for, over the gathered items. t->model is set. */
static int read_turn(struct req *r, const struct conversation_items *items, struct turn_req *t,
                     struct api_err *e)
{
        if (response_messages(r, items, t, e))
                return -1;
        t->max_tokens = params_limit(r, "max_output_tokens", -1);
        t->logprobs = includes(r, INCLUDE_LOGPROBS) ? (int)json_int(r->body, "top_logprobs", 0) : -1;
        t->keep = json_flag(r->body, "store", true);
        format_effort(r, DIALECT_RESPONSES, t);
        if (params_sampling(r, t, e) || tools_read(r, DIALECT_RESPONSES, t, e))
                return -1;
        if (format_read(r, DIALECT_RESPONSES, t, e))
                return -1;
        return mem_take_failure() ? err_internal(e, -ENOMEM, "response", "") : 0; /* a part may be missing */
}

int response_read(struct req *r, struct response_ask *ret, struct api_err *reterr)
{
        ret->truncate = !strcmp(json_cstr(r->body, "truncation", "disabled"), "auto");
        if (check_combinations(r, reterr) || params_refuse(r, refused, reterr) ||
            params_model(r, &ret->turn.model, reterr) ||
            response_gather(r, ret->turn.model, &ret->items, reterr))
                return -1;
        if (read_turn(r, &ret->items, &ret->turn, reterr))
                return -1;
        return response_read_compaction(r, ret, reterr);
}

int response_init(struct response *p, struct req *r, const struct response_ask *ask)
{
        json_t *reasoning = json_get(r->body, "reasoning");
        p->held = ask->held;
        p->stored = json_flag(r->body, "store", true);
        p->gen.commits = p->stored || p->held;
        p->background = json_flag(r->body, "background", false);
        p->model = ask->turn.model;
        p->created = clock_unix();
        p->obfuscate = json_flag(json_get(r->body, "stream_options"), "include_obfuscation", true);
        p->input = ask->items.input;
        p->made = ask->items.made;
        p->output = json_array();
        p->summary = json_get(reasoning, "summary") || json_get(reasoning, "generate_summary");
        p->sealed = includes(r, INCLUDE_SEALED);
        id_hex(p->id, "resp_", 48);
        return p->output ? 0 : -ENOMEM;
}

static struct response *response_new(struct req *r, const struct response_ask *ask)
{
        struct response *p = mem_calloc(1, sizeof(*p));
        if (!p) {
                conversation_release(ask->held);
                return NULL;
        }
        gen_init(&p->gen, &response_ops, r, 1);
        if (response_init(p, r, ask) == 0)
                return p;
        gen_reject(&p->gen, &(struct reply){ 0 }, 1);
        gen_started(&p->gen, -1);
        return NULL;
}

/* Opens the stream. A stored response is committed, in progress, before the client learns its id. */
static int open_stream(struct response *p, struct reply *ret, struct api_err *e)
{
        static const char *const opening[] = { "response.created", "response.in_progress" };
        if (p->stored) {
                json_t *object = response_object(p, "in_progress", false);
                int rc = commit(p, STORED_STARTED, object, e);
                json_decref(object);
                if (rc)
                        return rc;
                p->started = true;
        }
        if (gen_open_stream(&p->gen, ret))
                return err_internal(e, -ENOMEM, "stream", "");
        p->out = &stream_out;
        for (int i = 0; i < 2; i++)
                response_send_state(p, opening[i], response_object(p, "in_progress", false));
        return 0;
}

/* Starts a response that somebody waits for. One that cannot be started was opened in vain: its events and
 * its row are taken back, of which nobody was told. That is cheaper than to render each prompt twice. */
static int start(struct response *p, const struct response_ask *ask, struct reply *ret, struct api_err *e)
{
        struct agent_sink sink = { on_event, p };
        int rc = json_flag(p->gen.r->body, "stream", false) ? open_stream(p, ret, e) : 0;
        if (rc == 0)
                rc = response_run(p, ask, &sink, e);
        if (rc) {
                if (p->started)
                        stored_drop_response(p->gen.r, p->id);
                gen_reject(&p->gen, ret, 1);
        }
        return gen_started(&p->gen, rc);
}

static int response_start(struct req *r, struct reply *ret, struct api_err *reterr)
{
        struct response_ask ask = { 0 };
        bool background = json_flag(r->body, "background", false);
        if (background ? response_may_hold(r, reterr) : response_hold(r, r->id, &ask.held, reterr))
                return -1;
        if (response_read(r, &ask, reterr)) {
                conversation_release(ask.held);
                return -1;
        }
        if (background)
                return background_create(r, &ask, ret, reterr);
        struct response *p = response_new(r, &ask);
        if (!p)
                return err_internal(reterr, -ENOMEM, "response", "");
        return start(p, &ask, ret, reterr);
}

int response_create(struct req *r, struct reply *ret, struct api_err *reterr)
{
        return format_compiles(r) ? req_continue(r, response_start, reterr) : response_start(r, ret, reterr);
}

/* ---- POST /responses/input_tokens ---- */

int response_input_tokens(struct req *r, struct reply *ret, struct api_err *reterr)
{
        struct response_ask ask = { 0 };
        struct turn_err why = { 0 };
        if (response_read(r, &ask, reterr))
                return -1;
        long count = turn_count(&ask.turn, &why);
        if (count < 0)
                return params_turn_error(r, DIALECT_RESPONSES, (int)count, &ask.turn, &why, reterr);
        ret->json =
                json_pack("{s:s, s:I}", "object", "response.input_tokens", "input_tokens", (json_int_t)count);
        return 0;
}
