/* Numbers within bounds, as automata over their digits. They are written without exponents then, so that
 * every number has one spelling but for zeros at the end of its fraction. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "grammar/schema.h"

#define MAX_STATES 60000
/* Digits before the point where no bound says more: what 64 bits hold in any case. */
#define WHOLE_DIGITS 18
#define MAX_DIGITS 400

/* A decimal without sign: digits of the whole part (no zeros in front, but "0"), and of the fraction (no
 * zeros behind). */
struct decimal {
        char whole[MAX_DIGITS], fraction[MAX_DIGITS];
        int n_whole, n_fraction;
};

struct interval {
        double min, max; /* infinite: none */
        int64_t whole_min, whole_max;
};

/* ---- decimals ------------------------------------------------------------------------------------- */

/* The shortest decimal that reads back as the same double: what the writer of the schema meant. */
static void shortest(double d, char *ret, size_t size)
{
        for (int digits = 1; digits <= 17; digits++) {
                snprintf(ret, size, "%.*e", digits - 1, d);
                if (strtod(ret, NULL) == d)
                        return;
        }
}

static void trim(struct decimal *d)
{
        int zeros = 0;
        while (zeros < d->n_whole - 1 && d->whole[zeros] == '0')
                zeros++;
        memmove(d->whole, d->whole + zeros, (size_t)(d->n_whole - zeros));
        d->n_whole -= zeros;
        while (d->n_fraction && d->fraction[d->n_fraction - 1] == '0')
                d->n_fraction--;
}

/* Of a finite number, d >= 0. */
static struct decimal decimal_of(double d)
{
        struct decimal out = { 0 };
        char text[64], digits[32];
        int n = 0;
        shortest(d, text, sizeof(text));
        char *e = strchr(text, 'e');
        int point = 1 + (int)strtol(e + 1, NULL, 10);
        for (const char *p = text; p < e; p++)
                if (*p != '.')
                        digits[n++] = *p;
        /* The point stands after `point` digits, with zeros where there are none. */
        for (int i = 0; i < point || i < 1; i++)
                out.whole[out.n_whole++] = point > 0 && i < n ? digits[i] : '0';
        for (int i = point; i < n; i++)
                out.fraction[out.n_fraction++] = i < 0 ? '0' : digits[i];
        trim(&out);
        return out;
}

static struct decimal decimal_of_whole(int64_t v)
{
        struct decimal out = { 0 };
        out.n_whole = snprintf(out.whole, sizeof(out.whole), "%lld", (long long)v);
        return out;
}

/* ---- the digits of an interval ----------------------------------------------------------------------- */

/* States of numbers from `low` to `high` (NULL: no limit). A number is tight at an end while its digits are
 * those of the bound. */
struct digits {
        struct nfa *n;
        const struct decimal *low, *high;
        uint32_t end;
        bool whole_only;
        uint32_t free_whole[MAX_DIGITS];     /* by digits still to come, + 1 */
        uint32_t fraction[MAX_DIGITS][2][2]; /* by position and tightness, + 1 */
        uint32_t point[2][2];
};

static void digit_edge(struct digits *d, uint32_t from, int lo, int hi, uint32_t to)
{
        if (lo <= hi)
                nfa_edge(d->n, from, (uint32_t)('0' + lo), (uint32_t)('0' + hi), to);
}

static int fraction_digit(const struct decimal *d, int at)
{
        return at < d->n_fraction ? d->fraction[at] - '0' : 0;
}

static uint32_t fraction_state(struct digits *d, int at, bool tight_low, bool tight_high);

/* One digit of the fraction: those between the bounds leave them, those at a bound stay. */
static void fraction_edges(struct digits *d, uint32_t from, int at, bool low, bool high)
{
        int least = low ? fraction_digit(d->low, at) : 0, most = high ? fraction_digit(d->high, at) : 9;
        for (int digit = least; digit <= most; digit++)
                digit_edge(d, from, digit, digit,
                           fraction_state(d, at + 1, low && digit == least, high && digit == most));
}

/* After `at` digits of the fraction. Beyond the digits of the lower bound everything is above it; beyond
 * those of the upper one only zeros are not. */
static uint32_t fraction_state(struct digits *d, int at, bool low, bool high)
{
        low = low && at < d->low->n_fraction;
        int last = high ? d->high->n_fraction : 0;
        if (low && d->low->n_fraction > last)
                last = d->low->n_fraction;
        if (at > last)
                at = last;
        if (!low && !high)
                at = 0;
        /* Position 0 is shared by all free places; tight ones have been there before the first digit. */
        uint32_t *made = &d->fraction[at][low][high];
        if (!*made) {
                uint32_t state = nfa_state(d->n);
                *made = state + 1;
                if (!low)
                        nfa_move(d->n, state, d->end);
                fraction_edges(d, state, at, low, high);
        }
        return *made - 1;
}

