"""No tenant sees another's ids, for every served operation that takes one.

The operations, their path parameters and the ids in their bodies and queries come from the contract. Each is called
with another project's key and the id of a real object, and must answer exactly as for an id that never was. An
operation with an id that this file cannot make fails the test: whoever serves a new family adds a maker.
"""
import json
import re
import subprocess
import time

import httpx
import openai
import pytest

from cairn_server import ADMIN_KEY, API_KEY, MODEL, ROOT, Server, binary

OPERATIONS = [op for op in json.loads(subprocess.run([binary(), "coverage", "--json"], capture_output=True, text=True,
                                                     check=True).stdout) if op["served"]]
EXAMPLES = {}
for example in json.loads((ROOT / "tests" / "contract_negative" / "examples.json").read_text()):
    EXAMPLES.setdefault(example["operation"], example.get("body"))

SHARED = {"model"}  # path parameters that name what all projects share
ID_FIELD = re.compile(r"(^|_)ids?$")


class Makers:
    """Objects of the first project, one of each kind, made when they are asked for."""

    def __init__(self, server):
        self.client = openai.OpenAI(base_url=server.base_url, api_key=API_KEY, timeout=300)
        self.made = {}

    def get(self, name, path=""):
        """A real id for a path parameter or a field; None when no maker is known."""
        family = path.split("/")[1] if path else ""
        maker = getattr(self, f"{family.replace('-', '_')}_{name}", None) or getattr(self, name, None)
        if maker is None:
            return None
        key = maker.__name__
        if key not in self.made:
            self.made[key] = maker()
        return self.made[key]

    def file_id(self):
        return self.client.files.create(file=("own.txt", b"own words\n"), purpose="user_data").id

    def input_file_id(self):
        line = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions",
                "body": {"model": MODEL, "messages": [{"role": "user", "content": "Hello!"}]}}
        return self.client.files.create(file=("own.jsonl", json.dumps(line).encode()), purpose="batch").id

    def upload_id(self):
        return self.client.uploads.create(filename="own.txt", bytes=3, mime_type="text/plain", purpose="user_data").id

    def part_ids(self):
        return [self.client.uploads.parts.create(self.get("upload_id"), data=b"own").id]

    def batch_id(self):
        return self.client.batches.create(input_file_id=self.get("input_file_id"), endpoint="/v1/chat/completions",
                                          completion_window="24h").id

    def conversation_id(self):
        return self.client.conversations.create(items=[{"role": "user", "content": "own words"}]).id

    def conversations_item_id(self):
        return self.client.conversations.items.list(self.get("conversation_id")).data[0].id

    def response_id(self):
        made = self.client.responses.create(model=MODEL, input="Hello!", background=True)
        return made.id

    def previous_response_id(self):
        return self.client.responses.create(model=MODEL, input="Hello!", max_output_tokens=16).id

    def item_reference_id(self):
        return self.client.responses.retrieve(self.get("previous_response_id")).output[0].id

    def completion_id(self):
        return self.client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Hello!"}],
                                                   store=True, max_completion_tokens=4).id

    def webhook_endpoint_id(self):
        return self.client.post("/webhook_endpoints", cast_to=object, body={
            "name": "own", "url": "https://example.com/hook", "event_types": ["response.completed"]})["id"]


@pytest.fixture(scope="module")
def tenants():
    """A server with two projects: makers in the first, raw HTTP of both."""
    with Server() as server:
        other = subprocess.run([binary(), "keys", "create", "--new-project", "Others", *server.where],
                               capture_output=True, text=True, check=True).stdout.strip()
        with (httpx.Client(base_url=server.base_url, headers={"Authorization": f"Bearer {API_KEY}"}, timeout=300) as own,
              httpx.Client(base_url=server.base_url, headers={"Authorization": f"Bearer {other}"}, timeout=300) as foreign):
            for _ in range(200):  # the running server sees a new key within a second
                if foreign.get("/models").status_code == 200:
                    break
                time.sleep(0.05)
            yield Makers(server), own, foreign


def unknown(real):
    """An id of the same form that never was."""
    if isinstance(real, list):
        return [unknown(one) for one in real]
    prefix, _, rest = real.rpartition("_" if "_" in real else "-")
    return f"{prefix}{real[len(prefix)]}{'0' * len(rest)}"


def answer(client, op, path, body=None, query=None, ids=()):
    """Status and body, with what tells one request from another taken out."""
    url = re.sub(r"\{(\w+)\}", lambda m: path[m.group(1)], op["path"])
    files = {"data": ("part", b"foreign bytes")} if op["id"] == "addUploadPart" else None
    reply = client.request(op["method"], url, json=body, files=files, params=query)
    text = reply.text
    for i, one in enumerate(ids):
        text = text.replace(one, f"<id {i}>")
    return reply.status_code, text


