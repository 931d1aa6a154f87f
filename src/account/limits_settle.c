/* Corrections for buckets behind a network: those who make them run models or hold replies, and must not
 * wait. */
#include <pthread.h>
#include <string.h>
#include "account/limits_internal.h"
#include "base/clock.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/thread.h"

#define CATCH_UP_S 2

struct settler {
        struct backend *backend, *local;
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t wake;
        pthread_cond_t done;
        struct map waiting;    /* key -> struct store_bucket, whose key is the block's end */
        uint64_t begun, ended; /* rounds of what waited at their beginning */
        bool stopping;
};

/* A copy of the bucket, its key behind it. */
static struct store_bucket *bucket_dup(const struct store_bucket *b)
{
        size_t n = strlen(b->key) + 1;
        struct store_bucket *copy = mem_alloc(sizeof(*copy) + n);
        if (!copy)
                return NULL;
        *copy = *b;
        copy->key = memcpy(copy + 1, b->key, n);
        return copy;
}

/* Without memory the correction is lost: the bucket is off by one request until it is full. */
static void add_one(struct settler *s, const struct store_bucket *b)
{
        struct store_bucket *known = map_get(&s->waiting, str_c(b->key));
        if (known) {
                known->amount += b->amount;
                return;
        }
        struct store_bucket *copy = bucket_dup(b);
        if (copy && map_put(&s->waiting, str_c(copy->key), copy, NULL))
                mem_free(copy);
}

void settler_add(struct settler *s, const struct store_bucket *list, size_t n)
{
        pthread_mutex_lock(&s->lock);
        for (size_t i = 0; i < n; i++)
                if (list[i].amount)
                        add_one(s, &list[i]);
        pthread_cond_signal(&s->wake);
        pthread_mutex_unlock(&s->lock);
}

bool settler_catch_up(struct settler *s)
{
        int64_t until = clock_mono_ms() + CATCH_UP_S * 1000;
        pthread_mutex_lock(&s->lock);
        uint64_t round = s->begun + (s->waiting.n ? 1 : 0);
        bool behind = s->ended < round;
        while (s->ended < round && !thread_cond_wait_until(&s->done, &s->lock, until))
                ;
        bool caught_up = behind && s->ended >= round;
        pthread_mutex_unlock(&s->lock);
        return caught_up;
}

static void settle(struct settler *s, struct map *list)
{
        struct str key;
        void *value;
        for (size_t it = 0; map_next(list, &it, &key, &value);) {
                struct store_bucket *b = value;
                size_t unused;
                char err[160];
                int64_t now_ms = clock_unix_us() / 1000;
                b->force = true;
                if (s->backend->take(s->backend, b, 1, now_ms, &unused, err, sizeof(err)))
                        s->local->take(s->local, b, 1, now_ms, &unused, err, sizeof(err));
        }
        map_release(list, mem_free);
}

static void *settler_main(void *ctx)
{
        struct settler *s = ctx;
        pthread_mutex_lock(&s->lock);
        while (!s->stopping || s->waiting.n) {
                if (!s->waiting.n) {
                        pthread_cond_wait(&s->wake, &s->lock);
                        continue;
                }
                struct map list = s->waiting;
                map_init(&s->waiting);
                s->begun++;
                pthread_mutex_unlock(&s->lock);
                settle(s, &list);
                pthread_mutex_lock(&s->lock);
                s->ended++;
                pthread_cond_broadcast(&s->done);
        }
        pthread_mutex_unlock(&s->lock);
        return NULL;
}

struct settler *settler_start(struct backend *backend, struct backend *local)
{
        struct settler *s = mem_calloc(1, sizeof(*s));
        if (!s)
                return NULL;
        s->backend = backend;
        s->local = local;
        pthread_mutex_init(&s->lock, NULL);
        pthread_cond_init(&s->wake, NULL);
        thread_cond_init(&s->done);
        map_init(&s->waiting);
        if (thread_start(&s->thread, "limits-settle", settler_main, s) == 0)
                return s;
        pthread_cond_destroy(&s->done);
        pthread_cond_destroy(&s->wake);
        pthread_mutex_destroy(&s->lock);
        mem_free(s);
        return NULL;
}

void settler_stop(struct settler *s)
{
        if (!s)
                return;
        pthread_mutex_lock(&s->lock);
        s->stopping = true;
        pthread_cond_signal(&s->wake);
        pthread_mutex_unlock(&s->lock);
        pthread_join(s->thread, NULL);
        map_release(&s->waiting, mem_free);
        pthread_cond_destroy(&s->done);
        pthread_cond_destroy(&s->wake);
        pthread_mutex_destroy(&s->lock);
        mem_free(s);
}
