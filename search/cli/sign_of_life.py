"""A line on a terminal while what a command needs is still being loaded, which takes seconds."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

SLOW = frozenset({"torch", "matplotlib"})
"""Packages that take a second or more to import."""
TEXT = "loading …"
_ERASE = "\r\x1b[K"


@contextmanager
def sign_of_life() -> Iterator[None]:
    """Show on a terminal that a slow package is being imported, until the program says something itself."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield
        return
    streams = sys.stdout, sys.stderr
    sign = _Sign(sys.stderr)
    sys.stdout, sys.stderr = (cast(TextIO, _Watched(stream, sign)) for stream in streams)
    sys.meta_path.insert(0, sign)
    try:
        yield
    finally:
        sign.give_way()
        sys.stdout, sys.stderr = streams


class _Sign:
    """The line, and the finder of modules that notices when it is needed: it finds none itself."""

    def __init__(self, terminal: TextIO) -> None:
        self._terminal, self._stands = terminal, False

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name in SLOW and not self._stands:
            self._stands = True
            self._write(TEXT)

    def give_way(self) -> None:
        """Remove the line, if it stands, for good."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
            if self._stands:
                self._write(_ERASE)

    def _write(self, text: str) -> None:
        self._terminal.write(text)
        self._terminal.flush()


class _Watched:
    """A stream before which the line gives way."""

    def __init__(self, stream: TextIO, sign: _Sign) -> None:
        self._stream, self._sign = stream, sign

    def write(self, text: str) -> int:
        self._sign.give_way()
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
