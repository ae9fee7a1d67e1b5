"""`Architecture`: one network as a small frozen tree. Torch-free.

A preset file holds one, a search samples them, a trial stores one, a checkpoint and an ONNX file carry theirs, and a
model is built from one. Round trips through dict, YAML and JSON are exact; the format version is written and checked
when read back.
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

from boostformer.errors import UserError, nearest, short
from boostformer.sizes import count_refusal, parse_size
from boostformer.yaml_lines import Keys, Place, compose, lineless

FORMAT_VERSION = 2
"""2 added ``stem`` and ``local_connection``; a file of version 1 has neither, and is read as before."""
READABLE = (1, 2)
STRIDES = (4, 2, 2, 2)
"""Stride of each stage's embed: the maps are at 1/4, 1/8, 1/16 and 1/32 of the input."""
RGB_BANDS = 3
NORMS = ("layer", "batch", "group")
ARRANGEMENTS = ("pre", "post")
NEEDS = "an architecture has the keys version, size, classes, stages and decoder"

MOST_WEIGHT = 200_000_000
"""The largest sum of depth x width² over the stages: some billions of weights. SegFormer-B5's is 6 million."""

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
    """One stage: an embed that strides, then residual layers of mixer and FFN.

    Attributes:
        embed: strides the map by :data:`STRIDES`.
        width: channels of the map.
        depth: number of layers.
        mixer: mixes the positions.
        ffn: mixes the channels of each position.
        norm: one of :data:`NORMS`.
        arrangement: "pre" is SegFormer's: norm before each branch, and one LayerNorm after the stage. "post" is the
            publication's: no norm before the mixer, one before the FFN, one on the trunk after each layer.
        layer_scale: whether each branch ends in a learned factor per channel.
        local_connection: whether the mixer's input is added to its output.
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
    """A whole segmentation network.

    Attributes:
        stages: four, that of the finest map first.
        decoder: makes logits of their maps.
        classes: number of labels.
        size: (H, W) of the input.
        stem: may make another image of the input, also a smaller one, before the first stage.
        bands: of the input.
    """

    stages: tuple[Stage, ...]
    decoder: Decoder
    classes: int = 150
    size: tuple[int, int] = (512, 512)
    stem: BlockSpec = NO_STEM
    bands: int = RGB_BANDS

    def replace(
        self, *, classes: int | None = None, size: tuple[int, int] | None = None, bands: int | None = None
    ) -> Architecture:
        """The same network for other labels, another input size or another number of bands."""
        return dataclasses.replace(
            self, classes=classes or self.classes, size=size or self.size, bands=bands or self.bands
        )

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

    def fields(self) -> dict[str, Scalar]:
        """Every field below size and classes by its path, as a search names its choices.

        A block is its name, with its options behind that: ``stages.0.mixer`` and ``stages.0.mixer.mhsa.heads``.
        """
        found: dict[str, Scalar] = {}
        stages = [(f"stages.{i}.{name}", v) for i, stage in enumerate(self.stages) for name, v in _values(stage)]
        decoder = [(f"decoder.{name}", value) for name, value in _values(self.decoder)]
        for path, value in (("stem", self.stem), *stages, *decoder):
            if isinstance(value, BlockSpec):
                found[path] = value.name
                found |= {f"{path}.{value.name}.{option}": chosen for option, chosen in value.options}
            else:
                found[path] = value
        return found

    def to_dict(self) -> dict[str, Any]:
        return {
            "version": FORMAT_VERSION,
            "size": list(self.size),
            "classes": self.classes,
            # Left out of RGB, networks keep the ids that they had before others could be asked for.
            **({"bands": self.bands} if self.bands != RGB_BANDS else {}),
            "stem": self.stem.to_dict(),
            "stages": [stage.to_dict() for stage in self.stages],
            "decoder": self.decoder.to_dict(),
        }

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), separators=(",", ":"))

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.to_dict(), sort_keys=False)

    @classmethod
    def from_dict(cls, data: object, source: str | Place = "architecture") -> Architecture:
        """Read the form that :meth:`to_dict` writes, which has every option of every block.

        Only the structure is checked, not the names of blocks and options, which needs torch: what a user wrote is
        read by :func:`boostformer.architecture_file.read_architecture`.

        Args:
            data: mappings, lists and scalars.
            source: where they come from, for errors: a name, or the top of the file that they were read from.

        Raises:
            UserError: names the source, its line if it has lines, the key, and what is wrong.
        """
        tree = _Tree(lineless(source) if isinstance(source, str) else source, data, (), _KEYS)
        version = tree.take("version", int)
        if version not in READABLE:
            raise tree.error("version", f"{version} cannot be read, allowed: {', '.join(map(str, READABLE))}")
        size, classes = tree.size("size"), tree.positive("classes")
        decoder = tree.child("decoder", _DECODER_KEYS)
        stages = tuple(map(_stage, tree.children("stages", len(STRIDES), _STAGE_KEYS)))
        if (weight := sum(stage.depth * stage.width**2 for stage in stages)) > MOST_WEIGHT:
            raise tree.error(
                "stages", f"depth x width² comes to {weight:,} over the stages, at most {MOST_WEIGHT:,} allowed"
            )
        return cls(
            stages=stages,
            decoder=Decoder(fusion=decoder.block("fusion"), width=decoder.positive("width")),
            classes=classes,
            size=size,
            stem=tree.block("stem") if "stem" in tree.data else NO_STEM,
            bands=tree.positive("bands") if "bands" in tree.data else RGB_BANDS,
        )

    @classmethod
    def from_json(cls, text: str, source: str = "architecture") -> Architecture:
        """Read :meth:`to_json`'s text, as :meth:`from_dict` does."""
        try:
            return cls.from_dict(json.loads(text), source)
        except ValueError as error:  # also a number of thousands of digits
            raise UserError(f"{source}: not JSON: {error}") from None
        except RecursionError:
            raise UserError(f"{source}: nested too deeply") from None

    @classmethod
    def from_yaml(cls, text: str, source: str = "architecture") -> Architecture:
        """Read :meth:`to_yaml`'s text, as :meth:`from_dict` does; errors name the line."""
        top = compose(text, source, needs=NEEDS)
        return cls.from_dict(top.plain(), top)


