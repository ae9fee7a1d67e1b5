"""The file that holds a study on one machine: opened, locked and repaired in one way by all processes.

``RUN_DIR/journal.log`` is an Optuna journal: one operation per line, only ever appended to.
"""

from __future__ import annotations

import os
from pathlib import Path

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from boostformer.errors import UserError, os_refusal
from boostformer.files import exists, is_folder
from boostformer.locks import FileLock

# Every operation that Optuna writes begins so; anything else is not its journal, and is not touched.
_JOURNAL_START = b'{"op_code"'


class _JournalLock(JournalFileOpenLock):
    """Exclude other writers by a lock of the kernel, and repair what a killed writer left.

    The kernel releases the lock when its process dies. Optuna's own locks are files, which stay behind and
    stop everybody for 30 s. Its default one, a symbolic link, stops them for ever once the directory was moved.

    Optuna reads past a last line that a killed writer left incomplete, but then appends to it: the next operation
    would be lost, and the one after it would make the whole journal unreadable. So every writer first drops such a
    fragment. Nobody was told that its operation had happened.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._lock = FileLock(path, create=False)

    def acquire(self) -> bool:
        descriptor = self._lock.acquire()
        try:
            _cut_torn_line(descriptor)
        except BaseException:
            self._lock.release()
            raise
        return True

    def release(self) -> None:
        self._lock.release()


def _cut_torn_line(descriptor: int) -> None:
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        os.ftruncate(descriptor, os.pread(descriptor, size, 0).rfind(b"\n") + 1)


def open_journal(path: Path, *, create: bool = False) -> JournalStorage:
    """Open the journal at ``path`` for reading and writing; opening and reading change nothing.

    ``create`` makes a missing directory and journal.

    Raises :class:`UserError` when the directory or journal is missing, unreadable, damaged or foreign.
    """
    # Absolute, so that it stays the same file when the process changes its directory.
    file = path.absolute()
    try:
        if create:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        _refuse_foreign(path)
        return JournalStorage(JournalFileBackend(str(file), lock_obj=_JournalLock(file)))
    except OSError as error:
        raise os_refusal(path, "cannot be opened", error) from error
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        # What Optuna's replay throws at lines that it cannot read or that are not its own.
        raise UserError(f"{path}: damaged journal ({type(error).__name__}: {error})") from error


def _refuse_foreign(path: Path) -> None:
    run_dir = path.parent
    if not exists(run_dir):
        raise UserError(f"run directory {run_dir} does not exist")
    if not is_folder(run_dir):
        raise UserError(f"{run_dir} is not a directory; a run directory is allowed")
    if not exists(path):
        raise UserError(f"{run_dir} is not a run directory: it holds no {path.name}")
    with path.open("rb") as file:
        start = file.read(len(_JOURNAL_START))
    if not _JOURNAL_START.startswith(start):
        raise UserError(f"{path}: not the journal of a search")
