/* The llama family: RMSNorm, rotary positions on adjacent pairs, grouped-query attention, SwiGLU (Touvron et
 * al. 2023). */
#include <errno.h>
#include <stdio.h>
#include "engine/arch.h"
#include "engine/gguf.h"
#include "engine/graph.h"

#define MAX_LAYERS 1024
#define MAX_HEADS 1024
#define MAX_HEAD_DIM 1024
#define MAX_WIDTH (1 << 20)
#define MAX_CONTEXT (1 << 24)

static const struct arch_tensor tensors[] = {
        { W_TOKEN_EMBD, "token_embd.weight", DIM_EMBD, DIM_VOCAB, 0 },
        { W_OUTPUT_NORM, "output_norm.weight", DIM_EMBD, DIM_ONE, 0 },
        { W_OUTPUT, "output.weight", DIM_EMBD, DIM_VOCAB, AT_OPTIONAL },
        { W_ATTN_NORM, "attn_norm.weight", DIM_EMBD, DIM_ONE, AT_LAYER },
        { W_Q, "attn_q.weight", DIM_EMBD, DIM_Q, AT_LAYER },
        { W_K, "attn_k.weight", DIM_EMBD, DIM_KV, AT_LAYER },
        { W_V, "attn_v.weight", DIM_EMBD, DIM_KV, AT_LAYER },
        { W_ATTN_OUT, "attn_output.weight", DIM_Q, DIM_EMBD, AT_LAYER },
        { W_FFN_NORM, "ffn_norm.weight", DIM_EMBD, DIM_ONE, AT_LAYER },
        { W_GATE, "ffn_gate.weight", DIM_EMBD, DIM_FF, AT_LAYER },
        { W_UP, "ffn_up.weight", DIM_EMBD, DIM_FF, AT_LAYER },
        { W_DOWN, "ffn_down.weight", DIM_FF, DIM_EMBD, AT_LAYER },
};

/* Variants of the family that would compute something else must not be read as if they were plain. */
static int refuse_variants(const struct gguf *g, char *err, size_t errn)
{
        struct str scaling;
        uint64_t experts;
        int rc = gguf_get_str(g, "llama.rope.scaling.type", &scaling);
        if (rc != -ENOENT && (rc || !str_eqc(scaling, "none"))) {
                snprintf(err, errn, "rope scaling (llama.rope.scaling.type) is not supported");
                return -EINVAL;
        }
        rc = gguf_get_u64(g, "llama.expert_count", &experts);
        if (rc != -ENOENT && (rc || experts)) {
                snprintf(err, errn, "experts (llama.expert_count) are not supported");
                return -EINVAL;
        }
        return 0;
}

static int check_shape(struct hparams *hp, int value_dim, char *err, size_t errn)
{
        if (!hp->n_layer || !hp->n_embd || !hp->n_head || !hp->n_head_kv || !hp->head_dim || !hp->n_ff ||
            !hp->n_ctx_train) {
                snprintf(err, errn, "the model's shape has a zero in it");
                return -EINVAL;
        }
        if (hp->n_head % hp->n_head_kv) {
                snprintf(err, errn, "%d heads cannot share %d key-value heads", hp->n_head, hp->n_head_kv);
                return -EINVAL;
        }
        if (value_dim != hp->head_dim) {
                snprintf(err, errn, "keys of %d and values of %d dimensions are not supported", hp->head_dim,
                         value_dim);
                return -EINVAL;
        }
        if (hp->n_rot % 2 || hp->n_rot > hp->head_dim) {
                snprintf(err, errn, "llama.rope.dimension_count is %d of %d", hp->n_rot, hp->head_dim);
                return -EINVAL;
        }
        return 0;
}

static int read_hparams(const struct gguf *g, struct hparams *hp, char *err, size_t errn)
{
        const char *a = arch_llama.name;
        double eps = 0;
        int rc = 0, dim, value_dim = 0;
        if ((rc = refuse_variants(g, err, errn)) ||
            (rc = arch_int(g, a, "block_count", -1, MAX_LAYERS, &hp->n_layer, err, errn)) ||
            (rc = arch_int(g, a, "embedding_length", -1, MAX_WIDTH, &hp->n_embd, err, errn)) ||
            (rc = arch_int(g, a, "feed_forward_length", -1, MAX_WIDTH, &hp->n_ff, err, errn)) ||
            (rc = arch_int(g, a, "context_length", -1, MAX_CONTEXT, &hp->n_ctx_train, err, errn)) ||
            (rc = arch_int(g, a, "attention.head_count", -1, MAX_HEADS, &hp->n_head, err, errn)) ||
            (rc = arch_int(g, a, "attention.head_count_kv", hp->n_head, MAX_HEADS, &hp->n_head_kv, err,
                           errn)) ||
            (rc = arch_float(g, a, "attention.layer_norm_rms_epsilon", -1, &eps, err, errn)) ||
            (rc = arch_float(g, a, "rope.freq_base", 10000, &hp->rope_base, err, errn)))
                return rc;
        dim = hp->n_head ? hp->n_embd / hp->n_head : 0;
        if ((rc = arch_int(g, a, "attention.key_length", dim, MAX_HEAD_DIM, &hp->head_dim, err, errn)) ||
            (rc = arch_int(g, a, "attention.value_length", hp->head_dim, MAX_HEAD_DIM, &value_dim, err,
                           errn)) ||
            (rc = arch_int(g, a, "rope.dimension_count", hp->head_dim, MAX_HEAD_DIM, &hp->n_rot, err, errn)))
                return rc;
        hp->norm_eps = (float)eps;
        return check_shape(hp, value_dim, err, errn);
}

static void llama_eval(struct eval *e, int tid)
{
        const struct hparams *hp = e->hp;
        graph_begin(e, tid, &e->global->w[W_TOKEN_EMBD]);
        for (int l = 0; l < hp->n_layer; l++) {
                const struct weight *w = e->layers[l].w;
                graph_norm(e, tid, &w[W_ATTN_NORM],
                           w[W_Q].type->act_q8 || w[W_K].type->act_q8 || w[W_V].type->act_q8);
                graph_matmul(e, tid, &w[W_Q], e->q);
                graph_matmul(e, tid, &w[W_K], e->k_rows);
                graph_matmul(e, tid, &w[W_V], e->v);
                graph_sync(e);
                graph_rope_store(e, tid, l);
                graph_attention(e, tid, l);
                graph_act(e, tid, e->q, w[W_ATTN_OUT].n, w[W_ATTN_OUT].type->act_q8);
                graph_matmul_add(e, tid, &w[W_ATTN_OUT], e->x);
                graph_norm(e, tid, &w[W_FFN_NORM], w[W_GATE].type->act_q8 || w[W_UP].type->act_q8);
                graph_swiglu(e, tid, &w[W_GATE], &w[W_UP]);
                graph_act(e, tid, e->gate, w[W_DOWN].n, w[W_DOWN].type->act_q8);
                graph_matmul_add(e, tid, &w[W_DOWN], e->x);
        }
        const struct weight *out = &e->global->w[W_OUTPUT];
        graph_output(e, tid, &e->global->w[W_OUTPUT_NORM], out->type ? out : &e->global->w[W_TOKEN_EMBD]);
}

const struct arch arch_llama = {
        .name = "llama",
        .tensors = tensors,
        .n_tensors = sizeof(tensors) / sizeof(tensors[0]),
        .read_hparams = read_hparams,
        .eval = llama_eval,
};
