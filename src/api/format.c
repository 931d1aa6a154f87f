#include "api/format.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include "agent/items.h"

/* The format that the body asks for, NULL for none. */
static const json_t *asked(const struct req *r, enum dialect d)
{
        if (d == DIALECT_CHAT)
                return json_get(r->body, "response_format");
        return json_get(json_get(r->body, "text"), "format");
}

/* What a json_schema format says: in a member of its own in chats. */
static const json_t *spec_of(const json_t *format, enum dialect d)
{
        return d == DIALECT_CHAT ? json_get(format, "json_schema") : format;
}

static bool is_type(const json_t *format, const char *type)
{
        return str_eqc(json_str(format, "type"), type);
}

bool format_compiles(const struct req *r)
{
        const json_t *chat = asked(r, DIALECT_CHAT), *text = asked(r, DIALECT_RESPONSES);
        const json_t *format = chat ? chat : text;
        return json_array_size(json_get(r->body, "tools")) || tools_legacy(r) ||
               (format && !is_type(format, "text"));
}

/* ---- the form ---- */

static bool says_json(const json_t *messages)
{
        size_t i;
        json_t *m;
        json_array_foreach((json_t *)messages, i, m)
        {
                const char *content = json_cstr(m, "content", "");
                if (strcasestr(content, "json"))
                        return true;
        }
        return false;
}

static int need_the_word(const struct turn_req *t, enum dialect d, struct api_err *reterr)
{
        if (says_json(t->messages))
                return 0;
        if (d == DIALECT_CHAT)
                return err_invalid(reterr, NULL, "messages",
                                   "'messages' must contain the word 'json' in some form, to use "
                                   "'response_format' of type 'json_object'.");
        return err_invalid(reterr, NULL, "input",
                           "Response input messages must contain the word 'json' in some form to use "
                           "'text.format' of type 'json_object'.");
}

/* The schema with the description of the format in it, where it has none of its own. */
static const json_t *described(struct req *r, const json_t *spec)
{
        json_t *schema = json_get(spec, "schema"), *description = json_get(spec, "description");
        if (!schema || !description || json_get(schema, "description"))
                return schema;
        json_t *copy = json_keep(r->arena, json_copy(schema));
        json_object_set(copy, "description", description);
        return copy;
}

int format_read(struct req *r, enum dialect d, struct turn_req *t, struct api_err *reterr)
{
        const json_t *format = asked(r, d), *spec = spec_of(format, d);
        if (is_type(format, "json_object")) {
                t->format = TURN_FORMAT_OBJECT;
                return need_the_word(t, d, reterr);
        }
        if (!is_type(format, "json_schema"))
                return 0;
        t->schema = described(r, spec);
        t->strict = json_flag(spec, "strict", false);
        t->format = t->schema ? TURN_FORMAT_SCHEMA : TURN_FORMAT_OBJECT;
        if (!t->schema && t->strict)
                return err_invalid(reterr, "missing_required_parameter", "response_format.json_schema.schema",
                                   "Missing required parameter: 'response_format.json_schema.schema'.");
        return 0;
}

int format_error(const struct req *r, enum dialect d, const struct turn_err *why, struct api_err *reterr)
{
        bool chat = d == DIALECT_CHAT;
        return err_invalid(reterr, chat ? NULL : "invalid_json_schema",
                           chat ? "response_format" : "text.format.schema",
                           "Invalid schema for response_format '%.64s': %s",
                           json_cstr(spec_of(asked(r, d), d), "name", ""), why->msg);
}

json_t *format_echo(const json_t *text)
{
        const json_t *format = json_get(text, "format");
        if (!format)
                return json_pack("{s:s}", "type", "text");
        json_t *v = json_copy((json_t *)format);
        if (!is_type(format, "json_schema"))
                return v;
        if (!json_get(format, "description"))
                json_object_set_new(v, "description", json_null());
        if (!json_get(format, "strict"))
                json_object_set_new(v, "strict", json_false());
        return v;
}

/* ---- thought and prediction ---- */

void format_effort(const struct req *r, enum dialect d, struct turn_req *t)
{
        static const struct {
                const char *name;
                enum turn_effort effort;
        } efforts[] = {
                { "none", TURN_EFFORT_NONE }, { "minimal", TURN_EFFORT_MINIMAL },
                { "low", TURN_EFFORT_LOW },   { "medium", TURN_EFFORT_MEDIUM },
                { "high", TURN_EFFORT_HIGH }, { "xhigh", TURN_EFFORT_XHIGH },
                { "max", TURN_EFFORT_MAX },
        };
        struct str given = d == DIALECT_CHAT ? json_str(r->body, "reasoning_effort")
                                             : json_str(json_get(r->body, "reasoning"), "effort");
        for (size_t i = 0; i < sizeof(efforts) / sizeof(*efforts); i++)
                if (str_eqc(given, efforts[i].name))
                        t->effort = efforts[i].effort;
}

/* The first parameter of the body that a prediction excludes, or NULL. */
static const char *excluded(const json_t *b)
{
        if (json_int(b, "n", 1) > 1)
                return "n";
        if (json_flag(b, "logprobs", false))
                return "logprobs";
        if (json_array_size(json_get(b, "tools")))
                return "tools";
        if (json_array_size(json_get(b, "functions")))
                return "functions";
        if (json_num(b, "presence_penalty", 0) > 0)
                return "presence_penalty";
        if (json_num(b, "frequency_penalty", 0) > 0)
                return "frequency_penalty";
        return json_get(b, "max_completion_tokens") ? "max_completion_tokens" : NULL;
}

int format_prediction(struct req *r, struct turn_req *t, struct api_err *reterr)
{
        const json_t *prediction = json_get(r->body, "prediction");
        if (!prediction)
                return 0;
        const char *param = excluded(r->body);
        if (param)
                return err_invalid(reterr, "unsupported_parameter", param,
                                   "Unsupported parameter: '%s' is not supported together with 'prediction'.",
                                   param);
        json_t *text = json_keep(r->arena, item_text(json_object_get(prediction, "content")));
        if (!text)
                return err_internal(reterr, -ENOMEM, "prediction", "");
        t->prediction = json_as_str(text);
        return 0;
}
