"""Reasoning and the formats of calls of every family: scenarios 6, 7, 12, 14, 29, 31, 41, 42, 43 and 63 of the
conformance list, with models that know nothing but whose output is held to its form."""
import json
import re

import httpx
import openai
import pytest

from cairn_server import API_KEY
from families import FAMILIES, serve
from support import chat_chunks, check_error, response_events, user
from tools import ANSWER, CODE, CODE_PATTERN, chat_custom, chat_function, check_answer, check_arguments, function

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
ASK = "What is the weather like in Paris?"
REASONING = ["reasons", "harmony"]  # those that cannot but reason
ANSWER_FORMAT = {"type": "json_schema", "name": "answer", "strict": True, "schema": ANSWER}


@pytest.fixture(scope="module")
def families(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("models"), *FAMILIES) as running:
        yield running


@pytest.fixture(scope="module")
def wire(families):
    with httpx.Client(base_url=families.url, timeout=300, headers={"Authorization": f"Bearer {API_KEY}"}) as made:
        yield made


@pytest.fixture(scope="module")
def client(families):
    with openai.OpenAI(base_url=families.base_url, api_key=API_KEY, _strict_response_validation=True) as made:
        yield made


def create(wire, path, body):
    reply = wire.post(path, json=body)
    assert reply.status_code == 200, reply.text
    return reply.json()


def chat(family, **extra):
    return {"model": f"chat-{family}", "messages": user(ASK), "seed": 3, "max_completion_tokens": 1500, **extra}


def response(family, **extra):
    return {"model": f"chat-{family}", "input": ASK, "max_output_tokens": 1500, **extra}


# ---- calls in every format ----

@pytest.mark.parametrize("family", FAMILIES)
def test_s29_every_family_calls_what_it_must(wire, family):
    tools = [chat_function("get_weather"), chat_function("set_alarm")]
    named = {"type": "function", "function": {"name": "set_alarm"}}
    for seed in range(3):
        body = chat(family, tools=tools, tool_choice=named, parallel_tool_calls=False, seed=seed)
        choice = create(wire, CHAT, body)["choices"][0]
        assert choice["finish_reason"] == "tool_calls", choice
        call, = choice["message"]["tool_calls"]
        assert call["function"]["name"] == "set_alarm"
        check_arguments("set_alarm", call["function"]["arguments"])
    result = {"role": "tool", "tool_call_id": call["id"], "content": "done"}
    follow = chat(family, tools=tools, tool_choice="none", messages=[*user(ASK), choice["message"], result],
                  max_completion_tokens=20)
    assert "tool_calls" not in create(wire, CHAT, follow)["choices"][0]["message"]


@pytest.mark.parametrize("family", FAMILIES)
def test_s07_every_family_streams_what_it_says_whole(wire, family):
    body = chat(family, tools=[chat_function("get_weather")], tool_choice="required", parallel_tool_calls=False)
    message = create(wire, CHAT, body)["choices"][0]["message"]
    deltas = [chunk["choices"][0]["delta"] for chunk in chat_chunks(wire, body)]
    entries = [entry for delta in deltas for entry in delta.get("tool_calls", [])]
    assert "".join(e["function"]["arguments"] for e in entries) == message["tool_calls"][0]["function"]["arguments"]
    assert "".join(delta.get("content") or "" for delta in deltas) == (message["content"] or "")
    assert "".join(delta.get("reasoning_content") or "" for delta in deltas) == message.get("reasoning_content", "")


@pytest.mark.parametrize("family", FAMILIES)
def test_s20_every_family_keeps_to_a_schema(wire, family):
    made = create(wire, RESPONSES, response(family, text={"format": ANSWER_FORMAT}))
    assert made["status"] == "completed", made["incomplete_details"]
    check_answer(made["output"][-1]["content"][0]["text"])


@pytest.mark.parametrize("family", FAMILIES)
def test_s63_every_family_takes_custom_tools(wire, family):
    body = chat(family, tools=[chat_custom("run", CODE)], tool_choice="required", parallel_tool_calls=False)
    call, = create(wire, CHAT, body)["choices"][0]["message"]["tool_calls"]
    assert re.fullmatch(CODE_PATTERN, call["custom"]["input"]), call


@pytest.mark.parametrize("family", FAMILIES)
def test_s31_every_family_calls_at_most_once_when_told(wire, family):
    for seed in range(4):
        body = chat(family, tools=[chat_function("get_weather")], parallel_tool_calls=False, temperature=1.3, seed=seed)
        assert len(create(wire, CHAT, body)["choices"][0]["message"].get("tool_calls", [])) <= 1


# ---- reasoning ----

def ask_until(wire, family, kinds, **extra):
    """A response whose items are of these kinds: whether a model reasons at all is its own choice."""
    for attempt in range(40):
        made = create(wire, RESPONSES, response(family, **extra))
        if made["status"] == "completed" and [item["type"] for item in made["output"]] == kinds:
            return made
    raise AssertionError(f"chat-{family} never answered with {kinds}")


