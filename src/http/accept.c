/* Accepts connections and hands them to MHD, which would accept by itself but has two traps there (0.9.75).
 * MHD_quiesce_daemon() and a thread of MHD that is at work both take the listening socket out of the thread's
 * epoll set, and the one that comes second ends the process. And a thread that finds its limit of connections
 * reached only when it takes one over leaves a mutex locked. So MHD has neither a listening socket nor a
 * limit that it could reach: both are kept here. */
#include "http/internal.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "base/mem.h"
#include "base/thread.h"

#define FULL_MS 20    /* between two looks whether there is room again */
#define BATCH 64      /* accepted between two looks whether to stop */
#define SETTLE_MS 500 /* within that MHD has begun what it was given, or never will */

struct acceptor {
        struct http_server *server;
        pthread_t thread;
        int stop_fd;
        unsigned long long handed; /* given to MHD; more than `started` while it is on the way */
};

static bool full(const struct acceptor *a)
{
        long coming =
                (long)(a->handed - atomic_load(&a->server->started)); /* read first: rather one too many */
        return coming + atomic_load(&a->server->connections) >= a->server->config.max_connections;
}

/* Accepts what waits. False when it is better to pause: there is no room, or no descriptor to be had. */
static bool accept_waiting(struct acceptor *a)
{
        struct sockaddr_storage peer;
        for (int i = 0; i < BATCH; i++) {
                if (full(a))
                        return false;
                socklen_t n = sizeof(peer);
                int fd = accept4(a->server->listen_fd, (struct sockaddr *)&peer, &n,
                                 SOCK_CLOEXEC | SOCK_NONBLOCK);
                if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
                        continue;
                if (fd < 0)
                        return errno == EAGAIN;
                if (http_deliver(a->server, fd, (struct sockaddr *)&peer, n) == 0)
                        a->handed++;
        }
        return true;
}

static void *accept_main(void *arg)
{
        struct acceptor *a = arg;
        bool paused = false;
        for (;;) {
                struct pollfd fds[] = { { .fd = a->stop_fd, .events = POLLIN },
                                        { .fd = a->server->listen_fd, .events = POLLIN } };
                int n = poll(fds, paused ? 1 : 2, paused ? FULL_MS : SETTLE_MS);
                if (fds[0].revents)
                        return NULL;
                if (paused || n > 0)
                        paused = !accept_waiting(a);
                else if (n == 0)
                        a->handed = atomic_load(&a->server->started);
        }
}

int accept_start(struct http_server *s)
{
        struct acceptor *a = mem_calloc(1, sizeof(*a));
        if (!a)
                return -ENOMEM;
        a->server = s;
        a->stop_fd = eventfd(0, EFD_CLOEXEC);
        int rc = a->stop_fd < 0 ? -errno : thread_start(&a->thread, "http-accept", accept_main, a);
        if (rc) {
                if (a->stop_fd >= 0)
                        close(a->stop_fd);
                mem_free(a);
                return rc;
        }
        s->acceptor = a;
        return 0;
}

void accept_stop(struct http_server *s)
{
        struct acceptor *a = s->acceptor;
        uint64_t one = 1;
        if (!a)
                return;
        while (write(a->stop_fd, &one, sizeof(one)) < 0 && errno == EINTR)
                ;
        pthread_join(a->thread, NULL);
        close(a->stop_fd);
        mem_free(a);
        s->acceptor = NULL;
}
