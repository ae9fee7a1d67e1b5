"""A folder with what run files name."""

from __future__ import annotations

from pathlib import Path

import pytest
from search_factories import SMALL


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a small space."""
    (tmp_path / "small.yaml").write_text(SMALL)
    return tmp_path


@pytest.fixture
def here(folder: Path, apart: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same as the folder one works in; its devices are read, and what is measured is kept there too."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("BOOSTFORMER_DEVICES", "")
    return folder
