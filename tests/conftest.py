"""Fixtures and settings that every room's tests share."""

from __future__ import annotations

import functools
import gc
import io
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import typer.main
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

REPOSITORY = Path(__file__).resolve().parent.parent

# One thread for each test process, before torch and OpenCV are imported, which read it once: `-n` divides the cores,
# and what is computed does not hang on it. Child processes inherit it; in a fork, OpenCV would wait for the threads of
# its parent for ever.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENCV_FOR_THREADS_NUM"] = "1"
# On the CPU, also where there is a GPU: what is exact to the bit is so there.
os.environ.setdefault("ACCELERATE_TORCH_DEVICE", "cpu")
# Counts and decoded images of the tests stay out of the user's cache.
os.environ.setdefault("BOOSTFORMER_CACHE", str(REPOSITORY / ".pytest_cache" / "boostformer"))
# albumentations would ask the network for a newer release of itself at import.
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

TOGETHER = (
    "tests/test_end_to_end.py",
    "tests/search/worker/test_launched.py",
    "tests/search/worker/test_nni_experiment.py",
)
"""Files whose tests share what takes long to make: one process runs them all."""

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
SYNC = os.fsync
# Nothing that the tests write has to outlive the machine, and a busy disk takes its time.
os.fsync = lambda descriptor: None
# A forked process does not look through what it has of its parent for garbage, which would copy all its pages.
os.register_at_fork(before=gc.freeze, after_in_parent=gc.unfreeze)
# The commands are made of their signatures once: it takes most of the time of a command that is refused.
typer.main.get_command = functools.cache(typer.main.get_command)
# A busy machine is no failure: examples have no time limit.
settings.register_profile("boostformer", deadline=None)
settings.load_profile("boostformer")


class OneByOne(LoadScopeScheduling):
    """Each process gets the next test, in their order, so that none has nothing to do at the end."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if file in TOGETHER else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneByOne:
    config.option.loadscopereorder = False
    return OneByOne(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The fast tests first, then the slow ones; of those, the shortest are in the first folders."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)
    fast = sum(item.get_closest_marker("slow") is None for item in items)
    files = list(dict.fromkeys(item.path for item in items[fast:]))
    items[fast:] = sorted(items[fast:], key=lambda item: -files.index(item.path))


@pytest.fixture
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a test with a cache of its own in it, which knows only the costs that earlier tests counted."""
    folder = tmp_path / "cache"
    folder.mkdir()
    for file in Path(os.environ["BOOSTFORMER_CACHE"]).glob("costs-*"):
        shutil.copy(file, folder)
    monkeypatch.setenv("BOOSTFORMER_CACHE", str(folder))
    return tmp_path


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written is on the disk when the program says so."""
    monkeypatch.setattr(os, "fsync", SYNC)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real images and golden values beside the repository; skips where there is none."""
    folder = REPOSITORY.parent / "shared"
    if not folder.is_dir():
        pytest.skip("no folder ../shared beside the repository (golden values, real images)")
    return folder


Cli = Callable[..., "subprocess.CompletedProcess[str]"]
TERMINAL = {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}


@pytest.fixture(scope="session")
def run_cli() -> Cli:
    """``run_cli("profile", "segformer_b0", cwd=…)``: the program in this process, which has its imports already.

    Returns its exit code and its output as text; nothing is raised for a failing command, but a bug is.
    """

    def run(*arguments: object, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        from search.cli.program import main

        words = ["boostformer", *map(str, arguments)]
        before = dict(os.environ)
        handlers = {number: signal.getsignal(number) for number in STOPS}
        with (
            pytest.MonkeyPatch.context() as patch,
            redirect_stdout(io.StringIO()) as out,
            redirect_stderr(io.StringIO()) as err,
        ):
            for name, value in {**TERMINAL, **environment}.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", words)
            if cwd is not None:
                patch.chdir(cwd)
            try:
                main()
            except SystemExit as end:
                assert isinstance(end.code, int)
                return subprocess.CompletedProcess(words, end.code, out.getvalue(), err.getvalue())
            finally:
                for name in os.environ.keys() - before.keys():  # what the program set for the processes that it starts
                    del os.environ[name]
                for number, handler in handlers.items():
                    signal.signal(number, handler)
        raise AssertionError("the program always ends by an exit code")

    return run


@pytest.fixture(scope="session")
def spawn_cli() -> Cli:
    """The same as ``run_cli`` in a process of its own, for what hangs on that: warnings, imports, its end."""

    def run(*arguments: object, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "search.cli", *map(str, arguments)],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), **TERMINAL, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
        )

    return run
