/* Jobs: who gets them, when, and that what they do to the store happens once. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"
#include "store/conformance_internal.h"

#define LONG_MS 600000

static int64_t now_ms(void)
{
        return clock_unix_us() / 1000;
}

static struct store_op job_op(enum store_verb verb, const char *kind, const char *id)
{
        return (struct store_op){ .verb = verb, .kind = kind, .id = id };
}

static void put_job(struct store *s, const char *kind, const char *id, int priority, int64_t due)
{
        struct store_op op = job_op(STORE_JOB_PUT, kind, id);
        op.project = "proj_a";
        op.priority = priority;
        op.due = due;
        op.doc = str_c(id);
        assert_int_equal(store_write(s, &op, 1, NULL), 0);
}

static int claim(struct store *s, const char *kind, int64_t lease_ms, struct job *ret)
{
        return store_job_claim(s, &kind, 1, lease_ms, ret, NULL, NULL);
}

static void claim_id(struct store *s, const char *kind, const char *id)
{
        struct job j;
        assert_int_equal(claim(s, kind, LONG_MS, &j), 0);
        assert_string_equal(j.id, id);
        job_release(&j);
}

static int held(struct store *s, enum store_verb verb, const struct job *j, const char *payload)
{
        struct store_op op = job_op(verb, j->kind, j->id);
        op.lease = j->lease;
        if (payload)
                op.doc = str_c(payload);
        return store_write(s, &op, 1, NULL);
}

/* Waits until a job of the kind can be claimed. */
static void claim_soon(struct store *s, const char *kind, int64_t lease_ms, struct job *ret)
{
        int rc = -ENOENT;
        for (int i = 0; i < 1000 && rc == -ENOENT; i++) {
                rc = claim(s, kind, lease_ms, ret);
                if (rc)
                        usleep(5000);
        }
        assert_int_equal(rc, 0);
}

static void a_job_is_claimed_and_finished(void **state)
{
        const char *kind = "work";
        struct store_op op = job_op(STORE_JOB_PUT, kind, "j1");
        struct job j, none;
        int64_t next_due = -1, before = now_ms();
        size_t n;
        op.project = "proj_a";
        op.created = 42;
        op.doc = STR("{\"a\":\"\\u0000 \xc3\xa4\"}");
        assert_int_equal(store_job_claim(*state, &kind, 1, LONG_MS, &none, &next_due, NULL), -ENOENT);
        assert_int_equal(next_due, 0);
        assert_int_equal(store_write(*state, &op, 1, NULL), 0);
        assert_int_equal(store_job_claim(*state, &kind, 1, LONG_MS, &j, &next_due, NULL), 0);
        assert_string_equal(j.kind, kind);
        assert_string_equal(j.id, "j1");
        assert_string_equal(j.project, "proj_a");
        assert_int_equal(j.created, 42);
        assert_int_equal(j.attempt, 1);
        assert_true(j.lease > 0);
        assert_true(str_eq(j.payload, op.doc));
        assert_int_equal(j.payload.p[j.payload.n], 0);
        assert_int_equal(store_job_claim(*state, &kind, 1, LONG_MS, &none, &next_due, NULL), -ENOENT);
        assert_null(none.id);
        assert_true(next_due >= before + LONG_MS && next_due <= now_ms() + LONG_MS);
        assert_int_equal(store_job_count(*state, kind, NULL, &n, NULL), 0);
        assert_int_equal(n, 1);
        assert_int_equal(held(*state, STORE_JOB_FINISH, &j, NULL), 0);
        assert_int_equal(held(*state, STORE_JOB_FINISH, &j, NULL), -ESTALE);
        assert_int_equal(store_job_count(*state, kind, NULL, &n, NULL), 0);
        assert_int_equal(n, 0);
        job_release(&j);
        assert_null(j.id);
}

