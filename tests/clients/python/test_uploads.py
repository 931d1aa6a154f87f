"""Uploads: files in parts. Scenario 79 of the conformance list."""
import base64
import concurrent.futures
import hashlib
import threading
import time

import openai
import pytest

from cairn_server import API_KEY, Server
from support import check_error
from test_files import blobs_on_disk, pattern, staged

UPLOADS = "/v1/uploads"
PART = 200_000


def begin(wire, size=3 * PART, headers=None, **fields):
    reply = wire.post(UPLOADS, headers=headers, json={"filename": "a.jsonl", "purpose": "user_data", "bytes": size,
                                                      "mime_type": "application/jsonl", **fields})
    assert reply.status_code == 200, reply.text
    return reply.json()["id"]


def add(wire, upload, data):
    return wire.post(f"{UPLOADS}/{upload}/parts", files={"data": ("part", data)})


def added(wire, upload, data):
    reply = add(wire, upload, data)
    assert reply.status_code == 200, reply.text
    return reply.json()["id"]


def complete(wire, upload, parts, **fields):
    return wire.post(f"{UPLOADS}/{upload}/complete", json={"part_ids": parts, **fields})


def test_s79_parts_in_parallel_become_one_file(client):
    sent = [pattern(PART, i) for i in range(3)]
    whole = b"".join(sent)
    upload = client.uploads.create(filename="ä.jsonl", purpose="batch", bytes=len(whole), mime_type="application/jsonl")
    assert upload.object == "upload" and upload.id.startswith("upload_") and upload.status == "pending"
    assert upload.expires_at == upload.created_at + 3600 and upload.file is None and upload.bytes == len(whole)
    ids = [None] * 3
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        for i in (2, 0, 1):
            def put(i=i):
                part = client.uploads.parts.create(upload.id, data=sent[i])
                assert part.object == "upload.part" and part.upload_id == upload.id
                ids[i] = part.id
            pool.submit(put)
    done = client.uploads.complete(upload.id, part_ids=ids, md5=hashlib.md5(whole).hexdigest())
    assert done.id == upload.id and done.status == "completed"
    assert (done.file.bytes, done.file.filename, done.file.purpose) == (len(whole), "ä.jsonl", "batch")
    assert done.file.expires_at == done.file.created_at + 30 * 86400
    assert client.files.retrieve(done.file.id) == done.file
    assert client.files.content(done.file.id).read() == whole


def test_s79_the_order_is_the_clients(wire):
    sent = [bytes([65 + i]) * (PART + i) for i in range(4)]
    upload = begin(wire, sum(map(len, sent)), expires_after={"anchor": "created_at", "seconds": 7200})
    ids = [added(wire, upload, data) for data in sent]
    order = [3, 1, 0, 2]
    whole = b"".join(sent[i] for i in order)
    wrong = complete(wire, upload, ids, md5=hashlib.md5(whole).hexdigest())
    check_error(wrong, 400, param="md5", code="invalid_value")
    digest = base64.b64encode(hashlib.md5(whole).digest()).decode()
    done = complete(wire, upload, [ids[i] for i in order], md5=digest)
    assert done.status_code == 200, done.text
    file = done.json()["file"]
    assert file["expires_at"] == file["created_at"] + 7200
    read = wire.get(f"/v1/files/{file['id']}/content", headers={"Range": f"bytes={PART}-{3 * PART}"})
    assert read.status_code == 206 and read.content == whole[PART:3 * PART + 1], "ranges cross parts"


def test_s79_the_sdks_chunked_upload(client):
    whole = pattern(1_000_003)
    done = client.uploads.upload_file_chunked(file=whole, filename="c.bin", bytes=len(whole), mime_type="image/png",
                                              purpose="vision", part_size=300_000,
                                              md5=hashlib.md5(whole).hexdigest())
    assert client.files.content(done.file.id).read() == whole


