/* Every kind of vocabulary against the libraries that define it: ids over a corpus, captured by
 * tests/vectors/make_tokenizer_vectors.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "engine/tokenizer.h"

#define FILE_NAME "tests/vectors/tokenizers.json"

static json_t *file;

static int setup(void **state)
{
        (void)state;
        struct json_fault fault;
        size_t n = 4 << 20;
        char *text = mem_alloc(n);
        FILE *f = fopen(FILE_NAME, "r");
        if (!text || !f)
                return -1;
        n = fread(text, 1, n, f);
        fclose(f);
        file = json_parse((struct str){ text, n }, 10, &fault);
        mem_free(text);
        return file ? 0 : -1;
}

static int teardown(void **state)
{
        (void)state;
        json_decref(file);
        return 0;
}

/* The CRC-32 of zlib and PNG, bit by bit. */
static uint32_t crc32_of(const int32_t *ids, size_t n)
{
        const uint8_t *p = (const uint8_t *)ids;
        uint32_t crc = 0xffffffff;
        for (size_t i = 0; i < n * sizeof(*ids); i++) {
                crc ^= p[i];
                for (int k = 0; k < 8; k++)
                        crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
        }
        return ~crc;
}

static struct str *strings_of(const json_t *list, size_t *ret_n)
{
        size_t n = json_array_size(list);
        struct str *out = mem_calloc(n + 1, sizeof(*out));
        assert_non_null(out);
        for (size_t i = 0; i < n; i++)
                out[i] = json_as_str(json_array_get(list, i));
        *ret_n = n;
        return out;
}

/* Numbers as bytes of the map, which is written in hexadecimal. */
static struct str bytes_of(struct str hex)
{
        char *out = mem_alloc(hex.n / 2 + 1);
        assert_non_null(out);
        for (size_t i = 0; i + 1 < hex.n; i += 2) {
                char two[3] = { hex.p[i], hex.p[i + 1], 0 };
                unsigned byte;
                assert_int_equal(sscanf(two, "%x", &byte), 1);
                out[i / 2] = (char)byte;
        }
        return (struct str){ out, hex.n / 2 };
}

static enum tok_kind kind_of(const json_t *v)
{
        static const char *const names[] = { "bpe", "spm", "unigram", "wordpiece" };
        for (int i = 0; i < 4; i++)
                if (str_eqc(json_str(v, "kind"), names[i]))
                        return (enum tok_kind)i;
        fail();
        return TOK_KIND_BPE;
}

static int32_t id_of(const json_t *v, const char *name)
{
        const json_t *id = json_get(v, name);
        return id ? (int32_t)json_integer_value(id) : -1;
}

static struct tokenizer *open_vocabulary(const json_t *v)
{
        const json_t *shared = json_get(json_get(file, "shared"), json_cstr(v, "shared", "?"));
        const json_t *from = shared ? shared : v, *list;
        struct tok_spec spec = { .kind = kind_of(v),
                                 .pre = json_str(v, "pre"),
                                 .bos = id_of(v, "bos"),
                                 .eos = id_of(v, "eos"),
                                 .eot = -1,
                                 .unk = id_of(v, "unk"),
                                 .space_prefix = json_flag(v, "space_prefix", false),
                                 .squeeze_spaces = json_flag(v, "squeeze_spaces", false),
                                 .fold = json_flag(v, "fold", false) };
        struct str *tokens = strings_of(json_get(from, "tokens"), &spec.n_vocab);
        struct str *merges = strings_of(json_get(from, "merges"), &spec.n_merges);
        struct str map = bytes_of(json_str(v, "charsmap"));
        int32_t *types = mem_calloc(spec.n_vocab, sizeof(*types));
        float *scores = mem_calloc(spec.n_vocab, sizeof(*scores));
        list = json_get(v, "scores");
        for (size_t i = 0; i < spec.n_vocab; i++) {
                types[i] = (int32_t)json_integer_value(json_array_get(json_get(from, "types"), i));
                scores[i] = (float)json_number_value(json_array_get(list, i));
        }
        spec.tokens = tokens;
        spec.merges = merges;
        spec.types = types;
        spec.scores = scores;
        spec.charsmap = map;
        struct tokenizer *t = NULL;
        char err[200] = "";
        if (tokenizer_new(&spec, &t, err, sizeof(err)))
                fail_msg("%s: %s", json_cstr(v, "name", "?"), err);
        mem_free(tokens);
        mem_free(merges);
        mem_free(types);
        mem_free(scores);
        mem_free((void *)map.p);
        return t;
}

static bool as_expected(const json_t *v, size_t line, const struct tok_ids *ids)
{
        const json_t *whole = json_get(v, "whole");
        size_t n = json_array_size(whole);
        const json_t *want =
                line < n ? json_array_get(whole, line) : json_array_get(json_get(v, "crc"), line - n);
        if (json_is_null(want))
                return true;
        if (line >= n)
                return crc32_of(ids->p, ids->n) == (uint32_t)json_integer_value(want);
        if (json_array_size(want) != ids->n)
                return false;
        for (size_t i = 0; i < ids->n; i++)
                if (json_integer_value(json_array_get(want, i)) != ids->p[i])
                        return false;
        return true;
}

