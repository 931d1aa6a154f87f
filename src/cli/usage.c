/* cairn usage: what was used and what it cost, from the log of usage, also while a server runs on it. */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>
#include "account/usage.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/state.h"
#include "cli/table.h"
#include "store/store.h"

#define DAY_S INT64_C(86400)
#define DEFAULT_DAYS 30
#define NANO 1e9
#define BY_DEFAULT "model"

static struct {
        bool json, total;
        int64_t days;
        const char *by, *project, *model;
} given;

static const struct arg options[] = {
        { "days", ARG_INT, "N", "the last N days, today included; days are UTC (30)", .target = &given.days,
          .min = 1, .max = 3660 },
        { "by", ARG_TEXT, "WORDS",
          "one row for each of: project, user, key, model, tier, batch; with commas (model)",
          .target = &given.by },
        { "total", ARG_FLAG, NULL, "all days in one", .target = &given.total },
        { "project", ARG_TEXT, "ID", "only of this project", .target = &given.project },
        { "model", ARG_TEXT, "ID", "only of this model", .target = &given.model },
        { "json", ARG_FLAG, NULL, "as a JSON array, all counters", .target = &given.json },
        { "data", ARG_CONFIG, "DIR", "the data directory, as for `cairn serve`", .target = NULL },
        { "database", ARG_CONFIG, "URL", "the database, as for `cairn serve`", .target = NULL },
        { "config", ARG_CONFIG, "FILE", "the configuration file, as for `cairn serve`", .target = NULL },
};
#define N_OPTIONS (sizeof(options) / sizeof(*options))

/* ---- groups ---- */

static const struct {
        const char *name, *head;
        enum usage_by by;
} groups[] = {
        { "project", "PROJECT", USAGE_BY_PROJECT },
        { "user", "USER", USAGE_BY_USER },
        { "key", "KEY", USAGE_BY_KEY },
        { "model", "MODEL", USAGE_BY_MODEL },
        { "tier", "TIER", USAGE_BY_TIER },
        { "batch", "BATCH", USAGE_BY_BATCH },
};
#define N_GROUPS (sizeof(groups) / sizeof(*groups))

/* "model,project" as a set; -EINVAL with a sentence. */
static int read_groups(const char *text, unsigned *ret, char *err, size_t errn)
{
        struct str rest = str_c(text);
        *ret = 0;
        while (rest.p) {
                struct str word = str_trim(str_split(rest, ',', &rest));
                size_t i = 0;
                while (i < N_GROUPS && !str_eqc(word, groups[i].name))
                        i++;
                if (i == N_GROUPS) {
                        snprintf(err, errn, "--by: '%.*s' is none of project, user, key, model, tier, batch",
                                 word.n < 60 ? (int)word.n : 60, word.p);
                        return -EINVAL;
                }
                *ret |= groups[i].by;
        }
        return 0;
}

static const char *group_value(const struct store_usage *u, enum usage_by by)
{
        switch (by) {
        case USAGE_BY_PROJECT:
                return u->project;
        case USAGE_BY_USER:
                return u->user;
        case USAGE_BY_KEY:
                return u->key;
        case USAGE_BY_MODEL:
                return u->model;
        case USAGE_BY_TIER:
                return u->tier;
        case USAGE_BY_BATCH:
                return u->batch ? "yes" : "no";
        }
        return "";
}

/* ---- rows ---- */

/* What one kind of usage summed up to: one block of the store's each. */
struct sums {
        const char *kind;
        struct store_usage *rows;
        size_t n;
};

static const char *const counters[USAGE_N] = {
        [USAGE_REQUESTS] = "requests",
        [USAGE_INPUT] = "input_tokens",
        [USAGE_CACHED] = "cached_tokens",
        [USAGE_OUTPUT] = "output_tokens",
        [USAGE_REASONING] = "reasoning_tokens",
        [USAGE_AUDIO_IN] = "input_audio_tokens",
        [USAGE_AUDIO_OUT] = "output_audio_tokens",
        [USAGE_IMAGES] = "images",
        [USAGE_MILLISECONDS] = "milliseconds",
        [USAGE_CHARACTERS] = "characters",
        [USAGE_BYTES] = "bytes",
        [USAGE_COST] = "cost",
};

static void day_text(int64_t at, char out[16])
{
        struct tm utc;
        time_t seconds = (time_t)at;
        if (!gmtime_r(&seconds, &utc) || !strftime(out, 16, "%Y-%m-%d", &utc))
                snprintf(out, 16, "?");
}

/* What people want to see; JSON has all. */
static const struct {
        enum usage_count count;
        const char *head;
} shown[] = {
        { USAGE_REQUESTS, "REQUESTS" },
        { USAGE_INPUT, "INPUT" },
        { USAGE_CACHED, "CACHED" },
        { USAGE_OUTPUT, "OUTPUT" },
};
#define N_SHOWN (sizeof(shown) / sizeof(*shown))

static void add_heads(struct table *t, unsigned by)
{
        table_cell(t, "DAY (UTC)");
        table_cell(t, "KIND");
        for (size_t g = 0; g < N_GROUPS; g++)
                if (by & groups[g].by)
                        table_cell(t, groups[g].head);
        for (size_t k = 0; k < N_SHOWN; k++)
                table_cell(t, shown[k].head);
        table_cell(t, "COST ($)");
}

