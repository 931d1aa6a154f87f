/* Q8_0 weights by 8-bit activations with VNNI.
 *
 * The activations are stored as q + 128 (see quant_q8_avx512), so the integer sum of four products is
 * dpbusd(q + 128, w) - 128 * (sum of w); the correction depends on the weights alone and is computed once
 * for all tokens of a tile. Sums stay below 2^24, so the conversion to float is exact. */
#include <string.h>
#include "kernels/variants.h"
#include "kernels/x86/vec_avx512.h"
#include "kernels/x86/tile.tmpl.h"

#define BLOCK_BYTES 34
#define TILE_R 4
#define TILE_T 4
#define NARROW 7

/* Two weight blocks: interleaved bytes, and their scales alternating over the lanes. */
static inline __m512i load_pair(const uint8_t *w, vf *ret_scale)
{
        const __m512i idx = _mm512_set_epi32(15, 7, 14, 6, 13, 5, 12, 4, 11, 3, 10, 2, 9, 1, 8, 0);
        uint16_t d0, d1;
        memcpy(&d0, w, sizeof(d0));
        memcpy(&d1, w + BLOCK_BYTES, sizeof(d1));
        __m128 d = _mm_cvtph_ps(_mm_cvtsi32_si128((int)((uint32_t)d1 << 16 | d0)));
        *ret_scale = _mm512_castpd_ps(_mm512_broadcastsd_pd(_mm_castps_pd(d)));
        __m512i both = _mm512_castsi256_si512(_mm256_loadu_si256((const void *)(w + 2)));
        both = _mm512_inserti64x4(both, _mm256_loadu_si256((const void *)(w + BLOCK_BYTES + 2)), 1);
        return _mm512_permutexvar_epi32(idx, both);
}

/* The last block of an odd row. */
static inline __m512i load_single(const uint8_t *w, vf *ret_scale)
{
        uint8_t pair[2 * BLOCK_BYTES] = { 0 };
        memcpy(pair, w, BLOCK_BYTES);
        return load_pair(pair, ret_scale);
}

static inline __attribute__((always_inline)) void step(vf acc[TILE_R][TILE_T], const uint8_t *w,
                                                       size_t row_bytes, const uint8_t *q, size_t ldq,
                                                       const float *d, size_t ldd, const int R, const int T,
                                                       const bool single)
{
        const __m512i zero = _mm512_setzero_si512(), c128 = _mm512_set1_epi8((char)0x80);
        for (int r = 0; r < R; r++) {
                vf scale;
                __m512i wv = single ? load_single(w + (size_t)r * row_bytes, &scale)
                                    : load_pair(w + (size_t)r * row_bytes, &scale);
                __m512i fix = _mm512_sub_epi32(zero, _mm512_dpbusd_epi32(zero, c128, wv));
                for (int t = 0; t < T; t++) {
                        __m512i xv = _mm512_loadu_si512(q + (size_t)t * ldq);
                        double pair;
                        memcpy(&pair, d + (size_t)t * ldd, sizeof(pair));
                        vf sum = _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(fix, xv, wv));
                        vf both = vmul(scale, _mm512_castpd_ps(_mm512_set1_pd(pair)));
                        acc[r][t] = vfma(sum, both, acc[r][t]);
                }
        }
}

static inline __attribute__((always_inline)) void tile(const uint8_t *w, size_t row_bytes,
                                                       const struct kern_act *x, size_t t0, float *y,
                                                       size_t ldy, const int R, const int T)
{
        vf acc[TILE_R][TILE_T];
        for (int r = 0; r < R; r++)
                for (int t = 0; t < T; t++)
                        acc[r][t] = vset1(0);
        const uint8_t *q = x->q + t0 * x->ldq;
        const float *d = x->d + t0 * x->ldd;
        size_t blocks = x->n / 32, b = 0;
        for (; b + 2 <= blocks; b += 2)
                step(acc, w + b * BLOCK_BYTES, row_bytes, q + b * 32, x->ldq, d + b, x->ldd, R, T, false);
        if (b < blocks)
                step(acc, w + b * BLOCK_BYTES, row_bytes, q + b * 32, x->ldq, d + b, x->ldd, R, T, true);
        tile_store(acc[0], TILE_T, y + t0 * ldy, ldy, R, T);
}

#include "kernels/x86/gemm_q8.tmpl.h"
