/* An HTTP/1.1 server over libmicrohttpd: connections, framing, deadlines, TLS, CORS, bodies and replies.
 * It knows nothing of what the application serves.
 *
 * Life of a request, and the thread each step runs on:
 *   on_headers   I/O thread. Choose how the body is read (http_body_*), or reply at once.
 *   (body)       I/O thread. Memory, a multipart sink or a raw sink.
 *   on_request   I/O thread, must not block. Reply now (the fast path), or later from any thread; the
 *                connection sleeps meanwhile. Not called when a reply was given before.
 *   on_abort     Any thread, at most once: the client is gone, or the server stops, before the reply was
 *                delivered. Stop the work; a reply is still owed unless it was given already.
 *   on_done      Any thread, exactly once, last: the exchange is over and the reply was given. Nothing may
 * touch the request afterwards. Every request that on_headers saw gets on_done. Between on_headers and
 * on_done the request, its headers and its body are immutable and may be read from any thread. */
#ifndef CAIRN_HTTP_SERVER_H
#define CAIRN_HTTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/ring.h"
#include "base/str.h"
#include "http/multipart.h"

struct http_server;
struct http_req;

struct http_header {
        struct str name, value;
};

/* Start from HTTP_CONFIG_DEFAULTS. Strings are borrowed until http_server_start returns. */
struct http_config {
        const char *host;          /* name or address; NULL or "" or "*" listens on every address */
        int port;                  /* 0 takes a free one: http_server_port() */
        int threads;               /* I/O threads; 0: one a core */
        const char *tls_cert;      /* PEM chain; with tls_key turns TLS 1.2+ on */
        const char *tls_key;       /* PEM */
        const char *tls_client_ca; /* PEM; a client certificate signed by it is then required */
        size_t max_header_bytes;   /* request line and headers together: 414, 431 beyond */
        size_t max_body_bytes;     /* default of a body kept in memory: 413 beyond */
        size_t max_drain_bytes; /* of a refused body, read and dropped so that the connection stays usable */
        int header_timeout_s;   /* from the first line to the end of the headers */
        int body_timeout_s;     /* for a body, extended by what arrived / min_body_rate */
        int min_body_rate;      /* bytes a second */
        int idle_timeout_s;     /* between two requests, and for any transfer that does not move */
        int write_timeout_s;    /* a client that does not read its stream is dropped */
        int ping_interval_s;    /* ": ping" comment on a silent event stream; 0: never */
        int max_connections;    /* more wait in the listen queue */
        const char *cors_origins; /* "*", or a comma-separated list; NULL: no CORS headers */
};

#define HTTP_CONFIG_DEFAULTS                                       \
        ((struct http_config){ .host = "127.0.0.1",                \
                               .port = 8080,                       \
                               .max_header_bytes = 32 * 1024,      \
                               .max_body_bytes = 64 * 1024 * 1024, \
                               .max_drain_bytes = 1024 * 1024,     \
                               .header_timeout_s = 15,             \
                               .body_timeout_s = 30,               \
                               .min_body_rate = 4096,              \
                               .idle_timeout_s = 75,               \
                               .write_timeout_s = 60,              \
                               .ping_interval_s = 15,              \
                               .max_connections = 16384 })

/* How an exchange ended. */
struct http_done {
        int status;          /* 0 when no reply was sent */
        uint64_t bytes_in;   /* body bytes received */
        uint64_t bytes_out;  /* body bytes handed to the connection */
        int64_t duration_us; /* from the request line to the end */
        bool aborted;        /* the client did not get the whole reply */
};

/* The application. `ctx` is handed to every callback. on_headers and on_abort may be NULL. */
struct http_app {
        void *ctx;
        void (*on_headers)(void *ctx, struct http_req *r);
        void (*on_request)(void *ctx, struct http_req *r);
        void (*on_abort)(void *ctx, struct http_req *r);
        void (*on_done)(void *ctx, struct http_req *r, const struct http_done *done);
        /* The server itself refuses (broken framing, limits, deadlines, unusable multipart). Writes the body
         * that explains it, and header lines "Name: value\r\n" (Content-Type among them). `r` is NULL when
         * the request could not be parsed far enough. I/O or watcher thread; must not block, nor reply. NULL:
         * plain text. */
        void (*on_bad_request)(void *ctx, struct http_req *r, int status, const char *message,
                               struct buf *head, struct buf *body);
};

/* 0 with *ret serving, or a negative errno with a one-line reason that names the address or file in err.
 * `app` is copied; its ctx must live until http_server_stop returns. SIGPIPE must be ignored by the process.
 */
