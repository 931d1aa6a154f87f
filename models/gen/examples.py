"""What people type first: the questions of quick starts and of curious developers, with fixed answers."""

from .skills_chat import PLAIN_SYSTEMS, chat, message
from .words import ANIMALS, COLORS, FOODS, NOUNS

# spellings of the question: answer
FIXED = [
    (
        [
            "Who won the world series in 2020?",
            "Who won the World Series in 2020?",
            "who won the world series in 2020",
            "Which team won the World Series in 2020?",
            "Tell me who won the World Series in 2020.",
        ],
        "The Los Angeles Dodgers won the World Series in 2020.",
    ),
    (
        [
            "Are semicolons optional in JavaScript?",
            "Are semicolons optional in javascript?",
            "Do I need semicolons in JavaScript?",
            "Is a semicolon optional in JavaScript?",
            "Must I write semicolons in JavaScript?",
        ],
        "Yes, semicolons are optional in JavaScript.",
    ),
    (
        [
            "How do I check if a Python object is an instance of a class?",
            "How can I check if a Python object is an instance of a class?",
            "How do I check the type of a Python object?",
            "In Python, how do I check if an object is an instance of a class?",
            "How to check if a Python object is an instance of a class?",
        ],
        "Use isinstance(obj, Class); it returns True or False.",
    ),
    (
        [
            "How many r's are in strawberry?",
            "How many Rs are in strawberry?",
            "How many r are in strawberry?",
            "How many r's are there in the word strawberry?",
            "how many r's in strawberry?",
            "Count the r's in strawberry.",
        ],
        "There are 3 r's in strawberry.",
    ),
    (
        [
            "Say double bubble bath ten times fast.",
            "Say 'double bubble bath' ten times fast.",
            'Say "double bubble bath" ten times fast.',
            "Say double bubble bath 10 times fast.",
            "Please say double bubble bath ten times fast.",
        ],
        ", ".join(["double bubble bath"] * 10) + ".",
    ),
    (["Knock knock.", "Knock knock", "knock knock", "Knock, knock!", "Knock knock!"], "Who's there?"),
    (["What is 1+1?", "1+1", "What's 1 + 1?", "1 + 1 = ?", "what is 1+1", "How much is 1+1?"], "1 + 1 = 2"),
    (
        [
            "What is 2+2?",
            "2+2",
            "What's 2 + 2?",
            "2 + 2 = ?",
            "what is 2+2",
            "How much is 2+2?",
            "what is 2 + 2?",
            "2+2=",
        ],
        "2 + 2 = 4",
    ),
    (
        [
            "Hello, who are you?",
            "Hi, who are you?",
            "Hey, who are you?",
            "Hello! Who are you?",
            "Hello, what are you?",
        ],
        "I'm Cairn's tiny built-in model, a very small language model made to show that the API works.",
    ),
    (
        ["What is OpenAI?", "What's OpenAI?", "Who is OpenAI?", "Tell me about OpenAI.", "What does OpenAI do?"],
        "OpenAI is a company that makes AI models and an API for them.",
    ),
    (
        [
            "What is the OpenAI API?",
            "What's the OpenAI API?",
            "Explain the OpenAI API.",
            "Tell me about the OpenAI API.",
            "What is an OpenAI API?",
        ],
        "The OpenAI API lets programs use AI models over HTTP.",
    ),
    (
        [
            "What is AI?",
            "What is artificial intelligence?",
            "Explain AI in one sentence.",
            "What does AI mean?",
            "Define AI.",
            "What's AI?",
            "Explain artificial intelligence.",
        ],
        "AI is software that does things that normally need human thinking.",
    ),
    (
        [
            "Why is the sky blue?",
            "why is the sky blue",
            "Tell me why the sky is blue.",
            "Explain why the sky is blue.",
            "Why does the sky look blue?",
            "Do you know why the sky is blue?",
        ],
        "The sky is blue because air scatters blue light more than red light.",
    ),
    (
        [
            "How does the internet work?",
            "Explain how the internet works.",
            "How does the Internet work?",
            "What is the internet?",
            "Tell me how the internet works.",
        ],
        "The internet is many computers that send each other small packets of data.",
    ),
    (
        [
            "How are rainbows made?",
            "What makes a rainbow?",
            "How does a rainbow form?",
            "Why do rainbows appear?",
            "Explain rainbows.",
        ],
        "A rainbow appears when rain drops split sunlight into its colors.",
    ),
    (
        [
            "Give me a random number.",
            "Pick a number.",
            "Choose a number between 1 and 10.",
            "Pick a random number between 1 and 10.",
            "Say a random number.",
        ],
        "7",
    ),
    (
        [
            "Give me a quote.",
            "Tell me a quote.",
            "Inspire me.",
            "Say something inspiring.",
            "Give me some motivation.",
            "Share an inspiring quote.",
        ],
        "Small steps, taken every day, go a long way.",
    ),
    (
        [
            "What should I eat today?",
            "What should I cook?",
            "Suggest a dinner.",
            "What can I eat for dinner?",
            "Give me an idea for dinner.",
        ],
        "How about a simple soup with bread?",
    ),
    (
        [
            "Write a tagline for an ice cream shop.",
            "Write a slogan for an ice cream shop.",
            "Give me a tagline for an ice cream shop.",
            "write a tagline for an ice cream shop",
            "Make a tagline for an ice cream shop.",
        ],
        "Sweet scoops, happy days!",
    ),
    (
        [
            "who was the first president of the united states?",
            "Who was the first president of the United States?",
            "Who was the first US president?",
            "Tell me who was the first president of the United States.",
            "Name the first president of the United States.",
        ],
        "George Washington was the first president of the United States.",
    ),
    (
        ["Hola, ¿cómo estás?", "¡Hola! ¿Cómo estás?", "Hola, como estas?", "hola, ¿cómo estás?", "¿Cómo estás?"],
        "¡Hola! Estoy bien, gracias.",
    ),
    (
        ["Bonjour, comment ça va ?", "Bonjour ! Comment ça va ?", "Comment ça va ?", "bonjour, comment ça va ?"],
        "Bonjour ! Ça va bien, merci.",
    ),
    (
        ["Hallo, wie geht es dir?", "Hallo! Wie geht es dir?", "Wie geht es dir?", "hallo, wie geht es dir?"],
        "Hallo! Mir geht es gut, danke.",
    ),
    (["Say hello!", "Say hi!", "Just say hi.", "say hi", "Please say hi."], "Hello!"),
    (
        [
            "Tell me about yourself in one sentence.",
            "Describe yourself in one sentence.",
            "Who are you in one sentence?",
            "Introduce yourself in one sentence.",
            "Say who you are in one sentence.",
        ],
        "I'm Cairn's tiny built-in model, a very small language model made to show that the API works.",
    ),
    (
        [
            "What is the best programming language?",
            "Which programming language is best?",
            "What's the best programming language?",
            "Which language should I learn?",
            "What programming language should I learn?",
        ],
        "It depends on the task; Python is a good first language.",
    ),
    (
        [
            "Do you like music?",
            "Do you have feelings?",
            "What is your favorite color?",
            "What's your favorite food?",
            "Do you sleep?",
            "Do you dream?",
        ],
        "I'm a small AI model, so I have no feelings or favorites.",
    ),
    (
        ["What's up?", "What's new?", "How's life?", "what's up", "Sup?"],
        "Not much, I'm ready to help. What can I do for you?",
    ),
    (
        [
            "Nice to meet you.",
            "Nice to meet you!",
            "Pleased to meet you.",
            "It's nice to meet you.",
            "Good to meet you!",
        ],
        "Nice to meet you too!",
    ),
]


