/* Filters of values and sequences; those of text are in filters_text.c. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "jinja/filters.h"
#include "jinja/unicode.h"

static bool given(struct jv v)
{
        return v.kind != JV_MISSING;
}

static bool flag(struct run *r, struct jv v)
{
        return given(v) && jv_truth(r, v);
}

static struct jv generator(struct run *r)
{
        return jv_list(r, JV_GEN, 0);
}

/* ---- attributes of elements ------------------------------------------------------------------------- */

/* Follows a path such as "function.parameters.0": items first, numbers as positions. `dflt` (when it is not
 * MISSING or None) stands for what is undefined on the way. */
static struct jv follow(struct run *r, struct jv v, struct jv path, struct jv dflt)
{
        if (path.kind != JV_STR)
                return path.kind == JV_MISSING || path.kind == JV_NONE ? v : run_getitem(r, v, path);
        struct str rest = jv_text(path);
        do {
                struct str one = str_split(rest, '.', &rest);
                int64_t i;
                bool number = one.n && one.p[0] != '-' && str_to_i64(one, &i);
                v = run_getitem(r, v, number ? jv_int(i) : jv_str(r, one, false));
                if (v.kind == JV_UNDEF && given(dflt) && dflt.kind != JV_NONE)
                        v = dflt;
        } while (rest.p);
        return v;
}

static struct jv folded(struct run *r, struct jv v, bool case_sensitive)
{
        return !case_sensitive && v.kind == JV_STR ? text_lower(r, v) : v;
}

/* The key of an element that is sorted by one or more paths ("age,name"). */
static struct jv sort_key(struct run *r, struct jv v, struct jv attribute, bool case_sensitive)
{
        struct jv key = jv_list(r, JV_LIST, 1);
        if (attribute.kind != JV_STR) {
                jv_push(r, &key, folded(r, follow(r, v, attribute, JV_NONE_VALUE), case_sensitive));
                return key;
        }
        struct str rest = jv_text(attribute);
        do {
                struct jv path = jv_str(r, str_split(rest, ',', &rest), false);
                jv_push(r, &key, folded(r, follow(r, v, path, JV_NONE_VALUE), case_sensitive));
        } while (rest.p);
        return key;
}

/* ---- sorting ---------------------------------------------------------------------------------------- */

/* Stable merge sort; with `reverse` larger keys come first and equal ones keep their order too. */
static void merge_sort(struct run *r, struct sorted *a, struct sorted *tmp, size_t n, bool reverse)
{
        if (n < 2)
                return;
        size_t half = n / 2, i = 0, k = half, out = 0;
        merge_sort(r, a, tmp, half, reverse);
        merge_sort(r, a + half, tmp, n - half, reverse);
        memcpy(tmp, a, n * sizeof(*a));
        run_step(r, n);
        while (i < half && k < n) {
                int c = reverse ? jv_compare(r, tmp[i].key, tmp[k].key, "<") == -1
                                : jv_compare(r, tmp[k].key, tmp[i].key, "<") == -1;
                a[out++] = c ? tmp[k++] : tmp[i++];
        }
        while (i < half)
                a[out++] = tmp[i++];
        while (k < n)
                a[out++] = tmp[k++];
}

void jv_sort(struct run *r, struct sorted *a, size_t n, bool reverse)
{
        merge_sort(r, a, run_array(r, n, sizeof(*a)), n, reverse);
}

static struct jv sorted_list(struct run *r, struct sorted *a, size_t n, bool reverse)
{
        struct jv out = jv_list(r, JV_LIST, n);
        jv_sort(r, a, n, reverse);
        for (size_t i = 0; i < n; i++)
                jv_push(r, &out, a[i].v);
        return out;
}

static struct jv sort(struct run *r, struct jv v, const struct jv_args *a)
{
        const struct jv_list *l = jv_iterate(r, v);
        struct sorted *rows = run_array(r, l->n, sizeof(*rows));
        bool case_sensitive = flag(r, a->v[1]);
        for (size_t i = 0; i < l->n; i++)
                rows[i] = (struct sorted){ sort_key(r, l->v[i], a->v[2], case_sensitive), l->v[i] };
        return sorted_list(r, rows, l->n, flag(r, a->v[0]));
}

