/* The parser's state, shared by statements (parse.c) and expressions (parse_expr.c). A failure jumps back to
 * jinja_parse: everything made so far is in the template's arena. */
#ifndef CAIRN_JINJA_PARSE_H
#define CAIRN_JINJA_PARSE_H

#include <setjmp.h>
#include "jinja/ast.h"

#define PARSE_DEPTH 200    /* nesting of expressions and blocks */
#define PARSE_SYMBOLS 4096 /* different names of variables */

struct parser {
        struct jinja *t;
        const struct tok *tok; /* the current token; the last one is T_EOF */
        jmp_buf failed;
        struct jinja_err *err;
        int rc, depth;
        int loops; /* loops around the current statement, within the macro */
        struct enclosing *enclosing;
};

/* Macros around the current node, innermost first. */
struct enclosing {
        struct macro_def *macro;
        struct enclosing *outer;
};

_Noreturn void parse_fail(struct parser *p, int line, const char *fmt, ...)
        __attribute__((format(printf, 3, 4)));
void *parse_alloc(struct parser *p, size_t size);
struct node *parse_node(struct parser *p, enum node_kind kind, int line);
int parse_symbol(struct parser *p, struct str name);
/* Appends to n's items. */
void parse_add(struct parser *p, struct node *n, struct node *item);
void parse_nest(struct parser *p); /* one level deeper; fails when too deep */

bool parse_at_op(const struct parser *p, int op);
bool parse_at_name(const struct parser *p, const char *name);
bool parse_skip_op(struct parser *p, int op);
bool parse_skip_name(struct parser *p, const char *name);
void parse_expect_op(struct parser *p, int op);
struct str parse_expect_name(struct parser *p);

/* ---- parse_expr.c ---- */
struct node *parse_expression(struct parser *p, bool with_cond);
/* One expression, or a tuple of several; `end` (may be NULL) is a name that ends it. */
struct node *parse_tuple(struct parser *p, bool with_cond, const char *end, bool in_brackets);
/* What `set` and `for` assign to: names, tuples of them, and with `ns` attributes of namespaces. */
struct node *parse_target(struct parser *p, const char *end, bool ns);
struct node *parse_name_target(struct parser *p);
/* name(args)|name...: filters of a block, without what they are applied to. */
struct node *parse_filters(struct parser *p, struct node *input, bool start_inline);
#endif
