#include "engine/tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <errno.h>
#include <pcre2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

/* Longest spelling of a token that is matched whole in text; bounds the work per byte of text. */
#define SPECIAL_MAX 256
#define VOCAB_MAX (1u << 22)
#define NO_ID (-1)

/* Case-insensitive contractions, letters with one leading mark, then digits as the model wants them. */
#define WORDS_CL100K(digits)                                                 \
        "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits \
        "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

static const struct pre {
        const char *name;
        const char *pattern;
        bool whole_words; /* a word that is a token is taken as it is, whatever the merges say */
} pres[] = {
        { "gpt-2", "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
          false },
        { "llama-bpe", WORDS_CL100K("\\p{N}{1,3}"), true },
        { "qwen2", WORDS_CL100K("\\p{N}"), false },
};

/* Token ids by their bytes: open addressing, slots hold id + 1. */
struct id_table {
        uint32_t *slots;
        size_t mask;
};

struct merge {
        uint64_t pair; /* left << 32 | right */
        int32_t rank;  /* -1: empty slot */
        int32_t id;
};

struct tokenizer {
        size_t n_vocab;
        char *bytes;    /* all pieces, one after another */
        uint32_t *ends; /* piece i is bytes[ends[i] .. ends[i + 1]) */
        uint8_t *types;
        struct id_table text;    /* tokens that text can become */
        struct id_table special; /* control and user-defined tokens */
        bool special_first[256]; /* first bytes of special tokens */
        bool special_length[SPECIAL_MAX + 1];
        struct merge *merges;
        size_t merge_mask;
        int32_t byte_ids[256];
        int32_t bos, eos, eot, unk;
        bool add_bos, whole_words;
        pcre2_code *words;
};

/* One call's working memory. */
struct symbol {
        int32_t id;
        int32_t prev, next; /* -1 at the ends */
};
struct candidate {
        int32_t rank, left; /* ordered by rank, then by position */
        int32_t left_id, right_id, id;
};
struct work {
        struct symbol *symbols;
        size_t symbol_cap;
        struct candidate *heap;
        size_t heap_n, heap_cap;
        pcre2_match_data *match;
};

