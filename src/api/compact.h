/* Compaction: the earlier part of a conversation replaced by a summary that the model wrote.
 *
 * A compaction item is {"type": "compaction", "id", "encrypted_content"}. What is sealed is JSON that only
 * this installation reads, for the project that it was made for:
 *   {"covers": "all" or "answers", "summary": text, "items": [...]}
 * "answers": it stands for what assistants and tools said before it, and messages of other roles come before
 * it as they were (POST /responses/compact). "all": it stands for everything before it (a compaction that
 * context_management or a compaction_trigger caused), so that a reader may begin with it. `items` are those
 * that had to stay as they are: calls still without their results, say. */
#ifndef CAIRN_API_COMPACT_H
#define CAIRN_API_COMPACT_H

#include "api/compact_plan.h"
#include "api/req.h"

/* Whether an item is a compaction of this project that stands for everything before it. */
bool compaction_covers_all(struct req *r, const json_t *item);
/* What the model is shown of a conversation: each compaction in it replaces what it stands for by a message
 * with its summary and by the items that it kept. `items` itself when there is none, else a new array of the
 * request's arena. NULL when memory is out, or *reterr is filled (a compaction that is not ours). */
json_t *compaction_expand(struct req *r, json_t *items, struct api_err *reterr);
/* A new compaction item with its own id. `summary` is a string; both are borrowed. NULL when memory is out.
 */
json_t *compaction_seal(struct req *r, enum compact_covers covers, json_t *summary, json_t *kept);
#endif
