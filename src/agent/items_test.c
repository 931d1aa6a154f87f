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
#include "agent/loop.h"
#include "agent/messages.h"
#include "base/mem.h"

/* JSON, written with ' for ". */
static json_t *parse(const char *text)
{
        struct json_fault e;
        struct buf quoted;
        buf_init(&quoted, 1 << 16);
        for (const char *p = text; *p; p++)
                buf_addc(&quoted, *p == '\'' ? '"' : *p);
        json_t *v = json_parse(buf_str(&quoted), 32, &e);
        if (!v)
                print_error("%s: %s\n", e.msg, text);
        assert_non_null(v);
        buf_release(&quoted);
        return v;
}

static json_t *find_stored(void *ctx, const char *id, size_t index, struct schema_err *reterr)
{
        (void)ctx;
        (void)index;
        if (strcmp(id, "msg_stored") == 0)
                return parse("{'id':'msg_stored','type':'message','role':'user','content':"
                             "[{'type':'input_text','text':'from the store'}]}");
        if (strcmp(id, "rs_stored") == 0)
                return parse("{'id':'rs_stored','type':'reasoning','summary':[],'content':"
                             "[{'type':'reasoning_text','text':'stored thought'}]}");
        snprintf(reterr->msg, sizeof(reterr->msg), "not there");
        return NULL;
}

static json_t *unseal(void *ctx, const char *type, struct str sealed, size_t index, struct schema_err *reterr)
{
        (void)ctx;
        (void)type;
        (void)index;
        if (str_starts(sealed, "sealed:"))
                return json_stringn(sealed.p + 7, sealed.n - 7);
        snprintf(reterr->msg, sizeof(reterr->msg), "cannot be opened");
        return NULL;
}

static const struct item_source source = { find_stored, unseal, NULL, NULL };

static json_t *items_of_input(const char *input, json_t *made)
{
        json_t *in = parse(input), *items = json_array();
        struct schema_err why;
        if (items_from_input(in, &source, NULL, items, made, &why))
                fail_msg("%s: %s", input, why.msg);
        json_decref(in);
        return items;
}

/* The messages that items make, compared as JSON with keys in order. Consumes items. */
static void check_messages(json_t *items, const char *instructions, const char *want)
{
        json_t *messages = messages_from_items(str_c(instructions), items), *expected = parse(want);
        char *got = json_dumps(messages, JSON_COMPACT | JSON_SORT_KEYS);
        char *wanted = json_dumps(expected, JSON_COMPACT | JSON_SORT_KEYS);
        assert_string_equal(got, wanted);
        mem_free(got);
        mem_free(wanted);
        json_decref(messages);
        json_decref(expected);
        json_decref(items);
}

static void check_input(const char *input, const char *instructions, const char *want)
{
        json_t *made = json_array();
        check_messages(items_of_input(input, made), instructions, want);
        json_decref(made);
}

static void test_input_forms(void **state)
{
        (void)state;
        check_input("[{'role':'user','content':'hello'}]", "", "[{'role':'user','content':'hello'}]");
        check_input("[{'role':'user','content':'hello'}]", "be brief",
                    "[{'role':'system','content':'be brief'},{'role':'user','content':'hello'}]");
        check_input("[{'role':'user','content':'a'},{'role':'assistant','content':'b'}]", NULL,
                    "[{'role':'user','content':'a'},{'role':'assistant','content':'b'}]");
        check_input("[{'type':'message','role':'developer','content':[{'type':'input_text','text':'x'},"
                    "{'type':'input_text','text':'y'}]}]",
                    NULL, "[{'role':'developer','content':'xy'}]");
        check_input(
                "[{'type':'item_reference','id':'msg_stored'},{'id':'msg_stored'}]", NULL,
                "[{'role':'user','content':'from the store'},{'role':'user','content':'from the store'}]");
        check_input("[{'id':'msg_1','type':'message','role':'assistant','status':null,'content':"
                    "[{'type':'refusal','refusal':'no'}]}]",
                    NULL, "[{'role':'assistant','content':'no'}]");
}

static void test_text_input(void **state)
{
        (void)state;
        json_t *in = json_string("hello"), *items = json_array(), *made = json_array();
        struct schema_err why;
        assert_int_equal(items_from_input(in, &source, NULL, items, made, &why), 0);
        assert_int_equal(json_array_size(made), 1);
        check_messages(items, "", "[{'role':'user','content':'hello'}]");
        json_decref(made);
        json_decref(in);
}

