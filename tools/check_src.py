#!/usr/bin/env python3
"""Checks of the source that the compiler cannot make; `make check` runs it.

Rules, each with its reason in CONTRIBUTING.md: banned functions, the direction of includes, one user
of jansson, one public header of the engine, header guards, lengths of functions and files, a README in
each folder, no notes of unfinished work, no paths of somebody's machine. Prints one line a finding,
`path:line: what`, and exits with 1 when there is any.

A line that must break a rule says why in a comment on it: /* allowed: the library wants free() */
"""
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FUNCTION_MAX = 100
FILE_MAX = 1500
README_MAX = 60

BANNED = {
    "strcpy": "use str.h or buf.h", "strcat": "use buf.h", "sprintf": "use snprintf or buf.h",
    "vsprintf": "use vsnprintf", "strncpy": "use str.h", "strncat": "use buf.h", "strtok": "use str.h",
    "strtok_r": "use str.h", "atoi": "use strtol or str.h", "atol": "use strtol", "atof": "use strtod",
    "gets": "never", "alloca": "use an arena", "tmpnam": "use mkstemp",
}
# These only outside tests.
NOT_IN_PRODUCTION = {
    "system": "use posix_spawn", "malloc": "use mem_alloc", "calloc": "use mem_calloc", "realloc": "use mem_realloc",
    "free": "use mem_free", "strdup": "use mem_strdup", "strndup": "use mem_strndup",
    "asprintf": "use buf.h",
}

# Who may include whom, lowest first: each folder sees its own headers and those listed.
ENGINE_SIDE = ("base", "kernels", "grammar", "jinja", "classify", "engine", "train")
SERVICES = ("base", "contract", "http", "store", "grammar", "classify", "engine", "models")
MIDDLE = SERVICES + ("account", "retrieval", "media", "sandbox")
MAY_INCLUDE = {
    "base": (), "contract": ("base",), "http": ("base",), "store": ("base",), "kernels": ("base",),
    "grammar": ("base",), "jinja": ("base",), "classify": ("base",), "engine": ("base", "kernels", "grammar", "jinja"), 
    "train": ENGINE_SIDE, "models": SERVICES,
    "account": SERVICES, "retrieval": SERVICES, "media": SERVICES, "sandbox": SERVICES,
    "agent": MIDDLE, "jobs": MIDDLE + ("agent", "train"), "realtime": MIDDLE + ("agent",),
    "api": MIDDLE + ("agent", "jobs", "realtime"),
    "cli": MIDDLE + ("agent", "jobs", "realtime", "api", "train"), "helper": ("base",),
}

TEXT_SUFFIXES = {".c", ".h", ".inc", ".py", ".sh", ".mjs", ".js", ".md", ".txt", ".cmake", ".yml", ".yaml",
                 ".sql", ".toml", ".json", ""}
# Spelled apart so that this file does not find itself.
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
MACHINE_PATH = re.compile(r"(?<![\w.])/(wo" r"rk/|ro" r"ot/|ho" r"me/\w|Us" r"ers/\w|tmp/br" r"ief)")
ALLOWED = re.compile(r"/\* allowed: \S.*\*/")
FINDINGS = []


def finding(path, line, text):
    FINDINGS.append(f"{path}:{line}: {text}")


def tracked_files():
    """Files of the project: tracked, or new and not ignored."""
    out = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                         capture_output=True, check=True).stdout
    return sorted({p for p in out.decode().split("\0") if p and (ROOT / p).is_file()})


def strip_comments(text):
    """The code with comments and string contents blanked; line structure is kept."""
    pattern = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)

    def blank(match):
        token = match.group()
        if token[0] in "\"'":
            return token[0] * 2
        return "\n" * token.count("\n")
    return pattern.sub(blank, text)


def check_banned(path, lines, raw):
    names = dict(BANNED)
    if not path.startswith(("src/base/mem.", "tests/")) and not path.endswith("_test.c"):
        names.update(NOT_IN_PRODUCTION)
    call = re.compile(r"(?<![\w.>])(" + "|".join(names) + r")\s*\(")
    for number, line in enumerate(lines, 1):
        for match in call.finditer(line):
            if not ALLOWED.search(raw[number - 1]):
                finding(path, number, f"{match.group(1)}() is banned: {names[match.group(1)]}")


