/* Byte-level BPE: each word's bytes are joined by the merges of the vocabulary. Spellings are in GPT-2's
 * alphabet of printable characters, one for each byte (Radford et al. 2019). */
#include <errno.h>
#include <string.h>
#include "engine/tok_internal.h"

/* --- the byte alphabet ------------------------------------------------------------------------------ */

static bool is_printable(int byte)
{
        return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

/* Printable bytes of Latin-1 stand for themselves, the others are U+0100, U+0101, ... in order. */
static int byte_to_char(int byte)
{
        if (is_printable(byte))
                return byte;
        int rank = 0;
        for (int b = 0; b < byte; b++)
                rank += !is_printable(b);
        return 256 + rank;
}

int tokenizer_byte_char(uint8_t byte, char out[2])
{
        int c = byte_to_char(byte);
        if (c < 0x80) {
                out[0] = (char)c;
                return 1;
        }
        out[0] = (char)(0xC0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3F));
        return 2;
}

/* The byte of each character of the alphabet, -1 for others. */
void tok_bpe_alphabet(int16_t map[512])
{
        for (int i = 0; i < 512; i++)
                map[i] = -1;
        for (int b = 0; b < 256; b++)
                map[byte_to_char(b)] = (int16_t)b;
}

/* Writes the bytes that a spelling stands for; at most as long as the spelling. A spelling with characters
 * outside the alphabet stands for itself. */
size_t tok_bpe_decode(struct str s, const int16_t map[512], char *out)
{
        size_t n = 0;
        for (size_t i = 0; i < s.n;) {
                unsigned char c = (unsigned char)s.p[i];
                int code = -1, len = 1;
                if (c < 0x80) {
                        code = c;
                } else if ((c & 0xE0) == 0xC0 && i + 1 < s.n) {
                        code = (c & 0x1F) << 6 | ((unsigned char)s.p[i + 1] & 0x3F);
                        len = 2;
                }
                if (code < 0 || code >= 512 || map[code] < 0) {
                        memcpy(out, s.p, s.n);
                        return s.n;
                }
                out[n++] = (char)map[code];
                i += (size_t)len;
        }
        return n;
}

/* --- merges ----------------------------------------------------------------------------------------- */

static struct merge *merge_slot(const struct tokenizer *t, uint64_t pair)
{
        size_t i = tok_mix(pair) & t->merge_mask;
        while (t->merges[i].rank >= 0 && t->merges[i].pair != pair)
                i = (i + 1) & t->merge_mask;
        return &t->merges[i];
}

static uint64_t pair_key(int32_t left, int32_t right)
{
        return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

const struct merge *tok_bpe_merge(const struct tokenizer *t, int32_t left, int32_t right)
{
        const struct merge *m = merge_slot(t, pair_key(left, right));
        return m->rank < 0 ? NULL : m;
}

/* Adds the merge "left right" of rank `rank`; the first of equal pairs wins. */
static int add_merge(struct tokenizer *t, struct str text, size_t rank, const int16_t map[512], char *both)
{
        const char *space = text.n > 1 ? memchr(text.p + 1, ' ', text.n - 1) : NULL;
        if (!space)
                return -EINVAL;
        struct str spelt_left = { text.p, (size_t)(space - text.p) };
        struct str spelt_right = { space + 1, text.n - spelt_left.n - 1 };
        struct str left = { both, tok_bpe_decode(spelt_left, map, both) };
        struct str right = { both + left.n, tok_bpe_decode(spelt_right, map, both + left.n) };
        struct str joined = { both, left.n + right.n };
        int32_t l = tok_text_get(t, left), r = tok_text_get(t, right), id = tok_text_get(t, joined);

        if (l < 0 || r < 0 || id < 0 || !left.n || !right.n)
                return -EINVAL;
        struct merge *m = merge_slot(t, pair_key(l, r));
        if (m->rank < 0)
                *m = (struct merge){ pair_key(l, r), (int32_t)rank, id };
        return 0;
}

int tok_bpe_load(struct tokenizer *t, const struct tok_spec *spec, char *err, size_t errn)
{
        int16_t map[512];
        size_t cap = tok_table_cap(spec->n_merges), longest = 0;
        int rc = tok_pre_load(t, spec->pre, err, errn);

        if (rc)
                return rc;
        if (spec->n_merges > TOK_VOCAB_MAX * 4)
                return tok_invalid(err, errn, "tokenizer: %zu merges are too many", spec->n_merges);
        for (size_t i = 0; i < spec->n_merges; i++)
                longest = spec->merges[i].n > longest ? spec->merges[i].n : longest;
        char *both = mem_alloc(longest + 1);
        t->merges = mem_alloc(cap * sizeof(*t->merges));
        t->merge_mask = cap - 1;
        if (!both || !t->merges) {
                mem_free(both);
                return -ENOMEM;
        }
        for (size_t i = 0; i < cap; i++)
                t->merges[i].rank = -1;
        tok_bpe_alphabet(map);
        for (size_t i = 0; i < spec->n_merges && !rc; i++) {
                if (add_merge(t, spec->merges[i], i, map, both))
                        rc = tok_invalid(err, errn,
                                         "tokenizer: merge %zu does not join two tokens into a third", i);
        }
        mem_free(both);
        return rc;
}

/* --- words ------------------------------------------------------------------------------------------ */

static bool pair(const struct tok_work *w, struct str text, const struct symbol *left,
                 const struct symbol *right, struct candidate *ret)
{
        (void)text;
        const struct merge *m = tok_bpe_merge(w->t, left->id, right->id);
        if (!m)
                return false;
        ret->rank = m->rank;
        ret->id = m->id;
        return true;
}

/* One symbol a byte. */
static int load_symbols(struct tok_work *w, struct str word)
{
        int rc = tok_symbols_reserve(w, word.n);
        for (size_t i = 0; i < word.n && !rc; i++) {
                int32_t id = w->t->byte_ids[(unsigned char)word.p[i]];
                if (id < 0)
                        id = w->t->unk;
                if (id < 0)
                        rc = -EINVAL;
                w->symbols[i] = (struct symbol){ id, (uint32_t)i, 1, (int32_t)i - 1, (int32_t)i + 1 };
        }
        if (!rc)
                w->symbols[word.n - 1].next = -1;
        return rc;
}

static int encode_word(struct tok_work *w, struct str word)
{
        if (w->t->whole_words || word.n == 1) {
                int32_t id = tok_text_get(w->t, word);
                if (id >= 0)
                        return tok_ids_push(w->out, id);
        }
        int rc = load_symbols(w, word);
        if (!rc)
                rc = tok_merge(w, word, (int32_t)word.n, pair);
        for (int32_t i = 0; i >= 0 && !rc; i = w->symbols[i].next)
                rc = tok_ids_push(w->out, w->symbols[i].id);
        return rc;
}

int tok_bpe_encode(struct tok_work *w, struct str text)
{
        return tok_pre_split(w, text, encode_word);
}
