"""Work on text that is in the prompt: repeat, reformat, count, look up. A skill returns
(question, answer, short answer or None)."""

import json

from .words import ADJECTIVES, ANIMALS, CITIES, COLORS, FOODS, HOBBIES, JOBS, NOUNS, OBJECTS


def cap(text):
    return text[:1].upper() + text[1:]


def quoted(c, text):
    return c.any(['"{}"', "'{}'", "{}"]).format(text)


def listed(items):
    return ", ".join(items)


def repeat(c):
    text = c.sentence() if c.chance(0.6) else " ".join(c.words(c.num(1, 6)))
    if c.chance(0.3):
        text = cap(text) + c.any([".", "!", "?", ""])
    if c.chance(0.1):
        text = c.code()
    ask = c.say("Say {}", "Repeat after me: {}", "Repeat: {}", "Say: {}", "Echo {}", "Please repeat: {}", "Repeat this: {}", "Write {}", "Say exactly: {}", "Just say {}", "Respond with {}", "Reply with {}", "Output: {}",
                "Repeat the following: {}", "Answer only with {}", "Say the following: {}", "Can you say {}", "Please say {}", "Print {}", "Copy this text: {}", "Type {}", "Please echo: {}")
    return ask.format(c.any(['"{}"', '"{}"', "{}", "{}", "'{}'"]).format(text)), text, text


def upper(c):
    text = " ".join(c.words(c.num(1, 4))) if c.chance(0.6) else c.sentence()
    if c.chance(0.5):
        ask = c.say("Write {} in uppercase.", "Convert {} to uppercase.", "Make {} uppercase.", "Uppercase {}", "Put {} in capital letters.", "Turn {} into capital letters.", "Change {} to upper case.", "Write {} in all caps.")
        return ask.format(quoted(c, text)), text.upper(), text.upper()
    ask = c.say("Write {} in lowercase.", "Convert {} to lowercase.", "Make {} lowercase.", "Lowercase {}", "Put {} in small letters.", "Turn {} into lower case.", "Change {} to lower case.", "Write {} in all lower case.")
    return ask.format(quoted(c, text.upper() if c.chance(0.7) else text.title())), text.lower(), text.lower()


def title(c):
    text = " ".join(c.words(c.num(2, 4)))
    ask = c.say("Write {} in title case.", "Capitalize each word of {}.", "Convert {} to title case.", "Make every word in {} start with a capital letter.", "Capitalize every word: {}")
    return ask.format(quoted(c, text)), text.title(), None


def spell(c):
    word = c.word()
    if c.chance(0.6):
        ask = c.say("Spell {}.", "How do you spell {}?", "Spell the word {}.", "Spell out {}.", "Write the letters of {}.", "Can you spell {}?", "Spell {} letter by letter.")
        return ask.format(quoted(c, word)), "-".join(word), None
    if len(word) > 5:
        word = word[:c.num(3, 5)]
    ask = c.say("Reverse {}.", "Reverse the word {}.", "Write {} backwards.", "Spell {} backwards.", "What is {} backwards?", "What is {} reversed?")
    return ask.format(quoted(c, word)), word[::-1], word[::-1]


def letters(c):
    word = c.word()
    kind = c.num(0, 2)
    if kind == 0:
        ask = c.say("How many letters are in {}?", "How many letters does {} have?", "Count the letters in {}.", "How long is the word {}?", "Count the letters of the word {}.")
        return ask.format(quoted(c, word)), f'"{word}" has {len(word)} letters.', str(len(word))
    first = kind == 1
    which = "first" if first else "last"
    ask = c.say("What is the {1} letter of {0}?", "What's the {1} letter of {0}?", "Which letter does {0} {2} with?", "Give me the {1} letter of {0}.", "Name the {1} letter in {0}.", "{1} letter of {0}?")
    letter = word[0] if first else word[-1]
    return cap(ask.format(quoted(c, word), which, "start" if first else "end")), f'The {which} letter of "{word}" is {letter}.', letter


