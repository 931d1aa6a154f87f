#include "engine/draft.h"

#include <errno.h>
#include <string.h>
#include "base/mem.h"

#define GRAM 3 /* tokens that must have occurred before, for what followed them to be a guess */
#define START 6
#define REST_MAX 64
#define RATE_START 0.6f
#define RATE_KEEP 0.85f
#define RATE_MIN 0.02f

int draft_init(struct draft *d, const int32_t *prediction, size_t n)
{
        *d = (struct draft){ 0 };
        for (int i = 0; i < 2; i++)
                d->records[i] = (struct draft_record){ .length = START, .penalty = 1, .rate = RATE_START };
        if (!n)
                return 0;
        d->prediction = mem_alloc(n * sizeof(*prediction));
        if (!d->prediction)
                return -ENOMEM;
        memcpy(d->prediction, prediction, n * sizeof(*prediction));
        d->n_prediction = (int)n;
        return 0;
}

void draft_release(struct draft *d)
{
        mem_free(d->prediction);
        *d = (struct draft){ 0 };
}

/* ---- the prediction ----------------------------------------------------------------------------- */

/* Where the prediction goes on after the last two tokens of the output: first behind `from`, then anywhere;
 * -1 when they are not in it. */
static int realign(const struct draft *d, const int32_t *last, int from)
{
        for (int round = 0; round < 2; round++, from = 0)
                for (int i = from; i + 2 < d->n_prediction; i++)
                        if (d->prediction[i] == last[0] && d->prediction[i + 1] == last[1])
                                return i + 2;
        return -1;
}

/* Follows the output through the prediction. */
static void follow(struct draft *d, const int32_t *tokens, int n_prompt, int n)
{
        int lost = -1;
        if (d->n_seen < n_prompt)
                d->n_seen = n_prompt;
        for (; d->n_seen < n; d->n_seen++) {
                if (d->at >= 0 && d->at < d->n_prediction && tokens[d->n_seen] == d->prediction[d->at]) {
                        d->at++;
                } else if (d->at >= 0) {
                        lost = d->at;
                        d->at = -1;
                }
        }
        if (d->at < 0 && n - n_prompt >= 2)
                d->at = realign(d, tokens + n - 2, lost < 0 ? 0 : lost);
}

static void from_prediction(struct draft *d, const int32_t *tokens, int n_prompt, int n, int most)
{
        follow(d, tokens, n_prompt, n);
        if (d->at < 0)
                return;
        int left = d->n_prediction - d->at, length = d->records[DRAFT_PREDICTION].length;
        d->n = left < length ? left : length;
        d->n = d->n < most ? d->n : most;
        memcpy(d->tokens, d->prediction + d->at, (size_t)d->n * sizeof(*d->tokens));
        d->source = DRAFT_PREDICTION;
}

/* ---- lookup ------------------------------------------------------------------------------------- */

/* The latest place where the last GRAM tokens have occurred before: index of what followed, or -1. */
static int find_gram(const int32_t *tokens, int n)
{
        const int32_t *last = tokens + n - GRAM;
        for (int i = n - GRAM - 1; i >= 0; i--)
                if (tokens[i + GRAM - 1] == last[GRAM - 1] && !memcmp(tokens + i, last, GRAM * sizeof(*last)))
                        return i + GRAM;
        return -1;
}

/* How many guesses pay: each further row must bring more than it costs, by how often earlier ones were right.
 */
static int worth(const struct draft_record *r, const struct draft_cost *cost)
{
        int n = 0;
        double chance = r->rate, gain = cost->step / cost->sequences; /* what a token is worth */
        if (cost->row <= 0)
                return r->length;
        while (n < r->length && chance * gain > cost->row) {
                n++;
                chance *= r->rate;
        }
        return n;
}

static void from_lookup(struct draft *d, const int32_t *tokens, int n, int most,
                        const struct draft_cost *cost)
{
        struct draft_record *r = &d->records[DRAFT_LOOKUP];
        if (r->rest > 0) {
                r->rest--;
                return;
        }
        int at = n > GRAM ? find_gram(tokens, n) : -1, want = worth(r, cost);
        if (at < 0)
                return;
        if (!want) { /* after a while the text may be of another kind */
                r->rest = REST_MAX;
                r->rate = RATE_START;
        }
        want = want < most ? want : most;
        for (d->n = 0; d->n < want; d->n++, at++) /* a repetition goes on into its own guess */
                d->tokens[d->n] = at < n ? tokens[at] : d->tokens[at - n];
        d->source = DRAFT_LOOKUP;
}

/* ---- the interface ------------------------------------------------------------------------------ */

void draft_make(struct draft *d, const int32_t *tokens, int n_prompt, int n, int most, bool lookup,
                const struct draft_cost *cost)
{
        d->n = 0;
        most = most < DRAFT_MAX ? most : DRAFT_MAX;
        if (most <= 0)
                return;
        if (d->n_prediction)
                from_prediction(d, tokens, n_prompt, n, most);
        if (!d->n && lookup)
                from_lookup(d, tokens, n, most, cost);
}

void draft_force(struct draft *d, const int32_t *tokens, int n)
{
        memcpy(d->tokens, tokens, (size_t)n * sizeof(*tokens));
        d->n = n;
        d->source = DRAFT_FORCED;
}

void draft_judge(struct draft *d, int right)
{
        int n = d->n;
        d->n = 0;
        if (!n || d->source == DRAFT_FORCED)
                return;
        struct draft_record *r = &d->records[d->source];
        if (d->source == DRAFT_PREDICTION) {
                d->accepted += right;
                d->rejected += n - right;
        }
        /* Of a guess only the first wrong token says something about the rate: what follows it was never
         * looked at. */
        for (int i = 0; i < n && i <= right; i++)
                r->rate = RATE_KEEP * r->rate + (1 - RATE_KEEP) * (i < right);
        r->rate = r->rate > RATE_MIN ? r->rate : RATE_MIN;
        if (right == n)
                r->length = 2 * r->length < DRAFT_MAX ? 2 * r->length : DRAFT_MAX;
        else
                r->length = right + 1;
        if (right > 0) {
                r->penalty = 1;
        } else {
                r->rest = r->penalty;
                r->penalty = 2 * r->penalty < REST_MAX ? 2 * r->penalty : REST_MAX;
        }
}
