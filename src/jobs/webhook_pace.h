/* How many posts run at the same time, of all, to one endpoint and for one project: endpoints that hang must
 * not take the places of the others. A project may take half of the places that the others leave (dynamic
 * thresholds for shared buffers: Choudhury and Hahne, 1998), so that there is always one left for who has
 * none. Whoever finds no place is told when to come back, spread out by how long posts have been taking, so
 * that a long queue costs little. In memory only. */
#ifndef CAIRN_JOBS_WEBHOOK_PACE_H
#define CAIRN_JOBS_WEBHOOK_PACE_H

#include <stdbool.h>
#include <stdint.h>

#define WEBHOOK_PACE_PLACES 128
#define WEBHOOK_PACE_AT_ONCE 8 /* to one endpoint */

struct webhook_pace;

struct webhook_pace *webhook_pace_new(void);    /* NULL when memory is out */
void webhook_pace_free(struct webhook_pace *p); /* accepts NULL */
/* True: go on, and leave later. False: come back in *ret_wait_ms. Any thread. */
bool webhook_pace_enter(struct webhook_pace *p, const char *project, const char *endpoint, int64_t now_ms,
                        int64_t *ret_wait_ms);
void webhook_pace_leave(struct webhook_pace *p, const char *project, const char *endpoint,
                        int64_t elapsed_ms);
#endif
