#include "models/guide.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/buf.h"
#include "base/mem.h"
#include "base/vec.h"
#include "grammar/cache.h"
#include "grammar/grammar.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define SEQ(g, ...) \
        grammar_seq((g)->b, (const gnode[]){ __VA_ARGS__ }, COUNT(((const gnode[]){ __VA_ARGS__ })))
#define ALT(g, ...) \
        grammar_alt((g)->b, (const gnode[]){ __VA_ARGS__ }, COUNT(((const gnode[]){ __VA_ARGS__ })))

struct guide {
        struct grammar_builder *b;
        const struct turn_req *req;
        const struct idiom *d;
        const struct format_vocab *vocab;
        enum reader_think think;
        const bool *loose; /* tools whose schema is left out: it need not hold, and cannot be enforced */
        struct turn_err *err;
};

static gnode word(struct guide *g, const char *text)
{
        return grammar_literal(g->b, str_c(text));
}

static gnode optional(struct guide *g, gnode part)
{
        return grammar_repeat(g->b, part, 0, 1);
}

/* ---- markers and free text ---------------------------------------------------------------------- */

static bool is_control(struct str marker)
{
        return marker.n && marker.p[0] == FORMAT_CONTROL;
}

/* A marker in the form of the stream. */
static gnode marker(struct guide *g, struct str m)
{
        gnode out = grammar_empty(g->b);
        while (m.n) {
                const char *p = memchr(m.p, is_control(m) ? FORMAT_CONTROL_END : FORMAT_CONTROL, m.n);
                size_t n = p ? (size_t)(p - m.p) : m.n;
                if (is_control(m)) {
                        struct str name = { m.p + 1, n - 1 };
                        out = SEQ(g, out, grammar_token(g->b, g->vocab->control(g->vocab->ctx, name)));
                        n++;
                } else {
                        out = SEQ(g, out, grammar_literal(g->b, (struct str){ m.p, n }));
                }
                m = (struct str){ m.p + n, m.n - n };
        }
        return out;
}

/* Any text in which none of the markers stands. Those that are control tokens cannot. */
static gnode text_without(struct guide *g, const struct str *markers, size_t n)
{
        struct str spelled[8];
        size_t n_spelled = 0;
        for (size_t i = 0; i < n && n_spelled < COUNT(spelled); i++) {
                const char *control =
                        markers[i].n ? memchr(markers[i].p, FORMAT_CONTROL, markers[i].n) : NULL;
                size_t len = control ? (size_t)(control - markers[i].p) : markers[i].n;
                if (len)
                        spelled[n_spelled++] = (struct str){ markers[i].p, len };
        }
        return grammar_text_without(g->b, spelled, n_spelled);
}

/* Text that does not begin as a bare call does: {"name", {"type" or {"parameters". */
static gnode text_but_calls(struct guide *g)
{
        static const char pattern[] = "\\s*([^\\s{](?s:.)*|\\{\\s*([^\\s\"](?s:.)*|\"("
                                      "[^ntp](?s:.)*"
                                      "|n([^a](?s:.)*|a([^m](?s:.)*|m([^e](?s:.)*|e([^\"](?s:.)*)?)?)?)?"
                                      "|t([^y](?s:.)*|y([^p](?s:.)*|p([^e](?s:.)*|e([^\"](?s:.)*)?)?)?)?"
                                      "|p([^a](?s:.)*|a([^r](?s:.)*|r([^a](?s:.)*)?)?)?"
                                      ")?)?)?";
        struct grammar_err unread;
        return grammar_regex(g->b, STR(pattern), &unread);
}

/* ---- schemas ------------------------------------------------------------------------------------ */

/* Notes what is wrong with a part of the request. */
static gnode failed(struct guide *g, gnode node, const struct grammar_err *why, enum turn_err_field field,
                    size_t tool)
{
        if (node >= 0 || node == -ENOMEM || node == -ECANCELED || g->err->field != TURN_ERR_OTHER)
                return node;
        g->err->field = field;
        g->err->tool = tool;
        snprintf(g->err->msg, sizeof(g->err->msg), "%s", why->msg);
        snprintf(g->err->path, sizeof(g->err->path), "%s", why->path);
        return node;
}

