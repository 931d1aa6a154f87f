/* What a response goes on from: the chain behind previous_response_id, or a conversation; and
 * GET /responses/{response_id}/input_items. */
#include "api/response.h"

#include <errno.h>
#include <string.h>
#include "agent/items.h"
#include "api/api.h"
#include "api/compact.h"
#include "api/conversation.h"
#include "api/handlers.h"
#include "api/input.h"
#include "api/page.h"
#include "api/resources.h"
#include "base/map.h"
#include "base/mem.h"
#include "models/registry.h"

#define CHAIN_MAX 10000 /* responses behind one another */
#define INPUT_MAX 10000 /* items of one request: each is a row, and one commit takes them all */
/* A context of n tokens holds less than this many bytes of items: what is longer is not read. The least is
 * within what a chat template may take, so that what is cut can be shown without more ado. */
#define BYTES_PER_TOKEN 256
#define COMPACT_NOW "x_compact_now" /* of our own in a body */
#define LEAST_BYTES ((size_t)8 << 20)
#define LISTED_BYTES ((size_t)16 << 20) /* of what stood before a response */

/* ---- the chain ---- */

static int previous_not_found(struct api_err *reterr, const char *id)
{
        return err_invalid(reterr, "previous_response_not_found", "previous_response_id",
                           "Previous response with id '%.200s' not found.", id);
}

/* One that still runs may have completed when the client asks again. */
static int not_to_continue(struct api_err *reterr, const char *id, const char *status)
{
        err_invalid(reterr, "invalid_value", "previous_response_id",
                    "Previous response with id '%.200s' cannot be continued: its status is '%s'.", id,
                    status);
        reterr->passes = !strcmp(status, "queued") || !strcmp(status, "in_progress");
        return -1;
}

enum chain {
        CHAIN_WHOLE, /* a response of it that is gone is an error */
        CHAIN_REST,  /* it begins behind the newest one that is gone */
};

/* Whether nothing from before this response is shown to the model any more. */
static bool begins_anew(struct req *r, const json_t *doc)
{
        const json_t *lists[] = { json_object_get(doc, "input"),
                                  json_object_get(json_object_get(doc, "object"), "output") };
        for (int k = 0; k < 2; k++) {
                size_t i;
                json_t *item;
                json_array_foreach((json_t *)lists[k], i, item)
                {
                        if (compaction_covers_all(r, item))
                                return true;
                }
        }
        return false;
}

/* Appends the stored documents from `id` back to the first response whose items count, newest first. */
static int load_chain(struct req *r, const char *id, enum chain want, json_t *ret, struct api_err *reterr)
{
        for (int hops = 0; id; hops++) {
                json_t *doc;
                if (hops == CHAIN_MAX)
                        return err_invalid(reterr, "invalid_value", "previous_response_id",
                                           "The chain of previous responses is longer than %d.", CHAIN_MAX);
                if (resource_load(r, &RESOURCE_RESPONSE, id, &doc, NULL, reterr)) {
                        if (reterr->status != 404)
                                return -1;
                        return want == CHAIN_REST ? 0 : previous_not_found(reterr, id);
                }
                if (json_array_append_new(ret, doc))
                        return err_internal(reterr, -ENOMEM, "chain", "");
                const json_t *object = json_object_get(doc, "object");
                const char *status = json_cstr(object, "status", "");
                if (strcmp(status, "completed") && strcmp(status, "incomplete"))
                        return not_to_continue(reterr, id, status);
                id = begins_anew(r, doc) ? NULL : json_cstr(object, "previous_response_id", NULL);
        }
        return 0;
}

/* Appends the items of the chain that ends with `id` to `all`: of each response its input, then its output.
 */
static int append_chain(struct req *r, const char *id, enum chain want, json_t *all, struct api_err *reterr)
{
        json_t *docs = json_keep(r->arena, json_array());
        if (!docs)
                return err_internal(reterr, -ENOMEM, "chain", "");
        if (load_chain(r, id, want, docs, reterr))
                return -1;
        for (size_t i = json_array_size(docs); i-- > 0;) {
                const json_t *doc = json_array_get(docs, i);
                json_array_extend(all, json_object_get(doc, "input"));
                json_array_extend(all, json_object_get(json_object_get(doc, "object"), "output"));
        }
        return 0;
}

