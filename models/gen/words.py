"""Word lists, made-up words, and the source of randomness that keeps training and held-out material apart.

Names, cities, made-up words, codes and pairs of numbers belong to one side only: a stable hash decides.
Phrasings are split too, so a held-out question is always asked in words that training never used for it."""

import random
import re
import zlib

# How people ask for a thing, and how they ask for something to be done.
OPENERS = """What is {}?|What is {}?|What's {}?|Tell me {}.|Give me {}.|Name {}.|Find {}.|Look up {}.|Show me {}.|I need {}.|I need to know {}.|Do you know {}?
Can you tell me {}?|Could you tell me {}?|Can you name {}?|Please tell me {}.|Please give me {}.|I'd like to know {}.|I want to know {}.|Say {}.|Write {}.
{}?|{}|What would be {}?|Which is {}?|Just tell me {}.|Let me know {}.|Any idea what {} is?|Tell me what {} is.|Do you know what {} is?|Can you tell me what {} is?
Could you find {}?|Please name {}.|Can you give me {}?|I am looking for {}.|My question is: what is {}?|Question: what is {}?|Tell me: what is {}?""".replace(
    "\n", "|"
).split(
    "|"
)
WRAPS = """<>|<>|<>|<>|please <>|can you <>|could you <>|I want you to <>|now <>|your task: <>|I need you to <>|help me <>|would you <>|go ahead and <>|kindly <>|just <>|please could you <>""".split(
    "|"
)
# Around any question of one message; "" leaves it as it is.
FRAMES = """Question: <>|Q: <>|I have a question. <>|Please answer this: <>|Answer this question: <>|Can you answer this? <>|Here is my question: <>|My question: <>|<> Answer briefly.|<> Keep it short.
<> Just the answer.|Please help me. <>|Help me with this: <>|<> Please answer.|Hi! <>|Hello, <>|Hey, <>|Ok, <>|So, <>|Quick question: <>|<> Thanks!|<> Thank you.""".replace(
    "\n", "|"
).split(
    "|"
)

