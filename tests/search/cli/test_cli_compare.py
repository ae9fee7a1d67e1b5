"""`compare`: stored scores and new ones, seeds, what is refused, and the forms of its table."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from coloured_data import write_coloured
from search_factories import small, table

from boostformer.figures import Figure, Latency, Provenance
from boostformer.model import BoostFormer, build


@pytest.fixture(scope="module")
def nets(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `net`, as it was trained, its seeds `net-1` and `net-2`, and a wider network `wide`."""
    folder = tmp_path_factory.mktemp("nets")
    model = BoostFormer.load(trained / "net")
    model.save_pretrained(folder / "net")
    told = model.provenance
    for seed in (1, 2):
        rescored(model, folder / f"net-{seed}", told, told["metrics"]["miou"] + 0.1 * seed, seed)
    narrow, *_, wide = small()
    assert table().cost(wide).params != table().cost(narrow).params
    network = build(wide.replace(classes=3, size=model.architecture.size))
    network.labels = model.labels
    rescored(network, folder / "wide", told, 0.7, 0)
    return folder


def rescored(model: BoostFormer, to: Path, told: dict[str, Any], miou: float, seed: int) -> None:
    """Save a network with other weights, as if it had this score."""
    with torch.no_grad():
        model.decoder.classifier.bias.add_(0.01 * (seed + 1))
    model.provenance = told | {"metrics": told["metrics"] | {"miou": miou}}
    model.save_pretrained(to)


@pytest.fixture
def compare(nets: Path, run_cli: Callable) -> Callable[..., tuple[dict[str, Any], str]]:
    def run(*options: object) -> tuple[dict[str, Any], str]:
        done = run_cli("compare", *options, "--format", "json", cwd=nets)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout), done.stderr

    return run


@pytest.fixture
def refused(nets: Path, run_cli: Callable) -> Callable[..., str]:
    def run(*options: object) -> str:
        done: subprocess.CompletedProcess[str] = run_cli("compare", *options, cwd=nets)
        assert done.returncode == 2 and not done.stdout, done.stderr
        return done.stderr.splitlines()[-1]

    return run


def changed(nets: Path, to: Path, change: Callable[[dict[str, Any]], object], name: str = "net-1") -> Path:
    """A copy of a checkpoint whose provenance is changed."""
    model = BoostFormer.load(nets / name)
    change(model.provenance)
    model.save_pretrained(to)
    return to


def test_seeds_costs_and_reductions(nets: Path, compare: Callable) -> None:
    found, said = compare("wide", "ours=net,net-1,net-2")
    wide, ours = found["networks"]
    network = BoostFormer.load(nets / "net")
    costs = table().cost(network.architecture)
    miou = network.provenance["metrics"]["miou"]
    assert (ours["network"], ours["seeds"]) == ("ours", 3) and found["baseline"] == "wide"
    assert ours["miou"] == pytest.approx(miou + 0.1) and ours["miou_std"] == pytest.approx(0.1)
    assert (ours["deployed_params"], ours["deployed_macs"]) == (costs.params, costs.macs)
    assert ours["params"] == sum(weight.numel() for weight in network.parameters())
    saved = 100 * (1 - ours["deployed_macs"] / wide["deployed_macs"])
    assert ours["deployed_macs_reduction_percent"] == pytest.approx(saved) and wide["miou"] == 0.7
    assert ours["miou_gain_points"] == pytest.approx(100 * (ours["miou"] - 0.7))
    assert [Path(one["checkpoint"]).name for one in ours["checkpoints"]] == ["net", "net-1", "net-2"]
    assert found["scores"] == "stored" and "scores that the checkpoints keep" in said
    assert ours["latency_ms"] is None and found["latency_provenance"] is None


def test_another_baseline(compare: Callable) -> None:
    found, _ = compare("net", "wide", "--baseline", "wide")
    assert found["networks"][1]["miou_gain_points"] is None and found["networks"][0]["miou_gain_points"] is not None


def test_scores_of_other_data_are_compared_only_by_force(
    tmp_path: Path, nets: Path, compare: Callable, refused: Callable
) -> None:
    other = changed(nets, tmp_path / "other", lambda told: told["content"].update(validation="elsewhere"))
    line = refused("net", other)
    assert "scores that were not made alike" in line and "elsewhere (other)" in line and "--force" in line
    found, said = compare("net", other, "--force")
    assert "by --force" in said and "elsewhere (other)" in said and len(found["differences"]) == 1
    unknown = changed(nets, tmp_path / "unknown", lambda told: told.pop("content"))
    assert "data: " in refused("net", unknown) and "unknown (unknown)" in refused("net", unknown)
    size = changed(nets, tmp_path / "size", lambda told: told["data"].update(size=[32, 32]))
    assert "size: [64, 96] (net), [32, 32] (size)" in refused("net", size)


