"""Local worker processes: those that are killed are replaced, and accelerators are shared out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from queue import SimpleQueue

import pytest

from boostformer.errors import UserError
from search.study.claim import DEATHS
from search.worker import local
from search.worker.accelerators import VISIBLE, share, use, visible
from search.worker.local import run_workers
from search.worker.progress import ConsoleReporter

WORKER = """\
import os, pathlib, signal, sys
place = pathlib.Path(sys.argv[2])
number = len(list(place.iterdir()))
(place / f"{number} {os.environ['OMP_NUM_THREADS']} {os.environ.get('CUDA_VISIBLE_DEVICES')}").touch()
if number < int(sys.argv[0].rpartition("-")[2]):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def workers_that_die(tmp_path: Path, times: int, monkeypatch: pytest.MonkeyPatch) -> tuple[int, list[str]]:
    """How many failed in the end, and which were started, when the first so many are killed."""
    script = tmp_path / f"worker-{times}"
    script.write_text(WORKER)
    (tmp_path / "started").mkdir()
    monkeypatch.setattr(local, "PROGRAM", [sys.executable, str(script)])
    with ConsoleReporter() as reporter:
        failed = run_workers(tmp_path / "started", 1, reporter)
    return failed, sorted(path.name for path in (tmp_path / "started").iterdir())


def test_a_killed_worker_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(VISIBLE, "2,3")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    failed, started = workers_that_die(tmp_path, DEATHS, monkeypatch)
    assert failed == 0 and started == [f"{number} 3 2" for number in range(DEATHS + 1)]
    assert capsys.readouterr().err.count("worker 1 was killed, perhaps for want of memory") == DEATHS


SLOW_STARTER = """\
import os, pathlib, signal, sys, threading
from search.worker.local import stop_with_parent
signal.signal(signal.SIGINT, signal.SIG_IGN)
place = pathlib.Path(sys.argv[2])
(place / "starting").touch()
while not (place / "stopped").exists():
    pass
try:
    stop_with_parent()
    threading.Event().wait(60)
except KeyboardInterrupt:
    (place / "ended").touch()
"""
"""Ignores Ctrl-C until it knows its parent, as a shell's background job does, and is stopped before."""


def test_files_of_the_user_are_not_taken_for_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "results.py").write_text("raise AssertionError('this is mine')")
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    done = subprocess.run([*local.PROGRAM, "pareto", "no"], cwd=tmp_path, capture_output=True, text=True)
    assert done.stderr == "error: run directory no does not exist\n"


def test_a_worker_that_is_starting_is_stopped_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "worker"
    script.write_text(SLOW_STARTER)
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.setattr(local, "PROGRAM", [sys.executable, str(script)])
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))

    class Stopped(Exception):
        pass

    class Lines(SimpleQueue):
        def get(self, *arguments: object) -> object:
            while not (place / "starting").exists():
                pass
            raise Stopped

    monkeypatch.setattr(local, "SimpleQueue", Lines)
    wait = subprocess.Popen.wait

    def waited(child: subprocess.Popen[str], *arguments: object) -> int:
        (place / "stopped").touch()
        return wait(child, *arguments)

    monkeypatch.setattr(subprocess.Popen, "wait", waited)
    with ConsoleReporter() as reporter, pytest.raises(Stopped):
        run_workers(place, 1, reporter)
    assert (place / "ended").exists()


def test_but_not_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed, started = workers_that_die(tmp_path, 100, monkeypatch)
    assert failed == 1 and len(started) == DEATHS + 1


def test_devices_are_dealt_out_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VISIBLE, "GPU-a, GPU-b")
    assert [share(number)[VISIBLE] for number in range(3)] == ["GPU-a", "GPU-b", "GPU-a"]
    use(1)
    assert visible() == ["GPU-b"]
    with pytest.raises(UserError, match="--device 1: no such device, allowed: 0 to 0"):
        use(1)
    monkeypatch.setenv(VISIBLE, "")
    assert share(0) == {}
    with pytest.raises(UserError, match="there is no CUDA device"):
        use(0)
    monkeypatch.delenv(VISIBLE)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert visible() == ["0", "1"]


@pytest.mark.parametrize(
    ("variable", "count"), [("2", 2), ("3,1", 3), ("0", 1), ("", None), ("many", None), (" 4 ", 4)]
)
def test_a_search_has_a_worker_for_each_core_but_none_without_work(
    monkeypatch: pytest.MonkeyPatch, variable: str, count: int | None
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    found = count or len(os.sched_getaffinity(0))
    assert local.default_workers(1000, is_disturbed=False) == found
    assert local.default_workers(1, is_disturbed=False) == 1 == local.default_workers(1000, is_disturbed=True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert local.default_workers(1000, is_disturbed=False) == 1
