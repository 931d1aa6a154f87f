"""Every allocation of a request is made to fail in turn: the server answers or closes, and stays whole. A stream
that began ends as it should or says that it failed."""
import httpx
import pytest

from tools import ANSWER, chat_custom, chat_function

MODEL = "cairn-tiny"
MAX_ALLOCATIONS = 4000
STRIDE_AFTER = 150  # every allocation up to here, then a sample of the rest

CASES = {
    "models": ("GET", "/v1/models", None),
    "chat": ("POST", "/v1/chat/completions", {
        "model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3, "logprobs": True,
        "top_logprobs": 1, "store": True, "metadata": {"a": "b"}}),
    "chat_stream": ("POST", "/v1/chat/completions", {
        "model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3, "stream": True}),
    "completion": ("POST", "/v1/completions", {
        "model": MODEL, "prompt": "abc", "max_tokens": 3, "logprobs": 1, "echo": True}),
    "embedding": ("POST", "/v1/embeddings", {"model": MODEL, "input": "abc", "encoding_format": "base64"}),
    "response": ("POST", "/v1/responses", {"model": MODEL, "input": "abc", "max_output_tokens": 16}),
    "response_stream": ("POST", "/v1/responses", {
        "model": MODEL, "input": [{"role": "user", "content": "abc"}], "max_output_tokens": 16, "stream": True}),
    "chat_tools": ("POST", "/v1/chat/completions", {
        "model": MODEL, "max_tokens": 60, "tools": [chat_function("get_weather"), chat_custom("note")],
        "tool_choice": "required", "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "reasoning_content": "hm", "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}]}),
    "response_schema_stream": ("POST", "/v1/responses", {
        "model": MODEL, "max_output_tokens": 60, "stream": True, "input": [
            {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
            {"type": "function_call", "call_id": "call_1", "name": "get_weather", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_1", "output": "sunny"}],
        "text": {"format": {"type": "json_schema", "name": "answer", "strict": True, "schema": ANSWER}}}),
    "conversation": ("POST", "/v1/conversations", {"metadata": {"a": "b"}, "items": [
        {"role": "user", "content": "hi"},
        {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}]}),
    "compact": ("POST", "/v1/responses/compact", {"model": MODEL, "instructions": "Be brief.", "input": [
        {"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}),
    "response_compacting_stream": ("POST", "/v1/responses", {
        "model": MODEL, "max_output_tokens": 16, "stream": True, "input": [
            {"role": "assistant", "content": "many words " * 800}, {"role": "user", "content": "hi"}],
        "context_management": [{"type": "compaction", "compact_threshold": 1000}]}),
}

STREAM_ENDS = ("data: [DONE]", '{"type":"response.completed"', '{"type":"response.incomplete"',
               '{"type":"response.failed"', '"error":{"message"')


def outcome(wire, method, path, body, nth):
    """The status, or "closed" when there was no memory even for an answer."""
    try:
        reply = wire.request(method, path, json=body, headers={"X-Cairn-Fault": f"alloc={nth}"})
    except httpx.TransportError:
        return "closed"
    if reply.status_code >= 400:
        assert set(reply.json()["error"]) == {"message", "type", "param", "code"}
        assert reply.json()["error"]["type"] == "server_error", reply.text
    elif body and body.get("stream"):
        assert reply.text.endswith("\n\n"), reply.text
        frames = [frame for frame in reply.text.split("\n\n") if frame and not frame.startswith(":")]
        assert any(end in frames[-1] for end in STREAM_ENDS), reply.text
    return reply.status_code


@pytest.mark.parametrize("name", CASES)
def test_every_allocation_may_fail(wire, faults, name):
    method, path, body = CASES[name]
    seen, nth, clean = {}, 1, 0
    while nth < MAX_ALLOCATIONS and clean < 40:
        result = outcome(wire, method, path, body, nth)
        seen[result] = seen.get(result, 0) + 1
        assert result in (200, 500, 503, "closed"), (nth, result)
        clean = clean + 1 if result == 200 else 0
        nth += 1 if nth < STRIDE_AFTER else 1 + nth // 50
    assert seen.get(500, 0) > 5, f"no allocation failed where it shows: {seen}"
    reply = wire.request(method, path, json=body, headers={"X-Cairn-Fault": "alloc=1000000000000000"})
    assert reply.status_code == 200