def word_ops(c):
    words = c.words(c.num(2, 7))
    text = " ".join(words)
    kind = c.num(0, 4)
    q = c.any(['"{}"', "'{}'"]).format(text)
    if kind == 0:
        ask = c.say("How many words are in {}?", "Count the words in {}.", "How many words does {} have?", "How many words are there in {}?", "Count the words of {}.")
        return ask.format(q), f"There are {len(words)} words.", str(len(words))
    if kind == 1:
        ask = c.say("What is the first word of {}?", "What's the first word in {}?", "Give me the first word of {}.", "Which word comes first in {}?", "Name the first word of {}.")
        return ask.format(q), f'The first word is "{words[0]}".', words[0]
    if kind == 2:
        ask = c.say("What is the last word of {}?", "What's the last word in {}?", "Give me the last word of {}.", "Which word comes last in {}?", "Name the last word of {}.")
        return ask.format(q), f'The last word is "{words[-1]}".', words[-1]
    if kind == 3:
        i = c.num(1, min(3, len(words)) - 1)
        nth = ["first", "second", "third"][i]
        ask = c.say("What is the {1} word of {0}?", "What's the {1} word in {0}?", "Give me the {1} word of {0}.", "Which word is the {1} in {0}?", "Name the {1} word of {0}.")
        return ask.format(q, nth), f'The {nth} word is "{words[i]}".', words[i]
    i, new = c.num(0, len(words) - 1), c.word()
    ask = c.say("Replace {1} with {2} in {0}.", "In {0}, replace {1} with {2}.", "Change {1} to {2} in {0}.", "In {0}, change the word {1} to {2}.", "Take {0} and replace {1} by {2}.")
    return cap(ask.format(q, words[i], new)), " ".join(new if w == words[i] else w for w in words), None


def reorder(c):
    kind = c.num(0, 4)
    if kind <= 1:
        n = [str(x) for x in c.some(range(1, 100), c.num(3, 5))]
        down = c.chance(0.3)
        text = (c.say("Sort these numbers from largest to smallest: {}", "Sort in descending order: {}", "Put these numbers in descending order: {}", "Order from high to low: {}") if down else
                c.say("Sort these numbers: {}", "Sort: {}", "Put these numbers in order: {}", "Sort in ascending order: {}", "Order these numbers from smallest to largest: {}", "Sort the numbers {}.", "Arrange these numbers in ascending order: {}"))
        return text.format(listed(n)), listed(sorted(n, key=int, reverse=down)), None
    if kind == 2:
        w = c.words(c.num(3, 4))
        ask = c.say("Sort these words alphabetically: {}", "Sort alphabetically: {}", "Put these words in alphabetical order: {}", "Order these words from A to Z: {}", "Arrange alphabetically: {}")
        return ask.format(listed(w)), listed(sorted(w)), None
    if kind == 3:
        w = c.words(c.num(2, 5))
        ask = c.say("Reverse this list: {}", "Reverse the order of: {}", "Write this list in reverse order: {}", "Turn this list around: {}", "List these in reverse order: {}")
        return ask.format(listed(w)), listed(w[::-1]), None
    n = c.some(range(1, 100), c.num(3, 5))
    big = c.chance(0.5)
    ask = c.say("What is the {1} of these numbers: {0}?", "Which number is the {1}: {0}?", "Find the {1} number: {0}", "Give me the {1} of {0}.", "Which of {0} is the {1}?")
    best = max(n) if big else min(n)
    word = "largest" if big else "smallest"
    return ask.format(listed(map(str, n)), word), f"The {word} is {best}.", str(best)


