/* Whatever bytes follow a handshake, and however they are cut: messages that come out are UTF-8 and within
 * bounds, each connection ends exactly once, nothing leaks. Input: a byte that says how long the pieces are,
 * then the bytes. */
#include "http/websocket.c" /* allowed: its loop is run by hand here */

#include <signal.h>
#include <stdlib.h>

#define MESSAGE_MAX 2000

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static struct http_server server;
static struct ws_hub hub;
static int opened, closed;

static void keep(void *ctx, struct ws *w)
{
        *(struct ws **)ctx = w;
        ws_ref(w);
        opened++;
}

static void check(void *ctx, struct ws *w, bool text, struct str data)
{
        (void)ctx;
        if (data.n > MESSAGE_MAX || (text && !str_is_utf8(data)))
                abort();
        ws_send(w, data);
        if (data.n == 3)
                ws_close(w, WS_POLICY, "three");
}

static void count(void *ctx, struct ws *w, int code)
{
        (void)ctx, (void)w;
        if (code < 1000 && code != 0)
                abort();
        closed++;
}

static void start_once(void)
{
        static bool started;
        if (started)
                return;
        started = true;
        signal(SIGPIPE, SIG_IGN);
        server.config = HTTP_CONFIG_DEFAULTS;
        hub.server = &server;
        hub.n_loops = 1;
        struct ws_loop *l = &hub.loops[0];
        l->hub = &hub;
        pthread_mutex_init(&l->lock, NULL);
        l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (watch_start(&server) || l->epoll_fd < 0 || l->wake_fd < 0)
                abort();
}

static void discard(int fd)
{
        char buffer[4096];
        while (recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT) > 0)
                ;
}

/* One turn of the loop, as far as the connection is still there. */
static void turn(struct ws *w, uint32_t events)
{
        if (closed < opened)
                on_event(w, events);
        take_messages(w->loop);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
        int pair[2];
        struct ws *w = NULL;
        start_once();
        struct ws_upgrade *u = mem_calloc(1, sizeof(*u));
        if (!n || !u || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair)) {
                mem_free(u);
                return 0;
        }
        *u = (struct ws_upgrade){ .options = { MESSAGE_MAX, 0 },
                                  .handler = { keep, check, NULL, NULL, NULL, count },
                                  .ctx = &w };
        size_t piece = (size_t)bytes[0] + 1;
        ws_open(&hub, pair[0], u);
        take_messages(&hub.loops[0]);
        for (size_t at = 1; at < n; at += piece) {
                size_t k = n - at < piece ? n - at : piece;
                if (send(pair[1], bytes + at, k, MSG_NOSIGNAL) < 0)
                        break;
                turn(w, EPOLLIN);
                discard(pair[1]);
        }
        close(pair[1]);
        turn(w, EPOLLIN);
        turn(w, EPOLLIN | EPOLLHUP);
        if (closed != opened)
                abort();
        ws_unref(w);
        return 0;
}
