"""Functions that a request may offer: names, descriptions, parameters, what people say to have them called, and
what they give back. Thousands of them are made from lists and made-up words; a name belongs to one side only."""

import json

from .render import dumps
from .words import ADJECTIVES, COLORS, FOODS, NOUNS, is_held

VERBS = [  # of one meaning each; a request may use another word than the function's name does
    "get fetch retrieve show find lookup read",
    "create add make new",
    "delete remove erase drop",
    "update change edit modify",
    "send submit deliver",
    "start run launch begin",
    "stop end halt",
    "cancel abort",
    "list show",
    "book reserve",
    "order buy",
    "open unlock",
    "close lock",
    "check verify validate",
    "count",
    "play",
    "schedule plan",
    "assign give",
    "convert translate",
    "compute calculate",
    "save store",
    "rename",
    "publish post share",
    "print",
    "track follow",
    "rate review",
    "move transfer",
    "search query",
]
THINGS = """account invoice order ticket task event meeting report user customer employee project document file folder note message reminder alarm
booking flight hotel room table car taxi ride song playlist video photo album recipe menu product item cart payment refund coupon discount
package shipment delivery parcel letter contact group team channel post comment review article book chapter page lesson course exam grade
student teacher class patient appointment prescription doctor policy claim contract lease job shift timer light lamp heater fan door window
camera sensor device robot printer server database table record backup log alert metric dashboard branch commit issue build release test
token key secret password session subscription plan bill budget expense loan card transfer stock price trade portfolio balance rate quote
forecast route trip map station train bus ticket seat game player score level match league poll vote survey form template label tag
category color theme font layout banner logo widget node graph query index cache queue worker job pipeline""".split()
INFO = """status price balance score schedule level size weight age length address owner value quote
progress location total history cost rating position version count""".split()

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
LANGUAGES = "English French German Spanish Italian Dutch Polish Greek Russian Turkish Japanese Chinese Korean Hindi Arabic".split()
CURRENCIES = "USD EUR GBP JPY CHF CAD AUD INR".split()
CHOICES = [
    ["celsius", "fahrenheit"],
    ["metric", "imperial"],
    ["low", "medium", "high"],
    ["on", "off"],
    ["small", "medium", "large"],
    ["open", "closed"],
    ["asc", "desc"],
    ["fast", "slow"],
    ["red", "green", "blue"],
    ["json", "csv", "xml"],
    ["draft", "published", "archived"],
    ["economy", "business", "first"],
    ["left", "right"],
    ["up", "down"],
    ["daily", "weekly", "monthly"],
    ["public", "private"],
    ["active", "inactive"],
    ["bug", "feature", "question"],
    ["email", "phone", "chat"],
    ["day", "night"],
    ["admin", "editor", "viewer"],
    ["new", "used"],
    ["pdf", "docx", "txt"],
    ["kg", "lb"],
    ["walk", "drive", "bike"],
]


def join(values, last=" and "):
    """a, b and c"""
    values = [str(v) for v in values]
    return values[0] if len(values) == 1 else ", ".join(values[:-1]) + last + values[-1]


# --- parameters -------------------------------------------------------------------------------------------


def email(c):
    return f"{c.name().lower()}@{c.any(['example.com', 'mail.com', c.pseudo(1, 2) + '.com', c.pseudo(1, 2) + '.org'])}"


def date(c):
    return c.any(
        [
            lambda: c.any(DAYS),
            lambda: c.any(["today", "tomorrow"]),
            lambda: f"{c.num(2020, 2029)}-{c.num(1, 12):02}-{c.num(1, 28):02}",
            lambda: f"{c.any(MONTHS)} {c.num(1, 28)}",
        ]
    )()


def time(c):
    return c.any([lambda: f"{c.num(0, 23)}:{c.num(0, 59):02}", lambda: f"{c.num(1, 12)} {c.any(['am', 'pm'])}"])()


def place(c):
    return c.city() if c.chance(0.85) else f"{c.city()}, {c.any(['France', 'Italy', 'UK', 'USA', 'CA', 'Spain'])}"


def phrase(c):
    return c.any(
        [
            lambda: c.word(),
            lambda: f"{c.any(ADJECTIVES)} {c.side(NOUNS)}",
            lambda: " ".join(c.words(2)),
            lambda: c.sentence(),
        ]
    )()


