#include "models/prompt.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/buf.h"
#include "base/mem.h"
#include "models/registry.h"

#define TEXT_MAX ((size_t)64 << 20)
#define SHORT_ID 9     /* letters and digits of a call's id where a template insists on that */
#define TAIL_TOKENS 24 /* enough for an opening of reasoning, however it is split */

/* ---- tools -------------------------------------------------------------------------------------- */

/* A custom tool is shown as a function of one string. */
static json_t *custom_parameters(void)
{
        return json_pack("{s:s, s:{s:{s:s}}, s:[s]}", "type", "object", "properties", "input", "type",
                         "string", "required", "input");
}

static void describe_syntax(const struct turn_tool *t, struct buf *out)
{
        if (!t->custom || !t->syntax.n)
                return;
        if (out->n)
                buf_addc(out, '\n');
        buf_addf(out, "The input %s:\n%.*s",
                 str_eqc(t->syntax, "regex") ? "matches this regular expression"
                                             : "follows this Lark grammar",
                 STR_ARG(t->definition));
}

static json_t *tool_json(const struct turn_tool *t)
{
        struct buf description;
        buf_init(&description, TEXT_MAX);
        buf_add(&description, t->description.p, t->description.n);
        describe_syntax(t, &description);
        json_t *parameters = t->custom       ? custom_parameters()
                             : t->parameters ? json_incref((json_t *)t->parameters)
                                             : json_pack("{s:s, s:{}}", "type", "object", "properties");
        json_t *tool = json_pack("{s:s, s:{s:o, s:o, s:o}}", "type", "function", "function", "name",
                                 json_strn(t->name), "description", json_strn(buf_str(&description)),
                                 "parameters", parameters);
        if (buf_error(&description)) {
                json_decref(tool);
                tool = NULL;
        }
        buf_release(&description);
        return tool;
}

static json_t *tools_json(const struct turn_req *req)
{
        json_t *list = json_array();
        int rc = list ? 0 : -1;
        for (size_t i = 0; !rc && i < req->n_tools; i++)
                rc = json_array_append_new(list, tool_json(&req->tools[i]));
        if (!rc)
                return list;
        json_decref(list);
        return NULL;
}

/* ---- calls as text ------------------------------------------------------------------------------ */

static const char *or_empty(const char *s)
{
        return s ? s : "";
}

/* A call as the model would write it. */
static void write_call(const struct format *f, const char *name, const char *args, struct buf *out)
{
        switch (f->shape) {
        case FORMAT_JSON:
                buf_addf(out, "%s%s{\"name\": \"%s\", \"%s\": %s}%s%s", f->bare ? "" : f->open,
                         or_empty(f->before), name, f->args, args, or_empty(f->after), or_empty(f->close));
                break;
        case FORMAT_LIST:
                buf_addf(out, "%s[{\"name\": \"%s\", \"%s\": %s}]%s", f->open, name, f->args, args,
                         or_empty(f->close));
                break;
        case FORMAT_NAMED:
                buf_addf(out, "%s%s%s%s%s%s%s", or_empty(f->section), f->open, name, f->sep, args,
                         or_empty(f->close), or_empty(f->section_end));
                break;
        case FORMAT_CHANNELS:
                buf_addf(out, "%scommentary to=functions.%s %s%s%s", f->open, name, f->sep, args,
                         f->section_end);
                break;
        }
}

/* What a template that knows no tools leaves to be said. */
static void tell_tools(const json_t *tools, const struct format *f, struct buf *out)
{
        size_t i;
        json_t *tool;
        buf_adds(out, "You can call these functions:\n<tools>\n");
        json_array_foreach((json_t *)tools, i, tool)
        {
                if (json_write(json_object_get(tool, "function"), out))
                        return;
                buf_addc(out, '\n');
        }
        buf_adds(out, "</tools>\nTo call a function, write\n");
        write_call(f, "NAME", "{...}", out);
        buf_adds(out, "\nwith its arguments as a JSON object.");
}

