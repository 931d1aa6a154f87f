/* From the hidden states of an input to its embedding. Engine thread. */
#ifndef CAIRN_ENGINE_EMBED_H
#define CAIRN_ENGINE_EMBED_H

#include <stdbool.h>
#include "engine/arch.h"

struct kern;

/* Values of an embedding: the model's width, or one score per label of a classifier. */
int embed_size(const struct hparams *hp);
/* Whether the hidden state of token i of n is needed. */
bool embed_wants(const struct hparams *hp, int i, int n);
/* Takes the hidden states of the next `rows` tokens that were wanted; v begins as zeros. In the order of
 * tokens, so that a sum does not depend on how the input was cut up. */
void embed_take(const struct hparams *hp, const struct kern *k, float *v, const float *hidden, int rows);
/* Brings a complete v to length 1; scores of a classifier stay what they are. */
void embed_finish(const struct hparams *hp, float *v);
#endif
