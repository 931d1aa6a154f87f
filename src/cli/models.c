/* cairn models: what would be served, without serving it. */
#include <errno.h>
#include <string.h>
#include "base/json.h"
#include "cli/cli.h"
#include "cli/config.h"
#include "cli/lineup.h"
#include "cli/table.h"
#include "engine/engine.h"
#include "models/registry.h"

#define LOAD_MS 600000 /* a model is loaded by then, or never */

/* 4200000 as "4.2M". */
static void add_count(struct table *t, uint64_t n)
{
        if (n >= 1000000000)
                table_cellf(t, "%.1fB", (double)n / 1e9);
        else if (n >= 1000000)
                table_cellf(t, "%.1fM", (double)n / 1e6);
        else
                table_cellf(t, "%.0fK", (double)n / 1e3);
}

static int print_models(const struct lineup *l, const struct config *c)
{
        static const char *const heads[] = { "NAME",    "ALIAS OF", "ARCH", "PARAMS",
                                             "WEIGHTS", "CONTEXT",  "FILE" };
        struct table t;
        const char *name;
        const struct model *m;
        table_init(&t, sizeof(heads) / sizeof(*heads));
        for (size_t i = 0; i < t.columns; i++)
                table_cell(&t, heads[i]);
        for (size_t it = 0, row = 0; registry_next(l->registry, &it, &name, &m); row++) {
                bool alias = strcmp(name, m->id) != 0;
                if (model_hold(m, LOAD_MS)) { /* with a budget, one is loaded for another */
                        table_release(&t);
                        return -EBUSY;
                }
                const struct engine_info *info = engine_model_info(m->engine);
                table_cell(&t, name);
                table_cell(&t, alias ? m->id : "");
                table_cell(&t, info->arch);
                add_count(&t, info->n_params);
                table_cell(&t, info->quantization);
                table_cellf(&t, "%d", m->n_ctx);
                table_cell(&t, alias ? "" : lineup_file(l, c, row));
                model_release(m);
        }
        int rc = table_print(&t, stdout);
        table_release(&t);
        return rc;
}

static int run(int argc, char **argv)
{
        char err[CLI_ERR];
        struct config config;
        struct lineup lineup;
        if (config_load(&config, argc, argv, err, sizeof(err)))
                return cli_fail("%s", err);
        int code = lineup_open(&config, NULL, &lineup, err, sizeof(err)) ? cli_fail("%s", err) : 0;
        if (code == 0) {
                code = print_models(&lineup, &config) ? cli_fail("a model cannot be loaded, or memory is out")
                                                      : 0;
                lineup_release(&lineup);
        }
        config_release(&config);
        return code;
}

static void help(FILE *out)
{
        fputs("usage: cairn models [--model FILE]... [--config FILE]\n\n"
              "Opens and lists the models that `cairn serve` would serve with the same options, with the "
              "names\n"
              "they answer to. It takes all options of `cairn serve`.\n",
              out);
}

const struct command command_models = { "models", run, "the models that would be served", help };
