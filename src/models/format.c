/* The formats, and which of them a model writes. */
#include "models/format.h"

#include <errno.h>
#include <string.h>
#include "base/arena.h"
#include "base/json.h"
#include "base/mem.h"
#include "engine/engine.h"

#define ARENA_MAX ((size_t)64 << 10)

static const struct format formats[] = {
        { /* Hermes, Qwen 2.5 and 3, SmolLM 3; also what models are taught that have no format of their own */
          .name = "hermes",
          .shape = FORMAT_JSON,
          .open = "<tool_call>",
          .close = "</tool_call>",
          .before = "\n",
          .after = "\n",
          .between = "\n",
          .args = "arguments",
          .think = "<think>",
          .think_end = "</think>" },
        { /* Llama 3.1 to 3.3: a call is an object that is the whole message, or follows a control token */
          .name = "llama3",
          .shape = FORMAT_JSON,
          .open = "<|python_tag|>",
          .between = "; ",
          .args = "parameters",
          .bare = true },
        { /* Mistral up to its tokenizer's version 7 */
          .name = "mistral",
          .shape = FORMAT_LIST,
          .open = "[TOOL_CALLS]",
          .between = ", ",
          .args = "arguments",
          .think = "[THINK]",
          .think_end = "[/THINK]" },
        { /* Mistral from version 11 on */
          .name = "mistral-args",
          .shape = FORMAT_NAMED,
          .open = "[TOOL_CALLS]",
          .sep = "[ARGS]",
          .think = "[THINK]",
          .think_end = "[/THINK]" },
        { /* gpt-oss */
          .name = "harmony",
          .shape = FORMAT_CHANNELS,
          .section = "<|start|>",
          .section_end = "<|call|>",
          .open = "<|channel|>",
          .sep = "<|message|>",
          .close = "<|end|>" },
        { /* DeepSeek V3 and R1 */
          .name = "deepseek",
          .shape = FORMAT_NAMED,
          .section = "<｜tool▁calls▁begin｜>",
          .section_end = "<｜tool▁calls▁end｜>",
          .open = "<｜tool▁call▁begin｜>function<｜tool▁sep｜>",
          .sep = "\n```json\n",
          .close = "\n```<｜tool▁call▁end｜>",
          .between = "\n",
          .think = "<think>",
          .think_end = "</think>" },
        { /* DeepSeek V3.1 */
          .name = "deepseek-v3.1",
          .shape = FORMAT_NAMED,
          .section = "<｜tool▁calls▁begin｜>",
          .section_end = "<｜tool▁calls▁end｜>",
          .open = "<｜tool▁call▁begin｜>",
          .sep = "<｜tool▁sep｜>",
          .close = "<｜tool▁call▁end｜>",
          .think = "<think>",
          .think_end = "</think>" },
        { /* Phi-4-mini */
          .name = "phi4",
          .shape = FORMAT_LIST,
          .open = "<|tool_call|>",
          .close = "<|/tool_call|>",
          .between = ", ",
          .args = "arguments" },
};

/* How to know a format by the text of a chat template: the first row whose strings are all there (`has`) and
 * not there (`lacks`). */
static const struct {
        const char *format, *has[2], *lacks;
} detect_rules[] = {
        { "harmony", { "<|channel|>", "<|message|>" }, NULL },
        { "mistral-args", { "[TOOL_CALLS]", "[ARGS]" }, NULL },
        { "mistral", { "[TOOL_CALLS]" }, NULL },
        { "deepseek", { "tool▁call▁begin", "```json" }, NULL },
        { "deepseek-v3.1", { "tool▁call▁begin" }, NULL },
        { "hermes", { "<tool_call>" }, "<function=" },
        { "phi4", { "<|tool_call|>" }, NULL },
        { "llama3", { "<|start_header_id|>", "\"parameters\"" }, NULL },
};

