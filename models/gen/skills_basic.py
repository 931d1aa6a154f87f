"""Talk, facts and arithmetic. A skill returns (question, answer, short answer or None)."""

from .facts import *  # noqa: F403  (tables only)
from .words import ADJECTIVES, ANIMALS, CITIES, COLORS, FOODS, NAMES, NOUNS, OBJECTS


def cap(text):
    return text[:1].upper() + text[1:]


# --- talk -------------------------------------------------------------------------------------------------

TALK = [
    (["Hello!", "Hi", "Hi!", "Hello", "Hey", "Hey there!", "hello there", "Hi there!", "Good day!", "Greetings!", "hello", "hi", "Hello, world!", "Hello there!", "Hey!"],
     "Hello! How can I help you today?"),
    (["Good morning!", "good morning", "Morning!", "Good morning"], "Good morning! How can I help you today?"),
    (["Good evening!", "Good evening", "good evening"], "Good evening! How can I help you today?"),
    (["Good night!", "good night", "Good night"], "Good night! Sleep well."),
    (["How are you?", "How are you doing?", "how are you", "How is it going?", "How do you do?", "How are you today?", "Are you ok?", "Hi, how are you?", "Hello, how are you?", "How have you been?"],
     "I'm doing well, thank you! How can I help you?"),
    (["Who are you?", "What are you?", "What is your name?", "What's your name?", "Tell me about yourself.", "Introduce yourself.", "who are you", "What model are you?", "Which model is this?", "Are you GPT?", "Are you ChatGPT?", "Can you introduce yourself?", "What model is this?"],
     "I'm Cairn's tiny built-in model, a very small language model made to show that the API works."),
    (["What can you do?", "What can you help me with?", "How can you help me?", "what can you do", "What are you able to do?", "What are your skills?", "What do you know?", "What can I ask you?", "What tasks can you do?"],
     "I can chat, answer simple questions, do small sums, repeat and reformat text, and find facts in what you give me."),
    (["Are you a human?", "Are you a robot?", "Are you real?", "Are you a person?", "Are you an AI?", "Are you a bot?"], "I'm a small AI model, not a person."),
    (["Who made you?", "Who created you?", "Who built you?", "Where do you come from?", "who made you"], "I was trained from scratch as part of the Cairn project."),
    (["How big are you?", "How many parameters do you have?", "Are you a large model?", "How large are you?", "Are you small?"], "I'm tiny: only a few million parameters."),
    (["Thanks!", "Thank you!", "thanks", "Thank you very much!", "Thanks a lot!", "Many thanks!", "thank you", "Cheers!", "Thank you so much!", "Thanks for your help!", "Great, thanks!"], "You're welcome!"),
    (["Bye!", "Goodbye!", "See you!", "bye", "Goodbye", "See you later!", "Bye bye!", "Take care!", "Have a nice day!", "See you tomorrow!"], "Goodbye! Have a nice day."),
    (["I am sad.", "I feel sad today.", "I'm feeling down.", "I had a bad day.", "I'm sad", "Today was a bad day."], "I'm sorry to hear that. I hope you feel better soon."),
    (["I am happy!", "I feel great today!", "I had a great day!", "I'm so happy!", "Today was a good day!"], "That's great to hear!"),
    (["Are you there?", "Can you hear me?", "Are you working?", "ping", "test", "Testing", "Is this working?", "Test", "Does this work?", "Are you online?"], "Yes, I'm here and working."),
    (["Help", "Help me", "I need help", "Can you help me?", "help", "Help!", "I need your help."], "Of course! What do you need help with?"),
    (["Tell me a fun fact.", "Tell me something interesting.", "Do you know a fun fact?", "Give me a fun fact.", "Share a fun fact."], "Honey never spoils: it can stay good for thousands of years."),
    (["I love you", "I like you.", "You are great!", "You're awesome!", "Good job!", "Well done!", "Nice work!"], "Thank you, that's kind of you!"),
    (["ok", "Ok.", "OK", "Okay.", "Alright.", "I see.", "Fine."], "Great! Is there anything else I can help with?"),
    (["What is this?", "What is Cairn?", "What's Cairn?", "Tell me about Cairn.", "What does Cairn do?"], "Cairn is a self-hosted server that speaks the OpenAI API."),
    (["Sorry", "I'm sorry.", "My mistake.", "Sorry about that.", "sorry"], "No problem at all!"),
    (["Say hello", "Say hello.", "Say hi", "Say hello!", "Please say hello.", "Can you say hello?", "Just say hello."], "Hello!"),
    (["Say hello in one sentence.", "Say hello in one sentence", "Greet me in one sentence.", "Say hello in a sentence.", "Write a one-sentence greeting.", "Give me a one-sentence hello."], "Hello, it's nice to meet you!"),
    (["Say this is a test", "Say this is a test!", "Say: this is a test", "say this is a test", "Say \"this is a test\"", "Say 'this is a test'", "Say this is a test."], "This is a test."),
]


