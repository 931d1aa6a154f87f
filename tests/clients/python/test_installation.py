"""A database and the contents of files belong together: with the wrong ones nothing is served, and nothing removed."""
import os
import shutil
import tempfile
import time
from pathlib import Path

import httpx
import pytest

from cairn_server import API_KEY, TEST_DATABASE, Server
from test_cli import cairn, check_one_line
from test_files import blobs_on_disk, content, made

pytestmark = pytest.mark.skipif(bool(TEST_DATABASE), reason="data directories; tests/distributed has PostgreSQL's")


def wire_of(server):
    return httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {API_KEY}"}, timeout=60)


def grow_old(paths):
    for path in paths:
        os.utime(path, (time.time() - 7200,) * 2)


def refused(server):
    """What the server says that does not start."""
    server.start(wait=False)
    assert server.process.wait(60) == 1
    text = server.log_tail().splitlines()[-1]
    server.process = None
    return text


@pytest.fixture
def stopped():
    """A server that has ended, its file, and that file's blob, which is old."""
    server = Server()
    try:
        server.start()
        with wire_of(server) as wire:
            file = made(wire, b"precious")
        server.terminate()
        blobs = blobs_on_disk(server)
        grow_old(blobs)
        yield server, file, blobs
    finally:
        server.cleanup()


def test_another_database_does_not_take_the_blobs(stopped):
    server, file, blobs = stopped
    state, aside = server.data / "state", server.data / "aside"
    mark = (state / "blobs" / "INSTALLATION").read_text().strip()
    aside.mkdir()
    for path in state.glob("cairn.db*"):
        path.rename(aside / path.name)
    text = refused(server)
    assert mark in text and "blobs" in text and "--adopt" in text, text
    for more in ([], ["--repair"], ["--adopt"]):
        check_one_line(cairn("check", "--data", str(state), *more), "blobs")
    assert blobs_on_disk(server) == blobs
    for path in state.glob("cairn.db*"):
        path.unlink()
    for path in aside.iterdir():
        path.rename(state / path.name)
    server.start()
    with wire_of(server) as wire:
        assert content(wire, file).content == b"precious"
    server.terminate()


def test_blobs_of_an_older_version_are_taken_by_who_names_them(stopped):
    server, file, blobs = stopped
    mark = server.data / "state" / "blobs" / "INSTALLATION"
    first = mark.read_text()
    mark.unlink()
    assert cairn("check", "--data", str(server.data / "state")).returncode == 0
    assert not mark.exists(), "who only looks leaves no mark"
    server.start()
    with wire_of(server) as wire:
        assert content(wire, file).content == b"precious"
    server.terminate()
    assert mark.read_text() == first and blobs_on_disk(server) == blobs


def test_a_backup_is_an_installation_of_its_own(stopped, tmp_path):
    server, file, blobs = stopped
    done = cairn("backup", "--to", str(tmp_path / "state"), "--data", str(server.data / "state"))
    assert done.returncode == 0, done.stderr
    with Server(data=tmp_path) as copy, wire_of(copy) as wire:
        assert content(wire, file).content == b"precious"
    marks = [(path / "state" / "blobs" / "INSTALLATION").read_text() for path in (server.data, tmp_path)]
    assert marks[0] != marks[1]
    # With the original's blobs the copy is refused; when somebody says that they are the copy's, the original is.
    shutil.rmtree(tmp_path / "state" / "blobs")
    (tmp_path / "state" / "blobs").symlink_to(server.data / "state" / "blobs")
    copy = Server(data=tmp_path)
    text = refused(copy)
    assert all(mark.strip() in text for mark in marks), text
    assert blobs_on_disk(server) == blobs
    assert cairn("check", "--adopt", "--data", str(tmp_path / "state")).returncode == 0
    copy.start()
    copy.terminate()
    assert "--adopt" in refused(server)


@pytest.fixture
def elsewhere():
    """A folder on another file system."""
    if not os.access("/dev/shm", os.W_OK) or os.stat("/dev/shm").st_dev == os.stat(tempfile.gettempdir()).st_dev:
        pytest.skip("there is one file system only")
    folder = Path(tempfile.mkdtemp(prefix="cairn-test-", dir="/dev/shm"))
    yield folder
    shutil.rmtree(folder)


def test_blobs_may_lie_on_a_file_system_of_their_own(elsewhere):
    server = Server()
    try:
        (server.data / "state").mkdir(mode=0o700)
        (server.data / "state" / "blobs").symlink_to(elsewhere)
        server.start()
        with wire_of(server) as wire:
            assert content(wire, made(wire, b"far away")).content == b"far away"
        server.terminate()
    finally:
        server.cleanup()
