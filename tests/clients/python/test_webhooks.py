"""Webhook endpoints and deliveries through the official SDK: scenario 106 of the conformance list."""
import base64
import concurrent.futures
import hashlib
import hmac
import json
import time
import uuid

import httpx
import openai
import pytest
from openai import InvalidWebhookSignatureError, OpenAI

from cairn_server import ADMIN_KEY, API_KEY, MODEL, Server
from hook import Hook
from support import check_error

ENDPOINTS = "/v1/webhook_endpoints"


@pytest.fixture(scope="module")
def hooked():
    """A server that may deliver to loopback."""
    with Server(["--outbound-allow", "127.0.0.1", "--log", "json"]) as running:
        yield running


@pytest.fixture(scope="module")
def sdk(hooked):
    with OpenAI(base_url=hooked.base_url, api_key=API_KEY, timeout=60, _strict_response_validation=True) as made:
        yield made


@pytest.fixture
def raw(hooked):
    with httpx.Client(base_url=hooked.url, timeout=60, headers={"Authorization": f"Bearer {API_KEY}"}) as made:
        yield made


@pytest.fixture
def hook():
    with Hook() as made:
        yield made


@pytest.fixture
def endpoint(sdk, hook):
    made = sdk.webhooks.create(name="test", url=hook.url, event_types=["response.completed"])
    yield made
    sdk.webhooks.delete(made.id)


def verifies(sdk, received, secret):
    try:
        sdk.webhooks.verify_signature(received.body, received.headers, secret=secret)
        return True
    except InvalidWebhookSignatureError:
        return False


def deliveries(raw, endpoint, status=None, seconds=30):
    """The log of an endpoint, newest first, once its newest row has the status."""
    deadline = time.monotonic() + seconds
    while True:
        listed = raw.get(f"{ENDPOINTS}/{endpoint}/deliveries").json()["data"]
        if status is None or (listed and listed[0]["status"] == status):
            return listed
        assert time.monotonic() < deadline, listed
        time.sleep(0.05)


def test_s106_endpoints(sdk, raw):
    made = sdk.webhooks.create(name="all", url="https://example.com/hook",
                               event_types=["batch.completed", "response.completed", "batch.completed"])
    assert made.id.startswith("whe_") and made.object == "webhook_endpoint"
    assert made.event_types == ["batch.completed", "response.completed"]
    assert made.signing_secret.startswith("whsec_")
    assert len(base64.b64decode(made.signing_secret[6:], validate=True)) == 24
    assert made.signing_secret_hint == "whsec_..." + made.signing_secret[-4:]
    assert made.updated_at == made.created_at
    again = raw.get(f"{ENDPOINTS}/{made.id}").json()
    assert "signing_secret" not in again and again["signing_secret_hint"] == made.signing_secret_hint
    assert sdk.webhooks.retrieve(made.id).to_dict() == again
    same = sdk.webhooks.update(made.id, name="all")
    assert same.updated_at == made.updated_at
    time.sleep(1.1)
    changed = sdk.webhooks.update(made.id, event_types=["batch.failed"])
    assert changed.event_types == ["batch.failed"] and changed.url == made.url
    assert changed.updated_at > made.updated_at
    assert sdk.webhooks.update(made.id).event_types == ["batch.failed"]
    deleted = sdk.webhooks.delete(made.id)
    assert deleted.deleted and deleted.object == "webhook_endpoint.deleted" and deleted.id == made.id
    for call in (sdk.webhooks.retrieve, sdk.webhooks.delete, sdk.webhooks.rotate_secret):
        with pytest.raises(openai.NotFoundError):
            call(made.id)
    check_error(raw.get(f"{ENDPOINTS}/{made.id}/deliveries"), 404, message=made.id)


def test_s106_pages(sdk):
    made = [sdk.webhooks.create(name=str(i), url="https://example.com/", event_types=["batch.failed"]).id
            for i in range(5)]
    assert [e.id for e in sdk.webhooks.list(limit=2)] == made[::-1]
    first = sdk.webhooks.list(limit=2)
    assert first.has_more and len(first.data) == 2
    assert not hasattr(first.data[0], "signing_secret")
    assert [e.id for e in sdk.webhooks.list(limit=2, after=made[1])] == made[:1]
    for one in made:
        sdk.webhooks.delete(one)
    assert sdk.webhooks.list().data == []


