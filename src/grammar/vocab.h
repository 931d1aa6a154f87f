/* A vocabulary as a trie of bytes, its nodes in depth-first order. Internal to this folder. */
#ifndef CAIRN_GRAMMAR_VOCAB_H
#define CAIRN_GRAMMAR_VOCAB_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include "base/str.h"
#include "grammar/grammar.h"

struct trie_node {
        uint32_t end;   /* the node after the last one below this */
        uint32_t token; /* first of its tokens in `ids`; they run to the next node's */
        uint16_t depth; /* bytes from the root */
        uint8_t byte;   /* the last of them */
};

struct grammar_vocab {
        int32_t n;
        char *bytes;
        uint32_t *first; /* n + 1 offsets into bytes */
        uint8_t *is_end;
        int32_t *ends; /* the tokens for which is_end holds */
        int32_t n_ends;
        struct trie_node *nodes; /* 0 is the root; one more than n_nodes */
        uint32_t n_nodes;
        int32_t *ids; /* tokens with text, by their bytes */
        uint32_t max_len;
        atomic_int refs; /* the owner and each space */
};

static inline struct str vocab_piece(const struct grammar_vocab *v, int32_t id)
{
        return (struct str){ v->bytes + v->first[id], v->first[id + 1] - v->first[id] };
}

struct grammar_vocab *vocab_ref(const struct grammar_vocab *v);
void vocab_unref(struct grammar_vocab *v); /* accepts NULL */
#endif
