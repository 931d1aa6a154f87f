#include "http/internal.h"

#include <errno.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"
#include "http/sse.h"
#include "http/ws_internal.h"

/* MHD's own buffer of a stream, which only HTTP/1.0 replies go through; chunks are made in the connection's
 * memory. */
#define STREAM_BLOCK 4096
#define SIZED_BLOCK 65536 /* the same for streams of known length, which all go through it */
#define CARRY_MAX (1024 * 1024)

/* What a reply consists of besides its status; give() takes over all of it. */
struct answer {
        struct MHD_Response *response; /* NULL: out of memory, the connection will be closed */
        struct str body;
        uint64_t length;
        struct ring *ring;
        struct ws_upgrade *upgrade;
        bool frames;
        bool sized; /* a ring that gives `length` bytes */
};

/* MHD wants C strings. It refuses values with line breaks, and such a header is then left out. */
static void add_header(struct MHD_Response *response, struct str name, struct str value)
{
        char fixed[512];
        char *text = fixed;
        if (name.n + value.n + 2 > sizeof(fixed))
                text = mem_alloc(name.n + value.n + 2);
        if (!text)
                return;
        memcpy(text, name.p, name.n);
        text[name.n] = '\0';
        if (value.n)
                memcpy(text + name.n + 1, value.p, value.n);
        text[name.n + 1 + value.n] = '\0';
        MHD_add_response_header(response, text, text + name.n + 1);
        if (text != fixed)
                mem_free(text);
}

static void add_headers(const struct http_req *r, struct MHD_Response *response, const struct http_header *h,
                        size_t n)
{
        if (!response)
                return;
        for (size_t i = 0; i < n; i++)
                add_header(response, h[i].name, h[i].value);
        cors_add(r, response);
        if (atomic_load_explicit(&r->server->stopping, memory_order_relaxed))
                MHD_add_response_header(response, "Connection", "close");
}

/* The one place where a request gets its reply. */
static int give(struct http_req *r, int status, struct answer a)
{
        pthread_mutex_lock(&r->lock);
        bool again = r->replied, owed = false;
        if (!again) {
                r->replied = true;
                owed = r->owed;
                r->owed = false;
        }
        if (!again && !r->gone) {
                r->status = status;
                r->response = a.response;
                r->reply_body = a.body;
                atomic_store(&r->bytes_out, a.sized ? 0 : a.length);
                r->ring = a.ring;
                r->sized = a.sized;
                r->length = a.length;
                r->frames = a.frames;
                r->upgrade = a.upgrade;
                a.response = NULL;
                a.ring = NULL;
                a.upgrade = NULL;
        }
        if (!again && r->suspended) {
                r->suspended = false;
                MHD_resume_connection(r->mhd);
        }
        pthread_mutex_unlock(&r->lock);
        if (a.response)
                MHD_destroy_response(a.response);
        if (a.ring) {
                ring_cancel(a.ring);
                ring_unref(a.ring);
        }
        ws_upgrade_drop(a.upgrade);
        if (owed)
                http_req_unhold(r);
        return again ? -EALREADY : 0;
}

/* Takes `body`, memory of mem_alloc or NULL when empty. */
static int give_memory(struct http_req *r, int status, const struct http_header *h, size_t n, char *body,
                       size_t length)
{
        struct answer a = { .body = { body, length }, .length = length };
        if (body)
                a.response = MHD_create_response_from_buffer_with_free_callback(length, body, mem_free);
        else
                a.response = MHD_create_response_from_buffer(0, "", MHD_RESPMEM_PERSISTENT);
        if (!a.response)
                mem_free(body);
        add_headers(r, a.response, h, n);
        return give(r, status, a);
}

int http_reply(struct http_req *r, int status, const struct http_header *h, size_t n, struct str body)
{
        char *copy = body.n ? mem_strndup(body.p, body.n) : NULL;
        if (body.n && !copy)
                return give(r, status, (struct answer){ .response = NULL });
        return give_memory(r, status, h, n, copy, body.n);
}

