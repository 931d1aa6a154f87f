"""Conversations and their items, by themselves and behind responses: scenarios 52 and 53 of the conformance
list, and the pages of scenario 73 over items."""
import asyncio
import concurrent.futures
import contextlib
import time

import httpx
import openai
import pytest

from cairn_server import API_KEY, MODEL, TEST_DATABASE, Server, group
from postgres import new_database
from support import check_error, response_body, response_events

CONVERSATIONS = "/v1/conversations"
RESPONSES = "/v1/responses"
# A reply that takes a while: the model is held to it.
LONG = {"tools": [{"type": "custom", "name": "long", "format": {
    "type": "grammar", "syntax": "regex", "definition": "(around and ){120}"}}],
    "tool_choice": {"type": "custom", "name": "long"}}


def said(text, role="user"):
    return {"type": "message", "role": role, "content": text}


def make(wire, *items, **extra):
    reply = wire.post(CONVERSATIONS, json={"items": list(items), **extra})
    assert reply.status_code == 200, reply.text
    return reply.json()["id"]


def items_of(wire, conversation, **params):
    reply = wire.get(f"{CONVERSATIONS}/{conversation}/items", params={"order": "asc", "limit": 100, **params})
    assert reply.status_code == 200, reply.text
    return reply.json()["data"]


def texts(items):
    return [item["content"][0]["text"] for item in items]


# ---- conversations ----

def test_s52_life_of_a_conversation(wire, client):
    made = client.conversations.create(metadata={"topic": "demo"})
    assert made.id.startswith("conv_") and made.object == "conversation" and made.created_at > 1.7e9
    assert made.metadata == {"topic": "demo"}
    assert client.conversations.retrieve(made.id) == made
    changed = client.conversations.update(made.id, metadata={"other": "x"})
    assert changed.metadata == {"other": "x"} and changed.created_at == made.created_at
    gone = client.conversations.delete(made.id)
    assert gone.deleted is True and gone.id == made.id and gone.object == "conversation.deleted"
    for call in (client.conversations.retrieve, client.conversations.items.list):
        with pytest.raises(openai.NotFoundError):
            call(made.id)
    check_error(wire.delete(f"{CONVERSATIONS}/{made.id}"), 404,
                message=f"Conversation with id '{made.id}' not found.")


@pytest.mark.parametrize("body", [None, {}, {"items": []}, {"items": None, "metadata": None}])
def test_s52_empty_ones(wire, body):
    reply = wire.post(CONVERSATIONS, json=body) if body is not None else wire.post(CONVERSATIONS)
    assert reply.status_code == 200, reply.text
    assert set(reply.json()) == {"id", "object", "created_at", "metadata"}
    assert reply.json()["metadata"] == {}
    listed = wire.get(f"{CONVERSATIONS}/{reply.json()['id']}/items").json()
    assert listed["data"] == [] and listed["has_more"] is False


def test_s52_bad_bodies(wire):
    check_error(wire.post(CONVERSATIONS, json={"items": [said("x")] * 21}), 400, param="items",
                code="array_above_max_length")
    check_error(wire.post(CONVERSATIONS, json={"colour": "red"}), 400, param="colour", code="unknown_parameter")
    made = make(wire)
    check_error(wire.post(f"{CONVERSATIONS}/{made}", json={}), 400, param="metadata",
                code="missing_required_parameter")
    check_error(wire.post(f"{CONVERSATIONS}/{made}/items", json={}), 400, param="items",
                code="missing_required_parameter")
    check_error(wire.post(f"{CONVERSATIONS}/{made}/items", json={"items": [
        said("ok"), {"type": "reasoning", "id": "rs_x", "summary": [], "encrypted_content": "forged"}]}), 400,
        param="items[1].encrypted_content", code="invalid_encrypted_content")
    check_error(wire.post(f"{CONVERSATIONS}/{made}/items", json={"items": [
        {"type": "compaction", "encrypted_content": "forged"}]}), 400,
        param="items[0].encrypted_content", code="invalid_encrypted_content")
    check_error(wire.post(f"{CONVERSATIONS}/{made}/items", json={"items": [
        {"type": "item_reference", "id": "msg_unknown"}]}), 404, param="items", message="msg_unknown")
    assert items_of(wire, made) == []


