/* The validator: OpenAI's messages, presence and null, unions, and bodies that clients really send. */
#include "contract/contract.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>
#include "base/buf.h"

static json_t *parse(const char *text)
{
        struct json_fault fault;
        json_t *v = json_parse(str_c(text), 2000, &fault);
        if (!v)
                fail_msg("%s: %s", fault.msg, text);
        return v;
}

static const struct schema *schema_named(const char *name)
{
        const struct operation *op = contract_operation(name);
        const struct schema *s =
                op ? contract_body(op, "application/json; charset=utf-8") : contract_schema(name);
        assert_non_null(s);
        return s;
}

static int check_text(const char *name, const char *text, unsigned flags, struct schema_err *err)
{
        json_t *v = parse(text);
        int rc = schema_check(schema_named(name), v, flags, err);
        assert_int_equal(schema_check(schema_named(name), v, flags, NULL), rc);
        json_decref(v);
        return rc;
}

static void accepts_flags(const char *name, const char *text, unsigned flags)
{
        struct schema_err err;
        if (check_text(name, text, flags, &err))
                fail_msg("%s refused: %s (%s)\n%s", name, err.msg, err.param, text);
}

static void accepts(const char *name, const char *text)
{
        accepts_flags(name, text, SCHEMA_CREATE);
}

static void refuses_flags(const char *name, const char *text, unsigned flags, const char *msg,
                          const char *param, const char *code)
{
        struct schema_err err;
        if (check_text(name, text, flags, &err) != -EINVAL)
                fail_msg("%s accepted: %s", name, text);
        assert_string_equal(err.msg, msg);
        assert_string_equal(err.param, param);
        assert_string_equal(err.code, code);
}

static void refuses(const char *name, const char *text, const char *msg, const char *param, const char *code)
{
        refuses_flags(name, text, SCHEMA_CREATE, msg, param, code);
}

#define CHAT "createChatCompletion"
#define RESPONSE "createResponse"
#define USER "\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]"
#define BODY(rest) "{\"model\":\"m\"," USER "," rest "}"
#define INPUT(item) "{\"model\":\"m\",\"input\":[" item "]}"

/* ---- messages ---- */

static void test_wrong_type(void **state)
{
        (void)state;
        refuses(CHAT, "{\"model\":\"m\",\"messages\":\"hi\"}",
                "Invalid type for 'messages': expected an array of objects, but got a string instead.",
                "messages", "invalid_type");
        refuses(CHAT, BODY("\"temperature\":\"hot\""),
                "Invalid type for 'temperature': expected a decimal, but got a string instead.",
                "temperature", "invalid_type");
        refuses(CHAT, BODY("\"n\":1.5"),
                "Invalid type for 'n': expected an integer, but got a decimal instead.", "n", "invalid_type");
        refuses(CHAT, BODY("\"stream\":1"),
                "Invalid type for 'stream': expected a boolean, but got an integer instead.", "stream",
                "invalid_type");
        refuses(CHAT, BODY("\"response_format\":\"json\""),
                "Invalid type for 'response_format': expected an object, but got a string instead.",
                "response_format", "invalid_type");
        refuses(CHAT, BODY("\"stop\":5"),
                "Invalid type for 'stop': expected one of a string or array of strings, but got an integer "
                "instead.",
                "stop", "invalid_type");
        refuses(CHAT, BODY("\"verbosity\":3"),
                "Invalid type for 'verbosity': expected one of 'low', 'medium', or 'high', but got an "
                "integer instead.",
                "verbosity", "invalid_type");
        refuses(CHAT, "{\"model\":null," USER "}",
                "Invalid type for 'model': expected a string, but got null instead.", "model",
                "invalid_type");
        refuses(CHAT, "[]", "Invalid type for the body: expected an object, but got an empty array instead.",
                "", "invalid_type");
        refuses(RESPONSE, "{\"model\":\"m\",\"input\":5}",
                "Invalid type for 'input': expected one of a string or array of objects, but got an integer "
                "instead.",
                "input", "invalid_type");
}

static void test_missing(void **state)
{
        (void)state;
        refuses(CHAT, "{\"model\":\"m\"}", "Missing required parameter: 'messages'.", "messages",
                "missing_required_parameter");
        refuses(CHAT, "{" USER "}", "Missing required parameter: 'model'.", "model",
                "missing_required_parameter");
        refuses(CHAT, "{\"model\":\"m\",\"messages\":[{\"content\":\"a\"}]}",
                "Missing required parameter: 'messages[0].role'.", "messages[0].role",
                "missing_required_parameter");
        refuses(RESPONSE, "{\"model\":\"m\",\"input\":\"a\",\"tools\":[{\"type\":\"mcp\"}]}",
                "Missing required parameter: 'tools[0].server_label'.", "tools[0].server_label",
                "missing_required_parameter");
}

