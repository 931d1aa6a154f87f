#include "api/presence.h"

#include <errno.h>
#include <string.h>
#include "api/api.h"
#include "base/clock.h"
#include "base/log.h"
#include "store/store.h"

#define KIND_PROCESS "process"
#define PAGE 100

static int put(struct api *api)
{
        struct store_fault fault = { 0 };
        struct store_op op = { .verb = STORE_PUT,
                               .kind = KIND_PROCESS,
                               .id = api->process,
                               .expires = clock_unix() + PRESENCE_LIFE_S,
                               .f = { api->options.instance },
                               .doc = STR("{}") };
        int rc = store_put(api->store, &op, &fault);
        if (rc)
                log_error("presence", "%s", fault.msg);
        return rc;
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

int presence_start(struct api *api)
{
        int rc = remove_dead(api);
        if (rc)
                return rc;
        id_hex(api->process, "proc_", 24);
        return put(api);
}

void presence_renew(struct api *api)
{
        struct store_fault fault = { 0 };
        struct store_op op = { .verb = STORE_UPDATE,
                               .kind = KIND_PROCESS,
                               .id = api->process,
                               .set = STORE_SET_EXPIRES,
                               .expires = clock_unix() + PRESENCE_LIFE_S };
        int rc = store_write(api->store, &op, 1, &fault);
        if (rc == -ENOENT) /* this process stood still for too long; it works again */
                put(api);
        else if (rc)
                log_warn("presence", "%s", fault.msg);
}

void presence_stop(struct api *api)
{
        if (*api->process)
                store_delete(api->store, KIND_PROCESS, api->process, NULL, NULL);
        *api->process = '\0';
}

bool presence_alive(struct api *api, const char *process)
{
        struct object row;
        int rc = store_get(api->store, KIND_PROCESS, process, NULL, &row, NULL);
        if (rc == 0)
                object_release(&row);
        return rc != -ENOENT && rc != -EINVAL;
}