def format_list(c):
    items = c.words(c.num(2, 6)) if c.chance(0.6) else c.some(c.any([ANIMALS, FOODS, COLORS, JOBS, OBJECTS]), c.num(3, 5))
    source = c.any([", ", " and ", "; "])
    text = source.join(items) if source != " and " else listed(items[:-1]) + " and " + items[-1]
    kind = c.num(0, 5)
    if kind == 0:
        ask = c.say("Make a bulleted list: {}", "Turn this into a bullet list: {}", "Write as bullet points: {}", "Format as a bulleted list: {}", "Bullet points please: {}", "Put these in a bulleted list: {}")
        return ask.format(text), "\n".join("- " + i for i in items), None
    if kind == 1:
        ask = c.say("Make a numbered list: {}", "Turn this into a numbered list: {}", "Write as a numbered list: {}", "Format as a numbered list: {}", "Number these: {}", "Put these in a numbered list: {}")
        return ask.format(text), "\n".join(f"{k}. {i}" for k, i in enumerate(items, 1)), None
    if kind == 2:
        ask = c.say("Convert to a JSON array: {}", "Write as a JSON array: {}", "Turn this into JSON: {}", "Make a JSON list of: {}", "Format as a JSON array: {}", "As a JSON array please: {}")
        return ask.format(text), json.dumps(items), None
    if kind == 3:
        ask = c.say("Convert to CSV: {}", "Write as CSV: {}", "Turn this into one CSV line: {}", "Format as CSV: {}", "As a CSV line please: {}")
        return ask.format(text), ",".join(items), None
    if kind == 4:
        ask = c.say("Join with dashes: {}", "Join these words with dashes: {}", "Put dashes between: {}", "Connect with dashes: {}", "Use dashes to join: {}")
        return ask.format(text), "-".join(items), None
    ask = c.say("How many items are in this list: {}?", "Count the items: {}", "How many things are listed here: {}?", "Count these: {}", "What is the length of this list: {}?")
    return ask.format(text), f"There are {len(items)} items.", str(len(items))


def to_json(c):
    name, age, city = c.name(), c.num(18, 80), c.city()
    text, obj = c.any([
        (f"{name} is {age} years old and lives in {city}.", {"name": name, "age": age, "city": city}),
        (f"{name} lives in {city}.", {"name": name, "city": city}),
        (f"{name} is {age} years old.", {"name": name, "age": age}),
        (f"name: {name}, age: {age}, city: {city}", {"name": name, "age": age, "city": city}),
        (f"{name}, {age}", {"name": name, "age": age}),
    ])
    ask = c.say("Convert to JSON: {}", "Write this as JSON: {}", "Extract the data as JSON: {}", "Turn this into a JSON object: {}", "Give me JSON for: {}", "As a JSON object: {}", "Make a JSON object from this: {}")
    return ask.format(text), json.dumps(obj), None


# --- looking things up in the prompt ----------------------------------------------------------------------

def plain(question, answer):
    return question, answer


# attribute: (value maker, sentence about name and value, questions, answer)
ATTRIBUTES = {
    "city": (lambda c: c.city(), ["{n} lives in {v}.", "{n} lives in {v}.", "{n} has a house in {v}."], ["Where does {n} live?", "In which city does {n} live?", "Which city does {n} live in?", "What city does {n} live in?", "Tell me where {n} lives."], "{n} lives in {v}.", ["Who lives in {v}?", "Which person lives in {v}?", "Name the person who lives in {v}.", "Tell me who lives in {v}."]),
    "job": (lambda c: c.side(JOBS), ["{n} is a {v}.", "{n} works as a {v}."], ["What is {n}'s job?", "What does {n} do for work?", "What is the job of {n}?", "Which job does {n} have?", "What does {n} work as?"], "{n} works as a {v}.", ["Who is a {v}?", "Who works as a {v}?", "Which person is a {v}?", "Who has the job of a {v}?"]),
    "pet": (lambda c: c.side(ANIMALS), ["{n} has a {v}.", "{n} has a pet {v}.", "{n} owns a {v}."], ["What pet does {n} have?", "Which animal does {n} have?", "What animal does {n} own?", "Which pet does {n} own?", "What is {n}'s pet?"], "{n} has a {v}.", ["Who has a {v}?", "Who owns a {v}?", "Which person has a {v}?", "Whose pet is a {v}?"]),
    "color": (lambda c: c.side(COLORS, 6), ["{n}'s favorite color is {v}.", "{n} likes the color {v}."], ["What is {n}'s favorite color?", "Which color does {n} like?", "What color does {n} like best?", "What is the favorite color of {n}?", "Name {n}'s favorite color."], "{n}'s favorite color is {v}.", ["Whose favorite color is {v}?", "Who likes the color {v}?", "Who likes {v}?", "Which person likes {v}?"]),
    "age": (lambda c: str(c.num(5, 90)), ["{n} is {v} years old.", "{n} is {v}."], ["How old is {n}?", "What is {n}'s age?", "What age is {n}?", "Tell me {n}'s age.", "What is the age of {n}?"], "{n} is {v} years old.", ["Who is {v} years old?", "Which person is {v} years old?", "Who is {v}?", "Name the person who is {v} years old."]),
    "food": (lambda c: c.side(FOODS), ["{n} likes {v}.", "{n} loves {v}.", "{n}'s favorite food is {v}."], ["What does {n} like to eat?", "What is {n}'s favorite food?", "Which food does {n} like?", "What food does {n} love?", "What does {n} eat with joy?"], "{n} likes {v}.", ["Who likes {v}?", "Who loves {v}?", "Which person likes {v}?", "Who eats {v} with joy?"]),
    "hobby": (lambda c: c.side(HOBBIES), ["{n} enjoys {v}.", "{n}'s hobby is {v}."], ["What is {n}'s hobby?", "What does {n} enjoy?", "Which hobby does {n} have?", "What does {n} do for fun?", "Name {n}'s hobby."], "{n}'s hobby is {v}.", ["Who enjoys {v}?", "Whose hobby is {v}?", "Which person enjoys {v}?", "Who does {v} for fun?"]),
    "code": (lambda c: c.code(), ["{n}'s code is {v}.", "The code of {n} is {v}."], ["What is {n}'s code?", "What is the code of {n}?", "Which code does {n} have?", "Tell me {n}'s code.", "Give me the code of {n}."], "{n}'s code is {v}.", ["Whose code is {v}?", "Who has the code {v}?", "Which person has the code {v}?", "To whom does the code {v} belong?"]),
}


