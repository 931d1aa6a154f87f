"""What a request with tools, formats or a prediction must not say: 400 with the field, before the first token,
streamed or not. Scenarios 13, 20, 29-32, 43, 45 and 55 of the conformance list, as far as they are errors."""
import openai
import pytest

from cairn_server import MODEL
from support import chat_body, check_error, response_body, user

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
EMPTY = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}


def chat_tool(name="f", parameters=None, **extra):
    return {"type": "function", "function": {"name": name, "parameters": parameters or EMPTY, **extra}}


def flat_tool(name="f", parameters=None, **extra):
    return {"type": "function", "name": name, "parameters": parameters or EMPTY, **extra}


CHAT_CASES = [
    ({"tools": [chat_tool(), chat_tool()]}, "tools[1].function.name", "invalid_value", "more than one tool"),
    ({"tools": [chat_tool("not a name")]}, "tools[0].function.name", "invalid_value", None),
    ({"tools": [chat_tool("x" * 65)]}, "tools[0].function.name", "string_above_max_length", None),
    ({"tools": [chat_tool(f"f{i}") for i in range(129)]}, "tools", "array_above_max_length", "129"),
    ({"tools": [chat_tool(parameters={"type": "string"})]}, "tools[0].function.parameters",
     "invalid_function_parameters", "Invalid schema for function 'f': schema must be a JSON Schema of "
     "'type: \"object\"', got 'type: \"string\"'."),
    ({"tools": [chat_tool()], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice", None,
     "'g' not found in 'tools'"),
    ({"tools": [chat_tool()], "tool_choice": {"type": "custom", "custom": {"name": "f"}}}, "tool_choice", None,
     "'f' not found in 'tools'"),
    ({"tools": [chat_tool()], "tool_choice": {"type": "allowed_tools", "allowed_tools": {
        "mode": "auto", "tools": [{"type": "function", "function": {"name": "g"}}]}}}, "tool_choice", None,
     "'g' not found in 'tools'"),
    ({"tools": [chat_tool()], "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}},
     "tool_choice.allowed_tools.tools", "empty_array", None),
    ({"tool_choice": "required"}, "tool_choice", None, "only allowed when 'tools' are specified"),
    ({"parallel_tool_calls": False}, "parallel_tool_calls", None, "only allowed when 'tools' are specified"),
    ({"function_call": {"name": "f"}}, "function_call", None, "only allowed when 'functions' are specified"),
    ({"functions": [{"name": "f"}], "tools": [chat_tool()]}, "functions", "invalid_parameter_combination", None),
    ({"functions": [{"name": "f"}], "function_call": {"name": "g"}}, "function_call", None, "'g' not found"),
    ({"response_format": {"type": "json_object"}}, "messages", None,
     "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "missing_required_parameter", None),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "a b", "schema": EMPTY}}},
     "response_format.json_schema.name", "invalid_value", None),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "a", "strict": True}}},
     "response_format.json_schema.schema", "missing_required_parameter", None),
    ({"response_format": {"type": "json_schema", "schema": EMPTY, "json_schema": {"name": "a"}}},
     "response_format.schema", "unknown_parameter", None),
    ({"prediction": {"type": "content", "content": "x"}, "n": 2}, "n", "unsupported_parameter", "'prediction'"),
    ({"prediction": {"type": "content", "content": "x"}, "logprobs": True}, "logprobs", "unsupported_parameter", None),
    ({"prediction": {"type": "content", "content": "x"}, "tools": [chat_tool()]}, "tools", "unsupported_parameter",
     None),
    ({"prediction": {"type": "content", "content": "x"}, "presence_penalty": 1}, "presence_penalty",
     "unsupported_parameter", None),
    ({"prediction": {"type": "content", "content": "x"}, "max_completion_tokens": 9}, "max_completion_tokens",
     "unsupported_parameter", None),
]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("change, param, code, message", CHAT_CASES, ids=[str(i) for i in range(len(CHAT_CASES))])
def test_s29_chat_says_what_is_wrong(wire, change, param, code, message, stream):
    reply = wire.post(CHAT, json={**chat_body(), **change, "stream": stream})
    check_error(reply, 400, param=param, code=code, message=message)


