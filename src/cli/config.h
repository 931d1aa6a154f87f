/* The configuration: one table of options drives the YAML file, the command line, the environment and the
 * help text. Precedence: command line, then environment, then file, then default. */
#ifndef CAIRN_CLI_CONFIG_H
#define CAIRN_CLI_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "account/limits.h"

struct config_list {
        char **items;
        size_t n;
};

/* A LoRA adapter of a model. */
struct config_adapter {
        char *path;
        double scale;
};

struct config_adapters {
        struct config_adapter *items;
        size_t n;
};

/* A model to serve. id NULL: taken from the file's name or metadata; format NULL: found out from its
 * template. */
struct config_model {
        char *path;
        char *id;
        char *format;
        struct config_list aliases;
        struct config_adapters adapters;
};

struct config_models {
        struct config_model *items;
        size_t n;
};

/* name -> model id */
struct config_alias {
        char *name, *model;
};

struct config_aliases {
        struct config_alias *items;
        size_t n;
};

struct config_rates {
        struct limit_rule *items; /* project and model are owned */
        size_t n;
};

struct config_prices {
        struct price *items; /* model is owned */
        size_t n;
};

enum config_log_format { CONFIG_LOG_JSON, CONFIG_LOG_TEXT };
enum config_unreachable { CONFIG_ALONE, CONFIG_REFUSE };
enum config_switch { CONFIG_OFF, CONFIG_ON };
enum config_unknown { CONFIG_UNKNOWN_REJECT, CONFIG_UNKNOWN_IGNORE };

/* Times are in seconds, sizes in bytes. Strings are NULL when unset, unless a default is named. */
struct config {
        char *listen;   /* "127.0.0.1:8080" */
        char *data;     /* data directory; the XDG data directory + "/cairn" */
        char *database; /* "postgres://..."; NULL: the data directory's own */
        char *secret;   /* of the installation; NULL: the data directory's own */
        char *blobs;    /* "s3://..."; NULL: the data directory */
        char *s3_endpoint, *s3_region, *s3_key, *s3_secret; /* NULL: AWS's own names in the environment */
        struct config_models models;                        /* empty: the built-in model */
        struct config_aliases aliases;
        char *api_key, *admin_key; /* values of the environment keys */
        struct {
                int format; /* enum config_log_format */
                int level;  /* enum log_level */
        } log;
        struct config_list cors_origins; /* empty: CORS off; "*": any */
        struct {
                int64_t max_body; /* JSON body */
                int64_t max_file; /* file of one request */
                int64_t max_connections;
                int64_t header_timeout, body_timeout, idle_timeout, write_timeout;
                char *backend;   /* where rate limits are kept; NULL: found out from the store */
                int unreachable; /* enum config_unreachable: what happens while it is */
        } limits;
        struct config_rates rate_limits;
        struct config_prices prices;
        struct {
                char *cert, *key, *client_ca; /* PEM files; client_ca asks clients for a certificate */
        } tls;
        struct {
                int64_t http, workers, engine; /* 0: as many as the machine suggests */
        } threads;
        struct {
                int64_t context;   /* tokens a sequence may hold; 0: what the model was made for */
                int64_t kv_memory; /* bytes of the KV cache; 0: chosen from the machine's memory */
                int64_t batch;     /* sequences decoded in one step */
                int64_t queue;     /* waiting turns before clients get 503 */
                int kv_type;       /* enum engine_kv_type */
                int64_t kv_disk;   /* bytes of KV on disk for each model; 0: none is kept */
                int64_t memory;    /* bytes of all models in memory; 0: no limit */
                int lookup;        /* enum config_switch: draft from what was said before */
        } engine;
        struct config_list outbound_allow; /* private networks and hosts that outgoing requests may reach */
        char *outbound_ca;                 /* PEM authorities of theirs instead of the system's */
        char *moderation_model;            /* NULL: the built-in one */
        int unknown_parameters;            /* enum config_unknown */
        int64_t batch_lines;               /* of all batches at work together; 0: twice engine.batch */
        int64_t shutdown_grace;            /* time for streams to end after SIGTERM */
        int background;                    /* background responses that run at once */
        int64_t response_retention;        /* how long stored responses are kept, in seconds (30 days) */
        char *_file;                       /* the configuration file that was read, or NULL */
};

/* Fills *ret from argv (without the program's and the command's name), the environment and the file named
 * by --config, or by CAIRN_CONFIG. 0; or -EINVAL, -ENOENT, -EACCES, -ENOMEM with one line in err that says
 * what and where ("cairn.yaml:12: unknown option 'listne' (did you mean 'listen'?)"), and *ret zeroed. */
int config_load(struct config *ret, int argc, char *const *argv, char *err, size_t errn);
/* The same for one file alone and without environment; for tools and tests. */
int config_load_file(struct config *ret, const char *path, char *err, size_t errn);
/* The parts of c->listen; the host without the brackets of an IPv6 address. -EINVAL when it does not fit. */
int config_listen(const struct config *c, char *ret_host, size_t n, int *ret_port);
void config_release(struct config *c); /* wipes the keys, frees all; harmless on a zeroed one */
/* The flags' part of --help: one line an option, with its default and its environment variable. */
void config_help(FILE *out);
#endif
