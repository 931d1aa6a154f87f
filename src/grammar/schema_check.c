/* One walk over a schema before anything is made of it: keywords are known and of their types, references
 * lead somewhere, and with GRAMMAR_STRICT OpenAI's rules hold. So what compiles need not look again. */
#include <errno.h>
#include <math.h>
#include <string.h>
#include "grammar/regex.h"
#include "grammar/schema.h"

/* OpenAI's published limits of strict schemas. */
#define STRICT_PROPERTIES 5000
#define STRICT_LEVELS 10
#define STRICT_ENUM 1000
#define STRICT_CHARS 120000
#define STRICT_LONG_ENUM 250
#define STRICT_LONG_CHARS 15000
#define MAX_DEPTH 200

enum shape {
        ANNOTATION, /* says nothing about values */
        SCHEMA,
        SCHEMAS, /* an array of at least one schema */
        NAMED,   /* an object of schemas */
        COUNT,
        NUMBER,
        POSITIVE,
        TEXT,
        PATTERN,
        TYPES,
        VALUES,
        ANY,
        NAMES,
        FLAG,
        REFERENCE,
        REFUSED,
};

static const struct keyword {
        const char *name;
        enum shape shape;
} keywords[] = {
        { "$anchor", ANNOTATION },
        { "$comment", ANNOTATION },
        { "$defs", NAMED },
        { "$dynamicAnchor", ANNOTATION },
        { "$dynamicRef", REFUSED },
        { "$id", ANNOTATION },
        { "$recursiveRef", REFUSED },
        { "$ref", REFERENCE },
        { "$schema", ANNOTATION },
        { "additionalItems", REFUSED },
        { "additionalProperties", SCHEMA },
        { "allOf", SCHEMAS },
        { "anyOf", SCHEMAS },
        { "const", ANY },
        { "contains", REFUSED },
        { "contentEncoding", ANNOTATION },
        { "contentMediaType", ANNOTATION },
        { "default", ANNOTATION },
        { "definitions", NAMED },
        { "dependencies", REFUSED },
        { "dependentRequired", REFUSED },
        { "dependentSchemas", REFUSED },
        { "deprecated", ANNOTATION },
        { "description", ANNOTATION },
        { "else", REFUSED },
        { "enum", VALUES },
        { "example", ANNOTATION },
        { "examples", ANNOTATION },
        { "exclusiveMaximum", NUMBER },
        { "exclusiveMinimum", NUMBER },
        { "format", TEXT },
        { "if", REFUSED },
        { "items", SCHEMA },
        { "maxContains", REFUSED },
        { "maxItems", COUNT },
        { "maxLength", COUNT },
        { "maxProperties", COUNT },
        { "maximum", NUMBER },
        { "minContains", REFUSED },
        { "minItems", COUNT },
        { "minLength", COUNT },
        { "minProperties", COUNT },
        { "minimum", NUMBER },
        { "multipleOf", POSITIVE },
        { "not", REFUSED },
        { "oneOf", SCHEMAS },
        { "pattern", PATTERN },
        { "patternProperties", NAMED },
        { "prefixItems", SCHEMAS },
        { "properties", NAMED },
        { "propertyNames", REFUSED },
        { "readOnly", ANNOTATION },
        { "required", NAMES },
        { "then", REFUSED },
        { "title", ANNOTATION },
        { "type", TYPES },
        { "unevaluatedItems", REFUSED },
        { "unevaluatedProperties", REFUSED },
        { "uniqueItems", FLAG },
        { "writeOnly", ANNOTATION },
};

static int check_schema(struct sc *c, const json_t *s, int level);

static int wrong(struct sc *c, const char *keyword, const char *wanted)
{
        return sc_fail(c, "'%s' must be %s.", keyword, wanted);
}

static int check_pattern(struct sc *c, const char *pattern)
{
        struct grammar_err err = { 0 };
        if (rx_parse(c->b, str_c(pattern), RX_SCHEMA, (struct rx_flags){ 0 }, &err))
                return 0;
        if (c->b->err != -EINVAL)
                return c->b->err;
        c->b->err = 0; /* said again with the place */
        return sc_fail(c, "'pattern' %s", err.msg);
}

