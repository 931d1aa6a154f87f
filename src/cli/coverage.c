/* cairn coverage: which operations of the API this build serves. */
#include <stdbool.h>
#include "api/api.h"
#include "base/json.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "contract/contract.h"

static bool verbose;

static const struct arg options[] = {
        { "verbose", ARG_FLAG, NULL, "also list every operation that is not served", .target = &verbose },
};
#define N_OPTIONS (sizeof(options) / sizeof(*options))

static bool served(const struct operation *op, void *ctx)
{
        (void)ctx;
        return api_serves(op);
}

static int run(int argc, char **argv)
{
        char err[CLI_ERR];
        struct args args;
        if (args_parse(options, N_OPTIONS, argc, argv, &args, err, sizeof(err)))
                return cli_fail("coverage: %s", err);
        if (args.n_words)
                return cli_fail("coverage: unexpected argument '%s'", args.words[0]);
        contract_coverage(served, NULL, verbose, stdout);
        return 0;
}

static void help(FILE *out)
{
        fputs("usage: cairn coverage [--verbose]\n\n"
              "Prints, by family, how many operations of the OpenAI API this build serves. Everything else\n"
              "answers 501 in the normal error shape.\n\n",
              out);
        args_help(options, N_OPTIONS, out);
}

const struct command command_coverage = { "coverage", run, "what of the API is served", help };
