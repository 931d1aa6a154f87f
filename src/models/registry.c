#include "models/registry.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "base/mem.h"
#include "base/vec.h"
#include "engine/engine.h"

struct alias {
        char *name;
        const struct model *model;
};

struct registry {
        struct VEC(struct model *) models;
        struct VEC(struct alias) aliases;
};

struct registry *registry_new(void)
{
        return mem_calloc(1, sizeof(struct registry));
}

static void model_free(struct model *m)
{
        engine_model_close(m->engine);
        mem_free((char *)m->id);
        mem_free(m);
}

void registry_free(struct registry *r)
{
        if (!r)
                return;
        for (size_t i = 0; i < r->models.n; i++)
                model_free(r->models.p[i]);
        for (size_t i = 0; i < r->aliases.n; i++)
                mem_free(r->aliases.p[i].name);
        vec_release(&r->models);
        vec_release(&r->aliases);
        mem_free(r);
}

/* "dir/name.gguf" gives "name". */
static char *id_of_path(const char *path)
{
        const char *slash = strrchr(path, '/');
        const char *name = slash ? slash + 1 : path;
        size_t n = strlen(name);
        if (n > 5 && strcmp(name + n - 5, ".gguf") == 0)
                n -= 5;
        return mem_strndup(name, n);
}

static struct model *find_id(const struct registry *r, struct str id)
{
        for (size_t i = 0; i < r->models.n; i++)
                if (str_eqc(id, r->models.p[i]->id))
                        return r->models.p[i];
        return NULL;
}

int registry_add_file(struct registry *r, const char *id, const char *path, const struct engine_opts *opts,
                      char *err, size_t errn)
{
        struct stat st;
        if (stat(path, &st)) {
                int rc = -errno;
                snprintf(err, errn, "model %s: %s", path, strerror(-rc));
                return rc;
        }
        int rc = -ENOMEM;
        struct model *m = mem_calloc(1, sizeof(*m));
        if (!m)
                goto out;
        m->id = id ? mem_strdup(id) : id_of_path(path);
        if (!m->id)
                goto out;
        if (find_id(r, str_c(m->id))) {
                snprintf(err, errn, "model %s: the id '%s' is taken by another model", path, m->id);
                rc = -EEXIST;
                goto out;
        }
        char why[256];
        rc = engine_model_open(path, opts, &m->engine, why, sizeof(why));
        if (rc) {
                snprintf(err, errn, "model %s: %s", path, why);
                goto out;
        }
        const struct engine_info *info = engine_model_info(m->engine);
        m->owned_by = "cairn";
        m->created = st.st_mtime;
        m->n_ctx = info->n_ctx;
        m->n_embd = info->n_embd;
        m->chat = info->has_chat;
        rc = vec_push(&r->models, m) ? -ENOMEM : 0;
out:
        if (rc && m)
                model_free(m);
        if (rc == -ENOMEM)
                snprintf(err, errn, "model %s: out of memory", path);
        return rc;
}

int registry_alias(struct registry *r, const char *alias, const char *target, char *err, size_t errn)
{
        const struct model *m = registry_find(r, str_c(target));
        if (!m) {
                snprintf(err, errn, "alias '%s': there is no model '%s'", alias, target);
                return -ENOENT;
        }
        if (find_id(r, str_c(alias))) {
                snprintf(err, errn, "alias '%s' is the id of a model", alias);
                return -EEXIST;
        }
        for (size_t i = 0; i < r->aliases.n; i++) {
                if (strcmp(r->aliases.p[i].name, alias) == 0) {
                        r->aliases.p[i].model = m;
                        return 0;
                }
        }
        struct alias a = { mem_strdup(alias), m };
        if (!a.name || vec_push(&r->aliases, a)) {
                mem_free(a.name);
                snprintf(err, errn, "alias '%s': out of memory", alias);
                return -ENOMEM;
        }
        return 0;
}

const struct model *registry_find(const struct registry *r, struct str name)
{
        const struct model *m = find_id(r, name);
        for (size_t i = 0; !m && i < r->aliases.n; i++)
                if (str_eqc(name, r->aliases.p[i].name))
                        m = r->aliases.p[i].model;
        return m;
}

bool registry_next(const struct registry *r, size_t *it, const char **ret_name, const struct model **ret)
{
        size_t i = (*it)++;
        if (i < r->models.n) {
                *ret = r->models.p[i];
                *ret_name = (*ret)->id;
                return true;
        }
        i -= r->models.n;
        if (i >= r->aliases.n)
                return false;
        *ret = r->aliases.p[i].model;
        *ret_name = r->aliases.p[i].name;
        return true;
}
