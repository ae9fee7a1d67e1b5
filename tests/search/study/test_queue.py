"""A run directory that is shared, resumed, and left behind by dead workers."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from search_factories import LIMITS, experiment, opened, propose, quality, run, usual

from boostformer.errors import UserError
from evaluators.proxy import Score
from results.run import read_run
from results.storage.journal import open_journal
from results.storage.location import JOURNAL_NAME, storage_of
from results.trial import Status
from search.config.opening import OpenExperiment
from search.strategies import strategy_class
from search.strategies.base import Proposal
from search.strategies.history import Observation
from search.study.claim import DEATHS, KILLER, Claim
from search.study.folder import CHECKPOINTS, earlier_experiment, read_experiment, references, set_up
from search.study.queue import Queue
from search.study.scheduler import Propose
from search.study.state import Scored

FORK = multiprocessing.get_context("fork")


def queue(folder: Path, this: OpenExperiment | None = None) -> Queue:
    return Queue(folder, this or usual())


def take(mine: Queue) -> Claim:
    claim = mine.claim(proposer(mine))
    assert claim is not None
    return claim


def proposer(mine: Queue) -> Callable[[Sequence[Observation]], Proposal]:
    search = mine.experiment.search
    strategy = strategy_class(search.strategy)(mine.problem, search.seed)
    return lambda history: Proposal(propose(strategy, history))


def claim_and_die(folder: Path) -> None:
    """In a process of its own: a trial that is claimed and never ended."""

    def body() -> None:
        with queue(folder) as mine:
            take(mine)
            os.kill(os.getpid(), signal.SIGKILL)

    process = FORK.Process(target=body)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def test_a_run_keeps_its_experiment(tmp_path: Path) -> None:
    set_up(tmp_path / "run", usual(), 5)
    assert read_experiment(tmp_path / "run") == experiment()
    found = read_run(tmp_path / "run")
    assert (found.trials, found.objectives) == ([], ["miou", "macs", "params"])
    assert found.budgets == dict(experiment().budget.limits) == LIMITS
    assert found.references == references(usual())


def test_another_experiment_is_refused_and_nothing_lost(tmp_path: Path) -> None:
    run(tmp_path, 3, search=usual())
    with pytest.raises(UserError, match="search.seed is 3 there, 4 here"):
        set_up(tmp_path, opened(seed=4), 3)
    with pytest.raises(UserError, match="budgets.params is 60000 there, 50000 here"):
        set_up(tmp_path, opened(limits={"params": 50_000, "macs": 6_000_000}), 3)
    assert read_experiment(tmp_path) == experiment()
    assert len(read_run(tmp_path).trials) == 3


def test_directories_that_cannot_be_runs(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="not a directory"):
        set_up(tmp_path / "file", usual(), 1)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_text("")
    with pytest.raises(UserError, match=r"not empty \(cat.png\)"):
        set_up(tmp_path / "photos", usual(), 1)
    with pytest.raises(UserError, match="cannot be written"):
        set_up(Path("/proc/run"), usual(), 1)


def test_a_set_up_that_was_cut_short_is_completed(tmp_path: Path) -> None:
    set_up(tmp_path, usual(), 2)
    journal = tmp_path / JOURNAL_NAME
    lines = journal.read_bytes().splitlines(keepends=True)
    for count in range(len(lines)):
        journal.write_bytes(b"".join(lines[:count]) + lines[count][:7])
        run(tmp_path, 2, search=usual())
        assert [trial.status for trial in read_run(tmp_path).trials] == ["finished"] * 2


def test_a_trial_of_a_dead_worker_is_the_next_to_be_tried(tmp_path: Path) -> None:
    set_up(tmp_path, usual(), 3)
    claim_and_die(tmp_path)
    assert [trial.status for trial in read_run(tmp_path).trials] == ["running"]
    standing = queue(tmp_path).standing()
    (lost,) = read_run(tmp_path).trials
    assert lost.status is Status.INTERRUPTED and lost.abandoned
    assert (standing.concluded, standing.owners) == (0, [])
    assert standing.interrupted == [lost.key]
    with queue(tmp_path) as mine:

        def unasked(history: object) -> None:
            raise AssertionError("what was interrupted comes before anything new")

        claim = mine.claim(unasked)  # type: ignore[arg-type]
        assert claim is not None and claim.architecture.id == lost.id
        mine.finish(claim, Scored(0.5, 1.0, ""))
    assert list((tmp_path / "workers").iterdir()) == []


def test_a_run_that_is_asked_for_fewer_repeats_fewer(tmp_path: Path) -> None:
    set_up(tmp_path, usual(), 9)
    with queue(tmp_path) as first, queue(tmp_path) as second:
        take(first), take(second)
    run(tmp_path, 1, search=usual())
    assert sorted(trial.status for trial in read_run(tmp_path).trials) == ["finished", "interrupted", "interrupted"]


def test_nobody_ends_the_search_of_others_by_asking_for_fewer(tmp_path: Path) -> None:
    set_up(tmp_path, usual(), 9)
    with queue(tmp_path) as mine:
        take(mine)
        with pytest.raises(UserError, match=r"is being searched for 9 networks \(workers: 1\), which --trials 2 would"):
            set_up(tmp_path, usual(), 2)
        set_up(tmp_path, usual(), 10)
        assert mine.standing().scheduler.target == 9 and take(mine) and mine.standing().scheduler.target == 10
    set_up(tmp_path, usual(), 2)


@pytest.mark.parametrize("name", ["somebody's", "boostformer"])
def test_a_study_of_another_program_is_left_alone(tmp_path: Path, name: str) -> None:
    storage = open_journal(tmp_path / JOURNAL_NAME, create=True)
    theirs = optuna.create_study(storage=storage, study_name=name)
    theirs.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    before = (tmp_path / JOURNAL_NAME).read_bytes()
    with pytest.raises(UserError, match=rf"holds '{name}', an Optuna study of another program; choose another --out"):
        set_up(tmp_path, usual(), 2)
    assert (tmp_path / JOURNAL_NAME).read_bytes() == before


def test_who_is_asked_for_fewer_than_are_tried_promotes_of_all_and_says_so(tmp_path: Path) -> None:
    this = opened(proxy={"iterations": [2, 6]})
    set_up(tmp_path, this, 9)
    with queue(tmp_path, this) as mine:
        for number in range(9):
            mine.finish(take(mine), Scored(number / 10, 1.0, ""))
    set_up(tmp_path, this, 3)
    with queue(tmp_path, this) as mine:
        standing = mine.standing()
        assert (standing.target, standing.iterations_left) == (12, 3 * 4) and take(mine).key.rung == 1
    run(tmp_path, 3, search=this)
    assert sum(trial.key.rung == 1 and trial.status == "finished" for trial in read_run(tmp_path).trials) == 3


def test_who_began_when_fewer_were_asked_for_proposes_before_it_repeats_finalists(tmp_path: Path) -> None:
    this = opened(final_seeds=2)
    seed = this.experiment.proxy.seed
    set_up(tmp_path, this, 1)
    with queue(tmp_path, this) as mine:
        mine.finish(take(mine), Scored(0.5, 1.0, ""))
        set_up(tmp_path, this, 2)
        claim = take(mine)
        assert claim.key.seed == seed
        mine.finish(claim, Scored(0.4, 1.0, ""))
        again = take(mine)
        assert again.key.seed == seed + 1
        mine.finish(again, Scored(0.5, 1.0, ""))
    set_up(tmp_path, this, 3)
    standing = queue(tmp_path, this).standing()
    # The seed that was repeated is not taken for one of the networks.
    assert standing.target - standing.concluded == 1 and standing.step == Propose(seed)


@pytest.mark.parametrize("gains", [True, False])
def test_a_training_is_given_up_when_nobody_brings_it_further(tmp_path: Path, gains: bool) -> None:
    set_up(tmp_path, usual(), 1)
    for number in range(1, DEATHS + 3 if gains else DEATHS + 1):
        claim_and_die(tmp_path)
        (lost, *_) = read_run(tmp_path).trials
        saved = tmp_path / CHECKPOINTS / f"{lost.id}-{lost.key.seed}" / f"iteration-{number if gains else 1:08d}"
        saved.mkdir(parents=True, exist_ok=True)
    run(tmp_path, 1, search=usual())
    *_, last = read_run(tmp_path).trials
    assert (last.status, last.reason) == ((Status.FINISHED, None) if gains else (Status.FAILED, KILLER))


def test_a_stop_in_the_midst_of_reading_gives_back_all_the_same(tmp_path: Path) -> None:
    """Optuna counts a line as read before it has taken it in."""
    set_up(tmp_path, usual(), 1)

    def stopped(log: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), queue(tmp_path) as mine:
        mine._trials.storage._replay_result._apply_create_trial = stopped  # type: ignore[attr-defined]
        mine.claim(proposer(mine))
    assert [trial.reason for trial in read_run(tmp_path).trials] == ["given back"]


def test_a_score_outlives_its_worker(tmp_path: Path) -> None:
    """Who dies between the score and the end of the trial has not trained in vain."""
    set_up(tmp_path, usual(), 1)
    with queue(tmp_path) as mine:
        mine.scored(take(mine), Scored(0.25, 7.0, "made up"))

    def untrained(*arguments: object, **how: object) -> Score:
        raise AssertionError("it has its score")

    run(tmp_path, 1, untrained, search=usual())
    lost, found = read_run(tmp_path).trials
    assert (lost.status, found.status) == (Status.INTERRUPTED, Status.FINISHED)
    assert (found.miou, found.seconds, found.provenance, found.iterations) == (0.25, 7.0, "made up", 2)


def test_a_trial_ends_as_the_study_keeps_it(tmp_path: Path) -> None:
    """Whatever becomes of it, what a worker reports is what everybody reads later."""
    set_up(tmp_path, usual(), 9)
    score = Scored(0.25, 7.0, "made up")
    with queue(tmp_path) as mine:
        ended = [
            mine.finish(take(mine), score),
            mine.fail(take(mine), "nan", 3.5),
            mine.fail(take(mine), KILLER, 0.0),
            mine.fail(mine.scored(take(mine), score), "latency: cannot be built", 8.5),
            mine.reject(take(mine), "9.00 ms of 8.00 ms"),
            mine.postpone(mine.scored(take(mine), score), "no route to the board"),
        ]
        running = take(mine).trial
        assert read_run(tmp_path).trials == [*ended, running]
    *kept, given_back = read_run(tmp_path).trials
    assert kept == ended
    assert given_back == replace(running, status=Status.INTERRUPTED, reason="given back")
    assert {trial.status for trial in [*kept, running, given_back]} == set(Status)
    assert [trial.seconds for trial in kept] == [7.0, 3.5, 0.0, 8.5, None, 7.0]


def test_a_trial_of_a_living_worker_is_left_alone(tmp_path: Path) -> None:
    set_up(tmp_path, usual(), 3)
    with queue(tmp_path) as first, queue(tmp_path) as second:
        one, two = take(first), take(second)
        assert one.architecture.id != two.architecture.id
        standing = second.standing()
        assert sorted(standing.owners) == sorted([first.token, second.token])
        assert [observation.status for observation in standing.history] == [Status.RUNNING, Status.RUNNING]
    # Both gave back what they had not ended.
    given_back = [(trial.status, trial.reason, trial.abandoned) for trial in read_run(tmp_path).trials]
    assert given_back == [(Status.INTERRUPTED, "given back", False)] * 2


def test_who_has_nothing_left_to_do_takes_over_from_one_who_dies(tmp_path: Path) -> None:
    """Two trials for two workers: one finishes, then waits for the other, which dies; it does that one too."""
    set_up(tmp_path, usual(), 2)
    reader, writer = FORK.Pipe(duplex=False)

    def other() -> None:
        with queue(tmp_path) as mine:
            take(mine)
            writer.send("claimed")
            signal.pause()

    process = FORK.Process(target=other)
    process.start()
    assert reader.poll(60)
    with queue(tmp_path) as mine:
        while (claim := mine.claim(proposer(mine))) is not None:
            mine.finish(claim, Scored(quality(claim.architecture), 1.0, ""))
            process.kill()  # a second time it is dead already
    process.join()
    assert sorted(trial.status for trial in read_run(tmp_path).trials) == ["finished", "finished", "interrupted"]


def test_a_folder_that_was_never_set_up_completely_has_no_experiment_yet(tmp_path: Path) -> None:
    """So the same command sets it up again."""
    assert earlier_experiment(tmp_path) is None and earlier_experiment(tmp_path / "no") is None
    where = storage_of(tmp_path)
    where.open(create=True)
    assert earlier_experiment(tmp_path) is None
    directions = ["maximize", "minimize", "minimize"]
    optuna.create_study(study_name=where.study, storage=where.open(), directions=directions)
    assert earlier_experiment(tmp_path) is None
    set_up(tmp_path, usual(), 2)
    assert earlier_experiment(tmp_path) == experiment() == read_experiment(tmp_path)


@pytest.mark.parametrize("cut", [1, 20, 400])
def test_a_journal_cut_in_mid_line_is_mended(tmp_path: Path, cut: int) -> None:
    run(tmp_path, 4, search=usual())
    before = read_run(tmp_path).trials
    journal = tmp_path / JOURNAL_NAME
    journal.write_bytes(journal.read_bytes() + (b'{"op_code":4,"worker_id":"' + b"x" * 400)[:cut])
    run(tmp_path, 6, search=usual())
    after = read_run(tmp_path).trials
    assert after[:4] == before
    assert [trial.status for trial in after] == ["finished"] * 6


@pytest.mark.parametrize("kind", [2, 4, 6, 8])
def test_a_damaged_line_costs_what_it_held_and_no_more(tmp_path: Path, kind: int) -> None:
    """Of an attribute of the study, a trial's beginning, its end, its score; whichever it is, the search goes on."""
    run(tmp_path, 4, search=usual())
    before = {trial.id: trial.miou for trial in read_run(tmp_path).trials}
    journal = tmp_path / JOURNAL_NAME
    lines = journal.read_bytes().splitlines(keepends=True)
    number = [i for i, line in enumerate(lines) if json.loads(line)["op_code"] == kind][1 if kind > 2 else 0]
    lines[number] = lines[number][:45] + b"\0" * (len(lines[number]) - 46) + b"\n"
    damaged = b"".join(lines)
    journal.write_bytes(damaged)
    with pytest.warns(UserWarning, match=rf"journal\.log:{number + 1}: damaged, and passed over"):
        run(tmp_path, 6, search=usual())
        found = read_run(tmp_path).trials
    finished = {trial.id: trial.miou for trial in found if trial.is_finished}
    assert len(finished) == 6 and all(finished.get(name, miou) == miou for name, miou in before.items())
    assert len(before.keys() - finished.keys()) == (1 if kind == 4 else 0)
    assert journal.read_bytes().startswith(damaged)


