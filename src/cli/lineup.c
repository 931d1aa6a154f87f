#include "cli/lineup.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "base/mem.h"
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

/* A name for a directory: the id, or else the end of the path, with what is special in names of files written
 * as %XX; no two ids have the same. -ENAMETOOLONG. */
static int dir_name(const struct config_model *m, char *ret, size_t n)
{
        const char *slash = strrchr(m->path, '/');
        const char *name = m->id ? m->id : slash ? slash + 1 : m->path;
        size_t used = 0;
        for (const char *c = name; *c; c++) {
                bool plain = isalnum((unsigned char)*c) || strchr("-_", *c) || (*c == '.' && c != name);
                if (used + 4 > n)
                        return -ENAMETOOLONG;
                used += (size_t)snprintf(ret + used, n - used, plain ? "%c" : "%%%02X", (unsigned char)*c);
        }
        ret[used] = '\0';
        return used ? 0 : -EINVAL;
}

/* Where the KV of a model's stored conversations is kept: DATA/kv/ID, and DATA/kv is made. */
static int kv_dir(const struct config *c, const struct config_model *m, char *ret, size_t n, char *err,
                  size_t errn)
{
        char parent[PATH_MAX], id[NAME_MAX];
        if (dir_name(m, id, sizeof(id))) {
                snprintf(err, errn, "model %s: the id is no name for a directory", m->path);
                return -ENAMETOOLONG;
        }
        int k = snprintf(parent, sizeof(parent), "%s/kv", c->data);
        if (k < 0 || (size_t)k >= sizeof(parent) || snprintf(ret, n, "%s/%s", parent, id) >= (int)n) {
                snprintf(err, errn, "data: the path is too long");
                return -ENAMETOOLONG;
        }
        if ((mkdir(c->data, 0700) && errno != EEXIST) || (mkdir(parent, 0700) && errno != EEXIST)) {
                int rc = -errno;
                snprintf(err, errn, "%s: %s", parent, strerror(-rc));
                return rc;
        }
        return 0;
}

static int add_model(struct registry *r, const struct config *c, const struct config_model *m, char *err,
                     size_t errn)
{
        struct engine_adapter *adapters = mem_calloc(m->adapters.n, sizeof(*adapters));
        char dir[PATH_MAX];
        struct engine_opts opts = { .threads = (int)c->threads.engine,
                                    .ctx_max = (int)c->engine.context,
                                    .kv_bytes = (size_t)c->engine.kv_memory,
                                    .max_batch = (int)c->engine.batch,
                                    .max_queue = (int)c->engine.queue,
                                    .kv_type = (enum engine_kv_type)c->engine.kv_type,
                                    .kv_disk_bytes = (size_t)c->engine.kv_disk,
                                    .adapters = adapters,
                                    .n_adapters = m->adapters.n,
                                    .no_lookup = c->engine.lookup == CONFIG_OFF };
        struct model_file file = { .path = m->path, .id = m->id, .format = m->format, .opts = &opts };
        int rc = adapters ? 0 : -ENOMEM;
        for (size_t i = 0; !rc && i < m->adapters.n; i++)
                adapters[i] = (struct engine_adapter){ m->adapters.items[i].path,
                                                       (float)m->adapters.items[i].scale };
        if (rc)
                snprintf(err, errn, "out of memory");
        if (!rc && c->engine.kv_disk) {
                rc = kv_dir(c, m, dir, sizeof(dir), err, errn);
                opts.kv_dir = dir;
        }
        if (!rc)
                rc = registry_add(r, &file, err, errn);
        mem_free(adapters);
        return rc;
}

static int add_models(struct lineup *l, const struct config *c, char *err, size_t errn)
{
        int rc = 0;
        if (!c->models.n) {
                struct config_model builtin = { .path = l->builtin, .id = (char[]){ BUILTIN_ID } };
                rc = builtin_find(BUILTIN_FILE, l->builtin, sizeof(l->builtin), err, errn);
                return rc ? rc : add_model(l->registry, c, &builtin, err, errn);
        }
        for (size_t i = 0; !rc && i < c->models.n; i++)
                rc = add_model(l->registry, c, &c->models.items[i], err, errn);
        return rc;
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

int lineup_open(const struct config *config, lineup_report_fn *report, struct lineup *ret, char *err,
                size_t errn)
{
        struct registry_opts opts = { .memory = (uint64_t)config->engine.memory,
                                      .background = report != NULL,
                                      .on_state = report };
        memset(ret, 0, sizeof(*ret));
        ret->registry = registry_new();
        if (!ret->registry) {
                snprintf(err, errn, "out of memory");
                return -ENOMEM;
        }
        registry_configure(ret->registry, &opts);
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
