#include "api/response_feed.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include "api/api.h"
#include "api/response_background.h"
#include "api/stream.h"
#include "base/clock.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/thread.h"

#define CACHED_ROWS 8            /* of a feed: those who follow live read each row once for all */
#define STREAM_BYTES (32 * 1024) /* that a stream holds for a client that lags behind */
#define TYPE_MAX 96
#define EVENT_MAX ((size_t)256 << 20)

/* A client that follows a response; it holds its feed. */
struct follower {
        struct feed *feed;
        int refs; /* the stream's, the feed's, that of the list of those with room; under the lock */
        struct stream *stream; /* NULL once it was ended; the thread's */
        int64_t row, next;     /* first event of the row to be read; the event to be sent */
        bool obfuscate;
        bool held;                   /* its connection has no room; the thread's */
        bool ready;                  /* it is on the list; under the lock */
        struct follower *next_ready; /* under the lock */
        struct follower *next_new;   /* under the lock */
};

/* A response that somebody follows. */
struct feed {
        struct feeds *fs;
        struct log_owner owner;
        char id[ID_MAX], project[ID_MAX];
        int refs; /* the map's, each follower's; under the lock */
        /* Under the lock: */
        bool dirty, look; /* there may be more events; and the response may be over */
        struct feed *next_dirty;
        struct follower *joining;
        int coming; /* feeds_follow() calls that are making a stream for it */
        /* The thread's: */
        struct VEC(struct follower *) followers;
        size_t streaming; /* followers whose stream has not ended */
        struct {
                int64_t first; /* 0 also when the place is empty: `row` tells */
                struct object row;
        } rows[CACHED_ROWS];
        size_t oldest;
        int64_t missing; /* the row that was found not to be there in this pass; -1: none */
        bool over;       /* the response is final: where its log ends, the stream ends */
};

struct over_watch {
        void (*fn)(void *ctx);
        void *ctx;
        int running; /* threads that are in fn; under the lock */
};

struct feeds {
        struct api *api;
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t wake; /* of the monotonic clock: work, or a timer that changed */
        pthread_cond_t told; /* an over_watch does not run any more */
        struct map by_id;    /* struct feed */
        struct map over;     /* struct over_watch */
        struct feed *dirty;
        struct follower *ready;
        struct feeds_timer *timers;
        size_t followers;
        bool stopping;
};

/* ---- feeds ---- */

/* Under the lock. */
static void feed_unref(struct feed *f)
{
        if (--f->refs)
                return;
        for (size_t i = 0; i < CACHED_ROWS; i++)
                object_release(&f->rows[i].row);
        vec_release(&f->followers);
        mem_free(f);
}

/* Under the lock. */
static void mark(struct feed *f, bool look)
{
        f->look |= look;
        if (f->dirty)
                return;
        f->dirty = true;
        f->next_dirty = f->fs->dirty;
        f->fs->dirty = f;
        f->refs++;
        pthread_cond_signal(&f->fs->wake);
}

static struct feed *feed_new(struct feeds *fs, const struct log_owner *owner)
{
        struct feed *f = mem_calloc(1, sizeof(*f));
        if (!f)
                return NULL;
        f->fs = fs;
        f->refs = 1;
        f->missing = -1;
        f->look = true; /* it may have ended before anybody watched */
        snprintf(f->id, sizeof(f->id), "%s", owner->id);
        snprintf(f->project, sizeof(f->project), "%s", owner->project);
        f->owner = (struct log_owner){ .id = f->id, .project = f->project };
        if (map_put(&fs->by_id, str_c(f->id), f, NULL)) {
                mem_free(f);
                return NULL;
        }
        return f;
}

