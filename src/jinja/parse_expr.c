/* Expressions, by Jinja's grammar: its precedences differ from Python's here and there (a filter binds
 * tighter than an operator, `~` tighter than `+`, a sign tighter than `**`). */
#include <errno.h>
#include <string.h>
#include "jinja/parse.h"
#include "jinja/run.h"

static struct node *parse_unary(struct parser *p, bool with_filter);
static struct node *parse_postfix(struct parser *p, struct node *n);

static struct node *binary(struct parser *p, enum node_kind kind, struct node *a, struct node *b, int line)
{
        struct node *n = parse_node(p, kind, line);
        n->a = a;
        n->b = b;
        return n;
}

static struct node *constant(struct parser *p, struct jv v, int line)
{
        struct node *n = parse_node(p, N_CONST, line);
        n->value = v;
        return n;
}

/* ---- names and literals ----------------------------------------------------------------------------- */

/* Macros get `caller`, `varargs` and `kwargs` only when they mention them. */
static void note_use(struct parser *p, struct str name)
{
        for (struct enclosing *e = p->enclosing; e; e = e->outer) {
                e->macro->uses_caller |= str_eqc(name, "caller");
                e->macro->uses_varargs |= str_eqc(name, "varargs");
                e->macro->uses_kwargs |= str_eqc(name, "kwargs");
        }
}

static struct node *parse_name(struct parser *p, bool ns)
{
        struct str name = p->tok->text;
        int line = p->tok->line;
        p->tok++;
        if (str_eqc(name, "true") || str_eqc(name, "True"))
                return constant(p, jv_bool(true), line);
        if (str_eqc(name, "false") || str_eqc(name, "False"))
                return constant(p, jv_bool(false), line);
        if (str_eqc(name, "none") || str_eqc(name, "None"))
                return constant(p, JV_NONE_VALUE, line);
        bool attr = ns && parse_skip_op(p, '.');
        struct node *n = parse_node(p, attr ? N_NSREF : N_NAME, line);
        n->name = name;
        n->sym = parse_symbol(p, name);
        if (attr)
                n->attr = parse_expect_name(p);
        else if (!ns)
                note_use(p, name);
        return n;
}

/* Neighbouring strings are one. */
static struct node *parse_string(struct parser *p)
{
        int line = p->tok->line;
        size_t n = 0, count = 0;
        while (p->tok[count].kind == T_STRING)
                n += p->tok[count++].text.n;
        char *text = parse_alloc(p, n + 1);
        struct jv_str *s = parse_alloc(p, sizeof(*s));
        *s = (struct jv_str){ .p = text, .n = n };
        for (; p->tok->kind == T_STRING; p->tok++) {
                memcpy(text, p->tok->text.p, p->tok->text.n);
                text += p->tok->text.n;
        }
        return constant(p, (struct jv){ .kind = JV_STR, .s = s }, line);
}

static struct node *parse_list(struct parser *p)
{
        struct node *n = parse_node(p, N_LIST, p->tok->line);
        parse_expect_op(p, '[');
        while (!parse_at_op(p, ']')) {
                parse_add(p, n, parse_expression(p, true));
                if (!parse_at_op(p, ']'))
                        parse_expect_op(p, ',');
        }
        parse_expect_op(p, ']');
        return n;
}

static struct node *parse_dict(struct parser *p)
{
        struct node *n = parse_node(p, N_DICT, p->tok->line);
        parse_expect_op(p, '{');
        while (!parse_at_op(p, '}')) {
                parse_add(p, n, parse_expression(p, true));
                parse_expect_op(p, ':');
                parse_add(p, n, parse_expression(p, true));
                if (!parse_at_op(p, '}'))
                        parse_expect_op(p, ',');
        }
        parse_expect_op(p, '}');
        return n;
}

static struct node *parse_primary(struct parser *p, bool ns)
{
        const struct tok *t = p->tok;
        switch (t->kind) {
        case T_NAME:
                return parse_name(p, ns);
        case T_STRING:
                return parse_string(p);
        case T_INT:
                p->tok++;
                return constant(p, jv_int(t->i), t->line);
        case T_FLOAT:
                p->tok++;
                return constant(p, jv_float(t->f), t->line);
        default:
                break;
        }
        if (parse_skip_op(p, '(')) {
                struct node *n = parse_tuple(p, true, NULL, true);
                parse_expect_op(p, ')');
                return n;
        }
        if (parse_at_op(p, '['))
                return parse_list(p);
        if (parse_at_op(p, '{'))
                return parse_dict(p);
        parse_fail(p, t->line, t->kind == T_EOF ? "unexpected end of template" : "an expression is expected");
}

/* ---- calls, filters, tests -------------------------------------------------------------------------- */

