/* Scheduling: priorities, owners, preemption, guesses, 8-bit and stored KV. What a sequence generates must
 * never show any of it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <stdatomic.h>
#include <unistd.h>
#include "base/mem.h"
#include "base/rand.h"
#include "engine/fair.h"
#include "engine/kv.h"
#include "engine/test_run.h"

#define MODEL "tests/vectors/q8-gqa-tied.gguf" /* context 128 */
#define LETTERS 256                            /* ids below are single bytes */
#define BLOCK_BYTES ((size_t)1 * 2 * 16 * 2 * 16 * 2)

static struct engine_model *open_model(const struct engine_opts *opts)
{
        char err[200] = "";
        struct engine_model *m = NULL;
        if (engine_model_open(MODEL, opts, &m, err, sizeof(err)))
                fail_msg("%s", err);
        return m;
}

static void make_prompt(int32_t *out, size_t n, uint64_t seed)
{
        struct rng rng;
        rng_seed(&rng, seed + 5000);
        for (size_t i = 0; i < n; i++)
                out[i] = (int32_t)rng_below(&rng, LETTERS);
}

/* Greedy without a seed, seeded with one. */
static struct engine_req request(const int32_t *prompt, size_t n, int max_tokens, uint64_t seed)
{
        struct engine_req req = { .prompt = prompt,
                                  .n_prompt = n,
                                  .max_tokens = max_tokens,
                                  .logprobs = 0,
                                  .sampling = ENGINE_SAMPLING_DEFAULT };
        req.sampling.temperature = seed ? 1.0f : 0;
        req.sampling.has_seed = true;
        req.sampling.seed = seed;
        return req;
}

static void assert_same_output(const struct run *a, const struct run *b)
{
        assert_int_equal(a->end.finish, b->end.finish);
        assert_int_equal(a->tokens.n, b->tokens.n);
        for (size_t i = 0; i < a->tokens.n; i++) {
                assert_int_equal(a->tokens.p[i].id, b->tokens.p[i].id);
                assert_memory_equal(&a->tokens.p[i].logprob, &b->tokens.p[i].logprob, sizeof(float));
        }
        assert_int_equal(a->text.n, b->text.n);
        if (a->text.n)
                assert_memory_equal(a->text.p, b->text.p, a->text.n);
}

static struct engine_stats stats_of(const struct engine_model *m)
{
        struct engine_stats s;
        engine_model_stats(m, &s);
        return s;
}

/* ---- a gate: the engine thread stands still until all requests are there ------------------------- */

struct gate {
        pthread_mutex_t lock;
        pthread_cond_t moved;
        bool reached, open;
        int after; /* events that go through before it closes */
        struct run run;
};

static bool gate_event(void *ctx, const struct engine_event *ev)
{
        struct gate *g = ctx;
        pthread_mutex_lock(&g->lock);
        g->reached = g->after-- <= 0;
        pthread_cond_broadcast(&g->moved);
        while (g->reached && !g->open)
                pthread_cond_wait(&g->moved, &g->lock);
        pthread_mutex_unlock(&g->lock);
        return run_event(&g->run, ev);
}

/* Submits a request whose events stop the engine thread, after some of them. */
static void gate_start(struct gate *g, struct engine_model *m, const struct engine_req *req, int after)
{
        struct engine_sink sink = { gate_event, g };
        *g = (struct gate){ .lock = PTHREAD_MUTEX_INITIALIZER,
                            .moved = PTHREAD_COND_INITIALIZER,
                            .after = after };
        run_init(&g->run);
        assert_int_equal(engine_submit(m, req, &sink, &g->run.seq), 0);
        RUN_WAIT(g, g->reached);
}

static void gate_close(struct gate *g, struct engine_model *m)
{
        int32_t token = 1;
        struct engine_req req = request(&token, 1, 1, 0);
        req.priority = 1000;
        gate_start(g, m, &req, 0);
}

static void gate_open(struct gate *g)
{
        pthread_mutex_lock(&g->lock);
        g->open = true;
        pthread_cond_broadcast(&g->moved);
        pthread_mutex_unlock(&g->lock);
}

static void gate_finish(struct gate *g)
{
        gate_open(g);
        run_finish(&g->run);
        run_release(&g->run);
}

/* ---- order -------------------------------------------------------------------------------------- */

static pthread_mutex_t order_lock = PTHREAD_MUTEX_INITIALIZER;
static int order[32], n_order;

struct ordered {
        struct run run;
        int id;
        atomic_int hold; /* 1: the first event waits; 2: it does wait; 0: it may go on */
};

