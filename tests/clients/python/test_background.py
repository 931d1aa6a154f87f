"""Background responses: scenarios 48-51 of the conformance list; restarts, races, many readers."""
import json
import random
import threading
import time

import httpx
import openai
import pytest

from cairn_server import API_KEY, MODEL, Server
from support import check_error, response_body, sse_frames

RESPONSES = "/v1/responses"
TERMINAL = ("response.completed", "response.incomplete", "response.failed")
RUNNING = ("queued", "in_progress")
WAIT = 120


def numbers(count, seed=""):
    """A body whose answer is long whatever the model would say: a list of `count` numbers, not the same twice."""
    schema = {"type": "object", "required": ["a"], "additionalProperties": False, "properties": {
        "a": {"type": "array", "items": {"type": "integer"}, "minItems": count, "maxItems": count}}}
    return {"model": MODEL, "input": f"List {count} numbers. {seed}", "background": True, "temperature": 1.3,
            "max_output_tokens": 1200, "text": {"format": {"type": "json_schema", "name": "n", "schema": schema}}}


def until(found, what="it"):
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        value = found()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f"{what} did not come within {WAIT} s")


def ended(wire, identity):
    """The response once it is over."""
    def look():
        body = wire.get(f"{RESPONSES}/{identity}").json()
        return body if body["status"] not in RUNNING else None
    return until(look, f"the end of {identity}")


def replay(wire, identity, **query):
    """The data lines of the stream, as they were sent."""
    with wire.stream("GET", f"{RESPONSES}/{identity}", params={"stream": "true", **query}) as reply:
        raw = reply.read()
    assert reply.status_code == 200, raw
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    frames = sse_frames(raw) if raw else []
    for frame in frames:
        assert frame.event == frame.json["type"]
    return [frame.data for frame in frames]


def check_whole(lines, stored=None):
    """A stream from its first event to its last: in order, one terminal event, text and items agree."""
    events = [json.loads(line) for line in lines]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.queued"]
    assert events[0]["response"]["status"] == "queued" and events[0]["response"]["output"] == []
    assert [event["type"] in TERMINAL for event in events] == [False] * (len(events) - 1) + [True]
    final = events[-1]["response"]
    if stored is not None:
        assert final == stored
    texts, done = {}, {}
    for event in events:
        if event["type"] == "response.output_item.added":
            assert event["output_index"] == len(texts)
            texts[event["item"]["id"]] = ""
        elif event["type"].endswith(".delta"):
            assert event["item_id"] == list(texts)[-1] and event["item_id"] not in done
            texts[event["item_id"]] += event["delta"]
        elif event["type"] == "response.output_item.done":
            done[event["item"]["id"]] = event["item"]
    assert list(done) == list(texts)
    assert list(done.values()) == final["output"]
    for item in final["output"]:
        if item["type"] == "message":
            assert "".join(part["text"] for part in item["content"]) == texts[item["id"]]
    return events


# ---- scenario 49: created, polled, streamed ----

def test_s49_queued_then_polled_to_its_end(client, short_prompt):
    made = client.responses.create(model=MODEL, input=short_prompt, background=True, temperature=0)
    assert made.status == "queued" and made.background is True and made.output == [] and made.usage is None
    while made.status in RUNNING:
        made = client.responses.retrieve(made.id)
    assert made.status == "completed" and made.background is True and made.completed_at >= made.created_at
    plain = client.responses.create(model=MODEL, input=short_prompt, temperature=0)
    assert made.output_text == plain.output_text
    assert made.usage.output_tokens == plain.usage.output_tokens
    assert client.responses.input_items.list(made.id).data[0].content[0].text == short_prompt


