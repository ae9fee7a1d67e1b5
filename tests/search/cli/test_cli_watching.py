"""What a training in full shows and leaves: its log, the best network, what a longer one goes on from."""

from __future__ import annotations

import csv
import dataclasses
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from coloured_data import write_coloured
from PIL import Image

from boostformer import recipes
from boostformer.data import DataConfig, open_split
from boostformer.model import BoostFormer
from boostformer.training import Metrics, evaluate
from boostformer.training.log import Standing
from boostformer.training.scores import scores
from boostformer.training.validation import Best
from search.cli.full_training import watched
from search.cli.sitting import described

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
TRAIN = ("train", "boostformer_b0", "--data", "data", "--size", "32x64", "--batch-size", 2, "--threads", 1)


@pytest.fixture
def train(tmp_path: Path, run_cli: Cli) -> Cli:
    """Trains in a folder with data."""
    write_coloured(tmp_path / "data", training=3, validation=2)

    def run(*options: object) -> subprocess.CompletedProcess[str]:
        done = run_cli(*TRAIN, "--out", "net", *options, cwd=tmp_path, BOOSTFORMER_CACHE=str(tmp_path / "cache"))
        return done

    return run


def log_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_best_network_is_kept_with_its_score(tmp_path: Path, train: Cli) -> None:
    done = train("--iterations", 6, "--set", "validate_every=2", "--set", "ema=0.5")
    assert done.returncode == 0, done.stderr
    rows = log_of(tmp_path / "net")
    assert [row["iteration"] for row in rows] == ["2", "4", "6"]
    scored = {int(row["iteration"]): float(row["miou"]) for row in rows}
    last, best = (BoostFormer.load(tmp_path / "net" / name) for name in (".", "best"))
    iteration = best.provenance["best"]["iteration"]
    assert scored[iteration] == max(scored.values()) == best.provenance["metrics"]["miou"]
    assert "validation images" in best.provenance["best"]["chosen"] and "best" not in last.provenance
    assert last.provenance["metrics"]["miou"] == scored[6]
    assert last.provenance["recipe"]["validate_every"] == 2
    validation = open_split(DataConfig(kind="ade20k", root=tmp_path / "data", size=(32, 64)), "validation")
    assert evaluate(best, validation, size=(32, 64)).miou == scored[iteration]
    assert f"after iteration {iteration}; saved in net/best" in done.stderr
    for folder, miou in (("net", scored[6]), ("net/best", scored[iteration])):
        card = (tmp_path / folder / "README.md").read_text()
        assert f"mIoU {miou:.2%}" in card and "moving average" in card and "`from-scratch`: 6 iterations" in card
        assert f"{last.provenance['costs']['deployed']['macs']:,} multiply-adds" in card
        with Image.open(tmp_path / folder / "overlay.png") as picture:
            assert picture.width > 3 * 32 and (tmp_path / folder / "overlay.png").stat().st_size < 200_000
    assert list((tmp_path / "net/logs").iterdir())


def test_a_finished_training_is_carried_on(tmp_path: Path, train: Cli) -> None:
    stable = ("--set", "schedule=wsd", "--log", "none")
    assert train(*stable, "--iterations", 5).returncode == 0
    assert not (tmp_path / "net/logs").exists()
    refused = train(*stable, "--iterations", 5)
    assert refused.returncode == 2 and "with schedule wsd and more than " in refused.stderr
    longer = train(*stable, "--iterations", 10)
    assert longer.returncode == 0, longer.stderr
    assert "goes on from the training of 5 iterations in net" in longer.stderr
    assert "resumed after iteration 4" in longer.stderr
    net = BoostFormer.load(tmp_path / "net")
    assert (net.provenance["training"]["iterations"], net.provenance["training"]["resumed_from"]) == (10, 4)
    assert [path.name for path in (tmp_path / "net/training-state").iterdir()] == ["iteration-00000008"]
    other = train(*stable, "--iterations", 20, "--lr", 0.5)
    assert other.returncode == 2 and "another training, with other recipe.lr" in other.stderr
    sooner = train(*stable, "--iterations", 12, "--set", "decay=0.9")
    assert sooner.returncode == 2 and "already holds" in sooner.stderr, "its rate falls before the kept state"


@pytest.mark.parametrize(
    ("options", "said"),
    [(("--log", "tensorbord"), "unknown tracker 'tensorbord'"), (("--set", "patience=0"), "--set patience")],
)
def test_mistakes_are_said_before_anything_is_trained(
    tmp_path: Path, train: Cli, options: tuple[str, ...], said: str
) -> None:
    done = train(*options)
    assert done.returncode == 2 and said in done.stderr.splitlines()[-1]
    assert not (tmp_path / "net").exists()


def test_a_search_s_trainings_are_scored_at_their_end(tmp_path: Path, run_cli: Cli) -> None:
    (tmp_path / "run.yaml").write_text("space: tiny\nproxy: {validate_every: 10}\ndata: {kind: scenes, size: 32x64}\n")
    done = run_cli("search", "run.yaml", "--out", "run", cwd=tmp_path)
    assert done.returncode == 2 and "scored at their end alone" in done.stderr


def test_full_trainings_validate_by_themselves() -> None:
    every = {n: watched(recipes.load("mmseg-160k", iterations=n)).validate_every for n in (100, 5000)}
    assert every == {100: 200, 5000: 500}
    assert watched(recipes.load("mmseg-160k", validate_every=0)).validate_every == 0


def scored_at(miou: float) -> Metrics:
    found = scores(torch.eye(2), 3)
    return dataclasses.replace(found, miou=miou)


def test_the_live_line() -> None:
    metrics = scored_at(0.412)
    now = Standing(7, 10, 0.5, 1e-3, 95.2, 0.031, 512 * 2**20)
    assert described(now) == "loss 0.500, 95.2 images/s, 3% waiting for data, 512 MB"
    scored = Standing(7, 10, 0.5, 1e-3, None, None, 2**20, None, metrics, Best(5, scored_at(0.42)))
    assert described(scored) == "loss 0.500, mIoU 41.2% (best 42.0%), 1 MB"
