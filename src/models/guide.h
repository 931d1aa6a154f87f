/* The grammar that holds a model to a request: its answer to the schema, its calls to the tools that may be
 * called and to their arguments, in the model's own format. */
#ifndef CAIRN_MODELS_GUIDE_H
#define CAIRN_MODELS_GUIDE_H

#include "models/format.h"
#include "models/reader.h"
#include "models/turn.h"

struct grammar;

/* Gives a reference in *ret, NULL when the request needs no grammar. The vocabulary is that of the idiom.
 * 0; -EINVAL (a schema or grammar that is not supported; *err says which and why), -E2BIG (one is too large),
 * -ECANCELED, -ENOMEM. Takes time, unless the same was asked for lately. Any thread. */
int guide_make(const struct turn_req *req, const struct idiom *d, const struct format_vocab *vocab,
               enum reader_think think, struct grammar **ret, struct turn_err *err);
#endif
