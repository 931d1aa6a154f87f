/* Expressions: a walk over their nodes. */
#include <string.h>
#include "jinja/run.h"
#include "jinja/unicode.h"

#define PARAMS_MAX 8 /* of a builtin */

/* ---- undefined ------------------------------------------------------------------------------------- */

/* The name of a type in messages about missing attributes: what Jinja calls it. */
static const char *described(const char *type)
{
        return !strcmp(type, "NoneType") ? "None" : type;
}

_Noreturn void run_fail_undefined(struct run *r, struct jv v)
{
        const struct jv_undef *u = v.u;
        if (u->hint)
                run_fail(r, "%s", u->hint);
        struct text t = text_new(r);
        text_repr(&t, u->name);
        struct jv name = text_value(&t, false);
        int n = name.s->n < 100 ? (int)name.s->n : 100;
        const char *suffix = u->of && strcmp(u->of, "NoneType") ? " object" : "";
        if (!u->of)
                run_fail(r, "%.*s is undefined", n, name.s->p);
        if (u->unsafe)
                run_fail(r, "access to attribute %.*s of '%s' object is unsafe.", n, name.s->p, u->of);
        if (u->name.kind == JV_STR)
                run_fail(r, "'%s%s' has no attribute %.*s", described(u->of), suffix, n, name.s->p);
        run_fail(r, "%s%s has no element %.*s", described(u->of), suffix, n, name.s->p);
}

/* ---- attributes and items --------------------------------------------------------------------------- */

static struct jv bound(struct run *r, const struct jv_builtin *fn, struct jv self)
{
        struct jv_method *m = run_alloc(r, sizeof(*m));
        *m = (struct jv_method){ .fn = fn, .self = self };
        return (struct jv){ .kind = JV_METHOD, .fn = m };
}

/* What Python finds by getattr: methods, and the attributes of Jinja's own objects. */
static struct jv attribute(struct run *r, struct jv of, struct str name)
{
        bool unsafe = false;
        if (of.kind == JV_NAMESPACE) {
                const struct jv *v = jv_get_str(of.d, name);
                return v ? *v : (struct jv){ 0 };
        }
        if (of.kind == JV_LOOP)
                return run_loop_attr(r, of, name);
        if (of.kind == JV_TUPLE && of.l->group && (str_eqc(name, "grouper") || str_eqc(name, "list")))
                return of.l->v[str_eqc(name, "list")];
        const struct jv_builtin *fn = method_find(of, name, &unsafe);
        if (fn && !fn->params && fn->required) /* a property: `required` without parameters marks it */
                return fn->fn(r, of, NULL);
        if (fn)
                return bound(r, fn, of);
        if (unsafe)
                return jv_undef_item(r, of, jv_str(r, name, false), true);
        if (of.kind == JV_MACRO && str_eqc(name, "name"))
                return jv_str(r, of.m->def->macro->name, false);
        return (struct jv){ 0 };
}

/* obj[key] of Python; JV_MISSING where it raises. */
static struct jv subscript(struct run *r, struct jv of, struct jv key)
{
        if (of.kind == JV_DICT) {
                const struct jv *v = jv_hashable(key) ? jv_get(r, of, key) : NULL;
                return v ? *v : (struct jv){ 0 };
        }
        if (key.kind != JV_INT && key.kind != JV_BOOL)
                return (struct jv){ 0 };
        int64_t i = key.kind == JV_INT ? key.i : key.b;
        if (of.kind != JV_STR && of.kind != JV_LIST && of.kind != JV_TUPLE && of.kind != JV_RANGE)
                return (struct jv){ 0 };
        int64_t n = (int64_t)jv_length(r, of);
        i += i < 0 ? n : 0;
        if (i < 0 || i >= n)
                return (struct jv){ 0 };
        if (of.kind == JV_RANGE)
                return jv_int(of.r->start + i * of.r->step);
        if (of.kind != JV_STR)
                return of.l->v[i];
        uint32_t c;
        size_t at = uni_offset(jv_text(of), (size_t)i);
        return jv_part(r, of, at, at + uni_next(of.s->p + at, &c));
}

