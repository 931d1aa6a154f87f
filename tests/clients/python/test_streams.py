"""How streams fail, stop and are written: scenarios 25-28 of the conformance list."""
import asyncio
import json
import time

import openai
import pytest

from cairn_server import API_KEY, MODEL
from support import chat_body, long_body, post_stream, response_body, response_events, sse_frames

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
MIDSTREAM = {"X-Cairn-Fault": "midstream=2"}


def test_s25_chat_midstream_failure(wire, client, faults):
    body = {**long_body(50), "stream": True}
    with wire.stream("POST", CHAT, json=body, headers=MIDSTREAM) as reply:
        raw = reply.read()
    assert reply.status_code == 200
    frames = sse_frames(raw)
    assert frames[-1].data != "[DONE]"
    error = frames[-1].json["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["type"] == "server_error"
    with pytest.raises(openai.APIError):
        for _ in client.chat.completions.create(**body, extra_headers=MIDSTREAM):
            pass


def test_s25_async_client_raises(make_async, faults):
    async def run():
        async with make_async() as aclient:
            with pytest.raises(openai.APIError):
                stream = await aclient.chat.completions.create(**long_body(50), stream=True,
                                                               extra_headers=MIDSTREAM)
                async for _ in stream:
                    pass
    asyncio.run(run())


def test_s25_failure_without_stream_is_a_500(wire, faults):
    reply = wire.post(CHAT, json=long_body(50), headers={"X-Cairn-Fault": "midstream=2"})
    assert reply.status_code == 500, reply.text
    assert reply.json()["error"]["type"] == "server_error"


def test_s26_responses_midstream_failure(wire, client, faults):
    events = response_events(wire, response_body("Count to 20"), MIDSTREAM)
    last = events[-1]
    assert last["type"] in ("response.failed", "error")
    if last["type"] == "response.failed":
        assert last["response"]["status"] == "failed"
        assert last["response"]["error"]["code"] == "server_error" and last["response"]["error"]["message"]
        stored = wire.get(f"{RESPONSES}/{last['response']['id']}").json()
        assert stored["status"] == "failed" and stored["error"] == last["response"]["error"]
    else:
        assert last["error"]["message"] and last["message"]
    with pytest.raises((openai.APIError, RuntimeError)):
        with client.responses.stream(**response_body("Count to 20"), extra_headers=MIDSTREAM) as stream:
            stream.get_final_response()


def wait_for_metric(server, name, value, seconds):
    """Polls until the metric is `value`; returns the time it took, or None."""
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        if server.metric(name) == value:
            return time.monotonic() - started
    return None


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
def test_s27_disconnect_frees_the_slot(server, wire, path):
    assert wait_for_metric(server, "cairn_engine_active_sequences", 0, 60) is not None
    body = {**long_body(900), "n": 8} if path == CHAT else response_body("Write a poem about autumn.", store=False)
    started = False
    with wire.stream("POST", path, json={**body, "stream": True}) as reply:
        for line in reply.iter_lines():
            if "delta" in line:
                started = True
                break
    assert started
    took = wait_for_metric(server, "cairn_engine_active_sequences", 0, 10)
    assert took is not None, "still generating 10 s after the client left"
    assert wire.post(CHAT, json=chat_body(max_completion_tokens=4)).status_code == 200


def test_s27_disconnect_before_a_plain_reply(server):
    """A client that gives up on a reply without stream frees its slot too."""
    import socket
    body = json.dumps({**long_body(900), "n": 8}).encode()
    head = (f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {API_KEY}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n").encode()
    with socket.create_connection(("127.0.0.1", server.port)) as peer:
        peer.sendall(head + body)
        deadline = time.monotonic() + 30
        while server.metric("cairn_engine_active_sequences") == 0 and time.monotonic() < deadline:
            time.sleep(0.005)
    assert wait_for_metric(server, "cairn_engine_active_sequences", 0, 10) is not None


def test_s27_async_break(make_async, server):
    async def run():
        async with make_async() as aclient:
            stream = await aclient.chat.completions.create(**long_body(900), stream=True)
            async for _ in stream:
                break
            await stream.close()
    asyncio.run(run())
    assert wait_for_metric(server, "cairn_engine_active_sequences", 0, 10) is not None


def test_s28_stream_hygiene(wire):
    """sse_frames() refuses id:, retry: and frames without data; here: characters stay whole."""
    text = "Repeat after me: Zürich, naïve, 日本, emoji 🦄, and a line\nbreak."
    for path, body in ((CHAT, chat_body(text)), (RESPONSES, response_body(text))):
        reply, frames = post_stream(wire, path, {**body, "stream": True})
        for frame in frames:
            assert "\ufffd" not in frame.data
            assert all(c not in frame.data for c in "\u2028\u2029\x85")
            if frame.data != "[DONE]":
                frame.json


def test_s28_odd_bytes_are_held_back(wire):
    """Random sampling makes broken UTF-8 likely; every delta must be whole characters all the same."""
    for seed in range(4):
        body = {**long_body(60), "temperature": 2, "seed": seed}
        whole = wire.post(CHAT, json=body).json()["choices"][0]["message"]["content"]
        _, frames = post_stream(wire, CHAT, {**body, "stream": True})
        text = "".join(c["delta"].get("content") or "" for frame in frames[:-1] for c in frame.json["choices"])
        assert text == whole


def test_s28_events_larger_than_any_buffer(wire):
    """What echoes the request may be as large as a body: nothing of it is cut or lost."""
    name = "x" * 36_000_000
    body = {**response_body("Hi", user=name, max_output_tokens=16, store=False), "stream": True}
    with wire.stream("POST", RESPONSES, json=body) as reply:
        raw = reply.read()
    frames = raw.split(b"\n\n")
    assert frames[-1] == b"" and frames[-2].startswith((b"event: response.completed", b"event: response.incomplete"))
    assert json.loads(frames[-2].split(b"data: ", 1)[1])["response"]["user"] == name


def test_s120_parallel_streams_do_not_mix(make_async):
    async def one(aclient, i):
        ids, text = set(), []
        stream = await aclient.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": f"Repeat after me: {i}"}], stream=True,
            temperature=0, max_completion_tokens=16)
        async for chunk in stream:
            ids.add(chunk.id)
            text += [choice.delta.content or "" for choice in chunk.choices]
        assert len(ids) == 1
        return ids.pop(), "".join(text)

    async def run():
        async with make_async() as aclient:
            together = await asyncio.gather(*(one(aclient, i) for i in range(24)))
            alone = [await one(aclient, i) for i in range(0, 24, 6)]
        return together, alone
    together, alone = asyncio.run(run())
    assert len({made for made, _ in together}) == 24
    assert [text for _, text in together][::6] == [text for _, text in alone]
