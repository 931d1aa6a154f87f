/* The server over real sockets: framing, keep-alive, replies now and later, refusals, deadlines, streams,
 * stop. */
#include "http/testing.h"

static struct test_app app;

static int start(void **state)
{
        struct http_config config = test_config();
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

/* ---- Plain requests ---- */

static void keeps_alive(void **state)
{
        (void)state;
        struct reply re;
        int fd = dial(app.server);
        reply_init(&re);
        for (int i = 0; i < 1000; i++) {
                SAY(fd, i % 2 ? GET("/a%20b?x=1&y=%41") : GET("/async?0"));
                HEAR(&re, fd);
                assert_int_equal(re.status, 200);
                assert_true(body_is(&re, i % 2 ? "GET /a%20b x=1&y=%41" : "later"));
        }
        close(fd);
        reply_release_(&re);
        WAIT_UNTIL(atomic_load(&app.done) == 1000);
        assert_int_equal(atomic_load(&app.aborts), 0);
}

static void pipelines(void **state)
{
        (void)state;
        struct reply re;
        int fd = dial(app.server);
        reply_init(&re);
        SAY(fd,
            GET("/1") GET("/async?20") "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc" GET(
                    "/4"));
        const char *want[] = { "GET /1 ", "later", "abc", "GET /4 " };
        for (int i = 0; i < 4; i++) {
                HEAR(&re, fd);
                assert_true(body_is(&re, want[i]));
        }
        close(fd);
        reply_release_(&re);
}

static void reads_bodies(void **state)
{
        (void)state;
        struct reply re;
        int fd = dial(app.server);
        reply_init(&re);
        SAY(fd, "POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
                "3\r\nabc\r\n4;ext=1\r\nd");
        pause_ms(20);
        SAY(fd, "efg\r\n0\r\nTrailer: x\r\n\r\n");
        HEAR(&re, fd);
        assert_true(body_is(&re, "abcdefg"));
        SAY(fd, "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n");
        HEAR(&re, fd);
        assert_true(body_is(&re, ""));
        SAY(fd, "PUT /echo HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
        HEAR(&re, fd);
        assert_int_equal(re.status, 100);
        SAY(fd, "hi");
        HEAR(&re, fd);
        assert_true(body_is(&re, "hi"));
        close(fd);
        reply_release_(&re);
}

static void answers_heads_and_old_clients(void **state)
{
        (void)state;
        struct reply re;
        int fd = dial(app.server);
        reply_init(&re);
        SAY(fd, "HEAD /x HTTP/1.1\r\nHost: t\r\n\r\n");
        assert_true(hear_(&re, fd, true));
        assert_string_equal(header_of(&re, "Content-Length"), "8");
        SAY(fd, "GET http://t/abs?q HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
        HEAR(&re, fd);
        assert_true(body_is(&re, "GET /abs q"));
        assert_false(more(&re, fd));
        close(fd);
        fd = dial(app.server);
        SAY(fd, "GET /old HTTP/1.0\r\n\r\n");
        HEAR(&re, fd);
        assert_true(body_is(&re, "GET /old "));
        assert_false(more(&re, fd));
        close(fd);
        reply_release_(&re);
}

static void replies_once(void **state)
{
        (void)state;
        struct reply re;
        ask(app.server, &re, GET("/twice"));
        assert_true(body_is(&re, "first"));
        reply_release_(&re);
}

static void sends_big_buffers(void **state)
{
        (void)state;
        struct reply re;
        ask(app.server, &re, GET("/big?10000000"));
        assert_int_equal(re.body.n, 10000000);
        reply_release_(&re);
}

/* Streams that announce their length keep the connection, and cut it when they end before. */
static void streams_of_known_length(void **state)
{
        static const size_t sizes[] = { 0, 1, 65536, 1000000 };
        (void)state;
        struct reply re;
        char request[100];
        int fd = dial(app.server);
        reply_init(&re);
        for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
                snprintf(request, sizeof(request), GET("/sized?%zu"), sizes[i]);
                SAY(fd, request);
                HEAR(&re, fd);
                assert_int_equal(re.status, 206);
                assert_null(header_of(&re, "Transfer-Encoding"));
                assert_int_equal(re.body.n, sizes[i]);
                assert_int_equal(strspn(re.body.n ? re.body.p : "", "z"), sizes[i]);
        }
        SAY(fd, "HEAD /sized?500 HTTP/1.1\r\nHost: t\r\n\r\n");
        assert_true(hear_(&re, fd, true));
        assert_string_equal(header_of(&re, "Content-Length"), "500");
        WAIT_UNTIL(atomic_load(&app.done) == 5);
        assert_int_equal(atomic_load(&app.done_aborted), 0);
        SAY(fd, GET("/short?300000"));
        assert_false(hear_(&re, fd, false));
        close(fd);
        WAIT_UNTIL(atomic_load(&app.done_aborted) == 1);
        reply_release_(&re);
}

/* ---- Refusals ---- */

/* Each is answered in the application's words; `closes`: the connection cannot go on. */
static const struct {
        const char *request;
        int status;
        bool closes;
} refusals[] = {
        { "GARBAGE\r\n\r\n", 400, true },
        { "GET /a b HTTP/1.1\r\nHost: t\r\n\r\n", 400, true },
        { "GET / HTTP/3.0\r\nHost: t\r\n\r\n", 505, true },
        { "GET / HTTP/1.1\r\n\r\n", 400, true },
        { "GET / HTTP/1.1\r\nHost: t\r\nHost: u\r\n\r\n", 400, true },
        { "GET / HTTP/1.1\r\nHost : t\r\n\r\n", 400, true },
        { "GET / HTTP/1.1\r\nHost: t\r\nNo colon\r\n\r\n", 400, true },
        { "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 1x\r\n\r\na", 400, true },
        { "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: -1\r\n\r\na", 400, true },
        { "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 99999999999999999999\r\n\r\na", 413, true },
        { "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400, true },
        { "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nTransfer-Encoding: "
          "chunked\r\n\r\n0\r\n\r\n",
          400, true },
        { "POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501, true },
        { "POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, true },
        { "POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400, true },
        { "POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcde\r\n", 400, true },
        { "POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: "
          "chunked\r\n\r\nffffffffffffffffff\r\nabcde\r\n",
          413, true },
        { "POST /echo HTTP/1.1\r\nHost: t\r\nExpect: tea\r\nContent-Length: 1\r\n\r\na", 417, true },
        { "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", 415,
          false },
        { "POST /small HTTP/1.1\r\nHost: t\r\nContent-Length: 11\r\n\r\nabcdefghijk", 413, false },
        { "POST /small HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: "
          "chunked\r\n\r\nb\r\nabcdefghijk\r\n0\r\n\r\n",
          413, false },
        { "POST /small HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 11\r\n\r\n", 413,
          true },
        { "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 99999999999\r\n\r\nabc", 413, true },
        { "POST /unauthorized HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc", 401, false },
        { "POST /upload HTTP/1.1\r\nHost: t\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nabc", 400,
          false },
        { "POST /upload HTTP/1.1\r\nHost: t\r\nContent-Type: multipart/form-data; "
          "boundary=b\r\nContent-Length: 3\r\n"
          "\r\nabc",
          400, false },
        { "POST /upload-small HTTP/1.1\r\nHost: t\r\nContent-Type: multipart/form-data; boundary=b\r\n"
          "Content-Length: 1001\r\nConnection: close\r\n\r\n",
          413, false },
        { "POST /upload-fails HTTP/1.1\r\nHost: t\r\nContent-Type: multipart/form-data; boundary=b\r\n"
          "Content-Length: 56\r\n\r\n--b\r\nContent-Disposition: form-data; name=f\r\n\r\nxx\r\n--b--",
          500, false },
};

static void refuse_one(size_t i)
{
        struct reply re;
        int fd = dial(app.server);
        reply_init(&re);
        SAY(fd, refusals[i].request);
        if (strstr(refusals[i].request, "Connection: close")) {
                char zeros[1001] = { 0 };
                assert_true(say(fd, zeros, sizeof(zeros)));
        }
        HEAR(&re, fd);
        if (re.status != refusals[i].status)
                fail_msg("case %zu: status %d instead of %d", i, re.status, refusals[i].status);
        if (re.status != 401) {
                assert_string_equal(header_of(&re, "Content-Type"), "application/json");
                assert_string_equal(header_of(&re, "x-request-id"), "req_1");
                assert_true(str_starts(buf_str(&re.body), "{\"error\":"));
        }
        const char *connection = header_of(&re, "Connection");
        bool closes = connection && strcmp(connection, "close") == 0;
        if (refusals[i].closes) {
                if (!closes || more(&re, fd))
                        fail_msg("case %zu: the connection goes on", i);
        } else if (!closes) {
                SAY(fd, GET("/next"));
                HEAR(&re, fd);
                assert_true(body_is(&re, "GET /next "));
        }
        close(fd);
        reply_release_(&re);
}

static void refuses_in_our_words(void **state)
{
        (void)state;
        for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++)
                refuse_one(i);
        /* None of them has stopped or blocked the server. */
        struct reply re;
        ask(app.server, &re, GET("/still"));
        assert_int_equal(re.status, 200);
        reply_release_(&re);
}

static void refuses_large_headers(void **state)
{
        (void)state;
        char *big = mem_alloc(60001), *request = mem_alloc(70000);
        struct reply re;
        memset(big, 'h', 60000);
        big[60000] = '\0';
        snprintf(request, 70000, "GET / HTTP/1.1\r\nHost: t\r\nX: %s\r\n\r\n", big);
        ask(app.server, &re, request);
        assert_int_equal(re.status, 431);
        reply_release_(&re);
        /* MHD copies cookies, and runs out of memory amid the headers. */
        snprintf(request, 70000, "GET / HTTP/1.1\r\nHost: t\r\nCookie: a=%.30000s\r\n\r\n", big);
        ask(app.server, &re, request);
        assert_int_equal(re.status, 431);
        assert_int_equal(re.in.n, 0);
        reply_release_(&re);
        snprintf(request, 70000, "GET /x?%.30000s HTTP/1.1\r\nHost: t\r\n\r\n", big);
        ask(app.server, &re, request);
        assert_int_equal(re.status, 200);
        reply_release_(&re);
        snprintf(request, 70000, "GET /%s HTTP/1.1\r\nHost: t\r\n\r\n", big);
        ask(app.server, &re, request);
        assert_int_equal(re.status, 414);
        reply_release_(&re);
        size_t n = (size_t)snprintf(request, 70000, "GET / HTTP/1.1\r\nHost: t\r\n");
        for (int i = 0; i < 200; i++)
                n += (size_t)snprintf(request + n, 70000 - n, "X-%d: y\r\n", i);
        snprintf(request + n, 70000 - n, "\r\n");
        ask(app.server, &re, request);
        assert_int_equal(re.status, 431);
        reply_release_(&re);
        mem_free(big);
        mem_free(request);
}

/* A refusal reaches a client that goes on sending a large body. */
static void refuses_amid_large_bodies(void **state)
{
        (void)state;
        const char *heads[] = {
                "POST /unauthorized HTTP/1.1\r\nHost: t\r\nContent-Length: 20000000\r\n\r\n",
                "POST /small HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n1000000\r\n",
        };
        char *zeros = mem_calloc(1, 1 << 20);
        for (int i = 0; i < 2; i++) {
                struct reply re;
                int fd = dial(app.server);
                reply_init(&re);
                SAY(fd, heads[i]);
                for (int k = 0; k < 16; k++)
                        if (!say(fd, zeros, 1 << 20))
                                break;
                HEAR(&re, fd);
                assert_int_equal(re.status, i ? 413 : 401);
                assert_string_equal(header_of(&re, "Connection"), "close");
                close(fd);
                reply_release_(&re);
        }
        mem_free(zeros);
}

/* ---- CORS ---- */

static void answers_preflights(void **state)
{
        (void)state;
        struct http_config config = test_config();
        struct reply re;
        struct test_app other;
        config.cors_origins = "https://a.example, https://b.example";
        app_start(&other, &config);
        ask(other.server, &re,
            "OPTIONS /x HTTP/1.1\r\nHost: t\r\nOrigin: https://b.example\r\nAccess-Control-Request-Method: "
            "POST\r\n"
            "Access-Control-Request-Headers: x-stainless-os\r\n\r\n");
        assert_int_equal(re.status, 204);
        assert_string_equal(header_of(&re, "Access-Control-Allow-Origin"), "https://b.example");
        assert_string_equal(header_of(&re, "Access-Control-Allow-Headers"), "x-stainless-os");
        reply_release_(&re);
        ask(other.server, &re, "GET /x HTTP/1.1\r\nHost: t\r\nOrigin: https://a.example\r\n\r\n");
        assert_string_equal(header_of(&re, "Access-Control-Allow-Origin"), "https://a.example");
        assert_non_null(strstr(header_of(&re, "Access-Control-Expose-Headers"), "x-request-id"));
        reply_release_(&re);
        ask(other.server, &re, "GET /x HTTP/1.1\r\nHost: t\r\nOrigin: https://evil.example\r\n\r\n");
        assert_null(header_of(&re, "Access-Control-Allow-Origin"));
        assert_string_equal(header_of(&re, "Vary"), "Origin");
        reply_release_(&re);
        app_stop(&other, 100);
}

/* ---- Clients that leave ---- */

static void sees_disconnects(void **state)
{
        (void)state;
        int prompt = 0; /* the machine may be busy: not each of them must be */
        for (int i = 0; i < 20; i++) {
                int fd = dial(app.server);
                SAY(fd, GET("/park"));
                WAIT_UNTIL(app_parked(&app) == (size_t)i + 1);
                int64_t left = clock_mono_ms();
                close(fd);
                WAIT_UNTIL(atomic_load(&app.aborts) == i + 1);
                prompt += atomic_load(&app.abort_ms) - left < 100;
                assert_true(http_req_aborted(app.parked[i]));
                assert_int_equal(atomic_load(&app.done), i);
                assert_int_equal(http_reply(app.parked[i], 200, NULL, 0, STR("too late")), 0);
                WAIT_UNTIL(atomic_load(&app.done) == i + 1);
        }
        assert_true(prompt > 10);
        assert_int_equal(atomic_load(&app.done_aborted), 20);
}

static void cancels_streams_of_the_gone(void **state)
{
        (void)state;
        struct reply re;
        int fd = dial(app.server);
        SAY(fd, GET("/open"));
        WAIT_UNTIL(app_rings(&app) == 1);
        reply_init(&re);
        assert_true(hear_(&re, fd, true));
        close(fd);
        WAIT_UNTIL(ring_cancelled(app.rings[0]));
        assert_int_equal(ring_write(app.rings[0], STR("data: x\n\n")), -EPIPE);
        WAIT_UNTIL(atomic_load(&app.done) == 1);
        assert_int_equal(atomic_load(&app.aborts), 1);
        ring_unref(app.rings[0]);
        reply_release_(&re);
}

/* MHD looks at quiet connections from the oldest on: an older one must not keep the sockets of ended streams
 * open. */
static void closes_ended_streams(void **state)
{
        (void)state;
        struct http_stats stats;
        struct reply re;
        int idle[4];
        for (int i = 0; i < 4; i++) {
                idle[i] = dial(app.server);
                SAY(idle[i], GET("/x"));
                reply_init(&re);
                HEAR(&re, idle[i]);
                reply_release_(&re);
        }
        for (int i = 0; i < 8; i++) {
                int fd = dial(app.server);
                SAY(fd, i % 2 ? "GET /open HTTP/1.0\r\n\r\n" : GET("/open"));
                WAIT_UNTIL(app_rings(&app) == (size_t)i + 1);
                ring_write(app.rings[i], STR("data: 1\n\n"));
                if (i < 4) {
                        close(fd);
                        WAIT_UNTIL(ring_cancelled(app.rings[i]));
                }
                ring_end(app.rings[i], STR("data: 2\n\n"));
                ring_unref(app.rings[i]);
                if (i < 4)
                        continue;
                reply_init(&re);
                HEAR(&re, fd);
                assert_true(body_is(&re, "data: 1\n\ndata: 2\n\n"));
                reply_release_(&re);
                close(fd);
        }
        WAIT_UNTIL((http_server_stats(app.server, &stats), stats.connections == 4));
        assert_int_equal(atomic_load(&app.done_aborted), 4);
        for (int i = 0; i < 4; i++)
                close(idle[i]);
}

/* ---- Streams ---- */

static long resident_kb(void)
{
        long pages = 0;
        FILE *f = fopen("/proc/self/statm", "r");
        assert_non_null(f);
        assert_int_equal(fscanf(f, "%*s %ld", &pages), 1);
        fclose(f);
        return pages * 4;
}

/* 100 MB of frames to a reader that pauses: nothing is lost, and the server does not keep what is not read.
 */
static void streams_in_bounded_memory(void **state)
{
        (void)state;
        char *piece = mem_alloc(256 * 1024);
        uint64_t total = 0;
        long before = resident_kb(), peak = before;
        int fd = dial(app.server);
        SAY(fd, "GET /stream HTTP/1.0\r\n\r\n");
        for (int i = 0;; i++) {
                ssize_t n = recv(fd, piece, 256 * 1024, 0);
                assert_true(n >= 0);
                if (!n)
                        break;
                total += (uint64_t)n;
                if (i % 50 == 0)
                        pause_ms(1);
                long now = resident_kb();
                peak = now > peak ? now : peak;
        }
        assert_true(total > 100 * 1024 * 1024 + 14);
        assert_true(total < 100 * 1024 * 1024 + 1024);
        close(fd);
        mem_free(piece);
        print_message("100 MB stream: RSS grew by %ld KB\n", peak - before);
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
        assert_true(peak - before < 8 * 1024);
#endif
        WAIT_UNTIL(atomic_load(&app.done) == 1);
        assert_int_equal(atomic_load(&app.done_aborted), 0);
}

/* Each chunk ends where a frame ends, although the ring holds more than one write takes. */
static void keeps_frames_whole(void **state)
{
        (void)state;
        struct reply re;
        int fd = dial(app.server);
        reply_init(&re);
        SAY(fd, GET("/stream"));
        assert_true(hear_(&re, fd, true));
        for (size_t total = 0, chunks = 0; total < 5000000; chunks++) {
                char *line;
                while (!re.in.n || !(line = memmem(re.in.p, re.in.n, "\r\n", 2)))
                        assert_true(more(&re, fd));
                size_t size = strtoul(re.in.p, NULL, 16), head = (size_t)(line - re.in.p) + 2;
                while (re.in.n < head + size + 2)
                        assert_true(more(&re, fd));
                assert_memory_equal(re.in.p + head + size - 2, "\n\n", 2);
                buf_consume(&re.in, head + size + 2);
                total += size;
        }
        close(fd);
        reply_release_(&re);
        WAIT_UNTIL(atomic_load(&app.done_aborted) == 1);
}

static void pings_silent_streams(void **state)
{
        (void)state;
        struct http_config config = test_config();
        struct test_app other;
        struct reply re;
        config.ping_interval_s = 1;
        app_start(&other, &config);
        int fd = dial(other.server);
        SAY(fd, GET("/open"));
        WAIT_UNTIL(app_rings(&other) == 1);
        struct ring *ring = other.rings[0];
        assert_int_equal(ring_write(ring, STR("data: 1\n\n")), 0);
        pause_ms(2500);
        ring_end(ring, STR("data: 2\n\n"));
        ring_unref(ring);
        reply_init(&re);
        HEAR(&re, fd);
        assert_true(body_is(&re, "data: 1\n\n: ping\n\n: ping\n\ndata: 2\n\n"));
        close(fd);
        reply_release_(&re);
        app_stop(&other, 1000);
}

/* 1,000 open streams, each of which gets its own words. */
static void serves_many_streams(void **state)
{
        (void)state;
        enum { N = 1000 };
        static int fds[N];
        struct reply re;
        for (int i = 0; i < N; i++) {
                char request[64];
                snprintf(request, sizeof(request), "GET /open?%d HTTP/1.1\r\nHost: t\r\n\r\n", i);
                fds[i] = dial(app.server);
                SAY(fds[i], request);
                WAIT_UNTIL(app_rings(&app) == (size_t)i + 1);
        }
        for (int round = 0; round < 5; round++) {
                for (int i = 0; i < N; i++) {
                        char frame[64];
                        snprintf(frame, sizeof(frame), "data: %d.%d\n\n", i, round);
                        assert_int_equal(ring_write(app.rings[i], str_c(frame)), 0);
                }
        }
        for (int i = 0; i < N; i++) {
                char want[256] = "";
                ring_end(app.rings[i], STR(""));
                ring_unref(app.rings[i]);
                reply_init(&re);
                HEAR(&re, fds[i]);
                for (int round = 0; round < 5; round++)
                        snprintf(want + strlen(want), sizeof(want) - strlen(want), "data: %d.%d\n\n", i,
                                 round);
                assert_true(body_is(&re, want));
                close(fds[i]);
                reply_release_(&re);
        }
        WAIT_UNTIL(atomic_load(&app.done) == N);
        assert_int_equal(atomic_load(&app.done_aborted), 0);
}

/* ---- Deadlines ---- */

static void ends_slow_clients(void **state)
{
        (void)state;
        struct http_config config = test_config();
        struct test_app other;
        struct reply re;
        config.header_timeout_s = 1;
        config.body_timeout_s = 1;
        config.idle_timeout_s = 1;
        config.write_timeout_s = 1;
        config.min_body_rate = 1000;
        app_start(&other, &config);
        int64_t began = clock_mono_ms();
        int headers = dial(other.server), body = dial(other.server), line = dial(other.server);
        int unread = dial(other.server);
        SAY(unread, GET("/stream"));
        SAY(headers, "GET / HTTP/1.1\r\nHost: t\r\nX: ");
        SAY(body, "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 1000\r\n\r\n");
        bool headers_open = true, body_open = true, line_open = true;
        while (headers_open || body_open || line_open) {
                assert_true(clock_mono_ms() - began < 5000);
                headers_open = headers_open && say(headers, "y", 1);
                body_open = body_open && say(body, "z", 1);
                line_open = line_open && say(line, "G", 1);
                pause_ms(100);
        }
        reply_init(&re);
        if (hear_(&re, headers, false))
                assert_int_equal(re.status, 408);
        WAIT_UNTIL(atomic_load(&other.aborts) == 1); /* of the stream nobody reads */
        struct http_stats stats;
        http_server_stats(other.server, &stats);
        assert_int_equal(stats.timeouts, 4);
        close(headers);
        close(body);
        close(line);
        close(unread);
        reply_release_(&re);
        app_stop(&other, 1000);
}

/* ---- Uploads ---- */

static void takes_large_forms(void **state)
{
        (void)state;
        static const char head[] =
                "--xyz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n";
        static const char tail[] = "\r\n--xyz--\r\n";
        const size_t megabytes = 200;
        char request[512], *zeros = mem_calloc(1, 1 << 20);
        struct reply re;
        long before = resident_kb();
        int fd = dial(app.server);
        snprintf(request, sizeof(request),
                 "POST /upload HTTP/1.1\r\nHost: t\r\nContent-Type: multipart/form-data; Boundary=\"xyz\"\r\n"
                 "Content-Length: %zu\r\n\r\n%s",
                 (megabytes << 20) + sizeof(head) - 1 + sizeof(tail) - 1, head);
        SAY(fd, request);
        for (size_t i = 0; i < megabytes; i++)
                assert_true(say(fd, zeros, 1 << 20));
        SAY(fd, tail);
        reply_init(&re);
        HEAR(&re, fd);
        assert_int_equal(re.status, 200);
        assert_int_equal(atomic_load(&app.parts), 1);
        assert_int_equal(atomic_load(&app.part_bytes), megabytes << 20);
        assert_true(atomic_load(&app.longest_piece) <= 64 * 1024);
        print_message("%zu MB form: RSS grew by %ld KB\n", megabytes, resident_kb() - before);
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
        assert_true(resident_kb() - before < 4 * 1024);
#endif
        close(fd);
        mem_free(zeros);
        reply_release_(&re);
}

/* ---- Start and stop ---- */

static void names_what_keeps_it_from_starting(void **state)
{
        (void)state;
        struct http_config config = test_config();
        struct http_app none = { .ctx = NULL };
        struct http_server *server = NULL;
        char err[200], want[64];
        config.port = http_server_port(app.server);
        assert_int_equal(http_server_start(&config, &none, &server, err, sizeof(err)), -EADDRINUSE);
        snprintf(want, sizeof(want), "cannot listen on 127.0.0.1:%d: Address already in use", config.port);
        assert_string_equal(err, want);
        config.port = 0;
        config.host = "no.such.host.invalid";
        assert_true(http_server_start(&config, &none, &server, err, sizeof(err)) < 0);
        assert_non_null(strstr(err, "no.such.host.invalid:0"));
}

static void parses_listen_addresses(void **state)
{
        (void)state;
        char host[64];
        int port = 0;
        assert_int_equal(http_listen_parse("127.0.0.1:80", host, sizeof(host), &port), 0);
        assert_string_equal(host, "127.0.0.1");
        assert_int_equal(port, 80);
        assert_int_equal(http_listen_parse("[::1]:0", host, sizeof(host), &port), 0);
        assert_string_equal(host, "::1");
        assert_int_equal(http_listen_parse("8080", host, sizeof(host), &port), 0);
        assert_string_equal(host, "");
        assert_int_equal(port, 8080);
        const char *bad[] = { "", "a:", "a:b", "a:70000", "::1:80", "a:-1" };
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                assert_int_equal(http_listen_parse(bad[i], host, sizeof(host), &port), -EINVAL);
}

static void *answer_parked(void *arg)
{
        struct test_app *a = arg;
        WAIT_UNTIL(atomic_load(&a->aborts) == 21);
        for (size_t i = 0; i < a->n_parked; i++)
                http_reply(a->parked[i], 200, NULL, 0, STR("late"));
        return NULL;
}

/* Streams, sleepers and half-sent bodies at once; the grace is too short for them. */
static void stops_with_open_requests(void **state)
{
        (void)state;
        struct http_config config = test_config();
        struct test_app other;
        int fds[23];
        pthread_t replier;
        app_start(&other, &config);
        for (int i = 0; i < 21; i++) {
                fds[i] = dial(other.server);
                SAY(fds[i], i < 20 ? GET("/open") : GET("/park"));
        }
        WAIT_UNTIL(app_rings(&other) == 20 && app_parked(&other) == 1);
        fds[21] = dial(other.server);
        SAY(fds[21], "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nabc");
        fds[22] = dial(other.server);
        pause_ms(50);
        pthread_create(&replier, NULL, answer_parked, &other);
        app_stop(&other, 100);
        pthread_join(replier, NULL);
        assert_int_equal(atomic_load(&other.done), 22);
        assert_int_equal(atomic_load(&other.done_aborted), 22);
        for (int i = 0; i < 23; i++)
                close(fds[i]);
        for (int i = 0; i < 20; i++) {
                assert_true(ring_cancelled(other.rings[i]));
                ring_unref(other.rings[i]);
        }
}

static void lets_requests_finish(void **state)
{
        (void)state;
        struct http_config config = test_config();
        struct test_app other;
        struct reply re;
        app_start(&other, &config);
        int fd = dial(other.server);
        SAY(fd, GET("/async?300"));
        pause_ms(50);
        int64_t began = clock_mono_ms();
        app_stop(&other, 5000);
        assert_in_range(clock_mono_ms() - began, 200, 3000);
        reply_init(&re);
        HEAR(&re, fd);
        assert_true(body_is(&re, "later"));
        assert_string_equal(header_of(&re, "Connection"), "close");
        close(fd);
        reply_release_(&re);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(keeps_alive, start, stop),
                cmocka_unit_test_setup_teardown(pipelines, start, stop),
                cmocka_unit_test_setup_teardown(reads_bodies, start, stop),
                cmocka_unit_test_setup_teardown(answers_heads_and_old_clients, start, stop),
                cmocka_unit_test_setup_teardown(replies_once, start, stop),
                cmocka_unit_test_setup_teardown(sends_big_buffers, start, stop),
                cmocka_unit_test_setup_teardown(streams_of_known_length, start, stop),
                cmocka_unit_test_setup_teardown(refuses_in_our_words, start, stop),
                cmocka_unit_test_setup_teardown(refuses_large_headers, start, stop),
                cmocka_unit_test_setup_teardown(refuses_amid_large_bodies, start, stop),
                cmocka_unit_test(answers_preflights),
                cmocka_unit_test_setup_teardown(sees_disconnects, start, stop),
                cmocka_unit_test_setup_teardown(cancels_streams_of_the_gone, start, stop),
                cmocka_unit_test_setup_teardown(closes_ended_streams, start, stop),
                cmocka_unit_test_setup_teardown(streams_in_bounded_memory, start, stop),
                cmocka_unit_test_setup_teardown(keeps_frames_whole, start, stop),
                cmocka_unit_test(pings_silent_streams),
                cmocka_unit_test_setup_teardown(serves_many_streams, start, stop),
                cmocka_unit_test(ends_slow_clients),
                cmocka_unit_test_setup_teardown(takes_large_forms, start, stop),
                cmocka_unit_test_setup_teardown(names_what_keeps_it_from_starting, start, stop),
                cmocka_unit_test(parses_listen_addresses),
                cmocka_unit_test(stops_with_open_requests),
                cmocka_unit_test(lets_requests_finish),
        };
        signal(SIGPIPE, SIG_IGN);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
