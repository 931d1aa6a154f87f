/* cairn-train: makes small llama-shaped models. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/json.h"
#include "train/commands.h"

static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
        const char *help;
} commands[] = {
        { "tokenizer", cmd_tokenizer, "learn a vocabulary from a data file" },
        { "train", cmd_train, "train a model, or continue from a checkpoint" },
        { "eval", cmd_eval, "held-out loss and exact answers by category" },
        { "exam", cmd_exam, "exact answers of a GGUF file run by the engine" },
        { "chat", cmd_chat, "answer one question by greedy decoding" },
        { "export", cmd_export, "write a checkpoint as GGUF" },
        { "classifier", cmd_classifier, "train a classifier of texts" },
};

/* OpenBLAS does not know newer processors by name and gives them the kernels of an old one, at half the
 * speed. It chooses while it is loaded, so the choice is made in the environment of a second start. */
static void choose_blas_kernels(char **argv)
{
#ifdef __x86_64__
        if (getenv("OPENBLAS_CORETYPE") || !__builtin_cpu_supports("avx512bw"))
                return;
        setenv("OPENBLAS_CORETYPE", __builtin_cpu_supports("avx512bf16") ? "Cooperlake" : "SkylakeX", 1);
        execv("/proc/self/exe", argv); /* if that fails, the slow kernels do */
#else
        (void)argv;
#endif
}

int main(int argc, char **argv)
{
        choose_blas_kernels(argv);
        json_setup();
        for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(*commands); i++) {
                if (!strcmp(argv[1], commands[i].name))
                        return commands[i].run(argc - 2, argv + 2);
        }
        printf("usage: cairn-train COMMAND [options]\n\n");
        for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
                printf("  %-10s %s\n", commands[i].name, commands[i].help);
        return argc > 1 && strcmp(argv[1], "--help") ? 1 : 0;
}
