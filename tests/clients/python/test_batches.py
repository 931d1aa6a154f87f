"""Batches through the official SDK: scenarios 80, 81 and 106 of the conformance list."""
import json
import random
import threading
import time

import openai
import pytest
from openai import OpenAI

from cairn_server import API_KEY, MODEL, Server
from hook import Hook
from support import check_error, endless, user

CHAT = "/v1/chat/completions"
BATCHES = "/v1/batches"
OVER = ("completed", "failed", "cancelled", "expired")
ORDER = ["validating", "in_progress", "finalizing", "completed"]


def chat_line(number, **extra):
    body = {"model": MODEL, "messages": user(f"Say {number}"), "max_completion_tokens": 4, "temperature": 0, **extra}
    return {"custom_id": f"c{number}", "method": "POST", "url": CHAT, "body": body}


def slow_line(number):
    """A line that takes a while: the model may not end its turn."""
    return chat_line(number, max_completion_tokens=400, logit_bias=endless())


def upload(client, lines):
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    return client.files.create(file=("in.jsonl", text.encode()), purpose="batch")


def begin(client, lines, endpoint=CHAT, **extra):
    return client.batches.create(input_file_id=upload(client, lines).id, endpoint=endpoint, completion_window="24h",
                                 **extra)


def follow(client, batch, until=OVER, seconds=600):
    """Polls until the batch has one of the statuses: the batch, and the different statuses seen."""
    seen = []
    deadline = time.monotonic() + seconds
    while True:
        batch = client.batches.retrieve(batch.id)
        if not seen or seen[-1] != batch.status:
            seen.append(batch.status)
        if batch.status in until:
            return batch, seen
        assert time.monotonic() < deadline, batch
        time.sleep(0.02)


def content(client, file_id):
    """The lines of an output file by custom_id; each is there once."""
    if file_id is None:
        return {}
    lines = [json.loads(line) for line in client.files.content(file_id).text.splitlines()]
    found = {line["custom_id"]: line for line in lines}
    assert len(found) == len(lines), "a custom_id is there twice"
    for line in lines:
        assert set(line) == {"id", "custom_id", "response", "error"} and line["id"].startswith("batch_req_")
    return found


def check_counts(batch, total, completed, failed):
    counts = batch.request_counts
    assert (counts.total, counts.completed, counts.failed) == (total, completed, failed)


def errors_of(client, lines, **extra):
    batch, _ = follow(client, begin(client, lines, **extra))
    assert batch.status == "failed", batch
    assert batch.errors.object == "list" and batch.failed_at
    assert batch.output_file_id is None and batch.error_file_id is None
    return batch.errors.data


# ---- scenario 80: from end to end ----

def test_s80_mixed(client, wire):
    lines = [chat_line(i) for i in range(12)]
    lines[5] = chat_line(5, messages=[{"role": "user", "content": "word " * 20000}])  # passes the schema, fails
    made = begin(client, lines, metadata={"kind": "mixed"})
    assert made.id.startswith("batch_") and made.object == "batch" and made.status == "validating"
    assert made.endpoint == CHAT and made.completion_window == "24h" and made.metadata == {"kind": "mixed"}
    assert made.expires_at == made.created_at + 86400
    check_counts(made, 0, 0, 0)
    batch, seen = follow(client, made)
    assert batch.status == "completed" and [ORDER.index(status) for status in seen] == sorted(map(ORDER.index, seen))
    check_counts(batch, 12, 11, 1)
    assert batch.created_at <= batch.in_progress_at <= batch.finalizing_at <= batch.completed_at
    assert batch.model == MODEL and batch.errors is None
    good, bad = content(client, batch.output_file_id), content(client, batch.error_file_id)
    assert list(good) == [f"c{i}" for i in range(12) if i != 5] and list(bad) == ["c5"]
    for line in good.values():
        assert line["error"] is None and line["response"]["status_code"] == 200
        assert line["response"]["request_id"].startswith("req_")
        assert line["response"]["body"]["object"] == "chat.completion"
    assert bad["c5"]["response"]["status_code"] == 400 and bad["c5"]["error"] is None
    assert bad["c5"]["response"]["body"]["error"]["code"] == "context_length_exceeded"
    used = [line["response"]["body"]["usage"] for line in good.values()]
    assert batch.usage.input_tokens == sum(u["prompt_tokens"] for u in used)
    assert batch.usage.output_tokens == sum(u["completion_tokens"] for u in used)
    assert batch.usage.total_tokens == sum(u["total_tokens"] for u in used)
    for name, file_id in (("output", batch.output_file_id), ("error", batch.error_file_id)):
        file = client.files.retrieve(file_id)
        assert file.purpose == "batch_output" and file.filename == f"{batch.id}_{name}.jsonl"
    assert batch.id in [b.id for b in client.batches.list(limit=100)]


