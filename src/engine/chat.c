/* Conversations to text and tokens, by the chat template of the model's file or one of ours. */
#include "engine/chat.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/mem.h"
#include "engine/model.h"
#include "jinja/jinja.h"

/* ChatML with tools as the Hermes and Qwen families write them, for files that have no template. */
static const char chatml[] =
        "{%- macro turn(role, text) %}{{ '<|im_start|>' ~ role ~ '\\n' ~ text ~ '<|im_end|>\\n' }}{% "
        "endmacro %}"
        "{%- set system = messages[0].content or '' if messages and messages[0].role == 'system' else none %}"
        "{%- if tools %}"
        "{%- set listed %}{% for tool in tools %}{{ tool | tojson ~ '\\n' }}{% endfor %}{% endset %}"
        "{{- turn('system', (system ~ '\\n\\n' if system else '') ~ '# Tools\\n\\nThese functions can be "
        "called:\\n"
        "<tools>\\n' ~ listed ~ '</tools>\\n\\nTo call one, write its name and arguments as "
        "JSON:\\n<tool_call>\\n"
        "{\"name\": ..., \"arguments\": {...}}\\n</tool_call>') }}"
        "{%- elif system is not none %}{{- turn('system', system) }}{%- endif %}"
        "{%- for m in messages %}"
        "{%- set text = m.content or '' %}"
        "{%- if m.role == 'user' or (m.role == 'system' and not loop.first) %}{{- turn(m.role, text) }}"
        "{%- elif m.role == 'assistant' %}"
        "{%- set calls %}{% for call in m.tool_calls or [] %}"
        "{{ '\\n' if text or not loop.first else '' }}<tool_call>{{ '\\n{\"name\": ' ~ call.function.name | "
        "tojson ~ "
        "', \"arguments\": ' ~ (call.function.arguments if call.function.arguments is string else "
        "call.function.arguments | tojson) ~ '}\\n' }}</tool_call>{% endfor %}{% endset %}"
        "{{- turn('assistant', text ~ calls) }}"
        "{%- elif m.role == 'tool' %}"
        "{{- '<|im_start|>user' if loop.first or loop.previtem.role != 'tool' else '' }}"
        "{{- '\\n<tool_response>\\n' ~ text ~ '\\n</tool_response>' }}"
        "{{- '<|im_end|>\\n' if loop.last or loop.nextitem.role != 'tool' else '' }}"
        "{%- elif m.role != 'system' %}{{- raise_exception('the role ' ~ m.role ~ ' is not known') }}"
        "{%- endif %}"
        "{%- endfor %}"
        "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}";

struct template
{
        struct jinja *compiled; /* NULL: there is none, or `fault` says why it does not compile */
        char *fault;
        bool developer; /* it knows messages of that role; else they become system messages */
};

struct chat {
        struct template plain, with_tools;
        json_t *trusted; /* how the vocabulary's special tokens are written: bos_token, ... */
        struct str bos;  /* of a vocabulary whose texts start with it, else empty */
};

/* ---- what the file says ----------------------------------------------------------------------------- */

static bool exists(const struct template *t)
{
        return t->compiled || t->fault;
}

static int compile(struct template *t, struct str source)
{
        struct jinja_err err;
        int rc = jinja_compile(source, &t->compiled, &err);
        t->developer = memmem(source.p, source.n, "developer", 9) != NULL;
        if (!rc || rc == -ENOMEM)
                return rc;
        char text[sizeof(err.msg) + 80];
        snprintf(text, sizeof(text), "the model's chat template, line %d: %s", err.line, err.msg);
        t->fault = mem_strdup(text);
        return t->fault ? 0 : -ENOMEM;
}

static bool has_control(const struct tokenizer *tok, struct str spelling)
{
        int32_t id = tokenizer_find(tok, spelling);
        return id >= 0 && tokenizer_is_control(tok, id);
}

