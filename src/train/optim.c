#include "train/optim.h"

#include <cblas.h>
#include <errno.h>
#include <math.h>
#include <string.h>
#include "base/mem.h"
#include "train/ops.h"

#define NEWTON_SCHULZ_STEPS 5

struct optim_config optim_defaults(void)
{
        return (struct optim_config){ .beta1 = 0.9f,
                                      .beta2 = 0.95f,
                                      .eps = 1e-8f,
                                      .weight_decay = 0.1f,
                                      .clip = 1.0f,
                                      .muon = true,
                                      .momentum = 0.95f };
}

static bool by_muon(const struct optim *o, const struct llama_tensor *t)
{
        return o->cfg.muon && !t->is_norm && t->name[0] == 'b'; /* "blk.": not the embedding */
}

/* Floats that orthogonalising the largest matrix takes: the matrix, its transpose or product, two squares. */
static size_t scratch_size(const struct llama_params *p)
{
        size_t most = 1;
        for (int i = 2; i < llama_tensor_count(&p->shape); i++) {
                struct llama_tensor t = llama_tensor_at(p, i);
                size_t small = (size_t)(t.rows < t.cols ? t.rows : t.cols);
                size_t need = 2 * (size_t)t.rows * (size_t)t.cols + 2 * small * small;
                most = need > most ? need : most;
        }
        return most;
}

int optim_init(struct optim *o, const struct optim_config *cfg, const struct llama_params *p, int n_workers)
{
        *o = (struct optim){ .cfg = *cfg, .n_workers = n_workers };
        o->m = mem_calloc(p->n, sizeof(float));
        o->v = mem_calloc(p->n, sizeof(float));
        o->scratch = mem_calloc((size_t)n_workers, sizeof(*o->scratch));
        bool ok = o->m && o->v && o->scratch;
        for (int i = 0; i < n_workers && ok; i++) {
                o->scratch[i] = mem_alloc(scratch_size(p) * sizeof(float));
                ok = o->scratch[i] != NULL;
        }
        if (!ok)
                optim_release(o);
        return ok ? 0 : -ENOMEM;
}

void optim_release(struct optim *o)
{
        mem_free(o->m);
        mem_free(o->v);
        for (int i = 0; o->scratch && i < o->n_workers; i++)
                mem_free(o->scratch[i]);
        mem_free(o->scratch);
        *o = (struct optim){ 0 };
}

static void adamw(const struct optim_config *c, float *restrict p, const float *restrict g, float *restrict m,
                  float *restrict v, size_t n, float lr, float decay, long step, float g_scale)
{
        float fix1 = 1.0f / (1.0f - powf(c->beta1, (float)step));
        float fix2 = 1.0f / (1.0f - powf(c->beta2, (float)step));
        for (size_t i = 0; i < n; i++) {
                float gi = g[i] * g_scale;
                m[i] = c->beta1 * m[i] + (1.0f - c->beta1) * gi;
                v[i] = c->beta2 * v[i] + (1.0f - c->beta2) * gi * gi;
                p[i] -= lr * (m[i] * fix1 / (sqrtf(v[i] * fix2) + c->eps) + decay * p[i]);
        }
}

/* x[rows, cols] becomes close to U V^T of its singular value decomposition, rows <= cols: a Newton-Schulz
 * iteration of odd polynomials that drives all singular values to about one. */
static void orthogonalise(float *x, float *next, float *a, float *b, int rows, int cols)
{
        const float ca = 3.4445f, cb = -4.7750f, cc = 2.0315f;
        long n = (long)rows * cols, nn = (long)rows * rows;
        float inv = 1.0f / (sqrtf((float)op_square_sum(x, n)) + 1e-7f);

        for (long i = 0; i < n; i++)
                x[i] *= inv;
        for (int k = 0; k < NEWTON_SCHULZ_STEPS; k++) {
                cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, rows, cols, 1.0f, x, cols, x, cols,
                            0.0f, a, rows);
                memcpy(b, a, sizeof(float) * (size_t)nn);
                cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, rows, rows, rows, cc, a, rows, a, rows,
                            cb, b, rows);
                memcpy(next, x, sizeof(float) * (size_t)n);
                cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, rows, cols, rows, 1.0f, b, rows, x,
                            cols, ca, next, cols);
                memcpy(x, next, sizeof(float) * (size_t)n);
        }
}

static void transpose(float *restrict out, const float *restrict in, int rows, int cols)
{
        for (int r = 0; r < rows; r++) {
                for (int c = 0; c < cols; c++)
                        out[(long)c * rows + r] = in[(long)r * cols + c];
        }
}

/* Nesterov momentum, orthogonalised; tall matrices are turned so that the products stay small. */
static void muon(const struct optim_config *c, float *p, const float *g, float *m,
                 const struct llama_tensor *t, float lr, float decay, float g_scale, float *scratch)
{
        size_t n = (size_t)t->rows * (size_t)t->cols;
        bool tall = t->rows > t->cols;
        int small = tall ? t->cols : t->rows, large = tall ? t->rows : t->cols;
        float *x = scratch, *next = x + n, *a = next + n, *b = a + (size_t)small * (size_t)small;

        for (size_t i = 0; i < n; i++) {
                float gi = g[i] * g_scale;
                m[i] = c->momentum * m[i] + gi;
                x[i] = gi + c->momentum * m[i];
        }
        if (tall) {
                transpose(next, x, t->rows, t->cols);
                memcpy(x, next, n * sizeof(float));
        }
        orthogonalise(x, next, a, b, small, large);
        if (tall) {
                transpose(next, x, t->cols, t->rows);
                x = next;
        }
        float scale = 0.2f * sqrtf((float)large);
        for (size_t i = 0; i < n; i++)
                p[i] -= lr * (scale * x[i] + decay * p[i]);
}

void optim_step(struct optim *o, struct llama_params *p, const struct llama_params *grad, float lr, long step,
                double norm, int worker)
{
        const struct optim_config *c = &o->cfg;
        float g_scale = c->clip > 0.0f && norm > (double)c->clip ? (float)((double)c->clip / norm) : 1.0f;

        for (int i = 0; i < llama_tensor_count(&p->shape); i++) {
                if (i % o->n_workers != worker)
                        continue;
                struct llama_tensor t = llama_tensor_at(p, i);
                float decay = t.is_norm ? 0.0f : c->weight_decay;
                if (by_muon(o, &t))
                        muon(c, p->data + t.at, grad->data + t.at, o->m + t.at, &t, lr, decay, g_scale,
                             o->scratch[worker]);
                else
                        adamw(c, p->data + t.at, grad->data + t.at, o->m + t.at, o->v + t.at,
                              (size_t)t.rows * (size_t)t.cols, lr, decay, step, g_scale);
        }
}

float lr_factor(double progress, long step, long warmup, double decay)
{
        double f = step < warmup ? (double)(step + 1) / (double)warmup : 1.0;
        if (decay > 0.0 && progress > 1.0 - decay) {
                double part = (progress - (1.0 - decay)) / decay;
                f *= 1.0 - sqrt(part < 1.0 ? part : 1.0);
        }
        return (float)f;
}
