#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/mem.h"
#include "engine/engine.h"
#include "engine/gguf.h"
#include "engine/gguf_write.h"
#include "engine/test_run.h"
#include "kernels/kernels.h"

#define RANK 5
#define ALPHA 8.0f
#define SCALE 0.5f

static char dir[64], base[128], merged[128], adapter[128], err[512];

/* Matrices that the adapter changes: each way through a layer, and both ends of the model. */
static const char *const targets[] = { "blk.0.attn_q.weight",      "blk.0.attn_v.weight",
                                       "blk.1.attn_output.weight", "blk.2.ffn_gate.weight",
                                       "blk.3.ffn_down.weight",    "blk.6.ffn_up.weight" };
#define N_TARGETS (sizeof(targets) / sizeof(*targets))

static float noise(uint64_t *state)
{
        *state = *state * 6364136223846793005u + 1442695040888963407u;
        return (float)((double)(*state >> 40) / 0x1p24 - 0.5);
}

/* The adapter's matrices of target i: a[RANK][n], b[rows][RANK]. */
static void make_pair(size_t i, size_t n, size_t rows, float *a, float *b)
{
        uint64_t state = i + 1;
        for (size_t j = 0; j < RANK * n; j++)
                a[j] = noise(&state) * 0.2f;
        for (size_t j = 0; j < rows * RANK; j++)
                b[j] = noise(&state) * 0.2f;
}

static struct gguf *opened(const char *path)
{
        struct gguf *g = NULL;
        if (gguf_open(path, &g, err, sizeof(err)))
                fail_msg("%s: %s", path, err);
        return g;
}

static int target_of(struct str name)
{
        for (size_t i = 0; i < N_TARGETS; i++)
                if (str_eqc(name, targets[i]))
                        return (int)i;
        return -1;
}

/* The base with scale * alpha / rank * B A added to its matrices. */
static void write_merged(const struct gguf *g)
{
        struct gguf_writer *w;
        struct gguf_entry e;
        static float a[RANK * 4096], b[RANK * 4096];
        assert_int_equal(gguf_writer_open(merged, &w, err, sizeof(err)), 0);
        for (size_t i = 0; gguf_entry_at(g, i, &e); i++)
                gguf_put_entry(w, &e);
        for (size_t i = 0; i < gguf_tensor_count(g); i++) {
                const struct gguf_tensor *t = gguf_tensor_at(g, i);
                char name[128];
                snprintf(name, sizeof(name), "%.*s", (int)t->name.n, t->name.p);
                gguf_add_tensor(w, name, t->type->id, t->n_dims, t->ne);
        }
        for (size_t i = 0; i < gguf_tensor_count(g); i++) {
                const struct gguf_tensor *t = gguf_tensor_at(g, i);
                size_t n = t->ne[0], rows = t->ne[1];
                int at = target_of(t->name);
                float *v = mem_alloc(n * rows * sizeof(float));
                memcpy(v, t->data, n * rows * sizeof(float));
                if (at >= 0)
                        make_pair((size_t)at, n, rows, a, b);
                for (size_t r = 0; at >= 0 && r < rows; r++)
                        for (size_t c = 0; c < n; c++)
                                for (int k = 0; k < RANK; k++)
                                        v[r * n + c] += SCALE * ALPHA / RANK * b[r * RANK + (size_t)k] *
                                                        a[(size_t)k * n + c];
                gguf_write_floats(w, v, n * rows);
                mem_free(v);
        }
        assert_int_equal(gguf_writer_close(w, err, sizeof(err)), 0);
}

struct faults {
        const char *kind, *arch, *rename; /* NULL: as it should be */
        int extra_rows;
        bool lose_b;
        size_t seed; /* other numbers */
};

