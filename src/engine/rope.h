/* Frequencies of rotary positions (Su et al. 2021) and their extensions to longer contexts. */
#ifndef CAIRN_ENGINE_ROPE_H
#define CAIRN_ENGINE_ROPE_H

#include "engine/arch.h"

/* ret_freq[n_rot / 2] gets the radians per position of each pair; the result is what sines and cosines are
 * multiplied by. `divisors` (n_rot / 2 values, or NULL) divide the frequencies: the tensor rope_freqs of
 * Llama 3, or the factors of LongRoPE. Pure. */
double rope_frequencies(const struct rope *r, int n_rot, const float *divisors, double *ret_freq);
#endif
