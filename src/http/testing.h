/* A raw HTTP client and an application for this folder's tests. Only test programs include it. */
#ifndef CAIRN_HTTP_TESTING_H
#define CAIRN_HTTP_TESTING_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
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
#include <time.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/clock.h"
#include "base/mem.h"
#include "base/pool.h"
#include "http/server.h"
#include "http/sse.h"

#define UNUSED __attribute__((unused))

/* ---- The application ---- */

struct test_app {
        struct http_server *server;
        struct pool *pool;
        pthread_mutex_t lock;
        struct http_req *parked[1200]; /* requests of /park, to be replied to by the test */
        size_t n_parked;
        struct ring *rings[1200]; /* streams of /open */
        size_t n_rings;
        atomic_int done, aborts, done_aborted;
        atomic_llong abort_ms;
        atomic_ullong part_bytes, parts, longest_piece;
        atomic_int last_status;
};

static void pause_ms(int ms) UNUSED;
static void pause_ms(int ms)
{
        const struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000L };
        nanosleep(&t, NULL);
}

#define WAIT_UNTIL(condition)                                     \
        do {                                                      \
                int64_t give_up = clock_mono_ms() + 10000;        \
                while (!(condition) && clock_mono_ms() < give_up) \
                        pause_ms(1);                              \
                assert_true(condition);                           \
        } while (0)

static int64_t query_number(struct http_req *r)
{
        int64_t n = 0;
        str_to_i64(http_req_query(r), &n);
        return n;
}

static void reply_text(struct http_req *r, int status, struct str body)
{
        struct http_header h[] = { { STR("Content-Type"), STR("text/plain") } };
        http_reply(r, status, h, 1, body);
}

static void work_reply(void *p)
{
        struct http_req *r = p;
        pause_ms((int)query_number(r));
        reply_text(r, 200, STR("later"));
}

/* Writes query_number bytes of frames as fast as the ring takes them. */
static void work_stream(void *p)
{
        struct ring *ring = p;
        char frame[1024];
        memset(frame, 'x', sizeof(frame));
        memcpy(frame, "data: ", 6);
        memcpy(frame + sizeof(frame) - 2, "\n\n", 2);
        for (int i = 0; i < 100 * 1024; i++) {
                int rc;
                while ((rc = ring_write(ring, (struct str){ frame, sizeof(frame) })) == -EAGAIN)
                        pause_ms(1);
                if (rc)
                        break;
        }
        ring_end(ring, STR("data: [DONE]\n\n"));
        ring_unref(ring);
}

/* A stream of known length. */
struct sized {
        struct ring *ring;
        size_t n;
};

static void work_sized(void *p)
{
        struct sized *s = p;
        char block[1000];
        memset(block, 'z', sizeof(block));
        for (size_t at = 0; at < s->n;) {
                size_t n = s->n - at < sizeof(block) ? s->n - at : sizeof(block);
                int rc = ring_write(s->ring, (struct str){ block, n });
                if (rc && rc != -EAGAIN)
                        break;
                if (rc)
                        pause_ms(1);
                else
                        at += n;
        }
        ring_end(s->ring, (struct str){ "", 0 });
        ring_unref(s->ring);
        mem_free(s);
}

static int count_begin(void *ctx, const struct multipart_part *part)
{
        struct test_app *app = ctx;
        (void)part;
        atomic_fetch_add(&app->parts, 1);
        return 0;
}

static int count_data(void *ctx, struct str piece)
{
        struct test_app *app = ctx;
        atomic_fetch_add(&app->part_bytes, piece.n);
        if (piece.n > atomic_load(&app->longest_piece))
                atomic_store(&app->longest_piece, piece.n);
        return 0;
}

static int fail_data(void *ctx, struct str piece)
{
        (void)ctx, (void)piece;
        return -ENOSPC;
}

static void app_headers(void *ctx, struct http_req *r)
{
        static const struct multipart_sink count = { count_begin, count_data, NULL };
        static const struct multipart_sink failing = { NULL, fail_data, NULL };
        struct str path = http_req_path(r);
        http_req_set_data(r, ctx);
        if (str_eqc(path, "/unauthorized"))
                reply_text(r, 401, STR("who are you"));
        else if (str_eqc(path, "/small"))
                http_body_memory(r, 10);
        else if (str_eqc(path, "/upload"))
                http_body_multipart(r, 1ull << 40, NULL, &count, ctx);
        else if (str_eqc(path, "/upload-small"))
                http_body_multipart(r, 1000, NULL, &count, ctx);
        else if (str_eqc(path, "/upload-fails"))
                http_body_multipart(r, 1ull << 40, NULL, &failing, ctx);
}

/* Announces the query's number of bytes and sends `missing` less. */
static void app_sized(struct test_app *app, struct http_req *r, size_t missing)
{
        size_t n = (size_t)query_number(r);
        struct sized *s = mem_alloc(sizeof(*s));
        assert_non_null(s);
        *s = (struct sized){ ring_new(64 * 1024, NULL), n - missing };
        http_reply_sized(r, 206, NULL, 0, s->ring, n);
        pool_submit(app->pool, work_sized, s);
}

