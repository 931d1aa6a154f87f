/* The limits are included to set their clock. */
#include "account/limits.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>
#include "account/account.h"
#include "base/json.h"

#define NOW_MS INT64_C(1795000000000) /* 2026-11-18 */
#define THREADS 64

static char dir[64], err[256];
static struct store *store;
static int64_t fake_ms;

static int64_t fake_clock(void)
{
        return fake_ms;
}

static int setup(void **state)
{
        struct store_fault fault;
        (void)state;
        snprintf(dir, sizeof(dir), "/tmp/cairn-limits-XXXXXX");
        fake_ms = NOW_MS;
        return mkdtemp(dir) && store_open(dir, NULL, &store, &fault) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
        char command[128];
        (void)state;
        store_close(store);
        snprintf(command, sizeof(command), "rm -rf '%s'", dir);
        return system(command);
}

/* One rule for all, then what the test sets of it. */
static struct limit_rule everybody(void)
{
        struct limit_rule rule;
        limit_rule_init(&rule);
        return rule;
}

static struct limits *limits_of(const struct limit_rule *rules, size_t n)
{
        struct limits_options o = { .rules = rules, .n_rules = n };
        struct limits *l;
        if (limits_open(&o, store, &l, err, sizeof(err)))
                fail_msg("%s", err);
        l->now_ms = fake_clock;
        return l;
}

static struct limits_ask asks(const char *project, int64_t tokens)
{
        struct limits_ask ask = { .project = project, .model = "m" };
        ask.amount[LIMIT_REQUESTS_MINUTE] = ask.amount[LIMIT_REQUESTS_DAY] = 1;
        ask.amount[LIMIT_TOKENS_MINUTE] = ask.amount[LIMIT_TOKENS_DAY] = tokens;
        return ask;
}

static int take_tokens(struct limits *l, int64_t tokens, struct limits_answer *ret)
{
        struct limits_ask ask = asks("proj_a", tokens);
        return limits_take(l, &ask, ret);
}

static const struct limit_state *state_of(const struct limits_answer *a, enum limit_dim dim)
{
        for (size_t i = 0; i < a->n; i++)
                if (a->states[i].dim == dim)
                        return &a->states[i];
        fail_msg("no state of dimension %d", (int)dim);
        return NULL;
}

/* ---- words ---- */

static void durations_are_written_as_go_does(void **state)
{
        static const struct {
                int64_t ms;
                const char *text;
        } cases[] = {
                { -5, "0s" },
                { 0, "0s" },
                { 8, "8ms" },
                { 120, "120ms" },
                { 999, "999ms" },
                { 1000, "1s" },
                { 1200, "1.2s" },
                { 3890, "3.89s" },
                { 1001, "1.001s" },
                { 59700, "59.7s" },
                { 60000, "1m0s" },
                { 360000, "6m0s" },
                { 60500, "1m0.5s" },
                { 3600000, "1h0m0s" },
                { 86399999, "23h59m59.999s" },
                { 90061050, "25h1m1.05s" },
        };
        char text[LIMIT_DURATION_MAX];
        (void)state;
        for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
                assert_string_equal(limit_duration(text, cases[i].ms), cases[i].text);
}

static void costs_follow_prices(void **state)
{
        struct price list[] = { { "m", 1.25, -1, 10 }, { NULL, 0.1, 0.05, 0.4 } };
        struct prices *p = prices_new(list, 2);
        struct usage u = { .model = "m", .tier = "default" };
        (void)state;
        u.n[USAGE_INPUT] = 1000;
        u.n[USAGE_CACHED] = 400;
        u.n[USAGE_OUTPUT] = 100;
        assert_int_equal(prices_cost(p, &u), 600 * 1250 + 400 * 125 + 100 * 10000);
        u.tier = "flex";
        assert_int_equal(prices_cost(p, &u), (600 * 1250 + 400 * 125 + 100 * 10000) / 2);
        u.tier = "priority";
        assert_int_equal(prices_cost(p, &u), (600 * 1250 + 400 * 125 + 100 * 10000) * 2);
        u.batch = true; /* a batch is half, whatever tier its lines ask for */
        assert_int_equal(prices_cost(p, &u), (600 * 1250 + 400 * 125 + 100 * 10000) / 2);
        u = (struct usage){ .model = "other" };
        u.n[USAGE_INPUT] = 10;
        assert_int_equal(prices_cost(p, &u), 1000);
        assert_int_equal(prices_cost(NULL, &u), 0);
        prices_free(p);
}

