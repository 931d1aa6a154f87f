/* Items are the canonical form of a conversation: the Responses API's item objects as JSON. Chat messages
 * become items here, and items become the messages of a turn. */
#ifndef CAIRN_AGENT_ITEMS_H
#define CAIRN_AGENT_ITEMS_H

#include <stddef.h>
#include "base/json.h"
#include "contract/contract.h"

struct arena;

/* Finds the item behind {"type":"item_reference","id":...}: a new object; NULL with *reterr filled. */
struct item_source {
        json_t *(*find)(void *ctx, const char *id, size_t index, struct schema_err *reterr);
        void *ctx;
};

/* Normalises the `input` of a response (a string or an array that the contract has checked) to items with
 * ids, statuses and part lists, appended to `items`. An id that is missing, or that an item before or one of
 * `earlier` (NULL: none) has, is replaced by a new one: lists are paged by ids. New ids are added to `made`
 * (an array of strings). 0, -EINVAL with *reterr (what the model cannot take), -ENOMEM. */
int items_from_input(const json_t *input, const struct item_source *source, const json_t *earlier,
                     json_t *items, json_t *made, struct schema_err *reterr);
/* The same for the `messages` of a chat completion. Items get no ids: nobody sees them. */
int items_from_chat(const json_t *messages, json_t *items, struct schema_err *reterr);

/* The messages of a turn, a new array that belongs to `a`. A non-empty `instructions` comes first as a system
 * message. Reasoning items are left out: no model here reads them. */
int items_to_messages(struct arena *a, struct str instructions, const json_t *items, json_t **ret);

/* A new message item of the assistant with one output_text part. */
json_t *item_message(const char *id, const char *status, struct str text, const json_t *logprobs);
/* Its part alone. logprobs NULL gives []. */
json_t *item_text_part(struct str text, const json_t *logprobs);
#endif
