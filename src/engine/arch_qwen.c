/* Qwen 2 (biased projections), Qwen 3 (norms of queries and keys per head) and its mixtures of experts (Yang
 * et al. 2024, 2025). */
#include "engine/arch.h"
#include "engine/graph.h"

#define NORMS                                                                 \
        { W_ATTN_NORM, "attn_norm.weight", DIM_EMBD, DIM_ONE, AT_LAYER, 0 },  \
        {                                                                     \
                W_FFN_NORM, "ffn_norm.weight", DIM_EMBD, DIM_ONE, AT_LAYER, 0 \
        }

static const struct arch_tensor qwen2_tensors[] = {
        AT_ROWS_TEXT, AT_ROWS_ROPE, NORMS, AT_ROWS_QKV, AT_ROWS_QKV_BIAS(0), AT_ROWS_FFN(0),
};

static const struct arch_tensor qwen3_tensors[] = {
        AT_ROWS_TEXT,       AT_ROWS_ROPE,          NORMS,       AT_ROWS_QKV,
        AT_ROWS_HEAD_NORMS, AT_ROWS_FFN(AT_DENSE), AT_ROWS_MOE,
};

/* No published model has `use_sliding_window`, so a window that a file may mention does not apply. */
static int read_qwen3moe(const struct gguf *g, struct hparams *hp, char *err, size_t errn)
{
        int rc = arch_read_shape(g, arch_qwen3moe.name, hp, err, errn);
        hp->rope_halves = true;
        return rc ? rc : arch_require_experts(hp, err, errn);
}

static int read_dense(const struct gguf *g, const struct arch *a, struct hparams *hp, char *err, size_t errn)
{
        int rc = arch_read_shape(g, a->name, hp, err, errn);
        hp->rope_halves = true;
        return rc ? rc : arch_refuse_experts(hp, err, errn);
}

static int read_qwen2(const struct gguf *g, struct hparams *hp, char *err, size_t errn)
{
        return read_dense(g, &arch_qwen2, hp, err, errn);
}

static int read_qwen3(const struct gguf *g, struct hparams *hp, char *err, size_t errn)
{
        return read_dense(g, &arch_qwen3, hp, err, errn);
}

const struct arch arch_qwen2 = {
        .name = "qwen2",
        ARCH_TENSORS(qwen2_tensors),
        .read_hparams = read_qwen2,
        .eval = graph_decoder,
};

const struct arch arch_qwen3 = {
        .name = "qwen3",
        ARCH_TENSORS(qwen3_tensors),
        .read_hparams = read_qwen3,
        .eval = graph_decoder,
};

const struct arch arch_qwen3moe = {
        .name = "qwen3moe",
        ARCH_TENSORS(qwen3_tensors),
        .read_hparams = read_qwen3moe,
        .eval = graph_decoder,
};