static int check_types(struct sc *c, const json_t *v)
{
        static const char *const names[] = { "string", "number", "integer", "boolean",
                                             "null",   "array",  "object" };
        const json_t *one = v;
        size_t n = json_is_array(v) ? json_array_size(v) : 1;
        if (!n)
                return wrong(c, "type", "a type or an array of types");
        for (size_t i = 0; i < n; i++) {
                bool known = false;
                if (json_is_array(v))
                        one = json_array_get(v, i);
                for (size_t k = 0; json_is_string(one) && k < 7; k++)
                        known |= !strcmp(names[k], json_string_value(one));
                if (json_is_string(one) && !known)
                        return sc_fail(c, "'%s' is not valid under any of the given schemas.",
                                       json_string_value(one));
                if (!known)
                        return wrong(c, "type", "a type or an array of types");
        }
        return 0;
}

static int check_names(struct sc *c, const char *keyword, const json_t *v)
{
        const json_t *one;
        size_t i;
        if (!json_is_array(v))
                return wrong(c, keyword, "an array of strings");
        json_array_foreach(v, i, one) if (!json_is_string(one)) return wrong(c, keyword,
                                                                             "an array of strings");
        return 0;
}

static int check_reference(struct sc *c, const json_t *v)
{
        const char *ref = json_string_value(v);
        if (!ref)
                return wrong(c, "$ref", "a string");
        const json_t *at = sc_resolve(c, ref);
        if (!at)
                return sc_fail(c, "reference to component '%s' which was not found in the schema.", ref);
        if (!json_is_object(at) && !json_is_boolean(at))
                return sc_fail(c, "reference '%s' does not lead to a schema.", ref);
        return 0;
}

static int check_schemas(struct sc *c, const char *keyword, const json_t *v, int level)
{
        const json_t *one;
        size_t i;
        int r = 0;
        if (!json_is_array(v) || !json_array_size(v))
                return wrong(c, keyword, "a non-empty array of schemas");
        json_array_foreach(v, i, one)
        {
                sc_push_index(c, i);
                r = check_schema(c, one, level);
                sc_pop(c);
                if (r)
                        break;
        }
        return r;
}

static int check_named(struct sc *c, const char *keyword, const json_t *v, int level)
{
        const char *name;
        json_t *one;
        int r = 0;
        if (!json_is_object(v))
                return wrong(c, keyword, "an object of schemas");
        json_object_foreach((json_t *)(uintptr_t)v, name, one)
        {
                c->n_chars += strlen(name);
                sc_push(c, name);
                if (!strcmp(keyword, "patternProperties"))
                        r = check_pattern(c, name);
                if (!r)
                        r = check_schema(c, one, level);
                sc_pop(c);
                if (r)
                        break;
        }
        return r;
}

static int check_number(struct sc *c, const char *keyword, enum shape shape, const json_t *v)
{
        double d = json_number_value(v);
        if (!json_is_number(v) || !isfinite(d))
                return wrong(c, keyword, "a number");
        if (shape == COUNT && (d < 0 || d != floor(d) || d > 1e15))
                return wrong(c, keyword, "a non-negative integer");
        if (shape == POSITIVE && d <= 0)
                return wrong(c, keyword, "greater than 0");
        return 0;
}

static int check_values(struct sc *c, const json_t *v)
{
        const json_t *one;
        size_t i, chars = 0;
        if (!json_is_array(v) || !json_array_size(v))
                return wrong(c, "enum", "a non-empty array");
        json_array_foreach(v, i, one) chars += json_string_length(one);
        c->n_enum += json_array_size(v);
        c->n_chars += chars;
        if (c->flags & GRAMMAR_STRICT && json_array_size(v) > STRICT_LONG_ENUM && chars > STRICT_LONG_CHARS)
                return sc_fail(c,
                               "the total length of the values of an enum with more than %d values may not "
                               "exceed %d "
                               "characters.",
                               STRICT_LONG_ENUM, STRICT_LONG_CHARS);
        return 0;
}

