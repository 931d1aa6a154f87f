"""`cairn backup` and `cairn check` beside a server under load, and disks that fail under one."""
import json
import os
import random
import shutil
import sqlite3
import threading
import time

import httpx
import pytest

from postgres import new_database, sql
from cairn_server import API_KEY, TEST_DATABASE, Server
from support import check_error
from test_cli import cairn, check_one_line

directory_only = pytest.mark.skipif(bool(TEST_DATABASE), reason="PostgreSQL is copied with its own tools")


def connect(server, key=API_KEY):
    return httpx.Client(base_url=server.url + "/v1", headers={"Authorization": f"Bearer {key}"}, timeout=60)


class Load:
    """Threads that write and delete, and remember what they were told. Each object belongs to one thread."""

    def __init__(self, server, threads=4):
        self.server, self.stop, self.errors = server, threading.Event(), []
        self.files, self.conversations = {}, {}  # id -> content; those that nobody deletes
        self.threads = [threading.Thread(target=self.run, args=(n,)) for n in range(threads)]

    def run(self, number):
        rng = random.Random(number)
        try:
            with connect(self.server) as wire:
                while not self.stop.is_set():
                    self.one(wire, rng)
        except Exception as error:  # told by the test's own thread
            self.errors.append(error)

    def one(self, wire, rng):
        content = rng.randbytes(rng.randrange(1, 300_000))
        file = wire.post("/files", data={"purpose": "user_data"}, files={"file": ("x", content)})
        assert file.status_code == 200, file.text
        id_ = file.json()["id"]
        if rng.random() < 0.5:
            assert wire.delete(f"/files/{id_}").status_code == 200
        else:
            self.files[id_] = content
        text = f"number {rng.random()}"
        made = wire.post("/conversations", json={"items": [{"type": "message", "role": "user", "content": text}]})
        assert made.status_code == 200, made.text
        self.conversations[made.json()["id"]] = text

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()
        if self.errors:
            raise self.errors[0]

    def told(self, files=10):
        """A copy of what is there, once there is some."""
        while len(self.files) < files and not self.errors:
            time.sleep(0.02)
        return dict(self.files), dict(self.conversations)


@directory_only
def test_a_backup_under_load_has_everything_that_was_told(tmp_path):
    with Server() as server:
        made = cairn("keys", "create", "--name", "kept", *server.where)
        assert made.returncode == 0, made.stderr
        with Load(server) as load:
            for round_ in range(3):
                files, conversations = load.told(10 * (round_ + 1))
                copy = tmp_path / f"copy{round_}"
                copy.mkdir()
                done = cairn("backup", "--to", str(copy / "state"), *server.where)
                assert done.returncode == 0, done.stderr
    done = cairn("check", "--data", str(copy / "state"))
    assert done.returncode == 0, done.stdout
    with Server(data=copy) as restored:
        with connect(restored, made.stdout.strip()) as wire:
            for id_, content in files.items():
                assert wire.get(f"/files/{id_}").json()["bytes"] == len(content)
                assert wire.get(f"/files/{id_}/content").content == content
            for id_, text in conversations.items():
                items = wire.get(f"/conversations/{id_}/items").json()["data"]
                assert [item["content"][0]["text"] for item in items] == [text]


def test_a_check_beside_a_busy_server_finds_nothing():
    with Server() as server, Load(server) as load:
        load.told(5)
        for _ in range(5):
            done = cairn("check", *server.where, env=server.blobs)
            assert done.returncode == 0, done.stdout + done.stderr
        report = json.loads(cairn("check", "--json", "--quick", *server.where, env=server.blobs).stdout)
        assert report["ok"] is True and report["findings"] == [] and report["rows"] > 10


@directory_only
def test_backup_refuses(tmp_path):
    with Server() as server:
        check_one_line(cairn("backup", *server.where), "--to")
        check_one_line(cairn("backup", "--to", str(tmp_path), *server.where), tmp_path)
        check_one_line(cairn("backup", "--to", str(tmp_path / "a"), "--data", str(tmp_path / "none")),
                       tmp_path / "none")
        check_one_line(cairn("backup", "--to", str(tmp_path / "a"), "--database", "postgres://127.0.0.1:1/x"),
                       "pg_dump")
        # What an interrupted backup left is neither taken for a backup nor written over.
        (tmp_path / "b.part").mkdir()
        check_one_line(cairn("backup", "--to", str(tmp_path / "b"), *server.where), tmp_path / "b.part")
        assert not (tmp_path / "b").exists()


