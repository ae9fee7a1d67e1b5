"""What other runs found enters a new one before its first proposal, at no cost."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from database_factories import Database
from latency_factories import Device, milliseconds, timed
from search_factories import Watcher, medium, opened, quick, run, small
from throwaway_postgresql import Server

from boostformer.architecture import Architecture
from boostformer.data import DataConfig
from boostformer.errors import UserError
from evaluators.latency.devices import Entry
from evaluators.proxy import Beginning, Score
from results.pareto import front
from results.run import read_run
from results.trial import Status, Trial
from search.config.opening import OpenExperiment
from search.strategies import STRATEGIES, strategy_class
from search.study import beginning
from search.study import folder as run_folder
from search.study.carrying import carry_over
from search.study.folder import read_known, set_up
from search.study.queue import Queue
from search.study.weights import Weights

FORK = multiprocessing.get_context("fork")
LIMITS = {"params": 30_000}
TIGHT = {"params": 18_000}


class Counted:
    """Trains nothing, and counts what it was asked to train."""

    def __init__(self) -> None:
        self.trained: list[str] = []

    def __call__(self, arch: Architecture, seed: int, progress: Any, **how: Any) -> Score:
        self.trained.append(arch.id)
        return quick(arch, seed, progress)


def begin(folder: Path, this: OpenExperiment, trials: int, *runs: Path, **options: Any) -> None:
    set_up(folder, this, trials, options.pop("database", None), runs=runs, carried=carry_over(runs, this, **options))


def of(folder: Path, status: Status = Status.FINISHED) -> list[Trial]:
    return [trial for trial in read_run(folder).trials if trial.status is status]


@pytest.fixture
def before(tmp_path: Path) -> Path:
    run(tmp_path / "before", 12, search=opened(medium(), LIMITS))
    return tmp_path / "before"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_known_results_count_under_the_new_budgets_and_cost_nothing(
    tmp_path: Path, before: Path, strategy: str
) -> None:
    this, evaluate = opened(medium(), TIGHT, strategy=strategy, seed=8), Counted()
    begin(tmp_path / "run", this, 5, before)
    known, earlier = read_known(tmp_path / "run"), of(before)
    shutil.rmtree(before)
    with Queue(tmp_path / "run", this) as queue:
        assert (queue.standing().finished, queue.standing().target) == (12, 17)
    run(tmp_path / "run", 5, evaluate, search=this)
    trials = of(tmp_path / "run")
    assert [(t.id, t.miou, t.params) for t in trials[:12]] == [(t.id, t.miou, t.params) for t in earlier]
    assert [trial.id for trial in trials[12:]] == evaluate.trained, "only these were trained"
    assert len(evaluate.trained) == 5 and not set(evaluate.trained) & {trial.id for trial in earlier}
    assert {trial.feasible for trial in trials[:12]} == {True, False}
    assert all(trial.feasible == (trial.params <= TIGHT["params"]) for trial in trials)
    assert all(f"known from {before}:{t.number}" in t.provenance for t in trials[:12])
    [source] = known.sources
    fitting = sum(trial.params <= TIGHT["params"] for trial in earlier)
    assert (source.networks, source.inside, source.fitting) == (12, 12, fitting)
    assert str(source) == f"12 networks known from {before}, 12 in the space, {fitting} of these within the budgets"
    run(tmp_path / "run", 6, evaluate, search=this)
    assert len(evaluate.trained) == 6


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_strategies_learn_from_what_is_known(tmp_path: Path, before: Path, strategy: str) -> None:
    """The first proposal is the one that a search makes which has tried the known networks itself."""
    this = opened(medium(), LIMITS, strategy=strategy)
    begin(tmp_path / "run", this, 1, before)
    run(tmp_path / "run", 1, search=this)
    itself = strategy_class(this.experiment.search.strategy)(this.problem, this.experiment.search.seed)
    with Queue(before, opened(medium(), LIMITS)) as queue:
        itself.learn(queue.standing().history)
    assert of(tmp_path / "run")[-1].id == this.problem.space.decode(itself.propose().genes).id


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_networks_over_the_new_budgets_are_neither_promoted_nor_in_the_way(
    tmp_path: Path, before: Path, strategy: str
) -> None:
    this = opened(medium(), TIGHT, strategy=strategy, objectives=("miou",), proxy={"iterations": [2, 6]})
    run(tmp_path / "rungs", 12, search=opened(medium(), LIMITS, proxy={"iterations": [2, 4]}))
    begin(tmp_path / "run", this, 12, tmp_path / "rungs")
    run(tmp_path / "run", 12, search=this)
    trials = of(tmp_path / "run")
    assert any(not trial.feasible for trial in trials if trial.key.rung == 0)
    longer = [trial for trial in trials if trial.key.rung == 1]
    assert longer and all(trial.feasible and "known" not in trial.provenance for trial in longer)


def test_networks_outside_the_changed_space_stay_out(tmp_path: Path, before: Path) -> None:
    this = opened(small(), LIMITS)
    begin(tmp_path / "run", this, 2, before)
    inside = [trial.id for trial in of(before) if Architecture.from_dict(trial.architecture) in small()]
    assert [trial.id for trial in of(tmp_path / "run")] == inside
    [source] = read_known(tmp_path / "run").sources
    assert (source.networks, source.inside) == (12, len(inside)) and 0 < len(inside) < 12


def test_of_several_runs_the_first_one_counts(tmp_path: Path, before: Path) -> None:
    def otherwise(*what: Any, **how: Any) -> Score:
        return Score(0.125, 0.01, "made up")

    run(tmp_path / "second", 14, otherwise, search=opened(medium(), LIMITS))
    this = opened(medium(), LIMITS)
    begin(tmp_path / "run", this, 1, before, tmp_path / "second")
    trials = of(tmp_path / "run")
    assert len({trial.id for trial in trials}) == len(trials) == 14
    assert [trial.miou for trial in trials[:12]] == [trial.miou for trial in of(before)]
    assert {trial.miou for trial in trials[12:]} == {0.125}
    assert [source.inside for source in read_known(tmp_path / "run").sources] == [12, 14]


def test_longer_trainings_and_further_seeds_are_known_too(tmp_path: Path) -> None:
    this = opened(medium(), LIMITS, proxy={"iterations": [2, 6]}, final_seeds=2)
    run(tmp_path / "before", 9, search=this)
    begin(tmp_path / "run", this, 1, tmp_path / "before")
    assert [t.key for t in of(tmp_path / "run")] == [t.key for t in of(tmp_path / "before")]
    shorter = opened(medium(), LIMITS, proxy={"iterations": 2})
    run(tmp_path / "short", 1, search=shorter)
    with pytest.raises(UserError, match="proxy.schedule is wsd there, poly here"):
        carry_over([tmp_path / "before"], shorter)


def test_another_seed_of_the_trainings_counts_as_this_one(tmp_path: Path) -> None:
    run(tmp_path / "before", 4, search=opened(medium(), LIMITS, final_seeds=2))
    begin(tmp_path / "run", this := opened(medium(), LIMITS, proxy={"seed": 7}), 1, tmp_path / "before")
    trials = of(tmp_path / "run")
    assert len(trials) == 4 and {trial.key.seed for trial in trials} == {7}
    assert all("(seed 0)" in trial.provenance for trial in trials)
    further = opened(medium(), LIMITS, proxy={"seed": 7}, final_seeds=3)
    run(tmp_path / "seven", 1, search=opened(medium(), LIMITS, proxy={"seed": 8}))
    with pytest.raises(UserError, match="proxy.seed 8 is one of the further seeds here; proxy.seed: 8 here, too"):
        carry_over([tmp_path / "seven"], further)
    assert run(tmp_path / "run", 2, search=this)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"proxy": {"iterations": 3}}, "proxy.iterations is 2 there, 3 here"),
        ({"proxy": {"lr": 0.5}}, "proxy.lr is 0.001 there, 0.5 here"),
        ({"content": {"training": "a", "validation": "c"}}, "training or validation images or masks are others"),
        ({"data": DataConfig(kind="scenes", size=(64, 96))}, "data.size is [64, 64] there, [64, 96] here"),
        ({"labels": tuple("abdc")}, "labels is "),
    ],
)
def test_other_data_and_other_recipes_are_refused(
    tmp_path: Path, before: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError) as refused:
        carry_over([before], opened(medium(), LIMITS, **changes))
    assert f"--from {before}: its scores do not count here: " in str(refused.value)
    assert said in str(refused.value) and "--as-parents" in str(refused.value)
    carry_over([before], opened(medium(), LIMITS, proxy={"save_every": 7, "minutes": 3}))  # which decide no score


def test_what_a_run_knows_is_decided_when_it_begins(tmp_path: Path, before: Path) -> None:
    this = opened(medium(), LIMITS)
    begin(tmp_path / "run", this, 2, before)
    set_up(tmp_path / "run", this, 3, runs=[before])
    set_up(tmp_path / "run", this, 3)
    run(tmp_path / "alone", 1, search=this)
    with pytest.raises(UserError, match="began without it"):
        set_up(tmp_path / "alone", this, 3, runs=[before])


@pytest.mark.parametrize("at", [0, 1, 7, 12])
def test_a_search_that_is_killed_when_it_begins_begins_anew(
    tmp_path: Path, before: Path, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    this, original = opened(medium(), LIMITS), beginning.frozen_trial

    def body() -> None:
        calls = 0

        def dying(*values: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > at:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*values)

        monkeypatch.setattr(beginning, "frozen_trial", dying)
        if at == 12:
            monkeypatch.setattr(run_folder, "references", lambda opened: os.kill(os.getpid(), signal.SIGKILL))
        begin(tmp_path / "run", this, 4, before)

    worker = FORK.Process(target=body)
    worker.start()
    worker.join()
    assert worker.exitcode == -signal.SIGKILL
    with pytest.raises(UserError, match="never set up completely"):
        read_run(tmp_path / "run")
    begin(tmp_path / "run", this, 4, before)
    assert [trial.id for trial in of(tmp_path / "run")] == [trial.id for trial in of(before)]


def test_a_study_whose_configuration_was_lost_is_not_begun_anew(tmp_path: Path, before: Path) -> None:
    this = opened(medium(), LIMITS)
    begin(tmp_path / "run", this, 2, before)
    run(tmp_path / "run", 2, search=this)
    journal = tmp_path / "run" / "journal.log"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(line for line in lines if '"config"' not in line))
    with pytest.raises(UserError, match="an Optuna study of another program"):
        begin(tmp_path / "run", this, 2, before)


def test_what_has_no_latency_yet_is_measured_and_not_trained(
    tmp_path: Path, before: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device()
    monkeypatch.setattr(Entry, "open", lambda entry: device)
    figures = sorted(milliseconds(Architecture.from_dict(trial.architecture)) for trial in of(before))
    this, evaluate = timed(figures[6], medium()), Counted()
    begin(tmp_path / "run", this, 2, before)
    run(tmp_path / "run", 2, evaluate, search=this)
    finished = of(tmp_path / "run")
    assert len(finished) == 7 + 2 and [trial.id for trial in finished[7:]] == evaluate.trained
    assert all(trial.latency is not None and trial.feasible for trial in finished)
    assert {t.id for t in of(tmp_path / "run", Status.OVER_BUDGET)} >= {
        t.id for t in of(before) if milliseconds(Architecture.from_dict(t.architecture)) > figures[6]
    }
    # A third run takes the figures of the second, those over its budget too.
    asked = len(device.asked)
    closer = timed(figures[3], medium())
    begin(tmp_path / "third", closer, 1, tmp_path / "run")
    with Queue(tmp_path / "third", closer) as queue:
        assert not queue.standing().interrupted
    assert len(device.asked) == asked
    known = [trial for trial in read_run(tmp_path / "third").trials if "known from" in trial.provenance]
    assert {trial.status for trial in known} == {Status.FINISHED, Status.OVER_BUDGET}
    assert "known from" in front(finished, this.experiment.objectives)[0].provenance or evaluate.trained


# Weights


def heir(arch: Architecture, seed: int, progress: Any, *, start: Beginning | None, **how: Any) -> Score:
    """Like `quick`, with weights that tell what they are of, and that those they begin from are read."""
    if start is not None:
        start.read()
    score = quick(arch, seed, progress)
    weights = {"of": torch.tensor([int(arch.id, 16) % 2**24, seed]) * 1.0}
    return Score(score.miou, score.seconds, score.provenance, weights=weights)


def bred(limits: dict[str, int] = LIMITS, **changes: Any) -> OpenExperiment:
    return opened(medium(), limits, **({"inherit": True, "strategy": "evolution"} | changes))


@pytest.fixture
def family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("search.strategies.evolution.Evolution.startup", 3)
    run(tmp_path / "before", 9, heir, search=bred())
    return tmp_path / "before"


def test_known_networks_keep_their_weights_and_parents(tmp_path: Path, family: Path) -> None:
    earlier, this = of(family), bred(seed=8)
    begin(tmp_path / "run", this, 3, family)
    kept = Weights.of(family).digests()
    shutil.rmtree(family)
    run(tmp_path / "run", 3, heir, search=this)
    trials = of(tmp_path / "run")
    assert [(t.id, t.parent, t.weights) for t in trials[:9]] == [(t.id, t.parent, t.weights) for t in earlier]
    assert kept & Weights.of(tmp_path / "run").digests()
    assert all(trial.parent is not None for trial in trials[9:])
    with pytest.raises(UserError, match="search.inherit is always there, never here"):
        carry_over([tmp_path / "run"], opened(medium(), LIMITS))


def test_networks_without_a_parent_are_known_to_a_search_that_inherits(tmp_path: Path, before: Path) -> None:
    begin(tmp_path / "run", bred(), 1, before)
    assert len(of(tmp_path / "run")) == 12


def test_of_other_data_only_the_weights_serve(tmp_path: Path, family: Path) -> None:
    this = bred(proxy={"iterations": 3}, labels=tuple("wxyz"))
    begin(tmp_path / "run", this, 5, family, as_parents=True)
    earlier = {(trial.id, trial.weights) for trial in of(family)}
    shutil.rmtree(family)
    watcher = Watcher()
    run(tmp_path / "run", 5, heir, search=this, watcher=watcher)
    trials = of(tmp_path / "run")
    assert len(trials) == 5, "no result counts"
    assert all(trial.parent is not None for trial in trials)
    foreign = [trial for trial in trials if trial.parent and (trial.parent.id, trial.parent.weights) in earlier]
    assert trials[0] in foreign and all(trial.behind > 3 for trial in foreign)
    [source] = read_known(tmp_path / "run").sources
    assert source.as_parents and "the weights of 9 to begin from" in str(source)
    run(tmp_path / "run", 8, heir, search=this)
    assert of(tmp_path / "run")[-1].is_finished and {a.weights for a in read_known(tmp_path / "run").ancestors} <= (
        Weights.of(tmp_path / "run").digests()
    )


def test_weights_alone_need_a_search_that_inherits_and_weights(tmp_path: Path, before: Path) -> None:
    with pytest.raises(UserError, match="search: {inherit: always}"):
        carry_over([before], opened(medium(), LIMITS), as_parents=True)
    with pytest.raises(UserError, match="keeps no trained weights to begin from"):
        carry_over([before], bred(), as_parents=True)


def test_workers_on_a_database_know_the_same(tmp_path: Path, before: Path, server: Server, database: Database) -> None:
    this = opened(medium(), TIGHT, strategy="surrogate")
    begin(tmp_path / "here", this, 3, before)
    begin(tmp_path / "there", this, 3, before, database=database)
    run(tmp_path / "here", 3, search=this)
    run(tmp_path / "there", 3, search=this)
    for status in (Status.FINISHED, Status.FAILED):
        one, other = ([(t.key, t.miou, t.feasible) for t in of(tmp_path / f, status)] for f in ("here", "there"))
        assert one == other
    interrupted = Database(database.url, f"{database.study} broken off")
    calls: list[int] = []

    def breaking(*values: Any) -> Any:
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return original(*values)

    original: Callable[..., Any] = beginning.frozen_trial
    with pytest.MonkeyPatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(beginning, "frozen_trial", breaking)
        begin(tmp_path / "broken", this, 3, before, database=interrupted)
    begin(tmp_path / "broken", this, 3, before, database=interrupted)
    assert len(of(tmp_path / "broken")) == 12
