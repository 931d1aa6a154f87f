"""Work on text that is in the prompt: repeat, reformat, count, look up. A skill returns
(question, answer, short answer or None)."""

import json

from .words import ANIMALS, CITIES, COLORS, FOODS, HOBBIES, JOBS, NOUNS, OBJECTS


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
    ask = c.any(
        [
            "Say {}",
            "Repeat after me: {}",
            c.say(
                "[Say|Repeat|Echo|Print|Write|Output|Type|Return|Copy|Reply|Respond with|Answer with|Answer only with|Just say|Please say|Please repeat|Repeat after me|Say exactly|Reply only with|Say back|Say the words|Say the following|Repeat the following|Repeat this text|Copy this text|Echo this|Write this|Say this|Print this|Type this|Repeat this|Repeat exactly|Can you say|Can you repeat|Please echo|Now say|Please write|Only say|Simply say|Output this|Output only|Reply with exactly][|:] {}",
                "[Repeat|Say|Echo|Copy|Print] [this|the following|after me|these words|exactly this|what I say][:|,| -] {}",
            ),
        ]
    )
    return ask.format(c.any(['"{}"', '"{}"', "{}", "{}", "'{}'"]).format(text)), text, text


def upper(c):
    text = " ".join(c.words(c.num(1, 3))) if c.chance(0.6) else c.sentence()
    if c.chance(0.5):
        ask = c.any(
            [
                c.order(
                    "[write|put|print|say|give me|turn|convert|change|make|show] {} [in uppercase|in upper case|in capital letters|in all caps|in capitals|to uppercase|to upper case|into capital letters|to capitals|with capital letters]",
                    "[uppercase|capitalize|make uppercase|make upper case]: {}",
                    "make {} [uppercase|upper case|all caps]",
                ),
                c.say(
                    "{} in [uppercase|upper case|capital letters|all caps|capitals]",
                    "[Uppercase|Upper case|All caps|In capitals|Capital letters][:| of| for] {}",
                ),
            ]
        )
        return ask.format(quoted(c, text)), text.upper(), text.upper()
    ask = c.any(
        [
            c.order(
                "[write|put|print|say|give me|turn|convert|change|make|show] {} [in lowercase|in lower case|in small letters|to lowercase|to lower case|into small letters|with small letters|in all lower case]",
                "[lowercase|make lowercase|make lower case]: {}",
                "make {} [lowercase|lower case]",
            ),
            c.say(
                "{} in [lowercase|lower case|small letters]",
                "[Lowercase|Lower case|In small letters|Small letters][:| of| for] {}",
            ),
        ]
    )
    return ask.format(quoted(c, text.upper() if c.chance(0.7) else text.title())), text.lower(), text.lower()


def title(c):
    text = " ".join(c.words(c.num(2, 4)))
    ask = c.order(
        "[write|put|print|convert|change|turn|make|give me] {} [in|to|into] title case",
        "[capitalize|uppercase|make a capital of] [each word|every word|the first letter of each word|the first letter of every word] [of|in][:|] {}",
        "[title case|make title case]: {}",
    )
    return ask.format(quoted(c, text)), text.title(), None


def spell(c):
    word = c.word()
    if c.chance(0.6):
        ask = c.any(
            [
                "Spell {}.",
                c.order(
                    "spell [|the word |out |out the word ]{}[| for me| letter by letter]",
                    "[write|list|say|give me|print] the letters of [|the word ]{}",
                )
                + c.any([".", ""]),
                c.say(
                    "How [do you|do I|would you|to|is] spell [|the word ]{}?",
                    "How is [|the word ]{} [spelled|written|spelt]?",
                ),
            ]
        )
        return ask.format(quoted(c, word)), "-".join(word), None
    if len(word) > 5:
        word = word[: c.num(3, 5)]
    ask = c.any(
        [
            "Reverse {}.",
            c.order(
                "reverse [|the word |the letters of |this word: |the string ]{}",
                "[write|spell|say|print|give me|put|turn] [|the word ]{} [backwards|backward|in reverse|reversed]",
                "flip [|the word |the letters of ]{}",
            )
            + c.any([".", ""]),
            c.say(
                "What is [|the word ]{} [backwards|reversed|in reverse|spelled backwards]?",
                "[{} backwards|{} reversed|{} in reverse]",
            ),
        ]
    )
    return ask.format(quoted(c, word)), word[::-1], word[::-1]


