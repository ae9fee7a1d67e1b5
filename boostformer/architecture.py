"""`Architecture`: one network as a small frozen tree. Torch-free.

It is what a preset file holds, a search samples, a trial stores, a checkpoint and an ONNX file
carry, and what the model is built from. Round trips through dict, YAML and JSON are exact; the
format version is written and checked when read back.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import yaml

from boostformer.errors import UserError, nearest

FORMAT_VERSION = 2
"""2 added ``stem`` and ``local_connection``; a file of version 1 has neither, and is read as before."""
READABLE = (1, 2)
STRIDES = (4, 2, 2, 2)
"""Stride of each stage's embed: the maps are at 1/4, 1/8, 1/16 and 1/32 of the input."""
NORMS = ("layer", "batch", "group")
ARRANGEMENTS = ("pre", "post")

Scalar = int | float | bool | str


@dataclass(frozen=True, slots=True)
class BlockSpec:
    """A registered block by name, with its options as sorted ``(name, value)`` pairs."""

    name: str
    options: tuple[tuple[str, Scalar], ...] = ()

    @classmethod
    def of(cls, name: str, /, **options: Scalar) -> BlockSpec:
        return cls(name, tuple(sorted(options.items())))

    def get(self, option: str) -> Scalar:
        return dict(self.options)[option]

    def to_dict(self) -> dict[str, Any]:
        return {"block": self.name, **dict(self.options)}


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: an embed that strides, then ``depth`` residual layers of mixer and FFN.

    ``arrangement`` "pre" is SegFormer's (norm before each branch and one LayerNorm after the
    stage); "post" is the publication's (no norm before the mixer, one before the FFN, one on
    the trunk after it, none after the stage). ``local_connection`` adds the mixer's input to its output.
    """

    embed: BlockSpec
    width: int
    depth: int
    mixer: BlockSpec
    ffn: BlockSpec
    norm: str = "layer"
    arrangement: str = "pre"
    layer_scale: bool = False
    local_connection: bool = False

    def to_dict(self) -> dict[str, Any]:
        return {
            field.name: value.to_dict() if isinstance(value, BlockSpec) else value
            for field in dataclasses.fields(self)
            for value in [getattr(self, field.name)]
        }


@dataclass(frozen=True, slots=True)
class Decoder:
    """Linear projections of the four maps to ``width``, a fusion at 1/4, and a classifier."""

    fusion: BlockSpec
    width: int

    def to_dict(self) -> dict[str, Any]:
        return {"fusion": self.fusion.to_dict(), "width": self.width}


NO_STEM = BlockSpec("none")


def stem_size(size: tuple[int, int], stem: BlockSpec) -> tuple[int, int]:
    """(H, W) of the image that ``stem`` makes of one of ``size``: the same, unless it has an option ``shrink``."""
    shrink = int(dict(stem.options).get("shrink", 1))
    return -(-size[0] // shrink), -(-size[1] // shrink)


def map_sizes(size: tuple[int, int]) -> list[tuple[int, int]]:
    """(H, W) of the four stage maps of an image of ``size``: every embed pads, so each stride rounds up."""
    sizes, (height, width) = [], size
    for stride in STRIDES:
        height, width = -(-height // stride), -(-width // stride)
        sizes.append((height, width))
    return sizes


@dataclass(frozen=True)
class Architecture:
    """A whole segmentation network for inputs of ``size`` (H, W) and ``classes`` labels.

    A ``stem`` may make another image of the input, also a smaller one, before the first stage.
    """

    stages: tuple[Stage, ...]
    decoder: Decoder
    classes: int = 150
    size: tuple[int, int] = (512, 512)
    stem: BlockSpec = NO_STEM

    def replace(self, *, classes: int | None = None, size: tuple[int, int] | None = None) -> Architecture:
        """The same network for other labels or another input size."""
        return dataclasses.replace(self, classes=classes or self.classes, size=size or self.size)

    @cached_property
    def id(self) -> str:
        """Twelve hex digits of the content's hash: equal exactly when the networks are."""
        canonical = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    @property
    def stem_size(self) -> tuple[int, int]:
        """(H, W) of the image that the first stage gets."""
        return stem_size(self.size, self.stem)

    def map_sizes(self) -> list[tuple[int, int]]:
        """(H, W) of the four stage maps."""
        return map_sizes(self.stem_size)

    def to_dict(self) -> dict[str, Any]:
        return {
            "version": FORMAT_VERSION,
            "size": list(self.size),
            "classes": self.classes,
            "stem": self.stem.to_dict(),
            "stages": [stage.to_dict() for stage in self.stages],
            "decoder": self.decoder.to_dict(),
        }

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), separators=(",", ":"))

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.to_dict(), sort_keys=False)

    @classmethod
    def from_dict(cls, data: object, source: str = "architecture") -> Architecture:
        """Read :meth:`to_dict`'s form; ``source`` names the origin in errors (:class:`UserError`).

        Block names and options are checked, and missing options filled with their defaults, by
        :func:`boostformer.blocks.registry.complete`, which needs torch; here only the structure is.
        """
        tree = _Reader(source).mapping(data, "")
        version = tree.take("version", int)
        if version not in READABLE:
            raise UserError(f"{source}: version {version} cannot be read, allowed: {', '.join(map(str, READABLE))}")
        size = tree.take("size", list)
        if len(size) != 2 or not all(type(n) is int and n >= 32 for n in size):
            raise UserError(f"{source}: size: {size!r} is not [height, width] with both at least 32")
        stages = tree.take("stages", list)
        if len(stages) != len(STRIDES):
            raise UserError(f"{source}: stages: {len(stages)} given, exactly {len(STRIDES)} allowed")
        classes = tree.positive("classes")
        decoder = tree.child("decoder")
        result = cls(
            stages=tuple(_stage(tree.mapping(s, f"stages[{i}]")) for i, s in enumerate(stages)),
            decoder=Decoder(fusion=decoder.block("fusion"), width=decoder.positive("width")),
            classes=classes,
            size=(size[0], size[1]),
            stem=tree.block("stem") if tree.has("stem") else NO_STEM,
        )
        decoder.done()
        tree.done()
        return result

    @classmethod
    def from_json(cls, text: str, source: str = "architecture") -> Architecture:
        try:
            return cls.from_dict(json.loads(text), source)
        except json.JSONDecodeError as error:
            raise UserError(f"{source}: not JSON: {error}") from None

    @classmethod
    def from_yaml(cls, text: str, source: str = "architecture") -> Architecture:
        try:
            return cls.from_dict(yaml.safe_load(text), source)
        except (yaml.YAMLError, ValueError) as error:  # a ValueError for dates that do not exist
            raise UserError(f"{source}: not YAML: {' '.join(str(error).split())}") from None