# ---- items ----

def test_s52_items(wire, client):
    made = client.conversations.create(items=[said("one"), said("two", "assistant"), said("three", "developer")])
    listed = client.conversations.items.list(made.id)
    assert [i.content[0].text for i in listed.data] == ["three", "two", "one"]
    assert listed.first_id == listed.data[0].id and listed.last_id == listed.data[-1].id
    assert listed.has_more is False
    kinds = [(i.role, i.content[0].type, i.status) for i in reversed(listed.data)]
    assert kinds == [("user", "input_text", "completed"), ("assistant", "output_text", "completed"),
                     ("developer", "input_text", "completed")]
    added = client.conversations.items.create(made.id, items=[
        {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "42"}])
    assert [i.type for i in added.data] == ["function_call", "function_call_output"]
    assert added.first_id == added.data[0].id and added.last_id == added.data[1].id and added.has_more is False
    assert added.data[0].id.startswith("fc_") and added.data[1].id.startswith("fco_")
    one = client.conversations.items.retrieve(added.data[0].id, conversation_id=made.id)
    assert one == added.data[0]
    left = client.conversations.items.delete(added.data[0].id, conversation_id=made.id)
    assert left.id == made.id and left.object == "conversation"
    with pytest.raises(openai.NotFoundError):
        client.conversations.items.retrieve(added.data[0].id, conversation_id=made.id)
    check_error(wire.delete(f"{CONVERSATIONS}/{made.id}/items/{added.data[0].id}"), 404,
                message=f"Item with id '{added.data[0].id}' not found.")
    check_error(wire.get(f"{CONVERSATIONS}/conv_none/items/{added.data[1].id}"), 404,
                message="Conversation with id 'conv_none' not found.")
    assert len(items_of(wire, made.id)) == 4


def test_s52_items_keep_the_ids_they_have_unless_taken(wire):
    first, second = make(wire), make(wire)
    item = {**said("x"), "id": "msg_chosen"}
    for conversation in (first, second):
        for turn in range(2):
            reply = wire.post(f"{CONVERSATIONS}/{conversation}/items", json={"items": [item]}).json()
            assert (reply["data"][0]["id"] == "msg_chosen") == (turn == 0)
    assert len({i["id"] for i in items_of(wire, first)}) == 2
    check_error(wire.get(f"{CONVERSATIONS}/{first}/items/{items_of(wire, second)[1]['id']}"), 404,
                message="Item with id")


@pytest.mark.parametrize("length", [201, 204, 300])
def test_s52_ids_that_are_too_long_are_refused(wire, length):
    """Its conversation's id stands before it in the store, which has bounds: that is said before it is too late."""
    item = {**said("x"), "id": "msg_" + "a" * (length - 4)}
    longest = {**said("x"), "id": "msg_" + "a" * 196}
    conversation = make(wire, longest)
    for reply, field in ((wire.post(CONVERSATIONS, json={"items": [item]}), "items"),
                         (wire.post(f"{CONVERSATIONS}/{conversation}/items", json={"items": [item]}), "items"),
                         (respond(wire, conversation, [item]), "input"),
                         (respond(wire, conversation, [item], background=True), "input")):
        check_error(reply, 400, param=f"{field}[0].id", code="string_above_max_length", message="at most 200 bytes")
    assert [i["id"] for i in items_of(wire, conversation)] == [longest["id"]]