def letters(c):
    word = c.word()
    kind = c.num(0, 2)
    if kind == 0:
        ask = c.any(
            [
                c.ask("the [number of letters in|length of|letter count of] [|the word ]{}"),
                c.order("count the letters [in|of] [|the word ]{}") + c.any([".", ""]),
                c.say(
                    "How many [letters|characters] [are in|are there in|has] [|the word ]{}?",
                    "How many [letters|characters] does [|the word ]{} [have|contain]?",
                    "How long is [|the word ]{}?",
                ),
            ]
        )
        return ask.format(quoted(c, word)), f'"{word}" has {len(word)} letters.', str(len(word))
    first = kind == 1
    which = "first" if first else "last"
    ask = c.any(
        [
            c.ask("the {1} letter [of|in] [|the word ]{0}"),
            c.say(
                "[Which|What] letter does [|the word ]{0} {2} with?",
                "[Which|What] letter [is|comes] {1} in [|the word ]{0}?",
                "[What|Which] is the {1} letter [of|in] [|the word ]{0}?",
            ),
        ]
    )
    letter = word[0] if first else word[-1]
    return (
        cap(ask.format(quoted(c, word), which, "start" if first else "end")),
        f'The {which} letter of "{word}" is {letter}.',
        letter,
    )


def word_ops(c):
    words = c.words(c.num(2, 7))
    text = " ".join(words)
    kind = c.num(0, 4)
    q = c.any(['"{}"', "'{}'"]).format(text)
    if kind == 0:
        ask = c.any(
            [
                c.ask("the [number of words in|word count of] {}"),
                c.order("count the words [in|of|in the text] {}") + c.any([".", ""]),
                c.say(
                    "How many words [are in|are there in|has|make up] {}?", "How many words does {} [have|contain]?"
                ),
            ]
        )
        return ask.format(q), f"There are {len(words)} words.", str(len(words))
    if kind == 1:
        ask = c.any(
            [
                c.ask("the first word [of|in] {}"),
                c.say("[Which|What] word [is|comes] first in {}?", "[Which|What] is the first word [of|in] {}?"),
            ]
        )
        return ask.format(q), f'The first word is "{words[0]}".', words[0]
    if kind == 2:
        ask = c.any(
            [
                c.ask("the last word [of|in] {}"),
                c.say("[Which|What] word [is|comes] last in {}?", "[Which|What] is the last word [of|in] {}?"),
            ]
        )
        return ask.format(q), f'The last word is "{words[-1]}".', words[-1]
    if kind == 3:
        i = c.num(1, min(3, len(words)) - 1)
        nth = ["first", "second", "third"][i]
        ask = c.any(
            [
                c.ask("the {1} word [of|in] {0}"),
                c.say("[Which|What] word [is|comes] {1} in {0}?", "[Which|What] is the {1} word [of|in] {0}?"),
            ]
        )
        return ask.format(q, nth), f'The {nth} word is "{words[i]}".', words[i]
    i, new = c.num(0, len(words) - 1), c.word()
    ask = c.any(
        [
            c.order(
                "[replace|swap|exchange|substitute] {1} [with|by|for] {2} in {0}",
                "in {0}, [replace|swap|exchange] {1} [with|by|for] {2}",
                "change [|the word ]{1} [to|into] {2} in {0}",
                "in {0}, change [|the word ]{1} [to|into] {2}",
                "take {0} and replace {1} [with|by] {2}",
            )
            + c.any([".", ""])
        ]
    )
    return cap(ask.format(q, words[i], new)), " ".join(new if w == words[i] else w for w in words), None


