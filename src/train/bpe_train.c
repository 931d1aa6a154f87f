#include "train/bpe_train.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <errno.h>
#include <pcre2.h>
#include <stdio.h>
#include <string.h>
#include "base/map.h"
#include "base/mem.h"
#include "train/vocab.h"

struct bpe_trainer {
        char pre[32];
        pcre2_code *words;
        pcre2_match_data *match;
        struct map counts; /* word -> how often, as a pointer-sized number */
};

/* A distinct word as it is cut now: symbols[at .. at + n). */
struct word {
        size_t at, n;
        int64_t count;
};
struct pair {
        uint64_t key; /* left << 32 | right; 0 with count 0: empty slot */
        int64_t count;
};
struct learner {
        int32_t *symbols;
        struct word *words;
        size_t n_words;
        struct pair *pairs; /* open addressing; entries are never removed, counts fall to zero */
        size_t n_pairs, cap;
        struct buf spellings; /* of all tokens, in the byte alphabet */
        size_t *ends;         /* [n + 1] */
        struct map ids;       /* spelling -> id + 1, to see when two pairs make the same token */
        uint64_t *merges;
        size_t n, n_merges, max_merges;
};

int bpe_trainer_new(const char *pre, struct bpe_trainer **ret)
{
        const char *pattern = tokenizer_pattern(str_c(pre));
        struct bpe_trainer *t;
        int code;
        size_t at;

        if (!pattern || strlen(pre) >= sizeof(t->pre))
                return -EINVAL;
        t = mem_calloc(1, sizeof(*t));
        if (!t)
                return -ENOMEM;
        map_init(&t->counts);
        snprintf(t->pre, sizeof(t->pre), "%s", pre);
        t->words = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                                 PCRE2_UTF | PCRE2_UCP | PCRE2_MATCH_INVALID_UTF, &code, &at, NULL);
        t->match = pcre2_match_data_create(1, NULL);
        if (!t->words || !t->match) {
                bpe_trainer_free(t);
                return -ENOMEM;
        }
        pcre2_jit_compile(t->words, PCRE2_JIT_COMPLETE);
        *ret = t;
        return 0;
}

void bpe_trainer_free(struct bpe_trainer *t)
{
        if (!t)
                return;
        map_release(&t->counts, NULL);
        pcre2_code_free(t->words);
        pcre2_match_data_free(t->match);
        mem_free(t);
}

int bpe_trainer_add(struct bpe_trainer *t, struct str text)
{
        for (size_t at = 0; at < text.n;) {
                size_t *span = pcre2_get_ovector_pointer(t->match);
                if (pcre2_match(t->words, (PCRE2_SPTR)text.p, text.n, at, 0, t->match, NULL) < 0)
                        break;
                struct str word = { text.p + span[0], span[1] - span[0] };
                intptr_t count = (intptr_t)map_get(&t->counts, word);
                if (map_put(&t->counts, word, (void *)(count + 1), NULL))
                        return -ENOMEM;
                at = span[1] > at ? span[1] : at + 1;
        }
        return 0;
}

/* --- learning --------------------------------------------------------------------------------------- */

static size_t pair_slot(const struct learner *l, uint64_t key)
{
        uint64_t h = key * 0x9e3779b97f4a7c15u;
        size_t i = (h ^ h >> 32) & (l->cap - 1);
        while (l->pairs[i].key && l->pairs[i].key != key + 1)
                i = (i + 1) & (l->cap - 1);
        return i;
}

static int pair_add(struct learner *l, int32_t left, int32_t right, int64_t count)
{
        uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
        if ((l->n_pairs + 1) * 2 > l->cap) {
                struct learner old = *l;
                l->cap = l->cap ? l->cap * 2 : 1 << 16;
                l->pairs = mem_calloc(l->cap, sizeof(*l->pairs));
                if (!l->pairs) {
                        *l = old;
                        return -ENOMEM;
                }
                for (size_t i = 0; i < old.cap; i++) {
                        if (old.pairs[i].key)
                                l->pairs[pair_slot(l, old.pairs[i].key - 1)] = old.pairs[i];
                }
                mem_free(old.pairs);
        }
        size_t i = pair_slot(l, key);
        l->n_pairs += !l->pairs[i].key;
        l->pairs[i].key = key + 1; /* so that no key is zero */
        l->pairs[i].count += count;
        return 0;
}