/* ---- the conversation ---- */

const char *response_conversation(const json_t *body)
{
        const json_t *v = json_get(body, "conversation");
        return json_is_string(v) ? json_string_value(v) : json_cstr(v, "id", NULL);
}

/* Whether the request is content with the newest part of what is too long: the model is shown no more, or the
 * rest is summarised. */
static bool takes_a_part(const struct req *r, const struct conversation_items *items)
{
        return items->compact_now || json_array_size(json_get(r->body, "context_management")) ||
               !strcmp(json_cstr(r->body, "truncation", "disabled"), "auto");
}

static int add_calls(struct map *calls, const json_t *items)
{
        size_t i;
        json_t *item;
        json_array_foreach((json_t *)items, i, item)
        {
                if (item_is_call(item) && map_put(calls, json_str(item, "call_id"), item, NULL))
                        return -ENOMEM;
        }
        return 0;
}

/* Takes out the results whose calls lie before the cut. A compaction may have kept calls, so those count that
 * the model would be shown. */
static int drop_orphans(struct req *r, json_t *items, struct api_err *reterr)
{
        struct map calls = { 0 };
        const json_t *shown = compaction_expand(r, items, reterr);
        if (!shown)
                return -1;
        int rc = add_calls(&calls, shown);
        for (size_t i = json_array_size(items); rc == 0 && i-- > 0;) {
                const json_t *item = json_array_get(items, i);
                if (item_is_output(item) && !map_get(&calls, json_str(item, "call_id")))
                        json_array_remove(items, i);
        }
        map_release(&calls, NULL);
        return rc ? err_internal(reterr, rc, "conversation", "") : 0;
}

/* Appends the items of the conversation, as far back as the model could be shown them, to the empty `all`.
 * `ret_taken` gets what the ids of new items must differ from. */
static int append_conversation(struct req *r, const char *id, const struct model *m, bool cuts, json_t *all,
                               json_t **ret_taken, struct api_err *reterr)
{
        size_t max = (size_t)m->n_ctx * BYTES_PER_TOKEN;
        enum conversation_extent extent;
        json_t *taken;
        if (conversation_read(r, id, NULL, max > LEAST_BYTES ? max : LEAST_BYTES, all, &extent, reterr))
                return -1;
        if (extent == CONVERSATION_CUT && !cuts)
                return err_invalid(reterr, "context_length_exceeded", "conversation",
                                   "The conversation exceeds the context window of this model. Please set "
                                   "'truncation' to 'auto' or compact it and try again.");
        if (extent == CONVERSATION_WHOLE)
                return 0;
        if (conversation_ids_taken(r, id, json_get(r->body, "input"), &taken, reterr))
                return -1;
        *ret_taken = json_keep(r->arena, json_copy(all));
        if (!*ret_taken || json_array_extend(*ret_taken, taken))
                return err_internal(reterr, -ENOMEM, "conversation", "");
        return extent == CONVERSATION_CUT ? drop_orphans(r, all, reterr) : 0;
}

/* ---- all of it ---- */

static int check_input(const json_t *input, bool goes_on, struct api_err *reterr)
{
        if (!input && !goes_on)
                return err_invalid(reterr, "missing_required_parameter", "input",
                                   "Missing required parameter: 'input'.");
        if (json_array_size(input) > INPUT_MAX)
                return err_invalid(
                        reterr, "array_above_max_length", "input",
                        "Invalid 'input': array too long. Expected an array with maximum length %d, "
                        "but got an array with length %zu instead.",
                        INPUT_MAX, json_array_size(input));
        return 0;
}

/* Takes the compaction_trigger off the end of an input; whether there was one. */
static bool take_trigger(json_t *input)
{
        size_t n = json_array_size(input);
        return n && str_eqc(json_str(json_array_get(input, n - 1), "type"), "compaction_trigger") &&
               json_array_remove(input, n - 1) == 0;
}