def flat(value):
    return value if isinstance(value, list) else [value]


def with_path_ids():
    return [op for op in OPERATIONS if set(re.findall(r"\{(\w+)\}", op["path"])) - SHARED
            and op["security"] == "project"]


@pytest.mark.parametrize("op", with_path_ids(), ids=lambda op: op["id"])
def test_foreign_path_ids_are_unknown_ids(tenants, op):
    makers, own, foreign = tenants
    real = {name: makers.get(name, op["path"]) for name in re.findall(r"\{(\w+)\}", op["path"])}
    missing = [name for name, value in real.items() if value is None]
    assert not missing, f"add a maker for {missing} of {op['path']}"
    fake = {name: unknown(value) for name, value in real.items()}
    body = EXAMPLES.get(op["id"])
    got = answer(foreign, op, real, body, ids=list(real.values()))
    want = answer(foreign, op, fake, body, ids=list(fake.values()))
    assert got[0] in (400, 404), f"{op['id']}: {got}"
    assert got == want
    if op["method"] == "GET":
        assert answer(own, op, real)[0] == 200, f"{op['id']}: the owner cannot see it either"


def test_foreign_calls_changed_nothing(tenants):
    """After all of the above the objects are there, for their owner."""
    makers, own, _ = tenants
    for op in with_path_ids():
        if op["method"] == "GET" and op["path"].endswith("}"):
            real = {name: makers.get(name, op["path"]) for name in re.findall(r"\{(\w+)\}", op["path"])}
            assert answer(own, op, real)[0] == 200, op["id"]


# ---- ids in bodies ----

BODIES = {
    ("createResponse", "previous_response_id"): lambda m: {"previous_response_id": m.get("previous_response_id")},
    ("createResponse", "conversation.id"): lambda m: {"conversation": {"id": m.get("conversation_id")}},
    ("createResponse", "conversation"): lambda m: {"conversation": m.get("conversation_id")},
    ("createResponse", "input[].id"): lambda m: {"input": [{"type": "item_reference", "id": m.get("item_reference_id")}]},
    ("Getinputtokencounts", "previous_response_id"): lambda m: {"previous_response_id": m.get("previous_response_id")},
    ("Getinputtokencounts", "conversation.id"): lambda m: {"conversation": {"id": m.get("conversation_id")}},
    ("Getinputtokencounts", "input[].id"):
        lambda m: {"input": [{"type": "item_reference", "id": m.get("item_reference_id")}]},
    ("Compactconversation", "previous_response_id"): lambda m: {"previous_response_id": m.get("previous_response_id")},
    ("Compactconversation", "input[].id"):
        lambda m: {"input": [{"type": "item_reference", "id": m.get("item_reference_id")}]},
    ("createConversation", "items[].id"): lambda m: {"items": [{"type": "item_reference", "id": m.get("item_reference_id")}]},
    ("createBatch", "input_file_id"): lambda m: {"input_file_id": m.get("input_file_id")},
}
# Ids that name nothing of a project: of a call within the same request, of hosted tools that are refused, ...
NO_TENANT = re.compile(r"(caller_id|annotations\[\]\.\w+|results\[\]\.file_id|tool_calls\[\]\.id|call_id|custom_id|approval_request_id|connector_id|tunnel_id|container_id|safety_checks\[\]\.id|"
                       r"output\.file_id|content\[\]\.file_id|file_ids|vector_store_ids|mask\.file_id|voice\.id|audio\.id|"
                       r"prompt\.id|user_id|items\[\]\.id|file\.file_id|skill_id|output\[\]\.file_id)$")


def served_bodies(server):
    """(operation, dotted path) of each id in the JSON bodies of served operations, by the served contract."""
    facts = httpx.get(server.url + "/openapi.json").json()
    served = {op["id"] for op in OPERATIONS}
    found = set()

    def walk(schema, at, operation, inside):
        if "$ref" in schema:
            name = schema["$ref"].rsplit("/", 1)[1]
            if name not in inside:
                walk(facts["components"]["schemas"][name], at, operation, inside | {name})
            return
        for name, field in schema.get("properties", {}).items():
            here = f"{at}.{name}" if at else name
            if ID_FIELD.search(name):
                found.add((operation, here))
            walk(field, here, operation, inside)
        for part in schema.get("allOf", []) + schema.get("anyOf", []) + schema.get("oneOf", []):
            walk(part, at, operation, inside)
        if isinstance(schema.get("items"), dict):
            walk(schema["items"], at + "[]", operation, inside)

    for methods in facts["paths"].values():
        for op in methods.values():
            if isinstance(op, dict) and op.get("operationId") in served:
                for media in op.get("requestBody", {}).get("content", {}).values():
                    walk(media.get("schema", {}), "", op["operationId"], frozenset())
    return found


