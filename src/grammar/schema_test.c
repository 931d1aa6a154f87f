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

static void test_numbers(void **state)
{
        (void)state;
        CHECK("{\"type\":\"integer\",\"minimum\":-12,\"maximum\":105}",
              LIST("-12", "-9", "-1", "0", "7", "99", "100", "105"),
              LIST("-13", "-0", "106", "1000", "00", "-20"));
        CHECK("{\"type\":\"integer\",\"exclusiveMinimum\":3.5,\"multipleOf\":7}", LIST("7", "700", "14"),
              LIST("0", "3", "8"));
        CHECK("{\"type\":\"number\",\"minimum\":0.5,\"exclusiveMaximum\":2}",
              LIST("0.5", "0.50", "1", "1.99", "1.9999999999"),
              LIST("0.49", "2", "2.0", "0", "1e0", "-1", "0.4999"));
        CHECK("{\"type\":\"number\",\"maximum\":-1.25}", LIST("-1.25", "-1.26", "-2", "-100"),
              LIST("-1.24", "0", "-1", "1.25"));
        CHECK("{\"type\":\"number\",\"exclusiveMinimum\":0}", LIST("0.001", "5", "123.4"),
              LIST("0", "0.0", "-1", "0.000"));
        CHECK("{\"type\":\"number\",\"multipleOf\":0.01}", LIST("0.01", "1.5", "-3", "2.250"),
              LIST("0.001", "1.255"));
        CHECK("{\"type\":\"integer\",\"multipleOf\":1.5}", LIST("0", "3", "-6"), LIST("1", "2"));
}

static void test_objects(void **state)
{
        (void)state;
        CHECK("{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"null\"},\"b\":{\"type\":\"null\"},"
              "\"c\":{\"type\":\"null\"}},"
              "\"required\":[\"b\"],\"additionalProperties\":false}",
              LIST("{\"b\":null}", "{\"a\": null, \"b\": null}", "{\"b\":null,\"c\":null}",
                   "{\n  \"a\": null,\n  \"b\": null\n}"),
              LIST("{}", "{\"a\":null}", "{\"b\":null,\"a\":null}", "{\"b\":null,}", "{,\"b\":null}",
                   "{\"b\":null,\"d\":null}"));
        CHECK("{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"null\"}},\"additionalProperties\":{"
              "\"type\":\"integer\"}}",
              LIST("{}", "{\"a\":null}", "{\"b\":1}", "{\"a\":null,\"ab\":1,\"\":2}"),
              LIST("{\"a\":1}", "{\"b\":null}", "{\"\\u0061\":1}"));
        CHECK("{\"type\":\"object\",\"patternProperties\":{\"^x\":{\"type\":\"null\"}},"
              "\"additionalProperties\":{\"const\":0}}",
              LIST("{\"x1\":null,\"y\":0}"), LIST("{\"x1\":0}", "{\"y\":null}"));
        CHECK("{\"type\":\"object\",\"properties\":{\"a\":true,\"b\":true,\"c\":true},"
              "\"additionalProperties\":false,"
              "\"minProperties\":2,\"maxProperties\":2}",
              LIST("{\"a\":1,\"b\":2}", "{\"b\":1,\"c\":2}", "{\"a\":1,\"c\":2}"),
              LIST("{}", "{\"a\":1}", "{\"a\":1,\"b\":2,\"c\":3}"));
        CHECK("{\"type\":\"object\",\"required\":[\"z\"]}", LIST("{\"z\":[]}", "{\"z\":1,\"y\":2}"),
              LIST("{}", "{\"y\":2}"));
        CHECK("{\"type\":\"object\",\"additionalProperties\":false}", LIST("{}"), LIST("{\"a\":1}"));
}

