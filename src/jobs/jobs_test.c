/* The queue against a real store: each job once, leases kept and lost, stops that lose nothing. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/mem.h"
#include "jobs/jobs.c"

#define KIND "test.work"
#define OTHER "test.other"
#define WAIT_MS 20000

struct world {
        char dir[64];
        struct store *store;
        struct jobs *q;
        atomic_int begun, ended, at_once, most, told, lost;
        atomic_bool hold; /* jobs that have begun wait */
        struct job_run *_Atomic held;
};

static void pause_ms(long ms)
{
        nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 }, NULL);
}

/* Waits for a condition to become true. */
#define AWAIT(cond)                                         \
        do {                                                \
                int64_t until_ = clock_mono_ms() + WAIT_MS; \
                while (!(cond) && clock_mono_ms() < until_) \
                        pause_ms(2);                        \
                assert_true(cond);                          \
        } while (0)

static int setup(void **state)
{
        struct world *w = mem_calloc(1, sizeof(*w));
        snprintf(w->dir, sizeof(w->dir), "/tmp/cairn-jobs-XXXXXX");
        assert_non_null(mkdtemp(w->dir));
        struct store_options o = { .exclusive = true };
        assert_int_equal(store_open(w->dir, &o, &w->store, NULL), 0);
        *state = w;
        return 0;
}

static int teardown(void **state)
{
        struct world *w = *state;
        char command[128];
        jobs_stop(w->q);
        store_close(w->store);
        snprintf(command, sizeof(command), "rm -r %s", w->dir);
        int rc = system(command);
        mem_free(w);
        return rc;
}

static void put(struct world *w, const char *kind, int number, const char *payload, int64_t due)
{
        char id[32];
        snprintf(id, sizeof(id), "job-%d", number);
        struct store_op op = { .verb = STORE_JOB_PUT,
                               .kind = kind,
                               .id = id,
                               .project = "proj_a",
                               .due = due,
                               .doc = str_c(payload) };
        assert_int_equal(store_write(w->store, &op, 1, NULL), 0);
}

static size_t left(struct world *w, const char *kind)
{
        size_t n;
        assert_int_equal(store_job_count(w->store, kind, NULL, &n, NULL), 0);
        return n;
}

/* What a job does to the store: a row that can be put once. */
static struct store_op result_op(const struct job_run *run)
{
        return (struct store_op){
                .verb = STORE_PUT, .kind = "result", .id = job_of(run)->id, .doc = job_of(run)->payload
        };
}

static void run_quick(void *ctx, struct job_run *run)
{
        struct world *w = ctx;
        int now = atomic_fetch_add(&w->at_once, 1) + 1;
        if (now > atomic_load(&w->most))
                atomic_store(&w->most, now);
        atomic_fetch_add(&w->begun, 1);
        while (atomic_load(&w->hold) && !job_stopping(run))
                pause_ms(1);
        struct store_op op = result_op(run);
        atomic_fetch_sub(&w->at_once, 1);
        int rc = job_stopping(run) ? job_retry(run, 0, (struct str){ NULL, 0 }, NULL, 0, NULL)
                                   : job_finish(run, &op, 1, NULL);
        assert_int_equal(rc, 0);
        atomic_fetch_add(&w->ended, 1);
}

static void start(struct world *w, int at_once, void (*run)(void *, struct job_run *),
                  void (*stop)(void *, struct job_run *))
{
        struct job_worker workers[] = { { KIND, at_once, run, stop, w }, { OTHER, 1, run, stop, w } };
        assert_int_equal(jobs_start(w->store, workers, 2, &w->q), 0);
}

/* ---- claiming ---- */

static void test_each_once(void **state)
{
        struct world *w = *state;
        for (int i = 0; i < 50; i++)
                put(w, KIND, i, "{}", 0);
        start(w, 4, run_quick, NULL);
        for (int i = 50; i < 100; i++)
                put(w, KIND, i, "{}", 0);
        AWAIT(atomic_load(&w->ended) == 100);
        assert_int_equal(atomic_load(&w->begun), 100);
        assert_in_range(atomic_load(&w->most), 1, 4);
        assert_int_equal(left(w, KIND), 0);
        assert_int_equal(jobs_running(w->q, NULL), 0);
}

