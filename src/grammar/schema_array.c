#include <errno.h>
#include <limits.h>
#include "base/mem.h"
#include "grammar/schema.h"

/* Different items of a set whose orders are written out. */
#define MAX_SET 10
#define MAX_BOUND 10000000

struct array {
        struct sc *c;
        const struct sc_list *l;
        int64_t min, max; /* max -1: no limit */
        size_t n_prefix;
        gnode space, comma;
};

static gnode item(struct array *a, const struct sc_list *items, size_t index)
{
        if (index < a->n_prefix) {
                sc_push(a->c, "prefixItems");
                sc_push_index(a->c, index);
        }
        sc_push(a->c, "items");
        gnode out = sc_value(a->c, items);
        sc_pop(a->c);
        if (index < a->n_prefix) {
                sc_pop(a->c);
                sc_pop(a->c);
        }
        return out;
}

/* What applies to the item at an index; from n_prefix on it is the same for all. */
static int items_at(struct array *a, size_t index, struct sc_list *ret)
{
        int r = 0;
        *ret = (struct sc_list){ 0 };
        for (size_t i = 0; !r && i < a->l->n; i++) {
                const struct sc_entry *e = &a->l->p[i];
                const json_t *prefix = sc_key(e, "prefixItems"), *items = sc_key(e, "items");
                if (index < json_array_size(prefix))
                        r = sc_add(a->c, ret, json_array_get(prefix, index));
                else if (items)
                        r = sc_add(a->c, ret, items);
        }
        return r;
}

/* Whether no item can stand at the index. */
static bool forbidden(struct array *a, const struct sc_list *items)
{
        struct sc_list copy = { 0 };
        for (size_t i = 0; i < items->n; i++)
                sc_add(a->c, &copy, items->p[i].s);
        bool no = !sc_open(a->c, &copy) || !sc_types(&copy);
        vec_release(&copy);
        return no;
}

/* The items behind the prefix; `any` says that some stand before them. */
static gnode tail(struct array *a, bool any)
{
        struct grammar_builder *b = a->c->b;
        struct sc_list items;
        int64_t done = (int64_t)a->n_prefix;
        int64_t min = a->min > done ? a->min - done : 0, max = a->max < 0 ? -1 : a->max - done;
        if (max == 0)
                return min ? gr_nothing(b) : grammar_empty(b);
        gnode out = items_at(a, a->n_prefix, &items);
        if (!out && forbidden(a, &items)) {
                out = min ? gr_nothing(b) : grammar_empty(b);
        } else if (!out) {
                gnode one = item(a, &items, a->n_prefix);
                gnode more = GR_SEQ_OF(b, a->comma, one);
                if (any) {
                        out = grammar_repeat(b, more, (int)min, (int)max);
                } else {
                        gnode rest =
                                grammar_repeat(b, more, min ? (int)min - 1 : 0, max < 0 ? -1 : (int)max - 1);
                        out = GR_SEQ_OF(b, one, rest);
                        out = min ? out : gr_optional(b, out);
                }
        }
        vec_release(&items);
        return out;
}

/* From the back: the item at an index, if it may or must stand there, and what may follow it. */
static gnode sequence(struct array *a)
{
        struct grammar_builder *b = a->c->b;
        gnode out = a->max < 0 || a->max >= (int64_t)a->n_prefix ? tail(a, a->n_prefix > 0) : 0;
        for (size_t i = a->n_prefix; out >= 0 && i-- > 0;) {
                struct sc_list items;
                if (a->max >= 0 && (int64_t)i >= a->max) {
                        out = grammar_empty(b);
                        continue;
                }
                int r = items_at(a, i, &items);
                bool none = !r && forbidden(a, &items);
                gnode one = r ? r : none ? gr_nothing(b) : item(a, &items, i);
                vec_release(&items);
                out = GR_SEQ_OF(b, i ? a->comma : grammar_empty(b), one, out);
                if ((int64_t)i >= a->min)
                        out = gr_optional(b, out);
        }
        return out;
}