def test_s41_reasoning_is_an_item_before_the_message(wire):
    made = ask_until(wire, "reasons", ["reasoning", "message"], text={"format": ANSWER_FORMAT})
    reasoning, message = made["output"]
    assert set(reasoning) == {"id", "type", "status", "summary", "content"} and reasoning["id"].startswith("rs_")
    assert reasoning["summary"] == [] and reasoning["content"][0]["type"] == "reasoning_text"
    assert reasoning["content"][0]["text"] and "think>" not in reasoning["content"][0]["text"]
    check_answer(message["content"][0]["text"])
    details = made["usage"]["output_tokens_details"]
    assert 0 < details["reasoning_tokens"] < made["usage"]["output_tokens"]


def reasoning_stream(wire, **extra):
    for _ in range(40):
        events = response_events(wire, response("reasons", text={"format": ANSWER_FORMAT}, **extra))
        if events[-1]["type"] == "response.completed" and len(events[-1]["response"]["output"]) == 2:
            return events
    raise AssertionError("no stream with reasoning and a message")


def squeezed(events):
    """The types of events, repeated ones once."""
    types = [event["type"].removeprefix("response.") for event in events]
    return [t for i, t in enumerate(types) if not i or t != types[i - 1]]


MESSAGE = ["output_item.added", "content_part.added", "output_text.delta", "output_text.done", "content_part.done",
           "output_item.done", "completed"]


def check_reasoning_stream(events, kind, index):
    item = next(e["item"] for e in events if e["type"] == "response.output_item.added")
    assert item["type"] == "reasoning" and item["summary"] == [] and item["status"] == "in_progress"
    deltas = [e for e in events if e["type"] == f"response.{kind}.delta"]
    done = next(e for e in events if e["type"] == f"response.{kind}.done")
    assert "".join(e["delta"] for e in deltas) == done["text"] != ""
    for event in [*deltas, done]:
        assert (event["item_id"], event["output_index"], event[index]) == (item["id"], 0, 0)
    finished = [e for e in events if e["type"] == "response.output_item.done"]
    assert [e["output_index"] for e in finished] == [0, 1]
    assert [e["item"] for e in finished] == events[-1]["response"]["output"]
    return done["text"], finished[0]["item"]


def test_s41_reasoning_streams_as_text(wire):
    events = reasoning_stream(wire)
    assert squeezed(events) == ["created", "in_progress", "output_item.added", "content_part.added",
                                "reasoning_text.delta", "reasoning_text.done", "content_part.done",
                                "output_item.done", *MESSAGE]
    text, item = check_reasoning_stream(events, "reasoning_text", "content_index")
    assert item["content"] == [{"type": "reasoning_text", "text": text}]


def test_s41_reasoning_streams_as_a_summary_when_asked(wire, client):
    events = reasoning_stream(wire, reasoning={"summary": "auto"})
    assert squeezed(events) == ["created", "in_progress", "output_item.added", "reasoning_summary_part.added",
                                "reasoning_summary_text.delta", "reasoning_summary_text.done",
                                "reasoning_summary_part.done", "output_item.done", *MESSAGE]
    text, item = check_reasoning_stream(events, "reasoning_summary_text", "summary_index")
    assert item["summary"] == [{"type": "summary_text", "text": text}] and "content" not in item
    with client.responses.stream(**response("reasons", text={"format": ANSWER_FORMAT},
                                            reasoning={"summary": "detailed"})) as stream:
        for _ in stream:
            pass


@pytest.mark.parametrize("family", REASONING)
def test_s41_chats_have_reasoning_beside_the_content(wire, family):
    for seed in range(40):
        body = chat(family, response_format={"type": "json_schema", "json_schema": {
            key: ANSWER_FORMAT[key] for key in ("name", "strict", "schema")}}, seed=seed, temperature=1)
        choice = create(wire, CHAT, body)["choices"][0]
        if choice["finish_reason"] == "stop" and choice["message"].get("reasoning_content"):
            break
    else:
        raise AssertionError(f"chat-{family} never reasoned")
    check_answer(choice["message"]["content"])
    deltas = [chunk["choices"][0]["delta"] for chunk in chat_chunks(wire, body)]
    thought = "".join(delta.get("reasoning_content", "") for delta in deltas)
    assert thought == choice["message"]["reasoning_content"]
    order = ["r" if "reasoning_content" in delta else "c" for delta in deltas[1:-1]]
    assert "".join(order) == "r" * order.count("r") + "c" * order.count("c")
    again = chat(family, messages=[*user(ASK), choice["message"], *user("Why?")], max_completion_tokens=5)
    assert create(wire, CHAT, again)["choices"]


