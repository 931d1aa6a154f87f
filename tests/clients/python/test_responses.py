"""Responses: scenarios 9-11, 33, 34, 43, 51, 53-55, 66 and 69 of the conformance list."""
import asyncio
import time

import httpx
import openai
import pytest

from cairn_server import API_KEY, MODEL, Server
from support import STORY, check_error, response_body, response_events, sse_frames

RESPONSES = "/v1/responses"
ECHO_KEYS = {
    "id", "object", "created_at", "status", "completed_at", "background", "error", "incomplete_details",
    "instructions", "max_output_tokens", "max_tool_calls", "model", "output", "parallel_tool_calls",
    "previous_response_id", "conversation", "prompt", "prompt_cache_key", "prompt_cache_retention", "reasoning",
    "safety_identifier", "service_tier", "store", "temperature", "text", "tool_choice", "tools", "top_logprobs",
    "top_p", "truncation", "usage", "user", "metadata"}


LONG_PROMPTS = (STORY, "Count to 20", "List the months of the year.", "Write a limerick about the sea.",
                "Write a poem about autumn.", "Tell me a joke", "What can you do?")


@pytest.fixture(scope="module")
def long_prompt(wire):
    """A prompt whose reply is longer than the smallest limit the API allows (16 tokens)."""
    for prompt in LONG_PROMPTS:
        made = wire.post(RESPONSES, json=response_body(prompt, store=False)).json()
        if made["usage"]["output_tokens"] > 18:
            return prompt
    raise AssertionError("the model answers every prompt with a few words")


