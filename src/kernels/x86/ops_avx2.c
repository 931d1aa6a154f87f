/* The AVX2 variant: element-wise kernels and the table. */
#include "kernels/x86/vec_avx2.h"
#include "kernels/x86/ops.tmpl.h"

const struct kern kern_avx2 = {
        .name = "avx2",
        .isa = KERN_AVX2,
        .rmsnorm = rmsnorm_avx2,
        .layernorm = layernorm_avx2,
        .add = add_avx2,
        .silu_mul = silu_mul_avx2,
        .gelu_mul = gelu_mul_avx2,
        .swiglu_clamped = swiglu_clamped_avx2,
        .gelu = gelu_avx2,
        .softcap = softcap_avx2,
        .rope = rope_avx2,
        .rope_neox = rope_neox_avx2,
        .softmax = softmax_avx2,
        .quant_q8 = kern_quant_q8_avx2,
        .to_f16 = to_f16_avx2,
        .attn_qk = attn_qk_avx2,
        .attn_pv = attn_pv_avx2,
};
