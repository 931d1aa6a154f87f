#include "api/upkeep.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include "api/api.h"
#include "api/leftovers.h"
#include "api/meter.h"
#include "api/stored.h"
#include "api/uploading.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/thread.h"
#include "store/store.h"

static void sweep(struct api *api)
{
        struct store_fault fault = { 0 };
        size_t removed = 0;
        if (store_sweep(api->store, &removed, &fault))
                log_warn("sweep", "%s", fault.msg);
        else if (removed)
                log_info("sweep", "removed %zu expired objects", removed);
        mem_trim();
}

struct task {
        void (*run)(struct api *api);
        int64_t every_ms; /* 0: the configured interval of sweeps */
        int64_t first_ms; /* after the start; 0: as long as from one to the next */
};

static const struct task tasks[] = {
        { sweep, 0, 0 },
        { files_upkeep, FILES_UPKEEP_MS, FILES_UPKEEP_FIRST_MS },
        { files_sweep, FILES_SWEEP_MS, 0 },
        { meter_upkeep, METER_UPKEEP_MS, 0 },
        { leftovers_upkeep, LEFTOVERS_UPKEEP_MS, 0 },
        { stored_upkeep, STORED_UPKEEP_MS, 0 },
};

#define N_TASKS (sizeof(tasks) / sizeof(*tasks))

struct upkeep {
        struct api *api;
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t wake; /* of the monotonic clock */
        bool stopping;
        int64_t due[N_TASKS]; /* monotonic milliseconds */
};

static int64_t interval(const struct upkeep *u, size_t i)
{
        return tasks[i].every_ms ? tasks[i].every_ms : u->api->options.sweep_interval_s * 1000;
}

static size_t next_task(const struct upkeep *u)
{
        size_t next = 0;
        for (size_t i = 1; i < N_TASKS; i++)
                if (u->due[i] < u->due[next])
                        next = i;
        return next;
}

/* Until then, or until it is to stop. Lock held. */
static void wait_until(struct upkeep *u, int64_t due)
{
        while (!u->stopping && !thread_cond_wait_until(&u->wake, &u->lock, due))
                ;
}

static void *upkeep_main(void *ctx)
{
        struct upkeep *u = ctx;
        pthread_mutex_lock(&u->lock);
        while (!u->stopping) {
                size_t i = next_task(u);
                wait_until(u, u->due[i]);
                if (u->stopping)
                        break;
                pthread_mutex_unlock(&u->lock);
                mem_take_failure(); /* of the task before */
                tasks[i].run(u->api);
                pthread_mutex_lock(&u->lock);
                u->due[i] = clock_mono_ms() + interval(u, i);
        }
        pthread_mutex_unlock(&u->lock);
        return NULL;
}

static void upkeep_free(struct upkeep *u)
{
        pthread_cond_destroy(&u->wake);
        pthread_mutex_destroy(&u->lock);
        mem_free(u);
}

int upkeep_start(struct api *api, struct upkeep **ret)
{
        struct upkeep *u = mem_calloc(1, sizeof(*u));
        if (!u)
                return -ENOMEM;
        u->api = api;
        for (size_t i = 0; i < N_TASKS; i++)
                u->due[i] = clock_mono_ms() + (tasks[i].first_ms ? tasks[i].first_ms : interval(u, i));
        pthread_mutex_init(&u->lock, NULL);
        thread_cond_init(&u->wake);
        int rc = thread_start(&u->thread, "upkeep", upkeep_main, u);
        if (rc) {
                upkeep_free(u);
                return rc;
        }
        *ret = u;
        return 0;
}

void upkeep_stop(struct upkeep *u)
{
        if (!u)
                return;
        pthread_mutex_lock(&u->lock);
        u->stopping = true;
        pthread_cond_signal(&u->wake);
        pthread_mutex_unlock(&u->lock);
        pthread_join(u->thread, NULL);
        upkeep_free(u);
}
