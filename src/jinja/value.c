/* Making values, and what Python says of them: truth, equality, order, length, elements. */
#include "jinja/value.h"

#include <math.h>
#include <string.h>
#include "jinja/run.h"
#include "jinja/unicode.h"

#define INDEX_FROM 8 /* entries from which a dict keeps an index */

/* ---- making ----------------------------------------------------------------------------------------- */

struct jv jv_bool(bool b)
{
        return (struct jv){ .kind = JV_BOOL, .b = b };
}

struct jv jv_int(int64_t i)
{
        return (struct jv){ .kind = JV_INT, .i = i };
}

struct jv jv_float(double f)
{
        return (struct jv){ .kind = JV_FLOAT, .f = f };
}

static struct jv undef(struct run *r, struct jv_undef u)
{
        struct jv_undef *p = run_alloc(r, sizeof(*p));
        *p = u;
        return (struct jv){ .kind = JV_UNDEF, .u = p };
}

struct jv jv_undef(struct run *r, const char *hint)
{
        return undef(r, (struct jv_undef){ .hint = hint });
}

struct jv jv_undef_name(struct run *r, struct str name)
{
        return undef(r, (struct jv_undef){ .name = jv_str(r, name, false) });
}

/* A type's name with its module, where it is not one of Python's own. */
static const char *qualified(struct jv v)
{
        switch ((enum jv_kind)v.kind) {
        case JV_STR:
                return v.s->markup ? "markupsafe.Markup" : "str";
        case JV_TUPLE:
                return v.l->group ? "jinja2.filters._GroupTuple" : "tuple";
        case JV_NAMESPACE:
                return "jinja2.utils.Namespace";
        case JV_CYCLER:
                return "jinja2.utils.Cycler";
        case JV_JOINER:
                return "jinja2.utils.Joiner";
        case JV_LOOP:
                return "jinja2.runtime.LoopContext";
        case JV_MACRO:
                return "jinja2.runtime.Macro";
        default:
                return jv_type(v);
        }
}

struct jv jv_undef_item(struct run *r, struct jv of, struct jv name, bool unsafe)
{
        return undef(r, (struct jv_undef){ .name = name, .of = qualified(of), .unsafe = unsafe });
}

struct jv jv_str(struct run *r, struct str s, bool data)
{
        struct jv_str *p = run_alloc(r, sizeof(*p));
        *p = (struct jv_str){ .p = s.p, .n = s.n };
        return (struct jv){ .kind = JV_STR, .data = data, .s = p };
}

struct jv jv_cstr(struct run *r, const char *literal)
{
        return jv_str(r, str_c(literal), false);
}

struct jv jv_list(struct run *r, enum jv_kind kind, size_t cap)
{
        struct jv_list *l = run_alloc(r, sizeof(*l));
        l->v = run_array(r, cap, sizeof(*l->v));
        l->cap = cap;
        return (struct jv){ .kind = (uint8_t)kind, .l = l };
}

void jv_push(struct run *r, struct jv *list, struct jv v)
{
        struct jv_list *l = list->l;
        if (l->n == l->cap) {
                size_t cap = l->cap ? l->cap * 2 : 8;
                struct jv *p = run_array(r, cap, sizeof(*p));
                if (l->n)
                        memcpy(p, l->v, l->n * sizeof(*p));
                l->v = p;
                l->cap = cap;
        }
        l->v[l->n++] = v;
}

struct jv jv_pair(struct run *r, struct jv a, struct jv b)
{
        struct jv t = jv_list(r, JV_TUPLE, 2);
        jv_push(r, &t, a);
        jv_push(r, &t, b);
        return t;
}

/* ---- dicts ------------------------------------------------------------------------------------------ */

struct jv jv_dict(struct run *r, size_t cap)
{
        struct jv_dict *d = run_alloc(r, sizeof(*d));
        d->keys = run_array(r, cap, sizeof(*d->keys));
        d->vals = run_array(r, cap, sizeof(*d->vals));
        d->cap = cap;
        return (struct jv){ .kind = JV_DICT, .d = d };
}

