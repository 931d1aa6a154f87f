"""What the clients of a crash test do, what they were told, and how it is checked after a kill.

One class a kind of object. `act` is one client's use of the server: it may be cut at any point by the death of the
process, and notes what was acknowledged as soon as it was. `check` runs on the restarted server: everything that was
acknowledged is there and whole, what was under way is there once or not at all, and what the server promised to go on
with goes on. `finish` waits for the work that the server still owes.
"""
import asyncio
import hashlib
import json

from cairn_server import MODEL
from wire import Connection, form

TERMINAL = ("response.completed", "response.incomplete", "response.failed")
SAMPLE = 40         # objects of earlier rounds that are looked at again each round
OWED_TIMEOUT = 300  # seconds for what is under way to end


class Kind:
    """Acknowledged objects by id: those of this round, and those that were checked before."""

    def __init__(self, world):
        self.world = world
        self.fresh, self.old = {}, {}

    def told(self):
        return len(self.fresh) + len(self.old)

    def tell(self, identity, what):
        self.fresh[identity] = what

    def forget(self, identity):
        self.fresh.pop(identity, None)
        self.old.pop(identity, None)

    async def check(self, pool, rng, everything=False):
        known = list(self.old.items())
        if not everything and len(known) > SAMPLE:
            known = rng.sample(known, SAMPLE)
        await pool.each(self.check_one, list(self.fresh.items()) + known)
        self.old.update(self.fresh)
        self.fresh = {}

    async def finish(self, pool, rng):
        """The end of the run."""
        await self.check(pool, rng, everything=True)

    async def check_one(self, connection, identity, told):
        raise NotImplementedError

    async def check_unique(self, connection, *_):
        """Once all kinds are finished: nothing is there twice, whoever made it."""


async def expect(connection, method, path, body=None, status=200, headers=None):
    got, reply = await connection.request(method, path, body, headers=headers)
    assert got == status, f"{method} {path}: {got} {reply}"
    return reply


class Responses(Kind):
    """Stored responses of one reply, streamed or not."""

    def __init__(self, world):
        super().__init__(world)
        self.begun = set()  # ids seen only in an event that promises nothing

    async def act(self, connection, name, rng):
        body = {"model": MODEL, "input": f"Repeat after me: {name}", "max_output_tokens": 24, "metadata": {"n": name}}
        if rng.random() < 0.5:
            reply = await expect(connection, "POST", "/v1/responses", body)
            self.tell(reply["id"], reply)
            return
        await connection.send("POST", "/v1/responses", {**body, "stream": True})
        status, headers = await connection.read_head()
        assert status == 200, await connection.read_body(headers)
        async for event in connection.events():
            if event == "[DONE]":
                continue
            if event["type"] == "response.created":
                self.begun.add(event["response"]["id"])
            elif event["type"] in TERMINAL:
                self.begun.discard(event["response"]["id"])
                self.tell(event["response"]["id"], event["response"])

    async def check_one(self, connection, identity, told):
        found = await expect(connection, "GET", f"/v1/responses/{identity}")
        assert found == told, f"{identity} changed:\n{told}\n{found}"

    async def check(self, pool, rng, everything=False):
        await super().check(pool, rng, everything)
        await pool.each(self.check_begun, [(one, None) for one in self.begun])
        self.begun.clear()

    async def check_begun(self, connection, identity, _):
        status, body = await connection.request("GET", f"/v1/responses/{identity}")
        assert status in (200, 404), body
        if status == 200:
            assert body["status"] != "completed" or body["usage"], f"{identity} is half a response: {body}"


