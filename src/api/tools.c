#include "api/tools.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define TOOLS_MAX 128

/* One reading of a request's tools. */
struct tools {
        struct req *r;
        enum dialect dialect;
        bool legacy;
        struct turn_req *turn;
        struct api_err *err;
};

bool tools_legacy(const struct req *r)
{
        return json_array_size(json_get(r->body, "functions")) > 0;
}

static bool is_type(const json_t *v, const char *type)
{
        return str_eqc(json_str(v, "type"), type);
}

/* What a tool or a choice says of itself: inside a member named like its type in chats. */
static const json_t *inner(const struct tools *s, const json_t *v)
{
        if (s->dialect == DIALECT_RESPONSES || s->legacy)
                return v;
        return json_object_get(v, is_type(v, "custom") ? "custom" : "function");
}

/* The path of a tool's field: "tools[2].function.name". */
static char *field(const struct tools *s, size_t i, bool custom, const char *name, char out[SCHEMA_PARAM_MAX])
{
        if (s->legacy)
                snprintf(out, SCHEMA_PARAM_MAX, "functions[%zu].%s", i, name);
        else if (s->dialect == DIALECT_RESPONSES)
                snprintf(out, SCHEMA_PARAM_MAX, "tools[%zu].%s", i, name);
        else
                snprintf(out, SCHEMA_PARAM_MAX, "tools[%zu].%s.%s", i, custom ? "custom" : "function", name);
        return out;
}

/* ---- tools ---- */

/* Options of Responses that no tool here has. */
static int check_options(const struct tools *s, size_t i, const json_t *tool)
{
        static const char *const refused[] = { "defer_loading", "allowed_callers", "output_schema" };
        char path[SCHEMA_PARAM_MAX];
        for (size_t k = 0; k < sizeof(refused) / sizeof(*refused); k++) {
                const json_t *v = json_get(tool, refused[k]);
                if (v && !json_is_false(v))
                        return err_unsupported(s->err, field(s, i, false, refused[k], path));
        }
        return 0;
}

static int read_function(const struct tools *s, size_t i, const json_t *f, struct turn_tool *out)
{
        char path[SCHEMA_PARAM_MAX];
        json_t *parameters = json_get(f, "parameters"), *type = json_get(parameters, "type");
        if (type && !str_eqc(json_as_str(type), "object"))
                return err_invalid(
                        s->err, "invalid_function_parameters", field(s, i, false, "parameters", path),
                        "Invalid schema for function '%.64s': schema must be a JSON Schema of "
                        "'type: \"object\"', got 'type: \"%.64s\"'.",
                        json_cstr(f, "name", ""), json_is_string(type) ? json_string_value(type) : "?");
        out->parameters = json_object_size(parameters) ? parameters : NULL;
        out->strict = json_flag(f, "strict", false);
        return 0;
}

static void read_custom(const struct tools *s, const json_t *c, struct turn_tool *out)
{
        const json_t *format = json_get(c, "format");
        if (!is_type(format, "grammar"))
                return;
        const json_t *grammar = s->dialect == DIALECT_CHAT ? json_get(format, "grammar") : format;
        out->syntax = json_str(grammar, "syntax");
        out->definition = json_str(grammar, "definition");
}

static int read_tool(const struct tools *s, size_t i, const json_t *tool, struct turn_tool *out)
{
        char path[SCHEMA_PARAM_MAX];
        bool custom = is_type(tool, "custom");
        if (!s->legacy && !custom && !is_type(tool, "function")) {
                snprintf(path, sizeof(path), "tools[%zu].type", i);
                return err_invalid(s->err, "unsupported_value", path,
                                   "Unsupported value: '%s' does not support '%.64s' with this model.", path,
                                   json_cstr(tool, "type", ""));
        }
        const json_t *v = inner(s, tool);
        *out = (struct turn_tool){ .custom = custom,
                                   .name = json_str(v, "name"),
                                   .description = json_str(v, "description") };
        for (const struct turn_tool *other = s->turn->tools; other < out; other++)
                if (str_eq(other->name, out->name))
                        return err_invalid(s->err, "invalid_value", field(s, i, custom, "name", path),
                                           "Invalid '%s': the name '%.128s' is given to more than one tool.",
                                           path, json_cstr(v, "name", ""));
        if (s->dialect == DIALECT_RESPONSES && check_options(s, i, tool))
                return -1;
        if (!custom)
                return read_function(s, i, v, out);
        read_custom(s, v, out);
        return 0;
}

