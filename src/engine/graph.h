/* Evaluation of a batch of tokens: the building blocks that architectures are made of.
 *
 * A graph function runs on all threads of the team at once. Each block below does its thread's share; those
 * that end with "(syncs)" leave when every thread is done, so the next block may read all of it.
 *
 * Most families are one of two stacks of layers, graph_decoder and graph_encoder, whose blocks skip what a
 * layer has no tensor for; a family that flows differently is written with the blocks themselves. */
#ifndef CAIRN_ENGINE_GRAPH_H
#define CAIRN_ENGINE_GRAPH_H

#include <stdbool.h>
#include <stdint.h>
#include "engine/arch.h"
#include "engine/kv.h"

struct kern_team;

/* Consecutive tokens of one sequence. */
struct span {
        const int32_t *blocks; /* its KV blocks, enough for pos + n tokens */
        int row;               /* first row in the batch */
        int n;
        int pos; /* position of the first; 0 in models that are not causal, whose inputs come whole */
};

/* What one step evaluates. Rows are tokens; the arrays have the sizes given to eval_init. */
struct batch {
        int n, n_spans, n_out, n_logits;
        int32_t *tokens;
        int32_t *pos;
        int32_t *block; /* KV block of the row */
        struct span *spans;
        int32_t *out; /* rows whose last hidden state is wanted; of the first n_logits also the logits */
};

/* What one thread remembers between blocks of the graph. */
struct eval_thread {
        struct kern_act act; /* input of the next products */
        float *scores;       /* attention of a tile of queries over the context */
        float *q_tile, *o_tile;
        void *kv_scratch;
};

/* Angles of the batch's positions. */
struct turns {
        double *freq;     /* [n_rot / 2] radians per position of each rotated pair */
        double scale;     /* of sines and cosines */
        float *cos, *sin; /* [rows][n_rot / 2] */
};

/* Rows of 8-bit activations. */
struct act_rows {
        uint8_t *q;
        float *d;
};

/* Tokens on their way through the experts: each token has n_expert_used entries, sorted by expert. */
struct moe {
        float *router;   /* [rows][n_expert] */
        int32_t *expert; /* [rows][used], best first */
        float *share;    /* [rows][used] */
        int32_t *entry;  /* [rows][used]: where in the sorted arrays */
        int32_t *first;  /* [n_expert + 1]: entries of an expert */
        float *in;       /* [rows * used][n_embd]: inputs, then outputs */
        float *ff;       /* [rows * used][ld_ff]: the two branches */
        size_t ld_ff;
        struct act_rows act;
};

struct eval {
        const struct kern *k;
        struct kern_team *team;
        const struct hparams *hp;
        const struct arch *arch;
        const struct layer *global, *layers;
        struct kv *kv;
        int max_rows, max_logits, max_ctx, tile_tokens;
        struct batch batch;
        float *x, *h; /* [rows][n_embd]: residual stream; normalised input */
        float *qkv;   /* [rows][ld_qkv]: queries (then attention output), keys, values */
        float *ff;    /* [rows][ld_ff]: the two branches of the feed-forward part */
        size_t ld_qkv, ld_ff;
        struct turns turns[2]; /* of layers that see all; of windowed ones */
        struct act_rows act;   /* of the widest input */
        struct moe moe;
        float *hidden; /* [out rows][n_embd], after the final norm */
        float *logits; /* [n_logits][n_vocab] */
        struct eval_thread *threads;
        void *slab; /* all of the above lies in it */
};

/* Takes the model's parts from e (k, team, hp, arch, global, layers, kv), allocates the rest. 0 or -ENOMEM.
 */
int eval_init(struct eval *e, int max_rows, int max_logits, int max_ctx);
void eval_release(struct eval *e);
/* Evaluates e->batch; results are in e->hidden and e->logits. */
void eval_run(struct eval *e);

/* ---- whole stacks ------------------------------------------------------------------------------- */

/* Embeddings, layers of causal attention and feed-forward parts (or experts) with norms before and after each
 * as far as there are any, logits. */
void graph_decoder(struct eval *e, int tid);
/* Embeddings, layers with the norm after each part. */
void graph_encoder(struct eval *e, int tid);

/* ---- blocks ------------------------------------------------------------------------------------- */

void graph_sync(struct eval *e);
/* x = embeddings of the tokens; angles of their positions. (syncs) */
void graph_begin(struct eval *e, int tid);
/* dst = norm(x), with dst h or x; it becomes the input of the next products, q8: in 8 bits too. Without a
 * norm the input is x. (syncs) */
void graph_norm(struct eval *e, int tid, const struct weight *norm, float *dst, bool q8);
/* Rows of n values, ld apart, at src become the input of the next products. (syncs) */
void graph_input(struct eval *e, int tid, const float *src, size_t ld, size_t n, bool q8);
/* y = w * input + bias, rows of y ld apart. This thread's rows of w only: graph_sync before reading all. */
void graph_matmul(struct eval *e, int tid, const struct weight *w, float *y, size_t ld);
/* x += norm(w * input + bias); the norm may be missing. h is overwritten. (syncs) */
void graph_residual(struct eval *e, int tid, const struct weight *w, const struct weight *norm);
/* x += norm(h), for this thread's tokens. (syncs) */
void graph_residual_norm(struct eval *e, int tid, const struct weight *norm);
/* The head of qkv's rows = attention over the layer's projections of the input: biases, norms of heads,
 * rotation, storing in KV, softmax. (syncs) */
void graph_attention(struct eval *e, int tid, int layer);
/* ff = act(gate * input) * (up * input), or gelu(up * input) when there is no gate. (syncs) */
void graph_gate(struct eval *e, int tid, const struct weight *w);
/* h = the weighted outputs of the experts that the router chooses for the input h. (syncs) */
void graph_experts(struct eval *e, int tid, const struct weight *w);
/* hidden = norm(x) of the wanted rows; logits = w * hidden. */
void graph_output(struct eval *e, int tid);

/* ---- what blocks are made of -------------------------------------------------------------------- */

/* This thread's items of n; its rows of a matrix. */
void graph_my_share(const struct eval *e, int tid, size_t n, size_t *ret_from, size_t *ret_to);
void graph_my_rows(const struct eval *e, int tid, size_t rows, size_t *ret_from, size_t *ret_to);
/* Rows [from, to) of matrix `mat` of w times the nt inputs of act, plus the bias. */
void graph_product(const struct eval *e, const struct weight *w, size_t mat, const struct kern_act *act,
                   float *y, size_t ld, size_t from, size_t to, size_t nt);
/* y = norm(x), a row; y may be x. */
void graph_norm_row(const struct eval *e, const struct weight *norm, float *y, const float *x);
/* g = act(g) * u for n values, as the model has it. */
void graph_activate(const struct eval *e, float *g, const float *u, size_t n);
static inline bool weight_q8(const struct weight *w)
{
        return w->type && w->type->act_q8;
}
#endif
