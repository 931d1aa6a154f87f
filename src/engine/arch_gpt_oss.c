/* gpt-oss: experts with biases and a clamped gate, a learnt sink in every head, every other layer windowed,
 * YaRN (OpenAI 2025). The norm before the experts is called post_attention_norm in its files. */
#include "engine/arch.h"
#include "engine/graph.h"

#define GATE_LIMIT 7.0f

static const struct arch_tensor tensors[] = {
        AT_ROWS_TEXT,
        { W_ATTN_NORM, "attn_norm.weight", DIM_EMBD, DIM_ONE, AT_LAYER, 0 },
        AT_ROWS_QKV,
        AT_ROWS_QKV_BIAS(0),
        { W_ATTN_OUT, "attn_output.bias", DIM_EMBD, DIM_ONE, AT_LAYER | AT_BIAS, 0 },
        { W_SINKS, "attn_sinks.weight", DIM_HEADS, DIM_ONE, AT_LAYER, 0 },
        { W_FFN_NORM, "post_attention_norm.weight", DIM_EMBD, DIM_ONE, AT_LAYER, 0 },
        AT_ROWS_MOE,
        { W_ROUTER, "ffn_gate_inp.bias", DIM_EXPERTS, DIM_ONE, AT_LAYER | AT_BIAS, 0 },
        { W_GATE_EXPS, "ffn_gate_exps.bias", DIM_FF_EXPERT, DIM_EXPERTS, AT_LAYER | AT_BIAS, 0 },
        { W_UP_EXPS, "ffn_up_exps.bias", DIM_FF_EXPERT, DIM_EXPERTS, AT_LAYER | AT_BIAS, 0 },
        { W_DOWN_EXPS, "ffn_down_exps.bias", DIM_EMBD, DIM_EXPERTS, AT_LAYER | AT_BIAS, 0 },
};

static int read_hparams(const struct gguf *g, struct hparams *hp, char *err, size_t errn)
{
        int rc = arch_read_shape(g, arch_gpt_oss.name, hp, err, errn);
        if (!rc)
                rc = arch_read_window(g, arch_gpt_oss.name, 2, hp, err, errn);
        hp->rope_halves = true;
        hp->rope.smooth = hp->rope_windowed.smooth = true;
        hp->act = ACT_SWIGLU_CLAMPED;
        hp->act_limit = GATE_LIMIT;
        return rc ? rc : arch_require_experts(hp, err, errn);
}

const struct arch arch_gpt_oss = {
        .name = "gpt-oss",
        ARCH_TENSORS(tensors),
        .read_hparams = read_hparams,
        .eval = graph_decoder,
};
