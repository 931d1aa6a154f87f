"""Malformed and hostile input over raw sockets: an error in the normal shape, and the server lives on."""
import gzip
import json
import socket
import time

import pytest

from cairn_server import API_KEY, MODEL, Server
from support import REQUEST_ID, chat_body, long_body

CHAT = "/v1/chat/completions"
GOOD = json.dumps(chat_body(max_completion_tokens=2)).encode()


class Reply:
    def __init__(self, raw):
        head, _, self.body = raw.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split()[1])
        self.headers = {name.lower(): value.strip() for name, _, value in
                        (line.partition(":") for line in lines[1:])}

    @property
    def error(self):
        return json.loads(self.body)["error"]


def read_reply(peer):
    """Reads one reply, by Content-Length or chunks or to the end. None when the peer just closed."""
    raw = b""
    while b"\r\n\r\n" not in raw:
        data = peer.recv(65536)
        if not data:
            return Reply(raw) if raw else None
        raw += data
    reply = Reply(raw)
    if reply.status == 100:
        rest = raw.partition(b"\r\n\r\n")[2]
        return read_reply(Rest(rest, peer))
    length = int(reply.headers.get("content-length", -1))
    while True:
        if length >= 0 and len(reply.body) >= length:
            return reply
        if length < 0 and reply.body.endswith(b"0\r\n\r\n"):
            return reply
        data = peer.recv(65536)
        if not data:
            return reply
        reply.body += data


class Rest:
    """A socket with bytes already read before it."""

    def __init__(self, first, peer):
        self.first, self.peer = first, peer

    def recv(self, size):
        first, self.first = self.first, b""
        return first or self.peer.recv(size)