def test_s52_ids_that_were_taken_in_the_queue():
    """Two responses wait with the same item, which somebody adds to the conversation meanwhile: all get their place."""
    with Server(["--background", "1"]) as server:
        wire = httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {API_KEY}"}, timeout=60)
        first = wire.post(RESPONSES, json=response_body("Hello!", background=True, **LONG)).json()
        conversation, item = make(wire), {**said("Hello."), "id": "msg_mine"}
        waiting = [respond(wire, conversation, [item], background=True).json()["id"] for _ in range(2)]
        added = wire.post(f"{CONVERSATIONS}/{conversation}/items", json={"items": [item]}).json()["data"][0]
        states = [wire.get(f"{RESPONSES}/{i}").json()["status"] for i in (first["id"], *waiting)]
        assert set(states[1:]) == {"queued"} and added["id"] == "msg_mine"
        deadline = time.monotonic() + 60
        while any(s in ("queued", "in_progress") for s in states) and time.monotonic() < deadline:
            time.sleep(0.05)
            states = [wire.get(f"{RESPONSES}/{i}").json()["status"] for i in (first["id"], *waiting)]
        assert set(states[1:]) <= {"completed", "incomplete"}, states
        items = items_of(wire, conversation)
        assert [i["role"] for i in items] == ["user"] + ["user", "assistant"] * 2
        assert len({i["id"] for i in items}) == 5
        for n, each in enumerate(waiting):  # and the response knows them by the same ids
            inputs = wire.get(f"{RESPONSES}/{each}/input_items", params={"order": "asc"}).json()["data"]
            assert inputs == items[:2 + 2 * n]


@pytest.mark.parametrize("nth", [1, 2])
def test_s52_a_deletion_is_whole(nth):
    """The server dies at a commit: the item is there and can be referenced, or neither."""
    with Server() as server:
        wire = httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {API_KEY}"}, timeout=60)
        conversation = make(wire, said("The word is plum."))
        item = items_of(wire, conversation)[0]["id"]
        with contextlib.suppress(httpx.HTTPError):
            wire.delete(f"{CONVERSATIONS}/{conversation}/items/{item}",
                        headers={"X-Cairn-Fault": f"point=store.commit:{nth}:kill"})
        server.kill()
        server.start()
        wire = httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {API_KEY}"}, timeout=60)
        there = bool(items_of(wire, conversation))
        reply = wire.post(CONVERSATIONS, json={"items": [{"type": "item_reference", "id": item}]})
        assert reply.status_code == (200 if there else 404), reply.text


def test_s52_a_copy_is_deleted_alone(wire):
    first = make(wire, said("The word is plum."))
    item = items_of(wire, first)[0]
    copy = make(wire, item)
    assert items_of(wire, copy)[0]["id"] == item["id"]
    assert wire.delete(f"{CONVERSATIONS}/{copy}/items/{item['id']}").status_code == 200
    assert items_of(wire, copy) == [] and items_of(wire, first) == [item]
    assert wire.post(CONVERSATIONS, json={"items": [{"type": "item_reference", "id": item["id"]}]}).status_code == 200
    assert wire.delete(f"{CONVERSATIONS}/{first}/items/{item['id']}").status_code == 200
    check_error(wire.post(CONVERSATIONS, json={"items": [{"type": "item_reference", "id": item["id"]}]}), 404,
                param="items", message=item["id"])


def test_s52_items_can_be_referenced_also_after_the_conversation(wire):
    made = make(wire, said("The word is heron."))
    item = items_of(wire, made)[0]["id"]
    body = {"model": MODEL, "input": [{"type": "item_reference", "id": item}, said("Which word?")]}
    assert wire.post(RESPONSES, json={**body, "max_output_tokens": 16}).status_code == 200
    assert wire.delete(f"{CONVERSATIONS}/{made}").status_code == 200
    assert wire.post(RESPONSES, json={**body, "max_output_tokens": 16}).status_code == 200
    again = make(wire, {"type": "item_reference", "id": item})
    assert texts(items_of(wire, again)) == ["The word is heron."]
    own = items_of(wire, make(wire, said("To be deleted.")))  # deleting an item itself ends that
    conversation = make(wire, said("This one too."))
    own = items_of(wire, conversation)[0]["id"]
    assert wire.delete(f"{CONVERSATIONS}/{conversation}/items/{own}").status_code == 200
    check_error(wire.post(RESPONSES, json={"model": MODEL, "input": [{"id": own}]}), 404, param="input",
                message=own)


