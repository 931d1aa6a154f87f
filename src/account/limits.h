/* How much a project may use: rates of requests, tokens, images and audio for each model, and a budget a
 * month.
 *
 * A rate is a token bucket: it holds as much as the limit says, is full at first, and is refilled evenly over
 * its minute or day. A request takes what it will need from all its buckets before it is worked on, or is
 * refused and takes nothing; when it is done the difference to what it used is settled. A correction may
 * leave a bucket below nothing: then it must fill up first.
 *
 * Where the buckets are is the backend's business: in this process (days are learnt again from the usage log
 * after a restart), in the store that several processes share, or in Redis. Each takes from all buckets of a
 * request in one step, so that no race admits more than the limit.
 *
 * All functions may be called from any thread. */
#ifndef CAIRN_ACCOUNT_LIMITS_H
#define CAIRN_ACCOUNT_LIMITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "account/usage.h"
#include "base/ids.h"

struct limits;
struct store;

enum limit_dim {
        LIMIT_REQUESTS_MINUTE, /* that run a model */
        LIMIT_REQUESTS_DAY,
        LIMIT_TOKENS_MINUTE,
        LIMIT_TOKENS_DAY,
        LIMIT_IMAGES_MINUTE,
        LIMIT_AUDIO_MINUTE, /* kilobytes */
        LIMIT_OTHER_MINUTE, /* requests that run no model: files, lists, ...; of the project as a whole */
        LIMIT_RATES,
        LIMIT_BATCH_TOKENS = LIMIT_RATES, /* of the batches that wait or run at one time; no bucket */
        LIMIT_DIMS
};

/* ---- rules ---- */

enum limit_tier { TIER_UNSAID = -1, TIER_NONE, TIER_FREE, TIER_1, TIER_2, TIER_3, TIER_4, TIER_5, TIERS };

extern const char *const limit_tier_names[]; /* "none", "free", "tier_1", ...; ends with NULL */
/* A tier's limit of one dimension; 0: none. */
int64_t limit_of_tier(enum limit_tier tier, enum limit_dim dim);

#define LIMIT_UNSAID (-1)

/* What holds for a project, a model, both or (with neither) for all. The most specific rule that says
 * something about a dimension decides it: project and model, then project, then model, then neither; of
 * equals the last. What a rule says itself goes before what its tier says. */
struct limit_rule {
        const char *project, *model; /* ids; NULL: any */
        enum limit_tier tier;
        int64_t max[LIMIT_DIMS]; /* LIMIT_UNSAID; 0: no limit */
        double budget;           /* US dollars a calendar month (UTC), of a project; < 0: unsaid */
};
void limit_rule_init(struct limit_rule *rule); /* says nothing */

/* ---- opening ---- */

struct limits_options {
        const struct limit_rule *rules; /* copied */
        size_t n_rules;
        const struct price *prices; /* copied */
        size_t n_prices;
        /* NULL: "store" where processes share it, else "memory"; or
         * "redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]", or "unix:PATH[?DB]" of a Redis. */
        const char *backend;
        bool refuse; /* when the backend is out of reach: refuse; else each process keeps the limits alone */
};

/* 0, or -EINVAL (options), -ENOTSUP (the store shares no buckets), -ENOMEM, or the store's errors, with a
 * sentence in err. A Redis that is out of reach is no error here; the process must ignore SIGPIPE. The store
 * must outlive the limits. */
int limits_open(const struct limits_options *o, struct store *store, struct limits **ret, char *err,
                size_t errn);
void limits_close(struct limits *l); /* settles what waits; accepts NULL */

/* What holds for a project and model (NULL: requests without one); 0: no limit. */
int64_t limits_max(const struct limits *l, const char *project, const char *model, enum limit_dim dim);
const struct prices *limits_prices(const struct limits *l);
/* Whether other processes, and this one after a restart, find what is taken here. */
bool limits_are_shared(const struct limits *l);

/* ---- a request ---- */

struct limits_ask {
        const char *project, *model; /* model NULL: a request that runs none */
        int64_t amount[LIMIT_RATES];
};

/* One bucket after the call. */
struct limit_state {
        enum limit_dim dim;
        int64_t limit, remaining; /* remaining is never below 0 */
        int64_t reset_ms;         /* until it is full again */
};

struct limits_answer {
        struct limit_state states[LIMIT_RATES]; /* of the dimensions that have a limit */
        size_t n;
        /* Of a refusal: */
        enum limit_dim dim; /* the one that keeps the request waiting for longest */
        int64_t limit, used, requested;
        int64_t wait_ms; /* until it could be admitted; 0: never, it is larger than the limit */
};

/* Takes what is asked for. 0; -EAGAIN: refused, ret says why; -EDQUOT: the project's budget of this month is
 * spent; -EIO: the backend is out of reach (with `refuse`); -ENOMEM. May wait for a network or the store: for
 * threads that may block. */
int limits_take(struct limits *l, const struct limits_ask *ask, struct limits_answer *ret);
/* Corrects what was taken: adds the amounts, which may be negative. Never waits. */
void limits_settle(struct limits *l, const struct limits_ask *more);
/* Counts a cost (billionths of a US dollar) against the budget at once; the log says it later. Never waits.
 */
void limits_spend(struct limits *l, const char *project, int64_t cost);
/* Whether a request of the batch lane may go on: 0, -EDQUOT, -ENOMEM. May wait. */
int limits_check_budget(struct limits *l, const char *project);

/* ---- words ---- */

const char *limit_noun(enum limit_dim dim);   /* "tokens": the type of an error, the end of a header's name */
const char *limit_phrase(enum limit_dim dim); /* "tokens per min (TPM)" */
const char *limit_word(enum limit_dim dim);   /* "tpm" */
#define LIMIT_DURATION_MAX 32
/* As Go writes durations: "6m0s", "1.2s", "8ms". Returns out. */
char *limit_duration(char out[LIMIT_DURATION_MAX], int64_t ms);

struct limits_stats {
        uint64_t refused[LIMIT_RATES]; /* requests, by the dimension that was short */
        uint64_t over_budget;
        uint64_t backend_errors;
        char last_error[160];
};
void limits_get_stats(struct limits *l, struct limits_stats *ret);
#endif
