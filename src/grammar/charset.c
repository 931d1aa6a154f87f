#include "grammar/charset.h"

#include <stdlib.h>
#include <string.h>
#include "grammar/unicode.h"

#define SURROGATE_LO 0xd800u
#define SURROGATE_HI 0xdfffu

void charset_release(struct charset *c)
{
        vec_release(&c->r);
}

void charset_add(struct charset *c, uint32_t lo, uint32_t hi)
{
        if (lo <= hi && vec_push(&c->r, ((struct fa_range){ lo, hi })))
                c->failed = true;
}

void charset_add_all(struct charset *c, const struct charset *more)
{
        for (size_t i = 0; i < more->r.n; i++)
                charset_add(c, more->r.p[i].lo, more->r.p[i].hi);
        c->failed |= more->failed;
        charset_settle(c);
}

static int by_low(const void *a, const void *b)
{
        const struct fa_range *x = a, *y = b;
        return x->lo < y->lo ? -1 : x->lo > y->lo;
}

/* Cuts the surrogates out of sorted, disjoint ranges. */
static void drop_surrogates(struct charset *c)
{
        size_t n = c->r.n;
        for (size_t i = 0; i < n; i++) {
                struct fa_range *r = &c->r.p[i];
                if (r->hi < SURROGATE_LO || r->lo > SURROGATE_HI)
                        continue;
                uint32_t hi = r->hi;
                bool before = r->lo<SURROGATE_LO, after = hi> SURROGATE_HI;
                if (before && after) {
                        r->hi = SURROGATE_LO - 1;
                        charset_add(c, SURROGATE_HI + 1, hi);
                        n = 0; /* the new one is out of order */
                        qsort(c->r.p, c->r.n, sizeof(*c->r.p), by_low);
                } else if (before) {
                        r->hi = SURROGATE_LO - 1;
                } else if (after) {
                        r->lo = SURROGATE_HI + 1;
                } else {
                        memmove(r, r + 1, (c->r.n - i - 1) * sizeof(*r));
                        c->r.n--;
                        n = c->r.n;
                        i--;
                }
        }
}

void charset_settle(struct charset *c)
{
        size_t out = 0;
        if (c->r.n > 1)
                qsort(c->r.p, c->r.n, sizeof(*c->r.p), by_low);
        for (size_t i = 0; i < c->r.n; i++) {
                struct fa_range r = c->r.p[i];
                if (r.hi > CHAR_MAX_POINT)
                        r.hi = CHAR_MAX_POINT;
                if (r.lo > r.hi)
                        continue;
                if (out && r.lo <= c->r.p[out - 1].hi + 1) {
                        if (r.hi > c->r.p[out - 1].hi)
                                c->r.p[out - 1].hi = r.hi;
                } else {
                        c->r.p[out++] = r;
                }
        }
        c->r.n = out;
        drop_surrogates(c);
}

void charset_negate(struct charset *c)
{
        struct charset out = { .failed = c->failed };
        uint32_t at = 0;
        for (size_t i = 0; i < c->r.n; i++) {
                if (c->r.p[i].lo > at)
                        charset_add(&out, at, c->r.p[i].lo - 1);
                at = c->r.p[i].hi + 1;
        }
        charset_add(&out, at, CHAR_MAX_POINT);
        charset_settle(&out);
        charset_release(c);
        *c = out;
}

void charset_intersect(struct charset *c, const struct charset *with)
{
        struct charset out = { .failed = c->failed || with->failed };
        size_t i = 0, k = 0;
        while (i < c->r.n && k < with->r.n) {
                struct fa_range a = c->r.p[i], b = with->r.p[k];
                charset_add(&out, a.lo > b.lo ? a.lo : b.lo, a.hi < b.hi ? a.hi : b.hi);
                if (a.hi < b.hi)
                        i++;
                else
                        k++;
        }
        charset_settle(&out);
        charset_release(c);
        *c = out;
}

bool charset_has(const struct charset *c, uint32_t point)
{
        for (size_t i = 0; i < c->r.n; i++)
                if (point >= c->r.p[i].lo && point <= c->r.p[i].hi)
                        return true;
        return false;
}

void charset_fold(struct charset *c)
{
        size_t n = c->r.n;
        /* Pairs come both ways and closed, so one pass finds all. */
        for (size_t i = 0; i < n; i++) {
                uint32_t lo = c->r.p[i].lo, hi = c->r.p[i].hi;
                for (size_t k = unicode_fold_from(lo); k < unicode_n_folds && unicode_folds[k].from <= hi;
                     k++)
                        charset_add(c, unicode_folds[k].to, unicode_folds[k].to);
        }
        charset_settle(c);
}