static void write_adapter(const struct gguf *g, const struct faults *f)
{
        struct gguf_writer *w;
        static float a[RANK * 4096], b[RANK * 4096];
        assert_int_equal(gguf_writer_open(adapter, &w, err, sizeof(err)), 0);
        gguf_put_str(w, "general.type", str_c(f->kind ? f->kind : "adapter"));
        gguf_put_str(w, "adapter.type", STR("lora"));
        gguf_put_str(w, "general.architecture", str_c(f->arch ? f->arch : "llama"));
        gguf_put_f32(w, "adapter.lora.alpha", ALPHA);
        for (int pass = 0; pass < 2; pass++) {
                for (size_t i = 0; i < N_TARGETS; i++) {
                        const struct gguf_tensor *t = gguf_tensor_find(g, targets[i]);
                        size_t n = t->ne[0], rows = t->ne[1] + (size_t)f->extra_rows;
                        uint64_t dims_a[] = { n, RANK }, dims_b[] = { RANK, rows };
                        char name[128];
                        make_pair(i + 100 * f->seed, n, t->ne[1], a, b);
                        snprintf(name, sizeof(name), "%s.lora_a",
                                 i == 0 && f->rename ? f->rename : targets[i]);
                        if (pass)
                                gguf_write_floats(w, a, RANK * n);
                        else
                                gguf_add_tensor(w, name, GGUF_WF32, 2, dims_a);
                        if (f->lose_b && i == 2)
                                continue;
                        name[strlen(name) - 1] = 'b';
                        if (pass)
                                gguf_write_floats(w, b, RANK * rows);
                        else
                                gguf_add_tensor(w, name, GGUF_WF32, 2, dims_b);
                }
        }
        assert_int_equal(gguf_writer_close(w, err, sizeof(err)), 0);
}

static int setup(void **state)
{
        (void)state;
        snprintf(dir, sizeof(dir), "/tmp/cairn-lora-XXXXXX");
        if (!mkdtemp(dir))
                return -1;
        snprintf(base, sizeof(base), "%s/base.gguf", dir);
        snprintf(merged, sizeof(merged), "%s/merged.gguf", dir);
        snprintf(adapter, sizeof(adapter), "%s/adapter.gguf", dir);
        struct engine_quantize_opts o = { .type = "F32" };
        return engine_quantize("models/cairn-tiny.gguf", base, &o, err, sizeof(err));
}

static int teardown(void **state)
{
        (void)state;
        unlink(base);
        unlink(merged);
        unlink(adapter);
        return rmdir(dir);
}

static int open_with(const char *path, const char *with, float scale, struct engine_model **ret)
{
        struct engine_adapter one = { with, scale };
        struct engine_opts opts = { .adapters = &one, .n_adapters = with ? 1 : 0 };
        return engine_model_open(path, &opts, ret, err, sizeof(err));
}

#define PROMPT_MAX 64

/* Logprobs of the prompt's tokens and the text that follows greedily; its KV may be kept on disk. */
static size_t score_with(struct engine_model *m, bool kept, float *ret, char *text, size_t textn)
{
        struct engine_tokens prompt = { 0 };
        struct run r;
        assert_int_equal(
                engine_tokenize(
                        m,
                        STR("The quick brown fox asks: what is the capital of France, and why? It says "
                            "that nobody had told it before, and that somebody should have."),
                        0, &prompt),
                0);
        assert_true(prompt.n <= PROMPT_MAX);
        struct engine_req req = { .prompt = prompt.p,
                                  .n_prompt = prompt.n,
                                  .max_tokens = 24,
                                  .sampling = ENGINE_SAMPLING_DEFAULT,
                                  .logprobs = 0,
                                  .prompt_logprobs = !kept,
                                  .keep = kept };
        req.sampling.temperature = 0;
        assert_int_equal(run_all(&r, m, &req), 0);
        size_t n = r.prompt.n;
        for (size_t i = 0; i < n; i++)
                ret[i] = r.prompt.p[i].logprob;
        snprintf(text, textn, "%.*s", (int)r.text.n, r.text.p);
        run_release(&r);
        engine_tokens_release(&prompt);
        return n;
}

static size_t score(struct engine_model *m, float *ret, char *text, size_t textn)
{
        return score_with(m, false, ret, text, textn);
}

static size_t score_kept(struct engine_model *m, float *ret, char *text, size_t textn)
{
        return score_with(m, true, ret, text, textn);
}

static double difference(const float *a, const float *b, size_t n)
{
        double most = 0;
        for (size_t i = 1; i < n; i++)
                most = fmax(most, fabs((double)a[i] - (double)b[i]));
        return most;
}

