"""Curves of the trainings that run: a small file for each in the run's folder, for who watches it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from boostformer.files import appending

CURVES = "curves"
"""Folder of the run in which they lie."""
SECONDS = 1.0
"""A point follows another after so long at least."""
_POINT = re.compile(r"(\d{1,9}),(\d{1,9}),(\d{1,12}(?:\.\d{1,9})?)")

Step = Callable[[int, int, float], None]


@contextmanager
def curve(run_dir: Path, number: int) -> Iterator[Step]:
    """Give what notes iterations done, iterations in all and the loss of a trial; the file is removed at the end.

    Nothing depends on it, so a folder that cannot be written is passed over.
    """
    file, last = _file(run_dir, number), -SECONDS

    def step(done: int, total: int, loss: float) -> None:
        nonlocal last
        if (now := time.monotonic()) - last < SECONDS:
            return
        last = now
        with suppress(OSError):
            file.parent.mkdir(exist_ok=True)
            with appending(file) as stream:
                stream.write(f"{done},{total},{loss:.5f}\n".encode())

    try:
        yield step
    finally:
        with suppress(OSError):
            file.unlink(missing_ok=True)


def read_curve(run_dir: Path, number: int) -> list[tuple[int, int, float]]:
    """Read what was noted of a trial on this machine: iterations done, in all, and the loss; no damaged lines."""
    try:
        lines = _file(run_dir, number).read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    found = filter(None, map(_POINT.fullmatch, lines))
    return [(int(point[1]), int(point[2]), float(point[3])) for point in found]


def _file(run_dir: Path, number: int) -> Path:
    return run_dir / CURVES / f"{number}.csv"