def reorder(c):
    kind = c.num(0, 4)
    if kind <= 1:
        n = [str(x) for x in c.some(range(1, 100 if c.chance(0.5) else 20), c.num(3, 5 if c.chance(0.4) else 4))]
        down = c.chance(0.3)
        text = (
            c.order(
                "[sort|order|arrange|put|list|rank|write] [these numbers|the numbers|these|this list|the following|the following numbers|this list of numbers] [from largest to smallest|in descending order|from high to low|from biggest to smallest|from highest to lowest|in falling order|with the largest first]: {}",
                "sort [descending|in descending order|high to low]: {}",
            )
            if down
            else c.any(
                [
                    "Sort these numbers: {}",
                    c.order(
                        "[sort|order|arrange|put|list|rank|write] [these numbers|the numbers|these|this list|the following|the following numbers|this list of numbers] [in order|in ascending order|from smallest to largest|from low to high|from lowest to highest|in rising order|with the smallest first]: {}",
                        "[sort|order|arrange|rank] [these numbers|the numbers|these|this list|the following numbers|the following|ascending|low to high|numbers]: {}",
                    ),
                ]
            )
        )
        return text.format(listed(n)), listed(sorted(n, key=int, reverse=down)), None
    if kind == 2:
        w = c.words(3) if c.chance(0.5) else c.sides(c.any([NOUNS, CITIES, FOODS]), c.num(3, 4))
        ask = c.any(
            [
                "Sort these words alphabetically: {}",
                c.order(
                    "[sort|order|arrange|put|list|rank|write] [these words|the words|these|this list|the following|the following words|this list of words] [alphabetically|in alphabetical order|from A to Z|by the alphabet|by first letter]: {}",
                    "[sort|order|arrange] [alphabetically|in alphabetical order|by letter|from A to Z]: {}",
                ),
            ]
        )
        return ask.format(listed(w)), listed(sorted(w)), None
    if kind == 3:
        w = c.words(c.num(2, 5))
        ask = c.any(
            [
                c.order(
                    "[reverse|turn around|flip|invert] [this list|the list|these words|the order of|the order of these words|the following list|these]: {}",
                    "[write|list|put|give me|say|print] [this list|these words|these|the following] [in reverse order|in reverse|backwards|from last to first]: {}",
                )
            ]
        )
        return ask.format(listed(w)), listed(w[::-1]), None
    n = c.some(range(1, 100), c.num(3, 5))
    big = c.chance(0.5)
    ask = c.any(
        [
            c.ask("the {1} [of these numbers|number|of the numbers|in this list|of|among]: {0}"),
            c.say(
                "[Which|What] [number|one] is the {1}[:|,] {0}?",
                "[Which|What] of [these|the following] is the {1}: {0}?",
                "[Which of {0} is the {1}|What is the {1} of {0}]?",
            ),
        ]
    )
    best = max(n) if big else min(n)
    word = "largest" if big else "smallest"
    return ask.format(listed(map(str, n)), word), f"The {word} is {best}.", str(best)


