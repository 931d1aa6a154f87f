#!/usr/bin/env python3
"""Seeds of fuzz_grammar: sources of each kind, each with some choices."""
import json
from pathlib import Path

REGEX, LARK, TEXT, SCHEMA = range(4)
SOURCES = [
    (REGEX, "[a-z]+(ab|c){2,5}\\d?"), (REGEX, "(?i:x\\b.)|^\\p{Lu}[^\\w]{3,}$"), (REGEX, "a{0,1000}"),
    (REGEX, "(a|b)*a(a|b){6}"), (TEXT, "<call>"), (TEXT | 4, "ab"),
    (LARK, "start: e\ne: e \"+\" t | t\nt: N | \"(\" e \")\"\nN: /[0-9]+/\n%import common.WS\n%ignore WS\n"),
    (LARK, "start: l{a, \",\"}\nl{x, s}: x (s x)*\na: \"a\"i~2..3 | [\"b\"..\"d\"]\n"), (LARK, "start: s\ns: s s | \"a\" |\n"),
] + [(SCHEMA | flags << 2, json.dumps(schema)) for flags, schema in [
    (1, {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": ["integer", "null"]}},
         "required": ["a", "b"], "additionalProperties": False}),
    (0, {"type": "object", "properties": {"x": {"type": "number", "minimum": -1.5, "exclusiveMaximum": 20}},
         "patternProperties": {"^n": {"const": 1}}, "minProperties": 1}),
    (2, {"type": "array", "items": {"enum": ["a", 1, None]}, "uniqueItems": True}),
    (0, {"$defs": {"t": {"type": "array", "prefixItems": [{"type": "string", "format": "date-time"}],
                         "items": {"$ref": "#/$defs/t"}, "maxItems": 4}}, "$ref": "#/$defs/t"}),
    (0, {"allOf": [{"type": "string", "pattern": "^[a-f]+$"}, {"minLength": 2, "maxLength": 40}]}),
    (0, {"oneOf": [{"type": "integer", "multipleOf": 7}, {"type": "string", "maxLength": 300}]}),
    (0, True),
]]


def main():
    folder = Path(__file__).resolve().parent / "corpus" / "grammar"
    folder.mkdir(parents=True, exist_ok=True)
    for number, (kind, source) in enumerate(SOURCES):
        choices = bytes((number * 37 + k * 91) % 256 for k in range(60))
        (folder / f"seed-{number:02}").write_bytes(bytes([kind]) + source.encode() + b"\0" + choices)


if __name__ == "__main__":
    main()
