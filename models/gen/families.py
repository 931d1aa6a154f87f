"""The functions of first examples: weather, sums, search, mail, lights, dice, hand-offs. They are learnt by name, with
values that differ between the sides; functions.py makes the ones that nobody has seen."""

from .functions import CURRENCIES, Function, Param, date, details, email, join, phrase, time
from .words import ANIMALS, COLORS, FOODS, HOBBIES, NOUNS

SKIES = "sunny cloudy rainy windy foggy snowy warm cold clear stormy hot mild".split()
ROOMS = ["kitchen", "bedroom", "living room", "bathroom", "office", "hall", "garage", "garden", "attic", "cellar"]
SIGNS = "Aries Taurus Gemini Cancer Leo Virgo Libra Scorpio Sagittarius Capricorn Aquarius Pisces".split()
TICKERS = "AAPL MSFT GOOG AMZN NVDA TSLA META NFLX AMD INTC IBM ORCL".split()


def number_of(c, low=0, high=999):
    high = high if c.chance(0.8) else high * 10
    return c.num(low, high) if c.chance(0.8) else round(c.num(low, high * 10) / 10, 1)


def param(c, kind, name, make=None, required=True, choices=None):
    p = Param(c, kind, c.any(name.split()), required, choices)
    if make:
        p.make = make
    return p


def short(said, values):
    """A result that is one value, and the sentence that says it."""

    def result(c, arguments):
        value = values(c, arguments)
        return str(value), said.format(value, **arguments)

    return result


def done(texts):
    """A result that says no more than that it is done."""
    return lambda c, arguments: (c.any(texts), "Done.")


def weather(c):
    units = c.any([["celsius", "fahrenheit"], ["c", "f"], ["metric", "imperial"], ["celsius", "fahrenheit", "kelvin"]])
    p = [Param(c, "city", c.any(["city", "location", "location", "place", "city_name"]))]
    if c.chance(0.15):
        p[0].make = lambda c: c.any(["sf", "nyc", "la", "San Francisco", "New York", "London", "San Francisco, CA"])
    if c.chance(0.4):
        p.append(Param(c, "choice", c.any(["unit", "units"]), c.chance(0.4), units))
    where = p[0].name

    def result(c, arguments):
        city, sky, t = arguments[where], c.any(SKIES), c.num(-9, 99)
        kind = c.num(0, 8)
        if kind < 4:
            text = c.any(
                [f"It is {sky} in {city}.", f"The weather in {city} is {sky}.", f"It's always {sky} in {city}!"]
                + [f"It is {t} degrees and {sky} in {city}.", f"The weather in {city} is {sky} with {t} degrees."]
            )
            return text, text
        if kind < 6:
            bare = c.any([sky, f"{t} degrees", f"{t} degrees and {sky}", f"{sky}, {t}°C", f"{t}°F", t, t / 10])
            return str(bare), f"The weather in {city} is {bare}."
        if kind == 6:
            return details(c, {**arguments, "temperature": str(t)})
        given = arguments.get("unit", c.any(["celsius", "fahrenheit"]))
        fields = c.any(
            [{"temperature": t, "unit": given}, {"location": city, "temperature": str(t)}, {"temperature": t}]
        )
        fields = fields if c.chance(0.6) else {**fields, c.any(["conditions", "forecast", "condition"]): sky}
        said = join([f"the {k} is {v}" for k, v in fields.items()])
        body = ", ".join(f'"{k}": ' + (str(v) if isinstance(v, int) else f'"{v}"') for k, v in fields.items())
        return "{" + body + "}", said[:1].upper() + said[1:] + "."

    return Function(
        c.any(
            "get_weather get_weather get_current_weather getWeather weather fetch_weather get_weather_for_city".split()
        ),
        c.any(
            ["Get the weather", "Get weather for a given city.", "Get the current weather in a given location"]
            + ["Get current temperature for a given location.", "Fetch the weather for a location.", ""]
        ),
        p,
        [
            "What is the weather in {0}?",
            "What's the weather in {0}?",
            "what is the weather in {0}",
            "What is the weather like in {0}?",
            "What's the weather like in {0} today?",
            "How is the weather in {0}?",
            c.say(
                "[How's|How is|Tell me|Get|Check|Show me] the weather [in|for|of] {0}[?|.|]",
                "[Is it|Will it be] [cold|warm|raining|sunny|hot] in {0}[| today| now]?",
                "[What|What is] the [temperature|forecast] [in|for] {0}[| today| now][?|]",
                "[Do I need|Should I take] [an umbrella|a coat] in {0}[| today]?",
                "[Give me|I need|Find] the [weather|forecast|current weather] [for|in] {0}[.|, please.]",
            ),
        ],
        result,
    )


