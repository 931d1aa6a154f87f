/* Attention: projections, norms of heads, rotation, KV, softmax over what a token may see. */
#include <math.h>
#include <string.h>
#include "engine/graph.h"
#include "kernels/team.h"

/* ---- queries, keys and values ------------------------------------------------------------------- */

static void project(struct eval *e, int tid, const struct weight *w)
{
        if (w[W_QKV].type) {
                graph_matmul(e, tid, &w[W_QKV], e->qkv, e->ld_qkv);
        } else {
                graph_matmul(e, tid, &w[W_Q], e->qkv, e->ld_qkv);
                graph_matmul(e, tid, &w[W_K], e->qkv + w[W_Q].rows, e->ld_qkv);
                graph_matmul(e, tid, &w[W_V], e->qkv + w[W_Q].rows + w[W_K].rows, e->ld_qkv);
        }
        graph_sync(e);
}

/* Norms of queries or keys: of each head when the norm has a head's size, else of all together. */
static void norm_heads(const struct eval *e, const struct weight *norm, float *x, size_t width)
{
        for (size_t i = 0; norm->type && i < width; i += norm->n)
                graph_norm_row(e, norm, x + i, x + i);
}

static void rotate(const struct eval *e, const struct turns *turns, size_t t, float *x, int heads)
{
        size_t half = (size_t)e->hp->n_rot / 2;
        (e->hp->rope_halves ? e->k->rope_neox : e->k->rope)(x, (size_t)heads, (size_t)e->hp->head_dim,
                                                            turns->cos + t * half, turns->sin + t * half,
                                                            2 * half);
}

static void finish_heads(struct eval *e, int tid, int layer)
{
        const struct hparams *hp = e->hp;
        const struct weight *w = e->layers[layer].w;
        const struct turns *turns = &e->turns[hparams_windowed(hp, layer)];
        size_t from, to, nq = arch_dim(hp, DIM_Q), nkv = arch_dim(hp, DIM_KV);
        graph_my_share(e, tid, (size_t)e->batch.n, &from, &to);
        for (size_t t = from; t < to; t++) {
                float *q = e->qkv + t * e->ld_qkv, *k = q + nq, *v = k + nkv;
                norm_heads(e, &w[W_Q_NORM], q, nq);
                norm_heads(e, &w[W_K_NORM], k, nkv);
                if (hp->n_rot) {
                        rotate(e, turns, t, q, hp->n_head);
                        rotate(e, turns, t, k, hp->n_head_kv);
                }
                kv_store(e->kv, e->k, layer, e->batch.block[t], (size_t)e->batch.pos[t] % KERN_KV_BLOCK, k, v,
                         e->threads[tid].kv_scratch);
        }
        graph_sync(e);
}

/* ---- attention ---------------------------------------------------------------------------------- */

/* Consecutive tokens of a span and one KV head, and what they see. */
struct tile {
        const struct span *span;
        int layer, head;
        int first, n;    /* tokens of the span */
        int block, stop; /* KV blocks that any of them sees */
        const float *sinks;
};

/* Positions [*ret_lo, *ret_hi) that the token at pos sees. */
static void visible(const struct eval *e, const struct tile *t, int pos, int *ret_lo, int *ret_hi)
{
        const struct hparams *hp = e->hp;
        bool windowed = hparams_windowed(hp, t->layer);
        *ret_hi = hp->causal ? pos + 1 : t->span->pos + t->span->n;
        *ret_lo = windowed && pos >= hp->window ? pos - hp->window + 1 : 0;
}

/* Scores to weights. What a token does not see weighs zero, so that results do not depend on the tile; a sink
 * (Xiao et al. 2023, here a learnt score) takes part in the softmax and is dropped. */
