#include "api/chat.h"

#include <string.h>
#include "models/registry.h"

#define OBFUSCATION_STEP 16

const char *chat_finish_name(const struct chat *c, const struct agent_outcome *out)
{
        if (out->finish == ENGINE_LENGTH)
                return "length";
        if (out->calls)
                return c->legacy ? "function_call" : "tool_calls";
        return "stop";
}

json_t *usage_json(const struct engine_usage *u, int reasoning_tokens)
{
        return json_pack("{s:i, s:i, s:i, s:{s:i, s:i}, s:{s:i, s:i, s:i, s:i}}", "prompt_tokens",
                         u->prompt_tokens, "completion_tokens", u->completion_tokens, "total_tokens",
                         u->prompt_tokens + u->completion_tokens, "prompt_tokens_details", "cached_tokens",
                         u->cached_tokens, "audio_tokens", 0, "completion_tokens_details", "reasoning_tokens",
                         reasoning_tokens, "audio_tokens", 0, "accepted_prediction_tokens",
                         u->accepted_prediction, "rejected_prediction_tokens", u->rejected_prediction);
}

json_t *obfuscation_json(size_t delta_bytes)
{
        char text[ID_MAX];
        int n = OBFUSCATION_STEP - (int)(delta_bytes % OBFUSCATION_STEP);
        return json_string(id_alnum(text, "", n));
}

/* All choices share one prompt, so it counts once; what they generated adds up. */
int chat_total(const struct chat *c, struct engine_usage *ret)
{
        struct engine_usage sum = agent_outcome(c->choices[0].run)->usage;
        int reasoning = 0;
        sum.completion_tokens = sum.accepted_prediction = sum.rejected_prediction = 0;
        for (int i = 0; i < c->n; i++) {
                const struct agent_outcome *out = agent_outcome(c->choices[i].run);
                sum.completion_tokens += out->usage.completion_tokens;
                sum.accepted_prediction += out->usage.accepted_prediction;
                sum.rejected_prediction += out->usage.rejected_prediction;
                reasoning += out->reasoning_tokens;
        }
        *ret = sum;
        return reasoning;
}

static json_t *total_usage(const struct chat *c)
{
        struct engine_usage sum;
        int reasoning = chat_total(c, &sum);
        return usage_json(&sum, reasoning);
}

void usage_count(struct usage *ret, const struct model *m, const char *tier, const struct engine_usage *u,
                 int reasoning_tokens)
{
        ret->what = USAGE_COMPLETIONS;
        ret->model = m->id;
        ret->tier = tier;
        ret->n[USAGE_INPUT] = u->prompt_tokens;
        ret->n[USAGE_CACHED] = u->cached_tokens;
        ret->n[USAGE_OUTPUT] = u->completion_tokens;
        ret->n[USAGE_REASONING] = reasoning_tokens;
}

/* {"content":[...],"refusal":null}, or null when not asked for. */
static json_t *logprobs_json(const struct chat *c, const json_t *content)
{
        if (!c->logprobs)
                return json_null();
        return json_pack("{s:O?, s:n}", "content", content, "refusal");
}

/* ---- messages ---- */

static json_t *logprobs_of(const struct agent_run *run)
{
        json_t *all = NULL;
        for (size_t i = 0; i < agent_items(run); i++) {
                json_t *some = agent_item(run, i)->logprobs;
                if (some && !all)
                        all = json_array();
                json_array_extend(all, some);
        }
        return all;
}

/* {"name":...,"arguments":...} or {"name":...,"input":...}; name NULL: only the text. */
static json_t *spoken(const struct agent_item *item, const char *name, struct str text)
{
        return json_pack("{s:s*, s:o}", "name", name, item->custom ? "input" : "arguments", json_strn(text));
}

static json_t *call_json(const struct agent_item *item)
{
        const char *type = item->custom ? "custom" : "function";
        return json_pack("{s:s, s:s, s:o}", "id", item->call_id, "type", type, type,
                         spoken(item, item->name, buf_str(&item->text)));
}

