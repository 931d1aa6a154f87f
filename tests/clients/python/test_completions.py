"""Legacy completions: scenario 118 of the conformance list."""
import pytest
from openai import OpenAI

from cairn_server import MODEL
from support import check_error, endless, post_stream

COMPLETIONS = "/v1/completions"


def body(prompt="Once upon a time", **extra):
    return {"model": MODEL, "prompt": prompt, "temperature": 0, "seed": 1, "max_tokens": 8,
            "logit_bias": endless(), **extra}


def test_s118_shape(wire, client):
    made = wire.post(COMPLETIONS, json=body()).json()
    assert made["id"].startswith("cmpl-") and made["object"] == "text_completion"
    choice, = made["choices"]
    assert choice["index"] == 0 and choice["logprobs"] is None and choice["finish_reason"] == "length"
    assert made["usage"]["completion_tokens"] == 8
    assert client.completions.create(**body()).choices[0].text == choice["text"]
    default = wire.post(COMPLETIONS, json={"model": MODEL, "prompt": "x", "logit_bias": endless()}).json()
    assert default["usage"]["completion_tokens"] == 16


def test_s118_stream_equals_whole(wire, client):
    whole = wire.post(COMPLETIONS, json=body()).json()["choices"][0]
    _, frames = post_stream(wire, COMPLETIONS, body(stream=True))
    assert frames[-1].data == "[DONE]" and all(frame.event is None for frame in frames)
    chunks = [frame.json for frame in frames[:-1]]
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert all(chunk["object"] == "text_completion" for chunk in chunks)
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == whole["text"]
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert reasons[-1] == "length" and not any(reasons[:-1])
    _, frames = post_stream(wire, COMPLETIONS, body(stream=True, stream_options={"include_usage": True}))
    assert frames[-2].json["choices"] == [] and frames[-2].json["usage"]["completion_tokens"] == 8
    # The SDK's type says that finish_reason is always set, the API sends null until the end: not strict here.
    with OpenAI(base_url=client.base_url, api_key=client.api_key) as relaxed:
        streamed = relaxed.completions.create(**body(), stream=True)
        assert "".join(chunk.choices[0].text for chunk in streamed) == whole["text"]


def test_s118_echo(wire):
    plain = wire.post(COMPLETIONS, json=body()).json()["choices"][0]["text"]
    echoed = wire.post(COMPLETIONS, json=body(echo=True)).json()["choices"][0]["text"]
    assert echoed == "Once upon a time" + plain
    only = wire.post(COMPLETIONS, json=body(echo=True, max_tokens=0))
    assert only.status_code == 200, only.text
    assert only.json()["choices"][0]["text"] == "Once upon a time"


def check_logprobs(choice, text, top):
    logprobs = choice["logprobs"]
    assert set(logprobs) == {"tokens", "token_logprobs", "top_logprobs", "text_offset"}
    sizes = {len(logprobs[key]) for key in logprobs}
    assert len(sizes) == 1
    assert "".join(logprobs["tokens"]) == text
    offset = 0
    for token, at in zip(logprobs["tokens"], logprobs["text_offset"]):
        assert at == offset
        offset += len(token)
    for token, value, tops in list(zip(logprobs["tokens"], logprobs["token_logprobs"], logprobs["top_logprobs"]))[1:]:
        assert value <= 0 and 1 <= len(tops) <= top + 1
        assert tops[token] == value, "the chosen token is always among them"


def test_s118_logprobs(wire):
    choice = wire.post(COMPLETIONS, json=body(logprobs=3)).json()["choices"][0]
    check_logprobs(choice, choice["text"], 3)
    assert all(isinstance(value, float) for value in choice["logprobs"]["token_logprobs"])
    echoed = wire.post(COMPLETIONS, json=body(logprobs=2, echo=True)).json()["choices"][0]
    check_logprobs(echoed, echoed["text"], 2)
    assert echoed["logprobs"]["token_logprobs"][0] is None and echoed["logprobs"]["top_logprobs"][0] is None
    unlikely = wire.post(COMPLETIONS, json=body(logprobs=1, temperature=2)).json()["choices"][0]["logprobs"]
    assert all(token in tops for token, tops in zip(unlikely["tokens"], unlikely["top_logprobs"]))
    assert wire.post(COMPLETIONS, json=body(logprobs=6)).json()["error"]["param"] == "logprobs"


