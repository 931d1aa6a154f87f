"""Models and embeddings: scenarios 15-17 of the conformance list."""
import base64
import math
import struct

import openai
import pytest
from openai import OpenAI

from cairn_server import API_KEY, MODEL
from support import check_error

EMBEDDINGS = "/v1/embeddings"
EMBEDDER = "text-embedding-3-small"


def vector(text):
    raw = base64.b64decode(text)
    return list(struct.unpack(f"<{len(raw) // 4}f", raw))


def norm(values):
    return math.sqrt(sum(v * v for v in values))


def close(a, b, tolerance=1e-5):
    return len(a) == len(b) and all(abs(x - y) <= tolerance for x, y in zip(a, b))


def test_s15_models(wire, client):
    body = wire.get("/v1/models").json()
    assert body["object"] == "list"
    for model in body["data"]:
        assert set(model) >= {"id", "object", "created", "owned_by"}
        assert model["object"] == "model" and type(model["created"]) is int
    assert MODEL in [model["id"] for model in body["data"]]
    assert MODEL in [model.id for model in client.models.list()]
    assert client.models.retrieve(MODEL).id == MODEL
    assert wire.get(f"/v1/models/{MODEL}").json() in body["data"]


@pytest.mark.parametrize("name", ["ft:gpt-4o:org:suffix:abc123", "org%2Fname", "a.b-c_d", "caf%C3%A9"])
def test_s15_odd_model_names_reach_the_lookup(wire, name):
    reply = wire.get(f"/v1/models/{name}")
    error = check_error(reply, 404, code="model_not_found", param=reply.json()["error"]["param"])
    assert name.replace("%2F", "/").replace("%C3%A9", "é") in error["message"]


def test_s15_deleting_a_built_in_model_is_refused(wire):
    assert wire.delete(f"/v1/models/{MODEL}").status_code in (400, 403, 404, 501)


def test_s16_base64_equals_float(wire):
    inputs = ["The cat sat on the mat.", "Stock prices fell.", "A cat was sitting on a mat."]
    plain = wire.post(EMBEDDINGS, json={"model": EMBEDDER, "input": inputs, "encoding_format": "float"}).json()
    coded = wire.post(EMBEDDINGS, json={"model": EMBEDDER, "input": inputs, "encoding_format": "base64"}).json()
    assert plain["object"] == "list"
    assert [row["index"] for row in plain["data"]] == [0, 1, 2]
    for a, b in zip(plain["data"], coded["data"]):
        assert a["object"] == b["object"] == "embedding"
        assert close(a["embedding"], vector(b["embedding"]))
        assert abs(norm(a["embedding"]) - 1) < 1e-3
    assert plain["usage"]["prompt_tokens"] == plain["usage"]["total_tokens"] > 0
    one = wire.post(EMBEDDINGS, json={"model": EMBEDDER, "input": inputs[1]}).json()
    assert close(one["data"][0]["embedding"], plain["data"][1]["embedding"], 1e-3)


def test_s16_tokens_are_an_input(wire):
    one = wire.post(EMBEDDINGS, json={"model": EMBEDDER, "input": [30, 31, 32]})
    many = wire.post(EMBEDDINGS, json={"model": EMBEDDER, "input": [[30, 31, 32], [40, 41]]})
    assert one.status_code == 200 and many.status_code == 200, many.text
    assert close(one.json()["data"][0]["embedding"], many.json()["data"][0]["embedding"], 1e-3)
    assert len(many.json()["data"]) == 2
    assert many.json()["usage"]["prompt_tokens"] == 5


def test_s16_dimensions_are_cut_and_normalised(wire):
    full = wire.post(EMBEDDINGS, json={"model": EMBEDDER, "input": "hello"}).json()["data"][0]["embedding"]
    cut = wire.post(EMBEDDINGS, json={"model": EMBEDDER, "input": "hello", "dimensions": 16}).json()
    short = cut["data"][0]["embedding"]
    assert len(short) == 16 and abs(norm(short) - 1) < 1e-3
    scale = norm(full[:16])
    assert close(short, [v / scale for v in full[:16]], 1e-4)
    reply = wire.post(EMBEDDINGS, json={"model": EMBEDDER, "input": "hello", "dimensions": len(full) + 1})
    assert reply.status_code == 400 and reply.json()["error"]["param"] == "dimensions"


@pytest.mark.parametrize("bad", ["", [], [""], ["a", ""], [[]], 5, {"a": 1}, [1.5], [-1], [10 ** 9], [["a"]],
                                 ["x"] * 2049, None, True])
def test_s16_bad_inputs(wire, bad):
    reply = wire.post(EMBEDDINGS, json={"model": EMBEDDER, "input": bad})
    assert reply.status_code == 400, reply.text[:300]
    assert reply.json()["error"]["param"].startswith("input"), reply.text[:300]


def test_s16_too_long_and_bad_format(wire):
    reply = wire.post(EMBEDDINGS, json={"model": EMBEDDER, "input": "word " * 20000})
    assert reply.status_code == 400, reply.text[:300]
    check_error(wire.post(EMBEDDINGS, json={"model": EMBEDDER, "input": "x", "encoding_format": "hex"}), 400,
                param="encoding_format", code="invalid_value")


@pytest.fixture(scope="module")
def relaxed(server):
    """Strict validation looks at the base64 text before the SDK has decoded it: its own default cannot pass."""
    with OpenAI(base_url=server.base_url, api_key=API_KEY) as made:
        yield made


def test_s17_sdk_default_is_numeric(client, relaxed):
    made = relaxed.embeddings.create(model=EMBEDDER, input=["a", "b"])
    size = len(made.data[0].embedding)
    assert size > 8 and all(isinstance(v, float) for v in made.data[0].embedding)
    assert len(made.data[1].embedding) == size
    asked = client.embeddings.create(model=EMBEDDER, input="a", encoding_format="float")
    assert close(asked.data[0].embedding, made.data[0].embedding)


def test_s17_similar_texts_are_nearer(relaxed):
    def embed(text):
        return relaxed.embeddings.create(model=EMBEDDER, input=text).data[0].embedding
    base, same = embed("What is the capital of France?"), embed("What is the capital of France?")
    other = embed("12 + 7")
    assert sum(x * y for x, y in zip(base, same)) > 0.999
    assert sum(x * y for x, y in zip(base, other)) < 0.999
    with pytest.raises(openai.BadRequestError):
        relaxed.embeddings.create(model=EMBEDDER, input="")
