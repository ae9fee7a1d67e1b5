"""Files of JSON lines that several processes append to and none ever shortens.

Each line has a checksum, so that one that a crash tore or a disk damaged is noticed and set aside, and the others are
kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from boostformer.errors import UserError, os_refusal
from boostformer.files import make_folder, sync
from boostformer.locks import FileLock

Entry = dict[str, Any]


class JsonLines:
    """The lines of ``file``, which need not be there yet: objects of one ``version`` of their format.

    Each is on the disk once it is appended.

    Attributes:
        damaged: the numbers of the lines that were set aside.
    """

    def __init__(self, file: Path, version: int) -> None:
        self.file, self.version = file, version
        self.damaged: list[int] = []
        self._offset = self._number = 0  # of whole lines that were read

    def read(self, take: Callable[[Entry], None]) -> None:
        """Give ``take`` each line that was added since the last call.

        What it raises ValueError for is set aside as damaged; the user is told which lines. :class:`UserError` when
        the file cannot be read, is no such file, or holds a line of another version; one that ``take`` raises is
        given the line's number.
        """
        try:
            with self.file.open("rb") as stream:
                stream.seek(self._offset)
                lines = stream.read().split(b"\n")
        except FileNotFoundError:
            return
        except OSError as error:
            raise UserError(f"{self.file}: cannot be read: {error.strerror}") from None
        known, damaged = self._offset, list[int]()
        for number, line in enumerate(lines, self._number + 1):
            if number == self._number + len(lines) and not line:  # behind the last line's end
                break
            try:
                take(self._entry(line))
                known += 1
            except ValueError:
                damaged.append(number)
            except UserError as error:
                raise UserError(f"{self.file}:{number}: {error}") from None
        if damaged and not known and not lines[0].startswith(b"{"):
            raise UserError(f"{self.file}: cannot be read: holds no line that this program wrote")
        # A last line without its end may still be written, or become a damaged line in the middle.
        self._offset += sum(len(line) + 1 for line in lines[:-1])
        self._number += len(lines) - 1
        if new := [number for number in damaged if number not in self.damaged]:
            self.damaged += new
            warnings.warn(f"{self.file}: damaged and set aside: line {', '.join(map(str, new))}", stacklevel=3)

    @contextmanager
    def locked(self) -> Iterator[Callable[[Entry], None]]:
        """Let nobody else write, and give what appends an entry; makes the file and its folder where they are missing.

        A full disk is an OSError, whatever else forbids writing a :class:`UserError`.
        """
        try:
            make_folder(self.file.parent)
            lock = FileLock(self.file)
            descriptor = lock.acquire()
        except OSError as error:
            raise os_refusal(self.file, "cannot be written", error) from None
        try:
            yield lambda entry: self._append(descriptor, entry)
        finally:
            lock.release()

    def _append(self, descriptor: int, entry: Entry) -> None:
        size = os.fstat(descriptor).st_size
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        entry = {**entry, "version": self.version}
        line = json.dumps({**entry, "checksum": checksum(entry)}) + "\n"
        try:
            with open(descriptor, "ab", closefd=False) as stream:
                stream.write((b"\n" if torn else b"") + line.encode())
                stream.flush()
                os.fsync(descriptor)
            if size == 0:
                sync(self.file.parent)  # where the file may be new
        except OSError as error:
            raise os_refusal(self.file, "cannot be written", error) from None

    def _entry(self, line: bytes) -> Entry:
        """Read a line; ValueError when it is damaged, :class:`UserError` when it is of another version."""
        try:
            entry = json.loads(line.decode())
        except RecursionError:
            raise ValueError("nested too deeply") from None
        if not isinstance(entry, dict):
            raise ValueError("not an object")
        version, told = entry.get("version", 1), entry.pop("checksum", None)
        if ("version" in entry or told is not None) and told != checksum(entry):
            raise ValueError("the checksum is another")
        if version != self.version:
            raise UserError(f"is of format {version}, this program reads {self.version}: move the file away")
        return entry


def checksum(entry: Entry) -> str:
    """Compute the checksum of an entry as JSON has it; ValueError when it is nested too deeply."""
    try:
        return hashlib.sha256(json.dumps(entry).encode()).hexdigest()[:8]
    except RecursionError:
        raise ValueError("nested too deeply") from None
