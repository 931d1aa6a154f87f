"""A thousand generated schemas through the server, at temperature 1 and with a model of random weights: each answer
that comes to its end is valid for an independent validator."""
import json
from concurrent.futures import ThreadPoolExecutor
import sys
from decimal import Decimal

import httpx
import pytest

from cairn_server import API_KEY, ROOT
from families import serve
from support import user

sys.path.insert(0, str(ROOT / "tests" / "grammar"))

from schemas import Generator  # noqa: E402
from test_grammar import exact, no_twice, validator  # noqa: E402

SCHEMAS = 1000
TOKENS = 600


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("models"), "plain") as running:
        yield running


def ask(wire, seed):
    """The reply to a request for the schema of this seed, every third in the strict subset."""
    strict = seed % 3 == 0
    schema = Generator(seed, strict).root()
    spec = {"name": "made", "strict": strict, "schema": schema}
    body = {"model": "chat-plain", "messages": user("Go on."), "temperature": 1, "seed": seed,
            "max_completion_tokens": TOKENS, "response_format": {"type": "json_schema", "json_schema": spec}}
    return schema, wire.post("/v1/chat/completions", json=body)


def check(schema, reply):
    """Whether there was a whole answer to look at. A schema that nothing satisfies is refused."""
    if reply.status_code == 400:
        assert "does not match any text" in reply.json()["error"]["message"], reply.text
        return False
    assert reply.status_code == 200, reply.text
    choice = reply.json()["choices"][0]
    if choice["finish_reason"] == "length":
        return False
    text = choice["message"]["content"]
    try:
        value = json.loads(text, parse_float=Decimal, object_pairs_hook=no_twice)
    except KeyError:
        return False
    errors = [error.message for error in validator(exact(schema)).iter_errors(value)]
    assert not errors, f"{json.dumps(schema)}\n{text}\n{errors}"
    return True


def test_a_thousand_schemas(plain):
    headers = {"Authorization": f"Bearer {API_KEY}"}
    whole = asked = 0
    with httpx.Client(base_url=plain.url, headers=headers, timeout=300) as wire, ThreadPoolExecutor(8) as pool:
        while whole < SCHEMAS:
            seeds = range(asked, asked + 200)
            whole += sum(check(schema, reply) for schema, reply in pool.map(lambda seed: ask(wire, seed), seeds))
            asked += len(seeds)
            assert asked <= 2 * SCHEMAS, f"only {whole} of {asked} schemas gave a whole answer"
