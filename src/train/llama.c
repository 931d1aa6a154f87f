#include "train/llama.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/mem.h"
#include "base/rand.h"
#include "train/ops.h"

/* Rows of logits held at a time: the vocabulary is wide, so the output layer goes in slices. */
#define LOSS_ROWS 256
#define TENSORS_PER_LAYER 9

/* What the forward pass of one layer leaves for the backward pass. */
struct layer_acts {
        float *x;   /* [rows, d] input */
        float *h1;  /* normed input of attention */
        float *qkv; /* after rotation */
        float *att; /* attention output before wo */
        float *mid; /* x + attention */
        float *h2;  /* normed input of the feed-forward part */
        float *gu;  /* gates and ups */
        float *act; /* silu(gate) * up */
        float *rstd1, *rstd2;
};

struct llama_work {
        struct llama_shape shape;
        int max_rows, max_seg;
        float *memory;
        float *rope;
        struct layer_acts *layers;
        float *out, *rstd, *normed; /* after the last layer; its norm */
        float *dx, *dh, *dqkv, *datt, *dgu, *dact;
        float *scratch;                   /* attention: 2 * max_seg^2 */
        float *picked, *dpicked, *logits; /* rows that count, gathered */
        int32_t *pick_row, *pick_target;
        float *pick_weight;
};

int llama_shape_check(const struct llama_shape *s, char *err, size_t errn)
{
        const char *why = NULL;
        if (s->n_vocab < 1 || s->n_embd < 1 || s->n_layer < 1 || s->n_ff < 1 || s->n_ctx < 1)
                why = "every size must be positive";
        else if (s->n_vocab > 1 << 20 || s->n_embd > 1 << 14 || s->n_layer > 512 || s->n_ff > 1 << 16)
                why = "a size is too large";
        else if (s->n_head < 1 || s->n_kv < 1 || s->n_head % s->n_kv)
                why = "heads must be a multiple of key-value heads";
        else if (s->head_dim < 2 || s->head_dim % 2 || s->head_dim > 1024 || s->n_head > 1024)
                why = "head size must be even";
        else if (!(s->rope_base > 1.0f) || !(s->norm_eps > 0.0f))
                why = "rope base or norm epsilon is out of range";
        if (why && errn)
                snprintf(err, errn, "model shape: %s", why);
        return why ? -EINVAL : 0;
}

static size_t qkv_width(const struct llama_shape *s)
{
        return (size_t)(s->n_head + 2 * s->n_kv) * (size_t)s->head_dim;
}

static size_t layer_size(const struct llama_shape *s)
{
        size_t d = (size_t)s->n_embd;
        return 2 * d + d * (qkv_width(s) + (size_t)s->n_head * (size_t)s->head_dim + 3 * (size_t)s->n_ff);
}

int llama_params_init(struct llama_params *p, const struct llama_shape *s)
{
        char err[1];
        size_t d = (size_t)s->n_embd;

        *p = (struct llama_params){ .shape = *s };
        if (llama_shape_check(s, err, 0))
                return -EINVAL;
        p->n = d * (size_t)s->n_vocab + d + layer_size(s) * (size_t)s->n_layer;
        p->data = mem_calloc(p->n, sizeof(float));
        p->layers = mem_calloc((size_t)s->n_layer, sizeof(*p->layers));
        if (!p->data || !p->layers) {
                llama_params_release(p);
                return -ENOMEM;
        }
        float *at = p->data;
        p->embed = at, at += d * (size_t)s->n_vocab;
        p->out_norm = at, at += d;
        for (int i = 0; i < s->n_layer; i++) {
                struct llama_layer *l = &p->layers[i];
                l->attn_norm = at, at += d;
                l->wqkv = at, at += d * qkv_width(s);
                l->wo = at, at += d * (size_t)s->n_head * (size_t)s->head_dim;
                l->ffn_norm = at, at += d;
                l->w_gu = at, at += 2 * d * (size_t)s->n_ff;
                l->w_down = at, at += d * (size_t)s->n_ff;
        }
        return 0;
}

void llama_params_release(struct llama_params *p)
{
        mem_free(p->data);
        mem_free(p->layers);
        *p = (struct llama_params){ 0 };
}

void llama_params_random(struct llama_params *p, uint64_t seed)
{
        struct rng rng;
        rng_seed(&rng, seed);
        for (int i = 0; i < llama_tensor_count(&p->shape); i++) {
                struct llama_tensor t = llama_tensor_at(p, i);
                bool writes = strstr(t.name, "attn_output") || strstr(t.name, "ffn_down");
                double dev = writes ? 0.02 / sqrt(2.0 * p->shape.n_layer) : 0.02;
                float *v = p->data + t.at;
                for (size_t k = 0; k < (size_t)t.rows * (size_t)t.cols; k++)
                        v[k] = t.is_norm ? 1.0f : (float)(rng_normal(&rng) * dev);
        }
}