static struct jv dictsort(struct run *r, struct jv v, const struct jv_args *a)
{
        bool case_sensitive = flag(r, a->v[0]), by_value = given(a->v[1]) && jv_is(a->v[1], "value");
        if (given(a->v[1]) && !by_value && !jv_is(a->v[1], "key"))
                run_fail(r, "You can only sort by either \"key\" or \"value\"");
        if (v.kind == JV_UNDEF)
                run_fail_undefined(r, v);
        if (v.kind != JV_DICT)
                run_fail(r, "'%s' object has no attribute 'items'", jv_type(v));
        struct sorted *rows = run_array(r, v.d->n, sizeof(*rows));
        for (size_t i = 0; i < v.d->n; i++)
                rows[i] = (struct sorted){ folded(r, by_value ? v.d->vals[i] : v.d->keys[i], case_sensitive),
                                           jv_pair(r, v.d->keys[i], v.d->vals[i]) };
        return sorted_list(r, rows, v.d->n, flag(r, a->v[2]));
}

static struct jv extreme(struct run *r, struct jv v, const struct jv_args *a, bool largest)
{
        const struct jv_list *l = jv_iterate(r, v);
        bool case_sensitive = flag(r, a->v[0]);
        if (!l->n)
                return jv_undef(r, "No aggregated item, sequence was empty.");
        struct jv best = l->v[0],
                  best_key = folded(r, follow(r, best, a->v[1], JV_NONE_VALUE), case_sensitive);
        for (size_t i = 1; i < l->n; i++) {
                struct jv key = folded(r, follow(r, l->v[i], a->v[1], JV_NONE_VALUE), case_sensitive);
                run_step(r, 1);
                if (largest ? jv_compare(r, key, best_key, ">") == 1
                            : jv_compare(r, key, best_key, "<") == -1) {
                        best = l->v[i];
                        best_key = key;
                }
        }
        return best;
}

static struct jv min(struct run *r, struct jv v, const struct jv_args *a)
{
        return extreme(r, v, a, false);
}

static struct jv max(struct run *r, struct jv v, const struct jv_args *a)
{
        return extreme(r, v, a, true);
}

static struct jv unique(struct run *r, struct jv v, const struct jv_args *a)
{
        const struct jv_list *l = jv_iterate(r, v);
        struct jv seen = jv_dict(r, 0), out = generator(r);
        bool case_sensitive = flag(r, a->v[0]);
        for (size_t i = 0; i < l->n; i++) {
                struct jv key = folded(r, follow(r, l->v[i], a->v[1], JV_NONE_VALUE), case_sensitive);
                run_step(r, 1);
                if (jv_get(r, seen, key))
                        continue;
                jv_put(r, &seen, key, JV_NONE_VALUE);
                jv_push(r, &out, l->v[i]);
        }
        return out;
}

static struct jv groupby(struct run *r, struct jv v, const struct jv_args *a)
{
        const struct jv_list *l = jv_iterate(r, v);
        struct sorted *rows = run_array(r, l->n, sizeof(*rows));
        bool case_sensitive = flag(r, a->v[2]);
        for (size_t i = 0; i < l->n; i++)
                rows[i] = (struct sorted){ folded(r, follow(r, l->v[i], a->v[0], a->v[1]), case_sensitive),
                                           l->v[i] };
        jv_sort(r, rows, l->n, false);
        struct jv out = jv_list(r, JV_LIST, 0);
        for (size_t i = 0; i < l->n;) {
                struct jv members = jv_list(r, JV_LIST, 0);
                struct jv key = follow(r, rows[i].v, a->v[0], a->v[1]);
                size_t first = i;
                while (i < l->n && jv_equal(r, rows[i].key, rows[first].key))
                        jv_push(r, &members, rows[i++].v);
                if (i == first) /* a NaN is equal to nothing */
                        jv_push(r, &members, rows[i++].v);
                struct jv group = jv_pair(r, key, members);
                group.l->group = true;
                jv_push(r, &out, group);
        }
        return out;
}

/* ---- selecting and mapping --------------------------------------------------------------------------- */

