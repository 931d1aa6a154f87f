"""Chat Completions: scenarios 1-3, 8, 22, 24, 32-35, 68, 69 of the conformance list."""
import asyncio
import time

import httpx
import openai
import pytest

from cairn_server import API_KEY, MODEL
from support import (STORY, chat_body, chat_chunks, check_error, chunk_text, endless, long_body, post_stream,
                     user)

CHAT = "/v1/chat/completions"


def test_s01_minimal_chat_has_every_key(wire):
    reply = wire.post(CHAT, content=b'{"model":"cairn-tiny","messages":[{"role":"user","content":"Hello!"}]}',
                      headers={"Content-Type": "application/json; charset=utf-8"})
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"].startswith("application/json")
    body = reply.json()
    assert body["id"].startswith("chatcmpl-")
    assert body["object"] == "chat.completion"
    assert type(body["created"]) is int and abs(body["created"] - time.time()) < 600
    assert body["model"] == MODEL
    assert isinstance(body["system_fingerprint"], str) and body["system_fingerprint"].startswith("fp_")
    assert body["service_tier"] == "default"
    choice, = body["choices"]
    assert choice["index"] == 0
    assert choice["finish_reason"] in ("stop", "length")
    assert "logprobs" in choice and choice["logprobs"] is None
    message = choice["message"]
    assert message["role"] == "assistant"
    assert isinstance(message["content"], str)
    assert "refusal" in message and message["refusal"] is None
    assert message["annotations"] == []
    assert "tool_calls" not in message
    check_usage(body["usage"])


def check_usage(usage):
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens"] > 0
    assert 0 <= usage["prompt_tokens_details"]["cached_tokens"] <= usage["prompt_tokens"]
    assert usage["prompt_tokens_details"]["audio_tokens"] == 0
    assert set(usage["completion_tokens_details"]) >= {
        "reasoning_tokens", "audio_tokens", "accepted_prediction_tokens", "rejected_prediction_tokens"}


def test_s01_sdk_sync_and_async(client, make_async):
    made = client.chat.completions.create(**chat_body("Say this is a test"))
    assert made.choices[0].message.content

    async def same():
        async with make_async() as aclient:
            return await aclient.chat.completions.create(**chat_body("Say this is a test"))
    again = asyncio.run(same())
    assert again.choices[0].message.content == made.choices[0].message.content


@pytest.mark.parametrize("model", ["gpt-5", "gpt-4o", "gpt-4o-mini"])
def test_s01_aliases_run_unchanged_sample_code(client, model):
    made = client.chat.completions.create(model=model, messages=user("Hello!"), max_completion_tokens=8)
    assert made.choices[0].message.role == "assistant"


def test_s02_stream_is_data_lines_only(wire):
    body = chat_body(STORY, stream=True)
    reply, frames = post_stream(wire, CHAT, body, {"Accept": "application/json"})
    assert all(frame.event is None for frame in frames)
    assert frames[-1].data == "[DONE]" and len(frames) > 2
    chunks = [frame.json for frame in frames[:-1]]
    first = chunks[0]["choices"][0]
    assert first["delta"]["role"] == "assistant" and first["delta"]["content"] == ""
    assert first["finish_reason"] is None
    finishes = [c["choices"][0] for c in chunks if c["choices"][0]["finish_reason"]]
    assert len(finishes) == 1 and finishes[0]["delta"] == {}
    assert chunks[-1]["choices"][0] is finishes[0]
    assert all("usage" not in chunk for chunk in chunks)


def test_s02_stream_is_flushed_per_token(wire):
    """The first content chunk must be readable while the model is still at work."""
    started = time.monotonic()
    first = None
    with wire.stream("POST", CHAT, json={**long_body(600), "stream": True}) as reply:
        for line in reply.iter_lines():
            if first is None and '"content":"' in line and '"content":""' not in line:
                first = time.monotonic() - started
    whole = time.monotonic() - started
    assert first is not None and first < whole / 2, (first, whole)