static void jobs_wait_until_they_are_due(void **state)
{
        const char *kind = "work";
        int64_t due = now_ms() + LONG_MS, next_due = 0;
        struct store_op wake = job_op(STORE_JOB_WAKE, kind, "later");
        struct job j;
        put_job(*state, kind, "later", 0, due);
        put_job(*state, kind, "much-later", 5, due + 1);
        assert_int_equal(store_job_claim(*state, &kind, 1, 1000, &j, &next_due, NULL), -ENOENT);
        assert_int_equal(next_due, due);
        assert_int_equal(store_write(*state, &wake, 1, NULL), 0);
        claim_id(*state, kind, "later");
        wake.id = "unknown"; /* never fails */
        assert_int_equal(store_write(*state, &wake, 1, NULL), 0);
        wake.id = "later"; /* nor does it take a job from its holder */
        assert_int_equal(store_write(*state, &wake, 1, NULL), 0);
        assert_int_equal(claim(*state, kind, 1000, &j), -ENOENT);
        put_job(*state, kind, "soon", 0, now_ms() + 60);
        claim_soon(*state, kind, 1000, &j);
        assert_string_equal(j.id, "soon");
        job_release(&j);
}

static void claims_go_by_priority_then_by_time(void **state)
{
        static const char *const kinds[] = { "a", "b" };
        static const char *const order[] = { "urgent", "second", "first", "third", "low" };
        struct job j;
        put_job(*state, "a", "first", 1, 2000);
        put_job(*state, "b", "second", 1, 1000);
        put_job(*state, "a", "third", 1, 3000);
        put_job(*state, "a", "low", -7, 1);
        put_job(*state, "b", "urgent", 100, 0);
        put_job(*state, "a", "not-yet", 200, now_ms() + LONG_MS);
        put_job(*state, "c", "other", 300, 0);
        for (size_t i = 0; i < 5; i++) {
                assert_int_equal(store_job_claim(*state, kinds, 2, LONG_MS, &j, NULL, NULL), 0);
                assert_string_equal(j.id, order[i]);
                job_release(&j);
        }
        assert_int_equal(store_job_claim(*state, kinds, 2, LONG_MS, &j, NULL, NULL), -ENOENT);
}

static void a_lease_that_ran_out_passes_to_another(void **state)
{
        struct job old, new;
        put_job(*state, "work", "j1", 0, 0);
        assert_int_equal(claim(*state, "work", 30, &old), 0);
        /* While nobody else has claimed it the holder still holds it. */
        usleep(60000);
        assert_int_equal(held(*state, STORE_JOB_SAVE, &old, "half"), 0);
        claim_soon(*state, "work", LONG_MS, &new);
        assert_int_equal(new.attempt, 2);
        assert_true(new.lease != old.lease);
        assert_true(str_eqc(new.payload, "half"));
        /* Whatever the old holder writes now is not written at all. */
        struct store_op ops[2] = { conformance_thing("t1", 1), job_op(STORE_JOB_SAVE, "work", "j1") };
        ops[1].lease = old.lease;
        ops[1].doc = STR("lost");
        for (int i = 0; i < 3; i++) {
                static const enum store_verb verbs[] = { STORE_JOB_SAVE, STORE_JOB_RETRY, STORE_JOB_FINISH };
                struct store_fault fault;
                ops[1].verb = verbs[i];
                assert_int_equal(store_write(*state, ops, 2, &fault), -ESTALE);
                assert_int_equal(fault.op, 1);
                assert_int_equal(conformance_version(*state, "t1"), -ENOENT);
        }
        assert_int_equal(store_job_renew(*state, "work", "j1", old.lease, 1000, NULL), -ESTALE);
        ops[1].lease = new.lease;
        assert_int_equal(store_write(*state, ops, 2, NULL), 0);
        assert_int_equal(conformance_version(*state, "t1"), 1);
        job_release(&old);
        job_release(&new);
}

static void a_renewed_lease_stays(void **state)
{
        struct job j, none;
        put_job(*state, "work", "j1", 0, 0);
        assert_int_equal(claim(*state, "work", 200, &j), 0);
        assert_int_equal(store_job_renew(*state, "work", "j1", j.lease, LONG_MS, NULL), 0);
        usleep(250000);
        assert_int_equal(claim(*state, "work", 200, &none), -ENOENT);
        assert_int_equal(store_job_renew(*state, "work", "j2", j.lease, LONG_MS, NULL), -ESTALE);
        assert_int_equal(store_job_renew(*state, "work", "j1", j.lease + 1, LONG_MS, NULL), -ESTALE);
        job_release(&j);
}

