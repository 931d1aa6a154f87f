/* Python's two ways of formatting: "%s" % values, and "{}".format(values). */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "jinja/filters.h"
#include "jinja/unicode.h"

#define PRECISION_MAX 100
#define DIGITS_MAX 512 /* of the largest number with that precision */
#define WIDTH_MAX 1000000

/* What one field asks for. */
struct spec {
        struct jv fill; /* MISSING: a space */
        char align;     /* '<', '>', '^', '=' or 0 */
        char sign;      /* '+', ' ' or '-' */
        bool alternate, zero;
        int64_t width;
        char group;    /* ',' or '_' between thousands, or 0 */
        int precision; /* -1: not given */
        char type;     /* 0: not given */
};

/* ---- numbers ---------------------------------------------------------------------------------------- */

/* The digits of a number with its sign and prefix (0x) apart: padding with zeros goes between. */
struct digits {
        char sign, text[DIGITS_MAX], prefix[3];
        bool data;
};

static void pad(struct text *t, const struct spec *s, size_t n, bool data)
{
        if (s->fill.kind == JV_MISSING)
                for (size_t i = 0; i < n; i++) {
                        run_step(t->r, 1);
                        text_add(t, " ", 1, data);
                }
        else
                text_fill(t, s->fill, n);
}

/* A text of `n` characters within the width. */
static void put_aligned(struct text *t, const struct spec *s, struct jv v, char align)
{
        int64_t n = (int64_t)jv_length(t->r, v);
        size_t missing = s->width > n ? (size_t)(s->width - n) : 0;
        align = s->align ? s->align : align;
        size_t left = align == '>' || align == '=' ? missing : align == '^' ? missing / 2 : 0;
        pad(t, s, left, false);
        text_addv(t, v);
        pad(t, s, missing - left, false);
}

/* Copies `digits` with a separator between the thousands (of `every` digits) of its whole part. */
static void group_digits(const char *digits, char separator, size_t every, char *out, size_t cap)
{
        size_t whole = strspn(digits, every == 4 ? "0123456789abcdefABCDEF" : "0123456789"), n = 0;
        for (size_t i = 0; digits[i] && n + 2 < cap; i++) {
                if (i && i < whole && (whole - i) % every == 0)
                        out[n++] = separator;
                out[n++] = digits[i];
        }
        out[n] = '\0';
}

static void put_number(struct text *t, const struct spec *s, const struct digits *d)
{
        struct text out = text_new(t->r);
        struct spec zeros = *s;
        char grouped[DIGITS_MAX * 2];
        const char *body = d->text;
        if (s->group) {
                group_digits(d->text, s->group, s->type && strchr("xXob", s->type) ? 4 : 3, grouped,
                             sizeof(grouped));
                body = grouped;
        }
        char sign[2] = { d->sign ? d->sign : s->sign == '+' || s->sign == ' ' ? s->sign : '\0', '\0' };
        if (s->zero && s->fill.kind == JV_MISSING)
                zeros.fill = jv_cstr(t->r, "0");
        size_t used = strlen(sign) + strlen(d->prefix) + strlen(body);
        size_t missing = s->width > (int64_t)used ? (size_t)s->width - used : 0;
        text_adds(&out, sign, d->data);
        text_adds(&out, d->prefix, d->data);
        if (s->align == '=' || (s->zero && !s->align)) {
                pad(&out, &zeros, missing, d->data);
        }
        text_adds(&out, body, d->data);
        put_aligned(t, &zeros, text_value(&out, false), '>');
}

