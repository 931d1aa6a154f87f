/* Which server processes are alive, for what one of them holds in the store while it works (an
 * Idempotency-Key in flight, a lock on a conversation): a row that its process renews. Whoever finds
 * something held by a process that is gone may take it over. */
#ifndef CAIRN_API_PRESENCE_H
#define CAIRN_API_PRESENCE_H

#include <stdbool.h>

struct api;

#define PRESENCE_RENEW_MS 10000
#define PRESENCE_LIFE_S 45 /* a process that did not renew for so long counts as dead */

/* Puts this process's row, and removes those of processes that are surely dead: all others of a store that is
 * not shared, else those of this server's former starts. Sets api->process. 0 or a negative errno. */
int presence_start(struct api *api);
void presence_renew(struct api *api);
void presence_stop(struct api *api); /* takes the row away; harmless when it was never put */
/* Whether the process with this id may still be working; true when the store cannot tell. Blocks on the
 * store. */
bool presence_alive(struct api *api, const char *process);
#endif
