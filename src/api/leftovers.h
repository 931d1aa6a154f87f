/* Claims of Idempotency-Keys that their requests left behind: the store did not answer when the key was to be
 * freed, or did not say whether it was claimed. While this process lives nobody else may take such a key over
 * (presence.h), so it frees them itself once the store answers. */
#ifndef CAIRN_API_LEFTOVERS_H
#define CAIRN_API_LEFTOVERS_H

struct api;

int leftovers_start(struct api *api); /* api->leftovers: 0 or -ENOMEM */
void leftovers_stop(struct api *api); /* forgets them: the process ends. Accepts that it was not started */

/* The row `id` of the kind "idempotency" and this tenant, if `request` holds it, is to go. Any thread, does
 * not wait for the store. */
void leftovers_add(struct api *api, const char *id, const char *tenant, const char *request);

#define LEFTOVERS_UPKEEP_MS 2000
/* Tries to free them. Waits for the store. */
void leftovers_upkeep(struct api *api);
#endif