/* ---- messages ----------------------------------------------------------------------------------- */

struct rendering {
        const struct turn_req *req;
        const struct idiom *d;
        bool folded;
        json_t *messages; /* the result */
};

/* The id that stands for another one: always the same, and of the form that the template wants. */
static json_t *short_id(struct str id)
{
        static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        char out[SHORT_ID];
        uint64_t hash = str_hash(id);
        for (int i = 0; i < SHORT_ID; i++, hash /= 62)
                out[i] = digits[hash % 62];
        return json_strn((struct str){ out, SHORT_ID });
}

static json_t *call_id(const struct idiom *d, struct str id)
{
        return d->short_ids ? short_id(id) : json_strn(id);
}

/* The arguments of a call as an object: JSON text is parsed. What is no JSON object stays what it is. */
static json_t *arguments_of(const json_t *call)
{
        const json_t *function = json_get(call, "function"), *custom = json_get(call, "custom");
        if (custom)
                return json_pack("{s:o}", "input", json_strn(json_str(custom, "input")));
        json_t *given = json_object_get(function, "arguments");
        if (!json_is_string(given))
                return given ? json_incref(given) : json_object();
        struct json_fault fault;
        json_t *parsed = json_parse(json_as_str(given), 64, &fault);
        if (json_is_object(parsed))
                return parsed;
        json_decref(parsed);
        return json_as_str(given).n ? json_incref(given) : json_object();
}

static struct str name_of(const json_t *call)
{
        const json_t *custom = json_get(call, "custom");
        return json_str(custom ? custom : json_get(call, "function"), "name");
}

/* Arguments as text in the way that templates write JSON: with spaces. */
static json_t *arguments_text(json_t *arguments)
{
        if (json_is_string(arguments))
                return arguments;
        char *text = json_dumps(arguments, 0);
        json_t *v = text ? json_string(text) : NULL;
        mem_free(text);
        json_decref(arguments);
        return v;
}

static json_t *call_json(const struct idiom *d, const json_t *call)
{
        json_t *arguments = arguments_of(call);
        if (d->text_args)
                arguments = arguments_text(arguments);
        return json_pack("{s:o, s:s, s:{s:o, s:o}}", "id", call_id(d, json_str(call, "id")), "type",
                         "function", "function", "name", json_strn(name_of(call)), "arguments", arguments);
}

/* The name of the tool that a result comes from: of the last call before it that has its id. */
static struct str caller_of(const json_t *messages, size_t before, struct str id)
{
        while (before-- > 0) {
                const json_t *calls = json_get(json_array_get(messages, before), "tool_calls");
                for (size_t i = json_array_size(calls); i-- > 0;)
                        if (str_eq(json_str(json_array_get(calls, i), "id"), id))
                                return name_of(json_array_get(calls, i));
        }
        return (struct str){ 0 };
}

static int add_message(struct rendering *r, json_t *message)
{
        return json_array_append_new(r->messages, message) ? -ENOMEM : 0;
}

static json_t *text_message(const char *role, struct str text)
{
        return json_pack("{s:s, s:o}", "role", role, "content", json_strn(text));
}

static int add_result(struct rendering *r, const json_t *m, size_t index)
{
        const struct idiom *d = r->d;
        struct str id = json_str(m, "tool_call_id"), name = caller_of(r->req->messages, index, id);
        struct str content = json_str(m, "content");
        if (d->remembers)
                return add_message(r, json_pack("{s:s, s:o, s:o, s:o}", "role", "tool", "tool_call_id",
                                                call_id(d, id), "name", json_strn(name), "content",
                                                json_strn(content)));
        struct buf text;
        buf_init(&text, TEXT_MAX);
        buf_addf(&text, "<tool_response>\n%.*s\n</tool_response>", STR_ARG(content));
        int rc = buf_error(&text) ? -ENOMEM : add_message(r, text_message("user", buf_str(&text)));
        buf_release(&text);
        return rc;
}