def test_s73_pages_of_items_under_inserts(wire, client):
    made = client.conversations.create()
    for k in range(3):
        client.conversations.items.create(made.id, items=[said(f"{k}-{i}") for i in range(20)])
    want = [f"{k}-{i}" for k in range(3) for i in range(20)]
    for order in ("asc", "desc"):
        seen = []
        for item in client.conversations.items.list(made.id, limit=7, order=order):
            seen.append(item.content[0].text)
            if len(seen) == 8:
                client.conversations.items.create(made.id, items=[said(f"late {order}")])
        old = [text for text in seen if not text.startswith("late")]
        assert old == (want if order == "asc" else want[::-1])
        assert len(seen) == len(set(seen))


def test_s52_writers_at_the_same_time(wire, client):
    made = client.conversations.create()

    def add(k):
        return client.conversations.items.create(made.id, items=[said(f"{k}-{i}") for i in range(5)])

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(16)))
    got = texts(items_of(wire, made.id))
    assert sorted(got) == sorted(f"{k}-{i}" for k in range(16) for i in range(5))
    for k in range(16):  # each request's items stand together, in order
        at = got.index(f"{k}-0")
        assert got[at:at + 5] == [f"{k}-{i}" for i in range(5)]


# ---- responses that go on with a conversation ----

def respond(wire, conversation, text="Hello!", **extra):
    return wire.post(RESPONSES, json=response_body(text, conversation=conversation, max_output_tokens=32, **extra))


def test_s52_responses_are_appended(wire, client):
    conversation = make(wire, said("Be brief.", "developer"))
    first = respond(wire, conversation).json()
    assert first["conversation"] == {"id": conversation}
    second = respond(wire, {"id": conversation}, "And again?").json()
    assert second["conversation"] == {"id": conversation}
    assert second["usage"]["input_tokens"] > first["usage"]["input_tokens"] + 5
    items = items_of(wire, conversation)
    assert [i["role"] for i in items] == ["developer", "user", "assistant", "user", "assistant"]
    assert items[2] == first["output"][-1] and items[4] == second["output"][-1]
    assert texts(items)[1] == "Hello!" and texts(items)[3] == "And again?"
    same = respond(wire, make(wire, *[said(t, i["role"]) for i, t in zip(items, texts(items))]), "Why?").json()
    last = respond(wire, conversation, "Why?").json()
    assert last["output"][-1]["content"][0]["text"] == same["output"][-1]["content"][0]["text"]
    counted = wire.post(f"{RESPONSES}/input_tokens", json={
        "model": MODEL, "conversation": conversation, "input": "Why?"}).json()
    assert counted["input_tokens"] > last["usage"]["input_tokens"]
    assert wire.get(f"{RESPONSES}/{last['id']}").json()["conversation"] == {"id": conversation}
    assert wire.delete(f"{RESPONSES}/{last['id']}").status_code == 200
    assert len(items_of(wire, conversation)) == 7


def test_s52_also_what_is_not_stored(wire):
    conversation = make(wire)
    made = respond(wire, conversation, store=False).json()
    assert wire.get(f"{RESPONSES}/{made['id']}").status_code == 404
    assert [i["role"] for i in items_of(wire, conversation)] == ["user", "assistant"]
    events = response_events(wire, response_body("Again?", conversation=conversation, store=False, stream=True,
                                                 max_output_tokens=16))
    assert events[-1]["response"]["conversation"] == {"id": conversation}
    assert len(items_of(wire, conversation)) == 4


def test_s52_streams_and_background(wire, client):
    conversation = make(wire)
    with client.responses.stream(model=MODEL, input="Hello!", conversation=conversation,
                                 max_output_tokens=32) as stream:
        for _ in stream:
            pass
    made = client.responses.create(model=MODEL, input="Again?", conversation=conversation, background=True)
    assert made.conversation.id == conversation
    while made.status in ("queued", "in_progress"):
        time.sleep(0.02)
        made = client.responses.retrieve(made.id)
    assert made.status in ("completed", "incomplete")
    items = items_of(wire, conversation)
    assert [i["role"] for i in items] == ["user", "assistant"] * 2
    assert items[3]["id"] == made.output[-1].id


