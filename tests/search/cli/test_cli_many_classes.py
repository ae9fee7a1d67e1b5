"""More classes than a byte holds: trained, scored, matched by name and drawn; and the same through windows."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from search_factories import small

from boostformer.data import DataConfig, open_split, read_image
from boostformer.data.images import read_mask
from boostformer.data.matching import matched
from boostformer.model import BoostFormer
from boostformer.overlay import palette
from boostformer.predict import predict_array, predict_file

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
CLASSES = 300
NAMES = [f"thing {number}" for number in range(CLASSES)]


def write_many(root: Path, names: list[str]) -> None:
    """Images of 80x120, whose masks have every class once, as a patch, and in each a row of ignored pixels."""
    grid = np.arange(1, CLASSES + 1, dtype=np.uint16).reshape(15, 20)
    order = np.array([0, *(1 + names.index(name) for name in NAMES)], np.uint16)
    rng = np.random.default_rng(0)
    for part in ("training", "validation"):
        for kind in ("images", "annotations"):
            (root / kind / part).mkdir(parents=True)
        for number in range(3):
            mask = np.kron(np.roll(grid, number, 1), np.ones((6, 6), np.uint16))[5:85]
            mask[0] = 0
            colours = np.stack([mask % 17 * 15, mask // 17 * 14, mask % 5 * 50], 2) + rng.integers(0, 5, (80, 120, 1))
            Image.fromarray(colours.astype(np.uint8)).save(root / "images" / part / f"{number}.png")
            Image.fromarray(order[mask]).save(root / "annotations" / part / f"{number}.png")
    (root / "classes.txt").write_text("\n".join(names) + "\n")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, run_cli: Cli) -> Path:
    """A folder with such data, those with the names in another order, and a network trained through windows."""
    folder = tmp_path_factory.mktemp("many")
    write_many(folder / "data", NAMES)
    write_many(folder / "turned", NAMES[::-1])
    (folder / "run.yaml").write_text(
        "space: tiny\ndata: {root: data, size: 64x96, fit: tile, overlap: 0.5, ignore: [0]}\nproxy: {iterations: 3}\n"
    )
    (folder / "arch.json").write_text(json.dumps(next(iter(small())).to_dict()))
    how = [
        "--iterations",
        3,
        "--batch-size",
        2,
        "--threads",
        1,
        "--set",
        "flip=0",
        "--set",
        "quarter_turns=true",
        "--set",
        "colour=0.5",
    ]
    done = run_cli("train", "arch.json", "--data", "run.yaml", "--out", "net", *how, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "takes 4 window(s) of 64x96" in done.stderr
    return folder


def test_what_was_trained_is_remembered(trained: Path) -> None:
    model = BoostFormer.load(trained / "net")
    assert model.architecture.classes == CLASSES and model.labels == NAMES
    data, recipe = model.provenance["data"], model.provenance["recipe"]
    assert (data["fit"], data["overlap"]) == ("tile", 0.5)
    assert (recipe["flip"], recipe["quarter_turns"], recipe["colour"], recipe["rotate"]) == (0, True, 0.5, 0)
    assert len(model.provenance["metrics"]["per_class"]) == CLASSES


def test_names_in_another_order_are_matched(trained: Path, run_cli: Cli) -> None:
    own, other = (open_split(DataConfig(root=trained / name, ignore=(0,)), "validation") for name in ("data", "turned"))
    turned, how = matched(other, NAMES, CLASSES, "turned")
    assert how is not None and turned.labels == NAMES and turned.ignored == own.ignored == 65535
    for index in range(3):
        assert (other.label(index) != own.label(index)).any()
        np.testing.assert_array_equal(turned.label(index), own.label(index))
    done = run_cli("evaluate", "net", "--data", "turned", "--format", "json", cwd=trained)
    assert done.returncode == 0, done.stderr
    found, before = json.loads(done.stdout), BoostFormer.load(trained / "net").provenance["metrics"]
    assert list(found["per_class"]) == NAMES
    # Barely trained, the network has pixels where rounding decides between two classes.
    assert found["accuracy"] == pytest.approx(before["accuracy"], abs=5e-4)


def test_label_maps_have_sixteen_bits(trained: Path, run_cli: Cli) -> None:
    image = trained / "data/images/validation/0.png"
    done = run_cli("predict", "net", image, "--out", "drawn", cwd=trained)
    assert done.returncode == 0, done.stderr
    drawn = read_mask(trained / "drawn/0.labels.png")
    assert drawn.dtype == np.uint16 and drawn.shape == (80, 120) and drawn.min() > 0
    model, pixels = BoostFormer.load(trained / "net"), read_image(image)
    predicted = predict_array(model, pixels, (64, 96), "tile", 0.5)
    assert (drawn == predicted + 1).mean() > 0.999
    assert (drawn == predict_array(model, pixels, (64, 96), "exact") + 1).mean() < 0.999
    model.decoder.classifier.bias.data[CLASSES - 1] += 1000
    labels, _ = predict_file(model, image, trained / "last", (64, 96))
    assert (read_mask(labels) == CLASSES).all()
    assert len(np.unique(palette(CLASSES), axis=0)) > 290


def test_whether_255_is_a_class_is_asked(trained: Path, run_cli: Cli) -> None:
    done = run_cli("train", "arch.json", "--data", "data", "--out", "no", cwd=trained)
    assert done.returncode == 2 and "mask value 255 occurs, and higher ones up to 300: say `ignore: [0]`" in done.stderr


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_a_size_that_is_no_window_s_is_refused(trained: Path, run_cli: Cli, command: str) -> None:
    more = ["data/images/validation/0.png", "--out", "no"] if command == "predict" else []
    done = run_cli(command, "net", *more, "--size", "70x96", cwd=trained)
    assert done.returncode == 2 and "size 70x96: windows" in done.stderr and "multiples of" in done.stderr
