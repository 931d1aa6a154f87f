/* What a request may use and what it used: limits before the work, correction and usage record after it.
 *
 * Of a route with RT_METERED the pipeline reserves by the body (its model, its length, its bound of output)
 * before the handler runs, and refuses with 429. Whoever ran the model tells meter_use() what it took, once:
 * gen.c for all that generates. The record is then due, and has to be committed before the client has its
 * whole reply: in the transaction of whoever stores the reply (meter_op), else by meter_write(). What was
 * reserved and not used goes back then too, or before an error is told: the client's next request finds it.
 *
 * Requests of the batch lane (CALL_BATCH) reserve nothing; the record of one that stores nothing goes to the
 * sink's owner, who takes it with meter_batch_op() while it is told of the reply, for the transaction of the
 * result. A request whose work outlives it hands over what it reserved (meter_hand_over); who ends that work
 * settles it, once, by what the request on whose behalf the model ran (CALL_ADMITTED) has used. */
#ifndef CAIRN_API_METER_H
#define CAIRN_API_METER_H

#include "account/usage.h"
#include "api/req.h"

/* Before the handler, with the validated body. 0, or -1 with 429 or 503. May wait: worker threads only. */
int meter_open(struct req *r, struct api_err *e);
/* What the request used. `u` is copied, its strings must live as long as the request; u->batch and
 * USAGE_REQUESTS (when 0) are filled in. The second and later calls of a request are ignored. Any thread,
 * never waits. */
void meter_use(struct req *r, const struct usage *u);
/* The same for a file that it stores, by the file's object. */
void meter_stored(struct req *r, const json_t *file);
/* 1 with the record as an operation in *ret when it is due, else 0. It borrows from the request. */
size_t meter_op(struct req *r, struct store_op *ret);
/* The same for a request of the batch lane: once, it is the caller's then. */
size_t meter_batch_op(struct req *r, struct store_op *ret);
/* The transaction with meter_op's operation is committed: the record is not due any more. */
void meter_wrote(struct req *r);
/* store_write() of the operations and, when it is due, the record: what the request stores. */
int meter_commit(struct req *r, const struct store_op *ops, size_t n, struct store_fault *fault);
/* Commits a record that is due, on its own: of no request of the batch lane, and of none whose reply is still
 * to be kept under its Idempotency-Key, with which it goes (idempotency_end). Waits for the store. 0 or a
 * negative errno. */
int meter_write(struct req *r);
/* The same without waiting, and whatever becomes of the reply: `done(ctx, rc)` runs once, possibly before the
 * return and possibly on the store's writer thread. */
void meter_write_async(struct req *r, void (*done)(void *ctx, int rc), void *ctx);
/* Gives back what was reserved for a model that did not run: before an error is told, and with the last
 * reference. May be called again. */
void meter_close(struct req *r);

struct api;

/* What the request has reserved, to be kept with work that outlives it, in whatever process it ends; new.
 * NULL when nothing is counted, or memory is out. */
json_t *meter_reserved(const struct req *r);
/* That work is accepted: the request gives nothing back. */
void meter_hand_over(struct req *r);
/* The end of the work: corrects `reserved` (NULL: nothing was) to what r has used, NULL: nothing. Before the
 * commit of that end, so that whoever sees it finds what was given back. Any thread, never waits. */
void meter_settle(struct api *api, const char *project, const json_t *reserved, const struct req *r);
/* Undoes meter_settle(): the end was not committed. */
void meter_unsettle(struct api *api, const char *project, const json_t *reserved, const struct req *r);

/* Every few seconds: folds the log of usage. */
void meter_upkeep(struct api *api);
#define METER_UPKEEP_MS 5000

#define METER_HEADERS 12
/* The x-ratelimit-* headers of the request's reply; at most METER_HEADERS, borrowed from the request. */
size_t meter_headers(const struct req *r, const struct http_header **ret);
#endif
