#include "grammar/testing.h"

static struct grammar_vocab *vocab;

static int setup(void **state)
{
        (void)state;
        json_setup();
        vocab = test_vocab(NULL, 0);
        return 0;
}

static int teardown(void **state)
{
        (void)state;
        grammar_vocab_free(vocab);
        return 0;
}

static struct grammar *compile(const char *text, unsigned flags)
{
        struct json_fault fault;
        struct grammar_err err = { 0 };
        struct grammar *g = NULL;
        json_t *schema = json_parse(str_c(text), 100, &fault);
        if (!schema)
                fail_msg("%s: %s", text, fault.msg);
        struct grammar_builder *b = grammar_builder_new(NULL);
        int r = grammar_finish(b, grammar_schema(b, schema, flags, &err), &g, &err);
        if (r)
                fail_msg("%s: %d %s", text, r, err.msg);
        json_decref(schema);
        return g;
}

/* Texts that the schema allows, and texts that it does not; each list ends with NULL. */
static void check(const char *schema, unsigned flags, const char *const *good, const char *const *bad)
{
        struct grammar *g = compile(schema, flags);
        for (; *good; good++)
                if (!accepts(g, vocab, str_c(*good)))
                        fail_msg("%s refuses %s", schema, *good);
        for (; *bad; bad++)
                if (accepts(g, vocab, str_c(*bad)))
                        fail_msg("%s allows %s", schema, *bad);
        grammar_unref(g);
}

#define LIST(...) ((const char *const[]){ __VA_ARGS__, NULL })
#define CHECK(schema, good, bad) check(schema, 0, good, bad)

static void test_types(void **state)
{
        (void)state;
        CHECK("{\"type\":\"string\"}",
              LIST("\"\"", "\"a\"", "\"\\n\\u00e9\\ud83d\\ude00\xc3\xa9\"", "\"\\/\\\"\\\\\""),
              LIST("a", "\"", "\"\n\"", "\"\\x\"", "\"\\ud83d\"", "\"\xff\"", "1", "null"));
        CHECK("{\"type\":\"integer\"}", LIST("0", "-1", "123456789012345678"),
              LIST("01", "-0", "1.0", "1e2", "-", "+1"));
        CHECK("{\"type\":\"number\"}", LIST("0", "-0.5", "1e5", "1.25E-10", "0.1"),
              LIST(".5", "1.", "1e", "1e999", "00"));
        CHECK("{\"type\":[\"boolean\",\"null\"]}", LIST("true", "false", "null"), LIST("\"true\"", "0"));
        CHECK("true",
              LIST("{}", "[]", "[1, {\"a\": [null]}]", "\"x\"", "{\n  \"a\": 1,\n  \"b\": [\n    1\n  ]\n}"),
              LIST("{a:1}", "[1,]", "{\"a\"}", "[", ""));
}

static void test_enums(void **state)
{
        (void)state;
        CHECK("{\"enum\":[\"a\",1,null,[1,2],{\"k\":true}]}",
              LIST("\"a\"", "1", "null", "[1,2]", "[1, 2]", "{\"k\": true}"),
              LIST("\"b\"", "2", "[1]", "{}"));
        CHECK("{\"type\":\"string\",\"enum\":[\"a\",1]}", LIST("\"a\""), LIST("1"));
        CHECK("{\"const\":\"\xc3\xa9\"}", LIST("\"\xc3\xa9\"", "\"\\u00e9\"", "\"\\u00E9\""), LIST("\"e\""));
        CHECK("{\"enum\":[1,5,9],\"minimum\":4}", LIST("5", "9"), LIST("1"));
}

static void test_strings(void **state)
{
        (void)state;
        CHECK("{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}",
              LIST("\"ab\"", "\"\\n\xc3\xa9z\"", "\"\\ud83d\\ude00a\""),
              LIST("\"a\"", "\"abcd\"", "\"\\ud83d\\ude00\""));
        CHECK("{\"type\":\"string\",\"maxLength\":100000}", LIST("\"\"", "\"abc\""), LIST("1"));
        check("{\"type\":\"string\",\"minLength\":1000}", 0, (const char *const[]){ NULL }, LIST("\"abc\""));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_types),
                cmocka_unit_test(test_enums),
                cmocka_unit_test(test_strings),
        };
        return cmocka_run_group_tests(tests, setup, teardown);
}
