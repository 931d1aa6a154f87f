/* The opening handshake (RFC 6455, section 4.2). The 101 is written past MHD, which then lets go of the
 * socket: our duplicate of it lives on in the hub. MHD's own upgrade would tie the end of its threads to that
 * of the connections. A client that speaks before it has the answer breaks the rules (section 4.1) and is not
 * heard. */
#include "http/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"
#include "http/ws_internal.h"

#define MAGIC "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
#define KEY_CHARS 24 /* base64 of 16 bytes */
#define HEAD_MAX 8192

/* Whether a comma-separated header has a token, in any case. */
static bool has_token(struct str value, const char *token)
{
        while (value.n) {
                struct str one = str_split(value, ',', &value);
                if (str_ieqc(str_trim(one), token))
                        return true;
        }
        return false;
}

static bool key_is_fine(struct str key)
{
        unsigned char nonce[KEY_CHARS / 4 * 3];
        return key.n == KEY_CHARS && key.p[KEY_CHARS - 1] == '=' && key.p[KEY_CHARS - 2] == '=' &&
               EVP_DecodeBlock(nonce, (const unsigned char *)key.p, KEY_CHARS) == (int)sizeof(nonce);
}

int http_websocket_wanted(const struct http_req *r, const char **ret_message)
{
        *ret_message = "";
        if (!has_token(http_req_header(r, "Upgrade"), "websocket"))
                return -ENOENT;
        if (!has_token(http_req_header(r, "Connection"), "upgrade") || !str_eqc(r->method, "GET") ||
            r->http10 || http_req_has_body(r)) {
                *ret_message = "A WebSocket handshake is a GET of HTTP/1.1 with 'Connection: Upgrade'.";
                return -EINVAL;
        }
        if (!str_eqc(str_trim(http_req_header(r, "Sec-WebSocket-Version")), "13")) {
                *ret_message = "The only version of WebSockets understood is 13.";
                return -EPROTONOSUPPORT;
        }
        if (!key_is_fine(str_trim(http_req_header(r, "Sec-WebSocket-Key")))) {
                *ret_message = "Sec-WebSocket-Key must be the base64 of 16 bytes.";
                return -EINVAL;
        }
        return 0;
}

static void add_accept(struct buf *head, struct str key)
{
        unsigned char digest[SHA_DIGEST_LENGTH], text[4 * ((SHA_DIGEST_LENGTH + 2) / 3) + 1];
        char joined[KEY_CHARS + sizeof(MAGIC)];
        memcpy(joined, key.p, KEY_CHARS);
        memcpy(joined + KEY_CHARS, MAGIC, sizeof(MAGIC));
        SHA1((const unsigned char *)joined, sizeof(joined) - 1, digest);
        EVP_EncodeBlock(text, digest, sizeof(digest));
        buf_addf(head, "Sec-WebSocket-Accept: %s\r\n", text);
}

static struct ws_upgrade *upgrade_new(const struct http_req *r, const struct http_header *h, size_t n,
                                      const struct ws_options *options, const struct ws_handler *handler,
                                      void *ctx)
{
        struct ws_upgrade *u = mem_calloc(1, sizeof(*u));
        if (!u)
                return NULL;
        *u = (struct ws_upgrade){ .options = *options, .handler = *handler, .ctx = ctx };
        buf_init(&u->head, HEAD_MAX);
        buf_adds(&u->head,
                 "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n");
        add_accept(&u->head, str_trim(http_req_header(r, "Sec-WebSocket-Key")));
        for (size_t i = 0; i < n; i++)
                buf_addf(&u->head, "%.*s: %.*s\r\n", STR_ARG(h[i].name), STR_ARG(h[i].value));
        buf_adds(&u->head, "\r\n");
        if (!buf_error(&u->head))
                return u;
        buf_release(&u->head);
        mem_free(u);
        return NULL;
}

void ws_upgrade_drop(struct ws_upgrade *u)
{
        if (!u)
                return;
        u->handler.closed(u->ctx, NULL, WS_ABNORMAL);
        buf_release(&u->head);
        mem_free(u);
}

int http_reply_websocket(struct http_req *r, const struct http_header *h, size_t n,
                         const struct ws_options *options, const struct ws_handler *handler, void *ctx)
{
        struct ws_upgrade *u = upgrade_new(r, h, n, options, handler, ctx);
        if (!u)
                handler->closed(ctx, NULL, WS_ABNORMAL);
        return reply_give_upgrade(r, u);
}

/* On the I/O thread: the connection's socket goes over to the hub; MHD closes its own copy next. */
void ws_handshake_finish(struct http_req *r, struct ws_upgrade *u)
{
        int fd = fcntl(r->conn->fd, F_DUPFD_CLOEXEC, 0);
        if (fd < 0 || !raw_send(fd, &u->head)) {
                if (fd >= 0)
                        close(fd);
                ws_upgrade_drop(u);
                return;
        }
        r->cut = true;
        ws_open(r->server->ws, fd, u);
}
