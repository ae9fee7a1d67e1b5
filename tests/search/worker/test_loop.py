"""A run from beginning to end, with trainings that fail, break, are interrupted, or are killed."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from search_factories import MadeUp, Watcher, medium, opened, quality, quick, run, small

from boostformer.architecture import Architecture
from boostformer.training import TrainingFailure
from evaluators.proxy import Progress, Score
from results.pareto import front
from results.run import read_run
from results.trial import Status, Trial
from search.config.problem import Problem
from search.strategies import STRATEGIES
from search.study.curves import read_curve
from search.study.folder import set_up
from search.study.state import Standing
from search.worker.loop import work

FORK = multiprocessing.get_context("fork")


def check(folder: Path, count: int, problem: Problem) -> list[Trial]:
    """The ended trials of a complete run, after asserting what must hold for every run."""
    trials = read_run(folder).trials
    ended = [trial for trial in trials if trial.status is not Status.INTERRUPTED]
    assert all(trial.status.concludes for trial in ended)
    assert len(ended) == count
    assert max(Counter(trial.id for trial in ended).values()) == 1, "trained twice"
    for trial in trials:
        arch = Architecture.from_dict(trial.architecture)
        assert problem.affords(arch) and trial.feasible and arch.id == trial.id
        assert (trial.params, trial.macs) == (problem.table.cost(arch).params, problem.table.cost(arch).macs)
    return ended


def test_a_run_finishes_its_trials_and_records_all_of_them(tmp_path: Path) -> None:
    this = opened()
    watcher = run(tmp_path, 12, search=this)
    trials = check(tmp_path, 12, this.problem)
    assert [trial.miou for trial in trials] == [quality(Architecture.from_dict(trial.architecture)) for trial in trials]
    assert {trial.provenance for trial in trials} == {"made up"}
    assert [message["ended"][0].split(":")[0] for message in watcher.messages] == [
        f"trial {trial.number} {trial.id}" for trial in trials
    ]
    assert front(trials, this.experiment.objectives)
    assert run(tmp_path, 12, search=opened()).messages == [], "a complete run has nothing left to do"


def test_a_training_s_curve_can_be_read_while_it_runs(tmp_path: Path) -> None:
    seen: list[list[tuple[int, int, float]]] = []

    def evaluate(arch: Architecture, seed: int, progress: Progress, **how: Any) -> Score:
        progress(1, 9, 2.5)
        seen.append(read_curve(tmp_path, len(seen)))
        return quick(arch, seed, progress, **how)

    run(tmp_path, 3, evaluate, search=opened())
    assert seen == [[(1, 9, 2.5)]] * 3
    assert all(read_curve(tmp_path, number) == [] for number in range(3)), "it has ended"


def test_more_trials_can_be_asked_for(tmp_path: Path) -> None:
    run(tmp_path, 4, search=opened())
    run(tmp_path, 9, search=opened())
    run(tmp_path, 2, search=opened())
    resumed = check(tmp_path, 9, opened().problem)
    run(tmp_path / "straight", 9, search=opened())
    assert [trial.id for trial in resumed] == [trial.id for trial in check(tmp_path / "straight", 9, opened().problem)]


def test_good_networks_are_trained_longer_and_finalists_again(tmp_path: Path) -> None:
    """Three lengths, of which each network that goes on has the same folder, and two more seeds for the front."""
    trained: list[tuple[str, int, int, Path]] = []

    def evaluate(
        arch: Architecture, seed: int, progress: Progress, *, rung: int, folder: Path, start: Any = None
    ) -> Score:
        trained.append((arch.id, rung, seed, folder))
        folder.mkdir(parents=True, exist_ok=True)
        return Score(0.5 * quality(arch) + 0.1 * rung + 0.001 * seed, 1.0, "made up")

    this, evaluator = opened(proxy={"iterations": [2, 6, 18]}, final_seeds=3), MadeUp(evaluate)
    set_up(tmp_path, this, 18)
    work(this, tmp_path, Watcher(), evaluator)
    trials = read_run(tmp_path).trials
    assert len(trials) == len(trained) == len(set(trained))
    counts = Counter((trial.key.rung, trial.key.seed) for trial in trials)
    assert (counts[0, 0], counts[1, 0], counts[2, 0]) == (18, 6, 2)
    ids = [{trial.id for trial in trials if trial.key.rung == rung} for rung in range(3)]
    assert ids[2] < ids[1] < ids[0]
    best = max(trials, key=lambda trial: (trial.key.rung == 0, trial.miou))
    assert best.promoted and {trial.iterations for trial in trials} == {2, 6, 18}
    assert counts[2, 1] == counts[2, 2] == len(front(trials, this.experiment.objectives)) >= 1
    assert {folder for _, _, _, folder in trained} == {
        tmp_path / "checkpoints" / f"{trial.id}-{trial.key.seed}" for trial in trials
    }
    assert evaluator.tidied == [(folder, rung) for _, rung, _, folder in trained]
    assert not (tmp_path / "checkpoints").exists(), "who was not promoted would keep its state for nothing"
    run(tmp_path, 18, search=this)
    assert len(read_run(tmp_path).trials) == len(trials), "a complete run has nothing left to do"


def test_workers_share_the_last_trainings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has nothing to do while others train looks again soon, and takes part in what they make possible."""
    monkeypatch.setattr("search.study.leases.LOCAL_POLL_SECONDS", 0.01)
    this = opened(final_seeds=3)
    set_up(tmp_path, this, 4)
    together = FORK.Barrier(2)

    def evaluate(
        arch: Architecture, seed: int, progress: Progress, *, rung: int, folder: Path, start: Any = None
    ) -> Score:
        if seed != this.experiment.proxy.seed:
            together.wait(60)  # both further seeds of a network are trained at once, or this breaks
        return Score(quality(arch), 0.01, "made up")

    workers = [FORK.Process(target=work, args=(this, tmp_path, Watcher(), MadeUp(evaluate))) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]


