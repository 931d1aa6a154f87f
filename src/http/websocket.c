#include "http/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <wslay/wslay.h>
#include "base/clock.h"
#include "base/mem.h"
#include "base/thread.h"
#include "http/ws_internal.h"

#define THREADS 2
#define EVENTS 64
#define TICK_MS 1000
#define READ_BUDGET ((size_t)256 * 1024) /* of one connection before others have their turn */
#define SOFT_MAX ((size_t)256 * 1024)    /* queued: the writer is asked to pause */
#define HARD_MAX ((size_t)64 << 20)      /* queued: the connection is broken */
#define WSLAY_MAX ((size_t)64 * 1024)    /* handed to libwslay, which copies, at a time */
#define FRAMES_MAX 4096                  /* with libwslay; more are answers to a flood of pings */
#define FAREWELL_MS 5000                 /* for the peer's close frame */
#define LAST_FAREWELL_MS 1000            /* the same when the server stops */
#define REASON_MAX 123                   /* RFC 6455, section 5.5 */

struct message {
        struct message *next;
        size_t n;
        char data[];
};

/* One connection. It belongs to one thread of the hub; what other threads touch is under the lock. */
struct ws {
        atomic_int refs;
        struct ws_loop *loop;
        struct ws_handler handler;
        struct ws_options options;
        void *ctx;
        atomic_bool held; /* ws_hold() */
        /* The loop's. */
        struct ws *next, **prev;
        int fd;
        wslay_event_context_ptr wslay;
        uint32_t events;                       /* epoll's */
        size_t budget;                         /* left to read in this turn */
        int64_t opened_ms, heard_ms, moved_ms; /* moved: the queue last gave bytes to the socket */
        int64_t farewell_ms;                   /* when its closing is given up; 0: it is not closing */
        int code;                              /* how it ends */
        bool broken, gone, pinged, aged, farewell;
        /* Under the loop's lock; in words of their own, since compilers read neighbours together. */
        struct ws *dirty_next; /* on the loop's list */
        bool dirty;
        /* Under the lock. */
        pthread_mutex_t lock;
        struct message *queue, **queue_end;
        size_t queued;
        bool paused; /* a writer waits for room */
        bool overrun, dead;
        int close_code; /* asked for; 0: none */
        char reason[REASON_MAX + 1];
};

struct ws_loop {
        struct ws_hub *hub;
        pthread_t thread;
        int epoll_fd, wake_fd;
        struct ws *all;
        pthread_mutex_t lock; /* of what follows */
        struct ws *incoming, *dirty;
};

struct ws_hub {
        struct http_server *server;
        struct ws_loop loops[THREADS];
        size_t n_loops;
        atomic_uint turn;
        atomic_long open;
        atomic_bool draining, stopping;
};

/* ---- references ---- */

void ws_ref(struct ws *w)
{
        atomic_fetch_add(&w->refs, 1);
}

void ws_unref(struct ws *w)
{
        if (!w || atomic_fetch_sub(&w->refs, 1) != 1)
                return;
        while (w->queue) {
                struct message *m = w->queue;
                w->queue = m->next;
                mem_free(m);
        }
        wslay_event_context_free(w->wslay);
        pthread_mutex_destroy(&w->lock);
        mem_free(w);
}

/* ---- from any thread ---- */

static void wake(struct ws_loop *l)
{
        uint64_t one = 1;
        ssize_t n = write(l->wake_fd, &one, sizeof(one)); /* full only when the loop is to wake already */
        (void)n;
}

/* Asks the loop to look at w. The list holds a reference. */
static void make_dirty(struct ws *w)
{
        struct ws_loop *l = w->loop;
        pthread_mutex_lock(&l->lock);
        bool fresh = !w->dirty;
        if (fresh) {
                ws_ref(w);
                w->dirty = true;
                w->dirty_next = l->dirty;
                l->dirty = w;
        }
        pthread_mutex_unlock(&l->lock);
        if (fresh)
                wake(l);
}

int ws_send(struct ws *w, struct str text)
{
        struct message *m = mem_alloc(sizeof(*m) + text.n);
        if (!m)
                return -ENOMEM;
        m->next = NULL;
        m->n = text.n;
        memcpy(m->data, text.p, text.n);
        pthread_mutex_lock(&w->lock);
        int rc = w->dead || w->close_code || w->overrun ? -EPIPE : 0;
        if (rc == 0) {
                *w->queue_end = m;
                w->queue_end = &m->next;
                w->queued += m->n;
                w->overrun = w->queued > HARD_MAX;
                if (w->queued > SOFT_MAX) {
                        w->paused = true;
                        rc = -EAGAIN;
                }
        }
        pthread_mutex_unlock(&w->lock);
        if (rc == -EPIPE)
                mem_free(m);
        else
                make_dirty(w);
        return rc;
}

