"""Idempotency-Key: a POST is done once; its reply is given again for a day."""
import concurrent.futures
import contextlib
import json
import time

import httpx
import openai
import pytest

from cairn_server import API_KEY, MODEL, Server, control_tokens
from support import check_error

HELLO = [{"role": "user", "content": "Hello!"}]
LONG = {"model": MODEL, "input": "List numbers.", "background": True, "stream": True, "text": {"format": {
    "type": "json_schema", "name": "n", "schema": {"type": "array", "items": {"type": "integer"}, "minItems": 100}}}}


def key(name):
    return {"Idempotency-Key": name}


def ask(client, name, **more):
    return client.chat.completions.create(model=MODEL, messages=HELLO, extra_headers=key(name), store=True, **more)


def test_same_key_same_reply(client):
    first, second = ask(client, "same"), ask(client, "same")
    assert first == second
    assert ask(client, "another").id != first.id


def test_replay_is_marked_and_has_a_request_id_of_its_own(client):
    raw = [client.chat.completions.with_raw_response.create(model=MODEL, messages=HELLO, extra_headers=key("marked"))
           for _ in range(2)]
    assert "idempotent-replayed" not in raw[0].headers and raw[1].headers["idempotent-replayed"] == "true"
    assert raw[0].headers["x-request-id"] != raw[1].headers["x-request-id"]
    assert raw[0].content == raw[1].content


def test_nothing_is_done_twice(client):
    """As many stored objects as distinct keys, whatever is repeated."""
    for n in range(9):
        client.chat.completions.create(model=MODEL, messages=HELLO, store=True, metadata={"once": "yes"},
                                       extra_headers=key(f"once {n % 3}"))
    assert len(list(client.chat.completions.list(metadata={"once": "yes"}))) == 3


def test_order_of_fields_does_not_matter(wire):
    bodies = ({"model": MODEL, "messages": HELLO}, {"messages": HELLO, "model": MODEL})
    replies = [wire.post("/v1/chat/completions", json=body, headers=key("order")) for body in bodies]
    assert replies[0].json() == replies[1].json()


def test_another_body_is_refused(client):
    ask(client, "body")
    with pytest.raises(openai.BadRequestError) as error:
        ask(client, "body", temperature=0.5)
    assert error.value.code == "idempotency_key_reused"


def test_another_operation_is_refused(client):
    ask(client, "operation")
    with pytest.raises(openai.BadRequestError) as error:
        client.responses.create(model=MODEL, input="Hello!", extra_headers=key("operation"))
    assert error.value.code == "idempotency_key_reused"


def test_errors_of_the_request_are_kept(client):
    errors = []
    for _ in range(2):
        with pytest.raises(openai.NotFoundError) as error:
            client.chat.completions.create(model="no-such-model", messages=HELLO, extra_headers=key("error"))
        errors.append(error.value)
    assert errors[1].response.headers["idempotent-replayed"] == "true"
    assert errors[0].body == errors[1].body


def test_invalid_requests_claim_nothing(client):
    with pytest.raises(openai.BadRequestError):
        ask(client, "invalid", temperature=7)
    assert ask(client, "invalid").choices


def test_long_key_is_refused(client):
    with pytest.raises(openai.BadRequestError) as error:
        ask(client, "k" * 256)
    assert "255" in error.value.message


def test_stream_is_given_again(client):
    def chunks():
        return list(ask(client, "stream", stream=True, stream_options={"include_usage": True}))
    first, second = chunks(), chunks()
    assert first == second and len(first) > 3


def test_response_stream_is_given_again(client):
    def events():
        return [event.to_dict() for event in
                client.responses.create(model=MODEL, input="Hello!", stream=True, extra_headers=key("events"))]
    first, second = events(), events()
    assert first == second and first[-1]["type"] == "response.completed"
    assert client.responses.retrieve(first[-1]["response"]["id"]).status == "completed"


def background(client, name, wait=True):
    """The events of a long background response that is streamed; its first only, and the client leaves, or all."""
    stream = client.responses.create(**LONG, extra_headers=key(name))
    events = []
    for event in stream:
        events.append(event.to_dict())
        if not wait:
            break
    stream.close()
    return events


def test_background_stream_is_followed_again(client, wire):
    """Whether its first reader stayed or left, the response is one, and each repetition sees all its events."""
    first = background(client, "followed", wait=False)
    again = [background(client, "followed") for _ in range(2)]
    assert again[0] == again[1] and again[0][0] == first[0]
    assert again[0][-1]["type"] in ("response.completed", "response.incomplete")
    assert wire.post("/v1/responses", json=LONG, headers=key("followed")).headers["idempotent-replayed"] == "true"