static int read_tools(const struct tools *s)
{
        const char *name = s->legacy ? "functions" : "tools";
        const json_t *list = json_get(s->r->body, name);
        size_t n = json_array_size(list);
        if (n > TOOLS_MAX)
                return err_invalid(s->err, "array_above_max_length", name,
                                   "Invalid '%s': array too long. Expected an array with maximum length %d, "
                                   "but got an array with length %zu instead.",
                                   name, TOOLS_MAX, n);
        struct turn_tool *tools = n ? arena_array(s->r->arena, struct turn_tool, n) : NULL;
        if (n && !tools)
                return err_internal(s->err, -ENOMEM, "tools", "");
        s->turn->tools = tools;
        for (size_t i = 0; i < n; i++)
                if (read_tool(s, i, json_array_get(list, i), &tools[i]))
                        return -1;
        s->turn->n_tools = n;
        return 0;
}

/* ---- the choice ---- */

/* Allows the tool that an object of the choice names; 400 when there is none. */
static int allow(const struct tools *s, const json_t *choice, struct str *out)
{
        const char *param = s->legacy ? "function_call" : "tool_choice";
        bool custom = is_type(choice, "custom");
        struct str name = json_str(inner(s, choice), "name");
        for (size_t i = 0; i < s->turn->n_tools; i++) {
                const struct turn_tool *t = &s->turn->tools[i];
                if (str_eq(t->name, name) && t->custom == custom) {
                        *out = name;
                        return 0;
                }
        }
        struct str shown = name.n ? name : json_str(choice, "type");
        return err_invalid(s->err, NULL, param, "Invalid value for '%s': '%.*s' not found in '%s' parameter.",
                           param, (int)(shown.n < 128 ? shown.n : 128), shown.p,
                           s->legacy ? "functions" : "tools");
}

/* {"mode": "auto" or "required", "tools": [...]} */
static int read_allowed(const struct tools *s, const json_t *choice)
{
        const json_t *spec = s->dialect == DIALECT_CHAT ? json_get(choice, "allowed_tools") : choice;
        const json_t *list = json_get(spec, "tools");
        size_t n = json_array_size(list);
        const char *param =
                s->dialect == DIALECT_CHAT ? "tool_choice.allowed_tools.tools" : "tool_choice.tools";
        if (!n)
                return err_invalid(s->err, "empty_array", param,
                                   "Invalid '%s': empty array. Expected an array with minimum length 1, but "
                                   "got an empty array instead.",
                                   param);
        struct str *names = arena_array(s->r->arena, struct str, n);
        if (!names)
                return err_internal(s->err, -ENOMEM, "tool_choice", "");
        for (size_t i = 0; i < n; i++)
                if (allow(s, json_array_get(list, i), &names[i]))
                        return -1;
        s->turn->allowed = names;
        s->turn->n_allowed = n;
        s->turn->choice = str_eqc(json_str(spec, "mode"), "required") ? TURN_REQUIRED : TURN_AUTO;
        return 0;
}

static int read_named(const struct tools *s, const json_t *choice)
{
        struct str *name = arena_make(s->r->arena, struct str);
        if (!name)
                return err_internal(s->err, -ENOMEM, "tool_choice", "");
        if (allow(s, choice, name))
                return -1;
        s->turn->allowed = name;
        s->turn->n_allowed = 1;
        s->turn->choice = TURN_REQUIRED;
        return 0;
}

