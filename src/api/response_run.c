/* What comes before the turn of a response: the hold on its conversation, and a compaction when the prompt
 * has become too long, or when the input asks for one. */
#include <errno.h>
#include <string.h>
#include "api/api.h"
#include "api/compact.h"
#include "api/compact_run.h"
#include "api/conversation.h"
#include "api/params.h"
#include "api/response.h"
#include "base/mem.h"
#include "models/registry.h"

#define THRESHOLD_PERCENT 80 /* of the context, when the request does not say */

/* ---- what the body asks for ---- */

/* NULL also when the body names a response beside it, which is refused when it is read. */
static const char *held_conversation(const struct req *r)
{
        return json_get(r->body, "previous_response_id") ? NULL : response_conversation(r->body);
}

int response_hold(struct req *r, const char *id, struct conversation **ret, struct api_err *reterr)
{
        const char *conversation = held_conversation(r);
        *ret = NULL;
        return conversation ? conversation_hold(r, conversation, id, ret, reterr) : 0;
}

int response_may_hold(struct req *r, struct api_err *reterr)
{
        const char *conversation = held_conversation(r);
        return conversation ? conversation_check(r, conversation, reterr) : 0;
}

int response_read_compaction(struct req *r, struct response_ask *ask, struct api_err *reterr)
{
        size_t i;
        json_t *v;
        json_array_foreach(json_get(r->body, "context_management"), i, v)
        {
                char param[SCHEMA_PARAM_MAX];
                int n_ctx = ask->turn.model->n_ctx;
                int at = (int)json_int(v, "compact_threshold", (int64_t)n_ctx * THRESHOLD_PERCENT / 100);
                snprintf(param, sizeof(param), "context_management[%zu].type", i);
                if (!str_eqc(json_str(v, "type"), "compaction"))
                        return err_invalid(reterr, "invalid_value", param,
                                           "Invalid value: '%s' must be 'compaction'.", param);
                if (!ask->compact_at || at < ask->compact_at)
                        ask->compact_at = at;
        }
        return 0;
}

/* *ret: whether a compaction comes before the turn, because the prompt is longer than the request wants it or
 * because the input says so. 0, or -1 with *e when the prompt cannot be counted. */
static int is_due(struct response *p, bool *ret, struct api_err *e)
{
        const struct response_ask *ask = p->ask;
        struct turn_err why = { 0 };
        *ret = ask->items.compact_now;
        if (*ret || !ask->compact_at)
                return 0;
        long n = turn_count(&ask->turn, &why);
        bool too_long = n == -E2BIG && why.field == TURN_ERR_OTHER; /* even to be counted */
        *ret = too_long || n > ask->compact_at;
        return n < 0 && !too_long
                       ? params_turn_error(p->gen.r, DIALECT_RESPONSES, (int)n, &ask->turn, &why, e)
                       : 0;
}

/* ---- the run ---- */

static int start_turn(struct response *p, struct api_err *e)
{
        struct response_ask *ask = p->ask;
        struct agent_req run = { .turn = ask->turn, .truncate = ask->truncate };
        struct turn_err why = { 0 };
        int rc = agent_start(&run, &p->sink, &p->run, &why);
        if (rc)
                return params_turn_error(p->gen.r, DIALECT_RESPONSES, rc, &ask->turn, &why, e);
        atomic_store(&p->running, true);
        if (atomic_load(&p->cancelled)) /* before there was a run to be told */
                agent_cancel(p->run);
        return 0;
}

/* Shows the compaction (consumed) as an item of the answer, and makes it what the turn begins with. */
static int go_on_from(struct response *p, json_t *item, struct api_err *e)
{
        struct response_ask *ask = p->ask;
        struct req *r = p->gen.r;
        json_t *items = json_keep(r->arena, json_pack("[o]", item));
        if (!items || json_array_append(p->output, item))
                return err_internal(e, -ENOMEM, "compaction", "");
        ask->items.all = compaction_expand(r, items, e);
        return ask->items.all ? response_messages(r, &ask->items, &ask->turn, e) : -1;
}

/* The compaction is there: the turn follows, unless it was all that was asked for. Worker threads. */
static int after_compaction(struct response *p, json_t *item, bool told, struct api_err *e)
{
        if (p->out && !told)
                response_send_item(p, item);
        if (go_on_from(p, item, e))
                return -1;
        if (p->compacted && !told)
                p->compacted(p);
        if (p->ask->items.compact_now) {
                gen_done(&p->gen, 1);
                return 0;
        }
        return start_turn(p, e);
}

