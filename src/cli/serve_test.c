#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "cli/serve.c"

static void urls_that_a_client_can_use(void **state)
{
        static const struct {
                const char *host, *url;
        } cases[] = {
                { "127.0.0.1", "http://127.0.0.1:8080/v1" },
                { "0.0.0.0", "http://127.0.0.1:8080/v1" },
                { "", "http://127.0.0.1:8080/v1" },
                { "*", "http://127.0.0.1:8080/v1" },
                { "::", "http://127.0.0.1:8080/v1" },
                { "::1", "http://[::1]:8080/v1" },
                { "cairn.example", "http://cairn.example:8080/v1" },
        };
        (void)state;
        for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
                struct server s = { .port = 8080 };
                char url[HOST_MAX + 32];
                snprintf(s.host, sizeof(s.host), "%s", cases[i].host);
                base_url(&s, url, sizeof(url));
                assert_string_equal(url, cases[i].url);
        }
        struct server s = { .config.tls.cert = "cert.pem", .host = "a", .port = 443 };
        char url[HOST_MAX + 32];
        base_url(&s, url, sizeof(url));
        assert_string_equal(url, "https://a:443/v1");
}

static void origins_are_joined(void **state)
{
        char *items[] = { "http://a", "http://b:1" };
        struct config_list none = { NULL, 0 }, two = { items, 2 };
        char err[CLI_ERR];
        struct buf text;
        (void)state;
        buf_init(&text, CORS_MAX);
        assert_int_equal(join_origins(&none, &text, err, sizeof(err)), 0);
        assert_int_equal(text.n, 0);
        assert_int_equal(join_origins(&two, &text, err, sizeof(err)), 0);
        assert_string_equal(text.p, "http://a,http://b:1");
        buf_release(&text);
        buf_init(&text, 8);
        assert_int_equal(join_origins(&two, &text, err, sizeof(err)), -EFBIG);
        assert_non_null(strstr(err, "cors_origins"));
        buf_release(&text);
}

/* No member of the configuration is dropped on its way to the server. */
static void limits_reach_the_server(void **state)
{
        struct server s = { .host = "h", .port = 7 };
        s.config.threads.http = 3;
        s.config.limits.max_body = 11;
        s.config.limits.max_connections = 12;
        s.config.limits.header_timeout = 13;
        s.config.limits.body_timeout = 14;
        s.config.limits.idle_timeout = 15;
        s.config.limits.write_timeout = 16;
        s.config.tls.cert = "c";
        s.config.tls.key = "k";
        s.config.tls.client_ca = "a";
        (void)state;
        struct http_config http = http_config_of(&s, "*");
        assert_string_equal(http.host, "h");
        assert_int_equal(http.port, 7);
        assert_int_equal(http.threads, 3);
        assert_int_equal(http.max_body_bytes, 11);
        assert_int_equal(http.max_connections, 12);
        assert_int_equal(http.header_timeout_s, 13);
        assert_int_equal(http.body_timeout_s, 14);
        assert_int_equal(http.idle_timeout_s, 15);
        assert_int_equal(http.write_timeout_s, 16);
        assert_string_equal(http.tls_cert, "c");
        assert_string_equal(http.tls_key, "k");
        assert_string_equal(http.tls_client_ca, "a");
        assert_string_equal(http.cors_origins, "*");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(urls_that_a_client_can_use),
                cmocka_unit_test(origins_are_joined),
                cmocka_unit_test(limits_reach_the_server),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
