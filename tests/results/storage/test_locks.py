"""Locks between processes: whoever dies gives them back."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from pathlib import Path

import pytest

from boostformer import locks
from boostformer.errors import UserError
from boostformer.locks import FileLock, held, is_held

FORK = multiprocessing.get_context("fork")


def test_locks_end_with_their_holder(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    assert not is_held(path)
    with FileLock(path):
        assert is_held(path)
    assert not is_held(path)
    with pytest.raises(UserError, match=r"gone/a\.lock: cannot be written: No such file"):
        FileLock(tmp_path / "gone" / "a.lock").acquire()

    reader, writer = FORK.Pipe(duplex=False)

    def hold() -> None:
        with FileLock(path):
            writer.send("held")
            signal.pause()

    process = FORK.Process(target=hold)
    process.start()
    assert reader.poll(60) and is_held(path)
    process.kill()
    process.join()
    assert not is_held(path)


def test_a_wait_that_lasts_is_said_with_who_holds_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "SAID_AFTER", 0.0)
    said, first, second = threading.Event(), FileLock(tmp_path / "a.lock"), FileLock(tmp_path / "a.lock")
    texts: list[str] = []

    def warn(text: str) -> None:
        texts.append(text)
        first.release()
        said.set()

    monkeypatch.setattr(locks.warnings, "warn", warn)
    first.acquire()
    with second:
        assert said.wait(60)
    assert texts == [f"{tmp_path / 'a.lock'}: waits for another process ({os.getpid()}), which holds it"]


@pytest.mark.parametrize(("umask", "mode"), [(0o002, 0o664), (0o022, 0o644)])
def test_a_lock_is_for_whom_the_umask_lets(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        with FileLock(tmp_path / "a.lock"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "a.lock").stat().st_mode & 0o777 == mode


def test_a_folder_is_held_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "runs" / "out"
    with held(out):
        with pytest.raises(UserError, match="out: another process is writing into it"), held(out):
            pass
        monkeypatch.setenv("RANK", "1")
        with held(out):  # of the same training
            pass
        monkeypatch.delenv("RANK")
    with held(out):
        assert list(out.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file/out: cannot be written"), held(tmp_path / "file" / "out"):
        pass
