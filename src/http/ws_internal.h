/* Between the handshake (ws_handshake.c), which finds a socket, and the hub (websocket.c), which serves it.
 */
#ifndef CAIRN_HTTP_WS_INTERNAL_H
#define CAIRN_HTTP_WS_INTERNAL_H

#include "base/buf.h"
#include "http/websocket.h"

/* A connection to be: what the reply of a request carries until its socket is free. */
struct ws_upgrade {
        struct buf head; /* the reply's header block */
        struct ws_options options;
        struct ws_handler handler;
        void *ctx;
};

/* Tells the handler that nothing came of it, and frees. Accepts NULL. */
void ws_upgrade_drop(struct ws_upgrade *u);
/* Serves fd, which it takes; u is freed. On failure the handler is told. Any thread. */
void ws_open(struct ws_hub *hub, int fd, struct ws_upgrade *u);
#endif
