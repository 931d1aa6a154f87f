#include "api/api.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "api/conversation.h"
#include "api/durable.h"
#include "api/handlers.h"
#include "api/leftovers.h"
#include "api/pipeline.h"
#include "api/presence.h"
#include "api/routes.h"
#include "api/stored.h"
#include "api/upkeep.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/pool.h"
#include "store/store.h"

#define DEFAULT_WORKERS 4
#define MAX_QUEUED 8192
#define SLOW_WORKERS 4
#define MAX_SLOW_QUEUED 1024
#define BATCH_WORKERS 4
#define FILE_WORKERS 8
#define HEALTH_WORKERS 2
#define STOP_POLL_NS 1000000

static int prepare_model_list(struct api *api)
{
        json_t *list = model_list_json(api->models, true);
        api->model_list.p = json_text(list, &api->model_list.n);
        json_decref(list);
        return api->model_list.p ? 0 : -ENOMEM;
}

int api_start(struct api *api, const struct http_config *http, char *err, size_t errn)
{
        struct http_app app = pipeline_app(api);
        struct http_server *server = NULL;
        int workers = api->options.workers > 0 ? api->options.workers : DEFAULT_WORKERS;
        api->http = NULL;
        api->upkeep = NULL;
        api->routes = routes_build();
        api->workers = pool_new("worker", workers, MAX_QUEUED);
        api->slow = pool_new("slow", SLOW_WORKERS, MAX_SLOW_QUEUED);
        api->batch = pool_new("batch", BATCH_WORKERS, MAX_QUEUED);
        api->files = pool_new("files", FILE_WORKERS, MAX_QUEUED);
        api->health = pool_new("health", HEALTH_WORKERS, MAX_QUEUED);
        bool whole = api->routes && api->workers && api->slow && api->batch && api->files && api->health;
        int rc = whole ? metrics_init(&api->metrics) : -ENOMEM;
        if (rc == 0)
                rc = prepare_model_list(api);
        if (rc == 0)
                rc = presence_start(api);
        if (rc == 0)
                rc = stored_recover(api);
        if (rc == 0)
                rc = conversations_start(api);
        if (rc == 0)
                rc = leftovers_start(api);
        if (rc == 0)
                rc = upkeep_start(api, &api->upkeep);
        if (rc == 0)
                rc = durable_start(api);
        if (rc)
                snprintf(err, errn, "cannot start: %s", strerror(-rc));
        else
                rc = http_server_start(http, &app, &server, err, errn);
        api->http = server;
        if (rc)
                api_stop(api, 0);
        return rc;
}

void api_stop(struct api *api, int grace_ms)
{
        http_server_stop(api->http, grace_ms);
        durable_stop(api);
        while (atomic_load(&api->live)) /* cancelled runs end within a step of their model */
                nanosleep(&(struct timespec){ .tv_nsec = STOP_POLL_NS }, NULL);
        durable_close(api);
        upkeep_stop(api->upkeep);
        presence_stop(api);
        pool_free(api->health);
        pool_free(api->files);
        pool_free(api->batch);
        pool_free(api->slow);
        pool_free(api->workers);
        leftovers_stop(api);
        conversations_stop(api);
        metrics_release(&api->metrics);
        routes_free(api->routes);
        mem_free((char *)api->model_list.p);
        api->model_list = (struct str){ 0 };
        api->http = NULL;
        api->upkeep = NULL;
        api->workers = api->slow = api->batch = api->files = api->health = NULL;
        api->routes = NULL;
}
