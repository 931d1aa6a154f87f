"""The WebSocket mode of /v1/responses: scenario 67 of the conformance list."""
import asyncio
import base64
import json
import os
import threading
import time

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from cairn_server import ADMIN_KEY, API_KEY, MODEL, Server
from support import STORY

TERMINAL = {"response.completed", "response.incomplete", "response.failed", "error"}


def ask(text="Hello!", **extra):
    return {"type": "response.create", "model": MODEL, "input": text, "temperature": 0, "max_output_tokens": 24,
            **extra}


def long_ask(tokens=100000, **extra):
    """A response that goes on until it is cancelled, as far as the context holds."""
    return ask(STORY, max_output_tokens=tokens, **extra)


class Raw:
    """Frames as they are."""

    def __init__(self, server, key=API_KEY, **options):
        self.ws = connect(server.base_url.replace("http", "ws", 1) + "/responses", max_size=None,
                          additional_headers={"Authorization": f"Bearer {key}"}, open_timeout=60, **options)

    def send(self, frame):
        self.ws.send(frame if isinstance(frame, (str, bytes)) else json.dumps(frame))

    def event(self):
        text = self.ws.recv(timeout=120)
        assert isinstance(text, str)
        return json.loads(text)

    def turn(self, frame=None):
        """All events of a response that is asked for (or was), to its end."""
        if frame is not None:
            self.send(frame)
        events = [self.event()]
        while events[-1]["type"] not in TERMINAL:
            events.append(self.event())
        return events

    def response(self, frame):
        last = self.turn(frame)[-1]
        assert last["type"] in ("response.completed", "response.incomplete"), last
        return last["response"]

    def error(self, frame=None, **expected):
        if frame is not None:
            self.send(frame)
        event = self.event()
        assert event["type"] == "error", event
        assert set(event["error"]) == {"type", "code", "message", "param"}
        for key, value in expected.items():
            assert (event if key in ("status", "stream_id") else event["error"])[key] == value, event
        return event

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ws.close()


@pytest.fixture
def raw(server):
    with Raw(server) as made:
        yield made


def output_text(response):
    return "".join(part["text"] for item in response["output"] if item["type"] == "message"
                   for part in item["content"])


# ---- the official client ----

def test_s67_sdk_connection(client):
    with client.responses.connect() as connection:
        connection.response.create(model=MODEL, input="Hello!", max_output_tokens=24, temperature=0)
        kinds, text, done = [], "", None
        for event in connection:
            kinds.append(event.type)
            if event.type == "response.output_text.delta":
                text += event.delta
            if event.type in TERMINAL:
                done = event
                break
        assert kinds[:2] == ["response.created", "response.in_progress"]
        assert done.type in ("response.completed", "response.incomplete")
        assert done.response.output_text == text
        # Again on the same socket, behind the first.
        connection.response.create(model=MODEL, input="Go on.", max_output_tokens=16,
                                   previous_response_id=done.response.id)
        second = next(event for event in connection if event.type in TERMINAL)
        assert second.response.previous_response_id == done.response.id
    assert client.responses.retrieve(done.response.id).output_text == text


def test_s67_sdk_async_and_errors(make_async):
    async def run():
        async with make_async() as client:
            async with client.responses.connect() as connection:
                await connection.response.create(model="no-such-model", input="Hi")
                event = await connection.recv()
                assert event.type == "error" and event.status == 404
                assert event.error.code == "model_not_found"
                await connection.response.create(model=MODEL, input="Hello!", max_output_tokens=16)
                async for event in connection:
                    if event.type in TERMINAL:
                        break
                assert event.type in ("response.completed", "response.incomplete")
    asyncio.run(run())


# ---- the same events as over HTTP ----

def test_s67_events_are_those_of_the_stream(raw, wire):
    body = ask("Count to 5", store=False)
    del body["type"]
    over_http = wire.post("/v1/responses", json={**body, "stream": True}).text
    expected = [json.loads(line[6:]) for line in over_http.splitlines() if line.startswith("data: {")]
    got = raw.turn({**body, "type": "response.create"})
    assert [e["type"] for e in got] == [e["type"] for e in expected]
    assert [e["sequence_number"] for e in got] == list(range(len(got)))
    assert output_text(got[-1]["response"]) == output_text(expected[-1]["response"])
    for one, other in zip(got, expected):
        assert set(one) == set(other), one["type"]


def test_s67_stream_is_implied(raw):
    assert raw.turn(ask(stream=True))[0]["type"] == "response.created"
    assert raw.turn(ask(stream=False))[0]["type"] == "response.created"


# ---- going on ----

