/* POST /responses/compact: what users and developers said stays, the rest becomes one compaction item. Its
 * output is the input of the requests that go on from it. */
#include <errno.h>
#include "api/api.h"
#include "api/chat.h"
#include "api/compact_run.h"
#include "api/handlers.h"
#include "api/params.h"
#include "api/response.h"
#include "base/clock.h"
#include "base/mem.h"

struct compacting {
        struct gen gen; /* first: a compaction is a gen */
        const struct model *model;
        struct compaction *run;
        const json_t *items; /* what the model would be shown; of the request's arena */
        int64_t created;
};

static void cancel(struct gen *g)
{
        struct compacting *p = (struct compacting *)g;
        if (p->run)
                compaction_cancel(p->run);
}

/* Nothing of it is streamed. */
static void resume(struct gen *g)
{
        (void)g;
}

static void usage(const struct gen *g, struct usage *ret)
{
        const struct compacting *p = (const struct compacting *)g;
        int reasoning;
        const struct engine_usage *used = compaction_usage(p->run, &reasoning);
        usage_count(ret, p->model, params_tier(g->r), used, reasoning);
}

/* The messages that stay, then the item (consumed): a new array. */
static json_t *output(const struct compacting *p, json_t *item)
{
        json_t *all = json_array(), *v;
        size_t i;
        json_array_foreach((json_t *)p->items, i, v)
        {
                if (compact_is_request(v))
                        json_array_append(all, v);
        }
        json_array_append_new(all, item);
        return all;
}

static void finish(struct gen *g)
{
        struct compacting *p = (struct compacting *)g;
        struct api_err e = { 0 };
        char id[ID_MAX];
        int reasoning, rc;
        json_t *item = compaction_result(p->run, &rc);
        const struct engine_usage *used = compaction_usage(p->run, &reasoning);
        if (rc) {
                err_internal(&e, rc, "compaction", "");
        } else if (gen_failure(g, &e)) {
                json_decref(item);
        } else {
                json_t *object =
                        json_pack("{s:s, s:s, s:I, s:o, s:o}", "id", id_hex(id, "resp_", 48), "object",
                                  "response.compaction", "created_at", (json_int_t)p->created, "output",
                                  output(p, item), "usage", response_usage_json(used, reasoning));
                if (object && !mem_take_failure()) { /* a part of it may be missing */
                        req_reply(g->r, &(struct reply){ .json = object });
                        return;
                }
                json_decref(object);
                err_internal(&e, -ENOMEM, "compaction", "");
        }
        req_fail(g->r, &e);
}

static void free_gen(struct gen *g)
{
        struct compacting *p = (struct compacting *)g;
        compaction_free(p->run);
        mem_free(p);
}

static const struct gen_ops compact_ops = {
        .cancel = cancel, .resume = resume, .usage = usage, .finish = finish, .free = free_gen
};

static void on_done(void *ctx, struct compaction *c)
{
        (void)c;
        gen_done(ctx, 1);
}

static const struct param_rule refused[] = {
        { "prompt_cache_retention", param_is_in_memory },
        { "prompt_cache_options", param_is_empty },
        { NULL, NULL },
};

int response_compact(struct req *r, struct reply *ret, struct api_err *reterr)
{
        struct conversation_items items = { 0 };
        struct turn_req t = { 0 };
        if (params_refuse(r, refused, reterr) || params_model(r, &t.model, reterr) ||
            response_gather(r, t.model, &items, reterr) || params_sampling(r, &t, reterr))
                return -1;
        struct compacting *p = mem_calloc(1, sizeof(*p));
        if (!p)
                return err_internal(reterr, -ENOMEM, "compaction", "");
        struct compaction_req q = { .turn = &t,
                                    .instructions = json_str(r->body, "instructions"),
                                    .items = items.all,
                                    .covers = COMPACT_ANSWERS,
                                    .always = true };
        gen_init(&p->gen, &compact_ops, r, 1);
        p->model = t.model;
        p->items = items.all;
        p->created = clock_unix();
        int rc = compaction_start(r, &q, on_done, &p->gen, &p->run);
        if (rc) {
                err_internal(reterr, rc, "compaction", "");
                gen_reject(&p->gen, ret, 1);
        }
        return gen_started(&p->gen, rc);
}
