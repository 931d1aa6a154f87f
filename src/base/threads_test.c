/* Tests of what threads share: conditions, the worker pool and the ring. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/pool.h"
#include "base/ring.h"
#include "base/thread.h"

struct bell {
        pthread_mutex_t lock;
        pthread_cond_t rung;
        bool is_rung;
};

static void *ring_bell(void *arg)
{
        struct bell *b = arg;
        pthread_mutex_lock(&b->lock);
        b->is_rung = true;
        pthread_cond_signal(&b->rung);
        pthread_mutex_unlock(&b->lock);
        return NULL;
}

static void test_cond_wait_until(void **state)
{
        struct bell b = { .lock = PTHREAD_MUTEX_INITIALIZER };
        pthread_t thread;
        int rc;
        (void)state;
        assert_int_equal(thread_cond_init(&b.rung), 0);
        pthread_mutex_lock(&b.lock);
        int64_t start = clock_mono_ms();
        do {
                rc = thread_cond_wait_until(&b.rung, &b.lock, start + 30);
        } while (!rc);
        assert_int_equal(rc, -ETIMEDOUT);
        assert_in_range(clock_mono_ms() - start, 30, 10000);
        for (int64_t past = start - 1100; past < start; past += 7) /* any part of a second */
                assert_int_equal(thread_cond_wait_until(&b.rung, &b.lock, past < 0 ? 0 : past), -ETIMEDOUT);
        assert_int_equal(thread_start(&thread, "bell", ring_bell, &b), 0);
        while (!b.is_rung) /* which it cannot be while we have the lock */
                assert_int_equal(thread_cond_wait_until(&b.rung, &b.lock, start + 60000), 0);
        pthread_mutex_unlock(&b.lock);
        pthread_join(thread, NULL);
        pthread_cond_destroy(&b.rung);
}

static atomic_int ran;

static void count_task(void *arg)
{
        (void)arg;
        atomic_fetch_add(&ran, 1);
}

static void block_task(void *gate)
{
        pthread_mutex_lock(gate);
        pthread_mutex_unlock(gate);
}

static void test_pool_runs_everything(void **state)
{
        (void)state;
        struct pool *p = pool_new("test", 4, 2000);
        assert_non_null(p);
        for (int i = 0; i < 1000; i++)
                assert_int_equal(pool_submit(p, count_task, NULL), 0);
        pool_free(p);
        assert_int_equal(atomic_load(&ran), 1000);
}

static void test_pool_refuses_beyond_its_bound(void **state)
{
        (void)state;
        pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
        pthread_mutex_lock(&gate);
        struct pool *p = pool_new("test", 1, 3);
        int accepted = 0;
        while (pool_submit(p, block_task, &gate) == 0)
                accepted++;
        assert_true(accepted >= 3 && accepted <= 4);
        pthread_mutex_unlock(&gate);
        pool_free(p);
}

static char order[8];
static atomic_int order_n;

static void note_task(void *arg)
{
        order[atomic_fetch_add(&order_n, 1)] = *(const char *)arg;
}

/* Pushed tasks run in their order, before those that were submitted, and a full queue does not refuse them.
 */
static void test_pool_pushed_tasks_go_first(void **state)
{
        (void)state;
        pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
        struct pool_task tasks[3] = { { .fn = note_task, .arg = "a" },
                                      { .fn = note_task, .arg = "b" },
                                      { .fn = note_task, .arg = "c" } };
        pthread_mutex_lock(&gate);
        struct pool *p = pool_new("test", 1, 2);
        assert_int_equal(pool_submit(p, block_task, &gate), 0);
        while (pool_queued(p)) /* until the one thread is held */
                sched_yield();
        while (pool_submit(p, note_task, "z") == 0)
                ;
        for (int i = 0; i < 3; i++)
                pool_push(p, &tasks[i]);
        assert_int_equal(pool_queued(p), 5);
        pthread_mutex_unlock(&gate);
        pool_free(p);
        assert_string_equal(order, "abczz");
}

#define STREAM_BYTES 3000000

static void *produce(void *arg)
{
        struct ring *r = arg;
        char piece[700];
        for (size_t sent = 0; sent < STREAM_BYTES;) {
                size_t n = 1 + sent * 7 % sizeof(piece);
                for (size_t i = 0; i < n; i++)
                        piece[i] = (char)((sent + i) % 251);
                int rc = ring_write(r, (struct str){ piece, n });
                if (rc == 0)
                        sent += n;
                else
                        usleep(50);
        }
        ring_end(r, STR("last"));
        ring_unref(r);
        return NULL;
}

static void test_ring_keeps_order_and_bound(void **state)
{
        (void)state;
        struct ring *r = ring_new(4096, NULL);
        pthread_t thread;
        pthread_create(&thread, NULL, produce, r);
        size_t at = 0;
        char out[333], tail[4] = { 0 };
        for (long n; (n = ring_read(r, out, sizeof(out))) >= 0;) {
                assert_true(ring_used(r) <= 4096 + 4);
                for (long i = 0; i < n; i++, at++) {
                        memmove(tail, tail + 1, 3);
                        tail[3] = out[i];
                        if (at < STREAM_BYTES)
                                assert_int_equal((unsigned char)out[i], at % 251);
                }
        }
        assert_memory_equal(tail, "last", 4);
        pthread_join(thread, NULL);
        ring_unref(r);
}

static int told_data, told_room, told_release;

static void on_data(void *ctx)
{
        (void)ctx;
        told_data++;
}

static void on_room(void *ctx)
{
        (void)ctx;
        told_room++;
}

static void on_release(void *p)
{
        (*(int *)p)++;
}

static void test_ring_callbacks(void **state)
{
        (void)state;
        struct ring_ops ops = { on_data, on_room, NULL };
        struct ring *r = ring_new(8, &ops);
        char out[8];
        assert_int_equal(ring_own(r, on_release, &told_release), 0);
        assert_int_equal(ring_write(r, STR("123456789")), -EFBIG);
        assert_int_equal(ring_write(r, STR("12345")), 0);
        assert_int_equal(ring_write(r, STR("6789")), -EAGAIN);
        assert_int_equal(told_data, 1);
        assert_int_equal(ring_read(r, out, 5), 5);
        assert_int_equal(told_room, 1);
        assert_int_equal(ring_read(r, out, 5), 0);
        ring_cancel(r);
        assert_int_equal(ring_write(r, STR("x")), -EPIPE);
        assert_true(ring_cancelled(r));
        assert_int_equal(ring_read(r, out, 5), -1);
        ring_unref(r);
        assert_int_equal(told_release, 0);
        ring_unref(r);
        assert_int_equal(told_release, 1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_cond_wait_until),
                cmocka_unit_test(test_pool_runs_everything),
                cmocka_unit_test(test_pool_refuses_beyond_its_bound),
                cmocka_unit_test(test_pool_pushed_tasks_go_first),
                cmocka_unit_test(test_ring_keeps_order_and_bound),
                cmocka_unit_test(test_ring_callbacks),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
