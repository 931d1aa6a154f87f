/* How many connections are held, and that the server stops while its threads are at work. */
#include "http/testing.h"

static bool answered_within(int fd, int ms)
{
        struct pollfd p = { .fd = fd, .events = POLLIN };
        return poll(&p, 1, ms) == 1;
}

/* More connections than may be open wait in the listen queue, and are served when others close. */
static void makes_more_wait(void **state)
{
        (void)state;
        struct http_config config = test_config();
        struct test_app app;
        struct reply re;
        int fds[10];
        config.max_connections = 4;
        config.threads = 3;
        app_start(&app, &config);
        for (int i = 0; i < 10; i++) {
                fds[i] = dial(app.server);
                SAY(fds[i], GET("/async?0"));
        }
        for (int i = 0; i < 10; i++) {
                assert_true(answered_within(fds[i], 10000));
                if (i < 6)
                        assert_false(answered_within(fds[i + 4], i ? 0 : 200));
                reply_init(&re);
                HEAR(&re, fds[i]);
                assert_true(body_is(&re, "later"));
                reply_release_(&re);
                struct http_stats stats;
                http_server_stats(app.server, &stats);
                assert_in_range(stats.connections, 1, 4);
                close(fds[i]);
        }
        app_stop(&app, 1000);
}

/* Stops and starts, each time amid streams that keep all threads busy. */
static void stops_amid_streams(void **state)
{
        (void)state;
        struct http_config config = test_config();
        config.threads = 2;
        for (int round = 0; round < 1000; round++) {
                struct test_app app;
                int fds[2];
                app_start(&app, &config);
                for (int i = 0; i < 2; i++) {
                        fds[i] = dial(app.server);
                        SAY(fds[i], GET("/stream"));
                }
                for (int i = 0; i < 2; i++)
                        assert_true(answered_within(fds[i], 10000));
                app_stop(&app, 0);
                assert_int_equal(atomic_load(&app.done), 2);
                for (int i = 0; i < 2; i++)
                        close(fds[i]);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(makes_more_wait),
                cmocka_unit_test(stops_amid_streams),
        };
        signal(SIGPIPE, SIG_IGN);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
