/* KV memory: what the tree shares, what it forgets first, that no block is lost; and the rows in 8 bits. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "base/mem.h"
#include "base/rand.h"
#include "engine/kv.h"

#define B KERN_KV_BLOCK

static void fill(int32_t *tokens, int n, int seed)
{
        for (int i = 0; i < n; i++)
                tokens[i] = seed * 1000 + i;
}

static void open_kv(struct kv *kv, int blocks)
{
        assert_int_equal(kv_init(kv, blocks, 2, 2, 4, ENGINE_KV_F16), 0);
}

/* Computes and publishes n tokens, as a sequence would; returns its blocks. */
static int compute(struct kv *kv, const int32_t *tokens, int n, int32_t *out)
{
        int32_t parent = -1;
        int blocks = 0;
        for (int at = 0; at < n; at += B, blocks++) {
                int32_t b = kv_alloc(kv);
                assert_true(b >= 0);
                parent = out[blocks] = kv_publish(kv, b, parent, tokens + at, n - at < B ? n - at : B);
        }
        return blocks;
}

static void drop_all(struct kv *kv, const int32_t *blocks, int n)
{
        while (n-- > 0)
                kv_unref(kv, blocks[n]);
}

static void test_share(void **state)
{
        (void)state;
        struct kv kv;
        int32_t tokens[4 * B], other[4 * B], mine[4], theirs[4], part = -1;
        open_kv(&kv, 8);
        fill(tokens, 4 * B, 1);
        compute(&kv, tokens, 3 * B, mine);
        assert_int_equal(kv_probe(&kv, tokens, 4 * B), 3 * B);
        assert_int_equal(kv_probe(&kv, tokens, 3 * B - 1), 3 * B - 1);
        assert_int_equal(kv_match(&kv, tokens, 4 * B, theirs, 2), 2);
        assert_int_equal(theirs[1], mine[1]);
        assert_int_equal(kv.blocks[mine[0]].refs, 2);
        fill(other, 4 * B, 1);
        other[B + 3]++;
        assert_int_equal(kv_probe(&kv, other, 4 * B), B + 3);
        assert_int_equal(kv_match_part(&kv, mine[0], other + B, 3 * B, &part), 3);
        assert_int_equal(part, mine[1]);
        assert_int_equal(kv_probe(&kv, tokens + B, B), 0); /* same tokens, other place */
        drop_all(&kv, mine, 3);
        drop_all(&kv, theirs, 2);
        assert_int_equal(kv.n_unused, 8);
        assert_int_equal(kv.n_cached, 3);
        assert_int_equal(kv_match(&kv, tokens, 4 * B, theirs, 4), 3); /* kept though unused */
        assert_int_equal(kv.n_unused, 5);
        drop_all(&kv, theirs, 3);
        kv_release(&kv);
}

/* A block that two sequences have computed is kept once. */
static void test_same_content(void **state)
{
        (void)state;
        struct kv kv;
        int32_t tokens[2 * B], mine[2], theirs[2];
        open_kv(&kv, 8);
        fill(tokens, 2 * B, 1);
        compute(&kv, tokens, 2 * B, mine);
        compute(&kv, tokens, 2 * B, theirs);
        assert_memory_equal(mine, theirs, sizeof(mine));
        assert_int_equal(kv.n_unused, 6);
        drop_all(&kv, mine, 2);
        assert_int_equal(kv.n_unused, 6);
        drop_all(&kv, theirs, 2);
        assert_int_equal(kv.n_unused, 8);
        kv_release(&kv);
}

/* A part grows with its sequence; shorter parts give way to longer ones. */
static void test_parts(void **state)
{
        (void)state;
        struct kv kv;
        int32_t tokens[B], other[B], a, b, c, found = -1;
        open_kv(&kv, 8);
        fill(tokens, B, 1);
        fill(other, B, 1);
        other[5] = 7;
        a = kv_publish(&kv, kv_alloc(&kv), -1, tokens, 3);
        assert_int_equal(kv_probe(&kv, tokens, B), 3);
        b = kv_publish(&kv, kv_alloc(&kv), -1, other, 8);
        assert_int_equal(kv_match_part(&kv, -1, tokens, B, &found), 5);
        assert_int_equal(found, b);
        assert_int_equal(kv_publish(&kv, a, -1, tokens, B), a); /* it has gone on meanwhile */
        assert_int_equal(kv_probe(&kv, tokens, B), B);
        assert_int_equal(kv_probe(&kv, other, B), 8);
        c = kv_publish(&kv, kv_alloc(&kv), -1, tokens, 4);
        assert_int_equal(kv.blocks[c].n, 0); /* nothing new in it */
        kv_unref(&kv, c);
        kv_unref(&kv, b);
        c = kv_publish(&kv, kv_alloc(&kv), -1, other, 10);
        assert_int_equal(kv.blocks[b].n, 0); /* what it held is in the longer one */
        kv_unref(&kv, c);
        kv_unref(&kv, a);
        assert_int_equal(kv.n_unused, 8);
        assert_int_equal(kv.n_cached, 2);
        kv_release(&kv);
}

