/* For loops and the variable `loop`. */
#include <string.h>
#include "jinja/run.h"

/* Elements are taken from the source one by one, because a loop's filter may depend on what the body has
 * set in a namespace. Asking for the length, or for what comes next, takes them ahead. */
struct jv_loop {
        const struct node *def;
        struct scope *outer;          /* around the loop */
        struct jv over;               /* a range is counted, not listed */
        const struct jv_list *source; /* the elements of anything else */
        size_t n, at;                 /* how many; the next one to be looked at */
        struct jv_list ahead;         /* taken early, in order; `at` of them are used */
        size_t index0;
        int64_t length; /* -1: not counted yet */
        struct jv before, current;
        struct jv changed; /* the arguments of the last loop.changed(), or MISSING */
        int depth0;
};

static bool passes(struct run *r, struct jv_loop *l, struct jv v)
{
        const struct node *filter = l->def->items[0];
        if (!filter)
                return true;
        struct scope *up = r->scope;
        r->scope = run_scope(r, l->outer);
        run_assign(r, l->def->a, v);
        bool ok = jv_truth(r, run_eval(r, filter));
        r->scope = up;
        return ok;
}

static bool fetch(struct run *r, struct jv_loop *l, struct jv *ret)
{
        while (l->at < l->n) {
                size_t i = l->at++;
                struct jv v =
                        l->source ? l->source->v[i] : jv_int(l->over.r->start + (int64_t)i * l->over.r->step);
                run_step(r, 1);
                if (passes(r, l, v)) {
                        *ret = v;
                        return true;
                }
        }
        return false;
}

/* Takes one more element ahead; false when there is none. */
static bool take_ahead(struct run *r, struct jv_loop *l)
{
        struct jv v, list = { .kind = JV_LIST, .l = &l->ahead };
        if (!fetch(r, l, &v))
                return false;
        jv_push(r, &list, v);
        return true;
}

static bool next(struct run *r, struct jv_loop *l, struct jv *ret)
{
        if (l->ahead.at < l->ahead.n) {
                *ret = l->ahead.v[l->ahead.at++];
                return true;
        }
        l->ahead.n = l->ahead.at = 0;
        return fetch(r, l, ret);
}

static const struct jv *peek(struct run *r, struct jv_loop *l)
{
        if (l->ahead.at == l->ahead.n && !take_ahead(r, l))
                return NULL;
        return &l->ahead.v[l->ahead.at];
}

static int64_t length(struct run *r, struct jv_loop *l)
{
        if (l->length < 0) {
                if (!l->def->items[0]) {
                        l->length = (int64_t)l->n;
                        return l->length;
                }
                while (take_ahead(r, l))
                        ;
                l->length = (int64_t)(l->index0 + 1 + l->ahead.n - l->ahead.at);
        }
        return l->length;
}

/* ---- attributes ------------------------------------------------------------------------------------- */

static struct jv cycle(struct run *r, struct jv self, const struct jv_args *a)
{
        if (!a->n)
                run_fail(r, "no items for cycling given");
        return a->v[self.loop->index0 % a->n];
}

static struct jv changed(struct run *r, struct jv self, const struct jv_args *a)
{
        struct jv now = jv_list(r, JV_TUPLE, a->n);
        for (size_t i = 0; i < a->n; i++)
                jv_push(r, &now, a->v[i]);
        if (self.loop->changed.kind == JV_TUPLE && jv_equal(r, self.loop->changed, now))
                return jv_bool(false);
        self.loop->changed = now;
        return jv_bool(true);
}

static struct jv method(struct run *r, struct jv loop, const struct jv_builtin *fn)
{
        struct jv_method *m = run_alloc(r, sizeof(*m));
        *m = (struct jv_method){ .fn = fn, .self = loop };
        return (struct jv){ .kind = JV_METHOD, .fn = m };
}