/* ---- UTF-8 ---------------------------------------------------------------------------------------- */

uint32_t utf8_next(const char *p, size_t n, size_t *at)
{
        static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
        const unsigned char *s = (const unsigned char *)p + *at;
        size_t left = n - *at;
        int len = !left         ? 0
                  : s[0] < 0x80 ? 1
                  : s[0] < 0xc2 ? 0
                  : s[0] < 0xe0 ? 2
                  : s[0] < 0xf0 ? 3
                  : s[0] < 0xf5 ? 4
                                : 0;
        if (!len || (size_t)len > left)
                return UINT32_MAX;
        uint32_t point = len == 1 ? s[0] : s[0] & (0x7fu >> len);
        for (int i = 1; i < len; i++) {
                if ((s[i] & 0xc0) != 0x80)
                        return UINT32_MAX;
                point = point << 6 | (s[i] & 0x3f);
        }
        if (point < least[len] || point > CHAR_MAX_POINT || (point >= SURROGATE_LO && point <= SURROGATE_HI))
                return UINT32_MAX;
        *at += (size_t)len;
        return point;
}

/* The bytes after the first: `count` digits of base 64 that hold lo to hi. */
static void emit_tail(struct nfa *n, uint32_t lo, uint32_t hi, int count, uint32_t from, uint32_t to)
{
        if (count == 1) {
                nfa_edge(n, from, 0x80 | lo, 0x80 | hi, to);
                return;
        }
        int shift = 6 * (count - 1);
        uint32_t rest = (1u << shift) - 1, first = lo >> shift, last = hi >> shift;
        /* Whole runs of leading digits share one tail; a part of one at either end has its own. */
        if (lo & rest && first < last) {
                emit_tail(n, lo, lo | rest, count, from, to);
                lo = (lo | rest) + 1;
                first++;
        }
        if ((hi & rest) != rest && first < last) {
                emit_tail(n, hi & ~rest, hi, count, from, to);
                hi = (hi & ~rest) - 1;
                last--;
        }
        uint32_t mid = nfa_state(n);
        nfa_edge(n, from, 0x80 | first, 0x80 | last, mid);
        emit_tail(n, lo & rest, hi & rest, count - 1, mid, to);
}

/* A range within which all characters have `count` bytes after the first. */
static void emit_class(struct nfa *n, uint32_t lo, uint32_t hi, int count, uint32_t from, uint32_t to)
{
        static const uint32_t lead[] = { 0, 0xc0, 0xe0, 0xf0 };
        if (!count) {
                nfa_edge(n, from, lo, hi, to);
                return;
        }
        int shift = 6 * count;
        uint32_t rest = (1u << shift) - 1, first = lo >> shift, last = hi >> shift;
        if (lo & rest && first < last) {
                emit_class(n, lo, lo | rest, count, from, to);
                lo = (lo | rest) + 1;
                first++;
        }
        if ((hi & rest) != rest && first < last) {
                emit_class(n, hi & ~rest, hi, count, from, to);
                hi = (hi & ~rest) - 1;
                last--;
        }
        uint32_t mid = nfa_state(n);
        nfa_edge(n, from, lead[count] | first, lead[count] | last, mid);
        emit_tail(n, lo & rest, hi & rest, count, mid, to);
}

static void emit_utf8(struct nfa *n, uint32_t lo, uint32_t hi, uint32_t from, uint32_t to)
{
        static const uint32_t last[] = { 0x7f, 0x7ff, 0xffff, CHAR_MAX_POINT };
        for (int count = 0; count < 4 && lo <= hi; count++) {
                if (lo > last[count])
                        continue;
                uint32_t end = hi < last[count] ? hi : last[count];
                emit_class(n, lo, end, count, from, to);
                lo = end + 1;
        }
}

/* ---- JSON strings --------------------------------------------------------------------------------- */

static void emit_hex_digit(struct nfa *n, uint32_t lo, uint32_t hi, uint32_t from, uint32_t to)
{
        if (lo < 10)
                nfa_edge(n, from, '0' + lo, '0' + (hi < 9 ? hi : 9), to);
        if (hi >= 10) {
                uint32_t first = lo > 10 ? lo - 10 : 0;
                nfa_edge(n, from, 'a' + first, 'a' + hi - 10, to);
                nfa_edge(n, from, 'A' + first, 'A' + hi - 10, to);
        }
}

