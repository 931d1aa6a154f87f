/* What is counted of each request that used a model or stored something: the meaning of the counters of the
 * store's usage log. */
#ifndef CAIRN_ACCOUNT_USAGE_H
#define CAIRN_ACCOUNT_USAGE_H

#include "store/store.h"

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
#endif