class Chats(Kind):
    """Stored chat completions, streamed or not, or with an Idempotency-Key."""

    def __init__(self, world):
        super().__init__(world)
        self.keys = {}  # Idempotency-Key -> body: not acknowledged

    async def act(self, connection, name, rng):
        body = {"model": MODEL, "messages": [{"role": "user", "content": f"Repeat after me: {name}"}], "store": True,
                "max_completion_tokens": 24, "metadata": {"n": name}}
        if rng.random() < 0.5:
            if rng.random() < 0.5:
                self.keys[name] = body
            await self.create(connection, name, body)
            self.keys.pop(name, None)
            return
        await connection.send("POST", "/v1/chat/completions", {**body, "stream": True})
        status, headers = await connection.read_head()
        assert status == 200, await connection.read_body(headers)
        identity, text = None, ""
        async for chunk in connection.events():
            if chunk == "[DONE]":
                self.tell(identity, text)
            else:
                identity = chunk["id"]
                text += chunk["choices"][0]["delta"].get("content") or ""

    async def create(self, connection, name, body):
        headers = {"Idempotency-Key": name} if name in self.keys else None
        reply = await expect(connection, "POST", "/v1/chat/completions", body, headers=headers)
        self.tell(reply["id"], reply["choices"][0]["message"]["content"])

    async def check_one(self, connection, identity, told):
        found = await expect(connection, "GET", f"/v1/chat/completions/{identity}")
        assert found["choices"][0]["message"]["content"] == told, f"{identity} changed"

    async def check(self, pool, rng, everything=False):
        await super().check(pool, rng, everything)
        await pool.each(self.create, list(self.keys.items()))
        self.keys.clear()

    async def check_unique(self, connection, *_):
        names = [one["metadata"]["n"] async for one in listed(connection, "/v1/chat/completions", 100)]
        twice = {name for name in names if names.count(name) > 1} if len(names) != len(set(names)) else None
        assert not twice, f"completions are stored twice: {sorted(twice)[:5]}"


async def listed(connection, path, limit):
    """Every object of a list, page by page."""
    after = ""
    while True:
        page = await expect(connection, "GET", f"{path}?limit={limit}{after}")
        for one in page["data"]:
            yield one
        if not page["has_more"]:
            return
        after = f"&after={page['data'][-1]['id']}"