int llama_tensor_count(const struct llama_shape *s)
{
        return 2 + TENSORS_PER_LAYER * s->n_layer;
}

struct llama_tensor llama_tensor_at(const struct llama_params *p, int i)
{
        const struct llama_shape *s = &p->shape;
        int d = s->n_embd, q = s->n_head * s->head_dim, kv = s->n_kv * s->head_dim;
        struct llama_tensor t = { .rows = 1, .cols = d, .is_norm = true };

        if (i == 0) {
                t = (struct llama_tensor){ .name = "token_embd.weight", .rows = s->n_vocab, .cols = d };
                return t;
        }
        if (i == 1) {
                snprintf(t.name, sizeof(t.name), "output_norm.weight");
                t.at = (size_t)(p->out_norm - p->data);
                return t;
        }
        const struct llama_layer *l = &p->layers[(i - 2) / TENSORS_PER_LAYER];
        const struct {
                const char *name;
                const float *p;
                int rows, cols;
        } parts[TENSORS_PER_LAYER] = {
                { "attn_norm", l->attn_norm, 1, d },
                { "attn_q", l->wqkv, q, d },
                { "attn_k", l->wqkv + (size_t)q * (size_t)d, kv, d },
                { "attn_v", l->wqkv + (size_t)(q + kv) * (size_t)d, kv, d },
                { "attn_output", l->wo, d, q },
                { "ffn_norm", l->ffn_norm, 1, d },
                { "ffn_gate", l->w_gu, s->n_ff, d },
                { "ffn_up", l->w_gu + (size_t)s->n_ff * (size_t)d, s->n_ff, d },
                { "ffn_down", l->w_down, d, s->n_ff },
        };
        int k = (i - 2) % TENSORS_PER_LAYER;
        t.at = (size_t)(parts[k].p - p->data);
        t.rows = parts[k].rows;
        t.cols = parts[k].cols;
        t.is_norm = parts[k].rows == 1;
        snprintf(t.name, sizeof(t.name), "blk.%d.%s.weight", (i - 2) / TENSORS_PER_LAYER, parts[k].name);
        return t;
}

/* Assigns every buffer from w->memory, or with w->memory NULL only counts. Returns the floats needed. */
static size_t carve(struct llama_work *w)
{
        const struct llama_shape *s = &w->shape;
        size_t rows = (size_t)w->max_rows, d = (size_t)s->n_embd, ff = (size_t)s->n_ff, at = 0;
        size_t q = (size_t)s->n_head * (size_t)s->head_dim;
#define TAKE(field, count) ((field) = w->memory ? w->memory + at : NULL, at += ((count) + 15) & ~(size_t)15)
        TAKE(w->rope, (size_t)s->n_ctx * (size_t)s->head_dim);
        for (int i = 0; i < s->n_layer; i++) {
                struct layer_acts *a = &w->layers[i];
                TAKE(a->x, rows * d);
                TAKE(a->h1, rows * d);
                TAKE(a->qkv, rows * qkv_width(s));
                TAKE(a->att, rows * q);
                TAKE(a->mid, rows * d);
                TAKE(a->h2, rows * d);
                TAKE(a->gu, rows * 2 * ff);
                TAKE(a->act, rows * ff);
                TAKE(a->rstd1, rows);
                TAKE(a->rstd2, rows);
        }
        TAKE(w->out, rows * d);
        TAKE(w->rstd, rows);
        TAKE(w->normed, rows * d);
        TAKE(w->dx, rows * d);
        TAKE(w->dh, rows * d);
        TAKE(w->dqkv, rows * qkv_width(s));
        TAKE(w->datt, rows * q);
        TAKE(w->dgu, rows * 2 * ff);
        TAKE(w->dact, rows * ff);
        TAKE(w->scratch, 2 * (size_t)w->max_seg * (size_t)w->max_seg);
        TAKE(w->picked, LOSS_ROWS * d);
        TAKE(w->dpicked, LOSS_ROWS * d);
        TAKE(w->logits, LOSS_ROWS * (size_t)s->n_vocab);
        TAKE(w->pick_weight, rows);
#undef TAKE
        return at;
}

