/* Methods of strings, dicts, lists and Jinja's own objects. */
#include <string.h>
#include "jinja/filters.h"
#include "jinja/unicode.h"

static bool given(struct jv v)
{
        return v.kind != JV_MISSING && v.kind != JV_NONE;
}

static struct jv need_str(struct run *r, struct jv v, const char *what)
{
        if (v.kind != JV_STR)
                run_fail(r, "%s must be str, not %s", what, jv_type(v));
        return v;
}

/* ---- case, ends, padding ------------------------------------------------------------------------------ */

static struct jv lower(struct run *r, struct jv s, const struct jv_args *a)
{
        (void)a;
        return text_lower(r, s);
}

static struct jv upper(struct run *r, struct jv s, const struct jv_args *a)
{
        (void)a;
        return text_upper(r, s);
}

static struct jv title(struct run *r, struct jv s, const struct jv_args *a)
{
        (void)a;
        return text_title(r, s);
}

static struct jv capitalize(struct run *r, struct jv s, const struct jv_args *a)
{
        (void)a;
        return text_capitalize(r, s);
}

static struct jv swapcase(struct run *r, struct jv s, const struct jv_args *a)
{
        struct text t = text_new(r);
        uint32_t c;
        (void)a;
        for (size_t i = 0, n; i < s.s->n; i += n) {
                run_step(r, 1);
                n = uni_next(s.s->p + i, &c);
                struct jv ch = jv_part(r, s, i, i + n);
                text_addv(&t, uni_is(c, UNI_UPPER) ? text_lower(r, ch) : text_upper(r, ch));
        }
        return text_value(&t, s.s->markup);
}

static struct jv strip(struct run *r, struct jv s, const struct jv_args *a)
{
        return text_strip(r, s, a->v[0], true, true);
}

static struct jv lstrip(struct run *r, struct jv s, const struct jv_args *a)
{
        return text_strip(r, s, a->v[0], true, false);
}

static struct jv rstrip(struct run *r, struct jv s, const struct jv_args *a)
{
        return text_strip(r, s, a->v[0], false, true);
}

static struct jv center(struct run *r, struct jv s, const struct jv_args *a)
{
        return text_pad(r, s, a->v[0], a->v[1], TEXT_BOTH);
}

static struct jv ljust(struct run *r, struct jv s, const struct jv_args *a)
{
        return text_pad(r, s, a->v[0], a->v[1], TEXT_LEFT);
}

static struct jv rjust(struct run *r, struct jv s, const struct jv_args *a)
{
        return text_pad(r, s, a->v[0], a->v[1], TEXT_RIGHT);
}

/* Zeros go between a sign and the rest. */
static struct jv zfill(struct run *r, struct jv s, const struct jv_args *a)
{
        int64_t want = jv_as_int(r, a->v[0], "a width"), n = (int64_t)jv_length(r, s);
        size_t sign = s.s->n && (s.s->p[0] == '-' || s.s->p[0] == '+') ? 1 : 0;
        if (want <= n)
                return s;
        struct text t = text_new(r);
        text_part(&t, s, 0, sign);
        text_fill(&t, jv_cstr(r, "0"), (size_t)(want - n));
        text_part(&t, s, sign, s.s->n);
        return text_value(&t, s.s->markup);
}

static struct jv removeprefix(struct run *r, struct jv s, const struct jv_args *a)
{
        struct str p = jv_text(need_str(r, a->v[0], "a prefix"));
        bool has = p.n <= s.s->n && (!p.n || !memcmp(s.s->p, p.p, p.n));
        return has ? jv_part(r, s, p.n, s.s->n) : s;
}

static struct jv removesuffix(struct run *r, struct jv s, const struct jv_args *a)
{
        struct str p = jv_text(need_str(r, a->v[0], "a suffix"));
        bool has = p.n <= s.s->n && (!p.n || !memcmp(s.s->p + s.s->n - p.n, p.p, p.n));
        return has ? jv_part(r, s, 0, s.s->n - p.n) : s;
}

