/* Guesses of what a sequence says next, to be evaluated together and kept as far as they are right
 * (speculative decoding; Leviathan et al. 2023). A guess comes from the request's prediction, or from what
 * followed the same few tokens before (prompt lookup; Saxena 2023). Whether it is right is decided by
 * sampling each position as if there had been no guess, so that nothing of the output depends on it. The
 * engine thread owns it. */
#ifndef CAIRN_ENGINE_DRAFT_H
#define CAIRN_ENGINE_DRAFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DRAFT_MAX 16 /* tokens guessed at one time */

enum draft_source { DRAFT_PREDICTION, DRAFT_LOOKUP, DRAFT_FORCED };

/* How well a source has done. */
struct draft_record {
        int length;  /* to be tried next */
        int rest;    /* steps to let pass before that */
        int penalty; /* length of the next rest */
        float rate;  /* mean share of guesses that were right, recent ones counting most */
};

struct draft {
        int32_t tokens[DRAFT_MAX];
        int n;
        enum draft_source source; /* of these */
        int32_t *prediction;
        int n_prediction, at;           /* at: the next of it, as far as the output has followed */
        int n_seen;                     /* tokens of the sequence that `at` takes into account */
        struct draft_record records[2]; /* of the first two sources */
        int accepted, rejected;         /* tokens of the prediction, in all */
};

/* What a guess may cost: the time of a step without it, and of each further row, in microseconds; 0: unknown.
 */
struct draft_cost {
        double step, row;
        int sequences; /* that share the step */
};

int draft_init(struct draft *d, const int32_t *prediction, size_t n); /* 0 or -ENOMEM */
void draft_release(struct draft *d);
/* Guesses at most `most` tokens to follow tokens[0 .. n), of which the first n_prompt are the prompt. With
 * `lookup` also from what these say. The guess is in d->tokens[0 .. d->n). */
void draft_make(struct draft *d, const int32_t *tokens, int n_prompt, int n, int most, bool lookup,
                const struct draft_cost *cost);
/* A guess that cannot be wrong: n tokens. */
void draft_force(struct draft *d, const int32_t *tokens, int n);
/* The guess has been evaluated, and its first `right` tokens came out so. */
void draft_judge(struct draft *d, int right);
#endif
