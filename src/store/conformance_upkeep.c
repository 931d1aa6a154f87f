/* Watching, scans, checks, and buckets where a backend has them. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"
#include "store/conformance_internal.h"

/* ---- watching ---- */

struct heard {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        char words[1024]; /* "topic:id " for each */
};

static void hear(void *ctx, const char *topic, const char *id)
{
        struct heard *h = ctx;
        pthread_mutex_lock(&h->lock);
        size_t n = strlen(h->words);
        snprintf(h->words + n, sizeof(h->words) - n, "%s:%s ", topic, id);
        pthread_cond_signal(&h->changed);
        pthread_mutex_unlock(&h->lock);
}

/* Waits until the word was heard, at most ten seconds. */
static void hear_out(struct heard *h, const char *word)
{
        struct timespec until;
        int rc = 0;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += 10;
        pthread_mutex_lock(&h->lock);
        while (!strstr(h->words, word) && !rc)
                rc = pthread_cond_timedwait(&h->changed, &h->lock, &until);
        pthread_mutex_unlock(&h->lock);
        if (rc)
                fail_msg("\"%s\" was not told, only \"%s\"", word, h->words);
}

static void watchers_are_told_of_commits(void **state)
{
        struct heard a = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };
        struct heard b = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };
        struct store_op note = { .verb = STORE_NOTIFY, .kind = "topic", .id = "one" };
        struct store_op failing[2] = { { .verb = STORE_NOTIFY, .kind = "topic", .id = "never" },
                                       { .verb = STORE_CHECK, .kind = "thing", .id = "missing" } };
        struct store_op job = { .verb = STORE_JOB_PUT, .kind = "batch", .id = "j1" };
        assert_int_equal(store_watch(*state, hear, &a), 0);
        assert_int_equal(store_watch(*state, hear, &b), 0);
        assert_int_equal(store_write(*state, failing, 2, NULL), -ENOENT);
        assert_int_equal(store_write(*state, &note, 1, NULL), 0);
        hear_out(&a, "topic:one");
        hear_out(&b, "topic:one");
        assert_int_equal(store_write(*state, &job, 1, NULL), 0);
        hear_out(&a, STORE_TOPIC_JOB ":batch");
        job.verb = STORE_JOB_WAKE;
        job.kind = "other";
        assert_int_equal(store_write(*state, &job, 1, NULL), 0);
        hear_out(&a, STORE_TOPIC_JOB ":other");
        assert_null(strstr(a.words, "never"));
        for (int i = 2; i < 8; i++)
                assert_int_equal(store_watch(*state, hear, &b), 0);
        assert_int_equal(store_watch(*state, hear, &b), -ENOSPC);
        store_unwatch(*state, hear, &b);
        b.words[0] = '\0';
        note.id = "two";
        assert_int_equal(store_write(*state, &note, 1, NULL), 0);
        hear_out(&a, "topic:two");
        assert_string_equal(b.words, "");
        assert_int_equal(store_watch(*state, hear, &b), 0);
        store_unwatch(*state, hear, &a);
        store_unwatch(*state, hear, &b);
}

/* ---- scans ---- */

struct seen {
        char words[1024];
        int n, stop_at;
};

static int see(void *ctx, const struct object *o)
{
        struct seen *s = ctx;
        size_t n = strlen(s->words);
        snprintf(s->words + n, sizeof(s->words) - n, "%s%s", n ? " " : "", o->id);
        return ++s->n == s->stop_at ? 77 : 0;
}

static void scans_meet_every_row(void **state)
{
        struct seen seen = { .n = 0 };
        struct store_op ops[] = { conformance_thing("c", 30), conformance_thing("a", 10),
                                  conformance_thing("b", 20), conformance_thing("x", 5) };
        ops[1].expires = 1; /* expired rows too */
        ops[2].project = "proj_b";
        ops[2].parent = "c";
        ops[3].kind = "other";
        assert_int_equal(store_scan(*state, NULL, see, &seen, NULL), 0);
        assert_int_equal(seen.n, 0);
        assert_int_equal(store_write(*state, ops, 4, NULL), 0);
        assert_int_equal(store_scan(*state, "thing", see, &seen, NULL), 0);
        assert_string_equal(seen.words, "c a b");
        seen = (struct seen){ .n = 0 };
        assert_int_equal(store_scan(*state, NULL, see, &seen, NULL), 0);
        assert_string_equal(seen.words, "c a b x");
        seen = (struct seen){ .stop_at = 2 };
        assert_int_equal(store_scan(*state, NULL, see, &seen, NULL), 77);
        assert_string_equal(seen.words, "c a");
        seen = (struct seen){ .n = 0 };
        assert_int_equal(store_scan(*state, "none", see, &seen, NULL), 0);
        assert_int_equal(seen.n, 0);
}

struct pairs {
        struct store *s;
        _Atomic bool stop;
        _Atomic int failures;
};

/* Inserts two rows at a time and deletes two at a time: every moment has an even number of them. */
static void *write_pairs(void *arg)
{
        struct pairs *p = arg;
        for (int i = 0; !p->stop; i++) {
                char one[16], two[16];
                snprintf(one, sizeof(one), "a%d", i);
                snprintf(two, sizeof(two), "b%d", i);
                struct store_op ops[2] = { conformance_thing(one, 1), conformance_thing(two, 1) };
                p->failures += store_write(p->s, ops, 2, NULL) != 0;
                ops[0].verb = ops[1].verb = STORE_DELETE;
                if (i % 3 == 0)
                        p->failures += store_write(p->s, ops, 2, NULL) != 0;
        }
        return NULL;
}

