"""Base of all teachers, wherever their logits come from."""

from __future__ import annotations

from abc import ABC
from dataclasses import asdict, dataclass
from typing import Any

from boostformer.errors import UserError
from boostformer.names import are_numbers
from boostformer.shown import number_of

_LISTED = 5


@dataclass(frozen=True)
class Identity:
    """Identity of a teacher.

    Attributes:
        id: where it came from, as it was named.
        sha256: of its weights, or of all logits that are used.
        licence: as its files say; None where they do not.
        params: how many weights it has; None for stored logits.
    """

    id: str
    sha256: str
    licence: str | None
    params: int | None

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain values."""
        return asdict(self)


class Teacher(ABC):
    """A teacher; either kind adds how its logits are found.

    Attributes:
        identity: which it is.
        classes: how many its logits tell apart.
        labels: their names, if it has any.
        widths: channels of its four stages' maps; none where it has no such stages.
        macs: of one image, 0 for stored logits.
        remarks: lines for the person.
    """

    identity: Identity
    classes: int
    labels: list[str]
    widths: tuple[int, ...] = ()
    macs: int = 0
    remarks: tuple[str, ...] = ()


def match_classes(teacher: Teacher, labels: list[str]) -> tuple[list[int | None], str | None]:
    """Find the teacher's channel of each of a student's classes (None: it lacks the class), and say what was done.

    They go by name; where one side has no names by number, if there are equally many. UserError when they do not fit.
    """
    source, names = teacher.identity.id, teacher.labels
    if are_numbers(names) or are_numbers(labels):
        if teacher.classes != len(labels):
            who = "the teacher" if are_numbers(names) else "the data"
            raise UserError(
                f"{source}: knows {number_of(teacher.classes, 'class')}, the data have {len(labels)}, and {who} names "
                "none; allowed: equally many, or names on both sides (a checkpoint's `labels`, classes.txt)"
            )
        return list(range(len(labels))), f"{source}: its {len(labels)} classes are matched by number, not by name"
    if names == labels:
        return list(range(len(labels))), None
    place = {name: number for number, name in enumerate(names)}
    rows = [place.get(label) for label in labels]
    lacking = [label for label, row in zip(labels, rows, strict=True) if row is None]
    if len(labels) - len(lacking) < 2:
        raise UserError(
            f"{source}: knows {len(labels) - len(lacking)} of the data's {len(labels)} classes by name, at least 2 are "
            f"needed; it lacks {_listed(lacking)}"
        )
    said = f"{source}: its classes are matched by name"
    if lacking:
        said += f"; it lacks {_listed(lacking)}, of which it teaches nothing"
    if more := len(set(names) - set(labels)):
        said += f"; {more} more that it knows are left out"
    return rows, said


def _listed(names: list[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:_LISTED])
    return f"{shown} and {len(names) - _LISTED} more" if len(names) > _LISTED else shown
