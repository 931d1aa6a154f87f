/* Model architectures: which metadata and tensors a family has, and how a batch flows through them. Another
 * architecture is one file with a struct arch, and a row in arch.c. What a family has in common with others
 * it takes from here: rows of tensors (AT_ROWS_...), the keys that all of them share (arch_read_shape), and
 * the blocks of graph.h. */
#ifndef CAIRN_ENGINE_ARCH_H
#define CAIRN_ENGINE_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct eval;
struct gguf;
struct kern_type;
struct lora;

#define ARCH_MAX_EXPERTS 1024
#define ARCH_MAX_USED 64 /* experts of one token */

/* How positions become angles; see rope.c for the methods. */
enum rope_scaling { ROPE_PLAIN, ROPE_LINEAR, ROPE_YARN, ROPE_LONG };
struct rope {
        enum rope_scaling scaling;
        double base;
        double factor; /* how much longer the context is than the original one */
        double attn_factor;
        int n_ctx_orig;
        double beta_fast, beta_slow; /* YaRN: rotations over the original context that bound the ramp */
        bool smooth;                 /* YaRN: the ramp's ends are not rounded to whole dimensions */
};

/* What gates the feed-forward part. */
enum act { ACT_SILU, ACT_GELU, ACT_SWIGLU_CLAMPED };

/* One vector out of an input's hidden states; the numbers of <arch>.pooling_type. */
enum pooling { POOL_NONE, POOL_MEAN, POOL_CLS, POOL_LAST, POOL_RANK };

/* Shape of a model, read from the file. */
struct hparams {
        int n_layer, n_embd, n_head, n_head_kv, head_dim, n_ff, n_vocab, n_ctx_train;
        int n_rot; /* values of a head that are rotated; 0: none are */
        int n_expert, n_expert_used, n_ff_expert;
        int n_token_types, n_labels;
        float norm_eps;
        bool layer_norm;                   /* LayerNorm instead of RMSNorm */
        bool causal;                       /* false: every token sees all of its input (encoders) */
        bool rope_halves;                  /* rotates pairs half a head apart (GPT-NeoX), not adjacent ones */
        bool expert_norm;                  /* the shares of the chosen experts add up to 1 */
        float embd_scale;                  /* of token embeddings */
        float attn_scale;                  /* of scores */
        float attn_softcap, final_softcap; /* 0: none */
        enum act act;
        float act_limit; /* ACT_SWIGLU_CLAMPED */
        enum pooling pooling;
        int window;        /* tokens that a windowed layer sees, its own included; 0: all */
        int window_period; /* every layer of a period but the last is windowed; 1: all layers are */
        struct rope rope, rope_windowed;
};

static inline bool hparams_windowed(const struct hparams *hp, int layer)
{
        return hp->window && (hp->window_period == 1 || layer % hp->window_period != hp->window_period - 1);
}

enum weight_role {
        /* once a model */
        W_TOKEN_EMBD,
        W_POS_EMBD,
        W_TYPE_EMBD,
        W_EMBD_NORM,
        W_OUTPUT_NORM,
        W_OUTPUT,
        W_ROPE_FREQS, /* divide the frequencies of rotation */
        W_ROPE_LONG,
        W_ROPE_SHORT,
        W_CLS,
        W_CLS_OUT,
        /* once a layer */
        W_ATTN_NORM,
        W_Q,
        W_K,
        W_V,
        W_QKV, /* the three as one matrix */
        W_Q_NORM,
        W_K_NORM,
        W_SINKS,
        W_ATTN_OUT,
        W_ATTN_POST_NORM,
        W_FFN_NORM,
        W_GATE,
        W_UP,
        W_GATE_UP, /* the two as one matrix */
        W_DOWN,
        W_ROUTER,
        W_GATE_EXPS,
        W_UP_EXPS,
        W_DOWN_EXPS,
        W_FFN_POST_NORM,
        W_ROLES
};

