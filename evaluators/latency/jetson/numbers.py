"""Numbers in what a board prints, which may be anything."""

from __future__ import annotations

import math


def number(text: str) -> float:
    """Read a number; NaN for what is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def finite(text: str | None) -> float | None:
    """Read a finite number; None for what is none."""
    found = number(text or "")
    return found if math.isfinite(found) else None
