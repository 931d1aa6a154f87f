"""Tools and schemas that several test files offer. Every schema is bounded: whatever a model without sense chooses,
its calls come to an end."""
import json

WEATHER = {"type": "object", "properties": {"city": {"type": "string", "enum": ["Paris", "Rome", "Oslo"]},
                                            "unit": {"type": "string", "enum": ["c", "f"]}},
           "required": ["city", "unit"], "additionalProperties": False}
ALARM = {"type": "object", "properties": {"hour": {"type": "integer", "enum": [6, 7, 8]},
                                          "loud": {"type": "boolean"}},
         "required": ["hour", "loud"], "additionalProperties": False}
ANSWER = {"type": "object", "properties": {"verdict": {"type": "string", "enum": ["yes", "no"]},
                                           "score": {"type": "integer", "enum": [1, 2, 3]},
                                           "tags": {"type": "array", "items": {"type": "string", "enum": ["a", "b"]},
                                                    "minItems": 1, "maxItems": 2}},
          "required": ["verdict", "score", "tags"], "additionalProperties": False}
PARAMETERS = {"get_weather": WEATHER, "set_alarm": ALARM}
DESCRIPTIONS = {"get_weather": "Says what the weather is like in a city.", "set_alarm": "Sets the alarm clock."}


def function(name, strict=True):
    """A function tool as Responses has it."""
    return {"type": "function", "name": name, "description": DESCRIPTIONS[name], "parameters": PARAMETERS[name],
            "strict": strict}


def chat_function(name, strict=True):
    flat = function(name, strict)
    return {"type": flat.pop("type"), "function": flat}


CODE = {"syntax": "regex", "definition": "[a-c]{2,4}=[0-9]{1,3}"}
SUMS = {"syntax": "lark", "definition": 'start: NUMBER ("+" NUMBER)~1..2\nNUMBER: /[0-9]{1,2}/\n'}
CODE_PATTERN, SUMS_PATTERN = "[a-c]{2,4}=[0-9]{1,3}", r"[0-9]{1,2}(\+[0-9]{1,2}){1,2}"


def custom(name, grammar=None):
    """A custom tool as Responses has it."""
    tool = {"type": "custom", "name": name, "description": "Takes one line."}
    if grammar:
        tool["format"] = {"type": "grammar", **grammar}
    return tool


def chat_custom(name, grammar=None):
    inner = {"name": name, "description": "Takes one line."}
    if grammar:
        inner["format"] = {"type": "grammar", "grammar": grammar}
    return {"type": "custom", "custom": inner}


def check_arguments(name, text):
    """That the arguments of a call follow the schema of its function; gives them."""
    made, schema = json.loads(text), PARAMETERS[name]
    assert set(made) == set(schema["required"]), made
    for key, value in made.items():
        rule = schema["properties"][key]
        if rule["type"] == "boolean":
            assert isinstance(value, bool), made
        else:
            assert value in rule["enum"], made
    return made


def check_answer(text):
    made = json.loads(text)
    assert set(made) == set(ANSWER["required"]), made
    assert made["verdict"] in ("yes", "no") and made["score"] in (1, 2, 3), made
    assert 1 <= len(made["tags"]) <= 2 and set(made["tags"]) <= {"a", "b"}, made
    return made