/* The row that begins with event `first`: 0, or -ENOENT when it is not there yet. */
static int feed_row(struct feed *f, int64_t first, const struct object **ret)
{
        for (size_t i = 0; i < CACHED_ROWS; i++) {
                *ret = &f->rows[i].row;
                if ((*ret)->id && f->rows[i].first == first)
                        return 0;
        }
        if (first == f->missing)
                return -ENOENT;
        size_t at = f->oldest;
        object_release(&f->rows[at].row);
        int rc = log_row_read(f->fs->api->store, &f->owner, first, &f->rows[at].row, NULL);
        if (rc == -ENOENT)
                f->missing = first;
        if (rc)
                return rc;
        f->rows[at].first = first;
        f->oldest = (at + 1) % CACHED_ROWS;
        *ret = &f->rows[at].row;
        return 0;
}

/* ---- followers ---- */

/* Under the lock. */
static void follower_unref(struct follower *w)
{
        if (--w->refs)
                return;
        feed_unref(w->feed);
        mem_free(w);
}

/* The connection has room again, or is gone. Its thread. */
static void on_room(void *ctx)
{
        struct follower *w = ctx;
        struct feeds *fs = w->feed->fs;
        pthread_mutex_lock(&fs->lock);
        if (!w->ready) {
                w->ready = true;
                w->next_ready = fs->ready;
                fs->ready = w;
                w->refs++;
                pthread_cond_signal(&fs->wake);
        }
        pthread_mutex_unlock(&fs->lock);
}

/* The stream is gone. */
static void on_release(void *ctx)
{
        struct follower *w = ctx;
        struct feeds *fs = w->feed->fs;
        pthread_mutex_lock(&fs->lock);
        fs->followers--;
        follower_unref(w);
        pthread_mutex_unlock(&fs->lock);
}

/* The feed lets go of the follower after this pass. */
static void end_stream(struct follower *w)
{
        struct stream *s = w->stream;
        w->stream = NULL;
        w->feed->streaming--;
        stream_end(s, false);
}

/* Ends a stream that cannot go on to the last event of its response. The event says it twice: clients that
 * look for an `error` raise it, others are given the event. */
static void break_off(struct follower *w, const char *type, const char *code, const char *message)
{
        stream_error(w->stream, "error",
                     json_pack("{s:s, s:I, s:s, s:s, s:n, s:{s:s, s:s, s:n, s:s}}", "type", "error",
                               "sequence_number", (json_int_t)w->next, "code", code, "message", message,
                               "param", "error", "message", message, "type", type, "param", "code", code));
        end_stream(w);
}

/* Sends one event. False when there is no more room for now, or no more to come. */
static bool send_line(struct follower *w, const struct log_line *line)
{
        char type[TYPE_MAX];
        struct buf text;
        buf_init(&text, EVENT_MAX);
        snprintf(type, sizeof(type), "%.*s", STR_ARG(line->type));
        log_line_write(line, w->feed->id, w->obfuscate, &text);
        bool more = buf_error(&text) ? stream_event(w->stream, type, NULL)
                                     : stream_text(w->stream, type, buf_str(&text));
        buf_release(&text);
        w->next = line->sequence + 1;
        if (log_line_is_last(line) || ring_cancelled(stream_ring(w->stream))) {
                end_stream(w);
                return false;
        }
        w->held = !more;
        return more;
}

/* Sends what a row has for the follower: 0, or a negative errno when the row is damaged. */
static int send_row(struct follower *w, const struct object *row)
{
        struct str rest = row->doc;
        struct log_line line = { .sequence = -1 };
        int rc;
        while ((rc = log_line_next(&rest, &line)) > 0)
                if (line.sequence >= w->next && !send_line(w, &line))
                        return 0;              /* the rest of the row when there is room */
        if (rc == 0 && line.sequence < w->row) /* an empty row would be read for ever */
                rc = -EBADMSG;
        w->row = line.sequence + 1;
        return rc;
}

/* Sends what there is, until the connection has no room. */
static void pump(struct follower *w)
{
        int rc = 0;
        while (w->stream && !w->held && rc == 0) {
                const struct object *row;
                rc = feed_row(w->feed, w->row, &row);
                if (rc == 0)
                        rc = send_row(w, row);
        }
        if (!w->stream || rc == 0)
                return;
        if (rc != -ENOENT)
                break_off(w, "server_error", "server_error", "The events of the response cannot be read.");
        else if (w->feed->over)
                end_stream(w);
}

