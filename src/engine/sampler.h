/* From logits to a token, for one sequence. The engine thread owns it. */
#ifndef CAIRN_ENGINE_SAMPLER_H
#define CAIRN_ENGINE_SAMPLER_H

#include "base/rand.h"
#include "engine/engine.h"
#include "kernels/kernels.h"

struct sampler {
        struct engine_sampling p; /* p.bias is the sampler's own copy */
        struct engine_bias *bias;
        uint16_t *count; /* per token: occurrences in the output (NULL when no penalty needs it) */
        uint8_t *seen;   /* per token: whether in the prompt or output (NULL without repetition penalty) */
        struct rng rng;
        int n_vocab;
};

/* A candidate and its weight; room for n_vocab of them is lent by the caller. */
struct cand {
        float p;
        int32_t id;
};

/* -EINVAL when a parameter is out of range or not a number. */
int sampler_check(const struct engine_sampling *p, int n_vocab);
int sampler_init(struct sampler *s, const struct engine_sampling *p, const int32_t *prompt, size_t n_prompt,
                 int n_vocab); /* 0 or -ENOMEM */
void sampler_release(struct sampler *s);
/* Applies bias and penalties to the logits, in place. */
void sampler_adjust(const struct sampler *s, float *logits);
/* Chooses a token from adjusted logits. probs and room have n_vocab elements for it to work in. */
int32_t sampler_pick(struct sampler *s, const struct kern *k, const float *logits, float *probs,
                     struct cand *room);
/* Counts a token of the output. */
void sampler_accept(struct sampler *s, int32_t id);

/* log(sum(exp(logits))): logprob of i is logits[i] - this. */
float sampler_logsum(const float *logits, int n);
/* The n most likely tokens, most likely first, lower ids first among equals. */
void sampler_top(const float *logits, int n_vocab, float logsum, struct engine_top *ret, int n);
#endif
