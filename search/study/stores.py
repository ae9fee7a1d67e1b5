"""The place of a run's weights and states: its folder, or one that machines without a common folder share.

Such a place is a folder that all of them mount, or a bucket (``s3://``, ``gs://``), opened by fsspec. In both a file
appears whole or not at all. The user names it on each machine; neither a study nor a run's folder alone makes a machine
read, write or remove anything elsewhere.
"""

from __future__ import annotations

import io
import json
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

from optuna.artifacts import FileSystemArtifactStore
from optuna.artifacts.exceptions import ArtifactNotFound

from boostformer.errors import UserError, short
from boostformer.files import exists, read_json, replacing
from results.storage import servers
from search.config.retry import retrying

SHARED = "shared.json"
"""File of a run's folder that names the place."""
_EXTRAS = {"s3": "s3", "gs": "gs"}
_BUCKET = re.compile(r"(s3|gs)://[a-z0-9][a-z0-9.-]{1,62}(/[A-Za-z0-9._-]+)*")
PATIENCE_SECONDS = 30 * 60.0
"""Seconds that the place may be away before a worker gives up."""
PAUSES = (0.3, 1.0, 3.0, 10.0)
"""Seconds between two tries; the last one is used from then on."""

Say = Callable[[str], None]
T = TypeVar("T")


class Store(Protocol):
    """Files by plain names. OSError when a disk is full, UserError when the place is away for too long."""

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Store a file, whole or not at all."""

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Open a file; ArtifactNotFound or OSError without one."""

    def remove(self, artifact_id: str) -> None:
        """Remove a file; ArtifactNotFound or OSError without one."""

    def names(self) -> list[str]:
        """List what is stored."""


class Folder(FileSystemArtifactStore):
    """Optuna's store in a folder, in which a file appears whole or not at all."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._folder = folder

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        with replacing(self._folder / artifact_id, parents=True) as part:
            part.write_bytes(content_body.read())

    def names(self) -> list[str]:
        """List what is stored."""
        return sorted(file.name for file in self._folder.glob("[!.]*"))


class Bucket:
    """A store of objects, below an address; an object appears whole or not at all.

    Args:
        url: the address.
        say: is told a line when the place is away, and every call then tries for a while; None tries once.
    """

    def __init__(self, url: str, say: Say | None = None) -> None:
        self._url, self._say = url, say
        self._files, self._root = self._opened()

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        content = content_body.read()
        try:
            self._reliably(lambda: self._files.pipe_file(f"{self._root}/{artifact_id}", content))
        except ArtifactNotFound:
            raise UserError(f"{self._url}: there is no such bucket") from None

    def open_reader(self, artifact_id: str) -> BinaryIO:
        return io.BytesIO(self._reliably(lambda: self._files.cat_file(f"{self._root}/{artifact_id}")))

    def remove(self, artifact_id: str) -> None:
        self._reliably(lambda: self._files.rm_file(f"{self._root}/{artifact_id}"))

    def names(self) -> list[str]:
        """List what is stored."""
        try:
            found = self._reliably(lambda: self._files.ls(self._root, detail=False, refresh=True))
        except ArtifactNotFound:
            return []
        return sorted(str(path).rpartition("/")[2] for path in found)

    def _opened(self) -> tuple[Any, str]:
        import fsspec

        try:
            files, root = fsspec.url_to_fs(self._url)
        except ImportError:
            kind = self._url.partition(":")[0]
            raise UserError(f"{self._url}: needs another package: pip install 'boostformer[{_EXTRAS[kind]}]'") from None
        except Exception as error:
            if not _is_theirs(error):
                raise
            raise UserError(f"{self._url}: {_line(error)}") from None
        return files, str(root)

    def _reliably(self, action: Callable[[], T]) -> T:
        """Return what ``action`` returns, repeated while the place is away; ArtifactNotFound for what is not there."""

        def away(error: BaseException) -> str | None:
            return _line(error) if _is_theirs(error) and not isinstance(error, FileNotFoundError) else None

        told = False

        def tell(why: str, pause: float) -> None:
            nonlocal told
            if self._say is not None and not told:
                told = True
                self._say(f"{self._url}: {why}; trying again for {PATIENCE_SECONDS / 60:.0f} min")

        try:
            seconds = PATIENCE_SECONDS if self._say is not None else 0.0
            found = retrying(action, away, PAUSES, tell, seconds=seconds, spread=0.5)
        except FileNotFoundError as error:
            raise ArtifactNotFound(str(error)) from None
        except Exception as error:
            if not _is_theirs(error):
                raise
            raise UserError(f"{self._url}: {_line(error)}") from None
        if told and self._say is not None:
            self._say(f"{self._url}: back")
        return found


def _is_theirs(error: BaseException) -> bool:
    """Tell what a service or the network says, which is an OSError or of a package's own kind, from a bug."""
    return isinstance(error, OSError) or (isinstance(error, Exception) and type(error).__module__ != "builtins")


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return short(lines[0])[1:-1] if lines else type(error).__name__


