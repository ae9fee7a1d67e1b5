"""Data sets of Hugging Face's ``datasets``, saved to disk."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from boostformer.data.cache import data_cache
from boostformer.data.cache_entries import CHECKSUMS, DRAFT, discard, make_cache, mark_used, share_as
from boostformer.data.config import SPLITS, DataConfig, SplitName
from boostformer.data.faults import Fault, refuse
from boostformer.data.formats.format import SPLIT_NAMES, Format, Layout
from boostformer.data.formats.names import json_of, read_class_names
from boostformer.data.images import stamp
from boostformer.data.samples import MaskFile, Sample
from boostformer.errors import UserError, os_refusal
from boostformer.files import publish, sync_folder

_DICT, _STATE, _INFO, _NAMES = "dataset_dict.json", "state.json", "dataset_info.json", "id2label.json"
_IMAGES = ("image", "img", "pixel_values")
_MASKS = ("label", "labels", "annotation", "mask", "segmentation_mask", "semantic_segmentation")
_ROWS = 16  # that are in memory at once


class HuggingFace(Format):
    """A ``DatasetDict``, or one ``Dataset`` that is all training, as ``save_to_disk`` writes it.

    Of the columns of images one is the image, by its name, and one the mask, a PNG. Their files, which lie within
    tables, are unpacked into the cache once. ``id2label.json`` in the folder names mask values by themselves.
    """

    kind = "hf"
    looks = "dataset_dict.json, or state.json with dataset_info.json, as save_to_disk of `datasets` writes them"

    def recognises(self, root: Path) -> bool:
        return (root / _DICT).is_file() or _is_dataset(root)

    def read(self, root: Path, config: DataConfig) -> Layout:
        if not self.recognises(root):
            raise UserError(f"{root}: has neither {_DICT} nor {_STATE} with {_INFO}, as save_to_disk writes them")
        remarks: list[str] = []
        parts = _parts(root, remarks)
        splits: dict[SplitName, list[Sample]] = {}
        for split, folder in parts.items():
            columns = _columns(folder)
            unpacked = _unpacked(folder, columns)
            if split == "test" and not any("mask" in names for names in unpacked.values()):
                remarks.append(f"{folder}: has no masks, so there is no test part")
                continue
            splits[split] = _samples(folder, unpacked)
            remarks.append(
                f"{folder}: images are column '{columns['image']}' and masks '{columns['mask']}', unpacked into "
                f"{_entry(folder, columns)}; a file's number is its row"
            )
        names, source = _names(root, remarks)
        found = "a data set of Hugging Face's datasets"
        ignored = frozenset({255}) - {*names} if isinstance(names, Mapping) else None
        return Layout(root, found, splits, source, names, ignored=ignored, remarks=remarks)


def _is_dataset(folder: Path) -> bool:
    return (folder / _STATE).is_file() and (folder / _INFO).is_file()


def _parts(root: Path, remarks: list[str]) -> dict[SplitName, Path]:
    if not (root / _DICT).is_file():
        return {"training": root}
    listed = json_of(root / _DICT)
    names = listed.get("splits") if isinstance(listed, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) and (root / name).parent == root for name in names):
        raise UserError(f'{root / _DICT}: must be such as {{"splits": ["train", "validation"]}}')
    parts: dict[SplitName, Path] = {}
    for split in SPLITS:
        called = [name for name in names if name.casefold() in SPLIT_NAMES[split]]
        if len(called) > 1:
            raise UserError(f"{root / _DICT}: has both {called[0]} and {called[1]}; take one of them out")
        if called:
            parts[split] = root / called[0]
    if others := [name for name in names if root / name not in parts.values()]:
        remarks.append(f"{root / _DICT}: parts that are left out: {', '.join(others)}")
    if "training" not in parts:
        raise UserError(f"{root / _DICT}: has no part called train, only {', '.join(names) or 'none'}")
    if lost := [folder for folder in parts.values() if not _is_dataset(folder)]:
        raise UserError(f"{lost[0]}: has no {_STATE} with {_INFO}, so it is no data set")
    return parts


def _columns(folder: Path) -> dict[str, str]:
    """Choose the columns of images and masks by their names; UserError when that is not certain."""
    info = json_of(folder / _INFO)
    features = info.get("features") if isinstance(info, dict) else None
    if not isinstance(features, dict):
        raise UserError(f"{folder / _INFO}: has no `features`, which name the columns")
    of_images = [name for name, one in features.items() if isinstance(one, dict) and one.get("_type") == "Image"]
    chosen = {}
    for what, usual in (("image", _IMAGES), ("mask", _MASKS)):
        found = [name for name in of_images if name.casefold() in usual]
        if len(found) != 1:
            has = ", ".join(of_images) or "none"
            raise UserError(
                f"{folder / _INFO}: {len(found) or 'no'} columns of images are called like the {what} "
                f"({', '.join(usual)}); there are {has}; rename one with rename_column and save the data set again"
            )
        chosen[what] = found[0]
    return chosen


def _names(root: Path, remarks: list[str]) -> tuple[Mapping[int, str] | list[str] | None, Path]:
    """Read names by value from ``id2label.json``, or in order from ``classes.txt``."""
    path = root / _NAMES
    if not path.is_file():
        return read_class_names(root, remarks)
    try:
        table = {int(value): str(name) for value, name in json_of(path).items()}
    except (ValueError, AttributeError):
        raise UserError(f'{path}: must be a JSON object such as {{"0": "road", …}}') from None
    remarks.append(f"{path}: names {len(table)} mask values by themselves; names in `ignore` make them no class")
    return dict(sorted(table.items())), path


def _entry(folder: Path, columns: Mapping[str, str]) -> Path:
    """Name the folder in the cache that a part is unpacked into; another one once it changes."""
    files = [folder / _STATE, folder / _INFO, *sorted(folder.glob("*.arrow"))]
    key = "\n".join([*map(stamp, files), *columns.values(), "unpacked"])
    return data_cache() / hashlib.sha256(key.encode()).hexdigest()[:24]


def _unpacked(folder: Path, columns: Mapping[str, str]) -> dict[int, dict[str, Path]]:
    """Give the files of images and masks by row, unpacked now where they are not; one that is empty is not there."""
    entry = _entry(folder, columns)
    try:
        sizes = _whole(entry)
        if sizes is None:
            if entry.is_dir():
                discard(entry)
            _unpack(folder, columns, entry)
            sizes = json.loads((entry / CHECKSUMS).read_bytes())
        mark_used(entry)
    except OSError as error:
        raise os_refusal(data_cache(), "the cache folder cannot be used", error) from error
    found: dict[int, dict[str, Path]] = {}
    for name in sizes:
        row, what, _ = name.split(".")
        found.setdefault(int(row), {})[what] = entry / name
    return found


def _whole(entry: Path) -> dict[str, int] | None:
    """Read what an entry holds; None where it is not there or not whole."""
    try:
        sizes: dict[str, int] = json.loads((entry / CHECKSUMS).read_bytes())
        return sizes if all((entry / name).stat().st_size == size for name, size in sizes.items()) else None
    except (FileNotFoundError, ValueError, RecursionError, AttributeError, TypeError):
        return None


def _unpack(folder: Path, columns: Mapping[str, str], entry: Path) -> None:
    make_cache(entry.parent)
    draft = Path(tempfile.mkdtemp(prefix=f"{entry.name}{DRAFT}", dir=entry.parent))
    try:
        sizes = {}
        for row, values in enumerate(_rows(folder, columns)):
            for what, content in values.items():
                name = f"{row:06}.{what}.{'png' if what == 'mask' else 'image'}"
                sizes[name] = (draft / name).write_bytes(content)
        (draft / CHECKSUMS).write_text(json.dumps(sizes))
        sync_folder(draft)
        share_as(draft, entry.parent)
        if not entry.is_dir():
            publish(draft, entry)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _rows(folder: Path, columns: Mapping[str, str]) -> Iterator[dict[str, bytes]]:
    """Read the content of each row's files; those that are empty are left out."""
    try:
        import datasets
    except ImportError:
        raise UserError(f"{folder}: is read with datasets; pip install 'boostformer[hf]'") from None
    try:
        table: Any = datasets.load_from_disk(str(folder)).select_columns([*columns.values()])
        for column in columns.values():
            table = table.cast_column(column, datasets.Image(decode=False))
        for start in range(0, len(table), _ROWS):
            rows = table[start : start + _ROWS]
            for index in range(len(rows[columns["image"]])):
                cells = {what: rows[column][index] for what, column in columns.items()}
                yield {what: _content(cell) for what, cell in cells.items() if cell is not None}
    except (UserError, MemoryError):
        raise
    except Exception as error:  # whatever its reader raises on damaged tables
        raise UserError(f"{folder}: cannot be read ({' '.join(str(error).split())[:200]}); save it again") from error


def _content(cell: Mapping[str, Any]) -> bytes:
    if cell["bytes"] is not None:
        return bytes(cell["bytes"])
    return Path(cell["path"]).read_bytes()


def _samples(folder: Path, unpacked: Mapping[int, Mapping[str, Path]]) -> list[Sample]:
    alone = [
        Fault(f"{folder}: row {row}", f"has no {what}", "label it, or filter it out and save the data set again")
        for row, files in unpacked.items()
        for what in ("image", "mask")
        if what not in files
    ]
    refuse(alone)
    if not unpacked:
        raise UserError(f"{folder}: has no rows")
    both = {row: files for row, files in sorted(unpacked.items()) if len(files) == len(("image", "mask"))}
    return [MaskFile(f"{row:06}", files["image"], files["mask"]) for row, files in both.items()]
