#!/usr/bin/env python3
"""kill -9 in the middle of 200 concurrent stored requests: what a client was told exists, exists.

Each round starts the server on the same data folder, lets 200 clients create responses (streamed and
not) and stored chat completions, kills the process at a random moment, starts it again and retrieves
every object a client had received: by id in a whole reply, or by its terminal stream event. Each must be
there, and equal to what the client saw. An id seen only in `response.created` may be absent, but if it
is there it must be whole too.

    tests/crash/crash_test.py        ROUNDS=8 CLIENTS=200 SEED=random
"""
import asyncio
import os
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

from cairn_server import MODEL, Server  # noqa: E402
from wire import Connection  # noqa: E402

ROUNDS = int(os.environ.get("ROUNDS", "8"))
CLIENTS = int(os.environ.get("CLIENTS", "200"))
SEED = int(os.environ.get("SEED", random.randrange(1 << 30)))
TERMINAL = ("response.completed", "response.incomplete", "response.failed")


class Seen:
    """What the clients of all rounds were told."""

    def __init__(self):
        self.responses = {}    # id -> the whole response
        self.chats = {}        # id -> the whole completion
        self.chat_texts = {}   # id -> text of a streamed completion that reached [DONE]
        self.begun = set()     # ids seen only in an event that promises nothing

    def told(self):
        return len(self.responses) + len(self.chats) + len(self.chat_texts)


async def respond(connection, seen, name):
    status, body = await connection.request("POST", "/v1/responses", {
        "model": MODEL, "input": f"Repeat after me: {name}", "max_output_tokens": 24, "metadata": {"n": name}})
    assert status == 200, body
    seen.responses[body["id"]] = body


async def respond_stream(connection, seen, name):
    await connection.send("POST", "/v1/responses", {
        "model": MODEL, "input": f"Repeat after me: {name}", "max_output_tokens": 24, "stream": True,
        "metadata": {"n": name}})
    status, headers = await connection.read_head()
    assert status == 200, await connection.read_body(headers)
    async for event in connection.events():
        if event == "[DONE]":
            continue
        if event["type"] == "response.created":
            seen.begun.add(event["response"]["id"])
        elif event["type"] in TERMINAL:
            seen.responses[event["response"]["id"]] = event["response"]


async def chat(connection, seen, name):
    status, body = await connection.request("POST", "/v1/chat/completions", {
        "model": MODEL, "messages": [{"role": "user", "content": f"Repeat after me: {name}"}], "store": True,
        "max_completion_tokens": 24, "metadata": {"n": name}})
    assert status == 200, body
    seen.chats[body["id"]] = body


async def chat_stream(connection, seen, name):
    await connection.send("POST", "/v1/chat/completions", {
        "model": MODEL, "messages": [{"role": "user", "content": f"Repeat after me: {name}"}], "store": True,
        "max_completion_tokens": 24, "stream": True})
    status, headers = await connection.read_head()
    assert status == 200, await connection.read_body(headers)
    identity, text = None, ""
    async for chunk in connection.events():
        if chunk == "[DONE]":
            seen.chat_texts[identity] = text
        else:
            identity = chunk["id"]
            text += chunk["choices"][0]["delta"].get("content") or ""


KINDS = (respond, respond_stream, chat, chat_stream)


async def one_client(port, seen, name, rng):
    """Requests one after the other until the server dies."""
    try:
        async with Connection(port) as connection:
            for turn in range(10_000):
                await rng.choice(KINDS)(connection, seen, f"{name} {turn}")
    except (ConnectionError, OSError):
        pass


async def load_until_killed(server, seen, rng, number):
    clients = [asyncio.create_task(one_client(server.port, seen, f"r{number}c{i}", rng))
               for i in range(CLIENTS)]
    before = seen.told()
    deadline = time.monotonic() + 120
    # Under load, with replies arriving, and at no particular moment.
    while seen.told() < before + CLIENTS // 4 and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    await asyncio.sleep(rng.uniform(0, 0.5))
    server.kill()
    results = await asyncio.gather(*clients, return_exceptions=True)
    failures = [result for result in results if isinstance(result, Exception)]
    assert not failures, failures[0]
    assert seen.told() > before, "no client was told anything before the kill"


def text_of(completion):
    return completion["choices"][0]["message"]["content"]


async def verify(server, seen):
    async with Connection(server.port) as connection:
        for identity, told in seen.responses.items():
            status, body = await connection.request("GET", f"/v1/responses/{identity}")
            assert status == 200, f"{identity} was lost: {body}"
            assert body == told, f"{identity} changed:\n{told}\n{body}"
        for identity, told in seen.chats.items():
            status, body = await connection.request("GET", f"/v1/chat/completions/{identity}")
            assert status == 200, f"{identity} was lost: {body}"
            for key in ("choices", "usage", "created", "model"):
                assert body[key] == told[key], f"{identity}.{key} changed: {told[key]} {body[key]}"
        for identity, text in seen.chat_texts.items():
            status, body = await connection.request("GET", f"/v1/chat/completions/{identity}")
            assert status == 200, f"{identity} was lost: {body}"
            assert text_of(body) == text, f"{identity} changed"
        for identity in seen.begun - set(seen.responses):
            status, body = await connection.request("GET", f"/v1/responses/{identity}")
            assert status in (200, 404), body
            if status == 200:
                assert body["status"] != "completed" or body["usage"], f"{identity} is half a response: {body}"
        status, body = await connection.request("POST", "/v1/responses", {"model": MODEL, "input": "Hello!"})
        assert status == 200, body


def main():
    rng = random.Random(SEED)
    print(f"crash: {ROUNDS} rounds of {CLIENTS} clients, SEED={SEED}", flush=True)
    server, seen = Server(), Seen()
    try:
        for number in range(ROUNDS):
            server.start()
            asyncio.run(load_until_killed(server, seen, rng, number))
            started = time.monotonic()
            server.start()
            ready = time.monotonic() - started
            asyncio.run(verify(server, seen))
            server.terminate()
            print(f"crash: round {number + 1}: {seen.told()} objects told so far, all retrieved; "
                  f"ready {ready * 1000:.0f} ms after the kill", flush=True)
    except AssertionError as error:
        print(f"crash: FAILED: {str(error)[:4000]}\nserver log:\n{server.log_tail(2000)}", file=sys.stderr)
        return 1
    finally:
        server.cleanup()
    return 0


if __name__ == "__main__":
    sys.exit(main())
