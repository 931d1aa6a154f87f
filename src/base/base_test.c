/* Unit tests of the small containers: str, buf, arena, map, json, rand, ids. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/ids.h"
#include "base/json.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/str.h"

static void test_str_numbers(void **state)
{
        (void)state;
        int64_t i;
        double d;
        assert_true(str_to_i64(STR("-9223372036854775808"), &i) && i == INT64_MIN);
        assert_false(str_to_i64(STR("9223372036854775808"), &i));
        assert_false(str_to_i64(STR("12x"), &i));
        assert_false(str_to_i64(STR(""), &i));
        assert_false(str_to_i64(STR("-"), &i));
        assert_true(str_to_f64(STR("0.5"), &d) && d == 0.5);
        assert_false(str_to_f64(STR("nan"), &d));
        assert_false(str_to_f64(STR("0x10"), &d));
        assert_false(str_to_f64(STR("1e999"), &d));
}

static void test_str_split_and_trim(void **state)
{
        (void)state;
        struct str rest, head = str_split(STR("a=b=c"), '=', &rest);
        assert_true(str_eqc(head, "a") && str_eqc(rest, "b=c"));
        head = str_split(STR("plain"), '=', &rest);
        assert_true(str_eqc(head, "plain") && rest.p == NULL);
        assert_true(str_eqc(str_trim(STR(" \tx y ")), "x y"));
        assert_true(str_ieqc(STR("Content-TYPE"), "content-type"));
}

static void test_str_hex(void **state)
{
        char out[2 * 5 + 2] = "???????????";
        (void)state;
        assert_string_equal(str_hex("\x00\x7f\x80\xa9\xff", 5, out), "007f80a9ff");
        assert_string_equal(str_hex("", 0, out), "");
}

static void test_utf8(void **state)
{
        (void)state;
        assert_true(str_is_utf8(STR("h\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80")));
        assert_false(str_is_utf8(STR("\xc0\xaf")));         /* overlong */
        assert_false(str_is_utf8(STR("\xed\xa0\x80")));     /* surrogate */
        assert_false(str_is_utf8(STR("\xf4\x90\x80\x80"))); /* above U+10FFFF */
        assert_false(str_is_utf8(STR("\xe2\x82")));         /* cut */
        assert_int_equal(str_utf8_complete(STR("ab\xe2\x82")), 2);
        assert_int_equal(str_utf8_complete(STR("ab\xe2\x82\xac")), 5);
        assert_int_equal(str_utf8_complete(STR("\xf0\x9f\x98")), 0);
}

static void test_buf_bounds(void **state)
{
        (void)state;
        struct buf b;
        buf_init(&b, 10);
        buf_addf(&b, "%d-%s", 42, "ab");
        assert_string_equal(b.p, "42-ab");
        buf_adds(&b, "123456");
        assert_int_equal(buf_error(&b), -EFBIG);
        buf_adds(&b, "x");
        assert_int_equal(b.n, 5); /* the error is sticky */
        buf_clear(&b);
        buf_adds(&b, "0123456789");
        assert_int_equal(buf_error(&b), 0);
        buf_consume(&b, 7);
        assert_string_equal(b.p, "789");
        buf_adds(&b, "too much for it");
        assert_int_equal(buf_error(&b), -EFBIG);
        buf_cut(&b, 1);
        assert_int_equal(buf_error(&b), 0);
        assert_string_equal(b.p, "7");
        buf_release(&b);
}

static int released[3], released_n;

static void note_release(void *p)
{
        released[released_n++] = *(int *)p;
}

static void test_arena(void **state)
{
        (void)state;
        struct arena *a = arena_new(100000);
        int one = 1, two = 2;
        released_n = 0;
        assert_int_equal(arena_defer(a, note_release, &one), 0);
        assert_int_equal(arena_defer(a, note_release, &two), 0);
        for (int i = 0; i < 100; i++) {
                char *p = arena_alloc(a, 500);
                assert_non_null(p);
                assert_int_equal((uintptr_t)p % 16, 0);
                assert_int_equal(p[499], 0);
                memset(p, 0xff, 500);
        }
        assert_null(arena_alloc(a, 60000)); /* over the maximum */
        assert_null(arena_array(a, uint64_t, SIZE_MAX / 4));
        arena_reset(a);
        assert_int_equal(released_n, 2);
        assert_int_equal(released[0], 2); /* reverse order */
        assert_string_equal(arena_printf(a, "%s-%d", "x", 7), "x-7");
        arena_free(a);
}

static void test_map(void **state)
{
        (void)state;
        struct map m;
        map_init(&m);
        char key[16];
        for (intptr_t i = 1; i <= 1000; i++) {
                int n = snprintf(key, sizeof(key), "k%ld", (long)i);
                assert_int_equal(map_put(&m, (struct str){ key, (size_t)n }, (void *)i, NULL), 0);
        }
        for (intptr_t i = 1; i <= 1000; i += 2) {
                int n = snprintf(key, sizeof(key), "k%ld", (long)i);
                assert_ptr_equal(map_remove(&m, (struct str){ key, (size_t)n }), (void *)i);
        }
        assert_int_equal(m.n, 500);
        assert_null(map_get(&m, STR("k1")));
        assert_ptr_equal(map_get(&m, STR("k1000")), (void *)1000);
        size_t it = 0, seen = 0;
        struct str k;
        void *v;
        while (map_next(&m, &it, &k, &v))
                seen++;
        assert_int_equal(seen, 500);
        for (intptr_t i = 0; i < 5000; i++) { /* tombstones are reclaimed */
                assert_int_equal(map_put(&m, STR("again"), (void *)1, NULL), 0);
                assert_ptr_equal(map_remove(&m, STR("again")), (void *)1);
        }
        map_release(&m, NULL);
}

