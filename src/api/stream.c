#include "api/stream.h"

#include <errno.h>
#include "api/api.h"
#include "api/call.h"
#include "api/idempotency.h"
#include "api/meter.h"
#include "base/mem.h"
#include "http/sse.h"

#define RING_BYTES \
        (256 * 1024) /* taken as needed: only a client that lags behind makes a stream this large */
#define PIECES 16    /* of a ring: what is written to it at once */
#define PENDING_MAX \
        ((size_t)256 << 20) /* the events of a response hold all of it, and several wait at once */
#define JSON_DEPTH 256
#define ERROR_ROOM 1024 /* beyond it, for what tells that an event is missing */

/* With a ring it lives as long as that: ring_own() frees it with the last reference. Else `sides` counts
 * those that are not through: the producer until stream_end, the consumer until stream_open or
 * stream_discard. */
struct stream {
        struct req *r;
        struct ring *ring; /* NULL: the events go to the request's sink */
        int sides;
        bool open;      /* the sink may be told */
        bool discarded; /* it will not be told anything */
        json_t *early;  /* events of before: [name, data, ...]; NULL: none */
        struct stream_owner owner;
        pthread_mutex_t lock;
        struct buf pending; /* rendered but refused by the ring, behind `taken` bytes that it took since */
        size_t taken;
        bool failed;     /* it ends with an error */
        bool keeps;      /* its frames are given again to who repeats the request */
        struct buf kept; /* they */
        bool broken;     /* an event was lost: the client was told, nothing follows */
};

/* Where call_resume() finds it. */
static void set_stream(struct req *r, struct stream *s)
{
        pthread_mutex_lock(&r->_lock);
        r->_stream = s;
        pthread_mutex_unlock(&r->_lock);
}

static void stream_free(void *ctx)
{
        struct stream *s = ctx;
        json_decref(s->early);
        s->owner.release(s->owner.ctx);
        buf_release(&s->pending);
        buf_release(&s->kept);
        pthread_mutex_destroy(&s->lock);
        req_unref(s->r);
        mem_free(s);
}

static struct str waiting(const struct stream *s)
{
        struct str all = buf_str(&s->pending);
        return (struct str){ all.p + s->taken, all.n - s->taken };
}

/* Moves what waits into the ring, in pieces, so that a large event has not to wait for an empty ring: 0, or
 * -EAGAIN when some waits for room. What the ring has no memory for waits for the next event or the end. Lock
 * held. */
static int flush(struct stream *s)
{
        int rc = 0;
        while (rc == 0 && s->taken < s->pending.n) {
                struct str piece = waiting(s);
                if (piece.n > s->owner.bytes / PIECES)
                        piece.n = s->owner.bytes / PIECES;
                rc = ring_write(s->ring, piece);
                if (rc == 0)
                        s->taken += piece.n;
        }
        if (rc == -EPIPE) /* nobody reads any more */
                s->taken = s->pending.n;
        if (s->taken >= s->pending.n / 2) { /* not each time: a large event would be moved over and over */
                buf_consume(&s->pending, s->taken);
                s->taken = 0;
        }
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
        s->owner = *owner;
        if (!s->owner.bytes)
                s->owner.bytes = RING_BYTES;
        s->ring = r->http ? ring_new(s->owner.bytes, NULL) : NULL;
        if (r->http && !s->ring) {
                mem_free(s);
                return NULL;
        }
        s->r = r;
        pthread_mutex_init(&s->lock, NULL);
        buf_init(&s->pending, PENDING_MAX + ERROR_ROOM);
        buf_init(&s->kept, IDEMPOTENCY_REPLY_MAX);
        s->keeps = idempotency_keeps(r);
        req_ref(r);
        if (s->ring) {
                ring_own(s->ring, stream_free, s);
                ring_set_on_room(s->ring, on_room, s);
        } else {
                s->sides = 2;
                set_stream(r, s);
        }
        return s;
}

struct ring *stream_ring(struct stream *s)
{
        return s->ring;
}