def people(c, n):
    """n people with different values of one attribute, another attribute mixed in at times."""
    kind = c.any(list(ATTRIBUTES))
    make = ATTRIBUTES[kind][0]
    values = []
    while len(values) < n:
        v = make(c)
        if v not in values:
            values.append(v)
    return kind, list(zip(c.names(n), values))


def facts_text(c, kind, rows):
    lines = [c.any(ATTRIBUTES[kind][1]).format(n=n, v=v) for n, v in rows]
    if c.chance(0.35):  # something else about some of them
        other = c.any([k for k in ATTRIBUTES if k != kind])
        for n, _ in rows:
            if c.chance(0.6):
                lines.insert(c.num(0, len(lines)), c.any(ATTRIBUTES[other][1]).format(n=n, v=ATTRIBUTES[other][0](c)))
    return " ".join(lines)


FRAMES = ["{t} {q}", "{t}\n\n{q}", "{t}\n{q}", "Text: {t}\nQuestion: {q}", "Context: {t}\n\nQuestion: {q}", "Read this: {t} Now answer: {q}", "{q}\n\n{t}", "According to this text, {ql} {t}", "Given the facts: {t} {q}", "Use this information: {t}\n{q}", "Here is a text. {t} {q}", "Based on the text below, {ql}\n\n{t}"]


def framed(c, text, question):
    return c.say(*FRAMES).format(t=text, q=question, ql=question[0].lower() + question[1:] if question.split()[0] in ("What", "Which", "Who", "Where", "How", "In", "Whose", "Is", "Does") else question)


def lookup(c):
    kind, rows = people(c, c.any([1, 2, 2, 3, 3, 4, 5]))
    name, value = c.any(rows)
    text = facts_text(c, kind, rows)
    _, _, asks, answer, who = ATTRIBUTES[kind]
    if c.chance(0.3):
        return framed(c, text, c.say(*who).format(v=value)), answer.format(n=name, v=value), name
    return framed(c, text, c.say(*asks).format(n=name)), answer.format(n=name, v=value), value


def lookup_missing(c):
    kind, rows = people(c, c.num(2, 3))
    other = c.name()
    while other in [n for n, _ in rows]:
        other = c.name()
    return framed(c, facts_text(c, kind, rows), c.say(*ATTRIBUTES[kind][2]).format(n=other)), f"The text does not say anything about {other}.", None


