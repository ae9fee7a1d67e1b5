"""The file that holds a study on one machine: opened, locked and repaired in one way by all processes.

``RUN_DIR/journal.log`` is an Optuna journal: one operation per line, only ever appended to.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.storages.journal._storage import JournalOperation
from optuna.trial import TrialState

from boostformer.errors import UserError, os_refusal
from boostformer.files import exists, is_folder
from boostformer.locks import FileLock

# Every operation that Optuna writes begins so; anything else is not its journal, and is not touched.
_JOURNAL_START = b'{"op_code"'
_CODE, _STUDY = re.compile(rb'"op_code":(\d)[,}]'), re.compile(rb'"study_id":(\d{1,9})[,}]')


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


class _Backend(JournalFileBackend):
    """Reads past lines that a disk has damaged, which Optuna would refuse the whole file for; the file stays as it is.

    Operations name trials by their place in the order, so a line that made a trial becomes an empty, failed one.

    Attributes:
        line: number of the line that was read last.
    """

    def __init__(self, file: Path) -> None:
        super().__init__(str(file), lock_obj=_JournalLock(file))
        self._file, self.line = file, 0
        self._starts = {0: (0, 0)}  # by number of an operation: the byte and the line where it is looked for
        self._told: set[int] = set()

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Yield the operations from this one on; :class:`UserError` for a damaged line that cannot be read past."""
        number = log_number_from if log_number_from in self._starts else 0
        place, self.line = self._starts[number]
        with self._file.open("rb") as stream:
            stream.seek(place)
            for line in stream:
                if not line.endswith(b"\n"):  # being written, or torn: see _JournalLock
                    return
                place += len(line)
                self.line += 1
                if (operation := self._operation(line)) is not None:
                    number += 1
                    self._starts[number] = place, self.line
                    if number > log_number_from:
                        yield operation

    def _operation(self, line: bytes) -> dict[str, Any] | None:
        """Read a line; None when it is damaged, and nothing else depends on it."""
        with suppress(ValueError, RecursionError):
            found = json.loads(line)
            if isinstance(found, dict) and isinstance(found.get("op_code"), int):
                return found
        codes = _CODE.findall(line)
        if len(codes) != 1 or int(codes[0]) < JournalOperation.SET_STUDY_USER_ATTR:
            raise UserError(f"{self._file}:{self.line}: damaged, and what follows depends on it; take a copy back")
        if self.line not in self._told:
            self._told.add(self.line)
            warnings.warn(f"{self._file}:{self.line}: damaged, and passed over; the line stays there", stacklevel=2)
        if int(codes[0]) != JournalOperation.CREATE_TRIAL:
            return None
        study = _STUDY.search(line)
        known = {"op_code": int(codes[0]), "worker_id": "", "study_id": int(study[1]) if study else 0}
        return known | {"state": TrialState.FAIL.value, "datetime_start": None}


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
        backend = _Backend(file)
    except OSError as error:
        raise os_refusal(path, "cannot be opened", error) from error
    try:
        return JournalStorage(backend)
    except OSError as error:
        raise os_refusal(path, "cannot be opened", error) from error
    except (ValueError, LookupError, OverflowError, RecursionError, TypeError, AttributeError, AssertionError) as error:
        # What Optuna's replay throws at lines that are not its own.
        raise UserError(f"{path}:{backend.line}: damaged journal ({type(error).__name__}: {error})") from error


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