NAMES = """Ana Ben Carl Dora Emma Finn Greta Hugo Iris Jack Kira Liam Mia Noah Olga Paul Quinn Rosa Sam Tina Uma Vera Will Xena Yara Zoe Adam Bella
Chris Diana Ethan Fiona George Hannah Ivan Julia Kevin Laura Mark Nina Oscar Petra Ralf Sara Tom Ursula Victor Wendy Alice Bob Carol Dave Eve
Frank Grace Henry Isabel John Kate Leo Maria Nick Olivia Peter Rachel Steve Theo Anton Boris Clara Dmitri Elena Felix Gina Harry Ingrid Jonas
Karim Lena Marco Nadia Omar Pablo Rita Sofia Tariq Viktor Amir Bianca Chen Divya Emil Fatima Gabriel Hiro Imani Jamal Kenji Lucia Mei Nikhil
Priya Ravi Sven Tanya Yusuf Zara Aisha Bruno Camila Diego Esther Farid Helena Igor Jasmine Klaus Luna Mateo Nora Otto Pia Rafael Silvia Tomas
Valeria Walter Yuki Abel Agnes Alma Arthur Astrid Bert Cecil Daisy Edith Elias Ella Elsa Ezra Flora Gloria Gus Hazel Ida Jade Jonah June Kai Lily
Logan Lola Lucas Mabel Max Milo Molly Nadine Nathan Nico Owen Pearl Phoebe Rex Roman Ruby Rufus Simon Stella Susan Ted Tessa Toby Violet Zack""".split()
CITIES = """Oslo Paris Rome Lima Cairo Tokyo Madrid Berlin Vienna Dublin Prague Athens Delhi Seoul Quito Accra Hanoi Boston Chicago Denver Miami
Seattle Toronto Sydney Naples Porto Lyon Bergen Turin Leeds York Bristol Geneva Zurich Munich Hamburg Krakow Gdansk Malaga Seville Osaka Kyoto
Mumbai Lagos Nairobi Dakar Tunis Austin Dallas Houston Phoenix Portland Montreal Vancouver Perth Auckland Bath Oxford Ghent Bruges Basel Graz
Tampere Malmo Aarhus Riga Split Varna Izmir Haifa Doha Pune Cebu Salem Reno Tulsa Omaha Boise Fargo Macon""".split()
ANIMALS = """dog cat horse rabbit parrot hamster goldfish turtle pony goat sheep duck hen fox bear wolf lion tiger owl frog mouse snail camel zebra
panda koala otter seal whale dolphin eagle falcon robin swan crab lizard gecko ferret badger hedgehog squirrel donkey llama moose""".split()
FOODS = """pizza pasta soup salad bread cheese rice sushi tacos curry pancakes apples pears plums grapes bananas mangoes cherries noodles stew
dumplings cake cookies chocolate honey yogurt beans lentils carrots potatoes tomatoes mushrooms olives waffles toast omelette pie peaches""".split()
COLORS = "red blue green yellow orange purple pink brown black white grey gold silver turquoise violet crimson teal beige".split()
OBJECTS = """book lamp chair table phone key bottle cup spoon ball box bag coin ring watch hat coat shoe pen pencil mirror clock candle drum
guitar piano camera radio bicycle boat kite basket blanket pillow ladder hammer rope bucket map compass lantern umbrella backpack notebook scarf""".split()
JOBS = """doctor teacher baker farmer pilot nurse painter singer writer lawyer chef engineer plumber tailor gardener carpenter librarian dentist
sailor architect designer programmer mechanic photographer journalist scientist actor barber butcher florist""".split()
HOBBIES = """chess tennis painting hiking cooking reading swimming cycling dancing fishing gardening skiing running football knitting singing
photography climbing surfing sailing yoga baking pottery drawing bowling archery origami""".split()
ADJECTIVES = "small big red old new shiny quiet happy brave clever gentle lazy tiny huge round soft bright dark warm cold green blue strange silly proud".split()
NOUNS = (
    """river mountain forest garden window door bridge tower castle village island ocean desert valley meadow road street market school
library museum station kitchen planet star moon cloud storm rain snow wind fire stone tree leaf flower seed root apple letter story song
dream idea secret game machine engine rocket train ship wagon wheel""".split()
    + OBJECTS
    + ANIMALS
)
VERBS = "runs sleeps jumps sings waits reads eats plays walks hides dances works smiles swims climbs".split()
COMMON = """time year people way day man thing woman life child world hand part place case week company system program question work number
night point home water room mother area money fact month lot right study book eye job word business issue side kind head house service
friend father power hour game line end member law car city name team minute idea body back parent face level office door health person art
war history party result change morning reason research girl guy moment air teacher force education apple orange banana table window light
music paper river simple quick brown lazy bright early late north south east west sugar salt pepper butter coffee lemon silver copper cotton
model server client token stream value error input output file folder image query array object string float cache queue stack graph node""".split()

ONSETS = "b bl br c ch cl cr d dr f fl fr g gl gr h j k kl l m n p pl pr qu r s sc sh sk sl sm sn sp st str t th tr v w y z".split()
VOWELS = "a e i o u ai ea ee ie oa oo ou y".split()
CODAS = [
    "",
    "",
    "",
    "b",
    "ck",
    "d",
    "g",
    "l",
    "m",
    "n",
    "nd",
    "ng",
    "nk",
    "p",
    "r",
    "rd",
    "rk",
    "rn",
    "s",
    "sh",
    "sk",
    "st",
    "t",
    "th",
    "x",
]


def is_held(text, every=8):
    """Whether a word belongs to the held-out side; the same answer always."""
    return zlib.crc32(text.lower().encode()) % every == 0


