/* What the parts of the tokenizer share. Only tokenizer.c and tok_*.c include it.
 *
 *   tokenizer.c      the vocabulary, special tokens in text, the public calls
 *   tok_pre.c        cutting text into words by named patterns (byte-level BPE)
 *   tok_merge.c      joining symbols in order of rank (byte-level and SentencePiece BPE)
 *   tok_bpe.c        byte-level BPE: the byte alphabet and its merges
 *   tok_spm.c        SentencePiece BPE
 *   tok_unigram.c    SentencePiece unigram
 *   tok_norm.c       the normalisation of SentencePiece
 *   tok_wordpiece.c  WordPiece with BERT's normalisation
 *   tok_gguf.c       the vocabulary of a model file */
#ifndef CAIRN_ENGINE_TOK_INTERNAL_H
#define CAIRN_ENGINE_TOK_INTERNAL_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdarg.h>
#include "base/buf.h"
#include "base/mem.h"
#include "engine/tokenizer.h"

#define TOK_SPECIAL_MAX \
        256 /* longest spelling of a token that is matched whole in text: bounds the work per byte */
#define TOK_VOCAB_MAX (1u << 22)
#define TOK_PRE_MAX 6 /* patterns applied one after another */
#define NO_ID (-1)

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

/* The prefixes of all tokens: an edge leads from a node by a byte to a node; open addressing. */
struct tok_trie {
        uint64_t *edges; /* (node << 8 | byte) + 1; 0: empty slot */
        uint32_t *targets;
        size_t mask;
        int32_t *ids; /* by node: the token that ends there, or NO_ID */
        uint32_t n_nodes;
};

struct tok_norm {
        char *map; /* compiled character map of SentencePiece, or NULL: a double array and strings */
        const uint32_t *units;
        size_t n_units;
        const char *strings;
        size_t n_strings;
        bool space_prefix; /* a space before the text */
        bool squeeze;      /* runs of spaces become one; none at the ends */
};

struct tokenizer {
        enum tok_kind kind;
        size_t n_vocab;
        char *bytes;    /* all pieces, one after another */
        uint32_t *ends; /* piece i is bytes[ends[i] .. ends[i + 1]) */
        uint8_t *types;
        size_t longest;          /* bytes of the longest token that text can become */
        struct id_table text;    /* tokens that text can become */
        struct id_table special; /* control and user-defined tokens */
        bool special_first[256]; /* first bytes of special tokens */
        bool special_length[TOK_SPECIAL_MAX + 1];
        int32_t byte_ids[256]; /* NO_ID where there is none */
        int32_t bos, eos, eot, unk, last;
        bool add_bos, add_eos;
        bool strip_after; /* white space behind a control token is dropped */

        /* byte-level BPE */
        pcre2_code *words[TOK_PRE_MAX];
        int n_words;
        bool whole_words; /* a word that is a token is taken as it is, whatever the merges say */
        struct merge *merges;
        size_t merge_mask;

        /* SentencePiece */
        struct tok_norm norm;
        int32_t *ranks; /* SentencePiece BPE: the order of merging, by id */
        float *scores;  /* unigram: logarithms of probabilities, by id */
        float unk_score;
        struct tok_trie trie; /* unigram */

        bool fold; /* WordPiece: lower case, no accents */
};

/* One call's working memory. */
struct symbol {
        int32_t id;
        uint32_t start, n;  /* bytes of the text; n is 0 once it has been joined to its left neighbour */
        int32_t prev, next; /* -1 at the ends */
};
struct candidate {
        int32_t rank, left; /* ordered by rank, then by position */
        int32_t id;
        uint32_t n; /* bytes of both: tells whether a symbol has changed since */
};
/* The best way to cut a text up to a position (unigram). */
struct best {
        float score;
        int32_t id;
        uint32_t start; /* of the last token */
};
struct tok_work {
        const struct tokenizer *t;
        struct tok_ids *out;
        size_t from; /* where in `out` the tokens of the text at hand begin */
        struct symbol *symbols;
        size_t symbol_cap;
        struct candidate *heap;
        size_t heap_n, heap_cap;
        pcre2_match_data *match[TOK_PRE_MAX];
        struct buf normal;
        struct best *best;
        size_t best_cap;
};

int tok_invalid(char *err, size_t errn, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The vocabulary (tokenizer.c). */
struct str tok_piece_at(const struct tokenizer *t, size_t i);
int32_t tok_table_get(const struct tokenizer *t, const struct id_table *table, struct str s, uint64_t hash);
int32_t tok_text_get(const struct tokenizer *t, struct str s); /* of the tokens that text can become */
size_t tok_table_cap(size_t n);
uint64_t tok_mix(uint64_t h);
/* The tokens of bytes that no token covers: byte tokens, else one `unk` for the run of them. */
int tok_push_unknown(struct tok_work *w, struct str bytes);

/* Length of the UTF-8 character that s starts with; 1 for what is none. s is not empty. */
size_t tok_char_length(struct str s);
/* The code point of that character, U+FFFD for what is none. */
uint32_t tok_char_code(struct str s);

/* tok_pre.c */
int tok_pre_load(struct tokenizer *t, struct str name, char *err, size_t errn);
bool tok_pre_adds_bos(struct str name); /* when the file does not say */
typedef int tok_word_fn(struct tok_work *w, struct str word);
int tok_pre_split(struct tok_work *w, struct str text, tok_word_fn *fn);

/* tok_merge.c */
/* How the pair of a symbol and its right neighbour may be joined; false when it may not. */
typedef bool tok_pair_fn(const struct tok_work *w, struct str text, const struct symbol *left,
                         const struct symbol *right, struct candidate *ret);
int tok_symbols_reserve(struct tok_work *w, size_t n);
/* Joins n symbols of the text, best rank first, the leftmost of equals first. O(n log n). */
int tok_merge(struct tok_work *w, struct str text, int32_t n, tok_pair_fn *pair);

/* Each kind: load() after the pieces are there; encode() for text without special tokens. */
const struct merge *tok_bpe_merge(const struct tokenizer *t, int32_t left, int32_t right); /* NULL: none */
void tok_bpe_alphabet(int16_t map[512]);
size_t tok_bpe_decode(struct str s, const int16_t map[512], char *out);
int tok_bpe_load(struct tokenizer *t, const struct tok_spec *spec, char *err, size_t errn);
int tok_bpe_encode(struct tok_work *w, struct str text);
int tok_spm_load(struct tokenizer *t, const struct tok_spec *spec);
int tok_spm_encode(struct tok_work *w, struct str text);
int tok_unigram_load(struct tokenizer *t, const struct tok_spec *spec);
int tok_unigram_encode(struct tok_work *w, struct str text);
void tok_trie_release(struct tok_trie *trie);
int tok_wordpiece_encode(struct tok_work *w, struct str text);

/* tok_norm.c: text as SentencePiece sees it, with spaces as spaces, into w->normal. */
int tok_norm_load(struct tok_norm *n, const struct tok_spec *spec, char *err, size_t errn);
int tok_norm_text(struct tok_work *w, struct str text);
#endif