static struct jv_args rest_of(const struct jv_args *a, size_t skip)
{
        struct jv_args out = *a;
        out.v += skip;
        out.n -= skip;
        return out;
}

static struct jv select_where(struct run *r, struct jv v, const struct jv_args *a, bool by_attr, bool keep)
{
        struct jv out = generator(r);
        size_t skip = by_attr ? 1 : 0;
        const struct jv_builtin *test = NULL;
        struct jv_args args = { 0 };
        if (!jv_truth(r, v))
                return out;
        if (by_attr && !a->n)
                run_fail(r, "Missing parameter for attribute name");
        if (a->n > skip) {
                struct jv name = a->v[skip];
                test = name.kind == JV_STR ? test_find(jv_text(name)) : NULL;
                if (!test)
                        run_fail(r, "No test named '%.*s'.", name.kind == JV_STR ? (int)name.s->n : 1,
                                 name.kind == JV_STR ? name.s->p : "?");
                args = rest_of(a, skip + 1);
        }
        const struct jv_list *l = jv_iterate(r, v);
        for (size_t i = 0; i < l->n; i++) {
                struct jv x = by_attr ? follow(r, l->v[i], a->v[0], JV_NONE_VALUE) : l->v[i];
                run_step(r, 1);
                if (test)
                        x = run_builtin(r, test, x, &args);
                if (jv_truth(r, x) == keep)
                        jv_push(r, &out, l->v[i]);
        }
        return out;
}

static struct jv select_true(struct run *r, struct jv v, const struct jv_args *a)
{
        return select_where(r, v, a, false, true);
}

static struct jv reject(struct run *r, struct jv v, const struct jv_args *a)
{
        return select_where(r, v, a, false, false);
}

static struct jv selectattr(struct run *r, struct jv v, const struct jv_args *a)
{
        return select_where(r, v, a, true, true);
}

static struct jv rejectattr(struct run *r, struct jv v, const struct jv_args *a)
{
        return select_where(r, v, a, true, false);
}

/* map(attribute=..., default=...): a path of each element. */
static struct jv map_attribute(struct run *r, const struct jv_list *l, const struct jv_args *a)
{
        struct jv out = generator(r), path = { 0 }, dflt = { 0 };
        for (size_t i = 0; i < a->n_kw; i++) {
                if (str_eqc(a->kw_name[i], "attribute"))
                        path = a->kw[i];
                else if (str_eqc(a->kw_name[i], "default"))
                        dflt = a->kw[i];
                else
                        run_fail(r, "Unexpected keyword argument '%.*s'", (int)(a->kw_name[i].n % 64),
                                 a->kw_name[i].p);
        }
        if (!given(path))
                run_fail(r, "map requires a filter argument");
        for (size_t i = 0; i < l->n; i++) {
                run_step(r, 1);
                jv_push(r, &out, follow(r, l->v[i], path, dflt));
        }
        return out;
}

static struct jv map(struct run *r, struct jv v, const struct jv_args *a)
{
        struct jv out = generator(r);
        if (!jv_truth(r, v))
                return out;
        const struct jv_list *l = jv_iterate(r, v);
        if (!a->n)
                return map_attribute(r, l, a);
        const struct jv_builtin *filter = a->v[0].kind == JV_STR ? filter_find(jv_text(a->v[0])) : NULL;
        if (!filter)
                run_fail(r, "No filter named '%.*s'.", a->v[0].kind == JV_STR ? (int)a->v[0].s->n : 1,
                         a->v[0].kind == JV_STR ? a->v[0].s->p : "?");
        struct jv_args args = rest_of(a, 1);
        for (size_t i = 0; i < l->n; i++) {
                run_step(r, 1);
                jv_push(r, &out, run_builtin(r, filter, l->v[i], &args));
        }
        return out;
}

/* ---- shapes of sequences ----------------------------------------------------------------------------- */

static struct jv list(struct run *r, struct jv v, const struct jv_args *a)
{
        (void)a;
        const struct jv_list *l = jv_iterate(r, v);
        struct jv out = jv_list(r, JV_LIST, l->n);
        run_step(r, l->n);
        for (size_t i = 0; i < l->n; i++)
                jv_push(r, &out, l->v[i]);
        return out;
}

