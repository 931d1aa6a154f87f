#include "jinja/unicode.h"

struct range {
        uint32_t first, last, stride;
};
struct mapping {
        uint32_t first, last, stride;
        int32_t delta;
};
struct expansion {
        uint32_t c;
        uint32_t to[UNI_CASE_MAX];
};

#include "unicode.inc"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

size_t uni_next(const char *p, uint32_t *ret)
{
        const unsigned char *u = (const unsigned char *)p;
        if (u[0] < 0x80) {
                *ret = u[0];
                return 1;
        }
        if (u[0] < 0xE0) {
                *ret = (uint32_t)(u[0] & 0x1F) << 6 | (u[1] & 0x3F);
                return 2;
        }
        if (u[0] < 0xF0) {
                *ret = (uint32_t)(u[0] & 0x0F) << 12 | (uint32_t)(u[1] & 0x3F) << 6 | (u[2] & 0x3F);
                return 3;
        }
        *ret = (uint32_t)(u[0] & 0x07) << 18 | (uint32_t)(u[1] & 0x3F) << 12 | (uint32_t)(u[2] & 0x3F) << 6 |
               (u[3] & 0x3F);
        return 4;
}

size_t uni_back(const char *p, size_t at)
{
        size_t n = 1;
        while (n < at && ((unsigned char)p[at - n] & 0xC0) == 0x80)
                n++;
        return n;
}

size_t uni_put(uint32_t c, char out[4])
{
        if (c < 0x80) {
                out[0] = (char)c;
                return 1;
        }
        if (c < 0x800) {
                out[0] = (char)(0xC0 | c >> 6);
                out[1] = (char)(0x80 | (c & 0x3F));
                return 2;
        }
        if (c < 0x10000) {
                out[0] = (char)(0xE0 | c >> 12);
                out[1] = (char)(0x80 | (c >> 6 & 0x3F));
                out[2] = (char)(0x80 | (c & 0x3F));
                return 3;
        }
        out[0] = (char)(0xF0 | c >> 18);
        out[1] = (char)(0x80 | (c >> 12 & 0x3F));
        out[2] = (char)(0x80 | (c >> 6 & 0x3F));
        out[3] = (char)(0x80 | (c & 0x3F));
        return 4;
}

size_t uni_count(struct str s)
{
        size_t n = 0;
        for (size_t i = 0; i < s.n; i++)
                n += ((unsigned char)s.p[i] & 0xC0) != 0x80;
        return n;
}

size_t uni_offset(struct str s, size_t i)
{
        size_t at = 0;
        for (uint32_t c; i && at < s.n; i--)
                at += uni_next(s.p + at, &c);
        return at;
}

/* ---- classes --------------------------------------------------------------------------------------- */

/* The last range that starts at or before c. Ranges of a class may interleave (the letters of an alphabet
 * that alternates upper and lower), so the ones before it are looked at too, as far as they reach. */
static bool in_ranges(const struct range *r, size_t n, uint32_t c)
{
        size_t lo = 0, hi = n;
        while (lo < hi) {
                size_t mid = (lo + hi) / 2;
                if (r[mid].first <= c)
                        lo = mid + 1;
                else
                        hi = mid;
        }
        return lo && c <= r[lo - 1].last && (c - r[lo - 1].first) % r[lo - 1].stride == 0;
}

bool uni_is(uint32_t c, enum uni_class k)
{
        return in_ranges(classes[k].ranges, classes[k].n, c);
}

bool uni_alnum(uint32_t c)
{
        return uni_is(c, UNI_ALPHA) || uni_is(c, UNI_NUMERIC);
}

/* ---- case ------------------------------------------------------------------------------------------ */

static uint32_t mapped(const struct mapping *m, size_t n, uint32_t c)
{
        size_t lo = 0, hi = n;
        while (lo < hi) {
                size_t mid = (lo + hi) / 2;
                if (m[mid].first <= c)
                        lo = mid + 1;
                else
                        hi = mid;
        }
        if (!lo || c > m[lo - 1].last || (c - m[lo - 1].first) % m[lo - 1].stride)
                return c;
        return (uint32_t)((int64_t)c + m[lo - 1].delta);
}

static size_t expand(const struct expansion *e, size_t n, const struct mapping *m, size_t n_m, uint32_t c,
                     uint32_t out[UNI_CASE_MAX])
{
        for (size_t i = 0; c >= 0x80 && i < n; i++) {
                if (e[i].c != c)
                        continue;
                size_t k = 0;
                for (; k < UNI_CASE_MAX && e[i].to[k]; k++)
                        out[k] = e[i].to[k];
                return k;
        }
        out[0] = mapped(m, n_m, c);
        return 1;
}

size_t uni_upper(uint32_t c, uint32_t out[UNI_CASE_MAX])
{
        return expand(upper_expansions, COUNT(upper_expansions), upper_mappings, COUNT(upper_mappings), c,
                      out);
}

size_t uni_lower(uint32_t c, uint32_t out[UNI_CASE_MAX])
{
        return expand(lower_expansions, COUNT(lower_expansions), lower_mappings, COUNT(lower_mappings), c,
                      out);
}

size_t uni_title(uint32_t c, uint32_t out[UNI_CASE_MAX])
{
        return expand(title_expansions, COUNT(title_expansions), title_mappings, COUNT(title_mappings), c,
                      out);
}