/* A message with calls, for a template that does not know them: they stand in its text. */
static int add_calls_as_text(struct rendering *r, const json_t *m)
{
        struct buf text;
        struct str content = json_str(m, "content");
        size_t i;
        json_t *call;
        buf_init(&text, TEXT_MAX);
        buf_add(&text, content.p, content.n);
        json_array_foreach(json_object_get(m, "tool_calls"), i, call)
        {
                json_t *args = arguments_text(arguments_of(call)), *name = json_strn(name_of(call));
                if (text.n)
                        buf_addc(&text, '\n');
                write_call(r->d->format, json_string_value(name) ? json_string_value(name) : "",
                           args ? json_string_value(args) : "{}", &text);
                json_decref(args);
                json_decref(name);
        }
        int rc = buf_error(&text) ? -ENOMEM : add_message(r, text_message("assistant", buf_str(&text)));
        buf_release(&text);
        return rc;
}

static int add_assistant(struct rendering *r, const json_t *m)
{
        const json_t *calls = json_get(m, "tool_calls");
        struct str reasoning = json_str(m, "reasoning_content"), content = json_str(m, "content");
        if (calls && !r->d->remembers)
                return add_calls_as_text(r, m);
        bool apart = calls && content.n && r->d->text_apart;
        json_t *out = json_pack("{s:s, s:O*}", "role", "assistant", "content",
                                apart ? NULL : json_object_get(m, "content"));
        int rc = out ? 0 : -ENOMEM;
        if (!rc && apart)
                rc = add_message(r, text_message("assistant", content));
        if (!rc && !json_object_get(out, "content"))
                rc = json_put(out, "content", json_null());
        if (!rc && reasoning.n)
                rc = json_put(out, "reasoning_content", json_strn(reasoning));
        /* Harmony's template takes it by another name, and not beside the text of a message with calls. */
        if (!rc && reasoning.n && r->d->format->shape == FORMAT_CHANNELS && !(calls && content.n))
                rc = json_put(out, "thinking", json_strn(reasoning));
        if (!rc && calls)
                rc = json_put(out, "tool_calls", json_array());
        for (size_t i = 0; !rc && i < json_array_size(calls); i++)
                rc = json_array_append_new(json_object_get(out, "tool_calls"),
                                           call_json(r->d, json_array_get(calls, i)))
                             ? -ENOMEM
                             : 0;
        if (!rc)
                return add_message(r, out);
        json_decref(out);
        return rc;
}

/* ---- several calls, where the template takes one to a message ---- */

static bool is_result(const json_t *m)
{
        return str_eqc(json_str(m, "role"), "tool");
}

static bool goes_apart(const struct idiom *d, const json_t *m)
{
        return d->one_call && json_array_size(json_get(m, "tool_calls")) > 1;
}

/* A message for each call, and behind it its result: such templates take a result for the last call's. */
static int add_calls_apart(struct rendering *r, const json_t *m, size_t index)
{
        const json_t *all = r->req->messages;
        size_t i;
        json_t *call;
        int rc = 0;
        json_array_foreach(json_object_get(m, "tool_calls"), i, call)
        {
                json_t *one =
                        json_pack("{s:s, s:O?, s:O*, s:[O]}", "role", "assistant", "content",
                                  i ? NULL : json_object_get(m, "content"), "reasoning_content",
                                  i ? NULL : json_object_get(m, "reasoning_content"), "tool_calls", call);
                if (!rc)
                        rc = one ? add_assistant(r, one) : -ENOMEM;
                json_decref(one);
                for (size_t k = index + 1; !rc && is_result(json_array_get(all, k)); k++)
                        if (str_eq(json_str(json_array_get(all, k), "tool_call_id"), json_str(call, "id")))
                                rc = add_result(r, json_array_get(all, k), k);
        }
        return rc;
}