static gnode answer(struct guide *g, const struct str *without, size_t n)
{
        const struct turn_req *req = g->req;
        struct grammar_err why = { 0 };
        gnode node;
        switch (req->format) {
        case TURN_FORMAT_OBJECT:
                return grammar_json_object(g->b, 0);
        case TURN_FORMAT_SCHEMA:
                node = grammar_schema(g->b, req->schema, req->strict ? GRAMMAR_STRICT : 0, &why);
                return failed(g, node, &why, TURN_ERR_SCHEMA, 0);
        default:
                return text_without(g, without, n);
        }
}

/* Arguments of a function. */
static gnode arguments(struct guide *g, size_t index)
{
        const struct turn_tool *t = &g->req->tools[index];
        struct grammar_err why = { 0 };
        if (!t->parameters)
                return word(g, "{}");
        if (g->loose[index])
                return grammar_json_object(g->b, 0);
        gnode node = grammar_schema(g->b, t->parameters, t->strict ? GRAMMAR_STRICT : 0, &why);
        return failed(g, node, &why, TURN_ERR_TOOL, index);
}

/* What a custom tool takes; any text, if nothing else is said. */
static gnode input(struct guide *g, size_t index)
{
        const struct turn_tool *t = &g->req->tools[index];
        struct grammar_err why = { 0 };
        if (!t->syntax.n)
                return text_without(g, NULL, 0);
        gnode node = str_eqc(t->syntax, "regex") ? grammar_regex(g->b, t->definition, &why)
                                                 : grammar_lark(g->b, t->definition, &why);
        return failed(g, node, &why, TURN_ERR_TOOL, index);
}

/* ---- calls -------------------------------------------------------------------------------------- */

static bool may_call(const struct turn_req *req, size_t index)
{
        if (req->choice == TURN_NONE)
                return false;
        for (size_t i = 0; req->allowed && i < req->n_allowed; i++)
                if (str_eq(req->allowed[i], req->tools[index].name))
                        return true;
        return !req->allowed;
}

/* What a call gives: arguments, or the input of a custom tool in an object, as the model is told of it. */
static gnode given(struct guide *g, size_t index)
{
        if (!g->req->tools[index].custom)
                return arguments(g, index);
        return SEQ(g, word(g, "{\"input\":"), optional(g, word(g, " ")),
                   grammar_json_string(g->b, input(g, index)), word(g, "}"));
}

/* {"name": "f", "arguments": ...} */
static gnode object_call(struct guide *g, size_t index)
{
        const struct turn_tool *t = &g->req->tools[index];
        gnode space = optional(g, word(g, " ")), value = given(g, index), id = grammar_empty(g->b);
        if (g->d->short_ids) {
                struct grammar_err unread;
                id = optional(g, SEQ(g, word(g, ", \"id\": \""),
                                     grammar_regex(g->b, STR("[a-zA-Z0-9]{9}"), &unread), word(g, "\"")));
        }
        return SEQ(g, word(g, "{\"name\":"), space, word(g, "\""), grammar_literal(g->b, t->name),
                   word(g, "\","), space, word(g, "\""), word(g, g->d->format->args), word(g, "\":"), space,
                   value, id, word(g, "}"));
}

/* A name, a separator, and arguments. */
static gnode named_call(struct guide *g, size_t index)
{
        const struct idiom *d = g->d;
        const struct turn_tool *t = &g->req->tools[index];
        return SEQ(g, marker(g, d->open), grammar_literal(g->b, t->name), marker(g, d->sep), given(g, index),
                   marker(g, d->close));
}

