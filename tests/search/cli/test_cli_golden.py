"""Tables of commands as they look at 80 and 160 columns; ``GOLDEN=write`` writes the files anew, to be looked at."""

from __future__ import annotations

import os
import re
import subprocess
import sys
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
LINES = {
    "init": ("init", "data", "--out", "run.yaml"),
    "report": ("report", "run", "--out", "report.html"),
    "export_run": ("export-run", "run", "run.zip"),
    "import_run": ("import-run", "run.zip", "copy"),
    "predict": ("predict", "large", "data/images/training/00.png", "--out", "seen"),
    "launch": ("launch", "run", "--on", "local", "--dry-run"),
    "export": ("export", "large", "--out", "large.onnx"),
}
"""Commands that say what they did in lines."""
MASKS = {
    r"[\d.,]+ MB": "N MB",
    r"[\d.]+e[+-]\d+(?= of the largest)": "N",
    r"(proxy|search) +\d.*": r"\1 N",
    r"--(data|cores) \S+": r"--\1 N",
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


def link(folder: Path, into: Path) -> None:
    for entry in folder.iterdir():
        (into / entry.name).symlink_to(entry)


def hold(said: str, file: Path) -> None:
    """Compare what was said with the golden file, but for what hangs on the machine and the day."""
    for pattern, mask in MASKS.items():
        said = re.sub(pattern, mask, said)
    shown = "\n".join(line.rstrip() for line in said.splitlines()) + "\n"
    if os.environ.get("GOLDEN") == "write":
        file.write_text(shown, encoding="utf-8")
    assert shown == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("columns", [80, 160])
@pytest.mark.parametrize("name", COMMANDS)
def test_output(
    name: str, columns: int, run_cli: Cli, tmp_path: Path, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = COMMANDS[name]
    link(made, tmp_path)
    if name == "data":
        command = (*command, str(WRITERS["voc"](tmp_path)))
    whole = run_cli(*command, cwd=tmp_path, BOOSTFORMER_CACHE=str(tmp_path / "cache")).stdout
    for module in (output, data):
        monkeypatch.setattr(module, "width", lambda *_: columns)
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
        said = re.sub(rf"(?m)^(\w+) +(?={re.escape(str(tmp_path))})", lambda found: f"{found[1]:<8} ", said)
    hold(said.replace(str(tmp_path), "FOLDER"), FOLDER / f"{name}_{columns}.txt")


@pytest.mark.parametrize("columns", [80, 160])
@pytest.mark.parametrize("name", LINES)
def test_lines(
    name: str,
    columns: int,
    run_cli: Cli,
    tmp_path: Path,
    made: Path,
    trained: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    link(made, tmp_path)
    link(trained, tmp_path)
    if name == "import_run":
        assert run_cli(*LINES["export_run"], cwd=tmp_path).returncode == 0
    monkeypatch.setattr(output, "width", lambda *_: columns)
    done = run_cli(*LINES[name], cwd=tmp_path, BOOSTFORMER_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    said = (done.stdout + done.stderr).replace(str(tmp_path), "FOLDER").replace(sys.executable, "PYTHON")
    hold(re.sub(r"reading\s+(\S+)\s+…", r"reading \1 …", said), FOLDER / f"{name}_{columns}.txt")
