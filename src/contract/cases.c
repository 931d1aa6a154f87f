/* Derivation of negative cases: a walk over the example and its schema that, at every field, emits copies of
 * the example with that field broken in one way. */
#include "contract/cases.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/mem.h"
#include "contract/tables.h"

#define MADE_LENGTH_MAX 20000 /* longest string or array made to exceed a limit */
#define ITEMS_WALKED 3        /* elements of an example's array that are walked */
#define PARAM_MAX 256

/* A place in the example. */
struct place {
        const struct place *up;
        const char *name; /* NULL: the element `index` of an array */
        size_t index;
};

struct derivation {
        const struct operation *op;
        const json_t *example;
        case_fn *fn;
        void *ctx;
        size_t n;
};

enum kind_bit {
        K_OBJECT = 1,
        K_ARRAY = 2,
        K_STRING = 4,
        K_INTEGER = 8,
        K_REAL = 16,
        K_BOOLEAN = 32,
        K_NULL = 64
};

/* The kinds of JSON value that s can take. */
static unsigned kinds(const struct schema *s)
{
        unsigned null = s->flags & SN_NULLABLE ? K_NULL : 0, all = 0;
        const struct variant *v;
        switch ((enum schema_kind)s->kind) {
        case S_ANY:
                return ~0u;
        case S_OBJECT:
                return K_OBJECT | null;
        case S_ARRAY:
                return K_ARRAY | null;
        case S_STRING:
                return K_STRING | null;
        case S_INTEGER:
                return K_INTEGER | null;
        case S_NUMBER:
                return K_INTEGER | K_REAL | null;
        case S_BOOLEAN:
                return K_BOOLEAN | null;
        case S_NULL:
                return K_NULL;
        case S_UNION:
                v = schema_variants(s);
                for (unsigned i = 0; i < s->n; i++)
                        all |= kinds(schema_node(v[i].node));
                return all | null;
        }
        return ~0u;
}

/* The part of s for one kind, or NULL when there is none or more than one. */
static const struct schema *sole(const struct schema *s, enum schema_kind kind)
{
        const struct schema *found = NULL;
        if (s->kind != S_UNION)
                return s->kind == kind ? s : NULL;
        const struct variant *v = schema_variants(s);
        for (unsigned i = 0; i < s->n; i++) {
                if (schema_node(v[i].node)->kind != kind)
                        continue;
                if (found)
                        return NULL;
                found = schema_node(v[i].node);
        }
        return found;
}

/* ---- emitting ---- */

static void path_of(const struct place *p, char *out, size_t cap)
{
        out[0] = '\0';
        if (!p->up)
                return;
        path_of(p->up, out, cap);
        size_t n = strlen(out);
        if (p->name)
                snprintf(out + n, cap - n, "%s%s", n ? "." : "", p->name);
        else
                snprintf(out + n, cap - n, "[%zu]", p->index);
}

static json_t *locate(json_t *root, const struct place *p)
{
        if (!p->up)
                return root;
        json_t *up = locate(root, p->up);
        return p->name ? json_object_get(up, p->name) : json_array_get(up, p->index);
}

static int report(struct derivation *d, const char *what, const char *query, const json_t *body,
                  const char *param, const char *code)
{
        struct negative_case c = { d->op, what, query, body, param, code };
        d->n++;
        return d->fn(&c, d->ctx);
}

/* Emits the example with `bad` (consumed; NULL deletes) at the place. */
static int emit(struct derivation *d, const struct place *p, json_t *bad, const char *what, const char *code)
{
        char param[PARAM_MAX];
        json_t *body = json_deep_copy(d->example);
        json_t *holder = body ? locate(body, p->up) : NULL;
        int rc = -ENOMEM;
        path_of(p, param, sizeof(param));
        if (!holder)
                goto out;
        if (!bad)
                rc = json_object_del(holder, p->name);
        else if (p->name)
                rc = json_object_set(holder, p->name, bad);
        else
                rc = json_array_set(holder, p->index, bad);
        rc = rc ? -ENOMEM : report(d, what, NULL, body, param, code);
out:
        json_decref(body);
        json_decref(bad);
        return rc;
}

