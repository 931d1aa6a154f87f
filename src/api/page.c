#include "api/page.h"

#include <errno.h>
#include <string.h>

#define DEFAULT_LIMIT 20

struct page_query page_query(const struct req *r, bool ascending_by_default)
{
        const char *order = json_cstr(r->query, "order", ascending_by_default ? "asc" : "desc");
        return (struct page_query){ .after = json_cstr(r->query, "after", NULL),
                                    .before = json_cstr(r->query, "before", NULL),
                                    .limit = (int)json_int(r->query, "limit", DEFAULT_LIMIT),
                                    .descending = strcmp(order, "asc") != 0 };
}

json_t *page_json(json_t *data, bool has_more)
{
        size_t n = json_array_size(data);
        const char *first = n ? json_cstr(json_array_get(data, 0), "id", "") : "";
        const char *last = n ? json_cstr(json_array_get(data, n - 1), "id", "") : "";
        return json_pack("{s:s, s:o, s:s, s:s, s:b}", "object", "list", "data", data, "first_id", first,
                         "last_id", last, "has_more", has_more);
}

int page_bad_cursor(const struct page_query *q, struct api_err *reterr)
{
        const char *param = q->after ? "after" : "before";
        return err_invalid(reterr, "invalid_value", param,
                           "Invalid '%s': no object with id '%.200s' found in this list.", param,
                           q->after ? q->after : q->before);
}

static size_t index_of(const json_t *all, const char *id)
{
        size_t i;
        json_t *v;
        json_array_foreach((json_t *)all, i, v) if (!strcmp(json_cstr(v, "id", ""), id)) return i;
        return json_array_size(all);
}

int page_of_array(const json_t *all, const struct page_query *q, json_t **ret, struct api_err *reterr)
{
        size_t n = json_array_size(all), at = 0;
        if (q->after) {
                size_t i = index_of(all, q->after);
                if (i == n)
                        return page_bad_cursor(q, reterr);
                at = q->descending ? n - i : i + 1;
        }
        json_t *data = json_array();
        size_t left = n - at;
        for (int k = 0; k < q->limit && at < n; k++, at++, left--)
                json_array_append(data, json_array_get(all, q->descending ? n - 1 - at : at));
        *ret = page_json(data, left > 0);
        return *ret ? 0 : err_internal(reterr, -ENOMEM, "page", "");
}
