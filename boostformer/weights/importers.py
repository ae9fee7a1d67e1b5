"""Checkpoints of others: transformers' SegFormer and MiT, and the publication's BoostFormer.

All three share one layout (``config.json`` beside ``model.safetensors`` or ``pytorch_model.bin``); what a
stage is made of is read from the names of its weights. :func:`boostformer.model.import_checkpoint` makes the network.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from torch import Tensor

from boostformer.architecture import STRIDES, Architecture, BlockSpec, Decoder, Stage
from boostformer.blocks.registry import complete
from boostformer.errors import UserError, short
from boostformer.files import check_regular, exists, read_json
from boostformer.names import class_names
from boostformer.sizes import MOST
from boostformer.weights.tensors import check_tensors, read_tensors

# Patterns of their names -> ours, within a layer; the first that matches holds.
_LAYER = [
    (r"attention\.self\.(query|key|value)\.", r"mixer.block.\1."),
    (r"attention\.self\.sr\.", "mixer.block.reduce.0."),
    (r"attention\.self\.layer_norm\.", "mixer.block.reduce.1."),
    (r"attention\.self\.norm\.", "mixer.block.norm."),
    (r"attention\.output\.dense\.", "mixer.block.project."),
    (r"layer_scale_1$", "mixer.scale.gamma"),
    (r"layer_scale_2$", "ffn.scale.gamma"),
    (r"mlp\.(?:dense|conv_?)1\.", "ffn.block.expand."),
    (r"mlp\.(?:dense|conv_?)2\.", "ffn.block.project."),
    (r"mlp\.dwconv\.dwconv\.", "ffn.block.depthwise."),
    (r"mlp\.dwconv\.mixconv\.conv_([35])\.", r"ffn.block.depthwise\1."),
    (r"mlp\.norm_([12])\.", r"ffn.block.norm\1."),
]
_NORM = re.compile(r"(?:layer_)?norm_([12])\.")
_NORM_PLACES = {"pre": {"1": "mixer.norm.", "2": "ffn.norm."}, "post": {"1": "ffn.norm.", "2": "norm."}}
"""Our places of a layer's two norms, by its arrangement."""
_NAMES = [
    (r"segformer\.encoder\.patch_embeddings\.([0-3])\.(?:proj|conv)\.", r"encoder.stages.\1.embed.proj."),
    (r"segformer\.encoder\.patch_embeddings\.([0-3])\.layer_norm\.", r"encoder.stages.\1.embed.norm."),
    (r"segformer\.encoder\.layer_norm\.([0-3])\.", r"encoder.stages.\1.norm."),
    (r"decode_head\.linear_c\.([0-3])\.proj\.", r"decoder.projections.\1."),
    (r"decode_head\.linear_fuse\.", "decoder.fusion.linear."),
    (r"decode_head\.weights$", "decoder.fusion.weights"),
    (r"decode_head\.batch_norm\.", "decoder.norm."),
    (r"decode_head\.classifier\.", "decoder.classifier."),
]
_BLOCK = re.compile(r"segformer\.encoder\.block\.([0-3])\.([0-9]{1,4})\.(.+)")
_Width = Annotated[int, Field(ge=1, le=MOST["width"])]
_Depth = Annotated[int, Field(ge=1, le=MOST["depth"])]
_Number = Annotated[int, Field(ge=1, le=256)]
_IMAGENET_HEAD = ("classifier.weight", "classifier.bias")


def _four(what: str) -> Any:
    return Field(min_length=4, max_length=4, description=f"a list of four whole numbers, {what}")


