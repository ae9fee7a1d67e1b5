"""Logs of a training: ``metrics.csv``, and the trackers that accelerate knows."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from boostformer.errors import UserError, nearest, os_refusal
from boostformer.files import appending, replacing, sync
from boostformer.training.metrics import Metrics
from boostformer.training.validation import Best

TRACKERS = {"tensorboard": "tensorboardX", "wandb": "wandb", "mlflow": "mlflow", "aim": "aim"}
"""Packages of the trackers."""
FILE, FOLDER = "metrics.csv", "logs"
COLUMNS = ("iteration", "loss", "lr", "images_per_second", "waiting", "memory_mb", "miou", "accuracy")


@dataclass(frozen=True)
class Standing:
    """State of a training, for people.

    Attributes:
        iteration: how many are done.
        iterations: how many there will be.
        loss: its running mean.
        lr: the encoder's learning rate in the last iteration.
        images_per_second: as of the last second; None before the first figure.
        waiting: share of that time in which the next batch was waited for.
        memory: most bytes taken so far, on the GPU or, on a CPU, by the process.
        scored: the scores, if this iteration was followed by a validation.
        latest: the scores of the last validation so far.
        best: the best validation so far.
    """

    iteration: int
    iterations: int
    loss: float
    lr: float
    images_per_second: float | None
    waiting: float | None
    memory: int
    scored: Metrics | None = None
    latest: Metrics | None = None
    best: Best | None = None

    def row(self) -> dict[str, Any]:
        """Give the values of :data:`COLUMNS`, None where there is none."""
        score = {"miou": self.scored.miou, "accuracy": self.scored.accuracy} if self.scored else {}
        return {
            "iteration": self.iteration,
            "loss": self.loss,
            "lr": self.lr,
            "images_per_second": _rounded(self.images_per_second),
            "waiting": _rounded(self.waiting),
            "memory_mb": round(self.memory / 2**20),
        } | score


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


class Log(Protocol):
    """Watches a training; only the main process's is told."""

    def begin(self, start: int) -> None:
        """Take note that the training goes on after ``start`` iterations: what was told of later ones is void."""

    def see(self, now: Standing) -> None:
        """Take note of how the training stands: on a CPU after every iteration, else after every tenth or so."""

    def keep(self) -> None:
        """Bring what was told onto the disk, since a state that follows it is about to be saved."""


class MetricsLog:
    """Writes a row of ``folder/metrics.csv`` every ten iterations and at validations, and tells trackers the same.

    Args:
        folder: of the file, and of the trackers' own in ``logs``.
        trackers: names out of :data:`TRACKERS`, as :func:`trackers_of` gives them.
        about: settings of the training, as plain values.
    """

    EVERY = 10

    def __init__(self, folder: Path, trackers: Sequence[str], about: dict[str, Any]) -> None:
        self._file, self._logs, self._names, self._about = folder / FILE, folder / FOLDER, trackers, about
        self._trackers: list[Any] = []
        self._last: int | None = None

    def begin(self, start: int) -> None:
        """Cut the rows of iterations after ``start``, and start the trackers. UserError for a file that is no log."""
        self._write([row for row in self._read() if int(row["iteration"]) <= start])
        self._last = start
        self._trackers = [_started(name, self._logs, start, self._about) for name in self._names]

    def see(self, now: Standing) -> None:
        """Write a row, if one is due."""
        if now.iteration % self.EVERY and now.scored is None and now.iteration != now.iterations:
            return
        row, self._last = now.row(), now.iteration
        csv.DictWriter(line := io.StringIO(), COLUMNS).writerow(row)
        with appending(self._file) as stream:
            stream.write(line.getvalue().encode())
        self._tell(row)

    def keep(self) -> None:
        """Bring the rows onto the disk."""
        sync(self._file)

    def end(self, metrics: Metrics) -> None:
        """Enter the scores of the trained network into the last row; nothing before :meth:`begin`."""
        if self._last is None:  # a process that is not the main one
            return
        score = {"miou": metrics.miou, "accuracy": metrics.accuracy}
        if rows := self._read():
            self._write([*rows[:-1], rows[-1] | score])
        self._tell({"iteration": self._last, **score})

    def close(self) -> None:
        """Let the trackers write what they still have."""
        for tracker in self._trackers:
            tracker.finish()
        self._trackers = []

    def _tell(self, row: dict[str, Any]) -> None:
        values = {name: value for name, value in row.items() if value is not None and name != "iteration"}
        for tracker in self._trackers:
            tracker.log(values, step=row["iteration"])

    def _read(self) -> list[dict[str, Any]]:
        """Read the rows, but for a last one that was cut off."""
        try:
            with self._file.open(newline="") as stream:
                reader = csv.DictReader(line for line in stream if line.endswith("\n"))
                rows = [row for row in reader if row["iteration"].isdecimal()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise os_refusal(self._file, "cannot be read", error) from None
        except (ValueError, KeyError, csv.Error):
            rows = []
        else:
            if reader.fieldnames == list(COLUMNS):
                return rows
        raise UserError(f"{self._file}: not a log of a training; remove it or choose another folder")

    def _write(self, rows: Sequence[dict[str, Any]]) -> None:
        with replacing(self._file, parents=True) as part, part.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)


def trackers_of(text: str) -> tuple[str, ...]:
    """Read names of trackers, ``tensorboard,wandb`` or ``none``; UserError for an unknown one or a missing package."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if names == ("none",):
        return ()
    for name in names:
        if name not in TRACKERS:
            raise UserError(f"--log: unknown tracker '{name}'; {nearest(name, TRACKERS)}, or none")
        if find_spec(TRACKERS[name]) is None:
            package = TRACKERS[name]
            raise UserError(
                f"--log: '{name}' needs the package {package}, which is not installed: pip install {package}"
            )
    return names


def _started(name: str, folder: Path, start: int, about: dict[str, Any]) -> Any:
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    kind = LOGGER_TYPE_TO_CLASS[name]
    if name == "tensorboard":  # which hides what was told of later iterations before it was interrupted
        tracker = kind("", logging_dir=folder, purge_step=start + 1)
    elif kind.requires_logging_directory:
        tracker = kind("boostformer", logging_dir=str(folder))
    else:
        tracker = kind("boostformer")
    tracker.start()
    if name != "tensorboard":
        tracker.store_init_configuration(about)
    return tracker
