/* What a connection remembers: chains, forks, what comes before them in the store, and what is forgotten. */
#include "api/response_ws_memory.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "base/mem.h"

static json_t *parse(const char *text)
{
        struct json_fault why;
        json_t *v = json_parse(str_c(text), 32, &why);
        if (!v)
                fail_msg("%s: %s", text, why.msg);
        return v;
}

/* Runs a request `body` whose response `id` says `output`; the body as it was passed on (new). */
static json_t *turn(struct memory *m, const char *body, const char *id, const char *output)
{
        struct memory_turn t = { 0 };
        json_t *b = parse(body), *out = parse(output);
        assert_int_equal(memory_expand(m, b, &t), 0);
        json_t *event = json_pack("{s:s, s:{s:s, s:o, s:n}}", "type", "response.completed", "response", "id",
                                  id, "output", out, "previous_response_id");
        memory_note(m, &t, event);
        json_t *shown = memory_show(&t, event);
        const char *named = json_cstr(json_get(shown, "response"), "previous_response_id", NULL);
        assert_true(t.previous ? named && !strcmp(named, t.previous) : !named);
        assert_true(json_is_null(json_object_get(json_get(event, "response"), "previous_response_id")));
        json_decref(shown);
        json_decref(event);
        memory_turn_release(&t);
        return b;
}

static void expect(json_t *body, const char *expected)
{
        json_t *want = parse(expected);
        if (!json_equal(body, want)) {
                size_t n;
                char *text = json_text(body, &n);
                print_message("%s\n", text);
                mem_free(text);
                fail_msg("expected %s", expected);
        }
        json_decref(want);
        json_decref(body);
}

static void test_chain(void **state)
{
        (void)state;
        struct memory *m = memory_new();
        expect(turn(m, "{\"input\":\"a\",\"store\":false}", "r1", "[1]"),
               "{\"input\":\"a\",\"store\":false}");
        expect(turn(m, "{\"input\":[\"b\"],\"store\":false,\"previous_response_id\":\"r1\"}", "r2", "[2, 3]"),
               "{\"store\":false,\"input\":[{\"type\":\"message\",\"role\":\"user\",\"content\":\"a\"},1,"
               "\"b\"]}");
        expect(turn(m, "{\"input\":\"c\",\"previous_response_id\":\"r2\"}", "r3", "[4]"),
               "{\"input\":[{\"type\":\"message\",\"role\":\"user\",\"content\":\"a\"},1,\"b\",2,3,"
               "{\"type\":\"message\",\"role\":\"user\",\"content\":\"c\"}]}");
        /* What makes a compaction is passed on, and not remembered. */
        expect(turn(m, "{\"input\":[6,{\"type\":\"compaction_trigger\"}],\"store\":false}", "r6", "[7]"),
               "{\"input\":[6,{\"type\":\"compaction_trigger\"}],\"store\":false}");
        expect(turn(m, "{\"input\":[8],\"previous_response_id\":\"r6\"}", "r7", "[]"), "{\"input\":[6,7,8]}");
        /* A fork, without input of its own; what was stored is not remembered; nor is what nobody knows. */
        expect(turn(m, "{\"store\":false,\"previous_response_id\":\"r1\"}", "r4", "[]"),
               "{\"store\":false,\"input\":[{\"type\":\"message\",\"role\":\"user\",\"content\":\"a\"},1]}");
        expect(turn(m, "{\"input\":\"d\",\"previous_response_id\":\"r3\"}", "r5", "[]"),
               "{\"input\":\"d\",\"previous_response_id\":\"r3\"}");
        memory_free(m);
        memory_free(NULL);
}

static void test_behind_the_store(void **state)
{
        (void)state;
        struct memory *m = memory_new();
        expect(turn(m, "{\"input\":[1],\"store\":false,\"previous_response_id\":\"kept\"}", "r1", "[2]"),
               "{\"input\":[1],\"store\":false,\"previous_response_id\":\"kept\"}");
        expect(turn(m, "{\"input\":[3],\"store\":false,\"previous_response_id\":\"r1\"}", "r2", "[4]"),
               "{\"input\":[1,2,3],\"store\":false,\"previous_response_id\":\"kept\"}");
        expect(turn(m, "{\"input\":[5],\"previous_response_id\":\"r2\"}", "r3", "[]"),
               "{\"input\":[1,2,3,4,5],\"previous_response_id\":\"kept\"}");
        /* With a conversation it is the operation's to refuse. */
        expect(turn(m, "{\"input\":[6],\"previous_response_id\":\"r2\",\"conversation\":\"c\"}", "r4", "[]"),
               "{\"input\":[6],\"previous_response_id\":\"r2\",\"conversation\":\"c\"}");
        memory_free(m);
}

static void test_forgets(void **state)
{
        (void)state;
        struct memory *m = memory_new();
        struct memory_turn t = { 0 };
        char id[16], body[64];
        for (int i = 0; i < 33; i++) {
                snprintf(id, sizeof(id), "r%d", i);
                json_decref(turn(m, "{\"input\":[1],\"store\":false}", id, "[]"));
        }
        snprintf(body, sizeof(body), "{\"input\":[],\"previous_response_id\":\"r0\"}");
        expect(turn(m, body, "x", "[]"), body);
        expect(turn(m, "{\"input\":[],\"previous_response_id\":\"r1\"}", "x", "[]"), "{\"input\":[1]}");
        /* A response that failed is not remembered. */
        json_t *b = parse("{\"input\":[1],\"store\":false}");
        json_t *event = parse("{\"type\":\"response.failed\",\"response\":{\"id\":\"f\",\"output\":[]}}");
        assert_int_equal(memory_expand(m, b, &t), 0);
        memory_note(m, &t, event);
        memory_turn_release(&t);
        json_decref(event);
        json_decref(b);
        expect(turn(m, "{\"previous_response_id\":\"f\"}", "x", "[]"), "{\"previous_response_id\":\"f\"}");
        memory_free(m);
}

#ifdef CAIRN_FAULTS
static void test_out_of_memory(void **state)
{
        (void)state;
        struct memory *m = memory_new();
        json_decref(turn(m, "{\"input\":\"a\",\"store\":false,\"previous_response_id\":\"k\"}", "r1", "[1]"));
        for (int nth = 1;; nth++) {
                struct memory_turn t = { 0 };
                json_t *b = parse("{\"input\":\"b\",\"store\":false,\"previous_response_id\":\"r1\"}");
                json_t *event = parse(
                        "{\"type\":\"response.completed\",\"response\":{\"id\":\"r2\",\"output\":[2]}}");
                mem_fail_nth(nth);
                int rc = memory_expand(m, b, &t);
                if (rc == 0)
                        memory_note(m, &t, event);
                json_t *shown = rc == 0 ? memory_show(&t, event) : NULL;
                bool through = mem_alloc_count() < nth;
                mem_fail_nth(0);
                mem_take_failure();
                json_decref(shown);
                json_decref(event);
                json_decref(b);
                memory_turn_release(&t);
                if (through)
                        break;
                assert_true(rc == 0 || rc == -ENOMEM);
        }
        memory_free(m);
}
#endif

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_chain),
                cmocka_unit_test(test_behind_the_store),
                cmocka_unit_test(test_forgets),
#ifdef CAIRN_FAULTS
                cmocka_unit_test(test_out_of_memory),
#endif
        };
        json_setup();
        return cmocka_run_group_tests(tests, NULL, NULL);
}
