/* Vocabularies of model files: what a file says, what holds when it does not, what is refused. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"
#include "engine/gguf.h"
#include "engine/gguf_write.h"
#include "engine/model.h"
#include "engine/tokenizer.h"

#define KEY(name) "tokenizer.ggml." name
#define N 110

static char file_path[64];

/* A file with a vocabulary of N tokens: 0 to 2 special, 100 to 103 BERT's, the rest letters. */
static struct gguf_writer *start(const char *model, const char *space)
{
        static char text[N][16];
        struct str tokens[N];
        int32_t types[N];
        float scores[N];
        char err[200];
        struct gguf_writer *w;
        for (int i = 0; i < N; i++) {
                bool special = i < 3 || (i >= 100 && i < 104);
                int n = special ? snprintf(text[i], sizeof(text[i]), "<special%d>", i)
                                : snprintf(text[i], sizeof(text[i]), "%s%c%c", i % 2 ? space : "",
                                           'a' + i % 26, 'a' + i / 26);
                if (i == 3)
                        n = snprintf(text[i], sizeof(text[i]), "%s", *space ? space : "z");
                tokens[i] = (struct str){ text[i], (size_t)n };
                types[i] = special ? TOK_CONTROL : TOK_NORMAL;
                scores[i] = -(float)i;
        }
        assert_int_equal(gguf_writer_open(file_path, &w, err, sizeof(err)), 0);
        gguf_put_str(w, "general.architecture", STR("llama"));
        gguf_put_str(w, KEY("model"), str_c(model));
        gguf_put_strs(w, KEY("tokens"), tokens, N);
        gguf_put_i32s(w, KEY("token_type"), types, N);
        gguf_put_f32s(w, KEY("scores"), scores, N);
        return w;
}

static int finish(struct gguf_writer *w, struct tokenizer **ret, char *err, size_t errn)
{
        struct gguf *g;
        const uint64_t dims[1] = { 4 };
        const float values[4] = { 0 };
        gguf_add_tensor(w, "x", GGUF_WF32, 1, dims);
        gguf_write_floats(w, values, 4);
        assert_int_equal(gguf_writer_close(w, err, errn), 0);
        assert_int_equal(gguf_open(file_path, &g, err, errn), 0);
        int rc = tokenizer_from_gguf(g, ret, err, errn);
        gguf_close(g);
        return rc;
}

static void encode(const struct tokenizer *t, struct str text, int flags, const char *want)
{
        char got[400] = "";
        size_t n = 0;
        struct tok_ids ids = { 0 };
        assert_int_equal(tokenizer_encode(t, text, flags, &ids), 0);
        for (size_t i = 0; i < ids.n; i++)
                n += (size_t)snprintf(got + n, sizeof(got) - n, "%s%.*s", i ? "|" : "",
                                      STR_ARG(tokenizer_piece(t, ids.p[i])));
        assert_string_equal(got, want);
        tok_ids_release(&ids);
}

#define BOTH (TOK_ENCODE_BOS | TOK_ENCODE_EOS)
#define MARK "\xe2\x96\x81"

static void what_is_taken_for_granted(void **state)
{
        (void)state;
        struct tokenizer *t;
        char err[200] = "";
        assert_int_equal(finish(start("llama", MARK), &t, err, sizeof(err)), 0);
        encode(t, STR("eaga"), BOTH, "<special1>| |ea|ga"); /* bos, a space, no eos */
        tokenizer_free(t);
        assert_int_equal(finish(start("t5", MARK), &t, err, sizeof(err)), 0);
        encode(t, STR("ea"), BOTH, " |ea|<special1>");
        tokenizer_free(t);
        assert_int_equal(finish(start("bert", MARK), &t, err, sizeof(err)), 0);
        encode(t, STR("FAEA \xc3\xa9?"), BOTH, "<special101>| fa|ea|<special100>|<special100>|<special102>");
        tokenizer_free(t);
}

