"""Files: created from forms, listed, read back byte for byte, deleted. Scenarios 71 to 74 of the conformance list."""
import concurrent.futures
import http.client
import io
import os
import socket
import time
from pathlib import Path

import httpx
import openai
import pytest

from cairn_server import API_KEY, Server, metric
from support import check_error

FILES = "/v1/files"
CHUNK = 256 << 10  # what is verified at once


def pattern(size, seed=0):
    block = bytes((i * 7 + (i >> 8) * 13 + seed) & 255 for i in range(65537))
    return (block * (size // len(block) + 1))[:size]


def upload(wire, content=b"content", name="a.txt", purpose="user_data", **fields):
    return wire.post(FILES, data={"purpose": purpose, **fields}, files={"file": (name, content)})


def made(wire, *args, **options):
    reply = upload(wire, *args, **options)
    assert reply.status_code == 200, reply.text
    return reply.json()


def content(wire, file, **headers):
    return wire.get(f"{FILES}/{file['id']}/content", headers=headers)


def blobs_on_disk(server):
    if server.blobs:
        pytest.skip("the blobs of this run lie on S3")
    return sorted(path for path in (server.data / "state" / "blobs").glob("??/*"))


def staging(server):
    """Where the server keeps what is arriving."""
    beside = server.data / "state" / "blobs" / "tmp"
    return beside if beside.exists() else server.data / "state" / "tmp"


def staged(server):
    """What is left of uploads that are over: it goes right after the reply."""
    deadline = time.monotonic() + 20
    while (left := list(staging(server).iterdir())) and time.monotonic() < deadline:
        time.sleep(0.01)
    return left


# ---- creation

@pytest.mark.parametrize("size", [1, CHUNK - 1, CHUNK, CHUNK + 1, 5_000_011])
def test_s71_content_comes_back_byte_for_byte(client, size):
    sent = pattern(size, size & 255)
    file = client.files.create(file=("Übung 文件.bin", io.BytesIO(sent)), purpose="user_data")
    assert file.object == "file" and file.id.startswith("file-")
    assert (file.bytes, file.filename, file.purpose, file.status) == (size, "Übung 文件.bin", "user_data", "processed")
    assert file.expires_at is None and abs(file.created_at - time.time()) < 60
    assert client.files.retrieve(file.id) == file
    assert client.files.wait_for_processing(file.id).status == "processed"
    assert client.files.content(file.id).read() == sent
    client.files.delete(file.id)


@pytest.mark.parametrize("purpose", ["assistants", "batch", "fine-tune", "vision", "user_data", "evals"])
def test_s71_purposes(wire, purpose):
    file = made(wire, purpose=purpose)
    assert file["purpose"] == purpose
    assert wire.get(f"{FILES}/{file['id']}").json() == file
    reply = content(wire, file)
    if purpose == "assistants":
        check_error(reply, 400, message="Not allowed to download files of purpose: assistants")
    else:
        assert reply.status_code == 200 and reply.content == b"content"


def test_s71_expiry(client, wire):
    file = client.files.create(file=b"x", purpose="user_data", expires_after={"anchor": "created_at", "seconds": 3600})
    assert file.expires_at == file.created_at + 3600
    file = made(wire, purpose="batch")
    assert file["expires_at"] == file["created_at"] + 30 * 86400, "the default of batch files"
    file = made(wire, purpose="batch", **{"expires_after[anchor]": "created_at", "expires_after[seconds]": "2592000"})
    assert file["expires_at"] == file["created_at"] + 2592000


@pytest.mark.parametrize("fields, param", [
    ({"expires_after[anchor]": "created_at", "expires_after[seconds]": "3599"}, "expires_after.seconds"),
    ({"expires_after[anchor]": "created_at", "expires_after[seconds]": "2592001"}, "expires_after.seconds"),
    ({"expires_after[anchor]": "created_at", "expires_after[seconds]": "soon"}, "expires_after.seconds"),
    ({"expires_after[anchor]": "tomorrow", "expires_after[seconds]": "3600"}, "expires_after.anchor"),
    ({"expires_after[anchor]": "created_at"}, "expires_after.seconds"),
    ({"purpose": "fun"}, "purpose"), ({"colour": "red"}, "colour")])
def test_s71_bad_fields_are_named(wire, fields, param):
    reply = upload(wire, **fields)
    assert reply.status_code == 400, reply.text
    assert reply.json()["error"]["param"] == param


def test_s71_missing_and_empty(server, wire):
    before = blobs_on_disk(server)
    check_error(wire.post(FILES, files={"file": ("a", b"x")}), 400, param="purpose",
                code="missing_required_parameter")
    check_error(wire.post(FILES, data={"purpose": "batch"}, files={"other": ("a", b"x")}), 400, param="other",
                code="unknown_parameter")
    check_error(wire.post(FILES, files={"purpose": (None, "batch")}), 400, param="file",
                code="missing_required_parameter")
    check_error(wire.post(FILES, files={"purpose": (None, "batch"), "file": (None, "text")}), 400, param="file",
                code="invalid_type")
    check_error(upload(wire, b""), 400, param="file", code="empty_file")
    check_error(wire.post(FILES, json={"purpose": "batch"}), 400, code="unsupported_content_type",
                message="multipart/form-data")
    check_error(wire.post(FILES), 400, code="unsupported_content_type")
    assert blobs_on_disk(server) == before and staged(server) == [], "what was refused leaves nothing"


def test_s71_names_are_kept(wire):
    for name in ('q"uo\\te.txt', "a b;c=d.txt", "../../etc/passwd", "x" * 200 + ".jsonl", "naïve 😀.md"):
        file = made(wire, name=name)
        assert file["filename"] == name
        disposition = content(wire, file).headers["content-disposition"]
        assert disposition.startswith("attachment; filename=") and "\n" not in disposition


def test_s71_a_retried_upload_is_one_file(server, wire):
    before = blobs_on_disk(server)
    head = {"Idempotency-Key": os.urandom(8).hex()}

    def post(sent):
        return wire.post(FILES, data={"purpose": "user_data"}, files={"file": ("a", sent)}, headers=head)

    first = post(b"same")
    assert first.status_code == 200 and post(b"same").json() == first.json()
    assert post(b"else").status_code == 400, "another content is another body"
    assert len(blobs_on_disk(server)) == len(before) + 1 and staged(server) == []


# ---- content

def test_s71_ranges(wire):
    sent = pattern(3 * CHUNK + 77)
    size = len(sent)
    file = made(wire, sent)
    whole = content(wire, file)
    assert whole.headers["content-type"] == "application/octet-stream"
    assert whole.headers["accept-ranges"] == "bytes" and whole.headers["x-content-type-options"] == "nosniff"
    etag = whole.headers["etag"]
    for text, first, last in [("0-0", 0, 0), (f"{CHUNK - 1}-{CHUNK}", CHUNK - 1, CHUNK), ("5-", 5, size - 1),
                              ("-10", size - 10, size - 1), (f"{size - 1}-", size - 1, size - 1),
                              (f"100-{size * 9}", 100, size - 1)]:
        reply = content(wire, file, Range=f"bytes={text}")
        assert reply.status_code == 206, (text, reply.text[:300])
        assert reply.headers["content-range"] == f"bytes {first}-{last}/{size}"
        assert reply.content == sent[first:last + 1], text
    reply = content(wire, file, Range=f"bytes={size}-")
    check_error(reply, 416, code="invalid_range")
    assert reply.headers["content-range"] == f"bytes */{size}"
    for headers in ({"Range": "bytes=1-2,5-6"}, {"Range": "lines=1-2"}, {"Range": "bytes=9-3"},
                    {"Range": "bytes=1-2", "If-Range": '"another"'}):
        reply = content(wire, file, **headers)
        assert reply.status_code == 200 and reply.content == sent, headers
    reply = content(wire, file, **{"Range": "bytes=1-2", "If-Range": etag})
    assert reply.status_code == 206 and reply.content == sent[1:3]
    head = wire.head(f"{FILES}/{file['id']}/content")
    assert head.status_code == 200 and head.content == b"" and head.headers["content-length"] == str(size)


def test_s71_readers_that_leave_free_everything(server, wire):
    file = made(wire, pattern(8 << 20))
    for _ in range(20):
        with wire.stream("GET", f"{FILES}/{file['id']}/content") as reply:
            next(reply.iter_raw(1000))
    assert len(content(wire, file).content) == 8 << 20
    deadline = time.monotonic() + 20
    while open_blobs(server) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert open_blobs(server) == []


def open_blobs(server):
    """Blobs that the server has open."""
    links = []
    for fd in Path(f"/proc/{server.process.pid}/fd").iterdir():
        try:
            target = os.readlink(fd)
        except OSError:
            continue
        if "/blobs/" in target:
            links.append(target)
    return links


def test_s71_many_readers_at_once(wire):
    sent = pattern(2 << 20, 5)
    file = made(wire, sent)
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        got = list(pool.map(lambda _: content(wire, file).content == sent, range(48)))
    assert all(got)


# ---- lists

@pytest.fixture
def family(server):
    """A server of its own: lists are of everything."""
    with Server() as own:
        with openai.OpenAI(base_url=own.base_url, api_key=API_KEY, _strict_response_validation=True) as made_client:
            yield made_client


def test_s72_pages(family):
    ids = [family.files.create(file=(f"{i}.txt", b"x"), purpose="batch" if i % 2 else "user_data").id
           for i in range(5)]
    pages, page = [], family.files.list(limit=2)
    while True:
        pages.append([file.id for file in page.data])
        if not page.has_more:
            break
        page = page.get_next_page()
    assert pages == [ids[:2:-1], ids[2:0:-1], ids[:1]]
    assert [file.id for file in family.files.list()] == ids[::-1], "newest first, all at once"
    assert [file.id for file in family.files.list(order="asc", limit=3)] == ids
    assert [file.id for file in family.files.list(purpose="batch", order="asc")] == ids[1::2]
    assert family.files.list(purpose="vision").data == []
    for after in ("file-unknown", "x"):
        with pytest.raises((openai.BadRequestError, openai.NotFoundError)):
            family.files.list(after=after)
    for limit in (0, 10001):
        with pytest.raises(openai.BadRequestError) as refused:
            family.files.list(limit=limit)
        assert refused.value.param == "limit"
    family.files.list(limit=10000)


def test_s73_lists_under_inserts(family):
    ids = {family.files.create(file=b"x", purpose="user_data").id for _ in range(12)}
    stop = []

    def insert():
        while not stop:
            family.files.create(file=b"y", purpose="vision")

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        writer = pool.submit(insert)
        for order in ("desc", "asc"):
            seen = [file.id for file in family.files.list(limit=3, order=order, purpose="user_data")]
            assert sorted(seen) == sorted(ids)
            everything = [file.id for file in family.files.list(limit=4, order="desc")]
            assert len(set(everything)) == len(everything) and ids <= set(everything)
        stop.append(True)
        writer.result()


# ---- deletion

def test_s74_deletion(server, client, wire):
    before = blobs_on_disk(server)
    file = client.files.create(file=b"gone soon", purpose="user_data")
    assert len(blobs_on_disk(server)) == len(before) + 1
    gone = client.files.delete(file.id)
    assert (gone.id, gone.object, gone.deleted) == (file.id, "file", True)
    assert blobs_on_disk(server) == before, "its bytes are gone too"
    for call in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError):
            call(file.id)
    check_error(wire.get(f"{FILES}/{file.id}"), 404, message=file.id)


# ---- bad input and faults

def form(name, body, boundary="xyz", end=True):
    return (f"--{boundary}\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nuser_data\r\n--{boundary}\r\n"
            f"Content-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n").encode() + body + \
        (f"\r\n--{boundary}--\r\n".encode() if end else b"")


def post_raw(server, body, boundary="xyz"):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("POST", FILES, body, {"Authorization": f"Bearer {API_KEY}",
                                             "Content-Type": f"multipart/form-data; boundary={boundary}"})
    reply = connection.getresponse()
    text = reply.read().decode()
    connection.close()
    return reply.status, text


def test_s71_truncated_and_garbage_forms(server):
    before = blobs_on_disk(server)
    for body in (form("a", b"content", end=False), b"", b"garbage", b"--xyz\r\n\r\n", b"--xyz--\r\n",
                 form("a", b"x" * 70000, boundary="other"), form("a", b"\xff")[:-3], b"--xyz\r\n" * 3000):
        status, text = post_raw(server, body)
        assert status == 400, (body[:60], status, text)
        assert '"error"' in text
    assert post_raw(server, form("a", b"x"), boundary="")[0] == 400
    assert blobs_on_disk(server) == before
    assert staged(server) == []


def test_s71_a_client_that_dies_leaves_nothing(server):
    before = blobs_on_disk(server)
    body = form("a", b"z" * 300000)
    head = (f"POST {FILES} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {API_KEY}\r\nContent-Length: {len(body)}\r\n"
            "Content-Type: multipart/form-data; boundary=xyz\r\n\r\n").encode()
    for size in (100, 250000):
        with socket.create_connection(("127.0.0.1", server.port)) as peer:
            peer.sendall(head + body[:size])
            time.sleep(0.05)
    assert staged(server) == [] and blobs_on_disk(server) == before


def chunked(server, size):
    """A form of a file of `size` bytes whose length nobody announced."""
    start, _, end = form("big", b"@").partition(b"@")

    def pieces():
        yield start
        for _ in range(size // 65536):
            yield b"b" * 65536
        yield b"b" * (size % 65536) or b""
        yield end

    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request("POST", FILES, pieces(), {"Authorization": f"Bearer {API_KEY}", "Content-Type":
                                                     "multipart/form-data; boundary=xyz"}, encode_chunked=True)
    except (BrokenPipeError, ConnectionResetError):
        pass  # refused while it was sent: the reply is there all the same
    reply = connection.getresponse()
    text = reply.read().decode()
    connection.close()
    return reply.status, text


def test_s71_too_large():
    limit = 1 << 20
    with Server(["--max-file", "1M"]) as own:
        assert post_raw(own, form("a", b"x" * limit))[0] == 200
        for answer in (post_raw(own, form("a", b"x" * (limit + 1))), chunked(own, limit + 1), chunked(own, 6 << 20)):
            assert answer[0] == 413 and "1048576" in answer[1], answer
        # So is one that is refused by its length alone, and a part of an upload, which has a limit of its own.
        with httpx.Client(base_url=own.url, headers={"Authorization": f"Bearer {API_KEY}"}, timeout=60) as wire:
            check_error(upload(wire, b"x" * (limit + 1)), 413, param="file", message="1048576")
            check_error(upload(wire, b"x" * (30 << 20)), 413, param="file", message="1048576")
            begun = wire.post("/v1/uploads", json={"filename": "a", "purpose": "user_data", "bytes": 80 << 20,
                                                   "mime_type": "text/plain"}).json()["id"]
            reply = wire.post(f"/v1/uploads/{begun}/parts", files={"data": ("p", bytes(70 << 20))})
            check_error(reply, 413, param="data", message=str(64 << 20))
            assert wire.post(f"/v1/uploads/{begun}/parts", files={"data": ("p", b"x" * 2 * limit)}).status_code == 200
        assert len(blobs_on_disk(own)) == 2 and staged(own) == []


@pytest.mark.parametrize("point, status", [
    ("blob.write:1:ENOSPC", 503), ("blob.write:1:EROFS", 503), ("blob.write:1:EIO", 500), ("blob.sync:1:EIO", 500),
    ("blob.sync:1:ENOSPC", 503)])
def test_s71_a_disk_that_fails(server, wire, faults, point, status):
    before = blobs_on_disk(server)
    reply = wire.post(FILES, data={"purpose": "user_data"}, files={"file": ("a", b"content")},
                      headers={"X-Cairn-Fault": f"point={point}"})
    check_error(reply, status, type_="server_error")
    assert blobs_on_disk(server) == before and staged(server) == []
    assert content(wire, made(wire)).content == b"content", "the next one works"


def test_s71_a_row_that_fails_takes_its_bytes_along(server, wire, faults):
    before = blobs_on_disk(server)
    for _ in range(10):  # another commit of the process may come first and take the fault
        reply = wire.post(FILES, data={"purpose": "user_data"}, files={"file": ("a", b"content")},
                          headers={"X-Cairn-Fault": "point=store.commit:1:ENOSPC"})
        if reply.status_code != 200:
            break
        wire.delete(f"{FILES}/{reply.json()['id']}")
    check_error(reply, 503, type_="server_error")
    assert blobs_on_disk(server) == before


def test_s71_damage_is_never_sent(server, wire):
    sent = pattern(3 * CHUNK)
    before = set(blobs_on_disk(server))
    file = made(wire, sent)
    blob, = set(blobs_on_disk(server)) - before
    damaged = metric(server.metrics(), "cairn_blob_damaged_total")

    def flip(at):
        with open(blob, "r+b") as raw:
            raw.seek(at)
            byte = raw.read(1)[0]
            raw.seek(at)
            raw.write(bytes([byte ^ 1]))

    flip(2 * CHUNK + 5)
    assert content(wire, file, Range=f"bytes=0-{2 * CHUNK - 1}").content == sent[:2 * CHUNK], "what is whole is sent"
    check_error(content(wire, file, Range=f"bytes={2 * CHUNK}-"), 500, type_="server_error")
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("GET", f"{FILES}/{file['id']}/content", headers={"Authorization": f"Bearer {API_KEY}"})
    reply = connection.getresponse()
    with pytest.raises(http.client.IncompleteRead) as cut:
        reply.read()
    connection.close()
    assert sent.startswith(cut.value.partial), "and nothing that is not"
    assert metric(server.metrics(), "cairn_blob_damaged_total") == damaged + 2
    flip(2 * CHUNK + 5)
    assert content(wire, file).content == sent


def test_s71_orphans_go_after_a_crash():
    own = Server()
    try:
        own.start()
        with openai.OpenAI(base_url=own.base_url, api_key=API_KEY) as client:
            kept = client.files.create(file=b"kept", purpose="user_data").id
        own.kill()
        blob, = blobs_on_disk(own)
        orphan = blob.with_name("0" * 30)
        orphan.write_bytes(b"left by a crash")
        young = blob.with_name("1" * 30)
        young.write_bytes(b"perhaps about to get its row")
        half = staging(own) / ("2" * 32)
        half.write_bytes(b"half of a file")
        for path in (orphan, half):
            os.utime(path, (time.time() - 4000,) * 2)
        own.start()
        assert "removed 1 blobs" in own.wait_log("removed 1 blobs")
        assert blobs_on_disk(own) == sorted([blob, young]) and staged(own) == []
        young.unlink()
        with openai.OpenAI(base_url=own.base_url, api_key=API_KEY) as client:
            assert client.files.content(kept).read() == b"kept"
        own.terminate()
    finally:
        own.cleanup()
