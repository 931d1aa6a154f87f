/* The parser. What the trees mean is in regex_build.c, the named classes are in regex_class.c. */
#include "grammar/regex.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/mem.h"
#include "grammar/regex_class.h"

#define MAX_NESTING 200
#define MAX_COUNT 10000000

struct parser {
        struct grammar_builder *b;
        struct grammar_err *err;
        struct str p;
        size_t at;
        enum rx_dialect dialect;
        struct rx_flags flags;
        int depth;
        bool failed;
};

static const struct rx *parse_alt(struct parser *p);

static void *fail(struct parser *p, const char *what)
{
        if (!p->failed) {
                char where[32];
                snprintf(where, sizeof(where), "position %zu", p->at);
                gr_error(p->err, "", "Invalid regular expression: %s at %s.", what, where);
                gr_fail(p->b, -EINVAL);
        }
        p->failed = true;
        return NULL;
}

/* ---- trees ---------------------------------------------------------------------------------------- */

static struct rx *tree(struct parser *p, enum rx_kind kind)
{
        struct rx *rx = p->failed ? NULL : gr_alloc(p->b, sizeof(*rx));
        if (!rx || gr_step(&p->b->work, 1)) {
                if (rx)
                        gr_fail(p->b, -E2BIG);
                p->failed = true;
                return NULL;
        }
        *rx = (struct rx){ .kind = kind };
        return rx;
}

/* Takes the set over. */
static const struct rx *set_tree(struct parser *p, struct charset *set)
{
        struct rx *rx = tree(p, RX_SET);
        struct fa_range *ranges = rx ? gr_alloc(p->b, (set->r.n + 1) * sizeof(*ranges)) : NULL;
        if (set->failed)
                gr_fail(p->b, -ENOMEM);
        if (ranges && set->r.n)
                memcpy(ranges, set->r.p, set->r.n * sizeof(*ranges));
        if (ranges) {
                rx->set = ranges;
                rx->n_set = set->r.n;
        }
        charset_release(set);
        if (!ranges || p->b->err)
                p->failed = true;
        return p->failed ? NULL : rx;
}

static const struct rx *char_tree(struct parser *p, uint32_t point)
{
        struct charset set = { 0 };
        charset_add(&set, point, point);
        charset_settle(&set);
        if (p->flags.ignore_case)
                charset_fold(&set);
        return set_tree(p, &set);
}

static const struct rx *assert_tree(struct parser *p, enum rx_assert what)
{
        struct rx *rx = tree(p, RX_ASSERT);
        if (!rx)
                return NULL;
        rx->assertion = what;
        rx->asserts = true;
        rx->ascii = p->dialect == RX_SCHEMA;
        return rx;
}

struct list VEC(const struct rx *);

static const struct rx *list_tree(struct parser *p, enum rx_kind kind, struct list *l)
{
        struct rx *rx = NULL;
        if (l->n == 1 || p->failed) {
                const struct rx *only = p->failed ? NULL : l->p[0];
                vec_release(l);
                return only;
        }
        rx = tree(p, l->n ? kind : RX_EMPTY);
        if (rx && l->n) {
                rx->kids = gr_alloc(p->b, l->n * sizeof(*rx->kids));
                if (!rx->kids) {
                        p->failed = true;
                        rx = NULL;
                }
        }
        for (size_t i = 0; rx && i < l->n; i++) {
                rx->kids[i] = l->p[i];
                rx->n_kids = i + 1;
                rx->asserts |= l->p[i]->asserts;
        }
        vec_release(l);
        return rx;
}

/* ---- characters ----------------------------------------------------------------------------------- */

static bool more(const struct parser *p)
{
        return p->at < p->p.n;
}

static char peek(const struct parser *p)
{
        return more(p) ? p->p.p[p->at] : '\0';
}

static bool take(struct parser *p, const char *what)
{
        size_t n = strlen(what);
        if (p->p.n - p->at < n || memcmp(p->p.p + p->at, what, n) != 0)
                return false;
        p->at += n;
        return true;
}

static uint32_t next_char(struct parser *p)
{
        uint32_t point = utf8_next(p->p.p, p->p.n, &p->at);
        if (point == UINT32_MAX)
                fail(p, more(p) ? "malformed UTF-8" : "an unexpected end");
        return point;
}

