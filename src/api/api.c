#include "api/api.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "api/handlers.h"
#include "api/pipeline.h"
#include "api/routes.h"
#include "api/stored.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/pool.h"
#include "store/store.h"

#define DEFAULT_WORKERS 4
#define MAX_QUEUED 8192
#define SLOW_WORKERS 4
#define MAX_SLOW_QUEUED 1024
#define STOP_POLL_NS 1000000

/* The thread that removes what expired and returns memory that is not needed any more. */
struct upkeep {
        struct api *api;
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t wake;
        bool stopping;
};

static void *upkeep_main(void *ctx)
{
        struct upkeep *u = ctx;
        pthread_mutex_lock(&u->lock);
        while (!u->stopping) {
                struct timespec until;
                clock_gettime(CLOCK_REALTIME, &until);
                until.tv_sec += u->api->options.sweep_interval_s;
                if (pthread_cond_timedwait(&u->wake, &u->lock, &until) != ETIMEDOUT)
                        continue;
                pthread_mutex_unlock(&u->lock);
                struct store_fault fault = { 0 };
                size_t removed = 0;
                if (store_sweep(u->api->store, &removed, &fault))
                        log_warn("sweep", "%s", fault.msg);
                else if (removed)
                        log_info("sweep", "removed %zu expired objects", removed);
                mem_trim();
                pthread_mutex_lock(&u->lock);
        }
        pthread_mutex_unlock(&u->lock);
        return NULL;
}

static int upkeep_start(struct api *api)
{
        struct upkeep *u = mem_calloc(1, sizeof(*u));
        if (!u)
                return -ENOMEM;
        u->api = api;
        pthread_mutex_init(&u->lock, NULL);
        pthread_cond_init(&u->wake, NULL);
        int rc = pthread_create(&u->thread, NULL, upkeep_main, u);
        if (rc) {
                mem_free(u);
                return -rc;
        }
        api->upkeep = u;
        return 0;
}

static void upkeep_stop(struct upkeep *u)
{
        if (!u)
                return;
        pthread_mutex_lock(&u->lock);
        u->stopping = true;
        pthread_cond_signal(&u->wake);
        pthread_mutex_unlock(&u->lock);
        pthread_join(u->thread, NULL);
        pthread_cond_destroy(&u->wake);
        pthread_mutex_destroy(&u->lock);
        mem_free(u);
}

static int recover(struct api *api, char *err, size_t errn)
{
        size_t n = 0;
        int rc = stored_recover(api, &n);
        if (rc)
                snprintf(err, errn, "cannot recover interrupted responses: %s", strerror(-rc));
        else if (n)
                log_warn("recover", "%zu responses were interrupted by the last stop and are now failed", n);
        return rc;
}

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
        int rc = recover(api, err, errn);
        if (rc)
                return rc;
        api->routes = routes_build();
        api->workers = pool_new("worker", workers, MAX_QUEUED);
        api->slow = pool_new("slow", SLOW_WORKERS, MAX_SLOW_QUEUED);
        rc = api->routes && api->workers && api->slow ? metrics_init(&api->metrics) : -ENOMEM;
        if (rc == 0)
                rc = prepare_model_list(api);
        if (rc == 0)
                rc = upkeep_start(api);
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
        while (atomic_load(&api->live)) /* cancelled runs end within a step of their model */
                nanosleep(&(struct timespec){ .tv_nsec = STOP_POLL_NS }, NULL);
        upkeep_stop(api->upkeep);
        pool_free(api->slow);
        pool_free(api->workers);
        metrics_release(&api->metrics);
        routes_free(api->routes);
        mem_free((char *)api->model_list.p);
        api->model_list = (struct str){ 0 };
        api->http = NULL;
        api->upkeep = NULL;
        api->workers = api->slow = NULL;
        api->routes = NULL;
}
