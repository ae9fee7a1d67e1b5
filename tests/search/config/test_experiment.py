"""Experiments: resolved from a run file, kept in the study, compared, and opened once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from run_files import FEW, GOOD, NANO, write
from search_factories import SMALL, MadeUp, Watcher, experiment

from boostformer import presets
from boostformer.errors import UserError
from evaluators.costs.table import CostTable
from evaluators.latency.estimate.estimate import Estimate
from search.config import opening
from search.config.experiment import Experiment, difference
from search.config.opening import OpenExperiment, resolve
from search.study.folder import read_experiment, references, set_up
from search.worker.loop import work


def resolved(folder: Path, text: str) -> Experiment:
    return resolve(write(folder, text))[0].experiment


def test_an_experiment_is_resolved_and_survives_the_study(tmp_path: Path) -> None:
    opened, trials = resolve(write(tmp_path, GOOD))
    this = opened.experiment
    assert (this.space.size, this.space.classes, trials) == ((32, 64), 8, 7)
    assert this.images == {"training": 4, "validation": 2}
    assert this.budgets["macs"] == 5_000_000
    assert this.labels == tuple(opened.proxy.labels) and len(this.labels) == 8
    again = Experiment.from_dict(json.loads(json.dumps(this.to_dict())), "study")
    assert again == this
    assert difference(again.to_dict(), this.to_dict()) is None


def test_lengths_and_seeds_survive_the_study(folder: Path) -> None:
    text = FEW.replace("iterations: 10", "iterations: [10, 20, 40], seed: 9").replace("seed: 4", "final_seeds: 3")
    this = resolved(folder, text)
    assert (this.proxy.rungs, this.proxy.iterations, this.proxy.schedule) == ((10, 20, 40), 10, "wsd")
    assert (this.proxy.seed, this.search.seed, this.search.final_seeds) == (9, 0, 3)
    assert Experiment.from_dict(json.loads(json.dumps(this.to_dict())), "study") == this


def test_budgets_count_the_network_that_is_deployed_unless_they_say_otherwise(folder: Path) -> None:
    forms = [FEW.replace("  baseline", f"  counted: {form}\n  baseline") for form in ("deployed", "trained")]
    opened = [resolve(write(folder, text))[0] for text in (FEW, *forms)]
    deployed, same, training = (found.experiment for found in opened)
    assert same == deployed and (deployed.is_deployed, training.is_deployed) == (True, False)
    assert [found.problem.table.deployed for found in opened] == [True, True, False]
    baseline = presets.load("segformer_b0", classes=8, size=(32, 64))
    for this in (deployed, training):
        cost = CostTable(deployed=this.is_deployed).cost(baseline)
        assert this.budgets == {"params": cost.params // 2, "macs": 5_000_000}
        assert Experiment.from_dict(this.to_dict(), "study") == this
    assert deployed.budgets["params"] < training.budgets["params"]
    one, other = (resolved(folder, text.replace("params: 50%", "params: 3M")).to_dict() for text in forms)
    assert difference(one, other) == "counted is deployed there, trained here"


@pytest.mark.parametrize("counted", ["deployed", "trained"])
def test_presets_are_counted_as_the_networks_of_the_run(folder: Path, counted: str) -> None:
    opened, _ = resolve(write(folder, FEW.replace("  baseline", f"  counted: {counted}\n  baseline")))
    drawn = {entry["name"]: entry for entry in references(opened)}
    assert list(drawn) == presets.names()
    cost = CostTable(deployed=counted == "deployed").cost(presets.load("segformer_b0", classes=8, size=(32, 64)))
    assert drawn["segformer_b0"] == {"name": "segformer_b0", "params": cost.params, "macs": cost.macs}


def test_the_first_difference_is_named_with_both_values(folder: Path) -> None:
    this, other = resolved(folder, FEW).to_dict(), resolved(folder, FEW.replace("seed: 4", "seed: 5")).to_dict()
    assert difference(this, other) == "search.seed is 4 there, 5 here"
    more = resolved(folder, FEW.replace("trials: 7", "trials: 70")).to_dict()
    assert difference(this, more) is None
    assert difference(this, this | {"versions": {"boostformer": "9"}, "space_name": "tiny.yaml"}) is None
    assert difference(this, this | {"new": 1}) == "new is not set there, 1 here"
    device = {"device": "nano", "final": {"builds": 3, "seed": None}}
    assert difference(this, this | {"new": device}) == "new is not set there, {device: nano, final: {builds: 3}} here"


def test_a_difference_deep_in_a_list_is_named_where_it_is(folder: Path) -> None:
    this = resolved(folder, FEW).to_dict()
    (folder / "small.yaml").write_text(SMALL.replace("heads: [1, 2]", "heads: [2]"))
    assert difference(this, resolved(folder, FEW).to_dict()) == (
        "space.stages.3.mixer.mhsa.heads is [1, 2] there, [2] here"
    )
    many = [f"a class with a long name, number {number}" for number in range(30)]
    other = [*many[:-1], "another"]
    assert difference(this | {"labels": many}, this | {"labels": other}) == (
        "labels.29 is a class with a long name, number 29 there, another here"
    )
    assert difference(this | {"new": [1, "1"]}, this | {"new": [1, 1]}) == "new is [1, '1'] there, [1, 1] here"
    assert difference(this | {"new": "1"}, this | {"new": 1}) == "new is '1' there, 1 here"
    assert difference(this | {"labels": many}, this | {"labels": many[:-1]}) == (
        "labels.29 is a class with a long name, number 29 there, not set here"
    )


@given(st.text(min_size=1), st.text(), st.text(), st.text())
def test_two_values_are_never_shown_equal(same: str, one: str, other: str, end: str) -> None:
    before, after = 50 * same + one + end, 50 * same + other + end
    assume(before != after)
    shown = difference({"a": before, "space": 0}, {"a": after, "space": 0})
    assert shown is not None and len(shown) < 250
    there, here = shown.removeprefix("a is ").removesuffix(" here").split(" there, ", 1)
    assert there != here


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("search", None, "search: "),
        ("search", {"strategy": "guessing", "seed": 0}, "search.strategy: "),
        ("search", {"seed": -1}, "search.seed: "),
        ("proxy", {"iterations": [3, 2]}, "proxy.iterations: "),
        ("proxy", {"iterations": [10**30, 0.5]}, "proxy.iterations: "),
        ("data", {"kind": "../elsewhere"}, "data.kind: "),
        ("labels", "abc", "labels: "),
        ("images", {"training": "many"}, "images.training: "),
        ("budgets", {"params": "3M"}, "budgets.params"),
        ("latency", {"device": "host"}, "latency."),
        ("space", {"version": 1}, "space: "),
        ("space", 7, "space: "),
        ("elsewhere", 7, "elsewhere: "),
    ],
)
def test_a_damaged_experiment_is_one_line(key: str, value: Any, said: str) -> None:
    stored = experiment().to_dict()
    with pytest.raises(UserError) as refused:
        Experiment.from_dict(stored | {key: value}, "study")
    assert str(refused.value).startswith(f"study: the search's configuration is damaged: {said}"), refused.value
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("limit", ["20", "20 ms", "'20'", "20.0"])
def test_milliseconds_are_an_objective_and_a_budget(here: Path, limit: str) -> None:
    opened, _ = resolve(write(here, NANO.replace("params: 50%", f"latency_ms: {limit}")))
    this = opened.experiment
    assert this.objectives == ("miou", "latency_ms") and this.budgets["latency_ms"] == 20.0
    assert this.latency is not None and this.latency.device == "jetson-nano"
    assert this.latency.entry == {"kind": "estimate", "board": "jetson-nano", "power_mode": None, "precision": "fp16"}
    assert str(this.latency.provenance).startswith("estimated: datasheet, ")
    assert Experiment.from_dict(json.loads(json.dumps(this.to_dict())), "study") == this
    assert opened.problem.latency is not None and opened.problem.latency is opened.backend
    assert str(opened.problem.latency.provenance()) == str(this.latency.provenance)
    assert all(reference["latency_ms"] > 0 for reference in references(opened))


def test_a_device_that_is_doubted_is_used_only_by_force(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(here, NANO)
    before = resolve(file)[0].experiment
    monkeypatch.setattr(Estimate, "doubts", lambda self: "mine.jsonl: its calibration fails")
    said = r"run\.yaml:10: latency\.device: mine\.jsonl: its calibration fails; .*--force"
    with pytest.raises(UserError, match=said):
        resolve(file)
    assert resolve(file, force=True)[0].experiment == before
    assert resolve(file, before)[0].experiment == before, "a search that began goes on"


def test_a_device_that_is_measured_predicts_nothing(here: Path) -> None:
    opened, _ = resolve(write(here, NANO.replace("jetson-nano", "host")))
    assert opened.problem.latency is None and opened.backend is not None and opened.experiment.latency is not None
    assert str(opened.experiment.latency.provenance).startswith("measured: onnxruntime ")


def test_another_device_is_another_search(here: Path) -> None:
    one, other, none = (resolved(here, text).to_dict() for text in (NANO, NANO.replace("-nano", "-tx2"), FEW))
    assert difference(one, other) == "latency.device is jetson-nano there, jetson-tx2 here"
    assert str(difference(none, one)).startswith("objectives is ")


OPENED = ("CostTable", "Problem", "Proxy", "read_run_file", "read_space")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each of what a search opens was made."""
    counter: Counter[str] = Counter()

    def counting(name: str, make: Callable[..., Any]) -> Callable[..., Any]:
        def count(*arguments: Any, **options: Any) -> Any:
            counter[name] += 1
            return make(*arguments, **options)

        return count

    for name in OPENED:
        monkeypatch.setattr(opening, name, counting(name, getattr(opening, name)))
    return counter


def test_a_search_opens_everything_once(folder: Path, made: Counter[str]) -> None:
    opened, trials = resolve(write(folder, FEW))
    set_up(folder / "run", opened, trials)
    work(opened, folder / "run", Watcher(), MadeUp())
    assert opened.proxy.labels and references(opened) and opened.problem.table is opened.table
    assert made == dict.fromkeys(OPENED, 1)
    made.clear()
    joined = OpenExperiment(read_experiment(folder / "run"))
    work(joined, folder / "run", Watcher(), MadeUp())
    assert made == {"CostTable": 1, "Problem": 1}, "a worker that trains nothing opens no data"
    assert joined.proxy is joined.proxy and made["Proxy"] == 1


def test_a_worker_whose_data_are_others_is_refused(folder: Path) -> None:
    this = resolved(folder, FEW)
    other = this.model_copy(update={"images": {"training": 400, "validation": 2}})
    with pytest.raises(UserError, match=r"holds other data than when the search began: {'training': 4, .* 8 classes"):
        _ = OpenExperiment(other).proxy