static bool is_dead(struct ws *w)
{
        pthread_mutex_lock(&w->lock);
        bool dead = w->dead;
        pthread_mutex_unlock(&w->lock);
        return dead;
}

void ws_hold(struct ws *w, bool hold)
{
        atomic_store(&w->held, hold);
        if (!is_dead(w)) /* who holds a reference may outlive the loop */
                make_dirty(w);
}

void ws_close(struct ws *w, int code, const char *reason)
{
        pthread_mutex_lock(&w->lock);
        bool dead = w->dead; /* as above */
        if (!w->close_code) {
                w->close_code = code;
                snprintf(w->reason, sizeof(w->reason), "%s", reason);
        }
        pthread_mutex_unlock(&w->lock);
        if (!dead)
                make_dirty(w);
}

/* ---- what libwslay asks ---- */

/* Not while it is held, unless it is closing: the peer's farewell is to be heard. Nor from a client that
 * sends pings and reads no pongs, which makes the queue grow. */
static bool may_read(const struct ws *w)
{
        return wslay_event_get_queued_msg_count(w->wslay) <= FRAMES_MAX &&
               (!atomic_load(&w->held) || w->farewell_ms);
}

static ssize_t on_recv(wslay_event_context_ptr ctx, uint8_t *p, size_t n, int flags, void *user)
{
        struct ws *w = user;
        (void)flags;
        bool now = w->budget && may_read(w); /* a message may just have made it held */
        ssize_t got = now ? recv(w->fd, p, n, MSG_DONTWAIT) : -1;
        if (got > 0) {
                w->heard_ms = clock_mono_ms();
                w->pinged = false;
                w->budget -= (size_t)got < w->budget ? (size_t)got : w->budget;
                return got;
        }
        bool later = !now || (got < 0 && (errno == EAGAIN || errno == EINTR));
        w->gone = !later;
        wslay_event_set_error(ctx, later ? WSLAY_ERR_WOULDBLOCK : WSLAY_ERR_CALLBACK_FAILURE);
        return -1;
}

static ssize_t on_send(wslay_event_context_ptr ctx, const uint8_t *p, size_t n, int flags, void *user)
{
        struct ws *w = user;
        ssize_t sent =
                send(w->fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL | (flags & WSLAY_MSG_MORE ? MSG_MORE : 0));
        if (sent > 0) {
                w->moved_ms = clock_mono_ms();
                return sent;
        }
        bool later = sent < 0 && (errno == EAGAIN || errno == EINTR);
        wslay_event_set_error(ctx, later ? WSLAY_ERR_WOULDBLOCK : WSLAY_ERR_CALLBACK_FAILURE);
        return -1;
}

/* A close frame of one byte has no code (RFC 6455, section 5.5.1); libwslay would answer it in kind. */
static void on_frame(wslay_event_context_ptr ctx, const struct wslay_event_on_frame_recv_start_arg *f,
                     void *user)
{
        (void)user;
        if (f->opcode == WSLAY_CONNECTION_CLOSE && f->payload_length == 1)
                wslay_event_queue_close(ctx, WSLAY_CODE_PROTOCOL_ERROR, NULL, 0);
}

static void on_message(wslay_event_context_ptr ctx, const struct wslay_event_on_msg_recv_arg *m, void *user)
{
        struct ws *w = user;
        (void)ctx;
        if (m->opcode == WSLAY_CONNECTION_CLOSE) {
                w->code = m->status_code ? m->status_code : 1005;
                w->farewell = true;
        } else if (!w->farewell_ms && (m->opcode == WSLAY_TEXT_FRAME || m->opcode == WSLAY_BINARY_FRAME)) {
                w->handler.message(w->ctx, w, m->opcode == WSLAY_TEXT_FRAME,
                                   (struct str){ m->msg ? (const char *)m->msg : "", m->msg_length });
        }
}

/* ---- a connection on its loop ---- */

/* The next queued message, and whether the writer may go on; NULL: none, or libwslay has enough. */
static struct message *next_message(struct ws *w, bool *ret_room)
{
        pthread_mutex_lock(&w->lock);
        struct message *m = wslay_event_get_queued_msg_length(w->wslay) < WSLAY_MAX ? w->queue : NULL;
        if (m) {
                w->queue = m->next;
                if (!w->queue)
                        w->queue_end = &w->queue;
                w->queued -= m->n;
        }
        *ret_room = w->paused && w->queued <= SOFT_MAX / 2;
        if (*ret_room)
                w->paused = false;
        pthread_mutex_unlock(&w->lock);
        return m;
}