# kind: (JSON type, names of the parameter, how a value is made, how people mention it; {p}: the parameter's name)
KINDS = {
    "city": ("string", "city location place town destination", place, ["in {v}", "for {v}", "{p} {v}"]),
    "person": (
        "string",
        "name person user customer employee student player guest owner author contact",
        lambda c: c.name(),
        ["for {v}", "{p} {v}", "of {v}", "named {v}"],
    ),
    "integer": (
        "integer",
        "count quantity amount number size limit days hours minutes year age level page width height floor seats priority step",
        lambda c: c.num(1, 12) if c.chance(0.4) else c.num(1, 999) if c.chance(0.8) else c.num(1000, 30000),
        ["with {p} {v}", "{p} {v}", "{p}: {v}", "with a {p} of {v}"],
    ),
    "number": (
        "number",
        "price weight distance rate budget total balance temperature volume speed ratio score",
        lambda c: c.num(1, 300) if c.chance(0.4) else round(c.num(1, 9999) / c.any([10, 100]), 2),
        ["with {p} {v}", "{p} {v}", "{p}: {v}", "with a {p} of {v}"],
    ),
    "text": (
        "string",
        "title query topic text subject keyword product item label message note description category content title value",
        phrase,
        ['{p} "{v}"', 'with {p} "{v}"', "with the {p} '{v}'", '{p}: "{v}"'],
    ),
    "word": (
        "string",
        "title query topic name subject keyword product item label tag category type group model",
        lambda c: c.word() if c.chance(0.7) else c.side(FOODS),
        ["{p} {v}", "with {p} {v}", "{p}: {v}", "for {v}"],
    ),
    "code": (
        "string",
        "id order_id user_id ticket_id code number sku reference account_id flight item_id",
        lambda c: c.code(),
        ["{p} {v}", "with {p} {v}", "{p}: {v}", "number {v}"],
    ),
    "date": ("string", "date day when start_date deadline due_date", date, ["on {v}", "for {v}", "{p} {v}"]),
    "time": ("string", "time start_time at hour", time, ["at {v}", "{p} {v}"]),
    "email": ("string", "email to recipient address user_email", email, ["to {v}", "for {v}", "{p} {v}"]),
    "language": (
        "string",
        "language lang target_language",
        lambda c: c.any(LANGUAGES),
        ["in {v}", "to {v}", "{p} {v}"],
    ),
    "color": ("string", "color colour background", lambda c: c.any(COLORS), ["in {v}", "with {p} {v}", "{p} {v}"]),
    "choice": (
        "string",
        "unit mode size type status priority level format direction category role class kind state",
        None,
        ["{p} {v}", "with {p} {v}", "in {v}", "{v} {p}"],
    ),
    "boolean": (
        "boolean",
        "urgent enabled notify public verbose recursive active express archived",
        None,
        ["{p} {v}", "with {p} {v}", "{p}: {v}", "{p} set to {v}"],
    ),
    "list": (
        "array",
        "items tags names attendees ingredients members labels keywords products users files",
        lambda c: c.names(c.num(2, 3)) if c.chance(0.4) else c.words(c.num(2, 4)),
        ["{p} {v}", "with {p} {v}", "with the {p} {v}", "{p}: {v}"],
    ),
}
COMMON_KINDS = [
    "city",
    "person",
    "integer",
    "integer",
    "number",
    "text",
    "text",
    "word",
    "word",
    "code",
    "code",
    "date",
] + ["time", "email", "language", "color", "choice", "choice", "boolean", "list"]


# values that show by themselves, or by the word before them, what they are
CLEAR_KINDS = {"city", "date", "time", "email", "language", "color", "choice"}


class Param:
    """One parameter: its schema, values for it, and words that mention a value."""

    def __init__(self, c, kind, name=None, required=True, choices=None):
        self.kind, self.required = kind, required
        json_type, names, self.make, self.says = KINDS[kind]
        self.name = name or c.any(names.split())
        self.choices = choices or (c.any(CHOICES) if c.chance(0.6) else c.words(c.num(2, 4)))
        self.schema = {"type": json_type}
        if kind == "choice":
            self.schema["enum"] = self.choices
        if json_type == "array":
            self.schema["items"] = {"type": "string"}
        if c.chance(0.2):  # a compact rendering leaves it out, a real request has it
            self.schema["description"] = f"The {self.words()}"
        self.nullable = not required and c.chance(0.15)  # how strict schemas say optional
        if self.nullable:
            self.schema = {"anyOf": [self.schema, {"type": "null"}]}

    def words(self):
        return self.name.replace("_", " ")

    def value(self, c):
        if self.kind == "choice":
            return c.any(self.choices)
        return c.chance(0.5) if self.kind == "boolean" else self.make(c)

    def surface(self, c, value):
        """The value as people write it."""
        if self.kind == "boolean":
            return c.any(["true", "on", "yes"] if value else ["false", "off", "no"])
        return join(value) if isinstance(value, list) else str(value)

    def mention(self, c, value, named=False):
        """Words that bring the value up; `named`: by the parameter's name, for other values could be meant."""
        says = [s for s in self.says if "{p}" in s] if named else self.says
        return c.any(says).format(p=self.words(), v=self.surface(c, value))


