"""Counted costs kept on disk between processes: a line for each part, with a checksum, so that damage is noticed."""

from __future__ import annotations

import hashlib
import re
import warnings
from pathlib import Path

from boostformer.errors import UserError
from boostformer.files import replacing
from evaluators.costs.counting import Cost

_LINE = re.compile(rb"([0-9a-f]{16}) (([0-9]{1,18}) ([0-9]{1,18}) ([0-9]{1,18}) (.+))")
"""The checksum of what follows; parameters, MACs of convolutions, MACs of attention; the part."""


class KeptCosts:
    """Costs by the text of their part: those in ``file``, and all that are added, which are appended to it.

    Several processes may use one file. A line that a crash tore or a disk damaged is forgotten with a warning, and so
    its part is counted anew. A file that cannot be read or written is warned of, and no longer used.
    """

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self._costs: dict[str, Cost] = {}
        try:
            lines = file.read_bytes().splitlines(keepends=True) if file is not None and file.exists() else []
        except OSError as error:
            self._give_up(error)
            return
        whole = [line for line in lines if self._take(line)]
        if len(whole) < len(lines):
            self._mend(b"".join(whole), len(lines) - len(whole))

    def get(self, part: str) -> Cost | None:
        """The cost of a part, if it is known."""
        return self._costs.get(part)

    def add(self, part: str, cost: Cost) -> None:
        """Remember what was counted, in the file too."""
        self._costs[part] = cost
        if self.file is None:
            return
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("ab") as stream:
                stream.write(_line(part, cost))  # one small append: whole lines, whoever else writes
        except OSError as error:
            self._give_up(error)

    def _take(self, line: bytes) -> bool:
        """Whether ``line`` is whole; its cost is then known."""
        found = _LINE.fullmatch(line, 0, len(line) - 1)
        if found is None or not line.endswith(b"\n") or found[1] != _checksum(found[2]):
            return False
        self._costs[found[6].decode(errors="replace")] = Cost(int(found[3]), int(found[4]), int(found[5]))
        return True

    def _mend(self, content: bytes, damaged: int) -> None:
        """Write the file anew; what another process appends meanwhile may be lost, and is counted again."""
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


def _line(part: str, cost: Cost) -> bytes:
    content = f"{cost.params} {cost.conv_linear_macs} {cost.attention_macs} {part}".encode()
    return b"%s %s\n" % (_checksum(content), content)


def _checksum(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest()[:16].encode()
