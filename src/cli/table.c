#include "cli/table.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include "base/buf.h"
#include "base/mem.h"

#define CELL_MAX 8192

void table_init(struct table *t, size_t columns)
{
        memset(t, 0, sizeof(*t));
        t->columns = columns;
}

void table_release(struct table *t)
{
        for (size_t i = 0; i < t->cells.n; i++)
                mem_free(t->cells.p[i]);
        vec_release(&t->cells);
}

/* Takes the cell over. */
static void push(struct table *t, char *cell)
{
        if (cell && vec_push(&t->cells, cell) == 0)
                return;
        mem_free(cell);
        t->err = -ENOMEM;
}

void table_cell(struct table *t, const char *text)
{
        push(t, mem_strdup(text ? text : ""));
}

void table_cellf(struct table *t, const char *fmt, ...)
{
        struct buf text;
        va_list ap;
        buf_init(&text, CELL_MAX);
        va_start(ap, fmt);
        buf_addv(&text, fmt, ap);
        va_end(ap);
        push(t, buf_take(&text, NULL));
        buf_release(&text);
}

/* Characters, not bytes: what continues a UTF-8 sequence takes no column. */
static size_t width(const char *text)
{
        size_t n = 0;
        for (; *text; text++)
                n += ((unsigned char)*text & 0xC0) != 0x80;
        return n;
}

int table_print(const struct table *t, FILE *out)
{
        size_t widest[TABLE_COLUMNS] = { 0 }, rows = t->cells.n / t->columns;
        for (size_t i = 0; i < rows * t->columns; i++) {
                size_t w = width(t->cells.p[i]), *column = &widest[i % t->columns];
                *column = w > *column ? w : *column;
        }
        for (size_t row = 0; row < rows; row++) {
                char *const *cells = &t->cells.p[row * t->columns];
                size_t last = t->columns;
                while (last > 1 && !*cells[last - 1]) /* no blanks at the end of a line */
                        last--;
                for (size_t c = 0; c < last; c++) {
                        int pad = c + 1 < last ? (int)(widest[c] - width(cells[c]) + 2) : 0;
                        fprintf(out, "%s%*s", cells[c], pad, "");
                }
                fputc('\n', out);
        }
        return t->err;
}