def test_s52_failures_append_nothing(wire, faults):
    conversation = make(wire)
    check_error(respond(wire, conversation, [{"type": "function_call_output", "call_id": "x", "output": "y"}]), 400,
                param="input", message="No tool call found")
    reply = wire.post(RESPONSES, json=response_body("Hello!", conversation=conversation),
                      headers={"X-Cairn-Fault": "midstream=1"})
    assert reply.status_code == 500
    events = response_events(wire, response_body("Hello!", conversation=conversation, stream=True),
                             headers={"X-Cairn-Fault": "midstream=1"})
    assert events[-1]["type"] == "response.failed"
    assert items_of(wire, conversation) == []
    assert respond(wire, conversation).status_code == 200  # and nobody holds it


def left_while_it_runs(wire):
    """A response that is refused company, and whose client then leaves; None when it had ended before that."""
    conversation = make(wire)
    long = response_body("Hello!", conversation=conversation, stream=True, **LONG)
    with wire.stream("POST", RESPONSES, json=long) as stream:
        assert stream.status_code == 200
        lines = stream.iter_lines()
        while "delta" not in next(lines):
            pass
        replies = [respond(wire, conversation), respond(wire, conversation, background=True),
                   wire.post(f"{CONVERSATIONS}/{conversation}/items", json={"items": [said("x")]})]
        changed = wire.post(f"{CONVERSATIONS}/{conversation}", json={"metadata": {"k": "v"}})
        assert changed.status_code == 200
    for _ in range(200):  # the client left: it is free again soon
        reply = respond(wire, conversation)
        if reply.status_code == 200 or "No tool output" in reply.text:
            break
        time.sleep(0.02)
    if "No tool output" in reply.text:
        return None
    for refused in replies:
        check_error(refused, 400, code="conversation_locked", param="conversation",
                    message="Another process is currently operating on this conversation.")
    assert reply.status_code == 200, reply.text
    return conversation


def test_s52_one_response_at_a_time(wire, make_async):
    conversation = next(filter(None, (left_while_it_runs(wire) for _ in range(10))), None)
    assert conversation, "every response ended before its client left"
    assert [i["role"] for i in items_of(wire, conversation)] == ["user", "assistant"]

    async def many():
        made = client.conversations.create
        shared = (await made()).id
        return shared, await asyncio.gather(*(
            client.responses.create(model=MODEL, input=f"Say {i}", conversation=shared, max_output_tokens=16)
            for i in range(12)), return_exceptions=True)

    client = make_async(max_retries=0)
    shared, replies = asyncio.run(many())
    done = [r for r in replies if not isinstance(r, Exception)]
    assert done and all(r.code == "conversation_locked" for r in replies if isinstance(r, Exception))
    items = items_of(wire, shared)
    assert [i["role"] for i in items] == ["user", "assistant"] * len(done)
    assert {i["id"] for i in items[1::2]} == {r.output[-1].id for r in done}


def test_s52_deleted_while_a_response_runs(wire):
    conversation = make(wire)
    body = response_body("Hello!", conversation=conversation, stream=True, **LONG)
    with wire.stream("POST", RESPONSES, json=body) as stream:
        lines = stream.iter_lines()
        while "delta" not in next(lines):
            pass
        assert wire.delete(f"{CONVERSATIONS}/{conversation}").status_code == 200
        text = "\n".join(lines)
    assert "response.incomplete" in text or "response.completed" in text
    check_error(wire.get(f"{CONVERSATIONS}/{conversation}/items"), 404, message=conversation)
    check_error(respond(wire, conversation), 404, message=f"Conversation with id '{conversation}' not found.")
    check_error(respond(wire, "no such id"), 404, message="not found")


