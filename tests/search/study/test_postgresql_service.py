"""PostgreSQL as a service gives it: read-only for a while, behind a pooler, by TLS, for those who may only read."""

from __future__ import annotations

import multiprocessing
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from database_factories import begin, claim, queue, score, statuses, take
from search_factories import MadeUp, Watcher, quick, usual
from sqlalchemy.exc import DBAPIError
from throwaway_postgresql import NOBODY, Server

from boostformer.errors import UserError
from results.run import read_run
from results.storage.database import engine_of, outage
from results.storage.location import Database
from search.study.folder import join
from search.worker.loop import work

FORK = multiprocessing.get_context("fork")


@pytest.mark.parametrize("moment", ["claim", "score", "end", "leave"])
def test_a_server_that_only_reads_is_waited_for(
    tmp_path: Path, database: Database, server: Server, moment: str
) -> None:
    begin(tmp_path, database, 2)
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if "read-only" in line:
            server.take_writes(True)

    with queue(tmp_path) as mine:
        mine._say = mine._reliably._say = say
        if moment == "claim":
            server.take_writes(False)
        claimed = take(mine)
        if moment == "score":
            server.take_writes(False)
        mine.scored(claimed, score(claimed))
        if moment == "end":
            server.take_writes(False)
        mine.finish(claimed, score(claimed))
        if moment == "leave":
            take(mine)
            server.take_writes(False)
    assert statuses(tmp_path) == ["finished", "interrupted"][: 1 + (moment == "leave")]
    assert "read-only transaction; trying again for 30 min" in said[0] and "back after" in said[-1]


def test_readers_cannot_write(tmp_path: Path, database: Database) -> None:
    begin(tmp_path, database, 2)
    storage = database.open()
    with pytest.raises(Exception, match=".*") as refused:
        storage.set_study_user_attr(database.study_id(storage), "trials", 9)
    assert "read-only transaction" in (outage(refused.value) or "")
    with engine_of(storage).connect() as connection, pytest.raises(DBAPIError, match="read-only transaction"):
        connection.exec_driver_sql("DELETE FROM trials")


