"""Data sets for the commands are written as for the tests of training."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from coloured_data import write_coloured
from forked import forking

from search.worker import local

sys.path.append(str(Path(__file__).resolve().parents[2] / "boostformer"))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, run_cli: Callable[..., subprocess.CompletedProcess[str]]) -> Path:
    """A folder with data and a network that was trained on them a little."""
    from search_factories import small

    folder = tmp_path_factory.mktemp("trained")
    write_coloured(folder / "data")
    (folder / "arch.json").write_text(json.dumps(next(iter(small())).to_dict()))
    how = ["--size", "64x96", "--iterations", 8, "--batch-size", 4, "--lr", 0.003]
    done = run_cli("train", "arch.json", "--data", "data", "--out", "net", *how, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def forked_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers of a search in this process, or in one that is forked from it, are forked too."""
    monkeypatch.setattr(local, "subprocess", forking())
