"""Several servers on one PostgreSQL: one installation, whichever of them is asked."""
import concurrent.futures
import json
import subprocess
import time

import httpx
import pytest
from openai import OpenAI

from cairn_server import API_KEY, MODEL, Server, binary, control_tokens, group

CREATED = 40  # objects by each of two servers


def sdk_of(server, **options):
    return OpenAI(base_url=server.base_url, api_key=API_KEY, timeout=300, **options)


@pytest.fixture
def pair(database):
    servers = group(database)
    try:
        for server in servers:
            server.start()
        yield servers
        for server in servers:
            if server.alive():
                server.terminate()
    finally:
        for server in reversed(servers):
            server.cleanup()


def test_servers_that_start_together_make_one_installation(database):
    servers = group(database, size=4)
    try:
        for server in servers:
            server.start(wait=False)
        for server in servers:
            server.wait_ready()
        listed = [subprocess.run([binary(), "keys", "list", *server.where], env=server.environment(), check=True,
                                 capture_output=True, text=True).stdout for server in servers]
        assert len(set(listed)) == 1 and listed[0].count("(environment)") == 2
        for server in servers:
            server.terminate()
    finally:
        for server in reversed(servers):
            server.cleanup()


def test_another_secret_is_refused(pair):
    stranger = Server(env={"CAIRN_SECRET": "ab" * 32}, database=pair[0].database)
    none = Server(database=pair[0].database)
    try:
        for server in (stranger, none):
            server.start(wait=False)
            assert server.process.wait(60) == 1
            assert "CAIRN_SECRET" in server.log_tail(), server.log_tail()
    finally:
        stranger.cleanup()
        none.cleanup()


def test_what_one_stores_the_other_serves(pair):
    first, second = (sdk_of(server) for server in pair)
    made = first.responses.create(model=MODEL, input="Hello", max_output_tokens=16)
    assert second.responses.retrieve(made.id) == made
    followed = second.responses.create(model=MODEL, input="And?", previous_response_id=made.id, max_output_tokens=16)
    assert first.responses.retrieve(followed.id).previous_response_id == made.id
    given = first.files.create(file=("a.txt", b"contents"), purpose="user_data")
    assert second.files.content(given.id).content == b"contents"
    second.files.delete(given.id)
    assert given.id not in [f.id for f in first.files.list()]


def test_a_key_of_one_opens_the_other(pair):
    made = subprocess.run([binary(), "keys", "create", *pair[0].where], env=pair[0].environment(), check=True,
                          capture_output=True, text=True)
    key, identity = made.stdout.strip(), made.stderr.split()[2]
    models = pair[1].base_url + "/models"

    def status():
        return httpx.get(models, headers={"Authorization": f"Bearer {key}"}).status_code

    deadline = time.monotonic() + 10
    while status() != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    subprocess.run([binary(), "keys", "revoke", identity, *pair[0].where], env=pair[0].environment(), check=True,
                   capture_output=True)
    while status() != 401:
        assert time.monotonic() < deadline + 10
        time.sleep(0.05)


def test_pages_hold_while_both_insert(pair):
    """s18: somebody walks the list while two servers add to its end: nothing twice, nothing missed."""
    sdks = [sdk_of(server) for server in pair]

    def insert(k):
        return [sdks[k].chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "Hi"}], store=True, max_completion_tokens=1,
            metadata={"run": "pages"}).id for _ in range(CREATED)]

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        running = [pool.submit(insert, k) for k in range(2)]
        seen, after = [], None
        while True:
            over = all(f.done() for f in running)
            more = {"after": after} if after else {}
            page = sdks[0].chat.completions.list(limit=7, order="asc", metadata={"run": "pages"}, **more)
            seen += [c.id for c in page.data]
            after = seen[-1] if seen else None
            if over and not page.data:
                break
        made = [i for f in running for i in f.result()]
    assert len(seen) == len(set(seen))
    # A row's second is that of its request; one that took longer than the second may have come in front of where the
    # walk was. From the beginning, all are there.
    again = [c.id for c in sdks[1].chat.completions.list(limit=100, order="asc", metadata={"run": "pages"})]
    assert sorted(again) == sorted(made) and set(seen) <= set(made)


