"""Whole conversations: following the system message, memory over turns, follow-up questions."""

import json

from . import skills_basic as basic
from . import skills_text as text
from .facts import COUNTRIES
from .words import ANIMALS, COLORS, FOODS, HOBBIES, JOBS

PLAIN_SYSTEMS = [
    "You are a helpful assistant.",
    "You are a helpful assistant",
    "You are ChatGPT, a helpful assistant.",
    "Be helpful.",
    "You are a friendly assistant.",
    "You are a helpful AI assistant.",
    "Answer the user's questions.",
    "You are a concise assistant.",
    "You are an assistant that answers questions.",
    "Be brief.",
    "You help people.",
    "Be kind and helpful.",
    "You are a useful assistant.",
]


def message(role, content):
    return {"role": role, "content": content}


def chat(*turns):
    roles = ["user", "assistant"]
    return [message(roles[i % 2], t) for i, t in enumerate(turns)]


FACT_SKILLS = [
    basic.capital,
    basic.capital,
    basic.fact_misc,
    basic.opposite,
    basic.colour,
    basic.calendar,
    basic.animal,
    basic.arithmetic,
    basic.element,
    basic.language,
    text.lookup,
    text.letters,
    basic.compare,
    basic.continent,
    basic.translate,
]
EASY_SKILLS = FACT_SKILLS + [basic.talk, basic.definition, text.repeat, basic.author]


def with_short(c):
    while True:
        q, a, short = c.any(FACT_SKILLS)(c)
        if short:
            return q, a, short