/* ---- finding ------------------------------------------------------------------------------------------ */

/* The bytes [from, to) that optional positions name; false when they name nothing (start behind the end). */
static bool window(struct run *r, struct jv s, struct jv start, struct jv stop, size_t *from, size_t *to)
{
        *from = 0;
        *to = s.s->n;
        if (!given(start) && !given(stop))
                return true;
        int64_t n = (int64_t)jv_length(r, s);
        int64_t lo = given(start) ? jv_as_int(r, start, "a start") : 0;
        int64_t hi = given(stop) ? jv_as_int(r, stop, "an end") : n;
        lo = lo < 0 ? (lo < -n ? 0 : lo + n) : lo;
        hi = hi < 0 ? (hi < -n ? 0 : hi + n) : hi > n ? n : hi;
        if (lo > hi || lo > n)
                return false;
        *from = uni_offset(jv_text(s), (size_t)lo);
        *to = uni_offset(jv_text(s), (size_t)hi);
        return true;
}

static bool affix_is(struct str s, struct str affix, bool end)
{
        return affix.n <= s.n && (!affix.n || !memcmp(end ? s.p + s.n - affix.n : s.p, affix.p, affix.n));
}

/* startswith and endswith: one string, or a tuple of which any will do. */
static struct jv has_affix(struct run *r, struct jv s, const struct jv_args *a, bool end)
{
        size_t from, to;
        struct jv affix = a->v[0];
        bool inside = window(r, s, a->v[1], a->v[2], &from, &to);
        struct str text = { s.s->p + from, inside ? to - from : 0 };
        run_step(r, 1);
        if (affix.kind == JV_STR)
                return jv_bool(inside && affix_is(text, jv_text(affix), end));
        if (affix.kind != JV_TUPLE)
                run_fail(r, "%s first arg must be str or a tuple of str, not %s",
                         end ? "endswith" : "startswith", jv_type(affix));
        bool any = false;
        for (size_t i = 0; i < affix.l->n; i++)
                any |= inside && affix_is(text, jv_text(need_str(r, affix.l->v[i], "an affix")), end);
        return jv_bool(any);
}

static struct jv startswith(struct run *r, struct jv s, const struct jv_args *a)
{
        return has_affix(r, s, a, false);
}

static struct jv endswith(struct run *r, struct jv s, const struct jv_args *a)
{
        return has_affix(r, s, a, true);
}

/* The last occurrence that lies in [from, to), NULL when there is none. */
static const char *find_last(struct str s, size_t from, size_t to, struct str what)
{
        for (size_t i = to - from >= what.n ? to - what.n + 1 : from; i > from; i--)
                if (!what.n || !memcmp(s.p + i - 1, what.p, what.n))
                        return s.p + i - 1;
        return NULL;
}

/* The position of a substring in characters, -1 when it is not there. */
static int64_t position(struct run *r, struct jv s, const struct jv_args *a, bool last)
{
        size_t from, to;
        struct str what = jv_text(need_str(r, a->v[0], "what is looked for"));
        if (!window(r, s, a->v[1], a->v[2], &from, &to))
                return -1;
        run_step(r, (to - from) / (last ? 1 : 16));
        const char *p = last || !what.n ? NULL
                        : to > from     ? memmem(s.s->p + from, to - from, what.p, what.n)
                                        : NULL;
        if (last)
                p = find_last(jv_text(s), from, to, what);
        else if (!what.n)
                p = s.s->p + from;
        return p ? (int64_t)uni_count((struct str){ s.s->p, (size_t)(p - s.s->p) }) : -1;
}

static struct jv find(struct run *r, struct jv s, const struct jv_args *a)
{
        return jv_int(position(r, s, a, false));
}

static struct jv rfind(struct run *r, struct jv s, const struct jv_args *a)
{
        return jv_int(position(r, s, a, true));
}

static struct jv str_index(struct run *r, struct jv s, const struct jv_args *a)
{
        int64_t at = position(r, s, a, false);
        if (at < 0)
                run_fail(r, "substring not found");
        return jv_int(at);
}

