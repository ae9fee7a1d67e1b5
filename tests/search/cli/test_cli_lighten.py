"""`lighten`, from a trained network to the table, and `retrain`, which goes on from what a search has trained."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import Forked
from safetensors.torch import load_file

from boostformer.architecture import Architecture
from boostformer.data import DataConfig
from boostformer.errors import UserError
from boostformer.figures import Figure, Latency, Provenance
from boostformer.model import BoostFormer, Classifier
from boostformer.training import TrainingFailure
from boostformer.weights import checkpoint
from evaluators.costs.table import CostTable
from evaluators.proxy import Proxy, Score
from results.run import read_run
from search.cli import side_by_side
from search.cli.lightening import Folder, Limits, Wish, write_files
from search.config.run_file import read_run_file
from search_space import read_space

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
SHORT = ["--trial-iterations", 2, "--batch-size", 2, "--iterations", 4, "--workers", 1]
LIGHTEN = ["lighten", "net", "--macs", "80%", "--params", "90%", "--out", "out", "--trials", 3, *SHORT, "--screen", 8]


@pytest.fixture(scope="module")
def folder(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained network, `net`, which knows its data."""
    made = tmp_path_factory.mktemp("lightened")
    (made / "net").symlink_to(trained / "net")
    return made


@pytest.fixture(scope="module")
def lightened(folder: Path, run_cli: Cli) -> subprocess.CompletedProcess[str]:
    """Lighten a network as a whole, into `out`, and give what was said."""
    done = run_cli(*LIGHTEN, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done


def nets(out: Path) -> list[Path]:
    return sorted(out.glob("net-*"))


def test_a_lightening_whose_networks_all_fail_says_why(
    folder: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def evaluate(*arguments: Any, **how: Any) -> Score:
        raise TrainingFailure("diverged", "the loss is 9000")

    monkeypatch.setattr(Proxy, "evaluate", evaluate)
    command = [*LIGHTEN]
    command[command.index("out")] = "failing"
    done = run_cli(*command, "--no-teacher", cwd=folder)
    assert done.returncode == 1, done.stderr
    assert "failing/search: every network failed, most often: diverged" in done.stderr
    assert not nets(folder / "failing")


# What is asked for, and the files


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ([], "nothing is to be lighter: give --macs or --params or --latency, such as --macs 60%"),
        (["--macs", "100%"], "--macs: 100% is not lighter; allowed: a share below 100%"),
        (["--params", "few"], "--params: 'few' is not a limit; allowed: a share of the network's own, such as 60%, or"),
        (
            ["--latency", "20 s", "--device", "host"],
            "--latency: '20 s' is not a limit; allowed: a share of the network",
        ),
        (["--latency", "80%"], "--latency: --device is missing"),
        (["--macs", "9G"], "net: is within these limits already (macs "),
        (["--macs", "50%", "--teacher", "net", "--no-teacher"], "--teacher, --no-teacher: give one of them"),
        (
            ["--macs", "50%", "--space", "tyni"],
            "--space: tyni: neither a file nor a shipped space; did you mean",
        ),
        (["--macs", "50%", "--data", "nowhere"], "--data: 'nowhere' is not a folder"),
        (["--macs", "50%", "--out", "net"], "net: holds other files ("),
        (["--latency", "80%", "--device", "nonsense"], "unknown device 'nonsense'; allowed: host"),
    ],
)
def test_mistakes_are_one_line(folder: Path, run_cli: Cli, options: list[str], line: str) -> None:
    before = sorted(folder.iterdir())
    done = run_cli("lighten", "net", *options, cwd=folder)
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.startswith(f"error: {line}") and done.stderr.count("\n") == 1
    assert sorted(folder.iterdir()) == before


def test_an_encoder_is_not_lightened(folder: Path, tmp_path: Path, run_cli: Cli) -> None:
    model = Classifier(checkpoint.read_config(folder / "net").architecture)
    model.labels = ["a", "b", "c"]
    model.save_pretrained(tmp_path / "encoder")
    done = run_cli("lighten", "encoder", "--macs", "50%", cwd=tmp_path)
    assert done.returncode == 2
    assert "encoder: holds a classifier, a trained segmenter is needed here: `boostformer train" in done.stderr


def wish(folder: Path, data: DataConfig, device: str | None = None, **limits: str) -> Wish:
    config = checkpoint.read_config(folder / "net")
    return Wish(folder / "net", config, data, Limits(limits), device, None, {"iterations": 7}, 12, 3)


