"""Tools and structured output in Chat Completions: scenarios 6, 7, 20, 29, 31, 63 and 65 of the conformance list. The
model need not be good at it: what it may write is held to by construction."""
import json
import re
from typing import Literal

import openai
import pytest
from pydantic import BaseModel

from cairn_server import MODEL
from support import chat_body, chat_chunks, check_error, chunk_text, endless, user
from tools import (ANSWER, CODE, CODE_PATTERN, SUMS, SUMS_PATTERN, WEATHER, chat_custom, chat_function, check_answer,
                   check_arguments)

CHAT = "/v1/chat/completions"
ASK = "What is the weather like in Paris?"
TOOLS = [chat_function("get_weather"), chat_function("set_alarm")]
CALL_ID = re.compile(r"^call_[A-Za-z0-9]{24}$")
FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": ANSWER}}


def ask(**extra):
    return chat_body(ASK, **{"tools": TOOLS, "max_completion_tokens": 200, **extra})


def create(wire, body):
    reply = wire.post(CHAT, json=body)
    assert reply.status_code == 200, reply.text
    return reply.json()


def check_call(call):
    assert set(call) == {"id", "type", "function"} and call["type"] == "function"
    assert CALL_ID.match(call["id"])
    assert set(call["function"]) == {"name", "arguments"}
    check_arguments(call["function"]["name"], call["function"]["arguments"])


def test_s06_a_call_and_its_result(wire, client):
    body = ask(tool_choice="required", parallel_tool_calls=False)
    choice = create(wire, body)["choices"][0]
    message = choice["message"]
    assert choice["finish_reason"] == "tool_calls"
    assert message["content"] is None and message["refusal"] is None and message["role"] == "assistant"
    call, = message["tool_calls"]
    check_call(call)
    again = {**body, "tool_choice": "none", "messages": body["messages"] + [message, {
        "role": "tool", "tool_call_id": call["id"], "content": "sunny, 20 degrees"}]}
    assert create(wire, again)["choices"][0]["message"]["role"] == "assistant"
    sdk = client.chat.completions.create(**body)
    answered = client.chat.completions.create(**{**body, "tool_choice": "none", "messages": [
        *body["messages"], sdk.choices[0].message,
        {"role": "tool", "tool_call_id": sdk.choices[0].message.tool_calls[0].id,
         "content": [{"type": "text", "text": "sunny"}]}]})
    assert answered.choices[0].finish_reason in ("stop", "length")


def test_s06_several_results_in_any_order(wire):
    calls = [{"id": f"call_{i}", "type": "function", "function": {"name": "get_weather", "arguments": json.dumps(
        {"city": city, "unit": "c"})}} for i, city in enumerate(("Paris", "Rome"))]
    results = [{"role": "tool", "tool_call_id": f"call_{i}", "content": f"{i} degrees"} for i in (1, 0)]
    body = ask(tool_choice="none", messages=[*user(ASK), {"role": "assistant", "content": "", "tool_calls": calls},
                                             *results])
    assert create(wire, body)["choices"][0]["message"]["content"] is not None


def test_s07_a_streamed_call(wire, client):
    body = ask(tool_choice="required", parallel_tool_calls=False)
    chunks = chat_chunks(wire, body)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": None, "refusal": None}
    calls = [delta["tool_calls"] for delta in deltas if "tool_calls" in delta]
    assert calls and all(len(entries) == 1 for entries in calls)
    first, rest = calls[0][0], [entries[0] for entries in calls[1:]]
    assert set(first) == {"index", "id", "type", "function"} and first["index"] == 0
    assert first["type"] == "function" and CALL_ID.match(first["id"])
    assert set(first["function"]) == {"name", "arguments"} and first["function"]["arguments"] == ""
    for entry in rest:
        assert set(entry) == {"index", "function"} and entry["index"] == 0 and set(entry["function"]) == {"arguments"}
    assert len(rest) > 1, "arguments come in one piece"
    arguments = "".join(entry["function"]["arguments"] for entry in rest)
    check_arguments(first["function"]["name"], arguments)
    assert deltas[-1] == {} and chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
    whole = create(wire, body)["choices"][0]["message"]["tool_calls"][0]["function"]
    assert whole == {"name": first["function"]["name"], "arguments": arguments}
    with client.chat.completions.stream(**body) as stream:
        done = [event for event in stream if event.type == "tool_calls.function.arguments.done"]
        final = stream.get_final_completion()
    assert [(event.name, event.arguments) for event in done] == [(whole["name"], arguments)]
    assert final.choices[0].message.tool_calls[0].function.parsed_arguments == json.loads(arguments)


