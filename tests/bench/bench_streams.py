#!/usr/bin/env python3
"""10,000 open event streams: all of them progress to their end, and memory stays flat.

The streams follow background responses: RESPONSES of them, each followed by STREAMS / RESPONSES clients from its first
event on. Requests of higher priority keep the model busy until all streams are open; then the responses are written.
Printed: how long each part takes, and the server's memory idle, with all streams open, and at its highest afterwards.

    tests/bench/bench_streams.py        STREAMS=10000 RESPONSES=1000
"""
import asyncio
import os
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

from cairn_server import MODEL, Server, control_tokens  # noqa: E402
from wire import Connection  # noqa: E402

STREAMS = int(os.environ.get("STREAMS", "10000"))
RESPONSES = int(os.environ.get("RESPONSES", "1000"))
OPENING_AT_ONCE = 256
PLUGS = 64  # more than the model decodes together


class Follower:
    """One stream, read to its end."""
    count = begun = ended = 0

    def __init__(self, identity):
        self.identity = identity
        self.task = None

    async def follow(self, connection, gate):
        async with gate:
            await connection.open()
            await connection.send("GET", f"/v1/responses/{self.identity}?stream=true")
            status, headers = await connection.read_head()
            assert status == 200, await connection.read_body(headers)
        Follower.begun += 1
        expected, last = 0, None
        async for event in connection.events():
            assert event["sequence_number"] == expected, (self.identity, event["sequence_number"], expected)
            expected, last = expected + 1, event["type"]
            Follower.count += 1
        assert last in ("response.completed", "response.incomplete"), last
        Follower.ended += 1
        connection.close()


async def watch(server, samples, done):
    while not done.is_set():
        samples.append((time.monotonic(), Follower.begun, Follower.ended, Follower.count, server.rss_kib()))
        await asyncio.sleep(0.5)


async def create(server, number):
    async with Connection(server.port) as connection:
        status, made = await connection.request("POST", "/v1/responses", {
            "model": MODEL, "input": f"Repeat after me: {number} " + "and so on " * 8, "background": True,
            "max_output_tokens": 100})
        assert status == 200, made
        return made["id"]


async def plug(server, opened):
    """Keeps a place of the model busy until all streams are open."""
    bias = {str(token): -100 for token in control_tokens()}
    async with Connection(server.port) as connection:
        while not opened.is_set():
            await connection.request("POST", "/v1/chat/completions", {
                "model": MODEL, "messages": [{"role": "user", "content": "Hello!"}], "service_tier": "priority",
                "logit_bias": bias, "max_completion_tokens": 300})


async def run(server):
    samples, done, opened, gate = [], asyncio.Event(), asyncio.Event(), asyncio.Semaphore(OPENING_AT_ONCE)
    watcher = asyncio.create_task(watch(server, samples, done))
    plugs = [asyncio.create_task(plug(server, opened)) for _ in range(PLUGS)]
    await asyncio.sleep(1)
    started = time.monotonic()
    ids = [await create(server, i) for i in range(RESPONSES)]
    followers = [asyncio.create_task(Follower(ids[i % RESPONSES]).follow(Connection(server.port), gate))
                 for i in range(STREAMS)]
    while Follower.begun < STREAMS:
        await asyncio.sleep(0.1)
        failed = [task.exception() for task in followers if task.done() and task.exception()]
        assert not failed, failed[0]
    await asyncio.sleep(1)
    opened.set()
    await asyncio.gather(*followers, *plugs)
    done.set()
    await watcher
    return samples, started, time.monotonic()


def main():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    assert hard > STREAMS + 100, f"only {hard} files may be open"
    with Server(["--max-connections", str(STREAMS + 500), "--queue", "4096"], check=False) as server:
        idle = server.rss_kib()
        try:
            samples, started, ended = asyncio.run(run(server))
        except AssertionError:
            print(server.log_tail(3000), file=sys.stderr)
            raise
    whole = [sample for sample in samples if sample[1] == STREAMS and sample[2] < STREAMS]
    assert whole, "the streams were never all open"
    first = whole[0]
    after = [sample for sample in samples if sample[0] >= first[0]]
    most, last = max(after, key=lambda sample: sample[4]), after[-1]
    print(f"{STREAMS} streams of {RESPONSES} responses, {Follower.count} events in {ended - started:.1f} s "
          f"({Follower.count / (ended - started):,.0f}/s); all begun after {first[0] - started:.1f} s, all ended whole")
    print(f"resident memory: idle {idle / 1024:.1f} MiB; all open {first[4] / 1024:.1f} MiB "
          f"({(first[4] - idle) / STREAMS:.1f} KiB a stream), highest {most[4] / 1024:.1f}, at the end {last[4] / 1024:.1f}: "
          f"ratio {most[4] / first[4]:.2f}")


if __name__ == "__main__":
    main()
