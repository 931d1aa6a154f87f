/* What a Range header selects, and how names of files are told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "api/content.h"

#define SIZE 100

static void ranges(void **state)
{
        static const struct {
                const char *text;
                int found;
                uint64_t from, to;
        } cases[] = {
                { "", 0, 0, SIZE },
                { "bytes=0-", 1, 0, SIZE },
                { "bytes=0-0", 1, 0, 1 },
                { "bytes=10-19", 1, 10, 20 },
                { "BYTES=10-19", 1, 10, 20 },
                { "bytes= 10 - 19 ", 1, 10, 20 },
                { "bytes=99-", 1, 99, SIZE },
                { "bytes=99-99", 1, 99, SIZE },
                { "bytes=50-1000", 1, 50, SIZE },
                { "bytes=-1", 1, 99, SIZE },
                { "bytes=-1000", 1, 0, SIZE },
                { "bytes=-0", -1, 0, 0 },
                { "bytes=100-", -1, 0, 0 },
                { "bytes=100-200", -1, 0, 0 },
                { "bytes=0-1,5-6", 0, 0, SIZE },
                { "bytes=19-10", 0, 0, SIZE },
                { "bytes=-", 0, 0, SIZE },
                { "bytes=a-b", 0, 0, SIZE },
                { "bytes=1", 0, 0, SIZE },
                { "bytes=--1", 0, 0, SIZE },
                { "bytes=18446744073709551616-", -1, 0, 0 },
                { "bytes=99999999999999999999-", -1, 0, 0 },
                { "bytes=9223372036854775808-", -1, 0, 0 },
                { "bytes=0-9223372036854775808", 1, 0, SIZE },
                { "bytes=5-99999999999999999999999", 1, 5, SIZE },
                { "bytes=-99999999999999999999999", 1, 0, SIZE },
                { "bytes=+5-10", 0, 0, SIZE },
                { "lines=1-2", 0, 0, SIZE },
        };
        (void)state;
        for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
                uint64_t from, to;
                int found = content_range(str_c(cases[i].text), SIZE, &from, &to);
                if (found != cases[i].found)
                        fail_msg("'%s' gives %d", cases[i].text, found);
                if (found >= 0 && (from != cases[i].from || to != cases[i].to))
                        fail_msg("'%s' selects %llu to %llu", cases[i].text, (unsigned long long)from,
                                 (unsigned long long)to);
        }
        uint64_t from, to;
        assert_int_equal(content_range(str_c("bytes=0-"), 0, &from, &to), -1);
        assert_int_equal(content_range(str_c("bytes=-5"), 0, &from, &to), -1);
}

static void names(void **state)
{
        struct buf out;
        (void)state;
        buf_init(&out, 1000);
        content_disposition(&out, "a b.txt");
        assert_string_equal(out.p, "attachment; filename=\"a b.txt\"; filename*=UTF-8''a%20b.txt");
        buf_clear(&out);
        content_disposition(&out, "\xc3\xbc\"\\%\r\n");
        assert_string_equal(out.p,
                            "attachment; filename=\"_______\"; filename*=UTF-8''%C3%BC%22%5C%25%0D%0A");
        buf_release(&out);
}

int main(void)
{
        const struct CMUnitTest tests[] = { cmocka_unit_test(ranges), cmocka_unit_test(names) };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