def three_files(state):
    """A data directory with three files in it; their ids, and where their blobs are."""
    with Server() as server:
        with connect(server) as wire:
            ids = []
            for _ in range(3):
                file = wire.post("/files", data={"purpose": "user_data"}, files={"file": ("x", os.urandom(600_000))})
                ids.append(file.json()["id"])
        shutil.copytree(server.data / "state", state)
    with sqlite3.connect(state / "cairn.db") as db:
        blobs = {id_: json.loads(doc)["blobs"][0]["id"]
                 for id_, doc in db.execute("SELECT id, doc FROM object WHERE kind = 'file'")}
    db.close()
    return ids, [state / "blobs" / blobs[id_][:2] / blobs[id_][2:] for id_ in ids]


def damage(blob):
    content = bytearray(blob.read_bytes())
    content[500] ^= 1
    blob.write_bytes(content)


def make_orphan(blob):
    """An old blob that no row names."""
    orphan = blob.with_name("f" * 30)
    shutil.copy(blob, orphan)
    os.utime(orphan, (1, 1))
    return orphan


@pytest.mark.parametrize("command", [("check", "--repair"), ("backup", "--to", "copy"), ("usage",), ("keys", "list"),
                                     ("keys", "revoke", "key_x")])
def test_where_no_store_is_none_is_made(tmp_path, command):
    """A directory without a store is that of a server on PostgreSQL, or mistyped: its blobs are nobody's orphans."""
    command = [str(tmp_path / word) if word == "copy" else word for word in command]
    state, blob = tmp_path / "state", tmp_path / "state" / "blobs" / "ab" / ("c" * 30)
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"x")
    os.utime(blob, (time.time() - 7200,) * 2)
    check_one_line(cairn(*command, "--data", str(state)), state, "no store", "--database")
    assert os.listdir(state) == ["blobs"] and blob.exists() and not (tmp_path / "copy").exists()
    check_one_line(cairn(*command, "--data", str(tmp_path / "none")), tmp_path / "none")
    assert not (tmp_path / "none").exists()
    if not TEST_DATABASE or command[0] == "backup":
        return
    empty = new_database(TEST_DATABASE)
    check_one_line(cairn(*command, "--data", str(state), "--database", empty), "no store")
    assert sql(empty, "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace") == "0"
    assert blob.exists()


@directory_only
def test_check_tells_of_every_damage(tmp_path):
    state = tmp_path / "state"
    ids, (lost, torn, whole) = three_files(state)
    with sqlite3.connect(state / "cairn.db") as db:
        # The job of a delivery whose endpoint was deleted ends when it is due: no finding.
        db.executemany("INSERT INTO job (kind, id, project, created, due, priority, payload)"
                       " VALUES (?, ?, 'p', 1, 1, 0, '{}')",
                       [("batch", "batch_gone"), ("webhook.delivery", "whd_waits"), ("webhook.delivery", "whd_gone")])
        db.executemany("INSERT INTO object (kind, id, project, parent, created, expires, doc)"
                       " VALUES (?, ?, 'p', ?, 1, 0, ?)",
                       [("batch", "batch_stuck", "", '{"object":{"status":"in_progress"}}'),
                        ("webhook_delivery", "whd_stuck", "", '{"object":{"status":"pending"}}'),
                        ("webhook_delivery", "whd_waits", "", '{"object":{"status":"pending"}}'),
                        ("webhook_delivery", "whd_done", "", '{"object":{"status":"delivered"}}'),
                        ("thing", "thing_alone", "thing_missing", "{}"),
                        ("thing", "thing_deep", "", "[" * 200 + "]" * 200),
                        ("thing", "thing_torn", "", '{"object":')])
    db.close()
    orphan = make_orphan(torn)
    lost.unlink()
    damage(torn)

    done = cairn("check", "--data", str(state))
    assert done.returncode == 1
    for word in (ids[0], ids[1], "batch_gone", "batch_stuck", "whd_stuck", "thing_alone", "thing_torn", orphan.name,
                 "8 findings"):
        assert word in done.stdout, (word, done.stdout)
    assert ids[2] not in done.stdout and "thing_deep" not in done.stdout and orphan.exists()
    report = json.loads(cairn("check", "--data", str(state), "--json", "--repair").stdout)
    assert report["ok"] is False and len(report["findings"]) == 8
    assert (report["orphan_blobs"], report["removed_blobs"]) == (1, 1) and not orphan.exists()
    assert "6 findings" in cairn("check", "--data", str(state), "--quick").stdout

    # A backup says what it could not copy, and has the rest.
    done = cairn("backup", "--data", str(state), "--to", str(tmp_path / "copy"))
    assert done.returncode == 1 and ids[0] in done.stderr and ids[1] in done.stderr
    assert (tmp_path / "copy" / whole.relative_to(state)).exists()


