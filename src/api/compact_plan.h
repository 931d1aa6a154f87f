/* What a compaction keeps, and what its summary is made of. */
#ifndef CAIRN_API_COMPACT_PLAN_H
#define CAIRN_API_COMPACT_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include "base/json.h"

enum compact_covers {
        COMPACT_ANSWERS, /* messages of others than the assistant are kept by the caller, before it */
        COMPACT_ALL,     /* everything before it; see compact.h */
};

struct compact_plan {
        json_t *entries; /* texts, oldest first: who said what, long ones shortened in their middle */
        json_t *kept;    /* items that stay as they are, behind the summary */
};

/* Divides a conversation. Calls without a result are kept always. COMPACT_ALL keeps what the model is to
 * answer now (the last messages of the user, up to twice keep_bytes but one at least, or the last results and
 * their calls) and, up to keep_bytes, the newest of what users and developers said before. 0 or -ENOMEM;
 * release it in any case. */
int compact_plan_make(const json_t *items, enum compact_covers covers, size_t keep_bytes,
                      struct compact_plan *ret);
void compact_plan_release(struct compact_plan *p);

/* Whether an item was said by whoever the assistant works for. The summary of an earlier compaction was not.
 */
bool compact_is_request(const json_t *item);

/* A digest without a model: the entries from `from` up to `to`, shortened, as many of the newest as max bytes
 * hold. A new string, NULL when memory is out. */
json_t *compact_digest(const json_t *entries, size_t from, size_t to, size_t max);
#endif