def test_left_stream_frees_the_key(client):
    endless = {str(token): -100 for token in control_tokens()}
    stream = ask(client, "left", stream=True, logit_bias=endless, max_completion_tokens=900)
    next(iter(stream))
    stream.close()
    for _ in range(200):
        try:
            assert list(ask(client, "left", stream=True, max_completion_tokens=4))
            return
        except openai.BadRequestError as error:  # the other body, until the server sees that the client left
            assert error.code == "idempotency_key_reused"
        except openai.ConflictError:
            pass
        time.sleep(0.05)
    raise AssertionError("the key stays taken")


def test_many_at_once_are_one(client):
    """Of 32 at the same time one is done; the others get 409, or its reply."""
    def attempt(_):
        try:
            return client.with_options(max_retries=0).responses.create(
                model=MODEL, input="Hello!", metadata={"many": "yes"}, extra_headers=key("many")).id
        except openai.ConflictError as error:
            assert error.code == "idempotency_key_in_use" and error.response.headers["retry-after"]
            return None
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        ids = set(pool.map(attempt, range(32)))
    assert len(ids - {None}) == 1


def test_conflict_is_retried_by_the_sdk(client):
    def attempt(_):
        return client.with_options(max_retries=5).chat.completions.create(
            model=MODEL, messages=HELLO, extra_headers=key("retried")).id
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(attempt, range(8)))) == 1


def test_failures_of_the_server_free_the_key(client):
    with pytest.raises(openai.InternalServerError):
        client.with_options(max_retries=0).chat.completions.create(
            model=MODEL, messages=HELLO,
            extra_headers={**key("fault"), "X-Cairn-Fault": "status=500;times=1", "X-Cairn-Fault-Key": "idempotency"})
    assert ask(client, "fault").choices


def asked_while_it_runs(wire, attempt):
    """Two requests that a running response refuses, by their keys, and the replies. None: it had ended before."""
    conversation = wire.post("/v1/conversations", json={}).json()["id"]
    # Not with the SDK: the response is over before that has looked at the first event.
    with wire.stream("POST", "/v1/responses",
                     json={**LONG, "background": False, "conversation": conversation}) as stream:
        lines = stream.iter_lines()
        running = json.loads(next(line for line in lines if line.startswith("data:"))[5:])["response"]["id"]
        asked = {f"{key_}{attempt}": {"model": MODEL, "input": "Hi", "max_output_tokens": 16, **more} for key_, more in
                 (("in use", {"conversation": conversation}), ("goes on", {"previous_response_id": running}))}
        replies = [wire.post("/v1/responses", json=body, headers=key(name)) for name, body in asked.items()]
        list(lines)
    return (asked, replies) if all(reply.status_code != 200 for reply in replies) else None


def test_errors_that_pass_free_the_key(wire):
    """A conversation that is in use, and a response that goes on, will not stay so."""
    found = next(filter(None, (asked_while_it_runs(wire, attempt) for attempt in range(10))), None)
    assert found, "every response ended before it was in the way"
    asked, refused = found
    check_error(refused[0], 400, code="conversation_locked", param="conversation")
    check_error(refused[1], 400, code="invalid_value", param="previous_response_id")
    for name, body in asked.items():
        reply = wire.post("/v1/responses", json=body, headers=key(name))
        assert reply.status_code == 200 and "idempotent-replayed" not in reply.headers, reply.text


@pytest.fixture
def own_server():
    with Server() as running:
        yield running


def sdk(server):
    return openai.OpenAI(base_url=server.base_url, api_key=API_KEY, timeout=300)


def test_survives_a_restart(own_server):
    first = ask(sdk(own_server), "restart")
    own_server.kill()
    own_server.start()
    assert ask(sdk(own_server), "restart") == first


def test_claim_of_a_dead_process_is_taken_over(own_server):
    stream = ask(sdk(own_server), "dead", stream=True)
    next(iter(stream))
    own_server.kill()
    own_server.start()
    chunks = list(ask(sdk(own_server), "dead", stream=True))
    assert chunks[-1].choices[0].finish_reason
    assert list(ask(sdk(own_server), "dead", stream=True)) == chunks


def batch(client, name, headers):
    line = b'{"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": {"model": "x", "input": "a"}}\n'
    file = client.files.create(file=("in.jsonl", line), purpose="batch", extra_headers=key(f"{name}, its file"))
    return client.batches.create(input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h",
                                 metadata={"name": name}, extra_headers=headers).id


def batches_of(client, name):
    return [each.id for each in client.batches.list() if each.metadata["name"] == name]


def chat(client, name, headers):
    return client.chat.completions.create(model=MODEL, messages=HELLO, store=True, metadata={"name": name},
                                          max_completion_tokens=4, extra_headers=headers).id


def chats_of(client, name):
    return [each.id for each in client.chat.completions.list(metadata={"name": name})]


