"""Interrupted trainings: complete states on disk, and Ctrl-C only between two iterations."""

from __future__ import annotations

import errno
import hashlib
import json
import secrets
import shutil
import signal
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from boostformer.errors import FULL, UserError
from boostformer.files import make_folder, publish, sync_folder
from boostformer.training.recipes import Recipe

_STATE, _DRAFT, _PROGRESS = "iteration-", "draft-", "progress.json"
_KEPT = "kept-"
_LENGTH = {"recipe.iterations", "recipe.decay"}

Tensors = dict[str, Tensor]
"""On the CPU, by name."""


class ResumableState:
    """Saved states of one training in ``folder/iteration-N``: the newest, and the one at the recipe's trunk.

    A state is written under a temporary name and renamed when it is complete and on the disk; only then the one before
    is removed. ``about`` says whose state it is. With ``folder=None`` nothing is kept.
    """

    def __init__(self, accelerator: Accelerator, folder: Path | None, recipe: Recipe, about: dict[str, Any]) -> None:
        self._accelerator, self._folder, self._recipe = accelerator, folder, recipe
        self._about = json.loads(json.dumps(about))

    def load(self) -> tuple[dict[str, Any], dict[str, Tensors]]:
        """Restore the newest state that this training passes through; return the ``progress`` and ``tensors`` with it.

        Without one, both are empty: there is no state, or all are damaged, or they belong to another length of a
        schedule that can be carried on. Raises UserError, which names what differs, when the states are of another
        training.
        """
        any_length = _LENGTH if self._recipe.schedule == "wsd" else set()
        foreign: set[str] = set()
        for iteration, path in reversed(_states(self._folder)):
            if (saved := _read(path)) is None:
                continue
            differing = _differing(saved["about"], self._about_at(iteration))
            if not differing:
                self._accelerator.load_state(str(path))
                progress: dict[str, Any] = saved["progress"]
                kept = {file.stem.removeprefix(_KEPT): load_file(file) for file in path.glob(f"{_KEPT}*.safetensors")}
                return progress, kept
            foreign = foreign or differing - any_length
        if foreign:
            fixed = f"with schedule '{self._recipe.schedule}' the length is fixed from the start; "
            raise UserError(
                f"{self._folder}: holds the state of another training, with other {', '.join(sorted(foreign))}; "
                f"{fixed if foreign <= _LENGTH else ''}remove the folder or choose another"
            )
        return {}, {}

    def save(self, iteration: int, progress: dict[str, Any], tensors: dict[str, Tensors] | None = None) -> None:
        """Save the state after ``iteration`` iterations, with ``progress`` (plain values) and ``tensors`` beside it.

        States that it makes superfluous are removed afterwards. Raises UserError when the folder cannot be written,
        OSError when the disk is full.
        """
        if self._folder is None:
            return
        final, main = self._folder / f"{_STATE}{iteration:08d}", self._accelerator.is_main_process
        with _write_errors(self._folder):
            # All processes write into the draft that the main one made, if it did.
            [draft] = broadcast_object_list([self._draft() if main and not self._is_ours(iteration, final) else None])
            if draft is None:
                return
            try:
                self._accelerator.save_state(str(draft))
                self._accelerator.wait_for_everyone()
                if main:
                    for name, values in (tensors or {}).items():
                        save_file(values, draft / f"{_KEPT}{name}.safetensors")
                    content = {"about": self._about_at(iteration), "progress": progress, "checksums": _checksums(draft)}
                    (draft / _PROGRESS).write_text(json.dumps(content))
                    sync_folder(draft)
                    _publish(draft, final)
            except BaseException:
                shutil.rmtree(draft, ignore_errors=True)
                raise
        if main:
            for number, path in _states(self._folder):
                if number != iteration and not (number == self._recipe.trunk and self._is_ours(number, path)):
                    shutil.rmtree(path, ignore_errors=True)
        self._accelerator.wait_for_everyone()

    def _draft(self) -> Path:
        assert self._folder is not None
        make_folder(self._folder)
        draft = _draft_in(self._folder)
        draft.mkdir()
        return draft

    def _about_at(self, iteration: int) -> dict[str, Any]:
        return self._about | {"recipe": self._recipe.dependencies(iteration)}

    def _is_ours(self, iteration: int, path: Path) -> bool:
        saved = _read(path)
        return saved is not None and not _differing(saved["about"], self._about_at(iteration))


