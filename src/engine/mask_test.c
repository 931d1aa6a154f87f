/* Sequences that follow a grammar: every output is of it, alone and among others, with and without guesses.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"
#include "base/rand.h"
#include "engine/mask.h"
#include "engine/test_run.h"

#define MODEL "tests/vectors/q8-gqa-tied.gguf" /* context 128 */

static struct engine_model *open_model(const struct engine_opts *opts)
{
        char err[200] = "";
        struct engine_model *m = NULL;
        if (engine_model_open(MODEL, opts, &m, err, sizeof(err)))
                fail_msg("%s", err);
        return m;
}

static struct grammar *regex(const char *pattern)
{
        struct grammar_builder *b = grammar_builder_new(NULL);
        struct grammar_err err = { 0 };
        struct grammar *g = NULL;
        gnode root = grammar_regex(b, str_c(pattern), &err);
        if (grammar_finish(b, root, &g, &err))
                fail_msg("%s", err.msg);
        return g;
}

/* "call:" and then one of two words. */
static struct grammar *words(void)
{
        struct grammar_builder *b = grammar_builder_new(NULL);
        struct grammar *g = NULL;
        gnode either[] = { grammar_literal(b, STR("weather forecast")),
                           grammar_literal(b, STR("stock price")) };
        gnode parts[] = { grammar_literal(b, STR("call the function: ")), grammar_alt(b, either, 2) };
        assert_int_equal(grammar_finish(b, grammar_seq(b, parts, 2), &g, NULL), 0);
        return g;
}

static struct engine_req request(const int32_t *prompt, size_t n, struct grammar *g, uint64_t seed)
{
        struct engine_req req = { .prompt = prompt,
                                  .n_prompt = n,
                                  .max_tokens = 60,
                                  .logprobs = 1,
                                  .sampling = ENGINE_SAMPLING_DEFAULT,
                                  .grammar = g };
        req.sampling.has_seed = true;
        req.sampling.seed = seed;
        return req;
}

static bool is_digits(struct str s)
{
        for (size_t i = 0; i < s.n; i++)
                if (s.p[i] < '0' || s.p[i] > '9')
                        return false;
        return s.n > 0;
}

static void test_follows(void **state)
{
        (void)state;
        struct engine_opts opts = { .threads = 1 };
        struct engine_model *m = open_model(&opts);
        struct grammar *digits = regex("[0-9]{3,12}"), *two = words();
        int32_t prompt[] = { 5, 6, 7 };
        for (uint64_t seed = 0; seed < 30; seed++) {
                struct run r;
                struct engine_req req = request(prompt, 3, digits, seed);
                assert_int_equal(run_all(&r, m, &req), 0);
                assert_int_equal(r.end.finish, ENGINE_STOP);
                assert_true(is_digits(buf_str(&r.text)) && r.text.n >= 3 && r.text.n <= 12);
                for (size_t i = 0; i < r.tokens.n; i++) /* of the model's own distribution */
                        assert_true(r.tokens.p[i].logprob < 0 &&
                                    r.tops.p[i].logprob >= r.tokens.p[i].logprob);
                run_release(&r);
                req = request(prompt, 3, two, seed);
                assert_int_equal(run_all(&r, m, &req), 0);
                assert_int_equal(r.end.finish, ENGINE_STOP);
                assert_true(str_eqc(buf_str(&r.text), "call the function: weather forecast") ||
                            str_eqc(buf_str(&r.text), "call the function: stock price"));
                run_release(&r);
        }
        struct engine_stats stats;
        engine_model_stats(m, &stats);
        assert_true(stats.tokens_accepted > 0); /* what is without an alternative is evaluated together */
        grammar_unref(digits);
        grammar_unref(two);
        engine_model_close(m);
}

/* The limit cuts; a bias against all that is allowed does not break the grammar. */
static void test_limit_and_bias(void **state)
{
        (void)state;
        struct engine_opts opts = { .threads = 1 };
        struct engine_model *m = open_model(&opts);
        struct grammar *digits = regex("[0-9]+");
        struct engine_bias bias[10];
        int32_t prompt[] = { 5 };
        struct run r;
        for (int i = 0; i < 10; i++) /* ids follow GPT-2's alphabet: '!' is 0 */
                bias[i] = (struct engine_bias){ '0' - 33 + i, -100 };
        struct engine_req req = request(prompt, 1, digits, 1);
        req.max_tokens = 7;
        req.sampling.bias = bias;
        req.sampling.n_bias = 10;
        assert_int_equal(run_all(&r, m, &req), 0);
        assert_true(r.end.finish == ENGINE_LENGTH || r.end.finish == ENGINE_STOP);
        assert_true(is_digits(buf_str(&r.text)));
        run_release(&r);
        grammar_unref(digits);
        engine_model_close(m);
}

