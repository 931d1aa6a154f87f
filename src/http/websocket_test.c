/* WebSockets from the wire's side: the handshake, the framing's rules one by one, queues, ends. */
#include "http/websocket.h"
#include "http/testing.h"

#define HANDSHAKE                                                                                    \
        "GET /echo HTTP/1.1\r\nHost: t\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n" \
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
#define MAX_MESSAGE 100000

/* ---- the application: echoes; "flood N" sends N kilobytes at once, "hold" reads no more, "bye" closes ----
 */

static struct {
        struct http_server *server;
        pthread_mutex_t lock;
        struct ws *last; /* the connection opened last, referenced */
        atomic_int opened, closed, code, rooms, aged, again, pipe, done;
        atomic_bool busy;
} app = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void on_opened(void *ctx, struct ws *w)
{
        (void)ctx;
        ws_ref(w);
        pthread_mutex_lock(&app.lock);
        ws_unref(app.last);
        app.last = w;
        pthread_mutex_unlock(&app.lock);
        atomic_fetch_add(&app.opened, 1);
}

static void flood(struct ws *w, int64_t kilobytes)
{
        char piece[1024];
        memset(piece, 'f', sizeof(piece));
        while (kilobytes--) {
                int rc = ws_send(w, (struct str){ piece, sizeof(piece) });
                atomic_fetch_add(&app.again, rc == -EAGAIN);
                atomic_fetch_add(&app.pipe, rc == -EPIPE);
        }
}

static void on_message(void *ctx, struct ws *w, bool text, struct str data)
{
        int64_t n;
        assert_ptr_equal(ctx, &app);
        if (str_starts(data, "flood ") && str_to_i64((struct str){ data.p + 6, data.n - 6 }, &n))
                flood(w, n);
        else if (str_eqc(data, "hold"))
                ws_hold(w, true);
        else if (str_eqc(data, "bye"))
                ws_close(w, WS_POLICY, "as you wish");
        else
                ws_send(w, text ? data : STR("binary"));
}

static void on_room(void *ctx, struct ws *w)
{
        (void)ctx, (void)w;
        atomic_fetch_add(&app.rooms, 1);
}

static void on_aged(void *ctx, struct ws *w)
{
        (void)ctx;
        atomic_fetch_add(&app.aged, 1);
        ws_close(w, WS_GOING_AWAY, "old");
}

static bool is_busy(void *ctx)
{
        (void)ctx;
        return atomic_load(&app.busy);
}

static void on_closed(void *ctx, struct ws *w, int code)
{
        (void)ctx, (void)w;
        atomic_store(&app.code, code);
        atomic_fetch_add(&app.closed, 1);
}

static const struct ws_handler handler = { on_opened, on_message, on_room, on_aged, is_busy, on_closed };

static void serve_request(void *ctx, struct http_req *r)
{
        static const struct http_header h = { { "x-request-id", 12 }, { "req_1", 5 } };
        struct ws_options options = { MAX_MESSAGE, 0 };
        const char *message;
        (void)ctx;
        int rc = http_websocket_wanted(r, &message);
        if (str_eqc(http_req_path(r), "/short"))
                options.max_age_ms = 1;
        if (rc)
                reply_text(r, rc == -ENOENT ? 405 : rc == -EPROTONOSUPPORT ? 426 : 400, str_c(message));
        else
                http_reply_websocket(r, &h, 1, &options, &handler, &app);
}

static void count_done(void *ctx, struct http_req *r, const struct http_done *done)
{
        (void)ctx, (void)r;
        if (done->status == 101 && !done->aborted)
                atomic_fetch_add(&app.done, 1);
}

static void start_server(int ping_interval_s)
{
        struct http_app callbacks = { .ctx = &app, .on_request = serve_request, .on_done = count_done };
        struct http_config config = HTTP_CONFIG_DEFAULTS;
        char err[200];
        config.port = 0;
        config.threads = 2;
        config.ping_interval_s = ping_interval_s;
        if (http_server_start(&config, &callbacks, &app.server, err, sizeof(err)))
                fail_msg("%s", err);
        atomic_store(&app.opened, 0);
        atomic_store(&app.closed, 0);
        atomic_store(&app.rooms, 0);
        atomic_store(&app.again, 0);
        atomic_store(&app.pipe, 0);
        atomic_store(&app.done, 0);
        atomic_store(&app.busy, false);
}

