#!/usr/bin/env python3
"""Turns the contract (openai.json + extensions.json) into C tables and the text of GET /openapi.json.

    gen.py FACTS EXTENSIONS OUT_DIR

writes contract_schemas.inc, contract_operations.inc and contract_openapi.json. The output depends on the
input alone. A keyword that is not understood is an error: no rule of the facts is dropped in silence, except
those listed in IGNORED and the "one of these fields must be there" constraints (see required_only)."""

import fnmatch
import json
import os
import sys

METHODS = ["get", "post", "put", "patch", "delete"]
NO_LIMIT = 0xFFFFFFFF
INT64_MAX = (1 << 63) - 1
PATTERN_MAX_RUNS = 12  # of src/contract/tables.h
PREFIX = "#/components/schemas/"

# Keywords that carry no rule for the validator, or that are handled where they stand.
IGNORED = {"default", "deprecated", "format", "discriminator", "x-why", "optional", "$recursiveAnchor", "not",
           "x-request-optional", "x-strict", "nullable", "type"}
UNDERSTOOD = IGNORED | {"$ref", "allOf", "anyOf", "oneOf", "properties", "required", "additionalProperties", "items",
                        "enum", "const", "minimum", "maximum", "exclusiveMinimum", "minLength", "maxLength",
                        "minItems", "maxItems", "maxProperties", "propertyNames", "pattern"}

KINDS = ["any", "object", "array", "string", "integer", "number", "boolean", "null", "union"]
F_REQUIRED, F_REPLY_REQUIRED = 1, 2
N_NULLABLE, N_CLOSED, N_BINARY, N_ABOVE_MIN, N_STRICT = 1, 2, 4, 8, 16


class ContractError(Exception):
    pass


# ---- extensions: a merge patch (RFC 7396) whose arrays can also be extended ----

def merge(base, patch):
    """RFC 7396, and {"x-append": [...]} adds to the array that stands there."""
    if not isinstance(patch, dict):
        return patch
    if set(patch) - {"x-why"} == {"x-append"}:
        if not isinstance(base, list):
            raise ContractError("x-append to something that is not an array: %r" % (patch,))
        return base + [v for v in patch["x-append"] if v not in base]
    out = dict(base) if isinstance(base, dict) else {}
    for key, value in patch.items():
        if value is None:
            if key not in out:
                raise ContractError("an extension removes %r, which is not there" % key)
            del out[key]
        else:
            out[key] = merge(out.get(key), value)
    return out


def resolve_recursion(node, name):
    """$recursiveRef "#" means the component it stands in: the facts use it without dynamic scopes."""
    if isinstance(node, list):
        return [resolve_recursion(v, name) for v in node]
    if not isinstance(node, dict):
        return node
    if node.get("$recursiveRef") == "#":
        return {"$ref": PREFIX + name}
    return {k: resolve_recursion(v, name) for k, v in node.items()}


# ---- schemas: JSON Schema -> shapes ----

def required_only(schema):
    """A variant that only says which fields must be present together."""
    return isinstance(schema, dict) and set(schema) == {"required"}