/* `mats` matrices (experts; else 1) of `rows` rows of n values; a vector has rows 1. type is NULL when the
 * file has none. */
struct weight {
        const struct kern_type *type;
        const void *data;
        size_t n, rows, mats, row_bytes;
        const float *bias;   /* [mats][rows] of a matrix, [n] of a norm; NULL when there is none */
        const void *packed;  /* what products read instead of data (pack.h), or NULL */
        size_t packed_bytes; /* of each matrix in it */
        struct lora *lora;   /* what adapters add (lora.h), or NULL */
};

struct layer {
        struct weight w[W_ROLES];
};

enum dim {
        DIM_ONE,
        DIM_EMBD,
        DIM_VOCAB,
        DIM_CTX,
        DIM_TYPES,
        DIM_LABELS,
        DIM_Q,
        DIM_KV,
        DIM_QKV,
        DIM_HEAD,
        DIM_HEADS,
        DIM_ROT_HALF,
        DIM_FF,
        DIM_FF_TWICE,
        DIM_EXPERTS,
        DIM_FF_EXPERT,
};

#define AT_LAYER 1u    /* one per layer; the name stands behind blk.N. */
#define AT_OPTIONAL 2u /* may be absent */
#define AT_BIAS 4u     /* the bias of the role: n values, `rows` of them */
#define AT_DENSE 8u    /* only in models without experts... */
#define AT_MOE 16u     /* ...or with them */

struct arch_tensor {
        enum weight_role role;
        const char *name;
        enum dim n, rows;
        unsigned flags;
        enum dim mats;
};

/* Rows that many tables share. */
#define AT_ROWS_TEXT                                                              \
        { W_TOKEN_EMBD, "token_embd.weight", DIM_EMBD, DIM_VOCAB, 0, 0 },         \
                { W_OUTPUT_NORM, "output_norm.weight", DIM_EMBD, DIM_ONE, 0, 0 }, \
        {                                                                         \
                W_OUTPUT, "output.weight", DIM_EMBD, DIM_VOCAB, AT_OPTIONAL, 0    \
        }
#define AT_ROWS_QKV                                                            \
        { W_Q, "attn_q.weight", DIM_EMBD, DIM_Q, AT_LAYER, 0 },                \
                { W_K, "attn_k.weight", DIM_EMBD, DIM_KV, AT_LAYER, 0 },       \
                { W_V, "attn_v.weight", DIM_EMBD, DIM_KV, AT_LAYER, 0 },       \
        {                                                                      \
                W_ATTN_OUT, "attn_output.weight", DIM_Q, DIM_EMBD, AT_LAYER, 0 \
        }
#define AT_ROWS_QKV_BIAS(flags)                                                           \
        { W_Q, "attn_q.bias", DIM_Q, DIM_ONE, AT_LAYER | AT_BIAS | (flags), 0 },          \
                { W_K, "attn_k.bias", DIM_KV, DIM_ONE, AT_LAYER | AT_BIAS | (flags), 0 }, \
        {                                                                                 \
                W_V, "attn_v.bias", DIM_KV, DIM_ONE, AT_LAYER | AT_BIAS | (flags), 0      \
        }
#define AT_ROWS_HEAD_NORMS                                                     \
        { W_Q_NORM, "attn_q_norm.weight", DIM_HEAD, DIM_ONE, AT_LAYER, 0 },    \
        {                                                                      \
                W_K_NORM, "attn_k_norm.weight", DIM_HEAD, DIM_ONE, AT_LAYER, 0 \
        }
#define AT_ROWS_FFN(flags)                                                          \
        { W_GATE, "ffn_gate.weight", DIM_EMBD, DIM_FF, AT_LAYER | (flags), 0 },     \
                { W_UP, "ffn_up.weight", DIM_EMBD, DIM_FF, AT_LAYER | (flags), 0 }, \
        {                                                                           \
                W_DOWN, "ffn_down.weight", DIM_FF, DIM_EMBD, AT_LAYER | (flags), 0  \
        }