static void app_stream(struct test_app *app, struct http_req *r, bool produce)
{
        struct http_header h[] = { { STR("Content-Type"), STR(SSE_CONTENT_TYPE) } };
        struct ring *ring = ring_new(64 * 1024, NULL);
        if (!produce) {
                pthread_mutex_lock(&app->lock);
                app->rings[app->n_rings++] = ring;
                pthread_mutex_unlock(&app->lock);
        }
        http_reply_stream(r, 200, h, 1, ring, true);
        if (produce)
                pool_submit(app->pool, work_stream, ring);
}

static void app_park(struct test_app *app, struct http_req *r)
{
        pthread_mutex_lock(&app->lock);
        app->parked[app->n_parked++] = r;
        pthread_mutex_unlock(&app->lock);
}

static void app_request(void *ctx, struct http_req *r)
{
        struct test_app *app = ctx;
        struct str path = http_req_path(r), body = http_req_body(r);
        char text[256];
        if (str_eqc(path, "/echo") || str_eqc(path, "/small")) {
                reply_text(r, 200, body);
        } else if (str_eqc(path, "/async")) {
                pool_submit(app->pool, work_reply, r);
        } else if (str_eqc(path, "/park")) {
                app_park(app, r);
        } else if (str_eqc(path, "/stream")) {
                app_stream(app, r, true);
        } else if (str_eqc(path, "/open")) {
                app_stream(app, r, false);
        } else if (str_eqc(path, "/sized")) {
                app_sized(app, r, 0);
        } else if (str_eqc(path, "/short")) {
                app_sized(app, r, 1);
        } else if (str_eqc(path, "/big")) {
                size_t n = (size_t)query_number(r);
                struct buf big;
                buf_init(&big, n);
                memset(buf_reserve(&big, n), 'y', n);
                big.n = n;
                http_reply_buf(r, 200, NULL, 0, &big);
        } else if (str_eqc(path, "/twice")) {
                reply_text(r, 200, STR("first"));
                assert_int_equal(http_reply(r, 500, NULL, 0, STR("second")), -EALREADY);
        } else {
                struct str query = http_req_query(r);
                snprintf(text, sizeof(text), "%.*s %.*s %.*s", STR_ARG(http_req_method(r)), STR_ARG(path),
                         (int)query.n, query.p ? query.p : "");
                reply_text(r, 200, str_c(text));
        }
}

static void app_abort(void *ctx, struct http_req *r)
{
        struct test_app *app = ctx;
        (void)r;
        atomic_store(&app->abort_ms, clock_mono_ms());
        atomic_fetch_add(&app->aborts, 1);
}

static void app_done(void *ctx, struct http_req *r, const struct http_done *done)
{
        struct test_app *app = ctx;
        assert_ptr_equal(http_req_data(r), app);
        atomic_store(&app->last_status, done->status);
        if (done->aborted)
                atomic_fetch_add(&app->done_aborted, 1);
        atomic_fetch_add(&app->done, 1);
}

static void app_bad(void *ctx, struct http_req *r, int status, const char *message, struct buf *head,
                    struct buf *body)
{
        (void)ctx, (void)r;
        buf_adds(head, "Content-Type: application/json\r\nx-request-id: req_1\r\n");
        buf_addf(body, "{\"error\":{\"message\":\"%s\",\"status\":%d}}", message, status);
}

static struct http_config test_config(void) UNUSED;
static struct http_config test_config(void)
{
        struct http_config config = HTTP_CONFIG_DEFAULTS;
        config.port = 0;
        config.threads = 2;
        return config;
}

static void app_start(struct test_app *app, const struct http_config *config) UNUSED;
static void app_start(struct test_app *app, const struct http_config *config)
{
        struct http_app callbacks = { app, app_headers, app_request, app_abort, app_done, app_bad };
        char err[200] = "";
        memset(app, 0, sizeof(*app));
        pthread_mutex_init(&app->lock, NULL);
        app->pool = pool_new("test", 2, 10000);
        int rc = http_server_start(config, &callbacks, &app->server, err, sizeof(err));
        if (rc)
                fail_msg("http_server_start: %s", err);
}

static void app_stop(struct test_app *app, int grace_ms) UNUSED;
static void app_stop(struct test_app *app, int grace_ms)
{
        http_server_stop(app->server, grace_ms);
        pool_free(app->pool);
        pthread_mutex_destroy(&app->lock);
}

static size_t app_parked(struct test_app *app) UNUSED;
static size_t app_parked(struct test_app *app)
{
        pthread_mutex_lock(&app->lock);
        size_t n = app->n_parked;
        pthread_mutex_unlock(&app->lock);
        return n;
}

