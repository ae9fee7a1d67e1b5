"""`Patience` with a database that is away: every query is repeated until it answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from boostformer.errors import UserError
from results.storage.location import Database, Journal
from search.config.retry import retrying

T = TypeVar("T")

PATIENCE_SECONDS = 30 * 60.0
"""Seconds that a database may be away before a worker gives up."""
PAUSES = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Seconds between two tries; the last one is used from then on."""


class Patience:
    """Repeat actions that fail because the database is away; say so once, and say when it is back."""

    def __init__(self, where: Journal | Database, say: Callable[[str], None]) -> None:
        self._where, self._say = where, say

    def __call__(self, action: Callable[[], T]) -> T:
        """Return the result of ``action``, which must be safe to repeat.

        Raises :class:`UserError` when the database is away for too long, or its role may not do that, and whatever else
        ``action`` raises.
        """
        if isinstance(self._where, Journal):
            return action()
        from results.storage.database import outage, refusal

        url, minutes, since = self._where.url, PATIENCE_SECONDS / 60, 0.0

        def told(why: str, pause: float) -> None:
            nonlocal since
            if not since:
                since = time.monotonic()
                self._say(f"{url}: {why}; trying again for {minutes:.0f} min")

        try:
            found = retrying(action, outage, PAUSES, told, seconds=PATIENCE_SECONDS, spread=0.5)
        except Exception as error:
            if (why := refusal(error)) is not None:
                raise UserError(f"{url}: {why}") from None
            if (why := outage(error)) is None:
                raise
            raise UserError(
                f"{url}: away for {minutes:.0f} min: {why}; what is finished is kept, and the same command goes on"
            ) from None
        if since:
            self._say(f"{url}: back after {time.monotonic() - since:.0f} s")
        return found
