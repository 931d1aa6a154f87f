#include "grammar/schema.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

/* Parts within parts within one value, references counted. */
#define MAX_NESTING 300
/* Branches of one conjunction, after choices have been multiplied out. */
#define MAX_BRANCHES 2000

/* ---- places and errors ------------------------------------------------------------------------------ */

void sc_push(struct sc *c, const char *segment)
{
        struct str s = str_c(segment);
        if (vec_push(&c->path, s))
                gr_fail(c->b, -ENOMEM);
}

void sc_push_index(struct sc *c, size_t index)
{
        char *s = arena_printf(c->b->arena, "%zu", index);
        if (!s)
                gr_fail(c->b, -ENOMEM);
        sc_push(c, s);
}

void sc_pop(struct sc *c)
{
        if (c->path.n)
                c->path.n--;
}

/* The place as a Python tuple, the way OpenAI's messages have it. */
static void write_context(const struct sc *c, struct buf *out)
{
        buf_addc(out, '(');
        for (size_t i = 0; i < c->path.n; i++)
                buf_addf(out, "%s'%.*s'", i ? ", " : "", STR_ARG(c->path.p[i]));
        buf_adds(out, c->path.n == 1 ? ",)" : ")");
}

gnode sc_fail(struct sc *c, const char *fmt, ...)
{
        struct buf where, path, msg;
        va_list ap;
        if (c->b->err)
                return c->b->err;
        if (mem_take_failure())
                return gr_fail(c->b, -ENOMEM); /* what failed is not the schema */
        buf_init(&where, 4096);
        buf_init(&path, 4096);
        buf_init(&msg, 4096);
        write_context(c, &where);
        for (size_t i = 0; i < c->path.n; i++)
                buf_addf(&path, "%s%.*s", i ? "." : "", STR_ARG(c->path.p[i]));
        va_start(ap, fmt);
        buf_addv(&msg, fmt, ap);
        va_end(ap);
        gr_error(c->err, path.p, "In context=%s, %s", where.p ? where.p : "()", msg.p ? msg.p : "");
        buf_release(&where);
        buf_release(&path);
        buf_release(&msg);
        return gr_fail(c->b, -EINVAL);
}

gnode sc_too_large(struct sc *c, const char *what)
{
        int before = c->b->err;
        sc_fail(c, "%s is too large or too complex.", what);
        if (!before)
                c->b->err = -E2BIG;
        return c->b->err;
}

/* ---- lists ---------------------------------------------------------------------------------------- */

const json_t *sc_key(const struct sc_entry *e, const char *keyword)
{
        return json_object_get(e->s, keyword);
}

int sc_add(struct sc *c, struct sc_list *l, const json_t *schema)
{
        for (size_t i = 0; i < l->n; i++)
                if (l->p[i].s == schema) {
                        l->p[i].skip = 0;
                        return 0;
                }
        if (vec_push(l, ((struct sc_entry){ .s = schema })))
                return gr_fail(c->b, -ENOMEM);
        return 0;
}

static const json_t *step_into(const json_t *at, const char *segment)
{
        if (json_is_object(at))
                return json_object_get(at, segment);
        char *end;
        unsigned long index = strtoul(segment, &end, 10);
        return json_is_array(at) && *segment && !*end ? json_array_get(at, index) : NULL;
}

/* "#" and JSON pointers (RFC 6901) below it, with percent escapes as in a fragment. */
const json_t *sc_resolve(struct sc *c, const char *ref)
{
        const json_t *at = c->root;
        char segment[512];
        if (*ref++ != '#')
                return NULL;
        while (at && *ref) {
                size_t n = 0;
                if (*ref++ != '/')
                        return NULL;
                for (; *ref && *ref != '/'; ref++) {
                        char ch = *ref;
                        if (ch == '~' && (ref[1] == '0' || ref[1] == '1')) {
                                ch = *++ref == '0' ? '~' : '/';
                        } else if (ch == '%' && ref[1] && ref[2]) {
                                char hex[3] = { ref[1], ref[2], 0 };
                                ch = (char)strtoul(hex, NULL, 16);
                                ref += 2;
                        }
                        if (n + 1 >= sizeof(segment))
                                return NULL;
                        segment[n++] = ch;
                }
                segment[n] = '\0';
                at = step_into(at, segment);
        }
        return at;
}

