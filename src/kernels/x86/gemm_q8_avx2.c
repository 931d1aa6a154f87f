/* Q8_0 weights by 8-bit activations. Products of two signed bytes go through vpmaddubsw by moving the sign
 * of the weight to the activation: |w| <= 128 and |q| <= 127, so a pair stays below 2^15. */
#include "kernels/variants.h"
#include "kernels/x86/vec_avx2.h"
#include "kernels/x86/tile.tmpl.h"

#define BLOCK 32
#define BLOCK_BYTES 34
#define TILE_R 2
#define TILE_T 4
#define NARROW 7

static inline float block_scale(const uint8_t *w)
{
        uint16_t d;
        memcpy(&d, w, sizeof(d));
        return _cvtsh_ss(d);
}

static inline __attribute__((always_inline)) void tile(const uint8_t *w, size_t row_bytes,
                                                       const struct kern_act *x, size_t t0, float *y,
                                                       size_t ldy, const int R, const int T)
{
        const __m256i ones = _mm256_set1_epi16(1);
        vf acc[TILE_R][TILE_T];
        for (int r = 0; r < R; r++)
                for (int t = 0; t < T; t++)
                        acc[r][t] = vset1(0);
        const uint8_t *q = x->q + t0 * x->ldq;
        const float *d = x->d + t0 * x->ldd;
        for (size_t b = 0; b < x->n / BLOCK; b++) {
                for (int r = 0; r < R; r++) {
                        const uint8_t *wb = w + (size_t)r * row_bytes + b * BLOCK_BYTES;
                        __m256i wv = _mm256_loadu_si256((const void *)(wb + 2)), mag = _mm256_abs_epi8(wv);
                        float scale = block_scale(wb);
                        for (int t = 0; t < T; t++) {
                                __m256i xv = _mm256_loadu_si256(
                                        (const void *)(q + (size_t)t * x->ldq + b * BLOCK));
                                __m256i pairs = _mm256_maddubs_epi16(mag, _mm256_sign_epi8(xv, wv));
                                vf sum = _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, ones));
                                acc[r][t] = vfma(sum, vset1(scale * d[(size_t)t * x->ldd + b]), acc[r][t]);
                        }
                }
        }
        tile_store(acc[0], TILE_T, y + t0 * ldy, ldy, R, T);
}

#include "kernels/x86/gemm_q8.tmpl.h"
