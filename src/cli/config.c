/* The table of options, values as text, the command line, the environment and the help. */
#include "cli/config_internal.h"

#include <errno.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"
#include "base/str.h"
#include "cli/suggest.h"

static const char *const log_formats[] = { "json", "text", NULL };
static const char *const log_levels[] = { "debug", "info", "warn", "error", NULL };
static const char *const kv_types[] = { "f16", "q8_0", NULL };
static const char *const switches[] = { "off", "on", NULL };
static const char *const unreachable_modes[] = { "alone", "refuse", NULL };
static const char *const unknown_modes[] = { "reject", "ignore", NULL };

#define AT(member) .offset = offsetof(struct config, member)
#define KIB INT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define TIB (1024 * GIB)
#define DAY INT64_C(86400)

static const struct option options[] = {
        { "listen", "listen", "CAIRN_LISTEN", "HOST:PORT", "address to serve on; port 0 picks a free one",
          "127.0.0.1:8080", .type = OPT_LISTEN, AT(listen) },
        { "data", "data", "CAIRN_DATA", "DIR", "data directory [~/.local/share/cairn]", .type = OPT_PATH,
          AT(data) },
        { "database", "database", "CAIRN_DATABASE", "URL",
          "postgres://... shared by several servers, in place of the data directory's", .type = OPT_STRING,
          AT(database) },
        { "blobs", "blobs", "CAIRN_BLOBS", "URL",
          "s3://BUCKET/PREFIX for the contents of files, in place of the data directory", .type = OPT_STRING,
          AT(blobs) },
        { "s3_endpoint", "s3-endpoint", "CAIRN_S3_ENDPOINT", "URL",
          "the S3 service [Amazon's for the region]", .type = OPT_STRING, AT(s3_endpoint) },
        { "s3_region", "s3-region", "CAIRN_S3_REGION", "NAME", "its region [AWS_REGION, else us-east-1]",
          .type = OPT_STRING, AT(s3_region) },
        { "s3_key", NULL, "CAIRN_S3_KEY", "KEY", "access key of the S3 service [AWS_ACCESS_KEY_ID]",
          .type = OPT_STRING, AT(s3_key) },
        { "s3_secret", NULL, "CAIRN_S3_SECRET", "SECRET", "its secret [AWS_SECRET_ACCESS_KEY]",
          .type = OPT_STRING, AT(s3_secret) },
        { "secret", NULL, "CAIRN_SECRET", "HEX", "64 digits, the same on all servers of a database",
          .type = OPT_STRING, AT(secret) },
        { "models", "model", "CAIRN_MODEL", "FILE", "GGUF model to serve, repeatable [the built-in one]",
          .type = OPT_MODELS, AT(models) },
        { "aliases", "alias", "CAIRN_ALIAS", "NAME=MODEL", "another name of a model, repeatable",
          .type = OPT_ALIASES, AT(aliases) },
        { "api_key", NULL, "CAIRN_API_KEY", "KEY", "value of a project key", .type = OPT_STRING,
          AT(api_key) },
        { "admin_key", NULL, "CAIRN_ADMIN_KEY", "KEY", "value of an admin key", .type = OPT_STRING,
          AT(admin_key) },
        { "log.format", "log", "CAIRN_LOG", "json|text", "form of the log on stderr", "json", log_formats,
          .type = OPT_WORD, AT(log.format) },
        { "log.level", "log-level", "CAIRN_LOG_LEVEL", "LEVEL", "debug, info, warn or error", "info",
          log_levels, .type = OPT_WORD, AT(log.level) },
        { "cors_origins", "cors-origin", "CAIRN_CORS_ORIGIN", "ORIGIN",
          "origin whose web pages may call, or *; repeatable [none]", .type = OPT_LIST, AT(cors_origins) },
        { "outbound_allow", "outbound-allow", "CAIRN_OUTBOUND_ALLOW", "NETWORK|HOST",
          "private network or host that webhooks may reach, repeatable [none]", .type = OPT_LIST,
          AT(outbound_allow) },
        { "outbound_ca", "outbound-ca", "CAIRN_OUTBOUND_CA", "FILE",
          "PEM authorities that outgoing requests trust instead of the system's", .type = OPT_PATH,
          AT(outbound_ca) },
        { "unknown_parameters", "unknown-parameters", "CAIRN_UNKNOWN_PARAMETERS", "reject|ignore",
          "what a request's unknown fields get", "reject", unknown_modes, .type = OPT_WORD,
          AT(unknown_parameters) },
        { "limits.max_body", "max-body", "CAIRN_MAX_BODY", "SIZE", "longest JSON body", "64M", NULL, KIB,
          2 * GIB, .type = OPT_SIZE, AT(limits.max_body) },
        { "limits.max_file", "max-file", "CAIRN_MAX_FILE", "SIZE", "longest file of one request", "512M",
          NULL, KIB, 64 * GIB, .type = OPT_SIZE, AT(limits.max_file) },
        { "limits.max_connections", "max-connections", "CAIRN_MAX_CONNECTIONS", "N", "connections held open",
          "16384", NULL, 1, 1000000, .type = OPT_INT, AT(limits.max_connections) },
        { "limits.header_timeout", "header-timeout", "CAIRN_HEADER_TIMEOUT", "TIME",
          "for a request's headers", "15s", NULL, 1, DAY, .type = OPT_TIME, AT(limits.header_timeout) },
        { "limits.body_timeout", "body-timeout", "CAIRN_BODY_TIMEOUT", "TIME", "for a request's body", "30s",
          NULL, 1, DAY, .type = OPT_TIME, AT(limits.body_timeout) },
        { "limits.idle_timeout", "idle-timeout", "CAIRN_IDLE_TIMEOUT", "TIME", "between two requests", "75s",
          NULL, 1, DAY, .type = OPT_TIME, AT(limits.idle_timeout) },
        { "limits.write_timeout", "write-timeout", "CAIRN_WRITE_TIMEOUT", "TIME",
          "for a client that does not read its reply", "60s", NULL, 1, DAY, .type = OPT_TIME,
          AT(limits.write_timeout) },
        { "limits.backend", "limits", "CAIRN_LIMITS", "memory|store|URL",
          "where rate limits are kept: in memory, in the store, redis://HOST:PORT/DB [by the store]",
          .type = OPT_STRING, AT(limits.backend) },
        { "limits.unreachable", "limits-unreachable", "CAIRN_LIMITS_UNREACHABLE", "alone|refuse",
          "while that place cannot be reached: each process limits alone, or requests are refused", "alone",
          unreachable_modes, .type = OPT_WORD, AT(limits.unreachable) },
        { "rate_limits", "rate-limit", "CAIRN_RATE_LIMIT", "RULE",
          "as 'project=ID tier=tier_1 requests_per_minute=100', repeatable [no limits]", .type = OPT_RATES,
          AT(rate_limits) },
        { "prices", "price", "CAIRN_PRICE", "PRICE",
          "as 'model=NAME input=1.25 output=10', US dollars a million tokens, repeatable [none]",
          .type = OPT_PRICES, AT(prices) },
        { "tls.cert", "tls-cert", "CAIRN_TLS_CERT", "FILE", "PEM certificate chain; turns TLS on",
          .type = OPT_PATH, AT(tls.cert) },
        { "tls.key", "tls-key", "CAIRN_TLS_KEY", "FILE", "its PEM private key", .type = OPT_PATH,
          AT(tls.key) },
        { "tls.client_ca", "tls-client-ca", "CAIRN_TLS_CLIENT_CA", "FILE",
          "PEM authorities; clients must show a certificate of theirs", .type = OPT_PATH, AT(tls.client_ca) },
        { "threads.http", "http-threads", "CAIRN_HTTP_THREADS", "N",
          "threads for connections, 0: by the machine", "0", NULL, 0, 1024, .type = OPT_INT,
          AT(threads.http) },
        { "threads.workers", "workers", "CAIRN_WORKERS", "N",
          "threads for requests that block, 0: by the machine", "0", NULL, 0, 4096, .type = OPT_INT,
          AT(threads.workers) },
        { "threads.engine", "engine-threads", "CAIRN_ENGINE_THREADS", "N",
          "threads for inference, 0: by the machine", "0", NULL, 0, 1024, .type = OPT_INT,
          AT(threads.engine) },
        { "engine.context", "context", "CAIRN_CONTEXT", "TOKENS", "longest sequence, 0: the model's own", "0",
          NULL, 0, 16777216, .type = OPT_INT, AT(engine.context) },
        { "engine.kv_memory", "kv-memory", "CAIRN_KV_MEMORY", "SIZE",
          "memory of the KV cache, 0: by the machine", "0", NULL, 0, 1024 * TIB, .type = OPT_SIZE,
          AT(engine.kv_memory) },
        { "engine.batch", "batch", "CAIRN_BATCH", "N", "sequences decoded together", "32", NULL, 1, 256,
          .type = OPT_INT, AT(engine.batch) },
        { "engine.queue", "queue", "CAIRN_QUEUE", "N", "turns that may wait for the engine", "1024", NULL, 1,
          1000000, .type = OPT_INT, AT(engine.queue) },
        { "engine.kv_type", "kv-type", "CAIRN_KV_TYPE", "f16|q8_0",
          "form of the KV cache; q8_0 takes half the memory", "f16", kv_types, .type = OPT_WORD,
          AT(engine.kv_type) },
        { "engine.kv_disk", "kv-disk", "CAIRN_KV_DISK", "SIZE",
          "KV of stored conversations kept on disk for each model, 0: none", "0", NULL, 0, 1024 * TIB,
          .type = OPT_SIZE, AT(engine.kv_disk) },
        { "engine.memory", "models-memory", "CAIRN_MODELS_MEMORY", "SIZE",
          "memory of all models together, 0: no limit", "0", NULL, 0, 1024 * TIB, .type = OPT_SIZE,
          AT(engine.memory) },
        { "engine.lookup", "lookup", "CAIRN_LOOKUP", "on|off",
          "guess repetitions ahead; never changes an answer", "on", switches, .type = OPT_WORD,
          AT(engine.lookup) },
        { "batch_lines", "batch-lines", "CAIRN_BATCH_LINES", "N",
          "lines of batches at work together, 0: twice engine.batch", "0", NULL, 0, 4096, .type = OPT_INT,
          AT(batch_lines) },
        { "moderation_model", "moderation-model", "CAIRN_MODERATION_MODEL", "FILE",
          "classifier of texts for /v1/moderations [the built-in one]", .type = OPT_STRING,
          AT(moderation_model) },
        { "shutdown_grace", "shutdown-grace", "CAIRN_SHUTDOWN_GRACE", "TIME",
          "for streams to end after SIGTERM", "30s", NULL, 0, DAY, .type = OPT_TIME, AT(shutdown_grace) },
        { "background", "background", "CAIRN_BACKGROUND", "N", "background responses that run at once", "256",
          NULL, 1, 4096, .type = OPT_INT, AT(background) },
        { "response_retention", "response-retention", "CAIRN_RESPONSE_RETENTION", "TIME",
          "how long stored responses are kept", "30d", NULL, 60, 36500 * DAY, .type = OPT_TIME,
          AT(response_retention) },
};

