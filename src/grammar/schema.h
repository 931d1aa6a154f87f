/* JSON Schema (draft 2020-12) to parts of a grammar. Internal to this folder.
 *
 * What a value must satisfy at some place is a conjunction: a list of schemas that all apply there ($ref and
 * allOf add members, anyOf and oneOf choose one). The files here each make of a conjunction what it says
 * about one kind of value. */
#ifndef CAIRN_GRAMMAR_SCHEMA_H
#define CAIRN_GRAMMAR_SCHEMA_H

#include <stdbool.h>
#include <stdint.h>
#include "base/json.h"
#include "base/map.h"
#include "base/vec.h"
#include "grammar/build.h"
#include "grammar/json_parts.h"

enum {
        TYPE_NULL = 1,
        TYPE_BOOL = 2,
        TYPE_INTEGER = 4,
        TYPE_FRACTION = 8, /* numbers that are no integers */
        TYPE_STRING = 16,
        TYPE_ARRAY = 32,
        TYPE_OBJECT = 64,
        TYPE_ALL = 127,
};

enum { SKIP_ANY = 1, SKIP_ONE = 2 }; /* a branch of anyOf or oneOf is in the list already */

struct sc_entry {
        const json_t *s;
        uint8_t skip;
        bool opened; /* its $ref and allOf are in the list */
};

struct sc_list {
        struct sc_entry *p;
        size_t n, cap;
};

struct sc {
        struct grammar_builder *b;
        struct grammar_err *err;
        unsigned flags;
        const json_t *root;
        struct map made;             /* conjunction -> struct sc_made */
        struct VEC(struct str) path; /* to the place in work */
        int depth;
        /* OpenAI's limits, counted by the check. */
        size_t n_properties, n_enum, n_chars;
};

/* Sets the error to a sentence with its place, in OpenAI's words ("In context=('properties', 'a'), ..."), and
 * fails the builder with -EINVAL, which it returns. Only the first counts. */
gnode sc_fail(struct sc *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
gnode sc_too_large(struct sc *c, const char *what); /* -E2BIG */
void sc_push(struct sc *c, const char *segment);
void sc_push_index(struct sc *c, size_t index);
void sc_pop(struct sc *c);

/* schema.c */
int sc_add(struct sc *c, struct sc_list *l, const json_t *schema);
/* What the list allows; the list stays the caller's. */
gnode sc_value(struct sc *c, const struct sc_list *l);
/* The value of a keyword in an entry, NULL when absent or the entry is no object. */
const json_t *sc_key(const struct sc_entry *e, const char *keyword);
unsigned sc_types(const struct sc_list *l);
const json_t *sc_resolve(struct sc *c, const char *ref); /* NULL: no such place */
/* Opens $ref and allOf; false when `false` is in the list. */
bool sc_open(struct sc *c, struct sc_list *l);
/* Largest of all minima, smallest of all maxima; the default when there is none. */
int64_t sc_most(const struct sc_list *l, const char *keyword, int64_t dflt);
int64_t sc_least(const struct sc_list *l, const char *keyword, int64_t dflt);

/* schema_check.c: keywords known and of their types, references resolved, OpenAI's strict rules. 0 or -EINVAL
 * with the error set. */
int sc_check(struct sc *c);

/* schema_string.c */
gnode sc_string(struct sc *c, const struct sc_list *l);
/* The characters of the strings that the list allows; 0 or an error. */
int sc_string_fa(struct sc *c, const struct sc_list *l, struct fa *ret);
bool sc_string_bounded(const struct sc_list *l); /* it says something about strings */
bool sc_format_known(const char *name);

/* schema_number.c */
gnode sc_number(struct sc *c, const struct sc_list *l, unsigned types);

/* schema_array.c, schema_object.c */
gnode sc_array(struct sc *c, const struct sc_list *l);
gnode sc_object(struct sc *c, const struct sc_list *l);
/* Adds what applies to the property of that name in an object that the list applies to. 0 or an error. */
int sc_property(struct sc *c, const struct sc_list *l, const char *name, struct sc_list *ret);

/* schema_value.c: single values. */
gnode sc_literal(struct sc *c, const json_t *v); /* its spellings */
/* Whether a value satisfies the list, opened, except for what its entries skip. */
bool sc_allows(struct sc *c, const struct sc_list *l, const json_t *v);
/* The candidates of enum and const that the list allows, NULL when it has neither; the caller's to release.
 */
json_t *sc_candidates(struct sc *c, const struct sc_list *l);
/* Whether no value satisfies both; false also when that is not plain. */
bool sc_disjoint(struct sc *c, const struct sc_list *a, const struct sc_list *b);
#endif
