#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "train/judge.h"

#define CALL(name, arguments) \
        "<tool_call>\n{\"name\": \"" name "\", \"arguments\": " arguments "}\n</tool_call>"

static json_t *question(const char *last, const char *more)
{
        char text[1000];
        struct json_fault bad;
        int n = snprintf(text, sizeof(text),
                         "{\"messages\": [{\"role\": \"user\", \"content\": \"?\"}, %s]%s}", last, more);
        json_t *q = json_parse((struct str){ text, (size_t)n }, 16, &bad);
        assert_non_null(q);
        return q;
}

static void expect(const json_t *q, const char *answer, bool named, bool right)
{
        struct verdict v = judge_answer(q, str_c(answer));
        assert_int_equal(v.named, named);
        assert_int_equal(v.right, right);
}

static void text_counts_by_the_byte(void **state)
{
        (void)state;
        json_t *q = question("{\"role\": \"assistant\", \"content\": \"Yes.\"}", "");
        expect(q, "Yes.", false, true);
        expect(q, "Yes. ", false, false);
        expect(q, "", false, false);
        assert_false(judge_answer(q, STR("x")).calls);
        json_decref(q);
}

static void calls_count_by_value(void **state)
{
        (void)state;
        json_t *q = question("{\"role\": \"assistant\", \"tool_calls\": ["
                             "{\"function\": {\"name\": \"f\", \"arguments\": {\"a\": 1, \"b\": \"x\"}}},"
                             "{\"function\": {\"name\": \"g\", \"arguments\": {}}}]}",
                             "");
        assert_true(judge_answer(q, STR("x")).calls);
        expect(q, CALL("f", "{\"b\":\"x\",\"a\":1}") "\n" CALL("g", "{}"), true, true);
        expect(q, CALL("f", "{\"a\":2,\"b\":\"x\"}") "\n" CALL("g", "{}"), true, false);
        expect(q, CALL("f", "{\"a\":\"1\",\"b\":\"x\"}") "\n" CALL("g", "{}"), true, false);
        expect(q, CALL("g", "{}") "\n" CALL("f", "{\"b\":\"x\",\"a\":1}"), false, false);
        expect(q, CALL("f", "{\"a\":1,\"b\":\"x\"}"), false, false);
        expect(q, CALL("f", "{\"a\":1,\"b\":\"x\"}") "\n" CALL("g", "{}") "\n" CALL("g", "{}"), false, false);
        expect(q, CALL("f", "{\"a\":1,\"b\":\"x\"}") "\n" CALL("g", "{}") " and so on", false, false);
        expect(q, "<tool_call>\n{\"name\": \"f\"", false, false);
        expect(q, "", false, false);
        json_decref(q);
}

static void schemas_count_by_value(void **state)
{
        (void)state;
        json_t *q = question("{\"role\": \"assistant\", \"content\": \"{\\\"a\\\": [1, 2]}\"}",
                             ", \"response_schema\": {\"type\": \"object\"}");
        expect(q, "{\"a\":[1,2]}", false, true);
        expect(q, "{\"a\":[2,1]}", false, false);
        expect(q, "nonsense", false, false);
        json_decref(q);
}

int main(void)
{
        json_setup();
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(text_counts_by_the_byte),
                cmocka_unit_test(calls_count_by_value),
                cmocka_unit_test(schemas_count_by_value),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