def system_style(c):
    """The system message asks for a form; the same question would otherwise get the plain answer."""
    kind = c.num(0, 13)
    q, a, short = with_short(c) if kind in (0, 7, 8, 9) else c.any(EASY_SKILLS)(c)
    w = c.word()
    if kind == 0:
        s = c.say(
            "[Answer|Reply|Respond|Always answer|Always reply|Please answer|You answer|You reply] [with|in|using] [one word|one word only|only one word|a single word|just one word][.|, nothing else.]",
            "[Use|Give|Write|Say] [only one word|a single word|one word] [in your answer|in each answer|as your answer|in every reply|per answer].",
            "[Give|Use] one-word [answers|replies].",
            "[Only one word|One word] per [answer|reply], please.",
        )
        a = short
    elif kind == 1:
        s = c.say(
            "[Answer|Reply|Respond|Always answer|Always reply|Please answer|You answer|You reply|Write|Speak] [in uppercase|in upper case|in capital letters|in all caps|in capitals|only in uppercase|only in capital letters].",
            "[Use|Write with] [only|just|nothing but] [uppercase|capital|upper case] letters.",
            "[Your answers|All answers|All your replies|Everything you write] must be in [uppercase|capital letters|all caps|capitals].",
            "You SHOUT: [always|] use capital letters.",
        )
        a = a.upper()
    elif kind == 2:
        s = c.say(
            "[Answer|Reply|Respond|Always answer|Always reply|Please answer|You answer|You reply|Write|Speak] [in lowercase|in lower case|in small letters|only in lowercase|only in small letters|in all lower case].",
            "[Use|Write with] [only|just|nothing but] [lowercase|small|lower case] letters.",
            "[Your answers|All answers|All your replies|Everything you write] must be in [lowercase|small letters|lower case].",
            "[Never|Do not|You never] use [capital|uppercase] letters.",
        )
        a = a.lower()
    elif kind == 3:
        s = c.say(
            "[Talk|Speak|Answer|Reply|Respond|Write|Always talk|Always answer|You talk|You speak|Please talk] [like|as|like a real] [a |]pirate[.| would.]",
            "[You are|Act like|Pretend to be|Be|Play|You play] a pirate.",
            "You are a [friendly|helpful|funny|old] pirate.",
        )
        a = "Arr! " + a
    elif kind == 4:
        s = c.say(
            '[Always end|End|Finish|Close|Conclude] [your answer|every answer|each answer|each reply|every reply|your replies|all answers|your answers] with [{}|"{}"|the word {}].',
            '[Put|Write|Add|Say] [{}|"{}"|the word {}] at the end of [your answer|every answer|each reply|your replies].',
            '[Every answer|Each reply|Your answer|All replies] must end with [{}|"{}"].',
        ).format(w)
        a = f"{a} {w}"
    elif kind == 5:
        s = c.say(
            '[Always start|Start|Begin|Open|Always begin] [your answer|every answer|each answer|each reply|every reply|your replies|all answers|your answers] with [{}|"{}"|the word {}].',
            '[Put|Write|Add|Say] [{}|"{}"|the word {}] at the [start|beginning] of [your answer|every answer|each reply|your replies].',
            '[Every answer|Each reply|Your answer|All replies] must [start|begin] with [{}|"{}"].',
        ).format(w)
        a = f"{w} {a}"
    elif kind == 6:
        s = c.say(
            '[Always|Only ever|Only|Just] [answer|reply|say|respond with|answer with|reply with] [{}|"{}"][.|, nothing else.]',
            '[Whatever|No matter what] the user [says|asks|wants|writes], [answer|reply|say] [{}|"{}"].',
            '[Answer|Reply to|Respond to] [everything|every question|every message|all questions] with [{}|"{}"].',
            '[Your only answer is|The only answer is|You can only say] [{}|"{}"].',
        ).format(w)
        a = w
    elif kind == 7:
        s = c.any(
            [
                'Reply in JSON with the key "answer".',
                c.say(
                    '[Reply|Answer|Respond|Always reply|Always answer] [in|as|with|using] [JSON|a JSON object] [with the key "answer"|that has the key "answer"|under the key "answer"|, key "answer"].',
                    '[Give|Write|Put|Return] [the|your|each|every] answer [as|in] [JSON|a JSON object] [with|under] the key "answer".',
                    '[Use|Write|Output|Return] [only |]JSON [for your answer|in your replies|], [the |]key [is |]"answer".',
                ),
            ]
        )
        a = json.dumps({"answer": short}, ensure_ascii=False)
    elif kind == 8:
        s = c.say(
            "[Put|Write|Give|Place|Return] [the|only the|just the|your] answer [in|inside|between] [brackets|square brackets|[[brackets]]].".replace(
                "|[[brackets]]", ""
            ),
            "[Reply|Answer|Respond] with [only|just] the answer [in|inside|between] [brackets|square brackets].",
            "[Answer|Reply|Always answer|Respond] in [brackets|square brackets].",
        )
        a = f"[{short}]"
    elif kind == 9:
        s = c.any(
            [
                'Use the form "Answer: X".',
                c.say(
                    '[Answer|Reply|Respond|Always answer|Always reply] [in the form|in the format|like this:|as|using the form] "Answer: X".',
                    '[Every reply|Each answer|Your answer|Every answer|All answers] [has|must have|should have|takes] the [form|format] "Answer: X".',
                    '[Write|Put|Say|Start with] "Answer: " [and then|followed by|before|and] the short answer.',
                ),
            ]
        )
        a = f"Answer: {short}"
    elif kind == 10:
        name = c.name()
        s = c.any(
            [
                "You are {}.",
                c.say(
                    "[You are|Your name is|You are called|Act as|Be|They call you|You go by the name|From now on you are|Pretend to be] {}[.|, an assistant.|, a helpful assistant.| and you are helpful.]",
                    "You are [an assistant|a bot|a helper|a chatbot|a helpful assistant|a robot] [named|called|with the name] {}.",
                ),
            ]
        ).format(name)
        if c.chance(0.75):
            q = c.any(
                [
                    c.ask("your name"),
                    c.say(
                        "[Who are you|What are you called|How are you called|Introduce yourself|Say your name|Who is this|With whom am I talking][?|]",
                        "Who are you?",
                        "[Hello|Hi], [who are you|what is your name]?",
                    ),
                ]
            )
            a = f"My name is {name}."
    elif kind == 11:
        name, job = c.name(), c.side(JOBS)
        s = c.say(
            "[You are|Act as|Play|Be|Pretend to be|Play the part of] {}, a {}.",
            "[Your name is|You are|You are called] {} and you [are|work as] a {}.",
            "You are {} and work as a {}.",
            "[You play|You act as] a [|]person named {} who is a {}.",
        ).format(name, job)
        if c.chance(0.5):
            q, a = (
                c.any(
                    [
                        c.ask("your [job|profession]"),
                        c.say(
                            "What do you [do|do for work|work as|do for a living]?",
                            "[Which|What] [job|profession] do you have?",
                        ),
                    ]
                ),
                f"I work as a {job}.",
            )
        else:
            q, a = (
                c.any(
                    [
                        c.ask("your name"),
                        c.say(
                            "Who are you?",
                            "[What are you called|How are you called|Introduce yourself|Say your name][?|]",
                        ),
                    ]
                ),
                f"My name is {name}.",
            )
    elif kind == 12:
        k, rows = text.people(c, c.num(1, 4))
        name, value = c.any(rows)
        s = c.say(
            "[Use|Answer from|Rely on|Answer with|Work with] [these facts|this text|this information|the following|only these facts]: {}",
            "[You know the following|Here is what you know|Facts|This is what you know|You are an assistant|What you know|Known facts][:|.] {}",
        ).format(text.facts_text(c, k, rows))
        q, a = text.about(c, text.ATTRIBUTES[k][2]).format(n=name), text.ATTRIBUTES[k][3].format(n=name, v=value)
    else:
        word = c.word()
        s = c.say(
            "[The|Your|Our] [secret word|password|magic word] is {}[.|. Keep it in mind.| today.]",
            "[Remember|Keep in mind|Do not forget|Note] [that |]the [secret word|password|magic word] [is|] {}.",
            "[Remember|Keep in mind|Do not forget|Note] the word {}.",
        ).format(word)
        what = (
            "secret word"
            if "secret" in s
            else "password" if "password" in s else "magic word" if "magic" in s else "word"
        )
        q = c.any(
            [
                c.ask("the {}"),
                c.say("[Which|What] {} [is it|do you know|did you get|was it]?", "[What is|What was] the {}?"),
            ]
        ).format(what)
        a = f"The {what} is {word}."
    turns = [message("developer" if c.chance(0.25) else "system", s), message("user", q), message("assistant", a)]
    return turns