/* ---- events for a sink ---- */

/* Hands on, or keeps until the reply was given. The lock keeps events in order; it is held while the sink is
 * told. */
static bool sink_event(struct stream *s, const char *event, json_t *data, bool lost)
{
        const struct req_sink *sink = s->r->sink;
        bool more = true;
        pthread_mutex_lock(&s->lock);
        s->broken |= lost;
        if (s->open && !s->broken) {
                more = sink->event(s->r->sink_ctx, s->r, event, data);
        } else if (!s->broken && !s->discarded) {
                if (!s->early)
                        s->early = json_array();
                json_array_append_new(s->early, event ? json_string(event) : json_null());
                s->broken |= json_array_append(s->early, data) != 0;
        }
        pthread_mutex_unlock(&s->lock);
        json_decref(data);
        return more;
}

/* One side is through. The sink hears of the end when both are. */
static void leave(struct stream *s)
{
        pthread_mutex_lock(&s->lock);
        bool last = --s->sides == 0;
        pthread_mutex_unlock(&s->lock);
        if (!last)
                return;
        set_stream(s->r, NULL);
        if (!s->discarded)
                s->r->sink->end(s->r->sink_ctx, s->r);
        stream_free(s);
}

void stream_open(struct stream *s)
{
        pthread_mutex_lock(&s->lock);
        for (size_t i = 0; i + 1 < json_array_size(s->early); i += 2) {
                const char *event = json_string_value(json_array_get(s->early, i));
                s->r->sink->event(s->r->sink_ctx, s->r, event, json_array_get(s->early, i + 1));
        }
        s->open = true;
        pthread_mutex_unlock(&s->lock);
        leave(s);
}

void stream_resume(struct stream *s)
{
        s->owner.resume(s->owner.ctx);
}

void stream_discard(struct stream *s)
{
        if (s->ring) {
                ring_cancel(s->ring);
                ring_unref(s->ring);
                return;
        }
        pthread_mutex_lock(&s->lock);
        s->discarded = true;
        pthread_mutex_unlock(&s->lock);
        leave(s);
}

/* ---- events for a connection ---- */

static void check_event(struct req *r, const char *event, const json_t *data)
{
        struct schema_err why;
        if (r->check && contract_check_event(r->op, event, data, &why))
                req_violation(r, event ? event : "event", &why);
}

/* Adds a whole frame to what waits, or nothing: 0 or a negative errno value. Lock held. */
static int add_frame(struct stream *s, const char *event, struct str data, size_t max)
{
        size_t before = s->pending.n;
        sse_frame(&s->pending, event, data);
        int rc = s->pending.n > max ? -EFBIG : buf_error(&s->pending);
        if (rc)
                buf_cut(&s->pending, before);
        return rc;
}

/* After an event that could not be written the stream only says so, in the form of either kind. Lock held. */
static void break_stream(struct stream *s, bool named)
{
        struct str error =
                STR("{\"type\":\"error\",\"sequence_number\":0,\"message\":\"The server is out of memory.\","
                    "\"code\":\"server_error\",\"param\":null,\"error\":{\"message\":\"The server is out of "
                    "memory.\",\"type\":\"server_error\",\"param\":null,\"code\":null}}");
        s->broken = true;
        add_frame(s, named ? "error" : NULL, error, PENDING_MAX + ERROR_ROOM);
}

/* Sends what was rendered; rc says whether it could be. */
static bool send_text(struct stream *s, const char *event, struct str text, int rc)
{
        pthread_mutex_lock(&s->lock);
        if (rc == 0 && !s->broken)
                rc = add_frame(s, event, text, PENDING_MAX);
        if (rc == 0 && s->keeps)
                sse_frame(&s->kept, event, text);
        if (rc && !s->broken)
                break_stream(s, event != NULL);
        rc = flush(s);
        pthread_mutex_unlock(&s->lock);
        return rc == 0;
}

