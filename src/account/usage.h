/* What is counted of each request that used a model or stored something: the meaning of the counters of the
 * store's usage log. */
#ifndef CAIRN_ACCOUNT_USAGE_H
#define CAIRN_ACCOUNT_USAGE_H

#include "store/store.h"

struct principal;

enum usage_count {
        USAGE_REQUESTS,
        USAGE_INPUT,     /* tokens, cached ones included */
        USAGE_CACHED,    /* tokens of the input that were not computed again */
        USAGE_OUTPUT,    /* tokens, reasoning included */
        USAGE_REASONING, /* tokens */
        USAGE_AUDIO_IN,  /* tokens */
        USAGE_AUDIO_OUT, /* tokens */
        USAGE_IMAGES,
        USAGE_MILLISECONDS, /* of audio */
        USAGE_CHARACTERS,   /* spoken */
        USAGE_BYTES,        /* stored */
        USAGE_COST,         /* billionths of a US dollar, by the model's configured prices; half in a batch */
        USAGE_N
};
_Static_assert(USAGE_N <= USAGE_COUNTS, "the store keeps USAGE_COUNTS counters");

/* The kinds of usage, `what` of a record: those of the organization's usage reports, then our own. */
#define USAGE_COMPLETIONS "completions" /* chat completions, completions, responses */
#define USAGE_EMBEDDINGS "embeddings"
#define USAGE_MODERATIONS "moderations"
#define USAGE_MAKES_IMAGES "images"
#define USAGE_SPEECHES "audio_speeches"
#define USAGE_TRANSCRIPTIONS "audio_transcriptions"
#define USAGE_VECTOR_STORES "vector_stores"
#define USAGE_FILES "files"             /* bytes of files and uploads that were stored */
extern const char *const usage_kinds[]; /* all of them; ends with NULL */

/* What one request used. Strings are borrowed. */
struct usage {
        const char *what;
        const char *model; /* its id; NULL: none */
        const char *tier;  /* "default", "flex" or "priority"; NULL: none */
        bool batch;
        int64_t n[USAGE_N]; /* USAGE_COST is filled in by usage_row() */
};

struct prices;

/* The record of it for the log, by the prices (NULL: everything costs nothing). `id` tells repetitions apart:
 * of two records with one id the second is left out. Strings are borrowed. */
struct store_usage usage_row(const struct usage *u, const char *id, const struct principal *who,
                             const struct prices *prices);

/* ---- prices ---- */

/* What a model's tokens cost, US dollars a million. */
struct price {
        const char *model; /* id; NULL: those that no other price names */
        double input;
        double cached_input; /* < 0: a tenth of input */
        double output;
};

/* Copies the list; NULL when memory is out. */
struct prices *prices_new(const struct price *list, size_t n);
void prices_free(struct prices *p); /* accepts NULL */
/* Billionths of a US dollar: half of it in a batch or the tier "flex", twice in the tier "priority". */
int64_t prices_cost(const struct prices *p, const struct usage *u);
#endif
