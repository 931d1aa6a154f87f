/* Clients that stop anywhere, in any way, many at once; memory that runs out anywhere. The server must
 * neither fall nor keep anything. */
#include "http/testing.h"
#include "base/rand.h"

static struct test_app app;

static int start(void **state)
{
        struct http_config config = HTTP_CONFIG_DEFAULTS;
        (void)state;
        config.port = 0;
        config.threads = 2;
        app_start(&app, &config);
        return 0;
}

static int stop(void **state)
{
        (void)state;
        app_stop(&app, 1000);
        return 0;
}

#define FORM                                                                        \
        "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n12345\r\n--b\r\n" \
        "Content-Disposition: form-data; name=\"f\"; filename=\"x\"\r\n\r\n\r\n--b--"

static const char *const requests[] = {
        "GET /x HTTP/1.1\r\nHost: t\r\n\r\n",
        "GET /async?1 HTTP/1.1\r\nHost: t\r\n\r\n",
        "GET /stream HTTP/1.1\r\nHost: t\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\n0123456789",
        "POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n0\r\n\r\n",
        "POST /upload HTTP/1.1\r\nHost: t\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        "Transfer-Encoding: chunked\r\n\r\n8\r\n--b\r\n\r\nx\r\n9\r\n\r\n--b--\r\n\r\n0\r\n\r\n",
        "POST /unauthorized HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc",
        "POST /small HTTP/1.1\r\nHost: t\r\nContent-Length: 11\r\n\r\n0123456789a",
        "POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "GARBAGE\r\n\r\n",
};
#define N_REQUESTS (sizeof(requests) / sizeof(requests[0]))

/* Says one to four requests, perhaps not to the end, listens for a while, perhaps, and leaves in one of three
 * ways. */
static void misbehave(struct rng *rng)
{
        char heard[4096];
        int fd = dial(app.server);
        struct timeval limit = { .tv_usec = 1000 + (long)rng_below(rng, 5000) };
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
        for (uint64_t k = 1 + rng_below(rng, 4); k; k--) {
                const char *request = requests[rng_below(rng, N_REQUESTS)];
                size_t n = strlen(request);
                bool cut = rng_below(rng, 4) == 0;
                if (!say(fd, request, cut ? rng_below(rng, n) : n) || cut)
                        break;
                if (rng_below(rng, 2))
                        (void)!recv(fd, heard, 1 + rng_below(rng, sizeof(heard)), 0);
        }
        if (rng_below(rng, 3) == 0) {
                struct linger reset = { 1, 0 };
                setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        } else if (rng_below(rng, 2)) {
                shutdown(fd, SHUT_WR);
                (void)!recv(fd, heard, sizeof(heard), 0);
        }
        close(fd);
}

static void *client_main(void *arg)
{
        struct rng rng;
        rng_seed(&rng, (uint64_t)(uintptr_t)arg);
        for (int64_t until = clock_mono_ms() + 3000; clock_mono_ms() < until;)
                misbehave(&rng);
        return NULL;
}

static void survives_misbehaving_clients(void **state)
{
        (void)state;
        pthread_t threads[8];
        struct http_stats stats;
        struct reply re;
        for (uintptr_t i = 0; i < 8; i++)
                pthread_create(&threads[i], NULL, client_main, (void *)(i + 1));
        for (int i = 0; i < 8; i++)
                pthread_join(threads[i], NULL);
        for (int64_t until = clock_mono_ms() + 10000; clock_mono_ms() < until; pause_ms(5)) {
                http_server_stats(app.server, &stats);
                if (!stats.active && !stats.connections)
                        break;
        }
        print_message("%llu requests, %llu refused, %llu aborted\n", (unsigned long long)stats.requests,
                      (unsigned long long)stats.refused, (unsigned long long)stats.aborted);
        assert_int_equal(stats.active, 0);
        assert_int_equal(stats.connections, 0);
        ask(app.server, &re, "GET /x HTTP/1.1\r\nHost: t\r\n\r\n");
        assert_int_equal(re.status, 200);
        reply_release_(&re);
}

#ifdef CAIRN_FAULTS
/* Two requests; whatever comes back, or a close, will do. Allocates nothing itself. */
static void try_request(const char *request)
{
        char heard[4096];
        int fd = dial(app.server);
        for (int i = 0; i < 2; i++) {
                struct timeval limit = { .tv_sec = 5 };
                setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
                if (!say(fd, request, strlen(request)))
                        break;
                ssize_t n = recv(fd, heard, sizeof(heard), 0);
                assert_false(n < 0 && errno == EAGAIN); /* it must not hang */
                if (n <= 0)
                        break;
        }
        close(fd);
}

static void survives_lack_of_memory(void **state)
{
        (void)state;
        static const char form[] =
                "POST /upload HTTP/1.1\r\nHost: t\r\nContent-Type: multipart/form-data; boundary=b\r\n"
                "Content-Length: 126\r\n\r\n" FORM;
        const char *tried[] = { requests[0], requests[3], requests[4], requests[6],
                                requests[7], requests[8], form };
        struct reply re;
        assert_int_equal(strlen(FORM), 126);
        for (size_t i = 0; i < sizeof(tried) / sizeof(tried[0]); i++) {
                for (long nth = 1; nth <= 30; nth++) {
                        mem_fail_nth(nth);
                        try_request(tried[i]);
                        mem_fail_nth(0);
                }
        }
        ask(app.server, &re, "GET /x HTTP/1.1\r\nHost: t\r\n\r\n");
        assert_int_equal(re.status, 200);
        reply_release_(&re);
}
#endif

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(survives_misbehaving_clients, start, stop),
#ifdef CAIRN_FAULTS
                cmocka_unit_test_setup_teardown(survives_lack_of_memory, start, stop),
#endif
        };
        signal(SIGPIPE, SIG_IGN);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
