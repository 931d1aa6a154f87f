/* Idempotency-Key: a POST that carries one is done once. Its reply is kept for a day and given again to a
 * POST with the same key, operation and body; 409 while the first is under way, 400 for another body. The
 * first claims the key by a row of the store, so all processes agree; a claim of a process that died is taken
 * over.
 *
 * What a handler stores with req_commit(), the record of usage and the reply that tells of it are one
 * transaction: after a crash a retry finds either all of it or nothing. Replies that say "try again" (408,
 * 409, 429, 5xx, and errors that pass by themselves) free the key. */
#ifndef CAIRN_API_IDEMPOTENCY_H
#define CAIRN_API_IDEMPOTENCY_H

#include "api/req.h"
#include "store/store.h"

#define KIND_IDEMPOTENCY \
        "idempotency" /* of the rows: {"request": who has the key, "status" of its reply, ...} */

/* Claims the key of a validated request. 0: go on (also without a key); 1: *ret is the reply of the first;
 * -1. Blocks on the store. */
int idempotency_begin(struct req *r, struct reply *ret, struct api_err *reterr);
/* The reply is about to be given: keeps it, or frees the key, and commits the record of usage that is due
 * (meter.h) with that. body NULL: it is no JSON and cannot be given again. Blocks on the store. Harmless
 * without a claim and when it was kept already. 0, or a negative errno when the record of what was to be kept
 * could not be written even alone: the reply must not be given. */
int idempotency_end(struct req *r, int status, const json_t *body);
/* An error that passes by itself is about to be told: frees the key. Otherwise as above. */
void idempotency_free(struct req *r);
/* The same for a stream that was not kept with what it stores (req_commit_stream): its frames are given again
 * as they were if its client got them to the end (`whole`). Does not block. */
void idempotency_end_stream(struct req *r, struct str frames, bool whole);
/* Whether the reply is still to be kept. */
bool idempotency_keeps(const struct req *r);
#define IDEMPOTENCY_REPLY_MAX ((size_t)8 << 20) /* a longer reply is done once, but not given again */

/* store_write() of what the request stores, and of its record of usage (meter.h). `reply` (status 200) is
 * kept with it under the request's Idempotency-Key, or by the sink that wants to (call.h). -EAGAIN: nothing
 * was stored, since the key is not this request's any more. */
int req_commit(struct req *r, const struct store_op *ops, size_t n, const json_t *reply,
               struct store_fault *fault);
/* The same when the reply is a stream, of these frames; `p` NULL: they are too long to be given again. */
int req_commit_stream(struct req *r, const struct store_op *ops, size_t n, struct str frames,
                      struct store_fault *fault);
/* The same when the reply is the stream of a background response, which lives longer than its first reader:
 * who repeats the request follows the same response, from its first event on. */
int req_commit_followed(struct req *r, const struct store_op *ops, size_t n, const char *response,
                        struct store_fault *fault);
#endif