def format_list(c):
    items = (
        c.words(c.num(2, 6)) if c.chance(0.6) else c.some(c.any([ANIMALS, FOODS, COLORS, JOBS, OBJECTS]), c.num(3, 5))
    )
    source = c.any([", ", " and ", "; "])
    text = source.join(items) if source != " and " else listed(items[:-1]) + " and " + items[-1]
    kind = c.num(0, 5)
    if kind == 0:
        ask = c.any(
            [
                c.order(
                    "[write|put|turn|convert|format|make|give me|show|print|change|output|rewrite|return] [this|these|the following|the items|this list|these items|it|the list] [as|into|in|to] [a bulleted list|a bullet list|bullet points|a list with bullets|bullets]: {}",
                    "[make|create|write|give me|build|produce] [a bulleted list|a bullet list|bullet points|a list with bullets|bullets] [of|from|with|out of|for|:] {}",
                    "[write|put|turn|convert|format|make|give me|show|print|change|output|rewrite|return] [as|into|to] [a bulleted list|a bullet list|bullet points|a list with bullets|bullets]: {}",
                ),
                c.say(
                    "[As|In|Into|To] [a bulleted list|a bullet list|bullet points|a list with bullets|bullets][ please|]: {}"
                ),
            ]
        )
        return ask.format(text), "\n".join("- " + i for i in items), None
    if kind == 1:
        ask = c.any(
            [
                c.order(
                    "[write|put|turn|convert|format|make|give me|show|print|change|output|rewrite|return] [this|these|the following|the items|this list|these items|it|the list] [as|into|in|to] [a numbered list|a numbered list|an ordered list|a list with numbers]: {}",
                    "[make|create|write|give me|build|produce] [a numbered list|a numbered list|an ordered list|a list with numbers] [of|from|with|out of|for|:] {}",
                    "[write|put|turn|convert|format|make|give me|show|print|change|output|rewrite|return] [as|into|to] [a numbered list|a numbered list|an ordered list|a list with numbers]: {}",
                ),
                c.say(
                    "[As|In|Into|To] [a numbered list|a numbered list|an ordered list|a list with numbers][ please|]: {}"
                ),
            ]
        )
        return ask.format(text), "\n".join(f"{k}. {i}" for k, i in enumerate(items, 1)), None
    if kind == 2:
        ask = c.any(
            [
                c.order(
                    "[write|put|turn|convert|format|make|give me|show|print|change|output|rewrite|return] [this|these|the following|the items|this list|these items|it|the list] [as|into|in|to] [a JSON array|JSON|a JSON list|JSON array format]: {}",
                    "[make|create|write|give me|build|produce] [a JSON array|JSON|a JSON list|JSON array format] [of|from|with|out of|for|:] {}",
                    "[write|put|turn|convert|format|make|give me|show|print|change|output|rewrite|return] [as|into|to] [a JSON array|JSON|a JSON list|JSON array format]: {}",
                ),
                c.say("[As|In|Into|To] [a JSON array|JSON|a JSON list|JSON array format][ please|]: {}"),
            ]
        )
        return ask.format(text), json.dumps(items), None
    if kind == 3:
        ask = c.any(
            [
                c.order(
                    "[write|put|turn|convert|format|make|give me|show|print|change|output|rewrite|return] [this|these|the following|the items|this list|these items|it|the list] [as|into|in|to] [CSV|a CSV line|CSV format|comma separated values|one line of CSV]: {}",
                    "[make|create|write|give me|build|produce] [CSV|a CSV line|CSV format|comma separated values|one line of CSV] [of|from|with|out of|for|:] {}",
                    "[write|put|turn|convert|format|make|give me|show|print|change|output|rewrite|return] [as|into|to] [CSV|a CSV line|CSV format|comma separated values|one line of CSV]: {}",
                ),
                c.say(
                    "[As|In|Into|To] [CSV|a CSV line|CSV format|comma separated values|one line of CSV][ please|]: {}"
                ),
            ]
        )
        return ask.format(text), ",".join(items), None
    if kind == 4:
        ask = c.any(
            [
                c.order(
                    "[join|connect|combine|link] [these|these words|the words|this list|the following|the items] [with|by|using] [dashes|hyphens|a dash]: {}",
                    "put [dashes|hyphens|a dash] between [these|these words|the words|the items]: {}",
                    "use [dashes|hyphens] to [join|connect|link] [these|these words|them]: {}",
                )
            ]
        )
        return ask.format(text), "-".join(items), None
    ask = c.any(
        [
            c.ask("the [number of items in|length of|size of] this list: {}"),
            c.order("count [the items|these|the things|the words|the elements] [in this list|here|]: {}"),
            c.say(
                "How many [items|things|elements|words|entries] [are in|are there in|has] [this list|the list]: {}?",
                "How many [items|things|elements|words] are [here|listed here|listed]: {}?",
            ),
        ]
    )
    return ask.format(text), f"There are {len(items)} items.", str(len(items))


def to_json(c):
    name, age, city = c.name(), c.num(18, 80), c.city()
    text, obj = c.any(
        [
            (f"{name} is {age} years old and lives in {city}.", {"name": name, "age": age, "city": city}),
            (f"{name} lives in {city}.", {"name": name, "city": city}),
            (f"{name} is {age} years old.", {"name": name, "age": age}),
            (f"name: {name}, age: {age}, city: {city}", {"name": name, "age": age, "city": city}),
            (f"{name}, {age}", {"name": name, "age": age}),
        ]
    )
    ask = c.any(
        [
            c.order(
                "[convert|turn|write|put|change|format|make|express|rewrite|give me] [this|it|the following|the text|this text|the data|this sentence] [as|to|into|in] [JSON|a JSON object|an object in JSON]: {}",
                "[extract|get|pull out] the [data|facts|fields|information] [as|in|into] [JSON|a JSON object]: {}",
                "[make|create|build|write|give me|produce] [JSON|a JSON object|the JSON] [for|from|of|out of][ this|]: {}",
            ),
            c.say("[As|In|To] [JSON|a JSON object][ please|]: {}", "JSON for: {}"),
        ]
    )
    return ask.format(text), json.dumps(obj), None


# --- looking things up in the prompt ----------------------------------------------------------------------


def plain(question, answer):
    return question, answer