/* Starts the closing handshake when it was asked for and all before it is with libwslay. */
static void begin_close(struct ws *w)
{
        char reason[REASON_MAX + 1];
        pthread_mutex_lock(&w->lock);
        int code = w->queue ? 0 : w->close_code;
        memcpy(reason, w->reason, sizeof(reason));
        pthread_mutex_unlock(&w->lock);
        if (!code || w->farewell_ms)
                return;
        w->code = code;
        w->farewell_ms =
                clock_mono_ms() + (atomic_load(&w->loop->hub->stopping) ? LAST_FAREWELL_MS : FAREWELL_MS);
        wslay_event_queue_close(w->wslay, (uint16_t)code, (const uint8_t *)reason, strlen(reason));
}

static void ask_for(struct ws *w, uint32_t events)
{
        struct epoll_event e = { .events = events, .data.ptr = w };
        if (w->events != events && epoll_ctl(w->loop->epoll_fd, EPOLL_CTL_MOD, w->fd, &e) == 0)
                w->events = events;
}

/* Moves queued messages to the socket as far as it takes them. */
static void push(struct ws *w)
{
        bool more = true, room = false;
        while (more && !w->broken) {
                struct message *m = next_message(w, &room);
                if (m) {
                        struct wslay_event_msg frame = { WSLAY_TEXT_FRAME, (const uint8_t *)m->data, m->n };
                        w->broken = wslay_event_queue_msg(w->wslay, &frame) == WSLAY_ERR_NOMEM;
                        mem_free(m);
                }
                if (room && w->handler.room)
                        w->handler.room(w->ctx, w);
                begin_close(w);
                if (wslay_event_want_write(w->wslay) && wslay_event_send(w->wslay))
                        w->broken = true;
                more = m != NULL;
        }
}

static void set_dead(struct ws *w)
{
        pthread_mutex_lock(&w->lock);
        w->dead = true;
        pthread_mutex_unlock(&w->lock);
}

/* The end: the socket is closed and the handler told. After a farewell the socket is read for a moment more,
 * so that it is not lost to a reset that unread bytes cause. */
