#include "train/ops.h"

#include <cblas.h>
#include <math.h>
#include <string.h>

/* The loops below are plain C; the compiler makes one copy of each function per instruction set and the
 * loader picks one. Sanitizers cannot run before their own start-up, as the loader's choice would need. */
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && \
        !defined(__clang__)
#define PER_ISA __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define PER_ISA
#endif

/* exp(x) to about 1e-7 relative, in a form that vectorises: 2^n from the exponent bits times a
 * polynomial of the rest. */
static inline __attribute__((always_inline)) float exp_f(float x)
{
        x = x < -87.0f ? -87.0f : x;
        x = x > 88.0f ? 88.0f : x;
        float n = __builtin_rintf(x * 1.44269504088896341f);
        float r = x - n * 0.693359375f;
        r -= n * -2.12194440e-4f;
        float p = 1.9875691500e-4f;
        p = p * r + 1.3981999507e-3f;
        p = p * r + 8.3334519073e-3f;
        p = p * r + 4.1665795894e-2f;
        p = p * r + 1.6666665459e-1f;
        p = p * r + 5.0000001201e-1f;
        p = p * r * r + r + 1.0f;
        union {
                int32_t i;
                float f;
        } scale = { .i = ((int32_t)n + 127) << 23 };
        return p * scale.f;
}

void op_linear(float *y, const float *x, const float *w, int rows, int n_in, int n_out)
{
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, n_out, n_in, 1.0f, x, n_in, w, n_in, 0.0f,
                    y, n_out);
}

void op_linear_back(float *dx, float *dw, const float *dy, const float *x, const float *w, int rows, int n_in,
                    int n_out, int add)
{
        if (dx)
                cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, rows, n_in, n_out, 1.0f, dy, n_out, w,
                            n_in, add ? 1.0f : 0.0f, dx, n_in);
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, n_out, n_in, rows, 1.0f, dy, n_out, x, n_in,
                    1.0f, dw, n_in);
}

PER_ISA void op_rmsnorm(float *restrict y, float *restrict rstd, const float *restrict x,
                        const float *restrict g, int rows, int d, float eps)
{
        for (int r = 0; r < rows; r++) {
                const float *xr = x + (long)r * d;
                float *yr = y + (long)r * d;
                float sum = 0.0f;
                for (int i = 0; i < d; i++)
                        sum += xr[i] * xr[i];
                float s = 1.0f / sqrtf(sum / (float)d + eps);
                rstd[r] = s;
                for (int i = 0; i < d; i++)
                        yr[i] = xr[i] * s * g[i];
        }
}

/* With n = x * rstd: dx = rstd * (g*dy - n * mean(g*dy*n)). */
PER_ISA void op_rmsnorm_back(float *restrict dx, float *restrict dg, const float *restrict dy,
                             const float *restrict x, const float *restrict g, const float *restrict rstd,
                             int rows, int d)
{
        for (int r = 0; r < rows; r++) {
                const float *xr = x + (long)r * d, *dyr = dy + (long)r * d;
                float *dxr = dx + (long)r * d;
                float s = rstd[r], dot = 0.0f;
                for (int i = 0; i < d; i++) {
                        dot += g[i] * dyr[i] * xr[i];
                        dg[i] += dyr[i] * xr[i] * s;
                }
                float c = dot * s * s / (float)d;
                for (int i = 0; i < d; i++)
                        dxr[i] += s * (g[i] * dyr[i] - xr[i] * c);
        }
}

void op_rope_table(float *table, int n_pos, int dim, float base)
{
        for (int p = 0; p < n_pos; p++) {
                for (int i = 0; i < dim; i += 2) {
                        double angle = (double)p * pow((double)base, -(double)i / dim);
                        table[(long)p * dim + i] = (float)cos(angle);
                        table[(long)p * dim + i + 1] = (float)sin(angle);
                }
        }
}