def test_s52_items_can_be_referenced_within(wire):
    conversation = make(wire, said("The word is heron."))
    item = items_of(wire, conversation)[0]["id"]
    made = respond(wire, conversation, [{"type": "item_reference", "id": item}, said("Which word?")])
    assert made.status_code == 200, made.text
    items = items_of(wire, conversation)
    assert texts(items)[:3] == ["The word is heron.", "The word is heron.", "Which word?"]
    assert len({i["id"] for i in items}) == 4


def test_s57_a_conversation_longer_than_the_context(wire):
    conversation = make(wire, *[said("many words " * 400)] * 10)
    check_error(respond(wire, conversation), 400, param="input", code="context_length_exceeded",
                message="exceeds the context window")
    made = respond(wire, conversation, truncation="auto")
    assert made.status_code == 200, made.text
    assert len(items_of(wire, conversation)) == 12


def fill(wire, *pairs):
    """A conversation of these, each added by a request of its own."""
    conversation = make(wire)
    for items in pairs:
        reply = wire.post(f"{CONVERSATIONS}/{conversation}/items", json={"items": items})
        assert reply.status_code == 200, reply.text
    return conversation


def exchange(call_id, size):
    return [{"type": "function_call", "call_id": call_id, "name": "f", "arguments": '{"a": "' + "x" * size + '"}'},
            {"type": "function_call_output", "call_id": call_id, "output": "y" * size}]


COMPACTED = {"context_management": [{"type": "compaction"}]}


def test_s57_a_very_long_conversation(wire):
    """What is read of it begins between a call and its result: that is no fault of the request."""
    conversation = fill(wire, *(exchange(f"call_{n:02}", 499_000) for n in range(11)), [said("done", "assistant")])
    check_error(respond(wire, conversation), 400, param="conversation", code="context_length_exceeded",
                message="Please set 'truncation' to 'auto' or compact it")
    assert respond(wire, conversation, truncation="auto").status_code == 200
    made = respond(wire, conversation, **COMPACTED)
    assert made.status_code == 200, made.text
    made = respond(wire, conversation, "And?")
    assert made.status_code == 200, made.text  # it begins with the compaction now
    assert "compaction" in [item["type"] for item in items_of(wire, conversation)]


def test_s57_more_than_a_template_takes(wire):
    """Messages of more than a template renders are too long as others are."""
    much = [said("word " * 500_000)] * 5
    refusals = {f"{RESPONSES}/input_tokens": ({"input": much}, "input"),
                "/v1/chat/completions": ({"messages": much}, "messages")}
    for path, (body, param) in refusals.items():
        check_error(wire.post(path, json={"model": MODEL, **body}), 400, param=param, code="context_length_exceeded",
                    message="far more tokens")
    for first, more in (("message", {"truncation": "auto"}), ("compaction", COMPACTED)):
        reply = wire.post(RESPONSES, json=response_body([*much, said("Hello!")], max_output_tokens=16, **more))
        assert reply.status_code == 200, reply.text
        assert reply.json()["output"][0]["type"] == first


def test_s53_not_with_a_previous_response(wire):
    conversation = make(wire)
    first = respond(wire, conversation).json()
    check_error(respond(wire, conversation, previous_response_id=first["id"]), 400,
                code="mutually_exclusive_parameters", message="Mutually exclusive")
    assert len(items_of(wire, conversation)) == 2


def test_s52_what_a_killed_server_held_is_free():
    with Server() as server:
        wire = httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {API_KEY}"}, timeout=60)
        conversation = make(wire, said("Before."))
        body = response_body("Hello!", conversation=conversation, stream=True, **LONG)
        with pytest.raises(httpx.HTTPError), wire.stream("POST", RESPONSES, json=body) as stream:
            for line in stream.iter_lines():
                if "delta" in line:
                    server.kill()
        server.start()
        wire = httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {API_KEY}"}, timeout=60)
        assert texts(items_of(wire, conversation)) == ["Before."]
        assert respond(wire, conversation).status_code == 200
        assert [i["role"] for i in items_of(wire, conversation)] == ["user", "user", "assistant"]


