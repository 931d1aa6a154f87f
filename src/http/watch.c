/* One thread that looks after what MHD does not: a client that leaves while its connection sleeps, deadlines
 * of headers and bodies, streams nobody reads, pings, and connections that are drained after their last
 * reply. */
#include "http/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"
#include "base/thread.h"
#include "base/vec.h"

#define SWEEP_MS 100
#define LINGER_MS 5000
#define LINGER_MAX 1024
#define SWEEP_BATCH 64
#define WAKE_TOKEN UINT64_MAX

/* A watched descriptor: an open connection's, or a closed one's that is read to its end. The generation tells
 * a late event from the slot's next use. */
struct slot {
        struct conn *conn;
        struct http_req *req; /* of the connection: asleep or streaming */
        int64_t gone_ms;      /* when the client closed; 0: it has not */
        int linger_fd;        /* -1 but for a closed connection's */
        int64_t until_ms;     /* to read on */
        uint32_t generation;
        long next_free;
};

struct watcher {
        struct http_server *server;
        pthread_t thread;
        int epoll_fd, wake_fd;
        atomic_bool stop;
        pthread_mutex_t lock; /* of what follows; taken before a request's lock */
        struct VEC(struct slot) slots;
        long free_slot;
        int lingering;
};

/* ---- Slots (lock held) ---- */

static long slot_take(struct watcher *w)
{
        long i = w->free_slot;
        if (i >= 0) {
                w->free_slot = w->slots.p[i].next_free;
                return i;
        }
        struct slot fresh = { .linger_fd = -1 };
        return vec_push(&w->slots, fresh) ? -1 : (long)w->slots.n - 1;
}

static void slot_give(struct watcher *w, long i)
{
        struct slot *slot = &w->slots.p[i];
        slot->conn = NULL;
        slot->req = NULL;
        slot->gone_ms = 0;
        slot->linger_fd = -1;
        slot->generation++;
        slot->next_free = w->free_slot;
        w->free_slot = i;
}

