#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include "train/grad_check.h"
#include "train/ops.h"

/* Every op is tested the same way: the loss is the sum of the output times fixed random numbers `dy`, which
 * are then the output's gradient. */
#define ROWS 7
#define D 12
#define FF 10
#define HEADS 4
#define KV 2
#define DIM 6
#define WIDTH ((HEADS + 2 * KV) * DIM)
#define TOLERANCE 2e-3

struct bench {
        float x[ROWS * WIDTH], w[WIDTH * WIDTH], y[ROWS * WIDTH], dy[ROWS * WIDTH], dx[ROWS * WIDTH];
        float dw[WIDTH * WIDTH], rstd[ROWS], rope[ROWS * DIM], scratch[2 * ROWS * ROWS];
        int32_t ids[ROWS], seg[4];
        int n_out;
};

static double dot(const struct bench *b)
{
        double sum = 0.0;
        for (int i = 0; i < b->n_out; i++)
                sum += (double)b->y[i] * (double)b->dy[i];
        return sum;
}

static struct bench make(int n_out)
{
        struct bench b = { .seg = { 0, 3, 4, ROWS }, .ids = { 3, 0, 5, 3, 1, 6, 2 }, .n_out = n_out };
        fill_normal(b.x, ROWS * WIDTH, 1.0, 1);
        fill_normal(b.w, WIDTH * WIDTH, 1.0, 2);
        fill_normal(b.dy, ROWS * WIDTH, 1.0, 3);
        return b;
}

static void expect_small(double error)
{
        if (error > TOLERANCE)
                fail_msg("gradient error %g", error);
}

static double run_linear(void *p)
{
        struct bench *b = p;
        op_linear(b->y, b->x, b->w, ROWS, D, FF);
        return dot(b);
}

static void linear_gradients(void **state)
{
        (void)state;
        struct bench b = make(ROWS * FF);
        op_linear_back(b.dx, b.dw, b.dy, b.x, b.w, ROWS, D, FF, 0);
        expect_small(grad_check(run_linear, &b, b.x, b.dx, ROWS * D, 1, 1e-2f, 0.1));
        expect_small(grad_check(run_linear, &b, b.w, b.dw, FF * D, 1, 1e-2f, 0.1));
        float once = b.dx[5];
        op_linear_back(b.dx, b.dw, b.dy, b.x, b.w, ROWS, D, FF, 1);
        assert_true(fabsf(b.dx[5] - 2 * once) < 1e-4f);
}

static double run_rmsnorm(void *p)
{
        struct bench *b = p;
        op_rmsnorm(b->y, b->rstd, b->x, b->w, ROWS, D, 1e-5f);
        return dot(b);
}

static void rmsnorm_gradients(void **state)
{
        (void)state;
        struct bench b = make(ROWS * D);
        run_rmsnorm(&b);
        op_rmsnorm_back(b.dx, b.dw, b.dy, b.x, b.w, b.rstd, ROWS, D);
        expect_small(grad_check(run_rmsnorm, &b, b.x, b.dx, ROWS * D, 1, 1e-2f, 0.1));
        expect_small(grad_check(run_rmsnorm, &b, b.w, b.dw, D, 1, 1e-2f, 0.1));
}

static double run_rope(void *p)
{
        struct bench *b = p;
        memcpy(b->y, b->x, sizeof(float) * ROWS * WIDTH);
        op_rope(b->y, b->ids, b->rope, ROWS, HEADS + KV, DIM, WIDTH, 1);
        return dot(b);
}

static void rope_gradients(void **state)
{
        (void)state;
        struct bench b = make(ROWS * WIDTH);
        op_rope_table(b.rope, ROWS, DIM, 10000.0f);
        memcpy(b.dx, b.dy, sizeof(b.dx));
        op_rope(b.dx, b.ids, b.rope, ROWS, HEADS + KV, DIM, WIDTH, -1);
        expect_small(grad_check(run_rope, &b, b.x, b.dx, ROWS * WIDTH, 1, 1e-2f, 0.1));
}

/* The pair (2, 3) of a head of 6 at position 3 turns by 3 * 10000^(-1/3). */
static void rope_turns_neighbours(void **state)
{
        (void)state;
        float table[4 * 6], v[6] = { 0, 0, 1, 0, 0, 0 };
        int32_t pos = 3;
        op_rope_table(table, 4, 6, 10000.0f);
        op_rope(v, &pos, table, 1, 1, 6, 6, 1);
        double angle = 3.0 * pow(10000.0, -2.0 / 6.0);
        assert_true(fabs((double)v[2] - cos(angle)) < 1e-6 && fabs((double)v[3] - sin(angle)) < 1e-6);
        assert_true(v[0] == 0.0f && v[1] == 0.0f && v[4] == 0.0f);
}

static const struct attn_shape attn = { HEADS, KV, DIM };