def test_a_stream_is_followed_on_another_server(pair):
    """A background response runs on one server; its events are heard, and its end seen, on the other."""
    first, second = (sdk_of(server) for server in pair)
    made = first.responses.create(model=MODEL, input="Count to 20", background=True, stream=True,
                                  max_output_tokens=60)
    begun = next(iter(made)).response.id
    events = list(second.responses.retrieve(begun, stream=True))
    assert [e.sequence_number for e in events] == list(range(len(events)))
    assert events[-1].type in ("response.completed", "response.incomplete")
    whole = first.responses.retrieve(begun)
    text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert whole.output_text == text


def test_work_of_a_dead_server_is_taken_over(pair):
    """kill -9 of the server that runs a background response: the other one ends it, when the lease is over."""
    first, second = (sdk_of(server) for server in pair)
    made = [first.responses.create(model=MODEL, input=f"Tell me story {i}", background=True, max_output_tokens=200).id
            for i in range(3)]
    pair[0].kill()
    deadline = time.monotonic() + 120
    for identity in made:
        while (got := second.responses.retrieve(identity)).status in ("queued", "in_progress"):
            assert time.monotonic() < deadline, got
            time.sleep(0.2)
        assert got.status in ("completed", "incomplete"), got


def test_a_restarted_database_costs_no_more_than_a_moment(pair, postgres):
    """Requests while it is away get 503; afterwards everything goes on, on the same processes."""
    first = sdk_of(pair[0], max_retries=0)
    made = first.responses.create(model=MODEL, input="Hello", max_output_tokens=16)
    postgres.kill()
    reply = httpx.get(pair[0].base_url + "/responses/" + made.id, headers={"Authorization": f"Bearer {API_KEY}"},
                      timeout=60)
    assert reply.status_code == 503 and "retry-after" in reply.headers, reply.text
    assert httpx.get(pair[0].url + "/readyz", timeout=60).status_code == 503
    postgres.start()
    for server in pair:
        server.wait_ready()
        sdk = sdk_of(server)
        assert sdk.responses.retrieve(made.id) == made
        assert sdk.responses.create(model=MODEL, input="Again", max_output_tokens=16).id


def batch_lines(count):
    """Lines that each store a completion under their own name, and take their time."""
    endless = {str(token): -100 for token in control_tokens()}
    return "".join(json.dumps({"custom_id": f"c{i}", "method": "POST", "url": "/v1/chat/completions", "body": {
        "model": MODEL, "messages": [{"role": "user", "content": f"Say {i}"}], "max_completion_tokens": 60, "store": True,
        "logit_bias": endless, "metadata": {"line": f"c{i}"}}}) + "\n" for i in range(count)).encode()


def test_a_database_that_crashes_loses_no_answer(pair, postgres):
    """The database is stopped at once, amid commits, again and again: each line is answered, and stored, once."""
    sdk = sdk_of(pair[0], max_retries=8)
    source = sdk.files.create(file=("in.jsonl", batch_lines(1000)), purpose="batch")
    made = sdk.batches.create(input_file_id=source.id, endpoint="/v1/chat/completions", completion_window="24h")
    crashes, deadline = 0, time.monotonic() + 240
    while (got := sdk.batches.retrieve(made.id)).status != "completed":
        assert got.status in ("validating", "in_progress", "finalizing") and time.monotonic() < deadline, got
        time.sleep(0.3)
        if crashes < 2 and got.request_counts.completed > 300 * crashes:
            postgres.kill()
            time.sleep(4)
            postgres.start()
            crashes += 1
    assert crashes == 2
    answers = [json.loads(line) for line in sdk.files.content(got.output_file_id).text.splitlines()]
    assert sorted(line["custom_id"] for line in answers) == sorted(f"c{i}" for i in range(1000))
    stored = {one.id: one.metadata["line"] for one in sdk.chat.completions.list(limit=100)}
    assert stored == {line["response"]["body"]["id"]: line["custom_id"] for line in answers}
    assert sum(row["requests"] for row in pair[0].usage("--total", "--by", "batch") if row["batch"]) == 1000
