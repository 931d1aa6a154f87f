/* The command line: the table of commands and what they share. A command prints its result on stdout and
 * one line "cairn: what and where" on stderr when it fails. */
#ifndef CAIRN_CLI_CLI_H
#define CAIRN_CLI_CLI_H

#include <stdio.h>

#define CLI_ERR 512 /* bytes of a message */

struct command {
        const char *name;
        int (*run)(int argc, char **argv); /* the arguments behind the name; gives the exit code: 0 or 1 */
        const char *summary;               /* one line for the overview */
        void (*help)(FILE *out);           /* the whole of `cairn help NAME` */
};

/* One a file: serve.c, chat.c, keys.c, models.c, backup.c, check.c, coverage.c, inspect.c, quantize.c,
 * usage.c, migrate.c. */
extern const struct command command_serve, command_chat, command_keys, command_models, command_coverage,
        command_inspect, command_quantize, command_usage, command_migrate, command_backup, command_check;

/* Runs the program with main()'s arguments; gives its exit code. */
int cli_main(int argc, char **argv);

/* Prints "cairn: MESSAGE" on stderr; gives 1, so that a command can `return cli_fail(...)`. */
int cli_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
#endif
