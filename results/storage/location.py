"""Where a run's study is kept: in a journal in the run's folder, or in a database that the folder names.

Everybody opens it through :func:`storage_of`, so that all who look at a run need nothing but its folder.
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from boostformer.errors import UserError
from boostformer.files import replacing

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

JOURNAL_NAME, STORAGE_NAME = "journal.log", "storage.json"


@dataclass(frozen=True)
class Journal:
    """A study in ``RUN_DIR/journal.log``: for processes that share the folder on one machine."""

    run_dir: Path
    study = "boostformer"

    def __str__(self) -> str:
        return str(self.run_dir / JOURNAL_NAME)

    def exists(self) -> bool:
        return (self.run_dir / JOURNAL_NAME).exists()

    def open(self, *, create: bool = False, lasting: bool = False) -> BaseStorage:
        """For reading and writing; :class:`UserError` as :func:`results.storage.journal.open_journal` raises it."""
        from results.storage.journal import open_journal

        return open_journal(self.run_dir / JOURNAL_NAME, create=create)

    def answering(self) -> AbstractContextManager[None]:
        """Nothing: what is wrong with a file was said when it was opened."""
        return nullcontext()

    def study_id(self, storage: BaseStorage) -> int:
        """The study's number; :class:`UserError` when there is none."""
        try:
            return storage.get_study_id_from_name(self.study)
        except KeyError:
            raise UserError(f"{self}: holds no study named '{self.study}'") from None


@dataclass(frozen=True)
class Database:
    """A study in a PostgreSQL database: for processes on any number of machines. ``url`` holds no password."""

    url: str
    study: str

    def __str__(self) -> str:
        return f"study '{self.study}' in {self.url}"

    def exists(self) -> bool:
        return True

    def open(self, *, create: bool = False, lasting: bool = False) -> BaseStorage:
        """For reading and writing, ``create`` makes missing tables; a ``lasting`` one keeps its connections.

        :class:`UserError` when the database cannot be used, or without ``create`` has never held a study.
        """
        from results.storage.database import open_database

        return open_database(self.url, create=create, lasting=lasting)

    def answering(self) -> AbstractContextManager[None]:
        """In which :class:`UserError` is raised when the database goes away."""
        from results.storage.database import answering

        return answering(self.url)

    def study_id(self, storage: BaseStorage) -> int:
        """The study's number; :class:`UserError` when there is none, which names those there are."""
        try:
            return storage.get_study_id_from_name(self.study)
        except KeyError:
            names = ", ".join(sorted(study.study_name for study in storage.get_all_studies())) or "none"
            raise UserError(f"{self.url}: has no study '{self.study}', studies there: {names}") from None

    def check(self, run_dir: Path) -> None:
        """:class:`UserError` when ``run_dir`` is the folder of another study."""
        if (run_dir / JOURNAL_NAME).exists() or ((run_dir / STORAGE_NAME).exists() and storage_of(run_dir) != self):
            raise UserError(f"{run_dir}: is a run that is kept in {storage_of(run_dir)}; choose another --out")

    def note_in(self, run_dir: Path) -> None:
        """Makes ``run_dir`` a folder of this study; raises as :meth:`check` does."""
        self.check(run_dir)
        with replacing(run_dir / STORAGE_NAME) as path:
            path.write_text(json.dumps({"url": self.url, "study": self.study}, indent=1) + "\n", encoding="utf-8")


def storage_of(run_dir: Path | str) -> Journal | Database:
    """Tell where the study of ``run_dir`` is kept: in the database that it names, else in a journal.

    :class:`UserError` when the file that names the database is damaged, or names a server that must not be asked.
    """
    path = Path(run_dir) / STORAGE_NAME
    if not path.exists():
        return Journal(Path(run_dir))
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        url, study = values["url"], values["study"]
        if not isinstance(url, str) or not isinstance(study, str):
            raise TypeError("url and study must be texts")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read ({type(error).__name__}: {error})") from None
    from results.storage import servers
    from results.storage.database import checked_url

    servers.check(servers.server_of(checked_url(url, str(path))), path)
    return Database(url, study)


def is_run(folder: Path | str) -> bool:
    """Whether the folder is one of a run, of whatever storage."""
    return any((Path(folder) / name).exists() for name in (JOURNAL_NAME, STORAGE_NAME))