/* The least recently used goes first, and never the beginning of something before its end. */
static void test_eviction(void **state)
{
        (void)state;
        struct kv kv;
        int32_t a[3 * B], b[3 * B], mine[3], theirs[3], taken[8];
        open_kv(&kv, 8);
        fill(a, 3 * B, 1);
        fill(b, 3 * B, 2);
        compute(&kv, a, 3 * B, mine);
        compute(&kv, b, 3 * B, theirs);
        drop_all(&kv, mine, 3);
        drop_all(&kv, theirs, 3);
        for (int i = 0; i < 4; i++)
                taken[i] = kv_alloc(&kv);
        assert_int_equal(kv_probe(&kv, a, 3 * B), B); /* two that were empty, then the end of a */
        assert_int_equal(kv_probe(&kv, b, 3 * B), 3 * B);
        int32_t held[3];
        assert_int_equal(kv_match(&kv, a, 3 * B, held, 3), 1);
        for (int i = 4; i < 7; i++)
                taken[i] = kv_alloc(&kv);
        assert_int_equal(kv_probe(&kv, b, 3 * B), 0);
        assert_int_equal(kv_alloc(&kv), -1);
        assert_int_equal(kv_probe(&kv, a, 3 * B), B);
        drop_all(&kv, taken, 7);
        drop_all(&kv, held, 1);
        assert_int_equal(kv.n_unused, 8);
        kv_release(&kv);
}

/* ---- random use against what must hold ---------------------------------------------------------- */

#define MANY 24
#define LONG (5 * B)

struct user {
        int32_t tokens[LONG], blocks[LONG / B];
        int n, n_blocks;
};

/* Marks each block of a sequence with its tokens, in place of keys. */
static void mark(struct kv *kv, const struct user *u)
{
        for (int i = 0; i < u->n; i++)
                kv->mem[(size_t)u->blocks[i / B] * kv->at.block + (size_t)(i % B)] = (uint8_t)u->tokens[i];
}

static void begin(struct kv *kv, struct user *u, struct rng *rng)
{
        int32_t part = -1;
        u->n = 1 + (int)rng_below(rng, LONG);
        for (int i = 0; i < u->n; i++) /* few tokens: many sequences have beginnings in common */
                u->tokens[i] = (int32_t)rng_below(rng, i % 5 ? 1 : 3);
        int want = (u->n + B - 1) / B;
        u->n_blocks = kv_match(kv, u->tokens, (size_t)u->n - 1, u->blocks, want);
        int whole = u->n_blocks, same;
        if (kv->n_unused <= want - whole) {
                drop_all(kv, u->blocks, u->n_blocks);
                u->n = 0;
                return;
        }
        same = kv_match_part(kv, whole ? u->blocks[whole - 1] : -1, u->tokens + whole * B,
                             (size_t)(u->n - 1 - whole * B), &part);
        if (same)
                kv_ref(kv, part);
        while (u->n_blocks < want)
                u->blocks[u->n_blocks++] = kv_alloc(kv);
        if (same) {
                kv_copy(kv, u->blocks[whole], part);
                kv_unref(kv, part);
        }
        for (int i = 0; i < whole * B + same; i++) /* what was shared is what was written */
                assert_int_equal(kv->mem[(size_t)u->blocks[i / B] * kv->at.block + (size_t)(i % B)],
                                 u->tokens[i]);
        mark(kv, u);
        for (int i = 0; i < want; i++) {
                int left = u->n - i * B;
                if (i && kv->blocks[u->blocks[i - 1]].n < B)
                        break;
                u->blocks[i] = kv_publish(kv, u->blocks[i], i ? u->blocks[i - 1] : -1, u->tokens + i * B,
                                          left < B ? left : B);
        }
}

static void test_random_use(void **state)
{
        (void)state;
        static struct user users[MANY];
        struct kv kv;
        struct rng rng;
        open_kv(&kv, 40);
        rng_seed(&rng, 9);
        for (int round = 0; round < 20000; round++) {
                struct user *u = &users[rng_below(&rng, MANY)];
                if (u->n) {
                        drop_all(&kv, u->blocks, u->n_blocks);
                        u->n = 0;
                } else {
                        begin(&kv, u, &rng);
                }
        }
        int refs = 0, held = 0;
        for (int i = 0; i < kv.n_blocks; i++)
                refs += kv.blocks[i].refs;
        for (int i = 0; i < MANY; i++)
                held += users[i].n ? users[i].n_blocks : 0;
        assert_int_equal(refs, held);
        for (int i = 0; i < MANY; i++)
                if (users[i].n)
                        drop_all(&kv, users[i].blocks, users[i].n_blocks);
        assert_int_equal(kv.n_unused, 40);
        int taken = 0;
        while (kv_alloc(&kv) >= 0) /* every block can be had again, and the tree ends empty */
                taken++;
        assert_int_equal(taken, 40);
        assert_int_equal(kv.roots.n, 0);
        kv_release(&kv);
}

