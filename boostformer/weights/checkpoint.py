"""Checkpoints: a folder with ``model.safetensors`` and ``config.json`` (architecture, labels, provenance).

Files and tensors only; :mod:`boostformer.model` makes networks of them.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from boostformer.architecture import Architecture
from boostformer.blocks.registry import complete
from boostformer.errors import UserError, os_refusal, short
from boostformer.files import exists, is_file, is_folder, make_folder, read_json, replacing_together
from boostformer.json_lines import checksum
from boostformer.names import class_names
from boostformer.shown import number_of
from boostformer.weights.card import PICTURE
from boostformer.weights.tensors import read_tensors

FORMAT_VERSION = 2
"""2 renamed the weights of layers, which became two residual branches."""
WEIGHTS, CONFIG = "model.safetensors", "config.json"
KINDS = ("segmenter", "classifier")
_LARGE = 1e9
"""More than the mean or deviation of any image."""
FIELDS = {"architecture": dict, "labels": list, "provenance": dict, "weights_sha256": str}


@dataclass(frozen=True)
class Config:
    """Description of a checkpoint's weights.

    Attributes:
        kind: one of :data:`KINDS`.
        architecture: the network, complete.
        labels: class names in order; none where they are not known.
        provenance: how the weights came about: data, recipe, seed, metrics.
        weights_sha256: hex digest of the file of weights.
        normalisation: ``mean`` and ``std`` of each band; None stands for ImageNet's, of RGB.
    """

    kind: str
    architecture: Architecture
    labels: list[str]
    provenance: dict[str, Any]
    weights_sha256: str
    normalisation: dict[str, tuple[float, ...]] | None = None


def sha256(file: Path) -> str:
    """Hex digest of a file's content."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def claim(folder: str | Path) -> Path:
    """Make ``folder`` for a new checkpoint; :class:`UserError` if it holds one already or cannot be written.

    To be called before any work is done for it.
    """
    folder = Path(folder)
    for name in (CONFIG, WEIGHTS):
        if exists(folder / name):
            raise UserError(f"--out: {folder} already holds a {name}; remove it or choose another folder")
    try:
        make_folder(folder)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise os_refusal(f"--out: {folder}", "cannot be written", error) from None
    return folder


def save(
    folder: str | Path,
    weights: Mapping[str, Tensor],
    *,
    kind: str,
    architecture: Architecture,
    labels: list[str],
    provenance: Mapping[str, Any],
    normalisation: Mapping[str, Sequence[float]] | None = None,
    beside: Mapping[str, bytes | None] | None = None,
) -> Path:
    """Write a checkpoint into ``folder``, each file in one step.

    Args:
        folder: made if it is not there; :class:`UserError` when it cannot be written.
        weights: the network's, by name.
        kind: see :class:`Config`, as for the following.
        architecture: the network.
        labels: class names.
        provenance: how the weights came about.
        normalisation: of each band, if not ImageNet's.
        beside: content of further files by name; those without any are removed.
    """
    folder, beside = Path(folder), beside or {}
    more = {folder / name: content for name, content in beside.items() if content is not None}
    with replacing_together(folder / WEIGHTS, *more, folder / CONFIG, parents=True) as (file, *others, text):
        for other, content in zip(others, more.values(), strict=True):
            other.write_bytes(content)
        try:
            save_file({name: value.contiguous() for name, value in weights.items()}, file)
        except SafetensorError as error:  # what it makes of a full disk or a refused file
            found = re.search(r"os error (\d+)", str(error))
            raise OSError(int(found[1]) if found else errno.EIO, str(error)) from None
        config = {
            "library": "boostformer",
            "version": FORMAT_VERSION,
            "kind": kind,
            "architecture": architecture.to_dict(),
            "labels": labels,
            "provenance": provenance,
            **({"normalisation": normalisation} if normalisation else {}),
            "weights_sha256": sha256(file),
        }
        text.write_text(json.dumps({**config, "checksum": checksum(config)}, indent=2) + "\n")
    for name in beside.keys() - {file.name for file in more}:
        (folder / name).unlink(missing_ok=True)
    return folder