struct jv run_getattr(struct run *r, struct jv of, struct str name)
{
        if (of.kind == JV_UNDEF)
                run_fail_undefined(r, of);
        struct jv v = attribute(r, of, name);
        if (v.kind == JV_MISSING && of.kind == JV_DICT) {
                const struct jv *p = jv_get_str(of.d, name);
                if (p)
                        return *p;
        }
        return v.kind == JV_MISSING ? jv_undef_item(r, of, jv_str(r, name, false), false) : v;
}

struct jv run_getitem(struct run *r, struct jv of, struct jv key)
{
        if (of.kind == JV_UNDEF)
                run_fail_undefined(r, of);
        struct jv v = subscript(r, of, key);
        if (v.kind == JV_MISSING && key.kind == JV_STR)
                v = attribute(r, of, jv_text(key));
        return v.kind == JV_MISSING ? jv_undef_item(r, of, key, false) : v;
}

/* ---- slices ----------------------------------------------------------------------------------------- */

/* A bound of a slice by Python's rules: negative counts from the end, and it is kept within the sequence. */
static int64_t slice_bound(struct run *r, struct jv v, int64_t n, int64_t low, int64_t high, int64_t dflt)
{
        if (v.kind == JV_NONE || v.kind == JV_MISSING)
                return dflt;
        int64_t i = jv_as_int(r, v, "a slice index");
        if (i < 0)
                i = i < -n ? -1 : i + n;
        return i < low ? low : i > high ? high : i;
}

static struct jv slice_string(struct run *r, struct jv s, int64_t at, int64_t step, size_t count)
{
        struct str text = jv_text(s);
        if (step == 1) {
                size_t from = uni_offset(text, (size_t)at);
                size_t n = uni_offset((struct str){ text.p + from, text.n - from }, count);
                return jv_part(r, s, from, from + n);
        }
        const struct jv_list *chars = jv_iterate(r, s);
        struct text t = text_new(r);
        for (size_t i = 0; i < count; i++, at += step)
                text_addv(&t, chars->v[at]);
        return text_value(&t, s.s->markup);
}

struct jv run_slice(struct run *r, struct jv of, struct jv start, struct jv stop, struct jv step_value)
{
        bool given = step_value.kind != JV_NONE && step_value.kind != JV_MISSING;
        int64_t step = given ? jv_as_int(r, step_value, "a slice step") : 1;
        if (of.kind == JV_UNDEF)
                run_fail_undefined(r, of);
        if (of.kind != JV_STR && of.kind != JV_LIST && of.kind != JV_TUPLE && of.kind != JV_RANGE)
                run_fail(r, "'%s' object cannot be sliced", jv_type(of));
        if (!step)
                run_fail(r, "slice step cannot be zero");
        int64_t n = (int64_t)jv_length(r, of), low = step < 0 ? -1 : 0, high = step < 0 ? n - 1 : n;
        int64_t from = slice_bound(r, start, n, low, high, step < 0 ? high : low);
        int64_t to = slice_bound(r, stop, n, low, high, step < 0 ? low : high);
        int64_t distance = step < 0 ? from - to : to - from, stride = step < 0 ? -(step + 1) : step - 1;
        size_t count = distance > 0 ? (size_t)((distance - 1) / (stride ? stride + 1 : 1)) + 1 : 0;
        if (of.kind == JV_STR)
                return slice_string(r, of, from, step, count);
        if (of.kind == JV_RANGE) {
                struct jv_range *g = run_alloc(r, sizeof(*g));
                *g = (struct jv_range){ .start = of.r->start + from * of.r->step,
                                        .stop = of.r->start + to * of.r->step,
                                        .step = of.r->step * step,
                                        .n = count };
                return (struct jv){ .kind = JV_RANGE, .r = g };
        }
        struct jv out = jv_list(r, of.kind, count);
        out.data = of.data;
        run_step(r, count);
        for (size_t i = 0; i < count; i++)
                jv_push(r, &out, of.l->v[from + (int64_t)i * step]);
        return out;
}