def test_s49_stream_of_a_new_one(client, wire):
    events = list(client.responses.create(**response_body("Hello!"), background=True, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events[:3]] == ["response.created", "response.queued", "response.in_progress"]
    assert [event.response.status for event in events[:3]] == ["queued", "queued", "in_progress"]
    assert events[-1].type == "response.completed"
    check_whole(replay(wire, events[0].response.id), wire.get(f"{RESPONSES}/{events[0].response.id}").json())


def test_s49_accumulator(client):
    made = client.responses.create(**response_body("Hello!"), background=True)
    with client.responses.stream(response_id=made.id) as stream:
        final = stream.get_final_response()
    assert final.id == made.id and final.status == "completed" and final.output_text


def test_s49_refusals(wire):
    check_error(wire.post(RESPONSES, json=response_body(background=True, store=False)), 400, param="background",
                code="invalid_value")
    check_error(wire.post(RESPONSES, json=response_body("word " * 9000, background=True)), 400, param="input",
                code="context_length_exceeded")
    check_error(wire.post(RESPONSES, json=response_body(background=True, previous_response_id="resp_none")), 400,
                param="previous_response_id", code="previous_response_not_found")


def test_s49_output_so_far_and_going_on(wire):
    """A finished background response is a conversation to go on with; one that runs is not."""
    made = wire.post(RESPONSES, json=numbers(100)).json()
    reply = wire.post(RESPONSES, json=response_body(previous_response_id=made["id"]))
    if wire.get(f"{RESPONSES}/{made['id']}").json()["status"] in RUNNING:
        check_error(reply, 400, param="previous_response_id", code="invalid_value")
    ended(wire, made["id"])
    reply = wire.post(RESPONSES, json=response_body("Thanks!", previous_response_id=made["id"], background=True,
                                                    truncation="auto"))
    assert reply.status_code == 200, reply.text
    assert ended(wire, reply.json()["id"])["status"] in ("completed", "incomplete")


def test_s49_tools_reasoning_and_item_references(wire):
    tool = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {
        "place": {"type": "string"}}, "required": ["place"], "additionalProperties": False}, "strict": True}
    made = wire.post(RESPONSES, json=response_body("Look there.", tools=[tool], tool_choice="required",
                                                   background=True)).json()
    body = ended(wire, made["id"])
    check_whole(replay(wire, made["id"]), body)
    call = next(item for item in body["output"] if item["type"] == "function_call")
    reply = wire.post(RESPONSES, json=response_body([
        {"type": "item_reference", "id": call["id"]},
        {"type": "function_call_output", "call_id": call["call_id"], "output": "Nothing."}], background=True))
    assert reply.status_code == 200, reply.text
    assert ended(wire, reply.json()["id"])["status"] in ("completed", "incomplete")


def test_s49_failing_model(wire, faults):
    made = wire.post(RESPONSES, json=numbers(20), headers={"X-Cairn-Fault": "midstream=3"}).json()
    body = ended(wire, made["id"])
    assert body["status"] == "failed" and body["error"]["code"] == "server_error" and body["usage"] is None
    events = check_whole(replay(wire, made["id"]), body)
    assert events[-1]["type"] == "response.failed"


# ---- scenario 48: resumed streams ----

def test_s48_resume_at_every_event(wire):
    made = wire.post(RESPONSES, json=response_body("Hello!", background=True)).json()
    ended(wire, made["id"])
    whole = replay(wire, made["id"])
    check_whole(whole)
    assert whole == replay(wire, made["id"])
    for after in range(len(whole) + 2):
        assert replay(wire, made["id"], starting_after=after) == whole[after + 1:]


def test_s48_resume_while_it_runs(wire):
    """Whoever leaves after any event and comes back misses nothing and sees nothing twice, byte by byte."""
    made = wire.post(RESPONSES, json=numbers(60)).json()
    rng, lines = random.Random(4), []
    while not lines or json.loads(lines[-1])["type"] not in TERMINAL:
        query = {"stream": "true", **({"starting_after": len(lines) - 1} if lines else {})}
        stay = rng.randrange(1, 40)
        with wire.stream("GET", f"{RESPONSES}/{made['id']}", params=query) as reply:
            for line in reply.iter_lines():
                if line.startswith("data: "):
                    lines.append(line[6:])
                    stay -= 1
                    if not stay:
                        break
    check_whole(lines, wire.get(f"{RESPONSES}/{made['id']}").json())
    assert lines == replay(wire, made["id"])