def test_s51_input_items_of_a_response_in_a_conversation(wire):
    conversation = make(wire, said("Be brief.", "developer"))
    first = respond(wire, conversation).json()
    second = respond(wire, conversation, "And again?").json()
    respond(wire, conversation, "Not yet there.")

    def inputs(made):
        return wire.get(f"{RESPONSES}/{made['id']}/input_items", params={"order": "asc", "limit": 100}).json()["data"]

    assert texts(inputs(first)) == ["Be brief.", "Hello!"]
    everything = items_of(wire, conversation)
    assert inputs(second) == everything[:4]
    assert wire.delete(f"{CONVERSATIONS}/{conversation}").status_code == 200
    assert texts(inputs(second)) == ["And again?"]


@pytest.mark.skipif(not TEST_DATABASE, reason="several servers need a database that they share")
def test_s52_one_response_at_a_time_among_servers():
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(server) for server in group(new_database(TEST_DATABASE))]
        one, other = (httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {API_KEY}"}, timeout=60)
                      for server in servers)
        conversation = make(one, said("Before."))
        body = response_body("Hello!", conversation=conversation, stream=True, **LONG)
        with one.stream("POST", RESPONSES, json=body) as stream:
            lines = stream.iter_lines()
            while "delta" not in next(lines):
                pass
            check_error(respond(other, conversation), 400, param="conversation", code="conversation_locked")
            check_error(other.post(f"{CONVERSATIONS}/{conversation}/items", json={"items": [said("x")]}), 400,
                        param="conversation", code="conversation_locked")
            for _ in lines:
                pass
        made = [i["type"] for i in items_of(other, conversation)]
        assert made == ["message", "message", "custom_tool_call"]

        shared = make(one)

        def add(k):
            wire = (one, other)[k % 2]
            reply = wire.post(f"{CONVERSATIONS}/{shared}/items", json={"items": [said(f"{k}-{i}") for i in range(3)]})
            assert reply.status_code in (200, 503), reply.text
            return k if reply.status_code == 200 else None

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            done = [k for k in pool.map(add, range(24)) if k is not None]
        got = texts(items_of(other, shared))
        assert sorted(got) == sorted(f"{k}-{i}" for k in done for i in range(3)) and len(done) > 8
        for k in done:
            at = got.index(f"{k}-0")
            assert got[at:at + 3] == [f"{k}-{i}" for i in range(3)]


def test_s52_killed_in_the_background():
    """A response in the background goes on after a crash, and its items are in the conversation once."""
    headers = {"Authorization": f"Bearer {API_KEY}"}
    with Server() as server:
        with httpx.Client(base_url=server.url, headers=headers, timeout=60) as wire:
            conversation = make(wire)
            made = [wire.post(RESPONSES, json=response_body(f"Say {i}", conversation=conversation, background=True,
                                                            **(LONG if i == 0 else {"max_output_tokens": 16})))
                    for i in range(3)]
            assert [reply.status_code for reply in made[:1]] == [200]
            for _ in range(200):
                if wire.get(f"{RESPONSES}/{made[0].json()['id']}").json()["status"] == "in_progress":
                    break
                time.sleep(0.01)
        for _ in range(2):
            time.sleep(0.1)
            server.kill()
            server.start()
        with httpx.Client(base_url=server.url, headers=headers, timeout=60) as wire:
            accepted = [reply.json()["id"] for reply in made if reply.status_code == 200]
            ended = {}
            while len(ended) < len(accepted):
                for id_ in accepted:
                    body = wire.get(f"{RESPONSES}/{id_}").json()
                    if body["status"] not in ("queued", "in_progress"):
                        ended[id_] = body
                time.sleep(0.02)
            items = items_of(wire, conversation)
            assert len({i["id"] for i in items}) == len(items)
            for body in ended.values():
                times = [i["id"] for i in items].count(body["output"][-1]["id"]) if body["output"] else 0
                assert times == (body["status"] in ("completed", "incomplete")), body
            assert ended[accepted[0]]["status"] in ("completed", "incomplete")
