#!/usr/bin/env python3
"""Writes src/engine/tok_unicode.inc: what BERT's normalisation needs to know of each character.

    tools/gen_unicode_fold.py >src/engine/tok_unicode.inc

Four sets as ranges (white space, characters that are dropped, punctuation, accents) and the folding: lower case of the
canonical decomposition without its accents (category Mn). Han is not listed: BERT names its blocks itself. Hangul
syllables decompose by rule. Run it with the Python whose Unicode version is wanted; the file says which one."""
import sys
import unicodedata

ALL = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def category(c):
    return unicodedata.category(chr(c))


def is_space(c):
    return chr(c) in "\t\n\r" or category(c) in ("Zs", "Zl", "Zp") or c in (0x0B, 0x0C, 0x85)


def is_dropped(c):
    return not is_space(c) and (c in (0, 0xFFFD) or category(c) in ("Cc", "Cf", "Co"))


def is_punctuation(c):
    ascii_marks = 33 <= c <= 47 or 58 <= c <= 64 or 91 <= c <= 96 or 123 <= c <= 126
    return ascii_marks or category(c).startswith("P")


def is_accent(c):
    return category(c) == "Mn"


SETS = ("spaces", is_space), ("dropped", is_dropped), ("punctuation", is_punctuation), ("accents", is_accent)


def ranges(test):
    found = []
    for c in ALL:
        if test(c):
            if found and found[-1][1] == c - 1:
                found[-1][1] = c
            else:
                found.append([c, c])
    return found


def lower(ch):
    """Character by character: a final sigma is not known here."""
    return "".join(c.lower() if c != "\u03a3" else "\u03c3" for c in ch)


def fold(c):
    kept = "".join(ch for ch in unicodedata.normalize("NFD", chr(c)) if unicodedata.category(ch) != "Mn")
    return lower(kept)


def strided(pairs):
    """(first, last, stride, delta) of (character, what it becomes) pairs."""
    rows, i = [], 0
    while i < len(pairs):
        c, to = pairs[i]
        best, stride = i, 1
        for step in (1, 2):
            j = i
            while j + 1 < len(pairs) and pairs[j + 1][0] - pairs[j][0] == step and pairs[j + 1][1] - pairs[j + 1][0] == to - c:
                j += 1
            if j > best:
                best, stride = j, step
        rows.append((c, pairs[best][0], stride, to - c))
        i = best + 1
    return rows


def table(head, rows):
    print(head)
    line = "       "
    for row in rows:
        if len(line) + len(row) > 108:
            print(line)
            line = "       "
        line += f" {row},"
    print(line + "\n};\n")


def main():
    print(f"/* Made by tools/gen_unicode_fold.py from Unicode {unicodedata.unidata_version}; do not edit. */\n")
    for name, test in SETS:
        table(f"static const struct range {name}[] = {{", [f"{{ 0x{a:X}, 0x{b:X} }}" for a, b in ranges(test)])
    single, several = [], []
    for c in ALL:
        to = fold(c)
        if to == chr(c) or is_accent(c) or 0xAC00 <= c < 0xD7A4:
            continue
        if len(to) == 1:
            single.append((c, ord(to)))
        else:
            several.append((c, [ord(ch) for ch in to]))
    rows = [f"{{ 0x{a:X}, 0x{b:X}, {s}, {d} }}" for a, b, s, d in strided(single)]
    table("static const struct shift shifts[] = {", rows)
    if not all(1 < len(to) < 4 for _, to in several):
        sys.exit("a folding is not of two or three characters")
    rows = [f"{{ 0x{c:X}, {{ {', '.join(hex(x) for x in to)} }} }}" for c, to in several]
    table("static const struct expansion expansions[] = {", rows)


main()