static struct jv items(struct run *r, struct jv v, const struct jv_args *a)
{
        struct jv out = generator(r);
        (void)a;
        if (v.kind == JV_UNDEF)
                return out;
        if (v.kind != JV_DICT)
                run_fail(r, "Can only get item pairs from a mapping.");
        for (size_t i = 0; i < v.d->n; i++)
                jv_push(r, &out, jv_pair(r, v.d->keys[i], v.d->vals[i]));
        return out;
}

static struct jv length(struct run *r, struct jv v, const struct jv_args *a)
{
        (void)a;
        return jv_int((int64_t)jv_length(r, v));
}

static struct jv first(struct run *r, struct jv v, const struct jv_args *a)
{
        (void)a;
        if (v.kind == JV_GEN && v.l->at < v.l->n)
                return v.l->v[v.l->at++]; /* the rest stays */
        if (v.kind == JV_STR && v.s->n) {
                uint32_t c;
                return jv_part(r, v, 0, uni_next(v.s->p, &c));
        }
        const struct jv_list *l = jv_iterate(r, v);
        return l->n ? l->v[0] : jv_undef(r, "No first item, sequence was empty.");
}

static struct jv last(struct run *r, struct jv v, const struct jv_args *a)
{
        (void)a;
        if (v.kind == JV_GEN || !jv_iterable(v))
                run_fail(r, "'%s' object is not reversible", jv_type(v));
        if (v.kind == JV_STR && v.s->n)
                return jv_part(r, v, v.s->n - uni_back(v.s->p, v.s->n), v.s->n);
        const struct jv_list *l = jv_iterate(r, v);
        return l->n ? l->v[l->n - 1] : jv_undef(r, "No last item, sequence was empty.");
}

static struct jv reverse(struct run *r, struct jv v, const struct jv_args *a)
{
        (void)a;
        if (v.kind == JV_STR)
                return run_slice(r, v, JV_NONE_VALUE, JV_NONE_VALUE, jv_int(-1));
        const struct jv_list *l = jv_iterate(r, v);
        struct jv out = jv_list(r, v.kind == JV_GEN ? JV_LIST : JV_GEN, l->n);
        run_step(r, l->n);
        for (size_t i = l->n; i; i--)
                jv_push(r, &out, l->v[i - 1]);
        return out;
}

static struct jv batch(struct run *r, struct jv v, const struct jv_args *a)
{
        const struct jv_list *l = jv_iterate(r, v);
        int64_t size = jv_as_int(r, a->v[0], "linecount");
        struct jv out = generator(r), row = jv_list(r, JV_LIST, 0);
        for (size_t i = 0; i < l->n; i++) {
                run_step(r, 1);
                if ((int64_t)row.l->n == size) {
                        jv_push(r, &out, row);
                        row = jv_list(r, JV_LIST, 0);
                }
                jv_push(r, &row, l->v[i]);
        }
        if (!row.l->n)
                return out;
        while (given(a->v[1]) && a->v[1].kind != JV_NONE && (int64_t)row.l->n < size) {
                run_step(r, 1);
                jv_push(r, &row, a->v[1]);
        }
        jv_push(r, &out, row);
        return out;
}

static struct jv slice(struct run *r, struct jv v, const struct jv_args *a)
{
        const struct jv_list *l = jv_iterate(r, v);
        int64_t slices = jv_as_int(r, a->v[0], "slices");
        bool fill = given(a->v[1]) && a->v[1].kind != JV_NONE;
        struct jv out = generator(r);
        size_t at = 0;
        if (!slices)
                run_fail(r, "integer division or modulo by zero");
        for (int64_t k = 0; k < slices; k++) {
                bool extra = (uint64_t)k < l->n % (uint64_t)slices;
                size_t n = l->n / (uint64_t)slices + extra;
                struct jv part = jv_list(r, JV_LIST, n);
                run_step(r, n + 1);
                for (size_t i = 0; i < n; i++)
                        jv_push(r, &part, l->v[at++]);
                if (fill && !extra)
                        jv_push(r, &part, a->v[1]);
                jv_push(r, &out, part);
        }
        return out;
}

