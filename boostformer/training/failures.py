"""Trainings that end without a result, with a reason that a search can record."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch

from boostformer.errors import UserError

Reason = Literal["diverged", "nan", "out_of_memory", "too_long"]


class TrainingFailure(Exception):
    """The network or recipe cannot be trained here. ``reason`` says why in one word."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: Reason = reason


@contextmanager
def memory_failures() -> Iterator[None]:
    """Turn running out of memory, on any device, into TrainingFailure("out_of_memory")."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise TrainingFailure("out_of_memory", _first_line(error)) from error
    except RuntimeError as error:
        # What the CPU's allocator raises has no class of its own.
        if "can't allocate memory" not in str(error):
            raise
        raise TrainingFailure("out_of_memory", _first_line(error)) from error


@contextmanager
def compile_failures(compiles: bool) -> Iterator[None]:
    """Turn what torch.compile cannot do, such as finding a compiler, into UserError where a training ``compiles``."""
    try:
        yield
    except Exception as error:
        if not compiles or not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        raise UserError(
            f"compile: torch cannot compile this network here ({_first_line(error)}); set it to false"
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or ["no memory left"])[0]


@dataclass
class LossWatch:
    """Watch over the loss: raises TrainingFailure when it is no number, or far above where it began.

    ``chance`` is the loss of guessing all classes alike. Diverged means: the running mean exceeds
    ``TOO_FAR`` times the larger of that and the first loss.
    """

    TOO_FAR = 4.0
    KEEP = 0.9

    chance: float
    first: float | None = None
    mean: float = math.nan

    def see(self, iteration: int, loss: float) -> None:
        """Take note of the loss after ``iteration`` iterations."""
        if not math.isfinite(loss):
            raise TrainingFailure("nan", f"the loss is {loss} at iteration {iteration}")
        if self.first is None:
            self.first = self.mean = loss
        self.mean = self.KEEP * self.mean + (1 - self.KEEP) * loss
        limit = self.TOO_FAR * max(self.chance, self.first)
        if self.mean > limit:
            raise TrainingFailure(
                "diverged", f"the mean loss is {self.mean:.3g} at iteration {iteration}, above {limit:.3g}"
            )