/* A message to a function. */
static gnode channel_call(struct guide *g, size_t index)
{
        const struct idiom *d = g->d;
        const struct turn_tool *t = &g->req->tools[index];
        int32_t constrain = g->vocab->control(g->vocab->ctx, STR("<|constrain|>"));
        return SEQ(g, marker(g, d->open), word(g, "commentary to=functions."), grammar_literal(g->b, t->name),
                   word(g, " "), constrain >= 0 ? grammar_token(g->b, constrain) : grammar_empty(g->b),
                   word(g, "json"), marker(g, d->sep), given(g, index));
}

/* One call of any of the tools; -ENOENT when none may be called. */
static gnode any_call(struct guide *g, gnode (*call)(struct guide *g, size_t index))
{
        struct VEC(gnode) parts = { 0 };
        gnode out = 0;
        for (size_t i = 0; i < g->req->n_tools && out >= 0; i++) {
                if (!may_call(g->req, i))
                        continue;
                out = call(g, i);
                if (out >= 0 && vec_push(&parts, out))
                        out = -ENOMEM;
        }
        if (out >= 0)
                out = parts.n ? grammar_alt(g->b, parts.p, parts.n) : -ENOENT;
        vec_release(&parts);
        return out;
}

static gnode several(struct guide *g, gnode call, gnode between)
{
        return SEQ(g, call, grammar_repeat(g->b, SEQ(g, between, call), 0, g->req->parallel ? -1 : 0));
}

/* All calls of a turn, -ENOENT when there can be none. */
static gnode calls(struct guide *g)
{
        const struct format *f = g->d->format;
        const struct idiom *d = g->d;
        gnode between = word(g, f->between ? f->between : ""), call;
        call = any_call(g, f->shape == FORMAT_NAMED ? named_call : object_call);
        if (call < 0)
                return call;
        switch (f->shape) {
        case FORMAT_LIST:
                return SEQ(g, marker(g, d->open), optional(g, word(g, " ")), word(g, "["),
                           several(g, call, between), word(g, "]"), marker(g, d->close));
        case FORMAT_NAMED:
                return SEQ(g, marker(g, d->section), several(g, call, between), marker(g, d->section_end));
        default:
                if (f->bare)
                        return several(g, call, between);
                call = SEQ(g, marker(g, d->open), optional(g, word(g, f->before)), call,
                           optional(g, word(g, f->after)), marker(g, d->close));
                return several(g, call, optional(g, between));
        }
}

/* ---- the turn ----------------------------------------------------------------------------------- */

/* Reasoning, if there is any, with the line breaks that follow it. */
static gnode reasoning(struct guide *g)
{
        const struct idiom *d = g->d;
        gnode end = SEQ(g, text_without(g, &d->think_end, 1), marker(g, d->think_end),
                        grammar_repeat(g->b, word(g, "\n"), 0, 2));
        if (g->think == READER_THINKS)
                return end;
        if (g->think == READER_ANSWERS || g->req->effort == TURN_EFFORT_NONE)
                return grammar_empty(g->b);
        return optional(g, SEQ(g, marker(g, d->think), end));
}

/* Text, and then calls. */
static gnode text_and_calls(struct guide *g, gnode some)
{
        const struct idiom *d = g->d;
        if (!d->format->bare)
                return SEQ(g, answer(g, d->section.n ? &d->section : &d->open, 1), optional(g, some));
        if (!is_control(d->open))
                return ALT(g, text_but_calls(g), some);
        gnode tagged = SEQ(g, marker(g, d->open), some);
        return ALT(g, some, SEQ(g, text_but_calls(g), optional(g, tagged)));
}

static gnode turn(struct guide *g)
{
        const struct idiom *d = g->d;
        const struct turn_req *req = g->req;
        gnode some = req->n_tools ? calls(g) : -ENOENT, said = 0;
        if (some < 0 && some != -ENOENT)
                return some;
        if (some >= 0 && req->choice == TURN_REQUIRED)
                said = d->format->bare && is_control(d->open) ? SEQ(g, optional(g, marker(g, d->open)), some)
                                                              : some;
        else if (some >= 0 && req->format == TURN_FORMAT_TEXT)
                said = text_and_calls(g, some);
        else if (some >= 0)
                said = ALT(g, answer(g, NULL, 0), some);
        else if (d->format->bare && req->format == TURN_FORMAT_TEXT)
                said = text_but_calls(g);
        else
                said = answer(g, d->section.n ? &d->section : &d->open, 1);
        return SEQ(g, reasoning(g), said);
}