static void add_arg(struct parser *p, struct call *c, struct node *e)
{
        struct node **args = parse_alloc(p, (c->n + 1) * sizeof(struct node *));
        if (c->n)
                memcpy(args, c->args, c->n * sizeof(struct node *));
        args[c->n++] = e;
        c->args = args;
}

static void add_kw(struct parser *p, struct call *c, struct str name, struct node *e)
{
        struct node **kw = parse_alloc(p, (c->n_kw + 1) * sizeof(struct node *));
        struct str *names = parse_alloc(p, (c->n_kw + 1) * sizeof(struct str));
        for (size_t i = 0; i < c->n_kw; i++) {
                if (str_eq(c->kw_name[i], name))
                        parse_fail(p, e->line, "the argument %.*s is given twice", STR_ARG(name));
                kw[i] = c->kw[i];
                names[i] = c->kw_name[i];
        }
        kw[c->n_kw] = e;
        names[c->n_kw++] = name;
        c->kw = kw;
        c->kw_name = names;
}

static struct call *parse_args(struct parser *p)
{
        struct call *c = parse_alloc(p, sizeof(*c));
        int line = p->tok->line;
        parse_expect_op(p, '(');
        while (!parse_at_op(p, ')')) {
                bool wrong = c->star2;
                if (parse_skip_op(p, '*')) {
                        wrong |= c->star != NULL;
                        c->star = parse_expression(p, true);
                } else if (parse_skip_op(p, OPT_POW)) {
                        c->star2 = parse_expression(p, true);
                } else if (p->tok->kind == T_NAME && p->tok[1].kind == T_OP && p->tok[1].op == '=') {
                        struct str name = p->tok->text;
                        p->tok += 2;
                        add_kw(p, c, name, parse_expression(p, true));
                } else {
                        wrong |= c->star || c->n_kw;
                        add_arg(p, c, parse_expression(p, true));
                }
                if (wrong)
                        parse_fail(p, line, "invalid syntax for function call expression");
                if (!parse_at_op(p, ')'))
                        parse_expect_op(p, ',');
        }
        parse_expect_op(p, ')');
        return c;
}

static struct node *parse_call(struct parser *p, struct node *callee)
{
        struct node *n = parse_node(p, N_CALL, p->tok->line);
        n->a = callee;
        n->call = parse_args(p);
        return n;
}

/* A filter's or test's name; dots may be in it, though no builtin has one. */
static struct str dotted_name(struct parser *p)
{
        struct str name = parse_expect_name(p);
        while (parse_skip_op(p, '.')) {
                struct str more = parse_expect_name(p);
                name.n = (size_t)(more.p + more.n - name.p);
        }
        return name;
}

struct node *parse_filters(struct parser *p, struct node *input, bool start_inline)
{
        while (start_inline || parse_skip_op(p, '|')) {
                start_inline = false;
                struct node *n = parse_node(p, N_FILTER, p->tok->line);
                n->name = dotted_name(p);
                n->fn = filter_find(n->name);
                n->a = input;
                n->call = parse_at_op(p, '(') ? parse_args(p) : parse_alloc(p, sizeof(struct call));
                input = n;
        }
        return input;
}

/* Whether the token can start the argument of a test that is written without brackets. */
static bool test_argument(const struct parser *p)
{
        if (p->tok->kind == T_NAME)
                return !parse_at_name(p, "else") && !parse_at_name(p, "or") && !parse_at_name(p, "and");
        return p->tok->kind == T_STRING || p->tok->kind == T_INT || p->tok->kind == T_FLOAT ||
               parse_at_op(p, '[') || parse_at_op(p, '{');
}

static struct node *parse_test(struct parser *p, struct node *input)
{
        struct node *n = parse_node(p, N_TEST, p->tok->line);
        p->tok++; /* is */
        bool negated = parse_skip_name(p, "not");
        n->name = dotted_name(p);
        n->fn = test_find(n->name);
        n->a = input;
        if (parse_at_op(p, '(')) {
                n->call = parse_args(p);
        } else {
                n->call = parse_alloc(p, sizeof(struct call));
                if (test_argument(p)) {
                        if (parse_at_name(p, "is"))
                                parse_fail(p, p->tok->line, "tests cannot be chained with is");
                        add_arg(p, n->call, parse_postfix(p, parse_primary(p, false)));
                }
        }
        return negated ? binary(p, N_NOT, n, NULL, n->line) : n;
}

/* ---- subscripts ------------------------------------------------------------------------------------- */

static bool slice_part_ends(const struct parser *p)
{
        return parse_at_op(p, ']') || parse_at_op(p, ',') || parse_at_op(p, ':');
}