def response(client, name, headers):
    """A response in a conversation of its own: the ids of its output."""
    conversation = client.conversations.create(metadata={"name": name}, extra_headers=key(f"{name}, its conversation"))
    made = client.responses.create(model=MODEL, input="Hello", max_output_tokens=16, conversation=conversation.id,
                                   extra_headers=headers)
    return conversation.id, [item.id for item in made.output]


def answers_of(client, made):
    """The ids of what a conversation was answered."""
    return made[0], [item.id for item in client.conversations.items.list(made[0], order="asc")
                     if not (item.type == "message" and item.role == "user")]


@pytest.mark.parametrize("make, there", [
    (batch, lambda client, name, made: batches_of(client, name) == [made]),
    (chat, lambda client, name, made: chats_of(client, name) == [made]),
    (response, lambda client, name, made: answers_of(client, made) == made)])
def test_nothing_is_made_twice_over_a_crash(own_server, make, there):
    """The server dies at its n-th commit: what a request makes and the reply to it are there both, or neither."""
    for n in range(1, 5):
        name = f"crash {n}"
        fault = {"X-Cairn-Fault": f"point=store.commit:{n}:kill"}
        try:
            make(sdk(own_server).with_options(max_retries=0), name, {**key(name), **fault})
        except openai.APIConnectionError:
            pass
        own_server.kill()
        own_server.start()
        made = make(sdk(own_server), name, key(name))
        assert there(sdk(own_server), name, made), name


def streamed(server, path, body, headers):
    """What could be read of a stream, and whether that is all of it."""
    frames = []
    try:
        with httpx.stream("POST", server.url + path, json={"model": MODEL, "stream": True, **body}, timeout=60,
                          headers={"Authorization": f"Bearer {API_KEY}", **headers}) as stream:
            assert stream.status_code == 200
            frames.extend(line for line in stream.iter_lines() if line)
    except httpx.HTTPError:
        pass
    ends = ("data: [DONE]", "event: response.completed", "event: response.incomplete")
    return frames, any(end in frames for end in ends)


def stream_of_chat(client, name):
    body = {"messages": HELLO, "store": True, "metadata": {"name": name}, "max_completion_tokens": 8,
            "stream_options": {"include_usage": True}}
    return "/v1/chat/completions", body, lambda: len(chats_of(client, name))


def stream_in_conversation(client, name, **more):
    conversation = client.conversations.create(extra_headers=key(f"{name}, its conversation")).id
    body = {"input": "Hello", "max_output_tokens": 16, "conversation": conversation, **more}
    return "/v1/responses", body, lambda: len(list(client.conversations.items.list(conversation))) // 2


@pytest.mark.parametrize("make", [stream_of_chat, stream_in_conversation,
                                  lambda client, name: stream_in_conversation(client, name, store=False)])
def test_a_stream_stores_once_over_a_crash(own_server, make):
    """The server dies at its n-th commit: what could be read to its end is given again, and stored once."""
    ended = []
    for n in range(1, 8):
        name = f"stream {n}"
        path, body, there = make(sdk(own_server), name)
        fault = {"X-Cairn-Fault": f"point=store.commit:{n}:kill"}
        first, whole = streamed(own_server, path, body, {**key(name), **fault})
        own_server.kill()
        own_server.start()
        path, body, there = make(sdk(own_server), name)
        assert there() == 1 if whole else there() <= 1
        again = streamed(own_server, path, body, key(name))
        assert again[1] and there() == 1, name
        assert again[0] == first if whole else again[0]
        assert streamed(own_server, path, body, key(name)) == again
        ended.append(whole)
    assert not ended[0] and ended[-1]


def test_a_stream_that_was_stored_is_given_to_who_left(client, wire):
    """Its client is gone when it ends, but nothing stopped it: it is not made a second time."""
    for n in range(20):
        name = f"gone {n}"
        body = {"model": MODEL, "messages": HELLO, "store": True, "stream": True, "metadata": {"name": name}, "seed": n}
        with wire.stream("POST", "/v1/chat/completions", json=body, headers=key(name)) as stream:
            for line in stream.iter_lines():
                if "finish_reason\":\"" in line:
                    break
        for _ in range(200):
            reply = wire.post("/v1/chat/completions", json=body, headers=key(name))
            if reply.status_code != 409:
                break
            time.sleep(0.02)
        assert reply.status_code == 200 and reply.text.endswith("data: [DONE]\n\n"), reply.text
        assert len(chats_of(client, name)) == 1


def conversation_of(client):
    made = client.conversations.create(metadata={"v": "0"})
    return lambda v, **more: client.conversations.update(made.id, metadata={"v": v}, **more).metadata, \
        lambda: client.conversations.retrieve(made.id).metadata


def completion_of(client):
    made = client.chat.completions.create(model=MODEL, messages=HELLO, store=True, max_completion_tokens=4)
    return lambda v, **more: client.chat.completions.update(made.id, metadata={"v": v}, **more).metadata, \
        lambda: client.chat.completions.retrieve(made.id).metadata


