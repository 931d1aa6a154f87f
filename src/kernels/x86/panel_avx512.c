/* Quantised weights with VNNI: vpdpbusd adds four products of an unsigned and a signed byte to each lane.
 *
 * Codes are unpacked to the upper bits of their bytes, so that every format of n bits has the offset 128 =
 * 2^(n-1) * 2^(8-n), which saves shifts and lets one stored sum of the activations correct them all:
 * integer sums begin with it. They stay below 2^24, so the conversion to float is exact. */
#include "kernels/x86/vec_avx512.h"

typedef __m512i vint;
typedef __m128i vrow;
#define TOP true
#define TILE_R 2
#define TILE_T 6
#define CHUNK 32
#define MXFP4_DEPTH 8
/* All depths are computed alike. */
#define TILE_KINDS(X)            \
        X(tiles_8, 8, 1, false)  \
        X(tiles_8m, 8, 1, true)  \
        X(tiles_8h, 8, 2, false) \
        X(tiles_8hm, 8, 2, true)
#define tiles_4 tiles_8
#define tiles_4m tiles_8m
#define tiles_5 tiles_8
#define tiles_5m tiles_8m
#define tiles_2hm tiles_8hm
#define tiles_3h tiles_8h
#define tiles_6h tiles_8h

static inline vrow row_load(const uint8_t *p)
{
        return _mm_loadu_si128((const void *)p);
}
static inline vint vint_set1(int32_t v)
{
        return _mm512_set1_epi32(v);
}
static inline vint vint_u8(vrow r)
{
        return _mm512_cvtepu8_epi32(r);
}
static inline vint vint_i8(vrow r)
{
        return _mm512_cvtepi8_epi32(r);
}
static inline vint vint_u16(vhalf h)
{
        return _mm512_cvtepu16_epi32(h);
}
static inline vf vint_float(vint v)
{
        return _mm512_cvtepi32_ps(v);
}
static inline vf vint_as_float(vint v)
{
        return _mm512_castsi512_ps(v);
}
static inline vint vint_sub(vint a, vint b)
{
        return _mm512_sub_epi32(a, b);
}
static inline vint vint_and(vint a, vint b)
{
        return _mm512_and_si512(a, b);
}
static inline vint vint_or(vint a, vint b)
{
        return _mm512_or_si512(a, b);
}
static inline vint vint_max(vint a, vint b)
{
        return _mm512_max_epi32(a, b);
}
static inline vint vint_sll(vint v, int n)
{
        return _mm512_slli_epi32(v, (unsigned)n);
}
static inline vint vint_srl(vint v, int n)
{
        return _mm512_srli_epi32(v, (unsigned)n);
}

/* ---- unpacking ------------------------------------------------------------------------------------- */

#define SHIFT inline __attribute__((always_inline))

static inline __m512i load(const uint8_t *p)
{
        return _mm512_loadu_si512(p);
}
static inline void put(uint8_t *w, int j, __m512i v)
{
        _mm512_store_si512(w + 64 * j, v);
}
static inline __m512i mask8(__m512i v, int bits)
{
        return _mm512_and_si512(v, _mm512_set1_epi8((char)bits));
}
/* Bits may cross into the neighbouring byte: a mask follows. */
static SHIFT __m512i shift(__m512i v, const int left)
{
        return left >= 0 ? _mm512_slli_epi16(v, (unsigned)left) : _mm512_srli_epi16(v, (unsigned)-left);
}
/* a, and of b the bits of the mask. */
static inline __m512i join(__m512i a, __m512i b, int bits)
{
        return _mm512_ternarylogic_epi32(a, b, _mm512_set1_epi8((char)bits), 0xf8);
}

static SHIFT void unpack_8(const uint8_t *codes, uint8_t *w)
{
        for (int j = 0; j < 8; j++)
                put(w, j, load(codes + 64 * j));
}

static SHIFT void unpack_4(const uint8_t *codes, uint8_t *w)
{
        for (int j = 0; j < 4; j++) {
                __m512i v = load(codes + 64 * j);
                put(w, j, mask8(shift(v, 4), 0xf0));
                put(w, j + 4, mask8(v, 0xf0));
        }
}

static SHIFT void unpack_5(const uint8_t *codes, uint8_t *w)
{
        __m512i top = load(codes + 256);
        for (int j = 0; j < 4; j++) {
                __m512i v = load(codes + 64 * j);
                put(w, j, join(mask8(shift(v, 3), 0x78), shift(top, 7 - j), 0x80));
                put(w, j + 4, join(mask8(shift(v, -1), 0x78), shift(top, 3 - j), 0x80));
        }
}

static SHIFT void unpack_6(const uint8_t *codes, uint8_t *w)
{
        __m512i top0 = load(codes + 256), top1 = load(codes + 320);
        for (int j = 0; j < 4; j++) {
                __m512i v = load(codes + 64 * j);
                put(w, j, join(mask8(shift(v, 2), 0x3c), shift(top0, 6 - 2 * j), 0xc0));
                put(w, j + 4, join(mask8(shift(v, -2), 0x3c), shift(top1, 6 - 2 * j), 0xc0));
        }
}

