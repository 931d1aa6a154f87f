/* The grammar of one sequence: which tokens may come next. The engine thread owns it. */
#ifndef CAIRN_ENGINE_MASK_H
#define CAIRN_ENGINE_MASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "grammar/grammar.h"

struct mask {
        struct grammar_match *match; /* NULL: no grammar, everything is allowed */
        uint32_t *bits;              /* a bit per token, of the place that match stands at */
        size_t words;
        bool ready; /* bits are up to date */
        int n_vocab;
};

/* Takes a reference on the grammar; the vocabulary outlives the mask. 0 or -ENOMEM. */
int mask_init(struct mask *m, struct grammar *g, const struct grammar_vocab *vocab, int n_vocab);
void mask_release(struct mask *m); /* harmless on a zeroed one */
/* Computes what is allowed now, unless it is known. 0 or -ENOMEM. */
int mask_prepare(struct mask *m);
/* Makes the logits of forbidden tokens -inf. When no allowed one has a finite logit (a bias forbids them
 * all), the allowed ones become equal, for the grammar is stronger, and true is returned. mask_prepare comes
 * first. */
bool mask_apply(const struct mask *m, float *logits);
/* Goes on with an allowed token. 0; -EINVAL; -ENOMEM. */
int mask_accept(struct mask *m, int32_t id);
/* Nothing more may come. */
bool mask_ends(const struct mask *m);
/* Tokens to which there is no alternative from here on: at most `most` of them go to out, none that ends the
 * text (is_end). Returns how many. mask_prepare comes first. */
int mask_forced(const struct mask *m, const uint8_t *is_end, int32_t *out, int most);
#endif
