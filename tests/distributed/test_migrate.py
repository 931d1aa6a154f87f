"""cairn migrate: what clients see of a data directory they see of the database, and nothing less."""
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time

import pytest
from openai import OpenAI

from cairn_server import API_KEY, MODEL, Server, binary
from postgres import sql
from swift import Swift, missing

LINES = 5
ROWS = 60000  # of the migration that is interrupted


def migrate(data, database, *more, places=None, **options):
    env = {k: v for k, v in os.environ.items() if not k.startswith("CAIRN_")} | (places or {})
    command = [binary(), "migrate", "--data", str(data), "--to-database", database, *more]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False, **options)


def make_batch(sdk):
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_completion_tokens": 3}
    text = "\n".join(json.dumps({"custom_id": f"c{i}", "method": "POST", "url": "/v1/chat/completions", "body": body})
                     for i in range(LINES))
    given = sdk.files.create(file=("batch.jsonl", text.encode()), purpose="batch")
    batch = sdk.batches.create(input_file_id=given.id, endpoint="/v1/chat/completions", completion_window="24h")
    deadline = time.monotonic() + 60
    while sdk.batches.retrieve(batch.id).status != "completed":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return batch.id


def fill(sdk):
    """Objects of every kind; the paths at which a client sees them."""
    paths = ["/files", "/batches", "/webhook_endpoints", "/chat/completions?limit=3&order=asc",
             "/chat/completions?metadata[team]=red&order=desc", "/files?order=asc", "/models"]
    last = None
    for i in range(4):
        chat = sdk.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": f"Hi {i}"}], store=True,
                                           max_completion_tokens=4, metadata={"team": "red" if i % 2 else "blue"})
        last = sdk.responses.create(model=MODEL, input=f"Hello {i}", max_output_tokens=16,
                                    **({"previous_response_id": last.id} if last else {}))
        paths += [f"/chat/completions/{chat.id}", f"/chat/completions/{chat.id}/messages", f"/responses/{last.id}",
                  f"/responses/{last.id}/input_items"]
    talk = sdk.conversations.create(metadata={"a": "b"}, items=[{"type": "message", "role": "user", "content": "One"}])
    sdk.responses.create(model=MODEL, input="Two", conversation=talk.id, max_output_tokens=16)
    sdk.conversations.update(talk.id, metadata={"a": "c"})  # its version is 2 and more
    paths += [f"/conversations/{talk.id}", f"/conversations/{talk.id}/items"]
    for purpose in ("user_data", "assistants"):
        made = sdk.files.create(file=(f"{purpose}.txt", os.urandom(70000)), purpose=purpose,
                                expires_after={"anchor": "created_at", "seconds": 3600})
        paths += [f"/files/{made.id}", f"/files/{made.id}/content"]
    paths.append(f"/batches/{make_batch(sdk)}")
    sdk.post("/webhook_endpoints", cast_to=object, body={"name": "hook", "url": "https://example.com/hook",
                                                         "event_types": ["batch.completed"]})
    return paths


def seen(sdk, paths):
    """What each path answers, byte for byte."""
    return {path: sdk._client.get(sdk.base_url.join("." + path), headers=sdk.auth_headers).content for path in paths}


def test_everything_is_as_it_was(database):
    source = Server(database="")
    try:
        source.start()
        with OpenAI(base_url=source.base_url, api_key=API_KEY) as sdk:
            paths = fill(sdk)
            upload = sdk.uploads.create(bytes=8, filename="late.txt", mime_type="text/plain", purpose="user_data")
            part = sdk.uploads.parts.create(upload.id, data=b"1234")
            running = migrate(source.data / "state", database)
            assert running.returncode == 1 and "in use" in running.stderr, running.stderr
            before = seen(sdk, paths)
        source.terminate()
        copy = source.data / "copy"
        shutil.copytree(source.data / "state", copy)
        done = migrate(source.data / "state", database)
        assert done.returncode == 0, done.stderr
        again = migrate(copy, database)
        assert again.returncode == 1 and "not empty" in again.stderr, again.stderr
        # The old database does not know what the new one will keep in the blobs: they are not its own any more.
        source.start(wait=False)
        assert source.process.wait(60) == 1 and "--adopt" in source.log_tail()
        source.database = database
        source.start()
        with OpenAI(base_url=source.base_url, api_key=API_KEY) as sdk:
            assert seen(sdk, paths) == before
            # What was begun is gone on with, and what is new comes behind.
            late = sdk.uploads.parts.create(upload.id, data=b"5678")
            whole = sdk.uploads.complete(upload.id, part_ids=[part.id, late.id])
            assert sdk.files.content(whole.file.id).content == b"12345678"
            assert next(iter(sdk.files.list())).id == whole.file.id
        source.terminate()
    finally:
        source.cleanup()


