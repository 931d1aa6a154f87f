/* Products of packed quantised weights (see pack.c) by 8-bit activations. Included once per instruction
 * set, after vec_*.h, by a file that defines
 *
 *      vint, its operations  vectors of 32-bit integers
 *      vrow, row_load()      a byte for each row of a panel
 *      TOP                   whether codes are unpacked to the upper bits of their bytes
 *      TILE_R, TILE_T        panels and tokens of a tile, as the registers hold them
 *      TILE_KINDS(X)         the kinds of tiles that it tells apart: name, depth, halves, min
 *      CHUNK                 blocks of a panel that are unpacked at a time
 *      unpack_*()            from planes of bits to the 8 vectors of 32 values
 *      step()                32 values of R panels by T tokens: integer sums, then a multiply-add of floats
 *
 * One token (decoding) unpacks as it goes. Several unpack a chunk of a panel once, into the first-level
 * cache, and run all tokens over it. Both add the same numbers in the same order: for each block of 32
 * values the sum times the scale of the row (less min times the sum of the activations), times the scale
 * of the activations. */
#include <string.h>
#include "kernels/block.h"
#include "kernels/variants.h"
#include "kernels/x86/panel.h"

#define INLINE static inline __attribute__((always_inline))
#define PANEL VL                  /* rows: one a 32-bit lane */
#define BLOCK_CODES (SUB * PANEL) /* bytes of an unpacked block */
#define L2_BYTES (512u << 10)     /* of activations, used again by every panel */
#define MIN_TOKENS (16 * TILE_T)  /* that share an unpacked chunk, when there are as many */

/* The same blocks of TILE_R panels. */
struct chunk {
        _Alignas(64) uint8_t w[TILE_R][CHUNK * BLOCK_CODES];
        _Alignas(64) float scale[TILE_R][CHUNK * 2 * PANEL], min[TILE_R][CHUNK * 2 * PANEL];
};

typedef void unpack_fn(const uint8_t *codes, uint8_t *w);
typedef void side_fn(const uint8_t *side, float unit, float *scale, float *min);

/* How a type is computed. All constant at every use, so each type gets code of its own. */
struct plan {
        unpack_fn *unpack;
        side_fn *side;
        int bits;   /* of a packed code */
        int depth;  /* of an unpacked one */
        int unit;   /* blocks that one side() covers */
        int side_n; /* bytes of a row that it reads */
        int halves; /* scales of a block */
        bool min;
};

/* ---- scales ---------------------------------------------------------------------------------------- */

/* Each reads the numbers of one unit and writes a vector for each scale and min, of which `unit` and 1/128
 * are taken: the step multiplies what unpacked codes and stored sums are. */

INLINE vrow row_bits(const uint8_t *side, int i, int shift, int mask) /* row i of bytes, shifted and masked */
{
        vrow r = row_load(side + i * PANEL);
        r = shift >= 0 ? _mm_srli_epi16(r, shift) : _mm_slli_epi16(r, -shift);
        return _mm_and_si128(r, _mm_set1_epi8((char)mask));
}

INLINE vf row_f16(const uint8_t *side, int i)
{
        return vfrom_f16(vload16(side + 2 * i * PANEL));
}

INLINE vf row_float(vrow r)
{
        return vint_float(vint_u8(r));
}

INLINE void put_scale(float *scale, int i, vf v)
{
        vstore(scale + i * PANEL, v);
}

INLINE void side_d(const uint8_t *side, float unit, float *scale, float *min)
{
        (void)min;
        put_scale(scale, 0, vmul(row_f16(side, 0), vset1(unit)));
}

INLINE void side_dm(const uint8_t *side, float unit, float *scale, float *min)
{
        put_scale(scale, 0, vmul(row_f16(side, 0), vset1(unit)));
        put_scale(min, 0, vmul(row_f16(side, 1), vset1(-1.0f / 128)));
}

/* 2^(e - 128); of 0 that is a subnormal number. */
INLINE void side_mxfp4(const uint8_t *side, float unit, float *scale, float *min)
{
        (void)min;
        vint e = vint_max(vint_sll(vint_u8(row_load(side)), 23), vint_set1(0x400000));
        put_scale(scale, 0, vmul(vint_as_float(e), vset1(0.5f * unit)));
}

INLINE void side_q2_k(const uint8_t *side, float unit, float *scale, float *min)
{
        vf d = vmul(row_f16(side, 0), vset1(unit)), m = vmul(row_f16(side, 1), vset1(1.0f / 128));
        side += 4 * PANEL;
        for (int i = 0; i < 16; i++) {
                put_scale(scale, i, vmul(d, row_float(row_bits(side, i, 0, 15))));
                put_scale(min, i, vmul(m, row_float(row_bits(side, i, 4, 15))));
        }
}

