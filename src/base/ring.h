/* A bounded byte queue between one producer and one consumer of a stream. The producer never blocks:
 * a write that does not fit is refused whole, and `on_room` tells when there is room again. */
#ifndef CAIRN_BASE_RING_H
#define CAIRN_BASE_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/str.h"

struct ring;

/* Callbacks run without the ring's lock, on the thread of the other side. Either may be NULL. */
struct ring_ops {
        void (*on_data)(void *ctx); /* producer's thread: the ring was empty and now has data, or ended */
        void (*on_room)(void *ctx); /* consumer's thread: a refused write would now fit, or cancelled */
        void *ctx;
};

/* Reference-counted with two holders at the start: producer and consumer each call ring_unref once. */
struct ring *ring_new(size_t capacity, const struct ring_ops *ops);
void ring_unref(struct ring *r);
/* Sets the callback of one side, for a side that is attached after the ring was made. A callback that is
 * running is not waited for: its ctx must live until the ring is cancelled or ended and unreferenced. */
void ring_set_on_data(struct ring *r, void (*fn)(void *), void *ctx);
void ring_set_on_room(struct ring *r, void (*fn)(void *), void *ctx);

/* release(p) runs when the last holder drops the ring. What a callback's ctx points to is made safe this way:
 * a callback in flight holds the ring, so p outlives it. At most two; -ENOSPC beyond. */
int ring_own(struct ring *r, void (*release)(void *), void *p);

/* Producer. 0; -EAGAIN when full (nothing was written); -EPIPE when cancelled or ended; -EFBIG when the
 * piece can never fit. */
int ring_write(struct ring *r, struct str piece);
/* Grows beyond the capacity once: terminal events must never be lost. Then the stream is ended. */
int ring_end(struct ring *r, struct str last_piece);
bool ring_cancelled(struct ring *r);

/* Consumer: up to n bytes; 0 when empty for now; -1 at the end. */
long ring_read(struct ring *r, char *out, size_t n);
void ring_cancel(struct ring *r); /* drops data; the producer sees -EPIPE */
size_t ring_used(struct ring *r);
#endif
