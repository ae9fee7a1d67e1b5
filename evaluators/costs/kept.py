"""Counted costs kept on disk between processes, with checksums, so that damage is noticed and counted anew."""

from __future__ import annotations

import hashlib
import re
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boostformer.errors import UserError
from boostformer.files import appending, replacing
from evaluators.costs.counting import Cost

_DIGEST = hashlib.sha256().digest_size
_FIELDS = len(Cost().values)
_LINE = re.compile(rb"([0-9a-f]{16}) ((\d{1,19}(?: \d{1,19}){%d}) (.*))" % (_FIELDS - 1))
"""The checksum of what follows, the fields of a cost, and the part."""
_READ: dict[Path, tuple[bytes, dict[str, Cost]]] = {}
"""The whole lines that this process last read of each file, and their costs: only what came since is read again."""


class KeptCosts:
    """Costs by the text of their part: those in ``file``, and those that are added, which are appended to it.

    Several processes may use one file. A line that a crash tore or a disk damaged is dropped with a warning, so that
    its part is counted anew. A file that cannot be read or written causes a warning and is no longer used.
    """

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self._costs: dict[str, Cost] = {}
        if file is None:
            return
        try:
            content = file.read_bytes() if file.exists() else b""
        except OSError as error:
            self._give_up(error)
            return
        known, costs = _READ.get(file, (b"", {}))
        if not content.startswith(known):
            known, costs = b"", {}
        self._costs = dict(costs)
        lines = content[len(known) :].splitlines(keepends=True)
        whole = [line for line in lines if self._take(line)]
        known += b"".join(whole)
        _READ[file] = known, dict(self._costs)
        if len(whole) < len(lines):
            self._mend(known, len(lines) - len(whole))

    def get(self, part: str) -> Cost | None:
        """Give the cost of a part, or None if it is not known."""
        return self._costs.get(part)

    def add(self, part: str, cost: Cost) -> None:
        """Keep the cost of a part, in the file too."""
        self._costs[part] = cost
        if self.file is None:
            return
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with appending(self.file) as stream:
                stream.write(_line(part, cost))  # one small write, so that lines of several processes do not mix
        except OSError as error:
            self._give_up(error)

    def _take(self, line: bytes) -> bool:
        """Read a line; False when it is damaged."""
        found = _LINE.fullmatch(line, 0, len(line) - 1)
        if found is None or not line.endswith(b"\n") or found[1] != _checksum(found[2]):
            return False
        self._costs[found[4].decode(errors="replace")] = Cost(*map(int, found[3].split()))
        return True

    def _mend(self, content: bytes, damaged: int) -> None:
        """Replace the file by its whole lines. What another process appends meanwhile is lost, and counted again."""
        warnings.warn(f"{self.file}: damaged in {damaged} lines, which are counted anew", stacklevel=4)
        assert self.file is not None
        try:
            with replacing(self.file) as new:
                new.write_bytes(content)
        except (UserError, OSError):  # the next process is warned again
            self.file = None

    def _give_up(self, error: OSError) -> None:
        warnings.warn(f"counts are not kept for later: {self.file}: {error.strerror}", stacklevel=4)
        self.file = None


def read_rows(file: Path, count: int, fields: int = _FIELDS) -> NDArray[np.int64] | None:
    """Read the figures (count, fields) that :func:`write_rows` kept; None without them, and where they are damaged."""
    try:
        content = file.read_bytes()
    except OSError:
        return None
    checksum, numbers = content[:_DIGEST], content[_DIGEST:]
    if len(numbers) != 8 * fields * count or hashlib.sha256(numbers).digest() != checksum:
        warnings.warn(f"{file}: damaged, and counted anew", stacklevel=2)
        return None
    return np.frombuffer(numbers, dtype="<i8").reshape(count, fields).astype(np.int64)


def write_rows(file: Path, rows: NDArray[np.int64]) -> None:
    """Keep figures (N, fields) in a file of their own; warn where it cannot be written."""
    numbers = rows.astype("<i8").tobytes()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as new:
            new.write_bytes(hashlib.sha256(numbers).digest() + numbers)
    except (UserError, OSError) as error:
        warnings.warn(f"counts are not kept for later: {error}", stacklevel=2)


def _line(part: str, cost: Cost) -> bytes:
    content = " ".join([*map(str, cost.values), part]).encode()
    return b"%s %s\n" % (_checksum(content), content)


def _checksum(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest()[:16].encode()
