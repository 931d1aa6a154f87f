/* cairn-train: makes small llama-shaped models. */
#include <stdio.h>
#include <string.h>
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
        { "chat", cmd_chat, "answer one question by greedy decoding" },
        { "export", cmd_export, "write a checkpoint as GGUF" },
};

int main(int argc, char **argv)
{
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