static int invalid(char *err, size_t errn, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static int invalid(char *err, size_t errn, const char *fmt, ...)
{
        va_list ap;
        va_start(ap, fmt);
        if (errn)
                vsnprintf(err, errn, fmt, ap);
        va_end(ap);
        return -EINVAL;
}

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
static void fill_alphabet(int16_t map[512])
{
        for (int i = 0; i < 512; i++)
                map[i] = -1;
        for (int b = 0; b < 256; b++)
                map[byte_to_char(b)] = (int16_t)b;
}

/* Writes the bytes that a spelling stands for; at most as long as the spelling. A spelling with characters
 * outside the alphabet stands for itself. */
static size_t decode_spelling(struct str s, const int16_t map[512], char *out)
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

/* --- tables ----------------------------------------------------------------------------------------- */

static size_t table_cap(size_t n)
{
        size_t cap = 16;
        while (cap < n * 2)
                cap *= 2;
        return cap;
}

static struct str piece_at(const struct tokenizer *t, size_t i)
{
        return (struct str){ t->bytes + t->ends[i], t->ends[i + 1] - t->ends[i] };
}

static uint64_t mix(uint64_t h)
{
        h ^= h >> 33;
        h *= 0xff51afd7ed558ccdULL;
        h ^= h >> 33;
        return h;
}

static int32_t table_get(const struct tokenizer *t, const struct id_table *table, struct str s, uint64_t hash)
{
        if (!table->slots)
                return NO_ID;
        for (size_t i = mix(hash) & table->mask; table->slots[i]; i = (i + 1) & table->mask) {
                int32_t id = (int32_t)table->slots[i] - 1;
                if (str_eq(piece_at(t, (size_t)id), s))
                        return id;
        }
        return NO_ID;
}

/* -EEXIST when the bytes are there already. */
static int table_put(const struct tokenizer *t, struct id_table *table, int32_t id)
{
        struct str s = piece_at(t, (size_t)id);
        size_t i = mix(str_hash(s)) & table->mask;
        for (; table->slots[i]; i = (i + 1) & table->mask) {
                if (str_eq(piece_at(t, table->slots[i] - 1), s))
                        return -EEXIST;
        }
        table->slots[i] = (uint32_t)id + 1;
        return 0;
}

static const struct merge *merge_get(const struct tokenizer *t, int32_t left, int32_t right)
{
        uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
        for (size_t i = mix(pair) & t->merge_mask; t->merges[i].rank >= 0; i = (i + 1) & t->merge_mask) {
                if (t->merges[i].pair == pair)
                        return &t->merges[i];
        }
        return NULL;
}

static bool is_special(const struct tokenizer *t, int32_t id)
{
        return t->types[id] == TOK_CONTROL || t->types[id] == TOK_USER_DEFINED;
}

/* --- construction ----------------------------------------------------------------------------------- */

static int load_pieces(struct tokenizer *t, const struct tok_spec *spec, char *err, size_t errn)
{
        int16_t map[512];
        size_t total = 0;

        if (!spec->n_vocab || spec->n_vocab > VOCAB_MAX)
                return invalid(err, errn, "tokenizer: %zu tokens; 1 to %u are possible", spec->n_vocab,
                               VOCAB_MAX);
        for (size_t i = 0; i < spec->n_vocab; i++)
                total += spec->tokens[i].n;
        if (total > UINT32_MAX)
                return invalid(err, errn, "tokenizer: the vocabulary is larger than 4 GiB");
        t->n_vocab = spec->n_vocab;
        t->bytes = mem_alloc(total + 1);
        t->ends = mem_calloc(spec->n_vocab + 1, sizeof(*t->ends));
        t->types = mem_calloc(spec->n_vocab, 1);
        if (!t->bytes || !t->ends || !t->types)
                return -ENOMEM;
        fill_alphabet(map);
        for (size_t i = 0; i < spec->n_vocab; i++) {
                int32_t type = spec->types ? spec->types[i] : TOK_NORMAL;
                struct str s = spec->tokens[i];
                char *out = t->bytes + t->ends[i];
                if (type < TOK_NORMAL || type > TOK_BYTE)
                        return invalid(err, errn, "tokenizer: token %zu has type %d", i, (int)type);
                t->types[i] = (uint8_t)type;
                if (type == TOK_BYTE && s.n == 6 && str_starts(s, "<0x") && s.p[5] == '>') {
                        char hex[3] = { s.p[3], s.p[4], 0 };
                        out[0] = (char)strtoul(hex, NULL, 16);
                        s.n = 1;
                } else if (type == TOK_CONTROL || type == TOK_USER_DEFINED) {
                        memcpy(out, s.p, s.n);
                } else {
                        s.n = decode_spelling(s, map, out);
                }
                t->ends[i + 1] = t->ends[i] + (uint32_t)s.n;
        }
        return 0;
}

static int index_pieces(struct tokenizer *t, char *err, size_t errn)
{
        size_t cap = table_cap(t->n_vocab), n_special = 0;

        for (size_t i = 0; i < t->n_vocab; i++)
                n_special += is_special(t, (int32_t)i);
        t->text = (struct id_table){ mem_calloc(cap, sizeof(uint32_t)), cap - 1 };
        cap = table_cap(n_special);
        t->special = (struct id_table){ mem_calloc(cap, sizeof(uint32_t)), cap - 1 };
        if (!t->text.slots || !t->special.slots)
                return -ENOMEM;
        for (size_t i = 0; i < t->n_vocab; i++) {
                struct str s = piece_at(t, i);
                bool special = is_special(t, (int32_t)i);
                if (!s.n && t->types[i] != TOK_UNUSED)
                        return invalid(err, errn, "tokenizer: token %zu is empty", i);
                if (t->types[i] == TOK_UNUSED)
                        continue;
                if (table_put(t, special ? &t->special : &t->text, (int32_t)i))
                        return invalid(err, errn, "tokenizer: token %zu is a duplicate", i);
                if (special && s.n <= SPECIAL_MAX) {
                        t->special_first[(unsigned char)s.p[0]] = true;
                        t->special_length[s.n] = true;
                }
        }
        for (int b = 0; b < 256; b++) {
                char c = (char)b;
                struct str s = { &c, 1 };
                t->byte_ids[b] = table_get(t, &t->text, s, str_hash(s));
        }
        return 0;
}

/* Adds the merge "left right" of rank `rank`; the first of equal pairs wins. */
static int add_merge(struct tokenizer *t, struct str text, size_t rank, const int16_t map[512], char *both)
{
        const char *space = text.n > 1 ? memchr(text.p + 1, ' ', text.n - 1) : NULL;
        if (!space)
                return -EINVAL;
        struct str spelt_left = { text.p, (size_t)(space - text.p) };
        struct str spelt_right = { space + 1, text.n - spelt_left.n - 1 };
        struct str left = { both, decode_spelling(spelt_left, map, both) };
        struct str right = { both + left.n, decode_spelling(spelt_right, map, both + left.n) };
        struct str joined = { both, left.n + right.n };
        int32_t l = table_get(t, &t->text, left, str_hash(left));
        int32_t r = table_get(t, &t->text, right, str_hash(right));
        int32_t id = table_get(t, &t->text, joined, str_hash(joined));

        if (l < 0 || r < 0 || id < 0 || !left.n || !right.n)
                return -EINVAL;
        uint64_t pair = (uint64_t)(uint32_t)l << 32 | (uint32_t)r;
        size_t i = mix(pair) & t->merge_mask;
        for (; t->merges[i].rank >= 0; i = (i + 1) & t->merge_mask) {
                if (t->merges[i].pair == pair)
                        return 0;
        }
        t->merges[i] = (struct merge){ pair, (int32_t)rank, id };
        return 0;
}

static int load_merges(struct tokenizer *t, const struct tok_spec *spec, char *err, size_t errn)
{
        int16_t map[512];
        size_t cap = table_cap(spec->n_merges), longest = 0;
        int rc = 0;

        if (spec->n_merges > VOCAB_MAX * 4)
                return invalid(err, errn, "tokenizer: %zu merges are too many", spec->n_merges);
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
        fill_alphabet(map);
        for (size_t i = 0; i < spec->n_merges && !rc; i++) {
                if (add_merge(t, spec->merges[i], i, map, both))
                        rc = invalid(err, errn, "tokenizer: merge %zu does not join two tokens into a third",
                                     i);
        }
        mem_free(both);
        return rc;
}

static const struct pre *pre_find(struct str name)
{
        for (size_t i = 0; i < sizeof(pres) / sizeof(*pres); i++) {
                if (str_eqc(name, pres[i].name))
                        return &pres[i];
        }
        return NULL;
}

const char *tokenizer_pattern(struct str name)
{
        const struct pre *pre = pre_find(name);
        return pre ? pre->pattern : NULL;
}

static int load_pattern(struct tokenizer *t, struct str name, char *err, size_t errn)
{
        const struct pre *pre = pre_find(name);
        int code;
        size_t at;

        if (!pre)
                return invalid(err, errn, "tokenizer: the pre-tokenizer '%.*s' is not known",
                               (int)(name.n < 40 ? name.n : 40), name.p ? name.p : "");
        t->whole_words = pre->whole_words;
        t->words = pcre2_compile((PCRE2_SPTR)pre->pattern, PCRE2_ZERO_TERMINATED,
                                 PCRE2_UTF | PCRE2_UCP | PCRE2_MATCH_INVALID_UTF, &code, &at, NULL);
        if (!t->words)
                return -ENOMEM;
        pcre2_jit_compile(t->words, PCRE2_JIT_COMPLETE); /* without a JIT the interpreter does it */
        return 0;
}

static int check_ids(const struct tok_spec *spec, char *err, size_t errn)
{
        const int32_t ids[] = { spec->bos, spec->eos, spec->eot, spec->unk };
        for (size_t i = 0; i < 4; i++) {
                if (ids[i] < -1 || (ids[i] >= 0 && (size_t)ids[i] >= spec->n_vocab))
                        return invalid(err, errn, "tokenizer: special token id %d is out of range",
                                       (int)ids[i]);
        }
        return 0;
}

int tokenizer_new(const struct tok_spec *spec, struct tokenizer **ret, char *err, size_t errn)
{
        struct tokenizer *t = mem_calloc(1, sizeof(*t));
        int rc = -ENOMEM;

        if (!t)
                goto out;
        t->bos = spec->bos;
        t->eos = spec->eos;
        t->eot = spec->eot;
        t->unk = spec->unk;
        t->add_bos = spec->add_bos && spec->bos >= 0;
        rc = check_ids(spec, err, errn);
        if (!rc)
                rc = load_pattern(t, spec->pre, err, errn);
        if (!rc)
                rc = load_pieces(t, spec, err, errn);
        if (!rc)
                rc = index_pieces(t, err, errn);
        if (!rc)
                rc = load_merges(t, spec, err, errn);
out:
        if (rc == -ENOMEM && errn)
                snprintf(err, errn, "tokenizer: out of memory");
        if (rc) {
                tokenizer_free(t);
                return rc;
        }
        *ret = t;
        return 0;
}

void tokenizer_free(struct tokenizer *t)
{
        if (!t)
                return;
        mem_free(t->bytes);
        mem_free(t->ends);
        mem_free(t->types);
        mem_free(t->text.slots);
        mem_free(t->special.slots);
        mem_free(t->merges);
        pcre2_code_free(t->words);
        mem_free(t);
}

/* --- merging a word --------------------------------------------------------------------------------- */

static bool sooner(const struct candidate *a, const struct candidate *b)
{
        return a->rank != b->rank ? a->rank < b->rank : a->left < b->left;
}

static int heap_push(struct work *w, struct candidate c)
{
        if (w->heap_n == w->heap_cap) {
                size_t cap = w->heap_cap ? w->heap_cap * 2 : 64;
                struct candidate *p = mem_realloc(w->heap, cap, sizeof(*p));
                if (!p)
                        return -ENOMEM;
                w->heap = p;
                w->heap_cap = cap;
        }
        size_t i = w->heap_n++;
        for (; i > 0 && sooner(&c, &w->heap[(i - 1) / 2]); i = (i - 1) / 2)
                w->heap[i] = w->heap[(i - 1) / 2];
        w->heap[i] = c;
        return 0;
}

static struct candidate heap_pop(struct work *w)
{
        struct candidate top = w->heap[0], last = w->heap[--w->heap_n];
        size_t i = 0;
        for (;;) {
                size_t child = 2 * i + 1;
                if (child >= w->heap_n)
                        break;
                if (child + 1 < w->heap_n && sooner(&w->heap[child + 1], &w->heap[child]))
                        child++;
                if (!sooner(&w->heap[child], &last))
                        break;
                w->heap[i] = w->heap[child];
                i = child;
        }
        if (w->heap_n)
                w->heap[i] = last;
        return top;
}

/* Queues the merge of the symbol at `left` with its right neighbour, if there is one. */
static int consider(const struct tokenizer *t, struct work *w, int32_t left)
{
        if (left < 0 || w->symbols[left].next < 0)
                return 0;
        int32_t a = w->symbols[left].id, b = w->symbols[w->symbols[left].next].id;
        const struct merge *m = merge_get(t, a, b);
        return m ? heap_push(w, (struct candidate){ m->rank, left, a, b, m->id }) : 0;
}

/* One symbol a byte. Gives the number of symbols, or a negative errno. */
static long load_symbols(const struct tokenizer *t, struct work *w, struct str word)
{
        if (word.n > INT32_MAX)
                return -EINVAL;
        if (word.n > w->symbol_cap) {
                size_t cap = word.n < 64 ? 64 : word.n;
                struct symbol *p = mem_realloc(w->symbols, cap, sizeof(*p));
                if (!p)
                        return -ENOMEM;
                w->symbols = p;
                w->symbol_cap = cap;
        }
        int32_t n = 0;
        for (size_t i = 0; i < word.n; i++) {
                int32_t id = t->byte_ids[(unsigned char)word.p[i]];
                if (id < 0)
                        id = t->unk;
                if (id < 0)
                        return -EINVAL;
                w->symbols[n] = (struct symbol){ id, n - 1, n + 1 };
                n++;
        }
        w->symbols[n - 1].next = -1;
        return n;
}

/* Joins pairs, best rank first; a queued pair whose symbols have changed meanwhile is skipped. */
static int encode_word(const struct tokenizer *t, struct work *w, struct str word, struct tok_ids *out)
{
        if (t->whole_words || word.n == 1) {
                int32_t id = table_get(t, &t->text, word, str_hash(word));
                if (id >= 0)
                        return tok_ids_push(out, id);
        }
        long n = load_symbols(t, w, word);
        int rc = n < 0 ? (int)n : 0;
        w->heap_n = 0;
        for (int32_t i = 0; i + 1 < n && !rc; i++)
                rc = consider(t, w, i);
        while (w->heap_n && !rc) {
                struct candidate c = heap_pop(w);
                struct symbol *s = &w->symbols[c.left];
                if (s->id != c.left_id || s->next < 0 || w->symbols[s->next].id != c.right_id)
                        continue;
                struct symbol *gone = &w->symbols[s->next];
                s->id = c.id;
                s->next = gone->next;
                gone->id = NO_ID;
                if (s->next >= 0)
                        w->symbols[s->next].prev = c.left;
                rc = consider(t, w, c.left);
                if (!rc)
                        rc = consider(t, w, s->prev);
        }
        for (int32_t i = 0; i >= 0 && !rc; i = w->symbols[i].next)
                rc = tok_ids_push(out, w->symbols[i].id);
        return rc;
}

/* --- text ------------------------------------------------------------------------------------------- */

/* Text without special tokens: word by word. Bytes between matches (invalid UTF-8) are words too. */
static int encode_text(const struct tokenizer *t, struct work *w, struct str text, struct tok_ids *out)
{
        size_t at = 0;
        while (at < text.n) {
                size_t *span = pcre2_get_ovector_pointer(w->match);
                int found = pcre2_match(t->words, (PCRE2_SPTR)text.p, text.n, at, 0, w->match, NULL);
                if (found == PCRE2_ERROR_JIT_STACKLIMIT)
                        found = pcre2_match(t->words, (PCRE2_SPTR)text.p, text.n, at, PCRE2_NO_JIT, w->match,
                                            NULL);
                if (found == PCRE2_ERROR_NOMEMORY)
                        return -ENOMEM;
                if (found < 0 || span[1] <= at) /* nothing more that is a word */
                        return encode_word(t, w, (struct str){ text.p + at, text.n - at }, out);
                if (span[0] > at) {
                        int rc = encode_word(t, w, (struct str){ text.p + at, span[0] - at }, out);
                        if (rc)
                                return rc;
                }
                int rc = encode_word(t, w, (struct str){ text.p + span[0], span[1] - span[0] }, out);
                if (rc)
                        return rc;
                at = span[1];
        }
        return 0;
}

/* The longest special token that text starts with, NO_ID when there is none; control tokens only of up to
 * `free` bytes. */
static int32_t special_at(const struct tokenizer *t, struct str text, size_t free)
{
        int32_t best = NO_ID;
        if (!t->special_first[(unsigned char)text.p[0]])
                return NO_ID;
        size_t most = text.n < SPECIAL_MAX ? text.n : SPECIAL_MAX;
        for (size_t n = 1; n <= most; n++) {
                if (!t->special_length[n])
                        continue;
                struct str s = { text.p, n };
                int32_t id = table_get(t, &t->special, s, str_hash(s));
                if (id >= 0 && (n <= free || t->types[id] == TOK_USER_DEFINED))
                        best = id;
        }
        return best;
}

/* Where control tokens may be recognised: everywhere but in data. */
struct guard {
        const struct tok_range *data;
        size_t n; /* ranges that end behind the position reached */
};

/* How many bytes from `at` on are free of data. Positions only grow from call to call. */
static size_t unguarded(struct guard *g, size_t at)
{
        while (g->n && g->data->end <= at) {
                g->data++;
                g->n--;
        }
        if (!g->n)
                return SIZE_MAX;
        return g->data->start > at ? g->data->start - at : 0;
}

static int encode_all(const struct tokenizer *t, struct work *w, struct str text, bool control,
                      struct guard *guard, struct tok_ids *out)
{
        size_t from = 0;
        for (size_t i = 0; i < text.n;) {
                size_t free = control ? unguarded(guard, i) : 0;
                int32_t id = special_at(t, (struct str){ text.p + i, text.n - i }, free);
                if (id < 0) {
                        i++;
                        continue;
                }
                int rc = encode_text(t, w, (struct str){ text.p + from, i - from }, out);
                if (!rc)
                        rc = tok_ids_push(out, id);
                if (rc)
                        return rc;
                i += piece_at(t, (size_t)id).n;
                from = i;
        }
        return encode_text(t, w, (struct str){ text.p + from, text.n - from }, out);
}

int tokenizer_encode(const struct tokenizer *t, struct str text, int flags, struct tok_ids *out)
{
        return tokenizer_encode_guarded(t, text, NULL, 0, flags, out);
}

int tokenizer_encode_guarded(const struct tokenizer *t, struct str text, const struct tok_range *data,
                             size_t n, int flags, struct tok_ids *out)
{
        struct guard guard = { data, n };
        struct work w = { .match = pcre2_match_data_create(1, NULL) };
        int rc = w.match ? 0 : -ENOMEM;

        if (!rc && flags & TOK_ENCODE_BOS && t->add_bos)
                rc = tok_ids_push(out, t->bos);
        if (!rc && text.n)
                rc = encode_all(t, &w, text, flags & TOK_ENCODE_SPECIAL, &guard, out);
        mem_free(w.symbols);
        mem_free(w.heap);
        pcre2_match_data_free(w.match);
        return rc;
}

int tok_ids_push(struct tok_ids *ids, int32_t id)
{
        if (ids->n == ids->cap) {
                size_t cap = ids->cap ? ids->cap * 2 : 32;
                int32_t *p = mem_realloc(ids->p, cap, sizeof(*p));
                if (!p)
                        return -ENOMEM;
                ids->p = p;
                ids->cap = cap;
        }
        ids->p[ids->n++] = id;
        return 0;
}

void tok_ids_release(struct tok_ids *ids)
{
        mem_free(ids->p);
        *ids = (struct tok_ids){ 0 };
}

/* --- looking things up ------------------------------------------------------------------------------ */

struct str tokenizer_piece(const struct tokenizer *t, int32_t id)
{
        if (id < 0 || (size_t)id >= t->n_vocab)
                return (struct str){ "", 0 };
        return piece_at(t, (size_t)id);
}

int32_t tokenizer_find(const struct tokenizer *t, struct str bytes)
{
        uint64_t hash = str_hash(bytes);
        int32_t id = table_get(t, &t->text, bytes, hash);
        return id >= 0 ? id : table_get(t, &t->special, bytes, hash);
}

enum tok_type tokenizer_type(const struct tokenizer *t, int32_t id)
{
        return id < 0 || (size_t)id >= t->n_vocab ? TOK_UNUSED : (enum tok_type)t->types[id];
}

bool tokenizer_is_control(const struct tokenizer *t, int32_t id)
{
        return tokenizer_type(t, id) == TOK_CONTROL;
}

size_t tokenizer_size(const struct tokenizer *t)
{
        return t->n_vocab;
}

int32_t tokenizer_bos(const struct tokenizer *t)
{
        return t->bos;
}

int32_t tokenizer_eos(const struct tokenizer *t)
{
        return t->eos;
}

int32_t tokenizer_eot(const struct tokenizer *t)
{
        return t->eot;
}

int32_t tokenizer_unk(const struct tokenizer *t)
{
        return t->unk;
}

bool tokenizer_adds_bos(const struct tokenizer *t)
{
        return t->add_bos;
}
