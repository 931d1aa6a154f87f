/* TLS in front of the HTTP server. MHD's own TLS cannot demand client certificates and stalls upgraded
 * sockets, so a few threads terminate TLS with OpenSSL and pump plain bytes through one socket pair a
 * connection, whose other end MHD serves like any accepted socket. Each link belongs to one thread for its
 * whole life. */
#include "http/internal.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"
#include "base/thread.h"

#define PIECE (16 * 1024)
#define MAX_PIECES 64 /* moved for one link before the others get their turn */
#define SWEEP_MS 250
#define CLOSING_MS 5000 /* for a client to close after us */
#define FLUSH_MS 500    /* at the end, for what MHD wrote last */
#define ACCEPT_BATCH 16

struct link;

struct end {
        struct link *link;
        int fd; /* -1: not open yet */
};

/* One connection. Bytes that could not be passed on wait in `up` (to MHD) or `down` (to the client); an idle
 * link holds no buffers. */
struct link {
        struct link *prev, *next;
        struct link *next_ready; /* to be pumped again without a new event */
        struct end client, inner;
        SSL *ssl;
        struct buf up, down;
        int64_t deadline_ms; /* of the handshake or of the client's close; 0: none */
        bool client_eof, inner_eof, inner_gone, up_closed, down_closed, dead, ready;
        struct sockaddr_storage peer;
        socklen_t peer_n;
};

struct pump {
        struct tls_front *front;
        pthread_t thread;
        int epoll_fd, wake_fd;
        bool listening;
        struct link *links, *ready, *dead;
        char piece[PIECE];
};

struct tls_front {
        SSL_CTX *ctx;
        int listen_fd, max_connections, handshake_ms;
        int (*deliver)(void *ctx, int fd, const struct sockaddr *peer, socklen_t n);
        void *deliver_ctx;
        pthread_mutex_t lock; /* makes deliver and the end of accepting exclude each other */
        atomic_bool accepting, stop;
        atomic_int open;
        int n_pumps;
        struct pump pumps[];
};

/* ---- Links ---- */

static void link_kill(struct pump *p, struct link *l)
{
        if (l->dead)
                return;
        l->dead = true;
        if (l->prev)
                l->prev->next = l->next;
        else
                p->links = l->next;
        if (l->next)
                l->next->prev = l->prev;
        /* Freed after the batch: later events of it may still point here. */
        l->next = p->dead;
        p->dead = l;
        close(l->client.fd);
        if (l->inner.fd >= 0)
                close(l->inner.fd);
        atomic_fetch_sub(&p->front->open, 1);
}

static void link_free(struct link *l)
{
        SSL_free(l->ssl);
        buf_release(&l->up);
        buf_release(&l->down);
        mem_free(l);
}

static int watch_end(struct pump *p, struct end *e)
{
        struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = e };
        return epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, e->fd, &event);
}

/* Takes fd. */
static void link_open(struct pump *p, int fd, const struct sockaddr_storage *peer, socklen_t peer_n)
{
        struct link *l = mem_calloc(1, sizeof(*l));
        SSL *ssl = l ? SSL_new(p->front->ctx) : NULL;
        if (!ssl || !SSL_set_fd(ssl, fd)) {
                SSL_free(ssl);
                mem_free(l);
                close(fd);
                return;
        }
        SSL_set_accept_state(ssl);
        l->ssl = ssl;
        l->client = (struct end){ l, fd };
        l->inner = (struct end){ l, -1 };
        l->peer = *peer;
        l->peer_n = peer_n;
        l->deadline_ms = clock_mono_ms() + p->front->handshake_ms;
        buf_init(&l->up, PIECE);
        buf_init(&l->down, PIECE);
        l->next = p->links;
        if (l->next)
                l->next->prev = l;
        p->links = l;
        atomic_fetch_add(&p->front->open, 1);
        if (watch_end(p, &l->client))
                link_kill(p, l);
}

/* The handshake is done: MHD gets its end. */
static int link_deliver(struct pump *p, struct link *l)
{
        struct tls_front *t = p->front;
        int pair[2], rc = -ESHUTDOWN;
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair))
                return -errno;
        l->inner.fd = pair[0];
        l->deadline_ms = 0;
        pthread_mutex_lock(&t->lock);
        if (atomic_load(&t->accepting))
                rc = t->deliver(t->deliver_ctx, pair[1], (struct sockaddr *)&l->peer, l->peer_n);
        else
                close(pair[1]);
        pthread_mutex_unlock(&t->lock);
        return rc ? rc : watch_end(p, &l->inner);
}