/* Harmony: a message on a channel, up to the header of the next. */
static gnode message_before(struct guide *g, const char *channel)
{
        const struct idiom *d = g->d;
        const struct str ends[] = { d->close, d->section, d->section_end, d->open };
        return SEQ(g, marker(g, d->open), word(g, channel), marker(g, d->sep),
                   text_without(g, ends, COUNT(ends)), marker(g, d->close), marker(g, d->section),
                   word(g, "assistant"));
}

static gnode channels_turn(struct guide *g)
{
        const struct idiom *d = g->d;
        const struct turn_req *req = g->req;
        const struct str ends[] = { d->close, d->section, d->section_end, d->open };
        gnode call = req->n_tools ? any_call(g, channel_call) : -ENOENT, before = 0, last = 0;
        if (call < 0 && call != -ENOENT)
                return call;
        bool preamble = call >= 0 && req->format == TURN_FORMAT_TEXT && req->choice != TURN_REQUIRED;
        if (req->effort != TURN_EFFORT_NONE && preamble)
                before = ALT(g, message_before(g, "analysis"), message_before(g, "commentary"));
        else if (req->effort != TURN_EFFORT_NONE)
                before = message_before(g, "analysis");
        else
                before = preamble ? message_before(g, "commentary") : grammar_empty(g->b);
        if (call < 0 || req->choice != TURN_REQUIRED)
                last = SEQ(g, marker(g, d->open), word(g, "final"), marker(g, d->sep),
                           answer(g, ends, COUNT(ends)));
        if (call >= 0)
                last = req->choice == TURN_REQUIRED ? call : ALT(g, last, call);
        return SEQ(g, grammar_repeat(g->b, before, 0, -1), last);
}

/* ---- building ----------------------------------------------------------------------------------- */

static int build(struct guide *g, struct grammar **ret)
{
        struct grammar_limits limits = { .cancel = g->req->cancel, .ctx = g->req->cancel_ctx };
        struct grammar_err why = { 0 };
        bool channels = g->d->format->shape == FORMAT_CHANNELS;
        g->b = grammar_builder_new(&limits);
        if (!g->b)
                return -ENOMEM;
        gnode root = channels ? channels_turn(g) : turn(g);
        if (root < 0) {
                grammar_builder_free(g->b);
                return root;
        }
        int rc = grammar_finish(g->b, root, ret, &why);
        if (rc)
                failed(g, rc, &why, g->req->format == TURN_FORMAT_SCHEMA ? TURN_ERR_SCHEMA : TURN_ERR_TOOL,
                       0);
        return rc;
}

/* Whether a schema can be enforced by itself. */
static bool enforceable(const struct turn_req *req, const json_t *schema)
{
        struct grammar_limits limits = { .cancel = req->cancel, .ctx = req->cancel_ctx };
        struct grammar_builder *b = grammar_builder_new(&limits);
        struct grammar_err unread;
        bool good = b && grammar_schema(b, schema, 0, &unread) >= 0;
        grammar_builder_free(b);
        return good;
}

static bool is_optional(const struct turn_req *req, size_t index)
{
        return may_call(req, index) && req->tools[index].parameters && !req->tools[index].strict;
}

/* Builds anew without the schemas that need not hold and cannot be enforced; without all that need not hold
 * when together they are too large. */