static struct node *parse_subscribed(struct parser *p)
{
        int line = p->tok->line;
        struct node *start = parse_at_op(p, ':') ? NULL : parse_expression(p, true);
        if (!parse_skip_op(p, ':'))
                return start;
        struct node *n = parse_node(p, N_SLICE, line);
        n->a = start;
        if (!slice_part_ends(p))
                n->b = parse_expression(p, true);
        if (parse_skip_op(p, ':') && !slice_part_ends(p))
                n->c = parse_expression(p, true);
        return n;
}

static struct node *parse_subscript(struct parser *p, struct node *of)
{
        int line = p->tok->line;
        if (parse_skip_op(p, '.')) {
                if (p->tok->kind == T_INT) {
                        struct node *n = binary(p, N_ITEM, of, constant(p, jv_int(p->tok->i), line), line);
                        p->tok++;
                        return n;
                }
                struct node *n = binary(p, N_ATTR, of, NULL, line);
                n->name = parse_expect_name(p);
                return n;
        }
        parse_expect_op(p, '[');
        struct node *key = parse_at_op(p, ']') ? NULL : parse_subscribed(p);
        if (!key || parse_at_op(p, ',')) {
                struct node *tuple = parse_node(p, N_TUPLE, line);
                if (key)
                        parse_add(p, tuple, key);
                while (parse_skip_op(p, ','))
                        parse_add(p, tuple, parse_subscribed(p));
                for (size_t i = 0; i < tuple->n; i++)
                        if (tuple->items[i]->kind == N_SLICE)
                                parse_fail(p, line, "slices of several dimensions are not supported");
                key = tuple;
        }
        parse_expect_op(p, ']');
        return binary(p, N_ITEM, of, key, line);
}

static struct node *parse_postfix(struct parser *p, struct node *n)
{
        for (;;) {
                if (parse_at_op(p, '.') || parse_at_op(p, '['))
                        n = parse_subscript(p, n);
                else if (parse_at_op(p, '('))
                        n = parse_call(p, n);
                else
                        return n;
        }
}

static struct node *parse_filter_expr(struct parser *p, struct node *n)
{
        for (;;) {
                if (parse_at_op(p, '|'))
                        n = parse_filters(p, n, false);
                else if (parse_at_name(p, "is"))
                        n = parse_test(p, n);
                else if (parse_at_op(p, '('))
                        n = parse_call(p, n);
                else
                        return n;
        }
}

/* ---- operators -------------------------------------------------------------------------------------- */

static struct node *parse_unary(struct parser *p, bool with_filter)
{
        struct node *n;
        int line = p->tok->line;
        if (parse_at_op(p, '-') || parse_at_op(p, '+')) {
                int op = p->tok++->op;
                parse_nest(p);
                n = binary(p, N_UNARY, parse_unary(p, false), NULL, line);
                p->depth--;
                n->op = (uint8_t)op;
        } else {
                n = parse_primary(p, false);
        }
        n = parse_postfix(p, n);
        return with_filter ? parse_filter_expr(p, n) : n;
}

/* The operator of one of the table's rows that stands here, -1 when none does. */
struct op_row {
        int tok, op;
};

static int match_op(const struct parser *p, const struct op_row *rows, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (parse_at_op(p, rows[i].tok))
                        return rows[i].op;
        return -1;
}

static struct node *parse_pow(struct parser *p)
{
        struct node *left = parse_unary(p, true);
        while (parse_at_op(p, OPT_POW)) {
                int line = p->tok++->line;
                left = binary(p, N_BINARY, left, parse_unary(p, true), line);
                left->op = OP_POW;
        }
        return left;
}

static struct node *parse_product(struct parser *p)
{
        static const struct op_row ops[] = {
                { '*', OP_MUL }, { '/', OP_DIV }, { OPT_FLOORDIV, OP_FLOORDIV }, { '%', OP_MOD }
        };
        struct node *left = parse_pow(p);
        for (int op; (op = match_op(p, ops, 4)) >= 0;) {
                int line = p->tok++->line;
                left = binary(p, N_BINARY, left, parse_pow(p), line);
                left->op = (uint8_t)op;
        }
        return left;
}

static struct node *parse_concat(struct parser *p)
{
        struct node *first = parse_product(p);
        if (!parse_at_op(p, '~'))
                return first;
        struct node *n = parse_node(p, N_CONCAT, p->tok->line);
        parse_add(p, n, first);
        while (parse_skip_op(p, '~'))
                parse_add(p, n, parse_product(p));
        return n;
}

static struct node *parse_sum(struct parser *p)
{
        static const struct op_row ops[] = { { '+', OP_ADD }, { '-', OP_SUB } };
        struct node *left = parse_concat(p);
        for (int op; (op = match_op(p, ops, 2)) >= 0;) {
                int line = p->tok++->line;
                left = binary(p, N_BINARY, left, parse_concat(p), line);
                left->op = (uint8_t)op;
        }
        return left;
}