def signature(model: nn.Module) -> str:
    """Hash the names and shapes of the weights: equal for networks whose states fit each other."""
    lines = [f"{name} {tuple(value.shape)}" for name, value in model.state_dict().items()]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def newest_state(folder: Path) -> int:
    """Find the newest state in ``folder``: the iterations after which it was saved, 0 without one."""
    return max(saved_after(folder), default=0)


def saved_after(folder: Path) -> list[int]:
    """List the iterations after which the states in ``folder`` were saved, in rising order."""
    return [iteration for iteration, _ in _states(folder)]


def keep_state(folder: Path, iteration: int | None) -> None:
    """Remove all that trainings left in ``folder`` but the state after ``iteration`` iterations; for None, all."""
    kept = [path for number, path in _states(folder) if number == iteration]
    for path in folder.iterdir() if kept else [folder]:
        if path not in kept:
            shutil.rmtree(path, ignore_errors=True)


def _states(folder: Path | None) -> list[tuple[int, Path]]:
    """List the states in ``folder`` with their iterations, fewest first."""
    if folder is None or not folder.is_dir():
        return []
    named = ((path.name.removeprefix(_STATE), path) for path in folder.glob(f"{_STATE}*"))
    return sorted((int(number), path) for number, path in named if number.isdecimal())


def _read(state: Path) -> dict[str, Any] | None:
    """Read what was written beside a state; None when the state is not whole, as after a power failure."""
    try:
        saved: dict[str, Any] = json.loads((state / _PROGRESS).read_bytes())
        return saved if saved["checksums"] == _checksums(state) else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _checksums(state: Path) -> dict[str, int]:
    return {path.name: zlib.crc32(path.read_bytes()) for path in sorted(state.iterdir()) if path.name != _PROGRESS}


def _draft_in(folder: Path) -> Path:
    return folder / f"{_DRAFT}{secrets.token_hex(8)}"


def _publish(draft: Path, final: Path) -> None:
    """Name ``draft``, which is on the disk; what has the name is removed afterwards."""
    replaced = _draft_in(final.parent)
    try:
        if final.exists():  # damaged, or after as many iterations of another length
            final.rename(replaced)
        publish(draft, final)
    except OSError:
        if not final.exists():
            raise
        shutil.rmtree(draft)  # another process, taken for dead, makes the same training
    shutil.rmtree(replaced, ignore_errors=True)


@contextmanager
def _write_errors(folder: Path) -> Iterator[None]:
    """Raise UserError for a folder that cannot be written, and OSError for a full disk.

    The libraries that write the files each report a full disk in their own way.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise
        raise UserError(f"{folder}: training states cannot be written ({error.strerror})") from error
    except (SafetensorError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "inline_container" not in str(error):  # torch's writer of files
            raise
        reason = str(error).splitlines()[0]
        said = f"training states cannot be written; is the disk full? ({reason})"
        raise OSError(errno.ENOSPC, said, str(folder)) from error


def _differing(one: dict[str, Any], other: dict[str, Any], above: str = "") -> set[str]:
    """Collect the dotted names of keys that only one of the two has, or whose values differ."""
    names = set()
    for key in one.keys() | other.keys():
        before, after = one.get(key), other.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            names |= _differing(before, after, f"{above}{key}.")
        elif key not in one or key not in other or before != after:
            names.add(f"{above}{key}")
    return names


@contextmanager
def deferred_interrupt(enabled: bool) -> Iterator[Callable[[], bool]]:
    """Only note Ctrl-C within the block, and yield a function that tells whether it came; a second one acts at once.

    So no state is saved of an update that is half done. Only the main thread receives signals: elsewhere, or when not
    ``enabled``, nothing changes.
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
