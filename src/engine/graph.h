/* Evaluation of a batch of tokens: the building blocks that architectures are made of.
 *
 * A graph function runs on all threads of the team at once. Each block below does its thread's share; those
 * that end with "(syncs)" leave when every thread is done, so the next block may read all of it. */
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
        int pos; /* position of the first */
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
        uint16_t *half; /* one row of keys or values in f16 */
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
        /* [rows][...]: residual stream, normalised input, queries (then attention output), keys, values, and
         * the two branches of the feed-forward part */
        float *x, *h, *q, *k_rows, *v, *gate, *up;
        double *freq;     /* radians per position of each rotated pair */
        float *cos, *sin; /* [rows][n_rot / 2] */
        uint8_t *act_q;   /* 8-bit activations of the widest input */
        float *act_d;
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

void graph_sync(struct eval *e);
/* x = embeddings of the tokens; angles of their positions. (syncs) */
void graph_begin(struct eval *e, int tid, const struct weight *embd);
/* h = rmsnorm(x), the input of the next products; q8: in 8 bits too. (syncs) */
void graph_norm(struct eval *e, int tid, const struct weight *norm, bool q8);
/* rows of n values at src become the input of the next products. (syncs) */
void graph_act(struct eval *e, int tid, const float *src, size_t n, bool q8);
/* y = w * input. This thread's rows of w only: graph_sync before reading all. */
void graph_matmul(struct eval *e, int tid, const struct weight *w, float *y);
/* x += w * input; h is overwritten. (syncs) */
void graph_matmul_add(struct eval *e, int tid, const struct weight *w, float *x);
/* gate = silu(gate * input) * (up * input). (syncs) */
void graph_swiglu(struct eval *e, int tid, const struct weight *gate, const struct weight *up);
/* Rotates q and k_rows, and stores k_rows and v in the layer's KV. (syncs) */
void graph_rope_store(struct eval *e, int tid, int layer);
/* q = causal attention of q over the layer's KV. (syncs) */
void graph_attention(struct eval *e, int tid, int layer);
/* hidden = rmsnorm(x) of the wanted rows; logits = w * hidden. */
void graph_output(struct eval *e, int tid, const struct weight *norm, const struct weight *w);
#endif