@pytest.mark.parametrize("fields, param", [
    ({"bytes": 0}, "bytes"), ({"bytes": -1}, "bytes"), ({"bytes": (8 << 30) + 1}, "bytes"), ({"bytes": "x"}, "bytes"),
    ({"purpose": "fun"}, "purpose"), ({"mime_type": "jsonl"}, "mime_type"), ({"filename": ""}, "filename"),
    ({"filename": "a" * 1025}, "filename"), ({"filename": "é" * 513}, "filename"), ({"filename": "a\0b"}, "filename"),
    ({"mime_type": "text/" + "a" * 252}, "mime_type"), ({"mime_type": "text/a\0b"}, "mime_type"),
    ({"purpose": "vision"}, "mime_type"), ({"purpose": "batch", "mime_type": "image/png"}, "mime_type"),
    ({"expires_after": {"anchor": "created_at", "seconds": 1}}, "expires_after.seconds"), ({"colour": 1}, "colour")])
def test_s79_bad_uploads_are_named(wire, fields, param):
    body = {"filename": "a", "purpose": "user_data", "bytes": 10, "mime_type": "text/plain", **fields}
    reply = wire.post(UPLOADS, json=body)
    assert reply.status_code == 400, reply.text
    assert reply.json()["error"]["param"] == param


def test_s79_the_longest_filename_comes_back(wire):
    name = "é" * 512
    body = {"filename": name, "purpose": "user_data", "bytes": 1, "mime_type": "text/plain"}
    upload = wire.post(UPLOADS, json=body).json()["id"]
    file = complete(wire, upload, [added(wire, upload, b"x")]).json()["file"]
    assert file["filename"] == name
    assert wire.get(f"/v1/files/{file['id']}/content").content == b"x"


def test_s79_an_upload_of_8_gb_may_begin(wire):
    begin(wire, 8 << 30)


def test_s79_what_does_not_fit_is_refused(wire):
    upload, other = begin(wire, 2 * PART), begin(wire, 2 * PART)
    first, second = added(wire, upload, b"a" * PART), added(wire, upload, b"b" * PART)
    foreign = added(wire, other, b"c" * PART)
    surplus = added(wire, upload, b"d")
    check_error(complete(wire, upload, [first]), 400, param="part_ids", code="invalid_value", message=str(2 * PART))
    check_error(complete(wire, upload, [first, second, surplus]), 400, param="part_ids", code="invalid_value")
    check_error(complete(wire, upload, [first, first]), 400, param="part_ids[1]", code="invalid_value")
    check_error(complete(wire, upload, [first, foreign]), 400, param="part_ids[1]", code="invalid_value")
    check_error(complete(wire, upload, ["part_unknown", second]), 400, param="part_ids[0]", code="invalid_value")
    check_error(complete(wire, upload, []), 400, param="part_ids", code="empty_array")
    check_error(wire.post(f"{UPLOADS}/{upload}/complete", json={}), 400, param="part_ids",
                code="missing_required_parameter")
    check_error(complete(wire, upload, [first, second], md5="0" * 32), 400, param="md5", code="invalid_value")
    check_error(complete(wire, "upload_unknown", [first]), 404, message="upload_unknown")
    done = complete(wire, upload, [first, second])
    assert done.status_code == 200, "nothing of that did harm"
    check_error(complete(wire, other, [first, foreign]), 400, param="part_ids[0]", code="invalid_value")


def test_s79_bad_parts(server, wire):
    before = blobs_on_disk(server)
    upload = begin(wire, 10)
    check_error(add(wire, upload, b""), 400, param="data", code="empty_file")
    check_error(add(wire, upload, b"x" * 11), 400, param="data", code="invalid_value")
    check_error(add(wire, "upload_unknown", b"x"), 404)
    check_error(wire.post(f"{UPLOADS}/{upload}/parts", json={"data": "x"}), 400, code="unsupported_content_type")
    check_error(wire.post(f"{UPLOADS}/{upload}/parts", files={"other": ("p", b"x")}), 400, param="other",
                code="unknown_parameter")
    big = begin(wire, 100 << 20)
    reply = add(wire, big, b"\0" * ((64 << 20) + 1))
    assert reply.status_code == 413, reply.text
    assert blobs_on_disk(server) == before and staged(server) == []