/* ---- Pumping. Each step returns whether it moved something. ---- */

static bool must_wait(struct link *l, int rc)
{
        int why = SSL_get_error(l->ssl, rc);
        return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE;
}

/* Sends what it can; keeps the rest in l->up. False when MHD's end is closed. */
static bool send_inner(struct link *l, const char *p, size_t n)
{
        ssize_t sent = send(l->inner.fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno != EAGAIN && errno != EINTR)
                return false;
        size_t done = sent > 0 ? (size_t)sent : 0;
        if (p == l->up.p)
                buf_consume(&l->up, done);
        else
                buf_add(&l->up, p + done, n - done);
        if (!l->up.n)
                buf_release(&l->up);
        return true;
}

static bool pump_up(struct pump *p, struct link *l)
{
        size_t before = l->up.n;
        if (before) {
                if (!send_inner(l, l->up.p, l->up.n)) {
                        l->inner_gone = true;
                        buf_release(&l->up);
                }
                return l->up.n < before;
        }
        if (l->client_eof)
                return false;
        ERR_clear_error();
        int n = SSL_read(l->ssl, p->piece, PIECE);
        if (n > 0) {
                if (!l->inner_gone && !send_inner(l, p->piece, (size_t)n))
                        l->inner_gone = true;
                return true;
        }
        if (must_wait(l, n))
                return false;
        l->client_eof = true;
        return true;
}

static bool pump_down(struct pump *p, struct link *l)
{
        bool fresh = !l->down.n;
        if (fresh) {
                ssize_t got = l->inner_eof ? -1 : recv(l->inner.fd, p->piece, PIECE, MSG_DONTWAIT);
                if (!l->inner_eof && (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))) {
                        l->inner_eof = true;
                        return true;
                }
                if (got <= 0)
                        return false;
                buf_add(&l->down, p->piece, (size_t)got);
        }
        ERR_clear_error();
        int n = SSL_write(l->ssl, l->down.p, (int)l->down.n);
        if (n > 0)
                buf_consume(&l->down, (size_t)n);
        else if (!must_wait(l, n))
                link_kill(p, l);
        if (!l->down.n)
                buf_release(&l->down);
        return !l->dead && (n > 0);
}

/* Passes an end of stream on once what came before it has been. */
static void pump_ends(struct pump *p, struct link *l)
{
        if (l->client_eof && !l->up.n && !l->up_closed) {
                l->up_closed = true;
                shutdown(l->inner.fd, SHUT_WR);
        }
        if (l->inner_eof && !l->down.n && !l->down_closed) {
                l->down_closed = true;
                ERR_clear_error();
                SSL_shutdown(l->ssl);
                shutdown(l->client.fd, SHUT_WR);
                l->deadline_ms = clock_mono_ms() + CLOSING_MS;
        }
        if (l->down_closed && (l->up_closed || l->inner_gone))
                link_kill(p, l);
}

static bool handshaken(struct pump *p, struct link *l)
{
        if (l->inner.fd >= 0)
                return true;
        ERR_clear_error();
        int rc = SSL_do_handshake(l->ssl);
        if (rc == 1 && link_deliver(p, l) == 0)
                return true;
        if (rc == 1 || !must_wait(l, rc))
                link_kill(p, l);
        return false;
}

/* Moves bytes both ways until nothing moves; events are edge-triggered, so it must not stop early but for the
 * others' sake, and then comes back. */
static void link_pump(struct pump *p, struct link *l)
{
        bool moved = true;
        if (l->dead || !handshaken(p, l))
                return;
        for (int i = 0; i < MAX_PIECES && moved && !l->dead; i++) {
                moved = pump_up(p, l);
                if (!l->dead)
                        moved |= pump_down(p, l);
        }
        if (!l->dead)
                pump_ends(p, l);
        if (moved && !l->dead && !l->ready) {
                l->ready = true;
                l->next_ready = p->ready;
                p->ready = l;
        }
}

