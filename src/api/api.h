/* The API server: what it is made of, and its start and stop. */
#ifndef CAIRN_API_API_H
#define CAIRN_API_API_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "api/metrics.h"
#include "base/ids.h"
#include "http/server.h"

struct account;
struct batches;
struct blobs;
struct classifier;
struct conversations;
struct feeds;
struct http_client;
struct http_guard;
struct jobs;
struct leftovers;
struct limits;
struct pool;
struct presence;
struct registry;
struct store;
struct webhooks;

struct api_options {
        int workers;              /* threads for handlers; 0: 4 */
        size_t max_body;          /* bytes of a JSON body */
        uint64_t max_file;        /* bytes of a file in one request */
        bool ignore_unknown;      /* unknown top-level request fields are not refused */
        bool check;               /* check replies and events against the contract (CAIRN_CHECK=1) */
        int64_t retention_s;      /* how long stored responses and completions live */
        int background;           /* background responses that run at once */
        int64_t sweep_interval_s; /* between two removals of what expired */
        const char
                *instance; /* names this server among those on a shared store, also after a restart; NULL */
        int batch_lines;   /* lines of batches at work at most; 0: 32 */
};

/* Everything a handler may use. The parts down to `client` belong to whoever starts the API. */
struct api {
        struct registry *models;
        struct store *store;
        struct blobs *blobs;
        struct account *account;
        struct limits *limits;
        const struct classifier *moderation; /* judges texts; NULL: there is none */
        struct http_guard *guard;            /* where outgoing requests may go */
        struct http_client *client;          /* makes them */
        struct api_options options;
        struct http_server *_Atomic http;
        struct pool *workers; /* handlers, and commits of what was generated */
        struct pool *slow;    /* handlers that wait for a model (RT_SLOW) or compile schemas */
        struct pool *batch;   /* handlers of the batch lane (CALL_BATCH) */
        struct pool *files;   /* handlers that move contents of files (RT_FILES) */
        struct pool *health;  /* handlers that tell how the server is (RT_HEALTH) */
        struct jobs *jobs;    /* durable work: batches, background responses, webhooks */
        size_t durables;      /* families of durable.c that are open */
        struct batches *batches;
        struct webhooks *webhooks;
        struct metrics metrics;
        const struct route **routes; /* by index of the operation */
        atomic_long live;      /* requests that somebody still refers to: a run may outlast its connection */
        struct str model_list; /* the reply of listModels when all are ready, made once */
        struct upkeep *upkeep;
        struct presence *presence;           /* the renewal of its row */
        struct feeds *feeds;                 /* streams of background responses */
        struct conversations *conversations; /* those that responses of this process hold */
        struct leftovers *leftovers;         /* idempotency keys that could not be freed */
        char process[ID_MAX];                /* names this process among those on the store (presence.h) */
};

/* Starts serving. `api` has those parts and its options set, the rest zero, and stays where it is. 0, or a
 * negative errno with one line in err. */
int api_start(struct api *api, const struct http_config *http, char *err, size_t errn);
/* Lets requests end for grace_ms, then cancels them; returns when all is still. */
void api_stop(struct api *api, int grace_ms);

/* Whether this build serves an operation: `cairn coverage`. */
bool api_serves(const struct operation *op);
#endif
