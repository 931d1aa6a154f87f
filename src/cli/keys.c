/* cairn keys: makes, lists and ends API keys in a data directory, also while a server runs on it. */
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include "account/account.h"
#include "base/clock.h"
#include "base/mem.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/config.h"
#include "cli/state.h"
#include "cli/suggest.h"
#include "cli/table.h"

#define DAY_S 86400

static struct {
        bool admin;
        const char *name, *project, *new_project;
        int64_t expires_days;
} given;

static const struct arg options[] = {
        { "admin", ARG_FLAG, NULL, "create: a key for administration instead of inference",
          .target = &given.admin },
        { "name", ARG_TEXT, "NAME", "create: what the key is for", .target = &given.name },
        { "project", ARG_TEXT, "ID", "create: its project (the default project)", .target = &given.project },
        { "new-project", ARG_TEXT, "NAME", "create: in a project that is made for it",
          .target = &given.new_project },
        { "expires-days", ARG_INT, "DAYS", "create: it ends after so many days (never)",
          .target = &given.expires_days, .min = 1, .max = 36500 },
        { "data", ARG_CONFIG, "DIR", "the data directory, as for `cairn serve`", .target = NULL },
        { "database", ARG_CONFIG, "URL", "the database, as for `cairn serve`", .target = NULL },
        { "config", ARG_CONFIG, "FILE", "the configuration file, as for `cairn serve`", .target = NULL },
};
#define N_OPTIONS (sizeof(options) / sizeof(*options))

/* The value alone goes to stdout: export OPENAI_API_KEY=$(cairn keys create). */
static int create(struct account *account, char **words)
{
        char err[CLI_ERR], value[ACCOUNT_KEY_MAX], made[ID_MAX];
        const char *project = given.project;
        struct key_info info;
        (void)words;
        if (given.admin && (given.project || given.new_project))
                return cli_fail("keys create: an admin key has no project");
        if (given.project && given.new_project)
                return cli_fail("keys create: --project and --new-project exclude each other");
        if (given.new_project) {
                if (account_project_create(account, given.new_project, made, err, sizeof(err)))
                        return cli_fail("keys create: %s", err);
                fprintf(stderr, "project %s made\n", made);
                project = made;
        }
        int64_t expires = given.expires_days ? clock_unix() + given.expires_days * DAY_S : 0;
        if (account_key_create(account, given.admin ? KEY_ADMIN : KEY_PROJECT, project, given.name, expires,
                               value, &info, err, sizeof(err)))
                return cli_fail("keys create: %s", err);
        printf("%s\n", value);
        explicit_bzero(value, sizeof(value));
        fprintf(stderr, "%s key %s made; its value is not shown again\n", given.admin ? "admin" : "project",
                info.id);
        return 0;
}

static void add_time(struct table *t, int64_t when, const char *never)
{
        char text[32];
        struct tm utc;
        time_t seconds = (time_t)when;
        if (when && gmtime_r(&seconds, &utc) && strftime(text, sizeof(text), "%Y-%m-%d %H:%M", &utc))
                table_cell(t, text);
        else
                table_cell(t, never);
}

static int list(struct account *account, char **words)
{
        static const char *const heads[] = { "ID",   "KIND",          "PROJECT",   "KEY",
                                             "NAME", "CREATED (UTC)", "LAST USED", "EXPIRES" };
        char err[CLI_ERR];
        struct key_info *keys;
        struct table t;
        size_t n;
        (void)words;
        if (account_key_list(account, &keys, &n, err, sizeof(err)))
                return cli_fail("keys list: %s", err);
        table_init(&t, sizeof(heads) / sizeof(*heads));
        for (size_t i = 0; i < t.columns; i++)
                table_cell(&t, heads[i]);
        for (size_t i = 0; i < n; i++) {
                table_cell(&t, keys[i].id);
                table_cell(&t, keys[i].kind == KEY_ADMIN ? "admin" : "project");
                table_cell(&t, keys[i].project);
                table_cell(&t, keys[i].redacted);
                table_cell(&t, keys[i].environment ? "(environment)" : keys[i].name);
                add_time(&t, keys[i].created, "");
                add_time(&t, keys[i].last_used, "never");
                add_time(&t, keys[i].expires, "never");
        }
        int rc = table_print(&t, stdout);
        table_release(&t);
        mem_free(keys);
        return rc ? cli_fail("out of memory") : 0;
}