SUMS = [
    (
        "add sum plus add_numbers",
        "Add two numbers",
        ["Add {0} and {1}", "What is {0} + {1}?", "What is {0} plus {1}?", "Calculate {0} + {1}"],
    ),
    (
        "multiply product mul multiply_numbers times",
        "Multiply two numbers",
        [
            "Multiply {0} by {1}",
            "What is {0} * {1}?",
            "What is {0} times {1}?",
            "What's {0} multiplied by {1}?",
            "Calculate {0} * {1}",
        ],
    ),
    (
        "subtract minus sub",
        "Subtract b from a",
        ["What is {0} - {1}?", "What is {0} minus {1}?", "Compute {0} minus {1}"],
    ),
    ("divide div", "Divide a by b", ["Divide {0} by {1}", "What is {0} / {1}?", "What is {0} divided by {1}?"]),
    ("power pow exponentiate", "Raise a to the power of b", ["What is {0} to the power of {1}?", "Raise {0} to {1}"]),
]


def summing(c, which=None):
    names, about, asks = which or c.any(SUMS)
    kind = c.any(["integer", "number"])
    first, second = c.any([("a", "b"), ("a", "b"), ("x", "y"), ("first", "second"), ("num1", "num2")])
    make = number_of if kind == "number" else lambda c: c.num(0, 999)
    f = Function(
        c.any(names.split()),
        c.any([about, about + ".", about + " together.", "", f"{about} and return the result."]),
        [param(c, kind, first, make), param(c, kind, second, make)],
        asks + [c.say("[Please|Can you|I want you to] " + asks[0][:1].lower() + asks[0][1:])],
        short("The result is {0}.", lambda c, a: number_of(c, 0, 10 ** c.num(1, 6))),
    )
    f.meaning = names
    return f


def calculator(c):
    def expression(c):
        sign = lambda: c.any(["+", "-", "*", "/"])
        text = f"{c.num(0, 999)} {sign()} {c.num(1, 999)}"
        return text if c.chance(0.7) else text + f" {sign()} {c.num(1, 99)}"

    return Function(
        c.any("calculator calculate evaluate calc math eval_expression".split()),
        c.any(["Evaluate a mathematical expression", "Calculate an expression.", "A calculator for math", "Do math"]),
        [param(c, "text", "expression expression expr input query", expression)],
        [
            "What is {0}?",
            "Calculate {0}",
            "{0}",
            "What's {0}?",
            c.say("[Compute|Evaluate|Work out|How much is|Please calculate] {0}[.|?|]"),
        ],
        short("The result is {0}.", lambda c, a: number_of(c, 0, 99999)),
    )


def clock(c):
    p = [param(c, "city", "city timezone location", required=c.chance(0.5))] if c.chance(0.4) else []
    return Function(
        c.any("get_time get_current_time current_time time_now get_datetime getCurrentTime".split()),
        c.any(["Get the current time", "Returns the current time.", "Get current date and time"]),
        p,
        (
            ["What time is it in {0}?", "What's the time in {0}?"]
            if p
            else [
                "What time is it?",
                "What is the time?",
                "what time is it now",
                "What time is it right now?",
                c.say("[Tell me|Get|Show me|I need] the [time|current time][.|, please.|]"),
            ]
        ),
        short("It is {0}.", lambda c, a: f"{c.num(0, 23)}:{c.num(0, 59):02}"),
    )


