"""A network with what its exported file holds beside it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from boostformer.deploy.manifest import Form, LabelType
from boostformer.errors import UserError
from boostformer.layers import LabelMap
from boostformer.model import BoostFormer

TENSORRT_8_OPSET, MOST_UINT8 = 13, 256
_TYPES = {"uint8": torch.uint8, "int32": torch.int32}


def check_form(form: Form, said: dict[str, Any], opset: int, *, normalises: bool) -> None:
    """Raise :class:`UserError` where a form is not possible.

    Args:
        form: what was asked for.
        said: of the file's input and classes.
        opset: of the file.
        normalises: whether the network knows how.
    """
    if form.mobile and (form.half or form.any_batch or form.any_size):
        raise UserError(
            "--target mobile: takes single precision and a fixed shape, which NNAPI asks for; leave out --fp16 and "
            "--dynamic"
        )
    if form.normalised and not normalises:
        raise UserError("--normalise: an untrained network knows no mean and deviation of its bands; leave it out")
    if form.labels is None:
        return
    if said["input"]["fit"] == "tile":
        raise UserError(
            "--labels: the network sees images through windows, whose logits are averaged before classes are chosen; "
            "export without --labels"
        )
    if form.labels == "uint8" and (opset == TENSORRT_8_OPSET or len(said["classes"]) > MOST_UINT8):
        why = "TensorRT 8.2 has no such type" if opset == TENSORRT_8_OPSET else f"it has {len(said['classes'])} classes"
        raise UserError(f"--label-type: uint8 is not possible, {why}; allowed: int32")


def label_type(classes: int, opset: int) -> LabelType:
    """Choose the type of labels: uint8 where it is possible."""
    return "uint8" if classes <= MOST_UINT8 and opset != TENSORRT_8_OPSET else "int32"


class Packaged(nn.Module):
    """Normalisation before ``network``, and upsampling and the choice of classes behind it, as far as asked for.

    Args:
        network: maps (B, bands, H, W) to logits; changed to half precision where that is asked for.
        model: the network that it was made from, whose normalisation and size count.
        form: what is added.
    """

    def __init__(self, network: nn.Module, model: BoostFormer, form: Form) -> None:
        super().__init__()
        self.network, self.form = network, form
        self.mean: Tensor
        self.scale: Tensor
        if form.half:
            network.half()
        if form.normalised:
            assert model.normalisation is not None, "checked before"
            mean, std = (torch.tensor(each)[None, :, None, None] for each in vars(model.normalisation).values())
            self.register_buffer("mean", mean * 255)
            self.register_buffer("scale", 1 / (std * 255))
        self.labels = LabelMap(model.architecture.size)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """(B, bands, H, W) -> logits, or the numbers of the classes (B, H, W)."""
        x = (x - self.mean) * self.scale if self.form.normalised else x
        logits: Tensor = self.network(x.half()).float() if self.form.half else self.network(x)
        if self.form.labels is None:
            return logits
        labels = LabelMap(x.shape[2:]) if self.form.any_size else self.labels  # type: ignore[arg-type]
        chosen: Tensor = labels(logits)
        return chosen.to(_TYPES[self.form.labels])
