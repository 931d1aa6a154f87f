/* What the files of this folder share. Not for others. */
#ifndef CAIRN_HTTP_INTERNAL_H
#define CAIRN_HTTP_INTERNAL_H

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <microhttpd.h>
#include "http/server.h"

#define HTTP_MAX_HEADERS 128

struct acceptor;
struct conn;
struct tls_front;
struct watcher;
struct ws_hub;
struct ws_upgrade;

/* What a connection is waiting for; the deadlines follow from it. An I/O thread moves it on, the watcher
 * moves it to PHASE_DEAD, both by compare-and-swap, so that one of them owns the outcome. */
enum phase {
        PHASE_IDLE,    /* between requests, or reading a request line */
        PHASE_HEADERS, /* the request line was read */
        PHASE_BODY,
        PHASE_BUSY, /* the request is complete: no deadline of ours */
        PHASE_DEAD, /* closed by the watcher */
};

struct http_server {
        struct http_config config;
        struct http_app app;
        char *cors_origins; /* own copy */
        struct MHD_Daemon *daemon;
        struct acceptor *acceptor; /* or tls */
        struct tls_front *tls;
        struct watcher *watcher;
        struct ws_hub *ws;
        int listen_fd; /* -1 once closed */
        int port;
        atomic_bool stopping;  /* replies close their connections */
        atomic_bool cancelled; /* nothing may be suspended any more */
        atomic_bool ending;    /* MHD is being stopped */
        atomic_ullong started; /* connections that MHD has taken over, since the start */
        atomic_ullong requests, refused, timeouts, aborted;
        atomic_long connections, active;
};

/* One TCP connection, or one socket pair of the TLS front. Lives from MHD's STARTED to its CLOSED notice; its
 * fd is open all that time. */
struct conn {
        struct http_server *server;
        long slot;              /* in the watcher */
        struct http_req *req;   /* I/O thread: the current one, NULL between requests */
        struct http_req *spare; /* I/O thread: the last request's memory, to be used again */
        int fd;
        bool fresh;  /* I/O thread: no request line was understood yet */
        bool linger; /* I/O thread: read on after the close, so that the reply survives */
        _Atomic enum phase phase;
        atomic_llong deadline_ms; /* for the phases before BUSY; clock_mono_ms */
        char peer[INET6_ADDRSTRLEN];
};

enum stage {
        STAGE_HEADERS, /* before the first call of MHD */
        STAGE_BODY,    /* body expected, or being dropped when a reply stands */
        STAGE_WAITING, /* the application has it */
        STAGE_QUEUED,  /* the reply is with MHD */
};

enum body_mode { BODY_MEMORY, BODY_MULTIPART, BODY_SINK };

/* `holds` keeps the exchange open: one for MHD until completion, one while the application owes a reply, one
 * during on_abort. `refs` keeps the memory: one for the exchange, one for a ring whose callback points here.
 */
struct http_req {
        atomic_int refs, holds;
        struct http_server *server;
        struct conn *conn;
        void *data;
        int64_t start_us;

        /* Immutable from on_headers on. */
        struct buf text; /* method, target, headers, each NUL-terminated */
        struct str method, path, query;
        struct http_header headers[HTTP_MAX_HEADERS];
        size_t n_headers;
        char peer[INET6_ADDRSTRLEN];
        bool chunked, expect, http10, seen; /* seen: by on_headers, so on_done follows */
        int64_t content_length;             /* -1 when unknown */

        /* The I/O thread's. */
        enum stage stage;
        enum body_mode mode;
        uint64_t body_max, drained;
        atomic_ullong body_bytes;
        int64_t body_start_ms;
        struct buf body;
        struct multipart *multipart;
        int (*sink)(void *ctx, struct str piece);
        void *sink_ctx;

        /* Stream: the I/O thread's, but for what the lock guards. */
        struct ring *ring;
        struct buf carry; /* the beginning of a frame that did not fit */
        bool frames, mid_frame;
        bool sized; /* the ring gives `length` bytes */
        uint64_t length;
        atomic_ullong bytes_out;
        atomic_llong last_pull_ms; /* when MHD last asked for bytes */

        pthread_mutex_t lock; /* of what follows */
        struct MHD_Connection *mhd;
        struct MHD_Response *response; /* given, not queued yet */
        struct ws_upgrade *upgrade;    /* instead of it: the connection becomes a WebSocket */
        struct str reply_body;         /* of a reply from memory: lives as long as `response` */
        int status;
        bool attached;  /* MHD has not completed the request: mhd and conn->fd are valid */
        bool suspended; /* MHD sleeps and must be resumed by whoever clears this */
        bool replied, owed, gone, wake, ping_due;
        bool ended; /* the stream's last byte is with MHD */
        bool cut;   /* the reply was written past MHD: a close by MHD is then no abort */
        bool completed_ok;

        bool watched; /* I/O thread: a disconnect calls http_req_abort */
};

