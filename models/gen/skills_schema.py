"""Filling a JSON schema from a text."""

from .families import SUBJECTS
from .families import fill as place
from .functions import CHOICES, DAYS, Param, date, email, join
from .render import dumps
from .skills_chat import PLAIN_SYSTEMS, message
from .skills_text import to_json
from .words import FOODS, HOBBIES, JOBS, NOUNS

MOODS = [
    (
        "positive",
        ["I love this {n}", "The {n} is great", "Best {n} ever", "What a wonderful {n}", "I am very happy with it"],
    ),
    (
        "negative",
        ["I hate this {n}", "The {n} is terrible", "Worst {n} ever", "What an awful {n}", "It broke after a day"],
    ),
    ("neutral", ["The {n} is okay", "It is a {n}", "The {n} arrived on {d}", "It is an average {n}", "I have a {n}"]),
]


def person(c):
    name, age, city, job = c.name(), c.num(18, 90), c.city(), c.any(JOBS)
    text, keys = c.any(
        [
            (f"{name} is {age} years old and lives in {city}.", "name age city"),
            (f"{name} is a {age} year old {job} from {city}.", "name age job city"),
            (f"My name is {name}, I am {age} and I live in {city}.", "name age city"),
            (f"{name}, {age}, works as a {job}.", "name age job"),
            (f"{name} works as a {job} in {city}.", "name job city"),
            (f"{name} is {age} years old.", "name age"),
        ]
    )
    values = {"name": name, "age": age, "city": city, "job": job}
    return text, {k: values[k] for k in keys.split()}


def event(c):
    names, day = c.names(c.num(1, 3)), c.any([c.any(DAYS), date(c)])
    what = f"{c.any(['science', 'book', 'music', 'art', 'food', 'job', 'spring', 'team'] + HOBBIES)} "
    what += c.any(["fair", "club", "party", "meeting", "festival", "dinner", "lunch", "concert"])
    are = "are" if len(names) > 1 else "is"
    text = c.any(
        [
            f"{join(names)} {are} going to a {what} on {day}.",
            f"{join(names)} will meet for the {what} on {day}.",
            f"There is a {what} on {day} with {join(names)}.",
            f"On {day}, {join(names)} {are} at the {what}.",
        ]
    )
    values = {"name": what, "date": day, "participants": names}
    keys = c.any([{"name": "name"}, {"name": "title"}, {"name": "event"}]) | c.any(
        [{"participants": "participants"}, {"participants": "attendees"}, {"participants": "people"}]
    )
    return text, {keys.get(k, k): v for k, v in values.items()}


def order(c):
    n, item, price, who = c.num(1, 40), c.any(NOUNS + FOODS), c.num(1, 900), c.name()
    price = price if c.chance(0.5) else price + 0.5
    text, keys = c.any(
        [
            (f"{who} ordered {n} {item} for {price} dollars.", "customer quantity item price"),
            (f"I would like {n} {item}, please.", "quantity item"),
            (f"{n} {item} cost {price} dollars.", "quantity item price"),
            (f"The {item} costs {price} dollars.", "item price"),
        ]
    )
    values = {"customer": who, "quantity": n, "item": item, "price": price}
    return text, {k: values[k] for k in keys.split()}


def contact(c):
    name, address, phone = c.name(), email(c), f"{c.num(100, 999)}-{c.num(1000, 9999)}"
    text, keys = c.any(
        [
            (f"{name} can be reached at {address}.", "name email"),
            (f"Write to {name} at {address} or call {phone}.", "name email phone"),
            (f"{name}: {phone}, {address}", "name phone email"),
        ]
    )
    values = {"name": name, "email": address, "phone": phone}
    return text, {k: values[k] for k in keys.split()}


NATURAL = [person, person, event, event, order, contact]


def schema_of(value, c):
    if isinstance(value, bool):
        return {"type": "boolean"}
    if isinstance(value, (int, float)):
        return {"type": "integer" if isinstance(value, int) and c.chance(0.8) else "number"}
    if isinstance(value, list):
        return {"type": "array", "items": {"type": "string"}}
    return {"type": "string"}


def loose(c):
    """Any fields, mentioned one by one in some order."""
    found, schema, parts = {}, {}, []
    for _ in range(c.num(2, 5)):
        p = Param(c, c.any("city person integer number word code date time email color choice list boolean".split()))
        if p.name not in found:
            found[p.name], schema[p.name] = p.value(c), p.schema
            parts.append((p.words(), p.surface(c, found[p.name])))
    c.r.shuffle(parts)
    form, between, end = c.any(
        [
            ("{}: {}", ", ", ""),
            ("{}: {}", "\n", ""),
            ("the {} is {}", ", ", "."),
            ("The {} is {}.", " ", ""),
            ("{} = {}", "; ", ""),
            ("{} {}", ", ", "."),
        ]
    )
    text = between.join(form.format(k, v) for k, v in parts) + end
    return text[:1].upper() + text[1:] if form[0] == "t" else text, found, schema


