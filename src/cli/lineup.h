/* The models of a configuration, opened and named: what `serve`, `chat` and `models` have in common. */
#ifndef CAIRN_CLI_LINEUP_H
#define CAIRN_CLI_LINEUP_H

#include <limits.h>
#include <stddef.h>
#include "models/registry.h"

struct config;

struct lineup {
        struct registry *registry;
        char builtin[PATH_MAX]; /* the file of the built-in model when no other is configured, else "" */
};

/* Who is told how the loading of large models goes, see registry.h. NULL: every model is loaded before
 * lineup_open returns. */
typedef void lineup_report_fn(void *ctx, const struct model *m, enum model_state state, int percent,
                              const char *error);

/* Opens the configured models, or the built-in one when there are none, and gives them their aliases: the
 * configured ones, and for sample code the names of OpenAI's models that no model here has taken. 0, or a
 * negative errno with one line in err and *ret empty. The caller calls lineup_release(). */
int lineup_open(const struct config *config, lineup_report_fn *report, struct lineup *ret, char *err,
                size_t errn);
void lineup_release(struct lineup *l); /* closes the models; harmless on a zeroed one */
/* The file of the i-th model of the registry. */
const char *lineup_file(const struct lineup *l, const struct config *config, size_t i);
#endif