/* request.c */
struct http_req *http_req_new(struct conn *c, struct MHD_Connection *mhd, const char *uri);
void http_req_free_spare(struct http_req *r); /* accepts NULL */
/* Copies method and headers; 0, or the status to refuse with and its message. */
int http_req_take_headers(struct http_req *r, const char *method, const char *version,
                          const char **ret_message);
bool http_req_has_body(const struct http_req *r);
void http_req_hold(struct http_req *r);
void http_req_unhold(struct http_req *r); /* the last one ends the exchange */
void http_req_ref(struct http_req *r);
void http_req_unref(void *r);
/* MHD is done with it. I/O thread. */
void http_req_complete(struct http_req *r, bool ok);
/* The client is gone or must go: wakes MHD, cancels the stream, tells the application. Any thread. */
void http_req_abort(struct http_req *r);
/* True when the connection now sleeps; false when there is something to do: a reply, an abort, a wake-up, or
 * the server's end. I/O thread. */
bool http_req_suspend(struct http_req *r);
/* Remembers that there is something to do, and ends the sleep. Any thread. */
void http_req_wake(void *r);

/* Gives MHD a connection, which it owns from now on. 0 or -EIO. Any thread. */
int http_deliver(void *server, int fd, const struct sockaddr *peer, socklen_t n);

/* accept.c */
int accept_start(struct http_server *s);
void accept_stop(struct http_server *s); /* when it returns nothing more is delivered; may be called again */

/* conn.c: MHD's callbacks; cls is the server. */
void conn_notify(void *cls, struct MHD_Connection *mhd, void **socket_context,
                 enum MHD_ConnectionNotificationCode code);
void *conn_uri(void *cls, const char *uri, struct MHD_Connection *mhd);
enum MHD_Result conn_handle(void *cls, struct MHD_Connection *mhd, const char *url, const char *method,
                            const char *version, const char *data, size_t *data_size, void **req_cls);
void conn_completed(void *cls, struct MHD_Connection *mhd, void **req_cls,
                    enum MHD_RequestTerminationCode code);
struct conn *conn_of(struct MHD_Connection *mhd); /* NULL when unknown */
/* MHD itself answers the current request, if any, which is returned. I/O thread. */
struct http_req *conn_refused(struct conn *c, int status);

/* reply.c */
/* MHD_NO closes the connection. I/O thread. */
enum MHD_Result reply_queue(struct http_req *r);
/* Writes the pending reply to the socket past MHD, which cannot answer amid a body. I/O thread; then MHD_NO.
 */
void reply_cut(struct http_req *r);
void reply_release(struct http_req *r);
/* The reply is 101 and what follows from it; takes u, NULL: memory was out. 0 or -EALREADY. Any thread. */
int reply_give_upgrade(struct http_req *r, struct ws_upgrade *u);

/* ws_handshake.c: answers 101 and hands the socket over; takes u. I/O thread; then MHD_NO. */
void ws_handshake_finish(struct http_req *r, struct ws_upgrade *u);

/* refuse.c */
/* The server's own reply to r, in the application's words. I/O thread. */
void refuse(struct http_req *r, int status, const char *message);
/* The same, written past MHD to a socket nobody else writes to now; r may be NULL. The caller closes it. */
void refuse_raw(struct http_server *s, struct http_req *r, int fd, int status, const char *message);
void raw_start(struct buf *raw, int status); /* status line and our headers */
bool raw_send(int fd, const struct buf *raw);
/* libmicrohttpd's own MHD_queue_response, past our replacement. */
enum MHD_Result mhd_queue(struct MHD_Connection *mhd, unsigned int status, struct MHD_Response *response);

/* cors.c */
bool cors_is_preflight(const struct http_req *r);
void cors_reply_preflight(struct http_req *r);
void cors_add(const struct http_req *r, struct MHD_Response *response);

/* watch.c */
int watch_start(struct http_server *s);
void watch_stop(struct http_server *s);
int watch_conn_add(struct conn *c);     /* 0 or a negative errno */
void watch_conn_remove(struct conn *c); /* when it returns the watcher does not use c->fd */
/* From now on a disconnect calls http_req_abort, at once when the client is gone already. I/O thread. */
void watch_req_add(struct http_req *r);
void watch_req_remove(struct http_req *r);
void watch_linger(struct http_server *s, int fd); /* takes fd; a negative one is ignored */
/* Aborts every watched request and closes every connection; MHD notices on its own. */
void watch_close_all(struct http_server *s);

/* tls.c: terminates TLS and hands plain socket-pair ends to `deliver`, which owns them. */
struct tls_front *tls_start(const struct http_config *config, int listen_fd,
                            int (*deliver)(void *ctx, int fd, const struct sockaddr *peer, socklen_t n),
                            void *ctx, char *err, size_t errn);
void tls_stop_accept(struct tls_front *t);
void tls_stop(struct tls_front *t); /* closes what is left; accepts NULL */
#endif
