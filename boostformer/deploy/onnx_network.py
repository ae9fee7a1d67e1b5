"""An exported ONNX file as a network that can be scored: ONNX Runtime on the CPU, one image of one size at a time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnxruntime
import torch
from onnxruntime.capi import onnxruntime_pybind11_state as native
from torch import Tensor, nn

from boostformer.architecture import Architecture
from boostformer.blocks.registry import complete
from boostformer.data.bands import ImageReading
from boostformer.data.config import OVERLAP, Fit
from boostformer.data.normalise import Normalisation
from boostformer.errors import UserError
from boostformer.files import exists, is_file, read_json
from boostformer.names import class_names
from boostformer.weights.checkpoint import sha256

Run = Callable[[np.ndarray], np.ndarray]
_REFUSED = (native.Fail, native.InvalidProtobuf, native.InvalidGraph, native.NotImplemented, native.InvalidArgument)
_OUTPUTS = {
    "logits": [("tensor(float)", 4)],
    "labels": [("tensor(uint8)", 3), ("tensor(int32)", 3)],
}


class OnnxNetwork(nn.Module):
    """A file that :func:`boostformer.deploy.export.export_onnx` wrote; maps as the network does that it was made from.

    Args:
        file: the ONNX file. What it says of itself counts, and where ``FILE.manifest.json`` lies beside it, also the
            provenance there.
        run: runs the network on one image (1, bands, H, W) somewhere else; by default ONNX Runtime does here.

    Attributes:
        architecture: of the network, at the size of the file's input.
        labels: class names in order.
        normalisation: what is to be done to pixels before the file gets them; None of an untrained network.
        reading: of image files for this network.
        fit: how images are brought to the input's size.
        overlap: of windows.
        provenance: how the weights came about; empty without a manifest.
        any_size: whether it takes images of other sizes, too.

    Raises:
        UserError: the file cannot be read, is none of ours, or its manifest is of another one.
    """

    def __init__(self, file: Path, run: Run | None = None) -> None:
        super().__init__()
        self._file, self._run = file, run or self._in_onnx_runtime
        self._place = nn.Parameter(torch.empty(0), requires_grad=False)  # a network lies on a device
        self._session = _session(file)
        entries = self._session.get_modelmeta().custom_metadata_map
        try:
            architecture = Architecture.from_dict(json.loads(entries["architecture"]), f"{file}: architecture")
            if not isinstance(labels := json.loads(entries["labels"]), list):
                raise TypeError("labels are no list")
            self.labels = class_names(labels, f"{file}: labels")
            self._read_input(json.loads(entries["input"]), architecture.bands)
            self._kind: str = json.loads(entries["output"])["kind"]
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise UserError(
                f"{file}: does not say which network it holds ({error}); allowed: files that `boostformer export` of "
                "this version wrote"
            ) from None
        self.architecture = complete(architecture, f"{file}: architecture")
        self.provenance: dict[str, Any] = _provenance(file)
        [image], [output] = self._session.get_inputs(), self._session.get_outputs()
        expected = [1, self.architecture.bands, *self.architecture.size]
        free = [not isinstance(side, int) for side in image.shape]
        self.any_size = free[2:] == [True, True]
        seen = [wanted if is_free else side for is_free, side, wanted in zip(free, image.shape, expected, strict=False)]
        if (seen, len(free), free[1:2]) != (expected, 4, [False]) or (
            (output.type, len(output.shape)) not in _OUTPUTS.get(self._kind, [])
        ):
            raise UserError(
                f"{file}: maps {image.shape} to {output.type} {output.shape}, allowed: {expected} to {self._kind}"
            )

    def _read_input(self, said: dict[str, Any], bands: int) -> None:
        """Take what the file says of its input; KeyError, TypeError or ValueError where that cannot be."""
        mean, std, levels = (said[key] and tuple(map(float, said[key])) for key in ("mean", "std", "levels"))
        self.normalisation = Normalisation(mean, std) if mean and std else None
        self.reading = ImageReading(said["bands"], levels)
        self.fit: Fit = said["fit"]
        self.overlap = OVERLAP if said["overlap"] is None else float(said["overlap"])
        if self.fit not in get_args(Fit):
            raise ValueError(f"fit {self.fit}")
        by = self.normalisation
        if self.reading.count != bands or (by is not None and {len(by.mean), len(by.std)} != {bands}):
            raise ValueError(f"{self.reading}, mean {mean} and std {std} for {bands} bands")

    def forward(self, x: Tensor) -> Tensor:
        """(B, bands, H, W) of the file's own H and W -> logits (B, classes, h, w), on the CPU.

        Of a file that gives labels they are 1 for the class of a pixel, else 0, at the input's size.
        """
        if not self.any_size and x.shape[2:] != self.architecture.size:
            height, width = self.architecture.size
            raise UserError(
                f"{self._file}: sees images of {height}x{width} alone, not {x.shape[2]}x{x.shape[3]}; "
                "export a file of that size, or `evaluate --fit exact` brings them to it, `--mode slide` cuts windows"
            )
        runs = [self._run(one.contiguous().numpy()) for one in x.float().split(1)]
        found = torch.cat([torch.from_numpy(run) for run in runs])
        if self._kind == "logits":
            return found
        return nn.functional.one_hot(found.long(), self.architecture.classes).permute(0, 3, 1, 2).float()

    def _in_onnx_runtime(self, image: np.ndarray) -> np.ndarray:
        found: np.ndarray = self._session.run(None, {self._session.get_inputs()[0].name: image})[0]
        return found


def _session(file: Path) -> onnxruntime.InferenceSession:
    if not is_file(file):
        raise UserError(f"{file}: no such file")
    try:
        return onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    except _REFUSED as error:
        raise UserError(f"{file}: cannot be read by ONNX Runtime: {str(error).splitlines()[0]}") from None


def _provenance(file: Path) -> dict[str, Any]:
    """Read the manifest beside ``file``, if there is one."""
    manifest = file.with_name(f"{file.stem}.manifest.json")
    if not exists(manifest):
        return {}
    try:
        told: Any = read_json(manifest)
        digest, provenance = told["sha256"], dict(told["provenance"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{manifest}: not a manifest that `boostformer export` wrote ({error})") from None
    if digest != sha256(file):
        raise UserError(f"{manifest}: is of another {file.name}, whose hash differs; export again, or remove it")
    return provenance