# attribute: (value maker, sentence about name and value, questions, answer)
# attribute: value maker, sentences about name and value, questions about a name, answer, questions about a value
ATTRIBUTES = {
    "city": (
        lambda c: c.city(),
        [
            "{n} lives in {v}.",
            "{n} lives in {v}.",
            "{n} has a house in {v}.",
            "{n} is from {v}.",
            "The home of {n} is {v}.",
        ],
        [
            "[Where|In which city|In what city] does {n} live?",
            "[Which|What] city does {n} live in?",
            "[Tell me|Do you know|Say|Find out] [where|in which city] {n} lives[.|?]",
            "Where is {n}[| from| living| at home]?",
            "<the [city|home|home town] of {n}",
        ],
        "{n} lives in {v}.",
        [
            "[Who|Which person] [lives in|is from|comes from] {v}?",
            "[Name|Tell me|Find|Give me] the person [who lives in|from] {v}.",
            "[Tell me|Say] who lives in {v}.",
            "Who has a house in {v}?",
        ],
    ),
    "job": (
        lambda c: c.side(JOBS),
        ["{n} is a {v}.", "{n} works as a {v}.", "The job of {n} is {v}.", "{n} has a job as a {v}."],
        [
            "What does {n} [do|do for work|do for a living|work as]?",
            "[Which|What] [job|profession] does {n} have?",
            "[Tell me|Say] what {n} [does|works as|does for work].",
            "<[{n}'s job|the job of {n}|the profession of {n}|{n}'s profession]",
        ],
        "{n} works as a {v}.",
        [
            "[Who|Which person] [is a|works as a|has a job as a] {v}?",
            "[Name|Tell me|Find|Give me] the {v}.",
            "[Tell me|Say] who [is a|works as a] {v}.",
        ],
    ),
    "pet": (
        lambda c: c.side(ANIMALS),
        ["{n} has a {v}.", "{n} has a pet {v}.", "{n} owns a {v}.", "The pet of {n} is a {v}."],
        [
            "[Which|What] [pet|animal] does {n} [have|own|keep]?",
            "[Tell me|Say] [which|what] [pet|animal] {n} [has|owns].",
            "<[{n}'s pet|the pet of {n}|the animal of {n}]",
        ],
        "{n} has a {v}.",
        [
            "[Who|Which person] [has|owns|keeps] a {v}?",
            "[Name|Tell me|Find|Give me] the [owner of|person with] the {v}.",
            "Whose pet is a {v}?",
            "[Tell me|Say] who [has|owns] a {v}.",
        ],
    ),
    "color": (
        lambda c: c.side(COLORS),
        ["{n}'s favorite color is {v}.", "{n} likes the color {v}.", "The favorite color of {n} is {v}."],
        [
            "[Which|What] color does {n} [like|like best|love|prefer]?",
            "[Tell me|Say] [which|what] color {n} likes.",
            "<[{n}'s favorite color|the favorite color of {n}]",
        ],
        "{n}'s favorite color is {v}.",
        [
            "Whose favorite color is {v}?",
            "[Who|Which person] likes [|the color ]{v}?",
            "[Tell me|Say] who likes [|the color ]{v}.",
        ],
    ),
    "age": (
        lambda c: str(c.num(5, 90)),
        ["{n} is {v} years old.", "{n} is {v}.", "The age of {n} is {v}."],
        [
            "How old is {n}?",
            "What age is {n}?",
            "How many years old is {n}?",
            "[Tell me|Say|Do you know] how old {n} is[.|?]",
            "<[{n}'s age|the age of {n}]",
        ],
        "{n} is {v} years old.",
        [
            "[Who|Which person] is {v}[| years old]?",
            "[Name|Tell me|Find] the person who is {v}[| years old].",
            "[Tell me|Say] who is {v}[| years old].",
        ],
    ),
    "food": (
        lambda c: c.side(FOODS),
        ["{n} likes {v}.", "{n} loves {v}.", "{n}'s favorite food is {v}.", "{n} likes to eat {v}."],
        [
            "What does {n} [like to eat|like|love|eat]?",
            "[Which|What] food does {n} [like|love|eat|prefer]?",
            "[Tell me|Say] what {n} likes.",
            "<[{n}'s favorite food|the favorite food of {n}|the food of {n}]",
        ],
        "{n} likes {v}.",
        [
            "[Who|Which person] [likes|loves|eats|likes to eat] {v}?",
            "Whose favorite food is {v}?",
            "[Tell me|Say] who [likes|loves|eats] {v}.",
        ],
    ),
    "hobby": (
        lambda c: c.side(HOBBIES),
        ["{n} enjoys {v}.", "{n}'s hobby is {v}.", "The hobby of {n} is {v}."],
        [
            "What does {n} [enjoy|do for fun|do in the free time]?",
            "[Which|What] hobby does {n} have?",
            "[Tell me|Say] what {n} [enjoys|does for fun].",
            "<[{n}'s hobby|the hobby of {n}]",
        ],
        "{n}'s hobby is {v}.",
        ["[Who|Which person] [enjoys|does] {v}[| for fun]?", "Whose hobby is {v}?", "[Tell me|Say] who enjoys {v}."],
    ),
    "code": (
        lambda c: c.code(),
        ["{n}'s code is {v}.", "The code of {n} is {v}.", "{n} has the code {v}."],
        [
            "[Which|What] code does {n} have?",
            "[Tell me|Say] [which|what] code {n} has.",
            "<[{n}'s code|the code of {n}|the code for {n}]",
        ],
        "{n}'s code is {v}.",
        [
            "Whose code is {v}?",
            "[Who|Which person] has the code {v}?",
            "[To whom|To which person] does the code {v} belong?",
            "[Tell me|Say] who has the code {v}.",
        ],
    ),
}


