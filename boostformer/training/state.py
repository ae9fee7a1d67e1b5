"""Interrupted trainings: complete states on disk, and Ctrl-C only between two iterations."""

from __future__ import annotations

import json
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from boostformer.errors import UserError

_NAME = "iteration-"


class ResumableState:
    """Everything a training needs to go on, in ``folder/iteration-N``, the newest one alone.

    A state is written under a temporary name and renamed when complete, so being killed while saving
    leaves the one before. ``about`` says whose state it is. With ``folder=None`` nothing is kept.
    """

    def __init__(self, accelerator: Accelerator, folder: Path | None, about: dict[str, Any]) -> None:
        self._accelerator, self._folder = accelerator, folder
        self._about = json.loads(json.dumps(about))

    def load(self) -> dict[str, Any]:
        """Restores the newest state and returns what ``save`` was given; ``{}`` when there is none.

        UserError, naming what differs, when the state is about something else.
        """
        states = self._states()
        if not states:
            return {}
        saved = json.loads((states[-1] / "progress.json").read_text())
        differing = _differing(saved["about"], self._about)
        if differing:
            raise UserError(
                f"{self._folder}: holds the state of another training, with other {', '.join(differing)}; "
                "remove the folder or choose another"
            )
        self._accelerator.load_state(str(states[-1]))
        return saved["progress"]

    def save(self, iteration: int, progress: dict[str, Any]) -> None:
        """Keeps the state after ``iteration`` iterations, with ``progress`` (plain values) beside it."""
        if self._folder is None:
            return
        final, old = self._folder / f"{_NAME}{iteration:08d}", self._states()
        if final in old:
            return
        draft = self._folder / "draft"  # the same for all processes: each writes its own files
        if self._accelerator.is_main_process:
            shutil.rmtree(draft, ignore_errors=True)
            _make(draft)
        self._accelerator.wait_for_everyone()
        self._accelerator.save_state(str(draft))
        self._accelerator.wait_for_everyone()
        if self._accelerator.is_main_process:
            content = {"about": self._about, "progress": progress}
            (draft / "progress.json").write_text(json.dumps(content))
            draft.rename(final)
            for state in old:
                shutil.rmtree(state)
        self._accelerator.wait_for_everyone()

    def _states(self) -> list[Path]:
        if self._folder is None or not self._folder.is_dir():
            return []
        return sorted(path for path in self._folder.iterdir() if path.name.startswith(_NAME))


def _differing(one: dict[str, Any], other: dict[str, Any], above: str = "") -> list[str]:
    """Dotted names of the keys that only one has, or whose values differ."""
    names = []
    for key in sorted(one.keys() | other.keys()):
        before, after = one.get(key), other.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            names += _differing(before, after, f"{above}{key}.")
        elif key not in one or key not in other or before != after:
            names.append(f"{above}{key}")
    return names


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"{folder.parent}: training states cannot be written ({error.strerror})") from error


@contextmanager
def deferred_interrupt(enabled: bool) -> Iterator[Callable[[], bool]]:
    """Within, Ctrl-C is only noted; the given function tells whether it came. A second one acts at once.

    An update that is half done must not be saved. Only the main thread receives signals; elsewhere, or
    when not ``enabled``, nothing changes.
    """
    if not enabled or threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    noted = False

    def note(number: int, frame: Any) -> None:
        nonlocal noted
        if noted:
            raise KeyboardInterrupt
        noted = True

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: noted
    finally:
        signal.signal(signal.SIGINT, before)
