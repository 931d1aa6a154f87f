/* Filters of text. */
#include <string.h>
#include "jinja/filters.h"
#include "jinja/unicode.h"

static bool given(struct jv v)
{
        return v.kind != JV_MISSING && v.kind != JV_NONE;
}

/* A string that the filter needs; nothing else will do. */
static struct jv need_str(struct run *r, struct jv v)
{
        if (v.kind == JV_UNDEF)
                run_fail_undefined(r, v);
        if (v.kind != JV_STR)
                run_fail(r, "a string is needed, not %s", jv_type(v));
        return v;
}

/* ---- case and ends ----------------------------------------------------------------------------------- */

static struct jv lower(struct run *r, struct jv v, const struct jv_args *a)
{
        (void)a;
        return text_lower(r, jv_to_str(r, v));
}

static struct jv upper(struct run *r, struct jv v, const struct jv_args *a)
{
        (void)a;
        return text_upper(r, jv_to_str(r, v));
}

static struct jv capitalize(struct run *r, struct jv v, const struct jv_args *a)
{
        (void)a;
        return text_capitalize(r, jv_to_str(r, v));
}

/* Whether a word starts after c: space, a hyphen or an opening bracket. */
static bool before_word(uint32_t c)
{
        return uni_is(c, UNI_SPACE) || (c && c < 0x80 && strchr("-({[<", (int)c));
}

static struct jv title(struct run *r, struct jv v, const struct jv_args *a)
{
        (void)a;
        struct jv s = jv_to_str(r, v);
        struct text t = text_new(r);
        uint32_t c;
        for (size_t i = 0, n, end; i < s.s->n; i = end) {
                n = uni_next(s.s->p + i, &c);
                bool separator = before_word(c);
                for (end = i + n; end < s.s->n; end += uni_next(s.s->p + end, &c)) {
                        uni_next(s.s->p + end, &c);
                        if (before_word(c) != separator)
                                break;
                }
                text_addv(&t, text_upper(r, jv_part(r, s, i, i + n)));
                text_addv(&t, text_lower(r, jv_part(r, s, i + n, end)));
        }
        return text_value(&t, false);
}

static struct jv trim(struct run *r, struct jv v, const struct jv_args *a)
{
        return text_strip(r, jv_to_str(r, v), a->v[0], true, true);
}

static struct jv string(struct run *r, struct jv v, const struct jv_args *a)
{
        (void)a;
        return jv_to_str(r, v);
}

static struct jv center(struct run *r, struct jv v, const struct jv_args *a)
{
        struct jv width = a->v[0].kind == JV_MISSING ? jv_int(80) : a->v[0];
        return text_pad(r, jv_to_str(r, v), width, (struct jv){ 0 }, TEXT_BOTH);
}

static struct jv replace(struct run *r, struct jv v, const struct jv_args *a)
{
        int64_t count = given(a->v[2]) ? jv_as_int(r, a->v[2], "count") : -1;
        struct jv s = jv_to_str(r, v);
        if (s.s->markup) {
                struct jv_str *plain = run_alloc(r, sizeof(*plain));
                *plain = *s.s;
                plain->markup = false;
                s.s = plain;
        }
        return text_replace(r, s, jv_to_str(r, a->v[0]), jv_to_str(r, a->v[1]), count);
}

static struct jv format(struct run *r, struct jv v, const struct jv_args *a)
{
        if (a->n && a->n_kw)
                run_fail(r, "can't handle positional and keyword arguments at the same time");
        struct jv values = a->n_kw ? jv_dict(r, a->n_kw) : jv_list(r, JV_TUPLE, a->n);
        for (size_t i = 0; i < a->n; i++)
                jv_push(r, &values, a->v[i]);
        for (size_t i = 0; i < a->n_kw; i++)
                jv_put(r, &values, jv_str(r, a->kw_name[i], false), a->kw[i]);
        return format_percent(r, jv_to_str(r, v), values);
}

/* ---- lines and words --------------------------------------------------------------------------------- */