static size_t app_rings(struct test_app *app) UNUSED;
static size_t app_rings(struct test_app *app)
{
        pthread_mutex_lock(&app->lock);
        size_t n = app->n_rings;
        pthread_mutex_unlock(&app->lock);
        return n;
}

/* ---- The client ---- */

static int dial(struct http_server *s) UNUSED;
static int dial(struct http_server *s)
{
        struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)http_server_port(s)) };
        inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct timeval limit = { .tv_sec = 20 };
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
        assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
        return fd;
}

/* False when the peer has closed. */
static bool say(int fd, const char *p, size_t n) UNUSED;
static bool say(int fd, const char *p, size_t n)
{
        while (n) {
                ssize_t k = send(fd, p, n, MSG_NOSIGNAL);
                if (k <= 0)
                        return false;
                p += k;
                n -= (size_t)k;
        }
        return true;
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: t\r\n\r\n"
#define SAY(fd, text) assert_true(say(fd, text, strlen(text)))

/* A reply as it came. Reads through `in`, which keeps what belongs to the next one. */
struct reply {
        int status;
        struct buf in, body;
        char head[4096];
        bool closed;
};

static void reply_init(struct reply *re) UNUSED;
static void reply_init(struct reply *re)
{
        memset(re, 0, sizeof(*re));
        buf_init(&re->in, 1u << 28);
        buf_init(&re->body, 1u << 28);
}

static void reply_release_(struct reply *re) UNUSED;
static void reply_release_(struct reply *re)
{
        buf_release(&re->in);
        buf_release(&re->body);
}

static bool more(struct reply *re, int fd)
{
        char *at = buf_reserve(&re->in, 65536);
        assert_non_null(at);
        ssize_t n = recv(fd, at, 65536, 0);
        if (n < 0 && errno == EAGAIN)
                fail_msg("the server said nothing for 20 s");
        if (n <= 0) {
                re->closed = true;
                return false;
        }
        re->in.n += (size_t)n;
        return true;
}

static const char *header_of(struct reply *re, const char *name) UNUSED;
static const char *header_of(struct reply *re, const char *name)
{
        static char value[2048];
        char key[128];
        snprintf(key, sizeof(key), "\r\n%s: ", name);
        const char *at = strcasestr(re->head, key);
        if (!at)
                return NULL;
        at += strlen(key);
        snprintf(value, sizeof(value), "%.*s", (int)strcspn(at, "\r"), at);
        return value;
}

static bool read_chunks(struct reply *re, int fd)
{
        for (;;) {
                char *line;
                while (!re->in.n || !(line = memmem(re->in.p, re->in.n, "\r\n", 2)))
                        if (!more(re, fd))
                                return false;
                size_t size = strtoul(re->in.p, NULL, 16), head = (size_t)(line - re->in.p) + 2;
                while (re->in.n < head + size + 2)
                        if (!more(re, fd))
                                return false;
                buf_add(&re->body, re->in.p + head, size);
                buf_consume(&re->in, head + size + 2);
                if (!size)
                        return true;
        }
}

/* Reads one reply; false when the connection ends before it is whole. `head_only`: of a HEAD request. */
static bool hear_(struct reply *re, int fd, bool head_only) UNUSED;
static bool hear_(struct reply *re, int fd, bool head_only)
{
        char *end;
        buf_clear(&re->body);
        while (!re->in.n || !(end = memmem(re->in.p, re->in.n, "\r\n\r\n", 4)))
                if (!more(re, fd))
                        return false;
        size_t n = (size_t)(end - re->in.p) + 4;
        assert_true(n < sizeof(re->head));
        memcpy(re->head, re->in.p, n);
        re->head[n] = '\0';
        re->status = (int)strtol(re->head + 9, NULL, 10);
        buf_consume(&re->in, n);
        if (head_only || re->status == 204 || re->status == 100)
                return true;
        if (header_of(re, "Transfer-Encoding"))
                return read_chunks(re, fd);
        const char *length = header_of(re, "Content-Length");
        if (!length) {
                while (more(re, fd))
                        ;
                buf_add(&re->body, re->in.p, re->in.n);
                buf_clear(&re->in);
                return true;
        }
        size_t want = strtoul(length, NULL, 10);
        while (re->in.n < want)
                if (!more(re, fd))
                        return false;
        buf_add(&re->body, re->in.p ? re->in.p : "", want);
        buf_consume(&re->in, want);
        return true;
}

#define HEAR(re, fd) assert_true(hear_(re, fd, false))

static bool body_is(struct reply *re, const char *text) UNUSED;
static bool body_is(struct reply *re, const char *text)
{
        return str_eqc(buf_str(&re->body), text);
}

/* One request on a connection of its own; the caller releases re. */
static void ask(struct http_server *s, struct reply *re, const char *request) UNUSED;
static void ask(struct http_server *s, struct reply *re, const char *request)
{
        int fd = dial(s);
        reply_init(re);
        SAY(fd, request);
        HEAR(re, fd);
        close(fd);
}
#endif
