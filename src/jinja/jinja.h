/* Jinja2 templates, as far as chat templates of language models use them: the published language of Jinja 3.1
 * with trim_blocks and lstrip_blocks on, the loop controls, and `raise_exception`, `strftime_now` and
 * `tojson` as the Transformers library defines them.
 *
 * Everything a template computes is bounded: steps, bytes made, depth. Each byte of the output is known to
 * come either from the template (or a variable the caller trusts) or from data, so that control tokens are
 * recognised in the former and never in the latter.
 *
 * A compiled template is constant: any number of threads may render it at once. */
#ifndef CAIRN_JINJA_JINJA_H
#define CAIRN_JINJA_JINJA_H

#include <stdbool.h>
#include <stddef.h>
#include "base/buf.h"
#include "base/json.h"
#include "base/str.h"
#include "base/vec.h"

struct jinja;

struct jinja_err {
        int line;    /* of the template, from 1; 0 when unknown */
        bool raised; /* the template called raise_exception: msg is its text */
        char msg[256];
};

/* Zero in any member means the default. */
struct jinja_limits {
        size_t steps; /* nodes evaluated and characters handled; default 20 million */
        size_t bytes; /* memory for values and output; default 64 MiB */
        int depth;    /* nesting of calls, values and expressions; default 100 */
};

/* 0, -EINVAL (not a template, or a construct that is not supported; err says which and where), -E2BIG,
 * -ENOMEM. */
int jinja_compile(struct str source, struct jinja **ret, struct jinja_err *err);
void jinja_free(struct jinja *t); /* accepts NULL */

/* A run of output of one origin. */
struct jinja_span {
        size_t start, n; /* bytes of text */
        bool data;       /* from `data` below, as opposed to the template's own text */
};

/* Start from {0}; end with jinja_output_release. */
struct jinja_output {
        struct buf text;
        struct VEC(struct jinja_span) spans; /* in order, covering the text, neighbours of different origin */
};
void jinja_output_release(struct jinja_output *out);

/* Renders with the members of two objects as variables: `data`, whose strings are marked wherever they go,
 * and `trusted` (bos_token and the like), whose strings count as the template's. Either may be NULL. Neither
 * is changed. 0, -EINVAL (the template failed or refused; err says why), -E2BIG (over a limit), -ECANCELED,
 * -ENOMEM. `cancel` (may be NULL) is polled. */
int jinja_render(const struct jinja *t, const json_t *data, const json_t *trusted,
                 const struct jinja_limits *limits, bool (*cancel)(void *ctx), void *ctx,
                 struct jinja_output *out, struct jinja_err *err);
#endif
