/* SentencePiece's normalisation: a compiled map of character sequences to strings (a double-array trie by Aoe
 * 1989, as the Darts-clone library lays it out), spaces in front and between. Spaces stay spaces here; the
 * spelling of tokens has had its U+2581 replaced in turn. */
#include <errno.h>
#include <string.h>
#include "engine/tok_internal.h"

#define GROWTH_MAX 64 /* times that a text may grow; Unicode's own compositions stay below 20 */

/* What one step reads and what it writes. */
struct mapped {
        size_t n; /* bytes read */
        struct str to;
};

int tok_norm_load(struct tok_norm *n, const struct tok_spec *spec, char *err, size_t errn)
{
        struct str map = spec->charsmap;
        uint32_t trie = 0;
        n->space_prefix = spec->space_prefix;
        n->squeeze = spec->squeeze_spaces;
        if (!map.n)
                return 0;
        if (map.n > 4)
                memcpy(&trie, map.p, 4);
        if (!trie || trie % 4 || trie > map.n - 4 || (map.n > 4 + trie && map.p[map.n - 1]))
                return tok_invalid(err, errn, "tokenizer: the character map is damaged");
        n->map = mem_alloc(map.n - 4);
        if (!n->map)
                return -ENOMEM;
        memcpy(n->map, map.p + 4, map.n - 4);
        n->units = (const uint32_t *)(const void *)n->map;
        n->n_units = trie / 4;
        n->strings = n->map + trie;
        n->n_strings = map.n - 4 - trie;
        return 0;
}

/* The parts of a unit of the double array. */
static bool has_leaf(uint32_t unit)
{
        return unit >> 8 & 1;
}

static uint32_t leaf_value(uint32_t unit)
{
        return unit & 0x7fffffff;
}

static uint32_t label(uint32_t unit)
{
        return unit & 0x800000ff;
}

static uint32_t offset(uint32_t unit)
{
        return (unit >> 10) << ((unit & 1u << 9) >> 6);
}

/* The longest beginning of s that the map knows; n is 0 when there is none. */
static struct mapped lookup(const struct tok_norm *n, struct str s)
{
        struct mapped found = { 0 };
        uint32_t node = offset(n->units[0]);
        for (size_t i = 0; i < s.n; i++) {
                node ^= (unsigned char)s.p[i];
                if (node >= n->n_units || label(n->units[node]) != (unsigned char)s.p[i])
                        break;
                uint32_t unit = n->units[node];
                node ^= offset(unit);
                if (!has_leaf(unit) || node >= n->n_units)
                        continue;
                uint32_t at = leaf_value(n->units[node]);
                if (at < n->n_strings)
                        found = (struct mapped){ i + 1, str_c(n->strings + at) };
        }
        return found;
}

static struct mapped next(const struct tok_norm *n, struct str s)
{
        struct mapped m = { 0 };
        if (n->map)
                m = lookup(n, s);
        if (m.n)
                return m;
        m.n = tok_char_length(s);
        m.to = (struct str){ s.p, m.n };
        if (n->map && m.n == 1 && (s.p[0] & 0x80)) /* not a character */
                m.to = STR("\xef\xbf\xbd");
        return m;
}

/* Adds text, U+2581 as a space. */
static void add(struct buf *out, struct str s)
{
        for (size_t i = 0; i < s.n;) {
                const char *mark = memmem(s.p + i, s.n - i, "\xe2\x96\x81", 3);
                size_t n = mark ? (size_t)(mark - s.p) - i : s.n - i;
                buf_add(out, s.p + i, n);
                if (mark)
                        buf_addc(out, ' ');
                i += n + (mark ? 3 : 0);
        }
}

static size_t leading_spaces(const struct tok_norm *n, struct str text)
{
        size_t at = 0;
        while (at < text.n) {
                struct mapped m = next(n, (struct str){ text.p + at, text.n - at });
                if (!str_eqc(m.to, " "))
                        break;
                at += m.n;
        }
        return at;
}

int tok_norm_text(struct tok_work *w, struct str text)
{
        const struct tok_norm *n = &w->t->norm;
        struct buf *out = &w->normal;
        bool space = n->squeeze; /* spaces at this point are too many */
        size_t at = n->squeeze ? leading_spaces(n, text) : 0;

        buf_release(out);
        buf_init(out, text.n * GROWTH_MAX + 64);
        if (at < text.n && n->space_prefix)
                buf_addc(out, ' ');
        while (at < text.n) {
                struct mapped m = next(n, (struct str){ text.p + at, text.n - at });
                while (space && m.to.n && m.to.p[0] == ' ')
                        m.to = (struct str){ m.to.p + 1, m.to.n - 1 };
                add(out, m.to);
                if (m.to.n)
                        space = n->squeeze && m.to.p[m.to.n - 1] == ' ';
                at += m.n;
        }
        while (n->squeeze && out->n && out->p[out->n - 1] == ' ')
                buf_cut(out, out->n - 1);
        return buf_error(out) == -EFBIG ? -EINVAL : buf_error(out);
}
