#!/usr/bin/env python3
"""Writes tables.c: what Python 3.11 (Unicode 14.0), ftfy 6.3.1 and regex 2026.5 know of code points.

    python3.11 lib/text/tables.py > lib/text/tables.c

A developer's tool: the build uses the tables.c that is in the tree.
"""

import bisect
import html.entities
import sys
import unicodedata

import ftfy.bad_codecs
import regex
from ftfy.badness import MOJIBAKE_CATEGORIES
from ftfy.chardata import CHARMAP_ENCODINGS, HTML_ENTITIES, UTF8_CLUES

assert unicodedata.unidata_version == "14.0.0", "Python 3.11 is needed"

# In the order of enum clip_point_class and enum clip_mojibake_class (tables.h).
CATEGORIES = [
    "common", "c1", "bad", "law", "currency", "start_punctuation", "end_punctuation", "numeric", "kaomoji",
    "upper_accented", "lower_accented", "upper_common", "lower_common", "box",
]
CLUES = ["utf8_first_of_2", "utf8_first_of_3", "utf8_first_of_4", "utf8_continuation", "utf8_continuation_strict"]


# Characters that badness rules name as their first.
NAMED = "ŒœÂÃÎÐ×ØÙà√≈‚вВГРСβΒΓΞΟā"


def members(ranges):
    """The characters of a regex class's inside, such as 'a-zß'."""
    found, i = [], 0
    while i < len(ranges):
        if ranges[i + 1 : i + 2] == "-":
            found += map(chr, range(ord(ranges[i]), ord(ranges[i + 2]) + 1))
            i += 3
        else:
            found.append(ranges[i])
            i += 1
    return found


def print_table(declaration, rows):
    """An array of as many rows a line as fit, and how many there are."""
    name = declaration.split()[-1].split("[")[0]
    print(f"const {declaration} = {{")
    line = "   "
    for row in rows:
        if len(line) + len(row) > 108:
            print(line)
            line = "   "
        line += f" {row},"
    print(f"{line}\n}};\nconst size_t {name}_count = sizeof {name} / sizeof *{name};\n")


def final_sigma(before):
    return (before + "\u03a3").lower().endswith("\u03c2")


def composing():
    """What may join with the character before it in NFC."""
    found = set(map(chr, range(0x1161, 0x1176))) | set(map(chr, range(0x11A8, 0x11C3)))
    for c in map(chr, range(0x110000)):
        parts = unicodedata.decomposition(c).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            found.add(chr(int(parts[1], 16)))
    return found


COMPOSING = composing()


def stays_in_nfc(c):
    return unicodedata.normalize("NFC", c) == c and not unicodedata.combining(c) and c not in COMPOSING


def classes(point):
    c = chr(point)
    cased = final_sigma(c)
    facts = [
        regex.match(r"\p{L}", c),
        regex.match(r"\p{N}", c),
        c.isalnum() or c == "_",
        c.isdecimal(),
        unicodedata.category(c) != "Cn",
        cased,
        final_sigma("A" + c) and not final_sigma("1" + c),
        stays_in_nfc(c),
    ]
    return sum(1 << i for i, fact in enumerate(facts) if fact)


def class_ranges():
    ranges = []
    for point in range(0x110000):
        found = classes(point)
        if not ranges or found != ranges[-1][1]:
            ranges.append((point, found))
    return ranges


def class_rows(ranges):
    return [f"{{0x{first:x}, 0x{found:x}}}" for first, found in ranges]


def block_rows(ranges):
    """For each 256 code points the last range that begins before or with them."""
    firsts = [first for first, _ in ranges]
    return [str(bisect.bisect_right(firsts, block) - 1) for block in range(0, 0x110000, 256)]


def mojibake_rows():
    table = {}

    def row(c):
        return table.setdefault(c, [0, [0] * len(CHARMAP_ENCODINGS)])

    sets = [MOJIBAKE_CATEGORIES[name] for name in CATEGORIES] + [UTF8_CLUES[name] for name in CLUES]
    for i, chars in enumerate(sets):
        for c in members(chars):
            if ord(c) >= 0x80:
                row(c)[0] |= 1 << i
    for i, encoding in enumerate(CHARMAP_ENCODINGS):
        for byte in [0x1A] + list(range(0x80, 0x100)):
            c = bytes([byte]).decode(encoding)
            if ord(c) >= 0x80:
                row(c)[1][i] = byte
    for c in NAMED:
        row(c)[0] |= 1 << len(sets)
    for c in sorted(table):
        found, encoded = table[c]
        possible = sum(1 << i for i, byte in enumerate(encoded) if byte)
        row_bytes = ", ".join(f"0x{byte:x}" if byte else "0" for byte in encoded)
        yield f"{{0x{ord(c):x}, 0x{possible:x}, 0x{found:x}, {{{row_bytes}}}}}"


def mojibake_leaves(rows):
    """For each 64 code points of the BMP which leaf they have, and the leaves: row + 1 of each point, or 0."""
    numbers = {int(row[1:].split(",")[0], 16): i for i, row in enumerate(rows, 1)}
    leaves, blocks = [[0] * 64], []
    for block in range(0, 0x10000, 64):
        leaf = [numbers.get(point, 0) for point in range(block, block + 64)]
        if leaf not in leaves:
            leaves.append(leaf)
        blocks.append(str(leaves.index(leaf)))
    return blocks, [str(number) for leaf in leaves for number in leaf]


def quoted(text):
    plain = set(map(chr, range(32, 127))) - set('"\\?')
    return "".join(c if c in plain else "".join(f"\\{b:03o}" for b in c.encode()) for c in text)


def entity_rows(table):
    return [f'{{"{name}", "{quoted(table[name])}"}}' for name in sorted(table)]


def windows_1252_rows():
    return [f"0x{ord(bytes([b]).decode('sloppy-windows-1252')):x}" for b in range(0x80, 0xA0)]


def plain_rows():
    """What a byte alone becomes in cleaning, 0 where that depends on others or takes it away."""
    kept = [c for c in map(chr, range(128)) if c.isprintable() and c != "&" or c in "\t\n\f"]
    return [f"0x{ord(' ' if c.isspace() else c.lower()):x}" if (c := chr(b)) in kept else "0" for b in range(256)]


def main():
    html5 = html.entities.html5
    upper = {name[1:]: text for name, text in HTML_ENTITIES.items() if name[1:] not in html5}
    print(f"/* Made by tables.py: Python {sys.version.split()[0]}, ftfy 6.3.1, regex {regex.__version__}. */")
    print('#include "text/tables.h"\n\n/* clang-format off */\n')
    ranges = class_ranges()
    print_table("struct clip_class_range clip_class_ranges[]", class_rows(ranges))
    print_table("uint16_t clip_class_blocks[]", block_rows(ranges))
    rows = list(mojibake_rows())
    blocks, leaves = mojibake_leaves(rows)
    print_table("struct clip_mojibake_point clip_mojibake_points[]", rows)
    print_table("uint8_t clip_mojibake_blocks[]", blocks)
    print_table("uint16_t clip_mojibake_leaves[]", leaves)
    print_table("struct clip_entity clip_html_entities[]", entity_rows(html5))
    print_table("struct clip_entity clip_upper_entities[]", entity_rows(upper))
    print_table("uint16_t clip_windows_1252[]", windows_1252_rows())
    print_table("uint8_t clip_plain_bytes[]", plain_rows())


main()