static bool ordered_event(void *ctx, const struct engine_event *ev)
{
        struct ordered *o = ctx;
        if (atomic_load(&o->hold))
                atomic_store(&o->hold, 2);
        while (atomic_load(&o->hold))
                usleep(100);
        if (ev->kind == ENGINE_EV_DONE) {
                pthread_mutex_lock(&order_lock);
                order[n_order++] = o->id;
                pthread_mutex_unlock(&order_lock);
        }
        return run_event(&o->run, ev);
}

static void start_ordered(struct ordered *o, int id, struct engine_model *m, const struct engine_req *req)
{
        struct engine_sink sink = { ordered_event, o };
        o->id = id;
        run_init(&o->run);
        assert_int_equal(engine_submit(m, req, &sink, &o->run.seq), 0);
}

static void finish_ordered(struct ordered *o, int n)
{
        for (int i = 0; i < n; i++) {
                run_finish(&o[i].run);
                run_release(&o[i].run);
        }
}

static void test_priorities(void **state)
{
        (void)state;
        static const int priorities[] = { ENGINE_BATCH, ENGINE_DEFAULT, ENGINE_PRIORITY, ENGINE_FLEX,
                                          ENGINE_DEFAULT };
        struct engine_opts opts = { .threads = 1, .max_batch = 1 };
        struct engine_model *m = open_model(&opts);
        struct ordered o[5] = { 0 };
        struct gate g;
        int32_t prompt[4];
        make_prompt(prompt, 4, 1);
        n_order = 0;
        gate_close(&g, m);
        for (int i = 0; i < 5; i++) {
                struct engine_req req = request(prompt, 4, 3, 0);
                req.priority = priorities[i];
                start_ordered(&o[i], i, m, &req);
        }
        gate_finish(&g);
        finish_ordered(o, 5);
        static const int expected[] = { 2, 1, 4, 3, 0 };
        assert_memory_equal(order, expected, sizeof(expected));
        engine_model_close(m);
}

/* One owner's crowd does not hold up another's single request. */
static void test_owners_take_turns(void **state)
{
        (void)state;
        struct engine_opts opts = { .threads = 1, .max_batch = 1 };
        struct engine_model *m = open_model(&opts);
        struct ordered o[8] = { 0 };
        struct gate g;
        int32_t prompt[20];
        n_order = 0;
        gate_close(&g, m);
        for (int i = 0; i < 8; i++) {
                make_prompt(prompt, 20, (uint64_t)i);
                struct engine_req req = request(prompt, 20, 5, 0);
                req.owner = i < 6 ? 1 : 2;
                start_ordered(&o[i], i, m, &req);
        }
        gate_finish(&g);
        finish_ordered(o, 8);
        static const int expected[] = { 0, 6, 1, 7, 2, 3, 4, 5 };
        assert_memory_equal(order, expected, sizeof(expected));
        engine_model_close(m);
}

/* Those who have nothing running get a place of those who have several. */
static void test_owners_share_places(void **state)
{
        (void)state;
        struct engine_opts opts = { .threads = 1, .max_batch = 2 };
        struct engine_model *m = open_model(&opts);
        struct ordered o[4] = { 0 };
        struct run alone[4];
        int32_t prompts[4][10];
        n_order = 0;
        for (int i = 0; i < 4; i++) {
                make_prompt(prompts[i], 10, 30 + (uint64_t)i);
                struct engine_req req = request(prompts[i], 10, i < 3 ? 100 : 3, 7);
                assert_int_equal(run_all(&alone[i], m, &req), 0);
        }
        for (int i = 0; i < 4; i++) {
                struct engine_req req = request(prompts[i], 10, i < 3 ? 100 : 3, 7);
                req.owner = i < 3 ? 1 : 2;
                atomic_init(&o[i].hold, i == 1);
                while (i == 3 && atomic_load(&o[1].hold) == 1)
                        usleep(100);
                start_ordered(&o[i], i, m, &req);
        }
        atomic_store(&o[1].hold, 0);
        for (int i = 0; i < 4; i++) {
                run_finish(&o[i].run);
                assert_same_output(&o[i].run, &alone[i]);
                run_release(&o[i].run);
                run_release(&alone[i]);
        }
        assert_int_equal(order[0], 3);
        assert_true(stats_of(m).preempted > 0);
        engine_model_close(m);
}