int http_reply_buf(struct http_req *r, int status, const struct http_header *h, size_t n, struct buf *body)
{
        size_t length = 0;
        bool broken = buf_error(body) != 0;
        char *memory = buf_take(body, &length);
        if (broken || !memory) {
                mem_free(memory);
                return give(r, status, (struct answer){ .response = NULL });
        }
        return give_memory(r, status, h, n, memory, length);
}

/* ---- Streams ---- */

/* Bytes for MHD: what was held back, then what the ring has. 0: none now; -1: the end. */
static long stream_take(struct http_req *r, char *out, size_t max)
{
        size_t n = r->carry.n < max ? r->carry.n : max;
        if (n) {
                memcpy(out, r->carry.p, n);
                buf_consume(&r->carry, n);
        }
        if (n < max) {
                long more = ring_read(r->ring, out + n, max - n);
                if (more > 0)
                        n += (size_t)more;
                else if (!n)
                        return more;
        }
        return (long)n;
}

static size_t frames_end(const char *p, size_t n)
{
        while (n >= 2 && (p[n - 1] != '\n' || p[n - 2] != '\n'))
                n--;
        return n >= 2 ? n : 0;
}

/* Holds an unfinished frame at the end of a full block back for the next one, unless it fills the block. */
static size_t stream_cut(struct http_req *r, char *out, size_t n, size_t max)
{
        size_t whole = frames_end(out, n);
        if (n == max && whole && whole < n) {
                struct str rest = { out + whole, n - whole };
                struct buf carry;
                buf_init(&carry, CARRY_MAX);
                buf_add(&carry, rest.p, rest.n);
                buf_add(&carry, r->carry.p, r->carry.n);
                if (buf_error(&carry)) {
                        buf_release(&carry);
                } else {
                        buf_release(&r->carry);
                        r->carry = carry;
                        n = whole;
                }
        }
        r->mid_frame = n != whole;
        return n;
}

/* A comment when the watcher asked for one and no frame is under way. */
static size_t stream_ping(struct http_req *r, char *out, size_t max)
{
        static const char ping[] = ": ping\n\n";
        pthread_mutex_lock(&r->lock);
        bool due = r->ping_due && !r->mid_frame && max >= sizeof(ping) - 1;
        r->ping_due = false;
        pthread_mutex_unlock(&r->lock);
        if (!due)
                return 0;
        memcpy(out, ping, sizeof(ping) - 1);
        return sizeof(ping) - 1;
}

/* Ends a stream by closing the socket. MHD 0.9.75 forgets connections that end inside a content reader
 * without a terminating chunk, and keeps their sockets open until a timeout. So it gets one more byte, and
 * learns of the end when it fails to write it. */
static ssize_t stream_hang_up(struct http_req *r, int how, char *out)
{
        shutdown(r->conn->fd, how);
        *out = '\n';
        return 1;
}

/* The ring's end: a terminating chunk, or for HTTP/1.0 the end of the connection. Bytes that were announced
 * and do not come can only be told by a broken connection. */
static ssize_t stream_end(struct http_req *r, char *out)
{
        if (r->sized)
                return stream_hang_up(r, SHUT_RDWR, out);
        pthread_mutex_lock(&r->lock);
        r->ended = true;
        r->cut = r->http10;
        pthread_mutex_unlock(&r->lock);
        return r->http10 ? stream_hang_up(r, SHUT_WR, out) : MHD_CONTENT_READER_END_OF_STREAM;
}

/* Counts n bytes that MHD takes; a stream of known length has no end but its last byte. */
static void stream_took(struct http_req *r, size_t n)
{
        unsigned long long out =
                atomic_fetch_add_explicit(&r->bytes_out, (unsigned long long)n, memory_order_relaxed) + n;
        if (!r->sized || out < r->length)
                return;
        pthread_mutex_lock(&r->lock);
        r->ended = true;
        pthread_mutex_unlock(&r->lock);
}

/* MHD's content reader: the stream is pulled as fast as the client reads, and sleeps when there is nothing.
 */
