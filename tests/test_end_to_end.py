"""The whole way as a user walks it, its main steps each in a process of its own: search to exported network."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from forked import Forked
from PIL import Image

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
RUN = """\
space: tiny
data: {kind: scenes, size: 64x96, scenes: {training: 8, validation: 4}}
budgets: {baseline: boostformer_b0, params: 4%, macs: 6%}
proxy: {iterations: 4, batch_size: 4}
search: {trials: 3, seed: 1}
"""

STEPS = {"search", "export"}
"""What is run in a process of its own when it is walked first: between them they import all that the others do."""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ok(run_cli: Cli, spawn_cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Runs a command that must succeed, in one folder; gives its standard output."""
    folder = tmp_path_factory.mktemp("walk")
    (folder / "run.yaml").write_text(RUN)
    left = set(STEPS)

    def run(step: str, *arguments: object) -> str:
        cli = spawn_cli if step in left else run_cli
        left.discard(step)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", DeprecationWarning)  # as in a process of its own, where users see the rest
            done = cli(step, *arguments, cwd=folder)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr and "Warning" not in done.stderr
        return done.stdout

    run.folder = folder  # type: ignore[attr-defined]
    return run


@pytest.fixture(scope="module")
def walked(ok: Callable[..., str]) -> Path:
    """A finished search, and the knee of its front retrained."""
    folder: Path = ok.folder  # type: ignore[attr-defined]
    ok("search", "run.yaml", "--out", "run")
    ok("retrain", "run", "--pick", "knee", "--iterations", 6, "--out", "net")
    return folder


def test_the_front_is_within_budget_and_drawn(walked: Path, ok: Callable[..., str]) -> None:
    rows = json.loads(ok("pareto", "run", "--format", "json", "--plot", "front.png"))
    budget = json.loads(ok("profile", "boostformer_b0", "--size", "64x96", "--classes", "8", "--format", "json"))
    limits = budget["deployed"]
    assert rows
    for row in rows:
        assert row["params"] <= limits["params"] * 0.04 and row["macs"] <= limits["macs"] * 0.06
        assert 0 <= row["miou"] <= 1
        exact = json.loads(ok("profile", f"run:{row['trial']}", "--format", "json"))
        deploy = exact["deployed"]
        assert (exact["id"], deploy["params"], deploy["macs"]) == (row["id"], row["params"], row["macs"])
        assert sum(part["deployed"]["macs"] for part in exact["stages"]) == row["macs"]
        assert sum(part["macs"] for part in exact["stages"]) == exact["macs"] >= row["macs"]
    assert Image.open(walked / "front.png").size[0] > 400
    ok("report", "run")
    assert "<script src=" not in (walked / "run" / "report.html").read_text()
    assert ok("pareto", "run", "--format", "csv").splitlines()[0].startswith("trial,id,miou,params,macs,latency_ms")


def test_the_same_command_resumes_and_another_configuration_is_refused(walked: Path, run_cli: Cli) -> None:
    again = run_cli("search", "run.yaml", "--out", "run", cwd=walked)
    assert again.returncode == 0 and "3 networks finished" in again.stderr
    (walked / "other.yaml").write_text(RUN.replace("iterations: 4", "iterations: 5"))
    other = run_cli("search", "other.yaml", "--out", "run", cwd=walked)
    assert other.returncode == 2
    assert "another configuration: proxy.iterations is 4 there, 5 here" in other.stderr


def test_the_retrained_network_scores_the_same_wherever_it_is_scored(walked: Path, ok: Callable[..., str]) -> None:
    config = json.loads((walked / "net" / "config.json").read_text())
    found = json.loads(ok("evaluate", "net", "--format", "json"))
    assert found["miou"] == pytest.approx(config["provenance"]["metrics"]["miou"])
    assert found["images"] == 4
    assert list(found["per_class"]) == config["labels"]
    assert config["provenance"]["recipe"]["iterations"] == 6
    assert config["provenance"]["searched"]["trial"] in range(3)
    assert not (walked / "net" / "training-state").exists()


def test_a_checkpoint_is_not_overwritten(walked: Path, run_cli: Cli) -> None:
    done = run_cli("retrain", "run", "--out", "net", cwd=walked)
    assert done.returncode == 2
    assert done.stderr == "error: --out: net already holds a config.json; remove it or choose another folder\n"


def test_export_and_prediction_agree_with_the_network(walked: Path, ok: Callable[..., str]) -> None:
    ok("export", "net", "--out", "net.onnx")
    manifest = json.loads((walked / "net.manifest.json").read_text())
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    Image.fromarray(image).save(walked / "picture.png")
    ok("predict", "net", "picture.png", "--out", "pictures")
    labels = np.array(Image.open(walked / "pictures" / "picture.labels.png"))
    assert labels.shape == (64, 96) and labels.min() >= 1 and labels.max() <= 8
    assert Image.open(walked / "pictures" / "picture.overlay.png").size == (96, 64)
    # What the manifest says is enough to run the file elsewhere.
    entry = manifest["input"]
    pixels = (image / 255 - np.array(entry["mean"])) / np.array(entry["std"])
    session = onnxruntime.InferenceSession(str(walked / "net.onnx"), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {entry["name"]: pixels.transpose(2, 0, 1)[None].astype(np.float32)})
    assert list(logits.shape) == manifest["output"]["shape"]
    nearest = labels[2::4, 2::4] - 1  # the centres of the logits' cells, or next to them
    assert (logits[0].argmax(0) == nearest).mean() > 0.8


