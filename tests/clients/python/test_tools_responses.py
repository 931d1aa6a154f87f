"""Tools, structured output and what is echoed of them in Responses: scenarios 12-14, 21, 30, 31, 45, 54, 55, 63, 65
and 66 of the conformance list."""
import json
import re
from typing import Literal

import pytest
from pydantic import BaseModel

from cairn_server import MODEL, Server, http_json
from support import check_error, response_body, response_events, user
from tools import (ANSWER, CODE, CODE_PATTERN, SUMS, SUMS_PATTERN, check_answer, check_arguments, custom, function)

RESPONSES = "/v1/responses"
ASK = "What is the weather like in Paris?"
TOOLS = [function("get_weather"), function("set_alarm")]
FORMAT = {"type": "json_schema", "name": "answer", "strict": True, "schema": ANSWER}


def ask(input_=ASK, **extra):
    return response_body(input_, **{"tools": TOOLS, "tool_choice": "required", "parallel_tool_calls": False, **extra})


def create(wire, body):
    reply = wire.post(RESPONSES, json=body)
    assert reply.status_code == 200, reply.text
    return reply.json()


def check_call(item, status="completed"):
    assert set(item) == {"id", "type", "status", "call_id", "name", "arguments"}
    assert item["type"] == "function_call" and item["status"] == status
    assert item["id"].startswith("fc_") and item["call_id"].startswith("call_") and len(item["call_id"]) <= 64
    return check_arguments(item["name"], item["arguments"])


def output_of(call, text="sunny"):
    return {"type": "function_call_output", "call_id": call["call_id"], "output": text}


def test_s12_a_call(wire, client):
    made = create(wire, ask())
    assert made["status"] == "completed"
    call, = made["output"]
    check_call(call)
    assert create(wire, ask())["output"][0]["arguments"] == call["arguments"]
    sdk = client.responses.create(**ask())
    assert sdk.output[0].type == "function_call" and sdk.output_text == ""
    assert wire.get(f"{RESPONSES}/{made['id']}").json() == made


def test_s12_a_streamed_call(wire, client):
    events = response_events(wire, ask())
    types = [event["type"] for event in events]
    deltas = types.count("response.function_call_arguments.delta")
    assert deltas > 1
    assert types == (["response.created", "response.in_progress", "response.output_item.added"]
                     + ["response.function_call_arguments.delta"] * deltas
                     + ["response.function_call_arguments.done", "response.output_item.done", "response.completed"])
    added, done, item = events[2]["item"], events[-3], events[-2]["item"]
    assert added["arguments"] == "" and added["status"] == "in_progress"
    assert added["id"] == item["id"] and added["call_id"] == item["call_id"] and added["name"] == item["name"]
    for event in events[3:-2]:
        assert event["item_id"] == item["id"] and event["output_index"] == 0
    text = "".join(event["delta"] for event in events if "delta" in event)
    assert done["arguments"] == text == item["arguments"] and done["name"] == item["name"]
    check_call(item)
    assert events[-1]["response"]["output"] == [item]
    with client.responses.stream(**ask()) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[-1] == "response.completed"
    assert final.output[0].arguments == text and final.output[0].parsed_arguments == json.loads(text)


def test_s13_roundtrip_by_previous_response(wire, client):
    first = create(wire, ask())
    second = create(wire, response_body([output_of(first["output"][0])], previous_response_id=first["id"]))
    assert second["status"] in ("completed", "incomplete") and second["output"][-1]["type"] == "message"
    assert second["tools"] == [] and second["tool_choice"] == "auto", "tools are not inherited"
    inherited = wire.get(f"{RESPONSES}/{second['id']}/input_items", params={"order": "asc"}).json()["data"]
    assert [item["type"] for item in inherited] == ["message", "function_call", "function_call_output"]
    assert inherited[1] == first["output"][0] and inherited[2]["id"].startswith("fco_")
    check_error(wire.post(RESPONSES, json=response_body("And now?", previous_response_id=first["id"])), 400,
                param="input", message=f"No tool output found for function call {first['output'][0]['call_id']}.")
    check_error(wire.post(RESPONSES, json=response_body([{**output_of(first["output"][0]), "call_id": "call_x"}],
                                                        previous_response_id=first["id"])), 400, param="input",
                message="No tool call found for function call output with call_id call_x.")