static void a_job_is_given_back(void **state)
{
        struct store_op op = job_op(STORE_JOB_RETRY, "work", "j1");
        struct job j;
        int64_t next_due;
        const char *kind = "work";
        put_job(*state, kind, "j1", 0, 0);
        assert_int_equal(claim(*state, kind, LONG_MS, &j), 0);
        assert_int_equal(held(*state, STORE_JOB_RETRY, &j, NULL), 0);
        job_release(&j);
        assert_int_equal(claim(*state, kind, LONG_MS, &j), 0);
        assert_int_equal(j.attempt, 2);
        assert_true(str_eqc(j.payload, "j1"));
        op.lease = j.lease;
        op.due = now_ms() + 80;
        op.doc = STR("");
        assert_int_equal(store_write(*state, &op, 1, NULL), 0);
        job_release(&j);
        assert_int_equal(store_job_claim(*state, &kind, 1, LONG_MS, &j, &next_due, NULL), -ENOENT);
        assert_int_equal(next_due, op.due);
        claim_soon(*state, kind, LONG_MS, &j);
        assert_int_equal(j.attempt, 3);
        assert_int_equal(j.payload.n, 0); /* an empty payload is one */
        job_release(&j);
}

static void a_job_shares_the_fate_of_its_write(void **state)
{
        struct store_op ops[3] = { conformance_thing("t1", 1), job_op(STORE_JOB_PUT, "work", "j1"),
                                   conformance_thing("t1", 1) };
        struct store_fault fault;
        struct job j;
        assert_int_equal(store_write(*state, ops, 3, &fault), -EEXIST);
        assert_int_equal(claim(*state, "work", 1000, &j), -ENOENT);
        assert_int_equal(store_write(*state, ops, 2, NULL), 0);
        assert_int_equal(store_write(*state, ops + 1, 1, NULL), -EEXIST);
        ops[1].kind = "other"; /* an id is taken per kind */
        assert_int_equal(store_write(*state, ops + 1, 1, NULL), 0);
        assert_int_equal(claim(*state, "work", LONG_MS, &j), 0);
        /* The result and the end of the job are one. */
        struct store_op end[2] = { conformance_thing("t1", 1), job_op(STORE_JOB_FINISH, "work", "j1") };
        end[1].lease = j.lease;
        assert_int_equal(store_write(*state, end, 2, &fault), -EEXIST);
        assert_int_equal(store_job_renew(*state, "work", "j1", j.lease, 1000, NULL), 0);
        end[0] = conformance_thing("t2", 1);
        assert_int_equal(store_write(*state, end, 2, NULL), 0);
        assert_int_equal(conformance_version(*state, "t2"), 1);
        assert_int_equal(store_job_renew(*state, "work", "j1", j.lease, 1000, NULL), -ESTALE);
        job_release(&j);
}

static void a_job_that_nobody_holds_is_finished(void **state)
{
        struct store_op finish = job_op(STORE_JOB_FINISH, "work", "j1");
        struct job j;
        assert_int_equal(store_write(*state, &finish, 1, NULL), -ESTALE); /* there is none */
        put_job(*state, "work", "j1", 0, 0);
        assert_int_equal(claim(*state, "work", LONG_MS, &j), 0);
        assert_int_equal(store_write(*state, &finish, 1, NULL), -ESTALE);
        assert_int_equal(held(*state, STORE_JOB_RETRY, &j, NULL), 0);
        assert_int_equal(store_write(*state, &finish, 1, NULL), 0);
        job_release(&j);
        assert_int_equal(claim(*state, "work", LONG_MS, &j), -ENOENT);
}

static void a_dropped_job_is_gone(void **state)
{
        struct store_op drop = job_op(STORE_JOB_DROP, "work", "j1");
        struct job j;
        put_job(*state, "work", "j1", 0, 0);
        drop.project = "proj_b";
        assert_int_equal(store_write(*state, &drop, 1, NULL), -ENOENT);
        assert_int_equal(claim(*state, "work", LONG_MS, &j), 0);
        drop.project = "proj_a";
        assert_int_equal(store_write(*state, &drop, 1, NULL), 0); /* whoever holds it */
        assert_int_equal(store_write(*state, &drop, 1, NULL), -ENOENT);
        assert_int_equal(held(*state, STORE_JOB_SAVE, &j, "x"), -ESTALE);
        assert_int_equal(store_job_renew(*state, "work", "j1", j.lease, 1000, NULL), -ESTALE);
        /* The same id again is another job: the lease of the first says nothing of it. */
        put_job(*state, "work", "j1", 0, 0);
        struct job again;
        assert_int_equal(claim(*state, "work", LONG_MS, &again), 0);
        assert_int_equal(again.attempt, 1);
        assert_true(again.lease != j.lease);
        assert_int_equal(held(*state, STORE_JOB_FINISH, &j, NULL), -ESTALE);
        job_release(&j);
        job_release(&again);
}

