/* The AVX2 variant: element-wise kernels and the table. */
#include "kernels/x86/vec_avx2.h"
#include "kernels/x86/ops.tmpl.h"

static void quant_q8_avx2(const float *x, size_t n, uint8_t *q, float *d)
{
        const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
        for (size_t b = 0; b < n / 32; b++, x += 32, q += 32) {
                vf v[4], max = vset1(0);
                for (int i = 0; i < 4; i++) {
                        v[i] = vload(x + i * 8);
                        max = vmax(max, vabs(v[i]));
                }
                float top = vmaxof(max);
                d[b] = top / 127.0f;
                vf inv = vset1(top > 1e-35f ? 127.0f / top : 0);
                __m256i w[4];
                for (int i = 0; i < 4; i++)
                        w[i] = _mm256_cvtps_epi32(vmul(v[i], inv));
                __m256i lo = _mm256_packs_epi32(w[0], w[1]), hi = _mm256_packs_epi32(w[2], w[3]);
                __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(lo, hi), order);
                _mm256_storeu_si256((void *)q, bytes);
        }
}

const struct kern kern_avx2 = {
        .name = "avx2",
        .isa = KERN_AVX2,
        .rmsnorm = rmsnorm_avx2,
        .layernorm = layernorm_avx2,
        .add = add_avx2,
        .silu_mul = silu_mul_avx2,
        .gelu_mul = gelu_mul_avx2,
        .swiglu_clamped = swiglu_clamped_avx2,
        .gelu = gelu_avx2,
        .softcap = softcap_avx2,
        .rope = rope_avx2,
        .rope_neox = rope_neox_avx2,
        .softmax = softmax_avx2,
        .quant_q8 = quant_q8_avx2,
        .to_f16 = to_f16_avx2,
        .attn_qk = attn_qk_avx2,
        .attn_pv = attn_pv_avx2,
};
