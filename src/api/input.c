#include "api/input.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "agent/items.h"
#include "api/api.h"
#include "api/stored.h"
#include "base/mem.h"
#include "store/store.h"

#define INCLUDE_SEALED "reasoning.encrypted_content"
#define BAD_SEAL                                                                                        \
        "The encrypted content of '%s' could not be verified: it was not made by this server for this " \
        "project, or it was changed."

struct lookup {
        struct req *r;
        const struct input *in;
        struct api_err *err; /* set when there is no item to be had: not an error of the contract */
        bool failed;
};

/* ---- items referenced by id ---- */

static json_t *find_near(const json_t *items, const char *id)
{
        for (size_t i = json_array_size(items); i-- > 0;) {
                const json_t *item = json_array_get(items, i);
                if (str_eqc(json_str(item, "id"), id))
                        return json_deep_copy(item);
        }
        return NULL;
}

static json_t *find_item(void *ctx, const char *id, size_t index, struct schema_err *reterr)
{
        struct lookup *l = ctx;
        struct object row;
        struct store_fault fault = { 0 };
        struct json_fault why;
        (void)index;
        json_t *item = find_near(l->in->near, id);
        if (item)
                return item;
        int rc = store_get(l->r->api->store, KIND_ITEM, id, req_project(l->r), &row, &fault);
        if (rc == 0) {
                item = json_parse(row.doc, STORE_DOC_DEPTH, &why);
                object_release(&row);
                return item;
        }
        l->failed = true;
        snprintf(reterr->msg, sizeof(reterr->msg), "item");
        if (rc == -ENOENT || rc == -EINVAL) /* -EINVAL: no id of ours looks like that */
                err_set(l->err, 404, "invalid_request_error", NULL, l->in->field,
                        "Item with id '%.100s' not found. Items are not persisted when `store` is set to "
                        "false. Try again with `store` set to true, or remove this item from your input.",
                        id);
        else
                err_store(l->err, rc, &fault);
        return NULL;
}

/* ---- sealed content ---- */

/* What one type of item may carry is worth nothing in another: the type is a part of the context. */
static char *seal_context(struct req *r, const char *type)
{
        return strcmp(type, "reasoning") ? arena_printf(r->arena, "%s/%s", req_project(r), type)
                                         : r->who.project;
}

int input_seal(struct req *r, const char *type, struct str text, char **ret)
{
        const char *context = seal_context(r, type);
        return context ? account_seal(r->api->account, str_c(context), text, ret) : -ENOMEM;
}

json_t *input_unseal(struct req *r, const char *type, struct str sealed, int *ret_rc)
{
        const char *context = seal_context(r, type);
        char *text = NULL;
        size_t n = 0;
        *ret_rc = context ? account_unseal(r->api->account, str_c(context), sealed, &text, &n) : -ENOMEM;
        json_t *v = *ret_rc ? NULL : json_strn((struct str){ text, n });
        if (!v && *ret_rc == 0)
                *ret_rc = -ENOMEM;
        mem_free(text);
        return v;
}

int input_bad_seal(const char *where, struct api_err *reterr)
{
        return err_invalid(reterr, "invalid_encrypted_content", where, BAD_SEAL, where);
}

static json_t *unseal(void *ctx, const char *type, struct str sealed, size_t index, struct schema_err *reterr)
{
        struct lookup *l = ctx;
        int rc;
        json_t *v = input_unseal(l->r, type, sealed, &rc);
        if (rc == -EINVAL) {
                char param[SCHEMA_PARAM_MAX];
                snprintf(param, sizeof(param), "%s[%zu].encrypted_content", l->in->field, index);
                item_refuse(reterr, "invalid_encrypted_content", param, BAD_SEAL, param);
        }
        return v;
}

/* ---- reading ---- */

int input_read(struct req *r, const struct input *in, json_t *items, json_t *made, struct api_err *reterr)
{
        struct schema_err why;
        struct lookup lookup = { r, in, reterr, false };
        struct item_source source = { find_item, unseal, &lookup, in->field };
        int rc = in->value ? items_from_input(in->value, &source, in->earlier, items, made, &why) : 0;
        if (lookup.failed)
                return -1;
        if (rc)
                return rc == -EINVAL ? err_schema(reterr, &why) : err_internal(reterr, rc, "items", "");
        return 0;
}

/* ---- showing ---- */

bool input_wants_sealed(const struct req *r)
{
        size_t i;
        json_t *v;
        json_array_foreach(json_get(r->query, "include"), i, v)
        {
                if (str_eqc(json_as_str(v), INCLUDE_SEALED))
                        return true;
        }
        return false;
}

json_t *input_shown(struct req *r, json_t *item)
{
        char *sealed = NULL;
        if (!str_eqc(json_str(item, "type"), "reasoning") || json_get(item, "encrypted_content") ||
            !input_wants_sealed(r))
                return json_incref(item);
        json_t *text = item_reasoning_text(item);
        if (!text)
                return json_incref(item);
        json_t *copy = input_seal(r, "reasoning", json_as_str(text), &sealed) ? NULL : json_copy(item);
        if (copy && json_put(copy, "encrypted_content", json_string(sealed))) {
                json_decref(copy);
                copy = NULL;
        }
        json_decref(text);
        mem_free(sealed);
        return copy;
}

json_t *input_shown_all(struct req *r, const json_t *items)
{
        json_t *shown = json_array(), *item;
        size_t i;
        json_array_foreach((json_t *)items, i, item)
        {
                if (json_array_append_new(shown, input_shown(r, item))) {
                        json_decref(shown);
                        return NULL;
                }
        }
        return shown;
}