@pytest.mark.parametrize("kind", [conversation_of, completion_of])
def test_updates_are_done_once_over_a_crash(own_server, kind):
    """The server dies at the n-th commit of an update, and another client is quicker than its repeat: the repeat
    does it only if it was not done."""
    client = sdk(own_server)
    update, state = kind(client)
    for n in range(1, 4):
        update("0")
        name, fault = f"update {n}", {"X-Cairn-Fault": f"point=store.commit:{n}:kill"}
        with contextlib.suppress(openai.APIConnectionError):
            client.max_retries = 0
            update("1", extra_headers={**key(name), **fault})
        client.max_retries = 2
        own_server.kill()
        own_server.start()
        client.base_url = own_server.base_url
        done = state() == {"v": "1"}
        update("2")
        assert update("1", extra_headers=key(name)) == {"v": "1"}
        assert state() == {"v": "2" if done else "1"}


def plain(wire, headers=None):
    return wire.post("/v1/chat/completions", headers=headers,
                     json={"model": MODEL, "messages": HELLO, "max_completion_tokens": 4})


def vectors(wire, headers=None):
    return wire.post("/v1/embeddings", json={"model": MODEL, "input": "Hello"}, headers=headers)


def judged(wire, headers=None):
    return wire.post("/v1/moderations", json={"input": "Hello"}, headers=headers)


@pytest.mark.parametrize("post, kind", [(plain, "completions"), (vectors, "embeddings"), (judged, "moderations")])
@pytest.mark.parametrize("point", ["commit", "answer"])
def test_what_stores_nothing_is_counted_once_over_a_crash(post, kind, point):
    """The server dies before or after its n-th commit: the reply that is kept and its usage are there both or neither."""
    for n in range(1, 4):
        with Server() as server, httpx.Client(base_url=server.url, timeout=60,
                                              headers={"Authorization": f"Bearer {API_KEY}"}) as wire:
            try:
                post(wire, {**key("once"), "X-Cairn-Fault": f"point=store.{point}:{n}:kill"})
            except httpx.TransportError:
                pass
            server.kill()
            server.start()
            kept = post(wire, key("once"))
            assert kept.status_code == 200, kept.text
            assert post(wire, key("once")).text == kept.text
            rows = {row["kind"]: row["requests"] for row in server.usage("--total")}
            assert rows[kind] == 1, f"counted {rows[kind]} times, killed at {point} {n}"


@pytest.mark.parametrize("post", [plain, vectors, judged])
def test_a_reply_whose_usage_cannot_be_recorded_is_not_given(own_server, post):
    with httpx.Client(base_url=own_server.url, timeout=60, headers={"Authorization": f"Bearer {API_KEY}"}) as wire:
        for name, status in (("EIO", 500), ("ENOSPC", 503)):
            reply = post(wire, {**key(f"full {name}"), "X-Cairn-Fault": f"point=store.commit:2:{name}:9"})
            assert reply.status_code == status and reply.json()["error"]["type"] == "server_error"


def test_background_stream_is_made_once_over_a_crash(own_server):
    """The server dies when the response is accepted and its key is not given up yet: a retry makes no second one."""
    first = background(sdk(own_server), "accepted", wait=False)
    own_server.kill()
    own_server.start()
    again = background(sdk(own_server), "accepted")
    assert again[0] == first[0] and again[-1]["type"] in ("response.completed", "response.incomplete")


def once(server, name, fault=None):
    """True when a POST with the key is done, else the status; without retries."""
    more = {"X-Cairn-Fault": fault} if fault else {}
    try:
        sdk(server).with_options(max_retries=0).chat.completions.create(
            model=MODEL, messages=HELLO, extra_headers={**key(name), **more})
        return True
    except (openai.InternalServerError, openai.ConflictError) as error:
        return error.status_code


def test_a_claim_of_unknown_outcome_is_looked_at(own_server):
    """The claim is written but the store says that it failed: the request sees that it has the key."""
    assert once(own_server, "unknown", "point=store.answer:1:EIO") is True
    assert once(own_server, "unknown") is True


@pytest.mark.parametrize("fault", ["point=store.answer:1:EIO;point=store.commit:2:EIO:9",  # claimed, but it is not told
                                   "midstream=1;point=store.commit:2:EIO:4"])  # failed, but the key is not freed
def test_a_key_that_is_left_behind_is_freed_later(own_server, fault):
    """The store fails while a key is claimed or freed: it is in use for some seconds, not until the process ends."""
    assert once(own_server, "left behind", fault) == 500
    deadline = time.monotonic() + 20
    while (answer := once(own_server, "left behind")) is not True:
        assert answer in (409, 500) and time.monotonic() < deadline, answer
        time.sleep(0.2)