static void test_unknown(void **state)
{
        (void)state;
        refuses(CHAT, BODY("\"foo\":1"), "Unknown parameter: 'foo'.", "foo", "unknown_parameter");
        refuses(CHAT, BODY("\"response_format\":{\"type\":\"text\",\"schema\":{}}"),
                "Unknown parameter: 'response_format.schema'.", "response_format.schema",
                "unknown_parameter");
        refuses(CHAT, BODY("\"stream_options\":{\"include_usages\":true}"),
                "Unknown parameter: 'stream_options.include_usages'.", "stream_options.include_usages",
                "unknown_parameter");
        accepts_flags(CHAT, BODY("\"foo\":1"), SCHEMA_LENIENT);
        accepts_flags("createEmbedding", "{\"model\":\"m\",\"input\":\"a\",\"foo\":1}", SCHEMA_LENIENT);
        refuses_flags(CHAT, BODY("\"stream_options\":{\"x\":true}"), SCHEMA_LENIENT,
                      "Unknown parameter: 'stream_options.x'.", "stream_options.x", "unknown_parameter");
}

static void test_values(void **state)
{
        (void)state;
        refuses(CHAT, BODY("\"verbosity\":\"x\""),
                "Invalid value: 'x'. Supported values are: 'low', 'medium', and 'high'.", "verbosity",
                "invalid_value");
        refuses(CHAT, BODY("\"verbosity\":\"lox\""),
                "Invalid value: 'lox'. Supported values are: 'low', 'medium', and 'high'.", "verbosity",
                "invalid_value");
        refuses("createEmbedding", "{\"model\":\"m\",\"input\":\"a\",\"encoding_format\":\"x\"}",
                "Invalid value: 'x'. Supported values are: 'float' and 'base64'.", "encoding_format",
                "invalid_value");
        refuses(CHAT, "{\"model\":\"m\",\"messages\":[{\"role\":\"x\",\"content\":\"a\"}]}",
                "Invalid value: 'x'. Supported values are: 'developer', 'system', 'user', 'assistant', "
                "'tool', and "
                "'function'.",
                "messages[0].role", "invalid_value");
        refuses(CHAT, BODY("\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"a b\"}}]"),
                "Invalid 'tools[0].function.name': string does not match pattern. Expected a string that "
                "matches the "
                "pattern '^[a-zA-Z0-9_-]+$'.",
                "tools[0].function.name", "invalid_value");
}

static void test_ranges(void **state)
{
        (void)state;
        refuses(CHAT, BODY("\"temperature\":5"),
                "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 5 "
                "instead.",
                "temperature", "decimal_above_max_value");
        refuses(CHAT, BODY("\"top_p\":-0.5"),
                "Invalid 'top_p': decimal below minimum value. Expected a value >= 0, but got -0.5 instead.",
                "top_p", "decimal_below_min_value");
        refuses(CHAT, BODY("\"repetition_penalty\":0"),
                "Invalid 'repetition_penalty': decimal below minimum value. Expected a value > 0, but got 0 "
                "instead.",
                "repetition_penalty", "decimal_below_min_value");
        refuses(CHAT, BODY("\"n\":0"),
                "Invalid 'n': integer below minimum value. Expected a value >= 1, but got 0 instead.", "n",
                "integer_below_min_value");
        refuses(CHAT, BODY("\"n\":129"),
                "Invalid 'n': integer above maximum value. Expected a value <= 128, but got 129 instead.",
                "n", "integer_above_max_value");
        refuses(RESPONSE, "{\"model\":\"m\",\"input\":\"a\",\"max_output_tokens\":10}",
                "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but got "
                "10 instead.",
                "max_output_tokens", "integer_below_min_value");
        refuses(CHAT, BODY("\"logit_bias\":{\"7\":101}"),
                "Invalid 'logit_bias.7': integer above maximum value. Expected a value <= 100, but got 101 "
                "instead.",
                "logit_bias.7", "integer_above_max_value");
        accepts(CHAT, BODY("\"seed\":-9223372036854775808"));
        accepts(CHAT, BODY("\"temperature\":2,\"top_p\":0,\"n\":128"));
}

static void test_lengths(void **state)
{
        (void)state;
        refuses(CHAT, "{\"model\":\"m\",\"messages\":[]}",
                "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty "
                "array "
                "instead.",
                "messages", "empty_array");
        refuses(CHAT, BODY("\"stop\":[\"a\",\"b\",\"c\",\"d\",\"e\"]"),
                "Invalid 'stop': array too long. Expected an array with maximum length 4, but got an array "
                "with length "
                "5 instead.",
                "stop", "array_above_max_length");
        refuses(CHAT,
                BODY("\"safety_identifier\":"
                     "\"0123456789012345678901234567890123456789012345678901234567890123456789\""),
                "Invalid 'safety_identifier': string too long. Expected a string with maximum length 64, but "
                "got a "
                "string with length 70 instead.",
                "safety_identifier", "string_above_max_length");
        refuses(CHAT, BODY("\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"\"}}]"),
                "Invalid 'tools[0].function.name': empty string. Expected a string with minimum length 1, "
                "but got an "
                "empty string instead.",
                "tools[0].function.name", "empty_string");
        /* 64 characters of two bytes each are 64 characters. */
        accepts(CHAT, BODY("\"safety_identifier\":"
                           "\"éééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééé\""));
}

