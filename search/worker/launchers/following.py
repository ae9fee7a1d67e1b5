"""Following a fleet until it is over, and what is said of its workers meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable

from search.worker.launchers.launcher import Fleet, State


def follow(fleet: Fleet, say: Callable[[str], None], look: Callable[[], None]) -> dict[int, State]:
    """Wait until no worker works any more, and return what became of each.

    Workers that still wait for a place when another has ended by itself have nothing left to do: nobody waits for them.

    Args:
        fleet: the workers.
        say: is told what becomes of each.
        look: is called now and then.
    """
    known: dict[int, State] = {}
    while True:
        time.sleep(fleet.pause)
        found = fleet.workers()
        for number in sorted(number for number in found if found[number] is not known.get(number)):
            state = found[number]
            why = f": {fleet.last_words(number)}" if state is State.FAILED else ""
            say(f"worker {number} {state}{why}")
        known = found
        look()
        states = set(known.values())
        if all(state.is_over for state in states) or (State.ENDED in states and State.WORKING not in states):
            return known