class Shapes:
    """Resolves references, allOf, unions and nullability. A shape is a dict with "kind" (of KINDS), "nullable"
    and what the kind needs; children stay unresolved JSON Schema, so that recursive schemas end."""

    def __init__(self, components):
        self.components = components
        self.expanded = {}

    def component(self, ref):
        if not ref.startswith(PREFIX) or ref[len(PREFIX):] not in self.components:
            raise ContractError("unknown reference " + ref)
        return ref[len(PREFIX):]

    def expand(self, raw):
        """The schema without $ref and allOf at its top."""
        if raw is True or raw == {}:
            return {}
        unknown = set(raw) - UNDERSTOOD
        if unknown:
            raise ContractError("keyword not understood: %s in %s" % (sorted(unknown), json.dumps(raw)[:200]))
        if "$ref" in raw:
            name = self.component(raw["$ref"])
            if name not in self.expanded:
                self.expanded[name] = self.expand(self.components[name])
            rest = {k: v for k, v in raw.items() if k != "$ref" and k != "type"}
            return self.combine(self.expanded[name], rest) if rest else self.expanded[name]
        if "allOf" not in raw:
            return raw
        out = {k: v for k, v in raw.items() if k != "allOf"}
        for member in raw["allOf"]:
            out = self.combine(out, self.expand(member))
        return out

    def combine(self, a, b):
        """allOf of two expanded schemas; where both define a property the later one wins."""
        for x, y in ((a, b), (b, a)):
            key = "anyOf" if "anyOf" in x else "oneOf"
            if key in x and "properties" in y:
                merged = {k: v for k, v in x.items() if k != key}
                merged[key] = [{"allOf": [v, y]} for v in x[key]]
                return merged
        out = dict(a)
        for key, value in b.items():
            if key == "properties":
                out[key] = {**a.get(key, {}), **value}
            elif key in ("required", "x-request-optional"):
                out[key] = a.get(key, []) + [v for v in value if v not in a.get(key, [])]
            elif key == "nullable":
                out[key] = bool(value) or a.get(key, False)
            else:
                out[key] = value
        return out

    def shape(self, raw):
        s = self.shape_of(self.expand(raw))
        if isinstance(raw, dict) and set(raw) == {"$ref"} and "key" not in s:
            s = dict(s, key=self.component(raw["$ref"]))
        return s

    def shape_of(self, e):
        if not e:
            return {"kind": "any", "nullable": True}
        variants = e.get("anyOf", e.get("oneOf"))
        if variants and not all(required_only(v) for v in variants):
            return self.union(variants, e.get("nullable", False), e)
        kinds = e.get("type")
        if isinstance(kinds, list):
            return self.union([dict(e, type=k) for k in kinds], e.get("nullable", False), e)
        if kinds is None:
            kinds = "object" if "properties" in e or "additionalProperties" in e else "array" if "items" in e else None
        if kinds is None and ("enum" in e or "const" in e):
            kinds = "string"
        if kinds is None:
            return {"kind": "any", "nullable": True}
        s = getattr(self, "shape_" + {"integer": "number", "null": "plain", "boolean": "plain"}.get(kinds, kinds))(e)
        s["kind"] = kinds
        s["nullable"] = bool(e.get("nullable", False)) or s.get("nullable", False) or kinds == "null"
        return s

    def shape_plain(self, e):
        return {}

    def shape_object(self, e):
        extra = e.get("additionalProperties", True)
        names = e.get("propertyNames", {})
        if set(names) - {"type", "maxLength"}:
            raise ContractError("propertyNames not understood: %r" % names)
        return {"props": e.get("properties", {}), "required": list(e.get("required", [])),
                "reply_only": list(e.get("x-request-optional", [])), "closed": extra is False,
                "strict": bool(e.get("x-strict", False)), "extra": None if isinstance(extra, bool) else extra,
                "hi": e.get("maxProperties", NO_LIMIT), "key_hi": names.get("maxLength", 0)}

    def shape_array(self, e):
        return {"items": e.get("items", {}), "lo": e.get("minItems", 0), "hi": e.get("maxItems", NO_LIMIT)}

    def shape_string(self, e):
        values = [e["const"]] if "const" in e else e.get("enum")
        nullable = bool(values) and None in values
        if values:
            values = [v for v in values if v is not None]
            if not all(isinstance(v, str) for v in values):
                raise ContractError("enum of other things than strings: %r" % values)
        return {"enum": values, "lo": e.get("minLength", 0), "hi": e.get("maxLength", NO_LIMIT),
                "pattern": e.get("pattern"), "binary": e.get("format") == "binary", "nullable": nullable}

    def shape_number(self, e):
        lo, hi = e.get("minimum"), e.get("maximum")
        values = e.get("enum")
        if values:  # only runs of integers occur: [0, 1], [24000]
            if sorted(values) != list(range(min(values), max(values) + 1)):
                raise ContractError("enum of integers with gaps: %r" % values)
            lo, hi = min(values), max(values)
        if e.get("type") == "integer":  # bounds that only restate int64 are the parser's business
            lo = None if lo is not None and lo <= -INT64_MAX else lo
            hi = None if hi is not None and hi >= INT64_MAX else hi
        return {"min": lo, "max": hi, "above": e.get("exclusiveMinimum") is True}

    # -- unions --

    def union(self, variants, nullable, e):
        """Flattens nested unions, folds null into nullability and the scalar variants of one kind into one."""
        flat = []
        for v in variants:
            s = self.shape(v)
            if s["kind"] == "any":
                return {"kind": "any", "nullable": True}
            nullable = nullable or s["nullable"]
            for part in s["variants"] if s["kind"] == "union" else [s]:
                if part["kind"] != "null":
                    flat.append(self.not_null(part))
        flat = self.fold_scalars(flat)
        if not flat:
            return {"kind": "null", "nullable": True}
        if len(flat) == 1:
            only = {k: v for k, v in flat[0].items() if k != "key" or not nullable}
            if nullable and "key" in flat[0]:
                only["key"] = flat[0]["key"].split("?")[0] + "?"
            return dict(only, nullable=nullable)
        return {"kind": "union", "nullable": nullable, "variants": flat,
                "declared": e.get("discriminator", {}).get("propertyName")}

    @staticmethod
    def not_null(s):
        if not s["nullable"]:
            return s
        out = dict(s, nullable=False)
        if "key" in out:
            out["key"] = out["key"].rstrip("?!") + "!"
        return out

    @staticmethod
    def fold_scalars(flat):
        out, place = [], {}
        if any(s["kind"] == "number" for s in flat):
            flat = [s for s in flat if s["kind"] != "integer"]
        for s in flat:
            kind = s["kind"]
            if s.get("key") and any(t.get("key") == s["key"] for t in out):
                continue
            if kind in ("object", "array") or kind not in place:
                place[kind] = len(out)
                out.append(s)
            elif kind == "string":
                out[place[kind]] = fold_strings(out[place[kind]], s)
        return out