/* Like emit(), for a value whose own part `name` is to blame. */
static int emit_inside(struct derivation *d, const struct place *p, const char *name, json_t *bad,
                       const char *what, const char *code)
{
        char param[PARAM_MAX];
        json_t *body = json_deep_copy(d->example);
        json_t *holder = body ? locate(body, p->up) : NULL;
        struct place inner = { p, name, 0 };
        int rc = -ENOMEM;
        path_of(&inner, param, sizeof(param));
        if (holder && bad &&
            (p->name ? json_object_set(holder, p->name, bad) : json_array_set(holder, p->index, bad)) == 0)
                rc = report(d, what, NULL, body, param, code);
        json_decref(body);
        json_decref(bad);
        return rc;
}

/* ---- values that break a rule ---- */

static int break_type(struct derivation *d, const struct place *p, const struct schema *s)
{
        unsigned taken = kinds(s);
        if (taken == ~0u)
                return 0;
        const struct {
                unsigned kind;
                json_t *value;
        } wrong[] = { { K_STRING, json_string("negative") },
                      { K_OBJECT, json_pack("{s:i}", "negative", 1) },
                      { K_INTEGER, json_integer(7) },
                      { K_REAL, json_real(1.5) },
                      { K_BOOLEAN, json_true() },
                      { K_ARRAY, json_pack("[[i]]", 1) } };
        int rc = 0;
        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
                bool real_for_integer = wrong[i].kind == K_REAL && taken & K_INTEGER;
                bool use = !(taken & wrong[i].kind) && (wrong[i].kind != K_REAL || real_for_integer);
                if (rc == 0 && use)
                        rc = emit(d, p, wrong[i].value, "wrong type", "invalid_type");
                else
                        json_decref(wrong[i].value);
        }
        return rc;
}

static int break_range(struct derivation *d, const struct place *p, const struct schema *s)
{
        const struct schema *integer = sole(s, S_INTEGER), *number = sole(s, S_NUMBER);
        const struct range *r = schema_range(integer ? integer : number);
        int rc = 0;
        if (isfinite(r->min) && integer)
                rc = emit(d, p, json_integer((json_int_t)r->min - 1), "below minimum",
                          "integer_below_min_value");
        else if (isfinite(r->min))
                rc = emit(d, p, json_real(number->flags & SN_ABOVE_MIN ? r->min : r->min - 0.5),
                          "below minimum", "decimal_below_min_value");
        if (rc == 0 && isfinite(r->max) && integer)
                rc = emit(d, p, json_integer((json_int_t)r->max + 1), "above maximum",
                          "integer_above_max_value");
        else if (rc == 0 && isfinite(r->max))
                rc = emit(d, p, json_real(r->max + 0.5), "above maximum", "decimal_above_max_value");
        return rc;
}

static json_t *long_string(size_t n)
{
        char *text = mem_alloc(n + 1);
        if (!text)
                return NULL;
        memset(text, 'a', n);
        json_t *out = json_stringn(text, n);
        mem_free(text);
        return out;
}

static int break_string(struct derivation *d, const struct place *p, const struct schema *s)
{
        int rc = 0;
        if (s->n)
                return emit(d, p, json_string("negative-test"), "not listed", "invalid_value");
        if (s->lo == 1)
                rc = emit(d, p, json_string(""), "empty", "empty_string");
        if (rc == 0 && s->lo > 1)
                rc = emit(d, p, json_string("a"), "too short", "string_below_min_length");
        if (rc == 0 && s->hi < MADE_LENGTH_MAX)
                rc = emit(d, p, long_string(s->hi + 1), "too long", "string_above_max_length");
        if (rc == 0 && s->pattern)
                rc = emit(d, p, json_string("no match!"), "pattern", "invalid_value");
        return rc;
}

/* A value that s takes, where one is easily made; NULL else. */
static json_t *valid_scalar(const struct schema *s)
{
        const struct range *r = schema_range(s);
        switch ((enum schema_kind)s->kind) {
        case S_STRING:
                return s->lo > 1 || s->flags & SN_BINARY ? NULL : json_string(s->n ? schema_enum(s, 0) : "a");
        case S_INTEGER:
        case S_NUMBER:
                return json_integer(isfinite(r->min) ? (json_int_t)r->min + 1 : 0);
        case S_BOOLEAN:
                return json_true();
        default:
                return NULL;
        }
}

