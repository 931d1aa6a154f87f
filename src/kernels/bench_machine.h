/* What this machine can do, for benchmarks to be measured against in the same run: bytes read per second and
 * float multiply-adds per second, all threads together. Included by one file a program. */
#ifndef CAIRN_KERNELS_BENCH_MACHINE_H
#define CAIRN_KERNELS_BENCH_MACHINE_H

#include <stdint.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"
#include "kernels/kernels.h"
#include "kernels/team.h"

#define READ_BYTES ((size_t)512 << 20) /* far beyond any cache */
#define FMA_ROUNDS 4000000

typedef uint64_t lanes_u64 __attribute__((vector_size(64), aligned(64)));
typedef float lanes_f32 __attribute__((vector_size(64), aligned(64)));

struct machine_job {
        const uint8_t *bytes;
        int threads;
        uint64_t sink[64]; /* keeps the compiler from dropping the work */
};

static inline void machine_read(void *arg, int tid)
{
        struct machine_job *j = arg;
        size_t from, to;
        lanes_u64 a = { 0 }, b = { 0 }, c = { 0 }, d = { 0 };
        kern_team_share(tid, j->threads, READ_BYTES, 4096, &from, &to);
        for (const lanes_u64 *p = (const void *)(j->bytes + from), *end = (const void *)(j->bytes + to);
             p < end; p += 4)
                a ^= p[0], b ^= p[1], c ^= p[2], d ^= p[3];
        a ^= b ^ c ^ d;
        j->sink[tid % 64] += a[0] ^ a[1] ^ a[2] ^ a[3] ^ a[4] ^ a[5] ^ a[6] ^ a[7];
}

#define MACHINE_FMA_BODY                                                                               \
        struct machine_job *j = arg;                                                                   \
        lanes_f32 x[12], m, c;                                                                         \
        for (int i = 0; i < 12 * 16; i++)                                                              \
                x[i / 16][i % 16] = (float)(i + tid); /* unlike each other: equal sums would be one */ \
        for (int i = 0; i < 16; i++)                                                                   \
                m[i] = 0.999f, c[i] = 0.001f;                                                          \
        for (int round = 0; round < FMA_ROUNDS; round++) {                                             \
                _Pragma("GCC unroll 12") for (int i = 0; i < 12; i++) x[i] = x[i] * m + c;             \
        }                                                                                              \
        for (int i = 1; i < 12; i++)                                                                   \
                x[0] += x[i];                                                                          \
        j->sink[tid % 64] += (uint64_t)x[0][0];

#if defined(__x86_64__)
__attribute__((target("avx512f"))) static void machine_fma_wide(void *arg, int tid)
{
        MACHINE_FMA_BODY
}
__attribute__((target("avx2,fma"))) static void machine_fma_avx2(void *arg, int tid)
{
        MACHINE_FMA_BODY
}
#endif
static void machine_fma_plain(void *arg, int tid)
{
        MACHINE_FMA_BODY
}

/* Bytes per second. */
static double machine_bandwidth(struct kern_team *team)
{
        struct machine_job j = { .threads = kern_team_size(team) };
        uint8_t *raw = mem_alloc(READ_BYTES + 64);
        if (!raw)
                return 0;
        memset(raw, 1, READ_BYTES + 64);
        j.bytes = (const uint8_t *)(((uintptr_t)raw + 63) & ~(uintptr_t)63);
        int64_t best = INT64_MAX;
        for (int i = 0; i < 6; i++) {
                int64_t t = clock_mono_us();
                kern_team_run(team, machine_read, &j);
                t = clock_mono_us() - t;
                best = t < best ? t : best;
        }
        mem_free(raw);
        return (double)READ_BYTES / (double)best * 1e6;
}

/* Multiplications and additions per second, with the widest vectors of this CPU. */
static double machine_fma(struct kern_team *team)
{
        struct machine_job j = { 0 };
        void (*fn)(void *, int) = machine_fma_plain;
#if defined(__x86_64__)
        if (kern_variant(KERN_AVX512))
                fn = machine_fma_wide;
        else if (kern_variant(KERN_AVX2))
                fn = machine_fma_avx2;
#endif
        int64_t best = INT64_MAX;
        for (int i = 0; i < 3; i++) {
                int64_t t = clock_mono_us();
                kern_team_run(team, fn, &j);
                t = clock_mono_us() - t;
                best = t < best ? t : best;
        }
        return 2.0 * 12 * 16 * FMA_ROUNDS * kern_team_size(team) / (double)best * 1e6;
}
#endif