def about(c, templates):
    """One of an attribute's questions; those that start with "<" are things to ask for."""
    template = c.any(templates)
    return c.ask(template[1:]) if template[0] == "<" else c.say("[]" + template)


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


FRAMES = [
    "{t} {q}",
    "{t}\n\n{q}",
    "{t}\n{q}",
    "{q}\n\n{t}",
    "{q} {t}",
    "[Text|Context|Facts|Information|Input|Document|Note]: {t}[\n|\n\n][Question|Q|Now|Task]: {q}",
    "[Read this|Here is a text|Here are some facts|Given the facts|Use this information|Consider this|Look at this|This is what we know|Read the text|Given this text][:|.] {t}[ |\n|\n\n]{q}",
    "[Based on|According to|Given|From|Using] [this text|the text below|the text|these facts|this], {ql}[ |\n\n|\n]{t}",
    "{t} [Now answer|Answer this|Question|So]: {q}",
    "{q} [Use|Read|Here is] [the text|this text|this]: {t}",
]


def framed(c, text, question):
    return c.say(*FRAMES).format(
        t=text,
        q=question,
        ql=(
            question[0].lower() + question[1:]
            if question.split()[0] in ("What", "Which", "Who", "Where", "How", "In", "Whose", "Is", "Does")
            else question
        ),
    )


def lookup(c):
    kind, rows = people(c, c.any([1, 2, 2, 3, 3, 4, 5]))
    name, value = c.any(rows)
    text = facts_text(c, kind, rows)
    _, _, asks, answer, who = ATTRIBUTES[kind]
    if c.chance(0.3):
        return framed(c, text, about(c, who).format(v=value)), answer.format(n=name, v=value), name
    return framed(c, text, about(c, asks).format(n=name)), answer.format(n=name, v=value), value


def lookup_missing(c):
    kind, rows = people(c, c.num(2, 3))
    other = c.name()
    while other in [n for n, _ in rows]:
        other = c.name()
    return (
        framed(c, facts_text(c, kind, rows), about(c, ATTRIBUTES[kind][2]).format(n=other)),
        f"The text does not say anything about {other}.",
        None,
    )


