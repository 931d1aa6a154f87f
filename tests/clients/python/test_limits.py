"""Rate limits, budgets and the log of usage: scenario 18 of the conformance list, and what it rests on."""
import json
import re
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import openai
import pytest
from openai import OpenAI

from cairn_server import API_KEY, MODEL, Server, binary
from redis_server import redis
from support import chat_body, check_error, long_body, response_body

CHAT = "/v1/chat/completions"
DURATION = re.compile(r"^(\d+h)?(\d+m)?(\d+(\.\d+)?s|\d+ms)$")
KINDS = ("limit", "remaining", "reset")


@contextmanager
def limited(*rules, args=(), **options):
    """A server of its own with these rules, and raw HTTP on it."""
    flags = [word for rule in rules for word in ("--rate-limit", rule)]
    with Server([*flags, *args], **options) as server, raw(server) as wire:
        yield server, wire


def raw(server):
    return httpx.Client(base_url=server.url, timeout=120, headers={"Authorization": f"Bearer {API_KEY}"},
                        limits=httpx.Limits(max_connections=None))


def totals(server, *names):
    rows = server.usage("--total")
    return tuple(sum(row[name] for row in rows) for name in names)


def rate_headers(reply):
    return {name: value for name, value in reply.headers.items() if name.startswith("x-ratelimit-")}


def check_headers(reply, noun, limit, remaining=None):
    shown = rate_headers(reply)
    assert int(shown[f"x-ratelimit-limit-{noun}"]) == limit
    left = int(shown[f"x-ratelimit-remaining-{noun}"])
    assert 0 <= left <= limit
    assert remaining is None or left in remaining, left
    assert DURATION.match(shown[f"x-ratelimit-reset-{noun}"]), shown


def tiny(tokens=1, **extra):
    return chat_body("Hi", max_completion_tokens=tokens, **extra)


def drain(wire):
    """Takes requests until one is refused."""
    for _ in range(1000):
        reply = wire.post(CHAT, json=tiny())
        if reply.status_code == 429:
            return reply
    raise AssertionError("nothing was refused")


# ---- refusals ----

def test_s18_body_and_headers_of_a_refusal():
    with limited("requests_per_minute=60 tokens_per_minute=40000") as (server, wire):
        reply = drain(wire)
        error = check_error(reply, 429, "requests", code="rate_limit_exceeded", message=re.compile(
            rf"^Rate limit reached for {MODEL} in organization org-\w+ on requests per min \(RPM\): Limit 60, "
            r"Used 60, Requested 1\. Please try again in [0-9.]+m?s\. "))
        waits = int(reply.headers["retry-after-ms"])
        assert 0 < waits <= 1000 and int(reply.headers["retry-after"]) == 1
        assert "x-should-retry" not in reply.headers
        assert f"try again in {waits}ms" in error["message"] or "try again in 1s" in error["message"]
        check_headers(reply, "requests", 60, [0])
        check_headers(reply, "tokens", 40000)
        time.sleep(waits / 1000)
        assert wire.post(CHAT, json=tiny()).status_code == 200
        assert 'cairn_rate_limited_total{limit="rpm"} 1' in server.metrics()


def test_s18_tokens_run_short():
    with limited("tokens_per_minute=600") as (_, wire):
        assert wire.post(CHAT, json=long_body(400)).status_code == 200
        reply = wire.post(CHAT, json=tiny(400))
        check_error(reply, 429, "tokens", code="rate_limit_exceeded", message="on tokens per min (TPM): Limit 600, Used")
        assert int(reply.headers["retry-after-ms"]) > 0
        check_headers(reply, "tokens", 600)


