/* cairn coverage: which operations of the API this build serves. */
#include <stdbool.h>
#include "api/api.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "contract/contract.h"

static bool verbose, as_json;

static const struct arg options[] = {
        { "verbose", ARG_FLAG, NULL, "also list every operation that is not served", .target = &verbose },
        { "json", ARG_FLAG, NULL, "all operations as a JSON array, with what each needs",
          .target = &as_json },
};
#define N_OPTIONS (sizeof(options) / sizeof(*options))

static bool served(const struct operation *op, void *ctx)
{
        (void)ctx;
        return api_serves(op);
}

static const char *security_name(enum op_security security)
{
        return security == SEC_PROJECT ? "project" : security == SEC_ADMIN ? "admin" : "none";
}

/* [{id, method, path, served, ours, security}, ...] */
static int print_json(void)
{
        size_t n, length;
        const struct operation *ops = contract_operations(&n);
        json_t *list = json_array();
        int rc = list ? 0 : -1;
        for (size_t i = 0; i < n; i++)
                rc |= json_array_append_new(
                        list, json_pack("{s:s, s:s, s:s, s:b, s:b, s:s}", "id", ops[i].id, "method",
                                        contract_method_name(ops[i].method), "path", ops[i].path, "served",
                                        api_serves(&ops[i]), "ours", (ops[i].flags & OP_OURS) != 0,
                                        "security", security_name(ops[i].security)));
        char *text = rc ? NULL : json_text(list, &length);
        if (text)
                puts(text);
        json_decref(list);
        mem_free(text);
        return text ? 0 : cli_fail("out of memory");
}

static int run(int argc, char **argv)
{
        char err[CLI_ERR];
        struct args args;
        if (args_parse(options, N_OPTIONS, argc, argv, &args, err, sizeof(err)))
                return cli_fail("coverage: %s", err);
        if (args.n_words)
                return cli_fail("coverage: unexpected argument '%s'", args.words[0]);
        if (as_json)
                return print_json();
        contract_coverage(served, NULL, verbose, stdout);
        return 0;
}

static void help(FILE *out)
{
        fputs("usage: cairn coverage [--verbose | --json]\n\n"
              "Prints, by family, how many operations of the OpenAI API this build serves. Everything else\n"
              "answers 501 in the normal error shape.\n\n",
              out);
        args_help(options, N_OPTIONS, out);
}

const struct command command_coverage = { "coverage", run, "what of the API is served", help };
