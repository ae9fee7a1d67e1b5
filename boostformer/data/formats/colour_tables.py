"""Files that name the colours of painted masks: ``class_dict.csv``, ``label_colors.txt``, ``labelmap.txt``."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from boostformer.data.colours import Colours, colour_code
from boostformer.data.formats.names import text_of
from boostformer.errors import UserError
from boostformer.names import class_names

_ALL = range(256)


@dataclass(frozen=True)
class ColourTable:
    """Names by mask value, and the colours that are those values."""

    names: dict[int, str]
    colours: Colours

    def called(self, names: Iterable[str]) -> frozenset[int]:
        """Find the values with one of ``names``, whatever their capitals."""
        wanted = {name.casefold() for name in names}
        return frozenset(value for value, name in self.names.items() if name.casefold() in wanted)


def read_class_dict(path: Path) -> ColourTable:
    """Read ``name,r,g,b`` under a line of these titles."""
    rows = [[field.strip() for field in row] for row in csv.reader(text_of(path).splitlines())]
    if not rows or [title.casefold() for title in rows[0]] != ["name", "r", "g", "b"]:
        raise UserError(f"{path}:1: must be 'name,r,g,b', but got {','.join(rows[0]) if rows else 'nothing'!r}")
    return _table(path, ((number, row[0], row[1:]) for number, row in enumerate(rows[1:], start=2) if any(row)))


def read_label_colours(path: Path) -> ColourTable:
    """Read lines of red, green, blue and a name, apart by spaces or tabs."""

    def rows() -> Iterator[tuple[int, str, list[str]]]:
        for number, line in enumerate(text_of(path).splitlines(), start=1):
            if line.strip():
                *colour, name = [*line.split(maxsplit=3), *[""] * 4][:4]
                yield number, name.strip(), colour

    return _table(path, rows())


def read_labelmap(path: Path) -> ColourTable:
    """Read ``name:r,g,b:parts:actions``, the order of which is that of the values; ``#`` begins a comment."""

    def rows() -> Iterator[tuple[int, str, list[str]]]:
        for number, line in enumerate(text_of(path).splitlines(), start=1):
            if line.strip() and not line.lstrip().startswith("#"):
                # From behind: a name may have colons.
                found = re.fullmatch(r"(.*?):([\d\s,]*):[^:]*:[^:]*", line.strip())
                name, colour = (found[1], found[2]) if found else (line.strip(), "")
                yield number, name, colour.split(",")

    return _table(path, rows())


def _table(path: Path, rows: Iterable[tuple[int, str, list[str]]]) -> ColourTable:
    """Check rows of line number, name and three levels."""
    names: list[str] = []
    colours: dict[int, str] = {}
    for number, name, levels in rows:
        if len(levels) != 3 or not all(text.strip().isdecimal() and int(text) in _ALL for text in levels) or not name:
            raise UserError(f"{path}:{number}: must be a name and three levels 0…255, but got {name!r} {levels}")
        red, green, blue = map(int, levels)
        colour = red << 16 | green << 8 | blue
        if colour in colours:
            raise UserError(f"{path}:{number}: '{name}' has the colour {colour_code(colour)} of '{colours[colour]}'")
        colours[colour] = name
        names.append(name)
    if not names:
        raise UserError(f"{path}: names no class")
    return ColourTable(dict(enumerate(class_names(names, path))), Colours(tuple(colours)))