/* After the whole part. */
static uint32_t after_whole(struct digits *d, bool low, bool high)
{
        uint32_t *made = &d->point[low][high];
        if (!*made) {
                uint32_t state = nfa_state(d->n);
                *made = state + 1;
                if (!low || !d->low->n_fraction)
                        nfa_move(d->n, state, d->end);
                if (!d->whole_only) {
                        uint32_t point = nfa_state(d->n);
                        nfa_edge(d->n, state, '.', '.', point);
                        fraction_edges(d, point, 0, low && d->low->n_fraction, high);
                }
        }
        return *made - 1;
}

static uint32_t free_whole(struct digits *d, int left)
{
        if (!left)
                return after_whole(d, false, false);
        if (!d->free_whole[left]) {
                uint32_t state = nfa_state(d->n);
                d->free_whole[left] = state + 1;
                digit_edge(d, state, 0, 9, free_whole(d, left - 1));
        }
        return d->free_whole[left] - 1;
}

/* Whole parts of `n` digits: along the bounds as far as they have as many. */
static void whole_of_length(struct digits *d, uint32_t start, int n)
{
        bool low = n == d->low->n_whole, high = d->high && n == d->high->n_whole;
        /* Up to three places at a time: tight at both, at the lower, at the upper bound. */
        uint32_t both = start, at_low = UINT32_MAX, at_high = UINT32_MAX;
        if (!low || !high) {
                both = UINT32_MAX;
                at_low = low ? start : UINT32_MAX;
                at_high = high ? start : UINT32_MAX;
        }
        if (!low && !high)
                digit_edge(d, start, n > 1 ? 1 : 0, 9, free_whole(d, n - 1));
        for (int i = 0; i < n; i++) {
                int a = low ? d->low->whole[i] - '0' : 0, b = high ? d->high->whole[i] - '0' : 9;
                int first = i == 0 && n > 1 ? 1 : 0;
                bool last = i + 1 == n;
                uint32_t next_both = UINT32_MAX, next_low = UINT32_MAX, next_high = UINT32_MAX;
                if (both != UINT32_MAX && a == b) {
                        next_both = last ? after_whole(d, true, true) : nfa_state(d->n);
                        digit_edge(d, both, a, a, next_both);
                } else if (both != UINT32_MAX) {
                        digit_edge(d, both, a + 1, b - 1, free_whole(d, n - i - 1));
                }
                bool parts = both != UINT32_MAX && a < b;
                if (parts || at_low != UINT32_MAX)
                        next_low = last ? after_whole(d, true, false) : nfa_state(d->n);
                if (parts || at_high != UINT32_MAX)
                        next_high = last ? after_whole(d, false, true) : nfa_state(d->n);
                if (parts) {
                        digit_edge(d, both, a, a, next_low);
                        digit_edge(d, both, b, b, next_high);
                }
                if (at_low != UINT32_MAX) {
                        digit_edge(d, at_low, a, a, next_low);
                        digit_edge(d, at_low, a + 1, 9, free_whole(d, n - i - 1));
                }
                if (at_high != UINT32_MAX) {
                        digit_edge(d, at_high, b, b, next_high);
                        digit_edge(d, at_high, first, b - 1, free_whole(d, n - i - 1));
                }
                both = next_both;
                at_low = next_low;
                at_high = next_high;
        }
}

/* Numbers without sign from low to high. */
static void emit_interval(struct nfa *n, const struct decimal *low, const struct decimal *high,
                          bool whole_only, uint32_t start, uint32_t end)
{
        struct digits *d = mem_calloc(1, sizeof(*d));
        if (!d) {
                n->err = -ENOMEM;
                return;
        }
        d->n = n;
        d->low = low;
        d->high = high;
        d->end = end;
        d->whole_only = whole_only;
        int most = high ? high->n_whole : low->n_whole > WHOLE_DIGITS ? low->n_whole + 1 : WHOLE_DIGITS;
        for (int len = low->n_whole; len <= most && len < MAX_DIGITS && !n->err; len++) {
                uint32_t branch = nfa_state(n);
                nfa_move(n, start, branch);
                whole_of_length(d, branch, len);
        }
        mem_free(d);
}

static bool below(const struct decimal *a, const struct decimal *b)
{
        if (a->n_whole != b->n_whole)
                return a->n_whole < b->n_whole;
        int order = memcmp(a->whole, b->whole, (size_t)a->n_whole);
        for (int i = 0; !order && (i < a->n_fraction || i < b->n_fraction); i++)
                order = fraction_digit(a, i) - fraction_digit(b, i);
        return order < 0;
}

