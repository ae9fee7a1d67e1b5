"""Trainings on CamVid side by side: the data with a sequence held out, a pool of processes, a line for each training.

What the scripts that train on CamVid share. A job is anything that can be pickled and has a ``key``; the row that
comes of it has the same one, so that the same command goes on with the jobs that are missing, each where it stood.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import shutil
import statistics
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from boostformer.data import SegmentationSplit
    from boostformer.model import BoostFormer

HELD_OUT = "0006R0"
"""Beginning of the names of training images that nobody trains on."""


class Job(Protocol):
    """A training to do."""

    @property
    def key(self) -> str:
        """Name it among all jobs."""


AnyJob = TypeVar("AnyJob", bound=Job)


def arguments(about: str, size: str) -> argparse.ArgumentParser:
    """Make a parser with what every such script takes, ``size`` being the default HxW."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("root", type=Path, metavar="CAMVID")
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--size", default=size, help="HxW")
    parser.add_argument("--precision", default="fp32", help="fp32 or bf16")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at once")
    parser.add_argument("--minutes", type=float, default=60.0, help="after which all is stopped")
    parser.add_argument("--only", type=re.compile, default=re.compile(""), metavar="REGEX", help="trainings' keys")
    parser.add_argument("--cache", type=Path, help="folder for decoded images; by default in OUT")
    return parser


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Read the command line and make the folders."""
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    options.cache = options.cache or options.out / "cache"
    return options


class CamVid:
    """The training part without the sequence that is held out; ``scored`` are ``validation`` and ``sequence``."""

    def __init__(self, root: Path, size: str, folder: Path) -> None:
        from boostformer.data import DataConfig, open_split
        from boostformer.data.part import Part

        data = DataConfig(root=root.resolve(), kind="ade20k", size=size, ignore=(0, 255))
        whole, validation = (open_split(data, split, folder) for split in ("training", "validation"))
        sides: dict[bool, list[int]] = {False: [], True: []}
        for index in range(len(whole)):
            sides[whole.name(index).startswith(HELD_OUT)].append(index)
        self.size = data.size
        self.training = Part(whole, sides[False])
        self.scored: dict[str, SegmentationSplit] = {"validation": validation, "sequence": Part(whole, sides[True])}

    def scores(self, model: BoostFormer) -> dict[str, Any]:
        """Give the metrics of a trained network on each part that is scored."""
        from boostformer.training import evaluate

        return {name: evaluate(model, split, size=self.size) for name, split in self.scored.items()}


@cache
def opened(root: Path, size: str, folder: Path) -> CamVid:
    """Open CamVid at ``size``, decoded images being kept in ``folder``; once in each process."""
    return CamVid(root, size, folder)


def seen(root: Path, out: Path) -> Path:
    """Make a folder of CamVid, by links, without the frames that are held out."""
    folder = out / "camvid"
    for file in sorted(root.resolve().rglob("*")):
        if file.is_file() and not file.name.startswith(HELD_OUT):
            link = folder / file.relative_to(root.resolve())
            link.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):  # another process makes it, too
                link.symlink_to(file)
    return folder


def loaders() -> int:
    """Count the loading processes of one training among others."""
    import torch

    return 1 if torch.cuda.is_available() else 0


def device_named(device: str) -> str:
    """Name the device that a report of a training speaks of."""
    import torch

    return torch.cuda.get_device_name() if device.startswith("cuda") else device


def finished(out: Path) -> list[dict[str, Any]]:
    """Read the trainings that are done; a line that a stop cut off is none."""
    file, rows = out / "results.jsonl", []
    for line in file.read_text().splitlines() if file.is_file() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            print(f"{file}: a line is cut off, its training is made again", flush=True)
    return rows


def state_of(job: Job, options: argparse.Namespace) -> Path:
    """Name the folder where a training keeps its state, until its row is written, so that a stop loses a minute."""
    return Path(options.out / "states" / re.sub(r"[^\w.+-]+", "_", job.key))


def run_all(
    jobs: Sequence[AnyJob],
    run: Callable[[AnyJob, argparse.Namespace], dict[str, Any]],
    options: argparse.Namespace,
    said: Callable[[dict[str, Any]], str],
    ready: Callable[[AnyJob, argparse.Namespace], bool] = lambda job, options: True,
) -> list[str]:
    """Do the jobs that are not done yet, each in turn as soon as a process is free, until the time is up.

    A training that fails is told, and the others go on; returns the keys of such.

    Args:
        jobs: the first ones first.
        run: trains and gives the row of a job, in another process.
        options: of the command line, see :func:`arguments`.
        said: gives what is printed of a row.
        ready: tells whether a job can begin; one that cannot is passed over until others have ended.
    """
    until = time.monotonic() + 60 * options.minutes
    known = {row["key"] for row in finished(options.out)}
    waiting = [job for job in jobs if job.key not in known and options.only.search(job.key)]
    print(f"{len(waiting)} trainings to do, {options.jobs} at once, at most {options.minutes:g} minutes", flush=True)
    pool = ProcessPoolExecutor(options.jobs, multiprocessing.get_context("spawn"))
    running: dict[Future[dict[str, Any]], AnyJob] = {}
    failed: list[str] = []
    while True:
        able = [job for job in waiting if ready(job, options)][: options.jobs - len(running)]
        for job in able:
            waiting.remove(job)
            running[pool.submit(run, job, options)] = job
        if not running:
            break
        ended, _ = wait(running, max(0.0, until - time.monotonic()), FIRST_COMPLETED)
        if not ended:
            print("time is up; the same command goes on", flush=True)
            for process in list((pool._processes or {}).values()):
                process.kill()
            break
        for future in ended:
            job = running.pop(future)
            try:
                row = future.result()
            except Exception as error:
                failed.append(job.key)
                print(f"{job.key}: failed:", flush=True)
                traceback.print_exception(error)
                continue
            with (options.out / "results.jsonl").open("a") as stream:
                stream.write(json.dumps(row) + "\n")
            shutil.rmtree(state_of(job, options), ignore_errors=True)
            print(f"{row['key']}: {said(row)}, {row['seconds']} s", flush=True)
    pool.shutdown(wait=not running, cancel_futures=True)
    return failed


def spread(values: Iterable[float], form: str = ".2f") -> str:
    """Write the mean of some shares and their standard deviation, in points."""
    points = [100 * value for value in values]
    deviation = statistics.stdev(points) if len(points) > 1 else 0.0
    return f"{statistics.mean(points):{form}} ± {deviation:.2f}"