def test_s34_a_huge_limit_is_no_small_one(wire):
    made = wire.post(COMPLETIONS, json=body(max_tokens=2 ** 32 + 2)).json()
    assert made["usage"]["completion_tokens"] > 2


def test_s118_prompt_forms(wire):
    several = wire.post(COMPLETIONS, json=body(["Once upon a time", "Hello"], n=2)).json()
    assert [choice["index"] for choice in several["choices"]] == [0, 1, 2, 3]
    one = wire.post(COMPLETIONS, json=body("Once upon a time")).json()["choices"][0]["text"]
    assert several["choices"][0]["text"] == several["choices"][1]["text"] == one
    tokens = wire.post(COMPLETIONS, json=body([50, 51, 52])).json()
    assert len(tokens["choices"]) == 1 and tokens["usage"]["prompt_tokens"] == 3
    lists = wire.post(COMPLETIONS, json=body([[50, 51, 52], [60]])).json()
    assert len(lists["choices"]) == 2 and lists["usage"]["prompt_tokens"] == 4
    assert lists["choices"][0]["text"] == tokens["choices"][0]["text"]
    for bad in ([10 ** 8], [-1], [[]], [1.5], 7, ["a", 1]):
        reply = wire.post(COMPLETIONS, json=body(bad))
        assert reply.status_code == 400, (bad, reply.text)
        assert reply.json()["error"]["param"].startswith("prompt"), (bad, reply.text)


def test_s118_stop_and_null(wire):
    text = wire.post(COMPLETIONS, json=body(max_tokens=40)).json()["choices"][0]["text"]
    stop = text[5:8]
    made = wire.post(COMPLETIONS, json=body(max_tokens=40, stop=stop)).json()["choices"][0]
    assert made["text"] == text[:text.index(stop)] and made["finish_reason"] == "stop"
    nulls = dict.fromkeys(["stop", "n", "best_of", "echo", "logprobs", "suffix", "user", "stream",
                           "presence_penalty", "frequency_penalty", "top_p"])
    assert wire.post(COMPLETIONS, json=body(**nulls)).status_code == 200


def test_s118_best_of(wire):
    made = wire.post(COMPLETIONS, json=body(n=2, best_of=4, temperature=1)).json()
    assert len(made["choices"]) == 2
    assert made["usage"]["completion_tokens"] == 4 * 8, "all candidates are counted"
    reply = wire.post(COMPLETIONS, json=body(n=3, best_of=2))
    check_error(reply, 400, param="best_of", code=reply.json()["error"]["code"])
    reply = wire.post(COMPLETIONS, json=body(best_of=2, stream=True))
    check_error(reply, 400, param=reply.json()["error"]["param"], code=reply.json()["error"]["code"])


def test_s118_suffix_is_refused_clearly(wire):
    reply = wire.post(COMPLETIONS, json=body(suffix="The end."))
    check_error(reply, 400, param="suffix", code=reply.json()["error"]["code"], message="suffix")


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-5"])
def test_s118_aliases(wire, model):
    assert wire.post(COMPLETIONS, json={**body(), "model": model}).status_code == 200


def test_s118_stream_of_several(wire):
    _, frames = post_stream(wire, COMPLETIONS, body(["Hello", "Bye"], n=2, stream=True))
    texts = {}
    for frame in frames[:-1]:
        for choice in frame.json["choices"]:
            texts[choice["index"]] = texts.get(choice["index"], "") + choice["text"]
    whole = wire.post(COMPLETIONS, json=body(["Hello", "Bye"], n=2)).json()["choices"]
    assert texts == {choice["index"]: choice["text"] for choice in whole}
