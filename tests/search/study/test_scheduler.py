"""What a run does next, simulated: every training ends at once, or much later."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from search_factories import scheduler

from results.trial import Status, Trial, TrialKey, minimised_values
from search.strategies.ranking import best_first
from search.study.scheduler import Done, Propose, Scheduler, Train, Wait

OBJECTIVES = ("miou", "params")
THREE = {"rungs": (1, 3, 9), "objectives": OBJECTIVES}
TWO = {"rungs": (1, 3), "objectives": OBJECTIVES}
ONE = {"rungs": (1,), "objectives": OBJECTIVES}


def made(key: TrialKey, status: Status, *, loss: float | None = None, cost: int = 0) -> Trial:
    miou = None if loss is None else -loss
    return Trial(0, key, status, {}, cost, macs=0, conv_linear_macs=0, attention_macs=0, feasible=True, miou=miou)


def finished(name: str, rung: int = 0, seed: int = 0, *, loss: float = 0.0, cost: int = 0) -> Trial:
    return made(TrialKey(name, rung, seed), Status.FINISHED, loss=loss, cost=cost)


def running(name: str, rung: int = 0, seed: int = 0) -> Trial:
    return made(TrialKey(name, rung, seed), Status.RUNNING)


def failed(name: str, rung: int = 0, seed: int = 0) -> Trial:
    return made(TrialKey(name, rung, seed), Status.FAILED)


def run(asked: Scheduler, workers: int = 1, seed: int = 0) -> list[Trial]:
    """All trainings of a run, ended in random order by so many workers; network n costs n and may score anything."""
    rng = np.random.default_rng(seed)
    done: list[Trial] = []
    busy: list[Trial] = []
    while True:
        room = len(busy) < workers
        match asked.next_step([*done, *busy]):
            case Propose(with_seed) if room:
                busy.append(running(str(len({trial.id for trial in [*done, *busy]})), 0, with_seed))
            case Train(key) if room:
                busy.append(made(key, Status.RUNNING))
            case _ if busy:
                key = busy.pop(int(rng.integers(len(busy)))).key
                loss = -np.sqrt(float(key.arch_id)) * (1 + key.rung) + rng.normal()
                done.append(made(key, Status.FINISHED, loss=loss, cost=int(key.arch_id)))
            case step:
                assert step == Done()
                return done


def test_one_rung_and_one_seed_is_one_training_of_each_network() -> None:
    done = run(scheduler(7, seed=3, **ONE))
    assert [(trial.key.rung, trial.key.seed) for trial in done] == [(0, 3)] * 7
    assert len({trial.id for trial in done}) == 7


@pytest.mark.parametrize("workers", [1, 4])
def test_every_rung_gets_its_share_and_nothing_is_trained_twice(workers: int) -> None:
    asked = scheduler(27, **THREE)
    done = run(asked, workers)
    assert len({trial.key for trial in done}) == len(done)
    counts = [sum(trial.key.rung == rung for trial in done) for rung in range(3)]
    assert counts == asked.most_trainings() == [27, 9, 3]
    for rung in (1, 2):
        assert ids(done, rung) <= ids(done, rung - 1)


def ids(trials: list[Trial], rung: int) -> set[str]:
    return {trial.id for trial in trials if trial.key.rung == rung}


@pytest.mark.parametrize("target", [12, 27, 60])
def test_the_best_of_all_go_up_however_late_they_were_begun(target: int) -> None:
    done = run(scheduler(target, **THREE), seed=target)
    for rung in (0, 1):
        here = [trial for trial in done if trial.key.rung == rung]
        values = np.array([minimised_values(trial, OBJECTIVES) for trial in here])
        assert ids(done, rung + 1) == {here[i].id for i in best_first(values, len(here) // 3)}


def test_the_best_go_up_over_the_whole_front() -> None:
    asked = scheduler(6, **TWO)
    front = [finished("small", loss=3, cost=1), finished("large", loss=1, cost=3)]
    dominated = [finished(name, loss=4, cost=4 + i) for i, name in enumerate("abcd")]
    first = asked.next_step([*front, *dominated])
    assert isinstance(first, Train) and first.key.rung == 1 and first.key.arch_id in ("small", "large")
    second = asked.next_step([*front, *dominated, made(first.key, Status.RUNNING)])
    assert isinstance(second, Train) and {first.key.arch_id, second.key.arch_id} == {"small", "large"}
    both = [failed(name, 1) for name in ("small", "large")]
    assert asked.next_step([*front, *dominated, *both]) == Done()


def test_finalists_get_their_seeds_when_all_else_is_done() -> None:
    asked = scheduler(3, seed=5, final_seeds=3, **ONE)
    known = [finished("a", seed=5, loss=1, cost=2), finished("b", seed=5, loss=2, cost=1)]
    assert asked.next_step([*known, running("c", 0, 5)]) == Wait()
    known.append(finished("c", seed=5, loss=3, cost=3))
    repeated = set()
    while isinstance(step := asked.next_step(known), Train):
        repeated.add(step.key)
        known.append(made(step.key, Status.RUNNING))
    assert repeated == {TrialKey(name, 0, seed) for name in ("a", "b") for seed in (6, 7)}
    assert step == Wait()


def test_seeds_are_those_of_the_highest_rung_that_any_came_to() -> None:
    asked = scheduler(3, final_seeds=2, **THREE)
    known = [finished(name, loss=loss) for name, loss in (("a", 1), ("b", 2), ("c", 3))]
    assert asked.next_step(known) == Train(TrialKey("a", 1, 0))
    known.append(finished("a", 1))
    assert asked.next_step(known) == Train(TrialKey("a", 1, 1))
    known[-1] = failed("a", 1)
    assert asked.next_step(known) == Train(TrialKey("a", 0, 1))


def test_who_scored_nothing_is_never_promoted() -> None:
    known = [failed("a"), finished("b", loss=float("nan")), finished("c", loss=1)]
    assert scheduler(3, **TWO).next_step(known) == Done()


def test_a_network_that_rises_when_a_lucky_one_falls_gets_its_seeds_too() -> None:
    asked = scheduler(2, final_seeds=2, **ONE)
    known = [finished("lucky", loss=1, cost=2), finished("steady", loss=1.5, cost=2)]
    assert asked.next_step(known) == Train(TrialKey("lucky", 0, 1))
    known.append(finished("lucky", seed=1, loss=3, cost=2))
    assert asked.next_step(known) == Train(TrialKey("steady", 0, 1))
    known.append(finished("steady", seed=1, loss=1.5, cost=2))
    assert asked.next_step(known) == Done()


def test_one_that_waits_for_its_device_counts_as_running() -> None:
    asked = scheduler(3, final_seeds=2, **ONE)
    known = [finished("a", loss=1), finished("b", loss=2), replace(finished("c"), status=Status.WAITING)]
    assert asked.next_step(known) == Wait()
    assert asked.next_step([*known[:2], failed("c")]) == Train(TrialKey("a", 0, 1))


def test_what_is_left_is_counted_in_iterations() -> None:
    asked = scheduler(9, **THREE)
    assert [asked.iterations(TrialKey("a", rung, 0)) for rung in range(3)] == [1, 2, 6]  # carried on
    assert asked.iterations(TrialKey("a", 2, 1)) == 9  # another seed begins anew
    firsts = (TrialKey("a", 0, 0), TrialKey("a", 1, 0), TrialKey("a", 0, 1))
    assert [asked.is_first(key) for key in firsts] == [True, False, False]