static void test_kinds_do_not_wait_for_each_other(void **state)
{
        struct world *w = *state;
        atomic_store(&w->hold, true);
        for (int i = 0; i < 5; i++)
                put(w, KIND, i, "{}", 0);
        start(w, 2, run_quick, NULL);
        AWAIT(jobs_running(w->q, KIND) == 2);
        put(w, OTHER, 9, "{}", 0);
        AWAIT(jobs_running(w->q, OTHER) == 1);
        assert_int_equal(jobs_running(w->q, NULL), 3);
        assert_int_equal(atomic_load(&w->most), 3);
        atomic_store(&w->hold, false);
        AWAIT(atomic_load(&w->ended) == 6);
}

static void test_due_later(void **state)
{
        struct world *w = *state;
        int64_t before = clock_mono_ms();
        start(w, 1, run_quick, NULL);
        put(w, KIND, 1, "{}", clock_unix_us() / 1000 + 300);
        AWAIT(atomic_load(&w->ended) == 1);
        assert_in_range(clock_mono_ms() - before, 250, 3000);
}

/* ---- ends ---- */

static void run_in_steps(void *ctx, struct job_run *run)
{
        struct world *w = ctx;
        struct str payload = job_of(run)->payload;
        struct store_op op = result_op(run);
        atomic_fetch_add(&w->begun, 1);
        int rc;
        if (str_eqc(payload, "{}"))
                rc = job_retry(run, 0, STR("{\"step\":1}"), NULL, 0, NULL);
        else if (str_eqc(payload, "{\"step\":1}"))
                rc = job_save(run, STR("{\"step\":2}"), &op, 1, NULL) ||
                     job_retry(run, 0, (struct str){ NULL, 0 }, NULL, 0, NULL);
        else
                rc = job_finish(run, NULL, 0, NULL);
        assert_int_equal(rc, 0);
        atomic_fetch_add(&w->ended, 1);
}

static void test_payloads(void **state)
{
        struct world *w = *state;
        put(w, KIND, 1, "{}", 0);
        start(w, 1, run_in_steps, NULL);
        AWAIT(atomic_load(&w->ended) == 3);
        assert_int_equal(left(w, KIND), 0);
        struct object row;
        assert_int_equal(store_get(w->store, "result", "job-1", NULL, &row, NULL), 0);
        object_release(&row);
}

/* A commit that fails leaves the run; a row that another has changed is told from a lost lease. */
static void run_failing(void *ctx, struct job_run *run)
{
        struct world *w = ctx;
        struct store_fault fault;
        struct store_op ops[] = { { .verb = STORE_CHECK, .kind = "row", .id = "x" },
                                  { .verb = STORE_CHECK, .kind = "row", .id = "x", .if_version = 99 } };
        assert_int_equal(job_finish(run, ops, 2, &fault), -EALREADY);
        assert_int_equal(fault.op, 1);
        assert_int_equal(job_save(run, STR("{}"), &ops[1], 1, NULL), -EALREADY);
        ops[1].id = "unknown";
        assert_int_equal(job_retry(run, 0, STR("{}"), ops, 2, &fault), -ENOENT);
        assert_int_equal(fault.op, 1);
        assert_int_equal(job_finish(run, ops, 1, NULL), 0);
        atomic_fetch_add(&w->ended, 1);
}

static void test_failed_commits(void **state)
{
        struct world *w = *state;
        struct store_op row = { .kind = "row", .id = "x" };
        assert_int_equal(store_put(w->store, &row, NULL), 0);
        put(w, KIND, 1, "{}", 0);
        start(w, 1, run_failing, NULL);
        AWAIT(atomic_load(&w->ended) == 1);
        assert_int_equal(left(w, KIND), 0);
}

/* ---- leases ---- */

static void run_held(void *ctx, struct job_run *run)
{
        struct world *w = ctx;
        atomic_store(&w->held, run);
        atomic_fetch_add(&w->begun, 1);
}

static void stop_counted(void *ctx, struct job_run *run)
{
        struct world *w = ctx;
        assert_true(job_stopping(run));
        atomic_fetch_add(&w->told, 1);
}

