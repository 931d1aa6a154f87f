/* One response under way, shared by its parts: responses.c runs it, response_events.c tells of it,
 * response_render.c writes its JSON, response_items.c finds the conversation before it, response_background.c
 * runs it without anybody waiting. */
#ifndef CAIRN_API_RESPONSE_H
#define CAIRN_API_RESPONSE_H

#include "agent/loop.h"
#include "api/gen.h"

struct response;

/* Where the events of a response go. */
struct response_out {
        /* Consumes data; false asks for a pause. */
        bool (*event)(struct response *p, const char *type, json_t *data);
};

struct compaction;
struct conversation;
struct response_ask;

struct response {
        struct gen gen;                 /* first: a response is a gen; commits: it is stored */
        const struct response_out *out; /* NULL: nobody is told of events */
        const struct model *model;
        struct agent_run *run; /* the turn; NULL until started */
        char id[ID_MAX];
        int64_t created;
        int64_t sequence; /* number of the next event; one producer at a time */
        bool stored;      /* it is, or will be, in the store */
        bool started;     /* it is there, in progress */
        bool background;  /* nobody waits for it: see response_background.h */
        bool obfuscate;
        bool summary;              /* reasoning is shown as its summary */
        bool sealed;               /* and comes with encrypted_content */
        json_t *input;             /* items of this request; of the request's arena */
        json_t *made;              /* ids among them that were made here */
        json_t *output;            /* finished items; the model's thread adds to it until the run is done */
        struct conversation *held; /* what its items will be appended to; NULL: nothing */
        /* Of response_run.c: */
        struct response_ask *ask;              /* of the request's arena */
        struct agent_sink sink;                /* of the turn */
        struct compaction *_Atomic compaction; /* before the turn; NULL: none was made (yet) */
        atomic_bool running;                   /* the turn can be cancelled and resumed */
        atomic_bool cancelled;
        struct api_err late; /* why there was no turn after the compaction; status 0: none was wanted */
        struct agent_outcome compacted_before; /* usage of the compaction that an earlier run has logged */
        /* The item of a type that comes next in a log that is being repeated (borrowed, NULL: none does).
         * NULL: there is no log. */
        json_t *(*logged)(struct response *p, const char *type);
        void (*compacted)(struct response *p); /* a new compaction was sent; NULL: nothing is to be done */
};

/* ---- response_render.c ---- */

/* The response object, every key present. status NULL: from the run's outcome. With `output` it has the
 * finished items. New object. */
json_t *response_object(const struct response *p, const char *status, bool output);
/* Gives an object another state: `output` (borrowed) are its finished items, an error is there when it failed
 * (code and message; NULL: server_error), usage is not. */
void response_set_state(json_t *object, const char *status, json_t *output, const char *code,
                        const char *message);
/* An item in its final state: new; NULL when memory is out. */
json_t *response_item(struct response *p, const struct agent_item *item);
/* What the store keeps of it: {"object": object (borrowed), "input": [...]}; new. */
json_t *response_document(const struct response *p, json_t *object);
/* The usage object of what was used. */
json_t *response_usage_json(const struct engine_usage *u, int reasoning);

/* ---- response_events.c: sends events in the order clients demand; false asks for a pause ---- */

/* response.created and the like, with the object (consumed). */
void response_send_state(struct response *p, const char *type, json_t *object);
/* ended: the finished item of AGENT_ITEM_END, which is added to p->output afterwards. */
bool response_send(struct response *p, const struct agent_event *ev, json_t *ended);
/* completed, incomplete (also of a cancelled one) or failed, with the full object (consumed). */
void response_send_closing(struct response *p, json_t *object);
/* The event that it will send next, of the same object (borrowed): new, NULL when memory is out. */
json_t *response_closing(const struct response *p, json_t *object, const char **ret_type);
/* An item that comes whole: added and done. */
void response_send_item(struct response *p, json_t *item);

/* ---- response_items.c ---- */

struct conversation_items {
        json_t *all;      /* what the model is shown: earlier items, then those of this request */
        json_t *input;    /* of this request only */
        json_t *made;     /* ids made here */
        bool compact_now; /* the input ends with a compaction_trigger */
};

/* Gathers what the body goes on from (previous_response_id's chain, a conversation) and its `input`, unless
 * that is given in ret->input; arrays of the request's arena. Items of a given input whose ids the
 * conversation has meanwhile get new ones, in that array: the conversation must be held then. */
int response_gather(struct req *r, const struct model *m, struct conversation_items *ret,
                    struct api_err *reterr);
/* The id of body.conversation, which is a string or {id}; NULL without one. */
const char *response_conversation(const json_t *body);

/* ---- responses.c ---- */

/* What of a run is asked for by its body. */
struct response_ask {
        struct conversation_items items;
        struct turn_req turn;
        bool truncate;             /* leave out the oldest messages instead of refusing */
        struct conversation *held; /* of the body's conversation; NULL: none */
        int compact_at;            /* tokens of a prompt beyond which it is compacted first; 0: never */
};
/* Reads and checks the body into a zeroed *ret, what that points to into the request's arena. Where
 * ret->items.input is set, it is what the input of the body was found to be when the response was created. */
int response_read(struct req *r, struct response_ask *ret, struct api_err *reterr);
/* Fills a response that is zero but for its gen: a new id, the settings of the body. 0 or -ENOMEM. */
int response_init(struct response *p, struct req *r, const struct response_ask *ask);
void response_release(struct response *p);
/* Takes an event of the run: sends it, and keeps the item that it ends. False asks for a pause. */
bool response_take(struct response *p, const struct agent_event *ev);
/* Makes the messages of the turn of the items that the model is shown, whose calls must all be answered
 * unless they are only to be compacted. */
int response_messages(struct req *r, const struct conversation_items *items, struct turn_req *t,
                      struct api_err *e);
/* Of gen_ops. */
void response_usage(const struct gen *g, struct usage *ret);
/* The items of its input that were made for it, and can be referenced once it is stored: new array. */
json_t *response_referable_input(const struct response *p);

/* ---- response_run.c ---- */

/* Holds the conversation that the body names for the response `id`. *ret is NULL when it names none. */
int response_hold(struct req *r, const char *id, struct conversation **ret, struct api_err *reterr);
/* Whether it could be held now. */
int response_may_hold(struct req *r, struct api_err *reterr);
/* Reads context_management into ask->compact_at; the model is known. */
int response_read_compaction(struct req *r, struct response_ask *ask, struct api_err *reterr);
/* Starts what the body asks for: the turn, whose events go to `sink`, after a compaction when one is due,
 * which is sent and added to the output. 0, or -1 with *e when nothing was started. Afterwards
 * gen_done(&p->gen, 1) is the sink's duty when the turn is done, and is called here when there is none. */
int response_run(struct response *p, const struct response_ask *ask, const struct agent_sink *sink,
                 struct api_err *e);
/* How it ended and what it used, the compaction included. */
struct agent_outcome response_outcome(const struct response *p);
/* What the compaction took, to be kept with the log, and told to a run that goes on from it (NULL: there was
 * none). The JSON is new; NULL when nothing was taken. */
json_t *response_compaction_spent(const struct response *p);
void response_compaction_was(struct response *p, const json_t *spent);
/* Of gen_ops. */
void response_cancel_run(struct gen *g);
void response_resume_run(struct gen *g);

#endif
