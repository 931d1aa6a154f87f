/* What the text endpoints leave behind: stored chat completions and responses. */
#ifndef CAIRN_API_STORED_H
#define CAIRN_API_STORED_H

#include "api/req.h"

/* Commits a chat completion; doc is {"object": ..., "messages": [...]}, consumed. Worker thread. */
int stored_put_chat(struct req *r, const char *id, int64_t created, json_t *doc, struct api_err *reterr);
/* Commits a response, inserting it or replacing its state: doc is {"object": ..., "input": [...]}, consumed.
 * With `items` (the conversation's items made by this request) each can be referenced by its id. */
int stored_put_response(struct req *r, const char *id, int64_t created, bool insert, json_t *doc,
                        const json_t *items, struct api_err *reterr);
/* At start: responses that a dead process left in progress become failed. */
int stored_recover(struct api *api, size_t *ret_recovered);
#endif