static void finish(struct ws *w, bool orderly)
{
        set_dead(w);
        epoll_ctl(w->loop->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
        if (orderly && shutdown(w->fd, SHUT_WR) == 0)
                watch_linger(w->loop->hub->server, w->fd);
        else
                close(w->fd);
        *w->prev = w->next;
        if (w->next)
                w->next->prev = w->prev;
        w->handler.closed(w->ctx, w, w->code);
        atomic_fetch_sub(&w->loop->hub->open, 1);
        ws_unref(w);
}

/* After anything happened: writes what waits, and ends what is over. */
static void settle(struct ws *w)
{
        pthread_mutex_lock(&w->lock);
        bool overrun = w->overrun;
        pthread_mutex_unlock(&w->lock);
        if (!w->broken && !overrun)
                push(w);
        bool over = !wslay_event_want_read(w->wslay) && !wslay_event_want_write(w->wslay);
        if (w->broken || overrun || over) {
                if (!over)
                        w->code = WS_ABNORMAL;
                else if (!w->farewell)
                        w->code = wslay_event_get_status_code_sent(w->wslay);
                finish(w, over);
                return;
        }
        ask_for(w, (wslay_event_want_read(w->wslay) && may_read(w) ? EPOLLIN : 0u) |
                           (wslay_event_want_write(w->wslay) ? EPOLLOUT : 0u));
}

/* Framing that libwslay cannot go on from: it asks for a close frame without a code, and the peer deserves
 * one. */
static void end_breach(struct ws *w)
{
        static const char protocol_error[] = { (char)0x88, 2, 1002 >> 8, (char)(1002 & 0xff) };
        if (wslay_event_get_queued_msg_length(w->wslay) == 0) /* else it would cut a message in two */
                send(w->fd, protocol_error, sizeof(protocol_error), MSG_DONTWAIT | MSG_NOSIGNAL);
        w->code = 1002;
        finish(w, true);
}

static void on_event(struct ws *w, uint32_t events)
{
        bool gone = events & (EPOLLHUP | EPOLLERR);
        w->budget = READ_BUDGET;
        if (wslay_event_want_read(w->wslay) && may_read(w))
                w->broken = wslay_event_recv(w->wslay) != 0;
        else
                w->broken = gone;
        if (w->broken && !w->gone && !gone) {
                end_breach(w);
                return;
        }
        /* The peer's farewell, or a close frame that libwslay has queued for a breach of the protocol. */
        if (!w->farewell_ms && !wslay_event_want_read(w->wslay))
                w->farewell_ms = clock_mono_ms() + FAREWELL_MS;
        settle(w);
}

/* Once a second. */
static void on_tick(struct ws *w, int64_t now)
{
        struct ws_hub *hub = w->loop->hub;
        const struct http_config *config = &hub->server->config;
        int64_t ping_ms = (int64_t)config->ping_interval_s * 1000;
        bool stalled = wslay_event_want_write(w->wslay) &&
                       now - w->moved_ms > (int64_t)config->write_timeout_s * 1000;
        bool stopping = atomic_load(&hub->stopping);
        if (atomic_load(&w->held))
                w->heard_ms = now;
        int64_t silent = now - w->heard_ms;
        if (stopping && w->farewell_ms > now + LAST_FAREWELL_MS)
                w->farewell_ms = now + LAST_FAREWELL_MS;
        if (w->options.max_age_ms && !w->aged && now - w->opened_ms >= w->options.max_age_ms) {
                w->aged = true;
                if (w->handler.aged)
                        w->handler.aged(w->ctx, w);
        }
        if (stopping || (atomic_load(&hub->draining) && !(w->handler.busy && w->handler.busy(w->ctx))))
                ws_close(w, WS_GOING_AWAY, "the server stops");
        if (ping_ms && silent >= ping_ms && !w->pinged && !w->farewell_ms) {
                struct wslay_event_msg ping = { WSLAY_PING, NULL, 0 };
                w->pinged = wslay_event_queue_msg(w->wslay, &ping) == 0;
        }
        w->broken =
                stalled || (ping_ms && silent >= 3 * ping_ms) || (w->farewell_ms && now >= w->farewell_ms);
        settle(w);
}

/* ---- the loop ---- */

static int ws_init_framing(struct ws *w)
{
        const struct wslay_event_callbacks callbacks = { .recv_callback = on_recv,
                                                         .send_callback = on_send,
                                                         .on_frame_recv_start_callback = on_frame,
                                                         .on_msg_recv_callback = on_message };
        if (wslay_event_context_server_init(&w->wslay, &callbacks, w))
                return -ENOMEM;
        wslay_event_config_set_max_recv_msg_length(w->wslay, w->options.max_message);
        return 0;
}

static void adopt(struct ws_loop *l, struct ws *w)
{
        struct epoll_event e = { .events = EPOLLIN, .data.ptr = w };
        w->next = l->all;
        w->prev = &l->all;
        if (w->next)
                w->next->prev = &w->next;
        l->all = w;
        w->events = EPOLLIN;
        w->broken = epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, w->fd, &e) != 0;
        settle(w);
}

/* Takes what other threads have left for this one. */
static void take_messages(struct ws_loop *l)
{
        uint64_t count;
        ssize_t n = read(l->wake_fd, &count, sizeof(count));
        (void)n;
        pthread_mutex_lock(&l->lock);
        struct ws *incoming = l->incoming, *dirty = l->dirty;
        l->incoming = l->dirty = NULL;
        pthread_mutex_unlock(&l->lock);
        while (incoming) {
                struct ws *w = incoming;
                incoming = w->next;
                adopt(l, w);
        }
        while (dirty) {
                struct ws *w = dirty;
                dirty = w->dirty_next; /* as long as it is marked nobody else lists it */
                pthread_mutex_lock(&l->lock);
                w->dirty = false;
                pthread_mutex_unlock(&l->lock);
                if (!is_dead(w))
                        settle(w);
                ws_unref(w);
        }
}

static void tick_all(struct ws_loop *l, int64_t now)
{
        struct ws *next;
        for (struct ws *w = l->all; w; w = next) {
                next = w->next; /* on_tick may end w, and no other */
                on_tick(w, now);
        }
}

static bool is_idle(struct ws_loop *l)
{
        pthread_mutex_lock(&l->lock);
        bool idle = !l->all && !l->incoming && !l->dirty;
        pthread_mutex_unlock(&l->lock);
        return idle;
}

static void *loop_main(void *arg)
{
        struct ws_loop *l = arg;
        struct epoll_event events[EVENTS];
        int64_t next_ms = clock_mono_ms() + TICK_MS;
        bool drained = false;
        while (!atomic_load(&l->hub->stopping) || !is_idle(l)) {
                int64_t wait = next_ms - clock_mono_ms();
                int n = epoll_wait(l->epoll_fd, events, EVENTS, wait > 0 ? (int)wait : 0);
                bool woken = false;
                for (int i = 0; i < n; i++) {
                        if (events[i].data.ptr)
                                on_event(events[i].data.ptr, events[i].events);
                        else
                                woken = true;
                }
                if (woken) /* behind the events, which name connections that are still there */
                        take_messages(l);
                int64_t now = clock_mono_ms();
                bool hurry = atomic_load(&l->hub->stopping) && !drained;
                if (now < next_ms && !hurry)
                        continue;
                drained = drained || hurry;
                tick_all(l, now);
                next_ms = now + (atomic_load(&l->hub->draining) ? TICK_MS / 10 : TICK_MS);
        }
        return NULL;
}