static void int_digits(struct run *r, int64_t i, const struct spec *s, struct digits *d)
{
        int base = s->type == 'x' || s->type == 'X' ? 16 : s->type == 'o' ? 8 : s->type == 'b' ? 2 : 10;
        uint64_t u = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
        char reversed[72];
        int n = 0, want = s->precision > 0 ? s->precision : 1;
        do {
                reversed[n++] =
                        (s->type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef")[u % (unsigned)base];
        } while (u /= (unsigned)base);
        if (want > PRECISION_MAX)
                run_fail(r, "precision too large");
        size_t k = 0;
        for (int z = n; z < want; z++)
                d->text[k++] = '0';
        while (n)
                d->text[k++] = reversed[--n];
        d->text[k] = '\0';
        d->sign = i < 0 ? '-' : '\0';
        if (s->alternate && base != 10)
                snprintf(d->prefix, sizeof(d->prefix), "0%c", s->type);
}

/* The decimal exponent of f when it is written with `digits` significant ones. */
static int exponent_of(double f, int digits)
{
        char text[DIGITS_MAX];
        snprintf(text, sizeof(text), "%.*e", digits > 0 ? digits - 1 : 0, f);
        const char *e = strchr(text, 'e');
        return e ? (int)strtol(e + 1, NULL, 10) : 0;
}

/* Without a type but with a precision: like 'g', but a float shows a point, and the exponent comes one digit
 * earlier. */
static void general_digits(double f, int precision, struct digits *d)
{
        int p = precision ? precision : 1;
        if (isfinite(f) && f != 0 && exponent_of(f, p) == p - 1) {
                char text[DIGITS_MAX];
                snprintf(text, sizeof(text), "%.*e", p - 1, f);
                char *e = strchr(text, 'e'), *end = e;
                if (memchr(text, '.', (size_t)(e - text))) {
                        while (end[-1] == '0')
                                end--;
                        if (end[-1] == '.')
                                end--;
                }
                snprintf(d->text, sizeof(d->text), "%.*s%s", (int)(end - text), text, e);
                return;
        }
        snprintf(d->text, sizeof(d->text), "%.*g", p, f);
        if (isfinite(f) && !strpbrk(d->text, ".e"))
                snprintf(d->text + strlen(d->text), 3, ".0");
}

static void float_digits(struct run *r, double f, const struct spec *s, struct digits *d)
{
        double size = fabs(f);
        char type = s->type == 'n' ? 'g' : s->type;
        if (s->precision > PRECISION_MAX)
                run_fail(r, "precision too large");
        d->sign = signbit(f) && !isnan(f) ? '-' : '\0';
        if (!isfinite(f)) {
                bool upper = type && isupper((unsigned char)type);
                snprintf(d->text, sizeof(d->text), "%s%s",
                         isnan(f) ? upper ? "NAN" : "nan"
                         : upper  ? "INF"
                                  : "inf",
                         type == '%' ? "%" : "");
        } else if (!type && s->precision < 0) {
                d->text[jv_float_text(size, d->text)] = '\0';
        } else if (!type) {
                general_digits(size, s->precision, d);
        } else if (type == '%') {
                if (size > 1e300)
                        run_fail(r, "the number is too large to be a percentage");
                snprintf(d->text, sizeof(d->text), "%.*f%%", s->precision < 0 ? 6 : s->precision, size * 100);
        } else {
                char fmt[8] = { '%', s->alternate ? '#' : '.', s->alternate ? '.' : '*',
                                s->alternate ? '*' : type, s->alternate ? type : '\0' };
                snprintf(d->text, sizeof(d->text), fmt, s->precision < 0 ? 6 : s->precision, size);
        }
}

static void put_int(struct text *t, const struct spec *s, int64_t i, bool data)
{
        struct digits d = { .data = data };
        int_digits(t->r, i, s, &d);
        put_number(t, s, &d);
}

static void put_float(struct text *t, const struct spec *s, double f, bool data)
{
        struct digits d = { .data = data };
        float_digits(t->r, f, s, &d);
        put_number(t, s, &d);
}

static void put_char(struct text *t, const struct spec *s, struct jv v)
{
        struct text out = text_new(t->r);
        int64_t c = jv_as_int(t->r, v, "%c");
        if (c < 0 || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000))
                run_fail(t->r, "%%c arg not in range(0x110000)");
        text_char(&out, (uint32_t)c, v.data);
        put_aligned(t, s, text_value(&out, false), '<');
}

