/* Which server processes are alive, for what one of them holds in the store while it works (an
 * Idempotency-Key in flight, a lock on a conversation, a stored response in progress): a row that its process
 * renews, on a thread that does nothing else. Whoever finds something held by a process that is gone may take
 * it over.
 *
 * A process that cannot renew for PRESENCE_LIFE_S, because it stood still or the store was out of its reach,
 * goes on with its work and may not know that others count it as dead. So being alive never suffices to write
 * what was held: each such write names the version of the row that says who holds it, or removes that row,
 * and fails as a whole (-ESTALE, -ENOENT) when the hold has passed to another. What is stored is stored once;
 * a reply that stores nothing may then be made twice. */
#ifndef CAIRN_API_PRESENCE_H
#define CAIRN_API_PRESENCE_H

#include <stdbool.h>

struct api;

#define PRESENCE_RENEW_MS 10000
#define PRESENCE_LIFE_S 45 /* a process that did not renew for so long counts as dead */

/* Puts this process's row, to be renewed until presence_stop(), and removes those of processes that are
 * surely dead: all others of a store that is not shared, else those of this server's former starts. Sets
 * api->process. 0 or a negative errno; presence_stop() then too. */
int presence_start(struct api *api);
void presence_stop(struct api *api); /* takes the row away; harmless when it was never put */
/* Whether the process with this id may still be working; true when the store cannot tell, and of this process
 * whatever its row says. Blocks on the store for another one. Not while presence_stop() runs. */
bool presence_alive(struct api *api, const char *process);
#endif
