"""What a server does that has more work than places: scenario 18 of the conformance list, and tiers of service."""
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from openai import OpenAI

from cairn_server import API_KEY, Server, http_json
from support import check_error, chat_body, endless, long_body

CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def narrow():
    """A server with one place and a queue of two."""
    with Server(["--batch", "1", "--queue", "2"]) as running:
        yield running


def test_s18_a_full_queue_says_when_to_come_back(narrow):
    """Of many requests at once some are turned away, and told when to try again."""
    headers = {"Authorization": f"Bearer {API_KEY}"}
    with httpx.Client(base_url=narrow.url, headers=headers, timeout=120) as wire:
        with ThreadPoolExecutor(24) as pool:
            replies = list(pool.map(lambda i: wire.post(CHAT, json=long_body(400, stream=i % 2 == 1)), range(24)))
    refused = [reply for reply in replies if reply.status_code != 200]
    assert refused and len(refused) < len(replies)
    for reply in refused:
        check_error(reply, 503, type_="server_error", code="overloaded")
        assert 0 < float(reply.headers["retry-after-ms"]) <= 60_000 and int(reply.headers["retry-after"]) >= 1
    with OpenAI(base_url=narrow.base_url, api_key=API_KEY) as client:
        assert client.chat.completions.create(**chat_body()).choices, "places are free again"


def test_s70_the_tier_that_served_is_told(narrow):
    for asked, served in (("auto", "default"), ("default", "default"), ("flex", "flex"), ("priority", "priority"),
                          ("fast", "priority")):
        for path, body in ((CHAT, chat_body(max_completion_tokens=2)),
                           ("/v1/responses", {"model": "cairn-tiny", "input": "Hello!", "max_output_tokens": 16})):
            status, _, made = http_json("POST", narrow.url + path, {**body, "service_tier": asked})
            assert status == 200 and made["service_tier"] == served, (asked, made)
    status, _, error = http_json("POST", narrow.url + CHAT, chat_body(service_tier="gold"))
    assert status == 400 and error["error"]["param"] == "service_tier"


# ---- prediction ----

def test_prediction_changes_nothing_but_the_speed(narrow):
    base = chat_body("Write a one-sentence bedtime story about a unicorn.", max_tokens=60, logit_bias=endless())
    status, _, plain = http_json("POST", narrow.url + CHAT, base)
    assert status == 200
    text = plain["choices"][0]["message"]["content"]
    for said in (text, [{"type": "text", "text": text[:40]}, {"type": "text", "text": text[40:]}], "Quite another text."):
        status, _, made = http_json("POST", narrow.url + CHAT, {**base, "prediction": {"type": "content", "content": said}})
        assert status == 200, made
        assert made["choices"][0]["message"]["content"] == text
        details = made["usage"]["completion_tokens_details"]
        accepted, rejected = details["accepted_prediction_tokens"], details["rejected_prediction_tokens"]
        assert made["usage"]["completion_tokens"] == plain["usage"]["completion_tokens"]
        if said != "Quite another text.":
            assert accepted > 30, details
        else:
            assert accepted <= 5 and rejected >= 0, details
    assert plain["usage"]["completion_tokens_details"]["accepted_prediction_tokens"] == 0