bool jv_hashable(struct jv v)
{
        if (v.kind == JV_TUPLE) {
                for (size_t i = 0; i < v.l->n; i++)
                        if (!jv_hashable(v.l->v[i]))
                                return false;
                return true;
        }
        return v.kind != JV_LIST && v.kind != JV_DICT && v.kind != JV_KEYS && v.kind != JV_ITEMS;
}

/* Equal values have equal hashes: 1, 1.0 and True are one key. */
static uint64_t hash(struct jv v)
{
        uint64_t h = v.kind;
        if (v.kind == JV_STR)
                return str_hash(jv_text(v));
        if (jv_number(v)) {
                double f = jv_as_float(v);
                h = 0;
                memcpy(&h, &f, sizeof(h));
                h = f == 0 ? 0 : h;
                h = (h ^ h >> 32) * 0x9E3779B97F4A7C15u; /* small integers differ in the highest bits only */
                return h ^ h >> 32;
        }
        for (size_t i = 0; v.kind == JV_TUPLE && i < v.l->n; i++)
                h = h * 31 + hash(v.l->v[i]);
        return h;
}

static bool same_key(struct run *r, struct jv a, struct jv b)
{
        if (a.kind == JV_STR && b.kind == JV_STR)
                return str_eq(jv_text(a), jv_text(b));
        return jv_equal(r, a, b);
}

static void index_add(struct jv_dict *d, size_t i)
{
        uint64_t at = hash(d->keys[i]);
        while (d->index[at & d->mask])
                at++;
        d->index[at & d->mask] = (uint32_t)i + 1;
}

static void index_grow(struct run *r, struct jv_dict *d)
{
        size_t size = 4 * INDEX_FROM;
        while (size < d->n * 3)
                size *= 2;
        d->index = run_array(r, size, sizeof(*d->index));
        d->mask = size - 1;
        for (size_t i = 0; i < d->n; i++)
                index_add(d, i);
}

/* r may be NULL when key is a string. */
static size_t find(struct run *r, const struct jv_dict *d, struct jv key)
{
        if (r && key.kind == JV_STR)
                run_step(r, key.s->n / 16);
        if (!d->index) {
                for (size_t i = 0; i < d->n; i++)
                        if (same_key(r, d->keys[i], key))
                                return i;
                return d->n;
        }
        for (uint64_t at = hash(key); d->index[at & d->mask]; at++) {
                size_t i = d->index[at & d->mask] - 1;
                if (r) /* whoever chose the keys may have chosen ones that collide */
                        run_step(r, 1);
                if (same_key(r, d->keys[i], key))
                        return i;
        }
        return d->n;
}

void jv_put(struct run *r, struct jv *dict, struct jv key, struct jv v)
{
        struct jv_dict *d = dict->d;
        if (!jv_hashable(key))
                run_fail(r, "unhashable type: '%s'", jv_type(key));
        size_t i = find(r, d, key);
        if (i < d->n) {
                d->vals[i] = v;
                return;
        }
        if (d->n == d->cap) {
                size_t cap = d->cap ? d->cap * 2 : 4;
                struct jv *keys = run_array(r, cap, sizeof(*keys)), *vals = run_array(r, cap, sizeof(*vals));
                if (d->n) {
                        memcpy(keys, d->keys, d->n * sizeof(*keys));
                        memcpy(vals, d->vals, d->n * sizeof(*vals));
                }
                d->keys = keys;
                d->vals = vals;
                d->cap = cap;
        }
        d->keys[d->n] = key;
        d->vals[d->n++] = v;
        if (d->index && d->n * 2 <= d->mask)
                index_add(d, d->n - 1);
        else if (d->n >= INDEX_FROM)
                index_grow(r, d);
}

const struct jv *jv_get(struct run *r, struct jv dict, struct jv key)
{
        if (!jv_hashable(key))
                run_fail(r, "unhashable type: '%s'", jv_type(key));
        size_t i = find(r, dict.d, key);
        return i < dict.d->n ? &dict.d->vals[i] : NULL;
}