def _values(part: Stage | Decoder) -> list[tuple[str, Any]]:
    return [(field.name, getattr(part, field.name)) for field in dataclasses.fields(part)]


def _stage(tree: _Tree) -> Stage:
    return Stage(
        embed=tree.block("embed"),
        width=tree.positive("width"),
        depth=tree.positive("depth"),
        mixer=tree.block("mixer"),
        ffn=tree.block("ffn"),
        norm=tree.one_of("norm", NORMS),
        arrangement=tree.one_of("arrangement", ARRANGEMENTS),
        layer_scale=tree.take("layer_scale", bool),
        local_connection="local_connection" in tree.data and tree.take("local_connection", bool),
    )


_KEYS = ("version", "size", "classes", "bands", "stem", "stages", "decoder")
_STAGE_KEYS = tuple(field.name for field in dataclasses.fields(Stage))
_DECODER_KEYS = tuple(field.name for field in dataclasses.fields(Decoder))


class _Tree:
    """A mapping to be read.

    Args:
        top: the whole file.
        data: the mapping; :class:`UserError` if it is none, or has other keys than these.
        keys: lead from the top to it.
        allowed: its keys, or none to allow any.
    """

    def __init__(self, top: Place, data: object, keys: Keys, allowed: tuple[str, ...]) -> None:
        if not isinstance(data, Mapping):
            raise top.at(*keys).error(f"{short(data)} is not a mapping of keys to values")
        self.top, self.data, self.keys = top, data, keys
        for key in data:
            if allowed and key not in allowed:
                raise self.error(str(key), f"unknown key; {nearest(key, allowed)}")

    def error(self, key: str, message: str) -> UserError:
        return self.top.at(*self.keys, key).error(message)

    def take(self, key: str, kind: type) -> Any:
        """The value of ``key``, which must be there and of exactly this type."""
        if key not in self.data:
            raise self.error(key, "missing")
        value = self.data[key]
        if kind is not object and type(value) is not kind:
            raise self.error(key, f"{short(value)} is not of type {kind.__name__}")
        return value

    def positive(self, key: str) -> int:
        value: int = self.take(key, object)
        if reason := count_refusal(key, value):
            raise self.error(key, reason)
        return value

    def size(self, key: str) -> tuple[int, int]:
        try:
            return parse_size(self.take(key, object))
        except ValueError as error:
            raise self.error(key, str(error)) from None

    def one_of(self, key: str, allowed: tuple[str, ...]) -> str:
        value: str = self.take(key, str)
        if value not in allowed:
            raise self.error(key, f"unknown {short(value)}; {nearest(value, allowed)}")
        return value

    def child(self, key: str, allowed: tuple[str, ...] = ()) -> _Tree:
        return _Tree(self.top, self.take(key, dict), (*self.keys, key), allowed)

    def children(self, key: str, count: int, allowed: tuple[str, ...]) -> list[_Tree]:
        items = self.take(key, list)
        if len(items) != count:
            raise self.error(key, f"{len(items)} given, exactly {count} allowed")
        return [_Tree(self.top, item, (*self.keys, key, i), allowed) for i, item in enumerate(items)]

    def block(self, key: str) -> BlockSpec:
        tree = self.child(key)
        name = tree.take("block", str)
        options = {option: value for option, value in tree.data.items() if option != "block"}
        for option, value in options.items():
            if type(option) is not str:
                raise tree.error(str(option), f"{short(option)} is not the name of an option")
            if type(value) not in (int, float, bool, str):
                raise tree.error(option, f"{short(value)} is not a number, a truth value or a word")
        return BlockSpec.of(name, **options)
