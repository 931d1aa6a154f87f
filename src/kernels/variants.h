/* Private to this folder: what each instruction set's files define. */
#ifndef CAIRN_KERNELS_VARIANTS_H
#define CAIRN_KERNELS_VARIANTS_H

#include "kernels/block.h"
#include "kernels/kernels.h"

extern const struct kern kern_ref;
kern_gemm_fn kern_gemm_f32_ref, kern_gemm_f16_ref, kern_gemm_bf16_ref;
void kern_dequant_f32(const void *src, float *dst, size_t n);
void kern_dequant_f16(const void *src, float *dst, size_t n);
void kern_dequant_bf16(const void *src, float *dst, size_t n);

#define DECLARE_REF(name)                    \
        kern_gemm_fn kern_gemm_##name##_ref; \
        void kern_dequant_##name(const void *src, float *dst, size_t n);
KERN_BLOCKS(DECLARE_REF)
#undef DECLARE_REF

#if defined(__x86_64__)
#define KERN_X86 1
extern const struct kern kern_avx2, kern_avx512;
kern_gemm_fn kern_gemm_f32_avx2, kern_gemm_f16_avx2, kern_gemm_bf16_avx2;
kern_gemm_fn kern_gemm_f32_avx512, kern_gemm_f16_avx512, kern_gemm_bf16_avx512;
void kern_quant_q8_avx2(const float *x, size_t n, uint8_t *q, float *d);
void kern_quant_q8_avx512(const float *x, size_t n, uint8_t *q, float *d);

#define DECLARE_X86(name) kern_gemm_fn kern_gemm_##name##_avx2, kern_gemm_##name##_avx512;
KERN_BLOCKS(DECLARE_X86)
#undef DECLARE_X86
#else
#define KERN_X86 0
#endif

/* How many tokens of n values to run through all rows before the next: their activations stay in L2 while
 * the weights stream by. A multiple of 12, which all tile widths divide. */
static inline size_t kern_token_block(size_t bytes_per_token)
{
        size_t n = (256u << 10) / (bytes_per_token + 1) / 12 * 12;
        return n < 12 ? 12 : n;
}

/* The part of the next rows that one of `parts` tiles brings closer, so that memory keeps working while the
 * tile multiplies. Reaching beyond the weights is harmless. */
static inline void kern_prefetch_part(const void *rows, size_t bytes, size_t part, size_t parts)
{
        const char *p = rows;
        size_t from = bytes / parts * part, to = part + 1 == parts ? bytes : bytes / parts * (part + 1);
        for (; from < to; from += 64)
                __builtin_prefetch(p + from, 0, 2);
}
#endif
