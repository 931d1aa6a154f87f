/* MHD's callbacks: how a connection and its requests go from one stage to the next. Everything here runs on
 * the I/O thread that owns the connection. */
#include "http/internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"

/* ---- Connections ---- */

/* Moves on to `phase` with a deadline `ms` from now; false when the watcher has closed the connection. */
static bool conn_advance(struct conn *c, enum phase phase, int64_t ms)
{
        atomic_store_explicit(&c->deadline_ms, clock_mono_ms() + ms, memory_order_relaxed);
        enum phase now = atomic_load(&c->phase);
        while (now != PHASE_DEAD)
                if (atomic_compare_exchange_weak(&c->phase, &now, phase))
                        return true;
        return false;
}

struct conn *conn_of(struct MHD_Connection *mhd)
{
        const union MHD_ConnectionInfo *info =
                MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
        return info ? info->socket_context : NULL;
}

static void peer_name(struct MHD_Connection *mhd, char out[INET6_ADDRSTRLEN])
{
        const union MHD_ConnectionInfo *info =
                MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
        const struct sockaddr *addr = info ? info->client_addr : NULL;
        const char *name = NULL;
        if (addr && addr->sa_family == AF_INET) {
                name = inet_ntop(AF_INET, &((const struct sockaddr_in *)addr)->sin_addr, out,
                                 INET6_ADDRSTRLEN);
        } else if (addr && addr->sa_family == AF_INET6) {
                const struct in6_addr *v6 = &((const struct sockaddr_in6 *)addr)->sin6_addr;
                bool mapped = IN6_IS_ADDR_V4MAPPED(v6);
                name = inet_ntop(mapped ? AF_INET : AF_INET6, mapped ? &v6->s6_addr[12] : v6->s6_addr, out,
                                 INET6_ADDRSTRLEN);
        }
        if (!name)
                snprintf(out, INET6_ADDRSTRLEN, "-");
}

static struct conn *conn_new(struct http_server *s, struct MHD_Connection *mhd)
{
        const union MHD_ConnectionInfo *info =
                MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
        struct conn *c = info ? mem_calloc(1, sizeof(*c)) : NULL;
        if (!c)
                return NULL;
        c->server = s;
        c->fd = info->connect_fd;
        c->fresh = true;
        peer_name(mhd, c->peer);
        conn_advance(c, PHASE_IDLE, (int64_t)s->config.header_timeout_s * 1000);
        if (watch_conn_add(c)) {
                mem_free(c);
                return NULL;
        }
        atomic_fetch_add(&s->connections, 1);
        return c;
}

/* MHD closes a connection without a word when it sees no request line in the first line. */
static bool conn_spoke_nonsense(struct conn *c)
{
        char byte;
        if (!c->fresh || atomic_load(&c->phase) != PHASE_IDLE || atomic_load(&c->server->cancelled))
                return false;
        ssize_t n = recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
        return n > 0 || (n < 0 && errno == EAGAIN); /* else the client closed it */
}

/* MHD is done with the connection and closes the descriptor next. */
static void conn_free(struct conn *c)
{
        watch_conn_remove(c);
        if (conn_spoke_nonsense(c)) {
                refuse_raw(c->server, NULL, c->fd, 400, "The request is not well-formed HTTP.");
                c->linger = true;
        }
        if (c->linger) {
                int fd = dup(c->fd);
                shutdown(c->fd, SHUT_WR);
                watch_linger(c->server, fd);
        }
        atomic_fetch_sub(&c->server->connections, 1);
        http_req_free_spare(c->spare);
        mem_free(c);
}

void conn_notify(void *cls, struct MHD_Connection *mhd, void **socket_context,
                 enum MHD_ConnectionNotificationCode code)
{
        if (code == MHD_CONNECTION_NOTIFY_STARTED) {
                struct http_server *s = cls;
                *socket_context = conn_new(s, mhd);
                atomic_fetch_add(&s->started, 1); /* after it is counted as open: accept.c adds both */
        } else if (*socket_context) {
                conn_free(*socket_context);
                *socket_context = NULL;
        }
}

struct http_req *conn_refused(struct conn *c, int status)
{
        struct http_req *r = c->req;
        c->linger = true;
        conn_advance(c, PHASE_BUSY, 0);
        if (!r)
                return NULL;
        pthread_mutex_lock(&r->lock);
        r->replied = true;
        r->cut = true;
        r->status = status;
        pthread_mutex_unlock(&r->lock);
        return r->method.p ? r : NULL;
}

/* ---- Requests ---- */

/* Empties the query for MHD, which would list its arguments for nobody: we keep the raw target. It is a
 * matter of safety: MHD 0.9.75 answers 431 when the list outgrows the connection's memory, gives that
 * memory back and then goes on reading the request in it. The text is MHD's own buffer, not constant. */
static void hide_query(const char *uri)
{
        char *query = uri ? strchr((char *)uri, '?') : NULL;
        if (query)
                query[1] = '\0';
}

void *conn_uri(void *cls, const char *uri, struct MHD_Connection *mhd)
{
        struct http_server *s = cls;
        struct conn *c = conn_of(mhd);
        if (!c || !conn_advance(c, PHASE_HEADERS, (int64_t)s->config.header_timeout_s * 1000))
                return NULL;
        c->fresh = false;
        c->req = http_req_new(c, mhd, uri ? uri : "");
        hide_query(uri);
        return c->req;
}

/* Answers before the request was read: MHD closes the connection afterwards. */
static enum MHD_Result reply_closing(struct http_req *r)
{
        r->conn->linger = true;
        return conn_advance(r->conn, PHASE_BUSY, 0) ? reply_queue(r) : MHD_NO;
}

