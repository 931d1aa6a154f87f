#include "api/params.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "api/api.h"
#include "api/call.h"
#include "api/format.h"
#include "api/handlers.h"
#include "base/vec.h"

#define RETRY_MIN_MS 500
#define RETRY_MAX_MS 60000

#define LOADING_WAIT_MS 10000

/* Parameters of Chat Completions in the words of Responses. */
static const struct {
        const char *from, *to;
} moved[] = {
        { "messages", "input" },
        { "response_format", "text.format" },
        { "verbosity", "text.verbosity" },
        { "reasoning_effort", "reasoning.effort" },
        { "max_tokens", "max_output_tokens" },
        { "max_completion_tokens", "max_output_tokens" },
};

int params_schema_error(const struct req *r, const struct schema_err *why, struct api_err *reterr)
{
        bool unknown =
                !strcmp(r->op->id, "createResponse") && why->code && !strcmp(why->code, "unknown_parameter");
        for (size_t i = 0; unknown && i < sizeof(moved) / sizeof(*moved); i++)
                if (!strcmp(why->param, moved[i].from))
                        return err_invalid(
                                reterr, "unsupported_parameter", moved[i].from,
                                "Unsupported parameter: '%s'. In the Responses API, this parameter "
                                "has moved to '%s'. Try again with the new parameter.",
                                moved[i].from, moved[i].to);
        return err_schema(reterr, why);
}

static void release_model(void *m)
{
        model_release(m);
}

/* Keeps the model in memory as long as the request. One that is not there is loaded meanwhile; that may take
 * longer than a client should wait without an answer. */
static int hold_model(struct req *r, const struct model *m, struct api_err *reterr)
{
        int rc = model_hold(m, r->route->flags & RT_SLOW ? LOADING_WAIT_MS : 0);
        if (rc == -EIO)
                return err_set(reterr, 503, "server_error", "model_failed", NULL,
                               "The model '%s' could not be loaded.", m->id);
        if (!rc && arena_defer(r->arena, release_model, (void *)m))
                rc = -ENOMEM;
        return rc ? err_internal(reterr, rc, "load the model", m->id) : 0;
}

int params_model(struct req *r, const struct model **ret, struct api_err *reterr)
{
        json_t *name = json_get(r->body, "model");
        if (!name)
                return err_invalid(reterr, "missing_required_parameter", "model",
                                   "Missing required parameter: 'model'.");
        *ret = registry_find(r->api->models, json_as_str(name));
        return *ret ? hold_model(r, *ret, reterr) : err_model_not_found(reterr, json_as_str(name));
}

const char *params_model_id(const struct api *api, const struct operation *op, const json_t *body)
{
        if (!strcmp(op->id, "createModeration"))
                return moderation_model(body);
        const struct model *m = registry_find(api->models, json_str(body, "model"));
        return m ? m->id : NULL;
}

bool param_is_empty(const json_t *v)
{
        return (json_is_array(v) && !json_array_size(v)) || (json_is_object(v) && !json_object_size(v)) ||
               (json_is_string(v) && !json_string_length(v));
}

bool param_is_false(const json_t *v)
{
        return json_is_false(v);
}

bool param_is_in_memory(const json_t *v)
{
        return str_eqc(json_as_str(v), "in_memory");
}

int params_stream_options(struct req *r, struct api_err *reterr)
{
        if (!json_get(r->body, "stream_options") || json_flag(r->body, "stream", false))
                return 0;
        return err_invalid(reterr, "invalid_value", "stream_options",
                           "The 'stream_options' parameter is only allowed when 'stream' is enabled.");
}

int params_token_ids(const struct model *m, const json_t *list, const char *param, struct engine_tokens *out,
                     struct api_err *reterr)
{
        int n_vocab = engine_model_info(m->engine)->n_vocab;
        size_t i;
        json_t *v;
        json_array_foreach((json_t *)list, i, v)
        {
                json_int_t id = json_integer_value(v);
                if (id < 0 || id >= n_vocab)
                        return err_invalid(
                                reterr, "invalid_value", param,
                                "Invalid '%s': token id %lld is not in the model's vocabulary of %d tokens.",
                                param, (long long)id, n_vocab);
                if (vec_push(out, (int32_t)id))
                        return err_internal(reterr, -ENOMEM, "tokens", "");
        }
        return 0;
}