class TheirConfig(BaseModel):
    """The part of a ``config.json`` that is read; all else says nothing of the network's form."""

    model_config = ConfigDict(strict=True, frozen=True)

    hidden_sizes: list[_Width] = _four("widths")
    depths: list[_Depth] = _four("depths")
    num_attention_heads: list[_Number] = _four("numbers of heads")
    sr_ratios: list[_Number] = _four("ratios")
    mlp_ratios: list[_Number] = _four("ratios")
    patch_sizes: list[_Number] = _four("sizes")
    decoder_hidden_size: _Width = Field(default=256, description="a width")
    num_labels: int = Field(default=2, ge=1, le=MOST["classes"], description="a number of classes")
    hidden_act: Literal["gelu"] = Field(default="gelu", description="gelu, the one that is imported")
    id2label: dict[str, str] | None = Field(
        default=None, max_length=MOST["classes"], description="names by class number, from 0 without gaps"
    )

    @field_validator("id2label")
    @classmethod
    def _numbered(cls, found: dict[str, str] | None) -> dict[str, str] | None:
        if found is not None and (not found or set(found) != set(map(str, range(len(found))))):
            raise ValueError("other keys")
        return found

    @property
    def names(self) -> list[str]:
        """The classes' names, in order."""
        if self.id2label is None:
            return [f"LABEL_{number}" for number in range(self.num_labels)]
        return [self.id2label[str(number)] for number in range(len(self.id2label))]