static void add_calls(const struct chat *c, const struct agent_run *run, json_t *message)
{
        json_t *calls = json_array();
        for (size_t i = 0; i < agent_items(run); i++) {
                const struct agent_item *item = agent_item(run, i);
                if (item->kind != AGENT_CALL)
                        continue;
                if (c->legacy)
                        json_object_set_new(message, "function_call",
                                            spoken(item, item->name, buf_str(&item->text)));
                else
                        json_array_append_new(calls, call_json(item));
        }
        if (!c->legacy)
                json_object_set(message, "tool_calls", calls);
        json_decref(calls);
}

static json_t *message_json(const struct chat *c, const struct agent_run *run)
{
        json_t *reasoning = agent_said(run, AGENT_REASONING), *content = agent_said(run, AGENT_MESSAGE);
        if (!content && !agent_outcome(run)->calls)
                content = json_string("");
        json_t *message = json_pack("{s:s, s:o?, s:n, s:[]}", "role", "assistant", "content", content,
                                    "refusal", "annotations");
        if (reasoning)
                json_object_set_new(message, "reasoning_content", reasoning);
        if (agent_outcome(run)->calls)
                add_calls(c, run, message);
        return message;
}

static json_t *choice_json(const struct chat *c, const struct chat_choice *choice)
{
        json_t *logprobs = logprobs_of(choice->run);
        json_t *v = json_pack("{s:i, s:o, s:o, s:s}", "index", choice->index, "message",
                              message_json(c, choice->run), "logprobs", logprobs_json(c, logprobs),
                              "finish_reason", chat_finish_name(c, agent_outcome(choice->run)));
        json_decref(logprobs);
        return v;
}

/* ---- completions and chunks ---- */

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

json_t *chat_role_delta(const struct chat *c)
{
        return json_pack("{s:s, s:s?, s:n}", "role", "assistant", "content", c->may_call ? NULL : "",
                         "refusal");
}

/* The first delta of a call names it, later ones only add to its text: clients join what they get. */
static json_t *call_delta(const struct chat *c, const struct agent_event *ev)
{
        const struct agent_item *item = ev->item;
        bool begins = ev->kind == AGENT_ITEM_BEGIN;
        const char *type = item->custom ? "custom" : "function";
        json_t *text = spoken(item, begins ? item->name : NULL, begins ? STR("") : ev->text);
        if (c->legacy)
                return json_pack("{s:o}", "function_call", text);
        return json_pack("{s:[{s:i, s:s*, s:s*, s:o}]}", "tool_calls", "index", item->call, "id",
                         begins ? item->call_id : NULL, "type", begins ? type : NULL, type, text);
}

json_t *chat_delta(const struct chat *c, const struct agent_event *ev)
{
        bool delta = ev->kind == AGENT_DELTA;
        if (!delta && ev->kind != AGENT_ITEM_BEGIN)
                return NULL;
        if (ev->item->kind == AGENT_CALL)
                return call_delta(c, ev);
        if (!delta)
                return NULL;
        const char *key = ev->item->kind == AGENT_MESSAGE ? "content" : "reasoning_content";
        return json_pack("{s:o}", key, json_strn(ev->text));
}

json_t *chat_chunk(const struct chat *c, int index, json_t *delta, struct str text, const json_t *logprobs,
                   const char *finish)
{
        json_t *lp = logprobs ? logprobs_json(c, logprobs) : json_null();
        json_t *choice = json_pack("{s:i, s:o, s:o, s:s?}", "index", index, "delta", delta, "logprobs", lp,
                                   "finish_reason", finish);
        json_t *chunk = chunk_json(c, json_pack("[o]", choice));
        if (c->include_usage)
                json_object_set_new(chunk, "usage", json_null());
        if (c->obfuscate && text.n)
                json_object_set_new(chunk, "obfuscation", obfuscation_json(text.n));
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