# what a user tells about himself: value maker, statements, acknowledgement, questions ("<": a thing to ask for), answer
ME = {
    "name": (
        lambda c: c.name(),
        [
            "My name is {}.",
            "I'm {}.",
            "I am {}.",
            "Call me {}.",
            "Hi, my name is {}.",
            "Hello, I'm {}.",
            "Hi, I'm {}!",
            "You can call me {}.",
            "My name's {}.",
        ],
        "Nice to meet you, {}!",
        [
            "<my name",
            "<my name",
            "[Do you remember|Do you know|Can you tell me|Do you still know] my name?",
            "[Who am I|What am I called|How am I called|Do you know who I am]?",
            "What did I say my name [was|is]?",
        ],
        "Your name is {}.",
    ),
    "color": (
        lambda c: c.side(COLORS),
        [
            "My favorite color is {}.",
            "I like the color {}.",
            "My favourite colour is {}.",
            "I love the color {}.",
            "The color I like best is {}.",
        ],
        "{u} is a nice color!",
        [
            "<my favorite color",
            "[Which|What] color do I [like|like best|love|prefer]?",
            "[Do you remember|Do you know] my favorite color?",
            "[Do you remember|Do you know|Tell me] which color I like[?|.]",
        ],
        "Your favorite color is {}.",
    ),
    "pet": (
        lambda c: c.side(ANIMALS),
        ["I have a {}.", "I have a pet {}.", "My pet is a {}.", "I own a {}.", "At home I have a {}."],
        "A {} is a great pet!",
        [
            "<my pet",
            "[Which|What] [pet|animal] do I [have|own]?",
            "[Do you remember|Do you know] my pet?",
            "[Do you remember|Do you know|Tell me] which [pet|animal] I have[?|.]",
        ],
        "You have a {}.",
    ),
    "city": (
        lambda c: c.city(),
        ["I live in {}.", "I am from {}.", "My home is in {}.", "I'm from {}.", "My city is {}."],
        "{} sounds like a nice place!",
        [
            "<my city",
            "[Where|In which city] do I live?",
            "[Which|What] city do I live in?",
            "Where am I from?",
            "[Do you remember|Do you know|Tell me] where I [live|am from][?|.]",
        ],
        "You live in {}.",
    ),
    "food": (
        lambda c: c.side(FOODS),
        [
            "My favorite food is {}.",
            "I love {}.",
            "I like to eat {}.",
            "I really like {}.",
            "The food I like best is {}.",
        ],
        "I hear {} is delicious!",
        [
            "<my favorite food",
            "[Which|What] food do I [like|love|prefer]?",
            "What do I like to eat?",
            "[Do you remember|Do you know] my favorite food?",
            "[Do you remember|Do you know|Tell me] what food I like[?|.]",
        ],
        "Your favorite food is {}.",
    ),
    "job": (
        lambda c: c.side(JOBS),
        ["I am a {}.", "I work as a {}.", "My job is {}.", "I'm a {}.", "For a living I am a {}."],
        "Being a {} sounds interesting!",
        [
            "<my [job|profession]",
            "What do I [do|do for work|work as|do for a living]?",
            "[Do you remember|Do you know] my job?",
            "[Which|What] job do I have?",
        ],
        "You work as a {}.",
    ),
    "hobby": (
        lambda c: c.side(HOBBIES),
        [
            "My hobby is {}.",
            "I enjoy {}.",
            "I like {} in my free time.",
            "In my free time I do {}.",
            "For fun I do {}.",
        ],
        "{u} sounds like fun!",
        [
            "<my hobby",
            "What do I [enjoy|do for fun|do in my free time]?",
            "[Do you remember|Do you know] my hobby?",
            "[Which|What] hobby do I have?",
        ],
        "Your hobby is {}.",
    ),
    "number": (
        lambda c: str(c.num(1, 999)),
        [
            "Remember the number {}.",
            "My lucky number is {}.",
            "Please remember this number: {}",
            "The number is {}.",
            "Keep the number {} in mind.",
        ],
        "Okay, I will remember {}.",
        [
            "<the number",
            "[Which|What] number [was it|did I tell you|did I ask you to remember|did I say]?",
            "What was the number?",
            "[Do you remember|Do you know] the number?",
        ],
        "The number is {}.",
    ),
    "word": (
        lambda c: c.word(),
        [
            "Remember the word {}.",
            "The secret word is {}.",
            "Please remember this word: {}",
            "The password is {}.",
            "Keep the word {} in mind.",
        ],
        "Okay, I will remember {}.",
        [
            "<the word",
            "[Which|What] word [was it|did I tell you|did I ask you to remember|did I say]?",
            "What was the word?",
            "[Do you remember|Do you know] the word?",
        ],
        "The word is {}.",
    ),
}


