/* The reader on good files, and on every way we could think of to break one. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "base/buf.h"
#include "base/mem.h"
#include "base/rand.h"
#include "engine/gguf.h"
#include "kernels/kernels.h"

/* ---- files in memory ---------------------------------------------------------------------------- */

static void put(struct buf *b, uint64_t v, size_t bytes)
{
        buf_add(b, &v, bytes);
}

static void put_str(struct buf *b, const char *s)
{
        put(b, strlen(s), 8);
        buf_adds(b, s);
}

static void put_head(struct buf *b, uint32_t version, uint64_t tensors, uint64_t keys)
{
        buf_init(b, 1 << 20);
        buf_adds(b, "GGUF");
        put(b, version, 4);
        put(b, tensors, 8);
        put(b, keys, 8);
}

static void put_u32_key(struct buf *b, const char *key, uint32_t v)
{
        put_str(b, key);
        put(b, 4, 4);
        put(b, v, 4);
}

struct shape {
        const char *name;
        uint32_t n_dims, type;
        uint64_t dims[5], offset;
};

static void put_tensor(struct buf *b, const struct shape *t)
{
        put_str(b, t->name);
        put(b, t->n_dims, 4);
        for (uint32_t i = 0; i < t->n_dims && i < 5; i++)
                put(b, t->dims[i], 8);
        put(b, t->type, 4);
        put(b, t->offset, 8);
}

/* Parses an aligned copy (gguf_parse asks for that) that ends right at its last byte, for ASan. */
static int parse(const void *p, size_t n, struct gguf **ret, char *err)
{
        static void *copy;
        mem_free(copy);
        copy = mem_alloc(n ? n : 1);
        if (n)
                memcpy(copy, p, n);
        *ret = NULL;
        err[0] = 0;
        return gguf_parse(copy, n, ret, err, 200);
}

static void expect_error(struct buf *b, const char *message)
{
        char err[200];
        struct gguf *g;
        assert_int_equal(buf_error(b), 0);
        assert_int_equal(parse(b->p, b->n, &g, err), -EINVAL);
        if (!strstr(err, message))
                fail_msg("\"%s\" does not say \"%s\"", err, message);
        buf_release(b);
}

/* One tensor, then `bytes` of data. */
static void one_tensor(struct buf *b, const struct shape *t, size_t bytes)
{
        put_head(b, 3, 1, 0);
        put_tensor(b, t);
        while (b->n % 32)
                buf_addc(b, 0);
        for (size_t i = 0; i < bytes; i++)
                buf_addc(b, (char)i);
}

/* ---- tests -------------------------------------------------------------------------------------- */

static void test_values(void **state)
{
        (void)state;
        struct buf b;
        struct gguf *g;
        char err[200];
        uint64_t u = 0;
        double d = 0;
        bool flag = false;
        struct str s, *list;
        int32_t *ints;
        size_t n;
        put_head(&b, 2, 0, 9);
        put_u32_key(&b, "u32", 7);
        put_str(&b, "i8"), put(&b, 1, 4), put(&b, 0xff, 1);
        put_str(&b, "u64"), put(&b, 10, 4), put(&b, UINT64_MAX, 8);
        put_str(&b, "f32"), put(&b, 6, 4), put(&b, 0x3fc00000, 4);
        put_str(&b, "bool"), put(&b, 7, 4), put(&b, 1, 1);
        put_str(&b, "odd bool"), put(&b, 7, 4), put(&b, 2, 1);
        put_str(&b, "str"), put(&b, 8, 4), put_str(&b, "hello");
        put_str(&b, "strs"), put(&b, 9, 4), put(&b, 8, 4), put(&b, 2, 8), put_str(&b, "a"), put_str(&b, "");
        put_str(&b, "i16s"), put(&b, 9, 4), put(&b, 3, 4), put(&b, 2, 8), put(&b, 0xfffe, 2), put(&b, 5, 2);
        assert_int_equal(parse(b.p, b.n, &g, err), 0);
        assert_int_equal(gguf_get_u64(g, "u32", &u), 0);
        assert_int_equal(u, 7);
        assert_int_equal(gguf_get_u64(g, "i8", &u), -EINVAL);  /* negative */
        assert_int_equal(gguf_get_u64(g, "u64", &u), -EINVAL); /* beyond int64 */
        assert_int_equal(gguf_get_u64(g, "str", &u), -EINVAL);
        assert_int_equal(gguf_get_u64(g, "strs", &u), -EINVAL);
        assert_int_equal(gguf_get_u64(g, "none", &u), -ENOENT);
        assert_int_equal(gguf_get_f64(g, "f32", &d), 0);
        assert_float_equal(d, 1.5, 0);
        assert_int_equal(gguf_get_f64(g, "u32", &d), -EINVAL);
        assert_int_equal(gguf_get_bool(g, "bool", &flag), 0);
        assert_true(flag);
        assert_int_equal(gguf_get_bool(g, "odd bool", &flag), -EINVAL);
        assert_int_equal(gguf_get_str(g, "str", &s), 0);
        assert_true(str_eqc(s, "hello"));
        assert_int_equal(gguf_get_strs(g, "strs", &list, &n), 0);
        assert_int_equal(n, 2);
        assert_true(str_eqc(list[0], "a") && list[1].n == 0);
        mem_free(list);
        assert_int_equal(gguf_get_strs(g, "i16s", &list, &n), -EINVAL);
        assert_int_equal(gguf_get_i32s(g, "i16s", &ints, &n), 0);
        assert_true(n == 2 && ints[0] == -2 && ints[1] == 5);
        mem_free(ints);
        assert_int_equal(gguf_get_i32s(g, "strs", &ints, &n), -EINVAL);
        gguf_close(g);
        buf_release(&b);
}

