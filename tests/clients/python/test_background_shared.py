"""Background responses of several servers on one PostgreSQL: scenarios 48-50 across processes."""
import json
import random
import threading
import time

import httpx
import pytest

from cairn_server import API_KEY, group
from postgres import Missing, Postgres
from support import sse_frames
from test_background import RESPONSES, TERMINAL, WAIT, check_whole, ended, numbers, replay, until


@pytest.fixture(scope="module")
def database():
    try:
        with Postgres() as running:
            yield running.database()
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def pair(database):
    """Two servers; a test that kills one starts it again."""
    servers = group(database)
    try:
        for server in servers:
            server.start()
        yield servers
        for server in servers:
            server.terminate()
    finally:
        for server in servers:
            server.cleanup()


@pytest.fixture
def wires(pair):
    made = [httpx.Client(base_url=server.url, timeout=WAIT, headers={"Authorization": f"Bearer {API_KEY}"})
            for server in pair]
    yield made
    for wire in made:
        wire.close()


def test_s48_followed_at_every_server(wires):
    """Whoever runs it, wherever it is followed: the same bytes, live and afterwards."""
    for turn in range(6):
        made = wires[turn % 2].post(RESPONSES, json=numbers(30, turn)).json()
        lines = replay(wires[1 - turn % 2], made["id"])
        body = ended(wires[0], made["id"])
        check_whole(lines, body)
        assert lines == replay(wires[turn % 2], made["id"])
        assert body == wires[1].get(f"{RESPONSES}/{made['id']}").json()


def test_s50_cancelled_and_deleted_elsewhere(wires):
    for turn in range(6):
        made = wires[turn % 2].post(RESPONSES, json=numbers(150, turn)).json()
        until(lambda made=made: wires[0].get(f"{RESPONSES}/{made['id']}").json()["status"] != "queued", "the start")
        with wires[0].stream("GET", f"{RESPONSES}/{made['id']}", params={"stream": "true"}) as follower:
            other = wires[1 - turn % 2]
            if turn < 4:
                body = other.post(f"{RESPONSES}/{made['id']}/cancel").json()
                assert body["status"] in ("cancelled", "completed", "incomplete")
                check_whole([frame.data for frame in sse_frames(follower.read())], body)
            else:
                assert other.delete(f"{RESPONSES}/{made['id']}").status_code == 200
                last = json.loads(sse_frames(follower.read())[-1].data)
                assert last.get("code") == "response_deleted" or last["type"] in TERMINAL


def test_s49_one_is_killed_the_other_goes_on(pair, wires):
    """Responses of a server that is killed are continued by the other, when its leases have run out, while clients
    follow them there."""
    rng, seen = random.Random(), {}

    def follow(identity):
        with httpx.Client(base_url=pair[1].url, headers={"Authorization": f"Bearer {API_KEY}"}, timeout=WAIT) as own:
            seen[identity] = replay(own, identity)

    ids = [wires[0].post(RESPONSES, json=numbers(rng.choice((20, 100)), rng.random())).json()["id"] for _ in range(6)]
    followers = [threading.Thread(target=follow, args=(identity,)) for identity in ids]
    for follower in followers:
        follower.start()
    time.sleep(rng.uniform(0, 0.5))
    pair[0].kill()
    for follower in followers:
        follower.join()
    for identity in ids:
        check_whole(seen[identity], ended(wires[1], identity))
    pair[0].start()
