"""Texts that are shown: counts in words, and texts of others' making, such as file names, made safe for it."""

from __future__ import annotations

import unicodedata

LONGEST_LINE = 2_000
"""Characters of a message of one line."""
_HARMLESS = "\n\t"
_CATEGORIES = ("Cc", "Cs", "Zl", "Zp")
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that turn the direction of what follows, so that it reads as another text."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def number_of(count: float, noun: str, form: str = "") -> str:
    """Write a count with its noun, ``1 image`` and ``2 images``; ``form`` is a format of the number, such as ``,``."""
    several = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{count:{form}} {noun if count == 1 else several}"


def printable(text: str) -> str:
    """Write characters that a terminal obeys, or cannot show, as ``\\x1b`` and the like; ends of lines stay."""
    if text.isascii() and text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "".join(_escaped(letter) if _is_obeyed(letter) else letter for letter in text)


def one_line(text: str) -> str:
    """Write a message as one printable line, the end of a very long one left out."""
    line = " ".join(printable(text).split())
    return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}…"


def csv_cell(value: object) -> object:
    """Give what a CSV file keeps of a value: spreadsheets compute texts that begin as formulas do, unless quoted."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _is_obeyed(letter: str) -> bool:
    return letter not in _HARMLESS and (unicodedata.category(letter) in _CATEGORIES or letter in _TURNING)


def _escaped(letter: str) -> str:
    return f"\\x{ord(letter):02x}" if ord(letter) < 256 else f"\\u{ord(letter):04x}"
