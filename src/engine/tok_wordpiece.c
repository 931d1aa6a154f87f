/* WordPiece (Wu et al. 2016) with the normalisation of BERT: white space and control characters out, Han and
 * punctuation as words of their own, lower case without accents unless the vocabulary has capitals. A word is
 * cut into the longest tokens from the left; the first has a space in front. A word that cannot be cut is
 * `unk`. */
#include <errno.h>
#include "engine/tok_internal.h"

#define WORD_MAX 100 /* characters of a word; a longer one is unknown, which also bounds the search */

struct range {
        uint32_t first, last;
};
struct shift {
        uint32_t first, last, stride;
        int32_t delta;
};
struct expansion {
        uint32_t from;
        uint32_t to[3]; /* up to the first 0 */
};

#include "engine/tok_unicode.inc"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct range han[] = {
        { 0x3400, 0x4DBF },   { 0x4E00, 0x9FFF },   { 0xF900, 0xFAFF },   { 0x20000, 0x2A6DF },
        { 0x2A700, 0x2B73F }, { 0x2B740, 0x2B81F }, { 0x2B920, 0x2CEAF }, { 0x2F800, 0x2FA1F },
};

static bool in(const struct range *ranges, size_t n, uint32_t c)
{
        size_t low = 0, high = n;
        while (low < high) {
                size_t mid = (low + high) / 2;
                if (c > ranges[mid].last)
                        low = mid + 1;
                else
                        high = mid;
        }
        return low < n && c >= ranges[low].first;
}

/* --- folding ---------------------------------------------------------------------------------------- */

/* A Hangul syllable is a lead, a vowel and often a tail (The Unicode Standard, section 3.12). */
static int fold_hangul(uint32_t c, uint32_t out[3])
{
        uint32_t s = c - 0xAC00;
        out[0] = 0x1100 + s / (21 * 28);
        out[1] = 0x1161 + s % (21 * 28) / 28;
        out[2] = 0x11A7 + s % 28;
        return s % 28 ? 3 : 2;
}

static uint32_t shifted(uint32_t c)
{
        size_t low = 0, high = COUNT(shifts);
        while (low < high) {
                size_t mid = (low + high) / 2;
                if (c > shifts[mid].last)
                        low = mid + 1;
                else
                        high = mid;
        }
        if (low == COUNT(shifts) || c < shifts[low].first || (c - shifts[low].first) % shifts[low].stride)
                return c;
        return c + (uint32_t)shifts[low].delta;
}

/* Lower case without accents: 0 to 3 characters. */
static int fold(uint32_t c, uint32_t out[3])
{
        if (c >= 0xAC00 && c < 0xD7A4)
                return fold_hangul(c, out);
        if (in(accents, COUNT(accents), c))
                return 0;
        size_t low = 0, high = COUNT(expansions);
        while (low < high) {
                size_t mid = (low + high) / 2;
                if (c > expansions[mid].from)
                        low = mid + 1;
                else
                        high = mid;
        }
        if (low == COUNT(expansions) || expansions[low].from != c) {
                out[0] = shifted(c);
                return 1;
        }
        int n = 0;
        for (; n < 3 && expansions[low].to[n]; n++)
                out[n] = expansions[low].to[n];
        return n;
}

/* --- words ------------------------------------------------------------------------------------------ */

/* The word that is being read is in w->normal, behind a space. */
struct word {
        struct tok_work *w;
        int n; /* its characters */
        int rc;
};

static void add_char(struct word *word, uint32_t c)
{
        char utf8[4];
        size_t n = 0;
        if (++word->n > WORD_MAX)
                return;
        if (c < 0x80) {
                utf8[n++] = (char)c;
        } else if (c < 0x800) {
                utf8[n++] = (char)(0xC0 | c >> 6);
        } else if (c < 0x10000) {
                utf8[n++] = (char)(0xE0 | c >> 12);
                utf8[n++] = (char)(0x80 | (c >> 6 & 0x3F));
        } else {
                utf8[n++] = (char)(0xF0 | c >> 18);
                utf8[n++] = (char)(0x80 | (c >> 12 & 0x3F));
                utf8[n++] = (char)(0x80 | (c >> 6 & 0x3F));
        }
        if (c >= 0x80)
                utf8[n++] = (char)(0x80 | (c & 0x3F));
        buf_add(&word->w->normal, utf8, n);
}

/* The longest token of at least `least` bytes that s starts with. Hashes of all beginnings are one pass. */
static int32_t longest_token(const struct tokenizer *t, struct str s, size_t least)
{
        uint64_t hashes[TOK_SPECIAL_MAX + 1], hash = str_hash((struct str){ s.p, 0 });
        size_t most = s.n < t->longest ? s.n : t->longest;
        if (most > TOK_SPECIAL_MAX)
                most = TOK_SPECIAL_MAX;
        for (size_t n = 1; n <= most; n++)
                hashes[n] = hash = str_hash_more(hash, (struct str){ s.p + n - 1, 1 });
        for (size_t n = most; n >= least; n--) {
                int32_t id = tok_table_get(t, &t->text, (struct str){ s.p, n }, hashes[n]);
                if (id >= 0)
                        return id;
        }
        return NO_ID;
}

static int cut(struct tok_work *w, struct str word)
{
        size_t before = w->out->n;
        for (size_t at = 0; at < word.n;) {
                struct str rest = { word.p + at, word.n - at };
                int32_t id = longest_token(w->t, rest, at ? 1 : 2);
                if (id < 0) {
                        w->out->n = before;
                        return w->t->unk < 0 ? -EINVAL : tok_ids_push(w->out, w->t->unk);
                }
                int rc = tok_ids_push(w->out, id);
                if (rc)
                        return rc;
                at += tok_piece_at(w->t, (size_t)id).n;
        }
        return 0;
}

static void end_word(struct word *word)
{
        struct tok_work *w = word->w;
        if (word->n && !word->rc) {
                word->rc = buf_error(&w->normal);
                if (!word->rc && word->n > WORD_MAX)
                        word->rc = w->t->unk < 0 ? -EINVAL : tok_ids_push(w->out, w->t->unk);
                else if (!word->rc)
                        word->rc = cut(w, buf_str(&w->normal));
        }
        word->n = 0;
        buf_clear(&w->normal);
        buf_addc(&w->normal, ' ');
}

static void add_alone(struct word *word, uint32_t c)
{
        end_word(word);
        add_char(word, c);
        end_word(word);
}

static void read_char(struct word *word, uint32_t c)
{
        uint32_t folded[3] = { c };
        int n = 1;
        if (in(spaces, COUNT(spaces), c)) {
                end_word(word);
                return;
        }
        if (in(dropped, COUNT(dropped), c))
                return;
        if (word->w->t->fold)
                n = fold(c, folded);
        bool alone = in(han, COUNT(han), c);
        for (int i = 0; i < n; i++) {
                if (alone || in(punctuation, COUNT(punctuation), folded[i]))
                        add_alone(word, folded[i]);
                else
                        add_char(word, folded[i]);
        }
}

int tok_wordpiece_encode(struct tok_work *w, struct str text)
{
        struct word word = { .w = w };
        buf_release(&w->normal);
        buf_init(&w->normal, WORD_MAX * 4 + 16);
        end_word(&word);
        for (size_t at = 0; at < text.n && !word.rc;) {
                struct str rest = { text.p + at, text.n - at };
                read_char(&word, tok_char_code(rest));
                at += tok_char_length(rest);
        }
        end_word(&word);
        return word.rc;
}