@pytest.mark.parametrize(
    "data",
    [
        {"size": "64x96"},
        {"kind": "ade20k", "classes": {1: "red", 2: "it is: green"}, "ignore": [0, 3], "size": "64x96"},
        {"colours": {"#804080": "grün", "#000000": "sky, or so"}, "fit": "tile", "overlap": 0.5, "size": "64x96"},
        {"images": "raw/{split}/*.tif", "masks": "masks/{stem}.png", "bands": 4, "levels": [0, 4095], "size": "64x96"},
    ],
)
def test_the_files_read_back(folder: Path, tmp_path: Path, data: dict[str, Any]) -> None:
    (tmp_path / "data").mkdir()
    images = DataConfig(root=tmp_path / "data", **data)
    write_files(Folder(tmp_path / "out", {}), wish(folder, images, macs="60%", params="3k"))
    config = read_run_file(tmp_path / "out" / "run.yaml").config
    assert config.data == images
    assert config.objectives == ["miou"], "lighter than asked is worth nothing"
    assert config.budgets.baseline == "start"
    assert {name: limit.number for name, limit in config.budgets.limits.items()} == {"params": 3000, "macs": 60}
    assert (config.search.trials, config.search.seed, config.proxy.rungs, config.proxy.seed) == (12, 3, (7,), 3)
    assert config.search.start == str((folder / "net").resolve())
    assert checkpoint.read_config(folder / "net").architecture in read_space(config.space)


