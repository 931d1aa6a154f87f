#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "cli/suggest.h"

static const char *const words[] = { "serve", "chat", "keys", "models", "coverage" };
#define N (sizeof(words) / sizeof(*words))

static void distances(void **state)
{
        (void)state;
        assert_int_equal(suggest_distance("", ""), 0);
        assert_int_equal(suggest_distance("", "abc"), 3);
        assert_int_equal(suggest_distance("abc", ""), 3);
        assert_int_equal(suggest_distance("same", "same"), 0);
        assert_int_equal(suggest_distance("kitten", "sitting"), 3);
        assert_int_equal(suggest_distance("caht", "chat"), 1); /* neighbours exchanged */
        assert_int_equal(suggest_distance("ca", "abc"), 3);    /* optimal string alignment, not 2 */
}

static void long_words_are_far(void **state)
{
        static const char a[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
        (void)state;
        assert_int_equal(suggest_distance(a, "a"), sizeof(a) - 1);
        assert_null(suggest_nearest(a, words, N));
}

static void nearest(void **state)
{
        (void)state;
        assert_string_equal(suggest_nearest("server", words, N), "serve");
        assert_string_equal(suggest_nearest("caht", words, N), "chat");
        assert_string_equal(suggest_nearest("model", words, N), "models");
        assert_string_equal(suggest_nearest("cov", words, N), "coverage");
        assert_string_equal(suggest_nearest("kesy", words, N), "keys");
        assert_null(suggest_nearest("xyzzy", words, N));
        assert_null(suggest_nearest("c", words, N));
        assert_null(suggest_nearest("", words, N));
        assert_null(suggest_nearest("serve", words, 0));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(distances),
                cmocka_unit_test(long_words_are_far),
                cmocka_unit_test(nearest),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
