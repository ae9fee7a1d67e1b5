"""Budgets: hard upper limits on what a network may cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """Absolute limits by the names of costs; a cost that equals its limit fits."""

    limits: tuple[tuple[str, float], ...]
    """All but milliseconds in whole numbers."""

    def violations(self, figures: Mapping[str, float | None]) -> dict[str, float]:
        """Give how far ``figures`` are over each limit, as a share of it: at most 0 fits.

        An unknown figure, None, violates nothing.
        """
        return {name: value / limit - 1 for name, limit in self.limits if (value := figures[name]) is not None}

    def fits(self, figures: Mapping[str, float | None]) -> bool:
        """Tell whether no limit is exceeded, so far as is known."""
        return all(violation <= 0 for violation in self.violations(figures).values())
