"""What holds for every operation: scenarios 4, 5, 19, 36-40, 113, 117, 119 of the conformance list."""
import asyncio
import json
import re
import socket
import time

import httpx
import openai
import pytest
from openai import OpenAI

from cairn_server import ADMIN_KEY, API_KEY, MODEL, Server
from support import REQUEST_ID, chat_body, check_error, endless, post_stream, response_body, user

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"


# ---- 4: keys

def test_s04_missing_key(server):
    reply = httpx.post(server.url + CHAT, json=chat_body())
    check_error(reply, 401, code=None, message="You didn't provide an API key")


@pytest.mark.parametrize("header", ["Bearer sk-wrong-key-0123456789", "Bearer x", "Bearer " + "k" * 4000])
def test_s04_wrong_key(server, header):
    reply = httpx.post(server.url + CHAT, json=chat_body(), headers={"Authorization": header})
    error = check_error(reply, 401, code="invalid_api_key", message="Incorrect API key provided")
    assert header.split()[1] not in error["message"] or len(header) < 12, "the key is redacted"


@pytest.mark.parametrize("header", ["", "Bearer", "Basic dTpw", "Token abc"])
def test_s04_no_usable_key(server, header):
    reply = httpx.post(server.url + CHAT, json=chat_body(), headers={"Authorization": header})
    assert reply.status_code == 401
    assert reply.json()["error"]["type"] == "invalid_request_error"


def test_s04_sdk_does_not_retry(server, make_async):
    with OpenAI(base_url=server.base_url, api_key="sk-wrong-key-0123456789") as bad:
        started = time.monotonic()
        with pytest.raises(openai.AuthenticationError) as caught:
            bad.models.list()
        assert time.monotonic() - started < 30
        assert caught.value.code == "invalid_api_key" and caught.value.request_id.startswith("req_")

    async def run():
        async with make_async(api_key="sk-wrong-key-0123456789") as aclient:
            with pytest.raises(openai.AuthenticationError):
                await aclient.responses.create(model=MODEL, input="x")
    asyncio.run(run())


def test_s04_keys_open_only_their_side(server, wire, admin_wire):
    """An admin key cannot infer; a project key cannot administer."""
    reply = admin_wire.post(CHAT, json=chat_body())
    assert reply.status_code in (401, 403) and reply.json()["error"]["message"]
    reply = wire.get("/v1/organization/projects")
    assert reply.status_code in (401, 403), reply.text
    assert admin_wire.get("/v1/organization/projects").status_code in (200, 501)


# ---- 5: unknown model

def test_s05_unknown_model(wire, client):
    for path, body in ((CHAT, {"messages": user("x")}), (RESPONSES, {"input": "x"}),
                       ("/v1/completions", {"prompt": "x"}), ("/v1/embeddings", {"input": "x"})):
        reply = wire.post(path, json={"model": "no-such-model", **body})
        error = reply.json()["error"]
        check_error(reply, 404, code="model_not_found", param=error["param"],
                    message="The model `no-such-model` does not exist or you do not have access to it.")
        assert error["param"] in (None, "model")
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("no-such-model")
    assert caught.value.code == "model_not_found"


def test_s05_unserved_operations_say_so(wire):
    reply = wire.post("/v1/images/generations", json={"prompt": "a cat"})
    assert reply.status_code == 501, reply.text
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["code"] == "not_implemented"
    assert reply.headers["x-should-retry"] == "false", "SDKs repeat a 501 otherwise"


# ---- 19: retries

@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503])
def test_s19_transient_statuses_are_retried(client, faults, status):
    headers = {"X-Cairn-Fault": f"status={status};times=2", "X-Cairn-Fault-Key": f"sync-{status}"}
    raw = client.chat.completions.with_raw_response.create(**chat_body(), extra_headers=headers)
    assert raw.retries_taken == 2
    assert raw.parse().choices


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_s19_lasting_statuses_are_not(client, faults, status):
    headers = {"X-Cairn-Fault": f"status={status};times=1", "X-Cairn-Fault-Key": f"lasting-{status}"}
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(**chat_body(), extra_headers=headers)
    assert caught.value.status_code == status
    assert set(caught.value.body) == {"message", "type", "param", "code"}
    # The fault was used up by the one request that was made.
    assert client.chat.completions.create(**chat_body(), extra_headers=headers).choices