def filler(c):
    q, a, _ = c.any(
        [
            basic.talk,
            basic.capital,
            basic.arithmetic,
            basic.fact_misc,
            text.repeat,
            basic.opposite,
            basic.joke,
            basic.colour,
        ]
    )(c)
    while "name" in q or "I'm" in q:
        q, a, _ = c.any([basic.capital, basic.arithmetic, basic.fact_misc])(c)
    return [q, a]


def ack_text(template, value):
    return template.replace("{u}", value[:1].upper() + value[1:]).replace("{}", value)


def recall(c):
    """The user says something about himself and asks for it later."""
    kinds = c.some(list(ME), c.any([1, 1, 2, 2, 3]))
    turns, told = [], []
    for kind in kinds:
        make, says, ack, asks, answer = ME[kind]
        value = make(c)
        told.append((kind, value))
        turns += [c.any(says).format(value), ack_text(ack, value)]
        if c.chance(0.3):
            for _ in range(c.num(2, 16) if c.chance(0.2) else 1):
                turns += filler(c)
    kind, value = c.any(told)
    _, _, _, asks, answer = ME[kind]
    turns += [text.about(c, asks), answer.format(value)]
    if not c.held and len(told) > 1 and c.chance(0.5):
        kind, value = c.any(told)
        turns += [text.about(c, ME[kind][3]), ME[kind][4].format(value)]
    return chat(*turns)


def not_told(c):
    kind = c.any(["name", "color", "pet", "city", "food", "job", "hobby"])
    what = {
        "name": "name",
        "color": "favorite color",
        "pet": "pet",
        "city": "city",
        "food": "favorite food",
        "job": "job",
        "hobby": "hobby",
    }[kind]
    turns = filler(c) if c.chance(0.4) else []
    return chat(*turns, text.about(c, ME[kind][3]), f"You haven't told me your {what} yet.")