static void test_metadata(void **state)
{
        (void)state;
        struct buf b;
        struct schema_err err;
        buf_init(&b, 65536);
        buf_adds(&b, "{\"metadata\":{\"k0\":\"v\"");
        for (int i = 1; i < 17; i++)
                buf_addf(&b, ",\"k%d\":\"v\"", i);
        buf_adds(&b, "}}");
        assert_int_equal(check_text("updateChatCompletion", b.p, SCHEMA_UPDATE, &err), -EINVAL);
        assert_string_equal(err.msg,
                            "Invalid 'metadata': too many properties. Expected an object with at most 16 "
                            "properties, but got an object with 17 properties instead.");
        assert_string_equal(err.code, "object_above_max_properties");
        buf_release(&b);
        refuses("updateChatCompletion", "{\"metadata\":{\"a\":5}}",
                "Invalid type for 'metadata.a': expected a string, but got an integer instead.", "metadata.a",
                "invalid_type");
}

/* ---- null and absence ---- */

static void test_null(void **state)
{
        (void)state;
        accepts(CHAT,
                BODY("\"temperature\":null,\"tools\":null,\"stop\":null,\"stream\":null,\"metadata\":null,"
                     "\"user\":null,\"response_format\":null,\"tool_choice\":null,\"functions\":null"));
        accepts(RESPONSE,
                "{\"model\":\"m\",\"input\":\"a\",\"previous_response_id\":null,\"tools\":null,\"text\":null,"
                "\"tool_choice\":null,\"user\":null}");
        accepts_flags("updateChatCompletion", "{\"metadata\":null}", SCHEMA_UPDATE);
        accepts_flags("modifyAssistant", "{\"name\":null}", SCHEMA_UPDATE);
        refuses_flags("modifyAssistant", "{\"model\":null}", SCHEMA_UPDATE,
                      "Invalid type for 'model': expected a string, but got null instead.", "model",
                      "invalid_type");
        accepts("modifyAssistant", "{\"model\":null}");
        refuses_flags("updateChatCompletion", "{}", SCHEMA_UPDATE, "Missing required parameter: 'metadata'.",
                      "metadata", "missing_required_parameter");
}

/* ---- unions ---- */

static void test_unions(void **state)
{
        (void)state;
        refuses(CHAT,
                "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}]}",
                "Missing required parameter: 'messages[0].content[0].text'.", "messages[0].content[0].text",
                "missing_required_parameter");
        refuses(CHAT, BODY("\"tool_choice\":\"x\""),
                "Invalid value: 'x'. Supported values are: 'none', 'auto', and 'required'.", "tool_choice",
                "invalid_value");
        refuses(RESPONSE, INPUT("{\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":5}]}"),
                "Invalid type for 'input[0].content[0].text': expected a string, but got an integer instead.",
                "input[0].content[0].text", "invalid_type");
        refuses(RESPONSE, INPUT("{\"role\":\"x\",\"content\":\"a\"}"),
                "Invalid value: 'x'. Supported values are: 'user', 'assistant', 'system', and 'developer'.",
                "input[0].role", "invalid_value");
        refuses(RESPONSE, INPUT("{\"type\":7}"),
                "Invalid type for 'input[0].type': expected one of 'message', 'file_search_call', "
                "'computer_call', "
                "'computer_call_output', 'web_search_call', 'function_call', 'function_call_output', "
                "'tool_search_call', 'tool_search_output', 'additional_tools', 'reasoning', 'compaction', "
                "'image_generation_call', 'code_interpreter_call', 'local_shell_call', "
                "'local_shell_call_output', "
                "'shell_call', or 13 more, but got an integer instead.",
                "input[0].type", "invalid_type");
        refuses("createEmbedding", "{\"model\":\"m\",\"input\":[1,\"a\"]}",
                "Invalid type for 'input[1]': expected an integer, but got a string instead.", "input[1]",
                "invalid_type");
        refuses("createEmbedding", "{\"model\":\"m\",\"input\":[[1],[2,\"c\"]]}",
                "Invalid type for 'input[1][1]': expected an integer, but got a string instead.",
                "input[1][1]", "invalid_type");
        accepts("createEmbedding", "{\"model\":\"m\",\"input\":[[1],[2,3]]}");
        accepts("createCompletion", "{\"model\":\"m\",\"prompt\":[]}");
}

/* ---- what clients really send ---- */

