/* Single values: how they are spelled, whether a list of schemas allows them, and whether two lists have one
 * in common. */
#include <errno.h>
#include <math.h>
#include <string.h>
#include "base/mem.h"
#include "grammar/regex.h"
#include "grammar/schema.h"

#define MAX_LOOKS 300

/* ---- spelling ------------------------------------------------------------------------------------- */

static gnode string_literal(struct grammar_builder *b, struct str s)
{
        gnode quote = grammar_literal(b, STR("\""));
        return GR_SEQ_OF(b, quote, gr_text(b, s, GR_JSON), quote);
}

static gnode number_literal(struct sc *c, const json_t *v)
{
        size_t n;
        char *text = json_text(v, &n);
        if (!text)
                return gr_fail(c->b, -ENOMEM);
        gnode out = grammar_literal(c->b, (struct str){ text, n });
        mem_free(text);
        return out;
}

static gnode members_literal(struct sc *c, const json_t *v)
{
        struct grammar_builder *b = c->b;
        gnode space = json_part(b, PART_SPACE, c->flags),
              comma = GR_SEQ_OF(b, grammar_literal(b, STR(",")), space);
        gnode out = json_is_object(v) ? grammar_literal(b, STR("{")) : grammar_literal(b, STR("["));
        const char *key;
        json_t *one;
        size_t i;
        bool any = false;
        json_array_foreach(v, i, one)
        {
                out = GR_SEQ_OF(b, out, any ? comma : space, sc_literal(c, one));
                any = true;
        }
        json_object_foreach((json_t *)(uintptr_t)v, key, one)
        {
                gnode name = string_literal(b, str_c(key));
                out = GR_SEQ_OF(b, out, any ? comma : space, name, grammar_literal(b, STR(":")), space,
                                sc_literal(c, one));
                any = true;
        }
        if (any)
                out = GR_SEQ_OF(b, out, space);
        return GR_SEQ_OF(b, out,
                         json_is_object(v) ? grammar_literal(b, STR("}")) : grammar_literal(b, STR("]")));
}

gnode sc_literal(struct sc *c, const json_t *v)
{
        switch (json_typeof(v)) {
        case JSON_STRING:
                return string_literal(c->b, json_as_str(v));
        case JSON_INTEGER:
        case JSON_REAL:
                return number_literal(c, v);
        case JSON_TRUE:
                return grammar_literal(c->b, STR("true"));
        case JSON_FALSE:
                return grammar_literal(c->b, STR("false"));
        case JSON_NULL:
                return grammar_literal(c->b, STR("null"));
        case JSON_ARRAY:
        case JSON_OBJECT:
                return members_literal(c, v);
        }
        return gr_fail(c->b, -EINVAL);
}

/* ---- validation ------------------------------------------------------------------------------------- */

/* As JSON Schema compares: 1 and 1.0 are equal. */
static bool equal(const json_t *a, const json_t *b)
{
        if (json_is_number(a) && json_is_number(b))
                return json_is_integer(a) && json_is_integer(b)
                               ? json_integer_value(a) == json_integer_value(b)
                               : json_number_value(a) == json_number_value(b);
        return json_equal(a, b);
}

static unsigned type_of(const json_t *v)
{
        switch (json_typeof(v)) {
        case JSON_OBJECT:
                return TYPE_OBJECT;
        case JSON_ARRAY:
                return TYPE_ARRAY;
        case JSON_STRING:
                return TYPE_STRING;
        case JSON_INTEGER:
                return TYPE_INTEGER;
        case JSON_REAL: {
                double d = json_real_value(v);
                return d == floor(d) ? TYPE_INTEGER : TYPE_FRACTION;
        }
        case JSON_TRUE:
        case JSON_FALSE:
                return TYPE_BOOL;
        case JSON_NULL:
                return TYPE_NULL;
        }
        return 0;
}

static bool matches(struct sc *c, const struct fa *a, struct str s)
{
        uint32_t state = 0;
        if (!a->n_states)
                return false;
        for (size_t at = 0; at < s.n && state != UINT32_MAX;) {
                uint32_t point = utf8_next(s.p, s.n, &at);
                state = point == UINT32_MAX ? UINT32_MAX : fa_next(a, state, point);
        }
        return !gr_step(&c->b->work, (int64_t)s.n) && state != UINT32_MAX && a->accept[state];
}

static bool string_allowed(struct sc *c, const struct sc_list *l, struct str s)
{
        struct fa a = { 0 };
        bool ok = true;
        if (sc_string_bounded(l)) {
                int r = sc_string_fa(c, l, &a);
                ok = !r && matches(c, &a, s);
        }
        fa_release(&a);
        return ok;
}

static bool is_multiple(double d, double of)
{
        double times = d / of;
        return fabs(times - round(times)) < 1e-9 * fmax(1, fabs(times));
}

