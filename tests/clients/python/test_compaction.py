"""Compaction: POST /responses/compact, what its items mean as input, and context_management (scenario 66 of the
conformance list). What a model writes into a summary is its own business: these tests look at what survives
around it."""
import pytest
from openai import OpenAI

from cairn_server import API_KEY, MODEL
from support import check_error

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
