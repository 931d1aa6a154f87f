/* The subcommands of cairn-train, one file each. argv holds what follows the subcommand's name; with no
 * arguments each prints its options. They return the exit status. */
#ifndef CAIRN_TRAIN_COMMANDS_H
#define CAIRN_TRAIN_COMMANDS_H

int cmd_tokenizer(int argc, char **argv);  /* data -> vocabulary file */
int cmd_train(int argc, char **argv);      /* data and vocabulary -> checkpoint */
int cmd_eval(int argc, char **argv);       /* checkpoint and questions -> table of scores */
int cmd_exam(int argc, char **argv);       /* GGUF and questions -> table of scores, by the engine */
int cmd_chat(int argc, char **argv);       /* checkpoint and a question -> answer */
int cmd_export(int argc, char **argv);     /* checkpoint and vocabulary -> GGUF */
int cmd_classifier(int argc, char **argv); /* labelled texts -> model of src/classify */
#endif
