/* Errors in OpenAI's words. Nothing here is on the path of a valid value. */
#include "contract/words.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LISTED_MAX 40    /* values named in a message */
#define QUOTED_MAX 64    /* bytes of a client's value in a message */
#define EXPECTED_MAX 400 /* room for "one of 'a', 'b', or 'c'" */

/* Appends to a fixed buffer and cuts at its end, never inside a UTF-8 sequence. */
struct text {
        char *p;
        size_t n, cap;
};

static void put(struct text *t, const char *s, size_t n)
{
        size_t room = t->cap - 1 - t->n;
        if (n > room)
                n = str_utf8_complete((struct str){ s, room });
        memcpy(t->p + t->n, s, n);
        t->n += n;
        t->p[t->n] = '\0';
}

static void puts_text(struct text *t, const char *s)
{
        put(t, s, strlen(s));
}

/* ---- the path ---- */

static void put_path(struct text *t, const struct at *at)
{
        const struct at *frames[SCHEMA_DEPTH_MAX + 2];
        size_t n = 0;
        for (; at->up && n < sizeof(frames) / sizeof(frames[0]); at = at->up)
                frames[n++] = at;
        for (size_t left = n; left--;) {
                char index[32];
                if (frames[left]->name) {
                        puts_text(t, t->n && left + 1 < n ? "." : "");
                        puts_text(t, frames[left]->name);
                        continue;
                }
                snprintf(index, sizeof(index), "[%zu]", frames[left]->index);
                puts_text(t, index);
        }
}

/* Starts a message: code and param set, msg empty. */
static struct text begin(struct schema_err *err, const struct at *at, const char *code)
{
        struct text param = { err->param, 0, sizeof(err->param) };
        err->param[0] = '\0';
        put_path(&param, at);
        err->code = code;
        err->msg[0] = '\0';
        return (struct text){ err->msg, 0, sizeof(err->msg) };
}

static void put_quoted_path(struct text *t, const char *lead, const struct schema_err *err)
{
        puts_text(t, lead);
        if (!err->param[0])
                return;
        puts_text(t, " '");
        puts_text(t, err->param);
        puts_text(t, "'");
}

void word_invalid(struct schema_err *err, const struct at *at, const char *code, const char *fmt, ...)
{
        struct text t = begin(err, at, code);
        char body[SCHEMA_MSG_MAX];
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(body, sizeof(body), fmt, ap);
        va_end(ap);
        put_quoted_path(&t, "Invalid", err);
        puts_text(&t, err->param[0] ? ": " : " body: ");
        puts_text(&t, body);
}

void word_unknown(struct schema_err *err, const struct at *at)
{
        struct text t = begin(err, at, "unknown_parameter");
        put_quoted_path(&t, "Unknown parameter:", err);
        puts_text(&t, ".");
}

void word_missing(struct schema_err *err, const struct at *at)
{
        struct text t = begin(err, at, "missing_required_parameter");
        put_quoted_path(&t, "Missing required parameter:", err);
        puts_text(&t, ".");
}

/* ---- lists of values ---- */

struct listing {
        struct text *t;
        const char *last; /* "and" or "or" */
        unsigned i, n;    /* items so far, items in all */
        bool full;
};

/* Appends "'a'", ", 'b'", " and 'b'" (of two) or ", and 'c'"; ", and 5 more" for what has no room. */
static void list_item(struct listing *l, const char *value)
{
        unsigned i = l->i++;
        char more[48];
        if (l->full)
                return;
        snprintf(more, sizeof(more), ", %s %u more", l->last, l->n - i);
        l->full = i && (i >= LISTED_MAX || l->t->n + strlen(value) + sizeof(more) > l->t->cap);
        if (l->full) {
                puts_text(l->t, more);
                return;
        }
        if (i)
                puts_text(l->t, l->n > 2 ? ", " : " ");
        if (i && i + 1 == l->n) {
                puts_text(l->t, l->last);
                puts_text(l->t, " ");
        }
        puts_text(l->t, "'");
        puts_text(l->t, value);
        puts_text(l->t, "'");
}

static void list_enum(struct text *t, const struct schema *s, const char *last)
{
        struct listing l = { .t = t, .last = last, .n = s->n };
        for (unsigned i = 0; i < s->n; i++)
                list_item(&l, schema_enum(s, i));
}

/* True when an earlier variant of the union has this tag too. */
static bool tag_seen(const struct schema *s, unsigned variant, unsigned tag)
{
        const struct variant *v = schema_variants(s);
        const char *value = variant_tag(&v[variant], tag);
        for (unsigned i = 0; i < variant; i++)
                if (variant_has_tag(&v[i], value, strlen(value)))
                        return true;
        return false;
}

static unsigned count_tags(const struct schema *s)
{
        const struct variant *v = schema_variants(s);
        unsigned n = 0;
        for (unsigned i = 0; i < s->n; i++)
                for (unsigned k = 0; k < v[i].n_tags; k++)
                        n += !tag_seen(s, i, k);
        return n;
}

static void list_tags(struct text *t, const struct schema *s, const char *last)
{
        const struct variant *v = schema_variants(s);
        struct listing l = { .t = t, .last = last, .n = count_tags(s) };
        for (unsigned i = 0; i < s->n; i++)
                for (unsigned k = 0; k < v[i].n_tags; k++)
                        if (!tag_seen(s, i, k))
                                list_item(&l, variant_tag(&v[i], k));
}

/* ---- what was expected, what came ---- */

static const char *kind_noun(const struct schema *s)
{
        switch ((enum schema_kind)s->kind) {
        case S_OBJECT:
                return "object";
        case S_ARRAY:
                return "array";
        case S_STRING:
                return s->flags & SN_BINARY ? "file" : "string";
        case S_INTEGER:
                return "integer";
        case S_NUMBER:
                return "decimal";
        case S_BOOLEAN:
                return "boolean";
        case S_NULL:
        case S_ANY:
        case S_UNION:
                break;
        }
        return "value";
}

