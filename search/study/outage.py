"""Patience with a database that is away: what failed is tried again, for as long as a restart or a repair may take."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from boostformer.errors import UserError
from results.storage.location import Database, Journal

T = TypeVar("T")

PATIENCE_SECONDS = 30 * 60.0
"""So long a database may be away before a worker gives up."""
PAUSES = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Seconds between two tries; the last one from then on."""


class Patience:
    """Repeats actions that fail because the database cannot be asked; says so once, and when it is back."""

    def __init__(self, where: Journal | Database, say: Callable[[str], None]) -> None:
        self._where, self._say = where, say

    def __call__(self, action: Callable[[], T]) -> T:
        """What ``action`` returns, which must not mind to be done twice.

        Raises :class:`UserError` when the database is away for too long, and whatever else ``action`` raises.
        """
        if isinstance(self._where, Journal):
            return action()
        from results.storage.database import outage

        since: float | None = None
        attempt = 0
        while True:
            try:
                found = action()
            except Exception as error:
                if (why := outage(error)) is None:
                    raise
                now = time.monotonic()
                if since is None:
                    since = now
                    self._say(f"{self._where.url}: {why}; trying again for {PATIENCE_SECONDS / 60:.0f} min")
                if now - since > PATIENCE_SECONDS:
                    raise UserError(
                        f"{self._where.url}: away for {PATIENCE_SECONDS / 60:.0f} min: {why}; "
                        "what is finished is kept, and the same command goes on"
                    ) from None
                # Not all workers at once.
                time.sleep(PAUSES[min(attempt, len(PAUSES) - 1)] * random.uniform(0.5, 1.0))
                attempt += 1
            else:
                if since is not None:
                    self._say(f"{self._where.url}: back after {time.monotonic() - since:.0f} s")
                return found
