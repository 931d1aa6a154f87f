/* One response under way, shared by its parts: responses.c runs it, response_events.c streams it,
 * response_render.c writes its JSON, response_items.c finds the conversation before it. */
#ifndef CAIRN_API_RESPONSE_H
#define CAIRN_API_RESPONSE_H

#include "agent/loop.h"
#include "api/gen.h"

struct response {
        struct gen gen; /* first: a response is a gen; commits: it is stored */
        const struct model *model;
        struct agent_run *run; /* NULL until started */
        char id[ID_MAX], message_id[ID_MAX];
        int64_t created;
        int64_t sequence; /* number of the next event; one producer at a time */
        bool started;     /* it is in the store, in progress */
        bool obfuscate;
        json_t *input; /* items of this request; of the request's arena */
        json_t *made;  /* ids among them that were made here */
};

/* ---- response_render.c ---- */

/* The response object, every key present. status NULL: from the run's outcome. `message` is the output item,
 * consumed; NULL: output is []. New object. */
json_t *response_object(const struct response *p, const char *status, json_t *message);
/* The output message in its final state. */
json_t *response_message(const struct response *p);

/* ---- response_events.c: each sends events in the order clients demand; false asks for a pause ---- */

void response_send_opening(struct response *p); /* created, in_progress */
bool response_send(struct response *p, const struct agent_event *ev);
/* completed or incomplete with the full object (consumed), or failed. Ends the stream. */
void response_send_closing(struct response *p, json_t *object);

/* ---- response_items.c ---- */

struct conversation_items {
        json_t *all;   /* what the model is shown: earlier items, then those of this request */
        json_t *input; /* of this request only */
        json_t *made;  /* ids made here */
};

/* Gathers previous_response_id's chain and `input` of the body; arrays of the request's arena. */
int response_gather(struct req *r, struct conversation_items *ret, struct api_err *reterr);
#endif
