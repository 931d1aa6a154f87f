#!/usr/bin/env python3
"""Writes the data the built-in model is trained on and examined with, as JSON lines.

    generate.py --out DIR [--documents N] [--questions N] [--seed N]

DIR/train.jsonl holds documents to learn from, DIR/held_out.jsonl questions with their one right answer.
The held-out side uses other names, words, numbers and phrasings (see gen/words.py). The same arguments
always give the same files."""

import argparse
import json
import os

from gen import examples, families, render
from gen import skills_basic as basic
from gen import skills_chat as chats
from gen import skills_schema as schemas
from gen import skills_text as text
from gen import skills_tools as tools
from gen.words import Context

# category: (weight, skill, kind)   kind: "qa" returns question, answer, short; "chat" returns messages;
# "open": many answers are right, so it is not among the questions
SKILLS = {
    "talk": (11, basic.talk, "qa"),
    "joke": (1, basic.joke, "open"),
    "story": (3, basic.story, "open"),
    "poem": (1, basic.poem, "qa"),
    "capital": (7, basic.capital, "qa"),
    "facts": (4, basic.fact_misc, "qa"),
    "definition": (3, basic.definition, "qa"),
    "hello_world": (2, basic.hello_world, "qa"),
    "language": (2, basic.language, "qa"),
    "currency": (2, basic.currency, "qa"),
    "continent": (2, basic.continent, "qa"),
    "element": (3, basic.element, "qa"),
    "author": (2, basic.author, "qa"),
    "animal": (2, basic.animal, "qa"),
    "opposite": (2, basic.opposite, "qa"),
    "colour": (2, basic.colour, "qa"),
    "calendar": (3, basic.calendar, "qa"),
    "translate": (4, basic.translate, "qa"),
    "arithmetic": (17, basic.arithmetic, "qa"),
    "word_problem": (3, basic.word_problem, "qa"),
    "compare": (4, basic.compare, "qa"),
    "counting": (4, basic.counting, "qa"),
    "unknown": (14, basic.unknown, "qa"),
    "repeat": (12, text.repeat, "qa"),
    "case": (14, text.upper, "qa"),
    "title_case": (6, text.title, "qa"),
    "spell": (12, text.spell, "qa"),
    "letters": (4, text.letters, "qa"),
    "words": (11, text.word_ops, "qa"),
    "order": (13, text.reorder, "qa"),
    "format": (7, text.format_list, "qa"),
    "to_json": (2, text.to_json, "qa"),
    "lookup": (15, text.lookup, "qa"),
    "lookup_missing": (6, text.lookup_missing, "qa"),
    "introduce": (4, text.introduce, "qa"),
    "table": (9, text.table, "qa"),
    "yes_no": (14, text.yes_no, "qa"),
    "sentiment": (1, text.sentiment, "qa"),
    "choose": (5, text.pick, "qa"),
    "extract": (3, text.summary_first, "qa"),
    "system": (20, chats.system_style, "chat"),
    "recall": (8, chats.recall, "chat"),
    "not_told": (1, chats.not_told, "chat"),
    "follow_up": (5, chats.follow_up, "chat"),
    "correction": (2, chats.correction, "chat"),
    "long_chat": (5, chats.long_chat, "open_chat"),
    "quick_start": (9, examples.fixed, "qa"),
    "instructions": (6, examples.with_instructions, "chat"),
    "name_some": (3, examples.some_of, "qa"),
    "three_sentences": (1, examples.long_story, "open"),
    "verse": (3, examples.verse, "qa"),
    "quick_follow": (1.5, examples.follow, "open_chat"),
    # with functions, or a schema to fill; kind "doc" returns a whole document, "open_doc" one not examined
    "conversation": (30, tools.conversation, "open_doc"),
    "call": (3, tools.examined(tools.one), "doc"),
    "call_pick": (10, tools.examined(tools.one, 3), "doc"),
    "call_new": (6, tools.examined(tools.one, 1, 0), "doc"),
    "call_two": (14, tools.examined(tools.two), "doc"),
    "call_next": (1, tools.examined(tools.in_turn), "doc"),
    "call_chain": (4, tools.sums_chained, "doc"),
    "call_again": (1, tools.examined(tools.again), "doc"),
    "call_weather": (2, tools.first_example(families.weather), "doc"),
    "call_sum": (2, tools.first_example(families.summing), "doc"),
    "call_search": (1, tools.first_example(families.search), "doc"),
    "call_mail": (1.5, tools.first_example(families.mail), "doc"),
    "tool_answer": (4, tools.answered(tools.one), "doc"),
    "tool_answers": (3, tools.answered(tools.two), "doc"),
    "tool_plain": (2, tools.examined(tools.plain), "doc"),
    "tool_none": (9, tools.examined(tools.nothing_fits), "doc"),
    "hand_off": (9, tools.hand_off, "doc"),
    "handed_over": (4, tools.handed_over, "doc"),
    "fill": (20, schemas.fill, "doc"),
}

UNFRAMED = {
    "talk",
    "quick_start",
    "verse",
    "three_sentences",
    "joke",
    "story",
    "poem",
    "repeat",
    "unknown",
}  # where more words could change the answer


def document(c, category):
    """One document of a category."""
    _, skill, kind = SKILLS[category]
    made = skill(c)
    if kind.endswith("doc"):
        return {"category": category, **made, "segments": render.segments(made)}
    if kind.endswith("chat"):
        messages = made
    else:
        question, answer, _ = made
        if category not in UNFRAMED:
            question = c.frame(question)
        if not c.held and c.chance(0.04):  # the legacy completions API gives plain text, not a chat
            return {
                "category": "plain",
                "prompt": question,
                "completion": c.any(["\n\n", "\n\n", "\n", " "]) + answer,
            }
        messages = chats.chat(question, answer)
    if messages[0]["role"] == "user" and c.chance(0.35):
        system = c.say(*chats.PLAIN_SYSTEMS) if c.chance(0.6) else chats.PLAIN_SYSTEMS[0]
        messages = [chats.message("system", system)] + messages
    return {"category": category, "messages": messages}


def write(path, count, seed, held):
    names = [k for k in SKILLS if not (held and SKILLS[k][2].startswith("open"))]
    weights = [1 if held else SKILLS[k][0] for k in names]
    chooser = Context(f"{seed}/{held}", held)
    with open(path, "w", encoding="utf-8") as out:
        for i in range(count):
            category = names[i % len(names)] if held else chooser.r.choices(names, weights)[0]
            c = Context(f"{seed}/{held}/{i}", held)
            out.write(json.dumps(document(c, category), ensure_ascii=False) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--documents", type=int, default=300000)
    parser.add_argument("--questions", type=int, default=2150)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    write(os.path.join(args.out, "train.jsonl"), args.documents, args.seed, False)
    write(os.path.join(args.out, "held_out.jsonl"), args.questions, args.seed, True)


if __name__ == "__main__":
    main()
