/* What a compaction keeps, and what its summary is made of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "api/compact_plan.h"
#include "base/mem.h"

#define LONG_TEXT 20000

static json_t *message(const char *id, const char *role, const char *text)
{
        return json_pack("{s:s*, s:s, s:s, s:[{s:s, s:s}]}", "id", id, "type", "message", "role", role,
                         "content", "type", "input_text", "text", text);
}

static json_t *call(const char *id, const char *name)
{
        return json_pack("{s:s, s:s, s:s, s:s, s:s}", "id", id, "type", "function_call", "call_id", id,
                         "name", name, "arguments", "{\"n\":1}");
}

static json_t *result(const char *call_id, const char *text)
{
        return json_pack("{s:s, s:s, s:s, s:s}", "id", text, "type", "function_call_output", "call_id",
                         call_id, "output", text);
}

static json_t *reasoning(const char *id)
{
        return json_pack("{s:s, s:s, s:[], s:[{s:s, s:s}]}", "id", id, "type", "reasoning", "summary",
                         "content", "type", "reasoning_text", "text", "hmm");
}

/* The ids of kept items, "a b c", and the entries, one a line. */
static void check_plan(json_t *items, enum compact_covers covers, size_t keep, const char *kept,
                       const char *entries)
{
        struct compact_plan plan;
        struct buf got;
        size_t i;
        json_t *v;
        assert_int_equal(compact_plan_make(items, covers, keep, &plan), 0);
        buf_init(&got, 1 << 20);
        json_array_foreach(plan.kept, i, v) buf_addf(&got, "%s%s", i ? " " : "", json_cstr(v, "id", "?"));
        buf_adds(&got, "|");
        json_array_foreach(plan.entries, i, v) buf_addf(&got, "%s%s", i ? "\n" : "", json_string_value(v));
        char *bar = strchr(got.p, '|');
        assert_string_equal(bar + 1, entries);
        *bar = '\0';
        assert_string_equal(got.p, kept);
        buf_release(&got);
        compact_plan_release(&plan);
        json_decref(items);
}

static void test_answers(void **state)
{
        (void)state;
        json_t *items = json_pack("[o, o, o, o, o, o, o, o]", message("d", "developer", "be brief"),
                                  message("u", "user", "hi"), reasoning("r"),
                                  message("a", "assistant", "hello"), call("c1", "look"),
                                  result("c1", "found"), call("c2", "open"), message("u2", "user", "and?"));
        check_plan(items, COMPACT_ANSWERS, 0, "c2",
                   "Instructions: be brief\nUser: hi\nAssistant: hello\n"
                   "The assistant called the tool look with {\"n\":1}\nResult of the tool look: found\n"
                   "User: and?");
}

static void test_all_keeps_the_question(void **state)
{
        (void)state;
        json_t *items = json_pack("[o, o, o, o, o, o]", message("u1", "user", "1234567890"),
                                  message("a1", "assistant", "one"), message("u2", "user", "12345"),
                                  message("a2", "assistant", "two"), message("d3", "developer", "x"),
                                  message("u3", "user", "three?"));
        json_t *same = json_deep_copy(items), *wide = json_deep_copy(items), *narrow = json_deep_copy(items);
        const char *entries = "User: 1234567890\nAssistant: one\nUser: 12345\nAssistant: two";
        check_plan(items, COMPACT_ALL, 4, "d3 u3", entries);
        check_plan(narrow, COMPACT_ALL, 0, "u3", /* what cannot be shown is summarised, but for the last */
                   "User: 1234567890\nAssistant: one\nUser: 12345\nAssistant: two\nInstructions: x");
        check_plan(same, COMPACT_ALL, 14, "u2 d3 u3", entries);
        check_plan(wide, COMPACT_ALL, 15, "u1 u2 d3 u3", entries);
}

/* In the middle of a turn with tools the last results are to be answered, with their calls. */
static void test_all_keeps_the_last_exchange(void **state)
{
        (void)state;
        json_t *items = json_pack("[o, o, o, o, o, o, o, o, o]", message("u", "user", "go"), call("c0", "a"),
                                  result("c0", "r0"), message("m", "assistant", "next"), reasoning("t"),
                                  call("c1", "b"), call("c2", "c"), result("c1", "r1"), result("c2", "r2"));
        check_plan(items, COMPACT_ALL, 100, "u t c1 c2 r1 r2",
                   "User: go\nThe assistant called the tool a with {\"n\":1}\nResult of the tool a: r0\n"
                   "Assistant: next");
}

/* An earlier summary has no id: it is summarised again, not kept. */
static void test_earlier_notes(void **state)
{
        (void)state;
        json_t *items = json_pack("[o, o, o]", message(NULL, "developer", "notes"),
                                  message("a", "assistant", "yes"), message("u", "user", "go on"));
        check_plan(items, COMPACT_ALL, 100, "u", "Earlier notes: notes\nAssistant: yes");
}

static void test_nothing_before_the_question(void **state)
{
        (void)state;
        check_plan(json_pack("[o]", message("u", "user", "hi")), COMPACT_ALL, 100, "u", "");
        check_plan(json_array(), COMPACT_ALL, 100, "", "");
        check_plan(json_pack("[o]", message("a", "assistant", "hi")), COMPACT_ALL, 100, "", "Assistant: hi");
}

/* Long texts lose their middle, never half a character. */
static void test_long_entries(void **state)
{
        (void)state;
        char *text = mem_alloc(LONG_TEXT * 3 + 3);
        struct compact_plan plan;
        for (int shift = 0; shift < 3; shift++) {
                size_t n = 0;
                for (int i = 0; i < shift; i++)
                        text[n++] = 'x';
                for (int i = 0; i < LONG_TEXT; i++, n += 3)
                        memcpy(text + n, "\xe2\x82\xac", 3);
                text[n] = '\0';
                json_t *items = json_pack("[o]", message("a", "assistant", text));
                assert_int_equal(compact_plan_make(items, COMPACT_ALL, 0, &plan), 0);
                struct str entry = json_as_str(json_array_get(plan.entries, 0));
                assert_true(str_is_utf8(entry) && entry.n > 5000 && entry.n < 6200);
                assert_non_null(strstr(entry.p, "bytes left out"));
                compact_plan_release(&plan);
                json_decref(items);
        }
        mem_free(text);
}

static void test_digest(void **state)
{
        (void)state;
        json_t *entries = json_array();
        for (int i = 0; i < 10; i++) {
                char text[16];
                snprintf(text, sizeof(text), "entry %d", i);
                json_array_append_new(entries, json_string(text));
        }
        json_t *all = compact_digest(entries, 0, 10, 1000), *some = compact_digest(entries, 2, 10, 24);
        assert_string_equal(json_string_value(json_array_get(entries, 0)), "entry 0");
        assert_non_null(strstr(json_string_value(all), "entry 0\nentry 1\n"));
        assert_string_equal(json_string_value(some),
                            "(5 earlier entries are left out.)\nentry 7\nentry 8\nentry 9\n");
        json_decref(all);
        json_decref(some);
        json_decref(entries);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_answers),
                cmocka_unit_test(test_all_keeps_the_question),
                cmocka_unit_test(test_all_keeps_the_last_exchange),
                cmocka_unit_test(test_earlier_notes),
                cmocka_unit_test(test_nothing_before_the_question),
                cmocka_unit_test(test_long_entries),
                cmocka_unit_test(test_digest),
        };
        json_setup();
        return cmocka_run_group_tests(tests, NULL, NULL);
}
