"""Parents and their weights through faults: with an evaluator that trains nothing, but inherits."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from search_factories import MadeUp, Watcher, medium, opened, quality, run

from boostformer.architecture import Architecture
from boostformer.errors import UserError
from evaluators.proxy import Beginning, Score
from results.pareto import front
from results.run import read_run
from results.schema import frozen_trial
from results.storage.location import Database, Journal
from results.trial import Parent, Status, Trial, TrialKey
from search.config.opening import OpenExperiment
from search.strategies import strategy_class
from search.strategies.base import Inheritance, Proposal
from search.strategies.history import Observation
from search.study.folder import set_up
from search.study.lineages import Lineages
from search.study.queue import Queue
from search.study.state import Scored
from search.study.weights import WEIGHTS, Weights
from search.worker.loop import work

FORK = multiprocessing.get_context("fork")


def heir(arch: Architecture, seed: int, progress: Any, *, rung: int, folder: Path, start: Beginning | None) -> Score:
    """Its one weight counts the generations, and scores follow from it."""
    generation = 0.0 if start is None else float(start.read().weights["generation"]) + 1
    weights = {"generation": torch.tensor(generation), "of": torch.tensor([int(arch.id, 16) % 2**24, rung, seed]) * 1.0}
    miou = 0.5 * quality(arch) + 0.01 * generation + 0.1 * rung
    return Score(miou, 0.01, "from scratch" if start is None else f"from {start.id}", weights=weights)


def bred(**changes: Any) -> OpenExperiment:
    return opened(medium(), {"params": 30_000}, **({"strategy": "evolution", "inherit": True} | changes))


def told(folder: Path) -> list[tuple[Any, ...]]:
    found = [trial for trial in read_run(folder).trials if trial.is_finished]
    return [(trial.id, trial.key.rung, trial.key.seed, trial.miou, trial.parent, trial.weights) for trial in found]


def check(folder: Path) -> list[Trial]:
    """The trials of a run, after asserting that each finished one has begun from its parent's weights."""
    trials = read_run(folder).trials
    generations: dict[str, int] = {}
    for trial in trials:
        if trial.is_finished and trial.miou is not None and trial.weights is not None:
            arch = Architecture.from_dict(trial.architecture)
            expected = 0 if trial.parent is None else generations[trial.parent.weights] + 1
            generations.setdefault(trial.weights, expected)
            assert trial.miou == pytest.approx(0.5 * quality(arch) + 0.01 * expected + 0.1 * trial.key.rung)
    return trials


@pytest.fixture(autouse=True)
def breeding_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.strategies.evolution.Evolution.startup", 3)
    monkeypatch.setattr("search.strategies.evolution.POPULATION", 4)


