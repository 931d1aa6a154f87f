/* docs/configuration.md lists every option as the table has it. Runs from the root of the source tree. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/buf.h"
#include "cli/config_internal.h"

#define DOCUMENT "docs/configuration.md"
#define DOCUMENT_MAX (1 << 20)

static void read_document(struct buf *text)
{
        FILE *f = fopen(DOCUMENT, "r");
        char block[4096];
        size_t n;
        assert_non_null(f);
        buf_init(text, DOCUMENT_MAX);
        while ((n = fread(block, 1, sizeof(block), f)) > 0)
                buf_add(text, block, n);
        fclose(f);
        assert_int_equal(buf_error(text), 0);
}

/* "reject|ignore" as a cell of a table writes it. */
static void add_escaped(struct buf *row, const char *text)
{
        for (; *text; text++)
                buf_addf(row, *text == '|' ? "\\%c" : "%c", *text);
}

static void every_option_is_documented(void **state)
{
        struct buf document, row;
        const struct option *o;
        (void)state;
        read_document(&document);
        for (size_t i = 0; (o = option_at(i)); i++) {
                buf_init(&row, 1024);
                buf_addf(&row, "\n| `%s` | ", o->name);
                if (o->flag) {
                        buf_addf(&row, "`--%s ", o->flag);
                        add_escaped(&row, o->meta);
                        buf_adds(&row, "`");
                } else {
                        buf_adds(&row, "none");
                }
                buf_addf(&row, " | `%s` | ", o->env);
                if (o->dflt)
                        buf_addf(&row, "`%s` | ", o->dflt);
                else
                        buf_adds(&row, "| ");
                if (!strstr(document.p, row.p))
                        fail_msg(DOCUMENT " lacks the row:%s", row.p);
                buf_release(&row);
        }
        buf_release(&document);
}

int main(void)
{
        const struct CMUnitTest tests[] = { cmocka_unit_test(every_option_is_documented) };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
