/* A model's chat templates: compiled when the model is loaded, constant afterwards. */
#ifndef CAIRN_ENGINE_CHAT_H
#define CAIRN_ENGINE_CHAT_H

#include <stdbool.h>
#include "engine/gguf.h"
#include "engine/tokenizer.h"

struct chat;

/* Compiles the templates of the file: tokenizer.chat_template, and tokenizer.chat_template.tool_use, which is
 * taken when tools are given. A file without any gets a ChatML template of ours, when the vocabulary has the
 * markers. *ret is NULL when there is nothing to render with. A template that does not compile is no failure:
 * rendering says what is wrong with it. 0 or -ENOMEM. Both the file and the tokenizer outlive it. */
int chat_new(const struct gguf *file, const struct tokenizer *tok, struct chat **ret);
void chat_free(struct chat *c); /* accepts NULL */
#endif