const struct jv *jv_get_str(const struct jv_dict *d, struct str key)
{
        struct jv_str s = { .p = key.p, .n = key.n };
        struct jv k = { .kind = JV_STR, .s = &s };
        if (d->index) {
                for (uint64_t at = hash(k); d->index[at & d->mask]; at++) {
                        size_t i = d->index[at & d->mask] - 1;
                        if (d->keys[i].kind == JV_STR && str_eq(jv_text(d->keys[i]), key))
                                return &d->vals[i];
                }
                return NULL;
        }
        for (size_t i = 0; i < d->n; i++)
                if (d->keys[i].kind == JV_STR && str_eq(jv_text(d->keys[i]), key))
                        return &d->vals[i];
        return NULL;
}

/* ---- kinds ------------------------------------------------------------------------------------------ */

struct str jv_text(struct jv s)
{
        return (struct str){ s.s->p, s.s->n };
}

bool jv_is(struct jv v, const char *text)
{
        return v.kind == JV_STR && str_eqc(jv_text(v), text);
}

bool jv_number(struct jv v)
{
        return v.kind == JV_INT || v.kind == JV_FLOAT || v.kind == JV_BOOL;
}

bool jv_is_list(struct jv v)
{
        return v.kind >= JV_LIST && v.kind <= JV_ITEMS;
}

const char *jv_type(struct jv v)
{
        static const char *const names[] = {
                [JV_MISSING] = "missing",  [JV_UNDEF] = "Undefined",
                [JV_NONE] = "NoneType",    [JV_BOOL] = "bool",
                [JV_INT] = "int",          [JV_FLOAT] = "float",
                [JV_STR] = "str",          [JV_LIST] = "list",
                [JV_TUPLE] = "tuple",      [JV_GEN] = "generator",
                [JV_KEYS] = "dict_keys",   [JV_VALUES] = "dict_values",
                [JV_ITEMS] = "dict_items", [JV_DICT] = "dict",
                [JV_RANGE] = "range",      [JV_NAMESPACE] = "Namespace",
                [JV_MACRO] = "Macro",      [JV_METHOD] = "function",
                [JV_LOOP] = "LoopContext", [JV_CYCLER] = "Cycler",
                [JV_JOINER] = "Joiner",
        };
        return v.kind == JV_METHOD && v.fn->self.kind ? "builtin_function_or_method" : names[v.kind];
}

double jv_as_float(struct jv v)
{
        return v.kind == JV_FLOAT ? v.f : v.kind == JV_INT ? (double)v.i : (double)v.b;
}

int64_t jv_as_int(struct run *r, struct jv v, const char *what)
{
        if (v.kind == JV_BOOL)
                return v.b;
        if (v.kind != JV_INT)
                run_fail(r, "%s must be an integer, not %s", what, jv_type(v));
        return v.i;
}

bool jv_truth(struct run *r, struct jv v)
{
        switch ((enum jv_kind)v.kind) {
        case JV_MISSING:
        case JV_UNDEF:
        case JV_NONE:
                return false;
        case JV_BOOL:
                return v.b;
        case JV_INT:
                return v.i != 0;
        case JV_FLOAT:
                return v.f != 0;
        case JV_STR:
                return v.s->n > 0;
        case JV_LIST:
        case JV_TUPLE:
        case JV_KEYS:
        case JV_VALUES:
        case JV_ITEMS:
                return v.l->n > 0;
        case JV_DICT:
                return v.d->n > 0;
        case JV_RANGE:
                return v.r->n > 0;
        case JV_LOOP:
                return jv_length(r, v) > 0;
        default:
                return true;
        }
}

/* ---- equality and order ----------------------------------------------------------------------------- */

static bool equal_lists(struct run *r, const struct jv_list *a, const struct jv_list *b)
{
        if (a->n != b->n)
                return false;
        for (size_t i = 0; i < a->n; i++)
                if (!jv_equal(r, a->v[i], b->v[i]))
                        return false;
        return true;
}

static bool equal_dicts(struct run *r, struct jv a, struct jv b)
{
        if (a.d->n != b.d->n)
                return false;
        for (size_t i = 0; i < a.d->n; i++) {
                const struct jv *other = jv_get(r, b, a.d->keys[i]);
                if (!other || !jv_equal(r, a.d->vals[i], *other))
                        return false;
        }
        return true;
}

