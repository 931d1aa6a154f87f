/* Limits in a real Redis, which each test starts on a socket in a directory of its own. Without redis-server
 * the program is skipped (77), unless CI=true. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "account/limits.h"
#include "account/limits_internal.h"
#include "base/clock.h"
#include "base/json.h"

#define THREADS 64
#define READY_MS 20000
#define PASSWORD "s3cret:with:colons"

static char dir[64], sock[96], err[256];
static int port;
static struct store *store;
static pid_t redis;

/* ---- the server ---- */

static int free_port(void)
{
        struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t n = sizeof(at);
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&at, n), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &n), 0);
        close(fd);
        return ntohs(at.sin_port);
}

/* The socket is there a moment before anybody listens at it. */
static bool redis_answers(void)
{
        struct sockaddr_un at = { .sun_family = AF_UNIX };
        snprintf(at.sun_path, sizeof(at.sun_path), "%s", sock);
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        bool answers = !connect(fd, (struct sockaddr *)&at, sizeof(at));
        close(fd);
        return answers;
}

static void redis_start(const char *password)
{
        int64_t until = clock_mono_ms() + READY_MS;
        char number[16];
        unlink(sock);
        snprintf(number, sizeof(number), "%d", port);
        redis = fork();
        assert_true(redis >= 0);
        if (!redis) {
                dup2(open("/dev/null", O_RDWR), STDOUT_FILENO);
                execlp("redis-server", "redis-server", "--bind", "127.0.0.1", "--port", number,
                       "--unixsocket", sock, "--save", "", "--requirepass", password, "--dir", dir,
                       (char *)NULL);
                _exit(127);
        }
        while (!redis_answers() && clock_mono_ms() < until)
                usleep(2000);
}

static void redis_kill(void)
{
        if (redis > 0) {
                kill(redis, SIGKILL);
                waitpid(redis, NULL, 0);
        }
        redis = 0;
}

static int setup_with(const char *password)
{
        struct store_fault fault;
        snprintf(dir, sizeof(dir), "/tmp/cairn-redis-XXXXXX");
        if (!mkdtemp(dir) || store_open(dir, NULL, &store, &fault))
                return -1;
        snprintf(sock, sizeof(sock), "%s/s", dir);
        port = free_port();
        redis_start(password);
        return 0;
}

static int setup(void **state)
{
        (void)state;
        return setup_with("");
}

static int setup_password(void **state)
{
        (void)state;
        return setup_with(PASSWORD);
}

static int teardown(void **state)
{
        char command[128];
        (void)state;
        redis_kill();
        store_close(store);
        snprintf(command, sizeof(command), "rm -rf '%s'", dir);
        return system(command);
}

/* ---- limits on it ---- */

static struct limits *limits_at(const char *url, bool refuse)
{
        struct limit_rule rule;
        struct limits *l;
        limit_rule_init(&rule);
        rule.max[LIMIT_REQUESTS_DAY] = 1000;
        rule.max[LIMIT_TOKENS_DAY] = 100000;
        struct limits_options o = { .rules = &rule, .n_rules = 1, .backend = url, .refuse = refuse };
        if (limits_open(&o, store, &l, err, sizeof(err)))
                fail_msg("%s", err);
        return l;
}

static struct limits *limits_new(bool refuse)
{
        char url[160];
        snprintf(url, sizeof(url), "unix:%s?3", sock);
        return limits_at(url, refuse);
}

static int take(struct limits *l, int64_t tokens, struct limits_answer *ret)
{
        struct limits_ask ask = { .project = "proj_a", .model = "m" };
        ask.amount[LIMIT_REQUESTS_DAY] = 1;
        ask.amount[LIMIT_TOKENS_DAY] = tokens;
        return limits_take(l, &ask, ret);
}

static int64_t left(const struct limits_answer *a, enum limit_dim dim)
{
        for (size_t i = 0; i < a->n; i++)
                if (a->states[i].dim == dim)
                        return a->states[i].remaining;
        return -1;
}

static void processes_share_them(void **state)
{
        struct limits *one = limits_new(true), *two = limits_new(true);
        struct limits_answer a;
        (void)state;
        assert_int_equal(take(one, 60000, &a), 0);
        assert_int_equal(left(&a, LIMIT_REQUESTS_DAY), 999);
        assert_int_equal(take(two, 30000, &a), 0);
        assert_int_equal(left(&a, LIMIT_REQUESTS_DAY), 998);
        assert_in_range(left(&a, LIMIT_TOKENS_DAY), 10000, 10100);
        assert_int_equal(take(two, 30000, &a), -EAGAIN);
        assert_int_equal(a.dim, LIMIT_TOKENS_DAY);
        assert_in_range(a.used, 89900, 90000);
        assert_in_range(a.wait_ms, 17000000, 17280000);
        assert_int_equal(take(two, 0, &a), 0);
        assert_int_equal(left(&a, LIMIT_REQUESTS_DAY), 997); /* the refused one took nothing */
        limits_close(one);
        limits_close(two);
}