def test_s106_seeds_path_and_keys(hooked, raw):
    made = raw.post("/v1/webhooks", json={"name": "n", "url": "https://example.com/",
                                          "event_types": ["batch.failed"]}).json()
    assert raw.get(f"{ENDPOINTS}/{made['id']}").json() == raw.get(f"/v1/webhooks/{made['id']}").json()
    assert raw.delete(f"/v1/webhooks/{made['id']}").json()["deleted"] is True
    admin = httpx.get(hooked.url + ENDPOINTS, headers={"Authorization": f"Bearer {ADMIN_KEY}"})
    check_error(admin, 403, code="missing_scope")


def test_s106_event_types(sdk):
    listed = sdk.webhooks.event_types.list()
    assert listed.object == "list"
    for name in ("response.completed", "response.cancelled", "batch.expired", "eval.run.canceled",
                 "fine_tuning.job.succeeded", "realtime.call.incoming", "live.call.incoming"):
        assert name in listed.data
    assert len(set(listed.data)) == len(listed.data)


@pytest.mark.parametrize("body, param", [
    ({}, "name"),
    ({"name": "n", "url": "https://example.com/", "event_types": []}, "event_types"),
    ({"name": "n", "url": "https://example.com/", "event_types": ["batch.exploded"]}, "event_types[0]"),
    ({"name": "", "url": "https://example.com/", "event_types": ["batch.failed"]}, "name"),
    ({"name": "n", "url": "ftp://example.com/", "event_types": ["batch.failed"]}, "url"),
    ({"name": "n", "url": "https://a:b@example.com/", "event_types": ["batch.failed"]}, "url"),
    ({"name": "n", "url": "http://10.0.0.1/", "event_types": ["batch.failed"]}, "url"),
    ({"name": "n", "url": "http://169.254.169.254/latest", "event_types": ["batch.failed"]}, "url"),
    ({"name": "n", "url": "http://[fd00::1]/", "event_types": ["batch.failed"]}, "url"),
    ({"name": "n", "url": "https://example.com:25/", "event_types": ["batch.failed"]}, "url"),
    ({"name": "n", "url": "https://example.com/", "event_types": ["batch.failed"], "secret": "x"}, "secret"),
])
def test_s106_refused(raw, body, param):
    reply = raw.post(ENDPOINTS, json=body)
    assert reply.status_code == 400, reply.text
    assert reply.json()["error"]["param"] == param


def test_s106_private_addresses_need_leave(server, wire, client):
    """The server of the other tests may not deliver to loopback."""
    for url in ("http://127.0.0.1:9999/", "http://localhost:9999/", "http://[::1]:9999/", "http://0x7f.1:9999/"):
        reply = wire.post(ENDPOINTS, json={"name": "n", "url": url, "event_types": ["batch.failed"]})
        check_error(reply, 400, param="url", code="url_not_allowed", message="outbound_allow")


def test_s106_limit_of_a_project(sdk):
    made = []
    with pytest.raises(openai.BadRequestError, match="100"):
        for _ in range(101):
            made.append(sdk.webhooks.create(name="n", url="https://example.com/", event_types=["batch.failed"]).id)
    assert len(made) == 100
    for one in made:
        sdk.webhooks.delete(one)


def test_s106_limit_of_a_project_holds_for_many_at_once(sdk):
    """Of 64 who create at the same time as many succeed as there is room for."""
    def create(_):
        try:
            return sdk.webhooks.create(name="n", url="https://example.com/", event_types=["batch.failed"])
        except openai.BadRequestError as error:
            assert error.code == "limit_exceeded"
            return None

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        made = [one for _ in range(3) for one in pool.map(create, range(64)) if one]
    listed = [one.id for one in sdk.webhooks.list(limit=100)]
    assert sorted(listed) == sorted(one.id for one in made) and len(made) == 100
    for one in listed:
        sdk.webhooks.delete(one)


def test_s106_test_delivery_verifies(sdk, hook, endpoint):
    result = sdk.webhooks.test(endpoint.id, event_type="batch.completed")
    assert result.success is True and result.status_code == 204
    assert result.object == "webhook_endpoint.test" and result.webhook_endpoint_id == endpoint.id
    received, = hook.wait(1)
    event = sdk.webhooks.unwrap(received.body, received.headers, secret=endpoint.signing_secret)
    assert event.type == "batch.completed" and event.object == "event"
    assert event.id == received.headers["webhook-id"] and event.id.startswith("evt_")
    assert received.headers["content-type"] == "application/json"
    assert abs(int(received.headers["webhook-timestamp"]) - time.time()) < 60
    # By hand, as Standard Webhooks describes it.
    key = base64.b64decode(endpoint.signing_secret.removeprefix("whsec_"))
    signed = f"{event.id}.{received.headers['webhook-timestamp']}.".encode() + received.body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert received.headers["webhook-signature"] == f"v1,{expected}"