static struct jv indent(struct run *r, struct jv v, const struct jv_args *a)
{
        struct jv s = need_str(r, v), by = a->v[0];
        bool blank = given(a->v[2]) && jv_truth(r, a->v[2]);
        struct text t = text_new(r), pad = text_new(r);
        if (by.kind != JV_STR) {
                int64_t n = by.kind == JV_MISSING ? 4 : jv_as_int(r, by, "width");
                text_fill(&pad, jv_cstr(r, " "), n > 0 ? (size_t)n : 0);
                by = text_value(&pad, false);
        }
        if (given(a->v[1]) && jv_truth(r, a->v[1]))
                text_addv(&t, by);
        size_t at = 0, start, end = 0, lines = 0;
        for (; text_line(jv_text(s), &at, &start, &end); lines++) {
                run_step(r, 1);
                if (lines)
                        text_adds(&t, "\n", false);
                if (lines && (blank || end > start))
                        text_addv(&t, by);
                text_part(&t, s, start, end);
        }
        if (lines && end < s.s->n && s.s->p[s.s->n - 1] != '\r') { /* after a last newline: an empty line */
                text_adds(&t, "\n", false);
                if (blank)
                        text_addv(&t, by);
        }
        return text_value(&t, s.s->markup);
}

static struct jv truncate(struct run *r, struct jv v, const struct jv_args *a)
{
        struct jv end = given(a->v[2]) ? need_str(r, a->v[2]) : jv_cstr(r, "...");
        int64_t length = a->v[0].kind == JV_MISSING ? 255 : jv_as_int(r, a->v[0], "length");
        int64_t leeway = given(a->v[3]) ? jv_as_int(r, a->v[3], "leeway") : 5;
        int64_t n = (int64_t)jv_length(r, v), n_end = (int64_t)jv_length(r, end);
        if (length < n_end)
                run_fail(r, "expected length >= %lld, got %lld", (long long)n_end, (long long)length);
        if (leeway < 0)
                run_fail(r, "expected leeway >= 0, got %lld", (long long)leeway);
        if (n - leeway <= length)
                return v; /* whatever it is */
        struct jv s = need_str(r, v);
        size_t cut = uni_offset(jv_text(s), (size_t)(length - n_end));
        if (!given(a->v[1]) || !jv_truth(r, a->v[1])) {
                const char *space = cut ? memrchr(s.s->p, ' ', cut) : NULL;
                cut = space ? (size_t)(space - s.s->p) : cut;
        }
        struct text t = text_new(r);
        text_part(&t, s, 0, cut);
        text_addv(&t, end);
        return text_value(&t, false);
}

static struct jv wordcount(struct run *r, struct jv v, const struct jv_args *a)
{
        (void)a;
        struct jv s = jv_to_str(r, v);
        int64_t count = 0;
        bool inside = false;
        uint32_t c;
        for (size_t i = 0; i < s.s->n;) {
                run_step(r, 1);
                i += uni_next(s.s->p + i, &c);
                bool word = c == '_' || uni_alnum(c);
                count += word && !inside;
                inside = word;
        }
        return jv_int(count);
}

static struct jv wordwrap(struct run *r, struct jv v, const struct jv_args *a)
{
        struct jv s = need_str(r, v);
        struct jv sep = given(a->v[2]) ? need_str(r, a->v[2]) : jv_cstr(r, "\n");
        struct wrap_opts opts = {
                .width = a->v[0].kind == JV_MISSING ? 79 : jv_as_int(r, a->v[0], "width"),
                .break_long = a->v[1].kind == JV_MISSING || jv_truth(r, a->v[1]),
                .break_hyphens = a->v[3].kind == JV_MISSING || jv_truth(r, a->v[3]),
        };
        struct text t = text_new(r);
        size_t at = 0, start, end;
        for (size_t lines = 0; text_line(jv_text(s), &at, &start, &end); lines++) {
                struct jv parts = jv_list(r, JV_LIST, 0);
                if (opts.width <= 0)
                        run_fail(r, "invalid width %lld (must be > 0)", (long long)opts.width);
                if (lines)
                        text_addv(&t, sep);
                text_wrap(r, jv_part(r, s, start, end), &opts, &parts);
                for (size_t i = 0; i < parts.l->n; i++) {
                        if (i)
                                text_addv(&t, sep);
                        text_addv(&t, parts.l->v[i]);
                }
        }
        return text_value(&t, false);
}

