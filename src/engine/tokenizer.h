/* Text to token ids and back, for the four kinds of vocabulary that model files have: byte-level BPE,
 * SentencePiece BPE, SentencePiece unigram and WordPiece. Control tokens such as <|im_end|> are recognised in
 * text only when the caller asks for it.
 *
 * A tokenizer never changes after tokenizer_new(): every function may be called from any thread. */
#ifndef CAIRN_ENGINE_TOKENIZER_H
#define CAIRN_ENGINE_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/str.h"

/* Token types with the numbers that GGUF gives them. */
enum tok_type {
        TOK_NORMAL = 1,
        TOK_UNKNOWN = 2,
        TOK_CONTROL = 3,      /* never text: turn markers, end of text, padding */
        TOK_USER_DEFINED = 4, /* matched whole and literally, and is text */
        TOK_UNUSED = 5,
        TOK_BYTE = 6,
};

enum tok_kind {
        TOK_KIND_BPE,       /* bytes joined by merges within words (GPT-2) */
        TOK_KIND_SPM,       /* characters joined by score (SentencePiece "bpe") */
        TOK_KIND_UNIGRAM,   /* the most likely cut (SentencePiece "unigram") */
        TOK_KIND_WORDPIECE, /* the longest tokens from the left (BERT) */
};

/* What a model file says about its vocabulary. Borrowed only during tokenizer_new(). */
struct tok_spec {
        enum tok_kind kind;
        size_t n_vocab;
        /* n_vocab spellings: in GPT-2's byte alphabet (BPE), or with U+2581 for a space (the others;
         * WordPiece has it in front of what starts a word) */
        const struct str *tokens;
        const int32_t *types;       /* n_vocab of enum tok_type, or NULL: all TOK_NORMAL */
        const float *scores;        /* SPM and unigram: n_vocab, higher is better; NULL: all 0 */
        size_t n_merges;            /* BPE */
        const struct str *merges;   /* "left right", best first */
        struct str pre;             /* BPE, name of the pattern: "gpt-2", "llama-bpe", "qwen2", ... */
        int32_t bos, eos, eot, unk; /* ids, -1 when there is none */
        bool add_bos;               /* TOK_ENCODE_BOS puts bos first only when this is set */
        bool add_eos;               /* TOK_ENCODE_EOS puts `last` last only when this is set */
        int32_t last;               /* eos, or WordPiece's [SEP]; not looked at without add_eos */
        struct str charsmap;        /* SPM and unigram: compiled normalisation rules, may be empty */
        bool space_prefix;          /* SPM and unigram: texts start with a space */
        bool squeeze_spaces;        /* SPM and unigram: runs of spaces become one, those at the ends none */
        bool strip_after;           /* white space behind a control token is dropped */
        bool fold;                  /* WordPiece: lower case without accents */
};

enum tok_flags {
        TOK_ENCODE_SPECIAL = 1, /* spellings of control tokens in the text become those tokens */
        TOK_ENCODE_BOS = 2,
        TOK_ENCODE_EOS = 4,
};

/* A growable list of ids; start from {0}, end with tok_ids_release(). */
struct tok_ids {
        int32_t *p;
        size_t n, cap;
};

struct tokenizer;

/* Builds *ret from the spec, copying what it keeps. 0; -EINVAL with a message that names the fault
 * (unknown pattern, empty vocabulary, duplicate or missing spelling, merge that names no token, id out of
 * range); -ENOMEM. Time and memory are linear in the size of the spec. */
int tokenizer_new(const struct tok_spec *spec, struct tokenizer **ret, char *err, size_t errn);
void tokenizer_free(struct tokenizer *t); /* accepts NULL */
struct gguf;
/* The same from the metadata of a model file. The message names the key that is at fault. */
int tokenizer_from_gguf(const struct gguf *g, struct tokenizer **ret, char *err, size_t errn);

/* Appends the tokens of text to out. Any bytes are accepted, valid UTF-8 or not. O(n log n).
 * 0; -ENOMEM; -EINVAL when a byte of the text has no token and the vocabulary has no `unk`, and when the
 * vocabulary's normalisation makes the text absurdly long. */
int tokenizer_encode(const struct tokenizer *t, struct str text, int flags, struct tok_ids *out);
/* The same for text of which parts are data, that is, not from whoever wrote the template around them: no
 * control token is recognised where it would touch one of the n ranges, which are in order and do not
 * overlap. Between control tokens the text is cut as one piece, data or not. */
struct tok_range {
        size_t start, end; /* bytes of the text, end excluded */
};
int tokenizer_encode_guarded(const struct tokenizer *t, struct str text, const struct tok_range *data,
                             size_t n, int flags, struct tok_ids *out);
int tok_ids_push(struct tok_ids *ids, int32_t id); /* 0 or -ENOMEM */
void tok_ids_release(struct tok_ids *ids);

/* The raw bytes that a token stands for, owned by t, spaces as spaces. A control token gives its spelling. An
 * id out of range gives the empty string. A token may hold part of a UTF-8 sequence. */
struct str tokenizer_piece(const struct tokenizer *t, int32_t id);
/* The token spelled `bytes` (raw bytes, as tokenizer_piece() gives them), control tokens included; -1 when
 * there is none. */
int32_t tokenizer_find(const struct tokenizer *t, struct str bytes);
enum tok_type tokenizer_type(const struct tokenizer *t, int32_t id); /* TOK_UNUSED when out of range */
bool tokenizer_is_control(const struct tokenizer *t, int32_t id);
size_t tokenizer_size(const struct tokenizer *t);
int32_t tokenizer_bos(const struct tokenizer *t); /* the four: -1 when there is none */
int32_t tokenizer_eos(const struct tokenizer *t);
int32_t tokenizer_eot(const struct tokenizer *t);
int32_t tokenizer_unk(const struct tokenizer *t);
bool tokenizer_adds_bos(const struct tokenizer *t);
/* Whether a text's first token starts with a space that is not of the text. */
bool tokenizer_adds_space(const struct tokenizer *t);

/* The pattern of a pre-tokenizer by name, NULL when it is unknown or has several. Used to train a vocabulary.
 */
const char *tokenizer_pattern(struct str pre);

/* The alphabet of GPT-2: writes the UTF-8 of the character that stands for `byte` and returns its length
 * (1 or 2). */
int tokenizer_byte_char(uint8_t byte, char out[2]);
#endif
