/* Calling macros: arguments to parameters, by Jinja's rules. */
#include <string.h>
#include "jinja/run.h"

/* The keyword argument of a name, taken out of `used`'s reach; NULL when it is not given. */
static const struct jv *take_kw(const struct jv_args *a, bool *used, struct str name)
{
        for (size_t i = 0; i < a->n_kw; i++) {
                if (!used[i] && str_eq(a->kw_name[i], name)) {
                        used[i] = true;
                        return &a->kw[i];
                }
        }
        return NULL;
}

static _Noreturn void refuse_kw(struct run *r, const struct macro_def *m, struct str name)
{
        int n = m->name.n < 60 ? (int)m->name.n : 60, k = name.n < 60 ? (int)name.n : 60;
        if (str_eqc(name, "caller"))
                run_fail(r,
                         "macro '%.*s' was invoked with two values for the special caller argument. This is "
                         "most likely a bug.",
                         n, m->name.p);
        run_fail(r, "macro '%.*s' takes no keyword argument '%.*s'", n, m->name.p, k, name.p);
}

/* Sets the parameters in the macro's scope. A default may use the parameters before it. */
static void bind_params(struct run *r, const struct macro_def *m, const struct jv_args *a, bool *used)
{
        const struct jv **given = run_array(r, m->n, sizeof(struct jv *));
        for (size_t i = 0; i < m->n; i++) {
                given[i] = i < a->n ? &a->v[i] : take_kw(a, used, m->params[i]);
                run_set(r, m->syms[i], given[i] ? *given[i] : (struct jv){ 0 });
        }
        for (size_t i = 0; i < m->n; i++) {
                if (given[i])
                        continue;
                if (m->defaults[i]) {
                        run_set(r, m->syms[i], run_eval(r, m->defaults[i]));
                        continue;
                }
                const char *hint =
                        arena_printf(r->mem, "parameter '%.*s' was not provided", STR_ARG(m->params[i]));
                run_set(r, m->syms[i], jv_undef(r, hint ? hint : "a parameter was not provided"));
        }
}

static bool has_param(const struct macro_def *m, const char *name)
{
        for (size_t i = 0; i < m->n; i++)
                if (str_eqc(m->params[i], name))
                        return true;
        return false;
}

/* `caller`, `kwargs` and `varargs`, each only for a macro that mentions it. */
static void bind_rest(struct run *r, const struct macro_def *m, const struct jv_args *a, bool *used)
{
        if (m->uses_caller && !has_param(m, "caller")) {
                const struct jv *caller = take_kw(a, used, STR("caller"));
                run_set(r, m->caller, caller ? *caller : jv_undef(r, "No caller defined"));
        }
        struct jv rest = jv_dict(r, 0);
        for (size_t i = 0; i < a->n_kw; i++) {
                if (used[i])
                        continue;
                if (!m->uses_kwargs)
                        refuse_kw(r, m, a->kw_name[i]);
                jv_put(r, &rest, jv_str(r, a->kw_name[i], false), a->kw[i]);
        }
        if (m->uses_kwargs)
                run_set(r, m->kwargs, rest);
        if (a->n > m->n && !m->uses_varargs)
                run_fail(r, "macro '%.*s' takes not more than %zu argument(s)",
                         m->name.n < 60 ? (int)m->name.n : 60, m->name.p, m->n);
        if (m->uses_varargs) {
                struct jv more = jv_list(r, JV_TUPLE, a->n > m->n ? a->n - m->n : 0);
                for (size_t i = m->n; i < a->n; i++)
                        jv_push(r, &more, a->v[i]);
                run_set(r, m->varargs, more);
        }
}

struct jv run_macro_call(struct run *r, struct jv macro, const struct jv_args *a)
{
        const struct node *def = macro.m->def;
        bool *used = run_array(r, a->n_kw, sizeof(*used));
        struct scope *caller = r->scope;
        struct text t = text_new(r), *out = r->out;
        r->scope = run_scope(r, macro.m->scope);
        bind_params(r, def->macro, a, used);
        bind_rest(r, def->macro, a, used);
        r->out = &t;
        run_body(r, def->c);
        r->out = out;
        r->scope = caller;
        return text_value(&t, false);
}
