/* The server behind its TLS front, spoken to with OpenSSL. Certificates are made for the run. */
#include "http/testing.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

static char dir[64];
static struct test_app app;

/* ---- Certificates ---- */

struct identity {
        EVP_PKEY *key;
        X509 *cert;
};

static struct identity identity_new(const char *name, const struct identity *issuer)
{
        struct identity id = { EVP_EC_gen("P-256"), X509_new() };
        X509_set_version(id.cert, 2);
        ASN1_INTEGER_set(X509_get_serialNumber(id.cert), (long)clock_mono_us());
        X509_gmtime_adj(X509_getm_notBefore(id.cert), -60);
        X509_gmtime_adj(X509_getm_notAfter(id.cert), 3600);
        X509_set_pubkey(id.cert, id.key);
        X509_NAME *subject = X509_get_subject_name(id.cert);
        X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
        X509_set_issuer_name(id.cert, issuer ? X509_get_subject_name(issuer->cert) : subject);
        if (!issuer) {
                X509_EXTENSION *ca =
                        X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, "critical,CA:TRUE");
                X509_add_ext(id.cert, ca, -1);
                X509_EXTENSION_free(ca);
        }
        assert_true(X509_sign(id.cert, issuer ? issuer->key : id.key, EVP_sha256()) > 0);
        return id;
}

static void identity_free(struct identity *id)
{
        EVP_PKEY_free(id->key);
        X509_free(id->cert);
}

static const char *path_of(const char *name)
{
        static char paths[8][128];
        static int next;
        char *path = paths[next++ % 8];
        snprintf(path, sizeof(paths[0]), "%s/%s.pem", dir, name);
        return path;
}

static void identity_write(const struct identity *id, const char *cert, const char *key)
{
        FILE *f = fopen(path_of(cert), "w");
        assert_non_null(f);
        PEM_write_X509(f, id->cert);
        fclose(f);
        f = fopen(path_of(key), "w");
        assert_non_null(f);
        PEM_write_PrivateKey(f, id->key, NULL, NULL, 0, NULL, NULL);
        fclose(f);
}

static int make_certificates(void **state)
{
        (void)state;
        snprintf(dir, sizeof(dir), "/tmp/cairn-tls-XXXXXX");
        if (!mkdtemp(dir))
                return -1;
        struct identity ca = identity_new("test CA", NULL), other = identity_new("other CA", NULL);
        struct identity server = identity_new("localhost", &ca), client = identity_new("client", &ca);
        struct identity stranger = identity_new("stranger", &other);
        identity_write(&ca, "ca", "ca-key");
        identity_write(&server, "server", "server-key");
        identity_write(&client, "client", "client-key");
        identity_write(&stranger, "stranger", "stranger-key");
        identity_free(&ca);
        identity_free(&other);
        identity_free(&server);
        identity_free(&client);
        identity_free(&stranger);
        return 0;
}

static int remove_certificates(void **state)
{
        static const char *names[] = { "ca", "server", "client", "stranger" };
        (void)state;
        for (size_t i = 0; i < 4; i++) {
                char key[64];
                snprintf(key, sizeof(key), "%s-key", names[i]);
                unlink(path_of(names[i]));
                unlink(path_of(key));
        }
        return rmdir(dir);
}

/* ---- Client ---- */

static struct http_config tls_config(void)
{
        struct http_config config = test_config();
        config.tls_cert = path_of("server");
        config.tls_key = path_of("server-key");
        return config;
}

static int start(void **state)
{
        struct http_config config = tls_config();
        (void)state;
        app_start(&app, &config);
        return 0;
}

static int stop(void **state)
{
        (void)state;
        app_stop(&app, 1000);
        return 0;
}

struct client {
        SSL_CTX *ctx;
        SSL *ssl;
        int fd;
};

/* Connects; true when the handshake succeeds. */
static bool client_open(struct client *c, struct http_server *s, const char *name, int max_version,
                        const char *alpn)
{
        c->ctx = SSL_CTX_new(TLS_client_method());
        SSL_CTX_load_verify_locations(c->ctx, path_of("ca"), NULL);
        SSL_CTX_set_verify(c->ctx, SSL_VERIFY_PEER, NULL);
        SSL_CTX_set_options(c->ctx, SSL_OP_IGNORE_UNEXPECTED_EOF);
        if (max_version) {
                SSL_CTX_set_cipher_list(c->ctx, "ALL:@SECLEVEL=0");
                SSL_CTX_set_min_proto_version(c->ctx, TLS1_VERSION);
                SSL_CTX_set_max_proto_version(c->ctx, max_version);
        }
        if (name) {
                char key[64];
                snprintf(key, sizeof(key), "%s-key", name);
                SSL_CTX_use_certificate_file(c->ctx, path_of(name), SSL_FILETYPE_PEM);
                SSL_CTX_use_PrivateKey_file(c->ctx, path_of(key), SSL_FILETYPE_PEM);
        }
        if (alpn)
                SSL_CTX_set_alpn_protos(c->ctx, (const unsigned char *)alpn, (unsigned)strlen(alpn));
        c->ssl = SSL_new(c->ctx);
        c->fd = dial(s);
        SSL_set_fd(c->ssl, c->fd);
        return SSL_connect(c->ssl) == 1;
}