static int revoke(struct account *account, char **words)
{
        char err[CLI_ERR];
        if (account_key_revoke(account, words[0], err, sizeof(err)))
                return cli_fail("keys revoke: %s", err);
        printf("%s revoked\n", words[0]);
        return 0;
}

/* What can be done with keys. `existing`: only in an installation that is there already, so that a mistyped
 * --data is an error instead of a new one. */
static const struct {
        const char *name;
        int (*run)(struct account *account, char **words);
        int n_words;
        bool existing;
} actions[] = {
        { "create", create, 0, false },
        { "list", list, 0, true },
        { "revoke", revoke, 1, true },
};
#define N_ACTIONS (sizeof(actions) / sizeof(*actions))

static int run_on_store(size_t action, const struct config *config, char **words)
{
        char err[CLI_ERR];
        struct state state;
        struct stat st;
        if (actions[action].existing && stat(config->data, &st))
                return cli_fail("data directory %s: %s", config->data, strerror(errno));
        int rc = actions[action].existing ? state_open_existing(config, &state, err, sizeof(err))
                                          : state_open_store(config, false, &state, err, sizeof(err));
        if (!rc)
                rc = state_open_account(config, &state, err, sizeof(err));
        int code = rc ? cli_fail("%s", err) : actions[action].run(state.account, words);
        state_close(&state);
        return code;
}

static int unknown_action(const char *typed)
{
        const char *names[N_ACTIONS];
        for (size_t i = 0; i < N_ACTIONS; i++)
                names[i] = actions[i].name;
        const char *near = suggest_nearest(typed, names, N_ACTIONS);
        if (near)
                return cli_fail("keys: unknown action '%s' (did you mean '%s'?)", typed, near);
        return cli_fail("keys: unknown action '%s': create, list or revoke", typed);
}

static int run(int argc, char **argv)
{
        char err[CLI_ERR];
        struct args args;
        struct config config;
        size_t action = 0;
        if (args_parse(options, N_OPTIONS, argc, argv, &args, err, sizeof(err)))
                return cli_fail("keys: %s", err);
        if (!args.n_words)
                return cli_fail("keys: what to do is missing: create, list or revoke");
        while (action < N_ACTIONS && strcmp(actions[action].name, args.words[0]) != 0)
                action++;
        if (action == N_ACTIONS)
                return unknown_action(args.words[0]);
        if (args.n_words - 1 < actions[action].n_words)
                return cli_fail("keys revoke: the id of the key is missing; `cairn keys list` shows it");
        if (args.n_words - 1 > actions[action].n_words)
                return cli_fail("keys: unexpected argument '%s'", args.words[args.n_words - 1]);
        if (actions[action].run != create &&
            (given.admin || given.name || given.project || given.new_project || given.expires_days))
                return cli_fail("keys: --admin, --name, --project, --new-project and --expires-days belong "
                                "to create");
        if (config_load(&config, args.n_config, args.config, err, sizeof(err)))
                return cli_fail("%s", err);
        int code = run_on_store(action, &config, args.words + 1);
        config_release(&config);
        return code;
}

static void help(FILE *out)
{
        fputs("usage: cairn keys create [--admin] [--name NAME] [--project ID | --new-project NAME]\n"
              "                         [--expires-days DAYS]\n"
              "       cairn keys list\n"
              "       cairn keys revoke ID\n\n"
              "Works on the data directory, also while a server runs on it: a new key is accepted and a "
              "revoked\n"
              "one refused within about a second. `create` prints the key's value on stdout, once:\n\n"
              "  export OPENAI_API_KEY=$(cairn keys create --name laptop)\n\n",
              out);
        args_help(options, N_OPTIONS, out);
}

const struct command command_keys = { "keys", run, "create, list and revoke API keys", help };
