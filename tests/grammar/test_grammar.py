"""Grammars against independent implementations: what they produce is valid, and what is valid they accept."""
import json
import os
import random
import re
import subprocess
import unittest
from decimal import Decimal
from pathlib import Path

import jsonschema

from schemas import Generator, NoInstance, Writer

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = os.environ.get("CAIRN_GRAMMAR_SAMPLE", str(ROOT / "build/dev/grammar_sample"))
N_SCHEMAS = int(os.environ.get("CAIRN_GRAMMAR_SCHEMAS", "1000"))


def ask(requests):
    """The answers of one run of the program."""
    text = "".join(json.dumps(r) + "\n" for r in requests)
    done = subprocess.run([PROGRAM], input=text, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise AssertionError(f"grammar_sample: {done.returncode} {done.stderr}")
    answers = [json.loads(line) for line in done.stdout.split("\n") if line]
    assert len(answers) == len(requests)
    return answers


def validator(schema):
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    return jsonschema.Draft202012Validator(schema, format_checker=checker)


def exact(schema):
    """The schema for Python's validator: decimals in place of doubles, so that multipleOf means what it says, and
    "$" only at the very end of a text, as in ECMAScript."""
    def converted(node, key=None):
        if isinstance(node, dict):
            return {converted(k, "pattern") if key == "patternProperties" else k: converted(v, k)
                    for k, v in node.items()}
        if isinstance(node, list):
            return [converted(v) for v in node]
        if key == "pattern" and isinstance(node, str) and node.endswith("$"):
            return node[:-1] + r"\Z"
        return node
    return converted(json.loads(json.dumps(schema), parse_float=Decimal))


def no_twice(pairs):
    """A key that comes twice makes counts of properties meaningless: such samples are not looked at."""
    if len({k for k, _ in pairs}) != len(pairs):
        raise KeyError("twice")
    return dict(pairs)


class SchemaTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.schemas = []
        for seed in range(N_SCHEMAS):
            strict = seed % 3 == 0
            cls.schemas.append((Generator(seed, strict).root(), strict))

    def test_samples_are_valid(self):
        requests = [{"schema": schema, "strict": strict, "compact": i % 2 == 1, "samples": 2, "seed": i}
                    for i, (schema, strict) in enumerate(self.schemas)]
        finished = impossible = 0
        for request, answer in zip(requests, ask(requests)):
            schema = request["schema"]
            if answer["error"] and "does not match any text" in answer["error"]["msg"]:
                impossible += 1
                continue
            self.assertIsNone(answer["error"], schema)
            check = validator(exact(schema))
            for text in answer["samples"]:
                if text is None:
                    continue
                try:
                    value = json.loads(text, parse_float=Decimal, object_pairs_hook=no_twice)
                except KeyError:
                    continue
                finished += 1
                errors = [e.message for e in check.iter_errors(value)]
                self.assertFalse(errors, f"{json.dumps(schema)}\n{text}")
        self.assertLess(impossible, N_SCHEMAS * 0.1)
        self.assertGreater(finished, N_SCHEMAS * 1.6)

    def test_instances_are_accepted(self):
        requests, instances = [], []
        for i, (schema, strict) in enumerate(self.schemas):
            values = []
            for k in range(4):
                try:
                    value = Writer(schema, i * 10 + k).make(schema)
                except NoInstance:
                    continue
                if not list(validator(exact(schema)).iter_errors(json.loads(json.dumps(value), parse_float=Decimal))):
                    values.append(value)
            texts = [text for value in values for text in (
                json.dumps(value), json.dumps(value, ensure_ascii=False), json.dumps(value, indent=2),
                json.dumps(value, indent="\t"), json.dumps(value, separators=(",", ":"), ensure_ascii=False))]
            requests.append({"schema": schema, "strict": strict, "texts": texts})
            instances += values
        self.assertGreater(len(instances), N_SCHEMAS * 2)
        for request, answer in zip(requests, ask(requests)):
            for text, accepted in zip(request["texts"], answer["accepted"]):
                self.assertTrue(accepted, f"{json.dumps(request['schema'])}\n{text}")

    def test_damaged_instances_are_refused(self):
        """What the validator refuses, or what is no JSON, the grammar refuses."""
        rng = random.Random(5)
        requests, verdicts = [], []
        for i, (schema, strict) in enumerate(self.schemas[:300]):
            try:
                text = json.dumps(Writer(schema, i).make(schema))
            except NoInstance:
                continue
            texts = []
            for _ in range(20):
                at = rng.randrange(len(text))
                cut = rng.choice(["", rng.choice("\"{}[],:0189ae.-\\ntu "), text[at] * 2])
                texts.append(text[:at] + cut + text[at + 1:])
            requests.append({"schema": schema, "strict": strict, "texts": texts})
            check = validator(exact(schema))
            for damaged in texts:
                try:
                    value = json.loads(damaged, parse_float=Decimal, object_pairs_hook=no_twice)
                    verdicts.append(not list(check.iter_errors(value)))
                except (ValueError, KeyError):
                    verdicts.append(False)
        answers = [verdict for answer in ask(requests) for verdict in answer["accepted"]]
        texts = [(r["schema"], t) for r in requests for t in r["texts"]]
        for (schema, text), valid, accepted in zip(texts, verdicts, answers, strict=True):
            if accepted and "\"" * 2 + ":" not in text:
                self.assertTrue(valid, f"{json.dumps(schema)}\n{text}")


class RegexTest(unittest.TestCase):
    ATOMS = ["a", "b", "c", ".", "[ab]", "[^a]", "\\d", "\\w", "\\s", "(?:ab)", "(a|bc)", "[a-c]", "\\.", "(?i:A)", "\u00e9",
             "\\b", "^", "$"]
    SUFFIXES = ["", "", "", "*", "+", "?", "{2}", "{1,3}", "{0,2}?", "+?"]

    def pattern(self, rng):
        return "|".join("".join(rng.choice(self.ATOMS[:-3] if rng.random() < 0.9 else self.ATOMS[-3:]) +
                                (rng.choice(self.SUFFIXES)) for _ in range(rng.randint(1, 4)))
                        for _ in range(rng.randint(1, 2)))

    def test_matches_are_those_of_python(self):
        rng = random.Random(3)
        requests, expected = [], []
        while len(requests) < 800:
            pattern = self.pattern(rng)
            try:
                # "$" and "\\s" of Python also know a final line feed and some controls: not in the texts.
                compiled = re.compile(pattern)
            except re.error:
                continue
            if re.search(r"(\\b|\^|\$)[*+?{]", pattern):
                continue
            texts = ["".join(rng.choice("aabbc. 1\u00e9A") for _ in range(rng.randint(0, 7))) for _ in range(60)]
            if requests and len(requests) % 2:
                requests.append({"schema": {"type": "string", "pattern": pattern.replace("(?i:A)", "[aA]")},
                                 "texts": [json.dumps(t) for t in texts], "samples": 2, "seed": len(requests)})
                texts_ascii = [bool(re.compile(pattern.replace("(?i:A)", "[aA]"), re.ASCII).search(t)) for t in texts]
                expected.append(texts_ascii)
            else:
                requests.append({"regex": pattern, "texts": texts, "samples": 2, "seed": len(requests)})
                expected.append([bool(compiled.fullmatch(t)) for t in texts])
        for request, wanted, answer in zip(requests, expected, ask(requests)):
            if answer["error"] and "does not match" in answer["error"]["msg"]:
                self.assertFalse(any(wanted), request)
                continue
            self.assertIsNone(answer["error"], request)
            for text, match, accepted in zip(request["texts"], wanted, answer["accepted"], strict=True):
                self.assertEqual(accepted, match, (request.get("regex") or request["schema"], text))


if __name__ == "__main__":
    unittest.main()
