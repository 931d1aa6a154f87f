/* Memory of an evaluation, and the blocks that are not attention (graph_attn.c) or experts (graph_moe.c). */
#include <errno.h>
#include <math.h>
#include <string.h>
#include "base/mem.h"
#include "engine/graph.h"
#include "engine/lora.h"
#include "engine/rope.h"
#include "kernels/team.h"

#define ROW_UNIT 16 /* rows of a matrix are shared out in cache lines of results */
#define CACHE_LINE 64
#define ROW_PAD                                                                                         \
        16 /* floats: neighbouring tokens are not a power of two apart, which would put them all in the \
            * same few lines of the cache */
#define QUERIES 16 /* an attention tile has about this many, for one KV head */

/* ---- memory ------------------------------------------------------------------------------------- */

/* Buffers are laid out in one slab, each on a cache line: vectors that straddle two lines load at half speed.
 */
struct slab {
        char *base; /* NULL while sizes are only added up */
        size_t used;
};

static void *piece(struct slab *s, size_t n, size_t size)
{
        void *p = s->base ? s->base + s->used : NULL;
        s->used += (n * size + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
        return p;
}

static float *floats(struct slab *s, size_t rows, size_t n)
{
        return piece(s, rows * n, sizeof(float));
}

static int32_t *ints(struct slab *s, size_t rows, size_t n)
{
        return piece(s, rows * n, sizeof(int32_t));
}

static struct act_rows act_rows(struct slab *s, size_t rows, size_t n)
{
        return (struct act_rows){ piece(s, rows, kern_q8_bytes(n)), floats(s, rows, kern_q8_scales(n)) };
}

static size_t larger(size_t a, size_t b)
{
        return a > b ? a : b;
}

static void lay_out_batch(struct eval *e, struct slab *s)
{
        size_t rows = (size_t)e->max_rows;
        e->batch.tokens = ints(s, rows, 1);
        e->batch.pos = ints(s, rows, 1);
        e->batch.block = ints(s, rows, 1);
        e->batch.out = ints(s, rows, 1);
        e->batch.spans = piece(s, rows, sizeof(struct span));
}

static void lay_out_rows(struct eval *e, struct slab *s)
{
        const struct hparams *hp = e->hp;
        size_t rows = (size_t)e->max_rows, half = (size_t)hp->n_rot / 2, embd = arch_dim(hp, DIM_EMBD);
        e->ld_qkv = arch_dim(hp, DIM_QKV) + ROW_PAD;
        e->ld_ff = arch_dim(hp, DIM_FF_TWICE) + ROW_PAD;
        e->x = floats(s, rows, embd);
        e->h = floats(s, rows, embd);
        e->qkv = floats(s, rows, e->ld_qkv);
        e->ff = floats(s, rows, e->ld_ff);
        for (int i = 0; i < 2; i++) {
                e->turns[i].freq = piece(s, half, sizeof(double));
                e->turns[i].cos = floats(s, rows, half);
                e->turns[i].sin = floats(s, rows, half);
        }
        e->act = act_rows(s, rows, larger(embd, larger(arch_dim(hp, DIM_Q), arch_dim(hp, DIM_FF))));
        e->hidden = floats(s, rows, embd);
        e->logits = floats(s, (size_t)e->max_logits, arch_dim(hp, DIM_VOCAB));
}

static void lay_out_experts(struct eval *e, struct slab *s)
{
        const struct hparams *hp = e->hp;
        size_t rows = (size_t)e->max_rows, used = (size_t)hp->n_expert_used, entries = rows * used;
        size_t embd = arch_dim(hp, DIM_EMBD), ff = arch_dim(hp, DIM_FF_EXPERT);
        e->moe.router = floats(s, rows, (size_t)hp->n_expert);
        e->moe.expert = ints(s, rows, used);
        e->moe.share = floats(s, rows, used);
        e->moe.entry = ints(s, rows, used);
        e->moe.first = ints(s, (size_t)hp->n_expert + 1, 1);
        e->moe.in = floats(s, entries, embd);
        e->moe.ld_ff = 2 * ff + ROW_PAD;
        e->moe.ff = floats(s, entries, e->moe.ld_ff);
        e->moe.act = act_rows(s, entries, larger(embd, ff));
}

static void lay_out_threads(struct eval *e, struct slab *s)
{
        const struct hparams *hp = e->hp;
        int group = hp->n_head / hp->n_head_kv, n = kern_team_size(e->team);
        e->tile_tokens = group >= QUERIES ? 1 : QUERIES / group;
        size_t queries = (size_t)e->tile_tokens * (size_t)group, hd = (size_t)hp->head_dim;
        size_t ctx = ((size_t)e->max_ctx / KERN_KV_BLOCK + 2) * KERN_KV_BLOCK; /* and a sink */
        e->threads = piece(s, (size_t)n, sizeof(*e->threads));
        for (int i = 0; i < n; i++) {
                struct eval_thread t = {
                        .scores = floats(s, queries, ctx),
                        .q_tile = floats(s, queries, hd),
                        .o_tile = floats(s, queries, hd),
                        .kv_scratch = piece(s, arch_dim(hp, DIM_KV), sizeof(uint16_t)),
                };
                if (e->threads)
                        e->threads[i] = t;
        }
}

static void lay_out(struct eval *e, struct slab *s)
{
        lay_out_batch(e, s);
        lay_out_rows(e, s);
        if (e->hp->n_expert)
                lay_out_experts(e, s);
        lay_out_threads(e, s);
}

/* LongRoPE has two sets of factors: for contexts within the original one and beyond it. Keys in KV must
 * agree, so the choice is made by the longest context that will be served. */
static void set_frequencies(struct eval *e)
{
        const struct hparams *hp = e->hp;
        const struct weight *w = e->global->w;
        const struct weight *divisors = &w[W_ROPE_FREQS];
        if (w[W_ROPE_LONG].type)
                divisors = &w[e->max_ctx > hp->rope.n_ctx_orig ? W_ROPE_LONG : W_ROPE_SHORT];
        struct turns *t = e->turns;
        t[0].scale = rope_frequencies(&hp->rope, hp->n_rot, divisors->data, t[0].freq);
        t[1].scale = rope_frequencies(&hp->rope_windowed, hp->n_rot, divisors->data, t[1].freq);
}

int eval_init(struct eval *e, int max_rows, int max_logits, int max_ctx)
{
        struct slab s = { 0 };
        e->max_rows = max_rows;
        e->max_logits = max_logits;
        e->max_ctx = max_ctx;
        lay_out(e, &s);
        e->slab = mem_alloc(s.used + CACHE_LINE);
        if (!e->slab)
                return -ENOMEM;
        s.base = (char *)(((uintptr_t)e->slab + CACHE_LINE - 1) & ~(uintptr_t)(CACHE_LINE - 1));
        s.used = 0;
        lay_out(e, &s);
        set_frequencies(e);
        return 0;
}

void eval_release(struct eval *e)
{
        mem_free(e->slab);
        *e = (struct eval){ 0 };
}

/* ---- running ------------------------------------------------------------------------------------ */

static void run_thread(void *arg, int tid)
{
        struct eval *e = arg;
        e->arch->eval(e, tid);
}

void eval_run(struct eval *e)
{
        struct batch *b = &e->batch;
        for (int s = 0; s < b->n_spans; s++) {
                const struct span *sp = &b->spans[s];
                for (int i = 0; i < sp->n; i++) {
                        b->pos[sp->row + i] = sp->pos + i;
                        b->block[sp->row + i] = sp->blocks[(sp->pos + i) / KERN_KV_BLOCK];
                }
        }
        kern_team_run(e->team, run_thread, e);
}

void graph_sync(struct eval *e)
{
        kern_team_barrier(e->team);
}

void graph_my_share(const struct eval *e, int tid, size_t n, size_t *ret_from, size_t *ret_to)
{
        kern_team_share(tid, kern_team_size(e->team), n, 1, ret_from, ret_to);
}

void graph_my_rows(const struct eval *e, int tid, size_t rows, size_t *ret_from, size_t *ret_to)
{
        kern_team_share(tid, kern_team_size(e->team), rows, ROW_UNIT, ret_from, ret_to);
}

/* ---- the beginning ------------------------------------------------------------------------------ */

static const void *row_at(const struct weight *w, size_t row)
{
        return (const char *)w->data + row * w->row_bytes;
}

/* Row `from` of a matrix as products read it. */
static const void *product_rows(const struct weight *w, size_t mat, size_t from)
{
        if (w->packed)
                return (const char *)w->packed + mat * w->packed_bytes + from * w->row_bytes;
        return row_at(w, mat * w->rows + from);
}

/* Adds a row of another table of embeddings; h is scratch. */
static void add_row(const struct eval *e, size_t t, const struct weight *table, size_t row)
{
        if (!table->type)
                return;
        table->type->dequant(row_at(table, row), e->h + t * table->n, table->n);
        e->k->add(e->x + t * table->n, e->h + t * table->n, table->n);
}

static void turn(const struct eval *e, const struct turns *turns, size_t t)
{
        size_t half = (size_t)e->hp->n_rot / 2;
        for (size_t i = 0; i < half; i++) {
                double a = e->batch.pos[t] * turns->freq[i];
                turns->cos[t * half + i] = (float)(cos(a) * turns->scale);
                turns->sin[t * half + i] = (float)(sin(a) * turns->scale);
        }
}

void graph_begin(struct eval *e, int tid)
{
        const struct weight *w = e->global->w, *embd = &w[W_TOKEN_EMBD];
        size_t from, to;
        graph_my_share(e, tid, (size_t)e->batch.n, &from, &to);
        for (size_t t = from; t < to; t++) {
                float *x = e->x + t * embd->n;
                embd->type->dequant(row_at(embd, (size_t)e->batch.tokens[t]), x, embd->n);
                for (size_t i = 0; e->hp->embd_scale != 1 && i < embd->n; i++)
                        x[i] *= e->hp->embd_scale;
                add_row(e, t, &w[W_TYPE_EMBD], 0); /* of one text: all tokens are of the first type */
                add_row(e, t, &w[W_POS_EMBD], (size_t)e->batch.pos[t]);
                if (w[W_EMBD_NORM].type)
                        graph_norm_row(e, &w[W_EMBD_NORM], x, x);
                turn(e, &e->turns[0], t);
                if (e->hp->window)
                        turn(e, &e->turns[1], t);
        }
        graph_sync(e);
}

/* ---- norms and products ------------------------------------------------------------------------- */

void graph_norm_row(const struct eval *e, const struct weight *norm, float *y, const float *x)
{
        if (e->hp->layer_norm)
                e->k->layernorm(y, x, norm->data, norm->bias, norm->n, e->hp->norm_eps);
        else
                e->k->rmsnorm(y, x, norm->data, norm->n, e->hp->norm_eps);
}

/* The input of the next products, as this thread sees it; rows [from, to) are converted here. */
static void set_input(struct eval *e, int tid, const float *src, size_t ld, size_t n, bool q8, size_t from,
                      size_t to)
{
        size_t ldq = kern_q8_bytes(n), ldd = kern_q8_scales(n);
        e->threads[tid].act = (struct kern_act){ src, ld, e->act.q, ldq, e->act.d, ldd, n };
        for (size_t t = from; q8 && t < to; t++)
                e->k->quant_q8(src + t * ld, n, e->act.q + t * ldq, e->act.d + t * ldd);
}

void graph_input(struct eval *e, int tid, const float *src, size_t ld, size_t n, bool q8)
{
        size_t from, to;
        graph_my_share(e, tid, (size_t)e->batch.n, &from, &to);
        set_input(e, tid, src, ld, n, q8, from, to);
        graph_sync(e);
}

void graph_norm(struct eval *e, int tid, const struct weight *norm, float *dst, bool q8)
{
        size_t from, to, n = (size_t)e->hp->n_embd;
        graph_my_share(e, tid, (size_t)e->batch.n, &from, &to);
        for (size_t t = from; norm->type && t < to; t++)
                graph_norm_row(e, norm, dst + t * n, e->x + t * n);
        set_input(e, tid, norm->type ? dst : e->x, n, n, q8, from, to);
        graph_sync(e);
}

void graph_product(const struct eval *e, const struct weight *w, size_t mat, const struct kern_act *act,
                   float *y, size_t ld, size_t from, size_t to, size_t nt)
{
        if (from == to || !nt)
                return;
        w->type->gemm[e->k->isa](product_rows(w, mat, from), w->row_bytes, act, y + from, ld, to - from, nt);
        for (size_t t = 0; w->bias && t < nt; t++)
                e->k->add(y + t * ld + from, w->bias + mat * w->rows + from, to - from);
        if (w->lora)
                lora_add(e, w, mat, act, y, ld, from, to, nt);
}

void graph_matmul(struct eval *e, int tid, const struct weight *w, float *y, size_t ld)
{
        size_t from, to;
        graph_my_rows(e, tid, w->rows, &from, &to);
        graph_product(e, w, 0, &e->threads[tid].act, y, ld, from, to, (size_t)e->batch.n);
}

void graph_residual_norm(struct eval *e, int tid, const struct weight *norm)
{
        size_t from, to, n = (size_t)e->hp->n_embd;
        graph_my_share(e, tid, (size_t)e->batch.n, &from, &to);
        for (size_t t = from; t < to; t++) {
                float *h = e->h + t * n;
                if (norm->type)
                        graph_norm_row(e, norm, h, h);
                e->k->add(e->x + t * n, h, n);
        }
        graph_sync(e);
}

void graph_residual(struct eval *e, int tid, const struct weight *w, const struct weight *norm)
{
        size_t from, to;
        graph_matmul(e, tid, w, e->h, w->rows);
        if (norm->type) { /* it needs whole rows */
                graph_sync(e);
                graph_residual_norm(e, tid, norm);
                return;
        }
        graph_my_rows(e, tid, w->rows, &from, &to);
        for (size_t t = 0; t < (size_t)e->batch.n; t++)
                e->k->add(e->x + t * w->rows + from, e->h + t * w->rows + from, to - from);
        graph_sync(e);
}

/* ---- the feed-forward part ---------------------------------------------------------------------- */

void graph_activate(const struct eval *e, float *g, const float *u, size_t n)
{
        switch (e->hp->act) {
        case ACT_SILU:
                e->k->silu_mul(g, u, n);
                break;
        case ACT_GELU:
                e->k->gelu_mul(g, u, n);
                break;
        case ACT_SWIGLU_CLAMPED:
                e->k->swiglu_clamped(g, u, n, e->hp->act_limit);
                break;
        }
}

/* Gate and up as one matrix: a thread's rows of it are not pairs, so its tokens are gated when all is there.
 */
static void gate_fused(struct eval *e, int tid, const struct weight *w)
{
        size_t from, to, n = w->rows / 2;
        graph_matmul(e, tid, w, e->ff, e->ld_ff);
        graph_sync(e);
        graph_my_share(e, tid, (size_t)e->batch.n, &from, &to);
        for (size_t t = from; t < to; t++)
                graph_activate(e, e->ff + t * e->ld_ff, e->ff + t * e->ld_ff + n, n);
}

void graph_gate(struct eval *e, int tid, const struct weight *w)
{
        size_t from, to, nt = (size_t)e->batch.n, up = w[W_UP].rows;
        graph_my_rows(e, tid, up, &from, &to);
        if (w[W_GATE_UP].type) {
                gate_fused(e, tid, &w[W_GATE_UP]);
        } else if (w[W_GATE].type) {
                graph_matmul(e, tid, &w[W_GATE], e->ff, e->ld_ff);
                graph_matmul(e, tid, &w[W_UP], e->ff + up, e->ld_ff);
                for (size_t t = 0; t < nt; t++)
                        graph_activate(e, e->ff + t * e->ld_ff + from, e->ff + t * e->ld_ff + up + from,
                                       to - from);
        } else {
                graph_matmul(e, tid, &w[W_UP], e->ff, e->ld_ff);
                for (size_t t = 0; t < nt; t++)
                        e->k->gelu(e->ff + t * e->ld_ff + from, to - from);
        }
        graph_sync(e);
}

/* ---- the end ------------------------------------------------------------------------------------ */

void graph_output(struct eval *e, int tid)
{
        const struct weight *g = e->global->w, *norm = &g[W_OUTPUT_NORM];
        const struct weight *w = g[W_OUTPUT].type ? &g[W_OUTPUT] : &g[W_TOKEN_EMBD];
        size_t from, to, n = (size_t)e->hp->n_embd;
        graph_my_share(e, tid, (size_t)e->batch.n_out, &from, &to);
        for (size_t i = from; i < to; i++) {
                const float *x = e->x + (size_t)e->batch.out[i] * n;
                if (norm->type)
                        graph_norm_row(e, norm, e->hidden + i * n, x);
                else
                        memcpy(e->hidden + i * n, x, n * sizeof(*x));
        }
        set_input(e, tid, e->hidden, n, n, weight_q8(w), from, to);
        graph_sync(e);
        graph_my_rows(e, tid, w->rows, &from, &to);
        graph_product(e, w, 0, &e->threads[tid].act, e->logits, w->rows, from, to, (size_t)e->batch.n_logits);
        for (size_t i = 0; e->hp->final_softcap > 0 && i < (size_t)e->batch.n_logits; i++)
                e->k->softcap(e->logits + i * w->rows + from, to - from, e->hp->final_softcap);
}

/* h = tanh(dense * hidden), or hidden itself without such a layer. */
static void dense_part(struct eval *e, int tid, const struct weight *dense)
{
        size_t from, to, n = (size_t)e->hp->n_embd, nt = (size_t)e->batch.n_out;
        graph_my_share(e, tid, nt, &from, &to);
        if (!dense->type) {
                memcpy(e->h + from * n, e->hidden + from * n, (to - from) * n * sizeof(*e->h));
                return;
        }
        set_input(e, tid, e->hidden, n, n, weight_q8(dense), from, to);
        graph_sync(e);
        graph_my_rows(e, tid, n, &from, &to);
        graph_product(e, dense, 0, &e->threads[tid].act, e->h, n, from, to, nt);
        for (size_t i = 0; i < nt * n; i += n)
                for (size_t c = from; c < to; c++)
                        e->h[i + c] = tanhf(e->h[i + c]);
        graph_sync(e);
}

/* hidden = one score a label: the head of rerankers. */
static void classify(struct eval *e, int tid)
{
        const struct weight *g = e->global->w, *out = &g[W_CLS_OUT];
        size_t from, to, n = (size_t)e->hp->n_embd, nt = (size_t)e->batch.n_out;
        dense_part(e, tid, &g[W_CLS]);
        graph_my_share(e, tid, nt, &from, &to);
        set_input(e, tid, e->h, n, n, weight_q8(out), from, to);
        graph_sync(e);
        graph_my_rows(e, tid, out->rows, &from, &to);
        graph_product(e, out, 0, &e->threads[tid].act, e->hidden, n, from, to, nt);
}

/* ---- stacks ------------------------------------------------------------------------------------- */

static void feed_forward(struct eval *e, int tid, const struct weight *w)
{
        bool q8 = weight_q8(&w[W_GATE]) || weight_q8(&w[W_UP]) || weight_q8(&w[W_GATE_UP]);
        graph_norm(e, tid, &w[W_FFN_NORM], e->h, q8);
        graph_gate(e, tid, w);
        graph_input(e, tid, e->ff, e->ld_ff, w[W_DOWN].n, weight_q8(&w[W_DOWN]));
        graph_residual(e, tid, &w[W_DOWN], &w[W_FFN_POST_NORM]);
}

static void feed_experts(struct eval *e, int tid, const struct weight *w)
{
        bool q8 = weight_q8(&w[W_ROUTER]) || weight_q8(&w[W_GATE_EXPS]) || weight_q8(&w[W_UP_EXPS]);
        graph_norm(e, tid, &w[W_FFN_NORM], e->h, q8);
        graph_experts(e, tid, w);
        graph_residual_norm(e, tid, &w[W_FFN_POST_NORM]);
}

static bool qkv_q8(const struct weight *w)
{
        return weight_q8(&w[W_Q]) || weight_q8(&w[W_K]) || weight_q8(&w[W_V]) || weight_q8(&w[W_QKV]);
}

void graph_decoder(struct eval *e, int tid)
{
        graph_begin(e, tid);
        for (int l = 0; l < e->hp->n_layer; l++) {
                const struct weight *w = e->layers[l].w, *out = &w[W_ATTN_OUT];
                graph_norm(e, tid, &w[W_ATTN_NORM], e->h, qkv_q8(w));
                graph_attention(e, tid, l);
                graph_input(e, tid, e->qkv, e->ld_qkv, out->n, weight_q8(out));
                graph_residual(e, tid, out, &w[W_ATTN_POST_NORM]);
                if (e->hp->n_expert)
                        feed_experts(e, tid, w);
                else
                        feed_forward(e, tid, w);
        }
        graph_output(e, tid);
}

void graph_encoder(struct eval *e, int tid)
{
        static const struct weight none = { 0 };
        graph_begin(e, tid);
        for (int l = 0; l < e->hp->n_layer; l++) {
                const struct weight *w = e->layers[l].w, *out = &w[W_ATTN_OUT], *down = &w[W_DOWN];
                graph_input(e, tid, e->x, (size_t)e->hp->n_embd, (size_t)e->hp->n_embd, qkv_q8(w));
                graph_attention(e, tid, l);
                graph_input(e, tid, e->qkv, e->ld_qkv, out->n, weight_q8(out));
                graph_residual(e, tid, out, &none);
                graph_norm(e, tid, &w[W_ATTN_POST_NORM], e->x, weight_q8(&w[W_GATE]) || weight_q8(&w[W_UP]));
                graph_gate(e, tid, w);
                graph_input(e, tid, e->ff, e->ld_ff, down->n, weight_q8(down));
                graph_residual(e, tid, down, &none);
                graph_norm(e, tid, &w[W_FFN_POST_NORM], e->x, false);
        }
        graph_output(e, tid);
        if (e->hp->pooling == POOL_RANK)
                classify(e, tid);
}
