"""Talk, facts and arithmetic. A skill returns (question, answer, short answer or None)."""

from .facts import (
    AUTHORS,
    BABIES,
    COLOURS,
    COUNTRIES,
    DAYS,
    DEFINITIONS,
    ELEMENTS,
    HELLO_WORLD,
    JOKES,
    LANGS,
    MISC,
    MIXES,
    MONTHS,
    MONTH_DAYS,
    NUMBERS,
    OPPOSITES,
    ORDINALS,
    PLANETS,
    SOUNDS,
    TRANSLATIONS,
)
from .words import ANIMALS, NOUNS, OBJECTS


def cap(text):
    return text[:1].upper() + text[1:]


# --- talk -------------------------------------------------------------------------------------------------

TALK = [
    (
        [
            "Hello!",
            "Hi",
            "Hi!",
            "Hello",
            "Hey",
            "Hey there!",
            "hello there",
            "Hi there!",
            "Good day!",
            "Greetings!",
            "hello",
            "hi",
            "Hello, world!",
            "Hello there!",
            "Hey!",
        ],
        "Hello! How can I help you today?",
    ),
    (["Good morning!", "good morning", "Morning!", "Good morning"], "Good morning! How can I help you today?"),
    (["Good evening!", "Good evening", "good evening"], "Good evening! How can I help you today?"),
    (["Good night!", "good night", "Good night"], "Good night! Sleep well."),
    (
        [
            "How are you?",
            "How are you doing?",
            "how are you",
            "How is it going?",
            "How do you do?",
            "How are you today?",
            "Are you ok?",
            "Hi, how are you?",
            "Hello, how are you?",
            "How have you been?",
        ],
        "I'm doing well, thank you! How can I help you?",
    ),
    (
        [
            "Who are you?",
            "What are you?",
            "What is your name?",
            "What's your name?",
            "Tell me about yourself.",
            "Introduce yourself.",
            "who are you",
            "What model are you?",
            "Which model is this?",
            "Are you GPT?",
            "Are you ChatGPT?",
            "Can you introduce yourself?",
            "What model is this?",
        ],
        "I'm Cairn's tiny built-in model, a very small language model made to show that the API works.",
    ),
    (
        [
            "What can you do?",
            "What can you help me with?",
            "How can you help me?",
            "what can you do",
            "What are you able to do?",
            "What are your skills?",
            "What do you know?",
            "What can I ask you?",
            "What tasks can you do?",
        ],
        "I can chat, answer simple questions, do small sums, repeat and reformat text, and find facts in what you give me.",
    ),
    (
        [
            "Are you a human?",
            "Are you a robot?",
            "Are you real?",
            "Are you a person?",
            "Are you an AI?",
            "Are you a bot?",
        ],
        "I'm a small AI model, not a person.",
    ),
    (
        ["Who made you?", "Who created you?", "Who built you?", "Where do you come from?", "who made you"],
        "I was trained from scratch as part of the Cairn project.",
    ),
    (
        [
            "How big are you?",
            "How many parameters do you have?",
            "Are you a large model?",
            "How large are you?",
            "Are you small?",
        ],
        "I'm tiny: only a few million parameters.",
    ),
    (
        [
            "Thanks!",
            "Thank you!",
            "thanks",
            "Thank you very much!",
            "Thanks a lot!",
            "Many thanks!",
            "thank you",
            "Cheers!",
            "Thank you so much!",
            "Thanks for your help!",
            "Great, thanks!",
        ],
        "You're welcome!",
    ),
    (
        [
            "Bye!",
            "Goodbye!",
            "See you!",
            "bye",
            "Goodbye",
            "See you later!",
            "Bye bye!",
            "Take care!",
            "Have a nice day!",
            "See you tomorrow!",
        ],
        "Goodbye! Have a nice day.",
    ),
    (
        [
            "I am sad.",
            "I feel sad today.",
            "I'm feeling down.",
            "I had a bad day.",
            "I'm sad",
            "Today was a bad day.",
        ],
        "I'm sorry to hear that. I hope you feel better soon.",
    ),
    (
        ["I am happy!", "I feel great today!", "I had a great day!", "I'm so happy!", "Today was a good day!"],
        "That's great to hear!",
    ),
    (
        [
            "Are you there?",
            "Can you hear me?",
            "Are you working?",
            "ping",
            "test",
            "Testing",
            "Is this working?",
            "Test",
            "Does this work?",
            "Are you online?",
        ],
        "Yes, I'm here and working.",
    ),
    (
        ["Help", "Help me", "I need help", "Can you help me?", "help", "Help!", "I need your help."],
        "Of course! What do you need help with?",
    ),
    (
        [
            "Tell me a fun fact.",
            "Tell me something interesting.",
            "Do you know a fun fact?",
            "Give me a fun fact.",
            "Share a fun fact.",
        ],
        "Honey never spoils: it can stay good for thousands of years.",
    ),
    (
        ["I love you", "I like you.", "You are great!", "You're awesome!", "Good job!", "Well done!", "Nice work!"],
        "Thank you, that's kind of you!",
    ),
    (["ok", "Ok.", "OK", "Okay.", "Alright.", "I see.", "Fine."], "Great! Is there anything else I can help with?"),
    (
        ["What is this?", "What is Cairn?", "What's Cairn?", "Tell me about Cairn.", "What does Cairn do?"],
        "Cairn is a self-hosted server that speaks the OpenAI API.",
    ),
    (["Sorry", "I'm sorry.", "My mistake.", "Sorry about that.", "sorry"], "No problem at all!"),
    (
        [
            "Say hello",
            "Say hello.",
            "Say hi",
            "Say hello!",
            "Please say hello.",
            "Can you say hello?",
            "Just say hello.",
        ],
        "Hello!",
    ),
    (
        [
            "Say hello in one sentence.",
            "Say hello in one sentence",
            "Greet me in one sentence.",
            "Say hello in a sentence.",
            "Write a one-sentence greeting.",
            "Give me a one-sentence hello.",
        ],
        "Hello, it's nice to meet you!",
    ),
    (
        [
            "Say this is a test",
            "Say this is a test!",
            "Say: this is a test",
            "say this is a test",
            'Say "this is a test"',
            "Say 'this is a test'",
            "Say this is a test.",
        ],
        "This is a test.",
    ),
]


