#include "train/args.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include "base/str.h"

#define ARGS_MAX 64

static int set_value(const struct arg *a, const char *value, char *err, size_t errn)
{
        int64_t i;
        double d;
        bool ok = true;

        if (a->kind == ARG_TEXT) {
                *(const char **)a->to = value;
        } else if (a->kind == ARG_INT) {
                ok = str_to_i64(str_c(value), &i);
                if (ok)
                        *(long *)a->to = (long)i;
        } else {
                ok = str_to_f64(str_c(value), &d);
                if (ok)
                        *(double *)a->to = d;
        }
        if (ok)
                return 0;
        snprintf(err, errn, "--%s: '%s' is not a number", a->name, value);
        return -EINVAL;
}

int args_parse(const struct arg *table, size_t n, int argc, char **argv, char *err, size_t errn)
{
        bool seen[ARGS_MAX] = { false };
        for (int i = 0; i < argc; i++) {
                size_t k = 0;
                while (k < n && (strncmp(argv[i], "--", 2) || strcmp(argv[i] + 2, table[k].name)))
                        k++;
                if (k == n || k >= ARGS_MAX) {
                        snprintf(err, errn, "unknown option '%s'", argv[i]);
                        return -EINVAL;
                }
                seen[k] = true;
                if (table[k].kind == ARG_FLAG) {
                        *(bool *)table[k].to = true;
                        continue;
                }
                if (++i == argc) {
                        snprintf(err, errn, "--%s needs a value", table[k].name);
                        return -EINVAL;
                }
                int rc = set_value(&table[k], argv[i], err, errn);
                if (rc)
                        return rc;
        }
        for (size_t k = 0; k < n; k++) {
                if (table[k].required && !seen[k]) {
                        snprintf(err, errn, "--%s is required", table[k].name);
                        return -EINVAL;
                }
        }
        return 0;
}

void args_print(const struct arg *table, size_t n)
{
        static const char *const kinds[] = { "TEXT", "N", "X", "" };
        for (size_t i = 0; i < n; i++)
                printf("      --%-14s %-5s %s%s\n", table[i].name, kinds[table[i].kind], table[i].help,
                       table[i].required ? " (required)" : "");
}
