#!/usr/bin/env python3
"""Writes jinja.json: what Python's jinja2, set up as the Transformers library sets it up, makes of templates.

    make_jinja_vectors.py                        writes jinja.json, and from it the seeds of fuzz_template
    make_jinja_vectors.py --random N [--seed S] PROGRAM
                                                 N random templates, compared with PROGRAM (jinja.jinja_test)

Needs jinja2 3.1. The templates of whole conversations are templates/*.jinja; they are ours, written in the style
of model families so that they use the constructs that published templates use."""
import argparse
import copy
import datetime
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import warnings

import jinja2
import jinja2.ext
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True


class Generation(jinja2.ext.Extension):
    """{% generation %}: marks what the assistant said; the text is printed as it is."""
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_print"), [], [], body).set_lineno(line)

    @staticmethod
    def _print(caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def environment():
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                        extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda fmt: datetime.datetime.now().strftime(fmt)
    return env


ENV = environment()


def expectation(template, variables):
    """{"output": text} or {"error": {...}}; the message only where ours is to be the same."""
    try:
        return {"output": ENV.from_string(template).render(**variables)}
    except jinja2.exceptions.UndefinedError as e:
        return {"error": {"message": str(e)}}
    except jinja2.exceptions.SecurityError:
        return {"error": {}}
    except (jinja2.exceptions.TemplateSyntaxError, jinja2.exceptions.TemplateRuntimeError):
        return {"error": {}}
    except jinja2.exceptions.TemplateError as e:
        return {"error": {"message": str(e), "raised": True}}
    except Exception:
        return {"error": {}}


def case(name, template, data=None, trusted=None):
    data, trusted = data or {}, trusted or {}
    row = {"name": name, "template": template}
    if data:
        row["data"] = data
    if trusted:
        row["trusted"] = trusted
    row.update(expectation(template, {**trusted, **data}))
    return row


def family_cases():
    import jinja_conversations as talk
    rows = []
    folder = os.path.join(HERE, "templates")
    for file in sorted(os.listdir(folder)):
        with open(os.path.join(folder, file), encoding="utf-8") as f:
            template = f.read()
        for name, data in talk.CONVERSATIONS.items():
            row = case(f"{file}: {name}", template, data, talk.TRUSTED)
            row["template"] = {"file": file}
            row["data"] = {"conversation": name}
            row["trusted"] = {}
            rows.append(row)
    return rows, talk


def write_vectors():
    import jinja_cases
    rows = [case(name, template, data) for name, template, data in jinja_cases.cases()]
    families, talk = family_cases()
    out = {"conversations": talk.CONVERSATIONS, "trusted": talk.TRUSTED, "cases": rows + families}
    with open(os.path.join(HERE, "jinja.json"), "w", encoding="utf-8") as f:
        f.write("{\n" + ",\n".join(
            f"{json.dumps(key)}: " + ("[\n" + ",\n".join(json.dumps(r, ensure_ascii=False) for r in value) + "\n]"
                                      if isinstance(value, list) else json.dumps(value, ensure_ascii=False))
            for key, value in out.items()) + "\n}\n")
    write_seeds(rows)
    errors = sum("error" in r for r in rows + families)
    print(f"{len(rows)} small cases, {len(families)} conversations, {errors} of them errors")


def write_seeds(small):
    """Seeds for tests/fuzz/fuzz_template.c: the templates of families, and small ones, many to a file."""
    folder = os.path.join(HERE, "..", "fuzz", "corpus", "template")
    os.makedirs(folder, exist_ok=True)
    seeds = {}
    for file in sorted(os.listdir(os.path.join(HERE, "templates"))):
        with open(os.path.join(HERE, "templates", file), "rb") as f:
            seeds[file[:-len(".jinja")]] = f.read() + b"\0<|im_end|> caf\xc3\xa9"
    for first in range(0, len(small), 40):
        good = [row["template"] for row in small[first:first + 40] if "output" in row]
        seeds[f"small{first // 40:02d}"] = "\n".join(good).encode() + b"\0text"
    for name, seed in seeds.items():
        with open(os.path.join(folder, name), "wb") as f:
            f.write(seed)


def too_slow(*_):
    raise TimeoutError


def compare_random(count, seed, program):
    import jinja_random
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
    signal.signal(signal.SIGALRM, too_slow)
    maker = jinja_random.Maker(random.Random(seed))
    rows = []
    while len(rows) < count:
        template = maker.template()
        data = copy.deepcopy(jinja_random.DATA)
        try:
            signal.setitimer(signal.ITIMER_REAL, 1)
            row = case(f"seed {seed} number {len(rows)}", template, data)
            late = signal.setitimer(signal.ITIMER_REAL, 0)[0] == 0
        except TimeoutError:
            late = True
        if late:
            continue
        if any(mark in row.get("output", "").lower() for mark in (" at 0x", "<bound method")):
            continue  # Python printed a function or an address
        del row["data"]
        row["data"] = {"conversation": "random"}
        rows.append(row)
    errors = sum("error" in r for r in rows)
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as f:
        json.dump({"conversations": {"random": jinja_random.DATA}, "trusted": {}, "cases": rows}, f)
        f.flush()
        done = subprocess.run([program, f.name], capture_output=True, text=True)
    sys.stdout.write(done.stdout[-6000:])
    print(f"{count} templates with seed {seed}: {count - errors} render, {errors} fail in jinja2")
    return done.returncode


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--random", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("program", nargs="?")
    args = parser.parse_args()
    if args.random:
        return compare_random(args.random, args.seed, args.program)
    write_vectors()
    return 0


if __name__ == "__main__":
    sys.exit(main())
