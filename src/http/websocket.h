/* The server's side of WebSockets (RFC 6455), without extensions: the framing is libwslay's; sockets come
 * from requests that ask for the upgrade and are then served by a few threads of their own, through TLS as
 * well.
 *
 * Text must be UTF-8 (1007), messages are bounded (1009), broken framing ends the connection (1002), pings
 * are answered, silent peers are pinged and dropped. What is sent waits in a queue; one that grows is told to
 * its writer, and one whose reader does not read ends the connection. */
#ifndef CAIRN_HTTP_WEBSOCKET_H
#define CAIRN_HTTP_WEBSOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/str.h"
#include "http/server.h"

struct ws;

enum ws_code {
        WS_NORMAL = 1000,
        WS_GOING_AWAY = 1001,
        WS_UNSUPPORTED = 1003,
        WS_ABNORMAL = 1006, /* never on the wire: the connection broke */
        WS_POLICY = 1008,
        WS_INTERNAL = 1011,
};

/* The application's side of one connection. All but `opened` run on a thread that serves many connections:
 * none may block. Any but `message` and `closed` may be NULL. */
struct ws_handler {
        /* The connection is there: keep it with ws_ref(). On the thread that replied. */
        void (*opened)(void *ctx, struct ws *w);
        /* A whole message; the text is valid UTF-8. */
        void (*message)(void *ctx, struct ws *w, bool text, struct str data);
        /* ws_send() has asked for a pause, which is over. */
        void (*room)(void *ctx, struct ws *w);
        /* max_age_ms is over, once. Nothing happens by itself. */
        void (*aged)(void *ctx, struct ws *w);
        /* Whether a stop of the server should wait, within its grace. NULL: it need not. */
        bool (*busy)(void *ctx);
        /* The connection is gone: exactly once, last. w is NULL when it never came to be. */
        void (*closed)(void *ctx, struct ws *w, int code);
};

struct ws_options {
        size_t max_message; /* bytes of a message that is received */
        int64_t max_age_ms; /* 0: none */
};

/* Whether a request asks for a WebSocket, as it should: 0; -ENOENT it does not ask; -EPROTONOSUPPORT another
 * version than 13; -EINVAL a handshake that is not well formed. *ret_message says what is wrong. */
int http_websocket_wanted(const struct http_req *r, const char **ret_message);
/* Accepts: the reply is 101 with further headers h, and the socket is the handler's. Only when
 * http_websocket_wanted() says so. 0, or -EALREADY (then `closed` runs with NULL, as always when nothing
 * comes of it). */
int http_reply_websocket(struct http_req *r, const struct http_header *h, size_t n,
                         const struct ws_options *options, const struct ws_handler *handler, void *ctx);

/* ---- a connection, from any thread, by whoever holds a reference ---- */

void ws_ref(struct ws *w);
void ws_unref(struct ws *w); /* accepts NULL */
/* Queues a text message. 0; -EAGAIN: it was taken, but pause until `room`; -EPIPE: closing or gone; -ENOMEM.
 * A queue of more than 64 MiB breaks the connection. */
int ws_send(struct ws *w, struct str text);
/* Stops the reading of messages, or lets it go on: meanwhile the peer's writes fill the sockets' buffers and
 * then wait (TCP's flow control). A few messages of at most 4 KiB together may still come. Nothing is heard
 * of the peer either, which counts as silent only when it is read again. */
void ws_hold(struct ws *w, bool hold);
/* Sends what is queued, then closes with a code and a reason of up to 123 bytes. The first call counts. */
void ws_close(struct ws *w, int code, const char *reason);

/* ---- for server.c ---- */

struct ws_hub;

/* 0 or a negative errno. The server, whose watcher runs, outlives it. */
int ws_hub_start(struct http_server *server, struct ws_hub **ret);
/* From now on those that are not busy are closed (1001), and new ones at once. */
void ws_hub_drain(struct ws_hub *hub);
/* Until there is no connection, or clock_mono_ms() reaches until_ms. */
void ws_hub_wait(struct ws_hub *hub, int64_t until_ms);
/* Closes all, waits a moment for the peers' farewells, frees. Every `closed` has run. Accepts NULL. */
void ws_hub_stop(struct ws_hub *hub);
#endif
