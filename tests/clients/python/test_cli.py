"""The command line and the life of the process: start, errors at start, stop."""
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import httpx
import pytest
from openai import OpenAI
from websockets.sync.client import connect

from cairn_server import ADMIN_KEY, API_KEY, MODEL, TEST_MODEL, Server, binary, http_json
from ports import free_port
from support import long_body


BUILT_IN = str(Path(__file__).resolve().parents[3] / "models" / "cairn-tiny.gguf")


def cairn(*args, env=None, stdin=None, timeout=120):
    """Runs the command to its end, in an environment without keys and without the caller's HOME."""
    base = {k: v for k, v in os.environ.items() if not k.startswith(("CAIRN_", "XDG_", "OPENAI_"))}
    if TEST_MODEL:
        base["CAIRN_MODEL"] = TEST_MODEL
    base.update(env or {})
    return subprocess.run([binary(), *args], capture_output=True, text=True, timeout=timeout, env=base,
                          input=stdin if stdin is not None else "")


def check_one_line(done, *words, code=1):
    """One line that says what and where, and the exit code."""
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    for word in words:
        assert str(word) in lines[0], (word, lines[0])


def test_help_and_version():
    help_ = cairn("--help")
    assert help_.returncode == 0
    for word in ("serve", "chat", "keys", "models", "coverage", "quantize", "inspect", "backup", "check"):
        assert word in help_.stdout, word
        assert f"cairn {word}" in cairn("help", word).stdout
        assert cairn(word, "--help").stdout == cairn("help", word).stdout
    for option in ("--listen HOST:PORT", "--data DIR", "--model FILE", "--config FILE", "--log json|text"):
        assert option in cairn("help", "serve").stdout, option
    version = cairn("--version")
    assert version.returncode == 0 and re.search(r"\d+\.\d+\.\d+", version.stdout)


def test_unknown_command_and_option():
    for args in (["frobnicate"], ["serve", "--no-such-option"], ["serve", "--listen"]):
        done = cairn(*args)
        assert done.returncode not in (0, -11, -6) and done.stderr.strip(), args


def test_coverage():
    done = cairn("coverage")
    assert done.returncode == 0, done.stderr
    assert re.search(r"official operations +\d+ +281\b", done.stdout), done.stdout
    unserved = cairn("coverage", "--verbose").stdout
    assert "createImage" in unserved
    for operation in ("createChatCompletion", "createResponse", "createEmbedding", "listModels"):
        assert not re.search(rf"\b{operation}\b", unserved), operation


