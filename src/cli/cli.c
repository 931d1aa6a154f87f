#include "cli/cli.h"

#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include "base/json.h"
#include "cli/suggest.h"

static const struct command *const commands[] = {
        &command_serve,    &command_chat,  &command_keys,     &command_models,
        &command_backup,   &command_check, &command_coverage, &command_inspect,
        &command_quantize, &command_usage, &command_migrate,
};
#define N_COMMANDS (sizeof(commands) / sizeof(*commands))

int cli_fail(const char *fmt, ...)
{
        va_list ap;
        va_start(ap, fmt);
        fputs("cairn: ", stderr);
        vfprintf(stderr, fmt, ap);
        fputc('\n', stderr);
        va_end(ap);
        return 1;
}

static const struct command *find(const char *name)
{
        for (size_t i = 0; i < N_COMMANDS; i++)
                if (strcmp(commands[i]->name, name) == 0)
                        return commands[i];
        return NULL;
}

static int unknown_command(const char *typed)
{
        const char *names[N_COMMANDS], *near;
        for (size_t i = 0; i < N_COMMANDS; i++)
                names[i] = commands[i]->name;
        near = suggest_nearest(typed, names, N_COMMANDS);
        if (near)
                return cli_fail("unknown command '%s' (did you mean '%s'?)", typed, near);
        return cli_fail("unknown command '%s'; `cairn --help` lists the commands", typed);
}

static void overview(FILE *out)
{
        fputs("Cairn " CAIRN_VERSION ": the OpenAI API, self-hosted.\n\n"
              "usage: cairn COMMAND [OPTION]...\n\n",
              out);
        for (size_t i = 0; i < N_COMMANDS; i++)
                fprintf(out, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
        fputs("\n`cairn help COMMAND` tells more. Exit codes: 0, or 1 with one line on stderr.\n", out);
}

static int help(int argc, char **argv)
{
        if (argc == 0) {
                overview(stdout);
                return 0;
        }
        const struct command *c = find(argv[0]);
        if (!c)
                return unknown_command(argv[0]);
        c->help(stdout);
        return 0;
}

/* "--help" or "-h" anywhere in front of "--". */
static bool asks_for_help(int argc, char **argv)
{
        for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
                if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
                        return true;
        return false;
}

int cli_main(int argc, char **argv)
{
        if (argc < 2) {
                overview(stderr);
                return 1;
        }
        const char *word = argv[1];
        if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0)
                return help(argc - 2, argv + 2);
        if (strcmp(word, "--version") == 0 || strcmp(word, "version") == 0) {
                puts("cairn " CAIRN_VERSION);
                return 0;
        }
        const struct command *c = find(word);
        if (!c)
                return unknown_command(word);
        if (asks_for_help(argc - 2, argv + 2))
                return help(1, argv + 1);
        json_setup();
        int code = c->run(argc - 2, argv + 2);
        if (fflush(stdout) && code == 0)
                return cli_fail("stdout: the output could not be written");
        return code;
}