def test_s18_too_large_a_request_is_not_retried():
    with limited("tokens_per_minute=600") as (server, wire):
        reply = wire.post(CHAT, json=tiny(601))
        check_error(reply, 429, "tokens", code="rate_limit_exceeded",
                    message=re.compile(r"^Request too large for .*: Limit 600, Requested \d+\. "))
        assert reply.headers["x-should-retry"] == "false"
        assert "retry-after" not in reply.headers and "retry-after-ms" not in reply.headers
        check_headers(reply, "tokens", 600, [600])
        with OpenAI(base_url=server.base_url, api_key=API_KEY, max_retries=5) as client:
            before = server.metric("cairn_rate_limited_total")
            with pytest.raises(openai.RateLimitError):
                client.chat.completions.create(**tiny(601))
            assert server.metric("cairn_rate_limited_total") == before + 1


def test_s18_the_sdk_retries_twice_and_succeeds():
    with limited("requests_per_minute=120") as (server, wire):
        counts = []

        def before(request):
            counts.append(request.headers["x-stainless-retry-count"])
            if len(counts) <= 2:  # somebody else is quicker
                drain(wire)
        with OpenAI(base_url=server.base_url, api_key=API_KEY, max_retries=2,
                    http_client=httpx.Client(event_hooks={"request": [before]})) as client:
            made = client.chat.completions.create(**tiny())
        assert made.usage.completion_tokens == 1
        assert counts == ["0", "1", "2"]


def test_s18_a_spent_budget_is_not_retried():
    price = f"model={MODEL} input=1000 output=1000"
    with limited("budget=0.05 tier=tier_5", args=["--price", price]) as (server, wire):
        assert wire.post(CHAT, json=long_body(60)).status_code == 200
        seen = []
        with OpenAI(base_url=server.base_url, api_key=API_KEY, max_retries=5,
                    http_client=httpx.Client(event_hooks={"response": [seen.append]})) as client:
            with pytest.raises(openai.RateLimitError) as caught:
                client.chat.completions.create(**tiny())
        assert caught.value.code == "insufficient_quota" and caught.value.type == "insufficient_quota"
        assert len(seen) == 1
        assert seen[0].headers["x-should-retry"] == "false"
        assert "retry-after" not in seen[0].headers and not rate_headers(seen[0])
        assert wire.get(CHAT).status_code == 200  # what costs nothing goes on
        cost, = totals(server, "cost")
        assert cost >= 0.05
        server.kill()  # what was spent is in the log
        server.start()
        for path, body in ((CHAT, tiny()), ("/v1/moderations", {"input": "Hi"})):
            check_error(wire.post(path, json=body), 429, "insufficient_quota", code="insufficient_quota")


def test_s18_moderations_have_the_limits_of_a_model():
    names = [{}, {"model": "omni-moderation-latest"}, {"model": "text-moderation-stable"}]  # of one model
    with limited("requests_per_minute=4 tokens_per_minute=1000") as (_, wire):
        replies = [wire.post("/v1/moderations", json={"input": "Hi", **names[i % 3]}) for i in range(6)]
        assert [reply.status_code for reply in replies] == [200] * 4 + [429] * 2
        check_headers(replies[3], "requests", 4, [0])
        check_headers(replies[3], "tokens", 1000, range(990, 997))
        check_error(replies[5], 429, "requests", code="rate_limit_exceeded", message="for omni-moderation-latest in")
        assert wire.post(CHAT, json=tiny()).status_code == 200


def test_s18_every_prompt_has_its_bound_of_output():
    with limited("tokens_per_minute=1000") as (_, wire):
        def ask(prompt):
            return wire.post("/v1/completions", json={"model": MODEL, "prompt": prompt, "max_tokens": 300})
        check_error(ask(["a", "b", "c", "d"]), 429, "tokens", code="rate_limit_exceeded",
                    message=re.compile("Limit 1000, Requested 120[1-4]"))
        check_error(ask([[1, 2], [3], [4], [5]]), 429, "tokens", code="rate_limit_exceeded",
                    message=re.compile("Limit 1000, Requested 120[5-6]"))
        assert ask(["a", "b", "c"]).status_code == 200
        assert ask([1, 2, 3, 4]).status_code in (200, 429)  # one prompt of four tokens: no 429 for its size


