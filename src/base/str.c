#include "base/str.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct str str_c(const char *s)
{
        return s ? (struct str){ s, strlen(s) } : (struct str){ "", 0 };
}

bool str_eq(struct str a, struct str b)
{
        return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool str_eqc(struct str a, const char *b)
{
        return str_eq(a, str_c(b));
}

bool str_ieqc(struct str a, const char *b)
{
        return a.n == strlen(b) && (a.n == 0 || strncasecmp(a.p, b, a.n) == 0);
}

bool str_starts(struct str s, const char *prefix)
{
        size_t n = strlen(prefix);
        return s.n >= n && (n == 0 || memcmp(s.p, prefix, n) == 0);
}

struct str str_trim(struct str s)
{
        while (s.n && (*s.p == ' ' || *s.p == '\t')) {
                s.p++;
                s.n--;
        }
        while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
                s.n--;
        return s;
}

struct str str_split(struct str s, char sep, struct str *rest)
{
        const char *at = s.n ? memchr(s.p, sep, s.n) : NULL;
        if (!at) {
                *rest = (struct str){ NULL, 0 };
                return s;
        }
        size_t head = (size_t)(at - s.p);
        *rest = (struct str){ at + 1, s.n - head - 1 };
        return (struct str){ s.p, head };
}

bool str_to_i64(struct str s, int64_t *ret)
{
        size_t i = 0;
        bool negative = s.n && s.p[0] == '-';
        if (negative)
                i = 1;
        if (i == s.n)
                return false;
        int64_t value = 0;
        for (; i < s.n; i++) {
                if (s.p[i] < '0' || s.p[i] > '9')
                        return false;
                int digit = s.p[i] - '0';
                if (__builtin_mul_overflow(value, 10, &value) ||
                    __builtin_add_overflow(value, negative ? -digit : digit, &value))
                        return false;
        }
        *ret = value;
        return true;
}

bool str_to_f64(struct str s, double *ret)
{
        char text[64];
        if (s.n == 0 || s.n >= sizeof(text))
                return false;
        for (size_t i = 0; i < s.n; i++)
                if (!strchr("0123456789+-.eE", s.p[i]) || s.p[i] == '\0')
                        return false;
        memcpy(text, s.p, s.n);
        text[s.n] = '\0';
        char *end;
        errno = 0;
        double value = strtod(text, &end);
        if (*end || errno == ERANGE || !isfinite(value))
                return false;
        *ret = value;
        return true;
}

/* Bytes of the sequence that starts with `lead`, 0 when nothing valid does. */
static size_t utf8_length(unsigned char lead)
{
        if (lead < 0x80)
                return 1;
        if (lead >= 0xc2 && lead <= 0xdf)
                return 2;
        if ((lead & 0xf0) == 0xe0)
                return 3;
        if (lead >= 0xf0 && lead <= 0xf4)
                return 4;
        return 0;
}

/* The second byte has a narrower range after some leads: overlong forms, surrogates, above U+10FFFF. */
static bool utf8_second_ok(unsigned char lead, unsigned char second)
{
        switch (lead) {
        case 0xe0:
                return second >= 0xa0 && second <= 0xbf;
        case 0xed:
                return second >= 0x80 && second <= 0x9f;
        case 0xf0:
                return second >= 0x90 && second <= 0xbf;
        case 0xf4:
                return second >= 0x80 && second <= 0x8f;
        default:
                return second >= 0x80 && second <= 0xbf;
        }
}

bool str_is_utf8(struct str s)
{
        const unsigned char *p = (const unsigned char *)s.p;
        for (size_t i = 0; i < s.n;) {
                size_t n = utf8_length(p[i]);
                if (n == 0 || n > s.n - i)
                        return false;
                if (n > 1 && !utf8_second_ok(p[i], p[i + 1]))
                        return false;
                for (size_t k = 2; k < n; k++)
                        if ((p[i + k] & 0xc0) != 0x80)
                                return false;
                i += n;
        }
        return true;
}

size_t str_utf8_complete(struct str s)
{
        const unsigned char *p = (const unsigned char *)s.p;
        for (size_t back = 1; back <= 4 && back <= s.n; back++) {
                unsigned char byte = p[s.n - back];
                if ((byte & 0xc0) == 0x80)
                        continue;
                return utf8_length(byte) > back ? s.n - back : s.n;
        }
        return s.n;
}

char *str_hex(const void *bytes, size_t n, char *ret)
{
        static const char digits[] = "0123456789abcdef";
        const unsigned char *p = bytes;
        for (size_t i = 0; i < n; i++) {
                ret[2 * i] = digits[p[i] >> 4];
                ret[2 * i + 1] = digits[p[i] & 15];
        }
        ret[2 * n] = '\0';
        return ret;
}

uint64_t str_hash(struct str s)
{
        return str_hash_more(0xcbf29ce484222325u, s);
}

uint64_t str_hash_more(uint64_t hash, struct str s)
{
        for (size_t i = 0; i < s.n; i++)
                hash = (hash ^ (unsigned char)s.p[i]) * 0x100000001b3u;
        return hash;
}