static void corrections_arrive(void **state)
{
        struct limits *one = limits_new(true), *two;
        struct limits_answer a;
        struct limits_ask more = { .project = "proj_a", .model = "m" };
        (void)state;
        assert_int_equal(take(one, 60000, &a), 0);
        more.amount[LIMIT_TOKENS_DAY] = -50000;
        limits_settle(one, &more);
        more.amount[LIMIT_TOKENS_DAY] = -5000;
        limits_settle(one, &more);
        limits_close(one); /* settles what waits */
        two = limits_new(true);
        assert_int_equal(take(two, 0, &a), 0);
        assert_in_range(left(&a, LIMIT_TOKENS_DAY), 95000, 95100);
        limits_close(two);
}

struct race {
        struct limits *l;
        atomic_int admitted, failed;
};

static void *take_many(void *ctx)
{
        struct race *race = ctx;
        struct limits_answer a;
        for (int i = 0; i < 40; i++) {
                int rc = take(race->l, 10, &a);
                atomic_fetch_add(&race->admitted, rc == 0);
                atomic_fetch_add(&race->failed, rc && rc != -EAGAIN);
        }
        return NULL;
}

/* 64 threads over two processes' worth of limits ask for 2560 of 1000. */
static void no_race_admits_more(void **state)
{
        pthread_t threads[THREADS];
        struct race races[2] = { { .l = limits_new(true) }, { .l = limits_new(true) } };
        (void)state;
        for (int i = 0; i < THREADS; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, take_many, &races[i % 2]), 0);
        for (int i = 0; i < THREADS; i++)
                pthread_join(threads[i], NULL);
        assert_int_equal(races[0].failed + races[1].failed, 0);
        assert_int_equal(races[0].admitted + races[1].admitted, 1000);
        limits_close(races[0].l);
        limits_close(races[1].l);
}

static void out_of_reach_each_process_is_alone(void **state)
{
        struct limits *l = limits_new(false);
        struct limits_answer a;
        struct limits_stats stats;
        (void)state;
        assert_int_equal(take(l, 10, &a), 0);
        redis_kill();
        for (int i = 0; i < 1000; i++)
                assert_int_equal(take(l, 10, &a), 0);
        assert_int_equal(take(l, 10, &a), -EAGAIN); /* in its own memory the limit holds */
        limits_get_stats(l, &stats);
        assert_int_equal(stats.backend_errors, 1001);
        assert_non_null(strstr(stats.last_error, "redis"));
        redis_start("");
        usleep(1200 * 1000); /* a second after a failure it is tried again */
        assert_int_equal(take(l, 10, &a), 0);
        assert_int_equal(left(&a, LIMIT_REQUESTS_DAY), 999); /* this Redis kept nothing on disk */
        limits_close(l);
}

static void out_of_reach_requests_may_be_refused(void **state)
{
        struct limits *l = limits_new(true);
        struct limits_answer a;
        (void)state;
        redis_kill();
        int64_t began = clock_mono_ms();
        for (int i = 0; i < 1000; i++)
                assert_int_equal(take(l, 10, &a), -EIO);
        assert_true(clock_mono_ms() - began < 5000); /* nobody waits for one that was just found dead */
        limits_close(l);
}

struct wait {
        struct limits *l;
        atomic_int refused, longest_ms;
};

static void *take_while_it_hangs(void *ctx)
{
        struct wait *w = ctx;
        struct limits_answer a;
        int64_t began = clock_mono_ms();
        atomic_fetch_add(&w->refused, take(w->l, 10, &a) == -EIO);
        int ms = (int)(clock_mono_ms() - began), longest = atomic_load(&w->longest_ms);
        while (ms > longest && !atomic_compare_exchange_weak(&w->longest_ms, &longest, ms))
                ;
        return NULL;
}

/* A Redis that hangs is waited for once, however many connections there are; then nobody waits for a while.
 */
