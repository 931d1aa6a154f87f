"""Conversations in which functions are offered: calls, results, answers, and when not to call."""

from . import skills_basic as basic
from . import skills_text as text
from .examples import fixed
from .families import FAMILIES, SUMS, calculator, fill, hand_offs, mail, search, summing, weather
from .functions import made_up, outcome
from .skills_chat import PLAIN_SYSTEMS, message

CANNOT = "I can't do that with the functions I have."
SYSTEMS = [
    "You are a helpful assistant. Use the functions when they help.",
    "You are a helpful assistant that can call functions.",
    "You are a helpful agent.",
    "You are an agent with tools.",
    "Use the supplied tools to assist the user.",
    "You are a helpful customer support assistant. Use the supplied tools to assist the user.",
    "Always use the tools.",
    "Call a function when it fits.",
    "Answer with the help of the tools.",
    "Be concise.",
]
LOOKUPS = [basic.capital, basic.fact_misc, basic.opposite, basic.colour, basic.animal, basic.language, basic.definition]
LOOKUPS += [basic.author, basic.element, basic.currency, basic.continent, basic.calendar]
CHATTER = [basic.talk, basic.talk, text.repeat, fixed, basic.joke]


class Kit:
    """The functions of a conversation, and the conversation so far."""

    def __init__(self, c, functions):
        self.c, self.functions = c, functions
        self.tools = [f.tool(c) for f in functions]
        self.families = {getattr(f, "family", None) for f in functions}
        self.messages, self.calls = [], 0
        if c.chance(0.55):
            systems = PLAIN_SYSTEMS if c.chance(0.6) else SYSTEMS
            self.messages.append(message(c.any(["system", "system", "developer"]), c.say(*systems)))

    def user(self, content):
        self.messages.append(message("user", content))

    def call(self, calls, weight=1):
        """The assistant calls: [(function, arguments), ...]."""
        made = []
        for f, arguments in calls:
            self.calls += 1
            function = {"name": f.name, "arguments": arguments}
            made.append({"id": f"call_{self.calls}", "type": "function", "function": function})
        m = {"role": "assistant", "content": None, "tool_calls": made}
        self.messages.append({**m, "weight": 0} if weight == 0 else m)

    def results(self, texts):
        first = self.calls - len(texts) + 1
        for i, content in enumerate(texts):
            self.messages.append({"role": "tool", "tool_call_id": f"call_{first + i}", "content": content})

    def answer(self, content):
        self.messages.append(message("assistant", content))

    def doc(self):
        return {"messages": self.messages, "tools": self.tools}


def family(c, make=None):
    make = make or c.any(FAMILIES)
    f = make(c)
    f.family = make
    f.meaning = make if f.meaning == f.name else f.meaning
    return f


def offered(c, n, known=0.4):
    """n functions of different meanings; some are alike."""
    found = []
    while len(found) < n:
        last = found[-1].meaning if found else None
        near = isinstance(last, tuple) and c.chance(0.22)
        f = family(c) if c.chance(known) and not near else made_up(c, last if near else None)
        same = [g for g in found if g.meaning == f.meaning or g.name == f.name]
        both = {getattr(g, "family", None) for g in found} | {getattr(f, "family", None)}
        if not same and not {calculator, summing} <= both:
            found.append(f)
    c.r.shuffle(found)
    return found


def some_functions(c, low=1, known=0.4):
    n = c.r.choices([1, 2, 3, 4, 5], [40, 28, 17, 9, 6])[0]
    return offered(c, max(n, low), known)


# --- one exchange ------------------------------------------------------------------------------------------


def finish(kit, calls):
    """The results of calls and the answer."""
    c = kit.c
    got = [outcome(c, f, arguments) for f, arguments in calls]
    kit.results([r for r, _ in got])
    kit.answer(" ".join(a for _, a in got))


def one(kit, answer=True):
    f = kit.c.any(kit.functions)
    ask, arguments = f.call(kit.c)
    kit.user(kit.c.vary(ask) if kit.c.chance(0.5) else ask)
    kit.call([(f, arguments)])
    if answer:
        finish(kit, [(f, arguments)])
    return f, arguments, ask


def again(kit, answer=True):
    """The same for another value: "And in Rome?" """
    c = kit.c
    f, arguments, _ = one(kit)
    places = [p for p in f.params if p.name in arguments and p.kind in ("city", "person", "code", "word")]
    if not places:
        return one(kit, answer)
    p = c.any(places)
    other = p.value(c)
    put = "in {}" if p.kind == "city" else "{}"
    kit.user(c.any(["And " + put + "?", "What about {}?", "and {}", "Now {}, please.", "And for {}?"]).format(other))
    arguments = {**arguments, p.name: other}
    kit.call([(f, arguments)])
    if answer:
        finish(kit, [(f, arguments)])


