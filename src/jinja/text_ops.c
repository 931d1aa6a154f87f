/* Text as the methods of Python's str handle it: case, ends, padding, lines. */
#include <string.h>
#include "jinja/filters.h"
#include "jinja/unicode.h"

/* ---- ends ------------------------------------------------------------------------------------------- */

static bool space_at(const char *p, size_t *ret_n)
{
        uint32_t c;
        *ret_n = uni_next(p, &c);
        return uni_is(c, UNI_SPACE);
}

struct str text_strip_space(struct str s)
{
        size_t n;
        while (s.n && space_at(s.p, &n)) {
                s.p += n;
                s.n -= n;
        }
        while (s.n && space_at(s.p + s.n - uni_back(s.p, s.n), &n))
                s.n -= n;
        return s;
}

/* Whether the character at p (n bytes) is among `chars`, or is space when those are not given. */
static bool stripped(struct jv chars, const char *p, size_t n)
{
        size_t len;
        if (chars.kind != JV_STR)
                return space_at(p, &len);
        return chars.s->n && memmem(chars.s->p, chars.s->n, p, n);
}

struct jv text_strip(struct run *r, struct jv s, struct jv chars, bool left, bool right)
{
        size_t from = 0, to = s.s->n, n;
        uint32_t c;
        if (chars.kind != JV_STR && chars.kind != JV_NONE && chars.kind != JV_MISSING)
                run_fail(r, "strip arg must be None or str");
        run_step(r, s.s->n / 16);
        while (left && from < to) {
                n = uni_next(s.s->p + from, &c);
                if (!stripped(chars, s.s->p + from, n))
                        break;
                from += n;
        }
        while (right && from < to) {
                n = uni_back(s.s->p, to);
                if (!stripped(chars, s.s->p + to - n, n))
                        break;
                to -= n;
        }
        return jv_part(r, s, from, to);
}

/* ---- case ------------------------------------------------------------------------------------------- */

static bool cased(uint32_t c)
{
        return uni_is(c, UNI_UPPER) || uni_is(c, UNI_LOWER) || uni_is(c, UNI_TITLE);
}

/* Marks and apostrophes do not end a word when its case is looked at. */
static bool ignorable(uint32_t c)
{
        return c == '\'' || c == '.' || c == ':' || c == 0xAD || c == 0x2019 || (c >= 0x300 && c <= 0x36F);
}

/* A capital sigma at the end of a word has a small form of its own. */
static bool final_sigma(struct str s, size_t at)
{
        uint32_t c = 0;
        size_t i = at;
        bool before = false;
        while (i) {
                i -= uni_back(s.p, i);
                uni_next(s.p + i, &c);
                if (!ignorable(c)) {
                        before = cased(c);
                        break;
                }
        }
        if (!before)
                return false;
        uint32_t sigma;
        for (i = at + uni_next(s.p + at, &sigma); i < s.n;) {
                i += uni_next(s.p + i, &c);
                if (!ignorable(c))
                        return !cased(c);
        }
        return true;
}

enum which_case { CASE_LOWER, CASE_UPPER, CASE_TITLE };

static void add_case(struct text *t, struct jv s, size_t at, enum which_case to)
{
        uint32_t c, out[UNI_CASE_MAX];
        uni_next(s.s->p + at, &c);
        size_t n = to == CASE_LOWER   ? uni_lower(c, out)
                   : to == CASE_UPPER ? uni_upper(c, out)
                                      : uni_title(c, out);
        if (to == CASE_LOWER && c == 0x3A3 && final_sigma(jv_text(s), at)) {
                out[0] = 0x3C2;
                n = 1;
        }
        for (size_t i = 0; i < n; i++)
                text_char(t, out[i], jv_data_at(s, at));
}

static struct jv convert(struct run *r, struct jv s, enum which_case first, enum which_case rest)
{
        struct text t = text_new(r);
        uint32_t c;
        for (size_t i = 0; i < s.s->n; i += uni_next(s.s->p + i, &c)) {
                run_step(r, 1);
                add_case(&t, s, i, i ? rest : first);
        }
        return text_value(&t, s.s->markup);
}