/* ---- rules ---- */

static void the_most_specific_rule_holds(void **state)
{
        struct limit_rule rules[5];
        (void)state;
        for (int i = 0; i < 5; i++)
                limit_rule_init(&rules[i]);
        rules[0].project = "proj_a";
        rules[0].model = "m";
        rules[0].max[LIMIT_REQUESTS_DAY] = 0;
        rules[1].tier = TIER_1;
        rules[2].model = "m";
        rules[2].max[LIMIT_TOKENS_MINUTE] = 7;
        rules[3].project = "proj_a";
        rules[3].tier = TIER_2;
        rules[3].max[LIMIT_REQUESTS_MINUTE] = 9;
        rules[4].max[LIMIT_IMAGES_MINUTE] = 3;
        struct limits *l = limits_of(rules, 5);
        assert_int_equal(limits_max(l, "proj_b", "x", LIMIT_REQUESTS_MINUTE), 60);
        assert_int_equal(limits_max(l, "proj_b", "m", LIMIT_TOKENS_MINUTE), 7);
        assert_int_equal(limits_max(l, "proj_b", "m", LIMIT_IMAGES_MINUTE), 3);
        assert_int_equal(limits_max(l, "proj_a", "m", LIMIT_REQUESTS_MINUTE), 9);
        assert_int_equal(limits_max(l, "proj_a", "m", LIMIT_TOKENS_MINUTE), 80000);
        assert_int_equal(limits_max(l, "proj_a", "m", LIMIT_REQUESTS_DAY), 0);
        assert_int_equal(limits_max(l, "proj_a", "x", LIMIT_REQUESTS_DAY), 5000);
        assert_int_equal(limits_max(l, "proj_a", NULL, LIMIT_OTHER_MINUTE), 1000);
        assert_int_equal(limits_max(l, "proj_a", "m", LIMIT_BATCH_TOKENS), 20000000);
        limits_close(l);
}

static void without_rules_nothing_is_limited(void **state)
{
        struct limits *l = limits_of(NULL, 0);
        struct limits_answer a;
        (void)state;
        assert_int_equal(take_tokens(l, INT64_C(1) << 40, &a), 0);
        assert_int_equal(a.n, 0);
        limits_close(l);
}

/* ---- buckets ---- */

static void a_bucket_is_refilled_evenly(void **state)
{
        struct limit_rule rule = everybody();
        struct limits_answer a;
        (void)state;
        rule.max[LIMIT_TOKENS_MINUTE] = 600;
        struct limits *l = limits_of(&rule, 1);
        assert_int_equal(take_tokens(l, 450, &a), 0);
        assert_int_equal(state_of(&a, LIMIT_TOKENS_MINUTE)->limit, 600);
        assert_int_equal(state_of(&a, LIMIT_TOKENS_MINUTE)->remaining, 150);
        assert_int_equal(state_of(&a, LIMIT_TOKENS_MINUTE)->reset_ms, 45000);
        assert_int_equal(take_tokens(l, 200, &a), -EAGAIN);
        assert_int_equal(a.dim, LIMIT_TOKENS_MINUTE);
        assert_int_equal(a.limit, 600);
        assert_int_equal(a.used, 450);
        assert_int_equal(a.requested, 200);
        assert_int_equal(a.wait_ms, 5000);
        fake_ms += 4999;
        assert_int_equal(take_tokens(l, 200, &a), -EAGAIN);
        fake_ms += 1;
        assert_int_equal(take_tokens(l, 200, &a), 0);
        fake_ms += 3600 * 1000; /* never above the capacity */
        assert_int_equal(take_tokens(l, 600, &a), 0);
        assert_int_equal(take_tokens(l, 1, &a), -EAGAIN);
        fake_ms -= 3600 * 1000; /* a clock that is set back gives nothing */
        assert_int_equal(take_tokens(l, 1, &a), -EAGAIN);
        limits_close(l);
}