def test_s80_same_as_a_request(client, wire):
    line = chat_line(1, max_completion_tokens=12, seed=3)
    batch, _ = follow(client, begin(client, [line]))
    got = content(client, batch.output_file_id)["c1"]["response"]["body"]
    alone = wire.post(CHAT, json=line["body"]).json()
    assert got["choices"] == alone["choices"]
    assert {k: v for k, v in got["usage"].items() if k.endswith("_tokens")} == \
        {k: v for k, v in alone["usage"].items() if k.endswith("_tokens")}


@pytest.mark.parametrize("endpoint,body,kind", [
    ("/v1/completions", {"prompt": "Once", "max_tokens": 3}, "text_completion"),
    ("/v1/embeddings", {"input": ["a", "b"]}, "list"),
    ("/v1/responses", {"input": "Hello!", "max_output_tokens": 16}, "response"),
])
def test_s80_endpoints(client, endpoint, body, kind):
    lines = [{"custom_id": str(i), "method": "POST", "url": endpoint, "body": {"model": MODEL, **body}}
             for i in range(3)]
    batch, _ = follow(client, begin(client, lines, endpoint=endpoint))
    assert batch.status == "completed" and batch.error_file_id is None
    good = content(client, batch.output_file_id)
    assert sorted(good) == ["0", "1", "2"]
    for line in good.values():
        assert line["response"]["body"]["object"] == kind
    if kind == "response":  # stored, as in a request
        for line in good.values():
            made = line["response"]["body"]
            assert client.responses.retrieve(made["id"]).id == made["id"]
            client.responses.delete(made["id"])


def moderation_line(number, **body):
    return {"custom_id": f"m{number}", "method": "POST", "url": "/v1/moderations", "body": {"input": "Hi", **body}}


def test_s80_moderations(client):
    names = ({}, {"model": "omni-moderation-latest"}, {"model": "text-moderation-stable"}, {"model": None})
    lines = [moderation_line(i, **name) for i, name in enumerate(names)]
    batch, _ = follow(client, begin(client, lines, endpoint="/v1/moderations"))
    assert batch.status == "completed" and batch.error_file_id is None, batch
    assert batch.model == "omni-moderation-latest" and batch.usage.input_tokens == 0
    for line in content(client, batch.output_file_id).values():
        assert line["response"]["body"]["results"][0]["flagged"] is False


def test_s81_no_model_for_moderations(client):
    found = errors_of(client, [moderation_line(1, model=MODEL)], endpoint="/v1/moderations")
    assert [(e.code, e.line, e.param) for e in found] == [("model_not_found", 1, "body")]


def test_s80_all_fail(client):
    batch, _ = follow(client, begin(client, [chat_line(i, messages=user("word " * 20000)) for i in range(2)]))
    assert batch.status == "completed" and batch.output_file_id is None
    check_counts(batch, 2, 0, 2)
    assert sorted(content(client, batch.error_file_id)) == ["c0", "c1"]


def test_s80_two_at_once(client):
    made = [begin(client, [chat_line(i) for i in range(40)]) for _ in range(2)]
    for batch in made:
        batch, _ = follow(client, batch)
        check_counts(batch, 40, 40, 0)
        assert len(content(client, batch.output_file_id)) == 40


def test_s80_counts_move(client):
    made = begin(client, [slow_line(i) for i in range(100)])
    counts = []
    while True:
        batch = client.batches.retrieve(made.id)
        if batch.status in OVER:
            break
        counts.append(batch.request_counts.completed)
        time.sleep(0.05)
    assert counts == sorted(counts) and len(set(counts)) > 2, counts
    check_counts(batch, 100, 100, 0)


def test_s80_output_expires(client):
    made = begin(client, [chat_line(1)], output_expires_after={"anchor": "created_at", "seconds": 3600})
    batch, _ = follow(client, made)
    file = client.files.retrieve(batch.output_file_id)
    assert file.expires_at == file.created_at + 3600