static void add_row(struct table *t, const char *kind, const struct store_usage *u, unsigned by)
{
        char day[16];
        day_text(u->at, day);
        table_cell(t, given.total ? "all" : day);
        table_cell(t, kind);
        for (size_t g = 0; g < N_GROUPS; g++)
                if (by & groups[g].by)
                        table_cell(t, group_value(u, groups[g].by));
        for (size_t k = 0; k < N_SHOWN; k++)
                table_cellf(t, "%" PRId64, u->n[shown[k].count]);
        table_cellf(t, "%.6f", (double)u->n[USAGE_COST] / NANO);
}

static int print_table(const struct sums *sums, unsigned by)
{
        struct table t;
        table_init(&t, 3 + N_SHOWN + (size_t)__builtin_popcount(by));
        add_heads(&t, by);
        for (const struct sums *s = sums; s->kind; s++)
                for (size_t i = 0; i < s->n; i++)
                        add_row(&t, s->kind, &s->rows[i], by);
        int rc = table_print(&t, stdout);
        table_release(&t);
        return rc ? cli_fail("out of memory") : 0;
}

static json_t *row_json(const struct sums *s, const struct store_usage *u, unsigned by)
{
        char day[16];
        day_text(u->at, day);
        json_t *row = json_pack("{s:s*, s:s}", "day", given.total ? NULL : day, "kind", s->kind);
        int rc = row ? 0 : -ENOMEM;
        for (size_t g = 0; g < N_GROUPS; g++)
                if (by & groups[g].by)
                        rc |= json_put(row, groups[g].name,
                                       groups[g].by == USAGE_BY_BATCH
                                               ? json_boolean(u->batch)
                                               : json_string(group_value(u, groups[g].by)));
        for (int k = 0; k < USAGE_N; k++)
                rc |= json_put(row, counters[k],
                               k == USAGE_COST ? json_real((double)u->n[k] / NANO) : json_integer(u->n[k]));
        if (!rc)
                return row;
        json_decref(row);
        return NULL;
}

static int print_json(const struct sums *sums, unsigned by)
{
        json_t *list = json_array();
        int rc = list ? 0 : -ENOMEM;
        size_t n;
        for (const struct sums *s = sums; s->kind; s++)
                for (size_t i = 0; i < s->n; i++)
                        rc |= json_array_append_new(list, row_json(s, &s->rows[i], by));
        char *text = rc ? NULL : json_text(list, &n);
        if (text)
                puts(text);
        json_decref(list);
        mem_free(text);
        return text ? 0 : cli_fail("out of memory");
}

/* ---- the command ---- */

static int report(struct store *store, unsigned by)
{
        struct sums sums[16] = { 0 };
        struct store_fault fault = { 0 };
        int64_t today = clock_unix() / DAY_S * DAY_S, days = given.days ? given.days : DEFAULT_DAYS;
        int rc = 0, code = 1;
        for (size_t k = 0; usage_kinds[k] && rc == 0; k++) {
                struct store_usage_query q = { .what = usage_kinds[k],
                                               .from = today - (days - 1) * DAY_S,
                                               .to = today + DAY_S,
                                               .width = given.total ? 0 : DAY_S,
                                               .by = by,
                                               .project = given.project,
                                               .model = given.model };
                sums[k].kind = usage_kinds[k];
                rc = store_usage_sum(store, &q, &sums[k].rows, &sums[k].n, &fault);
        }
        if (rc)
                cli_fail("usage: %s", *fault.msg ? fault.msg : strerror(-rc));
        else
                code = given.json ? print_json(sums, by) : print_table(sums, by);
        for (struct sums *s = sums; s->kind; s++)
                mem_free(s->rows);
        return code;
}

static int run(int argc, char **argv)
{
        char err[CLI_ERR];
        struct args args;
        struct config config;
        struct state state = { 0 };
        unsigned by;
        int code = 1;
        if (args_parse(options, N_OPTIONS, argc, argv, &args, err, sizeof(err)) ||
            read_groups(given.by ? given.by : BY_DEFAULT, &by, err, sizeof(err)))
                return cli_fail("usage: %s", err);
        if (args.n_words)
                return cli_fail("usage: unexpected argument '%s'", args.words[0]);
        if (config_load(&config, args.n_config, args.config, err, sizeof(err)))
                return cli_fail("%s", err);
        if (state_open_existing(&config, &state, err, sizeof(err)))
                cli_fail("%s", err);
        else
                code = report(state.store, by);
        state_close(&state);
        config_release(&config);
        return code;
}

static void help(FILE *out)
{
        fputs("usage: cairn usage [--days N] [--by WORDS] [--total] [--project ID] [--model ID] [--json]\n\n"
              "What was used, a row for each day, kind of usage and model, and what it cost by the prices "
              "that\n"
              "were configured when it was used. Works beside a server.\n\n",
              out);
        args_help(options, N_OPTIONS, out);
}

const struct command command_usage = { "usage", run, "show what was used and what it cost", help };
