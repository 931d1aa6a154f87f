/* Statements: what stands between {% and %}, and the text around it. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "jinja/parse.h"

static struct node *parse_body(struct parser *p, const char *const ends[], bool after_tag);

/* ---- the parser's tools ----------------------------------------------------------------------------- */

_Noreturn void parse_fail(struct parser *p, int line, const char *fmt, ...)
{
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(p->err->msg, sizeof(p->err->msg), fmt, ap);
        va_end(ap);
        p->err->line = line;
        p->rc = -EINVAL;
        longjmp(p->failed, 1);
}

static _Noreturn void no_memory(struct parser *p)
{
        p->rc = mem_take_failure() ? -ENOMEM : -E2BIG;
        snprintf(p->err->msg, sizeof(p->err->msg), "the template is too large");
        longjmp(p->failed, 1);
}

void *parse_alloc(struct parser *p, size_t size)
{
        void *mem = arena_alloc(p->t->mem, size);
        if (!mem)
                no_memory(p);
        return mem;
}

struct node *parse_node(struct parser *p, enum node_kind kind, int line)
{
        struct node *n = parse_alloc(p, sizeof(*n));
        n->kind = (uint8_t)kind;
        n->line = line;
        return n;
}

/* The number of a variable's name. */
int parse_symbol(struct parser *p, struct str name)
{
        for (size_t i = 0; i < p->t->symbols.n; i++)
                if (str_eq(p->t->symbols.p[i], name))
                        return (int)i;
        if (p->t->symbols.n == PARSE_SYMBOLS)
                parse_fail(p, p->tok->line, "the template has too many variables");
        if (vec_push(&p->t->symbols, name))
                no_memory(p);
        return (int)p->t->symbols.n - 1;
}

/* Room doubles: it is full when the count is a power of two. */
void parse_add(struct parser *p, struct node *n, struct node *item)
{
        if ((n->n & (n->n - 1)) == 0) {
                struct node **items = parse_alloc(p, (n->n ? n->n * 2 : 1) * sizeof(struct node *));
                if (n->n)
                        memcpy(items, n->items, n->n * sizeof(struct node *));
                n->items = items;
        }
        n->items[n->n++] = item;
}

void parse_nest(struct parser *p)
{
        if (++p->depth > PARSE_DEPTH)
                parse_fail(p, p->tok->line, "the template is nested too deeply");
}

bool parse_at_op(const struct parser *p, int op)
{
        return p->tok->kind == T_OP && p->tok->op == op;
}

bool parse_at_name(const struct parser *p, const char *name)
{
        return p->tok->kind == T_NAME && str_eqc(p->tok->text, name);
}

bool parse_skip_op(struct parser *p, int op)
{
        bool found = parse_at_op(p, op);
        p->tok += found;
        return found;
}

bool parse_skip_name(struct parser *p, const char *name)
{
        bool found = parse_at_name(p, name);
        p->tok += found;
        return found;
}

void parse_expect_op(struct parser *p, int op)
{
        if (parse_skip_op(p, op))
                return;
        if (p->tok->kind == T_EOF)
                parse_fail(p, p->tok->line, "unexpected end of template, expected '%c'", op);
        parse_fail(p, p->tok->line, "expected '%c'", op);
}

struct str parse_expect_name(struct parser *p)
{
        if (p->tok->kind != T_NAME)
                parse_fail(p, p->tok->line, "a name is expected");
        return p->tok++->text;
}

static void expect_end_of_tag(struct parser *p)
{
        if (p->tok->kind != T_BLOCK_END)
                parse_fail(p, p->tok->line, "expected end of statement block");
        p->tok++;
}

/* ---- control flow ----------------------------------------------------------------------------------- */

#define ENDS(...) ((const char *const[]){ __VA_ARGS__, NULL })

static struct node *parse_if(struct parser *p)
{
        struct node *n = parse_node(p, N_IF, p->tok++->line);
        for (;;) {
                parse_add(p, n, parse_tuple(p, false, NULL, false));
                parse_add(p, n, parse_body(p, ENDS("elif", "else", "endif"), true));
                if (parse_skip_name(p, "elif"))
                        continue;
                if (parse_skip_name(p, "else"))
                        n->a = parse_body(p, ENDS("endif"), true);
                p->tok++; /* endif */
                return n;
        }
}

static struct node *parse_for(struct parser *p)
{
        struct node *n = parse_node(p, N_FOR, p->tok++->line);
        int loops = p->loops;
        p->loops = 1;
        n->a = parse_target(p, "in", false);
        p->loops = loops;
        if (!parse_skip_name(p, "in"))
                parse_fail(p, p->tok->line, "expected 'in'");
        n->b = parse_tuple(p, false, "recursive", false);
        struct node *filter = parse_skip_name(p, "if") ? parse_expression(p, true) : NULL;
        n->flag = parse_skip_name(p, "recursive");
        p->loops++;
        n->c = parse_body(p, ENDS("endfor", "else"), true);
        p->loops--;
        struct node *other = parse_skip_name(p, "else") ? parse_body(p, ENDS("endfor"), true) : NULL;
        p->tok++; /* endfor */
        n->items = parse_alloc(p, 2 * sizeof(struct node *));
        n->items[0] = filter;
        n->items[1] = other;
        n->n = 2;
        return n;
}