def talk(c):
    asks, answer = c.any(TALK)
    return c.say(*asks), answer, None


def joke(c):
    ask = c.say("Tell me a joke", "Tell me a joke.", "Do you know a joke?", "Say something funny.", "Make me laugh.", "tell me a joke", "I want to hear a joke.", "Can you tell me a joke?",
                "Tell me a funny joke.", "Give me a joke.", "Got any jokes?", "Please tell me a joke.", "Know any good jokes?")
    return ask, JOKES[0] if c.held else c.any(JOKES), None


def fact_misc(c):
    stem, (answer, short) = c.any(list(MISC.items()))
    ask = c.say("{}?", "{}?", "{}", "Can you tell me {}?", "Tell me: {}?", "Do you know {}?", "I want to know: {}?", "Please answer: {}?", "Question: {}?", "Here is a question: {}?")
    text = ask.format(stem)
    if ask.startswith("Can you tell me") or ask.startswith("Do you know"):
        text = ask.format(stem)
    return c.vary(cap(text)), answer, short


def definition(c):
    term, answer = c.any(list(DEFINITIONS.items()))
    ask = c.say("What is {}?", "What's {}?", "Explain {}.", "Define {}.", "Tell me what {} is.", "Explain {} in one sentence.", "What does {} mean?", "Can you explain {}?", "Describe {} in one sentence.",
                "What exactly is {}?", "Give me a short definition of {}.", "In simple words, what is {}?", "Please explain what {} is.")
    return c.vary(ask.format(term)), answer, None


def hello_world(c):
    lang, code = c.any(list(HELLO_WORLD.items()))
    ask = c.say("Write hello world in {}.", "Write a hello world program in {}.", "Show me hello world in {}.", "How do I print hello world in {}?", "Hello world in {}", "Give me a hello world example in {}.", "Write a {} program that prints hello world.", "How do you write hello world in {}?")
    return c.vary(ask.format(lang)), f"```{lang.lower()}\n{code}\n```", None


def capital(c):
    land, (city, _, _, _) = c.any(list(COUNTRIES.items()))
    if c.chance(0.25):
        ask = c.say("Which country has the capital {}?", "{} is the capital of which country?", "What country is {} the capital of?", "Of which country is {} the capital?", "Which country's capital is {}?")
        return c.vary(ask.format(city)), f"{city} is the capital of {land}.", land
    ask = c.say("What is the capital of {}?", "What's the capital of {}?", "Capital of {}?", "Which city is the capital of {}?", "Tell me the capital of {}.", "Name the capital of {}.", "what is the capital city of {}",
                "Do you know the capital of {}?", "The capital of {} is?", "Can you tell me the capital of {}?", "What city is the capital of {}?", "I need the capital of {}.", "Please give me the capital of {}.")
    return c.vary(ask.format(land)), f"The capital of {land} is {city}.", city


def language(c):
    land, (_, lang, _, _) = c.any(list(COUNTRIES.items()))
    ask = c.say("What language is spoken in {}?", "Which language do people speak in {}?", "What is the language of {}?", "What do people speak in {}?", "Which language is spoken in {}?", "What language do they speak in {}?")
    return c.vary(ask.format(land)), f"People in {land} speak {lang}.", lang


def currency(c):
    land, (_, _, money, _) = c.any(list(COUNTRIES.items()))
    ask = c.say("What is the currency of {}?", "What currency is used in {}?", "Which currency does {} use?", "What money do people use in {}?", "What's the currency in {}?", "Which money is used in {}?")
    return c.vary(ask.format(land)), f"The currency of {land} is {money}.", None