static void jobs_are_counted(void **state)
{
        struct job_tally tally[4];
        struct job j;
        size_t n;
        put_job(*state, "b", "1", 0, 0);
        put_job(*state, "b", "2", 0, 0);
        put_job(*state, "b", "3", 0, now_ms() + LONG_MS);
        put_job(*state, "a", "1", 0, 0);
        assert_int_equal(claim(*state, "b", LONG_MS, &j), 0);
        job_release(&j);
        assert_int_equal(store_job_count(*state, "b", NULL, &n, NULL), 0);
        assert_int_equal(n, 3);
        assert_int_equal(store_job_count(*state, "b", "proj_a", &n, NULL), 0);
        assert_int_equal(n, 3);
        assert_int_equal(store_job_count(*state, "b", "proj_b", &n, NULL), 0);
        assert_int_equal(n, 0);
        assert_int_equal(store_job_tally(*state, tally, 4, &n, NULL), 0);
        assert_int_equal(n, 2);
        assert_string_equal(tally[0].kind, "a");
        assert_int_equal(tally[0].waiting, 1);
        assert_int_equal(tally[0].running, 0);
        assert_string_equal(tally[1].kind, "b");
        assert_int_equal(tally[1].waiting, 2);
        assert_int_equal(tally[1].running, 1);
        assert_int_equal(store_job_tally(*state, tally, 1, &n, NULL), 0);
        assert_int_equal(n, 1);
}

static int note_job(void *ctx, const struct job *j)
{
        char *all = ctx;
        size_t n = strlen(all);
        snprintf(all + n, 256 - n, "%s/%s:%d%s ", j->kind, j->id, j->attempt, j->lease ? "*" : "");
        assert_true(str_eqc(j->payload, j->id));
        return !strcmp(j->id, "stop") ? 77 : 0;
}

static void jobs_are_scanned(void **state)
{
        char seen[256] = "";
        struct job j;
        assert_int_equal(store_job_scan(*state, note_job, seen, NULL), 0);
        put_job(*state, "b", "1", 0, 0);
        put_job(*state, "a", "2", 0, now_ms() + LONG_MS);
        put_job(*state, "b", "3", 0, 0);
        assert_int_equal(claim(*state, "b", LONG_MS, &j), 0);
        job_release(&j);
        assert_int_equal(store_job_scan(*state, note_job, seen, NULL), 0);
        assert_string_equal(seen, "b/1:1* a/2:0 b/3:0 ");
        put_job(*state, "b", "stop", 0, 0);
        put_job(*state, "b", "4", 0, 0);
        seen[0] = '\0';
        assert_int_equal(store_job_scan(*state, note_job, seen, NULL), 77);
        assert_null(strstr(seen, "b/4"));
}

static void malformed_claims_are_refused(void **state)
{
        const char *kind = "work", *empty = "";
        struct store_op op = job_op(STORE_JOB_SAVE, kind, "j1");
        struct job j;
        assert_int_equal(store_job_claim(*state, &kind, 0, 1000, &j, NULL, NULL), -EINVAL);
        assert_int_equal(store_job_claim(*state, &empty, 1, 1000, &j, NULL, NULL), -EINVAL);
        assert_int_equal(store_job_claim(*state, &kind, 1, 0, &j, NULL, NULL), -EINVAL);
        assert_int_equal(store_job_renew(*state, kind, "j1", 0, 1000, NULL), -EINVAL);
        assert_int_equal(store_write(*state, &op, 1, NULL), -EINVAL); /* without a lease */
        op.verb = STORE_JOB_FINISH;
        op.lease = -1;
        assert_int_equal(store_write(*state, &op, 1, NULL), -EINVAL);
        op = job_op(STORE_JOB_PUT, kind, "j1");
        op.due = -1;
        assert_int_equal(store_write(*state, &op, 1, NULL), -EINVAL);
}

