"""Names of classes, read alike wherever they stand: in a data set, in a checkpoint, in an imported one."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from boostformer.errors import UserError
from boostformer.files import composed
from boostformer.sizes import MOST

LONGEST_NAME = 200
"""Characters of a class name."""


def class_names(names: Iterable[object], source: object) -> list[str]:
    """Give the names in Unicode's composed form (NFC), without spaces around them.

    So names that look the same are the same. :class:`UserError` names the ``source`` when two classes share one,
    when one is longer than :data:`LONGEST_NAME` or has control characters, and when there are too many.
    """
    found: dict[str, None] = {}
    for given in names:
        text = str(given)
        if len(text) > LONGEST_NAME:
            raise UserError(f"{source}: a class name of {len(text):,} characters, at most {LONGEST_NAME} allowed")
        name = composed(text).strip()
        if name in found:
            raise UserError(f"{source}: names two classes '{name}'; give each class a name of its own")
        if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
            raise UserError(f"{source}: class name {name!a} has control characters; name it in letters")
        if len(found) == MOST["classes"]:
            raise UserError(f"{source}: names more than {MOST['classes']:,} classes")
        found[name] = None
    return list(found)


def numbered(count: int) -> list[str]:
    """Name classes that nobody has named."""
    return [f"class_{number}" for number in range(1, count + 1)]


def are_numbers(names: Sequence[str]) -> bool:
    """Tell whether ``names`` say nothing but the classes' order: there are none, or ours or transformers' numbers."""
    return list(names) in ([], numbered(len(names)), [f"LABEL_{index}" for index in range(len(names))])