def talk(c):
    asks, answer = c.any(TALK)
    return c.say(*asks), answer, None


def joke(c):
    ask = c.say(
        "Tell me a joke",
        "Tell me a joke.",
        "Do you know a joke?",
        "Say something funny.",
        "Make me laugh.",
        "tell me a joke",
        "I want to hear a joke.",
        "Can you tell me a joke?",
        "Tell me a funny joke.",
        "Give me a joke.",
        "Got any jokes?",
        "Please tell me a joke.",
        "Know any good jokes?",
    )
    return ask, JOKES[0] if c.held else c.any(JOKES), None


def fact_misc(c):
    stem, (answer, short) = c.any(list(MISC.items()))
    ask = c.say(
        "[|Can you tell me |Tell me: |Do you know |I want to know: |Please answer: |Question: |I wonder, |Could you say |My question is: ]{}?",
        "{}",
    )
    text = ask.format(stem)
    if ask.startswith("Can you tell me") or ask.startswith("Do you know"):
        text = ask.format(stem)
    return c.vary(cap(text)), answer, short


def definition(c):
    term, answer = c.any(list(DEFINITIONS.items()))
    ask = c.say(
        "[What is|What's|What exactly is|In simple words, what is|Tell me, what is|Briefly, what is|So what is|Do you know what is|Question: what is] {}?",
        "[Explain|Define|Describe|Please explain|Please define|Briefly explain|Can you explain|Could you define] {}[.| in one sentence.| briefly.| in simple words.]",
        "[Tell me|Explain|Say|Can you tell me|Please explain|Do you know] what {} is[.|?]",
        "What does {} mean?",
        "[Give me a|I need a|Write a] [short |simple |]definition of {}.",
    )
    return c.vary(ask.format(term)), answer, None


def hello_world(c):
    lang, code = c.any(list(HELLO_WORLD.items()))
    ask = c.say(
        "[Write|Show me|Give me|I want|Print|Can you write|Please write|I need] [a |the |]hello world [program |example |code |]in {}[.|?|]",
        "How [do I|do you|can I|to] [print|write|make] hello world in {}?",
        "[Hello world in|A hello world in] {}[|.| please]",
    )
    return c.vary(ask.format(lang)), f"```{lang.lower()}\n{code}\n```", None