def test_s79_nothing_comes_after_the_end(server, client, wire):
    before = blobs_on_disk(server)
    upload = begin(wire, PART)
    part, unused = added(wire, upload, b"a" * PART), added(wire, upload, b"b" * PART)
    assert complete(wire, upload, [part]).status_code == 200
    assert len(blobs_on_disk(server)) == len(before) + 1, "the part that nobody listed is gone"
    for reply in (complete(wire, upload, [part, part]), complete(wire, upload, [unused]), add(wire, upload, b"c"),
                  complete(wire, upload, [part], md5="0" * 32), wire.post(f"{UPLOADS}/{upload}/cancel")):
        check_error(reply, 400, code="invalid_upload_status", message="completed")
    cancelled = begin(wire, PART)
    part = added(wire, cancelled, b"a" * PART)
    gone = client.uploads.cancel(cancelled)
    assert gone.status == "cancelled" and gone.file is None
    assert len(blobs_on_disk(server)) == len(before) + 1, "its parts are gone"
    for reply in (complete(wire, cancelled, [part]), add(wire, cancelled, b"c")):
        check_error(reply, 400, code="invalid_upload_status", message="cancelled")


def test_s79_a_file_of_parts_is_read_to_its_end_when_it_is_deleted(server, wire):
    before, size = blobs_on_disk(server), 8 << 20
    upload = begin(wire, 4 * size)
    parts = [added(wire, upload, bytes([65 + i]) * size) for i in range(4)]
    file = complete(wire, upload, parts).json()["file"]["id"]
    with wire.stream("GET", f"/v1/files/{file}/content") as reply:
        pieces = reply.iter_raw(65536)
        got = len(next(pieces))
        assert wire.delete(f"/v1/files/{file}").json()["deleted"] is True
        got += sum(map(len, pieces))
    assert got == 4 * size
    assert wire.get(f"/v1/files/{file}").status_code == 404
    deadline = time.monotonic() + 20
    while blobs_on_disk(server) != before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert blobs_on_disk(server) == before, "then its bytes go too"


@pytest.mark.parametrize("fault", [None, "point=store.answer:1:EIO"])
def test_s79_the_end_may_be_asked_for_again(wire, faults, fault):
    """An SDK repeats a request whose answer was lost, or was a 500: it gets the answer of the first."""
    headers = {"X-Cairn-Fault": fault} if fault else {}
    before = len(wire.get("/v1/files?limit=10000").json()["data"])
    upload = begin(wire, PART)
    body = {"part_ids": [added(wire, upload, b"a" * PART)]}
    first = wire.post(f"{UPLOADS}/{upload}/complete", json=body, headers=headers)
    assert first.status_code == (500 if fault else 200), first.text
    again = [wire.post(f"{UPLOADS}/{upload}/complete", json=body) for _ in range(2)]
    assert [reply.status_code for reply in again] == [200, 200], again[0].text
    assert again[0].json() == again[1].json() and again[0].json()["status"] == "completed"
    assert fault or first.json() == again[0].json()
    assert wire.get(f"/v1/files/{again[0].json()['file']['id']}/content").content == b"a" * PART
    assert len(wire.get("/v1/files?limit=10000").json()["data"]) == before + 1
    cancelled = begin(wire, PART)
    first = wire.post(f"{UPLOADS}/{cancelled}/cancel", headers=headers)
    assert first.status_code == (500 if fault else 200), first.text
    again = wire.post(f"{UPLOADS}/{cancelled}/cancel")
    assert again.status_code == 200 and again.json()["status"] == "cancelled", again.text


def test_s79_uploads_expire(wire, faults):
    upload = begin(wire, PART, headers={"X-Cairn-Fault": "life=4"})
    part = added(wire, upload, b"a" * PART)
    time.sleep(4.1)
    for reply in (complete(wire, upload, [part]), add(wire, upload, b"c"), wire.post(f"{UPLOADS}/{upload}/cancel")):
        check_error(reply, 400, code="invalid_upload_status", message="expired")