def several(c, functions):
    """A request for two or three calls, and the calls."""
    f = c.any(functions)
    ask, arguments = f.call(c)
    places = [
        p
        for p in f.params
        if p.kind in ("city", "person", "code", "word", "email")
        and p.name in arguments
        and ask.count(str(arguments[p.name])) == 1
        and "," not in arguments[p.name]
    ]
    if places and (c.chance(0.45) or len(functions) == 1):
        p, values = c.any(places), []
        while len(values) < (3 if c.chance(0.2) else 2):
            value = p.value(c) if values else arguments[p.name]
            if value not in values:
                values.append(value)
        joined = values[0] + c.any([" and ", " and ", ", "]) + values[1]
        if len(values) == 3:
            joined = f"{values[0]}, {values[1]}{c.any([' and ', ', and '])}{values[2]}"
        return ask.replace(str(arguments[p.name]), joined), [(f, {**arguments, p.name: v}) for v in values]
    if len(functions) == 1 and not arguments:  # twice the same would be no second wish
        return ask, [(f, arguments)]
    g = c.any([x for x in functions if x is not f] or functions)
    then, more = g.call(c)
    lower = then if then.startswith("I ") else then[:1].lower() + then[1:]
    start = ask.rstrip(".?")
    both = c.any([f"{start} and {lower}", f"{ask} {then}", f"{start}. Also {lower}", f"{start}, then {lower}"])
    return both, [(f, arguments), (g, more)]


def two(kit, answer=True):
    ask, calls = several(kit.c, kit.functions)
    kit.user(ask)
    kit.call(calls)
    if answer:
        finish(kit, calls)


def in_turn(kit, answer=True):
    """Two calls of which only one was made at first, as when parallel calls are off: the other comes next."""
    ask, calls = several(kit.c, kit.functions)
    if len(calls) != 2:
        return one(kit, answer)
    kit.user(ask)
    kit.call(calls[:1], weight=0)
    first = outcome(kit.c, *calls[0])
    kit.results([first[0]])
    kit.call(calls[1:])
    if answer:
        second = outcome(kit.c, *calls[1])
        kit.results([second[0]])
        kit.answer(first[1] + " " + second[1])


def plain(kit, answer=True):
    """A question that needs no function."""
    c = kit.c
    skills = CHATTER if search in kit.families else CHATTER + LOOKUPS * 2
    if not kit.families & {calculator, summing, search}:
        skills = skills + [basic.arithmetic] * 4
    question, said, _ = c.any(skills)(c)
    kit.user(question)
    kit.answer(said)


def nothing_fits(kit, answer=True):
    """A request for a function that is not there."""
    c = kit.c
    names = {f.name for f in kit.functions}
    while True:
        f = offered(c, 1)[0]
        near = {calculator, summing, search}
        known = getattr(f, "family", None)
        clash = known in kit.families or (known in near) or f.name in names
        if not clash and not [g for g in kit.functions if g.meaning == f.meaning] and f.asks != ["{params}"]:
            ask, _ = f.call(c)
            if c.chance(0.25):
                ask = c.any(["What's the weather in {city}?", "Send an email to {name}", "Call {name}", "Buy a {noun}"])
                ask = fill(c, ask)
                if kit.families & {weather, mail}:
                    continue
            break
    kit.user(ask)
    kit.answer(CANNOT)


def ask_back(kit, answer=True):
    """A required value is missing: the question for it; then it comes, and the call."""
    c = kit.c
    functions = [f for f in kit.functions if f.params and f.params[0].required and f.params[0].kind == "code"]
    if not functions or len([p for p in functions[0].params if p.required]) > 1:
        return one(kit, answer)
    f = functions[0]
    p = f.params[0]
    what = f.name.replace("_", " ")
    kit.user(c.any(["Please {}.", "Can you {}?", "I want to {}", "{}"]).format(what))
    kit.answer(f"Please tell me the {p.words()}.")
    value = p.value(c)
    kit.user(c.any(["{}", "It is {}", "The {p} is {}", "it's {}"]).format(value, p=p.words()))
    kit.call([(f, {p.name: value})])
    if answer:
        finish(kit, [(f, {p.name: value})])


EXCHANGES = [(one, 34), (two, 20), (again, 8), (in_turn, 5), (plain, 16), (nothing_fits, 14), (ask_back, 3)]