@dataclass(frozen=True)
class Imported:
    """Content of a folder of others.

    Attributes:
        folder: where it was read.
        architecture: the network, complete.
        weights: by their names.
        labels: class names of ``id2label``; none if there is only an encoder.
        notes: what a user should know: dead weights skipped, a decoder that the file does not hold.
        has_decoder: whether there is more than an encoder.
    """

    folder: Path
    architecture: Architecture
    weights: dict[str, Tensor]
    labels: list[str]
    notes: list[str]
    has_decoder: bool

    def fill(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state of a fresh network of this architecture with the weights in their places.

        :class:`UserError` names a weight that is missing, has no place, or is of another shape.
        """
        filled, folder = dict(state), self.folder
        wanted = {name for name in state if self.has_decoder or not name.startswith("decoder.")}
        for theirs, value in self.weights.items():
            ours = _our_name(theirs, self.architecture)
            if ours is None or ours not in wanted:
                raise UserError(f"{folder}: weight '{theirs}' has no place in {self.architecture.id}")
            # A linear layer there is a 1x1 convolution here: the same numbers.
            expected = state[ours].shape
            if value.numel() != expected.numel() or value.shape[:1] not in (expected[:1], ()):
                raise UserError(
                    f"{folder}: weight '{theirs}' has shape {tuple(value.shape)}, expected {tuple(expected)}"
                )
            filled[ours] = value.reshape(expected)
            wanted.discard(ours)
        if wanted:
            raise UserError(f"{folder}: {len(wanted)} weights are missing, among them that of '{min(wanted)}'")
        return filled


def read(folder: str | Path) -> Imported:
    """Read a folder with transformers' SegFormer or MiT, or with the publication's BoostFormer.

    :class:`UserError` names the file and what is missing or unknown.
    """
    folder, notes = Path(folder), []
    config, weights = _read_config(folder), _read_weights(folder)
    has_decoder = any(name.startswith("decode_head.") for name in weights)
    architecture = complete(_architecture(config, weights, folder), str(folder / "config.json"))
    if "decode_head.weights" in weights and weights.pop("decode_head.linear_fuse.weight", None) is not None:
        notes.append("skipped decode_head.linear_fuse.weight: the publication stores it but no forward pass uses it")
    if not has_decoder:
        for name in _IMAGENET_HEAD:
            weights.pop(name, None)
        notes.append("the file holds an encoder only: the decoder is left at its fresh start, train it before use")
    labels = class_names(config.names if has_decoder else [], f"{folder / 'config.json'}: id2label")
    return Imported(folder, architecture, weights, labels, notes, has_decoder)


def _read_config(folder: Path) -> TheirConfig:
    file = folder / "config.json"
    missing = "no such file; import reads a folder with config.json and model.safetensors"
    found = read_json(file, missing=missing)
    kind = found.get("model_type") if isinstance(found, dict) else type(found).__name__
    if not isinstance(found, dict) or kind != "segformer":
        if isinstance(found, dict) and found.get("library") == "boostformer":
            raise UserError(f"{folder}: is a checkpoint of boostformer already, which needs no import")
        raise UserError(f"{file}: model_type {short(kind)} cannot be imported, allowed: segformer")
    if (strides := found.get("strides", list(STRIDES))) != list(STRIDES):
        raise UserError(f"{file}: strides {short(strides)} cannot be imported, allowed: {list(STRIDES)}")
    try:
        return TheirConfig.model_validate(found)
    except ValidationError as error:
        key = str(error.errors()[0]["loc"][0])
        allowed = TheirConfig.model_fields[key].description
        raise UserError(f"{file}: {key}: {short(found.get(key))} is not {allowed}") from None


def weights_file(folder: Path) -> Path:
    """Find the file with the weights; :class:`UserError` when there is none."""
    for file in (folder / "model.safetensors", folder / "pytorch_model.bin"):
        if exists(file):
            return file
    raise UserError(f"{folder}: holds neither model.safetensors nor pytorch_model.bin")


def _read_weights(folder: Path) -> dict[str, Tensor]:
    file = weights_file(folder)
    if file.suffix == ".safetensors":
        return read_tensors(file)
    check_regular(file)
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a reader raises on a damaged file
        raise UserError(f"{file}: damaged or not a weights file: {' '.join(str(error).split())[:200]}") from error
    return check_tensors(found, file)


def _architecture(config: TheirConfig, weights: dict[str, Tensor], folder: Path) -> Architecture:
    stages = []
    for i in range(4):
        block = f"segformer.encoder.block.{i}.0."
        own = {name.removeprefix(block) for name in weights if name.startswith(block)}
        if not own:
            raise UserError(f"{folder}: no weights named {block}*: not a SegFormer checkpoint")
        width, heads = config.hidden_sizes[i], config.num_attention_heads[i]
        published = True
        if not any(name.startswith("attention.") for name in own):
            mixer = BlockSpec.of("pooling")
        elif "attention.self.norm.weight" in own:
            mixer = BlockSpec.of("pooled_attention", heads=heads, pool=7)
        else:
            mixer = BlockSpec.of("efficient_attention", heads=heads, reduction=config.sr_ratios[i])
            published = False
        mixed = any(".mixconv." in name for name in own)
        pooled = f"segformer.encoder.patch_embeddings.{i}.conv.weight" in weights
        stages.append(
            Stage(
                embed=BlockSpec.of("pooling" if pooled else "overlap_conv", kernel=config.patch_sizes[i]),
                width=width,
                depth=config.depths[i],
                mixer=mixer,
                ffn=BlockSpec.of("mix_cfn" if mixed else "mix_ffn", ratio=config.mlp_ratios[i]),
                norm="batch" if mixer.name == "pooling" else "layer",
                arrangement="post" if published else "pre",
                layer_scale="layer_scale_1" in own,
            )
        )
    fusion = "weighted_sum" if "decode_head.weights" in weights else "concat"
    decoder = Decoder(BlockSpec.of(fusion), config.decoder_hidden_size)
    return Architecture(tuple(stages), decoder, classes=len(config.names))


def _our_name(name: str, arch: Architecture) -> str | None:
    rules, prefix, rest = _NAMES, "", name
    if match := _BLOCK.fullmatch(name):
        rules, prefix, rest = _LAYER, f"encoder.stages.{match[1]}.layers.{match[2]}.", match[3]
        if norm := _NORM.match(rest):
            places = _NORM_PLACES[arch.stages[int(match[1])].arrangement]
            return prefix + places[norm[1]] + rest[norm.end() :]
    for pattern, replacement in rules:
        ours, found = re.subn(f"^{pattern}", replacement, rest)
        if found:
            return prefix + ours
    return None
