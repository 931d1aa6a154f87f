#include "api/stream.h"

#include <errno.h>
#include "api/api.h"
#include "base/mem.h"
#include "http/sse.h"

#define RING_BYTES \
        (256 * 1024) /* taken as needed: only a client that lags behind makes a stream this large */
#define PIECE_BYTES (RING_BYTES / 16)
#define EVENT_MAX ((size_t)64 << 20) /* the last event of a response holds all of it */

/* Lives as long as its ring: ring_own() frees it with the last reference. */
struct stream {
        struct req *r;
        struct ring *ring;
        struct stream_owner owner;
        pthread_mutex_t lock;
        struct buf pending; /* rendered but refused by the ring */
        bool broken;        /* an event was lost: the client was told, nothing follows */
};

static void stream_free(void *ctx)
{
        struct stream *s = ctx;
        s->owner.release(s->owner.ctx);
        buf_release(&s->pending);
        pthread_mutex_destroy(&s->lock);
        req_unref(s->r);
        mem_free(s);
}

/* Moves what waits into the ring, whole frames unless one is larger than a quarter of it: 0, or -EAGAIN when
 * some still waits. Lock held. */
static int flush(struct stream *s)
{
        size_t sent = 0;
        int rc = 0;
        while (rc == 0 && sent < s->pending.n) {
                struct str piece = { s->pending.p + sent, s->pending.n - sent };
                if (piece.n > PIECE_BYTES)
                        piece.n = PIECE_BYTES;
                rc = ring_write(s->ring, piece);
                if (rc == 0)
                        sent += piece.n;
        }
        if (rc == -EPIPE || rc == -ENOMEM) /* nobody reads any more, or it cannot be had: drop it */
                sent = s->pending.n;
        buf_consume(&s->pending, sent);
        return rc == -EAGAIN ? rc : 0;
}

static void on_room(void *ctx)
{
        struct stream *s = ctx;
        pthread_mutex_lock(&s->lock);
        int rc = flush(s);
        pthread_mutex_unlock(&s->lock);
        if (rc == 0)
                s->owner.resume(s->owner.ctx);
}

struct stream *stream_new(struct req *r, const struct stream_owner *owner)
{
        struct stream *s = mem_calloc(1, sizeof(*s));
        if (!s)
                return NULL;
        s->ring = ring_new(RING_BYTES, NULL);
        if (!s->ring) {
                mem_free(s);
                return NULL;
        }
        s->r = r;
        s->owner = *owner;
        pthread_mutex_init(&s->lock, NULL);
        buf_init(&s->pending, EVENT_MAX);
        req_ref(r);
        ring_own(s->ring, stream_free, s);
        ring_set_on_room(s->ring, on_room, s);
        return s;
}

struct ring *stream_ring(struct stream *s)
{
        return s->ring;
}

static void check_event(struct req *r, const char *event, const json_t *data)
{
        struct schema_err why;
        if (r->check && contract_check_event(r->op, event, data, &why))
                req_violation(r, event ? event : "event", &why);
}

/* An event that could not be written ends the stream with an error in the form of either kind of stream. */
static void break_stream(struct stream *s, bool named)
{
        struct str error =
                STR("{\"type\":\"error\",\"sequence_number\":0,\"message\":\"The server is out of memory.\","
                    "\"code\":\"server_error\",\"param\":null,\"error\":{\"message\":\"The server is out of "
                    "memory.\",\"type\":\"server_error\",\"param\":null,\"code\":null}}");
        s->broken = true;
        sse_frame(&s->pending, named ? "error" : NULL, error);
}

/* Renders and sends, consuming data, of which `lost` says that a part is missing. */
static bool send(struct stream *s, const char *event, json_t *data, bool lost)
{
        struct buf text;
        buf_init(&text, EVENT_MAX);
        int rc = lost ? -ENOMEM : json_write(data, &text);
        json_decref(data);
        pthread_mutex_lock(&s->lock);
        if (rc && !s->broken)
                break_stream(s, event != NULL);
        else if (!s->broken)
                sse_frame(&s->pending, event, buf_str(&text));
        rc = flush(s);
        pthread_mutex_unlock(&s->lock);
        buf_release(&text);
        return rc == 0;
}

bool stream_event(struct stream *s, const char *event, json_t *data)
{
        bool lost = mem_take_failure() || !data;
        if (!lost)
                check_event(s->r, event, data);
        return send(s, event, data, lost);
}

bool stream_error(struct stream *s, const char *event, json_t *data)
{
        return send(s, event, data, !data);
}

void stream_end(struct stream *s, bool done_marker)
{
        struct ring *ring = s->ring;
        pthread_mutex_lock(&s->lock);
        if (done_marker && !s->broken)
                sse_frame(&s->pending, NULL, STR("[DONE]"));
        ring_end(ring, buf_str(&s->pending));
        buf_clear(&s->pending);
        pthread_mutex_unlock(&s->lock);
        ring_unref(ring);
}