def test_requests_without_a_model_have_a_limit_of_their_own():
    with limited("other_requests_per_minute=2 requests_per_minute=30") as (_, wire):
        first = wire.get(CHAT)
        assert first.status_code == 200
        check_headers(first, "requests", 2, [1])
        assert wire.get("/v1/chat/completions/chatcmpl-none").status_code == 404
        reply = wire.get(CHAT)
        check_error(reply, 429, "requests", code="rate_limit_exceeded", message="requests without a model")
        assert wire.post(CHAT, json=tiny()).status_code == 200
        assert wire.get("/v1/models").status_code == 200  # asked of memory, not limited
        assert wire.get("/healthz").status_code == 200


# ---- headers ----

def test_headers_come_with_replies_streams_and_errors():
    with limited("tier=tier_5") as (_, wire):
        bodies = [
            (CHAT, tiny()), (CHAT, tiny(stream=True)), (CHAT, tiny(store=True)),
            ("/v1/completions", {"model": MODEL, "prompt": "Hi", "max_tokens": 1}),
            ("/v1/responses", response_body(max_output_tokens=16)),
            ("/v1/responses", response_body(max_output_tokens=16, stream=True)),
            ("/v1/embeddings", {"model": MODEL, "input": "Hi"}),
        ]
        for path, body in bodies:
            reply = wire.post(path, json=body)
            assert reply.status_code == 200, reply.text
            check_headers(reply, "requests", 30000)
            check_headers(reply, "tokens", 10000000)
        bad = wire.post(CHAT, json=tiny(top_logprobs=3))
        assert bad.status_code == 400
        check_headers(bad, "requests", 30000)


def test_without_limits_there_are_no_headers(wire):
    reply = wire.post(CHAT, json=tiny())
    assert reply.status_code == 200 and not rate_headers(reply)


def test_what_was_reserved_and_not_used_comes_back():
    with limited("tokens_per_day=1000") as (_, wire):
        bad = wire.post(CHAT, json=tiny(900, top_logprobs=3))
        assert bad.status_code == 400
        for _ in range(5):  # each reserves 900 and takes a few
            reply = wire.post(CHAT, json=chat_body("Say hi", max_completion_tokens=900, stop=["e", "i", "a", "o"]))
            assert reply.status_code == 200, reply.text
            taken = reply.json()["usage"]["total_tokens"]
            assert taken < 20
        left = wire.post(CHAT, json=tiny()).headers["x-ratelimit-remaining-tokens"]
        assert int(left) > 850


# ---- responses in the background ----

RESPONSES = "/v1/responses"


def background(wire, tokens=900):
    """A response that takes all the tokens it may have; the reply."""
    text = {"type": "grammar", "syntax": "regex", "definition": "(around and ){500}"}
    return wire.post(RESPONSES, json=response_body(
        "Go on", background=True, max_output_tokens=tokens, tool_choice={"type": "custom", "name": "long"},
        tools=[{"type": "custom", "name": "long", "format": text}]))


def ended(wire, identity):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        body = wire.get(f"{RESPONSES}/{identity}").json()
        if body["status"] not in ("queued", "in_progress"):
            return body
        time.sleep(0.01)
    raise AssertionError(f"{identity} does not end")


def test_background_responses_hold_what_they_reserved():
    with limited("tokens_per_day=3000", args=["--background", "1", "--lookup", "off"]) as (server, wire):
        replies = [background(wire) for _ in range(6)]
        assert [reply.status_code for reply in replies] == [200] * 3 + [429] * 3
        bodies = [ended(wire, reply.json()["id"]) for reply in replies[:3]]
        used = sum(body["usage"]["total_tokens"] for body in bodies)
        assert used >= 2700 and totals(server, "input_tokens", "output_tokens") == (used - 2700, 2700)
        left = int(background(wire, 20).headers["x-ratelimit-remaining-tokens"])
        assert 0 <= 3000 - used - left < 80  # what the last one reserved


