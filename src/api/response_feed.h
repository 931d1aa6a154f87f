/* Streams of background responses to whoever asks: from any event on, what is committed, then what is being
 * committed, until the last event. No stream has a thread: one thread reads the log when the store tells that
 * it has grown, once for all who follow a response, and writes to those whose connection has room; who is
 * slow is continued when it has, from the store. A stream never shows what is not committed, and its bytes
 * are the same each time.
 *
 * The thread also runs timers, for those who write the logs. */
#ifndef CAIRN_API_RESPONSE_FEED_H
#define CAIRN_API_RESPONSE_FEED_H

#include "api/req.h"
#include "api/response_log.h"

struct api;
struct feeds;

/* Makes api->feeds and begins to watch the store. 0, -ENOMEM, -EAGAIN (no thread). */
int feeds_start(struct api *api);
/* When no request is left, and none comes. Accepts that it was not started. */
void feeds_stop(struct api *api);

struct follow {
        int64_t from;   /* sequence number of the first event to be sent */
        bool obfuscate; /* deltas come padded */
};
/* Makes the reply to a connection a stream of the response's events. `owner` names it as it is in the store.
 * 0 or -1. */
int feeds_follow(struct req *r, const struct log_owner *owner, const struct follow *f, struct reply *ret,
                 struct api_err *reterr);
/* How many streams there are. */
size_t feeds_followers(struct feeds *fs);

/* What runs when a response turns out to be over, by its id: for the run that works on it here. At most one
 * per id. The store's thread: fn must be quick. 0 or -ENOMEM. */
int feeds_watch_over(struct feeds *fs, const char *id, void (*fn)(void *ctx), void *ctx);
/* Afterwards it does not run and is not running. */
void feeds_unwatch_over(struct feeds *fs, const char *id);

/* ---- timers ---- */

struct feeds_timer {
        void (*fn)(void *ctx);
        void *ctx;
        int64_t _due;
        bool _armed, _running;
        struct feeds_timer *_next;
};
void feeds_timer_init(struct feeds_timer *t, void (*fn)(void *ctx), void *ctx);
/* fn(ctx) runs on the thread of the feeds in `ms` milliseconds, or when it is due already: an armed timer is
 * neither brought forward (who waits to try again is not hurried) nor put off. */
void feeds_after(struct feeds *fs, struct feeds_timer *t, int ms);
/* Afterwards it does not run and is not running. Not from fn itself. */
void feeds_cancel(struct feeds *fs, struct feeds_timer *t);
#endif
