"""Stored chat completions and pages: scenarios 88 and 89 of the conformance list."""
import uuid

import openai
import pytest
from openai import OpenAI

from cairn_server import MODEL
from support import chat_body, chat_chunks, check_error

CHAT = "/v1/chat/completions"


def store(wire, text="Hello!", **extra):
    reply = wire.post(CHAT, json=chat_body(text, store=True, **extra))
    assert reply.status_code == 200, reply.text
    return reply.json()


def check_gone(reply, completion):
    check_error(reply, 404, param=reply.json()["error"]["param"], message=completion)


@pytest.fixture
def tag():
    """A metadata value that only this test's completions carry."""
    return uuid.uuid4().hex


def test_s89_retrieve_update_delete(wire, client, tag):
    made = store(wire, metadata={"tag": tag}, temperature=0.5, seed=3)
    stored = wire.get(f"{CHAT}/{made['id']}").json()
    for key in ("id", "object", "created", "model", "choices", "usage", "system_fingerprint"):
        assert stored[key] == made[key], key
    assert stored["metadata"] == {"tag": tag}
    assert stored["temperature"] == 0.5 and stored["seed"] == 3
    assert stored["request_id"].startswith("req_")
    updated = client.chat.completions.update(made["id"], metadata={"tag": tag, "more": "yes"})
    assert updated.metadata == {"tag": tag, "more": "yes"}
    assert client.chat.completions.retrieve(made["id"]).metadata == {"tag": tag, "more": "yes"}
    deleted = client.chat.completions.delete(made["id"])
    assert deleted.deleted is True and deleted.id == made["id"]
    assert deleted.object == "chat.completion.deleted"
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.retrieve(made["id"])
    check_gone(wire.delete(f"{CHAT}/{made['id']}"), made["id"])
    check_gone(wire.get(f"{CHAT}/{made['id']}/messages"), made["id"])


def test_s89_update_clears_metadata_with_null(wire, tag):
    made = store(wire, metadata={"tag": tag})
    reply = wire.post(f"{CHAT}/{made['id']}", json={"metadata": None})
    assert reply.status_code == 200 and not reply.json()["metadata"]
    check_error(wire.post(f"{CHAT}/{made['id']}", json={}), 400, param="metadata",
                code="missing_required_parameter")
    reply = wire.post(f"{CHAT}/{made['id']}", json={"metadata": {"k": "v" * 513}})
    assert reply.status_code == 400 and reply.json()["error"]["param"].startswith("metadata")
    reply = wire.post(f"{CHAT}/{made['id']}", json={"metadata": {f"k{i}": "v" for i in range(17)}})
    assert reply.status_code == 400 and reply.json()["error"]["param"] == "metadata"


def test_s89_messages(wire, client):
    made = wire.post(CHAT, json={"model": MODEL, "store": True, "messages": [
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello!"},
        {"role": "assistant", "content": "Hi."}, {"role": "user", "content": "Bye!"}]}).json()
    page = wire.get(f"{CHAT}/{made['id']}/messages").json()
    assert page["object"] == "list" and page["has_more"] is False
    assert [message["role"] for message in page["data"]] == ["system", "user", "assistant", "user"]
    assert [message["id"] for message in page["data"]] == [f"{made['id']}-{i}" for i in range(4)]
    assert page["data"][1]["content"] == "Hello!"
    # The SDK's type knows only the role "assistant" here: not strict.
    with OpenAI(base_url=client.base_url, api_key=client.api_key) as relaxed:
        listed = [message.content for message in relaxed.chat.completions.messages.list(made["id"], limit=1)]
    assert listed == ["Be brief.", "Hello!", "Hi.", "Bye!"]


def test_s89_streamed_completions_are_stored_too(wire, tag):
    chunks = chat_chunks(wire, chat_body("Hello!", store=True, metadata={"tag": tag}))
    stored = wire.get(f"{CHAT}/{chunks[0]['id']}").json()
    text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    assert stored["choices"][0]["message"]["content"] == text and stored["metadata"] == {"tag": tag}


def test_s89_not_stored_by_default(wire):
    made = wire.post(CHAT, json=chat_body()).json()
    check_gone(wire.get(f"{CHAT}/{made['id']}"), made["id"])