static void test_lost_lease(void **state)
{
        struct world *w = *state;
        put(w, KIND, 1, "{}", 0);
        start(w, 1, run_held, stop_counted);
        AWAIT(atomic_load(&w->held));
        struct job_run *run = atomic_load(&w->held);
        struct store_op drop = { .verb = STORE_JOB_DROP, .kind = KIND, .id = "job-1" };
        assert_int_equal(store_write(w->store, &drop, 1, NULL), 0);
        pthread_mutex_lock(&w->q->lock);
        run->renew_at_ms = 0; /* time passes */
        pthread_cond_broadcast(&w->q->changed);
        pthread_mutex_unlock(&w->q->lock);
        AWAIT(atomic_load(&w->told) == 1);
        struct store_op op = result_op(run);
        assert_int_equal(job_save(run, STR("{}"), &op, 1, NULL), -ESTALE);
        assert_int_equal(job_finish(run, &op, 1, NULL), -ESTALE); /* it is gone now */
        assert_int_equal(jobs_running(w->q, NULL), 0);
        struct object row;
        assert_int_equal(store_get(w->store, "result", "job-1", NULL, &row, NULL), -ENOENT);
}

#ifdef CAIRN_FAULTS
static void run_without_disk(void *ctx, struct job_run *run)
{
        struct world *w = ctx;
        struct store_op op = result_op(run);
        if (atomic_fetch_add(&w->begun, 1) == 0)
                assert_int_equal(fault_arm(STR("store.commit:1:ENOSPC:3")), 0);
        if (job_finish(run, &op, 1, NULL))
                job_lost(run);
        else
                atomic_fetch_add(&w->ended, 1);
}

/* A disk that is full for a moment costs seconds, not the rest of a lease. */
static void test_dropped_job_is_given_back(void **state)
{
        struct world *w = *state;
        put(w, KIND, 1, "{}", 0);
        start(w, 1, run_without_disk, stop_counted);
        AWAIT(atomic_load(&w->ended) == 1);
        assert_int_equal(atomic_load(&w->begun), 2);
        assert_int_equal(atomic_load(&w->told), 0);
        AWAIT(left(w, KIND) == 0 && jobs_running(w->q, NULL) == 0);
}

static void run_dropped(void *ctx, struct job_run *run)
{
        struct world *w = ctx;
        assert_int_equal(fault_arm(STR("store.commit:1:ENOSPC:0")), 0);
        job_lost(run);
        atomic_fetch_add(&w->ended, 1);
}

/* While nothing can be written the queue still stops at once. */
static void test_stop_with_dropped_jobs(void **state)
{
        struct world *w = *state;
        put(w, KIND, 1, "{}", 0);
        start(w, 1, run_dropped, stop_counted);
        AWAIT(atomic_load(&w->ended) == 1);
        int64_t before = clock_mono_ms();
        jobs_stop(w->q);
        w->q = NULL;
        assert_in_range(clock_mono_ms() - before, 0, 5000);
        fault_clear();
        assert_int_equal(left(w, KIND), 1);
}
#endif

static void test_renewed_lease(void **state)
{
        struct world *w = *state;
        put(w, KIND, 1, "{}", 0);
        start(w, 1, run_held, stop_counted);
        AWAIT(atomic_load(&w->held));
        struct job_run *run = atomic_load(&w->held);
        pthread_mutex_lock(&w->q->lock);
        int64_t before = run->renewed_ms = clock_mono_ms() - LEASE_MS / 2;
        run->renew_at_ms = 0;
        pthread_cond_broadcast(&w->q->changed);
        pthread_mutex_unlock(&w->q->lock);
        int64_t renewed;
        do {
                pause_ms(2);
                pthread_mutex_lock(&w->q->lock);
                renewed = run->renewed_ms;
                pthread_mutex_unlock(&w->q->lock);
        } while (renewed == before);
        assert_int_equal(atomic_load(&w->told), 0);
        assert_int_equal(job_finish(run, NULL, 0, NULL), 0);
}

/* ---- stopping ---- */

static void stop_retries(void *ctx, struct job_run *run)
{
        struct world *w = ctx;
        atomic_fetch_add(&w->told, 1);
        assert_int_equal(job_retry(run, 0, STR("{\"again\":1}"), NULL, 0, NULL), 0);
}