static SHIFT void unpack_2(const uint8_t *codes, uint8_t *w)
{
        for (int j = 0; j < 8; j++)
                put(w, j, mask8(shift(load(codes + 64 * (j / 4)), 6 - 2 * (j % 4)), 0xc0));
}

static SHIFT void unpack_3(const uint8_t *codes, uint8_t *w)
{
        __m512i top = load(codes + 128);
        for (int j = 0; j < 8; j++) {
                __m512i low = mask8(shift(load(codes + 64 * (j / 4)), 5 - 2 * (j % 4)), 0x60);
                put(w, j, join(low, shift(top, 7 - j), 0x80));
        }
}

static SHIFT void unpack_table(const uint8_t *codes, uint8_t *w, const int8_t *values)
{
        __m128i v16 = _mm_xor_si128(_mm_loadu_si128((const void *)values), _mm_set1_epi8((char)0x80));
        __m512i table = _mm512_broadcast_i32x4(v16);
        for (int j = 0; j < 4; j++) {
                __m512i v = load(codes + 64 * j);
                put(w, j, _mm512_shuffle_epi8(table, mask8(v, 15)));
                put(w, j + 4, _mm512_shuffle_epi8(table, mask8(shift(v, -4), 15)));
        }
}

/* ---- products -------------------------------------------------------------------------------------- */

#include "kernels/block.h"
#include "kernels/x86/panel.h"

static SHIFT void unpack_iq4(const uint8_t *codes, uint8_t *w)
{
        unpack_table(codes, w, kern_values_iq4);
}

static SHIFT void unpack_mxfp4(const uint8_t *codes, uint8_t *w)
{
        unpack_table(codes, w, kern_values_mxfp4);
}

/* The activations are loaded into registers for all R panels. */
static SHIFT void step(vf *acc, const struct operands w, const uint8_t *q, size_t ldq, const float *d,
                       size_t ldd, const int R, const int T, const int depth, const int halves,
                       const bool has_min)
{
        (void)depth;
#pragma GCC unroll 2
        for (int h = 0; h < halves; h++) {
                __m512i sum[TILE_R * TILE_T];
                const int word = halves == 1 ? ACT_SUM : ACT_HALVES + h, per = 8 / halves;
#pragma GCC unroll 16
                for (int i = 0; i < R * T; i++)
                        sum[i] = _mm512_set1_epi32(has_min ? 0 : act_word(d + (size_t)(i % T) * ldd, word));
#pragma GCC unroll 8
                for (int j = h * per; j < h * per + per; j++) {
                        __m512i wv[TILE_R];
#pragma GCC unroll 4
                        for (int r = 0; r < R; r++)
                                wv[r] = _mm512_load_si512(w.w + (size_t)r * w.next_w + 64 * j);
#pragma GCC unroll 16
                        for (int t = 0; t < T; t++) {
                                __m512i quad = _mm512_set1_epi32(act_quad(q + (size_t)t * ldq + 4 * j));
#pragma GCC unroll 4
                                for (int r = 0; r < R; r++)
                                        sum[r * T + t] = _mm512_dpbusd_epi32(sum[r * T + t], wv[r], quad);
                        }
                }
#pragma GCC unroll 4
                for (int r = 0; r < R; r++) {
                        vf s = vload(w.scale + (size_t)r * w.next_scale + h * VL);
                        vf m = has_min ? vload(w.min + (size_t)r * w.next_scale + h * VL) : s;
#pragma GCC unroll 16
                        for (int t = 0; t < T; t++) {
                                const float *dt = d + (size_t)t * ldd;
                                vf v = vmul(_mm512_cvtepi32_ps(sum[r * T + t]), s);
                                if (has_min)
                                        v = vfma(m, _mm512_cvtepi32_ps(_mm512_set1_epi32(act_word(dt, word))),
                                                 v);
                                acc[r * T + t] = vfma(v, vset1(dt[0]), acc[r * T + t]);
                        }
                }
        }
}

#include "kernels/x86/panel.tmpl.h"

void kern_quant_q8_avx512(const float *x, size_t n, uint8_t *q, float *d)
{
        const __m256i ones = _mm256_set1_epi8(1);
        for (size_t b = 0; b < n; b += SUB, d += ACT_WORDS) {
                vf lo = vload(x + b), hi = vload(x + b + VL);
                float top = vmaxof(vmax(vabs(lo), vabs(hi)));
                vf inv = vset1(top > 1e-35f ? 127.0f / top : 0);
                __m128i l = _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(vmul(lo, inv)));
                __m128i h = _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(vmul(hi, inv)));
                __m256i both = _mm256_set_m128i(h, l);
                _mm256_storeu_si256((void *)(q + b), both);
                /* Sums of four, then of 16: the halves stay apart. */
                __m256i s = _mm256_dpbusd_epi32(_mm256_setzero_si256(), ones, both);
                s = _mm256_add_epi32(s, _mm256_shuffle_epi32(s, 0x4e));
                s = _mm256_slli_epi32(_mm256_add_epi32(s, _mm256_shuffle_epi32(s, 0xb1)), 7);
                int32_t first = -_mm256_extract_epi32(s, 0), second = -_mm256_extract_epi32(s, 4);
                int32_t words[3] = { first + second, first, second };
                d[0] = top / 127.0f;
                memcpy(d + 1, words, sizeof(words));
        }
}