static void put_str(struct text *t, const struct spec *s, struct jv v, char align)
{
        struct jv text = jv_to_str(t->r, v);
        if (s->precision >= 0)
                text = jv_part(t->r, text, 0, uni_offset(jv_text(text), (size_t)s->precision));
        put_aligned(t, s, text, align);
}

static struct jv repr(struct run *r, struct jv v)
{
        struct text t = text_new(r);
        text_repr(&t, v);
        return text_value(&t, false);
}

/* ---- "%" ---------------------------------------------------------------------------------------------- */

struct percent {
        struct run *r;
        struct jv fmt;
        size_t at;
        struct jv args;
        size_t used; /* of a tuple, or 1 when the single value was */
        bool keyed;
        struct text out;
};

static int peek(const struct percent *p)
{
        if (p->at >= p->fmt.s->n)
                run_fail(p->r, "incomplete format");
        return (unsigned char)p->fmt.s->p[p->at];
}

static struct jv next_arg(struct percent *p)
{
        if (p->args.kind == JV_TUPLE) {
                if (p->used >= p->args.l->n)
                        run_fail(p->r, "not enough arguments for format string");
                return p->args.l->v[p->used++];
        }
        if (p->used++)
                run_fail(p->r, "not enough arguments for format string");
        return p->args;
}

static int64_t percent_number(struct percent *p)
{
        int64_t n = 0;
        if (peek(p) == '*') {
                p->at++;
                n = jv_as_int(p->r, next_arg(p), "* wants int: it");
        } else {
                for (; isdigit(peek(p)); p->at++)
                        n = n < WIDTH_MAX ? n * 10 + (peek(p) - '0') : n;
        }
        if (n > WIDTH_MAX || n < -WIDTH_MAX)
                run_fail(p->r, "width too big");
        return n;
}

static struct jv keyed_arg(struct percent *p)
{
        size_t start = ++p->at;
        for (int depth = 1; depth; p->at++) {
                int c = peek(p);
                depth += (c == '(') - (c == ')');
        }
        if (p->args.kind != JV_DICT)
                run_fail(p->r, "format requires a mapping");
        struct jv key = jv_part(p->r, p->fmt, start, p->at - 1);
        const struct jv *v = jv_get(p->r, p->args, key);
        if (!v)
                run_fail(p->r, "the key %.*s is not in the mapping", (int)(key.s->n % 64), key.s->p);
        p->keyed = true;
        return *v;
}

static void percent_value(struct percent *p, const struct spec *s, struct jv v, char conv)
{
        struct spec one = *s;
        one.type = conv;
        if (v.kind == JV_UNDEF && !strchr("sr", conv))
                run_fail_undefined(p->r, v);
        if (conv == 's' || conv == 'r') {
                put_str(&p->out, &one,
                        conv == 'r'        ? repr(p->r, v)
                        : p->fmt.s->markup ? jv_escape(p->r, v)
                                           : v,
                        '>');
        } else if (conv == 'c' && v.kind == JV_STR) {
                if (jv_length(p->r, v) != 1)
                        run_fail(p->r, "%%c requires int or char");
                put_aligned(&p->out, &one, v, '>');
        } else if (conv == 'c') {
                one.align = one.align ? one.align : '>';
                put_char(&p->out, &one, v);
        } else if (strchr("diuxXo", conv)) {
                bool float_ok = strchr("diu", conv) != NULL;
                if (!jv_number(v) || (v.kind == JV_FLOAT && !float_ok))
                        run_fail(p->r, "%%%c format: %s is required, not %s", conv,
                                 float_ok ? "a real number" : "an integer", jv_type(v));
                if (v.kind == JV_FLOAT && !(fabs(v.f) < 0x1p63))
                        run_fail(p->r, "cannot convert the float to an integer");
                put_int(&p->out, &one, v.kind == JV_FLOAT ? (int64_t)v.f : jv_as_int(p->r, v, ""), v.data);
        } else if (strchr("eEfFgG", conv)) {
                if (!jv_number(v))
                        run_fail(p->r, "must be real number, not %s", jv_type(v));
                put_float(&p->out, &one, jv_as_float(v), v.data);
        } else {
                run_fail(p->r, "unsupported format character '%c'", conv >= 32 && conv < 127 ? conv : '?');
        }
}