def test_s19_retry_after_ms_is_sent(wire, faults):
    reply = wire.post(CHAT, json=chat_body(), headers={"X-Cairn-Fault": "status=503"})
    check_error(reply, 503, type_="server_error", code=reply.json()["error"]["code"])
    assert float(reply.headers["retry-after-ms"]) == 1


def test_s19_async_retries(make_async, faults):
    async def run():
        headers = {"X-Cairn-Fault": "status=500;times=2", "X-Cairn-Fault-Key": "async-500"}
        async with make_async() as aclient:
            raw = await aclient.responses.with_raw_response.create(model=MODEL, input="Hello!",
                                                                   extra_headers=headers)
            return raw.retries_taken
    assert asyncio.run(run()) == 2


# ---- 36, 113: headers

def standard_headers(reply):
    assert REQUEST_ID.match(reply.headers["x-request-id"])
    assert reply.headers["openai-version"] == "2020-10-01"
    assert reply.headers["openai-processing-ms"].isdigit()


def test_s36_request_id_everywhere(wire, client):
    replies = [wire.get("/v1/models"), wire.get("/v1/models/none"), wire.post(CHAT, json=chat_body()),
               wire.post(CHAT, content=b"{"), wire.get("/v1/nowhere"), wire.delete("/v1/models"),
               post_stream(wire, CHAT, chat_body(stream=True))[0],
               post_stream(wire, RESPONSES, response_body(stream=True))[0]]
    for reply in replies:
        standard_headers(reply)
    assert len({reply.headers["x-request-id"] for reply in replies}) == len(replies)
    made = client.chat.completions.create(**chat_body())
    assert REQUEST_ID.match(made._request_id)
    assert REQUEST_ID.match(client.models.list()._request_id)


def test_s113_organization(wire):
    reply = wire.post(CHAT, json=chat_body())
    assert reply.headers["openai-organization"].startswith("org-")
    assert reply.headers["openai-version"] == "2020-10-01"
    assert int(reply.headers["openai-processing-ms"]) >= 0


def test_s113_client_request_id_is_echoed(wire):
    reply = wire.get("/v1/models", headers={"X-Client-Request-Id": "trace-42"})
    assert reply.headers["x-client-request-id"] == "trace-42"


def test_s113_project_of_another_organization(wire):
    reply = wire.get("/v1/models", headers={"OpenAI-Project": "proj_of_someone_else"})
    assert reply.status_code in (401, 403, 404), reply.text
    reply = wire.get("/v1/models", headers={"OpenAI-Organization": "org-of-someone-else"})
    assert reply.status_code in (401, 403, 404), reply.text
    own = wire.get("/v1/models").headers["openai-organization"]
    assert wire.get("/v1/models", headers={"OpenAI-Organization": own}).status_code == 200


# ---- 37: CORS

def test_s37_preflight(server):
    asked = "authorization,content-type,openai-organization,openai-project,x-stainless-lang,x-stainless-os"
    reply = httpx.options(server.url + CHAT, headers={
        "Origin": "http://app.example", "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": asked})
    assert reply.status_code == 204 and reply.content == b""
    assert reply.headers["access-control-allow-origin"] in ("*", "http://app.example")
    allowed = {h.strip().lower() for h in reply.headers["access-control-allow-headers"].split(",")}
    assert allowed >= set(asked.split(","))
    methods = {m.strip() for m in reply.headers["access-control-allow-methods"].split(",")}
    assert methods >= {"GET", "POST", "DELETE"}


