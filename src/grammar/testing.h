/* Vocabularies and checks that the tests of this folder share. */
#ifndef CAIRN_GRAMMAR_TESTING_H
#define CAIRN_GRAMMAR_TESTING_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/rand.h"
#include "grammar/grammar.h"

/* Token 0 ends; 1 and 2 are control tokens; 3 to 258 are the single bytes; the rest are pieces. */
enum { T_END, T_CONTROL, T_CONTROL2, T_BYTE, T_PIECES = T_BYTE + 256 };

struct pieces {
        char bytes[256];
        const struct str *more;
};

static inline struct str test_piece(void *ctx, int32_t id)
{
        const struct pieces *p = ctx;
        if (id < T_BYTE)
                return (struct str){ "", 0 };
        if (id < T_PIECES)
                return (struct str){ &p->bytes[id - T_BYTE], 1 };
        return p->more[id - T_PIECES];
}

static inline struct grammar_vocab *test_vocab(const struct str *more, int32_t n)
{
        struct pieces p = { .more = more };
        struct grammar_vocab *v;
        for (int i = 0; i < 256; i++)
                p.bytes[i] = (char)i;
        uint8_t *is_end = mem_calloc((size_t)(T_PIECES + n), 1);
        is_end[T_END] = 1;
        assert_int_equal(grammar_vocab_new(T_PIECES + n, test_piece, &p, is_end, &v), 0);
        mem_free(is_end);
        return v;
}

/* Goes on byte by byte; false when a byte is not allowed. */
static inline bool feed(struct grammar_match *m, struct str text)
{
        for (size_t i = 0; i < text.n; i++)
                if (grammar_match_token(m, T_BYTE + (unsigned char)text.p[i]))
                        return false;
        return true;
}

static inline bool accepts(struct grammar *g, const struct grammar_vocab *v, struct str text)
{
        struct grammar_match *m;
        assert_int_equal(grammar_match_new(g, v, &m), 0);
        bool ok = feed(m, text) && grammar_match_may_end(m);
        grammar_match_free(m);
        return ok;
}

/* The mask allows exactly the tokens that a copy of the matcher takes. */
static inline void check_mask(const struct grammar_match *m, int32_t n)
{
        uint32_t *bits = mem_calloc(grammar_mask_words(n), sizeof(*bits));
        struct grammar_match *copy;
        assert_int_equal(grammar_match_clone(m, &copy), 0);
        for (int round = 0; round < 3; round++) /* the third is from the cache */
                assert_int_equal(grammar_match_mask(copy, bits), 0);
        grammar_match_free(copy);
        for (int32_t id = 0; id < n; id++) {
                assert_int_equal(grammar_match_clone(m, &copy), 0);
                bool takes = grammar_match_token(copy, id) == 0;
                bool set = bits[id / 32] >> (id % 32) & 1;
                if (takes != set)
                        fail_msg("token %d: taken %d, in the mask %d", id, takes, set);
                grammar_match_free(copy);
        }
        mem_free(bits);
}
#endif
