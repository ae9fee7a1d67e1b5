"""The path of a newcomer: the README's own run file and commands, literally, on images of one's own.

Two numbers of the run file are lowered, so that it takes seconds: how long a candidate is trained, and how many are.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

REPOSITORY = Path(__file__).resolve().parent.parent
Cli = Callable[..., "subprocess.CompletedProcess[str]"]
SHORTER = ((r"iterations: \d+", "iterations: 4"), (r"trials: \d+", "trials: 2"))


def section() -> str:
    """The README's part on a newcomer's own images."""
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    return readme.partition("## Your own images\n")[2].partition("\n## ")[0]


def block(language: str) -> str:
    """The first code block of that part in a language."""
    found = re.search(rf"^```{language}\n(.*?)^```", section(), re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def commands() -> list[list[str]]:
    return [shlex.split(line, comments=True) for line in block("sh").splitlines()]


def write_images(folder: Path) -> None:
    """16 and 4 images with bright squares on dark ground, two classes that no file names, where the README says."""
    rng = np.random.default_rng(0)
    images, masks = (
        sorted(set(re.findall(rf"`(photos/{kind}/\w+)`", section()))) for kind in ("images", "annotations")
    )
    assert len(images) == len(masks) == 2
    for where, labels in zip(images, masks, strict=True):
        (folder / where).mkdir(parents=True)
        (folder / labels).mkdir(parents=True)
        for index in range(16 if where.endswith("training") else 4):
            image = rng.integers(0, 90, (96, 144, 3), dtype=np.uint8)
            mask = np.ones((96, 144), np.uint8)
            top, left = rng.integers(8, 48), rng.integers(8, 96)
            image[top : top + 32, left : left + 32] += 150
            mask[top : top + 32, left : left + 32] = 2
            Image.fromarray(image).save(folder / where / f"street {index}.jpg")
            Image.fromarray(mask).save(folder / labels / f"street {index}.png")


@pytest.mark.slow
def test_the_readme_leads_from_own_images_to_a_file_and_an_overlay(run_cli: Cli, tmp_path: Path) -> None:
    write_images(tmp_path)
    run = block("yaml")
    for numbers, lower in SHORTER:
        run, changed = re.subn(numbers, lower, run)
        assert changed == 1
    (tmp_path / "photos.yaml").write_text(run)
    assert [words[:2] for words in commands()] == [
        ["boostformer", name] for name in ("search", "pareto", "retrain", "predict", "export")
    ]
    for words in commands():
        done = run_cli(*words[1:], cwd=tmp_path)
        assert done.returncode == 0, done.stderr

    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == [1, 3, 64, 96]
    (labels,) = session.run(None, {session.get_inputs()[0].name: np.zeros((1, 3, 64, 96), np.float32)})
    assert set(np.unique(labels)) <= {0, 1}
    overlay = Image.open(tmp_path / "pictures" / "street 0.overlay.png")
    assert overlay.size == (144, 96)
    assert set(np.unique(np.array(Image.open(tmp_path / "pictures" / "street 0.labels.png")))) <= {1, 2}
