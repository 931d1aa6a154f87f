/* The places that texts of a grammar lead to, found as they are needed and kept for all matchers.
 *
 * A place is an Earley set (Earley 1970): all ways to read the text so far, each as a state of a rule and the
 * place where that rule began. Sets are interned: equal ones are one, and since a rule began at an earlier
 * place, equality needs no look inside the sets referred to. So the sets are the states of an automaton over
 * bytes that is made lazily, whose edges are remembered, and a place is a number. Left recursion, ambiguity
 * and nesting need no special treatment; calls in tail position are made without a return (as in Leo 1991),
 * so right recursion does not grow either.
 *
 * Internal to this folder. Callers hold the space's lock. */
#ifndef CAIRN_GRAMMAR_SPACE_H
#define CAIRN_GRAMMAR_SPACE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/vec.h"
#include "grammar/program.h"
#include "grammar/vocab.h"

enum {
        SET_NONE = 0,   /* not found out yet */
        SET_DEAD = 1,   /* no text goes on */
        SET_BOTTOM = 2, /* where the text, or the state in question, began: never a place itself */
        SET_FIRST = 3,
};

#define SET_FEW 7

/* One way to read the text. */
struct item {
        uint32_t state;
        uint32_t head;   /* the rule that is complete when the state's is; 0 at the bottom */
        uint32_t count;  /* repetitions done, in a counted rule */
        uint32_t origin; /* the set in which the head was called */
};

/* What goes on when a rule that was called here is complete. */
struct wait {
        uint32_t rule;
        struct item next;
};

struct after {
        uint32_t rule, set;
};

struct mask; /* mask.h */

struct set {
        uint64_t hash;
        uint32_t chain;  /* next set of the same hash bucket */
        uint32_t n_core; /* what makes it this set; the rest follows from it */
        uint32_t n_items, n_waits;
        bool may_end; /* the text, or what began at the bottom, may be over */
        bool expanded, marked;
        uint8_t asked; /* times that its mask was wanted, up to 2 */
        struct item *items;
        struct wait *waits;
        uint64_t live[4]; /* bytes that lead on */
        uint32_t *next;   /* by byte, when many are known */
        struct {
                uint32_t set[SET_FEW];
                uint8_t byte[SET_FEW], n;
        } few; /* those known until then */
        struct VEC(struct after) after;
        struct mask *mask; /* kept result, or NULL */
};

/* An item while a set is made. */
struct draft {
        struct item item;
        bool derived; /* follows from another item that stays */
        bool hollow;  /* in a repetition that has read nothing so far */
};

struct drafts {
        struct draft *p;
        size_t n, cap;
        uint32_t *slot; /* indices + 1, by hash */
        size_t mask;
};

struct space {
        struct space *next; /* of the grammar's list */
        const struct grammar *g;
        struct grammar_vocab *v;
        pthread_mutex_t lock;
        struct VEC(struct set *) sets; /* by number; freed ones are NULL */
        struct VEC(uint32_t) unused;   /* numbers of those */
        uint32_t *buckets;
        size_t mask; /* of buckets */
        size_t n_sets;
        size_t bytes;
        struct grammar_match *matches; /* whose places stay */
        struct drafts draft;           /* of the set in the making */
        struct drafts inside;          /* of the set being expanded meanwhile */
        struct cells *cells;           /* masks of single items, mask.c */
        uint32_t *stack;               /* a set for each depth of the trie */
};

/* The space of a grammar and a vocabulary, made on first use; lives as long as the grammar. */
int space_get(struct grammar *g, const struct grammar_vocab *v, struct space **ret);
void space_free_all(struct grammar *g);
/* The vocabulary is about to go: its space, if there is one without matchers, goes with it. */
void space_drop(struct grammar *g, const struct grammar_vocab *v);

/* All give the number of a set, SET_DEAD included, or an error: -ENOMEM, -E2BIG when the places in use
 * outgrow their bound. */
int space_start(struct space *sp, uint32_t *ret);
/* The place of a single item whose rule began at the bottom. */
int space_alone(struct space *sp, uint32_t state, uint32_t count, uint32_t *ret);
int space_step(struct space *sp, uint32_t set, uint8_t byte, uint32_t *ret);
int space_token(struct space *sp, uint32_t set, int32_t id, uint32_t *ret);
int space_union(struct space *sp, uint32_t a, uint32_t b, uint32_t *ret);
/* Where the text is when `rule`, called in `origin`, is complete. */
int space_after(struct space *sp, uint32_t origin, uint32_t rule, uint32_t *ret);
/* Finds out what follows from a set's core. */
int space_expand(struct space *sp, uint32_t set);

static inline bool set_leads(const struct set *s, uint8_t byte)
{
        return s->live[byte >> 6] >> (byte & 63) & 1;
}

/* Drops what no matcher needs when the space has outgrown its bound. Numbers of sets that are not held by
 * matchers are not valid after it. */
void space_tidy(struct space *sp);
#endif