RESPONSES_CASES = [
    ({"tools": [flat_tool(), flat_tool()]}, "tools[1].name", "invalid_value", "more than one tool"),
    ({"tools": [flat_tool(parameters={"type": "array"})]}, "tools[0].parameters", "invalid_function_parameters",
     "got 'type: \"array\"'"),
    ({"tools": [flat_tool(), {"type": "file_search", "vector_store_ids": ["vs_1"]}]}, "tools[1].type",
     "unsupported_value", "'file_search'"),
    ({"tools": [flat_tool(defer_loading=True)]}, "tools[0].defer_loading", "unsupported_parameter", None),
    ({"tools": [flat_tool(output_schema=EMPTY)]}, "tools[0].output_schema", "unsupported_parameter", None),
    ({"tools": [flat_tool()], "tool_choice": {"type": "function", "name": "g"}}, "tool_choice", None, "'g' not found"),
    ({"tools": [flat_tool()], "tool_choice": {"type": "file_search"}}, "tool_choice", None, "'file_search' not found"),
    ({"tools": [flat_tool()], "tool_choice": {"type": "allowed_tools", "mode": "auto",
                                              "tools": [{"type": "custom", "name": "f"}]}}, "tool_choice", None,
     "'f' not found"),
    ({"tool_choice": "required"}, "tool_choice", None, "only allowed when 'tools' are specified"),
    ({"text": {"format": {"type": "json_object"}}}, "input", None, "must contain the word 'json'"),
    ({"text": {"format": {"type": "json_schema", "name": "a"}}}, "text.format.schema", "missing_required_parameter",
     None),
    ({"input": [{"type": "function_call_output", "call_id": "call_9", "output": "42"}]}, "input", None,
     "No tool call found for function call output with call_id call_9."),
    ({"input": [{"type": "function_call", "call_id": "call_9", "name": "f", "arguments": "{}"}]}, "input", None,
     "No tool output found for function call call_9."),
    ({"reasoning": {"mode": "pro"}}, "reasoning.mode", "unsupported_parameter", None),
    ({"reasoning": {"context": "all_turns"}}, "reasoning.context", "unsupported_parameter", None),
    ({"input": [{"type": "function_call_output", "output": "42"}]}, "input[0].call_id", "missing_required_parameter",
     None),
    ({"input": [{"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "Zm9yZ2VkIQ=="}]},
     "input[0].encrypted_content", "invalid_encrypted_content", "could not be verified"),
    ({"input": [{"type": "web_search_call", "id": "ws_1", "status": "completed",
                 "action": {"type": "search", "query": "x"}}]}, "input[0].type", "unsupported_value", None),
]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("change, param, code, message", RESPONSES_CASES,
                         ids=[str(i) for i in range(len(RESPONSES_CASES))])
def test_s30_responses_say_what_is_wrong(wire, change, param, code, message, stream):
    reply = wire.post(RESPONSES, json={**response_body(), **change, "stream": stream})
    check_error(reply, 400, param=param, code=code, message=message)


def test_s30_counting_refuses_the_same(wire):
    reply = wire.post(RESPONSES + "/input_tokens", json={"model": MODEL, "input": "x", "tools": [flat_tool(), flat_tool()]})
    check_error(reply, 400, param="tools[1].name", code="invalid_value")


def test_s43_reasoning_that_was_not_stored(wire):
    reply = wire.post(RESPONSES, json=response_body([{"type": "reasoning", "id": "rs_0123", "summary": []}]))
    check_error(reply, 404, param="input", message="Item with id 'rs_0123' not found. Items are not persisted when "
                "`store` is set to false.")


CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize("messages, param, message", [
    ([{"role": "assistant", "tool_calls": [CALL]}, *user("x")], "messages.[0].role",
     "did not have response messages: call_1"),
    ([*user("x"), {"role": "tool", "tool_call_id": "call_1", "content": "1"}], "messages.[1].role",
     "must be a response to a preceding message with 'tool_calls'"),
    ([{"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "call_2", "content": "1"}],
     "messages.[1].tool_call_id", "'call_2' not found"),
])
def test_s06_results_belong_to_calls(wire, messages, param, message):
    check_error(wire.post(CHAT, json={"model": MODEL, "messages": messages}), 400, param=param, message=message)


def test_s29_the_sdk_raises(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**chat_body(), tools=[chat_tool(), chat_tool()])
    assert caught.value.param == "tools[1].function.name"