static void test_input_items(void **state)
{
        (void)state;
        accepts(RESPONSE, INPUT("{\"role\":\"user\",\"content\":\"hi\"}"));
        accepts(RESPONSE, INPUT("{\"role\":\"assistant\",\"content\":\"hi\"}"));
        accepts(RESPONSE, INPUT("{\"type\":\"message\",\"role\":\"assistant\",\"content\":"
                                "[{\"type\":\"output_text\",\"text\":\"x\"}]}"));
        accepts(RESPONSE,
                INPUT("{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"status\":null,"
                      "\"phase\":null,\"content\":[{\"type\":\"output_text\",\"text\":\"x\",\"annotations\":["
                      "],"
                      "\"logprobs\":[],\"parsed\":{\"a\":1}}]}"));
        accepts(RESPONSE, INPUT("{\"id\":\"msg_1\"}"));
        accepts(RESPONSE, INPUT("{\"type\":null,\"id\":\"msg_1\"}"));
        accepts(RESPONSE, INPUT("{\"type\":\"item_reference\",\"id\":\"rs_1\"}"));
        accepts(RESPONSE,
                INPUT("{\"type\":\"function_call\",\"id\":\"fc_1\",\"call_id\":\"c\",\"name\":\"f\","
                      "\"arguments\":\"{}\",\"parsed_arguments\":null,\"status\":null,\"created_by\":"
                      "\"x\"}"));
        accepts(RESPONSE,
                INPUT("{\"type\":\"function_call_output\",\"call_id\":\"c\",\"output\":"
                      "[{\"type\":\"input_text\",\"text\":\"a\"},{\"type\":\"input_image\",\"image_url\":"
                      "\"https://x/y.png\"}]}"));
        accepts(RESPONSE,
                INPUT("{\"type\":\"reasoning\",\"id\":\"rs_1\",\"summary\":[],\"encrypted_content\":null,"
                      "\"content\":[{\"type\":\"reasoning_text\",\"text\":\"t\"}],\"status\":null}"));
        accepts(RESPONSE,
                INPUT("{\"role\":\"user\",\"content\":[{\"type\":\"input_image\",\"image_url\":\"data:x\"},"
                      "{\"type\":\"input_file\",\"filename\":\"a.pdf\",\"file_data\":\"data:y\"}]}"));
}

static void test_framework_bodies(void **state)
{
        (void)state;
        accepts(RESPONSE,
                "{\"model\":\"gpt-5\",\"instructions\":\"x\",\"input\":[{\"role\":\"user\",\"content\":"
                "\"hi\"}],"
                "\"include\":[],\"tools\":[{\"type\":\"function\",\"name\":\"f\",\"description\":\"d\","
                "\"parameters\":{\"type\":\"object\",\"$schema\":\"http://json-schema.org/draft-07/schema#\","
                "\"properties\":{},\"required\":[],\"additionalProperties\":false},\"strict\":true}],"
                "\"text\":{},\"store\":false,\"stream\":true,\"reasoning\":{\"effort\":\"none\"}}");
        accepts(CHAT,
                "{\"model\":\"gpt-5\",\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":"
                "\"assistant\","
                "\"content\":null,\"refusal\":null,\"annotations\":[],\"parsed\":null,\"reasoning_content\":"
                "\"r\","
                "\"tool_calls\":[{\"index\":0,\"id\":\"c\",\"type\":\"function\",\"function\":{\"name\":"
                "\"f\","
                "\"arguments\":\"{}\",\"parsed_arguments\":{}}}]},{\"role\":\"tool\",\"tool_call_id\":\"c\","
                "\"content\":\"ok\"}],\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\","
                "\"parameters\":"
                "{\"$schema\":\"x\"},\"strict\":true}}],\"reasoning_effort\":\"none\",\"verbosity\":\"low\","
                "\"stream\":true,\"stream_options\":{\"include_usage\":true}}");
        accepts(CHAT,
                BODY("\"stop\":\"x\",\"logit_bias\":{\"50256\":-100},\"response_format\":{\"type\":\"json_"
                     "schema\","
                     "\"json_schema\":{\"name\":\"n\",\"schema\":{},\"strict\":true}},\"top_k\":40,\"min_p\":"
                     "0.05,"
                     "\"repetition_penalty\":1.1,\"service_tier\":\"auto\",\"prompt_cache_key\":\"k\","
                     "\"prediction\":{\"type\":\"content\",\"content\":\"x\"},\"modalities\":[\"text\"]"));
        accepts(RESPONSE,
                "{\"prompt\":{\"id\":\"pmpt_1\",\"variables\":{\"a\":\"b\",\"c\":{\"type\":\"input_text\","
                "\"text\":\"d\"}}},\"conversation\":{\"id\":\"conv_1\"},\"tool_choice\":\"auto\"}");
        accepts("Getinputtokencounts", "{}");
}