def _stage(tree: _Mapping) -> Stage:
    stage = Stage(
        embed=tree.block("embed"),
        width=tree.positive("width"),
        depth=tree.positive("depth"),
        mixer=tree.block("mixer"),
        ffn=tree.block("ffn"),
        norm=tree.one_of("norm", NORMS),
        arrangement=tree.one_of("arrangement", ARRANGEMENTS),
        layer_scale=tree.take("layer_scale", bool),
        local_connection=tree.has("local_connection") and tree.take("local_connection", bool),
    )
    tree.done()
    return stage


class _Reader:
    def __init__(self, source: str) -> None:
        self.source = source

    def mapping(self, data: object, path: str) -> _Mapping:
        if not isinstance(data, Mapping):
            raise UserError(f"{self.source}: {path or 'top level'}: {data!r} is not a mapping of keys to values")
        return _Mapping(self, dict(data), path)


class _Mapping:
    """A mapping being read: every key is taken once, with its type, and none may be left."""

    def __init__(self, reader: _Reader, data: dict[Any, Any], path: str) -> None:
        self.reader, self.data, self.path = reader, data, path
        self.known: list[str] = []

    def where(self, key: str) -> str:
        return f"{self.reader.source}: {self.path}.{key}" if self.path else f"{self.reader.source}: {key}"

    def mapping(self, data: object, path: str) -> _Mapping:
        return self.reader.mapping(data, path)

    def has(self, key: str) -> bool:
        """Whether an optional key is there."""
        if key not in self.data:
            self.known.append(key)
        return key in self.data

    def take(self, key: str, kind: type) -> Any:
        self.known.append(key)
        if key not in self.data:
            raise UserError(f"{self.where(key)}: missing")
        value = self.data.pop(key)
        if type(value) is not kind:
            raise UserError(f"{self.where(key)}: {value!r} is not of type {kind.__name__}")
        return value

    def positive(self, key: str) -> int:
        value: int = self.take(key, int)
        if value < 1:
            raise UserError(f"{self.where(key)}: {value} is not at least 1")
        return value

    def one_of(self, key: str, allowed: tuple[str, ...]) -> str:
        value: str = self.take(key, str)
        if value not in allowed:
            raise UserError(f"{self.where(key)}: unknown '{value}'; {nearest(value, allowed)}")
        return value

    def child(self, key: str) -> _Mapping:
        path = f"{self.path}.{key}" if self.path else key
        return self.reader.mapping(self.take(key, dict), path)

    def block(self, key: str) -> BlockSpec:
        tree = self.child(key)
        name = tree.take("block", str)
        for option, value in tree.data.items():
            if type(option) is not str:
                raise UserError(f"{tree.where(str(option))}: {option!r} is not the name of an option")
            if type(value) not in (int, float, bool, str):
                raise UserError(f"{tree.where(option)}: {value!r} is not a number, a truth value or a word")
        return BlockSpec.of(name, **tree.data)

    def done(self) -> None:
        for key in self.data:
            raise UserError(f"{self.where(str(key))}: unknown key; {nearest(key, self.known)}")
