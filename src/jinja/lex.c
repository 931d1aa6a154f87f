/* Source to tokens, by the rules of Jinja's lexer with trim_blocks and lstrip_blocks on. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "jinja/ast.h"
#include "jinja/unicode.h"

#define BRACKETS_MAX 256 /* nesting of brackets in one tag */

struct lexer {
        struct arena *mem;
        struct str src;
        size_t at;
        int line;
        struct tokens *out;
        struct jinja_err *err;
        int rc;
        char closers[BRACKETS_MAX]; /* of the brackets that are open */
        size_t n_open;
        struct tok lost; /* written instead of a token, after a failure */
};

/* What a failed allocation in the arena means. */
static int no_room(void)
{
        return mem_take_failure() ? -ENOMEM : -E2BIG;
}

/* The first failure stays. */
static void fail(struct lexer *x, int rc, const char *msg)
{
        if (x->rc)
                return;
        x->rc = rc;
        x->err->line = x->line;
        snprintf(x->err->msg, sizeof(x->err->msg), "%s", msg);
}

static int peek(const struct lexer *x, size_t ahead)
{
        return x->at + ahead < x->src.n ? (unsigned char)x->src.p[x->at + ahead] : -1;
}

static bool at_text(const struct lexer *x, const char *s)
{
        size_t n = strlen(s);
        return x->src.n - x->at >= n && !memcmp(x->src.p + x->at, s, n);
}

static void skip(struct lexer *x, size_t n)
{
        for (; n; n--)
                x->line += x->src.p[x->at++] == '\n';
}

/* Bytes of the space character at `at`, 0 when there is none. */
static size_t space_at(struct str s, size_t at)
{
        uint32_t c;
        if (at >= s.n)
                return 0;
        size_t n = uni_next(s.p + at, &c);
        return uni_is(c, UNI_SPACE) ? n : 0;
}

static void skip_space(struct lexer *x)
{
        for (size_t n; (n = space_at(x->src, x->at));)
                skip(x, n);
}

static struct tok *push(struct lexer *x, enum tok_kind kind)
{
        if (x->rc || vec_push(x->out, ((struct tok){ .kind = (uint8_t)kind, .line = x->line }))) {
                fail(x, -ENOMEM, "out of memory");
                return &x->lost;
        }
        return &x->out->p[x->out->n - 1];
}

/* ---- text between tags ------------------------------------------------------------------------------ */

static size_t without_trailing_space(struct str s)
{
        while (s.n) {
                size_t n = uni_back(s.p, s.n);
                if (!space_at(s, s.n - n))
                        break;
                s.n -= n;
        }
        return s.n;
}

/* Cuts the text before a tag as its sign says: '-' takes all space, '+' none; without a sign a block takes
 * the space before it when it is the first of its line. */
static struct str strip_before(const struct lexer *x, struct str text, int sign, bool block)
{
        if (sign == '-')
                return (struct str){ text.p, without_trailing_space(text) };
        if (sign == '+' || !block)
                return text;
        size_t line = text.n;
        while (line && text.p[line - 1] != '\n')
                line--;
        const char *before = text.p + line;
        bool starts_line = line || before == x->src.p || before[-1] == '\n';
        size_t end = without_trailing_space(text);
        return starts_line && end <= line ? (struct str){ text.p, line } : text;
}

static void push_text(struct lexer *x, struct str text, int line)
{
        if (!text.n)
                return;
        struct tok *t = push(x, T_DATA);
        t->text = text;
        t->line = line;
}

static int sign_at(const struct lexer *x, size_t ahead)
{
        int c = peek(x, ahead);
        return c == '-' || c == '+' ? c : 0;
}

/* After the end of a tag: '-' takes the space that follows, otherwise one newline goes (`trim`). */
static void strip_after(struct lexer *x, int sign, bool trim)
{
        if (sign == '-')
                skip_space(x);
        else if (trim && sign != '+' && peek(x, 0) == '\n')
                skip(x, 1);
}

/* {%- raw -%}, when the tag here is that: its length up to the end, else 0. */
static size_t raw_tag(const struct lexer *x, size_t at, const char *word, int *ret_open, int *ret_close)
{
        struct lexer look = *x;
        look.at = at + 2;
        *ret_open = sign_at(&look, 0);
        look.at += *ret_open ? 1 : 0;
        skip_space(&look);
        if (!at_text(&look, word))
                return 0;
        look.at += strlen(word);
        skip_space(&look);
        *ret_close = sign_at(&look, 0);
        if (!strcmp(word, "raw") && *ret_close == '+')
                return 0;
        look.at += *ret_close ? 1 : 0;
        return at_text(&look, "%}") ? look.at + 2 - at : 0;
}

