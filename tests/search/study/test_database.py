"""The address of a run's database: its password is kept nowhere, and what is wrong with it is said in one line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from database_factories import begin
from search_factories import experiment, opened
from throwaway_postgresql import Server

from boostformer.data import DataConfig
from boostformer.errors import UserError
from results.storage.database import checked_url
from results.storage.location import Database, storage_of
from search.study.folder import join, read_experiment, set_up


def test_a_folder_names_its_study(tmp_path: Path, server: Server) -> None:
    begin(tmp_path / "run", Database(server.url, "mine"), 1)
    assert storage_of(tmp_path / "run") == Database(server.url, "mine")
    join(tmp_path / "elsewhere", Database(server.url, "mine"))
    assert read_experiment(tmp_path / "elsewhere") == experiment()
    with pytest.raises(UserError, match="is a run that is kept in study 'mine'"):
        begin(tmp_path / "run", Database(server.url, "other"), 1)


def test_a_folder_that_moved_finds_its_study_and_its_data(tmp_path: Path, server: Server) -> None:
    (tmp_path / "project" / "data").mkdir(parents=True)
    data = DataConfig(kind="ade20k", root=tmp_path / "project" / "data", size=(64, 64))
    set_up(tmp_path / "project" / "run", opened(data=data), 3, Database(server.url, "travelling"))
    moved = (tmp_path / "project").rename(tmp_path / "elsewhere")
    here = read_experiment(moved / "run")
    assert here.data.root == moved / "data" and here == experiment(data=here.data)
    set_up(moved / "run", opened(data=here.data), 3)
    join(tmp_path / "other machine", Database(server.url, "travelling"))
    assert read_experiment(tmp_path / "other machine").data.root == data.root, "which only its own folder changes"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite:///x.db", "is not an address of the form postgresql://USER@HOST/DATABASE"),
        ("postgresql://me:secret@host", "'postgresql://me:***@host' is not an address"),
        ("postgresql://me:secret@host:port/db", "'postgresql://…@host:port/db' is not an address"),
        ("postgresql://me@host/db?password=secret", "a password in the address can be read by others"),
        ("postgresql://me:secret@host/db", "a password in the address can be read by others"),
    ],
)
def test_other_addresses_are_refused(url: str, said: str) -> None:
    with pytest.raises(UserError) as refused:
        checked_url(url, "--storage")
    assert said in str(refused.value) and "secret" not in str(refused.value)


def test_a_server_that_cannot_be_used_is_one_line(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="Connection refused|could not connect|failed") as away:
        Database("postgresql://me@127.0.0.1:9/x", "s").open()
    with pytest.raises(UserError, match='database "nowhere" does not exist'):
        Database(server.url.replace("/postgres?", "/nowhere?"), "s").open()
    assert "\n" not in str(away.value)
    server.sql("CREATE DATABASE empty")
    with pytest.raises(UserError, match="holds no search yet"):
        Database(server.url.replace("/postgres?", "/empty?"), "s").open()
    begin(tmp_path / "run", Database(server.url, "known"), 1)
    with pytest.raises(UserError, match="has no study 'unknown', studies there: .*known"):
        join(tmp_path / "new", Database(server.url, "unknown"))
    assert not (tmp_path / "new").exists()
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(UserError, match=r"pip install 'boostformer\[postgresql\]'"):
        Database(server.url, "known").open()


def test_a_password_is_asked_for(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGPASSWORD", raising=False)
    rules = server.folder / "data" / "pg_hba.conf"
    rules.write_text("local all guest scram-sha-256\n" + rules.read_text())
    server.sql("CREATE ROLE guest LOGIN PASSWORD 'right'")
    server.sql("SELECT pg_reload_conf()")
    guest = Database(server.url.replace("postgres@", "guest@"), "x")
    with pytest.raises(UserError, match="no password supplied; give it in PGPASSWORD or ~/.pgpass"):
        guest.open()
    monkeypatch.setenv("PGPASSWORD", "wrong")
    with pytest.raises(UserError, match='password authentication failed for user "guest"; give it in PGPASSWORD'):
        guest.open()


def test_a_password_never_goes_out_in_clear_text_unless_the_address_says_so(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server asks for it as such, which whoever listens, or answers in its place, would read."""
    rules = server.folder / "data" / "pg_hba.conf"
    rules.write_text("local all plain password\n" + rules.read_text())
    server.sql("CREATE ROLE plain LOGIN SUPERUSER PASSWORD 'right'")
    server.sql("SELECT pg_reload_conf()")
    monkeypatch.setenv("PGPASSWORD", "right")
    url = server.url.replace("postgres@", "plain@")
    with pytest.raises(UserError, match="authentication method requirement .* failed: server requested a cleartext"):
        Database(url, "x").open()
    Database(f"{url}&require_auth=password", "x").open(create=True)