PER_ISA void op_rope(float *restrict x, const int32_t *restrict pos, const float *restrict table, int rows,
                     int n_heads, int dim, int stride, int sign)
{
        float sg = (float)sign;
        for (int r = 0; r < rows; r++) {
                const float *t = table + (long)pos[r] * dim;
                for (int h = 0; h < n_heads; h++) {
                        float *v = x + (long)r * stride + h * dim;
                        for (int i = 0; i < dim; i += 2) {
                                float c = t[i], s = sg * t[i + 1], a = v[i], b = v[i + 1];
                                v[i] = a * c - b * s;
                                v[i + 1] = a * s + b * c;
                        }
                }
        }
}

/* Row i of p[len, len] becomes the softmax of its first i + 1 entries, zero after. */
PER_ISA static void causal_softmax(float *restrict p, int len)
{
        for (int i = 0; i < len; i++) {
                float *row = p + (long)i * len;
                float max = row[0], sum = 0.0f;
                for (int j = 1; j <= i; j++)
                        max = row[j] > max ? row[j] : max;
                for (int j = 0; j <= i; j++) {
                        row[j] = exp_f(row[j] - max);
                        sum += row[j];
                }
                float inv = 1.0f / sum;
                for (int j = 0; j <= i; j++)
                        row[j] *= inv;
                memset(row + i + 1, 0, sizeof(float) * (size_t)(len - i - 1));
        }
}

/* dp becomes the gradient of the scores: p * (dp - sum(p * dp)) per row; what lies above the diagonal is
 * zero because p is. */
PER_ISA static void softmax_back(float *restrict dp, const float *restrict p, int len)
{
        for (int i = 0; i < len; i++) {
                const float *pr = p + (long)i * len;
                float *dr = dp + (long)i * len, dot = 0.0f;
                for (int j = 0; j <= i; j++)
                        dot += pr[j] * dr[j];
                for (int j = 0; j <= i; j++)
                        dr[j] = pr[j] * (dr[j] - dot);
                memset(dr + i + 1, 0, sizeof(float) * (size_t)(len - i - 1));
        }
}

/* p[len, len] = the attention probabilities of query head h in a segment whose first row is qkv. */
static void attention_probs(float *p, const float *qkv, const struct attn_shape *s, int h, int len)
{
        int stride = (s->n_head + 2 * s->n_kv) * s->dim;
        int g = h / (s->n_head / s->n_kv);
        const float *q = qkv + h * s->dim, *k = qkv + (s->n_head + g) * s->dim;

        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, len, len, s->dim, 1.0f / sqrtf((float)s->dim), q,
                    stride, k, stride, 0.0f, p, len);
        causal_softmax(p, len);
}

void op_attention(float *out, const float *qkv, const struct attn_shape *s, const int32_t *seg, int n_seg,
                  float *scratch)
{
        int stride = (s->n_head + 2 * s->n_kv) * s->dim, width = s->n_head * s->dim;

        for (int i = 0; i < n_seg; i++) {
                int len = seg[i + 1] - seg[i];
                const float *rows = qkv + (long)seg[i] * stride;
                for (int h = 0; h < s->n_head; h++) {
                        int g = h / (s->n_head / s->n_kv);
                        const float *v = rows + (s->n_head + s->n_kv + g) * s->dim;
                        attention_probs(scratch, rows, s, h, len);
                        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, len, s->dim, len, 1.0f,
                                    scratch, len, v, stride, 0.0f, out + (long)seg[i] * width + h * s->dim,
                                    width);
                }
        }
}

/* One query head of one segment. */
static void attention_head_back(float *drows, const float *dout, const float *rows,
                                const struct attn_shape *s, int h, int len, float *p)
{
        int stride = (s->n_head + 2 * s->n_kv) * s->dim, width = s->n_head * s->dim;
        int per = s->n_head / s->n_kv, g = h / per;
        int at_k = (s->n_head + g) * s->dim, at_v = (s->n_head + s->n_kv + g) * s->dim, at_q = h * s->dim;
        float *dp = p + (long)len * len, scale = 1.0f / sqrtf((float)s->dim);
        float beta = h % per ? 1.0f : 0.0f; /* the first head of a group starts its dk and dv */

        attention_probs(p, rows, s, h, len);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, len, len, s->dim, 1.0f, dout + at_q, width,
                    rows + at_v, stride, 0.0f, dp, len);
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, len, s->dim, len, 1.0f, p, len, dout + at_q,
                    width, beta, drows + at_v, stride);
        softmax_back(dp, p, len);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, len, s->dim, len, scale, dp, len, rows + at_k,
                    stride, 0.0f, drows + at_q, stride);
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, len, s->dim, len, scale, dp, len, rows + at_q,
                    stride, beta, drows + at_k, stride);
}

