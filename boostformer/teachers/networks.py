"""Teachers that are networks: ours, transformers' SegFormer, or any of transformers' semantic segmentation."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from boostformer.data.content import digest_of_files
from boostformer.data.formats.names import json_of
from boostformer.data.normalise import MEAN, STD
from boostformer.errors import UserError
from boostformer.files import is_file
from boostformer.model import BoostFormer, import_checkpoint
from boostformer.names import class_names
from boostformer.replay import recorded
from boostformer.teachers.teacher import Identity, Teacher
from boostformer.weights import checkpoint, importers
from boostformer.weights.licence import licence_of
from boostformer.weights.preprocessor import PREPROCESSOR

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")

Answer = tuple[Tensor, tuple[Tensor, ...]]
"""Logits and the maps of stages."""
Ask = Callable[[Tensor], Answer]
Forward = Callable[[nn.Module, Tensor], Answer]


@dataclass(frozen=True)
class Pixels:
    """Input that a network wants, as a change of ours: ``x * scale + shift`` per channel, then perhaps BGR."""

    scale: tuple[float, ...] = (1.0, 1.0, 1.0)
    shift: tuple[float, ...] = (0.0, 0.0, 0.0)
    bgr: bool = False

    def convert(self, x: Tensor) -> Tensor:
        """Change images (B, 3, H, W) normalised by ImageNet's constants, in RGB."""
        if self == Pixels():
            return x
        scale, shift = (torch.tensor(values, device=x.device)[:, None, None] for values in (self.scale, self.shift))
        x = x * scale + shift
        return x.flip(1) if self.bgr else x


class _Asked(nn.Module):
    """A network that gives its logits and maps."""

    def __init__(self, network: nn.Module, forward: Forward) -> None:
        super().__init__()
        self.network, self._forward = network, forward

    def forward(self, x: Tensor) -> Answer:
        return self._forward(self.network, x)


class LiveTeacher(Teacher):
    """A frozen network in eval mode, asked anew for every batch."""

    def __init__(
        self, network: nn.Module, identity: Identity, labels: list[str], pixels: Pixels, forward: Forward
    ) -> None:
        self.network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.identity, self.labels, self.pixels, self._forward = identity, labels, pixels, forward

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Answer:
        """Give the logits (B, classes, h, w) of images normalised by ImageNet's constants, and its stages' maps."""
        return self._forward(self.network.to(x.device), self.pixels.convert(x))

    @torch.no_grad()
    def recorded(self, x: Tensor) -> Ask:
        """Give what answers as it does by replaying its kernels: for images as ``x`` is, on that GPU.

        RuntimeError where that cannot be.
        """
        replayed = recorded(_Asked(self.network.to(x.device), self._forward), self.pixels.convert(x).clone())

        @torch.no_grad()
        def ask(x: Tensor) -> Answer:
            found: Answer = replayed(self.pixels.convert(x))
            return found

        return ask

    def measure(self, size: tuple[int, int]) -> None:
        """Learn ``macs``, ``classes`` and ``widths`` from one image of ``size``; UserError when it cannot see it."""
        try:
            with FlopCounterMode(display=False) as counter:
                logits, maps = self(torch.zeros(1, 3, *size))
        except (RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:160]
            raise UserError(f"{self.identity.id}: cannot see images of {size[0]}x{size[1]}: {reason}") from error
        self.macs = counter.get_total_flops() // 2
        self.classes, self.widths = logits.shape[1], tuple(one.shape[1] for one in maps)
        if self.labels and len(self.labels) != self.classes:
            raise UserError(f"{self.identity.id}: names {len(self.labels)} classes, but gives {self.classes} logits")


def open_network(folder: Path, source: str) -> LiveTeacher:
    """Load the network in ``folder``; ``source`` is what it was called. UserError says what is wrong with it."""
    if checkpoint.is_ours(folder):
        model = BoostFormer.load(folder)
        return _teacher(model, folder, source, class_names(model.labels, source), (), _ours)
    config = json_of(folder / checkpoint.CONFIG)
    remarks: list[str] = []
    pixels = read_pixels(folder, remarks)
    if isinstance(config, dict) and config.get("model_type") == "segformer":
        model = import_checkpoint(folder)
        if not importers.read(folder).has_decoder:
            raise UserError(f"{source}: holds an encoder only, which tells no classes apart; a teacher needs a decoder")
        return _teacher(model, folder, source, model.labels, remarks, _ours, pixels)
    network = _from_transformers(folder, source)
    names = sorted(network.config.id2label.items(), key=lambda item: int(item[0]))
    labels = class_names((name for _, name in names), f"{source}: id2label")
    return _teacher(network, folder, source, labels, remarks, _theirs, pixels)


