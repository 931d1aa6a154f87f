/* The items of a conversation in the store, and the right to go on with it.
 *
 * A conversation is three kinds of rows: itself, its state (how many items it has, who holds it), and one row
 * an item, both below it. Whoever adds or removes items changes the state in the same transaction, in the
 * version that it read: so two that work on one conversation cannot both succeed, in however many processes.
 * A response holds its conversation from before it reads the items until its own are appended; another that
 * wants it meanwhile is told so. What a dead process held is free (presence.h). */
#ifndef CAIRN_API_CONVERSATION_H
#define CAIRN_API_CONVERSATION_H

#include "api/req.h"
#include "api/resources.h"

struct conversation;  /* one that is held */
struct conversations; /* those that this process holds */

#define CONVERSATION_ITEMS_MAX 100000

extern const struct resource RESOURCE_CONVERSATION, RESOURCE_CONVERSATION_ITEM;

/* Makes and frees api->conversations. 0 or -ENOMEM. */
int conversations_start(struct api *api);
void conversations_stop(struct api *api);

/* ---- for a response ---- */

/* Holds the conversation `id` for `by`, the id of a response. 404 when there is none, 400
 * conversation_locked when somebody else has it. The same `by` gets it again after its process died. */
int conversation_hold(struct req *r, const char *id, const char *by, struct conversation **ret,
                      struct api_err *reterr);
/* Whether it could be held now; errors as above. */
int conversation_check(struct req *r, const char *id, struct api_err *reterr);
/* Gives the conversation back, if it was not with an append; any thread, does not wait for the store. Accepts
 * NULL. */
void conversation_release(struct conversation *c);
const char *conversation_id(const struct conversation *c);

enum conversation_extent {
        CONVERSATION_WHOLE,
        CONVERSATION_COMPACTED, /* from the newest compaction that stands for all before it */
        CONVERSATION_CUT,       /* from where its items would have more than max_bytes */
};
/* Appends its items to `ret`, oldest first, as far back as is needed; with `before` only those that stand
 * before that item, none when it is not there. Holding it is not required: for the counting of tokens. */
int conversation_read(struct req *r, const char *id, const char *before, size_t max_bytes, json_t *ret,
                      enum conversation_extent *ret_extent, struct api_err *reterr);
/* The ids among those of `input` (an array, a string or NULL) that items of the conversation have, as [{"id":
 * ...}]: new items must not take them. An array of the request's arena. */
int conversation_ids_taken(struct req *r, const char *id, const json_t *input, json_t **ret,
                           struct api_err *reterr);

/* The operations that append the items of a response, those of its input and then those of its output, and
 * end the hold: for the transaction that stores it. They live as long as c. 0, -ENOMEM, -EFBIG. Committing
 * them fails with -ENOENT when the conversation was deleted meanwhile, -ESTALE when it was taken over. */
int conversation_append(struct conversation *c, const json_t *input, const json_t *output,
                        const struct store_op **ret, size_t *ret_n);
/* The append was committed: nothing is left to be given back. */
void conversation_appended(struct conversation *c);

/* ---- for the operations on conversations ----
 *
 * Operations of the store, in the request's arena: those of a new conversation's state and first items, those
 * that add items to one that is there, and those that go with the deletion of one item's row. Items whose ids
 * are among `made` can be referenced for as long as those of responses, until they are deleted here. Errors
 * as above; 400 when there would be too many. */

int conversation_begin_ops(struct req *r, const char *id, const json_t *items, const json_t *made,
                           const struct store_op **ret, size_t *ret_n, struct api_err *reterr);
int conversation_add_ops(struct req *r, const char *id, const json_t *items, const json_t *made,
                         const struct store_op **ret, size_t *ret_n, struct api_err *reterr);
int conversation_remove_ops(struct req *r, const char *id, const char *item, const struct store_op **ret,
                            size_t *ret_n, struct api_err *reterr);
#endif
