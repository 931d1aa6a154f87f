/* Prompts: what a conversation becomes before the template sees it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "base/buf.h"
#include "base/mem.h"
#include "models/prompt.h"

static int32_t none(void *ctx, struct str spelling)
{
        (void)ctx;
        (void)spelling;
        return -1;
}

static const struct format_vocab vocab = { none, NULL };

static json_t *parse(const char *text)
{
        struct json_fault fault;
        json_t *v = json_parse(str_c(text), 32, &fault);
        if (!v)
                fail_msg("%s: %s", fault.msg, text);
        return v;
}

/* The messages that a conversation becomes, compared as JSON. */
static void expect(struct turn_req *req, const struct idiom *d, bool folded, const char *messages,
                   const char *want)
{
        struct prompt p;
        json_t *in = parse(messages), *out = parse(want);
        req->messages = in;
        assert_int_equal(prompt_make(req, d, folded, &p), 0);
        if (!json_equal(p.messages, out)) {
                char *got = json_text(p.messages, NULL);
                fail_msg("got %s\nnot %s", got, want);
        }
        prompt_release(&p);
        json_decref(in);
        json_decref(out);
}

#define CALL                                                                                             \
        "{\"id\": \"call_1\", \"type\": \"function\", \"function\": {\"name\": \"add\", \"arguments\": " \
        "\"{\\\"a\\\": 1}\"}}"
#define CONVERSATION                                                                                 \
        "[{\"role\": \"user\", \"content\": \"add\"}, {\"role\": \"assistant\", \"content\": null, " \
        "\"tool_calls\": [" CALL                                                                     \
        "]}, {\"role\": \"tool\", \"tool_call_id\": \"call_1\", \"content\": \"2\"}]"

static void test_calls_and_results(void **state)
{
        (void)state;
        struct idiom *d = idiom_new(format_find(STR("hermes")), &vocab);
        struct turn_req req = { 0 };
        expect(&req, d, false, CONVERSATION,
               "[{\"role\": \"user\", \"content\": \"add\"}, {\"role\": \"assistant\", \"content\": null, "
               "\"tool_calls\": "
               "[{\"id\": \"call_1\", \"type\": \"function\", \"function\": {\"name\": \"add\", "
               "\"arguments\": {\"a\": 1}}}]}, "
               "{\"role\": \"tool\", \"tool_call_id\": \"call_1\", \"name\": \"add\", \"content\": \"2\"}]");
        d->text_args = true;
        expect(&req, d, false,
               "[{\"role\": \"assistant\", \"content\": \"\", \"reasoning_content\": \"Hm\", \"tool_calls\": "
               "[" CALL "]}]",
               "[{\"role\": \"assistant\", \"content\": \"\", \"reasoning_content\": \"Hm\", \"tool_calls\": "
               "[{\"id\": \"call_1\", \"type\": \"function\", \"function\": {\"name\": \"add\", "
               "\"arguments\": \"{\\\"a\\\": "
               "1}\"}}]}]");
        d->text_args = false;
        expect(&req, d, false, /* a custom tool's call, and arguments that are no JSON */
               "[{\"role\": \"assistant\", \"tool_calls\": [{\"id\": \"c\", \"type\": \"custom\", "
               "\"custom\": {\"name\": "
               "\"run\", \"input\": \"ls\\n\"}}, {\"id\": \"d\", \"type\": \"function\", \"function\": "
               "{\"name\": \"add\", "
               "\"arguments\": \"{oops\"}}]}]",
               "[{\"role\": \"assistant\", \"content\": null, \"tool_calls\": [{\"id\": \"c\", \"type\": "
               "\"function\", "
               "\"function\": {\"name\": \"run\", \"arguments\": {\"input\": \"ls\\n\"}}}, {\"id\": \"d\", "
               "\"type\": "
               "\"function\", \"function\": {\"name\": \"add\", \"arguments\": \"{oops\"}}]}]");
        d->remembers = false;
        expect(&req, d, false, CONVERSATION,
               "[{\"role\": \"user\", \"content\": \"add\"}, {\"role\": \"assistant\", \"content\": "
               "\"<tool_call>\\n{\\\"name\\\": "
               "\\\"add\\\", \\\"arguments\\\": {\\\"a\\\": 1}}\\n</tool_call>\"}, {\"role\": \"user\", "
               "\"content\": "
               "\"<tool_response>\\n2\\n</tool_response>\"}]");
        idiom_free(d);
}