static const struct {
        const char *name;
        unsigned var;
} variables[] = {
        { "enable_thinking", FORMAT_VAR_THINKING },
        { "reasoning_effort", FORMAT_VAR_EFFORT },
        { "response_schema", FORMAT_VAR_SCHEMA },
        { "tool_choice", FORMAT_VAR_CHOICE },
        { "parallel_tool_calls", FORMAT_VAR_PARALLEL },
        { "thinking is", FORMAT_VAR_THINK },
        { "if thinking", FORMAT_VAR_THINK },
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

const struct format *format_at(size_t i)
{
        return i < COUNT(formats) ? &formats[i] : NULL;
}

const struct format *format_find(struct str name)
{
        for (size_t i = 0; i < COUNT(formats); i++)
                if (str_eqc(name, formats[i].name))
                        return &formats[i];
        return NULL;
}

/* ---- markers ------------------------------------------------------------------------------------ */

/* Length of the control token that the text begins with; 0: none. */
static size_t control_length(const struct format_vocab *vocab, struct str text)
{
        char last = text.p[0] == '<' ? '>' : text.p[0] == '[' ? ']' : 0;
        const char *end = last ? memchr(text.p, last, text.n) : NULL;
        size_t n = end ? (size_t)(end - text.p) + 1 : 0;
        return n && vocab->control(vocab->ctx, (struct str){ text.p, n }) >= 0 ? n : 0;
}

/* A marker in the form of the stream: its control tokens between FORMAT_CONTROL and FORMAT_CONTROL_END. */
static int make_marker(struct arena *a, const struct format_vocab *vocab, const char *spelling,
                       struct str *ret)
{
        struct str s = str_c(spelling);
        char *out = arena_alloc(a, 3 * s.n + 1);
        if (!out)
                return -ENOMEM;
        *ret = (struct str){ out, 0 };
        for (size_t i = 0; i < s.n;) {
                size_t n = control_length(vocab, (struct str){ s.p + i, s.n - i });
                if (n)
                        out[ret->n++] = FORMAT_CONTROL;
                memcpy(out + ret->n, s.p + i, n ? n : 1);
                ret->n += n ? n : 1;
                if (n)
                        out[ret->n++] = FORMAT_CONTROL_END;
                i += n ? n : 1;
        }
        return 0;
}

/* The markers of the idiom's format; its reasoning is between `think` and `think_end`. */
static int make_markers(struct idiom *d, const struct format_vocab *vocab, const char *think,
                        const char *think_end)
{
        const struct format *f = d->format;
        const struct {
                const char *spelling;
                struct str *ret;
        } all[] = {
                { f ? f->section : "", &d->section }, { f ? f->section_end : "", &d->section_end },
                { f ? f->open : "", &d->open },       { f ? f->close : "", &d->close },
                { f ? f->sep : "", &d->sep },         { think, &d->think },
                { think_end, &d->think_end },
        };
        d->arena = arena_new(ARENA_MAX);
        if (!d->arena)
                return -ENOMEM;
        for (size_t i = 0; i < COUNT(all); i++)
                if (make_marker(d->arena, vocab, all[i].spelling, all[i].ret))
                        return -ENOMEM;
        d->reasons = d->think.n || (f && f->shape == FORMAT_CHANNELS);
        return 0;
}

struct idiom *idiom_new(const struct format *f, const struct format_vocab *vocab)
{
        struct idiom *d = mem_calloc(1, sizeof(*d));
        if (!d)
                return NULL;
        *d = (struct idiom){ .format = f, .tells = true, .remembers = true, .system = true, .late = true };
        if (make_markers(d, vocab, f->think, f->think_end)) {
                idiom_free(d);
                return NULL;
        }
        return d;
}

void idiom_free(struct idiom *d)
{
        if (!d)
                return;
        arena_free(d->arena);
        mem_free(d);
}

/* ---- detection ---------------------------------------------------------------------------------- */

static bool has(struct str text, const char *part)
{
        return text.n && memmem(text.p, text.n, part, strlen(part)) != NULL;
}

static const struct format *format_of_template(struct str template)
{
        for (size_t i = 0; i < COUNT(detect_rules); i++) {
                bool all = has(template, detect_rules[i].has[0]);
                if (detect_rules[i].has[1])
                        all &= has(template, detect_rules[i].has[1]);
                if (detect_rules[i].lacks)
                        all &= !has(template, detect_rules[i].lacks);
                if (all)
                        return format_find(str_c(detect_rules[i].format));
        }
        return NULL;
}

/* Whether the model's rendering of a conversation has the text in it. Consumes messages and tools; a template
 * that refuses them has not. */
static bool renders(const struct engine_model *m, json_t *messages, json_t *tools, const char *text)
{
        struct engine_chat chat = { .messages = messages, .tools = tools, .generate = true };
        struct engine_tokens tokens = { 0 };
        bool found = false;
        if (messages && !engine_chat_tokenize(m, &chat, &tokens, NULL, 0)) {
                size_t n = 0;
                char *plain = engine_detokenize(m, tokens.p, tokens.n, &n);
                found = plain && has((struct str){ plain, n }, text);
                mem_free(plain);
        }
        engine_tokens_release(&tokens);
        json_decref(messages);
        json_decref(tools);
        return found;
}

static bool takes_system(const struct engine_model *m)
{
        return renders(m,
                       json_pack("[{s:s, s:s}, {s:s, s:s}]", "role", "system", "content", "qxsystem", "role",
                                 "user", "content", "hello"),
                       NULL, "qxsystem");
}

/* Some templates pass over system messages that are not the first. */
static bool shows_late_system(const struct engine_model *m)
{
        return renders(m,
                       json_pack("[{s:s, s:s}, {s:s, s:s}, {s:s, s:s}, {s:s, s:s}]", "role", "user",
                                 "content", "hello", "role", "assistant", "content", "hi", "role", "system",
                                 "content", "qxlate", "role", "user", "content", "thanks"),
                       NULL, "qxlate");
}

static bool tells_of_tools(const struct engine_model *m)
{
        json_t *tools = json_pack("[{s:s, s:{s:s, s:s, s:{s:s, s:{s:{s:s}}}}}]", "type", "function",
                                  "function", "name", "qxtool", "description", "try", "parameters", "type",
                                  "object", "properties", "qxarg", "type", "string");
        return renders(m, json_pack("[{s:s, s:s}]", "role", "user", "content", "hello"), tools, "qxtool");
}

/* A conversation with a call and its result; the arguments as they are given (consumed). */
static json_t *call_and_result(json_t *arguments)
{
        return json_pack("[{s:s, s:s}, {s:s, s:n, s:[{s:s, s:s, s:{s:s, s:o}}]},"
                         " {s:s, s:s, s:s, s:s}, {s:s, s:s}, {s:s, s:s}]",
                         "role", "user", "content", "hello", "role", "assistant", "content", "tool_calls",
                         "id", "qxcall123", "type", "function", "function", "name", "qxtool", "arguments",
                         arguments, "role", "tool", "tool_call_id", "qxcall123", "name", "qxtool", "content",
                         "qxresult", "role", "assistant", "content", "good", "role", "user", "content",
                         "thanks");
}

/* A message with two calls, and their results. */
static json_t *two_calls(bool text_args)
{
        static const char *const values[] = { "qxfirst", "qxsecond" }, *const ids[] = { "qxcall123",
                                                                                        "qxcall456" };
        json_t *calls = json_array(), *results[2];
        for (int i = 0; i < 2; i++) {
                json_t *arguments = text_args ? json_sprintf("{\"qxarg\": \"%s\"}", values[i])
                                              : json_pack("{s:s}", "qxarg", values[i]);
                json_array_append_new(calls,
                                      json_pack("{s:s, s:s, s:{s:s, s:o}}", "id", ids[i], "type", "function",
                                                "function", "name", "qxtool", "arguments", arguments));
                results[i] = json_pack("{s:s, s:s, s:s, s:s}", "role", "tool", "tool_call_id", ids[i], "name",
                                       "qxtool", "content", "qxresult");
        }
        return json_pack("[{s:s, s:s}, {s:s, s:n, s:o}, o, o]", "role", "user", "content", "hello", "role",
                         "assistant", "content", "tool_calls", calls, results[0], results[1]);
}

/* A call with its result, which the model speaks of. */
static json_t *words_and_call(const char *beside, const char *before)
{
        json_t *said = before ? json_pack("{s:s, s:s}", "role", "assistant", "content", before) : NULL;
        return json_pack("[{s:s, s:s}, o*, {s:s, s:s?, s:[{s:s, s:s, s:{s:s, s:s}}]}, {s:s, s:s, s:s, s:s},"
                         " {s:s, s:s}, {s:s, s:s}]",
                         "role", "user", "content", "hello", said, "role", "assistant", "content", beside,
                         "tool_calls", "id", "qxcall123", "type", "function", "function", "name", "qxtool",
                         "arguments", "{}", "role", "tool", "tool_call_id", "qxcall123", "name", "qxtool",
                         "content", "qxresult", "role", "assistant", "content", "good", "role", "user",
                         "content", "thanks");
}

/* Whether the template shows calls and results, and how it wants them. */
static void try_calls(const struct engine_model *m, struct idiom *d)
{
        d->remembers =
                renders(m, call_and_result(json_pack("{s:s}", "qxarg", "qxvalue")), NULL, "\"qxarg\"") &&
                renders(m, call_and_result(json_pack("{s:s}", "qxarg", "qxvalue")), NULL, "qxresult");
        if (!d->remembers) {
                static const char text[] = "{\"qxarg\": \"qxvalue\"}";
                d->text_args = renders(m, call_and_result(json_string(text)), NULL, text) &&
                               renders(m, call_and_result(json_string(text)), NULL, "qxresult");
                d->remembers = d->text_args;
        }
        d->one_call = d->remembers && !renders(m, two_calls(d->text_args), NULL, "qxsecond");
        d->text_apart = d->remembers && !renders(m, words_and_call("qxsaid", NULL), NULL, "qxsaid") &&
                        renders(m, words_and_call(NULL, "qxsaid"), NULL, "qxsaid");
}

static int32_t control_id(void *ctx, struct str spelling)
{
        return engine_token_find(ctx, spelling);
}

struct format_vocab format_vocab_of(const struct engine_model *m)
{
        return (struct format_vocab){ control_id, (void *)m };
}

/* The markers of reasoning that the template speaks of. */
static void find_think(struct str template, const char **ret_open, const char **ret_close)
{
        static const char *const pairs[][2] = { { "<think>", "</think>" }, { "[THINK]", "[/THINK]" } };
        *ret_open = *ret_close = "";
        for (size_t i = 0; i < COUNT(pairs); i++) {
                if (has(template, pairs[i][0]) || has(template, pairs[i][1])) {
                        *ret_open = pairs[i][0];
                        *ret_close = pairs[i][1];
                        return;
                }
        }
}

static void find_variables(struct str template, struct idiom *d)
{
        for (size_t i = 0; i < COUNT(variables); i++)
                if (has(template, variables[i].name))
                        d->vars |= variables[i].var;
}

int idiom_detect(const struct engine_model *m, const char *name, struct idiom **ret)
{
        const struct engine_info *info = engine_model_info(m);
        struct str template = str_c(info->template);
        struct format_vocab vocab = format_vocab_of(m);
        const char *think, *think_end;
        const struct format *given = name && *name ? format_find(str_c(name)) : NULL;
        if (name && *name && !given)
                return -EINVAL;
        if (!info->has_chat)
                return -ENOTSUP;
        struct idiom *d = mem_calloc(1, sizeof(*d));
        if (!d)
                return -ENOMEM;
        d->tells = tells_of_tools(m);
        d->format = given ? given : template.n ? format_of_template(template) : &formats[0];
        if (!d->format) { /* the template's way with tools, if it has any, is not known: ours is used */
                d->format = &formats[0];
                d->tells = false;
        }
        d->trained = d->tells && template.n;
        d->system = takes_system(m);
        d->late = shows_late_system(m);
        if (d->tells)
                try_calls(m, d);
        d->short_ids = d->format->open && strcmp(d->format->open, "[TOOL_CALLS]") == 0;
        find_variables(template, d);
        find_think(template, &think, &think_end);
        if (make_markers(d, &vocab, think, think_end)) {
                idiom_free(d);
                return -ENOMEM;
        }
        *ret = d;
        return 0;
}
