"""Fixtures: one real server for the whole run, official clients and a raw HTTP client on it."""
import sys
from pathlib import Path

import httpx
import pytest
from openai import AsyncOpenAI, OpenAI

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lib"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from cairn_server import ADMIN_KEY, API_KEY, MODEL, Server  # noqa: E402

CLIENT_TIMEOUT = 300


@pytest.fixture(scope="session")
def server():
    """The server of the run. That it ends cleanly, without contract violations, is the last test."""
    with Server(["--log", "json", "--cors-origin", "*"]) as running:
        yield running


@pytest.fixture(autouse=True)
def server_lives(server, request):
    """A test that ends the server's process ends the run: what would follow says nothing."""
    yield
    if not server.alive():
        pytest.exit(f"{request.node.nodeid} ended the server: exit code {server.process.returncode}\n"
                    f"{server.log_tail(6000)}", 1)


@pytest.fixture(scope="session")
def client(server):
    with OpenAI(base_url=server.base_url, api_key=API_KEY, timeout=CLIENT_TIMEOUT,
                _strict_response_validation=True) as made:
        yield made


@pytest.fixture(scope="session")
def admin_wire(server):
    with httpx.Client(base_url=server.url, timeout=CLIENT_TIMEOUT,
                      headers={"Authorization": f"Bearer {ADMIN_KEY}"}) as made:
        yield made


@pytest.fixture(scope="session")
def wire(server):
    """Raw HTTP for facts of the wire that an SDK hides."""
    with httpx.Client(base_url=server.url, timeout=CLIENT_TIMEOUT,
                      headers={"Authorization": f"Bearer {API_KEY}"}) as made:
        yield made


@pytest.fixture(scope="session")
def short_prompt(wire):
    """A prompt whose reply ends by itself: which ones do is the model's business."""
    for prompt in ("Count to 5", "Say this is a test", "What is the capital of France?", "Hello!", "Thanks!"):
        made = wire.post("/v1/responses", json={"model": MODEL, "input": prompt, "temperature": 0, "store": False,
                                                "max_output_tokens": 200}).json()
        if made["status"] == "completed" and made["usage"]["output_tokens"] > 2:
            return prompt
    raise AssertionError("the model ends none of its replies")


@pytest.fixture
def make_async(server):
    """A maker of async clients: each test runs its own event loop."""
    def make(**options):
        options.setdefault("api_key", API_KEY)
        return AsyncOpenAI(base_url=server.base_url, timeout=CLIENT_TIMEOUT,
                           _strict_response_validation=True, **options)
    return make


@pytest.fixture(scope="session")
def faults(server):
    """Skips where the build has no fault points (a release binary); `make test` runs one that has."""
    with httpx.Client(timeout=CLIENT_TIMEOUT) as probe:
        reply = probe.get(server.base_url + "/models",
                          headers={"Authorization": f"Bearer {API_KEY}", "X-Cairn-Fault": "status=503"})
    if reply.status_code != 503:
        pytest.skip("this binary was built without CAIRN_FAULTS")