struct jv text_lower(struct run *r, struct jv s)
{
        return convert(r, s, CASE_LOWER, CASE_LOWER);
}

struct jv text_upper(struct run *r, struct jv s)
{
        return convert(r, s, CASE_UPPER, CASE_UPPER);
}

struct jv text_capitalize(struct run *r, struct jv s)
{
        return convert(r, s, CASE_TITLE, CASE_LOWER);
}

struct jv text_title(struct run *r, struct jv s)
{
        struct text t = text_new(r);
        bool inside = false;
        uint32_t c;
        for (size_t i = 0, n; i < s.s->n; i += n) {
                run_step(r, 1);
                n = uni_next(s.s->p + i, &c);
                add_case(&t, s, i, inside ? CASE_LOWER : CASE_TITLE);
                inside = cased(c);
        }
        return text_value(&t, s.s->markup);
}

/* ---- replacing and padding --------------------------------------------------------------------------- */

/* An empty `old` stands before every character and at the end. */
static struct jv insert_between(struct run *r, struct jv s, struct jv new, int64_t count)
{
        struct text t = text_new(r);
        uint32_t c;
        for (size_t i = 0, n; i < s.s->n; i += n) {
                run_step(r, 1);
                n = uni_next(s.s->p + i, &c);
                if (count-- > 0)
                        text_addv(&t, new);
                text_part(&t, s, i, i + n);
        }
        if (count > 0)
                text_addv(&t, new);
        return text_value(&t, s.s->markup);
}

struct jv text_replace(struct run *r, struct jv s, struct jv old, struct jv new, int64_t count)
{
        struct text t = text_new(r);
        size_t from = 0;
        count = count < 0 ? INT64_MAX : count;
        if (!old.s->n)
                return insert_between(r, s, new, count);
        run_step(r, s.s->n / 16);
        while (count-- > 0 && s.s->n - from >= old.s->n) {
                const char *at = memmem(s.s->p + from, s.s->n - from, old.s->p, old.s->n);
                if (!at)
                        break;
                size_t to = (size_t)(at - s.s->p);
                run_step(r, 1);
                text_part(&t, s, from, to);
                text_addv(&t, new);
                from = to + old.s->n;
        }
        if (!from)
                return s;
        text_part(&t, s, from, s.s->n);
        return text_value(&t, s.s->markup);
}

struct jv text_pad(struct run *r, struct jv s, struct jv width, struct jv fill, enum text_side side)
{
        int64_t want = jv_as_int(r, width, "a width"), n = (int64_t)jv_length(r, s);
        struct jv ch = fill.kind == JV_MISSING ? jv_cstr(r, " ") : fill;
        if (ch.kind != JV_STR || jv_length(r, ch) != 1)
                run_fail(r, "The fill character must be exactly one character long");
        if (want <= n)
                return s;
        size_t missing = (size_t)(want - n);
        size_t left = side == TEXT_LEFT    ? 0
                      : side == TEXT_RIGHT ? missing
                                           : missing / 2 + (missing & (size_t)want & 1);
        struct text t = text_new(r);
        text_fill(&t, ch, left);
        text_addv(&t, s);
        text_fill(&t, ch, missing - left);
        return text_value(&t, s.s->markup);
}

/* ---- lines ------------------------------------------------------------------------------------------ */

static bool ends_line(uint32_t c)
{
        return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
               c == 0x2029;
}

bool text_line(struct str s, size_t *at, size_t *ret_start, size_t *ret_end)
{
        if (*at >= s.n)
                return false;
        *ret_start = *at;
        while (*at < s.n) {
                uint32_t c;
                size_t n = uni_next(s.p + *at, &c);
                if (ends_line(c)) {
                        *ret_end = *at;
                        *at += c == '\r' && *at + 1 < s.n && s.p[*at + 1] == '\n' ? 2 : n;
                        return true;
                }
                *at += n;
        }
        *ret_end = *at;
        return true;
}
