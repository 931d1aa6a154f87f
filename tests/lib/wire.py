"""A small asyncio HTTP/1.1 client: thousands of connections, chunked streams as they arrive.

Standard library only. The load and crash tests use it instead of an HTTP library because they want to see
every byte and to be killed, cut and counted themselves.
"""
import asyncio
import json

from cairn_server import API_KEY


class Connection:
    """One keep-alive connection. Raises ConnectionError when the server goes away."""

    def __init__(self, port, host="127.0.0.1"):
        self.host, self.port = host, port
        self.reader = self.writer = None

    async def open(self):
        self.reader, self.writer = await asyncio.open_connection(self.host, self.port, limit=1 << 22)
        return self

    def close(self):
        if self.writer:
            self.writer.close()

    def abort(self):
        """Ends the connection at once, as a client that died does."""
        self.writer.transport.abort()

    async def __aenter__(self):
        return await self.open()

    async def __aexit__(self, *_):
        self.close()

    async def send(self, method, path, body=None, key=API_KEY, headers=None):
        """`body` is sent as JSON, or as it is when it is bytes (with its Content-Type in `headers`)."""
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n"
        given = dict(headers or {})
        if body is not None:
            given.setdefault("Content-Type", "application/json")
            given["Content-Length"] = len(data)
        head += "".join(f"{name}: {value}\r\n" for name, value in given.items())
        self.writer.write(head.encode() + b"\r\n" + data)
        await self.writer.drain()

    async def read_head(self):
        """(status, headers) of the next reply; its body must be read before the next one."""
        try:
            raw = await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            raise ConnectionError("closed before a reply") from error
        lines = raw.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in
                   (line.partition(":") for line in lines[1:] if line)}
        return int(lines[0].split()[1]), headers

    async def chunks(self):
        """The chunks of a chunked body, each as it arrives."""
        try:
            while True:
                size = int((await self.reader.readuntil(b"\r\n")).split(b";")[0], 16)
                data = await self.reader.readexactly(size + 2)
                if size == 0:
                    return
                yield data[:-2]
        except (asyncio.IncompleteReadError, ValueError) as error:
            raise ConnectionError("the body was cut") from error

    async def read_body(self, headers):
        if headers.get("transfer-encoding") == "chunked":
            return b"".join([chunk async for chunk in self.chunks()])
        try:
            return await self.reader.readexactly(int(headers.get("content-length", 0)))
        except asyncio.IncompleteReadError as error:
            raise ConnectionError("the body was cut") from error

    async def request(self, method, path, body=None, key=API_KEY, headers=None):
        """(status, decoded JSON or None)."""
        status, data = await self.request_raw(method, path, body, key, headers)
        return status, json.loads(data) if data else None

    async def request_raw(self, method, path, body=None, key=API_KEY, headers=None):
        """(status, bytes)."""
        await self.send(method, path, body, key, headers)
        status, got = await self.read_head()
        return status, await self.read_body(got)

    async def events(self):
        """The data of each server-sent event of the reply, decoded; "[DONE]" as a string."""
        pending = b""
        async for chunk in self.chunks():
            pending += chunk
            while b"\n\n" in pending:
                block, pending = pending.split(b"\n\n", 1)
                for line in block.split(b"\n"):
                    if line.startswith(b"data: "):
                        data = line[6:]
                        yield "[DONE]" if data == b"[DONE]" else json.loads(data)


def form(fields, name, filename, data, media_type="application/octet-stream"):
    """(body, headers) of a multipart form with one file."""
    boundary = "cairn-test-boundary-7d1f"
    parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
             for key, value in fields.items()]
    parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n'
                 f"Content-Type: {media_type}\r\n\r\n".encode() + data + b"\r\n")
    parts.append(f"--{boundary}--\r\n".encode())
    return b"".join(parts), {"Content-Type": f"multipart/form-data; boundary={boundary}"}
