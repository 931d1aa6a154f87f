"""Every list that is served, walked by the official SDK while objects are added to it: scenario 73 of the conformance
list. A family is a row of the table."""
import itertools
import json
import threading
from dataclasses import dataclass
from typing import Callable

import pytest
from openai import OpenAI

from cairn_server import API_KEY, MODEL, Server
from support import user

OBJECTS = 11
PAGE = 3


@dataclass
class Family:
    """What is listed is made below `parent`, when there is one: an object that is made first."""
    make: Callable    # (client, parent, number) -> the id of a new object, or None when lists only grow by others
    list: Callable    # (client, parent, **params) -> an iterable of the SDK over all pages
    parent: Callable = lambda client: None
    fixed: Callable = None  # (client, parent) -> ids that are there from the start
    orders: tuple = ("asc", "desc")


def chat(client, _, number):
    return client.chat.completions.create(model=MODEL, messages=user(f"Say {number}"), store=True,
                                          max_completion_tokens=1).id


def stored_chat(client):
    return client.chat.completions.create(
        model=MODEL, store=True, max_completion_tokens=1, messages=[
            {"role": ("user", "assistant")[i % 2], "content": f"m{i}"} for i in range(OBJECTS)])


def response(client):
    return client.responses.create(model=MODEL, max_output_tokens=16, truncation="auto", input=[
        {"role": "user", "content": f"m{i}"} for i in range(OBJECTS)])


def batch(client, _, number):
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions",
            "body": {"model": MODEL, "messages": user(f"Say {number}"), "max_completion_tokens": 1}}
    file = client.files.create(file=("in.jsonl", json.dumps(line).encode()), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions",
                                 completion_window="24h").id


def item(client, conversation, number):
    return client.conversations.items.create(conversation.id, items=[
        {"type": "message", "role": "user", "content": f"m{number}"}]).data[0].id


FAMILIES = {
    "chat completions": Family(chat, lambda client, _, **params: client.chat.completions.list(**params)),
    "chat completion messages": Family(
        None, lambda client, made, **params: client.chat.completions.messages.list(made.id, **params),
        stored_chat, lambda client, made: [f"{made.id}-{i}" for i in range(OBJECTS)]),
    "input items": Family(
        None, lambda client, made, **params: client.responses.input_items.list(made.id, **params), response,
        lambda client, made: [i.id for i in client.responses.input_items.list(made.id, limit=100, order="asc").data]),
    "conversation items": Family(
        item, lambda client, made, **params: client.conversations.items.list(made.id, **params),
        lambda client: client.conversations.create()),
    "files": Family(lambda client, _, number: client.files.create(file=b"x", purpose="user_data").id,
                    lambda client, _, **params: client.files.list(**params)),
    "batches": Family(batch, lambda client, _, **params: client.batches.list(**params), orders=(None,)),
}


@pytest.fixture(scope="module")
def client():
    """A server of its own: the lists have nothing else in them. The client is not the strict one: in its types a
    stored message can only be the assistant's."""
    with Server() as server, OpenAI(base_url=server.base_url, api_key=API_KEY, timeout=120) as made:
        yield made


class Adding:
    """Adds objects to a list until it is left."""

    def __init__(self, client, family, parent):
        self.add, self.over = (lambda number: family.make(client, parent, number)), threading.Event()
        self.thread = threading.Thread(target=self.run) if family.make else None
        self.failed = None

    def run(self):
        try:
            for number in itertools.count(1000):
                if self.over.is_set():
                    break
                self.add(number)
        except Exception as error:  # noqa: BLE001 - told to the test
            self.failed = error

    def __enter__(self):
        if self.thread:
            self.thread.start()

    def __exit__(self, *_):
        self.over.set()
        if self.thread:
            self.thread.join()
        assert self.failed is None, self.failed


@pytest.mark.parametrize("name", FAMILIES)
def test_s73_every_object_once_under_inserts(client, name):
    family = FAMILIES[name]
    parent = family.parent(client)
    ids = family.fixed(client, parent) if family.fixed else [family.make(client, parent, i) for i in range(OBJECTS)]
    assert len(set(ids)) == OBJECTS
    for order in family.orders:
        params = {"order": order} if order else {}
        seen = [made.id for made in family.list(client, parent, limit=PAGE, **params)]
        known = set(ids)
        assert [id_ for id_ in seen if id_ in known] == (ids if order == "asc" else ids[::-1])
    with Adding(client, family, parent):
        for order in family.orders:
            params = {"order": order} if order else {}
            seen, late = [], 0
            for made in family.list(client, parent, limit=PAGE, **params):
                seen.append(made.id)
                late += made.id not in known
                if late > 3 * OBJECTS:  # upwards the list grows as long as we read
                    break
            assert len(seen) == len(set(seen))
            assert [id_ for id_ in seen if id_ in known] == (ids if order == "asc" else ids[::-1])


@pytest.mark.parametrize("name", FAMILIES)
def test_s73_ends(client, name):
    family = FAMILIES[name]
    parent = family.parent(client)
    ids = family.fixed(client, parent) if family.fixed else [family.make(client, parent, i) for i in range(4)]
    page = family.list(client, parent, limit=100)
    whole = [made.id for made in page]
    assert set(ids) <= set(whole) and len(whole) == len(set(whole))
    exact = family.list(client, parent, limit=len(whole)) if len(whole) <= 100 else None
    if exact is not None:
        assert exact.has_more is False and not exact.has_next_page()