def test_s89_list_filters(wire, client, tag):
    ids = [store(wire, f"Say {i}.", metadata={"tag": tag, "odd": str(i % 2)})["id"] for i in range(5)]
    page = wire.get(CHAT, params={"metadata[tag]": tag}).json()
    assert [row["id"] for row in page["data"]] == ids, "oldest first by default"
    assert page["first_id"] == ids[0] and page["last_id"] == ids[-1] and page["has_more"] is False
    odd = wire.get(CHAT, params={"metadata[tag]": tag, "metadata[odd]": "1", "model": MODEL}).json()
    assert [row["id"] for row in odd["data"]] == ids[1::2]
    assert wire.get(CHAT, params={"metadata[tag]": tag, "model": "other"}).json()["data"] == []
    empty = wire.get(CHAT, params={"metadata[tag]": "nobody"}).json()
    assert empty["data"] == [] and empty["has_more"] is False
    listed = [row.id for row in client.chat.completions.list(metadata={"tag": tag}, limit=2)]
    assert listed == ids
    newest = [row.id for row in client.chat.completions.list(metadata={"tag": tag}, order="desc", limit=2)]
    assert newest == ids[::-1]


@pytest.mark.parametrize("params, param", [
    ({"limit": 0}, "limit"), ({"limit": 101}, "limit"), ({"limit": "x"}, "limit"), ({"limit": -1}, "limit"),
    ({"order": "up"}, "order"), ({"limit": "99999999999999999999"}, "limit")])
def test_s88_limits_and_order(wire, params, param):
    reply = wire.get(CHAT, params=params)
    assert reply.status_code == 400, reply.text[:300]
    assert reply.json()["error"]["param"] == param
    made = wire.post("/v1/responses", json={"model": MODEL, "input": "Hello!"}).json()
    reply = wire.get(f"/v1/responses/{made['id']}/input_items", params=params)
    assert reply.status_code == 400 and reply.json()["error"]["param"] == param


def test_s88_unknown_cursor(wire):
    for after in ("chatcmpl-unknown", "x", ""):
        reply = wire.get(CHAT, params={"after": after})
        assert reply.status_code in ((400, 404) if after else (200, 400, 404)), reply.text[:300]


def test_s88_pages_neither_skip_nor_repeat(wire, tag):
    ids = [store(wire, "Hello!", metadata={"tag": tag}, max_completion_tokens=1)["id"] for _ in range(7)]
    for order, expected in (("asc", ids), ("desc", ids[::-1])):
        for limit in (1, 2, 3, 7, 100):
            seen, after = [], None
            while True:
                params = {"metadata[tag]": tag, "order": order, "limit": limit}
                if after:
                    params["after"] = after
                page = wire.get(CHAT, params=params).json()
                assert len(page["data"]) <= limit
                seen += [row["id"] for row in page["data"]]
                if not page["has_more"]:
                    break
                after = page["last_id"]
            assert seen == expected, (order, limit)


def test_s88_inserts_while_paging(wire, tag):
    first = [store(wire, metadata={"tag": tag}, max_completion_tokens=1)["id"] for _ in range(4)]
    page = wire.get(CHAT, params={"metadata[tag]": tag, "limit": 2, "order": "desc"}).json()
    store(wire, metadata={"tag": tag}, max_completion_tokens=1)
    rest = wire.get(CHAT, params={"metadata[tag]": tag, "limit": 10, "order": "desc",
                                  "after": page["last_id"]}).json()
    assert [row["id"] for row in page["data"] + rest["data"]] == first[::-1]


def test_s89_list_by_an_alias_of_the_model(wire, tag):
    made = store(wire, model="gpt-4o", metadata={"tag": tag})
    for model in ("gpt-4o", MODEL):
        page = wire.get(CHAT, params={"model": model, "metadata[tag]": tag}).json()
        assert [item["id"] for item in page["data"]] == [made["id"]], model
    page = wire.get(CHAT, params={"model": "no-such-model", "metadata[tag]": tag}).json()
    assert page["data"] == [] and page["has_more"] is False