@pytest.mark.parametrize("hostname", ["(none)", "büro", "a.b.c", "x" * 200, "--"])
def test_whatever_a_machine_is_called_its_trials_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hostname: str
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: hostname)
    run(tmp_path, 2, search=usual())
    assert [trial.status for trial in read_run(tmp_path).trials] == [Status.FINISHED, Status.FINISHED]


def test_a_trial_whose_worker_died_is_not_shown_as_running(
    tmp_path: Path, run_cli: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    def shown(folder: Path) -> list[tuple[str, str]]:
        rows = json.loads(run_cli("pareto", folder, "--all", "--format", "json").stdout)
        return [(row["status"], row["reason"]) for row in rows]

    for name in ("dead", "alive"):
        set_up(tmp_path / name, usual(), 4)
    claim_and_die(tmp_path / "dead")
    assert shown(tmp_path / "dead") == [("interrupted", "its worker died; a search that goes on repeats it")]
    assert [trial.status for trial in read_run(tmp_path / "dead").trials] == [Status.RUNNING], "which nobody settled"
    with queue(tmp_path / "alive") as mine:
        take(mine)
        assert shown(tmp_path / "alive") == [("running", None)]


def test_a_wait_for_others_is_said_once_with_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.study.queue.SAID_AFTER", -1.0)
    set_up(tmp_path, usual(), 1)
    said: list[str] = []
    with queue(tmp_path) as stuck, Queue(tmp_path, usual(), said.append) as mine:
        claim, waits = take(stuck), iter(range(3))

        def wait() -> None:
            if next(waits, None) is None:
                stuck.fail(claim, "nan", 0.0)

        monkeypatch.setattr(mine._leases, "wait", wait)
        assert mine.claim(proposer(mine)) is None or said
    assert len([line for line in said if line.startswith(f"waits for what others work at ({stuck.token})")]) == 1
