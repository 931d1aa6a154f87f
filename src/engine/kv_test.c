/* KV blocks: sharing by content, forgetting the oldest, and no block lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/rand.h"
#include "engine/kv.h"

#define B KERN_KV_BLOCK

static void fill(int32_t *tokens, int n, int seed)
{
        for (int i = 0; i < n; i++)
                tokens[i] = seed * 1000 + i;
}

/* Computes and publishes `blocks` blocks of the tokens, as a sequence would. */
static void compute(struct kv *kv, const int32_t *tokens, int blocks, int32_t *out)
{
        uint64_t parent = 0;
        for (int i = 0; i < blocks; i++) {
                out[i] = kv_alloc(kv);
                assert_true(out[i] >= 0);
                out[i] = kv_publish(kv, out[i], parent, tokens + i * B);
                parent = kv->blocks[out[i]].uid;
        }
}

static void drop(struct kv *kv, const int32_t *blocks, int n)
{
        while (n-- > 0)
                kv_unref(kv, blocks[n]);
}

static void test_share(void **state)
{
        (void)state;
        struct kv kv;
        int32_t tokens[4 * B], other[4 * B], mine[4], theirs[4];
        assert_int_equal(kv_init(&kv, 8, 1, 1, 4), 0);
        fill(tokens, 4 * B, 1);
        compute(&kv, tokens, 3, mine);
        assert_int_equal(kv_match(&kv, tokens, 4 * B, NULL, 9), 3);
        assert_int_equal(kv_match(&kv, tokens, 3 * B - 1, NULL, 9), 2); /* whole blocks only */
        assert_int_equal(kv_match(&kv, tokens, 4 * B, theirs, 2), 2);
        assert_int_equal(theirs[1], mine[1]);
        assert_int_equal(kv.blocks[mine[0]].refs, 2);
        fill(other, 4 * B, 1);
        other[B + 3]++;
        assert_int_equal(kv_match(&kv, other, 4 * B, NULL, 9), 1);
        assert_int_equal(kv_match(&kv, tokens + B, B, NULL, 9), 0); /* same tokens, other place */
        drop(&kv, mine, 3);
        drop(&kv, theirs, 2);
        assert_int_equal(kv.n_unused, 8);
        assert_int_equal(kv.n_cached, 3);
        assert_int_equal(kv_match(&kv, tokens, 4 * B, theirs, 4), 3); /* kept though unused */
        assert_int_equal(kv.n_unused, 5);
        drop(&kv, theirs, 3);
        kv_release(&kv);
}

static void test_same_content_twice(void **state)
{
        (void)state;
        struct kv kv;
        int32_t tokens[2 * B], a[2], b[2];
        assert_int_equal(kv_init(&kv, 8, 1, 1, 4), 0);
        fill(tokens, 2 * B, 1);
        compute(&kv, tokens, 2, a);
        compute(&kv, tokens, 2, b); /* the second copy gives way to the first */
        assert_int_equal(a[0], b[0]);
        assert_int_equal(a[1], b[1]);
        assert_int_equal(kv.n_unused, 6);
        drop(&kv, a, 2);
        drop(&kv, b, 2);
        assert_int_equal(kv.n_unused, 8);
        kv_release(&kv);
}

static void test_oldest_goes_first(void **state)
{
        (void)state;
        struct kv kv;
        int32_t one[2 * B], two[2 * B], blocks[6], got[3];
        assert_int_equal(kv_init(&kv, 5, 1, 1, 4), 0);
        fill(one, 2 * B, 1);
        fill(two, 2 * B, 2);
        compute(&kv, one, 2, blocks);
        drop(&kv, blocks, 2);
        compute(&kv, two, 2, blocks);
        drop(&kv, blocks, 2);
        got[0] = kv_alloc(&kv); /* the never used one */
        assert_int_equal(kv_match(&kv, one, 2 * B, NULL, 2), 2);
        got[1] = kv_alloc(&kv); /* the end of the older sequence */
        assert_int_equal(kv_match(&kv, one, 2 * B, NULL, 2), 1);
        assert_int_equal(kv_match(&kv, two, 2 * B, NULL, 2), 2);
        got[2] = kv_alloc(&kv);
        assert_int_equal(kv_match(&kv, one, 2 * B, NULL, 2), 0);
        assert_int_equal(kv_match(&kv, two, 2 * B, blocks, 2), 2);
        assert_int_equal(kv_alloc(&kv), -1); /* all in use */
        drop(&kv, blocks, 2);
        drop(&kv, got, 3);
        assert_int_equal(kv.n_unused, 5);
        kv_release(&kv);
}

/* Random work; then every block must be back and every published one findable. */
static void test_churn(void **state)
{
        (void)state;
        enum { SEQS = 6, LEN = 4 };
        struct kv kv;
        struct rng rng;
        int32_t tokens[LEN * B], held[SEQS][LEN];
        int n_held[SEQS] = { 0 };
        rng_seed(&rng, 3);
        assert_int_equal(kv_init(&kv, SEQS * LEN, 1, 1, 4), 0);
        for (int round = 0; round < 20000; round++) {
                int s = (int)rng_below(&rng, SEQS);
                if (n_held[s]) {
                        drop(&kv, held[s], n_held[s]);
                        n_held[s] = 0;
                        continue;
                }
                fill(tokens, LEN * B, (int)rng_below(&rng, 20));
                if (rng_below(&rng, 3) == 0)
                        tokens[B * 2] = -7;
                int n = kv_match(&kv, tokens, LEN * B, held[s], LEN);
                for (; n < LEN; n++) {
                        held[s][n] = kv_alloc(&kv);
                        assert_true(held[s][n] >= 0);
                        uint64_t parent = n ? kv.blocks[held[s][n - 1]].uid : 0;
                        held[s][n] = kv_publish(&kv, held[s][n], parent, tokens + n * B);
                }
                n_held[s] = n;
        }
        for (int s = 0; s < SEQS; s++)
                drop(&kv, held[s], n_held[s]);
        assert_int_equal(kv.n_unused, SEQS * LEN);
        int listed = 0;
        for (int32_t i = kv.oldest; i >= 0; i = kv.blocks[i].newer) {
                assert_int_equal(kv.blocks[i].refs, 0);
                listed++;
        }
        assert_int_equal(listed, SEQS * LEN);
        kv_release(&kv);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_share),
                cmocka_unit_test(test_same_content_twice),
                cmocka_unit_test(test_oldest_goes_first),
                cmocka_unit_test(test_churn),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
