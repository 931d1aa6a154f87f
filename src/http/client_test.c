/* The outgoing client against our own server on loopback, and against sockets that misbehave. */
#include "http/client.h"
#include "http/testing.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>

static struct test_app app;
static struct http_guard *loopback, *nothing;
static struct http_client *client;
static char err[256];

/* What a call was told; `done` last. */
struct told {
        struct http_answer a;
        char body[256], type[64], why[256];
        atomic_int done;
};

static void on_answer(void *ctx, const struct http_answer *a)
{
        struct told *t = ctx;
        t->a = *a;
        snprintf(t->body, sizeof(t->body), "%.*s", STR_ARG(a->body));
        snprintf(t->type, sizeof(t->type), "%.*s", STR_ARG(a->type));
        snprintf(t->why, sizeof(t->why), "%s", a->err);
        atomic_fetch_add(&t->done, 1);
}

static const char *url_at(const char *host, int port, const char *path)
{
        static char url[256];
        snprintf(url, sizeof(url), "http://%s:%d%s", host, port, path);
        return url;
}

static const char *url_of(const char *path)
{
        return url_at("127.0.0.1", http_server_port(app.server), path);
}

static struct http_call call_to(const char *method, const char *url, struct told *t)
{
        memset(t, 0, sizeof(*t));
        return (struct http_call){ .method = method,
                                   .url = url,
                                   .max_answer = 200,
                                   .connect_ms = 2000,
                                   .total_ms = 5000,
                                   .done = on_answer,
                                   .ctx = t };
}

static int finish(struct http_client *c, const struct http_call *call)
{
        struct told *t = call->ctx;
        assert_int_equal(http_client_send(c, call, NULL), 0);
        WAIT_UNTIL(atomic_load(&t->done));
        return t->a.rc;
}

static struct http_client *client_new(const struct http_guard *guard, const char *ca, int max_active,
                                      size_t max_queued)
{
        struct http_client_config config = { guard, ca, max_active, max_queued };
        struct http_client *c;
        if (http_client_start(&config, &c, err, sizeof(err)))
                fail_msg("%s", err);
        return c;
}

static int setup(void **state)
{
        (void)state;
        static const char *const allow[] = { "127.0.0.1" };
        struct http_config config = HTTP_CONFIG_DEFAULTS;
        config.port = 0;
        config.threads = 2;
        signal(SIGPIPE, SIG_IGN);
        app_start(&app, &config);
        if (http_guard_new(allow, 1, &loopback, err, sizeof(err)) ||
            http_guard_new(NULL, 0, &nothing, err, sizeof(err)))
                return -1;
        client = client_new(loopback, NULL, 0, 0);
        return 0;
}

static int teardown(void **state)
{
        (void)state;
        http_client_stop(client);
        http_client_stop(NULL);
        for (size_t i = 0; i < app.n_parked; i++)
                reply_text(app.parked[i], 200, STR("late"));
        app_stop(&app, 0);
        http_guard_free(loopback);
        http_guard_free(nothing);
        return 0;
}

static void test_exchange(void **state)
{
        (void)state;
        struct told t;
        struct http_header h[] = { { STR("Content-Type"), STR("application/json") },
                                   { STR("X-Empty"), STR("") } };
        struct http_call call = call_to("POST", url_of("/echo"), &t);
        call.headers = h;
        call.n_headers = 2;
        call.body = STR("{\"a\":1}");
        assert_int_equal(finish(client, &call), 0);
        assert_int_equal(t.a.status, 200);
        assert_string_equal(t.body, "{\"a\":1}");
        assert_string_equal(t.type, "text/plain");
        assert_string_equal(t.why, "");
        call = call_to("GET", url_of("/x?y=1"), &t);
        assert_int_equal(finish(client, &call), 0);
        assert_string_equal(t.body, "GET /x y=1");
        call = call_to("DELETE", url_of("/x"), &t);
        assert_int_equal(finish(client, &call), 0);
        assert_string_equal(t.body, "DELETE /x ");
        struct http_header bad[] = { { STR("X-Bad"), STR("a\r\nX-More: b") } };
        call.headers = bad;
        call.n_headers = 1;
        assert_int_equal(http_client_send(client, &call, NULL), -EINVAL);
}