static void stop_server(int grace_ms)
{
        http_server_stop(app.server, grace_ms);
        assert_int_equal(atomic_load(&app.opened), atomic_load(&app.closed));
        assert_int_equal(atomic_load(&app.opened), atomic_load(&app.done));
        ws_unref(app.last);
        app.last = NULL;
}

static int setup(void **state)
{
        (void)state;
        signal(SIGPIPE, SIG_IGN);
        start_server(15);
        return 0;
}

static int teardown(void **state)
{
        (void)state;
        stop_server(0);
        return 0;
}

/* ---- a client ---- */

/* Writes one frame, masked unless told otherwise. */
static void frame_(int fd, int first, struct str payload, bool masked)
{
        static const unsigned char mask[4] = { 0x12, 0x34, 0x56, 0x78 };
        struct buf b;
        size_t n = payload.n;
        buf_init(&b, n + 64);
        buf_addc(&b, (char)first);
        buf_addc(&b, (char)((masked ? 0x80 : 0) | (n < 126 ? (int)n : n < 65536 ? 126 : 127)));
        for (int i = n < 126 ? 0 : n < 65536 ? 2 : 8; i-- > 0;)
                buf_addc(&b, (char)(n >> (8 * i)));
        if (masked)
                buf_add(&b, mask, 4);
        for (size_t i = 0; i < n; i++)
                buf_addc(&b, masked ? (char)(payload.p[i] ^ mask[i % 4]) : payload.p[i]);
        say(fd, b.p, b.n); /* fails when the server has closed already */
        buf_release(&b);
}

#define FRAME(fd, first, text) frame_(fd, first, STR(text), true)

static bool read_all(int fd, void *p, size_t n)
{
        char *at = p;
        while (n) {
                ssize_t k = recv(fd, at, n, 0);
                if (k <= 0)
                        return false;
                at += k;
                n -= (size_t)k;
        }
        return true;
}

/* The next frame of the server in *ret; its first byte, or -1 at the end of the connection. */
static int hear_frame(int fd, struct buf *ret)
{
        unsigned char head[2], more_bytes[8];
        buf_clear(ret);
        if (!read_all(fd, head, 2))
                return -1;
        assert_int_equal(head[1] & 0x80, 0); /* servers do not mask */
        size_t n = head[1], extra = n == 126 ? 2 : n == 127 ? 8 : 0;
        if (extra && !read_all(fd, more_bytes, extra))
                return -1;
        for (size_t i = 0; i < extra; i++)
                n = (i ? n << 8 : 0) | more_bytes[i];
        if (n && !read_all(fd, buf_reserve(ret, n), n))
                return -1;
        ret->n = n;
        return head[0];
}