/* `count` hexadecimal digits that hold lo to hi. */
static void emit_hex(struct nfa *n, uint32_t lo, uint32_t hi, int count, uint32_t from, uint32_t to)
{
        if (count == 1) {
                emit_hex_digit(n, lo, hi, from, to);
                return;
        }
        int shift = 4 * (count - 1);
        uint32_t rest = (1u << shift) - 1, first = lo >> shift, last = hi >> shift;
        if (lo & rest && first < last) {
                emit_hex(n, lo, lo | rest, count, from, to);
                lo = (lo | rest) + 1;
                first++;
        }
        if ((hi & rest) != rest && first < last) {
                emit_hex(n, hi & ~rest, hi, count, from, to);
                hi = (hi & ~rest) - 1;
                last--;
        }
        uint32_t mid = nfa_state(n);
        emit_hex_digit(n, first, last, from, mid);
        emit_hex(n, lo & rest, hi & rest, count - 1, mid, to);
}

/* Characters beyond the BMP: two \u escapes, high and low surrogate. */
static void emit_pair(struct nfa *n, uint32_t lo, uint32_t hi, uint32_t from, uint32_t to)
{
        uint32_t first = (lo - 0x10000) >> 10, last = (hi - 0x10000) >> 10;
        if (lo & 0x3ff && first < last) {
                emit_pair(n, lo, lo | 0x3ff, from, to);
                lo = (lo | 0x3ff) + 1;
                first++;
        }
        if ((hi & 0x3ff) != 0x3ff && first < last) {
                emit_pair(n, hi & ~0x3ffu, hi, from, to);
                hi = (hi & ~0x3ffu) - 1;
                last--;
        }
        uint32_t high = nfa_state(n), slash = nfa_state(n), low = nfa_state(n);
        emit_hex(n, 0xd800 + first, 0xd800 + last, 4, from, high);
        nfa_edge(n, high, '\\', '\\', slash);
        nfa_edge(n, slash, 'u', 'u', low);
        emit_hex(n, 0xdc00 + (lo & 0x3ff), 0xdc00 + (hi & 0x3ff), 4, low, to);
}

static uint32_t at_least(uint32_t a, uint32_t b)
{
        return a > b ? a : b;
}

static uint32_t at_most(uint32_t a, uint32_t b)
{
        return a < b ? a : b;
}

/* The part of a range within lo..hi as \uXXXX, after the "\u". */
static void emit_escaped(struct nfa *n, struct fa_range r, uint32_t lo, uint32_t hi, uint32_t from,
                         uint32_t to)
{
        r.lo = at_least(r.lo, lo);
        r.hi = at_most(r.hi, hi);
        if (r.lo > r.hi)
                return;
        if (lo >= 0x10000)
                emit_pair(n, r.lo, r.hi, from, to);
        else
                emit_hex(n, r.lo, r.hi, 4, from, to);
}

static void emit_json(struct nfa *n, struct fa_range r, uint32_t slash, uint32_t u, uint32_t from,
                      uint32_t to)
{
        static const char shorts[][2] = { { '"', '"' },  { '\\', '\\' }, { '/', '/' },  { '\b', 'b' },
                                          { '\f', 'f' }, { '\n', 'n' },  { '\r', 'r' }, { '\t', 't' } };
        static const struct fa_range raw[] = { { 0x20, 0x21 }, { 0x23, 0x5b }, { 0x5d, CHAR_MAX_POINT } };
        for (int i = 0; i < 3; i++) {
                uint32_t lo = at_least(r.lo, raw[i].lo), hi = at_most(r.hi, raw[i].hi);
                if (lo <= hi)
                        emit_utf8(n, lo, hi, from, to);
        }
        for (int i = 0; i < 8; i++) {
                uint32_t point = (unsigned char)shorts[i][0], letter = (unsigned char)shorts[i][1];
                if (point >= r.lo && point <= r.hi)
                        nfa_edge(n, slash, letter, letter, to);
        }
        emit_escaped(n, r, 0, 0x1f, u, to);
        emit_escaped(n, r, 0x7f, 0xffff, u, to);
        emit_escaped(n, r, 0x10000, CHAR_MAX_POINT, u, to);
}

void charset_emit(struct nfa *n, const struct fa_range *r, size_t count, enum gr_coding coding, uint32_t from,
                  uint32_t to)
{
        if (coding == GR_UTF8) {
                for (size_t i = 0; i < count && !n->err; i++)
                        emit_utf8(n, r[i].lo, r[i].hi, from, to);
                return;
        }
        uint32_t slash = nfa_state(n), u = nfa_state(n);
        nfa_edge(n, from, '\\', '\\', slash);
        nfa_edge(n, slash, 'u', 'u', u);
        for (size_t i = 0; i < count && !n->err; i++)
                emit_json(n, r[i], slash, u, from, to);
}