static void test_reuse(void **state)
{
        (void)state;
        struct http_stats before, after;
        struct told t;
        struct http_call call = call_to("GET", url_of("/x"), &t);
        assert_int_equal(finish(client, &call), 0);
        http_server_stats(app.server, &before);
        for (int i = 0; i < 20; i++) {
                call = call_to("GET", url_of("/x"), &t);
                assert_int_equal(finish(client, &call), 0);
        }
        http_server_stats(app.server, &after);
        assert_int_equal(after.requests, before.requests + 20);
        assert_int_equal(after.connections, before.connections);
}

/* The guard looks at what names stand for, and at literals that disguise themselves. */
static void test_guarded(void **state)
{
        (void)state;
        static const char *const hosts[] = { "127.0.0.1", "localhost", "0x7f000001", "[::ffff:127.0.0.1]" };
        struct http_client *strict = client_new(nothing, NULL, 0, 0);
        struct told t;
        long connections = atomic_load(&app.done);
        for (size_t i = 0; i < sizeof(hosts) / sizeof(*hosts); i++) {
                struct http_call call =
                        call_to("GET", url_at(hosts[i], http_server_port(app.server), "/x"), &t);
                assert_int_equal(finish(strict, &call), -EACCES);
                assert_non_null(strstr(t.why, "private"));
        }
        assert_int_equal(atomic_load(&app.done), connections);
        struct http_call call = call_to("GET", "file:///etc/hostname", &t);
        assert_int_equal(finish(strict, &call), -EINVAL);
        call = call_to("GET", "http://u:p@127.0.0.1/", &t);
        assert_int_equal(finish(client, &call), -EINVAL);
        call = call_to("GET", "http://nowhere.invalid/", &t);
        assert_int_equal(finish(client, &call), -EHOSTUNREACH);
        http_client_stop(strict);
}

static void test_bounds(void **state)
{
        (void)state;
        struct told t;
        struct http_call call = call_to("GET", url_of("/big?100000"), &t);
        assert_int_equal(finish(client, &call), -EFBIG);
        assert_non_null(strstr(t.why, "longer than 200"));
        call = call_to("GET", url_of("/big?100000"), &t);
        call.cut_answer = true;
        assert_int_equal(finish(client, &call), 0);
        assert_int_equal(t.a.status, 200);
        assert_int_equal(t.a.body.n, 200);
        call = call_to("GET", url_of("/park"), &t);
        call.total_ms = 150;
        assert_int_equal(finish(client, &call), -ETIMEDOUT);
        assert_true(t.a.elapsed_ms >= 140 && t.a.elapsed_ms < 3000);
}

static void test_cancel(void **state)
{
        (void)state;
        struct http_client *c = client_new(loopback, NULL, 1, 1);
        struct told running, waiting, refused;
        uint64_t a, b;
        size_t parked = app_parked(&app);
        struct http_call first = call_to("GET", url_of("/park"), &running);
        assert_int_equal(http_client_send(c, &first, &a), 0);
        WAIT_UNTIL(app_parked(&app) == parked + 1);
        struct http_call second = call_to("GET", url_of("/x"), &waiting);
        assert_int_equal(http_client_send(c, &second, &b), 0);
        struct http_call third = call_to("GET", url_of("/x"), &refused);
        assert_int_equal(http_client_send(c, &third, NULL), -EAGAIN);
        assert_true(a && b && a != b);
        http_client_cancel(c, b);
        http_client_cancel(c, a);
        WAIT_UNTIL(atomic_load(&running.done) && atomic_load(&waiting.done));
        assert_int_equal(running.a.rc, -ECANCELED);
        assert_int_equal(waiting.a.rc, -ECANCELED);
        http_client_cancel(c, a);
        struct http_call again = call_to("GET", url_of("/x"), &waiting);
        assert_int_equal(finish(c, &again), 0);
        again = call_to("GET", url_of("/park"), &running);
        assert_int_equal(http_client_send(c, &again, NULL), 0);
        WAIT_UNTIL(app_parked(&app) == parked + 2);
        struct http_call left = call_to("GET", url_of("/x"), &waiting);
        assert_int_equal(http_client_send(c, &left, NULL), 0);
        http_client_stop(c);
        assert_int_equal(running.a.rc, -ECANCELED);
        assert_int_equal(waiting.a.rc, -ECANCELED);
        assert_int_equal(atomic_load(&running.done) + atomic_load(&waiting.done), 2);
}