/* One conversion, from behind its '%'. */
static void percent_field(struct percent *p)
{
        struct spec s = { .precision = -1, .sign = '-' };
        struct jv v = { 0 };
        if (peek(p) == '(')
                v = keyed_arg(p);
        for (;; p->at++) {
                int c = peek(p);
                if (c == '-')
                        s.align = '<';
                else if (c == '+' || (c == ' ' && s.sign != '+'))
                        s.sign = (char)c;
                else if (c == '0')
                        s.zero = true;
                else if (c == '#')
                        s.alternate = true;
                else if (c != ' ')
                        break;
        }
        s.width = percent_number(p);
        if (s.width < 0) {
                s.align = '<';
                s.width = -s.width;
        }
        if (peek(p) == '.') {
                p->at++;
                int64_t n = percent_number(p);
                s.precision = n < 0 ? 0 : n > PRECISION_MAX * 1000 ? PRECISION_MAX * 1000 : (int)n;
        }
        while (strchr("hlL", peek(p)) && peek(p))
                p->at++;
        char conv = (char)peek(p);
        p->at++;
        if (conv == '%') {
                text_adds(&p->out, "%", false);
                return;
        }
        percent_value(p, &s, v.kind == JV_MISSING ? next_arg(p) : v, conv);
}

struct jv format_percent(struct run *r, struct jv fmt, struct jv args)
{
        struct percent p = { .r = r, .fmt = fmt, .args = args, .out = text_new(r) };
        while (p.at < fmt.s->n) {
                const char *mark = memchr(fmt.s->p + p.at, '%', fmt.s->n - p.at);
                size_t to = mark ? (size_t)(mark - fmt.s->p) : fmt.s->n;
                run_step(r, 1);
                text_part(&p.out, fmt, p.at, to);
                p.at = to + 1;
                if (mark)
                        percent_field(&p);
        }
        bool left = args.kind == JV_TUPLE
                            ? p.used < args.l->n
                            : !p.used && args.kind != JV_DICT && args.kind != JV_LIST &&
                                      args.kind != JV_UNDEF && args.kind != JV_RANGE && !p.keyed;
        if (left)
                run_fail(r, "not all arguments converted during string formatting");
        return text_value(&p.out, fmt.s->markup);
}

/* ---- format() ------------------------------------------------------------------------------------------ */

struct braces {
        struct run *r;
        const struct jv_args *args;
        int64_t next; /* the next automatic number; -1: numbers are given */
        bool escape;
};

static bool is_align(uint32_t c)
{
        return c == '<' || c == '>' || c == '^' || c == '=';
}

static int64_t spec_number(struct run *r, struct str s, size_t *i)
{
        int64_t n = 0;
        for (; *i < s.n && isdigit((unsigned char)s.p[*i]); ++*i)
                if ((n = n * 10 + (s.p[*i] - '0')) > WIDTH_MAX)
                        run_fail(r, "a width or precision is too large");
        return n;
}

