#include "jobs/webhook_pace.h"

#include <pthread.h>
#include "base/map.h"
#include "base/mem.h"

#define FIRST_GUESS_MS 200
#define WAIT_MAX_MS 60000
#define RETRY_MS 1000 /* without memory to count with */

/* An endpoint that somebody delivers to now. */
struct lane {
        int at_once;
        double mean_ms;  /* of deliveries, moving */
        int64_t next_ms; /* the last return that was promised */
};

struct webhook_pace {
        pthread_mutex_t lock;
        struct map lanes; /* struct lane by endpoint */
};

struct webhook_pace *webhook_pace_new(void)
{
        struct webhook_pace *p = mem_calloc(1, sizeof(*p));
        if (!p)
                return NULL;
        pthread_mutex_init(&p->lock, NULL);
        map_init(&p->lanes);
        return p;
}

void webhook_pace_free(struct webhook_pace *p)
{
        if (!p)
                return;
        map_release(&p->lanes, mem_free);
        pthread_mutex_destroy(&p->lock);
        mem_free(p);
}

static struct lane *lane_of(struct webhook_pace *p, const char *endpoint)
{
        struct lane *l = map_get(&p->lanes, str_c(endpoint));
        if (l)
                return l;
        l = mem_calloc(1, sizeof(*l));
        if (l && map_put(&p->lanes, str_c(endpoint), l, NULL)) {
                mem_free(l);
                l = NULL;
        }
        if (l)
                l->mean_ms = FIRST_GUESS_MS;
        return l;
}

/* The next free moment of a full lane: each place is free again after a mean delivery. */
static int64_t promise(struct lane *l, int64_t now_ms)
{
        int64_t first = now_ms + (int64_t)l->mean_ms, step = (int64_t)(l->mean_ms / WEBHOOK_PACE_AT_ONCE) + 1;
        l->next_ms = l->next_ms + step > first ? l->next_ms + step : first;
        if (l->next_ms > now_ms + WAIT_MAX_MS)
                l->next_ms = now_ms + WAIT_MAX_MS;
        return l->next_ms - now_ms;
}

bool webhook_pace_enter(struct webhook_pace *p, const char *endpoint, int64_t now_ms, int64_t *ret_wait_ms)
{
        pthread_mutex_lock(&p->lock);
        struct lane *l = lane_of(p, endpoint);
        bool enters = l && l->at_once < WEBHOOK_PACE_AT_ONCE;
        if (enters)
                l->at_once++;
        else
                *ret_wait_ms = l ? promise(l, now_ms) : RETRY_MS;
        pthread_mutex_unlock(&p->lock);
        return enters;
}

void webhook_pace_leave(struct webhook_pace *p, const char *endpoint, int64_t elapsed_ms)
{
        pthread_mutex_lock(&p->lock);
        struct lane *l = map_get(&p->lanes, str_c(endpoint));
        if (l) {
                l->mean_ms += ((double)elapsed_ms - l->mean_ms) / 4;
                if (--l->at_once == 0)
                        mem_free(map_remove(&p->lanes, str_c(endpoint)));
        }
        pthread_mutex_unlock(&p->lock);
}
