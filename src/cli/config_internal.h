/* Shared by config.c (the table, values, command line, environment) and config_yaml.c (the file). */
#ifndef CAIRN_CLI_CONFIG_INTERNAL_H
#define CAIRN_CLI_CONFIG_INTERNAL_H

#include "cli/config.h"

enum option_type {
        OPT_STRING,
        OPT_PATH,   /* a leading "~/" is the home directory */
        OPT_LISTEN, /* HOST:PORT */
        OPT_INT,
        OPT_SIZE, /* bytes; suffixes K, M, G, T with or without "iB" or "B", of 1024 */
        OPT_TIME, /* seconds; suffixes s, m, h, d */
        OPT_WORD, /* one of `words`; its index is stored */
        OPT_LIST, /* of strings */
        OPT_MODELS,
        OPT_ALIASES,
        OPT_RATES,  /* records: mappings in the file, "NAME=VALUE NAME=VALUE" elsewhere */
        OPT_PRICES, /* records too */
};

struct option {
        const char *name; /* path in the file, "limits.max_body" */
        const char *flag; /* without its dashes; NULL: no flag, for secrets would be seen in `ps` */
        const char *env;
        const char *meta; /* what stands for the value in the help */
        const char *help;
        const char *dflt; /* as text; NULL: unset */
        const char *const *words;
        int64_t min, max;
        size_t offset; /* of the member of struct config */
        enum option_type type;
};

/* The loading of one configuration. Lists of a later layer replace those of an earlier one. */
struct loader {
        struct config *c;
        char *err;
        size_t errn;
        uint64_t replaced; /* bit i: this layer has begun the list of option i */
};

const struct option *option_at(size_t i); /* NULL behind the last */
/* The option with this path, or NULL. */
const struct option *option_find(const char *name);
/* True when options lie below `name`, as "limits.max_body" below "limits". */
bool option_is_group(const char *name);

/* Writes "where complaint" into the loader's message; returns rc. */
int loader_fail(struct loader *l, int rc, const char *where, const char *fmt, ...)
        __attribute__((format(printf, 4, 5)));
/* Sets the option from text; of a list, adds an item (an alias is "name=model"). `where` names the place in
 * messages, such as "--listen" or "cairn.yaml:3: 'listen'". */
int option_set(struct loader *l, const struct option *o, const char *where, const char *text);
/* Adds an empty model to fill, or an alias. */
int model_add(struct loader *l, const struct option *o, struct config_model **ret);
int adapter_add(struct config_model *model, struct config_adapter **ret); /* without a path, of scale 1 */
int alias_add(struct loader *l, const struct option *o, const char *name, const char *model);
int list_add(struct config_list *list, const char *text);
char *path_expand(const char *text); /* a copy, with "~/" expanded */

/* ---- config_limits.c: records ---- */

bool option_is_records(const struct option *o);
/* Adds an empty record, of which the members are then set; record_check() ends it. */
int record_begin(struct loader *l, const struct option *o, void **ret);
int record_add(struct config *c, const struct option *o, void **ret);
int record_member(struct loader *l, const struct option *o, void *item, const char *where, const char *name,
                  const char *text);
int record_check(struct loader *l, const struct option *o, const void *item, const char *where);
/* All of it from "NAME=VALUE NAME=VALUE". */
int record_read(struct loader *l, const struct option *o, void *item, const char *where, const char *text);
void rates_release(struct config_rates *rates);
void prices_release(struct config_prices *prices);

/* Reads the file into the loader's configuration. */
int config_read_yaml(struct loader *l, const char *path);
#endif