#define N_OPTIONS (sizeof(options) / sizeof(*options))
_Static_assert(N_OPTIONS <= 64, "loader.replaced has 64 bits");

const struct option *option_at(size_t i)
{
        return i < N_OPTIONS ? &options[i] : NULL;
}

const struct option *option_find(const char *name)
{
        for (size_t i = 0; i < N_OPTIONS; i++) {
                if (!strcmp(options[i].name, name))
                        return &options[i];
        }
        return NULL;
}

bool option_is_group(const char *name)
{
        size_t n = strlen(name);
        for (size_t i = 0; i < N_OPTIONS; i++) {
                if (!strncmp(options[i].name, name, n) && options[i].name[n] == '.')
                        return true;
        }
        return false;
}

int loader_fail(struct loader *l, int rc, const char *where, const char *fmt, ...)
{
        va_list ap;
        int n = snprintf(l->err, l->errn, "%s ", where);
        va_start(ap, fmt);
        if (n >= 0 && (size_t)n < l->errn)
                vsnprintf(l->err + n, l->errn - (size_t)n, fmt, ap);
        va_end(ap);
        return rc;
}

/* ---- values ---- */

char *path_expand(const char *text)
{
        const char *home = getenv("HOME");
        if (strncmp(text, "~/", 2) != 0 || !home || !*home)
                return mem_strdup(text);
        size_t size = strlen(home) + strlen(text);
        char *path = mem_alloc(size);
        if (path)
                snprintf(path, size, "%s%s", home, text + 1);
        return path;
}