static void weigh(const struct eval *e, const struct tile *t, float *scores, size_t lds, size_t group)
{
        int from = t->block * KERN_KV_BLOCK, lo, hi;
        for (size_t i = 0; i < (size_t)t->n * group; i++, scores += lds) {
                visible(e, t, t->span->pos + t->first + (int)(i / group), &lo, &hi);
                size_t skip = (size_t)(lo - from), n = (size_t)(hi - lo);
                float *seen = scores + skip;
                if (e->hp->attn_softcap > 0)
                        e->k->softcap(seen, n, e->hp->attn_softcap);
                if (t->sinks)
                        seen[n] = t->sinks[(size_t)t->head * group + i % group];
                e->k->softmax(seen, n + (t->sinks != NULL));
                memset(scores, 0, skip * sizeof(*scores));
                memset(seen + n, 0, (lds - skip - n) * sizeof(*scores));
        }
}

static void attend(struct eval *e, int tid, const struct tile *t)
{
        const struct hparams *hp = e->hp;
        const struct span *sp = t->span;
        struct eval_thread *th = &e->threads[tid];
        size_t group = (size_t)(hp->n_head / hp->n_head_kv), hd = (size_t)hp->head_dim;
        size_t nq = (size_t)t->n * group, width = group * hd;
        size_t lds = (size_t)(t->stop - t->block + 1) * KERN_KV_BLOCK; /* room for a sink */
        float *rows = e->qkv + (size_t)(sp->row + t->first) * e->ld_qkv + (size_t)t->head * width;
        int len = hp->causal ? sp->pos + t->first + t->n : sp->pos + sp->n;
        for (size_t i = 0; i < (size_t)t->n; i++)
                memcpy(th->q_tile + i * width, rows + i * e->ld_qkv, width * sizeof(float));
        float *s = th->scores;
        for (int b = t->block; b < t->stop; b++, s += KERN_KV_BLOCK)
                kv_scores(e->kv, e->k, t->layer, sp->blocks[b], t->head, th->q_tile, hd, nq, hp->attn_scale,
                          s, lds);
        weigh(e, t, th->scores, lds, group);
        memset(th->o_tile, 0, nq * hd * sizeof(float));
        s = th->scores;
        for (int b = t->block; b < t->stop; b++, s += KERN_KV_BLOCK) {
                int nk = len - b * KERN_KV_BLOCK;
                kv_mix(e->kv, e->k, t->layer, sp->blocks[b], t->head, s, lds, nq,
                       (size_t)(nk < KERN_KV_BLOCK ? nk : KERN_KV_BLOCK), th->o_tile, hd);
        }
        for (size_t i = 0; i < (size_t)t->n; i++)
                memcpy(rows + i * e->ld_qkv, th->o_tile + i * width, width * sizeof(float));
}

static void attend_heads(struct eval *e, int tid, int layer)
{
        const struct weight *sinks = &e->layers[layer].w[W_SINKS];
        struct tile t = { .layer = layer, .sinks = sinks->data };
        int threads = kern_team_size(e->team), unit = 0, lo, hi;
        for (int s = 0; s < e->batch.n_spans; s++) {
                t.span = &e->batch.spans[s];
                for (t.first = 0; t.first < t.span->n; t.first += e->tile_tokens) {
                        int left = t.span->n - t.first, pos = t.span->pos + t.first;
                        t.n = left < e->tile_tokens ? left : e->tile_tokens;
                        visible(e, &t, pos, &lo, &hi);
                        t.block = lo / KERN_KV_BLOCK;
                        visible(e, &t, pos + t.n - 1, &lo, &hi);
                        t.stop = (hi + KERN_KV_BLOCK - 1) / KERN_KV_BLOCK;
                        for (t.head = 0; t.head < e->hp->n_head_kv; t.head++, unit++)
                                if (unit % threads == tid)
                                        attend(e, tid, &t);
                }
        }
        graph_sync(e);
}

void graph_attention(struct eval *e, int tid, int layer)
{
        project(e, tid, e->layers[layer].w);
        finish_heads(e, tid, layer);
        attend_heads(e, tid, layer);
}