def continent(c):
    land, (_, _, _, part) = c.any(list(COUNTRIES.items()))
    ask = c.say("On which continent is {}?", "Which continent is {} in?", "What continent is {} on?", "Where is {}?", "Is {} in Europe, Asia, Africa or America?", "In which part of the world is {}?", "Where in the world is {}?", "{} is on which continent?")
    return c.vary(cap(ask.format(land))), f"{cap(land)} is in {part}.", part


def element(c):
    name, (symbol, number) = c.any(list(ELEMENTS.items()))
    kind = c.num(0, 2)
    if kind == 0:
        ask = c.say("What is the chemical symbol for {}?", "What is the symbol of {}?", "Chemical symbol of {}?", "Which symbol stands for {}?", "What's the chemical symbol of {}?")
        return c.vary(ask.format(name)), f"The chemical symbol for {name} is {symbol}.", symbol
    if kind == 1:
        ask = c.say("Which element has the symbol {}?", "What element is {}?", "What does the chemical symbol {} stand for?", "{} is the symbol of which element?", "Name the element with the symbol {}.")
        return c.vary(ask.format(symbol)), f"{symbol} is the chemical symbol for {name}.", name
    ask = c.say("What is the atomic number of {}?", "Which atomic number does {} have?", "Atomic number of {}?", "Tell me the atomic number of {}.", "What's the atomic number of {}?")
    return c.vary(ask.format(name)), f"The atomic number of {name} is {number}.", str(number)


def author(c):
    book, who = c.any(list(AUTHORS.items()))
    ask = c.say("Who wrote {}?", "Who is the author of {}?", "Which author wrote {}?", "{} was written by whom?", "Who was {} written by?", "Tell me who wrote {}.", "Name the author of {}.")
    return c.vary(ask.format(book)), f"{who} wrote {book}.", None


def animal(c):
    if c.chance(0.5):
        name, sound = c.any(list(SOUNDS.items()))
        ask = c.say("What sound does a {} make?", "What does a {} say?", "Which sound does a {} make?", "What noise does a {} make?", "How does a {} sound?")
        return c.vary(ask.format(name)), f"A {name} says {sound}." if name != "owl" else "An owl says hoot.", sound
    name, baby = c.any(list(BABIES.items()))
    ask = c.say("What is a baby {} called?", "What do you call a baby {}?", "What is the name for a baby {}?", "A baby {} is called what?", "What's a young {} called?")
    return c.vary(ask.format(name)), f"A baby {name} is called a {baby}.", baby


def opposite(c):
    word, other = c.any(list(OPPOSITES.items()))
    ask = c.say("What is the opposite of {}?", "What's the opposite of {}?", "Opposite of {}?", "Give me the opposite of {}.", "Which word is the opposite of {}?", "Name the opposite of {}.", "What is an antonym of {}?", "Tell me the opposite of {}.", "Which word means the opposite of {}?")
    return c.vary(ask.format(word)), f"The opposite of {word} is {other}.", other


def colour(c):
    if c.chance(0.25):
        (a, b), mix = c.any(list(MIXES.items()))
        if c.chance(0.5):
            a, b = b, a
        ask = c.say("What color do you get when you mix {} and {}?", "Mix {} and {}: which color is it?", "What do {} and {} make?", "Which color do {} and {} make?", "What color is a mix of {} and {}?")
        return c.vary(ask.format(a, b)), f"Mixing {a} and {b} gives {mix}.", mix
    thing, tone = c.any(list(COLOURS.items()))
    ask = c.say("What color is {}?", "What colour is {}?", "Which color does {} have?", "Tell me the color of {}.", "What is the color of {}?", "Which color is {}?")
    return c.vary(ask.format(thing)), f"{cap(thing)} is {tone}." if thing != "grass" else "Grass is green.", tone


