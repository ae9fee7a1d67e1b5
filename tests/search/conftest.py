"""A PostgreSQL server and NNI, for the tests that need them."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

from throwaway_postgresql import Server, programs

from results.storage.location import Database
from search.study import leases, retry


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    if programs() is None:
        pytest.skip("no PostgreSQL server on this machine (initdb, pg_ctl), nor the package pgserver")
    with Server() as running:
        yield running


@pytest.fixture
def no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hearts beat when a test says so, and nobody waits."""
    monkeypatch.setattr(leases, "BEAT_SECONDS", 3600.0)
    monkeypatch.setattr(leases, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(retry, "PAUSES", (0.01,))


@pytest.fixture
def database(server: Server, no_clock: None) -> Database:
    return Database(server.url, uuid.uuid4().hex)


@pytest.fixture
def real_nni() -> None:
    pytest.importorskip("nni", reason="NNI is not installed: pip install --no-deps -r constraints-nni.txt")