INLINE void side_q3_k(const uint8_t *side, float unit, float *scale, float *min)
{
        (void)min;
        vf d = vmul(row_f16(side, 0), vset1(unit));
        side += 2 * PANEL;
        for (int i = 0; i < 16; i++) {
                vrow low = row_bits(side, i % 8, i < 8 ? 0 : 4, 15);
                vrow s = _mm_or_si128(low, row_bits(side, 8 + i % 4, i / 4 * 2 - 4, 0x30));
                put_scale(scale, i, vmul(d, vint_float(vint_sub(vint_u8(s), vint_set1(32)))));
        }
}

INLINE void side_q4_k(const uint8_t *side, float unit, float *scale, float *min)
{
        vf d = vmul(row_f16(side, 0), vset1(unit)), m = vmul(row_f16(side, 1), vset1(1.0f / 128));
        side += 4 * PANEL;
        for (int i = 0; i < 4; i++) {
                put_scale(scale, i, vmul(d, row_float(row_bits(side, i, 0, 63))));
                put_scale(min, i, vmul(m, row_float(row_bits(side, i + 4, 0, 63))));
                vrow low = _mm_or_si128(row_bits(side, i + 8, 0, 15), row_bits(side, i, 2, 0x30));
                vrow high = _mm_or_si128(row_bits(side, i + 8, 4, 15), row_bits(side, i + 4, 2, 0x30));
                put_scale(scale, i + 4, vmul(d, row_float(low)));
                put_scale(min, i + 4, vmul(m, row_float(high)));
        }
}

INLINE void side_q6_k(const uint8_t *side, float unit, float *scale, float *min)
{
        (void)min;
        vf d = vmul(row_f16(side, 0), vset1(unit));
        side += 2 * PANEL;
        for (int i = 0; i < 16; i++)
                put_scale(scale, i, vmul(d, vint_float(vint_i8(row_load(side + i * PANEL)))));
}

INLINE void side_iq4_xs(const uint8_t *side, float unit, float *scale, float *min)
{
        (void)min;
        vf d = vmul(row_f16(side, 0), vset1(unit));
        vint high = vint_u16(vload16(side + 2 * PANEL));
        side += 4 * PANEL;
        for (int i = 0; i < 8; i++) {
                vint upper = vint_sll(vint_and(vint_srl(high, 2 * i), vint_set1(3)), 4);
                vint s = vint_or(vint_u8(row_bits(side, i / 2, i % 2 * 4, 15)), upper);
                put_scale(scale, i, vmul(d, vint_float(vint_sub(s, vint_set1(32)))));
        }
}

/* ---- one token ------------------------------------------------------------------------------------- */

INLINE float code_unit(const struct plan p)
{
        return TOP ? 1.0f / (float)(1 << (8 - p.depth)) : 1.0f;
}

/* The first `rows` lanes to y. */
INLINE void store_rows(float *y, vf v, size_t rows)
{
        if (rows >= PANEL)
                vstore(y, v);
        else
                vstoren(y, v, rows);
}

INLINE void one_token(const struct plan p, const uint8_t *codes, const uint8_t *sides,
                      const struct kern_act *x, float *y, size_t rows)
{
        _Alignas(64) uint8_t w[BLOCK_CODES];
        _Alignas(64) float scale[16 * PANEL], min[16 * PANEL];
        const uint8_t *q = x->q;
        const float *d = x->d;
        vf acc[1] = { vset1(0) };
        for (size_t b = 0; b < x->n / SUB; b += (size_t)p.unit, sides += p.side_n * PANEL) {
                p.side(sides, code_unit(p), scale, min);
                __builtin_prefetch(sides + 16 * 64);
                for (int u = 0; u < p.unit; u++, codes += 4 * p.bits * PANEL, q += SUB, d += ACT_WORDS) {
                        for (int i = 0; i < 4 * p.bits * PANEL; i += 64)
                                __builtin_prefetch(codes + i + PREFETCH_BYTES);
                        p.unpack(codes, w);
                        struct operands o = { w, scale + u * p.halves * PANEL, min + u * p.halves * PANEL, 0,
                                              0 };
                        step(acc, o, q, 0, d, 0, 1, 1, p.depth, p.halves, p.min);
                }
        }
        store_rows(y, acc[0], rows);
}

/* ---- several tokens -------------------------------------------------------------------------------- */

/* What a tile works on: a chunk of some panels and where its results go. */
struct job {
        const struct chunk *c;
        const struct kern_act *x;
        float *y;
        size_t ldy, rows;
        size_t block, blocks; /* of the row: where the chunk begins, how many it has */
};

