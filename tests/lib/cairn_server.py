"""Starts a real Cairn for a test and stops it again. Standard library only.

CAIRN_BIN names the binary (default build/release/cairn), CAIRN_TEST_MODEL a model file to serve in place of the
built-in one (its name must be cairn-tiny.gguf). Every server gets its own data folder and a
free loopback port, runs with CAIRN_CHECK=1 (each reply and event is checked against the contract before
it is sent) and must end with exit code 0 on SIGTERM, without a contract violation and without a
sanitizer's report.

CAIRN_TEST_DATABASE=postgres://... names a PostgreSQL server (tests/lib/postgres.py makes one): then every Server keeps
its objects in a new database there. CAIRN_TEST_S3=http://... names an S3 service (tests/lib/swift.py): then every Server
keeps its blobs in a place of its own there. tests/lib/distributed.py sets both.
"""
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from ports import free_port
from postgres import new_database
from swift import place as s3_place

ROOT = Path(__file__).resolve().parents[2]
API_KEY = "sk-proj-tests-0123456789abcdefghijklmnopqrstuvwxyzABCD"
ADMIN_KEY = "sk-admin-tests-0123456789abcdefghijklmnopqrstuvwxyzABC"
SECRET = "0123456789abcdef" * 4  # of servers on one database
MODEL = "cairn-tiny"
TEST_MODEL = os.environ.get("CAIRN_TEST_MODEL")
TEST_DATABASE = os.environ.get("CAIRN_TEST_DATABASE")
TEST_S3 = os.environ.get("CAIRN_TEST_S3")

# Loaded machines and sanitizer builds are slow: waits are long, and only success ends them early.
READY_TIMEOUT = float(os.environ.get("CAIRN_READY_TIMEOUT", "60"))
STOP_TIMEOUT = float(os.environ.get("CAIRN_STOP_TIMEOUT", "60"))

SANITIZER_REPORT = re.compile(r"(ERROR: \w*Sanitizer|WARNING: ThreadSanitizer|runtime error:)")


def binary():
    return str((ROOT / os.environ.get("CAIRN_BIN", "build/release/cairn")).resolve())


def metric(text, name):
    """The sum of all samples of a metric in Prometheus text, or None when there is none."""
    total = None
    for line in text.splitlines():
        match = re.match(rf"{re.escape(name)}(?:\{{[^}}]*\}})? (\S+)", line)
        if match:
            total = (total or 0.0) + float(match.group(1))
    return total


