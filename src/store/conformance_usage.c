/* The usage log: every record counts once, wherever it lies when it is summed. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "base/fault.h"
#include "base/mem.h"
#include "store/conformance_internal.h"

#define MINUTE(n) (((int64_t)28000000 + (n)) * 60)

static struct store_usage record(const char *id, int64_t at)
{
        return (struct store_usage){ .id = id,
                                     .at = at,
                                     .what = "completions",
                                     .project = "proj_a",
                                     .user = "ann",
                                     .key = "key_1",
                                     .model = "tiny",
                                     .tier = "default",
                                     .n = { 1, 10 } };
}

static int append(struct store *s, const struct store_usage *u)
{
        struct store_op op = { .verb = STORE_USAGE, .usage = u };
        return store_write(s, &op, 1, NULL);
}

static void append_simple(struct store *s, const char *id, int64_t at)
{
        struct store_usage u = record(id, at);
        assert_int_equal(append(s, &u), 0);
}

/* Counter 0 over everything. */
static int64_t total(struct store *s)
{
        struct store_usage_query q = { .what = "completions", .to = MINUTE(1000000) };
        struct store_usage *sums;
        size_t n;
        assert_int_equal(store_usage_sum(s, &q, &sums, &n, NULL), 0);
        assert_true(n <= 1);
        int64_t all = n ? sums[0].n[0] : 0;
        mem_free(sums);
        return all;
}

static void the_same_record_counts_once(void **state)
{
        struct store_usage u = record("u1", MINUTE(0));
        struct store_op twice[2] = { { .verb = STORE_USAGE, .usage = &u },
                                     { .verb = STORE_USAGE, .usage = &u } };
        assert_int_equal(total(*state), 0);
        assert_int_equal(store_write(*state, twice, 2, NULL), 0);
        assert_int_equal(total(*state), 1);
        assert_int_equal(append(*state, &u), 0);
        assert_int_equal(total(*state), 1);
        assert_int_equal(store_usage_fold(*state, NULL), 0);
        assert_int_equal(total(*state), 1);
        assert_int_equal(append(*state, &u), 0); /* also after it was folded */
        assert_int_equal(store_usage_fold(*state, NULL), 0);
        assert_int_equal(total(*state), 1);
        *state = conformance_reopen(*state);
        assert_int_equal(append(*state, &u), 0);
        assert_int_equal(total(*state), 1);
        append_simple(*state, "u2", MINUTE(0));
        assert_int_equal(total(*state), 2);
}

static void a_record_shares_the_fate_of_its_write(void **state)
{
        struct store_usage u = record("u1", MINUTE(0));
        struct store_op ops[2] = { { .verb = STORE_USAGE, .usage = &u },
                                   { .verb = STORE_CHECK, .kind = "thing", .id = "missing" } };
        assert_int_equal(store_write(*state, ops, 2, NULL), -ENOENT);
        assert_int_equal(total(*state), 0);
        assert_int_equal(store_write(*state, ops, 1, NULL), 0);
        assert_int_equal(total(*state), 1);
}

/* Six records of two users and two models over three minutes. */
static void put_six(struct store *s)
{
        for (int i = 0; i < 6; i++) {
                char id[8];
                snprintf(id, sizeof(id), "u%d", i);
                struct store_usage u = record(id, MINUTE(i / 2) + i % 2 * 59);
                u.user = i % 2 ? "bob" : "ann";
                u.model = i < 3 ? "tiny" : "large";
                u.batch = i == 5;
                u.n[1] = 1 << i;
                u.n[USAGE_COUNTS - 1] = (int64_t)1 << 40;
                assert_int_equal(append(s, &u), 0);
        }
}