static void jobs_survive_a_restart(void **state)
{
        struct job j;
        put_job(*state, "work", "j1", 0, 0);
        put_job(*state, "work", "j2", 0, now_ms() + LONG_MS);
        assert_int_equal(claim(*state, "work", 100, &j), 0);
        assert_int_equal(held(*state, STORE_JOB_SAVE, &j, "half"), 0);
        job_release(&j);
        *state = conformance_reopen(*state);
        claim_soon(*state, "work", LONG_MS, &j);
        assert_string_equal(j.id, "j1");
        assert_int_equal(j.attempt, 2);
        assert_true(str_eqc(j.payload, "half"));
        job_release(&j);
        assert_int_equal(claim(*state, "work", 100, &j), -ENOENT);
}

/* ---- many threads ---- */

#define CLAIMERS 64
#define JOBS 400

struct crew {
        struct store *s;
        int64_t lease_ms;
        unsigned dawdle_us; /* of every third job: longer than the lease */
        _Atomic int finished, stale, failures;
};

/* Claims until all is done. What a job does is to insert its row: a second time would be -EEXIST. */
static void *work_off(void *arg)
{
        struct crew *c = arg;
        while (c->finished < JOBS && !c->failures) {
                struct job j;
                int rc = claim(c->s, "work", c->lease_ms, &j);
                if (rc) {
                        c->failures += rc != -ENOENT;
                        usleep(1000);
                        continue;
                }
                if (c->dawdle_us && j.attempt == 1 && j.id[3] % 3 == 0)
                        usleep(c->dawdle_us);
                struct store_op ops[2] = { conformance_thing(j.id, 1),
                                           job_op(STORE_JOB_FINISH, "work", j.id) };
                ops[1].lease = j.lease;
                rc = store_write(c->s, ops, 2, NULL);
                c->finished += rc == 0;
                c->stale += rc == -ESTALE || rc == -EEXIST;
                /* -EEXIST only where the other holder was quicker: its row and its end are one write. */
                if (rc && (!c->dawdle_us || (rc != -ESTALE && rc != -EEXIST)))
                        ++c->failures;
                job_release(&j);
        }
        return NULL;
}

static void crew_run(struct crew *c)
{
        pthread_t threads[CLAIMERS];
        char id[16];
        size_t n;
        for (int i = 0; i < JOBS; i++) {
                snprintf(id, sizeof(id), "j%03d", i);
                put_job(c->s, "work", id, i % 5, 0);
        }
        for (int i = 0; i < CLAIMERS; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, work_off, c), 0);
        for (int i = 0; i < CLAIMERS; i++)
                pthread_join(threads[i], NULL);
        assert_int_equal(c->failures, 0);
        assert_int_equal(c->finished, JOBS);
        for (int i = 0; i < JOBS; i++) {
                snprintf(id, sizeof(id), "j%03d", i);
                assert_int_equal(conformance_version(c->s, id), 1);
        }
        assert_int_equal(store_job_count(c->s, "work", NULL, &n, NULL), 0);
        assert_int_equal(n, 0);
}

static void claimers_share_no_job(void **state)
{
        struct crew crew = { .s = *state, .lease_ms = LONG_MS };
        crew_run(&crew);
        assert_int_equal(crew.stale, 0);
}

static void late_holders_do_nothing_twice(void **state)
{
        struct crew crew = { .s = *state, .lease_ms = 300, .dawdle_us = 600000 };
        crew_run(&crew);
        assert_true(crew.stale > 0);
}

int conformance_jobs(void)
{
        const struct CMUnitTest jobs[] = {
                CASE(a_job_is_claimed_and_finished),
                CASE(jobs_wait_until_they_are_due),
                CASE(claims_go_by_priority_then_by_time),
                CASE(a_lease_that_ran_out_passes_to_another),
                CASE(a_renewed_lease_stays),
                CASE(a_job_is_given_back),
                CASE(a_job_shares_the_fate_of_its_write),
                CASE(a_job_that_nobody_holds_is_finished),
                CASE(a_dropped_job_is_gone),
                CASE(jobs_are_counted),
                CASE(jobs_are_scanned),
                CASE(malformed_claims_are_refused),
                CASE(jobs_survive_a_restart),
                CASE(claimers_share_no_job),
                CASE(late_holders_do_nothing_twice),
        };
        return cmocka_run_group_tests(jobs, NULL, NULL);
}
