"""A PostgreSQL server for the tests that need one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

from throwaway_postgresql import Server, programs


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    if programs() is None:
        pytest.skip("no PostgreSQL server on this machine (initdb, pg_ctl), nor the package pgserver")
    with Server() as running:
        yield running