struct llama_work *llama_work_new(const struct llama_shape *s, int max_rows, int max_seg)
{
        struct llama_work *w = mem_calloc(1, sizeof(*w));
        if (!w)
                return NULL;
        w->shape = *s;
        w->max_rows = max_rows;
        w->max_seg = max_seg < max_rows ? max_seg : max_rows;
        w->layers = mem_calloc((size_t)s->n_layer, sizeof(*w->layers));
        w->pick_row = mem_calloc((size_t)max_rows, sizeof(int32_t));
        w->pick_target = mem_calloc((size_t)max_rows, sizeof(int32_t));
        if (!w->layers || !w->pick_row || !w->pick_target)
                goto fail;
        w->memory = mem_alloc(carve(w) * sizeof(float));
        if (!w->memory)
                goto fail;
        carve(w);
        op_rope_table(w->rope, s->n_ctx, s->head_dim, s->rope_base);
        return w;
fail:
        llama_work_free(w);
        return NULL;
}

void llama_work_free(struct llama_work *w)
{
        if (!w)
                return;
        mem_free(w->memory);
        mem_free(w->layers);
        mem_free(w->pick_row);
        mem_free(w->pick_target);
        mem_free(w);
}

static int batch_check(const struct llama_work *w, const struct llama_batch *b)
{
        if (b->n_rows < 1 || b->n_rows > w->max_rows || b->n_seg < 1 || b->seg[0] != 0 ||
            b->seg[b->n_seg] != b->n_rows)
                return -EINVAL;
        for (int i = 0; i < b->n_seg; i++) {
                int len = b->seg[i + 1] - b->seg[i];
                if (len < 1 || len > w->max_seg)
                        return -EINVAL;
        }
        for (int r = 0; r < b->n_rows; r++) {
                if (b->tokens[r] < 0 || b->tokens[r] >= w->shape.n_vocab || b->pos[r] < 0 ||
                    b->pos[r] >= w->shape.n_ctx || b->targets[r] < 0 || b->targets[r] >= w->shape.n_vocab)
                        return -EINVAL;
        }
        return 0;
}

static void layer_forward(struct llama_work *w, const struct llama_layer *l, struct layer_acts *a,
                          const struct llama_batch *b, float *out)
{
        const struct llama_shape *s = &w->shape;
        int rows = b->n_rows, d = s->n_embd, width = (int)qkv_width(s), q = s->n_head * s->head_dim;
        struct attn_shape as = { s->n_head, s->n_kv, s->head_dim };

        op_rmsnorm(a->h1, a->rstd1, a->x, l->attn_norm, rows, d, s->norm_eps);
        op_linear(a->qkv, a->h1, l->wqkv, rows, d, width);
        op_rope(a->qkv, b->pos, w->rope, rows, s->n_head + s->n_kv, s->head_dim, width, 1);
        op_attention(a->att, a->qkv, &as, b->seg, b->n_seg, w->scratch);
        op_linear(a->mid, a->att, l->wo, rows, q, d);
        op_add(a->mid, a->x, (long)rows * d);
        op_rmsnorm(a->h2, a->rstd2, a->mid, l->ffn_norm, rows, d, s->norm_eps);
        op_linear(a->gu, a->h2, l->w_gu, rows, d, 2 * s->n_ff);
        op_swiglu(a->act, a->gu, rows, s->n_ff);
        op_linear(out, a->act, l->w_down, rows, s->n_ff, d);
        op_add(out, a->mid, (long)rows * d);
}

/* w->dx holds the gradient of the layer's output and becomes that of its input. */
static void layer_backward(struct llama_work *w, const struct llama_layer *l, struct llama_layer *g,
                           const struct layer_acts *a, const struct llama_batch *b)
{
        const struct llama_shape *s = &w->shape;
        int rows = b->n_rows, d = s->n_embd, width = (int)qkv_width(s), q = s->n_head * s->head_dim;
        struct attn_shape as = { s->n_head, s->n_kv, s->head_dim };

        op_linear_back(w->dact, g->w_down, w->dx, a->act, l->w_down, rows, s->n_ff, d, 0);
        op_swiglu_back(w->dgu, w->dact, a->gu, rows, s->n_ff);
        op_linear_back(w->dh, g->w_gu, w->dgu, a->h2, l->w_gu, rows, d, 2 * s->n_ff, 0);
        op_rmsnorm_back(w->dx, g->ffn_norm, w->dh, a->mid, l->ffn_norm, a->rstd2, rows, d);
        op_linear_back(w->datt, g->wo, w->dx, a->att, l->wo, rows, q, d, 0);
        op_attention_back(w->dqkv, w->datt, a->qkv, &as, b->seg, b->n_seg, w->scratch);
        op_rope(w->dqkv, b->pos, w->rope, rows, s->n_head + s->n_kv, s->head_dim, width, -1);
        op_linear_back(w->dh, g->wqkv, w->dqkv, a->h1, l->wqkv, rows, d, width, 0);
        op_rmsnorm_back(w->dx, g->attn_norm, w->dh, a->x, l->attn_norm, a->rstd1, rows, d);
}

