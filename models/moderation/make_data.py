#!/usr/bin/env python3
"""Generates the labelled sentences that the moderation classifier is trained and examined with.

    models/moderation/make_data.py --out DIR [--seed 1] [--train 60000] [--heldout 6000]

Everything is made of the templates in templates.py and the words in words.py, written for this project. A slot such as
{insult} is filled with a word of that list; {a|b|} with one of the alternatives. About one template and one word in
seven, chosen by hash, are held out: the held-out sentences use such a template or such a word, and training none.
Half of the harmful templates have near neighbours that are harmless, so that single words do not decide.
"""
import argparse
import hashlib
import json
import random
import re
from pathlib import Path

from templates import TEMPLATES
from words import WORDS

LABELS = ("harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent", "self-harm",
          "self-harm/intent", "self-harm/instructions", "sexual", "sexual/minors", "violence", "violence/graphic")
HELD_OUT_SHARE = 7
SLOT = re.compile(r"\{([^{}]*)\}")


def held_out(kind, text):
    return int(hashlib.sha256(f"{kind}:{text}".encode()).hexdigest(), 16) % HELD_OUT_SHARE == 0


class Maker:
    def __init__(self, rng, held):
        self.rng, self.held = rng, held

    def word(self, slot):
        """A word of a list; `used` is set when it is one of the held out."""
        choices = [w for w in WORDS[slot] if self.held or not held_out(slot, w)]
        if self.held and self.rng.random() < 0.5:
            unseen = [w for w in WORDS[slot] if held_out(slot, w)]
            if unseen:
                self.used = True
                return self.rng.choice(unseen)
        return self.rng.choice(choices)

    def fill(self, template):
        def one(match):
            slot = match.group(1)
            return self.rng.choice(slot.split("|")) if "|" in slot else self.word(slot)
        self.used = False
        text = template
        while SLOT.search(text):
            text = SLOT.sub(one, text)
        return re.sub(r" +", " ", text).replace(" ,", ",").replace(" .", ".").strip()

    def style(self, text):
        """As people write: capitals or none, marks or none, a word around it."""
        rng = self.rng
        roll = rng.random()
        if roll < 0.15:
            text = text.lower()
        elif roll < 0.2:
            text = text.upper()
        else:
            text = text[:1].upper() + text[1:]
        if rng.random() < 0.25:
            text = f"{self.fill(rng.choice(WORDS['opening']))} {text}"
        if rng.random() < 0.3:
            text = text.rstrip(".!?")
        return text


def make(rng, count, held):
    maker = Maker(rng, held)
    groups = list(TEMPLATES.items())
    total = 0
    while total < count:
        labels, templates = rng.choice(groups) if rng.random() < 0.62 else ("", TEMPLATES[""])
        template = rng.choice(templates)
        if not held and held_out("template", template):
            continue
        text = maker.style(maker.fill(template))
        if held and not (maker.used or held_out("template", template)):
            continue
        total += 1
        yield {"text": text, "labels": labels.split()}


def write(path, lines):
    seen = set()
    with open(path, "w", encoding="utf-8") as out:
        for line in lines:
            if line["text"] not in seen:
                seen.add(line["text"])
                out.write(json.dumps(line, ensure_ascii=False) + "\n")
    return len(seen)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--train", type=int, default=60000)
    parser.add_argument("--heldout", type=int, default=6000)
    args = parser.parse_args()
    unknown = {label for labels in TEMPLATES for label in labels.split()} - set(LABELS)
    assert not unknown, unknown
    args.out.mkdir(parents=True, exist_ok=True)
    n = write(args.out / "train.jsonl", make(random.Random(args.seed), args.train, False))
    h = write(args.out / "heldout.jsonl", make(random.Random(args.seed + 1), args.heldout, True))
    print(f"{n} sentences to learn from, {h} held out, from {sum(map(len, TEMPLATES.values()))} templates")


if __name__ == "__main__":
    main()
