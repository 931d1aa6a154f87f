/* 8-bit keys and values, the AVX-512 variant. */
#include "kernels/kv_q8.h"
#include "kernels/x86/vec_avx512.h"

static inline vf vload8(const int8_t *p)
{
        return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
static inline vf vload8n(const int8_t *p, size_t k)
{
        return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(vmask(k), p)));
}

#include "kernels/x86/kv_q8.tmpl.h"
