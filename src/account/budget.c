#include "account/budget.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <time.h>
#include "account/usage.h"
#include "base/clock.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/thread.h"

#define FIRST_MS 5000  /* so long is waited for the first sum of a month, then it passes as 0 */
#define KNOWN_MS 30000 /* how long a sum of the log holds; other processes' spending is seen that late */
#define NANO 1e9

/* One project of the configuration that was asked for. */
struct spent {
        int64_t month;   /* its first second, which `cost` counts from */
        int64_t read_ms; /* when the log was read */
        int64_t cost;
        bool unknown; /* the first sum of the month is being read */
};

struct budget {
        struct store *store;
        pthread_mutex_t lock;
        pthread_cond_t read; /* a first sum is there, or could not be read */
        struct map projects; /* -> struct spent */
};

struct budget *budget_new(struct store *store)
{
        struct budget *b = mem_calloc(1, sizeof(*b));
        if (!b)
                return NULL;
        b->store = store;
        pthread_mutex_init(&b->lock, NULL);
        thread_cond_init(&b->read);
        map_init(&b->projects);
        return b;
}

void budget_free(struct budget *b)
{
        if (!b)
                return;
        map_release(&b->projects, mem_free);
        pthread_cond_destroy(&b->read);
        pthread_mutex_destroy(&b->lock);
        mem_free(b);
}

static int64_t month_of(int64_t now_ms)
{
        time_t now = (time_t)(now_ms / 1000);
        struct tm t;
        gmtime_r(&now, &t);
        t.tm_mday = 1;
        t.tm_hour = t.tm_min = t.tm_sec = 0;
        return (int64_t)timegm(&t);
}

/* What the log says was spent since the month began. */
static int read_log(struct budget *b, const char *project, int64_t month, int64_t now_ms, int64_t *ret)
{
        int rc = 0;
        *ret = 0;
        for (size_t k = 0; usage_kinds[k] && rc == 0; k++) {
                struct store_usage_query q = {
                        .what = usage_kinds[k], .from = month, .to = now_ms / 1000 + 60, .project = project
                };
                struct store_usage *rows = NULL;
                size_t n = 0;
                rc = store_usage_sum(b->store, &q, &rows, &n, NULL);
                for (size_t i = 0; rc == 0 && i < n; i++)
                        *ret += rows[i].n[USAGE_COST];
                mem_free(rows);
        }
        return rc;
}

/* Lock held. NULL when memory is out. */
static struct spent *find(struct budget *b, const char *project)
{
        struct spent *s = map_get(&b->projects, str_c(project));
        if (s)
                return s;
        s = mem_calloc(1, sizeof(*s));
        if (s && map_put(&b->projects, str_c(project), s, NULL)) {
                mem_free(s);
                s = NULL;
        }
        return s;
}

/* Reads the log without the lock; one reader is enough, the others go by what is known. */
static void refresh(struct budget *b, struct spent *s, const char *project, int64_t month, int64_t now_ms)
{
        int64_t cost;
        s->read_ms = now_ms;
        if (s->month != month) {
                s->cost = 0;
                s->unknown = true;
        }
        s->month = month;
        pthread_mutex_unlock(&b->lock);
        int rc = read_log(b, project, month, now_ms, &cost);
        pthread_mutex_lock(&b->lock);
        if (rc == 0)
                s->cost = cost;
        s->unknown = false;
        pthread_cond_broadcast(&b->read);
}

/* Nothing is known while the first sum of a month is being read: a spent budget would let through whoever
 * asks meanwhile. Lock held. */
static void await_first(struct budget *b, const struct spent *s)
{
        int64_t until = clock_mono_ms() + FIRST_MS;
        while (s->unknown && !thread_cond_wait_until(&b->read, &b->lock, until))
                ;
}

int budget_check(struct budget *b, const char *project, double dollars, int64_t now_ms)
{
        int64_t month = month_of(now_ms);
        pthread_mutex_lock(&b->lock);
        struct spent *s = find(b, project);
        if (s && (s->month != month || now_ms - s->read_ms >= KNOWN_MS))
                refresh(b, s, project, month, now_ms);
        else if (s)
                await_first(b, s);
        int rc = !s ? -ENOMEM : (double)s->cost >= dollars * NANO ? -EDQUOT : 0;
        pthread_mutex_unlock(&b->lock);
        return rc;
}

void budget_spend(struct budget *b, const char *project, int64_t cost)
{
        pthread_mutex_lock(&b->lock);
        struct spent *s = find(b, project);
        if (s)
                s->cost += cost;
        pthread_mutex_unlock(&b->lock);
}
