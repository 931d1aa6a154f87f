"""The engine beside llama.cpp on the same files, in the same run: `make bench-engine`.

    python3 tests/bench/bench_engine.py [--rounds 5] [--alone] [--quick] [--variant best|avx2]

Writes its model files into build/bench/ on first use (2.6 GB). All programs stay loaded and take turns, one working
at a time; figures are medians over the rounds. What the machine can do is measured in every round too, and ratios are
of medians. --alone leaves llama.cpp out, --quick takes one round and the AVX-512 (default) variant only.

Prints a table and writes build/bench/engine.json. The exit code is 1 when a requirement is missed.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import engine_files

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "bench"
MIXTURES = ("Q8_0", "Q4_0", "Q4_K_M")
PREFILL, DECODE, STREAMS, STREAM_TOKENS, SHARED = 512, 32, 16, 12, 2000

# What the engine has to reach with the best instruction set (see docs/SPEED.md).
DECODE_SHARE = {"Q8_0": 0.95, "Q4_0": 0.9, "Q4_K_M": 0.9}
PREFILL_SHARE = {"Q8_0": 2.0, "Q4_0": 2.2, "Q4_K_M": 2.0}
STREAMS_RATIO, SHARED_MS = 1.5, 20


class Program:
    """A process that answers a line of numbers for each line with a command."""

    def __init__(self, argv, env=None):
        self.process = subprocess.Popen([str(a) for a in argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, env={**os.environ, **(env or {})})
        self.ready = self.answer()[0]

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"bench_engine: {self.process.args[0]} ended with code {self.process.wait()}")
        return [float(v) for v in line.split()]

    def ask(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


# --- llama.cpp's side: the same commands, in a process of its own ----------------------------------------------------

def llama_first(model, known, fresh, first):
    """Seconds for `fresh` tokens after `known` ones that sequence 1 holds already."""
    model.forget(0)
    if known:
        model.share(1, 0, known)
    return model.prefill([33 + (first + i) % 90 for i in range(fresh)], seq=0, first=known)


def llama_streams(model, streams, tokens):
    """Tokens per second while all streams decode together. Choosing the tokens is not counted."""
    for seq in range(streams):
        model.forget(seq)
        model.prefill([33 + (seq * 7 + i) % 90 for i in range(16)], seq=seq)
    start = time.perf_counter()
    for step in range(tokens - 1):
        model.decode([(40 + seq, 16 + step, seq, True) for seq in range(streams)])
    return streams * (tokens - 1) / (time.perf_counter() - start)


def llama_worker(path, isa, threads):
    sys.path.insert(0, str(ROOT / "tests" / "lib"))
    from llama_cpp import Llama
    start = time.perf_counter()
    model = Llama(path, threads=threads, ctx=engine_files.CONTEXT + STREAMS * 64, batch=2048, seqs=STREAMS,
                  isa=isa or None)
    print(time.perf_counter() - start, flush=True)
    known, count = 0, 0
    for line in sys.stdin:
        name, *numbers = line.split()
        a, b = (*map(int, numbers), 0)[:2]
        count += 1
        if name == "streams":
            model.reset()
            known = 0
            result = llama_streams(model, a, b)
        elif name == "decode":
            model.reset()
            known = 0
            result = 1 / llama_streams(model, 1, a)
        elif name == "prefill":
            result = llama_first(model, 0, a, count)
        else:
            if known != a:
                model.reset()
                model.prefill([33 + i % 90 for i in range(a)], seq=1)
                known = a
            result = llama_first(model, a, 1, count)
        print(result, flush=True)


# --- runs ------------------------------------------------------------------------------------------------------------

def measure(programs, rounds, results):
    """programs: {(mixture, variant, who): Program}. Appends to results[(mixture, variant, who, what)]."""
    machine = next(iter(programs.values()))
    for program in programs.values():  # pages the weights in, and knows the shared beginning afterwards
        program.ask("prefill 64")
        program.ask(f"shared {SHARED}")
    for number in range(rounds):
        bandwidth, fma, threads = machine.ask("machine")
        results.setdefault("bandwidth", []).append(bandwidth)
        results.setdefault("fma", []).append(fma)
        results["threads"] = int(threads)
        for command in (f"decode {DECODE}", f"prefill {PREFILL}", f"shared {SHARED}",
                        f"streams {STREAMS} {STREAM_TOKENS}"):
            for (mixture, variant, who), program in programs.items():
                key = (mixture, variant, who, command.split()[0])
                results.setdefault(key, []).append(program.ask(command)[0])
        print(f"round {number + 1} of {rounds}", file=sys.stderr)


def summarize(results):
    """Medians, as plain rows for the table and the JSON file."""
    middle = statistics.median
    bandwidth, fma = middle(results["bandwidth"]), middle(results["fma"])
    rows = []
    for key, values in results.items():
        if not isinstance(key, tuple) or key[2] != "cairn":
            continue
        mixture, variant, _, what = key
        params, size = engine_files.figures(mixture)
        ours = middle(values)
        theirs = middle(results[(mixture, variant, "llama.cpp", what)]) \
            if (mixture, variant, "llama.cpp", what) in results else None
        row = {"file": mixture, "variant": variant, "what": what}
        if what == "decode":
            row.update(unit="tokens/s", ours=1 / ours, theirs=theirs and 1 / theirs, share=size / ours / bandwidth,
                       need=DECODE_SHARE[mixture])
        elif what == "prefill":
            row.update(unit="tokens/s", ours=PREFILL / ours, theirs=theirs and PREFILL / theirs,
                       share=2 * params * PREFILL / ours / fma, need=PREFILL_SHARE[mixture])
        elif what == "streams":
            row.update(unit="tokens/s", ours=ours, theirs=theirs, need_ratio=STREAMS_RATIO)
        else:
            # At least one token is evaluated, which reads all weights once: the share says how near that limit is.
            row.update(unit="ms", ours=ours * 1e3, theirs=theirs and theirs * 1e3, limit=SHARED_MS,
                       share=size / bandwidth / ours)
        if theirs:
            row["ratio"] = theirs / ours if what == "shared" else row["ours"] / row["theirs"]
        row["met"] = is_met(row)
        rows.append(row)
    return {"bandwidth": bandwidth, "fma": fma, "threads": results["threads"], "rows": rows}


def is_met(row):
    """AVX2 is measured against llama.cpp only: it must not be behind."""
    if row["variant"] == "avx2":
        return row["what"] == "shared" or row.get("ratio", 1) >= 1
    if "need" in row:
        return row["share"] >= row["need"]
    if "limit" in row:
        return row["ours"] < row["limit"]
    return row.get("ratio", row["need_ratio"]) >= row["need_ratio"]


def show(summary):
    what = {"decode": f"decode, 1 stream of {DECODE}", "prefill": f"prefill of {PREFILL}",
            "shared": f"first token, {SHARED} shared", "streams": f"decode, {STREAMS} streams"}
    print(f"{summary['threads']} threads: read {summary['bandwidth'] / 1e9:.1f} GB/s, "
          f"fp32 FMA {summary['fma'] / 1e9:.1f} Gflop/s")
    print(f"{'file':8}{'variant':9}{'what':26}{'ours':>9}{'llama.cpp':>11}  {'unit':10}{'ratio':>6}{'share':>7}"
          f"{'needed':>8}")
    for row in sorted(summary["rows"], key=lambda r: (r["variant"] == "avx2", MIXTURES.index(r["file"]))):
        theirs = f"{row['theirs']:.1f}" if row["theirs"] else ""
        ratio = f"{row['ratio']:.2f}" if row["theirs"] else ""
        share = f"{row['share']:.2f}" if "share" in row else ""
        needed = "1.00 x" if row["variant"] == "avx2" else f"{row['need']:.2f}" if "need" in row \
            else f"< {row['limit']}" if "limit" in row else f"{row['need_ratio']:.2f} x"
        print(f"{row['file']:8}{row['variant']:9}{what[row['what']]:26}{row['ours']:9.1f}{theirs:>11}  "
              f"{row['unit']:10}{ratio:>6}{share:>7}{needed:>8}  {'' if row['met'] else 'MISSED'}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--alone", action="store_true", help="without llama.cpp")
    parser.add_argument("--quick", action="store_true", help="one round, of the best variant unless told")
    parser.add_argument("--variant", choices=("best", "avx2"), help="only this one")
    parser.add_argument("--program", default=ROOT / "build" / "release" / "bench_engine")
    parser.add_argument("--files", default=",".join(MIXTURES))
    parser.add_argument("--llama", nargs=3, metavar=("FILE", "ISA", "THREADS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.llama:
        llama_worker(args.llama[0], args.llama[1], int(args.llama[2]))
        return 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    results, threads = {}, len(os.sched_getaffinity(0))
    for variant, isa, env in (("best", "", {}), ("avx2", "haswell", {"CAIRN_KERN": "avx2"})):
        if variant != (args.variant or ("best" if args.quick else variant)):
            continue
        programs = {}
        for mixture in args.files.split(","):
            path = engine_files.write_model(FOLDER / f"bench-1b-{mixture}.gguf", mixture)
            programs[(mixture, variant, "cairn")] = Program([args.program, path], env)
            if not args.alone:
                programs[(mixture, variant, "llama.cpp")] = Program([sys.executable, __file__, "--llama", path, isa,
                                                                      threads])
        measure(programs, 1 if args.quick else args.rounds, results)
        for program in programs.values():
            program.close()
        summary = summarize(results)  # after each variant: the second takes as long again
        show(summary)
        (FOLDER / "engine.json").write_text(json.dumps(summary, indent=1) + "\n")
    return 0 if all(row["met"] for row in summary["rows"]) else 1


if __name__ == "__main__":
    sys.exit(main())
