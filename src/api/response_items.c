/* The conversation a response stands in: the chain behind previous_response_id, items referenced by id, and
 * GET /responses/{response_id}/input_items. */
#include "api/response.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "agent/items.h"
#include "api/api.h"
#include "api/handlers.h"
#include "api/page.h"
#include "api/resources.h"
#include "api/stored.h"
#include "base/mem.h"
#include "store/store.h"

#define CHAIN_MAX 10000 /* responses behind one another */
#define INPUT_MAX 10000 /* items of one request: each is a row, and one commit takes them all */
#define JSON_DEPTH_STORED 256

/* ---- items referenced by id ---- */

struct lookup {
        struct req *r;
        struct api_err *err; /* set when there is no item to be had: not an error of the contract */
        bool failed;
};

static json_t *find_item(void *ctx, const char *id, size_t index, struct schema_err *reterr)
{
        struct lookup *l = ctx;
        struct object row;
        struct store_fault fault = { 0 };
        struct json_fault why;
        (void)index;
        int rc = store_get(l->r->api->store, KIND_ITEM, id, req_project(l->r), &row, &fault);
        if (rc == 0) {
                json_t *item = json_parse(row.doc, JSON_DEPTH_STORED, &why);
                object_release(&row);
                return item;
        }
        l->failed = true;
        snprintf(reterr->msg, sizeof(reterr->msg), "item");
        if (rc == -ENOENT || rc == -EINVAL) /* -EINVAL: no id of ours looks like that */
                err_set(l->err, 404, "invalid_request_error", NULL, "input",
                        "Item with id '%.100s' not found. Items are not persisted when `store` is set to "
                        "false. Try again with `store` set to true, or remove this item from your input.",
                        id);
        else
                err_store(l->err, rc, &fault);
        return NULL;
}

/* What a client kept for us: only the project that it was sealed for may send it. */
static json_t *unseal(void *ctx, struct str sealed, size_t index, struct schema_err *reterr)
{
        struct lookup *l = ctx;
        char *text;
        size_t n;
        int rc = account_unseal(l->r->api->account, str_c(req_project(l->r)), sealed, &text, &n);
        json_t *v = rc ? NULL : json_strn((struct str){ text, n });
        mem_free(text);
        if (rc == -EINVAL) {
                char param[64];
                snprintf(param, sizeof(param), "input[%zu].encrypted_content", index);
                item_refuse(reterr, "invalid_encrypted_content", param,
                            "The encrypted content of '%s' could not be verified: it was not made by this "
                            "server for this project, or it was changed.",
                            param);
        }
        return v;
}

/* ---- the chain ---- */

static int previous_not_found(struct api_err *reterr, const char *id)
{
        return err_invalid(reterr, "previous_response_not_found", "previous_response_id",
                           "Previous response with id '%.200s' not found.", id);
}

enum chain {
        CHAIN_WHOLE, /* a response of it that is gone is an error */
        CHAIN_REST,  /* it begins behind the newest one that is gone */
};

/* Appends the stored documents from `id` back to the first response, newest first. */
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
                        return err_invalid(
                                reterr, "invalid_value", "previous_response_id",
                                "Previous response with id '%.200s' cannot be continued: its status is '%s'.",
                                id, status);
                id = json_cstr(object, "previous_response_id", NULL);
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

int response_gather(struct req *r, struct conversation_items *ret, struct api_err *reterr)
{
        const char *previous = json_cstr(r->body, "previous_response_id", NULL);
        json_t *input = json_get(r->body, "input");
        ret->all = json_keep(r->arena, json_array());
        ret->input = json_keep(r->arena, json_array());
        ret->made = json_keep(r->arena, json_array());
        if (!ret->all || !ret->input || !ret->made)
                return err_internal(reterr, -ENOMEM, "items", "");
        if (!input && !previous)
                return err_invalid(reterr, "missing_required_parameter", "input",
                                   "Missing required parameter: 'input'.");
        if (json_array_size(input) > INPUT_MAX)
                return err_invalid(
                        reterr, "array_above_max_length", "input",
                        "Invalid 'input': array too long. Expected an array with maximum length %d, "
                        "but got an array with length %zu instead.",
                        INPUT_MAX, json_array_size(input));
        if (previous && append_chain(r, previous, CHAIN_WHOLE, ret->all, reterr))
                return -1;
        struct schema_err why;
        struct lookup lookup = { r, reterr, false };
        struct item_source source = { find_item, unseal, &lookup };
        int rc = input ? items_from_input(input, &source, ret->all, ret->input, ret->made, &why) : 0;
        if (lookup.failed)
                return -1;
        if (rc)
                return rc == -EINVAL ? err_schema(reterr, &why) : err_internal(reterr, rc, "items", "");
        json_array_extend(ret->all, ret->input);
        return 0;
}

/* ---- GET /responses/{response_id}/input_items ---- */

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
        json_array_extend(all, json_object_get(doc, "input"));
        return page_of_array(all, &q, &ret->json, reterr);
}