def introduce(c):
    """First person: My name is Ana and I live in Oslo."""
    name, city, job, pet, food = c.name(), c.city(), c.side(JOBS), c.side(ANIMALS), c.side(FOODS)
    parts = [("city", f"I live in {city}", ["Where does {p} live?", "Where do I live?", "In which city does {p} live?", "Which city is my home?"], "{s} {live} in " + city + ".", city),
             ("job", f"I work as a {job}", ["What does {p} do for work?", "What is my job?", "What is {g} job?", "Which job do I have?"], "{s} {work} as a " + job + ".", job),
             ("pet", f"I have a {pet}", ["What pet does {p} have?", "What pet do I have?", "Which animal does {p} have?", "Which pet do I own?"], "{s} {have} a " + pet + ".", pet),
             ("food", f"I like {food}", ["What does {p} like?", "What do I like?", "What food does {p} like?", "Which food do I like?"], "{s} {like} " + food + ".", food)]
    chosen = c.some(parts, c.num(1, 3))
    intro = c.any(["My name is {}", "I am {}", "I'm {}"]).format(name)
    text = intro + ((" and " + chosen[0][1] + ".") if len(chosen) == 1 else ", " + ", ".join(p[1] for p in chosen[:-1]) + " and " + chosen[-1][1] + ".")
    if c.chance(0.3):
        return f"{text} {c.say('What is my name?', 'What is the name?', 'Who am I?', 'Tell me my name.', 'What am I called?')}", f"Your name is {name}.", name
    _, _, asks, answer, short = c.any(chosen)
    ask = c.say(*asks)
    me = " I " in ask or " my " in ask
    if me:
        words = {"s": "You", "live": "live", "work": "work", "have": "have", "like": "like"}
    else:
        he = c.any(["he", "she"])
        ask = ask.format(p=c.any([he, he, name]), g="his" if he == "he" else "her")
        words = {"s": name, "live": "lives", "work": "works", "have": "has", "like": "likes"}
    return f"{text} {ask}", answer.format(**words), short


def table(c):
    """A small table in the prompt, in one of several notations."""
    things = c.words(c.num(2, 6)) if c.chance(0.4) else c.sides(c.any([OBJECTS, FOODS, ANIMALS, CITIES]), c.num(2, 6))
    what, make, unit = c.any([("price", lambda: str(c.num(1, 99)), "{} costs {}."), ("stock", lambda: str(c.num(0, 500)), "{} has a stock of {}."), ("code", lambda: c.code(), "The code of {} is {}."),
                              ("color", lambda: c.side(COLORS, 6), "The color of {} is {}."), ("owner", lambda: c.name(), "The owner of {} is {}."), ("status", lambda: c.any(["open", "closed", "ready", "late", "lost", "done", "new"]), "The status of {} is {}.")])
    rows = [(t, make()) for t in things]
    style = c.num(0, 4)
    if style == 0:
        text = f"item | {what}\n" + "\n".join(f"{t} | {v}" for t, v in rows)
    elif style == 1:
        text = f"item,{what}\n" + "\n".join(f"{t},{v}" for t, v in rows)
    elif style == 2:
        text = "\n".join(f"{t}: {v}" for t, v in rows)
    elif style == 3:
        text = json.dumps(dict(rows))
    else:
        text = f"| item | {what} |\n|---|---|\n" + "\n".join(f"| {t} | {v} |" for t, v in rows)
    thing, value = c.any(rows)
    ask = c.say("What is the {w} of {t}?", "What {w} does {t} have?", "Which {w} belongs to {t}?", "Tell me the {w} of {t}.", "Find the {w} of {t}.", "Give me the {w} for {t}.", "Look up the {w} of {t}.", "What does the table say is the {w} of {t}?").format(w=what, t=thing)
    return c.any(["{t}\n\n{q}", "{q}\n\n{t}", "Table:\n{t}\n\n{q}", "{q}\n{t}", "Here is the data:\n{t}\n{q}"]).format(t=text, q=ask), cap(unit.format(thing, value)), value