def introduce(c):
    """First person: My name is Ana and I live in Oslo."""
    name, city, job, pet, food = c.name(), c.city(), c.side(JOBS), c.side(ANIMALS), c.side(FOODS)
    parts = [
        (
            "city",
            f"I live in {city}",
            [
                "[Where|In which city|In what city] does {p} live?",
                "[Where|In which city|In what city] do I live?",
                "[Which|What] city [is my home|do I live in]?",
                "[Tell me|Say] where I live.",
            ],
            "{s} {live} in " + city + ".",
            city,
        ),
        (
            "job",
            f"I work as a {job}",
            [
                "What does {p} [do|do for work|work as]?",
                "What do I [do|do for work|work as]?",
                "[Which|What] job do I have?",
                "What is [my|{g}] job?",
                "[Tell me|Say] what I do for work.",
            ],
            "{s} {work} as a " + job + ".",
            job,
        ),
        (
            "pet",
            f"I have a {pet}",
            [
                "[Which|What] [pet|animal] does {p} have?",
                "[Which|What] [pet|animal] do I [have|own]?",
                "What is [my|{g}] pet?",
                "[Tell me|Say] which [pet|animal] I have.",
            ],
            "{s} {have} a " + pet + ".",
            pet,
        ),
        (
            "food",
            f"I like {food}",
            [
                "[What|What food|Which food] does {p} like?",
                "[What|What food|Which food] do I like?",
                "[Tell me|Say] what I like.",
            ],
            "{s} {like} " + food + ".",
            food,
        ),
    ]
    chosen = c.some(parts, c.num(1, 3))
    intro = c.any(["My name is {}", "I am {}", "I'm {}"]).format(name)
    text = intro + (
        (" and " + chosen[0][1] + ".")
        if len(chosen) == 1
        else ", " + ", ".join(p[1] for p in chosen[:-1]) + " and " + chosen[-1][1] + "."
    )
    if c.chance(0.3):
        return (
            f"{text} {c.any([c.ask('my name'), c.say('Who am I?', '[What am I called|How am I called|Say my name|Do you know who I am]?')])}",
            f"Your name is {name}.",
            name,
        )
    _, _, asks, answer, short = c.any(chosen)
    ask = c.say("[]" + c.any(asks))
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
    what, make, unit = c.any(
        [
            ("price", lambda: str(c.num(1, 99)), "{} costs {}."),
            ("stock", lambda: str(c.num(0, 500)), "{} has a stock of {}."),
            ("code", lambda: c.code(), "The code of {} is {}."),
            ("color", lambda: c.side(COLORS), "The color of {} is {}."),
            ("owner", lambda: c.name(), "The owner of {} is {}."),
            (
                "status",
                lambda: c.any(["open", "closed", "ready", "late", "lost", "done", "new"]),
                "The status of {} is {}.",
            ),
        ]
    )
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
    ask = c.any(
        [
            c.ask("the {w} [of|for] {t}"),
            c.say(
                "[What|Which] {w} [does {t} have|belongs to {t}|goes with {t}|is listed for {t}]?",
                "[Tell me|Say|Find] [which|what] {w} {t} has.",
                "What does the [table|data|list] say is the {w} [of|for] {t}?",
                "[In|From|According to] the [table|data|list], what is the {w} [of|for] {t}?",
            ),
        ]
    ).format(w=what, t=thing)
    return (
        c.any(["{t}\n\n{q}", "{q}\n\n{t}", "Table:\n{t}\n\n{q}", "{q}\n{t}", "Here is the data:\n{t}\n{q}"]).format(
            t=text, q=ask
        ),
        cap(unit.format(thing, value)),
        value,
    )


def yes_no(c):
    kind, rows = people(c, c.num(2, 4))
    (n1, v1), (n2, v2) = c.some(rows, 2)
    items = c.words(c.num(2, 5))
    if c.chance(0.5):
        inside = c.chance(0.5)
        word = c.any(items) if inside else c.word()
        inside = word in items
        ask = c.any(
            [
                c.say(
                    "Is [|the word ]{w} [in|on|part of|among] [this list|the list|these words|these]: {l}?",
                    "[Does|Would] [this list|the list] [contain|have|include] [|the word ]{w}: {l}?",
                    "[List|Words|Items]: {l}. Is [|the word ]{w} [in it|there|among them|in the list]?",
                    "[Can you find|Do you see] [|the word ]{w} [in|among][| this list| these]: {l}?",
                    "{l}: is [|the word ]{w} [in it|there|among them|in this list]?",
                )
            ]
        ).format(w=word, l=listed(items))
        return (
            ask,
            f"Yes, {word} is in the list." if inside else f"No, {word} is not in the list.",
            "yes" if inside else "no",
        )
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
    ask = c.say(
        "Does {n} {v} {x}[|, yes or no]?",
        "[Is it true that|Is it right that|Is it correct that|Is it so that] {n} {w} {x}?",
        "[True or not|True or false|Yes or no|Right or wrong]: {n} {w} {x}?",
        "[Can we say|Would you say|Do you think|Do we know] that {n} {w} {x}?",
        "{n} {w} {x}, [right|correct|true|is that so]?",
    ).format(n=name, v=verb[0], w=verb[1], x=claim)
    return (
        framed(c, text, ask),
        f"Yes, {name} {verb[1]} {value}." if right else f"No, {name} {verb[1]} {value}.",
        "yes" if right else "no",
    )