int params_refuse(struct req *r, const struct param_rule *rules, struct api_err *reterr)
{
        for (; rules->name; rules++) {
                json_t *v = json_get(r->body, rules->name);
                if (v && !(rules->ok && rules->ok(v)))
                        return err_unsupported(reterr, rules->name);
        }
        return 0;
}

/* {"50256": -100} */
static int read_bias(struct req *r, struct turn_req *t, struct api_err *reterr)
{
        json_t *bias = json_get(r->body, "logit_bias"), *value;
        const char *key;
        size_t n = 0;
        if (!bias || !json_object_size(bias))
                return 0;
        struct engine_bias *out = arena_array(r->arena, struct engine_bias, json_object_size(bias));
        if (!out)
                return err_internal(reterr, -ENOMEM, "logit_bias", "");
        int n_vocab = engine_model_info(t->model->engine)->n_vocab;
        json_object_foreach(bias, key, value)
        {
                int64_t id;
                if (!str_to_i64(str_c(key), &id) || id < 0 || id >= n_vocab)
                        return err_invalid(
                                reterr, "invalid_value", "logit_bias",
                                "Invalid key in 'logit_bias': %.40s. Expected a token id between 0 and %d.",
                                key, n_vocab - 1);
                out[n++] = (struct engine_bias){ (int32_t)id, (float)json_number_value(value) };
        }
        t->sampling.bias = out;
        t->sampling.n_bias = n;
        return 0;
}

/* A string or up to four of them. */
static int read_stop(struct req *r, struct turn_req *t, struct api_err *reterr)
{
        json_t *stop = json_get(r->body, "stop");
        size_t n = json_is_array(stop) ? json_array_size(stop) : stop ? 1 : 0;
        if (!n)
                return 0;
        struct str *out = arena_array(r->arena, struct str, n);
        if (!out)
                return err_internal(reterr, -ENOMEM, "stop", "");
        for (size_t i = 0; i < n; i++) {
                out[i] = json_as_str(json_is_array(stop) ? json_array_get(stop, i) : stop);
                if (!out[i].n || out[i].n > ENGINE_STOP_BYTES)
                        return err_invalid(reterr, "invalid_value", "stop",
                                           "Invalid 'stop': each stop sequence must have 1 to %d bytes, but "
                                           "one has %zu.",
                                           ENGINE_STOP_BYTES, out[i].n);
        }
        t->stop = out;
        t->n_stop = n;
        return 0;
}

int params_limit(const struct req *r, const char *name, int dflt)
{
        int64_t limit = json_int(r->body, name, dflt);
        return limit > INT32_MAX ? INT32_MAX : (int)limit;
}

const char *params_tier(struct req *r)
{
        const char *tier = json_cstr(r->body, "service_tier", "auto");
        if (!strcmp(tier, "flex"))
                return "flex";
        return !strcmp(tier, "priority") || !strcmp(tier, "fast") ? "priority" : "default";
}

int params_sampling(struct req *r, struct turn_req *t, struct api_err *reterr)
{
        const json_t *b = r->body;
        const char *tier = params_tier(r);
        json_t *seed = json_get(b, "seed");
        t->sampling = (struct engine_sampling){
                .temperature = (float)json_num(b, "temperature", 1),
                .top_p = (float)json_num(b, "top_p", 1),
                .min_p = (float)json_num(b, "min_p", 0),
                .top_k = (int)json_int(b, "top_k", 0),
                .frequency = (float)json_num(b, "frequency_penalty", 0),
                .presence = (float)json_num(b, "presence_penalty", 0),
                .repetition = (float)json_num(b, "repetition_penalty", 1),
                .has_seed = seed != NULL,
                .seed = (uint64_t)json_integer_value(seed),
        };
        t->priority = r->call_flags & CALL_BATCH  ? ENGINE_BATCH
                      : !strcmp(tier, "flex")     ? ENGINE_FLEX
                      : !strcmp(tier, "priority") ? ENGINE_PRIORITY
                                                  : ENGINE_DEFAULT;
        t->owner = str_hash(str_c(req_project(r)));
        t->fail_after = r->fail_after;
        t->cancel = req_gone;
        t->cancel_ctx = r;
        if (read_bias(r, t, reterr))
                return -1;
        return read_stop(r, t, reterr);
}