def test_usage_and_keys_move(database):
    source = Server(database="")
    try:
        source.start()
        with OpenAI(base_url=source.base_url, api_key=API_KEY) as sdk:
            for _ in range(5):
                sdk.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Hi"}],
                                            max_completion_tokens=4)
        source.terminate()
        env = {k: v for k, v in os.environ.items() if not k.startswith("CAIRN_")}
        show = [binary(), "usage", "--data", str(source.data / "state")]
        before = subprocess.run(show, env=env, capture_output=True, text=True, check=True).stdout
        assert migrate(source.data / "state", database).returncode == 0
        after = subprocess.run([*show, "--database", database], env=env, capture_output=True, text=True, check=True)
        assert after.stdout == before and before.strip()
        keys = [binary(), "keys", "list", "--data", str(source.data / "state")]
        listed = [subprocess.run(keys + more, env=env, capture_output=True, text=True, check=True).stdout
                  for more in ([], ["--database", database])]
        assert listed[0] == listed[1] and "(environment)" in listed[0]
    finally:
        source.cleanup()


@pytest.fixture
def large():
    """A data directory with many rows, some with metadata and odd characters."""
    server = Server(database="")
    try:
        server.start()
        server.terminate()
        with sqlite3.connect(server.data / "state" / "cairn.db") as db:
            rows = ((f"id{i}", i % 7, f'{{"n":{i},"t":"tab\t back\\\\ line\n \u00e9 {"x" * 200}"}}')
                    for i in range(ROWS))
            db.executemany("INSERT INTO object (kind, id, project, parent, created, expires, doc)"
                           " VALUES ('bulk', ?, 'proj_x', '', ?, 0, ?)", rows)
            db.execute("INSERT INTO metadata (project, kind, key, value, created, object)"
                       " SELECT project, kind, 'k' || seq % 3, 'v\t\\', created, seq FROM object WHERE kind = 'bulk'")
        yield server.data / "state"
    finally:
        server.cleanup()