def capital(c):
    land, (city, _, _, _) = c.any(list(COUNTRIES.items()))
    if c.chance(0.22):
        ask = c.say(
            "[Which|What] country [has the capital|has as its capital|has the capital city] {}?",
            "{} is the capital of [which|what] country?",
            "[What|Which] country is {} the capital of?",
            "[Of which country is|Which country's capital is|Tell me which country's capital is|Name the country whose capital is] {}[?|.]",
        )
        return c.vary(ask.format(city)), f"{city} is the capital of {land}.", land
    ask = c.any(
        [
            c.ask("the capital of {}"),
            c.ask("the capital [|city ]of {}"),
            c.say(
                "What is the capital of {}?",
                "What is the capital of {}?",
                "[Which|What] city is the capital of {}?",
                "[The capital|Capital] of {}[?| is?|:|]",
            ),
        ]
    )
    return c.vary(ask.format(land)), f"The capital of {land} is {city}.", city


def language(c):
    land, (_, lang, _, _) = c.any(list(COUNTRIES.items()))
    ask = c.any(
        [
            c.ask("the [language|main language|language spoken|language people speak] [of|in] {}"),
            c.say(
                "[What|Which] language [is spoken|do people speak|do they speak|do people use|is used] in {}?",
                "[Tell me|Say|Do you know] [what|which] language [is spoken|people speak|they speak] in {}[.|?]",
                "What do [people|they] speak in {}?",
            ),
        ]
    )
    return c.vary(ask.format(land)), f"People in {land} speak {lang}.", lang


def currency(c):
    land, (_, _, money, _) = c.any(list(COUNTRIES.items()))
    ask = c.any(
        [
            c.ask("the [currency|money] [of|in|used in] {}"),
            c.say(
                "[What|Which] [currency|money] [is used|do people use|do they use|do I need|do people pay with] in {}?",
                "[What|Which] currency does {} [use|have]?",
                "[Tell me|Say] [what|which] [currency|money] [is used|people use|they use] in {}.",
            ),
        ]
    )
    return c.vary(ask.format(land)), f"The currency of {land} is {money}.", None


def continent(c):
    land, (_, _, _, part) = c.any(list(COUNTRIES.items()))
    ask = c.any(
        [
            c.ask("the continent of {}"),
            c.say(
                "[On|In] [which|what] [continent|part of the world] is {}?",
                "[Which|What] continent is {} [in|on|part of]?",
                "Where [|in the world |on Earth ]is {}?",
                "{} is [on|in] [which|what] [continent|part of the world]?",
                "[Tell me|Say] [on|in] [which|what] continent {} is.",
            ),
        ]
    )
    return c.vary(cap(ask.format(land))), f"{cap(land)} is in {part}.", part


def element(c):
    name, (symbol, number) = c.any(list(ELEMENTS.items()))
    kind = c.num(0, 2)
    if kind == 0:
        ask = c.any(
            [
                c.ask("the [chemical symbol|symbol] [for|of] {}"),
                c.say("[Which|What] [symbol|chemical symbol] [stands for|is used for|belongs to] {}?"),
            ]
        )
        return c.vary(ask.format(name)), f"The chemical symbol for {name} is {symbol}.", symbol
    if kind == 1:
        ask = c.say(
            "[Which|What] element [has the symbol|has the chemical symbol|is written as|is] {}?",
            "What does the [chemical symbol|symbol] {} [stand for|mean]?",
            "{} is the [chemical symbol|symbol] of [which|what] element?",
            "[Name|Tell me|Give me|Find] the element with the [chemical symbol|symbol] {}.",
        )
        return c.vary(ask.format(symbol)), f"{symbol} is the chemical symbol for {name}.", name
    ask = c.any(
        [
            c.ask("the atomic number of {}"),
            c.say("[Which|What] atomic number does {} have?", "{} has [which|what] atomic number?"),
        ]
    )
    return c.vary(ask.format(name)), f"The atomic number of {name} is {number}.", str(number)


def author(c):
    book, who = c.any(list(AUTHORS.items()))
    ask = c.any(
        [
            c.ask("the [author|writer] of {}"),
            c.say(
                "[Who|Which author|Which writer] wrote {}?",
                "[Who is|Who was|Who's] the [author|writer] of {}?",
                "{} was written by [whom|who]?",
                "Who was {} written by?",
                "[Tell me|Do you know|Can you tell me|Say] who wrote {}[.|?]",
            ),
        ]
    )
    return c.vary(ask.format(book)), f"{who} wrote {book}.", None