static int set_string(char **field, char *value)
{
        if (!value)
                return -ENOMEM;
        mem_free(*field);
        *field = value;
        return 0;
}

/* "HOST:PORT" or "[v6]:PORT" */
static bool listen_split(const char *text, struct str *ret_host, int64_t *ret_port)
{
        const char *colon = strrchr(text, ':');
        if (!colon || colon == text)
                return false;
        struct str host = { text, (size_t)(colon - text) };
        if (host.p[0] == '[' && host.n > 2 && host.p[host.n - 1] == ']')
                host = (struct str){ host.p + 1, host.n - 2 };
        else if (memchr(host.p, ':', host.n) || memchr(host.p, '[', host.n))
                return false;
        *ret_host = host;
        return str_to_i64(str_c(colon + 1), ret_port) && *ret_port >= 0 && *ret_port <= 65535;
}

int config_listen(const struct config *c, char *ret_host, size_t n, int *ret_port)
{
        struct str host;
        int64_t port;
        if (!listen_split(c->listen, &host, &port) || host.n >= n)
                return -EINVAL;
        memcpy(ret_host, host.p, host.n);
        ret_host[host.n] = '\0';
        *ret_port = (int)port;
        return 0;
}

struct unit {
        const char *suffix;
        int64_t factor;
};