def test_background_responses_that_wait_give_back_what_they_reserved():
    with limited("tokens_per_day=8000", args=["--background", "1", "--lookup", "off"]) as (server, wire):
        first, *rest = [background(wire).json()["id"] for _ in range(8)]
        for i, identity in enumerate(rest):
            gone = wire.delete(f"{RESPONSES}/{identity}") if i % 2 else wire.post(f"{RESPONSES}/{identity}/cancel")
            assert gone.status_code == 200, gone.text
        again = background(wire, 4000)
        assert again.status_code == 200, again.text
        for identity in (first, again.json()["id"]):
            ended(wire, identity)
        while 'cairn_jobs{kind="response"' in server.metrics():
            time.sleep(0.01)
        used = sum(totals(server, "input_tokens", "output_tokens"))
        left = int(background(wire, 20).headers["x-ratelimit-remaining-tokens"])
        assert 0 <= 8000 - used - left < 80


@pytest.mark.parametrize("how", ["cancel", "delete"])
def test_background_responses_that_are_ended_leave_a_record(how):
    with limited("tokens_per_day=100000", args=["--lookup", "off"]) as (server, wire):
        made = background(wire, 4000).json()["id"]
        while not server.metric("cairn_engine_decoded_tokens_total"):
            time.sleep(0.001)
        gone = wire.delete(f"{RESPONSES}/{made}") if how == "delete" else wire.post(f"{RESPONSES}/{made}/cancel")
        assert gone.status_code == 200
        while 'cairn_jobs{kind="response"' in server.metrics():
            time.sleep(0.01)
        assert how == "delete" or gone.json()["status"] == "cancelled"
        requests, *tokens = totals(server, "requests", "input_tokens", "output_tokens")
        assert requests == 1 and tokens[0] > 10 and 0 < tokens[1] < 4000
        left = int(background(wire, 20).headers["x-ratelimit-remaining-tokens"])
        assert 0 <= 100000 - sum(tokens) - left < 80


def test_background_responses_over_a_restart():
    """What a process had reserved in its memory goes with it; the run that goes on is paid for by its end."""
    server = Server(["--rate-limit", "tokens_per_day=20000", "--lookup", "off"])
    try:
        server.start()
        with raw(server) as wire:
            made = background(wire, 4000).json()["id"]
        server.kill()
        server.start()
        with raw(server) as wire:
            body = ended(wire, made)
            used = body["usage"]["total_tokens"]
            assert totals(server, "requests") == (1,)
            left = int(background(wire, 20).headers["x-ratelimit-remaining-tokens"])
            assert 0 <= 20000 - used - left < 80
        server.terminate()
    finally:
        server.cleanup()


# ---- exactness ----

def admitted_of(wires, attempts):
    def one(i):
        reply = wires[i % len(wires)].post(CHAT, json=tiny())
        assert reply.status_code in (200, 429), reply.text
        return reply.status_code == 200
    with ThreadPoolExecutor(64) as pool:
        return sum(pool.map(one, range(attempts)))


def test_64_clients_get_exactly_what_there_is():
    with limited("requests_per_day=100") as (server, wire):
        assert admitted_of([wire], 256) == 100
        assert totals(server, "requests") == (100,)


def test_a_restart_is_no_new_day():
    with limited("requests_per_day=5") as (server, wire):
        for left in (4, 3):
            check_headers(wire.post(CHAT, json=tiny()), "requests", 5, [left])
        server.terminate()
        server.start()
        check_headers(wire.post(CHAT, json=tiny()), "requests", 5, [2])
        server.kill()
        server.start()
        check_headers(wire.post(CHAT, json=tiny()), "requests", 5, [1])


# ---- Redis ----

