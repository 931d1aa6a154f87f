/* Renders the conversation of a request for a model: in the form that its chat template takes, with all that
 * the template does not say told in words. */
#ifndef CAIRN_MODELS_PROMPT_H
#define CAIRN_MODELS_PROMPT_H

#include "models/format.h"
#include "models/reader.h"
#include "models/turn.h"

/* Appends the tokens of the prompt to *out, and says where it leaves the model. 0; -EINVAL (the template
 * refuses: err has its words), -ENOTSUP (no chat template), -E2BIG (err->field tells what), -ENOMEM. Any
 * thread. */
int prompt_tokens(const struct turn_req *req, const struct idiom *d, struct engine_tokens *out,
                  enum reader_think *ret_think, struct turn_err *err);

/* What prompt_tokens renders: new arrays of messages and tools (or NULL), and a new object of variables.
 * `folded`: roles alternate and none is "system", for templates that want that. For tests. */
struct prompt {
        json_t *messages, *tools, *vars;
};
int prompt_make(const struct turn_req *req, const struct idiom *d, bool folded, struct prompt *ret);
void prompt_release(struct prompt *p);
#endif