def test_s07_many_streamed_calls(wire):
    """A model that cannot end its turn calls until its limit: indices 0, 1, 2... one after another."""
    chunks = chat_chunks(wire, ask(tool_choice="required", logit_bias=endless(), stream_options={
        "include_usage": True}))
    entries = [entry for chunk in chunks[:-1] for entry in chunk["choices"][0]["delta"].get("tool_calls", [])]
    begun = [entry for entry in entries if "id" in entry]
    assert [entry["index"] for entry in begun] == list(range(len(begun))) and len(begun) >= 2
    assert len({entry["id"] for entry in begun}) == len(begun)
    order = [entry["index"] for entry in entries]
    assert order == sorted(order)
    assert chunks[-2]["choices"][0]["finish_reason"] == "length"
    for index in range(len(begun) - 1):
        text = "".join(entry["function"].get("arguments", "") for entry in entries if entry["index"] == index)
        check_arguments(begun[index]["function"]["name"], text)


@pytest.mark.parametrize("choice, names", [
    ("required", {"get_weather", "set_alarm"}),
    ({"type": "function", "function": {"name": "set_alarm"}}, {"set_alarm"}),
    ({"type": "function", "function": {"name": "get_weather"}}, {"get_weather"}),
    ({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [
        {"type": "function", "function": {"name": "set_alarm"}}]}}, {"set_alarm"}),
])
def test_s29_choices_that_call(wire, choice, names):
    for seed in range(3):
        made = create(wire, ask(tool_choice=choice, seed=seed, temperature=1, parallel_tool_calls=False))["choices"][0]
        assert made["finish_reason"] == "tool_calls"
        call, = made["message"]["tool_calls"]
        check_call(call)
        assert call["function"]["name"] in names


def test_s29_none_never_calls(wire):
    for seed in range(4):
        made = create(wire, ask(tool_choice="none", seed=seed, temperature=1.5, max_completion_tokens=60))["choices"][0]
        assert "tool_calls" not in made["message"] and isinstance(made["message"]["content"], str)
        assert made["finish_reason"] in ("stop", "length")


def test_s29_auto_calls_or_speaks(wire):
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [
        {"type": "function", "function": {"name": "set_alarm"}}]}}
    for choice in ("auto", None, allowed):
        for seed in range(3):
            made = create(wire, ask(tool_choice=choice, seed=seed, temperature=1))["choices"][0]
            calls = made["message"].get("tool_calls", [])
            if made["finish_reason"] != "length":
                assert made["finish_reason"] == ("tool_calls" if calls else "stop")
                for call in calls:
                    check_call(call)
            if choice is allowed:
                assert all(call["function"]["name"] == "set_alarm" for call in calls)


def test_s31_parallel_calls_on_and_off(wire):
    many = create(wire, ask(tool_choice="required", logit_bias=endless()))["choices"][0]["message"]["tool_calls"]
    assert len(many) >= 2 and len({call["id"] for call in many}) == len(many)
    for seed in range(3):
        one = create(wire, ask(tool_choice="required", parallel_tool_calls=False, temperature=1.5, seed=seed))
        assert len(one["choices"][0]["message"]["tool_calls"]) == 1


def test_s29_arguments_without_strict(wire):
    """Not strict is held to the schema all the same, as far as that goes; no parameters are an empty object."""
    loose = chat_function("get_weather", strict=False)
    loose["function"]["parameters"] = {**WEATHER, "additionalProperties": True}
    made = create(wire, ask(tools=[loose], tool_choice="required", parallel_tool_calls=False))["choices"][0]
    assert json.loads(made["message"]["tool_calls"][0]["function"]["arguments"])["city"] in ("Paris", "Rome", "Oslo")
    bare = {"type": "function", "function": {"name": "ping"}}
    made = create(wire, ask(tools=[bare], tool_choice="required", parallel_tool_calls=False))["choices"][0]
    assert json.loads(made["message"]["tool_calls"][0]["function"]["arguments"]) == {}


def test_s29_legacy_functions(wire, client):
    functions = [{key: tool["function"][key] for key in ("name", "description", "parameters")} for tool in TOOLS]
    body = chat_body(ASK, functions=functions, function_call={"name": "get_weather"})
    choice = create(wire, body)["choices"][0]
    assert choice["finish_reason"] == "function_call" and "tool_calls" not in choice["message"]
    call = choice["message"]["function_call"]
    assert call["name"] == "get_weather"
    check_arguments(call["name"], call["arguments"])
    deltas = [chunk["choices"][0]["delta"] for chunk in chat_chunks(wire, body)]
    parts = [delta["function_call"] for delta in deltas if "function_call" in delta]
    assert parts[0] == {"name": "get_weather", "arguments": ""} and all(set(part) == {"arguments"} for part in parts[1:])
    assert "".join(part["arguments"] for part in parts) == call["arguments"]
    body["messages"] += [choice["message"], {"role": "function", "name": "get_weather", "content": "sunny"}]
    assert client.chat.completions.create(**{**body, "function_call": "none"}).choices[0].message.content is not None