bool sc_open(struct sc *c, struct sc_list *l)
{
        for (size_t i = 0; i < l->n; i++) {
                struct sc_entry e = l->p[i];
                if (json_is_false(e.s))
                        return false;
                if (e.opened)
                        continue;
                l->p[i].opened = true;
                const json_t *ref = sc_key(&e, "$ref"), *all = sc_key(&e, "allOf"), *branch;
                size_t k;
                if (ref)
                        sc_add(c, l, sc_resolve(c, json_string_value(ref)));
                json_array_foreach(all, k, branch) sc_add(c, l, branch);
        }
        return true;
}

int64_t sc_most(const struct sc_list *l, const char *keyword, int64_t dflt)
{
        for (size_t i = 0; i < l->n; i++) {
                const json_t *v = sc_key(&l->p[i], keyword);
                if (v && (int64_t)json_number_value(v) > dflt)
                        dflt = (int64_t)json_number_value(v);
        }
        return dflt;
}

int64_t sc_least(const struct sc_list *l, const char *keyword, int64_t dflt)
{
        for (size_t i = 0; i < l->n; i++) {
                const json_t *v = sc_key(&l->p[i], keyword);
                if (v && (dflt < 0 || json_number_value(v) < (double)dflt))
                        dflt = (int64_t)json_number_value(v);
        }
        return dflt;
}

static unsigned type_named(const char *name)
{
        static const struct {
                const char *name;
                unsigned types;
        } names[] = {
                { "null", TYPE_NULL },
                { "boolean", TYPE_BOOL },
                { "integer", TYPE_INTEGER },
                { "string", TYPE_STRING },
                { "array", TYPE_ARRAY },
                { "object", TYPE_OBJECT },
                { "number", TYPE_INTEGER | TYPE_FRACTION },
        };
        for (size_t i = 0; name && i < sizeof(names) / sizeof(*names); i++)
                if (!strcmp(names[i].name, name))
                        return names[i].types;
        return 0;
}

unsigned sc_types(const struct sc_list *l)
{
        unsigned types = TYPE_ALL;
        for (size_t i = 0; i < l->n; i++) {
                const json_t *type = sc_key(&l->p[i], "type"), *one;
                unsigned here = 0;
                size_t k;
                if (json_is_string(type))
                        here = type_named(json_string_value(type));
                json_array_foreach(type, k, one) here |= type_named(json_string_value(one));
                if (type)
                        types &= here;
        }
        return types;
}

/* ---- choices -------------------------------------------------------------------------------------- */

/* The first anyOf or oneOf of which no branch has been chosen. */
static const json_t *open_choice(struct sc_list *l, size_t *ret_entry, uint8_t *ret_skip)
{
        for (size_t i = 0; i < l->n; i++) {
                const json_t *any = sc_key(&l->p[i], "anyOf"), *one = sc_key(&l->p[i], "oneOf");
                *ret_entry = i;
                if (any && !(l->p[i].skip & SKIP_ANY)) {
                        *ret_skip = SKIP_ANY;
                        return any;
                }
                if (one && !(l->p[i].skip & SKIP_ONE)) {
                        *ret_skip = SKIP_ONE;
                        return one;
                }
        }
        return NULL;
}

static int copy_list(struct sc *c, const struct sc_list *l, struct sc_list *ret)
{
        *ret = (struct sc_list){ 0 };
        if (vec_reserve(ret, l->n + 1))
                return gr_fail(c->b, -ENOMEM);
        if (l->n)
                memcpy(ret->p, l->p, l->n * sizeof(*l->p));
        ret->n = l->n;
        return 0;
}

