/* Lark grammars, as far as they describe a language: the syntax of lark-parser.readthedocs.io. Read twice:
 * first the names, so that any definition may use any other, then what they stand for.
 *
 * There is no lexer: a text belongs to the grammar when the rules derive it character by character, terminals
 * included, with ignored terminals between any two terminals of a rule. Priorities and aliases say how to
 * choose among readings and what to call them, not which texts there are. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/map.h"
#include "base/mem.h"
#include "grammar/build.h"
#include "grammar/lark_common.h"
#include "grammar/regex.h"

#define MAX_NESTING 100
#define MAX_COUNT 1000000
#define MAX_NAME 128
#define MAX_PARAMS 8
#define MAX_INSTANCES 2000

/* A rule or terminal by name. A template is made once for each list of arguments. */
struct def {
        struct str name;
        bool terminal, template;
        bool made;   /* imported: part is defined */
        size_t body; /* where its alternatives begin */
        struct str params[MAX_PARAMS];
        size_t n_params;
        gnode part; /* a rule of the builder, defined later; terminals: without what may be ignored after them
                     */
};

struct binding {
        struct str name;
        gnode part;
};

struct lark {
        struct grammar_builder *b;
        struct grammar_err *err;
        struct str p;
        size_t at;
        int depth, brackets;
        bool failed;
        struct map defs;                /* name -> struct def */
        struct VEC(struct def *) order; /* in order of appearance */
        struct VEC(size_t) ignored;     /* where the expressions after %ignore begin */
        gnode ignore;                   /* zero or more ignored terminals, or 0 */
        bool in_terminal;               /* the definition in work is one: nothing is ignored within it */
        const struct binding *bound;    /* the parameters of the template in work */
        size_t n_bound, n_instances;
        struct map instances; /* templates with arguments -> part + 1 */
};

static gnode parse_choice(struct lark *l);

/* ---- errors and characters ------------------------------------------------------------------------- */

