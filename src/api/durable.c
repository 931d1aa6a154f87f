#include "api/durable.h"

#include <string.h>
#include "api/api.h"

static const struct durable_family *const families[] = { &DURABLE_RESPONSES, &DURABLE_BATCHES,
                                                         &DURABLE_WEBHOOKS };

#define FAMILIES (sizeof(families) / sizeof(*families))

int durable_start(struct api *api)
{
        struct durable_list list = { .n = 0 };
        int rc = 0;
        for (api->durables = 0; api->durables < FAMILIES; api->durables++) {
                rc = families[api->durables]->open(api, &list);
                if (rc)
                        return rc;
        }
        return jobs_start(api->store, list.workers, list.n, &api->jobs);
}

void durable_stop(struct api *api)
{
        jobs_stop(api->jobs);
        api->jobs = NULL;
}

void durable_close(struct api *api)
{
        while (api->durables) {
                const struct durable_family *f = families[--api->durables];
                if (f->close)
                        f->close(api);
        }
}