/* [[fill]align][sign][#][0][width][,][.precision][type] */
static struct spec parse_spec(struct run *r, struct jv text)
{
        struct spec spec = { .precision = -1, .sign = '-' };
        struct str s = jv_text(text);
        size_t i = 0;
        uint32_t c;
        size_t first = s.n ? uni_next(s.p, &c) : 0;
        if (first && first < s.n && is_align((unsigned char)s.p[first])) {
                spec.fill = jv_part(r, text, 0, first);
                spec.align = s.p[first];
                i = first + 1;
        } else if (s.n && is_align((unsigned char)s.p[0])) {
                spec.align = s.p[i++];
        }
        if (i < s.n && (s.p[i] == '+' || s.p[i] == '-' || s.p[i] == ' '))
                spec.sign = s.p[i++];
        if (i < s.n && s.p[i] == '#')
                spec.alternate = s.p[i++];
        if (i < s.n && s.p[i] == '0') {
                spec.zero = true;
                i++;
        }
        spec.width = spec_number(r, s, &i);
        if (i < s.n && (s.p[i] == ',' || s.p[i] == '_'))
                spec.group = s.p[i++];
        if (i < s.n && s.p[i] == '.') {
                size_t start = ++i;
                spec.precision = (int)spec_number(r, s, &i);
                if (i == start)
                        run_fail(r, "Format specifier missing precision");
        }
        if (i < s.n)
                spec.type = s.p[i++];
        if (i < s.n)
                run_fail(r, "Invalid format specifier");
        return spec;
}

static void put_value(struct text *t, const struct spec *s, struct jv v)
{
        struct run *r = t->r;
        bool whole = v.kind == JV_INT || v.kind == JV_BOOL;
        if (v.kind == JV_STR && (!s->type || s->type == 's')) {
                if (s->sign != '-' || s->group || s->align == '=')
                        run_fail(r, "an option of the format is not allowed for a string");
                struct spec text = *s;
                if (s->zero && s->fill.kind == JV_MISSING)
                        text.fill = jv_cstr(r, "0");
                put_str(t, &text, v, '<');
        } else if (whole && s->type == 'c') {
                put_char(t, s, v);
        } else if (whole && (!s->type || strchr("dxXobn", s->type))) {
                if (s->precision >= 0)
                        run_fail(r, "Precision not allowed in integer format specifier");
                put_int(t, s, jv_as_int(r, v, ""), v.data);
        } else if (jv_number(v) && s->type && strchr("eEfFgGn%", s->type)) {
                put_float(t, s, jv_as_float(v), v.data);
        } else if (v.kind == JV_FLOAT && !s->type) {
                put_float(t, s, v.f, v.data);
        } else {
                run_fail(r, "the format is not one for a %s", jv_type(v));
        }
}

/* The value that a field's name stands for: "", "0", "name", then ".attribute" and "[item]". */
static struct jv field_value(struct braces *b, struct jv name)
{
        struct str s = jv_text(name);
        size_t i = 0;
        int64_t number;
        while (i < s.n && s.p[i] != '.' && s.p[i] != '[')
                i++;
        struct str head = { s.p, i };
        struct jv v = { 0 };
        bool numbered = str_to_i64(head, &number);
        if (!head.n || numbered) {
                if (head.n ? b->next > 0 : b->next < 0)
                        run_fail(b->r, "cannot mix automatic and manual field numbering");
                number = head.n ? number : b->next++;
                b->next = head.n ? -1 : b->next;
                if (number < 0 || (uint64_t)number >= b->args->n)
                        run_fail(b->r, "Replacement index %lld out of range for positional args tuple",
                                 (long long)number);
                v = b->args->v[number];
        } else {
                for (size_t k = 0; k < b->args->n_kw; k++)
                        if (str_eq(b->args->kw_name[k], head))
                                v = b->args->kw[k];
                if (v.kind == JV_MISSING)
                        run_fail(b->r, "the field '%.*s' is not given", head.n < 60 ? (int)head.n : 60,
                                 head.p);
        }
        while (i < s.n) {
                bool item = s.p[i++] == '[';
                size_t start = i;
                while (i < s.n && (item ? s.p[i] != ']' : s.p[i] != '.' && s.p[i] != '['))
                        i++;
                struct str part = { s.p + start, i - start };
                if (!part.n || (item && i == s.n))
                        run_fail(b->r, "a field of the format is empty or not closed");
                i += item;
                if (item && str_to_i64(part, &number))
                        v = run_getitem(b->r, v, jv_int(number));
                else if (item)
                        v = run_getitem(b->r, v, jv_str(b->r, part, false));
                else
                        v = run_getattr(b->r, v, part);
        }
        return v;
}