struct jv run_loop_attr(struct run *r, struct jv loop, struct str name)
{
        static const struct jv_builtin cycle_fn = { "cycle", cycle, NULL, 0 },
                                       changed_fn = { "changed", changed, NULL, 0 };
        struct jv_loop *l = loop.loop;
        int64_t index0 = (int64_t)l->index0;
        if (str_eqc(name, "index"))
                return jv_int(index0 + 1);
        if (str_eqc(name, "index0"))
                return jv_int(index0);
        if (str_eqc(name, "first"))
                return jv_bool(!index0);
        if (str_eqc(name, "last"))
                return jv_bool(!peek(r, l));
        if (str_eqc(name, "length"))
                return jv_int(length(r, l));
        if (str_eqc(name, "revindex"))
                return jv_int(length(r, l) - index0);
        if (str_eqc(name, "revindex0"))
                return jv_int(length(r, l) - index0 - 1);
        if (str_eqc(name, "depth"))
                return jv_int(l->depth0 + 1);
        if (str_eqc(name, "depth0"))
                return jv_int(l->depth0);
        if (str_eqc(name, "previtem"))
                return index0 ? l->before : jv_undef(r, "there is no previous item");
        if (str_eqc(name, "nextitem")) {
                const struct jv *v = peek(r, l);
                return v ? *v : jv_undef(r, "there is no next item");
        }
        if (str_eqc(name, "cycle"))
                return method(r, loop, &cycle_fn);
        if (str_eqc(name, "changed"))
                return method(r, loop, &changed_fn);
        return (struct jv){ 0 };
}

void run_loop_repr(struct run *r, struct jv loop, struct text *t)
{
        text_adds(t, "<LoopContext ", false);
        text_repr(t, jv_int((int64_t)loop.loop->index0 + 1));
        text_adds(t, "/", false);
        text_repr(t, jv_int(length(r, loop.loop)));
        text_adds(t, ">", false);
}

/* ---- running ---------------------------------------------------------------------------------------- */

static enum flow run_else(struct run *r, const struct node *n, struct scope *outer)
{
        if (!n->items[1])
                return FLOW_NEXT;
        r->scope = run_scope(r, outer);
        enum flow f = run_body(r, n->items[1]);
        r->scope = outer;
        return f;
}

/* A body's variables live for one round. Its scope is used again, unless a macro made in it may still need
 * what it holds. */
static enum flow run_rounds(struct run *r, struct jv loop)
{
        struct jv_loop *l = loop.loop;
        const struct node *n = l->def;
        struct scope *scope = NULL;
        struct jv v;
        enum flow f = FLOW_NEXT;
        bool whole = false; /* a round went to its end: only then the else branch does not run */
        for (size_t round = 0; f != FLOW_BREAK && next(r, l, &v); round++) {
                l->index0 = round;
                l->before = l->current;
                l->current = v;
                if (!scope || scope->kept)
                        scope = run_scope(r, l->outer);
                scope->n = 0;
                r->scope = scope;
                run_set(r, r->t->loop_sym, loop);
                run_assign(r, n->a, v);
                f = run_body(r, n->c);
                r->scope = l->outer;
                whole |= f == FLOW_NEXT;
        }
        return whole ? FLOW_NEXT : run_else(r, n, l->outer);
}

static enum flow iterate(struct run *r, const struct node *n, struct scope *outer, struct jv over, int depth0)
{
        struct jv_loop *l = run_alloc(r, sizeof(*l));
        *l = (struct jv_loop){ .def = n, .outer = outer, .length = -1, .depth0 = depth0 };
        l->over = over;
        l->source = over.kind == JV_RANGE ? NULL : jv_iterate(r, over);
        l->n = l->source ? l->source->n : over.r->n;
        return run_rounds(r, (struct jv){ .kind = JV_LOOP, .loop = l });
}

enum flow run_for(struct run *r, const struct node *n)
{
        return iterate(r, n, r->scope, run_eval(r, n->b), 0);
}

/* loop(more): the body of a recursive loop over something else, as a string. */
struct jv run_loop_call(struct run *r, struct jv loop, const struct jv_args *a)
{
        struct jv_loop *l = loop.loop;
        if (!l->def->flag)
                run_fail(r, "The loop must have the 'recursive' marker to be called recursively.");
        if (a->n != 1 || a->n_kw)
                run_fail(r, "loop() takes one argument");
        struct scope *scope = r->scope;
        struct text t = text_new(r), *out = r->out;
        r->out = &t;
        r->scope = l->outer;
        iterate(r, l->def, l->outer, a->v[0], l->depth0 + 1);
        r->out = out;
        r->scope = scope;
        return text_value(&t, false);
}