def test_s68_several_choices_with_tools(wire):
    made = create(wire, ask(tool_choice="required", parallel_tool_calls=False, n=3, temperature=1))
    ids = set()
    for choice in made["choices"]:
        assert choice["finish_reason"] == "tool_calls"
        call, = choice["message"]["tool_calls"]
        check_call(call)
        ids.add(call["id"])
    assert len(ids) == 3


def test_s69_logprobs_with_tools(wire):
    choice = create(wire, ask(tool_choice="required", parallel_tool_calls=False, logprobs=True))["choices"][0]
    assert choice["logprobs"]["refusal"] is None and not choice["logprobs"]["content"]
    choice = create(wire, ask(tool_choice="none", logprobs=True, max_completion_tokens=20))["choices"][0]
    joined = bytes(b for token in choice["logprobs"]["content"] for b in token["bytes"])
    assert joined.decode(errors="ignore").startswith(choice["message"]["content"])


# ---- structured output ----

class Answer(BaseModel):
    verdict: Literal["yes", "no"]
    score: Literal[1, 2, 3]


def test_s20_json_schema(wire):
    for seed in range(3):
        body = chat_body("Is it true?", response_format=FORMAT, temperature=1, seed=seed)
        choice = create(wire, body)["choices"][0]
        check_answer(choice["message"]["content"])
        assert choice["finish_reason"] == "stop"
        assert chunk_text(chat_chunks(wire, body)) == choice["message"]["content"]


def test_s20_parse_helpers(client):
    made = client.chat.completions.parse(**chat_body("Is it true?"), response_format=Answer)
    assert isinstance(made.choices[0].message.parsed, Answer)
    with client.chat.completions.stream(**chat_body("Is it true?"), response_format=Answer) as stream:
        parsed = stream.get_final_completion().choices[0].message.parsed
    assert parsed == made.choices[0].message.parsed


def test_s20_pydantic_function_tools(client):
    class Look(BaseModel):
        """Looks somewhere."""
        where: Literal["up", "down"]

    made = client.chat.completions.parse(**chat_body(ASK), tools=[openai.pydantic_function_tool(Look)],
                                         tool_choice="required")
    assert isinstance(made.choices[0].message.tool_calls[0].function.parsed_arguments, Look)


def test_s20_keys_that_zod_adds_are_tolerated(wire):
    schema = {"$schema": "http://json-schema.org/draft-07/schema#", **ANSWER}
    spec = {"name": "answer", "strict": True, "schema": schema, "description": "What is right."}
    made = create(wire, chat_body("Is it true?", response_format={"type": "json_schema", "json_schema": spec}))
    check_answer(made["choices"][0]["message"]["content"])


def test_s20_json_object(wire):
    """An object in any case; only a limit can leave it unfinished."""
    for seed in range(3):
        choice = create(wire, chat_body("Answer in JSON.", response_format={"type": "json_object"}, temperature=1,
                                        seed=seed, max_completion_tokens=120))["choices"][0]
        assert choice["message"]["content"].lstrip().startswith("{")
        if choice["finish_reason"] == "stop":
            assert isinstance(json.loads(choice["message"]["content"]), dict)


def test_s20_a_limit_cuts(wire, client):
    body = chat_body("Is it true?", response_format=FORMAT, max_completion_tokens=3)
    choice = create(wire, body)["choices"][0]
    assert choice["finish_reason"] == "length"
    with pytest.raises(json.JSONDecodeError):
        json.loads(choice["message"]["content"])
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(**chat_body("Is it true?", max_completion_tokens=3), response_format=Answer)


def test_s20_format_and_tools_together(wire):
    made = create(wire, ask(response_format=FORMAT, tool_choice="none"))["choices"][0]
    check_answer(made["message"]["content"])
    made = create(wire, ask(response_format=FORMAT, tool_choice="required", parallel_tool_calls=False))["choices"][0]
    check_call(made["message"]["tool_calls"][0])


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_s20_schemas_that_are_not_strict_or_not_supported(wire, stream):
    loose = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    bad = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": loose}}
    check_error(wire.post(CHAT, json=chat_body(response_format=bad, stream=stream)), 400, param="response_format",
                message=re.compile("^Invalid schema for response_format 'answer': .*'additionalProperties' is required "
                                   "to be supplied and to be false"))
    missing = {**loose, "additionalProperties": False, "required": []}
    bad = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": missing}}
    check_error(wire.post(CHAT, json=chat_body(response_format=bad, stream=stream)), 400, param="response_format",
                message=re.compile("'required' is required to be supplied and to be an array including every key in "
                                   "properties. Missing 'a'"))
    tool = {"type": "function", "function": {"name": "f", "parameters": loose, "strict": True}}
    check_error(wire.post(CHAT, json=chat_body(tools=[chat_function("get_weather"), tool], stream=stream)), 400,
                param="tools[1].function.parameters", code="invalid_function_parameters",
                message="Invalid schema for function 'f': In context=(), 'additionalProperties' is required")