/* Whether what a keyword holds is a level of nesting of its own. */
static bool nests(const char *keyword)
{
        return !strcmp(keyword, "properties") || !strcmp(keyword, "items") ||
               !strcmp(keyword, "prefixItems") || !strcmp(keyword, "patternProperties") ||
               !strcmp(keyword, "additionalProperties");
}

static int check_nested(struct sc *c, const struct keyword *k, const json_t *v, int level)
{
        int r;
        sc_push(c, k->name);
        if (k->shape == SCHEMA)
                r = check_schema(c, v, level);
        else if (k->shape == SCHEMAS)
                r = check_schemas(c, k->name, v, level);
        else
                r = check_named(c, k->name, v, level);
        sc_pop(c);
        return r;
}

static int check_keyword(struct sc *c, const struct keyword *k, const json_t *v, int level)
{
        switch (k->shape) {
        case ANNOTATION:
        case ANY:
                return 0;
        case SCHEMA:
        case SCHEMAS:
        case NAMED:
                return check_nested(c, k, v, level + nests(k->name));
        case COUNT:
        case NUMBER:
        case POSITIVE:
                return check_number(c, k->name, k->shape, v);
        case TEXT:
                return json_is_string(v) ? 0 : wrong(c, k->name, "a string");
        case PATTERN:
                return json_is_string(v) ? check_pattern(c, json_string_value(v))
                                         : wrong(c, k->name, "a string");
        case TYPES:
                return check_types(c, v);
        case VALUES:
                return check_values(c, v);
        case NAMES:
                return check_names(c, k->name, v);
        case FLAG:
                return json_is_boolean(v) ? 0 : wrong(c, k->name, "a boolean");
        case REFERENCE:
                return check_reference(c, v);
        case REFUSED:
                return sc_fail(c, "'%s' is not permitted.", k->name);
        }
        return 0;
}

static const struct keyword *find_keyword(const char *name)
{
        for (size_t i = 0; i < sizeof(keywords) / sizeof(*keywords); i++)
                if (!strcmp(keywords[i].name, name))
                        return &keywords[i];
        return NULL;
}

/* ---- OpenAI's strict rules -------------------------------------------------------------------------- */

static bool names_type(const json_t *type, const char *name)
{
        const json_t *one;
        size_t i;
        if (json_is_string(type))
                return !strcmp(json_string_value(type), name);
        json_array_foreach(type, i,
                           one) if (json_is_string(one) && !strcmp(json_string_value(one), name)) return true;
        return false;
}

static bool is_required(const json_t *required, const char *name)
{
        const json_t *one;
        size_t i;
        json_array_foreach(required, i,
                           one) if (json_is_string(one) && !strcmp(json_string_value(one), name)) return true;
        return false;
}

static int strict_object(struct sc *c, const json_t *s)
{
        const json_t *required = json_object_get(s, "required"), *v;
        json_t *properties = json_object_get(s, "properties");
        const char *name;
        size_t i;
        if (!json_is_false(json_object_get(s, "additionalProperties")))
                return sc_fail(c, "'additionalProperties' is required to be supplied and to be false.");
        json_object_foreach(properties, name, v) if (!is_required(required, name)) return sc_fail(
                c,
                "'required' is required to be supplied and to be an array including every key "
                "in properties. Missing '%s'.",
                name);
        json_array_foreach(
                required, i,
                v) if (json_is_string(v) &&
                       !json_object_get(
                               properties,
                               json_string_value(
                                       v))) return sc_fail(c,
                                                           "'required' is required to be supplied and to be "
                                                           "an array including every key "
                                                           "in properties. Extra required key '%s' supplied.",
                                                           json_string_value(v));
        c->n_properties += json_object_size(properties);
        return 0;
}

