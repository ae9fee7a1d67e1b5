"""Fixtures and settings that every room's tests share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

REPOSITORY = Path(__file__).resolve().parent.parent

# One thread for each test process, before torch is imported, which reads it once: `-n` divides the cores, and what
# is computed does not hang on it. Child processes inherit it.
os.environ["OMP_NUM_THREADS"] = "1"
# Counts and decoded images of the tests stay out of the user's cache.
os.environ.setdefault("BOOSTFORMER_CACHE", str(REPOSITORY / ".pytest_cache" / "boostformer"))
# albumentations would ask the network for a newer release of itself at import.
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

# A busy machine is no failure: examples have no time limit.
settings.register_profile("boostformer", deadline=None)
settings.load_profile("boostformer")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real images and golden values beside the repository; skips where there is none."""
    folder = REPOSITORY.parent / "shared"
    if not folder.is_dir():
        pytest.skip("no folder ../shared beside the repository (golden values, real images)")
    return folder


@pytest.fixture(scope="session")
def run_cli() -> Callable[..., subprocess.CompletedProcess[str]]:
    """``run_cli("profile", "segformer_b0", cwd=…)``: the program in a process of its own.

    Returns its exit code and its output as text; nothing is raised for a failing command.
    """

    def run(
        *arguments: object, cwd: Path | None = None, timeout: float = 600, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        variables = {"PYTHONPATH": str(REPOSITORY), "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
        return subprocess.run(
            [sys.executable, "-m", "search.cli", *map(str, arguments)],
            cwd=cwd,
            env={**os.environ, **variables, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return run
