"""How many threads a training computes with: what pays, the same to its end, and without a trace of the trying."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from data_fixtures import tiny_net
from training_cases import SIZE, assert_same, colours, short, trained

from boostformer.training import loop, train
from boostformer.training.threads import STEPS, Choice, candidates, choose_threads, using


class Machine:
    """Its clock advances by what a step takes with so many threads; ``made`` counts the steps."""

    def __init__(self, seconds: dict[int, float]) -> None:
        self.seconds, self.now, self.made = seconds, 0.0, dict.fromkeys(seconds, 0)

    def step(self) -> None:
        threads = torch.get_num_threads()
        self.now += self.seconds[threads]
        self.made[threads] += 1

    def clock(self) -> float:
        return self.now


@pytest.fixture
def two_threads() -> Iterator[None]:
    """As on a machine with two cores."""
    with using(2):
        yield


def test_candidates_double() -> None:
    assert [candidates(most) for most in (1, 2, 3, 4, 6)] == [[1], [1, 2], [1, 2, 3], [1, 2, 4], [1, 2, 4, 6]]


@pytest.mark.parametrize(
    ("seconds", "chosen", "tried"),
    [
        ({1: 1.0}, 1, [1]),
        ({1: 1.0, 2: 0.6, 4: 0.4, 6: 0.3}, 6, [1, 2, 4, 6]),
        ({1: 1.0, 2: 0.6, 4: 0.58, 6: 0.1}, 2, [1, 2, 4]),  # a little faster is not worth twice the threads
        ({1: 1.0, 2: 0.95, 4: 0.1}, 1, [1, 2]),
        ({1: 0.2, 2: 2.5, 4: 0.1}, 1, [1, 2]),
        ({1: 60.0, 2: 30.0}, 2, [1, 2]),
    ],
)
def test_as_many_threads_as_pay(seconds: dict[int, float], chosen: int, tried: list[int]) -> None:
    machine, before = Machine(seconds), torch.get_num_threads()
    choice = choose_threads(machine.step, max(seconds), machine.clock)
    assert (choice.threads, list(choice.seconds)) == (chosen, tried)
    assert choice.seconds == pytest.approx({threads: seconds[threads] for threads in tried})
    assert torch.get_num_threads() == before


def test_what_is_slow_is_not_tried_long() -> None:
    held_up, large = Machine({1: 0.2, 2: 2.5}), Machine({1: 60.0, 2: 30.0})
    for machine in (held_up, large):
        choose_threads(machine.step, 2, machine.clock)
    assert held_up.made == {1: 1 + STEPS, 2: 1 + 1} and large.made == {1: 2, 2: 2}


def test_the_choice_is_said() -> None:
    assert str(Choice(1, {1: 0.166, 2: 2.49})) == "trains with 1 thread; a step took 0.17 s with 1, 2.5 s with 2"


@pytest.mark.usefixtures("two_threads")
def test_trying_leaves_no_trace_in_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = trained(short(threads=1))
    made, said = [], []

    def one_after_steps(step, most: int) -> Choice:
        made.extend(step() for _ in range(4))
        return Choice(1, {1: 0.1, most: 0.2})

    monkeypatch.setattr(loop, "choose_threads", one_after_steps)
    model = tiny_net(3)
    report = train(model, colours(), short(threads=None), size=SIZE, says=said.append)
    assert report.threads == 1 and len(made) == 4
    assert said == ["trains with 1 thread; a step took 0.1 s with 1, 0.2 s with 2"]
    assert_same(whole, model.state_dict())
    assert torch.get_num_threads() == 2


def test_with_one_thread_there_is_nothing_to_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "choose_threads", None)
    said: list[str] = []
    assert train(tiny_net(3), colours(), short(threads=None), size=SIZE, says=said.append).threads == 1
    assert said == []


def test_a_resumed_training_keeps_its_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other machines may resume it: the state does not ask for as many cores, and gives the same weights."""
    whole = trained(short(threads=2))
    seen = []

    def stop(iteration: int, iterations: int, loss: float) -> None:
        seen.append(torch.get_num_threads())
        if iteration == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(short(threads=2), progress=stop, resume_dir=tmp_path)
    assert seen == [2] * 5 and torch.get_num_threads() == 1
    monkeypatch.setattr(loop, "choose_threads", None)
    for threads in (None, 1):
        model = tiny_net(3, seed=9)
        report = train(model, colours(), short(threads=threads), size=SIZE, resume_dir=tmp_path)
        assert report.threads == 2
        assert_same(whole, model.state_dict())