static void all_buckets_or_none(void **state)
{
        struct limit_rule rule = everybody();
        struct limits_answer a;
        (void)state;
        rule.max[LIMIT_REQUESTS_MINUTE] = 2;
        rule.max[LIMIT_TOKENS_MINUTE] = 100;
        rule.max[LIMIT_TOKENS_DAY] = 150;
        struct limits *l = limits_of(&rule, 1);
        assert_int_equal(take_tokens(l, 90, &a), 0);
        assert_int_equal(take_tokens(l, 90, &a), -EAGAIN);
        assert_int_equal(a.dim, LIMIT_TOKENS_DAY); /* the one that takes longest */
        assert_int_equal(state_of(&a, LIMIT_REQUESTS_MINUTE)->remaining, 1);
        assert_int_equal(state_of(&a, LIMIT_TOKENS_MINUTE)->remaining, 10);
        assert_int_equal(take_tokens(l, 10, &a), 0);
        struct limits_ask other = asks("proj_b", 10); /* another project has its own */
        assert_int_equal(limits_take(l, &other, &a), 0);
        assert_int_equal(state_of(&a, LIMIT_REQUESTS_MINUTE)->remaining, 1);
        limits_close(l);
}

static void what_is_larger_than_the_limit_never_comes(void **state)
{
        struct limit_rule rule = everybody();
        struct limits_answer a;
        (void)state;
        rule.max[LIMIT_REQUESTS_MINUTE] = 5;
        rule.max[LIMIT_TOKENS_MINUTE] = 100;
        struct limits *l = limits_of(&rule, 1);
        assert_int_equal(take_tokens(l, 101, &a), -EAGAIN);
        assert_int_equal(a.wait_ms, 0);
        assert_int_equal(a.requested, 101);
        assert_int_equal(state_of(&a, LIMIT_REQUESTS_MINUTE)->remaining, 5);
        struct limits_stats stats;
        limits_get_stats(l, &stats);
        assert_int_equal(stats.refused[LIMIT_TOKENS_MINUTE], 1);
        limits_close(l);
}

static void corrections_may_leave_debts(void **state)
{
        struct limit_rule rule = everybody();
        struct limits_answer a;
        struct limits_ask more = asks("proj_a", 0);
        (void)state;
        memset(more.amount, 0, sizeof(more.amount));
        rule.max[LIMIT_TOKENS_MINUTE] = 600;
        struct limits *l = limits_of(&rule, 1);
        assert_int_equal(take_tokens(l, 500, &a), 0);
        more.amount[LIMIT_TOKENS_MINUTE] = -450; /* fifty were enough */
        limits_settle(l, &more);
        assert_int_equal(take_tokens(l, 0, &a), 0);
        assert_int_equal(state_of(&a, LIMIT_TOKENS_MINUTE)->remaining, 550);
        more.amount[LIMIT_TOKENS_MINUTE] = 850; /* it took more than there is */
        limits_settle(l, &more);
        assert_int_equal(take_tokens(l, 10, &a), -EAGAIN);
        assert_int_equal(a.used, 900);
        assert_int_equal(a.wait_ms, 31000);
        assert_int_equal(state_of(&a, LIMIT_TOKENS_MINUTE)->remaining, 0);
        more.amount[LIMIT_TOKENS_MINUTE] = -5000; /* never above the capacity */
        limits_settle(l, &more);
        assert_int_equal(take_tokens(l, 0, &a), 0);
        assert_int_equal(state_of(&a, LIMIT_TOKENS_MINUTE)->remaining, 600);
        limits_close(l);
}

