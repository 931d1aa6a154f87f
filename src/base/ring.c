#include "base/ring.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include "base/mem.h"

struct ring {
        pthread_mutex_t lock;
        struct ring_ops data_side; /* only on_data and ctx are used */
        struct ring_ops room_side; /* only on_room and ctx are used */
        char *bytes;
        size_t cap; /* of the memory now; `limit` of ordinary writes */
        size_t limit, head, used;
        size_t wanted; /* size of the refused write that waits for room, 0 when none does */
        bool ended, cancelled;
        struct {
                void (*release)(void *);
                void *p;
        } owned[2];
        atomic_int refs;
};

struct ring *ring_new(size_t capacity, const struct ring_ops *ops)
{
        struct ring *r = mem_calloc(1, sizeof(*r));
        if (!r)
                return NULL;
        r->bytes = NULL; /* memory is taken as the stream needs it */
        r->limit = capacity;
        if (ops) {
                r->data_side = *ops;
                r->room_side = *ops;
        }
        pthread_mutex_init(&r->lock, NULL);
        atomic_init(&r->refs, 2);
        return r;
}

void ring_unref(struct ring *r)
{
        if (!r || atomic_fetch_sub(&r->refs, 1) != 1)
                return;
        for (int i = 0; i < 2; i++)
                if (r->owned[i].release)
                        r->owned[i].release(r->owned[i].p);
        pthread_mutex_destroy(&r->lock);
        mem_free(r->bytes);
        mem_free(r);
}

int ring_own(struct ring *r, void (*release)(void *), void *p)
{
        int rc = -ENOSPC;
        pthread_mutex_lock(&r->lock);
        for (int i = 0; i < 2 && rc; i++) {
                if (r->owned[i].release)
                        continue;
                r->owned[i].release = release;
                r->owned[i].p = p;
                rc = 0;
        }
        pthread_mutex_unlock(&r->lock);
        return rc;
}

void ring_set_on_data(struct ring *r, void (*fn)(void *), void *ctx)
{
        pthread_mutex_lock(&r->lock);
        r->data_side = (struct ring_ops){ .on_data = fn, .ctx = ctx };
        pthread_mutex_unlock(&r->lock);
}

void ring_set_on_room(struct ring *r, void (*fn)(void *), void *ctx)
{
        pthread_mutex_lock(&r->lock);
        r->room_side = (struct ring_ops){ .on_room = fn, .ctx = ctx };
        pthread_mutex_unlock(&r->lock);
}

/* Makes room for n bytes in all; lock held. */
static int grow(struct ring *r, size_t n)
{
        if (n <= r->cap)
                return 0;
        size_t cap = r->cap ? r->cap : 1024;
        while (cap < n)
                cap *= 2;
        char *bytes = mem_alloc(cap);
        if (!bytes)
                return -ENOMEM;
        size_t first = r->cap - r->head < r->used ? r->cap - r->head : r->used;
        if (r->used) {
                memcpy(bytes, r->bytes + r->head, first);
                memcpy(bytes + first, r->bytes, r->used - first);
        }
        mem_free(r->bytes);
        r->bytes = bytes;
        r->cap = cap;
        r->head = 0;
        return 0;
}

static void append(struct ring *r, struct str piece)
{
        if (!piece.n)
                return;
        size_t tail = (r->head + r->used) % r->cap;
        size_t first = r->cap - tail < piece.n ? r->cap - tail : piece.n;
        memcpy(r->bytes + tail, piece.p, first);
        memcpy(r->bytes, piece.p + first, piece.n - first);
        r->used += piece.n;
}

/* Unlocks, then tells the consumer when it may have been waiting. */
static void unlock_and_tell_data(struct ring *r, bool tell)
{
        struct ring_ops side = r->data_side;
        pthread_mutex_unlock(&r->lock);
        if (tell && side.on_data)
                side.on_data(side.ctx);
}

int ring_write(struct ring *r, struct str piece)
{
        int rc = 0;
        pthread_mutex_lock(&r->lock);
        bool was_empty = r->used == 0;
        if (r->cancelled || r->ended)
                rc = -EPIPE;
        else if (piece.n > r->limit)
                rc = -EFBIG;
        else if (piece.n > r->limit - r->used)
                rc = -EAGAIN;
        else
                rc = grow(r, r->used + piece.n);
        if (rc == -EAGAIN)
                r->wanted = piece.n;
        if (rc == 0)
                append(r, piece);
        unlock_and_tell_data(r, rc == 0 && was_empty && piece.n);
        return rc;
}

int ring_end(struct ring *r, struct str last_piece)
{
        pthread_mutex_lock(&r->lock);
        int rc = r->cancelled || r->ended ? -EPIPE : grow(r, r->used + last_piece.n);
        if (rc == 0)
                append(r, last_piece);
        r->ended = true;
        unlock_and_tell_data(r, true);
        return rc;
}

bool ring_cancelled(struct ring *r)
{
        pthread_mutex_lock(&r->lock);
        bool cancelled = r->cancelled;
        pthread_mutex_unlock(&r->lock);
        return cancelled;
}

static void unlock_and_tell_room(struct ring *r, bool tell)
{
        struct ring_ops side = r->room_side;
        pthread_mutex_unlock(&r->lock);
        if (tell && side.on_room)
                side.on_room(side.ctx);
}

long ring_read(struct ring *r, char *out, size_t n)
{
        pthread_mutex_lock(&r->lock);
        if (!r->used) {
                long end = r->ended || r->cancelled ? -1 : 0;
                pthread_mutex_unlock(&r->lock);
                return end;
        }
        size_t take = n < r->used ? n : r->used;
        size_t first = r->cap - r->head < take ? r->cap - r->head : take;
        memcpy(out, r->bytes + r->head, first);
        memcpy(out + first, r->bytes, take - first);
        r->head = (r->head + take) % r->cap;
        r->used -= take;
        bool room = r->wanted && r->used <= r->limit && r->limit - r->used >= r->wanted;
        if (room)
                r->wanted = 0;
        unlock_and_tell_room(r, room);
        return (long)take;
}

void ring_cancel(struct ring *r)
{
        pthread_mutex_lock(&r->lock);
        bool first = !r->cancelled;
        r->cancelled = true;
        r->used = 0;
        r->wanted = 0;
        unlock_and_tell_room(r, first);
}

size_t ring_used(struct ring *r)
{
        pthread_mutex_lock(&r->lock);
        size_t used = r->used;
        pthread_mutex_unlock(&r->lock);
        return used;
}