static ssize_t stream_pull(void *cls, uint64_t position, char *out, size_t max)
{
        (void)position;
        struct http_req *r = cls;
        atomic_store(&r->last_pull_ms, clock_mono_ms());
        for (;;) {
                if (http_req_aborted(r))
                        return stream_hang_up(r, SHUT_RDWR, out);
                long n = stream_take(r, out, max);
                if (n < 0)
                        return stream_end(r, out);
                if (n > 0 && r->frames)
                        n = (long)stream_cut(r, out, (size_t)n, max);
                if (n == 0)
                        n = (long)stream_ping(r, out, max);
                if (n > 0) {
                        stream_took(r, (size_t)n);
                        return n;
                }
                if (http_req_suspend(r))
                        return 0;
                if (atomic_load(&r->server->cancelled))
                        http_req_abort(r);
        }
}

static int give_ring(struct http_req *r, int status, const struct http_header *h, size_t n, struct answer a)
{
        http_req_ref(r);
        if (ring_own(a.ring, http_req_unref, r) == 0) {
                ring_set_on_data(a.ring, http_req_wake, r);
                a.response = MHD_create_response_from_callback(a.sized ? a.length : MHD_SIZE_UNKNOWN,
                                                               a.sized ? SIZED_BLOCK : STREAM_BLOCK,
                                                               stream_pull, r, NULL);
        } else {
                http_req_unref(r);
        }
        add_headers(r, a.response, h, n);
        return give(r, status, a);
}

int http_reply_stream(struct http_req *r, int status, const struct http_header *h, size_t n,
                      struct ring *ring, bool frames)
{
        return give_ring(r, status, h, n, (struct answer){ .ring = ring, .frames = frames });
}

int http_reply_sized(struct http_req *r, int status, const struct http_header *h, size_t n, struct ring *ring,
                     uint64_t length)
{
        if (length)
                return give_ring(r, status, h, n,
                                 (struct answer){ .ring = ring, .sized = true, .length = length });
        ring_cancel(ring);
        ring_unref(ring);
        return give_memory(r, status, h, n, NULL, 0);
}

/* ---- Handing over ---- */

int reply_give_upgrade(struct http_req *r, struct ws_upgrade *u)
{
        return give(r, 101, (struct answer){ .upgrade = u });
}

enum MHD_Result reply_queue(struct http_req *r)
{
        pthread_mutex_lock(&r->lock);
        struct MHD_Response *response = r->response;
        struct ws_upgrade *upgrade = r->gone ? NULL : r->upgrade;
        bool dead = r->gone || !response;
        if (!dead) {
                r->response = NULL;
                /* From now on the watcher takes it for a stream that somebody reads. */
                atomic_store(&r->last_pull_ms, clock_mono_ms());
        }
        if (upgrade)
                r->upgrade = NULL;
        pthread_mutex_unlock(&r->lock);
        if (upgrade)
                ws_handshake_finish(r, upgrade);
        if (dead)
                return MHD_NO;
        r->stage = STAGE_QUEUED;
        if (r->ring)
                watch_req_add(r);
        enum MHD_Result rc = mhd_queue(r->mhd, (unsigned)r->status, response);
        MHD_destroy_response(response);
        return rc;
}

static enum MHD_Result append_line(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
        (void)kind;
        if (strcmp(name, "Connection") != 0)
                buf_addf(cls, "%s: %s\r\n", name, value);
        return MHD_YES;
}

void reply_cut(struct http_req *r)
{
        struct buf raw;
        pthread_mutex_lock(&r->lock);
        struct MHD_Response *response = r->response;
        pthread_mutex_unlock(&r->lock);
        if (!response || r->ring || r->reply_body.n != atomic_load(&r->bytes_out))
                return;
        buf_init(&raw, 64 * 1024 + r->reply_body.n);
        raw_start(&raw, r->status);
        MHD_get_response_headers(response, append_line, &raw);
        buf_addf(&raw, "Content-Length: %zu\r\n\r\n", r->reply_body.n);
        buf_add(&raw, r->reply_body.p, r->reply_body.n);
        r->cut = r->conn->linger = raw_send(r->conn->fd, &raw);
        buf_release(&raw);
}

void reply_release(struct http_req *r)
{
        if (r->response)
                MHD_destroy_response(r->response);
        r->response = NULL;
        if (r->ring && !r->ended)
                ring_cancel(r->ring);
        ring_unref(r->ring);
        r->ring = NULL;
        ws_upgrade_drop(r->upgrade);
        r->upgrade = NULL;
        buf_release(&r->carry);
}