def _teacher(
    network: nn.Module,
    folder: Path,
    source: str,
    labels: list[str],
    remarks: list[str] | tuple[str, ...],
    forward: Forward,
    pixels: Pixels | None = None,
) -> LiveTeacher:
    files = sorted({path for pattern in _WEIGHTS for path in folder.glob(pattern)})
    one = len(files) == 1
    digest = checkpoint.sha256(files[0]) if one else hashlib.sha256(digest_of_files(*files)).hexdigest()
    identity = Identity(source, digest, licence_of(folder), sum(value.numel() for value in network.parameters()))
    teacher = LiveTeacher(network, identity, labels, pixels or Pixels(), forward)
    teacher.remarks = tuple(remarks)
    return teacher


def _ours(network: nn.Module, x: Tensor) -> Answer:
    assert isinstance(network, BoostFormer)
    maps = network.forward_features(x)
    return network.decoder(maps), tuple(maps)


def _theirs(network: nn.Module, x: Tensor) -> Answer:
    return network(pixel_values=x).logits, ()


def _from_transformers(folder: Path, source: str) -> Any:
    try:
        from transformers import AutoModelForSemanticSegmentation
    except ImportError:
        raise UserError(
            f"{source}: a teacher of this kind needs transformers; pip install 'boostformer[transformers]'"
        ) from None
    try:
        network, loaded = AutoModelForSemanticSegmentation.from_pretrained(
            folder, local_files_only=True, output_loading_info=True
        )
    except (ValueError, OSError, ImportError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{source}: transformers knows no semantic segmentation in it: {reason}") from None
    if missing := sorted(loaded["missing_keys"]):  # which would be random, as of a classifier's backbone
        raise UserError(f"{source}: has no weights for {len(missing)} parts of a segmenter, such as '{missing[0]}'")
    return network


def read_pixels(folder: Path, remarks: list[str]) -> Pixels:
    """Read how transformers' network wants its input; without a file that says it, as ours does, with a remark."""
    file = folder / PREPROCESSOR
    if not is_file(file):
        remarks.append(
            f"{folder}: has no {PREPROCESSOR}; its pixels are taken to be normalised by ImageNet's constants"
        )
        return Pixels()
    said = json_of(file)
    if not isinstance(said, dict):
        raise UserError(f"{file}: is no JSON object")
    # Ours: p / 255 = x * STD + MEAN for a pixel p in 0…255. Theirs: (p * factor - mean) / std.
    factor = said.get("rescale_factor", 1 / 255) if said.get("do_rescale", True) else 1.0
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if said.get("do_normalize", "image_mean" in said):
        mean, std = (_three(file, said, key) for key in ("image_mean", "image_std"))
    bgr = bool(said.get("do_flip_channel_order", False))
    if bgr:  # their constants are of the channels as they are then
        mean, std = mean[::-1], std[::-1]
    range_ = 255 * float(factor)
    scale = tuple(range_ * ours / theirs for ours, theirs in zip(STD, std, strict=True))
    shift = tuple((range_ * ours - theirs) / by for ours, theirs, by in zip(MEAN, mean, std, strict=True))
    if not bgr and max(abs(1 - a) for a in scale) < 1e-6 and max(map(abs, shift)) < 1e-6:
        return Pixels()
    return Pixels(scale, shift, bgr)


def _three(file: Path, said: dict[str, Any], key: str) -> tuple[float, float, float]:
    values = said.get(key)
    numbers = values if isinstance(values, list) and all(type(v) in (int, float) for v in values) else []
    if len(numbers) == 3 and (key != "image_std" or min(numbers) > 0):
        return numbers[0], numbers[1], numbers[2]
    raise UserError(f"{file}: {key}: {values!r} must be three numbers, one per channel{' above 0' * ('std' in key)}")