/* ---- Threads ---- */

static void listen_switch(struct pump *p, bool on)
{
        struct epoll_event event = { .events = EPOLLIN | EPOLLEXCLUSIVE, .data.ptr = p };
        if (on != p->listening)
                epoll_ctl(p->epoll_fd, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, p->front->listen_fd, &event);
        p->listening = on;
}

static void accept_some(struct pump *p)
{
        struct tls_front *t = p->front;
        struct sockaddr_storage peer;
        for (int i = 0; i < ACCEPT_BATCH; i++) {
                socklen_t n = sizeof(peer);
                bool full = atomic_load(&t->open) >= t->max_connections;
                int fd = full ? -1
                              : accept4(t->listen_fd, (struct sockaddr *)&peer, &n,
                                        SOCK_CLOEXEC | SOCK_NONBLOCK);
                if (fd >= 0) {
                        link_open(p, fd, &peer, n);
                        continue;
                }
                /* No descriptors or no room: look again at the next sweep instead of spinning. */
                if (full || (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED))
                        listen_switch(p, false);
                return;
        }
}

static void sweep(struct pump *p)
{
        int64_t now = clock_mono_ms();
        for (struct link *l = p->links, *next; l; l = next) {
                next = l->next;
                if (l->deadline_ms && now > l->deadline_ms)
                        link_kill(p, l);
        }
        bool room = atomic_load(&p->front->open) < p->front->max_connections;
        listen_switch(p, room && atomic_load(&p->front->accepting));
}

static void bury(struct pump *p)
{
        while (p->dead) {
                struct link *l = p->dead;
                p->dead = l->next;
                link_free(l);
        }
}

static void pump_ready(struct pump *p)
{
        struct link *l = p->ready;
        p->ready = NULL;
        while (l) {
                struct link *next = l->next_ready;
                l->ready = false;
                link_pump(p, l);
                l = next;
        }
}

static void on_event(struct pump *p, const struct epoll_event *event)
{
        struct end *e = event->data.ptr;
        if (event->data.ptr == p) {
                accept_some(p);
        } else if (e) {
                if (e == &e->link->inner && (event->events & (EPOLLHUP | EPOLLERR)))
                        e->link->inner_gone = true;
                link_pump(p, e->link);
        }
}

static void *pump_main(void *arg)
{
        struct pump *p = arg;
        struct epoll_event events[64];
        int64_t next_sweep = 0;
        while (!atomic_load(&p->front->stop)) {
                int n = epoll_wait(p->epoll_fd, events, 64, p->ready ? 0 : SWEEP_MS);
                for (int i = 0; i < n; i++)
                        on_event(p, &events[i]);
                pump_ready(p);
                if (clock_mono_ms() >= next_sweep || !atomic_load(&p->front->accepting)) {
                        sweep(p);
                        next_sweep = clock_mono_ms() + SWEEP_MS;
                }
                if (!p->ready)
                        bury(p);
        }
        while (p->links)
                link_kill(p, p->links);
        bury(p);
        return NULL;
}

static int pump_start(struct tls_front *t, struct pump *p)
{
        struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.ptr = NULL };
        p->front = t;
        p->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        p->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        int rc = 0;
        if (p->epoll_fd < 0 || p->wake_fd < 0 || epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, p->wake_fd, &event))
                rc = -errno;
        if (!rc)
                rc = thread_start(&p->thread, "tls", pump_main, p);
        if (!rc)
                return 0;
        if (p->epoll_fd >= 0)
                close(p->epoll_fd);
        if (p->wake_fd >= 0)
                close(p->wake_fd);
        return rc;
}

/* ---- Set-up ---- */

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_n, const unsigned char *in,
                           unsigned in_n, void *arg)
{
        static const unsigned char ours[] = "\x08http/1.1";
        unsigned char *chosen;
        (void)ssl, (void)arg;
        if (SSL_select_next_proto(&chosen, out_n, ours, sizeof(ours) - 1, in, in_n) != OPENSSL_NPN_NEGOTIATED)
                return SSL_TLSEXT_ERR_ALERT_FATAL;
        *out = chosen;
        return SSL_TLSEXT_ERR_OK;
}