/* ---- calls ------------------------------------------------------------------------------------------ */

static void expand_star(struct run *r, struct jv_args *a, struct jv more)
{
        const struct jv_list *l = jv_iterate(r, more);
        struct jv *v = run_array(r, a->n + l->n, sizeof(*v));
        if (a->n)
                memcpy(v, a->v, a->n * sizeof(*v));
        if (l->n)
                memcpy(v + a->n, l->v, l->n * sizeof(*v));
        a->v = v;
        a->n += l->n;
}

static void expand_star2(struct run *r, struct jv_args *a, struct jv more)
{
        if (more.kind != JV_DICT)
                run_fail(r, "argument after ** must be a mapping, not %s", jv_type(more));
        size_t n = a->n_kw + more.d->n;
        struct jv *kw = run_array(r, n, sizeof(*kw));
        struct str *names = run_array(r, n, sizeof(*names));
        for (size_t i = 0; i < a->n_kw; i++) {
                kw[i] = a->kw[i];
                names[i] = a->kw_name[i];
        }
        for (size_t i = 0; i < more.d->n; i++) {
                if (more.d->keys[i].kind != JV_STR)
                        run_fail(r, "keywords must be strings");
                names[a->n_kw] = jv_text(more.d->keys[i]);
                for (size_t k = 0; k < a->n_kw; k++)
                        if (str_eq(names[k], names[a->n_kw]))
                                run_fail(r, "got multiple values for a keyword argument");
                kw[a->n_kw++] = more.d->vals[i];
        }
        a->kw = kw;
        a->kw_name = names;
}

struct jv_args run_args(struct run *r, const struct call *c)
{
        struct jv_args a = { .n = c->n, .n_kw = c->n_kw, .kw_name = c->kw_name };
        a.v = c->n ? run_array(r, c->n, sizeof(*a.v)) : NULL;
        for (size_t i = 0; i < c->n; i++)
                a.v[i] = run_eval(r, c->args[i]);
        a.kw = c->n_kw ? run_array(r, c->n_kw, sizeof(*a.kw)) : NULL;
        for (size_t i = 0; i < c->n_kw; i++)
                a.kw[i] = run_eval(r, c->kw[i]);
        if (c->star)
                expand_star(r, &a, run_eval(r, c->star));
        if (c->star2)
                expand_star2(r, &a, run_eval(r, c->star2));
        return a;
}

/* The position of a name in a comma-separated list, -1 when it is not there; *ret_n: how many there are. */
static int param_index(const char *params, struct str name, size_t *ret_n)
{
        struct str rest = str_c(params);
        int found = -1;
        *ret_n = 0;
        while (rest.n) {
                struct str one = str_split(rest, ',', &rest);
                if (str_eq(one, name))
                        found = (int)*ret_n;
                ++*ret_n;
        }
        return found;
}

struct jv run_builtin(struct run *r, const struct jv_builtin *fn, struct jv self, const struct jv_args *args)
{
        struct jv v[PARAMS_MAX] = { 0 };
        struct jv_args out = { .v = v };
        if (!fn->params)
                return fn->fn(r, self, args);
        param_index(fn->params, STR(""), &out.n);
        if (args->n > out.n)
                run_fail(r, "%s() takes at most %zu arguments (%zu given)", fn->name, out.n, args->n);
        if (args->n)
                memcpy(v, args->v, args->n * sizeof(*v));
        for (size_t i = 0; i < args->n_kw; i++) {
                size_t n;
                int at = param_index(fn->params, args->kw_name[i], &n);
                if (at < 0)
                        run_fail(r, "%s() got an unexpected keyword argument '%.*s'", fn->name,
                                 args->kw_name[i].n < 60 ? (int)args->kw_name[i].n : 60, args->kw_name[i].p);
                if (v[at].kind != JV_MISSING)
                        run_fail(r, "%s() got multiple values for argument '%.*s'", fn->name,
                                 STR_ARG(args->kw_name[i]));
                v[at] = args->kw[i];
        }
        for (size_t i = 0; i < fn->required; i++)
                if (v[i].kind == JV_MISSING)
                        run_fail(r, "%s() misses a required argument", fn->name);
        return fn->fn(r, self, &out);
}

