/* schema_check: walks a schema beside a JSON value. The path of the value is a chain of frames on the C stack
 * and is formatted only when something is wrong. The messages are OpenAI's. */
#include "contract/tables.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include "contract/check.h"
#include "contract/words.h"

/* Nodes visited before a value counts as too complex: far above any real request, and a bound on what trying
 * the alternatives of nested unions can cost. */
#define VISITS_MAX (32L * 1000 * 1000)

struct walk {
        unsigned flags;
        struct schema_err *err; /* NULL while alternatives are tried: only the score counts then */
        long visits_left;
        int fail_depth;  /* of the last failure */
        unsigned passed; /* scalars found right */
};

static bool check(struct walk *w, const struct at *at, const struct schema *s, const json_t *v);

static bool is_reply(const struct walk *w)
{
        return w->flags & SCHEMA_REPLY;
}

/* Remembers how deep the walk got; true when the caller shall word the error. */
static bool failed(struct walk *w, const struct at *at)
{
        w->fail_depth = at->depth;
        return w->err != NULL;
}

#define FAIL(w, at, code, ...) \
        (failed(w, at) ? word_invalid((w)->err, at, code, __VA_ARGS__) : (void)0, false)

static bool fail_type(struct walk *w, const struct at *at, const struct schema *s, const json_t *v)
{
        if (failed(w, at))
                word_type_error(w->err, at, s, v);
        return false;
}

static bool fail_unknown(struct walk *w, const struct at *at)
{
        if (failed(w, at))
                word_unknown(w->err, at);
        return false;
}

/* The value is absent, so the walk got as far as what should hold it. */
static bool fail_missing(struct walk *w, const struct at *at)
{
        if (failed(w, at->up))
                word_missing(w->err, at);
        return false;
}

static bool passed(struct walk *w)
{
        w->passed++;
        return true;
}

/* ---- scalars ---- */

static size_t code_points(const char *s, size_t n)
{
        size_t count = 0;
        for (size_t i = 0; i < n; i++)
                count += ((unsigned char)s[i] & 0xC0) != 0x80;
        return count;
}

static bool check_enum(struct walk *w, const struct at *at, const struct schema *s, const json_t *v)
{
        const char *text = json_string_value(v);
        for (unsigned i = 0; i < s->n; i++) {
                const char *allowed = schema_enum(s, i);
                if (strlen(allowed) == json_string_length(v) && strcmp(allowed, text) == 0)
                        return passed(w);
        }
        if (failed(w, at))
                word_enum_error(w->err, at, s, v);
        return false;
}

static bool check_string(struct walk *w, const struct at *at, const struct schema *s, const json_t *v)
{
        if (!json_is_string(v))
                return fail_type(w, at, s, v);
        if (s->n)
                return check_enum(w, at, s, v);
        size_t bytes = json_string_length(v);
        size_t n = s->lo || s->hi != SCHEMA_NO_LIMIT ? code_points(json_string_value(v), bytes) : 0;
        if (n < s->lo && n == 0)
                return FAIL(w, at, "empty_string",
                            "empty string. Expected a string with minimum length %u, but got an "
                            "empty string instead.",
                            s->lo);
        if (n < s->lo)
                return FAIL(w, at, "string_below_min_length",
                            "string too short. Expected a string with minimum length %u, but got a "
                            "string with length %zu instead.",
                            s->lo, n);
        if (n > s->hi)
                return FAIL(w, at, "string_above_max_length",
                            "string too long. Expected a string with maximum length %u, but got a "
                            "string with length %zu instead.",
                            s->hi, n);
        const struct pattern *p = schema_pattern(s);
        if (p && !pattern_match(p, json_string_value(v), bytes))
                return FAIL(w, at, "invalid_value",
                            "string does not match pattern. Expected a string that matches the "
                            "pattern '%s'.",
                            p->text);
        return passed(w);
}

static bool is_file(const struct walk *w, const json_t *v)
{
        return w->flags & SCHEMA_FILES && json_is_integer(json_object_get(v, "$file"));
}

/* A file is an object made by contract_form(); replies describe files as strings. */
static bool check_binary(struct walk *w, const struct at *at, const struct schema *s, const json_t *v)
{
        if (is_file(w, v) || (is_reply(w) && json_is_string(v)))
                return passed(w);
        return fail_type(w, at, s, v);
}