/* The most frequent pair; equal counts go to the smaller key. */
static struct pair best_pair(const struct learner *l)
{
        struct pair best = { 0 };
        for (size_t i = 0; i < l->cap; i++) {
                const struct pair *p = &l->pairs[i];
                if (p->key && (p->count > best.count || (p->count == best.count && p->key < best.key)))
                        best = *p;
        }
        return best;
}

static int load_words(struct learner *l, const struct map *counts)
{
        size_t it = 0, at = 0, total = 0;
        struct str word;
        void *count;

        while (map_next(counts, &it, &word, &count))
                total += word.n;
        l->symbols = mem_calloc(total + 1, sizeof(*l->symbols));
        l->words = mem_calloc(counts->n + 1, sizeof(*l->words));
        if (!l->symbols || !l->words)
                return -ENOMEM;
        it = 0;
        while (map_next(counts, &it, &word, &count)) {
                struct word *w = &l->words[l->n_words++];
                *w = (struct word){ at, word.n, (intptr_t)count };
                for (size_t i = 0; i < word.n; i++)
                        l->symbols[at++] = (unsigned char)word.p[i];
                for (size_t i = 0; i + 1 < w->n; i++) {
                        if (pair_add(l, l->symbols[w->at + i], l->symbols[w->at + i + 1], w->count))
                                return -ENOMEM;
                }
        }
        return 0;
}

/* Joins left and right into `id` wherever they stand together in w, keeping the pair counts true. */
static int join_in_word(struct learner *l, struct word *w, int32_t left, int32_t right, int32_t id)
{
        int32_t *s = l->symbols + w->at;
        size_t out = 0;
        int rc = 0;

        for (size_t i = 0; i < w->n; i++) {
                if (i + 1 >= w->n || s[i] != left || s[i + 1] != right) {
                        s[out++] = s[i];
                        continue;
                }
                if (out > 0) {
                        rc |= pair_add(l, s[out - 1], left, -w->count);
                        rc |= pair_add(l, s[out - 1], id, w->count);
                }
                if (i + 2 < w->n) {
                        rc |= pair_add(l, right, s[i + 2], -w->count);
                        rc |= pair_add(l, id, s[i + 2], w->count);
                }
                rc |= pair_add(l, left, right, -w->count);
                s[out++] = id;
                i++;
        }
        w->n = out;
        return rc ? -ENOMEM : 0;
}

static bool holds_pair(const struct learner *l, const struct word *w, int32_t left, int32_t right)
{
        const int32_t *s = l->symbols + w->at;
        for (size_t i = 0; i + 1 < w->n; i++) {
                if (s[i] == left && s[i + 1] == right)
                        return true;
        }
        return false;
}

static struct str spelling(const struct learner *l, size_t id)
{
        return (struct str){ l->spellings.p + l->ends[id], l->ends[id + 1] - l->ends[id] };
}

/* Ends the token whose spelling was just added to l->spellings. Gives its id, which is an older one when
 * that spelling exists already, or -ENOMEM. */
static int64_t close_token(struct learner *l)
{
        if (buf_error(&l->spellings))
                return -ENOMEM;
        struct str s = { l->spellings.p + l->ends[l->n], l->spellings.n - l->ends[l->n] };
        intptr_t known = (intptr_t)map_get(&l->ids, s);
        if (known) {
                l->spellings.n = l->ends[l->n];
                return known - 1;
        }
        if (map_put(&l->ids, s, (void *)(intptr_t)(l->n + 1), NULL))
                return -ENOMEM;
        l->ends[l->n + 1] = l->spellings.n;
        return (int64_t)l->n++;
}

static int64_t token_of_pair(struct learner *l, int32_t left, int32_t right)
{
        struct str a = spelling(l, (size_t)left), b = spelling(l, (size_t)right);
        char *room = buf_reserve(&l->spellings, a.n + b.n);
        if (!room)
                return -ENOMEM;
        a = spelling(l, (size_t)left); /* the buffer may have moved */
        b = spelling(l, (size_t)right);
        memcpy(room, a.p, a.n);
        memcpy(room + a.n, b.p, b.n);
        l->spellings.n += a.n + b.n;
        return close_token(l);
}

static int join_everywhere(struct learner *l, int32_t left, int32_t right, int32_t id)
{
        for (size_t i = 0; i < l->n_words; i++) {
                struct word *w = &l->words[i];
                if (holds_pair(l, w, left, right) && join_in_word(l, w, left, right, id))
                        return -ENOMEM;
        }
        return 0;
}