#define AT_ROWS_MOE                                                                                               \
        { W_ROUTER, "ffn_gate_inp.weight", DIM_EMBD, DIM_EXPERTS, AT_LAYER | AT_MOE, 0 },                         \
                { W_GATE_EXPS, "ffn_gate_exps.weight", DIM_EMBD, DIM_FF_EXPERT, AT_LAYER | AT_MOE, DIM_EXPERTS }, \
                { W_UP_EXPS, "ffn_up_exps.weight", DIM_EMBD, DIM_FF_EXPERT, AT_LAYER | AT_MOE, DIM_EXPERTS },     \
        {                                                                                                         \
                W_DOWN_EXPS, "ffn_down_exps.weight", DIM_FF_EXPERT, DIM_EMBD, AT_LAYER | AT_MOE, DIM_EXPERTS      \
        }
#define AT_ROWS_ROPE                                                                                \
        { W_ROPE_FREQS, "rope_freqs.weight", DIM_ROT_HALF, DIM_ONE, AT_OPTIONAL, 0 },               \
                { W_ROPE_LONG, "rope_factors_long.weight", DIM_ROT_HALF, DIM_ONE, AT_OPTIONAL, 0 }, \
        {                                                                                           \
                W_ROPE_SHORT, "rope_factors_short.weight", DIM_ROT_HALF, DIM_ONE, AT_OPTIONAL, 0    \
        }

struct arch {
        const char *name; /* general.architecture, and the prefix of its metadata keys */
        const struct arch_tensor *tensors;
        size_t n_tensors;
        /* Reads and checks the shape. 0 or -EINVAL with a message. */
        int (*read_hparams)(const struct gguf *g, struct hparams *ret, char *err, size_t errn);
        /* Evaluates e->batch; runs on every thread of the team. */
        void (*eval)(struct eval *e, int tid);
};
#define ARCH_TENSORS(table) .tensors = (table), .n_tensors = sizeof(table) / sizeof((table)[0])

extern const struct arch arch_llama, arch_qwen2, arch_qwen3, arch_qwen3moe, arch_gemma2, arch_gemma3,
        arch_phi3, arch_olmo2, arch_gpt_oss, arch_bert, arch_nomic_bert;

const struct arch *arch_find(const char *name, size_t n); /* NULL when unknown */
size_t arch_dim(const struct hparams *hp, enum dim d);
/* Finds every tensor of the architecture in the file, checks its shape and type, and refuses tensors that the
 * architecture does not know. global and layers[n_layer] are filled. */
int arch_bind(const struct arch *a, const struct gguf *g, const struct hparams *hp, struct layer *global,
              struct layer *layers, char *err, size_t errn);

/* For read_hparams: fills *ret from the keys that most families share, with their defaults: RMSNorm, causal,
 * SiLU, scores over the root of the head's size, no window. -EINVAL with a message when a key is missing or
 * impossible. */
int arch_read_shape(const struct gguf *g, const char *arch, struct hparams *ret, char *err, size_t errn);
/* <arch>.attention.sliding_window, `period` unless <arch>.attention.sliding_window_pattern is a number. */
int arch_read_window(const struct gguf *g, const char *arch, int period, struct hparams *ret, char *err,
                     size_t errn);
/* For families that never have experts, or always. */
int arch_refuse_experts(const struct hparams *hp, char *err, size_t errn);
int arch_require_experts(const struct hparams *hp, char *err, size_t errn);
/* One key, "<arch>.<suffix>". `dflt` < 0 makes it required. */
int arch_int(const struct gguf *g, const char *arch, const char *suffix, int64_t dflt, int64_t max, int *ret,
             char *err, size_t errn);
int arch_float(const struct gguf *g, const char *arch, const char *suffix, double dflt, double *ret,
               char *err, size_t errn);
#endif
