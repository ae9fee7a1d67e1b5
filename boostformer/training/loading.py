"""Loading of batches by processes of their own, and how fast a training gets on."""

from __future__ import annotations

import errno
import gc
import os
import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader, default_collate

from boostformer.errors import UserError
from boostformer.training.recipes import Recipe
from boostformer.training.tasks import Task


def loader(task: Task, recipe: Recipe, start: int, device: torch.device) -> DataLoader:
    """Make the loader of all batches from iteration ``start`` on, for a training on ``device``.

    :class:`UserError` when it is to have processes that have no room to hand over anything.
    """
    workers = recipe.workers
    if workers is None:  # on a CPU the cores are busy training
        workers = 0 if device.type == "cpu" else min(8, os.cpu_count() or 1)
    if workers and Path(_SHARED).is_dir() and shutil.disk_usage(_SHARED).free < _LEAST:
        raise _no_room()
    return DataLoader(
        task.samples,
        batch_size=recipe.batch_size,
        # The samples go on endlessly, so every batch is full: BatchNorm never meets a lone image.
        sampler=range(start * recipe.batch_size, recipe.iterations * recipe.batch_size),
        num_workers=workers,
        worker_init_fn=_quiet_worker if workers else None,
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),
    )


_SHARED = "/dev/shm"  # noqa: S108  its room is asked for, nothing is written
_LEAST = 1 << 20
"""Bytes without which the processes need not be started: their semaphores lie there, too."""
_NO_ROOM = ("shared memory", "Bus error", "<torch_", "(shm)")
"""Parts of what torch says when the processes that load have no room to hand a batch over."""


def first_batch(task: Task, recipe: Recipe) -> tuple[Tensor, Any]:
    """Give the samples of iteration 0, loaded by this process."""
    batch: tuple[Tensor, Any] = default_collate([task.samples[position] for position in range(recipe.batch_size)])
    return batch


def _quiet_worker(worker: int) -> None:
    # A signal to the whole process group must not end it: the trainer alone stops it, by a SIGTERM.
    os.setpgid(0, 0)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    cv2.setNumThreads(0)  # every one of them would take all cores for each of its small images


def until(interrupted: Callable[[], bool], batches: DataLoader) -> Iterator[Any]:
    """Yield the batches; end early when their processes died of the stop that ``interrupted`` tells of.

    A batch system tells all processes of a job to stop, not the trainer alone.
    """
    try:
        yield from batches
        return
    except (RuntimeError, OSError) as error:
        if interrupted():
            return
        # A semaphore that finds no room has no name, as files have.
        full = isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None
        if not full and not any(sign in str(error) for sign in _NO_ROOM):
            raise
    # Out here only cycles hold the processes: they are stopped now, not at the program's end, which torch would spoil.
    gc.collect()
    raise _no_room()


def _no_room() -> UserError:
    room = shutil.disk_usage(_SHARED).total / 1e6 if Path(_SHARED).is_dir() else 0
    return UserError(
        f"{_SHARED}: {room:,.3g} MB of shared memory are too few for the loading processes; enlarge it (docker run "
        "--shm-size 2g), or load without them: `workers: 0` in a run file's proxy, --set workers=0 elsewhere"
    )


class Pace:
    """Images per second and the share of time that went by waiting for data, over the last seconds."""

    AT_LEAST = 1.0
    """Seconds that a figure is of."""

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self.images_per_second: float | None = None
        self.waiting: float | None = None
        self.restart()

    def restart(self) -> None:
        """Leave out what was done since the last figure, such as a validation."""
        self._began, self._waited, self._batches = time.perf_counter(), 0.0, 0

    def timed(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Yield the batches, and note how long each was waited for."""
        while True:
            asked = time.perf_counter()
            batch = next(batches, None)
            self._waited += time.perf_counter() - asked
            if batch is None:
                return
            self._batches += 1
            yield batch

    def measure(self) -> None:
        """Renew the figures, once enough time has gone by since the last."""
        elapsed = time.perf_counter() - self._began
        if self.images_per_second is None or elapsed >= self.AT_LEAST:
            self.images_per_second = self._batches * self._batch_size / max(elapsed, 1e-9)
            self.waiting = min(1.0, self._waited / max(elapsed, 1e-9))
            self.restart()


def peak_memory(device: torch.device) -> int:
    """Most bytes that this process has taken so far, on the GPU or, on a CPU, of the machine's memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