int response_gather(struct req *r, const struct model *m, struct conversation_items *ret,
                    struct api_err *reterr)
{
        const char *previous = json_cstr(r->body, "previous_response_id", NULL);
        const char *conversation = response_conversation(r->body);
        struct input in = { .field = "input", .value = json_get(r->body, "input") };
        json_t *all = json_keep(r->arena, json_array()), *taken = all;
        bool given = ret->input != NULL;
        /* What becomes of the body in the background keeps it: the input is stored without it. */
        ret->compact_now = take_trigger((json_t *)in.value) || json_flag(r->body, COMPACT_NOW, false);
        if (ret->compact_now && json_object_set_new(r->body, COMPACT_NOW, json_true()))
                return err_internal(reterr, -ENOMEM, "items", "");
        if (!given)
                ret->input = json_keep(r->arena, json_array());
        ret->made = json_keep(r->arena, json_array());
        if (!all || !ret->input || !ret->made)
                return err_internal(reterr, -ENOMEM, "items", "");
        if (check_input(in.value, previous || conversation, reterr) ||
            (previous && append_chain(r, previous, CHAIN_WHOLE, all, reterr)) ||
            (conversation &&
             append_conversation(r, conversation, m, takes_a_part(r, ret), all, &taken, reterr)))
                return -1;
        in.earlier = taken;
        in.near = all;
        if (!given && input_read(r, &in, ret->input, ret->made, reterr))
                return -1;
        /* While it waited, others may have given the conversation items with ids of its input. */
        if (given && conversation && items_renew_ids(ret->input, taken))
                return err_internal(reterr, -ENOMEM, "items", "");
        if (json_array_extend(all, ret->input))
                return err_internal(reterr, -ENOMEM, "items", "");
        ret->all = compaction_expand(r, all, reterr);
        return ret->all ? 0 : -1;
}

/* ---- GET /responses/{response_id}/input_items ---- */

/* Appends what stood in the conversation before the response, as far as both are still there. */
static int append_before(struct req *r, const json_t *doc, json_t *all, struct api_err *reterr)
{
        const json_t *object = json_object_get(doc, "object"), *input = json_object_get(doc, "input");
        const char *conversation = json_cstr(json_get(object, "conversation"), "id", NULL);
        const json_t *first = json_array_get(json_array_size(input) ? input : json_get(object, "output"), 0);
        enum conversation_extent extent;
        if (!conversation || !first)
                return 0;
        int rc = conversation_read(r, conversation, json_cstr(first, "id", ""), LISTED_BYTES, all, &extent,
                                   reterr);
        return rc && reterr->status != 404 ? rc : 0;
}

int response_input_items(struct req *r, struct reply *ret, struct api_err *reterr)
{
        const char *id = req_param(r, RESOURCE_RESPONSE.id_param);
        struct page_query q = page_query(r, false);
        json_t *doc, *all = json_keep(r->arena, json_array());
        if (!all)
                return err_internal(reterr, -ENOMEM, "items", "");
        if (resource_load(r, &RESOURCE_RESPONSE, id, &doc, NULL, reterr))
                return -1;
        if (!json_keep(r->arena, doc))
                return err_internal(reterr, -ENOMEM, "items", "");
        const char *previous = json_cstr(json_object_get(doc, "object"), "previous_response_id", NULL);
        if (previous && append_chain(r, previous, CHAIN_REST, all, reterr))
                return -1;
        if (append_before(r, doc, all, reterr))
                return -1;
        json_array_extend(all, json_object_get(doc, "input"));
        if (page_of_array(all, &q, &ret->json, reterr))
                return -1;
        if (!input_wants_sealed(r))
                return 0;
        if (json_put(ret->json, "data", input_shown_all(r, json_object_get(ret->json, "data"))) == 0)
                return 0;
        json_decref(ret->json);
        ret->json = NULL;
        return err_internal(reterr, -ENOMEM, "items", "");
}