static gnode fail(struct lark *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static gnode fail(struct lark *l, const char *fmt, ...)
{
        char msg[256], where[64];
        size_t line = 1, column = 1;
        va_list ap;
        if (l->failed)
                return -EINVAL;
        for (size_t i = 0; i < l->at && i < l->p.n; i++) {
                column = l->p.p[i] == '\n' ? 1 : column + 1;
                line += l->p.p[i] == '\n';
        }
        va_start(ap, fmt);
        vsnprintf(msg, sizeof(msg), fmt, ap);
        va_end(ap);
        snprintf(where, sizeof(where), "line %zu, column %zu", line, column);
        gr_error(l->err, where, "Invalid Lark grammar: %s at %s.", msg, where);
        l->failed = true;
        return gr_fail(l->b, -EINVAL);
}

static bool more(const struct lark *l)
{
        return l->at < l->p.n;
}

static char peek(const struct lark *l)
{
        return more(l) ? l->p.p[l->at] : '\0';
}

static char peek_at(const struct lark *l, size_t ahead)
{
        return l->at + ahead < l->p.n ? l->p.p[l->at + ahead] : '\0';
}

static bool take(struct lark *l, const char *what)
{
        size_t n = strlen(what);
        if (!more(l) || l->p.n - l->at < n || memcmp(l->p.p + l->at, what, n) != 0)
                return false;
        l->at += n;
        return true;
}

static bool is_letter(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_digit(char c)
{
        return c >= '0' && c <= '9';
}

static void skip_blank(struct lark *l)
{
        for (;;) {
                char c = peek(l);
                if (c == ' ' || c == '\t' || c == '\r' || c == '\f') {
                        l->at++;
                } else if ((c == '/' && peek_at(l, 1) == '/') || c == '#') {
                        while (more(l) && peek(l) != '\n')
                                l->at++;
                } else if (c == '\\' && peek_at(l, 1) == '\n') {
                        l->at += 2;
                } else {
                        return;
                }
        }
}

static void skip_lines(struct lark *l)
{
        for (skip_blank(l); peek(l) == '\n'; skip_blank(l))
                l->at++;
}

/* On to the first thing of a further line when that line goes on with an alternative. */
static bool next_alternative(struct lark *l)
{
        size_t at = l->at;
        skip_lines(l);
        if (take(l, "|"))
                return true;
        l->at = at;
        return false;
}

static struct str name_here(struct lark *l)
{
        size_t begin = l->at;
        while (peek(l) == '!' || peek(l) == '?')
                l->at = begin = l->at + 1;
        while (is_letter(peek(l)) || is_digit(peek(l)))
                l->at++;
        return (struct str){ l->p.p + begin, l->at - begin };
}

/* Terminals are written in capitals. */
static bool is_terminal_name(struct str name)
{
        size_t i = 0;
        while (i < name.n && name.p[i] == '_')
                i++;
        return i < name.n && name.p[i] >= 'A' && name.p[i] <= 'Z';
}

/* ---- literals ------------------------------------------------------------------------------------- */

/* A terminal in a rule: ignored text may follow it. */
static gnode finished(struct lark *l, gnode terminal)
{
        if (l->in_terminal || !l->ignore)
                return terminal;
        return GR_SEQ_OF(l->b, terminal, l->ignore);
}

static int hex_value(char c)
{
        if (is_digit(c))
                return c - '0';
        c |= 0x20;
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One character of a string literal, with Python's escapes. */
static uint32_t literal_char(struct lark *l)
{
        static const char from[] = "nrtfvab\\\"'/", to[] = "\n\r\t\f\v\a\b\\\"'/";
        uint32_t point = utf8_next(l->p.p, l->p.n, &l->at);
        if (point != '\\') {
                if (point == UINT32_MAX)
                        fail(l, "malformed UTF-8");
                return point;
        }
        char c = peek(l);
        const char *known = c ? strchr(from, c) : NULL;
        l->at++;
        if (known)
                return (unsigned char)to[known - from];
        int digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
        if (!digits) {
                fail(l, "an unknown escape");
                return 0;
        }
        point = 0;
        for (int i = 0; i < digits; i++) {
                int digit = hex_value(peek(l));
                if (digit < 0 || point > 0x10ffff) {
                        fail(l, "a bad hexadecimal escape");
                        return 0;
                }
                point = point * 16 + (uint32_t)digit;
                l->at++;
        }
        if (point > CHAR_MAX_POINT || (point >= 0xd800 && point <= 0xdfff))
                fail(l, "an escape that is no character");
        return point;
}

static gnode one_char(struct lark *l, uint32_t lo, uint32_t hi, bool fold)
{
        struct charset set = { 0 };
        charset_add(&set, lo, hi);
        charset_settle(&set);
        if (fold)
                charset_fold(&set);
        gnode out = gr_chars(l->b, &set, GR_UTF8);
        charset_release(&set);
        return out;
}

/* The characters of a string literal, after its quotation mark. */
struct points VEC(uint32_t);

static void literal_points(struct lark *l, struct points *ret)
{
        while (!l->failed) {
                if (!more(l) || peek(l) == '\n') {
                        fail(l, "a string without end");
                } else if (take(l, "\"")) {
                        return;
                } else {
                        uint32_t point = literal_char(l);
                        if (!l->failed && vec_push(ret, point)) {
                                gr_fail(l->b, -ENOMEM);
                                l->failed = true;
                        }
                }
        }
}

/* "a".."z", after the first. */
static gnode parse_range(struct lark *l, const struct points *first)
{
        struct points last = { 0 };
        gnode out;
        skip_blank(l);
        if (!take(l, "\"")) {
                out = fail(l, "a range without its second string");
        } else {
                literal_points(l, &last);
                if (l->failed || first->n != 1 || last.n != 1 || first->p[0] > last.p[0])
                        out = fail(l, "a range that does not go from one character to a later one");
                else
                        out = finished(l, one_char(l, first->p[0], last.p[0], false));
        }
        vec_release(&last);
        return out;
}

static gnode parse_string(struct lark *l)
{
        struct points points = { 0 };
        struct VEC(gnode) parts = { 0 };
        gnode out = 0;
        literal_points(l, &points);
        if (!l->failed && take(l, "..")) {
                out = parse_range(l, &points);
        } else if (!l->failed && !points.n) {
                out = fail(l, "an empty string");
        } else if (!l->failed) {
                bool fold = take(l, "i");
                for (size_t i = 0; i < points.n && out >= 0; i++) {
                        out = one_char(l, points.p[i], points.p[i], fold);
                        if (out >= 0 && vec_push(&parts, out))
                                out = gr_fail(l->b, -ENOMEM);
                }
                out = out < 0 ? out : finished(l, grammar_seq(l->b, parts.p, parts.n));
        }
        vec_release(&points);
        vec_release(&parts);
        return l->failed ? -EINVAL : out;
}

/* /regex/flags, after the first slash. */
static gnode parse_regex(struct lark *l)
{
        struct rx_flags flags = { 0 };
        struct grammar_err why = { 0 };
        size_t begin = l->at;
        while (more(l) && peek(l) != '/' && peek(l) != '\n')
                l->at += peek(l) == '\\' ? 2 : 1;
        struct str pattern = { l->p.p + begin, l->at < l->p.n ? l->at - begin : 0 };
        if (!take(l, "/"))
                return fail(l, "a regular expression without end");
        for (;; l->at++) {
                char c = peek(l);
                if (c == 'i')
                        flags.ignore_case = true;
                else if (c == 's')
                        flags.dot_all = true;
                else if (c == 'm')
                        flags.multi_line = true;
                else if (c == 'x')
                        flags.spaced = true;
                else if (c != 'u' && c != 'l')
                        break;
        }
        const struct rx *rx = rx_parse(l->b, pattern, RX_RUST, flags, &why);
        if (rx)
                return finished(l, rx_part(l->b, rx, false, GR_UTF8));
        if (l->b->err != -EINVAL)
                return l->b->err;
        l->b->err = 0; /* said again with the place */
        return fail(l, "%s", why.msg);
}

/* ---- names ---------------------------------------------------------------------------------------- */

static struct def *find(struct lark *l, struct str name)
{
        return map_get(&l->defs, name);
}

/* Arguments of a template, after "{"; their number. */
static size_t parse_arguments(struct lark *l, gnode *ret)
{
        size_t n = 0;
        l->brackets++;
        do {
                if (n < MAX_PARAMS)
                        ret[n++] = parse_choice(l);
                else
                        fail(l, "a template with too many arguments");
                skip_lines(l);
        } while (!l->failed && take(l, ","));
        l->brackets--;
        if (!l->failed && !take(l, "}"))
                fail(l, "arguments without end");
        return n;
}

/* The template's body with its parameters standing for the arguments: a rule for each list of them. */
static gnode instantiate(struct lark *l, struct def *d, const gnode *args, size_t n)
{
        struct binding bound[MAX_PARAMS];
        gnode key[MAX_PARAMS + 3]; /* the template, where it is used, its arguments */
        if (n != d->n_params)
                return fail(l, "'%.*s' takes %zu arguments, not %zu,", STR_ARG(d->name), d->n_params, n);
        memset(key, 0, sizeof(key));
        memcpy(key, &d, sizeof(d));
        key[2] = l->in_terminal;
        for (size_t i = 0; i < n; i++) {
                key[3 + i] = args[i];
                bound[i] = (struct binding){ d->params[i], args[i] };
        }
        struct str bytes = { (const char *)key, sizeof(key) };
        uintptr_t known = (uintptr_t)map_get(&l->instances, bytes);
        if (known)
                return (gnode)(known - 1);
        if (++l->n_instances > MAX_INSTANCES)
                return fail(l, "too many instances of templates");
        gnode rule = grammar_forward(l->b);
        if (rule < 0 || map_put(&l->instances, bytes, (void *)((uintptr_t)rule + 1), NULL))
                return gr_fail(l->b, rule < 0 ? rule : -ENOMEM);
        const struct binding *outer = l->bound;
        size_t n_outer = l->n_bound, at = l->at;
        int brackets = l->brackets;
        l->brackets = 0;
        l->bound = bound;
        l->n_bound = n;
        l->at = d->body;
        gnode body = parse_choice(l);
        l->at = at;
        l->brackets = brackets;
        l->bound = outer;
        l->n_bound = n_outer;
        if (body >= 0)
                grammar_define(l->b, rule, body);
        return body < 0 ? body : rule;
}

static gnode parse_name(struct lark *l)
{
        struct str name = name_here(l);
        gnode args[MAX_PARAMS];
        for (size_t i = 0; i < l->n_bound; i++)
                if (str_eq(l->bound[i].name, name))
                        return l->bound[i].part;
        struct def *d = find(l, name);
        if (!d)
                return fail(l, "'%.*s' is used but not defined", STR_ARG(name));
        if (l->in_terminal && !d->terminal)
                return fail(l, "the rule '%.*s' is used in a terminal", STR_ARG(name));
        if (take(l, "{")) {
                size_t n = parse_arguments(l, args);
                if (!l->failed && !d->template)
                        return fail(l, "'%.*s' is not a template", STR_ARG(name));
                return l->failed ? -EINVAL : instantiate(l, d, args, n);
        }
        if (d->template)
                return fail(l, "the template '%.*s' is used without arguments", STR_ARG(name));
        return d->terminal ? finished(l, d->part) : d->part;
}

/* ---- expressions ---------------------------------------------------------------------------------- */

static gnode parse_atom(struct lark *l)
{
        gnode out;
        if (take(l, "(") || peek(l) == '[') {
                bool optional = take(l, "[");
                l->brackets++;
                out = parse_choice(l);
                l->brackets--;
                skip_lines(l);
                if (!l->failed && !take(l, optional ? "]" : ")"))
                        return fail(l, "a group without end");
                return optional && out >= 0 ? gr_optional(l->b, out) : out;
        }
        if (take(l, "\""))
                return parse_string(l);
        if (take(l, "/"))
                return parse_regex(l);
        if (is_letter(peek(l)) || peek(l) == '!' || peek(l) == '?')
                return parse_name(l);
        if (peek(l) == '<')
                return fail(l, "a special token, which is not supported,");
        return fail(l, "something unexpected");
}

static int parse_number(struct lark *l)
{
        int n = 0;
        if (!is_digit(peek(l)))
                return fail(l, "a number is missing");
        for (; is_digit(peek(l)); l->at++) {
                n = n * 10 + (peek(l) - '0');
                if (n > MAX_COUNT)
                        return fail(l, "a repetition count that is too large");
        }
        return n;
}

static gnode parse_repeated(struct lark *l)
{
        gnode out = parse_atom(l);
        for (int times = 0; out >= 0 && !l->failed; times++) {
                /* A line may begin with "?name" or "!name": a definition, not an operator. */
                char c = peek(l);
                if (c == '?' || c == '*' || c == '+') {
                        l->at++;
                        out = grammar_repeat(l->b, out, c == '+', c == '?' ? 1 : -1);
                } else {
                        size_t at = l->at;
                        skip_blank(l);
                        if (!take(l, "~")) {
                                l->at = at;
                                break;
                        }
                        skip_blank(l);
                        int min = parse_number(l), max = min;
                        if (!l->failed && take(l, ".."))
                                max = parse_number(l);
                        if (!l->failed && max < min)
                                fail(l, "a repetition whose bounds are out of order");
                        out = l->failed ? -EINVAL : grammar_repeat(l->b, out, min, max);
                }
                if (times > MAX_NESTING)
                        fail(l, "too much nesting");
        }
        return l->failed ? -EINVAL : out;
}

static bool ends_sequence(const struct lark *l)
{
        return !more(l) || strchr("|)]},\n", peek(l)) || (peek(l) == '-' && peek_at(l, 1) == '>');
}

/* Within brackets a sequence may go on in the next line. */
static void skip_within(struct lark *l)
{
        if (l->brackets)
                skip_lines(l);
        else
                skip_blank(l);
}

static gnode parse_sequence(struct lark *l)
{
        struct VEC(gnode) parts = { 0 };
        gnode out = 0;
        for (skip_within(l); !l->failed && out >= 0 && !ends_sequence(l); skip_within(l)) {
                out = parse_repeated(l);
                if (out >= 0 && vec_push(&parts, out))
                        out = gr_fail(l->b, -ENOMEM);
        }
        if (!l->failed && out >= 0 && take(l, "->")) {
                skip_blank(l);
                if (!name_here(l).n)
                        fail(l, "an alias without a name");
                skip_within(l);
        }
        if (!l->failed && out >= 0)
                out = grammar_seq(l->b, parts.p, parts.n);
        vec_release(&parts);
        return l->failed ? -EINVAL : out;
}

static gnode parse_choice(struct lark *l)
{
        struct VEC(gnode) branches = { 0 };
        gnode out = 0;
        if (++l->depth > MAX_NESTING)
                out = fail(l, "too much nesting");
        while (!l->failed && out >= 0) {
                out = parse_sequence(l);
                if (out >= 0 && vec_push(&branches, out))
                        out = gr_fail(l->b, -ENOMEM);
                if (out < 0 || !next_alternative(l))
                        break;
        }
        l->depth--;
        if (!l->failed && out >= 0)
                out = grammar_alt(l->b, branches.p, branches.n);
        vec_release(&branches);
        return l->failed ? -EINVAL : out;
}

/* ---- definitions ---------------------------------------------------------------------------------- */

/* Reads what a rule or terminal stands for. */
static void define(struct lark *l, const struct def *d)
{
        l->at = d->body;
        l->depth = l->brackets = 0;
        l->in_terminal = d->terminal;
        gnode body = parse_choice(l);
        skip_blank(l);
        if (body >= 0 && more(l) && peek(l) != '\n')
                fail(l, "something unexpected");
        else if (body >= 0)
                grammar_define(l->b, d->part, body);
}

static struct def *declare(struct lark *l, struct str name)
{
        if (name.n > MAX_NAME || find(l, name)) {
                fail(l, name.n > MAX_NAME ? "a name that is too long" : "'%.*s' is defined twice",
                     STR_ARG(name));
                return NULL;
        }
        struct def *d = gr_alloc(l->b, sizeof(*d));
        if (d)
                *d = (struct def){ .name = name,
                                   .terminal = is_terminal_name(name),
                                   .part = grammar_forward(l->b) };
        if (!d || map_put(&l->defs, name, d, NULL) || vec_push(&l->order, d)) {
                gr_fail(l->b, -ENOMEM);
                l->failed = true;
                return NULL;
        }
        return d;
}

/* Over an expression without reading it: to the end of the last of its lines. */
static void skip_expression(struct lark *l)
{
        int open = 0;
        while (more(l) && !l->failed) {
                skip_blank(l);
                char c = peek(l);
                if (c == '\n' && !open) {
                        if (!next_alternative(l))
                                return;
                } else if (c == '"' || c == '/') {
                        for (l->at++; more(l) && peek(l) != c && peek(l) != '\n'; l->at++)
                                l->at += peek(l) == '\\';
                        l->at += more(l);
                } else {
                        open += c == '(' || c == '[' || c == '{';
                        open -= c == ')' || c == ']' || c == '}';
                        l->at += more(l);
                }
        }
        if (l->at > l->p.n)
                l->at = l->p.n;
}

static void read_definition(struct lark *l)
{
        struct str name = name_here(l);
        struct def *d = name.n ? declare(l, name) : NULL;
        if (!d) {
                fail(l, "a definition is expected");
                return;
        }
        if (take(l, "{")) {
                d->template = true;
                do {
                        skip_blank(l);
                        struct str param = name_here(l);
                        if (!param.n || d->n_params == MAX_PARAMS)
                                fail(l, "a bad list of parameters");
                        else
                                d->params[d->n_params++] = param;
                        skip_blank(l);
                } while (!l->failed && take(l, ","));
                if (!l->failed && !take(l, "}"))
                        fail(l, "a bad list of parameters");
        }
        if (take(l, ".")) { /* a priority: it chooses among readings */
                take(l, "-");
                parse_number(l);
        }
        skip_blank(l);
        if (!l->failed && !take(l, ":"))
                fail(l, "':' is missing after '%.*s'", STR_ARG(name));
        d->body = l->at;
        skip_expression(l);
}

static void import_name(struct lark *l, struct str name, struct str alias)
{
        const char *text = lark_common(name);
        if (!text) {
                fail(l, "'common.%.*s' is not known", STR_ARG(name));
                return;
        }
        struct def *d = declare(l, alias.n ? alias : name);
        gnode part = d ? grammar_regex(l->b, str_c(text), NULL) : -EINVAL;
        if (part >= 0) {
                d->terminal = d->made = true;
                grammar_define(l->b, d->part, part);
        }
}

/* %import common.NAME [-> ALIAS], %import common (A, B) */
static void read_import(struct lark *l)
{
        struct str alias = { 0 };
        skip_blank(l);
        struct str module = name_here(l);
        if (!str_eqc(module, "common")) {
                fail(l, "only 'common' can be imported");
                return;
        }
        skip_blank(l);
        if (take(l, "(")) {
                do {
                        skip_lines(l);
                        import_name(l, name_here(l), alias);
                        skip_lines(l);
                } while (!l->failed && take(l, ","));
                if (!l->failed && !take(l, ")"))
                        fail(l, "a list without end");
                return;
        }
        if (!take(l, ".")) {
                fail(l, "a name is missing after 'common'");
                return;
        }
        struct str name = name_here(l);
        skip_blank(l);
        if (take(l, "->")) {
                skip_blank(l);
                alias = name_here(l);
        }
        import_name(l, name, alias);
}

static void read_statement(struct lark *l)
{
        if (take(l, "%import")) {
                read_import(l);
        } else if (take(l, "%ignore")) {
                if (vec_push(&l->ignored, l->at))
                        gr_fail(l->b, -ENOMEM);
                skip_expression(l);
        } else if (peek(l) == '%') {
                fail(l, "a directive that is not supported");
        } else {
                read_definition(l);
        }
        skip_blank(l);
        if (!l->failed && more(l) && peek(l) != '\n')
                fail(l, "the end of the line is expected");
}

/* Zero or more of the ignored terminals. They may not ignore anything within themselves. */
static void make_ignore(struct lark *l)
{
        struct VEC(gnode) parts = { 0 };
        l->in_terminal = true;
        for (size_t i = 0; i < l->ignored.n && !l->failed; i++) {
                l->at = l->ignored.p[i];
                l->depth = 0;
                gnode one = parse_choice(l);
                if (one >= 0 && vec_push(&parts, one))
                        gr_fail(l->b, -ENOMEM);
        }
        l->in_terminal = false;
        if (!l->failed && parts.n)
                l->ignore = gr_shared(l->b, grammar_repeat(l->b, grammar_alt(l->b, parts.p, parts.n), 0, -1));
        vec_release(&parts);
}

gnode grammar_lark(struct grammar_builder *b, struct str definition, struct grammar_err *err)
{
        struct lark l = { .b = b, .err = err, .p = definition };
        gnode out = 0;
        if (b->err)
                return b->err;
        map_init(&l.defs);
        map_init(&l.instances);
        for (skip_lines(&l); more(&l) && !l.failed && !b->err; skip_lines(&l))
                read_statement(&l);
        if (!l.failed && !b->err)
                make_ignore(&l);
        struct def *start = find(&l, STR("start"));
        if (!l.failed && !b->err && !start)
                out = fail(&l, "there is no rule 'start'");
        for (size_t i = 0; i < l.order.n && !l.failed && !b->err; i++)
                if (!l.order.p[i]->template && !l.order.p[i]->made)
                        define(&l, l.order.p[i]);
        if (!l.failed && !b->err)
                out = l.ignore ? GR_SEQ_OF(b, l.ignore, start->part) : start->part;
        if (b->err)
                out = b->err;
        if (out == -E2BIG)
                gr_error(err, "", "The Lark grammar is too large.");
        map_release(&l.defs, NULL);
        map_release(&l.instances, NULL);
        vec_release(&l.order);
        vec_release(&l.ignored);
        return gr_settle(b, out);
}