def search(c):
    def result(c, arguments):
        found = f"{c.name()} {c.any(['lives', 'works', 'was born'])} in {c.city()}."
        found = (
            found
            if c.chance(0.6)
            else f"The {c.side(NOUNS)} was {c.any(['found', 'made', 'seen'])} in {c.num(1500, 2024)}."
        )
        return found, found

    topic = lambda c: c.any(
        [
            lambda: phrase(c),
            lambda: f"{c.any(['best', 'cheap', 'good'])} {c.side(FOODS)} in {c.city()}",
            lambda: c.name(),
        ]
    )()
    p = [param(c, "text", "query query q question search_term", topic)]
    if c.chance(0.2):
        p.append(param(c, "integer", "limit max_results top_k num_results", lambda c: c.num(1, 20), False))
    return Function(
        c.any("search web_search search_web google_search tavily_search search_internet".split()),
        c.any(["Search the web", "Search the internet for information.", "Look something up on the web", "Web search"]),
        p,
        [
            "Search for {0}",
            "Search the web for {0}",
            "Search for {0}.",
            c.say(
                "[Google|Look up|Search the internet for|Find out about|Do a search for|Find information on] {0}[.|, please.|]"
            ),
        ],
        result,
    )


def mail(c):
    """A mail with or without a subject; each has phrasings of its own."""
    body = c.any(["body", "body", "message", "text", "content"])
    p = [param(c, "email", "to to recipient email", email)]
    asks = ['Send an email to {0} saying "{1}"', "Send an email to {0} saying {1}", "Can you email {0} and say {1}?"]
    asks += [c.say('[Write|Please email|Mail|Tell] {0}: ["{1}"|{1}]', "[Email|Mail] {0} [that says|with the text] {1}")]
    if c.chance(0.6):
        p.append(param(c, "text", "subject", phrase))
        asks = ['Send an email to {0} with subject "{1}" and {w} "{2}"', "Email {0} about {1} saying {2}"]
        asks += [c.say('[Mail|Write to|Send a mail to] {0}, subject ["{1}"|{1}], [text|body|message] ["{2}"|{2}][.|]')]
    p.append(Param(c, "text", body))
    p[-1].make = lambda c: c.any([lambda: "hi", lambda: c.sentence(), lambda: phrase(c), lambda: f"hello {c.name()}"])()
    return Function(
        c.any("send_email send_mail sendEmail email send_email_message".split()),
        c.any(["Send an email", "Send an email to a recipient.", "Sends a mail.", "Send an email to a given address"]),
        p,
        [a.replace("{w}", body) for a in asks],
        done(["Email sent", "sent", "ok", '{"status": "sent"}', "Email sent."]),
    )


def stock(c):
    return Function(
        c.any("get_stock_price stock_price get_price get_quote fetch_stock_price".split()),
        c.any(["Get the stock price", "Get the current stock price of a company.", "Look up a stock by its symbol"]),
        [
            param(
                c, "word", "symbol ticker stock", lambda c: c.any(TICKERS) if c.chance(0.6) else c.pseudo(1, 1).upper()
            )
        ],
        [
            "What is the stock price of {0}?",
            "What's the price of {0}?",
            "How much is {0} stock?",
            c.say("[Get|Show me|Tell me|I need|Check] the [stock price|price|quote] [of|for] {0}[.|, please.|]"),
        ],
        short("The result is {0}.", lambda c, a: round(c.num(100, 99999) / 100, 2)),
    )


def light(c):
    room = param(c, "word", "room room location area", lambda c: c.any(ROOMS))
    result = done(["ok", "done", '{"success": true}', '{"status": "ok"}', "OK"])
    if c.chance(0.5):
        word = c.any(["on", "off"])
        f = Function(
            c.any([f"turn_{word}_lights", f"turn_{word}_light", f"lights_{word}", f"switch_light_{word}"]),
            f"Turn {word} the lights in a room" + c.any(["", "."]),
            [room],
            [
                f"Turn {word} the lights in the {{0}}",
                f"Turn the {{0}} lights {word}.",
                f"Lights {word} in the {{0}}, please",
            ],
            result,
        )
    else:
        state = param(c, "choice", "state state status power", choices=["on", "off"])
        f = Function(
            c.any("set_light control_light set_lights switch_lights control_lights light_switch".split()),
            c.any(["Set the light in a room", "Control the lights", "Turn lights on or off."]),
            [room, state],
            ["Turn {1} the lights in the {0}", "Turn the {0} lights {1}.", "Switch {1} the light in the {0}, please"],
            result,
        )
    f.meaning = "light"
    return f