def test_s67_chain_without_store(raw, wire):
    first = raw.response(ask("My name is Ada.", store=False))
    second = raw.response(ask("What is my name?", store=False, previous_response_id=first["id"]))
    assert second["previous_response_id"] == first["id"]
    assert second["usage"]["input_tokens"] > first["usage"]["total_tokens"]
    third = raw.response(ask("Thanks!", store=False, previous_response_id=second["id"]))
    assert third["usage"]["input_tokens"] > second["usage"]["total_tokens"]
    # The same as if the items had been sent again.
    body = {k: v for k, v in ask("", store=False).items() if k != "type"}
    items = [{"role": "user", "content": "My name is Ada."}, *first["output"],
             {"role": "user", "content": "What is my name?"}]
    again = wire.post("/v1/responses", json={**body, "input": items}).json()
    assert again["usage"]["input_tokens"] == second["usage"]["input_tokens"]
    assert output_text(again) == output_text(second)
    # A fork of the first; and nobody else remembers it.
    fork = raw.response(ask("What is my name?", store=False, previous_response_id=first["id"]))
    assert output_text(fork) == output_text(second)
    assert wire.get(f"/v1/responses/{first['id']}").status_code == 404


def test_s67_chain_over_a_compaction(raw):
    """A compaction_trigger is no item to go on from: the compaction is."""
    talk = [{"role": "user", "content": "My name is Ada."}, {"role": "assistant", "content": "Hello, Ada."},
            {"type": "compaction_trigger"}]
    first = raw.response({**ask(store=False), "input": talk})
    assert [item["type"] for item in first["output"]] == ["compaction"]
    second = raw.response(ask("Again.", store=False, previous_response_id=first["id"]))
    third = raw.response(ask("And again.", store=False, previous_response_id=second["id"]))
    assert third["previous_response_id"] == second["id"] and output_text(third)


def test_s67_memory_is_of_the_connection(server, raw):
    first = raw.response(ask(store=False))
    with Raw(server) as other:
        other.error(ask(previous_response_id=first["id"]), status=400, code="previous_response_not_found",
                    param="previous_response_id")
        assert other.response(ask())["status"]


def test_s67_chain_from_stored_to_not_stored(raw, server):
    stored = raw.response(ask("My name is Ada."))
    first = raw.response(ask("Say it.", store=False, previous_response_id=stored["id"]))
    second = raw.response(ask("Again.", store=False, previous_response_id=first["id"]))
    assert first["previous_response_id"] == stored["id"]
    assert second["previous_response_id"] == first["id"]
    assert stored["usage"]["total_tokens"] < first["usage"]["input_tokens"]
    assert first["usage"]["total_tokens"] < second["usage"]["input_tokens"]


# ---- lanes ----

def test_s67_stream_ids_are_echoed(raw):
    for event in raw.turn(ask(stream_id="a.b-c_1")):
        assert event["stream_id"] == "a.b-c_1"
    assert all("stream_id" not in event for event in raw.turn(ask()))


def test_s67_null_is_no_stream_id(raw):
    events = raw.turn(ask(stream_id=None))
    assert events[-1]["type"] in ("response.completed", "response.incomplete")
    assert not any("stream_id" in event for event in events)


def test_s67_one_stream_is_in_order(raw):
    for i in range(4):
        raw.send(ask(f"Say {i}", metadata={"n": str(i)}, stream_id="one"))
    for i in range(4):
        events = raw.turn()
        assert events[0]["response"]["metadata"] == {"n": str(i)}
        assert events[-1]["response"]["id"] == events[0]["response"]["id"]


def test_s67_streams_side_by_side(raw):
    raw.send(long_ask(200, stream_id="slow", metadata={"n": "slow"}))
    while raw.event()["type"] != "response.output_text.delta":
        pass
    raw.send(ask("Hi", max_output_tokens=16, stream_id="quick"))
    ends = []
    while len(ends) < 2:
        event = raw.event()
        if event["type"] in TERMINAL:
            ends.append(event["stream_id"])
    assert sorted(ends) == ["quick", "slow"]


def test_s67_stream_limit(raw):
    for i in range(16):
        raw.send(long_ask(400, stream_id=f"s{i}"))
    raw.send(ask(stream_id="too-many"))
    ends = []
    while len(ends) < 17:
        event = raw.event()
        if event["type"] in TERMINAL:
            ends.append(event)
    refused = [e for e in ends if e["type"] == "error"]
    assert [e["stream_id"] for e in refused] == ["too-many"]
    assert refused[0]["error"]["code"] == "websocket_stream_limit_reached" and refused[0]["status"] == 429
    raw.response(ask(stream_id="too-many"))


# ---- errors leave the connection open ----

@pytest.mark.parametrize("frame, expected", [
    ("not json", {"status": 400, "code": "invalid_json"}),
    ("[]", {"status": 400, "param": "type"}),
    ("{}", {"status": 400, "param": "type"}),
    ({"type": "response.cancel"}, {"status": 400, "param": "type"}),
    (ask(background=True), {"status": 400, "param": "background"}),
    (ask(stream_id=""), {"status": 400, "param": "stream_id"}),
    (ask(stream_id="a b"), {"status": 400, "param": "stream_id"}),
    (ask(stream_id="x" * 257), {"status": 400, "param": "stream_id"}),
    (ask(stream_id=7), {"status": 400, "param": "stream_id"}),
    (ask(temperature=9, stream_id="x"), {"status": 400, "param": "temperature", "stream_id": "x"}),
    (ask(nonsense=1), {"status": 400, "param": "nonsense"}),
    (ask(previous_response_id="resp_0"), {"status": 400, "code": "previous_response_not_found"}),
    ({"type": "response.create", "input": "x"}, {"status": 400, "param": "model"}),
])
def test_s67_errors(raw, frame, expected):
    raw.error(frame, **expected)
    assert raw.response(ask(max_output_tokens=16))["id"]


