/* What requests left behind because the store did not answer at their end. While this process lives nobody
 * else may see to it (presence.h), so it does so itself once the store answers:
 * - claims of Idempotency-Keys: the key could not be freed, or it is not known whether it was claimed;
 * - stored responses that are still in progress, though their clients were told that they failed. */
#ifndef CAIRN_API_LEFTOVERS_H
#define CAIRN_API_LEFTOVERS_H

struct api;

int leftovers_start(struct api *api); /* api->leftovers: 0 or -ENOMEM */
void leftovers_stop(struct api *api); /* forgets them: the process ends. Accepts that it was not started */

/* The row `id` of the kind "idempotency" and this tenant, if `request` holds it, is to go. Any thread, does
 * not wait for the store. */
void leftovers_add(struct api *api, const char *id, const char *tenant, const char *request);

/* A stored response is to be made failed. Any thread, does not wait for the store. */
void leftovers_add_response(struct api *api, const char *id, const char *project);

#define LEFTOVERS_UPKEEP_MS 2000
/* Tries to see to them. Waits for the store. */
void leftovers_upkeep(struct api *api);
#endif
