#include <math.h>
#include "engine/rope.h"

/* The dimension whose pair turns `rotations` times over the original context. */
static double dimension_of(const struct rope *r, int n_rot, double rotations)
{
        return n_rot * log(r->n_ctx_orig / (rotations * 2 * M_PI)) / (2 * log(r->base));
}

/* YaRN (Peng et al. 2023): pairs that turn often keep their frequency, slow ones are interpolated, those
 * between are mixed. The share of the own frequency for pair i. */
static double yarn_share(const struct rope *r, int n_rot, int i)
{
        double low = dimension_of(r, n_rot, r->beta_fast), high = dimension_of(r, n_rot, r->beta_slow);
        if (!r->smooth) {
                low = floor(low);
                high = ceil(high);
        }
        low = fmax(low, 0);
        high = fmin(high, n_rot - 1);
        return 1 - fmin(1, fmax(0, (i - low) / fmax(0.001, high - low)));
}

double rope_frequencies(const struct rope *r, int n_rot, const float *divisors, double *ret_freq)
{
        for (int i = 0; i < n_rot / 2; i++) {
                double own = pow(r->base, -2.0 * i / n_rot) / (divisors ? (double)divisors[i] : 1);
                double slow = own / r->factor;
                if (r->scaling == ROPE_LINEAR)
                        own = slow;
                else if (r->scaling == ROPE_YARN)
                        own = slow + (own - slow) * yarn_share(r, n_rot, i);
                ret_freq[i] = own;
        }
        /* Attention over more tokens needs sharper scores: section 3.4 of the paper. */
        return r->scaling == ROPE_YARN ? r->attn_factor * (1 + 0.1 * log(r->factor)) : r->attn_factor;
}
