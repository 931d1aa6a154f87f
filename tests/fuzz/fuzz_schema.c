/*
 * fuzz_schema.c: JSON values against every schema of the contract.
 *
 * Input: one byte for the schema (an operation's body, or its event), one byte of schema_check
 * flags, then JSON text; or, when the flags have GROWN, bytes that choose at each step what a value
 * grown along the schema becomes: what the schema asks for, or something else. Beyond not crashing, a
 * refusal must carry a whole error: a message and a path in UTF-8 and a code, and must not depend on
 * whether somebody wants to read it.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>
#include "base/json.h"
#include "contract/tables.h"

#define DEPTH_MAX 512
#define GROWN 0x80
#define GROWN_DEPTH 14

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The nth of the schemas that an operation takes or gives. */
static const struct schema *pick(unsigned nth)
{
        size_t n;
        const struct operation *ops = contract_operations(&n);
        unsigned seen = 0, total = 0;

        for (size_t i = 0; i < n; i++)
                total += ops[i].n_bodies > 0 || ops[i].event;
        for (size_t i = 0; i < n; i++) {
                bool counts = ops[i].n_bodies > 0 || ops[i].event;
                if (counts && seen++ == nth % total)
                        return ops[i].n_bodies ? ops[i].bodies[0].schema : ops[i].event;
        }
        return NULL;
}

static void check(const struct schema *s, const json_t *value, unsigned flags)
{
        struct schema_err err;
        int rc = schema_check(s, value, flags, &err);

        assert(schema_check(s, value, flags, NULL) == rc);
        if (rc == 0)
                return;
        assert(err.msg[0] && strlen(err.msg) < sizeof(err.msg) && str_is_utf8(str_c(err.msg)));
        assert(strlen(err.param) < sizeof(err.param) && str_is_utf8(str_c(err.param)));
        assert(err.code && err.code[0]);
}

struct bytes {
        const uint8_t *p;
        size_t n;
};

static unsigned next(struct bytes *b)
{
        if (!b->n)
                return 255;
        b->n--;
        return *b->p++;
}

static json_t *text_of(size_t n)
{
        char text[256];

        memset(text, 'a', sizeof(text));
        return json_stringn(text, n < sizeof(text) ? n : sizeof(text));
}

/* A value that does not care for the schema. */
static json_t *odd(struct bytes *b)
{
        switch (next(b) % 8) {
        case 0:
                return json_null();
        case 1:
                return json_boolean(next(b) & 1);
        case 2:
                return json_integer((json_int_t)next(b) - 128);
        case 3:
                return json_real(next(b) / 16.0 - 8);
        case 4:
                return text_of(next(b));
        case 5:
                return json_pack("[i,s]", 1, "b");
        case 6:
                return json_pack("{s:s,s:[]}", "type", "message", "content");
        default:
                return json_object();
        }
}

static json_t *grow(struct bytes *b, const struct schema *s, int depth);

static json_t *grow_object(struct bytes *b, const struct schema *s, int depth)
{
        const struct field *f = schema_fields(s);
        json_t *o = json_object();

        for (unsigned i = 0; i < s->n; i++)
                if (f[i].flags & F_REQUIRED ? next(b) : next(b) < 64)
                        json_object_set_new(o, schema_text(f[i].name),
                                            grow(b, schema_node(f[i].node), depth + 1));
        if (!s->n || next(b) < 16)
                json_object_set_new(o, "extra", grow(b, schema_node(s->item), depth + 1));
        return o;
}

static json_t *grow_array(struct bytes *b, const struct schema *s, int depth)
{
        json_t *a = json_array();

        for (unsigned n = next(b) % 4; n; n--)
                json_array_append_new(a, grow(b, schema_node(s->item), depth + 1));
        return a;
}

static json_t *grow(struct bytes *b, const struct schema *s, int depth)
{
        if (depth > GROWN_DEPTH || next(b) < 24)
                return odd(b);
        switch ((enum schema_kind)s->kind) {
        case S_OBJECT:
                return grow_object(b, s, depth);
        case S_ARRAY:
                return grow_array(b, s, depth);
        case S_STRING:
                return s->n ? json_string(schema_enum(s, next(b) % s->n)) : text_of(next(b));
        case S_INTEGER:
        case S_NUMBER:
                return json_integer((json_int_t)next(b) % 32);
        case S_BOOLEAN:
                return json_true();
        case S_UNION:
                return grow(b, schema_node(schema_variants(s)[next(b) % s->n].node), depth);
        case S_NULL:
        case S_ANY:
                break;
        }
        return odd(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct json_fault fault;

        if (size < 2)
                return 0;
        const struct schema *s = pick(data[0]);
        struct bytes rest = { data + 2, size - 2 };
        json_t *value = data[1] & GROWN
                                ? grow(&rest, s, 0)
                                : json_parse((struct str){ (const char *)rest.p, rest.n }, DEPTH_MAX, &fault);
        if (!value)
                return 0;
        check(s, value, data[1] & (SCHEMA_UPDATE | SCHEMA_LENIENT | SCHEMA_REPLY));
        check(contract_schema("ResponseStreamEvent"), value, SCHEMA_REPLY);
        json_decref(value);
        return 0;
}
