"""A study in PostgreSQL: connecting to it, and one-line messages when that fails.

Passwords are never written down: libpq finds them in ``PGPASSWORD`` or ``~/.pgpass``. The driver comes with the
extra ``postgresql`` and is imported only when it is used.
"""

from __future__ import annotations

import hashlib
import random
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boostformer.errors import UserError, nearest, short
from results.storage import servers

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial
    from sqlalchemy import Connection, Engine
    from sqlalchemy.engine import URL

FORM = "postgresql://USER@HOST/DATABASE"
WHERE_PASSWORDS = "give it in PGPASSWORD or ~/.pgpass"
_SECRETS = {"password", "sslpassword"}
_OPTIONS = {*servers.SECURITY, "host", "hostaddr", "port", "target_session_attrs", "application_name"}
"""Options that an address may have; none says where passwords are read from."""
TABLES = "the tables of all studies"
"""Name of the turn in which the tables are made; other turns are named by their study. The database keeps the turns, so
that it does not matter how a worker spells its address."""
READ_ONLY = "25006"
"""Codes of a server that takes no writing for a while, as when another takes its place."""
NOT_ALLOWED = "42501"
"""Code of a server for what a role may not do."""
STALL = "60s"
"""Silence after which the server ends a session that holds the turn: its machine is gone."""
PAUSES = (0.01, 0.02, 0.05, 0.1, 0.2)
"""Seconds between two tries to get the turn; the last one is used from then on."""
_CONNECTION: dict[str, Any] = {
    "connect_timeout": 10,
    # A connection whose other end vanished without a word is given up after a minute.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
    "application_name": "boostformer",
    # Else a database without an encoding (SQL_ASCII, as initdb makes them where no locale is set) answers with bytes.
    "client_encoding": "utf8",
    # A server that asks for the password in clear text does not get it, unless the address says so.
    "require_auth": "!password",
    # A pooler may give every transaction another connection, which knows no statement prepared on the one before.
    "prepare_threshold": None,
}


class Unreachable(UserError):
    """The database cannot be reached at the moment."""

    def __init__(self, url: str, why: str) -> None:
        super().__init__(f"{url}: {why}")
        self.why = why


