#!/usr/bin/env python3
"""kill -9 in the middle of a mixed load: what a client was told exists, and what was promised is done, once.

Each round starts the server on the same data, lets clients create responses, chat completions, files, uploads, batches,
background responses and conversations (workload.py), kills the process at a random moment, starts it again and checks
every object that a client was told of since the last kill, a sample of the older ones, and that interrupted work goes
on. At the end everything is checked once more, and that no webhook event is missing.

    tests/crash/crash_test.py        ROUNDS=8 CLIENTS=60 SEED=random
    tests/crash/crash_test.py --postgres      two processes on one PostgreSQL; one of them or both are killed
"""
import asyncio
import contextlib
import http.server
import json
import os
import random
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

from cairn_server import Server, group  # noqa: E402
from wire import Connection  # noqa: E402
from workload import KINDS, expect  # noqa: E402

ROUNDS = int(os.environ.get("ROUNDS", "8"))
CLIENTS = int(os.environ.get("CLIENTS", "60"))
SEED = int(os.environ.get("SEED", random.randrange(1 << 30)))
CHECKERS = 24         # connections that check at the same time
HOOK_TIMEOUT = 120    # seconds for the deliveries that are still owed


class Receiver:
    """Takes webhook deliveries: {(type, object id): set of webhook-ids}."""

    def __init__(self):
        self.got = {}
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.got.setdefault((event["type"], event["data"]["id"]), set()).add(self.headers["webhook-id"])
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_port}/hook"


class World:
    """What all kinds share."""

    def __init__(self):
        self.must_be_listed = set()      # names of files
        self.ended_in_background = {}    # response id -> its last event
        self.receiver = Receiver()
        self.kinds = [kind(self) for kind in KINDS]

    def told(self):
        return sum(kind.told() for kind in self.kinds)


class Pool:
    """Connections to whichever servers live, for the checks."""

    def __init__(self, ports):
        self.ports = ports

    async def each(self, check, pairs):
        queue = list(pairs)

        async def worker(port):
            async with Connection(port) as connection:
                while queue:
                    identity, told = queue.pop()
                    await check(connection, identity, told)
        if queue:
            await asyncio.gather(*[worker(self.ports[i % len(self.ports)]) for i in range(min(CHECKERS, len(queue)))])


class Cluster:
    """The servers under test: one on SQLite, or two on one PostgreSQL."""

    def __init__(self, receiver, stack):
        args = ["--outbound-allow", "127.0.0.1/32"]
        if "--postgres" in sys.argv:
            from postgres import Postgres
            self.servers = group(stack.enter_context(Postgres()).database(), args=args)
        else:
            self.servers = [Server(args)]
        for server in self.servers:
            stack.callback(server.cleanup)
        self.receiver = receiver

    def start(self):
        for server in self.servers:
            if not server.alive():
                server.start()

    def kill(self, rng):
        """Some of them: at least one."""
        chosen = [server for server in self.servers if rng.random() < 0.6] or [rng.choice(self.servers)]
        for server in chosen:
            server.kill()

    def ports(self):
        return [server.port for server in self.servers]

    def log_tail(self):
        return "\n---\n".join(server.log_tail(4000) for server in self.servers)


async def one_client(port, world, name, rng):
    """Acts one after the other until its server dies."""
    with contextlib.suppress(ConnectionError, OSError):
        async with Connection(port) as connection:
            for turn in range(10_000):
                await rng.choice(world.kinds).act(connection, f"{name}t{turn}", rng)


async def load_until_killed(cluster, world, rng, number):
    ports = cluster.ports()
    clients = [asyncio.create_task(one_client(ports[i % len(ports)], world, f"r{number}c{i}", rng))
               for i in range(CLIENTS)]
    before = world.told()
    deadline = time.monotonic() + 120
    # Under load, with replies arriving, and at no particular moment.
    while world.told() < before + CLIENTS // 4 and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    await asyncio.sleep(rng.uniform(0, 0.7))
    cluster.kill(rng)
    await asyncio.sleep(0)
    for client in clients:  # of the servers that live
        client.cancel() if not client.done() and len(ports) > 1 else None
    results = await asyncio.gather(*clients, return_exceptions=True)
    failures = [result for result in results if isinstance(result, Exception)]
    if failures:
        raise failures[0]
    assert world.told() > before, "no client was told anything before the kill"


async def subscribe(port, receiver):
    """All events of this project go to the receiver."""
    async with Connection(port) as connection:
        types = await expect(connection, "GET", "/v1/webhook_event_types")
        names = [one["type"] if isinstance(one, dict) else one for one in types["data"]]
        await expect(connection, "POST", "/v1/webhook_endpoints", {
            "name": "crash test", "url": receiver.url, "event_types": names})


async def check_all(cluster, world, rng):
    pool = Pool(cluster.ports())
    for kind in world.kinds:
        await kind.check(pool, rng)


async def finish(cluster, world, rng):
    pool = Pool(cluster.ports())
    for kind in world.kinds:
        await kind.finish(pool, rng)
    await pool.each(lambda connection, kind, _: kind.check_unique(connection), [(kind, None) for kind in world.kinds])
    deadline = time.monotonic() + HOOK_TIMEOUT
    owed = {(event, identity) for identity, event in world.ended_in_background.items()}
    while owed - set(world.receiver.got) and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    missing = owed - set(world.receiver.got)
    assert not missing, f"{len(missing)} of {len(owed)} webhook events were not delivered: {sorted(missing)[:3]}"
    twice = {key: ids for key, ids in world.receiver.got.items() if len(ids) > 1}
    assert not twice, f"events that happened twice: {list(twice.items())[:3]}"


def run_rounds(cluster, world, rng):
    cluster.start()
    asyncio.run(subscribe(cluster.ports()[0], world.receiver))
    for number in range(ROUNDS):
        cluster.start()
        asyncio.run(load_until_killed(cluster, world, rng, number))
        started = time.monotonic()
        cluster.start()
        ready = time.monotonic() - started
        asyncio.run(check_all(cluster, world, rng))
        print(f"crash: round {number + 1}: {world.told()} objects told so far, none lost; "
              f"ready {ready * 1000:.0f} ms after the kill, checked in {time.monotonic() - started - ready:.1f} s", flush=True)
    asyncio.run(finish(cluster, world, rng))
    for server in cluster.servers:
        server.terminate()
    kinds = ", ".join(f"{kind.told()} {type(kind).__name__.lower()}" for kind in world.kinds)
    print(f"crash: {ROUNDS} kills, {kinds}, {len(world.ended_in_background)} webhook events: "
          "nothing lost, nothing twice", flush=True)


def main():
    rng = random.Random(SEED)
    print(f"crash: {ROUNDS} rounds of {CLIENTS} clients, SEED={SEED}", flush=True)
    world = World()
    with contextlib.ExitStack() as stack:
        cluster = Cluster(world.receiver, stack)
        try:
            run_rounds(cluster, world, rng)
        except AssertionError as error:
            print(f"crash: FAILED: {str(error)[:4000]}\nserver log:\n{cluster.log_tail()}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
