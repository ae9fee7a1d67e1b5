"""Locks between processes that the kernel releases when their holder dies, however it dies."""

from __future__ import annotations

import fcntl
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from boostformer.errors import UserError, os_refusal
from boostformer.files import make_folder

SAID_AFTER = 5.0
"""Seconds of waiting after which it is said."""


class FileLock:
    """An exclusive lock on ``path``, which is created unless it must exist; also a context manager.

    A process that is killed leaves the file but not the lock, so nothing is ever stale.
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self.path = path
        self._flags = os.O_RDWR
        if create:  # where it is, not where a link leads
            self._flags |= os.O_CREAT | os.O_NOFOLLOW
        self._descriptor: int | None = None

    def acquire(self) -> int:
        """Wait for the lock, and give the descriptor of the file for its holder to use.

        :class:`UserError` when the file cannot be opened to be written.
        """
        try:
            descriptor = os.open(self.path, self._flags, 0o666)  # for whom the umask lets
        except OSError as error:
            raise os_refusal(self.path, "cannot be written", error) from error
        try:
            self._wait(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return descriptor

    def _wait(self, descriptor: int) -> None:
        """Wait for the lock; a wait that lasts is said, once."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            said = f"{self.path}: waits for another process{_holder(descriptor)}, which holds it"
            timer = threading.Timer(SAID_AFTER, warnings.warn, [said])
            timer.daemon = True
            timer.start()
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            finally:
                timer.cancel()

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


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold ``folder``, which is made where it is missing; :class:`UserError` when another process holds it.

    Of the processes of one training, which are told their ``RANK``, the first holds it for all.
    """
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    try:
        make_folder(folder)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise os_refusal(folder, "cannot be written", error) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise UserError(f"{folder}: another process is writing into it; wait for its end, or choose another") from None
    except OSError:  # a file system without locks for folders
        pass
    try:
        yield
    finally:
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Tell whether some living process holds the lock."""
    try:
        descriptor = os.open(path, os.O_RDONLY)  # the lock may be another user's
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _holder(descriptor: int) -> str:
    """Say the number of the process on this machine that holds a lock on the file, where the kernel tells."""
    inode = str(os.fstat(descriptor).st_ino)
    try:
        lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    except OSError:
        return ""
    pids = [words[4] for words in lines if len(words) > 5 and words[1] == "FLOCK" and words[5].endswith(f":{inode}")]
    return f" ({pids[0]})" if pids else ""