/* How each type of number is written, and called in complaints. */
static const struct {
        const char *form, *noun;
        struct unit units[16];
} numbers[] = {
        [OPT_INT] = { "a whole number", "", { { "", 1 } } },
        [OPT_SIZE] = { "a size, such as 64M",
                       " bytes",
                       { { "", 1 },
                         { "B", 1 },
                         { "K", KIB },
                         { "KB", KIB },
                         { "KIB", KIB },
                         { "M", MIB },
                         { "MB", MIB },
                         { "MIB", MIB },
                         { "G", GIB },
                         { "GB", GIB },
                         { "GIB", GIB },
                         { "T", TIB },
                         { "TB", TIB },
                         { "TIB", TIB } } },
        [OPT_TIME] = { "a time, such as 30s or 5m",
                       " seconds",
                       { { "", 1 }, { "S", 1 }, { "M", 60 }, { "H", 3600 }, { "D", DAY } } },
};

static bool number_parse(const char *text, const struct unit *units, int64_t *ret)
{
        struct str digits = { text, strspn(text, "0123456789") };
        int64_t value;
        if (!str_to_i64(digits, &value))
                return false;
        for (const struct unit *u = units; u->suffix; u++) {
                if (str_ieqc(str_c(text + digits.n), u->suffix))
                        return !__builtin_mul_overflow(value, u->factor, ret);
        }
        return false;
}

static int set_number(struct loader *l, const struct option *o, const char *where, const char *text)
{
        int64_t *field = (int64_t *)((char *)l->c + o->offset), value;
        if (!number_parse(text, numbers[o->type].units, &value))
                return loader_fail(l, -EINVAL, where, "must be %s, not '%.60s'", numbers[o->type].form, text);
        if (value < o->min || value > o->max)
                return loader_fail(l, -EINVAL, where, "must be %lld to %lld%s, not %lld", (long long)o->min,
                                   (long long)o->max, numbers[o->type].noun, (long long)value);
        *field = value;
        return 0;
}