/* What the model said between two messages of others is one message. */
static void test_calls_are_gathered(void **state)
{
        (void)state;
        check_input(
                "[{'role':'user','content':'q'},"
                "{'type':'reasoning','summary':[],'content':[{'type':'reasoning_text','text':'hm'}]},"
                "{'role':'assistant','content':'I look.'},"
                "{'type':'function_call','call_id':'c1','name':'f','arguments':'{}'},"
                "{'type':'custom_tool_call','call_id':'c2','name':'g','input':'raw'},"
                "{'type':'custom_tool_call_output','call_id':'c2','output':'two'},"
                "{'type':'function_call_output','call_id':'c1','output':[{'type':'input_text','text':'o'},"
                "{'type':'input_text','text':'ne'}]},"
                "{'type':'function_call','call_id':'c3','name':'f','arguments':'{}'},"
                "{'type':'function_call_output','call_id':'c3','output':'3'}]",
                NULL,
                "[{'role':'user','content':'q'},"
                "{'role':'assistant','content':'I look.','reasoning_content':'hm','tool_calls':["
                "{'id':'c1','type':'function','function':{'name':'f','arguments':'{}'}},"
                "{'id':'c2','type':'custom','custom':{'name':'g','input':'raw'}}]},"
                "{'role':'tool','tool_call_id':'c2','name':'g','content':'two'},"
                "{'role':'tool','tool_call_id':'c1','name':'f','content':'one'},"
                "{'role':'assistant','content':null,'tool_calls':["
                "{'id':'c3','type':'function','function':{'name':'f','arguments':'{}'}}]},"
                "{'role':'tool','tool_call_id':'c3','name':'f','content':'3'}]");
}

static void test_reasoning(void **state)
{
        (void)state;
        /* of its own, from the store, sealed, and as the summary that was shown */
        check_input("[{'type':'reasoning','id':'rs_stored','summary':[]},{'role':'assistant','content':'a'},"
                    "{'type':'reasoning','summary':[],'encrypted_content':'sealed:deep'},"
                    "{'role':'assistant','content':'b'},"
                    "{'type':'reasoning','id':'x','summary':[{'type':'summary_text','text':'short'}]},"
                    "{'type':'function_call','call_id':'c','name':'f','arguments':'{}'},"
                    "{'type':'function_call_output','call_id':'c','output':''}]",
                    NULL,
                    "[{'role':'assistant','content':'a','reasoning_content':'stored thought'},"
                    "{'role':'assistant','content':'b','reasoning_content':'deep'},"
                    "{'role':'assistant','content':null,'reasoning_content':'short','tool_calls':["
                    "{'id':'c','type':'function','function':{'name':'f','arguments':'{}'}}]},"
                    "{'role':'tool','tool_call_id':'c','name':'f','content':''}]");
        /* nothing followed it */
        check_input("[{'type':'reasoning','summary':[],'content':[{'type':'reasoning_text','text':'hm'}]},"
                    "{'role':'user','content':'z'}]",
                    NULL, "[{'role':'user','content':'z'}]");
        check_input("[{'type':'reasoning','id':'FAKE_ID','summary':[]},{'role':'assistant','content':'z'}]",
                    NULL, "[{'role':'assistant','content':'z'}]");
}

static void test_a_call_that_was_cut_off_is_left_out(void **state)
{
        (void)state;
        json_t *made = json_array(), *items = items_of_input("[{'type':'function_call','call_id':'c1','name':"
                                                             "'f','arguments':'{\\'a','status':'incomplete'},"
                                                             "{'role':'user','content':'again'}]",
                                                             made);
        struct schema_err why;
        assert_int_equal(items_check_calls(items, &why), 0);
        check_messages(items, NULL, "[{'role':'user','content':'again'}]");
        json_decref(made);
}

static void check_calls(const char *input, int rc, const char *message)
{
        json_t *made = json_array(), *items = items_of_input(input, made);
        struct schema_err why;
        assert_int_equal(items_check_calls(items, &why), rc);
        if (rc) {
                assert_string_equal(why.msg, message);
                assert_string_equal(why.param, "input");
        }
        json_decref(items);
        json_decref(made);
}

