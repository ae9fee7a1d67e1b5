"""Tables of commands as they look at 80 and 160 columns; ``GOLDEN=write`` writes the files anew, to be looked at."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from layout_writers import WRITERS
from search_factories import opened, quality, run, small

from boostformer.architecture import Architecture
from boostformer.data import DataConfig, SceneCounts
from boostformer.model import BoostFormer
from boostformer.training import TrainingFailure
from evaluators.proxy import Score
from search.cli import data, output

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
FOLDER = Path(__file__).parent / "golden"
COMMANDS = {
    "recipes": ("recipes",),
    "devices": ("latency", "devices"),
    "estimate": ("latency", "estimate", "boostformer_b0", "--size", "64x64", "--device", "all"),
    "profile": ("profile", "segformer_b0"),
    "space": ("space", "tiny", "--samples", "100"),
    "data": ("data", "check"),
    "blocks": ("blocks",),
    "pareto": ("pareto", "run"),
    "pareto_all": ("pareto", "run", "--all"),
    "show": ("show", "run"),
    "trust": ("trust", "run"),
    "compare": ("compare", "large", "ours=seed-0,seed-1"),
    "evaluate": ("evaluate", "large"),
}
MASKS = {
    r"[\d.,]+ MB": "N MB",
    r"(python|boostformer|numpy|onnx|onnxruntime|optuna|torch|code) [\w.+]*\d[\w.+]*": r"\1 N",
}
"""What depends on the machine and the day, and what stands for it."""


def words_of(text: str) -> set[str]:
    """Names and numbers, which a table must not break."""
    return set(re.findall(r"[\w.]{3,}", text))


def graded(arch: Architecture, seed: int, progress: object, *, rung: int, **how: object) -> Score:
    """A made-up score that grows with the training; one network fails."""
    if arch == list(small())[7]:
        raise TrainingFailure("diverged", "the loss is 9000")
    return Score(quality(arch) / 2 + rung / 10 + seed / 1000, 1.0, f"rung {rung}", (2, 6, 18)[rung])


@pytest.fixture(scope="module")
def made(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished `run`, and checkpoints that find one class alone, wherever they are run."""
    folder = tmp_path_factory.mktemp("made")
    scenes = DataConfig(kind="scenes", size=(64, 64), scenes=SceneCounts(training=8, validation=2))
    proxy = {"iterations": [2, 6, 18], "schedule": "wsd", "warmup_iterations": 0}
    run(folder / "run", 20, graded, search=opened(small(), data=scenes, proxy=proxy, reduction_factor=2, final_seeds=2))
    model = BoostFormer.load(trained / "net")
    told = model.provenance
    for name, found, miou in (("large", 0, 0.5), ("seed-0", 1, 0.625), ("seed-1", 2, 0.6875)):
        with torch.no_grad():
            model.decoder.classifier.weight.zero_()
            model.decoder.classifier.bias.copy_(torch.eye(3)[found])
        model.provenance = told | {"metrics": told["metrics"] | {"miou": miou, "accuracy": miou + 0.25}}
        model.save_pretrained(folder / name)
    return folder


@pytest.mark.parametrize("columns", [80, 160])
@pytest.mark.parametrize("name", COMMANDS)
def test_output(
    name: str, columns: int, run_cli: Cli, tmp_path: Path, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = COMMANDS[name]
    for entry in made.iterdir():
        (tmp_path / entry.name).symlink_to(entry)
    if name == "data":
        command = (*command, str(WRITERS["voc"](tmp_path)))
    whole = run_cli(*command, cwd=tmp_path, BOOSTFORMER_CACHE=str(tmp_path / "cache")).stdout
    for module in (output, data):
        monkeypatch.setattr(module, "width", lambda: columns)
    done = run_cli(*command, cwd=tmp_path, BOOSTFORMER_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    tables = [line for line in done.stdout.splitlines() if line.startswith(("┃", "│", "┏", "└"))]
    assert tables and max(map(len, tables)) <= columns
    cells = {word for line in tables for word in words_of(line)}
    joints = {piece for word in words_of(whole) for piece in re.findall(r"[\w]{3,}", word)}
    broken = {w for w in cells if w not in words_of(whole) and not set(re.findall(r"[\w]{3,}", w)) <= joints}
    assert not broken, "a table breaks inside words"
    said = done.stdout
    if name == "data":
        assert all(len(line) <= columns or str(tmp_path) in line for line in said.splitlines())
        said = said.replace("\n  ", " ")  # where a line with a folder's name is broken hangs on the folder
    shown = said.replace(str(tmp_path), "FOLDER")
    for pattern, mask in MASKS.items():
        shown = re.sub(pattern, mask, shown)
    shown = "\n".join(line.rstrip() for line in shown.splitlines()) + "\n"
    file = FOLDER / f"{name}_{columns}.txt"
    if os.environ.get("GOLDEN") == "write":
        file.write_text(shown, encoding="utf-8")
    assert shown == file.read_text(encoding="utf-8")
