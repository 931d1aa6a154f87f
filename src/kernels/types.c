/* The weight types. A new one is a row here and its functions. */
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

static const struct kern_type types[] = {
        /* id, name, block, bytes, align, act_q8, dequant, gemm */
        { 0, "F32", 1, 4, 4, false, kern_dequant_f32, GEMM(f32) },
        { 1, "F16", 1, 2, 2, false, kern_dequant_f16, GEMM(f16) },
        { 8, "Q8_0", 32, 34, 2, true, kern_dequant_q8_0, GEMM(q8_0) },
        { 30, "BF16", 1, 2, 2, false, kern_dequant_bf16, GEMM(bf16) },
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