/* Items and messages of every family in one request. */
static void test_whole_requests(void **state)
{
        (void)state;
        static const char *const requests[][2] = {
                { "createResponse",
                  "{\"model\":\"m\",\"input\":[{\"role\":\"user\",\"content\":\"a\",\"id\":null,\"status\":"
                  "null}],"
                  "\"tools\":[{\"type\":\"function\",\"name\":\"f\",\"parameters\":null,\"strict\":null,"
                  "\"description\":null}],\"tool_choice\":{\"type\":\"function\",\"name\":\"f\"},\"user\":"
                  "\"x\","
                  "\"top_logprobs\":null}" },
                { "createResponse",
                  "{\"model\":\"m\",\"input\":[{\"type\":\"message\",\"role\":\"assistant\",\"content\":[{"
                  "\"type\":\"output_text\",\"text\":\"x\",\"annotations\":[{\"type\":\"url_citation\","
                  "\"url\":\"u\","
                  "\"title\":\"t\",\"start_index\":0,\"end_index\":1}]}],\"id\":\"msg\",\"status\":"
                  "\"completed\"}]}" },
                { "createResponse",
                  "{\"model\":\"m\",\"input\":[{\"type\":\"web_search_call\",\"id\":\"ws\",\"status\":"
                  "\"completed\","
                  "\"action\":{\"type\":\"search\",\"query\":\"x\"}},{\"type\":\"file_search_call\",\"id\":"
                  "\"fs\","
                  "\"status\":\"completed\",\"queries\":[\"x\"],\"results\":null},{"
                  "\"type\":\"code_interpreter_call\",\"id\":\"ci\",\"code\":\"x\",\"container_id\":\"c\","
                  "\"status\":\"completed\",\"outputs\":null},{\"type\":\"mcp_list_tools\",\"id\":\"m\","
                  "\"server_label\":\"x\",\"tools\":[{\"name\":\"a\",\"input_schema\":{},\"description\":"
                  "null,"
                  "\"annotations\":null}]},{\"type\":\"image_generation_call\",\"id\":\"ig\","
                  "\"status\":\"completed\",\"result\":\"x\"},{\"type\":\"local_shell_call_output\",\"id\":"
                  "\"x\","
                  "\"output\":\"y\"}]}" },
                { "createChatCompletion",
                  "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\","
                  "\"text\":\"a\"},{"
                  "\"type\":\"input_audio\",\"input_audio\":{\"data\":\"x\",\"format\":\"wav\"}},{\"type\":"
                  "\"file\","
                  "\"file\":{\"file_data\":\"data:x\",\"filename\":\"a\"}}]},{\"role\":\"assistant\","
                  "\"content\":[{"
                  "\"type\":\"text\",\"text\":\"a\"},{\"type\":\"refusal\",\"refusal\":\"x\"}],\"audio\":{"
                  "\"id\":\"x\"},"
                  "\"tool_calls\":[{\"id\":\"c\",\"type\":\"custom\",\"custom\":{\"name\":\"n\",\"input\":"
                  "\"i\"}}]},{"
                  "\"role\":\"function\",\"name\":\"f\",\"content\":null}],\"functions\":[{\"name\":\"f\","
                  "\"parameters\":{}}],\"function_call\":\"auto\",\"audio\":{\"voice\":\"alloy\","
                  "\"format\":\"mp3\"},\"web_search_options\":{\"user_location\":{\"type\":\"approximate\","
                  "\"approximate\":{\"country\":\"US\"}},\"search_context_size\":\"low\"},\"moderation\":"
                  "null,"
                  "\"prompt_cache_options\":{\"mode\":\"implicit\"}}" },
                { "createChatCompletion",
                  "{\"model\":\"m\",\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"c\","
                  "\"type\":\"function\",\"function\":{\"name\":\"n\",\"arguments\":\"i\"}}]}]}" },
                { "createChatCompletion",
                  "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tools\":[{"
                  "\"type\":\"custom\",\"custom\":{\"name\":\"x\",\"format\":{\"type\":\"grammar\","
                  "\"grammar\":{"
                  "\"syntax\":\"lark\",\"definition\":\"x\"}}}}],\"tool_choice\":{\"type\":\"allowed_tools\","
                  "\"allowed_tools\":{\"mode\":\"auto\",\"tools\":[{\"type\":\"function\",\"function\":{"
                  "\"name\":\"f\"}}]}}}" },
        };
        for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++)
                accepts(requests[i][0], requests[i][1]);
}

/* ---- replies ---- */

#define CHUNK(rest)                                                                                     \
        "{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":" \
        "[" rest "]}"