# ---- custom tools ----

@pytest.mark.parametrize("grammar, pattern", [(CODE, CODE_PATTERN), (SUMS, SUMS_PATTERN)], ids=["regex", "lark"])
def test_s63_custom_tools(wire, grammar, pattern):
    body = chat_body(ASK, tools=[chat_custom("run", grammar)], tool_choice={"type": "custom", "custom": {"name": "run"}},
                     parallel_tool_calls=False, temperature=1)
    choice = create(wire, body)["choices"][0]
    call, = choice["message"]["tool_calls"]
    assert set(call) == {"id", "type", "custom"} and call["type"] == "custom" and choice["finish_reason"] == "tool_calls"
    assert call["custom"]["name"] == "run" and re.fullmatch(pattern, call["custom"]["input"]), call
    entries = [entry for chunk in chat_chunks(wire, body)
               for entry in chunk["choices"][0]["delta"].get("tool_calls", [])]
    assert entries[0]["type"] == "custom" and entries[0]["custom"] == {"name": "run", "input": ""}
    assert "".join(entry["custom"]["input"] for entry in entries) == call["custom"]["input"]
    assert all(set(entry) == {"index", "custom"} for entry in entries[1:])
    follow = {**body, "tool_choice": "none", "max_completion_tokens": 20, "messages": body["messages"] + [
        choice["message"], {"role": "tool", "tool_call_id": call["id"], "content": "done"}]}
    assert create(wire, follow)["choices"][0]["finish_reason"] in ("stop", "length")


def test_s63_custom_text_and_functions_together(wire):
    body = ask(tools=[chat_custom("note"), chat_function("set_alarm")], tool_choice="required", temperature=1,
               max_completion_tokens=60)
    for seed in range(4):
        choice = create(wire, {**body, "seed": seed})["choices"][0]
        for call in choice["message"]["tool_calls"]:
            assert call["type"] == ("custom" if "custom" in call else "function")


@pytest.mark.parametrize("grammar", [{"syntax": "regex", "definition": "(unclosed"},
                                     {"syntax": "lark", "definition": "start: missing_rule"}], ids=["regex", "lark"])
def test_s63_bad_grammars(wire, grammar):
    check_error(wire.post(CHAT, json=chat_body(tools=[chat_custom("run", grammar)], stream=True)), 400,
                param="tools[0].custom.format.grammar.definition", code="invalid_grammar", message="'run'")


# ---- refusals and what clients echo ----

def test_s65_refusals_can_be_sent_back(wire, client):
    refusal = "I cannot do that."
    forms = [{"role": "assistant", "content": None, "refusal": refusal},
             {"role": "assistant", "content": [{"type": "refusal", "refusal": refusal}]},
             {"role": "assistant", "content": refusal}]
    tokens = {create(wire, {"model": MODEL, "messages": [*user("Do it."), form, *user("Why?")], "temperature": 0,
                            "max_completion_tokens": 8})["usage"]["prompt_tokens"] for form in forms}
    assert len(tokens) == 1, "the model is shown something else"
    assert client.chat.completions.create(**chat_body()).choices[0].message.refusal is None


def test_s89_stored_calls_can_be_listed(wire, client):
    body = ask(tool_choice="required", parallel_tool_calls=False, store=True)
    first = client.chat.completions.create(**body)
    message = first.choices[0].message
    second = client.chat.completions.create(**{**body, "tool_choice": "none", "max_completion_tokens": 8, "messages": [
        *body["messages"], message, {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "sunny"}]})
    listed = wire.get(f"{CHAT}/{second.id}/messages").json()["data"]
    assert [entry["role"] for entry in listed] == ["user", "assistant", "tool"]
    assert listed[1]["tool_calls"][0]["id"] == listed[2]["tool_call_id"] == message.tool_calls[0].id
    kept = client.chat.completions.retrieve(first.id)
    assert kept.choices[0].message.tool_calls[0].function.name == message.tool_calls[0].function.name
