/* Webhooks: what happened is told to the endpoints of its project, signed as the Standard Webhooks
 * specification (version 1.0) says.
 *
 * An event is a job of kind WEBHOOK_EVENT that its source commits together with what happened, so that no
 * event is lost and none is told of what was rolled back. Its worker makes one WEBHOOK_DELIVERY job for each
 * endpoint that listens to the type; that one posts until an answer of 2xx comes, with growing pauses for 72
 * hours. Deliveries are made at least once, with the event's id as webhook-id each time; their order is not
 * promised. */
#ifndef CAIRN_JOBS_WEBHOOK_H
#define CAIRN_JOBS_WEBHOOK_H

#include <stddef.h>
#include <stdint.h>
#include "base/json.h"
#include "http/client.h"
#include "jobs/jobs.h"
#include "store/store.h"

struct account;
struct arena;

#define WEBHOOK_EVENT "webhook.event" /* job kinds */
#define WEBHOOK_DELIVERY "webhook.delivery"
#define KIND_WEBHOOK "webhook_endpoint" /* store kinds */
#define KIND_WEBHOOK_DELIVERY "webhook_delivery"

/* ---- for the sources of events ---- */

/* The operation that tells a project's endpoints of `type` ("batch.completed") about the object data_id: add
 * it to the write that makes it true. *ret borrows from the arena, and `project`. 0 or -ENOMEM. Any thread.
 */
int webhook_event_op(struct arena *a, const char *project, const char *type, const char *data_id,
                     struct store_op *ret);

/* ---- the workers ---- */

struct webhooks;

#define WEBHOOK_WORKERS 2
#define WEBHOOK_LOG_S (7 * 86400) /* how long the row of a delivery is kept */

/* Is told, in a sentence, of what an operator has to know. Any thread. */
typedef void webhook_report_fn(const char *finding);
/* The store, the account and the client outlive it. 0 or -ENOMEM. */
int webhooks_new(struct store *store, struct account *account, struct http_client *client,
                 webhook_report_fn *report, struct webhooks **ret);
/* After jobs_stop(). Accepts NULL. */
void webhooks_free(struct webhooks *w);
/* The workers to hand to jobs_start(). */
void webhooks_workers(struct webhooks *w, struct job_worker ret[WEBHOOK_WORKERS]);

/* When the attempt after `attempts` failed ones is due, in milliseconds from the last; 0: no more, `age_s`
 * seconds after the delivery was made of its event: an event that waited for a server to start has all its
 * time before it. A fifth of it is chance. */
int64_t webhook_backoff_ms(int attempts, int64_t age_s);

/* ---- one message ---- */

/* {id, object: "event", created_at, type, data}: a new object, taking a reference to data. */
json_t *webhook_event_json(const char *id, const char *type, int64_t created_at, json_t *data);
/* A place for one post to an endpoint (webhook_pace.h). True: post, and leave later. False: come back in
 * *ret_wait_ms. Any thread. */
bool webhook_enter(struct webhooks *w, const char *project, const char *endpoint, int64_t *ret_wait_ms);
void webhook_leave(struct webhooks *w, const char *project, const char *endpoint, int64_t elapsed_ms);
/* Posts `body`, signed with the secrets of an endpoint's document, to its URL; `done` as of
 * http_client_send(). 0 or a negative errno (-EINVAL: the document has no usable secret). */
int webhook_post(struct webhooks *w, const char *endpoint, const json_t *doc, const char *event_id,
                 struct str body, http_answer_fn *done, void *ctx, uint64_t *ret_id);
#endif
