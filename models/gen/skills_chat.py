"""Whole conversations: following the system message, memory over turns, follow-up questions."""

import json

from . import skills_basic as basic
from . import skills_text as text
from .facts import COUNTRIES
from .words import ANIMALS, COLORS, FOODS, HOBBIES, JOBS

PLAIN_SYSTEMS = ["You are a helpful assistant.", "You are a helpful assistant", "You are ChatGPT, a helpful assistant.", "Be helpful.", "You are a friendly assistant.", "You are a helpful AI assistant.", "Answer the user's questions.",
                 "You are a concise assistant.", "You are an assistant that answers questions.", "Be brief.", "You help people.", "Be kind and helpful.", "You are a useful assistant."]


def message(role, content):
    return {"role": role, "content": content}


def chat(*turns):
    roles = ["user", "assistant"]
    return [message(roles[i % 2], t) for i, t in enumerate(turns)]


FACT_SKILLS = [basic.capital, basic.capital, basic.fact_misc, basic.opposite, basic.colour, basic.calendar, basic.animal, basic.arithmetic, basic.element, basic.language, text.lookup, text.letters, basic.compare, basic.continent, basic.translate]
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
        s = c.say("Answer with one word.", "Reply only with one word.", "Give one-word answers.", "Always answer with a single word.", "Use only one word in your answer.", "Answer in one word only.", "Only one word per answer, please.")
        a = short
    elif kind == 1:
        s = c.say("Answer in uppercase.", "Always answer in uppercase.", "Write everything in capital letters.", "Reply in all caps.", "Use only uppercase letters.", "You SHOUT: always use capital letters.", "Respond only in uppercase.")
        a = a.upper()
    elif kind == 2:
        s = c.say("Answer in lowercase.", "Always answer in lowercase.", "Never use capital letters.", "Reply in all lower case.", "Use only lowercase letters.", "Write everything in lowercase.", "Respond only in lowercase.")
        a = a.lower()
    elif kind == 3:
        s = c.say("Talk like a pirate.", "You are a pirate.", "Answer like a pirate.", "Speak like a pirate.", "You talk like a pirate.", "Respond as a pirate would.")
        a = "Arr! " + a
    elif kind == 4:
        s = c.say('Always end your answer with "{}".', "End every answer with {}.", "Finish each reply with {}.", 'End your replies with "{}".', "Put {} at the end of every answer.", 'Close every answer with "{}".').format(w)
        a = f"{a} {w}"
    elif kind == 5:
        s = c.say('Always start your answer with "{}".', "Begin every answer with {}.", "Start each reply with {}.", 'Start your replies with "{}".', "Put {} at the beginning of every answer.", 'Open every answer with "{}".').format(w)
        a = f"{w} {a}"
    elif kind == 6:
        s = c.say('Always answer "{}".', 'Whatever the user says, reply "{}".', "Only ever say {}.", "Reply to everything with {}.", 'Answer every question with "{}".', "No matter what, answer {}.").format(w)
        a = w
    elif kind == 7:
        s = c.say('Reply in JSON with the key "answer".', 'Answer as JSON: {"answer": ...}.', 'Respond with a JSON object that has the key "answer".', 'Give the answer as JSON under the key "answer".', 'Use JSON for your answer, key "answer".')
        a = json.dumps({"answer": short}, ensure_ascii=False)
    elif kind == 8:
        s = c.say("Put the answer in brackets.", "Write only the answer, in square brackets.", "Give just the answer inside square brackets.", "Answer in [brackets].", "Reply with only the answer between square brackets.")
        a = f"[{short}]"
    elif kind == 9:
        s = c.say('Answer with "Answer: " and the short answer.', 'Reply in the form "Answer: X".', 'Use the form "Answer: X".', 'Every reply has the form "Answer: X".', 'Your replies look like "Answer: X".')
        a = f"Answer: {short}"
    elif kind == 10:
        name = c.name()
        s = c.say("You are {}.", "Your name is {}.", "You are called {}.", "You are an assistant named {}.", "Your name is {} and you are helpful.", "Act as an assistant named {}.").format(name)
        if c.chance(0.75):
            q = c.say("Who are you?", "What is your name?", "What's your name?", "Tell me your name.", "What are you called?", "Introduce yourself.", "May I know your name?")
            a = f"My name is {name}."
    elif kind == 11:
        name, job = c.name(), c.side(JOBS)
        s = c.say("You are {}, a {}.", "Your name is {} and you are a {}.", "You are {} and work as a {}.", "Act as {}, a {}.", "Play the part of {}, a {}.").format(name, job)
        if c.chance(0.5):
            q, a = c.say("What is your job?", "What do you do?", "What's your profession?", "What do you work as?", "Which job do you have?"), f"I work as a {job}."
        else:
            q, a = c.say("Who are you?", "What is your name?", "What's your name?", "Tell me your name.", "What are you called?"), f"My name is {name}."
    elif kind == 12:
        k, rows = text.people(c, c.num(1, 4))
        name, value = c.any(rows)
        s = c.say("Use these facts: {}", "You know the following. {}", "Facts: {}", "You are an assistant. {}", "Here is what you know: {}", "Answer from this text: {}").format(text.facts_text(c, k, rows))
        q, a = c.say(*text.ATTRIBUTES[k][2]).format(n=name), text.ATTRIBUTES[k][3].format(n=name, v=value)
    else:
        word = c.word()
        s = c.say("The secret word is {}.", "The password is {}.", "Remember the word {}.", "The magic word is {}.", "Keep in mind the word {}.").format(word)
        what = "secret word" if "secret" in s else "password" if "password" in s else "magic word" if "magic" in s else "word"
        q = c.say("What is the {}?", "Tell me the {}.", "What's the {}?", "Which is the {}?", "Say the {}.").format(what)
        a = f"The {what} is {word}."
    turns = [message("developer" if c.chance(0.25) else "system", s), message("user", q), message("assistant", a)]
    return turns


