"""What several test files need: the shapes of errors and streams, and requests of known length."""
import json
import re

from cairn_server import MODEL, control_tokens

STORY = "Write a one-sentence bedtime story about a unicorn."
REQUEST_ID = re.compile(r"^req_[0-9a-f]{32}$")


def user(text):
    return [{"role": "user", "content": text}]


def chat_body(text="Hello!", **extra):
    return {"model": MODEL, "messages": user(text), "temperature": 0, "seed": 7, **extra}


_CONTROL = []


def endless():
    """A logit_bias under which the model cannot end its turn: its reply has the length asked for."""
    if not _CONTROL:
        _CONTROL.extend(control_tokens())
    return {str(token): -100 for token in _CONTROL}


def long_body(tokens, text=STORY, **extra):
    return chat_body(text, max_completion_tokens=tokens, logit_bias=endless(), **extra)


def check_error(reply, status, type_="invalid_request_error", param=None, code=None, message=None):
    """The one error shape: four keys, always. `message` is a substring or a compiled pattern."""
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"].split(";")[0] == "application/json"
    assert REQUEST_ID.match(reply.headers["x-request-id"]), dict(reply.headers)
    body = reply.json()
    assert set(body) == {"error"}
    error = body["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == type_, error
    assert error["param"] == param, error
    assert error["code"] == code, error
    assert isinstance(error["message"], str) and error["message"]
    if message is not None:
        found = re.search(message, error["message"]) if isinstance(message, re.Pattern) else \
            message in error["message"]
        assert found, error["message"]
    return error


class Frame:
    def __init__(self, event, data):
        self.event, self.data = event, data

    @property
    def json(self):
        return json.loads(self.data)


def sse_frames(raw):
    """Splits a whole event stream, refusing everything that breaks one of the SDK's decoders."""
    text = raw.decode("utf-8") if isinstance(raw, bytes) else raw
    assert "\r" not in text
    assert text.endswith("\n\n"), repr(text[-80:])
    frames = []
    for block in text[:-2].split("\n\n"):
        event, data = None, []
        comment = False
        for line in block.split("\n"):
            if line.startswith(":"):
                comment = True
                continue
            field, _, value = line.partition(": ")
            assert field in ("event", "data"), f"field {field!r} breaks clients"
            if field == "event":
                event = value
            else:
                data.append(value)
        if comment and not data and event is None:
            continue
        assert len(data) == 1, f"a frame without exactly one data line: {block!r}"
        frames.append(Frame(event, data[0]))
    return frames


def post_stream(wire, path, body, headers=None):
    """Posts and returns (reply, frames) of a stream that ended."""
    with wire.stream("POST", path, json=body, headers=headers) as reply:
        raw = reply.read()
    assert reply.status_code == 200, raw
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert "no-cache" in reply.headers["cache-control"]
    assert "content-length" not in reply.headers
    return reply, sse_frames(raw)


def chat_chunks(wire, body, headers=None):
    """The chunks of a chat stream (JSON), after the checks that hold for every stream."""
    _, frames = post_stream(wire, "/v1/chat/completions", {**body, "stream": True}, headers)
    assert all(frame.event is None for frame in frames)
    assert frames[-1].data == "[DONE]"
    chunks = [frame.json for frame in frames[:-1]]
    for key in ("id", "created", "model", "system_fingerprint"):
        assert len({chunk[key] for chunk in chunks}) == 1, key
    assert all(chunk["object"] == "chat.completion.chunk" for chunk in chunks)
    return chunks


def chunk_text(chunks, index=0):
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]
                   if choice["index"] == index)


def response_events(wire, body, headers=None):
    """The events of a Responses stream (JSON), after the checks that hold for every stream."""
    _, frames = post_stream(wire, "/v1/responses", {**body, "stream": True}, headers)
    events = []
    for frame in frames:
        if frame.data == "[DONE]":
            assert frame is frames[-1]
            continue
        event = frame.json
        assert frame.event == event["type"]
        events.append(event)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    return events


def response_body(input_="Hello!", **extra):
    return {"model": MODEL, "input": input_, "temperature": 0, **extra}
