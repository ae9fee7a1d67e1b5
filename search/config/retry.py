"""Trying again while something is away: a database or a board, for as long as a restart or a repair may take."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, stop_never, wait_chain, wait_fixed

T = TypeVar("T")


def retrying(
    action: Callable[[], T],
    away: Callable[[BaseException], str | None],
    pauses: Sequence[float],
    say: Callable[[str, float], None],
    *,
    seconds: float = math.inf,
    spread: float = 0.0,
) -> T:
    """Give what ``action`` returns, repeating it for as long as it fails because something is away.

    Args:
        action: must not mind to be done twice.
        away: tells why an error means that something is away, or None when it is none of that kind.
        pauses: seconds between two tries; the last one from then on.
        say: is told before each pause why, and how many seconds it takes.
        seconds: after so many in all the last error is raised, as are errors of another kind at once.
        spread: share by which pauses are shortened at random, so that not all workers come back at once.
    """
    waits = wait_chain(*map(wait_fixed, pauses))

    def told(state: RetryCallState) -> None:
        assert state.outcome is not None and state.next_action is not None
        error = state.outcome.exception()
        assert error is not None
        say(away(error) or "", state.next_action.sleep)

    repeat = Retrying(
        retry=retry_if_exception(lambda error: away(error) is not None),
        wait=lambda state: waits(state) * random.uniform(1 - spread, 1),
        stop=stop_never if math.isinf(seconds) else stop_after_delay(seconds),
        before_sleep=told,
        reraise=True,
    )
    return repeat(action)