static struct jv str_rindex(struct run *r, struct jv s, const struct jv_args *a)
{
        int64_t at = position(r, s, a, true);
        if (at < 0)
                run_fail(r, "substring not found");
        return jv_int(at);
}

static struct jv str_count(struct run *r, struct jv s, const struct jv_args *a)
{
        size_t from, to;
        int64_t n = 0;
        struct str what = jv_text(need_str(r, a->v[0], "what is counted"));
        if (!window(r, s, a->v[1], a->v[2], &from, &to))
                return jv_int(0);
        run_step(r, (to - from) / 16);
        if (!what.n)
                return jv_int((int64_t)uni_count((struct str){ s.s->p + from, to - from }) + 1);
        for (const char *p; to - from >= what.n && (p = memmem(s.s->p + from, to - from, what.p, what.n));
             n++) {
                run_step(r, 1);
                from = (size_t)(p - s.s->p) + what.n;
        }
        return jv_int(n);
}

/* ---- splitting and joining ---------------------------------------------------------------------------- */

/* Runs of space separate; those at the ends do not count. */
static struct jv split_space(struct run *r, struct jv s, int64_t limit)
{
        struct jv out = jv_list(r, JV_LIST, 0);
        size_t i = 0;
        uint32_t c;
        while (i < s.s->n) {
                size_t n = uni_next(s.s->p + i, &c), start = i;
                run_step(r, 1);
                if (uni_is(c, UNI_SPACE)) {
                        i += n;
                        continue;
                }
                if (!limit--) {
                        jv_push(r, &out, jv_part(r, s, i, s.s->n));
                        break;
                }
                while (i < s.s->n && (n = uni_next(s.s->p + i, &c), !uni_is(c, UNI_SPACE)))
                        i += n;
                jv_push(r, &out, jv_part(r, s, start, i));
        }
        return out;
}

static struct jv rsplit_space(struct run *r, struct jv s, int64_t limit)
{
        struct jv all = split_space(r, s, -1), out = jv_list(r, JV_LIST, 0);
        size_t n = all.l->n;
        if (limit < 0 || (uint64_t)limit >= n)
                return all;
        size_t last = n - (size_t)limit - 1; /* the part that stays whole ends with this word */
        struct jv whole = all.l->v[last];
        size_t end = (size_t)(whole.s->p - s.s->p) + whole.s->n;
        jv_push(r, &out, jv_part(r, s, 0, end));
        for (size_t i = last + 1; i < n; i++)
                jv_push(r, &out, all.l->v[i]);
        return out;
}

static struct jv split(struct run *r, struct jv s, const struct jv_args *a)
{
        int64_t limit = given(a->v[1]) ? jv_as_int(r, a->v[1], "maxsplit") : -1;
        if (!given(a->v[0]))
                return split_space(r, s, limit);
        struct str sep = jv_text(need_str(r, a->v[0], "a separator"));
        struct jv out = jv_list(r, JV_LIST, 0);
        if (!sep.n)
                run_fail(r, "empty separator");
        run_step(r, s.s->n / 16);
        size_t from = 0;
        for (const char *p; limit && s.s->n - from >= sep.n; limit--) {
                if (!(p = memmem(s.s->p + from, s.s->n - from, sep.p, sep.n)))
                        break;
                run_step(r, 1);
                jv_push(r, &out, jv_part(r, s, from, (size_t)(p - s.s->p)));
                from = (size_t)(p - s.s->p) + sep.n;
        }
        jv_push(r, &out, jv_part(r, s, from, s.s->n));
        return out;
}