def checked_url(url: str, source: str) -> URL:
    """Parse the address of a PostgreSQL database; :class:`UserError` when it is another address, or holds a secret.

    ``source`` says where the address was written, for messages.
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        parsed = None
    if parsed is None or parsed.drivername != "postgresql" or not parsed.database:
        shown = re.sub(r"//.*@", "//…@", url) if parsed is None else parsed.render_as_string()
        raise UserError(f"{source}: {short(shown)} is not an address of the form {FORM}")
    if parsed.password or _SECRETS & parsed.query.keys():
        raise UserError(
            f"{source}: a password in the address can be read by others, in the list of processes and in the run's "
            f"folder; {WHERE_PASSWORDS}"
        )
    if unknown := parsed.query.keys() - _OPTIONS:
        raise UserError(f"{source}: {short(min(unknown))} in the address; {nearest(min(unknown), sorted(_OPTIONS))}")
    return parsed


def named_by_user(url: str) -> str:
    """Return the address in the form that is kept, and remember its server as named by the user.

    Raises :class:`UserError` as :func:`checked_url` does.
    """
    parsed = checked_url(url, "--storage")
    servers.pin(servers.server_of(parsed))
    return parsed.render_as_string()


def open_database(url: str, *, create: bool = False, lasting: bool = False) -> BaseStorage:
    """Open Optuna's storage at ``url``, which keeps ended trials in memory; ``create`` makes missing tables.

    A ``lasting`` storage keeps its connections. Others connect anew for every query, since servers admit only some
    hundred connections. One that is neither lasting nor to ``create`` only reads, by transactions in which the server
    refuses all else, so that it serves a role that may only read. Raises :class:`UserError` when the
    driver is missing, there are no tables, or these are of another version of Optuna; :class:`Unreachable` when the
    server cannot be reached or refuses.
    """
    import sqlalchemy
    from optuna.exceptions import StorageInternalError
    from optuna.storages import RDBStorage, get_storage
    from sqlalchemy.exc import SQLAlchemyError

    arguments = {name: value for name, value in _CONNECTION.items() if name not in checked_url(url, url).query}
    once: dict[str, Any] = {"poolclass": sqlalchemy.NullPool, "connect_args": arguments}
    if not (create or lasting):
        once["execution_options"] = {"postgresql_readonly": True}
    # A worker has one connection for its turns and one for the rest, and for a moment one more for its heartbeat.
    options = {"pool_size": 2, "connect_args": arguments} if lasting else once
    try:
        engine = sqlalchemy.create_engine(_driver(url), **once)
    except ImportError:
        raise UserError("PostgreSQL needs psycopg: pip install 'boostformer[postgresql]'") from None

    def open_tables() -> RDBStorage:
        return RDBStorage(
            _driver(url), engine_kwargs=options, skip_compatibility_check=True, skip_table_creation=not create
        )

    try:
        with turn(engine, TABLES) if create else engine.connect() as connection:
            _check_tables(url, connection, create=create)
            storage = open_tables() if create else None
        # Nobody holds a connection while asking for another but who has the turn: a pooler's last ones would be held
        # by workers that wait for one more. Optuna's own check of the tables would do that, too.
        storage = storage or open_tables()
    except (SQLAlchemyError, StorageInternalError) as error:  # the latter is Optuna's wrapping of the former
        if (why := outage(error)) is not None:
            raise Unreachable(url, why) from None
        raise UserError(f"{url}: {reason(error.__cause__ or error)}") from None
    return get_storage(storage)


def _check_tables(url: str, connection: Connection, *, create: bool) -> None:
    """Raise :class:`UserError` for tables that another version of Optuna made, before anything is changed in them.

    Without ``create`` they must be there, whole.
    """
    import optuna
    from alembic.runtime.migration import MigrationContext
    from sqlalchemy import inspect

    found, ours = MigrationContext.configure(connection).get_current_revision(), _own_version()
    if found is not None and found != ours:
        raise UserError(
            f"{url}: its tables are of version {found}, Optuna {optuna.__version__} here has {ours}; use the Optuna "
            "that made them, or another database, or, once no worker runs, `optuna storage upgrade`"
        )
    if not create and (found is None or not inspect(connection).has_table("studies")):
        raise UserError(f"{url}: holds no search yet")


@cache
def _own_version() -> str | None:
    """Return the version of the tables that Optuna here makes. All its migrations are read for that."""
    from alembic.script import ScriptDirectory
    from optuna.storages import _rdb

    return ScriptDirectory(str(Path(_rdb.__path__[0]) / "alembic")).get_current_head()


def engine_of(storage: BaseStorage) -> Engine:
    """Return the SQLAlchemy engine of a storage from :func:`open_database`, for queries that Optuna does not offer."""
    engine: Engine = storage._backend.engine  # type: ignore[attr-defined]
    return engine


def create_trial(storage: BaseStorage, study_id: int, trial: FrozenTrial) -> int:
    """Store a new trial of a storage from :func:`open_database`, its parameters all at once; give its number there.

    Optuna would ask the database some three times for each of fifty parameters, while all other workers wait.
    """
    from optuna.distributions import distribution_to_json
    from optuna.storages._rdb.models import TrialParamModel
    from optuna.trial import create_trial
    from sqlalchemy import insert

    bare = create_trial(
        state=trial.state,
        values=trial.values,
        user_attrs=trial.user_attrs,
        system_attrs=trial.system_attrs,
        intermediate_values=trial.intermediate_values,
    )
    trial_id = storage.create_new_trial(study_id, bare)
    rows = [
        {
            "trial_id": trial_id,
            "param_name": name,
            "param_value": found.to_internal_repr(trial.params[name]),
            "distribution_json": distribution_to_json(found),
        }
        for name, found in trial.distributions.items()
    ]
    if rows:
        with engine_of(storage).begin() as connection:
            connection.execute(insert(TrialParamModel), rows)
    return trial_id


@contextmanager
def turn(engine: Engine, name: str) -> Iterator[Connection]:
    """Wait for the turn of this name, and hold it until the block ends or the process dies; one at a time has it.

    The server frees the turn as soon as the session ends or has stalled. Who waits keeps no connection meanwhile: a
    pooler has few, and who has the turn needs one more.
    """
    from sqlalchemy import text

    key = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)
    ask = text(
        "SELECT set_config('idle_in_transaction_session_timeout', :stall, true), pg_try_advisory_xact_lock(:key)"
    )
    for pause in chain(PAUSES, repeat(PAUSES[-1])):
        with engine.begin() as connection:
            if connection.execute(ask, {"stall": STALL, "key": key}).one()[1]:
                yield connection
                return
        time.sleep(pause * random.uniform(0.5, 1.5))


@contextmanager
def answering(url: str) -> Iterator[None]:
    """Turn the loss of the server within the block, and its refusal, into a :class:`UserError`."""
    try:
        yield
    except Exception as error:
        if (why := outage(error) or refusal(error)) is None:
            raise
        raise UserError(f"{url}: {why}") from None


def outage(error: BaseException) -> str | None:
    """Say why the server could not be asked; None when ``error`` is of another kind."""
    from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, Unreachable):
            return cause.why
        if isinstance(cause, OperationalError | InterfaceError):
            return reason(cause)
        if isinstance(cause, DBAPIError) and (
            cause.connection_invalidated or getattr(cause.orig, "sqlstate", None) == READ_ONLY
        ):
            return reason(cause)
        cause = cause.__cause__
    return None


def refusal(error: BaseException) -> str | None:
    """Say what the role of the address may not do; None when ``error`` is of another kind."""
    cause: BaseException | None = error
    while cause is not None:
        if getattr(getattr(cause, "orig", None), "sqlstate", None) == NOT_ALLOWED:
            return f"{reason(cause)}; a role that only reads is for pareto, report and the like"
        cause = cause.__cause__
    return None


def reason(error: BaseException) -> str:
    """Give in one line what the server or the network said, with a remedy where one is known."""
    said: Any = getattr(error, "orig", None) or error
    line = next((line for line in str(said).splitlines() if line.strip()), type(said).__name__)
    line = line.removeprefix("connection failed: ").strip()
    if "password" in line:
        line += f"; {WHERE_PASSWORDS}"
    return line


def _driver(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://", 1)