static bool number_allowed(const struct sc_entry *e, double d)
{
        const json_t *min = sc_key(e, "minimum"), *max = sc_key(e, "maximum");
        const json_t *above = sc_key(e, "exclusiveMinimum"), *below = sc_key(e, "exclusiveMaximum");
        const json_t *of = sc_key(e, "multipleOf");
        return (!min || d >= json_number_value(min)) && (!max || d <= json_number_value(max)) &&
               (!above || d > json_number_value(above)) && (!below || d < json_number_value(below)) &&
               (!of || is_multiple(d, json_number_value(of)));
}

static bool count_allowed(const struct sc_entry *e, const char *least, const char *most, size_t n)
{
        const json_t *min = sc_key(e, least), *max = sc_key(e, most);
        return (!min || (double)n >= json_number_value(min)) && (!max || (double)n <= json_number_value(max));
}

static bool schema_allows(struct sc *c, const json_t *schema, const json_t *v)
{
        struct sc_list l = { 0 };
        bool ok = !sc_add(c, &l, schema) && sc_open(c, &l) && sc_allows(c, &l, v);
        vec_release(&l);
        return ok;
}

static bool array_allowed(struct sc *c, const struct sc_entry *e, const json_t *v)
{
        const json_t *prefix = sc_key(e, "prefixItems"), *items = sc_key(e, "items"), *one, *other;
        size_t i, k;
        if (!count_allowed(e, "minItems", "maxItems", json_array_size(v)))
                return false;
        json_array_foreach(v, i, one)
        {
                const json_t *schema = i < json_array_size(prefix) ? json_array_get(prefix, i) : items;
                if (schema && !schema_allows(c, schema, one))
                        return false;
                if (json_is_true(sc_key(e, "uniqueItems")))
                        json_array_foreach(v, k, other) if (k < i && equal(one, other)) return false;
        }
        return true;
}

static bool object_allowed(struct sc *c, const struct sc_list *l, const struct sc_entry *e, const json_t *v)
{
        const json_t *name, *one;
        const char *key;
        size_t i;
        if (!count_allowed(e, "minProperties", "maxProperties", json_object_size(v)))
                return false;
        json_array_foreach(sc_key(e, "required"), i,
                           name) if (!json_object_get(v, json_string_value(name))) return false;
        json_object_foreach((json_t *)(uintptr_t)v, key, one)
        {
                struct sc_list property = { 0 };
                bool ok = !sc_property(c, l, key, &property) && sc_open(c, &property) &&
                          sc_allows(c, &property, one);
                vec_release(&property);
                if (!ok)
                        return false;
        }
        return true;
}

static bool is_among(const json_t *list, const json_t *v)
{
        const json_t *one;
        size_t i;
        json_array_foreach(list, i, one) if (equal(one, v)) return true;
        return false;
}

static bool choices_allow(struct sc *c, const struct sc_entry *e, const json_t *v)
{
        const json_t *any = sc_key(e, "anyOf"), *one = sc_key(e, "oneOf"), *branch;
        size_t i, n = 0;
        if (any && !(e->skip & SKIP_ANY)) {
                json_array_foreach(any, i, branch) n += schema_allows(c, branch, v);
                if (!n)
                        return false;
        }
        n = 0;
        if (one && !(e->skip & SKIP_ONE)) {
                json_array_foreach(one, i, branch) n += schema_allows(c, branch, v);
                return n == 1;
        }
        return true;
}

static bool entry_allows(struct sc *c, const struct sc_list *l, const struct sc_entry *e, const json_t *v)
{
        const json_t *set = sc_key(e, "enum"), *constant = sc_key(e, "const");
        if ((set && !is_among(set, v)) || (constant && !equal(constant, v)) || !choices_allow(c, e, v))
                return false;
        if (json_is_number(v))
                return number_allowed(e, json_number_value(v));
        if (json_is_array(v))
                return array_allowed(c, e, v);
        if (json_is_object(v))
                return object_allowed(c, l, e, v);
        return true;
}

bool sc_allows(struct sc *c, const struct sc_list *l, const json_t *v)
{
        bool ok = (type_of(v) & sc_types(l)) != 0;
        /* A reference to itself at the same value would go on for ever. */
        if (++c->depth > MAX_LOOKS || gr_step(&c->b->work, 10))
                ok = false;
        for (size_t i = 0; ok && i < l->n; i++)
                ok = entry_allows(c, l, &l->p[i], v);
        if (ok && json_is_string(v))
                ok = string_allowed(c, l, json_as_str(v));
        c->depth--;
        return ok;
}

json_t *sc_candidates(struct sc *c, const struct sc_list *l)
{
        json_t *out = NULL;
        for (size_t i = 0; i < l->n && !out; i++) {
                const json_t *constant = sc_key(&l->p[i], "const"), *set = sc_key(&l->p[i], "enum"), *v;
                size_t k;
                if (!constant && !set)
                        continue;
                out = json_array();
                if (!out)
                        gr_fail(c->b, -ENOMEM);
                if (constant && sc_allows(c, l, constant))
                        json_array_append(out, (json_t *)(uintptr_t)constant);
                if (!constant)
                        json_array_foreach(set, k, v) if (sc_allows(c, l, v) && !is_among(out, v))
                                json_array_append(out, (json_t *)(uintptr_t)v);
        }
        return out;
}

/* ---- what two lists have in common ------------------------------------------------------------------- */

