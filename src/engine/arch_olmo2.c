/* OLMo 2 and 3: norms after each part instead of before, and norms over all queries and all keys of a token
 * (OLMo Team 2025); OLMo 3 has windowed layers, whose rotation is not scaled. */
#include "engine/arch.h"
#include "engine/graph.h"

static const struct arch_tensor tensors[] = {
        AT_ROWS_TEXT,
        AT_ROWS_ROPE,
        AT_ROWS_QKV,
        { W_Q_NORM, "attn_q_norm.weight", DIM_Q, DIM_ONE, AT_LAYER, 0 },
        { W_K_NORM, "attn_k_norm.weight", DIM_KV, DIM_ONE, AT_LAYER, 0 },
        { W_ATTN_POST_NORM, "post_attention_norm.weight", DIM_EMBD, DIM_ONE, AT_LAYER, 0 },
        AT_ROWS_FFN(0),
        { W_FFN_POST_NORM, "post_ffw_norm.weight", DIM_EMBD, DIM_ONE, AT_LAYER, 0 },
};

static int read_hparams(const struct gguf *g, struct hparams *hp, char *err, size_t errn)
{
        int rc = arch_read_shape(g, arch_olmo2.name, hp, err, errn);
        if (!rc)
                rc = arch_read_window(g, arch_olmo2.name, 4, hp, err, errn);
        hp->rope_halves = true;
        hp->rope_windowed = (struct rope){ .base = hp->rope.base, .factor = 1, .attn_factor = 1 };
        return rc ? rc : arch_refuse_experts(hp, err, errn);
}

const struct arch arch_olmo2 = {
        .name = "olmo2",
        ARCH_TENSORS(tensors),
        .read_hparams = read_hparams,
        .eval = graph_decoder,
};
