#include "cli/args.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include "base/str.h"
#include "cli/suggest.h"

static const struct arg *find(const struct arg *table, size_t n, struct str name)
{
        for (size_t i = 0; i < n; i++)
                if (str_eqc(name, table[i].name))
                        return &table[i];
        return NULL;
}

static int unknown(const struct arg *table, size_t n, struct str name, char *err, size_t errn)
{
        const char *words[ARGS_MAX], *near;
        char typed[64];
        for (size_t i = 0; i < n; i++)
                words[i] = table[i].name;
        snprintf(typed, sizeof(typed), "%.*s", STR_ARG(name));
        near = suggest_nearest(typed, words, n);
        if (near)
                snprintf(err, errn, "unknown option '--%s' (did you mean '--%s'?)", typed, near);
        else
                snprintf(err, errn, "unknown option '--%s'", typed);
        return -EINVAL;
}

static int out_of_range(const struct arg *a, char *err, size_t errn)
{
        snprintf(err, errn, "--%s takes %s from %.15g to %.15g", a->name,
                 a->kind == ARG_INT ? "a whole number" : "a number", a->min, a->max);
        return -EINVAL;
}

static int set_value(const struct arg *a, char *value, char *err, size_t errn)
{
        int64_t whole;
        double number;
        switch (a->kind) {
        case ARG_FLAG:
                *(bool *)a->target = true;
                return 0;
        case ARG_TEXT:
                *(const char **)a->target = value;
                return 0;
        case ARG_INT:
                if (!str_to_i64(str_c(value), &whole) || (double)whole < a->min || (double)whole > a->max)
                        return out_of_range(a, err, errn);
                *(int64_t *)a->target = whole;
                return 0;
        case ARG_NUMBER:
                if (!str_to_f64(str_c(value), &number) || number < a->min || number > a->max)
                        return out_of_range(a, err, errn);
                *(double *)a->target = number;
                return 0;
        case ARG_CONFIG: /* config_load() judges it */
                return 0;
        }
        return -EINVAL;
}

/* The option at argv[0], with its value: how many arguments they were, or -EINVAL. */
static int take_option(const struct arg *table, size_t n, int argc, char **argv, struct args *ret, char *err,
                       size_t errn)
{
        struct str name = { argv[0] + 2, strcspn(argv[0] + 2, "=") };
        char *value = name.p[name.n] ? argv[0] + 2 + name.n + 1 : NULL;
        int used = 1;
        const struct arg *a = find(table, n, name);
        if (!a)
                return unknown(table, n, name, err, errn);
        if (value && a->kind == ARG_FLAG) {
                snprintf(err, errn, "--%s takes no value", a->name);
                return -EINVAL;
        }
        if (!value && a->kind != ARG_FLAG) {
                if (argc < 2) {
                        snprintf(err, errn, "--%s needs a value: %s", a->name, a->value);
                        return -EINVAL;
                }
                value = argv[1];
                used = 2;
        }
        for (int i = 0; a->kind == ARG_CONFIG && i < used; i++)
                ret->config[ret->n_config++] = argv[i];
        int rc = set_value(a, value, err, errn);
        return rc ? rc : used;
}

int args_parse(const struct arg *table, size_t n, int argc, char **argv, struct args *ret, char *err,
               size_t errn)
{
        bool options = true;
        memset(ret, 0, sizeof(*ret));
        if (argc > ARGS_MAX) {
                snprintf(err, errn, "more than %d arguments", ARGS_MAX);
                return -EINVAL;
        }
        for (int i = 0; i < argc;) {
                if (options && strcmp(argv[i], "--") == 0) {
                        options = false;
                        i++;
                } else if (!options || strncmp(argv[i], "--", 2) != 0) {
                        ret->words[ret->n_words++] = argv[i++];
                } else {
                        int used = take_option(table, n, argc - i, argv + i, ret, err, errn);
                        if (used < 0)
                                return used;
                        i += used;
                }
        }
        return 0;
}

void args_help(const struct arg *table, size_t n, FILE *out)
{
        for (size_t i = 0; i < n; i++) {
                char left[64];
                snprintf(left, sizeof(left), "--%s%s%s", table[i].name, table[i].value ? " " : "",
                         table[i].value ? table[i].value : "");
                fprintf(out, "  %-22s %s\n", left, table[i].help);
        }
}
