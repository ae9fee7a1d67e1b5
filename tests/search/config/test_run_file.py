"""Run files: what is left open gets its default, and every mistake names its file, line and key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from run_files import FEW, GOOD, NANO, write

from boostformer import recipes
from boostformer.errors import UserError
from search.config.opening import resolve
from search.config.run_file import read_run_file


def test_a_run_file_is_read(tmp_path: Path) -> None:
    config = read_run_file(write(tmp_path, GOOD)).config
    assert config.data.size == (32, 64)
    assert config.proxy.recipe() == recipes.load("proxy", iterations=10, batch_size=2, seed=4)
    assert (config.search.trials, config.search.strategy) == (7, "nsga2")


def test_a_training_may_have_a_seed_of_its_own(tmp_path: Path) -> None:
    config = read_run_file(write(tmp_path, GOOD.replace("iterations: 10", "iterations: 10, seed: 9"))).config
    assert (config.proxy.seed, config.search.seed) == (9, 4)


def test_what_is_left_open_has_defaults(tmp_path: Path) -> None:
    config = read_run_file(write(tmp_path, "space: tiny\n")).config
    assert config.objectives == ["miou", "macs", "params"]
    assert config.proxy.recipe() == recipes.load("proxy")
    assert (config.search.strategy, config.search.seed, config.budgets.limits) == ("surrogate", 0, {})
    assert (config.proxy.rungs, config.search.final_seeds) == ((300,), 1)


def test_several_rungs_have_a_schedule_that_can_go_on(tmp_path: Path) -> None:
    text = "space: tiny\nproxy: {iterations: [40, 120, 360]}\nsearch: {reduction_factor: 4, final_seeds: 3}\n"
    config = read_run_file(write(tmp_path, text)).config
    assert config.proxy.rungs == (40, 120, 360)
    assert config.proxy.recipe() == recipes.load("proxy", iterations=40, schedule="wsd")
    assert (config.search.reduction_factor, config.search.final_seeds) == (4, 3)


@pytest.mark.parametrize(
    ("proxy", "message"),
    [
        ("{iterations: [100, 100]}", "must grow from one rung to the next"),
        ("{iterations: []}", "must grow from one rung to the next"),
        ("{iterations: [100, soon]}", "'soon' is not a whole number"),
        ("{iterations: [10, 20], schedule: poly}", "'poly' ends for good, several rungs need 'wsd'"),
    ],
)
def test_rungs_that_cannot_be(tmp_path: Path, proxy: str, message: str) -> None:
    with pytest.raises(UserError, match=r"run.yaml:2: proxy\..*" + re.escape(message)):
        read_run_file(write(tmp_path, f"space: tiny\nproxy: {proxy}\n"))


def test_mask_values_may_be_keys_of_classes_alone(tmp_path: Path) -> None:
    text = "space: tiny\ndata:\n  kind: ade20k\n  root: x\n  classes: {0: background, 255: object}\n  ignore: [7]\n"
    data = read_run_file(write(tmp_path, text)).config.data
    assert data.classes == {0: "background", 255: "object"} and data.ignore == (7,)
    for old, new, message in (
        ("255:", "65536:", r"run.yaml:5: data.classes"),
        ("  ignore: [7]", "  background: b", r"run.yaml:2: data: 'background' beside 'classes' by value"),
        ("ignore: [7]", "scenes: {7: 2}", r"run.yaml:6: data.scenes.7: '7' is not a word"),
    ):
        with pytest.raises(UserError, match=message):
            read_run_file(write(tmp_path, text.replace(old, new)))


def test_paths_are_relative_to_the_run_file(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("not read here")
    config = read_run_file(write(tmp_path, "space: mine.yaml\ndata: {kind: ade20k, root: ../images}\n")).config
    assert config.space == str(tmp_path / "mine.yaml")
    assert config.data.root == (tmp_path.parent / "images").resolve()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("space: tiny", "space: tinny", "run.yaml:1: space: 'tinny' is neither .* did you mean 'tiny'"),
        ("space: tiny\n", "", "run.yaml: space: missing"),
        ("budgets:", "budget:", "run.yaml:4: budget: unknown key; did you mean 'budgets'"),
        ("  params: 50%", "  parms: 50%", "run.yaml:6: budgets.parms: unknown budget; did you mean 'params'"),
        ("{kind: scenes, size", "{kind: ade20k, root: away, size", r"run.yaml:2: data: .*/away: no such data folder"),
        ("objectives: [miou, macs]", "objectives: miou", "run.yaml:3: objectives: 'miou' must be a list"),
        ("trials: 7", "trials: eight", "run.yaml:9: search.trials: 'eight' must be a whole number"),
        ("trials: 7", "trials: {a: 1}", r"run.yaml:9: search.trials: \{a: 1\} must be a whole number"),
        ("trials: 7", "trials:", "run.yaml:9: search.trials: nothing must be a whole number"),
        ("params: 50%", "params: lots", "run.yaml:6: budgets.params: 'lots' is not a limit, allowed"),
        ("  baseline: segformer_b0\n", "", "run.yaml:5: budgets.params: '50%' is a share, which needs"),
        ("  params: 50%\n  macs: 5M\n", "", "run.yaml:4: budgets: a baseline alone limits nothing; add params"),
        ("seed: 4", "seed: 4294967296", "run.yaml:9: search.seed: 4294967296 should be less than or equal to"),
        ("segformer_b0", "segformer_b9", "run.yaml:5: budgets.baseline: unknown preset .* did you mean"),
        (
            "params: 50%",
            "counted: training",
            "run.yaml:6: budgets.counted: unknown 'training'; did you mean 'trained'",
        ),
        (
            "params: 50%",
            "counted: [training]",
            r"run.yaml:6: budgets.counted: unknown \['training'\]; did you mean",
        ),
        (
            "space: tiny",
            "space: boostformer_b2",
            r"run.yaml:1: space: boostformer_b2 at 32x64: stages\.0\.mixer\.efficient_attention: .* larger than the",
        ),
        ("params: 50%", "params: 100", r"run.yaml:4: budgets: no network of the space fits; .* params \(limit 100"),
        (
            "tegy: nsga2",
            "tegy: nsga3",
            "run.yaml:9: search.strategy: unknown 'nsga3'; did you mean 'nsga2'",
        ),
        ("trials: 7", "trial: 7", "run.yaml:9: search.trial: unknown key; did you mean 'trials'"),
        ("trials: 7", "trials: 0", "run.yaml:9: search.trials: 0 should be greater"),
        ("iterations: 10", "iteration: 10", "run.yaml:8: proxy.iteration: unknown key; did you mean"),
        ("iterations: 10", "iterations: few", "run.yaml:8: proxy.iterations: 'few'"),
        ("iterations: 10", "iterations: 10, lr: 0", "run.yaml:8: proxy.lr: 0 should be greater than 0"),
        ("{iterations: 10, batch_size: 2}", "short", "run.yaml:8: proxy: 'short' must be keys with values"),
        ("kind: scenes", "kind: scene", "run.yaml:2: data.kind: unknown 'scene'; did you mean 'scenes'"),
        ("training: 4", "training: 4, test: 2", "run.yaml:2: data.scenes.test: unknown key"),
        ("32x64", "32 64", "run.yaml:2: data.size: '32 64' is not a size"),
        ("[miou, macs]", "[miou, mac]", "run.yaml:3: objectives.1: unknown objective 'mac'; did you mean 'macs'"),
        ("[miou, macs]", "[macs]", "run.yaml:3: objectives: 'miou' must be among them"),
        ("[miou, macs]", "[miou, miou]", "run.yaml:3: objectives.1: 'miou' is listed twice"),
        ("search:", "space:", "run.yaml:9: space: given twice, first on line 1"),
        ("[miou, macs]", "[miou, macs", "run.yaml:4: not YAML"),
        ("[miou, macs]", "&loop [*loop]", "run.yaml:3: objectives.0: contains itself"),
        ("seed: 4", "seed: !!bool 4", "run.yaml:9: search.seed: '4' cannot be read as a value"),
        ("[miou, macs]", "!mine [miou]", "run.yaml:3: objectives: is not a list"),
    ],
)
def test_mistakes_are_one_line_that_names_the_place(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(UserError, match=message) as caught:
        resolve(write(tmp_path, GOOD.replace(old, new)))
    assert "\n" not in str(caught.value)


def test_files_that_are_no_run_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_run_file(tmp_path / "run.yaml")
    with pytest.raises(UserError, match="not a mapping"):
        read_run_file(write(tmp_path, "- 1\n"))
    (tmp_path / "run.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not UTF-8"):
        read_run_file(tmp_path / "run.yaml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "latency: {device: jetson-nano}\n",
            "",
            r"run\.yaml:3: objectives: latency_ms needs a device; add `latency: {dev",
        ),
        ("[miou, latency_ms]", "[miou]", r"run\.yaml:10: latency: neither objectives nor budgets name latency_ms"),
        (
            "jetson-nano",
            "jetson-nono",
            r"run\.yaml:10: latency\.device: unknown device 'jetson-nono'; did you mean 'jetson-nan",
        ),
        (
            "device: jetson-nano",
            "devise: jetson-nano",
            r"run\.yaml:10: latency\.devise: unknown key; did you mean 'device'",
        ),
        ("jetson-nano}", "jetson-nano, threads: 2}", r"run\.yaml:10: latency\.threads: unknown key; allowed: device"),
        ("{device: jetson-nano}", "{}", r"run\.yaml:10: latency\.device: missing"),
        ("{device: jetson-nano}", "jetson-nano", r"run\.yaml:10: latency: 'jetson-nano' must be keys with values"),
        ("jetson-nano", "[host]", r"run\.yaml:10: latency\.device: \['host'\] must be a text"),
        (
            "latency_ms]",
            "latency]",
            r"run\.yaml:3: objectives\.1: unknown objective 'latency'; did you mean 'latency_ms'",
        ),
        (
            "params: 50%",
            "latency_ms: 20 s",
            r"run\.yaml:6: budgets\.latency_ms: '20 s' is not a limit, allowed: millisec",
        ),
        ("params: 50%", "latency_ms: 80%", r"run\.yaml:6: budgets\.latency_ms: '80%' is not a limit"),
        ("params: 50%", "latency_ms: 0.01", r"run\.yaml:4: budgets: no network .* [\d.]+ latency_ms \(limit 0.01\)"),
        (
            "jetson-nano",
            "host-table",
            r"run\.yaml:10: latency\.device: .*host\.jsonl: holds no figures; .*profile-space",
        ),
        (
            "jetson-nano",
            "mine",
            r"run\.yaml:10: latency\.device: board: unknown 'jetson-nona'; did you mean 'jetson-nano'",
        ),
    ],
)
def test_mistakes_about_latency_are_one_line_too(here: Path, old: str, new: str, message: str) -> None:
    assert old in NANO
    (here / "devices.yaml").write_text("mine: {kind: estimate, board: jetson-nona}\n")
    with pytest.raises(UserError, match=message) as caught:
        resolve(write(here, NANO.replace(old, new)))
    assert "\n" not in str(caught.value)


def test_a_budget_in_milliseconds_needs_a_device_too(here: Path) -> None:
    with pytest.raises(UserError, match=r"run\.yaml:4: budgets: latency_ms needs a device"):
        resolve(write(here, FEW.replace("params: 50%", "latency_ms: 20 ms")))


def test_a_mistake_in_the_devices_file_names_both_files(here: Path) -> None:
    (here / "devices.yaml").write_text("mine: {kind: host, threats: 2}\n")
    with pytest.raises(UserError, match=r"run\.yaml:10: latency\.device: devices\.yaml:1: mine\.threats: unknown key"):
        resolve(write(here, NANO))