static int set_word(struct loader *l, const struct option *o, const char *where, const char *text)
{
        char all[128] = "";
        for (int i = 0; o->words[i]; i++) {
                if (!strcmp(o->words[i], text)) {
                        *(int *)((char *)l->c + o->offset) = i;
                        return 0;
                }
                size_t n = strlen(all);
                snprintf(all + n, sizeof(all) - n, "%s%s", i ? ", " : "", o->words[i]);
        }
        return loader_fail(l, -EINVAL, where, "must be one of %s, not '%.60s'", all, text);
}

/* ---- lists ---- */

static void list_release(struct config_list *list)
{
        for (size_t i = 0; i < list->n; i++)
                mem_free(list->items[i]);
        mem_free(list->items);
        memset(list, 0, sizeof(*list));
}

static void adapters_release(struct config_adapters *adapters)
{
        for (size_t i = 0; i < adapters->n; i++)
                mem_free(adapters->items[i].path);
        mem_free(adapters->items);
        memset(adapters, 0, sizeof(*adapters));
}

static void models_release(struct config_models *models)
{
        for (size_t i = 0; i < models->n; i++) {
                mem_free(models->items[i].path);
                mem_free(models->items[i].id);
                mem_free(models->items[i].format);
                adapters_release(&models->items[i].adapters);
                list_release(&models->items[i].aliases);
        }
        mem_free(models->items);
        memset(models, 0, sizeof(*models));
}

static void aliases_release(struct config_aliases *aliases)
{
        for (size_t i = 0; i < aliases->n; i++) {
                mem_free(aliases->items[i].name);
                mem_free(aliases->items[i].model);
        }
        mem_free(aliases->items);
        memset(aliases, 0, sizeof(*aliases));
}

int list_add(struct config_list *list, const char *text)
{
        char *copy = mem_strdup(text);
        char **items = mem_realloc(list->items, list->n + 1, sizeof(*items));
        if (items)
                list->items = items;
        if (!items || !copy) {
                mem_free(copy);
                return -ENOMEM;
        }
        list->items[list->n++] = copy;
        return 0;
}

/* The first item of a layer puts away what earlier layers said. */
static void list_begin(struct loader *l, const struct option *o)
{
        uint64_t bit = UINT64_C(1) << (o - options);
        void *field = (char *)l->c + o->offset;
        if (l->replaced & bit)
                return;
        l->replaced |= bit;
        if (o->type == OPT_LIST)
                list_release(field);
        else if (o->type == OPT_MODELS)
                models_release(field);
        else if (o->type == OPT_RATES)
                rates_release(field);
        else if (o->type == OPT_PRICES)
                prices_release(field);
        else
                aliases_release(field);
}

int model_add(struct loader *l, const struct option *o, struct config_model **ret)
{
        struct config_models *models = (void *)((char *)l->c + o->offset);
        list_begin(l, o);
        struct config_model *items = mem_realloc(models->items, models->n + 1, sizeof(*items));
        if (!items)
                return -ENOMEM;
        models->items = items;
        *ret = &items[models->n++];
        memset(*ret, 0, sizeof(**ret));
        return 0;
}

int record_begin(struct loader *l, const struct option *o, void **ret)
{
        list_begin(l, o);
        return record_add(l->c, o, ret);
}

int adapter_add(struct config_model *model, struct config_adapter **ret)
{
        struct config_adapters *a = &model->adapters;
        struct config_adapter *items = mem_realloc(a->items, a->n + 1, sizeof(*items));
        if (!items)
                return -ENOMEM;
        a->items = items;
        *ret = &items[a->n++];
        **ret = (struct config_adapter){ .scale = 1 };
        return 0;
}