def read_config(folder: str | Path) -> Config:
    """The ``config.json`` of a checkpoint; :class:`UserError` when it is none of this version, or damaged."""
    file = Path(folder) / CONFIG
    if not is_file(file):
        raise UserError(f"{folder}: not a checkpoint: {CONFIG}: no such file")
    config: Any = read_json(file, damaged="corrupted")
    config = config if isinstance(config, dict) else {}
    if config.get("library") != "boostformer":
        hint = "; `boostformer import` reads those of transformers" if "model_type" in config else ""
        raise UserError(f"{file}: not a checkpoint of boostformer{hint}")
    if config.get("version") != FORMAT_VERSION:
        raise UserError(
            f"{file}: checkpoint version {short(config.get('version'))} cannot be read, allowed: {FORMAT_VERSION}"
        )
    if config.get("kind") not in KINDS:
        raise UserError(f"{file}: kind {short(config.get('kind'))} is unknown, allowed: {', '.join(KINDS)}")
    for key, kind in FIELDS.items():
        if not isinstance(config.get(key), kind):
            raise UserError(f"{file}: corrupted: {key} is not a {kind.__name__}")
    source = f"{file}: architecture"
    architecture = complete(Architecture.from_dict(config["architecture"], source), source)
    found = Config(
        kind=config["kind"],
        architecture=architecture,
        labels=_labels(config["labels"], architecture.classes, f"{file}: labels"),
        provenance=config["provenance"],
        weights_sha256=config["weights_sha256"],
        normalisation=_normalisation(config, architecture.bands, file),
    )
    _check_content(config, file)  # what cannot be is said as such
    return found


def _check_content(config: dict[str, Any], file: Path) -> None:
    """Refuse what was changed since it was written: scores, heads and normalisation have no other witness."""
    if (told := config.get("checksum")) is None:  # of a version before, or of somebody who knows what he changed
        return
    with contextlib.suppress(ValueError):
        if told == checksum({key: value for key, value in config.items() if key != "checksum"}):
            return
    raise UserError(
        f"{file}: corrupted: its checksum is another; if you changed it yourself, remove the key 'checksum'"
    )


def _labels(found: list[Any], classes: int, source: str) -> list[str]:
    """Read the names of the classes, of all or of none."""
    if not all(isinstance(name, str) for name in found):
        raise UserError(f"{source}: corrupted: is not a list of texts")
    if len(found) not in (0, classes):
        raise UserError(f"{source}: corrupted: names {number_of(len(found), 'class')}, the network has {classes}")
    class_names(found, source)
    return found


def _normalisation(config: dict[str, Any], bands: int, file: Path) -> dict[str, tuple[float, ...]] | None:
    """Read the mean and the deviation of each band; None where they are ImageNet's."""
    if (found := config.get("normalisation")) is None:
        return None
    read: dict[str, tuple[float, ...]] = {}
    for key in ("mean", "std"):
        values = found.get(key) if isinstance(found, dict) else None
        numbers = values if isinstance(values, list) else []
        if len(numbers) != bands or any(type(v) not in (int, float) or not abs(v) < _LARGE for v in numbers):
            raise UserError(f"{file}: corrupted: normalisation.{key} is not a list of {bands} numbers")
        read[key] = tuple(numbers)
    if min(read["std"]) <= 0:
        raise UserError(f"{file}: corrupted: normalisation.std has a number that is not above 0")
    return read


def read(folder: str | Path, kind: str) -> tuple[Config, dict[str, Tensor]]:
    """Config and weights of a checkpoint of ``kind``; :class:`UserError` names what is wrong with it."""
    folder = Path(folder)
    config = read_config(folder)
    if config.kind != kind:
        raise UserError(f"{folder}: holds a {config.kind}, a {kind} is needed here")
    return config, _read_weights(folder, config)


def read_any(folder: str | Path) -> tuple[Config, dict[str, Tensor]]:
    """Config and weights of a checkpoint of either kind; :class:`UserError` names what is wrong with it."""
    folder = Path(folder)
    config = read_config(folder)
    return config, _read_weights(folder, config)


def is_ours(folder: Path) -> bool:
    """Tell whether a folder says that it is a checkpoint of ours, whatever may be wrong with it."""
    try:
        config = read_json(folder / CONFIG)
    except UserError:
        return False
    return isinstance(config, dict) and config.get("library") == "boostformer"


def _read_weights(folder: Path, config: Config) -> dict[str, Tensor]:
    file = folder / WEIGHTS
    if not is_file(file):
        raise UserError(f"{file}: no such file")
    if sha256(file) != config.weights_sha256:
        raise UserError(f"{file}: corrupted: its hash is not the one in {CONFIG}")
    return read_tensors(file)


def find(model_id: str, **settings: Any) -> Path:
    """A local folder, or the files of a repository of the hub by name (``settings`` as ``from_pretrained`` has)."""
    folder = Path(model_id)
    if is_folder(folder):
        return folder
    known = {"revision", "cache_dir", "force_download", "token", "local_files_only"}
    asked = {name: value for name, value in settings.items() if name in known}
    return Path(snapshot_download(model_id, allow_patterns=[WEIGHTS, CONFIG, PICTURE], **asked))
