/*
 * fuzz_query.c: paths, query strings and form fields.
 *
 * Input: two bytes for the operation, then text that is used three times: as the path of a request,
 * as the operation's query string, and, split at its '&', as the fields of a form (a value that
 * starts with '@' is a file).
 */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include "base/arena.h"
#include "base/json.h"
#include "contract/contract.h"

#define ARENA_MAX (8u << 20)
#define FIELDS_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_error(int rc, const struct schema_err *err)
{
        if (rc != -EINVAL)
                return;
        assert(err->msg[0] && str_is_utf8(str_c(err->msg)));
        assert(strlen(err->param) < sizeof(err->param) && str_is_utf8(str_c(err->param)));
}

static void try_route(struct str text)
{
        struct route_match m;

        if (contract_route(STR("GET"), text, &m) != ROUTE_FOUND)
                return;
        assert(m.op && m.n == m.op->n_path);
        for (size_t i = 0; i < m.n; i++)
                assert(route_param(&m, m.op->path_params[i].name) && *m.param[i].value);
}

static void try_query(const struct operation *op, struct str text)
{
        struct schema_err err = { .msg = "" };
        struct arena *a = arena_new(ARENA_MAX);
        struct kv *pairs;
        json_t *value = NULL;
        size_t n;
        int rc = contract_parse_query(text, a, &pairs, &n, &err);

        check_error(rc, &err);
        if (rc == 0) {
                rc = contract_query(op, pairs, n, &value, &err);
                check_error(rc, &err);
                assert(rc || json_is_object(value));
        }
        json_decref(value);
        arena_free(a);
}

static void try_form(const struct operation *op, struct str text)
{
        struct form_field fields[FIELDS_MAX];
        struct schema_err err = { .msg = "" };
        json_t *value = NULL;
        size_t n = 0;

        while (text.n && n < FIELDS_MAX) {
                struct str piece = str_split(text, '&', &text);
                struct form_field *f = &fields[n++];
                *f = (struct form_field){ .file = -1 };
                f->name = str_split(piece, '=', &f->value);
                if (f->value.n && f->value.p[0] == '@') {
                        f->file = (int)n;
                        f->filename = f->value;
                }
        }
        check_error(contract_form(op, fields, n, SCHEMA_CREATE, &value, &err), &err);
        json_decref(value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        size_t n;
        const struct operation *ops = contract_operations(&n);

        if (size < 2)
                return 0;
        const struct operation *op = &ops[(data[0] << 8 | data[1]) % n];
        struct str text = { (const char *)data + 2, size - 2 };
        try_route(text);
        try_query(op, text);
        try_form(op, text);
        return 0;
}