def test_s14_stateless_roundtrip(wire, client):
    first = create(wire, ask(store=False))
    call = first["output"][0]
    said = [*user(ASK), *first["output"], output_of(call)]
    second = create(wire, response_body(said, store=False))
    by_reference = create(wire, ask())
    assert second["output"][-1]["type"] == "message"
    forms = [[*user(ASK), {key: call[key] for key in ("type", "call_id", "name", "arguments")}, output_of(call)],
             [*user(ASK), {**call, "status": None, "parsed_arguments": {}}, output_of(call)],
             [*user(ASK), {**call, "id": "FAKE_ID"}, {**output_of(call), "id": "FAKE_ID", "status": "completed"}],
             [*user(ASK), call, {**output_of(call), "output": [{"type": "input_text", "text": "sunny"}]}]]
    for form in forms:
        again = create(wire, response_body(form, store=False))
        assert again["usage"]["input_tokens"] == second["usage"]["input_tokens"], form
        assert again["output"][-1]["content"][0]["text"] == second["output"][-1]["content"][0]["text"], form
    stored = by_reference["output"][0]
    again = create(wire, response_body([*user(ASK), {"type": "item_reference", "id": stored["id"]}, output_of(stored)]))
    assert again["output"][-1]["type"] == "message"
    sdk = client.responses.create(**ask())
    follow = client.responses.create(model=MODEL, input=[*user(ASK), *sdk.output, output_of(sdk.output[0].model_dump())])
    assert follow.output[-1].type == "message"


def calls_of_two():
    """A turn with two calls, as input items."""
    return [*user(ASK), *({"type": "function_call", "call_id": f"call_{i}", "name": "get_weather", "arguments": json.dumps(
        {"city": city, "unit": "c"})} for i, city in enumerate(("Paris", "Rome")))]


def test_s45_several_outputs(wire):
    turn = calls_of_two()
    outputs = [{"type": "function_call_output", "call_id": f"call_{i}", "output": f"{i} degrees"} for i in (0, 1)]
    assert create(wire, response_body(turn + outputs))["output"][-1]["type"] == "message"
    assert create(wire, response_body(turn + outputs[::-1]))["output"][-1]["type"] == "message"
    check_error(wire.post(RESPONSES, json=response_body(turn + outputs[:1])), 400, param="input",
                message="No tool output found for function call call_1.")


@pytest.mark.parametrize("choice, names", [
    ("required", {"get_weather", "set_alarm"}),
    ({"type": "function", "name": "set_alarm"}, {"set_alarm"}),
    ({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "get_weather"}]},
     {"get_weather"}),
])
def test_s30_choices_that_call(wire, choice, names):
    for _ in range(3):
        made = create(wire, ask(tool_choice=choice, temperature=1))
        call, = made["output"]
        check_call(call)
        assert call["name"] in names and made["tool_choice"] == choice


def test_s30_none_and_auto(wire):
    for _ in range(3):
        made = create(wire, ask(tool_choice="none", temperature=1.5, max_output_tokens=40))
        assert [item["type"] for item in made["output"]] == ["message"]
        allowed = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "set_alarm"}]}
        made = create(wire, ask(tool_choice=allowed, temperature=1, max_output_tokens=200))
        assert {item["name"] for item in made["output"] if item["type"] == "function_call"} <= {"set_alarm"}


def test_s31_a_call_that_is_cut_off(wire):
    """Status incomplete down to the item; and nobody has to answer it."""
    body = ask(max_output_tokens=16, parallel_tool_calls=True)
    body["tools"] = [{**TOOLS[0], "strict": False, "parameters": {
        "type": "object", "properties": {"text": {"type": "string", "minLength": 500}}, "required": ["text"]}}]
    made = create(wire, body)
    assert made["status"] == "incomplete" and made["incomplete_details"] == {"reason": "max_output_tokens"}
    assert made["output"][-1]["type"] == "function_call" and made["output"][-1]["status"] == "incomplete"
    events = response_events(wire, body)
    assert [event["type"] for event in events[-3:]] == ["response.function_call_arguments.done",
                                                        "response.output_item.done", "response.incomplete"]
    assert create(wire, response_body("Go on.", previous_response_id=made["id"]))["output"][-1]["type"] == "message"