static struct node *parse_jump(struct parser *p, enum node_kind kind)
{
        struct node *n = parse_node(p, kind, p->tok++->line);
        if (!p->loops)
                parse_fail(p, n->line, "break and continue belong into a loop");
        return n;
}

/* ---- assignments ------------------------------------------------------------------------------------ */

static struct node *parse_set(struct parser *p)
{
        int line = p->tok++->line;
        struct node *target = parse_target(p, NULL, true);
        struct node *n = parse_node(p, parse_at_op(p, '=') ? N_SET : N_SET_BLOCK, line);
        n->a = target;
        if (parse_skip_op(p, '=')) {
                n->b = parse_tuple(p, true, NULL, false);
                return n;
        }
        n->b = parse_filters(p, NULL, false);
        n->c = parse_body(p, ENDS("endset"), true);
        p->tok++;
        return n;
}

static struct node *parse_with(struct parser *p)
{
        struct node *n = parse_node(p, N_WITH, p->tok++->line);
        while (p->tok->kind != T_BLOCK_END) {
                if (n->n)
                        parse_expect_op(p, ',');
                parse_add(p, n, parse_target(p, NULL, false));
                parse_expect_op(p, '=');
                parse_add(p, n, parse_expression(p, true));
        }
        n->c = parse_body(p, ENDS("endwith"), true);
        p->tok++;
        return n;
}

/* ---- macros and blocks ------------------------------------------------------------------------------ */

static void add_param(struct parser *p, struct macro_def *m, struct node *name, struct node *dflt)
{
        struct str *params = parse_alloc(p, (m->n + 1) * sizeof(*params));
        int *syms = parse_alloc(p, (m->n + 1) * sizeof(*syms));
        struct node **defaults = parse_alloc(p, (m->n + 1) * sizeof(struct node *));
        for (size_t i = 0; i < m->n; i++) {
                if (str_eq(m->params[i], name->name))
                        parse_fail(p, name->line, "the parameter %.*s is named twice", STR_ARG(name->name));
                params[i] = m->params[i];
                syms[i] = m->syms[i];
                defaults[i] = m->defaults[i];
        }
        params[m->n] = name->name;
        syms[m->n] = name->sym;
        defaults[m->n++] = dflt;
        m->params = params;
        m->syms = syms;
        m->defaults = defaults;
}

static void parse_signature(struct parser *p, struct macro_def *m)
{
        parse_expect_op(p, '(');
        while (!parse_at_op(p, ')')) {
                if (m->n)
                        parse_expect_op(p, ',');
                struct node *name = parse_name_target(p), *dflt = NULL;
                if (name->kind != N_NAME)
                        parse_fail(p, name->line, "a parameter is a name");
                if (parse_skip_op(p, '='))
                        dflt = parse_expression(p, true);
                else if (m->n && m->defaults[m->n - 1])
                        parse_fail(p, name->line, "non-default argument follows default argument");
                add_param(p, m, name, dflt);
        }
        parse_expect_op(p, ')');
}

static struct macro_def *new_macro(struct parser *p, struct str name)
{
        struct macro_def *m = parse_alloc(p, sizeof(*m));
        m->name = name;
        m->caller = parse_symbol(p, STR("caller"));
        m->varargs = parse_symbol(p, STR("varargs"));
        m->kwargs = parse_symbol(p, STR("kwargs"));
        return m;
}

/* A body that is run as a function: no jump leaves it. */
static struct node *parse_function(struct parser *p, struct macro_def *m, const char *end)
{
        struct enclosing here = { m, p->enclosing };
        int loops = p->loops;
        p->loops = 0;
        p->enclosing = &here;
        struct node *body = parse_body(p, ENDS(end), true);
        p->enclosing = here.outer;
        p->loops = loops;
        p->tok++;
        return body;
}

static struct node *parse_macro(struct parser *p)
{
        struct node *n = parse_node(p, N_MACRO, p->tok++->line);
        struct node *name = parse_name_target(p);
        if (name->kind != N_NAME)
                parse_fail(p, n->line, "the name of a macro is expected");
        n->sym = name->sym;
        n->macro = new_macro(p, name->name);
        parse_signature(p, n->macro);
        n->c = parse_function(p, n->macro, "endmacro");
        for (size_t i = 0; i < n->macro->n; i++)
                if (n->macro->uses_caller && !n->macro->defaults[i] && str_eqc(n->macro->params[i], "caller"))
                        parse_fail(p, n->line, "a parameter named caller needs a default");
        return n;
}

static struct node *parse_call_block(struct parser *p)
{
        struct node *n = parse_node(p, N_CALL_BLOCK, p->tok++->line);
        n->macro = new_macro(p, STR("caller"));
        if (parse_at_op(p, '('))
                parse_signature(p, n->macro);
        n->a = parse_expression(p, true);
        if (n->a->kind != N_CALL)
                parse_fail(p, n->line, "expected call");
        n->c = parse_function(p, n->macro, "endcall");
        return n;
}

