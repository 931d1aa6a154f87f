#!/usr/bin/env python3
"""Many clients at once: streams do not mix, dead clients free their slots, memory stays flat.

    tests/load/load_test.py [--full | --no-memory]

  streams      1,000 concurrent SSE streams; each repeats its own word and must equal, byte for byte, what
               the same request gave alone or in company; all chunks of a stream share one id.
  disconnect   a client that leaves in the middle of a stream has its sequence freed within 100 ms.
  memory       resident memory after the first requests and after the last is the same (100,000 requests
               with --full, 20,000 without). Left out with --no-memory: sanitizers keep freed memory.
  file         512 MB go up as one file and come back, digest for digest, in constant memory (bound left out
               with --no-memory).
"""
import asyncio
import hashlib
import http.client
import json
import os
import resource
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

from cairn_server import ADMIN_KEY, API_KEY, MODEL, Server, control_tokens, metric  # noqa: E402
from wire import Connection  # noqa: E402

STREAMS = int(os.environ.get("STREAMS", "1000"))
WORDS = 40  # different requests among the streams
DISCONNECTS = 20
FREED_WITHIN_S = 0.100
# What the machine's scheduler may add: the median must meet the bound, a single outlier may miss it.
FREED_WORST_S = 1.0
RSS_GROWTH_KIB = 8 * 1024


def body(text, tokens=12, **extra):
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], "temperature": 0, "seed": 1,
            "max_completion_tokens": tokens, **extra}


async def stream_text(connection, request):
    """The text of one chat stream, which must be consistent in itself."""
    await connection.send("POST", "/v1/chat/completions", {**request, "stream": True})
    status, headers = await connection.read_head()
    assert status == 200, await connection.read_body(headers)
    assert headers["content-type"].startswith("text/event-stream"), headers
    ids, text, last = set(), "", None
    async for event in connection.events():
        last = event
        if event == "[DONE]":
            continue
        assert "error" not in event, event
        ids.add(event["id"])
        text += "".join(choice["delta"].get("content") or "" for choice in event["choices"])
    assert last == "[DONE]", "the stream did not end"
    assert len(ids) == 1, f"one stream carried {ids}"
    return ids.pop(), text


async def check_streams(server):
    prompts = [f"Repeat after me: word{i:02d}" for i in range(WORDS)]
    expected = {}
    async with Connection(server.port) as connection:
        for prompt in prompts:
            status, reply = await connection.request("POST", "/v1/chat/completions", body(prompt))
            assert status == 200, reply
            expected[prompt] = reply["choices"][0]["message"]["content"]
    opened = [await Connection(server.port).open() for _ in range(STREAMS)]
    started = time.monotonic()
    results = await asyncio.gather(*(stream_text(connection, body(prompts[i % WORDS]))
                                     for i, connection in enumerate(opened)))
    took = time.monotonic() - started
    for connection in opened:
        connection.close()
    assert len({identity for identity, _ in results}) == STREAMS, "two streams shared an id"
    mixed = [i for i, (_, text) in enumerate(results) if text != expected[prompts[i % WORDS]]]
    assert not mixed, f"{len(mixed)} streams differ, the first: {results[mixed[0]][1]!r} instead of " \
                      f"{expected[prompts[mixed[0] % WORDS]]!r}"
    print(f"load: {STREAMS} concurrent streams in {took:.1f} s, no cross-talk "
          f"({len(set(expected.values()))} different texts)", flush=True)


async def active_sequences(connection):
    await connection.send("GET", "/metrics", key=ADMIN_KEY)
    _, headers = await connection.read_head()
    return metric((await connection.read_body(headers)).decode(), "cairn_engine_active_sequences")


async def check_disconnects(server):
    ban = {str(token): -100 for token in control_tokens()}
    request = body("Write a poem about autumn.", 1000, logit_bias=ban, stream=True)
    times = []
    async with Connection(server.port) as watcher:
        for _ in range(DISCONNECTS):
            victim = await Connection(server.port).open()
            await victim.send("POST", "/v1/chat/completions", request)
            status, _ = await victim.read_head()
            assert status == 200
            seen = 0
            async for _ in victim.events():
                seen += 1
                if seen == 3:
                    break
            assert await active_sequences(watcher) == 1
            victim.abort()
            left = time.monotonic()
            while await active_sequences(watcher) != 0:
                assert time.monotonic() - left < 30, "the slot of a dead client was not freed in 30 s"
            times.append(time.monotonic() - left)
    median, worst = statistics.median(times), max(times)
    print(f"load: slot freed {median * 1000:.1f} ms after a disconnect (median of {DISCONNECTS}, "
          f"worst {worst * 1000:.1f} ms)", flush=True)
    assert median < FREED_WITHIN_S and worst < FREED_WORST_S, times


