/* The filter tojson as the Transformers library defines it: json.dumps of Python, without HTML escapes. */
#include <math.h>
#include <string.h>
#include "jinja/run.h"
#include "jinja/unicode.h"

struct writer {
        struct text out;
        struct jv indent, item_sep, key_sep; /* indent: MISSING for one line */
        bool ascii, sort;
        int level;
};

static void write_value(struct writer *w, struct jv v);

static void write_unit(struct writer *w, uint32_t unit, bool data)
{
        static const char hex[] = "0123456789abcdef";
        char out[6] = { '\\',          'u', hex[unit >> 12 & 15], hex[unit >> 8 & 15], hex[unit >> 4 & 15],
                        hex[unit & 15] };
        text_add(&w->out, out, sizeof(out), data);
}

/* The escape of a character, or nothing when it stands for itself. */
static bool write_escape(struct writer *w, uint32_t c, bool data)
{
        static const char from[] = "\"\\\n\r\t\b\f", to[] = "\"\\nrtbf";
        const char *at = c && c < 0x80 ? strchr(from, (int)c) : NULL;
        if (at) {
                char out[2] = { '\\', to[at - from] };
                text_add(&w->out, out, 2, data);
        } else if (w->ascii && c >= 0x10000) {
                write_unit(w, 0xD800 + ((c - 0x10000) >> 10), data);
                write_unit(w, 0xDC00 + ((c - 0x10000) & 0x3FF), data);
        } else if (c < 0x20 || (w->ascii && c >= 0x7F)) {
                write_unit(w, c, data);
        } else {
                return false;
        }
        return true;
}

static void write_string(struct writer *w, struct jv s)
{
        size_t plain = 0, i = 0;
        text_adds(&w->out, "\"", s.data);
        while (i < s.s->n) {
                uint32_t c;
                size_t n = uni_next(s.s->p + i, &c);
                if (c < 0x20 || c == '"' || c == '\\' || (w->ascii && c >= 0x7F)) {
                        text_part(&w->out, s, plain, i);
                        write_escape(w, c, jv_data_at(s, i));
                        plain = i + n;
                }
                i += n;
        }
        text_part(&w->out, s, plain, i);
        text_adds(&w->out, "\"", s.data);
}

/* What stands between the parts of a container: of its origin. */
static void write_between(struct writer *w, struct jv text, bool data)
{
        if (data)
                text_add(&w->out, text.s->p, text.s->n, true);
        else
                text_addv(&w->out, text);
}

/* A new line inside of a container, when there is an indent. */
static void write_line(struct writer *w, bool data)
{
        if (w->indent.kind == JV_MISSING)
                return;
        text_adds(&w->out, "\n", data);
        for (int i = 0; i < w->level; i++)
                write_between(w, w->indent, data);
}

static void write_list(struct writer *w, struct jv v)
{
        text_adds(&w->out, "[", v.data);
        w->level++;
        for (size_t i = 0; i < v.l->n; i++) {
                if (i)
                        write_between(w, w->item_sep, v.data);
                write_line(w, v.data);
                write_value(w, v.l->v[i]);
        }
        w->level--;
        if (v.l->n)
                write_line(w, v.data);
        text_adds(&w->out, "]", v.data);
}

/* Keys that are not strings are written as JSON would, in quotes. */
static struct jv key_text(struct writer *w, struct jv key)
{
        struct run *r = w->out.r;
        switch ((enum jv_kind)key.kind) {
        case JV_STR:
                return key;
        case JV_FLOAT:
                if (!isfinite(key.f))
                        return jv_cstr(r, isnan(key.f) ? "NaN" : key.f > 0 ? "Infinity" : "-Infinity");
                return jv_to_str(r, key);
        case JV_INT:
                return jv_to_str(r, key);
        case JV_BOOL:
                return jv_cstr(r, key.b ? "true" : "false");
        case JV_NONE:
                return jv_cstr(r, "null");
        default:
                run_fail(r, "keys must be str, int, float, bool or None, not %s", jv_type(key));
        }
}