def test_training_starts_from_another_checkpoints_encoder(walked: Path, ok: Callable[..., str], run_cli: Cli) -> None:
    ok("train", "net", "--data", "run.yaml", "--init", "net", "--iterations", 2, "--batch-size", 2, "--out", "next")
    provenance = json.loads((walked / "next" / "config.json").read_text())["provenance"]
    assert provenance["initialised_from"]["id"] == "net"
    wrong = run_cli("train", "tiny", "--data", "run.yaml", "--out", "x", cwd=walked)
    assert wrong.returncode == 2 and "'tiny' is not a preset's name" in wrong.stderr


def test_a_training_is_stopped_and_goes_on_where_it_was(walked: Path, run_cli: Cli) -> None:
    arguments = ["train", "net", "--data", "run.yaml", "--iterations", "60", "--batch-size", "2", "--out", "long"]
    environment = os.environ | {"NO_COLOR": "1", "TERM": "dumb"}
    with Forked(["search.cli", *arguments], cwd=walked, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "6/60 iterations" in line:
                process.send_signal(signal.SIGINT)
                break
        last = process.stderr.read().splitlines()[-1]
        assert process.wait() == 130
    assert last.startswith("stopped; to go on from here: boostformer train net")
    other = run_cli(*arguments, "--lr", 0.5, cwd=walked)
    assert other.returncode == 2 and "recipe.lr" in other.stderr
    again = run_cli(*arguments, cwd=walked)
    assert again.returncode == 0, again.stderr
    assert "resumed after iteration" in again.stderr
    report = json.loads((walked / "long" / "config.json").read_text())["provenance"]["training"]
    assert 6 <= report["resumed_from"] < 60


def test_a_training_that_diverges_ends_in_one_line(walked: Path, run_cli: Cli) -> None:
    done = run_cli("train", "net", "--data", "run.yaml", "--iterations", 30, "--lr", 1e9, "--out", "wild", cwd=walked)
    assert done.returncode == 1
    assert "error: the training ended without a result" in done.stderr and "Traceback" not in done.stderr
    assert not (walked / "wild" / "config.json").exists()


def test_published_checkpoints_are_imported(shared: Path, walked: Path, ok: Callable[..., str]) -> None:
    ok("import", shared / "golden" / "boostformer_tiny", "--out", "published")
    assert json.loads(ok("profile", "published", "--format", "json"))["classes"] == 7
    street = min((shared / "camvid" / "images" / "validation").iterdir())
    ok("predict", "published", street, "--out", "pictures", "--size", "128x192")
    assert Image.open(walked / "pictures" / f"{street.stem}.labels.png").size == Image.open(street).size


def test_what_may_be_searched_is_shown(ok: Callable[..., str]) -> None:
    space = json.loads(ok("space", "tiny", "--run", "run.yaml", "--samples", 1000, "--format", "json"))
    assert space["networks"] > 10**12 and 0 < space["share_within_budget"] <= 1
    assert space["size"] == [64, 96] and space["counted"] == "deployed"
    low, high = space["share_within_budget_95"]
    assert 0 <= low <= space["share_within_budget"] <= high <= 1 and 0 < high - low < 0.07
    (ok.folder / "wide.yaml").write_text(RUN.replace("budgets: {", "budgets: {params: 9G} #"))  # type: ignore[attr-defined]
    wide = ok("space", "tiny", "--run", "wide.yaml", "--samples", 1000)
    assert "within params at most 9000.000 M (deployed): all that were drawn\n" in wide
    assert "exclude nothing that was drawn: the budgets of params\n" in wide
    run_file = ok.folder / "trained.yaml"  # type: ignore[attr-defined]
    run_file.write_text(RUN.replace("budgets: {", "budgets: {counted: trained, "))
    trained = json.loads(ok("space", "tiny", "--run", "trained.yaml", "--samples", 1000, "--format", "json"))
    assert trained["counted"] == "trained"
    # The same networks are drawn: each costs at least as much as it is trained.
    for deployed, more in zip(space["macs_min_median_max"], trained["macs_min_median_max"], strict=True):
        assert deployed <= more
    assert all(trained["budget"][key] >= limit for key, limit in space["budget"].items())


def test_the_blocks_are_listed_with_what_they_cost(ok: Callable[..., str]) -> None:
    blocks = json.loads(ok("blocks", "--format", "json"))
    costs = {"params", "macs", "conv_linear_macs", "attention_macs", "deployed", "latency", "reference"}
    assert {"kind", "block", "options", "source", "summary"} | costs == set(blocks[0])
    assert all(block["latency"] is None for block in blocks)
    assert {b["block"] for b in blocks} >= {
        "efficient_attention",
        "pooled_attention",
        "mix_cfn",
        "weighted_sum",
        "resizer",
    }
    reparam = next(block for block in blocks if block["block"] == "reparam_depthwise")
    assert reparam["deployed"]["macs"] == 64 * 32 * 32 * 9 < reparam["macs"] == 64 * 32 * 32 * 10
    assert reparam["deployed"]["params"] == 64 * 10 < reparam["params"]


def test_profile_gives_the_published_figures(ok: Callable[..., str]) -> None:
    b2 = json.loads(ok("profile", "segformer_b2", "--classes", 150, "--size", "512x512", "--format", "json"))
    assert (b2["params"], b2["macs"]) == (27461974, 62337843200)
    assert (b2["conv_linear_macs"], b2["attention_macs"]) == (58445529088, 3892314112)
    assert (b2["deployed"]["params"], b2["deployed"]["macs"]) == (25090518, 23683137536)
    assert sum(part["deployed"]["params"] for part in b2["stages"]) == 25090518
