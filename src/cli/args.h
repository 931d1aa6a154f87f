/* Options of a command from one table, which also writes their help. Forms: --name VALUE, --name=VALUE,
 * --flag, and "--" before arguments that begin with a dash. */
#ifndef CAIRN_CLI_ARGS_H
#define CAIRN_CLI_ARGS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum arg_kind {
        ARG_FLAG,   /* target: bool */
        ARG_TEXT,   /* target: const char * */
        ARG_INT,    /* target: int64_t, min..max */
        ARG_NUMBER, /* target: double, min..max */
        ARG_CONFIG, /* no target: handed on to config_load() with its value */
};

struct arg {
        const char *name; /* without the dashes */
        enum arg_kind kind;
        const char *value; /* what the help calls the value: "FILE"; NULL for a flag */
        const char *help;
        void *target;
        double min, max;
};

#define ARGS_MAX 256 /* arguments that a command accepts */

/* What was left. The strings are argv's own. */
struct args {
        char *words[ARGS_MAX]; /* arguments that are no options, in order */
        int n_words;
        char *config[ARGS_MAX]; /* ARG_CONFIG options as config_load() wants them */
        int n_config;
};

/* 0 with the targets set (those of absent options are left alone), or -EINVAL with one line in err. */
int args_parse(const struct arg *table, size_t n, int argc, char **argv, struct args *ret, char *err,
               size_t errn);
/* One line an option. */
void args_help(const struct arg *table, size_t n, FILE *out);
#endif