def check_response(body, text=None):
    assert ECHO_KEYS <= set(body), ECHO_KEYS - set(body)
    assert body["id"].startswith("resp_") and body["object"] == "response"
    assert type(body["created_at"]) is int
    assert body["model"] == MODEL
    assert body["error"] is None
    message, = body["output"]
    assert message["type"] == "message" and message["id"].startswith("msg_")
    assert message["role"] == "assistant" and message["status"] in ("completed", "incomplete")
    part, = message["content"]
    assert part["type"] == "output_text" and part["annotations"] == [] and part["logprobs"] == []
    if text is not None:
        assert part["text"] == text
    usage = body["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert set(usage["input_tokens_details"]) >= {"cached_tokens", "cache_write_tokens"}
    assert usage["output_tokens_details"]["reasoning_tokens"] == 0
    return part["text"]


def test_s09_string_input_has_every_key(wire, client):
    reply = wire.post(RESPONSES, json={"model": MODEL, "input": "Hello!"})
    assert reply.status_code == 200, reply.text
    body = reply.json()
    check_response(body)
    assert body["status"] in ("completed", "incomplete")
    defaults = {"background": False, "instructions": None, "max_output_tokens": None, "max_tool_calls": None,
                "parallel_tool_calls": True, "previous_response_id": None, "conversation": None, "prompt": None,
                "service_tier": "default", "store": True, "temperature": 1, "tool_choice": "auto", "tools": [],
                "top_logprobs": 0, "top_p": 1, "truncation": "disabled", "user": None, "metadata": {}}
    for key, value in defaults.items():
        assert body[key] == value, key
    assert body["reasoning"] == {"effort": None, "summary": None}
    assert body["text"] == {"format": {"type": "text"}, "verbosity": "medium"}
    assert body["status"] != "completed" or body["completed_at"] >= body["created_at"]
    assert "output_text" not in body or body["output_text"] is None
    made = client.responses.create(**response_body("Say this is a test"))
    assert made.output_text == made.output[0].content[0].text


def test_s09_what_was_asked_is_echoed(wire):
    body = wire.post(RESPONSES, json=response_body(
        "Hello!", instructions="Be brief.", metadata={"a": "b"}, top_p=0.9, max_output_tokens=100, user="u",
        safety_identifier="s", prompt_cache_key="k", truncation="auto", store=False)).json()
    check_response(body)
    for key, value in (("instructions", "Be brief."), ("metadata", {"a": "b"}), ("top_p", 0.9), ("temperature", 0),
                       ("max_output_tokens", 100), ("user", "u"), ("safety_identifier", "s"),
                       ("prompt_cache_key", "k"), ("truncation", "auto"), ("store", False)):
        assert body[key] == value, key


def test_s10_exact_event_order(wire, short_prompt):
    events = response_events(wire, response_body(short_prompt))
    types = [event["type"] for event in events]
    deltas = types.count("response.output_text.delta")
    assert deltas > 0
    assert types == (["response.created", "response.in_progress", "response.output_item.added",
                      "response.content_part.added"] + ["response.output_text.delta"] * deltas
                     + ["response.output_text.done", "response.content_part.done", "response.output_item.done",
                        "response.completed"])
    created, added, part = events[0]["response"], events[2], events[3]
    assert created["status"] == "in_progress" and created["output"] == [] and created["usage"] is None
    assert ECHO_KEYS <= set(created)
    item = added["item"]
    assert item["type"] == "message" and item["status"] == "in_progress" and item["content"] == []
    assert part["part"] == {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    for event in events[3:-2]:
        assert (event["item_id"], event["output_index"], event["content_index"]) == (item["id"], 0, 0)
    text = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    assert events[-4]["text"] == text and events[-3]["part"]["text"] == text
    done = events[-2]["item"]
    assert done["id"] == item["id"] and done["status"] == "completed" and done["content"][0]["text"] == text
    assert check_response(events[-1]["response"], text) == text
    assert events[-1]["response"]["output"] == [done]


def test_s10_stream_helpers(client, make_async, short_prompt):
    whole = client.responses.create(**response_body(short_prompt))
    with client.responses.stream(**response_body(short_prompt)) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed"
    assert final.output_text == whole.output_text

    async def run():
        async with make_async() as aclient:
            async with aclient.responses.stream(**response_body(short_prompt)) as stream:
                return await stream.get_final_response()
    assert asyncio.run(run()).output_text == whole.output_text


def test_s11_completed_event_equals_retrieve(wire, client):
    final = response_events(wire, response_body("Hello!"))[-1]["response"]
    stored = wire.get(f"{RESPONSES}/{final['id']}").json()
    assert stored == final
    assert client.responses.retrieve(final["id"]).id == final["id"]
    made = wire.post(RESPONSES, json=response_body("Hello!")).json()
    assert wire.get(f"{RESPONSES}/{made['id']}").json() == made


def test_s32_unknown_field(wire):
    check_error(wire.post(RESPONSES, json=response_body(respnse=1)), 400, param="respnse",
                code="unknown_parameter", message="Unknown parameter: 'respnse'.")


@pytest.mark.parametrize("old, new, value", [
    ("response_format", "text.format", {"type": "text"}), ("max_tokens", "max_output_tokens", 20),
    ("messages", "input", [])])
def test_s32_parameters_of_chat_are_called_otherwise(wire, old, new, value):
    check_error(wire.post(RESPONSES, json=response_body(**{old: value})), 400, param=old,
                code="unsupported_parameter", message=f"In the Responses API, this parameter has moved to '{new}'")


def test_s33_null_means_absent(wire):
    nulls = ["temperature", "top_p", "tools", "tool_choice", "stream", "metadata", "previous_response_id",
             "conversation", "instructions", "max_output_tokens", "truncation", "store", "user", "reasoning",
             "include", "parallel_tool_calls", "text", "service_tier", "background", "prompt", "stream_options",
             "prompt_cache_key", "safety_identifier", "max_tool_calls", "top_logprobs"]
    reply = wire.post(RESPONSES, json={"model": MODEL, "input": "Hello!", **dict.fromkeys(nulls)})
    assert reply.status_code == 200, reply.text
    check_response(reply.json())


def test_s33_empty_containers_of_frameworks(wire):
    """agents-js sends include: [] and tools: [], LangChain sends text: {}."""
    reply = wire.post(RESPONSES, json=response_body(include=[], tools=[], text={}))
    assert reply.status_code == 200, reply.text
    for text in ({"format": {"type": "text"}}, {"verbosity": "low"}):
        assert wire.post(RESPONSES, json=response_body(text=text)).status_code == 200


def test_s34_token_limit_is_incomplete(wire, long_prompt):
    body = response_body(long_prompt, max_output_tokens=16)
    made = wire.post(RESPONSES, json=body).json()
    assert made["status"] == "incomplete"
    assert made["incomplete_details"] == {"reason": "max_output_tokens"}
    assert made["usage"]["output_tokens"] == 16
    assert made["output"][0]["status"] == "incomplete"
    events = response_events(wire, body)
    types = [event["type"] for event in events]
    assert types[-1] == "response.incomplete" and "response.completed" not in types
    assert types[-4:-1] == ["response.output_text.done", "response.content_part.done",
                            "response.output_item.done"]
    final = events[-1]["response"]
    assert final["status"] == "incomplete" and final["incomplete_details"]["reason"] == "max_output_tokens"
    assert wire.get(f"{RESPONSES}/{final['id']}").json() == final
    check_error(wire.post(RESPONSES, json=response_body(max_output_tokens=10)), 400, param="max_output_tokens",
                code="integer_below_min_value", message="Expected a value >= 16, but got 10 instead.")


def test_s43_not_stored_is_not_found(wire, client):
    made = client.responses.create(**response_body("Hello!", store=False))
    check_error(wire.get(f"{RESPONSES}/{made.id}"), 404, message=made.id, param=None)
    reply = wire.post(RESPONSES, json=response_body("Again", previous_response_id=made.id))
    check_error(reply, 400, param="previous_response_id", code="previous_response_not_found",
                message=f"Previous response with id '{made.id}' not found.")
    with pytest.raises(openai.BadRequestError):
        client.responses.create(**response_body("Again", previous_response_id="resp_doesnotexist"))


def test_s43_reference_to_an_item_that_was_not_stored(wire):
    made = wire.post(RESPONSES, json=response_body("Hello!", store=False)).json()
    item = made["output"][0]["id"]
    reply = wire.post(RESPONSES, json={"model": MODEL, "input": [{"type": "item_reference", "id": item}]})
    check_error(reply, 404, param="input", message=f"Item with id '{item}' not found.")


def test_s51_delete(wire, client):
    made = client.responses.create(**response_body("Hello!"))
    assert client.responses.delete(made.id) is None
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)
    again = wire.post(RESPONSES, json=response_body("Hello!")).json()["id"]
    assert wire.delete(f"{RESPONSES}/{again}").json() == {"id": again, "object": "response", "deleted": True}
    check_error(wire.delete(f"{RESPONSES}/{again}"), 404, message=again)
    check_error(wire.get(f"{RESPONSES}/{again}/input_items"), 404, message=again)


@pytest.mark.parametrize("point, told", [
    ("store.commit:2:EIO", "failed"),
    ("store.commit:2:EIO:2", "failed"),  # nor can that be written at once
    ("store.answer:2", "completed"),     # the commit was done
])
def test_s51_last_commit_of_a_stream_fails(faults, point, told):
    """Whatever becomes of the commit, the stored response gets to be what the client was told."""
    with Server() as server, \
            httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {API_KEY}"}, timeout=60) as wire:
        with wire.stream("POST", RESPONSES, headers={"X-Cairn-Fault": f"point={point}"},
                         json=response_body("Hi", stream=True, max_output_tokens=64)) as reply:
            event = sse_frames(reply.read())[-1].json
        said = event["response"]
        assert event["type"] == f"response.{said['status']}" and said["status"] == told
        deadline = time.monotonic() + 20
        while (stored := wire.get(f"{RESPONSES}/{said['id']}").json()) != said and time.monotonic() < deadline:
            time.sleep(0.1)
        assert stored == said


def test_s51_input_items_pages(wire, client):
    made = client.responses.create(model=MODEL, input=[
        {"role": "user", "content": "My name is Ana."},
        {"role": "assistant", "content": "Hello Ana!"},
        {"role": "user", "content": [{"type": "input_text", "text": "What is my name?"}]}])
    page = wire.get(f"{RESPONSES}/{made.id}/input_items").json()
    assert page["object"] == "list" and page["has_more"] is False
    assert len(page["data"]) == 3
    assert page["first_id"] == page["data"][0]["id"] and page["last_id"] == page["data"][-1]["id"]
    # Newest first by default.
    assert page["data"][0]["content"] == [{"type": "input_text", "text": "What is my name?"}]
    for item in page["data"]:
        assert item["type"] == "message" and item["id"].startswith("msg_") and item["status"] == "completed"
    assert page["data"][-1]["content"] == [{"type": "input_text", "text": "My name is Ana."}]
    ascending = wire.get(f"{RESPONSES}/{made.id}/input_items", params={"order": "asc"}).json()
    ids = [item["id"] for item in ascending["data"]]
    assert ids == [item["id"] for item in reversed(page["data"])]
    first = wire.get(f"{RESPONSES}/{made.id}/input_items", params={"order": "asc", "limit": 2}).json()
    assert first["has_more"] is True and [item["id"] for item in first["data"]] == ids[:2]
    rest = wire.get(f"{RESPONSES}/{made.id}/input_items",
                    params={"order": "asc", "limit": 2, "after": first["last_id"]}).json()
    assert rest["has_more"] is False and [item["id"] for item in rest["data"]] == ids[2:]
    assert [item.id for item in client.responses.input_items.list(made.id, limit=1, order="asc")] == ids


def test_s51_input_items_with_ids_given_twice(wire, client):
    """Placeholder ids (agents-js sends FAKE_ID) and items echoed into a chain: paging still ends."""
    first = client.responses.create(**response_body([
        {"type": "message", "id": "FAKE_ID", "role": "user", "content": str(i)} for i in range(3)]))
    second = client.responses.create(**response_body(
        [*(item.model_dump() for item in first.output), {"type": "item_reference", "id": first.output[0].id},
         {"role": "user", "content": "Again"}], previous_response_id=first.id))
    url, after, seen = f"{RESPONSES}/{second.id}/input_items", None, []
    while len(seen) < 20:
        page = wire.get(url, params={"order": "asc", "limit": 1, **({"after": after} if after else {})}).json()
        after = page["last_id"]
        seen.append(after)
        if not page["has_more"]:
            break
    assert len(seen) == len(set(seen)) == 7, seen
    assert seen[0] == "FAKE_ID" and seen[3] == first.output[0].id
    reply = wire.post(RESPONSES, json=response_body([{"type": "item_reference", "id": seen[1]}]))
    assert reply.status_code == 200, reply.text


def test_s51_input_items_when_the_parent_is_gone(wire, client):
    first = client.responses.create(**response_body("First"))
    second = client.responses.create(**response_body("Second", previous_response_id=first.id))
    client.responses.delete(first.id)
    item, = wire.get(f"{RESPONSES}/{second.id}/input_items").json()["data"]
    assert item["content"][0]["text"] == "Second"


def test_s51_string_input_becomes_an_item(wire):
    made = wire.post(RESPONSES, json=response_body("Hello!")).json()
    item, = wire.get(f"{RESPONSES}/{made['id']}/input_items").json()["data"]
    assert item["role"] == "user" and item["content"] == [{"type": "input_text", "text": "Hello!"}]


def test_s53_conversation_and_previous_response_exclude_each_other(wire, client):
    made = client.responses.create(**response_body("Hello!"))
    reply = wire.post(RESPONSES, json=response_body("Again", previous_response_id=made.id,
                                                    conversation="conv_123"))
    assert reply.status_code == 400, reply.text
    assert reply.json()["error"]["param"] in (None, "conversation", "previous_response_id")
    assert "conversation" in reply.json()["error"]["message"]


def test_s54_chain_carries_items_but_not_instructions(wire, client):
    first = client.responses.create(**response_body("My name is Bob.", instructions="Answer in uppercase."))
    second = client.responses.create(**response_body("What is my name?", previous_response_id=first.id))
    assert second.instructions is None and second.previous_response_id == first.id
    spelled = wire.post(RESPONSES, json=response_body([
        {"role": "user", "content": "My name is Bob."},
        {"role": "assistant", "content": first.output_text},
        {"role": "user", "content": "What is my name?"}])).json()
    assert second.usage.input_tokens == spelled["usage"]["input_tokens"]
    assert second.output_text == spelled["output"][0]["content"][0]["text"]


def test_s54_many_hops(client):
    previous, tokens = None, []
    for hop in range(6):
        made = client.responses.create(**response_body(f"Say {hop}.", max_output_tokens=16,
                                                       previous_response_id=previous))
        previous = made.id
        tokens.append(made.usage.input_tokens)
    assert tokens == sorted(tokens) and len(set(tokens)) == len(tokens)
    inherited = list(client.responses.input_items.list(previous, order="asc"))
    assert inherited[-1].content[0].text == "Say 5."


def test_s54_retrieved_while_deleted_parent(client):
    """A chain keeps its own copy of nothing: a deleted parent is a parent that is not there."""
    first = client.responses.create(**response_body("Hello!"))
    client.responses.delete(first.id)
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(**response_body("Again", previous_response_id=first.id))
    assert caught.value.code == "previous_response_not_found"


def test_s55_every_form_of_an_input_item(wire, client):
    plain = wire.post(RESPONSES, json=response_body("What is the capital of France?")).json()
    text = plain["output"][0]["content"][0]["text"]
    forms = [
        [{"role": "user", "content": "What is the capital of France?"}],
        [{"type": "message", "role": "user", "content": "What is the capital of France?"}],
        [{"type": "message", "role": "user",
          "content": [{"type": "input_text", "text": "What is the capital of France?"}]}],
        [{"role": "user", "content": [{"type": "input_text", "text": "What is the capital "},
                                      {"type": "input_text", "text": "of France?"}]}],
    ]
    for form in forms:
        reply = wire.post(RESPONSES, json=response_body(form))
        assert reply.status_code == 200, reply.text
        assert reply.json()["output"][0]["content"][0]["text"] == text, form


def test_s55_output_items_can_be_sent_back(wire, client):
    first = wire.post(RESPONSES, json=response_body("My name is Bob.")).json()
    said = first["output"][0]["content"][0]["text"]
    ask = {"role": "user", "content": "What is my name?"}
    hello = {"role": "user", "content": "My name is Bob."}
    forms = [
        [hello, first["output"][0], ask],
        [hello, {"role": "assistant", "content": said}, ask],
        [hello, {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": said}]}, ask],
        [hello, {**first["output"][0], "status": None, "parsed": None}, ask],
        [hello, {"type": "item_reference", "id": first["output"][0]["id"]}, ask],
        [hello, {"id": first["output"][0]["id"]}, ask],
        [hello, {"id": first["output"][0]["id"], "type": None}, ask],
    ]
    texts = set()
    for form in forms:
        reply = wire.post(RESPONSES, json=response_body(form))
        assert reply.status_code == 200, (form, reply.text)
        texts.add(reply.json()["output"][0]["content"][0]["text"])
    assert len(texts) == 1
    sdk = client.responses.create(model=MODEL, temperature=0,
                                  input=[hello, *client.responses.retrieve(first["id"]).output, ask])
    assert sdk.output_text in texts


def test_s57_overflow_and_truncation(wire):
    check_error(wire.post(RESPONSES, json=response_body("word " * 20000)), 400, param="input",
                code="context_length_exceeded", message="context window")
    turns = [{"role": role, "content": f"{role} says {i} " + "and so on " * 20}
             for i in range(40) for role in ("user", "assistant")]
    reply = wire.post(RESPONSES, json=response_body(turns + [{"role": "user", "content": "Hello!"}],
                                                    truncation="auto"))
    assert reply.status_code == 200, reply.text


def test_s57_number_of_items_is_bounded(wire):
    turns = [{"role": "user", "content": "a"}] * 10_001
    check_error(wire.post(RESPONSES, json=response_body(turns, truncation="auto")), 400, param="input",
                code="array_above_max_length", message="maximum length 10000")
    assert wire.post(RESPONSES, json=response_body(turns[1:], truncation="auto")).status_code == 200


def test_s66_input_tokens(wire, client):
    counted = client.responses.input_tokens.count(model=MODEL, input="Hello!")
    assert counted.object == "response.input_tokens"
    made = client.responses.create(**response_body("Hello!"))
    assert counted.input_tokens == made.usage.input_tokens
    longer = client.responses.input_tokens.count(model=MODEL, input="Hello!", instructions="Be brief.")
    assert longer.input_tokens > counted.input_tokens
    chained = client.responses.input_tokens.count(model=MODEL, input="Again", previous_response_id=made.id)
    assert chained.input_tokens > counted.input_tokens


def test_s69_logprobs_only_when_included(wire):
    body = response_body("Count to 5", top_logprobs=2, include=["message.output_text.logprobs"])
    part = wire.post(RESPONSES, json=body).json()["output"][0]["content"][0]
    assert part["logprobs"] and all(len(token["top_logprobs"]) == 2 for token in part["logprobs"])
    assert bytes(b for token in part["logprobs"] for b in token["bytes"]).decode() == part["text"]
    events = response_events(wire, body)
    streamed = [token["token"] for event in events if event["type"] == "response.output_text.delta"
                for token in event["logprobs"]]
    assert streamed == [token["token"] for token in part["logprobs"]]
    bare = wire.post(RESPONSES, json=response_body("Count to 5")).json()
    assert bare["output"][0]["content"][0]["logprobs"] == []


def test_foreign_and_unknown_ids(wire):
    check_error(wire.get(f"{RESPONSES}/resp_unknown"), 404, message="resp_unknown")
    check_error(wire.get(f"{RESPONSES}/resp_unknown/input_items"), 404, message="resp_unknown")


def test_aliases_are_resolved_for_responses(client):
    made = client.responses.create(model="gpt-5", input=STORY)
    assert made.output_text is not None and made.status in ("completed", "incomplete")


def test_s66_input_tokens_refuses_what_it_cannot_count(wire):
    reply = wire.post(f"{RESPONSES}/input_tokens", json={"model": MODEL, "input": "hi", "personality": "friendly"})
    check_error(reply, 400, param="personality", code="unsupported_parameter")
