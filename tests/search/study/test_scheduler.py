"""What a run does next, simulated: every training ends at once, or much later."""

from __future__ import annotations

import numpy as np
import pytest

from search.strategies.ranking import best_first
from search.study.scheduler import Ladder, Step, Training, most_trainings, next_step


def finished(name: str, rung: int = 0, seed: int = 0, *, loss: float = 0.0, cost: float = 0.0) -> Training:
    return Training(name, rung, seed, "finished", (loss, cost))


def run(ladder: Ladder, workers: int = 1, seed: int = 0) -> list[Training]:
    """All trainings of a run, ended in random order by so many workers; network n costs n and may score anything."""
    rng = np.random.default_rng(seed)
    done: list[Training] = []
    busy: list[Training] = []
    while True:
        step = next_step([*done, *busy], ladder)
        if step.do in ("propose", "train") and len(busy) < workers:
            name = step.id or str(len({t.id for t in [*done, *busy]}))
            busy.append(Training(name, step.rung, step.seed, "running"))
        elif busy:
            ended = busy.pop(int(rng.integers(len(busy))))
            loss = -np.sqrt(float(ended.id)) * (1 + ended.rung) + rng.normal()
            done.append(Training(ended.id, ended.rung, ended.seed, "finished", (loss, float(ended.id))))
        else:
            assert step.do == "end"
            return done


def test_one_rung_and_one_seed_is_one_training_of_each_network() -> None:
    done = run(Ladder(target=7, seed=3))
    assert [(t.rung, t.seed) for t in done] == [(0, 3)] * 7
    assert len({t.id for t in done}) == 7


@pytest.mark.parametrize("workers", [1, 4])
def test_every_rung_gets_its_share_and_nothing_is_trained_twice(workers: int) -> None:
    ladder = Ladder(target=27, seed=0, lengths=(1, 3, 9), reduction_factor=3)
    done = run(ladder, workers)
    assert len({(t.id, t.rung, t.seed) for t in done}) == len(done)
    counts = [sum(t.rung == rung for t in done) for rung in range(3)]
    assert counts == most_trainings(ladder) == [27, 9, 3]
    for rung in (1, 2):
        assert {t.id for t in done if t.rung == rung} <= {t.id for t in done if t.rung == rung - 1}


@pytest.mark.parametrize("target", [12, 27, 60])
def test_the_best_of_all_go_up_however_late_they_were_begun(target: int) -> None:
    done = run(Ladder(target=target, seed=0, lengths=(1, 3, 9), reduction_factor=3), seed=target)
    for rung in (0, 1):
        here, above = ([t for t in done if t.rung == number] for number in (rung, rung + 1))
        best = best_first(np.array([t.values for t in here]), len(here) // 3)
        assert {t.id for t in above} == {here[i].id for i in best}


def test_the_best_go_up_over_the_whole_front() -> None:
    ladder = Ladder(target=6, seed=0, lengths=(1, 3), reduction_factor=3)
    front = [finished("small", loss=3, cost=1), finished("large", loss=1, cost=3)]
    dominated = [finished(name, loss=4, cost=4 + i) for i, name in enumerate("abcd")]
    first = next_step([*front, *dominated], ladder)
    assert first.do == "train" and first.rung == 1 and first.id in ("small", "large")
    second = next_step([*front, *dominated, Training(first.id, 1, 0, "running")], ladder)
    assert {first.id, second.id} == {"small", "large"}
    both = [Training(name, 1, 0, "failed") for name in ("small", "large")]
    assert next_step([*front, *dominated, *both], ladder) == Step("end")


def test_finalists_get_their_seeds_when_all_else_is_done() -> None:
    ladder = Ladder(target=3, seed=5, final_seeds=3)
    known = [finished("a", seed=5, loss=1, cost=2), finished("b", seed=5, loss=2, cost=1)]
    assert next_step([*known, Training("c", 0, 5, "running")], ladder) == Step("wait")
    known.append(finished("c", seed=5, loss=3, cost=3))
    asked = set()
    while (step := next_step(known, ladder)).do == "train":
        asked.add((step.id, step.rung, step.seed))
        known.append(Training(step.id, step.rung, step.seed, "running"))
    assert asked == {("a", 0, 6), ("a", 0, 7), ("b", 0, 6), ("b", 0, 7)}
    assert step == Step("wait")


def test_seeds_are_those_of_the_highest_rung_that_any_came_to() -> None:
    ladder = Ladder(target=3, seed=0, lengths=(1, 3, 9), reduction_factor=3, final_seeds=2)
    known = [finished(name, loss=loss) for name, loss in (("a", 1), ("b", 2), ("c", 3))]
    assert next_step(known, ladder) == Step("train", "a", 1, 0)
    known.append(finished("a", 1))
    assert next_step(known, ladder) == Step("train", "a", 1, 1)
    known[-1] = Training("a", 1, 0, "failed")
    assert next_step(known, ladder) == Step("train", "a", 0, 1)


def test_who_scored_nothing_is_never_promoted() -> None:
    ladder = Ladder(target=3, seed=0, lengths=(1, 3), reduction_factor=3)
    known = [Training("a", 0, 0, "failed"), finished("b", loss=float("nan")), finished("c", loss=1)]
    assert next_step(known, ladder) == Step("end")


def test_a_network_that_rises_when_a_lucky_one_falls_gets_its_seeds_too() -> None:
    ladder = Ladder(target=2, seed=0, final_seeds=2)
    known = [finished("lucky", loss=1, cost=2), finished("steady", loss=1.5, cost=2)]
    assert next_step(known, ladder) == Step("train", "lucky", 0, 1)
    known.append(finished("lucky", seed=1, loss=3, cost=2))
    assert next_step(known, ladder) == Step("train", "steady", 0, 1)
    known.append(finished("steady", seed=1, loss=1.5, cost=2))
    assert next_step(known, ladder) == Step("end")
