#include "jobs/webhook_pace.h"

#include <pthread.h>
#include "base/map.h"
#include "base/mem.h"

#define FIRST_GUESS_MS 200
#define WAIT_MAX_MS 60000
#define RETRY_MS 1000 /* without memory to count with */

/* An endpoint, or a project, with posts under way. */
struct party {
        int at_once;
        double mean_ms;  /* of posts, moving */
        int64_t next_ms; /* the last return that was promised */
};

struct webhook_pace {
        pthread_mutex_t lock;
        struct map parties; /* struct party by id */
        int at_once;        /* of all */
};

struct webhook_pace *webhook_pace_new(void)
{
        struct webhook_pace *p = mem_calloc(1, sizeof(*p));
        if (!p)
                return NULL;
        pthread_mutex_init(&p->lock, NULL);
        map_init(&p->parties);
        return p;
}

void webhook_pace_free(struct webhook_pace *p)
{
        if (!p)
                return;
        map_release(&p->parties, mem_free);
        pthread_mutex_destroy(&p->lock);
        mem_free(p);
}

static struct party *party_of(struct webhook_pace *p, const char *id)
{
        struct party *y = map_get(&p->parties, str_c(id));
        if (y)
                return y;
        y = mem_calloc(1, sizeof(*y));
        if (y && map_put(&p->parties, str_c(id), y, NULL)) {
                mem_free(y);
                y = NULL;
        }
        if (y)
                y->mean_ms = FIRST_GUESS_MS;
        return y;
}

/* Forgets a party without posts. */
static void party_drop(struct webhook_pace *p, const char *id, const struct party *y)
{
        if (y && !y->at_once)
                mem_free(map_remove(&p->parties, str_c(id)));
}

static void party_leave(struct webhook_pace *p, const char *id, int64_t elapsed_ms)
{
        struct party *y = map_get(&p->parties, str_c(id));
        if (!y)
                return;
        y->mean_ms += ((double)elapsed_ms - y->mean_ms) / 4;
        y->at_once--;
        party_drop(p, id, y);
}

/* How many places a project may have while the others have theirs. */
static int share(const struct webhook_pace *p, const struct party *project)
{
        int left = WEBHOOK_PACE_PLACES - (p->at_once - project->at_once);
        return (left + 1) / 2;
}

/* The next free moment of a party with `places`: each is free again after a mean post. */
static int64_t promise(struct party *y, int places, int64_t now_ms)
{
        int64_t first = now_ms + (int64_t)y->mean_ms,
                step = (int64_t)(y->mean_ms / (places ? places : 1)) + 1;
        y->next_ms = y->next_ms + step > first ? y->next_ms + step : first;
        if (y->next_ms > now_ms + WAIT_MAX_MS)
                y->next_ms = now_ms + WAIT_MAX_MS;
        return y->next_ms - now_ms;
}

bool webhook_pace_enter(struct webhook_pace *p, const char *project, const char *endpoint, int64_t now_ms,
                        int64_t *ret_wait_ms)
{
        pthread_mutex_lock(&p->lock);
        struct party *to = party_of(p, endpoint), *of = party_of(p, project);
        int places = of ? share(p, of) : 0;
        bool enters = to && of && to->at_once < WEBHOOK_PACE_AT_ONCE && of->at_once < places;
        if (enters) {
                to->at_once++;
                of->at_once++;
                p->at_once++;
        } else if (!to || !of) {
                *ret_wait_ms = RETRY_MS;
        } else if (to->at_once >= WEBHOOK_PACE_AT_ONCE) {
                *ret_wait_ms = promise(to, WEBHOOK_PACE_AT_ONCE, now_ms);
        } else {
                *ret_wait_ms = promise(of, places, now_ms);
        }
        party_drop(p, endpoint, to);
        party_drop(p, project, of);
        pthread_mutex_unlock(&p->lock);
        return enters;
}

void webhook_pace_leave(struct webhook_pace *p, const char *project, const char *endpoint, int64_t elapsed_ms)
{
        pthread_mutex_lock(&p->lock);
        party_leave(p, endpoint, elapsed_ms);
        party_leave(p, project, elapsed_ms);
        p->at_once--;
        pthread_mutex_unlock(&p->lock);
}
