/* For tests: compares a gradient with central finite differences. */
#ifndef CAIRN_TRAIN_GRAD_CHECK_H
#define CAIRN_TRAIN_GRAD_CHECK_H

#include <math.h>
#include <stdio.h>
#include "base/rand.h"

/* The worst error of grad[0 .. n) against (f(x + h) - f(x - h)) / 2h, where f(ctx) reads x. The error of an
 * entry is relative to its size or to `floor`, whichever is larger. Every `stride`-th entry is tried. */
static inline double grad_check(double (*f)(void *ctx), void *ctx, float *x, const float *grad, long n,
                                long stride, float h, double floor)
{
        double worst = 0.0;
        for (long i = 0; i < n; i += stride) {
                float keep = x[i];
                x[i] = keep + h;
                double width = (double)x[i];
                double up = f(ctx);
                x[i] = keep - h;
                width -= (double)x[i];
                double down = f(ctx);
                x[i] = keep;
                double want = (up - down) / width, size = fmax(fabs(want), floor);
                double error = fabs((double)grad[i] - want) / size;
                if (error > worst)
                        worst = error;
        }
        return worst;
}

static inline void fill_normal(float *p, long n, double dev, uint64_t seed)
{
        struct rng r;
        rng_seed(&r, seed);
        for (long i = 0; i < n; i++)
                p[i] = (float)(rng_normal(&r) * dev);
}
#endif