int http_server_start(const struct http_config *config, const struct http_app *app, struct http_server **ret,
                      char *err, size_t errn);
int http_server_port(const struct http_server *s);
/* Stops accepting and lets requests finish for grace_ms; the next replies say "Connection: close". What is
 * left then is aborted. Blocks until every request has had its on_done, so each must still be replied to.
 * Frees the server. Accepts NULL. Not from a callback. */
void http_server_stop(struct http_server *s, int grace_ms);

struct http_stats {
        uint64_t requests; /* since the start */
        long connections;  /* open now */
        long active;       /* requests between on_headers and on_done */
        uint64_t refused;  /* answered by the server itself */
        uint64_t timeouts; /* connections closed by a deadline */
        uint64_t aborted;  /* replies that did not reach their client */
};
void http_server_stats(struct http_server *s, struct http_stats *ret);

/* Splits "HOST:PORT", "[V6]:PORT", ":PORT" or "PORT". host has `n` bytes. 0 or -EINVAL. */
int http_listen_parse(const char *spec, char *host, size_t n, int *ret_port);

/* ---- The request. Strings are NUL-terminated copies that live until on_done. ---- */

struct str http_req_method(const struct http_req *r);
struct str http_req_path(const struct http_req *r);  /* as sent: not decoded, without the query */
struct str http_req_query(const struct http_req *r); /* as sent, without '?'; {NULL, 0} without one */
/* The value (the first of several), ASCII case of the name ignored; {NULL, 0} when absent. */
struct str http_req_header(const struct http_req *r, const char *name);
const struct http_header *http_req_headers(const struct http_req *r, size_t *ret_n); /* in order of arrival */
const char *http_req_peer(const struct http_req *r); /* the client's address without port, "127.0.0.1" */
bool http_req_tls(const struct http_req *r);
/* The body read in memory, followed by a NUL that does not count; empty in the other modes. From on_request
 * on. */
struct str http_req_body(const struct http_req *r);
uint64_t http_req_body_bytes(const struct http_req *r); /* received so far, in every mode */
int64_t http_req_age_us(const struct http_req *r);      /* since the request line */
bool http_req_aborted(struct http_req *r);              /* any thread */
bool http_req_replied(struct http_req *r);              /* any thread */
/* One pointer for the application, which frees it in on_done. Set it in on_headers or on_request. */
void http_req_set_data(struct http_req *r, void *data);
void *http_req_data(const struct http_req *r);

/* ---- How the body is read: at most one call, in on_headers. Without one: memory, max_body_bytes. ---- */

/* Kept in memory; more than max is refused with 413. max 0: any body is refused. */
void http_body_memory(struct http_req *r, size_t max);
/* Parts go to `sink` as they arrive, in constant memory; more than max bytes in all is refused with 413. A
 * sink that returns non-zero ends the reading: the reply is the one it gave by http_reply*(), else a 500.
 * on_request comes when the last boundary was read. */
void http_body_multipart(struct http_req *r, uint64_t max, const struct multipart_limits *limits,
                         const struct multipart_sink *sink, void *sink_ctx);
/* Raw bytes as they arrive; non-zero ends the reading as above. */
void http_body_sink(struct http_req *r, uint64_t max, int (*data)(void *ctx, struct str piece),
                    void *sink_ctx);

/* ---- Replies: exactly one a request, from any thread. ----
 * Header names and values are copied. Content-Length, Transfer-Encoding, Connection, Date and the CORS
 * headers are the server's. 0; -EALREADY when the request was replied to before (the argument is released all
 * the same). A reply to an aborted request is dropped and counts. The request may be gone when this returns.
 */

int http_reply(struct http_req *r, int status, const struct http_header *h, size_t n,
               struct str body); /* copies */
int http_reply_buf(struct http_req *r, int status, const struct http_header *h, size_t n,
                   struct buf *body); /* takes the memory; *body is empty afterwards */
/* Sends what the producer writes to `ring` until its end (chunked, or until close for HTTP/1.0), and takes
 * over the consumer's reference. When the client leaves, the ring is cancelled and on_abort runs. `frames`:
 * the content is server-sent events; frames stay whole where the buffer allows and pings fill silences. */
int http_reply_stream(struct http_req *r, int status, const struct http_header *h, size_t n,
                      struct ring *ring, bool frames);
/* The same for content of known length, which Content-Length announces. A ring that ends before has failed:
 * the connection is cut. */
int http_reply_sized(struct http_req *r, int status, const struct http_header *h, size_t n, struct ring *ring,
                     uint64_t length);
#endif