static void test_short_ids_agree(void **state)
{
        (void)state;
        struct idiom *d = idiom_new(format_find(STR("mistral")), &vocab);
        struct turn_req req = { .messages = parse(CONVERSATION) };
        struct prompt p;
        d->short_ids = true;
        assert_int_equal(prompt_make(&req, d, false, &p), 0);
        const json_t *call = json_array_get(json_get(json_array_get(p.messages, 1), "tool_calls"), 0);
        struct str id = json_str(call, "id"), of = json_str(json_array_get(p.messages, 2), "tool_call_id");
        assert_int_equal(id.n, 9);
        assert_true(str_eq(id, of));
        for (size_t i = 0; i < id.n; i++)
                assert_non_null(
                        strchr("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", id.p[i]));
        prompt_release(&p);
        json_decref((json_t *)req.messages);
        idiom_free(d);
}

#define CALL_X                                                                                              \
        "{\"id\": \"x\", \"type\": \"function\", \"function\": {\"name\": \"add\", \"arguments\": {\"a\": " \
        "1}}}"
#define CALL_Y                                                                                              \
        "{\"id\": \"y\", \"type\": \"function\", \"function\": {\"name\": \"mul\", \"arguments\": {\"b\": " \
        "2}}}"
#define SAID_BEFORE "\"role\": \"assistant\", \"content\": \"So.\", \"reasoning_content\": \"Hm.\", "
#define RESULT_X "{\"role\": \"tool\", \"tool_call_id\": \"x\", \"name\": \"add\", \"content\": \"10\"}"
#define RESULT_Y "{\"role\": \"tool\", \"tool_call_id\": \"y\", \"name\": \"mul\", \"content\": \"20\"}"
#define USER "{\"role\": \"user\", \"content\": \"and?\"}"

static void test_one_call_to_a_message(void **state)
{
        static const char together[] = "[{" SAID_BEFORE "\"tool_calls\": [" CALL_X ", " CALL_Y "]}, " RESULT_Y
                                       ", " RESULT_X ", " USER "]";
        static const char apart[] = "[{" SAID_BEFORE "\"tool_calls\": [" CALL_X "]}, " RESULT_X
                                    ", {\"role\": \"assistant\", \"content\": null, \"tool_calls\": [" CALL_Y
                                    "]}, " RESULT_Y ", " USER "]";
        (void)state;
        struct idiom *d = idiom_new(format_find(STR("llama3")), &vocab);
        struct turn_req req = { 0 };
        expect(&req, d, false, together, together);
        d->one_call = true;
        expect(&req, d, false, together, apart);
        expect(&req, d, false, apart, apart);
        d->text_apart = true;
        expect(&req, d, false,
               "[{\"role\": \"assistant\", \"content\": \"So.\", \"tool_calls\": [" CALL_X "]}]",
               "[{\"role\": \"assistant\", \"content\": \"So.\"}, {\"role\": \"assistant\", \"content\": "
               "null, "
               "\"tool_calls\": [" CALL_X "]}]");
        idiom_free(d);
}