def test_models_command(tmp_path):
    done = cairn("models", env={"HOME": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert MODEL in done.stdout


def test_quantize_and_inspect(tmp_path):
    small = tmp_path / "small.gguf"
    done = cairn("quantize", BUILT_IN, str(small), "q4_k_m")
    assert done.returncode == 0, done.stderr
    assert "100 %" in done.stderr and str(small) in done.stdout
    told = json.loads(cairn("inspect", "--json", str(small)).stdout)
    assert told["runnable"] is True and told["reason"] is None and told["metadata"]["general.file_type"] == 15
    assert told["file_bytes"] == small.stat().st_size
    assert {"Q4_K", "Q6_K", "F32"} <= set(told["types"])
    text = cairn("inspect", "--tensors", str(small)).stdout
    assert "runs here     yes" in text and "token_embd.weight" in text
    check_one_line(cairn("quantize", BUILT_IN, str(small), "q8_0"), small, "--force")
    check_one_line(cairn("quantize", "--force", BUILT_IN, str(small), "q9"), "q9", "Q4_K_M")
    check_one_line(cairn("quantize", str(small)), "IN, OUT and TYPE")
    check_one_line(cairn("inspect", __file__), "not a GGUF file")


def test_keys_create_list_revoke(tmp_path):
    """Keys made on the command line work in a running server, and stop working when revoked."""
    with Server(data=tmp_path) as server:
        data = server.where
        made = cairn("keys", "create", "--name", "from-the-shell", *data)
        assert made.returncode == 0, made.stderr
        key = re.search(r"sk-proj-[A-Za-z0-9_-]{20,}", made.stdout).group()
        listed = cairn("keys", "list", *data)
        assert listed.returncode == 0 and "from-the-shell" in listed.stdout and key not in listed.stdout
        assert wait_status(server, key, 200)
        identity = next(line for line in listed.stdout.splitlines() if "from-the-shell" in line).split()[0]
        revoked = cairn("keys", "revoke", identity, *data)
        assert revoked.returncode == 0, revoked.stderr
        assert wait_status(server, key, 401)
        again = cairn("keys", "revoke", identity, *data)
        assert again.returncode == 1 and again.stderr.strip()


def wait_status(server, key, status):
    """Changes made by another process are noticed within a second or so."""
    for _ in range(200):
        if http_json("GET", server.base_url + "/models", key=key)[0] == status:
            return True
        time.sleep(0.05)
    return False


def test_chat_with_stdin(tmp_path):
    done = cairn("chat", env={"HOME": str(tmp_path)}, stdin="Hello!\nWhat is 2+2?\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_first_start_prints_keys_once(tmp_path):
    """Without keys in the environment: an export line ready to paste, on the first start only."""
    server = Server(data=tmp_path, env={"CAIRN_API_KEY": None, "CAIRN_ADMIN_KEY": None})
    server.start()
    try:
        log = server.wait_log("export OPENAI_ADMIN_KEY")
        project = re.search(r"export OPENAI_API_KEY=['\"]?(sk-proj-[A-Za-z0-9_-]{20,})", log)
        admin = re.search(r"sk-admin-[A-Za-z0-9_-]{20,}", log)
        assert project and admin, log
        assert http_json("GET", server.base_url + "/models", key=project.group(1))[0] == 200
        assert http_json("GET", server.base_url + "/models", key=API_KEY)[0] == 401
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
        before = server.log_path.stat().st_size
        server.start()
        assert http_json("GET", server.base_url + "/models", key=project.group(1))[0] == 200
        assert project.group(1) not in server.log_path.read_text()[before:]
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
    finally:
        server.cleanup()


def test_unknown_model_path(tmp_path):
    missing = tmp_path / "missing.gguf"
    check_one_line(cairn("serve", "--listen", "127.0.0.1:0", "--data", str(tmp_path / "d"), "--model",
                         str(missing)), missing)
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + b"\xff" * 100)
    check_one_line(cairn("serve", "--listen", "127.0.0.1:0", "--data", str(tmp_path / "d"), "--model",
                         str(broken)), broken)
    text = tmp_path / "text.gguf"
    text.write_text("this is no model")
    check_one_line(cairn("serve", "--data", str(tmp_path / "d"), "--model", str(text)), text)


def test_unusable_data_directory(tmp_path):
    taken = tmp_path / "file"
    taken.write_text("x")
    check_one_line(cairn("serve", "--listen", "127.0.0.1:0", "--data", str(taken)), taken)
    check_one_line(cairn("serve", "--listen", "127.0.0.1:0", "--data", str(taken / "below")), taken)
    if os.getuid():
        locked = tmp_path / "locked"
        locked.mkdir(mode=0)
        check_one_line(cairn("serve", "--listen", "127.0.0.1:0", "--data", str(locked)), locked)


def test_port_in_use(tmp_path):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        check_one_line(cairn("serve", "--listen", f"127.0.0.1:{port}", "--data", str(tmp_path / "d")), port)


@pytest.mark.parametrize("listen", ["nonsense", "127.0.0.1:99999", "127.0.0.1:-1", "127.0.0.1:x", ":"])
def test_bad_listen_address(tmp_path, listen):
    done = cairn("serve", "--listen", listen, "--data", str(tmp_path / "d"), timeout=60)
    check_one_line(done, "listen" if listen in (":", "nonsense") else listen.split(":")[-1])


def test_one_data_directory_one_server(tmp_path):
    with Server(data=tmp_path) as server:
        done = cairn("serve", "--listen", f"127.0.0.1:{free_port()}", "--data", str(server.data / "state"))
        check_one_line(done, server.data / "state")


@pytest.mark.parametrize("text, line, word", [
    ("listen: 127.0.0.1:0\nlistne: x\n", 2, "listne"),
    ("limits:\n  max_body: many\n", 2, "max_body"),
    ("limits:\n  max_body: -5\n", 2, "max_body"),
    ("listen: [1, 2\n", 2, ""),
    ("tls: 5\n", 1, "tls"),
    ("listen: 127.0.0.1:1\nlisten: 127.0.0.1:2\n", 2, "listen"),
    ("unknown_parameters: maybe\n", 1, "unknown_parameters"),
])
def test_broken_config_names_the_line(tmp_path, text, line, word):
    config = tmp_path / "cairn.yaml"
    config.write_text(text)
    done = cairn("serve", "--config", str(config), "--data", str(tmp_path / "d"))
    check_one_line(done, word)
    assert re.search(rf"{re.escape(str(config))}:{line}\b", done.stderr) or line == 2 and word == "" and \
        re.search(rf"{re.escape(str(config))}:\d+", done.stderr), done.stderr


def test_missing_config(tmp_path):
    check_one_line(cairn("serve", "--config", str(tmp_path / "none.yaml")), tmp_path / "none.yaml")


def test_config_is_used(tmp_path):
    config = tmp_path / "cairn.yaml"
    config.write_text("unknown_parameters: ignore\naliases:\n  my-model: cairn-tiny\n")
    with Server(["--config", str(config)]) as server:
        status, _, body = http_json("POST", server.base_url + "/chat/completions", {
            "model": "my-model", "messages": [{"role": "user", "content": "Hello!"}], "whatever": 1,
            "max_completion_tokens": 2})
        assert status == 200, body


def test_sigterm_lets_an_open_stream_end():
    """The stop is graceful: the stream that is open ends with [DONE], new connections are refused."""
    with_stream = Server()
    with_stream.start()
    try:
        lines = []
        began = threading.Event()

        def read():
            with httpx.stream("POST", with_stream.base_url + "/chat/completions",
                              json={**long_body(400), "stream": True}, timeout=120,
                              headers={"Authorization": f"Bearer {API_KEY}"}) as reply:
                for line in reply.iter_lines():
                    lines.append(line)
                    began.set()
        reader = threading.Thread(target=read)
        reader.start()
        assert began.wait(60)
        with_stream.process.send_signal(signal.SIGTERM)
        reader.join(120)
        assert with_stream.process.wait(60) == 0
        assert [line for line in lines if line][-1] == "data: [DONE]"
    finally:
        with_stream.cleanup()


def test_sigint_stops_too():
    server = Server().start()
    try:
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(60) == 0
    finally:
        server.cleanup()


def test_stored_objects_survive_a_restart(tmp_path):
    server = Server(data=tmp_path).start()
    body = {"model": MODEL, "input": "Hello!"}
    made = http_json("POST", server.base_url + "/responses", body)[2]
    server.terminate()
    server.start()
    assert http_json("GET", f"{server.base_url}/responses/{made['id']}")[2] == made
    server.terminate()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=localhost", "-addext",
                    "subjectAltName=IP:127.0.0.1,DNS:localhost"], check=True, capture_output=True)
    return cert, key


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_tls(certificate):
    cert, key = certificate
    context = ssl.create_default_context(cafile=str(cert))
    with Server(["--tls-cert", str(cert), "--tls-key", str(key)], scheme="https") as server:
        with httpx.Client(verify=context, timeout=120, headers={"Authorization": f"Bearer {API_KEY}"}) as wire:
            assert wire.get(server.base_url + "/models").status_code == 200
            with wire.stream("POST", server.base_url + "/chat/completions",
                             json={**long_body(50), "stream": True}) as reply:
                text = reply.read().decode()
            assert text.endswith("data: [DONE]\n\n")
            with connect(f"wss://127.0.0.1:{server.port}/v1/responses", ssl=context,
                         additional_headers={"Authorization": f"Bearer {API_KEY}"}) as socket_:
                socket_.send(json.dumps({"type": "response.create", "model": MODEL, "input": "Hi",
                                         "max_output_tokens": 16}))
                assert json.loads(socket_.recv(60))["type"] == "response.created"
                while json.loads(socket_.recv(60))["type"] not in ("response.completed", "response.incomplete"):
                    pass
            metrics = wire.get(server.url + "/metrics", headers={"Authorization": f"Bearer {ADMIN_KEY}"})
            assert "cairn_contract_violations_total 0" in metrics.text
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.maximum_version = ssl.TLSVersion.TLSv1_1
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as raw:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                old.wrap_socket(raw)
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as plain:
            plain.sendall(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
            try:
                assert b"200 OK" not in plain.recv(4096)
            except ConnectionError:
                pass


def test_tls_with_a_wrong_file(tmp_path, certificate):
    cert, _ = certificate
    missing = tmp_path / "key.pem"
    check_one_line(cairn("serve", "--data", str(tmp_path / "d"), "--listen", "127.0.0.1:0", "--tls-cert", str(cert),
                         "--tls-key", str(missing)), missing)


def test_environment_keys_replace_each_other(tmp_path):
    server = Server(data=tmp_path).start()
    assert http_json("GET", server.base_url + "/models")[0] == 200
    server.terminate()
    other = "sk-proj-another-key-0123456789abcdefghijklmnop"
    again = Server(data=tmp_path, env={"CAIRN_API_KEY": other}).start()
    with OpenAI(base_url=again.base_url, api_key=other) as client:
        assert client.models.list().data
    assert http_json("GET", again.base_url + "/models")[0] == 401, "the old value is no key any more"
    again.terminate()


def test_keys_in_a_new_project(tmp_path):
    """--new-project makes a tenant of its own; the key's project shows in the list."""
    data = ("--data", str(tmp_path / "state"))
    made = cairn("keys", "create", "--new-project", "Team two", *data)
    assert made.returncode == 0 and made.stdout.startswith("sk-proj-")
    project = made.stderr.split()[1]
    assert project.startswith("proj_") and project in cairn("keys", "list", *data).stdout
    both = cairn("keys", "create", "--new-project", "x", "--project", project, *data)
    assert both.returncode == 1 and "exclude" in both.stderr
    assert cairn("keys", "create", "--admin", "--new-project", "x", *data).returncode == 1
    assert cairn("keys", "create", "--new-project", "", *data).returncode == 1
