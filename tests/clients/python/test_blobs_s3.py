"""Files whose contents lie on S3 (OpenStack Swift's s3api): the same for clients. Scenarios 71, 74 and 79."""
import hashlib
import os

import httpx
import openai
import pytest

import swift
from cairn_server import API_KEY, TEST_DATABASE, Server, metric
from support import check_error
from test_cli import cairn, check_one_line
from test_files import content, made, pattern, staged, upload
from test_uploads import added, begin, complete

CHUNK = 256 << 10


@pytest.fixture(scope="module")
def s3():
    absent = swift.missing()
    if absent and os.environ.get("CI") != "true":
        pytest.skip(f"*** NOT TESTED: missing {', '.join(absent)}")
    with swift.Swift() as running:
        yield running


@pytest.fixture(scope="module")
def own(s3):
    with Server(env=s3.environment()) as running:
        yield running


@pytest.fixture(scope="module")
def remote(own):
    with httpx.Client(base_url=own.url, timeout=120, headers={"Authorization": f"Bearer {API_KEY}"}) as made_client:
        yield made_client


@pytest.mark.parametrize("size", [1, CHUNK + 1, 20_000_003])
def test_s71_content_comes_back_from_s3(own, remote, size):
    sent = pattern(size, 3)
    file = made(remote, sent, name="ü.bin")
    assert content(remote, file).content == sent
    first, last = size // 2, size - 1
    reply = content(remote, file, Range=f"bytes={first}-{last}")
    assert reply.status_code == 206 and reply.content == sent[first:last + 1]
    assert staged(own) == [] and not list((own.data / "state").glob("blobs/*/*")), "nothing stays here"


def test_s74_deletion_on_s3(remote):
    file = made(remote, b"gone soon")
    assert remote.delete(f"/v1/files/{file['id']}").json()["deleted"] is True
    check_error(content(remote, file), 404)


def test_s79_uploads_on_s3(remote):
    sent = [pattern(300_000, i) for i in range(3)]
    started = begin(remote, 900_000)
    ids = [added(remote, started, data) for data in sent]
    done = complete(remote, started, ids, md5=hashlib.md5(b"".join(sent)).hexdigest()).json()
    assert content(remote, done["file"]).content == b"".join(sent)


def test_s71_files_on_s3_survive_a_crash(s3):
    crashing = Server(env=s3.environment())
    try:
        crashing.start()
        with openai.OpenAI(base_url=crashing.base_url, api_key=API_KEY) as client:
            kept = client.files.create(file=b"kept", purpose="user_data").id
        crashing.kill()
        crashing.start()
        with openai.OpenAI(base_url=crashing.base_url, api_key=API_KEY) as client:
            assert client.files.content(kept).read() == b"kept"
        crashing.terminate()
    finally:
        crashing.cleanup()


def test_s71_a_service_that_fails(own, remote, faults):
    file = made(remote, pattern(3 * CHUNK))
    retries = metric(own.metrics(), "cairn_s3_retries_total")
    reply = remote.post("/v1/files", data={"purpose": "user_data"}, files={"file": ("a", b"x")},
                        headers={"X-Cairn-Fault": "point=s3.request:1:EIO:2"})
    assert reply.status_code == 200, "what passes is not the client's business"
    assert metric(own.metrics(), "cairn_s3_retries_total") == retries + 2
    reply = remote.post("/v1/files", data={"purpose": "user_data"}, files={"file": ("a", b"x")},
                        headers={"X-Cairn-Fault": "point=s3.request:1:EIO:5"})
    check_error(reply, 503, type_="server_error", code="overloaded")
    assert staged(own) == []
    reply = remote.get(f"/v1/files/{file['id']}/content", headers={"X-Cairn-Fault": "point=s3.request:1:EIO:5"})
    check_error(reply, 503, type_="server_error", code="overloaded")
    assert content(remote, file).content == pattern(3 * CHUNK)


def test_s71_a_service_that_is_down():
    """The server starts, serves what needs no files, and says so for the rest."""
    env = {"CAIRN_BLOBS": "s3://bucket", "CAIRN_S3_ENDPOINT": "http://127.0.0.1:9", "CAIRN_S3_KEY": "k",
           "CAIRN_S3_SECRET": "s"}
    with Server(env=env) as down:
        with httpx.Client(base_url=down.url, timeout=120, headers={"Authorization": f"Bearer {API_KEY}"}) as wire:
            assert wire.get("/v1/models").status_code == 200
            check_error(upload(wire), 503, type_="server_error", code="overloaded")
        assert staged(down) == []
        assert "files cannot be reached now" in down.wait_log("files cannot be reached now")


@pytest.mark.skipif(bool(TEST_DATABASE), reason="PostgreSQL is copied with its own tools")
def test_a_backup_leaves_the_originals_bucket_alone(s3, tmp_path):
    """The copy names the same objects: it is not served with them until somebody says that it takes over."""
    places = s3.environment()
    with Server(env=places) as original:
        with httpx.Client(base_url=original.url, headers={"Authorization": f"Bearer {API_KEY}"}) as wire:
            file = made(wire, b"precious")
            done = cairn("backup", "--to", str(tmp_path / "state"), *original.where, env=places)
            assert done.returncode == 0, done.stderr
            copy = Server(data=tmp_path, env=places)
            copy.start(wait=False)
            assert copy.process.wait(60) == 1 and "--adopt" in copy.log_tail()
            check_one_line(cairn("check", "--repair", *copy.where, env=places), "belong to installation")
            assert content(wire, file).content == b"precious"
    done = cairn("check", "--adopt", *copy.where, env=places)
    assert done.returncode == 0, done.stdout + done.stderr
    copy.start()
    with httpx.Client(base_url=copy.url, headers={"Authorization": f"Bearer {API_KEY}"}) as wire:
        assert content(wire, file).content == b"precious"
    copy.terminate()


def test_check_and_backup_are_told_where_the_blobs_are(own, remote, tmp_path):
    made(remote, b"on S3")
    place = own.extra_env
    keys = {name: place[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    where = ["--blobs", place["CAIRN_BLOBS"], "--s3-endpoint", place["CAIRN_S3_ENDPOINT"], "--s3-region", "us-east-1"]
    done = cairn("check", *own.where, *where, env=keys)
    assert done.returncode == 0 and "0 findings" in done.stdout, (done.stdout, done.stderr)
    if not TEST_DATABASE:
        done = cairn("backup", *own.where, *where, "--to", str(tmp_path / "copy"), env=keys)
        assert done.returncode == 0 and "0 blobs" in done.stdout, (done.stdout, done.stderr)