/* ---- a server that says what a test wants it to ---- */

struct canned {
        int fd, port;
        const char *reply;
        bool holds; /* it says no more, and leaves closing to the client */
        char request[4096];
        pthread_t thread;
};

static void *canned_main(void *ctx)
{
        struct canned *s = ctx;
        int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0 && recv(fd, s->request, sizeof(s->request) - 1, 0) > 0)
                say(fd, s->reply, strlen(s->reply));
        while (s->holds && recv(fd, (char[64]){ 0 }, 64, 0) > 0)
                ;
        close(fd);
        return NULL;
}

static void canned_start(struct canned *s, const char *reply, bool holds)
{
        struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t n = sizeof(at);
        memset(s, 0, sizeof(*s));
        s->reply = reply;
        s->holds = holds;
        s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(s->fd, (struct sockaddr *)&at, n) || listen(s->fd, 4), 0);
        getsockname(s->fd, (struct sockaddr *)&at, &n);
        s->port = ntohs(at.sin_port);
        pthread_create(&s->thread, NULL, canned_main, s);
}

static int ask_canned(const char *reply, struct told *t)
{
        struct canned s;
        canned_start(&s, reply, false);
        struct http_call call = call_to("POST", url_at("127.0.0.1", s.port, "/"), t);
        int rc = finish(client, &call);
        pthread_join(s.thread, NULL);
        close(s.fd);
        /* Some servers refuse an expectation, even an empty one. */
        assert_non_null(strstr(s.request, "POST / HTTP/1.1\r\n"));
        assert_null(strcasestr(s.request, "expect"));
        return rc;
}

static void test_strange_replies(void **state)
{
        (void)state;
        struct told t;
        assert_int_equal(
                ask_canned("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
                           &t),
                0);
        assert_int_equal(t.a.status, 302);
        assert_int_equal(ask_canned("hello\r\n\r\n", &t), -EPROTO);
        assert_int_equal(ask_canned("", &t), -EIO);
        assert_int_equal(ask_canned("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", &t), -EIO);
        assert_int_equal(t.a.status, 0);
        assert_int_equal(ask_canned("HTTP/1.1 410 Gone\r\nConnection: close\r\n\r\nbye", &t), 0);
        assert_int_equal(t.a.status, 410);
        assert_string_equal(t.body, "bye");
        struct canned s;
        canned_start(&s, "", false);
        int port = s.port;
        ask_canned("HTTP/1.1 204 No Content\r\n\r\n", &t);
        assert_int_equal(t.a.status, 204);
        struct http_call last = call_to("GET", url_at("127.0.0.1", port, "/"), &t);
        assert_int_equal(finish(client, &last), -EIO);
        pthread_join(s.thread, NULL);
        close(s.fd);
        struct http_call call = call_to("GET", url_at("127.0.0.1", port, "/"), &t);
        assert_int_equal(finish(client, &call), -EIO); /* nobody listens there any more */
}

/* Whoever only wants to know the status has it with the head of the answer, however its body ends. */
static void test_status_alone(void **state)
{
        (void)state;
        static const struct {
                const char *reply;
                bool holds;
                int rc, status;
        } cases[] = {
                { "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", false, 0, 200 },
                { "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", true, 0, 200 },
                { "HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", true, 0, 500 },
                { "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n", true, -ETIMEDOUT, 0 },
                { "HTTP/1.1 100 Continue\r\n\r\n", true, -ETIMEDOUT, 0 },
        };
        for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
                struct told t;
                struct canned s;
                canned_start(&s, cases[i].reply, cases[i].holds);
                struct http_call call = call_to("POST", url_at("127.0.0.1", s.port, "/"), &t);
                call.cut_answer = true;
                call.total_ms = 300;
                assert_int_equal(finish(client, &call), cases[i].rc);
                assert_int_equal(t.a.status, cases[i].status);
                pthread_join(s.thread, NULL);
                close(s.fd);
        }
}

