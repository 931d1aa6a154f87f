/* The vector vocabulary of the templates in this folder, for AVX-512. */
#ifndef CAIRN_KERNELS_X86_VEC_AVX512_H
#define CAIRN_KERNELS_X86_VEC_AVX512_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define VL 16
#define VSUF(name) name##_avx512
typedef __m512 vf;
typedef __m256i vhalf; /* VL 16-bit values */

static inline __mmask16 vmask(size_t k)
{
        return (__mmask16)((1u << k) - 1);
}
static inline vf vload(const float *p)
{
        return _mm512_loadu_ps(p);
}
static inline vf vloadn(const float *p, size_t k) /* k < VL values, the rest 0 */
{
        return _mm512_maskz_loadu_ps(vmask(k), p);
}
static inline void vstore(float *p, vf v)
{
        _mm512_storeu_ps(p, v);
}
static inline void vstoren(float *p, vf v, size_t k)
{
        _mm512_mask_storeu_ps(p, vmask(k), v);
}
static inline vhalf vload16(const void *p)
{
        return _mm256_loadu_si256(p);
}
static inline vhalf vload16n(const void *p, size_t k)
{
        return _mm256_maskz_loadu_epi16(vmask(k), p);
}
static inline void vstore16(void *p, vhalf h)
{
        _mm256_storeu_si256(p, h);
}
static inline void vstore16n(void *p, vhalf h, size_t k)
{
        _mm256_mask_storeu_epi16(p, vmask(k), h);
}
static inline vf vfrom_f16(vhalf h)
{
        return _mm512_cvtph_ps(h);
}
static inline vf vfrom_bf16(vhalf h)
{
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}
static inline vhalf vto_f16(vf v)
{
        return _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline vf vset1(float f)
{
        return _mm512_set1_ps(f);
}
static inline vf vadd(vf a, vf b)
{
        return _mm512_add_ps(a, b);
}
static inline vf vmul(vf a, vf b)
{
        return _mm512_mul_ps(a, b);
}
static inline vf vdiv(vf a, vf b)
{
        return _mm512_div_ps(a, b);
}
static inline vf vfma(vf a, vf b, vf c) /* a * b + c */
{
        return _mm512_fmadd_ps(a, b, c);
}
static inline vf vfnma(vf a, vf b, vf c) /* c - a * b */
{
        return _mm512_fnmadd_ps(a, b, c);
}
static inline vf vmax(vf a, vf b)
{
        return _mm512_max_ps(a, b);
}
static inline vf vabs(vf a)
{
        return _mm512_abs_ps(a);
}
/* Lanes are added in the order of vsum4, so that both give the same bits. */
static inline float vsum(vf v)
{
        v = _mm512_add_ps(v, _mm512_permute_ps(v, 0x4e));
        v = _mm512_add_ps(v, _mm512_permute_ps(v, 0xb1));
        v = _mm512_add_ps(v, _mm512_shuffle_f32x4(v, v, 0xb1));
        return _mm512_cvtss_f32(_mm512_add_ps(v, _mm512_shuffle_f32x4(v, v, 0x4e)));
}
static inline vf vpair(vf a, vf b) /* per 128 bits: (a0 + a2, b0 + b2, a1 + a3, b1 + b3) */
{
        return _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
}
static inline __m128 vsum4(vf a, vf b, vf c, vf d)
{
        __m512d ab = _mm512_castps_pd(vpair(a, b)), cd = _mm512_castps_pd(vpair(c, d));
        vf v = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd)),
                             _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd)));
        v = _mm512_add_ps(v, _mm512_shuffle_f32x4(v, v, 0xb1));
        return _mm512_castps512_ps128(_mm512_add_ps(v, _mm512_shuffle_f32x4(v, v, 0x4e)));
}
static inline float vmaxof(vf v)
{
        return _mm512_reduce_max_ps(v);
}
static inline vf vround(vf v)
{
        return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline vf vscale2(vf v, vf n) /* v * 2^n, n integral */
{
        return _mm512_scalef_ps(v, n);
}
static inline vf vswap_pairs(vf v) /* (1, 0, 3, 2, ...) */
{
        return _mm512_permute_ps(v, 0xb1);
}
static inline vf vaddsub(vf a, vf b) /* even lanes a - b, odd lanes a + b */
{
        return _mm512_mask_sub_ps(_mm512_add_ps(a, b), 0x5555, a, b);
}
static inline vf vdup_pairs(const float *p) /* VL / 2 values, each twice */
{
        const __m512i idx = _mm512_set_epi32(7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0);
        return _mm512_permutexvar_ps(idx, _mm512_castps256_ps512(_mm256_loadu_ps(p)));
}
#endif