def test_a_role_that_may_only_read_sees_the_run(
    tmp_path: Path, database: Database, server: Server, run_cli: Callable[..., Any]
) -> None:
    begin(tmp_path / "run", database, 3)
    work(usual(), tmp_path / "run", Watcher(), MadeUp(quick))
    server.sql("CREATE ROLE reader LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    theirs = Database(database.url.replace("postgres@", "reader@"), database.study)
    join(tmp_path / "mine", theirs)
    assert read_run(tmp_path / "mine") == read_run(tmp_path / "run")
    for words in (["pareto"], ["report"]):
        done = run_cli(*words, tmp_path / "mine")
        assert done.returncode == 0, done.stderr
    with pytest.raises(UserError, match="permission denied"):
        begin(tmp_path / "mine", theirs, 3)
    begin(tmp_path / "run", database, 4)
    with pytest.raises(UserError, match="permission denied"):
        work(usual(), tmp_path / "mine", Watcher(), MadeUp(quick))


def test_tables_of_another_optuna_are_refused_before_anything_is_made(
    tmp_path: Path, server: Server, no_clock: None
) -> None:
    server.sql("CREATE DATABASE older")
    database = Database(server.url.replace("/postgres?", "/older?"), "s")
    begin(tmp_path, database, 1)
    with engine_of(database.open(create=True)).begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'v2.6.0.a'")
        connection.exec_driver_sql("DROP TABLE trial_heartbeats")
    for create in (True, False):
        with pytest.raises(UserError, match=r"its tables are of version v2\.6\.0\.a, Optuna .* here has .*; use the"):
            database.open(create=create)
    with pytest.raises(UserError, match="its tables are of version"):
        begin(tmp_path, database, 1)
    with pytest.raises(UserError, match="its tables are of version"):
        read_run(tmp_path)
    assert "trials" in tables(server, "older") and "trial_heartbeats" not in tables(server, "older")


def test_a_database_without_an_encoding_serves(tmp_path: Path, server: Server, no_clock: None) -> None:
    server.sql("CREATE DATABASE plain ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    begin(tmp_path, Database(server.url.replace("/postgres?", "/plain?"), "straße"), 1)
    work(usual(), tmp_path, Watcher(), MadeUp(quick))
    assert len(read_run(tmp_path).trials) == 1


def test_tables_that_were_made_by_half_are_made_whole(tmp_path: Path, server: Server, no_clock: None) -> None:
    """As where the process was killed that made them."""
    server.sql("CREATE DATABASE half")
    database = Database(server.url.replace("/postgres?", "/half?"), "s")
    begin(tmp_path, database, 1)
    with engine_of(database.open(create=True)).begin() as connection:
        connection.exec_driver_sql("DROP TABLE trial_heartbeats; DELETE FROM alembic_version")
    with pytest.raises(UserError, match="holds no search yet"):
        read_run(tmp_path)
    begin(tmp_path, database, 1)
    assert read_run(tmp_path).trials == []
    assert "trial_heartbeats" in tables(server, "half")


def tables(server: Server, database: str) -> set[str]:
    found = server._run("psql", "-h", server.folder, "-U", "postgres", "-At", "-d", database, "-c", "\\dt")
    return {line.split("|")[1] for line in found.splitlines()}


@pytest.fixture
def pooler(server: Server, tmp_path: Path) -> Iterator[str]:
    """A pgbouncer with three connections to the server, each lent for one transaction; gives its port."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("no pgbouncer on this machine (apt-get install pgbouncer)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    users, settings = server.folder / "users", server.folder / "pgbouncer.ini"
    users.write_text('"postgres" ""\n')
    settings.write_text(
        f"[databases]\npostgres = host={server.folder} pool_size=3\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
        f"listen_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {users}\npool_mode = transaction\n"
        "max_client_conn = 200\nquery_wait_timeout = 20\nlog_connections = 0\nlog_disconnections = 0\n"
    )
    process = subprocess.Popen(
        [program, str(settings)],
        user=NOBODY,
        group=NOBODY,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stderr is not None
        assert any("process up" in line for line in process.stderr), "it did not begin"
        yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_32_workers_share_three_connections(tmp_path: Path, pooler: str, no_clock: None) -> None:
    database = Database(pooler, tmp_path.name)
    begin(tmp_path / "run", database, 40)

    def run_worker() -> None:
        work(usual(), tmp_path / "run", Watcher(), MadeUp(quick))

    workers = [FORK.Process(target=run_worker) for _ in range(32)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 32
    trials = read_run(tmp_path / "run").trials
    assert [trial.status for trial in trials] == ["finished"] * 40
    assert len({trial.id for trial in trials}) == 40
    with queue(tmp_path / "run") as mine:
        assert claim(mine) is None


@pytest.fixture
def encrypted(server: Server, tmp_path: Path) -> Iterator[tuple[str, Path, Path]]:
    """The server on a port with a certificate for 'localhost'; gives the address, its authority and another one."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("no openssl on this machine")
    data, other = server._data, tmp_path / "other.pem"
    for key, certificate in ((data / "server.key", data / "server.crt"), (tmp_path / "other.key", other)):
        request = [program, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
        request += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
        subprocess.run(request, check=True, capture_output=True)
    for name in ("server.key", "server.crt"):
        shutil.chown(data / name, NOBODY, NOBODY)
        (data / name).chmod(0o600)
    authority = tmp_path / "authority.pem"
    authority.write_bytes((data / "server.crt").read_bytes())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    kept = (data / "postgresql.conf").read_text()
    server.stop()
    try:
        (data / "postgresql.conf").write_text(f"{kept}\nssl = on\nport = {port}\n")
        options = f"-c listen_addresses=127.0.0.1 -k {server.folder}"
        server._run("pg_ctl", "-D", data, "-l", server.folder / "log", "-o", options, "-w", "start")
        yield f"postgresql://postgres@localhost:{port}/postgres", authority, other
    finally:
        (data / "postgresql.conf").write_text(kept)
        server.stop()
        server.start()


@pytest.mark.slow
def test_the_way_to_the_server_is_encrypted_and_its_name_verified(
    tmp_path: Path, encrypted: tuple[str, Path, Path], no_clock: None
) -> None:
    url, authority, other = encrypted
    secured = f"{url}?sslmode=verify-full&sslrootcert={authority}&ssl_min_protocol_version=TLSv1.3"
    database = Database(secured, tmp_path.name)
    begin(tmp_path / "run", database, 1)
    with engine_of(database.open()).connect() as connection:
        row = connection.exec_driver_sql("SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()").one()
    assert tuple(row) == (True, "TLSv1.3")
    with pytest.raises(UserError, match="certificate verify failed"):
        Database(secured.replace(str(authority), str(other)), "s").open()
    with pytest.raises(UserError, match="localhost.*does not match host name") as refused:
        Database(secured.replace("@localhost", "@127.0.0.1"), "s").open()
    assert "\n" not in str(refused.value)
    with pytest.raises(UserError, match="sslkeyfile.*did you mean 'sslkey'"):
        Database(f"{url}?sslkeyfile=x", "s").open()
