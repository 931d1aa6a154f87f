/* A reply of events: the producer's end. For a connection they are rendered into a bounded ring that it
 * pulls; when that is full, one event waits here and the producer is asked to pause. For a request of the
 * server itself (call.h) they go to its sink, from the moment on that the reply is given. */
#ifndef CAIRN_API_STREAM_H
#define CAIRN_API_STREAM_H

#include <stdbool.h>
#include "api/req.h"
#include "store/store.h"

struct stream;

struct stream_owner {
        void (*resume)(void *ctx);  /* I/O thread: there is room again */
        void (*release)(void *ctx); /* when the stream is gone: the owner's reference held by it */
        void *ctx;
        size_t bytes; /* that wait for a client which lags behind, before a pause; 0: 256 KiB */
};

/* The stream holds a reference to `r` and, through owner->release, to its owner. Put stream_ring() into the
 * reply. NULL when memory is out (release is not called). */
struct stream *stream_new(struct req *r, const struct stream_owner *owner);
struct ring *stream_ring(struct stream *s); /* NULL when a sink takes the events */
/* For sinks: the reply was given, events may go; and there is room again. Consumer's side. */
void stream_open(struct stream *s);
void stream_resume(struct stream *s);
/* The reply will not be given: events are dropped, the sink hears of none. Before stream_end. */
void stream_discard(struct stream *s);
/* Sends one event, consuming data; `event` is NULL for streams of bare data lines. One producer at a time.
 * False asks for a pause until resume(); the event itself is never lost. */
bool stream_event(struct stream *s, const char *event, json_t *data);
/* The same for an event that was written, and checked, before: its JSON as it is to be sent. */
bool stream_text(struct stream *s, const char *event, struct str text);
/* The same for an error envelope, which no operation's event schema describes. */
bool stream_error(struct stream *s, const char *event, json_t *data);

/* The end of a stream, before it is told. */
struct stream_last {
        struct stream *stream;
        const char *event;
        json_t *data; /* of the last event, owned; NULL: there is none */
        bool done_marker;
};
/* Commits what the stream tells of (req_commit) and, under the request's Idempotency-Key, all of its frames
 * to the end: a crash leaves both or neither, and whoever could have read the end will not make it twice. */
int stream_commit(const struct stream_last *last, const struct store_op *ops, size_t n,
                  struct store_fault *fault);
/* Tells the end, consuming its data: s may not be used afterwards. */
void stream_close(const struct stream_last *last);
/* Ends the stream, with "data: [DONE]" when done_marker is set, and drops the producer's hold: s may not be
 * used afterwards. */
void stream_end(struct stream *s, bool done_marker);
#endif