REQUESTS = (("GET", "/v1/models", None), ("POST", "/v1/chat/completions", body("Hello!", 1)),
            ("POST", "/v1/chat/completions", {"model": MODEL}), ("GET", "/v1/responses/resp_none", None),
            ("GET", "/v1/nowhere", None), ("GET", "/v1/models/none", None),
            ("POST", "/v1/responses/input_tokens", {"model": MODEL, "input": "Hello!"}))


async def send_requests(port, count, clients=8):
    """A mix of good and bad requests, streams among them; connections are renewed now and then."""
    async def one(share):
        connection = await Connection(port).open()
        for i in range(share):
            if i % 100 == 99:
                connection.close()
                connection = await Connection(port).open()
            if i % 10 == 9:
                await stream_text(connection, REQUESTS[1][2])
                continue
            method, path, request = REQUESTS[i % len(REQUESTS)]
            status, _ = await connection.request(method, path, request)
            assert status in (200, 400, 404), (path, status)
        connection.close()
    await asyncio.gather(*(one(count // clients) for _ in range(clients)))


async def check_memory(server, total):
    """Grows to its working set first; from then on, nothing is kept of a request that is over."""
    await send_requests(server.port, max(total // 4, 2000))
    before = server.rss_kib()
    started = time.monotonic()
    await send_requests(server.port, total)
    rate = total / (time.monotonic() - started)
    after = server.rss_kib()
    print(f"load: RSS {before} KiB, after {total} more requests {after} KiB ({after - before:+d}), "
          f"{rate:.0f} requests/s", flush=True)
    assert after - before < RSS_GROWTH_KIB, "memory grows with the number of requests"


def form_pieces(block, count, digest, look):
    """A form of a file of count blocks, piece by piece; calls look() now and then."""
    yield (b'--xyz\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
           b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="big"\r\n\r\n')
    for i in range(count):
        piece = i.to_bytes(8, "little") + block
        digest.update(piece)
        if i % 32 == 0:
            look()
        yield piece
    yield b"\r\n--xyz--\r\n"


def check_file(server, bound):
    """The largest file of one request: up with chunks, down with its length."""
    block, count = os.urandom((1 << 20) - 8), 512
    sent, got = hashlib.sha256(), hashlib.sha256()
    head, seen = {"Authorization": f"Bearer {API_KEY}"}, []
    before = server.rss_kib()

    def look():
        seen.append(server.rss_kib())

    started = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
    connection.request("POST", "/v1/files", form_pieces(block, count, sent, look), encode_chunked=True,
                       headers={**head, "Content-Type": "multipart/form-data; boundary=xyz",
                                "Transfer-Encoding": "chunked"})
    file = json.loads(connection.getresponse().read())
    assert file.get("bytes") == count << 20, file
    up = time.monotonic() - started
    look()
    started = time.monotonic()
    connection.request("GET", f"/v1/files/{file['id']}/content", headers=head)
    reply = connection.getresponse()
    while piece := reply.read(16 << 20):
        got.update(piece)
        look()
    down, peak = time.monotonic() - started, max(seen)
    assert got.digest() == sent.digest(), "another content came back"
    connection.request("DELETE", f"/v1/files/{file['id']}", headers=head)
    assert json.loads(connection.getresponse().read())["deleted"]
    connection.close()
    print(f"load: {count} MB up in {up:.1f} s, down in {down:.1f} s, RSS {peak - before:+d} KiB", flush=True)
    assert not bound or peak - before < RSS_GROWTH_KIB, "a file takes memory"


def main():
    requests = 100_000 if "--full" in sys.argv[1:] else 20_000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4 * STREAMS)), hard))
    server = Server(check=False)
    server.start()
    try:
        asyncio.run(check_streams(server))
        asyncio.run(check_disconnects(server))
        check_file(server, "--no-memory" not in sys.argv[1:])
        if "--no-memory" not in sys.argv[1:]:
            asyncio.run(check_memory(server, requests))
        server.terminate()
    except (AssertionError, ConnectionError) as error:
        print(f"load: FAILED: {str(error)[:4000]}\nserver log:\n{server.log_tail(2000)}", file=sys.stderr)
        return 1
    finally:
        server.cleanup()
    return 0


if __name__ == "__main__":
    sys.exit(main())
