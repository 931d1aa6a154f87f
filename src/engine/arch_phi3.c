/* Phi 3 and 4-mini: projections and gates fused into one matrix each, part of a head rotated, LongRoPE (Abdin
 * et al. 2024; Ding et al. 2024). */
#include "engine/arch.h"
#include "engine/graph.h"

static const struct arch_tensor tensors[] = {
        AT_ROWS_TEXT,
        AT_ROWS_ROPE,
        { W_ATTN_NORM, "attn_norm.weight", DIM_EMBD, DIM_ONE, AT_LAYER, 0 },
        { W_QKV, "attn_qkv.weight", DIM_EMBD, DIM_QKV, AT_LAYER, 0 },
        { W_ATTN_OUT, "attn_output.weight", DIM_Q, DIM_EMBD, AT_LAYER, 0 },
        { W_FFN_NORM, "ffn_norm.weight", DIM_EMBD, DIM_ONE, AT_LAYER, 0 },
        { W_GATE_UP, "ffn_up.weight", DIM_EMBD, DIM_FF_TWICE, AT_LAYER, 0 },
        { W_DOWN, "ffn_down.weight", DIM_FF, DIM_EMBD, AT_LAYER, 0 },
};

static int read_hparams(const struct gguf *g, struct hparams *hp, char *err, size_t errn)
{
        int rc = arch_read_shape(g, arch_phi3.name, hp, err, errn);
        if (!rc)
                rc = arch_read_window(g, arch_phi3.name, 1, hp, err, errn);
        hp->rope_halves = true;
        return rc ? rc : arch_refuse_experts(hp, err, errn);
}

const struct arch arch_phi3 = {
        .name = "phi3",
        ARCH_TENSORS(tensors),
        .read_hparams = read_hparams,
        .eval = graph_decoder,
};
