"""Data sets of Hugging Face's datasets, saved to disk; they need an extra."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coloured_data import write_coloured
from PIL import Image

from boostformer.data import IGNORED, DataConfig, SegmentationSplit, open_split
from boostformer.data.cache import data_cache
from boostformer.data.check import check
from boostformer.data.formats import recognised
from boostformer.errors import UserError

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOSTFORMER_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def twin(tmp_path: Path) -> Path:
    """The same data in ADE20K's layout."""
    return write_coloured(tmp_path / "twin")


def rows_of(twin: Path, split: str) -> list[dict[str, str | None]]:
    images = sorted((twin / "images" / split).iterdir())
    return [{"image": str(path), "label": str(twin / "annotations" / split / f"{path.stem}.png")} for path in images]


def table(rows: list[dict[str, str | None]], **others: str) -> Any:
    features = datasets.Features({name: datasets.Image() for name in rows[0]})
    return datasets.Dataset.from_list(rows, features=features).rename_columns(others)


def saved(twin: Path, root: Path, **others: str) -> Path:
    parts = {"train": "training", "validation": "validation"}
    made = {name: table(rows_of(twin, split), **others) for name, split in parts.items()}
    datasets.DatasetDict(made).save_to_disk(str(root))
    return root


def opened(root: Path, split: str = "training", **settings: object) -> SegmentationSplit:
    return open_split(DataConfig(root=root, size="64x96", **settings), split)  # type: ignore[arg-type]


def test_labels_are_those_of_the_twin(twin: Path, tmp_path: Path) -> None:
    root = saved(twin, tmp_path / "saved")
    assert recognised(root).kind == "hf"
    for split in ("training", "validation"):
        one, other = opened(root, split), opened(twin, split, classes=["class_1", "class_2", "class_3"])
        assert len(one) == len(other) and one.labels == other.labels
        for index in range(len(one)):
            for mine, theirs in zip(one.pair(index), other.pair(index), strict=True):
                np.testing.assert_array_equal(mine, theirs)
        assert one.content() == other.content()
    assert not check(DataConfig(root=root), data_cache()).faults


def test_one_data_set_is_all_training(twin: Path, tmp_path: Path) -> None:
    table(rows_of(twin, "training")).save_to_disk(str(tmp_path / "one"))
    assert len(opened(tmp_path / "one", "validation", validation_share=0.25)) == 3
    with pytest.raises(UserError, match="has no validation part"):
        opened(tmp_path / "one", "validation")


def test_names_are_by_value(twin: Path, tmp_path: Path) -> None:
    root = saved(twin, tmp_path / "saved")
    (root / "id2label.json").write_text(json.dumps({0: "grey", 1: "red", 2: "green", 3: "blue"}))
    assert opened(root).labels == ["grey", "red", "green", "blue"]
    split = opened(root, ignore=["grey"])
    assert split.labels == ["red", "green", "blue"] and IGNORED in split.label(0)
    (root / "id2label.json").write_text('["grey"]')
    with pytest.raises(UserError, match=r"id2label\.json: must be a JSON object"):
        opened(root)


@pytest.mark.parametrize("others", [{"image": "photo"}, {"label": "depth"}])
def test_other_columns_are_refused(twin: Path, tmp_path: Path, others: dict[str, str]) -> None:
    (old, new) = next(iter(others.items()))
    with pytest.raises(UserError, match=rf"no columns .*\b{old}\b.*there are .*\b{new}\b.*rename_column"):
        opened(saved(twin, tmp_path / "saved", **others))


def test_files_are_unpacked_once_and_anew_after_damage(
    twin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = saved(twin, tmp_path / "saved")
    digest = opened(root).content()
    with monkeypatch.context() as patch:
        patch.setattr(datasets, "load_from_disk", None)
        assert opened(root).content() == digest
    next(data_cache().glob("*/000002.mask.png")).unlink()
    next(data_cache().glob("*/000003.image.image")).write_bytes(b"half")
    assert opened(root).content() == digest


def test_a_row_without_a_mask_is_named(twin: Path, tmp_path: Path) -> None:
    rows = rows_of(twin, "training")
    rows[3]["label"] = None
    table(rows).save_to_disk(str(tmp_path / "one"))
    with pytest.raises(UserError, match="row 3: has no mask"):
        opened(tmp_path / "one")


def test_a_test_part_without_masks_is_left_out(twin: Path, tmp_path: Path) -> None:
    rows = rows_of(twin, "training")
    parts = {"train": table(rows), "test": table([row | {"label": None} for row in rows]), "extra": table(rows)}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "saved"))
    said = " ".join(opened(tmp_path / "saved").remarks)
    assert "has no masks, so there is no test part" in said and "left out: extra" in said


def test_a_damaged_table_and_a_mask_in_colour_are_named(twin: Path, tmp_path: Path) -> None:
    root = saved(twin, tmp_path / "saved")
    [arrow] = (root / "train").glob("*.arrow")
    content = arrow.read_bytes()
    arrow.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=f"^{root / 'train'}: cannot be read"):
        opened(root)
    mask = twin / "annotations/training/00.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 96, 3)).astype(np.uint8)).save(mask)
    with pytest.raises(UserError, match=r"000000\.mask\.png: a mask has one channel"):
        opened(saved(twin, tmp_path / "colours"))


def test_the_extra_is_named(twin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = saved(twin, tmp_path / "saved")
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(UserError, match=r"boostformer\[hf\]"):
        opened(root)
