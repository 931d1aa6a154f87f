/* POST /responses: one run of the turn loop over a conversation of items. What is to be stored is on the disk
 * before the client learns that it is complete; a streamed response is there, in progress, from its start. */
#include "api/response.h"

#include <errno.h>
#include <string.h>
#include "agent/items.h"
#include "agent/messages.h"
#include "api/api.h"
#include "api/chat.h"
#include "api/format.h"
#include "api/handlers.h"
#include "api/params.h"
#include "api/stored.h"
#include "base/clock.h"
#include "base/mem.h"

#define INCLUDE_LOGPROBS "message.output_text.logprobs"
#define INCLUDE_SEALED "reasoning.encrypted_content"

/* ---- life of a response ---- */

static void response_free(struct gen *g)
{
        struct response *p = (struct response *)g;
        agent_unref(p->run);
        json_decref(p->output);
        mem_free(p);
}

static void cancel_run(struct gen *g)
{
        struct response *p = (struct response *)g;
        if (p->run)
                agent_cancel(p->run);
}

static void resume_run(struct gen *g)
{
        agent_resume(((struct response *)g)->run);
}

/* ---- the end ---- */

static json_t *document(const struct response *p, json_t *object)
{
        return json_pack("{s:O, s:O}", "object", object, "input", p->input);
}

/* The items that the reader of the response may reference: of its input those whose id was made here, and its
 * output. */
static json_t *referable(const struct response *p)
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
        json_array_extend(items, p->output);
        return items;
}

/* Commits the final state; streamed ones have been in the store since their start. */
static int commit(struct response *p, json_t *object, struct api_err *e)
{
        json_t *items = p->gen.stream ? json_incref(json_object_get(object, "output")) : referable(p);
        int rc = stored_put_response(p->gen.r, p->id, p->created,
                                     p->gen.stream ? STORED_FINISHED : STORED_WHOLE, document(p, object),
                                     items, e);
        json_decref(items);
        return rc;
}

static int failure(const struct response *p, struct api_err *e)
{
        const struct agent_outcome *out = agent_outcome(p->run);
        if (out->finish == ENGINE_ERROR)
                return err_internal(e, -EIO, "response", out->error);
        return out->finish == ENGINE_CANCELLED ? err_overloaded(e) : gen_failure(&p->gen, e);
}

static void response_finish(struct gen *g)
{
        struct response *p = (struct response *)g;
        struct api_err e = { 0 }, not_stored;
        int rc = failure(p, &e);
        json_t *object = response_object(p, NULL, rc == 0);
        bool keep = g->commits && (rc == 0 || g->stream);
        if (keep && commit(p, object, &not_stored)) {
                e = not_stored;
                rc = -1;
        }
        if (g->stream && rc) {
                json_decref(object);
                object = response_object(p, "failed", false);
        }
        if (g->stream) {
                response_send_closing(p, object);
        } else if (rc) {
                json_decref(object);
                req_fail(g->r, &e);
        } else {
                req_reply(g->r, &(struct reply){ .json = object });
        }
}

static void response_usage(const struct gen *g, struct usage *ret)
{
        const struct response *p = (const struct response *)g;
        const struct agent_outcome *out = agent_outcome(p->run);
        usage_count(ret, p->model, params_tier(g->r), &out->usage, out->reasoning_tokens);
}

static const struct gen_ops response_ops = { cancel_run, resume_run, response_usage, response_finish,
                                             response_free };

static bool on_event(void *ctx, struct agent_run *run, const struct agent_event *ev)
{
        struct response *p = ctx;
        (void)run;
        json_t *ended = ev->kind == AGENT_ITEM_END ? response_add_item(p, ev->item) : NULL;
        bool more = p->gen.stream ? response_send(p, ev, ended) : true;
        if (ev->kind == AGENT_DONE)
                gen_done(&p->gen, 1);
        return more;
}

/* ---- the start ---- */

static const struct param_rule refused[] = {
        { "background", param_is_false },
        { "conversation", NULL },
        { "prompt", NULL },
        { "context_management", NULL },
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
        return params_stream_options(r, e);
}

static bool includes(const struct req *r, const char *what)
{
        size_t i;
        json_t *v;
        json_array_foreach(json_get(r->body, "include"), i, v) if (str_eqc(json_as_str(v), what)) return true;
        return false;
}

