/* What a file must have to be a model: each rule broken once, with the message that says so. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "engine/engine.h"
#include "engine/gguf_write.h"

#define D 8
#define VOCAB 6

/* What to do differently from a good file; zero is good. */
struct fault {
        const char *arch, *tokenizer, *pre;
        const char *without;       /* a key or tensor left out */
        const char *extra;         /* a tensor too many */
        const char *reshaped;      /* a tensor with a row more */
        const char *retyped;       /* a tensor in F16 */
        const char *number;        /* a key with another value... */
        uint32_t value;            /* ...this one */
        const char *string, *text; /* a key with a string value */
        const char *real;          /* a key with a floating-point value... */
        float reals;               /* ...this one */
        bool types_short;
};

static bool is(const char *a, const char *b)
{
        return a && !strcmp(a, b);
}

static void put_number(struct gguf_writer *w, const struct fault *f, const char *key, uint32_t v)
{
        if (!is(f->without, key))
                gguf_put_u32(w, key, is(f->number, key) ? f->value : v);
}

static void put_keys(struct gguf_writer *w, const struct fault *f)
{
        struct str tokens[VOCAB] = { STR("a"),          STR("b"), STR("ab"), STR("<|im_start|>"),
                                     STR("<|im_end|>"), STR("c") };
        struct str merge = STR("a b");
        int32_t types[VOCAB] = { 1, 1, 1, 3, 3, 1 };
        static const char *const optional[] = { "llama.expert_count", "llama.expert_used_count",
                                                "llama.pooling_type", "llama.attention.value_length",
                                                "llama.attention.sliding_window_pattern" };
        if (!is(f->without, "general.architecture"))
                gguf_put_str(w, "general.architecture", str_c(f->arch ? f->arch : "llama"));
        put_number(w, f, "llama.block_count", 1);
        put_number(w, f, "llama.embedding_length", D);
        put_number(w, f, "llama.feed_forward_length", D);
        put_number(w, f, "llama.context_length", 64);
        put_number(w, f, "llama.attention.head_count", 2);
        put_number(w, f, "llama.attention.head_count_kv", 1);
        put_number(w, f, "llama.rope.dimension_count", 4);
        if (!is(f->without, "llama.attention.layer_norm_rms_epsilon"))
                gguf_put_f32(w, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
        if (f->string)
                gguf_put_str(w, f->string, str_c(f->text));
        gguf_put_str(w, "tokenizer.ggml.model", str_c(f->tokenizer ? f->tokenizer : "gpt2"));
        gguf_put_str(w, "tokenizer.ggml.pre", str_c(f->pre ? f->pre : "gpt-2"));
        if (!is(f->without, "tokenizer.ggml.tokens"))
                gguf_put_strs(w, "tokenizer.ggml.tokens", tokens, VOCAB);
        gguf_put_i32s(w, "tokenizer.ggml.token_type", types, f->types_short ? VOCAB - 1 : VOCAB);
        gguf_put_strs(w, "tokenizer.ggml.merges", &merge, 1);
        put_number(w, f, "tokenizer.ggml.eos_token_id", 4);
        for (size_t i = 0; i < sizeof(optional) / sizeof(optional[0]); i++)
                if (is(f->number, optional[i]))
                        gguf_put_u32(w, f->number, f->value);
        if (f->real)
                gguf_put_f32(w, f->real, f->reals);
}

static const struct {
        const char *name;
        uint64_t n, rows;
} tensors[] = {
        { "token_embd.weight", D, VOCAB },    { "output_norm.weight", D, 1 },
        { "blk.0.attn_norm.weight", D, 1 },   { "blk.0.attn_q.weight", D, D },
        { "blk.0.attn_k.weight", D, D / 2 },  { "blk.0.attn_v.weight", D, D / 2 },
        { "blk.0.attn_output.weight", D, D }, { "blk.0.ffn_norm.weight", D, 1 },
        { "blk.0.ffn_gate.weight", D, D },    { "blk.0.ffn_up.weight", D, D },
        { "blk.0.ffn_down.weight", D, D },
};
#define TENSORS (sizeof(tensors) / sizeof(tensors[0]))

static void write_tensors(struct gguf_writer *w, const struct fault *f)
{
        float row[D] = { 0.5f, -0.5f, 0.25f, 1, 0, -1, 0.125f, 0.75f };
        uint64_t rows[TENSORS + 1];
        size_t n = 0;
        for (size_t i = 0; i < TENSORS; i++) {
                if (is(f->without, tensors[i].name))
                        continue;
                rows[n] = tensors[i].rows + is(f->reshaped, tensors[i].name);
                uint64_t dims[2] = { tensors[i].n, rows[n++] };
                gguf_add_tensor(w, tensors[i].name, is(f->retyped, tensors[i].name) ? GGUF_WF16 : GGUF_WF32,
                                2, dims);
        }
        if (f->extra) {
                uint64_t dims[1] = { D };
                rows[n++] = 1;
                gguf_add_tensor(w, f->extra, GGUF_WF32, 1, dims);
        }
        for (size_t i = 0; i < n; i++)
                for (uint64_t r = 0; r < rows[i]; r++)
                        gguf_write_floats(w, row, D);
}

/* Writes the file, opens it and gives the result. */
static int open_with(const struct fault *f, struct engine_model **ret, char *err)
{
        char path[64], why[200];
        struct gguf_writer *w;
        struct engine_opts opts = { .threads = 1 };
        snprintf(path, sizeof(path), "/tmp/cairn-model-test-%d.gguf", (int)getpid());
        assert_int_equal(gguf_writer_open(path, &w, why, sizeof(why)), 0);
        put_keys(w, f);
        write_tensors(w, f);
        if (gguf_writer_close(w, why, sizeof(why)))
                fail_msg("%s", why);
        err[0] = 0;
        *ret = NULL;
        int rc = engine_model_open(path, &opts, ret, err, 200);
        unlink(path);
        return rc;
}

static void test_good(void **state)
{
        (void)state;
        struct engine_model *m;
        char err[200];
        if (open_with(&(struct fault){ 0 }, &m, err))
                fail_msg("%s", err);
        const struct engine_info *info = engine_model_info(m);
        assert_int_equal(info->n_vocab, VOCAB);
        assert_int_equal(info->n_ctx, 64);
        assert_int_equal(info->eos, 4);
        assert_int_equal(info->bos, -1);
        assert_true(info->has_chat);
        assert_true(!strncmp(info->name, "cairn-model-test-", 17)); /* of the file */
        engine_model_close(m);
}

static void test_faults(void **state)
{
        (void)state;
        const struct {
                struct fault f;
                const char *message;
        } cases[] = {
                { { .without = "general.architecture" }, "general.architecture is missing" },
                { { .arch = "mamba" }, "architecture mamba" },
                { { .arch = "\xff\xfe" }, "architecture ?" },
                { { .tokenizer = "no-such" }, "tokenizer.ggml.model" },
                { { .pre = "no-such-pattern" }, "no-such-pattern" },
                { { .without = "tokenizer.ggml.tokens" }, "tokenizer.ggml.tokens" },
                { { .types_short = true }, "token_type" },
                { { .number = "tokenizer.ggml.eos_token_id", .value = VOCAB }, "eos_token_id" },
                { { .without = "llama.block_count" }, "llama.block_count is missing" },
                { { .without = "llama.attention.layer_norm_rms_epsilon" }, "epsilon is missing" },
                { { .number = "llama.block_count", .value = 0 }, "zero" },
                { { .number = "llama.block_count", .value = UINT32_MAX }, "llama.block_count" },
                { { .number = "llama.block_count", .value = 2 }, "blk.1.attn_norm.weight is missing" },
                { { .number = "llama.attention.head_count", .value = 0 }, "zero" },
                { { .number = "llama.attention.head_count_kv", .value = 3 }, "3 key-value heads" },
                { { .number = "llama.attention.value_length", .value = 2 }, "values of 2" },
                { { .number = "llama.rope.dimension_count", .value = 3 }, "dimension_count" },
                { { .number = "llama.rope.dimension_count", .value = 6 }, "dimension_count" },
                { { .number = "llama.expert_count", .value = 8 }, "0 of 8 experts" },
                { { .number = "llama.expert_used_count", .value = 1 }, "1 of 0 experts" },
                { { .number = "llama.pooling_type", .value = 5 }, "pooling_type" },
                { { .number = "llama.pooling_type", .value = 4 }, "no cls.output.weight" },
                { { .number = "llama.attention.sliding_window_pattern", .value = 0 }, "pattern is 0" },
                { { .string = "llama.rope.scaling.type", .text = "dynamic" }, "rope scaling" },
                { { .string = "llama.rope.scaling.type", .text = "longrope" }, "rope_factors_long" },
                { { .real = "llama.rope.freq_base", .reals = 1 }, "no rotation" },
                { { .real = "llama.rope.scaling.factor", .reals = 1e9f }, "no rotation" },
                { { .real = "llama.rope.scaling.factor", .reals = -2 }, "not a positive number" },
                { { .real = "llama.attn_logit_softcapping", .reals = -1 }, "softcapping" },
                { { .string = "llama.rope.freq_base", .text = "x" }, "freq_base" },
                { { .without = "blk.0.attn_k.weight" }, "blk.0.attn_k.weight is missing" },
                { { .reshaped = "token_embd.weight" }, "token_embd.weight is 8 x 7 x 1, not 8 x 6 x 1" },
                { { .reshaped = "blk.0.attn_v.weight" }, "blk.0.attn_v.weight is 8 x 5" },
                { { .retyped = "output_norm.weight" }, "F16, not F32" },
                { { .extra = "blk.0.attn_q.scale" }, "blk.0.attn_q.scale is not one of" },
                { { .extra = "blk.1.attn_norm.weight" }, "blk.1.attn_norm.weight is not one of" },
                { { .extra = "blk.00.attn_norm.weight" }, "misspelt" },
        };
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct engine_model *m;
                char err[200];
                assert_int_equal(open_with(&cases[i].f, &m, err), -EINVAL);
                if (!strstr(err, cases[i].message))
                        fail_msg("case %zu: \"%s\" does not say \"%s\"", i, err, cases[i].message);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_good),
                cmocka_unit_test(test_faults),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