static struct jv rsplit(struct run *r, struct jv s, const struct jv_args *a)
{
        int64_t limit = given(a->v[1]) ? jv_as_int(r, a->v[1], "maxsplit") : -1;
        if (!given(a->v[0]))
                return rsplit_space(r, s, limit);
        struct str sep = jv_text(need_str(r, a->v[0], "a separator"));
        struct jv parts = jv_list(r, JV_LIST, 0), out = jv_list(r, JV_LIST, 0);
        if (!sep.n)
                run_fail(r, "empty separator");
        run_step(r, s.s->n);
        size_t to = s.s->n;
        for (const char *p; limit && (p = find_last(jv_text(s), 0, to, sep)); limit--) {
                size_t at = (size_t)(p - s.s->p);
                jv_push(r, &parts, jv_part(r, s, at + sep.n, to));
                to = at;
        }
        jv_push(r, &parts, jv_part(r, s, 0, to));
        for (size_t i = parts.l->n; i; i--)
                jv_push(r, &out, parts.l->v[i - 1]);
        return out;
}

static struct jv splitlines(struct run *r, struct jv s, const struct jv_args *a)
{
        bool keep = given(a->v[0]) && jv_truth(r, a->v[0]);
        struct jv out = jv_list(r, JV_LIST, 0);
        size_t at = 0, start, end;
        run_step(r, s.s->n);
        while (text_line(jv_text(s), &at, &start, &end))
                jv_push(r, &out, jv_part(r, s, start, keep ? at : end));
        return out;
}

static struct jv partition_at(struct run *r, struct jv s, const struct jv_args *a, bool last)
{
        struct str sep = jv_text(need_str(r, a->v[0], "a separator"));
        struct jv out = jv_list(r, JV_TUPLE, 3);
        if (!sep.n)
                run_fail(r, "empty separator");
        run_step(r, s.s->n);
        const char *p = last     ? find_last(jv_text(s), 0, s.s->n, sep)
                        : s.s->n ? memmem(s.s->p, s.s->n, sep.p, sep.n)
                                 : NULL;
        size_t n = s.s->n, at = p ? (size_t)(p - s.s->p) : last ? 0 : n, end = p ? at + sep.n : at;
        jv_push(r, &out, jv_part(r, s, 0, at));
        jv_push(r, &out, jv_part(r, s, at, end));
        jv_push(r, &out, jv_part(r, s, end, n));
        return out;
}

static struct jv partition(struct run *r, struct jv s, const struct jv_args *a)
{
        return partition_at(r, s, a, false);
}

static struct jv rpartition(struct run *r, struct jv s, const struct jv_args *a)
{
        return partition_at(r, s, a, true);
}

static struct jv join(struct run *r, struct jv s, const struct jv_args *a)
{
        const struct jv_list *l = jv_iterate(r, a->v[0]);
        struct text t = text_new(r);
        for (size_t i = 0; i < l->n; i++) {
                if (l->v[i].kind != JV_STR)
                        run_fail(r, "sequence item %zu: expected str instance, %s found", i,
                                 jv_type(l->v[i]));
                run_step(r, 1);
                if (i)
                        text_addv(&t, s);
                text_addv(&t, s.s->markup ? jv_escape(r, l->v[i]) : l->v[i]);
        }
        return text_value(&t, s.s->markup);
}

static struct jv replace(struct run *r, struct jv s, const struct jv_args *a)
{
        int64_t count = a->v[2].kind == JV_MISSING ? -1 : jv_as_int(r, a->v[2], "count");
        struct jv new = need_str(r, a->v[1], "the new text");
        return text_replace(r, s, need_str(r, a->v[0], "the old text"), s.s->markup ? jv_escape(r, new) : new,
                            count);
}

static struct jv format(struct run *r, struct jv s, const struct jv_args *a)
{
        return format_braces(r, s, a);
}

static struct jv format_map(struct run *r, struct jv s, const struct jv_args *a)
{
        struct jv map = a->v[0];
        if (map.kind != JV_DICT)
                run_fail(r, "format_map() needs a dict, not %s", jv_type(map));
        struct jv_args args = { .n_kw = map.d->n, .kw = map.d->vals };
        args.kw_name = run_array(r, map.d->n, sizeof(*args.kw_name));
        for (size_t i = 0; i < map.d->n; i++)
                args.kw_name[i] = map.d->keys[i].kind == JV_STR ? jv_text(map.d->keys[i]) : STR("");
        return format_braces(r, s, &args);
}