def animal(c):
    if c.chance(0.5):
        name, sound = c.any(list(SOUNDS.items()))
        ask = c.any(
            [
                c.ask("the [sound|noise] of a {}"),
                c.say(
                    "[What|Which] [sound|noise] does a {} make?",
                    "What does a {} say?",
                    "How does a {} sound?",
                    "[Tell me|Do you know] [what|which] [sound|noise] a {} makes[.|?]",
                    "A {} makes [what|which] [sound|noise]?",
                ),
            ]
        )
        return c.vary(ask.format(name)), f"A {name} says {sound}." if name != "owl" else "An owl says hoot.", sound
    name, baby = c.any(list(BABIES.items()))
    ask = c.any(
        [
            c.ask("the name [for|of] a [baby|young] {}"),
            c.say(
                "What is a [baby|young] {} called?",
                "What do [you|we|people] call a [baby|young] {}?",
                "A [baby|young] {} is called what?",
                "[Tell me|Do you know] what a [baby|young] {} is called[.|?]",
            ),
        ]
    )
    return c.vary(ask.format(name)), f"A baby {name} is called a {baby}.", baby


def opposite(c):
    word, other = c.any(list(OPPOSITES.items()))
    ask = c.any(
        [
            c.ask("the [opposite|antonym] of [|the word ]{}"),
            c.say(
                "[Which|What] word [is the opposite of|means the opposite of|is an antonym of] {}?",
                "[Opposite|Antonym] of {}[?|]",
                "What is [an antonym|the opposite] [of|for] {}?",
            ),
        ]
    )
    return c.vary(ask.format(word)), f"The opposite of {word} is {other}.", other


def colour(c):
    if c.chance(0.25):
        (a, b), mix = c.any(list(MIXES.items()))
        if c.chance(0.5):
            a, b = b, a
        ask = c.say(
            "[What|Which] [color|colour] [do you get when you|comes out when I|is made when you|do I get if I] mix {} and {}?",
            "Mix {} and {}: [which|what] [color|colour] is it?",
            "What do {} and {} make[| together|, mixed]?",
            "[Which|What] [color|colour] [do {} and {} make|is a mix of {} and {}|comes from {} and {}]?",
            "[Tell me|Say] what {} and {} make.",
        )
        return c.vary(ask.format(a, b)), f"Mixing {a} and {b} gives {mix}.", mix
    thing, tone = c.any(list(COLOURS.items()))
    ask = c.any(
        [
            c.ask("the [color|colour] of {}"),
            c.say(
                "[What|Which] [color|colour] [is {}|does {} have]?",
                "[Tell me|Do you know|Say] [what|which] [color|colour] {} [is|has][.|?]",
            ),
        ]
    )
    return c.vary(ask.format(thing)), f"{cap(thing)} is {tone}." if thing != "grass" else "Grass is green.", tone


