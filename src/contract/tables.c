/* The generated tables and the look-ups in them. */
#include "contract/tables.h"

#include <math.h>
#include <string.h>

struct named_schema {
        const char *name;
        uint32_t node;
};

#include "contract_schemas.inc"
#include "contract_operations.inc"

const struct schema *schema_node(uint32_t index)
{
        return &nodes[index];
}

const struct field *schema_fields(const struct schema *s)
{
        return fields + s->first;
}

const struct variant *schema_variants(const struct schema *s)
{
        return variants + s->first;
}

const char *schema_text(uint32_t at)
{
        return strings + at;
}

const char *schema_enum(const struct schema *s, unsigned i)
{
        return strings + enums[s->first + i];
}

const char *schema_tag(const struct schema *s)
{
        return strings + s->tag;
}

const char *variant_tag(const struct variant *v, unsigned i)
{
        return strings + enums[v->first_tag + i];
}

const struct range *schema_range(const struct schema *s)
{
        return &ranges[s->range];
}

const struct pattern *schema_pattern(const struct schema *s)
{
        return s->pattern ? &patterns[s->pattern] : NULL;
}

static bool same(const char *a, const char *b, size_t n)
{
        return strlen(a) == n && memcmp(a, b, n) == 0;
}

const struct field *schema_field(const struct schema *s, const char *name, size_t n)
{
        for (unsigned i = 0; i < s->n; i++)
                if (same(strings + fields[s->first + i].name, name, n))
                        return &fields[s->first + i];
        return NULL;
}

bool variant_has_tag(const struct variant *v, const char *value, size_t n)
{
        for (unsigned i = 0; i < v->n_tags; i++)
                if (same(variant_tag(v, i), value, n))
                        return true;
        return false;
}

bool pattern_match(const struct pattern *p, const char *s, size_t n)
{
        size_t at = 0;
        for (unsigned i = 0; i < p->n; i++) {
                uint32_t count = 0;
                for (; at < n && count < p->run[i].max; at++, count++) {
                        unsigned char c = (unsigned char)s[at];
                        if (c > 127 || !(p->run[i].chars[c >> 6] >> (c & 63) & 1))
                                break;
                }
                if (count < p->run[i].min)
                        return false;
        }
        return at == n;
}

/* ---- operations ---- */

const struct operation *contract_operations(size_t *ret_n)
{
        *ret_n = sizeof(operations) / sizeof(operations[0]);
        return operations;
}

const struct operation *contract_operation(const char *id)
{
        size_t n;
        const struct operation *op = contract_operations(&n);
        for (; n; n--, op++)
                if (strcmp(op->id, id) == 0)
                        return op;
        return NULL;
}

const char *contract_method_name(enum http_method m)
{
        static const char *const names[M_COUNT] = { "GET", "POST", "PUT", "PATCH", "DELETE" };
        return m < M_COUNT ? names[m] : "";
}

const struct schema *contract_schema(const char *name)
{
        size_t lo = 0, hi = sizeof(named) / sizeof(named[0]);
        while (lo < hi) {
                size_t mid = (lo + hi) / 2;
                int order = strcmp(name, named[mid].name);
                if (order == 0)
                        return &nodes[named[mid].node];
                if (order < 0)
                        hi = mid;
                else
                        lo = mid + 1;
        }
        return NULL;
}

/* ---- what the facts say about a field ---- */

const char *schema_default(const struct schema *s, const char *name)
{
        const struct field *f = s && s->kind == S_OBJECT ? schema_field(s, name, strlen(name)) : NULL;
        return f && *schema_text(f->dflt) ? schema_text(f->dflt) : NULL;
}

bool schema_has(const struct schema *s, const char *name)
{
        return s && s->kind == S_OBJECT && schema_field(s, name, strlen(name));
}

const char *schema_file_field(const struct schema *s)
{
        const char *name = NULL;
        for (unsigned i = 0; s && s->kind == S_OBJECT && i < s->n; i++) {
                const struct field *f = &schema_fields(s)[i];
                if (!(schema_node(f->node)->flags & SN_BINARY))
                        continue;
                if (name)
                        return NULL;
                name = schema_text(f->name);
        }
        return name;
}

const char *schema_word(const struct schema *s, unsigned i)
{
        return s && s->kind == S_STRING && i < s->n ? schema_enum(s, i) : NULL;
}

const struct segment *segment_at(unsigned index)
{
        return &segments[index];
}