@pytest.mark.parametrize("strategy", ["evolution", "surrogate"])
def test_only_weights_of_the_front_and_of_parents_are_kept(
    tmp_path: Path, strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.strategies.base.BEST", 3)
    monkeypatch.setattr("search.strategies.base.YOUNGEST", 2)
    this = bred(strategy=strategy)
    run(tmp_path, 24, heir, search=this)
    trials = check(tmp_path)
    stored = Weights.of(tmp_path).digests()
    best = {trial.weights for trial in front(trials, this.experiment.objectives)}
    assert best <= stored and len(stored) <= len(best) + 5 + 1 < 24
    assert all(trial.parent is not None for trial in trials[10:])
    assert max(trial.behind for trial in trials) >= 4 * 2


def test_when_all_weights_are_gone_lineages_begin_anew(tmp_path: Path) -> None:
    run(tmp_path, 8, heir, search=bred())
    for digest in Weights.of(tmp_path).digests():
        Weights.of(tmp_path).remove(digest)
    run(tmp_path, 12, heir, search=bred())
    trials = check(tmp_path)
    assert trials[8].parent is None and trials[9].parent is not None
    assert trials[9].parent.id == trials[8].id


def test_damaged_weights_are_removed_and_the_next_best_network_is_the_parent(tmp_path: Path) -> None:
    run(tmp_path, 8, heir, search=bred())
    for file in (tmp_path / WEIGHTS).iterdir():
        file.write_bytes(file.read_bytes()[:-1])
    watcher = run(tmp_path, 9, heir, search=bred())
    trials = check(tmp_path)
    *given_up, last = trials[8:]
    assert {trial.id for trial in given_up} == {last.id} and last.is_finished and last.parent is None
    assert {trial.status for trial in given_up} == {Status.INTERRUPTED}
    assert all("damaged" in (trial.reason or "") and not trial.abandoned for trial in given_up)
    assert len({trial.parent for trial in given_up}) == len(given_up) > 0
    assert any("begins from" in str(message) for message in watcher.messages)


def test_weights_that_cannot_be_read_are_not_tried_for_ever(tmp_path: Path) -> None:
    run(tmp_path, 8, heir, search=bred())
    for file in (tmp_path / WEIGHTS).iterdir():
        file.unlink()
        file.mkdir()
    run(tmp_path, 9, heir, search=bred())
    trials = check(tmp_path)
    assert trials[-1].is_finished and trials[-1].parent is None
    assert all("gone" in (trial.reason or "") for trial in trials[8:-1]) and len(trials) > 9


KILLED: dict[str, tuple[type, str]] = {
    "after the weights": (Lineages, "keep"),
    "after the score": (Queue, "scored"),
    "after the claim": (Lineages, "beginning"),
    "after the pruning": (Lineages, "prune"),
}


@pytest.mark.parametrize("when", KILLED)
def test_a_worker_that_is_killed_leaves_a_run_that_goes_on_to_the_same(
    tmp_path: Path, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "straight", 9, heir, search=bred())
    set_up(tmp_path / "killed", bred(), 9)
    owner, name = KILLED[when]
    original: Callable[..., Any] = getattr(owner, name)

    def body(at: int) -> None:
        calls = 0

        def dying(*values: Any, **named: Any) -> Any:
            nonlocal calls
            found, calls = original(*values, **named), calls + 1
            if calls == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return found

        monkeypatch.setattr(owner, name, dying)
        work(bred(), tmp_path / "killed", Watcher(), MadeUp(heir))

    for at in (5, 2):
        worker = FORK.Process(target=body, args=(at,))
        worker.start()
        worker.join()
        assert worker.exitcode == -signal.SIGKILL
    run(tmp_path / "killed", 9, heir, search=bred())
    assert told(tmp_path / "killed") == told(tmp_path / "straight")
    assert Weights.of(tmp_path / "killed").digests() == Weights.of(tmp_path / "straight").digests()


def test_weights_that_nobody_told_of_are_removed_in_the_end(tmp_path: Path) -> None:
    run(tmp_path, 3, heir, search=bred())
    orphan = Weights.of(tmp_path).keep({"of": torch.ones(5)})
    run(tmp_path, 4, heir, search=bred())
    assert orphan not in Weights.of(tmp_path)


def further(folder: Path) -> tuple[dict[str, Trial], list[Trial]]:
    """The first training of each network, and all others, after asserting that some reached the second rung."""
    trials = check(folder)
    first = {trial.id: trial for trial in trials if trial.key.rung == 0}
    others = [trial for trial in trials if trial.key != first[trial.id].key]
    assert {trial.key.rung for trial in others} == {1} and len({trial.key.seed for trial in others}) == 2
    assert all(trial.behind == 6 + (trial.parent.behind if trial.parent else 0) for trial in others)
    return first, others


def test_longer_trainings_and_further_seeds_begin_where_the_first_did(tmp_path: Path) -> None:
    run(tmp_path, 12, heir, search=bred(proxy={"iterations": [2, 6]}, final_seeds=2))
    first, others = further(tmp_path)
    assert all(trial.parent == first[trial.id].parent for trial in others)


def test_no_training_begins_from_its_own_network_or_what_descends_from_it(tmp_path: Path) -> None:
    this = bred(proxy={"iterations": [2, 6]}, final_seeds=2)

    def losing(arch: Architecture, *values: Any, rung: int, **named: Any) -> Score:
        if rung == 0:
            return heir(arch, *values, rung=rung, **named)
        for trial in read_run(tmp_path).trials:  # what the first ones began from is lost
            if trial.parent is not None and trial.key.rung == 0:
                Weights.of(tmp_path).remove(trial.parent.weights)
        return heir(arch, *values, rung=rung, **named)

    run(tmp_path, 12, losing, search=this)
    first, others = further(tmp_path)
    assert any(trial.parent != first[trial.id].parent for trial in others)
    numbers = {trial.id: trial.number for trial in first.values()}
    assert all(numbers[trial.parent.id] < numbers[trial.id] for trial in others if trial.parent is not None)


def test_of_further_trainings_the_weights_of_the_front_alone_are_kept(tmp_path: Path) -> None:
    this = bred(proxy={"iterations": [2, 6]}, final_seeds=2)
    run(tmp_path, 12, heir, search=this)
    first, others = further(tmp_path)
    best = {trial.weights for trial in front(read_run(tmp_path).trials, this.experiment.objectives)}
    stored = Weights.of(tmp_path).digests()
    last = max(others, key=lambda trial: trial.number)  # nothing is claimed after it, when others are removed
    assert best <= stored and stored & {trial.weights for trial in others} <= best | {last.weights}
    assert stored & {trial.weights for trial in first.values()}


def test_the_weights_of_a_network_that_waits_for_its_device_are_kept(tmp_path: Path) -> None:
    """It is scored, but neither on the front nor a parent before it is measured."""
    this = bred()
    run(tmp_path, 3, heir, search=this)
    set_up(tmp_path, this, 8)
    with Queue(tmp_path, this) as queue:
        strategy = strategy_class("evolution")(this.problem, 0, Inheritance())

        def propose(history: Sequence[Observation]) -> Proposal:
            strategy.learn(history)
            return strategy.propose()

        claim = queue.claim(propose)
        assert claim is not None
        weights = queue.lineages.keep({"of": torch.ones(3)})
        queue.postpone(queue.scored(claim, Scored(0.01, 1.0, "", weights)), "away")
        assert queue.claim(propose) is not None, "which removes what is not needed"
    assert weights in Weights.of(tmp_path).digests()


def test_workers_share_lineages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.study.leases.LOCAL_POLL_SECONDS", 0.01)
    set_up(tmp_path, bred(), 20)
    workers = [FORK.Process(target=work, args=(bred(), tmp_path, Watcher(), MadeUp(heir))) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    trials = check(tmp_path)
    assert len(trials) == 20 and sum(trial.parent is not None for trial in trials) >= 15


@pytest.mark.parametrize(
    ("parent", "said"),
    [
        (Parent("0123456789ab", "0" * 64, 1), "begins from network 0123456789ab, which no earlier trial has"),
        (Parent("start", "0" * 64, 0), "begins from a start that is not the run's"),
    ],
)
def test_parents_that_cannot_be_are_refused(tmp_path: Path, parent: Parent, said: str) -> None:
    run(tmp_path, 1, heir, search=bred())
    [trial] = read_run(tmp_path).trials
    other = next(arch for arch in medium() if arch.id != trial.id)

    bad = replace(trial, key=TrialKey(other.id, 0, trial.key.seed), architecture=other.to_dict(), parent=parent)
    where = Journal(tmp_path)
    storage = where.open()
    storage.create_new_trial(where.study_id(storage), frozen_trial(bad, ("miou", "macs", "params")))

    with pytest.raises(UserError, match=said):
        Queue(tmp_path, bred()).standing()


def test_machines_that_share_no_folder_have_parents_of_their_own(tmp_path: Path, database: Database) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder, trials in ((one, 6), (other, 10)):
        set_up(folder, bred(), trials, database)
        work(bred(), folder, Watcher(), MadeUp(heir))
    trials = check(one)
    assert len(trials) == 10 and trials[5].parent is not None
    assert trials[6].parent is None and all(trial.parent is not None for trial in trials[7:])
    mine = {trial.id for trial in trials[6:]}
    assert {trial.parent.id for trial in trials[7:] if trial.parent} <= mine
