/* Which models there are: ids and aliases, what runs each, and which of them are in memory.
 *
 * The names are set at start by one thread and constant afterwards, so lookups need no lock. Whether a model
 * is in memory changes: large files are loaded by a thread in the background, and when the models together
 * exceed their budget the one that was not used for longest, and that nobody holds, is dropped until it is
 * asked for again. Whoever uses a model's engine holds the model meanwhile. */
#ifndef CAIRN_MODELS_REGISTRY_H
#define CAIRN_MODELS_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/str.h"

struct idiom;
struct engine_model;
struct engine_opts;
struct registry;

enum model_state { MODEL_UNLOADED, MODEL_LOADING, MODEL_READY, MODEL_FAILED };

/* What follows `created` is for those who hold the model. */
struct model {
        const char *id;
        const char *owned_by;
        int64_t created;             /* unix seconds: when the file was last written */
        struct engine_model *engine; /* runs it */
        int n_ctx;                   /* tokens a prompt and its answer may have */
        int n_embd;                  /* length of an embedding */
        bool chat;                   /* can render chat messages */
        const struct idiom *idiom;   /* how it writes reasoning and calls (format.h); NULL without chat */
};

/* A model to serve. NULL in any member but path means the default. */
struct model_file {
        const char *path;
        const char *id;     /* default: the file's name without ".gguf" */
        const char *format; /* of its reasoning and calls (format.h); default: found out from its template */
        const struct engine_opts *opts;
};

/* Zero in any member means the default. */
struct registry_opts {
        uint64_t memory;  /* bytes of the models in memory, weights and KV; default: no limit */
        bool background;  /* large files are loaded later, by a thread; default: all by registry_add_file */
        uint64_t at_once; /* files up to this size are loaded by registry_add_file anyway; default 64 MiB */
        /* Told of each change of state in the background, and of the progress of loading (percent of the file
         * read), on the thread that loads; what registry_add_file loads itself it tells its caller. `error`
         * is a sentence with MODEL_FAILED. */
        void (*on_state)(void *ctx, const struct model *m, enum model_state state, int percent,
                         const char *error);
        void *ctx;
};

struct registry *registry_new(void);    /* NULL when memory is out */
void registry_free(struct registry *r); /* closes the models; accepts NULL */
/* Before models are added. */
void registry_configure(struct registry *r, const struct registry_opts *opts);

/* Serves a GGUF file. -ENOENT and so on when there is no such file, -EEXIST when the id is taken, -E2BIG when
 * it alone exceeds the memory; when it is loaded at once, the engine's errors too, and -EINVAL for a format
 * that there is not; a sentence in err. What the file says is copied. */
int registry_add(struct registry *r, const struct model_file *file, char *err, size_t errn);
/* The same with the usual format. */
int registry_add_file(struct registry *r, const char *id, const char *path, const struct engine_opts *opts,
                      char *err, size_t errn);
/* Serves `target` also as `alias`. -ENOENT without such a target, -EEXIST when the alias is an id. A later
 * alias of the same name replaces the earlier one. */
int registry_alias(struct registry *r, const char *alias, const char *target, char *err, size_t errn);

/* The model of an id or alias; NULL when there is none. */
const struct model *registry_find(const struct registry *r, struct str name);
/* Whether every model is MODEL_READY. Any thread, without a lock. */
bool registry_all_ready(const struct registry *r);
/* All names in a fixed order: ids first, then aliases. `name` is the id or alias; false at the end. */
bool registry_next(const struct registry *r, size_t *it, const char **ret_name, const struct model **ret);

/* Keeps a model in memory until model_release, loading it first when it was dropped; waits up to wait_ms for
 * that. 0; -EBUSY: it is still being loaded, or waits for others to be given up; -EIO: it cannot be loaded.
 * Any thread, but with wait_ms > 0 none that must not block. */
int model_hold(const struct model *m, int wait_ms);
/* The same only if it is in memory now: neither loads nor counts as use. */
bool model_hold_ready(const struct model *m);
/* Any thread, the model's own included. */
void model_release(const struct model *m);
enum model_state model_state(const struct model *m);
const char *model_state_name(enum model_state state); /* "ready" */
/* Why it could not be loaded; empty when it could. */
void model_error(const struct model *m, char *err, size_t errn);
#endif
