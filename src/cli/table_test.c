#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include "cli/table.h"

static void prints(struct table *t, const char *expected)
{
        char *text = NULL;
        size_t n;
        FILE *out = open_memstream(&text, &n);
        assert_int_equal(table_print(t, out), 0);
        fclose(out);
        assert_string_equal(text, expected);
        free(text);
        table_release(t);
}

static void columns_are_aligned(void **state)
{
        struct table t;
        (void)state;
        table_init(&t, 3);
        table_cell(&t, "NAME");
        table_cell(&t, "SIZE");
        table_cell(&t, "NOTE");
        table_cell(&t, "longer than that");
        table_cellf(&t, "%d", 7);
        table_cell(&t, NULL);
        table_cell(&t, "half a row is not printed");
        prints(&t, "NAME              SIZE  NOTE\nlonger than that  7\n");
}

static void characters_count_not_bytes(void **state)
{
        struct table t;
        (void)state;
        table_init(&t, 2);
        table_cell(&t, "\xc3\xa9t\xc3\xa9");
        table_cell(&t, "x");
        table_cell(&t, "abcd");
        table_cell(&t, "y");
        prints(&t, "\xc3\xa9t\xc3\xa9   x\nabcd  y\n");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(columns_are_aligned),
                cmocka_unit_test(characters_count_not_bytes),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
