/* Statements, and the variables they set. */
#include <string.h>
#include "jinja/run.h"

/* ---- variables -------------------------------------------------------------------------------------- */

struct scope *run_scope(struct run *r, struct scope *up)
{
        struct scope *s = run_alloc(r, sizeof(*s));
        s->up = up;
        return s;
}

struct jv run_lookup(struct run *r, const struct node *name)
{
        for (const struct scope *s = r->scope; s; s = s->up)
                for (size_t i = 0; i < s->n; i++)
                        if (s->vars[i].sym == name->sym)
                                return s->vars[i].v.kind == JV_MISSING ? jv_undef_name(r, name->name)
                                                                       : s->vars[i].v;
        struct jv v = r->globals[name->sym];
        return v.kind == JV_MISSING ? jv_undef_name(r, name->name) : v;
}

void run_set(struct run *r, int sym, struct jv v)
{
        struct scope *s = r->scope;
        if (!s) {
                r->globals[sym] = v;
                return;
        }
        for (size_t i = 0; i < s->n; i++) {
                if (s->vars[i].sym == sym) {
                        s->vars[i].v = v;
                        return;
                }
        }
        if (s->n == s->cap) {
                size_t cap = s->cap ? s->cap * 2 : 4;
                struct binding *vars = run_array(r, cap, sizeof(*vars));
                if (s->n)
                        memcpy(vars, s->vars, s->n * sizeof(*vars));
                s->vars = vars;
                s->cap = cap;
        }
        s->vars[s->n++] = (struct binding){ sym, v };
}

static void set_attribute(struct run *r, const struct node *target, struct jv v)
{
        struct jv ns = run_lookup(r, target);
        if (ns.kind != JV_NAMESPACE)
                run_fail(r, "cannot assign attribute on non-namespace object");
        jv_put(r, &ns, jv_str(r, target->attr, false), v);
}

void run_assign(struct run *r, const struct node *target, struct jv v)
{
        if (target->kind == N_NAME) {
                run_set(r, target->sym, v);
                return;
        }
        if (target->kind == N_NSREF) {
                set_attribute(r, target, v);
                return;
        }
        if (v.kind == JV_UNDEF && target->n)
                run_fail(r, "not enough values to unpack (expected %zu, got 0)", target->n);
        if (!jv_iterable(v))
                run_fail(r, "cannot unpack non-iterable %s object", jv_type(v));
        const struct jv_list *l = jv_iterate(r, v);
        if (l->n > target->n)
                run_fail(r, "too many values to unpack (expected %zu)", target->n);
        if (l->n < target->n)
                run_fail(r, "not enough values to unpack (expected %zu, got %zu)", target->n, l->n);
        for (size_t i = 0; i < target->n; i++)
                run_assign(r, target->items[i], l->v[i]);
}

/* ---- statements ------------------------------------------------------------------------------------- */

/* Runs a body that prints into a string. A jump out of it leaves the string unused. */
static enum flow capture(struct run *r, const struct node *body, struct jv *ret)
{
        struct text t = text_new(r), *out = r->out;
        r->out = &t;
        enum flow f = run_body(r, body);
        r->out = out;
        *ret = text_value(&t, false);
        return f;
}

static enum flow run_if(struct run *r, const struct node *n)
{
        for (size_t i = 0; i < n->n; i += 2)
                if (jv_truth(r, run_eval(r, n->items[i])))
                        return run_body(r, n->items[i + 1]);
        return n->a ? run_body(r, n->a) : FLOW_NEXT;
}

static enum flow in_scope(struct run *r, const struct node *body)
{
        struct scope *up = r->scope;
        r->scope = run_scope(r, up);
        enum flow f = run_body(r, body);
        r->scope = up;
        return f;
}

/* The values are those of outside: none sees the names that the tag binds. */
static enum flow run_with(struct run *r, const struct node *n)
{
        struct scope *up = r->scope, *inner = run_scope(r, up);
        for (size_t i = 0; i < n->n; i += 2) {
                struct jv v = run_eval(r, n->items[i + 1]);
                r->scope = inner;
                run_assign(r, n->items[i], v);
                r->scope = up;
        }
        r->scope = inner;
        enum flow f = run_body(r, n->c);
        r->scope = up;
        return f;
}

static enum flow run_block(struct run *r, const struct node *n)
{
        struct jv text;
        struct scope *up = r->scope;
        r->scope = run_scope(r, up); /* what is set in the block stays there */
        enum flow f = capture(r, n->c, &text);
        r->scope = up;
        if (f != FLOW_NEXT)
                return f;
        if (n->b)
                text = run_filter_node(r, n->b, text);
        if (n->kind == N_SET_BLOCK)
                run_assign(r, n->a, text);
        else
                text_str(r->out, text);
        return FLOW_NEXT;
}

static struct jv make_macro(struct run *r, const struct node *def)
{
        struct jv_macro *m = run_alloc(r, sizeof(*m));
        *m = (struct jv_macro){ .def = def, .scope = r->scope };
        for (struct scope *s = r->scope; s; s = s->up)
                s->kept = true;
        return (struct jv){ .kind = JV_MACRO, .m = m };
}

/* The block becomes a macro that the called one knows as `caller`. */
static void run_call_block(struct run *r, const struct node *n)
{
        const struct node *call = n->a;
        struct jv fn = run_eval(r, call->a);
        struct jv_args a = run_args(r, call->call);
        struct jv *kw = run_array(r, a.n_kw + 1, sizeof(*kw));
        struct str *names = run_array(r, a.n_kw + 1, sizeof(*names));
        for (size_t i = 0; i < a.n_kw; i++) {
                kw[i] = a.kw[i];
                names[i] = a.kw_name[i];
        }
        kw[a.n_kw] = make_macro(r, n);
        names[a.n_kw++] = STR("caller");
        a.kw = kw;
        a.kw_name = names;
        r->line = n->line;
        text_str(r->out, run_call(r, fn, &a));
}

static enum flow run_statement(struct run *r, const struct node *n)
{
        switch ((enum node_kind)n->kind) {
        case N_TEXT:
                text_add(r->out, n->name.p, n->name.n, false);
                return FLOW_NEXT;
        case N_PRINT:
                for (size_t i = 0; i < n->n; i++)
                        text_str(r->out, run_eval(r, n->items[i]));
                return FLOW_NEXT;
        case N_IF:
                return run_if(r, n);
        case N_FOR:
                return run_for(r, n);
        case N_SET:
                run_assign(r, n->a, run_eval(r, n->b));
                return FLOW_NEXT;
        case N_SET_BLOCK:
        case N_FILTER_BLOCK:
                return run_block(r, n);
        case N_WITH:
                return run_with(r, n);
        case N_MACRO:
                run_set(r, n->sym, make_macro(r, n));
                return FLOW_NEXT;
        case N_CALL_BLOCK:
                run_call_block(r, n);
                return FLOW_NEXT;
        case N_SCOPE:
                return in_scope(r, n->c);
        case N_BREAK:
                return FLOW_BREAK;
        case N_CONTINUE:
                return FLOW_CONTINUE;
        default:
                run_fail(r, "not a statement");
        }
}

enum flow run_body(struct run *r, const struct node *body)
{
        enum flow f = FLOW_NEXT;
        run_nest(r);
        for (size_t i = 0; i < body->n && f == FLOW_NEXT; i++) {
                run_step(r, 1);
                r->line = body->items[i]->line;
                f = run_statement(r, body->items[i]);
        }
        r->level--;
        return f;
}