/* ---- classes ------------------------------------------------------------------------------------------ */

static bool alnum(uint32_t c)
{
        return uni_alnum(c);
}

static bool alpha(uint32_t c)
{
        return uni_is(c, UNI_ALPHA);
}

static bool digit(uint32_t c)
{
        return uni_is(c, UNI_DIGIT);
}

static bool decimal(uint32_t c)
{
        return uni_is(c, UNI_DECIMAL);
}

static bool numeric(uint32_t c)
{
        return uni_is(c, UNI_NUMERIC);
}

static bool space(uint32_t c)
{
        return uni_is(c, UNI_SPACE);
}

static struct jv all(struct run *r, struct jv s, bool (*is)(uint32_t c))
{
        uint32_t c;
        for (size_t i = 0; i < s.s->n;) {
                run_step(r, 1);
                i += uni_next(s.s->p + i, &c);
                if (!is(c))
                        return jv_bool(false);
        }
        return jv_bool(s.s->n > 0);
}

#define ALL_OF(name, is)                                                           \
        static struct jv name(struct run *r, struct jv s, const struct jv_args *a) \
        {                                                                          \
                (void)a;                                                           \
                return all(r, s, is);                                              \
        }
ALL_OF(str_isalnum, alnum)
ALL_OF(str_isalpha, alpha)
ALL_OF(str_isdigit, digit)
ALL_OF(str_isdecimal, decimal)
ALL_OF(str_isnumeric, numeric)
ALL_OF(str_isspace, space)

static struct jv str_isascii(struct run *r, struct jv s, const struct jv_args *a)
{
        (void)a;
        run_step(r, s.s->n / 16);
        for (size_t i = 0; i < s.s->n; i++)
                if ((unsigned char)s.s->p[i] >= 0x80)
                        return jv_bool(false);
        return jv_bool(true);
}

/* Some letter has a case, and none has another than `want`. */
static struct jv of_case(struct run *r, struct jv s, enum uni_class want)
{
        bool some = false;
        uint32_t c;
        for (size_t i = 0; i < s.s->n;) {
                run_step(r, 1);
                i += uni_next(s.s->p + i, &c);
                bool right = uni_is(c, want);
                if (!right && (uni_is(c, UNI_UPPER) || uni_is(c, UNI_LOWER) || uni_is(c, UNI_TITLE)))
                        return jv_bool(false);
                some |= right;
        }
        return jv_bool(some);
}

static struct jv str_islower(struct run *r, struct jv s, const struct jv_args *a)
{
        (void)a;
        return of_case(r, s, UNI_LOWER);
}

static struct jv str_isupper(struct run *r, struct jv s, const struct jv_args *a)
{
        (void)a;
        return of_case(r, s, UNI_UPPER);
}

static struct jv str_istitle(struct run *r, struct jv s, const struct jv_args *a)
{
        bool some = false, inside = false;
        uint32_t c;
        (void)a;
        for (size_t i = 0; i < s.s->n;) {
                run_step(r, 1);
                i += uni_next(s.s->p + i, &c);
                bool lower_case = uni_is(c, UNI_LOWER);
                bool capital = uni_is(c, UNI_UPPER) || uni_is(c, UNI_TITLE);
                if ((capital && inside) || (lower_case && !inside))
                        return jv_bool(false);
                inside = lower_case || capital;
                some |= inside;
        }
        return jv_bool(some);
}

static struct jv encode(struct run *r, struct jv s, const struct jv_args *a)
{
        (void)s;
        (void)a;
        run_fail(r, "str.encode() is not supported: there are no byte strings");
}

/* ---- dicts and lists ---------------------------------------------------------------------------------- */

static struct jv dict_get(struct run *r, struct jv d, const struct jv_args *a)
{
        const struct jv *v = jv_get(r, d, a->v[0]);
        if (v)
                return *v;
        return a->v[1].kind == JV_MISSING ? JV_NONE_VALUE : a->v[1];
}

