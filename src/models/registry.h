/* Which models there are: ids and aliases, and what runs each. Built at start, constant afterwards, so every
 * lookup may come from any thread without a lock. */
#ifndef CAIRN_MODELS_REGISTRY_H
#define CAIRN_MODELS_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/str.h"

struct engine_model;
struct engine_opts;
struct registry;

struct model {
        const char *id;
        const char *owned_by;
        int64_t created;             /* unix seconds: when the file was last written */
        struct engine_model *engine; /* runs it; never NULL */
        int n_ctx;                   /* tokens a prompt and its answer may have */
        int n_embd;                  /* length of an embedding */
        bool chat;                   /* can render chat messages */
};

struct registry *registry_new(void);    /* NULL when memory is out */
void registry_free(struct registry *r); /* closes the models; accepts NULL */

/* Opens a GGUF file and serves it as `id` (NULL: the file's name without ".gguf"). -EEXIST when the id is
 * taken; else the engine's errors; a sentence in err. */
int registry_add_file(struct registry *r, const char *id, const char *path, const struct engine_opts *opts,
                      char *err, size_t errn);
/* Serves `target` also as `alias`. -ENOENT without such a target, -EEXIST when the alias is an id. A later
 * alias of the same name replaces the earlier one. */
int registry_alias(struct registry *r, const char *alias, const char *target, char *err, size_t errn);

/* The model of an id or alias; NULL when there is none. */
const struct model *registry_find(const struct registry *r, struct str name);
/* All names in a fixed order: ids first, then aliases. `name` is the id or alias; false at the end. */
bool registry_next(const struct registry *r, size_t *it, const char **ret_name, const struct model **ret);
#endif
