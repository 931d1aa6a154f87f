/* The weight types. A new one is a row here, a format in block.c and its unpacking in x86. */
#include "kernels/variants.h"

#if KERN_X86
#define GEMM(type)                                                                         \
        {                                                                                  \
                kern_gemm_##type##_ref, kern_gemm_##type##_avx2, kern_gemm_##type##_avx512 \
        }
#else
#define GEMM(type)                                 \
        {                                          \
                kern_gemm_##type##_ref, NULL, NULL \
        }
#endif

/* Rows of a panel: the 32-bit lanes of a vector. */
#define PANELS           \
        {                \
                1, 8, 16 \
        }
#define ROWS            \
        {               \
                1, 1, 1 \
        }

#define FLOATS(id, name, bytes, type)                                                         \
        {                                                                                     \
                id, name, 1, bytes, bytes, false, NULL, kern_dequant_##type, GEMM(type), ROWS \
        }
#define BLOCKS(id, name, values, bytes, type)                                                          \
        {                                                                                              \
                id, name, values, bytes, 1, true, &kern_block_##type, kern_dequant_##type, GEMM(type), \
                        PANELS                                                                         \
        }

static const struct kern_type types[] = {
        FLOATS(0, "F32", 4, f32),
        FLOATS(1, "F16", 2, f16),
        BLOCKS(2, "Q4_0", 32, 18, q4_0),
        BLOCKS(3, "Q4_1", 32, 20, q4_1),
        BLOCKS(6, "Q5_0", 32, 22, q5_0),
        BLOCKS(7, "Q5_1", 32, 24, q5_1),
        BLOCKS(8, "Q8_0", 32, 34, q8_0),
        BLOCKS(10, "Q2_K", 256, 84, q2_k),
        BLOCKS(11, "Q3_K", 256, 110, q3_k),
        BLOCKS(12, "Q4_K", 256, 144, q4_k),
        BLOCKS(13, "Q5_K", 256, 176, q5_k),
        BLOCKS(14, "Q6_K", 256, 210, q6_k),
        BLOCKS(20, "IQ4_NL", 32, 18, iq4_nl),
        BLOCKS(23, "IQ4_XS", 256, 136, iq4_xs),
        FLOATS(30, "BF16", 2, bf16),
        BLOCKS(39, "MXFP4", 32, 17, mxfp4),
};

const struct kern_type *kern_type_at(size_t i)
{
        return i < sizeof(types) / sizeof(types[0]) ? &types[i] : NULL;
}

const struct kern_type *kern_type_by_id(uint32_t id)
{
        for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
                if (types[i].id == id)
                        return &types[i];
        return NULL;
}
