"""A card of a page: a title, a plain sentence of what it shows, and what is drawn beneath."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Card:
    """A card.

    Attributes:
        kind: what is drawn, by which the page finds how.
        title: a few words.
        sentence: what a reader takes away.
        content: plain values of what is drawn.
        method: how it was found, and what it does not say, for those who ask.
        urgent: whether it stands before all others but the first.
    """

    kind: str
    title: str
    sentence: str
    content: dict[str, Any] = field(default_factory=dict)
    method: str = ""
    urgent: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for JSON."""
        return {"kind": self.kind, "title": self.title, "sentence": self.sentence, "method": self.method} | self.content


def ranked(cards: Sequence[Card | None]) -> list[dict[str, Any]]:
    """Put the cards that there are in order: the first, then what is urgent, then the others as they are given."""
    there = [card for card in cards if card is not None]
    return [card.to_dict() for card in [*there[:1], *sorted(there[1:], key=lambda card: not card.urgent)]]


def duration(seconds: float) -> str:
    """Word a time: ``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def share(part: float, digits: int = 0) -> str:
    """Word a share: ``58 %``."""
    return f"{100 * part:.{digits}f} %"
