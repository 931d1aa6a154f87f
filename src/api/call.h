/* Requests that the server makes to itself: a line of a batch, a frame of a WebSocket. They pass the same
 * validation, limits, handlers and accounting as one that came over HTTP; only the reply goes to a sink
 * instead of a connection. (A response in the background was admitted by the request that asked for it, and
 * its worker makes its own struct req.) */
#ifndef CAIRN_API_CALL_H
#define CAIRN_API_CALL_H

#include "api/req.h"
#include "store/store.h"

/* Where the reply goes. Exactly one of `reply` and `end` is called, last; `event` before `end` only. Any
 * thread; must not block on a model. The JSON is borrowed. */
struct req_sink {
        /* A whole reply, or the refusal of the request. */
        void (*reply)(void *ctx, struct req *r, int status, const json_t *body);
        /* One event of a streamed reply; `name` is NULL for streams of bare data lines. One at a time. False
         * asks for a pause until call_resume(); the event itself was taken. NULL: the call is no stream. */
        bool (*event)(void *ctx, struct req *r, const char *name, const json_t *data);
        void (*end)(void *ctx, struct req *r);
        /* The request stores something, and `body` is the whole of its reply: an operation for the same
         * transaction, in the request's arena. 0 or a negative errno. NULL: nothing is to be added. */
        int (*keep)(void *ctx, struct req *r, const json_t *body, struct store_op *ret);
};

enum call_flags {
        CALL_BATCH = 1, /* the batch lane: lowest priority, the batch's limits and prices */
        /* Another request was admitted for it, and has handed over what it reserved (meter.h): no limit
         * refuses it, and it settles nothing by itself. */
        CALL_ADMITTED = 2,
};

struct call {
        const char *operation;  /* operationId of a POST without path parameters */
        struct principal who;   /* on whose behalf */
        json_t *body;           /* not validated yet; a reference is taken, and the tree may be changed */
        const char *request_id; /* NULL: a new one */
        unsigned flags;         /* enum call_flags */
        const struct req_sink *sink;
        void *ctx;
};

/* Starts it. 0 with *ret, a reference of the caller (req_unref): the sink will be told, possibly before this
 * returns. Negative (-ENOMEM; -EAGAIN: too much is queued; -ENOSYS: not served): it will not. Any thread. */
int call_start(struct api *api, const struct call *c, struct req **ret);
/* As if the client had gone: the work stops, the sink is still told. */
void call_cancel(struct req *r);
/* There is room for events again. */
void call_resume(struct req *r);
#endif
