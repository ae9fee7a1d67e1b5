"""`evaluate`: the checkpoint's names rule, and a data set is matched to them or said not to fit."""

from __future__ import annotations

import json
import shutil
import subprocess
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coloured_data import COLOURS, write_coloured
from PIL import Image
from search_factories import small

from boostformer.model import BoostFormer, build

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def score(trained: Path, run_cli: Cli) -> Callable[..., tuple[dict[str, Any], str]]:
    """Evaluates a checkpoint; gives what it prints as JSON, and what it notes."""

    def run(data: Path, ckpt: Path = trained / "net") -> tuple[dict[str, Any], str]:
        done = run_cli("evaluate", ckpt, "--data", data, "--format", "json")
        assert done.returncode == 0, done.stderr
        notes = [line for line in done.stderr.splitlines(keepends=True) if not line.endswith(" images\n")]
        return json.loads(done.stdout), "".join(notes)

    return run


@pytest.fixture
def refusal(trained: Path, run_cli: Cli) -> Callable[..., str]:
    """Evaluates a checkpoint, which must be refused; gives the one line of it, after what the data are."""

    def run(data: Path, ckpt: Path = trained / "net") -> str:
        done = run_cli("evaluate", ckpt, "--data", data)
        *remarks, last = done.stderr.splitlines(keepends=True)
        assert done.returncode == 2 and last.startswith("error: "), done.stderr
        about = ("data: ", "most frequent: ", "no advice", "advice: ")
        assert all("mask" in line or line.startswith(about) for line in remarks), done.stderr
        return last

    return run


def renamed(trained: Path, to: Path, labels: list[str]) -> Path:
    """The checkpoint with other names."""
    model = BoostFormer.load(trained / "net")
    model.labels = labels
    model.save_pretrained(to)
    return to


def test_classes_in_another_order_are_matched_by_name(tmp_path: Path, trained: Path, score: Callable) -> None:
    usual, said = score(trained / "data")
    assert "matched" not in said and list(usual["per_class"]) == list(COLOURS)
    assert len({*usual["per_class"].values()}) == 3 and usual["miou"] > 0.2, "else the test could not tell"
    other, said = score(write_coloured(tmp_path / "data", ("blue", "red", "green")))
    assert said.endswith(
        f"{tmp_path / 'data'}: names the checkpoint's classes in another order; they are matched by name\n"
    )
    assert {**other, "per_class": None} == {**usual, "per_class": None}
    assert list(other["per_class"].items()) == list(usual["per_class"].items())


def test_other_classes_are_refused(tmp_path: Path, refusal: Callable) -> None:
    root = write_coloured(tmp_path / "data")
    (root / "classes.txt").write_text("red\ngrün\nblue\n")
    assert "only the checkpoint has 'green'; only the data have 'grün'; allowed: " in refusal(root)
    (root / "classes.txt").write_text("red\ngreen\nblue\nsky\n")
    assert "than the checkpoint: only the data have 'sky'; allowed: " in refusal(root)


def test_data_without_names_are_matched_by_number(
    tmp_path: Path, trained: Path, score: Callable, refusal: Callable
) -> None:
    usual, _ = score(trained / "data")
    root = write_coloured(tmp_path / "data", None)
    same, said = score(root)
    assert same == usual
    assert said.endswith("the data name no classes; they are matched by number, 3 with the checkpoint's 3\n")
    for mask in (root / "annotations").rglob("*.png"):  # without the highest class
        values = np.array(Image.open(mask))
        Image.fromarray(np.where(values == 3, 0, values)).save(mask)
    fewer, said = score(root)
    assert said.endswith("matched by number, 2 with the checkpoint's 3\n")
    assert list(fewer["per_class"]) == list(COLOURS)
    Image.fromarray(np.full((64, 96), 4, np.uint8)).save(root / "annotations/validation/00.png")
    assert "has 4 classes, but the checkpoint has 3" in refusal(root)


@pytest.mark.parametrize("labels", [[], ["LABEL_0", "LABEL_1", "LABEL_2"]])
def test_a_checkpoint_without_names_takes_those_of_the_data(
    tmp_path: Path, trained: Path, score: Callable, refusal: Callable, labels: list[str]
) -> None:
    usual, _ = score(trained / "data")
    unnamed = renamed(trained, tmp_path / "net", labels)
    same, said = score(trained / "data", unnamed)
    assert same["per_class"] == usual["per_class"]
    assert said.endswith("the checkpoint names no classes; they are matched by number, 3 with the checkpoint's 3\n")
    root = write_coloured(tmp_path / "more")
    (root / "classes.txt").write_text("red\ngreen\nblue\nsky\n")
    assert "has 4 classes, but the checkpoint has 3" in refusal(root, unnamed)


def test_a_name_is_one_class_s(tmp_path: Path, trained: Path, refusal: Callable, run_cli: Cli) -> None:
    root = write_coloured(tmp_path / "data")
    (root / "classes.txt").write_text("red\nblue\nred\n")
    expected = "/classes.txt: names two classes 'red'; give each class a name of its own\n"
    assert refusal(root).endswith(expected)
    training = run_cli("train", trained / "arch.json", "--data", root, "--out", tmp_path / "other")
    assert training.returncode == 2 and training.stderr.endswith(expected)
    (root / "classes.txt").unlink()
    (root / "id2label.json").write_text('{"0": "caf\\u00e9", "1": "cafe\\u0301", "2": "red"}')
    assert "id2label.json: names two classes 'caf\u00e9'" in refusal(root)
    twice = renamed(trained, tmp_path / "net", ["red", "red", "blue"])
    assert "net/config.json: labels: names two classes 'red'" in refusal(trained / "data", twice)


def test_names_that_look_the_same_are_the_same(tmp_path: Path, trained: Path, score: Callable) -> None:
    root = shutil.copytree(trained / "data", tmp_path / "data")
    (root / "classes.txt").write_text(unicodedata.normalize("NFD", "röd\ngrön\nblå\n"), encoding="utf-8")
    composed = renamed(trained, tmp_path / "net", ["röd", "grön", "blå"])
    found, said = score(root, composed)
    assert "matched" not in said and list(found["per_class"]) == ["röd", "grön", "blå"]


def test_a_checkpoint_has_a_name_for_each_class(tmp_path: Path, trained: Path, refusal: Callable) -> None:
    model = build(next(iter(small())).replace(classes=3))
    model.labels = ["red", "green"]
    model.save_pretrained(tmp_path / "net")
    assert "names 2 classes, the network has 3" in refusal(trained / "data", tmp_path / "net")