static int break_array(struct derivation *d, const struct place *p, const struct schema *s,
                       const json_t *present)
{
        int rc = 0;
        if (s->lo == 1)
                rc = emit(d, p, json_array(), "empty", "empty_array");
        if (rc || s->hi >= MADE_LENGTH_MAX)
                return rc;
        const json_t *sample = json_array_get(present, 0);
        json_t *item = sample ? json_deep_copy(sample) : valid_scalar(schema_node(s->item));
        json_t *bad = item ? json_array() : NULL;
        for (size_t i = 0; bad && i <= s->hi; i++)
                json_array_append(bad, item);
        json_decref(item);
        return bad ? emit(d, p, bad, "too long", "array_above_max_length") : 0;
}

/* Objects of free names: too many of them, a name too long, a value of the wrong type. */
static int break_names(struct derivation *d, const struct place *p, const struct schema *s)
{
        const struct schema *extra = schema_node(s->item);
        json_t *value = valid_scalar(extra), *bad = json_object();
        char name[PARAM_MAX];
        int rc = 0;
        if (value && s->hi < MADE_LENGTH_MAX) {
                for (unsigned i = 0; i <= s->hi; i++) {
                        snprintf(name, sizeof(name), "k%u", i);
                        json_object_set(bad, name, value);
                }
                rc = emit(d, p, json_incref(bad), "too many", "object_above_max_properties");
                json_object_clear(bad);
        }
        if (rc == 0 && value && s->key_hi && s->key_hi + 1u < sizeof(name)) {
                memset(name, 'k', s->key_hi + 1u);
                name[s->key_hi + 1u] = '\0';
                json_object_set(bad, name, value);
                rc = emit(d, p, json_incref(bad), "name too long", "string_above_max_length");
                json_object_clear(bad);
        }
        if (rc == 0 && s->item && !(kinds(extra) & K_OBJECT)) {
                json_object_set_new(bad, "k", json_object());
                rc = emit_inside(d, p, "k", json_incref(bad), "wrong type", "invalid_type");
        }
        json_decref(value);
        json_decref(bad);
        return rc;
}

/* Every way to break the value at p, of schema s; present is what the example has there, or NULL. */
static int break_value(struct derivation *d, const struct place *p, const struct schema *s,
                       const json_t *present)
{
        const struct schema *part;
        int rc = break_type(d, p, s);
        if (rc == 0 && (sole(s, S_INTEGER) || sole(s, S_NUMBER)))
                rc = break_range(d, p, s);
        if (rc == 0 && (part = sole(s, S_STRING)) && !(part->flags & SN_BINARY))
                rc = break_string(d, p, part);
        if (rc == 0 && (part = sole(s, S_ARRAY)))
                rc = break_array(d, p, part, json_is_array(present) ? present : NULL);
        if (rc == 0 && (part = sole(s, S_OBJECT)) && part->n == 0)
                rc = break_names(d, p, part);
        return rc;
}

/* ---- the walk ---- */

static int walk(struct derivation *d, const struct place *p, const struct schema *s, const json_t *v);

/* The alternative that the example uses, or NULL when several could take it. */
static const struct schema *chosen(const struct schema *s, const json_t *v)
{
        const struct schema *found = NULL;
        if (s->kind != S_UNION)
                return s;
        const char *name = schema_tag(s);
        const json_t *tag = *name && json_is_object(v) ? json_object_get(v, name) : NULL;
        const struct variant *variant = schema_variants(s);
        for (unsigned i = 0; i < s->n; i++) {
                const struct schema *part = schema_node(variant[i].node);
                bool fits = tag && variant[i].n_tags ? variant_has_tag(&variant[i], json_string_value(tag),
                                                                       json_string_length(tag))
                                                     : schema_check(part, v, SCHEMA_CREATE, NULL) == 0;
                if (fits && found)
                        return NULL;
                if (fits)
                        found = part;
        }
        return found;
}

/* The name of the tag by which `in` was chosen, when a broken tag could mean another alternative. */
static const char *loose_tag(const struct schema *in)
{
        if (!in || in->kind != S_UNION)
                return "";
        const struct variant *variant = schema_variants(in);
        for (unsigned i = 0; i < in->n; i++)
                if (schema_node(variant[i].node)->kind == S_OBJECT &&
                    (variant[i].tag_optional || !variant[i].n_tags))
                        return schema_tag(in);
        return "";
}

