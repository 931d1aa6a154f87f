/* /conversations and their items: rows of resources.c, with what keeps a conversation and its state together.
 *
 * Deleting a conversation takes its items out of reach of its own operations at once; those that a request
 * added can still be referenced by id, like items of responses, until they expire. */
#include <errno.h>
#include "api/api.h"
#include "api/conversation.h"
#include "api/handlers.h"
#include "api/idempotency.h"
#include "api/input.h"
#include "api/page.h"
#include "api/stored.h"
#include "base/clock.h"

#define ATTEMPTS 16

/* Normalises body.items into new arrays of the request's arena. */
static int read_items(struct req *r, const json_t *taken, json_t **ret_items, json_t **ret_made,
                      struct api_err *reterr)
{
        struct input in = { .field = "items", .value = json_get(r->body, "items"), .earlier = taken };
        *ret_items = json_keep(r->arena, json_array());
        *ret_made = json_keep(r->arena, json_array());
        if (!*ret_items || !*ret_made)
                return err_internal(reterr, -ENOMEM, "items", "");
        return input_read(r, &in, *ret_items, *ret_made, reterr);
}

/* ---- conversations ---- */

static int on_create(struct req *r, struct resource_change *c, struct api_err *reterr)
{
        json_t *object = json_object_get(c->doc, "object"), *items, *made;
        json_object_del(object, "items");
        if (!json_get(object, "metadata") && json_put(object, "metadata", json_object()))
                return err_internal(reterr, -ENOMEM, "conversation", "");
        if (read_items(r, NULL, &items, &made, reterr))
                return -1;
        return conversation_begin_ops(r, c->id, items, made, &c->more, &c->n_more, reterr);
}

const struct resource RESOURCE_CONVERSATION = { .kind = "conversation",
                                                .what = "Conversation",
                                                .id_param = "conversation_id",
                                                .create = "createConversation",
                                                .retrieve = "getConversation",
                                                .update = "updateConversation",
                                                .del = "deleteConversation",
                                                .object = "conversation",
                                                .prefix = "conv_",
                                                .deleted_object = "conversation.deleted",
                                                .on_create = on_create };

/* ---- items ---- */

/* The conversation has one item less, and one that was added by a request can be referenced no more; one of a
 * response is the response's. */
static int on_delete(struct req *r, struct resource_change *c, struct api_err *reterr)
{
        const char *conversation = req_param(r, RESOURCE_CONVERSATION.id_param);
        return conversation_remove_ops(r, conversation, c->id, &c->more, &c->n_more, reterr);
}

const struct resource RESOURCE_CONVERSATION_ITEM = { .kind = "conversation.item",
                                                     .what = "Item",
                                                     .id_param = "item_id",
                                                     .parent = &RESOURCE_CONVERSATION,
                                                     .list = "listConversationItems",
                                                     .retrieve = "getConversationItem",
                                                     .del = "deleteConversationItem",
                                                     .flags = RES_IN_PARENT,
                                                     .on_delete = on_delete,
                                                     .show = input_shown };

/* POST /conversations/{conversation_id}/items. Others may add at the same time: then again. */
int conversation_items_create(struct req *r, struct reply *ret, struct api_err *reterr)
{
        const char *id = req_param(r, RESOURCE_CONVERSATION.id_param);
        json_t *items, *made, *taken, *doc;
        if (resource_load(r, &RESOURCE_CONVERSATION, id, &doc, NULL, reterr))
                return -1;
        json_decref(doc);
        for (int i = 0; i < ATTEMPTS; i++) {
                struct store_fault fault = { 0 };
                const struct store_op *ops;
                size_t n;
                if (conversation_ids_taken(r, id, json_get(r->body, "items"), &taken, reterr) ||
                    read_items(r, taken, &items, &made, reterr) ||
                    conversation_add_ops(r, id, items, made, &ops, &n, reterr))
                        return -1;
                json_t *shown = input_shown_all(r, items), *reply = shown ? page_json(shown, false) : NULL;
                if (!reply)
                        return err_internal(reterr, -ENOMEM, "items", "");
                int rc = req_commit(r, ops, n, reply, &fault);
                if (rc == 0) {
                        ret->json = reply;
                        return 0;
                }
                json_decref(reply);
                if (rc == -ENOENT)
                        return err_not_found(reterr, RESOURCE_CONVERSATION.what, id);
                if (rc != -ESTALE && rc != -EEXIST)
                        return err_store(reterr, rc, &fault);
        }
        return err_overloaded(reterr);
}