static SSL_CTX *context_fail(SSL_CTX *ctx, const char *what, const char *file, char *err, size_t errn)
{
        unsigned long code = ERR_peek_error();
        const char *reason =
                ERR_SYSTEM_ERROR(code) ? strerror(ERR_GET_REASON(code)) : ERR_reason_error_string(code);
        snprintf(err, errn, "TLS: cannot use %s %s: %s", what, file, reason ? reason : "unknown error");
        SSL_CTX_free(ctx);
        return NULL;
}

static SSL_CTX *context_new(const struct http_config *config, char *err, size_t errn)
{
        ERR_clear_error();
        SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
        if (!ctx)
                return context_fail(NULL, "OpenSSL", "", err, errn);
        SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
        SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF);
        SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                      SSL_MODE_RELEASE_BUFFERS);
        SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, NULL);
        SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"cairn", 5);
        if (SSL_CTX_use_certificate_chain_file(ctx, config->tls_cert) != 1)
                return context_fail(ctx, "certificate", config->tls_cert, err, errn);
        if (SSL_CTX_use_PrivateKey_file(ctx, config->tls_key, SSL_FILETYPE_PEM) != 1 ||
            SSL_CTX_check_private_key(ctx) != 1)
                return context_fail(ctx, "key", config->tls_key, err, errn);
        if (!config->tls_client_ca)
                return ctx;
        STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(config->tls_client_ca);
        if (!names || SSL_CTX_load_verify_locations(ctx, config->tls_client_ca, NULL) != 1) {
                sk_X509_NAME_pop_free(names, X509_NAME_free);
                return context_fail(ctx, "client CA", config->tls_client_ca, err, errn);
        }
        SSL_CTX_set_client_CA_list(ctx, names);
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
        return ctx;
}

struct tls_front *tls_start(const struct http_config *config, int listen_fd,
                            int (*deliver)(void *ctx, int fd, const struct sockaddr *peer, socklen_t n),
                            void *ctx, char *err, size_t errn)
{
        SSL_CTX *ssl_ctx = context_new(config, err, errn);
        if (!ssl_ctx)
                return NULL;
        struct tls_front *t = mem_calloc(1, sizeof(*t) + (size_t)config->threads * sizeof(t->pumps[0]));
        if (!t) {
                SSL_CTX_free(ssl_ctx);
                snprintf(err, errn, "out of memory");
                return NULL;
        }
        t->ctx = ssl_ctx;
        t->listen_fd = listen_fd;
        t->max_connections = config->max_connections;
        t->handshake_ms = config->header_timeout_s * 1000;
        t->deliver = deliver;
        t->deliver_ctx = ctx;
        atomic_init(&t->accepting, true);
        pthread_mutex_init(&t->lock, NULL);
        for (int i = 0; i < config->threads; i++) {
                int rc = pump_start(t, &t->pumps[i]);
                if (rc) {
                        snprintf(err, errn, "cannot start a TLS thread: %s", strerror(-rc));
                        tls_stop(t);
                        return NULL;
                }
                t->n_pumps++;
        }
        return t;
}

static void wake_all(struct tls_front *t)
{
        uint64_t one = 1;
        for (int i = 0; i < t->n_pumps; i++)
                (void)!write(t->pumps[i].wake_fd, &one, sizeof(one));
}

void tls_stop_accept(struct tls_front *t)
{
        pthread_mutex_lock(&t->lock);
        atomic_store(&t->accepting, false);
        pthread_mutex_unlock(&t->lock);
        wake_all(t);
}

void tls_stop(struct tls_front *t)
{
        if (!t)
                return;
        /* The last bytes of connections that MHD has closed are still on their way. */
        const struct timespec pause = { .tv_nsec = 2 * 1000 * 1000 };
        for (int64_t until = clock_mono_ms() + FLUSH_MS; atomic_load(&t->open) && clock_mono_ms() < until;)
                nanosleep(&pause, NULL);
        atomic_store(&t->stop, true);
        wake_all(t);
        for (int i = 0; i < t->n_pumps; i++) {
                pthread_join(t->pumps[i].thread, NULL);
                close(t->pumps[i].epoll_fd);
                close(t->pumps[i].wake_fd);
        }
        pthread_mutex_destroy(&t->lock);
        SSL_CTX_free(t->ctx);
        mem_free(t);
}