def test_every_id_in_a_body_is_covered(server):
    paths = {op["id"]: op["path"] for op in OPERATIONS}
    uncovered = sorted((operation, field) for operation, field in served_bodies(server)
                       if (operation, field) not in BODIES and not NO_TENANT.search(field)
                       and not (operation == "completeUpload" and field == "part_ids"))
    assert not uncovered, f"add a body for {[(paths[op], field) for op, field in uncovered]}"


@pytest.mark.parametrize("operation,field", [case for case in BODIES if case[0] in {op["id"] for op in OPERATIONS}],
                         ids=lambda value: value)
def test_foreign_body_ids_are_unknown_ids(tenants, operation, field):
    makers, _, foreign = tenants
    op = next(one for one in OPERATIONS if one["id"] == operation)
    base = {"createBatch": {"endpoint": "/v1/chat/completions", "completion_window": "24h"},
            "createConversation": {}}.get(operation, {"model": MODEL, "input": "Hello!"})
    real = {**base, **BODIES[operation, field](makers)}
    ids = [one for one in re.findall(r'"((?:resp|conv|msg|file)[_-]\w{8,})"', json.dumps(real))]
    assert ids
    text = json.dumps(real)
    for one in ids:
        text = text.replace(one, unknown(one))
    got = answer(foreign, op, {}, real, ids=ids)
    want = answer(foreign, op, {}, json.loads(text), ids=[unknown(one) for one in ids])
    assert got[0] in (400, 404), got
    assert got == want


def test_foreign_parts_are_unknown_parts(tenants):
    if not any(op["id"] == "completeUpload" for op in OPERATIONS):
        pytest.skip("uploads are not served yet")
    makers, _, foreign = tenants
    parts = makers.get("part_ids")
    mine = foreign.post("/uploads", json={"filename": "x.txt", "bytes": 3, "mime_type": "text/plain",
                                          "purpose": "user_data"}).json()["id"]
    path = f"/uploads/{mine}/complete"
    got = foreign.post(path, json={"part_ids": parts})
    want = foreign.post(path, json={"part_ids": unknown(parts)})
    assert got.status_code == want.status_code == 400 or got.status_code == want.status_code == 404
    assert got.text.replace(parts[0], "") == want.text.replace(unknown(parts[0]), "")


# ---- cursors ----

def lists():
    return [op for op in OPERATIONS if op["method"] == "GET" and op["security"] == "project"
            and not op["path"].endswith("}") and not op["path"].endswith("/content")]


CURSORS = {"listFiles": "file_id", "listBatches": "batch_id", "listChatCompletions": "completion_id",
           "listWebhookEndpoints": "webhook_endpoint_id"}


@pytest.mark.parametrize("op", [op for op in lists() if op["id"] in CURSORS], ids=lambda op: op["id"])
def test_foreign_cursors_are_unknown_cursors(tenants, op):
    makers, own, foreign = tenants
    real = makers.get(CURSORS[op["id"]])
    got = answer(foreign, op, {}, query={"after": real}, ids=[real])
    want = answer(foreign, op, {}, query={"after": unknown(real)}, ids=[unknown(real)])
    assert got == want and got[0] in (400, 404)
    assert answer(own, op, {}, query={"after": real})[0] == 200


@pytest.mark.parametrize("op", [op for op in lists() if op["id"] in CURSORS], ids=lambda op: op["id"])
def test_lists_show_own_objects_only(tenants, op):
    makers, own, foreign = tenants
    real = makers.get(CURSORS[op["id"]])
    assert real in own.get(op["path"]).text
    assert real not in foreign.get(op["path"]).text


# ---- keys ----

@pytest.mark.parametrize("op", [op for op in OPERATIONS if op["security"] == "project"], ids=lambda op: op["id"])
def test_admin_keys_call_no_project_operation(tenants, op):
    """An admin key sees no project's objects, whatever it asks for."""
    _, own, _ = tenants
    url = re.sub(r"\{\w+\}", "x", op["path"])
    reply = own.request(op["method"], url, headers={"Authorization": f"Bearer {ADMIN_KEY}"})
    assert reply.status_code == 403 and reply.json()["error"]["code"] == "missing_scope"