/* The schema that all alternatives of an array's items resemble, or NULL when they differ in kind. */
static const struct schema *common_kind(const struct schema *s)
{
        if (s->kind != S_UNION)
                return s;
        const struct variant *v = schema_variants(s);
        for (unsigned i = 1; i < s->n; i++)
                if (schema_node(v[i].node)->kind != schema_node(v[0].node)->kind)
                        return NULL;
        return schema_node(v[0].node);
}

/* "string", "array of objects": without an article. */
static void put_noun(struct text *t, const struct schema *s)
{
        puts_text(t, kind_noun(s));
        if (s->kind != S_ARRAY)
                return;
        const struct schema *item = common_kind(schema_node(s->item));
        if (!item || item->kind == S_ANY || item->kind == S_NULL)
                return;
        puts_text(t, " of ");
        puts_text(t, kind_noun(item));
        puts_text(t, "s");
}

static void put_article(struct text *t, const struct schema *s)
{
        puts_text(t, strchr("aeio", kind_noun(s)[0]) ? "an " : "a ");
}

/* True when an earlier variant has the same words. */
static bool noun_seen(const struct schema *s, unsigned variant)
{
        const struct variant *v = schema_variants(s);
        char mine[64], other[64];
        struct text t = { mine, 0, sizeof(mine) };
        put_noun(&t, schema_node(v[variant].node));
        for (unsigned i = 0; i < variant; i++) {
                t = (struct text){ other, 0, sizeof(other) };
                put_noun(&t, schema_node(v[i].node));
                if (strcmp(mine, other) == 0)
                        return true;
        }
        return false;
}

/* "one of a string or array of objects"; "an object" when all alternatives are objects. */
static void put_union(struct text *t, const struct schema *s)
{
        const struct variant *v = schema_variants(s);
        unsigned n = 0, i = 0;
        for (unsigned k = 0; k < s->n; k++)
                n += !noun_seen(s, k);
        puts_text(t, n > 1 ? "one of " : "");
        for (unsigned k = 0; k < s->n; k++) {
                if (noun_seen(s, k))
                        continue;
                if (i)
                        puts_text(t, n > 2 ? ", " : " ");
                if (i && i + 1 == n)
                        puts_text(t, "or ");
                if (!i)
                        put_article(t, schema_node(v[k].node));
                put_noun(t, schema_node(v[k].node));
                i++;
        }
}

static void put_expected(struct text *t, const struct schema *s)
{
        if (s->kind == S_NULL) {
                puts_text(t, "null");
        } else if (s->kind == S_UNION) {
                put_union(t, s);
        } else if (s->kind == S_STRING && s->n) {
                puts_text(t, s->n > 1 ? "one of " : "");
                list_enum(t, s, "or");
        } else {
                put_article(t, s);
                put_noun(t, s);
        }
}

static const char *got_words(const json_t *v)
{
        switch (json_typeof(v)) {
        case JSON_OBJECT:
                return json_object_get(v, "$file") ? "a file" : "an object";
        case JSON_ARRAY:
                return json_array_size(v) ? "an array" : "an empty array";
        case JSON_STRING:
                return "a string";
        case JSON_INTEGER:
                return "an integer";
        case JSON_REAL:
                return "a decimal";
        case JSON_TRUE:
        case JSON_FALSE:
                return "a boolean";
        case JSON_NULL:
                break;
        }
        return "null";
}

static void put_type_error(struct text *t, const struct schema_err *err, const char *expected,
                           const json_t *got)
{
        put_quoted_path(t, "Invalid type for", err);
        puts_text(t, err->param[0] ? ": expected " : " the body: expected ");
        puts_text(t, expected);
        puts_text(t, ", but got ");
        puts_text(t, got_words(got));
        puts_text(t, " instead.");
}

void word_type_error(struct schema_err *err, const struct at *at, const struct schema *s, const json_t *got)
{
        char expected[EXPECTED_MAX];
        struct text e = { expected, 0, sizeof(expected) };
        put_expected(&e, s);
        struct text t = begin(err, at, "invalid_type");
        put_type_error(&t, err, expected, got);
}

/* "Invalid value: 'x'. Supported values are: " */
static void put_invalid_value(struct text *t, const json_t *got)
{
        struct str value = { json_string_value(got), json_string_length(got) };
        bool cut = value.n > QUOTED_MAX;
        if (cut)
                value.n = str_utf8_complete((struct str){ value.p, QUOTED_MAX });
        puts_text(t, "Invalid value: '");
        put(t, value.p, strnlen(value.p, value.n));
        puts_text(t, cut ? "...'. Supported values are: " : "'. Supported values are: ");
}

void word_enum_error(struct schema_err *err, const struct at *at, const struct schema *s, const json_t *got)
{
        struct text t = begin(err, at, "invalid_value");
        put_invalid_value(&t, got);
        list_enum(&t, s, "and");
        puts_text(&t, ".");
}

void word_tag_error(struct schema_err *err, const struct at *at, const struct schema *s, const json_t *got)
{
        if (json_is_string(got)) {
                struct text t = begin(err, at, "invalid_value");
                put_invalid_value(&t, got);
                list_tags(&t, s, "and");
                puts_text(&t, ".");
                return;
        }
        char expected[EXPECTED_MAX];
        struct text e = { expected, 0, sizeof(expected) };
        puts_text(&e, "one of ");
        list_tags(&e, s, "or");
        struct text t = begin(err, at, "invalid_type");
        put_type_error(&t, err, expected, got);
}