static bool check_integer(struct walk *w, const struct at *at, const struct schema *s, const json_t *v)
{
        if (!json_is_integer(v))
                return fail_type(w, at, s, v);
        const struct range *r = schema_range(s);
        json_int_t i = json_integer_value(v);
        if ((double)i < r->min)
                return FAIL(w, at, "integer_below_min_value",
                            "integer below minimum value. Expected a value >= %.0f, but got %lld "
                            "instead.",
                            r->min, (long long)i);
        if ((double)i > r->max)
                return FAIL(w, at, "integer_above_max_value",
                            "integer above maximum value. Expected a value <= %.0f, but got %lld "
                            "instead.",
                            r->max, (long long)i);
        return passed(w);
}

static bool check_number(struct walk *w, const struct at *at, const struct schema *s, const json_t *v)
{
        if (!json_is_number(v))
                return fail_type(w, at, s, v);
        const struct range *r = schema_range(s);
        double d = json_number_value(v);
        bool above = s->flags & SN_ABOVE_MIN;
        if (d < r->min || (above && d == r->min))
                return FAIL(w, at, "decimal_below_min_value",
                            "decimal below minimum value. Expected a value %s %.15g, but got %.15g "
                            "instead.",
                            above ? ">" : ">=", r->min, d);
        if (d > r->max)
                return FAIL(w, at, "decimal_above_max_value",
                            "decimal above maximum value. Expected a value <= %.15g, but got %.15g "
                            "instead.",
                            r->max, d);
        return passed(w);
}

/* ---- arrays and objects ---- */

static bool check_length(struct walk *w, const struct at *at, const struct schema *s, size_t n)
{
        if (n < s->lo && n == 0)
                return FAIL(w, at, "empty_array",
                            "empty array. Expected an array with minimum length %u, but got an empty "
                            "array instead.",
                            s->lo);
        if (n < s->lo)
                return FAIL(w, at, "array_below_min_length",
                            "array too short. Expected an array with minimum length %u, but got an "
                            "array with length %zu instead.",
                            s->lo, n);
        if (n > s->hi)
                return FAIL(w, at, "array_above_max_length",
                            "array too long. Expected an array with maximum length %u, but got an "
                            "array with length %zu instead.",
                            s->hi, n);
        return true;
}

static bool check_array(struct walk *w, const struct at *at, const struct schema *s, const json_t *v)
{
        if (!json_is_array(v))
                return fail_type(w, at, s, v);
        if (!check_length(w, at, s, json_array_size(v)))
                return false;
        const struct schema *item = schema_node(s->item);
        if (item->kind == S_ANY)
                return passed(w);
        for (size_t i = 0; i < json_array_size(v); i++) {
                struct at here = { .up = at, .index = i, .depth = at->depth + 1 };
                if (!check(w, &here, item, json_array_get(v, i)))
                        return false;
        }
        return true;
}

/* May a request or reply carry fields that the schema does not list? */
static bool refuses_unknown(const struct walk *w, const struct at *at, const struct schema *s)
{
        if (is_reply(w))
                return s->flags & SN_CLOSED;
        if (at->up)
                return s->flags & (SN_CLOSED | SN_STRICT);
        return !(w->flags & SCHEMA_LENIENT) && !s->item && (s->n || s->flags & SN_CLOSED);
}

/* The fields that the schema does not list, and the names of all. */
static bool check_names(struct walk *w, const struct at *at, const struct schema *s, const json_t *v)
{
        const struct schema *extra = schema_node(s->item);
        bool refuse = refuses_unknown(w, at, s);
        if (!refuse && extra->kind == S_ANY && !s->key_hi)
                return true;
        const char *name;
        json_t *value;
        json_object_foreach((json_t *)v, name, value)
        {
                size_t n = strlen(name);
                size_t length = s->key_hi ? code_points(name, n) : 0;
                if (length > s->key_hi)
                        return FAIL(w, at, "string_above_max_length",
                                    "property name too long. Expected a string with maximum "
                                    "length %u, but got a string with length %zu instead.",
                                    s->key_hi, length);
                if (schema_field(s, name, n))
                        continue;
                struct at here = { .up = at, .name = name, .depth = at->depth + 1 };
                if (refuse)
                        return fail_unknown(w, &here);
                if (!check(w, &here, extra, value))
                        return false;
        }
        return true;
}

/* On create an explicit null equals an absent field; an update keeps the difference at its top. */
static bool is_absent(const struct walk *w, const struct at *at, const json_t *v)
{
        if (!v)
                return true;
        return json_is_null(v) && !is_reply(w) && !(w->flags & SCHEMA_UPDATE && !at->up);
}