static int connect_to(const char *handshake)
{
        struct reply re;
        int fd = dial(app.server);
        reply_init(&re);
        SAY(fd, handshake);
        for (;;) {
                char *end = re.in.n ? memmem(re.in.p, re.in.n, "\r\n\r\n", 4) : NULL;
                if (end) {
                        assert_int_equal(end + 4 - re.in.p, re.in.n);
                        break;
                }
                assert_true(more(&re, fd));
        }
        assert_true(str_starts(buf_str(&re.in), "HTTP/1.1 101 "));
        assert_non_null(strstr(re.in.p, "\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert_non_null(strstr(re.in.p, "\r\nx-request-id: req_1\r\n"));
        reply_release_(&re);
        return fd;
}

static void expect(int fd, int first, struct str payload)
{
        struct buf got;
        buf_init(&got, 1 << 20);
        assert_int_equal(hear_frame(fd, &got), first);
        assert_true(str_eq(buf_str(&got), payload));
        buf_release(&got);
}

/* The server's close frame has this code, and then it closes. */
static void expect_close(int fd, int code)
{
        struct buf got;
        buf_init(&got, 1 << 20);
        int first;
        do
                first = hear_frame(fd, &got);
        while (first == 0x81 || first == 0x89);
        assert_int_equal(first, 0x88);
        assert_true(got.n >= 2);
        assert_int_equal((unsigned char)got.p[0] << 8 | (unsigned char)got.p[1], code);
        FRAME(fd, 0x88, "\x03\xe8");
        assert_int_equal(hear_frame(fd, &got), -1);
        buf_release(&got);
        close(fd);
}

/* ---- tests ---- */

static void test_handshake(void **state)
{
        (void)state;
        static const struct {
                const char *headers;
                int status;
        } rows[] = {
                { "", 405 },
                { "Connection: Upgrade\r\nUpgrade: h2c\r\n", 405 },
                { "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
                  "dGhlIHNhbXBsZSBub25jZQ==\r\n",
                  400 },
                { "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n", 400 },
                { "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: "
                  "13\r\nSec-WebSocket-Key: c2hvcnQ=\r\n",
                  400 },
                { "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: "
                  "13\r\nSec-WebSocket-Key: "
                  "d*hlIHNhbXBsZSBub25jZQ==\r\n",
                  400 },
                { "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: "
                  "8\r\nSec-WebSocket-Key: "
                  "dGhlIHNhbXBsZSBub25jZQ==\r\n",
                  426 },
                { "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nContent-Length: "
                  "1\r\n"
                  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
                  400 },
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
                char request[512];
                struct reply re;
                bool has_body = strstr(rows[i].headers, "Content-Length");
                snprintf(request, sizeof(request), "GET /echo HTTP/1.1\r\nHost: t\r\n%s\r\n%s",
                         rows[i].headers, has_body ? "x" : "");
                ask(app.server, &re, request);
                if (re.status != rows[i].status)
                        fail_msg("%s: %d", rows[i].headers, re.status);
                reply_release_(&re);
        }
        assert_int_equal(atomic_load(&app.opened), 0);
}

static void test_messages(void **state)
{
        (void)state;
        static char large[70000];
        int fd = connect_to(HANDSHAKE);
        FRAME(fd, 0x81, "hello");
        expect(fd, 0x81, STR("hello"));
        FRAME(fd, 0x81, "");
        expect(fd, 0x81, STR(""));
        FRAME(fd, 0x82, "\x00\xff");
        expect(fd, 0x81, STR("binary"));
        for (size_t n = 120; n <= sizeof(large); n = n < 140 ? n + 1 : n * 3) {
                memset(large, 'l', n);
                frame_(fd, 0x81, (struct str){ large, n }, true);
                expect(fd, 0x81, (struct str){ large, n });
        }
        FRAME(fd, 0x89, "are you there");
        expect(fd, 0x8a, STR("are you there"));
        FRAME(fd, 0x8a, "a pong that nobody asked for");
        /* In pieces that end inside a character, with a ping between them. */
        FRAME(fd, 0x01, "gr\xc3");
        FRAME(fd, 0x89, "x");
        FRAME(fd, 0x00, "\xbc\xc3");
        FRAME(fd, 0x80, "\x9f");
        expect(fd, 0x8a, STR("x"));
        expect(fd, 0x81, STR("gr\xc3\xbc\xc3\x9f"));
        FRAME(fd, 0x88, "\x03\xe9so long");
        expect(fd, 0x88, STR("\x03\xe9so long"));
        struct buf end;
        buf_init(&end, 100);
        assert_int_equal(hear_frame(fd, &end), -1);
        close(fd);
        buf_release(&end);
        WAIT_UNTIL(atomic_load(&app.closed) == atomic_load(&app.opened));
        assert_int_equal(atomic_load(&app.code), 1001);
}

/* One byte at a time, and many messages in one write. */
static void test_any_cut(void **state)
{
        (void)state;
        int fd = connect_to(HANDSHAKE);
        static const char frame[] = "\x81\x85\x12\x34\x56\x78\x7a\x51\x3a\x14\x7d"; /* "hello" */
        struct buf many;
        for (size_t i = 0; i < sizeof(frame) - 1; i++) {
                assert_true(say(fd, frame + i, 1));
                pause_ms(1);
        }
        expect(fd, 0x81, STR("hello"));
        buf_init(&many, 1 << 20);
        for (int i = 0; i < 1000; i++)
                buf_add(&many, frame, sizeof(frame) - 1);
        assert_true(say(fd, many.p, many.n));
        for (int i = 0; i < 1000; i++)
                expect(fd, 0x81, STR("hello"));
        buf_release(&many);
        close(fd);
        WAIT_UNTIL(atomic_load(&app.closed) == atomic_load(&app.opened));
        assert_int_equal(atomic_load(&app.code), WS_ABNORMAL);
}

static void test_breaches(void **state)
{
        (void)state;
        static char big[MAX_MESSAGE + 1];
        static const struct {
                const char *what;
                int first;
                struct str payload;
                bool unmasked;
                int code;
        } rows[] = {
                { "no mask", 0x81, STR_INIT("x"), true, 1002 },
                { "RSV1", 0xc1, STR_INIT("x"), false, 1002 },
                { "RSV3", 0x91, STR_INIT("x"), false, 1002 },
                { "an opcode without meaning", 0x83, STR_INIT("x"), false, 1002 },
                { "a control opcode without meaning", 0x8b, STR_INIT(""), false, 1002 },
                { "a continuation of nothing", 0x80, STR_INIT("x"), false, 1002 },
                { "a ping in pieces", 0x09, STR_INIT("x"), false, 1002 },
                { "a close of one byte", 0x88, STR_INIT("\x03"), false, 1002 },
                { "a close code that is none", 0x88, STR_INIT("\x03\xed"), false, 1002 },
                { "a close code out of range", 0x88, STR_INIT("\x00\x01"), false, 1002 },
                { "a close reason in no UTF-8", 0x88, STR_INIT("\x03\xe8\xff"), false, 1007 },
                { "no UTF-8", 0x81, STR_INIT("\xc0\xaf"), false, 1007 },
                { "a surrogate", 0x81, STR_INIT("\xed\xa0\x80"), false, 1007 },
                { "half a character", 0x81, STR_INIT("\xe2\x82"), false, 1007 },
                { "beyond Unicode", 0x81, STR_INIT("\xf4\x90\x80\x80"), false, 1007 },
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
                int fd = connect_to(HANDSHAKE);
                print_message("%s\n", rows[i].what);
                frame_(fd, rows[i].first, rows[i].payload, !rows[i].unmasked);
                expect_close(fd, rows[i].code);
                WAIT_UNTIL(atomic_load(&app.closed) == atomic_load(&app.opened));
        }
        int fd = connect_to(HANDSHAKE); /* longer than a control frame may be */
        frame_(fd, 0x89, (struct str){ big, 126 }, true);
        expect_close(fd, 1002);
        fd = connect_to(HANDSHAKE); /* a new message amid one */
        FRAME(fd, 0x01, "x");
        FRAME(fd, 0x81, "x");
        expect_close(fd, 1002);
        fd = connect_to(HANDSHAKE); /* too long at once, and in pieces; the longest that fits is fine */
        memset(big, 'b', sizeof(big));
        frame_(fd, 0x81, (struct str){ big, MAX_MESSAGE }, true);
        expect(fd, 0x81, (struct str){ big, MAX_MESSAGE });
        frame_(fd, 0x81, (struct str){ big, MAX_MESSAGE + 1 }, true);
        expect_close(fd, 1009);
        fd = connect_to(HANDSHAKE);
        frame_(fd, 0x01, (struct str){ big, MAX_MESSAGE }, true);
        FRAME(fd, 0x80, "x");
        expect_close(fd, 1009);
        WAIT_UNTIL(atomic_load(&app.closed) == atomic_load(&app.opened));
}

static void test_server_closes(void **state)
{
        (void)state;
        int fd = connect_to(HANDSHAKE);
        FRAME(fd, 0x81, "flood 10");
        FRAME(fd, 0x81, "bye");
        FRAME(fd, 0x81, "too late");
        for (int i = 0; i < 10; i++) {
                struct buf got;
                buf_init(&got, 1 << 20);
                assert_int_equal(hear_frame(fd, &got), 0x81);
                assert_int_equal(got.n, 1024);
                buf_release(&got);
        }
        expect(fd, 0x88,
               STR("\x03\xf0"
                   "as you wish"));
        assert_int_equal(ws_send(app.last, STR("x")), -EPIPE);
        FRAME(fd, 0x88, "\x03\xf0");
        close(fd);
        WAIT_UNTIL(atomic_load(&app.closed) == atomic_load(&app.opened));
        assert_int_equal(atomic_load(&app.code), WS_POLICY);
        assert_int_equal(ws_send(app.last, STR("x")), -EPIPE);
        ws_close(app.last, WS_NORMAL, "again");
}

/* A slow reader: the writer is asked to pause, nothing is lost, and told when there is room. */
static void test_back_pressure(void **state)
{
        (void)state;
        enum { KILOBYTES = 20000 };
        int fd = connect_to(HANDSHAKE);
        struct buf got;
        buf_init(&got, 1 << 20);
        FRAME(fd, 0x81, "flood 20000");
        WAIT_UNTIL(atomic_load(&app.again) > 0);
        pause_ms(50);
        assert_int_equal(atomic_load(&app.rooms), 0);
        for (int i = 0; i < KILOBYTES; i++) {
                assert_int_equal(hear_frame(fd, &got), 0x81);
                assert_int_equal(got.n, 1024);
        }
        WAIT_UNTIL(atomic_load(&app.rooms) == 1);
        FRAME(fd, 0x81, "still here");
        expect(fd, 0x81, STR("still here"));
        buf_release(&got);
        close(fd);
        /* Nobody reads at all: the queue's bound ends it. */
        fd = connect_to(HANDSHAKE);
        FRAME(fd, 0x81, "flood 80000");
        WAIT_UNTIL(atomic_load(&app.pipe) > 0);
        WAIT_UNTIL(atomic_load(&app.closed) == atomic_load(&app.opened));
        assert_int_equal(atomic_load(&app.code), WS_ABNORMAL);
        close(fd);
}

/* Bytes that the server takes of a client which reads nothing; until it takes none for a while, or `max`. */
static size_t send_pings(int fd, size_t max)
{
        static char block[500][131]; /* masked with zeros */
        size_t sent = 0;
        for (int i = 0; i < 500; i++)
                memcpy(block[i], "\x89\xfd", 2);
        for (int idle = 0; idle < 50 && sent < max;) {
                size_t at = sent % sizeof(block);
                ssize_t n = send(fd, (char *)block + at, sizeof(block) - at, MSG_DONTWAIT | MSG_NOSIGNAL);
                idle = n > 0 ? 0 : idle + 1;
                sent += n > 0 ? (size_t)n : 0;
                if (n <= 0)
                        pause_ms(10);
        }
        return sent;
}

/* The next message, behind any pongs. */
static void expect_data(int fd, struct str payload)
{
        struct buf got;
        int first;
        buf_init(&got, 1 << 20);
        do
                first = hear_frame(fd, &got);
        while (first == 0x8a);
        assert_int_equal(first, 0x81);
        assert_true(str_eq(buf_str(&got), payload));
        buf_release(&got);
}

/* Nothing is to be heard on fd for a while. */
static void expect_silence(int fd, int ms)
{
        struct pollfd p = { .fd = fd, .events = POLLIN };
        assert_int_equal(poll(&p, 1, ms), 0);
}

static struct ws *opened_last(void)
{
        pthread_mutex_lock(&app.lock);
        struct ws *w = app.last;
        pthread_mutex_unlock(&app.lock);
        return w;
}

/* What is held is not read, however long that takes: the peer waits, and nothing is lost. */
static void test_hold(void **state)
{
        (void)state;
        static char big[MAX_MESSAGE];
        memset(big, 'h', sizeof(big));
        stop_server(0);
        start_server(1); /* a peer that is silent for 3 seconds is dropped */
        int fd = connect_to(HANDSHAKE), send_buffer = 1;
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof(send_buffer));
        FRAME(fd, 0x81, "hold");
        expect_silence(fd, 100);
        FRAME(fd, 0x81, "first");
        frame_(fd, 0x81, (struct str){ big, sizeof(big) }, true);
        expect_silence(fd, 4500);
        size_t sent = send_pings(fd, 64 << 20);
        assert_in_range(sent, 1, 32 << 20);
        assert_int_equal(atomic_load(&app.closed), 0);
        ws_hold(opened_last(), false);
        expect_data(fd, STR("first"));
        expect_data(fd, (struct str){ big, sizeof(big) });
        close(fd);
        WAIT_UNTIL(atomic_load(&app.closed) == 1);
        /* Its end is noticed, and its farewell heard. */
        fd = connect_to(HANDSHAKE);
        FRAME(fd, 0x81, "hold");
        expect_silence(fd, 100);
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){ .l_onoff = 1 }, sizeof(struct linger));
        close(fd); /* a reset */
        WAIT_UNTIL(atomic_load(&app.closed) == 2);
        fd = connect_to(HANDSHAKE);
        FRAME(fd, 0x81, "hold");
        expect_silence(fd, 100);
        ws_close(opened_last(), WS_POLICY, "enough");
        expect_close(fd, WS_POLICY);
        WAIT_UNTIL(atomic_load(&app.closed) == 3);
        assert_int_equal(atomic_load(&app.code), WS_NORMAL); /* the peer's */
        ws_hold(opened_last(), false);                       /* nothing is there any more */
        stop_server(0);
        start_server(15);
}

