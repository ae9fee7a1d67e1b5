"""Locks between processes: whoever dies gives them back."""

from __future__ import annotations

import multiprocessing
import signal
from pathlib import Path

import pytest

from boostformer.errors import UserError
from boostformer.locks import FileLock, is_held

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