def fold_strings(a, b):
    """One string shape that accepts what either accepts; an open string swallows the listed ones."""
    if a["enum"] and b["enum"]:
        return {**a, "enum": a["enum"] + [v for v in b["enum"] if v not in a["enum"]], "key": None}
    opened = [s for s in (a, b) if not s["enum"]]
    out = dict(opened[0], lo=min(s["lo"] for s in opened), hi=max(s["hi"] for s in opened))
    out.pop("key", None)
    return out


# ---- shapes -> table rows ----

class Strings:
    def __init__(self):
        self.at, self.list, self.size = {}, [], 0
        self.add("")

    def add(self, text):
        if text not in self.at:
            self.at[text] = self.size
            self.list.append(text)
            self.size += len(text.encode()) + 1
        return self.at[text]


class Rows:
    """An array of the output in which equal runs of rows share their place."""

    def __init__(self, *first):
        self.rows, self.runs = list(first), {}

    def run(self, rows):
        key = tuple(rows)
        if not key:
            return 0
        if key not in self.runs:
            self.runs[key] = len(self.rows)
            self.rows.extend(key)
        return self.runs[key]


class Tables:
    def __init__(self, shapes):
        self.shapes = shapes
        self.strings = Strings()
        self.nodes = []  # rows; node 0 accepts anything
        self.by_key, self.by_row = {}, {}
        self.fields, self.variants, self.enums = Rows(), Rows(), Rows()
        self.ranges, self.patterns = [None], [None]
        self.untagged = []
        self.node({})

    def node(self, raw):
        return self.place(self.shapes.shape(raw))

    def place(self, s):
        key = s.get("key")
        if key in self.by_key:
            return self.by_key[key]
        if key:  # reserve the place first: the schema may contain itself
            at = self.by_key[key] = len(self.nodes)
            self.nodes.append(None)
            self.nodes[at] = self.row(s)
            return at
        row = self.row(s)
        if row not in self.by_row:
            self.by_row[row] = len(self.nodes)
            self.nodes.append(row)
        return self.by_row[row]

    def row(self, s):
        """(kind, flags, n, first, item, lo, hi, range, pattern, key_hi, tag)"""
        kind = s["kind"]
        flags = N_NULLABLE if s["nullable"] else 0
        n = first = item = lo = rng = pattern = key_hi = tag = 0
        hi = NO_LIMIT
        if kind == "object":
            rows = [self.field(s, name, raw) for name, raw in s["props"].items()]
            n, first, hi, key_hi = len(rows), self.fields.run(rows), s["hi"], s["key_hi"]
            flags |= (N_CLOSED if s["closed"] else 0) | (N_STRICT if s["strict"] else 0)
            item = self.node(s["extra"]) if s["extra"] else 0
        elif kind == "array":
            item, lo, hi = self.node(s["items"]), s["lo"], s["hi"]
        elif kind == "string":
            values = [self.strings.add(v) for v in s["enum"] or []]
            n, first, lo, hi = len(values), self.enums.run(values), s["lo"], s["hi"]
            flags |= N_BINARY if s["binary"] else 0
            pattern = self.pattern(s["pattern"])
        elif kind in ("integer", "number"):
            rng = self.range(s["min"], s["max"])
            flags |= N_ABOVE_MIN if s["above"] else 0
        elif kind == "union":
            tag_name, rows = self.union_rows(s)
            n, first, tag = len(rows), self.variants.run(rows), self.strings.add(tag_name)
        return (KINDS.index(kind), flags, n, first, item, lo, hi, rng, pattern, key_hi, tag)

    def field(self, s, name, raw):
        flags = 0
        if name in s["required"]:
            flags = F_REPLY_REQUIRED if name in s["reply_only"] else F_REQUIRED | F_REPLY_REQUIRED
        default = self.default(raw)
        return (self.strings.add(name), self.node(raw), self.strings.add(default), flags)

    def default(self, raw):
        e = self.shapes.expand(raw)
        for part in [e] + e.get("anyOf", []) + e.get("oneOf", []):
            if isinstance(part, dict) and part.get("default") is not None:
                return json.dumps(part["default"], separators=(",", ":"))
        return ""

    def range(self, lo, hi):
        if lo is None and hi is None:
            return 0
        if (lo, hi) not in self.ranges:
            self.ranges.append((lo, hi))
        return self.ranges.index((lo, hi))

    def pattern(self, text):
        if text is None:
            return 0
        if text not in self.patterns:
            parse_pattern(text)
            self.patterns.append(text)
        return self.patterns.index(text)

    # -- discriminators --

    def tags(self, variant, prop):
        """The values that choose this variant, and whether it may come without them; None: not tagged."""
        raw = variant["props"].get(prop)
        s = self.shapes.shape(raw) if raw is not None else None
        if not s or s["kind"] != "string" or not s["enum"]:
            return None
        required = prop in variant["required"] and prop not in variant["reply_only"]
        return s["enum"], not required

    def discriminator(self, s):
        """The property that tells the object variants apart: tagged in all of them, else in most."""
        objects = [v for v in s["variants"] if v["kind"] == "object"]
        if len(objects) < 2:
            return ""
        names = [s.get("declared"), "type", "role", "object", "event"] + sorted({p for v in objects for p in v["props"]})
        best, best_score = "", 0
        for name in filter(None, dict.fromkeys(names)):
            tagged = [t for t in (self.tags(v, name) for v in objects) if t]
            distinct = len({tuple(t[0]) for t in tagged})
            score = (len(tagged) == len(objects)) * 1000 + distinct
            if len(tagged) * 2 >= len(objects) and distinct > 1 and score > best_score:
                best, best_score = name, score
        if best_score < 1000:
            self.untagged.append((best, [v.get("key", "?") for v in objects]))
        return best

    def union_rows(self, s):
        tag = self.discriminator(s)
        rows = []
        for v in s["variants"]:
            found = self.tags(v, tag) if tag and v["kind"] == "object" else None
            values = [self.strings.add(t) for t in found[0]] if found else []
            optional = not found or found[1]
            rows.append((self.place(v), self.enums.run(values), len(values), int(optional)))
        return tag, rows