/* The part of an interval on one side of zero, by magnitude; `low` NULL: the side begins at zero. */
static void emit_side(struct nfa *n, const struct decimal *low, const struct decimal *high, bool whole_only,
                      uint32_t start, uint32_t end)
{
        static const struct decimal zero = { .whole = "0", .n_whole = 1 };
        if (!high || !low || !below(high, low))
                emit_interval(n, low ? low : &zero, high, whole_only, start, end);
}

static void emit_range(struct nfa *n, const struct interval *in, bool whole_only, uint32_t start,
                       uint32_t end)
{
        uint32_t minus = nfa_state(n);
        bool has_min = whole_only ? in->whole_min != INT64_MIN : isfinite(in->min);
        bool has_max = whole_only ? in->whole_max != INT64_MAX : isfinite(in->max);
        double min = whole_only ? (double)in->whole_min : in->min,
               max = whole_only ? (double)in->whole_max : in->max;
        struct decimal low = { 0 }, high = { 0 };
        if (has_min)
                low = whole_only ? decimal_of_whole(llabs(in->whole_min)) : decimal_of(fabs(in->min));
        if (has_max)
                high = whole_only ? decimal_of_whole(llabs(in->whole_max)) : decimal_of(fabs(in->max));
        nfa_edge(n, start, '-', '-', minus);
        if (!has_max || max >= 0)
                emit_side(n, has_min && min > 0 ? &low : NULL, has_max ? &high : NULL, whole_only, start,
                          end);
        /* Whole numbers have no negative zero. */
        static const struct decimal one = { .whole = "1", .n_whole = 1 };
        const struct decimal *nearest = has_max && max < 0 ? &high : whole_only ? &one : NULL;
        if (!has_min || min < 0)
                emit_side(n, nearest, has_min ? &low : NULL, whole_only, minus, end);
}

/* ---- multiples ------------------------------------------------------------------------------------ */

/* Decimals whose first `places` digits after the point, with those before it, are as one number a multiple of
 * m; only zeros follow. States are a remainder on a level: the whole part, the point, each digit after it,
 * zeros. */
static int multiples_fa(struct sc *c, int64_t m, int places, struct fa *ret)
{
        struct nfa n;
        int64_t shift[32] = { 1 };
        int zeros = places + 2;
        if (m > MAX_STATES / (zeros + 1))
                return -E2BIG;
        for (int i = 1; i <= places; i++)
                shift[i] = shift[i - 1] * 10 % m;
        nfa_init(&n, &c->b->work);
        uint32_t start = nfa_state(&n), end = nfa_state(&n), base = n.n_states;
        n.n_states += (uint32_t)(m * (zeros + 1));
        nfa_edge(&n, start, '-', '-', base);
        nfa_move(&n, start, base);
        for (int level = 0; level <= zeros; level++) {
                int done = level == 0 ? 0 : level == zeros ? places : level - 1;
                for (int64_t rest = 0; rest < m && !n.err; rest++) {
                        uint32_t from = base + (uint32_t)(level * m + rest);
                        bool over = done == places && level;
                        if (level == 0)
                                nfa_edge(&n, from, '.', '.', base + (uint32_t)(m + rest));
                        if (level != 1 && rest * shift[places - done] % m == 0)
                                nfa_move(&n, from, end);
                        if (over)
                                nfa_edge(&n, from, '0', '0', base + (uint32_t)(zeros * m + rest));
                        for (uint32_t digit = 0; digit < 10 && !over; digit++)
                                nfa_edge(&n, from, '0' + digit, '0' + digit,
                                         base + (uint32_t)((level ? level + 1 : 0) * m +
                                                           (rest * 10 + digit) % m));
                }
        }
        int r = n.err ? n.err : fa_determinise(&n, start, end, MAX_STATES * 2, ret);
        nfa_release(&n);
        return r;
}

/* A multiple as m / 10^places; false when it has too many digits. */
static bool as_fraction(const json_t *v, int64_t *m, int *places)
{
        *places = 0;
        *m = json_integer_value(v);
        if (json_is_integer(v))
                return *m > 0;
        struct decimal d = decimal_of(json_real_value(v));
        if (d.n_whole + d.n_fraction > 15)
                return false;
        for (int i = 0; i < d.n_whole; i++)
                *m = *m * 10 + (d.whole[i] - '0');
        for (int i = 0; i < d.n_fraction; i++)
                *m = *m * 10 + (d.fraction[i] - '0');
        *places = d.n_fraction;
        return *m > 0;
}

static int64_t gcd(int64_t a, int64_t b)
{
        while (b) {
                int64_t rest = a % b;
                a = b;
                b = rest;
        }
        return a;
}