static void test_stop(void **state)
{
        struct world *w = *state;
        for (int i = 0; i < 8; i++)
                put(w, KIND, i, "{}", 0);
        start(w, 3, run_held, stop_retries);
        AWAIT(atomic_load(&w->begun) == 3);
        jobs_stop(w->q);
        assert_int_equal(atomic_load(&w->told), 3);
        assert_int_equal(left(w, KIND), 8);
        start(w, 8, run_quick, NULL); /* all are due again */
        AWAIT(atomic_load(&w->ended) == 8);
}

/* Ends on one thread, stops on another, at the same time: nothing is told of what is gone. */
static void *end_held(void *ctx)
{
        struct world *w = ctx;
        AWAIT(atomic_load(&w->held));
        job_finish(atomic_load(&w->held), NULL, 0, NULL);
        return NULL;
}

static void stop_slowly(void *ctx, struct job_run *run)
{
        struct world *w = ctx;
        pause_ms(1);
        assert_string_equal(job_of(run)->id, "job-1");
        atomic_fetch_add(&w->told, 1);
}

static void test_stop_and_end(void **state)
{
        struct world *w = *state;
        for (int i = 0; i < 30; i++) {
                pthread_t ender;
                atomic_store(&w->held, NULL);
                put(w, KIND, 1, "{}", 0);
                start(w, 1, run_held, stop_slowly);
                AWAIT(atomic_load(&w->held));
                assert_int_equal(pthread_create(&ender, NULL, end_held, w), 0);
                if (i % 3)
                        pause_ms(i % 5);
                jobs_stop(w->q);
                pthread_join(ender, NULL);
                w->q = NULL;
                assert_int_equal(left(w, KIND), 0);
        }
}

/* A process that dies holds jobs: the next one has them at once. */
static void test_death(void **state)
{
        struct world *w = *state;
        const char *kinds[] = { KIND };
        struct job job;
        for (int i = 0; i < 3; i++)
                put(w, KIND, i, "{}", 0);
        assert_int_equal(store_job_claim(w->store, kinds, 1, 3600000, &job, NULL, NULL), 0);
        job_release(&job);
        struct store_options o = { .exclusive = true };
        store_close(w->store);
        assert_int_equal(store_open(w->dir, &o, &w->store, NULL), 0);
        start(w, 1, run_quick, NULL);
        AWAIT(atomic_load(&w->ended) == 3);
}

#ifdef CAIRN_FAULTS
/* Whatever memory is missing at the start: it is said, or the jobs are done. */
static void test_start_without_memory(void **state)
{
        struct world *w = *state;
        struct job_worker worker = { KIND, 1, run_quick, NULL, w };
        int started = 0;
        for (int n = 1; n <= 6; n++) {
                mem_fail_nth(n);
                int rc = jobs_start(w->store, &worker, 1, &w->q);
                if (rc == 0)
                        AWAIT(mem_alloc_count() >= n);
                mem_fail_nth(0);
                if (rc) {
                        assert_int_equal(rc, -ENOMEM);
                        continue;
                }
                put(w, KIND, n, "{}", 0);
                started++;
                AWAIT(atomic_load(&w->ended) == started);
                jobs_stop(w->q);
                w->q = NULL;
        }
        assert_true(started > 0);
}
#endif

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_each_once, setup, teardown),
                cmocka_unit_test_setup_teardown(test_kinds_do_not_wait_for_each_other, setup, teardown),
                cmocka_unit_test_setup_teardown(test_due_later, setup, teardown),
                cmocka_unit_test_setup_teardown(test_payloads, setup, teardown),
                cmocka_unit_test_setup_teardown(test_failed_commits, setup, teardown),
                cmocka_unit_test_setup_teardown(test_lost_lease, setup, teardown),
#ifdef CAIRN_FAULTS
                cmocka_unit_test_setup_teardown(test_dropped_job_is_given_back, setup, teardown),
                cmocka_unit_test_setup_teardown(test_stop_with_dropped_jobs, setup, teardown),
                cmocka_unit_test_setup_teardown(test_start_without_memory, setup, teardown),
#endif
                cmocka_unit_test_setup_teardown(test_renewed_lease, setup, teardown),
                cmocka_unit_test_setup_teardown(test_stop, setup, teardown),
                cmocka_unit_test_setup_teardown(test_stop_and_end, setup, teardown),
                cmocka_unit_test_setup_teardown(test_death, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
