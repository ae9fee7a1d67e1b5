"""Retries while a database or a board is away, for as long as a restart or a repair may take."""

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
    """Return the result of ``action``, repeating it as long as it fails because something is away.

    Args:
        action: must be safe to repeat.
        away: says why an error means that something is away; None for an error of another kind, which is raised.
        pauses: seconds between two tries; the last one is used from then on.
        say: is told before each pause the reason and the seconds.
        seconds: total time after which the last error is raised.
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