static void test_accounts(void **state)
{
        (void)state;
        struct fair f = { 0 };
        struct share *a = fair_join(&f, 1), *b = fair_join(&f, 2);
        a->served = 100;
        b->served = 40;
        assert_ptr_equal(fair_join(&f, 1), a);
        struct share *c = fair_join(&f, 3);
        assert_int_equal(c->served, 40); /* no credit for having been away */
        fair_leave(&f, c);
        fair_leave(&f, b);
        b = fair_join(&f, 2);
        assert_int_equal(b->served, 100);
        fair_leave(&f, b);
        fair_leave(&f, a);
        fair_leave(&f, a);
        for (uint64_t owner = 10; owner < 2000; owner++)
                fair_leave(&f, fair_join(&f, owner));
        assert_true(f.shares.n < 300);
        fair_release(&f);
}

/* ---- preemption --------------------------------------------------------------------------------- */

/* A higher priority takes the only place; the other goes on later as if nothing had been. */
static void test_priority_preempts(void **state)
{
        (void)state;
        struct engine_opts opts = { .threads = 1, .max_batch = 1 };
        struct engine_model *m = open_model(&opts);
        struct run alone, high;
        struct gate low;
        int32_t a[20], b[90];
        make_prompt(a, 20, 1);
        make_prompt(b, 90, 2);
        struct engine_req slow = request(a, 20, 100, 3), fast = request(b, 90, 10, 4);
        slow.logprobs = 3;
        slow.prompt_logprobs = true;
        assert_int_equal(run_all(&alone, m, &slow), 0);
        slow.priority = ENGINE_BATCH;
        gate_start(&low, m, &slow, 5);
        run_init(&high);
        assert_int_equal(run_start(&high, m, &fast), 0);
        gate_open(&low);
        run_finish(&low.run);
        assert_int_equal(high.done, 1); /* long before */
        run_finish(&high);
        assert_same_output(&alone, &low.run);
        assert_int_equal(low.run.prompt.n, 20);
        assert_int_equal(low.run.tops.n, alone.tops.n);
        assert_memory_equal(low.run.tops.p, alone.tops.p, alone.tops.n * sizeof(*alone.tops.p));
        assert_int_equal(stats_of(m).preempted, 1);
        run_release(&alone);
        run_release(&low.run);
        run_release(&high);
        engine_model_close(m);
}

/* Twelve sequences that each grow to the whole context, with memory for three. */
static void test_memory_preempts(void **state)
{
        (void)state;
        static struct run alone[12], together[12];
        int32_t prompts[12][30];
        struct engine_opts opts = { .threads = 2, .kv_bytes = 24 * BLOCK_BYTES };
        struct engine_model *m = open_model(&opts);
        for (uint64_t i = 0; i < 12; i++) {
                make_prompt(prompts[i], 30, i);
                struct engine_req req = request(prompts[i], 30, -1, i);
                assert_int_equal(run_all(&alone[i], m, &req), 0);
        }
        for (uint64_t i = 0; i < 12; i++) {
                struct engine_req req = request(prompts[i], 30, -1, i);
                run_init(&together[i]);
                assert_int_equal(run_start(&together[i], m, &req), 0);
        }
        for (int i = 0; i < 12; i++) {
                run_finish(&together[i]);
                assert_same_output(&alone[i], &together[i]);
                run_release(&alone[i]);
                run_release(&together[i]);
        }
        assert_true(stats_of(m).preempted > 0);
        engine_model_close(m);
}

/* A reader that is slow does not keep its place from others. */
static void test_pause_gives_place(void **state)
{
        (void)state;
        struct engine_opts opts = { .threads = 1, .max_batch = 1, .kv_bytes = 9 * BLOCK_BYTES };
        struct engine_model *m = open_model(&opts);
        struct run alone, paused, other;
        int32_t a[20], b[60];
        make_prompt(a, 20, 1);
        make_prompt(b, 60, 2);
        struct engine_req slow = request(a, 20, 40, 0), fast = request(b, 60, 60, 0);
        assert_int_equal(run_all(&alone, m, &slow), 0);
        run_init(&paused);
        paused.refuse_next = 1;
        assert_int_equal(run_start(&paused, m, &slow), 0);
        RUN_WAIT(&paused, paused.refused);
        assert_int_equal(run_all(&other, m, &fast), 0);
        assert_int_equal(paused.events, 0);
        assert_true(other.end.finish == ENGINE_LENGTH || other.end.finish == ENGINE_STOP);
        engine_seq_resume(paused.seq);
        run_finish(&paused);
        assert_same_output(&alone, &paused);
        run_release(&alone);
        run_release(&paused);
        run_release(&other);
        engine_model_close(m);
}

/* ---- guesses ------------------------------------------------------------------------------------ */