def parse_pattern(text):
    """^ (literal | [class] [{n} | {n,m} | + | *])* $ -> [(chars, min, max)]: what the facts use. Each run ends
    where its class ends, so that matching needs no backtracking."""
    if not (text.startswith("^") and text.endswith("$")):
        raise ContractError("pattern not anchored: " + text)
    body, i, runs = text[1:-1], 0, []
    while i < len(body):
        if body[i] == "[":
            end = body.index("]", i)
            chars, i = expand_class(body[i + 1:end]), end + 1
        elif body[i] in "\\.*+?(){}|^$":
            raise ContractError("pattern not understood: " + text)
        else:
            chars, i = {body[i]}, i + 1
        lo, hi, i = parse_repeat(body, i)
        if runs and runs[-1][0] & chars and runs[-1][1] != runs[-1][2]:
            raise ContractError("pattern needs backtracking: " + text)
        runs.append((chars, lo, hi))
    if len(runs) > PATTERN_MAX_RUNS:
        raise ContractError("pattern too long: " + text)
    return runs


def expand_class(text):
    chars, i = set(), 0
    while i < len(text):
        if i + 2 < len(text) and text[i + 1] == "-":
            chars |= {chr(c) for c in range(ord(text[i]), ord(text[i + 2]) + 1)}
            i += 3
        else:
            chars.add(text[i])
            i += 1
    return chars