#define MANY 33

/* Grammars beside plain sequences, with little memory, against each alone. */
static void test_alone_and_together(void **state)
{
        (void)state;
        static int32_t prompts[MANY][12];
        static struct run alone[MANY], together[MANY];
        struct engine_req reqs[MANY];
        struct engine_opts opts = { .threads = 2, .no_lookup = true };
        struct engine_model *m = open_model(&opts);
        struct grammar *grammars[] = { NULL, regex("([a-z]{1,5} ){2,8}\\."), words() };
        struct rng rng;
        rng_seed(&rng, 4);
        for (uint64_t i = 0; i < MANY; i++) {
                for (int k = 0; k < 12; k++)
                        prompts[i][k] = (int32_t)rng_below(&rng, 256);
                reqs[i] = request(prompts[i], 12, grammars[i % 3], i + 1);
                assert_int_equal(run_all(&alone[i], m, &reqs[i]), 0);
        }
        engine_model_close(m);
        opts = (struct engine_opts){ .threads = 2, .kv_bytes = 40 * 2048 };
        m = open_model(&opts);
        for (int i = 0; i < MANY; i++) {
                run_init(&together[i]);
                assert_int_equal(run_start(&together[i], m, &reqs[i]), 0);
        }
        for (int i = 0; i < MANY; i++) {
                run_finish(&together[i]);
                assert_int_equal(together[i].end.finish, alone[i].end.finish);
                assert_int_equal(together[i].text.n, alone[i].text.n);
                assert_memory_equal(together[i].text.p, alone[i].text.p, alone[i].text.n);
                assert_int_equal(together[i].tokens.n, alone[i].tokens.n);
                for (size_t k = 0; k < alone[i].tokens.n; k++)
                        assert_memory_equal(&together[i].tokens.p[k].logprob, &alone[i].tokens.p[k].logprob,
                                            sizeof(float));
                run_release(&alone[i]);
                run_release(&together[i]);
        }
        engine_model_close(m);
        grammar_unref(grammars[1]);
        grammar_unref(grammars[2]);
}

#ifdef CAIRN_FAULTS
/* Whichever allocation fails: at most the sequence that it was for fails, all others say what they say. */
static void test_a_failure_harms_nobody(void **state)
{
        (void)state;
        enum { N = 4 };
        struct engine_opts opts = { .threads = 1 };
        struct engine_model *m = open_model(&opts);
        struct grammar *g = regex("([a-z]{1,5} ){2,8}\\.");
        struct run expected[N];
        int32_t prompts[N][3] = { { 1, 2, 3 }, { 4, 5, 6 }, { 7, 8, 9 }, { 10, 11, 12 } };
        struct engine_req reqs[N];
        for (int i = 0; i < N; i++) {
                reqs[i] = request(prompts[i], 3, i % 2 ? g : NULL, 9);
                reqs[i].max_tokens = 12;
                assert_int_equal(run_all(&expected[i], m, &reqs[i]), 0);
        }
        for (long n = 1; n < 400; n += 1 + n / 20) {
                struct run r[N];
                int failed = 0;
                for (int i = 0; i < N; i++) { /* what gathers the events must not be what fails */
                        run_init(&r[i]);
                        buf_reserve(&r[i].text, 4096);
                        assert_int_equal(vec_reserve(&r[i].tokens, 64) | vec_reserve(&r[i].tops, 64), 0);
                }
                mem_fail_nth(n);
                for (int i = 0; i < N; i++) {
                        int rc = run_start(&r[i], m, &reqs[i]);
                        assert_true(!rc || rc == -ENOMEM);
                        failed += rc != 0;
                }
                for (int i = 0; i < N; i++) {
                        if (!r[i].seq && !r[i].done)
                                continue;
                        run_finish(&r[i]);
                        if (r[i].end.finish == ENGINE_ERROR) {
                                failed++;
                                continue;
                        }
                        assert_int_equal(r[i].text.n, expected[i].text.n);
                        assert_memory_equal(r[i].text.p, expected[i].text.p, r[i].text.n);
                }
                mem_fail_nth(0);
                assert_true(failed <= 1);
                for (int i = 0; i < N; i++)
                        run_release(&r[i]);
        }
        for (int i = 0; i < N; i++)
                run_release(&expected[i]);
        grammar_unref(g);
        engine_model_close(m);
}
#endif

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_follows),
                cmocka_unit_test(test_limit_and_bias),
                cmocka_unit_test(test_alone_and_together),
#ifdef CAIRN_FAULTS
                cmocka_unit_test(test_a_failure_harms_nobody),
#endif
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