/* ---- the thread ---- */

/* Takes the followers that joined. Under no lock. */
static void take_joining(struct feed *f, struct follower *joining)
{
        while (joining) {
                struct follower *w = joining;
                joining = w->next_new;
                f->streaming++;
                if (vec_push(&f->followers, w) == 0)
                        continue;
                break_off(w, "server_error", "server_error", "The server is out of memory.");
                pthread_mutex_lock(&f->fs->lock);
                follower_unref(w);
                pthread_mutex_unlock(&f->fs->lock);
        }
}

/* Lets those go whose stream has ended. Under the lock. */
static void drop_ended(struct feed *f)
{
        size_t kept = 0;
        if (f->streaming == f->followers.n)
                return;
        for (size_t i = 0; i < f->followers.n; i++) {
                if (f->followers.p[i]->stream)
                        f->followers.p[kept++] = f->followers.p[i];
                else
                        follower_unref(f->followers.p[i]);
        }
        f->followers.n = kept;
}

/* There may be more events of a response. */
static void serve_feed(struct feed *f, struct follower *joining, bool looking)
{
        take_joining(f, joining);
        int rc = looking ? background_look(f->fs->api->store, f->id, f->project, &f->over) : 0;
        f->missing = -1;
        for (size_t i = 0; i < f->followers.n; i++) {
                struct follower *w = f->followers.p[i];
                if (w->stream && rc == -ENOENT)
                        break_off(w, "invalid_request_error", "response_deleted",
                                  "The response was deleted.");
                else if (w->stream)
                        pump(w);
        }
}

/* The feed goes when nobody follows it. Under the lock. */
static void retire(struct feed *f)
{
        struct feeds *fs = f->fs;
        if (f->coming || f->joining || f->streaming || map_get(&fs->by_id, str_c(f->id)) != f)
                return;
        map_remove(&fs->by_id, str_c(f->id));
        feed_unref(f);
}

/* Serves one feed, or one follower, if any calls for it. Under the lock, which is free meanwhile. */
static bool serve(struct feeds *fs)
{
        struct feed *f = fs->dirty;
        struct follower *w = f ? NULL : fs->ready, *joining = NULL;
        bool looking = false;
        if (f) {
                fs->dirty = f->next_dirty;
                f->dirty = false;
                looking = f->look;
                f->look = false;
                joining = f->joining;
                f->joining = NULL;
        } else if (w) {
                fs->ready = w->next_ready;
                w->ready = false;
                f = w->feed;
                f->refs++;
        } else {
                return false;
        }
        pthread_mutex_unlock(&fs->lock);
        mem_take_failure(); /* of the work before */
        if (!w) {
                serve_feed(f, joining, looking);
        } else if (w->stream) {
                w->held = false;
                if (ring_cancelled(stream_ring(w->stream)))
                        end_stream(w);
                else
                        pump(w);
        }
        pthread_mutex_lock(&fs->lock);
        if (w)
                follower_unref(w);
        drop_ended(f);
        retire(f);
        feed_unref(f);
        return true;
}

/* Runs the timers that are due. Gives when the next one is, 0: there is none. Under the lock, which is free
 * meanwhile. */
static int64_t run_timers(struct feeds *fs)
{
        int64_t now = clock_mono_ms(), next = 0;
        struct feeds_timer **at = &fs->timers;
        while (*at) {
                struct feeds_timer *t = *at;
                if (t->_due > now) {
                        next = next && next < t->_due ? next : t->_due;
                        at = &t->_next;
                        continue;
                }
                *at = t->_next;
                t->_armed = false;
                t->_running = true;
                pthread_mutex_unlock(&fs->lock);
                t->fn(t->ctx);
                pthread_mutex_lock(&fs->lock);
                t->_running = false;
                pthread_cond_broadcast(&fs->wake);
                at = &fs->timers; /* the list may be another one */
                next = 0;
        }
        return next;
}

