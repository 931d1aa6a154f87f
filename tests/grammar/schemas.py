"""Random JSON Schemas of the supported keywords, and random instances of them, made without looking at how
grammars work."""
import datetime
import ipaddress
import math
import random
import uuid
from decimal import Decimal

PATTERNS = ["^[a-z]+$", "^[A-Z]{2}[0-9]{3}$", "^(foo|bar)+$", "^\\d{3}-\\d{4}$", "[0-9]", "^a.c$", "^[^x]*$", "b$",
            "^\\w+@\\w+\\.com$", "^$", "x|y", "^#[0-9a-fA-F]{6}$", "^(a|b){2,5}$", "\\.py$", "^[\\u00e0-\\u00ff]{1,3}$"]
FORMATS = ["date-time", "date", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"]
NAMES = ["a", "b", "name", "value", "items", "x y", "caf\u00e9", "q\"uote", "id", "nested", "t\\t", "emoji\U0001f600"]
TEXTS = ["", "a", "abc", "hello world", "\u00fcber", "q\"q", "back\\slash", "tab\t", "\u4f60\u597d", "\U0001f600!", "/x/"]


class Generator:
    """Schemas and instances from one seed."""

    def __init__(self, seed, strict):
        self.rng = random.Random(seed)
        self.strict = strict
        self.defs = {}

    def chance(self, share):
        return self.rng.random() < share

    def root(self):
        schema = self.object(3)
        if self.chance(0.2):
            self.defs["node"] = self.recursive()
            schema["properties"]["tree"] = {"$ref": "#/$defs/node"}
            if self.strict or self.chance(0.5):
                schema.setdefault("required", []).append("tree")
        if self.defs:
            schema["$defs"] = self.defs
        return schema

    def recursive(self):
        inner = {"type": "object", "properties": {
            "v": {"type": "integer", "minimum": 0, "maximum": 9},
            "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
            "required": ["v", "next"], "additionalProperties": False}
        return inner

    def value(self, depth):
        kinds = [self.string, self.integer, self.number, self.boolean, self.enum, self.constant, self.nullable]
        if depth > 0:
            kinds += [self.object, self.array, self.any_of, self.object, self.array]
            if not self.strict:
                kinds += [self.all_of, self.one_of, self.tuple, self.map, self.anything]
        return self.rng.choice(kinds)(depth - 1)

    def object(self, depth):
        names = self.rng.sample(NAMES, self.rng.randint(1, 4))
        properties = {name: self.value(depth - 1) for name in names}
        if self.strict:
            return {"type": "object", "properties": properties, "required": names, "additionalProperties": False}
        schema = {"type": "object", "properties": properties}
        required = [name for name in names if self.chance(0.5)]
        if required:
            schema["required"] = required
        if self.chance(0.7):
            schema["additionalProperties"] = False
            if self.chance(0.2):
                schema["minProperties"] = self.rng.randint(0, len(names))
            if self.chance(0.2):
                schema["maxProperties"] = max(len(required), schema.get("minProperties", 0), 1)
        elif self.chance(0.5):
            schema["additionalProperties"] = self.value(0)
        return schema

    def map(self, depth):
        schema = {"type": "object", "additionalProperties": self.value(depth - 1)}
        if self.chance(0.3):
            schema["patternProperties"] = {self.rng.choice(["^n", "[0-9]$"]): {"type": "null"}}
        return schema

    def array(self, depth):
        schema = {"type": "array", "items": self.value(depth - 1)}
        if self.chance(0.4):
            schema["minItems"] = self.rng.randint(0, 3)
        if self.chance(0.4):
            schema["maxItems"] = schema.get("minItems", 0) + self.rng.randint(0, 3)
        return schema

    def tuple(self, depth):
        schema = {"type": "array", "prefixItems": [self.value(depth - 1) for _ in range(self.rng.randint(1, 3))]}
        if self.chance(0.6):
            schema["items"] = False
        if self.chance(0.5):
            schema["minItems"] = len(schema["prefixItems"])
        return schema

    def string(self, _):
        schema = {"type": "string"}
        roll = self.rng.random()
        if roll < 0.2:
            schema["pattern"] = self.rng.choice(PATTERNS)
        elif roll < 0.4:
            schema["format"] = self.rng.choice(FORMATS)
        elif roll < 0.6:
            schema["minLength"] = self.rng.randint(0, 5)
            schema["maxLength"] = schema["minLength"] + self.rng.randint(0, 40)
        elif roll < 0.7:
            schema["pattern"] = self.rng.choice(["^[a-z]+$", "[0-9]", "^[^x]*$"])
            schema["maxLength"] = self.rng.randint(1, 30)
        return schema

    def integer(self, _):
        schema = {"type": "integer"}
        if self.chance(0.6):
            low = self.rng.choice([-1000, -17, -1, 0, 1, 7, 99, 12345])
            schema[self.rng.choice(["minimum", "exclusiveMinimum"])] = low
            if self.chance(0.7):
                schema[self.rng.choice(["maximum", "exclusiveMaximum"])] = low + self.rng.choice([2, 9, 10, 100, 5000])
        elif self.chance(0.5):
            schema["maximum"] = self.rng.choice([-5, 0, 3, 1000])
        if self.chance(0.2):
            schema["multipleOf"] = self.rng.choice([1, 2, 3, 5, 7, 10])
            if "maximum" in schema and "minimum" in schema:
                schema["maximum"] += 30
        return schema

    def number(self, _):
        schema = {"type": "number"}
        if self.chance(0.6):
            low = self.rng.choice([-100, -1.5, -0.001, 0, 0.25, 3, 99.99])
            schema[self.rng.choice(["minimum", "exclusiveMinimum"])] = low
            if self.chance(0.7):
                schema[self.rng.choice(["maximum", "exclusiveMaximum"])] = low + self.rng.choice([0.5, 1, 12.34, 1000])
        if self.chance(0.15):
            schema["multipleOf"] = self.rng.choice([0.5, 0.25, 0.01, 0.1, 2])
            if "maximum" in schema:
                schema["maximum"] += 10
        return schema

    def boolean(self, _):
        return {"type": "boolean"}

    def anything(self, _):
        return self.rng.choice([True, {}, {"description": "whatever"}])

    def enum(self, _):
        values = self.rng.sample(TEXTS + [1, -5, 2.5, True, None], self.rng.randint(1, 5))
        return {"enum": values} if not self.strict else {"type": ["string", "number", "boolean", "null"], "enum": values}

    def constant(self, _):
        return {"const": self.rng.choice(TEXTS + [42, False, None])}

    def nullable(self, _):
        return {"type": [self.rng.choice(["string", "integer", "boolean"]), "null"]}

    def any_of(self, depth):
        return {"anyOf": [self.value(depth - 1) for _ in range(self.rng.randint(1, 3))]}

    def one_of(self, depth):
        return {"oneOf": [{"type": "object", "properties": {"kind": {"const": kind}, "data": self.value(depth - 1)},
                           "required": ["kind", "data"], "additionalProperties": False} for kind in ("p", "q")]}

    def all_of(self, _):
        return self.rng.choice([
            {"allOf": [{"type": "integer", "minimum": 3}, {"maximum": 30}]},
            {"allOf": [{"type": ["string", "null"]}, {"type": ["string", "integer"], "minLength": 1}]},
            {"allOf": [{"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
                       {"properties": {"b": {"type": "boolean"}}, "required": ["b"]}]},
            {"allOf": [{"pattern": "^[a-z]*$"}, {"pattern": "x"}], "type": "string"},
        ])


class NoInstance(Exception):
    """The schema has none, or this simple writer finds none."""


class Writer:
    """Instances of schemas."""

    def __init__(self, root, seed):
        self.root = root
        self.rng = random.Random(seed)

    def make(self, schema, depth=0):
        if depth > 20:
            raise NoInstance
        if schema is True or schema == {} or set(schema) <= {"description"}:
            return self.rng.choice([None, 1, "x", [1], {"k": "v"}])
        if schema is False:
            raise NoInstance
        if "$ref" in schema:
            at = self.root
            for part in schema["$ref"].split("/")[1:]:
                at = at[part]
            return self.make(at, depth + 1)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self.rng.choice(schema["enum"])
        for key in ("anyOf", "oneOf"):
            if key in schema:
                branches = schema[key][:]
                self.rng.shuffle(branches)
                if depth > 6:
                    branches.sort(key=lambda b: b != {"type": "null"})
                return self.make(branches[0], depth + 1)
        kind = schema.get("type")
        if kind is None:
            raise NoInstance
        if isinstance(kind, list):
            kind = self.rng.choice(kind)
        return getattr(self, "make_" + kind)(schema, depth)

    def make_null(self, _schema, _depth):
        return None

    def make_boolean(self, _schema, _depth):
        return self.rng.random() < 0.5

    def make_integer(self, schema, _depth):
        low = schema.get("minimum", schema.get("exclusiveMinimum", -(10 ** 6)))
        high = schema.get("maximum", schema.get("exclusiveMaximum", max(low, 0) + 10 ** 6))
        low, high = min(low, high - 100) if "minimum" not in schema and "exclusiveMinimum" not in schema else low, high
        low += "exclusiveMinimum" in schema
        high -= "exclusiveMaximum" in schema
        step = schema.get("multipleOf", 1)
        first, last = -(-low // step), high // step
        if first > last:
            raise NoInstance
        return self.rng.randint(first, last) * step

    def make_number(self, schema, _depth):
        low = schema.get("minimum", schema.get("exclusiveMinimum"))
        high = schema.get("maximum", schema.get("exclusiveMaximum"))
        low = (high if high is not None else 0) - 100 if low is None else low
        high = low + 100 if high is None else high
        if "multipleOf" in schema:
            step = Decimal(str(schema["multipleOf"]))
            count = int((Decimal(str(high)) - Decimal(str(low))) / step)
            value = (Decimal(str(low)) // step + 1 + self.rng.randint(0, max(count - 2, 0))) * step
            if not Decimal(str(low)) < value < Decimal(str(high)):
                raise NoInstance
            return float(value)
        value = self.rng.uniform(low, high)
        if not low < value < high or "e" in repr(value):
            raise NoInstance
        return self.rng.choice([value, round((low + high) / 2, 9)])

    def make_string(self, schema, _depth):
        if "format" in schema:
            return self.formatted(schema["format"])
        if "pattern" in schema:
            text = {"^[a-z]+$": "qwe", "[0-9]": "a7\u00e9", "^[^x]*$": "\u00fc\n\"", "b$": "ab", "x|y": "ayb",
                    "^$": "", "^(foo|bar)+$": "foobar", "\\.py$": "a.py", "^a.c$": "a\"c",
                    "^#[0-9a-fA-F]{6}$": "#00ffAA"}.get(schema["pattern"])
            if text is None or len(text) > schema.get("maxLength", 99):
                raise NoInstance
            return text
        low = schema.get("minLength", 0)
        high = schema.get("maxLength", low + 10)
        return "".join(self.rng.choice("ab\"\\\n/\u00e9\u4f60\U0001f600 \x01\x7f") for _ in range(self.rng.randint(low, high)))

    def formatted(self, name):
        moment = datetime.datetime(self.rng.choice([2000, 2024, 1999]), 2, self.rng.randint(1, 28), 23, 59, 1)
        return {
            "date-time": moment.isoformat() + self.rng.choice(["Z", "+01:00", ".123Z"]), "date": moment.date().isoformat(),
            "time": moment.time().isoformat() + "Z", "duration": self.rng.choice(["P1D", "PT5M", "P1Y2M3DT4H5M6S", "P2W"]),
            "email": "a.b+c@example.org", "hostname": self.rng.choice(["localhost", "a-b.example.org"]),
            "ipv4": str(ipaddress.IPv4Address(self.rng.getrandbits(32))),
            "ipv6": str(ipaddress.IPv6Address(self.rng.getrandbits(128) & self.rng.getrandbits(128) & self.rng.choice(
                [2 ** 128 - 1, 2 ** 16 - 1, 1, 2 ** 128 - 2 ** 100]))),
            "uuid": str(uuid.UUID(int=self.rng.getrandbits(128))),
        }[name]

    def make_array(self, schema, depth):
        prefix = schema.get("prefixItems", [])
        low = schema.get("minItems", 0)
        high = schema.get("maxItems", max(low, len(prefix)) + 2)
        if schema.get("items") is False:
            high = min(high, len(prefix))
        if depth > 8:
            high = low
        count = self.rng.randint(low, max(low, high))
        return [self.make(prefix[i] if i < len(prefix) else schema.get("items", True), depth + 1) for i in range(count)]

    def make_object(self, schema, depth):
        properties = schema.get("properties", {})
        required = schema.get("required", [])
        out = {}
        for name, inner in properties.items():
            if name in required or self.rng.random() < 0.5:
                out[name] = self.make(inner, depth + 1)
        rest = schema.get("additionalProperties", True)
        if rest is not False and not schema.get("patternProperties") and self.rng.random() < 0.5:
            out["extra \u00e9"] = self.make(rest, depth + 1)
        if not schema.get("minProperties", 0) <= len(out) <= schema.get("maxProperties", math.inf):
            raise NoInstance
        return out