def thermostat(c):
    return Function(
        c.any("set_temperature set_thermostat adjust_thermostat heat".split()),
        c.any(["Set the temperature of a room", "Set the thermostat", "Adjust the heating."]),
        [
            param(c, "word", "room", lambda c: c.any(ROOMS)),
            param(c, "number", "temperature degrees", lambda c: c.num(10, 30)),
        ],
        ["Set the {0} to {1} degrees", "Make the {0} {1} degrees warm", "Heat the {0} to {1} degrees, please."],
        done(["ok", "done", '{"status": "ok"}']),
    )


def dice(c):
    p = [param(c, "integer", "sides faces", lambda c: c.any([4, 6, 8, 10, 12, 20, 100]))] if c.chance(0.4) else []
    asks = (
        ["Roll a {0}-sided die", "Roll a die with {0} sides", "Roll a d{0}"] if p else ["Roll a die", "Roll the dice."]
    )
    if not p:
        asks += [
            "roll a dice for me",
            c.say("[Please|Can you|I want you to|Let's] roll [a die|the die|a dice|the dice][.|]"),
        ]
    return Function(
        c.any("roll_dice roll_die roll dice rollDice".split()),
        c.any(
            ["Roll a die", "Roll a six-sided die and return the result." if not p else "Roll a die.", "Rolls the dice."]
        ),
        p,
        asks,
        short("The result is {0}.", lambda c, a: c.num(1, 20)),
    )


def simple(names, abouts, params, asks, result=None):
    """A family that is one row: parameters are (kind, names, values or None)."""

    def make(c):
        f = Function(c.any(names.split()), c.any(abouts + [""]), [param(c, *p) for p in params], asks, result)
        f.meaning = names
        return f

    return make