def test_s37_replies_expose_headers(wire):
    reply = wire.get("/v1/models", headers={"Origin": "http://app.example"})
    assert reply.headers["access-control-allow-origin"] in ("*", "http://app.example")
    exposed = {h.strip().lower() for h in reply.headers["access-control-expose-headers"].split(",")}
    assert {"x-request-id", "x-ratelimit-remaining-requests"} <= exposed
    denied = httpx.get(str(wire.base_url) + "/v1/models", headers={"Origin": "http://app.example"})
    assert denied.status_code == 401 and "access-control-allow-origin" in denied.headers


# ---- 38: unknown paths and methods

@pytest.mark.parametrize("method, path", [
    ("GET", "/v1/nowhere"), ("POST", "/v1/foo"), ("GET", "/v1/"), ("GET", "/nowhere"), ("GET", "/v1/models/a/b"),
    ("POST", "/v1/chat//completions"), ("GET", "/%2e%2e/etc/passwd"), ("GET", "/v1/" + "a" * 1000)])
def test_s38_unknown_path(wire, method, path):
    reply = wire.request(method, path, follow_redirects=False)
    assert reply.status_code == 404, reply.text
    check_error(reply, 404, message=f"Invalid URL ({method} ")


@pytest.mark.parametrize("method, path", [("GET", "/v1/chat/completions/x/messages/y"), ("PUT", CHAT),
                                          ("PATCH", RESPONSES), ("DELETE", "/v1/models"), ("PUT", "/v1/models")])
def test_s38_wrong_method(wire, method, path):
    reply = wire.request(method, path, follow_redirects=False)
    assert reply.status_code in (404, 405), reply.text
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    if reply.status_code == 405:
        assert error["code"] == "method_not_supported"
        assert error["message"].startswith(f"Not allowed to {method} on")


def test_s38_a_path_in_an_error_is_harmless(wire):
    reply = wire.get("/v1/%3Cscript%3E%22%0d%0aX: 1")
    assert reply.status_code in (400, 404)
    assert reply.headers["content-type"].startswith("application/json")
    assert "x" not in {name for name in reply.headers if len(name) == 1}
    json.loads(reply.text)


# ---- 39: base URLs

@pytest.mark.parametrize("tail", ["/v1", "/v1/", ""])
def test_s39_base_urls(server, tail, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", server.url + tail)
    monkeypatch.setenv("OPENAI_API_KEY", API_KEY)
    with OpenAI(timeout=120) as made:
        assert made.models.list().data
        assert made.chat.completions.create(**chat_body(), max_completion_tokens=4).choices


def test_s39_queries_are_tolerated(wire):
    assert wire.post(CHAT + "?foo=bar&beta=true&x[]=1", json=chat_body()).status_code == 200
    assert wire.get("/v1/models?api-version=2024-10-21").status_code == 200
    assert wire.get("/v1/models?x=%zz").status_code in (200, 400)


# ---- 40: keep-alive

def test_s40_a_thousand_requests_on_one_connection(server):
    import http.client
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.connect()
    socket = connection.sock
    body = json.dumps({**chat_body(), "max_completion_tokens": 1})
    headers = {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json"}
    for i in range(1000):
        kind = i % 10
        if kind == 0:
            connection.request("POST", CHAT, body, headers)
        elif kind == 1:
            connection.request("POST", CHAT, "{", headers)
        elif kind == 2:
            connection.request("GET", "/v1/nowhere", headers=headers)
        else:
            connection.request("GET", "/v1/models", headers=headers)
        reply = connection.getresponse()
        content = reply.read()
        assert reply.status == {0: 200, 1: 400, 2: 404}.get(kind, 200), content
        assert connection.sock is socket, f"the server closed the connection after request {i}"
    connection.close()


# ---- 117: large payloads

def test_s117_large_and_many(wire):
    image = "data:image/png;base64," + "A" * (20 << 20)
    reply = wire.post(CHAT, json={"model": MODEL, "messages": [{"role": "user", "content": [
        {"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": image}}]}]})
    assert reply.status_code in (400, 413), reply.text[:500]
    assert reply.json()["error"]["message"]
    reply = wire.post(CHAT, json={"model": MODEL, "messages": user("hello there") * 100_000})
    assert reply.status_code == 400 and set(reply.json()["error"]) == {"message", "type", "param", "code"}


# ---- 119: content types

def test_s119_wrong_content_type(wire):
    body = json.dumps(chat_body()).encode()
    reply = wire.post(CHAT, content=body, headers={"Content-Type": "text/plain"})
    check_error(reply, 400, code="unsupported_content_type", message="Unsupported content type: 'text/plain'")
    reply = wire.post(CHAT, files={"file": b"x"})
    assert reply.status_code == 400 and reply.json()["error"]["code"] == "unsupported_content_type"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"x"', b"null", b'{"a":1}x', b"\xff\xfe", b'{"a":"\xc3("}',
                                     b'{"model":"a","model":"b"}', b"NaN", b'{"a":1e400}', b"\x00"])