def test_two_servers_share_limits_in_redis():
    with redis() as (url, _), Server(["--limits", url, "--rate-limit", "requests_per_day=100"]) as one:
        keyed = {"CAIRN_API_KEY": API_KEY}
        with raw(one) as first:
            assert first.post(CHAT, json=tiny()).headers["x-ratelimit-remaining-requests"] == "99"
            one.terminate()
            one.start()  # Redis remembers
            assert first.post(CHAT, json=tiny()).headers["x-ratelimit-remaining-requests"] == "98"
            assert admitted_of([first], 160) == 98
        with Server(["--limits", url, "--rate-limit", "requests_per_day=100"], env=keyed) as two, raw(two) as second:
            reply = second.post(CHAT, json=tiny())
            assert reply.status_code == 200  # another installation, so another project


@pytest.mark.parametrize("mode", ["alone", "refuse"])
def test_a_redis_that_dies(mode):
    with redis() as (url, process):
        with limited("requests_per_day=100", args=["--limits", url, "--limits-unreachable", mode]) as (server, wire):
            assert wire.post(CHAT, json=tiny()).status_code == 200
            process.kill()
            process.wait()
            reply = wire.post(CHAT, json=tiny())
            if mode == "alone":
                assert reply.status_code == 200
            else:
                check_error(reply, 503, "server_error", code="overloaded")
                assert "retry-after-ms" in reply.headers
            assert server.metric("cairn_limits_backend_errors_total") >= 1


# ---- usage ----

def reply_usage(body):
    """(input, cached, output) of a reply in either API's words."""
    told = body["usage"]
    new = "input_tokens" in told
    details = told.get("input_tokens_details" if new else "prompt_tokens_details") or {}
    return (told["input_tokens" if new else "prompt_tokens"], details.get("cached_tokens", 0),
            told.get("output_tokens" if new else "completion_tokens", 0))


def stream_usage(wire, path, body):
    with wire.stream("POST", path, json={**body, "stream": True}) as reply:
        lines = [line[6:] for line in reply.iter_lines() if line.startswith("data: {")]
    last = json.loads(lines[-1])
    return reply_usage(last.get("response", last))


def mixed(wire, i):
    """One request of a mixed load; the usage its reply tells."""
    with_usage = {"stream_options": {"include_usage": True}}
    plain = [
        (CHAT, chat_body(f"Hello {i}", max_completion_tokens=9, n=2)),
        (CHAT, chat_body(f"Hello {i}", max_completion_tokens=5, store=True)),
        ("/v1/completions", {"model": MODEL, "prompt": ["a", f"b{i}"], "max_tokens": 3, "best_of": 2}),
        ("/v1/responses", response_body(f"Hello {i}", max_output_tokens=16)),
        ("/v1/responses", response_body(f"Hello {i}", max_output_tokens=16, store=False)),
        ("/v1/embeddings", {"model": MODEL, "input": [f"Hello {i}", "you"]}),
    ]
    streams = [
        (CHAT, chat_body(f"Hello {i}", max_completion_tokens=7, **with_usage)),
        (CHAT, chat_body(f"Hello {i}", max_completion_tokens=7, store=True, **with_usage)),
        ("/v1/completions", {"model": MODEL, "prompt": f"c{i}", "max_tokens": 4, **with_usage}),
        ("/v1/responses", response_body(f"Hello {i}", max_output_tokens=16)),
    ]
    at = i % (len(plain) + len(streams))
    if at >= len(plain):
        return stream_usage(wire, *streams[at - len(plain)])
    reply = wire.post(plain[at][0], json=plain[at][1])
    assert reply.status_code == 200, reply.text
    return reply_usage(reply.json())


