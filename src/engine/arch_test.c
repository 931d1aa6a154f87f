/* Architectures through the public interface: results that do not depend on neighbours, encoders, and files
 * whose shape is wrong in the ways that only some families have. What the models compute is vectors_test.c's.
 */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/mem.h"
#include "base/rand.h"
#include "engine/gguf.h"
#include "engine/test_run.h"

#define DIR "tests/vectors/arch/"
#define MANY 8
#define LONGEST 120 /* beyond every window, and more than one step's share of a prompt */
#define LETTERS 256

static struct engine_model *open_model(const char *name, int max_batch)
{
        char path[128], err[200] = "";
        struct engine_opts opts = { .threads = 2, .max_batch = max_batch };
        struct engine_model *m = NULL;
        snprintf(path, sizeof(path), DIR "%s.gguf", name);
        if (engine_model_open(path, &opts, &m, err, sizeof(err)))
                fail_msg("%s: %s", path, err);
        return m;
}

static void random_tokens(int32_t *out, size_t n, uint64_t seed)
{
        struct rng rng;
        rng_seed(&rng, seed + 500);
        for (size_t i = 0; i < n; i++)
                out[i] = (int32_t)rng_below(&rng, LETTERS);
}

/* ---- neighbours --------------------------------------------------------------------------------- */

static void assert_same(const char *name, const struct run *a, const struct run *b)
{
        bool same = a->tokens.n == b->tokens.n;
        for (size_t i = 0; same && i < a->tokens.n; i++)
                same = a->tokens.p[i].id == b->tokens.p[i].id &&
                       !memcmp(&a->tokens.p[i].logprob, &b->tokens.p[i].logprob, sizeof(float));
        if (!same)
                fail_msg("%s: a neighbour changed the output", name);
}

/* The same requests alone and all together give the same tokens and the same bits of their logprobs. */
static void check_neighbours(const char *name)
{
        static int32_t prompts[MANY][LONGEST];
        static struct run alone[MANY], together[MANY];
        struct engine_req reqs[MANY];
        for (int i = 0; i < MANY; i++) {
                size_t n = 1 + (size_t)i * (LONGEST - 1) / (MANY - 1);
                random_tokens(prompts[i], n, (uint64_t)i);
                reqs[i] = (struct engine_req){ .prompt = prompts[i],
                                               .n_prompt = n,
                                               .max_tokens = 24,
                                               .logprobs = 0,
                                               .sampling = ENGINE_SAMPLING_DEFAULT };
                reqs[i].sampling.temperature = i % 2 ? 1.0f : 0;
                reqs[i].sampling.has_seed = true;
                reqs[i].sampling.seed = (uint64_t)i;
        }
        struct engine_model *m = open_model(name, 1);
        for (int i = 0; i < MANY; i++)
                assert_int_equal(run_all(&alone[i], m, &reqs[i]), 0);
        engine_model_close(m);
        m = open_model(name, MANY); /* a fresh cache */
        for (int i = 0; i < MANY; i++) {
                run_init(&together[i]);
                assert_int_equal(run_start(&together[i], m, &reqs[i]), 0);
        }
        for (int i = 0; i < MANY; i++)
                run_finish(&together[i]);
        for (int i = 0; i < MANY; i++) {
                assert_same(name, &alone[i], &together[i]);
                run_release(&alone[i]);
                run_release(&together[i]);
        }
        engine_model_close(m);
}

static void test_neighbours(void **state)
{
        static const char *const names[] = {
                "llama-longrope", "mistral-window", "mixtral", "qwen2",   "qwen3moe",   "gemma2",
                "gemma3",         "phi-window",     "olmo3",   "gpt-oss", "every-type", "gpt-oss-mxfp4"
        };
        (void)state;
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                check_neighbours(names[i]);
}

/* ---- encoders ----------------------------------------------------------------------------------- */