static struct jv join(struct run *r, struct jv v, const struct jv_args *a)
{
        const struct jv_list *l = jv_iterate(r, v);
        struct jv sep = given(a->v[0]) ? jv_to_str(r, a->v[0]) : jv_cstr(r, "");
        struct text t = text_new(r);
        for (size_t i = 0; i < l->n; i++) {
                run_step(r, 1);
                if (i)
                        text_addv(&t, sep);
                text_str(&t, follow(r, l->v[i], a->v[1], JV_NONE_VALUE));
        }
        return text_value(&t, false);
}

static struct jv sum(struct run *r, struct jv v, const struct jv_args *a)
{
        const struct jv_list *l = jv_iterate(r, v);
        struct jv out = given(a->v[1]) ? a->v[1] : jv_int(0);
        if (out.kind == JV_STR)
                run_fail(r, "sum() can't sum strings [use ''.join(seq) instead]");
        for (size_t i = 0; i < l->n; i++) {
                run_step(r, 1);
                out = jv_arith(r, OP_ADD, out, follow(r, l->v[i], a->v[0], JV_NONE_VALUE));
        }
        return out;
}

/* ---- single values ----------------------------------------------------------------------------------- */

static struct jv default_value(struct run *r, struct jv v, const struct jv_args *a)
{
        bool use = v.kind == JV_UNDEF || (flag(r, a->v[1]) && !jv_truth(r, v));
        if (!use)
                return v;
        return given(a->v[0]) ? a->v[0] : jv_cstr(r, "");
}

static struct jv attr(struct run *r, struct jv v, const struct jv_args *a)
{
        struct str name = jv_text(jv_to_str(r, a->v[0]));
        if (v.kind != JV_DICT)
                return run_getattr(r, v, name);
        bool unsafe = false; /* the attributes of a dict are its methods, not its items */
        return method_find(v, name, &unsafe) || unsafe ? run_getattr(r, v, name)
                                                       : jv_undef_item(r, v, a->v[0], false);
}

static struct jv absolute(struct run *r, struct jv v, const struct jv_args *a)
{
        (void)a;
        if (v.kind == JV_UNDEF)
                run_fail_undefined(r, v);
        if (!jv_number(v))
                run_fail(r, "bad operand type for abs(): '%s'", jv_type(v));
        if (v.kind == JV_FLOAT)
                return jv_float(fabs(v.f));
        return jv_negate(r, v, jv_as_int(r, v, "") >= 0);
}

/* A Python float in text: spaces around it, underscores between digits, inf and nan. */
static bool parse_float(struct str s, double *ret)
{
        char text[400];
        size_t n = 0;
        s = text_strip_space(s);
        for (size_t i = 0; i < s.n; i++) {
                bool between = i && i + 1 < s.n && s.p[i - 1] >= '0' && s.p[i - 1] <= '9' &&
                               s.p[i + 1] >= '0' && s.p[i + 1] <= '9';
                if (s.p[i] == '_' && between)
                        continue;
                if (n + 1 >= sizeof(text) || s.p[i] == 'x' || s.p[i] == 'X' || s.p[i] == '(' || s.p[i] <= ' ')
                        return false;
                text[n++] = s.p[i];
        }
        text[n] = '\0';
        char *end;
        *ret = strtod(text, &end);
        return n && end == text + n;
}

/* int(text, base) of Python; 0 on success, -1 when it is none, -2 when it does not fit. */
static int parse_int(struct str s, int64_t base, int64_t *ret)
{
        char text[80];
        size_t n = 0, i = 0;
        s = text_strip_space(s);
        if (i < s.n && (s.p[i] == '-' || s.p[i] == '+'))
                text[n++] = s.p[i++];
        int letter = i + 1 < s.n && s.p[i] == '0' ? s.p[i + 1] | 0x20 : 0;
        int64_t prefix = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 0;
        if (prefix && (base == prefix || base == 0)) {
                base = prefix;
                i += 2;
        }
        base = base ? base : 10;
        size_t start = n;
        for (; i < s.n; i++) {
                if (s.p[i] == '_' && n > start && i + 1 < s.n && s.p[i + 1] != '_')
                        continue;
                if (s.p[i] <= ' ' || s.p[i] == '-' || s.p[i] == '+')
                        return -1;
                if (n + 1 >= sizeof(text))
                        return -2;
                text[n++] = s.p[i];
        }
        text[n] = '\0';
        if (n == start || base < 2 || base > 36)
                return -1;
        char *end;
        errno = 0;
        *ret = strtoll(text, &end, (int)base);
        return end != text + n ? -1 : errno ? -2 : 0;
}