static void test_arrays(void **state)
{
        (void)state;
        CHECK("{\"type\":\"array\",\"items\":{\"type\":\"null\"},\"minItems\":1,\"maxItems\":2}",
              LIST("[null]", "[null, null]", "[\n  null\n]"),
              LIST("[]", "[null,null,null]", "[,null]", "[null,]"));
        CHECK("{\"type\":\"array\",\"prefixItems\":[{\"const\":1},{\"const\":2}],\"items\":{\"const\":3}}",
              LIST("[]", "[1]", "[1,2]", "[1,2,3,3]"), LIST("[2]", "[1,3]", "[1,2,1]"));
        CHECK("{\"type\":\"array\",\"prefixItems\":[{\"const\":1},{\"const\":2}],\"items\":false,"
              "\"minItems\":1}",
              LIST("[1]", "[1,2]"), LIST("[]", "[1,2,3]"));
        CHECK("{\"type\":\"array\",\"items\":{\"enum\":[1,2,3]},\"uniqueItems\":true,\"minItems\":2}",
              LIST("[1,2]", "[3,1,2]"), LIST("[1]", "[1,1]", "[1,2,1]"));
        CHECK("{\"type\":\"array\",\"maxItems\":100000,\"minItems\":2}", LIST("[1,2]", "[[],{},null]"),
              LIST("[1]"));
}

static void test_combinations(void **state)
{
        (void)state;
        CHECK("{\"$defs\":{\"n\":{\"type\":\"object\",\"properties\":{\"v\":{\"type\":\"integer\"},\"next\":{"
              "\"anyOf\":[{\"$ref\":\"#/$defs/n\"},"
              "{\"type\":\"null\"}]}},\"required\":[\"v\",\"next\"],\"additionalProperties\":false}},\"$"
              "ref\":\"#/$defs/n\"}",
              LIST("{\"v\":1,\"next\":null}",
                   "{\"v\":1,\"next\":{\"v\":2,\"next\":{\"v\":3,\"next\":null}}}"),
              LIST("{\"v\":1}", "{\"v\":1,\"next\":{}}", "null"));
        CHECK("{\"anyOf\":[{\"type\":\"array\",\"items\":{\"$ref\":\"#\"}},{\"type\":\"null\"}]}",
              LIST("null", "[]", "[[null],[[]]]"), LIST("[1]", "1"));
        CHECK("{\"allOf\":[{\"type\":\"string\",\"pattern\":\"^[a-c]+$\"},{\"pattern\":\"b\"},{\"maxLength\":"
              "3}]}",
              LIST("\"b\"", "\"abc\"", "\"bbb\""), LIST("\"a\"", "\"abca\"", "\"bd\""));
        CHECK("{\"oneOf\":[{\"type\":\"integer\"},{\"type\":\"string\"}]}", LIST("1", "\"1\""), LIST("null"));
        CHECK("{\"oneOf\":[{\"type\":\"object\",\"properties\":{\"k\":{\"const\":\"a\"}},\"required\":[\"k\"]"
              "},"
              "{\"type\":\"object\",\"properties\":{\"k\":{\"const\":\"b\"}},\"required\":[\"k\"]}]}",
              LIST("{\"k\":\"a\"}", "{\"k\":\"b\",\"x\":1}"), LIST("{\"k\":\"c\"}", "{}"));
}

static void refuse(const char *text, unsigned flags, const char *msg, const char *path)
{
        struct json_fault fault;
        struct grammar_err err = { 0 };
        json_t *schema = json_parse(str_c(text), 100, &fault);
        struct grammar_builder *b = grammar_builder_new(NULL);
        assert_non_null(schema);
        assert_true(grammar_schema(b, schema, flags, &err) < 0);
        if (strcmp(err.msg, msg) != 0 || strcmp(err.path, path) != 0)
                fail_msg("%s: \"%s\" at \"%s\"", text, err.msg, err.path);
        assert_true(grammar_json_object(b, 0) >= 0); /* something else can take its place */
        grammar_builder_free(b);
        json_decref(schema);
}