static void test_tensor(void **state)
{
        (void)state;
        struct buf b;
        struct gguf *g;
        char err[200];
        one_tensor(&b, &(struct shape){ "w", 2, 8, { 64, 3 }, 32 }, 32 + 3 * 68);
        assert_int_equal(parse(b.p, b.n, &g, err), 0);
        const struct gguf_tensor *t = gguf_tensor_find(g, "w");
        assert_int_equal(gguf_tensor_count(g), 1);
        assert_ptr_equal(gguf_tensor_at(g, 0), t);
        assert_null(gguf_tensor_at(g, 1));
        assert_null(gguf_tensor_find(g, "v"));
        assert_string_equal(t->type->name, "Q8_0");
        assert_true(t->n_dims == 2 && t->ne[0] == 64 && t->ne[1] == 3 && t->ne[2] == 1);
        assert_int_equal(t->bytes, 204);
        assert_int_equal(*(const uint8_t *)t->data, 32);
        gguf_close(g);
        buf_release(&b);
}

static void test_bad_headers(void **state)
{
        (void)state;
        struct buf b;
        buf_init(&b, 10);
        expect_error(&b, "not a GGUF file");
        buf_init(&b, 10);
        buf_adds(&b, "GGML");
        expect_error(&b, "not a GGUF file");
        buf_init(&b, 10);
        buf_adds(&b, "GGUF");
        expect_error(&b, "ends inside the header");
        put_head(&b, 1, 0, 0);
        expect_error(&b, "version 1");
        put_head(&b, 0x03000000, 0, 0);
        expect_error(&b, "big endian");
        put_head(&b, 3, UINT64_MAX, 0);
        expect_error(&b, "tensors");
        put_head(&b, 3, 0, UINT64_MAX);
        expect_error(&b, "metadata keys");
        put_head(&b, 3, 0, 1);
        expect_error(&b, "metadata keys"); /* no room for one */
}

static void test_bad_metadata(void **state)
{
        (void)state;
        struct buf b;
        put_head(&b, 3, 0, 2);
        put_u32_key(&b, "twice", 1);
        put_u32_key(&b, "twice", 1);
        expect_error(&b, "twice appears twice");
        put_head(&b, 3, 0, 1);
        put(&b, UINT64_MAX - 3, 8);
        buf_adds(&b, "xxxxxxxxxxxxxxxx");
        expect_error(&b, "ends inside a metadata key");
        put_head(&b, 3, 0, 1);
        put_u32_key(&b, "", 1);
        expect_error(&b, "key of 0 bytes");
        put_head(&b, 3, 0, 1);
        put_str(&b, "odd\x01"), put(&b, 13, 4), put(&b, 0, 8);
        expect_error(&b, "odd? has the unknown type 13");
        put_head(&b, 3, 0, 1);
        put_str(&b, "deep"), put(&b, 9, 4), put(&b, 9, 4), put(&b, 1, 8);
        expect_error(&b, "array of arrays");
        put_head(&b, 3, 0, 1);
        put_str(&b, "huge"), put(&b, 9, 4), put(&b, 10, 4), put(&b, UINT64_MAX / 8 + 2, 8);
        expect_error(&b, "huge has");
        put_head(&b, 3, 0, 1);
        put_str(&b, "many"), put(&b, 9, 4), put(&b, 8, 4), put(&b, 1u << 31, 8), put(&b, 0, 8);
        expect_error(&b, "many has");
        put_head(&b, 3, 0, 1);
        put_str(&b, "text"), put(&b, 8, 4), put(&b, 100, 8);
        expect_error(&b, "a string of the metadata");
        for (uint32_t align = 0; align < 8; align++) {
                put_head(&b, 3, 0, 1);
                put_u32_key(&b, "general.alignment", align * 3);
                expect_error(&b, "general.alignment");
        }
}