static void test_replies(void **state)
{
        (void)state;
        accepts_flags("CreateChatCompletionStreamResponse",
                      CHUNK("{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_"
                            "reason\":null}"),
                      SCHEMA_REPLY);
        refuses_flags("CreateChatCompletionStreamResponse",
                      CHUNK("{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"type\":null}]},\"finish_"
                            "reason\":null}"),
                      SCHEMA_REPLY,
                      "Invalid type for 'choices[0].delta.tool_calls[0].type': expected one of 'function' or "
                      "'custom', "
                      "but got null instead.",
                      "choices[0].delta.tool_calls[0].type", "invalid_type");
        refuses_flags("CreateChatCompletionStreamResponse", CHUNK("{\"index\":0,\"finish_reason\":null}"),
                      SCHEMA_REPLY, "Missing required parameter: 'choices[0].delta'.", "choices[0].delta",
                      "missing_required_parameter");
        /* What a request may leave out, a reply must have. */
        refuses_flags("OutputTextContent", "{\"type\":\"output_text\",\"text\":\"a\"}", SCHEMA_REPLY,
                      "Missing required parameter: 'annotations'.", "annotations",
                      "missing_required_parameter");
        accepts_flags("ListFilesResponse",
                      "{\"object\":\"list\",\"data\":[],\"first_id\":null,\"last_id\":null,"
                      "\"has_more\":false}",
                      SCHEMA_REPLY);
        accepts_flags("Embedding", "{\"object\":\"embedding\",\"index\":0,\"embedding\":\"AAAA\"}",
                      SCHEMA_REPLY);
        accepts_flags("Embedding", "{\"object\":\"embedding\",\"index\":0,\"embedding\":[0,1.5]}",
                      SCHEMA_REPLY);
}

/* Whole replies as they stand on the wire. */
static void test_whole_replies(void **state)
{
        (void)state;
        static const char *const replies[][2] = {
                { "Response",
                  "{\"id\":\"resp_1\",\"object\":\"response\",\"created_at\":1,\"status\":\"completed\","
                  "\"completed_at\":2,\"background\":false,\"error\":null,\"incomplete_details\":null,"
                  "\"instructions\":null,\"max_output_tokens\":null,\"max_tool_calls\":null,\"model\":\"m\","
                  "\"output\":[{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\","
                  "\"status\":\"completed\",\"content\":[{\"type\":\"output_text\",\"text\":\"a\","
                  "\"annotations\":[],\"logprobs\":[{\"token\":\"a\",\"logprob\":-0.5,\"bytes\":[97],"
                  "\"top_logprobs\":[{\"token\":\"a\",\"logprob\":-0.5,\"bytes\":[97]}]}]}]}],"
                  "\"parallel_tool_calls\":true,\"previous_response_id\":null,\"conversation\":null,"
                  "\"prompt\":null,\"prompt_cache_key\":null,\"prompt_cache_retention\":null,"
                  "\"reasoning\":{\"effort\":null,\"summary\":null},\"safety_identifier\":null,"
                  "\"service_tier\":\"default\",\"store\":true,\"temperature\":1.0,\"text\":{\"format\":{"
                  "\"type\":\"text\"},\"verbosity\":\"medium\"},\"tool_choice\":\"auto\",\"tools\":[],"
                  "\"top_logprobs\":0,\"top_p\":1.0,\"truncation\":\"disabled\",\"usage\":{\"input_tokens\":"
                  "1,"
                  "\"input_tokens_details\":{\"cached_tokens\":0,\"cache_write_tokens\":0},"
                  "\"output_tokens\":1,\"output_tokens_details\":{\"reasoning_tokens\":0},"
                  "\"total_tokens\":2},\"user\":null,\"metadata\":{},\"presence_penalty\":0.0,"
                  "\"frequency_penalty\":0.0}" },
                { "Response",
                  "{\"id\":\"resp_1\",\"object\":\"response\",\"created_at\":1,\"status\":\"in_progress\","
                  "\"completed_at\":null,\"error\":null,\"incomplete_details\":null,\"instructions\":\"x\","
                  "\"model\":\"m\",\"output\":[],\"parallel_tool_calls\":true,\"temperature\":1,"
                  "\"tool_choice\":\"auto\",\"tools\":[],\"top_p\":1,\"usage\":null,\"metadata\":{},"
                  "\"user\":null,\"service_tier\":\"auto\",\"prompt_cache_retention\":null}" },
                { "ResponseStreamEvent",
                  "{\"type\":\"response.output_item.added\",\"output_index\":0,\"sequence_number\":2,"
                  "\"item\":{\"id\":\"msg_1\",\"type\":\"message\",\"status\":\"in_progress\",\"role\":"
                  "\"assistant\","
                  "\"content\":[]}}" },
                { "ResponseStreamEvent",
                  "{\"type\":\"response.content_part.added\",\"item_id\":\"msg_1\",\"output_index\":0,"
                  "\"content_index\":0,\"sequence_number\":3,\"part\":{\"type\":\"output_text\",\"text\":"
                  "\"\","
                  "\"annotations\":[],\"logprobs\":[]}}" },
                { "ResponseStreamEvent",
                  "{\"type\":\"response.output_text.delta\",\"item_id\":\"msg_1\",\"output_index\":0,"
                  "\"content_index\":0,\"sequence_number\":3,\"delta\":\"a\",\"logprobs\":[],"
                  "\"obfuscation\":\"x\"}" },
                { "CreateChatCompletionResponse",
                  "{\"id\":\"c\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"m\",\"choices\":[{"
                  "\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"a\",\"refusal\":null,"
                  "\"annotations\":[]},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{"
                  "\"prompt_tokens\":1,\"completion_tokens\":1,\"total_tokens\":2,"
                  "\"prompt_tokens_details\":{\"cached_tokens\":0,\"audio_tokens\":0},"
                  "\"completion_tokens_details\":{\"reasoning_tokens\":0,\"audio_tokens\":0,"
                  "\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}},"
                  "\"service_tier\":\"default\",\"system_fingerprint\":\"fp_1\"}" },
                { "CreateChatCompletionResponse",
                  "{\"id\":\"c\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"m\",\"choices\":[],"
                  "\"request_id\":\"req\",\"tool_choice\":null,\"tools\":null,\"seed\":null,\"top_p\":1,"
                  "\"temperature\":1,\"presence_penalty\":0,\"frequency_penalty\":0,\"input_user\":null,"
                  "\"response_format\":null,\"metadata\":{},\"service_tier\":null,"
                  "\"system_fingerprint\":null,\"user\":null}" },
                { "CreateChatCompletionStreamResponse",
                  "{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\","
                  "\"choices\":[],"
                  "\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1,\"total_tokens\":2},"
                  "\"service_tier\":null,\"system_fingerprint\":\"fp\"}" },
                { "CreateCompletionResponse",
                  "{\"id\":\"c\",\"object\":\"text_completion\",\"created\":1,\"model\":\"m\",\"choices\":[{"
                  "\"index\":0,\"text\":\"a\",\"logprobs\":{\"tokens\":[\"a\"],\"token_logprobs\":[null],"
                  "\"top_logprobs\":[null],\"text_offset\":[0]},\"finish_reason\":null}],\"usage\":null}" },
                { "CreateEmbeddingResponse",
                  "{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"index\":0,\"embedding\":"
                  "\"AAAA\"}],"
                  "\"model\":\"m\",\"usage\":{\"prompt_tokens\":1,\"total_tokens\":1}}" },
                { "ListModelsResponse",
                  "{\"object\":\"list\",\"data\":[{\"id\":\"m\",\"object\":\"model\",\"created\":1,"
                  "\"owned_by\":\"cairn\"}]}" },
                { "ResponseItemList",
                  "{\"object\":\"list\",\"data\":[{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"user\","
                  "\"status\":\"completed\",\"content\":[{\"type\":\"input_text\",\"text\":\"a\"}]},{"
                  "\"id\":\"msg_2\",\"type\":\"message\",\"role\":\"assistant\",\"status\":\"completed\","
                  "\"content\":[{\"type\":\"output_text\",\"text\":\"a\",\"annotations\":[],\"logprobs\":[]}]"
                  "},{"
                  "\"id\":\"fc_1\",\"type\":\"function_call\",\"call_id\":\"c\",\"name\":\"f\",\"arguments\":"
                  "\"{}\","
                  "\"status\":\"completed\"}],\"first_id\":\"a\",\"last_id\":\"b\",\"has_more\":false}" },
                { "ChatCompletionMessageList",
                  "{\"object\":\"list\",\"data\":[{\"id\":\"c-0\",\"role\":\"user\",\"content\":\"a\","
                  "\"name\":null,"
                  "\"content_parts\":null}],\"first_id\":\"c-0\",\"last_id\":\"c-0\",\"has_more\":false}" },
                { "ResponseItemList",
                  "{\"object\":\"list\",\"data\":[{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"user\","
                  "\"status\":\"completed\",\"content\":[{\"type\":\"input_image\",\"image_url\":\"x\","
                  "\"file_id\":null,\"detail\":\"auto\"}]}],\"first_id\":\"a\",\"last_id\":\"b\","
                  "\"has_more\":false}" },
        };
        for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++)
                accepts_flags(replies[i][0], replies[i][1], SCHEMA_REPLY);
}