static int build_loosely(struct guide *g, int rc, bool *loose, struct grammar **ret)
{
        const struct turn_req *req = g->req;
        size_t n = 0;
        for (int pass = 0; pass < 2 && (rc == -EINVAL || rc == -E2BIG); pass++) {
                for (size_t i = 0; i < req->n_tools; i++) {
                        bool was = loose[i];
                        loose[i] =
                                is_optional(req, i) && (pass || !enforceable(req, req->tools[i].parameters));
                        n += loose[i] && !was;
                }
                if (!n)
                        continue;
                n = 0;
                *g->err = (struct turn_err){ .prompt_tokens = g->err->prompt_tokens };
                rc = build(g, ret);
        }
        return rc;
}

/* ---- the cache ---------------------------------------------------------------------------------- */

#define KEY_MAX ((size_t)64 << 20)

/* A member of the key: with its length, so that neighbours cannot run together. */
static void key_text(struct buf *key, struct str text)
{
        buf_addf(key, "%zu:", text.n);
        buf_add(key, text.p, text.n);
}

/* A marker with the ids of its control tokens: they are what the grammar has of it. */
static void key_marker(struct buf *key, const struct format_vocab *vocab, struct str m)
{
        key_text(key, m);
        while (m.n) {
                const char *p = memchr(m.p, FORMAT_CONTROL, m.n);
                if (!p)
                        return;
                const char *end = memchr(p, FORMAT_CONTROL_END, m.n - (size_t)(p - m.p));
                struct str name = { p + 1, (size_t)(end - p) - 1 };
                buf_addf(key, "#%d", (int)vocab->control(vocab->ctx, name));
                m = (struct str){ end + 1, m.n - (size_t)(end + 1 - m.p) };
        }
}

/* All that the grammar is made of. */
static int make_key(const struct guide *g, struct buf *key)
{
        const struct turn_req *req = g->req;
        const struct idiom *d = g->d;
        const struct str markers[] = { d->section, d->section_end, d->open,     d->close,
                                       d->sep,     d->think,       d->think_end };
        buf_addf(key, "%s %d %d %d %d %d %d ", d->format->name, g->think, req->effort == TURN_EFFORT_NONE,
                 req->choice, req->parallel, req->format, req->strict);
        for (size_t i = 0; i < COUNT(markers); i++)
                key_marker(key, g->vocab, markers[i]);
        buf_addf(key, "#%d", (int)g->vocab->control(g->vocab->ctx, STR("<|constrain|>")));
        if (req->format == TURN_FORMAT_SCHEMA && json_write(req->schema, key) == -ENOMEM)
                return -ENOMEM;
        for (size_t i = 0; i < req->n_tools; i++) {
                const struct turn_tool *t = &req->tools[i];
                if (!may_call(req, i))
                        continue;
                buf_addf(key, "%d%d", t->custom, t->strict);
                key_text(key, t->name);
                key_text(key, t->syntax);
                key_text(key, t->definition);
                if (t->parameters && json_write(t->parameters, key) == -ENOMEM)
                        return -ENOMEM;
        }
        return buf_error(key) == -ENOMEM ? -ENOMEM : 0;
}

/* ---- the whole ---------------------------------------------------------------------------------- */

static int make(void *ctx, struct grammar **ret)
{
        struct guide *g = ctx;
        bool *loose = mem_calloc(g->req->n_tools, sizeof(*loose));
        if (!loose)
                return -ENOMEM;
        g->loose = loose;
        int rc = build(g, ret);
        if (rc == -EINVAL || rc == -E2BIG)
                rc = build_loosely(g, rc, loose, ret);
        mem_free(loose);
        return rc;
}

int guide_make(const struct turn_req *req, const struct idiom *d, const struct format_vocab *vocab,
               enum reader_think think, struct grammar **ret, struct turn_err *err)
{
        struct guide g = { .req = req, .d = d, .vocab = vocab, .think = think, .err = err };
        struct buf key;
        *ret = NULL;
        if (!req->n_tools && req->format == TURN_FORMAT_TEXT)
                return 0;
        buf_init(&key, KEY_MAX);
        int rc = make_key(&g, &key);
        if (!rc)
                rc = buf_error(&key) ? make(&g, ret) : grammar_cached(buf_str(&key), make, &g, ret);
        buf_release(&key);
        return rc;
}