static struct jv view(struct run *r, struct jv d, enum jv_kind kind)
{
        struct jv out = jv_list(r, kind, d.d->n);
        out.data = d.data;
        run_step(r, d.d->n);
        for (size_t i = 0; i < d.d->n; i++)
                jv_push(r, &out,
                        kind == JV_KEYS     ? d.d->keys[i]
                        : kind == JV_VALUES ? d.d->vals[i]
                                            : jv_pair(r, d.d->keys[i], d.d->vals[i]));
        return out;
}

static struct jv dict_items(struct run *r, struct jv d, const struct jv_args *a)
{
        (void)a;
        return view(r, d, JV_ITEMS);
}

static struct jv dict_keys(struct run *r, struct jv d, const struct jv_args *a)
{
        (void)a;
        return view(r, d, JV_KEYS);
}

static struct jv dict_values(struct run *r, struct jv d, const struct jv_args *a)
{
        (void)a;
        return view(r, d, JV_VALUES);
}

/* Nothing changes a list or dict, so a copy is the same. */
static struct jv copy(struct run *r, struct jv v, const struct jv_args *a)
{
        (void)r;
        (void)a;
        return v;
}

static struct jv list_index(struct run *r, struct jv v, const struct jv_args *a)
{
        const struct jv_list *l = jv_iterate(r, v);
        int64_t n = (int64_t)l->n, from = 0, to = n;
        if (a->v[1].kind != JV_MISSING)
                from = jv_as_int(r, a->v[1], "a start");
        if (a->v[2].kind != JV_MISSING)
                to = jv_as_int(r, a->v[2], "an end");
        from += from < 0 ? n : 0;
        to += to < 0 ? n : 0;
        for (int64_t i = from < 0 ? 0 : from; i < to && i < n; i++) {
                run_step(r, 1);
                if (jv_equal(r, l->v[i], a->v[0]))
                        return jv_int(i);
        }
        run_fail(r, "the value is not in the %s", jv_type(v));
}

static struct jv list_count(struct run *r, struct jv v, const struct jv_args *a)
{
        const struct jv_list *l = jv_iterate(r, v);
        int64_t count = 0;
        run_step(r, l->n);
        for (size_t i = 0; i < l->n; i++)
                count += jv_equal(r, l->v[i], a->v[0]);
        return jv_int(count);
}

/* ---- cyclers ------------------------------------------------------------------------------------------ */

static struct jv cycler_current(struct run *r, struct jv c, const struct jv_args *a)
{
        (void)r;
        (void)a;
        return c.turns->items.l->v[c.turns->at];
}

static struct jv cycler_next(struct run *r, struct jv c, const struct jv_args *a)
{
        struct jv v = cycler_current(r, c, a);
        c.turns->at = (c.turns->at + 1) % c.turns->items.l->n;
        return v;
}

static struct jv cycler_reset(struct run *r, struct jv c, const struct jv_args *a)
{
        (void)r;
        (void)a;
        c.turns->at = 0;
        return JV_NONE_VALUE;
}

/* ---- tables ------------------------------------------------------------------------------------------- */

