"""A run directory that is shared, resumed, and left behind by dead workers."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import optuna
import pytest
from search_factories import plan, propose, quality, run

from boostformer.architecture import Architecture
from boostformer.errors import UserError
from boostformer.locks import FileLock, is_held
from evaluators.proxy import Score
from results.schema import read_run
from results.storage.location import JOURNAL_NAME, storage_of
from search.config.problem import Problem
from search.strategies.base import Observation
from search.study.folder import CHECKPOINTS, plan_of, read_plan, set_up
from search.study.queue import DEATHS, INTERRUPTED, KILLER, Store

FORK = multiprocessing.get_context("fork")


def store(folder: Path) -> Store:
    return Store(folder, plan(), problem_of_plan())


@cache
def problem_of_plan() -> Problem:
    return plan().problem()


def proposer(mine: Store) -> Callable[[Sequence[Observation]], Architecture]:
    strategy = plan().make_strategy(mine.problem)
    return lambda history: mine.problem.space.decode(propose(strategy, history))


def claim_and_die(folder: Path) -> None:
    """In a process of its own: a trial that is claimed and never ended."""

    def body() -> None:
        with store(folder) as mine:
            assert mine.claim(proposer(mine)) is not None
            os.kill(os.getpid(), signal.SIGKILL)

    process = FORK.Process(target=body)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def test_a_run_keeps_its_plan(tmp_path: Path) -> None:
    set_up(tmp_path / "run", plan(), 5, [{"name": "x", "params": 1, "macs": 2}])
    assert read_plan(tmp_path / "run") == plan()
    found = read_run(tmp_path / "run")
    assert (found.records, found.objectives) == ([], ["miou", "macs", "params"])
    assert found.budgets == plan().budget.to_dict()


def test_another_plan_is_refused_and_nothing_lost(tmp_path: Path) -> None:
    run(tmp_path, 3, plan=plan())
    with pytest.raises(UserError, match="search.seed is 3 there, 4 here"):
        set_up(tmp_path, plan(seed=4), 3, [])
    with pytest.raises(UserError, match="budgets.params is 60000 there, 50000 here"):
        set_up(tmp_path, plan(limits={"params": 50_000, "macs": 6_000_000}), 3, [])
    assert read_plan(tmp_path) == plan()
    assert len(read_run(tmp_path).records) == 3


def test_directories_that_cannot_be_runs(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="not a directory"):
        set_up(tmp_path / "file", plan(), 1, [])
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_text("")
    with pytest.raises(UserError, match=r"not empty \(cat.png\)"):
        set_up(tmp_path / "photos", plan(), 1, [])
    with pytest.raises(UserError, match="cannot be written"):
        set_up(Path("/proc/run"), plan(), 1, [])


@pytest.mark.slow
def test_a_set_up_that_was_cut_short_is_completed(tmp_path: Path) -> None:
    set_up(tmp_path, plan(), 2, [])
    journal = tmp_path / JOURNAL_NAME
    lines = journal.read_bytes().splitlines(keepends=True)
    for count in range(len(lines)):
        journal.write_bytes(b"".join(lines[:count]) + lines[count][:7])
        run(tmp_path, 2, plan=plan())
        assert [record.state for record in read_run(tmp_path).records] == ["finished"] * 2


def test_a_trial_of_a_dead_worker_is_the_next_to_be_tried(tmp_path: Path) -> None:
    set_up(tmp_path, plan(), 3, [])
    claim_and_die(tmp_path)
    assert [record.state for record in read_run(tmp_path).records] == ["running"]
    standing = store(tmp_path).standing()
    (lost,) = read_run(tmp_path).records
    assert (lost.state, lost.failure) == ("failed", INTERRUPTED)
    assert (standing.concluded, standing.owners) == (0, [])
    assert [job.id for job in standing.interrupted] == [lost.id]
    with store(tmp_path) as mine:

        def unasked(history: object) -> None:
            raise AssertionError("what was interrupted comes before anything new")

        ticket = mine.claim(unasked)  # type: ignore[arg-type]
        assert ticket is not None and ticket.architecture.id == lost.id
        mine.finish(ticket, Score(0.5, 1.0, ""))
    assert list((tmp_path / "workers").iterdir()) == []


def test_a_run_that_is_asked_for_fewer_repeats_fewer(tmp_path: Path) -> None:
    set_up(tmp_path, plan(), 9, [])
    with store(tmp_path) as first, store(tmp_path) as second:
        assert first.claim(proposer(first)) is not None and second.claim(proposer(second)) is not None
    run(tmp_path, 1, plan=plan())
    assert sorted(record.state for record in read_run(tmp_path).records) == ["failed", "failed", "finished"]


def test_who_is_asked_for_fewer_than_are_tried_promotes_of_all_and_says_so(tmp_path: Path) -> None:
    this = plan(rungs=(2, 6))
    set_up(tmp_path, this, 9, [])
    with Store(tmp_path, this, this.problem()) as mine:
        for number in range(9):
            ticket = mine.claim(proposer(mine))
            assert ticket is not None
            mine.finish(ticket, Score(number / 10, 1.0, ""))
        set_up(tmp_path, this, 3, [])
        standing = mine.standing()
        assert (standing.target, standing.iterations_left) == (12, 3 * 4) and mine.claim(proposer(mine)) is not None
    run(tmp_path, 3, plan=this)
    assert sum(record.rung == 1 and record.state == "finished" for record in read_run(tmp_path).records) == 3


def test_who_began_when_fewer_were_asked_for_proposes_before_it_repeats_finalists(tmp_path: Path) -> None:
    this = plan(final_seeds=2)
    set_up(tmp_path, this, 1, [])
    with Store(tmp_path, this, this.problem()) as mine:
        ticket = mine.claim(proposer(mine))
        assert ticket is not None
        mine.finish(ticket, Score(0.5, 1.0, ""))
        set_up(tmp_path, this, 2, [])
        ticket = mine.claim(proposer(mine))
        assert ticket is not None and ticket.job.seed == this.recipe.seed
        mine.finish(ticket, Score(0.4, 1.0, ""))
        again = mine.claim(proposer(mine))
        assert again is not None and again.job.seed == this.recipe.seed + 1
        mine.finish(again, Score(0.5, 1.0, ""))
    set_up(tmp_path, this, 3, [])
    standing = Store(tmp_path, this, this.problem()).standing()
    # The seed that was repeated is not taken for one of the networks.
    assert standing.target - standing.concluded == 1 and standing.step.do == "propose"


@pytest.mark.parametrize("gains", [True, False])
def test_a_training_is_given_up_when_nobody_brings_it_further(tmp_path: Path, gains: bool) -> None:
    set_up(tmp_path, plan(), 1, [])
    for number in range(1, DEATHS + 3 if gains else DEATHS + 1):
        claim_and_die(tmp_path)
        (lost, *_) = read_run(tmp_path).records
        saved = tmp_path / CHECKPOINTS / f"{lost.id}-{lost.seed}" / f"iteration-{number if gains else 1:08d}"
        saved.mkdir(parents=True, exist_ok=True)
    run(tmp_path, 1, plan=plan())
    *_, last = read_run(tmp_path).records
    assert (last.failure or last.state) == ("finished" if gains else KILLER)


def test_a_stop_in_the_midst_of_reading_gives_back_all_the_same(tmp_path: Path) -> None:
    """Optuna counts a line as read before it has taken it in."""
    set_up(tmp_path, plan(), 1, [])

    def stopped(log: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), store(tmp_path) as mine:
        mine._storage._replay_result._apply_create_trial = stopped  # type: ignore[attr-defined]
        mine.claim(proposer(mine))
    assert [record.failure for record in read_run(tmp_path).records] == [INTERRUPTED]


def test_a_score_outlives_its_worker(tmp_path: Path) -> None:
    """Who dies between the score and the end of the trial has not trained in vain."""
    set_up(tmp_path, plan(), 1, [])
    with store(tmp_path) as mine:
        ticket = mine.claim(proposer(mine))
        assert ticket is not None
        mine.scored(ticket, Score(0.25, 7.0, "made up"))

    def untrained(*arguments: object, **how: object) -> Score:
        raise AssertionError("it has its score")

    run(tmp_path, 1, untrained, plan=plan())
    lost, found = read_run(tmp_path).records
    assert (lost.failure, found.state) == (INTERRUPTED, "finished")
    assert (found.miou, found.seconds, found.provenance, found.iterations) == (0.25, 7.0, "made up", 2)


def test_a_trial_of_a_living_worker_is_left_alone(tmp_path: Path) -> None:
    set_up(tmp_path, plan(), 3, [])
    with store(tmp_path) as first, store(tmp_path) as second:
        one, two = first.claim(proposer(first)), second.claim(proposer(second))
        assert one is not None and two is not None
        assert one.architecture.id != two.architecture.id
        standing = second.standing()
        assert sorted(standing.owners) == sorted([first.token, second.token])
        assert [observation.state for observation in standing.history] == ["running", "running"]
    # Both gave back what they had not ended.
    assert [record.failure for record in read_run(tmp_path).records] == [INTERRUPTED] * 2


def test_who_has_nothing_left_to_do_takes_over_from_one_who_dies(tmp_path: Path) -> None:
    """Two trials for two workers: one finishes, then waits for the other, which dies; it does that one too."""
    set_up(tmp_path, plan(), 2, [])
    reader, writer = FORK.Pipe(duplex=False)

    def other() -> None:
        with store(tmp_path) as mine:
            mine.claim(proposer(mine))
            writer.send("claimed")
            signal.pause()

    process = FORK.Process(target=other)
    process.start()
    assert reader.poll(60)
    with store(tmp_path) as mine:
        while (ticket := mine.claim(proposer(mine))) is not None:
            mine.finish(ticket, Score(quality(ticket.architecture), 1.0, ""))
            process.kill()  # a second time it is dead already
    process.join()
    assert sorted(r.state for r in read_run(tmp_path).records) == ["failed", "finished", "finished"]


def test_a_folder_that_was_never_set_up_completely_has_no_plan_yet(tmp_path: Path) -> None:
    """So the same command sets it up again."""
    assert plan_of(tmp_path) is None and plan_of(tmp_path / "no") is None
    where = storage_of(tmp_path)
    where.open(create=True)
    assert plan_of(tmp_path) is None
    optuna.create_study(study_name=where.study, storage=where.open())
    assert plan_of(tmp_path) is None
    set_up(tmp_path, plan(), 2, [])
    assert plan_of(tmp_path) == plan() == read_plan(tmp_path)


@pytest.mark.parametrize("cut", [1, 20, 400])
def test_a_journal_cut_in_mid_line_is_mended(tmp_path: Path, cut: int) -> None:
    run(tmp_path, 4, plan=plan())
    before = read_run(tmp_path).records
    journal = tmp_path / JOURNAL_NAME
    journal.write_bytes(journal.read_bytes() + (b'{"op_code":4,"worker_id":"' + b"x" * 400)[:cut])
    run(tmp_path, 6, plan=plan())
    after = read_run(tmp_path).records
    assert after[:4] == before
    assert [record.state for record in after] == ["finished"] * 6


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
