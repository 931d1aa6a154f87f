#include "api/presence.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include "api/api.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/thread.h"
#include "store/store.h"

#define KIND_PROCESS "process"
#define PAGE 100
#define RETRY_MS 1000 /* after a failure: others judge by the row as soon as the store is back */

struct presence {
        struct api *api;
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t wake; /* of the monotonic clock */
        bool stopping;
};

/* ---- the row ---- */

static int put(struct api *api, struct store_fault *fault)
{
        struct store_op op = { .verb = STORE_PUT,
                               .kind = KIND_PROCESS,
                               .id = api->process,
                               .expires = clock_unix() + PRESENCE_LIFE_S,
                               .f = { api->options.instance },
                               .doc = STR("{}") };
        return store_put(api->store, &op, fault);
}

static int renew(struct api *api, struct store_fault *fault)
{
        struct store_op op = { .verb = STORE_UPDATE,
                               .kind = KIND_PROCESS,
                               .id = api->process,
                               .set = STORE_SET_EXPIRES,
                               .expires = clock_unix() + PRESENCE_LIFE_S };
        int rc = store_write(api->store, &op, 1, fault);
        return rc == -ENOENT ? put(api, fault) : rc; /* it stood still for too long, and works again */
}

/* Processes that are surely dead: an exclusive store has no other one, and a shared store none of this
 * server. */
static int remove_dead(struct api *api)
{
        struct store_query q = { .kind = KIND_PROCESS, .limit = PAGE };
        if (store_is_shared(api->store)) {
                if (!api->options.instance)
                        return 0;
                q.f[0] = api->options.instance;
        }
        struct store_page page;
        bool more = true;
        int rc = 0;
        while (rc == 0 && more) {
                rc = store_list(api->store, &q, &page, NULL);
                if (rc)
                        break;
                for (size_t i = 0; i < page.n && !rc; i++) {
                        rc = store_delete(api->store, KIND_PROCESS, page.items[i].id, NULL, NULL);
                        rc = rc == -ENOENT ? 0 : rc; /* expired meanwhile */
                }
                more = page.has_more;
                store_page_release(&page);
        }
        return rc;
}

/* ---- its renewal ---- */

/* Until then, or until it is to stop: whether to go on. */
static bool wait_until(struct presence *p, int64_t due)
{
        pthread_mutex_lock(&p->lock);
        while (!p->stopping && !thread_cond_wait_until(&p->wake, &p->lock, due))
                ;
        bool go_on = !p->stopping;
        pthread_mutex_unlock(&p->lock);
        return go_on;
}

static void *presence_main(void *ctx)
{
        struct presence *p = ctx;
        bool failing = false;
        while (wait_until(p, clock_mono_ms() + (failing ? RETRY_MS : PRESENCE_RENEW_MS))) {
                struct store_fault fault = { 0 };
                mem_take_failure(); /* of the time before */
                int rc = renew(p->api, &fault);
                if (rc && !failing)
                        log_warn("presence", "cannot renew; tried again every second: %s", fault.msg);
                else if (!rc && failing)
                        log_info("presence", "renewed again");
                failing = rc != 0;
        }
        return NULL;
}

static void presence_free(struct presence *p)
{
        pthread_cond_destroy(&p->wake);
        pthread_mutex_destroy(&p->lock);
        mem_free(p);
}

static int renewal_start(struct api *api)
{
        struct presence *p = mem_calloc(1, sizeof(*p));
        if (!p)
                return -ENOMEM;
        p->api = api;
        pthread_mutex_init(&p->lock, NULL);
        thread_cond_init(&p->wake);
        int rc = thread_start(&p->thread, "presence", presence_main, p);
        if (rc) {
                presence_free(p);
                return rc;
        }
        api->presence = p;
        return 0;
}

static void renewal_stop(struct presence *p)
{
        pthread_mutex_lock(&p->lock);
        p->stopping = true;
        pthread_cond_signal(&p->wake);
        pthread_mutex_unlock(&p->lock);
        pthread_join(p->thread, NULL);
        presence_free(p);
}

/* ---- start and stop ---- */

int presence_start(struct api *api)
{
        struct store_fault fault = { 0 };
        int rc = remove_dead(api);
        if (rc)
                return rc;
        id_hex(api->process, "proc_", 24);
        rc = put(api, &fault);
        if (rc)
                log_error("presence", "%s", fault.msg);
        return rc ? rc : renewal_start(api);
}

void presence_stop(struct api *api)
{
        if (api->presence)
                renewal_stop(api->presence);
        api->presence = NULL;
        if (*api->process)
                store_delete(api->store, KIND_PROCESS, api->process, NULL, NULL);
        *api->process = '\0';
}

bool presence_alive(struct api *api, const char *process)
{
        struct object row;
        if (!strcmp(process, api->process))
                return true;
        int rc = store_get(api->store, KIND_PROCESS, process, NULL, &row, NULL);
        if (rc == 0)
                object_release(&row);
        return rc != -ENOENT && rc != -EINVAL;
}
