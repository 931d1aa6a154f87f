/* Building strings, each byte with its origin; str() and repr(). */
#include <string.h>
#include "jinja/run.h"
#include "jinja/unicode.h"

struct text text_new(struct run *r)
{
        return (struct text){ .r = r };
}

/* Room for n more bytes. */
static void reserve(struct text *t, size_t n)
{
        if (t->cap - t->n >= n)
                return;
        size_t cap = t->cap ? t->cap * 2 : 64;
        while (cap - t->n < n)
                cap *= 2;
        char *p = run_alloc(t->r, cap);
        if (t->n)
                memcpy(p, t->p, t->n);
        if (t->mark) {
                uint8_t *mark = run_alloc(t->r, cap);
                memcpy(mark, t->mark, t->n);
                t->mark = mark;
        }
        t->p = p;
        t->cap = cap;
}

/* Called before bytes of another origin than the ones so far come. */
static void start_marks(struct text *t)
{
        t->mark = run_alloc(t->r, t->cap);
        memset(t->mark, t->data, t->n);
}

void text_add(struct text *t, const char *p, size_t n, bool data)
{
        if (!n)
                return;
        run_step(t->r, n / 16);
        reserve(t, n);
        if (!t->n)
                t->data = data;
        else if (!t->mark && t->data != data)
                start_marks(t);
        memcpy(t->p + t->n, p, n);
        if (t->mark)
                memset(t->mark + t->n, data, n);
        t->n += n;
}

void text_adds(struct text *t, const char *s, bool data)
{
        text_add(t, s, strlen(s), data);
}

void text_part(struct text *t, struct jv s, size_t from, size_t to)
{
        if (!s.s->mark) {
                text_add(t, s.s->p + from, to - from, s.data);
                return;
        }
        while (from < to) {
                size_t end = from + 1;
                while (end < to && s.s->mark[end] == s.s->mark[from])
                        end++;
                text_add(t, s.s->p + from, end - from, s.s->mark[from]);
                from = end;
        }
}

void text_addv(struct text *t, struct jv s)
{
        text_part(t, s, 0, s.s->n);
}

void text_fill(struct text *t, struct jv ch, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                run_step(t->r, 1);
                text_addv(t, ch);
        }
}

void text_char(struct text *t, uint32_t c, bool data)
{
        char out[4];
        text_add(t, out, uni_put(c, out), data);
}

struct jv text_value(struct text *t, bool markup)
{
        struct jv_str *s = run_alloc(t->r, sizeof(*s));
        *s = (struct jv_str){ .p = t->n ? t->p : "", .n = t->n, .mark = t->mark, .markup = markup };
        return (struct jv){ .kind = JV_STR, .data = t->n && t->data && !t->mark, .s = s };
}

/* ---- strings out of strings ------------------------------------------------------------------------- */

bool jv_data_at(struct jv s, size_t i)
{
        return s.s->mark ? s.s->mark[i] : s.data;
}

struct jv jv_part(struct run *r, struct jv s, size_t from, size_t to)
{
        struct jv_str *p = run_alloc(r, sizeof(*p));
        *p = *s.s;
        p->p += from;
        p->n = to - from;
        if (p->mark)
                p->mark += from;
        return (struct jv){ .kind = JV_STR, .data = s.data, .s = p };
}

/* Marks for a string that has none of its own; they are needed when it meets one of another origin. */
static void set_marks(struct jv s, uint8_t *out)
{
        if (s.s->mark)
                memcpy(out, s.s->mark, s.s->n);
        else
                memset(out, s.data, s.s->n);
}

/* A template that builds its output in a variable (x = x + more) adds to the same string again and again:
 * the string that was made last has room behind it and grows there. Shorter ones that share its memory do
 * not see that. */