static void lex_raw(struct lexer *x, size_t tag, int close)
{
        skip(x, tag);
        strip_after(x, close, false);
        size_t start = x->at;
        int line = x->line;
        for (size_t i = start; i + 1 < x->src.n; i++) {
                int open_sign, close_sign;
                if (x->src.p[i] != '{' || x->src.p[i + 1] != '%')
                        continue;
                size_t n = raw_tag(x, i, "endraw", &open_sign, &close_sign);
                if (!n)
                        continue;
                struct str text = { x->src.p + start, i - start };
                push_text(x, strip_before(x, text, open_sign, true), line);
                skip(x, i + n - x->at);
                strip_after(x, close_sign, true);
                return;
        }
        fail(x, -EINVAL, "missing end of raw directive");
}

static void lex_comment(struct lexer *x, int sign)
{
        skip(x, sign ? 3 : 2);
        const char *end = x->src.n - x->at ? memmem(x->src.p + x->at, x->src.n - x->at, "#}", 2) : NULL;
        if (!end) {
                fail(x, -EINVAL, "missing end of comment tag");
                return;
        }
        size_t n = (size_t)(end - (x->src.p + x->at));
        int close = n && (end[-1] == '-' || end[-1] == '+') ? end[-1] : 0;
        skip(x, n + 2);
        strip_after(x, close, true);
}

/* ---- tokens of a tag -------------------------------------------------------------------------------- */

static bool name_start(int c)
{
        return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 0x80;
}

static bool digit(int c)
{
        return c >= '0' && c <= '9';
}

