"""`Hours`: the time in which a run was worked on, over all sittings and whoever worked, and its limit.

No clocks are compared. A worker knows how long ago it looked last; the run's time has grown by as much since, unless
others have told so already. So work side by side counts once, and pauses do not count.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

HOURS, WORKED = "hours", "worked_seconds"
"""Attributes of the study: the limit, and the time that was told of so far."""
PACE = 60.0
"""Seconds after which a worker tells of the time again; so much is lost at most when it is killed."""


class Hours:
    """One worker's view of a run's time; it counts from the first look on."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._worked: float | None = None  # as it was at the last look
        self._looked = self._told = clock()

    def look(self, study: Mapping[str, Any]) -> float:
        """Give the seconds worked so far, from the attributes of the study."""
        now, told = self._clock(), float(study.get(WORKED, 0.0))
        self._worked = told if self._worked is None else max(told, self._worked + now - self._looked)
        self._looked = now
        return self._worked

    def is_due(self) -> bool:
        """Tell whether it is time to tell the study."""
        return self._clock() - self._told >= PACE

    def tell(self, study: Mapping[str, Any], write: Callable[[str, Any], None]) -> None:
        """Write the seconds worked so far into the study, if there are more; to be called in turn."""
        if self.look(study) >= 1 + study.get(WORKED, 0.0):
            write(WORKED, round(self.look(study), 1))
        self._told = self._clock()

    def used_up(self, study: Mapping[str, Any]) -> str | None:
        """Say that the time which the search was given is used up; None as long as it is not."""
        limit = study.get(HOURS)
        if limit is None or self.look(study) < 3600 * limit:
            return None
        return f"its {limit:g} hours are used up; with more --hours the same command goes on"
