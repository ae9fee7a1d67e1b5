"""Faults of the machine under a search: a full disk, a read-only one, no power, few open files, little memory."""

from __future__ import annotations

import ctypes
import filecmp
import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from commands import Command
from disturbed import CROWD, HANGS_AFTER, Ground, finished

from results.run import read_run
from results.storage.location import JOURNAL_NAME
from results.trial import Status

_OWN_MOUNTS = 0x20000  # CLONE_NEWNS


def full_disk(ground: Ground) -> None:
    """No file may grow beyond some size: as on a full disk, the write that would stops in the middle."""
    for _ in range(3):
        ground.room = (ground.folder / JOURNAL_NAME).stat().st_size + int(ground.rng.integers(1, 60_000))
        _end(ground, [ground.start() for _ in range(CROWD)])
    ground.room = None
    ground.conclude()


def few_files(ground: Ground) -> None:
    """Workers may have only some files open: too few for one to begin, or for one that begins to go on."""
    for _ in range(4):
        ground.descriptors = int(ground.rng.integers(4, 24))
        _end(ground, [ground.start() for _ in range(CROWD)])
    ground.descriptors = None
    ground.conclude()


def read_only(ground: Ground) -> None:
    """The run's folder becomes read-only under three workers, as after an error of its disk; needs root."""
    for _ in range(3):
        workers = [ground.start() for _ in range(CROWD)]
        ground.pause(0.3)
        with mounted("--bind", ground.folder, ground.folder):
            for _ in range(1000):  # busy while one has a file open to write
                with suppress(AssertionError):
                    call("mount", "-o", "remount,ro,bind", ground.folder)
                    break
            _end(ground, workers)
    said = ground.said.read_text()
    assert "Read-only file system" in said and "AssertionError" not in said, said[-4000:]
    ground.conclude()


def power_loss(ground: Ground) -> None:
    """The power goes, and only what an ext4 had on its disk is left: a copy of its image at any moment; needs root."""
    workers = [ground.start() for _ in range(CROWD)]
    for _ in range(4):
        ground.pause()
        running = [worker for worker in workers if worker.is_alive()]
        for worker in running:
            os.kill(worker.pid, signal.SIGSTOP)
        ground.look()
        with without_power(ground.folder) as place:
            found = finished(read_run(place / ground.folder.name).trials)
            lost = ground.kept.keys() - found.keys()
            assert not lost, f"{len(lost)} of {len(ground.kept)} that were said to be finished are gone"
        ground.faults += 1
        for worker in running:
            os.kill(worker.pid, signal.SIGCONT)
    for worker in workers:
        worker.join(HANGS_AFTER)
    ground.conclude()


LOADED = """\
space: tiny
data: {kind: scenes, size: 256x512, scenes: {training: 4, validation: 2}}
proxy: {iterations: 2, batch_size: 2, workers: 2}
search: {strategy: random}
"""


def small_shared_memory(ground: Ground) -> None:
    """The processes that load find no room in /dev/shm: at once, or while they hand a batch over; needs root."""
    run_file, out = ground.folder.with_name("run.yaml"), ground.folder.with_name("out")
    run_file.write_text(LOADED)
    search = ["search", run_file, "--out", out, "--workers", 1, "--trials", 1]
    for most in (1_000, 1_600):  # a batch has 1.5 MB
        room = int(ground.rng.integers(most - 500, most))
        command = Command(run_file, *search, before=partial(_share, room))
        command.end(2)
        assert "error: /dev/shm: " in command.said() and "Traceback" not in command.said(), command.said()
        assert all(trial.status is Status.INTERRUPTED for trial in read_run(out).trials)
        ground.faults += 1
    Command(run_file, *search).end()
    ground.kept = finished(read_run(out).trials)
    assert len(ground.kept) == 1


def _share(kilobytes: int) -> None:
    """Let this process and those that it starts have so much shared memory."""
    assert ctypes.CDLL(None).unshare(_OWN_MOUNTS) == 0
    call("mount", "--make-rprivate", "/")
    call("mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "none", "/dev/shm")


def _end(ground: Ground, workers: list[Any]) -> None:
    """Wait until these workers have ended, each in its own way; those that could not go on are faults."""
    for worker in workers:
        worker.join(HANGS_AFTER)
        assert worker.exitcode is not None, "it hangs"
        ground.faults += worker.exitcode != 0
    ground.look()


def call(*command: object) -> None:
    """Run a program; AssertionError with what it says when it fails."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == 0, f"{command[0]}: {done.stderr}"


@contextmanager
def mounted(*arguments: object) -> Iterator[None]:
    """Mount something for the block, at the last of the ``arguments``."""
    Path(str(arguments[-1])).mkdir(exist_ok=True)
    call("mount", *arguments)
    try:
        yield
    finally:
        call("umount", "-l", arguments[-1])


@contextmanager
def without_power(run_dir: Path) -> Iterator[Path]:
    """Yield what the :func:`disk` of a run had kept if the power went now: a copy of its image, mounted.

    Nobody may write meanwhile. What the kernel still writes by itself would tear the copy, as no disk is torn: then it
    is made anew. It has a name of its own, since a disk that was let go may still be written for a while.
    """
    image, copy = run_dir.parents[1] / "image", run_dir.parents[1] / f"copy-{uuid.uuid4().hex}"
    shutil.copyfile(image, copy)
    while not filecmp.cmp(image, copy, shallow=False):
        shutil.copyfile(image, copy)
    with mounted("-o", "loop", copy, place := copy.with_name(f"after-{copy.name}")):
        yield place
    copy.unlink()


@contextmanager
def disk(folder: Path) -> Iterator[Path]:
    """Yield a folder on an ext4 of its own, in the file ``image`` of ``folder``."""
    with (folder / "image").open("wb") as image:
        image.truncate(32 << 20)
    call("mkfs.ext4", "-q", folder / "image")
    with mounted("-o", "loop", folder / "image", folder / "disk"):
        yield folder / "disk"
