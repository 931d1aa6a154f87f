/* Items: every input form of the API becomes the same messages, and what cannot be read is named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "agent/items.h"
#include "base/arena.h"

static json_t *parse(const char *text)
{
        struct json_fault e;
        json_t *v = json_parse(str_c(text), 32, &e);
        assert_non_null(v);
        return v;
}

static json_t *find_stored(void *ctx, const char *id, size_t index, struct schema_err *reterr)
{
        (void)ctx;
        (void)index;
        if (strcmp(id, "msg_stored") == 0)
                return parse("{\"id\":\"msg_stored\",\"type\":\"message\",\"role\":\"user\",\"content\":"
                             "[{\"type\":\"input_text\",\"text\":\"from the store\"}]}");
        snprintf(reterr->msg, sizeof(reterr->msg), "not there");
        return NULL;
}

static const struct item_source source = { find_stored, NULL };

/* role:text|role:text... of the messages that `input` becomes. */
static void check_input(const char *input, const char *instructions, const char *want)
{
        struct arena *a = arena_new(1 << 20);
        json_t *in = parse(input), *items = json_array(), *made = json_array();
        struct schema_err why;
        json_t *m;
        char got[512] = "";
        assert_int_equal(items_from_input(in, &source, NULL, items, made, &why), 0);
        assert_int_equal(items_to_messages(a, str_c(instructions), items, &m), 0);
        for (size_t i = 0; i < json_array_size(m); i++)
                snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%s:%s", i ? "|" : "",
                         json_cstr(json_array_get(m, i), "role", ""),
                         json_cstr(json_array_get(m, i), "content", ""));
        assert_string_equal(got, want);
        json_decref(in);
        json_decref(items);
        json_decref(made);
        arena_free(a);
}

static void test_input_forms(void **state)
{
        (void)state;
        check_input("\"hello\"", "", "user:hello");
        check_input("\"hello\"", "be brief", "system:be brief|user:hello");
        check_input("[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"}]",
                    NULL, "user:a|assistant:b");
        check_input("[{\"type\":\"message\",\"role\":\"developer\",\"content\":[{\"type\":\"input_text\","
                    "\"text\":\"x\"},"
                    "{\"type\":\"input_text\",\"text\":\"y\"}]}]",
                    NULL, "developer:xy");
        check_input("[{\"type\":\"item_reference\",\"id\":\"msg_stored\"},{\"id\":\"msg_stored\"}]", NULL,
                    "user:from the store|user:from the store");
        check_input("[{\"type\":\"reasoning\",\"id\":\"rs_1\",\"summary\":[]},{\"role\":\"user\",\"content\":"
                    "\"z\"}]",
                    NULL, "user:z");
        check_input(
                "[{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"status\":null,\"content\":"
                "[{\"type\":\"refusal\",\"refusal\":\"no\"}]}]",
                NULL, "assistant:no");
}

static void test_ids_are_made_once(void **state)
{
        (void)state;
        json_t *in = parse("[{\"role\":\"user\",\"content\":\"a\"},"
                           "{\"id\":\"msg_mine\",\"role\":\"user\",\"content\":\"b\"}]");
        json_t *items = json_array(), *made = json_array();
        struct schema_err why;
        assert_int_equal(items_from_input(in, &source, NULL, items, made, &why), 0);
        assert_int_equal(json_array_size(made), 1);
        assert_string_equal(json_string_value(json_array_get(made, 0)),
                            json_cstr(json_array_get(items, 0), "id", ""));
        assert_string_equal(json_cstr(json_array_get(items, 1), "id", ""), "msg_mine");
        assert_string_equal(json_cstr(json_array_get(items, 0), "status", ""), "completed");
        json_decref(in);
        json_decref(items);
        json_decref(made);
}

static void test_ids_are_unique(void **state)
{
        (void)state;
        json_t *in = parse("[{\"id\":\"FAKE_ID\",\"role\":\"user\",\"content\":\"a\"},"
                           "{\"id\":\"FAKE_ID\",\"role\":\"user\",\"content\":\"b\"},"
                           "{\"id\":\"msg_old\",\"role\":\"user\",\"content\":\"c\"},"
                           "{\"id\":\"msg_stored\"},{\"id\":\"msg_stored\"},"
                           "{\"type\":\"reasoning\",\"id\":\"msg_old\",\"summary\":[]}]");
        json_t *items = json_array(), *made = json_array(), *earlier = parse("[{\"id\":\"msg_old\"}]");
        static const char *const kept[] = { "FAKE_ID", NULL, NULL, "msg_stored", NULL, NULL };
        struct schema_err why;
        assert_int_equal(items_from_input(in, &source, earlier, items, made, &why), 0);
        assert_int_equal(json_array_size(items), 6);
        assert_int_equal(json_array_size(made), 4);
        for (size_t i = 0, n = 0; i < 6; i++)
                assert_string_equal(json_cstr(json_array_get(items, i), "id", ""),
                                    kept[i] ? kept[i] : json_string_value(json_array_get(made, n++)));
        assert_int_equal(strncmp(json_string_value(json_array_get(made, 3)), "rs_", 3), 0);
        json_decref(in);
        json_decref(items);
        json_decref(made);
        json_decref(earlier);
}

