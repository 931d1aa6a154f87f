/* The operations of one transaction while they are gathered, with the documents that they borrow. */
#ifndef CAIRN_API_OP_LIST_H
#define CAIRN_API_OP_LIST_H

#include "base/json.h"
#include "base/vec.h"
#include "store/store.h"

struct op_list {
        struct VEC(struct store_op) ops;
        struct VEC(char *) texts; /* documents made here */
        int err;                  /* the first failure: -ENOMEM or -EFBIG; checked once, at the end */
};

void op_list_init(struct op_list *l);
void op_list_release(struct op_list *l);
/* Appends operations as they are. */
void op_list_add(struct op_list *l, const struct store_op *ops, size_t n);
/* Appends an operation with `doc` (borrowed, NULL: memory was out) written out as its document. */
void op_list_add_doc(struct op_list *l, const struct store_op *op, const json_t *doc);
#endif