static int no_chat_format(const struct turn_req *t, struct api_err *reterr)
{
        return err_invalid(
                reterr, "unsupported_value", "model",
                "The model '%s' has no chat format. Use it with /v1/completions or /v1/embeddings.",
                t->model->id);
}

static int too_long(const struct turn_req *t, const struct turn_err *why, const char *param,
                    struct api_err *reterr)
{
        if (why->prompt_tokens)
                return err_invalid(
                        reterr, "context_length_exceeded", param,
                        "This model's maximum context length is %d tokens. However, your messages resulted "
                        "in %zu tokens. Please reduce the length of the messages.",
                        t->model->n_ctx, why->prompt_tokens);
        return err_invalid(
                reterr, "context_length_exceeded", param,
                "This model's maximum context length is %d tokens. However, your messages resulted "
                "in far more tokens. Please reduce the length of the messages.",
                t->model->n_ctx);
}

/* The same in the words of responses. */
static int input_too_long(const struct turn_req *t, const struct turn_err *why, const char *param,
                          struct api_err *reterr)
{
        char has[40] = "far more";
        if (why->prompt_tokens)
                snprintf(has, sizeof(has), "%zu", why->prompt_tokens);
        return err_invalid(reterr, "context_length_exceeded", param,
                           "Your input exceeds the context window of this model. Please adjust your "
                           "input and try again. (It has %s tokens; the limit is %d.)",
                           has, t->model->n_ctx);
}

/* 503 with the time after which a place is likely to be free, bounded to what clients wait for at all. */
static int queue_full(const struct model *m, struct api_err *reterr)
{
        struct engine_stats stats;
        engine_model_stats(m->engine, &stats);
        err_overloaded(reterr);
        reterr->retry_after_ms = stats.wait_ms > RETRY_MAX_MS   ? RETRY_MAX_MS
                                 : stats.wait_ms < RETRY_MIN_MS ? RETRY_MIN_MS
                                                                : (int)stats.wait_ms;
        return -1;
}

int params_prompt_error(int rc, const struct turn_req *t, const struct turn_err *why, const char *param,
                        struct api_err *reterr)
{
        if (rc == -E2BIG)
                return too_long(t, why, param, reterr);
        if (rc == -EINVAL)
                return err_invalid(
                        reterr, "invalid_value", param,
                        "Invalid '%s': the model cannot take this prompt. It must not be empty, and every "
                        "token id must be in the model's vocabulary.",
                        param);
        if (rc == -EAGAIN)
                return queue_full(t->model, reterr);
        return err_internal(reterr, rc, "turn", "");
}

int params_turn_error(const struct req *r, enum dialect d, int rc, const struct turn_req *t,
                      const struct turn_err *why, struct api_err *reterr)
{
        const char *param = d == DIALECT_CHAT ? "messages" : "input";
        bool request = rc == -EINVAL || rc == -E2BIG;
        if (request && why->field == TURN_ERR_TOOL)
                return tools_error(r, d, t, why, reterr);
        if (request && why->field == TURN_ERR_SCHEMA)
                return format_error(r, d, why, reterr);
        if (request && why->field == TURN_ERR_MESSAGES)
                return err_invalid(reterr, "invalid_value", param,
                                   "Invalid '%s': the model's chat template refuses them: %s", param,
                                   why->msg);
        if (rc == -E2BIG && d == DIALECT_RESPONSES)
                return input_too_long(t, why, param, reterr);
        if (rc == -ENOTSUP)
                return no_chat_format(t, reterr);
        return params_prompt_error(rc, t, why, param, reterr);
}

const char *params_fingerprint(struct arena *a, const struct model *m)
{
        const struct engine_info *info = engine_model_info(m->engine);
        char text[512];
        int n = snprintf(text, sizeof(text), "%s %s %s %llu %llu %lld " CAIRN_VERSION, info->name, info->arch,
                         info->quantization, (unsigned long long)info->n_params,
                         (unsigned long long)info->file_bytes, (long long)m->created);
        uint64_t hash =
                str_hash((struct str){ text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1 });
        return arena_printf(a, "fp_%010llx", (unsigned long long)(hash & 0xffffffffffu));
}
