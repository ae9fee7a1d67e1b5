"""Checkpoints of others: transformers' SegFormer and MiT, and the publication's BoostFormer.

All three share one layout (``config.json`` beside ``model.safetensors`` or ``pytorch_model.bin``); what a
stage is made of is read from the names of its weights. :func:`boostformer.model.import_checkpoint` makes the network.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from boostformer.architecture import STRIDES, Architecture, BlockSpec, Decoder, Stage
from boostformer.blocks.registry import complete
from boostformer.errors import UserError
from boostformer.names import class_names

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
    (r"segformer\.encoder\.patch_embeddings\.(\d)\.(?:proj|conv)\.", r"encoder.stages.\1.embed.proj."),
    (r"segformer\.encoder\.patch_embeddings\.(\d)\.layer_norm\.", r"encoder.stages.\1.embed.norm."),
    (r"segformer\.encoder\.layer_norm\.(\d)\.", r"encoder.stages.\1.norm."),
    (r"decode_head\.linear_c\.(\d)\.proj\.", r"decoder.projections.\1."),
    (r"decode_head\.linear_fuse\.", "decoder.fusion.linear."),
    (r"decode_head\.weights$", "decoder.fusion.weights"),
    (r"decode_head\.batch_norm\.", "decoder.norm."),
    (r"decode_head\.classifier\.", "decoder.classifier."),
]
_BLOCK = re.compile(r"segformer\.encoder\.block\.(\d)\.(\d+)\.(.+)")
_IMAGENET_HEAD = ("classifier.weight", "classifier.bias")


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
    named = sorted(config["id2label"].items(), key=_index) if has_decoder else []
    labels = class_names((name for _, name in named), f"{folder / 'config.json'}: id2label")
    return Imported(folder, architecture, weights, labels, notes, has_decoder)


def _read_config(folder: Path) -> dict[str, Any]:
    file = folder / "config.json"
    try:
        config = json.loads(file.read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{file}: no such file; import reads a folder with config.json and model.safetensors") from None
    except ValueError as error:
        raise UserError(f"{file}: not JSON: {error}") from None
    if not isinstance(config, dict) or config.get("model_type") != "segformer":
        if isinstance(config, dict) and config.get("library") == "boostformer":
            raise UserError(f"{folder}: is a checkpoint of boostformer already, which needs no import")
        found = config.get("model_type") if isinstance(config, dict) else type(config).__name__
        raise UserError(f"{file}: model_type {found!r} cannot be imported, allowed: segformer")
    if tuple(config.get("strides", STRIDES)) != STRIDES:
        raise UserError(f"{file}: strides {config['strides']} cannot be imported, allowed: {list(STRIDES)}")
    needed = ("hidden_sizes", "depths", "num_attention_heads", "sr_ratios", "mlp_ratios", "patch_sizes")
    for key in needed:
        value = config.get(key)
        if not (isinstance(value, list) and len(value) == 4 and all(type(v) is int for v in value)):
            raise UserError(f"{file}: {key}: {value!r} is not a list of four whole numbers")
    config.setdefault("id2label", {str(i): f"LABEL_{i}" for i in range(config.get("num_labels", 2))})
    config.setdefault("decoder_hidden_size", 256)
    return config


def _index(item: tuple[str, Any]) -> int:
    return int(item[0])


def _read_weights(folder: Path) -> dict[str, Tensor]:
    try:
        if (file := folder / "model.safetensors").exists():
            return load_file(file)
        if (file := folder / "pytorch_model.bin").exists():
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a reader raises on a damaged file
        raise UserError(f"{file}: damaged or not a weights file: {' '.join(str(error).split())[:200]}") from error
    raise UserError(f"{folder}: holds neither model.safetensors nor pytorch_model.bin")


def _architecture(config: dict[str, Any], weights: dict[str, Tensor], folder: Path) -> Architecture:
    stages = []
    for i in range(4):
        block = f"segformer.encoder.block.{i}.0."
        own = {name.removeprefix(block) for name in weights if name.startswith(block)}
        if not own:
            raise UserError(f"{folder}: no weights named {block}*: not a SegFormer checkpoint")
        width, heads = config["hidden_sizes"][i], config["num_attention_heads"][i]
        published = True
        if not any(name.startswith("attention.") for name in own):
            mixer = BlockSpec.of("pooling")
        elif "attention.self.norm.weight" in own:
            mixer = BlockSpec.of("pooled_attention", heads=heads, pool=7)
        else:
            mixer = BlockSpec.of("efficient_attention", heads=heads, reduction=config["sr_ratios"][i])
            published = False
        mixed = any(".mixconv." in name for name in own)
        pooled = f"segformer.encoder.patch_embeddings.{i}.conv.weight" in weights
        stages.append(
            Stage(
                embed=BlockSpec.of("pooling" if pooled else "overlap_conv", kernel=config["patch_sizes"][i]),
                width=width,
                depth=config["depths"][i],
                mixer=mixer,
                ffn=BlockSpec.of("mix_cfn" if mixed else "mix_ffn", ratio=config["mlp_ratios"][i]),
                norm="batch" if mixer.name == "pooling" else "layer",
                arrangement="post" if published else "pre",
                layer_scale="layer_scale_1" in own,
            )
        )
    fusion = "weighted_sum" if "decode_head.weights" in weights else "concat"
    decoder = Decoder(BlockSpec.of(fusion), config["decoder_hidden_size"])
    return Architecture(tuple(stages), decoder, classes=len(config["id2label"]))


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