def test_s80_windows_line_ends(client):
    text = "\ufeff" + "\r\n".join(json.dumps(chat_line(i)) for i in range(3)) + "\r\n\r\n"
    file = client.files.create(file=("in.jsonl", text.encode()), purpose="batch")
    made = client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
    batch, _ = follow(client, made)
    check_counts(batch, 3, 3, 0)


# ---- creation ----

def test_s81_creation_refused(client, wire):
    file = upload(client, [chat_line(1)])
    other = client.files.create(file=("a.txt", b"text"), purpose="user_data")
    body = {"input_file_id": file.id, "endpoint": CHAT, "completion_window": "24h"}
    for change, param in (({"input_file_id": "file-unknown"}, "input_file_id"),
                          ({"input_file_id": other.id}, "input_file_id"),
                          ({"endpoint": "/v1/models"}, "endpoint"), ({"endpoint": "/v1/videos"}, "endpoint"),
                          ({"completion_window": "1h"}, "completion_window"), ({"bogus": 1}, "bogus"),
                          ({"output_expires_after": {"anchor": "created_at", "seconds": 60}},
                           "output_expires_after.seconds")):
        reply = wire.post(BATCHES, json={**body, **change})
        assert reply.status_code == 400, reply.text
        assert reply.json()["error"]["param"] == param, reply.text
    for name in body:
        reply = wire.post(BATCHES, json={k: v for k, v in body.items() if k != name})
        check_error(reply, 400, param=name, code="missing_required_parameter")
    with pytest.raises(openai.NotFoundError):
        client.batches.retrieve("batch_unknown")
    with pytest.raises(openai.NotFoundError):
        client.batches.cancel("batch_unknown")


# ---- scenario 81: validation ----

def changed(line, **members):
    line = {**line, **members}
    return {k: v for k, v in line.items() if v is not None}


@pytest.mark.parametrize("bad,code,param", [
    ("{not json", "invalid_json_line", None),
    ("[]", "invalid_json_line", None),
    ('{"custom_id":"a"}' * 2, "invalid_json_line", None),
    (changed(chat_line(0), method="GET"), "invalid_method", "method"),
    (changed(chat_line(0), method=None), "missing_required_parameter", "method"),
    (changed(chat_line(0), custom_id=None), "missing_required_parameter", "custom_id"),
    (changed(chat_line(0), custom_id="c1"), "duplicate_custom_id", "custom_id"),
    (changed(chat_line(0), url="/v1/embeddings"), "url_mismatch", "url"),
    (changed(chat_line(0), body=None), "missing_required_parameter", "body"),
    (chat_line(0, model="gpt-unknown"), "model_not_found", None),
    (chat_line(0, model=None), None, None),
    (chat_line(0, messages="text"), "invalid_type", "body.messages"),
    (chat_line(0, temperature=9), None, "body.temperature"),
    (chat_line(0, stream=True), "invalid_value", "body.stream"),
])
def test_s81_bad_line(client, bad, code, param):
    errors = errors_of(client, [chat_line(1), bad, chat_line(2)])
    assert len(errors) == 1, errors
    assert errors[0].line == 2 and errors[0].message
    if code:
        assert errors[0].code == code, errors
    if param:
        assert errors[0].param == param, errors


def test_s81_all_bad_lines(client):
    errors = errors_of(client, [chat_line(1), "{", chat_line(1), chat_line(2), changed(chat_line(3), method="PUT")])
    assert [(e.line, e.code) for e in errors] == [(2, "invalid_json_line"), (3, "duplicate_custom_id"),
                                                   (5, "invalid_method")]


def test_s81_empty_and_endless(client):
    errors = errors_of(client, ["", "  "])
    assert [(e.code, e.line) for e in errors] == [("empty_file", None)]
    errors = errors_of(client, [chat_line(i) for i in range(50001)])
    assert [e.code for e in errors] == ["too_many_tasks"]


def test_s81_too_many_embeddings(client):
    lines = [{"custom_id": str(i), "method": "POST", "url": "/v1/embeddings",
              "body": {"model": MODEL, "input": ["a"] * 2000}} for i in range(26)]
    assert [e.code for e in errors_of(client, lines, endpoint="/v1/embeddings")] == ["too_many_inputs"]


def test_s81_garbage(client):
    rng = random.Random(5)
    errors = errors_of(client, ["".join(chr(rng.randrange(32, 1000)) for _ in range(50)) for _ in range(30)])
    assert {e.code for e in errors} == {"invalid_json_line"} and len(errors) == 30