/* The list with a branch chosen. */
static int choose(struct sc *c, const struct sc_list *l, size_t entry, uint8_t skip, const json_t *branch,
                  struct sc_list *ret)
{
        int r = copy_list(c, l, ret);
        if (r)
                return r;
        ret->p[entry].skip |= skip;
        return sc_add(c, ret, branch);
}

/* oneOf is anyOf when no two branches have a value in common. */
static int check_exclusive(struct sc *c, const struct sc_list *l, size_t entry, const json_t *branches)
{
        size_t n = json_array_size(branches);
        int r = 0;
        for (size_t i = 0; !r && i < n; i++) {
                struct sc_list a;
                r = choose(c, l, entry, SKIP_ONE, json_array_get(branches, i), &a);
                for (size_t k = i + 1; !r && k < n; k++) {
                        struct sc_list b;
                        r = choose(c, l, entry, SKIP_ONE, json_array_get(branches, k), &b);
                        if (!r && !sc_disjoint(c, &a, &b))
                                r = sc_fail(
                                        c,
                                        "'oneOf' is only supported where its branches exclude each other, "
                                        "and branches %zu and %zu do not; use 'anyOf'.",
                                        i, k);
                        if (!r)
                                r = gr_step(&c->b->work, 200) ? gr_fail(c->b, -E2BIG) : 0;
                        vec_release(&b);
                }
                vec_release(&a);
        }
        return r;
}

static gnode value_of_choice(struct sc *c, const struct sc_list *l, size_t entry, uint8_t skip,
                             const json_t *branches)
{
        size_t n = json_array_size(branches);
        gnode *parts = mem_calloc(n + 1, sizeof(*parts)), out = 0;
        if (!parts)
                return gr_fail(c->b, -ENOMEM);
        sc_push(c, skip == SKIP_ANY ? "anyOf" : "oneOf");
        if (skip == SKIP_ONE)
                out = check_exclusive(c, l, entry, branches);
        for (size_t i = 0; out >= 0 && i < n; i++) {
                struct sc_list chosen;
                sc_push_index(c, i);
                out = choose(c, l, entry, skip, json_array_get(branches, i), &chosen);
                if (!out)
                        out = parts[i] = sc_value(c, &chosen);
                vec_release(&chosen);
                sc_pop(c);
        }
        if (out >= 0)
                out = grammar_alt(c->b, parts, n);
        sc_pop(c);
        mem_free(parts);
        return out;
}

/* ---- values --------------------------------------------------------------------------------------- */

static gnode value_of_candidates(struct sc *c, const json_t *candidates)
{
        size_t n = json_array_size(candidates), i;
        const json_t *v;
        gnode *parts = mem_calloc(n + 1, sizeof(*parts)), out;
        if (!parts)
                return gr_fail(c->b, -ENOMEM);
        json_array_foreach(candidates, i, v) parts[i] = sc_literal(c, v);
        out = n ? grammar_alt(c->b, parts, n) : gr_nothing(c->b);
        mem_free(parts);
        return out;
}

/* No choices are left: a value of each type that the list allows. */
static gnode value_of_types(struct sc *c, const struct sc_list *l)
{
        unsigned types = sc_types(l);
        gnode parts[8];
        size_t n = 0;
        json_t *candidates = sc_candidates(c, l);
        if (c->b->err) {
                json_decref(candidates);
                return c->b->err;
        }
        if (candidates) {
                gnode out = value_of_candidates(c, candidates);
                json_decref(candidates);
                return out;
        }
        if (types & TYPE_OBJECT)
                parts[n++] = sc_object(c, l);
        if (types & TYPE_ARRAY)
                parts[n++] = sc_array(c, l);
        if (types & TYPE_STRING)
                parts[n++] = sc_string(c, l);
        if (types & (TYPE_INTEGER | TYPE_FRACTION))
                parts[n++] = sc_number(c, l, types);
        if (types & TYPE_BOOL) {
                parts[n++] = grammar_literal(c->b, STR("true"));
                parts[n++] = grammar_literal(c->b, STR("false"));
        }
        if (types & TYPE_NULL)
                parts[n++] = grammar_literal(c->b, STR("null"));
        return n ? grammar_alt(c->b, parts, n) : gr_nothing(c->b);
}