static int slot_watch(struct watcher *w, long i, int fd, uint32_t events)
{
        struct epoll_event event = {
                .events = events,
                .data.u64 = (uint64_t)w->slots.p[i].generation << 32 | (uint64_t)i,
        };
        return epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

/* ---- Connections ---- */

int watch_conn_add(struct conn *c)
{
        struct watcher *w = c->server->watcher;
        int rc = -ENOMEM;
        pthread_mutex_lock(&w->lock);
        long i = slot_take(w);
        if (i >= 0 && slot_watch(w, i, c->fd, EPOLLRDHUP | EPOLLET) == 0) {
                w->slots.p[i].conn = c;
                c->slot = i;
                rc = 0;
        } else if (i >= 0) {
                slot_give(w, i);
        }
        pthread_mutex_unlock(&w->lock);
        return rc;
}

void watch_conn_remove(struct conn *c)
{
        struct watcher *w = c->server->watcher;
        pthread_mutex_lock(&w->lock);
        epoll_ctl(w->epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
        slot_give(w, c->slot);
        pthread_mutex_unlock(&w->lock);
}

/* Whether the watcher may close c, which then counts as dead. A client that closed right after its last bytes
 * can escape MHD, which takes a short read for a drained socket and gets no second event. */
static bool conn_expires(struct conn *c, const struct slot *slot, int64_t now, enum phase *ret_phase)
{
        bool late = now > atomic_load_explicit(&c->deadline_ms, memory_order_relaxed);
        bool missed = slot->gone_ms && now - slot->gone_ms >= SWEEP_MS;
        *ret_phase = atomic_load(&c->phase);
        return *ret_phase < PHASE_BUSY && (late || missed) &&
               atomic_compare_exchange_strong(&c->phase, ret_phase, PHASE_DEAD);
}

/* MHD sees the end of the sockets closed here, and frees their connections. */
static void sweep_conns(struct watcher *w, int64_t now)
{
        enum phase phase;
        pthread_mutex_lock(&w->lock);
        for (size_t i = 0; i < w->slots.n; i++) {
                struct slot *slot = &w->slots.p[i];
                if (!slot->conn || !conn_expires(slot->conn, slot, now, &phase))
                        continue;
                if (!slot->gone_ms)
                        atomic_fetch_add(&w->server->timeouts, 1);
                if (!slot->gone_ms && phase != PHASE_IDLE)
                        refuse_raw(w->server, NULL, slot->conn->fd, 408,
                                   "The request was not complete in time.");
                shutdown(slot->conn->fd, SHUT_RDWR);
        }
        pthread_mutex_unlock(&w->lock);
}

/* ---- Requests ---- */

void watch_req_add(struct http_req *r)
{
        struct watcher *w = r->server->watcher;
        if (r->watched)
                return;
        pthread_mutex_lock(&w->lock);
        struct slot *slot = &w->slots.p[r->conn->slot];
        slot->req = r;
        bool gone = slot->gone_ms != 0;
        pthread_mutex_unlock(&w->lock);
        r->watched = true;
        if (gone)
                http_req_abort(r);
}

void watch_req_remove(struct http_req *r)
{
        struct watcher *w = r->server->watcher;
        if (!r->watched)
                return;
        pthread_mutex_lock(&w->lock);
        w->slots.p[r->conn->slot].req = NULL;
        pthread_mutex_unlock(&w->lock);
        r->watched = false;
}

/* Pings a silent stream; true when the client has not read its stream for too long. */
static bool stream_stalled(struct http_req *r, const struct http_config *config, int64_t now)
{
        bool stalled = false;
        pthread_mutex_lock(&r->lock);
        int64_t still =
                now - (int64_t)atomic_load(&r->last_pull_ms); /* before the stream begins it says nothing */
        bool streaming = r->ring && !r->response && !r->gone;
        if (streaming && !r->suspended) {
                stalled = still > (int64_t)config->write_timeout_s * 1000;
        } else if (streaming && r->frames && config->ping_interval_s &&
                   still >= (int64_t)config->ping_interval_s * 1000) {
                r->ping_due = true;
                r->suspended = false;
                MHD_resume_connection(r->mhd);
        }
        pthread_mutex_unlock(&r->lock);
        return stalled;
}

/* One round over the watched requests from *at on; fills out with those to abort, each held. */
static size_t collect_stalled(struct watcher *w, size_t *at, int64_t now, struct http_req **out)
{
        size_t n = 0;
        pthread_mutex_lock(&w->lock);
        for (; *at < w->slots.n && n < SWEEP_BATCH; ++*at) {
                struct http_req *r = w->slots.p[*at].req;
                if (!r || !stream_stalled(r, &w->server->config, now))
                        continue;
                http_req_hold(r);
                out[n++] = r;
        }
        pthread_mutex_unlock(&w->lock);
        return n;
}

static void sweep_requests(struct watcher *w, int64_t now)
{
        struct http_req *stalled[SWEEP_BATCH];
        size_t at = 0, n;
        do {
                n = collect_stalled(w, &at, now, stalled);
                for (size_t i = 0; i < n; i++) {
                        atomic_fetch_add(&w->server->timeouts, 1);
                        http_req_abort(stalled[i]);
                        http_req_unhold(stalled[i]);
                }
        } while (n == SWEEP_BATCH);
}

/* The request in slot i, held, or NULL. While it stands in a slot MHD holds it too. */
static struct http_req *slot_hold(struct watcher *w, size_t i)
{
        struct http_req *r = NULL;
        pthread_mutex_lock(&w->lock);
        if (i < w->slots.n)
                r = w->slots.p[i].req;
        if (r)
                http_req_hold(r);
        pthread_mutex_unlock(&w->lock);
        return r;
}

void watch_close_all(struct http_server *s)
{
        struct watcher *w = s->watcher;
        pthread_mutex_lock(&w->lock);
        size_t n = w->slots.n;
        pthread_mutex_unlock(&w->lock);
        for (size_t i = 0; i < n; i++) {
                struct http_req *r = slot_hold(w, i);
                if (!r)
                        continue;
                http_req_abort(r);
                http_req_unhold(r);
        }
        pthread_mutex_lock(&w->lock);
        for (size_t i = 0; i < w->slots.n; i++)
                if (w->slots.p[i].conn)
                        shutdown(w->slots.p[i].conn->fd, SHUT_RDWR);
        pthread_mutex_unlock(&w->lock);
}

/* ---- Lingering: a socket closed while its client still sends would be reset, and the reply lost ---- */

void watch_linger(struct http_server *s, int fd)
{
        struct watcher *w = s->watcher;
        if (fd < 0)
                return;
        pthread_mutex_lock(&w->lock);
        long i = w->lingering < LINGER_MAX ? slot_take(w) : -1;
        if (i >= 0 && slot_watch(w, i, fd, EPOLLIN | EPOLLRDHUP) == 0) {
                w->slots.p[i].linger_fd = fd;
                w->lingering++;
                w->slots.p[i].until_ms = clock_mono_ms() + LINGER_MS;
                fd = -1;
        } else if (i >= 0) {
                slot_give(w, i);
        }
        pthread_mutex_unlock(&w->lock);
        if (fd >= 0)
                close(fd);
}

static void linger_end(struct watcher *w, long i)
{
        close(w->slots.p[i].linger_fd);
        w->lingering--;
        slot_give(w, i);
}

static void linger_read(struct watcher *w, long i)
{
        char drop[16 * 1024];
        for (int k = 0; k < 16; k++) {
                ssize_t n = recv(w->slots.p[i].linger_fd, drop, sizeof(drop), MSG_DONTWAIT);
                if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
                        linger_end(w, i);
                        return;
                }
                if (n < 0)
                        return;
        }
}

static void sweep_linger(struct watcher *w, int64_t now)
{
        pthread_mutex_lock(&w->lock);
        for (size_t i = 0; i < w->slots.n; i++)
                if (w->slots.p[i].linger_fd >= 0 && now > w->slots.p[i].until_ms)
                        linger_end(w, (long)i);
        pthread_mutex_unlock(&w->lock);
}

/* ---- The thread ---- */

static void on_event(struct watcher *w, uint64_t token)
{
        struct http_req *gone = NULL;
        uint32_t i = (uint32_t)token, generation = (uint32_t)(token >> 32);
        pthread_mutex_lock(&w->lock);
        struct slot *slot = i < w->slots.n && w->slots.p[i].generation == generation ? &w->slots.p[i] : NULL;
        if (slot && slot->linger_fd >= 0) {
                linger_read(w, (long)i);
        } else if (slot && slot->conn) {
                slot->gone_ms = clock_mono_ms();
                gone = slot->req;
                if (gone)
                        http_req_hold(gone);
        }
        pthread_mutex_unlock(&w->lock);
        if (gone) {
                http_req_abort(gone);
                http_req_unhold(gone);
        }
}

static void *watch_main(void *arg)
{
        struct watcher *w = arg;
        struct epoll_event events[64];
        int64_t next_sweep = clock_mono_ms() + SWEEP_MS;
        while (!atomic_load(&w->stop)) {
                int n = epoll_wait(w->epoll_fd, events, 64, SWEEP_MS);
                for (int i = 0; i < n; i++)
                        if (events[i].data.u64 != WAKE_TOKEN)
                                on_event(w, events[i].data.u64);
                int64_t now = clock_mono_ms();
                if (now < next_sweep)
                        continue;
                next_sweep = now + SWEEP_MS;
                sweep_conns(w, now);
                sweep_requests(w, now);
                sweep_linger(w, now);
        }
        return NULL;
}

int watch_start(struct http_server *s)
{
        struct watcher *w = mem_calloc(1, sizeof(*w));
        if (!w)
                return -ENOMEM;
        w->server = s;
        w->free_slot = -1;
        pthread_mutex_init(&w->lock, NULL);
        w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        w->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        struct epoll_event event = { .events = EPOLLIN, .data.u64 = WAKE_TOKEN };
        int rc = 0;
        if (w->epoll_fd < 0 || w->wake_fd < 0 || epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, w->wake_fd, &event))
                rc = -errno;
        if (!rc)
                rc = thread_start(&w->thread, "http-watch", watch_main, w);
        if (!rc) {
                s->watcher = w;
                return 0;
        }
        if (w->epoll_fd >= 0)
                close(w->epoll_fd);
        if (w->wake_fd >= 0)
                close(w->wake_fd);
        pthread_mutex_destroy(&w->lock);
        mem_free(w);
        return rc;
}

void watch_stop(struct http_server *s)
{
        struct watcher *w = s->watcher;
        if (!w)
                return;
        uint64_t one = 1;
        atomic_store(&w->stop, true);
        (void)!write(w->wake_fd, &one, sizeof(one));
        pthread_join(w->thread, NULL);
        for (size_t i = 0; i < w->slots.n; i++)
                if (w->slots.p[i].linger_fd >= 0)
                        close(w->slots.p[i].linger_fd);
        vec_release(&w->slots);
        close(w->epoll_fd);
        close(w->wake_fd);
        pthread_mutex_destroy(&w->lock);
        mem_free(w);
        s->watcher = NULL;
}
