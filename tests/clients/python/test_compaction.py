"""Compaction: POST /responses/compact, what its items mean as input, and context_management (scenario 66 of the
conformance list). What a model writes into a summary is its own business: these tests look at what survives
around it."""
import json
import time

import httpx
import pytest
from openai import OpenAI

from cairn_server import API_KEY, MODEL, Server
from support import check_error, response_events

RESPONSES = "/v1/responses"
COMPACT = "/v1/responses/compact"
TALK = [
    {"role": "developer", "content": "Be brief."},
    {"role": "user", "content": "My name is Ada."},
    {"role": "assistant", "content": "Nice to meet you, Ada."},
    {"role": "user", "content": "What is the capital of France?"},
    {"role": "assistant", "content": "Paris is the capital of France."},
]


def compact(wire, **body):
    reply = wire.post(COMPACT, json={"model": MODEL, **body})
    assert reply.status_code == 200, reply.text
    return reply.json()


def count(wire, items):
    reply = wire.post(f"{RESPONSES}/input_tokens", json={"model": MODEL, "input": items})
    assert reply.status_code == 200, reply.text
    return reply.json()["input_tokens"]


def test_s66_compact(wire, server):
    # Not the strict client: the SDK's types know no message of a user in an output, the wire does.
    client = OpenAI(base_url=server.base_url, api_key=API_KEY)
    made = client.responses.compact(model=MODEL, input=TALK, instructions="Talk like a pirate.")
    assert made.object == "response.compaction" and made.id.startswith("resp_")
    *kept, item = made.output
    assert [(m.type, m.role, m.content[0].type, m.content[0].text) for m in kept] == [
        ("message", "developer", "input_text", "Be brief."), ("message", "user", "input_text", "My name is Ada."),
        ("message", "user", "input_text", "What is the capital of France?")]
    assert item.type == "compaction" and item.id.startswith("cmp_") and item.encrypted_content
    assert "Paris" not in str(made)
    usage = made.usage
    assert usage.input_tokens > 50 and usage.total_tokens == usage.input_tokens + usage.output_tokens
    output = compact(wire, input=TALK)["output"]
    answer = client.responses.create(model=MODEL, input=output + [{"role": "user", "content": "And of Spain?"}])
    assert answer.status in ("completed", "incomplete")
    again = compact(wire, input=output + [{"role": "user", "content": "And of Spain?"}])
    assert [item["type"] for item in again["output"]] == ["message"] * 4 + ["compaction"]


def test_s66_compact_a_string_and_nothing(wire):
    assert [item["type"] for item in compact(wire, input="Hello!")["output"]] == ["message", "compaction"]
    check_error(wire.post(COMPACT, json={"model": MODEL}), 400, param="input", code="missing_required_parameter")
    check_error(wire.post(COMPACT, json={"input": "x"}), 400, param="model", code="missing_required_parameter")
    check_error(wire.post(COMPACT, json={"model": "none", "input": "x"}), 404, code="model_not_found",
                param=wire.post(COMPACT, json={"model": "none", "input": "x"}).json()["error"]["param"])
    check_error(wire.post(COMPACT, json={"model": MODEL, "input": "x", "stream": True}), 400, param="stream",
                code="unknown_parameter")


def test_s66_compact_previous_response(wire, client):
    first = client.responses.create(model=MODEL, input=TALK[:2], max_output_tokens=32)
    made = compact(wire, previous_response_id=first.id, input="Go on.")
    assert [item["type"] for item in made["output"]] == ["message"] * 3 + ["compaction"]
    assert made["output"][2]["content"][0]["text"] == "Go on."


def test_s66_open_calls_survive(wire):
    call = {"type": "function_call", "call_id": "call_open", "name": "look", "arguments": "{}"}
    made = compact(wire, input=TALK + [call])["output"]
    result = {"type": "function_call_output", "call_id": "call_open", "output": "found it"}
    assert count(wire, made + [result]) > 0
    check_error(wire.post(f"{RESPONSES}/input_tokens", json={"model": MODEL, "input": made}), 400, param="input",
                message="No tool output found for function call call_open.")
    closed = compact(wire, input=TALK + [call, result])["output"]
    check_error(wire.post(f"{RESPONSES}/input_tokens", json={"model": MODEL, "input": closed + [result]}), 400,
                param="input", message="No tool call found")


def test_s66_long_conversations_get_shorter(wire):
    talk = []
    for i in range(30):
        talk += [{"role": "user", "content": f"Question {i}?"},
                 {"role": "assistant", "content": f"A long answer number {i} " + "with many words in it " * 20}]
    before = len(str(talk)) // 8  # it may be longer than the context of the model
    made = compact(wire, input=talk)
    assert len(made["output"]) == 31
    assert count(wire, made["output"]) < before


