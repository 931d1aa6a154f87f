/* The block formats: where the codes lie in a block, and what they are multiplied with. */
#include <string.h>
#include "kernels/block.h"
#include "kernels/kernels.h"

const int8_t kern_values_iq4[16] = {
        -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113
};
/* E2M1 floats (OCP Microscaling Formats 1.0), doubled to be integers. */
const int8_t kern_values_mxfp4[16] = { 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12 };

static float half_at(const uint8_t *p)
{
        uint16_t h;
        memcpy(&h, p, sizeof(h));
        return kern_f16_to_f32(h);
}

static void both(float scale[2], float min[2], float s, float m)
{
        scale[0] = scale[1] = s;
        min[0] = min[1] = m;
}

/* ---- blocks of 32 ------------------------------------------------------------------------------- */

/* 16 bytes: low nibbles are the first 16 values, high nibbles the others. */
static void nibbles(const uint8_t *q, uint8_t codes[SUB])
{
        for (int i = 0; i < 16; i++) {
                codes[i] = q[i] & 15;
                codes[i + 16] = q[i] >> 4;
        }
}

/* A fifth bit for each of 32 values. */
static void fifth_bits(const uint8_t *bits, uint8_t codes[SUB])
{
        uint32_t b;
        memcpy(&b, bits, sizeof(b));
        for (int i = 0; i < SUB; i++)
                codes[i] |= (uint8_t)((b >> i & 1) << 4);
}

static void codes_q4_0(const uint8_t *b, int sub, uint8_t codes[SUB])
{
        (void)sub;
        nibbles(b + 2, codes);
}

static void codes_q4_1(const uint8_t *b, int sub, uint8_t codes[SUB])
{
        (void)sub;
        nibbles(b + 4, codes);
}

static void codes_q5_0(const uint8_t *b, int sub, uint8_t codes[SUB])
{
        (void)sub;
        nibbles(b + 6, codes);
        fifth_bits(b + 2, codes);
}

static void codes_q5_1(const uint8_t *b, int sub, uint8_t codes[SUB])
{
        (void)sub;
        nibbles(b + 8, codes);
        fifth_bits(b + 4, codes);
}

static void codes_q8_0(const uint8_t *b, int sub, uint8_t codes[SUB])
{
        (void)sub;
        for (int i = 0; i < SUB; i++)
                codes[i] = b[2 + i] ^ 0x80;
}

static void codes_mxfp4(const uint8_t *b, int sub, uint8_t codes[SUB])
{
        (void)sub;
        nibbles(b + 1, codes);
}

static void scales_d(const uint8_t *b, int sub, float scale[2], float min[2])
{
        (void)sub;
        both(scale, min, half_at(b), 0);
}

static void scales_dm(const uint8_t *b, int sub, float scale[2], float min[2])
{
        (void)sub;
        both(scale, min, half_at(b), -half_at(b + 2));
}

/* The exponent alone, with the bias of 127; halved because the table is doubled. */
static void scales_mxfp4(const uint8_t *b, int sub, float scale[2], float min[2])
{
        (void)sub;
        uint32_t bits = b[0] < 2 ? 0x200000u << b[0] : (uint32_t)(b[0] - 1) << 23;
        float f;
        memcpy(&f, &bits, sizeof(f));
        both(scale, min, f, 0);
}

/* ---- superblocks of 256 ------------------------------------------------------------------------- */

/* 2 bits of each value: four groups of 32 share 32 bytes. */
static void pairs_of_bits(const uint8_t *q, int sub, uint8_t codes[SUB])
{
        for (int i = 0; i < SUB; i++)
                codes[i] = q[sub / 4 * 32 + i] >> (2 * (sub & 3)) & 3;
}

static void codes_q2_k(const uint8_t *b, int sub, uint8_t codes[SUB])
{
        pairs_of_bits(b + 16, sub, codes);
}

static void codes_q3_k(const uint8_t *b, int sub, uint8_t codes[SUB])
{
        pairs_of_bits(b + 32, sub, codes);
        for (int i = 0; i < SUB; i++)
                codes[i] |= (uint8_t)((b[i] >> sub & 1) << 2);
}

/* Groups of 64 share 32 bytes: low nibbles first. */
static void nibbles_k(const uint8_t *q, int sub, uint8_t codes[SUB])
{
        for (int i = 0; i < SUB; i++)
                codes[i] = q[sub / 2 * 32 + i] >> (4 * (sub & 1)) & 15;
}

static void codes_q4_k(const uint8_t *b, int sub, uint8_t codes[SUB])
{
        nibbles_k(b + 16, sub, codes);
}

static void codes_q5_k(const uint8_t *b, int sub, uint8_t codes[SUB])
{
        nibbles_k(b + 48, sub, codes);
        for (int i = 0; i < SUB; i++)
                codes[i] |= (uint8_t)((b[16 + i] >> sub & 1) << 4);
}

/* Groups of 128 share 64 bytes of nibbles and 32 bytes of upper pairs. */
static void codes_q6_k(const uint8_t *b, int sub, uint8_t codes[SUB])
{
        const uint8_t *low = b + sub / 4 * 64 + (sub & 1) * 32, *high = b + 128 + sub / 4 * 32;
        int nibble = (sub & 2) * 2, pair = 2 * (sub & 3);
        for (int i = 0; i < SUB; i++)
                codes[i] = (uint8_t)((low[i] >> nibble & 15) | (high[i] >> pair & 3) << 4);
}

