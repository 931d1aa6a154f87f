/* Grammars over tokens: what a model may say next, as a mask over its vocabulary.
 *
 * A grammar is built from parts (literals, sets of texts, regular expressions, JSON Schemas, Lark grammars)
 * into one constant object, which any number of threads share. A matcher walks it for one sequence: it tells
 * the allowed tokens, and takes the chosen one. A token is allowed exactly when some text of the grammar goes
 * on with its bytes: nothing that the grammar allows is unreachable, and nothing allowed is a dead end.
 *
 * Knows nothing of models: a vocabulary is bytes by id. */
#ifndef CAIRN_GRAMMAR_GRAMMAR_H
#define CAIRN_GRAMMAR_GRAMMAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/json.h"
#include "base/str.h"

/* ---- vocabularies ------------------------------------------------------------------------------- */

/* The bytes of each token, ordered so that tokens with a common beginning are looked at together. Constant
 * after construction. */
struct grammar_vocab;

/* piece(ctx, id) gives the bytes that token `id` stands for in text, empty for control tokens; they are
 * copied. is_end[id]: the token ends a turn, and is allowed exactly where the text may end. 0 or -ENOMEM. */
int grammar_vocab_new(int32_t n_vocab, struct str (*piece)(void *ctx, int32_t id), void *ctx,
                      const uint8_t *is_end, struct grammar_vocab **ret);
void grammar_vocab_free(struct grammar_vocab *v); /* accepts NULL */

/* ---- building ----------------------------------------------------------------------------------- */

struct grammar;
struct grammar_builder;

struct grammar_err {
        char msg[384];  /* a sentence in OpenAI's words */
        char path[256]; /* within the schema: "properties.a.items"; or "line 3, column 7" of a Lark grammar;
                           or empty */
};

/* Zero means the default. */
struct grammar_limits {
        size_t bytes;              /* memory of the builder and its grammar; default 64 MiB */
        int64_t steps;             /* work of compilation; default 50 million */
        bool (*cancel)(void *ctx); /* polled; true ends the build with -ECANCELED */
        void *ctx;
};

/* A part of a grammar under construction: a number, or a negative errno value. Every function that makes a
 * part accepts negative ones and passes the first of them on, so that errors need to be looked at only once.
 */
typedef int32_t gnode;

struct grammar_builder *
grammar_builder_new(const struct grammar_limits *limits); /* NULL when memory is out */
void grammar_builder_free(struct grammar_builder *b);     /* accepts NULL */

gnode grammar_empty(struct grammar_builder *b);
gnode grammar_literal(struct grammar_builder *b, struct str text);
/* A control token by id; text never matches it. */
gnode grammar_token(struct grammar_builder *b, int32_t id);
gnode grammar_seq(struct grammar_builder *b, const gnode *parts, size_t n);
gnode grammar_alt(struct grammar_builder *b, const gnode *parts, size_t n);    /* -EINVAL with n = 0 */
gnode grammar_repeat(struct grammar_builder *b, gnode part, int min, int max); /* max < 0: no upper limit */
/* Any UTF-8 text, possibly empty, in which none of the (non-empty) strings occurs. */
gnode grammar_text_without(struct grammar_builder *b, const struct str *strings, size_t n);
/* Recursion: a part that is defined later, once, by grammar_define. */
gnode grammar_forward(struct grammar_builder *b);
void grammar_define(struct grammar_builder *b, gnode forward, gnode part);

/* A regular expression that must match the whole text (Rust's regex syntax as OpenAI's custom tools take it:
 * no look-around, no back-references). */
gnode grammar_regex(struct grammar_builder *b, struct str pattern, struct grammar_err *err);
/* A Lark grammar as OpenAI's custom tools take it (rules, terminals, regular expressions, %import common,
 * %ignore, repetition); the start rule is "start". */
gnode grammar_lark(struct grammar_builder *b, struct str definition, struct grammar_err *err);

#define GRAMMAR_STRICT                                                                          \
        1u /* OpenAI's structured-output rules: objects list all properties as required and set \
              additionalProperties to false, and the root is an object; else an error */
#define GRAMMAR_COMPACT                                                                     \
        2u /* no white space between JSON tokens; else up to one space or a line break with \
              indentation, as models write it */
/* JSON text that the schema accepts (draft 2020-12, the keywords that the README lists; others are refused).
 * Properties come in the order of the schema. */
gnode grammar_schema(struct grammar_builder *b, const json_t *schema, unsigned flags,
                     struct grammar_err *err);
/* A JSON string whose content is a text of the part, which may have no control tokens and no JSON strings in
 * it: what is not finished yet (rules to be defined) is not seen later. */
gnode grammar_json_string(struct grammar_builder *b, gnode part);
/* Any JSON object. */
gnode grammar_json_object(struct grammar_builder *b, unsigned flags);

/* The whole grammar. Consumes the builder in any case. 0, -EINVAL (nothing matches, or a part is undefined),
 * -E2BIG (over a limit), -ECANCELED, -ENOMEM. */
int grammar_finish(struct grammar_builder *b, gnode root, struct grammar **ret, struct grammar_err *err);
/* Grammars are counted: one reference from grammar_finish. Any thread. */
struct grammar *grammar_ref(struct grammar *g);
void grammar_unref(struct grammar *g); /* accepts NULL */

/* ---- matching ----------------------------------------------------------------------------------- */

/* The place in a grammar that a sequence has come to. One thread at a time. Masks of places seen before are
 * taken from a bounded cache that all matchers of a grammar and vocabulary share. */
struct grammar_match;

int grammar_match_new(struct grammar *g, const struct grammar_vocab *v,
                      struct grammar_match **ret); /* takes a ref */
int grammar_match_clone(const struct grammar_match *m, struct grammar_match **ret);
void grammar_match_free(struct grammar_match *m); /* accepts NULL */

/* Words of the mask of a vocabulary. */
static inline size_t grammar_mask_words(int32_t n_vocab)
{
        return ((size_t)n_vocab + 31) / 32;
}
/* Sets bit id % 32 of bits[id / 32] for each allowed token, end tokens included where the text may end; at
 * least one is set. 0, -ENOMEM, -E2BIG (the text has become too ambiguous), or -ENOTSUP when the vocabulary
 * has no token that goes on, which one with all single bytes and an end token never has. */
int grammar_match_mask(struct grammar_match *m, uint32_t *bits);
/* Goes on with a token. 0, -EINVAL when it is not allowed, -E2BIG, -ENOMEM; the place stays on errors. */
int grammar_match_token(struct grammar_match *m, int32_t id);
bool grammar_match_may_end(const struct grammar_match *m);
/* The text may end and nothing else may come. */
bool grammar_match_must_end(const struct grammar_match *m);
#endif
