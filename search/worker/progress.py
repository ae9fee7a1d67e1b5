"""Display of a running search: bars with the time left on a terminal, else a line per trial."""

from __future__ import annotations

import json
import sys
import time
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from boostformer.shown import number_of, printable
from results.summary import human, why
from results.trial import COSTS, OBJECTIVES, Trial
from search.study.scheduler import Scheduler
from search.study.state import Standing

EVERY = 1.0
"""Seconds between two messages of a child process about the steps of its training."""


def duration(seconds: float) -> str:
    """Write as ``0.4 s``, ``40 s``, ``12 min`` or ``3 h 20 min``."""
    if 0 < seconds < 0.95:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def describe(trial: Trial) -> str:
    """Describe in a line what came of a trial that ended or was set aside."""
    name = f"trial {trial.number} {trial.id}"
    if not trial.status.concludes:
        reason = f": {trial.reason}" if trial.reason else ""
        return f"{name}: {trial.status.replace('_', ' ')}{reason}"
    scored = f"mIoU {human('miou', trial.miou)}" if trial.is_finished else f"failed: {why(trial.reason)}"
    known = [(cost, value) for name in COSTS if (value := (cost := OBJECTIVES[name]).value(trial)) is not None]
    costs = ", ".join(f"{cost.show(value)} {cost.noun}".rstrip() for cost, value in known)
    if trial.key.rung:
        costs += f", {number_of(trial.iterations or 0, 'iteration')}"
    if trial.key.seed:
        costs += f", seed {trial.key.seed}"
    return f"{name}: {scored}, {costs}, {duration(trial.seconds or 0.0)}"


class ConsoleReporter:
    """Reporter that shows the trials of a run on stderr. The time left assumes ``workers`` processes."""

    def __init__(self, workers: int = 1) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.console.soft_wrap = not self.console.is_terminal  # which breaks lines between words
        self.workers = workers
        self.concluded = self.target = 0
        self._scheduler: Scheduler | None = None
        self._seconds, self._iterations = 0.0, 0  # of the trials that were seen to end
        self._iterations_left = 0
        self._base = 0  # iterations that the current trial is carried on from
        self._step = (0, 0.0)  # iterations done by the current trial, when it began
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[note]}"),
            console=self.console,
            transient=True,
        )
        self._working = workers
        self._trials: TaskID | None = None
        self._live: dict[int, TaskID] = {}  # a bar for each trial that runs, by its number
        self._number = 0  # of the trial that this process itself trains
        self._best: float | None = None

    def __enter__(self) -> ConsoleReporter:
        if self.console.is_terminal:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.console.is_terminal:
            self._bars.stop()

    def begins(self, standing: Standing) -> None:
        self._scheduler = standing.scheduler
        self.stands(standing.concluded, standing.target, 0, standing.iterations_left)
        self._trials = self._bars.add_task("trainings", total=self.target, completed=self.concluded, note="")
        scores = [score for seen in standing.history if (score := seen.miou) is not None]
        self._best = max(scores, default=None)

    def stands(self, concluded: int, target: int, others: int, iterations_left: int) -> None:
        """Show how far the run is by the work of all.

        Args:
            concluded: trainings that are done.
            target: about how many there will be.
            others: workers that are at trials.
            iterations_left: of the trainings that are left.
        """
        self.concluded, self.target, self._iterations_left = concluded, target, iterations_left
        self._working = max(self.workers, others + 1)
        if self._trials is not None:
            self._bars.update(self._trials, total=target, completed=concluded, note=self._note())

    def trial(self, trial: Trial, standing: Standing) -> None:
        self._step = (0, time.monotonic())
        self._base = (trial.iterations or 0) - standing.scheduler.iterations(trial.key)
        self.stands(standing.concluded, standing.target, len(standing.owners), standing.iterations_left)
        self._number = trial.number

    def step(self, done: int, total: int, loss: float) -> None:
        self._step = (max(0, done - self._base), self._step[1])
        self.at(self._number, done, total, loss)
        if self._trials is not None:
            self._bars.update(self._trials, note=self._note())

    def at(self, number: int, done: int, total: int, loss: float) -> None:
        """Show, as a live line, how far the training of trial ``number`` is, and its loss."""
        if number not in self._live:
            while len(self._live) >= self.workers:  # its worker has gone on to this one
                self._bars.remove_task(self._live.pop(min(self._live)))
            self._live[number] = self._bars.add_task(f"trial {number}", total=total, note="")
        note = f"iteration {done}/{total}, loss {loss:.3f}"
        note += "" if self._best is None else f", best mIoU so far {human('miou', self._best)}"
        self._bars.update(self._live[number], total=total, completed=done, note=note)

    def ended(self, trial: Trial) -> None:
        assert self._scheduler is not None
        self.told(describe(trial), self._scheduler.iterations(trial.key), trial.seconds or 0.0, trial.miou)

    def told(self, line: str, iterations: int, seconds: float, miou: float | None = None) -> None:
        """Show the ``line`` of a trial that took so many ``iterations`` and ``seconds`` and counts as done."""
        self._best = max((score for score in (self._best, miou) if score is not None), default=None)
        self.concluded += 1
        self.target = max(self.target, self.concluded)  # how many finalists get more seeds is not known before
        self._seconds, self._iterations = self._seconds + seconds, self._iterations + iterations
        self._iterations_left = max(0, self._iterations_left - iterations)
        self._step = (0, time.monotonic())
        if self._trials is not None:
            self._bars.update(self._trials, completed=self.concluded, note=self._note())
        left = "" if self.console.is_terminal else self._left(", ")
        count = f"[{self.concluded:>{len(str(self.target))}}/{self.target}]"
        self.console.print(printable(f"{count} {line}{left}"), markup=False)

    def set_aside(self, trial: Trial) -> None:
        self._step = (0, time.monotonic())
        self.says(describe(trial))

    def says(self, line: str) -> None:
        self.console.print(printable(line), markup=False)

    def exhausted(self, reason: str) -> None:
        self.console.print(printable(f"the search ends early: {reason}"), markup=False)

    def _note(self) -> str:
        return f"{self.concluded}/{self.target}{self._left(', ')}"

    def _left(self, prefix: str) -> str:
        """Estimate the time left from the trials so far, or before the first has ended from its steps."""
        done, began = self._step
        left = self.target - self.concluded
        if left < 1:
            return ""
        if self._iterations:
            pace = self._seconds / self._iterations
        elif done:
            pace = (time.monotonic() - began) / done
        else:
            return ""
        seconds = pace * max(0, self._iterations_left - done) / min(self._working, left)
        return f"{prefix}about {duration(seconds)} left"


