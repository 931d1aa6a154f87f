#!/usr/bin/env python3
"""Writes the Unicode tables of the grammars' regular expressions: general categories as ranges, and the pairs
that simple case folding makes equal. The build calls it: gen_grammar_unicode.py OUTPUT."""
import sys
import unicodedata
from pathlib import Path


def categories():
    """{category: [[first, last], ...]} over all scalar values."""
    found = {}
    for point in range(0x110000):
        if 0xD800 <= point <= 0xDFFF:
            continue
        ranges = found.setdefault(unicodedata.category(chr(point)), [])
        if ranges and ranges[-1][1] == point - 1:
            ranges[-1][1] = point
        else:
            ranges.append([point, point])
    return found


def simple_fold(char):
    """Simple folding is the full one where that is one character, else the small letter."""
    for folded in (char.casefold(), char.lower()):
        if len(folded) == 1:
            return folded
    return char


def folds():
    """Pairs of different characters with the same folding."""
    groups = {}
    for point in range(0x110000):
        if not 0xD800 <= point <= 0xDFFF:
            groups.setdefault(simple_fold(chr(point)), []).append(point)
    return sorted((a, b) for group in groups.values() for a in group for b in group if a != b)


def rows(cells, per_line):
    return "\n".join("        " + " ".join(cells[i:i + per_line]) for i in range(0, len(cells), per_line))


def main():
    out = [f"/* Unicode {unicodedata.unidata_version}; made by tools/gen_grammar_unicode.py. */"]
    classes = categories()
    for name, ranges in sorted(classes.items()):
        cells = [f"{{ 0x{lo:x}, 0x{hi:x} }}," for lo, hi in ranges]
        out.append(f"static const struct fa_range ranges_{name}[] = {{\n{rows(cells, 5)}\n}};")
    out.append("const struct unicode_class unicode_classes[] = {")
    out += [f'        {{ "{name}", {len(ranges)}, ranges_{name} }},' for name, ranges in sorted(classes.items())]
    out.append(f"}};\nconst size_t unicode_n_classes = {len(classes)};")
    pairs = folds()
    cells = [f"{{ 0x{a:x}, 0x{b:x} }}," for a, b in pairs]
    out.append(f"const struct unicode_fold unicode_folds[] = {{\n{rows(cells, 5)}\n}};")
    out.append(f"const size_t unicode_n_folds = {len(pairs)};")
    path = Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(out) + "\n")


if __name__ == "__main__":
    main()