def test_s81_input_deleted(client):
    file = upload(client, [slow_line(i) for i in range(60)])
    made = client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
    follow(client, made, until=("in_progress",) + OVER)
    client.files.delete(file.id)
    batch, _ = follow(client, made)  # what was open stays readable
    assert batch.status == "completed"
    check_counts(batch, 60, 60, 0)


# ---- scenario 81: cancellation and expiry ----

def test_s81_cancel(client):
    made = begin(client, [slow_line(i) for i in range(300)])
    while client.batches.retrieve(made.id).request_counts.completed < 5:
        time.sleep(0.01)
    asked = client.batches.cancel(made.id)
    assert asked.status == "cancelling" and asked.cancelling_at
    assert client.batches.cancel(made.id).cancelling_at == asked.cancelling_at
    batch, seen = follow(client, made)
    assert batch.status == "cancelled" and seen[-1] == "cancelled" and set(seen) <= {"cancelling", "cancelled"}
    assert batch.cancelled_at >= batch.cancelling_at
    done = batch.request_counts.completed
    assert 5 <= done < 300 and batch.request_counts.total == 300
    good, bad = content(client, batch.output_file_id), content(client, batch.error_file_id)
    assert len(good) == done and len(bad) == 300 - done
    assert sorted(list(good) + list(bad)) == sorted(f"c{i}" for i in range(300))
    for line in bad.values():
        assert line["response"] is None and line["error"]["code"] == "batch_cancelled" and line["error"]["message"]
    assert client.batches.cancel(made.id).status == "cancelled"


def test_s81_cancel_too_late(client, wire):
    batch, _ = follow(client, begin(client, [chat_line(1)]))
    reply = wire.post(f"{BATCHES}/{batch.id}/cancel")
    check_error(reply, 400, message="Cannot cancel a batch with status 'completed'.")


def test_s81_cancel_races(client):
    """A cancellation at any moment: it is refused, or each line is in one of the files."""
    rng = random.Random(7)
    for _ in range(12):
        made = begin(client, [chat_line(i) for i in range(30)])
        time.sleep(rng.uniform(0, 0.4))
        try:
            client.batches.cancel(made.id)
        except openai.BadRequestError as error:
            assert "Cannot cancel" in error.message
        batch, _ = follow(client, made)
        found = list(content(client, batch.output_file_id)) + list(content(client, batch.error_file_id))
        assert batch.status in ("completed", "cancelled")
        if batch.in_progress_at:
            assert sorted(found) == sorted(f"c{i}" for i in range(30)), batch
        else:
            assert found == [] and batch.status == "cancelled"


def test_s81_expires(client, wire, faults):
    file = upload(client, [slow_line(i) for i in range(2000)])
    made = wire.post(BATCHES, headers={"X-Cairn-Fault": "window=3"},
                     json={"input_file_id": file.id, "endpoint": CHAT, "completion_window": "24h"}).json()
    assert made["expires_at"] == made["created_at"] + 3
    batch, _ = follow(client, client.batches.retrieve(made["id"]))
    assert batch.status == "expired" and batch.expired_at >= batch.expires_at
    good, bad = content(client, batch.output_file_id), content(client, batch.error_file_id)
    assert len(good) == batch.request_counts.completed < 2000 and len(good) + len(bad) == 2000
    assert {line["error"]["code"] for line in bad.values()} == {"batch_expired"}


# ---- a server of its own ----

def test_s80_interactive_requests_come_first(client):
    """A chat beside a busy batch is served at once, not behind the batch's lines."""
    made = begin(client, [slow_line(i) for i in range(300)])
    follow(client, made, until=("in_progress",) + OVER)
    started = time.monotonic()
    client.chat.completions.create(model=MODEL, messages=user("Hello!"), max_completion_tokens=4)
    taken = time.monotonic() - started
    running = client.batches.cancel(made.id)
    assert running.status == "cancelling"
    follow(client, made)
    assert taken < 5, taken


