/* The engine against other implementations: logits, greedy continuations and embeddings of small random
 * models, with every kernel variant this CPU has. engine.json is by numpy and llama.cpp
 * (make_engine_vectors.py in tests/vectors), arch/arch.json has a model of every architecture by PyTorch
 * (make_arch_vectors.py). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/json.h"
#include "engine/graph.h"
#include "engine/model.h"
#include "engine/test_run.h"
#include "kernels/team.h"

#define DIR "tests/vectors/"
#define MAX_PROMPT 64
#define KV_BLOCKS (MAX_PROMPT / KERN_KV_BLOCK)

static size_t tokens_of(const json_t *list, int32_t *out)
{
        size_t n = json_array_size(list);
        assert_true(n <= MAX_PROMPT);
        for (size_t i = 0; i < n; i++)
                out[i] = (int32_t)json_integer_value(json_array_get(list, i));
        return n;
}

/* Largest distance from the expected values, as a share of the largest of them. */
static double distance(const float *got, const json_t *want)
{
        double off = 0, top = 0;
        assert_true(json_array_size(want) > 0);
        for (size_t i = 0; i < json_array_size(want); i++) {
                double w = json_number_value(json_array_get(want, i));
                off = fmax(off, fabs((double)got[i] - w));
                top = fmax(top, fabs(w));
        }
        return off / top;
}

/* Evaluates the prompt, `slice` tokens at a time, and leaves the last row's results in *e. */
static void evaluate(struct eval *e, const struct engine_model *m, struct kv *kv, const int32_t *prompt,
                     int n, int slice)
{
        static int32_t blocks[KV_BLOCKS];
        *e = (struct eval){ .k = m->k,
                            .team = kern_team_new(2),
                            .hp = &m->hp,
                            .arch = m->arch,
                            .global = &m->global,
                            .layers = m->layers,
                            .kv = kv };
        assert_non_null(e->team);
        assert_int_equal(
                kv_init(kv, KV_BLOCKS, m->hp.n_layer, m->hp.n_head_kv, m->hp.head_dim, ENGINE_KV_F16), 0);
        assert_int_equal(eval_init(e, MAX_PROMPT, 1, m->hp.n_ctx_train), 0);
        for (int i = 0; i < KV_BLOCKS; i++)
                blocks[i] = KV_BLOCKS - 1 - i;
        for (int at = 0; at < n; at += slice) {
                int take = n - at < slice ? n - at : slice;
                e->batch.n = take;
                e->batch.n_spans = e->batch.n_out = 1;
                e->batch.n_logits = m->hp.causal;
                e->batch.spans[0] = (struct span){ .blocks = blocks, .row = 0, .n = take, .pos = at };
                e->batch.out[0] = take - 1;
                memcpy(e->batch.tokens, prompt + at, (size_t)take * sizeof(*prompt));
                eval_run(e);
        }
}

static void release(struct eval *e, struct kv *kv)
{
        kern_team_free(e->team);
        eval_release(e);
        kv_release(kv);
}

/* The last row of logits, or of hidden states of an encoder; slices of the prompt give the same bits. */
static void check_logits(const struct engine_model *m, const json_t *c, bool quantized)
{
        int32_t prompt[MAX_PROMPT];
        int n = (int)tokens_of(json_get(c, "prompt"), prompt);
        struct kv kv, kv_sliced;
        struct eval e, sliced;
        if (m->hp.pooling == POOL_RANK) /* its hidden states end as scores: check_embedding */
                return;
        evaluate(&e, m, &kv, prompt, n, n);
        if (!m->hp.causal) {
                double off = distance(e.hidden, json_get(c, "hidden"));
                print_message("  %-7s input %2d: %.0e\n", m->k->name, n, off);
                assert_true(off < 5e-4);
                release(&e, &kv);
                return;
        }
        double exact = distance(e.logits, json_get(c, "logits"));
        print_message("  %-7s prompt %2d: %.0e\n", m->k->name, n, exact);
        assert_true(exact < (quantized ? 2e-2 : 5e-4));
        if (json_get(c, "llama_cpp"))
                assert_true(distance(e.logits, json_get(c, "llama_cpp")) < (quantized ? 5e-2 : 3e-3));
        evaluate(&sliced, m, &kv_sliced, prompt, n, 7);
        assert_memory_equal(sliced.logits, e.logits, (size_t)m->hp.n_vocab * sizeof(float));
        release(&sliced, &kv_sliced);
        release(&e, &kv);
}

