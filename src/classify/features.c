/* Words, and what is hashed of them. */
#include <stdbool.h>
#include <string.h>
#include "classify/classify.h"

#define WORDS_MAX 256
#define WORD_BYTES 24 /* of a longer word the beginning */
#define GRAM_MIN 3
#define GRAM_MAX 5

struct word {
        char text[WORD_BYTES + 2]; /* "<word>" */
        size_t n;
        uint64_t hash;
};

struct features {
        uint32_t *out;
        size_t n;
        uint32_t mask;
        uint64_t seen[CLASSIFY_FEATURES_MAX * 2 / 64]; /* a small filter: the same bucket twice is dropped */
};

/* FNV-1a with a final mix, so that the low bits are good. */
static uint64_t hash_bytes(uint64_t seed, const void *p, size_t n)
{
        const unsigned char *bytes = p;
        uint64_t h = 0xcbf29ce484222325u ^ seed * 0x9e3779b97f4a7c15u;
        for (size_t i = 0; i < n; i++)
                h = (h ^ bytes[i]) * 0x100000001b3u;
        h ^= h >> 32;
        h *= 0xd6e8feb86659fd93u;
        return h ^ h >> 32;
}

/* A letter as it is compared; 0 for what separates words. Letters that are written as signs count as letters
 * inside a word; digits are one. Bytes of other scripts are taken as they are. */
static char fold(unsigned char c, bool inside)
{
        if (c >= 'A' && c <= 'Z')
                return (char)(c - 'A' + 'a');
        if ((c >= 'a' && c <= 'z') || c >= 0x80)
                return (char)c;
        if (c >= '0' && c <= '9')
                return '0';
        if (c == '$' && inside)
                return 's';
        return c == '@' && inside ? 'a' : 0;
}

static size_t split_words(struct str text, struct word words[WORDS_MAX])
{
        size_t n = 0;
        for (size_t i = 0; i < text.n && n < WORDS_MAX;) {
                struct word *w = &words[n];
                w->text[0] = '<';
                w->n = 1;
                for (; i < text.n; i++) {
                        char c = fold((unsigned char)text.p[i], w->n > 1);
                        if (!c && text.p[i] == '\'' && w->n > 1)
                                continue; /* don't is dont */
                        if (!c)
                                break;
                        if (w->n <= WORD_BYTES)
                                w->text[w->n++] = c;
                }
                if (w->n > 1) {
                        w->text[w->n] = '>';
                        w->hash = hash_bytes(1, w->text, ++w->n);
                        n++;
                } else {
                        i++;
                }
        }
        return n;
}

static void add(struct features *f, uint64_t hash)
{
        uint32_t bucket = (uint32_t)hash & f->mask;
        size_t bit = bucket % (CLASSIFY_FEATURES_MAX * 2);
        bool maybe = f->seen[bit / 64] >> (bit % 64) & 1;
        f->seen[bit / 64] |= (uint64_t)1 << (bit % 64);
        for (size_t i = 0; maybe && i < f->n; i++)
                if (f->out[i] == bucket)
                        return;
        if (f->n < CLASSIFY_FEATURES_MAX)
                f->out[f->n++] = bucket;
}

static void add_letters(struct features *f, const struct word *w)
{
        for (size_t k = GRAM_MIN; k <= GRAM_MAX; k++)
                for (size_t i = 0; i + k <= w->n; i++)
                        add(f, hash_bytes(k + 10, w->text + i, k));
}

static uint64_t pair(uint64_t kind, uint64_t a, uint64_t b)
{
        uint64_t both[2] = { a, b };
        return hash_bytes(kind, both, sizeof(both));
}

size_t classify_features(struct str window, int bits, uint32_t ret[CLASSIFY_FEATURES_MAX])
{
        struct word words[WORDS_MAX];
        struct features f = { .out = ret, .mask = ((uint32_t)1 << bits) - 1 };
        size_t n = split_words(window, words);
        for (size_t i = 0; i < n; i++) {
                add(&f, words[i].hash);
                if (i + 1 < n)
                        add(&f, pair(2, words[i].hash, words[i + 1].hash));
                if (i + 2 < n) {
                        uint64_t two = pair(3, words[i].hash, words[i + 1].hash);
                        add(&f, pair(3, two, words[i + 2].hash));
                        add(&f, pair(4, words[i].hash, words[i + 2].hash));
                }
        }
        for (size_t i = 0; i < n; i++) /* last: a long window loses these first */
                add_letters(&f, &words[i]);
        return f.n;
}
