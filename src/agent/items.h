/* Items are the canonical form of a conversation: the Responses API's item objects as JSON. Inputs of
 * responses and messages of chats become items here; messages.h makes the messages of a turn of them. */
#ifndef CAIRN_AGENT_ITEMS_H
#define CAIRN_AGENT_ITEMS_H

#include <stdbool.h>
#include <stddef.h>
#include "base/json.h"
#include "contract/contract.h"

#define ITEM_ID_MAX 200 /* bytes of an id: those of rows of the store have room for it */

struct agent_item;

/* What items refer to. Both functions give a new value, or NULL with *reterr filled. */
struct item_source {
        /* The item behind {"type":"item_reference","id":...}. */
        json_t *(*find)(void *ctx, const char *id, size_t index, struct schema_err *reterr);
        /* The text behind the `encrypted_content` of an item of the type, a string. */
        json_t *(*unseal)(void *ctx, const char *type, struct str sealed, size_t index,
                          struct schema_err *reterr);
        void *ctx;
        const char *field; /* the parameter that the items come from, for errors; NULL: "input" */
};

/* Normalises the `input` of a response (a string or an array that the contract has checked) to items with
 * ids, statuses and part lists, appended to `items`. An id that is missing, or that an item before or one of
 * `earlier` (NULL: none) has, is replaced by a new one: lists are paged by ids. New ids are added to `made`
 * (an array of strings). 0, -EINVAL with *reterr (what is not served; an id of more than ITEM_ID_MAX bytes),
 * -ENOMEM. */
int items_from_input(const json_t *input, const struct item_source *source, const json_t *earlier,
                     json_t *items, json_t *made, struct schema_err *reterr);
/* Gives items (an array of normalised ones) that one of `earlier` has the id of new ones: copies of them take
 * their places in the array. 0 or -ENOMEM. */
int items_renew_ids(json_t *items, const json_t *earlier);
/* The same for the `messages` of a chat completion, whose calls must all be answered. Items get no ids:
 * nobody sees them. */
int items_from_chat(const json_t *messages, json_t *items, struct schema_err *reterr);
/* Each call of the conversation must have its output, and each output its call: 0, -EINVAL with *reterr in
 * OpenAI's words, -ENOMEM. A call that was cut off by a limit need not be answered. */
int items_check_calls(const json_t *items, struct schema_err *reterr);

bool item_is_call(const json_t *item);   /* function_call or custom_tool_call */
bool item_is_output(const json_t *item); /* function_call_output or custom_tool_call_output */
/* The text that reasoning holds, NULL when it has none: a new string. */
json_t *item_reasoning_text(const json_t *item);
/* The text of a list of parts, or of a plain string: joined, a new string; NULL when memory is out. One part,
 * the usual case, is not copied. */
json_t *item_text(const json_t *parts);

/* How an item of an answer is shown. */
struct item_form {
        bool summary;       /* reasoning is shown as its summary, as the request asks */
        const char *sealed; /* encrypted_content of reasoning; NULL: none */
};
/* An item of an answer as JSON: as it begins (empty, in progress), or as it is. New objects. */
json_t *item_begun(const struct agent_item *item);
json_t *item_ended(const struct agent_item *item, const struct item_form *form);
/* {"type":"output_text",...}. logprobs NULL gives []. */
json_t *item_text_part(struct str text, const json_t *logprobs);
json_t *item_reasoning_part(struct str text); /* {"type":"reasoning_text","text":...} */
json_t *item_summary_part(struct str text);   /* {"type":"summary_text","text":...} */

/* Fills *reterr; gives -EINVAL. */
int item_refuse(struct schema_err *reterr, const char *code, const char *param, const char *fmt, ...)
        __attribute__((format(printf, 4, 5)));
/* A list of parts in the form that the role has, from a string, parts or null; `path` names it in errors. New
 * array; NULL with *reterr, or when memory is out. */
json_t *item_parts(const char *role, const json_t *content, const char *path, struct schema_err *reterr);
#endif
