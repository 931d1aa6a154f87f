#!/usr/bin/env python3
"""Makes the seeds of fuzz_reader: calls, reasoning and answers in every format. See there for the form."""
import os

HERE = os.path.dirname(os.path.abspath(__file__))
SECTION, SECTION_END, OPEN, CLOSE, SEP, THINK, THINK_END = range(7)
FLAGS = (0, 1 | 2 | 8, 2 | 8, 1 | 2 | 4 | 16, 2 | 8 | 32, 1 | 2 | 8 | 64)


def control(which, spelled=False):
    return bytes([2 if spelled else 1, which])


def call(name="add", args='{"a": [1, "}\\""]}', key="arguments"):
    return f'{{"name": "{name}", "{key}": {args}}}'.encode()


def streams(spelled):
    def c(which):
        return control(which, spelled)

    run = call("run", '{"input": "x\\n\\ud83d\\ude00"}')
    yield 0, c(THINK) + b"\nWell.\n" + c(THINK_END) + b"\n\nYes \x80\n" + c(OPEN) + b"\n" + call() + b"\n" + c(CLOSE) + \
        b"\n" + c(OPEN) + run + c(CLOSE)
    yield 0, c(OPEN) + b'{"arguments": "{\\"a\\": 1}", "id": 3, "name": "add"}' + c(CLOSE) + b"STOP it"
    yield 0, c(OPEN) + b'{"name": "rm"}' + c(CLOSE) + c(OPEN) + c(OPEN) + b"{" + c(OPEN)
    yield 1, b" " + call(key="parameters") + b"; " + call(key="parameters") + b" and"
    yield 1, b'{"name": "Bob"} ' + c(OPEN) + call(key="parameters")
    yield 2, b"So " + c(OPEN) + b" [" + call() + b", " + run + b"]"
    yield 3, c(OPEN) + b"add" + c(SEP) + b'{"a": 1}' + c(OPEN) + b"run" + b"[CALL_ID]abc123DEF" + c(SEP) + b"ls -l"
    yield 4, c(OPEN) + b"analysis" + c(SEP) + b"Hm" + c(CLOSE) + c(SECTION) + b"assistant" + c(OPEN) + \
        b"commentary to=functions.add " + c(SEP) + b'{"a": 1}' + c(SECTION_END)
    yield 4, b" to=functions.run" + c(OPEN) + b"commentary" + c(SEP) + b"ls" + c(CLOSE) + c(SECTION) + b"assistant" + \
        c(OPEN) + b"final" + c(SEP) + b"Done STOP"
    for i in (5, 6):
        yield i, b"Well." + c(SECTION) + c(OPEN) + b"add" + c(SEP) + b'{"a": 1}' + c(CLOSE) + b"\n" + c(OPEN) + b"run" + \
            c(SEP) + b"ls" + c(CLOSE) + c(SECTION_END)
    yield 7, c(OPEN) + b"[" + call() + b"]" + c(CLOSE) + b"\n"


def main():
    folder = os.path.join(HERE, "corpus", "reader")
    os.makedirs(folder, exist_ok=True)
    n = 0
    for spelled in (False, True):
        for i, (which, stream) in enumerate(streams(spelled)):
            with open(os.path.join(folder, f"{n:02d}"), "wb") as f:
                f.write(bytes([which, FLAGS[i % len(FLAGS)] & ~spelled, i]) + stream)
            n += 1


if __name__ == "__main__":
    main()
