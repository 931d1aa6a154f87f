#!/usr/bin/env python3
"""Compiles every header by itself: whoever includes one header needs no other before it.

    tools/check_headers.py BUILD_FOLDER     (its gen/ holds generated includes)
"""
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ["jansson", "libmicrohttpd", "sqlite3", "openssl", "libpcre2-8", "yaml-0.1", "libcurl", "openblas", "libpq", "hiredis"]
FLAGS = ["-std=gnu17", "-D_GNU_SOURCE", '-DCAIRN_VERSION="0"', "-Wall", "-Wextra", "-Wmissing-prototypes",
         "-Wstrict-prototypes", "-Werror", "-fsyntax-only", "-x", "c"]
# Headers of one instruction set are included by files compiled for it only (cmake/Cairn.cmake).
ISA_FLAGS = {"_avx2.h": ["-mavx2", "-mfma", "-mf16c"],
             "_avx512.h": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512vnni", "-mavx2", "-mfma",
                           "-mf16c"]}


def isa_flags(header):
    return [flag for suffix, flags in ISA_FLAGS.items() if header.name.endswith(suffix) for flag in flags]


def main():
    build = Path(sys.argv[1]).resolve()
    packages = subprocess.run(["pkg-config", "--cflags"] + PACKAGES, capture_output=True, text=True, check=True)
    command = ["gcc"] + FLAGS + [f"-I{ROOT / 'src'}", f"-I{build / 'gen'}"] + shlex.split(packages.stdout)
    headers = sorted(p for p in (ROOT / "src").rglob("*.h") if ".tmpl." not in p.name)

    def compile_alone(header):
        source = f'#include "{header.relative_to(ROOT / "src")}"\n'
        done = subprocess.run(command + isa_flags(header) + ["-"], input=source, capture_output=True, text=True)
        return header, done.returncode, done.stderr

    failed = 0
    with ThreadPoolExecutor(cpu_count()) as pool:
        for header, code, errors in pool.map(compile_alone, headers):
            if code:
                failed += 1
                print(f"{header.relative_to(ROOT)} does not compile alone:\n{errors}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