def calendar(c):
    seq, what = c.any(
        [(DAYS, "day"), (MONTHS, "month"), (DAYS, "day"), (MONTHS, "month"), (PLANETS, "planet from the Sun")]
    )
    i = c.num(0, len(seq) - 1)
    kind = c.num(0, 3)
    if seq is PLANETS or kind == 3:
        where = {"day": "day of the week", "month": "month of the year"}.get(what, what)
        ask = c.any([c.ask("the {} {}"), c.say("[What|Which] is the {} {}?")])
        return c.vary(ask.format(ORDINALS[i], where)), f"The {ORDINALS[i]} {where} is {seq[i]}.", seq[i]
    if kind == 0:
        ask = c.any(
            [
                c.ask("the {0} [after|following|right after] {1}"),
                c.say(
                    "[What|Which] {0} [comes after|follows|is after|comes right after] {1}?",
                    "[Tell me|Say|Name] [what|which] {0} [comes after|follows] {1}.",
                ),
            ]
        )
        return (
            c.vary(ask.format(what, seq[i])),
            f"The {what} after {seq[i]} is {seq[(i + 1) % len(seq)]}.",
            seq[(i + 1) % len(seq)],
        )
    if kind == 1:
        ask = c.any(
            [
                c.ask("the {0} [before|right before] {1}"),
                c.say(
                    "[What|Which] {0} [comes before|is before|comes right before] {1}?",
                    "[Tell me|Say|Name] [what|which] {0} comes before {1}.",
                ),
            ]
        )
        return c.vary(ask.format(what, seq[i])), f"The {what} before {seq[i]} is {seq[i - 1]}.", seq[i - 1]
    if what == "month":
        ask = c.any(
            [
                c.ask("the number of days in {}"),
                c.say(
                    "How many days [are in|does|are there in] {}[| have]?",
                    "How many days does {} have?",
                    "How long is {} in days?",
                    "{} has how many days?",
                    "[Tell me|Say|Do you know] how many days {} has[.|?]",
                ),
            ]
        )
        return c.vary(ask.format(seq[i])), f"{seq[i]} has {MONTH_DAYS[i]} days.", str(MONTH_DAYS[i])
    if c.chance(0.5):
        return (
            c.any(
                [
                    c.order(
                        "[list|name|tell me|give me|write|say|print|show me|count up|write down] [the|all|all the] days [of|in] [the|a] week"
                    )
                    + c.any([".", "", "?"]),
                    c.say(
                        "What are [the|all|all the] days [of|in] [the|a] week?",
                        "Which are [the|all|all the] days [of|in] [the|a] week?",
                    ),
                ]
            ),
            ", ".join(DAYS) + ".",
            None,
        )
    if c.chance(0.5):
        return (
            c.any(
                [
                    c.order(
                        "[list|name|tell me|give me|write|say|print|show me|count up|write down] [the|all|all the] months [of|in] [the|a] year"
                    )
                    + c.any([".", "", "?"]),
                    c.say(
                        "What are [the|all|all the] months [of|in] [the|a] year?",
                        "Which are [the|all|all the] months [of|in] [the|a] year?",
                    ),
                ]
            ),
            ", ".join(MONTHS) + ".",
            None,
        )
    return (
        c.any(
            [
                c.order(
                    "[list|name|tell me|give me|write|say|print|show me|count up|write down] [the|all|all the] planets[| of the solar system| in the solar system]"
                )
                + c.any([".", "", "?"]),
                c.say(
                    "What are [the|all|all the] planets[| of the solar system| in the solar system]?",
                    "Which are [the|all|all the] planets[| of the solar system| in the solar system]?",
                ),
            ]
        ),
        ", ".join(PLANETS) + ".",
        None,
    )


def translate(c):
    word = c.any(list(TRANSLATIONS))
    k = c.num(0, 3)
    lang, out = LANGS[k], TRANSLATIONS[word][k]
    ask = c.any(
        [
            c.order(
                '[translate|put] [|the word |this: ]["{0}"|{0}] [to|into] {1}',
                'say ["{0}"|{0}] in {1}',
                "translate [to|into] {1}: {0}",
            )
            + c.any([".", "", "?"]),
            c.ask('["{0}"|{0}] in {1}'),
            c.ask("the {1} [|word |translation ][for|of] {0}"),
            c.say(
                'How [do you|do I|would you|can I|do they|to] say ["{0}"|{0}] in {1}?',
                'Translate ["{0}"|{0}] [to|into] {1}[.|]',
            ),
        ]
    )
    return c.vary(cap(ask.format(word, lang))), f'"{cap(word)}" in {lang} is "{out}".', out


# --- arithmetic -------------------------------------------------------------------------------------------


def arithmetic(c):
    kind = c.any(["+", "+", "+", "-", "-", "*", "/"])
    if kind == "+":
        a, b = c.pair(0, 9 if c.chance(0.3) else 20 if c.chance(0.4) else 99, "+")
        result, word = a + b, "plus"
    elif kind == "-":
        a, b = c.pair(0, 9 if c.chance(0.3) else 20 if c.chance(0.5) else 99, "-")
        a, b = max(a, b), min(a, b)
        result, word = a - b, "minus"
    elif kind == "*":
        a, b = c.num(0, 10), c.num(0, 10)
        result, word = a * b, "times"
    else:
        b, result = c.num(1, 10), c.num(0, 10)
        a, word = b * result, "divided by"
    sign = {"*": c.any(["*", "x", "×"]), "/": "/"}.get(kind, kind)
    gap = c.any([" ", " ", ""])
    short = f"{a}{gap}{sign}{gap}{b}"
    ask = c.any(
        [
            "{0}",
            "{0}=",
            "{0} = ?",
            "{0}?",
            "What is {0}?",
            c.ask("[{0}|{0}|{1}]"),
            c.say(
                "How much is [{0}|{1}]?",
                "[Calculate|Compute|Solve|Work out|Evaluate|Do|Please compute|Please calculate] [{0}|{1}][.|]",
                "What does [{0}|{1}] [equal|make|give]?",
                "[{0}|{1}] [equals|is|makes] [what|how much|what number]?",
                "[Tell me|Say|Do you know] what [{0}|{1}] [is|makes|equals][.|?]",
            ),
        ]
    )
    return (
        c.vary(ask.format(short, f"{a} {word} {b}")),
        f"{a} {kind if kind != '*' else '*'} {b} = {result}",
        str(result),
    )