def parse_repeat(body, i):
    if i < len(body) and body[i] in "+*":
        return (1 if body[i] == "+" else 0), NO_LIMIT, i + 1
    if i < len(body) and body[i] == "{":
        end = body.index("}", i)
        lo, _, hi = body[i + 1:end].partition(",")
        return int(lo), int(hi or lo), end + 1
    return 1, 1, i


# ---- operations ----

def query_name(name):
    return name[:-2] if name.endswith("[]") else name


def tag_of(op, path):
    """Some operations have no tag: they belong to the family that their path names."""
    return op["tags"][0] if op.get("tags") else path.split("/")[1].replace("_", " ").capitalize()


class Operations:
    def __init__(self, facts, tables):
        self.facts, self.tables = facts, tables
        self.params, self.media = Rows(), Rows()
        self.rows, self.routes = [], []
        self.events = facts.get("x-events", {})
        self.updates = set(facts.get("x-updates", []))
        self.aliases = facts.get("x-aliases", {})
        for ours in (False, True):
            for path, item in facts["paths"].items():
                for method in METHODS:
                    if method in item and bool(item[method].get("x-ours")) == ours:
                        self.add(path, method, item[method])
        unknown = (set(self.events) | self.updates) - {row["id"] for row in self.rows}
        if unknown:
            raise ContractError("extensions name unknown operations: %s" % sorted(unknown))

    def add(self, path, method, op):
        schema = self.tables.node
        params = [p for p in op.get("parameters", []) if p["in"] in ("path", "query")]
        by_place = {"path": [], "query": []}
        for p in params:
            by_place[p["in"]].append((query_name(p["name"]), schema(p.get("schema", {})), int(p.get("required", False))))
        by_place["path"].sort(key=lambda p: path.index("{" + p[0] + "}"))
        if [p[0] for p in by_place["path"]] != [s[1:-1] for s in path.split("/") if s.startswith("{")]:
            raise ContractError("path parameters of %s %s do not match the template" % (method, path))
        body = op.get("requestBody", {})
        bodies = [(0, t, self.media_schema(c)) for t, c in body.get("content", {}).items()]
        self.rows.append({
            "id": op["operationId"], "path": path, "tag": tag_of(op, path), "method": METHODS.index(method),
            "security": self.security(op), "flags": self.flags(op, body),
            "path_params": self.run(self.params, by_place["path"]), "query": self.run(self.params, by_place["query"]),
            "bodies": self.run(self.media, bodies), "replies": self.run(self.media, self.replies(op)),
            "event": self.event(op)})

    @staticmethod
    def run(rows, items):
        return rows.run(items), len(items)

    def media_schema(self, content):
        return self.tables.node(content["schema"]) if content.get("schema") else 0

    def replies(self, op):
        out = []
        for status, reply in op["responses"].items():
            if not status.startswith("2"):
                continue
            media = [(int(status), t, self.media_schema(c)) for t, c in reply.get("content", {}).items()
                     if t != "text/event-stream"]
            out += media or [(int(status), "*/*", 0)]
        return out

    def event(self, op):
        """The schema of one server-sent event: declared in the facts, or named under x-events."""
        name = self.events.get(op["operationId"])
        if name:
            return self.tables.node({"$ref": PREFIX + name})
        for reply in op["responses"].values():
            content = reply.get("content", {}).get("text/event-stream")
            if content:
                return self.media_schema(content)
        return 0

    def security(self, op):
        needs = op.get("security", self.facts["security"])
        if not needs:
            return "SEC_NONE"
        return {"ApiKeyAuth": "SEC_PROJECT", "AdminApiKeyAuth": "SEC_ADMIN"}[list(needs[0])[0]]

    def flags(self, op, body):
        names = []
        if op.get("x-ours"):
            names.append("OP_OURS")
        if op.get("x-root"):
            names.append("OP_ROOT")
        if body.get("required"):
            names.append("OP_BODY_REQUIRED")
        if op["operationId"] in self.updates:
            names.append("OP_UPDATE")
        if op.get("deprecated"):
            names.append("OP_DEPRECATED")
        if self.event(op):
            names.append("OP_STREAMS")
        return " | ".join(names) or "0"

    def spellings(self, path):
        """The path, and what the aliases make of it."""
        yield path
        for alias, begin in self.aliases.items():
            if path == begin or path.startswith(begin + "/"):
                yield alias + path[len(begin):]

    def trie(self):
        """Rows (segment, children..., parameter child, operation by method); row 0 is "/v1", row 1 is "/"."""
        def new(segment):
            return {"segment": segment, "children": {}, "param": None, "ops": {}}
        roots = [new("v1"), new("")]
        for path, index, row in ((p, i, row) for i, row in enumerate(self.rows) for p in self.spellings(row["path"])):
            node = roots[1 if "OP_ROOT" in row["flags"] else 0]
            for segment in path.strip("/").split("/"):
                if segment.startswith("{"):
                    node["param"] = node["param"] or new("{}")
                    node = node["param"]
                else:
                    node = node["children"].setdefault(segment, new(segment))
            node["ops"][row["method"]] = index + 1
        flat = list(roots)
        for node in flat:  # breadth first: the children of a node are neighbours, sorted
            node["first"] = len(flat)
            flat.extend(node["children"][s] for s in sorted(node["children"]))
            node["param_at"] = len(flat) if node["param"] else 0
            if node["param"]:
                flat.append(node["param"])
        return flat