/* Whether the body of a request that has its reply already may be read away to keep the connection. */
static bool drainable(const struct http_req *r)
{
        return !r->expect && r->content_length <= (int64_t)r->server->config.max_drain_bytes;
}

static void refuse_too_large(struct http_req *r)
{
        char message[128];
        snprintf(message, sizeof(message), "Maximum content size limit (%llu) exceeded.",
                 (unsigned long long)r->body_max);
        refuse(r, 413, message);
}

/* The application chooses how the body is read, or replies. */
static void headers_complete(struct http_req *r)
{
        struct http_server *s = r->server;
        r->seen = true;
        if (s->app.on_headers)
                s->app.on_headers(s->app.ctx, r);
        if (r->content_length > 0 && (uint64_t)r->content_length > r->body_max)
                refuse_too_large(r);
        buf_init(&r->body, r->mode == BODY_MEMORY ? r->body_max : 0);
}

static enum MHD_Result first_call(struct http_req *r, const char *method, const char *version)
{
        struct http_server *s = r->server;
        const char *message = NULL;
        int status = http_req_take_headers(r, method, version, &message);
        atomic_fetch_add_explicit(&s->requests, 1, memory_order_relaxed);
        r->stage = STAGE_BODY;
        r->body_start_ms = clock_mono_ms();
        if (!conn_advance(r->conn, PHASE_BODY, (int64_t)s->config.body_timeout_s * 1000))
                return MHD_NO;
        if (status)
                refuse(r, status, message);
        else if (cors_is_preflight(r))
                cors_reply_preflight(r);
        else
                headers_complete(r);
        /* Where the next request starts is not certain after a refusal, but for 415. */
        bool uncertain = status && status != 415;
        if (uncertain || (r->replied && http_req_has_body(r) && !drainable(r)))
                return reply_closing(r);
        return MHD_YES;
}

/* The sink or the parser gave up. */
static void body_failed(struct http_req *r, int rc)
{
        const char *message = r->multipart ? multipart_message(r->multipart) : "";
        if (*message)
                refuse(r, rc == -E2BIG ? 413 : 400, message);
        else
                refuse(r, 500, "The server could not take the request's content.");
}

static void body_store(struct http_req *r, struct str piece)
{
        int rc = 0;
        if (r->mode == BODY_MULTIPART)
                rc = multipart_feed(r->multipart, piece);
        else if (r->mode == BODY_SINK)
                rc = r->sink(r->sink_ctx, piece);
        else
                buf_add(&r->body, piece.p, piece.n);
        if (rc)
                body_failed(r, rc);
        else if (buf_error(&r->body))
                refuse(r, 503, "The server is out of memory.");
}

static enum MHD_Result body_piece(struct http_req *r, struct str piece)
{
        const struct http_config *config = &r->server->config;
        uint64_t got = atomic_fetch_add(&r->body_bytes, piece.n) + piece.n;
        int64_t allowed = (int64_t)config->body_timeout_s * 1000 +
                          (int64_t)(got * 1000 / (uint64_t)config->min_body_rate);
        atomic_store_explicit(&r->conn->deadline_ms, r->body_start_ms + allowed, memory_order_relaxed);
        if (!r->replied && got > r->body_max)
                refuse_too_large(r);
        if (!r->replied) {
                body_store(r, piece);
                return MHD_YES;
        }
        r->drained += piece.n;
        if (r->drained <= config->max_drain_bytes)
                return MHD_YES;
        if (conn_advance(r->conn, PHASE_BUSY, 0))
                reply_cut(r);
        return MHD_NO;
}

/* Queues the reply when there is one, else sleeps until there is. */
static enum MHD_Result reply_or_sleep(struct http_req *r)
{
        while (!http_req_replied(r) && !http_req_aborted(r)) {
                watch_req_add(r);
                if (http_req_suspend(r))
                        return MHD_YES;
                if (atomic_load(&r->server->cancelled))
                        return MHD_NO;
        }
        return reply_queue(r);
}

static enum MHD_Result request_complete(struct http_req *r)
{
        struct http_server *s = r->server;
        if (!conn_advance(r->conn, PHASE_BUSY, 0))
                return MHD_NO;
        if (r->multipart && !r->replied) {
                int rc = multipart_finish(r->multipart);
                if (rc)
                        body_failed(r, rc);
        }
        r->stage = STAGE_WAITING;
        if (!r->replied) {
                r->owed = true;
                http_req_hold(r);
                s->app.on_request(s->app.ctx, r);
        }
        return reply_or_sleep(r);
}

enum MHD_Result conn_handle(void *cls, struct MHD_Connection *mhd, const char *url, const char *method,
                            const char *version, const char *data, size_t *data_size, void **req_cls)
{
        (void)cls, (void)mhd, (void)url;
        struct http_req *r = *req_cls;
        if (!r)
                return MHD_NO;
        if (r->stage == STAGE_HEADERS)
                return first_call(r, method, version);
        if (r->stage == STAGE_WAITING)
                return reply_or_sleep(r);
        if (r->stage != STAGE_BODY)
                return MHD_NO;
        if (!*data_size)
                return request_complete(r);
        struct str piece = { data, *data_size };
        *data_size = 0;
        return body_piece(r, piece);
}

void conn_completed(void *cls, struct MHD_Connection *mhd, void **req_cls,
                    enum MHD_RequestTerminationCode code)
{
        (void)mhd;
        struct http_server *s = cls;
        struct http_req *r = *req_cls;
        if (!r)
                return;
        struct conn *c = r->conn;
        *req_cls = NULL;
        c->req = NULL;
        conn_advance(c, PHASE_IDLE, ((int64_t)s->config.idle_timeout_s + s->config.header_timeout_s) * 1000);
        http_req_complete(r, code == MHD_REQUEST_TERMINATED_COMPLETED_OK);
}
