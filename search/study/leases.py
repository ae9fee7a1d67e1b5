"""Leases: turns of a run's workers, and which of them are alive, by file locks or by heartbeats.

Neither way compares clocks, so a wrong or jumping clock does no harm.
"""

from __future__ import annotations

import os
import random
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from boostformer.locks import FileLock, is_held
from results.schema import owner_of
from results.storage.location import Database, Journal
from results.trial import Trial

PROPOSE_LOCK, WORKERS = "propose.lock", "workers"
BEAT_SECONDS, MISSED_BEATS = 10.0, 6
"""A worker beats so often; one whose heartbeat others saw unchanged at so many of theirs in a row is dead to them."""
POLL_SECONDS, LOCAL_POLL_SECONDS = 2.0, 0.5
"""Who has nothing to do looks so often whether there is something again, in a database and in a file."""


class Leases(Protocol):
    """One worker's leases on a run; a context manager, in which the worker counts as alive."""

    token: str
    """Names the worker in its trials."""

    def __enter__(self) -> Leases: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def exclusive(self) -> AbstractContextManager[Callable[[], None]]:
        """Take the turn, which one worker has at a time; yields a check that raises when the turn was lost."""

    def holds(self, trial_id: int | None) -> None:
        """Note the trial that the worker is at from now on."""

    def dead(self, running: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Return those of the running trials whose workers are dead."""

    def alive(self) -> int:
        """Count the workers that show that they live."""

    def wait(self) -> None:
        """Wait for a moment, in which the trials of others may end."""


def open_leases(where: Journal | Database, run_dir: Path, storage: BaseStorage) -> Leases:
    """Open a new worker's leases on a run that is set up."""
    if isinstance(where, Database):
        return HeartbeatLeases(where, storage)
    return FileLeases(run_dir)


def left_behind(where: Journal | Database, run_dir: Path, running: Sequence[Trial]) -> set[int]:
    """Tell which of the ``running`` trials, by number, have no living worker, as far as one look at the run shows."""
    if isinstance(where, Database):
        from sqlalchemy import text

        from results.storage.database import engine_of

        with where.answering(), engine_of(where.open()).connect() as connection:
            silent = {"study": where.study, "seconds": BEAT_SECONDS * MISSED_BEATS}
            found = set(connection.execute(text(_SILENT), silent).scalars())
        return {trial.number for trial in running} & found
    return {trial.number for trial in running if not is_held(_lock_of(run_dir, trial.owner))}


def _lock_of(run_dir: Path, token: str) -> Path:
    return run_dir / WORKERS / f"{token}.lock"


def _token() -> str:
    """Name a worker by its machine, process and a random part, in letters that any reader of a study takes."""
    machine = re.sub(r"[^A-Za-z0-9_-]+", "-", socket.gethostname())[:60].strip("-")
    return f"{machine or 'worker'}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


class FileLeases:
    """Leases by file locks: each worker holds ``RUN_DIR/workers/<token>.lock``; the kernel frees it when it dies."""

    def __init__(self, run_dir: Path) -> None:
        self.token = _token()
        self._run_dir = run_dir
        self._alive = ExitStack()

    def __enter__(self) -> FileLeases:
        self._alive.enter_context(FileLock(self._lock_of(self.token)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # of a folder that has become read-only, say, which is no reason to hide another error
            self._lock_of(self.token).unlink(missing_ok=True)
        self._alive.close()

    @contextmanager
    def exclusive(self) -> Iterator[Callable[[], None]]:
        with FileLock(self._run_dir / PROPOSE_LOCK):
            yield lambda: None

    def holds(self, trial_id: int | None) -> None:
        """Do nothing: a worker's lock holds for all of its trials."""

    def dead(self, running: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        found = []
        for trial in running:
            lock = self._lock_of(owner_of(trial))
            if not is_held(lock):
                with suppress(OSError):
                    lock.unlink(missing_ok=True)
                found.append(trial)
        return found

    def alive(self) -> int:
        return sum(map(is_held, (self._run_dir / WORKERS).glob("*.lock")))

    def wait(self) -> None:
        time.sleep(LOCAL_POLL_SECONDS * random.uniform(0.5, 1.5))

    def _lock_of(self, token: str) -> Path:
        return _lock_of(self._run_dir, token)


class HeartbeatLeases:
    """Leases by the database: a lock that a session's end frees for the turns, and a heartbeat for each running trial.

    A heartbeat is compared only with its own earlier value: at each of its own beats a worker looks which others have
    not changed. So nobody grows old while the database is away, and a worker that was away itself declares nobody dead.
    """

    def __init__(self, where: Database, storage: BaseStorage) -> None:
        from results.storage.database import engine_of

        self.token = _token()
        self._where, self._storage = where, storage
        self._engine = engine_of(storage)
        self._trial_id: int | None = None
        self._seen: dict[int, tuple[object, int]] = {}  # by trial: its heartbeat, and at how many looks it was that
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._live, daemon=True)

    def __enter__(self) -> HeartbeatLeases:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    @contextmanager
    def exclusive(self) -> Iterator[Callable[[], None]]:
        from sqlalchemy import text

        from results.storage.database import turn

        with turn(self._engine, self._where.study) as connection:

            def check() -> None:
                connection.execute(text("SELECT 1"))

            yield check

    def holds(self, trial_id: int | None) -> None:
        self._trial_id = trial_id

    def dead(self, running: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        seen = self._seen
        return [trial for trial in running if seen.get(trial._trial_id, (None, 0))[1] >= MISSED_BEATS]

    def alive(self) -> int:
        """Count those with a running trial; the database compares their heartbeats with its own clock."""
        from sqlalchemy import text

        beaten = {"study": self._where.study, "seconds": BEAT_SECONDS * MISSED_BEATS}
        with self._engine.connect() as connection:
            return int(connection.execute(text(_BEATEN), beaten).scalar_one())

    def wait(self) -> None:
        self._stop.wait(POLL_SECONDS * random.uniform(0.5, 1.5))

    def _live(self) -> None:
        """Beat and look again and again, in a thread of its own."""
        from results.storage.database import outage

        while not self._stop.wait(BEAT_SECONDS):
            try:
                self.beat()
            except Exception as error:
                if outage(error) is None:
                    raise

    def beat(self) -> None:
        """Show that this worker lives, and look whether others do."""
        from sqlalchemy import text

        if (trial_id := self._trial_id) is not None:
            self._storage.record_heartbeat(trial_id)  # type: ignore[attr-defined]
        with self._engine.connect() as connection:
            rows = connection.execute(text(_HEARTBEATS), {"study": self._where.study}).all()
        seen = {}
        for trial_id, heartbeat in rows:
            before, looks = self._seen.get(trial_id, (_UNSEEN, 0))
            seen[trial_id] = (heartbeat, looks + 1 if heartbeat == before else 0)
        self._seen = seen


_UNSEEN = object()
_HEARTBEATS = """
SELECT trial_id, heartbeat FROM trials JOIN studies USING (study_id) LEFT JOIN trial_heartbeats USING (trial_id)
WHERE study_name = :study AND state = 'RUNNING'
"""
_BEATEN = """
SELECT count(*) FROM trials JOIN studies USING (study_id) JOIN trial_heartbeats USING (trial_id)
WHERE study_name = :study AND state = 'RUNNING' AND heartbeat > LOCALTIMESTAMP - :seconds * INTERVAL '1 second'
"""
_SILENT = """
SELECT number FROM trials JOIN studies USING (study_id) JOIN trial_heartbeats USING (trial_id)
WHERE study_name = :study AND state = 'RUNNING' AND heartbeat <= LOCALTIMESTAMP - :seconds * INTERVAL '1 second'
"""