static void hanging_is_waited_for_once(void **state)
{
        pthread_t threads[THREADS];
        struct race race = { .l = limits_new(true) };
        struct wait w = { .l = race.l };
        struct limits_answer a;
        (void)state;
        for (int i = 0; i < THREADS; i++) /* so that there are many connections */
                assert_int_equal(pthread_create(&threads[i], NULL, take_many, &race), 0);
        for (int i = 0; i < THREADS; i++)
                pthread_join(threads[i], NULL);
        kill(redis, SIGSTOP);
        take_while_it_hangs(&w);
        assert_int_equal(w.refused, 1);
        assert_in_range(w.longest_ms, 500, 1900);
        int64_t began = clock_mono_ms();
        assert_int_equal(take(race.l, 10, &a), -EIO);
        assert_true(clock_mono_ms() - began < 300);
        usleep(1200 * 1000);
        for (int i = 0; i < THREADS; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, take_while_it_hangs, &w), 0);
        for (int i = 0; i < THREADS; i++)
                pthread_join(threads[i], NULL);
        assert_int_equal(w.refused, 1 + THREADS);
        assert_in_range(w.longest_ms, 500, 1900);
        kill(redis, SIGCONT);
        usleep(1200 * 1000);
        assert_int_equal(take(race.l, 10, &a), -EAGAIN); /* it is back: all is taken */
        limits_close(race.l);
}

/* Connections that died since they were used are replaced unseen. */
static void a_restart_is_not_noticed(void **state)
{
        struct limits *l = limits_new(true);
        struct limits_answer a;
        (void)state;
        assert_int_equal(take(l, 10, &a), 0);
        redis_kill();
        redis_start("");
        assert_int_equal(take(l, 10, &a), 0);
        limits_close(l);
}

static void passwords_and_addresses(void **state)
{
        struct limits_answer a;
        char url[160];
        (void)state;
        snprintf(url, sizeof(url), "redis://:" PASSWORD "@127.0.0.1:%d/2", port);
        struct limits *l = limits_at(url, true);
        assert_int_equal(take(l, 10, &a), 0);
        limits_close(l);
        snprintf(url, sizeof(url), "redis://default:" PASSWORD "@127.0.0.1:%d", port);
        l = limits_at(url, true);
        assert_int_equal(take(l, 10, &a), 0);
        assert_int_equal(left(&a, LIMIT_REQUESTS_DAY), 999); /* another database */
        limits_close(l);
        snprintf(url, sizeof(url), "redis://127.0.0.1:%d", port);
        l = limits_at(url, true);
        assert_int_equal(take(l, 10, &a), -EIO);
        limits_close(l);
}

static void full_buckets_take_no_room(void **state)
{
        struct backend *b;
        struct store_bucket bucket = { .key = "k", .capacity = 10, .refill_ms = 1000, .amount = 10 };
        size_t at;
        char url[160], command[256];
        (void)state;
        snprintf(url, sizeof(url), "unix:%s", sock);
        assert_int_equal(backend_redis(url, &b, err, sizeof(err)), 0);
        assert_int_equal(b->take(b, &bucket, 1, 0, &at, err, sizeof(err)), 0);
        assert_int_equal(bucket.ret_level, 0);
        assert_int_equal(b->take(b, &bucket, 1, 0, &at, err, sizeof(err)), -EAGAIN);
        assert_int_equal(at, 0);
        b->free(b);
        snprintf(command, sizeof(command), "test \"$(redis-cli -s '%s' --scan | wc -l)\" = 1", sock);
        assert_int_equal(system(command), 0);
        usleep(2200 * 1000); /* one second to fill up, one to spare */
        snprintf(command, sizeof(command), "test \"$(redis-cli -s '%s' --scan | wc -l)\" = 0", sock);
        assert_int_equal(system(command), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(processes_share_them),
                TEST(corrections_arrive),
                TEST(no_race_admits_more),
                TEST(out_of_reach_each_process_is_alone),
                TEST(out_of_reach_requests_may_be_refused),
                TEST(hanging_is_waited_for_once),
                TEST(a_restart_is_not_noticed),
                cmocka_unit_test_setup_teardown(passwords_and_addresses, setup_password, teardown),
                TEST(full_buckets_take_no_room),
        };
        const char *ci = getenv("CI");
        if (system("command -v redis-server redis-cli > /dev/null")) {
                fputs("*** NOT TESTED: redis-server is not installed\n", stderr);
                return ci && !strcmp(ci, "true") ? 1 : 77;
        }
        signal(SIGPIPE, SIG_IGN); /* as the server does */
        json_setup();
        return cmocka_run_group_tests(tests, NULL, NULL);
}