static void test_system_messages(void **state)
{
        (void)state;
        struct idiom *d = idiom_new(format_find(STR("hermes")), &vocab);
        struct turn_req req = { 0 };
        expect(&req, d, false,
               "[{\"role\": \"developer\", \"content\": \"A\"}, {\"role\": \"system\", \"content\": \"B\"}, "
               "{\"role\": \"user\", "
               "\"content\": \"C\"}]",
               "[{\"role\": \"developer\", \"content\": \"A\\n\\nB\"}, {\"role\": \"user\", \"content\": "
               "\"C\"}]");
        req.format = TURN_FORMAT_OBJECT;
        expect(&req, d, false, "[{\"role\": \"user\", \"content\": \"C\"}]",
               "[{\"role\": \"system\", \"content\": \"Answer with a JSON object.\"}, {\"role\": \"user\", "
               "\"content\": \"C\"}]");
        req.format = TURN_FORMAT_TEXT;
        d->system = false;
        expect(&req, d, false,
               "[{\"role\": \"system\", \"content\": \"A\"}, {\"role\": \"user\", \"content\": \"C\"}]",
               "[{\"role\": \"user\", \"content\": \"A\\n\\nC\"}]");
        expect(&req, d, false, "[{\"role\": \"system\", \"content\": \"A\"}]",
               "[{\"role\": \"user\", \"content\": \"A\"}]");
        d->system = true;
        d->late = false;
        expect(&req, d, false,
               "[{\"role\": \"system\", \"content\": \"A\"}, {\"role\": \"user\", \"content\": \"B\"}, "
               "{\"role\": \"developer\", \"content\": \"C\"}]",
               "[{\"role\": \"system\", \"content\": \"A\"}, {\"role\": \"user\", \"content\": \"B\"}, "
               "{\"role\": \"user\", \"content\": \"C\"}]");
        d->late = true;
        expect(&req, d, true, /* roles alternate */
               "[{\"role\": \"system\", \"content\": \"A\"}, {\"role\": \"user\", \"content\": \"B\"}, "
               "{\"role\": \"user\", "
               "\"content\": \"C\"}, {\"role\": \"assistant\", \"content\": \"D\"}, {\"role\": \"system\", "
               "\"content\": \"E\"}, "
               "{\"role\": \"user\", \"content\": \"F\"}]",
               "[{\"role\": \"user\", \"content\": \"A\\n\\nB\\n\\nC\"}, {\"role\": \"assistant\", "
               "\"content\": \"D\"}, {\"role\": "
               "\"user\", \"content\": \"E\\n\\nF\"}]");
        expect(&req, d, true, /* the assistant begins; a result is not spoken of */
               "[{\"role\": \"assistant\", \"content\": \"A\"}, {\"role\": \"user\", \"content\": \"B\"}, "
               "{\"role\": \"assistant\", \"content\": null, \"tool_calls\": [" CALL_X "]}, " RESULT_X
               ", " USER "]",
               "[{\"role\": \"user\", \"content\": \"\"}, {\"role\": \"assistant\", \"content\": \"A\"}, "
               "{\"role\": \"user\", \"content\": \"B\"}, {\"role\": \"assistant\", \"content\": null, "
               "\"tool_calls\": [" CALL_X "]}, " RESULT_X
               ", {\"role\": \"assistant\", \"content\": \"\"}, " USER "]");
        idiom_free(d);
}

static bool has(const json_t *message, const char *part)
{
        return strstr(json_cstr(message, "content", ""), part) != NULL;
}

static void test_tools_are_told(void **state)
{
        (void)state;
        static const struct turn_tool tools[] = {
                { .name = STR_INIT("add"), .description = STR_INIT("Adds.") },
                { .custom = true,
                  .name = STR_INIT("code"),
                  .syntax = STR_INIT("regex"),
                  .definition = STR_INIT("[0-9]+") },
        };
        struct idiom *d = idiom_new(format_find(STR("hermes")), &vocab);
        struct turn_req req = { .tools = tools,
                                .n_tools = 2,
                                .messages = parse("[{\"role\": \"user\", \"content\": \"C\"}]") };
        struct prompt p;
        assert_int_equal(prompt_make(&req, d, false, &p), 0);
        json_t *want = parse(
                "[{\"type\": \"function\", \"function\": {\"name\": \"add\", \"description\": \"Adds.\", "
                "\"parameters\": {\"type\": \"object\", \"properties\": {}}}}, {\"type\": \"function\", "
                "\"function\": {\"name\": \"code\", \"description\": \"The input matches this regular "
                "expression:\\n[0-9]+\", \"parameters\": {\"type\": \"object\", \"properties\": {\"input\": "
                "{\"type\": \"string\"}}, \"required\": [\"input\"]}}}]");
        assert_true(json_equal(p.tools, want));
        assert_int_equal(json_array_size(p.messages), 1);
        json_decref(want);
        prompt_release(&p);
        d->tells = false; /* then they stand in a system message */
        for (size_t i = 0; format_at(i); i++) {
                d->format = format_at(i);
                assert_int_equal(prompt_make(&req, d, false, &p), 0);
                assert_null(p.tools);
                assert_int_equal(json_array_size(p.messages), 2);
                assert_true(
                        has(json_array_get(p.messages, 0), "{\"name\":\"add\",\"description\":\"Adds.\""));
                assert_true(has(json_array_get(p.messages, 0), "NAME"));
                prompt_release(&p);
        }
        json_decref((json_t *)req.messages);
        idiom_free(d);
}