@pytest.mark.parametrize("sealed", ["forged", "", "AAAA"])
def test_s66_forged_compactions(wire, sealed):
    item = {"type": "compaction", "id": "cmp_1", "encrypted_content": sealed}
    check_error(wire.post(RESPONSES, json={"model": MODEL, "input": [TALK[1], item]}), 400,
                param="input[1].encrypted_content", code="invalid_encrypted_content")


def test_s66_what_is_sealed_for_one_thing_opens_no_other(wire):
    item = compact(wire, input=TALK)["output"][-1]
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": item["encrypted_content"]}
    check_error(wire.post(RESPONSES, json={"model": MODEL, "input": [TALK[1], reasoning]}), 400,
                param="input[1].encrypted_content", code="invalid_encrypted_content")
    changed = item["encrypted_content"][:-8] + "AAAAAAA="
    check_error(wire.post(RESPONSES, json={"model": MODEL, "input": [{**item, "encrypted_content": changed}]}), 400,
                param="input[0].encrypted_content", code="invalid_encrypted_content")


# ---- context_management ----

MANAGED = {"context_management": [{"type": "compaction", "compact_threshold": 1000}], "max_output_tokens": 16}
FILLER = "with many words in it " * 12


def respond(wire, **body):
    reply = wire.post(RESPONSES, json={"model": MODEL, "temperature": 0, **body})
    assert reply.status_code == 200, reply.text
    return reply.json()


def long_talk(turns=16):
    talk = []
    for i in range(turns):
        talk += [{"role": "user", "content": f"Question {i}?"},
                 {"role": "assistant", "content": f"A long answer number {i} {FILLER}"}]
    return talk


def types(items):
    return [item["type"] for item in items]


def test_s66_threshold(wire):
    talk = long_talk()
    plain = respond(wire, input=talk + [TALK[1]], truncation="auto", max_output_tokens=16)
    assert types(plain["output"]) == ["message"]
    made = respond(wire, input=talk + [TALK[1]], **MANAGED)
    assert types(made["output"]) == ["compaction", "message"]
    assert made["output"][0]["id"].startswith("cmp_")
    short = respond(wire, input=TALK, **MANAGED)
    assert types(short["output"]) == ["message"]
    stateless = made["output"] + [{"role": "user", "content": "Go on."}]
    assert count(wire, stateless) < 1000
    assert count(wire, talk + stateless) == count(wire, stateless)  # what is before it counts no more
    check_error(wire.post(RESPONSES, json={"model": MODEL, "input": "x", "context_management": [
        {"type": "other"}]}), 400, param="context_management[0].type", code="invalid_value")
    reply = wire.post(RESPONSES, json={"model": MODEL, "input": "x", "context_management": [
        {"type": "compaction", "compact_threshold": 999}]})
    assert reply.status_code == 400


def test_s66_usage_counts_the_compaction(wire):
    made = respond(wire, input=long_talk() + [TALK[1]], **MANAGED)
    assert made["usage"]["input_tokens"] > 1000
    assert made["usage"]["total_tokens"] == made["usage"]["input_tokens"] + made["usage"]["output_tokens"]


def test_s66_followers_begin_with_the_compaction(wire):
    first = respond(wire, input=long_talk() + [TALK[1]], **MANAGED)
    later = respond(wire, previous_response_id=first["id"], input="Go on.", max_output_tokens=16)
    assert later["usage"]["input_tokens"] < 1000
    again = respond(wire, previous_response_id=later["id"], input="And on.", max_output_tokens=16)
    assert again["usage"]["input_tokens"] > later["usage"]["input_tokens"]
    inherited = wire.get(f"{RESPONSES}/{later['id']}/input_items", params={"order": "asc", "limit": 100}).json()
    assert "compaction" in types(inherited["data"])
    referenced = [{"type": "item_reference", "id": first["output"][0]["id"]}, {"role": "user", "content": "Go on."}]
    assert count(wire, referenced) == count(wire, [first["output"][0], referenced[1]])


def test_s66_the_question_is_not_lost(wire):
    first = respond(wire, input=long_talk() + [{"role": "user", "content": "The word is heron."}], **MANAGED)
    alone = count(wire, [first["output"][0]])
    other = respond(wire, input=long_talk() + [{"role": "user", "content": "The word is heron. " * 10}], **MANAGED)
    assert count(wire, [other["output"][0]]) > alone + 30


