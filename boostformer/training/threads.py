"""Number of CPU threads that a training computes with: measured, since more are not always faster.

Threads wait for each other after every operation. Small operations are over before the waiting pays, and on a machine
that others use too a step can take many times as long with two threads as with one. The number changes the last bits
of what is computed, so a training keeps the one that it began with.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import torch

PAYS = 0.9
"""More threads pay when a step takes at most this share of its time with fewer."""
STEPS, ENOUGH = 3, 5.0
"""The steps timed with each number of threads, after one that warms up, and the seconds after which no more begin."""


@dataclass(frozen=True)
class Choice:
    """The chosen number of ``threads``, and the seconds per step with each number that was tried."""

    threads: int
    seconds: dict[int, float]

    def __str__(self) -> str:
        tried = ", ".join(f"{seconds:.2g} s with {threads}" for threads, seconds in self.seconds.items())
        return f"trains with {self.threads} thread{'s' if self.threads > 1 else ''}; a step took {tried}"


@contextmanager
def using(threads: int | None) -> Iterator[None]:
    """Let torch and OpenCV compute with so many CPU threads within the block; None leaves their numbers as they are."""
    if threads is None:
        yield
        return
    before, images_before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        cv2.setNumThreads(images_before)


def candidates(most: int) -> list[int]:
    """1, 2, 4, … and ``most``."""
    return [2**power for power in range((most - 1).bit_length())] + [most]


def choose_threads(step: Callable[[], object], most: int, clock: Callable[[], float] = time.perf_counter) -> Choice:
    """Double the number of threads, up to ``most``, as long as a ``step`` gets faster by a tenth or more.

    The same step is made several times with each number. ``clock`` tells the seconds.
    """
    best = 1
    seconds: dict[int, float] = {}
    for threads in candidates(most):
        limit = PAYS * seconds[best] if seconds else float("inf")
        with using(threads):
            seconds[threads] = _seconds(step, clock, limit)
        if seconds[threads] > limit:
            break
        best = threads
    return Choice(best, seconds)


def _seconds(step: Callable[[], object], clock: Callable[[], float], limit: float) -> float:
    """The mean time of a step; of fewer steps when these alone show that it is above ``limit``."""
    step()
    began, elapsed, steps = clock(), 0.0, 0
    while steps < STEPS and elapsed < ENOUGH and elapsed <= limit * STEPS:
        step()
        steps += 1
        elapsed = clock() - began
    return elapsed / steps
