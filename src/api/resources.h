/* Stored resources: one row of resources.c gives the create, list, retrieve, update and delete operations of
 * a family without code, hooks the rest. A stored document is {"object": what the client sees, ...what else
 * the family keeps}.
 *
 * A family may lie within another (the items of a conversation, say): its rows have
 * `parent`, whose operations' path parameter names the object that each operation looks for first, 404 in the
 * parent's words. The rows of the store have that object as their parent, so they go with it. */
#ifndef CAIRN_API_RESOURCES_H
#define CAIRN_API_RESOURCES_H

#include "api/req.h"
#include "store/store.h"

enum resource_flags {
        RES_METADATA = 1,  /* lists filter by metadata[k]=v */
        RES_ASCENDING = 2, /* lists are oldest first unless asked */
        RES_BY_MODEL = 4,  /* the filter is a model: an alias finds what its model made */
        RES_IN_PARENT = 8, /* ids are unique within their parent only (resource_key) */
        RES_BLOBS = 16,    /* a deletion deletes blobs too, perhaps of a service far away: RT_FILES */
};

/* What is about to be written. Everything lies in the request's arena. */
struct resource_change {
        const char *id;               /* what the client calls it */
        int64_t created;              /* of a new object; unix seconds */
        int64_t expires;              /* of a new object; unix seconds, 0: never */
        const char *f[STORE_FILTERS]; /* of a new object */
        json_t *doc;                  /* as it will be stored; before the change, in on_delete */
        const struct store_op *more;  /* further operations of the same transaction; NULL: none */
        size_t n_more;
        const json_t *reply; /* kept with it under the request's Idempotency-Key; NULL: of a deletion */
};

/* Gives 0, or -1 with *reterr: nothing is written then. It may run more than once for one request: again when
 * what it read of the store (and demands by if_version in `more`) was changed meanwhile. */
typedef int resource_hook(struct req *r, struct resource_change *c, struct api_err *reterr);

struct resource {
        const char *kind;              /* in the store */
        const char *what;              /* in "... with id 'x' not found." */
        const char *id_param;          /* path parameter */
        const struct resource *parent; /* the family that this one lies within; NULL: none */
        const char *create, *list, *retrieve, *update, *del; /* operationIds; NULL: not served by the row */
        const char *object;                                  /* `object` of a new one */
        const char *prefix;                                  /* of the ids of new ones: "conv_" */
        const char *deleted_object; /* `object` of the reply to a deletion; NULL: the reply is the parent */
        const char *filter;         /* query parameter matched with the first filter column; NULL: none */
        int page;                   /* objects of a page when the query does not say; 0: 20 */
        unsigned flags;
        /* A creation comes with {id, object, created_at, the fields of the body} made; NULL: that is all. */
        resource_hook *on_create;
        /* An update comes with the fields of the body put in the place of the object's; NULL: that is all. */
        resource_hook *on_update;
        /* Before a deletion; NULL: nothing forbids it and nothing goes with it but the rows below it. */
        resource_hook *on_delete;
        /* After the row is gone, with its document: for what lies outside the store. NULL: nothing does. */
        void (*on_gone)(struct req *r, const json_t *doc);
        /* Refuses what a retrieval asks for beyond the object; NULL: nothing to check. */
        int (*on_retrieve)(struct req *r, const json_t *object, struct api_err *reterr);
        /* What the reader of an object, or of a list, is shown of it: a new reference, NULL when memory is
         * out. NULL: the object as it is stored. */
        json_t *(*show)(struct req *r, json_t *object);
};

/* The handler of an operation if some row has it, else NULL; *ret gets the row. */
handler_fn *resource_handler(const char *operation, const struct resource **ret);

/* How many operations the rows serve. */
size_t resource_operations(void);

/* The id of a row in the store, in the request's arena; NULL when memory is out. With RES_IN_PARENT it is
 * "parent/id". */
const char *resource_key(struct req *r, const struct resource *res, const char *id);
/* The id of the object that the request's path names as the parent; NULL for a family without one. */
const char *resource_parent_id(const struct req *r, const struct resource *res);

/* The stored document of an id in the caller's project: a new reference in *ret, for the caller to drop.
 * 404 in the family's words. version may be NULL. */
int resource_load(struct req *r, const struct resource *res, const char *id, json_t **ret, int64_t *version,
                  struct api_err *reterr);
/* Inserts a new object and does c->more, in one transaction. */
int resource_put(struct req *r, const struct resource *res, const struct resource_change *c,
                 struct api_err *reterr);
/* The operation that inserts the row of c, for a transaction of the caller. `text` gets the document, is
 * initialised here and must live until the write. 0, -ENOMEM, -EFBIG. */
int resource_put_op(struct req *r, const struct resource *res, const struct resource_change *c,
                    struct buf *text, struct store_op *ret);

extern const struct resource RESOURCE_BATCH; /* batches.c */
extern const struct resource RESOURCE_FILE;  /* files.c */
extern const struct resource RESOURCE_CHAT, RESOURCE_RESPONSE;
#endif