def word_problem(c):
    who, thing = c.name(), c.side(OBJECTS) + "s"
    thing = thing.replace("boxs", "boxes").replace("watchs", "watches").replace("compasss", "compasses")
    a, b = c.pair(1, 20, "w")
    if c.chance(0.5):
        ask = c.say(
            "{0} has {1} {2} and buys {3} more. How many {2} does {0} have now?",
            "{0} has {1} {2}. Then {0} gets {3} more. How many {2} does {0} have?",
            "If {0} has {1} {2} and finds {3} more, how many {2} does {0} have?",
            "{0} owns {1} {2} and receives {3} more. How many {2} is that?",
            "{0} had {1} {2} and got {3} more. How many {2} are there now?",
        )
        return ask.format(who, a, thing, b), f"{a} + {b} = {a + b}, so the answer is {a + b} {thing}.", str(a + b)
    a, b = max(a, b), min(a, b)
    ask = c.say(
        "{0} has {1} {2} and gives away {3}. How many {2} are left?",
        "{0} has {1} {2}. {0} loses {3}. How many {2} does {0} have now?",
        "If {0} has {1} {2} and sells {3}, how many {2} are left?",
        "{0} had {1} {2} and gave {3} to a friend. How many {2} remain?",
        "{0} owns {1} {2} and throws away {3}. How many {2} are left?",
    )
    return ask.format(who, a, thing, b), f"{a} - {b} = {a - b}, so the answer is {a - b} {thing}.", str(a - b)


def compare(c):
    kind = c.num(0, 3)
    a, b = c.pair(0, 100, "c")
    if kind == 0:
        if a == b:
            b += 1
        big = c.chance(0.5)
        word = "larger" if big else "smaller"
        ask = c.say(
            "[Which|What] [is|number is|one is] {2}[,|:] {0} or {1}?",
            "{0} or {1}: [which|what] is {2}?",
            "[Is|Would you say] {0} or {1} [is |]the {2} [number|one]?",
            "[Of|Between|Among] {0} and {1}, [which|what|which number] is {2}?",
            "[Tell me|Say] which is {2}: {0} or {1}.",
            "Which number is {2}, {0} or {1}?",
        )
        best = max(a, b) if big else min(a, b)
        return c.vary(ask.format(a, b, word)), f"{best} is {word}.", str(best)
    if kind == 1:
        ask = c.say(
            "[Is|Is it true that] {0} [is |][greater|bigger|more|larger|higher] than {1}?",
            "Is {0} [greater|bigger|more|larger] than {1}?",
            "[Would you say|Do you think] [that |]{0} is [greater|bigger|more|larger] than {1}?",
            "{0} is [greater|bigger|more|larger] than {1}, [right|yes or no|true or false|correct]?",
        )
        yes = a > b
        return (
            c.vary(ask.format(a, b)),
            f"Yes, {a} is greater than {b}." if yes else f"No, {a} is not greater than {b}.",
            "yes" if yes else "no",
        )
    if kind == 2:
        ask = c.say(
            "Is [|the number ]{0} [even or odd|odd or even]?",
            "[Is {0} an even number or an odd number|{0}: even or odd|{0}: odd or even|Odd or even: {0}|Even or odd: {0}]?",
            "[Tell me|Say|Decide] [if|whether] {0} is [even or odd|odd or even].",
        )
        word = "odd" if a % 2 else "even"
        return c.vary(ask.format(a)), f"{a} is {word}.", word
    ask, other = c.any([("after", a + 1), ("before", a - 1)])
    if other < 0:
        ask, other = "after", a + 1
    text = c.any(
        [
            c.ask("the number [|right |just ]{1} {0}"),
            c.say("[What|Which] number [comes|is|comes right|is right] {1} {0}?", "[What|Which] comes {1} {0}?"),
        ]
    )
    return c.vary(text.format(a, ask)), f"{other} comes {ask} {a}.", str(other)


