/* Quantisation to the block formats of block.c, which reads what is written here.
 *
 * A block is made in two steps. First its side numbers (scales and mins) are fitted and written; then they
 * are read back as any reader will see them, rounding included, and each value gets the code that comes
 * nearest. */
#include <errno.h>
#include <math.h>
#include <string.h>
#include "kernels/block.h"
#include "kernels/kernels.h"
#include "kernels/quantize.h"
#include "kernels/quantize_fit.h"

struct writer {
        uint32_t type;
        const struct kern_block *block;
        void (*sides)(const struct kern_block *k, const float *x, uint8_t *b);
        void (*put)(uint8_t *b, int sub, const uint8_t codes[SUB]); /* into zeroed bytes */
};

static void put_half(uint8_t *p, float v)
{
        uint16_t h = kern_f32_to_f16(v);
        memcpy(p, &h, sizeof(h));
}

static float as_half(float v)
{
        return kern_f16_to_f32(kern_f32_to_f16(v));
}

static int clamped(float v, int low, int high)
{
        return (int)fminf(fmaxf(rintf(v), (float)low), (float)high);
}

/* ---- codes -------------------------------------------------------------------------------------- */

static void put_nibbles(uint8_t *q, const uint8_t codes[SUB])
{
        for (int i = 0; i < 16; i++)
                q[i] = (uint8_t)((codes[i] & 15) | (codes[i + 16] & 15) << 4);
}

static void put_fifth_bits(uint8_t *q, const uint8_t codes[SUB])
{
        for (int i = 0; i < SUB; i++)
                q[i / 8] |= (uint8_t)((codes[i] >> 4 & 1) << (i % 8));
}

/* Codes of 4 bits behind one side number of 2 bytes, and behind two. */
static void put_q4_0(uint8_t *b, int sub, const uint8_t codes[SUB])
{
        (void)sub;
        put_nibbles(b + 2, codes);
}

static void put_q4_1(uint8_t *b, int sub, const uint8_t codes[SUB])
{
        (void)sub;
        put_nibbles(b + 4, codes);
}

static void put_q5_0(uint8_t *b, int sub, const uint8_t codes[SUB])
{
        (void)sub;
        put_nibbles(b + 6, codes);
        put_fifth_bits(b + 2, codes);
}

static void put_q5_1(uint8_t *b, int sub, const uint8_t codes[SUB])
{
        (void)sub;
        put_nibbles(b + 8, codes);
        put_fifth_bits(b + 4, codes);
}

static void put_q8_0(uint8_t *b, int sub, const uint8_t codes[SUB])
{
        (void)sub;
        for (int i = 0; i < SUB; i++)
                b[2 + i] = codes[i] ^ 0x80;
}

static void put_mxfp4(uint8_t *b, int sub, const uint8_t codes[SUB])
{
        (void)sub;
        put_nibbles(b + 1, codes);
}

static void put_iq4_xs(uint8_t *b, int sub, const uint8_t codes[SUB])
{
        put_nibbles(b + 8 + 16 * sub, codes);
}

/* `width` bits of each code, those above `from`, at a place of its own in bytes that 8 / width groups share.
 */
static void put_bits(uint8_t *q, const uint8_t codes[SUB], int from, int width, int place)
{
        for (int i = 0; i < SUB; i++)
                q[i] |= (uint8_t)((codes[i] >> from & ((1 << width) - 1)) << place);
}

static void put_q2_k(uint8_t *b, int sub, const uint8_t codes[SUB])
{
        put_bits(b + 16 + sub / 4 * 32, codes, 0, 2, 2 * (sub & 3));
}

static void put_q3_k(uint8_t *b, int sub, const uint8_t codes[SUB])
{
        put_bits(b + 32 + sub / 4 * 32, codes, 0, 2, 2 * (sub & 3));
        put_bits(b, codes, 2, 1, sub);
}

static void put_q4_k(uint8_t *b, int sub, const uint8_t codes[SUB])
{
        put_bits(b + 16 + sub / 2 * 32, codes, 0, 4, 4 * (sub & 1));
}

static void put_q5_k(uint8_t *b, int sub, const uint8_t codes[SUB])
{
        put_bits(b + 48 + sub / 2 * 32, codes, 0, 4, 4 * (sub & 1));
        put_bits(b + 16, codes, 4, 1, sub);
}

static void put_q6_k(uint8_t *b, int sub, const uint8_t codes[SUB])
{
        put_bits(b + sub / 4 * 64 + (sub & 1) * 32, codes, 0, 4, (sub & 2) * 2);
        put_bits(b + 128 + sub / 4 * 32, codes, 4, 2, 2 * (sub & 3));
}

/* ---- side numbers of blocks of 32 --------------------------------------------------------------- */

/* Codes are symmetric about `offset`. */
static void sides_symmetric(const struct kern_block *k, const float *x, uint8_t *b)
{
        put_half(b, fit_symmetric(x, SUB, k->offset));
}

/* 255 codes are so many that the plain scale is the best. */
static void sides_q8_0(const struct kern_block *k, const float *x, uint8_t *b)
{
        (void)k;
        float max = 0;
        for (int i = 0; i < SUB; i++)
                max = fmaxf(max, fabsf(x[i]));
        put_half(b, max / 127);
}

