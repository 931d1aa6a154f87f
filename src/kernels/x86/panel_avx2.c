/* Quantised weights with vpmaddubsw, which adds two products of an unsigned and a signed byte to 16 bits.
 *
 * Codes of n bits keep their values, so that 2^(8-n) / 2 of those sums fit 16 bits (two times 127 times
 * the largest code each) before they are widened; codes of 8 bits are signed numbers here, whose sign
 * moves to the activation first: |w| <= 128 and |q| <= 127, so a pair stays below 2^15. */
#include "kernels/x86/vec_avx2.h"

typedef __m256i vint;
typedef __m128i vrow;
#define TOP false
#define TILE_R 2
#define TILE_T 2
#define CHUNK 32
#define MXFP4_DEPTH 5
#define TILE_KINDS(X)            \
        X(tiles_4, 4, 1, false)  \
        X(tiles_4m, 4, 1, true)  \
        X(tiles_5, 5, 1, false)  \
        X(tiles_5m, 5, 1, true)  \
        X(tiles_8, 8, 1, false)  \
        X(tiles_2hm, 2, 2, true) \
        X(tiles_3h, 3, 2, false) \
        X(tiles_6h, 6, 2, false)

static inline vrow row_load(const uint8_t *p)
{
        return _mm_loadl_epi64((const void *)p);
}
static inline vint vint_set1(int32_t v)
{
        return _mm256_set1_epi32(v);
}
static inline vint vint_u8(vrow r)
{
        return _mm256_cvtepu8_epi32(r);
}
static inline vint vint_i8(vrow r)
{
        return _mm256_cvtepi8_epi32(r);
}
static inline vint vint_u16(vhalf h)
{
        return _mm256_cvtepu16_epi32(h);
}
static inline vf vint_float(vint v)
{
        return _mm256_cvtepi32_ps(v);
}
static inline vf vint_as_float(vint v)
{
        return _mm256_castsi256_ps(v);
}
static inline vint vint_sub(vint a, vint b)
{
        return _mm256_sub_epi32(a, b);
}
static inline vint vint_and(vint a, vint b)
{
        return _mm256_and_si256(a, b);
}
static inline vint vint_or(vint a, vint b)
{
        return _mm256_or_si256(a, b);
}
static inline vint vint_max(vint a, vint b)
{
        return _mm256_max_epi32(a, b);
}
static inline vint vint_sll(vint v, int n)
{
        return _mm256_slli_epi32(v, n);
}
static inline vint vint_srl(vint v, int n)
{
        return _mm256_srli_epi32(v, n);
}

/* ---- unpacking ------------------------------------------------------------------------------------- */

#define SHIFT inline __attribute__((always_inline))

static inline __m256i load(const uint8_t *p)
{
        return _mm256_loadu_si256((const void *)p);
}
static inline void put(uint8_t *w, int j, __m256i v)
{
        _mm256_store_si256((void *)(w + 32 * j), v);
}
/* The bits of the mask after a shift to the left (to the right when negative).
 * */
static SHIFT __m256i bits(__m256i v, const int left, const int mask)
{
        v = left >= 0 ? _mm256_slli_epi16(v, left) : _mm256_srli_epi16(v, -left);
        return _mm256_and_si256(v, _mm256_set1_epi8((char)mask));
}

static SHIFT void unpack_8(const uint8_t *codes, uint8_t *w)
{
        for (int j = 0; j < 8; j++)
                put(w, j, _mm256_xor_si256(load(codes + 32 * j), _mm256_set1_epi8((char)0x80)));
}

static SHIFT void unpack_4(const uint8_t *codes, uint8_t *w)
{
        for (int j = 0; j < 4; j++) {
                __m256i v = load(codes + 32 * j);
                put(w, j, bits(v, 0, 15));
                put(w, j + 4, bits(v, -4, 15));
        }
}

