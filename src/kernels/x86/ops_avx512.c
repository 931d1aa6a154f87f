/* The AVX-512 variant: element-wise kernels and the table. */
#include "kernels/x86/vec_avx512.h"
#include "kernels/x86/ops.tmpl.h"

/* 32 values as bytes q + 128 (vpdpbusd wants its first operand unsigned). */
static inline __m256i quant_block(const float *x, float *d)
{
        vf a = vload(x), b = vload(x + VL);
        float top = vmaxof(vmax(vabs(a), vabs(b)));
        *d = top / 127.0f;
        vf inv = vset1(top > 1e-35f ? 127.0f / top : 0);
        __m128i lo = _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(vmul(a, inv)));
        __m128i hi = _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(vmul(b, inv)));
        return _mm256_xor_si256(_mm256_set_m128i(hi, lo), _mm256_set1_epi8((char)0x80));
}

/* Two blocks lie interleaved by four bytes, so that a vector of their two scales is one broadcast load. An
 * odd last block is paired with one of scale 0. gemm_q8_avx512.c reads this. */
static void quant_q8_avx512(const float *x, size_t n, uint8_t *q, float *d)
{
        const __m512i idx = _mm512_set_epi32(15, 7, 14, 6, 13, 5, 12, 4, 11, 3, 10, 2, 9, 1, 8, 0);
        for (size_t b = 0; b < n / 32; b += 2, x += 64, q += 64) {
                __m256i lo = quant_block(x, d + b), hi = _mm256_set1_epi8((char)0x80);
                d[b + 1] = 0;
                if (b + 1 < n / 32)
                        hi = quant_block(x + 32, d + b + 1);
                __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(lo), hi, 1);
                _mm512_storeu_si512(q, _mm512_permutexvar_epi32(idx, both));
        }
}

const struct kern kern_avx512 = {
        .name = "avx512",
        .isa = KERN_AVX512,
        .rmsnorm = rmsnorm_avx512,
        .layernorm = layernorm_avx512,
        .add = add_avx512,
        .silu_mul = silu_mul_avx512,
        .gelu_mul = gelu_mul_avx512,
        .swiglu_clamped = swiglu_clamped_avx512,
        .gelu = gelu_avx512,
        .softcap = softcap_avx512,
        .rope = rope_avx512,
        .rope_neox = rope_neox_avx512,
        .softmax = softmax_avx512,
        .quant_q8 = quant_q8_avx512,
        .to_f16 = to_f16_avx512,
        .attn_qk = attn_qk_avx512,
        .attn_pv = attn_pv_avx512,
};
