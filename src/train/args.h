/* Command-line options of cairn-train: "--name value" pairs into a table of variables. */
#ifndef CAIRN_TRAIN_ARGS_H
#define CAIRN_TRAIN_ARGS_H

#include <stdbool.h>
#include <stddef.h>

enum arg_kind { ARG_TEXT, ARG_INT, ARG_REAL, ARG_FLAG };

struct arg {
        const char *name; /* without the dashes */
        enum arg_kind kind;
        void *to; /* const char **, long *, double *, bool * */
        bool required;
        const char *help;
};

/* Fills the variables from argv[0 .. argc). 0, or -EINVAL with a message that names the option. */
int args_parse(const struct arg *table, size_t n, int argc, char **argv, char *err, size_t errn);
/* One line an option on stdout. */
void args_print(const struct arg *table, size_t n);
#endif
