/* The rows of the generated tables and how to walk them. For this folder, the case generator and tools;
 * everybody else uses contract.h. Rows refer to each other by index, so that the tables stay small and need
 * no relocation; node 0 accepts anything. */
#ifndef CAIRN_CONTRACT_TABLES_H
#define CAIRN_CONTRACT_TABLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "contract/contract.h"

/* The order is that of KINDS in contract/gen.py. */
enum schema_kind {
        S_ANY,
        S_OBJECT,
        S_ARRAY,
        S_STRING,
        S_INTEGER,
        S_NUMBER,
        S_BOOLEAN,
        S_NULL,
        S_UNION,
};

enum schema_flag {
        SN_NULLABLE = 1,
        SN_CLOSED = 2,    /* additionalProperties: false */
        SN_BINARY = 4,    /* an uploaded file */
        SN_ABOVE_MIN = 8, /* the minimum itself is excluded */
        SN_STRICT = 16,   /* unknown fields are refused in requests, at any depth */
};

#define SCHEMA_NO_LIMIT UINT32_MAX

struct schema {
        uint8_t kind, flags;
        uint16_t n;     /* OBJECT: fields; STRING: listed values; UNION: variants */
        uint32_t first; /* index of the first of them */
        uint32_t item;  /* ARRAY: node of the items; OBJECT: node of unknown fields, 0: anything */
        uint32_t lo;    /* smallest length: STRING in code points, ARRAY in items */
        uint32_t hi;    /* largest length or number of properties, SCHEMA_NO_LIMIT: none */
        uint16_t range; /* INTEGER, NUMBER: index of its bounds, 0: none */
        uint16_t pattern;
        uint16_t key_hi; /* OBJECT: largest length of a name, 0: none */
        uint32_t tag;    /* UNION: name of the property that tells its objects apart, "" : none */
};

enum field_flag { F_REQUIRED = 1, F_REPLY_REQUIRED = 2 };

struct field {
        uint32_t name, node, dflt; /* dflt: JSON text, "" when there is none */
        uint8_t flags;
};

/* One alternative of a union. Objects of a tagged union list the values that choose them. */
struct variant {
        uint32_t node;
        uint32_t first_tag;
        uint16_t n_tags;
        uint8_t tag_optional; /* may come without the tag */
};

struct range {
        double min, max; /* infinite where there is no bound */
};

#define PATTERN_MAX_RUNS 12
/* An anchored pattern as runs of characters of a class; no run can swallow what the next one needs. */
struct pattern {
        const char *text;
        unsigned n;
        struct {
                uint64_t chars[2]; /* ASCII bitmap */
                uint32_t min, max;
        } run[PATTERN_MAX_RUNS];
};

/* A node of the routing trie: its literal children are neighbours in name order. Node 0 is "/v1", node 1 "/".
 */
struct segment {
        const char *text;
        uint16_t first, n;    /* literal children */
        uint16_t param;       /* the child for a path parameter, 0: none */
        uint16_t op[M_COUNT]; /* index of the operation by method, plus one; 0: none */
};

const struct segment *segment_at(unsigned index);

/* Never NULL; the names are static. */
const struct schema *schema_node(uint32_t index);
const struct field *schema_fields(const struct schema *s);     /* s->n of an OBJECT */
const struct variant *schema_variants(const struct schema *s); /* s->n of a UNION */
const char *schema_enum(const struct schema *s, unsigned i);   /* of a STRING */
const struct range *schema_range(const struct schema *s);
const struct pattern *schema_pattern(const struct schema *s); /* NULL: none */
const char *schema_tag(const struct schema *s);               /* "" when not tagged */
const char *schema_text(uint32_t at);                         /* field->name, field->dflt */
const char *variant_tag(const struct variant *v, unsigned i);

/* The field called `name` (n bytes), or NULL. */
const struct field *schema_field(const struct schema *s, const char *name, size_t n);
/* True when the union's variant is chosen by this tag value. */
bool variant_has_tag(const struct variant *v, const char *value, size_t n);
/* True when the whole string matches. */
bool pattern_match(const struct pattern *p, const char *s, size_t n);
#endif