def mood(c):
    feeling, texts = c.any(MOODS)
    text = c.any(texts).format(n=c.side(NOUNS), d=c.any(DAYS)) + c.any([".", "!", ""])
    key = c.any(["sentiment", "label", "mood", "category"])
    return text, {key: feeling}, {key: {"type": "string", "enum": [m for m, _ in MOODS]}}


def choice(c):
    """Which of the alternatives the text names."""
    choices = c.any(CHOICES) if c.chance(0.5) else c.words(c.num(2, 4))
    key, one = c.any(["type", "kind", "category", "class", "choice"]), c.any(choices)
    text = c.any(
        [f"It should be {one}.", f"The {c.side(NOUNS)} is {one}.", f"I think {one} is right.", f"{one}, please"]
    )
    return text, {key: one}, {key: {"type": "string", "enum": choices}}


def equation(c):
    """ax + b = d in steps."""
    a, b, x = c.num(2, 9), c.num(1, 30), c.num(-9, 9)
    d = a * x + b
    if c.chance(0.15):
        a, b, d = 8, 7, -23
    left = d - b
    x = left // a if left % a == 0 else left / a
    steps = [
        {"explanation": f"Subtract {b} from both sides.", "output": f"{a}x = {left}"},
        {"explanation": f"Divide both sides by {a}.", "output": f"x = {x}"},
    ]
    step = {"type": "object", "properties": {k: {"type": "string"} for k in ("explanation", "output")}}
    step["required"] = list(step["properties"])
    schema = {"steps": {"type": "array", "items": step}, "final_answer": {"type": "string"}}
    ask = c.any(["how can I solve {}", "Solve {}", "How do I solve {}?", "solve {} step by step"])
    return ask.format(f"{a}x + {b} = {d}"), {"steps": steps, "final_answer": f"x = {x}"}, schema


def homework(c):
    """The check that guards an agent."""
    is_homework = c.chance(0.5)
    if is_homework:
        text = place(c, c.any(SUBJECTS[c.any(["history", "math", "geography", "science"])]))
    else:
        text = c.any(
            ["what is life", "Hello!", place(c, c.any(SUBJECTS[c.any(["billing", "sales", "booking", "music"])]))]
        )
    why = "It is a homework question." if is_homework else "It is not a homework question."
    schema = {"is_homework": {"type": "boolean"}, "reasoning": {"type": "string"}}
    return text, {"is_homework": is_homework, "reasoning": why}, schema


def free_json(c):
    """An object of no schema: the form is the user's wish."""
    ask, answer, _ = to_json(c)
    messages = [message("user", ask), message("assistant", answer)]
    if c.chance(0.4):
        messages.insert(0, message("system", "You are a helpful assistant designed to output JSON."))
    return {"messages": messages, "response_schema": {"type": "object"}}


def fill(c):
    """A text, a schema, and the object."""
    kind = c.num(0, 19)
    if kind == 18:
        return free_json(c)
    if kind < 8:
        text, found = c.any(NATURAL)(c)
        schema = {k: schema_of(v, c) for k, v in found.items()}
        if c.chance(0.4):  # the order is the schema's, not the text's
            keys = c.some(list(found), len(found))
            found, schema = {k: found[k] for k in keys}, {k: schema[k] for k in keys}
    else:
        text, found, schema = c.any([loose, loose, loose, loose, loose, mood, choice, equation, homework])(c)
    system = [message("system", c.say(*PLAIN_SYSTEMS))] if c.chance(0.4) else []
    if kind != 19 and not text.lower().startswith(("how", "solve")):
        if c.chance(0.4):
            system = [
                message(
                    "system",
                    c.any(
                        [
                            "Extract the event information.",
                            "Extract the information.",
                            c.say(
                                "[Extract|Get|Find] the [data|facts|fields|information|details][.| from the text.| as JSON.]"
                            ),
                        ]
                    ),
                )
            ]
        elif c.chance(0.5):
            text = c.say("[Extract|Get|Parse|Read] [this|the data|the information|the fields]: {}").replace("{}", text)
    whole = {"type": "object", "properties": schema, "required": list(schema), "additionalProperties": False}
    if c.chance(0.15):  # a field that the text does not have
        key = c.any(["note", "comment", "nickname", "website", "middle_name"])
        if key not in schema:
            schema[key] = {"anyOf": [{"type": "string"}, {"type": "null"}]}
            found[key] = None
            whole["required"].append(key)
    if c.chance(0.12) and len(found) > 2:  # nested
        keys = list(found)[-2:]
        inner = c.any(["details", "data", "info", "address", "more"])
        if inner not in found:
            part = {k: schema.pop(k) for k in keys}
            schema[inner] = {"type": "object", "properties": part, "required": keys}
            found[inner] = {k: found.pop(k) for k in keys}
            whole["required"] = list(schema)
    messages = system + [message("user", text), message("assistant", dumps(found))]
    return {"messages": messages, "response_schema": whole}
