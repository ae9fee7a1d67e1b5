"""Race search strategies on tables and synthetic spaces: true hypervolume after 100 and 200 trained networks.

``make race``, or ``python benchmarks/race.py [--landscapes tx2 h] [--methods ours peers …] [--seeds 10]``, says what
is left and about how long it takes, runs it, and prints tables and tests. Each result is one line in ``--results``,
so the race may be stopped at any time and goes on when repeated. Results of changed code are not reused. Contestants
see noisy values; the score uses the true values of the networks that they would select by what they saw.
"""

from __future__ import annotations

import os

# Before NumPy and tqdm are imported, which read them once.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", TQDM_DISABLE="1")

import argparse
import contextlib
import logging
import signal
import statistics
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from machine import processor, versions
from racing import records
from racing.contest import Contest, Over
from racing.contestants import SLOW, names, runner, version
from racing.fronts import true_front
from racing.landscapes import LANDSCAPES, landscape
from racing.records import Result
from racing.report import Report, show, write
from racing.score import checkpoints, curve
from rich.console import Console

from boostformer.errors import UserError, nearest
from search.config.sections import SearchConfig

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
DEFAULT = f"ours/{SearchConfig().strategy}"


@dataclass(frozen=True)
class Job:
    landscape: str
    method: str
    seed: int
    evaluations: int
    version: str
    """Of the contestant's code when the race began: it may be edited meanwhile."""
    tx2: Path
    camvid: Path


def run(job: Job) -> Result:
    """One race, in a process of its own."""
    ground = landscape(job.landscape, job.tx2, job.camvid)
    contest = Contest(ground, job.seed, job.evaluations)
    with contextlib.suppress(Over):
        runner(job.method)(contest)
    wall, cpu = contest.milliseconds()
    points = checkpoints(job.evaluations)
    return Result(
        landscape=job.landscape,
        landscape_version=ground.fingerprint(),
        method=job.method,
        version=job.version,
        seed=job.seed,
        evaluations=job.evaluations,
        trained=len(contest.seen),
        checkpoints=points,
        hypervolumes=[round(value, 6) for value in curve(ground, contest.genes, job.seed, points)],
        wall_ms=round(wall, 3),
        cpu_ms=round(cpu, 3),
    )


def _begin_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    os.nice(19)
    logging.disable(logging.WARNING)


def left_of(jobs: Iterable[Job], done: Iterable[Result]) -> list[Job]:
    """The jobs without a result that is long enough."""
    known = {(r.landscape, r.method, r.seed): r.evaluations for r in done}
    return [job for job in jobs if known.get((job.landscape, job.method, job.seed), 0) < job.evaluations]


def announce(left: list[Job], done: list[Result], workers: int) -> None:
    """Says what is left and, from the races done, for how long."""
    took = {
        key: statistics.mean(r.wall_ms / 60_000 for r in done if (r.landscape, r.method) == key)
        for key in {(r.landscape, r.method) for r in done}
    }
    known = [took.get((job.landscape, job.method)) for job in left]
    minutes = sum(each * job.evaluations for each, job in zip(known, left, strict=True) if each) / workers
    unknown = sorted(
        {f"{job.method} on {job.landscape}" for each, job in zip(known, left, strict=True) if each is None}
    )
    beside = f", and {len(unknown)} kinds never timed yet ({', '.join(unknown)})" if unknown else ""
    print(f"{len(done)} races done, {len(left)} left: about {minutes:.1f} min{beside}", flush=True)


def race(left: list[Job], file: Path, workers: int) -> None:
    began = time.perf_counter()
    with ProcessPoolExecutor(workers, initializer=_begin_worker) as pool:
        futures = [pool.submit(run, job) for job in left]
        try:
            for count, future in enumerate(as_completed(futures), 1):
                result = future.result()
                records.append(file, [result])
                minutes = (time.perf_counter() - began) / 60
                what = f"{result.landscape} {result.method} seed {result.seed}"
                print(f"[{count}/{len(left)}] {what}: {result.hypervolumes[-1]:.4f}, {minutes:.1f} min", flush=True)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            print("stopped; the same command goes on")
            raise SystemExit(130) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--landscapes", nargs="+", default=list(LANDSCAPES), help=", ".join(LANDSCAPES))
    parser.add_argument("--methods", nargs="+", default=[], help="ours, peers, or names such as ours/tpe; all")
    parser.add_argument("--seeds", type=int, default=10, help="races with seeds 0…N-1")
    parser.add_argument("--first-seed", type=int, default=0, help="others than those a strategy was tuned on")
    parser.add_argument("--evaluations", type=int, default=200)
    parser.add_argument("--slow-evaluations", type=int, default=100, help=f"of {', '.join(SLOW)}: seconds a candidate")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--default", default=DEFAULT, help="the contestant that the peers are compared with")
    parser.add_argument("--tx2", type=Path, default=ROOT.parent / "shared/bench/nb201_cifar10_tx2.csv")
    parser.add_argument("--camvid", type=Path, default=HERE / "data" / "camvid_b0", help="folder of the table")
    parser.add_argument("--results", type=Path, default=ROOT / "runs/race/results.jsonl")
    parser.add_argument("--out", type=Path, help="folder for race.json and the curves, such as docs/results/race")
    parser.add_argument("--report-only", action="store_true", help="print what is there")
    return parser.parse_args()


def main() -> None:
    options = parse()
    methods = names(options.methods)
    grounds = {}
    for name in options.landscapes:
        if name not in LANDSCAPES:
            raise UserError(f"--landscapes: unknown landscape '{name}'; {nearest(name, list(LANDSCAPES))}")
        try:
            grounds[name] = landscape(name, options.tx2, options.camvid)
        except UserError as error:
            print(f"{name} is left out: {error}", flush=True)
    fronts = {name: true_front(ground) for name, ground in grounds.items()}
    for name, front in fronts.items():
        print(f"{name}: front of {front.size} networks ({front.how})", front.notes, sep="; " * bool(front.notes))
    fingerprints = {name: ground.fingerprint() for name, ground in grounds.items()}
    # Reported is all that is known of the present code, raced is what was asked for.
    code = {method: version(method) for method in names()}
    known = {(name, method): (fingerprints[name], code[method]) for name, method in product(grounds, code)}
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    slow = min(options.slow_evaluations, options.evaluations)
    limits = {method: slow if method in SLOW else options.evaluations for method in methods}
    for method in set(SLOW) & set(methods):
        print(f"{method} takes seconds a candidate and so gets {limits[method]} evaluations (--slow-evaluations)")
    jobs = [
        Job(name, method, seed, limits[method], code[method], options.tx2, options.camvid)
        for seed, name, method in product(seeds, grounds, methods)
    ]
    done = [result for result in records.read(options.results, known) if result.seed in seeds]
    if not options.report_only:
        left = left_of(jobs, done)
        for method in {job.method for job in left}:
            runner(method)  # imported before the workers are forked, and missing packages are told at once
        announce(left, done, options.jobs)
        race(left, options.results, options.jobs)
        done = [result for result in records.read(options.results, known) if result.seed in seeds]
    about = {
        "made_with": versions("numpy", "optuna", "nni", "archai", "pymoo", "scikit-learn", "torch"),
        "processor": processor(),
        "seeds": list(seeds),
        "default": options.default,
    }
    reports = [Report(grounds[name], fronts[name], done, options.default) for name in grounds]
    reports = [report for report in reports if report.by_method]
    show(reports, Console(width=max(Console().width, 112)))
    if options.out:
        write(reports, options.out, about)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
