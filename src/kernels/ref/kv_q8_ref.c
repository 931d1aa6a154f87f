/* 8-bit keys and values: quantisation, the scalar kernels, and the choice of a variant. */
#include <math.h>
#include "kernels/kv_q8.h"

void kern_kv_quant(const float *x, size_t hd, int8_t *q, size_t stride, uint16_t *scales, size_t scale_stride)
{
        for (size_t from = 0; from < hd; from += KERN_KV_GROUP, scales += scale_stride) {
                size_t to = hd - from < KERN_KV_GROUP ? hd : from + KERN_KV_GROUP;
                float max = 0;
                for (size_t c = from; c < to; c++)
                        max = fmaxf(max, fabsf(x[c]));
                uint16_t scale = kern_f32_to_f16(fminf(max / 127.0f, 65504.0f));
                float d = kern_f16_to_f32(scale), inv = d > 0 ? 1.0f / d : 0;
                *scales = scale;
                for (size_t c = from; c < to;
                     c++) /* the rounded scale may be a little small for the largest */
                        q[c * stride] = (int8_t)lrintf(fmaxf(-127.0f, fminf(127.0f, x[c] * inv)));
        }
}

static void qk_ref(const float *q, size_t ldq, size_t nq, const int8_t *k, const uint16_t *scales, size_t hd,
                   float scale, float *s, size_t lds)
{
        for (size_t i = 0; i < nq; i++) {
                for (size_t j = 0; j < KERN_KV_BLOCK; j++) {
                        float total = 0;
                        for (size_t from = 0, g = 0; from < hd; from += KERN_KV_GROUP, g++) {
                                size_t to = hd - from < KERN_KV_GROUP ? hd : from + KERN_KV_GROUP;
                                float sum = 0;
                                for (size_t c = from; c < to; c++)
                                        sum += q[i * ldq + c] * (float)k[c * KERN_KV_BLOCK + j];
                                total += sum * kern_f16_to_f32(scales[g * KERN_KV_BLOCK + j]);
                        }
                        s[i * lds + j] = total * scale;
                }
        }
}

static void pv_ref(const float *p, size_t ldp, size_t nq, const int8_t *v, const uint16_t *scales, size_t nk,
                   size_t hd, float *o, size_t ldo)
{
        size_t groups = kern_kv_groups(hd);
        for (size_t i = 0; i < nq; i++) {
                for (size_t j = 0; j < nk; j++) {
                        for (size_t c = 0; c < hd; c++) {
                                float d = kern_f16_to_f32(scales[j * groups + c / KERN_KV_GROUP]);
                                o[i * ldo + c] += p[i * ldp + j] * d * (float)v[j * hd + c];
                        }
                }
        }
}

const struct kern_kv_q8 kern_kv_q8_ref = { qk_ref, pv_ref };

const struct kern_kv_q8 *kern_kv_q8(enum kern_isa isa)
{
        static const struct kern_kv_q8 *const variants[KERN_ISAS] = {
                [KERN_REF] = &kern_kv_q8_ref,
#if defined(__x86_64__)
                [KERN_AVX2] = &kern_kv_q8_avx2,
                [KERN_AVX512] = &kern_kv_q8_avx512,
#endif
        };
        return variants[isa];
}
