"""Names of classes, read alike wherever they stand: in a data set, in a checkpoint, in an imported one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from boostformer.errors import UserError
from boostformer.files import composed


def class_names(names: Iterable[object], source: object) -> list[str]:
    """Give the names in Unicode's composed form (NFC), without spaces around them.

    So names that look the same are the same. :class:`UserError` names the ``source`` when two classes share one.
    """
    found = [composed(str(name)).strip() for name in names]
    for index, name in enumerate(found):
        if name in found[:index]:
            raise UserError(f"{source}: names two classes '{name}'; give each class a name of its own")
    return found


def numbered(count: int) -> list[str]:
    """Name classes that nobody has named."""
    return [f"class_{number}" for number in range(1, count + 1)]


def are_numbers(names: Sequence[str]) -> bool:
    """Tell whether ``names`` say nothing but the classes' order: there are none, or ours or transformers' numbers."""
    return list(names) in ([], numbered(len(names)), [f"LABEL_{index}" for index in range(len(names))])