def test_what_differs_beside_the_seed_is_said(tmp_path: Path, nets: Path, compare: Callable) -> None:
    def said(change: Callable[[dict[str, Any]], object]) -> str:
        changed(nets, tmp_path / "other", change)
        text: str = compare("wide", f"ours={nets / 'net'},{tmp_path / 'other'}")[1]
        return text

    assert "ours: two of its checkpoints have the same seed" in said(lambda told: told)
    seed = said(lambda told: told["recipe"].update(seed=5))
    assert "ours: " not in seed and "were chosen" not in seed
    longer = said(lambda told: told["recipe"].update(seed=5, iterations=99))
    assert "ours: its checkpoints differ in iterations; " in longer
    assert "differ in teacher; " in said(lambda told: told.update(teacher={"sha256": "0"}))
    best = said(lambda told: told.update(best={"iteration": 1}))
    assert "differ in chosen; " in best and "the weights of ours were chosen by their validation scores" in best


def test_scoring_anew(tmp_path: Path, nets: Path, compare: Callable, refused: Callable, run_cli: Callable) -> None:
    bare = changed(nets, tmp_path / "bare", lambda told: told.clear())
    assert "keeps no scores of its validation part; --evaluate scores it" in refused("net", bare)
    data = write_coloured(tmp_path / "data", training=2, validation=2)
    found, said = compare("net", bare, "--evaluate", "--data", data)
    assert found["scores"] == "evaluated" and "scored anew" in said and found["differences"] == []
    scored = json.loads(run_cli("evaluate", nets / "net", "--data", data, "--format", "json").stdout)
    assert found["networks"][0]["miou"] == pytest.approx(scored["miou"])
    assert found["networks"][0]["miou"] != BoostFormer.load(nets / "net").provenance["metrics"]["miou"]


def test_latencies_that_the_checkpoints_keep(tmp_path: Path, nets: Path, compare: Callable) -> None:
    def kept(ms: float, device: str) -> dict[str, Any]:
        figure = Figure(ms, ms, ms)
        return {"latency": Latency(figure, Provenance("measured", "engine", device, "fp32")).to_dict()}

    names = [("a", 4.0, "cpu"), ("b", 3.0, "cpu"), ("c", 2.0, "board")]
    for name, ms, device in names:
        changed(nets, tmp_path / name, lambda told, ms=ms, device=device: told.update(searched=kept(ms, device)))
    found, said = compare(tmp_path / "a", tmp_path / "b", "wide")
    assert [row["latency_ms"] for row in found["networks"]] == [4, 3, None]
    assert found["networks"][1]["latency_ms_reduction_percent"] == pytest.approx(25)
    assert found["latency_provenance"] == "measured: engine, cpu, fp32" and "engine, cpu" in said
    found, said = compare(tmp_path / "a", tmp_path / "c")
    assert [row["latency_ms"] for row in found["networks"]] == [None, None] and "different provenance" in said


def test_latencies_on_a_device(compare: Callable, refused: Callable) -> None:
    found, _ = compare("net", "wide", "--device", "jetson-nano")
    assert all(row["latency_ms"] > 0 for row in found["networks"])
    assert found["latency_provenance"].startswith("estimated: ")
    assert "unknown device 'nowhere'" in refused("net", "wide", "--device", "nowhere")


@pytest.mark.parametrize("fmt", ["table", "csv", "markdown", "latex"])
def test_forms(fmt: str, nets: Path, run_cli: Callable) -> None:
    done = run_cli("compare", "wide", "our_net=net,net-1", "--format", fmt, cwd=nets)
    assert done.returncode == 0, done.stderr
    if fmt == "csv":
        rows = list(csv.DictReader(done.stdout.splitlines()))
        assert [row["network"] for row in rows] == ["wide", "our_net"] and float(rows[1]["miou_std"]) > 0
    else:
        assert "mIoU" in done.stdout and " ± " in done.stdout
        assert ("our\\_net" if fmt == "latex" else "our_net") in done.stdout
        assert "relative to wide" in (done.stdout if fmt == "table" else done.stderr)


def test_arguments_are_refused(tmp_path: Path, nets: Path, refused: Callable) -> None:
    assert "two networks are named 'net'" in refused("net", "net=net-1")
    assert "two of its checkpoints have the same weights" in refused("ours=net,net")
    assert "seeds are trainings of one network" in refused("ours=net,wide")
    assert "'ours=' is no network" in refused("net", "ours=")
    assert "--baseline: unknown 'wid'; did you mean 'wide'?" in refused("net", "wide", "--baseline", "wid")
    assert "--data: is for --evaluate" in refused("net", "--data", "scenes")
    assert "--split: unknown 'val'" in refused("net", "--split", "val")
    assert "missing: not a checkpoint" in refused("missing")
    assert "keeps no scores of its test part" in refused("net", "--split", "test")
    broken = changed(nets, tmp_path / "broken", lambda told: told.update(searched={"latency": {"ms": "fast"}}))
    assert "the latency in its checkpoint's provenance cannot be read" in refused(broken)
