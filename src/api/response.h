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
        char id[ID_MAX];
        int64_t created;
        int64_t sequence; /* number of the next event; one producer at a time */
        bool started;     /* it is in the store, in progress */
        bool obfuscate;
        bool summary;   /* reasoning is shown as its summary */
        bool sealed;    /* and comes with encrypted_content */
        json_t *input;  /* items of this request; of the request's arena */
        json_t *made;   /* ids among them that were made here */
        json_t *output; /* finished items; the model's thread adds to it until the run is done */
};

/* ---- response_render.c ---- */

/* The response object, every key present. status NULL: from the run's outcome. With `output` it has the
 * finished items. New object. */
json_t *response_object(const struct response *p, const char *status, bool output);
/* An item in its final state, added to p->output: borrowed; NULL when memory is out. */
json_t *response_add_item(struct response *p, const struct agent_item *item);
/* The usage object of what was used. */
json_t *response_usage_json(const struct engine_usage *u, int reasoning);

/* ---- response_events.c: each sends events in the order clients demand; false asks for a pause ---- */

void response_send_opening(struct response *p); /* created, in_progress */
/* ended: the finished item of AGENT_ITEM_END. */
bool response_send(struct response *p, const struct agent_event *ev, json_t *ended);
/* completed or incomplete with the full object (consumed), or failed. Ends the stream. */
void response_send_closing(struct response *p, json_t *object);

/* ---- response_items.c ---- */

struct conversation_items {
        json_t *all;   /* what the model is shown: earlier items, then those of this request */
        json_t *input; /* of this request only */
        json_t *made;  /* ids made here */
};

/* Gathers what the body goes on from (previous_response_id's chain, a conversation) and its `input`; arrays of
 * the request's arena. */
int response_gather(struct req *r, const struct model *m, struct conversation_items *ret,
                    struct api_err *reterr);
/* The id of body.conversation, which is a string or {id}; NULL without one. */
const char *response_conversation(const json_t *body);
#endif
