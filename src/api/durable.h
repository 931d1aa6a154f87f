/* Work that outlives its request, or the process: which families have workers for it, and the queue that runs
 * them (jobs/jobs.h). */
#ifndef CAIRN_API_DURABLE_H
#define CAIRN_API_DURABLE_H

#include "jobs/jobs.h"

struct api;

#define DURABLE_WORKERS 16

struct durable_list {
        struct job_worker workers[DURABLE_WORKERS];
        size_t n;
};

/* A family with workers: one row of durable.c. */
struct durable_family {
        const char *name;
        /* Makes what the workers need, and adds them to the list. 0 or a negative errno; then close is not
         * called. */
        int (*open)(struct api *api, struct durable_list *list);
        void (*close)(struct api *api); /* none of its workers runs any more; NULL: there is nothing to do */
};

extern const struct durable_family DURABLE_WEBHOOKS;  /* webhooks.c */
extern const struct durable_family DURABLE_BATCHES;   /* batches.c */
extern const struct durable_family DURABLE_RESPONSES; /* response_worker.c */

/* Opens the families and starts to claim jobs: api->jobs. 0 or a negative errno. */
int durable_start(struct api *api);
/* Waits until the workers have put down what they do. Harmless when nothing was started. */
void durable_stop(struct api *api);
/* Then, when no request refers to anything any more. */
void durable_close(struct api *api);
#endif
