"""Several servers on one PostgreSQL share their rate limits, in the database or in a Redis, and the log of usage."""
import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import httpx

from cairn_server import API_KEY, MODEL, binary, group
from redis_server import redis

BODY = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_completion_tokens": 1}
CHAT = "/v1/chat/completions"


@contextmanager
def pair(database, *args):
    """Two servers with these arguments, and raw HTTP on each."""
    servers = group(database, args=args)
    with ExitStack() as stack:
        for server in reversed(servers):
            stack.callback(server.cleanup)
        wires = []
        for server in servers:
            server.start()
            wires.append(stack.enter_context(httpx.Client(
                base_url=server.url, timeout=120, headers={"Authorization": f"Bearer {API_KEY}"},
                limits=httpx.Limits(max_connections=None))))
        yield servers, wires
        for server in servers:
            server.terminate()


def admitted_of(wires, attempts):
    """How many of so many requests, from 64 clients over all servers, were admitted."""
    def one(i):
        reply = wires[i % len(wires)].post(CHAT, json=BODY)
        assert reply.status_code in (200, 429), reply.text
        return reply.status_code == 200
    with ThreadPoolExecutor(64) as pool:
        return sum(pool.map(one, range(attempts)))


def requests_of(server):
    done = subprocess.run([binary(), "usage", "--json", "--total", *server.where], env=server.environment(),
                          capture_output=True, text=True, check=True)
    return sum(row["requests"] for row in json.loads(done.stdout))


def test_64_clients_of_two_servers_get_exactly_what_there_is(database):
    with pair(database, "--rate-limit", "requests_per_day=100") as (servers, wires):
        assert admitted_of(wires, 224) == 100
        assert [requests_of(server) for server in servers] == [100, 100]
        servers[0].kill()
        servers[0].start()  # what one was admitted the others still know
        assert wires[0].post(CHAT, json=BODY).status_code == 429


def test_the_same_in_redis(database):
    with redis() as (url, _), pair(database, "--limits", url, "--rate-limit", "requests_per_day=100") as (_, wires):
        assert admitted_of(wires, 224) == 100


def test_corrections_reach_the_other_server(database):
    with pair(database, "--rate-limit", "tokens_per_day=1000") as (_, wires):
        reply = wires[0].post(CHAT, json={**BODY, "max_completion_tokens": 900, "stop": ["e", "i", "a", "o"]})
        assert reply.status_code == 200 and reply.json()["usage"]["total_tokens"] < 50
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            left = int(wires[1].post(CHAT, json=BODY).headers["x-ratelimit-remaining-tokens"])
            if left > 800:
                return
            time.sleep(0.05)
        raise AssertionError(f"what was not used did not come back: {left}")