/* A reader that does not take the end of its text keeps none from the whole memory: it has none itself. */
static void test_slow_reader(void **state)
{
        (void)state;
        struct engine_opts opts = { .threads = 1, .kv_bytes = 8 * BLOCK_BYTES };
        struct engine_model *m = open_model(&opts);
        struct run paused, other;
        int32_t a[20], b[126];
        make_prompt(a, 20, 1);
        make_prompt(b, 126, 2);
        struct engine_req slow = request(a, 20, 1, 0), whole = request(b, 126, 1, 0);
        run_init(&paused);
        paused.refuse_next = 1;
        assert_int_equal(run_start(&paused, m, &slow), 0);
        RUN_WAIT(&paused, paused.refused);
        assert_int_equal(run_all(&other, m, &whole), 0);
        assert_int_equal(paused.done, 0);
        engine_seq_resume(paused.seq);
        run_finish(&paused);
        run_release(&paused);
        run_release(&other);
        engine_model_close(m);
}

static void run_predicted(struct run *r, struct engine_model *m, struct engine_req req,
                          const int32_t *prediction, size_t n)
{
        req.prediction = prediction;
        req.n_prediction = n;
        assert_int_equal(run_all(r, m, &req), 0);
}

/* The output is the same with a right, a partly right and a wrong prediction, and the counts are true. */
static void test_prediction(void **state)
{
        (void)state;
        for (uint64_t seed = 0; seed < 4; seed++) {
                struct engine_opts opts = { .threads = 2, .no_lookup = true };
                struct engine_model *m = open_model(&opts);
                struct run plain, right, partly, wrong;
                int32_t prompt[20], said[60], other[60];
                make_prompt(prompt, 20, 11 + seed);
                struct engine_req req = request(prompt, 20, 60, seed);
                assert_int_equal(run_all(&plain, m, &req), 0);
                size_t n = plain.tokens.n;
                assert_true(n > 10);
                for (size_t i = 0; i < n; i++)
                        said[i] = other[i] = plain.tokens.p[i].id;
                uint64_t steps = stats_of(m).steps;
                run_predicted(&right, m, req, said, n);
                assert_same_output(&plain, &right);
                assert_true(stats_of(m).steps - steps < n / 3);
                assert_true(right.end.usage.accepted_prediction > (int)n / 2);
                assert_int_equal(right.end.usage.rejected_prediction, 0);
                assert_int_equal(right.end.usage.completion_tokens, plain.end.usage.completion_tokens);
                other[n / 2] = other[n / 2] == 1 ? 2 : 1;
                run_predicted(&partly, m, req, other, n);
                assert_same_output(&plain, &partly);
                assert_true(partly.end.usage.accepted_prediction > (int)n / 3);
                assert_true(partly.end.usage.rejected_prediction > 0);
                for (size_t i = 1; i < n; i++)
                        other[i] = said[i] == 1 ? 2 : 1;
                run_predicted(&wrong, m, req, other, n);
                assert_same_output(&plain, &wrong);
                assert_int_equal(wrong.end.usage.accepted_prediction,
                                 0); /* the first comes before any guess */
                assert_true(wrong.end.usage.rejected_prediction > 0);
                run_release(&plain);
                run_release(&right);
                run_release(&partly);
                run_release(&wrong);
                engine_model_close(m);
        }
}

/* Text that repeats itself is guessed from what was said; the output is that of an engine that never guesses.
 */
static void test_lookup(void **state)
{
        (void)state;
        struct engine_opts never = { .threads = 1, .no_lookup = true }, opts = { .threads = 1 };
        struct engine_model *plain = open_model(&never), *m = open_model(&opts);
        for (int i = 0; i < 6; i++) {
                int32_t prompt[12];
                struct run a, b;
                make_prompt(prompt, 12, 40 + (uint64_t)i);
                struct engine_bias bias[] = { { 5, 14 }, { 6, 14 } }; /* few tokens: many repetitions */
                struct engine_req req = request(prompt, 12, 80, (uint64_t)i / 2);
                req.sampling.bias = bias;
                req.sampling.n_bias = 2;
                assert_int_equal(run_all(&a, plain, &req), 0);
                assert_int_equal(run_all(&b, m, &req), 0);
                assert_same_output(&a, &b);
                run_release(&a);
                run_release(&b);
        }
        assert_int_equal(stats_of(plain).tokens_drafted, 0);
        assert_true(stats_of(m).tokens_accepted > 0);
        assert_true(stats_of(m).steps < stats_of(plain).steps);
        engine_model_close(plain);
        engine_model_close(m);
}

/* ---- everything at once ------------------------------------------------------------------------- */