def yes_no(c):
    kind, rows = people(c, c.num(2, 4))
    (n1, v1), (n2, v2) = c.some(rows, 2)
    items = c.words(c.num(2, 5))
    if c.chance(0.5):
        inside = c.chance(0.5)
        word = c.any(items) if inside else c.word()
        inside = word in items
        ask = c.say("Is {w} in this list: {l}?", "Does this list contain {w}: {l}?", "List: {l}. Is {w} in it?", "Can you find {w} in: {l}?", "Is the word {w} among these: {l}?").format(w=word, l=listed(items))
        return ask, f"Yes, {word} is in the list." if inside else f"No, {word} is not in the list.", "yes" if inside else "no"
    text = facts_text(c, "city", [(n1, c.city()), (n2, c.city())]) if kind == "code" else facts_text(c, kind, rows)
    if kind not in ("city", "pet", "food"):
        kind = "pet"
        a, b = c.sides(ANIMALS, 2)
        rows = [(n1, a), (n2, b)]
        text = facts_text(c, kind, rows)
    name, value = c.any(rows)
    right = c.chance(0.5)
    claim = value if right else c.any([v for _, v in rows if v != value])
    verb = {"city": ("live in", "lives in"), "pet": ("have a", "has a"), "food": ("like", "likes")}[kind]
    ask = c.say("Does {n} {v} {x}?", "Is it true that {n} {w} {x}?", "Does {n} {v} {x}, yes or no?", "True or not: {n} {w} {x}?", "Would it be right to say that {n} {w} {x}?").format(n=name, v=verb[0], w=verb[1], x=claim)
    return framed(c, text, ask), f"Yes, {name} {verb[1]} {value}." if right else f"No, {name} {verb[1]} {value}.", "yes" if right else "no"


SENTIMENT = {"positive": ["I love this {}!", "This {} is wonderful.", "The {} was great and I will buy it again.", "What a fantastic {}!", "I am very happy with my {}.", "The best {} I have ever had.", "The {} works perfectly.", "Such a lovely {}."],
             "negative": ["I hate this {}.", "This {} is terrible.", "The {} broke after one day.", "What an awful {}!", "I am very disappointed with my {}.", "The worst {} I have ever had.", "The {} does not work at all.", "Such a horrible {}."]}


def sentiment(c):
    mood = c.any(list(SENTIMENT))
    text = c.any(SENTIMENT[mood]).format(c.side(NOUNS))
    ask = c.say("Is this positive or negative? {}", "What is the sentiment of: {}", "Classify the sentiment: {}", "Positive or negative? {}", "Is the sentiment of this text positive or negative? {}", "Sentiment: {}", "Classify as positive or negative: {}", "Tell me the sentiment of this: {}")
    return ask.format(quoted(c, text)), f"The sentiment is {mood}.", mood


def pick(c):
    """Which of these is a ...?"""
    groups = {"an animal": ANIMALS, "a food": FOODS, "a color": COLORS, "a city": CITIES, "a job": JOBS}
    kind = c.any(list(groups))
    right = c.side(groups[kind], 6)
    wrong = []
    for k in c.some([k for k in groups if k != kind], c.num(2, 3)):
        wrong.append(c.any(groups[k]))
    if right in wrong or right == "orange":
        right = c.side(groups[kind], 6)
        wrong = [w for w in wrong if w != right and w != "orange"]
    items = wrong + [right]
    c.r.shuffle(items)
    ask = c.say("Which of these is {k}: {l}?", "Which one is {k}: {l}?", "Pick {k} from this list: {l}", "Find {k} in this list: {l}", "Which word is {k}: {l}?", "{l}: which is {k}?", "Choose {k} from: {l}")
    return cap(ask.format(k=kind, l=listed(items))), f"{cap(right)} is {kind}.", right


def summary_first(c):
    """Extract one thing from a message."""
    name, city, day = c.name(), c.city(), c.any(["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"])
    hour, code = c.num(1, 12), c.code()
    mail = f"{c.word()}@{c.word()}.{c.any(['com', 'org', 'net'])}"
    text, facts = c.any([
        (f"Hi, this is {name}. The meeting is on {day} at {hour} o'clock in {city}. My email is {mail}.", [("name", name), ("day", day), ("city", city), ("email", mail)]),
        (f"Dear team, order {code} was sent to {city} on {day}. Regards, {name}", [("order number", code), ("city", city), ("day", day), ("name", name)]),
        (f"{name} will fly to {city} on {day} with flight {code}.", [("name", name), ("city", city), ("day", day), ("flight", code)]),
        (f"Ticket {code}: {name} from {city} reports a problem. Contact: {mail}", [("ticket number", code), ("name", name), ("city", city), ("email", mail)]),
    ])
    what, value = c.any(facts)
    ask = c.say("Extract the {}: {}", "What is the {} in this text? {}", "Find the {} in: {}", "Give me the {} from this message: {}", "Which {} is mentioned here? {}", "Get the {}: {}", "Pull out the {} from this: {}", "What {} does this text mention? {}")
    return ask.format(what, text), f"The {what} is {value}.", value