/* More inputs than a batch, one of them as long as may be, alone and together. */
static void check_encoder(const char *name)
{
        enum { INPUTS = 24 };
        static int32_t tokens[INPUTS][256];
        struct engine_input in[INPUTS];
        struct engine_model *m = open_model(name, 4);
        const struct engine_info *info = engine_model_info(m);
        size_t n = (size_t)info->n_embd;
        float *all = mem_calloc(INPUTS * n, sizeof(*all)), *one = mem_calloc(n, sizeof(*one));
        assert_true(all && one && info->n_ctx == 256);
        for (int i = 0; i < INPUTS; i++) {
                in[i] = (struct engine_input){ tokens[i], i ? 1 + (size_t)(i * 37) % 200 : 256 };
                random_tokens(tokens[i], in[i].n, (uint64_t)i);
        }
        assert_int_equal(engine_embed(m, in, INPUTS, all, NULL, NULL), 0);
        for (int i = 0; i < INPUTS; i++) {
                double norm = 0;
                assert_int_equal(engine_embed(m, &in[i], 1, one, NULL, NULL), 0);
                assert_memory_equal(one, all + (size_t)i * n, n * sizeof(*one));
                for (size_t c = 0; c < n; c++)
                        norm += (double)one[c] * (double)one[c];
                assert_true(n == 1 ? isfinite(norm) : fabs(norm - 1) < 1e-5);
        }
        in[0].n = 257;
        assert_int_equal(engine_embed(m, in, 1, one, NULL, NULL), -E2BIG);
        mem_free(all);
        mem_free(one);
        engine_model_close(m);
}

static void test_encoders(void **state)
{
        (void)state;
        check_encoder("bert-mean");
        check_encoder("bert-cls");
        check_encoder("bert-rank");
        check_encoder("nomic-bert");
}

/* An encoder's first token sees its last: what follows changes what came before. */
static void test_encoder_looks_ahead(void **state)
{
        (void)state;
        int32_t tokens[3] = { 65, 66, 67 };
        struct engine_input in = { tokens, 3 };
        struct engine_model *m = open_model("bert-cls", 4);
        float a[64], b[64];
        assert_int_equal(engine_model_info(m)->n_embd, 48);
        assert_int_equal(engine_embed(m, &in, 1, a, NULL, NULL), 0);
        tokens[2] = 68;
        assert_int_equal(engine_embed(m, &in, 1, b, NULL, NULL), 0);
        assert_memory_not_equal(a, b, 48 * sizeof(*a));
        engine_model_close(m);
}

static bool unexpected(void *ctx, const struct engine_event *ev)
{
        (void)ctx;
        (void)ev;
        fail();
        return true;
}

static void test_encoder_generates_nothing(void **state)
{
        (void)state;
        int32_t token = 65;
        struct engine_model *m = open_model("nomic-bert", 4);
        struct engine_req req = { .prompt = &token, .n_prompt = 1, .max_tokens = 1, .logprobs = -1 };
        struct engine_sink sink = { unexpected, NULL };
        struct engine_seq *seq = NULL;
        req.sampling = (struct engine_sampling)ENGINE_SAMPLING_DEFAULT;
        assert_false(engine_model_info(m)->generates);
        assert_int_equal(engine_submit(m, &req, &sink, &seq), -ENOTSUP);
        engine_model_close(m);
}

/* ---- damaged files ------------------------------------------------------------------------------ */

struct damage {
        const char *model;
        const char *key;     /* a metadata key with a 32-bit value... */
        uint32_t value;      /* ...this one instead */
        const char *renamed; /* a tensor whose name gets another first letter */
        const char *factor;  /* a tensor whose second value becomes... */
        float number;        /* ...this */
        const char *message;
};

/* A copy of the model in memory: written to by *ret_p, opened by the file descriptor. */
static int copy_of(const char *model, uint8_t **ret_p, size_t *ret_n)
{
        static char bytes[1 << 20];
        char path[128];
        snprintf(path, sizeof(path), DIR "%s.gguf", model);
        FILE *f = fopen(path, "r");
        assert_non_null(f);
        size_t n = fread(bytes, 1, sizeof(bytes), f);
        fclose(f);
        int fd = memfd_create("damaged", MFD_CLOEXEC);
        assert_true(n < sizeof(bytes) && fd >= 0 && write(fd, bytes, n) == (ssize_t)n);
        void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        assert_true(p != MAP_FAILED);
        *ret_p = p;
        *ret_n = n;
        return fd;
}

static uint8_t *find(uint8_t *p, size_t n, const char *text)
{
        uint8_t *at = memmem(p, n, text, strlen(text));
        assert_non_null(at);
        return at;
}

