#include <errno.h>
#include <math.h>
#include <string.h>
#include "base/mem.h"
#include "engine/sampler.h"

#define BIAS_FORBID (-100.0f)
#define MAX_BIAS 4096

static bool within(float v, float min, float max)
{
        return v >= min && v <= max; /* false for NaN */
}

int sampler_check(const struct engine_sampling *p, int n_vocab)
{
        if (!within(p->temperature, 0, 100) || !within(p->top_p, 0, 1) || !within(p->min_p, 0, 1) ||
            p->top_k < 0 || !within(p->frequency, -100, 100) || !within(p->presence, -100, 100) ||
            p->n_bias > MAX_BIAS || !within(p->repetition, 1e-3f, 1e3f))
                return -EINVAL;
        for (size_t i = 0; i < p->n_bias; i++)
                if (p->bias[i].id < 0 || p->bias[i].id >= n_vocab || isnan(p->bias[i].bias))
                        return -EINVAL;
        return 0;
}

int sampler_init(struct sampler *s, const struct engine_sampling *p, const int32_t *prompt, size_t n_prompt,
                 int n_vocab)
{
        *s = (struct sampler){ .p = *p, .n_vocab = n_vocab };
        rng_seed(&s->rng, p->has_seed ? p->seed : rand_u64());
        bool counts = p->frequency != 0 || p->presence != 0, seen = p->repetition != 1;
        if (p->n_bias && !(s->bias = mem_alloc(p->n_bias * sizeof(*s->bias))))
                return -ENOMEM;
        if (p->n_bias)
                memcpy(s->bias, p->bias, p->n_bias * sizeof(*s->bias));
        s->p.bias = s->bias;
        if ((counts && !(s->count = mem_calloc((size_t)n_vocab, sizeof(*s->count)))) ||
            (seen && !(s->seen = mem_calloc((size_t)n_vocab, 1)))) {
                sampler_release(s);
                return -ENOMEM;
        }
        for (size_t i = 0; seen && i < n_prompt; i++)
                s->seen[prompt[i]] = 1;
        return 0;
}

void sampler_release(struct sampler *s)
{
        mem_free(s->bias);
        mem_free(s->count);
        mem_free(s->seen);
        *s = (struct sampler){ 0 };
}

void sampler_adjust(const struct sampler *s, float *logits)
{
        for (size_t i = 0; i < s->p.n_bias; i++) {
                float b = s->p.bias[i].bias;
                logits[s->p.bias[i].id] = b <= BIAS_FORBID ? -INFINITY : logits[s->p.bias[i].id] + b;
        }
        for (int i = 0; s->seen && i < s->n_vocab; i++)
                if (s->seen[i])
                        logits[i] = logits[i] > 0 ? logits[i] / s->p.repetition : logits[i] * s->p.repetition;
        for (int i = 0; s->count && i < s->n_vocab; i++)
                if (s->count[i])
                        logits[i] -= s->p.frequency * (float)s->count[i] + s->p.presence;
}

void sampler_accept(struct sampler *s, int32_t id)
{
        if (s->count && s->count[id] < UINT16_MAX)
                s->count[id]++;
        if (s->seen)
                s->seen[id] = 1;
}

static int32_t argmax(const float *logits, int n)
{
        int32_t best = 0;
        for (int32_t i = 1; i < n; i++)
                if (logits[i] > logits[best] || isnan(logits[best]))
                        best = i;
        return best;
}

/* ---- candidates as a heap, most likely at the root ---------------------------------------------- */

static bool before(struct cand a, struct cand b)
{
        return a.p > b.p || (a.p == b.p && a.id < b.id);
}

static void sift(struct cand *h, size_t n, size_t i)
{
        struct cand moved = h[i];
        for (size_t child; (child = 2 * i + 1) < n; i = child) {
                if (child + 1 < n && before(h[child + 1], h[child]))
                        child++;
                if (!before(h[child], moved))
                        break;
                h[i] = h[child];
        }
        h[i] = moved;
}

/* Moves the most likely candidates to the end of c, the first of them last, until `keep` of them or a mass of
 * top_p of `total` is there. Returns how many. */
static size_t select_best(struct cand *c, size_t n, size_t keep, double top_p, double total)
{
        for (size_t i = n / 2; i-- > 0;)
                sift(c, n, i);
        size_t kept = 0;
        double mass = 0;
        for (size_t size = n; size && kept < keep; kept++) {
                struct cand best = c[0];
                c[0] = c[--size];
                sift(c, size, 0);
                c[size] = best;
                mass += (double)best.p;
                if (mass >= top_p * total)
                        return kept + 1;
        }
        return kept;
}

/* Draws from n candidates with weights that need not sum to 1. */
static int32_t draw(struct sampler *s, const struct cand *c, size_t n)
{
        double total = 0, at;
        for (size_t i = 0; i < n; i++)
                total += (double)c[i].p;
        at = rng_unit(&s->rng) * total;
        for (size_t i = n; i-- > 1;)
                if ((at -= (double)c[i].p) < 0)
                        return c[i].id;
        return c[0].id;
}

int32_t sampler_pick(struct sampler *s, const struct kern *k, const float *logits, float *probs,
                     struct cand *room)
{
        int32_t best = argmax(logits, s->n_vocab);
        if (s->p.temperature < 1e-5f || !isfinite(logits[best]))
                return best;
        float max = logits[best], inv = 1.0f / s->p.temperature;
        for (int i = 0; i < s->n_vocab; i++)
                probs[i] = (logits[i] - max) * inv;
        k->softmax(probs, (size_t)s->n_vocab);
        /* Tokens below min_p and those whose weight has vanished are out. */
        float floor = s->p.min_p * probs[best];
        size_t n = 0;
        double total = 0;
        for (int32_t i = 0; i < s->n_vocab; i++) {
                if (probs[i] > 0 && probs[i] >= floor) {
                        room[n++] = (struct cand){ probs[i], i };
                        total += (double)probs[i];
                }
        }
        if (!n)
                return best;
        size_t keep = s->p.top_k > 0 && (size_t)s->p.top_k < n ? (size_t)s->p.top_k : n;
        if (keep == n && s->p.top_p >= 1)
                return draw(s, room, n);
        if (keep < n) { /* top_p is a share of what top_k leaves */
                keep = select_best(room, n, keep, 2, total);
                room += n - keep;
                n = keep;
                total = 0;
                for (size_t i = 0; i < n; i++)
                        total += (double)room[i].p;
        }
        keep = select_best(room, n, n, (double)s->p.top_p, total);
        return draw(s, room + n - keep, keep);
}

float sampler_logsum(const float *logits, int n)
{
        float max = logits[0];
        for (int i = 1; i < n; i++)
                max = logits[i] > max ? logits[i] : max;
        if (!isfinite(max))
                return max;
        double sum = 0;
        for (int i = 0; i < n; i++)
                sum += (double)expf(logits[i] - max);
        return max + (float)log(sum);
}

void sampler_top(const float *logits, int n_vocab, float logsum, struct engine_top *ret, int n)
{
        int have = 0;
        for (int32_t i = 0; n > 0 && i < n_vocab; i++) {
                if (have == n && !(logits[i] > ret[n - 1].logprob))
                        continue;
                int at = have < n ? have++ : n - 1;
                for (; at > 0 && logits[i] > ret[at - 1].logprob; at--)
                        ret[at] = ret[at - 1];
                ret[at] = (struct engine_top){ i, logits[i] };
        }
        for (int i = 0; i < have; i++)
                ret[i].logprob = fmaxf(ret[i].logprob - logsum, ENGINE_LOGPROB_MIN);
}