/* Without rounding: an integer beyond 2^53 is not the float next to it. */
static int compare_int_float(int64_t i, double f)
{
        if (f >= 0x1p63)
                return -1;
        if (f < -0x1p63)
                return 1;
        int64_t whole = (int64_t)f; /* towards zero */
        if (i != whole)
                return i < whole ? -1 : 1;
        return (0 > f - (double)whole) - (0 < f - (double)whole);
}

static int compare_numbers(struct jv a, struct jv b)
{
        int64_t x = a.kind == JV_BOOL ? a.b : a.i, y = b.kind == JV_BOOL ? b.b : b.i;
        if (a.kind == JV_FLOAT && b.kind == JV_FLOAT)
                return (a.f > b.f) - (a.f < b.f);
        if (a.kind == JV_FLOAT)
                return -compare_int_float(y, a.f);
        return b.kind == JV_FLOAT ? compare_int_float(x, b.f) : (x > y) - (x < y);
}

static bool is_nan(struct jv v)
{
        return v.kind == JV_FLOAT && isnan(v.f);
}

static bool equal_ranges(const struct jv_range *a, const struct jv_range *b)
{
        return a->n == b->n && (a->n < 1 || a->start == b->start) && (a->n < 2 || a->step == b->step);
}

bool jv_equal(struct run *r, struct jv a, struct jv b)
{
        if (jv_number(a) && jv_number(b))
                return !is_nan(a) && !is_nan(b) && compare_numbers(a, b) == 0;
        if (a.kind != b.kind)
                return false;
        run_enter(r);
        bool same = false;
        switch ((enum jv_kind)a.kind) {
        case JV_NONE:
        case JV_UNDEF:
                same = true;
                break;
        case JV_STR:
                run_step(r, a.s->n / 16);
                same = str_eq(jv_text(a), jv_text(b));
                break;
        case JV_LIST:
        case JV_TUPLE:
                run_step(r, a.l->n);
                same = equal_lists(r, a.l, b.l);
                break;
        case JV_DICT:
                run_step(r, a.d->n);
                same = equal_dicts(r, a, b);
                break;
        case JV_RANGE:
                same = equal_ranges(a.r, b.r);
                break;
        case JV_METHOD:
                same = a.fn == b.fn || (a.fn->fn == b.fn->fn && a.fn->self.kind == b.fn->self.kind &&
                                        jv_equal(r, a.fn->self, b.fn->self));
                break;
        default:
                same = a.l == b.l; /* the others are equal to themselves only */
                break;
        }
        run_leave(r);
        return same;
}

static _Noreturn void not_ordered(struct run *r, struct jv a, struct jv b, const char *op)
{
        run_fail(r, "'%s' not supported between instances of '%s' and '%s'", op, jv_type(a), jv_type(b));
}

/* Fails with Python's message when an undefined value is used. */
static void refuse_undefined(struct run *r, struct jv v)
{
        if (v.kind == JV_UNDEF)
                run_fail_undefined(r, v);
}

int jv_compare(struct run *r, struct jv a, struct jv b, const char *op)
{
        refuse_undefined(r, a);
        refuse_undefined(r, b);
        if (jv_number(a) && jv_number(b))
                return is_nan(a) || is_nan(b) ? 2 : compare_numbers(a, b);
        if (a.kind != b.kind)
                not_ordered(r, a, b, op);
        if (a.kind == JV_STR) {
                size_t n = a.s->n < b.s->n ? a.s->n : b.s->n;
                run_step(r, n / 16);
                int c = n ? memcmp(a.s->p, b.s->p, n) : 0;
                return c ? (c > 0) - (c < 0) : (a.s->n > b.s->n) - (a.s->n < b.s->n);
        }
        if (a.kind != JV_LIST && a.kind != JV_TUPLE)
                not_ordered(r, a, b, op);
        run_enter(r);
        int c = (a.l->n > b.l->n) - (a.l->n < b.l->n);
        for (size_t i = 0; i < a.l->n && i < b.l->n; i++) {
                run_step(r, 1);
                if (!jv_equal(r, a.l->v[i], b.l->v[i])) {
                        c = jv_compare(r, a.l->v[i], b.l->v[i], op);
                        break;
                }
        }
        run_leave(r);
        return c;
}

