#include <errno.h>
#include <math.h>
#include <string.h>
#include "base/mem.h"
#include "engine/graph.h"
#include "kernels/team.h"

#define ROW_UNIT 16 /* rows of a matrix are shared out in cache lines of results */
#define CACHE_LINE 64
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

static size_t widest_input(const struct hparams *hp)
{
        size_t n = arch_dim(hp, DIM_EMBD), q = arch_dim(hp, DIM_Q), ff = arch_dim(hp, DIM_FF);
        n = q > n ? q : n;
        return ff > n ? ff : n;
}

static void lay_out_rows(struct eval *e, struct slab *s)
{
        const struct hparams *hp = e->hp;
        size_t rows = (size_t)e->max_rows, wide = widest_input(hp), half = (size_t)hp->n_rot / 2;
        e->x = floats(s, rows, arch_dim(hp, DIM_EMBD));
        e->h = floats(s, rows, arch_dim(hp, DIM_EMBD));
        e->q = floats(s, rows, arch_dim(hp, DIM_Q));
        e->k_rows = floats(s, rows, arch_dim(hp, DIM_KV));
        e->v = floats(s, rows, arch_dim(hp, DIM_KV));
        e->gate = floats(s, rows, arch_dim(hp, DIM_FF));
        e->up = floats(s, rows, arch_dim(hp, DIM_FF));
        e->cos = floats(s, rows, half);
        e->sin = floats(s, rows, half);
        e->freq = piece(s, half, sizeof(double));
        e->act_q = piece(s, rows, kern_q8_bytes(wide));
        e->act_d = floats(s, rows, kern_q8_scales(wide));
        e->hidden = floats(s, rows, arch_dim(hp, DIM_EMBD));
        e->logits = floats(s, (size_t)e->max_logits, arch_dim(hp, DIM_VOCAB));
        e->batch.tokens = piece(s, rows, sizeof(int32_t));
        e->batch.pos = piece(s, rows, sizeof(int32_t));
        e->batch.block = piece(s, rows, sizeof(int32_t));
        e->batch.out = piece(s, rows, sizeof(int32_t));
        e->batch.spans = piece(s, rows, sizeof(struct span));
}

static void lay_out_threads(struct eval *e, struct slab *s)
{
        const struct hparams *hp = e->hp;
        int group = hp->n_head / hp->n_head_kv, n = kern_team_size(e->team);
        e->tile_tokens = group >= QUERIES ? 1 : QUERIES / group;
        size_t queries = (size_t)e->tile_tokens * (size_t)group, hd = (size_t)hp->head_dim;
        size_t ctx = ((size_t)e->max_ctx + KERN_KV_BLOCK - 1) / KERN_KV_BLOCK * KERN_KV_BLOCK;
        e->threads = piece(s, (size_t)n, sizeof(*e->threads));
        for (int i = 0; i < n; i++) {
                struct eval_thread t = {
                        .scores = floats(s, queries, ctx),
                        .q_tile = floats(s, queries, hd),
                        .o_tile = floats(s, queries, hd),
                        .half = piece(s, arch_dim(hp, DIM_KV), sizeof(uint16_t)),
                };
                if (e->threads)
                        e->threads[i] = t;
        }
}

