#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include "train/optim.c"
#include "train/grad_check.h"

static const struct llama_shape shape = {
        .n_vocab = 5,
        .n_embd = 8,
        .n_layer = 1,
        .n_head = 2,
        .n_kv = 1,
        .head_dim = 4,
        .n_ff = 24,
        .n_ctx = 4,
        .rope_base = 100.0f,
        .norm_eps = 1e-5f,
};

/* Two steps of AdamW on one value, written out in double. */
static void adamw_follows_its_definition(void **state)
{
        (void)state;
        struct optim_config c = optim_defaults();
        float p = 0.5f, m = 0, v = 0;
        const float grads[2] = { 0.3f, -0.7f };
        double rp = 0.5, rm = 0, rv = 0;
        for (int step = 1; step <= 2; step++) {
                double g = (double)grads[step - 1], b1 = 0.9, b2 = (double)c.beta2;
                adamw(&c, &p, &grads[step - 1], &m, &v, 1, 0.01f, 0.1f, step, 1.0f);
                rm = b1 * rm + (1 - b1) * g;
                rv = b2 * rv + (1 - b2) * g * g;
                rp -= 0.01 * (rm / (1 - pow(b1, step)) / (sqrt(rv / (1 - pow(b2, step))) + 1e-8) + 0.1 * rp);
                assert_true(fabs((double)p - rp) < 1e-6);
        }
}

/* All singular values come near one: x x^T is close to the identity. */
static void orthogonalise_evens_out(void **state)
{
        (void)state;
        float x[6 * 40], next[6 * 40], a[36], b[36];
        fill_normal(x, 6 * 40, 3.0, 5);
        for (int i = 0; i < 40; i++)
                x[i] *= 8.0f; /* one row dominates */
        orthogonalise(x, next, a, b, 6, 40);
        for (int i = 0; i < 6; i++) {
                for (int j = 0; j < 6; j++) {
                        float dot = 0;
                        for (int k = 0; k < 40; k++)
                                dot += x[i * 40 + k] * x[j * 40 + k];
                        assert_true(fabsf(dot - (i == j ? 1.0f : 0.0f)) < 0.55f);
                }
        }
}

struct pair {
        struct llama_params p, grad;
        struct optim o;
};

static void start(struct pair *s, bool use_muon, int workers)
{
        struct optim_config c = optim_defaults();
        c.muon = use_muon;
        assert_int_equal(llama_params_init(&s->p, &shape), 0);
        assert_int_equal(llama_params_init(&s->grad, &shape), 0);
        llama_params_random(&s->p, 3);
        fill_normal(s->grad.data, (long)s->grad.n, 1.0, 4);
        assert_int_equal(optim_init(&s->o, &c, &s->p, workers), 0);
}

static void stop(struct pair *s)
{
        llama_params_release(&s->p);
        llama_params_release(&s->grad);
        optim_release(&s->o);
}

/* However many workers share the tensors, the result is the same, and every tensor moves. */
static void workers_share_the_tensors(void **state)
{
        (void)state;
        struct pair one, three;
        start(&one, true, 1);
        start(&three, true, 3);
        optim_step(&one.o, &one.p, &one.grad, 0.01f, 1, 1.0, 0);
        for (int w = 2; w >= 0; w--)
                optim_step(&three.o, &three.p, &three.grad, 0.01f, 1, 1.0, w);
        assert_memory_equal(one.p.data, three.p.data, one.p.n * sizeof(float));
        stop(&three);
        start(&three, true, 1);
        for (int i = 0; i < llama_tensor_count(&shape); i++) {
                size_t at = llama_tensor_at(&one.p, i).at;
                assert_true(one.p.data[at] != three.p.data[at]);
        }
        stop(&one);
        stop(&three);
}

/* With AdamW alone a first step moves each undecayed value by about the learning rate, clipped or not. */
static void norms_do_not_decay(void **state)
{
        (void)state;
        struct pair s;
        start(&s, false, 1);
        memset(s.grad.data, 0, s.grad.n * sizeof(float));
        float embed = s.p.embed[0];
        optim_step(&s.o, &s.p, &s.grad, 0.01f, 1, 50.0, 0);
        assert_true(s.p.out_norm[0] == 1.0f);
        assert_true(fabsf(s.p.embed[0] - embed * (1.0f - 0.01f * 0.1f)) < 1e-7f);
        stop(&s);
}

static void clipping_scales_the_gradient(void **state)
{
        (void)state;
        struct pair s;
        start(&s, false, 1);
        float g = s.grad.embed[0];
        optim_step(&s.o, &s.p, &s.grad, 0.0f, 1, 4.0, 0);
        assert_true(fabsf(s.o.m[0] - 0.1f * g / 4.0f) < 1e-6f);
        stop(&s);
}

static void rate_rises_holds_and_falls(void **state)
{
        (void)state;
        assert_true(lr_factor(0.0, 0, 10, 0.5) == 0.1f);
        assert_true(lr_factor(0.3, 30, 10, 0.5) == 1.0f);
        assert_true(lr_factor(0.75, 75, 10, 0.5) < 0.3f && lr_factor(0.75, 75, 10, 0.5) > 0.29f);
        assert_true(lr_factor(1.0, 100, 10, 0.5) == 0.0f);
        assert_true(lr_factor(2.0, 200, 10, 0.5) == 0.0f);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(adamw_follows_its_definition), cmocka_unit_test(orthogonalise_evens_out),
                cmocka_unit_test(workers_share_the_tensors),    cmocka_unit_test(norms_do_not_decay),
                cmocka_unit_test(clipping_scales_the_gradient), cmocka_unit_test(rate_rises_holds_and_falls),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
