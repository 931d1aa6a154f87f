/* The vector vocabulary of the templates in this folder, for AVX2 with FMA and F16C. */
#ifndef CAIRN_KERNELS_X86_VEC_AVX2_H
#define CAIRN_KERNELS_X86_VEC_AVX2_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define VL 8
#define VSUF(name) name##_avx2
typedef __m256 vf;
typedef __m128i vhalf; /* VL 16-bit values */

static inline __m256i vmask(size_t k)
{
        return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)k), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
static inline vf vload(const float *p)
{
        return _mm256_loadu_ps(p);
}
static inline vf vloadn(const float *p, size_t k) /* k < VL values, the rest 0 */
{
        return _mm256_maskload_ps(p, vmask(k));
}
static inline void vstore(float *p, vf v)
{
        _mm256_storeu_ps(p, v);
}
static inline void vstoren(float *p, vf v, size_t k)
{
        _mm256_maskstore_ps(p, vmask(k), v);
}
static inline vhalf vload16(const void *p)
{
        return _mm_loadu_si128(p);
}
static inline vhalf vload16n(const void *p, size_t k)
{
        uint16_t tail[VL] = { 0 };
        memcpy(tail, p, k * sizeof(*tail));
        return vload16(tail);
}
static inline void vstore16(void *p, vhalf h)
{
        _mm_storeu_si128(p, h);
}
static inline void vstore16n(void *p, vhalf h, size_t k)
{
        uint16_t tail[VL];
        vstore16(tail, h);
        memcpy(p, tail, k * sizeof(*tail));
}
static inline vf vfrom_f16(vhalf h)
{
        return _mm256_cvtph_ps(h);
}
static inline vf vfrom_bf16(vhalf h)
{
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}
static inline vhalf vto_f16(vf v)
{
        return _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline vf vset1(float f)
{
        return _mm256_set1_ps(f);
}
static inline vf vadd(vf a, vf b)
{
        return _mm256_add_ps(a, b);
}
static inline vf vmul(vf a, vf b)
{
        return _mm256_mul_ps(a, b);
}
static inline vf vdiv(vf a, vf b)
{
        return _mm256_div_ps(a, b);
}
static inline vf vfma(vf a, vf b, vf c) /* a * b + c */
{
        return _mm256_fmadd_ps(a, b, c);
}
static inline vf vfnma(vf a, vf b, vf c) /* c - a * b */
{
        return _mm256_fnmadd_ps(a, b, c);
}
static inline vf vmax(vf a, vf b)
{
        return _mm256_max_ps(a, b);
}
static inline vf vabs(vf a)
{
        return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a);
}
/* Lanes are added in the order of vsum4, so that both give the same bits. */
static inline float vsum(vf v)
{
        v = _mm256_add_ps(v, _mm256_permute_ps(v, 0xb1));
        v = _mm256_add_ps(v, _mm256_permute_ps(v, 0x4e));
        return _mm_cvtss_f32(_mm_add_ss(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1)));
}
static inline __m128 vsum4(vf a, vf b, vf c, vf d)
{
        vf v = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
        return _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
}
static inline float vmaxof(vf v)
{
        __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
        s = _mm_max_ps(s, _mm_movehl_ps(s, s));
        return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}
static inline vf vround(vf v)
{
        return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
/* v * 2^n for integral n; two steps, so that results down to the subnormals stay exact. */
static inline vf vscale2(vf v, vf n)
{
        __m256i i = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(i, 1), one = _mm256_set1_epi32(127);
        __m256i rest = _mm256_sub_epi32(i, half);
        v = _mm256_mul_ps(v, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, one), 23)));
        return _mm256_mul_ps(v, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(rest, one), 23)));
}
static inline vf vswap_pairs(vf v) /* (1, 0, 3, 2, ...) */
{
        return _mm256_permute_ps(v, 0xb1);
}
static inline vf vaddsub(vf a, vf b) /* even lanes a - b, odd lanes a + b */
{
        return _mm256_addsub_ps(a, b);
}
static inline vf vdup_pairs(const float *p) /* VL / 2 values, each twice */
{
        __m256 v = _mm256_castps128_ps256(_mm_loadu_ps(p));
        return _mm256_permutevar8x32_ps(v, _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3));
}
#endif
