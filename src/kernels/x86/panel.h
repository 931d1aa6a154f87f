/* What quant_q8 of the x86 variants writes and their gemm reads.
 *
 * Bytes: the int8 values of a token in order. Beside each 32 of them four words: the scale (a float), then
 * -128 times the sum of all 32, of the first and of the second 16 (int32). Weights are multiplied as
 * unsigned codes; the sums take the offset of the codes out again. */
#ifndef CAIRN_KERNELS_X86_PANEL_H
#define CAIRN_KERNELS_X86_PANEL_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define ACT_WORDS 4
#define ACT_SUM 1           /* the word of the sum of all */
#define ACT_HALVES 2        /* the words of the sums of halves */
#define PREFETCH_BYTES 2048 /* how far ahead of itself decoding asks for weights */

/* 32 values of the weights: unpacked codes, scales and mins of the first panel, and how far (in bytes, and
 * in floats) those of the next are. */
struct operands {
        const uint8_t *w;
        const float *scale, *min;
        size_t next_w, next_scale;
};

static inline int32_t act_word(const float *d, int i)
{
        int32_t v;
        memcpy(&v, d + i, sizeof(v));
        return v;
}

/* Four int8 activations as one number, to be repeated in all lanes. */
static inline int32_t act_quad(const uint8_t *q)
{
        int32_t v;
        memcpy(&v, q, sizeof(v));
        return v;
}
#endif