static void assert_sums(struct store *s, const struct store_usage_query *q, const char *expected)
{
        struct store_usage *sums;
        char got[512] = "";
        size_t n;
        assert_int_equal(store_usage_sum(s, q, &sums, &n, NULL), 0);
        for (size_t i = 0; i < n; i++) {
                size_t len = strlen(got);
                snprintf(got + len, sizeof(got) - len, "%s%d/%s%s%s%s%s%s=%d", i ? " " : "",
                         (int)(sums[i].at / 60 - 28000000), sums[i].project, sums[i].user, sums[i].key,
                         sums[i].model, sums[i].tier, sums[i].batch ? "+" : "", (int)sums[i].n[1]);
                assert_string_equal(sums[i].what, q->what);
        }
        assert_string_equal(got, expected);
        mem_free(sums);
}

static void assert_all_sums(struct store *s)
{
        struct store_usage_query q = { .what = "completions", .from = MINUTE(0), .to = MINUTE(3) };
        assert_sums(s, &q, "0/=63");
        q.width = 60;
        assert_sums(s, &q, "0/=3 1/=12 2/=48");
        q.by = USAGE_BY_USER;
        assert_sums(s, &q, "0/ann=1 0/bob=2 1/ann=4 1/bob=8 2/ann=16 2/bob=32");
        q.width = 600; /* minute 28,000,000 begins such a bucket */
        q.by = USAGE_BY_MODEL | USAGE_BY_BATCH;
        assert_sums(s, &q, "0/large=24 0/large+=32 0/tiny=7");
        q.by = USAGE_BY_PROJECT | USAGE_BY_KEY | USAGE_BY_TIER;
        assert_sums(s, &q, "0/proj_akey_1default=63");
        q.by = 0;
        q.user = "bob";
        assert_sums(s, &q, "0/=42");
        q.model = "large";
        assert_sums(s, &q, "0/=40");
        q.key = "key_2";
        assert_sums(s, &q, "");
        q = (struct store_usage_query){ .what = "completions", .from = MINUTE(1) + 30, .to = MINUTE(1) + 31 };
        assert_sums(s, &q, "1/=12"); /* the minutes count whole */
        q.to = q.from;
        q.from = q.to = MINUTE(1);
        assert_sums(s, &q, "");
        q = (struct store_usage_query){ .what = "images", .to = MINUTE(3) };
        assert_sums(s, &q, "");
}

static void sums_are_the_same_before_and_after_folding(void **state)
{
        put_six(*state);
        assert_all_sums(*state);
        assert_int_equal(store_usage_fold(*state, NULL), 0);
        assert_all_sums(*state);
        assert_int_equal(store_usage_fold(*state, NULL), 0);
        assert_all_sums(*state);
        append_simple(*state, "later", MINUTE(5));
        *state = conformance_reopen(*state);
        assert_all_sums(*state);
}

static void counters_may_be_large(void **state)
{
        struct store_usage_query q = { .what = "completions", .to = MINUTE(9) };
        struct store_usage *sums;
        size_t n;
        put_six(*state);
        assert_int_equal(store_usage_fold(*state, NULL), 0);
        assert_int_equal(store_usage_sum(*state, &q, &sums, &n, NULL), 0);
        assert_int_equal(n, 1);
        assert_true(sums[0].n[USAGE_COUNTS - 1] == (int64_t)6 << 40);
        mem_free(sums);
}

static void malformed_usage_is_refused(void **state)
{
        struct store_usage u = record("", 1);
        struct store_op op = { .verb = STORE_USAGE };
        struct store_usage_query q = { .what = "completions", .to = 100, .width = 61 };
        struct store_usage *sums;
        char longest[STORE_ID_MAX + 2];
        size_t n;
        memset(longest, 'x', sizeof(longest) - 1);
        longest[sizeof(longest) - 1] = '\0';
        assert_int_equal(append(*state, &u), -EINVAL);
        u = record("u1", 1);
        u.model = longest;
        assert_int_equal(append(*state, &u), -EINVAL);
        assert_int_equal(store_write(*state, &op, 1, NULL), -EINVAL);
        assert_int_equal(store_usage_sum(*state, &q, &sums, &n, NULL), -EINVAL);
        q.width = 60;
        q.from = 101;
        assert_int_equal(store_usage_sum(*state, &q, &sums, &n, NULL), -EINVAL);
        assert_null(sums);
}