class Function:
    """A function: what a request says of it, and requests that want it called."""

    def __init__(self, name, about, params, asks, result=None):
        self.name, self.about, self.params = name, about, params
        self.asks = asks  # each with {params}, or with the parameters' places {0} {1}
        self.result = result
        self.meaning = name  # two functions of one meaning are not offered together

    def tool(self, c):
        schema = {"type": "object", "properties": {p.name: p.schema for p in self.params}}
        schema["required"] = [p.name for p in self.params if p.required or p.nullable]
        function = {"name": self.name, "description": self.about, "parameters": schema}
        if not self.about:
            del function["description"]
        if c.chance(0.3):
            schema["additionalProperties"] = False
            function["strict"] = len(schema["required"]) == len(self.params)
        if c.chance(0.15):
            schema["title"] = self.name + "_args"
        if not self.params and c.chance(0.3):
            del function["parameters"]
        return {"type": "function", "function": function}

    def call(self, c):
        """A request for it, and the arguments of the right call."""
        given = {p.name: p.value(c) for p in self.params if p.required or c.chance(0.5)}
        ask = c.any(self.asks)
        text = self.with_mentions(c, ask, given) if "{params}" in ask else self.with_places(c, ask, given)
        return text, {p.name: given.get(p.name) for p in self.params if p.name in given or p.nullable}

    def with_mentions(self, c, ask, given):
        """A request that lists what is given, in any order."""
        shown = [p for p in self.params if p.name in given]
        if len(shown) > 1 and c.chance(0.4):
            c.r.shuffle(shown)
        clear = [p.name for p in shown if p.kind in CLEAR_KINDS]
        plain = c.any(clear) if clear and c.chance(0.6) else None  # at most one value without its name
        parts = [p.mention(c, given[p.name], len(shown) > 1 and p.name != plain) for p in shown]
        if len(shown) == 1 and shown[0].kind in ("code", "person", "word") and c.chance(0.4):
            parts = [shown[0].surface(c, given[shown[0].name])]
        text = ask.format(params=c.any([" ", " ", ", ", " and "]).join(parts)).replace("  ", " ")
        return text.replace(" .", ".").replace(" ?", "?").strip()

    def with_places(self, c, ask, given):
        """A request with places for values; what it has no place for is mentioned behind, or left out."""
        used = [p for i, p in enumerate(self.params) if "{%d}" % i in ask]
        kept = {p.name: given.get(p.name, p.value(c)) for p in used}
        given.clear()
        given.update(kept)
        text = ask.format(*[p.surface(c, given[p.name]) if p in used else "" for p in self.params])
        for p in self.params:
            if p in used or not (p.required or c.chance(0.25)):
                continue
            if p.kind == "choice" and c.chance(0.5):
                if p.required:  # nobody said which: the first
                    given[p.name] = p.choices[0]
                continue
            given[p.name] = p.value(c)
            end = "?" if text.endswith("?") else ""
            text = text.rstrip("?.") + " " + p.mention(c, given[p.name]) + end
        return text


def styled(c, words):
    """A function's name out of words."""
    style = c.num(0, 9)
    if style == 0:
        return words[0] + "".join(w.capitalize() for w in words[1:])
    if style == 1 and len(words) > 1:
        return "_".join(words[1:] + words[:1])
    return "_".join(words)