static void test_bad_tensors(void **state)
{
        (void)state;
        const struct {
                struct shape t;
                const char *message;
        } cases[] = {
                { { "w", 0, 0, { 0 }, 0 }, "0 dimensions" },
                { { "w", 5, 0, { 1, 1, 1, 1, 1 }, 0 }, "5 dimensions" },
                { { "w", 2, 0, { 4, 0 }, 0 }, "impossible shape" },
                { { "w", 2, 0, { 1ull << 40, 1ull << 40 }, 0 }, "impossible shape" },
                { { "w", 3, 0, { 1ull << 30, 1ull << 30, 8 }, 0 }, "impossible shape" },
                { { "w", 1, 77, { 4 }, 0 }, "type 77" },
                { { "w", 1, 8, { 33 }, 0 }, "32 of a Q8_0 block" },
                { { "w", 1, 0, { 4 }, 8 }, "not aligned" },
                { { "w", 1, 0, { 17 }, 0 }, "beyond the end" },
                { { "w", 1, 0, { 4 }, 64 }, "beyond the end" },
                { { "w", 1, 0, { 4 }, UINT64_MAX - 31 }, "beyond the end" },
                { { "", 1, 0, { 4 }, 0 }, "name of 0 bytes" },
        };
        struct buf b;
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                one_tensor(&b, &cases[i].t, 64);
                expect_error(&b, cases[i].message);
        }
        put_head(&b, 3, 2, 0);
        for (int i = 0; i < 2; i++)
                put_tensor(&b, &(struct shape){ "same", 1, 0, { 1 }, 0 });
        while (b.n % 32 || b.n < 200)
                buf_addc(&b, 0);
        expect_error(&b, "same appears twice");
}

static void test_files(void **state)
{
        (void)state;
        struct gguf *g = NULL;
        char err[200];
        assert_int_equal(gguf_open("tests/vectors", &g, err, sizeof(err)), -EISDIR);
        assert_int_equal(gguf_open("tests/none.gguf", &g, err, sizeof(err)), -ENOENT);
        assert_int_equal(gguf_open("/dev/null", &g, err, sizeof(err)), -EINVAL);
        assert_null(g);
        assert_int_equal(gguf_open("tests/vectors/bf16-gqa.gguf", &g, err, sizeof(err)), 0);
        assert_string_equal(gguf_tensor_find(g, "output.weight")->type->name, "BF16");
        assert_true(gguf_file_bytes(g) > 90000);
        gguf_close(g);
        gguf_close(NULL);
}

/* Everything the reader hands out lies inside the file: ASan sees to it. */
static void use(struct gguf *g)
{
        volatile uint64_t sum = 0;
        for (size_t i = 0; i < gguf_tensor_count(g); i++) {
                const struct gguf_tensor *t = gguf_tensor_at(g, i);
                sum += ((const uint8_t *)t->data)[0] + ((const uint8_t *)t->data)[t->bytes - 1];
        }
        struct str *list;
        size_t n;
        if (!gguf_get_strs(g, "tokenizer.ggml.tokens", &list, &n)) {
                for (size_t i = 0; i < n; i++)
                        sum += list[i].n ? (uint8_t)list[i].p[list[i].n - 1] : 0;
                mem_free(list);
        }
        gguf_close(g);
}

/* A whole model file cut at every length, and with random bytes of its header changed. */
static void test_damage(void **state)
{
        (void)state;
        static char file[1 << 18];
        struct gguf *g;
        char err[200];
        FILE *f = fopen("tests/vectors/q8-mha.gguf", "r");
        assert_non_null(f);
        size_t n = fread(file, 1, sizeof(file), f), header = 12000;
        fclose(f);
        for (size_t cut = 0; cut < n; cut += cut < header ? 7 : 4099)
                assert_int_equal(parse(file, cut, &g, err), -EINVAL);
        struct rng rng;
        rng_seed(&rng, 4);
        for (int round = 0; round < 3000; round++) {
                size_t at = rng_below(&rng, header), k = 1 + rng_below(&rng, 4);
                char kept[4];
                memcpy(kept, file + at, sizeof(kept));
                for (size_t i = 0; i < k; i++)
                        file[at + i] = (char)(rng_below(&rng, 3) ? rng_next(&rng) : 0xff);
                int rc = parse(file, n, &g, err);
                assert_true(rc == 0 || (rc == -EINVAL && err[0]));
                if (!rc)
                        use(g);
                memcpy(file + at, kept, sizeof(kept));
        }
        assert_int_equal(parse(file, n, &g, err), 0);
        use(g);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_values),      cmocka_unit_test(test_tensor),
                cmocka_unit_test(test_bad_headers), cmocka_unit_test(test_bad_metadata),
                cmocka_unit_test(test_bad_tensors), cmocka_unit_test(test_files),
                cmocka_unit_test(test_damage),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