static int learn(struct learner *l, size_t n_tokens)
{
        char c[2];
        for (int byte = 0; byte < 256; byte++) {
                int n = tokenizer_byte_char((uint8_t)byte, c);
                buf_add(&l->spellings, c, (size_t)n);
                if (close_token(l) < 0)
                        return -ENOMEM;
        }
        while (l->n < n_tokens && l->n_merges < l->max_merges) {
                struct pair best = best_pair(l);
                if (best.count < 2)
                        break;
                int32_t left = (int32_t)((best.key - 1) >> 32), right = (int32_t)(uint32_t)(best.key - 1);
                int64_t id = token_of_pair(l, left, right);
                if (id < 0 || join_everywhere(l, left, right, (int32_t)id))
                        return -ENOMEM;
                l->merges[l->n_merges++] = best.key - 1;
        }
        return 0;
}

/* --- the file --------------------------------------------------------------------------------------- */

static int32_t index_of(const char *const *special, size_t n, size_t base, const char *name)
{
        for (size_t i = 0; name && i < n; i++) {
                if (!strcmp(special[i], name))
                        return (int32_t)(base + i);
        }
        return -1;
}

static int write_learned(const struct learner *l, const char *pre, const char *const *special,
                         size_t n_special, const char *bos, const char *eos, const char *path, char *err,
                         size_t errn)
{
        size_t n = l->n + n_special;
        struct str *strings = mem_calloc(n + l->n_merges, sizeof(*strings));
        int32_t *types = mem_calloc(n, sizeof(*types));
        struct buf text;
        int rc = -ENOMEM;

        buf_init(&text, 64u << 20);
        if (!strings || !types || !buf_reserve(&text, 2 * l->spellings.n + 2 * l->n_merges + 1))
                goto out;
        for (size_t i = 0; i < n; i++) {
                strings[i] = i < l->n ? spelling(l, i) : str_c(special[i - l->n]);
                types[i] = i < l->n ? TOK_NORMAL : TOK_CONTROL;
        }
        for (size_t i = 0; i < l->n_merges; i++) {
                struct str a = spelling(l, (size_t)(l->merges[i] >> 32));
                struct str b = spelling(l, (size_t)(uint32_t)l->merges[i]);
                size_t from = text.n;
                buf_addf(&text, "%.*s %.*s", STR_ARG(a), STR_ARG(b));
                strings[n + i] = (struct str){ text.p + from, text.n - from };
        }
        struct tok_spec spec = {
                .n_vocab = n,
                .tokens = strings,
                .types = types,
                .n_merges = l->n_merges,
                .merges = strings + n,
                .pre = str_c(pre),
                .bos = index_of(special, n_special, l->n, bos),
                .eos = index_of(special, n_special, l->n, eos),
                .eot = index_of(special, n_special, l->n, eos),
                .unk = -1,
        };
        rc = buf_error(&text) ? buf_error(&text) : vocab_save(path, &spec, err, errn);
out:
        buf_release(&text);
        mem_free(strings);
        mem_free(types);
        return rc;
}

int bpe_trainer_write(struct bpe_trainer *t, size_t n_vocab, const char *const *special, size_t n_special,
                      const char *bos, const char *eos, const char *path, char *err, size_t errn)
{
        struct learner l = { 0 };
        int rc;

        if (n_vocab < 256 + n_special || n_vocab > 1 << 20) {
                snprintf(err, errn, "a vocabulary of %zu tokens is out of range", n_vocab);
                return -EINVAL;
        }
        buf_init(&l.spellings, 256u << 20);
        l.ends = mem_calloc(n_vocab + 1, sizeof(*l.ends));
        l.max_merges = 2 * n_vocab;
        l.merges = mem_calloc(l.max_merges, sizeof(*l.merges));
        map_init(&l.ids);
        rc = l.ends && l.merges ? load_words(&l, &t->counts) : -ENOMEM;
        if (!rc)
                rc = learn(&l, n_vocab - n_special);
        if (rc)
                snprintf(err, errn, "out of memory");
        else
                rc = write_learned(&l, t->pre, special, n_special, bos, eos, path, err, errn);
        mem_free(l.symbols);
        mem_free(l.words);
        mem_free(l.pairs);
        mem_free(l.ends);
        mem_free(l.merges);
        map_release(&l.ids, NULL);
        buf_release(&l.spellings);
        return rc;
}
