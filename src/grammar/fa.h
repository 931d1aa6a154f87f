/* Finite automata over 32-bit symbols: code points, bytes, or bytes together with calls of rules.
 *
 * An nfa is what is being built: states, edges over ranges of symbols, and free moves. An fa is frozen: no
 * free moves, edges sorted by state and symbol; its start is state 0. It is deterministic unless said
 * otherwise. */
#ifndef CAIRN_GRAMMAR_FA_H
#define CAIRN_GRAMMAR_FA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/vec.h"
#include "grammar/work.h"

struct nfa_edge {
        uint32_t from, lo, hi, to;
};

struct nfa_move {
        uint32_t from, to;
};

struct nfa {
        struct VEC(struct nfa_edge) edges;
        struct VEC(struct nfa_move) moves;
        uint32_t n_states;
        struct gr_work *work;
        int err; /* sticky: the first error of any nfa_* call */
};

void nfa_init(struct nfa *n, struct gr_work *work);
void nfa_release(struct nfa *n);
uint32_t nfa_state(struct nfa *n); /* a new state; any number after an error */
void nfa_edge(struct nfa *n, uint32_t from, uint32_t lo, uint32_t hi, uint32_t to);
void nfa_move(struct nfa *n, uint32_t from, uint32_t to);

struct fa_edge {
        uint32_t lo, hi, to;
};

struct fa {
        struct fa_edge *edges;
        uint32_t *first; /* n_states + 1 offsets into edges */
        uint8_t *accept;
        uint32_t n_states; /* 0: the empty language */
};

void fa_release(struct fa *a);

/* The automata below are made by these; 0, -E2BIG (over max_states or the work), -ECANCELED, -ENOMEM. States
 * from which nothing is accepted are left out; `keep` (may be NULL) asks for states of their own. */

/* Subset construction (Rabin and Scott 1959) from `start` to the accepting state `end`, minimised. */
int fa_determinise(const struct nfa *n, uint32_t start, uint32_t end, uint32_t max_states, struct fa *ret);
/* The same language with the free moves taken out but no more: edges of a state may overlap. */
int fa_flatten(const struct nfa *n, uint32_t start, uint32_t end, struct fa *ret);
/* Both deterministic. */
int fa_intersect(const struct fa *a, const struct fa *b, uint32_t max_states, struct gr_work *work,
                 struct fa *ret);
/* All texts over the symbols of the ranges (sorted, disjoint) that `a`, which is deterministic, does not
 * accept. */
struct fa_range {
        uint32_t lo, hi;
};
int fa_complement(const struct fa *a, const struct fa_range *universe, size_t n, struct gr_work *work,
                  struct fa *ret);
/* Adds a copy of `a` to the nfa, from state `from` to state `to`. */
void nfa_add_fa(struct nfa *n, const struct fa *a, uint32_t from, uint32_t to);
/* The target of a symbol in a deterministic automaton, or UINT32_MAX. */
uint32_t fa_next(const struct fa *a, uint32_t state, uint32_t symbol);
bool fa_accepts(const struct fa *a, const uint32_t *symbols, size_t n);
/* The number of texts when it is at most `max`, else max + 1. */
uint64_t fa_count(const struct fa *a, uint64_t max, struct gr_work *work);
#endif