static SHIFT void unpack_5(const uint8_t *codes, uint8_t *w)
{
        __m256i top = load(codes + 128);
        for (int j = 0; j < 4; j++) {
                __m256i v = load(codes + 32 * j);
                put(w, j, _mm256_or_si256(bits(v, 0, 15), bits(top, 4 - j, 16)));
                put(w, j + 4, _mm256_or_si256(bits(v, -4, 15), bits(top, -j, 16)));
        }
}

static SHIFT void unpack_6(const uint8_t *codes, uint8_t *w)
{
        __m256i top0 = load(codes + 128), top1 = load(codes + 160);
        for (int j = 0; j < 4; j++) {
                __m256i v = load(codes + 32 * j);
                put(w, j, _mm256_or_si256(bits(v, 0, 15), bits(top0, 4 - 2 * j, 0x30)));
                put(w, j + 4, _mm256_or_si256(bits(v, -4, 15), bits(top1, 4 - 2 * j, 0x30)));
        }
}

static SHIFT void unpack_2(const uint8_t *codes, uint8_t *w)
{
        for (int j = 0; j < 8; j++)
                put(w, j, bits(load(codes + 32 * (j / 4)), -2 * (j % 4), 3));
}

static SHIFT void unpack_3(const uint8_t *codes, uint8_t *w)
{
        __m256i top = load(codes + 64);
        for (int j = 0; j < 8; j++) {
                __m256i low = bits(load(codes + 32 * (j / 4)), -2 * (j % 4), 3);
                put(w, j, _mm256_or_si256(low, bits(top, 2 - j, 4)));
        }
}

static SHIFT void unpack_table(const uint8_t *codes, uint8_t *w, const int8_t *values, int offset)
{
        __m256i table = _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)values));
        table = _mm256_add_epi8(table, _mm256_set1_epi8((char)offset));
        for (int j = 0; j < 4; j++) {
                __m256i v = load(codes + 32 * j);
                put(w, j, _mm256_shuffle_epi8(table, bits(v, 0, 15)));
                put(w, j + 4, _mm256_shuffle_epi8(table, bits(v, -4, 15)));
        }
}

/* ---- products -------------------------------------------------------------------------------------- */

#include "kernels/block.h"
#include "kernels/x86/panel.h"

static SHIFT void unpack_iq4(const uint8_t *codes, uint8_t *w)
{
        unpack_table(codes, w, kern_values_iq4, 0);
}

/* From -12 .. 12 to unsigned numbers of 5 bits. */
static SHIFT void unpack_mxfp4(const uint8_t *codes, uint8_t *w)
{
        unpack_table(codes, w, kern_values_mxfp4, 16);
}

/* Vectors [from, to) of the weights by T tokens, in 16 bits, widened and added to sum. */
static SHIFT void add_products(__m256i *sum, const struct operands w, const uint8_t *q, size_t ldq, int from,
                               int to, const int R, const int T, const bool is_signed)
{
        const __m256i ones = _mm256_set1_epi16(1);
        __m256i pairs[TILE_R * TILE_T];
#pragma GCC unroll 8
        for (int j = from; j < to; j++) {
#pragma GCC unroll 8
                for (int t = 0; t < T; t++) {
                        __m256i quad = _mm256_set1_epi32(act_quad(q + (size_t)t * ldq + 4 * j));
#pragma GCC unroll 4
                        for (int r = 0; r < R; r++) {
                                __m256i wv = _mm256_load_si256(
                                        (const void *)(w.w + (size_t)r * w.next_w + 32 * j));
                                __m256i p = is_signed ? _mm256_maddubs_epi16(_mm256_abs_epi8(wv),
                                                                             _mm256_sign_epi8(quad, wv))
                                                      : _mm256_maddubs_epi16(wv, quad);
                                __m256i *at = &pairs[r * T + t];
                                *at = j == from ? p : _mm256_add_epi16(*at, p);
                                /* In this order: others need more registers than there are. */
                                __asm__("" : "+x"(*at));
                        }
                }
        }
#pragma GCC unroll 16
        for (int i = 0; i < R * T; i++)
                sum[i] = _mm256_add_epi32(sum[i], _mm256_madd_epi16(pairs[i], ones));
}