def follow_up(c):
    """And of Spain?"""
    kind = c.num(0, 4)
    if kind <= 1:
        lands = c.some(list(COUNTRIES), 3)
        first = c.say(
            "What is the capital of {}?",
            "Capital of {}?",
            "Which city is the capital of {}?",
            "What's the capital of {}?",
            "Name the capital of {}.",
        ).format(lands[0])
        turns = [first, f"The capital of {lands[0]} is {COUNTRIES[lands[0]][0]}."]
        for land in lands[1 : c.num(2, 3)]:
            turns += [
                c.any(
                    [
                        c.say("And of {}?", "And {}?", "What about {}?", "How about {}?"),
                        c.say(
                            "[and|And|Now|And now|And what about|What about|How about|And for|Same for|The same for|Now for|Also|And then|Ok, and|Then] [|the capital of |that of ]{}[?|.|]"
                        ),
                    ]
                ).format(land),
                f"The capital of {land} is {COUNTRIES[land][0]}.",
            ]
        return chat(*turns)
    if kind == 2:
        a, b = c.pair(1, 40, "f")
        n = c.num(1, 9)
        turns = [
            f"What is {a} + {b}?",
            f"{a} + {b} = {a + b}",
            c.say(
                "[Add|Now add|And add|Please add|Then add|Also add] {}[| to that| to it| more][.|]",
                "[Plus|And plus|Now plus] {}[?|.|]",
                "[And|Now] {} more[.|?]",
            ).format(n),
            f"{a + b} + {n} = {a + b + n}",
        ]
        return chat(*turns)
    if kind == 3:
        q, a, _ = c.any([basic.capital, basic.fact_misc, basic.opposite, text.repeat, basic.colour, basic.calendar])(
            c
        )
        ask, out = c.any(
            [
                (
                    c.say(
                        "[Say that|Say it|Now say it|Say that again|Repeat that|Repeat it|Write that|Write it|Now write it|Again, but|Now|The same|The same, but|Once more|Please] in [uppercase|capital letters|all caps|upper case|capitals][.| please.]",
                        "In [uppercase|capital letters|all caps] please.",
                    ),
                    a.upper(),
                ),
                (
                    c.say(
                        "[Say that|Say it|Now say it|Say that again|Repeat that|Repeat it|Write that|Write it|Now write it|Again, but|Now|The same|The same, but|Once more|Please] in [lowercase|small letters|lower case][.| please.]",
                        "In [lowercase|small letters] please.",
                    ),
                    a.lower(),
                ),
                (
                    c.say(
                        "[Repeat|Please repeat|Can you repeat|Could you repeat] [that|it|your answer|your last answer][.|?]",
                        "[Say|Please say|Can you say|Tell me] [that|it] [again|once more|one more time][.|?]",
                        "[Again|Once more|One more time][, please|][.|]",
                    ),
                    a,
                ),
            ]
        )
        return chat(q, a, ask, out)
    q, a, _ = c.any(EASY_SKILLS)(c)
    ask = c.say(
        "What did I [just |][ask|say|write|want to know][| before| just now| first]?",
        "[What was|Repeat|Say|Tell me|Do you remember] my [last |][question|message][?|.]",
        "What was my [last |][question|message]?",
    )
    return chat(q, a, ask, f'You said: "{q}"')


def correction(c):
    kind = c.any(["name", "city", "color", "food", "number", "word"])
    make, says, ack, asks, answer = ME[kind]
    old, new = make(c), make(c)
    while new == old:
        new = make(c)
    fix = c.say(
        "[Sorry|Oh|Oops|No|Wait|Hm|Ah], I [meant|mean|meant to say] {}.",
        "[Actually|No|Sorry|Wait], [it is|it's|make it|that is] {}.",
        "[Correction|Sorry|No|I was wrong]: {}.",
        "I was wrong, [it is|it's] {}.",
        "No, {}.",
    ).format(new)
    return chat(
        c.any(says).format(old),
        ack_text(ack, old),
        fix,
        f"Okay, {new} then.",
        text.about(c, asks),
        answer.format(new),
    )


def long_chat(c):
    """Several unrelated exchanges: each question is answered on its own."""
    turns = []
    for _ in range(c.any([c.num(2, 5), c.num(2, 5), c.num(2, 5), c.num(6, 14), c.num(15, 40)])):
        q, a, _ = c.any(EASY_SKILLS + [text.format_list, text.word_ops, text.upper, text.table, basic.story])(c)
        turns += [q, a]
    return chat(*turns)
