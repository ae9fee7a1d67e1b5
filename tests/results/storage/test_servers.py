"""A run's folder decides where its study is, but not which server gets the user's password."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from boostformer.errors import UserError
from results.run import read_run
from results.storage import servers
from results.storage.database import named_by_user
from results.storage.location import Database, storage_of

pytest.importorskip("sqlalchemy")
URL = "postgresql://me@db.example/streets"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv(servers.VARIABLE, raising=False)
    monkeypatch.setenv("PGPASSWORD", "secret")
    return tmp_path


def folder(home: Path, url: object = URL, study: object = "s") -> Path:
    run = home / "run"
    run.mkdir(exist_ok=True)
    (run / "storage.json").write_text(json.dumps({"url": url, "study": study}))
    return run


def test_a_server_that_only_a_folder_names_gets_no_password(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = folder(home)
    with pytest.raises(UserError, match=r"storage\.json: names the database server 'db\.example:5432', which you have"):
        read_run(run)
    monkeypatch.setenv(servers.VARIABLE, "other:5432,db.example:5432")
    assert storage_of(run) == Database(URL, "s")
    monkeypatch.delenv(servers.VARIABLE)
    monkeypatch.delenv("PGPASSWORD")
    assert storage_of(run) == Database(URL, "s"), "without one, there is nothing to send"


def test_a_server_that_the_user_named_is_remembered_with_its_port(home: Path) -> None:
    run = folder(home)
    assert named_by_user(URL) == URL
    assert storage_of(run) == Database(URL, "s")
    assert servers.pins_file().read_text() == "db.example:5432\n"
    others = ("?host=/tmp/evil", "?hostaddr=10.0.0.9", "?port=6666", "?require_auth=password", "?sslmode=disable")
    for other in ("postgresql://me@db.example:9999/streets", *(URL + option for option in others)):
        with pytest.raises(UserError, match="which you have not named yourself"):
            storage_of(folder(home, other))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://me:secret@db.example/x", "a password in the address can be read by others"),
        ("postgresql://me@db.example/x?passfile=/tmp/theirs", "'passfile' in the address; did you mean"),
        ("postgresql://me@db.example/x?service=theirs", "'service' in the address"),
        ("mysql://me@db.example/x", "is not an address of the form postgresql://USER@HOST/DATABASE"),
        (7, "url and study must be texts"),
    ],
)
def test_a_folder_cannot_say_more_than_where(home: Path, url: object, said: str) -> None:
    with pytest.raises(UserError) as refused:
        storage_of(folder(home, url))
    assert said in str(refused.value) and "secret" not in str(refused.value) and "\n" not in str(refused.value)
    if isinstance(url, str):
        with pytest.raises(UserError, match="--storage: "):
            named_by_user(url)
        assert not servers.pins_file().exists()


@pytest.mark.parametrize("config", ["/proc/nohome", "/dev/null/x"])
def test_where_nothing_can_be_remembered_the_user_is_warned_and_served(
    config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", config)
    with pytest.warns(UserWarning, match="the server is not remembered as yours: "):
        assert named_by_user(URL) == URL
