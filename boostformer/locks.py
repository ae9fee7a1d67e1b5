"""Locks between processes that the kernel releases when their holder dies, however it dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from boostformer.errors import os_refusal


class FileLock:
    """An exclusive lock on ``path``, which is created unless it must exist; also a context manager.

    A process that is killed leaves the file but not the lock, so nothing is ever stale.
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self.path = path
        self._flags = os.O_RDWR | (os.O_CREAT if create else 0)
        self._descriptor: int | None = None

    def acquire(self) -> int:
        """Wait for the lock, and give the descriptor of the file for its holder to use.

        :class:`UserError` when the file cannot be opened to be written.
        """
        try:
            descriptor = os.open(self.path, self._flags, 0o644)
        except OSError as error:
            raise os_refusal(self.path, "cannot be written", error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return descriptor

    def release(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        assert descriptor is not None, "released a lock that is not held"
        # Not by closing alone: a process forked in the meantime shares the descriptor.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)

    def __enter__(self) -> FileLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def is_held(path: Path) -> bool:
    """Tell whether some living process holds the lock."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
