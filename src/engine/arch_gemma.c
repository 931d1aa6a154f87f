/* Gemma 2 (soft-capped scores and logits, every other layer windowed) and Gemma 3 (norms of queries and keys,
 * five of six layers windowed with a rotation of their own); norms after each part as well as before, scaled
 * embeddings, GELU (Gemma Team 2024, 2025). The files hold the norms' weights with 1 added. */
#include <math.h>
#include "engine/arch.h"
#include "engine/graph.h"

#define LOCAL_ROPE_BASE 10000

#define LAYER_ROWS                                                                                  \
        { W_ATTN_NORM, "attn_norm.weight", DIM_EMBD, DIM_ONE, AT_LAYER, 0 }, AT_ROWS_QKV,           \
                { W_ATTN_POST_NORM, "post_attention_norm.weight", DIM_EMBD, DIM_ONE, AT_LAYER, 0 }, \
                { W_FFN_NORM, "ffn_norm.weight", DIM_EMBD, DIM_ONE, AT_LAYER, 0 }, AT_ROWS_FFN(0),  \
        {                                                                                           \
                W_FFN_POST_NORM, "post_ffw_norm.weight", DIM_EMBD, DIM_ONE, AT_LAYER, 0             \
        }

static const struct arch_tensor gemma2_tensors[] = { AT_ROWS_TEXT, AT_ROWS_ROPE, LAYER_ROWS };
static const struct arch_tensor gemma3_tensors[] = { AT_ROWS_TEXT, AT_ROWS_ROPE, LAYER_ROWS,
                                                     AT_ROWS_HEAD_NORMS };

/* The largest model of each generation scales its scores by the width of a head that n_embd / n_head would
 * give; files say so only by their number of layers. */
static int read_gemma(const struct gguf *g, const struct arch *a, int period, int layers_of_27b,
                      struct hparams *hp, char *err, size_t errn)
{
        int rc = arch_read_shape(g, a->name, hp, err, errn);
        if (!rc)
                rc = arch_read_window(g, a->name, period, hp, err, errn);
        if (!rc)
                rc = arch_refuse_experts(hp, err, errn);
        if (rc)
                return rc;
        hp->rope_halves = true;
        hp->act = ACT_GELU;
        hp->embd_scale = sqrtf((float)hp->n_embd);
        if (hp->n_layer == layers_of_27b)
                hp->attn_scale = 1.0f / sqrtf((float)hp->n_embd / (float)hp->n_head);
        return 0;
}

static int read_gemma2(const struct gguf *g, struct hparams *hp, char *err, size_t errn)
{
        return read_gemma(g, &arch_gemma2, 2, 46, hp, err, errn);
}

static int read_gemma3(const struct gguf *g, struct hparams *hp, char *err, size_t errn)
{
        int rc = read_gemma(g, &arch_gemma3, 6, 62, hp, err, errn);
        if (rc)
                return rc;
        hp->rope_windowed = (struct rope){ .base = LOCAL_ROPE_BASE, .factor = 1, .attn_factor = 1 };
        return arch_float(g, arch_gemma3.name, "rope.freq_base_swa", LOCAL_ROPE_BASE, &hp->rope_windowed.base,
                          err, errn);
}

const struct arch arch_gemma2 = {
        .name = "gemma2",
        ARCH_TENSORS(gemma2_tensors),
        .read_hparams = read_gemma2,
        .eval = graph_decoder,
};

const struct arch arch_gemma3 = {
        .name = "gemma3",
        ARCH_TENSORS(gemma3_tensors),
        .read_hparams = read_gemma3,
        .eval = graph_decoder,
};