INLINE void tile(const struct job *j, size_t t0, const int R, const int T, const int depth, const int halves,
                 const bool min)
{
        const uint8_t *q = j->x->q + t0 * j->x->ldq + j->block * SUB;
        const float *d = j->x->d + t0 * j->x->ldd + j->block * ACT_WORDS;
        vf acc[TILE_R * TILE_T];
#pragma GCC unroll 16
        for (int i = 0; i < R * T; i++) {
                const float *from = j->y + (t0 + (size_t)(i % T)) * j->ldy + i / T * PANEL;
                size_t rows = j->rows - (size_t)(i / T * PANEL);
                acc[i] = !j->block ? vset1(0) : rows >= PANEL ? vload(from) : vloadn(from, rows);
        }
        for (size_t b = 0; b < j->blocks; b++, q += SUB, d += ACT_WORDS) {
                size_t at = b * (size_t)halves * PANEL;
                struct operands w = { j->c->w[0] + b * BLOCK_CODES, j->c->scale[0] + at, j->c->min[0] + at,
                                      sizeof(j->c->w[0]), CHUNK * 2 * PANEL };
                step(acc, w, q, j->x->ldq, d, j->x->ldd, R, T, depth, halves, min);
        }
#pragma GCC unroll 16
        for (int i = 0; i < R * T; i++)
                store_rows(j->y + (t0 + (size_t)(i % T)) * j->ldy + i / T * PANEL, acc[i],
                           j->rows - (size_t)(i / T * PANEL));
}

/* Tokens [t, t + n) of a tile, n <= TILE_T: each kind of step and number of tokens has code of its own. */
typedef void tile_fn(const struct job *j, size_t t, size_t n);

#define TILE_CASE(n, depth, halves, min)                           \
        case n:                                                    \
                if (n > TILE_T)                                    \
                        return;                                    \
                if (j->rows > PANEL && TILE_R > 1)                 \
                        tile(j, t, TILE_R, n, depth, halves, min); \
                else                                               \
                        tile(j, t, 1, n, depth, halves, min);      \
                return;
#define TILES(name, depth, halves, min)                                                     \
        static __attribute__((noinline)) void name(const struct job *j, size_t t, size_t n) \
        {                                                                                   \
                switch (n) {                                                                \
                        TILE_CASE(1, depth, halves, min)                                    \
                        TILE_CASE(2, depth, halves, min)                                    \
                        TILE_CASE(3, depth, halves, min)                                    \
                        TILE_CASE(4, depth, halves, min)                                    \
                        TILE_CASE(5, depth, halves, min)                                    \
                        TILE_CASE(6, depth, halves, min)                                    \
                        TILE_CASE(7, depth, halves, min)                                    \
                        TILE_CASE(8, depth, halves, min)                                    \
                }                                                                           \
        }
TILE_KINDS(TILES)

/* Where a chunk of a panel lies in the matrix. */
struct part {
        const uint8_t *codes, *sides;
        size_t blocks, code_bytes, side_bytes;
};

INLINE struct part part_at(const struct plan p, const uint8_t *panel, size_t all, size_t block)
{
        size_t blocks = all - block < CHUNK ? all - block : CHUNK, code_n = (size_t)p.bits * 4 * PANEL;
        size_t side_n = (size_t)p.side_n * PANEL, units = block / (size_t)p.unit;
        return (struct part){ panel + block * code_n, panel + all * code_n + units * side_n, blocks,
                              blocks * code_n, blocks / (size_t)p.unit * side_n };
}

/* The part becomes number i of the chunk. */
INLINE void unpack_part(const struct plan p, struct part from, struct chunk *c, size_t i)
{
        for (size_t b = 0; b < from.blocks; b += (size_t)p.unit, from.sides += p.side_n * PANEL) {
                size_t at = b * (size_t)p.halves * PANEL;
                p.side(from.sides, code_unit(p), c->scale[i] + at, c->min[i] + at);
                for (int u = 0; u < p.unit; u++, from.codes += 4 * p.bits * PANEL)
                        p.unpack(from.codes, c->w[i] + (b + (size_t)u) * BLOCK_CODES);
        }
}

/* Multiplies the chunk with tokens [t0, t1), and meanwhile asks memory for the one that comes next. */
INLINE void multiply_chunk(tile_fn *tiles, const struct job *j, const struct part *next, size_t next_panel,
                           size_t t0, size_t t1)
{
        size_t parts = (t1 - t0 + TILE_T - 1) / TILE_T;
        for (size_t t = t0, i = 0; t < t1; t += TILE_T, i++) {
                for (size_t r = 0; r < TILE_R; r++) {
                        kern_prefetch_part(next->codes + r * next_panel, next->code_bytes, i, parts);
                        kern_prefetch_part(next->sides + r * next_panel, next->side_bytes, i, parts);
                }
                tiles(j, t, t1 - t < TILE_T ? t1 - t : TILE_T);
        }
}

