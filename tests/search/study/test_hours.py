"""The time that a search may take is counted over all sittings and workers, and ends it so that it can go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from database_factories import Database
from search_factories import MadeUp, Watcher, medium, opened, quick, run
from throwaway_postgresql import Server

from boostformer.architecture import Architecture
from boostformer.errors import UserError
from evaluators.proxy import Score
from results.run import read_run
from results.trial import Status
from search.study import hours
from search.study.folder import read_hours, set_up
from search.study.hours import WORKED, Hours
from search.study.queue import Queue
from search.worker.loop import work

LIMITS = {"params": 30_000}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(Hours.__init__, "__defaults__", (made,))
    return made


def test_work_side_by_side_counts_once_and_pauses_not_at_all() -> None:
    clock, study = Clock(), {}
    one, other = Hours(clock), Hours(clock)
    assert one.look(study) == other.look(study) == 0
    for clock.now in (100.0, 150.0):
        one.tell(study, study.__setitem__)
    assert study == {WORKED: 150.0}
    clock.now = 200.0
    other.tell(study, study.__setitem__)
    assert one.look(study) == other.look(study) == 200.0
    clock.now = 5000.0  # nobody works
    later = Hours(clock)
    later.look(study)
    clock.now = 5010.0
    assert later.look(study) == 210.0
    assert later.used_up(study) is None and later.used_up(study | {"hours": 210 / 3600})


def timed(clock: Clock, seconds: float) -> Any:
    def evaluate(arch: Architecture, seed: int, progress: Any, **how: Any) -> Score:
        clock.now += seconds
        return quick(arch, seed, progress)

    return evaluate


def sitting(folder: Path, clock: Clock, limit: float | None, database: Database | None = None) -> str | None:
    this, watcher = opened(medium(), LIMITS), Watcher()
    set_up(folder, this, 20, database, hours=limit)
    work(this, folder, watcher, MadeUp(timed(clock, 600.0)))
    return watcher.ended_early


def test_a_search_ends_after_its_hours_and_goes_on_with_more(tmp_path: Path, clock: Clock) -> None:
    ended = sitting(tmp_path, clock, 0.5)
    assert ended == "its 0.5 hours are used up; with more --hours the same command goes on"
    assert len(read_run(tmp_path).trials) == 3
    clock.now += 1e6
    assert sitting(tmp_path, clock, 0.5) and len(read_run(tmp_path).trials) == 3
    assert sitting(tmp_path, clock, 1.0) and len(read_run(tmp_path).trials) == 6 and read_hours(tmp_path) == 1.0
    assert sitting(tmp_path, clock, None) is None
    trials = read_run(tmp_path).trials
    run(tmp_path / "straight", 20, search=opened(medium(), LIMITS))
    assert [trial.id for trial in trials] == [trial.id for trial in read_run(tmp_path / "straight").trials]


def test_workers_on_a_database_share_the_hours(
    tmp_path: Path, clock: Clock, server: Server, database: Database
) -> None:
    assert sitting(tmp_path, clock, 0.5, database) and sitting(tmp_path, clock, 0.5)
    assert len(read_run(tmp_path).trials) == 3


def test_states_stay_when_the_hours_are_used_up(tmp_path: Path, clock: Clock) -> None:
    """Of several rungs, say: what would be carried on."""
    this = opened(medium(), LIMITS, proxy={"iterations": [2, 6]})
    set_up(tmp_path, this, 4, hours=0.5)
    kept = tmp_path / "checkpoints" / "state"
    kept.mkdir(parents=True)
    work(this, tmp_path, Watcher(), MadeUp(timed(clock, 600.0)))
    assert kept.is_dir()


def test_a_long_training_tells_of_its_time_before_it_ends(tmp_path: Path, clock: Clock) -> None:
    """So that a worker which is killed loses a minute, not the training's hours."""
    told: list[float] = []

    def evaluate(arch: Architecture, seed: int, progress: Any, **how: Any) -> Score:
        for done in range(10):
            clock.now += 0.6 * hours.PACE
            progress(done, 10, 0.0)
            told.append(Queue(tmp_path, this)._trials.attributes.get(WORKED, 0.0))
        return quick(arch, seed, progress)

    this = opened(medium(), LIMITS)
    set_up(tmp_path, this, 1)
    work(this, tmp_path, Watcher(), MadeUp(evaluate))
    assert told[-1] >= 7 * 0.6 * hours.PACE and len(set(told)) > 4


def test_nobody_shortens_the_search_of_others(tmp_path: Path) -> None:
    this = opened(medium(), LIMITS)
    set_up(tmp_path, this, 9, hours=8)
    with Queue(tmp_path, this):
        with pytest.raises(UserError, match=r"is being searched for 8 hours \(workers: 1\), which --hours 2 would end"):
            set_up(tmp_path, this, 9, hours=2)
        set_up(tmp_path, this, 9, hours=9)
    set_up(tmp_path, this, 9, hours=2)


def test_a_training_that_takes_too_long_has_failed_and_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr("search.worker.loop.time.monotonic", clock)
    trained: list[str] = []

    def evaluate(arch: Architecture, seed: int, progress: Any, **how: Any) -> Score:
        trained.append(arch.id)
        for done in range(1, 11):
            clock.now += 20.0 if len(trained) == 2 else 10.0
            progress(done, 10, 0.0)
        return quick(arch, seed, progress)

    run(tmp_path, 3, evaluate, search=opened(medium(), LIMITS, proxy={"minutes": 1.75}))
    trials = read_run(tmp_path).trials
    assert [trial.status for trial in trials] == [Status.FINISHED, Status.FAILED, Status.FINISHED]
    assert trials[1].reason == "too_long: 6 of 10 iterations in proxy.minutes 1.75"
    assert len(set(trained)) == 3
