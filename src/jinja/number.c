/* Arithmetic of Python, with integers of 64 bits: what does not fit them fails. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "jinja/run.h"

static const char *const op_names[] = { "+", "-", "*", "/", "//", "%", "**" };

static _Noreturn void overflow(struct run *r)
{
        run_fail(r, "an integer is too large");
}

/* ---- integers --------------------------------------------------------------------------------------- */

static int64_t floor_div(struct run *r, int64_t a, int64_t b)
{
        if (!b)
                run_fail(r, "integer division or modulo by zero");
        if (a == INT64_MIN && b == -1)
                overflow(r);
        return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

static int64_t floor_mod(struct run *r, int64_t a, int64_t b)
{
        if (!b)
                run_fail(r, "integer modulo by zero");
        if (b == -1)
                return 0;
        int64_t m = a % b;
        return m && (m < 0) != (b < 0) ? m + b : m;
}

static int64_t power(struct run *r, int64_t base, int64_t exp)
{
        int64_t out = 1;
        while (exp) {
                if (exp & 1 && __builtin_mul_overflow(out, base, &out))
                        overflow(r);
                exp >>= 1;
                if (exp && __builtin_mul_overflow(base, base, &base))
                        overflow(r);
        }
        return out;
}

static struct jv int_arith(struct run *r, enum jv_op op, int64_t a, int64_t b)
{
        int64_t out = 0;
        bool wrong = false;
        switch (op) {
        case OP_ADD:
                wrong = __builtin_add_overflow(a, b, &out);
                break;
        case OP_SUB:
                wrong = __builtin_sub_overflow(a, b, &out);
                break;
        case OP_MUL:
                wrong = __builtin_mul_overflow(a, b, &out);
                break;
        case OP_FLOORDIV:
                out = floor_div(r, a, b);
                break;
        case OP_MOD:
                out = floor_mod(r, a, b);
                break;
        case OP_POW:
                out = power(r, a, b);
                break;
        case OP_DIV: /* gives a float */
                break;
        }
        if (wrong)
                overflow(r);
        return jv_int(out);
}

/* ---- floats ----------------------------------------------------------------------------------------- */

static double float_mod(struct run *r, double a, double b)
{
        if (b == 0)
                run_fail(r, "float modulo");
        double m = fmod(a, b);
        if (m == 0)
                return copysign(0, b);
        return (m < 0) != (b < 0) ? m + b : m;
}

/* As Python's float divmod: exact where floor(a / b) would be off by one. */
static double float_floor_div(struct run *r, double a, double b)
{
        if (b == 0)
                run_fail(r, "float floor division by zero");
        double m = fmod(a, b), q = (a - m) / b;
        if (m != 0 && (b < 0) != (m < 0))
                q -= 1;
        if (q == 0)
                return copysign(0, a / b);
        double whole = floor(q);
        return q - whole > 0.5 ? whole + 1 : whole;
}

static struct jv float_arith(struct run *r, enum jv_op op, double a, double b)
{
        double out = 0;
        switch (op) {
        case OP_ADD:
                return jv_float(a + b);
        case OP_SUB:
                return jv_float(a - b);
        case OP_MUL:
                return jv_float(a * b);
        case OP_DIV:
                if (b == 0)
                        run_fail(r, "division by zero");
                return jv_float(a / b);
        case OP_FLOORDIV:
                return jv_float(float_floor_div(r, a, b));
        case OP_MOD:
                return jv_float(float_mod(r, a, b));
        case OP_POW:
                if (a == 0 && b < 0)
                        run_fail(r, "0.0 cannot be raised to a negative power");
                if (a < 0 && isfinite(b) && b != floor(b))
                        run_fail(r, "a power of a negative number is not a real number");
                out = pow(a, b);
                if (isinf(out) && isfinite(a) && isfinite(b))
                        run_fail(r, "(34, 'Numerical result out of range')");
                return jv_float(out);
        }
        return jv_float(out);
}

/* ---- sequences -------------------------------------------------------------------------------------- */

static struct jv add_strings(struct run *r, struct jv a, struct jv b)
{
        if (!a.s->markup && !b.s->markup)
                return jv_concat(r, a, b);
        struct text t = text_new(r);
        text_addv(&t, jv_escape(r, a));
        text_addv(&t, jv_escape(r, b));
        return text_value(&t, true);
}

static struct jv add_lists(struct run *r, struct jv a, struct jv b)
{
        struct jv out = jv_list(r, a.kind, a.l->n + b.l->n);
        run_step(r, a.l->n + b.l->n);
        for (size_t i = 0; i < a.l->n; i++)
                jv_push(r, &out, a.l->v[i]);
        for (size_t i = 0; i < b.l->n; i++)
                jv_push(r, &out, b.l->v[i]);
        return out;
}

static struct jv repeat(struct run *r, struct jv v, struct jv count)
{
        int64_t n = jv_as_int(r, count, "the count of a repetition");
        if (n < 0)
                n = 0;
        if (v.kind == JV_STR) {
                struct text t = text_new(r);
                if (v.s->n)
                        text_fill(&t, v, (size_t)n);
                return text_value(&t, v.s->markup);
        }
        struct jv out = jv_list(r, v.kind, 0);
        for (int64_t i = 0; i < n && v.l->n; i++) {
                run_step(r, v.l->n);
                for (size_t k = 0; k < v.l->n; k++)
                        jv_push(r, &out, v.l->v[k]);
        }
        return out;
}

static bool repeatable(struct jv v)
{
        return v.kind == JV_STR || v.kind == JV_LIST || v.kind == JV_TUPLE;
}

static bool whole(struct jv v)
{
        return v.kind == JV_INT || v.kind == JV_BOOL;
}

static struct jv numbers(struct run *r, enum jv_op op, struct jv a, struct jv b)
{
        struct jv out;
        bool negative_power = op == OP_POW && whole(b) && jv_as_float(b) < 0;
        if (whole(a) && whole(b) && op != OP_DIV && !negative_power)
                out = int_arith(r, op, jv_as_int(r, a, ""), jv_as_int(r, b, ""));
        else
                out = float_arith(r, op, jv_as_float(a), jv_as_float(b));
        out.data = a.data || b.data;
        return out;
}

struct jv jv_arith(struct run *r, enum jv_op op, struct jv a, struct jv b)
{
        if (a.kind == JV_UNDEF)
                run_fail_undefined(r, a);
        if (op == OP_MOD && a.kind == JV_STR)
                return format_percent(r, a, b);
        if (b.kind == JV_UNDEF)
                run_fail_undefined(r, b);
        if (jv_number(a) && jv_number(b))
                return numbers(r, op, a, b);
        if (op == OP_ADD && a.kind == JV_STR && b.kind == JV_STR)
                return add_strings(r, a, b);
        if (op == OP_ADD && a.kind == b.kind && (a.kind == JV_LIST || a.kind == JV_TUPLE))
                return add_lists(r, a, b);
        if (op == OP_MUL && repeatable(a) && whole(b))
                return repeat(r, a, b);
        if (op == OP_MUL && repeatable(b) && whole(a))
                return repeat(r, b, a);
        if (op == OP_ADD && a.kind == JV_STR)
                run_fail(r, "can only concatenate str (not \"%s\") to str", jv_type(b));
        run_fail(r, "unsupported operand type(s) for %s: '%s' and '%s'", op_names[op], jv_type(a),
                 jv_type(b));
}

struct jv jv_negate(struct run *r, struct jv v, bool plus)
{
        struct jv out = v;
        if (v.kind == JV_UNDEF)
                run_fail_undefined(r, v);
        if (!jv_number(v))
                run_fail(r, "bad operand type for unary %c: '%s'", plus ? '+' : '-', jv_type(v));
        if (v.kind == JV_FLOAT) {
                out.f = plus ? v.f : -v.f;
                return out;
        }
        int64_t i = jv_as_int(r, v, "");
        if (!plus && i == INT64_MIN)
                overflow(r);
        out = jv_int(plus ? i : -i);
        out.data = v.data;
        return out;
}

/* ---- printing --------------------------------------------------------------------------------------- */

/* Digits and exponent of the shortest decimal that reads back as f. */
static int shortest(double f, char digits[24], int *exponent)
{
        char text[40];
        for (int precision = 0; precision <= 16; precision++) {
                snprintf(text, sizeof(text), "%.*e", precision, f);
                if (strtod(text, NULL) == f)
                        break;
        }
        int n = 0;
        const char *p = text;
        for (; *p && *p != 'e'; p++)
                if (*p >= '0' && *p <= '9')
                        digits[n++] = *p;
        *exponent = *p ? (int)strtol(p + 1, NULL, 10) : 0;
        return n;
}

size_t jv_float_text(double f, char out[JV_FLOAT_TEXT])
{
        char digits[24] = { 0 };
        int exponent, n = 0;
        if (isnan(f) || isinf(f))
                return (size_t)snprintf(out, JV_FLOAT_TEXT, "%s", isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
        int count = shortest(fabs(f), digits, &exponent);
        if (signbit(f))
                out[n++] = '-';
        if (exponent < -4 || exponent >= 16) {
                out[n++] = digits[0];
                if (count > 1) {
                        out[n++] = '.';
                        memcpy(out + n, digits + 1, (size_t)count - 1);
                        n += count - 1;
                }
                return (size_t)n + (size_t)snprintf(out + n, (size_t)(JV_FLOAT_TEXT - n), "e%c%02d",
                                                    exponent < 0 ? '-' : '+', abs(exponent));
        }
        int point = exponent + 1; /* digits before the point; not positive: zeros after it */
        if (point <= 0)
                out[n++] = '0';
        for (int i = 0; i < point; i++)
                out[n++] = i < count ? digits[i] : '0';
        out[n++] = '.';
        for (int i = point; i < 0; i++)
                out[n++] = '0';
        for (int i = point > 0 ? point : 0; i < count; i++)
                out[n++] = digits[i];
        if (point >= count)
                out[n++] = '0';
        return (size_t)n;
}