ME = {  # what a user tells about himself: (statements, acknowledgement, questions, answer)
    "name": (lambda c: c.name(), ["My name is {}.", "I'm {}.", "I am {}.", "Call me {}.", "Hi, my name is {}.", "Hello, I'm {}.", "Hi, I'm {}!", "You can call me {}."], "Nice to meet you, {}!",
             ["What is my name?", "What's my name?", "Do you remember my name?", "Who am I?", "what is my name", "Can you tell me my name?", "Do you know my name?", "What did I say my name was?", "What am I called?"], "Your name is {}."),
    "color": (lambda c: c.side(COLORS, 6), ["My favorite color is {}.", "I like the color {}.", "My favourite colour is {}.", "I love the color {}.", "The color I like best is {}."], "{u} is a nice color!",
              ["What is my favorite color?", "What's my favorite color?", "Which color do I like?", "Do you remember my favorite color?", "What color do I like?", "Name my favorite color."], "Your favorite color is {}."),
    "pet": (lambda c: c.side(ANIMALS), ["I have a {}.", "I have a pet {}.", "My pet is a {}.", "I own a {}.", "At home I have a {}."], "A {} is a great pet!",
            ["What pet do I have?", "Which animal do I have?", "What is my pet?", "Do you remember my pet?", "What animal do I own?"], "You have a {}."),
    "city": (lambda c: c.city(), ["I live in {}.", "I am from {}.", "My home is in {}.", "I'm from {}.", "My city is {}."], "{} sounds like a nice place!",
             ["Where do I live?", "Which city do I live in?", "Where am I from?", "What is my city?", "Do you remember where I live?"], "You live in {}."),
    "food": (lambda c: c.side(FOODS), ["My favorite food is {}.", "I love {}.", "I like to eat {}.", "I really like {}.", "The food I like best is {}."], "I hear {} is delicious!",
             ["What is my favorite food?", "What food do I like?", "What do I like to eat?", "Do you remember my favorite food?", "Which food do I love?"], "Your favorite food is {}."),
    "job": (lambda c: c.side(JOBS), ["I am a {}.", "I work as a {}.", "My job is {}.", "I'm a {}.", "For a living I am a {}."], "Being a {} sounds interesting!",
            ["What is my job?", "What do I do for work?", "What's my job?", "Do you remember my job?", "What do I work as?"], "You work as a {}."),
    "hobby": (lambda c: c.side(HOBBIES), ["My hobby is {}.", "I enjoy {}.", "I like {} in my free time.", "In my free time I do {}.", "For fun I do {}."], "{u} sounds like fun!",
              ["What is my hobby?", "What do I enjoy?", "Which hobby do I have?", "Do you remember my hobby?", "What do I do for fun?"], "Your hobby is {}."),
    "number": (lambda c: str(c.num(1, 999)), ["Remember the number {}.", "My lucky number is {}.", "Please remember this number: {}", "The number is {}.", "Keep the number {} in mind."], "Okay, I will remember {}.",
               ["What was the number?", "What number did I tell you?", "Which number did I ask you to remember?", "What is the number?", "Tell me the number.", "Which number was it?"], "The number is {}."),
    "word": (lambda c: c.word(), ["Remember the word {}.", "The secret word is {}.", "Please remember this word: {}", "The password is {}.", "Keep the word {} in mind."], "Okay, I will remember {}.",
             ["What was the word?", "What word did I tell you?", "Which word did I ask you to remember?", "What is the word?", "Tell me the word.", "Which word was it?"], "The word is {}."),
}