int alias_add(struct loader *l, const struct option *o, const char *name, const char *model)
{
        struct config_aliases *aliases = (void *)((char *)l->c + o->offset);
        list_begin(l, o);
        struct config_alias *items = mem_realloc(aliases->items, aliases->n + 1, sizeof(*items));
        if (!items)
                return -ENOMEM;
        aliases->items = items;
        struct config_alias alias = { mem_strdup(name), mem_strdup(model) };
        if (!alias.name || !alias.model) {
                mem_free(alias.name);
                mem_free(alias.model);
                return -ENOMEM;
        }
        items[aliases->n++] = alias;
        return 0;
}

static int set_alias(struct loader *l, const struct option *o, const char *where, const char *text)
{
        const char *equals = strchr(text, '=');
        if (!equals || equals == text || !equals[1])
                return loader_fail(l, -EINVAL, where, "must be NAME=MODEL, not '%.60s'", text);
        char *name = mem_strndup(text, (size_t)(equals - text));
        int rc = name ? alias_add(l, o, name, equals + 1) : -ENOMEM;
        mem_free(name);
        return rc;
}

static int set_model(struct loader *l, const struct option *o, const char *text)
{
        struct config_model *model;
        int rc = model_add(l, o, &model);
        return rc ? rc : set_string(&model->path, path_expand(text));
}

int option_set(struct loader *l, const struct option *o, const char *where, const char *text)
{
        void *field = (char *)l->c + o->offset;
        struct str host;
        int64_t port;
        void *record;
        if (!*text)
                return loader_fail(l, -EINVAL, where, "must not be empty");
        switch (o->type) {
        case OPT_LISTEN:
                if (!listen_split(text, &host, &port))
                        return loader_fail(l, -EINVAL, where, "must be HOST:PORT, not '%.60s'", text);
                return set_string(field, mem_strdup(text));
        case OPT_STRING:
                return set_string(field, mem_strdup(text));
        case OPT_PATH:
                return set_string(field, path_expand(text));
        case OPT_INT:
        case OPT_SIZE:
        case OPT_TIME:
                return set_number(l, o, where, text);
        case OPT_WORD:
                return set_word(l, o, where, text);
        case OPT_LIST:
                list_begin(l, o);
                return list_add(field, text);
        case OPT_MODELS:
                return set_model(l, o, text);
        case OPT_ALIASES:
                return set_alias(l, o, where, text);
        case OPT_RATES:
        case OPT_PRICES:
                if (record_begin(l, o, &record))
                        return -ENOMEM;
                return record_read(l, o, record, where, text);
        }
        return -EINVAL;
}

/* ---- layers ---- */

static bool is_list(const struct option *o)
{
        return o->type == OPT_LIST || o->type == OPT_MODELS || o->type == OPT_ALIASES || option_is_records(o);
}

static int set_defaults(struct loader *l)
{
        int rc = 0;
        for (size_t i = 0; i < N_OPTIONS && !rc; i++) {
                if (options[i].dflt)
                        rc = option_set(l, &options[i], options[i].name, options[i].dflt);
        }
        return rc;
}

/* Lists are separated by commas. An empty variable is as good as none. */
static int read_environment(struct loader *l)
{
        int rc = 0;
        l->replaced = 0;
        for (size_t i = 0; i < N_OPTIONS && !rc; i++) {
                const struct option *o = &options[i];
                const char *value = getenv(o->env);
                if (!value || !*value)
                        continue;
                if (!is_list(o)) {
                        rc = option_set(l, o, o->env, value);
                        continue;
                }
                struct str rest = str_c(value);
                while (rest.p && !rc) {
                        struct str item = str_trim(str_split(rest, ',', &rest));
                        char *text = mem_strndup(item.p, item.n);
                        rc = text ? option_set(l, o, o->env, text) : -ENOMEM;
                        mem_free(text);
                }
        }
        return rc;
}

static const struct option *flag_find(struct str name)
{
        for (size_t i = 0; i < N_OPTIONS; i++) {
                if (options[i].flag && str_eqc(name, options[i].flag))
                        return &options[i];
        }
        return NULL;
}