def check_includes(path, raw):
    folder = path.split("/")[1]
    for number, line in enumerate(raw, 1):
        match = re.match(r'\s*#\s*include\s*([<"])([^">]+)', line)
        if not match:
            continue
        kind, name = match.groups()
        if name == "jansson.h" and path != "src/base/json.h":
            finding(path, number, "only base/json.h includes jansson.h")
        if kind == "<":
            continue
        if "/" not in name:
            if not name.endswith((".inc", ".tmpl.h")):
                finding(path, number, f'write "{folder}/{name}": includes are relative to src/')
            continue
        target = name.split("/")[0]
        if target not in MAY_INCLUDE:
            finding(path, number, f"no such folder: {name}")
        elif target != folder and target not in MAY_INCLUDE.get(folder, ()):
            finding(path, number, f"{folder} may not include {target}")
        elif target == "engine" and folder not in ENGINE_SIDE and name != "engine/engine.h":
            finding(path, number, "engine/engine.h is the only public header of the engine")
        if name.endswith(".c") and not path.endswith("_test.c"):
            finding(path, number, "only a test includes a .c file")


def check_guard(path, text):
    if ".tmpl." in path:
        return
    # CAIRN_FOLDER_FILE_H; folders in between may be named or not.
    parts = [re.sub(r"[^A-Z0-9]", "_", part) for part in path[len("src/"):].upper().split("/")]
    between = "".join(f"(?:{part}_)?" for part in parts[1:-1])
    if not re.search(rf"^#ifndef (CAIRN_{parts[0]}_{between}{parts[-1]})\n#define \1$", text, re.M):
        finding(path, 1, f"the header guard must be CAIRN_{parts[0]}_{parts[-1]}")


def long_functions():
    """{path:function -> line of the list} of the functions that may be long, each with its reason."""
    allowed = {}
    name = "tools/long_functions.txt"
    for number, line in enumerate((ROOT / name).read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        key, _, reason = line.partition(" ")
        if not reason.strip():
            finding(name, number, "an entry needs a reason")
        allowed[key] = number
    return allowed


def check_functions(path, lines, allowed, used):
    """Function bodies open with a brace alone in column 0 (clang-format sees to that)."""
    start = None
    for number, line in enumerate(lines, 1):
        if line.rstrip() == "{" and start is None:
            start = number
        elif line.startswith("}") and start is not None:
            length = number - start - 1
            head = " ".join(lines[max(0, start - 6):start - 1])
            names = re.findall(r"(\w+)\s*\([^()]*(?:\([^()]*\)[^()]*)*\)\s*$", head.strip())
            name = names[-1] if names else "?"
            key = f"{path}:{name}"
            if length > FUNCTION_MAX:
                used.add(key)
                if key not in allowed:
                    finding(path, start, f"{name}() has {length} lines, more than {FUNCTION_MAX}: "
                            "split it, or say why not in tools/long_functions.txt")
            start = None


def check_c_file(path, allowed, used):
    text = (ROOT / path).read_text(errors="replace")
    raw = text.splitlines()
    lines = strip_comments(text).splitlines()
    check_banned(path, lines, raw)
    if path.startswith("src/"):
        check_includes(path, raw)
        if path.endswith(".h"):
            check_guard(path, text)
    check_functions(path, lines, allowed, used)
    if len(raw) > FILE_MAX:
        finding(path, 1, f"{len(raw)} lines, more than {FILE_MAX}: split the file")


def check_text(path):
    if Path(path).suffix not in TEXT_SUFFIXES or path.startswith(("LICENSE", "contract/", "tests/fuzz/corpus/",
                                                                  "tests/fuzz/crashes/")):
        return
    text = (ROOT / path).read_bytes()
    if b"\0" in text:
        return
    for number, line in enumerate(text.decode(errors="replace").splitlines(), 1):
        if UNFINISHED.search(line) and not ALLOWED.search(line):
            finding(path, number, "unfinished work belongs into the tracker, not into the source")
        if MACHINE_PATH.search(line):
            finding(path, number, "a path of somebody's machine")


def check_readmes(files):
    folders = {p.split("/")[1] for p in files if p.startswith("src/") and p.count("/") >= 2}
    for folder in sorted(folders):
        path = ROOT / "src" / folder / "README.md"
        if not path.exists():
            finding(f"src/{folder}", 1, "needs a README.md: boundary, owners, threads, tests")
        elif len(path.read_text().splitlines()) > README_MAX:
            finding(f"src/{folder}/README.md", 1, f"more than {README_MAX} lines")


def main():
    files = tracked_files()
    allowed, used = long_functions(), set()
    for path in files:
        check_text(path)
        if path.endswith((".c", ".h")):
            check_c_file(path, allowed, used)
    check_readmes(files)
    for key in sorted(set(allowed) - used):
        finding("tools/long_functions.txt", allowed[key], f"{key} is not long any more: remove the entry")
    for line in FINDINGS:
        print(line)
    return 1 if FINDINGS else 0


if __name__ == "__main__":
    sys.exit(main())
