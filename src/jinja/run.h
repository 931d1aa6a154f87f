/* One rendering: its memory, its limits and what fails it.
 *
 * Everything a rendering makes lives in one arena, so a failure has nothing to clean up on its way: run_fail
 * jumps back to jinja_render, which drops the arena. No function here owns anything else. */
#ifndef CAIRN_JINJA_RUN_H
#define CAIRN_JINJA_RUN_H

#include <setjmp.h>
#include "base/arena.h"
#include "jinja/ast.h"
#include "jinja/jinja.h"
#include "jinja/value.h"

struct binding {
        int sym;
        struct jv v;
};

/* Variables set in a block; lookups go up to the template's, which are in run.globals. */
struct scope {
        struct scope *up;
        struct binding *vars;
        size_t n, cap;
        bool kept; /* a macro made here may outlive the block */
};

struct run {
        const struct jinja *t;
        struct arena *mem;
        jmp_buf failed;
        struct jinja_err *err;
        int rc;
        size_t steps, next_poll; /* steps left; where to ask `cancel` */
        int depth, level;        /* calls and values nested, nodes nested: see run_enter, run_nest */
        int max_depth, max_level;
        const char *stack; /* where the C stack was when rendering began */
        bool (*cancel)(void *ctx);
        void *ctx;
        int line;           /* of the node being evaluated */
        struct jv *globals; /* by symbol */
        struct scope *scope;
        struct text *out;
        /* The string that concatenation made last: when it is added to again, it grows in place. */
        struct {
                const char *p;
                size_t n, cap;
                uint8_t *mark;
        } tail;
};

_Noreturn void run_fail(struct run *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
_Noreturn void run_stop(struct run *r, int rc, const char *msg); /* over a limit, cancelled, no memory */
void *run_alloc(struct run *r, size_t size);                     /* zeroed */
void *run_array(struct run *r, size_t n, size_t size);
/* A node inside another: r->level-- when it is done. */
void run_nest(struct run *r);
/* Counts n steps (nodes, or characters handled). */
void run_step(struct run *r, size_t n);
/* A call or a value inside another; run_leave when it is done. */
void run_enter(struct run *r);
void run_leave(struct run *r);

/* ---- eval.c ---- */
_Noreturn void run_fail_undefined(struct run *r, struct jv undef); /* with Jinja's message */
struct jv run_eval(struct run *r, const struct node *e);
struct jv run_call(struct run *r, struct jv fn, const struct jv_args *args);
/* Puts arguments where the builtin's parameters are and calls it. */
struct jv run_builtin(struct run *r, const struct jv_builtin *fn, struct jv self, const struct jv_args *args);
struct jv run_getattr(struct run *r, struct jv of, struct str name);
struct jv run_getitem(struct run *r, struct jv of, struct jv key);
struct jv run_filter_node(struct run *r, const struct node *e, struct jv input);
struct jv_args run_args(struct run *r, const struct call *call);
struct jv run_slice(struct run *r, struct jv of, struct jv start, struct jv stop, struct jv step);

/* ---- exec.c ---- */
enum flow { FLOW_NEXT, FLOW_BREAK, FLOW_CONTINUE };
enum flow run_body(struct run *r, const struct node *body);
struct jv run_lookup(struct run *r, const struct node *name);
void run_set(struct run *r, int sym, struct jv v);
struct scope *run_scope(struct run *r, struct scope *up);

/* ---- loop.c, macro.c ---- */
enum flow run_for(struct run *r, const struct node *n);
void run_assign(struct run *r, const struct node *target, struct jv v);
struct jv run_loop_attr(struct run *r, struct jv loop, struct str name); /* JV_MISSING when none */
struct jv run_loop_call(struct run *r, struct jv loop, const struct jv_args *a);
void run_loop_repr(struct run *r, struct jv loop, struct text *t);
struct jv run_macro_call(struct run *r, struct jv macro, const struct jv_args *a);

/* ---- tables of builtins, NULL when there is none of that name ---- */
const struct jv_builtin *jv_builtin_find(const struct jv_builtin *table, size_t n, struct str name);
const struct jv_builtin *filter_find(struct str name);
const struct jv_builtin *filter_text_find(struct str name); /* those of filters_text.c */
const struct jv_builtin *test_find(struct str name);
const struct jv_builtin *function_find(struct str name);
const struct jv_builtin *method_find(struct jv of, struct str name, bool *ret_unsafe);

/* ---- format.c ---- */
struct jv format_percent(struct run *r, struct jv fmt, struct jv args);
struct jv format_braces(struct run *r, struct jv fmt, const struct jv_args *args);
#endif
