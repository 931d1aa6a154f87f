/* Encoders: BERT (Devlin et al. 2019), with learnt positions and a plain GELU part, also as a reranker with a
 * classifier; and nomic-bert (Nussbaum et al. 2024), with rotary positions and a gated part. LayerNorm after
 * each part. */
#include <errno.h>
#include <stdio.h>
#include "engine/arch.h"
#include "engine/gguf.h"
#include "engine/graph.h"

#define MAX_TOKEN_TYPES 65536

#define NORM_ROWS(role, name, flags)                                        \
        { role, name ".weight", DIM_EMBD, DIM_ONE, (flags), 0 },            \
        {                                                                   \
                role, name ".bias", DIM_EMBD, DIM_ONE, (flags) | AT_BIAS, 0 \
        }
#define SHARED_ROWS                                                                         \
        { W_TOKEN_EMBD, "token_embd.weight", DIM_EMBD, DIM_VOCAB, 0, 0 },                   \
                { W_TYPE_EMBD, "token_types.weight", DIM_EMBD, DIM_TYPES, AT_OPTIONAL, 0 }, \
                NORM_ROWS(W_EMBD_NORM, "token_embd_norm", 0),                               \
                { W_ATTN_OUT, "attn_output.weight", DIM_Q, DIM_EMBD, AT_LAYER, 0 },         \
                NORM_ROWS(W_ATTN_POST_NORM, "attn_output_norm", AT_LAYER),                  \
                { W_UP, "ffn_up.weight", DIM_EMBD, DIM_FF, AT_LAYER, 0 },                   \
                { W_DOWN, "ffn_down.weight", DIM_FF, DIM_EMBD, AT_LAYER, 0 },               \
                NORM_ROWS(W_FFN_POST_NORM, "layer_output_norm", AT_LAYER),                  \
                { W_CLS, "cls.weight", DIM_EMBD, DIM_EMBD, AT_OPTIONAL, 0 },                \
                { W_CLS, "cls.bias", DIM_EMBD, DIM_ONE, AT_OPTIONAL | AT_BIAS, 0 },         \
                { W_CLS_OUT, "cls.output.weight", DIM_EMBD, DIM_LABELS, AT_OPTIONAL, 0 },   \
        {                                                                                   \
                W_CLS_OUT, "cls.output.bias", DIM_LABELS, DIM_ONE, AT_OPTIONAL | AT_BIAS, 0 \
        }

static const struct arch_tensor bert_tensors[] = {
        SHARED_ROWS,
        { W_POS_EMBD, "position_embd.weight", DIM_EMBD, DIM_CTX, 0, 0 },
        { W_Q, "attn_q.weight", DIM_EMBD, DIM_Q, AT_LAYER, 0 },
        { W_K, "attn_k.weight", DIM_EMBD, DIM_KV, AT_LAYER, 0 },
        { W_V, "attn_v.weight", DIM_EMBD, DIM_KV, AT_LAYER, 0 },
        AT_ROWS_QKV_BIAS(0),
        { W_ATTN_OUT, "attn_output.bias", DIM_EMBD, DIM_ONE, AT_LAYER | AT_BIAS, 0 },
        { W_UP, "ffn_up.bias", DIM_FF, DIM_ONE, AT_LAYER | AT_BIAS, 0 },
        { W_DOWN, "ffn_down.bias", DIM_EMBD, DIM_ONE, AT_LAYER | AT_BIAS, 0 },
};

static const struct arch_tensor nomic_tensors[] = {
        SHARED_ROWS,
        { W_QKV, "attn_qkv.weight", DIM_EMBD, DIM_QKV, AT_LAYER, 0 },
        { W_QKV, "attn_qkv.bias", DIM_QKV, DIM_ONE, AT_LAYER | AT_BIAS | AT_OPTIONAL, 0 },
        { W_ATTN_OUT, "attn_output.bias", DIM_EMBD, DIM_ONE, AT_LAYER | AT_BIAS | AT_OPTIONAL, 0 },
        { W_GATE, "ffn_gate.weight", DIM_EMBD, DIM_FF, AT_LAYER, 0 },
};

static int read_encoder(const struct gguf *g, const char *name, struct hparams *hp, char *err, size_t errn)
{
        uint64_t types = 0;
        int rc = arch_read_shape(g, name, hp, err, errn);
        if (!rc)
                rc = arch_refuse_experts(hp, err, errn);
        if (rc)
                return rc;
        rc = gguf_get_u64(g, "tokenizer.ggml.token_type_count", &types);
        if ((rc && rc != -ENOENT) || types > MAX_TOKEN_TYPES) {
                snprintf(err, errn, "the key tokenizer.ggml.token_type_count is not an integer up to %d",
                         MAX_TOKEN_TYPES);
                return -EINVAL;
        }
        hp->n_token_types = (int)types;
        hp->causal = false;
        hp->layer_norm = true;
        hp->rope_halves = true;
        return 0;
}

static int read_bert(const struct gguf *g, struct hparams *hp, char *err, size_t errn)
{
        int rc = read_encoder(g, arch_bert.name, hp, err, errn);
        hp->n_rot = 0;
        return rc;
}

static int read_nomic(const struct gguf *g, struct hparams *hp, char *err, size_t errn)
{
        return read_encoder(g, arch_nomic_bert.name, hp, err, errn);
}

const struct arch arch_bert = {
        .name = "bert",
        ARCH_TENSORS(bert_tensors),
        .read_hparams = read_bert,
        .eval = graph_encoder,
};

const struct arch arch_nomic_bert = {
        .name = "nomic-bert",
        ARCH_TENSORS(nomic_tensors),
        .read_hparams = read_nomic,
        .eval = graph_encoder,
};