static void test_strict(void **state)
{
        (void)state;
        refuse("{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"object\",\"properties\":{}}},"
               "\"required\":[\"a\"],"
               "\"additionalProperties\":false}",
               GRAMMAR_STRICT,
               "In context=('properties', 'a'), 'additionalProperties' is required to be supplied and to be "
               "false.",
               "properties.a");
        refuse("{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"null\"}},\"additionalProperties\":"
               "false}",
               GRAMMAR_STRICT,
               "In context=(), 'required' is required to be supplied and to be an array including every key "
               "in properties. "
               "Missing 'a'.",
               "");
        refuse("{\"type\":\"array\",\"items\":{}}", GRAMMAR_STRICT,
               "schema must be a JSON Schema of 'type: \"object\"', got 'type: \"array\"'.", "type");
        refuse("{\"type\":\"object\",\"properties\":{\"a\":{}},\"required\":[\"a\"],\"additionalProperties\":"
               "false}",
               GRAMMAR_STRICT, "In context=('properties', 'a'), schema must have a 'type' key.",
               "properties.a");
        refuse("{\"type\":\"string\",\"format\":\"x\",\"title\":\"t\"}", GRAMMAR_STRICT,
               "schema must be a JSON Schema of 'type: \"object\"', got 'type: \"string\"'.", "type");
}

static void test_refused(void **state)
{
        (void)state;
        refuse("{\"not\":{}}", 0, "In context=(), 'not' is not permitted.", "");
        refuse("{\"items\":{\"if\":true}}", 0, "In context=('items',), 'if' is not permitted.", "items");
        refuse("{\"$ref\":\"#/x\"}", 0,
               "In context=(), reference to component '#/x' which was not found in the schema.", "");
        refuse("{\"pattern\":\"(\"}", 0,
               "In context=(), 'pattern' Invalid regular expression: a group without end at position 1.", "");
        refuse("{\"oneOf\":[{\"type\":\"integer\"},{\"type\":\"number\"}]}", 0,
               "In context=('oneOf',), 'oneOf' is only supported where its branches exclude each other, and "
               "branches 0 and 1 do "
               "not; use 'anyOf'.",
               "oneOf");
        refuse("{\"type\":\"array\",\"uniqueItems\":true}", 0,
               "In context=(), 'uniqueItems' is only supported for items of an enum of at most 10 values.",
               "");
}

/* Along random texts the masks are those that matching token by token gives: counted strings, free names,
 * numbers, nesting. */
static void test_masks(void **state)
{
        (void)state;
        static const char *const schemas[] = {
                "{\"type\":\"string\",\"minLength\":3,\"maxLength\":30}",
                "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\",\"maxLength\":50},\"b\":{"
                "\"type\":\"number\"}},"
                "\"additionalProperties\":{\"type\":\"array\",\"items\":{\"type\":\"string\"},\"maxItems\":"
                "40}}",
                "{\"type\":\"string\",\"pattern\":\"^([ab]{2,}c)*$\"}",
                "{\"anyOf\":[{\"type\":\"array\",\"items\":{\"$ref\":\"#\"},\"minItems\":1},{\"type\":"
                "\"integer\",\"minimum\":10}]}",
        };
        static const struct str more[] = {
                STR_INIT("\",\""),        STR_INIT("aa"),       STR_INIT("aaaa\""), STR_INIT("\":"),
                STR_INIT("{\"a"),         STR_INIT("]]"),       STR_INIT("],"),     STR_INIT("abcabc"),
                STR_INIT("12"),           STR_INIT("3]"),       STR_INIT("\": \""), STR_INIT("\\n\\n"),
                STR_INIT("\xc3\xa9\xc3"), STR_INIT("bc\"}"),    STR_INIT("[["),     STR_INIT(", "),
                STR_INIT("\\u00e9"),      STR_INIT("aaaaaaaa"),
        };
        int32_t n = T_PIECES + 18;
        struct grammar_vocab *v = test_vocab(more, 18);
        uint32_t bits[16];
        struct rng rng;
        rng_seed(&rng, 3);
        assert_true(grammar_mask_words(n) <= 16);
        for (int i = 0; i < 40; i++) {
                struct grammar *g = compile(schemas[i % 4], i & 4 ? GRAMMAR_COMPACT : 0);
                struct grammar_match *m;
                assert_int_equal(grammar_match_new(g, v, &m), 0);
                for (int step = 0; step < 25; step++) {
                        check_mask(m, n);
                        assert_int_equal(grammar_match_mask(m, bits), 0);
                        int32_t id = -1, k = 0;
                        for (int32_t t = 0; t < n; t++) /* longer pieces are preferred */
                                if (bits[t / 32] >> (t % 32) & 1 &&
                                    rng_below(&rng, (uint64_t)(k += t < T_PIECES ? 1 : 20)) <
                                            (t < T_PIECES ? 1 : 20))
                                        id = t;
                        assert_int_equal(grammar_match_token(m, id), 0);
                }
                grammar_match_free(m);
                grammar_unref(g);
        }
        grammar_vocab_free(v);
}

