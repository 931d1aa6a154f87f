#include "base/rand.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/random.h>

/* One kernel call fills a thread's pool for many ids. */
#define POOL_BYTES 1024

void rand_bytes(void *p, size_t n)
{
        static _Thread_local struct {
                unsigned char bytes[POOL_BYTES];
                size_t left;
        } pool;
        unsigned char *out = p;
        while (n) {
                if (!pool.left) {
                        ssize_t got = getrandom(pool.bytes, POOL_BYTES, 0);
                        if (got <= 0) /* only EINTR is possible once the kernel is seeded */
                                continue;
                        pool.left = (size_t)got;
                }
                size_t take = n < pool.left ? n : pool.left;
                pool.left -= take;
                memcpy(out, pool.bytes + pool.left, take);
                memset(pool.bytes + pool.left, 0, take);
                out += take;
                n -= take;
        }
}

uint64_t rand_u64(void)
{
        uint64_t v;
        rand_bytes(&v, sizeof(v));
        return v;
}

static uint64_t splitmix64(uint64_t *x)
{
        uint64_t z = (*x += 0x9e3779b97f4a7c15u);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        return z ^ (z >> 31);
}

void rng_seed(struct rng *r, uint64_t seed)
{
        for (int i = 0; i < 4; i++)
                r->s[i] = splitmix64(&seed);
}

static inline uint64_t rotl(uint64_t x, int k)
{
        return (x << k) | (x >> (64 - k));
}

uint64_t rng_next(struct rng *r)
{
        uint64_t *s = r->s;
        uint64_t result = rotl(s[0] + s[3], 23) + s[0];
        uint64_t t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = rotl(s[3], 45);
        return result;
}

double rng_unit(struct rng *r)
{
        return (double)(rng_next(r) >> 11) * 0x1.0p-53;
}

uint64_t rng_below(struct rng *r, uint64_t n)
{
        uint64_t limit = -n % n; /* 2^64 mod n: values under it would be counted once too often */
        uint64_t v;
        do {
                v = rng_next(r);
        } while (v < limit);
        return v % n;
}

double rng_normal(struct rng *r)
{
        double u = 1.0 - rng_unit(r), v = rng_unit(r);
        return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}