/* ---- HTML and URLs ----------------------------------------------------------------------------------- */

static struct jv escape(struct run *r, struct jv v, const struct jv_args *a)
{
        (void)a;
        return jv_escape(r, v);
}

static struct jv set_markup(struct run *r, struct jv v, bool markup)
{
        struct jv s = jv_to_str(r, v);
        struct jv_str *p = run_alloc(r, sizeof(*p));
        *p = *s.s;
        p->markup = markup;
        s.s = p;
        return s;
}

static struct jv forceescape(struct run *r, struct jv v, const struct jv_args *a)
{
        (void)a;
        return jv_escape(r, set_markup(r, v, false));
}

static struct jv safe(struct run *r, struct jv v, const struct jv_args *a)
{
        (void)a;
        return set_markup(r, v, true);
}

/* The string without what stands between `open` and `close`; an open one that is never closed stays. */
static struct jv without(struct run *r, struct jv s, const char *open, const char *close)
{
        struct text t = text_new(r);
        size_t from = 0;
        run_step(r, s.s->n);
        while (from < s.s->n) {
                const char *p = memmem(s.s->p + from, s.s->n - from, open, strlen(open));
                const char *q = p ? memmem(p, (size_t)(s.s->p + s.s->n - p), close, strlen(close)) : NULL;
                if (!q)
                        break;
                text_part(&t, s, from, (size_t)(p - s.s->p));
                from = (size_t)(q - s.s->p) + strlen(close);
        }
        text_part(&t, s, from, s.s->n);
        return text_value(&t, false);
}

/* The character that an HTML entity at p (n bytes left) stands for and its length; 0 when it is none. The
 * named ones are those that escaping makes. */
static size_t entity(const char *p, size_t n, uint32_t *ret)
{
        static const struct {
                const char *name;
                uint32_t c;
        } named[] = { { "&amp;", '&' },  { "&lt;", '<' },    { "&gt;", '>' },
                      { "&quot;", '"' }, { "&apos;", '\'' }, { "&nbsp;", 0xA0 } };
        for (size_t i = 0; i < sizeof(named) / sizeof(named[0]); i++) {
                size_t len = strlen(named[i].name);
                if (n >= len && !memcmp(p, named[i].name, len)) {
                        *ret = named[i].c;
                        return len;
                }
        }
        if (n < 4 || p[1] != '#')
                return 0;
        bool hex = (p[2] | 0x20) == 'x';
        uint32_t c = 0;
        size_t i = hex ? 3 : 2, start = i;
        for (; i < n && i < start + 7; i++) {
                int lower_case = p[i] | 0x20;
                int d = p[i] >= '0' && p[i] <= '9'                      ? p[i] - '0'
                        : hex && lower_case >= 'a' && lower_case <= 'f' ? lower_case - 'a' + 10
                                                                        : -1;
                if (d < 0)
                        break;
                c = c * (hex ? 16 : 10) + (uint32_t)d;
        }
        if (i == start || i >= n || p[i] != ';' || !c || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000))
                return 0;
        *ret = c;
        return i + 1;
}

static struct jv striptags(struct run *r, struct jv v, const struct jv_args *a)
{
        (void)a;
        struct jv s = without(r, without(r, jv_to_str(r, v), "<!--", "-->"), "<", ">");
        struct text t = text_new(r);
        bool gap = false;
        for (size_t i = 0, n; i < s.s->n; i += n) {
                uint32_t c;
                n = uni_next(s.s->p + i, &c);
                if (uni_is(c, UNI_SPACE)) {
                        gap = t.n > 0;
                        continue;
                }
                if (gap)
                        text_adds(&t, " ", jv_data_at(s, i));
                gap = false;
                size_t len = c == '&' ? entity(s.s->p + i, s.s->n - i, &c) : 0;
                if (len)
                        text_char(&t, c, jv_data_at(s, i));
                else
                        text_part(&t, s, i, i + n);
                n = len ? len : n;
        }
        return text_value(&t, false);
}