/* The turn that the body asks for, over the gathered items. t->model is set. */
static int read_turn(struct req *r, const json_t *items, struct turn_req *t, struct api_err *e)
{
        struct schema_err why;
        int rc = items_check_calls(items, &why);
        if (rc)
                return rc == -EINVAL ? err_schema(e, &why) : err_internal(e, rc, "calls", "");
        t->messages = json_keep(r->arena, messages_from_items(json_str(r->body, "instructions"), items));
        if (!t->messages)
                return err_internal(e, -ENOMEM, "messages", "");
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

static struct response *response_new(struct req *r, const struct model *m,
                                     const struct conversation_items *items)
{
        struct response *p = mem_calloc(1, sizeof(*p));
        json_t *output = json_array(), *reasoning = json_get(r->body, "reasoning");
        if (!p || !output) {
                mem_free(p);
                json_decref(output);
                return NULL;
        }
        gen_init(&p->gen, &response_ops, r, 1);
        p->gen.commits = json_flag(r->body, "store", true);
        p->model = m;
        p->created = clock_unix();
        p->obfuscate = json_flag(json_get(r->body, "stream_options"), "include_obfuscation", true);
        p->input = items->input;
        p->made = items->made;
        p->output = output;
        p->summary = json_get(reasoning, "summary") || json_get(reasoning, "generate_summary");
        p->sealed = includes(r, INCLUDE_SEALED);
        id_hex(p->id, "resp_", 48);
        return p;
}

/* Opens the stream. A stored response is committed, in progress, before the client learns its id. */
static int open_stream(struct response *p, const struct turn_req *t, bool truncate, struct reply *ret,
                       struct api_err *e)
{
        struct turn_err why;
        long prompt = truncate ? 0 : turn_count(t, &why);
        if (prompt < 0 || prompt >= t->model->n_ctx)
                return params_turn_error(p->gen.r, DIALECT_RESPONSES, prompt < 0 ? (int)prompt : -E2BIG, t,
                                         &why, e);
        if (p->gen.commits) {
                json_t *items = referable(p), *object = response_object(p, "in_progress", false);
                int rc = stored_put_response(p->gen.r, p->id, p->created, STORED_STARTED, document(p, object),
                                             items, e);
                json_decref(object);
                json_decref(items);
                if (rc)
                        return rc;
                p->started = true;
        }
        if (gen_open_stream(&p->gen, ret))
                return err_internal(e, -ENOMEM, "stream", "");
        response_send_opening(p);
        return 0;
}

static int start(struct response *p, const struct turn_req *t, struct reply *ret, struct api_err *e)
{
        bool stream = json_flag(p->gen.r->body, "stream", false);
        bool truncate = !strcmp(json_cstr(p->gen.r->body, "truncation", "disabled"), "auto");
        struct agent_req run = { .turn = *t, .truncate = truncate };
        struct agent_sink sink = { on_event, p };
        struct turn_err why = { 0 };
        int rc = stream ? open_stream(p, t, truncate, ret, e) : 0;
        if (rc == 0) {
                rc = agent_start(&run, &sink, &p->run, &why);
                if (rc)
                        params_turn_error(p->gen.r, DIALECT_RESPONSES, rc, t, &why, e);
        }
        if (rc) {
                if (p->started) /* nobody was told of it */
                        stored_drop_response(p->gen.r, p->id);
                gen_reject(&p->gen, ret, 1);
        }
        return gen_started(&p->gen, rc);
}

/* What both operations read of the body. */
static int read_request(struct req *r, struct conversation_items *items, struct turn_req *t,
                        struct api_err *reterr)
{
        if (check_combinations(r, reterr) || params_refuse(r, refused, reterr) ||
            params_model(r, &t->model, reterr) || response_gather(r, t->model, items, reterr))
                return -1;
        return read_turn(r, items->all, t, reterr);
}

static int response_start(struct req *r, struct reply *ret, struct api_err *reterr)
{
        struct conversation_items items;
        struct turn_req t = { 0 };
        if (read_request(r, &items, &t, reterr))
                return -1;
        struct response *p = response_new(r, t.model, &items);
        if (!p)
                return err_internal(reterr, -ENOMEM, "response", "");
        return start(p, &t, ret, reterr);
}

int response_create(struct req *r, struct reply *ret, struct api_err *reterr)
{
        return format_compiles(r) ? req_continue(r, response_start, reterr) : response_start(r, ret, reterr);
}

/* ---- POST /responses/input_tokens ---- */

int response_input_tokens(struct req *r, struct reply *ret, struct api_err *reterr)
{
        struct conversation_items items;
        struct turn_req t = { 0 };
        struct turn_err why = { 0 };
        if (read_request(r, &items, &t, reterr))
                return -1;
        long count = turn_count(&t, &why);
        if (count < 0)
                return params_turn_error(r, DIALECT_RESPONSES, (int)count, &t, &why, reterr);
        ret->json =
                json_pack("{s:s, s:I}", "object", "response.input_tokens", "input_tokens", (json_int_t)count);
        return 0;
}