static void test_equals_merged(void **state)
{
        (void)state;
        struct gguf *g = opened(base);
        struct engine_model *m;
        float plain[PROMPT_MAX], added[PROMPT_MAX], whole[PROMPT_MAX], off[PROMPT_MAX];
        char text[4][512];
        write_merged(g);
        write_adapter(g, &(struct faults){ 0 });
        assert_int_equal(open_with(base, NULL, 0, &m), 0);
        size_t n = score(m, plain, text[0], sizeof(text[0]));
        engine_model_close(m);
        assert_int_equal(open_with(base, adapter, SCALE, &m), 0);
        score(m, added, text[1], sizeof(text[1]));
        engine_model_close(m);
        assert_int_equal(open_with(merged, NULL, 0, &m), 0);
        score(m, whole, text[2], sizeof(text[2]));
        engine_model_close(m);
        assert_int_equal(open_with(base, adapter, 0, &m), 0);
        score(m, off, text[3], sizeof(text[3]));
        engine_model_close(m);
        gguf_close(g);

        assert_true(n > 10);
        assert_true(difference(plain, added, n) > 0.1);  /* it does something */
        assert_true(difference(added, whole, n) < 2e-3); /* and what it should */
        assert_string_equal(text[1], text[2]);
        assert_true(difference(plain, off, n) == 0);
        assert_string_equal(text[0], text[3]);
}

static void refused(const struct gguf *g, struct faults f, const char *because)
{
        struct engine_model *m;
        write_adapter(g, &f);
        assert_int_equal(open_with(base, adapter, 1, &m), -EINVAL);
        if (!strstr(err, because))
                fail_msg("'%s' does not say '%s'", err, because);
}

/* KV on disk is of the adapter that made it: one of the same name with other weights finds nothing. */
static void test_stored_kv(void **state)
{
        (void)state;
        struct gguf *g = opened(base);
        struct engine_model *m;
        struct engine_stats stats;
        char kv[100], text[512];
        float scores[PROMPT_MAX];
        snprintf(kv, sizeof(kv), "%s/kv", dir);
        struct engine_adapter one = { adapter, SCALE };
        struct engine_opts opts = { .adapters = &one, .n_adapters = 1, .kv_dir = kv };
        for (int round = 0; round < 3; round++) {
                write_adapter(g, &(struct faults){ .seed = round == 2 });
                assert_int_equal(engine_model_open(base, &opts, &m, err, sizeof(err)), 0);
                score_kept(m, scores, text, sizeof(text));
                engine_model_stats(m, &stats);
                assert_int_equal(stats.tokens_restored > 0, round == 1);
                engine_model_close(m);
        }
        gguf_close(g);
        opts.n_adapters = 0;
        assert_int_equal(engine_model_open(base, &opts, &m, err, sizeof(err)),
                         0); /* removes what is not its own */
        engine_model_close(m);
        assert_int_equal(rmdir(kv), 0);
}

static void test_refusals(void **state)
{
        (void)state;
        struct engine_model *m;
        struct gguf *g = opened(base);
        refused(g, (struct faults){ .kind = "model" }, "not a LoRA adapter");
        refused(g, (struct faults){ .arch = "qwen2" }, "another architecture than llama");
        refused(g, (struct faults){ .rename = "blk.9.attn_q.weight" }, "blk.9.attn_q.weight is no matrix");
        refused(g, (struct faults){ .rename = "token_embd.weight" }, "looked up");
        refused(g, (struct faults){ .extra_rows = 1 }, "do not fit");
        refused(g, (struct faults){ .lose_b = true }, "lora_b is missing");
        gguf_close(g);
        assert_int_equal(open_with(base, base, 1, &m), -EINVAL);
        assert_int_equal(open_with(base, "/nowhere.gguf", 1, &m), -ENOENT);
        assert_non_null(strstr(err, "/nowhere.gguf"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_equals_merged),
                cmocka_unit_test(test_stored_kv),
                cmocka_unit_test(test_refusals),
        };
        return cmocka_run_group_tests(tests, setup, teardown);
}
