"""`States`: where trainings keep their states on this machine, and copies of them for whoever takes over elsewhere."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from optuna.artifacts.exceptions import ArtifactNotFound

from boostformer import zips
from boostformer.errors import UserError
from boostformer.files import make_folder, publish, sync_folder
from boostformer.training.state import newest_state, saved_after
from results.trial import TrialKey
from search.study.stores import Store, place_of, store_of

CHECKPOINTS = "checkpoints"
"""Folder of the trainings' states, one folder for each network and seed; also in the place that machines share."""
_KIND, _VERSION = "boostformer training state", 1
_NAME = re.compile(r"(?P<key>[A-Za-z0-9_-]+)\.(?P<iteration>\d{8,12})\.(?P<digest>[0-9a-f]{64})\.zip")
_ALLOWED = {r"[A-Za-z0-9_-]+\.(safetensors|bin|pkl|pt)": 64 << 30, r"progress\.json": 8 << 20}
"""Members of a copy, and how many bytes such a one has at most."""


@dataclass(frozen=True)
class States:
    """The states of a run's trainings.

    Attributes:
        run_dir: the run's folder on this machine.
        store: copies for other machines, each one file under its training, iterations and SHA-256; None without any.
        say: is told a line for people when one is damaged.
    """

    run_dir: Path
    store: Store | None
    say: Callable[[str], None]
    _told: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, run_dir: Path, say: Callable[[str], None]) -> States:
        """Open those of a run; :class:`UserError` as :func:`search.study.stores.place_of`."""
        return cls(run_dir, store_of(run_dir, CHECKPOINTS, say) if place_of(run_dir) is not None else None, say)

    def folder(self, key: TrialKey) -> Path:
        """Return the folder where the training of this network with this seed keeps its state, on every rung."""
        return self.run_dir / CHECKPOINTS / f"{key.arch_id}-{key.seed}"

    def newest(self, key: TrialKey) -> int:
        """Find after how many iterations the newest state was saved, here or elsewhere; 0 without one."""
        return max(newest_state(self.folder(key)), *self._copies(key).values(), 0)

    def fetch(self, key: TrialKey) -> None:
        """Bring the copies here that are newer than what is here; what is damaged is removed, with a word."""
        folder = self.folder(key)
        for name, iteration in sorted(self._copies(key).items(), key=lambda found: found[1]):
            if iteration > newest_state(folder):
                try:
                    self._fetch(name, folder / f"iteration-{iteration:08d}")
                except ArtifactNotFound:  # another worker was faster
                    continue
                except UserError as error:
                    self.say(f"the copy of a training's state is damaged, and removed: {error}")
                    self._remove(name)

    @contextmanager
    def shared(self, key: TrialKey) -> Iterator[Callable[[], None]]:
        """Bring copies here, and yield what is to be called after each step, which copies states that are new."""
        if self.store is None:
            yield lambda: None
            return
        self.fetch(key)
        seen = newest_state(self.folder(key))

        def look() -> None:
            nonlocal seen
            if (newest := newest_state(self.folder(key))) != seen:
                self.share(key)
                seen = newest

        try:
            yield look
        finally:
            look()

    def share(self, key: TrialKey) -> None:
        """Make the copies those of the states here; newer ones stay, which somebody who took over has made."""
        if self.store is None:
            return
        folder, copies = self.folder(key), self._copies(key)
        here = saved_after(folder)
        for iteration in here:
            if iteration not in copies.values():
                self._share(folder / f"iteration-{iteration:08d}", f"{folder.name}.{iteration:08d}")
        for name, iteration in copies.items():
            if iteration not in here and (not here or iteration < here[-1]):
                self._remove(name)

    def forget(self, key: TrialKey) -> None:
        """Remove the states of a training, and their copies."""
        shutil.rmtree(self.folder(key), ignore_errors=True)
        self.share(key)

    def forget_all(self) -> None:
        """Remove all states, and their copies."""
        shutil.rmtree(self.run_dir / CHECKPOINTS, ignore_errors=True)
        if self.store is not None:
            for name in filter(_NAME.fullmatch, self.store.names()):
                self._remove(name)

    def _copies(self, key: TrialKey) -> dict[str, int]:
        """List the copies of a training's states with their iterations."""
        names = self.store.names() if self.store is not None else []
        found = {name: match for name in names if (match := _NAME.fullmatch(name))}
        return {name: int(match["iteration"]) for name, match in found.items() if match["key"] == self.folder(key).name}

    def _remove(self, name: str) -> None:
        assert self.store is not None
        with suppress(ArtifactNotFound, OSError):
            self.store.remove(name)

    def _share(self, state: Path, name: str) -> None:
        assert self.store is not None
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "state.zip"
            with zips.writing(file, _KIND, _VERSION) as out:
                for path in sorted(state.iterdir()):
                    out.add(path.name, path)
            with file.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            with file.open("rb") as stream:
                self.store.write(f"{name}.{digest}.zip", stream)

    def _fetch(self, name: str, final: Path) -> None:
        assert self.store is not None
        with tempfile.TemporaryDirectory(dir=self._drafts()) as folder:
            file, draft = Path(folder) / name, Path(folder) / "state"
            digest = hashlib.sha256()
            with self.store.open_reader(name) as stream, file.open("wb") as out:
                while chunk := stream.read(1 << 20):
                    out.write(chunk)
                    digest.update(chunk)
            if f".{digest.hexdigest()}." not in name:
                raise UserError(f"{name}: holds other bytes than its name says")
            draft.mkdir()
            with zips.reading(file, _KIND, _VERSION, _ALLOWED) as members:
                for member in members:
                    members.copy(member, draft / member)
            _refuse_code(draft, name)
            sync_folder(draft)
            make_folder(final.parent)
            with suppress(OSError):  # damaged ones of that name
                shutil.rmtree(final)
            publish(draft, final)

    def _drafts(self) -> Path:
        folder = self.run_dir / CHECKPOINTS
        make_folder(folder)
        return folder


def _refuse_code(state: Path, name: str) -> None:
    """Raise :class:`UserError` when a file holds anything but numbers and plain values."""
    from accelerate.utils.other import load

    for file in state.iterdir():
        if file.suffix not in (".safetensors", ".json"):
            try:
                load(file, map_location="cpu", weights_only=True)
            except Exception as error:  # a file that is made to break the reader may end it in any way
                raise UserError(f"{name}: {file.name} holds more than numbers ({type(error).__name__})") from None
