#include "api/chat.h"

#include <string.h>
#include "agent/items.h"
#include "models/registry.h"

#define OBFUSCATION_STEP 16

const char *chat_finish_name(enum engine_finish f)
{
        return f == ENGINE_LENGTH ? "length" : "stop";
}

json_t *usage_json(int prompt, int cached, int completion)
{
        return json_pack("{s:i, s:i, s:i, s:{s:i, s:i}, s:{s:i, s:i, s:i, s:i}}", "prompt_tokens", prompt,
                         "completion_tokens", completion, "total_tokens", prompt + completion,
                         "prompt_tokens_details", "cached_tokens", cached, "audio_tokens", 0,
                         "completion_tokens_details", "reasoning_tokens", 0, "audio_tokens", 0,
                         "accepted_prediction_tokens", 0, "rejected_prediction_tokens", 0);
}

json_t *obfuscation_json(size_t delta_bytes)
{
        char text[ID_MAX];
        int n = OBFUSCATION_STEP - (int)(delta_bytes % OBFUSCATION_STEP);
        return json_string(id_alnum(text, "", n));
}

/* All choices share one prompt, so it counts once; what they generated adds up. */
static json_t *total_usage(const struct chat *c)
{
        int completion = 0;
        for (int i = 0; i < c->n; i++)
                completion += agent_outcome(c->choices[i].run)->usage.completion_tokens;
        const struct engine_usage *first = &agent_outcome(c->choices[0].run)->usage;
        return usage_json(first->prompt_tokens, first->cached_tokens, completion);
}

/* {"content":[...],"refusal":null}, or null when not asked for. */
static json_t *logprobs_json(const struct chat *c, const json_t *content)
{
        if (!c->logprobs)
                return json_null();
        json_t *list = content ? json_deep_copy(content) : json_array();
        return json_pack("{s:o, s:n}", "content", list, "refusal");
}

static json_t *choice_json(const struct chat *c, const struct chat_choice *choice)
{
        return json_pack("{s:i, s:{s:s, s:o, s:n, s:[]}, s:o, s:s}", "index", choice->index, "message",
                         "role", "assistant", "content", json_strn(agent_text(choice->run)), "refusal",
                         "annotations", "logprobs", logprobs_json(c, agent_logprobs(choice->run)),
                         "finish_reason", chat_finish_name(agent_outcome(choice->run)->finish));
}

json_t *chat_completion(const struct chat *c)
{
        json_t *choices = json_array();
        for (int i = 0; i < c->n; i++)
                json_array_append_new(choices, choice_json(c, &c->choices[i]));
        return json_pack("{s:s, s:s, s:I, s:s, s:o, s:o, s:s, s:s}", "id", c->id, "object", "chat.completion",
                         "created", (json_int_t)c->created, "model", c->model->id, "choices", choices,
                         "usage", total_usage(c), "service_tier", c->tier, "system_fingerprint",
                         c->fingerprint);
}

static json_t *chunk_json(const struct chat *c, json_t *choices)
{
        return json_pack("{s:s, s:s, s:I, s:s, s:s, s:s, s:o}", "id", c->id, "object",
                         "chat.completion.chunk", "created", (json_int_t)c->created, "model", c->model->id,
                         "service_tier", c->tier, "system_fingerprint", c->fingerprint, "choices", choices);
}

json_t *chat_chunk(const struct chat *c, int index, json_t *delta, const json_t *logprobs, const char *finish)
{
        struct str content = json_str(delta, "content");
        bool has_content = content.n > 0;
        json_t *lp = logprobs ? logprobs_json(c, logprobs) : json_null();
        json_t *choice = json_pack("{s:i, s:o, s:o, s:s?}", "index", index, "delta", delta, "logprobs", lp,
                                   "finish_reason", finish);
        json_t *chunk = chunk_json(c, json_pack("[o]", choice));
        if (c->include_usage)
                json_object_set_new(chunk, "usage", json_null());
        if (c->obfuscate && has_content)
                json_object_set_new(chunk, "obfuscation", obfuscation_json(content.n));
        return chunk;
}

json_t *chat_usage_chunk(const struct chat *c)
{
        json_t *chunk = chunk_json(c, json_array());
        json_object_set_new(chunk, "usage", total_usage(c));
        return chunk;
}

/* The settings that a stored completion shows beside the completion itself, with their defaults. */
static void add_settings(const struct chat *c, json_t *object)
{
        static const struct {
                const char *name, *source, *dflt; /* dflt is JSON text */
        } settings[] = {
                { "metadata", "metadata", "{}" },
                { "temperature", "temperature", "1.0" },
                { "top_p", "top_p", "1.0" },
                { "presence_penalty", "presence_penalty", "0.0" },
                { "frequency_penalty", "frequency_penalty", "0.0" },
                { "seed", "seed", "null" },
                { "input_user", "user", "null" },
                { "response_format", "response_format", "null" },
                { "tool_choice", "tool_choice", "null" },
                { "tools", "tools", "null" },
        };
        for (size_t i = 0; i < sizeof(settings) / sizeof(*settings); i++) {
                json_t *v = json_incref(json_get(c->gen.r->body, settings[i].source));
                if (!v)
                        v = json_loads(settings[i].dflt, JSON_DECODE_ANY, NULL);
                json_object_set_new(object, settings[i].name, v);
        }
        json_object_set_new(object, "request_id", json_string(c->gen.r->id));
}

json_t *chat_document(const struct chat *c, json_t *completion)
{
        json_t *object = json_copy(completion);
        add_settings(c, object);
        return json_pack("{s:o, s:O}", "object", object, "messages", c->messages);
}