def conversation(c):
    """Training: one to three exchanges over one set of functions."""
    kit = Kit(c, some_functions(c))
    for _ in range(c.r.choices([1, 2, 3], [40, 35, 25])[0]):
        exchange = c.r.choices([e for e, _ in EXCHANGES], [w for _, w in EXCHANGES])[0]
        exchange(kit)
    return kit.doc()


FIRST = ["Add {0} and {1}", "What is {0} + {1}", "Multiply {0} by {1}", "What is {0} * {1}", "Subtract {1} from {0}"]
NEXT = [
    (0, ["add {0}", "add {0} to the result", "add {0} to that"]),
    (1, ["multiply the result by {0}", "multiply that by {0}", "multiply the output by {0}", "multiply it by {0}"]),
    (2, ["subtract {0}", "subtract {0} from the result", "subtract {0} from that"]),
    (3, ["divide the result by {0}", "divide that by {0}", "divide by {0}", "divide it by {0}"]),
]
FIRST_OF = [0, 0, 1, 1, 2]  # which of the sums


def chain(c):
    """Sums one after the other: the second takes the result of the first."""
    i = c.num(0, len(FIRST) - 1)
    j, says = c.any([n for n in NEXT if n[0] != FIRST_OF[i]])
    sums = [summing(c, SUMS[k]) for k in (FIRST_OF[i], j)]
    extra = [summing(c, SUMS[k]) for k in range(4) if k not in (FIRST_OF[i], j) and c.chance(0.4)]
    functions = sums + extra
    for f in functions:
        f.family = summing
    c.r.shuffle(functions)
    kit = Kit(c, functions)
    a, b, d = c.num(0, 99), c.num(1, 99), c.num(2, 20)
    between = c.any([", then ", " and then ", ". Then ", ", and ", ". Now "])
    kit.user((FIRST[i] + between + c.any(says).replace("{0}", "{2}")).format(a, b, d) + c.any([".", "", "."]))
    first, second = ([p.name for p in f.params] for f in sums)
    kit.call([(sums[0], dict(zip(first, (a, b))))])
    middle = c.num(0, 10 ** c.num(1, 4))
    kit.results([str(middle)])
    kit.call([(sums[1], dict(zip(second, (middle, d))))])
    return kit


def sums_chained(c):
    """The second call, and often the answer."""
    kit = chain(c)
    if not c.held and c.chance(0.6):
        value = c.num(0, 10 ** c.num(1, 6))
        kit.results([str(value)])
        kit.answer(f"The result is {value}.")
    return kit.doc()


def hand_off(c):
    """Agents that hand over: the call, and the answer of the agent that took over."""
    functions = hand_offs(c, c.num(1, 4))
    kit = Kit(c, functions)
    f = c.any(functions)
    kit.user(fill(c, f.asks[0]))
    kit.call([(f, {})])
    return kit.doc()


SPECIALISTS = [
    "You provide assistance with {} queries.",
    "You only speak {}.",
    "You are an agent for {}.",
    "You help with {}. Explain your reasoning.",
    "You are a {} tutor.",
]


def handed_over(c):
    """The next agent answers after a hand-off; it has other functions or none."""
    functions = hand_offs(c, 2)
    kit = Kit(c, functions)
    f = c.any(functions)
    ask, said, _ = c.any(LOOKUPS + [basic.talk, basic.arithmetic] + [fixed] * 4)(c)
    if c.chance(0.5):
        kit.messages = [message("system", c.say(*SPECIALISTS).format(f.agent.split()[0]))]
    kit.user(ask)
    kit.call([(f, {})], weight=0)
    kit.results(['{"assistant": "%s"}' % f.agent])
    kit.answer(said)
    doc = kit.doc()
    if c.chance(0.7):
        del doc["tools"]
    return doc


def examined(exchange, low=1, known=0.4):
    """A held-out question: an exchange up to what is to be judged, sometimes after another one."""

    def skill(c):
        kit = Kit(c, some_functions(c, low, known))
        if c.chance(0.3):
            one(kit)
        exchange(kit, False)
        return kit.doc()

    return skill


def answered(exchange):
    """A held-out question: the answer to given results."""

    def skill(c):
        kit = Kit(c, some_functions(c))
        exchange(kit, True)
        return kit.doc()

    return skill


def first_example(make):
    """What agent frameworks show first: one well-known function, or two."""

    def skill(c):
        functions = [family(c, make)] if c.chance(0.6) else [family(c, make), made_up(c)]
        kit = Kit(c, functions)
        f = functions[0]
        ask, arguments = f.call(c)
        kit.user(ask)
        kit.call([(f, arguments)])
        return kit.doc()

    return skill