/* Intersects `to` with the multiples that the list asks for. */
static int restrict_to_multiples(struct sc *c, const struct sc_list *l, bool whole_only, struct fa *to)
{
        int r = 0;
        for (size_t i = 0; !r && i < l->n; i++) {
                const json_t *of = sc_key(&l->p[i], "multipleOf");
                struct fa multiples = { 0 }, both = { 0 };
                int64_t m;
                int places;
                if (!of)
                        continue;
                r = as_fraction(of, &m, &places) ? 0 : -E2BIG;
                for (; !r && whole_only && places;
                     places--) /* k * m / 10^p is whole when m / gcd divides it */
                        m = m / gcd(m, 10);
                if (!r)
                        r = multiples_fa(c, m, places, &multiples);
                if (!r)
                        r = fa_intersect(to, &multiples, MAX_STATES * 2, &c->b->work, &both);
                fa_release(&multiples);
                if (!r) {
                        fa_release(to);
                        *to = both;
                }
        }
        return r;
}

/* ---- bounds --------------------------------------------------------------------------------------- */

/* Doubles: a bound that is excluded is the next one. What a reader rounds to a double is compared by it, and
 * rounding keeps order, so this is exact. */
static void take_bounds(const struct sc_entry *e, struct interval *in)
{
        const json_t *min = sc_key(e, "minimum"), *max = sc_key(e, "maximum");
        const json_t *above = sc_key(e, "exclusiveMinimum"), *under = sc_key(e, "exclusiveMaximum");
        if (min)
                in->min = fmax(in->min, json_number_value(min));
        if (max)
                in->max = fmin(in->max, json_number_value(max));
        if (above)
                in->min = fmax(in->min, nextafter(json_number_value(above), INFINITY));
        if (under)
                in->max = fmin(in->max, nextafter(json_number_value(under), -INFINITY));
}

static int64_t whole_bound(const json_t *v, bool lower, bool exclusive)
{
        if (json_is_integer(v)) {
                int64_t n = json_integer_value(v);
                if (!exclusive)
                        return n;
                return lower ? (n < INT64_MAX ? n + 1 : n) : (n > INT64_MIN ? n - 1 : n);
        }
        double d = json_real_value(v), whole = lower ? ceil(d) : floor(d);
        if (exclusive && whole == d)
                whole += lower ? 1 : -1;
        return whole <= -9.2e18 ? INT64_MIN + 1 : whole >= 9.2e18 ? INT64_MAX - 1 : (int64_t)whole;
}

static void take_whole_bounds(const struct sc_entry *e, struct interval *in)
{
        static const struct {
                const char *keyword;
                bool lower, exclusive;
        } bounds[] = { { "minimum", true, false },
                       { "maximum", false, false },
                       { "exclusiveMinimum", true, true },
                       { "exclusiveMaximum", false, true } };
        for (size_t i = 0; i < 4; i++) {
                const json_t *v = sc_key(e, bounds[i].keyword);
                if (!v)
                        continue;
                int64_t n = whole_bound(v, bounds[i].lower, bounds[i].exclusive);
                if (bounds[i].lower && n > in->whole_min)
                        in->whole_min = n;
                if (!bounds[i].lower && n < in->whole_max)
                        in->whole_max = n;
        }
}

/* Whether the list says anything about numbers. */
static bool bounded(const struct sc_list *l)
{
        static const char *const keywords[] = { "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
                                                "multipleOf" };
        for (size_t i = 0; i < l->n; i++)
                for (size_t k = 0; k < 5; k++)
                        if (sc_key(&l->p[i], keywords[k]))
                                return true;
        return false;
}

gnode sc_number(struct sc *c, const struct sc_list *l, unsigned types)
{
        bool whole_only = !(types & TYPE_FRACTION);
        struct interval in = { -INFINITY, INFINITY, INT64_MIN, INT64_MAX };
        struct nfa n;
        struct fa a = { 0 };
        if (!bounded(l))
                return json_part(c->b, whole_only ? PART_INTEGER : PART_NUMBER, c->flags);
        for (size_t i = 0; i < l->n; i++) {
                take_bounds(&l->p[i], &in);
                take_whole_bounds(&l->p[i], &in);
        }
        if (whole_only ? in.whole_min > in.whole_max : in.min > in.max)
                return gr_nothing(c->b);
        nfa_init(&n, &c->b->work);
        uint32_t start = nfa_state(&n), end = nfa_state(&n);
        emit_range(&n, &in, whole_only, start, end);
        int r = n.err ? n.err : fa_determinise(&n, start, end, MAX_STATES, &a);
        nfa_release(&n);
        if (!r)
                r = restrict_to_multiples(c, l, whole_only, &a);
        if (!r)
                return gr_fa(c->b, &a, GR_UTF8);
        fa_release(&a);
        return r == -E2BIG ? sc_too_large(c, "The range or 'multipleOf' of the number") : gr_fail(c->b, r);
}
