/* How well a group of values is met by a scale is measured, not derived: the error is a jagged function of
 * it. */
#include <math.h>
#include "kernels/quantize_fit.h"

#define TRIES 18 /* candidates beside the plain one */

static float largest(const float *x, int n)
{
        float max = 0;
        for (int i = 0; i < n; i++)
                if (fabsf(x[i]) > fabsf(max))
                        max = x[i];
        return max;
}

/* Given codes, the best factor is sum(w x c) / sum(w c c), and it lowers the error by (sum w x c)^2 / sum w c
 * c. */
struct score {
        float gain, scale;
};

static void try_codes(struct score *best, const float *x, const float *code, int n)
{
        float xc = 0, cc = 0;
        for (int i = 0; i < n; i++) {
                float w = x[i] * x[i];
                xc += w * x[i] * code[i];
                cc += w * code[i] * code[i];
        }
        if (cc > 0 && xc * xc > best->gain * cc)
                *best = (struct score){ xc * xc / cc, xc / cc };
}

float fit_symmetric(const float *x, int n, int half)
{
        float max = largest(x, n), code[FIT_MAX];
        struct score best = { 0, -max / (float)half };
        if (max == 0)
                return 0;
        for (int t = -TRIES / 2; t <= TRIES / 2; t++) {
                float inverse = -((float)half + 0.1f * (float)t) / max;
                for (int i = 0; i < n; i++)
                        code[i] = fminf(fmaxf(rintf(inverse * x[i]), (float)-half), (float)(half - 1));
                try_codes(&best, x, code, n);
        }
        return best.scale;
}

static float nearest(const int8_t table[16], float v)
{
        float best = table[0];
        for (int i = 1; i < 16; i++)
                if (fabsf(v - (float)table[i]) < fabsf(v - best))
                        best = table[i];
        return best;
}

float fit_table(const float *x, int n, const int8_t table[16])
{
        float max = largest(x, n), code[FIT_MAX];
        struct score best = { 0, max / (float)table[0] };
        if (max == 0)
                return 0;
        for (int t = -TRIES / 2; t <= TRIES / 2; t++) {
                /* the largest value near either end of the table, which is not symmetric */
                for (int end = 0; end < 2; end++) {
                        float edge = table[end ? 15 : 0];
                        float inverse = edge * (1 + 0.015f * (float)t) / max;
                        for (int i = 0; i < n; i++)
                                code[i] = nearest(table, inverse * x[i]);
                        try_codes(&best, x, code, n);
                }
        }
        return best.scale;
}

struct line {
        float scale, min, error;
};

/* Least squares of x = scale * code - min with weights; a negative min is not representable and becomes 0. */
static struct line solve(const float *x, const float *w, const float *code, int n)
{
        float sw = 0, sx = 0, sc = 0, scc = 0, sxc = 0;
        for (int i = 0; i < n; i++) {
                sw += w[i];
                sx += w[i] * x[i];
                sc += w[i] * code[i];
                scc += w[i] * code[i] * code[i];
                sxc += w[i] * x[i] * code[i];
        }
        float det = sw * scc - sc * sc;
        struct line l = { 0, 0, INFINITY };
        if (det > 0) {
                l.scale = (sw * sxc - sx * sc) / det;
                l.min = (sc * sxc - scc * sx) / det;
        }
        if (det <= 0 || l.min < 0) {
                l.min = 0;
                l.scale = scc > 0 ? sxc / scc : 0;
        }
        return l;
}

static void measure(struct line *l, const float *x, const float *w, int n, int top)
{
        l->error = 0;
        for (int i = 0; i < n; i++) {
                float c = l->scale > 0 ? rintf((x[i] + l->min) / l->scale) : 0;
                float e = l->scale * fminf(fmaxf(c, 0), (float)top) - l->min - x[i];
                l->error += w[i] * e * e;
        }
}

void fit_affine(const float *x, int n, int top, float *ret_scale, float *ret_min)
{
        float low = 0, high = x[0], squares = 0, w[FIT_MAX], code[FIT_MAX];
        for (int i = 0; i < n; i++) {
                low = fminf(low, x[i]);
                high = fmaxf(high, x[i]);
                squares += x[i] * x[i];
        }
        float rms = sqrtf(squares / (float)n);
        for (int i = 0; i < n; i++)
                w[i] = rms + fabsf(x[i]);
        struct line best = { high > low ? (high - low) / (float)top : 0, -low, 0 };
        measure(&best, x, w, n, top);
        for (int t = -10; high > low && t <= 10; t++) {
                float inverse = ((float)top + 0.1f * (float)t) / (high - low);
                for (int i = 0; i < n; i++)
                        code[i] = fminf(fmaxf(rintf(inverse * (x[i] - low)), 0), (float)top);
                struct line l = solve(x, w, code, n);
                measure(&l, x, w, n, top);
                if (l.scale > 0 && l.error < best.error)
                        best = l;
        }
        *ret_scale = best.scale;
        *ret_min = best.min;
}