static const struct jv_builtin str_methods[] = {
        { "capitalize", capitalize, "", 0 },
        { "center", center, "width,fillchar", 1 },
        { "count", str_count, "sub,start,end", 1 },
        { "encode", encode, NULL, 0 },
        { "endswith", endswith, "suffix,start,end", 1 },
        { "find", find, "sub,start,end", 1 },
        { "format", format, NULL, 0 },
        { "format_map", format_map, "mapping", 1 },
        { "index", str_index, "sub,start,end", 1 },
        { "isalnum", str_isalnum, "", 0 },
        { "isalpha", str_isalpha, "", 0 },
        { "isascii", str_isascii, "", 0 },
        { "isdecimal", str_isdecimal, "", 0 },
        { "isdigit", str_isdigit, "", 0 },
        { "islower", str_islower, "", 0 },
        { "isnumeric", str_isnumeric, "", 0 },
        { "isspace", str_isspace, "", 0 },
        { "istitle", str_istitle, "", 0 },
        { "isupper", str_isupper, "", 0 },
        { "join", join, "iterable", 1 },
        { "ljust", ljust, "width,fillchar", 1 },
        { "lower", lower, "", 0 },
        { "lstrip", lstrip, "chars", 0 },
        { "partition", partition, "sep", 1 },
        { "removeprefix", removeprefix, "prefix", 1 },
        { "removesuffix", removesuffix, "suffix", 1 },
        { "replace", replace, "old,new,count", 2 },
        { "rfind", rfind, "sub,start,end", 1 },
        { "rindex", str_rindex, "sub,start,end", 1 },
        { "rjust", rjust, "width,fillchar", 1 },
        { "rpartition", rpartition, "sep", 1 },
        { "rsplit", rsplit, "sep,maxsplit", 0 },
        { "rstrip", rstrip, "chars", 0 },
        { "split", split, "sep,maxsplit", 0 },
        { "splitlines", splitlines, "keepends", 0 },
        { "startswith", startswith, "prefix,start,end", 1 },
        { "strip", strip, "chars", 0 },
        { "swapcase", swapcase, "", 0 },
        { "title", title, "", 0 },
        { "upper", upper, "", 0 },
        { "zfill", zfill, "width", 1 },
};
static const struct jv_builtin dict_methods[] = {
        { "copy", copy, "", 0 },      { "get", dict_get, "key,default", 1 }, { "items", dict_items, "", 0 },
        { "keys", dict_keys, "", 0 }, { "values", dict_values, "", 0 },
};
static const struct jv_builtin list_methods[] = {
        { "copy", copy, "", 0 },
        { "count", list_count, "value", 1 },
        { "index", list_index, "value,start,stop", 1 },
};
static const struct jv_builtin tuple_methods[] = {
        { "count", list_count, "value", 1 },
        { "index", list_index, "value,start,stop", 1 },
};
/* A property is marked by no parameters and one required: run_getattr calls it at once. */
static const struct jv_builtin cycler_methods[] = {
        { "current", cycler_current, NULL, 1 },
        { "next", cycler_next, "", 0 },
        { "reset", cycler_reset, "", 0 },
};

/* What the sandbox keeps from templates: methods that would change a value, and private names. */
static bool forbidden(struct jv of, struct str name)
{
        static const char *const of_dict[] = { "clear", "pop", "popitem", "setdefault", "update", NULL };
        static const char *const of_list[] = { "append", "clear",  "pop",    "reverse", "insert",
                                               "sort",   "extend", "remove", NULL };
        const char *const *p = of.kind == JV_DICT ? of_dict : of.kind == JV_LIST ? of_list : NULL;
        for (; p && *p; p++)
                if (str_eqc(name, *p))
                        return true;
        return name.n > 4 && name.p[0] == '_' && name.p[1] == '_' && name.p[name.n - 1] == '_';
}

#define TABLE(t) (t), sizeof(t) / sizeof((t)[0])

const struct jv_builtin *method_find(struct jv of, struct str name, bool *ret_unsafe)
{
        const struct jv_builtin *fn = NULL;
        if (of.kind == JV_STR)
                fn = jv_builtin_find(TABLE(str_methods), name);
        else if (of.kind == JV_DICT)
                fn = jv_builtin_find(TABLE(dict_methods), name);
        else if (of.kind == JV_LIST)
                fn = jv_builtin_find(TABLE(list_methods), name);
        else if (of.kind == JV_TUPLE || of.kind == JV_RANGE)
                fn = jv_builtin_find(TABLE(tuple_methods), name);
        else if (of.kind == JV_CYCLER)
                fn = jv_builtin_find(TABLE(cycler_methods), name);
        *ret_unsafe = !fn && forbidden(of, name);
        return fn;
}
