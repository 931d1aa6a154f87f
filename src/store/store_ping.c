/* Whether the store answers now. Who asks gets an answer within PING_MS also where the store gives none: a
 * frozen database or disk holds up the thread that tries it, and nobody else. */
#include <errno.h>
#include <pthread.h>
#include "base/clock.h"
#include "base/thread.h"
#include "store/store_internal.h"

#define PING_MS 2500

/* Of all stores' pings. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ended;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void ended_init(void)
{
        thread_cond_init(&ended);
}

static int try(struct store *s, struct store_fault *fault)
{
        struct store_write w = { .kind = WRITE_NOTHING };
        struct object o;
        int rc = store_get(s, "ping", "ping", NULL, &o, fault);
        object_release(&o);
        return rc && rc != -ENOENT ? rc : store_write_wait(s, &w, fault);
}

static void *ping_main(void *arg)
{
        struct store *s = arg;
        struct store_fault fault = { 0 };
        int rc = try(s, &fault);
        pthread_mutex_lock(&lock);
        s->ping.rc = rc;
        s->ping.fault = fault;
        s->ping.runs = false;
        s->ping.n_ended++;
        pthread_cond_broadcast(&ended);
        pthread_mutex_unlock(&lock);
        return NULL;
}

/* With the lock: a new attempt, unless one is under way. */
static int ping_begin(struct store *s, struct store_fault *fault)
{
        if (s->ping.runs)
                return 0;
        if (s->ping.joinable)
                pthread_join(s->ping.thread, NULL); /* it has given the lock back, or is about to end */
        int rc = thread_start(&s->ping.thread, "store-ping", ping_main, s);
        s->ping.joinable = s->ping.runs = !rc;
        s->ping.begun_ms = clock_mono_ms();
        return rc ? store_fail(fault, rc, "no thread to try the store with") : 0;
}

int store_ping(struct store *s, struct store_fault *fault)
{
        pthread_once(&once, ended_init);
        pthread_mutex_lock(&lock);
        int rc = ping_begin(s, fault);
        uint64_t before = s->ping.n_ended;
        int64_t until = s->ping.begun_ms + PING_MS;
        while (!rc && s->ping.n_ended == before)
                rc = thread_cond_wait_until(&ended, &lock, until);
        if (s->ping.n_ended != before) {
                rc = s->ping.rc;
                if (fault)
                        *fault = s->ping.fault;
        } else if (rc == -ETIMEDOUT) {
                store_fail(fault, rc, "no answer for %lld ms",
                           (long long)(clock_mono_ms() - s->ping.begun_ms));
        }
        pthread_mutex_unlock(&lock);
        return rc;
}

void store_ping_end(struct store *s)
{
        if (s->ping.joinable)
                pthread_join(s->ping.thread, NULL);
        s->ping.joinable = false;
}