static void show(const struct tokenizer *t, struct str line, const struct tok_ids *ids)
{
        print_message("  '%.*s' became", STR_ARG(line));
        for (size_t i = 0; i < ids->n; i++)
                print_message(" %d[%.*s]", ids->p[i], STR_ARG(tokenizer_piece(t, ids->p[i])));
        print_message("\n");
}

static size_t count_wrong(const json_t *v)
{
        const json_t *lines = json_get(file, "lines");
        struct tokenizer *t = open_vocabulary(v);
        struct tok_ids ids = { 0 };
        size_t wrong = 0;
        for (size_t i = 0; i < json_array_size(lines); i++) {
                struct str line = json_as_str(json_array_get(lines, i));
                ids.n = 0;
                assert_int_equal(tokenizer_encode(t, line, 0, &ids), 0);
                if (!as_expected(v, i, &ids) && wrong++ < 3)
                        show(t, line, &ids);
        }
        tok_ids_release(&ids);
        tokenizer_free(t);
        return wrong;
}

static void ids_are_those_of_the_libraries(void **state)
{
        (void)state;
        const json_t *list = json_get(file, "vocabularies");
        size_t wrong = 0;
        assert_true(json_array_size(list) > 20);
        for (size_t i = 0; i < json_array_size(list); i++) {
                const json_t *v = json_array_get(list, i);
                size_t n = count_wrong(v);
                print_message("%-16s %zu lines differ\n", json_cstr(v, "name", "?"), n);
                wrong += n;
        }
        assert_int_equal(wrong, 0);
}

/* Text of a megabyte without a space is one word to some kinds: none may take quadratic time. */
static void a_megabyte_is_quick(void **state)
{
        (void)state;
        static const char *const names[] = { "llama-bpe", "deepseek-llm", "spm", "unigram", "wordpiece" };
        const json_t *list = json_get(file, "vocabularies");
        size_t n = 1 << 20, done = 0;
        char *text = mem_alloc(n);
        assert_non_null(text);
        for (size_t i = 0; i < n; i++)
                text[i] = "thequickbrownfox"[(i * 7 + i / 31) % 16];
        for (size_t i = 0; i < json_array_size(list); i++) {
                const json_t *v = json_array_get(list, i);
                for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++) {
                        if (strcmp(json_cstr(v, "name", ""), names[k]))
                                continue;
                        struct tokenizer *t = open_vocabulary(v);
                        struct tok_ids ids = { 0 };
                        int64_t begin = clock_mono_ms();
                        assert_int_equal(tokenizer_encode(t, (struct str){ text, n }, 0, &ids), 0);
                        int64_t took = clock_mono_ms() - begin;
                        print_message("%-16s %zu tokens in %lld ms\n", names[k], ids.n, (long long)took);
                        assert_true(took < 60000); /* also under a sanitizer; a square would be hours */
                        tok_ids_release(&ids);
                        tokenizer_free(t);
                        done++;
                }
        }
        assert_int_equal(done, sizeof(names) / sizeof(names[0]));
        mem_free(text);
}

/* What text becomes comes back, up to what normalisation changes: nothing where there is none. */
static void texts_come_back(void **state)
{
        (void)state;
        const json_t *list = json_get(file, "vocabularies"), *lines = json_get(file, "lines");
        for (size_t i = 0; i < json_array_size(list); i++) {
                const json_t *v = json_array_get(list, i);
                bool whole =
                        !strcmp(json_cstr(v, "kind", ""), "bpe") || !strcmp(json_cstr(v, "name", ""), "spm");
                struct tokenizer *t = whole ? open_vocabulary(v) : NULL;
                for (size_t k = 12; t && k < json_array_size(lines); k++) {
                        struct str line = json_as_str(json_array_get(lines, k));
                        struct tok_ids ids = { 0 };
                        struct buf back;
                        buf_init(&back, 1 << 16);
                        assert_int_equal(tokenizer_encode(t, line, 0, &ids), 0);
                        for (size_t j = 0; j < ids.n; j++)
                                buf_add(&back, tokenizer_piece(t, ids.p[j]).p,
                                        tokenizer_piece(t, ids.p[j]).n);
                        if (tokenizer_adds_space(t) && back.n)
                                buf_consume(&back, 1);
                        assert_true(str_eq(buf_str(&back), line));
                        buf_release(&back);
                        tok_ids_release(&ids);
                }
                tokenizer_free(t);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(ids_are_those_of_the_libraries),
                cmocka_unit_test(a_megabyte_is_quick),
                cmocka_unit_test(texts_come_back),
        };
        return cmocka_run_group_tests(tests, setup, teardown);
}
