#!/usr/bin/env python3
"""Writes src/jinja/unicode.inc: what Python's str methods know of each character (classes and case).

Run it with the Python whose Unicode version is wanted; the tables say which one made them. Ranges have a
stride, because many alphabets alternate capital and small letters."""
import sys
import unicodedata

ALL = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
CLASSES = [
    ("alpha", str.isalpha), ("lower", str.islower), ("upper", str.isupper),
    ("title", lambda ch: unicodedata.category(ch) == "Lt"), ("decimal", str.isdecimal), ("digit", str.isdigit),
    ("numeric", str.isnumeric), ("space", str.isspace), ("unprintable", lambda ch: not ch.isprintable()),
]


def runs(points):
    """(first, last, stride) of sorted numbers, none overlapping the next; strides 1 and 2."""
    out = []
    i = 0
    while i < len(points):
        best = i
        stride = 1
        for step in (1, 2):
            j = i
            while j + 1 < len(points) and points[j + 1] - points[j] == step:
                j += 1
            if j > best:
                best, stride = j, step
        out.append((points[i], points[best], stride))
        i = best + 1
    return out


def table(rows):
    """The rows of an initialiser, as many on a line as fit."""
    line = "       "
    for row in rows:
        if len(line) + len(row) > 108:
            print(line)
            line = "       "
        line += f" {row},"
    print(line + "\n};\n")


def case_table(name, convert):
    single, many = {}, {}
    for c in ALL:
        to = convert(chr(c))
        if to == chr(c):
            continue
        if len(to) == 1:
            single.setdefault(ord(to) - c, []).append(c)
        else:
            many[c] = [ord(ch) for ch in to]
    rows = []
    for delta, points in single.items():
        rows += [(first, last, stride, delta) for first, last, stride in runs(points)]
    rows = split_overlaps(sorted(rows))
    print(f"static const struct mapping {name}_mappings[] = {{")
    table([f"{{ {first:#x}, {last:#x}, {stride}, {delta} }}" for first, last, stride, delta in rows])
    print(f"static const struct expansion {name}_expansions[] = {{")
    table([f"{{ {c:#x}, {{ {', '.join(f'{x:#x}' for x in to)} }} }}" for c, to in sorted(many.items())])


def split_overlaps(rows):
    """Rows of different deltas may interleave; single rows then, so that a search finds the right one."""
    out = []
    for i, row in enumerate(rows):
        overlaps = (i and max(r[1] for r in rows[max(0, i - 8):i]) >= row[0]) or \
            (i + 1 < len(rows) and rows[i + 1][0] <= row[1])
        if overlaps and row[0] != row[1]:
            out += [(c, c, 1, row[3]) for c in range(row[0], row[1] + 1, row[2])]
        else:
            out.append(row)
    return sorted(out)


def main():
    print(f"/* Made by tools/gen_unicode.py from Unicode {unicodedata.unidata_version}; do not edit. */\n")
    for name, test in CLASSES:
        print(f"static const struct range {name}_ranges[] = {{")
        table([f"{{ {first:#x}, {last:#x}, {stride} }}"
               for first, last, stride in runs([c for c in ALL if test(chr(c))])])
    print("static const struct {\n        const struct range *ranges;\n        size_t n;\n} classes[UNI_CLASSES] = {")
    for name, _ in CLASSES:
        print(f"        [UNI_{name.upper()}] = {{ {name}_ranges, sizeof({name}_ranges) / sizeof({name}_ranges[0]) }},")
    print("};\n")
    case_table("upper", str.upper)
    case_table("lower", str.lower)
    case_table("title", str.title)


if __name__ == "__main__":
    sys.exit(main())
