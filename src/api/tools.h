/* Tools of a request and the choice among them, in the words of either API: what Chat Completions nests in
 * {"type":"function","function":{...}} is flat in Responses. */
#ifndef CAIRN_API_TOOLS_H
#define CAIRN_API_TOOLS_H

#include "api/req.h"
#include "models/turn.h"

enum dialect { DIALECT_CHAT, DIALECT_RESPONSES };

/* Fills in t's tools, choice, allowed names and parallel from tools, tool_choice and parallel_tool_calls, or
 * from functions and function_call of old. What t points to lies in the body or the request's arena. 400 for
 * names given twice, choices that are no tool, kinds of tools and options that are not served. */
int tools_read(struct req *r, enum dialect d, struct turn_req *t, struct api_err *reterr);
/* Whether the request speaks of functions, as chats did before there were tools. */
bool tools_legacy(const struct req *r);
/* 400 for the schema or grammar of a tool that cannot be held to. */
int tools_error(const struct req *r, enum dialect d, const struct turn_req *t, const struct turn_err *why,
                struct api_err *reterr);
/* The tools as a response shows them, with every field: a new array. */
json_t *tools_echo(const json_t *tools);
#endif