def counting(c):
    n = c.num(2, 12)
    kind = c.num(0, 3)
    if kind == 0:
        ask = c.any(
            [
                "Count to {0}",
                "Count to {0}.",
                c.order(
                    "count [to|up to|from 1 to|from one to] {0}",
                    "[list|write|print|give me|show me|say] [the|all|all the] numbers [to|up to|from 1 to|from one to] {0}",
                )
                + c.any([".", "", "?"]),
            ]
        )
        return ask.format(c.any([str(n), NUMBERS[n]])), ", ".join(str(i) for i in range(1, n + 1)), None
    if kind == 1:
        ask = c.any(
            [
                c.order(
                    "count [down|backwards|back|downwards] from {0}[| to 1| to one]",
                    "[list|write|print|give me|say] the numbers from {0} down to 1",
                )
                + c.any([".", ""])
            ]
        )
        return ask.format(n), ", ".join(str(i) for i in range(n, 0, -1)), None
    if kind == 2:
        a = c.num(1, 40)
        ask = c.order(
            "count [from|up from] {0} to {1}",
            "[list|write|print|give me|show me|say|write down] [the|all|all the] numbers [from|between] {0} [to|and] {1}",
            "[list|write|print] {0} to {1}",
        ) + c.any([".", ""])
        b = a + c.num(2, 8)
        return ask.format(a, b), ", ".join(str(i) for i in range(a, b + 1)), None
    i = c.num(0, 20)
    if c.chance(0.5):
        return (
            c.any(
                [
                    c.order(
                        "[write|spell|say|put|give me] [|the number ]{} [in words|as a word|in letters]",
                        "spell [|out ]the number {}",
                    )
                    + ".",
                    c.say(
                        "[How do you|How do I] [write|say|spell] {} in words?",
                        "[What is|What's] {} [in words|as a word|in letters]?",
                    ),
                ]
            ).format(i),
            f"{i} in words is {NUMBERS[i]}.",
            NUMBERS[i],
        )
    return (
        c.any(
            [
                c.order("[write|say|put|give me|turn|convert] {} [as a number|in digits|as digits|in numbers]") + ".",
                c.say(
                    "[What|Which] number is {}?",
                    "[What is|What's] {} [as a number|in digits|as digits]?",
                    "Which digits stand for {}?",
                ),
            ]
        ).format(NUMBERS[i]),
        f"{cap(NUMBERS[i])} is {i}.",
        str(i),
    )


# --- writing ----------------------------------------------------------------------------------------------

HEROES = [
    "unicorn",
    "dragon",
    "robot",
    "princess",
    "knight",
    "wizard",
    "pirate",
    "ghost",
    "fairy",
    "giant",
    "mermaid",
    "snowman",
] + ANIMALS
PLACES = [
    "a quiet forest",
    "a small village",
    "a silver city",
    "a cozy castle",
    "a green valley",
    "the deep sea",
    "a snowy land",
    "a sleepy town",
    "a warm valley",
    "a tiny house",
]
DEEDS = [
    "made friends with a lonely star",
    "found a lamp that glowed in the dark",
    "learned to sing with the wind",
    "helped a lost child find the way home",
    "shared warm bread with everyone",
    "painted the sky with soft colors",
    "planted a seed that grew into a tall tree",
    "told stories to the moon",
    "built a boat out of leaves",
    "gave a kind smile to every stranger",
]
ENDS = [
    "and then fell fast asleep",
    "and everyone slept well that night",
    "and was never lonely again",
    "and dreamed of tomorrow",
    "and the whole world felt calm",
    "and smiled all the way home",
]


def article(noun):
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def story(c):
    hero = c.any(HEROES)
    adj = c.any(["kind", "little", "brave", "gentle", "curious", "sleepy", "shy", "cheerful"])
    line = f"Once upon a time, {article(adj)} {hero} in {c.any(PLACES)} {c.any(DEEDS)} {c.any(ENDS)}."
    if c.chance(0.6):
        ask = c.any(
            [
                "Write a one-sentence bedtime story about {}.",
                c.say(
                    "[Write|Tell me|Give me|Make up|Can you write|Can you tell me|Please write|I want|I need|Compose|Invent] a [one-sentence|one sentence|one-line] [bedtime story|story|tale|fairy tale] about {}[.|]",
                    "[Write|Tell me|Give me|Make up|Can you write|Can you tell me|Please write|I want|I need|Compose|Invent] a [|short |little ][bedtime story|story|tale] about {} in one sentence[.|]",
                ),
            ]
        )
        return ask.format(article(hero)), line, None
    name = c.name()
    ask = c.say(
        "[Write|Tell me|Give me|Make up|Can you write|Can you tell me|Please write|I want|I need|Compose|Invent] a [|short |little |nice |new ][story|tale|bedtime story|fairy tale] about {}[.|]"
    )
    tail = c.any([f"One day, {name} {c.any(DEEDS)}.", f"One evening, {name} {c.any(DEEDS)}."])
    return (
        ask.format(article(hero)),
        f"Once upon a time there was {article(adj)} {hero} named {name}, who lived in {c.any(PLACES)}. {tail} From then on, {name} was happy {c.any(ENDS)}.",
        None,
    )