static bool is_unique(const struct sc_list *l)
{
        for (size_t i = 0; i < l->n; i++)
                if (json_is_true(sc_key(&l->p[i], "uniqueItems")))
                        return true;
        return false;
}

/* What may follow when the items of the bit set stand: any other item, as long as there may be more. */
static gnode set_from(struct array *a, const gnode *parts, size_t n, unsigned used, gnode *made)
{
        struct grammar_builder *b = a->c->b;
        gnode choices[MAX_SET + 1];
        int64_t done = __builtin_popcount(used);
        size_t k = 0;
        if (made[used])
                return made[used];
        if (done >= a->min)
                choices[k++] = grammar_empty(b);
        for (size_t i = 0; i < n && (a->max < 0 || done < a->max) && !b->err; i++) {
                if (used >> i & 1)
                        continue;
                gnode rest = set_from(a, parts, n, used | 1u << i, made);
                choices[k++] = GR_SEQ_OF(b, used ? a->comma : grammar_empty(b), parts[i], rest);
        }
        gnode out = k ? grammar_alt(b, choices, k) : gr_nothing(b);
        /* A rule each, so that what is shared stays shared. */
        made[used] = gr_shared(b, out);
        return made[used];
}

/* Different items: known when they come from a small set. */
static gnode unique_sequence(struct array *a)
{
        struct grammar_builder *b = a->c->b;
        struct sc_list items;
        gnode parts[MAX_SET], out = items_at(a, 0, &items);
        size_t n = 0, i;
        json_t *set = NULL;
        const json_t *v;
        if (!out && sc_open(a->c, &items) && a->n_prefix == 0) {
                set = sc_candidates(a->c, &items);
                if (!set && sc_types(&items) == TYPE_BOOL)
                        set = json_pack("[b,b]", 1, 0);
                else if (!set && sc_types(&items) == TYPE_NULL)
                        set = json_pack("[n]");
        }
        vec_release(&items);
        if (!set || json_array_size(set) > MAX_SET) {
                json_decref(set);
                return sc_fail(a->c,
                               "'uniqueItems' is only supported for items of an enum of at most %d values.",
                               MAX_SET);
        }
        json_array_foreach(set, i, v) parts[n++] = sc_literal(a->c, v);
        json_decref(set);
        gnode *made = mem_calloc((size_t)1 << n, sizeof(*made));
        out = made ? set_from(a, parts, n, 0, made) : gr_fail(b, -ENOMEM);
        mem_free(made);
        return out;
}

gnode sc_array(struct sc *c, const struct sc_list *l)
{
        struct grammar_builder *b = c->b;
        struct array a = { .c = c, .l = l };
        a.min = sc_most(l, "minItems", 0);
        a.max = sc_least(l, "maxItems", -1);
        for (size_t i = 0; i < l->n; i++) {
                size_t n = json_array_size(sc_key(&l->p[i], "prefixItems"));
                a.n_prefix = n > a.n_prefix ? n : a.n_prefix;
        }
        if (a.max >= 0 && a.max < a.min)
                return gr_nothing(b);
        if (a.min > MAX_BOUND || a.max > MAX_BOUND)
                return sc_too_large(c, "The number of items");
        a.space = json_part(b, PART_SPACE, c->flags);
        a.comma = GR_SEQ_OF(b, grammar_literal(b, STR(",")), a.space);
        gnode content;
        if (a.max == 0)
                content = grammar_empty(b);
        else if (is_unique(l) && a.max != 1)
                content = unique_sequence(&a);
        else
                content = sequence(&a);
        gnode space = a.max == 0 ? grammar_empty(b) : a.space;
        return GR_SEQ_OF(b, grammar_literal(b, STR("[")), space, content, space,
                         grammar_literal(b, STR("]")));
}