def made_up(c, meaning=None):
    """A function nobody has seen: a verb and a thing, or a word without a meaning."""
    while True:
        verbs = c.any(VERBS).split()
        thing = c.any(THINGS) if c.chance(0.88) else c.pseudo(1, 3)
        if c.chance(0.15):
            verbs, thing = VERBS[0].split(), c.any(INFO)
        if meaning:
            verbs, thing = (meaning[0], thing) if c.chance(0.5) else (verbs, meaning[1])
        verb = c.any(verbs) if c.chance(0.94) else c.pseudo(1, 2)
        words = [verb, thing] if c.chance(0.92) else [verb, c.any(ADJECTIVES), thing]
        name = styled(c, words)
        if is_held(name, 6) == c.held and verb != thing:
            break
    kinds = c.some(COMMON_KINDS, c.any([0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3]))
    params = []
    for kind in kinds:
        p = Param(c, kind, required=c.chance(0.75))
        if p.name not in [q.name for q in params]:
            params.append(p)
    if c.chance(0.8):
        params.sort(key=lambda p: not p.required)
    spoken = verb if verb not in verbs or c.chance(0.6) else c.any(verbs)
    spoken, what = spoken.replace("lookup", "look up"), " ".join(words[1:])
    a = "an" if what[0] in "aeiou" else "a"
    tail = " {params}"
    asks = [c.order(f"{spoken} [the|{a}] {what}") + tail, c.order(f"{spoken} [the|{a}|my] {what}") + tail + "."]
    if verbs[0] == "get":
        asks += [f"What is the {what}{tail}?", c.order(f"[tell me|give me] the {what}") + tail + "."]
    about = c.any(
        [
            f"{verb.capitalize()} {a} {what}",
            f"{verb.capitalize()} {a} {what}.",
            f"{verb.capitalize()}s the {what}.",
            f"{verb.capitalize()} {what}" + (f" by {params[0].words()}" if params else ""),
            f"Use this to {verb} {a} {what}.",
            "",
        ]
    ).replace("Lookup", "Look up")
    f = Function(name, about, params, asks)
    f.meaning = (verbs, thing)
    return f


# --- what functions give back ------------------------------------------------------------------------------


def outcome(c, function, arguments):
    """A result as text for the conversation, and the answer that it leads to."""
    what = function.name.replace("_", " ")
    kind = c.any(["number", "status", "status", "text", "object", "object", "object", "error", "list", "word", "said"])
    if function.result:
        return function.result(c, arguments)
    if kind == "number":
        value = c.num(0, 10 ** c.num(1, 7)) if c.chance(0.7) else c.num(1, 9999) / 100
        text = str(value) if c.chance(0.6) else '{"result": %s}' % value
        return text, f"The result is {value}."
    if kind == "status":
        text = c.any(
            [
                "ok",
                "OK",
                "done",
                "success",
                '{"status": "ok"}',
                '{"status": "success"}',
                '{"success": true}',
                '{"ok": true}',
            ]
        )
        return text, "Done."
    if kind == "error":
        why = c.any(
            ["not found", "access denied", "timeout", "invalid " + c.word(), f"no such {c.word()}", "not available"]
        )
        text = c.any([f"Error: {why}", '{"error": "%s"}' % why, f"error: {why}"])
        return text, f"That did not work: {why}."
    if kind == "list":
        values = c.words(c.num(2, 4))
        text = c.any(['["' + '", "'.join(values) + '"]', ", ".join(values)])
        return text, f"The results are {join(values)}."
    if kind == "word":
        value = c.code() if c.chance(0.5) else c.word()
        return c.any([value, f'{{"result": "{value}"}}']), f"The result is {value}."
    if kind == "object":
        return details(c, arguments)
    said = c.any(
        [
            lambda: f"The {c.side(NOUNS)} of {c.name()} is {c.any(ADJECTIVES)}.",
            lambda: f"{c.sentence().capitalize()}.",
            lambda: f"{c.word().capitalize()} {c.code()} is {c.any(['ready', 'open', 'closed', 'on its way', 'late'])}.",
            lambda: f"The {what} is complete.",
            lambda: f"{c.name()} is in {c.city()} and has {c.num(2, 99)} {c.any(FOODS)}.",
            lambda: f"{c.word().capitalize()}: {c.sentence()}.",
        ]
    )()
    if c.chance(0.15):
        said += f" {c.sentence().capitalize()}."
    return (said if kind == "text" or c.chance(0.5) else '{"message": "%s"}' % said), said


def details(c, arguments):
    """An object; the answer names each of its values."""
    fields = {}
    for key, value in arguments.items():
        if isinstance(value, str) and c.chance(0.25):
            fields[key] = value
    for _ in range(c.num(1, 3)):
        p = Param(c, c.any(["city", "person", "integer", "number", "word", "code", "date", "color", "choice"]))
        key = c.any(INFO) if p.kind in ("integer", "number") and c.chance(0.5) else p.name
        if len(fields) < 4 and key not in fields:
            fields[key] = p.value(c)
    text = dumps(fields)
    if c.chance(0.2):
        text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    elif c.chance(0.15):  # as Python prints an object
        text = " ".join(f"{k}={v!r}" for k, v in fields.items())
    said = join([f"the {k.replace('_', ' ')} is {v}" for k, v in fields.items()])
    return text, said[:1].upper() + said[1:] + "."
