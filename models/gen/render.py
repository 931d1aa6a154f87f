"""What chat_template.jinja makes of a conversation, as segments: pieces of text, each to be learnt or not.

The template is what a server renders with; this is the same in Python, without a template engine, because the
generator renders a hundred thousand documents. render_test.py compares the two."""

import json

DEEPEST = 4  # of nested types that are written out


def dumps(value):
    """JSON as `tojson` of chat templates writes it."""
    return json.dumps(value, ensure_ascii=False)


def kind(schema, defs, depth=0):
    """A JSON Schema as a type: string, integer, "a"|"b", {x: number}, string[], ..."""
    if not isinstance(schema, dict) or depth > DEEPEST:
        return "any"
    if "$ref" in schema:
        return kind(defs.get(schema["$ref"].split("/")[-1]), defs, depth + 1)
    if "enum" in schema:
        return "|".join(dumps(v) for v in schema["enum"])
    if "const" in schema:
        return dumps(schema["const"])
    for alternatives in ("anyOf", "oneOf"):
        if alternatives in schema:
            return "|".join(kind(s, defs, depth + 1) for s in schema[alternatives])
    if "properties" in schema:
        return "{" + fields(schema, defs, depth + 1) + "}"
    if "items" in schema:
        return kind(schema["items"], defs, depth + 1) + "[]"
    stated = schema.get("type", "any")
    return stated if isinstance(stated, str) else "|".join(stated)


def fields(schema, defs, depth=0):
    """The properties of an object schema: name, count: integer, unit?: "c"|"f". A string needs no type."""
    parts = []
    for name, field in (schema.get("properties") or {}).items():
        wanted = kind(field, defs, depth)
        optional = "" if name in (schema.get("required") or []) else "?"
        parts.append(name + optional + ("" if wanted == "string" else ": " + wanted))
    return ", ".join(parts)


def signature(tool):
    """One function in one line: get_weather(city, unit?: "c"|"f"): Get the weather."""
    function = tool["function"]
    schema = function.get("parameters") or {}
    line = f"{function['name']}({fields(schema, schema.get('$defs') or {})})"
    about = (function.get("description") or "").strip().split("\n")[0][:120]
    return line + (": " + about if about else "")


def system_turn(messages, tools, schema):
    has_system = messages and messages[0]["role"] in ("system", "developer")
    text = "<|im_start|>system\n" + (messages[0]["content"] + "\n" if has_system else "")
    if tools:
        text += "<tools>" + "".join("\n" + signature(t) for t in tools) + "\n</tools>"
    if schema:
        text += ("\n" if tools else "") + "Answer in JSON: " + kind(schema, schema.get("$defs") or {})
    return text + "<|im_end|>\n", messages[has_system:]


def said(message):
    """What an assistant's message says, without the end of its turn."""
    text = message.get("content") or ""
    for call in message.get("tool_calls") or []:
        body = {"name": call["function"]["name"], "arguments": call["function"]["arguments"]}
        text += ("\n" if text else "") + "<tool_call>\n" + dumps(body) + "\n</tool_call>"
    return text


def segments(doc):
    """The document's text in pieces {"text", "learn"}: what the assistant says is learnt unless its weight
    is 0."""
    found, messages, context = [], doc["messages"], ""
    if doc.get("tools") or doc.get("response_schema"):
        context, messages = system_turn(messages, doc.get("tools"), doc.get("response_schema"))
    for i, m in enumerate(messages):
        if m["role"] == "tool":
            first = i == 0 or messages[i - 1]["role"] != "tool"
            last = i + 1 == len(messages) or messages[i + 1]["role"] != "tool"
            context += "<|im_start|>user\n" if first else ""
            context += f"<tool_response>{m['content']}</tool_response>"
            context += "<|im_end|>\n" if last else ""
        elif m["role"] == "assistant":
            found.append({"text": context + "<|im_start|>assistant\n", "learn": False})
            found.append({"text": said(m) + "<|im_end|>", "learn": m.get("weight", 1) != 0})
            context = "\n"
        else:
            role = "system" if m["role"] == "developer" else m["role"]
            context += f"<|im_start|>{role}\n{m['content']}<|im_end|>\n"
    return found