def test_s119_broken_bodies(wire, content):
    reply = wire.post(CHAT, content=content, headers={"Content-Type": "application/json"})
    assert reply.status_code == 400, reply.text
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["type"] == "invalid_request_error"


def test_s119_parameters_of_the_content_type(wire):
    body = json.dumps(chat_body(max_completion_tokens=2)).encode()
    for kind in ("application/json;charset=UTF-8", "Application/JSON", 'application/json; charset="utf-8"'):
        assert wire.post(CHAT, content=body, headers={"Content-Type": kind}).status_code == 200, kind


def test_health_and_openapi(server, client):
    for path in ("/healthz", "/readyz"):
        assert httpx.get(server.url + path).status_code == 200
    spec = httpx.get(server.url + "/openapi.json", headers={"Authorization": f"Bearer {API_KEY}"})
    assert spec.status_code == 200
    facts = spec.json()
    assert facts["openapi"].startswith("3.") and "/chat/completions" in str(list(facts["paths"]))


def test_metrics_are_prometheus_text(server, wire):
    wire.post(CHAT, json=chat_body())
    reply = httpx.get(server.url + "/metrics", headers={"Authorization": f"Bearer {ADMIN_KEY}"})
    assert reply.status_code == 200 and reply.headers["content-type"].startswith("text/plain")
    for line in reply.text.splitlines():
        assert line.startswith("#") or re.fullmatch(r'[a-zA-Z_:][\w:]*(\{[^}]*\})? [-+\w.]+', line), line
    for name in ("cairn_contract_violations_total", "cairn_engine_active_sequences"):
        assert server.metric(name) is not None, name


def test_request_log_has_no_bodies_and_no_keys(server, wire):
    secret = "a very particular sentence"
    wire.post(CHAT, json=chat_body(secret), headers={"X-Client-Request-Id": "log-probe"})
    log = server.wait_log("log-probe")
    assert "log-probe" in log and secret not in log
    assert API_KEY not in log and ADMIN_KEY not in log
    line = next(line for line in log.splitlines() if "log-probe" in line)
    record = json.loads(line)
    assert record.get("status") == 200


def test_text_log_cannot_command_a_terminal():
    """Also: the model list that is made once, which a server that checks its replies does not send."""
    with Server(["--log", "text"], check=False) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as peer:
            peer.sendall(b"GET /v1/\x1b[31mred HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert peer.recv(64).startswith(b"HTTP/1.1 404")
        log = server.wait_log("[31mred")
        assert "/v1/?[31mred 404" in log and "\x1b" not in log
        models = json.loads(server.get("/v1/models"))
        assert models["object"] == "list" and models["data"][0]["id"] == MODEL


def test_limits_of_time_and_place(wire):
    """n and max tokens together bound the work of one request; nonsense is refused at once."""
    reply = wire.post(CHAT, json={**chat_body(), "max_completion_tokens": 0})
    assert reply.status_code == 400
    reply = wire.post(CHAT, json={**chat_body(), "logit_bias": endless(), "max_completion_tokens": 10 ** 9,
                                  "stop": "e"})
    assert reply.status_code in (200, 400)