static void check_greedy(struct engine_model *m, const json_t *c)
{
        int32_t prompt[MAX_PROMPT], want[MAX_PROMPT];
        size_t n = tokens_of(json_get(c, "prompt"), prompt), n_want = tokens_of(json_get(c, "greedy"), want);
        struct engine_req req = { .prompt = prompt,
                                  .n_prompt = n,
                                  .max_tokens = (int)n_want,
                                  .logprobs = 0,
                                  .sampling = ENGINE_SAMPLING_DEFAULT };
        req.sampling.temperature = 0;
        struct run r;
        assert_int_equal(run_all(&r, m, &req), 0);
        assert_int_equal(r.end.finish, ENGINE_LENGTH);
        assert_int_equal(r.tokens.n, n_want);
        for (size_t i = 0; i < n_want; i++)
                assert_int_equal(r.tokens.p[i].id, want[i]);
        run_release(&r);
}

static void check_embedding(struct engine_model *m, const json_t *c, bool quantized)
{
        int32_t prompt[MAX_PROMPT];
        float got[256];
        struct engine_input in = { prompt, tokens_of(json_get(c, "prompt"), prompt) };
        assert_true(engine_model_info(m)->n_embd <= 256);
        assert_int_equal(engine_embed(m, &in, 1, got, NULL, NULL), 0);
        assert_true(distance(got, json_get(c, "embedding")) < (quantized ? 2e-2 : 5e-4));
}

static void check_model(const json_t *entry, const char *variant)
{
        char path[128], err[200] = "";
        bool quantized = json_flag(entry, "quantized", false);
        snprintf(path, sizeof(path), DIR "%s", json_cstr(entry, "model", ""));
        struct engine_opts opts = { .threads = 2 };
        struct engine_model *m;
        setenv("CAIRN_KERN", variant, 1);
        if (engine_model_open(path, &opts, &m, err, sizeof(err)))
                fail_msg("%s: %s", path, err);
        print_message("%s\n", path);
        assert_string_equal(m->k->name, variant);
        const json_t *cases = json_get(entry, "cases");
        for (size_t i = 0; i < json_array_size(cases); i++) {
                check_logits(m, json_array_get(cases, i), quantized);
                if (engine_model_info(m)->generates)
                        check_greedy(m, json_array_get(cases, i));
                check_embedding(m, json_array_get(cases, i), quantized);
        }
        engine_model_close(m);
        unsetenv("CAIRN_KERN");
}

static void check_variant(const json_t *vectors, enum kern_isa isa)
{
        const struct kern *k = kern_variant(isa);
        if (!k)
                skip();
        for (size_t i = 0; i < json_array_size(vectors); i++)
                check_model(json_array_get(vectors, i), k->name);
}

static json_t *engine_vectors, *arch_vectors;

#define EACH_VARIANT(name, isa)                       \
        static void test_##name(void **state)         \
        {                                             \
                (void)state;                          \
                check_variant(engine_vectors, (isa)); \
        }                                             \
        static void test_arch_##name(void **state)    \
        {                                             \
                (void)state;                          \
                check_variant(arch_vectors, (isa));   \
        }
EACH_VARIANT(ref, KERN_REF)
EACH_VARIANT(avx2, KERN_AVX2)
EACH_VARIANT(avx512, KERN_AVX512)

static json_t *read_vectors(const char *path)
{
        static char text[1 << 20];
        struct json_fault fault;
        FILE *f = fopen(path, "r");
        if (!f)
                return NULL;
        size_t n = fread(text, 1, sizeof(text), f);
        fclose(f);
        return json_parse((struct str){ text, n }, 10, &fault);
}

static int setup(void **state)
{
        (void)state;
        engine_vectors = read_vectors(DIR "engine.json");
        arch_vectors = read_vectors(DIR "arch/arch.json");
        return json_array_size(engine_vectors) && json_array_size(arch_vectors) ? 0 : -1;
}

static int teardown(void **state)
{
        (void)state;
        json_decref(engine_vectors);
        json_decref(arch_vectors);
        return 0;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_ref),       cmocka_unit_test(test_avx2),
                cmocka_unit_test(test_avx512),    cmocka_unit_test(test_arch_ref),
                cmocka_unit_test(test_arch_avx2), cmocka_unit_test(test_arch_avx512),
        };
        return cmocka_run_group_tests(tests, setup, teardown);
}
