/* contract_cases EXAMPLES.json: prints one JSON line for each way to break one of the examples:
 * {"operation", "method", "path", "query", "body", "what", "expect": {"status", "param", "code"}}. The driver
 * sends each to a running server and compares. Exit code 1 and one line on stderr when an example is not
 * valid. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "contract/cases.h"

#define EXAMPLES_MAX (8u << 20)

static int print_case(const struct negative_case *c, void *ctx)
{
        json_t *line = json_pack("{s:s, s:s, s:s, s:s?, s:O?, s:s, s:{s:i, s:s, s:s}}", "operation",
                                 c->op->id, "method", contract_method_name(c->op->method), "path",
                                 (const char *)ctx, "query", c->query, "body", (json_t *)c->body, "what",
                                 c->what, "expect", "status", 400, "param", c->param, "code", c->code);
        size_t n;
        char *text = line ? json_text(line, &n) : NULL;
        json_decref(line);
        if (!text)
                return -ENOMEM;
        printf("%s\n", text);
        mem_free(text);
        return 0;
}

static json_t *read_examples(const char *path, struct json_fault *fault)
{
        struct buf b;
        buf_init(&b, EXAMPLES_MAX);
        FILE *f = fopen(path, "rb");
        snprintf(fault->msg, sizeof(fault->msg), "cannot be read");
        json_t *out = NULL;
        char *room;
        size_t n = 0;
        while (f && (room = buf_reserve(&b, 65536)) && (n = fread(room, 1, 65536, f)) > 0)
                b.n += n;
        if (f && !ferror(f) && !buf_error(&b))
                out = json_parse(buf_str(&b), 100, fault);
        if (f)
                fclose(f);
        buf_release(&b);
        return out;
}

static int derive(const json_t *example)
{
        const struct operation *op = contract_operation(json_cstr(example, "operation", ""));
        struct schema_err err = { .msg = "unknown operation" };
        size_t n;
        int rc = op ? contract_cases(op, json_get(example, "body"), print_case,
                                     (void *)json_cstr(example, "path", ""), &n)
                    : -EINVAL;
        if (rc == -EINVAL && op)
                schema_check(contract_body(op, "application/json"), json_get(example, "body"), SCHEMA_CREATE,
                             &err);
        if (rc)
                fprintf(stderr, "contract_cases: %s: %s\n", json_cstr(example, "operation", "?"), err.msg);
        return rc;
}

int main(int argc, char **argv)
{
        struct json_fault fault;
        json_setup();
        if (argc != 2) {
                fprintf(stderr, "usage: contract_cases EXAMPLES.json\n");
                return 1;
        }
        json_t *examples = read_examples(argv[1], &fault);
        if (!examples) {
                fprintf(stderr, "contract_cases: %s: %s\n", argv[1], fault.msg);
                return 1;
        }
        int rc = 0;
        size_t i;
        const json_t *example;
        json_array_foreach(examples, i, example) if (rc == 0) rc = derive(example);
        json_decref(examples);
        return rc ? 1 : 0;
}
