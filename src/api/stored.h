/* What the text endpoints leave behind: stored chat completions and responses. */
#ifndef CAIRN_API_STORED_H
#define CAIRN_API_STORED_H

#include "api/req.h"

#define KIND_ITEM "item" /* an item of a response, by its id */

/* Commits a chat completion; doc is {"object": ..., "messages": [...]}, consumed. Worker thread. */
int stored_put_chat(struct req *r, const char *id, int64_t created, json_t *doc, struct api_err *reterr);
enum stored_step {
        STORED_WHOLE,    /* first and last commit of a response at once */
        STORED_STARTED,  /* in progress: marked, so that a crash does not leave it so */
        STORED_FINISHED, /* its final state; the mark goes. Not an error when a client deleted it meanwhile */
};
/* Commits a response: doc is {"object": ..., "input": [...]}, consumed. Each of `items` (those that this
 * request made) can be referenced by its id afterwards. */
int stored_put_response(struct req *r, const char *id, int64_t created, enum stored_step step, json_t *doc,
                        const json_t *items, struct api_err *reterr);
/* Takes a started response back, of which nobody was told. */
void stored_drop_response(struct req *r, const char *id);
/* At start: responses that a dead process left in progress become failed. */
int stored_recover(struct api *api, size_t *ret_recovered);
#endif