static int hex_digit(int c)
{
        if (digit(c))
                return c - '0';
        c |= 0x20;
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void lex_name(struct lexer *x)
{
        struct tok *t = push(x, T_NAME);
        size_t start = x->at;
        while (name_start(peek(x, 0)) || digit(peek(x, 0)))
                x->at++;
        t->text = (struct str){ x->src.p + start, x->at - start };
}

/* Digits of a base with single underscores between them, copied without those. Returns where they end. */
static size_t digits(const struct lexer *x, size_t at, int base, char *out, size_t cap, size_t *n)
{
        for (;;) {
                size_t i = at;
                if (i < x->src.n && x->src.p[i] == '_' && *n)
                        i++;
                int d = i < x->src.n ? hex_digit((unsigned char)x->src.p[i]) : -1;
                if (d < 0 || d >= base || *n + 1 >= cap)
                        return at;
                out[(*n)++] = x->src.p[i];
                at = i + 1;
        }
}

/* The part after the integer digits that makes a number a float, appended to out; false when there is none.
 */
static bool float_part(const struct lexer *x, size_t *at, char *out, size_t cap, size_t *n)
{
        size_t i = *at, len = *n, before;
        bool fraction = false, exponent = false;
        if (i + 1 < x->src.n && x->src.p[i] == '.' && digit((unsigned char)x->src.p[i + 1]) &&
            len + 2 < cap) {
                out[len++] = '.';
                i = digits(x, i + 1, 10, out, cap, &len);
                fraction = true;
        }
        if (i + 1 < x->src.n && (x->src.p[i] | 0x20) == 'e' && len + 4 < cap) {
                size_t j = i + 1, m = len;
                out[m++] = 'e';
                if (x->src.p[j] == '+' || x->src.p[j] == '-')
                        out[m++] = x->src.p[j++];
                before = m;
                if (j < x->src.n && digit((unsigned char)x->src.p[j]))
                        j = digits(x, j, 10, out, cap, &m);
                exponent = m > before;
                if (exponent) {
                        i = j;
                        len = m;
                }
        }
        if (!fraction && !exponent)
                return false;
        *at = i;
        *n = len;
        return true;
}

static void lex_number(struct lexer *x)
{
        char text[128];
        size_t n = 0, at = x->at;
        int base = 10;
        int letter = peek(x, 0) == '0' ? peek(x, 1) | 0x20 : 0;
        bool after_dot = at && x->src.p[at - 1] == '.';
        if (letter == 'x' || letter == 'o' || letter == 'b') {
                base = letter == 'x' ? 16 : letter == 'o' ? 8 : 2;
                at = digits(x, at + 2, base, text, sizeof(text), &n);
        }
        if (!n) {
                base = 10;
                at = digits(x, x->at, 10, text, sizeof(text), &n);
                size_t end = at, len = n;
                if (!after_dot && float_part(x, &end, text, sizeof(text), &len)) {
                        text[len] = '\0';
                        struct tok *t = push(x, T_FLOAT);
                        t->f = strtod(text, NULL);
                        x->at = end;
                        return;
                }
                if (text[0] == '0') /* zeros only: 007 is 00 and 7, as in Python's grammar of Jinja */
                        for (at = x->at, n = 0; peek(x, at - x->at) == '0'; at++)
                                text[n = 0, n++] = '0';
        }
        text[n] = '\0';
        errno = 0;
        struct tok *t = push(x, T_INT);
        t->i = strtoll(text, NULL, base);
        if (errno || n + 1 >= sizeof(text))
                fail(x, -EINVAL, "an integer is too large");
        x->at = at;
}

/* Hexadecimal of exactly `width` digits after a backslash and a letter. */
static size_t hex_escape(struct lexer *x, struct str s, size_t at, int width, char *out)
{
        uint32_t c = 0;
        for (int i = 0; i < width; i++) {
                int d = at + (size_t)i < s.n ? hex_digit((unsigned char)s.p[at + (size_t)i]) : -1;
                if (d < 0) {
                        fail(x, -EINVAL, "a string has a broken escape");
                        return 0;
                }
                c = c << 4 | (uint32_t)d;
        }
        if (c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) {
                fail(x, -EINVAL, "a string has an escape that is no character");
                return 0;
        }
        return uni_put(c, out);
}

/* Writes what the escape at s.p[*at] (after the backslash) stands for. Never longer than its spelling. */
static size_t unescape(struct lexer *x, struct str s, size_t *at, char *out)
{
        static const char from[] = "abfnrtv\\'\"", to[] = "\a\b\f\n\r\t\v\\'\"";
        int c = (unsigned char)s.p[(*at)++];
        const char *simple = c ? strchr(from, c) : NULL;
        if (simple) {
                out[0] = to[simple - from];
                return 1;
        }
        if (c == '\n')
                return 0;
        int width = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
        if (width) {
                size_t n = hex_escape(x, s, *at, width, out);
                *at += (size_t)width < s.n - *at ? (size_t)width : s.n - *at;
                return n;
        }
        if (c >= '0' && c <= '7') {
                uint32_t value = (uint32_t)(c - '0');
                for (int i = 0; i < 2 && *at < s.n && s.p[*at] >= '0' && s.p[*at] <= '7'; i++)
                        value = value * 8 + (uint32_t)(s.p[(*at)++] - '0');
                return uni_put(value, out);
        }
        if (c == 'N') {
                fail(x, -EINVAL, "\\N escapes of strings are not supported");
                return 0;
        }
        out[0] = '\\'; /* not an escape: both characters stand */
        out[1] = (char)c;
        return 2;
}

static void lex_string(struct lexer *x)
{
        char quote = x->src.p[x->at];
        size_t end = x->at + 1;
        while (end < x->src.n && x->src.p[end] != quote)
                end += x->src.p[end] == '\\' && end + 1 < x->src.n ? 2 : 1;
        if (end >= x->src.n) {
                fail(x, -EINVAL, "a string is not closed");
                return;
        }
        struct str raw = { x->src.p + x->at + 1, end - x->at - 1 };
        char *text = arena_alloc(x->mem, raw.n + 8);
        struct tok *t = push(x, T_STRING);
        if (!text) {
                fail(x, no_room(), "the template is too large");
                return;
        }
        size_t n = 0;
        for (size_t i = 0; i < raw.n && !x->rc;) {
                if (raw.p[i] != '\\' || i + 1 >= raw.n) {
                        text[n++] = raw.p[i++];
                        continue;
                }
                i++;
                n += unescape(x, raw, &i, text + n);
        }
        t->text = (struct str){ text, n };
        skip(x, end + 1 - x->at);
}

/* Keeps the account of brackets: inside of them no tag ends. */
static void balance(struct lexer *x, int op)
{
        static const char opening[] = "([{", closing[] = ")]}";
        const char *open = op < 256 ? strchr(opening, op) : NULL;
        if (open) {
                if (x->n_open == BRACKETS_MAX)
                        fail(x, -EINVAL, "brackets are nested too deeply");
                else
                        x->closers[x->n_open++] = closing[open - opening];
                return;
        }
        if (op >= 256 || !strchr(closing, op))
                return;
        if (!x->n_open || x->closers[--x->n_open] != op)
                fail(x, -EINVAL, "a closing bracket does not match");
}

static void lex_operator(struct lexer *x)
{
        static const struct {
                char text[3];
                int op;
        } two[] = { { "//", OPT_FLOORDIV }, { "**", OPT_POW }, { "==", OPT_EQ },
                    { "!=", OPT_NE },       { "<=", OPT_LE },  { ">=", OPT_GE } };
        for (size_t i = 0; i < sizeof(two) / sizeof(two[0]); i++) {
                if (at_text(x, two[i].text)) {
                        push(x, T_OP)->op = two[i].op;
                        x->at += 2;
                        return;
                }
        }
        int c = peek(x, 0);
        if (!c || !strchr("+-/*%~[](){}><=.:|,;", c)) {
                char msg[64];
                snprintf(msg, sizeof(msg), "unexpected character '%c'", c > 32 && c < 127 ? c : '?');
                fail(x, -EINVAL, msg);
                return;
        }
        push(x, T_OP)->op = c;
        balance(x, c);
        x->at++;
}

/* Whether the tag ends here (it does not within brackets); takes its end when it does. */
static bool tag_ends(struct lexer *x, bool block)
{
        const char *end = block ? "%}" : "}}";
        int sign = sign_at(x, 0);
        struct lexer look = *x;
        look.at += sign ? 1 : 0;
        if (x->n_open || (!block && sign == '+') || !at_text(&look, end))
                return false;
        push(x, block ? T_BLOCK_END : T_VAR_END);
        skip(x, sign ? 3 : 2);
        strip_after(x, sign, block);
        return true;
}

static void lex_tag(struct lexer *x, bool block, int sign)
{
        push(x, block ? T_BLOCK : T_VAR);
        skip(x, sign ? 3 : 2);
        while (!x->rc && x->at < x->src.n) {
                if (tag_ends(x, block))
                        return;
                int c = peek(x, 0);
                size_t space = space_at(x->src, x->at);
                if (space)
                        skip(x, space);
                else if (digit(c))
                        lex_number(x);
                else if (name_start(c))
                        lex_name(x);
                else if (c == '"' || c == '\'')
                        lex_string(x);
                else
                        lex_operator(x);
        }
}

/* ---- the whole -------------------------------------------------------------------------------------- */

/* Text up to the next tag, and that tag. */
static void lex_root(struct lexer *x)
{
        size_t start = x->at, i = start;
        int line = x->line;
        while (i < x->src.n &&
               !(x->src.p[i] == '{' && i + 1 < x->src.n && x->src.p[i + 1] && strchr("{%#", x->src.p[i + 1])))
                i++;
        struct str text = { x->src.p + start, i - start };
        skip(x, text.n);
        if (i == x->src.n) {
                push_text(x, text, line);
                return;
        }
        char kind = x->src.p[i + 1];
        int sign = sign_at(x, 2), open = 0, close = 0;
        push_text(x, strip_before(x, text, sign, kind != '{'), line);
        size_t raw = kind == '%' ? raw_tag(x, x->at, "raw", &open, &close) : 0;
        if (raw)
                lex_raw(x, raw, close);
        else if (kind == '#')
                lex_comment(x, sign);
        else
                lex_tag(x, kind == '%', sign);
}

/* Line ends become \n; the last one of the source goes. */
static bool normalise(struct lexer *x, struct str source)
{
        char *p = arena_alloc(x->mem, source.n + 1);
        size_t n = 0;
        if (!p)
                return false;
        for (size_t i = 0; i < source.n; i++) {
                if (source.p[i] == '\r' && i + 1 < source.n && source.p[i + 1] == '\n')
                        continue;
                p[n++] = source.p[i] == '\r' ? '\n' : source.p[i];
        }
        n -= n && p[n - 1] == '\n';
        x->src = (struct str){ p, n };
        return true;
}

int jinja_lex(struct arena *mem, struct str source, struct tokens *out, struct jinja_err *err)
{
        struct lexer x = { .mem = mem, .line = 1, .out = out, .err = err };
        if (!str_is_utf8(source))
                fail(&x, -EINVAL, "the template is not UTF-8");
        else if (!normalise(&x, source))
                fail(&x, no_room(), "the template is too large");
        while (!x.rc && x.at < x.src.n)
                lex_root(&x);
        push(&x, T_EOF);
        return x.rc;
}