def test_s80_killed_again_and_again():
    """kill -9 at random moments: each custom_id is answered once, and nothing is charged twice."""
    rng = random.Random(11)
    with_files = Server()
    try:
        with_files.start()
        lines = [chat_line(i, max_completion_tokens=100, logit_bias=endless()) for i in range(400)]
        with OpenAI(base_url=with_files.base_url, api_key=API_KEY, max_retries=5) as sdk:
            made = begin(sdk, lines)
        rounds = 0
        while True:
            time.sleep(rng.uniform(0.05, 0.5))
            with OpenAI(base_url=with_files.base_url, api_key=API_KEY, max_retries=5) as sdk:
                batch = sdk.batches.retrieve(made.id)
            if batch.status in OVER or rounds == 12:
                break
            with_files.kill()
            with_files.start()
            rounds += 1
        with OpenAI(base_url=with_files.base_url, api_key=API_KEY, max_retries=5) as sdk:
            batch, _ = follow(sdk, made)
            assert batch.status == "completed" and rounds >= 2
            check_counts(batch, 400, 400, 0)
            good = content(sdk, batch.output_file_id)
            assert sorted(good) == sorted(f"c{i}" for i in range(400)) and batch.error_file_id is None
            used = [line["response"]["body"]["usage"] for line in good.values()]
            assert batch.usage.output_tokens == sum(u["completion_tokens"] for u in used)
        with_files.terminate()
    finally:
        with_files.cleanup()


def stored_lines(client, endpoint):
    """Lines that leave something behind, and a function that counts what each has left."""
    if endpoint == CHAT:
        lines = [chat_line(i, max_completion_tokens=100, logit_bias=endless(), store=True, metadata={"line": f"c{i}"})
                 for i in range(60)]
        return lines, lambda name: len(list(client.chat.completions.list(metadata={"line": name})))
    held = {f"c{i}": client.conversations.create().id for i in range(60)}
    lines = [{"custom_id": name, "method": "POST", "url": endpoint, "body": {
        "model": MODEL, "input": "Hello", "max_output_tokens": 16, "conversation": conversation, "store": i % 2 == 0}}
        for i, (name, conversation) in enumerate(held.items())]
    return lines, lambda name: len([item for item in client.conversations.items.list(held[name])
                                    if item.type == "message" and item.role == "user"])


@pytest.mark.parametrize("endpoint", [CHAT, "/v1/responses"])
def test_s80_what_lines_store_is_there_once(endpoint):
    """The server dies at a commit, again and again: what a line stores is there once, and so is its usage."""
    rng = random.Random(5)
    with Server() as server, OpenAI(base_url=server.base_url, api_key=API_KEY, max_retries=8) as sdk:
        lines, count = stored_lines(sdk, endpoint)
        made = begin(sdk, lines, endpoint)
        rounds = 0
        while rounds < 10 and sdk.batches.retrieve(made.id).status not in OVER:
            sdk.models.list(extra_headers={"X-Cairn-Fault": f"point=store.commit:{rng.randint(2, 12)}:kill"})
            server.process.wait(60)
            server.kill()
            server.start()
            rounds += 1
        batch, _ = follow(sdk, made)
        check_counts(batch, 60, 60, 0)
        assert rounds >= 1
        good = content(sdk, batch.output_file_id)
        assert {name: count(name) for name in good} == {line["custom_id"]: 1 for line in lines}
        made_by = {line["response"]["body"]["id"] for line in good.values()}
        assert len(made_by) == 60
        for name, line in good.items():
            assert line["response"]["status_code"] == 200, name
        rows = [row for row in server.usage("--total", "--by", "batch") if row["batch"]]
        assert sum(row["requests"] for row in rows) == 60
        assert sum(row["output_tokens"] for row in rows) == batch.usage.output_tokens


@pytest.mark.parametrize("fault", ["answer:3:EIO", "answer:3:EBUSY", "answer:3:ENOSPC", "commit:3:ENOSPC:3",
                                   "commit:3:EIO:3"])
def test_s80_a_store_in_trouble_makes_lines_wait(fault):
    """The commit of what a line stores fails, or is told to have failed: it is stored, answered and counted once."""
    with Server(["--batch-lines", "1"]) as server, OpenAI(base_url=server.base_url, api_key=API_KEY) as client:
        batch = begin(client, [chat_line(1, store=True)], extra_headers={"X-Cairn-Fault": f"point=store.{fault}"})
        batch, _ = follow(client, batch)
        check_counts(batch, 1, 1, 0)
        made = content(client, batch.output_file_id)["c1"]["response"]["body"]["id"]
        assert [each.id for each in client.chat.completions.list()] == [made]
        assert [row["requests"] for row in server.usage("--total") if row["kind"] == "completions"] == [1]