/* ---- opening ---- */

static struct ws *ws_new(struct ws_hub *hub, int fd, const struct ws_upgrade *u)
{
        struct ws *w = mem_calloc(1, sizeof(*w));
        if (!w)
                return NULL;
        atomic_init(&w->refs, 1);
        pthread_mutex_init(&w->lock, NULL);
        w->queue_end = &w->queue;
        w->loop = &hub->loops[atomic_fetch_add(&hub->turn, 1) % hub->n_loops];
        w->handler = u->handler;
        w->options = u->options;
        w->ctx = u->ctx;
        w->fd = fd;
        w->code = WS_ABNORMAL;
        w->opened_ms = w->heard_ms = w->moved_ms = clock_mono_ms();
        if (ws_init_framing(w) == 0)
                return w;
        ws_unref(w);
        return NULL;
}

void ws_open(struct ws_hub *hub, int fd, struct ws_upgrade *u)
{
        int one = 1;
        struct ws *w =
                atomic_load(&hub->open) < hub->server->config.max_connections ? ws_new(hub, fd, u) : NULL;
        if (!w) {
                close(fd);
                ws_upgrade_drop(u);
                return;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* fails, harmlessly, behind TLS */
        atomic_fetch_add(&hub->open, 1);
        if (u->handler.opened)
                u->handler.opened(u->ctx, w);
        buf_release(&u->head);
        mem_free(u);
        struct ws_loop *l = w->loop;
        pthread_mutex_lock(&l->lock);
        w->next = l->incoming;
        l->incoming = w;
        pthread_mutex_unlock(&l->lock);
        wake(l);
}

/* ---- the hub ---- */

static int loop_start(struct ws_hub *hub, struct ws_loop *l)
{
        struct epoll_event e = { .events = EPOLLIN, .data.ptr = NULL };
        l->hub = hub;
        pthread_mutex_init(&l->lock, NULL);
        l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        int rc = l->epoll_fd < 0 || l->wake_fd < 0 || epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, l->wake_fd, &e)
                         ? -errno
                         : 0;
        if (rc == 0)
                rc = thread_start(&l->thread, "websocket", loop_main, l);
        if (rc == 0)
                return 0;
        if (l->epoll_fd >= 0)
                close(l->epoll_fd);
        if (l->wake_fd >= 0)
                close(l->wake_fd);
        pthread_mutex_destroy(&l->lock);
        return rc;
}

int ws_hub_start(struct http_server *server, struct ws_hub **ret)
{
        struct ws_hub *hub = mem_calloc(1, sizeof(*hub));
        int rc = hub ? 0 : -ENOMEM;
        *ret = NULL;
        if (hub)
                hub->server = server;
        while (rc == 0 && hub->n_loops < THREADS) {
                rc = loop_start(hub, &hub->loops[hub->n_loops]);
                if (rc == 0)
                        hub->n_loops++;
        }
        if (rc == 0)
                *ret = hub;
        else
                ws_hub_stop(hub);
        return rc;
}

void ws_hub_drain(struct ws_hub *hub)
{
        atomic_store(&hub->draining, true);
        for (size_t i = 0; i < hub->n_loops; i++)
                wake(&hub->loops[i]);
}

void ws_hub_wait(struct ws_hub *hub, int64_t until_ms)
{
        const struct timespec pause = { .tv_nsec = 2 * 1000 * 1000 };
        while (atomic_load(&hub->open) > 0 && clock_mono_ms() < until_ms)
                nanosleep(&pause, NULL);
}

void ws_hub_stop(struct ws_hub *hub)
{
        if (!hub)
                return;
        atomic_store(&hub->draining, true);
        atomic_store(&hub->stopping, true);
        for (size_t i = 0; i < hub->n_loops; i++)
                wake(&hub->loops[i]);
        for (size_t i = 0; i < hub->n_loops; i++) {
                struct ws_loop *l = &hub->loops[i];
                pthread_join(l->thread, NULL);
                close(l->epoll_fd);
                close(l->wake_fd);
                pthread_mutex_destroy(&l->lock);
        }
        mem_free(hub);
}