/* Whether add_calls_apart() has told the result at `index`. */
static bool told_with_call(const struct rendering *r, size_t index)
{
        const json_t *all = r->req->messages;
        struct str id = json_str(json_array_get(all, index), "tool_call_id");
        size_t at = index, i;
        json_t *call;
        while (at && is_result(json_array_get(all, at)))
                at--;
        if (!goes_apart(r->d, json_array_get(all, at)))
                return false;
        json_array_foreach(json_object_get(json_array_get(all, at), "tool_calls"), i, call)
        {
                if (str_eq(json_str(call, "id"), id))
                        return true;
        }
        return false;
}

/* ---- system messages ---------------------------------------------------------------------------- */

static bool is_system(const json_t *message)
{
        struct str role = json_str(message, "role");
        return str_eqc(role, "system") || str_eqc(role, "developer");
}

static void add_paragraph(struct buf *text, struct str more)
{
        if (text->n && more.n)
                buf_adds(text, "\n\n");
        buf_add(text, more.p, more.n);
}

/* What the template will not say by itself: the tools, and the form of the answer. */
static int tell_rest(const struct turn_req *req, const struct idiom *d, const json_t *tools, struct buf *out)
{
        if (tools && !d->tells) {
                if (out->n)
                        buf_adds(out, "\n\n");
                tell_tools(tools, d->format, out);
        }
        if (req->format == TURN_FORMAT_TEXT || d->vars & FORMAT_VAR_SCHEMA)
                return buf_error(out);
        if (req->format == TURN_FORMAT_OBJECT) {
                add_paragraph(out, STR("Answer with a JSON object."));
                return buf_error(out);
        }
        add_paragraph(out, STR("Answer in JSON that follows this schema: "));
        return json_write(req->schema, out);
}

/* Puts text before what the first user says. */
static int fold_into_user(struct rendering *r, struct str text, size_t from)
{
        if (!text.n)
                return 0;
        for (size_t i = from; i < json_array_size(r->messages); i++) {
                json_t *m = json_array_get(r->messages, i);
                if (!str_eqc(json_str(m, "role"), "user"))
                        continue;
                struct buf joined;
                buf_init(&joined, TEXT_MAX);
                buf_add(&joined, text.p, text.n);
                add_paragraph(&joined, json_str(m, "content"));
                json_t *whole = buf_error(&joined) ? NULL : text_message("user", buf_str(&joined));
                buf_release(&joined);
                return json_array_set_new(r->messages, i, whole) ? -ENOMEM : 0;
        }
        return add_message(r, text_message("user", text));
}

static int add_one(struct rendering *r, const json_t *m, size_t index)
{
        if (is_result(m))
                return told_with_call(r, index) ? 0 : add_result(r, m, index);
        if (goes_apart(r->d, m))
                return add_calls_apart(r, m, index);
        if (str_eqc(json_str(m, "role"), "assistant"))
                return add_assistant(r, m);
        if (is_system(m) && !r->d->late)
                return add_message(r, text_message("user", json_str(m, "content")));
        return json_array_append(r->messages, (json_t *)m) ? -ENOMEM : 0;
}

/* All messages; the system messages at the beginning become one, with what else is to be told. */
static int add_messages(struct rendering *r, const json_t *tools)
{
        const json_t *all = r->req->messages;
        size_t n = json_array_size(all), lead = 0;
        struct buf system;
        buf_init(&system, TEXT_MAX);
        for (; lead < n && is_system(json_array_get(all, lead)); lead++)
                add_paragraph(&system, json_str(json_array_get(all, lead), "content"));
        int rc = tell_rest(r->req, r->d, tools, &system);
        bool folds = r->folded || !r->d->system;
        if (!rc && system.n && !folds)
                rc = add_message(
                        r, text_message(lead ? json_cstr(json_array_get(all, 0), "role", "system") : "system",
                                        buf_str(&system)));
        for (size_t i = lead; !rc && i < n; i++)
                rc = add_one(r, json_array_get(all, i), i);
        if (!rc && folds)
                rc = fold_into_user(r, buf_str(&system), 0);
        buf_release(&system);
        return rc;
}