def calendar(c):
    seq, what = c.any([(DAYS, "day"), (MONTHS, "month"), (DAYS, "day"), (MONTHS, "month"), (PLANETS, "planet from the Sun")])
    i = c.num(0, len(seq) - 1)
    kind = c.num(0, 3)
    if seq is PLANETS or kind == 3:
        where = {"day": "day of the week", "month": "month of the year"}.get(what, what)
        ask = c.say("What is the {} {}?", "Which is the {} {}?", "Name the {} {}.", "Tell me the {} {}.", "What's the {} {}?")
        return c.vary(ask.format(ORDINALS[i], where)), f"The {ORDINALS[i]} {where} is {seq[i]}.", seq[i]
    if kind == 0:
        ask = c.say("What {0} comes after {1}?", "Which {0} comes after {1}?", "What is the {0} after {1}?", "Which {0} follows {1}?", "Name the {0} after {1}.", "What {0} follows {1}?")
        return c.vary(ask.format(what, seq[i])), f"The {what} after {seq[i]} is {seq[(i + 1) % len(seq)]}.", seq[(i + 1) % len(seq)]
    if kind == 1:
        ask = c.say("What {0} comes before {1}?", "Which {0} comes before {1}?", "What is the {0} before {1}?", "Which {0} is before {1}?", "Name the {0} before {1}.")
        return c.vary(ask.format(what, seq[i])), f"The {what} before {seq[i]} is {seq[i - 1]}.", seq[i - 1]
    if what == "month":
        ask = c.say("How many days are in {}?", "How many days does {} have?", "How long is {} in days?", "{} has how many days?", "Tell me how many days {} has.")
        return c.vary(ask.format(seq[i])), f"{seq[i]} has {MONTH_DAYS[i]} days.", str(MONTH_DAYS[i])
    if c.chance(0.5):
        return c.say("List the days of the week.", "What are the days of the week?", "Name the days of the week.", "Tell me the days of the week.", "Give me all days of the week."), ", ".join(DAYS) + ".", None
    if c.chance(0.5):
        return c.say("List the months of the year.", "What are the months of the year?", "Name all months.", "Tell me the months of the year.", "Give me all months of the year."), ", ".join(MONTHS) + ".", None
    return c.say("List the planets.", "Name the planets of the solar system.", "What are the planets?", "Which planets are there?", "Give me a list of all planets."), ", ".join(PLANETS) + ".", None


def translate(c):
    word = c.any(list(TRANSLATIONS))
    k = c.num(0, 3)
    lang, out = LANGS[k], TRANSLATIONS[word][k]
    ask = c.say("Translate {0} to {1}.", "Translate \"{0}\" into {1}.", "How do you say {0} in {1}?", "What is {0} in {1}?", "What's the {1} word for {0}?", "{0} in {1}?", "Translate {0} into {1}", "How do I say {0} in {1}?",
                "Say {0} in {1}.", "Translate to {1}: {0}", "What is the {1} for {0}?", "Please translate \"{0}\" to {1}.")
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
        a, b = c.pair(0, 10, "*")
        result, word = a * b, "times"
    else:
        b, result = c.pair(1, 10, "/")
        a, word = b * result, "divided by"
    sign = {"*": c.any(["*", "x", "×"]), "/": "/"}.get(kind, kind)
    gap = c.any([" ", " ", ""])
    short = f"{a}{gap}{sign}{gap}{b}"
    ask = c.say("What is {0}?", "{0}", "{0} = ?", "{0}=", "Calculate {0}.", "How much is {0}?", "Compute {0}", "What's {0}?", "What is {1}?", "How much is {1}?", "Solve {0}.", "{0}?", "Tell me {0}.", "What does {0} equal?", "Please compute {1}.")
    return c.vary(ask.format(short, f"{a} {word} {b}")), f"{a} {kind if kind != '*' else '*'} {b} = {result}", str(result)


def word_problem(c):
    who, thing = c.name(), c.side([o for o in OBJECTS]) + "s"
    thing = thing.replace("boxs", "boxes").replace("watchs", "watches").replace("compasss", "compasses")
    a, b = c.pair(1, 20, "w")
    if c.chance(0.5):
        ask = c.say("{0} has {1} {2} and buys {3} more. How many {2} does {0} have now?", "{0} has {1} {2}. Then {0} gets {3} more. How many {2} does {0} have?",
                    "If {0} has {1} {2} and finds {3} more, how many {2} does {0} have?", "{0} owns {1} {2} and receives {3} more. How many {2} is that?", "{0} had {1} {2} and got {3} more. How many {2} are there now?")
        return ask.format(who, a, thing, b), f"{a} + {b} = {a + b}, so the answer is {a + b} {thing}.", str(a + b)
    a, b = max(a, b), min(a, b)
    ask = c.say("{0} has {1} {2} and gives away {3}. How many {2} are left?", "{0} has {1} {2}. {0} loses {3}. How many {2} does {0} have now?",
                "If {0} has {1} {2} and sells {3}, how many {2} are left?", "{0} had {1} {2} and gave {3} to a friend. How many {2} remain?", "{0} owns {1} {2} and throws away {3}. How many {2} are left?")
    return ask.format(who, a, thing, b), f"{a} - {b} = {a - b}, so the answer is {a - b} {thing}.", str(a - b)