def test_s12_settings_are_echoed_whole(wire):
    made = create(wire, ask(tools=[{"type": "function", "name": "ping", "parameters": None}, custom("note")],
                            tool_choice="none", text={"format": FORMAT}, max_output_tokens=100))
    assert made["tools"] == [
        {"type": "function", "name": "ping", "description": None, "parameters": None, "strict": False},
        {"type": "custom", "name": "note", "description": "Takes one line.", "format": {"type": "text"}}]
    assert made["text"] == {"format": {**FORMAT, "description": None}, "verbosity": "medium"}
    assert made["tool_choice"] == "none" and made["parallel_tool_calls"] is False


# ---- structured output ----

class Answer(BaseModel):
    verdict: Literal["yes", "no"]
    score: Literal[1, 2, 3]


def test_s21_json_schema(wire):
    body = response_body("Is it true?", text={"format": FORMAT})
    made = create(wire, body)
    text = made["output"][-1]["content"][0]["text"]
    check_answer(text)
    events = response_events(wire, body)
    assert "".join(e["delta"] for e in events if e["type"] == "response.output_text.delta") == text
    loose = create(wire, response_body("Is it true?", text={"format": {key: FORMAT[key] for key in
                                                                       ("type", "name", "schema")}}))
    check_answer(loose["output"][-1]["content"][0]["text"])
    assert loose["text"]["format"]["strict"] is False


def test_s21_parse_helpers(client):
    made = client.responses.parse(model=MODEL, input="Is it true?", temperature=0, text_format=Answer)
    assert isinstance(made.output_parsed, Answer)
    with client.responses.stream(model=MODEL, input="Is it true?", temperature=0, text_format=Answer) as stream:
        assert stream.get_final_response().output_parsed == made.output_parsed


def test_s21_parse_of_calls(client):
    class Look(BaseModel):
        """Looks somewhere."""
        where: Literal["up", "down"]

    made = client.responses.parse(
        model=MODEL, input=ASK, tool_choice="required", parallel_tool_calls=False,
        tools=[{"type": "function", "name": "Look", "strict": True, "parameters": {
            **Look.model_json_schema(), "additionalProperties": False}}])
    assert made.output[0].parsed_arguments["where"] in ("up", "down")


def test_s21_other_forms_of_text(wire):
    for text in ({}, {"verbosity": "low"}, {"format": {"type": "text"}}):
        assert create(wire, response_body("Hello!", text=text))["text"]["format"] == {"type": "text"}
    made = create(wire, response_body("Answer in JSON.", text={"format": {"type": "json_object"}},
                                      max_output_tokens=100))
    text = made["output"][-1]["content"][0]["text"]
    assert text.lstrip().startswith("{") and (made["status"] != "completed" or isinstance(json.loads(text), dict))
    by_instructions = create(wire, response_body("Answer.", instructions="Use json.", max_output_tokens=16,
                                                 text={"format": {"type": "json_object"}}))
    assert by_instructions["status"] in ("completed", "incomplete")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_s21_schemas_that_are_not_strict(wire, stream):
    loose = {"type": "object", "properties": {"a": {"type": "object", "properties": {}}}, "required": ["a"],
             "additionalProperties": False}
    check_error(wire.post(RESPONSES, json=response_body(text={"format": {**FORMAT, "schema": loose}}, stream=stream)),
                400, param="text.format.schema", code="invalid_json_schema",
                message="Invalid schema for response_format 'answer': In context=('properties', 'a'), "
                        "'additionalProperties' is required to be supplied and to be false")
    tool = {"type": "function", "name": "f", "parameters": loose, "strict": True}
    check_error(wire.post(RESPONSES, json=response_body(tools=[TOOLS[0], tool], stream=stream)), 400,
                param="tools[1].parameters", code="invalid_function_parameters", message="In context=('properties', 'a')")
    deep = {"type": "object", "properties": {"a": {"$ref": "#/nowhere"}}, "required": ["a"],
            "additionalProperties": False}
    check_error(wire.post(RESPONSES, json=response_body(text={"format": {**FORMAT, "schema": deep}}, stream=stream)),
                400, param="text.format.schema", code="invalid_json_schema")


# ---- custom tools ----