/* What has been made of a conjunction: equal ones are made once, and one that contains itself refers to the
 * rule that it becomes. */
struct sc_made {
        bool done;
        gnode part; /* done */
        gnode rule; /* asked for while in the making, or 0 */
};

static int by_schema(const void *a, const void *b)
{
        const struct sc_entry *x = a, *y = b;
        if (x->s != y->s)
                return (uintptr_t)x->s < (uintptr_t)y->s ? -1 : 1;
        return 0;
}

/* The list as bytes that are equal for equal lists. */
static struct str list_key(struct sc *c, const struct sc_list *l)
{
        struct sc_list sorted;
        uintptr_t *key = gr_alloc(c->b, l->n * 2 * sizeof(*key) + 1);
        if (!key || copy_list(c, l, &sorted))
                return (struct str){ NULL, 0 };
        if (sorted.n)
                qsort(sorted.p, sorted.n, sizeof(*sorted.p), by_schema);
        for (size_t i = 0; i < sorted.n; i++) {
                key[2 * i] = (uintptr_t)sorted.p[i].s;
                key[2 * i + 1] = sorted.p[i].skip;
        }
        vec_release(&sorted);
        return (struct str){ (const char *)key, l->n * 2 * sizeof(*key) };
}

static gnode make_value(struct sc *c, struct sc_list *l, struct sc_made *made)
{
        size_t entry = 0;
        uint8_t skip = 0;
        const json_t *branches = open_choice(l, &entry, &skip);
        gnode out;
        if (++c->depth > MAX_NESTING || gr_step(&c->b->work, 50))
                out = sc_too_large(c, "The schema");
        else if (branches)
                out = value_of_choice(c, l, entry, skip, branches);
        else
                out = value_of_types(c, l);
        c->depth--;
        if (out >= 0 && made->rule) {
                grammar_define(c->b, made->rule, out);
                out = made->rule;
        }
        made->part = out;
        made->done = true;
        return c->b->err ? c->b->err : out;
}

gnode sc_value(struct sc *c, const struct sc_list *l)
{
        struct sc_list all;
        gnode out = c->b->err ? c->b->err : copy_list(c, l, &all);
        if (out)
                return out;
        if (!sc_open(c, &all)) {
                vec_release(&all);
                return gr_nothing(c->b);
        }
        struct str key = list_key(c, &all);
        struct sc_made *made = key.p ? map_get(&c->made, key) : NULL;
        if (!key.p || c->b->err) {
                out = c->b->err;
        } else if (made && made->done) {
                out = made->part;
        } else if (made) {
                if (!made->rule)
                        made->rule = grammar_forward(c->b);
                out = made->rule;
        } else {
                made = gr_alloc(c->b, sizeof(*made));
                if (made && map_put(&c->made, key, made, NULL))
                        gr_fail(c->b, -ENOMEM);
                out = c->b->err ? c->b->err : make_value(c, &all, made);
        }
        vec_release(&all);
        return out;
}

gnode grammar_schema(struct grammar_builder *b, const json_t *schema, unsigned flags, struct grammar_err *err)
{
        struct sc c = { .b = b, .err = err, .flags = flags, .root = schema };
        struct sc_list l = { 0 };
        if (b->err)
                return b->err;
        if (mem_take_failure())
                return gr_fail(b, -ENOMEM); /* the schema may lack what could not be made */
        map_init(&c.made);
        gnode out = sc_check(&c);
        if (!out)
                out = sc_add(&c, &l, schema);
        if (!out)
                out = sc_value(&c, &l);
        /* Some answers on the way are only yes or no. */
        if (mem_take_failure())
                out = gr_fail(b, -ENOMEM);
        if (out == -E2BIG && err && !err->msg[0])
                gr_error(err, "", "The schema is too large or too complex.");
        vec_release(&l);
        vec_release(&c.path);
        map_release(&c.made, NULL);
        return gr_settle(b, out);
}
