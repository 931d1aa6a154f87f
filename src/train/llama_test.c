#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include "base/mem.h"
#include "train/grad_check.h"
#include "train/llama.h"

static const struct llama_shape shape = {
        .n_vocab = 19,
        .n_embd = 12,
        .n_layer = 2,
        .n_head = 4,
        .n_kv = 2,
        .head_dim = 4,
        .n_ff = 14,
        .n_ctx = 8,
        .rope_base = 100.0f,
        .norm_eps = 1e-5f,
};
static const int32_t tokens[9] = { 3, 1, 4, 1, 5, 9, 2, 6, 18 }, pos[9] = { 0, 1, 2, 3, 0, 1, 2, 3, 4 };
static const int32_t targets[9] = { 1, 4, 1, 5, 9, 2, 6, 18, 0 }, seg[3] = { 0, 4, 9 };
static const float weights[9] = { 0, 1, 1, 0, 0.5f, 0, 1, 1, 1 };
static const struct llama_batch batch = { 9, 2, tokens, pos, targets, weights, seg };

struct model {
        struct llama_params params, grad;
        struct llama_work *work;
};

static int setup(void **state)
{
        struct model *m = mem_calloc(1, sizeof(*m));
        assert_int_equal(llama_params_init(&m->params, &shape), 0);
        assert_int_equal(llama_params_init(&m->grad, &shape), 0);
        llama_params_random(&m->params, 7);
        /* larger than a real start, so that every path carries weight */
        for (size_t i = 0; i < m->params.n; i++)
                m->params.data[i] *= m->params.data[i] == 1.0f ? 1.0f : 15.0f;
        m->work = llama_work_new(&shape, 16, 8);
        assert_non_null(m->work);
        *state = m;
        return 0;
}

static int teardown(void **state)
{
        struct model *m = *state;
        llama_params_release(&m->params);
        llama_params_release(&m->grad);
        llama_work_free(m->work);
        mem_free(m);
        return 0;
}

static double loss_of(void *p)
{
        struct model *m = p;
        struct llama_result r;
        assert_int_equal(llama_run(m->work, &m->params, &batch, 1.0f, NULL, NULL, &r), 0);
        return 0.5 * r.loss;
}

static void whole_model_gradients(void **state)
{
        struct model *m = *state;
        struct llama_result r;
        assert_int_equal(llama_run(m->work, &m->params, &batch, 0.5f, &m->grad, NULL, &r), 0);
        assert_true(r.weight == 5.5);
        for (int i = 0; i < llama_tensor_count(&shape); i++) {
                struct llama_tensor t = llama_tensor_at(&m->params, i);
                double worst = grad_check(loss_of, m, m->params.data + t.at, m->grad.data + t.at,
                                          (long)t.rows * t.cols, 1, 4e-3f, 0.05);
                if (worst > 2e-2)
                        fail_msg("%s: gradient error %g", t.name, worst);
        }
}

static void gradients_add_up(void **state)
{
        struct model *m = *state;
        struct llama_result r;
        llama_run(m->work, &m->params, &batch, 1.0f, &m->grad, NULL, &r);
        float *once = mem_alloc(m->grad.n * sizeof(float));
        memcpy(once, m->grad.data, m->grad.n * sizeof(float));
        llama_run(m->work, &m->params, &batch, 1.0f, &m->grad, NULL, &r);
        for (size_t i = 0; i < m->grad.n; i++)
                assert_true(fabsf(m->grad.data[i] - 2 * once[i]) <= 1e-4f * (1 + fabsf(once[i])));
        mem_free(once);
}

/* A packed document gets the same loss as alone. */
static void packing_changes_nothing(void **state)
{
        struct model *m = *state;
        struct llama_result both, one, two;
        const int32_t seg1[2] = { 0, 4 }, seg2[2] = { 0, 5 };
        struct llama_batch b1 = { 4, 1, tokens, pos, targets, weights, seg1 };
        struct llama_batch b2 = { 5, 1, tokens + 4, pos + 4, targets + 4, weights + 4, seg2 };
        llama_run(m->work, &m->params, &batch, 1.0f, NULL, NULL, &both);
        llama_run(m->work, &m->params, &b1, 1.0f, NULL, NULL, &one);
        llama_run(m->work, &m->params, &b2, 1.0f, NULL, NULL, &two);
        assert_true(fabs(both.loss - one.loss - two.loss) < 1e-4);
}

static void logits_agree_with_loss(void **state)
{
        struct model *m = *state;
        float logits[19];
        uint8_t hits[9];
        struct llama_result r;
        llama_run(m->work, &m->params, &batch, 1.0f, NULL, hits, &r);
        assert_int_equal(llama_logits(m->work, &m->params, &batch, 1, logits), 0);
        int best = 0;
        for (int i = 1; i < 19; i++)
                best = logits[i] > logits[best] ? i : best;
        assert_int_equal(hits[0], best == targets[1]);
}

static void bad_batches_are_refused(void **state)
{
        struct model *m = *state;
        struct llama_result r;
        int32_t wrong[9];
        memcpy(wrong, tokens, sizeof(wrong));
        wrong[2] = 19;
        struct llama_batch b = batch;
        b.tokens = wrong;
        assert_int_equal(llama_run(m->work, &m->params, &b, 1.0f, NULL, NULL, &r), -EINVAL);
        const int32_t long_seg[2] = { 0, 9 };
        b = batch;
        b.n_seg = 1;
        b.seg = long_seg;
        assert_int_equal(llama_run(m->work, &m->params, &b, 1.0f, NULL, NULL, &r), -EINVAL);
}

static void bad_shapes_are_refused(void **state)
{
        (void)state;
        struct llama_params p;
        char err[128];
        struct llama_shape s = shape;
        s.n_kv = 3;
        assert_int_equal(llama_shape_check(&s, err, sizeof(err)), -EINVAL);
        assert_non_null(strstr(err, "heads"));
        assert_int_equal(llama_params_init(&p, &s), -EINVAL);
        s = shape;
        s.head_dim = 3;
        assert_int_equal(llama_shape_check(&s, err, sizeof(err)), -EINVAL);
}

/* The tensors cover all parameters without overlap, in order. */
static void tensors_tile_the_parameters(void **state)
{
        struct model *m = *state;
        size_t at = 0;
        for (int i = 0; i < llama_tensor_count(&shape); i++) {
                struct llama_tensor t = llama_tensor_at(&m->params, i);
                assert_int_equal(t.at, at);
                at += (size_t)t.rows * (size_t)t.cols;
        }
        assert_int_equal(at, m->params.n);
        assert_string_equal(llama_tensor_at(&m->params, 3).name, "blk.0.attn_q.weight");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(whole_model_gradients, setup, teardown),
                cmocka_unit_test_setup_teardown(gradients_add_up, setup, teardown),
                cmocka_unit_test_setup_teardown(packing_changes_nothing, setup, teardown),
                cmocka_unit_test_setup_teardown(logits_agree_with_loss, setup, teardown),
                cmocka_unit_test_setup_teardown(bad_batches_are_refused, setup, teardown),
                cmocka_unit_test_setup_teardown(tensors_tile_the_parameters, setup, teardown),
                cmocka_unit_test(bad_shapes_are_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