static int flag_unknown(struct loader *l, struct str name)
{
        const char *flags[N_OPTIONS];
        char typed[64];
        size_t n = 0;
        for (size_t i = 0; i < N_OPTIONS; i++) {
                if (options[i].flag)
                        flags[n++] = options[i].flag;
        }
        snprintf(typed, sizeof(typed), "%.*s", STR_ARG(name));
        const char *guess = suggest_nearest(typed, flags, n);
        if (guess)
                return loader_fail(l, -EINVAL, "unknown option", "'--%s' (did you mean '--%s'?)", typed,
                                   guess);
        return loader_fail(l, -EINVAL, "unknown option", "'--%s'; --help lists all", typed);
}

/* One flag with its value, as "--name value" or "--name=value". */
struct flag {
        struct str name;
        const char *value;
};

static int flag_next(struct loader *l, int argc, char *const *argv, int *at, struct flag *ret)
{
        const char *arg = argv[(*at)++];
        *ret = (struct flag){ 0 };
        if (strncmp(arg, "--", 2) != 0 || !arg[2])
                return loader_fail(l, -EINVAL, "unexpected argument", "'%.60s'", arg);
        const char *equals = strchr(arg, '=');
        ret->name = equals ? (struct str){ arg + 2, (size_t)(equals - arg) - 2 } : str_c(arg + 2);
        if (!str_eqc(ret->name, "config") && !flag_find(ret->name))
                return flag_unknown(l, ret->name);
        ret->value = equals ? equals + 1 : *at < argc ? argv[(*at)++] : NULL;
        if (!ret->value)
                return loader_fail(l, -EINVAL, arg, "needs a value");
        return 0;
}

/* The file is read before the other flags are: they go over it. */
static int read_config_flag(struct loader *l, int argc, char *const *argv, const char **ret_path)
{
        struct flag f;
        int rc = 0, at = 0;
        const char *path = getenv("CAIRN_CONFIG");
        *ret_path = path && *path ? path : NULL;
        while (at < argc && !rc) {
                rc = flag_next(l, argc, argv, &at, &f);
                if (!rc && str_eqc(f.name, "config"))
                        *ret_path = f.value;
        }
        return rc;
}

static int read_flags(struct loader *l, int argc, char *const *argv)
{
        struct flag f;
        int rc = 0, at = 0;
        l->replaced = 0;
        while (at < argc && !rc) {
                rc = flag_next(l, argc, argv, &at, &f);
                if (rc || str_eqc(f.name, "config"))
                        continue;
                char where[64];
                snprintf(where, sizeof(where), "--%.*s", STR_ARG(f.name));
                rc = option_set(l, flag_find(f.name), where, f.value);
        }
        return rc;
}

static int default_data(struct loader *l)
{
        const char *base = getenv("XDG_DATA_HOME"), *below = "/cairn";
        if (l->c->data)
                return 0;
        if (!base || base[0] != '/') { /* a relative one is invalid by the XDG specification */
                base = getenv("HOME");
                below = "/.local/share/cairn";
        }
        if (!base || !*base) {
                struct passwd *me = getpwuid(getuid());
                base = me ? me->pw_dir : NULL;
        }
        if (!base || !*base)
                return loader_fail(l, -ENOENT,
                                   "data:", "there is no home directory; name a data directory with --data");
        size_t size = strlen(base) + strlen(below) + 1;
        l->c->data = mem_alloc(size);
        if (!l->c->data)
                return -ENOMEM;
        snprintf(l->c->data, size, "%s%s", base, below);
        return 0;
}