static struct node *parse_filter_block(struct parser *p)
{
        struct node *n = parse_node(p, N_FILTER_BLOCK, p->tok++->line);
        n->b = parse_filters(p, NULL, true);
        n->c = parse_body(p, ENDS("endfilter"), true);
        p->tok++;
        return n;
}

/* {% generation %} marks what the assistant said, for training; its text is printed as it is. */
static struct node *parse_generation(struct parser *p)
{
        struct node *n = parse_node(p, N_SCOPE, p->tok++->line);
        n->c = parse_function(p, new_macro(p, STR("generation")), "endgeneration");
        return n;
}

static struct node *parse_print(struct parser *p)
{
        struct node *n = parse_node(p, N_PRINT, p->tok++->line);
        while (p->tok->kind != T_BLOCK_END) {
                if (n->n)
                        parse_expect_op(p, ',');
                parse_add(p, n, parse_expression(p, true));
        }
        return n;
}

/* ---- bodies ----------------------------------------------------------------------------------------- */

static _Noreturn void refuse_tag(struct parser *p, const char *const ends[])
{
        static const char *const unsupported[] = { "include",    "import", "from", "extends", "block",
                                                   "autoescape", "trans",  "do",   "debug" };
        struct str name = p->tok->text;
        for (size_t i = 0; i < sizeof(unsupported) / sizeof(unsupported[0]); i++)
                if (str_eqc(name, unsupported[i]))
                        parse_fail(p, p->tok->line, "{%% %s %%} is not supported", unsupported[i]);
        parse_fail(p, p->tok->line, "unknown tag '%.*s'%s%s", name.n < 40 ? (int)name.n : 40, name.p,
                   ends ? ", expected " : "", ends ? ends[0] : "");
}

static struct node *parse_statement(struct parser *p, const char *const ends[])
{
        static const struct {
                const char *name;
                struct node *(*parse)(struct parser *p);
        } tags[] = { { "if", parse_if },
                     { "for", parse_for },
                     { "set", parse_set },
                     { "macro", parse_macro },
                     { "with", parse_with },
                     { "call", parse_call_block },
                     { "filter", parse_filter_block },
                     { "generation", parse_generation },
                     { "print", parse_print } };
        if (p->tok->kind != T_NAME)
                parse_fail(p, p->tok->line, "tag name expected");
        if (parse_at_name(p, "break"))
                return parse_jump(p, N_BREAK);
        if (parse_at_name(p, "continue"))
                return parse_jump(p, N_CONTINUE);
        for (size_t i = 0; i < sizeof(tags) / sizeof(tags[0]); i++)
                if (parse_at_name(p, tags[i].name))
                        return tags[i].parse(p);
        refuse_tag(p, ends);
}

static bool at_end(const struct parser *p, const char *const ends[])
{
        for (; ends && *ends; ends++)
                if (parse_at_name(p, *ends))
                        return true;
        return false;
}

static struct node *parse_text(struct parser *p)
{
        struct node *n = parse_node(p, N_TEXT, p->tok->line);
        n->name = p->tok++->text;
        return n;
}

static struct node *parse_variable(struct parser *p)
{
        struct node *n = parse_node(p, N_PRINT, p->tok++->line);
        parse_add(p, n, parse_tuple(p, true, NULL, false));
        if (p->tok->kind != T_VAR_END)
                parse_fail(p, p->tok->line, "expected end of print statement");
        p->tok++;
        return n;
}

/* Statements and text up to a tag named in `ends`, whose name is the current token afterwards; to the end of
 * the template when ends is NULL. `after_tag`: the tag that opens the body is still to be closed. */
static struct node *parse_body(struct parser *p, const char *const ends[], bool after_tag)
{
        if (after_tag) {
                parse_skip_op(p, ':');
                expect_end_of_tag(p);
        }
        struct node *body = parse_node(p, N_BODY, p->tok->line);
        parse_nest(p);
        while (p->tok->kind != T_EOF) {
                if (p->tok->kind == T_DATA) {
                        parse_add(p, body, parse_text(p));
                } else if (p->tok->kind == T_VAR) {
                        parse_add(p, body, parse_variable(p));
                } else {
                        p->tok++;
                        if (at_end(p, ends))
                                break;
                        parse_add(p, body, parse_statement(p, ends));
                        expect_end_of_tag(p);
                }
        }
        if (ends && p->tok->kind == T_EOF)
                parse_fail(p, p->tok->line, "unexpected end of template, expected %s", ends[0]);
        p->depth--;
        return body;
}

/* The parser and its jump buffer live apart from the caller's variables, which a jump could clobber. */
static int parse_all(struct parser *p)
{
        if (setjmp(p->failed) == 0) {
                p->t->loop_sym = parse_symbol(p, STR("loop"));
                p->t->body = parse_body(p, NULL, false);
        }
        return p->rc;
}

int jinja_parse(struct jinja *t, const struct tokens *tokens, struct jinja_err *err)
{
        struct parser p = { .t = t, .tok = tokens->p, .err = err };
        return parse_all(&p);
}