static void test_age(void **state)
{
        (void)state;
        char request[512];
        snprintf(request, sizeof(request), "GET /short%s", HANDSHAKE + strlen("GET /echo"));
        int fd = connect_to(request);
        expect_close(fd, WS_GOING_AWAY);
        assert_int_equal(atomic_load(&app.aged), 1);
        WAIT_UNTIL(atomic_load(&app.closed) == atomic_load(&app.opened));
}

static void test_many(void **state)
{
        (void)state;
        enum { N = 500 };
        static int fds[N];
        for (int i = 0; i < N; i++)
                fds[i] = connect_to(HANDSHAKE);
        for (int i = 0; i < N; i++)
                FRAME(fds[i], 0x81, "hello");
        for (int i = 0; i < N; i++)
                expect(fds[i], 0x81, STR("hello"));
        for (int i = 0; i < N; i++)
                close(fds[i]);
        WAIT_UNTIL(atomic_load(&app.closed) == atomic_load(&app.opened));
}

/* Who pings and reads no pong is heard no more, until it reads: else its pongs would fill the memory. */
static void test_ping_flood(void **state)
{
        enum { MAX = 96 << 20 };
        static char pongs[1 << 20];
        (void)state;
        int fd = connect_to(HANDSHAKE);
        assert_in_range(send_pings(fd, MAX), 1, MAX - 1);
        for (int i = 0; i < 32; i++)
                assert_true(recv(fd, pongs, sizeof(pongs), MSG_DONTWAIT) >= 0 || errno == EAGAIN);
        WAIT_UNTIL(send(fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1);
        close(fd);
        WAIT_UNTIL(atomic_load(&app.closed) == atomic_load(&app.opened));
}

/* Silent peers are pinged; those that do not answer are dropped, those that do are kept. */
static void test_pings(void **state)
{
        (void)state;
        stop_server(0);
        start_server(1);
        int dead = connect_to(HANDSHAKE), alive = connect_to(HANDSHAKE);
        for (int i = 0; i < 3; i++) {
                expect(alive, 0x89, STR(""));
                FRAME(alive, 0x8a, "");
        }
        WAIT_UNTIL(atomic_load(&app.closed) == 1);
        assert_int_equal(atomic_load(&app.code), WS_ABNORMAL);
        close(dead);
        close(alive);
        WAIT_UNTIL(atomic_load(&app.closed) == 2);
        stop_server(0);
        start_server(15);
}

static void *stop_main(void *arg)
{
        stop_server(*(int *)arg);
        return NULL;
}

/* A stop says 1001, at once to the idle and after the grace to the busy; it does not wait for the deaf. */
static void test_stop(void **state)
{
        (void)state;
        pthread_t thread;
        int fd = connect_to(HANDSHAKE), deaf = connect_to(HANDSHAKE), grace = 10000;
        int64_t start = clock_mono_ms();
        pthread_create(&thread, NULL, stop_main, &grace);
        expect_close(fd, WS_GOING_AWAY);
        pthread_join(thread, NULL);
        assert_true(clock_mono_ms() - start < 8000);
        close(deaf);
        start_server(15);
        fd = connect_to(HANDSHAKE);
        atomic_store(&app.busy, true);
        grace = 600;
        start = clock_mono_ms();
        pthread_create(&thread, NULL, stop_main, &grace);
        pause_ms(200);
        FRAME(fd, 0x81, "not yet");
        expect(fd, 0x81, STR("not yet"));
        expect_close(fd, WS_GOING_AWAY);
        assert_true(clock_mono_ms() - start >= 500);
        pthread_join(thread, NULL);
        start_server(15);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_handshake),     cmocka_unit_test(test_messages),
                cmocka_unit_test(test_any_cut),       cmocka_unit_test(test_breaches),
                cmocka_unit_test(test_server_closes), cmocka_unit_test(test_back_pressure),
                cmocka_unit_test(test_age),           cmocka_unit_test(test_many),
                cmocka_unit_test(test_ping_flood),    cmocka_unit_test(test_pings),
                cmocka_unit_test(test_stop),          cmocka_unit_test(test_hold),
        };
        return cmocka_run_group_tests(tests, setup, teardown);
}