struct jv run_call(struct run *r, struct jv fn, const struct jv_args *args)
{
        struct jv out;
        run_enter(r);
        switch ((enum jv_kind)fn.kind) {
        case JV_METHOD:
                out = run_builtin(r, fn.fn->fn, fn.fn->self, args);
                break;
        case JV_MACRO:
                out = run_macro_call(r, fn, args);
                break;
        case JV_LOOP:
                out = run_loop_call(r, fn, args);
                break;
        case JV_JOINER:
                out = fn.turns->at ? fn.turns->items : jv_cstr(r, "");
                fn.turns->at = 1;
                break;
        case JV_UNDEF:
                run_fail_undefined(r, fn);
        default:
                run_fail(r, "'%s' object is not callable", jv_type(fn));
        }
        run_leave(r);
        return out;
}

struct jv run_filter_node(struct run *r, const struct node *e, struct jv input)
{
        if (!e->fn)
                run_fail(r, "No filter named '%.*s'.", e->name.n < 60 ? (int)e->name.n : 60, e->name.p);
        run_nest(r);
        if (e->a) /* the filters of a block: the innermost one gets the block's text */
                input = e->a->kind == N_FILTER ? run_filter_node(r, e->a, input) : run_eval(r, e->a);
        struct jv_args args = run_args(r, e->call);
        r->level--;
        return run_builtin(r, e->fn, input, &args);
}

/* ---- operators -------------------------------------------------------------------------------------- */

static bool compare(struct run *r, enum cmp op, struct jv a, struct jv b)
{
        switch (op) {
        case CMP_EQ:
                return jv_equal(r, a, b);
        case CMP_NE:
                return !jv_equal(r, a, b);
        case CMP_LT:
                return jv_compare(r, a, b, "<") == -1;
        case CMP_LE:
                return jv_compare(r, a, b, "<=") <= 0;
        case CMP_GT:
                return jv_compare(r, a, b, ">") == 1;
        case CMP_GE: {
                int c = jv_compare(r, a, b, ">=");
                return c == 0 || c == 1;
        }
        case CMP_IN:
                return jv_contains(r, b, a);
        case CMP_NOT_IN:
                return !jv_contains(r, b, a);
        }
        return false;
}

/* a < b < c: each operand is evaluated once, up to the first comparison that fails. */
static struct jv eval_compare(struct run *r, const struct node *e)
{
        struct jv left = run_eval(r, e->a);
        for (size_t i = 0; i < e->n; i++) {
                struct jv right = run_eval(r, e->items[i]->a);
                if (!compare(r, e->items[i]->op, left, right))
                        return jv_bool(false);
                left = right;
        }
        return jv_bool(true);
}

static struct jv eval_concat(struct run *r, const struct node *e)
{
        struct jv out = jv_to_str(r, run_eval(r, e->items[0]));
        for (size_t i = 1; i < e->n; i++)
                out = jv_concat(r, out, jv_to_str(r, run_eval(r, e->items[i])));
        return out;
}

static struct jv eval_items(struct run *r, const struct node *e)
{
        struct jv out = jv_list(r, e->kind == N_LIST ? JV_LIST : JV_TUPLE, e->n);
        for (size_t i = 0; i < e->n; i++)
                jv_push(r, &out, run_eval(r, e->items[i]));
        return out;
}