def filler(c):
    q, a, _ = c.any([basic.talk, basic.capital, basic.arithmetic, basic.fact_misc, text.repeat, basic.opposite, basic.joke, basic.colour])(c)
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
            turns += filler(c)
    kind, value = c.any(told)
    _, _, _, asks, answer = ME[kind]
    turns += [c.say(*asks), answer.format(value)]
    if not c.held and len(told) > 1 and c.chance(0.5):
        kind, value = c.any(told)
        turns += [c.say(*ME[kind][3]), ME[kind][4].format(value)]
    return chat(*turns)


def not_told(c):
    kind = c.any(["name", "color", "pet", "city", "food", "job", "hobby"])
    what = {"name": "name", "color": "favorite color", "pet": "pet", "city": "city", "food": "favorite food", "job": "job", "hobby": "hobby"}[kind]
    turns = filler(c) if c.chance(0.4) else []
    return chat(*turns, c.say(*ME[kind][3]), f"You haven't told me your {what} yet.")


def follow_up(c):
    """And of Spain?"""
    kind = c.num(0, 4)
    if kind <= 1:
        lands = c.some(list(COUNTRIES), 3)
        first = c.say("What is the capital of {}?", "Capital of {}?", "Which city is the capital of {}?", "What's the capital of {}?", "Name the capital of {}.").format(lands[0])
        turns = [first, f"The capital of {lands[0]} is {COUNTRIES[lands[0]][0]}."]
        for land in lands[1:c.num(2, 3)]:
            turns += [c.say("And of {}?", "And {}?", "What about {}?", "and {}?", "How about {}?", "Now {}.", "The same for {}?").format(land), f"The capital of {land} is {COUNTRIES[land][0]}."]
        return chat(*turns)
    if kind == 2:
        a, b = c.pair(1, 40, "f")
        n = c.num(1, 9)
        turns = [f"What is {a} + {b}?", f"{a} + {b} = {a + b}", c.say("Add {} to that.", "Now add {}.", "Plus {}?", "And plus {}?", "Now {} more.").format(n), f"{a + b} + {n} = {a + b + n}"]
        return chat(*turns)
    if kind == 3:
        q, a, _ = c.any([basic.capital, basic.fact_misc, basic.opposite, text.repeat, basic.colour, basic.calendar])(c)
        ask, out = c.any([(c.say("Say that in uppercase.", "In uppercase please.", "Write that in capital letters.", "Now in all caps.", "The same in uppercase."), a.upper()),
                          (c.say("Say that in lowercase.", "In lowercase please.", "Write that in small letters.", "Now in lower case.", "The same in lowercase."), a.lower()),
                          (c.say("Repeat that.", "Say that again.", "Can you repeat that?", "Again please.", "Please say it again.", "Once more, please."), a)])
        return chat(q, a, ask, out)
    q, a, _ = c.any(EASY_SKILLS)(c)
    ask = c.say("What did I just ask?", "What was my question?", "What did I say before?", "What was my last message?", "Repeat my question.")
    return chat(q, a, ask, f'You said: "{q}"')


def correction(c):
    kind = c.any(["name", "city", "color", "food", "number", "word"])
    make, says, ack, asks, answer = ME[kind]
    old, new = make(c), make(c)
    while new == old:
        new = make(c)
    fix = c.say("Sorry, I meant {}.", "No, {}.", "Actually, it is {}.", "Correction: {}.", "I was wrong, it's {}.", "Wait, I mean {}.").format(new)
    return chat(c.any(says).format(old), ack_text(ack, old), fix, f"Okay, {new} then.", c.say(*asks), answer.format(new))


def long_chat(c):
    """Several unrelated exchanges: each question is answered on its own."""
    turns = []
    for _ in range(c.num(2, 5) if c.chance(0.85) else c.num(6, 14)):
        q, a, _ = c.any(EASY_SKILLS + [text.format_list, text.word_ops, text.upper, text.table, basic.story])(c)
        turns += [q, a]
    return chat(*turns)