static void forward(struct llama_work *w, const struct llama_params *p, const struct llama_batch *b)
{
        const struct llama_shape *s = &w->shape;
        op_embed(w->layers[0].x, p->embed, b->tokens, b->n_rows, s->n_embd);
        for (int i = 0; i < s->n_layer; i++) {
                float *out = i + 1 < s->n_layer ? w->layers[i + 1].x : w->out;
                layer_forward(w, &p->layers[i], &w->layers[i], b, out);
        }
        op_rmsnorm(w->normed, w->rstd, w->out, p->out_norm, b->n_rows, s->n_embd, s->norm_eps);
}

/* Lists the rows that count; returns how many. */
static int pick_rows(struct llama_work *w, const struct llama_batch *b)
{
        int n = 0;
        for (int r = 0; r < b->n_rows; r++) {
                if (b->weights[r] == 0.0f)
                        continue;
                w->pick_row[n] = r;
                w->pick_target[n] = b->targets[r];
                w->pick_weight[n++] = b->weights[r];
        }
        return n;
}

/* The output layer over picked rows [from, from + n): loss, and with grad the gradient of `normed` into dh.
 */
static double loss_slice(struct llama_work *w, const struct llama_params *p, int from, int n, float scale,
                         struct llama_params *grad, uint8_t *hits)
{
        int d = w->shape.n_embd, vocab = w->shape.n_vocab;
        size_t row = sizeof(float) * (size_t)d;

        for (int i = 0; i < n; i++)
                memcpy(w->picked + (long)i * d, w->normed + (long)w->pick_row[from + i] * d, row);
        op_linear(w->logits, w->picked, p->embed, n, d, vocab);
        double loss = op_cross_entropy(w->logits, w->pick_target + from, w->pick_weight + from, n, vocab,
                                       scale, hits ? hits + from : NULL);
        if (!grad)
                return loss;
        op_linear_back(w->dpicked, grad->embed, w->logits, w->picked, p->embed, n, d, vocab, 0);
        for (int i = 0; i < n; i++)
                memcpy(w->dh + (long)w->pick_row[from + i] * d, w->dpicked + (long)i * d, row);
        return loss;
}

static void backward(struct llama_work *w, const struct llama_params *p, const struct llama_batch *b,
                     struct llama_params *grad)
{
        const struct llama_shape *s = &w->shape;
        memset(w->dx, 0, sizeof(float) * (size_t)b->n_rows * (size_t)s->n_embd);
        op_rmsnorm_back(w->dx, grad->out_norm, w->dh, w->out, p->out_norm, w->rstd, b->n_rows, s->n_embd);
        for (int i = s->n_layer - 1; i >= 0; i--)
                layer_backward(w, &p->layers[i], &grad->layers[i], &w->layers[i], b);
        op_embed_back(grad->embed, w->dx, b->tokens, b->n_rows, s->n_embd);
}

int llama_run(struct llama_work *w, const struct llama_params *p, const struct llama_batch *b, float scale,
              struct llama_params *grad, uint8_t *hits, struct llama_result *ret)
{
        int rc = batch_check(w, b);
        if (rc)
                return rc;
        forward(w, p, b);
        *ret = (struct llama_result){ 0 };
        if (grad)
                memset(w->dh, 0, sizeof(float) * (size_t)b->n_rows * (size_t)w->shape.n_embd);
        int picked = pick_rows(w, b);
        for (int from = 0; from < picked; from += LOSS_ROWS) {
                int n = picked - from < LOSS_ROWS ? picked - from : LOSS_ROWS;
                ret->loss += loss_slice(w, p, from, n, scale, grad, hits);
        }
        for (int i = 0; i < picked; i++)
                ret->weight += (double)w->pick_weight[i];
        if (grad)
                backward(w, p, b, grad);
        return 0;
}

int llama_logits(struct llama_work *w, const struct llama_params *p, const struct llama_batch *b, int row,
                 float *logits)
{
        int rc = batch_check(w, b);
        if (rc || row < 0 || row >= b->n_rows)
                return -EINVAL;
        forward(w, p, b);
        op_linear(logits, w->normed + (long)row * w->shape.n_embd, p->embed, 1, w->shape.n_embd,
                  w->shape.n_vocab);
        return 0;
}
