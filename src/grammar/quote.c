/* A grammar of texts becomes one of JSON strings. Every part is about characters or can be seen so; only how
 * they are written changes. */
#include <errno.h>
#include <string.h>
#include "base/mem.h"
#include "grammar/build.h"

struct quoted_rule {
        gnode from, to;
};

/* Rules are copied once each: those that have been met, and are to be defined. */
struct quoting {
        struct grammar_builder *b;
        struct VEC(struct quoted_rule) rules;
};

static gnode quote(struct quoting *q, gnode part);

static gnode quote_rule(struct quoting *q, gnode rule)
{
        for (size_t i = 0; i < q->rules.n; i++)
                if (q->rules.p[i].from == rule)
                        return q->rules.p[i].to;
        struct quoted_rule copy = { rule, grammar_forward(q->b) };
        if (copy.to >= 0 && vec_push(&q->rules, copy))
                return gr_fail(q->b, -ENOMEM);
        return copy.to;
}

static gnode quote_kids(struct quoting *q, const struct gr_node *node)
{
        size_t n = node->u.kids.n;
        gnode *kids = mem_calloc(n, sizeof(*kids)), out = 0;
        if (!kids)
                return gr_fail(q->b, -ENOMEM);
        for (size_t i = 0; i < n; i++)
                kids[i] = quote(q, node->u.kids.p[i]);
        if (node->kind == GR_ALT)
                out = n ? grammar_alt(q->b, kids, n) : gr_nothing(q->b);
        else
                out = grammar_seq(q->b, kids, n);
        mem_free(kids);
        return out;
}

/* The depth of parts is bounded where they are made, rules do not count there and are not entered here. */
static gnode quote(struct quoting *q, gnode part)
{
        if (part < 0 || q->b->err)
                return gr_fail(q->b, part < 0 ? part : q->b->err);
        struct gr_node node = q->b->nodes.p[part];
        node.uses = 0;
        switch (node.kind) {
        case GR_EMPTY:
                return part;
        case GR_BYTES:
                return gr_text(q->b, node.u.bytes, GR_JSON);
        case GR_CHARS:
        case GR_FA:
                if (node.coding == GR_JSON)
                        return gr_fail(q->b, -EINVAL);
                node.coding = GR_JSON;
                return gr_add(q->b, node);
        case GR_SEQ:
        case GR_ALT:
                return quote_kids(q, &node);
        case GR_REPEAT:
                return grammar_repeat(q->b, quote(q, node.u.repeat.part), node.u.repeat.min,
                                      node.u.repeat.max);
        case GR_RULE:
                return quote_rule(q, part);
        case GR_TOKEN:
                break;
        }
        return gr_fail(q->b, -EINVAL);
}

gnode grammar_json_string(struct grammar_builder *b, gnode part)
{
        struct quoting q = { .b = b };
        gnode inside = quote(&q, part);
        for (size_t i = 0; i < q.rules.n && !b->err; i++) {
                struct quoted_rule rule = q.rules.p[i];
                gnode defined = b->nodes.p[rule.from].u.defined;
                if (defined >= 0)
                        grammar_define(b, rule.to, quote(&q, defined));
        }
        vec_release(&q.rules);
        return GR_SEQ_OF(b, grammar_literal(b, STR("\"")), inside, grammar_literal(b, STR("\"")));
}