/* ---- certificates ---- */

static char pem_cert[64], pem_key[64];

static void write_identity(void)
{
        EVP_PKEY *key = EVP_EC_gen("P-256");
        X509 *cert = X509_new();
        X509_set_version(cert, 2);
        X509_gmtime_adj(X509_getm_notBefore(cert), -60);
        X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
        X509_set_pubkey(cert, key);
        X509_NAME *name = X509_get_subject_name(cert);
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"test", -1, -1, 0);
        X509_set_issuer_name(cert, name);
        X509_EXTENSION *san = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "IP:127.0.0.1");
        X509_add_ext(cert, san, -1);
        X509_EXTENSION_free(san);
        assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
        snprintf(pem_cert, sizeof(pem_cert), "/tmp/cairn-client-cert-%d.pem", (int)getpid());
        snprintf(pem_key, sizeof(pem_key), "/tmp/cairn-client-key-%d.pem", (int)getpid());
        FILE *c = fopen(pem_cert, "w"), *k = fopen(pem_key, "w");
        assert_true(c && k && PEM_write_X509(c, cert) &&
                    PEM_write_PrivateKey(k, key, NULL, NULL, 0, NULL, NULL));
        fclose(c);
        fclose(k);
        X509_free(cert);
        EVP_PKEY_free(key);
}

static void test_certificates(void **state)
{
        (void)state;
        struct test_app secure;
        struct told t;
        struct http_config config = HTTP_CONFIG_DEFAULTS;
        char url[64];
        write_identity();
        config.port = 0;
        config.tls_cert = pem_cert;
        config.tls_key = pem_key;
        app_start(&secure, &config);
        struct http_client *trusting = client_new(loopback, pem_cert, 0, 0);
        snprintf(url, sizeof(url), "https://127.0.0.1:%d/x", http_server_port(secure.server));
        struct http_call call = call_to("GET", url, &t);
        assert_int_equal(finish(client, &call), -EPROTO);
        call = call_to("GET", url, &t);
        assert_int_equal(finish(trusting, &call), 0);
        assert_string_equal(t.body, "GET /x ");
        http_client_stop(trusting);
        app_stop(&secure, 0);
        unlink(pem_cert);
        unlink(pem_key);
        struct http_client_config missing = { .guard = nothing, .ca_file = pem_cert };
        struct http_client *none;
        assert_int_equal(http_client_start(&missing, &none, err, sizeof(err)), -ENOENT);
        assert_null(none);
}

static void test_many(void **state)
{
        (void)state;
        enum { N = 400 };
        static struct told t[N];
        struct http_client *c = client_new(loopback, NULL, 32, 1000);
        for (int i = 0; i < N; i++) {
                struct http_call call = call_to("GET", url_of("/async?5"), &t[i]);
                assert_int_equal(http_client_send(c, &call, NULL), 0);
        }
        for (int i = 0; i < N; i++) {
                WAIT_UNTIL(atomic_load(&t[i].done) == 1);
                assert_int_equal(t[i].a.rc, 0);
                assert_string_equal(t[i].body, "later");
        }
        http_client_stop(c);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_exchange),     cmocka_unit_test(test_reuse),
                cmocka_unit_test(test_guarded),      cmocka_unit_test(test_bounds),
                cmocka_unit_test(test_cancel),       cmocka_unit_test(test_strange_replies),
                cmocka_unit_test(test_status_alone), cmocka_unit_test(test_certificates),
                cmocka_unit_test(test_many),
        };
        return cmocka_run_group_tests(tests, setup, teardown);
}