def test_s48_post_stream_left_and_resumed(client):
    stream = client.responses.create(**numbers(40), stream=True)
    seen = []
    for event in stream:
        seen.append(event)
        if len(seen) == 9:
            break
    stream.close()
    seen += client.responses.retrieve(seen[0].response.id, stream=True, starting_after=seen[-1].sequence_number)
    assert [event.sequence_number for event in seen] == list(range(len(seen)))
    assert seen[-1].type in TERMINAL


def test_s48_obfuscation(wire):
    made = wire.post(RESPONSES, json=response_body("Hello!", background=True)).json()
    ended(wire, made["id"])
    padded, plain = (replay(wire, made["id"], include_obfuscation=word) for word in ("true", "false"))
    assert padded == replay(wire, made["id"])
    deltas = 0
    for with_padding, without in zip(padded, plain, strict=True):
        event = json.loads(with_padding)
        deltas += event["type"].endswith(".delta")
        assert ("obfuscation" in event) == event["type"].endswith(".delta")
        event.pop("obfuscation", None)
        assert event == json.loads(without)
    assert deltas
    lines = [frame.data for frame in sse_frames(wire.post(RESPONSES, json=response_body(
        "Hello!", background=True, stream=True, stream_options={"include_obfuscation": False})).content)]
    assert not any("obfuscation" in line for line in lines)


def test_s48_refusals(wire):
    made = wire.post(RESPONSES, json=response_body("Hello!")).json()
    check_error(wire.get(f"{RESPONSES}/{made['id']}", params={"stream": "true"}), 400, param="stream",
                code="invalid_value")
    check_error(wire.get(f"{RESPONSES}/{made['id']}", params={"starting_after": 3}), 400, param="starting_after",
                code="invalid_value")
    check_error(wire.get(f"{RESPONSES}/resp_none", params={"stream": "true"}), 404, message="not found")


def test_s48_many_readers(server, wire):
    """Who reads at the same time reads the same; a reader that does not read holds nobody up."""
    made = wire.post(RESPONSES, json=numbers(80)).json()
    got = [None] * 16

    def read(place):
        with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {API_KEY}"}, timeout=WAIT) as own:
            got[place] = replay(own, made["id"])

    with wire.stream("GET", f"{RESPONSES}/{made['id']}", params={"stream": "true"}) as lazy:
        readers = [threading.Thread(target=read, args=(place,)) for place in range(len(got))]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        late = [frame.data for frame in sse_frames(lazy.read())]
    check_whole(late)
    assert all(lines == late for lines in got)


# ---- scenario 50: cancelling ----

def test_s50_cancel(client, wire):
    made = client.responses.create(**numbers(150))
    until(lambda: client.responses.retrieve(made.id).status == "in_progress", "the start")
    cancelled = client.responses.cancel(made.id)
    assert cancelled.status == "cancelled" and cancelled.usage is None and cancelled.error is None
    body = wire.get(f"{RESPONSES}/{made.id}").json()
    assert body["status"] == "cancelled"
    assert wire.post(f"{RESPONSES}/{made.id}/cancel").json() == body
    events = check_whole(replay(wire, made.id), body)
    assert events[-1]["type"] == "response.incomplete"
    assert all(item["status"] in ("completed", "incomplete") for item in body["output"])
    time.sleep(0.2)
    assert replay(wire, made.id) == [*replay(wire, made.id)] and len(replay(wire, made.id)) == len(events)


def test_s50_terminal_stays(client, wire):
    made = wire.post(RESPONSES, json=response_body("Hello!", background=True)).json()
    body = ended(wire, made["id"])
    assert wire.post(f"{RESPONSES}/{made['id']}/cancel").json() == body
    assert client.responses.cancel(made["id"]).status == "completed"


def test_s50_refusals(client, wire):
    made = client.responses.create(**response_body("Hello!"))
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a synchronous response."):
        client.responses.cancel(made.id)
    check_error(wire.post(f"{RESPONSES}/{made.id}/cancel"), 400, message="Cannot cancel a synchronous response.")
    check_error(wire.post(f"{RESPONSES}/resp_none/cancel"), 404, message="Response with id 'resp_none' not found.")