/* Joining must not take memory for every prefix. */
static void test_many_parts_are_joined(void **state)
{
        (void)state;
        enum { N = 3000 };
        struct arena *a = arena_new(1 << 20);
        json_t *parts = json_array();
        for (int i = 0; i < N; i++)
                json_array_append_new(parts,
                                      json_pack("{s:s, s:s}", "type", "input_text", "text", "12345678"));
        json_t *items = json_pack("[{s:s, s:s, s:o}]", "type", "message", "role", "user", "content", parts);
        json_t *m;
        assert_int_equal(items_to_messages(a, STR(""), items, &m), 0);
        assert_int_equal(json_array_size(m), 1);
        struct str content = json_str(json_array_get(m, 0), "content");
        assert_int_equal(content.n, 8 * N);
        assert_memory_equal(content.p + 8 * (N - 1), "12345678", 8);
        json_decref(items);
        arena_free(a);
}

static void refuse_input(const char *input, const char *param)
{
        json_t *in = parse(input), *items = json_array(), *made = json_array();
        struct schema_err why;
        assert_int_equal(items_from_input(in, &source, NULL, items, made, &why), -EINVAL);
        assert_string_equal(why.param, param);
        json_decref(in);
        json_decref(items);
        json_decref(made);
}

static void test_what_cannot_be_read_is_named(void **state)
{
        (void)state;
        refuse_input("[{\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":\"x\"},"
                     "{\"type\":\"input_image\",\"image_url\":\"data:\"}]}]",
                     "input[0].content[1].type");
        refuse_input(
                "[{\"role\":\"user\",\"content\":\"x\"},{\"type\":\"function_call_output\",\"call_id\":\"c\","
                "\"output\":\"1\"}]",
                "input[1].type");
}

static void refuse_chat(const char *messages, const char *param)
{
        json_t *in = parse(messages), *items = json_array();
        struct schema_err why;
        assert_int_equal(items_from_chat(in, items, &why), -EINVAL);
        assert_string_equal(why.param, param);
        json_decref(in);
        json_decref(items);
}

static void test_chat_messages(void **state)
{
        (void)state;
        struct arena *a = arena_new(1 << 20);
        json_t *in = parse("[{\"role\":\"system\",\"content\":[{\"type\":\"text\",\"text\":\"s\"}]},"
                           "{\"role\":\"assistant\",\"content\":null,\"refusal\":\"no\"},"
                           "{\"role\":\"user\",\"content\":\"u\",\"name\":\"ann\"}]");
        json_t *items = json_array();
        struct schema_err why;
        json_t *m;
        assert_int_equal(items_from_chat(in, items, &why), 0);
        assert_int_equal(items_to_messages(a, str_c(""), items, &m), 0);
        assert_int_equal(json_array_size(m), 3);
        static const char *const said[] = { "s", "no", "u" };
        for (size_t i = 0; i < 3; i++)
                assert_string_equal(json_cstr(json_array_get(m, i), "content", ""), said[i]);
        json_decref(in);
        json_decref(items);
        arena_free(a);
        refuse_chat(
                "[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"x\"}}]}]",
                "messages[0].content[0].type");
        refuse_chat("[{\"role\":\"tool\",\"content\":\"x\",\"tool_call_id\":\"c\"}]", "messages[0].role");
        refuse_chat("[{\"role\":\"assistant\",\"tool_calls\":[{}]}]", "messages[0].tool_calls");
}

int main(void)
{
        json_setup();
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_input_forms),
                cmocka_unit_test(test_ids_are_made_once),
                cmocka_unit_test(test_ids_are_unique),
                cmocka_unit_test(test_many_parts_are_joined),
                cmocka_unit_test(test_what_cannot_be_read_is_named),
                cmocka_unit_test(test_chat_messages),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
