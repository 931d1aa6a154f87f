/* How many deliveries one endpoint gets at the same time: one that hangs must not take the places of all
 * others. Whoever finds its endpoint full is told when to come back, spread out by how long the endpoint has
 * been taking, so that a long queue before it costs little. In memory only. */
#ifndef CAIRN_JOBS_WEBHOOK_PACE_H
#define CAIRN_JOBS_WEBHOOK_PACE_H

#include <stdbool.h>
#include <stdint.h>

#define WEBHOOK_PACE_AT_ONCE 8

struct webhook_pace;

struct webhook_pace *webhook_pace_new(void);    /* NULL when memory is out */
void webhook_pace_free(struct webhook_pace *p); /* accepts NULL */
/* True: go on, and leave later. False: come back in *ret_wait_ms. Any thread. */
bool webhook_pace_enter(struct webhook_pace *p, const char *endpoint, int64_t now_ms, int64_t *ret_wait_ms);
void webhook_pace_leave(struct webhook_pace *p, const char *endpoint, int64_t elapsed_ms);
#endif