static void expand(struct braces *b, struct jv fmt, int depth, struct text *out);

/* {name!conversion:spec}, where the spec may hold fields itself. */
static void brace_field(struct braces *b, struct jv fmt, size_t from, size_t to, int depth, struct text *out)
{
        struct run *r = b->r;
        size_t name_end = from, spec_start = to;
        char conversion = 0;
        bool in_item = false;
        for (; name_end < to && (in_item || (fmt.s->p[name_end] != '!' && fmt.s->p[name_end] != ':'));
             name_end++)
                in_item = fmt.s->p[name_end] == '[' || (in_item && fmt.s->p[name_end] != ']');
        if (name_end < to && fmt.s->p[name_end] == '!') {
                if (name_end + 1 >= to || (name_end + 2 < to && fmt.s->p[name_end + 2] != ':'))
                        run_fail(r, "expected ':' after conversion specifier");
                conversion = fmt.s->p[name_end + 1];
                spec_start = name_end + 2 < to ? name_end + 3 : to;
        } else if (name_end < to) {
                spec_start = name_end + 1;
        }
        struct jv v = field_value(b, jv_part(r, fmt, from, name_end));
        if (conversion && conversion != 's' && conversion != 'r')
                run_fail(r, "the conversion '%c' is not supported",
                         conversion > 32 && conversion < 127 ? conversion : '?');
        if (conversion)
                v = conversion == 'r' ? repr(r, v) : jv_to_str(r, v);
        struct text spec = text_new(r);
        expand(b, jv_part(r, fmt, spec_start, to), depth + 1, &spec);
        if (!spec.n) {
                text_str(out, b->escape ? jv_escape(r, v) : v);
                return;
        }
        struct spec s = parse_spec(r, text_value(&spec, false));
        if (v.kind == JV_UNDEF)
                v = jv_cstr(r, "");
        put_value(out, &s, v);
}

/* The '}' that closes the field that starts at i. */
static size_t field_end(struct run *r, struct jv fmt, size_t i)
{
        int depth = 1;
        for (; i < fmt.s->n; i++) {
                depth += (fmt.s->p[i] == '{') - (fmt.s->p[i] == '}');
                if (!depth)
                        return i;
        }
        run_fail(r, "expected '}' before end of string");
}

static void expand(struct braces *b, struct jv fmt, int depth, struct text *out)
{
        size_t plain = 0, i = 0;
        if (depth > 2)
                run_fail(b->r, "Max string recursion exceeded");
        while (i < fmt.s->n) {
                char c = fmt.s->p[i];
                run_step(b->r, 1);
                if (c != '{' && c != '}') {
                        i++;
                        continue;
                }
                text_part(out, fmt, plain, i);
                if (i + 1 < fmt.s->n && fmt.s->p[i + 1] == c) {
                        plain = i + 1;
                        i += 2;
                        continue;
                }
                if (c == '}')
                        run_fail(b->r, "Single '}' encountered in format string");
                size_t end = field_end(b->r, fmt, i + 1);
                brace_field(b, fmt, i + 1, end, depth, out);
                plain = i = end + 1;
        }
        text_part(out, fmt, plain, i);
}

struct jv format_braces(struct run *r, struct jv fmt, const struct jv_args *args)
{
        struct braces b = { .r = r, .args = args, .escape = fmt.s->markup };
        struct text out = text_new(r);
        expand(&b, fmt, 0, &out);
        return text_value(&out, fmt.s->markup);
}