def head(method="POST", path=CHAT, host=True, **headers):
    lines = [f"{method} {path} HTTP/1.1"]
    if host:
        lines.append("Host: localhost")
    lines.append(f"Authorization: Bearer {API_KEY}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def send(server, data, timeout=60):
    with socket.create_connection(("127.0.0.1", server.port), timeout=timeout) as peer:
        try:
            peer.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return read_reply(peer)


def check_shape(reply, statuses):
    assert reply is not None, "closed without a reply"
    assert reply.status in statuses, (reply.status, reply.body[:300])
    assert reply.headers["content-type"].startswith("application/json"), reply.headers
    assert set(reply.error) == {"message", "type", "param", "code"} and reply.error["message"]
    assert REQUEST_ID.match(reply.headers["x-request-id"])


@pytest.fixture(autouse=True)
def still_serving(server):
    """Whatever a test did, the next request is answered."""
    yield
    reply = send(server, head(Content_Type="application/json", Content_Length=len(GOOD)) + GOOD)
    assert reply is not None and reply.status == 200


def post(server, body, **headers):
    headers.setdefault("Content_Type", "application/json")
    return send(server, head(Content_Length=len(body), **headers) + body)


@pytest.mark.parametrize("body", [
    b'{"model": "cairn-tiny", "messages": [', b"{'a': 1}", b"[" * 10_000, b'{"a":' * 10_000,
    b"[" * 10_000 + b"]" * 10_000, b'{"messages": ' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    b'{"model": "\xff\xfe"}', b'{"model": "\xed\xa0\x80"}', b'{"model": "\\ud800"}', b"\x00" * 100,
    b'{"model": 1' + b"0" * 5000 + b"}", b'{"n": 99999999999999999999999}', b'{"a": 1} {"b": 2}', b"\xef\xbb\xbf{",
])
def test_broken_json(server, body):
    check_shape(post(server, body), (400,))


def test_deep_nesting_in_a_free_form_field(server):
    deep = b'{"model":"cairn-tiny","messages":[{"role":"user","content":"x"}],"metadata":' + \
        b'{"a":' * 1500 + b"1" + b"}" * 1500 + b"}"
    check_shape(post(server, deep), (400,))


@pytest.mark.parametrize("value", [b"0", b"{}", b"[[]]"])
def test_number_of_values_is_bounded(server, value):
    """A tree takes up to a hundred times the memory of its text."""
    body = b'{"model": "cairn-tiny", "messages": [' + b",".join([value] * 600_000) + b"]}"
    reply = post(server, body)
    check_shape(reply, (400,))
    assert "more than 500000 values" in reply.error["message"]


def test_nul_in_a_string_is_data(server):
    body = json.dumps({"model": MODEL, "max_completion_tokens": 2,
                       "messages": [{"role": "user", "content": "a\u0000b"}]}).encode()
    reply = post(server, body)
    assert reply.status in (200, 400)


def test_oversized_body_announced_and_sent(server):
    size = 1 << 40
    reply = send(server, head(Content_Type="application/json", Content_Length=size) + b"x" * 1000)
    check_shape(reply, (413,))
    assert reply.headers["openai-version"] == "2020-10-01" and reply.headers["openai-processing-ms"].isdigit()
    assert reply.headers["openai-organization"].startswith("org-")


def test_oversized_chunked_body(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as peer:
        peer.sendall(head(Content_Type="application/json", Transfer_Encoding="chunked"))
        block = b"100000\r\n" + b" " * (1 << 20) + b"\r\n"
        try:
            for _ in range(200):
                peer.sendall(block)
        except (BrokenPipeError, ConnectionResetError):
            pass
        try:
            reply = read_reply(peer)
        except ConnectionResetError:
            reply = None
    if reply is not None:
        check_shape(reply, (413,))


@pytest.mark.parametrize("body", [b"zz\r\n{}\r\n0\r\n\r\n", b"-5\r\n{}\r\n0\r\n\r\n", b"ffffffffffffffffff\r\n{}",
                                  b"5\r\n{}\r\n0\r\n\r\n", b"2;\x00\r\n{}\r\n0\r\n\r\n"])
def test_bad_chunking(server, body):
    """The framing is lost, so the connection may end; it must end soon, and with nothing but an error."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=120) as peer:
        peer.sendall(head(Content_Type="application/json", Transfer_Encoding="chunked") + body)
        peer.shutdown(socket.SHUT_WR)
        try:
            reply = read_reply(peer)
        except ConnectionResetError:
            reply = None
    assert reply is None or 400 <= reply.status < 500


def test_good_chunking(server):
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (GOOD[:1], GOOD[1:9], GOOD[9:]))
    reply = send(server, head(Content_Type="application/json", Transfer_Encoding="chunked")
                 + chunks + b"0\r\n\r\n")
    assert reply.status == 200, reply.body


def test_gzip_body(server):
    reply = post(server, gzip.compress(GOOD), Content_Encoding="gzip")
    check_shape(reply, (400, 415))


def test_smuggling_length_and_chunks(server):
    data = head(Content_Type="application/json", Content_Length=len(GOOD), Transfer_Encoding="chunked")
    reply = send(server, data + b"0\r\n\r\nGET /v1/models HTTP/1.1\r\n")
    assert reply is None or 400 <= reply.status < 500
    two = head(Content_Type="application/json", Content_Length=len(GOOD)).replace(
        b"Content-Length", b"Content-Length: 3\r\nContent-Length", 1)
    reply = send(server, two + GOOD)
    assert reply is None or 400 <= reply.status < 500


def test_missing_host(server):
    reply = send(server, head("GET", "/v1/models", host=False))
    assert reply is not None and reply.status == 400


def test_unknown_transfer_encoding(server):
    reply = send(server, head(Content_Type="application/json", Transfer_Encoding="gzip") + b"0\r\n\r\n")
    assert reply is None or 400 <= reply.status <= 501


@pytest.mark.parametrize("line", [
    b"GET /v1/models\x00 HTTP/1.1", b"GET /v1/mod\x00els HTTP/1.1", b"GET\t/v1/models\tHTTP/1.1",
    b"\x16\x03\x01\x02\x00\x01\x00\x01", b"GET /v1/models HTTP/9.9", b"get /v1/models HTTP/1.1", b"A" * 100_000,
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1", b"GET http://other/v1/models HTTP/1.1", b"\r\n\r\n\r\nGET", b"",
])
def test_broken_request_lines(server, line):
    with socket.create_connection(("127.0.0.1", server.port), timeout=120) as peer:
        try:
            peer.sendall(line + b"\r\nHost: localhost\r\nAuthorization: Bearer " + API_KEY.encode() + b"\r\n\r\n")
            peer.shutdown(socket.SHUT_WR)
            reply = read_reply(peer)
        except ConnectionError:
            reply = None
    assert reply is None or reply.status in (200, 400, 401, 404, 405, 414, 431, 501, 505), reply.status


def test_too_many_headers(server):
    many = {f"X-Filler-{i}": "v" * 100 for i in range(2000)}
    reply = send(server, head("GET", "/v1/models", **many))
    assert reply is None or reply.status in (400, 413, 431)


def test_broken_query(server):
    for query in ("%", "%zz", "%ff%fe", "a=%00", "&&&&", "=", "a[b[c]]=1", "a[]]=", "&".join(["x=1"] * 5000)):
        reply = send(server, head("GET", f"/v1/chat/completions?{query}"))
        assert reply is not None and reply.status in (200, 400, 414, 431), (query[:40], reply and reply.status)


def test_errors_keep_the_connection(server):
    """After an error in the body the same connection serves the next request."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as peer:
        for body, status in ((b"{", 400), (GOOD, 200), (b"[]", 400), (GOOD, 200)):
            peer.sendall(head(Content_Type="application/json", Content_Length=len(body)) + body)
            reply = read_reply(peer)
            assert reply.status == status, reply.body


def test_pipelined_requests(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as peer:
        peer.sendall(head("GET", "/v1/models") * 20)
        raw = b""
        while raw.count(b"HTTP/1.1 200") < 20:
            data = peer.recv(65536)
            assert data, raw[-200:]
            raw += data


def test_expect_continue(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as peer:
        peer.sendall(head(Content_Type="application/json", Content_Length=len(GOOD), Expect="100-continue"))
        time.sleep(0.1)
        peer.sendall(GOOD)
        assert read_reply(peer).status == 200


@pytest.fixture(scope="module")
def strict_server(tmp_path_factory):
    """A server whose deadlines are short."""
    config = tmp_path_factory.mktemp("strict") / "cairn.yaml"
    config.write_text("limits:\n  header_timeout: 2\n  body_timeout: 2\n  idle_timeout: 3\n  write_timeout: 3\n"
                      "  max_body: 65536\n")
    with Server(["--config", str(config)]) as running:
        yield running


def closed_within(peer, seconds):
    """True when the server ends the connection (with or without a reply) in time."""
    peer.settimeout(seconds)
    try:
        while peer.recv(65536):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


def test_slow_headers_are_cut(strict_server):
    """A byte now and then keeps no connection: the deadline is for the whole head."""
    with socket.create_connection(("127.0.0.1", strict_server.port)) as peer:
        started = time.monotonic()
        data = head("GET", "/v1/models")[:-4]
        try:
            for byte in data[:60]:
                peer.sendall(bytes([byte]))
                peer.settimeout(0.5)
                try:
                    if not peer.recv(4096):
                        break
                except TimeoutError:
                    continue
        except ConnectionError:
            pass
        took = time.monotonic() - started
    assert took < 20, took


def test_slow_bodies_are_cut(strict_server):
    with socket.create_connection(("127.0.0.1", strict_server.port)) as peer:
        peer.sendall(head(Content_Type="application/json", Content_Length=5000) + b"{")
        assert closed_within(peer, 30)


def test_idle_connections_are_closed(strict_server):
    with socket.create_connection(("127.0.0.1", strict_server.port)) as peer:
        assert closed_within(peer, 30)


def test_a_client_that_does_not_read_is_dropped(strict_server):
    """Its sequences wait with full buffers, everybody else is served, and in the end the client is cut."""
    body = json.dumps({**long_body(900), "n": 32, "stream": True}).encode()
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.settimeout(60)
        peer.connect(("127.0.0.1", strict_server.port))
        peer.sendall(head(Content_Type="application/json", Content_Length=len(body)) + body)
        assert peer.recv(12) == b"HTTP/1.1 200"
        assert post(strict_server, GOOD).status == 200
        deadline = time.monotonic() + 90
        while strict_server.metric("cairn_engine_active_sequences"):
            assert time.monotonic() < deadline, "a client that does not read holds its sequences"
            time.sleep(0.1)
        raw = b""
        try:
            while data := peer.recv(1 << 20):
                raw += data
        except ConnectionError:
            pass
    assert b"[DONE]" not in raw


def test_configured_body_limit(strict_server):
    body = b'{"model": "' + b"x" * 70000 + b'"}'
    check_shape(post(strict_server, body), (413,))
    assert post(strict_server, GOOD).status == 200
