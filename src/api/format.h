/* What a request says of the form of its answer, and of how much thought goes into it, in the words of either
 * API. */
#ifndef CAIRN_API_FORMAT_H
#define CAIRN_API_FORMAT_H

#include "api/tools.h"

/* response_format, or text.format. Reads t->messages, which must be set: json_object needs the word in them.
 * The schema lies in the body or the request's arena. */
int format_read(struct req *r, enum dialect d, struct turn_req *t, struct api_err *reterr);
/* reasoning_effort, or reasoning.effort. */
void format_effort(const struct req *r, enum dialect d, struct turn_req *t);
/* `prediction` of a chat, and 400 for what it cannot be combined with. */
int format_prediction(struct req *r, struct turn_req *t, struct api_err *reterr);
/* 400 for a schema that an answer cannot be held to. */
int format_error(const struct req *r, enum dialect d, const struct turn_err *why, struct api_err *reterr);
/* text.format as a response shows it, with every field: new. */
json_t *format_echo(const json_t *text);
/* Whether the request has schemas or grammars to be compiled: work for a slow thread. */
bool format_compiles(const struct req *r);
#endif