static bool check_fields(struct walk *w, const struct at *at, const struct schema *s, const json_t *v)
{
        unsigned demanded = is_reply(w) ? F_REPLY_REQUIRED : F_REQUIRED;
        const struct field *f = schema_fields(s);
        for (unsigned i = 0; i < s->n; i++, f++) {
                struct at here = { .up = at, .name = schema_text(f->name), .depth = at->depth + 1 };
                const json_t *value = json_object_get(v, here.name);
                bool required = f->flags & demanded;
                if (!value && required)
                        return fail_missing(w, &here);
                if (!required && is_absent(w, at, value))
                        continue;
                if (value && !check(w, &here, schema_node(f->node), value))
                        return false;
        }
        return true;
}

static bool check_object(struct walk *w, const struct at *at, const struct schema *s, const json_t *v)
{
        if (!json_is_object(v))
                return fail_type(w, at, s, v);
        size_t n = json_object_size(v);
        if (n > s->hi)
                return FAIL(w, at, "object_above_max_properties",
                            "too many properties. Expected an object with at most %u properties, but "
                            "got an object with %zu properties instead.",
                            s->hi, n);
        return check_names(w, at, s, v) && check_fields(w, at, s, v);
}

/* ---- unions ---- */

enum tag_state {
        TAG_NONE,   /* the union is not tagged, or the value is no object */
        TAG_ABSENT, /* missing, or null where a variant can do without */
        TAG_KNOWN,  /* chooses at least one variant */
        TAG_OTHER,  /* chooses none: the variants without tags remain */
        TAG_WRONG,  /* not a string */
};

struct choice {
        enum tag_state state;
        const char *tag;
        size_t n;
};

static bool some_without_tag(const struct schema *s)
{
        const struct variant *v = schema_variants(s);
        for (unsigned i = 0; i < s->n; i++)
                if (v[i].tag_optional && schema_node(v[i].node)->kind == S_OBJECT)
                        return true;
        return false;
}

static bool some_with_tag(const struct schema *s, const json_t *tag)
{
        const struct variant *v = schema_variants(s);
        for (unsigned i = 0; i < s->n; i++)
                if (variant_has_tag(&v[i], json_string_value(tag), json_string_length(tag)))
                        return true;
        return false;
}

static struct choice read_tag(const struct walk *w, const struct schema *s, const json_t *v)
{
        if (!*schema_tag(s) || !json_is_object(v) || is_file(w, v))
                return (struct choice){ TAG_NONE, NULL, 0 };
        const json_t *tag = json_object_get(v, schema_tag(s));
        if (!tag || (json_is_null(tag) && some_without_tag(s)))
                return (struct choice){ TAG_ABSENT, NULL, 0 };
        if (!json_is_string(tag))
                return (struct choice){ TAG_WRONG, NULL, 0 };
        return (struct choice){ some_with_tag(s, tag) ? TAG_KNOWN : TAG_OTHER, json_string_value(tag),
                                json_string_length(tag) };
}

static bool kind_fits(const struct walk *w, const struct schema *s, const json_t *v)
{
        switch ((enum schema_kind)s->kind) {
        case S_OBJECT:
                return json_is_object(v) && !is_file(w, v);
        case S_ARRAY:
                return json_is_array(v);
        case S_STRING:
                return s->flags & SN_BINARY ? is_file(w, v) || (is_reply(w) && json_is_string(v))
                                            : json_is_string(v);
        case S_INTEGER:
                return json_is_integer(v);
        case S_NUMBER:
                return json_is_number(v);
        case S_BOOLEAN:
                return json_is_boolean(v);
        case S_NULL:
                return json_is_null(v);
        case S_ANY:
        case S_UNION:
                break;
        }
        return true;
}

/* Is this variant a candidate for the value? */
static bool fits(const struct walk *w, const struct variant *variant, const struct choice *c, const json_t *v)
{
        const struct schema *s = schema_node(variant->node);
        if (!kind_fits(w, s, v))
                return false;
        if (s->kind != S_OBJECT)
                return true;
        switch (c->state) {
        case TAG_NONE:
                return true;
        case TAG_ABSENT:
                return variant->tag_optional;
        case TAG_KNOWN:
                return variant_has_tag(variant, c->tag, c->n);
        case TAG_OTHER:
                return !variant->n_tags;
        case TAG_WRONG:
                break;
        }
        return false;
}

