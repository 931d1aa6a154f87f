"""Services that take a connection and then say nothing: what needs them fails in time, everything else goes on."""
import signal
import socket
import threading
import time

import httpx
import pytest

from cairn_server import API_KEY, Server
from postgres import Missing, Postgres
from support import check_error

SECRET = "0123456789abcdef" * 4


@pytest.fixture(name="database", scope="module")
def database_fixture():
    try:
        with Postgres() as server:
            yield server
    except Missing as missing:
        pytest.skip(str(missing))


def ask(server, path, timeout=20):
    return httpx.get(server.url + path, headers={"Authorization": f"Bearer {API_KEY}"}, timeout=timeout)


def hold_up(server, n):
    """Requests that wait for the store, more than there are threads for them."""
    def run():
        try:
            httpx.post(server.base_url + "/conversations", headers={"Authorization": f"Bearer {API_KEY}"}, json={},
                       timeout=60)
        except httpx.HTTPError:
            pass  # the server ended first
    threads = [threading.Thread(target=run) for _ in range(n)]
    for thread in threads:
        thread.start()
    return threads


def test_a_frozen_database_is_told_of_and_ends_nothing_else(database):
    with Server(args=["--shutdown-grace", "1"], env={"CAIRN_SECRET": SECRET}, database=database.database()) as server:
        assert ask(server, "/readyz").status_code == 200
        with database.frozen():
            waiting = hold_up(server, 12)
            time.sleep(0.5)
            for bound in (6, 2):  # the second time it is known
                began = time.monotonic()
                ready = ask(server, "/readyz")
                assert ready.status_code == 503 and "no answer" in ready.json()["error"]["message"], ready.text
                assert time.monotonic() - began < bound
            began = time.monotonic()
            figures = ask(server, "/metrics")
            assert figures.status_code == 200 and "cairn_store_queued_writes" in figures.text
            assert time.monotonic() - began < 9
            assert ask(server, "/v1/models").status_code == 200
            began = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(20) == 1  # after the grace and ten seconds
            assert time.monotonic() - began < 15
            for thread in waiting:
                thread.join()
        server.start()  # what was not answered may or may not be there; the server is well
        assert ask(server, "/readyz").status_code == 200
        assert httpx.post(server.base_url + "/conversations", headers={"Authorization": f"Bearer {API_KEY}"},
                          json={}).status_code == 200


def test_a_frozen_database_that_goes_on_is_used_again(database):
    with Server(env={"CAIRN_SECRET": SECRET}, database=database.database()) as server:
        with database.frozen():
            waiting = hold_up(server, 4)
            time.sleep(0.5)
            assert ask(server, "/readyz").status_code == 503
        for thread in waiting:
            thread.join()
        assert ask(server, "/readyz").status_code == 200
        assert ask(server, "/v1/conversations/conv_none").status_code == 404


def test_a_silent_s3_holds_up_neither_the_start_nor_uploads():
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, says nothing
        env = {"CAIRN_BLOBS": "s3://bucket", "CAIRN_S3_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}",
               "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
        began = time.monotonic()
        with Server(env=env) as server:
            assert time.monotonic() - began < 10
            for _ in range(10):
                began = time.monotonic()
                reply = httpx.post(server.base_url + "/files", data={"purpose": "user_data"}, files={"file": ("a", b"x")},
                                   headers={"Authorization": f"Bearer {API_KEY}"}, timeout=30)
                check_error(reply, 503, type_="server_error", code="overloaded")
                assert "retry-after" in reply.headers and time.monotonic() - began < 6
