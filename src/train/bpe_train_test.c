#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/json.h"
#include "base/mem.h"
#include "train/bpe_train.h"
#include "train/vocab.h"

static const char *const special[] = { "<|end|>", "<|start|>" };
static char path[] = "/tmp/cairn-bpe-XXXXXX";

static int setup(void **state)
{
        (void)state;
        json_setup();
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        close(fd);
        return 0;
}

static int teardown(void **state)
{
        (void)state;
        return unlink(path);
}

static void learn(const char *text, size_t n_vocab, struct vocab *v)
{
        struct bpe_trainer *t;
        char err[256] = "";
        assert_int_equal(bpe_trainer_new("gpt-2", &t), 0);
        assert_int_equal(bpe_trainer_add(t, str_c(text)), 0);
        assert_int_equal(bpe_trainer_write(t, n_vocab, special, 2, NULL, "<|end|>", path, err, sizeof(err)),
                         0);
        bpe_trainer_free(t);
        assert_int_equal(vocab_load(path, v, err, sizeof(err)), 0);
}

/* "ab" three times beats "cd" twice; "abx" comes next because the pair (ab, x) is the most frequent then. */
static void most_frequent_pair_first(void **state)
{
        (void)state;
        struct vocab v;
        learn("abx abx ab cd cd", 256 + 3 + 2, &v);
        assert_int_equal(v.spec.n_merges, 3);
        assert_true(str_eqc(v.spec.merges[0], "a b"));
        assert_true(str_eqc(v.spec.tokens[256], "ab"));
        assert_int_equal(v.spec.n_vocab, 261);
        assert_int_equal(v.spec.types[260], TOK_CONTROL);
        assert_int_equal(v.spec.eos, 259);
        assert_int_equal(v.spec.bos, -1);
        vocab_release(&v);
}

/* A pair seen once is no reason for a token. */
static void stops_when_nothing_repeats(void **state)
{
        (void)state;
        struct vocab v;
        learn("qwerty", 300, &v);
        assert_int_equal(v.spec.n_vocab, 258);
        assert_int_equal(v.spec.n_merges, 0);
        vocab_release(&v);
}

/* Counts stay true through overlaps: the learnt merges encode the text back in few tokens. */
static void overlaps_are_counted(void **state)
{
        (void)state;
        struct vocab v;
        struct tokenizer *t;
        struct tok_ids ids = { 0 };
        char err[256];
        learn("aaaaaaaa aaaaaaaa baaab baaab", 270, &v);
        assert_int_equal(tokenizer_new(&v.spec, &t, err, sizeof(err)), 0);
        assert_int_equal(tokenizer_encode(t, STR("aaaaaaaa baaab"), 0, &ids), 0);
        assert_true(ids.n <= 3);
        tok_ids_release(&ids);
        tokenizer_free(t);
        vocab_release(&v);
}

static void bad_requests_are_refused(void **state)
{
        (void)state;
        struct bpe_trainer *t;
        char err[256] = "";
        assert_int_equal(bpe_trainer_new("no-such-pattern", &t), -EINVAL);
        assert_int_equal(bpe_trainer_new("qwen2", &t), 0);
        assert_int_equal(bpe_trainer_write(t, 100, special, 2, NULL, NULL, path, err, sizeof(err)), -EINVAL);
        assert_non_null(strstr(err, "100"));
        bpe_trainer_free(t);
}

static void damaged_files_are_refused(void **state)
{
        (void)state;
        struct vocab v;
        char err[256];
        static const char *const texts[] = { "{", "{}", "{\"tokens\": [1], \"types\": [1], \"merges\": []}",
                                             "{\"tokens\": [\"a\"], \"types\": [], \"merges\": []}" };
        for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
                assert_int_equal(file_write(path, texts[i], strlen(texts[i]), err, sizeof(err)), 0);
                assert_true(vocab_load(path, &v, err, sizeof(err)) < 0);
                assert_non_null(strstr(err, path));
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(most_frequent_pair_first),  cmocka_unit_test(stops_when_nothing_repeats),
                cmocka_unit_test(overlaps_are_counted),      cmocka_unit_test(bad_requests_are_refused),
                cmocka_unit_test(damaged_files_are_refused),
        };
        return cmocka_run_group_tests(tests, setup, teardown);
}
