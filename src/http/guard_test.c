/* The address classifier, the operator's list and URLs, each as a table. */
#include "http/guard.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static struct sockaddr_storage address(const char *text, int port)
{
        struct sockaddr_storage a = { .ss_family = strchr(text, ':') ? AF_INET6 : AF_INET };
        struct sockaddr_in *v4 = (struct sockaddr_in *)&a;
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&a;
        bool six = a.ss_family == AF_INET6;
        assert_int_equal(inet_pton(a.ss_family, text, six ? (void *)&v6->sin6_addr : (void *)&v4->sin_addr),
                         1);
        if (six)
                v6->sin6_port = htons((uint16_t)port);
        else
                v4->sin_port = htons((uint16_t)port);
        return a;
}

static void test_addresses(void **state)
{
        (void)state;
        static const struct {
                const char *text;
                bool public;
        } rows[] = {
                { "8.8.8.8", true },
                { "1.1.1.1", true },
                { "0.0.0.0", false },
                { "0.1.2.3", false },
                { "9.255.255.255", true },
                { "10.0.0.0", false },
                { "10.255.255.255", false },
                { "11.0.0.0", true },
                { "100.63.255.255", true },
                { "100.64.0.0", false },
                { "100.127.255.255", false },
                { "100.128.0.0", true },
                { "127.0.0.1", false },
                { "127.255.255.254", false },
                { "169.254.169.254", false },
                { "169.253.255.255", true },
                { "172.15.255.255", true },
                { "172.16.0.1", false },
                { "172.31.255.255", false },
                { "172.32.0.0", true },
                { "192.0.0.8", false },
                { "192.0.1.0", true },
                { "192.0.2.1", false },
                { "192.88.99.1", false },
                { "192.168.1.1", false },
                { "192.169.0.0", true },
                { "198.17.255.255", true },
                { "198.18.0.1", false },
                { "198.19.255.255", false },
                { "198.51.100.7", false },
                { "203.0.113.7", false },
                { "223.255.255.255", true },
                { "224.0.0.1", false },
                { "239.255.255.250", false },
                { "240.0.0.1", false },
                { "255.255.255.255", false },
                { "::", false },
                { "::1", false },
                { "::8.8.8.8", false },
                { "::ffff:127.0.0.1", false },
                { "::ffff:10.1.2.3", false },
                { "::ffff:8.8.8.8", true },
                { "64:ff9b::7f00:1", false },
                { "64:ff9b::a9fe:a9fe", false },
                { "64:ff9b::808:808", true },
                { "64:ff9b:1::1", false },
                { "100::1", false },
                { "2001::1", false },
                { "2001:1ff::1", false },
                { "2001:200::1", true },
                { "2001:db8::1", false },
                { "2001:4860:4860::8888", true },
                { "2002:7f00:1::", false },
                { "2606:4700::1111", true },
                { "3fff::1", false },
                { "3fff:1000::1", true },
                { "4000::1", false },
                { "fc00::1", false },
                { "fdff::1", false },
                { "fe80::1", false },
                { "fec0::1", false },
                { "ff02::1", false },
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
                struct sockaddr_storage a = address(rows[i].text, 443);
                if (http_address_public((struct sockaddr *)&a) != rows[i].public)
                        fail_msg("%s is %spublic", rows[i].text, rows[i].public ? "" : "not ");
        }
        struct sockaddr_storage unix_socket = { .ss_family = AF_UNIX };
        assert_false(http_address_public((struct sockaddr *)&unix_socket));
}

static struct http_guard *guard(const char *const *allow, size_t n)
{
        struct http_guard *g;
        char err[160];
        if (http_guard_new(allow, n, &g, err, sizeof(err)))
                fail_msg("%s", err);
        return g;
}

static bool allows(const struct http_guard *g, const char *text, int port)
{
        struct sockaddr_storage a = address(text, port);
        return http_guard_allows(g, (struct sockaddr *)&a);
}