def test_s106_every_type_is_understood(sdk, hook, endpoint):
    types = sdk.webhooks.event_types.list().data
    for i, name in enumerate(types):
        sdk.webhooks.test(endpoint.id, event_type=name)
        received = hook.wait(i + 1)[-1]
        event = sdk.webhooks.unwrap(received.body, received.headers, secret=endpoint.signing_secret)
        assert event.type == name
        if name == "realtime.call.incoming":
            assert event.data.call_id and event.data.sip_headers
        elif name == "live.call.incoming":
            assert event.data.session_id and event.data.sip_headers
        else:
            assert event.data.id


def test_s106_tampered_and_old_fail(sdk, hook, endpoint):
    sdk.webhooks.test(endpoint.id, event_type="batch.completed")
    received, = hook.wait(1)
    assert verifies(sdk, received, endpoint.signing_secret)
    body = received.body
    received.body = body.replace(b"batch.completed", b"batch.cancelled")
    assert not verifies(sdk, received, endpoint.signing_secret)
    received.body = body
    received.headers["webhook-timestamp"] = str(int(received.headers["webhook-timestamp"]) - 301)
    assert not verifies(sdk, received, endpoint.signing_secret)


def test_s106_rotation(sdk, hook, endpoint):
    with pytest.raises(openai.BadRequestError):
        sdk.webhooks.rotate_secret(endpoint.id, keep_old_secret_active_for_24_hours="yes")
    kept = sdk.webhooks.rotate_secret(endpoint.id, keep_old_secret_active_for_24_hours=True)
    assert kept.signing_secret != endpoint.signing_secret
    assert kept.signing_secret_hint.endswith(kept.signing_secret[-4:])
    sdk.webhooks.test(endpoint.id, event_type="batch.completed")
    received = hook.wait(1)[-1]
    assert len(received.headers["webhook-signature"].split(" ")) == 2
    assert verifies(sdk, received, kept.signing_secret) and verifies(sdk, received, endpoint.signing_secret)
    fresh = sdk.webhooks.rotate_secret(endpoint.id)
    sdk.webhooks.test(endpoint.id, event_type="batch.completed")
    received = hook.wait(2)[-1]
    assert verifies(sdk, received, fresh.signing_secret)
    assert not verifies(sdk, received, kept.signing_secret)
    assert not verifies(sdk, received, endpoint.signing_secret)


def test_s106_test_tells_what_was_answered(sdk, raw):
    with Hook([500, 302]) as bad:
        made = sdk.webhooks.create(name="bad", url=bad.url, event_types=["batch.failed"])
        for status in (500, 302):
            result = sdk.webhooks.test(made.id, event_type="batch.failed")
            assert (result.status_code, result.success) == (status, True), "success: there is a result at all"
        assert [r.path for r in bad.received] == ["/hook", "/hook"]  # no redirect is followed
    reply = raw.post(f"{ENDPOINTS}/{made.id}/test", json={"event_type": "batch.failed"})
    check_error(reply, 400, code="webhook_endpoint_unreachable")
    check_error(raw.post(f"{ENDPOINTS}/{made.id}/test", json={}), 400, param="event_type",
                code="missing_required_parameter")
    sdk.webhooks.delete(made.id)


def test_s106_secrets_rest_sealed(hooked, raw):
    """A repeated request gets its secret again, and still no secret lies open in the database."""
    body = {"name": "n", "url": "https://example.com/", "event_types": ["batch.failed"]}
    key = {"Idempotency-Key": uuid.uuid4().hex}
    made = raw.post(ENDPOINTS, json=body, headers=key).json()
    assert raw.post(ENDPOINTS, json=body, headers=key).json() == made
    key = {"Idempotency-Key": uuid.uuid4().hex}
    path = f"{ENDPOINTS}/{made['id']}/rotate_secret"
    rotated = raw.post(path, json={}, headers=key).json()
    assert raw.post(path, json={}, headers=key).json() == rotated
    assert rotated["signing_secret"] != made["signing_secret"]
    for file in (hooked.data / "state").glob("cairn.db*"):
        stored = file.read_bytes()
        for secret in (made["signing_secret"], rotated["signing_secret"]):
            assert secret[6:].encode() not in stored, file
    raw.delete(f"{ENDPOINTS}/{made['id']}")