/* Takes a comparison operator; -1 when none stands here. */
static int take_comparison(struct parser *p)
{
        static const struct op_row ops[] = { { OPT_EQ, CMP_EQ }, { OPT_NE, CMP_NE }, { '<', CMP_LT },
                                             { OPT_LE, CMP_LE }, { '>', CMP_GT },    { OPT_GE, CMP_GE } };
        int op = match_op(p, ops, 6);
        if (op >= 0)
                p->tok++;
        else if (parse_skip_name(p, "in"))
                op = CMP_IN;
        else if (parse_at_name(p, "not") && p->tok[1].kind == T_NAME && str_eqc(p->tok[1].text, "in")) {
                p->tok += 2;
                op = CMP_NOT_IN;
        }
        return op;
}

static struct node *parse_comparison(struct parser *p)
{
        struct node *first = parse_sum(p), *n = NULL;
        for (;;) {
                int line = p->tok->line, op = take_comparison(p);
                if (op < 0)
                        return n ? n : first;
                if (!n)
                        n = binary(p, N_COMPARE, first, NULL, line);
                struct node *operand = binary(p, N_OPERAND, parse_sum(p), NULL, line);
                operand->op = (uint8_t)op;
                parse_add(p, n, operand);
        }
}

static struct node *parse_not(struct parser *p)
{
        int line = p->tok->line;
        if (!parse_skip_name(p, "not"))
                return parse_comparison(p);
        parse_nest(p);
        struct node *n = binary(p, N_NOT, parse_not(p), NULL, line);
        p->depth--;
        return n;
}

static struct node *parse_and(struct parser *p)
{
        struct node *left = parse_not(p);
        while (parse_at_name(p, "and")) {
                int line = p->tok++->line;
                left = binary(p, N_AND, left, parse_not(p), line);
        }
        return left;
}

static struct node *parse_or(struct parser *p)
{
        struct node *left = parse_and(p);
        while (parse_at_name(p, "or")) {
                int line = p->tok++->line;
                left = binary(p, N_OR, left, parse_and(p), line);
        }
        return left;
}

struct node *parse_expression(struct parser *p, bool with_cond)
{
        parse_nest(p);
        struct node *n = parse_or(p);
        while (with_cond && parse_at_name(p, "if")) {
                struct node *cond = parse_node(p, N_COND, p->tok++->line);
                cond->b = n;
                cond->a = parse_or(p);
                if (parse_skip_name(p, "else"))
                        cond->c = parse_expression(p, true);
                n = cond;
        }
        p->depth--;
        return n;
}

/* ---- tuples and targets ----------------------------------------------------------------------------- */

static bool tuple_ends(const struct parser *p, const char *end)
{
        return p->tok->kind == T_VAR_END || p->tok->kind == T_BLOCK_END || parse_at_op(p, ')') ||
               (end && parse_at_name(p, end));
}

struct node *parse_tuple(struct parser *p, bool with_cond, const char *end, bool in_brackets)
{
        struct node *tuple = parse_node(p, N_TUPLE, p->tok->line);
        bool comma = false;
        while (!tuple_ends(p, end)) {
                parse_add(p, tuple, parse_expression(p, with_cond));
                if (!parse_skip_op(p, ','))
                        break;
                comma = true;
        }
        if (comma)
                return tuple;
        if (!tuple->n && !in_brackets)
                parse_fail(p, p->tok->line, "an expression is expected");
        return tuple->n ? tuple->items[0] : tuple;
}

/* A target is written as names, or a tuple of them in brackets, and so on. */
static struct node *check_target(struct parser *p, struct node *n)
{
        if (n->kind == N_TUPLE)
                for (size_t i = 0; i < n->n; i++)
                        check_target(p, n->items[i]);
        else if (n->kind != N_NAME && n->kind != N_NSREF)
                parse_fail(p, n->line, "this cannot be assigned to");
        else if (n->kind == N_NAME && p->loops && str_eqc(n->name, "loop"))
                parse_fail(p, n->line, "the special variable loop cannot be assigned to");
        return n;
}

struct node *parse_target(struct parser *p, const char *end, bool ns)
{
        struct node *tuple = parse_node(p, N_TUPLE, p->tok->line);
        bool comma = false;
        while (!tuple_ends(p, end)) {
                parse_add(p, tuple, parse_primary(p, ns));
                if (!parse_skip_op(p, ','))
                        break;
                comma = true;
        }
        if (!tuple->n)
                parse_fail(p, p->tok->line, "a name is expected");
        return check_target(p, comma ? tuple : tuple->items[0]);
}

struct node *parse_name_target(struct parser *p)
{
        if (p->tok->kind != T_NAME)
                parse_fail(p, p->tok->line, "a name is expected");
        return check_target(p, parse_primary(p, true));
}