#define CALL(id) "{'type':'function_call','call_id':'" id "','name':'f','arguments':'{}'}"
#define OUTPUT(id) "{'type':'function_call_output','call_id':'" id "','output':'1'}"

static void test_calls_and_outputs_belong_together(void **state)
{
        (void)state;
        check_calls("[" CALL("a") "," CALL("b") "," OUTPUT("b") "," OUTPUT("a") "]", 0, NULL);
        check_calls("[" OUTPUT("a") "]", -EINVAL,
                    "No tool call found for function call output with call_id a.");
        check_calls("[" OUTPUT("a") "," CALL("a") "]", -EINVAL,
                    "No tool call found for function call output with call_id a.");
        check_calls("[" CALL("a") "," CALL("b") "," OUTPUT("a") "]", -EINVAL,
                    "No tool output found for function call b.");
        check_calls("[" CALL("a") "," OUTPUT("a") "," CALL("a") "]", -EINVAL,
                    "No tool output found for function call a.");
        check_calls("[{'type':'custom_tool_call','call_id':'x','name':'g','input':''}]", -EINVAL,
                    "No tool output found for custom tool call x.");
}

static void test_ids_are_made_once(void **state)
{
        (void)state;
        json_t *made = json_array(),
               *items = items_of_input(
                       "[{'role':'user','content':'a'},{'id':'msg_mine','role':'user','content':'b'},"
                       "{'type':'function_call','call_id':'c','name':'f','arguments':'{}'},"
                       "{'type':'function_call_output','call_id':'c','output':'x'}]",
                       made);
        static const char *const prefixes[] = { "msg_", "msg_mine", "fc_", "fco_" };
        assert_int_equal(json_array_size(made), 3);
        for (size_t i = 0; i < 4; i++) {
                const json_t *item = json_array_get(items, i);
                assert_true(str_starts(json_str(item, "id"), prefixes[i]));
                assert_string_equal(json_cstr(item, "status", ""), "completed");
        }
        json_decref(items);
        json_decref(made);
}