def test_s67_binary_frames_are_refused(raw):
    raw.send(b"\x00\x01")
    with pytest.raises(ConnectionClosed) as closed:
        raw.event()
    assert closed.value.rcvd.code == 1003


# ---- the handshake ----

def test_s67_handshake(server, wire):
    for key, status in (("sk-wrong", 401), (ADMIN_KEY, 403)):
        with pytest.raises(InvalidStatus) as refused:
            Raw(server, key=key)
        assert refused.value.response.status_code == status
    reply = wire.get("/v1/responses")
    assert reply.status_code == 405 and reply.headers["allow"] == "POST"
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
               "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode()}
    assert wire.get("/v1/responses", headers={**upgrade, "Sec-WebSocket-Version": "8"}).status_code == 426
    assert wire.get("/v1/responses", headers={**upgrade, "Sec-WebSocket-Key": "short"}).status_code == 400
    assert wire.get("/v1/models", headers=upgrade).status_code == 200
    with Raw(server) as raw:
        assert raw.ws.response.headers["x-request-id"].startswith("req_")
        assert raw.ws.response.status_code == 101


def test_s67_pings_are_answered(raw):
    assert raw.ws.ping("are you there").wait(20)


# ---- ends ----

def running(server):
    return server.metric("cairn_engine_active_sequences")


def test_s67_disconnect_cancels(server):
    made = Raw(server)
    made.send(long_ask(stream_id="a"))
    made.send(long_ask(stream_id="b"))
    begun = set()
    while len(begun) < 2:
        event = made.event()
        if event["type"] == "response.output_text.delta":
            begun.add(event["stream_id"])
    made.ws.socket.close()
    deadline = time.monotonic() + 20
    with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {API_KEY}"}) as wire:
        reply = wire.post("/v1/responses", json={"model": MODEL, "input": "Hi", "max_output_tokens": 16}, timeout=60)
    assert reply.status_code == 200
    while running(server) > 0:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_s67_stop_says_going_away():
    with Server(["--shutdown-grace", "5s"]) as server:
        idle, busy = Raw(server), Raw(server)
        busy.send(ask(max_output_tokens=40))
        busy.event()
        server.process.send_signal(15)
        with pytest.raises(ConnectionClosed) as closed:
            idle.event()
        assert closed.value.rcvd.code == 1001
        events = busy.turn()  # what was begun is ended
        assert events[-1]["type"] in ("response.completed", "response.incomplete")
        with pytest.raises(ConnectionClosed) as closed:
            busy.event()
        assert closed.value.rcvd.code == 1001
        assert server.process.wait(60) == 0
        server.terminate = lambda: None


def test_s67_large_frames(raw):
    raw.error(ask("word " * 400000), status=400)
    raw.send(" " * (17 << 20))
    with pytest.raises(ConnectionClosed) as closed:
        raw.event()
    assert closed.value.rcvd is None or closed.value.rcvd.code == 1009


def test_s67_frames_are_no_longer_than_bodies():
    with Server(["--max-body", "1M"]) as server, Raw(server) as made:
        made.error(ask(nonsense="x" * (1 << 19)), status=400, param="nonsense")
        made.send(ask(nonsense="x" * (1 << 20)))
        with pytest.raises(ConnectionClosed) as closed:
            made.event()
        assert closed.value.rcvd.code == 1009


def test_s67_large_frames_wait_outside(raw):
    """What waits for its turn is 32 MiB at most: the rest is not read meanwhile, and nothing is lost."""
    frames = 10

    def feed():
        for i in range(frames):
            raw.send(ask(**{f"nonsense{i}": "x" * (8 << 20)}))

    raw.send(long_ask(1000))
    feeder = threading.Thread(target=feed)
    feeder.start()
    assert raw.turn()[-1]["type"] in ("response.completed", "response.incomplete")
    for i in range(frames):
        raw.error(status=400, param=f"nonsense{i}")
    feeder.join()
    assert raw.response(ask(max_output_tokens=16))["id"]


def test_s67_slow_reader(server):
    """A client that does not read holds only its own response, and gets all of it."""
    with Raw(server) as slow:
        slow.send(long_ask(1000, stream_id="s"))
        with Raw(server) as other:
            assert other.response(ask(max_output_tokens=16))
        events = slow.turn()
        assert [e["sequence_number"] for e in events] == list(range(len(events)))
