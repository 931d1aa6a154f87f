/* Stored resources: one row gives the list, retrieve, update and delete operations of a family without code.
 * A stored document is {"object": what the client sees, ...what else the family keeps}. */
#ifndef CAIRN_API_RESOURCES_H
#define CAIRN_API_RESOURCES_H

#include "api/req.h"

enum resource_flags {
        RES_METADATA = 1,  /* lists filter by metadata[k]=v */
        RES_ASCENDING = 2, /* lists are oldest first unless asked */
        RES_BY_MODEL = 4,  /* the filter is a model: an alias finds what its model made */
};

struct resource {
        const char *kind; /* in the store */
        const char *what; /* in "... with id 'x' not found." */
        const char *id_param;
        const char *list, *retrieve, *update, *del; /* operationIds; NULL: not served */
        const char *deleted_object;                 /* `object` of the reply to a deletion */
        const char *filter; /* query parameter matched with the first filter column; NULL: none */
        unsigned flags;
        /* Refuses what a retrieval asks for beyond the object; NULL: nothing to check. */
        int (*on_retrieve)(struct req *r, const json_t *object, struct api_err *reterr);
};

/* The handler of an operation if some row has it, else NULL; *ret gets the row. */
handler_fn *resource_handler(const char *operation, const struct resource **ret);

/* How many operations the rows serve. */
size_t resource_operations(void);

/* The stored document of an id in the caller's project: a new reference in *ret, for the caller to drop.
 * 404 in the family's words. version may be NULL. */
int resource_load(struct req *r, const struct resource *res, const char *id, json_t **ret, int64_t *version,
                  struct api_err *reterr);
extern const struct resource RESOURCE_CHAT, RESOURCE_RESPONSE;
#endif
