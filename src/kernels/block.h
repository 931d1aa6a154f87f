/* Private to this folder: the block formats of quantised weights, as ggml defines them in GGUF files.
 *
 * Each format is described once, by two functions that read a block, and that description serves the scalar
 * reference, single rows of embeddings and the packing of panels alike. */
#ifndef CAIRN_KERNELS_BLOCK_H
#define CAIRN_KERNELS_BLOCK_H

#include <stdint.h>

#define SUB 32 /* values that share an activation's scale: every block is a whole number of these */

/* `count` numbers of `bytes` bytes, `at` bytes from the start of a block, that say how codes become values.
 */
struct kern_side {
        uint8_t at, bytes, count;
};

/* Value i of a part = scale * (number of its code) - min, where the number is values[code], or code - offset
 * when there is no table. Codes are unsigned and have `bits` bits. */
struct kern_block {
        uint16_t values, bytes; /* in a block */
        uint8_t bits, offset;
        const int8_t *table; /* 16 entries, or NULL */
        /* The codes of the sub'th 32 values of a block. */
        void (*codes)(const uint8_t *block, int sub, uint8_t codes[SUB]);
        /* Scale and min of the first and the second 16 of those values. */
        void (*scales)(const uint8_t *block, int sub, float scale[2], float min[2]);
        struct kern_side side[2];
};

/* The formats, for tables and declarations. */
#define KERN_BLOCKS(X) \
        X(q4_0)        \
        X(q4_1) X(q5_0) X(q5_1) X(q8_0) X(q2_k) X(q3_k) X(q4_k) X(q5_k) X(q6_k) X(iq4_nl) X(iq4_xs) X(mxfp4)

#define DECLARE_BLOCK(name) extern const struct kern_block kern_block_##name;
KERN_BLOCKS(DECLARE_BLOCK)
#undef DECLARE_BLOCK

/* The number that a code stands for. */
static inline int kern_code_value(const struct kern_block *f, uint8_t code)
{
        return f->table ? f->table[code] : code - f->offset;
}

/* Tables of the non-linear 4-bit formats. */
extern const int8_t kern_values_iq4[16], kern_values_mxfp4[16];
#endif