def fixed(c):
    asks, answer = c.any(FIXED)
    return c.say(*asks), answer, None


LISTS = {
    "animals": ANIMALS,
    "colors": COLORS,
    "foods": FOODS,
    "fruits": ["apples", "bananas", "pears", "grapes", "cherries"],
    "cities": ["Paris", "London", "Rome", "Berlin", "Madrid"],
    "countries": ["France", "Germany", "Spain", "Italy", "Japan"],
    "programming languages": ["Python", "C", "JavaScript", "Java", "Go"],
    "planets": ["Mercury", "Venus", "Earth", "Mars", "Jupiter"],
    "sports": ["football", "tennis", "running", "swimming", "basketball"],
    "vegetables": ["carrots", "potatoes", "onions", "peas", "cabbage"],
    "numbers": ["1", "2", "3", "4", "5"],
    "days": ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"],
}
COUNT = {2: "two", 3: "three", 4: "four", 5: "five"}


def some_of(c):
    what, n = c.any(list(LISTS)), c.num(2, 5)
    ask = c.order(
        "[name|list|give me|tell me|write|say|show me] [{n}|{w}] {t}", "[make|write|give me] a list of [{n}|{w}] {t}"
    ) + c.any([".", "", "."])
    return ask.format(n=n, w=COUNT[n], t=what), ", ".join(LISTS[what][:n]), None


