/* 8-bit keys and values, the AVX2 variant. */
#include <string.h>
#include "kernels/kv_q8.h"
#include "kernels/x86/vec_avx2.h"

static inline vf vload8(const int8_t *p)
{
        return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}
static inline vf vload8n(const int8_t *p, size_t k)
{
        int8_t whole[VL] = { 0 };
        memcpy(whole, p, k);
        return vload8(whole);
}

#include "kernels/x86/kv_q8.tmpl.h"