static void requests_without_a_model_have_one_limit(void **state)
{
        struct limit_rule rule = everybody();
        struct limits_answer a;
        struct limits_ask ask = { .project = "proj_a", .amount = { [LIMIT_OTHER_MINUTE] = 1 } };
        (void)state;
        rule.max[LIMIT_OTHER_MINUTE] = 2;
        rule.max[LIMIT_REQUESTS_MINUTE] = 1;
        struct limits *l = limits_of(&rule, 1);
        assert_int_equal(limits_take(l, &ask, &a), 0);
        assert_int_equal(limits_take(l, &ask, &a), 0);
        assert_int_equal(a.n, 1);
        assert_int_equal(limits_take(l, &ask, &a), -EAGAIN);
        assert_int_equal(a.dim, LIMIT_OTHER_MINUTE);
        assert_int_equal(take_tokens(l, 1, &a), 0);
        limits_close(l);
}

static void long_model_names_have_keys_of_their_own(void **state)
{
        struct limit_rule rule = everybody();
        struct limits_answer a;
        char one[201], two[201];
        (void)state;
        memset(one, 'x', 200);
        one[200] = '\0';
        memcpy(two, one, sizeof(one));
        two[199] = 'y';
        rule.max[LIMIT_REQUESTS_DAY] = 1;
        struct limits *l = limits_of(&rule, 1);
        struct limits_ask ask = asks("proj_a", 1);
        ask.model = one;
        assert_int_equal(limits_take(l, &ask, &a), 0);
        assert_int_equal(limits_take(l, &ask, &a), -EAGAIN);
        ask.model = two;
        assert_int_equal(limits_take(l, &ask, &a), 0);
        limits_close(l);
}

/* ---- races ---- */

struct race {
        struct limits *l;
        atomic_int admitted;
};

static void *take_many(void *ctx)
{
        struct race *race = ctx;
        struct limits_ask ask = asks("proj_a", 3);
        struct limits_answer a;
        for (int i = 0; i < 100; i++)
                if (limits_take(race->l, &ask, &a) == 0)
                        atomic_fetch_add(&race->admitted, 1);
        return NULL;
}

static void no_race_admits_more(void **state)
{
        struct limit_rule rule = everybody();
        pthread_t threads[THREADS];
        (void)state;
        rule.max[LIMIT_REQUESTS_DAY] = 5000;
        rule.max[LIMIT_TOKENS_MINUTE] = 3001;
        struct race race = { .l = limits_of(&rule, 1) };
        for (int i = 0; i < THREADS; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, take_many, &race), 0);
        for (int i = 0; i < THREADS; i++)
                pthread_join(threads[i], NULL);
        assert_int_equal(atomic_load(&race.admitted), 1000);
        limits_close(race.l);
}

/* ---- the log ---- */

static void log_usage(const char *id, int64_t at, const char *what, int64_t tokens, int64_t cost, bool batch)
{
        struct store_usage u = { .id = id,
                                 .at = at,
                                 .what = what,
                                 .project = "proj_a",
                                 .user = "user-1",
                                 .key = "key_1",
                                 .model = "m",
                                 .tier = "default",
                                 .batch = batch };
        struct store_op op = { .verb = STORE_USAGE, .usage = &u };
        u.n[USAGE_REQUESTS] = 1;
        u.n[USAGE_INPUT] = tokens;
        u.n[USAGE_COST] = cost;
        assert_int_equal(store_write(store, &op, 1, NULL), 0);
}