static struct jv eval_dict(struct run *r, const struct node *e)
{
        struct jv out = jv_dict(r, e->n / 2);
        for (size_t i = 0; i < e->n; i += 2) {
                struct jv key = run_eval(r, e->items[i]);
                jv_put(r, &out, key, run_eval(r, e->items[i + 1]));
        }
        return out;
}

static struct jv eval_item(struct run *r, const struct node *e)
{
        struct jv of = run_eval(r, e->a), part[3] = { 0 };
        if (e->b->kind != N_SLICE)
                return run_getitem(r, of, run_eval(r, e->b));
        const struct node *nodes[3] = { e->b->a, e->b->b, e->b->c };
        for (int i = 0; i < 3; i++)
                if (nodes[i])
                        part[i] = run_eval(r, nodes[i]);
        return run_slice(r, of, part[0], part[1], part[2]);
}

static struct jv eval_test(struct run *r, const struct node *e)
{
        if (!e->fn)
                run_fail(r, "No test named '%.*s'.", e->name.n < 60 ? (int)e->name.n : 60, e->name.p);
        struct jv v = run_eval(r, e->a);
        struct jv_args args = run_args(r, e->call);
        return run_builtin(r, e->fn, v, &args);
}

static struct jv eval_cond(struct run *r, const struct node *e)
{
        if (jv_truth(r, run_eval(r, e->a)))
                return run_eval(r, e->b);
        if (e->c)
                return run_eval(r, e->c);
        const char *hint = arena_printf(r->mem,
                                        "the inline if-expression on line %d evaluated to false and no else "
                                        "section was defined.",
                                        e->line);
        return jv_undef(r, hint ? hint : "the inline if-expression evaluated to false");
}

static struct jv eval_call(struct run *r, const struct node *e)
{
        struct jv fn = run_eval(r, e->a);
        struct jv_args args = run_args(r, e->call);
        r->line = e->line;
        return run_call(r, fn, &args);
}

static struct jv eval_logic(struct run *r, const struct node *e)
{
        struct jv left = run_eval(r, e->a);
        if (e->kind == N_NOT)
                return jv_bool(!jv_truth(r, left));
        return jv_truth(r, left) == (e->kind == N_AND) ? run_eval(r, e->b) : left;
}

static struct jv eval_binary(struct run *r, const struct node *e)
{
        struct jv left = run_eval(r, e->a);
        return jv_arith(r, e->op, left, run_eval(r, e->b));
}

static struct jv eval(struct run *r, const struct node *e)
{
        switch ((enum node_kind)e->kind) {
        case N_CONST:
                return e->value;
        case N_NAME:
                return run_lookup(r, e);
        case N_LIST:
        case N_TUPLE:
                return eval_items(r, e);
        case N_DICT:
                return eval_dict(r, e);
        case N_UNARY:
                return jv_negate(r, run_eval(r, e->a), e->op == '+');
        case N_BINARY:
                return eval_binary(r, e);
        case N_NOT:
        case N_AND:
        case N_OR:
                return eval_logic(r, e);
        case N_CONCAT:
                return eval_concat(r, e);
        case N_COMPARE:
                return eval_compare(r, e);
        case N_COND:
                return eval_cond(r, e);
        case N_ATTR:
                return run_getattr(r, run_eval(r, e->a), e->name);
        case N_ITEM:
                return eval_item(r, e);
        case N_CALL:
                return eval_call(r, e);
        case N_FILTER:
                return run_filter_node(r, e, (struct jv){ 0 });
        case N_TEST:
                return eval_test(r, e);
        default:
                run_fail(r, "not an expression");
        }
}

struct jv run_eval(struct run *r, const struct node *e)
{
        run_step(r, 1);
        run_nest(r);
        r->line = e->line;
        struct jv v = eval(r, e);
        r->level--;
        return v;
}