struct jv jv_concat(struct run *r, struct jv a, struct jv b)
{
        size_t n = a.s->n + b.s->n;
        bool in_place = r->tail.p && a.s->p == r->tail.p && a.s->n == r->tail.n && r->tail.cap >= n;
        bool mixed = a.s->mark || b.s->mark || (a.data != b.data && a.s->n && b.s->n);
        run_step(r, (in_place ? b.s->n : n) / 16 + 1);
        if (!in_place) {
                r->tail.cap = n + n / 2 + 32;
                char *p = run_alloc(r, r->tail.cap);
                memcpy(p, a.s->p, a.s->n);
                r->tail.p = p;
                r->tail.mark = NULL;
        }
        if (b.s->n)
                memcpy((char *)r->tail.p + a.s->n, b.s->p, b.s->n);
        if (mixed) {
                if (!r->tail.mark || r->tail.mark != a.s->mark) {
                        r->tail.mark = run_alloc(r, r->tail.cap);
                        set_marks(a, r->tail.mark);
                }
                set_marks(b, r->tail.mark + a.s->n);
        }
        r->tail.n = n;
        struct jv_str *s = run_alloc(r, sizeof(*s));
        *s = (struct jv_str){ .p = r->tail.p, .n = n, .mark = mixed ? r->tail.mark : NULL };
        return (struct jv){ .kind = JV_STR, .data = !mixed && (a.s->n ? a.data : b.data), .s = s };
}

struct jv jv_escape(struct run *r, struct jv v)
{
        struct jv s = jv_to_str(r, v);
        struct text t = text_new(r);
        if (s.s->markup)
                return s;
        for (size_t i = 0; i < s.s->n; i++) {
                static const char special[] = "&<>'\"";
                static const char *const names[] = { "&amp;", "&lt;", "&gt;", "&#39;", "&#34;" };
                const char *at = s.s->p[i] ? strchr(special, s.s->p[i]) : NULL;
                if (at)
                        text_adds(&t, names[at - special], jv_data_at(s, i));
                else
                        text_part(&t, s, i, i + 1);
        }
        return text_value(&t, true);
}

/* ---- repr ------------------------------------------------------------------------------------------- */

/* A string in quotes: single ones, unless it has those and no double ones. */
static void repr_string(struct text *t, struct jv s)
{
        static const char hex[] = "0123456789abcdef";
        bool single = s.s->n && memchr(s.s->p, '\'', s.s->n), twice = s.s->n && memchr(s.s->p, '"', s.s->n);
        char quote[2] = { single && !twice ? '"' : '\'', 0 };
        if (s.s->markup)
                text_adds(t, "Markup(", false);
        text_adds(t, quote, s.data);
        for (size_t i = 0, n; i < s.s->n; i += n) {
                uint32_t c;
                char out[12];
                size_t k = 0;
                n = uni_next(s.s->p + i, &c);
                if (c == '\\' || c == (uint32_t)quote[0] || c == '\n' || c == '\r' || c == '\t') {
                        out[k++] = '\\';
                        out[k++] = c == '\n' ? 'n' : c == '\r' ? 'r' : c == '\t' ? 't' : (char)c;
                } else if (uni_is(c, UNI_UNPRINTABLE)) {
                        int digits = c < 0x100 ? 2 : c < 0x10000 ? 4 : 8;
                        out[k++] = '\\';
                        out[k++] = digits == 2 ? 'x' : digits == 4 ? 'u' : 'U';
                        while (digits--)
                                out[k++] = hex[c >> (4 * digits) & 15];
                }
                if (k)
                        text_add(t, out, k, jv_data_at(s, i));
                else
                        text_part(t, s, i, i + n);
        }
        text_adds(t, quote, s.data);
        if (s.s->markup)
                text_adds(t, ")", false);
}

static void repr_list(struct text *t, struct jv v, const char *open, const char *close)
{
        text_adds(t, open, v.data);
        for (size_t i = 0; i < v.l->n; i++) {
                if (i)
                        text_adds(t, ", ", v.data);
                text_repr(t, v.l->v[i]);
        }
        text_adds(t, close, v.data);
}