static void test_ids_are_unique(void **state)
{
        (void)state;
        json_t *in = parse("[{'id':'FAKE_ID','role':'user','content':'a'},"
                           "{'id':'FAKE_ID','role':'user','content':'b'},"
                           "{'id':'msg_old','role':'user','content':'c'},"
                           "{'id':'msg_stored'},{'id':'msg_stored'},"
                           "{'type':'reasoning','id':'msg_old','summary':[]}]");
        json_t *items = json_array(), *made = json_array(), *earlier = parse("[{'id':'msg_old'}]");
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

/* A list of items with these ids (NULL ends it): one of each kind after the other. */
static json_t *items_with_ids(const char *const *ids)
{
        static const char *const kinds[] = { "message", "function_call", "custom_tool_call_output",
                                             "reasoning" };
        json_t *items = json_array();
        for (size_t i = 0; ids[i]; i++)
                json_array_append_new(items, json_pack("{s:s, s:s}", "type", kinds[i], "id", ids[i]));
        return items;
}

static void test_ids_are_renewed(void **state)
{
        (void)state;
        char longest[ITEM_ID_MAX + 1], too_long[ITEM_ID_MAX + 2];
        memset(longest, 'a', sizeof(longest));
        memset(too_long, 'a', sizeof(too_long));
        longest[ITEM_ID_MAX] = too_long[ITEM_ID_MAX + 1] = '\0';
        const char *const ids[] = { "m", too_long, "o", longest, NULL };
        json_t *items = items_with_ids(ids), *before = json_copy(items),
               *earlier = parse("[{'id':'o'},{'id':'x'}]");
        assert_int_equal(items_renew_ids(items, earlier), 0);
        assert_int_equal(json_array_size(items), 4);
        assert_ptr_equal(json_array_get(items, 0), json_array_get(before, 0));
        assert_ptr_equal(json_array_get(items, 3), json_array_get(before, 3));
        assert_int_equal(strncmp(json_cstr(json_array_get(items, 1), "id", ""), "fc_", 3), 0);
        assert_int_equal(strncmp(json_cstr(json_array_get(items, 2), "id", ""), "ctco_", 5), 0);
        assert_string_equal(json_cstr(json_array_get(before, 2), "id", ""), "o");
        json_decref(items);
        json_decref(before);
        json_decref(earlier);
}

/* Joining must not take memory for every prefix. */
static void test_many_parts_are_joined(void **state)
{
        (void)state;
        enum { N = 3000 };
        json_t *parts = json_array();
        for (int i = 0; i < N; i++)
                json_array_append_new(parts,
                                      json_pack("{s:s, s:s}", "type", "input_text", "text", "12345678"));
        json_t *joined = item_text(parts);
        assert_int_equal(json_string_length(joined), 8 * N);
        assert_memory_equal(json_string_value(joined) + 8 * (N - 1), "12345678", 8);
        json_decref(joined);
        json_decref(parts);
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
        refuse_input("[{'role':'user','content':[{'type':'input_text','text':'x'},"
                     "{'type':'input_image','image_url':'data:'}]}]",
                     "input[0].content[1].type");
        refuse_input("[{'role':'user','content':'x'},{'type':'file_search_call','id':'fs_1'}]",
                     "input[1].type");
        refuse_input("[{'type':'function_call_output','call_id':'c','output':[{'type':'input_image'}]}]",
                     "input[0].output[0].type");
        refuse_input("[{'type':'function_call_output','output':'1'}]", "input[0].call_id");
        refuse_input("[{'type':'reasoning','id':'rs_gone','summary':[]}]", "");
        refuse_input("[{'type':'reasoning','summary':[],'encrypted_content':'forged'}]", "");
}

/* ---- chats ---- */

static void check_chat(const char *messages, const char *want)
{
        json_t *in = parse(messages), *items = json_array();
        struct schema_err why;
        if (items_from_chat(in, items, &why))
                fail_msg("%s: %s", messages, why.msg);
        check_messages(items, "", want);
        json_decref(in);
}

static void refuse_chat(const char *messages, const char *param, const char *message)
{
        json_t *in = parse(messages), *items = json_array();
        struct schema_err why;
        assert_int_equal(items_from_chat(in, items, &why), -EINVAL);
        assert_string_equal(why.param, param);
        assert_non_null(strstr(why.msg, message));
        json_decref(in);
        json_decref(items);
}

static void test_chat_messages(void **state)
{
        (void)state;
        check_chat("[{'role':'system','content':[{'type':'text','text':'s'}]},"
                   "{'role':'assistant','content':null,'refusal':'no'},"
                   "{'role':'user','content':'u','name':'ann'}]",
                   "[{'role':'system','content':'s'},{'role':'assistant','content':'no'},"
                   "{'role':'user','content':'u'}]");
        check_chat("[{'role':'user','content':'u'},{'role':'assistant','content':'a'},"
                   "{'role':'assistant','content':'b','reasoning_content':'why'}]",
                   "[{'role':'user','content':'u'},{'role':'assistant','content':'a'},"
                   "{'role':'assistant','content':'b','reasoning_content':'why'}]");
        refuse_chat("[{'role':'user','content':[{'type':'image_url','image_url':{'url':'x'}}]}]",
                    "messages[0].content[0].type", "image_url");
        refuse_chat("[{'role':'assistant','audio':{'id':'a'}}]", "messages[0].audio", "audio");
}

#define CALLS                                                                                   \
        "'tool_calls':[{'id':'c1','type':'function','function':{'name':'f','arguments':'{}'}}," \
        "{'id':'c2','type':'custom','custom':{'name':'g','input':'x'}}]"

static void test_chat_calls(void **state)
{
        (void)state;
        check_chat("[{'role':'user','content':'u'},{'role':'assistant','content':'',"
                   "'reasoning':'hm'," CALLS "},"
                   "{'role':'tool','tool_call_id':'c2','content':'two'},"
                   "{'role':'tool','tool_call_id':'c1','content':[{'type':'text','text':'one'}]},"
                   "{'role':'assistant','content':'done','tool_calls':[]}]",
                   "[{'role':'user','content':'u'},{'role':'assistant','content':null,"
                   "'reasoning_content':'hm'," CALLS "},"
                   "{'role':'tool','tool_call_id':'c2','name':'g','content':'two'},"
                   "{'role':'tool','tool_call_id':'c1','name':'f','content':'one'},"
                   "{'role':'assistant','content':'done'}]");
        check_chat("[{'role':'assistant','content':null,'function_call':{'name':'f','arguments':'{}'}},"
                   "{'role':'function','name':'f','content':'1'}]",
                   "[{'role':'assistant','content':null,'tool_calls':[{'id':'f','type':'function',"
                   "'function':{'name':'f','arguments':'{}'}}]},"
                   "{'role':'tool','tool_call_id':'f','name':'f','content':'1'}]");
}

static void test_chat_calls_must_be_answered(void **state)
{
        (void)state;
        refuse_chat("[{'role':'assistant'," CALLS "},{'role':'tool','tool_call_id':'c1','content':'1'},"
                    "{'role':'user','content':'u'}]",
                    "messages.[0].role", "did not have response messages: c2");
        refuse_chat("[{'role':'assistant'," CALLS "}]", "messages.[0].role", "c1");
        refuse_chat("[{'role':'user','content':'u'},{'role':'tool','tool_call_id':'c','content':'1'}]",
                    "messages.[1].role", "must be a response to a preceding message with 'tool_calls'");
        refuse_chat("[{'role':'assistant'," CALLS "},{'role':'tool','tool_call_id':'c9','content':'1'}]",
                    "messages.[1].tool_call_id", "'c9' not found");
        refuse_chat("[{'role':'assistant','function_call':{'name':'f','arguments':'{}'}}]",
                    "messages.[0].role", "function_call");
}

/* ---- answers ---- */

static void check_item(json_t *got, const char *want)
{
        json_t *expected = parse(want);
        char *a = json_dumps(got, JSON_COMPACT | JSON_SORT_KEYS);
        char *b = json_dumps(expected, JSON_COMPACT | JSON_SORT_KEYS);
        assert_string_equal(a, b);
        mem_free(a);
        mem_free(b);
        json_decref(got);
        json_decref(expected);
}

static void test_items_of_answers(void **state)
{
        (void)state;
        static char name[] = "f";
        struct agent_item item = { .kind = AGENT_CALL, .id = "fc_1", .call_id = "call_1", .name = name };
        struct item_form plain = { 0 }, shown = { .summary = true, .sealed = "xyz" };
        buf_init(&item.text, 100);
        buf_adds(&item.text, "{}");
        check_item(item_begun(&item), "{'id':'fc_1','type':'function_call','status':'in_progress',"
                                      "'call_id':'call_1','name':'f','arguments':''}");
        check_item(item_ended(&item, &plain), "{'id':'fc_1','type':'function_call','status':'incomplete',"
                                              "'call_id':'call_1','name':'f','arguments':'{}'}");
        item.custom = item.whole = true;
        check_item(item_ended(&item, &plain), "{'id':'fc_1','type':'custom_tool_call','status':'completed',"
                                              "'call_id':'call_1','name':'f','input':'{}'}");
        item.kind = AGENT_REASONING;
        check_item(item_begun(&item), "{'id':'fc_1','type':'reasoning','status':'in_progress','summary':[]}");
        check_item(item_ended(&item, &plain),
                   "{'id':'fc_1','type':'reasoning','status':'completed','summary':[],"
                   "'content':[{'type':'reasoning_text','text':'{}'}]}");
        check_item(item_ended(&item, &shown), "{'id':'fc_1','type':'reasoning','status':'completed',"
                                              "'summary':[{'type':'summary_text','text':'{}'}],"
                                              "'encrypted_content':'xyz'}");
        buf_release(&item.text);
}

int main(void)
{
        json_setup();
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_input_forms),
                cmocka_unit_test(test_text_input),
                cmocka_unit_test(test_calls_are_gathered),
                cmocka_unit_test(test_reasoning),
                cmocka_unit_test(test_a_call_that_was_cut_off_is_left_out),
                cmocka_unit_test(test_calls_and_outputs_belong_together),
                cmocka_unit_test(test_ids_are_made_once),
                cmocka_unit_test(test_ids_are_unique),
                cmocka_unit_test(test_ids_are_renewed),
                cmocka_unit_test(test_many_parts_are_joined),
                cmocka_unit_test(test_what_cannot_be_read_is_named),
                cmocka_unit_test(test_chat_messages),
                cmocka_unit_test(test_chat_calls),
                cmocka_unit_test(test_chat_calls_must_be_answered),
                cmocka_unit_test(test_items_of_answers),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