static int read_choice(const struct tools *s)
{
        const char *param = s->legacy ? "function_call" : "tool_choice";
        const json_t *choice = json_get(s->r->body, param);
        struct str word = json_as_str(choice);
        s->turn->choice = str_eqc(word, "none")       ? TURN_NONE
                          : str_eqc(word, "required") ? TURN_REQUIRED
                                                      : TURN_AUTO;
        bool asks = json_is_object(choice) || s->turn->choice == TURN_REQUIRED;
        if (asks && !s->turn->n_tools)
                return err_invalid(s->err, NULL, param,
                                   "Invalid value for '%s': '%s' is only allowed when '%s' are specified.",
                                   param, param, s->legacy ? "functions" : "tools");
        if (!json_is_object(choice))
                return 0;
        return is_type(choice, "allowed_tools") ? read_allowed(s, choice) : read_named(s, choice);
}

static int check_combinations(const struct tools *s)
{
        const json_t *b = s->r->body;
        if (s->legacy && json_array_size(json_get(b, "tools")))
                return err_invalid(s->err, "invalid_parameter_combination", "functions",
                                   "'functions' and 'tools' cannot be given at the same time.");
        if (s->legacy ? json_get(b, "tool_choice") != NULL : json_get(b, "function_call") != NULL)
                return err_invalid(s->err, NULL, s->legacy ? "tool_choice" : "function_call",
                                   "Invalid value for '%s': it is only allowed when '%s' are specified.",
                                   s->legacy ? "tool_choice" : "function_call",
                                   s->legacy ? "tools" : "functions");
        bool idle = s->dialect == DIALECT_CHAT && !json_array_size(json_get(b, "tools"));
        if (idle && json_get(b, "parallel_tool_calls"))
                return err_invalid(s->err, NULL, "parallel_tool_calls",
                                   "Invalid value for 'parallel_tool_calls': 'parallel_tool_calls' is only "
                                   "allowed when 'tools' are specified.");
        return 0;
}

int tools_read(struct req *r, enum dialect d, struct turn_req *t, struct api_err *reterr)
{
        struct tools s = { r, d, tools_legacy(r), t, reterr };
        t->parallel = !s.legacy && json_flag(r->body, "parallel_tool_calls", true);
        if (check_combinations(&s) || read_tools(&s))
                return -1;
        return read_choice(&s);
}

/* ---- errors and echoes ---- */

int tools_error(const struct req *r, enum dialect d, const struct turn_req *t, const struct turn_err *why,
                struct api_err *reterr)
{
        struct tools s = { .dialect = d, .legacy = tools_legacy(r) };
        const struct turn_tool *tool = &t->tools[why->tool];
        char path[SCHEMA_PARAM_MAX];
        if (tool->custom) {
                const char *name = d == DIALECT_CHAT ? "format.grammar.definition" : "format.definition";
                return err_invalid(reterr, "invalid_grammar", field(&s, why->tool, true, name, path),
                                   "Invalid grammar for custom tool '%.*s': %s%s%s", STR_ARG(tool->name),
                                   why->msg, *why->path ? " at " : "", why->path);
        }
        return err_invalid(reterr, "invalid_function_parameters",
                           field(&s, why->tool, false, "parameters", path),
                           "Invalid schema for function '%.*s': %s", STR_ARG(tool->name), why->msg);
}

/* One tool with what was left out. */
static json_t *echo_tool(const json_t *tool)
{
        json_t *v = json_copy((json_t *)tool);
        if (is_type(tool, "custom")) {
                if (!json_get(tool, "format"))
                        json_object_set_new(v, "format", json_pack("{s:s}", "type", "text"));
                return v;
        }
        if (!json_get(tool, "description"))
                json_object_set_new(v, "description", json_null());
        if (!json_get(tool, "parameters"))
                json_object_set_new(v, "parameters", json_null());
        if (!json_get(tool, "strict"))
                json_object_set_new(v, "strict", json_false());
        return v;
}

json_t *tools_echo(const json_t *tools)
{
        json_t *list = json_array(), *tool;
        size_t i;
        json_array_foreach((json_t *)tools, i, tool) json_array_append_new(list, echo_tool(tool));
        return list;
}
