#include "api/op_list.h"

#include <errno.h>
#include "base/mem.h"

void op_list_init(struct op_list *l)
{
        *l = (struct op_list){ 0 };
}

void op_list_release(struct op_list *l)
{
        for (size_t i = 0; i < l->texts.n; i++)
                mem_free(l->texts.p[i]);
        vec_release(&l->texts);
        vec_release(&l->ops);
        l->err = 0;
}

static void fail(struct op_list *l, int rc)
{
        if (!l->err)
                l->err = rc;
}

void op_list_add(struct op_list *l, const struct store_op *ops, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (vec_push(&l->ops, ops[i]))
                        fail(l, -ENOMEM);
}

void op_list_add_doc(struct op_list *l, const struct store_op *op, const json_t *doc)
{
        struct store_op with = *op;
        struct buf text;
        buf_init(&text, STORE_DOC_MAX);
        int rc = doc ? json_write(doc, &text) : -ENOMEM;
        with.doc = buf_str(&text);
        if (rc || vec_push(&l->texts, text.p)) {
                fail(l, rc ? rc : -ENOMEM);
                buf_release(&text);
                return;
        }
        op_list_add(l, &with, 1); /* the text is the list's now */
}
