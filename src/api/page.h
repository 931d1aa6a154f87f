/* Lists: the query's cursors read and the envelope written, once for every family. */
#ifndef CAIRN_API_PAGE_H
#define CAIRN_API_PAGE_H

#include <stdbool.h>
#include "api/req.h"

struct page_query {
        const char *after, *before; /* NULL when absent */
        int limit;
        bool descending;
};

/* limit (default 20), order, after and before of the validated query. */
struct page_query page_query(const struct req *r, bool ascending_by_default);
/* {object: "list", data, first_id, last_id, has_more}; consumes data. */
json_t *page_json(json_t *data, bool has_more);
/* One page of an array of objects with ids that is already in ascending order. 400 for an unknown cursor. */
int page_of_array(const json_t *all, const struct page_query *q, json_t **ret, struct api_err *reterr);
int page_bad_cursor(const struct page_query *q, struct api_err *reterr);
#endif
