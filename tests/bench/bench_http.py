#!/usr/bin/env python3
"""HTTP speed as ratios to nginx on the same machine in the same run, start-up time and idle memory.

nginx serves a static body of the same size as Cairn's reply, from a file, with two workers, access log
off. Runs are interleaved (nginx, Cairn, nginx, ...) and the median of each is taken, so that a busy
machine slows both. The chat request makes the model produce one token: nginx runs no model, its figure
is the cost of moving that many bytes.

    tests/bench/bench_http.py        SECONDS=2 RUNS=5 CONNECTIONS=64
"""
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

from cairn_server import API_KEY, MODEL, Server, http_json  # noqa: E402
from ports import free_port  # noqa: E402

SECONDS = os.environ.get("SECONDS", "2")
RUNS = int(os.environ.get("RUNS", "5"))
CONNECTIONS = os.environ.get("CONNECTIONS", "64")
WORKERS = 2
READY_BUDGET_MS = 100
RSS_BUDGET_MIB = 64

CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Hello!"}], "max_completion_tokens": 1}

NGINX = """
daemon off; worker_processes {workers}; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
        access_log off; keepalive_requests 100000000; default_type application/json;
        client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
        uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s; open_file_cache max=10;
        server {{ listen 127.0.0.1:{port}; root {folder}/www; }}
}}
"""


class Nginx:
    def __init__(self, bodies):
        self.folder = Path(tempfile.mkdtemp(prefix="cairn-bench-"))
        self.folder.chmod(0o755)
        self.port = free_port()
        (self.folder / "www").mkdir()
        for name, body in bodies.items():
            (self.folder / "www" / name).write_bytes(body)
        config = self.folder / "nginx.conf"
        config.write_text(NGINX.format(workers=WORKERS, folder=self.folder, port=self.port))
        self.process = subprocess.Popen(["nginx", "-c", str(config), "-p", str(self.folder)],
                                        stderr=subprocess.DEVNULL)
        for _ in range(200):
            try:
                if http_json("GET", f"http://127.0.0.1:{self.port}/models")[0] == 200:
                    return
            except OSError:
                time.sleep(0.02)
        raise SystemExit("bench: nginx did not start")

    def stop(self):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def wrk(url, script=None):
    """Requests a second; every reply must be good."""
    command = ["wrk", "-t2", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-H", f"Authorization: Bearer {API_KEY}"]
    if script:
        command += ["-s", str(script)]
    out = subprocess.run(command + [url], capture_output=True, text=True, check=True).stdout
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    if bad:
        raise SystemExit(f"bench: {bad.group(1)} bad replies from {url}")
    return float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1))


def compare(title, nginx_url, cairn_url, script=None):
    ours, theirs = [], []
    for _ in range(RUNS):
        theirs.append(wrk(nginx_url))
        ours.append(wrk(cairn_url, script))
    a, b = statistics.median(ours), statistics.median(theirs)
    print(f"{title:<34} {a:>12,.0f} {b:>12,.0f} {a / b:>8.3f}", flush=True)


def chat_script(folder):
    path = folder / "chat.lua"
    path.write_text(f"wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\n"
                    f"wrk.body = [==[{json.dumps(CHAT)}]==]\n")
    return path


def start_up():
    """Time to the first 200 of /readyz and idle RSS, medians over fresh processes."""
    times, sizes = [], []
    for _ in range(RUNS):
        server = Server(check=False)
        try:
            started = time.monotonic()
            server.start()
            times.append((time.monotonic() - started) * 1000)
            time.sleep(0.5)
            sizes.append(server.rss_kib() / 1024)
            server.terminate()
        finally:
            server.cleanup()
    ready, rss = statistics.median(times), statistics.median(sizes)
    print(f"\n{'start':<34} {'measured':>12} {'budget':>12} {'ratio':>8}")
    print(f"{'time to ready, ms':<34} {ready:>12.0f} {READY_BUDGET_MS:>12} {ready / READY_BUDGET_MS:>8.3f}")
    print(f"{'idle RSS, MiB':<34} {rss:>12.1f} {RSS_BUDGET_MIB:>12} {rss / RSS_BUDGET_MIB:>8.3f}", flush=True)


def main():
    folder = Path(tempfile.mkdtemp(prefix="cairn-bench-"))
    config = folder / "cairn.yaml"
    config.write_text(f"threads:\n  http: {WORKERS}\n")
    server = Server(["--config", str(config)], check=False)
    server.start()
    try:
        models = json.dumps(http_json("GET", server.base_url + "/models")[2], separators=(",", ":"))
        chat = json.dumps(http_json("POST", server.base_url + "/chat/completions", CHAT)[2],
                          separators=(",", ":"))
        nginx = Nginx({"models": models.encode(), "chat": chat.encode()})
        try:
            print(f"{'requests a second':<34} {'cairn':>12} {'nginx':>12} {'ratio':>8}")
            base = f"http://127.0.0.1:{nginx.port}"
            compare(f"GET /v1/models ({len(models)} B)", base + "/models", server.base_url + "/models")
            compare(f"one-token chat ({len(chat)} B)", base + "/chat",
                    server.base_url + "/chat/completions", chat_script(folder))
        finally:
            nginx.stop()
        server.terminate()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
    start_up()
    return 0


if __name__ == "__main__":
    sys.exit(main())
