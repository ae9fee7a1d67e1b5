"""Data that change: a search and a training go on with what they began with, wherever it lies, or not at all."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coloured_data import write_coloured
from data_fixtures import write_tiny_imagenet
from PIL import Image
from search_factories import SMALL

from results.run import read_run
from search.cli import sitting

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
RUN = """\
space: small.yaml
data: {kind: ade20k, root: data, size: 32x64}
proxy: {iterations: 2, batch_size: 2}
search: {trials: 1, strategy: random}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_coloured(tmp_path / "data", training=4, validation=2)
    (tmp_path / "small.yaml").write_text(SMALL)
    (tmp_path / "run.yaml").write_text(RUN)
    return tmp_path


def change(file: Path) -> None:
    """Swap two pixels of a picture: it keeps its size, its mean and its classes."""
    values = np.array(Image.open(file))
    values[[0, 40]] = values[[40, 0]]
    Image.fromarray(values).save(file)


@pytest.mark.parametrize(
    ("changed", "split"), [("annotations/validation/01.png", "validation"), ("images/training/02.png", "training")]
)
def test_a_search_goes_on_with_its_own_data_only(folder: Path, run_cli: Cli, changed: str, split: str) -> None:
    begun = run_cli("search", "run.yaml", "--out", "run", "--workers", 1, cwd=folder)
    assert begun.returncode == 0, begun.stderr
    kept = shutil.copytree(folder / "data", folder / "kept", copy_function=shutil.copyfile)  # with other times
    change(folder / "data" / changed)
    more = run_cli("search", "run.yaml", "--out", "run", "--workers", 1, "--trials", 2, cwd=folder)
    assert more.returncode == 2
    assert more.stderr.endswith(f"the {split} images or masks have changed since it began; choose another --out\n")
    joined = run_cli("worker", "run", cwd=folder)
    assert joined.returncode == 2
    assert f"the {split} images or masks are not those that the search began with" in joined.stderr
    assert len(read_run(folder / "run").trials) == 1
    retrained = run_cli("retrain", "run", "--iterations", 2, "--out", "net", cwd=folder)
    assert retrained.returncode == 0 and "images or masks have changed since the search" in retrained.stderr

    elsewhere = run_cli("worker", "run", "--data", kept, cwd=folder)
    assert elsewhere.returncode == 0, elsewhere.stderr
    shutil.rmtree(folder / "data")
    kept.rename(folder / "data")
    again = run_cli("search", "run.yaml", "--out", "run", "--workers", 1, "--trials", 2, cwd=folder)
    assert again.returncode == 0, again.stderr
    assert [trial.is_finished for trial in read_run(folder / "run").trials] == [True] * 2
    unchanged = run_cli("retrain", "run", "--iterations", 2, "--out", "other", cwd=folder)
    assert unchanged.returncode == 0 and "have changed" not in unchanged.stderr
    first, second = read_run(folder / "run").retrainings
    assert first.provenance != second.provenance, "which are not put into one order"


@pytest.fixture
def stopped_after_three(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """As if somebody pressed Ctrl-C after three iterations."""

    @contextmanager
    def progress(what: str) -> Iterator[Callable[..., None]]:
        def tell(done: int, total: int, about: str = "") -> None:
            if done == 3:
                signal.raise_signal(signal.SIGINT)

        yield tell

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with monkeypatch.context() as patch:
        patch.setattr(sitting, "progress_of", progress)
        yield patch
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("command", ["train", "pretrain"])
def test_a_training_resumes_on_its_own_images_only(
    folder: Path, run_cli: Cli, stopped_after_three: pytest.MonkeyPatch, command: str
) -> None:
    changed, what = folder / "data/annotations/training/03.png", "training images or masks"
    if command == "pretrain":
        shutil.rmtree(folder / "data")
        write_tiny_imagenet(folder / "data")
        changed, what = folder / "data/train/n00000001/images/n00000001_1.JPEG", "training images"
    how: list[Any] = ["--size", "32x64", "--iterations", 6, "--batch-size", 2, "--out", "net", "--data"]
    first = run_cli(command, "boostformer_b0", *how, "data", cwd=folder)
    assert first.returncode == 130, first.stderr
    stopped_after_three.undo()
    shutil.copytree(folder / "data", folder / "copy", copy_function=shutil.copyfile)
    if command == "train":
        change(changed)
    else:
        Image.fromarray(np.full((64, 64, 3), 99, np.uint8)).save(changed)
    refused = run_cli(command, "boostformer_b0", *how, "data", cwd=folder)
    assert refused.returncode == 2
    assert f"holds the state of another training, with other {what}; remove the folder" in refused.stderr
    resumed = run_cli(command, "boostformer_b0", *how, "copy", cwd=folder)
    assert resumed.returncode == 0, resumed.stderr
    assert '"resumed_from": 3' in (folder / "net/config.json").read_text()