# ---- output ----

def c_string(text):
    out = []
    for byte in text.encode():
        char = chr(byte)
        out.append("\\" + char if char in '"\\' else char if 32 <= byte < 127 and char != "?" else "\\%03o" % byte)
    return '"%s"' % "".join(out)


def c_number(value, lowest):
    if value is None:
        return "-INFINITY" if lowest else "INFINITY"
    return repr(float(value))


def c_pattern(text):
    runs = []
    for chars, lo, hi in parse_pattern(text):
        bits = [0, 0]
        for char in chars:
            bits[ord(char) >> 6] |= 1 << (ord(char) & 63)
        runs.append("{ { 0x%xULL, 0x%xULL }, %du, %du }" % (bits[0], bits[1], lo, hi))
    return "{ %s, %d, { %s } }" % (c_string(text), len(runs), ", ".join(runs))


def write_schemas(t, names, out):
    w = out.append
    w("/* Generated by contract/gen.py from contract/openai.json and contract/extensions.json. */")
    w("static const char strings[] =")
    out.extend("        %s" % c_string(s)[:-1] + "\\0\"" for s in t.strings.list)
    w(";")
    w("static const uint32_t enums[] = {")
    out.extend("        %s," % ", ".join(map(str, t.enums.rows[i:i + 16])) for i in range(0, len(t.enums.rows), 16))
    w("};")
    w("static const struct range ranges[] = {\n        { -INFINITY, INFINITY },")
    out.extend("        { %s, %s }," % (c_number(lo, True), c_number(hi, False)) for lo, hi in t.ranges[1:])
    w("};")
    w("static const struct pattern patterns[] = {\n        { \"\", 0, { { { 0, 0 }, 0, 0 } } },")
    out.extend("        %s," % c_pattern(p) for p in t.patterns[1:])
    w("};")
    for kind, name, rows in (("schema", "nodes", t.nodes), ("field", "fields", t.fields.rows),
                             ("variant", "variants", t.variants.rows)):
        w("static const struct %s %s[] = {" % (kind, name))
        out.extend("        { %s }," % ", ".join("%du" % v for v in row) for row in rows)
        w("};")
    w("static const struct named_schema named[] = {")
    out.extend("        { %s, %d }," % (c_string(n), at) for n, at in sorted(names.items()))
    w("};")


def write_operations(ops, official, out):
    w = out.append
    w("/* Generated by contract/gen.py from contract/openai.json and contract/extensions.json. */")
    node = lambda at: "&nodes[%d]" % at if at else "NULL"
    w("static const struct op_param params[] = {")
    out.extend("        { %s, &nodes[%d], %s }," % (c_string(n), at, "true" if req else "false")
               for n, at, req in ops.params.rows)
    w("};")
    w("static const struct op_media media[] = {")
    out.extend("        { %d, %s, %s }," % (status, c_string(t), node(at)) for status, t, at in ops.media.rows)
    w("};")
    w("static const struct operation operations[] = {")
    for r in ops.rows:
        w("        { %s, %s, %s, %s, %s, %s," % (c_string(r["id"]), c_string(r["path"]), c_string(r["tag"]),
                                                 "M_" + METHODS[r["method"]].upper(), r["security"], r["flags"]))
        (p, np), (q, nq), (b, nb), (a, na) = r["path_params"], r["query"], r["bodies"], r["replies"]
        w("          params + %d, params + %d, %d, %d, media + %d, media + %d, %d, %d, %s }," %
          (p, q, np, nq, b, a, nb, na, node(r["event"])))
    w("};")
    w("_Static_assert(CONTRACT_OFFICIAL == %d, \"the number of official operations has changed\");" % official)
    w("static const struct segment segments[] = {")
    for n in ops.trie():
        by_method = ", ".join(str(n["ops"].get(m, 0)) for m in range(len(METHODS)))
        w("        { %s, %d, %d, %d, { %s } }," % (c_string(n["segment"]), n["first"], len(n["children"]), n["param_at"],
                                                   by_method))
    w("};")


