#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>
#include <cmocka.h>
#include "base/mem.h"
#include "kernels/kernels.h"
#include "kernels/quantize.h"

#define N 8192

static float values[N], back[N];
static uint8_t packed[N * 4];

static double uniform(uint64_t *state)
{
        *state = *state * 6364136223846793005u + 1442695040888963407u;
        return ((double)(*state >> 40) + 0.5) / 0x1p24;
}

/* Normal values; with `outliers`, one in a hundred is 20 times as large. */
static void fill(bool outliers)
{
        uint64_t state = 7;
        for (int i = 0; i < N; i++) {
                double u = uniform(&state), v = uniform(&state);
                values[i] = (float)(0.05 * sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
                if (outliers && uniform(&state) < 0.01)
                        values[i] *= 20;
        }
}

/* Squared error as a share of the squared values. */
static double loss(const struct kern_type *t)
{
        double error = 0, sum = 0;
        assert_int_equal(kern_quantize(t->id, values, N, packed, NULL), 0);
        t->dequant(packed, back, N);
        for (int i = 0; i < N; i++) {
                error += ((double)back[i] - (double)values[i]) * ((double)back[i] - (double)values[i]);
                sum += (double)values[i] * (double)values[i];
        }
        return error / sum;
}

/* About what ggml's own quantisers lose on such values, with some room for the draw. */
static const struct {
        const char *name;
        double normal, outliers;
} limits[] = {
        { "F32", 0, 0 },
        { "F16", 1e-7, 1e-7 },
        { "BF16", 4e-6, 4e-6 },
        { "Q4_0", 7.9e-3, 2.4e-2 },
        { "Q4_1", 6.5e-3, 1.4e-2 },
        { "Q5_0", 1.95e-3, 9e-3 },
        { "Q5_1", 1.55e-3, 3.1e-3 },
        { "Q8_0", 3.1e-5, 1.5e-4 },
        { "Q2_K", 9.3e-2, 6.4e-2 },
        { "Q3_K", 2.5e-2, 2.7e-2 },
        { "Q4_K", 5.5e-3, 1.1e-2 },
        { "Q5_K", 1.4e-3, 2.9e-3 },
        { "Q6_K", 3.5e-4, 1.3e-3 },
        { "IQ4_NL", 6.2e-3, 1.7e-2 },
        { "IQ4_XS", 6.4e-3, 1.7e-2 },
        { "MXFP4", 1.4e-2, 3e-2 },
};

static double limit_of(const char *name, bool outliers)
{
        for (size_t i = 0; i < sizeof(limits) / sizeof(*limits); i++)
                if (!strcmp(limits[i].name, name))
                        return outliers ? limits[i].outliers : limits[i].normal;
        fail_msg("no limit for %s: add one", name);
        return 0;
}

static void test_loss(void **state)
{
        (void)state;
        const struct kern_type *t;
        for (int outliers = 0; outliers < 2; outliers++) {
                fill(outliers);
                for (size_t i = 0; (t = kern_type_at(i)); i++) {
                        assert_true(kern_can_quantize(t->id));
                        double got = loss(t);
                        if (got > limit_of(t->name, outliers))
                                fail_msg("%s loses %g, more than %g", t->name, got,
                                         limit_of(t->name, outliers));
                }
        }
}

static void test_special_values(void **state)
{
        (void)state;
        const struct kern_type *t;
        for (size_t i = 0; (t = kern_type_at(i)); i++) {
                memset(values, 0, sizeof(values));
                assert_true(isnan(loss(t))); /* nothing of nothing */
                for (int j = 0; j < N; j++)
                        assert_true(back[j] == 0);
                for (int j = 0; j < N; j++)
                        values[j] = -0.25f;
                /* Q6_K, Q3_K and the tables have no code for every multiple; all come near */
                if (loss(t) > 2e-3)
                        fail_msg("%s: a constant comes back as %g", t->name, (double)back[0]);
                for (int j = 0; j < N; j++)
                        values[j] = (float)j * 1e-42f; /* subnormal */
                assert_int_equal(kern_quantize(t->id, values, N, packed, NULL), 0);
                t->dequant(packed, back, N);
                for (int j = 0; j < N; j++)
                        assert_true(isfinite(back[j]));
        }
}

static void test_refusals(void **state)
{
        (void)state;
        static const float bad[] = { INFINITY, -INFINITY, NAN };
        const struct kern_type *t;
        for (size_t i = 0; (t = kern_type_at(i)); i++) {
                for (size_t j = 0; j < 3; j++) {
                        size_t at = 0;
                        fill(false);
                        values[777] = bad[j];
                        assert_int_equal(kern_quantize(t->id, values, N, packed, &at), -EINVAL);
                        assert_int_equal(at, 777);
                }
                fill(false);
                if (t->block > 1)
                        assert_int_equal(kern_quantize(t->id, values, t->block + 1, packed, NULL), -EINVAL);
                values[5] = 3e38f;
                int rc = kern_quantize(t->id, values, N, packed, NULL);
                assert_true(rc == 0 || rc == -ERANGE);
                if (rc == 0 && strcmp(t->name, "F16") != 0) {
                        t->dequant(packed, back, N);
                        for (int j = 0; j < N; j++)
                                assert_true(isfinite(back[j]));
                }
        }
        assert_int_equal(kern_quantize(4711, values, N, packed, NULL), -EINVAL);
        assert_false(kern_can_quantize(4711));
}

/* To the nearest, ties to even, beyond the range to infinity. */
static void test_halves(void **state)
{
        (void)state;
        static const struct {
                float v;
                uint16_t f16, bf16;
        } cases[] = {
                { 1.0f, 0x3c00, 0x3f80 },
                { -0.0f, 0x8000, 0x8000 },
                { 65504.0f, 0x7bff, 0x4780 },
                { 65520.0f, 0x7c00, 0x4780 },
                { 1.0f + 0x1p-8f, 0x3c04, 0x3f80 }, /* a tie in bf16 */
                { 1.0f + 3 * 0x1p-8f, 0x3c0c, 0x3f82 },
                { 1.0f + 0x1p-11f, 0x3c00, 0x3f80 }, /* a tie in f16 */
                { 1.0f + 3 * 0x1p-11f, 0x3c02, 0x3f80 },
                { 0x1p-25f, 0, 0x3300 },
                { 0x1.1p-25f, 1, 0x3308 },
        };
        for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
                uint16_t h, b;
                assert_int_equal(kern_quantize(1, &cases[i].v, 1, &h, NULL), 0);
                assert_int_equal(kern_quantize(30, &cases[i].v, 1, &b, NULL), 0);
                assert_int_equal(h, cases[i].f16);
                assert_int_equal(b, cases[i].bf16);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_loss),
                cmocka_unit_test(test_special_values),
                cmocka_unit_test(test_refusals),
                cmocka_unit_test(test_halves),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