static void codes_iq4_xs(const uint8_t *b, int sub, uint8_t codes[SUB])
{
        nibbles(b + 8 + 16 * sub, codes);
}

static void scales_q2_k(const uint8_t *b, int sub, float scale[2], float min[2])
{
        float d = half_at(b + 80), m = half_at(b + 82);
        for (int h = 0; h < 2; h++) {
                scale[h] = d * (float)(b[2 * sub + h] & 15);
                min[h] = m * (float)(b[2 * sub + h] >> 4);
        }
}

/* 16 scales of 6 bits in 12 bytes: 8 bytes of nibbles, then the upper pairs. */
static void scales_q3_k(const uint8_t *b, int sub, float scale[2], float min[2])
{
        const uint8_t *s = b + 96;
        float d = half_at(b + 108);
        for (int h = 0; h < 2; h++) {
                int i = 2 * sub + h, low = s[i % 8] >> (4 * (i / 8)) & 15,
                    high = s[8 + i % 4] >> (2 * (i / 4)) & 3;
                scale[h] = d * (float)((low | high << 4) - 32);
                min[h] = 0;
        }
}

/* 8 scales and 8 mins of 6 bits in 12 bytes: those of the last four have their upper pairs with the first. */
static void scales_q4_k(const uint8_t *b, int sub, float scale[2], float min[2])
{
        const uint8_t *s = b + 4;
        int sc, m;
        if (sub < 4) {
                sc = s[sub] & 63;
                m = s[sub + 4] & 63;
        } else {
                sc = (s[sub + 4] & 15) | s[sub - 4] >> 6 << 4;
                m = s[sub + 4] >> 4 | s[sub] >> 6 << 4;
        }
        both(scale, min, half_at(b) * (float)sc, half_at(b + 2) * (float)m);
}

static void scales_q6_k(const uint8_t *b, int sub, float scale[2], float min[2])
{
        float d = half_at(b + 208);
        for (int h = 0; h < 2; h++) {
                scale[h] = d * (float)(int8_t)b[192 + 2 * sub + h];
                min[h] = 0;
        }
}

static void scales_iq4_xs(const uint8_t *b, int sub, float scale[2], float min[2])
{
        int high = (b[2] | b[3] << 8) >> (2 * sub) & 3, low = b[4 + sub / 2] >> (4 * (sub & 1)) & 15;
        both(scale, min, half_at(b) * (float)((low | high << 4) - 32), 0);
}

/* values, bytes, bits, offset, table, codes, scales, side */
const struct kern_block kern_block_q4_0 = { 32, 18, 4, 8, NULL, codes_q4_0, scales_d, { { 0, 2, 1 } } };
const struct kern_block kern_block_q4_1 = { 32, 20, 4, 0, NULL, codes_q4_1, scales_dm, { { 0, 2, 2 } } };
const struct kern_block kern_block_q5_0 = { 32, 22, 5, 16, NULL, codes_q5_0, scales_d, { { 0, 2, 1 } } };
const struct kern_block kern_block_q5_1 = { 32, 24, 5, 0, NULL, codes_q5_1, scales_dm, { { 0, 2, 2 } } };
const struct kern_block kern_block_q8_0 = { 32, 34, 8, 128, NULL, codes_q8_0, scales_d, { { 0, 2, 1 } } };
const struct kern_block kern_block_iq4_nl = {
        32, 18, 4, 0, kern_values_iq4, codes_q4_0, scales_d, { { 0, 2, 1 } }
};
const struct kern_block kern_block_mxfp4 = {
        32, 17, 4, 0, kern_values_mxfp4, codes_mxfp4, scales_mxfp4, { { 0, 1, 1 } }
};
const struct kern_block kern_block_q2_k = { 256,  84,         2,           0,
                                            NULL, codes_q2_k, scales_q2_k, { { 80, 2, 2 }, { 0, 1, 16 } } };
const struct kern_block kern_block_q3_k = { 256,  110,        3,           4,
                                            NULL, codes_q3_k, scales_q3_k, { { 108, 2, 1 }, { 96, 1, 12 } } };
const struct kern_block kern_block_q4_k = { 256,  144,        4,           0,
                                            NULL, codes_q4_k, scales_q4_k, { { 0, 2, 2 }, { 4, 1, 12 } } };
const struct kern_block kern_block_q5_k = { 256,  176,        5,           0,
                                            NULL, codes_q5_k, scales_q4_k, { { 0, 2, 2 }, { 4, 1, 12 } } };
const struct kern_block kern_block_q6_k = {
        256, 210, 6, 32, NULL, codes_q6_k, scales_q6_k, { { 208, 2, 1 }, { 192, 1, 16 } }
};
const struct kern_block kern_block_iq4_xs = {
        256, 136, 4, 0, kern_values_iq4, codes_iq4_xs, scales_iq4_xs, { { 0, 2, 2 }, { 4, 1, 4 } }
};
