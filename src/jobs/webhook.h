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
#include "jobs/jobs.h"
#include "store/store.h"

struct account;
struct arena;
struct http_client;

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

/* The store, the account and the client outlive it. 0 or -ENOMEM. */
int webhooks_new(struct store *store, struct account *account, struct http_client *client,
                 struct webhooks **ret);
/* After jobs_stop(). Accepts NULL. */
void webhooks_free(struct webhooks *w);
/* The workers to hand to jobs_start(). */
void webhooks_workers(struct webhooks *w, struct job_worker ret[WEBHOOK_WORKERS]);
#endif