/* No variant is a candidate: the tag is to blame, or the type. */
static bool fail_choice(struct walk *w, const struct at *at, const struct schema *s, const struct choice *c,
                        const json_t *v)
{
        struct at tag = { .up = at, .name = schema_tag(s), .depth = at->depth + 1 };
        if (c->state == TAG_NONE)
                return fail_type(w, at, s, v);
        if (c->state == TAG_ABSENT)
                return fail_missing(w, &tag);
        if (failed(w, &tag))
                word_tag_error(w->err, &tag, s, json_object_get(v, tag.name));
        return false;
}

/* Tries every candidate. When none takes the value, the one that got deepest (then: furthest) words the
 * error. */
static bool check_candidates(struct walk *w, const struct at *at, const struct schema *s,
                             const struct choice *c, const json_t *v)
{
        const struct variant *variant = schema_variants(s);
        struct schema_err *err = w->err;
        unsigned passed_before = w->passed, best_passed = 0;
        int best_depth = -1;
        const struct schema *best = NULL;
        w->err = NULL;
        for (unsigned i = 0; i < s->n; i++) {
                if (!fits(w, &variant[i], c, v))
                        continue;
                w->passed = 0;
                if (check(w, at, schema_node(variant[i].node), v)) {
                        w->passed += passed_before;
                        w->err = err;
                        return true;
                }
                if (w->fail_depth > best_depth || (w->fail_depth == best_depth && w->passed > best_passed)) {
                        best = schema_node(variant[i].node);
                        best_depth = w->fail_depth;
                        best_passed = w->passed;
                }
        }
        w->err = err;
        if (err)
                check(w, at, best, v);
        w->fail_depth = best_depth;
        w->passed = passed_before + best_passed;
        return false;
}

static bool check_union(struct walk *w, const struct at *at, const struct schema *s, const json_t *v)
{
        struct choice c = read_tag(w, s, v);
        const struct variant *variant = schema_variants(s);
        const struct schema *only = NULL;
        unsigned candidates = 0;
        for (unsigned i = 0; i < s->n; i++) {
                if (!fits(w, &variant[i], &c, v))
                        continue;
                only = schema_node(variant[i].node);
                candidates++;
        }
        if (!candidates)
                return fail_choice(w, at, s, &c, v);
        return candidates == 1 ? check(w, at, only, v) : check_candidates(w, at, s, &c, v);
}

static bool check(struct walk *w, const struct at *at, const struct schema *s, const json_t *v)
{
        if (s->kind == S_ANY)
                return passed(w);
        if (at->depth > SCHEMA_DEPTH_MAX || --w->visits_left < 0)
                return FAIL(w, at, "invalid_value", "the value is nested too deeply or too complex.");
        if (json_is_null(v))
                return s->flags & SN_NULLABLE ? passed(w) : fail_type(w, at, s, v);
        switch ((enum schema_kind)s->kind) {
        case S_OBJECT:
                return check_object(w, at, s, v);
        case S_ARRAY:
                return check_array(w, at, s, v);
        case S_STRING:
                return s->flags & SN_BINARY ? check_binary(w, at, s, v) : check_string(w, at, s, v);
        case S_INTEGER:
                return check_integer(w, at, s, v);
        case S_NUMBER:
                return check_number(w, at, s, v);
        case S_BOOLEAN:
                return json_is_boolean(v) ? passed(w) : fail_type(w, at, s, v);
        case S_UNION:
                return check_union(w, at, s, v);
        case S_NULL:
        case S_ANY:
                break;
        }
        return fail_type(w, at, s, v);
}

int schema_check(const struct schema *s, const json_t *value, unsigned flags, struct schema_err *reterr)
{
        struct walk w = { .flags = flags, .err = reterr, .visits_left = VISITS_MAX };
        struct at root = { .up = NULL };
        return !s || check(&w, &root, s, value ? value : json_null()) ? 0 : -EINVAL;
}

int schema_check_named(const struct schema *s, const char *name, const json_t *value,
                       struct schema_err *reterr)
{
        struct walk w = { .flags = SCHEMA_CREATE, .err = reterr, .visits_left = VISITS_MAX };
        struct at root = { .up = NULL };
        struct at here = { .up = &root, .name = name, .depth = 1 };
        return (value ? check(&w, &here, s, value) : fail_missing(&w, &here)) ? 0 : -EINVAL;
}
