/* What the text endpoints leave behind: stored chat completions and responses. */
#ifndef CAIRN_API_STORED_H
#define CAIRN_API_STORED_H

#include "api/op_list.h"
#include "api/req.h"
#include "api/stream.h"

#define KIND_ITEM "item" /* an item of a response, by its id */

/* What the client is told once it is committed, kept with it for who repeats the request: the whole reply, or
 * the end of a stream. Both NULL: it is not through yet. */
struct stored_reply {
        const json_t *whole;
        const struct stream_last *last;
};

/* Commits a chat completion; doc is {"object": ..., "messages": [...]}, consumed. Worker thread. */
int stored_put_chat(struct req *r, const char *id, int64_t created, json_t *doc,
                    const struct stored_reply *reply, struct api_err *reterr);

/* Appends the operations that make items of a response known by their ids: a row each, below the response,
 * with which they go. `items` is borrowed until the write. */
void stored_item_ops(struct op_list *l, struct req *r, const char *response, int64_t created,
                     const json_t *items);
/* How long a response or completion that was created then is kept: unix seconds. */
int64_t stored_expiry(const struct req *r, int64_t created);

enum stored_step {
        STORED_WHOLE,    /* first and last commit of a response at once */
        STORED_STARTED,  /* in progress: marked, so that the death of this process does not leave it so */
        STORED_FINISHED, /* its final state; the mark goes. Not an error when a client deleted it meanwhile */
        STORED_NOT,      /* there is no row of it: only `more` is committed */
};

/* One commit of a response that somebody waits for. */
struct stored_response {
        const char *id;
        int64_t created;
        enum stored_step step;
        json_t *doc;                 /* {"object": ..., "input": [...]}, consumed */
        const json_t *items;         /* each can be referenced by its id afterwards */
        const struct store_op *more; /* further operations of the same transaction, left out (all of them) */
        size_t n_more;               /* when what one of them changes is gone */
        struct stored_reply reply;
};
int stored_put_response(struct req *r, const struct stored_response *s, struct api_err *reterr);
/* Whether the last commit of a started response was done, in the state `status`, though the store said that
 * it failed. False when the store cannot tell. */
bool stored_is_finished(struct req *r, const char *id, const char *status);
/* Makes failed a response whose client was told so, whatever a commit has made of it that was not known to be
 * done. 0, also when it is gone, or a negative errno: to be tried again. */
int stored_fail_response(struct api *api, const char *id, const char *project);
/* Takes a started response back, of which nobody was told. */
void stored_drop_response(struct req *r, const char *id);
/* Responses that a dead process left in progress become failed. 0 or a negative errno. */
int stored_recover(struct api *api);
/* The same from time to time, where several processes work on one store. */
void stored_upkeep(struct api *api);
#define STORED_UPKEEP_MS 15000
#endif
