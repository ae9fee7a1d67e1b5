"""Location of a run's study: a journal in the run's folder, or a database that the folder names.

Everything opens it through :func:`storage_of`, so a run's folder is all that one needs to look at the run.
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boostformer.errors import UserError, short
from boostformer.files import exists, read_json, replacing

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

LONGEST_STUDY = 200
"""Characters of a study's name."""
JOURNAL_NAME, STORAGE_NAME = "journal.log", "storage.json"


@dataclass(frozen=True)
class Journal:
    """A study in ``RUN_DIR/journal.log``, for processes that share the folder on one machine."""

    run_dir: Path
    study = "boostformer"

    def __str__(self) -> str:
        return str(self.run_dir / JOURNAL_NAME)

    def exists(self) -> bool:
        return exists(self.run_dir / JOURNAL_NAME)

    def open(self, *, create: bool = False, lasting: bool = False) -> BaseStorage:
        """Open for reading and writing; raises what :func:`results.storage.journal.open_journal` raises."""
        from results.storage.journal import open_journal

        return open_journal(self.run_dir / JOURNAL_NAME, create=create)

    def answering(self) -> AbstractContextManager[None]:
        """Do nothing: opening the file has already reported its faults."""
        return nullcontext()

    def study_id(self, storage: BaseStorage) -> int:
        """Return the study's number; :class:`UserError` when there is none."""
        try:
            return storage.get_study_id_from_name(self.study)
        except KeyError:
            raise UserError(f"{self}: holds no study named '{self.study}'") from None

    def create_trial(self, storage: BaseStorage, study_id: int, trial: FrozenTrial) -> int:
        """Store a new trial; give its number in the storage."""
        return storage.create_new_trial(study_id, trial)


@dataclass(frozen=True)
class Database:
    """A study in a PostgreSQL database, for processes on any number of machines. ``url`` holds no password."""

    url: str
    study: str

    def __post_init__(self) -> None:
        """Raise :class:`UserError` for a name that no database keeps, or no terminal shows."""
        if not (0 < len(self.study) <= LONGEST_STUDY and self.study.isprintable()):
            raise UserError(f"study {short(self.study)}: a name has 1 to {LONGEST_STUDY} printable characters")

    def __str__(self) -> str:
        return f"study '{self.study}' in {self.url}"

    def exists(self) -> bool:
        return True

    def open(self, *, create: bool = False, lasting: bool = False) -> BaseStorage:
        """Open for reading and writing; ``create`` makes missing tables, ``lasting`` keeps the connections.

        Raises :class:`UserError` when the database cannot be used, or without ``create`` has never held a study.
        """
        from results.storage.database import open_database

        return open_database(self.url, create=create, lasting=lasting)

    def answering(self) -> AbstractContextManager[None]:
        """Raise :class:`UserError` when the database goes away within the block."""
        from results.storage.database import answering

        return answering(self.url)

    def study_id(self, storage: BaseStorage) -> int:
        """Return the study's number; :class:`UserError`, which names those there are, when there is none."""
        try:
            return storage.get_study_id_from_name(self.study)
        except KeyError:
            names = ", ".join(sorted(study.study_name for study in storage.get_all_studies())) or "none"
            raise UserError(f"{self.url}: has no study '{self.study}', studies there: {names}") from None

    def create_trial(self, storage: BaseStorage, study_id: int, trial: FrozenTrial) -> int:
        """Store a new trial; give its number in the storage."""
        from results.storage.database import create_trial

        return create_trial(storage, study_id, trial)

    def check(self, run_dir: Path) -> None:
        """Raise :class:`UserError` when ``run_dir`` is the folder of another study."""
        if exists(run_dir / JOURNAL_NAME) or (exists(run_dir / STORAGE_NAME) and storage_of(run_dir) != self):
            raise UserError(f"{run_dir}: is a run that is kept in {storage_of(run_dir)}; choose another --out")

    def note_in(self, run_dir: Path) -> None:
        """Make ``run_dir`` a folder of this study; raises as :meth:`check` does."""
        self.check(run_dir)
        with replacing(run_dir / STORAGE_NAME) as path:
            path.write_text(json.dumps({"url": self.url, "study": self.study}, indent=1) + "\n", encoding="utf-8")


def storage_of(run_dir: Path | str) -> Journal | Database:
    """Return the storage of ``run_dir``: the database that it names, else a journal.

    Raises :class:`UserError` when the file that names the database is damaged, or its server must not be asked.
    """
    path = Path(run_dir) / STORAGE_NAME
    if not exists(path):
        return Journal(Path(run_dir))
    try:
        values: Any = read_json(path)
        url, study = values["url"], values["study"]
        if not isinstance(url, str) or not isinstance(study, str):
            raise TypeError("url and study must be texts")
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({type(error).__name__}: {error})") from None
    from results.storage import servers
    from results.storage.database import checked_url

    servers.check(servers.server_of(checked_url(url, str(path))), path)
    return Database(url, study)


def is_run(folder: Path | str) -> bool:
    """Tell whether the folder is that of a run, in either kind of storage."""
    return any(exists(Path(folder) / name) for name in (JOURNAL_NAME, STORAGE_NAME))