static int check_reply(const char *id, int status, const char *type, const char *text)
{
        json_t *v = text ? parse(text) : NULL;
        int rc = contract_check_reply(contract_operation(id), status, type, v, NULL);
        json_decref(v);
        return rc;
}

static void test_check_reply(void **state)
{
        (void)state;
        const char *error = "{\"error\":{\"message\":\"m\",\"type\":\"t\",\"param\":null,\"code\":null}}";
        assert_int_equal(check_reply("deleteResponse", 200, "application/json",
                                     "{\"id\":\"resp_1\",\"object\":\"response\",\"deleted\":true}"),
                         0);
        assert_int_equal(check_reply("deleteResponse", 200, "application/json", "{\"id\":\"resp_1\"}"),
                         -EINVAL);
        assert_int_equal(check_reply("deleteResponse", 201, "application/json", "{}"), -EINVAL);
        assert_int_equal(check_reply("deleteResponse", 200, "text/html", NULL), -EINVAL);
        assert_int_equal(check_reply("deleteResponse", 404, "application/json", error), 0);
        assert_int_equal(check_reply("deleteResponse", 404, "application/json", "{\"error\":\"no\"}"),
                         -EINVAL);
        assert_int_equal(check_reply("createChatCompletion", 200, "text/event-stream; charset=utf-8", NULL),
                         0);
        assert_int_equal(check_reply("createEval", 200, "application/json", "{}"), -EINVAL);
        assert_int_equal(check_reply("downloadFile", 200, "application/octet-stream", NULL), 0);
        assert_int_equal(check_reply("getHealth", 200, "application/json", "{}"), 0);
}