static int walk_field(struct derivation *d, const struct place *p, const struct field *f,
                      const json_t *present)
{
        struct place here = { p, schema_text(f->name), 0 };
        const struct schema *s = schema_node(f->node);
        int rc = break_value(d, &here, s, present);
        if (rc == 0 && f->flags & F_REQUIRED && !(kinds(s) & K_NULL))
                rc = emit(d, &here, json_null(), "null", "invalid_type");
        if (rc == 0 && f->flags & F_REQUIRED && present)
                rc = emit(d, &here, NULL, "missing", "missing_required_parameter");
        return rc ? rc : present && !json_is_null(present) ? walk(d, &here, s, present) : 0;
}

static int walk_object(struct derivation *d, const struct place *p, const struct schema *s,
                       const struct schema *in, const json_t *v)
{
        const struct field *f = schema_fields(s);
        const char *skip = loose_tag(in);
        bool closed = p->up ? s->flags & (SN_CLOSED | SN_STRICT) : s->n > 0 && !s->item;
        struct place unknown = { p, "negative_test_field", 0 };
        int rc = closed ? emit(d, &unknown, json_integer(1), "unknown", "unknown_parameter") : 0;
        for (unsigned i = 0; i < s->n && rc == 0; i++)
                if (strcmp(schema_text(f[i].name), skip))
                        rc = walk_field(d, p, &f[i], json_object_get(v, schema_text(f[i].name)));
        return rc;
}

static int walk(struct derivation *d, const struct place *p, const struct schema *s, const json_t *v)
{
        const struct schema *part = chosen(s, v);
        int rc = 0;
        if (part && part->kind == S_OBJECT)
                return walk_object(d, p, part, s, v);
        if (!part || part->kind != S_ARRAY)
                return 0;
        /* Breaking an element of one kind of array could make it another kind. */
        if (sole(s, S_ARRAY) != part)
                return 0;
        for (size_t i = 0; i < json_array_size(v) && i < ITEMS_WALKED && rc == 0; i++) {
                struct place here = { p, NULL, i };
                rc = break_value(d, &here, schema_node(part->item), json_array_get(v, i));
                if (rc == 0)
                        rc = walk(d, &here, schema_node(part->item), json_array_get(v, i));
        }
        return rc;
}

/* ---- query parameters ---- */

static int query_case(struct derivation *d, const struct op_param *p, const char *what, const char *code,
                      const char *value)
{
        char query[PARAM_MAX];
        snprintf(query, sizeof(query), "%s=%s", p->name, value);
        return report(d, what, query, d->example, p->name, code);
}

static int break_query_range(struct derivation *d, const struct op_param *p, const struct range *r)
{
        char value[64];
        int rc = 0;
        snprintf(value, sizeof(value), "%.0f", r->min - 1);
        if (isfinite(r->min))
                rc = query_case(d, p, "below minimum", "integer_below_min_value", value);
        snprintf(value, sizeof(value), "%.0f", r->max + 1);
        if (rc == 0 && isfinite(r->max))
                rc = query_case(d, p, "above maximum", "integer_above_max_value", value);
        return rc;
}

static int break_query(struct derivation *d, const struct op_param *p)
{
        const struct schema *s = p->schema, *string = sole(s, S_STRING);
        int rc = 0;
        if (s->kind == S_INTEGER || s->kind == S_NUMBER || s->kind == S_BOOLEAN || s->kind == S_OBJECT)
                rc = query_case(d, p, "wrong type", "invalid_type", "negative");
        if (rc == 0 && s->kind == S_INTEGER)
                rc = break_query_range(d, p, schema_range(s));
        if (rc == 0 && string && string->n)
                rc = query_case(d, p, "not listed", "invalid_value", "negative-test");
        return rc;
}

int contract_cases(const struct operation *op, const json_t *example, case_fn *fn, void *ctx, size_t *ret_n)
{
        struct derivation d = { op, example, fn, ctx, 0 };
        struct place root = { NULL, NULL, 0 };
        unsigned flags = op->flags & OP_UPDATE ? SCHEMA_UPDATE : SCHEMA_CREATE;
        const struct schema *s = contract_body(op, "application/json");
        int rc = example ? schema_check(s, example, flags, NULL) : 0;
        if (rc == 0 && s && example)
                rc = walk(&d, &root, s, example);
        for (size_t i = 0; i < op->n_query && rc == 0; i++)
                rc = break_query(&d, &op->query[i]);
        *ret_n = d.n;
        return rc;
}