static void *feeds_main(void *ctx)
{
        struct feeds *fs = ctx;
        pthread_mutex_lock(&fs->lock);
        while (!fs->stopping) {
                int64_t next = run_timers(fs);
                if (serve(fs) || fs->stopping)
                        continue;
                if (next)
                        thread_cond_wait_until(&fs->wake, &fs->lock, next);
                else
                        pthread_cond_wait(&fs->wake, &fs->lock);
        }
        pthread_mutex_unlock(&fs->lock);
        return NULL;
}

/* ---- what the store tells ---- */

/* Under the lock, which is free meanwhile: fn takes locks of the run, and must not hold up other feeds. */
static void tell_over(struct feeds *fs, struct over_watch *w)
{
        w->running++;
        pthread_mutex_unlock(&fs->lock);
        w->fn(w->ctx);
        pthread_mutex_lock(&fs->lock);
        w->running--;
        pthread_cond_broadcast(&fs->told);
}

/* Frees what is not in the map any more (NULL: nothing). Under the lock, which is free while it waits. */
static void over_watch_free(struct feeds *fs, struct over_watch *w)
{
        while (w && w->running)
                pthread_cond_wait(&fs->told, &fs->lock);
        mem_free(w);
}

/* The store's thread. */
static void on_notify(void *ctx, const char *topic, const char *id)
{
        struct feeds *fs = ctx;
        bool over = !strcmp(topic, RESPONSE_TOPIC_OVER), missed = !*topic;
        if (!over && !missed && strcmp(topic, RESPONSE_TOPIC))
                return;
        pthread_mutex_lock(&fs->lock);
        struct feed *f = missed ? NULL : map_get(&fs->by_id, str_c(id));
        struct over_watch *w = over ? map_get(&fs->over, str_c(id)) : NULL;
        if (f)
                mark(f, over);
        size_t it = 0;
        struct str key;
        void *each;
        while (missed && map_next(&fs->by_id, &it, &key, &each))
                mark(each, true);
        if (w)
                tell_over(fs, w);
        pthread_mutex_unlock(&fs->lock);
}

int feeds_watch_over(struct feeds *fs, const char *id, void (*fn)(void *ctx), void *ctx)
{
        struct over_watch *w = mem_alloc(sizeof(*w));
        void *old = NULL;
        if (!w)
                return -ENOMEM;
        *w = (struct over_watch){ .fn = fn, .ctx = ctx };
        pthread_mutex_lock(&fs->lock);
        int rc = map_put(&fs->over, str_c(id), w, &old);
        over_watch_free(fs, rc ? w : old);
        pthread_mutex_unlock(&fs->lock);
        return rc;
}

void feeds_unwatch_over(struct feeds *fs, const char *id)
{
        pthread_mutex_lock(&fs->lock);
        over_watch_free(fs, map_remove(&fs->over, str_c(id)));
        pthread_mutex_unlock(&fs->lock);
}

/* ---- joining ---- */

static struct follower *follower_new(struct feed *feed, const struct follow *f)
{
        struct follower *w = mem_calloc(1, sizeof(*w));
        if (!w)
                return NULL;
        w->feed = feed;
        w->refs = 1;
        w->next = f->from;
        w->row = log_row_start(f->from);
        w->obfuscate = f->obfuscate;
        feed->refs++;
        feed->coming++; /* until it joins, the feed must not retire: it would hear of nothing more */
        feed->fs->followers++;
        return w;
}