def test_the_log_has_what_the_replies_told():
    price = f"model={MODEL} input=1 cached_input=0.5 output=4"
    with limited(args=["--price", price]) as (server, wire):
        with ThreadPoolExecutor(16) as pool:
            told = list(pool.map(lambda i: mixed(wire, i), range(100)))
        sums = [sum(one[k] for one in told) for k in range(3)]
        assert totals(server, "requests", "input_tokens", "cached_tokens", "output_tokens") == (100, *sums)
        cost, = totals(server, "cost")
        assert cost == pytest.approx((sums[0] - sums[1] * 0.5 + sums[2] * 4) / 1e6)
        rows = server.usage("--by", "project,user,key,model,tier,batch")
        assert {row["kind"] for row in rows} == {"completions", "embeddings"}
        for row in rows:
            assert row["model"] == MODEL and row["tier"] == "default" and row["batch"] is False
            assert row["project"].startswith("proj_") and row["user"].startswith("user-")
            assert row["key"].startswith("key_")


def test_the_log_survives_kills():
    """Every reply that was whole is in the log, once, however often the server was killed and the log folded."""
    told, started = [], []
    with limited() as (server, wire):
        for _ in range(4):
            ended = threading.Event()

            def client(n, ended=ended):
                for i in range(10000):
                    if ended.is_set():
                        return
                    started.append(1)
                    try:
                        told.append(mixed(wire, n + i))
                    except (httpx.HTTPError, IndexError, KeyError):
                        return
            threads = [threading.Thread(target=client, args=(n,)) for n in range(8)]
            for thread in threads:
                thread.start()
            time.sleep(0.7)
            server.kill()
            ended.set()
            for thread in threads:
                thread.join()
            server.start()
        counted = totals(server, "requests", "input_tokens", "output_tokens")
        assert len(told) >= 40
        assert len(told) <= counted[0] <= len(started)
        assert counted[1] >= sum(one[0] for one in told)
        assert counted[2] >= sum(one[2] for one in told)
        time.sleep(6)  # it is folded every five seconds
        assert totals(server, "requests", "input_tokens", "output_tokens") == counted


def test_a_client_that_leaves_pays_for_what_was_made():
    with limited() as (server, wire):
        with wire.stream("POST", CHAT, json=long_body(1000, stream=True)) as reply:
            for n, _ in enumerate(reply.iter_lines()):
                if n > 20:
                    break
        deadline = time.monotonic() + 20
        while not server.usage() and time.monotonic() < deadline:
            time.sleep(0.05)
        requests, output = totals(server, "requests", "output_tokens")
        assert requests == 1 and 0 < output < 1000


def test_stored_bytes_and_moderations_are_counted():
    with limited() as (server, wire):
        made = wire.post("/v1/files", data={"purpose": "user_data"}, files={"file": ("a.txt", b"x" * 1234)})
        assert made.status_code == 200, made.text
        judged = wire.post("/v1/moderations", json={"input": "I like you."})
        assert judged.status_code in (200, 501)
        rows = {row["kind"]: row for row in server.usage("--total")}
        assert rows["files"]["bytes"] == 1234 and rows["files"]["requests"] == 1
        if judged.status_code == 200:
            assert rows["moderations"]["requests"] == 1 and rows["moderations"]["input_tokens"] > 0


def test_usage_command():
    with limited(args=["--price", "input=1 output=2"]) as (server, wire):
        assert wire.post(CHAT, json=tiny()).status_code == 200
        command = [binary(), "usage", *server.where]
        shown = subprocess.run(command, env=server.environment(), capture_output=True, text=True, check=True).stdout
        head, row = shown.splitlines()
        assert head.split()[:4] == ["DAY", "(UTC)", "KIND", "MODEL"]
        assert row.split()[1:4] == ["completions", MODEL, "1"]
        wrong = subprocess.run([*command, "--by", "colour"], capture_output=True, text=True, check=False)
        assert wrong.returncode == 1 and "colour" in wrong.stderr and wrong.stderr.count("\n") == 1
        missing = subprocess.run([binary(), "usage", "--data", str(Path(server.data) / "none")], capture_output=True,
                                 text=True, check=False)
        assert missing.returncode == 1 and not (Path(server.data) / "none").exists()