def background(sdk):
    made = sdk.responses.create(model=MODEL, input="Hello!", background=True, max_output_tokens=16)
    return made.id


def test_s106_background_response(sdk, raw, hook, endpoint):
    made = background(sdk)
    received, = hook.wait(1)
    event = sdk.webhooks.unwrap(received.body, received.headers, secret=endpoint.signing_secret)
    done = sdk.responses.retrieve(made)
    assert event.data.id == made and event.type == f"response.{done.status}"
    log = deliveries(raw, endpoint.id, "delivered")
    assert [d["event_id"] for d in log] == [event.id]
    assert log[0]["attempts"][0]["status_code"] == 204 and log[0]["attempt_count"] == 1


def test_s106_batch_completion(sdk, hook):
    made = sdk.webhooks.create(name="b", url=hook.url, event_types=["batch.completed", "batch.failed"])
    line = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions",
            "body": {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_completion_tokens": 4}}
    file = sdk.files.create(file=("in.jsonl", json.dumps(line).encode()), purpose="batch")
    batch = sdk.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    received, = hook.wait(1)
    event = sdk.webhooks.unwrap(received.body, received.headers, secret=made.signing_secret)
    assert (event.type, event.data.id) == ("batch.completed", batch.id)
    assert sdk.batches.retrieve(batch.id).status == "completed"
    sdk.webhooks.delete(made.id)


def test_s106_failure_is_retried_under_the_same_id(sdk, raw):
    with Hook([500, 503, 200]) as flaky:
        made = sdk.webhooks.create(name="flaky", url=flaky.url, event_types=["response.completed"])
        background(sdk)
        tries = flaky.wait(2)
        assert tries[0].headers["webhook-id"] == tries[1].headers["webhook-id"]
        assert tries[0].body == tries[1].body
        assert tries[0].headers["webhook-timestamp"] < tries[1].headers["webhook-timestamp"]
        assert all(verifies(sdk, one, made.signing_secret) for one in tries)
        pending, = deliveries(raw, made.id)
        assert pending["status"] == "pending" and pending["attempts"][0]["status_code"] == 500
        assert pending["next_attempt_at"] is not None
        flaky.wait(3)
        delivered, = deliveries(raw, made.id, "delivered")
        assert delivered["attempt_count"] == 3 and delivered["next_attempt_at"] is None
        sdk.webhooks.delete(made.id)


def test_s106_hanging_endpoint_holds_nobody(sdk, raw, hook, endpoint):
    with Hook(hold=120) as hanging:
        slow = sdk.webhooks.create(name="slow", url=hanging.url, event_types=["response.completed"])
        for _ in range(3):
            background(sdk)
        hanging.wait(3)
        hook.wait(3, seconds=10)
        newest = deliveries(raw, slow.id, "pending")[0]
        deadline = time.monotonic() + 40
        while not newest["attempts"] and time.monotonic() < deadline:
            time.sleep(0.5)
            newest = deliveries(raw, slow.id)[0]
        assert newest["attempts"][0]["status_code"] is None
        assert "timed out" in newest["attempts"][0]["error"].lower()
        sdk.webhooks.delete(slow.id)


def test_s106_delivery_survives_kill():
    server = Server(["--outbound-allow", "127.0.0.1"])
    try:
        server.start()
        with OpenAI(base_url=server.base_url, api_key=API_KEY, timeout=60, max_retries=0) as sdk:
            with Hook(hold=120) as hanging:
                port = hanging.port
                made = sdk.webhooks.create(name="k", url=hanging.url, event_types=["response.completed"])
                background(sdk)
                first, = hanging.wait(1)
                server.kill()
            with Hook() as open_again:
                assert port != open_again.port
                server.start()
                # Another secret, another place: the delivery goes where its endpoint is now.
                sdk.webhooks.update(made.id, url=open_again.url)
                received = open_again.wait(1)[0]
                assert received.headers["webhook-id"] == first.headers["webhook-id"]
                assert received.body == first.body
                assert verifies(sdk, received, made.signing_secret)
        server.terminate()
    finally:
        server.cleanup()