class Server:
    """One process. `data` is kept across start() and kill(), so that a restart sees the same state."""

    def __init__(self, args=(), env=None, data=None, scheme="http", check=True, database=None):
        """`database`: the address of one that several servers share, "" for none; else a new one where the run has
        any."""
        self.args = list(args)
        self.extra_env = dict(env or {})
        self._own_data = data is None
        self.data = Path(data or tempfile.mkdtemp(prefix="cairn-test-"))
        self.scheme = scheme
        self.check = check
        self.port = free_port()
        self.process = None
        self._log = None
        self.database = database
        if database is None and TEST_DATABASE:
            self.database = new_database(TEST_DATABASE)
        self.blobs = s3_place(TEST_S3) if TEST_S3 and database != "" else {}

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def base_url(self):
        return self.url + "/v1"

    @property
    def log_path(self):
        return self.data / "stderr.log"

    @property
    def where(self):
        """The flags by which another command finds the state of this server."""
        return ["--data", str(self.data / "state")] + (["--database", self.database] if self.database else [])

    def environment(self):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("CAIRN_", "OPENAI_", "XDG_"))}
        env.update(CAIRN_API_KEY=API_KEY, CAIRN_ADMIN_KEY=ADMIN_KEY, HOME=str(self.data))
        if self.check:
            env["CAIRN_CHECK"] = "1"
        if self.database:
            env["CAIRN_DATABASE"] = self.database
        env.update(self.blobs)
        env.update(self.extra_env)
        return {k: v for k, v in env.items() if v is not None}

    def start(self, wait=True):
        self._log = open(self.log_path, "ab")
        model = ["--model", TEST_MODEL] if TEST_MODEL and "--model" not in self.args else []
        command = [binary(), "serve", "--listen", f"127.0.0.1:{self.port}", "--data", str(self.data / "state")]
        self.process = subprocess.Popen(command + model + self.args, stdin=subprocess.DEVNULL, stdout=self._log,
                                        stderr=self._log, env=self.environment())
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self):
        deadline = time.monotonic() + READY_TIMEOUT
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"cairn ended with {self.process.returncode} at start:\n{self.log_tail()}")
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=5) as probe:
                    if self.scheme == "https":
                        return
                    probe.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    if probe.recv(64).startswith(b"HTTP/1.1 200"):
                        return
            except OSError:
                pass
            time.sleep(0.003)
        raise AssertionError(f"cairn was not ready after {READY_TIMEOUT} s:\n{self.log_tail()}")

    def log_tail(self, size=8000):
        text = self.log_path.read_text(errors="replace") if self.log_path.exists() else ""
        return text[-size:]

    def wait_log(self, text, seconds=20):
        """The log once it holds the text: what is logged of a reply is written after the reply."""
        deadline = time.monotonic() + seconds
        while True:
            log = self.log_path.read_text(errors="replace")
            if text in log or time.monotonic() > deadline:
                return log
            time.sleep(0.02)

    def get(self, path, key=API_KEY):
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {key}"})
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.read().decode()

    def metrics(self):
        return self.get("/metrics", ADMIN_KEY)

    def metric(self, name):
        return metric(self.metrics(), name)

    def usage(self, *options):
        """The rows of `cairn usage`."""
        done = subprocess.run([binary(), "usage", "--json", *self.where, *options], env=self.environment(),
                              capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def rss_kib(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1))

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def terminate(self):
        """SIGTERM, and the checks every server must pass at its end. Returns the exit code."""
        violations = self.metric("cairn_contract_violations_total") if self.check and self.scheme == "http" else 0
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(STOP_TIMEOUT)
        self._log.close()
        log = self.log_path.read_text(errors="replace")
        assert violations == 0, f"{violations} contract violations:\n{violation_lines(log)}"
        assert not SANITIZER_REPORT.search(log), f"sanitizer report:\n{log[-20000:]}"
        assert code == 0, f"exit code {code} on SIGTERM:\n{log[-4000:]}"
        return code

    def kill(self):
        self.process.kill()
        self.process.wait()
        self._log.close()

    def cleanup(self):
        if self.alive():
            self.kill()
        if self._own_data and not os.environ.get("CAIRN_KEEP_DATA"):
            shutil.rmtree(self.data, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self.terminate()
        finally:
            self.cleanup()


def group(database, size=2, args=(), env=None):
    """Servers that share a database, a secret and a folder of blobs, as several machines would with one S3. Not started
    yet; each is a context manager of its own, and `folder` is the first one's to clean up."""
    servers = [Server(args, dict(env or {}, CAIRN_SECRET=SECRET), database=database) for _ in range(size)]
    blobs = servers[0].data / "blobs"
    blobs.mkdir(parents=True)
    for server in servers:
        state = server.data / "state"
        state.mkdir(mode=0o700)
        (state / "blobs").symlink_to(blobs)
        server.blobs = servers[0].blobs
    return servers


def violation_lines(log):
    return "\n".join(line for line in log.splitlines() if "violation" in line)[-4000:]


def control_tokens(path=None):
    """Ids of the control tokens of a GGUF file. Banned through logit_bias, the model cannot end its turn,
    so that a reply has exactly as many tokens as were asked for."""
    reader = _GGUF(Path(path or TEST_MODEL or ROOT / "models" / "cairn-tiny.gguf").read_bytes())
    types = reader.metadata.get("tokenizer.ggml.token_type", [])
    return [i for i, kind in enumerate(types) if kind == 3]


class _GGUF:
    """The metadata of a GGUF file: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md"""

    SIZES = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

    def __init__(self, data):
        self.data, self.at = data, 8
        assert data[:4] == b"GGUF", "not a GGUF file"
        _, pairs = self._scalar("Q"), self._scalar("Q")
        self.metadata = {}
        for _ in range(pairs):
            key = self._string()
            self.metadata[key] = self._value(self._scalar("I"))

    def _scalar(self, code):
        value, = struct.unpack_from("<" + code, self.data, self.at)
        self.at += struct.calcsize("<" + code)
        return value

    def _string(self):
        size = self._scalar("Q")
        self.at += size
        return self.data[self.at - size:self.at].decode(errors="replace")

    def _value(self, kind):
        if kind == 8:
            return self._string()
        if kind == 9:
            inner, count = self._scalar("I"), self._scalar("Q")
            return [self._value(inner) for _ in range(count)]
        return self._scalar(self.SIZES[kind])


def http_json(method, url, body=None, key=API_KEY, headers=None, timeout=120):
    """One plain request; returns (status, headers, decoded body). HTTP errors are results, not exceptions."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method)
    request.add_header("Authorization", f"Bearer {key}")
    if data is not None:
        request.add_header("Content-Type", "application/json")
    for name, value in (headers or {}).items():
        request.add_header(name, value)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as reply:
            text = reply.read()
            return reply.status, dict(reply.headers), json.loads(text) if text else None
    except urllib.error.HTTPError as error:
        text = error.read()
        return error.code, dict(error.headers), json.loads(text) if text else None
