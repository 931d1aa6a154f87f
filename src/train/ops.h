/* The differentiable operations of llama-shaped networks, each as a forward and a backward function.
 *
 * Matrices are row-major float32; `rows` counts tokens, the last dimension is contiguous. A backward
 * function takes the gradient of its output and ADDS to parameter gradients (dw, dg); what it does to the
 * input's gradient is said at each. Nothing here allocates or keeps state: any thread, on its own buffers. */
#ifndef CAIRN_TRAIN_OPS_H
#define CAIRN_TRAIN_OPS_H

#include <stdint.h>

/* y[rows, n_out] = x[rows, n_in] * w[n_out, n_in]^T */
void op_linear(float *y, const float *x, const float *w, int rows, int n_in, int n_out);
/* dx = dy * w (added to dx when `add`); dw += dy^T * x. dx may be NULL. */
void op_linear_back(float *dx, float *dw, const float *dy, const float *x, const float *w, int rows, int n_in,
                    int n_out, int add);

/* y = x / rms(x) * g (Zhang and Sennrich, 2019). rstd[rows] keeps 1 / rms for the way back. */
void op_rmsnorm(float *y, float *rstd, const float *x, const float *g, int rows, int d, float eps);
/* dx += ..., dg += ... */
void op_rmsnorm_back(float *dx, float *dg, const float *dy, const float *x, const float *g, const float *rstd,
                     int rows, int d);

/* Rotary positions (Su et al., 2021) over neighbouring pairs (2i, 2i+1), angle pos * base^(-2i/dim).
 * table[n_pos][dim] holds cos, sin alternating. */
void op_rope_table(float *table, int n_pos, int dim, float base);
/* Rotates in place the first n_heads heads of `dim` in each row of `stride` floats. `sign` is +1 forward
 * and -1 backward: the transpose of a rotation is the rotation back. */
void op_rope(float *x, const int32_t *pos, const float *table, int rows, int n_heads, int dim, int stride,
             int sign);

/* Causal attention with grouped keys and values (Ainslie et al., 2023) inside each segment of a packed
 * batch. A row of qkv holds n_head queries, n_kv keys and n_kv values of `dim` each. seg[0 .. n_seg] are
 * the first rows of the segments, seg[n_seg] = rows. */
struct attn_shape {
        int n_head, n_kv, dim;
};
/* out[rows, n_head * dim]. scratch: L * L floats, L the longest segment. */
void op_attention(float *out, const float *qkv, const struct attn_shape *s, const int32_t *seg, int n_seg,
                  float *scratch);
/* dqkv is overwritten. Probabilities are computed again rather than kept. scratch: 2 * L * L floats. */
void op_attention_back(float *dqkv, const float *dout, const float *qkv, const struct attn_shape *s,
                       const int32_t *seg, int n_seg, float *scratch);

/* y = silu(gate) * up (Shazeer, 2020); a row of gu holds `ff` gates, then `ff` ups. */
void op_swiglu(float *y, const float *gu, int rows, int ff);
void op_swiglu_back(float *dgu, const float *dy, const float *gu, int rows, int ff); /* dgu overwritten */

/* y[r] = table[ids[r]] */
void op_embed(float *y, const float *table, const int32_t *ids, int rows, int d);
void op_embed_back(float *dtable, const float *dy, const int32_t *ids, int rows, int d); /* adds */

/* Softmax cross-entropy. logits[rows, n] become the gradient of scale * sum(weights * loss). Returns the sum
 * of weights[r] * loss[r] (without scale); hits[r], when not NULL, says whether the target had the highest
 * logit. */
double op_cross_entropy(float *logits, const int32_t *targets, const float *weights, int rows, int n,
                        float scale, uint8_t *hits);

void op_add(float *y, const float *x, long n); /* y += x */
double op_square_sum(const float *x, long n);  /* sum of x^2 */
#endif