def test_a_share_of_the_latency_is_of_the_starts_own(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Latency(Figure(12.5, 12.0, 13.0), Provenance("measured", "engine 1", "board", "fp16"))
    asked: list[Any] = []

    def latencies(configs: dict[str, Any], device: str) -> dict[str, Latency]:
        asked.append((device, [config.architecture for config in configs.values()]))
        return dict.fromkeys(configs, known)

    monkeypatch.setattr(side_by_side, "latencies", latencies)
    images = DataConfig(kind="scenes", size=(64, 96))
    write_files(Folder(tmp_path / "out", {}), wish(folder, images, "nano", latency_ms="80%"))
    config = read_run_file(tmp_path / "out" / "run.yaml").config
    assert asked == [("nano", [checkpoint.read_config(folder / "net").architecture])]
    assert config.budgets.limits["latency_ms"].number == 10.0 and config.budgets.baseline is None
    assert config.latency is not None and config.latency.device == "nano"
    assert "12.5 ms (measured: engine 1, board, fp16)" in (tmp_path / "out" / "run.yaml").read_text()
    with pytest.raises(UserError, match=r"is within these limits already \(latency_ms 12.5\)"):
        write_files(Folder(tmp_path / "out", {}), wish(folder, images, "nano", latency_ms="13"))


def test_until_the_search_begins_something_else_may_be_asked_for(folder: Path, tmp_path: Path) -> None:
    out, images = tmp_path / "out", DataConfig(kind="scenes", size=(64, 96))
    first, second = (wish(folder, images, macs=macs) for macs in ("60%", "50%"))
    assert not Folder(out, first.asked()).is_set_up()
    write_files(Folder(out, first.asked()), first)
    assert Folder(out, first.asked()).is_set_up() and not Folder(out, second.asked()).is_set_up()
    (out / "search").mkdir()
    (out / "search" / "journal.log").touch()
    with pytest.raises(UserError, match="with other options: macs is 60% there, 50% here; choose another --out"):
        Folder(out, second.asked()).is_set_up()
    (out / "lighten.json").write_text("[]")
    with pytest.raises(UserError, match=r"lighten.json: not written by this version"):
        Folder(out, first.asked()).is_set_up()


# The whole


@pytest.mark.slow
def test_a_lightening_from_the_network_to_the_table(folder: Path, lightened: subprocess.CompletedProcess[str]) -> None:
    (net,) = nets(folder / "out")
    for said in (
        "at the end the best is trained for 4 iterations of 2, taught by net: at most about",
        "screen   8 networks of 10 iterations each, before any is trained longer: about",
        "8/8 networks screened, best mIoU ",
        "[3/3]",
        "goes on from the weights of trial",
        "teacher net: ",
        "written: out/table.md and .json",
    ):
        assert said in lightened.stderr
    assert "fewer deployed MACs" in lightened.stdout

    found = json.loads((folder / "out" / "table.json").read_text())
    before, after = found["networks"]
    assert [before["network"], after["network"]] == ["net", net.name]
    start, lighter = (checkpoint.read_config(path).architecture for path in (folder / "net", net))
    own, less = CostTable().cost(start), CostTable().cost(lighter)
    assert less.macs <= 0.8 * own.macs and less.params <= 0.9 * own.params
    assert after["deployed_macs_reduction_percent"] == pytest.approx(100 * (1 - less.macs / own.macs))
    assert after["deployed_params_reduction_percent"] == pytest.approx(100 * (1 - less.params / own.params))
    assert after["miou_gain_points"] == pytest.approx(100 * (after["miou"] - before["miou"]))
    assert not found["differences"] and found["scores"] == "evaluated" and found["split"] == "validation"
    assert (folder / "out" / "table.md").read_text().startswith("| network ")

    run = read_run(folder / "out" / "search")
    screened = [Architecture.from_dict(values, "screened").id for values in run.config["screened"]]
    assert screened and [trial.id for trial in run.trials][: len(screened)] == screened[: len(run.trials)]
    told = checkpoint.read_config(net).provenance
    (chosen,) = [trial for trial in run.trials if trial.number == told["searched"]["trial"]]
    assert chosen.miou == max(trial.miou for trial in run.trials if trial.feasible)  # type: ignore[type-var]
    assert told["initialised_from"]["sha256"] == chosen.weights
    assert told["teacher"]["sha256"] == checkpoint.read_config(folder / "net").weights_sha256
    lineage = told["searched"]["lineage"]
    assert lineage["start"]["sha256"] == checkpoint.read_config(folder / "net").weights_sha256
    assert lineage["changes"] and lineage["iterations"] == chosen.behind
    assert f"inherited its weights: net → trial {lineage['trials'][0]['trial']}" in (net / "README.md").read_text()
    assert after["miou"] == pytest.approx(told["metrics"]["miou"])


@pytest.mark.slow
def test_the_same_command_again_trains_nothing_and_more_trials_go_on(
    folder: Path, lightened: subprocess.CompletedProcess[str], run_cli: Cli
) -> None:
    (net,) = nets(folder / "out")
    table, weights = (folder / "out" / "table.json").read_text(), checkpoint.sha256(net / "model.safetensors")
    again = run_cli(*LIGHTEN, cwd=folder)
    assert again.returncode == 0 and "is trained already" in again.stderr and "screen" not in again.stderr
    assert (folder / "out" / "table.json").read_text() == table
    assert checkpoint.sha256(net / "model.safetensors") == weights and nets(folder / "out") == [net]
    other = run_cli(*LIGHTEN, "--macs", "70%", cwd=folder)
    assert other.returncode == 2
    assert (
        other.stderr == "error: out: was begun with other options: macs is 80% there, 70% here; choose another --out\n"
    )
    longer = run_cli(*LIGHTEN, "--iterations", 5, cwd=folder)
    assert longer.returncode == 2
    assert "was trained by another recipe: iterations is 4 there, 5 here; move it away" in longer.stderr
    untaught = run_cli(*LIGHTEN, "--no-teacher", cwd=folder)
    assert untaught.returncode == 2
    assert "was trained with another teacher: " in untaught.stderr and "there, none here; move it" in untaught.stderr
    more = run_cli(*LIGHTEN, "--trials", 4, cwd=folder)
    assert more.returncode == 0 and "[4/4]" in more.stderr
    assert len(read_run(folder / "out" / "search").trials) == 4


@pytest.mark.slow
def test_what_was_written_may_be_changed_before_the_search(folder: Path, run_cli: Cli) -> None:
    command = [*LIGHTEN, "--out", "edited", "--no-teacher"]
    dry = run_cli(*command, "--dry-run", cwd=folder)
    assert dry.returncode == 0 and "3 to do" in dry.stderr and "taught by" not in dry.stderr
    assert "8 networks of 10 iterations each" in dry.stderr and "tried first" not in dry.stderr
    assert sorted(path.name for path in (folder / "edited").iterdir()) == ["lighten.json", "run.yaml", "space.yaml"]
    run_file = folder / "edited" / "run.yaml"
    run_file.write_text(run_file.read_text().replace("seed: 0", "seed: 0, strategy: random"))
    done = run_cli(*command, "--trials", 1, cwd=folder)
    assert done.returncode == 0 and "random, seed 0" in done.stderr and "tried first" in done.stderr
    (net,) = nets(folder / "edited")
    assert checkpoint.read_config(net).provenance["teacher"] is None


@pytest.mark.slow
@pytest.mark.parametrize("until", ["[1/2]", "1/4 iterations"])
def test_a_killed_lightening_is_finished_by_the_same_command(folder: Path, run_cli: Cli, until: str) -> None:
    name = "killed-search" if until == "[1/2]" else "killed-training"
    command = [*LIGHTEN, "--out", name, "--trials", 2]
    process = Forked(
        ["search.cli", *map(str, command)],
        cwd=folder,
        env=os.environ | {"NO_COLOR": "1", "TERM": "dumb"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        assert process.stderr is not None
        assert any(until in line for line in process.stderr)
        os.killpg(process.pid, signal.SIGKILL)
    assert not (folder / name / "table.json").exists()
    done = run_cli(*command, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / name / "table.json").read_text())["networks"]
    assert sum(trial.is_finished for trial in read_run(folder / name / "search").trials) == 2


@pytest.mark.slow
def test_a_network_of_transformers_is_lightened_under_its_licence(tmp_path: Path, trained: Path, run_cli: Cli) -> None:
    transformers = pytest.importorskip("transformers")
    names = (trained / "data" / "classes.txt").read_text().split()
    config = transformers.SegformerConfig(
        hidden_sizes=[16, 16, 16, 16],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 1, 1, 1],
        decoder_hidden_size=16,
        id2label=dict(enumerate(names)),
        label2id={name: number for number, name in enumerate(names)},
    )
    transformers.SegformerForSemanticSegmentation(config).save_pretrained(tmp_path / "theirs")
    (tmp_path / "theirs" / "README.md").write_text("---\nlicense: other\nlicense_name: theirs\n---\nA card.\n")
    options = ["--data", trained / "data", "--size", "64x96", "--macs", "70%", "--out", "out", "--trials", 1, *SHORT]
    done = run_cli("lighten", "theirs", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (net,) = nets(tmp_path / "out")
    assert "theirs" in checkpoint.read_config(net).provenance["initialised_from"]["licence"]
    assert checkpoint.is_ours(tmp_path / "out" / "start")
    transformers.SegformerForSemanticSegmentation(config).save_pretrained(tmp_path / "theirs")  # other random weights
    changed = run_cli("lighten", "theirs", *options, cwd=tmp_path)
    assert changed.returncode == 2
    assert changed.stderr == (
        "error: theirs: its weights are not those that out/start was read from; choose another --out\n"
    )


# Retraining what a search has trained


@pytest.mark.slow
def test_retrain_goes_on_from_the_lineages_weights_unless_told(
    folder: Path, lightened: subprocess.CompletedProcess[str], run_cli: Cli
) -> None:
    how = ["retrain", "out/search", "--pick", "best-miou", "--iterations", 1, "--lr", 1e-12]
    went_on = run_cli(*how, "--out", "went-on", cwd=folder)
    assert went_on.returncode == 0 and "goes on from the weights of trial" in went_on.stderr
    scratch = run_cli(*how, "--from-scratch", "--out", "scratch", cwd=folder)
    assert scratch.returncode == 0 and "starts from scratch" in scratch.stderr

    run = read_run(folder / "out" / "search")
    number = checkpoint.read_config(folder / "went-on").provenance["searched"]["trial"]
    (chosen,) = [trial for trial in run.trials if trial.number == number]
    kept = load_file(folder / "out" / "search" / "weights" / f"{chosen.weights}.safetensors")
    model = BoostFormer.load(folder / "went-on").state_dict()
    weight = next(name for name in model if name.endswith("classifier.weight"))
    assert torch.allclose(model[weight], kept[weight], atol=1e-6)  # hardly a step was made
    assert not torch.allclose(BoostFormer.load(folder / "scratch").state_dict()[weight], kept[weight], atol=1e-3)
    assert checkpoint.read_config(folder / "scratch").provenance["initialised_from"] is None
    assert Architecture.from_dict(chosen.architecture).id == chosen.id
    assert {found.provenance.partition(", from ")[2] for found in run.retrainings} > {"scratch"}

    both = run_cli(*how, "--from-scratch", "--init", "net", "--out", "x", cwd=folder)
    assert both.returncode == 2 and both.stderr == "error: --init, --from-scratch: give one of them\n"


@pytest.mark.slow
def test_lost_weights_are_not_passed_over(
    folder: Path, lightened: subprocess.CompletedProcess[str], run_cli: Cli, tmp_path: Path
) -> None:
    weights = folder / "out" / "search" / "weights"
    weights.rename(tmp_path / "away")
    try:
        done = run_cli("retrain", "out/search", "--iterations", 1, "--out", "lost", cwd=folder)
    finally:
        (tmp_path / "away").rename(weights)
    assert done.returncode == 2 and "are gone" in done.stderr and "--from-scratch" in done.stderr
    assert not (folder / "lost").exists()