/* With the x flag white space and comments do not count. */
static void skip_space(struct parser *p)
{
        while (p->flags.spaced && more(p)) {
                char c = peek(p);
                if (c == '#')
                        while (more(p) && peek(p) != '\n')
                                p->at++;
                else if (c == ' ' || (c >= '\t' && c <= '\r'))
                        p->at++;
                else
                        return;
        }
}

static int hex_value(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        c |= 0x20;
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static uint32_t hex_digits(struct parser *p, int n)
{
        uint32_t value = 0;
        for (int i = 0; i < n; i++) {
                int digit = hex_value(peek(p));
                if (digit < 0)
                        return fail(p, "a bad hexadecimal escape"), 0;
                value = value * 16 + (uint32_t)digit;
                p->at++;
        }
        return value;
}

/* After \x, \u or \U: {H...} or as many digits as the letter says. */
static uint32_t hex_escape(struct parser *p, int digits)
{
        uint32_t value = 0;
        if (!take(p, "{")) {
                value = hex_digits(p, digits);
                /* A surrogate pair is one character. */
                if (digits == 4 && value >= 0xd800 && value <= 0xdbff && take(p, "\\u")) {
                        uint32_t low = hex_digits(p, 4);
                        if (low < 0xdc00 || low > 0xdfff)
                                return fail(p, "a lone surrogate"), 0;
                        value = 0x10000 + ((value - 0xd800) << 10) + (low - 0xdc00);
                }
        } else {
                for (int i = 0; !take(p, "}") && !p->failed; i++)
                        value = i < 6 ? value * 16 + hex_digits(p, 1)
                                      : (fail(p, "a bad hexadecimal escape"), 0);
        }
        if (!p->failed && (value > CHAR_MAX_POINT || (value >= 0xd800 && value <= 0xdfff)))
                fail(p, "an escape that is no character");
        return value;
}

/* The character that an escape stands for, after the backslash and its letter c. */
static uint32_t char_escape(struct parser *p, uint32_t c)
{
        static const char from[] = "nrtfv0", to[] = "\n\r\t\f\v\0";
        const char *known = c < 0x80 && c ? strchr(from, (int)c) : NULL;
        if (known && !(c == '0' && hex_value(peek(p)) >= 0 && hex_value(peek(p)) < 10))
                return (unsigned char)to[known - from];
        if (c == 'x')
                return hex_escape(p, 2);
        if (c == 'u')
                return hex_escape(p, 4);
        if (c == 'U' && p->dialect == RX_RUST)
                return hex_escape(p, 8);
        if (c == 'a' && p->dialect == RX_RUST)
                return '\a';
        if (c == 'c' && p->dialect == RX_SCHEMA && ((peek(p) | 0x20) >= 'a' && (peek(p) | 0x20) <= 'z'))
                return (uint32_t)p->p.p[p->at++] & 0x1f;
        if (c < 0x80 && ((c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z'))) {
                fail(p, c >= '1' && c <= '9' ? "a back-reference, which is not supported,"
                                             : "an unknown escape");
                return 0;
        }
        return c;
}

/* \p{...}, \pL and their complements, after the letter. */
static bool property_escape(struct parser *p, bool negate, struct charset *ret)
{
        struct str name = { p->p.p + p->at, 1 };
        if (take(p, "{")) {
                name.p++;
                name.n = 0;
                while (more(p) && peek(p) != '}') {
                        p->at++;
                        name.n++;
                }
                p->at += more(p);
        } else if (more(p)) {
                p->at++;
        } else {
                name.n = 0;
        }
        if (name.n && name.p[0] == '^') {
                negate = !negate;
                name.p++;
                name.n--;
        }
        if (!class_property(name, ret)) {
                fail(p, "an unknown character property");
                return false;
        }
        if (negate)
                charset_negate(ret);
        return true;
}

/* Adds the class that an escape such as \d stands for; false when it stands for a character. */
static bool class_escape(struct parser *p, uint32_t c, struct charset *ret)
{
        if (c == 'p' || c == 'P')
                return property_escape(p, c == 'P', ret);
        if (c == 0 || c >= 0x80 || !strchr("dDwWsSh", (int)c) || (c == 'h' && p->dialect == RX_SCHEMA))
                return false;
        class_letter((char)(c | 0x20), p->dialect == RX_RUST, ret);
        if (c < 'a')
                charset_negate(ret);
        return true;
}

/* ---- sets in brackets ----------------------------------------------------------------------------- */

static void parse_brackets(struct parser *p, struct charset *ret);

/* One member: a character in *ret_char, or (false) a class that has been added to the set. */
static bool set_member(struct parser *p, struct charset *set, uint32_t *ret_char)
{
        uint32_t c = next_char(p);
        if (p->failed || c != '\\') {
                *ret_char = c;
                return true;
        }
        c = next_char(p);
        struct charset class = { 0 };
        if (!p->failed && class_escape(p, c, &class)) {
                charset_add_all(set, &class);
                charset_release(&class);
                return false;
        }
        charset_release(&class);
        *ret_char = p->failed ? 0 : c == 'b' ? '\b' : char_escape(p, c);
        return true;
}

/* [:name:] and nested sets, in Rust's dialect. */
static bool set_nested(struct parser *p, struct charset *set)
{
        struct charset inner = { 0 };
        if (p->dialect != RX_RUST || peek(p) != '[')
                return false;
        p->at++;
        if (peek(p) == ':') {
                size_t end = p->at + 1;
                while (end < p->p.n && p->p.p[end] != ':')
                        end++;
                struct str name = { p->p.p + p->at + 1, end - p->at - 1 };
                if (end + 1 < p->p.n && p->p.p[end + 1] == ']') {
                        if (class_posix(name, &inner))
                                p->at = end + 2;
                        else
                                fail(p, "an unknown POSIX class");
                        charset_add_all(set, &inner);
                        charset_release(&inner);
                        return true;
                }
        }
        if (++p->depth > MAX_NESTING)
                fail(p, "too much nesting");
        else
                parse_brackets(p, &inner);
        p->depth--;
        charset_add_all(set, &inner);
        charset_release(&inner);
        return true;
}

static void set_range(struct parser *p, struct charset *set)
{
        uint32_t lo, hi;
        if (!set_member(p, set, &lo) || p->failed)
                return;
        hi = lo;
        size_t at = p->at;
        if (take(p, "-")) {
                if (peek(p) == ']' || !more(p)) {
                        p->at = at; /* a hyphen before the end is itself */
                } else if (p->dialect == RX_RUST && peek(p) == '-') {
                        p->at = at; /* set difference is refused below */
                } else if (!set_member(p, set, &hi)) {
                        fail(p, "a class as the end of a range");
                } else if (hi < lo) {
                        fail(p, "a range out of order");
                }
        }
        charset_add(set, lo, hi);
}

/* After "[". */
static void parse_brackets(struct parser *p, struct charset *ret)
{
        bool negate = take(p, "^"), first = true, meet = false;
        struct charset left = { 0 };
        for (; !p->failed; first = false) {
                skip_space(p);
                if (!more(p)) {
                        fail(p, "a set without end");
                } else if (peek(p) == ']' && !(first && p->dialect == RX_RUST)) {
                        p->at++;
                        break;
                } else if (p->dialect == RX_RUST && take(p, "&&")) {
                        charset_settle(ret);
                        if (meet)
                                charset_intersect(ret, &left);
                        charset_release(&left);
                        left = *ret;
                        *ret = (struct charset){ 0 };
                        meet = true;
                } else if (p->dialect == RX_RUST && (take(p, "--") || take(p, "~~"))) {
                        fail(p, "a difference of sets, which is not supported,");
                } else if (!set_nested(p, ret)) {
                        set_range(p, ret);
                }
        }
        charset_settle(ret);
        if (meet)
                charset_intersect(ret, &left);
        charset_release(&left);
        if (p->flags.ignore_case)
                charset_fold(ret);
        if (negate)
                charset_negate(ret);
}

static const struct rx *parse_set(struct parser *p)
{
        struct charset set = { 0 };
        parse_brackets(p, &set);
        if (p->failed) {
                charset_release(&set);
                return NULL;
        }
        return set_tree(p, &set);
}

/* ---- atoms ---------------------------------------------------------------------------------------- */

static const struct rx *parse_dot(struct parser *p)
{
        struct charset set = { 0 };
        if (!p->flags.dot_all) {
                charset_add(&set, '\n', '\n');
                if (p->dialect == RX_SCHEMA) {
                        charset_add(&set, '\r', '\r');
                        charset_add(&set, 0x2028, 0x2029);
                }
        }
        charset_settle(&set);
        charset_negate(&set);
        return set_tree(p, &set);
}

static const struct rx *parse_escape(struct parser *p)
{
        uint32_t c = next_char(p);
        struct charset set = { 0 };
        if (p->failed)
                return NULL;
        if (c == 'b')
                return assert_tree(p, RX_WORD_EDGE);
        if (c == 'B')
                return assert_tree(p, RX_NO_WORD_EDGE);
        if (p->dialect == RX_RUST && c == 'A')
                return assert_tree(p, RX_START);
        if (p->dialect == RX_RUST && (c == 'z' || c == 'Z'))
                return assert_tree(p, RX_END);
        if (class_escape(p, c, &set)) {
                if (p->flags.ignore_case)
                        charset_fold(&set);
                return set_tree(p, &set);
        }
        charset_release(&set);
        uint32_t point = p->failed ? 0 : char_escape(p, c);
        return p->failed ? NULL : char_tree(p, point);
}

/* The letters of (?...) up to ")" or ":"; true for a group. */
static bool parse_flags(struct parser *p)
{
        bool on = true;
        for (; !p->failed; p->at++) {
                switch (peek(p)) {
                case 'i':
                        p->flags.ignore_case = on;
                        break;
                case 's':
                        p->flags.dot_all = on;
                        break;
                case 'm':
                        p->flags.multi_line = on;
                        break;
                case 'x':
                        p->flags.spaced = on;
                        break;
                case 'U': /* swaps greedy and lazy: the same texts match */
                        break;
                case 'u': /* Unicode is always on */
                        if (!on)
                                fail(p, "the flag -u, which is not supported,");
                        break;
                case '-':
                        on = false;
                        break;
                case ')':
                        p->at++;
                        return false;
                case ':':
                        p->at++;
                        return true;
                default:
                        fail(p, "an unknown flag");
                }
        }
        return false;
}

/* After "(?<" or "(?P<". */
static void skip_name(struct parser *p)
{
        size_t begin = p->at;
        while (more(p) && peek(p) != '>')
                p->at++;
        if (!take(p, ">") || p->at == begin + 1)
                fail(p, "a bad group name");
}

/* After "(": leaves p where the group's content begins; false when there is no group, only flags. */
static bool group_head(struct parser *p)
{
        if (!take(p, "?"))
                return true;
        if (take(p, "=") || take(p, "!") || take(p, "<=") || take(p, "<!")) {
                fail(p, "look-around, which is not supported,");
        } else if (take(p, ">")) {
                fail(p, "an atomic group, which is not supported,");
        } else if (take(p, "P<") || take(p, "<")) {
                skip_name(p);
        } else if (take(p, "P=") || take(p, "P>") || take(p, "(") || take(p, "&")) {
                fail(p, "a reference, which is not supported,");
        } else if (take(p, "#")) {
                while (more(p) && peek(p) != ')')
                        p->at++;
                if (!take(p, ")"))
                        fail(p, "a comment without end");
                return false;
        } else if (p->dialect == RX_SCHEMA && !take(p, ":")) {
                fail(p, "an unknown group");
        } else if (p->dialect == RX_RUST) {
                return parse_flags(p);
        }
        return true;
}

static const struct rx *parse_group(struct parser *p)
{
        struct rx_flags outer = p->flags;
        if (!group_head(p))
                return tree(p, RX_EMPTY); /* flags stay in force up to the end of the surrounding group */
        if (p->failed)
                return NULL;
        const struct rx *rx = parse_alt(p);
        if (!p->failed && !take(p, ")"))
                fail(p, "a group without end");
        p->flags = outer;
        return p->failed ? NULL : rx;
}

static const struct rx *parse_atom(struct parser *p)
{
        uint32_t c = next_char(p);
        if (p->failed)
                return NULL;
        switch (c) {
        case '.':
                return parse_dot(p);
        case '[':
                return parse_set(p);
        case '(':
                return parse_group(p);
        case '\\':
                return parse_escape(p);
        case '^':
                return assert_tree(p, p->flags.multi_line ? RX_LINE_START : RX_START);
        case '$':
                return assert_tree(p, p->flags.multi_line ? RX_LINE_END : RX_END);
        case '*':
        case '+':
        case '?':
                return fail(p, "a repetition of nothing");
        default:
                return char_tree(p, c);
        }
}

/* ---- repetition, sequence, alternatives -------------------------------------------------------------- */

static int parse_number(struct parser *p)
{
        int value = 0;
        bool any = false;
        for (; peek(p) >= '0' && peek(p) <= '9'; p->at++) {
                any = true;
                value = value * 10 + (peek(p) - '0');
                if (value > MAX_COUNT)
                        return fail(p, "a repetition count that is too large"), 0;
        }
        return any ? value : -1;
}

/* {m}, {m,}, {m,n} or {,n}; false (and nothing taken) when the brace is an ordinary character. */
static bool parse_braces(struct parser *p, int *min, int *max)
{
        size_t at = p->at;
        p->at++;
        skip_space(p);
        *min = parse_number(p);
        skip_space(p);
        bool comma = take(p, ",");
        skip_space(p);
        *max = comma ? parse_number(p) : *min;
        skip_space(p);
        if (p->failed)
                return false;
        if ((*min < 0 && (!comma || *max < 0)) || !take(p, "}")) {
                p->at = at;
                return false;
        }
        *min = *min < 0 ? 0 : *min;
        if (*max >= 0 && *max < *min)
                fail(p, "a repetition whose bounds are out of order");
        return true;
}

static bool parse_quantifier(struct parser *p, int *min, int *max)
{
        skip_space(p);
        *min = 0;
        *max = -1;
        switch (peek(p)) {
        case '*':
                p->at++;
                break;
        case '+':
                p->at++;
                *min = 1;
                break;
        case '?':
                p->at++;
                *max = 1;
                break;
        case '{':
                if (!parse_braces(p, min, max))
                        return false;
                break;
        default:
                return false;
        }
        if (take(p, "+"))
                fail(p, "a possessive repetition, which is not supported,");
        take(p, "?");
        return !p->failed;
}

static const struct rx *repeated(struct parser *p, const struct rx *part, int min, int max)
{
        struct rx *rx = tree(p, RX_REPEAT);
        if (!rx)
                return NULL;
        rx->part = part;
        rx->min = min;
        rx->max = max;
        rx->asserts = part->asserts;
        return rx;
}

static const struct rx *parse_seq(struct parser *p)
{
        struct list parts = { 0 };
        int min, max;
        for (;;) {
                skip_space(p);
                if (!more(p) || peek(p) == '|' || peek(p) == ')' || p->failed)
                        break;
                const struct rx *atom = parse_atom(p);
                for (int times = 0; atom && !p->failed && parse_quantifier(p, &min, &max); times++)
                        atom = times < MAX_NESTING ? repeated(p, atom, min, max)
                                                   : fail(p, "too much nesting");
                if (atom && vec_push(&parts, atom)) {
                        gr_fail(p->b, -ENOMEM);
                        p->failed = true;
                }
        }
        return list_tree(p, RX_SEQ, &parts);
}

static const struct rx *parse_alt(struct parser *p)
{
        struct list branches = { 0 };
        if (++p->depth > MAX_NESTING)
                return fail(p, "too much nesting");
        do {
                const struct rx *branch = parse_seq(p);
                if (branch && vec_push(&branches, branch)) {
                        gr_fail(p->b, -ENOMEM);
                        p->failed = true;
                }
        } while (!p->failed && take(p, "|"));
        p->depth--;
        return list_tree(p, RX_ALT, &branches);
}

const struct rx *rx_parse(struct grammar_builder *b, struct str pattern, enum rx_dialect dialect,
                          struct rx_flags flags, struct grammar_err *err)
{
        struct parser p = { .b = b, .err = err, .p = pattern, .dialect = dialect, .flags = flags };
        if (b->err)
                return NULL;
        const struct rx *rx = parse_alt(&p);
        if (!p.failed && more(&p))
                fail(&p, "an unmatched parenthesis");
        return p.failed ? NULL : rx;
}
