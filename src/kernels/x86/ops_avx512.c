/* The AVX-512 variant: element-wise kernels and the table. */
#include "kernels/x86/vec_avx512.h"
#include "kernels/x86/ops.tmpl.h"

const struct kern kern_avx512 = {
        .name = "avx512",
        .isa = KERN_AVX512,
        .rmsnorm = rmsnorm_avx512,
        .layernorm = layernorm_avx512,
        .add = add_avx512,
        .silu_mul = silu_mul_avx512,
        .gelu_mul = gelu_mul_avx512,
        .swiglu_clamped = swiglu_clamped_avx512,
        .gelu = gelu_avx512,
        .softcap = softcap_avx512,
        .rope = rope_avx512,
        .rope_neox = rope_neox_avx512,
        .softmax = softmax_avx512,
        .quant_q8 = kern_quant_q8_avx512,
        .to_f16 = to_f16_avx512,
        .attn_qk = attn_qk_avx512,
        .attn_pv = attn_pv_avx512,
};