MONEY = lambda c: c.num(1, 5000)
FAMILIES = [
    weather,
    weather,
    weather,
    summing,
    summing,
    calculator,
    clock,
    search,
    mail,
    stock,
    light,
    thermostat,
    dice,
    simple(
        "get_horoscope horoscope",
        ["Get today's horoscope for an astrological sign."],
        [("word", "sign", lambda c: c.any(SIGNS))],
        ["What is my horoscope? I am an {0}.", "I am a {0}. What is my horoscope?", "Tell me the horoscope for {0}."],
    ),
    simple(
        "get_delivery_date track_order get_order_status order_status check_order",
        ["Get the status of an order", "Look up an order by its id."],
        [("code", "order_id order_id id order")],
        [
            "Where is my order {0}?",
            "What is the status of order {0}?",
            "When will order {0} arrive?",
            "Track order {0}",
        ],
    ),
    simple(
        "convert_currency exchange currency_converter",
        ["Convert an amount of money", "Convert between currencies."],
        [("number", "amount", MONEY)]
        + [("word", n, lambda c: c.any(CURRENCIES)) for n in ("from from_currency source", "to to_currency target")],
        ["Convert {0} {1} to {2}", "How much is {0} {1} in {2}?", "What is {0} {1} in {2}?", "Change {0} {1} to {2}."],
        short("The result is {0}.", lambda c, a: round(c.num(100, 99999) / 100, 2)),
    ),
    simple(
        "translate translate_text",
        ["Translate text into a language"],
        [("text", "text"), ("language", "language target_language to")],
        ['Translate "{0}" to {1}', "Translate '{0}' into {1}.", 'How do you say "{0}" in {1}?'],
        short("The result is {0}.", lambda c, a: c.pseudo(2, 3)),
    ),
    simple(
        "book_flight search_flights find_flights",
        ["Book a flight", "Find flights between two cities."],
        [("city", "origin from from_city", lambda c: c.city()), ("city", "destination to to_city", lambda c: c.city())]
        + [("date", "date")],
        [
            "Book a flight from {0} to {1} on {2}",
            "I want to fly from {0} to {1} on {2}.",
            "Find a flight from {0} to {1} for {2}",
        ],
    ),
    simple(
        "set_timer start_timer timer",
        ["Set a timer", "Start a timer for some minutes."],
        [("integer", "minutes duration", lambda c: c.num(1, 90))],
        ["Set a timer for {0} minutes", "Start a {0} minute timer.", "Timer for {0} minutes, please"],
        done(["ok", "Timer set", "started"]),
    ),
    simple(
        "set_reminder add_reminder create_reminder remind_me",
        ["Set a reminder", "Remind the user of something."],
        [("text", "text message task title", lambda c: f"{c.any(['call', 'meet', 'visit', 'feed'])} {c.name()}")]
        + [("time", "time when at", time)],
        ["Remind me to {0} at {1}", "Set a reminder to {0} at {1}.", "At {1}, remind me to {0}"],
        done(["ok", "Reminder set", '{"status": "ok"}']),
    ),
    simple(
        "create_event add_event create_calendar_event schedule_meeting",
        ["Create a calendar event", "Add an event to the calendar."],
        [("text", "title name", lambda c: c.any(HOBBIES) if c.chance(0.5) else phrase(c)), ("date", "date day", date)]
        + [("time", "time start", time)],
        ['Add "{0}" to my calendar on {1} at {2}', "Schedule {0} on {1} at {2}.", "Create an event {0} for {1} at {2}"],
        done(["ok", "Event created", '{"status": "created"}']),
    ),
    simple(
        "play_song play_music play",
        ["Play a song", "Play music."],
        [("text", "song title track", phrase)],
        ['Play "{0}"', "Play the song {0}", "Can you play {0}?", "I want to hear {0}."],
    ),
    simple(
        "get_distance distance",
        ["Get the distance between two places"],
        [("city", "origin start from", lambda c: c.city()), ("city", "destination end to", lambda c: c.city())],
        ["How far is it from {0} to {1}?", "What is the distance from {0} to {1}?", "Distance between {0} and {1}?"],
    ),
    simple(
        "add_task create_task add_todo create_todo",
        ["Add a task to the list", "Create a todo item."],
        [("text", "title task text", phrase)],
        ['Add "{0}" to my list', "Add a task: {0}", "New todo: {0}", "Put {0} on my todo list."],
        done(["ok", "Task added", '{"success": true}']),
    ),
    simple(
        "get_random_number random_number generate_number",
        ["Get a random number", "A random number between two numbers."],
        [("integer", "min low start", lambda c: c.num(0, 20)), ("integer", "max high end", lambda c: c.num(21, 999))],
        [
            "Give me a random number between {0} and {1}",
            "Random number from {0} to {1}",
            "Pick a number between {0} and {1}.",
        ],
        short("The result is {0}.", lambda c, a: c.num(0, 999)),
    ),
    simple(
        "factorial compute_factorial get_factorial",
        ["Compute the factorial of a number"],
        [("integer", "n number x", lambda c: c.num(1, 30))],
        ["What is the factorial of {0}?", "Compute {0} factorial", "Factorial of {0}, please", "What is {0}!?"],
    ),
    simple(
        "is_prime check_prime prime_check",
        ["Tell whether a number is prime"],
        [("integer", "n number x", lambda c: c.num(1, 300))],
        ["Is {0} a prime number?", "Is {0} prime?", "Check if {0} is prime.", "Tell me whether {0} is a prime"],
        short("The result is {0}.", lambda c, a: c.any(["true", "false", "True", "False"])),
    ),
    simple(
        "greet say_hello greet_user",
        ["Greet a person by name"],
        [("person", "name person user")],
        ["Greet {0}", "Say hello to {0}.", "Please greet {0}"],
        short("{0}", lambda c, a: f"Hello, {list(a.values())[0]}!"),
    ),
    simple(
        "search_products find_products product_search",
        ["Search the shop", "Find products."],
        [
            ("word", "query product keyword", lambda c: c.any(FOODS + NOUNS)),
            ("number", "max_price price_limit", lambda c: c.num(5, 500)),
        ],
        ["Find {0} under {1} dollars", "Show me {0} for less than {1}.", "Search products: {0}, at most {1}"],
    ),
    simple(
        "read_file open_file get_file cat",
        ["Read a file", "Get the contents of a file."],
        [("word", "path filename file", lambda c: c.word() + c.any([".txt", ".md", ".py", ".json", ".csv"]))],
        ["Read {0}", "What is in {0}?", "Show me the file {0}.", "Open {0}, please"],
    ),
    simple(
        "get_user get_user_info lookup_user find_user get_customer",
        ["Look up a user", "Get a user by name or id."],
        [("person", "name user user_id")],
        ["Who is {0}?", "Look up {0}.", "Get the user {0}", "Find the user {0}, please."],
    ),
    simple(
        "get_player_name get_username get_user_name whoami",
        ["Get the player's name.", "Get the name of the user"],
        [],
        ["What is my name?", "Do you know my name?", "What's my name?", "Who am I?"],
        short("Your name is {0}.", lambda c, a: c.name()),
    ),
    simple(
        "set_color change_color set_background",
        ["Set the color", "Change the background color."],
        [("color", "color colour", lambda c: c.any(COLORS))],
        ["Make it {0}", "Change the color to {0}.", "I want a {0} background", "Set the color to {0}"],
        done(["ok", "done", "OK"]),
    ),
    simple(
        "get_pet_info describe_animal animal_info",
        ["Get facts about an animal"],
        [("word", "animal species", lambda c: c.any(ANIMALS))],
        ["Get info about the {0}", "Use the tool to describe the {0}.", "Animal facts: {0}"],
    ),
]