static SHIFT void step(vf *acc, const struct operands w, const uint8_t *q, size_t ldq, const float *d,
                       size_t ldd, const int R, const int T, const int depth, const int halves,
                       const bool has_min)
{
        const int fit = depth <= 4 ? 8 : depth == 5 ? 4 : depth == 6 ? 2 : 1; /* vectors that 16 bits hold */
        const int per = 8 / halves, group = fit < per ? fit : per;
#pragma GCC unroll 2
        for (int h = 0; h < halves; h++) {
                __m256i sum[TILE_R * TILE_T];
                const int word = halves == 1 ? ACT_SUM : ACT_HALVES + h;
#pragma GCC unroll 16
                for (int i = 0; i < R * T; i++) {
                        __m256i start = _mm256_set1_epi32(act_word(d + (size_t)(i % T) * ldd, word));
                        sum[i] = has_min || depth == 8 ? _mm256_setzero_si256()
                                                       : _mm256_srai_epi32(start, 8 - depth);
                }
#pragma GCC unroll 8
                for (int j = h * per; j < h * per + per; j += group)
                        add_products(sum, w, q, ldq, j, j + group, R, T, depth == 8);
#pragma GCC unroll 4
                for (int r = 0; r < R; r++) {
                        vf s = vload(w.scale + (size_t)r * w.next_scale + h * VL);
                        vf m = has_min ? vload(w.min + (size_t)r * w.next_scale + h * VL) : s;
#pragma GCC unroll 8
                        for (int t = 0; t < T; t++) {
                                const float *dt = d + (size_t)t * ldd;
                                vf v = vmul(_mm256_cvtepi32_ps(sum[r * T + t]), s);
                                if (has_min)
                                        v = vfma(m, _mm256_cvtepi32_ps(_mm256_set1_epi32(act_word(dt, word))),
                                                 v);
                                acc[r * T + t] = vfma(v, vset1(dt[0]), acc[r * T + t]);
                        }
                }
        }
}

#include "kernels/x86/panel.tmpl.h"

void kern_quant_q8_avx2(const float *x, size_t n, uint8_t *q, float *d)
{
        const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
        for (size_t b = 0; b < n; b += SUB, d += ACT_WORDS) {
                vf v[4], max = vset1(0);
                for (int i = 0; i < 4; i++) {
                        v[i] = vload(x + b + i * 8);
                        max = vmax(max, vabs(v[i]));
                }
                float top = vmaxof(max);
                vf inv = vset1(top > 1e-35f ? 127.0f / top : 0);
                __m256i w[4];
                for (int i = 0; i < 4; i++)
                        w[i] = _mm256_cvtps_epi32(vmul(v[i], inv));
                __m256i lo = _mm256_packs_epi32(w[0], w[1]), hi = _mm256_packs_epi32(w[2], w[3]);
                __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(lo, hi), order);
                _mm256_storeu_si256((void *)(q + b), bytes);
                /* Sums of four, then of 16: the halves stay apart. */
                __m256i s = _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), bytes),
                                              _mm256_set1_epi16(1));
                s = _mm256_add_epi32(s, _mm256_shuffle_epi32(s, 0x4e));
                s = _mm256_slli_epi32(_mm256_add_epi32(s, _mm256_shuffle_epi32(s, 0xb1)), 7);
                int32_t first = -_mm256_extract_epi32(s, 0), second = -_mm256_extract_epi32(s, 4);
                int32_t words[3] = { first + second, first, second };
                d[0] = top / 127.0f;
                memcpy(d + 1, words, sizeof(words));
        }
}