/* Tokens [t0, t1): their activations stay in the second-level cache while all panels pass. Sums wait in y
 * between the chunks of a row, exactly. */
INLINE void many_tokens(const struct plan p, tile_fn *tiles, const uint8_t *w, size_t row_bytes,
                        const struct kern_act *x, float *y, size_t ldy, size_t rows, size_t t0, size_t t1)
{
        struct chunk c;
        size_t blocks = x->n / SUB, panel = PANEL * row_bytes;
        for (size_t r = 0; r < rows; r += TILE_R * PANEL, w += TILE_R * panel) {
                for (size_t b = 0; b < blocks; b += CHUNK) {
                        struct part part = part_at(p, w, blocks, b);
                        struct part next = b + CHUNK < blocks ? part_at(p, w, blocks, b + CHUNK)
                                                              : part_at(p, w + TILE_R * panel, blocks, 0);
                        struct job j = { &c, x, y + r, ldy, rows - r, b, part.blocks };
                        for (size_t i = 0; i < TILE_R && r + i * PANEL < rows; i++) {
                                unpack_part(p, part, &c, i);
                                part.codes += panel;
                                part.sides += panel;
                        }
                        multiply_chunk(tiles, &j, &next, panel, t0, t1);
                }
        }
}

INLINE void gemm(const struct plan p, tile_fn *tiles, const void *w, size_t row_bytes,
                 const struct kern_act *x, float *y, size_t ldy, size_t rows, size_t nt)
{
        if (nt == 1) {
                const uint8_t *panel = w;
                size_t code_bytes = x->n / 8 * (size_t)p.bits * PANEL;
                for (size_t r = 0; r < rows; r += PANEL, panel += PANEL * row_bytes)
                        one_token(p, panel, panel + code_bytes, x, y + r, rows - r);
                return;
        }
        size_t bytes = x->ldq + x->ldd * sizeof(float), block = L2_BYTES / bytes / TILE_T * TILE_T;
        block = block < MIN_TOKENS ? MIN_TOKENS : block;
        for (size_t t = 0; t < nt; t += block)
                many_tokens(p, tiles, w, row_bytes, x, y, ldy, rows, t, nt - t < block ? nt : t + block);
}

/* type, tiles, unpack, side, bits, depth, unit, bytes of side, halves, min */
#define PANEL_TYPES(X)                                        \
        X(q4_0, tiles_4, 4, d, 4, 4, 1, 2, 1, false)          \
        X(q4_1, tiles_4m, 4, dm, 4, 4, 1, 4, 1, true)         \
        X(q5_0, tiles_5, 5, d, 5, 5, 1, 2, 1, false)          \
        X(q5_1, tiles_5m, 5, dm, 5, 5, 1, 4, 1, true)         \
        X(q8_0, tiles_8, 8, d, 8, 8, 1, 2, 1, false)          \
        X(q2_k, tiles_2hm, 2, q2_k, 2, 2, 8, 20, 2, true)     \
        X(q3_k, tiles_3h, 3, q3_k, 3, 3, 8, 14, 2, false)     \
        X(q4_k, tiles_4m, 4, q4_k, 4, 4, 8, 16, 1, true)      \
        X(q5_k, tiles_5m, 5, q4_k, 5, 5, 8, 16, 1, true)      \
        X(q6_k, tiles_6h, 6, q6_k, 6, 6, 8, 18, 2, false)     \
        X(iq4_nl, tiles_8, iq4, d, 4, 8, 1, 2, 1, false)      \
        X(iq4_xs, tiles_8, iq4, iq4_xs, 4, 8, 8, 8, 1, false) \
        X(mxfp4, tiles_5, mxfp4, mxfp4, 4, MXFP4_DEPTH, 1, 1, 1, false)

#define PANEL_GEMM(type, tiles, u, s, bits, depth, unit, side_n, halves, min)                              \
        void VSUF(kern_gemm_##type)(const void *w, size_t row_bytes, const struct kern_act *x, float *y,   \
                                    size_t ldy, size_t rows, size_t nt)                                    \
        {                                                                                                  \
                gemm((struct plan){ unpack_##u, side_##s, bits, depth, unit, side_n, halves, min }, tiles, \
                     w, row_bytes, x, y, ldy, rows, nt);                                                   \
        }
PANEL_TYPES(PANEL_GEMM)