static double run_attention(void *p)
{
        struct bench *b = p;
        op_attention(b->y, b->x, &attn, b->seg, 3, b->scratch);
        return dot(b);
}

static void attention_gradients(void **state)
{
        (void)state;
        struct bench b = make(ROWS * HEADS * DIM);
        memset(b.dx, 0x7f, sizeof(b.dx)); /* must be overwritten */
        op_attention_back(b.dx, b.dy, b.x, &attn, b.seg, 3, b.scratch);
        expect_small(grad_check(run_attention, &b, b.x, b.dx, ROWS * WIDTH, 1, 1e-2f, 0.1));
}

/* A later row and another segment must not change a row's output. */
static void attention_sees_only_its_past(void **state)
{
        (void)state;
        struct bench b = make(ROWS * HEADS * DIM);
        run_attention(&b);
        float first = b.y[0], fourth = b.y[3 * HEADS * DIM];
        for (int i = 0; i < WIDTH; i++)
                b.x[1 * WIDTH + i] += 1.0f;
        run_attention(&b);
        assert_true(b.y[0] == first);
        assert_true(b.y[3 * HEADS * DIM] == fourth);
}

static double run_swiglu(void *p)
{
        struct bench *b = p;
        op_swiglu(b->y, b->x, ROWS, FF);
        return dot(b);
}

static void swiglu_gradients(void **state)
{
        (void)state;
        struct bench b = make(ROWS * FF);
        op_swiglu_back(b.dx, b.dy, b.x, ROWS, FF);
        expect_small(grad_check(run_swiglu, &b, b.x, b.dx, ROWS * 2 * FF, 1, 1e-2f, 0.1));
}

static double run_embed(void *p)
{
        struct bench *b = p;
        op_embed(b->y, b->w, b->ids, ROWS, D);
        return dot(b);
}

static void embed_gradients(void **state)
{
        (void)state;
        struct bench b = make(ROWS * D);
        op_embed_back(b.dw, b.dy, b.ids, ROWS, D);
        expect_small(grad_check(run_embed, &b, b.w, b.dw, ROWS * D, 1, 1e-2f, 0.1));
}

static const float loss_weights[ROWS] = { 1.0f, 0.5f, 2.0f, 1.0f, 0.0f, 1.0f, 1.0f };

static double run_loss(void *p)
{
        struct bench *b = p;
        memcpy(b->y, b->x, sizeof(float) * ROWS * D);
        return 0.25 * op_cross_entropy(b->y, b->ids, loss_weights, ROWS, D, 0.25f, NULL);
}

static void cross_entropy_gradients(void **state)
{
        (void)state;
        struct bench b = make(ROWS * D);
        uint8_t hits[ROWS];
        b.x[2 * D + 5] = 9.0f; /* row 2 is right */
        b.x[0] = 9.0f;         /* row 0 is wrong: its target is 3 */
        memcpy(b.dx, b.x, sizeof(b.dx));
        double loss = op_cross_entropy(b.dx, b.ids, loss_weights, ROWS, D, 0.25f, hits);
        assert_true(fabs(0.25 * loss - run_loss(&b)) < 1e-6);
        assert_true(hits[2] && !hits[0]);
        expect_small(grad_check(run_loss, &b, b.x, b.dx, ROWS * D, 1, 1e-2f, 0.02));
}

/* Large logits must not overflow; a certain answer costs nothing. */
static void cross_entropy_is_stable(void **state)
{
        (void)state;
        float z[3] = { 1000.0f, -1000.0f, 0.0f }, one = 1.0f;
        int32_t target = 0;
        double loss = op_cross_entropy(z, &target, &one, 1, 3, 1.0f, NULL);
        assert_true(loss >= 0.0 && loss < 1e-6);
        assert_true(fabsf(z[0]) < 1e-6f && z[1] < 1e-6f);
}

static void sums(void **state)
{
        (void)state;
        float a[3000], b[3000];
        double want = 0.0;
        for (int i = 0; i < 3000; i++) {
                a[i] = (float)i * 0.5f;
                b[i] = 1.0f;
                want += 0.25 * i * i;
        }
        assert_true(fabs(op_square_sum(a, 3000) / want - 1.0) < 1e-5);
        op_add(a, b, 3000);
        assert_true(a[2999] == 1500.5f);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(linear_gradients),
                cmocka_unit_test(rmsnorm_gradients),
                cmocka_unit_test(rope_gradients),
                cmocka_unit_test(rope_turns_neighbours),
                cmocka_unit_test(attention_gradients),
                cmocka_unit_test(attention_sees_only_its_past),
                cmocka_unit_test(swiglu_gradients),
                cmocka_unit_test(embed_gradients),
                cmocka_unit_test(cross_entropy_gradients),
                cmocka_unit_test(cross_entropy_is_stable),
                cmocka_unit_test(sums),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