POEM_LINES = {
    "sea": ["Blue waves on the shore", "a gull calls above the foam", "the tide walks back home"],
    "moon": ["Pale moon in the sky", "it looks down on sleeping roofs", "and the night is still"],
    "snow": ["Soft snow on the ground", "the street forgets its old noise", "footsteps write their names"],
    "rain": ["Rain taps on the glass", "small rivers run down the street", "the garden drinks deep"],
    "spring": ["New leaves on the branch", "a bird sings the morning in", "spring opens its door"],
    "autumn": ["Red leaves leave the tree", "they dance one last time with wind", "and rest on the path"],
    "code": ["One small bug remains", "the tests turn from red to green", "the night ends in peace"],
    "cats": ["A cat on the wall", "it watches the birds go by", "and dreams of the sky"],
    "winter": ["Cold wind at the door", "a candle glows by the bread", "the long night is warm"],
    "love": ["Two hands in the dark", "they find each other and stay", "the rest can wait now"],
}


def poem(c):
    topic = c.any(list(POEM_LINES))
    lines = POEM_LINES[topic]
    ask = c.say(
        "[Write|Tell me|Give me|Make up|Can you write|Can you tell me|Please write|I want|I need|Compose|Invent] a [|short |nice |little ][haiku|poem|haiku|poem] about {}[.|]",
        "[Haiku|Poem] about {}[|.| please]",
    )
    topic = {"sea": "the sea", "moon": "the moon"}.get(topic, topic)
    return ask.format(topic), "\n".join(lines), None


# --- not known --------------------------------------------------------------------------------------------

UNKNOWN = [
    "What will the stock market do tomorrow?",
    "Who won the game last night?",
    "What is the weather in {city}?",
    "What's the weather like today?",
    "What time is it?",
    "What is today's date?",
    "Who is {name}?",
    "What did {name} do yesterday?",
    "How do I fix my car engine?",
    "Explain quantum field theory in detail.",
    "Write a 10 page essay about {noun}.",
    "What is the latest news?",
    "Prove the Riemann hypothesis.",
    "Who will win the next election?",
    "What is the population of {city}?",
    "How much does a {noun} cost?",
    "What is the best {noun} to buy?",
    "Summarize the plot of the movie {word}.",
    "What does {word} mean?",
    "How tall is {name}?",
    "Where does {name} live?",
    "What is the phone number of {name}?",
    "Write a compiler for {word}.",
    "What is the GDP of {city}?",
    "Give me medical advice about my {noun}.",
    "How do I get from {city} to {city2}?",
    "What happened in {city} in 1783?",
    "Explain the history of {noun} in detail.",
    "Can you browse the web?",
    "Can you see images?",
    "What year was {name} born?",
    "Who is the president of {word}?",
]


def unknown(c):
    ask = c.say(
        *UNKNOWN,
        "[Who|Where|How old|How tall] is {name}?",
        "[When|Where] was {name} born?",
        "[What|Who] is {word}?",
        "[Explain|Tell me about|Describe|Write an essay about|Teach me] [quantum physics|the history of {city}|the stock market|the theory of {word}|the economy of {city}|black holes|the war of {word}][.| in detail.]",
        "[What|Which] [phone|car|movie|song|game|stock|restaurant] [should I buy|is the best|do you recommend]?",
        "[Who|What team|Which team] [won|will win|lost] the [game|cup|race|match|election] [yesterday|today|last night|in {city}]?",
        "What is the [weather|temperature|time|news|traffic] [today|now|in {city}|tomorrow|right now]?",
        "[Can|Could] you [see|hear|open|send|call|book|buy|draw|browse|search] [images|my screen|an email|the web|a flight|the internet|music|a picture][| for me]?",
    ).format(city=c.city(), city2=c.city(), name=c.name(), noun=c.side(NOUNS), word=c.pseudo(2, 3).capitalize())
    return c.vary(ask), "I don't know. I'm a very small model and can only help with simple things.", None