def load(facts_path, extensions_path):
    with open(facts_path, encoding="utf-8") as f:
        facts = json.load(f)
    with open(extensions_path, encoding="utf-8") as f:
        facts = merge(facts, json.load(f))
    # The "?beta=true" twins are the same routes with one more header: one operation each.
    facts["paths"] = {p: item for p, item in facts["paths"].items() if "?" not in p}
    schemas = facts["components"]["schemas"]
    facts["components"]["schemas"] = {n: resolve_recursion(s, n) for n, s in schemas.items()}
    for schema in facts["components"]["schemas"].values():
        allow_empty_list(schema)
    for item in facts["paths"].values():
        for op in item.values():
            bound_limit(op, facts.get("x-limits", {}))
    return facts


def allow_empty_list(schema):
    """A list object says null for the first and last id when it is empty."""
    properties = schema.get("properties", {})
    if {"data", "first_id", "last_id"} <= set(properties):
        for name in ("first_id", "last_id"):
            if properties[name].get("type") == "string":
                properties[name] = {**properties[name], "nullable": True}


def bound_limit(op, limits):
    """The facts leave the bounds of most `limit` parameters to their prose."""
    for p in op.get("parameters", []):
        if p["in"] == "query" and p["name"] == "limit" and "maximum" not in p["schema"]:
            lo, hi = next(v for k, v in limits.items() if fnmatch.fnmatchcase(op["operationId"], k))
            p["schema"] = {**p["schema"], "minimum": lo, "maximum": hi}


def published(facts):
    """The document of GET /openapi.json: the merged facts without what only the generator reads, and with the
    int64 bounds that the facts have rounded to a double made whole again."""
    hidden = {"x-events", "x-updates", "x-limits", "x-why", "x-request-optional", "x-strict", "x-root", "x-aliases"}

    def clean(node):
        if isinstance(node, list):
            return [clean(v) for v in node]
        if isinstance(node, dict):
            return {k: clean(v) for k, v in node.items() if k not in hidden}
        if isinstance(node, int) and not isinstance(node, bool):
            return max(-INT64_MAX - 1, min(INT64_MAX, node))
        return node
    return json.dumps(clean(facts), separators=(",", ":"), ensure_ascii=False)


def write(path, text):
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def main(argv):
    if len(argv) != 4:
        sys.exit(__doc__)
    facts = load(argv[1], argv[2])
    tables = Tables(Shapes(facts["components"]["schemas"]))
    operations = Operations(facts, tables)
    names = {n: tables.node({"$ref": PREFIX + n}) for n in facts["components"]["schemas"] if not n.startswith("Beta")}
    official = sum("OP_OURS" not in row["flags"] for row in operations.rows)
    if os.environ.get("CONTRACT_VERBOSE"):
        print("%d operations, %d nodes, %d fields, %d variants, %d bytes of strings" % (
            len(operations.rows), len(tables.nodes), len(tables.fields.rows), len(tables.variants.rows),
            tables.strings.size))
        for tag, keys in tables.untagged:
            print("union without a full discriminator (%r): %s" % (tag, ", ".join(map(str, keys))))
    os.makedirs(argv[3], exist_ok=True)
    for name, writer in (("contract_schemas.inc", lambda out: write_schemas(tables, names, out)),
                         ("contract_operations.inc", lambda out: write_operations(operations, official, out))):
        out = []
        writer(out)
        write(os.path.join(argv[3], name), "\n".join(out) + "\n")
    write(os.path.join(argv[3], "contract_openapi.json"), published(facts))


if __name__ == "__main__":
    try:
        main(sys.argv)
    except ContractError as e:
        sys.exit("contract/gen.py: %s" % e)