def test_s80_lines_of_one_conversation(client):
    conversation = client.conversations.create().id
    lines = [{"custom_id": str(i), "method": "POST", "url": "/v1/responses",
              "body": {"model": MODEL, "input": "Hi", "conversation": conversation, "max_output_tokens": 16}}
             for i in range(5)]
    batch, _ = follow(client, begin(client, lines, endpoint="/v1/responses"))
    check_counts(batch, 5, 5, 0)
    items = client.conversations.items.list(conversation, limit=100).data
    assert len([item for item in items if item.type == "message" and item.role == "user"]) == 5


def test_s80_goes_on_after_a_stop():
    """SIGTERM in the middle: the server ends at once, and the batch goes on at the next start."""
    server = Server()
    try:
        server.start()
        with OpenAI(base_url=server.base_url, api_key=API_KEY, max_retries=5) as sdk:
            made = begin(sdk, [slow_line(i) for i in range(200)])
            while not sdk.batches.retrieve(made.id).request_counts.completed:
                time.sleep(0.01)
        started = time.monotonic()
        server.terminate()
        assert time.monotonic() - started < 20
        server.start()
        with OpenAI(base_url=server.base_url, api_key=API_KEY, max_retries=5) as sdk:
            assert sdk.batches.retrieve(made.id).request_counts.completed >= 1
            batch, _ = follow(sdk, made)
            check_counts(batch, 200, 200, 0)
            assert sorted(content(sdk, batch.output_file_id)) == sorted(f"c{i}" for i in range(200))
        server.terminate()
    finally:
        server.cleanup()


def test_s81_what_is_cut_off_is_recorded():
    """What the lines of a cancelled batch have computed is in the usage, though they have no answer."""
    with Server() as server, OpenAI(base_url=server.base_url, api_key=API_KEY) as sdk:
        made = begin(sdk, [slow_line(i) for i in range(32)])
        while server.metric("cairn_engine_decoded_tokens_total") < 50:
            time.sleep(0.01)
        sdk.batches.cancel(made.id)
        batch, _ = follow(sdk, made)
        assert batch.status == "cancelled" and batch.request_counts.completed < 32
        rows = [row for row in server.usage("--total", "--by", "batch") if row["batch"]]
        assert sum(row["output_tokens"] for row in rows) >= 50


def test_s80_waits_for_a_place_for_its_output():
    """A folder that is away for a moment does not end a batch; the log says why it waits."""
    with Server() as server, OpenAI(base_url=server.base_url, api_key=API_KEY) as sdk:
        made = begin(sdk, [slow_line(i) for i in range(60)])
        folder = server.data / "state" / ("tmp" if server.blobs else "blobs/tmp")
        away = server.data / "state" / "away"
        folder.rename(away)
        while f"{made.id} (finalizing) cannot go on" not in server.log_path.read_text():
            time.sleep(0.02)
        assert sdk.batches.retrieve(made.id).status == "finalizing"
        away.rename(folder)
        batch, _ = follow(sdk, made)
        check_counts(batch, 60, 60, 0)
        assert len(content(sdk, batch.output_file_id)) == 60


def test_s106_batch_events():
    with Hook() as hook, Server(["--outbound-allow", "127.0.0.1"]) as server:
        with OpenAI(base_url=server.base_url, api_key=API_KEY) as sdk:
            made = sdk.webhooks.create(name="b", url=hook.url, event_types=["batch.completed", "batch.failed",
                                                                            "batch.cancelled"])
            expected = {}
            for lines, cancel in (([chat_line(1)], False), (["{"], False), ([slow_line(i) for i in range(200)], True)):
                batch = begin(sdk, lines)
                if cancel:
                    follow(sdk, batch, until=("in_progress",))
                    sdk.batches.cancel(batch.id)
                batch, _ = follow(sdk, batch)
                expected[batch.id] = f"batch.{batch.status}"
            got = {}
            for received in hook.wait(len(expected)):
                event = sdk.webhooks.unwrap(received.body, received.headers, secret=made.signing_secret)
                got[event.data.id] = event.type
            assert got == expected


def test_many_threads_create_and_list(client):
    """Lists stay whole while batches are made."""
    file = upload(client, [chat_line(1)])
    made = []

    def create():
        for _ in range(3):
            made.append(client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h").id)

    threads = [threading.Thread(target=create) for _ in range(6)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        ids = [batch.id for batch in client.batches.list(limit=7)]
        assert len(ids) == len(set(ids))
    for thread in threads:
        thread.join()
    assert set(made) <= {batch.id for batch in client.batches.list(limit=50)}
