"""The command `report`: pages of runs and trainings, pictures where weights are at hand, and refusals."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from boostformer.weights import checkpoint
from results.history import read_history

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
RUN = """\
space: tiny
data: {kind: scenes, size: 32x64, scenes: {training: 6, validation: 4}}
budgets: {params: 60k, macs: 6M}
proxy: {iterations: 2, batch_size: 2}
search: {trials: 3, strategy: random, inherit: always}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, run_cli: Cli) -> Path:
    """A folder with a run of three networks, whose weights were kept."""
    folder = tmp_path_factory.mktemp("searched")
    (folder / "run.yaml").write_text(RUN)
    done = run_cli("search", "run.yaml", "--out", "run", "--workers", 1, cwd=folder)
    assert done.returncode == 0 and "boostformer report run" in done.stderr, done.stderr
    return folder


def document_of(page: Path) -> dict[str, Any]:
    text = page.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="document">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    document: dict[str, Any] = json.loads(found[1])
    return document


def card(document: dict[str, Any], kind: str) -> dict[str, Any]:
    return next(card for card in document["cards"] if card["kind"] == kind)


def test_a_run_has_a_page_with_pictures(folder: Path, run_cli: Cli) -> None:
    done = run_cli("report", "run", cwd=folder)
    assert done.returncode == 0 and not done.stdout and "written: run/report.html" in done.stderr
    document = document_of(folder / "run" / "report.html")
    assert document["title"] == "Search run" and len(document["trials"]["rows"]) == 3
    seen = card(document, "predictions")
    assert all(len(row["images"]) == 2 + len(seen["networks"]) for row in seen["rows"]) and seen["networks"]
    assert all(image.startswith("data:image/jpeg;base64,") for row in seen["rows"] for image in row["images"])
    assert len(card(document, "data")["samples"]) == 8
    assert not (folder / "run" / "curves").exists() or not list((folder / "run" / "curves").iterdir())


def test_without_pictures_the_data_are_not_opened(folder: Path, run_cli: Cli, tmp_path: Path) -> None:
    done = run_cli("report", "run", "--no-pictures", "--out", tmp_path / "new.html", cwd=folder)
    assert done.returncode == 0, done.stderr
    kinds = [card["kind"] for card in document_of(tmp_path / "new.html")["cards"]]
    assert "predictions" not in kinds and "data" in kinds


def test_runs_are_held_beside_each_other_if_they_can_be(folder: Path, run_cli: Cli, tmp_path: Path) -> None:
    shutil.copytree(folder / "run", tmp_path / "other")
    out = ("--no-pictures", "--out", tmp_path / "new.html")
    done = run_cli("report", "run", "--against", tmp_path / "other", *out, cwd=folder)
    assert done.returncode == 0, done.stderr
    curves = card(document_of(tmp_path / "new.html"), "progress")["curves"]
    assert [curve["name"] for curve in curves] == ["this search", "other"]
    (tmp_path / "run.yaml").write_text(RUN.replace("iterations: 2", "iterations: 3"))
    run_cli("search", tmp_path / "run.yaml", "--out", tmp_path / "third", "--workers", 0)
    done = run_cli("report", "run", "--against", tmp_path / "third", *out, cwd=folder)
    assert done.returncode == 2 and "proxy.iterations is 2 there, 3 here" in done.stderr


def test_data_that_are_gone_are_said_to_be(folder: Path, run_cli: Cli, tmp_path: Path) -> None:
    from coloured_data import write_coloured

    write_coloured(tmp_path / "data")
    text = re.sub("data: {.*}\n", "data: {root: data, size: 32x64}\n", RUN).replace("trials: 3", "trials: 1")
    (tmp_path / "run.yaml").write_text(text)
    assert run_cli("search", "run.yaml", "--out", "run", "--workers", 1, cwd=tmp_path).returncode == 0
    shutil.rmtree(tmp_path / "data")
    assert run_cli("report", "run", cwd=tmp_path).returncode == 0
    found = card(document_of(tmp_path / "run" / "report.html"), "data")
    assert found["samples"] == [] and "no such data folder" in found["remark"]


def test_networks_that_were_trained_in_full_are_found(folder: Path, run_cli: Cli, tmp_path: Path) -> None:
    """In the folder of the run, beside it, or, as here, where one works."""
    shutil.copytree(folder / "run", tmp_path / "runs" / "run")
    done = run_cli("retrain", "runs/run", "--pick", "best-miou", "--iterations", 4, "--out", "net", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert run_cli("report", "runs/run", cwd=tmp_path).returncode == 0
    document = document_of(tmp_path / "runs" / "run" / "report.html")
    assert "trained in full: net" in [one["about"] for one in card(document, "predictions")["networks"]]
    for net in ("net", "net/best"):
        assert run_cli("report", net, cwd=tmp_path).returncode == 0
        document = document_of(tmp_path / net / "report.html")
        assert card(document, "pictures")["pictures"][0]["name"] == "samples.png"
        assert card(document, "curves")["panels"]


def test_every_training_leaves_curves_and_samples(trained: Path) -> None:
    net = trained / "net"
    assert read_history(net)[-1]["iteration"] == 8
    for place in (net, net / "best"):
        assert checkpoint.is_ours(place)
        for name in ("curves.png", "samples.png"):
            assert (place / name).read_bytes().startswith(b"\x89PNG")


def test_a_training_that_has_no_checkpoint_yet_has_curves(run_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("iteration,loss,lr,miou\n10,2.5,0.1,\n")
    assert run_cli("report", tmp_path).returncode == 0
    assert document_of(tmp_path / "report.html")["tiles"] == [["iterations", "10"]]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["."], "neither a run nor a training"),
        (["nowhere"], "neither a run nor a training"),
        ([".", "--live"], "--live"),
        (["run", "--live", "--out", "x.html"], "--live"),
        (["run", "--port", 8000], "--port"),
        ([".", "--against", "run"], "--against"),
        (["run", "--against", "."], "."),
        (["run", "--no-pictures", "--out", "none/x.html"], "none/x.html"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(folder: Path, run_cli: Cli, arguments: list[Any], why: str) -> None:
    done = run_cli("report", *arguments, cwd=folder)
    assert done.returncode == 2 and why in done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_run_is_followed_until_it_is_stopped(folder: Path) -> None:
    command = [sys.executable, "-m", "search.cli", "report", str(folder / "run"), "--live"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]) as process:
        assert process.stderr is not None
        try:
            line = process.stderr.readline()
            address = re.match(r"http://127\.0\.0\.1:\d+/", line)
            assert address is not None, line
            with urlopen(address[0]) as answer:
                assert b'"live":true' in answer.read()
        finally:
            process.terminate()
        assert process.wait(timeout=30) == 130