static double number_bound(const struct sc_list *l, const char *keyword, const char *exclusive, bool lower)
{
        double out = lower ? -INFINITY : INFINITY;
        for (size_t i = 0; i < l->n; i++) {
                const char *const names[] = { keyword, exclusive };
                for (int k = 0; k < 2; k++) {
                        const json_t *v = sc_key(&l->p[i], names[k]);
                        double d = v ? json_number_value(v) : out;
                        out = lower ? fmax(out, d) : fmin(out, d);
                }
        }
        return out;
}

static bool numbers_apart(const struct sc_list *a, const struct sc_list *b)
{
        return number_bound(a, "maximum", "exclusiveMaximum", false) <
                       number_bound(b, "minimum", "exclusiveMinimum", true) ||
               number_bound(b, "maximum", "exclusiveMaximum", false) <
                       number_bound(a, "minimum", "exclusiveMinimum", true);
}

static bool strings_apart(struct sc *c, const struct sc_list *a, const struct sc_list *b)
{
        struct fa x = { 0 }, y = { 0 }, both = { 0 };
        bool apart = false;
        if (sc_string_bounded(a) && sc_string_bounded(b) && !sc_string_fa(c, a, &x) &&
            !sc_string_fa(c, b, &y))
                apart = !fa_intersect(&x, &y, 20000, &c->b->work, &both) && !both.n_states;
        fa_release(&x);
        fa_release(&y);
        fa_release(&both);
        return apart;
}

static bool arrays_apart(const struct sc_list *a, const struct sc_list *b)
{
        int64_t a_max = sc_least(a, "maxItems", -1), b_max = sc_least(b, "maxItems", -1);
        return (a_max >= 0 && a_max < sc_most(b, "minItems", 0)) ||
               (b_max >= 0 && b_max < sc_most(a, "minItems", 0));
}

static bool requires(const struct sc_list *l, const char *name)
{
        const json_t *one;
        size_t k;
        for (size_t i = 0; i < l->n; i++)
                json_array_foreach(sc_key(&l->p[i], "required"), k,
                                   one) if (!strcmp(json_string_value(one), name)) return true;
        return false;
}

/* A property that one side requires and the other forbids or, requiring it too, gives other values. */
static bool property_apart(struct sc *c, const struct sc_list *a, const struct sc_list *b, const char *name)
{
        struct sc_list x = { 0 }, y = { 0 };
        bool apart = !sc_property(c, a, name, &x) && !sc_property(c, b, name, &y);
        if (apart && sc_open(c, &y))
        apart = requires(b, name) && sc_disjoint(c, &x, &y);
        vec_release(&x);
        vec_release(&y);
        return apart;
}

static bool objects_apart(struct sc *c, const struct sc_list *a, const struct sc_list *b)
{
        const json_t *name;
        size_t k;
        for (size_t i = 0; i < a->n; i++)
                json_array_foreach(sc_key(&a->p[i], "required"), k,
                                   name) if (property_apart(c, a, b, json_string_value(name))) return true;
        for (size_t i = 0; i < b->n; i++)
                json_array_foreach(sc_key(&b->p[i], "required"), k,
                                   name) if (property_apart(c, b, a, json_string_value(name))) return true;
        return false;
}

static bool candidates_apart(struct sc *c, const struct sc_list *a, const struct sc_list *b)
{
        json_t *set = sc_candidates(c, a), *v;
        size_t i;
        bool apart = set != NULL;
        json_array_foreach(set, i, v) apart = apart && !sc_allows(c, b, v);
        json_decref(set);
        return apart;
}

static bool opened_disjoint(struct sc *c, const struct sc_list *a, const struct sc_list *b)
{
        unsigned common = sc_types(a) & sc_types(b);
        if (!common || candidates_apart(c, a, b) || candidates_apart(c, b, a))
                return true;
        if (common & (TYPE_NULL | TYPE_BOOL))
                return false;
        return (!(common & (TYPE_INTEGER | TYPE_FRACTION)) || numbers_apart(a, b)) &&
               (!(common & TYPE_STRING) || strings_apart(c, a, b)) &&
               (!(common & TYPE_ARRAY) || arrays_apart(a, b)) &&
               (!(common & TYPE_OBJECT) || objects_apart(c, a, b));
}

bool sc_disjoint(struct sc *c, const struct sc_list *a, const struct sc_list *b)
{
        struct sc_list x = { 0 }, y = { 0 };
        bool apart = false;
        if (++c->depth < MAX_LOOKS && !gr_step(&c->b->work, 100)) {
                for (size_t i = 0; i < a->n; i++)
                        if (!vec_push(&x, a->p[i]))
                                x.p[i].opened = false;
                for (size_t i = 0; i < b->n; i++)
                        if (!vec_push(&y, b->p[i]))
                                y.p[i].opened = false;
                if (x.n == a->n && y.n == b->n)
                        apart = !sc_open(c, &x) || !sc_open(c, &y) || opened_disjoint(c, &x, &y);
        }
        c->depth--;
        vec_release(&x);
        vec_release(&y);
        return apart;
}