static void what_the_file_says(void **state)
{
        (void)state;
        struct tokenizer *t;
        char err[200] = "";
        struct gguf_writer *w = start("llama", MARK);
        gguf_put_bool(w, KEY("add_bos_token"), false);
        gguf_put_bool(w, KEY("add_eos_token"), true);
        gguf_put_bool(w, KEY("add_space_prefix"), false);
        gguf_put_bool(w, KEY("remove_extra_whitespaces"), true);
        gguf_put_u32(w, KEY("eos_token_id"), 102);
        assert_int_equal(finish(w, &t, err, sizeof(err)), 0);
        encode(t, STR("  ea   ga "), BOTH, "ea| |ga|<special102>");
        tokenizer_free(t);
        w = start("bert", MARK);
        gguf_put_u32(w, KEY("cls_token_id"), 103);
        gguf_put_u32(w, KEY("seperator_token_id"), 2);
        gguf_put_bool(w, KEY("normalizer.lowercase"), false);
        assert_int_equal(finish(w, &t, err, sizeof(err)), 0);
        encode(t, STR("fa FA"), BOTH, "<special103>| fa|<special100>|<special2>");
        tokenizer_free(t);
}

/* The space that such a vocabulary puts before a text is not of the text. */
static void texts_begin_without_the_space(void **state)
{
        (void)state;
        struct engine_model m = { 0 };
        const int32_t ids[] = { 5, 5, 2, 5 };
        char err[200] = "";
        assert_int_equal(finish(start("llama", MARK), &m.tok, err, sizeof(err)), 0);
        assert_true(str_eqc(model_piece(&m, 5), " fa"));
        assert_true(str_eqc(model_piece_after(&m, -1, 5), "fa"));
        assert_true(str_eqc(model_piece_after(&m, 2, 5), "fa"));
        assert_true(str_eqc(model_piece_after(&m, 4, 5), " fa"));
        assert_true(str_eqc(model_piece_after(&m, -1, 3), ""));
        char *text = engine_detokenize(&m, ids, 4, NULL);
        assert_string_equal(text, "fa fafa");
        mem_free(text);
        tokenizer_free(m.tok);
}

static void expect_refused(struct gguf_writer *w, const char *what)
{
        struct tokenizer *t;
        char err[200] = "";
        assert_int_equal(finish(w, &t, err, sizeof(err)), -EINVAL);
        if (!strstr(err, what))
                fail_msg("'%s' does not speak of '%s'", err, what);
}

static void what_is_refused(void **state)
{
        (void)state;
        const int32_t few[2] = { 1, 1 };
        expect_refused(start("no-such", ""), "tokenizer.ggml.model");
        struct gguf_writer *w = start("llama", MARK);
        gguf_put_u32(w, KEY("bos_token_id"), N);
        expect_refused(w, "bos_token_id");
        w = start("llama", MARK);
        gguf_put_u32(w, KEY("add_bos_token"), 1);
        expect_refused(w, "add_bos_token");
        w = start("t5", MARK);
        gguf_put_i32s(w, KEY("precompiled_charsmap"), few, 2);
        expect_refused(w, "precompiled_charsmap");
        w = start("gpt2", "");
        gguf_put_str(w, KEY("pre"), STR("no-such"));
        expect_refused(w, "no-such");
        w = start("gpt2", "");
        gguf_put_i32s(w, KEY("merges"), few, 2);
        expect_refused(w, "merges");
}

static int setup(void **state)
{
        (void)state;
        snprintf(file_path, sizeof(file_path), "/tmp/cairn-vocab-%d.gguf", (int)getpid());
        return 0;
}

static int teardown(void **state)
{
        (void)state;
        unlink(file_path);
        return 0;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_is_taken_for_granted),
                cmocka_unit_test(what_the_file_says),
                cmocka_unit_test(what_is_refused),
                cmocka_unit_test(texts_begin_without_the_space),
        };
        return cmocka_run_group_tests(tests, setup, teardown);
}