static void test_list(void **state)
{
        (void)state;
        static const char *const allow[] = { "10.1.0.0/16", "::1", "fd00:5::/32", "Hooks.internal",
                                             "127.0.0.1" };
        struct http_guard *g = guard(allow, 5);
        assert_true(allows(g, "10.1.255.1", 8000));
        assert_true(allows(g, "10.1.255.1", 25));
        assert_false(allows(g, "10.2.0.1", 8000));
        assert_true(allows(g, "::ffff:10.1.2.3", 80));
        assert_true(allows(g, "::1", 80));
        assert_false(allows(g, "::2", 80));
        assert_true(allows(g, "fd00:5:1::1", 80));
        assert_false(allows(g, "fd00:6::1", 80));
        assert_true(allows(g, "127.0.0.1", 1));
        assert_false(allows(g, "127.0.0.2", 8080));
        assert_true(allows(g, "8.8.8.8", 443));
        assert_false(allows(g, "8.8.8.8", 25));
        assert_true(http_guard_allows_host(g, STR("hooks.INTERNAL.")));
        assert_false(http_guard_allows_host(g, STR("a.hooks.internal")));
        http_guard_free(g);
        http_guard_free(NULL);
}

static void test_list_errors(void **state)
{
        (void)state;
        static const char *const rows[] = { "",         "10.0.0.0/33", "::1/129",    "10.0.0.0/x",
                                            "http://a", "a b",         "10.0.0.0/-1" };
        for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
                struct http_guard *g;
                char err[160];
                assert_int_equal(http_guard_new(&rows[i], 1, &g, err, sizeof(err)), -EINVAL);
                assert_non_null(strstr(err, "neither"));
                assert_null(g);
        }
}

static void test_urls(void **state)
{
        (void)state;
        static const char *const allow[] = { "10.1.0.0/16", "hooks.internal", "127.0.0.0/8" };
        struct http_guard *strict = guard(NULL, 0), *lax = guard(allow, 3);
        static const struct {
                const char *url;
                int strict, lax;
        } rows[] = {
                { "https://example.com/hook?x=1", 0, 0 },
                { "http://example.com:8080/", 0, 0 },
                { "HTTPS://EXAMPLE.com", 0, 0 },
                { "https://example.com:22/", -EACCES, -EACCES },
                { "https://hooks.internal:22/", -EACCES, 0 },
                { "https://10.1.2.3/", -EACCES, 0 },
                { "https://10.2.2.3/", -EACCES, -EACCES },
                { "http://127.0.0.1:9/", -EACCES, 0 },
                { "http://localhost:9000/", -EACCES, 0 },
                { "http://a.LocalHost./", -EACCES, 0 },
                { "http://0x7f.1/", -EACCES, 0 },
                { "http://2130706433/", -EACCES, 0 },
                { "http://[::ffff:127.0.0.1]/", -EACCES, 0 },
                { "http://[::1]/", -EACCES, -EACCES },
                { "http://[fe80::1%25eth0]/", -EINVAL, -EINVAL },
                { "http://[2606:4700::1111]/", 0, 0 },
                { "http://169.254.169.254/latest/meta-data/", -EACCES, -EACCES },
                { "https://user:secret@example.com/", -EINVAL, -EINVAL },
                { "https://user@example.com/", -EINVAL, -EINVAL },
                { "ftp://example.com/", -EINVAL, -EINVAL },
                { "file:///etc/passwd", -EINVAL, -EINVAL },
                { "example.com", -EINVAL, -EINVAL },
                { "https://", -EINVAL, -EINVAL },
                { "", -EINVAL, -EINVAL },
                { "https://exa mple.com/", -EINVAL, -EINVAL },
                { "https://example.com/\r\nX: y", -EINVAL, -EINVAL },
                { "https://example.com:0/", -EINVAL, -EINVAL },
                { "https://example.com:99999/", -EINVAL, -EINVAL },
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
                char err[256] = "";
                int a = http_guard_url(strict, rows[i].url, err, sizeof(err));
                if (a != rows[i].strict)
                        fail_msg("%s: %d (%s)", rows[i].url, a, err);
                int b = http_guard_url(lax, rows[i].url, err, sizeof(err));
                if (b != rows[i].lax)
                        fail_msg("%s, with the list: %d (%s)", rows[i].url, b, err);
        }
        char url[HTTP_URL_MAX + 32] = "https://example.com/", err[256];
        memset(url + strlen(url), 'a', sizeof(url) - strlen(url) - 1);
        assert_int_equal(http_guard_url(strict, url, err, sizeof(err)), -EINVAL);
        http_guard_free(strict);
        http_guard_free(lax);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_addresses),
                cmocka_unit_test(test_list),
                cmocka_unit_test(test_list_errors),
                cmocka_unit_test(test_urls),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
