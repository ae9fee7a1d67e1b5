"""`Reporter`: the messages of a worker about its work, whoever shows them."""

from __future__ import annotations

from typing import Protocol

from results.trial import Trial
from search.study.state import Standing


class Reporter(Protocol):
    """Receiver of a worker's messages."""

    def begins(self, standing: Standing) -> None:
        """Tell that the worker begins, and how far the run is."""

    def trial(self, trial: Trial, standing: Standing) -> None:
        """Tell that a trial was claimed, and how far the run was then, by the work of all."""

    def step(self, done: int, total: int, loss: float) -> None:
        """Tell how many of the trial's iterations are done."""

    def ended(self, trial: Trial) -> None:
        """Tell that the trial is finished or has failed."""

    def set_aside(self, trial: Trial) -> None:
        """Tell that the trial does not count: it was measured over budget, waits for its device, or was taken over."""

    def says(self, line: str) -> None:
        """Tell of something else that takes time."""

    def exhausted(self, reason: str) -> None:
        """Tell that the search ends early, because there is nothing more to try."""