static int strict_schema(struct sc *c, const json_t *s, int level)
{
        static const char *const others[] = { "$ref", "anyOf", "oneOf", "allOf", "enum", "const" };
        const json_t *type = json_object_get(s, "type"), *format = json_object_get(s, "format");
        bool object = names_type(type, "object"), known = type != NULL;
        for (size_t i = 0; i < 6; i++)
                known |= json_object_get(s, others[i]) != NULL;
        if (!known)
                return sc_fail(c, "schema must have a 'type' key.");
        if (level > STRICT_LEVELS)
                return sc_fail(c, "the schema has more than %d levels of nesting.", STRICT_LEVELS);
        if (names_type(type, "array") && !json_object_get(s, "items") && !json_object_get(s, "prefixItems"))
                return sc_fail(c, "array schema missing items.");
        if (json_is_string(format) && !sc_format_known(json_string_value(format)))
                return sc_fail(c, "'%s' is not a valid format.", json_string_value(format));
        if (object || json_object_get(s, "properties"))
                return strict_object(c, s);
        return 0;
}

static int strict_root(struct sc *c)
{
        const json_t *type = json_object_get(c->root, "type");
        if (json_object_get(c->root, "anyOf") || json_object_get(c->root, "oneOf"))
                return sc_fail(c, "schema must not have '%s' at the top level.",
                               json_object_get(c->root, "anyOf") ? "anyOf" : "oneOf");
        if (json_is_string(type) && !strcmp(json_string_value(type), "object"))
                return 0;
        if (!type && json_object_get(c->root, "$ref"))
                return 0;
        gr_error(c->err, "type", "schema must be a JSON Schema of 'type: \"object\"', got 'type: \"%s\"'.",
                 json_is_string(type) ? json_string_value(type) : "None");
        return gr_fail(c->b, -EINVAL);
}

static int strict_limits(struct sc *c)
{
        if (c->n_properties > STRICT_PROPERTIES)
                return sc_fail(c, "the schema has %zu object properties in total, more than %d.",
                               c->n_properties, STRICT_PROPERTIES);
        if (c->n_enum > STRICT_ENUM)
                return sc_fail(c, "the schema has %zu enum values in total, more than %d.", c->n_enum,
                               STRICT_ENUM);
        if (c->n_chars > STRICT_CHARS)
                return sc_fail(
                        c,
                        "the names and enum values of the schema have %zu characters in total, more than %d.",
                        c->n_chars, STRICT_CHARS);
        return 0;
}

/* ---- the walk ------------------------------------------------------------------------------------- */

static int check_schema(struct sc *c, const json_t *s, int level)
{
        const char *name;
        json_t *v;
        int r = 0;
        if (json_is_boolean(s) && !(c->flags & GRAMMAR_STRICT))
                return 0;
        if (json_is_false(s) && c->path.n && str_eqc(c->path.p[c->path.n - 1], "additionalProperties"))
                return 0;
        if (!json_is_object(s))
                return sc_fail(c, c->flags & GRAMMAR_STRICT ? "schema must be an object."
                                                            : "schema must be an object or a boolean.");
        if (c->path.n > MAX_DEPTH)
                return sc_too_large(c, "The schema");
        r = gr_step(&c->b->work, (int64_t)json_object_size(s) + 1);
        if (r)
                return gr_fail(c->b, r);
        json_object_foreach((json_t *)(uintptr_t)s, name, v)
        {
                const struct keyword *k = find_keyword(name);
                if (k)
                        r = check_keyword(c, k, v, level);
                else if (c->flags & GRAMMAR_STRICT)
                        r = sc_fail(c, "'%s' is not permitted.", name);
                if (r)
                        return r;
        }
        return c->flags & GRAMMAR_STRICT ? strict_schema(c, s, level) : 0;
}

int sc_check(struct sc *c)
{
        int r = 0;
        if (c->flags & GRAMMAR_STRICT && !json_is_object(c->root))
                return sc_fail(c, "schema must be an object.");
        if (c->flags & GRAMMAR_STRICT)
                r = strict_root(c);
        if (!r)
                r = check_schema(c, c->root, 0);
        if (!r && c->flags & GRAMMAR_STRICT)
                r = strict_limits(c);
        return r ? r : c->b->err;
}
