/* Attention over keys and values in 8 bits: a KV block of KERN_KV_BLOCK tokens, each coordinate an int8, each
 * run of KERN_KV_GROUP coordinates of a token with an f16 scale of its own (the last run may be shorter).
 *
 * Keys lie transposed, [hd][KERN_KV_BLOCK], their scales [groups][KERN_KV_BLOCK]; values lie
 * [KERN_KV_BLOCK][hd], their scales [KERN_KV_BLOCK][groups]. What kernels.h promises of rows and bits holds
 * here too. */
#ifndef CAIRN_KERNELS_KV_Q8_H
#define CAIRN_KERNELS_KV_Q8_H

#include <stddef.h>
#include <stdint.h>
#include "kernels/kernels.h"

#define KERN_KV_GROUP 32

static inline size_t kern_kv_groups(size_t hd)
{
        return (hd + KERN_KV_GROUP - 1) / KERN_KV_GROUP;
}

struct kern_kv_q8 {
        /* s[i * lds + j] = scale * q_i . k_j for i < nq and all j < KERN_KV_BLOCK; q_i = q + i * ldq. */
        void (*qk)(const float *q, size_t ldq, size_t nq, const int8_t *k, const uint16_t *scales, size_t hd,
                   float scale, float *s, size_t lds);
        /* o_i[c] += sum over j < nk of p[i * ldp + j] * v_j[c]; o_i = o + i * ldo. */
        void (*pv)(const float *p, size_t ldp, size_t nq, const int8_t *v, const uint16_t *scales, size_t nk,
                   size_t hd, float *o, size_t ldo);
};

/* The variant of an instruction set; this CPU must have it. */
const struct kern_kv_q8 *kern_kv_q8(enum kern_isa isa);

/* Quantises hd values: value c goes to q[c * stride], the scale of group g to scales[g * scale_stride]. The
 * largest of a group becomes +-127; the scale is rounded to f16 before it is used. */
void kern_kv_quant(const float *x, size_t hd, int8_t *q, size_t stride, uint16_t *scales,
                   size_t scale_stride);

extern const struct kern_kv_q8 kern_kv_q8_ref;
#if defined(__x86_64__)
extern const struct kern_kv_q8 kern_kv_q8_avx2, kern_kv_q8_avx512;
#endif
#endif
