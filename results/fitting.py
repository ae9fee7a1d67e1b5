"""Columns of a table within the characters of a line: texts are broken between words, never inside one."""

from __future__ import annotations

import re
from collections.abc import Sequence

LEGIBLE = 24
"""Characters that a longer text has on a line at least."""
_SPACES = re.compile(r"(?<=\s)")
_SIGNS = re.compile(r"(?<=[/+|])|(?<=\.)(?=[a-z])")
"""Where a longer word may be broken: behind the signs that join names, as in ``stages.0.mixer``, ``pooling+star``."""


def least(text: str) -> int:
    """Count the characters that the column of a text needs."""
    longest = max(len(piece.rstrip()) for word in _SPACES.split(text) for piece in _SIGNS.split(word))
    return max(longest, min(LEGIBLE, len(text)))


def wrapped(text: str, width: int) -> str:
    """Break a text into lines of up to ``width`` characters; more only where a name is longer."""
    lines = [""]
    for word in _SPACES.split(text):
        for piece in [word] if len(word.rstrip()) <= width else _SIGNS.split(word):
            if lines[-1] and len((lines[-1] + piece).rstrip()) > width:
                lines.append("")
            lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)


def widths(natural: Sequence[int], needed: Sequence[int], room: int) -> list[int]:
    """Share a line's characters out among columns.

    Args:
        natural: what each column would take without breaks.
        needed: what it needs at least, which it gets in any case.
        room: what there is for all of them.
    """
    found = list(needed)
    for _ in range(room - sum(found)):
        poorest = max(range(len(found)), key=lambda column: natural[column] - found[column])
        if found[poorest] >= natural[poorest]:
            break
        found[poorest] += 1
    return found
