#include "cli/lineup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/str.h"
#include "cli/builtin.h"
#include "cli/config.h"
#include "engine/engine.h"
#include "models/registry.h"

/* Names that sample code and frameworks use. Each means the first model, unless a configured id or alias has
 * taken it. */
static const char *const sample_names[] = {
        "gpt-5",
        "gpt-5-mini",
        "gpt-5-nano",
        "gpt-4.1",
        "gpt-4.1-mini",
        "gpt-4.1-nano",
        "gpt-4o",
        "gpt-4o-mini",
        "gpt-3.5-turbo",
        "gpt-3.5-turbo-instruct",
        "text-embedding-3-small",
        "text-embedding-3-large",
        "text-embedding-ada-002",
};

static int add_models(struct lineup *l, const struct config *c, char *err, size_t errn)
{
        const struct engine_opts opts = { .threads = (int)c->threads.engine,
                                          .ctx_max = (int)c->engine.context,
                                          .kv_bytes = (size_t)c->engine.kv_memory,
                                          .max_batch = (int)c->engine.batch,
                                          .max_queue = (int)c->engine.queue };
        if (!c->models.n) {
                int rc = builtin_find(l->builtin, sizeof(l->builtin), err, errn);
                return rc ? rc : registry_add_file(l->registry, BUILTIN_ID, l->builtin, &opts, err, errn);
        }
        for (size_t i = 0; i < c->models.n; i++) {
                const struct config_model *m = &c->models.items[i];
                int rc = registry_add_file(l->registry, m->id, m->path, &opts, err, errn);
                if (rc)
                        return rc;
        }
        return 0;
}

/* The id of the i-th model: the registry lists ids first, in the order in which they were added. */
static const char *id_of(const struct registry *r, size_t i)
{
        const char *name = NULL;
        const struct model *m;
        registry_next(r, &i, &name, &m);
        return name;
}

static int add_sample_names(struct registry *r, char *err, size_t errn)
{
        const char *first = id_of(r, 0);
        int rc = 0;
        for (size_t i = 0; rc == 0 && i < sizeof(sample_names) / sizeof(*sample_names); i++)
                if (!registry_find(r, str_c(sample_names[i])))
                        rc = registry_alias(r, sample_names[i], first, err, errn);
        return rc;
}

static int add_aliases(struct registry *r, const struct config *c, char *err, size_t errn)
{
        int rc = 0;
        for (size_t i = 0; i < c->models.n; i++) {
                const struct config_list *names = &c->models.items[i].aliases;
                for (size_t k = 0; rc == 0 && k < names->n; k++)
                        rc = registry_alias(r, names->items[k], id_of(r, i), err, errn);
        }
        for (size_t i = 0; rc == 0 && i < c->aliases.n; i++)
                rc = registry_alias(r, c->aliases.items[i].name, c->aliases.items[i].model, err, errn);
        return rc ? rc : add_sample_names(r, err, errn);
}

int lineup_open(const struct config *config, struct lineup *ret, char *err, size_t errn)
{
        memset(ret, 0, sizeof(*ret));
        ret->registry = registry_new();
        if (!ret->registry) {
                snprintf(err, errn, "out of memory");
                return -ENOMEM;
        }
        int rc = add_models(ret, config, err, errn);
        if (rc == 0)
                rc = add_aliases(ret->registry, config, err, errn);
        if (rc)
                lineup_release(ret);
        return rc;
}

void lineup_release(struct lineup *l)
{
        registry_free(l->registry);
        memset(l, 0, sizeof(*l));
}

const char *lineup_file(const struct lineup *l, const struct config *config, size_t i)
{
        return config->models.n ? config->models.items[i].path : l->builtin;
}