/* ---- many threads ---- */

#define APPENDERS 16
#define RECORDS 60 /* of each */

struct ledger {
        struct store *s;
        int number;
        _Atomic int *failures, *running;
};

/* Two appenders each write the same records. */
static void *append_records(void *arg)
{
        struct ledger *me = arg;
        char id[32];
        for (int i = 0; i < RECORDS; i++) {
                snprintf(id, sizeof(id), "u%d-%d", me->number / 2, i);
                struct store_usage u = record(id, MINUTE(i % 7));
                if (append(me->s, &u))
                        ++*me->failures;
        }
        --*me->running;
        return NULL;
}

static void folding_beside_appending_loses_nothing(void **state)
{
        _Atomic int failures = 0, running = APPENDERS;
        struct ledger ledgers[APPENDERS];
        pthread_t threads[APPENDERS];
        int64_t before = 0;
        for (int i = 0; i < APPENDERS; i++) {
                ledgers[i] = (struct ledger){ *state, i, &failures, &running };
                assert_int_equal(pthread_create(&threads[i], NULL, append_records, &ledgers[i]), 0);
        }
        while (running) {
                assert_int_equal(store_usage_fold(*state, NULL), 0);
                int64_t now = total(*state);
                assert_true(now >= before && now <= APPENDERS / 2 * RECORDS);
                before = now;
        }
        for (int i = 0; i < APPENDERS; i++)
                pthread_join(threads[i], NULL);
        assert_int_equal(failures, 0);
        assert_int_equal(total(*state), APPENDERS / 2 * RECORDS);
        assert_int_equal(store_usage_fold(*state, NULL), 0);
        assert_int_equal(total(*state), APPENDERS / 2 * RECORDS);
}

static void many_records_are_folded(void **state)
{
        static struct store_usage u[2500];
        static struct store_op ops[2500];
        static char ids[2500][16];
        for (int i = 0; i < 2500; i++) {
                snprintf(ids[i], sizeof(ids[i]), "u%d", i);
                u[i] = record(ids[i], MINUTE(i % 11));
                ops[i] = (struct store_op){ .verb = STORE_USAGE, .usage = &u[i] };
        }
        assert_int_equal(store_write(*state, ops, 2500, NULL), 0);
        assert_int_equal(total(*state), 2500);
        assert_int_equal(store_usage_fold(*state, NULL), 0);
        assert_int_equal(total(*state), 2500);
}

#ifdef CAIRN_FAULTS
/* A fold whose commit fails leaves all as it was, and the next one does it. */
static void a_fold_that_fails_counts_nothing_twice(void **state)
{
        put_six(*state);
        for (int round = 0; round < 3; round++) {
                char id[16];
                snprintf(id, sizeof(id), "more%d", round);
                append_simple(*state, id, MINUTE(0));
                assert_int_equal(fault_arm(STR("store.commit:1:EIO")), 0);
                assert_int_equal(store_usage_fold(*state, NULL), -EIO);
                fault_clear();
                assert_int_equal(total(*state), 7 + round);
                if (round == 1)
                        *state = conformance_reopen(*state);
                assert_int_equal(store_usage_fold(*state, NULL), 0);
                assert_int_equal(total(*state), 7 + round);
        }
}
#endif

int conformance_usage(void)
{
        const struct CMUnitTest usage[] = {
                CASE(the_same_record_counts_once),
                CASE(a_record_shares_the_fate_of_its_write),
                CASE(sums_are_the_same_before_and_after_folding),
                CASE(counters_may_be_large),
                CASE(malformed_usage_is_refused),
                CASE(folding_beside_appending_loses_nothing),
                CASE(many_records_are_folded),
#ifdef CAIRN_FAULTS
                CASE(a_fold_that_fails_counts_nothing_twice),
#endif
        };
        return cmocka_run_group_tests(usage, NULL, NULL);
}