static int count_rows(void *ctx, const struct object *o)
{
        (void)o;
        ++*(int *)ctx;
        return 0;
}

static void a_scan_is_of_one_moment(void **state)
{
        struct pairs pairs = { .s = *state };
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, write_pairs, &pairs), 0);
        for (int i = 0; i < 60; i++) {
                int n = 0;
                assert_int_equal(store_scan(*state, i % 2 ? "thing" : NULL, count_rows, &n, NULL), 0);
                assert_int_equal(n % 2, 0);
        }
        pairs.stop = true;
        pthread_join(thread, NULL);
        assert_int_equal(pairs.failures, 0);
}

/* ---- checks ---- */

static void note_finding(void *ctx, const char *finding)
{
        char *all = ctx;
        size_t n = strlen(all);
        snprintf(all + n, 1024 - n, "%s\n", finding);
}

static void checks_find_missing_parents(void **state)
{
        char findings[1024] = "";
        struct store_op ops[] = { conformance_thing("root", 1), conformance_thing("leaf", 1),
                                  conformance_thing("orphan", 1) };
        struct store_usage u = { .id = "u1", .what = "completions", .n = { 1 } };
        struct store_op more[] = { { .verb = STORE_JOB_PUT, .kind = "work", .id = "j1" },
                                   { .verb = STORE_USAGE, .usage = &u } };
        ops[1].parent = "root";
        ops[2].parent = "nobody";
        assert_int_equal(store_write(*state, ops, 2, NULL), 0);
        assert_int_equal(store_write(*state, more, 2, NULL), 0);
        assert_int_equal(store_usage_fold(*state, NULL), 0);
        assert_int_equal(store_check(*state, note_finding, findings, NULL), 0);
        assert_string_equal(findings, "");
        assert_int_equal(store_write(*state, ops + 2, 1, NULL), 0);
        assert_int_equal(store_check(*state, note_finding, findings, NULL), 0);
        assert_non_null(strstr(findings, "orphan"));
        assert_non_null(strstr(findings, "nobody"));
        assert_null(strstr(findings, "leaf"));
}

/* ---- buckets ---- */

static struct store_bucket bucket(const char *key, int64_t amount)
{
        return (struct store_bucket){ .key = key, .capacity = 100, .refill_ms = 10000, .amount = amount };
}

static int take(struct store *s, const char *key, int64_t amount, int64_t now_ms, int64_t *ret_level)
{
        struct store_bucket b = bucket(key, amount);
        size_t which;
        int rc = store_buckets_take(s, &b, 1, now_ms, &which, NULL);
        *ret_level = b.ret_level;
        return rc;
}

static void buckets_give_what_they_hold(void **state)
{
        struct store_bucket two[2] = { bucket("b1", 10), bucket("b2", 30) };
        size_t which = 9;
        int64_t level, now = clock_unix_us() / 1000;
        if (store_buckets_take(*state, two, 2, now, &which, NULL) == -ENOTSUP)
                return;
        assert_int_equal(two[0].ret_level, 90);
        assert_int_equal(two[1].ret_level, 70);
        two[1].amount = 71;
        assert_int_equal(store_buckets_take(*state, two, 2, now, &which, NULL), -EAGAIN);
        assert_int_equal(which, 1);
        assert_int_equal(take(*state, "b1", 90, now, &level), 0); /* none was taken by the call before */
        assert_int_equal(level, 0);
        assert_int_equal(take(*state, "b1", 1, now, &level), -EAGAIN);
        assert_int_equal(level, 0);
        assert_int_equal(take(*state, "b1", 10, now + 1000, &level),
                         0); /* a tenth of the time, of the bucket */
        assert_int_equal(level, 0);
        assert_int_equal(take(*state, "b1", -1000, now + 1000, &level), 0); /* no more than it can hold */
        assert_int_equal(level, 100);
        struct store_bucket correction = bucket("b1", 150);
        correction.force = true;
        assert_int_equal(store_buckets_take(*state, &correction, 1, now + 1000, &which, NULL), 0);
        assert_int_equal(correction.ret_level, -50);
        assert_int_equal(take(*state, "b1", 1, now + 1000, &level), -EAGAIN);
        assert_int_equal(take(*state, "b1", 1, now + 7000, &level), 0);
}

#define TAKERS 64

struct takers {
        struct store *s;
        int64_t now;
        _Atomic int taken, failures;
};

static void *take_all(void *arg)
{
        struct takers *t = arg;
        for (int i = 0; i < 5; i++) {
                int64_t level;
                int rc = take(t->s, "shared", 1, t->now, &level);
                t->taken += rc == 0;
                t->failures += rc != 0 && rc != -EAGAIN;
        }
        return NULL;
}

static void takers_get_no_more_than_there_is(void **state)
{
        struct takers takers = { .s = *state, .now = clock_unix_us() / 1000 };
        pthread_t threads[TAKERS];
        int64_t level;
        if (take(*state, "probe", 1, takers.now, &level) == -ENOTSUP)
                return;
        for (int i = 0; i < TAKERS; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, take_all, &takers), 0);
        for (int i = 0; i < TAKERS; i++)
                pthread_join(threads[i], NULL);
        assert_int_equal(takers.failures, 0);
        assert_int_equal(takers.taken, 100);
}

int conformance_upkeep(void)
{
        const struct CMUnitTest upkeep[] = {
                CASE(watchers_are_told_of_commits), CASE(scans_meet_every_row),
                CASE(a_scan_is_of_one_moment),      CASE(checks_find_missing_parents),
                CASE(buckets_give_what_they_hold),  CASE(takers_get_no_more_than_there_is),
        };
        return cmocka_run_group_tests(upkeep, NULL, NULL);
}