def test_s03_identity_comes_once_and_text_equals_non_stream(wire, client, short_prompt):
    body = chat_body(short_prompt)
    whole = wire.post(CHAT, json=body).json()
    chunks = chat_chunks(wire, body)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert sum("role" in delta for delta in deltas) == 1
    assert sum("refusal" in delta for delta in deltas) <= 1
    assert chunk_text(chunks) == whole["choices"][0]["message"]["content"]
    with client.chat.completions.stream(**body) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    assert final.choices[0].message.content == whole["choices"][0]["message"]["content"]
    assert final.choices[0].message.role == "assistant"
    assert final.choices[0].finish_reason == whole["choices"][0]["finish_reason"]


def test_s03_async_stream_helper(make_async, client, short_prompt):
    body = chat_body(short_prompt)
    whole = client.chat.completions.create(**body)

    async def run():
        text = []
        async with make_async() as aclient:
            async with aclient.chat.completions.stream(**body) as stream:
                async for event in stream:
                    if event.type == "content.delta":
                        text.append(event.delta)
                final = await stream.get_final_completion()
        return "".join(text), final
    text, final = asyncio.run(run())
    assert text == final.choices[0].message.content == whole.choices[0].message.content


def test_s08_usage_only_when_asked_and_last(wire, client):
    body = chat_body("Hello!")
    chunks = chat_chunks(wire, {**body, "stream_options": {"include_usage": True}})
    assert chunks[-1]["choices"] == []
    check_usage(chunks[-1]["usage"])
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    whole = wire.post(CHAT, json=body).json()["usage"]
    for key in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert chunks[-1]["usage"][key] == whole[key]
    assert all("usage" not in chunk for chunk in chat_chunks(wire, body))
    seen = [chunk.usage for chunk in
            client.chat.completions.create(**body, stream=True, stream_options={"include_usage": True})]
    assert seen[-1] is not None and not any(seen[:-1])


def test_s08_obfuscation_can_be_switched_off(wire):
    chunks = chat_chunks(wire, {**chat_body(), "stream_options": {"include_obfuscation": False}})
    assert all("obfuscation" not in chunk for chunk in chunks)
    chunks = chat_chunks(wire, chat_body())
    assert any(isinstance(chunk.get("obfuscation"), str) for chunk in chunks)


@pytest.mark.parametrize("change, param, code", [
    ({"temperature": "hot"}, "temperature", "invalid_type"),
    ({"temperature": 3}, "temperature", "decimal_above_max_value"),
    ({"temperature": -1}, "temperature", "decimal_below_min_value"),
    ({"n": 0}, "n", "integer_below_min_value"),
    ({"n": 1000}, "n", "integer_above_max_value"),
    ({"messages": []}, "messages", "empty_array"),
    ({"messages": "hi"}, "messages", "invalid_type"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "invalid_type"),
    ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role", "invalid_value"),
    ({"messages": [{"content": "x"}]}, "messages[0].role", "missing_required_parameter"),
    ({"messages": None}, "messages", None),
    ({"model": None}, "model", None),
    ({"response_format": "json"}, "response_format", "invalid_type"),
    ({"service_tier": "gold"}, "service_tier", "invalid_value"),
    ({"frequency_penalty": 2.5}, "frequency_penalty", "decimal_above_max_value"),
    ({"top_logprobs": 21, "logprobs": True}, "top_logprobs", "integer_above_max_value"),
    ({"no_such_field": 1}, "no_such_field", "unknown_parameter"),
])
def test_s22_bad_parameters_are_named(wire, change, param, code):
    reply = wire.post(CHAT, json={**chat_body(), **change})
    assert reply.status_code == 400
    error = reply.json()["error"]
    if code is None:
        code = error["code"]
        assert code in ("missing_required_parameter", "invalid_type")
    check_error(reply, 400, param=param, code=code, message="Invalid value" if code == "invalid_value" else param)


