/* The configuration file: a YAML mapping, walked with the table of options. Every complaint names file, line
 * and key. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <yaml.h>
#include "base/mem.h"
#include "base/str.h"
#include "cli/config_internal.h"
#include "cli/suggest.h"

#define FILE_MAX (1 << 20)
#define NAME_SIZE 128 /* of "group.option" */
#define WHERE_MAX 512

struct yaml_walk {
        struct loader *l;
        const char *file;
        yaml_document_t *doc;
};

/* ---- nodes ---- */

static const char *scalar(const yaml_node_t *n)
{
        return (const char *)n->data.scalar.value;
}

/* A plain ~, null or nothing: the option is left as it is. */
static bool is_null(const yaml_node_t *n)
{
        if (n->type != YAML_SCALAR_NODE || n->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
                return false;
        const char *text = scalar(n);
        return !*text || !strcmp(text, "~") || !strcmp(text, "null") || !strcmp(text, "Null") ||
               !strcmp(text, "NULL");
}

/* A scalar without NUL bytes, which no value may have. */
static bool is_text(const yaml_node_t *n)
{
        return n->type == YAML_SCALAR_NODE && strlen(scalar(n)) == n->data.scalar.length;
}

static const char *place(const struct yaml_walk *w, const yaml_node_t *n, const char *name, char *out)
{
        snprintf(out, WHERE_MAX, "%s:%zu: '%.100s'", w->file, n->start_mark.line + 1, name);
        return out;
}

static int fail_at(const struct yaml_walk *w, const yaml_node_t *n, const char *name, const char *complaint)
{
        char where[WHERE_MAX];
        return loader_fail(w->l, -EINVAL, place(w, n, name, where), "%s", complaint);
}

/* ---- unknown keys ---- */

/* The name nearest to a mistyped one, among those that may stand in the group `prefix` ("" or "limits."). */
static const char *nearest(const char *prefix, const char *key, char words[64][64])
{
        const char *list[64];
        size_t n = 0;
        for (size_t i = 0; option_at(i); i++) {
                const char *name = option_at(i)->name;
                if (strncmp(name, prefix, strlen(prefix)) != 0)
                        continue;
                name += strlen(prefix);
                snprintf(words[n], 64, "%.*s", (int)strcspn(name, "."), name);
                list[n] = words[n];
                n++;
        }
        return suggest_nearest(key, list, n);
}

static int fail_unknown(const struct yaml_walk *w, const yaml_node_t *n, const char *prefix, const char *key)
{
        char words[64][64], where[WHERE_MAX];
        const char *guess = nearest(prefix, key, words);
        snprintf(where, sizeof(where), "%s:%zu:", w->file, n->start_mark.line + 1);
        if (guess)
                return loader_fail(w->l, -EINVAL, where, "unknown option '%s%.60s' (did you mean '%s%s'?)",
                                   prefix, key, prefix, guess);
        return loader_fail(w->l, -EINVAL, where, "unknown option '%s%.60s'", prefix, key);
}

/* ---- mappings ---- */

typedef int pair_fn(struct yaml_walk *w, void *ctx, const yaml_node_t *key, const yaml_node_t *value);

/* Calls fn for each pair. Keys must be distinct texts. */
static int each_pair(struct yaml_walk *w, const yaml_node_t *map, pair_fn *fn, void *ctx)
{
        const yaml_node_pair_t *first = map->data.mapping.pairs.start, *end = map->data.mapping.pairs.top;
        for (const yaml_node_pair_t *p = first; p < end; p++) {
                const yaml_node_t *key = yaml_document_get_node(w->doc, p->key);
                if (!is_text(key))
                        return fail_at(w, key, "key", "must be a word");
                for (const yaml_node_pair_t *q = first; q < p; q++) {
                        if (!strcmp(scalar(yaml_document_get_node(w->doc, q->key)), scalar(key)))
                                return fail_at(w, key, scalar(key), "stands here for the second time");
                }
                int rc = fn(w, ctx, key, yaml_document_get_node(w->doc, p->value));
                if (rc)
                        return rc;
        }
        return 0;
}

static int set_scalar(struct yaml_walk *w, const struct option *o, const yaml_node_t *n)
{
        char where[WHERE_MAX];
        if (is_null(n))
                return 0;
        if (!is_text(n))
                return fail_at(w, n, o->name, "must be a single value");
        return option_set(w->l, o, place(w, n, o->name, where), scalar(n));
}

/* ---- lists ---- */

static int set_text(char **field, char *value)
{
        if (!value)
                return -ENOMEM;
        *field = value;
        return 0;
}

static int add_model_aliases(struct yaml_walk *w, struct config_model *model, const yaml_node_t *n)
{
        if (n->type != YAML_SEQUENCE_NODE)
                return fail_at(w, n, "models.aliases", "must be a list of names");
        int rc = 0;
        for (yaml_node_item_t *i = n->data.sequence.items.start; i < n->data.sequence.items.top && !rc; i++) {
                const yaml_node_t *item = yaml_document_get_node(w->doc, *i);
                if (!is_text(item) || is_null(item) || !*scalar(item))
                        return fail_at(w, item, "models.aliases", "must be a list of names");
                rc = list_add(&model->aliases, scalar(item));
        }
        return rc;
}

static int adapter_member(struct yaml_walk *w, void *ctx, const yaml_node_t *key, const yaml_node_t *value)
{
        struct config_adapter *adapter = ctx;
        const char *name = scalar(key);
        if (is_null(value))
                return 0;
        if (!is_text(value) || !*scalar(value))
                return fail_at(w, value, "models.adapters", "must hold single values");
        if (!strcmp(name, "path"))
                return set_text(&adapter->path, path_expand(scalar(value)));
        if (strcmp(name, "scale") != 0)
                return fail_at(w, key, name, "is unknown here; an adapter has path and scale");
        return str_to_f64(str_c(scalar(value)), &adapter->scale)
                       ? 0
                       : fail_at(w, value, "models.adapters.scale", "must be a number");
}

/* A list of file names, or of mappings of path and scale. */
static int add_adapters(struct yaml_walk *w, struct config_model *model, const yaml_node_t *n)
{
        if (n->type != YAML_SEQUENCE_NODE)
                return fail_at(w, n, "models.adapters", "must be a list");
        int rc = 0;
        for (yaml_node_item_t *i = n->data.sequence.items.start; i < n->data.sequence.items.top && !rc; i++) {
                const yaml_node_t *item = yaml_document_get_node(w->doc, *i);
                struct config_adapter *adapter;
                rc = adapter_add(model, &adapter);
                if (rc)
                        return rc;
                if (item->type == YAML_MAPPING_NODE)
                        rc = each_pair(w, item, adapter_member, adapter);
                else if (is_text(item) && !is_null(item) && *scalar(item))
                        rc = set_text(&adapter->path, path_expand(scalar(item)));
                if (!rc && !adapter->path)
                        rc = fail_at(w, item, "models.adapters", "needs a path for each adapter");
        }
        return rc;
}

static int model_member(struct yaml_walk *w, void *ctx, const yaml_node_t *key, const yaml_node_t *value)
{
        struct config_model *model = ctx;
        const char *name = scalar(key);
        if (is_null(value))
                return 0;
        if (!strcmp(name, "aliases"))
                return add_model_aliases(w, model, value);
        if (!strcmp(name, "adapters"))
                return add_adapters(w, model, value);
        bool path = !strcmp(name, "path"), id = !strcmp(name, "id");
        if (!path && !id && strcmp(name, "format") != 0)
                return fail_at(w, key, name,
                               "is unknown here; a model has path, id, aliases, format and adapters");
        if (!is_text(value) || !*scalar(value))
                return fail_at(w, value,
                               path ? "models.path"
                               : id ? "models.id"
                                    : "models.format",
                               "must be a text");
        if (path)
                return set_text(&model->path, path_expand(scalar(value)));
        return set_text(id ? &model->id : &model->format, mem_strdup(scalar(value)));
}

static int add_model(struct yaml_walk *w, const struct option *o, const yaml_node_t *n)
{
        struct config_model *model;
        if (n->type != YAML_MAPPING_NODE)
                return fail_at(w, n, o->name, "must hold file names, or mappings of path, id and aliases");
        int rc = model_add(w->l, o, &model);
        if (!rc)
                rc = each_pair(w, n, model_member, model);
        if (!rc && !model->path)
                return fail_at(w, n, o->name, "needs a path for this model");
        return rc;
}

/* A record under way. */
struct record {
        const struct option *o;
        void *item;
};

static int record_pair(struct yaml_walk *w, void *ctx, const yaml_node_t *key, const yaml_node_t *value)
{
        struct record *rec = ctx;
        char where[WHERE_MAX];
        if (is_null(value))
                return 0;
        if (!is_text(value))
                return fail_at(w, value, scalar(key), "must be a single value");
        return record_member(w->l, rec->o, rec->item, place(w, key, rec->o->name, where), scalar(key),
                             scalar(value));
}

static int add_record(struct yaml_walk *w, const struct option *o, const yaml_node_t *n)
{
        struct record rec = { .o = o };
        char where[WHERE_MAX];
        if (n->type != YAML_MAPPING_NODE)
                return fail_at(w, n, o->name, "must hold mappings");
        int rc = record_begin(w->l, o, &rec.item);
        if (!rc)
                rc = each_pair(w, n, record_pair, &rec);
        return rc ? rc : record_check(w->l, o, rec.item, place(w, n, o->name, where));
}

static int set_sequence(struct yaml_walk *w, const struct option *o, const yaml_node_t *n)
{
        char where[WHERE_MAX];
        int rc = 0;
        if (is_null(n))
                return 0;
        if (n->type != YAML_SEQUENCE_NODE)
                return fail_at(w, n, o->name, "must be a list");
        for (yaml_node_item_t *i = n->data.sequence.items.start; i < n->data.sequence.items.top && !rc; i++) {
                const yaml_node_t *item = yaml_document_get_node(w->doc, *i);
                if (is_text(item) && !is_null(item))
                        rc = option_set(w->l, o, place(w, item, o->name, where), scalar(item));
                else if (o->type == OPT_MODELS)
                        rc = add_model(w, o, item);
                else if (option_is_records(o))
                        rc = add_record(w, o, item);
                else
                        rc = fail_at(w, item, o->name, "must be a list of texts");
        }
        return rc;
}

static int alias_pair(struct yaml_walk *w, void *ctx, const yaml_node_t *key, const yaml_node_t *value)
{
        if (!is_text(value) || is_null(value) || !*scalar(value) || !*scalar(key))
                return fail_at(w, value, "aliases", "must map names to models");
        return alias_add(w->l, ctx, scalar(key), scalar(value));
}

/* ---- the walk ---- */

/* A group with a backend may be written as the backend alone. */
static int set_short(struct yaml_walk *w, const char *group, const yaml_node_t *key, const yaml_node_t *value)
{
        char name[NAME_SIZE + 16];
        snprintf(name, sizeof(name), "%s.backend", group);
        const struct option *o = option_find(name);
        return o ? set_scalar(w, o, value) : fail_at(w, key, group, "must be a mapping");
}

static int walk_pair(struct yaml_walk *w, void *ctx, const yaml_node_t *key, const yaml_node_t *value)
{
        const char *prefix = ctx;
        char name[NAME_SIZE];
        snprintf(name, sizeof(name), "%s%.60s", prefix, scalar(key));
        const struct option *o = option_find(name);
        if (!o && option_is_group(name)) {
                if (is_null(value))
                        return 0;
                if (is_text(value)) /* "limits: redis://..." is short for its backend */
                        return set_short(w, name, key, value);
                if (value->type != YAML_MAPPING_NODE)
                        return fail_at(w, key, name, "must be a mapping");
                char below[NAME_SIZE + 1];
                snprintf(below, sizeof(below), "%s.", name);
                return each_pair(w, value, walk_pair, below);
        }
        if (!o)
                return fail_unknown(w, key, prefix, scalar(key));
        if (o->type == OPT_LIST || o->type == OPT_MODELS || option_is_records(o))
                return set_sequence(w, o, value);
        if (o->type != OPT_ALIASES)
                return set_scalar(w, o, value);
        if (is_null(value))
                return 0;
        if (value->type != YAML_MAPPING_NODE)
                return fail_at(w, key, name, "must map names to models");
        return each_pair(w, value, alias_pair, (void *)o);
}

static int walk_document(struct loader *l, const char *path, yaml_document_t *doc)
{
        struct yaml_walk w = { l, path, doc };
        const yaml_node_t *root = yaml_document_get_root_node(doc);
        if (!root || is_null(root))
                return 0;
        if (root->type != YAML_MAPPING_NODE)
                return loader_fail(l, -EINVAL, path, "must be a mapping of options");
        return each_pair(&w, root, walk_pair, (char[]){ "" });
}

static int parser_fail(struct loader *l, const char *path, const yaml_parser_t *p)
{
        char where[WHERE_MAX];
        if (p->error == YAML_MEMORY_ERROR)
                return -ENOMEM;
        size_t line = p->problem_mark.line + 1;
        if (p->error == YAML_READER_ERROR)
                line = p->mark.line + 1;
        snprintf(where, sizeof(where), "%s:%zu:", path, line);
        return loader_fail(l, -EINVAL, where, "%s", p->problem ? p->problem : "not valid YAML");
}

/* One document; a second one would be lost in silence. */
static int read_document(struct loader *l, const char *path, FILE *f)
{
        yaml_parser_t parser;
        yaml_document_t doc, more;
        int rc;
        if (!yaml_parser_initialize(&parser))
                return -ENOMEM;
        yaml_parser_set_input_file(&parser, f);
        if (!yaml_parser_load(&parser, &doc)) {
                rc = parser_fail(l, path, &parser);
                goto out;
        }
        rc = walk_document(l, path, &doc);
        yaml_document_delete(&doc);
        if (rc)
                goto out;
        if (!yaml_parser_load(&parser, &more)) {
                rc = parser_fail(l, path, &parser);
                goto out;
        }
        if (yaml_document_get_root_node(&more))
                rc = loader_fail(l, -EINVAL, path, "holds more than one document");
        yaml_document_delete(&more);
out:
        yaml_parser_delete(&parser);
        return rc;
}

int config_read_yaml(struct loader *l, const char *path)
{
        struct stat st;
        l->replaced = 0;
        FILE *f = fopen(path, "rbe");
        if (!f)
                return loader_fail(l, -errno, path, "cannot be read: %s", strerror(errno));
        int rc = fstat(fileno(f), &st) ? -errno : 0;
        if (!rc && S_ISDIR(st.st_mode))
                rc = loader_fail(l, -EINVAL, path, "is a directory");
        else if (!rc && st.st_size > FILE_MAX)
                rc = loader_fail(l, -EINVAL, path, "is longer than %d bytes", FILE_MAX);
        if (!rc)
                rc = read_document(l, path, f);
        if (!rc) {
                l->c->_file = mem_strdup(path);
                rc = l->c->_file ? 0 : -ENOMEM;
        }
        fclose(f);
        return rc;
}