/* Later system messages become the user's, and neighbours of one role one message. Where that does not make
 * user and assistant take turns, calls and results aside, the other says nothing in between. */
static int alternate(struct rendering *r)
{
        json_t *old = r->messages, *m, *last = NULL;
        const char *spoke = "assistant";
        size_t i;
        int rc = 0;
        r->messages = json_array();
        json_array_foreach(old, i, m)
        {
                if (rc)
                        break;
                const char *role = is_system(m) ? "user" : json_cstr(m, "role", "");
                struct str content = json_str(m, "content");
                bool plain = !json_get(m, "tool_calls") && strcmp(role, "tool") != 0;
                if (plain && last && strcmp(json_cstr(last, "role", ""), role) == 0) {
                        struct buf joined;
                        buf_init(&joined, TEXT_MAX);
                        add_paragraph(&joined, json_str(last, "content"));
                        add_paragraph(&joined, content);
                        rc = buf_error(&joined) ? -ENOMEM
                                                : json_put(last, "content", json_strn(buf_str(&joined)));
                        buf_release(&joined);
                        continue;
                }
                if (plain && strcmp(spoke, role) == 0)
                        rc = add_message(r, text_message(*role == 'u' ? "assistant" : "user", STR("")));
                json_t *copy = is_system(m) ? text_message(role, content) : json_copy(m);
                if (add_message(r, copy))
                        rc = -ENOMEM;
                last = plain ? copy : NULL;
                spoke = plain ? (*role == 'u' ? "user" : "assistant") : spoke;
        }
        json_decref(old);
        return rc;
}

/* ---- variables ---------------------------------------------------------------------------------- */

static const char *effort_name(enum turn_effort effort)
{
        switch (effort) {
        case TURN_EFFORT_DEFAULT:
        case TURN_EFFORT_MEDIUM:
                return "medium";
        case TURN_EFFORT_HIGH:
        case TURN_EFFORT_XHIGH:
        case TURN_EFFORT_MAX:
                return "high";
        default:
                return "low";
        }
}

static int put_schema(const struct turn_req *req, json_t *vars)
{
        if (req->format == TURN_FORMAT_SCHEMA)
                return json_put(vars, "response_schema", json_incref((json_t *)req->schema));
        return req->format == TURN_FORMAT_OBJECT
                       ? json_put(vars, "response_schema", json_pack("{s:s}", "type", "object"))
                       : 0;
}

static json_t *variables_of(const struct turn_req *req, const struct idiom *d)
{
        static const char *const choices[] = {
                [TURN_AUTO] = "auto", [TURN_NONE] = "none", [TURN_REQUIRED] = "required"
        };
        json_t *vars = json_object();
        bool given = req->effort != TURN_EFFORT_DEFAULT, thinks = req->effort != TURN_EFFORT_NONE;
        int rc = vars ? 0 : -ENOMEM;
        if (!rc && given && d->vars & FORMAT_VAR_THINKING)
                rc = json_put(vars, "enable_thinking", json_boolean(thinks));
        if (!rc && given && d->vars & FORMAT_VAR_THINK)
                rc = json_put(vars, "thinking", json_boolean(thinks));
        if (!rc && given && d->vars & FORMAT_VAR_EFFORT)
                rc = json_put(vars, "reasoning_effort", json_string(effort_name(req->effort)));
        if (!rc && d->vars & FORMAT_VAR_SCHEMA)
                rc = put_schema(req, vars);
        if (!rc && req->n_tools && d->vars & FORMAT_VAR_CHOICE)
                rc = json_put(vars, "tool_choice", json_string(choices[req->choice]));
        if (!rc && req->n_tools && d->vars & FORMAT_VAR_PARALLEL)
                rc = json_put(vars, "parallel_tool_calls", json_boolean(req->parallel));
        if (!rc)
                return vars;
        json_decref(vars);
        return NULL;
}

/* ---- the whole ---------------------------------------------------------------------------------- */

void prompt_release(struct prompt *p)
{
        json_decref(p->messages);
        json_decref(p->tools);
        json_decref(p->vars);
        *p = (struct prompt){ 0 };
}