static void on_compacted(void *ctx, struct compaction *c)
{
        struct response *p = ctx;
        int rc;
        json_t *item = compaction_result(c, &rc);
        if (rc)
                err_internal(&p->late, rc, "compaction", "");
        else
                rc = after_compaction(p, item, false, &p->late);
        if (rc)
                gen_done(&p->gen, 1); /* the turn that will not come */
        gen_done(&p->gen, 1);
}

static int start_compaction(struct response *p, struct api_err *e)
{
        const struct response_ask *ask = p->ask;
        struct req *r = p->gen.r;
        struct compaction_req q = { .turn = &ask->turn,
                                    .instructions = json_str(r->body, "instructions"),
                                    .items = ask->items.all,
                                    .covers = COMPACT_ALL,
                                    .always = ask->items.compact_now,
                                    .room = ask->compact_at };
        struct compaction *made;
        gen_add(&p->gen, 1); /* its end, so that the response outlives what on_compacted() does */
        int rc = compaction_start(r, &q, on_compacted, p, &made);
        atomic_store(&p->compaction, made);
        if (rc)
                gen_done(&p->gen, 1);
        else if (atomic_load(&p->cancelled)) /* before there was a compaction to be told */
                compaction_cancel(made);
        if (rc == -ENODATA) /* the question alone is too long, or nearly so */
                return start_turn(p, e);
        return rc ? err_internal(e, rc, "compaction", "") : 0;
}

int response_run(struct response *p, const struct response_ask *ask, const struct agent_sink *sink,
                 struct api_err *e)
{
        bool due;
        p->ask = arena_make(p->gen.r->arena, struct response_ask);
        if (!p->ask)
                return err_internal(e, -ENOMEM, "response", "");
        *p->ask = *ask;
        p->sink = *sink;
        if (is_due(p, &due, e))
                return -1;
        if (!due)
                return start_turn(p, e);
        json_t *logged = p->logged ? p->logged(p, "compaction") : NULL;
        return logged ? after_compaction(p, json_incref(logged), true, e) : start_compaction(p, e);
}

/* ---- the end ---- */

/* The usage of the compaction before the turn, this run's or that of the one it repeats. */
static struct agent_outcome compaction_outcome(const struct response *p)
{
        const struct compaction *compaction = atomic_load(&p->compaction);
        struct agent_outcome out = p->compacted_before;
        if (compaction)
                out.usage = *compaction_usage(compaction, &out.reasoning_tokens);
        return out;
}

json_t *response_compaction_spent(const struct response *p)
{
        const struct agent_outcome out = compaction_outcome(p);
        if (!out.usage.prompt_tokens)
                return NULL;
        return json_pack("{s:i, s:i, s:i, s:i}", "input", out.usage.prompt_tokens, "cached",
                         out.usage.cached_tokens, "output", out.usage.completion_tokens, "reasoning",
                         out.reasoning_tokens);
}

void response_compaction_was(struct response *p, const json_t *spent)
{
        p->compacted_before.usage.prompt_tokens = (int)json_int(spent, "input", 0);
        p->compacted_before.usage.cached_tokens = (int)json_int(spent, "cached", 0);
        p->compacted_before.usage.completion_tokens = (int)json_int(spent, "output", 0);
        p->compacted_before.reasoning_tokens = (int)json_int(spent, "reasoning", 0);
}

struct agent_outcome response_outcome(const struct response *p)
{
        struct agent_outcome out = { .finish = ENGINE_STOP };
        if (p->run)
                out = *agent_outcome(p->run);
        else if (p->late.status)
                out.finish = atomic_load(&p->cancelled) ? ENGINE_CANCELLED : ENGINE_ERROR;
        const struct agent_outcome compaction = compaction_outcome(p);
        out.usage.prompt_tokens += compaction.usage.prompt_tokens;
        out.usage.cached_tokens += compaction.usage.cached_tokens;
        out.usage.completion_tokens += compaction.usage.completion_tokens;
        out.reasoning_tokens += compaction.reasoning_tokens;
        return out;
}

void response_cancel_run(struct gen *g)
{
        struct response *p = (struct response *)g;
        atomic_store(&p->cancelled, true);
        struct compaction *compaction = atomic_load(&p->compaction);
        if (compaction)
                compaction_cancel(compaction);
        if (atomic_load(&p->running))
                agent_cancel(p->run);
}

void response_resume_run(struct gen *g)
{
        struct response *p = (struct response *)g;
        if (atomic_load(&p->running))
                agent_resume(p->run);
}
