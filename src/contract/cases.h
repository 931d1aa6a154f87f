/* Negative cases derived from the tables: for a valid example request, every way to break one field of it,
 * and what the answer must say. For tests; the server does not use it. */
#ifndef CAIRN_CONTRACT_CASES_H
#define CAIRN_CONTRACT_CASES_H

#include "contract/contract.h"

/* One broken request and the 400 that it must get. All pointers live for the callback only. */
struct negative_case {
        const struct operation *op;
        const char *what;   /* "wrong type", "above maximum", "missing", ... */
        const char *query;  /* the query string, or NULL */
        const json_t *body; /* or NULL */
        const char *param, *code;
};

/* Non-zero stops the derivation and becomes its result. */
typedef int case_fn(const struct negative_case *c, void *ctx);

/* Breaks each field that the schema gives to the objects of `example` (NULL for requests without a body), and
 * each query parameter, one at a time. The expectations come from the tables, not from the validator; only
 * which alternative of a union the example uses is asked of it. Where several alternatives could take a
 * broken value, nothing is derived: what is wrong with it would be a matter of taste. 0; the callback's
 * result; -EINVAL when the example itself is not valid; -ENOMEM. */
int contract_cases(const struct operation *op, const json_t *example, case_fn *fn, void *ctx, size_t *ret_n);
#endif