int prompt_make(const struct turn_req *req, const struct idiom *d, bool folded, struct prompt *ret)
{
        struct rendering r = { req, d, folded, json_array() };
        json_t *tools = req->n_tools ? tools_json(req) : NULL;
        int rc = r.messages && (tools || !req->n_tools) ? add_messages(&r, tools) : -ENOMEM;
        if (!rc && folded)
                rc = alternate(&r);
        *ret = (struct prompt){ .messages = r.messages, .tools = tools, .vars = variables_of(req, d) };
        if (!rc && !ret->vars)
                rc = -ENOMEM;
        if (!d->tells) {
                json_decref(ret->tools);
                ret->tools = NULL;
        }
        if (rc)
                prompt_release(ret);
        return rc;
}

static int render(const struct turn_req *req, const struct idiom *d, bool folded, struct engine_tokens *out,
                  char *err, size_t errn)
{
        struct prompt p;
        int rc = prompt_make(req, d, folded, &p);
        if (rc)
                return rc;
        struct engine_chat chat = {
                .messages = p.messages, .tools = p.tools, .vars = p.vars, .generate = true
        };
        rc = engine_chat_tokenize(req->model->engine, &chat, out, err, errn);
        prompt_release(&p);
        return rc;
}

static bool ends_with(struct str text, struct str end)
{
        return end.n && text.n >= end.n && memcmp(text.p + text.n - end.n, end.p, end.n) == 0;
}

/* Whether the prompt has opened the reasoning, or closed it. */
static int where_it_ends(const struct turn_req *req, const struct idiom *d, const struct engine_tokens *t,
                         enum reader_think *ret)
{
        struct buf tail;
        buf_init(&tail, TEXT_MAX);
        for (size_t i = t->n > TAIL_TOKENS ? t->n - TAIL_TOKENS : 0; i < t->n; i++) {
                struct str name = engine_token_name(req->model->engine, t->p[i]),
                           piece = engine_token_piece(req->model->engine, t->p[i]);
                if (name.n)
                        buf_addf(&tail, "%c%.*s%c", FORMAT_CONTROL, STR_ARG(name), FORMAT_CONTROL_END);
                else
                        buf_add(&tail, piece.p, piece.n);
        }
        struct str text = buf_str(&tail);
        while (text.n && strchr(" \n\t", text.p[text.n - 1]))
                text.n--;
        *ret = ends_with(text, d->think)       ? READER_THINKS
               : ends_with(text, d->think_end) ? READER_ANSWERS
                                               : READER_MAY_THINK;
        int rc = buf_error(&tail);
        buf_release(&tail);
        return rc;
}

/* Whether it can be the length of the messages that takes a template over its bounds: a token has at least a
 * byte, so what has fewer than the context has tokens would fit, and the template itself is at fault. */
static bool is_much(const struct turn_req *req)
{
        return json_dumpb(req->messages, NULL, 0, JSON_COMPACT) > (size_t)req->model->n_ctx;
}

int prompt_tokens(const struct turn_req *req, const struct idiom *d, struct engine_tokens *out,
                  enum reader_think *ret_think, struct turn_err *err)
{
        char unread[sizeof(err->msg)];
        size_t before = out->n;
        *ret_think = READER_ANSWERS;
        int rc = render(req, d, false, out, err->msg, sizeof(err->msg));
        if (rc == -EINVAL) { /* many templates want roles to alternate */
                out->n = before;
                if (!render(req, d, true, out, unread, sizeof(unread))) {
                        rc = 0;
                        err->msg[0] = '\0';
                }
        }
        if (rc == -E2BIG && is_much(req))
                err->msg[0] = '\0'; /* no token was counted, but they are too many */
        else if (rc == -EINVAL || rc == -E2BIG)
                err->field = TURN_ERR_MESSAGES;
        if (!rc && d->think.n)
                rc = where_it_ends(req, d, out, ret_think);
        return rc;
}