static int compile_all(struct chat *c, const struct gguf *file, const struct tokenizer *tok)
{
        struct str source;
        int rc = 0;
        if (!gguf_get_str(file, "tokenizer.chat_template", &source) && source.n)
                rc = compile(&c->plain, source);
        if (!rc && !gguf_get_str(file, "tokenizer.chat_template.tool_use", &source) && source.n)
                rc = compile(&c->with_tools, source);
        bool markers = has_control(tok, STR("<|im_start|>")) && has_control(tok, STR("<|im_end|>"));
        if (!rc && !exists(&c->plain) && !exists(&c->with_tools) && markers)
                rc = compile(&c->plain, str_c(chatml));
        return rc;
}

/* Special tokens by the names that templates use. Those that the file does not name stay undefined, but for
 * the two that every template counts on. */
static int name_tokens(struct chat *c, const struct gguf *file, const struct tokenizer *tok)
{
        static const struct {
                const char *key, *name;
                bool always;
        } names[] = {
                { "tokenizer.ggml.bos_token_id", "bos_token", true },
                { "tokenizer.ggml.eos_token_id", "eos_token", true },
                { "tokenizer.ggml.unknown_token_id", "unk_token", false },
                { "tokenizer.ggml.padding_token_id", "pad_token", false },
                { "tokenizer.ggml.seperator_token_id", "sep_token", false }, /* spelled so in files */
                { "tokenizer.ggml.cls_token_id", "cls_token", false },
                { "tokenizer.ggml.mask_token_id", "mask_token", false },
        };
        c->trusted = json_object();
        int rc = c->trusted ? 0 : -ENOMEM;
        for (size_t i = 0; !rc && i < sizeof(names) / sizeof(names[0]); i++) {
                uint64_t id;
                bool named = !gguf_get_u64(file, names[i].key, &id) && id < tokenizer_size(tok);
                struct str text = named ? tokenizer_piece(tok, (int32_t)id) : STR("");
                if (str_is_utf8(text) && (named || names[i].always))
                        rc = json_put(c->trusted, names[i].name, json_strn(text));
        }
        return rc;
}

int chat_new(const struct gguf *file, const struct tokenizer *tok, struct chat **ret)
{
        struct chat *c = mem_calloc(1, sizeof(*c));
        int rc = c ? compile_all(c, file, tok) : -ENOMEM;
        *ret = NULL;
        if (!rc && (exists(&c->plain) || exists(&c->with_tools))) {
                rc = name_tokens(c, file, tok);
                if (tokenizer_adds_bos(tok) && tokenizer_bos(tok) >= 0)
                        c->bos = tokenizer_piece(tok, tokenizer_bos(tok));
                if (!rc) {
                        *ret = c;
                        return 0;
                }
        }
        chat_free(c);
        return rc;
}

static void release(struct template *t)
{
        jinja_free(t->compiled);
        mem_free(t->fault);
}

void chat_free(struct chat *c)
{
        if (!c)
                return;
        release(&c->plain);
        release(&c->with_tools);
        json_decref(c->trusted);
        mem_free(c);
}

/* ---- rendering -------------------------------------------------------------------------------------- */

/* A reference to a value that stays unchanged, for an object that takes ownership. */
static json_t *borrowed(const json_t *v)
{
        return json_incref((json_t *)(uintptr_t)v);
}

/* The messages with "system" for "developer"; new where one of them is, else the same. */
static json_t *without_developer(const json_t *messages)
{
        json_t *out = NULL;
        for (size_t i = 0; i < json_array_size(messages); i++) {
                const json_t *m = json_array_get(messages, i);
                if (!str_eqc(json_str(m, "role"), "developer"))
                        continue;
                if (!out && !(out = json_copy((json_t *)(uintptr_t)messages)))
                        return NULL;
                json_t *copy = json_copy((json_t *)(uintptr_t)m);
                int rc = copy ? json_put(copy, "role", json_string("system")) : -ENOMEM;
                if (rc)
                        json_decref(copy);
                if (rc || json_array_set_new(out, i, copy)) {
                        json_decref(out);
                        return NULL;
                }
        }
        return out ? out : borrowed(messages);
}

