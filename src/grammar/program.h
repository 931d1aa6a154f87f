/* A compiled grammar: rules, each an automaton whose edges read bytes or tokens or call rules, as in a
 * recursive transition network (Woods 1970). Internal to this folder; constant once made. */
#ifndef CAIRN_GRAMMAR_PROGRAM_H
#define CAIRN_GRAMMAR_PROGRAM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "grammar/grammar.h"

struct prog_edge {
        uint32_t to;
        uint8_t lo, hi;
};

struct prog_call {
        uint32_t rule, to;
};

struct prog_token {
        int32_t id;
        uint32_t to;
};

enum {
        PROG_ACCEPT = 1,   /* the rule is over here */
        PROG_ITERATED = 2, /* one repetition of a counted rule is over here */
        PROG_BOUNDARY = 4, /* the start of a counted rule: repetitions begin and the rule ends here */
        PROG_INERT = 8,    /* has no edges, calls or tokens */
};

/* The lists of a state run to the first of the next state. */
struct prog_state {
        uint32_t edge, call, token;
        uint32_t rule;
        uint32_t flags;
};

/* A counted rule repeats its automaton min to max times. */
struct prog_rule {
        uint32_t start;
        uint32_t min, max; /* max UINT32_MAX: no limit */
        bool counted;
        bool nullable;
        bool plain; /* counted, deterministic, without calls and tokens, and no repetition is the beginning of
                       another: one count at each place */
};

struct space; /* what has been found out about a vocabulary, space.h */

struct grammar {
        struct prog_edge *edges;
        struct prog_call *calls;
        struct prog_token *tokens;
        struct prog_state *states; /* one more than n_states, for the ends of the lists */
        struct prog_rule *rules;   /* 0 is the root */
        uint32_t n_states, n_rules;
        size_t bytes;
        atomic_int refs;
        pthread_mutex_t lock; /* of the list of spaces */
        struct space *spaces;
};
#endif
