#!/usr/bin/env python3
"""Runs clang-tidy over the sources, in parallel, and remembers which files were clean.

    tools/tidy.py BUILD_FOLDER [FILE...]

A file is looked at again when it, any header, or .clang-tidy has changed. The checks are chosen in
.clang-tidy. Tests are left out: cmocka's macros say little about our code.
"""
import hashlib
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def digest(paths):
    state = hashlib.sha256()
    for path in paths:
        state.update(path.read_bytes())
    return state.hexdigest()


def sources(build):
    for entry in json.loads((build / "compile_commands.json").read_text()):
        path = Path(entry["file"])
        if ROOT / "src" in path.parents and not path.name.endswith("_test.c"):
            yield path


def main():
    build = Path(sys.argv[1]).resolve()
    chosen = {Path(name).resolve() for name in sys.argv[2:]}
    files = sorted({p for p in sources(build) if not chosen or p in chosen})
    cache = build / "tidy-clean"
    cache.mkdir(exist_ok=True)
    common = digest([ROOT / ".clang-tidy"] + sorted((ROOT / "src").rglob("*.h")))

    def tidy(path):
        stamp = cache / hashlib.sha256((common + str(path) + digest([path])).encode()).hexdigest()
        if stamp.exists():
            return path, 0, ""
        # The commands are gcc's; clang need not know all of its warnings.
        done = subprocess.run(["clang-tidy", "--quiet", "--extra-arg=-Wno-unknown-warning-option", "-p", str(build),
                               str(path)], capture_output=True, text=True)
        if done.returncode == 0:
            stamp.touch()
        return path, done.returncode, done.stdout

    failed = 0
    with ThreadPoolExecutor(cpu_count()) as pool:
        for path, code, output in pool.map(tidy, files):
            if code:
                failed += 1
                print(output.strip() or f"{path.relative_to(ROOT)}: clang-tidy failed", flush=True)
    print(f"clang-tidy: {len(files)} files, {failed} with findings")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
