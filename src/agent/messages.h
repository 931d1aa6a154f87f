/* From items to what a model is shown. */
#ifndef CAIRN_AGENT_MESSAGES_H
#define CAIRN_AGENT_MESSAGES_H

#include "base/json.h"
#include "base/str.h"

/* The messages of a turn (see turn_req) that a conversation of items makes: a new array, NULL when memory is
 * out. Non-empty `instructions` come first as a system message. What the model said between two messages of
 * others is one message: reasoning, text, calls. Whether a model is shown its earlier reasoning is its
 * template's business; reasoning that nothing followed is left out, and so is a call that was cut off and
 * never answered. */
json_t *messages_from_items(struct str instructions, const json_t *items);
#endif
