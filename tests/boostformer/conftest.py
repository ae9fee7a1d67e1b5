"""Fixtures of the room; here, too, so that the tests of the folders below find the modules beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
from disk_record import Disk


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Records what is synced, renamed and removed under ``tmp_path``, in order."""
    return Disk(tmp_path, monkeypatch)