/* What no option can check alone. */
static int check_together(struct loader *l)
{
        const struct config *c = l->c;
        if (!c->tls.cert != !c->tls.key)
                return loader_fail(l, -EINVAL, c->tls.cert ? "tls.cert" : "tls.key", "is set, but %s is not",
                                   c->tls.cert ? "tls.key" : "tls.cert");
        const char *backend = c->limits.backend;
        if (backend && strcmp(backend, "memory") != 0 && strcmp(backend, "store") != 0 &&
            strncmp(backend, "redis://", 8) != 0 && strncmp(backend, "unix:", 5) != 0)
                return loader_fail(l, -EINVAL, "limits.backend",
                                   "must be memory, store, redis://HOST:PORT/DB or unix:PATH");
        if (c->tls.client_ca && !c->tls.cert)
                return loader_fail(l, -EINVAL, "tls.client_ca", "is set, but tls.cert is not");
        return 0;
}

static int finish(struct loader *l, int rc)
{
        if (!rc)
                rc = default_data(l);
        if (!rc)
                rc = check_together(l);
        if (rc == -ENOMEM)
                snprintf(l->err, l->errn, "memory is out");
        if (rc)
                config_release(l->c);
        return rc;
}

int config_load(struct config *ret, int argc, char *const *argv, char *err, size_t errn)
{
        struct loader l = { .c = ret, .err = err, .errn = errn };
        const char *path = NULL;
        memset(ret, 0, sizeof(*ret));
        int rc = read_config_flag(&l, argc, argv, &path);
        if (!rc)
                rc = set_defaults(&l);
        if (!rc && path)
                rc = config_read_yaml(&l, path);
        if (!rc)
                rc = read_environment(&l);
        if (!rc)
                rc = read_flags(&l, argc, argv);
        return finish(&l, rc);
}

int config_load_file(struct config *ret, const char *path, char *err, size_t errn)
{
        struct loader l = { .c = ret, .err = err, .errn = errn };
        memset(ret, 0, sizeof(*ret));
        int rc = set_defaults(&l);
        if (!rc)
                rc = config_read_yaml(&l, path);
        return finish(&l, rc);
}

static void secret_free(char *secret)
{
        if (secret)
                explicit_bzero(secret, strlen(secret));
        mem_free(secret);
}

void config_release(struct config *c)
{
        mem_free(c->listen);
        mem_free(c->data);
        models_release(&c->models);
        aliases_release(&c->aliases);
        secret_free(c->api_key);
        secret_free(c->admin_key);
        secret_free(c->database); /* it may hold a password */
        secret_free(c->secret);
        mem_free(c->blobs);
        mem_free(c->s3_endpoint);
        mem_free(c->s3_region);
        secret_free(c->s3_key);
        secret_free(c->s3_secret);
        list_release(&c->cors_origins);
        list_release(&c->outbound_allow);
        mem_free(c->outbound_ca);
        secret_free(c->limits.backend); /* it may hold a password */
        rates_release(&c->rate_limits);
        prices_release(&c->prices);
        mem_free(c->tls.cert);
        mem_free(c->tls.key);
        mem_free(c->tls.client_ca);
        mem_free(c->_file);
        memset(c, 0, sizeof(*c));
}

void config_help(FILE *out)
{
        char head[64];
        fprintf(out, "  %-34s %s\n", "--config FILE", "YAML file with any of these options [CAIRN_CONFIG]");
        for (size_t i = 0; i < N_OPTIONS; i++) {
                const struct option *o = &options[i];
                if (o->flag)
                        snprintf(head, sizeof(head), "--%s %s", o->flag, o->meta);
                else
                        snprintf(head, sizeof(head), "%s=%s", o->env, o->meta);
                fprintf(out, "  %-34s %s", head, o->help);
                if (o->dflt)
                        fprintf(out, " [%s]", o->dflt);
                fputc('\n', out);
        }
        fprintf(out,
                "\nEach option may also stand in the environment (--max-body as CAIRN_MAX_BODY; lists with\n"
                "commas) and in the file (");
        for (size_t i = 0; i < N_OPTIONS; i++)
                fprintf(out, "%s%s", i ? i % 4 ? ", " : ",\n" : "", options[i].name);
        fprintf(out, ").\nFlags go before the environment, the environment before the file.\n");
}