static void sides_affine(const struct kern_block *k, const float *x, uint8_t *b)
{
        /* the min of these formats is added and may have either sign: shifted, the fit does not see it */
        float low = x[0], scale, min, shifted[SUB];
        for (int i = 1; i < SUB; i++)
                low = fminf(low, x[i]);
        for (int i = 0; i < SUB; i++)
                shifted[i] = x[i] - fmaxf(low, 0);
        fit_affine(shifted, SUB, (1 << k->bits) - 1, &scale, &min);
        put_half(b, scale);
        put_half(b + 2, fmaxf(low, 0) - min);
}

static void sides_iq4_nl(const struct kern_block *k, const float *x, uint8_t *b)
{
        put_half(b, fit_table(x, SUB, k->table));
}

static float error_of(const struct kern_block *k, const float *x, float scale)
{
        float sum = 0;
        for (int i = 0; i < SUB; i++) {
                float least = INFINITY;
                for (int c = 0; c < 16; c++)
                        least = fminf(least, fabsf(x[i] - scale * (float)k->table[c]));
                sum += least * least;
        }
        return sum;
}

/* A power of two: of the one whose largest code just reaches the largest value, and its neighbours, the best.
 */
static void sides_mxfp4(const struct kern_block *k, const float *x, uint8_t *b)
{
        float max = 0, best = INFINITY;
        for (int i = 0; i < SUB; i++)
                max = fmaxf(max, fabsf(x[i]));
        if (max == 0)
                return;
        int base = (int)floorf(log2f(max)) - 2 + 127;
        for (int e = base - 1; e <= base + 1; e++) {
                int kept = e < 0 ? 0 : e > 254 ? 254 : e;
                float error = error_of(k, x, ldexpf(0.5f, kept - 127));
                if (error < best) {
                        best = error;
                        b[0] = (uint8_t)kept;
                }
        }
}

/* ---- side numbers of superblocks ---------------------------------------------------------------- */

/* Upper bound of groups that share a scale in a superblock. */
#define GROUPS 16

/* The factor that lets the largest of the scales be the integer `top` (negative: scales keep their signs),
 * and the integers of all. */
static float share_scales(const float *scale, int groups, int top, int low, int high, int *code)
{
        float max = 0;
        for (int g = 0; g < groups; g++)
                if (fabsf(scale[g]) > fabsf(max))
                        max = scale[g];
        float d = as_half(max / (float)top);
        for (int g = 0; g < groups; g++)
                code[g] = d == 0 ? 0 : clamped(scale[g] / d, low, high);
        return d;
}

static void fit_superblock(const struct kern_block *k, const float *x, int groups, float *scale, float *min)
{
        int n = k->values / groups;
        for (int g = 0; g < groups; g++)
                fit_affine(x + g * n, n, (1 << k->bits) - 1, &scale[g], &min[g]);
}

static void sides_q2_k(const struct kern_block *k, const float *x, uint8_t *b)
{
        float scale[GROUPS], min[GROUPS];
        int sc[GROUPS], m[GROUPS];
        fit_superblock(k, x, 16, scale, min);
        put_half(b + 80, share_scales(scale, 16, 15, 0, 15, sc));
        put_half(b + 82, share_scales(min, 16, 15, 0, 15, m));
        for (int g = 0; g < 16; g++)
                b[g] = (uint8_t)(sc[g] | m[g] << 4);
}

static void sides_q3_k(const struct kern_block *k, const float *x, uint8_t *b)
{
        float scale[GROUPS];
        int sc[GROUPS];
        for (int g = 0; g < 16; g++)
                scale[g] = fit_symmetric(x + 16 * g, 16, k->offset);
        put_half(b + 108, share_scales(scale, 16, -32, -32, 31, sc));
        for (int g = 0; g < 16; g++) {
                int code = sc[g] + 32;
                b[96 + g % 8] |= (uint8_t)((code & 15) << (4 * (g / 8)));
                b[104 + g % 4] |= (uint8_t)(code >> 4 << (2 * (g / 4)));
        }
}

/* Q4_K and Q5_K. */
static void sides_q4_k(const struct kern_block *k, const float *x, uint8_t *b)
{
        float scale[GROUPS], min[GROUPS];
        int sc[GROUPS], m[GROUPS];
        fit_superblock(k, x, 8, scale, min);
        put_half(b, share_scales(scale, 8, 63, 0, 63, sc));
        put_half(b + 2, share_scales(min, 8, 63, 0, 63, m));
        uint8_t *s = b + 4;
        for (int g = 0; g < 4; g++) {
                s[g] = (uint8_t)(sc[g] | sc[g + 4] >> 4 << 6);
                s[g + 4] = (uint8_t)(m[g] | m[g + 4] >> 4 << 6);
                s[g + 8] = (uint8_t)((sc[g + 4] & 15) | (m[g + 4] & 15) << 4);
        }
}

