/* A table in plain text: columns as wide as their widest cell, two spaces apart. */
#ifndef CAIRN_CLI_TABLE_H
#define CAIRN_CLI_TABLE_H

#include <stddef.h>
#include <stdio.h>
#include "base/vec.h"

#define TABLE_COLUMNS 16

struct table {
        size_t columns;
        struct VEC(char *) cells; /* row after row */
        int err;                  /* sticky: -ENOMEM */
};

void table_init(struct table *t, size_t columns); /* 1..TABLE_COLUMNS */
void table_release(struct table *t);
/* Adds the next cell, copied; cells fill rows from the left. NULL is an empty one. */
void table_cell(struct table *t, const char *text);
void table_cellf(struct table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Prints the whole rows. 0 or -ENOMEM when a cell was lost. */
int table_print(const struct table *t, FILE *out);
#endif