#define MANY 33

/* Each of many requests, with all there is, alone and among 32 others, in 16 and in 8 bits, with memory for
 * only a few of them. */
static void many_requests(enum engine_kv_type type)
{
        static int32_t prompts[MANY][50], predictions[MANY][30];
        static struct run alone[MANY], together[MANY];
        struct engine_req reqs[MANY];
        struct engine_opts opts = { .threads = 2, .kv_type = type };
        struct engine_model *m = open_model(&opts);
        for (uint64_t i = 0; i < MANY; i++) {
                size_t n = 1 + i * 3 / 2;
                make_prompt(prompts[i], n, i % 7);
                make_prompt(predictions[i], 30, i);
                reqs[i] = request(prompts[i], n, 20 + (int)i, i % 3 ? i : 0);
                reqs[i].owner = i % 4;
                reqs[i].priority = (int)(i % 3) - 1;
                reqs[i].sampling.top_p = i % 5 ? 1 : 0.9f;
                reqs[i].sampling.presence = i % 6 ? 0 : 0.5f;
                assert_int_equal(run_all(&alone[i], m, &reqs[i]), 0);
                if (i % 2) { /* half of a true prediction */
                        for (size_t k = 0; k < alone[i].tokens.n / 2 && k < 30; k++)
                                predictions[i][k] = alone[i].tokens.p[k].id;
                        reqs[i].prediction = predictions[i];
                        reqs[i].n_prediction = 30;
                }
        }
        engine_model_close(m);
        opts.kv_bytes = 40 * kv_block_bytes(1, 2, 16, type); /* a fresh cache, and a small one */
        m = open_model(&opts);
        for (int i = 0; i < MANY; i++) {
                run_init(&together[i]);
                together[i].refuse_next = i % 9 == 0;
                assert_int_equal(run_start(&together[i], m, &reqs[i]), 0);
        }
        for (int i = 0; i < MANY; i += 9) {
                RUN_WAIT(&together[i], together[i].refused || together[i].done);
                engine_seq_resume(together[i].seq);
        }
        for (int i = 0; i < MANY; i++) {
                run_finish(&together[i]);
                assert_same_output(&alone[i], &together[i]);
                run_release(&alone[i]);
                run_release(&together[i]);
        }
        assert_true(stats_of(m).preempted > 0);
        assert_true(stats_of(m).tokens_drafted > 0);
        engine_model_close(m);
}

static void test_alone_and_together(void **state)
{
        (void)state;
        many_requests(ENGINE_KV_F16);
        many_requests(ENGINE_KV_Q8_0);
}

/* 8-bit KV changes logprobs a little: by how much is the measure of it. */
static void test_q8_is_near(void **state)
{
        (void)state;
        struct engine_opts opts = { .threads = 1, .kv_type = ENGINE_KV_Q8_0 }, plain = { .threads = 1 };
        struct engine_model *q8 = open_model(&opts), *f16 = open_model(&plain);
        double worst = 0, sum = 0;
        for (uint64_t i = 0; i < 5; i++) {
                int32_t prompt[100];
                struct run a, b;
                make_prompt(prompt, 100, i);
                struct engine_req req = request(prompt, 100, 0, 0);
                req.prompt_logprobs = true;
                assert_int_equal(run_all(&a, f16, &req), 0);
                assert_int_equal(run_all(&b, q8, &req), 0);
                for (size_t k = 1; k < 100; k++) {
                        double d = fabs((double)a.prompt.p[k].logprob - (double)b.prompt.p[k].logprob);
                        worst = fmax(worst, d);
                        sum += d;
                }
                run_release(&a);
                run_release(&b);
        }
        print_message("difference of logprobs, Q8_0 to F16 KV: mean %.4f, largest %.4f\n", sum / 495, worst);
        assert_true(worst > 0 && worst < 0.2 && sum / 495 < 0.02);
        assert_true(stats_of(q8).kv_total * 100 < stats_of(f16).kv_total * 60);
        engine_model_close(q8);
        engine_model_close(f16);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_priorities),          cmocka_unit_test(test_owners_take_turns),
                cmocka_unit_test(test_owners_share_places), cmocka_unit_test(test_accounts),
                cmocka_unit_test(test_priority_preempts),   cmocka_unit_test(test_memory_preempts),
                cmocka_unit_test(test_pause_gives_place),   cmocka_unit_test(test_slow_reader),
                cmocka_unit_test(test_prediction),          cmocka_unit_test(test_lookup),
                cmocka_unit_test(test_alone_and_together),  cmocka_unit_test(test_q8_is_near),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
