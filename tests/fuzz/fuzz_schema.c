/*
 * fuzz_schema.c: JSON text against every schema of the contract.
 *
 * Input: one byte for the schema (an operation's JSON body, or its reply), one byte of schema_check
 * flags, then JSON. Beyond not crashing, a refusal must carry a whole error: a message and a path
 * in UTF-8 and a code, and must not depend on whether somebody wants to read it.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>
#include "base/json.h"
#include "contract/contract.h"

#define DEPTH_MAX 512

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct json_fault fault;

        if (size < 2)
                return 0;
        json_t *value = json_parse((struct str){ (const char *)data + 2, size - 2 }, DEPTH_MAX, &fault);
        if (!value)
                return 0;
        check(pick(data[0]), value, data[1] & (SCHEMA_UPDATE | SCHEMA_LENIENT | SCHEMA_REPLY));
        check(contract_schema("ResponseStreamEvent"), value, SCHEMA_REPLY);
        json_decref(value);
        return 0;
}