static void test_json_refusals(void **state)
{
        (void)state;
        struct json_fault e;
        const char *bad[] = {
                "{\"a\":1,\"a\":2}", "[1,]", "{\"a\":NaN}", "\"\xff\"", "[9223372036854775808]", "[[[[1]]]]",
                "{} trailing",       "",     "\"\\ud800\""
        };
        for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
                assert_null(json_parse(str_c(bad[i]), 3, &e));
                assert_true(e.msg[0] != '\0');
        }
        assert_int_equal(json_values(STR("7")), 1);
        assert_int_equal(json_values(STR("[1,{\"a\":2,\"b\":\"x,[{\\\",\"},3]")), 6);
        json_t *v = json_parse(STR("{\"s\":\"a\\u0000b\",\"n\":0.7,\"deep\":\"[[[[[[\"}"), 1, &e);
        assert_non_null(v);
        assert_int_equal(json_str(v, "s").n, 3);
        size_t n;
        char *text = json_text(v, &n);
        assert_string_equal(text, "{\"s\":\"a\\u0000b\",\"n\":0.7,\"deep\":\"[[[[[[\"}");
        mem_free(text);
        json_decref(v);
}

static void test_json_lookups(void **state)
{
        (void)state;
        struct json_fault e;
        json_t *v = json_parse(STR("{\"i\":3,\"f\":1.5,\"t\":true,\"z\":null,\"s\":\"x\"}"), 4, &e);
        assert_int_equal(json_int(v, "i", 0), 3);
        assert_int_equal(json_int(v, "f", 7), 7);
        assert_true(json_num(v, "i", 0) == 3.0);
        assert_true(json_flag(v, "t", false));
        assert_null(json_get(v, "z"));
        assert_string_equal(json_cstr(v, "z", "none"), "none");
        assert_int_equal(json_put(v, "new", NULL), -ENOMEM);
        json_decref(v);
}

static void test_json_arena_text(void **state)
{
        struct arena *a = arena_new(1000); /* which the text does not fill */
        char long_word[2000];
        (void)state;
        memset(long_word, 'x', sizeof(long_word));
        json_t *v = json_pack("[s%]", long_word, sizeof(long_word));
        struct str text = json_arena_text(a, v);
        json_decref(v);
        assert_int_equal(text.n, sizeof(long_word) + 4);
        assert_int_equal(text.p[text.n], '\0');
        assert_true(str_starts(text, "[\"xxx"));
        assert_null(json_arena_text(a, NULL).p);
        arena_free(a);
}

static void test_rng_is_reproducible(void **state)
{
        (void)state;
        struct rng a, b;
        rng_seed(&a, 7);
        rng_seed(&b, 7);
        double sum = 0;
        for (int i = 0; i < 10000; i++) {
                double u = rng_unit(&a);
                assert_true(u >= 0 && u < 1 && u == rng_unit(&b));
                assert_true(rng_below(&a, 10) < 10 && rng_below(&b, 10) < 10);
                sum += u;
        }
        assert_true(sum > 4800 && sum < 5200);
}

static void test_ids(void **state)
{
        (void)state;
        char a[ID_MAX], b[ID_MAX];
        assert_int_equal(strlen(id_hex(a, "resp_", 48)), 53);
        assert_int_equal(strncmp(a, "resp_", 5), 0);
        assert_int_equal(strspn(a + 5, "0123456789abcdef"), 48);
        assert_string_not_equal(id_alnum(a, "chatcmpl-", 29), id_alnum(b, "chatcmpl-", 29));
        assert_int_equal(strlen(id_alnum(a, "x", 500)), ID_MAX - 1);
}

#ifdef CAIRN_FAULTS
static void test_injected_failures(void **state)
{
        (void)state;
        for (long nth = 1;; nth++) {
                mem_fail_nth(nth);
                struct buf b;
                buf_init(&b, 1 << 20);
                for (int i = 0; i < 100; i++)
                        buf_adds(&b, "some words that make it grow ");
                int rc = buf_error(&b);
                buf_release(&b);
                if (rc == 0)
                        break;
                assert_int_equal(rc, -ENOMEM);
        }
        mem_fail_nth(0);
}
#endif

int main(void)
{
        json_setup();
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_str_numbers),
                cmocka_unit_test(test_str_split_and_trim),
                cmocka_unit_test(test_str_hex),
                cmocka_unit_test(test_utf8),
                cmocka_unit_test(test_buf_bounds),
                cmocka_unit_test(test_arena),
                cmocka_unit_test(test_map),
                cmocka_unit_test(test_json_refusals),
                cmocka_unit_test(test_json_lookups),
                cmocka_unit_test(test_json_arena_text),
                cmocka_unit_test(test_rng_is_reproducible),
                cmocka_unit_test(test_ids),
#ifdef CAIRN_FAULTS
                cmocka_unit_test(test_injected_failures),
#endif
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