static void a_restart_is_no_new_day(void **state)
{
        struct limit_rule rule = everybody();
        struct limits_answer a;
        struct limits *l;
        int64_t now = clock_unix();
        (void)state;
        log_usage("1", now - 5, USAGE_COMPLETIONS, 300, 0, false);
        log_usage("2", now - 4, USAGE_EMBEDDINGS, 100, 0, false);
        log_usage("3", now - 4, USAGE_COMPLETIONS, 700, 0, true);            /* batches have their own */
        log_usage("4", now - DAY_S - 700, USAGE_COMPLETIONS, 900, 0, false); /* of another day */
        assert_int_equal(store_usage_fold(store, NULL), 0);
        log_usage("5", now - 3, USAGE_COMPLETIONS, 50, 0, false);
        rule.max[LIMIT_TOKENS_DAY] = 1000;
        rule.max[LIMIT_REQUESTS_DAY] = 10;
        rule.max[LIMIT_TOKENS_MINUTE] = 1000;
        assert_int_equal(limits_open(&(struct limits_options){ .rules = &rule, .n_rules = 1 }, store, &l, err,
                                     sizeof(err)),
                         0);
        assert_int_equal(take_tokens(l, 0, &a), 0);
        assert_in_range(state_of(&a, LIMIT_TOKENS_DAY)->remaining, 550, 558); /* ten minutes are seven */
        assert_int_equal(state_of(&a, LIMIT_REQUESTS_DAY)->remaining, 6);
        assert_int_equal(state_of(&a, LIMIT_TOKENS_MINUTE)->remaining, 1000);
        limits_close(l);
}

struct first_look {
        struct limits *l;
        pthread_barrier_t together;
        atomic_int passed;
};

static void *look_first(void *arg)
{
        struct first_look *look = arg;
        pthread_barrier_wait(&look->together);
        if (!limits_check_budget(look->l, "proj_a"))
                atomic_fetch_add(&look->passed, 1);
        return NULL;
}

/* Those who ask while the log is read for the first time of a month wait for what it says. */
static void a_burst_does_not_pass_a_spent_budget(void **state)
{
        enum { AT_ONCE = 16, ROUNDS = 20 };
        struct limit_rule rule = everybody();
        pthread_t threads[AT_ONCE];
        (void)state;
        rule.budget = 2;
        log_usage("1", NOW_MS / 1000 - 10, USAGE_COMPLETIONS, 1, 3000000000, false);
        for (int round = 0; round < ROUNDS; round++) {
                struct first_look look = { .l = limits_of(&rule, 1) };
                pthread_barrier_init(&look.together, NULL, AT_ONCE);
                for (int i = 0; i < AT_ONCE; i++)
                        assert_int_equal(pthread_create(&threads[i], NULL, look_first, &look), 0);
                for (int i = 0; i < AT_ONCE; i++)
                        pthread_join(threads[i], NULL);
                assert_int_equal(atomic_load(&look.passed), 0);
                pthread_barrier_destroy(&look.together);
                limits_close(look.l);
        }
}

static void a_spent_budget_refuses(void **state)
{
        struct limit_rule rules[2] = { everybody(), everybody() };
        struct limits_answer a;
        (void)state;
        rules[0].project = "proj_a";
        rules[0].budget = 2;
        rules[1].max[LIMIT_REQUESTS_MINUTE] = 100;
        log_usage("1", NOW_MS / 1000 - 10, USAGE_COMPLETIONS, 1, 1500000000, false);
        log_usage("2", NOW_MS / 1000 - 40 * DAY_S, USAGE_COMPLETIONS, 1, 9000000000, false); /* last month */
        struct limits *l = limits_of(rules, 2);
        assert_int_equal(take_tokens(l, 1, &a), 0);
        limits_spend(l, "proj_a", 499999999);
        assert_int_equal(take_tokens(l, 1, &a), 0);
        limits_spend(l, "proj_a", 1);
        assert_int_equal(take_tokens(l, 1, &a), -EDQUOT);
        assert_int_equal(a.n, 0);
        assert_int_equal(limits_check_budget(l, "proj_a"), -EDQUOT);
        assert_int_equal(limits_check_budget(l, "proj_b"), 0);
        log_usage("3", NOW_MS / 1000, USAGE_EMBEDDINGS, 1, 400000000, false); /* 1.9 in the log */
        fake_ms += 30000;
        assert_int_equal(take_tokens(l, 1, &a), 0); /* what was counted on is what the log says */
        limits_spend(l, "proj_a", 100000000);
        assert_int_equal(take_tokens(l, 1, &a), -EDQUOT);
        fake_ms += 20 * DAY_MS; /* a new month */
        assert_int_equal(take_tokens(l, 1, &a), 0);
        limits_close(l);
}