static void client_close(struct client *c)
{
        SSL_free(c->ssl);
        SSL_CTX_free(c->ctx);
        close(c->fd);
        ERR_clear_error();
}

static bool client_say(struct client *c, const char *p, size_t n)
{
        return SSL_write(c->ssl, p, (int)n) == (int)n;
}

/* Reads a reply with a Content-Length; false when the connection ends first. */
static bool client_hear(struct client *c, struct reply *re)
{
        char *end = NULL;
        size_t want = 0;
        buf_clear(&re->in);
        for (;;) {
                char *at = buf_reserve(&re->in, 65536);
                int n = SSL_read(c->ssl, at, 65536);
                if (n <= 0)
                        return false;
                re->in.n += (size_t)n;
                if (!end && (end = memmem(re->in.p, re->in.n, "\r\n\r\n", 4))) {
                        size_t head = (size_t)(end - re->in.p) + 4;
                        snprintf(re->head, sizeof(re->head), "%.*s", (int)head, re->in.p);
                        re->status = (int)strtol(re->head + 9, NULL, 10);
                        want = head + strtoul(header_of(re, "Content-Length"), NULL, 10);
                }
                if (end && re->in.n >= want)
                        break;
        }
        size_t head = strlen(re->head);
        buf_clear(&re->body);
        buf_add(&re->body, re->in.p + head, re->in.n - head);
        return true;
}

static bool client_asks(struct client *c, const char *request, const char *want)
{
        struct reply re;
        reply_init(&re);
        bool ok = client_say(c, request, strlen(request)) && client_hear(c, &re) && body_is(&re, want);
        reply_release_(&re);
        return ok;
}

/* ---- Tests ---- */

static void speaks_tls(void **state)
{
        (void)state;
        struct client c;
        struct reply re;
        const size_t n = 3 << 20;
        char *body = mem_alloc(n), head[128];
        assert_true(client_open(&c, app.server, NULL, 0, "\x02h2\x08http/1.1"));
        const unsigned char *alpn;
        unsigned alpn_n;
        SSL_get0_alpn_selected(c.ssl, &alpn, &alpn_n);
        assert_true(str_eqc((struct str){ (const char *)alpn, alpn_n }, "http/1.1"));
        for (int i = 0; i < 100; i++)
                assert_true(
                        client_asks(&c, i % 2 ? GET("/x") : GET("/async?0"), i % 2 ? "GET /x " : "later"));
        for (size_t i = 0; i < n; i++)
                body[i] = (char)(i * 7 % 251);
        snprintf(head, sizeof(head), "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: %zu\r\n\r\n", n);
        reply_init(&re);
        assert_true(client_say(&c, head, strlen(head)));
        assert_true(client_say(&c, body, n));
        assert_true(client_hear(&c, &re));
        assert_int_equal(re.body.n, n);
        assert_memory_equal(re.body.p, body, n);
        client_close(&c);
        reply_release_(&re);
        mem_free(body);
}

static void refuses_what_is_old_or_foreign(void **state)
{
        (void)state;
        struct client c;
        assert_false(client_open(&c, app.server, NULL, TLS1_1_VERSION, NULL));
        client_close(&c);
        assert_false(client_open(&c, app.server, NULL, 0, "\x02h2"));
        client_close(&c);
        char byte;
        int fd = dial(app.server);
        SAY(fd, GET("/plain"));
        ssize_t n;
        errno = 0;
        while ((n = recv(fd, &byte, 1, 0)) > 0)
                ; /* an alert at most */
        assert_true(n <= 0 && errno != EAGAIN);
        close(fd);
        assert_true(client_open(&c, app.server, NULL, TLS1_2_VERSION, NULL));
        assert_true(client_asks(&c, GET("/y"), "GET /y "));
        client_close(&c);
}

static void demands_client_certificates(void **state)
{
        (void)state;
        struct http_config config = tls_config();
        struct test_app other;
        struct client c;
        config.tls_client_ca = path_of("ca");
        app_start(&other, &config);
        assert_true(client_open(&c, other.server, "client", 0, NULL));
        assert_true(client_asks(&c, GET("/z"), "GET /z "));
        client_close(&c);
        /* With TLS 1.3 the client learns of the refusal when it reads. */
        assert_false(client_open(&c, other.server, NULL, 0, NULL) && client_asks(&c, GET("/z"), "GET /z "));
        client_close(&c);
        assert_false(client_open(&c, other.server, "stranger", 0, NULL) &&
                     client_asks(&c, GET("/z"), "GET /z "));
        client_close(&c);
        app_stop(&other, 100);
}