def test_s50_cancel_races(server, wire):
    """Cancelled by four at a random moment, while followed: all are told the same end, and it is the only one."""
    rng = random.Random(50)
    for _ in range(12):
        made = wire.post(RESPONSES, json=numbers(30)).json()
        followed, told = [], []

        def follow(identity=made["id"], into=followed):
            with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {API_KEY}"},
                              timeout=WAIT) as own:
                into.extend(replay(own, identity))

        def cancel(identity=made["id"], into=told, delay=rng.uniform(0, 0.4)):
            time.sleep(delay)
            with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {API_KEY}"},
                              timeout=WAIT) as own:
                into.append(own.post(f"{RESPONSES}/{identity}/cancel").json())

        threads = [threading.Thread(target=follow), *(threading.Thread(target=cancel) for _ in range(4))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        body = wire.get(f"{RESPONSES}/{made['id']}").json()
        assert told == [body] * 4
        check_whole(followed, body)


# ---- scenario 51: deleting ----

def test_s51_delete_while_it_runs(server, client, wire):
    made = client.responses.create(**numbers(150))
    with wire.stream("GET", f"{RESPONSES}/{made.id}", params={"stream": "true"}) as follower:
        until(lambda: client.responses.retrieve(made.id).status == "in_progress", "the start")
        assert client.responses.delete(made.id) is None
        last = json.loads(sse_frames(follower.read())[-1].data)
    assert last["type"] == "error" and last["code"] == "response_deleted"
    assert last["error"] == {"message": last["message"], "type": "invalid_request_error", "param": None,
                             "code": "response_deleted"}
    check_error(wire.get(f"{RESPONSES}/{made.id}"), 404)
    check_error(wire.get(f"{RESPONSES}/{made.id}", params={"stream": "true"}), 404)
    check_error(wire.post(f"{RESPONSES}/{made.id}/cancel"), 404)
    until(lambda: 'cairn_jobs{kind="response"' not in server.metrics(), "the end of the run")


def test_s51_the_sdk_raises(client):
    made = client.responses.create(**numbers(150))
    with pytest.raises(openai.APIError) as told:
        for event in client.responses.retrieve(made.id, stream=True):
            if event.type == "response.in_progress":
                client.responses.delete(made.id)
    assert told.value.code == "response_deleted"


# ---- over the death of the process ----

def test_s48_s49_killed_and_continued():
    """Killed at random moments while responses run: each goes on under its id, its events without a gap, the same
    number always with the same bytes, and ends once."""
    rng = random.Random()
    server, seen, guard = Server(), {}, threading.Lock()
    headers = {"Authorization": f"Bearer {API_KEY}"}

    def follow(identity, lines):
        try:
            with httpx.Client(base_url=server.url, headers=headers, timeout=WAIT) as own, \
                    own.stream("GET", f"{RESPONSES}/{identity}", params={"stream": "true"}) as reply:
                for number, line in enumerate(line[6:] for line in reply.iter_lines() if line.startswith("data: ")):
                    with guard:
                        assert lines.setdefault(number, line) == line, (identity, number)
        except httpx.HTTPError:
            pass

    try:
        server.start()
        for _ in range(8):
            with httpx.Client(base_url=server.url, headers=headers, timeout=WAIT) as own:
                for _ in range(3):
                    made = own.post(RESPONSES, json=numbers(rng.choice((10, 40, 120)), rng.random())).json()
                    seen[made["id"]] = {}
            readers = [threading.Thread(target=follow, args=entry) for entry in list(seen.items())[-5:]]
            for reader in readers:
                reader.start()
            time.sleep(rng.uniform(0, 0.8))
            server.kill()
            for reader in readers:
                reader.join()
            server.start()
        with httpx.Client(base_url=server.url, headers=headers, timeout=WAIT) as own:
            for identity, lines in seen.items():
                body = ended(own, identity)
                whole = replay(own, identity)
                check_whole(whole, body)
                assert all(whole[number] == line for number, line in lines.items())
                assert body["status"] in ("completed", "incomplete") or "repeatedly" in body["error"]["message"]
        server.terminate()
    finally:
        server.cleanup()


def test_s49_stopped_and_continued():
    """A stop in the middle puts the work down; the next start goes on with it."""
    server = Server(["--shutdown-grace", "0"])
    headers = {"Authorization": f"Bearer {API_KEY}"}
    try:
        server.start()
        with httpx.Client(base_url=server.url, headers=headers, timeout=WAIT) as own:
            made = [own.post(RESPONSES, json=numbers(100, n)).json()["id"] for n in range(4)]
            until(lambda: own.get(f"{RESPONSES}/{made[0]}").json()["status"] != "queued", "the start")
        server.terminate()
        server.start()
        with httpx.Client(base_url=server.url, headers=headers, timeout=WAIT) as own:
            for identity in made:
                body = ended(own, identity)
                assert body["status"] in ("completed", "incomplete"), body["error"]
                check_whole(replay(own, identity), body)
        server.terminate()
    finally:
        server.cleanup()


@pytest.mark.parametrize("point", ["store.commit:4:EIO", "store.answer:3", "store.commit:3:EIO:3"])
def test_s49_one_write_that_fails_ends_nothing(faults, point):
    """Whichever it is: that which takes the conversation, too."""
    with Server() as server, \
            httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {API_KEY}"}, timeout=WAIT) as own:
        conversation = own.post("/v1/conversations", json={}).json()["id"]
        made = own.post(RESPONSES, headers={"X-Cairn-Fault": f"point={point}"}, json={
            "model": MODEL, "input": "Hi", "background": True, "conversation": conversation, "max_output_tokens": 16})
        assert made.status_code == 200, made.text
        body = ended(own, made.json()["id"])
        assert body["status"] in ("completed", "incomplete"), body["error"]
        assert len(own.get(f"/v1/conversations/{conversation}/items").json()["data"]) == 2


@pytest.mark.parametrize("times, status", [(2, "completed"), (3, "failed")])
def test_s49_a_conversation_that_does_not_take_it(faults, times, status):
    """Each failed append is an attempt: the response ends, and its conversation is free."""
    with Server(env={"CAIRN_FAULTS_SPEC": f"response.append:1:EIO:{times}"}) as server, \
            httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {API_KEY}"}, timeout=WAIT) as own:
        conversation = own.post("/v1/conversations", json={}).json()["id"]
        body = {"model": MODEL, "input": "Hi", "conversation": conversation, "max_output_tokens": 200}
        made = own.post(RESPONSES, json={**body, "background": True})
        assert made.status_code == 200, made.text
        over = ended(own, made.json()["id"])
        assert over["status"] == status and (status == "completed" or "repeatedly" in over["error"]["message"])
        check_whole(replay(own, over["id"]), over)
        assert own.post(RESPONSES, json=body).status_code == 200
        items = own.get(f"/v1/conversations/{conversation}/items").json()["data"]
        assert len(items) == (4 if status == "completed" else 2)


def test_s49_writes_that_fail(faults):
    """A disk that is full for a moment, at any commit of a response: it is continued, and nothing of it is lost."""
    rng = random.Random()
    for _ in range(4):
        spec = f"store.commit:{rng.randrange(6, 40)}:ENOSPC:{rng.randrange(1, 5)}"
        with Server(env={"CAIRN_FAULTS_SPEC": spec}) as server, \
                httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {API_KEY}"}, timeout=WAIT) as own:
            made = []
            while len(made) < 4:
                reply = own.post(RESPONSES, json=numbers(30, rng.random()))
                assert reply.status_code in (200, 500, 503, 507), (spec, reply.text)
                made += [reply.json()["id"]] if reply.status_code == 200 else []
            for identity in made:
                body = ended(own, identity)
                assert body["status"] in ("completed", "incomplete"), (spec, body["error"])
                check_whole(replay(own, identity), body)