static void records_name_who_and_what(void **state)
{
        struct principal who = { .project = "proj_a", .user = "user-1", .key = "key_1" };
        struct price price = { "m", 1, -1, 2 };
        struct prices *p = prices_new(&price, 1);
        struct usage u = { .what = USAGE_COMPLETIONS, .model = "m", .tier = "default" };
        (void)state;
        u.n[USAGE_INPUT] = 10;
        u.n[USAGE_OUTPUT] = 5;
        struct store_usage row = usage_row(&u, "req_1", &who, p);
        assert_string_equal(row.id, "req_1");
        assert_string_equal(row.project, "proj_a");
        assert_string_equal(row.key, "key_1");
        assert_int_equal(row.n[USAGE_INPUT], 10);
        assert_int_equal(row.n[USAGE_COST], 20000);
        prices_free(p);
}

static void bad_places_are_refused(void **state)
{
        static const char *const bad[] = { "redis://",       "redis://:",     "redis://host:99999",
                                           "redis://host/x", "rediss://host", "unix:",
                                           "redis://[::1",   "postgres",      "store" };
        (void)state;
        for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
                struct limits *l;
                int rc = limits_open(&(struct limits_options){ .backend = bad[i] }, store, &l, err,
                                     sizeof(err));
                assert_int_equal(rc, strcmp(bad[i], "store") ? -EINVAL : -ENOTSUP);
                assert_non_null(strstr(err, "limits.backend"));
                assert_null(l);
        }
}

/* ---- corrections on their way ---- */

struct far {
        struct backend backend; /* first */
        atomic_llong taken;
};

static int far_take(struct backend *b, struct store_bucket *list, size_t n, int64_t now_ms, size_t *ret_short,
                    char *why, size_t n_why)
{
        struct far *f = (struct far *)b;
        (void)now_ms, (void)ret_short, (void)why, (void)n_why;
        usleep(50000);
        for (size_t i = 0; i < n; i++)
                atomic_fetch_add(&f->taken, list[i].amount);
        return 0;
}

/* Who is refused can wait for what others give back, and does not wait when nothing is on its way. */
static void corrections_are_caught_up_with(void **state)
{
        (void)state;
        struct far f = { .backend = { .take = far_take, .waits = true } };
        struct settler *s = settler_start(&f.backend, &f.backend);
        assert_non_null(s);
        assert_false(settler_catch_up(s));
        for (int i = 1; i <= 5; i++) {
                struct store_bucket b = { .key = i % 2 ? "a" : "b", .capacity = 1000, .amount = -100 };
                settler_add(s, &b, 1);
                if (i == 3)
                        usleep(60000); /* the first round has begun; the rest is of the next */
        }
        assert_true(settler_catch_up(s));
        assert_int_equal(atomic_load(&f.taken), -500);
        assert_false(settler_catch_up(s));
        settler_stop(s);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(corrections_are_caught_up_with),
                TEST(durations_are_written_as_go_does),
                TEST(costs_follow_prices),
                TEST(the_most_specific_rule_holds),
                TEST(without_rules_nothing_is_limited),
                TEST(a_bucket_is_refilled_evenly),
                TEST(all_buckets_or_none),
                TEST(what_is_larger_than_the_limit_never_comes),
                TEST(corrections_may_leave_debts),
                TEST(requests_without_a_model_have_one_limit),
                TEST(long_model_names_have_keys_of_their_own),
                TEST(no_race_admits_more),
                TEST(a_restart_is_no_new_day),
                TEST(a_spent_budget_refuses),
                TEST(a_burst_does_not_pass_a_spent_budget),
                TEST(records_name_who_and_what),
                TEST(bad_places_are_refused),
        };
        json_setup();
        return cmocka_run_group_tests(tests, NULL, NULL);
}