/* ---- elements --------------------------------------------------------------------------------------- */

size_t jv_length(struct run *r, struct jv v)
{
        switch ((enum jv_kind)v.kind) {
        case JV_UNDEF:
                return 0;
        case JV_STR:
                run_step(r, v.s->n / 16);
                return uni_count(jv_text(v));
        case JV_LIST:
        case JV_TUPLE:
        case JV_KEYS:
        case JV_VALUES:
        case JV_ITEMS:
                return v.l->n;
        case JV_DICT:
                return v.d->n;
        case JV_RANGE:
                return v.r->n;
        case JV_LOOP:
                return (size_t)run_loop_attr(r, v, STR("length")).i;
        default:
                run_fail(r, "object of type '%s' has no len()", jv_type(v));
        }
}

bool jv_iterable(struct jv v)
{
        return jv_is_list(v) || v.kind == JV_STR || v.kind == JV_DICT || v.kind == JV_RANGE ||
               v.kind == JV_UNDEF || v.kind == JV_LOOP;
}

/* The characters of Markup are plain strings. */
static const struct jv_list *characters(struct run *r, struct jv s)
{
        struct jv_str plain = *s.s;
        plain.markup = false;
        s.s = &plain;

        struct jv l = jv_list(r, JV_LIST, uni_count(jv_text(s)));
        uint32_t c;
        for (size_t i = 0, n; i < s.s->n; i += n) {
                run_step(r, 1);
                n = uni_next(s.s->p + i, &c);
                jv_push(r, &l, jv_part(r, s, i, i + n));
        }
        return l.l;
}

static const struct jv_list *numbers(struct run *r, const struct jv_range *range)
{
        struct jv l = jv_list(r, JV_LIST, range->n);
        run_step(r, range->n);
        for (size_t i = 0; i < range->n; i++)
                jv_push(r, &l, jv_int(range->start + (int64_t)i * range->step));
        return l.l;
}

const struct jv_list *jv_iterate(struct run *r, struct jv v)
{
        struct jv out;
        switch ((enum jv_kind)v.kind) {
        case JV_UNDEF:
                return jv_list(r, JV_LIST, 0).l;
        case JV_LIST:
        case JV_TUPLE:
        case JV_KEYS:
        case JV_VALUES:
        case JV_ITEMS:
                return v.l;
        case JV_GEN:
                out = jv_list(r, JV_LIST, 0);
                out.l->v = v.l->v + v.l->at;
                out.l->n = out.l->cap = v.l->n - v.l->at;
                v.l->at = v.l->n;
                return out.l;
        case JV_DICT:
                out = jv_list(r, JV_LIST, 0);
                out.l->v = v.d->keys;
                out.l->n = v.d->n;
                return out.l;
        case JV_STR:
                return characters(r, v);
        case JV_RANGE:
                return numbers(r, v.r);
        default:
                run_fail(r, "'%s' object is not iterable", jv_type(v));
        }
}

bool jv_contains(struct run *r, struct jv seq, struct jv v)
{
        if (seq.kind == JV_STR) {
                if (v.kind != JV_STR)
                        run_fail(r, "'in <string>' requires string as left operand, not %s", jv_type(v));
                run_step(r, seq.s->n / 16);
                return !v.s->n || (seq.s->n && memmem(seq.s->p, seq.s->n, v.s->p, v.s->n));
        }
        if (seq.kind == JV_DICT)
                return jv_get(r, seq, v) != NULL;
        if (!jv_iterable(seq))
                run_fail(r, "argument of type '%s' is not iterable", jv_type(seq));
        const struct jv_list *l = jv_iterate(r, seq);
        run_step(r, l->n);
        for (size_t i = 0; i < l->n; i++)
                if (jv_equal(r, l->v[i], v))
                        return true;
        return false;
}