static void expect_vars(const struct turn_req *req, const struct idiom *d, const char *want)
{
        struct prompt p;
        json_t *out = parse(want);
        assert_int_equal(prompt_make(req, d, false, &p), 0);
        if (!json_equal(p.vars, out)) {
                char *got = json_text(p.vars, NULL);
                fail_msg("got %s\nnot %s", got, want);
        }
        prompt_release(&p);
        json_decref(out);
}

static void test_variables(void **state)
{
        (void)state;
        struct idiom *d = idiom_new(format_find(STR("hermes")), &vocab);
        struct turn_tool tool = { .name = STR("f") };
        json_t *schema = parse("{\"type\": \"object\", \"properties\": {\"a\": {}}}");
        struct turn_req req = { .messages = parse("[{\"role\": \"user\", \"content\": \"C\"}]"),
                                .effort = TURN_EFFORT_NONE };
        expect_vars(&req, d, "{}");
        d->vars = FORMAT_VAR_THINKING | FORMAT_VAR_THINK | FORMAT_VAR_EFFORT;
        expect_vars(&req, d,
                    "{\"enable_thinking\": false, \"thinking\": false, \"reasoning_effort\": \"low\"}");
        req.effort = TURN_EFFORT_XHIGH;
        expect_vars(&req, d,
                    "{\"enable_thinking\": true, \"thinking\": true, \"reasoning_effort\": \"high\"}");
        req.effort = TURN_EFFORT_DEFAULT;
        expect_vars(&req, d, "{}");
        d->vars = FORMAT_VAR_SCHEMA | FORMAT_VAR_CHOICE | FORMAT_VAR_PARALLEL;
        req.format = TURN_FORMAT_SCHEMA;
        req.schema = schema;
        expect_vars(&req, d, "{\"response_schema\": {\"type\": \"object\", \"properties\": {\"a\": {}}}}");
        req.format = TURN_FORMAT_OBJECT;
        req.tools = &tool;
        req.n_tools = 1;
        req.choice = TURN_REQUIRED;
        expect_vars(&req, d,
                    "{\"response_schema\": {\"type\": \"object\"}, \"tool_choice\": \"required\", "
                    "\"parallel_tool_calls\": false}");
        json_decref((json_t *)req.messages);
        json_decref(schema);
        idiom_free(d);
}

#ifdef CAIRN_FAULTS
static void test_memory_runs_out(void **state)
{
        (void)state;
        static const struct turn_tool tools[] = { { .name = STR_INIT("add"),
                                                    .description = STR_INIT("Adds.") } };
        struct idiom *d = idiom_new(format_find(STR("hermes")), &vocab);
        struct turn_req req = { .tools = tools, .n_tools = 1, .messages = parse(CONVERSATION) };
        bool whole = false;
        for (int tells = 0; tells < 2; tells++) {
                d->tells = d->remembers = tells;
                for (long nth = 1, rc = 1; rc; nth++) {
                        struct prompt p;
                        mem_fail_nth(nth);
                        rc = prompt_make(&req, d, tells, &p);
                        whole = !rc;
                        if (!rc)
                                prompt_release(&p);
                        mem_fail_nth(0);
                }
        }
        assert_true(whole);
        json_decref((json_t *)req.messages);
        idiom_free(d);
}
#endif

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_calls_and_results),     cmocka_unit_test(test_short_ids_agree),
                cmocka_unit_test(test_one_call_to_a_message), cmocka_unit_test(test_system_messages),
                cmocka_unit_test(test_tools_are_told),        cmocka_unit_test(test_variables),
#ifdef CAIRN_FAULTS
                cmocka_unit_test(test_memory_runs_out),
#endif
        };
        json_setup();
        return cmocka_run_group_tests(tests, NULL, NULL);
}
