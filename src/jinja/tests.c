/* Tests: what stands after `is`. */
#include <math.h>
#include "jinja/run.h"

static struct jv remainder_is(struct run *r, struct jv v, struct jv by, int64_t want)
{
        struct jv rest = jv_arith(r, OP_MOD, v, by);
        return jv_bool(jv_equal(r, rest, jv_int(want)));
}

static struct jv odd(struct run *r, struct jv v, const struct jv_args *a)
{
        (void)a;
        return remainder_is(r, v, jv_int(2), 1);
}

static struct jv even(struct run *r, struct jv v, const struct jv_args *a)
{
        (void)a;
        return remainder_is(r, v, jv_int(2), 0);
}

static struct jv divisibleby(struct run *r, struct jv v, const struct jv_args *a)
{
        return remainder_is(r, v, a->v[0], 0);
}

/* A name is looked up as the key of a dict. */
static void need_hashable(struct run *r, struct jv v)
{
        if (!jv_hashable(v))
                run_fail(r, "unhashable type: '%s'", jv_type(v));
}

static struct jv is_filter(struct run *r, struct jv v, const struct jv_args *a)
{
        (void)a;
        need_hashable(r, v);
        return jv_bool(v.kind == JV_STR && filter_find(jv_text(v)));
}

static struct jv is_test(struct run *r, struct jv v, const struct jv_args *a)
{
        (void)a;
        need_hashable(r, v);
        return jv_bool(v.kind == JV_STR && test_find(jv_text(v)));
}

static struct jv sequence(struct run *r, struct jv v, const struct jv_args *a)
{
        (void)r;
        (void)a;
        return jv_bool(v.kind == JV_STR || v.kind == JV_LIST || v.kind == JV_TUPLE || v.kind == JV_DICT ||
                       v.kind == JV_RANGE || v.kind == JV_UNDEF);
}

static struct jv iterable(struct run *r, struct jv v, const struct jv_args *a)
{
        (void)r;
        (void)a;
        return jv_bool(jv_iterable(v));
}

static struct jv callable(struct run *r, struct jv v, const struct jv_args *a)
{
        (void)r;
        (void)a;
        return jv_bool(v.kind == JV_METHOD || v.kind == JV_MACRO || v.kind == JV_LOOP ||
                       v.kind == JV_JOINER || v.kind == JV_UNDEF);
}

/* Identity: of Python's small integers and singletons by value, of the others by place. */
static struct jv sameas(struct run *r, struct jv v, const struct jv_args *a)
{
        struct jv w = a->v[0];
        (void)r;
        if (v.kind != w.kind)
                return jv_bool(false);
        if (v.kind == JV_NONE)
                return jv_bool(true);
        if (v.kind == JV_BOOL)
                return jv_bool(v.b == w.b);
        if (v.kind == JV_INT)
                return jv_bool(v.i == w.i);
        if (v.kind == JV_FLOAT)
                return jv_bool(false);
        return jv_bool(v.kind == JV_STR ? v.s->p == w.s->p && v.s->n == w.s->n : v.l == w.l);
}

static struct jv in(struct run *r, struct jv v, const struct jv_args *a)
{
        return jv_bool(jv_contains(r, a->v[0], v));
}

static struct jv eq(struct run *r, struct jv v, const struct jv_args *a)
{
        return jv_bool(jv_equal(r, v, a->v[0]));
}

static struct jv ne(struct run *r, struct jv v, const struct jv_args *a)
{
        return jv_bool(!jv_equal(r, v, a->v[0]));
}

static struct jv lt(struct run *r, struct jv v, const struct jv_args *a)
{
        return jv_bool(jv_compare(r, v, a->v[0], "<") == -1);
}

static struct jv le(struct run *r, struct jv v, const struct jv_args *a)
{
        return jv_bool(jv_compare(r, v, a->v[0], "<=") <= 0);
}

