"""Zip files of ours, and zip files that others made: only known members, of bounded size, as they were written.

A file has a member ``manifest.json`` that says what it is, of which version, and of each other member its size and
SHA-256. What is read is never looked up by a path that stands in the file.
"""

from __future__ import annotations

import hashlib
import json
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from boostformer.errors import UserError, os_refusal, short
from boostformer.files import check_regular, replacing

MANIFEST = "manifest.json"
KIND, VERSION, MEMBERS = "format", "version", "members"
MOST_MEMBERS = 100_000
LONGEST_MANIFEST = 32 << 20
_BEGINNING = (1980, 1, 1, 0, 0, 0)
"""Time of all members, so that the same content is the same file."""
_CHUNK = 1 << 20
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OverflowError)
"""What reading a damaged or strange file raises."""


@contextmanager
def writing(file: Path, kind: str, version: int) -> Iterator[Zip]:
    """Yield a file to add members to, which appears at ``file`` whole when the block ends well, or not at all.

    Args:
        file: replaced if it exists.
        kind: says what it is.
        version: of the form of its members.

    Raises:
        UserError: it cannot be written.
    """
    with replacing(file) as part, zipfile.ZipFile(part, "w", compression=zipfile.ZIP_DEFLATED) as archive:
        found = Zip(archive)
        yield found
        about = {KIND: kind, VERSION: version, MEMBERS: found.members}
        archive.writestr(_entry(MANIFEST), json.dumps(about, indent=1) + "\n")