SENTIMENT = {
    "positive": [
        "I love this {}!",
        "This {} is wonderful.",
        "The {} was great and I will buy it again.",
        "What a fantastic {}!",
        "I am very happy with my {}.",
        "The best {} I have ever had.",
        "The {} works perfectly.",
        "Such a lovely {}.",
    ],
    "negative": [
        "I hate this {}.",
        "This {} is terrible.",
        "The {} broke after one day.",
        "What an awful {}!",
        "I am very disappointed with my {}.",
        "The worst {} I have ever had.",
        "The {} does not work at all.",
        "Such a horrible {}.",
    ],
}


def sentiment(c):
    mood = c.any(list(SENTIMENT))
    text = c.any(SENTIMENT[mood]).format(c.side(NOUNS))
    ask = c.any(
        [
            c.ask("the [sentiment|mood|feeling] of[| this| this text| the text]: {}"),
            c.order(
                "[classify|judge|label|rate|decide] [the sentiment|this|this text|the text|this review] [|as positive or negative]: {}"
            ),
            c.say(
                "[Is this|Is this text|Is the sentiment|Is this review] positive or negative[?|:] {}",
                "[Sentiment|Positive or negative|Good or bad|Negative or positive][:|?] {}",
            ),
        ]
    )
    return ask.format(quoted(c, text)), f"The sentiment is {mood}.", mood


def pick(c):
    """Which of these is a ...?"""
    groups = {"an animal": ANIMALS, "a food": FOODS, "a color": COLORS, "a city": CITIES, "a job": JOBS}
    kind = c.any(list(groups))
    right = c.side(groups[kind])
    wrong = []
    for k in c.some([k for k in groups if k != kind], c.num(2, 3)):
        wrong.append(c.any(groups[k]))
    if right in wrong or right == "orange":
        right = c.side(groups[kind])
        wrong = [w for w in wrong if w != right and w != "orange"]
    items = wrong + [right]
    c.r.shuffle(items)
    ask = c.any(
        [
            c.order(
                "[pick|choose|find|select|name|give me|show me] {k} [from|in|out of|among] [|this list|these|these words|the list|the following]: {l}"
            ),
            c.say(
                "[Which|What|Which one|Which word|Which item] [of these|of the following|in this list|here|] is {k}: {l}?",
                "{l}: [which|which one|which word|what] is {k}?",
            ),
        ]
    )
    return cap(ask.format(k=kind, l=listed(items))), f"{cap(right)} is {kind}.", right


def summary_first(c):
    """Extract one thing from a message."""
    name, city, day = (
        c.name(),
        c.city(),
        c.any(["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]),
    )
    hour, code = c.num(1, 12), c.code()
    mail = f"{c.word()}@{c.word()}.{c.any(['com', 'org', 'net'])}"
    text, facts = c.any(
        [
            (
                f"Hi, this is {name}. The meeting is on {day} at {hour} o'clock in {city}. My email is {mail}.",
                [("name", name), ("day", day), ("city", city), ("email", mail)],
            ),
            (
                f"Dear team, order {code} was sent to {city} on {day}. Regards, {name}",
                [("order number", code), ("city", city), ("day", day), ("name", name)],
            ),
            (
                f"{name} will fly to {city} on {day} with flight {code}.",
                [("name", name), ("city", city), ("day", day), ("flight", code)],
            ),
            (
                f"Ticket {code}: {name} from {city} reports a problem. Contact: {mail}",
                [("ticket number", code), ("name", name), ("city", city), ("email", mail)],
            ),
        ]
    )
    what, value = c.any(facts)
    ask = c.any(
        [
            c.order(
                "[extract|get|pull out|find|give me|return|show me|write down] the {} [from|in|of] [this|this text|the text|this message|the message|this note]: {}",
                "[extract|get|find|return] the {}: {}",
            ),
            c.ask("the {} [in|from] [this text|this message|the following|this note]: {}"),
            c.say(
                "[Which|What] {} [is mentioned|is named|is given|appears|does it say] [here|in this text|in this message|below][?|:] {}"
            ),
        ]
    )
    return ask.format(what, text), f"The {what} is {value}.", value