def test_s79_of_many_that_complete_one_wins(wire):
    for _ in range(5):
        upload = begin(wire, PART)
        part = added(wire, upload, b"a" * PART)
        gate = threading.Barrier(8)

        def race(kind, upload=upload, part=part, gate=gate):
            gate.wait()
            if kind % 4 == 3:
                return wire.post(f"{UPLOADS}/{upload}/cancel")
            if kind % 4 == 2:
                return add(wire, upload, b"late")
            return complete(wire, upload, [part])

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            replies = list(pool.map(race, range(8)))
        ends = [reply.json() for reply in replies if reply.status_code == 200 and reply.json()["object"] == "upload"]
        assert ends and all(end == ends[0] for end in ends), [reply.text for reply in replies]
        assert all(reply.status_code in (200, 400) for reply in replies), [reply.text for reply in replies]
        if ends[0]["status"] == "completed":
            read = wire.get(f"/v1/files/{ends[0]['file']['id']}/content")
            assert read.content == b"a" * PART


def test_s79_200_parts_in_parallel(wire):
    sent = [pattern(20_000 + i, i) for i in range(200)]
    upload = begin(wire, sum(map(len, sent)))
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        ids = list(pool.map(lambda data: added(wire, upload, data), sent))
    assert len(set(ids)) == 200
    whole = b"".join(sent)
    done = complete(wire, upload, ids, md5=hashlib.md5(whole).hexdigest())
    assert done.status_code == 200, done.text
    assert wire.get(f"/v1/files/{done.json()['file']['id']}/content").content == whole


def check_parts_bound(wire, upload, size, most, message, headers=None):
    """Of many parts at once exactly `most` are taken; what is refused names the bound; the upload can be completed."""
    def put(i):
        return wire.post(f"{UPLOADS}/{upload}/parts", headers=headers, files={"data": ("part", bytes([i]) * size)})

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(put, range(most + 4)))
    taken = [i for i, reply in enumerate(replies) if reply.status_code == 200]
    assert len(taken) == most, [reply.text for reply in replies]
    for reply in [*(reply for reply in replies if reply.status_code != 200), put(0)]:
        check_error(reply, 400, param="data", code="limit_exceeded", message=message)
    done = complete(wire, upload, [replies[taken[-1]].json()["id"]])
    assert done.status_code == 200, done.text
    assert wire.get(f"/v1/files/{done.json()['file']['id']}/content").content == bytes([taken[-1]]) * size


def test_s79_the_number_of_parts_is_bounded(wire, faults):
    check_parts_bound(wire, begin(wire, 3), 3, 20, "20 parts", headers={"X-Cairn-Fault": "parts=20"})


def test_s79_the_bytes_of_parts_are_bounded(server, wire):
    """Twice the upload's, and 64 MiB."""
    before = blobs_on_disk(server)
    check_parts_bound(wire, begin(wire, 16 << 20), 16 << 20, 6, str(96 << 20))
    assert len(blobs_on_disk(server)) == len(before) + 1, "neither the refused parts nor the unused ones are left"


def test_s79_uploads_survive_a_crash():
    own = Server()
    try:
        own.start()
        with openai.OpenAI(base_url=own.base_url, api_key=API_KEY) as client:
            upload = client.uploads.create(filename="a", purpose="user_data", bytes=8, mime_type="text/plain")
            first = client.uploads.parts.create(upload.id, data=b"abcd").id
        own.kill()
        own.start()
        with openai.OpenAI(base_url=own.base_url, api_key=API_KEY) as client:
            second = client.uploads.parts.create(upload.id, data=b"efgh").id
            done = client.uploads.complete(upload.id, part_ids=[first, second])
            assert client.files.content(done.file.id).read() == b"abcdefgh"
        own.terminate()
    finally:
        own.cleanup()