static struct jv gt(struct run *r, struct jv v, const struct jv_args *a)
{
        return jv_bool(jv_compare(r, v, a->v[0], ">") == 1);
}

static struct jv ge(struct run *r, struct jv v, const struct jv_args *a)
{
        int c = jv_compare(r, v, a->v[0], ">=");
        return jv_bool(c == 0 || c == 1);
}

/* islower() and isupper() of the value as a string. */
static struct jv of_case(struct run *r, struct jv v, const char *method)
{
        bool unsafe;
        struct jv s = jv_to_str(r, v);
        const struct jv_builtin *fn = method_find(s, str_c(method), &unsafe);
        return run_builtin(r, fn, s, &(struct jv_args){ 0 });
}

static struct jv lower(struct run *r, struct jv v, const struct jv_args *a)
{
        (void)a;
        return of_case(r, v, "islower");
}

static struct jv upper(struct run *r, struct jv v, const struct jv_args *a)
{
        (void)a;
        return of_case(r, v, "isupper");
}

/* Tests that only look at what kind of value it is. */
#define KIND_TEST(name, condition)                                                 \
        static struct jv name(struct run *r, struct jv v, const struct jv_args *a) \
        {                                                                          \
                (void)r;                                                           \
                (void)a;                                                           \
                return jv_bool(condition);                                         \
        }
KIND_TEST(boolean, v.kind == JV_BOOL)
KIND_TEST(defined, v.kind != JV_UNDEF)
KIND_TEST(undefined, v.kind == JV_UNDEF)
KIND_TEST(escaped, v.kind == JV_STR && v.s->markup)
KIND_TEST(is_false, v.kind == JV_BOOL && !v.b)
KIND_TEST(is_true, v.kind == JV_BOOL && v.b)
KIND_TEST(is_float, v.kind == JV_FLOAT)
KIND_TEST(integer, v.kind == JV_INT)
KIND_TEST(mapping, v.kind == JV_DICT)
KIND_TEST(none, v.kind == JV_NONE)
KIND_TEST(number, jv_number(v))
KIND_TEST(string, v.kind == JV_STR)

static const struct jv_builtin tests[] = {
        { "!=", ne, "other", 1 },
        { "<", lt, "other", 1 },
        { "<=", le, "other", 1 },
        { "==", eq, "other", 1 },
        { ">", gt, "other", 1 },
        { ">=", ge, "other", 1 },
        { "boolean", boolean, "", 0 },
        { "callable", callable, "", 0 },
        { "defined", defined, "", 0 },
        { "divisibleby", divisibleby, "num", 1 },
        { "eq", eq, "other", 1 },
        { "equalto", eq, "other", 1 },
        { "escaped", escaped, "", 0 },
        { "even", even, "", 0 },
        { "false", is_false, "", 0 },
        { "filter", is_filter, "", 0 },
        { "float", is_float, "", 0 },
        { "ge", ge, "other", 1 },
        { "greaterthan", gt, "other", 1 },
        { "gt", gt, "other", 1 },
        { "in", in, "seq", 1 },
        { "integer", integer, "", 0 },
        { "iterable", iterable, "", 0 },
        { "le", le, "other", 1 },
        { "lessthan", lt, "other", 1 },
        { "lower", lower, "", 0 },
        { "lt", lt, "other", 1 },
        { "mapping", mapping, "", 0 },
        { "ne", ne, "other", 1 },
        { "none", none, "", 0 },
        { "number", number, "", 0 },
        { "odd", odd, "", 0 },
        { "sameas", sameas, "other", 1 },
        { "sequence", sequence, "", 0 },
        { "string", string, "", 0 },
        { "test", is_test, "", 0 },
        { "true", is_true, "", 0 },
        { "undefined", undefined, "", 0 },
        { "upper", upper, "", 0 },
};

const struct jv_builtin *test_find(struct str name)
{
        return jv_builtin_find(tests, sizeof(tests) / sizeof(tests[0]), name);
}