static void sides_q6_k(const struct kern_block *k, const float *x, uint8_t *b)
{
        float scale[GROUPS];
        int sc[GROUPS];
        for (int g = 0; g < 16; g++)
                scale[g] = fit_symmetric(x + 16 * g, 16, k->offset);
        put_half(b + 208, share_scales(scale, 16, -128, -128, 127, sc));
        for (int g = 0; g < 16; g++)
                b[192 + g] = (uint8_t)(int8_t)sc[g];
}

static void sides_iq4_xs(const struct kern_block *k, const float *x, uint8_t *b)
{
        float scale[GROUPS];
        int sc[GROUPS];
        for (int g = 0; g < 8; g++)
                scale[g] = fit_table(x + SUB * g, SUB, k->table);
        put_half(b, share_scales(scale, 8, -32, -32, 31, sc));
        for (int g = 0; g < 8; g++) {
                int code = sc[g] + 32;
                b[2 + g / 4] |= (uint8_t)(code >> 4 << (2 * (g % 4)));
                b[4 + g / 2] |= (uint8_t)((code & 15) << (4 * (g & 1)));
        }
}

/* ---- all together ------------------------------------------------------------------------------- */

static const struct writer writers[] = {
        { 2, &kern_block_q4_0, sides_symmetric, put_q4_0 },
        { 3, &kern_block_q4_1, sides_affine, put_q4_1 },
        { 6, &kern_block_q5_0, sides_symmetric, put_q5_0 },
        { 7, &kern_block_q5_1, sides_affine, put_q5_1 },
        { 8, &kern_block_q8_0, sides_q8_0, put_q8_0 },
        { 10, &kern_block_q2_k, sides_q2_k, put_q2_k },
        { 11, &kern_block_q3_k, sides_q3_k, put_q3_k },
        { 12, &kern_block_q4_k, sides_q4_k, put_q4_k },
        { 13, &kern_block_q5_k, sides_q4_k, put_q5_k },
        { 14, &kern_block_q6_k, sides_q6_k, put_q6_k },
        { 20, &kern_block_iq4_nl, sides_iq4_nl, put_q4_0 },
        { 23, &kern_block_iq4_xs, sides_iq4_xs, put_iq4_xs },
        { 39, &kern_block_mxfp4, sides_mxfp4, put_mxfp4 },
};

static const struct writer *writer_of(uint32_t type)
{
        for (size_t i = 0; i < sizeof(writers) / sizeof(writers[0]); i++)
                if (writers[i].type == type)
                        return &writers[i];
        return NULL;
}

static uint8_t code_of(const struct kern_block *k, float v, float scale, float min)
{
        if (scale == 0)
                return k->offset;
        float y = (v + min) / scale;
        if (!k->table)
                return (uint8_t)(clamped(y, -k->offset, (1 << k->bits) - 1 - k->offset) + k->offset);
        int best = 0;
        for (int c = 1; c < 16; c++)
                if (fabsf(y - (float)k->table[c]) < fabsf(y - (float)k->table[best]))
                        best = c;
        return (uint8_t)best;
}

/* 0, or -ERANGE: the values are so large that a scale is. */
static int write_block(const struct writer *w, const float *x, uint8_t *b)
{
        const struct kern_block *k = w->block;
        memset(b, 0, k->bytes);
        w->sides(k, x, b);
        for (int sub = 0; sub < k->values / SUB; sub++) {
                float scale[2], min[2];
                uint8_t codes[SUB];
                k->scales(b, sub, scale, min);
                if (!isfinite(scale[0] + scale[1] + min[0] + min[1]))
                        return -ERANGE;
                for (int i = 0; i < SUB; i++)
                        codes[i] = code_of(k, x[SUB * sub + i], scale[i / 16], min[i / 16]);
                w->put(b, sub, codes);
        }
        return 0;
}

static void write_floats(uint32_t type, const float *x, size_t n, uint8_t *dst)
{
        for (size_t i = 0; i < n; i++) {
                uint32_t bits;
                uint16_t half = kern_f32_to_f16(x[i]);
                memcpy(&bits, &x[i], sizeof(bits));
                uint16_t brain = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
                if (type == 0)
                        memcpy(dst + 4 * i, &bits, sizeof(bits));
                else
                        memcpy(dst + 2 * i, type == 1 ? &half : &brain, sizeof(half));
        }
}

static bool is_float(uint32_t type)
{
        return type == 0 || type == 1 || type == 30;
}

bool kern_can_quantize(uint32_t type)
{
        return is_float(type) || writer_of(type);
}

int kern_quantize(uint32_t type, const float *x, size_t n, void *dst, size_t *ret_bad)
{
        const struct writer *w = writer_of(type);
        if (!w && !is_float(type))
                return -EINVAL;
        for (size_t i = 0; i < n; i++)
                if (!isfinite(x[i])) {
                        if (ret_bad)
                                *ret_bad = i;
                        return -EINVAL;
                }
        if (!w) {
                write_floats(type, x, n, dst);
                return 0;
        }
        if (n % w->block->values)
                return -EINVAL;
        int rc = 0;
        for (size_t i = 0; !rc && i < n / w->block->values; i++)
                rc = write_block(w, x + i * w->block->values, (uint8_t *)dst + i * w->block->bytes);
        return rc;
}