def checked(place: str, source: str) -> str:
    """Return the address of a place in the form that is kept; :class:`UserError` for what is none.

    ``source`` says where it was written, for messages.
    """
    plain = place.rstrip("/")
    is_folder = plain.startswith("/") and "\0" not in plain
    if ".." in plain.split("/") or not (is_folder or _BUCKET.fullmatch(plain)):
        raise UserError(
            f"{source} {short(place)}: allowed: a folder that all machines mount (from the root, /…), "
            "s3://BUCKET/FOLDER or gs://BUCKET/FOLDER"
        )
    return plain


def named_by_user(place: str) -> str:
    """Return the address of a place in the form that is kept, and remember it as named by the user."""
    found = checked(place, "--files")
    servers.pin(found)
    return found


def note_in(run_dir: Path, place: str) -> None:
    """Keep in a run's folder where its weights and states lie; :class:`UserError` when they lie elsewhere already."""
    before = place_of(run_dir)
    if before == place:
        return
    if before is not None:
        raise UserError(f"--files {place}: weights and states of {run_dir} lie in {before}; leave it out")
    with replacing(run_dir / SHARED) as part:
        part.write_text(json.dumps({"url": place}) + "\n", encoding="utf-8")


def place_of(run_dir: Path) -> str | None:
    """Read where a run's weights and states lie, None for its folder; :class:`UserError` unless the user named it."""
    file = run_dir / SHARED
    if not exists(file):
        return None
    values = read_json(file)
    if not isinstance(values, dict) or not isinstance(values.get("url"), str):
        raise UserError(f"{file}: damaged; name the place again with --files")
    place = checked(values["url"], str(file))
    if not servers.is_named(place):
        raise UserError(
            f"{file}: names {place}, which you have not named yourself; if it is yours, name it once with --files, or "
            f"in ${servers.VARIABLE}"
        )
    return place


def require_place(known: str | None, place: str | None, source: str) -> None:
    """Raise :class:`UserError` when a run keeps its weights and states elsewhere than its folder on this machine says.

    Args:
        known: where the study says.
        place: where the folder says.
        source: names the study in messages.
    """
    if known != place and known is not None:
        raise UserError(f"{source}: keeps weights and states in {short(known)}: name it with --files")
    if known != place:
        raise UserError(f"--files {place}: {source} keeps weights and states in its folder; leave --files out")


def try_out(run_dir: Path) -> None:
    """Write and remove a file in the place that a run's folder names; :class:`UserError` where that is not possible."""
    if place_of(run_dir) is not None:
        store, name = store_of(run_dir, "try-out"), secrets.token_hex(16)
        store.write(name, io.BytesIO(b"boostformer"))
        store.remove(name)


def store_of(run_dir: Path, name: str, say: Say | None = None) -> Store:
    """Open a run's store of this name; raises as :func:`place_of` does, and where a package is missing."""
    place = place_of(run_dir)
    if place is None or place.startswith("/"):
        return Folder(Path(place or run_dir) / name)
    return Bucket(f"{place}/{name}", say)