def test_a_space_that_is_used_up_still_has_its_finalists_trained_again(tmp_path: Path) -> None:
    this = opened(small(), {"params": 11_500}, final_seeds=2)
    fitting = sum(this.problem.affords(arch) for arch in small())
    watcher = run(tmp_path, 100, search=this)
    trials = read_run(tmp_path).trials
    assert Counter(trial.key.seed for trial in trials)[0] == fitting
    assert Counter(trial.key.seed for trial in trials)[1] == len(front(trials, this.experiment.objectives))
    assert watcher.ended_early is not None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "candidates"), [(name, {"tpe": 60, "surrogate": 100}.get(name, 200)) for name in STRATEGIES]
)
def test_of_many_candidates_none_is_over_budget_and_none_is_trained_twice(
    tmp_path: Path, strategy: str, candidates: int
) -> None:
    """TPE and the surrogate, which take longest, propose fewer; their own tests see what they propose."""
    this = opened(medium(), {"params": 25_000, "macs": 1_600_000}, strategy=strategy)
    run(tmp_path, candidates, search=this)
    check(tmp_path, candidates, this.problem)


def test_failures_are_recorded_counted_and_not_repeated(tmp_path: Path) -> None:
    calls: list[str] = []

    def evaluate(arch: Architecture, seed: int, progress: Progress, **how: Any) -> Score:
        calls.append(arch.id)
        if len(calls) == 2:
            raise TrainingFailure("diverged", "the loss is 9000")
        if len(calls) == 3:
            return Score(float("nan"), 1.0, "")
        return quick(arch, seed, progress)

    run(tmp_path, 6, evaluate, search=opened())
    trials = check(tmp_path, 6, opened().problem)
    assert [(trial.status, trial.reason) for trial in trials[:4]] == [
        (Status.FINISHED, None),
        (Status.FAILED, "diverged"),
        (Status.FAILED, "nan"),
        (Status.FINISHED, None),
    ]
    assert len(calls) == len(set(calls)) == 6