@directory_only
def test_a_damaged_row_hides_nothing_else(tmp_path):
    state = tmp_path / "state"
    ids, (_, torn, whole) = three_files(state)
    with sqlite3.connect(state / "cairn.db") as db:  # the first row that names blobs
        db.execute("UPDATE object SET doc = substr(doc, 1, 20) WHERE id = ?", (ids[0],))
    db.close()
    orphan = make_orphan(whole)
    damage(torn)

    # Whether a blob is the damaged row's nobody knows: none is called an orphan, and none is removed.
    done = cairn("check", "--repair", "--data", str(state))
    assert done.returncode == 1 and not done.stderr, done.stderr
    for word in (f"file {ids[0]}: its document is damaged", ids[1], "were not looked for", "3 findings"):
        assert word in done.stdout, (word, done.stdout)
    assert orphan.name not in done.stdout and orphan.exists()
    report = json.loads(cairn("check", "--json", "--data", str(state)).stdout)
    assert report["ok"] is False and len(report["findings"]) == 3 and report["orphan_blobs"] is None

    # A backup names the row, and is made.
    done = cairn("backup", "--data", str(state), "--to", str(tmp_path / "copy"))
    assert done.returncode == 1 and ids[0] in done.stderr and ids[1] in done.stderr
    assert "not known" in done.stderr and "memory" not in done.stderr
    assert (tmp_path / "copy" / whole.relative_to(state)).exists()


# ---- disks that fail under a server

@directory_only
@pytest.mark.parametrize("fault,status", [("store.write:1:ENOSPC:0", 503), ("store.write:1:EROFS:0", 503),
                                          ("store.sync:1:EIO:0", 500), ("store.commit:1:EIO:0", 500)])
def test_a_disk_that_fails_refuses_and_loses_nothing(faults, fault, status):
    """While the disk fails every write is refused, with what was told before still there; then all goes on."""
    with Server() as server, connect(server) as wire:
        told = []
        for _ in range(3):
            told.append(wire.post("/conversations", json={"metadata": {"n": "1"}}).json()["id"])
        refused = wire.post("/conversations", json={}, headers={"X-Cairn-Fault": f"point={fault}"})
        check_error(refused, status, "server_error")
        for _ in range(3):
            check_error(wire.post("/conversations", json={}), status, "server_error")
            for id_ in told:
                assert wire.get(f"/conversations/{id_}").json()["id"] == id_
        server.kill()
        server.start()
        for id_ in told:
            assert wire.get(f"/conversations/{id_}").status_code == 200
        assert wire.post("/conversations", json={}).status_code == 200
        done = cairn("check", *server.where)
        assert done.returncode == 0, done.stdout


@directory_only
def test_a_full_disk_is_not_ready(faults):
    with Server() as server, connect(server) as wire:
        wire.get("/models", headers={"X-Cairn-Fault": "point=store.disk:1:ENOSPC"})
        reply = httpx.get(server.url + "/readyz")
        assert reply.status_code == 503, reply.text
        assert httpx.get(server.url + "/readyz").status_code == 200
        check_error(wire.get("/models", headers={"X-Cairn-Fault": "point=store.disk:zero"}), 400,
                    code="invalid_value")