static int check_event(const char *id, const char *event, const char *text)
{
        json_t *v = parse(text);
        int rc = contract_check_event(contract_operation(id), event, v, NULL);
        json_decref(v);
        return rc;
}

static void test_check_event(void **state)
{
        (void)state;
        const char *delta = "{\"type\":\"response.output_text.delta\",\"item_id\":\"m\",\"output_index\":0,"
                            "\"content_index\":0,\"delta\":\"x\",\"sequence_number\":4,\"logprobs\":[]}";
        assert_int_equal(check_event(RESPONSE, "response.output_text.delta", delta), 0);
        assert_int_equal(check_event("getResponse", "response.output_text.delta", delta), 0);
        assert_int_equal(
                check_event(RESPONSE, "x", "{\"type\":\"response.cancelled\",\"sequence_number\":1}"),
                -EINVAL);
        assert_int_equal(check_event(CHAT, NULL,
                                     "{\"error\":{\"message\":\"m\",\"type\":\"t\",\"param\":null,"
                                     "\"code\":null}}"),
                         0);
        assert_int_equal(check_event(CHAT, NULL, CHUNK("")), 0);
        assert_int_equal(check_event("createRun", "thread.run.created", "{\"id\":\"run_1\"}"), -EINVAL);
        assert_int_equal(check_event("createRun", "done", "\"[DONE]\""), 0);
        assert_int_equal(check_event("createEmbedding", NULL, "{}"), -EINVAL);
}

/* ---- hostile values ---- */

static void test_depth(void **state)
{
        (void)state;
        struct buf b;
        struct schema_err err;
        buf_init(&b, 1 << 20);
        for (int i = 0; i < 900; i++)
                buf_adds(&b, "{\"type\":\"and\",\"filters\":[");
        for (int i = 0; i < 900; i++)
                buf_adds(&b, "]}");
        json_t *v = parse(b.p);
        assert_int_equal(schema_check(contract_schema("CompoundFilter"), v, SCHEMA_CREATE, &err), -EINVAL);
        assert_string_equal(err.code, "invalid_value");
        assert_non_null(strstr(err.msg, "nested too deeply"));
        json_decref(v);
        buf_release(&b);
}

static void test_long_values_are_cut(void **state)
{
        (void)state;
        struct buf b;
        struct schema_err err;
        buf_init(&b, 1 << 20);
        buf_adds(&b, "{\"");
        for (int i = 0; i < 500; i++)
                buf_adds(&b, "é");
        buf_adds(&b, "\":1}");
        assert_int_equal(check_text("createEmbedding", b.p, SCHEMA_CREATE, &err), -EINVAL);
        assert_true(strlen(err.param) < SCHEMA_PARAM_MAX);
        assert_true(str_is_utf8(str_c(err.param)));
        assert_true(str_is_utf8(str_c(err.msg)));
        buf_release(&b);
        assert_int_equal(check_text("createEmbedding",
                                    "{\"model\":\"m\",\"input\":\"a\",\"encoding_format\":\"x\\u0000y\"}",
                                    SCHEMA_CREATE, &err),
                         -EINVAL);
}

static void test_nothing(void **state)
{
        (void)state;
        struct schema_err err;
        assert_int_equal(schema_check(schema_named(CHAT), NULL, SCHEMA_CREATE, &err), -EINVAL);
        assert_string_equal(err.msg, "Invalid type for the body: expected an object, but got null instead.");
        assert_int_equal(schema_check(NULL, NULL, SCHEMA_CREATE, &err), 0);
}

static int setup(void **state)
{
        (void)state;
        json_setup();
        return 0;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_wrong_type),
                cmocka_unit_test(test_missing),
                cmocka_unit_test(test_unknown),
                cmocka_unit_test(test_values),
                cmocka_unit_test(test_ranges),
                cmocka_unit_test(test_lengths),
                cmocka_unit_test(test_metadata),
                cmocka_unit_test(test_null),
                cmocka_unit_test(test_unions),
                cmocka_unit_test(test_input_items),
                cmocka_unit_test(test_framework_bodies),
                cmocka_unit_test(test_replies),
                cmocka_unit_test(test_whole_replies),
                cmocka_unit_test(test_whole_requests),
                cmocka_unit_test(test_check_reply),
                cmocka_unit_test(test_check_event),
                cmocka_unit_test(test_depth),
                cmocka_unit_test(test_nothing),
                cmocka_unit_test(test_long_values_are_cut),
        };
        return cmocka_run_group_tests(tests, setup, NULL);
}