class Context:
    """Randomness for one document of one side ("train" or "held")."""

    def __init__(self, seed, held):
        self.r = random.Random(seed)
        self.held = held

    def chance(self, p):
        return self.r.random() < p

    def any(self, items):
        return items[int(self.r.random() * len(items))]

    def some(self, items, n):
        return self.r.sample(items, n)

    def num(self, low, high):
        return self.r.randint(low, high)

    def side(self, items):
        """An item of this side of the names or cities; of other lists any item, for ordinary words are to be
        learnt, all of them."""
        while True:
            item = self.any(items)
            if (items is not NAMES and items is not CITIES) or is_held(item) == self.held:
                return item

    def sides(self, items, n):
        """n different items of this side."""
        found = []
        while len(found) < n:
            item = self.side(items)
            if item not in found:
                found.append(item)
        return found

    def expand(self, text):
        """Chooses among the alternatives of each [a|b|c]."""
        return re.sub(r"\[([^][]*)\]", lambda m: self.any(m.group(1).split("|")), text)

    def own(self, make):
        """make() until its phrasing belongs to this side, decided by the hash of the phrasing."""
        for _ in range(60):
            text = make()
            held = is_held(text, 6) and not text.startswith("What is ")  # the plainest form is always learnt
            if held == self.held:
                break
        return text

    def ask(self, noun):
        """A question for a thing: "the capital of {}" becomes "Could you tell me the capital of {}?", ..."""
        text = self.own(lambda: self.any(OPENERS).format(self.expand(noun).replace("{", "{{").replace("}", "}}")))
        return (text[:1].upper() + text[1:]).replace("{{", "{").replace("}}", "}")

    def order(self, *verbs):
        """A request to do something: "sort these words: {}" becomes "Please sort these words: {}", ..."""
        text = self.own(lambda: self.any(WRAPS).replace("<>", self.expand(self.any(verbs))))
        return text[:1].upper() + text[1:]

    def say(self, *templates):
        """A phrasing. Of templates with alternatives each side has its own; of a plain list the last fifth is
        for the held-out side (at least one of four or more)."""
        if any("[" in t for t in templates):
            return self.own(lambda: self.expand(self.any(templates)))
        n = len(templates)
        keep = max(1, n // 5) if n >= 4 else 0
        if self.held and keep:
            return self.any(templates[n - keep :])
        return self.any(templates[: n - keep] if keep else templates)

    def pseudo(self, low=1, high=3):
        """A made-up word of this side."""
        while True:
            word = "".join(
                self.any(ONSETS) + self.any(VOWELS) + (self.any(CODAS) if self.chance(0.6) else "")
                for _ in range(self.num(low, high))
            )
            if 3 <= len(word) <= 11 and is_held(word) == self.held:
                return word

    def word(self):
        """A word to copy: common or made up."""
        if self.chance(0.5):
            return self.pseudo()
        return self.side(COMMON if self.chance(0.6) else NOUNS)

    def words(self, n):
        found = []
        while len(found) < n:
            word = self.word()
            if word not in found:
                found.append(word)
        return found

    def name(self):
        return self.pseudo(1, 2).capitalize() if self.chance(0.25) else self.side(NAMES)

    def names(self, n):
        found = []
        while len(found) < n:
            name = self.name()
            if name not in found:
                found.append(name)
        return found

    def city(self):
        return self.pseudo(2, 3).capitalize() if self.chance(0.3) else self.side(CITIES)

    def pair(self, low, high, salt=""):
        """Two numbers whose pair belongs to this side."""
        while True:
            a, b = self.num(low, high), self.num(low, high)
            if is_held(f"{salt}{a},{b}", 6) == self.held:
                return a, b

    def code(self):
        """Something like an order number."""
        while True:
            kind = self.num(0, 3)
            if kind == 0:
                code = str(self.num(100, 99999))
            elif kind == 1:
                code = "".join(self.any("ABCDEFGHJKLMNPQRSTUVWXYZ") for _ in range(2)) + "-" + str(self.num(10, 9999))
            elif kind == 2:
                code = self.pseudo(1, 2) + str(self.num(1, 99))
            else:
                code = "".join(self.any("ABCDEFGHJKLMNPQRSTUVWXYZ0123456789") for _ in range(self.num(4, 6)))
            if is_held(code) == self.held:
                return code

    def sentence(self):
        """A short sentence to copy or work on."""
        kind = self.num(0, 4)
        adj, noun, verb = self.any(ADJECTIVES), self.side(NOUNS), self.any(VERBS)
        if kind == 0:
            return f"the {adj} {noun} {verb}"
        if kind == 1:
            return f"{self.name()} likes {self.side(FOODS)}"
        if kind == 2:
            return f"the {noun} is {adj}"
        if kind == 3:
            return " ".join(self.words(self.num(2, 5)))
        return f"my {noun} {verb} near the {self.side(NOUNS)}"

    def vary(self, text):
        """What people do to a question: case, politeness, missing marks."""
        if self.chance(0.10):
            text = text.rstrip("?.!")
        if self.chance(0.10):
            text = text[:1].lower() + text[1:]
        if self.chance(0.03) and text.endswith("?"):
            text = text[:-1] + " ?"
        return text

    def frame(self, text):
        """Puts words around a question at times."""
        return self.own(lambda: self.any(FRAMES)).replace("<>", text) if self.chance(0.15) else text