static void quote(struct text *t, struct jv s, bool query)
{
        static const char hex[] = "0123456789ABCDEF";
        for (size_t i = 0; i < s.s->n; i++) {
                unsigned char c = (unsigned char)s.s->p[i];
                bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                             (c && strchr("_.-~", c)) || (c == '/' && !query);
                char out[3] = { '%', hex[c >> 4], hex[c & 15] };
                if (plain)
                        text_part(t, s, i, i + 1);
                else if (c == ' ' && query)
                        text_adds(t, "+", jv_data_at(s, i));
                else
                        text_add(t, out, 3, jv_data_at(s, i));
        }
}

static struct jv urlencode(struct run *r, struct jv v, const struct jv_args *a)
{
        (void)a;
        struct text t = text_new(r);
        if (v.kind == JV_STR || !jv_iterable(v)) {
                quote(&t, jv_to_str(r, v), false);
                return text_value(&t, false);
        }
        const struct jv_list *l = jv_iterate(r, v);
        for (size_t i = 0; i < l->n; i++) {
                const struct jv_list *pair =
                        v.kind == JV_DICT ? jv_pair(r, l->v[i], v.d->vals[i]).l : jv_iterate(r, l->v[i]);
                if (pair->n != 2)
                        run_fail(r, "urlencode needs pairs of a key and a value");
                if (i)
                        text_adds(&t, "&", false);
                quote(&t, jv_to_str(r, pair->v[0]), true);
                text_adds(&t, "=", false);
                quote(&t, jv_to_str(r, pair->v[1]), true);
        }
        return text_value(&t, false);
}

static struct jv xmlattr(struct run *r, struct jv v, const struct jv_args *a)
{
        bool space = a->v[0].kind == JV_MISSING || jv_truth(r, a->v[0]);
        struct text t = text_new(r);
        if (v.kind == JV_UNDEF)
                run_fail_undefined(r, v);
        if (v.kind != JV_DICT)
                run_fail(r, "'%s' object has no attribute 'items'", jv_type(v));
        for (size_t i = 0; i < v.d->n; i++) {
                struct jv key = v.d->keys[i], value = v.d->vals[i];
                if (value.kind == JV_NONE || value.kind == JV_UNDEF)
                        continue;
                if (key.kind != JV_STR)
                        run_fail(r, "the name of an attribute must be a string, not %s", jv_type(key));
                for (size_t k = 0; k < key.s->n; k++)
                        if (key.s->p[k] && strchr(" \t\n\r\f\v/>=", key.s->p[k]))
                                run_fail(r, "Invalid character in attribute name");
                if (t.n || space)
                        text_adds(&t, " ", false);
                text_addv(&t, jv_escape(r, key));
                text_adds(&t, "=\"", false);
                text_addv(&t, jv_escape(r, value));
                text_adds(&t, "\"", false);
        }
        return text_value(&t, false);
}

static const struct jv_builtin filters[] = {
        { "capitalize", capitalize, "", 0 },
        { "center", center, "width", 0 },
        { "e", escape, "", 0 },
        { "escape", escape, "", 0 },
        { "forceescape", forceescape, "", 0 },
        { "format", format, NULL, 0 },
        { "indent", indent, "width,first,blank", 0 },
        { "lower", lower, "", 0 },
        { "replace", replace, "old,new,count", 2 },
        { "safe", safe, "", 0 },
        { "string", string, "", 0 },
        { "striptags", striptags, "", 0 },
        { "title", title, "", 0 },
        { "trim", trim, "chars", 0 },
        { "truncate", truncate, "length,killwords,end,leeway", 0 },
        { "upper", upper, "", 0 },
        { "urlencode", urlencode, "", 0 },
        { "wordcount", wordcount, "", 0 },
        { "wordwrap", wordwrap, "width,break_long_words,wrapstring,break_on_hyphens", 0 },
        { "xmlattr", xmlattr, "autospace", 0 },
};

const struct jv_builtin *filter_text_find(struct str name)
{
        return jv_builtin_find(filters, sizeof(filters) / sizeof(filters[0]), name);
}