class Files(Kind):
    """Files: created plainly, with an Idempotency-Key or from the parts of an upload; some are deleted again."""

    def __init__(self, world):
        super().__init__(world)
        self.gone = set()    # deletion acknowledged
        self.unsure = set()  # deletion asked for
        self.keys = {}       # Idempotency-Key -> (body, headers): not acknowledged
        self.uploads = {}    # id -> [name, pieces, {index: part id}, complete was asked for]

    def note(self, found, data):
        assert found["bytes"] == len(data)
        self.tell(found["id"], hashlib.sha256(data).hexdigest())

    async def act(self, connection, name, rng):
        data = rng.randbytes(rng.choice((1, 900, 70_000, 300_000)))
        if rng.random() < 0.3:
            await self.upload(connection, name, data)
        else:
            await self.create(connection, name, data, rng)

    async def create(self, connection, name, data, rng):
        body, headers = form({"purpose": "batch"}, "file", f"{name}.jsonl", data)
        if rng.random() < 0.3:
            headers["Idempotency-Key"] = name
            self.keys[name] = (body, headers, data)
        found = await expect(connection, "POST", "/v1/files", body, headers=headers)
        self.keys.pop(name, None)
        self.note(found, data)
        if rng.random() < 0.2:
            self.forget(found["id"])
            self.unsure.add(found["id"])
            await expect(connection, "DELETE", f"/v1/files/{found['id']}")
            self.unsure.discard(found["id"])
            self.gone.add(found["id"])

    async def upload(self, connection, name, data):
        third = max(1, len(data) // 3)
        pieces = [data[:third], data[third:2 * third], data[2 * third:]]
        pieces = [piece for piece in pieces if piece]
        made = await expect(connection, "POST", "/v1/uploads", {
            "filename": f"{name}.jsonl", "bytes": len(data), "mime_type": "application/jsonl", "purpose": "batch"})
        self.uploads[made["id"]] = [name, pieces, {}, False]
        await asyncio.gather(*[self.part(connection.port, made["id"], i) for i in range(len(pieces))])
        await self.complete(connection, made["id"])

    async def part(self, port, upload, index):
        async with Connection(port) as connection:
            body, headers = form({}, "data", "part", self.uploads[upload][1][index])
            made = await expect(connection, "POST", f"/v1/uploads/{upload}/parts", body, headers=headers)
            self.uploads[upload][2][index] = made["id"]

    async def complete(self, connection, upload):
        _, pieces, parts, _ = self.uploads[upload]
        self.uploads[upload][3] = True
        data = b"".join(pieces)
        done = await expect(connection, "POST", f"/v1/uploads/{upload}/complete", {
            "part_ids": [parts[i] for i in range(len(pieces))], "md5": hashlib.md5(data).hexdigest()})
        self.note(done["file"], data)
        del self.uploads[upload]

    async def check_one(self, connection, identity, told):
        status, data = await connection.request_raw("GET", f"/v1/files/{identity}/content")
        assert status == 200, f"{identity} was lost: {data[:300]}"
        assert hashlib.sha256(data).hexdigest() == told, f"{identity} changed"

    async def check(self, pool, rng, everything=False):
        await super().check(pool, rng, everything)
        await pool.each(self.check_gone, [(one, None) for one in self.gone])
        self.gone.clear()
        await pool.each(self.check_key, list(self.keys.items()))
        self.keys.clear()
        await pool.each(self.resume_upload, [(one, None) for one in list(self.uploads)])

    async def check_gone(self, connection, identity, _):
        await expect(connection, "GET", f"/v1/files/{identity}", status=404)

    async def check_key(self, connection, _, sent):
        """The same key again gives the file that was made, or makes it now; check_unique tells if both."""
        body, headers, data = sent
        self.note(await expect(connection, "POST", "/v1/files", body, headers=headers), data)

    async def resume_upload(self, connection, upload, _):
        """Acknowledged parts are there; the missing ones are sent, and the upload completed."""
        name, pieces, parts, asked = self.uploads[upload]
        if asked:  # the reply was lost: it was completed, and its file is listed, or it can be completed now
            status, reply = await connection.request("POST", f"/v1/uploads/{upload}/complete", {
                "part_ids": [parts[i] for i in range(len(pieces))]})
            if status == 200:
                self.note(reply["file"], b"".join(pieces))
            else:
                assert status == 400, reply
                self.world.must_be_listed.add(f"{name}.jsonl")
            del self.uploads[upload]
            return
        for i in range(len(pieces)):
            if i not in parts:
                await self.part(connection.port, upload, i)
        await self.complete(connection, upload)

    async def check_unique(self, connection, *_):
        names = [one["filename"] async for one in listed(connection, "/v1/files", 1000)
                 if one["purpose"] == "batch"]
        assert len(names) == len(set(names)), f"a file is there twice: {sorted(n for n in names if names.count(n) > 1)}"
        assert self.world.must_be_listed <= set(names), f"lost: {self.world.must_be_listed - set(names)}"


class Batches(Kind):
    """Batches live over several kills; in the end each line has one result."""

    AT_ONCE = 4

    def __init__(self, world):
        super().__init__(world)
        self.making = 0

    def live(self):
        return sum(1 for told in list(self.fresh.values()) + list(self.old.values()) if not told["done"])

    async def act(self, connection, name, rng):
        if self.live() + self.making >= self.AT_ONCE:
            return await asyncio.sleep(0.01)
        self.making += 1
        try:
            await self.create(connection, name, rng)
        finally:
            self.making -= 1

    async def create(self, connection, name, rng):
        count = rng.randrange(1, 40)
        # Every third line stores its completion: Chats.check_unique finds those that are there twice.
        lines = [json.dumps({"custom_id": f"{name} {i}", "method": "POST", "url": "/v1/chat/completions",
                             "body": {"model": MODEL, "max_completion_tokens": 400 if i % 5 == 4 else 8, "messages": [
                                 {"role": "user", "content": f"Repeat after me: {name} {i}"}],
                                 **({} if i % 3 else {"store": True, "metadata": {"n": f"{name} {i}"}})}})
                 for i in range(count)]
        # A line that its model must refuse: it belongs in the error file.
        lines.append(json.dumps({"custom_id": f"{name} bad", "method": "POST", "url": "/v1/chat/completions",
                                 "body": {"model": MODEL, "messages": [{"role": "user", "content": "word " * 9000}]}}))
        body, headers = form({"purpose": "batch"}, "file", f"input {name}.jsonl", "\n".join(lines).encode())
        source = await expect(connection, "POST", "/v1/files", body, headers=headers)
        made = await expect(connection, "POST", "/v1/batches", {
            "input_file_id": source["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h",
            "metadata": {"n": name}})
        ids = {json.loads(line)["custom_id"] for line in lines}
        self.tell(made["id"], {"ids": ids, "stored": {f"{name} {i}" for i in range(0, count, 3)}, "done": False,
                               "cancelled": False})
        if rng.random() < 0.1:
            self.fresh[made["id"]]["cancelled"] = True
            status, reply = await connection.request("POST", f"/v1/batches/{made['id']}/cancel")
            assert status == 200 or "Cannot cancel" in reply["error"]["message"], reply  # it may be through already

    async def check_one(self, connection, identity, told):
        found = await expect(connection, "GET", f"/v1/batches/{identity}")
        ended = found["status"] in ("completed", "cancelled")
        assert ended or found["status"] in ("validating", "in_progress", "finalizing", "cancelling"), found
        assert ended or not told["done"], f"{identity} is under way again: {found}"
        if ended and not told["done"]:
            await self.check_results(connection, found, told)
            told["done"] = True

    async def check_results(self, connection, found, told):
        seen = []
        for name in ("output_file_id", "error_file_id"):
            if found.get(name):
                status, data = await connection.request_raw("GET", f"/v1/files/{found[name]}/content")
                assert status == 200, data[:300]
                lines = [json.loads(line) for line in data.decode().splitlines()]
                await self.check_stored(connection, [line for line in lines if line["custom_id"] in told["stored"]])
                seen += [line["custom_id"] for line in lines]
                if found["status"] == "completed":
                    assert all((line["response"]["status_code"] == 200) == (name == "output_file_id") for line in lines)
        counts = found["request_counts"]
        if found["status"] == "cancelled" and not counts["total"]:  # before its input was read
            assert told["cancelled"] and not seen, found
            return
        assert sorted(seen) == sorted(told["ids"]), (
            f"{found['id']}: {len(seen)} results of {len(told['ids'])}, {len(seen) - len(set(seen))} twice")
        assert counts["total"] == len(told["ids"]), counts
        if found["status"] == "completed":
            assert not told["cancelled"] or counts["completed"], found
            assert (counts["completed"], counts["failed"]) == (len(told["ids"]) - 1, 1), counts

    async def check_stored(self, connection, lines):
        """What the lines of an output have stored is there, as they were answered."""
        for line in lines:
            body = line["response"] and line["response"]["body"]
            if body and line["response"]["status_code"] == 200:
                found = await expect(connection, "GET", f"/v1/chat/completions/{body['id']}")
                assert found["choices"][0]["message"] == body["choices"][0]["message"], f"{body['id']} changed: {found}"

    async def finish(self, pool, rng):
        deadline = asyncio.get_running_loop().time() + OWED_TIMEOUT
        while self.live() and asyncio.get_running_loop().time() < deadline:
            await self.check(pool, rng, everything=True)
            await asyncio.sleep(0.2)
        assert not self.live(), f"{self.live()} batches did not end"

    async def check_unique(self, connection, *_):
        names = [one["metadata"]["n"] async for one in listed(connection, "/v1/batches", 100)]
        assert len(names) == len(set(names)), "a batch is there twice"


class Background(Kind):
    """Background responses whose stream is cut by the kill and taken up again."""

    def __init__(self, world):
        super().__init__(world)
        self.cut = {}  # id -> events so far

    async def act(self, connection, name, rng):
        body = {"model": MODEL, "input": f"Repeat after me: {name}", "background": True, "metadata": {"n": name},
                "max_output_tokens": rng.choice((16, 60, 200)), "temperature": rng.choice((0, 1))}
        if rng.random() < 0.3:
            made = await expect(connection, "POST", "/v1/responses", body)
            self.cut[made["id"]] = []
            return
        await connection.send("POST", "/v1/responses", {**body, "stream": True})
        status, headers = await connection.read_head()
        assert status == 200, await connection.read_body(headers)
        events = []
        async for event in connection.events():
            if event != "[DONE]":
                events.append(event)
                self.cut[events[0]["response"]["id"]] = events
        self.settle(events[0]["response"]["id"], events)

    def settle(self, identity, events):
        """A stream that was read to its end."""
        assert [event["sequence_number"] for event in events] == list(range(len(events))), f"{identity}: a gap"
        assert [event["type"] for event in events if event["type"] in TERMINAL] == [events[-1]["type"]], identity
        assert events[-1]["type"] != "response.failed", events[-1]
        self.cut.pop(identity, None)
        self.tell(identity, events[-1]["response"])
        self.world.ended_in_background[identity] = events[-1]["type"]

    async def check_one(self, connection, identity, told):
        found = await expect(connection, "GET", f"/v1/responses/{identity}")
        assert found == told, f"{identity} changed:\n{told}\n{found}"

    async def check(self, pool, rng, everything=False):
        await pool.each(self.take_up, list(self.cut.items()))
        await super().check(pool, rng, everything)

    async def take_up(self, connection, identity, events):
        """From the last event on; now and then all of it again, which must begin with what was seen."""
        after = f"&starting_after={events[-1]['sequence_number']}" if events else ""
        rest = await self.replay(connection, identity, after)
        whole = await self.replay(connection, identity, "")
        assert whole[:len(events)] == events, f"{identity}: another beginning after the crash"
        assert events + rest == whole, f"{identity}: the rest is not what a full replay says"
        self.settle(identity, whole)

    async def replay(self, connection, identity, after):
        await connection.send("GET", f"/v1/responses/{identity}?stream=true{after}")
        status, headers = await connection.read_head()
        assert status == 200, f"{identity} was lost: {await connection.read_body(headers)}"
        return [event async for event in connection.events() if event != "[DONE]"]


class Conversations(Kind):
    """Conversations that grow by items and by responses; each group of items is there once and whole, or not."""

    async def act(self, connection, name, rng):
        first = f"first {name}"
        made = await expect(connection, "POST", "/v1/conversations", {"items": [message(first)], "metadata": {"n": name}})
        groups = [[first, False, True]]  # text of the user, an answer follows, acknowledged
        self.tell(made["id"], groups)
        for i in range(rng.randrange(1, 4)):
            answered = rng.random() < 0.6
            group = [f"{name} {i}", answered, False]
            groups.append(group)
            if answered:
                body = {"model": MODEL, "input": group[0], "conversation": made["id"], "max_output_tokens": 16,
                        "store": rng.random() < 0.7}
                await expect(connection, "POST", "/v1/responses", body)
            else:
                await expect(connection, "POST", f"/v1/conversations/{made['id']}/items", {"items": [message(group[0])]})
            group[2] = True

    async def check_one(self, connection, identity, groups):
        items = [one async for one in listed(connection, f"/v1/conversations/{identity}/items", 100)]
        items.reverse()  # newest first is the default
        said = [(one["role"], one["content"][0]["text"]) for one in items if one["type"] == "message"]
        at = 0
        for text, answered, told in groups:
            here = at < len(said) and said[at] == ("user", text)
            assert here or not told, f"{identity}: {text!r} was lost: {said}"
            if here:
                at += 1
                if answered:
                    assert at < len(said) and said[at][0] == "assistant", f"{identity}: {text!r} has no answer: {said}"
                    at += 1
        assert at == len(said), f"{identity}: more than was said: {said[at:]} in {said}"

    async def check(self, pool, rng, everything=False):
        recent = list(self.fresh)
        await super().check(pool, rng, everything)
        await pool.each(self.go_on, [(one, None) for one in recent[-5:]])

    async def go_on(self, connection, identity, _):
        """No lock outlives its process."""
        group = [f"after the crash {identity}", True, False]
        self.old[identity].append(group)
        for _ in range(600):
            status, reply = await connection.request("POST", "/v1/responses", {
                "model": MODEL, "input": group[0], "conversation": identity, "max_output_tokens": 16})
            if status != 400 or reply["error"]["code"] != "conversation_locked":
                break
            await asyncio.sleep(0.1)
        assert status == 200, reply
        group[2] = True


def message(text):
    return {"type": "message", "role": "user", "content": text}


KINDS = (Responses, Chats, Files, Batches, Background, Conversations)
