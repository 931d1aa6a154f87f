/* cairn quantize: a model file with smaller weights. */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "engine/engine.h"

static bool force;
static int64_t threads;

static const struct arg options[] = {
        { "force", ARG_FLAG, NULL, "replace OUT if it exists", .target = &force },
        { "threads", ARG_INT, "N", "threads; default: all cores", .target = &threads, .min = 1, .max = 1024 },
};
#define N_OPTIONS (sizeof(options) / sizeof(*options))

struct progress {
        int64_t start_us, shown_us;
        bool terminal;
};

static bool show(void *ctx, const struct engine_quantize_state *st)
{
        struct progress *p = ctx;
        int64_t now = clock_mono_us();
        bool last = st->done == st->total;
        if (now - p->shown_us < (p->terminal ? 100000 : 5000000) && !last)
                return true;
        p->shown_us = now;
        double seconds = (double)(now - p->start_us) / 1e6;
        fprintf(stderr, "%s%3.0f %%  %zu/%zu tensors  %.0f MB/s%s", p->terminal ? "\r\033[K" : "",
                100.0 * (double)st->done / (double)(st->total ? st->total : 1), st->tensor_no, st->tensors,
                seconds > 0 ? (double)st->done / 1e6 / seconds : 0, p->terminal && !last ? "" : "\n");
        return true;
}

static int run(int argc, char **argv)
{
        char err[CLI_ERR];
        struct args args;
        struct progress p = { .start_us = clock_mono_us(), .terminal = isatty(STDERR_FILENO) };
        if (args_parse(options, N_OPTIONS, argc, argv, &args, err, sizeof(err)))
                return cli_fail("quantize: %s", err);
        if (args.n_words != 3)
                return cli_fail("quantize: give IN, OUT and TYPE; see 'cairn help quantize'");
        if (!force && access(args.words[1], F_OK) == 0)
                return cli_fail("%s: the file exists (--force replaces it)", args.words[1]);
        struct engine_quantize_opts o = { args.words[2], (int)threads, show, &p };
        if (engine_quantize(args.words[0], args.words[1], &o, err, sizeof(err)))
                return cli_fail("quantize: %s", err);
        printf("%s is ready; 'cairn inspect' shows what it holds\n", args.words[1]);
        return 0;
}

static void help(FILE *out)
{
        fputs("usage: cairn quantize [--force] [--threads N] IN OUT TYPE\n\n"
              "Writes the model IN (GGUF; of a split one, the first part) as OUT with its matrices in TYPE.\n"
              "Norms, biases and routers keep their type. F16, BF16 or F32 input gives the best result.\n"
              "Types, smallest first:",
              out);
        const char *name;
        for (size_t i = 0; (name = engine_quantize_type_at(i)); i++)
                fprintf(out, "%s%s", i % 10 ? " " : "\n  ", name);
        fputs("\nQ4_K_M is a good start. _S, _M and _L say how many of the sensitive matrices get more "
              "bits.\n\n",
              out);
        args_help(options, N_OPTIONS, out);
}

const struct command command_quantize = { "quantize", run, "a model file with smaller weights", help };
