"""`Reporter`: what a worker tells about its work, whoever shows it."""

from __future__ import annotations

from typing import Protocol

from results.trial import Trial
from search.study.state import Standing


class Reporter(Protocol):
    """Is told what a worker does."""

    def begins(self, standing: Standing) -> None:
        """The worker begins; how far the run is."""

    def trial(self, trial: Trial, standing: Standing) -> None:
        """A trial was claimed; how far the run was then, by the work of all."""

    def step(self, done: int, total: int, loss: float) -> None:
        """The trial's training has done so many of its iterations."""

    def ended(self, trial: Trial) -> None:
        """The trial is finished or has failed."""

    def set_aside(self, trial: Trial) -> None:
        """The trial was measured over budget, waits for its device, or was taken over: it does not count."""

    def says(self, line: str) -> None:
        """Something else that takes its time."""

    def exhausted(self, reason: str) -> None:
        """The search ends early, because there is nothing more to try."""
