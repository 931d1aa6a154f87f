/* bench_kernels [VARIANT [TYPE]]: weight types and variants, all or those named, as shares of what the
 * machine can read and multiply. */
#include <stdio.h>
#include "base/rand.h"
#include "kernels/bench_machine.h"

#define N 2048
#define ROWS 16384
#define TOKENS 512

struct product {
        const struct kern_type *type;
        const struct kern *k;
        const char *w;
        struct kern_act act;
        float *y;
        size_t rows, nt;
        int threads;
};

static void run_product(void *arg, int tid)
{
        struct product *p = arg;
        size_t from, to, rb = kern_type_size(p->type, N);
        kern_team_share(tid, p->threads, p->rows, 16, &from, &to);
        p->type->gemm[p->k->isa](p->w + from * rb, rb, &p->act, p->y + from, p->rows, to - from, p->nt);
}

/* Seconds of the best of a few runs. */
static double best_time(struct kern_team *team, struct product *p)
{
        int64_t best = INT64_MAX, start = clock_mono_us();
        for (int i = 0; i < 3 || clock_mono_us() - start < 200000; i++) {
                int64_t t = clock_mono_us();
                kern_team_run(team, run_product, p);
                t = clock_mono_us() - t;
                best = t < best ? t : best;
        }
        return (double)best / 1e6;
}

static void bench_type(struct kern_team *team, struct product *p, double bandwidth, double fma)
{
        double bytes = (double)ROWS * (double)kern_type_size(p->type, N);
        p->rows = ROWS;
        p->nt = 1;
        double one = best_time(team, p);
        p->rows = ROWS / 8;
        p->nt = p->k->isa == KERN_REF ? 4 : TOKENS;
        double many = best_time(team, p), flops = 2.0 * N * (double)p->rows * (double)p->nt;
        printf("%-6s %-7s %8.1f GB/s  %5.2f of bandwidth   %8.1f Gflop/s  %5.2f of FMA peak\n", p->type->name,
               p->k->name, bytes / one / 1e9, bytes / one / bandwidth, flops / many / 1e9,
               flops / many / fma);
}

int main(int argc, char **argv)
{
        struct kern_team *team = kern_team_new(kern_team_default_threads());
        size_t ldq = kern_q8_bytes(N), ldd = kern_q8_scales(N);
        float *x = mem_calloc((size_t)TOKENS * N, sizeof(*x)), *d = mem_calloc(TOKENS * ldd, sizeof(*d));
        uint8_t *q = mem_calloc(TOKENS, ldq);
        char *w = mem_calloc((size_t)ROWS * N, 4);
        float *y = mem_calloc((size_t)ROWS * TOKENS, sizeof(*y));
        if (!team || !x || !d || !q || !w || !y)
                return 1;
        struct rng rng;
        rng_seed(&rng, 1);
        for (size_t i = 0; i < (size_t)TOKENS * N; i++)
                x[i] = (float)rng_unit(&rng) - 0.5f;
        memset(w, 0x11, (size_t)ROWS * N * 4); /* real pages, ordinary numbers in every type */
        double bandwidth = machine_bandwidth(team), fma = machine_fma(team);
        printf("%d threads: read %.1f GB/s, FMA %.1f Gflop/s\n", kern_team_size(team), bandwidth / 1e9,
               fma / 1e9);
        struct product p = {
                .act = { x, N, q, ldq, d, ldd, N }, .w = w, .y = y, .threads = kern_team_size(team)
        };
        for (int isa = KERN_REF; isa < KERN_ISAS; isa++) {
                p.k = kern_variant((enum kern_isa)isa);
                for (size_t t = 0; p.k && t < TOKENS; t++)
                        p.k->quant_q8(x + t * N, N, q + t * ldq, d + t * ldd);
                if (!p.k || (argc > 1 && strcmp(argv[1], p.k->name)))
                        continue;
                for (size_t i = 0; (p.type = kern_type_at(i)); i++)
                        if (argc < 3 || !strcmp(argv[2], p.type->name))
                                bench_type(team, &p, bandwidth, fma);
        }
        mem_free(x);
        mem_free(d);
        mem_free(q);
        mem_free(w);
        mem_free(y);
        kern_team_free(team);
        return 0;
}