/* ---- rows --------------------------------------------------------------------------------------- */

/* Scores and mixtures of random rows in one type, against the same in double. Returns the largest error,
 * relative to the size of the result. */
static double row_error(enum engine_kv_type type, int hd, enum kern_isa isa)
{
        enum { QUERIES = 5, HEADS = 2 };
        const struct kern *k = kern_variant(isa);
        struct kv kv;
        struct rng rng;
        size_t d = (size_t)hd;
        float *keys = mem_calloc(B * HEADS * d, sizeof(float)),
              *values = mem_calloc(B * HEADS * d, sizeof(float));
        float *q = mem_calloc(QUERIES * d, sizeof(float)), *o = mem_calloc(QUERIES * d, sizeof(float));
        float s[QUERIES * B], p[QUERIES * B];
        double worst = 0;
        assert_int_equal(kv_init(&kv, 2, 2, HEADS, hd, type), 0);
        void *scratch = mem_alloc(kv_scratch_bytes(&kv));
        rng_seed(&rng, (uint64_t)hd);
        for (size_t i = 0; i < B * HEADS * d; i++) {
                keys[i] = (float)rng_normal(&rng);
                values[i] = (float)rng_normal(&rng);
        }
        for (size_t i = 0; i < QUERIES * d; i++)
                q[i] = (float)rng_normal(&rng);
        for (size_t i = 0; i < QUERIES * B; i++)
                p[i] = (float)rng_unit(&rng) / B;
        for (size_t j = 0; j < B; j++)
                kv_store(&kv, k, 1, 1, j, keys + j * HEADS * d, values + j * HEADS * d, scratch);
        kv_scores(&kv, k, 1, 1, 1, q, d, QUERIES, 0.5f, s, B);
        kv_mix(&kv, k, 1, 1, 1, p, B, QUERIES, B - 3, o, d);
        for (size_t i = 0; i < QUERIES; i++) {
                for (size_t j = 0; j < B; j++) {
                        double sum = 0;
                        for (size_t c = 0; c < d; c++)
                                sum += (double)q[i * d + c] * (double)keys[(j * HEADS + 1) * d + c];
                        worst = fmax(worst, fabs(0.5 * sum - (double)s[i * B + j]) / sqrt((double)d));
                }
                for (size_t c = 0; c < d; c++) {
                        double sum = 0;
                        for (size_t j = 0; j < B - 3; j++)
                                sum += (double)p[i * B + j] * (double)values[(j * HEADS + 1) * d + c];
                        worst = fmax(worst, fabs(sum - (double)o[i * d + c]));
                }
        }
        mem_free(keys);
        mem_free(values);
        mem_free(q);
        mem_free(o);
        mem_free(scratch);
        kv_release(&kv);
        return worst;
}

static void test_rows(void **state)
{
        (void)state;
        static const int dims[] = { 1, 4, 16, 20, 32, 48, 64, 80, 96, 128, 256 };
        for (enum kern_isa isa = KERN_REF; isa < KERN_ISAS; isa++) {
                if (!kern_variant(isa))
                        continue;
                for (size_t i = 0; i < sizeof(dims) / sizeof(*dims); i++) {
                        assert_true(row_error(ENGINE_KV_F16, dims[i], isa) < 1e-3);
                        assert_true(row_error(ENGINE_KV_Q8_0, dims[i], isa) < 2e-2);
                }
        }
        assert_true(kv_block_bytes(3, 2, 64, ENGINE_KV_Q8_0) * 100 <
                    kv_block_bytes(3, 2, 64, ENGINE_KV_F16) * 54);
}

static void test_export(void **state)
{
        (void)state;
        struct kv kv;
        open_kv(&kv, 4);
        size_t n = kv_block_bytes(2, 2, 4, ENGINE_KV_F16);
        uint8_t *a = mem_alloc(n), *b = mem_alloc(n);
        for (size_t i = 0; i < n; i++)
                a[i] = (uint8_t)(i * 7);
        kv_import(&kv, 2, a);
        kv_copy(&kv, 3, 2);
        kv_export(&kv, 3, b);
        assert_memory_equal(a, b, n);
        kv_export(&kv, 1, b);
        for (size_t i = 0; i < n; i++)
                assert_int_equal(b[i], 0);
        mem_free(a);
        mem_free(b);
        kv_release(&kv);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_share),      cmocka_unit_test(test_same_content),
                cmocka_unit_test(test_parts),      cmocka_unit_test(test_eviction),
                cmocka_unit_test(test_random_use), cmocka_unit_test(test_rows),
                cmocka_unit_test(test_export),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