def test_s42_sealed_reasoning(wire, families):
    sealed = "reasoning.encrypted_content"
    made = ask_until(wire, "reasons", ["reasoning", "message"], text={"format": ANSWER_FORMAT}, store=False,
                     include=[sealed])
    reasoning = made["output"][0]
    text = reasoning["content"][0]["text"]
    assert text not in reasoning["encrypted_content"] and len(reasoning["encrypted_content"]) > len(text)
    follow = [*user(ASK), *made["output"], *user("Why?")]
    plain = create(wire, RESPONSES, response("reasons", input=follow, store=False, max_output_tokens=16))
    stripped = [{key: value for key, value in item.items() if key != "content" or item.get("type") != "reasoning"}
                for item in follow]
    again = create(wire, RESPONSES, response("reasons", input=stripped, store=False, max_output_tokens=16))
    assert again["usage"]["input_tokens"] == plain["usage"]["input_tokens"]
    forged = [{**item, "encrypted_content": item["encrypted_content"][:-8] + "AAAAAAA="} if item.get("type") == "reasoning"
              else item for item in stripped]
    check_error(wire.post(RESPONSES, json=response("reasons", input=forged)), 400, code="invalid_encrypted_content",
                param="input[1].encrypted_content")
    families.terminate()
    families.start()
    again = create(wire, RESPONSES, response("reasons", input=stripped, store=False, max_output_tokens=16))
    assert again["usage"]["input_tokens"] == plain["usage"]["input_tokens"], "it opens after a restart"
    bare = ask_until(wire, "reasons", ["reasoning", "message"], text={"format": ANSWER_FORMAT})
    assert "encrypted_content" not in bare["output"][0]


def test_s42_sealed_when_it_is_read(wire):
    """What was stored without the sealed form comes with it to a reader who asks."""
    made = ask_until(wire, "reasons", ["reasoning", "message"], text={"format": ANSWER_FORMAT}, background=False)
    next_one = create(wire, RESPONSES, response("reasons", input="Why?", previous_response_id=made["id"],
                                                max_output_tokens=16))
    with_it = {"include[]": "reasoning.encrypted_content", "order": "asc"}

    def sealed(params):
        read = wire.get(f"{RESPONSES}/{made['id']}", params=params).json()
        assert {**read, "output": made["output"]} == made
        listed = wire.get(f"{RESPONSES}/{next_one['id']}/input_items", params={"order": "asc", **params}).json()["data"]
        return [item.get("encrypted_content") for item in (read["output"][0], listed[1])]

    assert sealed({}) == [None, None]
    for text in sealed(with_it):
        item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": text}
        follow = [*user(ASK), item, made["output"][1], *user("Why?")]
        assert create(wire, RESPONSES, response("reasons", input=follow, store=False, max_output_tokens=16))["output"]
    check_error(wire.get(f"{RESPONSES}/{made['id']}", params={**with_it, "stream": "true"}), 400, param="include",
                code="invalid_value")


def test_s43_reasoning_by_its_id(wire):
    made = ask_until(wire, "reasons", ["reasoning", "message"], text={"format": ANSWER_FORMAT})
    reference = {"type": "reasoning", "id": made["output"][0]["id"], "summary": []}
    follow = [*user(ASK), reference, made["output"][1], *user("Why?")]
    assert create(wire, RESPONSES, response("reasons", input=follow, max_output_tokens=16))["output"]
    gone = ask_until(wire, "reasons", ["reasoning", "message"], text={"format": ANSWER_FORMAT}, store=False)
    reference["id"] = gone["output"][0]["id"]
    check_error(wire.post(RESPONSES, json=response("reasons", input=[*user(ASK), reference, *user("Why?")])), 404,
                param="input", message="Items are not persisted when `store` is set to false")


def test_s14_reasoning_and_calls_replayed(wire):
    body = {"tools": [function("get_weather")], "tool_choice": "required", "parallel_tool_calls": False}
    made = ask_until(wire, "reasons", ["reasoning", "function_call"], store=False, **body)
    call = made["output"][1]
    assert json.loads(call["arguments"])
    follow = [*user(ASK), *made["output"],
              {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}]
    assert create(wire, RESPONSES, response("reasons", input=follow, store=False, max_output_tokens=16))["output"]


def test_s41_a_thought_that_is_cut_off(wire):
    made = create(wire, RESPONSES, response("reasons", max_output_tokens=16, text={"format": ANSWER_FORMAT},
                                            temperature=0))
    assert made["status"] == "incomplete" and made["incomplete_details"] == {"reason": "max_output_tokens"}
    assert made["output"][-1]["status"] == "incomplete"
    body = chat("reasons", max_completion_tokens=2)
    choice = create(wire, CHAT, body)["choices"][0]
    assert choice["finish_reason"] in ("length", "stop") and isinstance(choice["message"]["content"], str)


@pytest.mark.parametrize("effort", ["none", "minimal", "low", "high", "max"])
def test_s70_effort_is_taken(wire, effort):
    assert create(wire, CHAT, chat("thinks", reasoning_effort=effort, max_completion_tokens=5))["choices"]
    made = create(wire, RESPONSES, response("harmony", reasoning={"effort": effort}, max_output_tokens=16))
    assert made["reasoning"] == {"effort": effort, "summary": None}