@pytest.mark.parametrize("grammar, pattern", [(CODE, CODE_PATTERN), (SUMS, SUMS_PATTERN)], ids=["regex", "lark"])
def test_s63_custom_tools(wire, client, grammar, pattern):
    body = ask(tools=[custom("run", grammar)], tool_choice={"type": "custom", "name": "run"})
    made = create(wire, body)
    call, = made["output"]
    assert set(call) == {"id", "type", "status", "call_id", "name", "input"} and call["type"] == "custom_tool_call"
    assert call["id"].startswith("ctc_") and call["name"] == "run" and re.fullmatch(pattern, call["input"]), call
    events = response_events(wire, body)
    types = [event["type"] for event in events]
    deltas = types.count("response.custom_tool_call_input.delta")
    assert types == (["response.created", "response.in_progress", "response.output_item.added"]
                     + ["response.custom_tool_call_input.delta"] * deltas
                     + ["response.custom_tool_call_input.done", "response.output_item.done", "response.completed"])
    assert events[2]["item"]["input"] == "" and deltas >= 1
    text = "".join(event["delta"] for event in events if "delta" in event)
    assert events[-3]["input"] == text == events[-2]["item"]["input"] == call["input"]
    result = {"type": "custom_tool_call_output", "call_id": call["call_id"], "output": "done"}
    follow = create(wire, response_body([result], previous_response_id=made["id"]))
    assert follow["output"][-1]["type"] == "message"
    with client.responses.stream(**body) as stream:
        assert stream.get_final_response().output[0].input == text
    check_error(wire.post(RESPONSES, json=response_body("Go on.", previous_response_id=made["id"])), 400, param="input",
                message=f"No tool output found for custom tool call {call['call_id']}.")


def test_s63_bad_grammar(wire):
    bad = custom("run", {"syntax": "lark", "definition": "start: missing_rule"})
    check_error(wire.post(RESPONSES, json=response_body(tools=[bad])), 400, param="tools[0].format.definition",
                code="invalid_grammar", message="Invalid grammar for custom tool 'run'")


# ---- the rest ----

def test_s65_refusals_can_be_sent_back(wire):
    forms = [{"role": "assistant", "content": [{"type": "refusal", "refusal": "I cannot."}]},
             {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
              "content": [{"type": "refusal", "refusal": "I cannot."}]},
             {"role": "assistant", "content": "I cannot."}]
    tokens = {create(wire, response_body([*user("Do it."), form, *user("Why?")], max_output_tokens=16))[
        "usage"]["input_tokens"] for form in forms}
    assert len(tokens) == 1


def test_s66_tools_and_formats_are_counted(wire, client):
    plain = client.responses.input_tokens.count(model=MODEL, input=ASK).input_tokens
    tools = client.responses.input_tokens.count(model=MODEL, input=ASK, tools=TOOLS).input_tokens
    assert tools > plain
    made = create(wire, ask(tool_choice="auto", max_output_tokens=16))
    counted = client.responses.input_tokens.count(model=MODEL, input=ASK, tools=TOOLS, parallel_tool_calls=False)
    assert counted.input_tokens == made["usage"]["input_tokens"]
    shaped = client.responses.input_tokens.count(model=MODEL, input=ASK, text={"format": FORMAT}).input_tokens
    made = create(wire, response_body(ASK, text={"format": FORMAT}))
    assert shaped == made["usage"]["input_tokens"]


def test_s57_truncation_keeps_calls_with_their_results(wire):
    turns = []
    for i in range(40):
        turns += [*user("Again. " + "and so on " * 10),
                  {"type": "function_call", "call_id": f"call_{i}", "name": "get_weather",
                   "arguments": '{"city":"Paris","unit":"c"}'},
                  {"type": "function_call_output", "call_id": f"call_{i}", "output": "sunny " * 10}]
    made = create(wire, response_body(turns, truncation="auto", max_output_tokens=16))
    assert made["usage"]["input_tokens"] > 100
    check_error(wire.post(RESPONSES, json=response_body(turns)), 400, param="input", code="context_length_exceeded")


def test_s13_calls_survive_a_restart():
    with Server() as server:
        made = server_post(server, ask())
        server.terminate()
        server.start()
        follow = server_post(server, response_body([output_of(made["output"][0])], previous_response_id=made["id"]))
        assert follow["output"][-1]["type"] == "message"


def server_post(server, body):
    status, _, made = http_json("POST", server.base_url + "/responses", body)
    assert status == 200, made
    return made
