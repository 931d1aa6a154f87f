/* The llama family: RMSNorm, rotary positions on adjacent pairs, grouped-query attention, SwiGLU (Touvron et
 * al. 2023); Mistral's sliding window and Mixtral's experts (Jiang et al. 2023, 2024). */
#include "engine/arch.h"
#include "engine/graph.h"

static const struct arch_tensor tensors[] = {
        AT_ROWS_TEXT,
        AT_ROWS_ROPE,
        { W_ATTN_NORM, "attn_norm.weight", DIM_EMBD, DIM_ONE, AT_LAYER, 0 },
        AT_ROWS_QKV,
        AT_ROWS_QKV_BIAS(AT_OPTIONAL),
        { W_ATTN_OUT, "attn_output.bias", DIM_EMBD, DIM_ONE, AT_LAYER | AT_BIAS | AT_OPTIONAL, 0 },
        { W_FFN_NORM, "ffn_norm.weight", DIM_EMBD, DIM_ONE, AT_LAYER, 0 },
        AT_ROWS_FFN(AT_DENSE),
        { W_GATE, "ffn_gate.bias", DIM_FF, DIM_ONE, AT_LAYER | AT_BIAS | AT_DENSE | AT_OPTIONAL, 0 },
        { W_UP, "ffn_up.bias", DIM_FF, DIM_ONE, AT_LAYER | AT_BIAS | AT_DENSE | AT_OPTIONAL, 0 },
        { W_DOWN, "ffn_down.bias", DIM_EMBD, DIM_ONE, AT_LAYER | AT_BIAS | AT_DENSE | AT_OPTIONAL, 0 },
        AT_ROWS_MOE,
};

static int read_hparams(const struct gguf *g, struct hparams *hp, char *err, size_t errn)
{
        int rc = arch_read_shape(g, arch_llama.name, hp, err, errn);
        return rc ? rc : arch_read_window(g, arch_llama.name, 1, hp, err, errn);
}

const struct arch arch_llama = {
        .name = "llama",
        ARCH_TENSORS(tensors),
        .read_hparams = read_hparams,
        .eval = graph_decoder,
};