def test_s22_missing_fields_and_dependent_fields(wire):
    check_error(wire.post(CHAT, json={"model": MODEL}), 400, param="messages", code="missing_required_parameter",
                message="Missing required parameter: 'messages'.")
    check_error(wire.post(CHAT, json={"messages": user("x")}), 400, param="model",
                code="missing_required_parameter")
    for change, param in (({"top_logprobs": 2}, "top_logprobs"),
                          ({"stream_options": {"include_usage": True}}, "stream_options"),
                          ({"logit_bias": {"5": 101}}, "logit_bias"),
                          ({"logit_bias": {"cat": 1}}, "logit_bias"),
                          ({"stop": ["a", "b", "c", "d", "e"]}, "stop")):
        reply = wire.post(CHAT, json={**chat_body(), **change})
        assert reply.status_code == 400, (change, reply.text)
        assert reply.json()["error"]["param"].startswith(param), reply.text


def test_s22_later_features_are_refused_by_name(wire):
    """Nothing is ignored: what this server cannot do yet is a 400 that names the field."""
    for change, param in (
            ({"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}, "modalities"),
            ({"web_search_options": {}}, "web_search_options"), ({"moderation": {"model": "m"}}, "moderation"),
            ({"prompt_cache_retention": "24h"}, "prompt_cache_retention")):
        reply = wire.post(CHAT, json={**chat_body(), **change})
        check_error(reply, 400, param=param, code="unsupported_parameter", message=param)


def test_s22_sdk_raises_bad_request(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**{**chat_body(), "temperature": 9})
    assert caught.value.param == "temperature"
    assert caught.value.code == "decimal_above_max_value"
    assert caught.value.type == "invalid_request_error"
    assert caught.value.request_id.startswith("req_")


def test_s22_context_overflow_is_a_400(wire):
    check_error(wire.post(CHAT, json=chat_body("word " * 20000)), 400, param="messages",
                code="context_length_exceeded", message="maximum context length")


def test_s24_part_arrays_for_every_role(wire, client):
    part = [{"type": "text", "text": "Answer with one word."}]
    messages = [
        {"role": "system", "content": part, "name": "boss"},
        {"role": "developer", "content": part},
        {"role": "user", "content": [{"type": "text", "text": "What is the capital"},
                                     {"type": "text", "text": " of France?"}], "name": "ana"},
        {"role": "assistant", "content": [{"type": "text", "text": "Paris."}]},
        {"role": "user", "content": "And of Italy?"},
    ]
    made = client.chat.completions.create(model=MODEL, messages=messages, temperature=0)
    assert made.choices[0].message.role == "assistant"
    flat = client.chat.completions.create(model=MODEL, temperature=0, messages=[
        {"role": "user", "content": [{"type": "text", "text": "Hello!"}]}])
    plain = client.chat.completions.create(model=MODEL, temperature=0, messages=user("Hello!"))
    assert flat.choices[0].message.content == plain.choices[0].message.content


def test_s24_developer_means_system(client):
    texts = [client.chat.completions.create(model=MODEL, temperature=0, messages=[
        {"role": role, "content": "You are a pirate."}] + user("Hello!")).choices[0].message.content
        for role in ("system", "developer")]
    assert texts[0] == texts[1]


def test_s24_echoed_assistant_messages_are_tolerated(wire):
    """Clients send a reply's message back whole, with keys that only replies have."""
    first = wire.post(CHAT, json=chat_body("My name is Bob.")).json()["choices"][0]["message"]
    first.update(parsed=None, reasoning_content=None)
    reply = wire.post(CHAT, json={"model": MODEL, "messages": user("My name is Bob.") + [first]
                                  + user("What is my name?")})
    assert reply.status_code == 200, reply.text


def test_s32_documented_extras_are_accepted(wire):
    reply = wire.post(CHAT, json={**chat_body(), "metadata": {"k": "v"}, "user": "u1", "store": False,
                                  "service_tier": "auto", "safety_identifier": "s1", "prompt_cache_key": "p1"})
    assert reply.status_code == 200, reply.text
    assert reply.json()["service_tier"] == "default"
    check_error(wire.post(CHAT, json={**chat_body(), "respnse_format": {}}), 400, param="respnse_format",
                code="unknown_parameter", message="Unknown parameter: 'respnse_format'.")


def test_s33_null_means_absent(wire):
    nulls = ["temperature", "top_p", "n", "tools", "tool_choice", "stop", "stream", "stream_options", "metadata",
             "max_tokens", "max_completion_tokens", "seed", "logit_bias", "logprobs", "top_logprobs", "user",
             "presence_penalty", "frequency_penalty", "response_format", "service_tier", "store",
             "reasoning_effort", "verbosity", "parallel_tool_calls", "modalities", "audio", "prediction",
             "prompt_cache_key", "safety_identifier", "web_search_options"]
    reply = wire.post(CHAT, json={"model": MODEL, "messages": user("Hello!"), **dict.fromkeys(nulls)})
    assert reply.status_code == 200, reply.text


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_s34_token_limits_truncate(wire, field):
    body = {**chat_body(STORY), "logit_bias": endless(), field: 5}
    made = wire.post(CHAT, json=body).json()
    assert made["choices"][0]["finish_reason"] == "length"
    assert made["usage"]["completion_tokens"] == 5
    chunks = chat_chunks(wire, {**body, "stream_options": {"include_usage": True}})
    assert chunks[-2]["choices"][0]["finish_reason"] == "length"
    assert chunks[-1]["usage"]["completion_tokens"] == 5
    assert chunk_text(chunks) == made["choices"][0]["message"]["content"]


def test_s35_stop_sequences(wire):
    full = wire.post(CHAT, json=long_body(60)).json()["choices"][0]["message"]["content"]
    assert len(full) > 12
    stop = full[6:9]
    expected = full[:full.index(stop)]
    for form in (stop, [stop], ["\x01never", stop, "\x02", "\x03"]):
        body = long_body(60, stop=form)
        made = wire.post(CHAT, json=body).json()["choices"][0]
        assert made["message"]["content"] == expected, form
        assert made["finish_reason"] == "stop"
        chunks = chat_chunks(wire, body)
        assert chunk_text(chunks) == expected
        assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


def test_s35_a_seed_repeats_and_seeds_differ(wire):
    def ask(seed):
        body = {**long_body(40), "temperature": 1.5, "seed": seed}
        return wire.post(CHAT, json=body).json()["choices"][0]["message"]["content"]
    assert ask(1) == ask(1)
    assert len({ask(seed) for seed in range(5)}) > 1


def test_s68_n_choices(wire, client, short_prompt):
    body = {**chat_body(STORY), "n": 3, "temperature": 1, "max_completion_tokens": 100}
    made = wire.post(CHAT, json=body).json()
    assert [choice["index"] for choice in made["choices"]] == [0, 1, 2]
    assert all(choice["finish_reason"] in ("stop", "length") for choice in made["choices"])
    chunks = chat_chunks(wire, {**body, "stream_options": {"include_usage": True}})
    seen = []
    for chunk in chunks[:-1]:
        choice, = chunk["choices"]
        if choice["index"] not in seen:
            assert choice["delta"]["role"] == "assistant"
            seen.append(choice["index"])
    assert seen == [0, 1, 2]
    finished = [c["choices"][0]["index"] for c in chunks[:-1] if c["choices"][0]["finish_reason"]]
    assert sorted(finished) == [0, 1, 2]
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"]["completion_tokens"] >= 3
    with client.chat.completions.stream(**{**body, "messages": user(short_prompt), "temperature": 0}) as stream:
        final = stream.get_final_completion()
    assert len(final.choices) == 3 and all(choice.message.role == "assistant" for choice in final.choices)
    assert len({choice.message.content for choice in final.choices}) == 1


def test_s68_usage_covers_all_choices(wire):
    one = wire.post(CHAT, json=long_body(10)).json()["usage"]
    three = wire.post(CHAT, json=long_body(10, n=3)).json()["usage"]
    assert one["completion_tokens"] == 10 and three["completion_tokens"] == 30
    assert three["prompt_tokens"] == one["prompt_tokens"]


def check_logprobs(content):
    for token in content:
        assert set(token) == {"token", "logprob", "bytes", "top_logprobs"}
        assert token["logprob"] <= 0
        assert isinstance(token["bytes"], list) and all(0 <= b < 256 for b in token["bytes"])
        for top in token["top_logprobs"]:
            assert set(top) == {"token", "logprob", "bytes"}
        tops = [top["logprob"] for top in token["top_logprobs"]]
        assert tops == sorted(tops, reverse=True)


def test_s69_logprobs(wire, client):
    body = long_body(20, logprobs=True, top_logprobs=2)
    choice = wire.post(CHAT, json=body).json()["choices"][0]
    assert choice["logprobs"]["refusal"] is None
    content = choice["logprobs"]["content"]
    check_logprobs(content)
    assert all(len(token["top_logprobs"]) == 2 for token in content)
    joined = bytes(b for token in content for b in token["bytes"])
    assert joined.decode() == choice["message"]["content"]
    # Greedy: the sampled token is the likeliest.
    assert all(abs(token["logprob"] - token["top_logprobs"][0]["logprob"]) < 1e-4 for token in content)
    streamed = [token for chunk in chat_chunks(wire, body) for c in chunk["choices"] if c["logprobs"]
                for token in c["logprobs"]["content"]]
    assert [token["token"] for token in streamed] == [token["token"] for token in content]
    bare = client.chat.completions.create(**long_body(20, logprobs=True))
    assert bare.choices[0].logprobs.content[0].top_logprobs == []


def test_penalties_bias_and_extensions(wire):
    """Every sampling knob is taken and has its effect."""
    base = long_body(12)
    for change in ({"presence_penalty": 1.5}, {"frequency_penalty": 2}, {"top_p": 0.5}, {"top_k": 5},
                   {"min_p": 0.1}, {"repetition_penalty": 1.3}):
        reply = wire.post(CHAT, json={**base, **change})
        assert reply.status_code == 200, (change, reply.text)
    first = wire.post(CHAT, json={**base, "logprobs": True, "top_logprobs": 1}).json()["choices"][0]
    words = len({token["token"] for token in first["logprobs"]["content"]})
    varied = wire.post(CHAT, json={**base, "repetition_penalty": 1.9, "logprobs": True}).json()["choices"][0]
    assert len({token["token"] for token in varied["logprobs"]["content"]}) >= words


def test_a_shared_prefix_is_counted_as_cached(wire):
    messages = [{"role": "system", "content": "You know these facts. " + "Ada has a red car. " * 30}]
    body = {"model": MODEL, "temperature": 0, "max_completion_tokens": 2}
    wire.post(CHAT, json={**body, "messages": messages + user("Who has a car?")})
    again = wire.post(CHAT, json={**body, "messages": messages + user("What colour is it?")}).json()["usage"]
    assert again["prompt_tokens_details"]["cached_tokens"] > 0
    assert again["prompt_tokens_details"]["cached_tokens"] < again["prompt_tokens"]


def test_raw_and_streaming_responses(client):
    raw = client.chat.completions.with_raw_response.create(**chat_body())
    assert raw.headers["x-request-id"].startswith("req_")
    assert raw.parse().id.startswith("chatcmpl-")
    with client.chat.completions.with_streaming_response.create(**chat_body()) as streaming:
        assert streaming.headers["content-type"].startswith("application/json")
        assert streaming.parse().choices


def test_api_key_header_of_azure_style_clients(server):
    reply = httpx.post(server.url + CHAT, json=chat_body(), headers={"api-key": API_KEY}, timeout=120)
    assert reply.status_code == 200, reply.text
