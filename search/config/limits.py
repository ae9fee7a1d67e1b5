"""`Limit`: one entry of a run file's budgets, and what it comes to for a baseline's cost."""

from __future__ import annotations

import re
from dataclasses import dataclass

from boostformer.errors import short

_SCALES = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9}
_MOST = 1e15
"""More than any cost, in the unit that is written; times the largest scale it is still a number."""
_NUMBER = r"\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*"


@dataclass(frozen=True, slots=True)
class Limit:
    """An upper limit as it was written: a count, milliseconds, megabytes, or a share of a baseline's cost."""

    written: str
    number: float
    is_share: bool = False
    is_count: bool = True

    @classmethod
    def read(cls, name: str, value: object) -> Limit:
        """Read a limit on the cost ``name``: ``3M``, ``1.5G``, ``2500000``, ``80%``, ``20 ms`` or ``8 MB``.

        Raises ValueError, which says what is allowed.
        """
        is_count = not name.endswith(("_ms", "_mb"))
        units = "([kKMG%]?)"
        if not is_count:
            units = "((?:ms)?)" if name.endswith("_ms") else "((?:MB|%)?)"
        match = None if isinstance(value, bool) else re.fullmatch(_NUMBER + units + r"\s*", str(value))
        if match is None or not 0 < float(match[1]) <= _MOST:
            allowed = "3M, 1.5G, 2500000 or, with a baseline, 80%"
            if not is_count:
                megabytes = "megabytes, such as 8 or 2.5 or, with a baseline, 80%"
                allowed = "milliseconds, such as 20 or 12.5" if name.endswith("_ms") else megabytes
            raise ValueError(f"{short(value)} is not a limit, allowed: {allowed}")
        unit = match[2]
        scale = _SCALES[unit] if is_count and unit != "%" else 1
        return cls(repr(value), float(match[1]) * scale, unit == "%", is_count)

    def resolve(self, baseline_cost: float) -> int | float:
        """Give the largest cost that is allowed; a share is one of ``baseline_cost``.

        Raises ValueError when that is less than one.
        """
        if not self.is_count:
            return baseline_cost * self.number / 100 if self.is_share else self.number
        found = int(baseline_cost * self.number / 100) if self.is_share else round(self.number)
        if found < 1:
            raise ValueError(f"{self.written} comes to less than 1, which no network fits")
        return found
