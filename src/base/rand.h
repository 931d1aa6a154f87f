/* Randomness from the kernel for ids and keys, and a seeded generator for reproducible work. */
#ifndef CAIRN_BASE_RAND_H
#define CAIRN_BASE_RAND_H

#include <stddef.h>
#include <stdint.h>

void rand_bytes(void *p, size_t n);
uint64_t rand_u64(void);

/* xoshiro256++ (Blackman and Vigna, 2019), seeded through splitmix64. One owner at a time. */
struct rng {
        uint64_t s[4];
};
void rng_seed(struct rng *r, uint64_t seed);
uint64_t rng_next(struct rng *r);
double rng_unit(struct rng *r);                /* [0, 1), 53 bits */
uint64_t rng_below(struct rng *r, uint64_t n); /* [0, n), unbiased; n > 0 */
double rng_normal(struct rng *r);              /* mean 0, deviation 1 */
#endif