def test_an_interrupted_migration_is_gone_on_with(large, database):
    """kill -9 in the middle: servers stay out, a second start is refused, --resume completes it."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("CAIRN_")}
    command = [binary(), "migrate", "--data", str(large), "--to-database", database]
    rounds = 0
    for wanted in (5000, 30000):
        with subprocess.Popen(command + (["--resume"] if rounds else []), env=env, stderr=subprocess.PIPE) as child:
            while child.poll() is None:
                begun = sql(database, "SELECT coalesce(to_regclass('store_migration')::text, '')")
                if begun and int(sql(database, "SELECT coalesce(sum(rows), 0) FROM store_migration")) >= wanted:
                    child.send_signal(signal.SIGKILL)
                    break
                time.sleep(0.002)
        rounds += 1
    if sql(database, "SELECT coalesce(to_regclass('store_migration')::text, '')"):  # else it was too quick for us
        refused = migrate(large, database)
        assert refused.returncode == 1 and "--resume" in refused.stderr
        served = subprocess.run([binary(), "keys", "list", "--data", str(large), "--database", database], env=env,
                                capture_output=True, text=True, check=False)
        assert served.returncode == 1 and "not complete" in served.stderr
        done = migrate(large, database, "--resume")
        assert done.returncode == 0, done.stderr
    assert sql(database, "SELECT count(*), count(DISTINCT seq), count(DISTINCT id) FROM object WHERE kind = 'bulk'") == \
        f"{ROWS}|{ROWS}|{ROWS}"
    assert int(sql(database, "SELECT count(*) FROM metadata WHERE kind = 'bulk'")) == ROWS


def test_a_difference_is_found(large, database):
    """A row that changed on the way is not taken for a success."""
    with sqlite3.connect(large / "cairn.db") as db:
        db.execute("DELETE FROM metadata WHERE kind = 'bulk'")
        db.execute("DELETE FROM object WHERE kind = 'bulk' AND seq % 100 <> 0")
        installation, = db.execute("SELECT doc FROM object WHERE kind = 'installation'").fetchone()
    copy = shutil.copytree(large, large.with_name("copy"))
    assert migrate(large, database).returncode == 0
    sql(database, f"UPDATE object SET doc = '{installation}' WHERE kind = 'installation';"
                  "CREATE TABLE store_migration (what text PRIMARY KEY, rows bigint NOT NULL);"
                  "INSERT INTO store_migration SELECT 'objects', count(*) FROM object;"
                  "INSERT INTO store_migration SELECT 'metadata', count(*) FROM metadata;"
                  "INSERT INTO store_migration SELECT 'usage ids', count(*) FROM usage_seen;"
                  "UPDATE object SET doc = doc || ' ' WHERE seq = (SELECT max(seq) FROM object)")
    done = migrate(copy, database, "--resume")
    assert done.returncode == 1 and "objects differ" in done.stderr, done.stderr


def uploaded(sdk, content, name):
    return sdk.files.create(file=(name, content), purpose="user_data").id


def test_another_database_does_not_take_the_blobs(database):
    """The wrong --database beside a data directory: nothing is served, and no blob is removed."""
    server = Server(database="")
    try:
        server.start()
        with OpenAI(base_url=server.base_url, api_key=API_KEY) as sdk:
            file = uploaded(sdk, b"precious", "a")
        server.terminate()
        blob, = (server.data / "state" / "blobs").glob("??/*")
        os.utime(blob, (time.time() - 7200,) * 2)
        server.database = database
        server.start(wait=False)
        assert server.process.wait(60) == 1 and "the database is a new one" in server.log_tail()
        assert sql(database, "SELECT count(*) FROM object") == "0", "it is as empty as it was"
        env = {k: v for k, v in os.environ.items() if not k.startswith("CAIRN_")}
        done = subprocess.run([binary(), "check", "--repair", "--data", str(server.data / "state"), "--database", database],
                              env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 1 and "belong to installation" in done.stderr
        server.database = ""
        server.start()
        with OpenAI(base_url=server.base_url, api_key=API_KEY) as sdk:
            assert sdk.files.content(file).content == b"precious"
        server.terminate()
    finally:
        server.cleanup()


def test_damaged_blobs_do_not_stop_the_others(database):
    """With blobs on S3: what no row names stays behind, what is damaged is told of, the rest is there."""
    reason = missing()
    if reason:
        pytest.skip(f"missing {', '.join(reason)}")
    source, target = Server(database=""), Server(database=database)
    with Swift() as s3:
        try:
            source.start()
            with OpenAI(base_url=source.base_url, api_key=API_KEY) as sdk:
                good, bad = uploaded(sdk, b"good", "a"), uploaded(sdk, b"bad", "b")
            source.terminate()
            state = source.data / "state"
            with sqlite3.connect(state / "cairn.db") as db:
                doc, = db.execute("SELECT doc FROM object WHERE id = ?", (bad,)).fetchone()
            name = json.loads(doc)["blobs"][0]["id"]
            (state / "blobs" / name[:2] / name[2:]).write_bytes(b"rubbish")
            (state / "blobs" / name[:2] / ("0" * 30)).write_bytes(b"an orphan that is damaged, too")
            places = s3.environment()
            where = ["--to-blobs", places.pop("CAIRN_BLOBS")]
            done = migrate(state, database, *where, places=places)
            assert done.returncode == 1 and bad in done.stderr and "damaged" in done.stderr, done.stderr
            assert "copied but the contents of 1 file" in done.stderr and "0" * 30 not in done.stderr
            again = migrate(state, database, *where, places=places)
            assert again.returncode == 1 and "is the place of installation" in again.stderr
            (target.data / "state").mkdir(mode=0o700)
            shutil.copy(state / "pepper", target.data / "state" / "pepper")
            target.blobs = {**places, "CAIRN_BLOBS": where[1]}
            target.start()
            with OpenAI(base_url=target.base_url, api_key=API_KEY) as sdk:
                assert sdk.files.content(good).content == b"good"
            target.terminate()
            source.start()  # its own blobs are still its own
            source.terminate()
        finally:
            source.cleanup()
            target.cleanup()
