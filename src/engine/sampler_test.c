/* Sampling: what each parameter removes, that draws follow the distribution, and that seeds repeat. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "engine/sampler.h"

#define N 8

static const float base[N] = { 1, 3, 2, 0, -1, 3.5f, -2, 0.5f }; /* order: 5 1 2 0 7 3 4 6 */

static int32_t pick(struct sampler *s, const float *logits)
{
        float copy[N], probs[N];
        struct cand room[N];
        memcpy(copy, logits, sizeof(copy));
        sampler_adjust(s, copy);
        return sampler_pick(s, kern_variant(KERN_REF), copy, probs, room);
}

/* The set of tokens that 2000 draws give, as bits. */
static unsigned reachable(const struct engine_sampling *p)
{
        struct sampler s;
        unsigned set = 0;
        assert_int_equal(sampler_check(p, N), 0);
        assert_int_equal(sampler_init(&s, p, NULL, 0, N), 0);
        for (int i = 0; i < 2000; i++)
                set |= 1u << pick(&s, base);
        sampler_release(&s);
        return set;
}

static void test_truncation(void **state)
{
        (void)state;
        struct engine_sampling p = ENGINE_SAMPLING_DEFAULT;
        p.has_seed = true;
        p.seed = 5;
        p.temperature = 2;
        assert_int_equal(reachable(&p), 0xff);
        p.top_k = 3;
        assert_int_equal(reachable(&p), 1 << 5 | 1 << 1 | 1 << 2);
        p.top_k = 1;
        assert_int_equal(reachable(&p), 1 << 5);
        p.top_k = 0;
        p.top_p = 0; /* always leaves one */
        assert_int_equal(reachable(&p), 1 << 5);
        p.temperature = 1; /* masses: 5 .46, 1 .28, 2 .10, ... */
        p.top_p = 0.6f;
        assert_int_equal(reachable(&p), 1 << 5 | 1 << 1);
        p.top_k = 2; /* of the two: .62 and .38 */
        assert_int_equal(reachable(&p), 1 << 5);
        p.top_k = 0;
        p.top_p = 1;
        p.min_p = 0.2f; /* e^-1.5 = .22 of the best */
        assert_int_equal(reachable(&p), 1 << 5 | 1 << 1 | 1 << 2);
        p.temperature = 0;
        assert_int_equal(reachable(&p), 1 << 5);
        p.temperature = 1e-30f;
        assert_int_equal(reachable(&p), 1 << 5);
}

/* Frequencies of 40000 draws within four deviations of the softmax. */
static void test_distribution(void **state)
{
        (void)state;
        enum { DRAWS = 40000 };
        for (int heap = 0; heap < 2; heap++) {
                struct engine_sampling p = ENGINE_SAMPLING_DEFAULT;
                p.has_seed = true;
                p.top_p = heap ? 0.99999f : 1; /* the other way through the code, the same distribution */
                struct sampler s;
                int count[N] = { 0 };
                double sum = 0;
                assert_int_equal(sampler_init(&s, &p, NULL, 0, N), 0);
                for (int i = 0; i < DRAWS; i++)
                        count[pick(&s, base)]++;
                for (int i = 0; i < N; i++)
                        sum += exp((double)base[i]);
                for (int i = 0; i < N; i++) {
                        double want = exp((double)base[i]) / sum * DRAWS;
                        assert_true(fabs(count[i] - want) < 4 * sqrt(want) + 1);
                }
                sampler_release(&s);
        }
}

static void test_seed(void **state)
{
        (void)state;
        struct engine_sampling p = ENGINE_SAMPLING_DEFAULT;
        int32_t draws[3][50];
        for (int run = 0; run < 3; run++) {
                struct sampler s;
                p.has_seed = true;
                p.seed = run == 2 ? 78 : 77;
                assert_int_equal(sampler_init(&s, &p, NULL, 0, N), 0);
                for (int i = 0; i < 50; i++)
                        draws[run][i] = pick(&s, base);
                sampler_release(&s);
        }
        assert_memory_equal(draws[0], draws[1], sizeof(draws[0]));
        assert_memory_not_equal(draws[0], draws[2], sizeof(draws[0]));
}