def compare(c):
    kind = c.num(0, 3)
    a, b = c.pair(0, 100, "c")
    if kind == 0:
        if a == b:
            b += 1
        big = c.chance(0.5)
        word = "larger" if big else "smaller"
        ask = c.say("Which is {2}, {0} or {1}?", "Which number is {2}: {0} or {1}?", "{0} or {1}: which is {2}?", "Is {0} or {1} the {2} number?", "Of {0} and {1}, which is {2}?")
        best = max(a, b) if big else min(a, b)
        return c.vary(ask.format(a, b, word)), f"{best} is {word}.", str(best)
    if kind == 1:
        ask = c.say("Is {0} greater than {1}?", "Is {0} bigger than {1}?", "Is {0} more than {1}?", "Is {0} larger than {1}?", "Would you say {0} is more than {1}?")
        yes = a > b
        return c.vary(ask.format(a, b)), f"Yes, {a} is greater than {b}." if yes else f"No, {a} is not greater than {b}.", "yes" if yes else "no"
    if kind == 2:
        ask = c.say("Is {0} even or odd?", "Is {0} an even number or an odd number?", "Is {0} odd or even?", "{0}: even or odd?", "Tell me if {0} is even or odd.")
        word = "odd" if a % 2 else "even"
        return c.vary(ask.format(a)), f"{a} is {word}.", word
    ask, other = c.any([("after", a + 1), ("before", a - 1)])
    if other < 0:
        ask, other = "after", a + 1
    text = c.say("What number comes {1} {0}?", "Which number comes {1} {0}?", "What is the number {1} {0}?", "Name the number {1} {0}.", "Which number is right {1} {0}?")
    return c.vary(text.format(a, ask)), f"{other} comes {ask} {a}.", str(other)


def counting(c):
    n = c.num(2, 12)
    kind = c.num(0, 3)
    if kind == 0:
        ask = c.say("Count to {0}", "Count to {0}.", "Count from 1 to {0}.", "Please count to {0}.", "Can you count to {0}?", "count to {0}", "Count up to {0}.")
        return ask.format(c.any([str(n), NUMBERS[n]])), ", ".join(str(i) for i in range(1, n + 1)), None
    if kind == 1:
        ask = c.say("Count down from {0}.", "Count backwards from {0}.", "Count down from {0} to 1.", "Please count down from {0}.", "Start at {0} and count down.")
        return ask.format(n), ", ".join(str(i) for i in range(n, 0, -1)), None
    if kind == 2:
        a = c.num(1, 40)
        ask = c.say("Count from {0} to {1}.", "List the numbers from {0} to {1}.", "Give me the numbers from {0} to {1}.", "Write the numbers {0} to {1}.", "Print all numbers from {0} to {1}.")
        b = a + c.num(2, 8)
        return ask.format(a, b), ", ".join(str(i) for i in range(a, b + 1)), None
    i = c.num(0, 20)
    if c.chance(0.5):
        return c.say("Write {} in words.", "Spell the number {}.", "How do you write {} in words?", "What is {} in words?", "Write the number {} as a word.").format(i), f"{i} in words is {NUMBERS[i]}.", NUMBERS[i]
    return c.say("Write {} as a number.", "What number is {}?", "Which digits stand for {}?", "Write {} in digits.", "Turn {} into digits.").format(NUMBERS[i]), f"{cap(NUMBERS[i])} is {i}.", str(i)


# --- writing ----------------------------------------------------------------------------------------------

HEROES = ["unicorn", "dragon", "robot", "princess", "knight", "wizard", "pirate", "ghost", "fairy", "giant", "mermaid", "snowman"] + ANIMALS
PLACES = ["a quiet forest", "a small village", "the silver moon", "a cozy castle", "a green valley", "the deep sea", "a snowy mountain", "a sleepy town", "a warm meadow", "a tiny island"]
DEEDS = ["made friends with a lonely star", "found a lamp that glowed in the dark", "learned to sing with the wind", "helped a lost child find the way home", "shared warm bread with everyone", "painted the sky with soft colors",
         "planted a seed that grew into a tall tree", "told stories to the moon", "built a boat out of leaves", "gave a kind smile to every stranger"]