static void repr_dict(struct text *t, struct jv v)
{
        text_adds(t, "{", v.data);
        for (size_t i = 0; i < v.d->n; i++) {
                if (i)
                        text_adds(t, ", ", v.data);
                text_repr(t, v.d->keys[i]);
                text_adds(t, ": ", v.data);
                text_repr(t, v.d->vals[i]);
        }
        text_adds(t, "}", v.data);
}

static void repr_int(struct text *t, int64_t i, bool data)
{
        char out[24], *p = out + sizeof(out);
        uint64_t u = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
        do {
                *--p = (char)('0' + u % 10);
        } while (u /= 10);
        if (i < 0)
                *--p = '-';
        text_add(t, p, (size_t)(out + sizeof(out) - p), data);
}

static void repr_range(struct text *t, const struct jv_range *g)
{
        text_adds(t, "range(", false);
        repr_int(t, g->start, false);
        text_adds(t, ", ", false);
        repr_int(t, g->stop, false);
        if (g->step != 1) {
                text_adds(t, ", ", false);
                repr_int(t, g->step, false);
        }
        text_adds(t, ")", false);
}

static void repr_macro(struct text *t, struct jv v)
{
        text_adds(t, "<Macro '", false);
        text_add(t, v.m->def->macro->name.p, v.m->def->macro->name.n, false);
        text_adds(t, "'>", false);
}

static void repr_collection(struct text *t, struct jv v)
{
        switch ((enum jv_kind)v.kind) {
        case JV_LIST:
                repr_list(t, v, "[", "]");
                break;
        case JV_TUPLE:
                repr_list(t, v, "(", v.l->n == 1 ? ",)" : ")");
                break;
        case JV_KEYS:
                repr_list(t, v, "dict_keys([", "])");
                break;
        case JV_VALUES:
                repr_list(t, v, "dict_values([", "])");
                break;
        case JV_ITEMS:
                repr_list(t, v, "dict_items([", "])");
                break;
        case JV_NAMESPACE:
                text_adds(t, "<Namespace ", false);
                repr_dict(t, v);
                text_adds(t, ">", false);
                break;
        case JV_DICT:
                repr_dict(t, v);
                break;
        case JV_RANGE:
                repr_range(t, v.r);
                break;
        case JV_LOOP:
                run_loop_repr(t->r, v, t);
                break;
        case JV_MACRO:
                repr_macro(t, v);
                break;
        default: /* Python prints an address; there is none that means anything */
                text_adds(t, "<", false);
                text_adds(t, jv_type(v), false);
                text_adds(t, " object>", false);
                break;
        }
}

void text_repr(struct text *t, struct jv v)
{
        char number[JV_FLOAT_TEXT];
        run_enter(t->r);
        run_step(t->r, 1);
        switch ((enum jv_kind)v.kind) {
        case JV_STR:
                repr_string(t, v);
                break;
        case JV_INT:
                repr_int(t, v.i, v.data);
                break;
        case JV_FLOAT:
                text_add(t, number, jv_float_text(v.f, number), v.data);
                break;
        case JV_BOOL:
                text_adds(t, v.b ? "True" : "False", v.data);
                break;
        case JV_NONE:
                text_adds(t, "None", v.data);
                break;
        case JV_UNDEF:
        case JV_MISSING:
                text_adds(t, "Undefined", false);
                break;
        default:
                repr_collection(t, v);
                break;
        }
        run_leave(t->r);
}

void text_str(struct text *t, struct jv v)
{
        if (v.kind == JV_STR)
                text_addv(t, v);
        else if (v.kind != JV_UNDEF)
                text_repr(t, v);
}

struct jv jv_to_str(struct run *r, struct jv v)
{
        struct text t = text_new(r);
        if (v.kind == JV_STR)
                return v;
        text_str(&t, v);
        return text_value(&t, false);
}
