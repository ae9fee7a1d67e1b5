"""Trainings that are carried on to another length, to the same bits as if they had been as long from the start."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
from data_fixtures import tiny_net
from training_cases import SIZE, assert_same, colours, short, trained

from boostformer.errors import UserError
from boostformer.training import Recipe, train
from boostformer.training.state import keep_state


def stable(iterations: int, **changes) -> Recipe:
    """Its trunk is 4 of 6 iterations, 12 of 18."""
    return short(**{"iterations": iterations, "schedule": "wsd", "decay": 1 / 3, "warmup_iterations": 2, **changes})


def carried_on(recipe: Recipe, folder: Path, seed: int = 99) -> tuple[int, dict[str, torch.Tensor]]:
    """Where it was resumed from, and the weights. The seed of the network's weights should not matter."""
    model = tiny_net(3, seed)
    report = train(model, colours(), recipe, size=SIZE, resume_dir=folder)
    return report.resumed_from, model.state_dict()


def states(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def state_of(folder: Path) -> dict[str, object]:
    """All that is saved, the weights aside: the optimiser's moments and rates."""
    (newest,) = folder.glob("iteration-*18")
    return torch.load(newest / "optimizer.bin")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    """Weights and optimiser after 18 iterations in one go."""
    folder = tmp_path_factory.mktemp("whole")
    return trained(stable(18), resume_dir=folder), state_of(folder)


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The states of a training of 6 iterations."""
    folder = tmp_path_factory.mktemp("six")
    trained(stable(6), resume_dir=folder)
    return folder


@pytest.fixture
def folder(six: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(six, tmp_path / "states"))


def test_carried_on_is_as_from_the_start(folder: Path, whole) -> None:
    weights, optimiser = whole
    assert {"encoder.1.running_var", "encoder.1.num_batches_tracked"} < weights.keys()
    assert states(folder) == ["iteration-00000004", "iteration-00000006"]
    start, found = carried_on(stable(18), folder)
    assert start == 4
    assert_same(weights, found)
    moments, again = optimiser["state"], state_of(folder)["state"]
    for number, values in moments.items():
        assert all(torch.equal(value, again[number][name]) for name, value in values.items())
    assert state_of(folder)["param_groups"] == optimiser["param_groups"]
    assert states(folder) == ["iteration-00000012", "iteration-00000018"]


def test_the_trunk_alone_is_enough_and_goes_on_more_than_once(folder: Path, whole) -> None:
    keep_state(folder, stable(6).trunk)
    assert states(folder) == ["iteration-00000004"]
    assert carried_on(stable(9), folder)[0] == 4
    keep_state(folder, stable(9).trunk)
    assert states(folder) == ["iteration-00000006"]
    start, found = carried_on(stable(18), folder)
    assert start == 6
    assert_same(whole[0], found)
    keep_state(folder, None)
    assert not folder.exists()


@pytest.mark.parametrize("at", [3, 5, 9, 11, 15])
def test_killed_in_the_middle(tmp_path: Path, folder: Path, whole, at: int) -> None:
    """In the shorter training or in the longer one, before the decay or in it."""

    class Killed(Exception):
        pass

    def kill(iteration: int, iterations: int, loss: float) -> None:
        if iteration == at:
            raise Killed

    if at < 6:
        folder = tmp_path / "new"
    with pytest.raises(Killed):
        train(
            tiny_net(3),
            colours(),
            stable(6 if at < 6 else 18, save_every=2),
            size=SIZE,
            progress=kill,
            resume_dir=folder,
        )
    if at < 6:
        assert carried_on(stable(6), folder)[0] == at // 2 * 2
    start, found = carried_on(stable(18), folder)
    assert start == (4 if at < 6 else at // 2 * 2)
    assert_same(whole[0], found)


def test_states_of_another_length_with_the_same_number(folder: Path, whole) -> None:
    """A longer training passes its sixth iteration on another way than the shorter one ended."""
    (folder / "iteration-00000004").rename(folder.parent / "kept")
    assert carried_on(stable(6), folder)[0] == 6
    start, found = carried_on(stable(18, save_every=6), folder, seed=0)
    assert start == 0, "the end of a shorter training, its rate decayed, is no beginning of a longer one"
    assert_same(whole[0], found)


@pytest.mark.parametrize("damage", ["progress", "no progress", "weights", "optimizer", "empty"])
def test_torn_states_are_ignored(folder: Path, whole, damage: str) -> None:
    torn = folder / "iteration-00000004"
    if damage == "progress":
        os.truncate(torn / "progress.json", 20)
    elif damage == "no progress":
        (torn / "progress.json").unlink()
    elif damage == "empty":
        shutil.rmtree(torn)
        torn.mkdir()
    else:
        file = torn / ("model.safetensors" if damage == "weights" else "optimizer.bin")
        file.write_bytes(file.read_bytes()[:-7] + b"\0" * 7)
    start, found = carried_on(stable(18), folder, seed=0)
    assert start == 0
    assert_same(whole[0], found)
    assert states(folder) == ["iteration-00000012", "iteration-00000018"]


def test_an_older_state_stands_in_for_a_torn_one(folder: Path) -> None:
    expected = trained(stable(6))
    (folder / "iteration-00000006" / "model.safetensors").write_bytes(b"")
    start, found = carried_on(stable(6), folder)
    assert start == 4
    assert_same(expected, found)


def test_another_training_is_refused(folder: Path) -> None:
    for changes, named in (
        ({"seed": 1}, "recipe.seed"),
        ({"lr": 0.02, "batch_size": 4}, "recipe.batch_size, recipe.lr"),
    ):
        with pytest.raises(UserError, match=f"another training, with other {named}; remove"):
            carried_on(stable(18, **changes) if "seed" in changes else stable(6, **changes), folder)
    with pytest.raises(UserError, match="another training, with other architecture; remove"):
        train(tiny_net(3), colours(), stable(6), size=SIZE, resume_dir=folder, about={"architecture": "abc"})
    assert states(folder) == ["iteration-00000004", "iteration-00000006"]


@pytest.mark.parametrize("schedule", ["poly", "cosine"])
def test_other_schedules_cannot_be_carried_on(tmp_path: Path, schedule: str) -> None:
    trained(short(iterations=6, schedule=schedule, warmup_iterations=2), resume_dir=tmp_path)
    with pytest.raises(UserError, match=f"other recipe.iterations; with schedule '{schedule}' the length is fixed"):
        trained(short(iterations=18, schedule=schedule, warmup_iterations=2), resume_dir=tmp_path)
    with pytest.raises(UserError, match="with other recipe.schedule"):
        carried_on(stable(6), tmp_path)


def test_a_process_that_was_taken_for_dead_may_save_too(tmp_path: Path) -> None:
    """Another makes the same training in the same folder, and is ahead."""
    done = False

    def meanwhile(iteration: int, iterations: int, loss: float) -> None:
        nonlocal done
        if iteration == 3 and not done:
            done = True
            carried_on(stable(6), tmp_path, seed=0)

    model = tiny_net(3)
    train(model, colours(), stable(6), size=SIZE, progress=meanwhile, resume_dir=tmp_path)
    assert done
    assert_same(trained(stable(6)), model.state_dict())
    assert states(tmp_path) == ["iteration-00000004", "iteration-00000006"]