class LineReporter:
    """Reporter that tells a parent process about each ended trial, as a line of JSON."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._scheduler: Scheduler | None = None
        self._number, self._told = 0, 0.0  # of the running trial, and when its last step was told

    def begins(self, standing: Standing) -> None:
        self._scheduler = standing.scheduler

    def trial(self, trial: Trial, standing: Standing) -> None:
        self._number = trial.number
        others, left = len(standing.owners), standing.iterations_left
        self._write({"stands": (standing.concluded, standing.target, others, left)})

    def step(self, done: int, total: int, loss: float) -> None:
        if time.monotonic() - self._told > EVERY:
            self._told = time.monotonic()
            self._write({"at": (self._number, done, total, loss)})

    def ended(self, trial: Trial) -> None:
        assert self._scheduler is not None
        self._write(
            {"ended": (describe(trial), self._scheduler.iterations(trial.key), trial.seconds or 0.0, trial.miou)}
        )

    def set_aside(self, trial: Trial) -> None:
        self.says(describe(trial))

    def says(self, line: str) -> None:
        self._write({"says": line})

    def exhausted(self, reason: str) -> None:
        self._write({"exhausted": reason})

    def _write(self, message: dict[str, Any]) -> None:
        print(json.dumps(message), file=self._stream, flush=True)


def relay(line: str, reporter: ConsoleReporter) -> None:
    """Pass on a line that a :class:`LineReporter` wrote."""
    try:
        message = json.loads(line)
    except ValueError:  # something else that was printed in the worker
        print(printable(line), end="", file=sys.stderr)
        return
    if "ended" in message:
        reporter.told(*message["ended"])
    elif "at" in message:
        reporter.at(*message["at"])
    elif "stands" in message:
        reporter.stands(*message["stands"])
    elif "says" in message:
        reporter.says(message["says"])
    else:
        reporter.exhausted(message["exhausted"])
