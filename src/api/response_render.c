#include "api/response.h"

#include <string.h>
#include "agent/items.h"
#include "api/api.h"
#include "api/format.h"
#include "api/params.h"
#include "base/clock.h"
#include "base/mem.h"
#include "models/registry.h"

static const char *final_status(const struct response *p)
{
        switch (response_outcome(p).finish) {
        case ENGINE_STOP:
                return "completed";
        case ENGINE_LENGTH:
                return "incomplete";
        case ENGINE_CANCELLED:
                return "cancelled"; /* the client left; nobody is sent this */
        default:
                return "failed";
        }
}

json_t *response_item(struct response *p, const struct agent_item *item)
{
        struct req *r = p->gen.r;
        char *sealed = NULL;
        if (item->kind == AGENT_REASONING && p->sealed && item->text.n &&
            account_seal(r->api->account, str_c(req_project(r)), buf_str(&item->text), &sealed))
                return NULL;
        json_t *v = item_ended(item, &(struct item_form){ .summary = p->summary, .sealed = sealed });
        mem_free(sealed);
        return v;
}

json_t *response_usage_json(const struct engine_usage *u, int reasoning)
{
        return json_pack("{s:i, s:{s:i, s:i}, s:i, s:{s:i}, s:i}", "input_tokens", u->prompt_tokens,
                         "input_tokens_details", "cached_tokens", u->cached_tokens, "cache_write_tokens", 0,
                         "output_tokens", u->completion_tokens, "output_tokens_details", "reasoning_tokens",
                         reasoning, "total_tokens", u->prompt_tokens + u->completion_tokens);
}

/* The request's value as it was given, or the default (JSON text). */
static void echo(json_t *object, const json_t *body, const char *name, const char *dflt)
{
        json_t *v = json_get(body, name);
        json_object_set_new(object, name, v ? json_incref(v) : json_loads(dflt, JSON_DECODE_ANY, NULL));
}

/* {"format": {"type":"text"}, "verbosity": "medium"}, with what the request says. */
static json_t *text_settings(const json_t *body)
{
        const json_t *text = json_get(body, "text");
        return json_pack("{s:o, s:s}", "format", format_echo(text), "verbosity",
                         json_cstr(text, "verbosity", "medium"));
}

static json_t *reasoning_settings(const json_t *body)
{
        const json_t *given = json_get(body, "reasoning");
        return json_pack("{s:O?, s:O?}", "effort", json_get(given, "effort"), "summary",
                         json_get(given, "summary"));
}

static void add_settings(const struct response *p, json_t *o)
{
        static const struct {
                const char *name, *dflt;
        } echoed[] = {
                { "instructions", "null" },
                { "max_output_tokens", "null" },
                { "max_tool_calls", "null" },
                { "parallel_tool_calls", "true" },
                { "previous_response_id", "null" },
                { "prompt_cache_key", "null" },
                { "prompt_cache_retention", "null" },
                { "safety_identifier", "null" },
                { "store", "true" },
                { "temperature", "1.0" },
                { "tool_choice", "\"auto\"" },
                { "top_logprobs", "0" },
                { "top_p", "1.0" },
                { "truncation", "\"disabled\"" },
                { "user", "null" },
                { "metadata", "{}" },
                { "presence_penalty", "0.0" },
                { "frequency_penalty", "0.0" },
        };
        for (size_t i = 0; i < sizeof(echoed) / sizeof(*echoed); i++)
                echo(o, p->gen.r->body, echoed[i].name, echoed[i].dflt);
        json_object_set_new(o, "background", json_boolean(p->background));
        const char *conversation = response_conversation(p->gen.r->body);
        json_object_set_new(o, "conversation",
                            conversation ? json_pack("{s:s}", "id", conversation) : json_null());
        json_object_set_new(o, "prompt", json_null());
        json_object_set_new(o, "tools", tools_echo(json_get(p->gen.r->body, "tools")));
        json_object_set_new(o, "text", text_settings(p->gen.r->body));
        json_object_set_new(o, "reasoning", reasoning_settings(p->gen.r->body));
}

static json_t *error_json(const char *code, const char *message)
{
        if (!message)
                message = "The server had an error while processing your request. Sorry about that!";
        return json_pack("{s:s, s:s}", "code", code ? code : "server_error", "message", message);
}

void response_set_state(json_t *object, const char *status, json_t *output, const char *code,
                        const char *message)
{
        bool failed = !strcmp(status, "failed");
        json_object_set_new(object, "status", json_string(status));
        json_object_set(object, "output", output);
        json_object_set_new(object, "error", failed ? error_json(code, message) : json_null());
        json_object_set_new(object, "usage", json_null());
}

json_t *response_document(const struct response *p, json_t *object)
{
        return json_pack("{s:O, s:O}", "object", object, "input", p->input);
}

json_t *response_object(const struct response *p, const char *status, bool output)
{
        struct agent_outcome out = response_outcome(p);
        const char *final = status ? status : final_status(p);
        bool failed = !strcmp(final, "failed"), whole = !strcmp(final, "completed");
        bool incomplete = !strcmp(final, "incomplete");
        json_t *o = json_pack("{s:s, s:s, s:I, s:s, s:s, s:o}", "id", p->id, "object", "response",
                              "created_at", (json_int_t)p->created, "status", final, "model", p->model->id,
                              "output", output ? json_copy(p->output) : json_array());
        json_object_set_new(o, "completed_at", whole ? json_integer(clock_unix()) : json_null());
        json_object_set_new(o, "error", failed ? error_json(NULL, NULL) : json_null());
        json_object_set_new(o, "incomplete_details",
                            incomplete ? json_pack("{s:s}", "reason", "max_output_tokens") : json_null());
        json_object_set_new(o, "usage",
                            !status && (whole || incomplete)
                                    ? response_usage_json(&out.usage, out.reasoning_tokens)
                                    : json_null());
        json_object_set_new(o, "service_tier", json_string(status ? "auto" : params_tier(p->gen.r)));
        add_settings(p, o);
        return o;
}
