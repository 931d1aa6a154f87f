/* What a WebSocket connection remembers of its responses that were not to be stored (store: false), so that
 * they can be gone on from by previous_response_id on the same connection: their items, in memory, the newest
 * only. A request that names one is given those items in front of its own input instead. */
#ifndef CAIRN_API_RESPONSE_WS_MEMORY_H
#define CAIRN_API_RESPONSE_WS_MEMORY_H

#include "base/json.h"

struct memory;

/* Of one response; zeroed at first. */
struct memory_turn {
        char *previous; /* the remembered response that it goes on from, as the client named it; NULL: none */
        char *stored;   /* the stored one that the remembered chain begins behind; NULL: none */
        char *input;    /* text of the array of its items, to be remembered; NULL: it is stored */
};

struct memory *memory_new(void);    /* NULL when memory is out */
void memory_free(struct memory *m); /* accepts NULL */
/* Looks the previous response up and changes the body of a request accordingly. 0 or -ENOMEM. Any thread. */
int memory_expand(struct memory *m, json_t *body, struct memory_turn *t);
/* An event of the response: the last one is where it is remembered. Without memory it is not. Any thread. */
void memory_note(struct memory *m, const struct memory_turn *t, const json_t *event);
/* The event as the client expects it, a new tree at its top: with the previous_response_id that it gave. NULL
 * when memory is out. */
json_t *memory_show(const struct memory_turn *t, const json_t *event);
void memory_turn_release(struct memory_turn *t);
#endif