static void apply(const struct damage *d, uint8_t *p, size_t n)
{
        struct gguf *g;
        char err[200];
        if (d->key)
                memcpy(find(p, n, d->key) + strlen(d->key) + sizeof(uint32_t), &d->value, sizeof(d->value));
        if (d->renamed)
                *find(p, n, d->renamed) = 'x';
        if (d->factor) {
                assert_int_equal(gguf_parse(p, n, &g, err, sizeof(err)), 0);
                size_t at = (size_t)((const uint8_t *)gguf_tensor_find(g, d->factor)->data - p);
                memcpy(p + at + sizeof(float), &d->number, sizeof(d->number));
                gguf_close(g);
        }
}

static void check_damage(const struct damage *d)
{
        size_t n;
        uint8_t *p;
        char path[64], err[200] = "";
        struct engine_model *m = NULL;
        struct engine_opts opts = { .threads = 1 };
        int fd = copy_of(d->model, &p, &n);
        apply(d, p, n);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        assert_int_equal(engine_model_open(path, &opts, &m, err, sizeof(err)), -EINVAL);
        if (!strstr(err, d->message))
                fail_msg("%s: \"%s\" does not say \"%s\"", d->model, err, d->message);
        munmap(p, n);
        close(fd);
}

static void test_damaged(void **state)
{
        (void)state;
        const struct damage cases[] = {
                { "mixtral", .key = "llama.expert_used_count", .value = 0, .message = "0 of 5 experts" },
                { "mixtral", .key = "llama.expert_used_count", .value = 6, .message = "6 of 5 experts" },
                { "mixtral", .key = "llama.expert_count", .value = 4, .message = "ffn_gate_inp.weight is" },
                { "mixtral", .key = "llama.expert_count", .value = 0, .message = "2 of 0 experts" },
                { "mixtral", .key = "llama.expert_count", .value = 4000, .message = "llama.expert_count" },
                { "mixtral", .renamed = "blk.1.ffn_up_exps.weight",
                  .message = "ffn_up_exps.weight is missing" },
                { "gpt-oss", .key = "gpt-oss.expert_count", .value = 0, .message = "3 of 0 experts" },
                { "gpt-oss", .key = "gpt-oss.expert_feed_forward_length", .value = 57,
                  .message = "exps.weight is" },
                { "gpt-oss", .renamed = "blk.0.attn_sinks.weight",
                  .message = "attn_sinks.weight is missing" },
                { "gpt-oss", .renamed = "blk.0.ffn_down_exps.bias",
                  .message = "ffn_down_exps.bias is missing" },
                { "qwen2", .renamed = "blk.0.attn_k.bias", .message = "attn_k.bias is missing" },
                { "qwen3", .key = "qwen3.attention.key_length", .value = 0, .message = "zero" },
                { "qwen3", .renamed = "blk.1.attn_q_norm.weight",
                  .message = "attn_q_norm.weight is missing" },
                { "phi-longrope", .key = "phi3.rope.dimension_count", .value = 13,
                  .message = "dimension_count" },
                { "phi-longrope", .key = "phi3.rope.dimension_count", .value = 16,
                  .message = "rope_factors" },
                { "phi-longrope", .factor = "rope_factors_long.weight", .number = 0,
                  .message = "factors hold 0" },
                { "phi-longrope", .factor = "rope_factors_short.weight", .number = NAN,
                  .message = "factors hold" },
                { "phi-longrope", .renamed = "rope_factors_long.weight", .message = "xope_factors_long" },
                { "llama3-rope", .factor = "rope_freqs.weight", .number = -1, .message = "factors hold -1" },
                { "bert-mean", .key = "tokenizer.ggml.token_type_count", .value = 3,
                  .message = "token_types" },
                { "bert-mean", .key = "bert.context_length", .value = 255, .message = "position_embd" },
                { "bert-mean", .renamed = "token_embd_norm.bias",
                  .message = "token_embd_norm.bias is missing" },
                { "bert-rank", .renamed = "cls.output.weight", .message = "xls.output.weight" },
                { "nomic-bert", .renamed = "blk.0.attn_qkv.weight", .message = "attn_qkv.weight is missing" },
        };
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
                check_damage(&cases[i]);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_neighbours),
                cmocka_unit_test(test_encoders),
                cmocka_unit_test(test_encoder_looks_ahead),
                cmocka_unit_test(test_encoder_generates_nothing),
                cmocka_unit_test(test_damaged),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