static struct jv to_int(struct run *r, struct jv v, const struct jv_args *a)
{
        struct jv dflt = given(a->v[0]) ? a->v[0] : jv_int(0);
        int64_t base = given(a->v[1]) ? jv_as_int(r, a->v[1], "base") : 10, i = 0;
        double f;
        int rc = 0;
        if (v.kind == JV_UNDEF)
                run_fail_undefined(r, v);
        if (v.kind == JV_STR) {
                rc = parse_int(jv_text(v), base, &i);
                if (rc == -1 && (!parse_float(jv_text(v), &f) || !isfinite(f)))
                        return dflt;
                if (rc == -1 && fabs(f) < 0x1p63) {
                        i = (int64_t)f;
                        rc = 0;
                }
        } else if (v.kind == JV_FLOAT) {
                if (isnan(v.f))
                        return dflt;
                rc = fabs(v.f) < 0x1p63 ? 0 : -2;
                i = rc ? 0 : (int64_t)v.f;
        } else if (jv_number(v)) {
                i = jv_as_int(r, v, "");
        } else {
                return dflt;
        }
        if (rc)
                run_fail(r, "an integer is too large");
        struct jv out = jv_int(i);
        out.data = v.kind == JV_STR ? v.data || v.s->mark : v.data;
        return out;
}

static struct jv to_float(struct run *r, struct jv v, const struct jv_args *a)
{
        double f;
        if (v.kind == JV_UNDEF)
                run_fail_undefined(r, v);
        if (jv_number(v) || (v.kind == JV_STR && parse_float(jv_text(v), &f))) {
                struct jv out = jv_float(v.kind == JV_STR ? f : jv_as_float(v));
                out.data = v.kind == JV_STR ? v.data || v.s->mark : v.data;
                return out;
        }
        return given(a->v[0]) ? a->v[0] : jv_float(0);
}

/* To tens, hundreds, ...: half goes to the even neighbour. */
static int64_t round_int(struct run *r, int64_t i, int64_t digits)
{
        int64_t unit = 1;
        for (; digits < 0; digits++)
                if (__builtin_mul_overflow(unit, 10, &unit))
                        return 0;
        int64_t rest = i % unit, down = i - rest;
        if (rest < 0) {
                rest += unit;
                down -= unit;
        }
        if (rest > unit - rest || (rest == unit - rest && (down / unit) % 2))
                if (__builtin_add_overflow(down, unit, &down))
                        run_fail(r, "an integer is too large");
        return down;
}

static double round_float(double f, int64_t digits)
{
        char text[400];
        if (!isfinite(f) || digits > 300)
                return f;
        if (digits < 0) {
                double unit = pow(10, (double)-digits);
                return nearbyint(f / unit) * unit;
        }
        snprintf(text, sizeof(text), "%.*f", (int)digits, f);
        return strtod(text, NULL);
}

static struct jv round_number(struct run *r, struct jv v, const struct jv_args *a)
{
        int64_t digits = given(a->v[0]) ? jv_as_int(r, a->v[0], "precision") : 0;
        struct jv method = a->v[1];
        if (v.kind == JV_UNDEF)
                run_fail_undefined(r, v);
        if (!jv_number(v))
                run_fail(r, "type %s doesn't define __round__ method", jv_type(v));
        if (digits < -400 || digits > 400)
                run_fail(r, "precision is out of range");
        struct jv out;
        if (!given(method) || jv_is(method, "common")) {
                out = v.kind == JV_FLOAT ? jv_float(round_float(v.f, digits))
                                         : jv_int(round_int(r, jv_as_int(r, v, ""), digits));
        } else {
                if (!jv_is(method, "ceil") && !jv_is(method, "floor"))
                        run_fail(r, "method must be common, ceil or floor");
                struct jv unit = jv_arith(r, OP_POW, jv_int(10), jv_int(digits));
                double scaled = jv_as_float(jv_arith(r, OP_MUL, v, unit));
                double whole = jv_is(method, "ceil") ? ceil(scaled) : floor(scaled);
                out = jv_float(whole / jv_as_float(unit));
        }
        out.data = v.data;
        return out;
}