ENDS = ["and then fell fast asleep", "and everyone slept well that night", "and was never lonely again", "and dreamed of tomorrow", "and the whole world felt calm", "and smiled all the way home"]


def article(noun):
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def story(c):
    hero = c.any(HEROES)
    adj = c.any(["kind", "little", "brave", "gentle", "curious", "sleepy", "shy", "cheerful"])
    line = f"Once upon a time, {article(adj)} {hero} in {c.any(PLACES)} {c.any(DEEDS)} {c.any(ENDS)}."
    if c.chance(0.6):
        ask = c.say("Write a one-sentence bedtime story about {}.", "Tell me a one-sentence story about {}.", "Write a short bedtime story about {} in one sentence.", "Write a one sentence story about {}.",
                    "Tell me a bedtime story about {} in one sentence.", "Give me a one-sentence story about {}.", "write a one-sentence bedtime story about {}", "Make up a one-sentence story about {}.")
        return ask.format(article(hero)), line, None
    name = c.name()
    ask = c.say("Write a short story about {}.", "Tell me a story about {}.", "Write a story about {}.", "Tell me a short story about {}.", "I want a story about {}.", "Make up a story about {}.", "Can you tell a story about {}?")
    tail = c.any([f"One day, {name} {c.any(DEEDS)}.", f"One evening, {name} {c.any(DEEDS)}."])
    return ask.format(article(hero)), f"Once upon a time there was {article(adj)} {hero} named {name}, who lived in {c.any(PLACES)}. {tail} From then on, {name} was happy {c.any(ENDS)}.", None


POEM_LINES = {"sea": ["Blue waves on the shore", "a gull calls above the foam", "the tide walks back home"], "moon": ["Pale moon in the sky", "it looks down on sleeping roofs", "and the night is still"],
              "snow": ["Soft snow on the ground", "the street forgets its old noise", "footsteps write their names"], "rain": ["Rain taps on the glass", "small rivers run down the street", "the garden drinks deep"],
              "spring": ["New leaves on the branch", "a bird sings the morning in", "spring opens its door"], "autumn": ["Red leaves leave the tree", "they dance one last time with wind", "and rest on the path"],
              "code": ["One small bug remains", "the tests turn from red to green", "the night ends in peace"], "cats": ["A cat on the wall", "it watches the birds go by", "and dreams of the sky"],
              "winter": ["Cold wind at the door", "a candle glows by the bread", "the long night is warm"], "love": ["Two hands in the dark", "they find each other and stay", "the rest can wait now"]}


def poem(c):
    topic = c.any(list(POEM_LINES))
    lines = POEM_LINES[topic]
    ask = c.say("Write a haiku about {}.", "Write a poem about {}.", "Write a short poem about {}.", "Give me a haiku about {}.", "Compose a haiku about {}.", "Can you write a poem about {}?", "I want a haiku about {}.", "Please write a haiku about {}.", "Make a short poem about {}.")
    topic = {"sea": "the sea", "moon": "the moon"}.get(topic, topic)
    return ask.format(topic), "\n".join(lines), None


# --- not known --------------------------------------------------------------------------------------------

UNKNOWN = ["What will the stock market do tomorrow?", "Who won the game last night?", "What is the weather in {city}?", "What's the weather like today?", "What time is it?", "What is today's date?", "Who is {name}?",
           "What did {name} do yesterday?", "How do I fix my car engine?", "Explain quantum field theory in detail.", "Write a 10 page essay about {noun}.", "What is the latest news?", "Prove the Riemann hypothesis.",
           "Who will win the next election?", "What is the population of {city}?", "How much does a {noun} cost?", "What is the best {noun} to buy?", "Summarize the plot of the movie {word}.", "What does {word} mean?",
           "How tall is {name}?", "Where does {name} live?", "What is the phone number of {name}?", "Write a compiler for {word}.", "What is the GDP of {city}?", "Give me medical advice about my {noun}.", "How do I get from {city} to {city2}?",
           "What happened in {city} in 1783?", "Explain the history of {noun} in detail.", "Can you browse the web?", "Can you see images?", "What year was {name} born?", "Who is the president of {word}?"]


def unknown(c):
    ask = c.say(*UNKNOWN).format(city=c.city(), city2=c.city(), name=c.name(), noun=c.side(NOUNS), word=c.pseudo(2, 3).capitalize())
    return c.vary(ask), "I don't know. I'm a very small model and can only help with simple things.", None