/* The positions of a dict's entries, in the order in which they are written. */
static size_t *key_order(struct writer *w, const struct jv_dict *d)
{
        struct run *r = w->out.r;
        size_t *order = run_array(r, d->n, sizeof(*order));
        for (size_t i = 0; i < d->n; i++) {
                size_t at = i;
                for (; w->sort && at && jv_compare(r, d->keys[i], d->keys[order[at - 1]], "<") < 0; at--) {
                        run_step(r, 1);
                        order[at] = order[at - 1];
                }
                order[at] = i;
        }
        return order;
}

static void write_dict(struct writer *w, struct jv v)
{
        size_t *order = key_order(w, v.d);
        text_adds(&w->out, "{", v.data);
        w->level++;
        for (size_t i = 0; i < v.d->n; i++) {
                if (i)
                        write_between(w, w->item_sep, v.data);
                write_line(w, v.data);
                write_string(w, key_text(w, v.d->keys[order[i]]));
                write_between(w, w->key_sep, v.data);
                write_value(w, v.d->vals[order[i]]);
        }
        w->level--;
        if (v.d->n)
                write_line(w, v.data);
        text_adds(&w->out, "}", v.data);
}

static void write_value(struct writer *w, struct jv v)
{
        struct run *r = w->out.r;
        run_enter(r);
        run_step(r, 1);
        switch ((enum jv_kind)v.kind) {
        case JV_STR:
                write_string(w, v);
                break;
        case JV_NONE:
                text_adds(&w->out, "null", v.data);
                break;
        case JV_BOOL:
                text_adds(&w->out, v.b ? "true" : "false", v.data);
                break;
        case JV_FLOAT:
                if (!isfinite(v.f)) {
                        text_adds(&w->out, isnan(v.f) ? "NaN" : v.f > 0 ? "Infinity" : "-Infinity", v.data);
                        break;
                }
                text_repr(&w->out, v);
                break;
        case JV_INT:
                text_repr(&w->out, v);
                break;
        case JV_LIST:
        case JV_TUPLE:
                write_list(w, v);
                break;
        case JV_DICT:
                write_dict(w, v);
                break;
        default:
                run_fail(r, "Object of type %s is not JSON serializable", jv_type(v));
        }
        run_leave(r);
}

static struct jv indent_text(struct run *r, struct jv indent)
{
        if (indent.kind == JV_STR)
                return indent;
        int64_t n = jv_as_int(r, indent, "indent");
        struct text t = text_new(r);
        if (n > 0)
                text_fill(&t, jv_cstr(r, " "), (size_t)n);
        return text_value(&t, false);
}

static struct jv tojson(struct run *r, struct jv v, const struct jv_args *a)
{
        struct jv indent = a->v[1], separators = a->v[2];
        bool lines = indent.kind != JV_MISSING && indent.kind != JV_NONE;
        struct writer w = {
                .out = text_new(r),
                .ascii = jv_truth(r, a->v[0]),
                .sort = jv_truth(r, a->v[3]),
                .item_sep = jv_cstr(r, lines ? "," : ", "),
                .key_sep = jv_cstr(r, ": "),
        };
        if (lines)
                w.indent = indent_text(r, indent);
        if (separators.kind != JV_MISSING && separators.kind != JV_NONE) {
                if ((separators.kind != JV_LIST && separators.kind != JV_TUPLE) || separators.l->n != 2 ||
                    separators.l->v[0].kind != JV_STR || separators.l->v[1].kind != JV_STR)
                        run_fail(r, "separators must be two strings");
                w.item_sep = separators.l->v[0];
                w.key_sep = separators.l->v[1];
        }
        write_value(&w, v);
        return text_value(&w.out, false);
}

const struct jv_builtin jv_tojson = { "tojson", tojson, "ensure_ascii,indent,separators,sort_keys", 0 };