/* Renders and sends, consuming data, of which `lost` says that a part is missing. */
static bool send(struct stream *s, const char *event, json_t *data, bool lost)
{
        struct buf text;
        buf_init(&text, PENDING_MAX);
        int rc = lost ? -ENOMEM : json_write(data, &text);
        json_decref(data);
        bool more = send_text(s, event, buf_str(&text), rc);
        buf_release(&text);
        return more;
}

/* Nothing is sent any more, and what is rendered may lack what could not be made. */
static bool is_broken(struct stream *s)
{
        pthread_mutex_lock(&s->lock);
        bool broken = s->broken;
        pthread_mutex_unlock(&s->lock);
        return broken;
}

bool stream_event(struct stream *s, const char *event, json_t *data)
{
        bool lost = mem_take_failure() || !data;
        if (!lost && !is_broken(s))
                check_event(s->r, event, data);
        return s->ring ? send(s, event, data, lost) : sink_event(s, event, data, lost);
}

bool stream_text(struct stream *s, const char *event, struct str text)
{
        struct json_fault why;
        if (s->ring)
                return send_text(s, event, text, 0);
        json_t *data = json_parse(text, JSON_DEPTH, &why);
        return sink_event(s, event, data, !data);
}

bool stream_error(struct stream *s, const char *event, json_t *data)
{
        s->failed = true;
        return s->ring ? send(s, event, data, !data) : sink_event(s, event, data, !data);
}

/* All frames to the end into `text`, which the caller releases: they, or nothing when they are too long to be
 * kept. */
static struct str frames(struct stream *s, const struct stream_last *last, struct buf *text)
{
        struct buf data;
        buf_init(&data, PENDING_MAX);
        int rc = last->data ? json_write(last->data, &data) : 0;
        pthread_mutex_lock(&s->lock);
        struct str before = buf_str(&s->kept);
        rc = rc ? rc : buf_error(&s->kept);
        buf_add(text, before.p, before.n);
        pthread_mutex_unlock(&s->lock);
        if (last->data)
                sse_frame(text, last->event, buf_str(&data));
        if (last->done_marker)
                sse_frame(text, NULL, STR("[DONE]"));
        buf_release(&data);
        return rc || buf_error(text) ? (struct str){ 0 } : buf_str(text);
}

int stream_commit(const struct stream_last *last, const struct store_op *ops, size_t n,
                  struct store_fault *fault)
{
        struct stream *s = last->stream;
        struct buf text;
        if (!s->keeps || is_broken(s)) /* a broken one ends with an error: it may be asked for again */
                return meter_commit(s->r, ops, n, fault);
        buf_init(&text, IDEMPOTENCY_REPLY_MAX);
        int rc = req_commit_stream(s->r, ops, n, frames(s, last, &text), fault);
        buf_release(&text);
        return rc;
}

void stream_close(const struct stream_last *last)
{
        if (last->data)
                stream_event(last->stream, last->event, last->data);
        stream_end(last->stream, last->done_marker);
}

/* A stream that failed or whose client left may be asked for again, unless it was kept with what it told of.
 * Lock held. */
static void keep_frames(struct stream *s, bool done_marker)
{
        bool whole = !s->broken && !s->failed && !ring_cancelled(s->ring);
        if (done_marker)
                sse_frame(&s->kept, NULL, STR("[DONE]"));
        idempotency_end_stream(s->r, buf_error(&s->kept) ? (struct str){ 0 } : buf_str(&s->kept), whole);
}

void stream_end(struct stream *s, bool done_marker)
{
        struct ring *ring = s->ring;
        if (!ring) {
                leave(s);
                return;
        }
        pthread_mutex_lock(&s->lock);
        if (done_marker && !s->broken)
                add_frame(s, NULL, STR("[DONE]"), PENDING_MAX + ERROR_ROOM);
        if (s->keeps)
                keep_frames(s, done_marker);
        ring_end(ring, waiting(s));
        pthread_mutex_unlock(&s->lock);
        ring_unref(ring);
}
