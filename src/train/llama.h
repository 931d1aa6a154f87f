/* A llama-shaped network for training: its parameters in one allocation, the forward pass with saved
 * activations and the backward pass. Shapes come from data, so any model of this family fits.
 *
 * Parameters are shared and read-only during a step; each thread has its own work space and its own
 * gradient (another llama_params of the same shape). */
#ifndef CAIRN_TRAIN_LLAMA_H
#define CAIRN_TRAIN_LLAMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct llama_shape {
        int32_t n_vocab, n_embd, n_layer, n_head, n_kv, head_dim, n_ff;
        int32_t n_ctx; /* longest segment */
        float rope_base, norm_eps;
};

struct llama_layer {
        float *attn_norm; /* [n_embd] */
        float *wqkv;      /* [(n_head + 2 n_kv) head_dim, n_embd]: queries, keys, values */
        float *wo;        /* [n_embd, n_head head_dim] */
        float *ffn_norm;  /* [n_embd] */
        float *w_gu;      /* [2 n_ff, n_embd]: gates, ups */
        float *w_down;    /* [n_embd, n_ff] */
};

/* Input and output embedding are one matrix. */
struct llama_params {
        struct llama_shape shape;
        size_t n;    /* floats */
        float *data; /* owned */
        float *embed, *out_norm;
        struct llama_layer *layers; /* owned */
};

/* One matrix or vector inside the parameters, by its GGUF name. */
struct llama_tensor {
        char name[48];
        size_t at; /* offset in data */
        int rows, cols;
        bool is_norm; /* a vector: no weight decay */
};

/* A packed batch: `n_seg` documents one after another; attention stays inside a document. Row r predicts
 * targets[r], counted weights[r] times; 0 means not at all. */
struct llama_batch {
        int n_rows, n_seg;
        const int32_t *tokens, *pos, *targets;
        const float *weights;
        const int32_t *seg; /* [n_seg + 1] */
};

struct llama_work;

/* 0 or -EINVAL with a message. */
int llama_shape_check(const struct llama_shape *s, char *err, size_t errn);
/* Zeroed parameters. 0, -EINVAL or -ENOMEM. */
int llama_params_init(struct llama_params *p, const struct llama_shape *s);
void llama_params_release(struct llama_params *p);
/* Normal noise of deviation 0.02, smaller by sqrt(2 n_layer) where a layer writes to the residual stream;
 * norms are one. */
void llama_params_random(struct llama_params *p, uint64_t seed);
/* How many tensors there are, and the i-th: embedding, output norm, then nine a layer. */
int llama_tensor_count(const struct llama_shape *s);
struct llama_tensor llama_tensor_at(const struct llama_params *p, int i);

/* Buffers for batches of up to max_rows rows with segments of up to max_seg rows. NULL when out of memory. */
struct llama_work *llama_work_new(const struct llama_shape *s, int max_rows, int max_seg);
void llama_work_free(struct llama_work *w); /* accepts NULL */

struct llama_result {
        double loss;   /* sum of weights * loss, nats */
        double weight; /* sum of weights */
};

/* Runs the batch forward. hits (may be NULL) gets, for each row with a weight, in order, whether its target
 * was the most likely token. When grad is not NULL, also backward: adds the gradient of scale * loss to
 * grad. 0, or -EINVAL when the batch does not fit the work space or holds an id out of range. */
int llama_run(struct llama_work *w, const struct llama_params *p, const struct llama_batch *b, float scale,
              struct llama_params *grad, uint8_t *hits, struct llama_result *ret);
/* Forward only; logits[n_vocab] of row `row` of the batch just given. */
int llama_logits(struct llama_work *w, const struct llama_params *p, const struct llama_batch *b, int row,
                 float *logits);
#endif