int feeds_follow(struct req *r, const struct log_owner *owner, const struct follow *f, struct reply *ret,
                 struct api_err *reterr)
{
        struct feeds *fs = r->api->feeds;
        pthread_mutex_lock(&fs->lock);
        struct feed *feed = map_get(&fs->by_id, str_c(owner->id));
        if (!feed)
                feed = feed_new(fs, owner);
        struct follower *w = feed ? follower_new(feed, f) : NULL;
        if (feed && !w)
                mark(feed, false); /* a new one would be left without followers */
        pthread_mutex_unlock(&fs->lock);
        if (!w)
                return err_internal(reterr, -ENOMEM, "stream", "");
        struct stream_owner stream_owner = { on_room, on_release, w, STREAM_BYTES };
        struct stream *s = stream_new(r, &stream_owner);
        if (!s) {
                pthread_mutex_lock(&fs->lock);
                feed->coming--;
                mark(feed, false); /* it retires, unless somebody else follows it */
                pthread_mutex_unlock(&fs->lock);
                on_release(w);
                return err_internal(reterr, -ENOMEM, "stream", "");
        }
        ret->stream = stream_ring(s);
        w->stream = s;
        pthread_mutex_lock(&fs->lock);
        feed->coming--;
        w->next_new = feed->joining;
        feed->joining = w;
        w->refs++; /* the feed's */
        mark(feed, false);
        pthread_mutex_unlock(&fs->lock);
        return 0;
}

size_t feeds_followers(struct feeds *fs)
{
        pthread_mutex_lock(&fs->lock);
        size_t n = fs->followers;
        pthread_mutex_unlock(&fs->lock);
        return n;
}

/* ---- timers ---- */

void feeds_timer_init(struct feeds_timer *t, void (*fn)(void *ctx), void *ctx)
{
        *t = (struct feeds_timer){ .fn = fn, .ctx = ctx };
}

void feeds_after(struct feeds *fs, struct feeds_timer *t, int ms)
{
        int64_t due = clock_mono_ms() + ms;
        pthread_mutex_lock(&fs->lock);
        if (!t->_armed) {
                t->_armed = true;
                t->_due = due;
                t->_next = fs->timers;
                fs->timers = t;
                pthread_cond_broadcast(&fs->wake);
        }
        pthread_mutex_unlock(&fs->lock);
}

void feeds_cancel(struct feeds *fs, struct feeds_timer *t)
{
        pthread_mutex_lock(&fs->lock);
        for (struct feeds_timer **at = &fs->timers; *at; at = &(*at)->_next) {
                if (*at == t) {
                        *at = t->_next;
                        t->_armed = false;
                        break;
                }
        }
        while (t->_running)
                pthread_cond_wait(&fs->wake, &fs->lock);
        pthread_mutex_unlock(&fs->lock);
}

/* ---- start and stop ---- */

static void feeds_free(struct feeds *fs)
{
        map_release(&fs->by_id, NULL);
        map_release(&fs->over, mem_free);
        pthread_cond_destroy(&fs->told);
        pthread_cond_destroy(&fs->wake);
        pthread_mutex_destroy(&fs->lock);
        mem_free(fs);
}

int feeds_start(struct api *api)
{
        struct feeds *fs = mem_calloc(1, sizeof(*fs));
        if (!fs)
                return -ENOMEM;
        fs->api = api;
        map_init(&fs->by_id);
        map_init(&fs->over);
        pthread_mutex_init(&fs->lock, NULL);
        thread_cond_init(&fs->wake);
        pthread_cond_init(&fs->told, NULL);
        int rc = store_watch(api->store, on_notify, fs);
        if (rc == 0) {
                rc = thread_start(&fs->thread, "feeds", feeds_main, fs);
                if (rc)
                        store_unwatch(api->store, on_notify, fs);
        }
        if (rc) {
                feeds_free(fs);
                return rc;
        }
        api->feeds = fs;
        return 0;
}

void feeds_stop(struct api *api)
{
        struct feeds *fs = api->feeds;
        struct str key;
        size_t it = 0;
        void *f;
        if (!fs)
                return;
        store_unwatch(api->store, on_notify, fs);
        pthread_mutex_lock(&fs->lock);
        fs->stopping = true;
        pthread_cond_broadcast(&fs->wake);
        pthread_mutex_unlock(&fs->lock);
        pthread_join(fs->thread, NULL);
        while (fs->dirty) { /* called for, but there is nobody left to be served */
                struct feed *next = fs->dirty->next_dirty;
                feed_unref(fs->dirty);
                fs->dirty = next;
        }
        while (map_next(&fs->by_id, &it, &key, &f))
                feed_unref(f);
        feeds_free(fs);
        api->feeds = NULL;
}
