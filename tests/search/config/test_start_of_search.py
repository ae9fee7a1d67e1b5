"""A search that starts from a trained network: what its run file says of it, and what its study keeps."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

import pytest
from run_files import FEW, write
from search_factories import small, table

from boostformer.architecture import Architecture
from boostformer.errors import UserError
from boostformer.model import BoostFormer
from results.run import read_run
from search.config.experiment import Experiment, difference
from search.config.frozen import run_file_of
from search.config.opening import OpenExperiment, resolve
from search.study.folder import set_up

START = FEW.replace("strategy: nsga2", "start: net").replace("segformer_b0", "start").replace("50%", "80%")


@cache
def largest() -> Architecture:
    return max(small(), key=lambda arch: table().cost(arch).params)


@pytest.fixture
def net(folder: Path) -> BoostFormer:
    """A network of the space beside the run file, at another size and for other classes."""
    model = BoostFormer(largest())
    model.save_pretrained(folder / "net")
    return model


def test_the_start_is_kept_by_its_content_and_budgets_are_shares_of_its_costs(folder: Path, net: BoostFormer) -> None:
    opened, _ = resolve(write(folder, START))
    this = opened.experiment
    assert this.inherit and this.start is not None and this.start.place == str(folder / "net")
    cost = table().cost(net.architecture.replace(classes=8, size=(32, 64)))
    assert this.budgets["params"] == int(cost.params * 0.8)
    assert opened.start is not None and set(opened.start.weights) == set(net.state_dict())
    assert opened.start_key is not None
    assert this.space.decode(opened.start_key) == net.architecture.replace(classes=8, size=(32, 64))
    assert Experiment.from_dict(this.to_dict(), "study") == this
    set_up(folder / "run", opened, 3)
    assert read_run(folder / "run").references[-1] == {"name": "start", "params": cost.params, "macs": cost.macs}


def test_another_place_is_the_same_search_other_weights_are_not(folder: Path, net: BoostFormer) -> None:
    opened, _ = resolve(write(folder, START))
    set_up(folder / "run", opened, 3)
    shutil.move(folder / "net", folder / "moved")
    moved, _ = resolve(write(folder, START.replace("start: net", "start: moved")))
    set_up(folder / "run", moved, 3)
    with pytest.raises(UserError, match="net: no such folder"):
        _ = OpenExperiment(opened.experiment).start
    BoostFormer(net.architecture).save_pretrained(folder / "net")
    with pytest.raises(UserError, match="net: its weights are not those that the search began with"):
        _ = OpenExperiment(opened.experiment).start
    other, _ = resolve(write(folder, START))
    with pytest.raises(UserError, match="the weights of the network that it starts from have changed since it began"):
        set_up(folder / "run", other, 3)


@pytest.mark.parametrize(
    ("search", "inherits"),
    [("", False), (", inherit: always", True), (", inherit: never", False), (", start: net", True)],
)
def test_whether_networks_inherit(folder: Path, net: BoostFormer, search: str, inherits: bool) -> None:
    opened, _ = resolve(write(folder, FEW.replace(", strategy: nsga2", search)))
    assert opened.experiment.inherit is inherits
    assert (opened.start is not None) == ("start" in search)
    assert opened.experiment.proxy.schedule == ("wsd" if inherits else "poly")  # a lineage's rate falls at the end


def test_a_schedule_that_is_asked_for_holds_for_lineages_too(folder: Path, net: BoostFormer) -> None:
    asked = FEW.replace(", strategy: nsga2", ", inherit: always").replace("proxy: {", "proxy: {schedule: cosine, ")
    assert asked.count("cosine") == 1
    opened, _ = resolve(write(folder, asked))
    assert opened.experiment.proxy.schedule == "cosine"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("start: net", "start: nut", "run.yaml:9: search.start: nut: no such folder"),
        ("start: net", "start: .", "run.yaml:9: search.start: .*no model.safetensors|run.yaml:9: search.start"),
        ("start: net", "start: net, inherit: never", "run.yaml:9: search.inherit: 'never' leaves nothing for `start`"),
        ("start: net", "screen: 20", "run.yaml:9: search.screen: 20: there is no `start` for networks to inherit from"),
        ("start: net", "inherit: sometimes", "run.yaml:9: search.inherit: unknown 'sometimes'"),
        ("start: net", "inherit: always", "run.yaml:4: budgets: the baseline start needs `search: {start: CKPT}`"),
        (
            "baseline: start",
            "baseline: star",
            "run.yaml:5: budgets.baseline: unknown preset 'star'; did you mean 'start'",
        ),
    ],
)
def test_mistakes_are_one_line(folder: Path, net: BoostFormer, old: str, new: str, message: str) -> None:
    assert old in START
    with pytest.raises(UserError, match=message) as caught:
        resolve(write(folder, START.replace(old, new)))
    assert "\n" not in str(caught.value)


def test_a_study_from_before_there_were_starts_goes_on(folder: Path) -> None:
    opened, _ = resolve(write(folder, FEW))
    old = {key: value for key, value in opened.experiment.to_dict().items() if key not in ("inherit", "start")}
    assert Experiment.from_dict(old, "study") == opened.experiment


def test_a_written_run_file_has_the_start(folder: Path, net: BoostFormer) -> None:
    opened, trials = resolve(write(folder, START))
    again, _ = resolve(write(folder, run_file_of(opened.experiment, trials)))
    assert difference(opened.experiment.to_dict(), again.experiment.to_dict()) is None and again.experiment.inherit