static void sees_disconnects(void **state)
{
        (void)state;
        struct client c;
        int prompt = 0;
        for (int i = 0; i < 5; i++) {
                assert_true(client_open(&c, app.server, NULL, 0, NULL));
                assert_true(client_say(&c, GET("/park"), strlen(GET("/park"))));
                WAIT_UNTIL(app_parked(&app) == (size_t)i + 1);
                int64_t left = clock_mono_ms();
                client_close(&c);
                WAIT_UNTIL(atomic_load(&app.aborts) == i + 1);
                prompt += atomic_load(&app.abort_ms) - left < 100;
                http_reply(app.parked[i], 200, NULL, 0, STR(""));
        }
        assert_true(prompt > 2);
        WAIT_UNTIL(atomic_load(&app.done) == 5);
}

static void streams_all_bytes(void **state)
{
        (void)state;
        struct client c;
        char *piece = mem_alloc(65536);
        uint64_t total = 0;
        const char *request = "GET /stream HTTP/1.0\r\n\r\n";
        assert_true(client_open(&c, app.server, NULL, 0, NULL));
        assert_true(client_say(&c, request, strlen(request)));
        for (int n; (n = SSL_read(c.ssl, piece, 65536)) > 0;)
                total += (uint64_t)n;
        assert_int_equal(SSL_get_shutdown(c.ssl) & SSL_RECEIVED_SHUTDOWN, SSL_RECEIVED_SHUTDOWN);
        assert_true(total > 100 * 1024 * 1024 + 14);
        client_close(&c);
        mem_free(piece);
        WAIT_UNTIL(atomic_load(&app.done) == 1);
        assert_int_equal(atomic_load(&app.done_aborted), 0);
}

/* A client that sends a large body does not lose the early refusal. */
static void delivers_early_refusals(void **state)
{
        (void)state;
        struct client c;
        struct reply re;
        char *zeros = mem_calloc(1, 1 << 20);
        const char *head = "POST /unauthorized HTTP/1.1\r\nHost: t\r\nContent-Length: 20000000\r\n\r\n";
        assert_true(client_open(&c, app.server, NULL, 0, NULL));
        assert_true(client_say(&c, head, strlen(head)));
        for (int i = 0; i < 8 && client_say(&c, zeros, 1 << 20); i++)
                ;
        reply_init(&re);
        assert_true(client_hear(&c, &re));
        assert_int_equal(re.status, 401);
        client_close(&c);
        reply_release_(&re);
        mem_free(zeros);
}

static void ends_slow_handshakes_and_stops(void **state)
{
        (void)state;
        struct http_config config = tls_config();
        struct test_app other;
        struct client c;
        char byte;
        config.header_timeout_s = 1;
        app_start(&other, &config);
        int fd = dial(other.server);
        SAY(fd, "\x16\x03\x01");
        int64_t began = clock_mono_ms();
        assert_true(recv(fd, &byte, 1, 0) <= 0);
        assert_in_range(clock_mono_ms() - began, 900, 3000);
        close(fd);
        assert_true(client_open(&c, other.server, NULL, 0, NULL));
        assert_true(client_say(&c, GET("/open"), strlen(GET("/open"))));
        WAIT_UNTIL(app_rings(&other) == 1);
        fd = dial(other.server); /* never shakes hands */
        app_stop(&other, 50);
        assert_true(ring_cancelled(other.rings[0]));
        ring_unref(other.rings[0]);
        close(fd);
        client_close(&c);
}

static void names_unusable_files(void **state)
{
        (void)state;
        struct http_config config = tls_config();
        struct http_app none = { .ctx = NULL };
        struct http_server *server;
        char err[300];
        config.tls_cert = "/nonexistent/cert.pem";
        assert_int_equal(http_server_start(&config, &none, &server, err, sizeof(err)), -EINVAL);
        assert_non_null(strstr(err, "certificate /nonexistent/cert.pem"));
        config = tls_config();
        config.tls_key = path_of("client-key");
        assert_int_equal(http_server_start(&config, &none, &server, err, sizeof(err)), -EINVAL);
        assert_non_null(strstr(err, "client-key.pem"));
        config = tls_config();
        config.tls_key = NULL;
        assert_int_equal(http_server_start(&config, &none, &server, err, sizeof(err)), -EINVAL);
        assert_non_null(strstr(err, "both"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(speaks_tls, start, stop),
                cmocka_unit_test_setup_teardown(refuses_what_is_old_or_foreign, start, stop),
                cmocka_unit_test(demands_client_certificates),
                cmocka_unit_test_setup_teardown(sees_disconnects, start, stop),
                cmocka_unit_test_setup_teardown(streams_all_bytes, start, stop),
                cmocka_unit_test_setup_teardown(delivers_early_refusals, start, stop),
                cmocka_unit_test(ends_slow_handshakes_and_stops),
                cmocka_unit_test(names_unusable_files),
        };
        signal(SIGPIPE, SIG_IGN);
        return cmocka_run_group_tests(tests, make_certificates, remove_certificates);
}