class Zip:
    """A file that is being written; ``members`` are those so far, as the manifest lists them."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self.members: dict[str, dict[str, Any]] = {}

    def add(self, name: str, content: bytes | Path, *, packed: bool = True) -> None:
        """Add a member; a file is stored as it is, since it hardly shrinks, as is what is not to be ``packed``."""
        digest, size = hashlib.sha256(), 0
        entry = _entry(name)
        if isinstance(content, Path) or not packed:
            entry.compress_type = zipfile.ZIP_STORED
        if isinstance(content, Path):
            entry.file_size = content.stat().st_size
        with self._archive.open(entry, "w", force_zip64=isinstance(content, Path)) as stream:
            for chunk in _chunks(content):
                stream.write(chunk)
                digest.update(chunk)
                size += len(chunk)
        self.members[name] = {"bytes": size, "sha256": digest.hexdigest()}


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _BEGINNING)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = (stat.S_IFREG | 0o644) << 16
    return entry


def _chunks(content: bytes | Path) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk


@contextmanager
def reading(file: Path, kind: str, version: int, allowed: Mapping[str, int]) -> Iterator[Members]:
    """Open a file that others may have made, after looking at the list of all that is in it.

    Args:
        file: the zip file.
        kind: what it must say that it is.
        version: of the form of its members.
        allowed: patterns of the names that members may have, and how many bytes such a member has at most. One of more
            than :data:`MOST_PACKED` bytes must be stored uncompressed, so that a small file cannot fill a disk.

    Raises:
        UserError: it is no such file, cannot be read, or holds anything else.
    """
    with _damage(file):
        check_regular(file)
        archive = zipfile.ZipFile(file)
    with archive:
        yield Members(file, archive, kind, version, {re.compile(name): most for name, most in allowed.items()})


@contextmanager
def _damage(file: Path) -> Iterator[None]:
    """Turn what goes wrong when a file is read into a :class:`UserError`."""
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{file}: no such file") from None
    except OSError as error:
        raise os_refusal(file, "cannot be read", error) from None
    except _DAMAGE as error:
        raise UserError(f"{file}: no zip file, or damaged ({type(error).__name__}: {error})") from None


MOST_PACKED = 512 << 20
"""Bytes of the largest member that may be compressed."""


class Members:
    """The members of an opened file, each of them verified when it is read."""

    def __init__(
        self, file: Path, archive: zipfile.ZipFile, kind: str, version: int, allowed: Mapping[re.Pattern[str], int]
    ) -> None:
        self._file, self._archive = file, archive
        self._entries = self._checked(allowed)
        self._listed = self._manifest(kind, version)

    def __contains__(self, name: str) -> bool:
        return name in self._listed

    def __iter__(self) -> Iterator[str]:
        return iter(self._listed)

    def read(self, name: str) -> bytes:
        """Give a member's content; :class:`UserError` when it is missing, or not what the manifest says."""
        return b"".join(self._verified(name))

    def read_json(self, name: str) -> Any:
        """Give a member that is a JSON document; :class:`UserError` as :meth:`read`, and when it is none."""
        return self._json(self.read(name), name)

    def copy(self, name: str, target: Path) -> None:
        """Write a member to ``target``, which is ours and new; :class:`UserError` as :meth:`read`."""
        with target.open("xb") as stream:
            for chunk in self._verified(name):
                stream.write(chunk)

    def verify(self, name: str) -> None:
        """Raise :class:`UserError` when a member is not what the manifest says."""
        for _ in self._verified(name):
            pass

    def refuse(self, why: str) -> UserError:
        """Return the error that names the file and says why it is not taken."""
        return UserError(f"{self._file}: {why}")

    def _checked(self, allowed: Mapping[re.Pattern[str], int]) -> dict[str, zipfile.ZipInfo]:
        entries: dict[str, zipfile.ZipInfo] = {}
        found = self._archive.infolist()
        if len(found) > MOST_MEMBERS:
            raise self.refuse(f"has {len(found):,} members, at most {MOST_MEMBERS:,} are allowed")
        sizes = {re.compile(re.escape(MANIFEST)): LONGEST_MANIFEST, **allowed}
        for entry in found:
            name = short(entry.filename)
            most = next((most for pattern, most in sizes.items() if pattern.fullmatch(entry.filename)), None)
            mode = entry.external_attr >> 16
            if most is None:
                raise self.refuse(f"holds {name}, which no such file has")
            if entry.filename in entries:
                raise self.refuse(f"holds {name} twice")
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                raise self.refuse(f"{name} is a link or a special file, not a file")
            if entry.file_size > most:
                raise self.refuse(f"{name} has {entry.file_size:,} bytes, at most {most:,} are allowed")
            if entry.compress_type != zipfile.ZIP_STORED and entry.file_size > MOST_PACKED:
                raise self.refuse(f"{name} is compressed, which only members of up to {MOST_PACKED:,} bytes may be")
            entries[entry.filename] = entry
        if sum(e.file_size for e in found if e.compress_type == zipfile.ZIP_STORED) > self._file.stat().st_size:
            raise self.refuse("its members overlap")
        return entries

    def _manifest(self, kind: str, version: int) -> dict[str, tuple[int, str]]:
        if MANIFEST not in self._entries:
            raise self.refuse(f"holds no {MANIFEST}, so it was not made by this program")
        about = self._json(b"".join(self._raw(MANIFEST)), MANIFEST)
        if not isinstance(about, dict) or about.get(KIND) != kind:
            raise self.refuse(f"{MANIFEST} does not say {KIND} '{kind}'")
        if about.get(VERSION) != version or isinstance(about[VERSION], bool):
            raise self.refuse(
                f"is of version {short(about.get(VERSION))}, allowed: {version}; read it with the release that wrote it"
            )
        try:
            listed = {name: (values["bytes"], values["sha256"]) for name, values in about[MEMBERS].items()}
        except (KeyError, TypeError, AttributeError):
            raise self.refuse(f"{MANIFEST} lists its members wrongly") from None
        if differing := listed.keys() ^ (self._entries.keys() - {MANIFEST}):
            raise self.refuse(f"{MANIFEST} and members differ: {short(min(differing))} is only in one of them")
        return listed

    def _verified(self, name: str) -> Iterator[bytes]:
        if name not in self._listed:
            raise self.refuse(f"holds no {name}")
        digest, size = hashlib.sha256(), 0
        for chunk in self._raw(name):
            digest.update(chunk)
            size += len(chunk)
            yield chunk
        if (size, digest.hexdigest()) != self._listed[name]:
            raise self.refuse(f"{name} is not what {MANIFEST} says; it is damaged, or was changed")

    def _raw(self, name: str) -> Iterator[bytes]:
        entry = self._entries[name]
        with _damage(self._file):
            stream = self._archive.open(entry)
        with stream:
            while True:
                with _damage(self._file):
                    chunk = stream.read(_CHUNK)  # of no more than the size that was checked
                if not chunk:
                    return
                yield chunk

    def _json(self, content: bytes, name: str) -> Any:
        try:
            return json.loads(content)
        except RecursionError:
            raise self.refuse(f"{name} is nested too deeply") from None
        except ValueError as error:  # also what is no UTF-8, and a number of thousands of digits
            raise self.refuse(f"{name} is not JSON: {error}") from None