/* The variables of the template, in the shape that the Transformers library gives them. */
static json_t *variables(const struct template *t, const struct engine_chat *chat)
{
        json_t *v = json_object();
        bool tools = json_array_size(chat->tools) > 0;
        if (!v || (chat->vars && json_object_update(v, (json_t *)(uintptr_t)chat->vars)) ||
            json_put(v, "messages",
                     t->developer ? borrowed(chat->messages) : without_developer(chat->messages)) ||
            json_put(v, "tools", tools ? borrowed(chat->tools) : json_null()) ||
            (!json_object_get(v, "documents") && json_put(v, "documents", json_null())) ||
            json_put(v, "add_generation_prompt", json_boolean(chat->generate))) {
                json_decref(v);
                return NULL;
        }
        return v;
}

static void explain(char *err, size_t errn, int rc, const struct jinja_err *why)
{
        if (rc == -ENOMEM)
                snprintf(err, errn, "out of memory");
        else if (why->raised)
                snprintf(err, errn, "%s", why->msg);
        else
                snprintf(err, errn, "the model's chat template, line %d: %s", why->line, why->msg);
}

static int render(const struct engine_model *m, const struct engine_chat *chat, struct jinja_output *out,
                  char *err, size_t errn)
{
        const struct chat *c = m->chat;
        char unwanted[1];
        err = errn ? err : unwanted;
        errn = errn ? errn : sizeof(unwanted);
        err[0] = '\0';
        if (!c) {
                snprintf(err, errn, "the model has no chat template");
                return -ENOTSUP;
        }
        bool tools = json_array_size(chat->tools) > 0;
        const struct template *t =
                (tools && exists(&c->with_tools)) || !exists(&c->plain) ? &c->with_tools : &c->plain;
        if (!t->compiled) {
                snprintf(err, errn, "%s", t->fault);
                return -EINVAL;
        }
        struct jinja_err why = { 0 };
        json_t *data = variables(t, chat);
        int rc = data ? jinja_render(t->compiled, data, c->trusted, NULL, NULL, NULL, out, &why) : -ENOMEM;
        json_decref(data);
        if (rc)
                explain(err, errn, rc, &why);
        return rc;
}

/* The spans that are data. NULL when memory is out. */
static struct tok_range *data_ranges(const struct jinja_output *out, size_t *ret_n)
{
        struct tok_range *ranges = mem_calloc(out->spans.n + 1, sizeof(*ranges));
        *ret_n = 0;
        for (size_t i = 0; ranges && i < out->spans.n; i++) {
                const struct jinja_span *s = &out->spans.p[i];
                if (s->data)
                        ranges[(*ret_n)++] = (struct tok_range){ s->start, s->start + s->n };
        }
        return ranges;
}

/* Whether the template itself has put the token in front that starts every text. */
static bool starts_with(const struct jinja_output *out, struct str bos)
{
        return bos.n && out->spans.n && !out->spans.p[0].data && out->spans.p[0].n >= bos.n &&
               !memcmp(out->text.p, bos.p, bos.n);
}

int engine_chat_tokenize(const struct engine_model *m, const struct engine_chat *chat,
                         struct engine_tokens *out, char *err, size_t errn)
{
        struct jinja_output text = { 0 };
        struct tok_range *data = NULL;
        struct tok_ids ids = { out->p, out->n, out->cap };
        size_t n;
        int rc = render(m, chat, &text, err, errn);
        if (!rc && !(data = data_ranges(&text, &n)))
                rc = -ENOMEM;
        if (!rc)
                rc = tokenizer_encode_guarded(
                        m->tok, buf_str(&text.text), data, n,
                        TOK_ENCODE_SPECIAL | (starts_with(&text, m->chat->bos) ? 0 : TOK_ENCODE_BOS), &ids);
        *out = (struct engine_tokens){ ids.p, ids.n, ids.cap };
        mem_free(data);
        jinja_output_release(&text);
        return rc;
}

int engine_chat_render(const struct engine_model *m, const struct engine_chat *chat, char **ret, char *err,
                       size_t errn)
{
        struct jinja_output text = { 0 };
        int rc = render(m, chat, &text, err, errn);
        *ret = NULL;
        if (!rc && !(*ret = mem_strndup(text.text.n ? text.text.p : "", text.text.n)))
                rc = -ENOMEM;
        jinja_output_release(&text);
        return rc;
}
