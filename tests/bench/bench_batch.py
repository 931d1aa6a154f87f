"""A batch of 50,000 chat completions beside the bare engine on the same prompts: `make bench-batch`.

    python3 tests/bench/bench_batch.py [--lines 50000] [--tokens 16] [--rounds 3]

The engine's side (bench_batch) has all prompts tokenized before its time begins, and stores nothing. The batch is
timed from its creation to `completed`: validation, every answer and its usage on the disk, and both output files.
The two take turns; the ratio is of medians. Prints a table and writes build/bench/batch.json. The exit code is 1 when
the batch does not reach REQUIRED of the engine's speed.
"""
import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "lib"))

from cairn_server import API_KEY, MODEL, Server, binary, http_json  # noqa: E402

FOLDER = ROOT / "build" / "bench"
REQUIRED = 0.7
CHAT = "/v1/chat/completions"
WORDS = "the a red blue green cat dog runs over under house tree when where moon sun river stone".split()


def write_input(path, lines, tokens):
    rng = random.Random(1)
    with open(path, "w", encoding="ascii") as out:
        for i in range(lines):
            text = " ".join(rng.choice(WORDS) for _ in range(12))
            body = {"model": MODEL, "messages": [{"role": "user", "content": text}], "max_completion_tokens": tokens,
                    "temperature": 0}
            out.write(json.dumps({"custom_id": f"c{i}", "method": "POST", "url": CHAT, "body": body}) + "\n")


class Engine:
    """The bare engine: keeps as many sequences in flight as the server does."""

    def __init__(self, path, at_once):
        program = Path(binary()).parent / "bench_batch"
        self.at_once = at_once
        self.process = subprocess.Popen([str(program), str(ROOT / "models" / "cairn-tiny.gguf"), str(path)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline(), "the engine's side did not start"

    def run(self):
        self.process.stdin.write(f"{self.at_once}\n")
        self.process.stdin.flush()
        seconds, prompt, made = self.process.stdout.readline().split()
        return {"seconds": float(seconds), "tokens": int(prompt) + int(made)}

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def upload(server, path):
    out = subprocess.run(["curl", "-sS", "-H", f"Authorization: Bearer {API_KEY}", "-F", "purpose=batch", "-F",
                          f"file=@{path}", server.base_url + "/files"], capture_output=True, check=True)
    return json.loads(out.stdout)["id"]


def cpu_seconds(server):
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run_batch(server, file_id, lines):
    cpu, start = cpu_seconds(server), time.monotonic()
    _, _, batch = http_json("POST", server.base_url + "/batches", {
        "input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h"})
    reached = {}
    while batch["status"] != "completed":
        assert batch["status"] in ("validating", "in_progress", "finalizing"), batch
        time.sleep(0.05)
        _, _, batch = http_json("GET", f"{server.base_url}/batches/{batch['id']}")
        reached.setdefault(batch["status"], time.monotonic() - start)
    assert batch["request_counts"] == {"total": lines, "completed": lines, "failed": 0}, batch
    return {"seconds": time.monotonic() - start, "tokens": batch["usage"]["total_tokens"],
            "validated": reached.get("in_progress"), "answered": reached.get("finalizing"),
            "cpu": cpu_seconds(server) - cpu, "rss_mib": server.rss_kib() / 1024}


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--lines", type=int, default=50000)
    options.add_argument("--tokens", type=int, default=16)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--at-once", type=int, default=64)
    args = options.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / "batch.jsonl"
    write_input(path, args.lines, args.tokens)
    bare, batch = [], []
    engine = Engine(path, args.at_once)
    with Server(["--batch-lines", str(args.at_once), "--log-level", "warn"], check=False) as server:
        file_id = upload(server, path)
        for number in range(args.rounds):
            bare.append(engine.run())
            batch.append(run_batch(server, file_id, args.lines))
            print(f"round {number + 1}: engine {bare[-1]['seconds']:.1f} s, batch {batch[-1]['seconds']:.1f} s "
                  f"({batch[-1]['cpu']:.1f} s of CPU, {batch[-1]['rss_mib']:.0f} MiB)", flush=True)
    engine.close()
    seconds = [statistics.median(r["seconds"] for r in side) for side in (bare, batch)]
    ratio = seconds[0] / seconds[1]
    print(f"\n| {args.lines} lines of {args.tokens} tokens | seconds | lines/s |\n|---|--:|--:|")
    for name, taken in zip(("bare engine", "batch"), seconds):
        print(f"| {name} | {taken:.1f} | {args.lines / taken:.0f} |")
    print(f"\nratio {ratio:.2f}, required {REQUIRED}")
    (FOLDER / "batch.json").write_text(json.dumps({"ratio": ratio, "engine": bare, "batch": batch}, indent=1))
    return 0 if ratio >= REQUIRED else 1


if __name__ == "__main__":
    sys.exit(main())