# --- hand-offs between agents -------------------------------------------------------------------------------

SUBJECTS = {  # agent: questions for it
    "history": [
        "who was the first president of the united states?",
        "When did the war in {city} end?",
        "Who was king {name}?",
    ],
    "math": [
        "how can I solve {a}x + {b} = {d}",
        "What is the square root of {d}?",
        "can you explain algebra to me",
        "What is {a} * {d}?",
        "What is {d} + {b}?",
    ],
    "geography": ["Which river flows through {city}?", "Where is {city}?", "How high is the mountain near {city}?"],
    "science": ["Why do plants need light?", "What is an atom made of?", "How does gravity work?"],
    "spanish": ["Hola, ¿cómo estás?", "¿Dónde está {city}?", "Buenos días, soy {name}", "¿Qué tiempo hace en {city}?"],
    "french": ["Bonjour, comment ça va ?", "Où est {city} ?", "Je m'appelle {name}", "Quel temps fait-il à {city} ?"],
    "german": ["Hallo, wie geht es dir?", "Wo ist {city}?", "Ich heiße {name}", "Guten Morgen, wie ist das Wetter?"],
    "english": ["Hello, how are you?", "Good morning, I am {name}", "I need help in English, please"],
    "billing": [
        "There is a wrong charge on my bill",
        "My invoice {code} is too high",
        "Why was I charged {d} dollars?",
    ],
    "refund": ["I want my money back for order {code}", "I would like a refund", "Please refund order {code}"],
    "sales": ["I want to buy {d} licenses", "How much is the big plan?", "I'd like to order a {noun}"],
    "support": ["My {noun} does not work", "The app shows error {code}", "I can't log in"],
    "booking": ["I want to change my seat", "Book a room in {city} for me", "Please book a flight to {city}"],
    "weather": ["Will it rain in {city}?", "What's the weather in {city}?", "Is it cold in {city}?"],
    "code": ["Write a function that sorts a list", "My python program has a bug", "How do I read a file in C?"],
    "music": ["Who sings {word}?", "Play something by {name}", "What is a chord?"],
}


def hand_offs(c, n):
    """Functions that hand a conversation to another agent, and a question for one of them."""
    subjects = c.some(list(SUBJECTS), n)
    kind = c.any(["agent", "agent", "tutor", "assistant", "expert"])
    tools = []
    for s in subjects:
        name = f"transfer_to_{s}_{kind}" if c.chance(0.95) else f"transfer_to_{s}"
        about = f"Handoff to the {s.capitalize()} {kind.capitalize()} agent to handle the request."
        f = Function(name, c.any([about, about, f"Transfer to the {s} {kind}.", ""]), [], ["{params}"])
        f.asks = [c.any(SUBJECTS[s] + [f"I have a question about {s}", f"I need the {s} {kind}"])]
        f.agent = f"{s.capitalize()} {kind.capitalize()}"
        tools.append(f)
    return tools


def fill(c, text):
    values = {"city": c.city(), "name": c.name(), "code": c.code(), "noun": c.side(NOUNS), "word": c.word()}
    for key, value in {**values, "a": c.num(2, 9), "b": c.num(1, 20), "d": c.num(2, 99)}.items():
        text = text.replace("{%s}" % key, str(value))
    return text