int eval_init(struct eval *e, int max_rows, int max_logits, int max_ctx)
{
        struct slab s = { 0 };
        e->max_rows = max_rows;
        e->max_logits = max_logits;
        e->max_ctx = max_ctx;
        lay_out_rows(e, &s);
        lay_out_threads(e, &s);
        e->slab = mem_alloc(s.used + CACHE_LINE);
        if (!e->slab)
                return -ENOMEM;
        s.base = (char *)(((uintptr_t)e->slab + CACHE_LINE - 1) & ~(uintptr_t)(CACHE_LINE - 1));
        s.used = 0;
        lay_out_rows(e, &s);
        lay_out_threads(e, &s);
        for (int i = 0; i < e->hp->n_rot / 2; i++)
                e->freq[i] = pow(e->hp->rope_base, -2.0 * i / e->hp->n_rot);
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

/* This thread's tokens of the batch. */
static void my_tokens(const struct eval *e, int tid, int n, size_t *ret_from, size_t *ret_to)
{
        kern_team_share(tid, kern_team_size(e->team), (size_t)n, 1, ret_from, ret_to);
}

static void my_rows(const struct eval *e, int tid, const struct weight *w, size_t *ret_from, size_t *ret_to)
{
        kern_team_share(tid, kern_team_size(e->team), w->rows, ROW_UNIT, ret_from, ret_to);
}

static const void *row_at(const struct weight *w, size_t row)
{
        return (const char *)w->data + row * w->row_bytes;
}

/* ---- blocks ------------------------------------------------------------------------------------- */

static void angles(const struct eval *e, size_t row)
{
        size_t half = (size_t)e->hp->n_rot / 2;
        for (size_t i = 0; i < half; i++) {
                double a = e->batch.pos[row] * e->freq[i];
                e->cos[row * half + i] = (float)cos(a);
                e->sin[row * half + i] = (float)sin(a);
        }
}

void graph_begin(struct eval *e, int tid, const struct weight *embd)
{
        size_t from, to;
        my_tokens(e, tid, e->batch.n, &from, &to);
        for (size_t t = from; t < to; t++) {
                embd->type->dequant(row_at(embd, (size_t)e->batch.tokens[t]), e->x + t * embd->n, embd->n);
                angles(e, t);
        }
        graph_sync(e);
}

/* The input of the next products, as this thread sees it; rows [from, to) are converted here. */
static void set_act(struct eval *e, int tid, const float *src, size_t n, bool q8, size_t from, size_t to)
{
        size_t ldq = kern_q8_bytes(n), ldd = kern_q8_scales(n);
        e->threads[tid].act = (struct kern_act){ src, n, e->act_q, ldq, e->act_d, ldd, n };
        for (size_t t = from; q8 && t < to; t++)
                e->k->quant_q8(src + t * n, n, e->act_q + t * ldq, e->act_d + t * ldd);
}

void graph_norm(struct eval *e, int tid, const struct weight *norm, bool q8)
{
        size_t from, to, n = norm->n;
        my_tokens(e, tid, e->batch.n, &from, &to);
        for (size_t t = from; t < to; t++)
                e->k->rmsnorm(e->h + t * n, e->x + t * n, norm->data, n, e->hp->norm_eps);
        set_act(e, tid, e->h, n, q8, from, to);
        graph_sync(e);
}

void graph_act(struct eval *e, int tid, const float *src, size_t n, bool q8)
{
        size_t from, to;
        my_tokens(e, tid, e->batch.n, &from, &to);
        set_act(e, tid, src, n, q8, from, to);
        graph_sync(e);
}

/* Row `from` of a matrix as products read it. */
static const void *product_row(const struct weight *w, size_t from)
{
        return w->packed ? (const char *)w->packed + from * w->row_bytes : row_at(w, from);
}

static void product(struct eval *e, int tid, const struct weight *w, float *y, size_t from, size_t to, int nt)
{
        if (from < to && nt)
                w->type->gemm[e->k->isa](product_row(w, from), w->row_bytes, &e->threads[tid].act, y + from,
                                         w->rows, to - from, (size_t)nt);
}

void graph_matmul(struct eval *e, int tid, const struct weight *w, float *y)
{
        size_t from, to;
        my_rows(e, tid, w, &from, &to);
        product(e, tid, w, y, from, to, e->batch.n);
}

void graph_matmul_add(struct eval *e, int tid, const struct weight *w, float *x)
{
        size_t from, to;
        my_rows(e, tid, w, &from, &to);
        product(e, tid, w, e->h, from, to, e->batch.n);
        for (size_t t = 0; t < (size_t)e->batch.n; t++)
                e->k->add(x + t * w->rows + from, e->h + t * w->rows + from, to - from);
        graph_sync(e);
}

void graph_swiglu(struct eval *e, int tid, const struct weight *gate, const struct weight *up)
{
        size_t from, to;
        my_rows(e, tid, gate, &from, &to);
        product(e, tid, gate, e->gate, from, to, e->batch.n);
        product(e, tid, up, e->up, from, to, e->batch.n);
        for (size_t t = 0; t < (size_t)e->batch.n; t++)
                e->k->silu_mul(e->gate + t * gate->rows + from, e->up + t * gate->rows + from, to - from);
        graph_sync(e);
}

/* One row of keys and values into its place of its KV block. */
static void store_row(struct eval *e, int tid, int layer, size_t t)
{
        size_t width = arch_dim(e->hp, DIM_KV);
        kv_store(e->kv, e->k, layer, e->batch.block[t], (size_t)e->batch.pos[t] % KERN_KV_BLOCK,
                 e->k_rows + t * width, e->v + t * width, e->threads[tid].half);
}

void graph_rope_store(struct eval *e, int tid, int layer)
{
        const struct hparams *hp = e->hp;
        size_t from, to, half = (size_t)hp->n_rot / 2, hd = (size_t)hp->head_dim;
        my_tokens(e, tid, e->batch.n, &from, &to);
        for (size_t t = from; t < to; t++) {
                const float *c = e->cos + t * half, *s = e->sin + t * half;
                e->k->rope(e->q + t * arch_dim(hp, DIM_Q), (size_t)hp->n_head, hd, c, s, (size_t)hp->n_rot);
                e->k->rope(e->k_rows + t * arch_dim(hp, DIM_KV), (size_t)hp->n_head_kv, hd, c, s,
                           (size_t)hp->n_rot);
                store_row(e, tid, layer, t);
        }
        graph_sync(e);
}

/* Attention of `n` consecutive tokens of a span for the heads that share KV head `head`. A token's scores
 * beyond its own position count as zero weights, so the size of the tile changes nothing. */
static void attend(struct eval *e, int tid, int layer, const struct span *sp, int first, int n, int head)
{
        const struct hparams *hp = e->hp;
        struct eval_thread *th = &e->threads[tid];
        size_t group = (size_t)(hp->n_head / hp->n_head_kv), hd = (size_t)hp->head_dim,
               ldq = arch_dim(hp, DIM_Q);
        size_t nq = (size_t)n * group, len = (size_t)sp->pos + (size_t)first + (size_t)n;
        size_t blocks = (len + KERN_KV_BLOCK - 1) / KERN_KV_BLOCK, lds = blocks * KERN_KV_BLOCK;
        float *rows = e->q + (size_t)(sp->row + first) * ldq + (size_t)head * group * hd;
        for (size_t t = 0; t < (size_t)n; t++)
                memcpy(th->q_tile + t * group * hd, rows + t * ldq, group * hd * sizeof(float));
        for (size_t b = 0; b < blocks; b++)
                kv_scores(e->kv, e->k, layer, sp->blocks[b], head, th->q_tile, hd, nq, 1.0f / sqrtf((float)hd),
                          th->scores + b * KERN_KV_BLOCK, lds);
        for (size_t i = 0; i < nq; i++) {
                size_t own = len - (size_t)n + 1 + i / group;
                e->k->softmax(th->scores + i * lds, own);
                memset(th->scores + i * lds + own, 0, (lds - own) * sizeof(float));
        }
        memset(th->o_tile, 0, nq * hd * sizeof(float));
        for (size_t b = 0; b < blocks; b++) {
                size_t nk = len - b * KERN_KV_BLOCK;
                kv_mix(e->kv, e->k, layer, sp->blocks[b], head, th->scores + b * KERN_KV_BLOCK, lds, nq,
                       nk < KERN_KV_BLOCK ? nk : KERN_KV_BLOCK, th->o_tile, hd);
        }
        for (size_t t = 0; t < (size_t)n; t++)
                memcpy(rows + t * ldq, th->o_tile + t * group * hd, group * hd * sizeof(float));
}

void graph_attention(struct eval *e, int tid, int layer)
{
        int heads = e->hp->n_head_kv, threads = kern_team_size(e->team), unit = 0;
        for (int s = 0; s < e->batch.n_spans; s++) {
                const struct span *sp = &e->batch.spans[s];
                for (int first = 0; first < sp->n; first += e->tile_tokens) {
                        int n = sp->n - first < e->tile_tokens ? sp->n - first : e->tile_tokens;
                        for (int head = 0; head < heads; head++, unit++)
                                if (unit % threads == tid)
                                        attend(e, tid, layer, sp, first, n, head);
                }
        }
        graph_sync(e);
}

void graph_output(struct eval *e, int tid, const struct weight *norm, const struct weight *w)
{
        size_t from, to, n = norm->n;
        my_tokens(e, tid, e->batch.n_out, &from, &to);
        for (size_t i = from; i < to; i++)
                e->k->rmsnorm(e->hidden + i * n, e->x + (size_t)e->batch.out[i] * n, norm->data, n,
                              e->hp->norm_eps);
        set_act(e, tid, e->hidden, n, w->type->act_q8, from, to);
        graph_sync(e);
        my_rows(e, tid, w, &from, &to);
        product(e, tid, w, e->logits, from, to, e->batch.n_logits);
}