static void test_bounds(void **state)
{
        (void)state;
        struct json_fault fault;
        struct grammar_limits limits = { .steps = 20000 };
        struct grammar_err err = { 0 };
        struct grammar *g;
        json_t *schema = json_parse(
                STR("{\"type\":\"string\",\"pattern\":\"(a|b)*a(a|b){200}x\",\"maxLength\":900}"), 9, &fault);
        struct grammar_builder *b = grammar_builder_new(&limits);
        assert_int_equal(grammar_finish(b, grammar_schema(b, schema, 0, &err), &g, &err), -E2BIG);
        assert_true(err.msg[0] != 0);
        json_decref(schema);
}

#ifdef CAIRN_FAULTS
/* Compiles and writes a little; true when no allocation failed on the way. */
static bool use_memory(const json_t *schema)
{
        static const char text[] = "{\"a\":\"xy\",\"l\":[1,1],\"e\":2,\"z\":{}}";
        struct grammar_err err = { 0 };
        struct grammar *g = NULL;
        struct grammar_match *m = NULL;
        uint32_t bits[16];
        struct grammar_builder *b = grammar_builder_new(NULL);
        int r = b ? grammar_finish(b, grammar_schema(b, schema, 0, &err), &g, &err) : -ENOMEM;
        if (!r)
                r = grammar_match_new(g, vocab, &m);
        for (size_t i = 0; !r && text[i]; i++) {
                r = grammar_match_mask(m, bits);
                if (!r)
                        r = grammar_match_token(m, T_BYTE + (unsigned char)text[i]);
        }
        if (!r)
                assert_true(grammar_match_must_end(m));
        else
                assert_int_equal(r, -ENOMEM);
        grammar_match_free(m);
        grammar_unref(g);
        return r == 0;
}

/* Each allocation fails once: every time an error and no leak, and the same grammar in the end. */
static void test_memory(void **state)
{
        (void)state;
        struct json_fault fault;
        json_t *schema = json_parse(
                STR("{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\",\"pattern\":\"^[a-z]+$"
                    "\","
                    "\"maxLength\":3},\"l\":{\"type\":\"array\",\"items\":{\"type\":\"integer\",\"minimum\":"
                    "1},"
                    "\"maxItems\":2},\"e\":{\"oneOf\":[{\"enum\":[1,2]},{\"const\":\"q\"}]}},\"required\":["
                    "\"a\"],"
                    "\"patternProperties\":{\"^z\":{\"type\":\"object\",\"additionalProperties\":false}},"
                    "\"additionalProperties\":false}"),
                20, &fault);
        assert_non_null(schema);
        for (long nth = 1; nth < 200000; nth += nth < 2000 ? 1 : 97) {
                mem_fail_nth(nth);
                use_memory(schema);
                bool over = mem_alloc_count() < nth;
                mem_fail_nth(0);
                if (over)
                        break;
        }
        assert_true(use_memory(schema));
        json_decref(schema);
}
#endif

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_types),        cmocka_unit_test(test_enums),
                cmocka_unit_test(test_strings),      cmocka_unit_test(test_numbers),
                cmocka_unit_test(test_objects),      cmocka_unit_test(test_arrays),
                cmocka_unit_test(test_combinations), cmocka_unit_test(test_strict),
                cmocka_unit_test(test_refused),      cmocka_unit_test(test_masks),
                cmocka_unit_test(test_bounds),
#ifdef CAIRN_FAULTS
                cmocka_unit_test(test_memory),
#endif
        };
        return cmocka_run_group_tests(tests, setup, teardown);
}