static void test_bias(void **state)
{
        (void)state;
        struct engine_sampling p = ENGINE_SAMPLING_DEFAULT;
        struct engine_bias bias[] = { { 5, -100 }, { 6, 100 } };
        p.temperature = 0;
        p.bias = bias;
        p.n_bias = 1;
        assert_int_equal(reachable(&p), 1 << 1);
        p.temperature = 100;
        assert_int_equal(reachable(&p), 0xff & ~(1 << 5));
        p.n_bias = 2;
        p.temperature = 1;
        assert_int_equal(reachable(&p), 1 << 6);
}

static void test_penalties(void **state)
{
        (void)state;
        struct engine_sampling p = ENGINE_SAMPLING_DEFAULT;
        struct sampler s;
        float logits[N];
        int32_t prompt[] = { 2, 4 };
        p.frequency = 0.5f;
        p.presence = 0.25f;
        p.repetition = 2;
        assert_int_equal(sampler_init(&s, &p, prompt, 2, N), 0);
        sampler_accept(&s, 5);
        sampler_accept(&s, 5);
        memcpy(logits, base, sizeof(logits));
        sampler_adjust(&s, logits);
        assert_float_equal(logits[5], 3.5f / 2 - 2 * 0.5f - 0.25f, 1e-6);
        assert_float_equal(logits[2], 1, 1e-6);  /* of the prompt: repetition only */
        assert_float_equal(logits[4], -2, 1e-6); /* negative: multiplied */
        assert_float_equal(logits[1], 3, 1e-6);
        sampler_release(&s);
}

static void test_check(void **state)
{
        (void)state;
        const struct engine_sampling good = ENGINE_SAMPLING_DEFAULT;
        struct engine_bias outside = { N, 1 }, nan_bias = { 1, NAN };
        struct engine_sampling bad[10];
        for (int i = 0; i < 10; i++)
                bad[i] = good;
        bad[0].temperature = -1;
        bad[1].temperature = NAN;
        bad[2].top_p = 1.5f;
        bad[3].min_p = -0.1f;
        bad[4].top_k = -1;
        bad[5].frequency = INFINITY;
        bad[6].presence = NAN;
        bad[7].repetition = 0;
        bad[8].bias = &outside, bad[8].n_bias = 1;
        bad[9].bias = &nan_bias, bad[9].n_bias = 1;
        assert_int_equal(sampler_check(&good, N), 0);
        for (int i = 0; i < 10; i++)
                assert_int_equal(sampler_check(&bad[i], N), -EINVAL);
}

static void test_top(void **state)
{
        (void)state;
        struct engine_top top[N];
        float tied[N] = { 1, 2, 2, 0, 2, -INFINITY, 1, 0 }, logsum = sampler_logsum(base, N);
        double mass = 0;
        sampler_top(base, N, logsum, top, N);
        static const int32_t order[N] = { 5, 1, 2, 0, 7, 3, 4, 6 };
        for (int i = 0; i < N; i++) {
                assert_int_equal(top[i].id, order[i]);
                mass += exp((double)top[i].logprob);
        }
        assert_float_equal(mass, 1, 1e-5);
        sampler_top(tied, N, sampler_logsum(tied, N), top, 4);
        assert_int_equal(top[0].id, 1);
        assert_int_equal(top[1].id, 2);
        assert_int_equal(top[2].id, 4);
        assert_int_equal(top[3].id, 0);
        sampler_top(tied, N, sampler_logsum(tied, N), top, N);
        assert_true(top[N - 1].logprob >= ENGINE_LOGPROB_MIN); /* finite: it goes into JSON */
}

/* Logits that no model should give must still choose something. */
static void test_odd_logits(void **state)
{
        (void)state;
        struct engine_sampling p = ENGINE_SAMPLING_DEFAULT;
        struct sampler s;
        float odd[3][N];
        for (int i = 0; i < N; i++)
                odd[0][i] = NAN, odd[1][i] = -INFINITY, odd[2][i] = i == 3 ? 4 : NAN;
        assert_int_equal(sampler_init(&s, &p, NULL, 0, N), 0);
        for (int i = 0; i < 3; i++) {
                int32_t id = pick(&s, odd[i]);
                assert_true(id >= 0 && id < N);
        }
        sampler_release(&s);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_truncation), cmocka_unit_test(test_distribution),
                cmocka_unit_test(test_seed),       cmocka_unit_test(test_bias),
                cmocka_unit_test(test_penalties),  cmocka_unit_test(test_check),
                cmocka_unit_test(test_top),        cmocka_unit_test(test_odd_logits),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