static struct jv filesizeformat(struct run *r, struct jv v, const struct jv_args *a)
{
        static const char units[] = "kMGTPEZY";
        bool binary = flag(r, a->v[0]);
        struct jv number = to_float(r, v, &(struct jv_args){ .v = (struct jv[1]){ JV_NONE_VALUE }, .n = 1 });
        if (number.kind == JV_NONE)
                run_fail(r, "could not convert %s to float", jv_type(v));
        double bytes = number.f, base = binary ? 1024 : 1000, unit = base;
        char out[64];
        if (bytes == 1)
                snprintf(out, sizeof(out), "1 Byte");
        else if (bytes < base)
                snprintf(out, sizeof(out), "%.0f Bytes", trunc(bytes) + 0.0);
        else {
                size_t i = 0;
                for (; i + 1 < sizeof(units) - 1 && bytes >= unit * base; i++)
                        unit *= base;
                snprintf(out, sizeof(out), "%.1f %c%sB", base * bytes / (unit * base),
                         binary && !i ? 'K' : units[i], binary ? "i" : "");
        }
        return jv_str(r, str_c(arena_strdup(r->mem, out)), number.data);
}

static struct jv random_item(struct run *r, struct jv v, const struct jv_args *a)
{
        (void)v;
        (void)a;
        run_fail(r, "the filter random is not supported: rendering must be repeatable");
}

/* ---- the table --------------------------------------------------------------------------------------- */

static const struct jv_builtin filters[] = {
        { "abs", absolute, "", 0 },
        { "attr", attr, "name", 1 },
        { "batch", batch, "linecount,fill_with", 1 },
        { "count", length, "", 0 },
        { "d", default_value, "default_value,boolean", 0 },
        { "default", default_value, "default_value,boolean", 0 },
        { "dictsort", dictsort, "case_sensitive,by,reverse", 0 },
        { "filesizeformat", filesizeformat, "binary", 0 },
        { "first", first, "", 0 },
        { "float", to_float, "default", 0 },
        { "groupby", groupby, "attribute,default,case_sensitive", 1 },
        { "int", to_int, "default,base", 0 },
        { "items", items, "", 0 },
        { "join", join, "d,attribute", 0 },
        { "last", last, "", 0 },
        { "length", length, "", 0 },
        { "list", list, "", 0 },
        { "map", map, NULL, 0 },
        { "max", max, "case_sensitive,attribute", 0 },
        { "min", min, "case_sensitive,attribute", 0 },
        { "pprint", jv_pprint, "", 0 },
        { "random", random_item, "", 0 },
        { "reject", reject, NULL, 0 },
        { "rejectattr", rejectattr, NULL, 0 },
        { "reverse", reverse, "", 0 },
        { "round", round_number, "precision,method", 0 },
        { "select", select_true, NULL, 0 },
        { "selectattr", selectattr, NULL, 0 },
        { "slice", slice, "slices,fill_with", 1 },
        { "sort", sort, "reverse,case_sensitive,attribute", 0 },
        { "sum", sum, "attribute,start", 0 },
        { "unique", unique, "case_sensitive,attribute", 0 },
};

const struct jv_builtin *jv_builtin_find(const struct jv_builtin *table, size_t n, struct str name)
{
        for (size_t lo = 0, hi = n; lo < hi;) {
                size_t mid = (lo + hi) / 2, len = strlen(table[mid].name);
                int c = strncmp(table[mid].name, name.p, name.n);
                c = c ? c : len > name.n;
                if (!c)
                        return &table[mid];
                if (c < 0)
                        lo = mid + 1;
                else
                        hi = mid;
        }
        return NULL;
}

const struct jv_builtin *filter_find(struct str name)
{
        const struct jv_builtin *f = jv_builtin_find(filters, sizeof(filters) / sizeof(filters[0]), name);
        if (!f)
                f = filter_text_find(name);
        return f ? f : str_eqc(name, jv_tojson.name) ? &jv_tojson : NULL;
}
