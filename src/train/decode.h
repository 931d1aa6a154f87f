/* Greedy decoding with the training forward pass: slow (no key-value cache), for looking at a model. */
#ifndef CAIRN_TRAIN_DECODE_H
#define CAIRN_TRAIN_DECODE_H

#include "engine/tokenizer.h"
#include "train/llama.h"

/* Appends to ids, which holds the prompt, up to max_new most likely tokens; `stop` ends it and is not
 * appended. 0, -E2BIG when the prompt does not fit, or -ENOMEM. */
int decode_greedy(struct llama_work *w, const struct llama_params *p, struct tok_ids *ids, int max_new,
                  int32_t stop);
#endif