@pytest.mark.parametrize("kind", [KeyboardInterrupt, ZeroDivisionError])
def test_an_interrupted_trial_is_repeated_and_the_run_goes_on_as_if_nothing_was(
    tmp_path: Path, kind: type[BaseException]
) -> None:
    calls: list[str] = []

    def evaluate(arch: Architecture, seed: int, progress: Progress, **how: Any) -> Score:
        calls.append(arch.id)
        if len(calls) == 13:
            raise kind
        return quick(arch, seed, progress)

    this = opened(strategy="nsga2")
    with pytest.raises(kind):
        run(tmp_path / "cut", 30, evaluate, search=this)
    assert [trial.status for trial in read_run(tmp_path / "cut").trials[12:]] == [Status.INTERRUPTED]
    run(tmp_path / "cut", 30, evaluate, search=this)
    cut = check(tmp_path / "cut", 30, this.problem)
    run(tmp_path / "straight", 30, search=this)
    assert [trial.id for trial in cut] == [trial.id for trial in check(tmp_path / "straight", 30, this.problem)]


def test_a_space_that_is_used_up_ends_the_search(tmp_path: Path) -> None:
    this = opened(small(), {"params": 11_500})
    fitting = sum(this.problem.affords(arch) for arch in small())
    watcher = run(tmp_path, 100, search=this)
    check(tmp_path, fitting, this.problem)
    assert watcher.ended_early is not None and "all networks of the space" in watcher.ended_early


def busy(arch: Architecture, seed: int, progress: Progress, **how: Any) -> Score:
    """Takes some 20 ms, so that a kill may hit any moment of a trial."""
    end = time.perf_counter() + 0.02
    while time.perf_counter() < end:
        progress(1, 2, 0.0)
    return quick(arch, seed, progress)


def start(folder: Path, count: int, **changes: Any) -> Any:
    process = FORK.Process(target=run, args=(folder, count, busy), kwargs={"search": opened(**changes)})
    process.start()
    return process


@pytest.mark.slow
def test_killed_at_random_moments_nothing_finished_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing changes of what comes; test_faults.py has workers killed more often, and several at once."""
    monkeypatch.setattr("search.study.claim.DEATHS", 100)  # no network is to blame
    rng = np.random.default_rng(0)
    kept: list[Trial] = []
    kills = 0
    count = 120  # more than five times what may be finished before a kill
    while kills < 5:
        process = start(tmp_path, count, strategy="nsga2")
        process.join(timeout=rng.uniform(0, 0.4))
        kills += process.is_alive()
        process.kill()
        process.join()
        if (tmp_path / "journal.log").exists() and (tmp_path / "journal.log").stat().st_size > 3000:
            now = [trial for trial in read_run(tmp_path).trials if trial.is_finished]
            assert [trial for trial in kept if trial not in now] == [], "a finished trial was lost"
            kept = now
    process = start(tmp_path, count, strategy="nsga2")
    process.join()
    assert process.exitcode == 0
    trials = check(tmp_path, count, opened().problem)
    run(tmp_path / "straight", count, search=opened(strategy="nsga2"))
    straight = check(tmp_path / "straight", count, opened().problem)
    assert [trial.id for trial in sorted(trials, key=_first(tmp_path))] == [trial.id for trial in straight]


def _first(folder: Path) -> Any:
    """The number of an architecture's first trial, as a sorting key."""
    first: dict[str, int] = {}
    for trial in read_run(folder).trials:
        first.setdefault(trial.id, trial.number)
    return lambda trial: first[trial.id]


@pytest.mark.slow
def test_workers_share_a_run_and_one_of_them_may_die(tmp_path: Path) -> None:
    set_up(tmp_path, opened(), 50)
    workers = [start(tmp_path, 50) for _ in range(3)]
    workers[0].join(timeout=0.5)
    workers[0].kill()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers[1:]] == [0, 0]
    check(tmp_path, 50, opened().problem)


def test_reports_come_in_order(tmp_path: Path) -> None:
    events: list[str] = []

    class Recorder(Watcher):
        def trial(self, trial: Trial, standing: Standing) -> None:
            events.append(f"trial {trial.number} after {standing.concluded} of {standing.target}")

        def step(self, done: int, total: int, loss: float) -> None:
            events.append(f"step {done}/{total}")

        def ended(self, trial: Trial) -> None:
            events.append(f"ended {trial.number} {trial.status}")

    run(tmp_path, 2, search=opened(), watcher=Recorder())
    assert events == [
        *("trial 0 after 0 of 2", "step 1/1", "ended 0 finished"),
        *("trial 1 after 1 of 2", "step 1/1", "ended 1 finished"),
    ]