void op_attention_back(float *dqkv, const float *dout, const float *qkv, const struct attn_shape *s,
                       const int32_t *seg, int n_seg, float *scratch)
{
        int stride = (s->n_head + 2 * s->n_kv) * s->dim, width = s->n_head * s->dim;

        for (int i = 0; i < n_seg; i++) {
                long at = seg[i];
                for (int h = 0; h < s->n_head; h++)
                        attention_head_back(dqkv + at * stride, dout + at * width, qkv + at * stride, s, h,
                                            seg[i + 1] - seg[i], scratch);
        }
}

PER_ISA void op_swiglu(float *restrict y, const float *restrict gu, int rows, int ff)
{
        for (int r = 0; r < rows; r++) {
                const float *g = gu + (long)r * 2 * ff, *u = g + ff;
                float *yr = y + (long)r * ff;
                for (int i = 0; i < ff; i++)
                        yr[i] = g[i] / (1.0f + exp_f(-g[i])) * u[i];
        }
}

PER_ISA void op_swiglu_back(float *restrict dgu, const float *restrict dy, const float *restrict gu, int rows,
                            int ff)
{
        for (int r = 0; r < rows; r++) {
                const float *g = gu + (long)r * 2 * ff, *u = g + ff, *d = dy + (long)r * ff;
                float *dg = dgu + (long)r * 2 * ff, *du = dg + ff;
                for (int i = 0; i < ff; i++) {
                        float sig = 1.0f / (1.0f + exp_f(-g[i]));
                        du[i] = d[i] * g[i] * sig;
                        dg[i] = d[i] * u[i] * sig * (1.0f + g[i] * (1.0f - sig));
                }
        }
}

void op_embed(float *y, const float *table, const int32_t *ids, int rows, int d)
{
        for (int r = 0; r < rows; r++)
                memcpy(y + (long)r * d, table + (long)ids[r] * d, sizeof(float) * (size_t)d);
}

void op_embed_back(float *dtable, const float *dy, const int32_t *ids, int rows, int d)
{
        for (int r = 0; r < rows; r++)
                op_add(dtable + (long)ids[r] * d, dy + (long)r * d, d);
}

/* One row of op_cross_entropy; returns its loss. */
PER_ISA static float cross_entropy_row(float *restrict z, int n, int target, float weight, int *ret_hit)
{
        float max = z[0], sum = 0.0f, at = z[target];
        for (int i = 1; i < n; i++)
                max = z[i] > max ? z[i] : max;
        for (int i = 0; i < n; i++) {
                z[i] = exp_f(z[i] - max);
                sum += z[i];
        }
        float inv = weight / sum;
        for (int i = 0; i < n; i++)
                z[i] *= inv;
        z[target] -= weight;
        *ret_hit = at >= max;
        return logf(sum) + max - at;
}

double op_cross_entropy(float *logits, const int32_t *targets, const float *weights, int rows, int n,
                        float scale, uint8_t *hits)
{
        double total = 0.0;
        for (int r = 0; r < rows; r++) {
                int hit;
                float loss = cross_entropy_row(logits + (long)r * n, n, targets[r], weights[r] * scale, &hit);
                total += (double)weights[r] * (double)loss;
                if (hits)
                        hits[r] = (uint8_t)hit;
        }
        return total;
}

PER_ISA void op_add(float *restrict y, const float *restrict x, long n)
{
        for (long i = 0; i < n; i++)
                y[i] += x[i];
}

PER_ISA double op_square_sum(const float *x, long n)
{
        double sum = 0.0;
        for (long i = 0; i < n; i += 1024) {
                float part = 0.0f;
                long end = i + 1024 < n ? i + 1024 : n;
                for (long j = i; j < end; j++)
                        part += x[j] * x[j];
                sum += (double)part;
        }
        return sum;
}