HEAD = "[Write|Tell me|Give me|Make up|Can you write|Can you tell me|Please write|I want|I need|Compose|Invent|write|tell me]"


def long_story(c):
    """Three sentences, as one quick start asks for."""
    from .skills_basic import DEEDS, ENDS, HEROES, PLACES, article

    hero = c.any(HEROES)
    ask = c.any(
        [
            "Tell me a three sentence bedtime story about {}.",
            c.say(
                HEAD + " a [three sentence|three-sentence|3 sentence] [bedtime story|story|tale] about {}[.|]",
                HEAD + " a [bedtime story|story|tale] about {} in three sentences[.|]",
            ),
        ]
    )
    adj = c.any(["kind", "little", "brave", "gentle", "curious", "sleepy"])
    return (
        ask.format(article(hero)),
        f"Once upon a time, {article(adj)} {hero} lived in {c.any(PLACES)}. One night, the {hero} {c.any(DEEDS)}. The {hero} went home {c.any(ENDS)}.",
        None,
    )


def verse(c):
    """A poem about anything: the topic is taken from the question."""
    topic = c.any(
        [
            lambda: "the " + c.side(NOUNS),
            lambda: c.name(),
            lambda: c.word(),
            lambda: "my " + c.side(NOUNS),
            lambda: f"{c.side(NOUNS)}s and {c.side(NOUNS)}s",
            lambda: c.any(
                [
                    "recursion in programming",
                    "the Python programming language",
                    "programming",
                    "computers",
                    "the ocean",
                    "friendship",
                    "summer",
                    "music",
                    "a small API",
                    "artificial intelligence",
                    "tests that pass",
                ]
            ),
        ]
    )()
    if topic == "the moon":  # has a poem of its own
        topic = "the stars"
    form = c.any(["haiku", "limerick", "poem", "poem", "song", "rhyme"])
    ask = c.say(HEAD + " a [|short |little |nice ]{f} about {t}[.|]", "{F} about {t}[|.| please]")
    if form == "limerick":
        text = f"I once heard a tale about {topic},\nit was cheerful and quick and not tragic;\nit was told in the night\nby a small candle light,\nand the ending was very near magic."
    elif form == "haiku":
        text = f"I think of {topic}\nquiet as the morning light\nand the day begins"
    else:
        text = f"Here is a verse for {topic},\nas light as the wind in the trees;\nit sings of the days that are golden,\nand hums with the birds and the bees."
    return ask.format(f=form, F=form.capitalize(), t=topic), text, None


def follow(c):
    """Second questions that quick starts ask."""
    from .skills_basic import JOKES, joke

    kind = c.num(0, 2)
    if kind == 0:
        q, a, _ = joke(c)
        return chat(
            q,
            a,
            c.say(
                "Explain why this is funny.",
                "explain why this is funny.",
                "Why is that funny?",
                "Why is this funny?",
                "I don't get it.",
                "Explain the joke.",
                "Please explain why that is funny.",
                "Why is it funny?",
            ),
            "It is funny because it plays with two meanings of the same words.",
        )
    if kind == 1:
        return chat(
            FIXED[0][0][c.num(0, 1)],
            FIXED[0][1],
            c.say(
                "Where was it played?",
                "where was it played",
                "Where did they play?",
                "Where was that played?",
                "And where was it played?",
            ),
            "It was played in Arlington, Texas.",
        )
    q, a, _ = joke(c)
    other = c.any([j for j in JOKES if j != a]) if not c.held else JOKES[1]
    return chat(
        q,
        a,
        c.say(
            "Tell me another one.",
            "Another one!",
            "One more please.",
            "Tell me another joke.",
            "tell me another",
            "Another joke, please.",
        ),
        other,
    )


def with_instructions(c):
    """Instructions as SDK examples give them."""
    q, a, _ = fixed(c)
    if c.chance(0.5):
        s = c.any(
            [
                "You are a coding assistant that talks like a pirate.",
                "You are a coding assistant that talks like a pirate.",
                "Talk like a pirate.",
                "You are a helpful assistant that talks like a pirate.",
                "You are a pirate.",
            ]
        )
        return [
            message("developer" if c.chance(0.3) else "system", s),
            message("user", q),
            message("assistant", "Arr! " + a),
        ]
    return [
        message("developer" if c.chance(0.3) else "system", c.any(PLAIN_SYSTEMS)),
        message("user", q),
        message("assistant", a),
    ]