def test_s66_calls_are_answered_after_a_compaction(wire):
    call = {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{}"}
    result = {"type": "function_call_output", "call_id": "call_1", "output": "found it"}
    tools = [{"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}}]
    made = respond(wire, input=long_talk() + [TALK[1], call, result], tools=tools, tool_choice="none", **MANAGED)
    assert types(made["output"])[0] == "compaction"
    follow = made["output"] + [{"type": "function_call_output", "call_id": "call_1", "output": "again"}]
    assert count(wire, follow) > 0  # its call was kept


def test_s66_compaction_in_a_conversation(wire):
    conversation = wire.post("/v1/conversations", json={"items": long_talk(10)}).json()["id"]
    more = wire.post(f"/v1/conversations/{conversation}/items", json={"items": long_talk(10)})
    assert more.status_code == 200, more.text
    first = respond(wire, conversation=conversation, input="Hello!", **MANAGED)
    assert types(first["output"]) == ["compaction", "message"]
    second = respond(wire, conversation=conversation, input="Go on.", max_output_tokens=16)
    assert second["usage"]["input_tokens"] < 1000
    items = wire.get(f"/v1/conversations/{conversation}/items", params={"order": "asc", "limit": 100}).json()["data"]
    assert types(items) == ["message"] * 41 + ["compaction"] + ["message"] * 3
    first_id = {**long_talk(1)[0], "type": "message", "id": items[0]["id"]}  # taken, though far back
    third = respond(wire, conversation=conversation, input=[first_id], max_output_tokens=16)
    assert third["status"] in ("completed", "incomplete")


def test_s66_trigger(wire):
    made = respond(wire, input=TALK + [{"type": "compaction_trigger"}])
    assert types(made["output"]) == ["compaction"] and made["status"] == "completed"
    assert made["usage"]["output_tokens"] > 0
    follow = respond(wire, previous_response_id=made["id"], input="Go on.", max_output_tokens=16)
    assert follow["usage"]["input_tokens"] < 400
    check_error(wire.post(RESPONSES, json={"model": MODEL, "input": [{"type": "compaction_trigger"}, TALK[1]]}), 400,
                param="input[0]", code="invalid_value", message="final input item")


def test_s66_streams_and_background(wire, client):
    body = {"model": MODEL, "input": long_talk() + [TALK[1]], "temperature": 0, **MANAGED}
    events = response_events(wire, body)
    added, done = events[2], events[3]
    assert (added["type"], done["type"]) == ("response.output_item.added", "response.output_item.done")
    assert added["item"] == done["item"] and done["item"]["type"] == "compaction" and done["output_index"] == 0
    assert events[-1]["response"]["output"][0] == done["item"]
    assert {e["output_index"] for e in events[4:-1] if "output_index" in e} == {1}
    made = client.responses.create(**body, background=True)
    while made.status in ("queued", "in_progress"):
        time.sleep(0.02)
        made = client.responses.retrieve(made.id)
    assert [item.type for item in made.output] == ["compaction", "message"], made
    trigger = client.responses.create(model=MODEL, input=TALK + [{"type": "compaction_trigger"}], background=True)
    while trigger.status in ("queued", "in_progress"):
        time.sleep(0.02)
        trigger = client.responses.retrieve(trigger.id)
    assert [item.type for item in trigger.output] == ["compaction"], trigger


def test_s66_usage_after_a_restart():
    """A run that goes on from the compaction of one that was killed tells, and records, what that has taken."""
    text = {"type": "grammar", "syntax": "regex", "definition": "(around and ){60}"}
    body = {**MANAGED, "model": MODEL, "input": long_talk() + [TALK[1]], "temperature": 0, "background": True,
            "tools": [{"type": "custom", "name": "long", "format": text}], "max_output_tokens": 200,
            "tool_choice": {"type": "custom", "name": "long"}, "stream": True}
    server = Server(["--lookup", "off"])

    def follow(wire, last):
        made = None
        with wire.stream("POST", RESPONSES, json=body) as stream:
            for line in stream.iter_lines():
                event = json.loads(line[5:]) if line.startswith("data:") else {}
                made = event.get("response", {}).get("id") or made
                if event.get("type", "") in last:
                    return made
        raise AssertionError(f"no event of {last}")

    def raw():
        return httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {API_KEY}"}, timeout=60)

    try:
        server.start()
        with raw() as wire:
            whole = follow(wire, ("response.completed", "response.incomplete"))
            usage = wire.get(f"{RESPONSES}/{whole}").json()["usage"]
            killed = follow(wire, ("response.custom_tool_call_input.delta",))
        server.kill()
        server.start()
        with raw() as wire:
            while (made := wire.get(f"{RESPONSES}/{killed}").json())["status"] in ("queued", "in_progress"):
                time.sleep(0.02)
        assert types(made["output"]) == ["compaction", "custom_tool_call"]
        for name in ("input_tokens", "output_tokens"):
            assert made["usage"][name] == usage[name], name
            assert sum(row[name] for row in server.usage()) == 2 * usage[name], name
        server.terminate()
    finally:
        server.cleanup()


def test_s66_a_client_that_leaves_ends_a_compaction(wire):
    talk = long_talk(60)
    with wire.stream("POST", RESPONSES, json={"model": MODEL, "input": talk + [TALK[1]], "stream": True,
                                              "store": False, **MANAGED}) as stream:
        assert stream.status_code == 200
        next(stream.iter_lines())
    with pytest.raises(httpx.ReadTimeout):
        wire.post(COMPACT, json={"model": MODEL, "input": long_talk(400)}, timeout=0.05)
    assert respond(wire, input="Hello!", max_output_tokens=16)["output"]
