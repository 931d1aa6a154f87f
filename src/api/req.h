/* A request on its way through the API: what the pipeline has learnt about it, and how it is answered. */
#ifndef CAIRN_API_REQ_H
#define CAIRN_API_REQ_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include "account/account.h"
#include "api/errors.h"
#include "base/arena.h"
#include "base/ids.h"
#include "base/json.h"
#include "contract/contract.h"
#include "http/server.h"

struct api;
struct form;
struct idempotency;
struct meter;
struct reply;
struct req;
struct req_sink;
struct stream;

/* Answers a request: 0 with *ret filled; REPLY_LATER when req_reply() or req_fail() will be called, now or
 * from another thread, by whoever holds a reference; -1 with *reterr filled. */
typedef int handler_fn(struct req *r, struct reply *ret, struct api_err *reterr);
#define REPLY_LATER 1

enum route_flags {
        RT_FAST = 1,    /* runs on the I/O thread: no blocking call, no inference */
        RT_SLOW = 2,    /* waits for a model: on threads of its own, so that it never holds up a quick one */
        RT_METERED = 4, /* runs the model that body.model names: its limits hold, its usage is recorded */
        RT_FILES = 8, /* moves contents of files, perhaps to a service far away: on threads of its own too */
        RT_HEALTH = 16, /* tells how the server is: on threads that what it tells of cannot hold up */
};

struct resource;

struct route {
        const char *operation; /* operationId */
        handler_fn *handler;
        unsigned flags;
        const struct resource *resource; /* of a handler that a row of resources.c gave */
};

struct req {
        struct api *api;
        struct http_req *http;       /* not to be touched once the reply was given; NULL: see sink */
        const struct req_sink *sink; /* of a request that the server makes to itself (call.h) */
        void *sink_ctx;
        unsigned call_flags; /* enum call_flags */
        struct arena *arena; /* lives as long as the request is referenced */
        const struct route *route;
        const struct operation *op;
        struct route_match *match;
        struct principal who;
        struct meter *meter;      /* what it may use and what it used (meter.h); NULL: nothing is counted */
        json_t *query, *body;     /* validated; never NULL in a handler */
        struct form *form;        /* what a multipart body brought (form.h); NULL: it was none */
        char id[ID_MAX];          /* x-request-id */
        handler_fn *next;         /* of req_continue */
        struct idempotency *idem; /* the claim of its Idempotency-Key, or NULL */
        int fail_after;           /* CAIRN_FAULTS builds: see turn_req.fail_after */
        bool check;               /* replies and events are checked against the contract */
        int64_t start_us;         /* monotonic */
        atomic_int _refs;
        pthread_mutex_t _lock; /* guards the members below */
        bool _aborted;
        void (*_on_abort)(void *);
        void *_abort_ctx;
        struct stream *_stream; /* of a reply that goes to the sink, until it ended */
};

#define REQ_API_VERSION "2020-10-01" /* the header openai-version */

#define REPLY_HEADERS_MAX 6

struct reply {
        int status;          /* 0: 200 */
        json_t *json;        /* owned */
        const char *type;    /* of `text`; static */
        struct str text;     /* instead of json: static or of the request's arena */
        struct ring *stream; /* instead of both: server-sent events; the consumer's reference */
        bool replayed;       /* `text` or `stream` is the reply of an earlier request */
        bool sunk;           /* instead of all: the events go to the request's sink */
        /* With `type` and `stream`: not events, but `length` bytes of that type. */
        uint64_t length;
        const struct http_header *headers; /* besides those of every reply; at most REPLY_HEADERS_MAX, of the
                                              request's arena */
        size_t n_headers;
};

/* A new request with one reference, of a connection, or (http NULL) of the server itself. NULL when memory is
 * out. */
struct req *req_new(struct api *api, struct http_req *http);
void req_ref(struct req *r);
void req_unref(struct req *r);
/* The path parameter, never NULL for one that the route has. */
const char *req_param(const struct req *r, const char *name);
const char *req_project(const struct req *r);

/* fn(ctx) runs, once and under a lock, when the client is gone; at once when it is already. NULL withdraws
 * it: afterwards it does not run and is not running. */
void req_on_abort(struct req *r, void (*fn)(void *), void *ctx);
/* The client is gone: what req_on_abort() set runs. Any thread. */
void req_abort(struct req *r);

/* Goes on with the request in `fn` on a slow thread: for what a handler finds to take long. Gives what the
 * handler has to return; it may not touch the request afterwards. */
int req_continue(struct req *r, handler_fn *fn, struct api_err *reterr);
/* A header of the request; empty for one of the server itself. */
struct str req_header(const struct req *r, const char *name);
/* Whether the client is gone; takes a struct req, any thread. */
bool req_gone(void *r);

/* Give the reply, from any thread; both consume what is owned. */
void req_reply(struct req *r, struct reply *reply);
void req_fail(struct req *r, const struct api_err *e);

/* Logs and counts a breach of the contract by ourselves. */
void req_violation(struct req *r, const char *where, const struct schema_err *why);
#endif
